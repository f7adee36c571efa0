//! Behind a proxy: the PROXY protocol and networks of trusted proxies.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::harness::{Gateway, Project};

const MODULE: &str = "export async function answer(request: Request): Promise<Response> {
  return new Response(request.headers.get('x-forwarded-for'));
}";

fn gateway(listen: &str) -> (Project, Gateway) {
    let project = Project::new()
        .function("get", "/", "answer")
        .file("modules/main.ts", MODULE)
        .file("polygate.toml", &format!("[listen]\n{listen}\n"));
    let gateway = project.run();
    (project, gateway)
}

/// The body that comes back for these bytes; empty when the connection was closed without an answer.
fn send(gateway: &Gateway, bytes: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", gateway.port())).unwrap();
    stream.write_all(bytes.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A connection that is closed with bytes unread is reset.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap().split("\r\n\r\n").nth(1).unwrap_or_default().to_owned()
}

#[test]
fn a_proxy_says_whose_a_connection_is_and_clients_cannot() {
    let (project, gateway) = gateway("trusted-proxies = [\"127.0.0.0/8\"]\nproxy-protocol = true");
    let request = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.9\r\nConnection: close\r\n\r\n";
    // The client behind the proxy is no proxy: what it claims is dropped.
    let introduced = format!("PROXY TCP4 192.0.2.7 198.51.100.2 56324 80\r\n{request}");
    assert_eq!(send(&gateway, &introduced), "192.0.2.7");
    assert!(gateway.await_output("\"client\":\"192.0.2.7\"").contains("type\":\"access\""));
    // One that the proxy trusts in its turn, such as a content network, is believed.
    let chained = format!("PROXY TCP4 127.9.9.9 198.51.100.2 56324 80\r\n{request}");
    assert_eq!(send(&gateway, &chained), "203.0.113.9, 127.9.9.9");
    gateway.await_output("\"client\":\"203.0.113.9\"");
    assert_eq!(send(&gateway, request), "", "a proxy that says nothing");
    let metrics = gateway.admin_text("/metrics");
    assert!(metrics.contains("polygate_proxy_headers_refused_total 1\n"), "{metrics}");

    // Whom to believe changes with a reload: connections of others begin as all do.
    project.write("polygate.toml", "[listen]\ntrusted-proxies = [\"10.0.0.0/8\"]\nproxy-protocol = true\n");
    gateway.signal("-HUP");
    gateway.await_output("reloaded");
    assert_eq!(send(&gateway, request), "127.0.0.1");
    assert!(send(&gateway, &introduced).contains("bad_request"));
}

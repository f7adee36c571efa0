//! Upstreams that are down, slow, or speak nonsense; and outbound fetch.

use std::io::{Read, Write};
use std::net::TcpListener;

use serde_json::json;

use crate::harness::{Project, free_port};

/// An upstream that answers each connection's first bytes with these and closes.
fn canned(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer);
            let _ = stream.write_all(answer);
        }
    });
    format!("http://{address}")
}

/// An upstream that accepts and never answers.
fn silent() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = listener.accept() {
            kept.push(stream);
        }
    });
    format!("http://{address}")
}

#[test]
fn faults_of_upstreams_have_a_status_and_a_reason() {
    let project = Project::new()
        .forward("/down", &format!("http://127.0.0.1:{}", free_port()), &[], &[])
        .forward("/unknown", "http://no-such-host.invalid", &[], &[])
        .forward("/silent", &silent(), &[], &[])
        .forward("/nonsense", &canned(b"SSH-2.0-nonsense\r\n\r\n"), &[], &[])
        .forward("/closes", &canned(b""), &[], &[])
        .forward(
            "/two-lengths",
            &canned(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"),
            &[],
            &[],
        )
        .forward(
            "/both",
            &canned(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
            &[],
            &[],
        )
        .forward(
            "/fine",
            &canned(b"HTTP/1.1 200 Fine\r\nX-Kept-Case: yes\r\ncontent-length: 2\r\n\r\nok"),
            &[],
            &[],
        )
        .file("polygate.toml", "[connection]\nresponse = \"300ms\"\n");
    let gateway = project.run();
    for (path, status, reason) in [
        ("/down", 502, "upstream_refused"),
        ("/unknown", 502, "upstream_unresolved"),
        ("/silent", 504, "upstream_timeout"),
        ("/nonsense", 502, "upstream_protocol"),
        ("/closes", 502, "upstream_closed"),
        ("/two-lengths", 502, "upstream_protocol"),
        ("/both", 502, "upstream_protocol"),
    ] {
        let reply = gateway.get(path);
        assert_eq!(
            (reply.status, reply.json()["reason"].as_str()),
            (status, Some(reason)),
            "{path}: {}",
            reply.body
        );
        assert_eq!(reply.json()["requestId"].as_str(), reply.header("x-request-id"), "{path}");
    }
    assert_eq!(gateway.get("/fine").body, "ok");
    let metrics = gateway.admin_text("/metrics");
    assert!(metrics.contains("upstream_refused") && metrics.contains("upstream_timeout"), "{metrics}");
}

#[test]
fn functions_fetch_with_streaming_bodies() {
    let upstream =
        canned(b"HTTP/1.1 201 Created\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nmade!");
    let module = format!(
        r#"
export async function fetches(request: Request) {{
  const response = await fetch("{upstream}/x", {{ method: "POST", body: JSON.stringify({{ a: 1 }}), headers: {{ "x-a": "b" }} }});
  return {{ status: response.status, type: response.headers.get("content-type"), text: await response.text() }};
}}
export async function passes() {{ return fetch("{upstream}/y"); }}
export async function refused() {{
  try {{ await fetch("http://127.0.0.1:{port}/"); return "connected"; }} catch (error) {{ return (error as Error).name; }}
}}
export async function metadata() {{
  try {{ await fetch("http://169.254.169.254/latest/meta-data/"); return "connected"; }} catch (error) {{ return (error as Error).name; }}
}}
export async function many() {{
  let sent = 0;
  try {{ for (;;) {{ await (await fetch("{upstream}/z")).text(); sent++; }} }} catch (error) {{ return sent; }}
}}
"#,
        port = free_port()
    );
    let mut project = Project::new().file("modules/main.ts", &module);
    for export in ["fetches", "passes", "refused", "metadata", "many"] {
        project = project.function("get", &format!("/{export}"), export);
    }
    let gateway = project.run();
    assert_eq!(
        gateway.get("/fetches").json(),
        json!({ "status": 201, "type": "text/plain", "text": "made!" })
    );
    let passed = gateway.get("/passes");
    assert_eq!((passed.status, &*passed.body), (201, "made!"));
    assert_eq!(gateway.get("/refused").json(), json!("TypeError"));
    assert_eq!(gateway.get("/metadata").json(), json!("TypeError"), "link-local addresses are denied");
    assert_eq!(gateway.get("/many").json(), json!(16), "the budget of sub-requests");
}

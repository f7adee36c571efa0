//! WebSockets to upstreams over HTTP/2 (RFC 8441): servers of hypercorn and Node.js, clients of HTTP/1.1 and of HTTP/2.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{Gateway, Project, skip};
use crate::tls::{self, House};
use crate::websocket::{MODULE, Server, ask, head, node, succeeds};

/// Echoes on WebSockets that come over HTTP/2, and refuses all others; `ssl` with a certificate.
const PYTHON: &str = r#"
import asyncio, socket, sys
from hypercorn.asyncio import serve
from hypercorn.config import Config

async def app(scope, receive, send):
    if scope["type"] == "http":
        status = 200 if scope["path"] == "/plain" else 426
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"over " + scope["http_version"].encode()})
    elif scope["type"] == "websocket":
        await receive()
        if scope["http_version"] != "2":
            return await send({"type": "websocket.close"})
        chosen = "second" if "second" in scope["subprotocols"] else None
        await send({"type": "websocket.accept", "subprotocol": chosen})
        while (event := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": event.get("text"), "bytes": event.get("bytes")})
    else:
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})

listener = socket.create_server(("127.0.0.1", 0))
config = Config()
config.bind = [f"fd://{listener.fileno()}"]
config.accesslog = None
config.errorlog = None
config.websocket_max_message_size = 64 << 20
if len(sys.argv) > 1:
    config.certfile, config.keyfile = sys.argv[1:3]
print(listener.getsockname()[1], flush=True)
asyncio.run(serve(app, config))
"#;

/// A server of HTTP/2 that takes no extended CONNECT.
const NODE: &str = r#"
const server = require("node:http2").createServer((request, response) => response.end("plain"));
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
"#;

/// What starts the server, where it can be run; else `test` is skipped.
fn hypercorn(test: &str) -> Option<impl Fn(&[&str]) -> Server> {
    let program = std::env::var_os("POLYGATE_TEST_PYTHON").unwrap_or_else(|| "python3".into());
    let known = Command::new(&program).args(["-c", "import hypercorn"]).output();
    if !known.is_ok_and(|output| output.status.success()) {
        skip(test, "Python's package hypercorn is not installed (pip install hypercorn)");
        return None;
    }
    // It shows how its own tasks end.
    Some(move |arguments: &[&str]| {
        Server::start(Command::new(&program).args(["-c", PYTHON]).args(arguments).stderr(Stdio::null()))
    })
}

/// A connection for each socket: hypercorn (0.18) gives up a connection with all that is on it when one of its streams ends
/// on our side after it has ended on its own.
const ALONE: &str = "connect = \"20s\"\nkeep-alive = \"0s\"\nhttp2 = { streams = 1, connections = 100 }";

/// Forwards as `node`'s clients expect it, to `base`, with this `[connection]`.
fn house(base: &str, connection: &str) -> House {
    let mut house = House::new(&[&["localhost"]], "");
    let settings = std::fs::read_to_string(house.project.root().join("polygate.toml")).unwrap();
    house.project = house
        .project
        .file("polygate.toml", &format!("{settings}\n[connection]\n{connection}\n"))
        .file("modules/main.ts", &[MODULE, "export function answer() { return new Response(); }"].concat())
        .policy("stamp", "stamp", json!({}))
        .policy("out", "out", json!({}))
        .policy("plain", "plain", json!({}))
        .function("get", "/socket-answer", "answer")
        .forward("/socket-made-plain", base, &["plain"], &[])
        .forward("/socket", base, &["stamp"], &["out"])
        .forward("/plain", base, &[], &[]);
    house
}

/// The value of a metric without labels, or of one with these.
fn figure(metrics: &str, name: &str) -> Option<u64> {
    metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

fn both_kinds_of_clients(base: &str, connection: &str, server: Option<&Server>, test: &str) {
    let Some(node) = node(test) else { return };
    let house = house(base, connection);
    let gateway = house.project.run();
    for (kind, url) in [
        ("client", format!("ws://127.0.0.1:{}/socket", gateway.port())),
        ("client", format!("wss://localhost:{}/socket", tls::port(&gateway))),
        ("http2", format!("http://127.0.0.1:{}/socket", gateway.port())),
        ("http2", format!("https://localhost:{}/socket", tls::port(&gateway))),
    ] {
        succeeds(&mut node(&[kind, &url]), &gateway);
    }
    assert_eq!(gateway.get("/plain").body, "over 2");
    let streams = |count| {
        let metrics = gateway.admin_text("/metrics");
        let open = figure(&metrics, "polygate_upstream_http2_streams{upstream=\"\"}");
        (figure(&metrics, "polygate_tunnels") == Some(0) && open == Some(count)).then_some(metrics)
    };
    gateway.wait(|| streams(0), "all to close on both sides");
    // When the server is gone, so are its tunnels.
    let mut client = crate::websocket::ask_with(&gateway, "/plain", "dGhlIHNhbXBsZSBub25jZQ==");
    let answer = head(&mut client);
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(answer.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{answer}");
    gateway
        .wait(|| figure(&gateway.admin_text("/metrics"), "polygate_tunnels").filter(|open| *open == 1), "it");
    if let Some(Server(child, _)) = server {
        let status = Command::new("kill").args(["-KILL", &child.id().to_string()]).status().unwrap();
        assert!(status.success());
        assert_eq!(crate::websocket::rest(&mut client), b"");
        let line: Value = crate::websocket::line(&gateway, "/plain");
        assert_eq!(line["status"], 200, "{line}");
        gateway.wait(|| gateway.output().contains("\"upstream_closed\"").then_some(()), "the reason");
    }
}

#[test]
fn an_upstream_of_http2_without_encryption_takes_websockets() {
    let test = "websocket_http2::an_upstream_of_http2_without_encryption_takes_websockets";
    let Some(start) = hypercorn(test) else { return };
    let server = start(&[]);
    let base = format!("http://127.0.0.1:{}", server.1);
    both_kinds_of_clients(&base, &format!("protocol = \"http2\"\n{ALONE}"), Some(&server), test);
}

#[test]
fn an_upstream_of_http2_with_encryption_takes_websockets() {
    let test = "websocket_http2::an_upstream_of_http2_with_encryption_takes_websockets";
    let Some(start) = hypercorn(test) else { return };
    let House { project, .. } = House::new(&[&["localhost"]], "");
    let file = |name: &str| project.root().join("certs").join(name).to_str().unwrap().to_owned();
    let server = start(&[&file("0.pem"), &file("0.key")]);
    let connection = format!("protocol = \"auto\"\nca-file = \"{}\"\n{ALONE}", file("ca.pem"));
    both_kinds_of_clients(&format!("https://localhost:{}", server.1), &connection, None, test);
}

#[test]
fn sockets_share_a_connection_to_their_upstream() {
    let Some(node) = node("websocket_http2::sockets_share_a_connection_to_their_upstream") else { return };
    let server = Server::start(&mut node(&["server-http2"]));
    let house = house(&format!("http://127.0.0.1:{}", server.1), "protocol = \"http2\"");
    let gateway = Gateway::start("run", house.project.root(), &["--workers", "1"]);
    let url = format!("http://127.0.0.1:{}/socket", gateway.port());
    succeeds(&mut node(&["http2", &url]), &gateway);
    let done = |metrics: &String| {
        figure(metrics, "polygate_tunnels") == Some(0)
            && figure(metrics, "polygate_upstream_http2_streams{upstream=\"\"}") == Some(0)
    };
    let metrics = gateway.wait(|| Some(gateway.admin_text("/metrics")).filter(done), "all to close");
    let events = |event| {
        figure(&metrics, &format!("polygate_upstream_http2_events_total{{upstream=\"\",event=\"{event}\"}}"))
    };
    assert_eq!(
        (events("opened"), events("goaway"), events("broken")),
        (Some(1), Some(0), Some(0)),
        "{metrics}"
    );
}

#[test]
fn an_upstream_that_takes_no_tunnels_over_http2_is_said_so() {
    if Command::new("node").arg("--version").output().is_err() {
        let test = "websocket_http2::an_upstream_that_takes_no_tunnels_over_http2_is_said_so";
        return skip(test, "node is not installed");
    }
    let far = Server::start(Command::new("node").args(["-e", NODE]));
    let near = Project::new()
        .file("polygate.toml", "[connection]\nprotocol = \"http2\"\n")
        .forward("/plain", &format!("http://127.0.0.1:{}", far.1), &[], &[])
        .run();
    assert_eq!(near.get("/plain").body, "plain");
    let mut client = ask(&near, "/plain");
    let answer = head(&mut client);
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    near.await_output("upstream_upgrade: ");
}

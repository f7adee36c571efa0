//! WebSockets and other tunnels through the whole gateway, byte by byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Gateway, PATIENCE, Project, skip};
use crate::tls::{self, House};

pub(crate) const MODULE: &str = r#"
export async function stamp(request: Request) {
  if (request.headers.get("upgrade") !== "websocket") return new Response("a socket, please", { status: 426 });
  if (new URL(request.url).searchParams.has("refuse")) return new Response("no", { status: 403 });
  request.headers.set("x-stamp", "in");
  return request;
}
export async function anew(request: Request) {
  return new Request(request, { headers: [...request.headers, ["x-anew", "yes"]] });
}
export async function elsewhere(request: Request) {
  return new Request(request.url + "?else", request);
}
export async function plain(request: Request) {
  request.headers.delete("upgrade");
  return request;
}
export async function out(response: Response) {
  response.headers.set("x-out", `${response.status} ${response.body} ${await response.text()}`);
  return response;
}
export async function copy(response: Response) {
  return new Response(response.body, response);
}
export async function clone(response: Response) {
  return response.clone();
}
export async function fails() { throw new Error("on the way back"); }
"#;

const AGREES: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: x\r\n\r\n";

/// An upstream that agrees to everything, answers `/plain` otherwise, and hands its connections out with the heads that
/// it was sent.
fn upstream() -> (String, Receiver<(String, TcpStream)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let head = head(&mut stream);
            let agrees = head.to_ascii_lowercase().contains("\r\nupgrade: ");
            let answer = if agrees { AGREES } else { "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nplain" };
            stream.write_all(answer.as_bytes()).unwrap();
            if sender.send((head, stream)).is_err() {
                return;
            }
        }
    });
    (format!("http://{address}"), receiver)
}

/// Reads a head, and nothing behind it.
pub(crate) fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// Asks for a WebSocket.
pub(crate) fn ask(gateway: &Gateway, path: &str) -> TcpStream {
    ask_with(gateway, path, "k")
}

/// The same with a key.
pub(crate) fn ask_with(gateway: &Gateway, path: &str, key: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", gateway.port())).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let more = format!(
        "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: {key}\r\nsec-websocket-version: 13\r\n"
    );
    write!(stream, "GET {path} HTTP/1.1\r\nhost: a\r\n{more}\r\n").unwrap();
    stream
}

fn expect(stream: &mut TcpStream, bytes: &[u8]) {
    let mut heard = vec![0; bytes.len()];
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(heard, bytes);
}

pub(crate) fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

/// The access log's line of a path, once it is written.
pub(crate) fn line(gateway: &Gateway, path: &str) -> Value {
    let lines = || {
        let output = gateway.output();
        let mut lines = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.find(|line| line["path"] == path)
    };
    gateway.wait(lines, "the access log's line")
}

fn project(base: &str) -> Project {
    ["stamp", "anew", "elsewhere", "plain", "out", "copy", "clone"]
        .into_iter()
        .fold(Project::new().file("modules/main.ts", MODULE), |project, name| {
            project.policy(name, name, json!({}))
        })
        .policy("fails", "fails", json!({ "onFailure": "open" }))
        .forward("/plain", base, &[], &[])
        .forward("/in", base, &["stamp"], &[])
        .forward("/all", base, &["stamp", "anew", "elsewhere", "anew", "stamp"], &["out", "fails"])
        .forward("/made-plain", base, &["plain"], &[])
        .forward("/copy", base, &[], &["copy"])
        .forward("/clone", base, &[], &["clone"])
}

#[test]
fn policies_see_the_request_for_a_tunnel_and_the_answer() {
    let (base, connections) = upstream();
    let gateway = project(&base).run();
    // Through policies that pass it on, change it, make it anew, or fail and are skipped.
    let mut client = ask(&gateway, "/all");
    let answer = head(&mut client);
    assert!(answer.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{answer}");
    assert!(
        answer.contains("x-out: 101 null\r\n") && answer.contains("sec-websocket-accept: x\r\n"),
        "{answer}"
    );
    assert!(answer.ends_with("\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"), "{answer}");
    let (asked, mut far) = connections.recv().unwrap();
    assert!(asked.starts_with("GET /all?else HTTP/1.1\r\n"), "{asked}");
    for field in
        ["x-stamp: in", "x-anew: yes", "sec-websocket-key: k", "Connection: Upgrade", "Upgrade: websocket"]
    {
        assert!(asked.contains(&format!("\r\n{field}\r\n")), "{field}: {asked}");
    }
    client.write_all(b"ping").unwrap();
    expect(&mut far, b"ping");
    far.write_all(b"pong!").unwrap();
    expect(&mut client, b"pong!");
    assert!(gateway.admin_text("/metrics").contains("\npolygate_tunnels 1\n"));
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(rest(&mut far), b"");
    far.write_all(b"bye").unwrap();
    drop(far);
    assert_eq!(rest(&mut client), b"bye");
    let line = line(&gateway, "/all");
    let figures = (&line["status"], &line["reason"], &line["received"], &line["sent"]);
    assert_eq!(figures, (&json!(101), &json!("completed"), &json!(4), &json!(8)), "{line}");
    assert!(gateway.admin_text("/metrics").contains("\npolygate_tunnels 0\n"));

    // A policy answers in the upstream's place, which hears of nothing.
    let mut client = ask(&gateway, "/in?refuse");
    assert!(head(&mut client).starts_with("HTTP/1.1 403 "));
    assert_eq!(gateway.get("/in").status, 426);
    assert!(connections.try_recv().is_err());
    // Without the header it is a plain request.
    let mut client = ask(&gateway, "/made-plain");
    assert!(head(&mut client).starts_with("HTTP/1.1 200 "));
    assert!(!connections.recv().unwrap().0.to_ascii_lowercase().contains("upgrade"));
    // A copy cannot carry the connection, which is said; and it is closed.
    for (path, text) in [("/copy", "Only an upstream can switch protocols"), ("/clone", "cannot be cloned")] {
        let mut client = ask(&gateway, path);
        assert!(head(&mut client).starts_with("HTTP/1.1 500 "), "{path}");
        gateway.await_output(text);
        assert_eq!(rest(&mut connections.recv().unwrap().1), b"");
    }
}

#[test]
fn what_was_not_agreed_to_goes_through_the_policies() {
    let (base, connections) = upstream();
    let gateway = project(&base).run();
    let hidden = "GET /in HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    // Protocols that are not allowed are not asked for; 426 is the policy's.
    for protocol in ["foo", "h2c", "HTTP/2.0", "websocket/13"] {
        let mut stream = TcpStream::connect(("127.0.0.1", gateway.port())).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let wish = format!("connection: upgrade\r\nupgrade: {protocol}\r\n");
        write!(stream, "GET /plain HTTP/1.1\r\nhost: a\r\n{wish}\r\n{hidden}").unwrap();
        let both = String::from_utf8(rest(&mut stream)).unwrap();
        assert!(both.starts_with("HTTP/1.1 200 ") && both.contains("HTTP/1.1 426 "), "{protocol}: {both}");
        assert!(!connections.recv().unwrap().0.to_ascii_lowercase().contains("upgrade"));
    }
    let mut stream = ask(&gateway, "/made-plain");
    stream.write_all(hidden.as_bytes()).unwrap();
    let both = String::from_utf8(rest(&mut stream)).unwrap();
    assert!(both.starts_with("HTTP/1.1 200 ") && both.contains("HTTP/1.1 426 "), "{both}");
}

#[test]
fn tunnels_are_capped_and_end_when_they_are_silent() {
    let (base, connections) = upstream();
    let settings = "[limits]\ntunnels = 1\n[timeouts]\ntunnel-idle = \"300ms\"\n[upstreams.sockets]\nurl = ";
    let handler = json!({
        "export": "urlForwardHandler", "module": "$import(@polygate/runtime)", "options": { "upstream": "sockets" },
    });
    let project = project(&base).file("polygate.toml", &format!("{settings}\"{base}\"\n")).route(
        "get",
        "/named",
        handler,
        &[],
        &[],
    );
    let gateway = Gateway::start("run", project.root(), &["--workers", "1"]);
    let mut client = ask(&gateway, "/named");
    assert!(head(&mut client).starts_with("HTTP/1.1 101 "));
    let (_, mut far) = connections.recv().unwrap();
    let running = |count: u64| {
        let figure = |name: &str| format!("\npolygate_upstream_{name}{{upstream=\"sockets\"}} {count}\n");
        let metrics = gateway.admin_text("/metrics");
        metrics.contains(&figure("running")) && metrics.contains(&figure("connections"))
    };
    assert!(running(1), "{}", gateway.admin_text("/metrics"));
    let mut second = ask(&gateway, "/plain");
    assert!(head(&mut second).starts_with("HTTP/1.1 503 "));
    assert!(gateway.admin_text("/metrics").contains("\npolygate_tunnels_refused_total 1\n"));
    // Plain requests are not held back.
    assert_eq!(gateway.get("/plain").status, 200);
    assert!(!connections.recv().unwrap().0.contains("pgrade"));
    let started = Instant::now();
    assert_eq!((rest(&mut client), rest(&mut far)), (vec![], vec![]));
    assert!(started.elapsed() < PATIENCE / 2);
    assert_eq!(line(&gateway, "/named")["reason"], "tunnel_idle");
    gateway.wait(|| running(0).then_some(()), "the upstream to be told");
    let mut third = ask(&gateway, "/plain");
    assert!(head(&mut third).starts_with("HTTP/1.1 101 "));
}

#[test]
fn a_stop_waits_for_websockets_and_says_goodbye() {
    let (base, connections) = upstream();
    let project = project(&base).file("polygate.toml", "[timeouts]\ndrain = \"700ms\"\n");
    let mut gateway = project.run();
    let mut client = ask(&gateway, "/plain");
    assert!(head(&mut client).starts_with("HTTP/1.1 101 "));
    let (_, mut far) = connections.recv().unwrap();
    far.write_all(b"\x81\x02hi").unwrap();
    expect(&mut client, b"\x81\x02hi");
    let stopped = Instant::now();
    gateway.signal("-TERM");
    std::thread::sleep(Duration::from_millis(200));
    client.write_all(b"\x81\x82\0\0\0\0ho").unwrap();
    expect(&mut far, b"\x81\x82\0\0\0\0ho");
    expect(&mut client, &[0x88, 2, 0x03, 0xe9]);
    assert!(stopped.elapsed() >= Duration::from_millis(700), "{:?}", stopped.elapsed());
    let mut goodbye = [0; 8];
    far.read_exact(&mut goodbye).unwrap();
    assert_eq!(goodbye[..2], [0x88, 0x82]);
    assert_eq!((rest(&mut client), rest(&mut far)), (vec![], vec![]));
    assert!(gateway.ended().success());
    let line = line(&gateway, "/plain");
    assert_eq!((&line["reason"], &line["sent"]), (&json!("stopping"), &json!(8)), "{line}");
    gateway.await_output("1 exchange");
}

/// A program that plays the upstream and is ended with the test; it prints its port first.
pub(crate) struct Server(pub(crate) Child, pub(crate) u16);

impl Server {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self(child, line.trim().parse().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn succeeds(command: &mut Command, gateway: &Gateway) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{}", gateway.output());
}

/// Forwards everything to a server on that port, over TLS as well.
fn house(server: u16) -> House {
    let mut house = House::new(&[&["localhost"]], "");
    house.project = house
        .project
        .file("modules/main.ts", &[MODULE, "export function answer() { return new Response(); }"].concat())
        .policy("stamp", "stamp", json!({}))
        .policy("out", "out", json!({}))
        .policy("plain", "plain", json!({}))
        .function("get", "/socket-answer", "answer")
        .forward("/socket-made-plain", &format!("http://127.0.0.1:{server}"), &["plain"], &[])
        .forward("/socket", &format!("http://127.0.0.1:{server}"), &["stamp"], &["out"]);
    house
}

/// What makes commands of a script for Node.js, where it can be run; else `test` is skipped.
pub(crate) fn node(test: &str) -> Option<impl Fn(&[&str]) -> Command> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/packages");
    if Command::new("node").arg("--version").output().is_err() || !folder.join("node_modules/ws").exists() {
        skip(test, "node or the npm package ws is not installed (run `cargo xtask test`)");
        return None;
    }
    Some(move |arguments: &[&str]| {
        let mut command = Command::new("node");
        command.arg(folder.join("websocket.mjs")).args(arguments);
        command
    })
}

#[test]
fn a_client_and_a_server_of_node_understand_each_other() {
    let Some(node) = node("websocket::a_client_and_a_server_of_node_understand_each_other") else { return };
    let server = Server::start(&mut node(&["server"]));
    let house = house(server.1);
    let gateway = house.project.run();
    for url in [
        format!("ws://127.0.0.1:{}/socket", gateway.port()),
        format!("wss://localhost:{}/socket", tls::port(&gateway)),
    ] {
        succeeds(&mut node(&["client", &url]), &gateway);
    }
    gateway.wait(
        || gateway.admin_text("/metrics").contains("polygate_tunnels 0\n").then_some(()),
        "all to close",
    );
}

#[test]
fn a_client_that_speaks_http2_understands_a_server_that_does_not() {
    let Some(node) = node("websocket::a_client_that_speaks_http2_understands_a_server_that_does_not") else {
        return;
    };
    let server = Server::start(&mut node(&["server"]));
    let house = house(server.1);
    let gateway = house.project.run();
    for url in [
        format!("http://127.0.0.1:{}/socket", gateway.port()),
        format!("https://localhost:{}/socket", tls::port(&gateway)),
    ] {
        succeeds(&mut node(&["http2", &url]), &gateway);
    }
    gateway.wait(
        || gateway.admin_text("/metrics").contains("polygate_tunnels 0\n").then_some(()),
        "all to close",
    );
    // In the log a tunnel looks the same on both versions.
    let output = gateway.output();
    let lines: Vec<Value> = output.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let large = |line: &&Value| line["path"] == "/socket" && line["received"].as_u64() > Some(17 << 20);
    let tunnel = lines.iter().find(large).unwrap_or_else(|| panic!("no large tunnel: {output}"));
    let shown = (&tunnel["method"], &tunnel["status"], &tunnel["reason"], &tunnel["version"]);
    assert_eq!(shown, (&json!("GET"), &json!(101), &json!("completed"), &json!("HTTP/2.0")), "{tunnel}");
    assert!(tunnel["sent"].as_u64() > Some(17 << 20), "{tunnel}");
    let refused = lines.iter().filter(|line| line["reason"] == "upgrade_refused");
    assert_eq!(refused.filter(|line| line["status"] == 501).count(), 4, "{output}");
}

const PYTHON: &str = r#"
import asyncio, sys, websockets
async def echo(socket):
    try:
        async for message in socket:
            await socket.send(message)
    except websockets.ConnectionClosed:
        pass
async def serve():
    async with websockets.serve(echo, "127.0.0.1", 0, max_size=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()
async def talk(url):
    async with websockets.connect(url, max_size=None) as socket:
        for message in ["", "h\u00e9llo", b"\x00" * 70000, b"x" * (1 << 20)]:
            await socket.send(message)
            assert await socket.recv() == message
        await (await socket.ping())
        await socket.close(code=4002, reason="enough")
        assert (socket.close_code, socket.close_reason) == (4002, "enough")
asyncio.run(serve() if sys.argv[1] == "server" else talk(sys.argv[2]))
"#;

#[test]
fn a_client_and_a_server_of_python_understand_each_other() {
    let program = std::env::var_os("POLYGATE_TEST_PYTHON").unwrap_or_else(|| "python3".into());
    let python = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.args(["-c", PYTHON]).args(arguments);
        command
    };
    let known = Command::new(&program).args(["-c", "import websockets"]).output();
    if !known.is_ok_and(|output| output.status.success()) {
        let why = "Python's package websockets is not installed (pip install websockets)";
        return skip("websocket::a_client_and_a_server_of_python_understand_each_other", why);
    }
    let server = Server::start(&mut python(&["server"]));
    let house = house(server.1);
    let gateway = house.project.run();
    succeeds(&mut python(&["client", &format!("ws://127.0.0.1:{}/socket", gateway.port())]), &gateway);
}

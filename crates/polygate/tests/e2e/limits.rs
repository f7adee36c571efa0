//! Limits of routes and of client addresses.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::json;

use crate::harness::{Gateway, PATIENCE, Project};
use crate::http2::{curl, here};

const MODULE: &str = r#"
export async function answer(request: Request): Promise<Response> {
  return new Response(`${(await request.text()).length} bytes`);
}
"#;

/// Routes, and how long the bodies are that they take: less than others, more, and as the settings say.
const ROUTES: [(&str, usize); 3] = [("/less", 1000), ("/more", 3 << 10), ("/usual", 2 << 10)];

fn gateway() -> (Project, Gateway) {
    let project = Project::new()
        .file("modules/main.ts", MODULE)
        .file("polygate.toml", "[limits]\nbody = \"2KiB\"\n")
        .function("get,post", "/less", "answer")
        .function("get,post", "/more", "answer")
        .function("get,post", "/usual", "answer")
        .body_limit("get,post", "/less", json!(1000))
        .body_limit("get,post", "/more", json!("3KiB"));
    let gateway = project.run();
    (project, gateway)
}

fn connect(gateway: &Gateway) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", gateway.port())).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// All that comes back for these bytes until the connection is closed.
fn talk(gateway: &Gateway, bytes: &str) -> String {
    let mut stream = connect(gateway);
    stream.write_all(bytes.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// A request with a body of this length, in two chunks or by its length.
fn post(path: &str, length: usize, chunked: bool, more: &str) -> String {
    let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\n{more}");
    if !chunked {
        return format!("{head}Content-Length: {length}\r\n\r\n{}", "b".repeat(length));
    }
    let chunk = |length: usize| format!("{length:x}\r\n{}\r\n", "b".repeat(length));
    let chunks = [chunk(length / 2), chunk(length - length / 2)].concat();
    format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n")
}

/// The lengths around a limit, and whether a body of that length is taken.
fn around(limit: usize) -> [(usize, bool); 3] {
    [(limit - 1, true), (limit, true), (limit + 1, false)]
}

#[test]
fn a_route_says_how_long_bodies_may_be() {
    let (project, gateway) = gateway();
    for (path, limit) in ROUTES {
        for ((length, taken), chunked) in around(limit).into_iter().flat_map(|of| [(of, false), (of, true)]) {
            let answer = talk(&gateway, &post(path, length, chunked, "Connection: close\r\n"));
            let right = if taken {
                answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(&format!("{length} bytes"))
            } else {
                answer.starts_with("HTTP/1.1 413 ") && answer.contains("body_too_large")
            };
            assert!(right, "{path} {length} chunked: {chunked}: {answer}");
        }
    }
    // A body that is refused by its length alone is not asked for.
    let asks = "POST /less HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n\r\n";
    let mut stream = connect(&gateway);
    stream.write_all(asks.as_bytes()).unwrap();
    let mut begin = [0; 13];
    stream.read_exact(&mut begin).unwrap();
    assert_eq!(&begin, b"HTTP/1.1 413 ");
    // What is left of a short one is drained, and the connection goes on.
    for chunked in [false, true] {
        let next = "GET /less HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let answers = talk(&gateway, &[&post("/less", 1001, chunked, ""), next].concat());
        assert!(answers.starts_with("HTTP/1.1 413 ") && answers.ends_with("0 bytes"), "{answers}");
    }
    // They are counted with their route.
    let metrics = gateway.admin_text("/metrics");
    let refused = "route=\"GET,POST /less\",status=\"413\",reason=\"body_too_large\"} 5\n";
    assert!(metrics.contains(refused), "{metrics}");

    // A reload is all that it takes to change it.
    let _project = project.body_limit("get,post", "/less", json!(1001));
    gateway.signal("-HUP");
    gateway.await_output("reloaded");
    assert!(talk(&gateway, &post("/less", 1001, false, "Connection: close\r\n")).ends_with("1001 bytes"));
}

#[test]
fn streams_obey_the_limits_of_routes() {
    if !here(&["curl"], "streams_obey_the_limits_of_routes") {
        return;
    }
    let (_project, gateway) = gateway();
    let file = tempfile::NamedTempFile::new().unwrap();
    for (path, limit) in ROUTES {
        for (length, taken) in around(limit) {
            std::fs::write(file.path(), "b".repeat(length)).unwrap();
            let from = format!("@{}", file.path().display());
            // With a content-length, and without.
            for more in [&[][..], &["-H", "Content-Length:"]] {
                let url = gateway.url(path);
                let answer = curl(&[&["-w", " %{http_code}", "--data-binary", &from, &url], more].concat());
                let right = if taken {
                    answer == format!("{length} bytes 200")
                } else {
                    answer.contains("body_too_large") && answer.ends_with(" 413")
                };
                assert!(right, "{path} {length} {more:?}: {answer}");
            }
        }
    }
}

#[test]
fn an_address_has_as_many_connections_as_it_may() {
    let settings = "[limits]\nconnections-per-address = 2\n[log]\nlevel = \"debug\"\n";
    let project = Project::new()
        .file("modules/main.ts", MODULE)
        .file("polygate.toml", settings)
        .function("get", "/", "answer");
    let gateway = Gateway::start("run", project.root(), &["--workers", "1"]);
    let connect = |from: [u8; 4]| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let stream = runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind((from, 0).into()).unwrap();
            socket.connect(([127, 0, 0, 1], gateway.port()).into()).await.unwrap()
        });
        let stream = stream.into_std().unwrap();
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    };
    let let_in = |from: [u8; 4]| {
        let mut stream = connect(from);
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"0 bytes") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.extend(byte);
        }
        stream
    };
    let held = [let_in([127, 0, 0, 7]), let_in([127, 0, 0, 7])];
    for _ in 0..3 {
        assert_eq!(connect([127, 0, 0, 7]).read(&mut [0]).unwrap(), 0, "closed at once");
    }
    let _other = let_in([127, 0, 0, 8]);
    let metrics = gateway.admin_text("/metrics");
    assert!(metrics.contains("polygate_connections_refused_per_address_total 3\n"), "{metrics}");
    let told = |text: &str| text.lines().filter(|line| line.contains("too many")).count();
    let log = gateway.await_output("too many");
    assert!(log.contains("127.0.0.7") && told(&log) == 1, "{log}");

    // When they are gone, there is room again.
    drop(held);
    gateway.wait(
        || gateway.admin_text("/metrics").contains("polygate_connections 1\n").then_some(()),
        "the end of connections",
    );
    let _again = [let_in([127, 0, 0, 7]), let_in([127, 0, 0, 7])];
}

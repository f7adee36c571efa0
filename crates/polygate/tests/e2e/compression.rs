//! Response compression, read back by curl.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use crate::harness::{PATIENCE, Project, skip};

const MODULE: &str = r#"
const line = "All work and no play makes Jack a dull boy.\n";
export async function whole() {
  return new Response(line.repeat(200), { headers: { "content-type": "text/plain", etag: '"v1"' } });
}
export async function large() {
  return new Response(line.repeat(20000), { headers: { "content-type": "text/plain" } });
}
export async function slowly() {
  const encoder = new TextEncoder();
  const body = new ReadableStream({
    async start(controller) {
      controller.enqueue(encoder.encode("data: one\n\n"));
      await new Promise((resolve) => setTimeout(resolve, 60000));
      controller.close();
    },
  });
  return new Response(body, { headers: { "content-type": "text/event-stream" } });
}
"#;

fn project(settings: &str) -> Project {
    Project::new()
        .file("modules/main.ts", MODULE)
        .file("polygate.toml", settings)
        .function("get,head", "/whole", "whole")
        .function("get", "/large", "large")
        .function("get", "/slowly", "slowly")
}

#[test]
fn clients_get_what_they_accept_and_read_it_back() {
    let project = project("[compression]\nenabled = true\n");
    let gateway = project.run();
    let version =
        Command::new("curl").arg("--version").output().map(|output| output.stdout).unwrap_or_default();
    let version = String::from_utf8_lossy(&version).into_owned();
    for (coding, feature) in [("gzip", "libz"), ("br", "brotli"), ("zstd", "zstd")] {
        if !version.contains(feature) {
            skip(
                "compression::clients_get_what_they_accept_and_read_it_back",
                &format!("curl has no {coding}"),
            );
            continue;
        }
        for (path, lines) in [("/whole", 200), ("/large", 20_000)] {
            let accept = format!("accept-encoding: {coding}");
            let output = Command::new("curl")
                .args(["--silent", "--include", "--compressed", "--header", &accept, &gateway.url(path)])
                .output()
                .unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            let head = head.to_ascii_lowercase();
            assert!(head.contains(&format!("content-encoding: {coding}")), "{head}");
            assert!(head.contains("vary: accept-encoding"), "{head}");
            assert_eq!(
                body,
                "All work and no play makes Jack a dull boy.\n".repeat(lines),
                "{coding} {path}"
            );
        }
    }
    let plain = gateway.send("GET", "/whole", &[("accept-encoding", "identity")], "");
    assert_eq!((plain.header("content-encoding"), plain.header("vary")), (None, Some("Accept-Encoding")));
    assert_eq!(plain.header("etag"), Some("\"v1\""));
    let head = gateway.send("HEAD", "/whole", &[("accept-encoding", "gzip")], "");
    assert_eq!((head.status, head.header("content-encoding")), (200, None));
}

#[test]
fn event_streams_are_not_held_back() {
    // Named itself, it is compressed, and each event is sent as it comes.
    let settings = "[compression]\nenabled = true\ntypes = [\"text/event-stream\"]\nalgorithms = [\"gzip\"]\nmin-size = 0\n";
    for (settings, coding) in [("[compression]\nenabled = true\n", None), (settings, Some("gzip"))] {
        let project = project(settings);
        let gateway = project.run();
        let mut stream = TcpStream::connect(("127.0.0.1", gateway.port())).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"GET /slowly HTTP/1.1\r\nhost: a\r\naccept-encoding: gzip\r\n\r\n").unwrap();
        let mut seen = Vec::new();
        let shows = |seen: &[u8]| {
            let end = seen.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
            let head = String::from_utf8_lossy(&seen[..end]).to_ascii_lowercase();
            assert_eq!(head.contains("content-encoding: gzip"), coding.is_some(), "{head}");
            // The first chunk, after its length.
            let chunk = seen[end..].iter().position(|&b| b == b'\n')? + end + 1;
            let mut text = [0; 11];
            let read = match coding {
                Some(_) => flate2::read::GzDecoder::new(&seen[chunk..]).read_exact(&mut text),
                None => (&seen[chunk..]).read_exact(&mut text),
            };
            read.ok().map(|()| text == *b"data: one\n\n")
        };
        while shows(&seen) != Some(true) {
            let mut more = [0; 1024];
            let count = stream.read(&mut more).unwrap();
            assert!(count > 0, "{}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&more[..count]);
        }
    }
}

//! Bodies stream: nobody waits for the end of one, and nobody buffers it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use serde_json::json;

use crate::harness::{PATIENCE, Project};

const MODULE: &str = r#"
export async function pass(response: Response) {
  const next = new Response(response.body, response);
  next.headers.set("x-passed", "yes");
  return next;
}
export async function shout(response: Response) {
  const upper = new TransformStream<Uint8Array, Uint8Array>({
    transform(chunk, controller) { controller.enqueue(chunk.map((b) => (b > 96 && b < 123 ? b - 32 : b))); },
  });
  return new Response(response.body!.pipeThrough(upper), { headers: response.headers });
}
export async function counts(request: Request) {
  let bytes = 0;
  for await (const chunk of request.body!) bytes += chunk.byteLength;
  return { bytes };
}
export async function generates() {
  const stream = new ReadableStream({
    async start(controller) {
      for (const part of ["a", "b", "c"]) {
        controller.enqueue(new TextEncoder().encode(part));
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      controller.close();
    },
  });
  return new Response(stream, { headers: { "content-type": "text/plain" } });
}
"#;

/// An upstream that sends one event, waits until it is told, and sends another.
fn events(told: std::sync::mpsc::Receiver<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            read_head(&mut stream);
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n9\r\ndata: a\n\n\r\n")
                .unwrap();
            if told.recv_timeout(PATIENCE).is_err() {
                return;
            }
            stream.write_all(b"9\r\ndata: b\n\n\r\n0\r\n\r\n").unwrap();
        }
    });
    format!("http://{address}")
}

fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).unwrap() == 0 {
            break;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let mut seen = String::new();
    let mut buffer = [0; 1024];
    while !seen.contains(text) {
        let read = stream.read(&mut buffer).unwrap_or_else(|error| panic!("{error} after {seen:?}"));
        assert!(read > 0, "closed after {seen:?}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    seen
}

#[test]
fn the_first_event_arrives_before_the_upstream_ends() {
    let (tell, told) = std::sync::mpsc::channel();
    let base = events(told);
    let project = Project::new()
        .file("modules/main.ts", MODULE)
        .policy("pass", "pass", json!({}))
        .policy("shout", "shout", json!({}))
        .forward("/pass", &base, &[], &["pass"])
        .forward("/shout", &base, &[], &["shout"]);
    let gateway = project.run();
    for (path, first, second) in [("/pass", "data: a", "data: b"), ("/shout", "DATA: A", "DATA: B")] {
        let mut stream = TcpStream::connect(("127.0.0.1", gateway.port())).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        let seen = read_until(&mut stream, first);
        assert!(!seen.contains(second), "{seen}");
        tell.send(()).unwrap();
        read_until(&mut stream, second);
    }
}

#[test]
fn bodies_made_and_read_in_typescript_stream_both_ways() {
    let project = Project::new()
        .file("modules/main.ts", MODULE)
        .function("post", "/counts", "counts")
        .function("get", "/generates", "generates")
        .file("polygate.toml", "[budget]\ncpu = \"1s\"\n");
    let gateway = project.run();
    let reply = gateway.post("/counts", &"x".repeat(3_000_000));
    assert_eq!(reply.json(), json!({ "bytes": 3_000_000 }));
    let generated = gateway.get("/generates");
    assert_eq!((&*generated.body, generated.header("transfer-encoding")), ("abc", Some("chunked")));
}

#[test]
fn an_upload_reaches_the_upstream_while_it_is_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let project = Project::new().forward("/up", &base, &[], &[]);
    let gateway = project.run();
    let mut client = TcpStream::connect(("127.0.0.1", gateway.port())).unwrap();
    write!(client, "POST /up HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nfirst").unwrap();
    let (mut upstream, _) = listener.accept().unwrap();
    upstream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert!(read_head(&mut upstream).starts_with("POST /up HTTP/1.1\r\n"));
    read_until(&mut upstream, "first");
    client.write_all(b"again").unwrap();
    read_until(&mut upstream, "again");
    upstream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
    client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert!(read_until(&mut client, "\r\n\r\n").starts_with("HTTP/1.1 204"));
}

#[test]
fn an_upload_goes_on_while_the_client_does_not_read() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let project = Project::new()
        .forward("/plain", &base, &[], &[])
        .forward("/compressed", &base, &[], &[])
        .file("polygate.toml", "[compression]\nenabled = true\n");
    let gateway = project.run();
    // More than all buffers of the system hold.
    const LENGTH: usize = 32 << 20;
    for (path, more) in [("/plain", ""), ("/compressed", "accept-encoding: br\r\n")] {
        let mut client = TcpStream::connect(("127.0.0.1", gateway.port())).unwrap();
        client.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(client, "POST {path} HTTP/1.1\r\nhost: a\r\n{more}content-length: {LENGTH}\r\n\r\n").unwrap();
        let (mut upstream, _) = listener.accept().unwrap();
        read_head(&mut upstream);
        let mut speaks = upstream.try_clone().unwrap();
        let speaker = std::thread::spawn(move || {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n";
            let mut number = 0x9e37_79b9_u32;
            let mut noise = || {
                number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (number >> 24) as u8
            };
            let noise: Vec<u8> = (0..1 << 20).map(|_| noise()).collect();
            let _ = speaks.write_all(head.as_bytes());
            while speaks.write_all(&noise).is_ok() {}
        });
        let reader = std::thread::spawn(move || {
            let (mut buffer, mut count) = (vec![0; 1 << 16], 0);
            while count < LENGTH {
                match upstream.read(&mut buffer) {
                    Ok(read @ 1..) => count += read,
                    _ => break,
                }
            }
            count
        });
        // The response comes to a stand first.
        std::thread::sleep(Duration::from_millis(500));
        let piece = vec![b'x'; 1 << 16];
        for _ in 0..LENGTH / piece.len() {
            client.write_all(&piece).unwrap();
        }
        assert_eq!(reader.join().unwrap(), LENGTH, "{path}");
        drop(client);
        speaker.join().unwrap();
    }
}

#[test]
fn an_upload_that_breaks_off_cuts_its_response_and_is_recorded() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let project = Project::new().forward("/up", &base, &[], &[]).body_limit("get,post", "/up", json!(1000));
    let gateway = project.dev();
    let large = format!("400\r\n{}\r\n", "x".repeat(1024));
    let cases = [("nonsense\r\n", "bad_request"), (&large, "body_too_large"), ("", "client_closed")];
    for (rest, reason) in cases {
        let mut client = TcpStream::connect(("127.0.0.1", gateway.port())).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        write!(client, "POST /up HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nwell\r\n")
            .unwrap();
        let (mut upstream, _) = listener.accept().unwrap();
        upstream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        read_head(&mut upstream);
        let begin = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n";
        upstream.write_all(begin.as_bytes()).unwrap();
        read_until(&mut client, "half");
        if rest.is_empty() {
            drop(client);
        } else {
            client.write_all(rest.as_bytes()).unwrap();
            let mut left = String::new();
            // It may be reset.
            let _ = client.read_to_string(&mut left);
            assert!(!left.contains("0\r\n"), "{reason}: {left:?}");
        }
        // The upstream's connection ends, and the body on it does not.
        let mut seen = Vec::new();
        upstream.read_to_end(&mut seen).unwrap();
        assert_eq!(String::from_utf8_lossy(&seen), "4\r\nwell\r\n", "{reason}");
        let recorded = || gateway.admin("/exchanges?limit=1")["exchanges"][0]["reason"] == reason;
        gateway.wait(|| recorded().then_some(()), reason);
    }
}

#[test]
fn early_hints_arrive_before_the_response_is_made() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let project = Project::new().file("modules/main.ts", MODULE).policy("pass", "pass", json!({})).forward(
        "/hints",
        &base,
        &[],
        &["pass"],
    );
    let gateway = project.run();
    let mut client = TcpStream::connect(("127.0.0.1", gateway.port())).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(client, "POST /hints HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        .unwrap();
    // The gateway itself tells the client to go on, once its body is wanted.
    assert_eq!(read_until(&mut client, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    let (mut upstream, _) = listener.accept().unwrap();
    upstream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = read_head(&mut upstream);
    assert!(!head.contains("expect"), "{head}");
    upstream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
    for number in ["1", "2"] {
        let hint = format!("HTTP/1.1 103 Early Hints\r\nlink: </{number}>\r\n");
        upstream.write_all(format!("{hint}connection: x\r\nx: hop\r\n\r\n").as_bytes()).unwrap();
        assert_eq!(read_until(&mut client, "\r\n\r\n"), format!("{hint}\r\n"));
    }
    client.write_all(b"ok").unwrap();
    read_until(&mut upstream, "ok");
    upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone").unwrap();
    let reply = read_until(&mut client, "done");
    assert!(reply.starts_with("HTTP/1.1 200 OK\r\n") && reply.contains("x-passed: yes\r\n"), "{reply}");
}

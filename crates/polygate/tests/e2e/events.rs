//! Server-sent events: each is there as soon as it was sent, and whoever goes away is missed at once.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use flate2::write::GzDecoder;
use serde_json::json;

use crate::harness::{Gateway, PATIENCE, Project};

const MODULE: &str = r#"
export async function pass(response: Response) {
  const next = new Response(response.body, response);
  next.headers.set("x-passed", "yes");
  return next;
}
export async function through(response: Response) {
  return new Response(response.body!.pipeThrough(new TransformStream()), response);
}
"#;

/// How late the quickest of some events may be, and how late the gateway may notice, the quickest time, that a client is
/// gone. The others have all the time that a busy machine needs.
const AT_ONCE: Duration = Duration::from_millis(20);
const MISSED: Duration = Duration::from_millis(50);

/// An upstream that begins a stream of events of unknown end on each connection, and hands it out.
fn upstream() -> (String, Receiver<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                head.push(byte[0]);
            }
            let fields = "content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n";
            write!(stream, "HTTP/1.1 200 OK\r\n{fields}\r\n").unwrap();
            if sender.send(stream).is_err() {
                return;
            }
        }
    });
    (format!("http://{address}"), receiver)
}

/// A client, what it has read, and how it is to be understood.
struct Listener {
    stream: TcpStream,
    text: Reading,
}

enum Reading {
    Plain(Vec<u8>),
    Gzip(Box<GzDecoder<Vec<u8>>>),
}

impl Listener {
    /// Asks for events and reads the response's head.
    fn new(gateway: &Gateway, path: &str, gzip: bool) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", gateway.port())).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // Of version 1.0: the body ends with the connection, and is not in chunks.
        write!(stream, "GET {path} HTTP/1.0\r\nhost: a\r\naccept-encoding: gzip\r\n\r\n").unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert_eq!(head.contains("Content-Encoding: gzip\r\n"), gzip, "{head}");
        let text = if gzip {
            Reading::Gzip(Box::new(GzDecoder::new(Vec::new())))
        } else {
            Reading::Plain(Vec::new())
        };
        Self { stream, text }
    }

    /// Reads until an event is there.
    fn hear(&mut self, event: &str) {
        loop {
            let seen = match &self.text {
                Reading::Plain(text) => text,
                Reading::Gzip(decoder) => decoder.get_ref(),
            };
            if seen.ends_with(event.as_bytes()) {
                return;
            }
            let mut buffer = [0; 1024];
            let count = self.stream.read(&mut buffer).unwrap();
            assert!(count > 0, "closed before {event:?}");
            match &mut self.text {
                Reading::Plain(text) => text.extend(&buffer[..count]),
                Reading::Gzip(decoder) => {
                    decoder.write_all(&buffer[..count]).unwrap();
                    decoder.flush().unwrap();
                }
            }
        }
    }
}

/// Sends events, each once the one before was heard, and says how late the quickest was.
fn quickest(upstream: &mut TcpStream, listener: &mut Listener) -> Duration {
    let lateness = (0..20).map(|number| {
        let event = format!("data: {number}\n\n");
        let sent = Instant::now();
        write!(upstream, "{:x}\r\n{event}\r\n", event.len()).unwrap();
        listener.hear(&event);
        sent.elapsed()
    });
    lateness.min().unwrap()
}

fn project(base: &str, settings: &str) -> Project {
    Project::new()
        .file("modules/main.ts", MODULE)
        .file("polygate.toml", settings)
        .policy("pass", "pass", json!({}))
        .policy("through", "through", json!({}))
        .forward("/plain", base, &[], &[])
        .forward("/pass", base, &[], &["pass"])
        .forward("/through", base, &[], &["through"])
}

#[test]
fn events_are_there_when_they_are_sent() {
    let (base, streams) = upstream();
    let listed = "[compression]\nenabled = true\ntypes = [\"text/event-stream\"]\nmin-size = 0\n";
    for (settings, gzip) in [("", false), ("[compression]\nenabled = true\n", false), (listed, true)] {
        let gateway = project(&base, settings).run();
        for path in ["/plain", "/pass", "/through"] {
            let mut listener = Listener::new(&gateway, path, gzip);
            let mut stream = streams.recv().unwrap();
            let quickest = quickest(&mut stream, &mut listener);
            assert!(quickest < AT_ONCE, "{path} with {settings:?}: {quickest:?}");
        }
    }
}

#[test]
fn a_listener_that_goes_away_is_missed_at_once() {
    let (base, streams) = upstream();
    let gateway = project(&base, "").run();
    for path in ["/plain", "/pass", "/through"] {
        let noticed = (0..5).map(|_| {
            let mut listener = Listener::new(&gateway, path, false);
            let mut stream = streams.recv().unwrap();
            quickest(&mut stream, &mut listener);
            let gone = Instant::now();
            drop(listener);
            // Closed, or reset because it was not read to its end.
            let closed = stream.read(&mut [0]);
            assert!(!matches!(closed, Ok(1..)), "{path}");
            gone.elapsed()
        });
        let quickest = noticed.min().unwrap();
        assert!(quickest < MISSED, "{path}: {quickest:?}");
    }
}

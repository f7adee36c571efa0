//! Connections that outlive many requests, while binaries and deployments change: WebSockets and streams of events.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;

use super::PORT;

/// How many there are of each kind.
const EACH: usize = 4;
/// Events of one stream, and the pause between two events or messages.
const EVENTS: usize = 30;
const PAUSE: Duration = Duration::from_millis(50);

/// A message of a client, whose mask is zero, the server's answer to it, and the farewell of a gateway that stops.
const MESSAGE: &[u8] = b"\x81\x82\0\0\0\0hi";
const ANSWER: &[u8] = b"\x81\x02hi";
const GOING_AWAY: &[u8] = b"\x88\x02\x03\xe9";

/// What became of the connections.
#[derive(Default)]
pub(super) struct Counts {
    messages: AtomicU64,
    farewells: AtomicU64,
    streams: AtomicU64,
    failed: AtomicU64,
}

impl Counts {
    /// One line about them; an error when one failed or nothing was tried.
    pub(super) fn conclude(&self) -> std::result::Result<(), String> {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        println!(
            "{} messages of WebSockets, {} moved on after 1001; {} streams of {EVENTS} events; {} failed",
            of(&self.messages),
            of(&self.farewells),
            of(&self.streams),
            of(&self.failed),
        );
        match of(&self.failed) > 0 || of(&self.messages) == 0 || of(&self.streams) == 0 {
            true => Err("a WebSocket or a stream of events failed".to_owned()),
            false => Ok(()),
        }
    }

    fn fail(&self, what: &str, error: &Error) {
        eprintln!("{what}: {error}");
        self.failed.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(PAUSE);
    }
}

/// Starts what the connections lead to, and adds their routes to a project.
pub(super) fn upstream(project: &Path) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let base = format!("http://{}", listener.local_addr()?);
    // It ends with the process.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Whoever goes away does so in the midst of something.
            std::thread::spawn(move || serve(stream));
        }
    });
    let handler = json!({
        "export": "urlForwardHandler", "module": "$import(@polygate/runtime)", "options": { "baseUrl": base },
    });
    let route = json!({ "get": { "x-polygate-route": { "handler": handler, "policies": {} } } });
    let paths = json!({ "/soak/socket": route, "/soak/events": route });
    let routes = json!({ "openapi": "3.1.0", "info": { "title": "soak", "version": "1" }, "paths": paths });
    std::fs::write(project.join("config/soak.oas.json"), routes.to_string())
}

fn event(number: usize) -> String {
    format!("data: {number}\n\n")
}

/// What a stream holds when nothing is missing.
pub(super) fn whole_stream() -> String {
    (0..EVENTS).map(event).collect()
}

fn serve(mut stream: TcpStream) -> Result<()> {
    if !head(&mut stream)?.contains("/soak/socket ") {
        let fields = "content-type: text/event-stream\r\nconnection: close\r\n";
        write!(stream, "HTTP/1.1 200 OK\r\n{fields}\r\n")?;
        for number in 0..EVENTS {
            stream.write_all(event(number).as_bytes())?;
            std::thread::sleep(PAUSE);
        }
        return Ok(());
    }
    let fields = "connection: upgrade\r\nupgrade: websocket\r\n";
    write!(stream, "HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n")?;
    let mut message = [0; MESSAGE.len()];
    loop {
        stream.read_exact(&mut message)?;
        if message != MESSAGE {
            // A farewell, which is as long.
            return Ok(());
        }
        stream.write_all(ANSWER)?;
    }
}

/// Keeps connections of both kinds busy until `over`.
pub(super) fn load<'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    over: &'scope AtomicBool,
    counts: &'scope Counts,
) {
    for _ in 0..EACH {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                match socket(over, counts) {
                    Ok(()) => {}
                    Err(error) => counts.fail("a WebSocket", &error),
                }
            }
        });
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                match events() {
                    Ok(()) => _ = counts.streams.fetch_add(1, Ordering::Relaxed),
                    Err(error) => counts.fail("a stream of events", &error),
                }
            }
        });
    }
}

/// Talks over one WebSocket until it is told that the gateway goes away.
fn socket(over: &AtomicBool, counts: &Counts) -> Result<()> {
    let mut stream = ask("/soak/socket", "1.1", "connection: upgrade\r\nupgrade: websocket\r\n")?;
    let answer = head(&mut stream)?;
    if !answer.starts_with("HTTP/1.1 101 ") {
        return Err(Error::other(answer));
    }
    let mut heard = [0; ANSWER.len()];
    while !over.load(Ordering::Relaxed) {
        stream.write_all(MESSAGE)?;
        stream.read_exact(&mut heard)?;
        match &heard[..] {
            ANSWER => counts.messages.fetch_add(1, Ordering::Relaxed),
            GOING_AWAY => {
                counts.farewells.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
            _ => return Err(Error::other(format!("{heard:?} is no answer"))),
        };
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Reads one stream to its end, of which nothing may be missing.
fn events() -> Result<()> {
    let mut text = String::new();
    ask("/soak/events", "1.0", "")?.read_to_string(&mut text)?;
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    if body == whole_stream() { Ok(()) } else { Err(Error::other(text)) }
}

/// Asks for something. To version 1.0 a body is sent as it is, and ends with the connection.
fn ask(path: &str, version: &str, fields: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", PORT))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/{version}\r\nhost: localhost\r\n{fields}\r\n")?;
    Ok(stream)
}

fn head(stream: &mut TcpStream) -> Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

//! What goes out: framing made anew, hop-by-hop fields gone, the rest as it was.

use bytes::Bytes;
use http::StatusCode;
use polygate_pipeline::{Body, Target, Upgrade, Version};

use super::*;
use crate::encode::{Encoder, LengthMismatch, ResponseOptions};
use crate::{COALESCE, Framing, Outbox, encode};

fn headers(text: &str) -> Headers {
    text.lines().map(|line| line.split_once(": ").unwrap()).collect()
}

fn request_text(method: Method, fields: &str, framing: Framing) -> String {
    let mut out = BytesMut::new();
    let target = Target::parse("http://up:9/p?q").unwrap();
    encode::request_head(&mut out, &method, &target, &headers(fields), framing, None);
    String::from_utf8(out.to_vec()).unwrap()
}

#[test]
fn request_heads() {
    let fields = "X-A: 1\nConnection: close, x-b\nKeep-Alive: 5\nTE: trailers\nTransfer-Encoding: chunked\n\
                  content-length: 99\nx-b: 2\nUpgrade: foo\nExpect: 100-continue\nTrailer: x";
    assert_eq!(
        request_text(Method::POST, fields, Framing::Length(7)),
        "POST /p?q HTTP/1.1\r\nHost: up:9\r\nX-A: 1\r\ncontent-length: 7\r\nx-b: 2\r\n\r\n"
    );
    assert_eq!(
        request_text(Method::GET, "host: b\nX-A: 1\nHost: c", Framing::Empty),
        "GET /p?q HTTP/1.1\r\nHost: b\r\nX-A: 1\r\n\r\n"
    );
    assert!(request_text(Method::PUT, "", Framing::Empty).ends_with("\r\nContent-Length: 0\r\n\r\n"));
    let text = request_text(Method::POST, "Content-Length: 3\nContent-Length: 4", Framing::Chunked);
    assert_eq!(text, "POST /p?q HTTP/1.1\r\nHost: up:9\r\nTransfer-Encoding: chunked\r\n\r\n");
}

#[test]
fn heads_that_ask_for_another_protocol_and_agree_to_it() {
    let upgrade = Upgrade::new("WebSocket");
    let fields = headers("Upgrade: a\nConnection: upgrade, b\nContent-Length: 0\nX: 1");
    let mut out = BytesMut::new();
    let target = Target::parse("http://up/chat").unwrap();
    encode::request_head(&mut out, &Method::GET, &target, &fields, Framing::Empty, upgrade.as_ref());
    let text = String::from_utf8(out.split().to_vec()).unwrap();
    let agreed = "X: 1\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n";
    assert_eq!(text, format!("GET /chat HTTP/1.1\r\nHost: up\r\nContent-Length: 0\r\n{agreed}"));
    let options = ResponseOptions {
        method: &Method::GET,
        version: Version::Http11,
        framing: Framing::Empty,
        hidden_length: None,
        keep_alive: true,
        date: None,
        upgrade: upgrade.as_ref(),
    };
    encode::response_head(&mut out, StatusCode::SWITCHING_PROTOCOLS, &fields, &options);
    let text = String::from_utf8(out.to_vec()).unwrap();
    assert_eq!(text, format!("HTTP/1.1 101 Switching Protocols\r\n{agreed}"));
}

fn response_text(
    method: Method,
    status: u16,
    fields: &str,
    version: Version,
    body: &Body,
    keep: bool,
) -> String {
    let status = StatusCode::from_u16(status).unwrap();
    let options = ResponseOptions {
        method: &method,
        version,
        framing: encode::response_framing(&method, status, version, body),
        hidden_length: body.length(),
        keep_alive: keep,
        date: Some(b"D"),
        upgrade: None,
    };
    let mut out = BytesMut::new();
    encode::response_head(&mut out, status, &headers(fields), &options);
    String::from_utf8(out.to_vec()).unwrap()
}

#[test]
fn response_heads() {
    use Version::{Http10, Http11};
    let (full, empty) = (Body::full("hello"), Body::empty());
    let text = response_text(Method::GET, 200, "date: x\nContent-length: 9\nA: b", Http11, &full, true);
    assert_eq!(text, "HTTP/1.1 200 OK\r\ndate: x\r\nContent-length: 5\r\nA: b\r\n\r\n");
    let text = response_text(Method::GET, 299, "Transfer-Encoding: chunked", Http10, &empty, true);
    assert_eq!(text, "HTTP/1.1 299 \r\nContent-Length: 0\r\nDate: D\r\nConnection: keep-alive\r\n\r\n");
    let text = response_text(Method::HEAD, 200, "Content-Length: 12", Http11, &empty, false);
    assert_eq!(text, "HTTP/1.1 200 OK\r\nContent-Length: 12\r\nDate: D\r\nConnection: close\r\n\r\n");
    let text = response_text(Method::HEAD, 200, "", Http11, &full, true);
    assert_eq!(text, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nDate: D\r\n\r\n");
    let text = response_text(Method::GET, 204, "Content-Length: 12", Http11, &full, true);
    assert_eq!(text, "HTTP/1.1 204 No Content\r\nDate: D\r\n\r\n");
    let text = response_text(Method::GET, 304, "Content-Length: 12", Http11, &empty, true);
    assert_eq!(text, "HTTP/1.1 304 Not Modified\r\nContent-Length: 12\r\nDate: D\r\n\r\n");
}

/// All that waits, taken in writes of `step` bytes.
fn drain(out: &mut Outbox, step: usize) -> Vec<u8> {
    let mut wire = Vec::new();
    while !out.is_empty() {
        let (slices, used) = out.slices();
        let all: Vec<u8> = slices[..used].iter().flat_map(|s| s.iter().copied()).collect();
        assert_eq!(all.len(), out.len());
        if let Some(single) = out.single() {
            assert_eq!(single, &all[..]);
        }
        let taken = step.min(all.len());
        wire.extend_from_slice(&all[..taken]);
        out.advance(taken);
    }
    wire
}

#[test]
fn bodies_survive_any_write_size() {
    for size in [1, COALESCE, COALESCE + 1, 3 * COALESCE] {
        for step in [1, 7, 5000, usize::MAX] {
            let data = Bytes::from(vec![b'x'; size]);
            let mut out = Outbox::new();
            out.end_mut()
                .extend_from_slice(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
            let mut encoder = Encoder::new(Framing::Chunked);
            encoder.data(&mut out, data.clone()).unwrap();
            encoder.data(&mut out, Bytes::from_static(b"tail")).unwrap();
            let trailers = headers("Sum: 1\nContent-Length: 4");
            encoder.end(&mut out, Some(&trailers)).unwrap();
            assert_eq!(out.single().is_some(), size <= COALESCE, "{size}");
            let wire = drain(&mut out, step);
            let m = message([&wire[..]]).unwrap();
            assert_eq!(m.body, [&data[..], b"tail"].concat());
            assert!(m.whole && m.rest.is_empty());
            assert_eq!(m.trailers, Some(headers("Sum: 1")));
        }
    }
}

#[test]
fn a_body_cannot_break_its_promise() {
    let mut out = Outbox::new();
    let mut encoder = Encoder::new(Framing::Length(3));
    assert_eq!(encoder.data(&mut out, Bytes::from_static(b"four")), Err(LengthMismatch));
    assert!(out.is_empty());
    let mut encoder = Encoder::new(Framing::Length(3));
    encoder.data(&mut out, Bytes::from_static(b"ab")).unwrap();
    assert_eq!(encoder.end(&mut out, None), Err(LengthMismatch));
    assert_eq!(Encoder::new(Framing::Empty).data(&mut out, Bytes::from_static(b"a")), Err(LengthMismatch));
}

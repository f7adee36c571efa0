//! Heads that HTTP/1.1 would be read differently for, or that are no heads at all: nothing of them is forwarded.

use std::cell::RefCell;
use std::rc::Rc;

use polygate_pipeline::{Reason, Request};

use super::wire::{self, Wire};
use super::*;

/// A good head, with fields of it left out or added.
fn head_with<'a>(without: &[&str], more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let good = [(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "a.test")];
    let kept = good.into_iter().filter(|(name, _)| !without.contains(name));
    kept.chain(more.iter().copied()).collect()
}

/// The same of CONNECT.
fn connect<'a>(without: &[&str], more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let without: Vec<&str> = without.iter().chain(&[":method"]).copied().collect();
    let mut head = vec![(":method", "CONNECT")];
    head.extend(head_with(&without, more));
    head
}

#[test]
fn malformed_heads_reset_their_stream_and_reach_nobody() {
    run(async {
        let called = Rc::new(RefCell::new(Vec::new()));
        let log = called.clone();
        let gate = gate(move |request: Request| {
            log.borrow_mut().push(request.target.path().to_owned());
            async { text("ok") }
        });
        let long = "M".repeat(300);
        for (what, fields) in [
            ("no method", head_with(&[":method"], &[])),
            ("no path", head_with(&[":path"], &[])),
            ("an empty path", head_with(&[":path"], &[(":path", "")])),
            ("a relative path", head_with(&[":path"], &[(":path", "x")])),
            ("a path with a space", head_with(&[":path"], &[(":path", "/a b")])),
            ("a path that ends its line", head_with(&[":path"], &[(":path", "/ HTTP/1.1\r\nx: y")])),
            ("a path of *", head_with(&[":path"], &[(":path", "*")])),
            ("an absolute path", head_with(&[":path"], &[(":path", "http://b/")])),
            ("no scheme", head_with(&[":scheme"], &[])),
            ("two paths", head_with(&[], &[(":path", "/admin")])),
            ("two methods", head_with(&[], &[(":method", "POST")])),
            ("two authorities", head_with(&[], &[(":authority", "b.test")])),
            ("a late pseudo field", head_with(&[":path"], &[("x", "y"), (":path", "/")])),
            ("a response's field", head_with(&[], &[(":status", "200")])),
            ("a protocol of GET", head_with(&[], &[(":protocol", "websocket")])),
            ("two protocols", connect(&[], &[(":protocol", "websocket"), (":protocol", "websocket")])),
            ("an empty protocol", connect(&[], &[(":protocol", "")])),
            ("a protocol with a space", connect(&[], &[(":protocol", "web socket")])),
            ("a protocol that ends its line", connect(&[], &[(":protocol", "websocket\r\nx: y")])),
            ("a protocol without a path", connect(&[":path"], &[(":protocol", "websocket")])),
            ("a protocol without a scheme", connect(&[":scheme"], &[(":protocol", "websocket")])),
            ("a protocol without an authority", connect(&[":authority"], &[(":protocol", "websocket")])),
            ("a path of CONNECT", connect(&[":scheme"], &[])),
            ("a scheme of CONNECT", connect(&[":path"], &[])),
            ("a length", connect(&[], &[(":protocol", "websocket"), ("content-length", "0")])),
            ("upgrade in CONNECT", connect(&[], &[(":protocol", "websocket"), ("upgrade", "websocket")])),
            ("no authority at all", head_with(&[":authority"], &[])),
            ("an empty authority", head_with(&[":authority"], &[(":authority", "")])),
            ("user information", head_with(&[":authority"], &[(":authority", "u@a.test")])),
            ("a path in the authority", head_with(&[":authority"], &[(":authority", "a.test/x")])),
            ("another host", head_with(&[], &[("host", "b.test")])),
            ("two hosts", head_with(&[":authority"], &[("host", "a.test"), ("host", "a.test")])),
            ("connection", head_with(&[], &[("connection", "close")])),
            ("transfer-encoding", head_with(&[], &[("transfer-encoding", "chunked")])),
            ("its disguise", head_with(&[], &[("transfer_encoding", "chunked")])),
            ("upgrade", head_with(&[], &[("upgrade", "h2c")])),
            ("keep-alive", head_with(&[], &[("keep-alive", "timeout=5")])),
            ("proxy-connection", head_with(&[], &[("proxy-connection", "close")])),
            ("te", head_with(&[], &[("te", "gzip")])),
            ("a length of a body that is not there", head_with(&[], &[("content-length", "5")])),
            ("two lengths", head_with(&[], &[("content-length", "0"), ("content-length", "1")])),
            ("the same length twice", head_with(&[], &[("content-length", "0"), ("content-length", "0")])),
            ("a list of lengths", head_with(&[], &[("content-length", "0, 0")])),
            ("no number", head_with(&[], &[("content-length", "+0")])),
            ("an upper case name", head_with(&[], &[("X-Upper", "v")])),
            ("a name with a space", head_with(&[], &[("x y", "v")])),
            ("a name with a colon", head_with(&[], &[("x:y", "v")])),
            ("a name that ends its line", head_with(&[], &[("x\r\ny", "v")])),
            ("an empty name", head_with(&[], &[("", "v")])),
            ("a value with a line", head_with(&[], &[("x", "a\r\nb: c")])),
            ("a value with a line feed", head_with(&[], &[("x", "a\nb")])),
            ("a value with NUL", head_with(&[], &[("x", "a\0b")])),
            ("a value after a space", head_with(&[], &[("x", " a")])),
            ("a value before a tab", head_with(&[], &[("x", "a\t")])),
            ("a method with a space", head_with(&[":method"], &[(":method", "GET / HTTP/1.1")])),
            ("an empty method", head_with(&[":method"], &[(":method", "")])),
        ] {
            let mut wire = Wire::open(&gate).await;
            wire.head(1, &fields, true).await;
            let ended = loop {
                let got = wire.next().await.unwrap_or_else(|| panic!("closed without a word: {what}"));
                if matches!(got.kind, wire::HEADERS | wire::RST_STREAM | wire::GOAWAY) {
                    break got;
                }
            };
            assert_ne!(ended.kind, wire::HEADERS, "{what} was answered");
            assert_eq!(ended.code(), wire::PROTOCOL_ERROR, "{what}");
            if ended.kind == wire::RST_STREAM {
                // The connection is as good as before.
                wire.get(3, "/next").await;
                assert_eq!(wire.next_of(wire::HEADERS).await.stream, 3, "{what}");
            }
            called.borrow_mut().retain(|path| path != "/next");
            assert_eq!(*called.borrow(), [""; 0], "{what} was forwarded");
        }
        // What can be told is answered.
        let mut wire = Wire::open(&gate).await;
        for (n, fields) in [
            head_with(&[":method", ":path", ":scheme"], &[(":method", "CONNECT")]),
            head_with(&[":method"], &[(":method", &long)]),
            head_with(&[], &[("expect", "a-miracle")]),
        ]
        .into_iter()
        .enumerate()
        {
            wire.head(1 + 2 * n as u32, &fields, true).await;
            wire.next_of(wire::HEADERS).await;
        }
        gate.until(|g| g.ends.borrow().iter().filter(|end| end.2.is_none()).count() > 0).await;
        assert!(called.borrow().is_empty());
        let refused = gate.ends.borrow().iter().filter(|end| end.2 == Some(Reason::BadRequest)).count();
        assert!(refused >= 9, "{refused} records of malformed heads");
    });
}

#[test]
fn bodies_must_have_the_length_of_their_head() {
    run(async {
        let gate = gate(|request: Request| async move {
            match request.body.collect(100).await {
                Ok((body, _)) => text(body),
                Err(failure) => Response::new(failure.status()),
            }
        });
        let post = head_with(&[":method"], &[(":method", "POST"), ("content-length", "5")]);
        for (pieces, good) in [
            (&["hello"][..], true),
            (&["hel", "lo"], true),
            (&["", "hello"], true),
            (&["hell"], false),
            (&["hello!"], false),
            (&["hel", "lo!"], false),
        ] {
            let mut wire = Wire::open(&gate).await;
            wire.head(1, &post, false).await;
            for (n, piece) in pieces.iter().enumerate() {
                let flags = if n + 1 == pieces.len() { wire::END_STREAM } else { 0 };
                wire.frame(wire::DATA, flags, 1, piece.as_bytes()).await;
            }
            if good {
                assert_eq!(wire.next_of(wire::DATA).await.payload, b"hello");
            } else {
                let reset = wire.next_of(wire::RST_STREAM).await;
                assert_eq!((reset.stream, reset.code()), (1, wire::PROTOCOL_ERROR), "{pieces:?}");
                wire.get(3, "/").await;
                assert_eq!(wire.next_of(wire::HEADERS).await.stream, 3);
            }
        }
    });
}

#[test]
fn heads_are_taken_as_those_of_http1_are() {
    run(async {
        let gate = gate(|request: Request| async move {
            let fields: Vec<String> = request
                .headers
                .iter()
                .map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value)))
                .collect();
            text(format!("{} {}", request.target, fields.join("|")))
        });
        for (fields, expected) in [
            (head_with(&[], &[]), "http://a.test/ host=a.test"),
            (
                head_with(&[], &[("cookie", "a=1"), ("x", "1"), ("cookie", "b=2"), ("te", "trailers")]),
                "http://a.test/ cookie=a=1; b=2|x=1|te=trailers|host=a.test",
            ),
            (head_with(&[":authority"], &[("host", "b.test:81")]), "http://b.test:81/ host=b.test:81"),
            (head_with(&[], &[("host", "A.test")]), "http://a.test/ host=A.test"),
            // The scheme is that of the connection: a proxy before us may have ended TLS.
            (head_with(&[":scheme"], &[(":scheme", "https")]), "http://a.test/ host=a.test"),
            (
                head_with(&[":path"], &[(":path", "/%C3%A9?q=a%20b")]),
                "http://a.test/%C3%A9?q=a%20b host=a.test",
            ),
            (
                head_with(&[":path", ":method"], &[(":method", "OPTIONS"), (":path", "*")]),
                "http://a.test* host=a.test",
            ),
        ] {
            let mut wire = Wire::open(&gate).await;
            wire.head(1, &fields, true).await;
            let got = wire.next_of(wire::DATA).await;
            assert_eq!(String::from_utf8(got.payload).unwrap(), expected);
        }
    });
}

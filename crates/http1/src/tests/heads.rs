//! Heads: what is refused, with which status, and what is made of the rest.

use polygate_pipeline::{Known, Version};

use super::*;
use crate::Framing;
use crate::WireError as E;

/// `GET / HTTP/1.1`, a host, and more fields.
fn with(fields: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

#[test]
fn refuses_ambiguous_framing() {
    for (fields, error) in [
        ("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", E::FramingConflict),
        ("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", E::FramingConflict),
        ("Content-Length: 0\r\nContent-Length: 31\r\n", E::ContentLength),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", E::ContentLength),
        ("Content-Length: 5, 5\r\n", E::ContentLength),
        ("content-length: \r\ncontent-length: 5\r\n", E::ContentLength),
        ("content-length:\r\n", E::ContentLength),
        ("Content-Length: +5\r\n", E::ContentLength),
        ("Content-Length: -1\r\n", E::ContentLength),
        ("Content-Length: 0x5\r\n", E::ContentLength),
        ("Content-Length: 5_0\r\n", E::ContentLength),
        ("Content-Length: 5 5\r\n", E::ContentLength),
        ("Content-Length: 18446744073709551621\r\n", E::ContentLength),
        ("Content-Length: 9223372036854775808\r\n", E::ContentLength),
        ("Content-Length: 00000000000000000005\r\n", E::ContentLength),
        ("Transfer-Encoding: xchunked\r\n", E::TransferEncoding),
        ("Transfer-Encoding: chunked, identity\r\n", E::TransferEncoding),
        ("Transfer-Encoding: gzip, chunked\r\n", E::TransferEncoding),
        ("Transfer-Encoding: ,chunked\r\n", E::TransferEncoding),
        ("Transfer-Encoding:\r\n", E::TransferEncoding),
        ("Transfer-Encoding: \"chunked\"\r\n", E::TransferEncoding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", E::TransferEncoding),
        ("Transfer-Encoding : chunked\r\n", E::FieldName),
        ("Transfer-Encoding:\x0bchunked\r\nContent-Length: 5\r\n", E::FieldValue),
        ("Transfer_Encoding: chunked\r\n", E::FieldName),
        ("content_length: 5\r\n", E::FieldName),
        ("Transfer-Encoding:\r\n chunked\r\n", E::FieldName),
    ] {
        let got = request(with(fields).as_bytes()).map(|_| ());
        match got {
            Err(e) => {
                // A folded or empty value is refused for whichever fault shows first.
                let either = fields.contains("\r\n chunked") || fields.starts_with("content-length: \r\n");
                assert!(e == error || either, "{fields:?}: {e:?}");
                assert_eq!(e.status(), 400, "{fields:?}");
            }
            Ok(()) => unreachable!("{fields:?} was taken"),
        }
    }
    let head = request(with("Content-Length: 0000000000000000005\r\n").as_bytes()).unwrap().unwrap();
    assert_eq!(head.framing, Framing::Length(5));
    let head = request(with("Content-Length: 05\r\n").as_bytes()).unwrap().unwrap();
    assert_eq!(head.framing, Framing::Length(5));
    let head = request(with("Transfer-Encoding: ChunKed\r\n").as_bytes()).unwrap().unwrap();
    assert_eq!(head.framing, Framing::Chunked);
    let old = b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(request(old).unwrap_err(), E::TransferEncoding);
    let folded_first = b"POST / HTTP/1.1\r\n Transfer-Encoding: chunked\r\nHost: a\r\n\r\n";
    assert_eq!(request(folded_first).unwrap_err().status(), 400);
}

#[test]
fn refuses_malformed_heads() {
    for (bytes, error) in [
        (&b"GET / HTTP/1.1\nHost: a\n\n"[..], E::BareLineFeed),
        (b"GET / HTTP/1.1\r\nHost: a\n\r\n", E::BareLineFeed),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: v\rw\r\n\r\n", E::FieldValue),
        (b"GET / HTTP/1.1\r\nHost: a\x00.b\r\n\r\n", E::FieldValue),
        (b"GET / HTTP/1.1\r\nHost: a\r\n: v\r\n\r\n", E::FieldName),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTe\nst: v\r\n\r\n", E::BareLineFeed),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX\x85: v\r\n\r\n", E::FieldName),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX : v\r\n\r\n", E::FieldName),
        (b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", E::FieldName),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", E::FieldName),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x7f\r\n\r\n", E::FieldValue),
        // Refused at once, not when the client falls silent.
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\r\n", E::FieldName),
        (b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n", E::FieldName),
        (b"GET / HTTP/1.1\r\n\r\n", E::Host),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", E::Host),
        (b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", E::Host),
        (b"GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", E::Host),
        (b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", E::Host),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", E::Host),
        (b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", E::Host),
        (b"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", E::Host),
        (b"GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n", E::Host),
        (b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", E::Host),
        (b"GET / HTTP/1.1\r\nHost: [a]\r\n\r\n", E::Host),
        (b"GET / HTTP/1.1\r\nHost: \xc3\xa4\r\n\r\n", E::Host),
        (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", E::Host),
        (b"GET http://b/ HTTP/1.1\r\n\r\n", E::Host),
        (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", E::RequestLine),
        (b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", E::RequestLine),
        (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", E::FieldName),
        (b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", E::RequestLine),
        (b"GET /\nHTTP/1.1\r\nHost: a\r\n\r\n", E::BareLineFeed),
        (b"GET /\r\nHost: a\r\n\r\n", E::RequestLine),
        (b"GET / HTTP/1.32\r\nHost: a\r\n\r\n", E::RequestLine),
        (b"GET / http/1.1\r\nHost: a\r\n\r\n", E::RequestLine),
        (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", E::Version),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", E::Version),
        (b"G=\":<> / HTTP/1.1\r\nHost: a\r\n\r\n", E::RequestLine),
        (b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", E::RequestLine),
        (b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", E::Target),
        (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", E::Target),
        (b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", E::Target),
        (b"GET /a\xff HTTP/1.1\r\nHost: a\r\n\r\n", E::RequestLine),
        (b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", E::Target),
        (b"GET /?\xc2\xa0 HTTP/1.1\r\nHost: a\r\n\r\n", E::Target),
        (b"GET http://u@b/ HTTP/1.1\r\nHost: b\r\n\r\n", E::Target),
        (b"GET http://b/#x HTTP/1.1\r\nHost: b\r\n\r\n", E::Target),
        (b"GET ftp://b/ HTTP/1.1\r\nHost: b\r\n\r\n", E::Target),
        (b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", E::Method),
        (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n", E::Expectation),
        (b"\x00", E::RequestLine),
        (b"\x16\x03\x01\x02", E::RequestLine),
        (b"\r\n\r\n\r\n\r\n\r\n\r\n", E::RequestLine),
    ] {
        let text = String::from_utf8_lossy(bytes);
        assert_eq!(request(bytes).map(|_| ()), Err(error), "{text:?}");
    }
    assert_eq!((E::Version.status(), E::Method.status(), E::Expectation.status()), (505, 501, 417));
}

#[test]
fn takes_heads_apart() {
    let mut buffer = BytesMut::from(
        &b"\r\nPUT /a/b?c=d HTTP/1.1\r\nHost: Ex.org:81\r\nX-One:  1 \r\nx-two:\r\nContent-Length: 3\r\n\r\nabcGET"[..],
    );
    let head = RequestParser::new().parse(&mut buffer, &Limits::DEFAULT, &origin()).unwrap().unwrap();
    assert_eq!((head.method, head.version), (Method::PUT, Version::Http11));
    assert_eq!(head.target.to_string(), "http://Ex.org:81/a/b?c=d");
    let fields: Vec<_> = head.headers.iter().collect();
    let expected: [(&str, &[u8]); 4] =
        [("Host", b"Ex.org:81"), ("X-One", b"1"), ("x-two", b""), ("Content-Length", b"3")];
    assert_eq!(fields, expected);
    assert_eq!((head.framing, &buffer[..]), (Framing::Length(3), &b"abcGET"[..]));
}

#[test]
fn absolute_form_wins_over_host() {
    let head = request(b"GET http://b:8/x?y HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().unwrap();
    assert_eq!(head.target.to_string(), "http://b:8/x?y");
    assert_eq!(head.headers.known(Known::Host), Some(&b"b:8"[..]));
    let head = request(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().unwrap();
    assert_eq!((head.target.path(), head.target.authority()), ("*", "a"));
    let head = request(b"GET / HTTP/1.0\r\n\r\n").unwrap().unwrap();
    assert_eq!((head.target.authority(), head.keep_alive()), ("local:80", false));
}

#[test]
fn connection_options() {
    let keeps = |bytes: &[u8]| request(bytes).unwrap().unwrap().keep_alive();
    assert!(keeps(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert!(!keeps(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x, CLOSE\r\n\r\n"));
    assert!(keeps(b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
    let head = request(
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close, X-Consumer-Id, authorization\r\nX-Consumer-Id: admin\r\n\
          Authorization: b\r\n\r\n",
    );
    let head = head.unwrap().unwrap();
    assert!(!head.headers.contains("x-consumer-id") && head.headers.contains("authorization"));
    let head = request(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n");
    assert!(head.unwrap().unwrap().connection.upgrade);
    let expects = |more: &str| request(with(more).as_bytes()).unwrap().unwrap().expects_continue;
    assert!(expects("Expect: 100-Continue\r\nContent-Length: 1\r\n"));
    assert!(!expects("Expect: 100-continue\r\n"));
}

#[test]
fn limits_at_the_edge() {
    let limits = Limits { head: 300, line: 120, fields: 4, uri: 50, ..Limits::DEFAULT };
    let parse = |bytes: String| {
        RequestParser::new().parse(&mut bytes.as_bytes().into(), &limits, &origin()).map(|h| h.is_some())
    };
    let uri = |n: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "u".repeat(n - 1));
    let line = |n: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "v".repeat(n - 3));
    let head = |n: usize| {
        let start =
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\nY: {}\r\nZ: ", "v".repeat(100), "v".repeat(100));
        let pad = n - start.len() - 4;
        format!("{start}{}\r\n\r\n", "z".repeat(pad))
    };
    let fields = |n: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(n - 1));
    for (name, make, limit, error) in [
        ("uri", &uri as &dyn Fn(usize) -> String, limits.uri, E::UriTooLong),
        ("line", &line, limits.line, E::LineTooLong),
        ("head", &head, limits.head, E::HeadTooLong),
        ("fields", &fields, limits.fields, E::TooManyFields),
    ] {
        assert_eq!(parse(make(limit - 1)), Ok(true), "{name} - 1");
        assert_eq!(parse(make(limit)), Ok(true), "{name}");
        assert_eq!(parse(make(limit + 1)), Err(error), "{name} + 1");
    }
    assert_eq!((E::UriTooLong.status(), E::LineTooLong.status(), E::TooManyFields.status()), (414, 431, 431));
    // Without an end of line in sight, too.
    assert_eq!(parse(format!("GET /{}", "u".repeat(200))), Err(E::UriTooLong));
    assert_eq!(parse(format!("GET / HTTP/1.1\r\nX: {}", "u".repeat(200))), Err(E::LineTooLong));
    assert_eq!(parse("GET / HTTP/1.1\r\nHost: a\r\n".to_owned()), Ok(false));
}

#[test]
fn names_are_limited_whatever_lines_may_be() {
    let limits = Limits { head: 1 << 18, line: 1 << 17, ..Limits::DEFAULT };
    for (length, taken) in [(65_535, Ok(3)), (65_536, Err(E::LineTooLong)), (65_541, Err(E::LineTooLong))] {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{}: v\r\nB: c\r\n\r\n", "n".repeat(length));
        // As it comes whole, and as it does not.
        for end in [head.len(), head.len() - 1] {
            let (mut parser, mut buffer) = (RequestParser::new(), head.as_bytes()[..end].into());
            let mut parsed = parser.parse(&mut buffer, &limits, &origin());
            if end < head.len() {
                assert!(matches!(parsed, Ok(None)));
                buffer.extend_from_slice(&head.as_bytes()[end..]);
                parsed = parser.parse(&mut buffer, &limits, &origin());
            }
            assert_eq!(parsed.map(|head| head.unwrap().headers.len()), taken, "{length}");
        }
    }
}

#[test]
fn response_heads() {
    let head = |bytes: &[u8]| response(bytes, Method::GET).map(|h| h.unwrap().framing);
    assert_eq!(head(b"HTTP/1.1 200 OK\r\n\r\n"), Ok(Framing::Close));
    assert_eq!(head(b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"), Ok(Framing::Empty));
    assert_eq!(head(b"HTTP/1.1 204 \r\n\r\n"), Ok(Framing::Empty));
    assert_eq!(head(b"HTTP/1.1 304 x\r\nContent-Length: 9\r\n\r\n"), Ok(Framing::Empty));
    assert_eq!(
        head(b"HTTP/1.1 200 x\r\nContent-Length: 9\r\ncontent-length: 9\r\n\r\n"),
        Ok(Framing::Length(9))
    );
    assert_eq!(head(b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n"), Ok(Framing::Chunked));
    for (bytes, error) in [
        (
            &b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"[..],
            E::FramingConflict,
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", E::ContentLength),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", E::ContentLength),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", E::TransferEncoding),
        (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", E::TransferEncoding),
        (b"HTTP/1.1 204 OK\r\nTransfer-Encoding: chunked\r\n\r\n", E::TransferEncoding),
        (b"HTTP/1.1 200 OK\nX: a\n\n", E::BareLineFeed),
        (b"HTTP/1.1 099 OK\r\n\r\n", E::StatusLine),
        (b"HTTP/1.1 20 OK\r\n\r\n", E::StatusLine),
        (b"HTTP/2.0 200 OK\r\n\r\n", E::StatusLine),
        (b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", E::FieldName),
        (b"HTTP/1.1 200 OK\r\nX : a\r\n\r\n", E::FieldName),
        (b"\r\nHTTP/1.1 200 OK\r\n\r\n", E::StatusLine),
        (b"SSH-", E::StatusLine),
    ] {
        let text = String::from_utf8_lossy(bytes);
        assert_eq!(response(bytes, Method::GET).map(|_| ()), Err(error), "{text:?}");
    }
    let head = response(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Method::HEAD).unwrap().unwrap();
    assert_eq!((head.framing, head.keep_alive()), (Framing::Empty, true));
    let head = response(b"HTTP/1.1 200 OK\r\n\r\n", Method::GET).unwrap().unwrap();
    assert!(!head.keep_alive());
}

//! Bodies: chunks, trailers, their limits.

use super::*;
use crate::Framing;
use crate::WireError as E;

fn chunked(body: &[u8]) -> Result<Message, WireError> {
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    message([&head[..], body])
}

#[test]
fn reads_bodies_and_leaves_what_follows() {
    let m = message([&b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET"[..]]).unwrap();
    assert_eq!((&m.body[..], m.whole, &m.rest[..]), (&b"hello"[..], true, &b"GET"[..]));
    let m = chunked(b"5\r\nhello\r\n0A;x=\"y\"\r\n0123456789\r\n000\r\n\r\nGET").unwrap();
    assert_eq!((&m.body[..], m.whole, &m.rest[..]), (&b"hello0123456789"[..], true, &b"GET"[..]));
    let m = chunked(b"5\r\nhel").unwrap();
    assert_eq!((&m.body[..], m.whole), (&b"hel"[..], false));
    let m = chunked(b"0\r\nX-Sum: 1\r\nAuthorization: x\r\nContent-Length: 3\r\nhost: b\r\nVary: x\r\n\r\n")
        .unwrap();
    assert_eq!(m.trailers, Some([("x-sum", "1")].into_iter().collect()));
    let m = chunked(b"0\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    assert_eq!((m.trailers, m.whole), (None, true));
}

#[test]
fn refuses_malformed_chunks() {
    for body in [
        &b"0x1\r\nZ\r\n0\r\n\r\n"[..],
        b"+1\r\nZ\r\n0\r\n\r\n",
        b"1_0\r\nZ",
        b"-0\r\n\r\n",
        b" 1\r\nZ\r\n0\r\n\r\n",
        b"1 \r\nZ\r\n0\r\n\r\n",
        b"1 ;a\r\nZ\r\n0\r\n\r\n",
        b"1these\r\nZ\r\n",
        b"10000000000000001\r\nZ",
        b"8000000000000000\r\nZ",
        b"\r\n",
        b"2\r\r;a\r\n02\r\n0\r\n\r\n",
        b"2;a\nXX\r\n0\r\n\r\n",
        b"2;a\rb\r\nXX\r\n0\r\n\r\n",
        b"a\r\n0123456789\n0\r\n\r\n",
        b"2\nab\r\n0\r\n\r\n",
        b"0\n\r\n",
        b"1\r\nZZ\r\n0\r\n\r\n",
        b"1\r\nZ0\r\n\r\n",
        b"0\r\n\n",
        b"0\r\n\rX",
        b"0\r\n X: y\r\n\r\n",
        b"0\r\nX y\r\n\r\n",
        b"0\r\nX: y\n\r\n",
    ] {
        let got = chunked(body);
        assert!(got.is_err(), "{:?} gave {got:?}", String::from_utf8_lossy(body));
        assert_eq!(got.unwrap_err().status(), 400);
    }
    let m = chunked(b"0\r\n\r\n\x00").unwrap();
    assert_eq!((m.whole, &m.rest[..]), (true, &b"\0"[..]));
    assert_eq!(request(&m.rest).unwrap_err(), E::RequestLine);
}

#[test]
fn limits_at_the_edge() {
    let extension = |n: usize| chunked(format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(n - 1)).as_bytes());
    assert!(extension(1023).unwrap().whole && extension(1024).unwrap().whole);
    assert_eq!(extension(1025).unwrap_err(), E::ChunkExtension);
    assert_eq!(extension(64 << 10).unwrap_err(), E::ChunkExtension);
    let unfinished = format!("1;{}", "e".repeat(1500));
    assert_eq!(chunked(unfinished.as_bytes()).unwrap_err(), E::ChunkExtension);
    let many = |n: usize| chunked(format!("1;{}\r\nx\r\n", "e".repeat(1023)).repeat(n).as_bytes());
    assert!(many(16).is_ok());
    assert_eq!(many(17).unwrap_err(), E::ChunkExtension);
    let trailers = |n: usize| chunked(format!("0\r\nX: {}\r\n\r\n", "t".repeat(n - 7)).as_bytes());
    assert!(trailers((16 << 10) - 1).unwrap().whole && trailers(16 << 10).unwrap().whole);
    assert_eq!(trailers((16 << 10) + 1).unwrap_err(), E::TrailersTooLong);
    let digits = chunked(b"0000000000000001\r\nx\r\n0\r\n\r\n").unwrap();
    assert_eq!(&digits.body[..], b"x");
}

#[test]
fn the_end_of_the_connection_ends_only_what_it_may() {
    let mut close = Decoder::new(Framing::Close);
    assert!(!close.is_end() && close.eof());
    assert!(!Decoder::new(Framing::Length(1)).eof());
    assert!(!Decoder::new(Framing::Chunked).eof());
    assert!(Decoder::new(Framing::Empty).eof());
    assert_eq!(Decoder::new(Framing::Length(7)).length(), Some(7));
}

#[test]
fn large_pieces_are_not_copied() {
    let mut buffer = BytesMut::from(&[b'x'; 5000][..]);
    let place = buffer.as_ptr();
    let Ok(Decoded::Data(data)) = Decoder::new(Framing::Close).decode(&mut buffer, &Limits::DEFAULT) else {
        unreachable!("no data")
    };
    assert_eq!(data.as_ptr(), place);
}

//! Chunked bodies: sizes, extensions, ends of lines, trailers.

use super::{Case, chunked, post};

/// The largest body that the gateway under test takes.
pub(crate) const LARGEST: usize = 256 << 10;
/// A route that takes less, and how much.
pub(crate) const TIGHT: (&str, usize) = ("/tight", 1000);
/// A route that takes more, and how much.
pub(crate) const WIDE: (&str, usize) = ("/wide", 300 << 10);

/// What the upstream receives of a chunked body with the one byte `Z`.
const ONE: &str = "POST / HTTP/1.1\r\n~a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nZ\r\n0\r\n\r\n";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for size in [
        "0x1",
        "0X1",
        "+1",
        "-1",
        "1_0",
        " 1",
        "\t1",
        "1 ",
        "1\t",
        "-0",
        "1these",
        "g",
        "",
        "1.0",
        "1,",
        "\"1\"",
        "1h",
        "10000000000000001",
        "00000000000000001",
        "8000000000000000",
        "ffffffffffffffff",
        "\u{661}",
        "1\x00",
        "1\x0b",
    ] {
        cases.push(Case::broken(13, &format!("{size:?}"), chunked(&format!("{size}\r\nZ\r\n0\r\n\r\n"))));
    }
    for (name, size) in [("leading zeros", "0000000000000001"), ("one zero", "01")] {
        let bytes = chunked(&format!("{size}\r\nZ\r\n0\r\n\r\n"));
        cases.push(Case::served(13, name, bytes, &[200]).forwards(ONE));
    }
    let letters = "POST / HTTP/1.1\r\n~a\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n";
    let upper = chunked("A\r\n0123456789\r\n00\r\n\r\n");
    cases.push(
        Case::served(13, "upper case, and an end of two zeros", upper, &[200]).forwards_one_of(&[letters]),
    );

    for (name, body) in [
        ("CR CR before it", "2\r\r;a\r\n02\r\n0\r\n\r\n".to_owned()),
        ("a bare LF ends it", "2;a\nXX\r\n0\r\n\r\n".to_owned()),
        ("a CR within it", "2;a\rb\r\nXX\r\n0\r\n\r\n".to_owned()),
        ("a NUL within it", "2;a\x00\r\nXX\r\n0\r\n\r\n".to_owned()),
        ("a space before it", "2 ;a\r\nXX\r\n0\r\n\r\n".to_owned()),
        ("a bare LF in quotes", "2;a=\"\n\"\r\nXX\r\n0\r\n\r\n".to_owned()),
        ("a size hidden behind a bare LF", "2;\nxx\r\n1\r\nZ\r\n0\r\n\r\n".to_owned()),
        ("1025 bytes", format!("1;{}\r\nZ\r\n0\r\n\r\n", "x".repeat(1024))),
        ("64 KiB", format!("1;{}\r\nZ\r\n0\r\n\r\n", "x".repeat(64 << 10))),
        ("on the last chunk, a bare LF", "1\r\nZ\r\n0;a\n\r\n".to_owned()),
    ] {
        cases.push(Case::broken(14, name, chunked(&body)));
    }
    for (name, body) in [
        ("none of it is forwarded", "1;a=b;c=\"d\"\r\nZ\r\n0;last\r\n\r\n".to_owned()),
        ("an empty one", "1;\r\nZ\r\n0\r\n\r\n".to_owned()),
        ("1024 bytes", format!("1;{}\r\nZ\r\n0\r\n\r\n", "x".repeat(1023))),
    ] {
        cases.push(Case::served(14, name, chunked(&body), &[200]).forwards(ONE));
    }

    for (name, body) in [
        ("behind the data", "a\r\n0123456789\n0\r\n\r\n"),
        ("behind the size", "1\nZ\r\n0\r\n\r\n"),
        ("behind the last size", "1\r\nZ\r\n0\n\r\n"),
        ("at the very end", "1\r\nZ\r\n0\r\n\n"),
        ("everywhere", "1\nZ\n0\n\n"),
        ("behind a trailer", "0\r\nX: y\n\r\n"),
    ] {
        cases.push(Case::broken(15, name, chunked(body)));
    }
    for (name, body) in [
        ("more data than the size", "1\r\nZZ\r\n0\r\n\r\n"),
        ("no CRLF behind the data", "1\r\nZ0\r\n\r\n"),
        ("a CR alone behind the data", "1\r\nZ\rX0\r\n\r\n"),
        ("LF CR behind the data", "1\r\nZ\n\r0\r\n\r\n"),
        ("less data than the size", "3\r\nZ\r\n0\r\n\r\n1\r\n"),
        ("an empty line before a size", "1\r\nZ\r\n\r\n0\r\n\r\n"),
        ("CR X at the very end", "0\r\n\rX"),
    ] {
        cases.push(Case::broken(16, name, chunked(body)));
    }

    cases.push(
        Case::served(29, "those that steer are dropped", post("Transfer-Encoding: chunked\r\nTrailer: X\r\n",
            "1\r\nZ\r\n0\r\nHost: b\r\nAuthorization: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\nCookie: c\r\nX-Forwarded-For: 1.2.3.4\r\nConnection: close\r\n\r\n"), &[200])
            .forwards(ONE),
    );
    cases.push(
        Case::served(
            29,
            "another is no header of the request",
            chunked("1\r\nZ\r\n0\r\nX-Sum: 9\r\n\r\n"),
            &[200],
        )
        .forwards_one_of(&[
            ONE,
            "POST / HTTP/1.1\r\n~a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nZ\r\n0\r\nX-Sum: 9\r\n\r\n",
            "POST / HTTP/1.1\r\n~a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nZ\r\n0\r\nx-sum: 9\r\n\r\n",
        ]),
    );
    for (name, trailer) in [
        ("a folded one", "X: y\r\n z\r\n"),
        ("a blank first", " X: y\r\n"),
        ("no colon", "X y\r\n"),
        ("a space before the colon", "X : y\r\n"),
        ("an empty name", ": y\r\n"),
        ("a NUL in the value", "X: \x00\r\n"),
        ("a CR in the value", "X: a\rb\r\n"),
        ("a disguised length", "content_length: 5\r\n"),
    ] {
        cases.push(Case::broken(29, name, chunked(&format!("1\r\nZ\r\n0\r\n{trailer}\r\n"))));
    }
    let long = chunked(&format!("1\r\nZ\r\n0\r\nX: {}\r\n\r\n", "y".repeat(16 << 10)));
    let trailer = |length: usize| chunked(&format!("1\r\nZ\r\n0\r\nX: {}\r\n\r\n", "y".repeat(length - 7)));
    for length in [(16 << 10) - 1, 16 << 10] {
        cases.push(Case::served(29, &format!("{length} bytes"), trailer(length), &[200]));
    }
    let mut edge = Case::broken(29, "16 KiB and a byte", trailer((16 << 10) + 1));
    edge.expect = crate::case::Expect::Broken(&[431]);
    cases.push(edge);
    let mut long = Case::broken(29, "more than 16 KiB", long);
    long.expect = crate::case::Expect::Broken(&[431]);
    cases.push(long);

    cases.push(
        Case::served(35, "a length", post("Content-Length: 5\r\n", "hello"), &[200])
            .forwards("POST / HTTP/1.1\r\nContent-Length: 5\r\n~a\r\n\r\nhello")
            .bodies(&["POST /"]),
    );
    cases.push(
        Case::served(35, "a length of 0", post("Content-Length: 0\r\n", ""), &[200])
            .forwards("POST / HTTP/1.1\r\nContent-Length: 0\r\n~a\r\n\r\n"),
    );
    cases.push(
        Case::served(35, "none", post("", ""), &[200])
            .forwards("POST / HTTP/1.1\r\n~a\r\nContent-Length: 0\r\n\r\n"),
    );
    cases.push(
        Case::served(35, "an empty chunked one", chunked("0\r\n\r\n"), &[200])
            .forwards("POST / HTTP/1.1\r\n~a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    );
    cases.push(Case::served(35, "one chunk", chunked("1\r\nZ\r\n0\r\n\r\n"), &[200]).forwards(ONE));
    cases.push(
        Case::served(
            35,
            "what looks like chunks under a length",
            post("Content-Length: 5\r\n", "0\r\n\r\n"),
            &[200],
        )
        .forwards("POST / HTTP/1.1\r\nContent-Length: 5\r\n~a\r\n\r\n0\r\n\r\n"),
    );
    cases.push(
        Case::served(
            35,
            "what looks like a request in a chunk",
            chunked("20\r\nGET /admin HTTP/1.1\r\nHost: a\r\n\r\n\r\n0\r\n\r\n"),
            &[200],
        )
        .bodies(&["POST /"]),
    );
    for (path, largest) in [("/", LARGEST), TIGHT, WIDE] {
        let to = |request: Vec<u8>| [b"POST ", path.as_bytes(), &request["POST /".len()..]].concat();
        for (length, status) in [(largest - 1, 200), (largest, 200), (largest + 1, 413)] {
            let fixed = to(post(&format!("Content-Length: {length}\r\n"), &"b".repeat(length)));
            let name = format!("a length of {length} to {path}");
            cases.push(Case::served(38, &name, fixed, &[status]).may_end());
            let half = length / 2;
            let chunk = |length: usize| format!("{length:x}\r\n{}\r\n", "b".repeat(length));
            let chunks = to(chunked(&[chunk(half), chunk(length - half), "0\r\n\r\n".to_owned()].concat()));
            let name = format!("chunks of {length} to {path}");
            cases.push(Case::served(38, &name, chunks, &[status]).may_end());
        }
    }
    cases
}

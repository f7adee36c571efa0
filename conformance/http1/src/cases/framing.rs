//! Which fields say how long a body is, and in which forms they are refused.

use super::{Case, post};

/// A request that must never be seen, as the body of another.
const HIDDEN: &str = "GET /admin HTTP/1.1\r\nHost: a\r\n\r\n";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::refused(
            1,
            "the length covers more",
            post("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\nG"),
        ),
        Case::refused(
            1,
            "the length covers less",
            post("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ),
        Case::refused(
            1,
            "the length is the same",
            post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ),
        Case::refused(
            1,
            "the length is 0",
            post("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ),
        Case::refused(
            1,
            "other fields between",
            post("Content-Length: 6\r\nX: y\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\nG"),
        ),
        Case::refused(
            2,
            "a request in a chunk",
            post(
                "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
                &format!("20\r\n{HIDDEN}\r\n0\r\n\r\n"),
            ),
        ),
        Case::refused(
            2,
            "names in lower case",
            post(
                "transfer-encoding: chunked\r\ncontent-length: 4\r\n",
                &format!("20\r\n{HIDDEN}\r\n0\r\n\r\n"),
            ),
        ),
        Case::refused(
            2,
            "names in upper case",
            post("TRANSFER-ENCODING: CHUNKED\r\nCONTENT-LENGTH: 4\r\n", "1\r\nZ\r\n0\r\n\r\n"),
        ),
        Case::refused(3, "the first is 0", post("Content-Length: 0\r\nContent-Length: 32\r\n", HIDDEN)),
        Case::refused(3, "the second is 0", post("Content-Length: 32\r\nContent-Length: 0\r\n", HIDDEN)),
        Case::refused(3, "the same twice", post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello")),
        Case::refused(
            3,
            "equal but for a leading zero",
            post("Content-Length: 5\r\nContent-Length: 05\r\n", "hello"),
        ),
        Case::refused(3, "in different case", post("Content-Length: 5\r\ncontent-length: 6\r\n", "hello!")),
        Case::refused(
            3,
            "three times",
            post("Content-Length: 5\r\nContent-Length: 5\r\nContent-Length: 5\r\n", "hello"),
        ),
        Case::refused(4, "the same twice", post("Content-Length: 5, 5\r\n", "hello")),
        Case::refused(4, "without a space", post("Content-Length: 5,5\r\n", "hello")),
        Case::refused(4, "different values", post("Content-Length: 0, 5\r\n", "hello")),
        Case::refused(4, "an empty item behind", post("Content-Length: 5,\r\n", "hello")),
        Case::refused(4, "an empty item before", post("Content-Length: , 5\r\n", "hello")),
        Case::refused(5, "then a real one", post("content-length: \r\ncontent-length: 5\r\n", "hello")),
        Case::refused(5, "behind a real one", post("content-length: 5\r\ncontent-length:\r\n", "hello")),
        Case::refused(5, "alone", post("Content-Length:\r\n", "")),
        Case::refused(5, "blanks alone", post("Content-Length:  \t \r\n", "")),
    ];
    for value in [
        "+5",
        "-1",
        "-0",
        "0x5",
        "0X5",
        "5_0",
        "5 5",
        "5;",
        "5.0",
        "5e0",
        "\"5\"",
        "five",
        "5h",
        "\u{665}",
        "18446744073709551621",
        "99999999999999999999",
        "9223372036854775808",
        "00000000000000000000000000x",
        "00000000000000000005",
        "00000000000000000000000",
    ] {
        cases.push(Case::refused(6, value, post(&format!("Content-Length: {value}\r\n"), "hello")));
    }
    cases.push(
        Case::served(6, "a leading zero is no other number", post("Content-Length: 05\r\n", "hello"), &[200])
            .forwards("POST / HTTP/1.1\r\nContent-Length: 5\r\n~a\r\n\r\nhello"),
    );
    cases.push(
        Case::served(
            6,
            "blanks around it are no part of it",
            post("Content-Length: \t5\t \r\n", "hello"),
            &[200],
        )
        .forwards("POST / HTTP/1.1\r\nContent-Length: 5\r\n~a\r\n\r\nhello"),
    );
    for value in ["xchunked", "chunkedx", "identity", "gzip", "cow", "chunke", "chunked-but-not"] {
        let both = post(&format!("Transfer-Encoding: {value}\r\nContent-Length: 5\r\n"), "hello");
        cases.push(Case::refused_with(7, &format!("{value} and a length"), &[400, 501], both));
        let alone = post(&format!("Transfer-Encoding: {value}\r\n"), "0\r\n\r\n");
        cases.push(Case::refused_with(7, value, &[400, 501], alone));
    }
    for value in ["chunked, identity", "chunked, gzip", "chunked,", "chunked;q=1", "chunked, cow"] {
        let bytes = post(&format!("Transfer-Encoding: {value}\r\n"), "0\r\n\r\n");
        cases.push(Case::refused_with(8, value, &[400, 501], bytes));
    }
    let lines = post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n");
    cases.push(Case::refused_with(8, "in two lines", &[400, 501], lines));
    for value in [",chunked", ", chunked", "chunked,,", ",", "", " "] {
        let bytes = post(&format!("Transfer-Encoding: {value}\r\n"), "0\r\n\r\n");
        cases.push(Case::refused_with(9, &format!("{value:?}"), &[400, 501], bytes));
    }
    let both = post("Transfer-Encoding: ,chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n");
    cases.push(Case::refused_with(9, "and a length", &[400, 501], both));
    cases.extend([
        Case::refused(
            10,
            "in two lines",
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ),
        Case::refused(10, "in one line", post("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n")),
        Case::refused(
            10,
            "in different case",
            post("Transfer-Encoding: chunked\r\ntransfer-encoding: CHUNKED\r\n", "0\r\n\r\n"),
        ),
        Case::refused(
            10,
            "the first is empty",
            post("Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ),
        Case::refused(10, "gzip before", post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n")),
    ]);
    for (name, field) in [
        ("a space before the colon", "Transfer-Encoding : chunked"),
        ("a tab before the colon", "Transfer-Encoding\t: chunked"),
        ("a vertical tab before the value", "Transfer-Encoding:\x0bchunked"),
        ("a form feed before the value", "Transfer-Encoding:\x0cchunked"),
        ("a NUL behind the value", "Transfer-Encoding: chunked\x00"),
        ("a CR before the value", "Transfer-Encoding:\rchunked"),
        ("in quotes", "Transfer-Encoding: \"chunked\""),
        ("in single quotes", "Transfer-Encoding: 'chunked'"),
        ("an underscore", "Transfer_Encoding: chunked"),
        ("an underscore, in lower case", "transfer_encoding: chunked"),
        ("a length with an underscore", "Content_Length: 5"),
        ("a no-break space", "Transfer-Encoding: \u{a0}chunked"),
        ("a long s", "Tran\u{17f}fer-Encoding: chunked"),
        ("a Kelvin sign", "Transfer-Encoding: chun\u{212a}ed"),
        ("a parameter", "Transfer-Encoding: chunked; a=b"),
    ] {
        cases.push(Case::refused_with(11, name, &[400, 501], post(&format!("{field}\r\n"), "0\r\n\r\n")));
    }
    let leading = "POST / HTTP/1.1\r\n Transfer-Encoding: chunked\r\nHost: a\r\n\r\n0\r\n\r\n";
    cases.push(Case::refused(11, "a blank before the first field", leading));
    let leading = "POST / HTTP/1.1\r\n\tContent-Length: 5\r\nHost: a\r\n\r\nhello";
    cases.push(Case::refused(11, "a tab before the first field", leading));
    cases.push(
        Case::served(
            11,
            "another name that only looks alike",
            post("X-Transfer-Encoding: chunked\r\n", ""),
            &[200],
        )
        .forwards("POST / HTTP/1.1\r\nX-Transfer-Encoding: chunked\r\n~a\r\nContent-Length: 0\r\n\r\n"),
    );
    for (name, fields) in [
        ("alone", "Transfer-Encoding: chunked\r\n"),
        ("before a length", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
        ("behind a length", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
        ("and keep-alive", "Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n"),
    ] {
        let bytes = format!("POST / HTTP/1.0\r\nHost: a\r\n{fields}\r\n0\r\n\r\n");
        cases.push(Case::refused(12, name, bytes));
    }
    cases
}

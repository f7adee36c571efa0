//! Heads: ends of lines, bytes of names and values, folding, `Host`, limits.

use super::{Case, get};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::refused(17, "all of it", "GET / HTTP/1.1\nHost: a\n\n"),
        Case::refused(17, "behind the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n"),
        Case::refused(17, "behind a field", "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n"),
        Case::refused(17, "at the end", "GET / HTTP/1.1\r\nHost: a\r\n\n"),
        Case::refused(17, "LF LF behind CRLF", "GET / HTTP/1.1\r\nHost: a\r\nX: y\n\n"),
        Case::refused(17, "before the request", "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        Case::refused(17, "LF CR", "GET / HTTP/1.1\n\rHost: a\n\r\n\r"),
        Case::refused(17, "CR alone", "GET / HTTP/1.1\rHost: a\r\r\n\r\n"),
        Case::served(
            17,
            "one empty line before the request is allowed",
            "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            &[200],
        )
        .forwards("GET / HTTP/1.1\r\n~a\r\n\r\n"),
        Case::refused(
            17,
            "many empty lines before the request",
            "\r\n\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        ),
        Case::refused(17, "a CR before the request", "\rGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ];
    for (name, byte) in [
        ("NUL", "\x00"),
        ("CR", "\r"),
        ("backspace", "\x08"),
        ("vertical tab", "\x0b"),
        ("escape", "\x1b"),
        ("DEL", "\x7f"),
        ("form feed", "\x0c"),
    ] {
        cases.push(Case::refused(18, &format!("{name} in a value"), get(&format!("X: v{byte}w\r\n"))));
    }
    cases.extend([
        Case::refused(18, "NUL in Host", "GET / HTTP/1.1\r\nHost: a\x00.b\r\n\r\n"),
        Case::refused(18, "CR in Host", "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n"),
        Case::refused(18, "CR CR LF", "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\r\n\r\n"),
        Case::refused(18, "CR CR LF at the end", "GET / HTTP/1.1\r\nHost: a\r\n\r\r\n"),
        Case::served(
            18,
            "a tab and bytes above 127 may stand in a value",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: v\tw\r\nY: \xc3\xa9\r\n\r\n".as_slice(),
            &[200],
        )
        .forwards("GET / HTTP/1.1\r\nX: v\tw\r\nY: \u{e9}\r\n~a\r\n\r\n"),
        Case::served(
            18,
            "blanks around a value are not part of it",
            "GET / HTTP/1.1\r\nHost: \ta \r\nX:\t v \t\r\nEmpty:\r\n\r\n",
            &[200],
        )
        .forwards("GET / HTTP/1.1\r\nX: v\r\nEmpty: \r\n~a\r\n\r\n"),
    ]);
    for (name, field) in [
        ("none", ": v"),
        ("a space before the colon", "X : v"),
        ("no colon", "novalue"),
        ("a space within", "X Y: v"),
        ("a NUL", "X\x00: v"),
        ("a CR", "X\r: v"),
        ("parentheses", "X(Y): v"),
        ("a quote", "X\"Y\": v"),
        ("an at sign", "X@Y: v"),
        ("a slash", "X/Y: v"),
        ("brackets", "X[Y]: v"),
        ("a comma", "X,Y: v"),
        ("a tab", "X\tY: v"),
        ("DEL", "X\x7f: v"),
        ("letters beyond ASCII", "X\u{e9}: v"),
        ("a colon alone", ":"),
        ("a semicolon", "X;: v"),
        ("an equals sign", "X=Y: v"),
    ] {
        cases.push(Case::refused(19, name, get(&format!("{field}\r\n"))));
    }
    let mut byte = b"GET / HTTP/1.1\r\nHost: a\r\nX\x85: v\r\n\r\n".to_vec();
    cases.push(Case::refused(19, "a byte above 127", byte.clone()));
    byte.truncate(0);
    cases.push(
        Case::served(19, "all characters of tokens", get("!#$%&'*+-.^_`|~1aZ: v\r\n"), &[200])
            .forwards("GET / HTTP/1.1\r\n!#$%&'*+-.^_`|~1aZ: v\r\n~a\r\n\r\n"),
    );
    cases.push(
        Case::served(19, "order and case are kept", get("x-b: 1\r\nX-A: 2\r\nx-B: 3\r\n"), &[200])
            .forwards("GET / HTTP/1.1\r\nx-b: 1\r\nX-A: 2\r\nx-B: 3\r\n~a\r\n\r\n"),
    );
    for (name, fields) in [
        ("with a space", "X: a\r\n b\r\n"),
        ("with a tab", "X: a\r\n\tb\r\n"),
        ("Transfer-Encoding", "Transfer-Encoding:\r\n chunked\r\n"),
        ("Content-Length", "Content-Length:\r\n 5\r\n"),
        ("a blank line of it", "X: a\r\n \r\nContent-Length: 5\r\n"),
        ("what looks like a field", "X: a\r\n Transfer-Encoding: chunked\r\n"),
    ] {
        cases.push(Case::refused(20, name, get(fields)));
    }
    cases.push(Case::refused(20, "Host", "GET / HTTP/1.1\r\nHost:\r\n a\r\n\r\n"));

    for (name, fields) in [
        ("none", ""),
        ("two", "Host: a\r\nHost: b\r\n"),
        ("the same twice", "Host: a\r\nHost: a\r\n"),
        ("twice in different case", "Host: a\r\nhOST: a\r\n"),
        ("a list", "Host: a, b\r\n"),
        ("a list without space", "Host: a,b\r\n"),
        ("user information", "Host: u@a\r\n"),
        ("a password", "Host: u:p@a\r\n"),
        ("a path", "Host: a/b\r\n"),
        ("a query", "Host: a?b\r\n"),
        ("a fragment", "Host: a#b\r\n"),
        ("a space", "Host: a b\r\n"),
        ("a port that is no number", "Host: a:b\r\n"),
        ("a port too large", "Host: a:65536\r\n"),
        ("two ports", "Host: a:1:2\r\n"),
        ("a negative port", "Host: a:-1\r\n"),
        ("an address that is not closed", "Host: [::1\r\n"),
        ("an address behind nothing", "Host: ::1\r\n"),
        ("letters in brackets", "Host: [xyz]\r\n"),
        ("letters beyond ASCII", "Host: \u{e4}\r\n"),
        ("empty", "Host:\r\n"),
        ("a port alone", "Host: :80\r\n"),
        ("a backslash", "Host: a\\b\r\n"),
        ("a scheme", "Host: http://a\r\n"),
        ("a tab", "Host: a\tb\r\n"),
        ("angle brackets", "Host: <a>\r\n"),
    ] {
        cases.push(Case::refused(21, name, format!("GET / HTTP/1.1\r\n{fields}\r\n")));
    }
    for (name, host, forwarded) in [
        ("a port", "a:81", "GET / HTTP/1.1\r\n~a:81\r\n\r\n"),
        ("an address", "[::1]:81", "GET / HTTP/1.1\r\n~[::1]:81\r\n\r\n"),
        ("an underscore", "a_b.example", "GET / HTTP/1.1\r\n~a_b.example\r\n\r\n"),
        ("upper case", "EXAMPLE.org", "GET / HTTP/1.1\r\n~EXAMPLE.org\r\n\r\n"),
    ] {
        let bytes = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        cases.push(Case::served(21, &format!("{name} is right"), bytes, &[200]).forwards(forwarded));
    }

    let uri = |length: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "u".repeat(length - 1));
    let field = |length: usize| get(&format!("X: {}\r\n", "v".repeat(length - 3)));
    let fields = |count: usize| get(&"X: v\r\n".repeat(count - 1));
    let head = |length: usize| {
        let line = format!("X: {}\r\n", "v".repeat(8000));
        let seven = line.repeat(8);
        let rest = length - get(&seven).len() - 5;
        get(&format!("{seven}Y: {}\r\n", "w".repeat(rest)))
    };
    cases.extend([
        Case::served(37, "a target of 8 KiB less a byte", uri((8 << 10) - 1), &[200]),
        Case::served(37, "a target of 8 KiB", uri(8 << 10), &[200]),
        Case::refused_with(37, "a target of 8 KiB and a byte", &[414], uri((8 << 10) + 1)),
        Case::refused_with(37, "a target of 60 KiB", &[414], uri(60 << 10)),
        Case::served(37, "a field of 16 KiB less a byte", field((16 << 10) - 1), &[200]),
        Case::served(37, "a field of 16 KiB", field(16 << 10), &[200]),
        Case::refused_with(37, "a field of 16 KiB and a byte", &[431], field((16 << 10) + 1)),
        Case::served(37, "127 fields", fields(127), &[200]),
        Case::served(37, "128 fields", fields(128), &[200]),
        Case::refused_with(37, "129 fields", &[431], fields(129)),
        Case::refused_with(37, "1000 fields", &[431], fields(1000)),
        Case::served(37, "a head of 64 KiB less a byte", head((64 << 10) - 1), &[200]),
        Case::served(37, "a head of 64 KiB", head(64 << 10), &[200]),
        Case::refused_with(37, "a head of 64 KiB and a byte", &[431], head((64 << 10) + 1)),
        Case::refused_with(37, "a request line that never ends", &[414], vec![b'G'; 40 << 10]),
        Case::refused_with(
            37,
            "a method of 64 letters",
            &[400, 501],
            format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "G".repeat(64)),
        ),
    ]);
    cases
}

//! Request lines: methods, targets, versions.

use super::Case;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::served(22, "it wins over Host", "GET http://b/x?y HTTP/1.1\r\nHost: a\r\n\r\n", &[200])
            .forwards("GET /x?y HTTP/1.1\r\n~b\r\n\r\n"),
        Case::served(22, "with the same host", "GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n", &[200])
            .forwards("GET /x HTTP/1.1\r\n~a\r\n\r\n"),
        Case::served(22, "with a port", "GET http://b:81/ HTTP/1.1\r\nHost: a\r\n\r\n", &[200])
            .forwards("GET / HTTP/1.1\r\n~b:81\r\n\r\n"),
        Case::served(22, "without a path", "GET http://b HTTP/1.1\r\nHost: a\r\n\r\n", &[200])
            .forwards("GET / HTTP/1.1\r\n~b\r\n\r\n"),
        Case::served(22, "in HTTP/1.0 without Host", "GET http://b/ HTTP/1.0\r\n\r\n", &[200])
            .forwards("GET / HTTP/1.1\r\n~b\r\n\r\n")
            .ends(),
        Case::served(
            22,
            "a policy on its path holds",
            "GET http://b/admin HTTP/1.1\r\nHost: a\r\n\r\n",
            &[403],
        ),
        Case::refused(22, "without Host", "GET http://b/ HTTP/1.1\r\n\r\n"),
        Case::refused(22, "with two", "GET http://b/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        Case::refused(22, "user information", "GET http://u@b/ HTTP/1.1\r\nHost: b\r\n\r\n"),
        Case::refused(22, "a fragment", "GET http://b/#x HTTP/1.1\r\nHost: b\r\n\r\n"),
        Case::refused(22, "another scheme", "GET ftp://b/ HTTP/1.1\r\nHost: b\r\n\r\n"),
        Case::refused(22, "no host", "GET http:///x HTTP/1.1\r\nHost: b\r\n\r\n"),
        Case::refused(22, "a scheme alone", "GET http: HTTP/1.1\r\nHost: b\r\n\r\n"),
        Case::refused(22, "a port that is too large", "GET http://b:99999/ HTTP/1.1\r\nHost: b\r\n\r\n"),
        Case::refused_with(22, "CONNECT", &[400, 405, 501], "CONNECT b:443 HTTP/1.1\r\nHost: b:443\r\n\r\n"),
        Case::refused_with(
            22,
            "a CONNECT to a path",
            &[400, 405, 501],
            "CONNECT / HTTP/1.1\r\nHost: b\r\n\r\n",
        ),
    ];
    for (name, line) in [
        ("two spaces before the target", "GET  / HTTP/1.1"),
        ("two spaces before the version", "GET /  HTTP/1.1"),
        ("a space behind the version", "GET / HTTP/1.1 "),
        ("a space before the method", " GET / HTTP/1.1"),
        ("a tab for a space", "GET\t/ HTTP/1.1"),
        ("a tab before the version", "GET /\tHTTP/1.1"),
        ("a vertical tab for a space", "GET\x0b/\x0bHTTP/1.1"),
        ("a bare LF for a space", "GET /\nHTTP/1.1"),
        ("no version", "GET /"),
        ("a blank for the version", "GET / "),
        ("no target", "GET HTTP/1.1"),
        ("a space in the target", "GET /a b HTTP/1.1"),
        ("a method of other characters", "G=\":<> / HTTP/1.1"),
        ("no method", "/ HTTP/1.1"),
        ("a second version", "GET / HTTP/1.1 HTTP/1.1"),
        ("a minor version of two digits", "GET / HTTP/1.32"),
        ("a major version of two digits", "GET / HTTP/11.1"),
        ("a version without point", "GET / HTTP/11"),
        ("a version in lower case", "GET / http/1.1"),
        ("a version with a space", "GET / HTTP /1.1"),
        ("another protocol", "GET / HTTPS/1.1"),
        ("a version with a sign", "GET / HTTP/+1.1"),
        ("a fragment", "GET /a#b HTTP/1.1"),
        ("a relative target", "GET a HTTP/1.1"),
        ("an asterisk for GET", "GET * HTTP/1.1"),
        ("a query alone", "GET ?a HTTP/1.1"),
        ("a NUL in the target", "GET /\x00 HTTP/1.1"),
        ("a CR in the target", "GET /\rx HTTP/1.1"),
        ("DEL in the target", "GET /\x7f HTTP/1.1"),
        ("nothing", "\x00"),
        ("a comma list", "GET /, HTTP/1.1,"),
    ] {
        cases.push(Case::refused(23, name, format!("{line}\r\nHost: a\r\n\r\n")));
    }
    cases.extend([
        Case::refused(23, "bytes beyond ASCII in the target", b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n".as_slice()),
        Case::refused(23, "letters beyond ASCII in the target", "GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n"),
        Case::refused(23, "a no-break space in the query", "GET /?\u{a0} HTTP/1.1\r\nHost: a\r\n\r\n"),
        Case::refused(23, "the beginning of TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice()),
        Case::refused(23, "a response", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        Case::refused_with(23, "HTTP/1.2", &[400, 505], "GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
        Case::refused_with(23, "HTTP/2.0", &[400, 505], "GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
        Case::refused_with(23, "HTTP/0.9", &[400, 505], "GET / HTTP/0.9\r\nHost: a\r\n\r\n"),
        Case::served(23, "a method in lower case is another one", "get / HTTP/1.1\r\nHost: a\r\n\r\n", &[501]),
        Case::served(23, "a method that nobody knows", "BREW / HTTP/1.1\r\nHost: a\r\n\r\n", &[501]),
        Case::served(23, "a method that nobody knows, with a body", "BREW / HTTP/1.1\r\nHost: a\r\nContent-Length: 34\r\n\r\nGET /admin HTTP/1.1\r\nHost: a\r\n\r\n!!", &[501]),
        Case::served(23, "OPTIONS with an asterisk", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", &[404]),
        Case::served(23, "characters that targets may hold", "GET /a-._~!$&'()*+,=:@b?c/d?e=%41;f HTTP/1.1\r\nHost: a\r\n\r\n", &[200])
            .forwards("GET /a-._~!$&'()*+,=:@b?c/d?e=%41;f HTTP/1.1\r\n~a\r\n\r\n"),
    ]);
    cases
}

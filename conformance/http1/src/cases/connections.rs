//! How long a connection lives, what belongs to it alone, and what stands behind the end of a message.

use super::{Case, get};

pub(super) fn cases() -> Vec<Case> {
    let upgrade = "GET /up HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n";
    let admin = "GET /admin HTTP/1.1\r\nHost: a\r\n\r\n";
    // Whether a gateway hands the wish for an upgrade on is its choice; what follows is no tunnel without a 101.
    let wishes: &[&str] = &[
        "GET /up HTTP/1.1\r\n~a\r\n\r\n",
        "GET /up HTTP/1.1\r\n~a\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n",
        "GET /up HTTP/1.1\r\nUpgrade: foo\r\n~a\r\nConnection: Upgrade\r\n\r\n",
        "GET /up HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: foo\r\n~a\r\n\r\n",
        "GET /up HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: foo\r\n~a\r\n\r\n",
        "GET /up HTTP/1.1\r\nUpgrade: foo\r\n~a\r\nConnection: upgrade\r\n\r\n",
    ];
    let mut cases = vec![
        Case::served(24, "the upstream stays with HTTP; what follows passes its policies", format!("{upgrade}{admin}"), &[200, 403])
            .forwards_one_of(wishes)
            .bodies(&["GET /up", "denied"]),
        Case::served(24, "a policy answers; what follows passes its policies", format!("{}{admin}", upgrade.replace("/up", "/early")), &[403, 403])
            .bodies(&["denied", "denied"]),
        Case::served(24, "h2c with settings", format!("GET /up HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n{admin}"), &[200, 403])
            .bodies(&["GET /up", "denied"]),
        Case::served(24, "Upgrade without Connection", "GET /up HTTP/1.1\r\nHost: a\r\nUpgrade: foo\r\n\r\n", &[200])
            .forwards("GET /up HTTP/1.1\r\n~a\r\n\r\n"),
        Case::served(24, "Connection without Upgrade", "GET /up HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n\r\n", &[200])
            .forwards("GET /up HTTP/1.1\r\n~a\r\n\r\n"),
    ];

    let bodied =
        |method: &str| format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n1234567890");
    cases.extend([
        Case::served(27, "GET", bodied("GET"), &[200])
            .forwards("GET / HTTP/1.1\r\nContent-Length: 10\r\n~a\r\n\r\n1234567890"),
        Case::served(27, "DELETE", bodied("DELETE"), &[200])
            .forwards("DELETE / HTTP/1.1\r\nContent-Length: 10\r\n~a\r\n\r\n1234567890"),
        Case::served(27, "OPTIONS", bodied("OPTIONS"), &[200])
            .forwards("OPTIONS / HTTP/1.1\r\nContent-Length: 10\r\n~a\r\n\r\n1234567890"),
        Case::served(27, "HEAD", bodied("HEAD"), &[200])
            .head(0)
            .forwards("HEAD / HTTP/1.1\r\nContent-Length: 10\r\n~a\r\n\r\n1234567890"),
        Case::served(
            27,
            "GET in chunks",
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nZ\r\n0\r\n\r\n",
            &[200],
        )
        .forwards("GET / HTTP/1.1\r\n~a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nZ\r\n0\r\n\r\n"),
        Case::served(
            27,
            "GET with a length of 0",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
            &[200],
        )
        .forwards("GET / HTTP/1.1\r\nContent-Length: 0\r\n~a\r\n\r\n"),
        Case::served(
            27,
            "a request as the body of GET",
            format!("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{admin}", admin.len()),
            &[200],
        )
        .forwards("GET / HTTP/1.1\r\nContent-Length: 32\r\n~a\r\n\r\nGET /admin HTTP/1.1\r\nHost: a\r\n\r\n"),
    ]);

    cases.extend([
        Case::served(28, "credentials stay", get("Connection: Authorization, Cookie\r\nAuthorization: b\r\nCookie: c\r\n"), &[200])
            .forwards("GET / HTTP/1.1\r\nAuthorization: b\r\nCookie: c\r\n~a\r\n\r\n"),
        Case::served(28, "a length stays", "POST / HTTP/1.1\r\nHost: a\r\nConnection: Content-Length\r\nContent-Length: 5\r\n\r\nhello", &[200])
            .forwards("POST / HTTP/1.1\r\nContent-Length: 5\r\n~a\r\n\r\nhello"),
        Case::served(28, "a coding stays", "POST / HTTP/1.1\r\nHost: a\r\nConnection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nZ\r\n0\r\n\r\n", &[200])
            .forwards("POST / HTTP/1.1\r\n~a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nZ\r\n0\r\n\r\n"),
        Case::served(28, "Host stays", get("Connection: Host\r\n"), &[200])
            .forwards("GET / HTTP/1.1\r\n~a\r\n\r\n"),
        Case::served(28, "what the gateway says stays", get("Connection: X-Forwarded-For, X-Forwarded-Host, X-Forwarded-Proto, X-Request-Id\r\n"), &[200])
            .forwards("GET / HTTP/1.1\r\n~a\r\n\r\n"),
        Case::served(28, "what the client says of itself is not believed", get("X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nForwarded: for=9.9.9.9\r\nX-Request-Id: mine\r\n"), &[200])
            .forwards("GET / HTTP/1.1\r\n~a\r\n\r\n"),
        Case::served(28, "a field of the connection alone goes", get("Connection: X-Mine\r\nX-Mine: 1\r\nX-Other: 2\r\n"), &[200])
            .forwards("GET / HTTP/1.1\r\nX-Other: 2\r\n~a\r\n\r\n"),
    ]);

    let chunked = |behind: &str| {
        format!("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{behind}")
    };
    let forwarded = "GET / HTTP/1.1\r\n~a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    for (name, behind) in [
        ("NUL", "\x00"),
        ("a space", " "),
        ("letters and CRLF", "X\r\n\r\n"),
        ("another end", "0\r\n\r\n"),
        ("a bare LF", "\n"),
    ] {
        cases.push(Case::served(31, name, chunked(behind), &[200, 400]).forwards(forwarded).ends());
    }
    cases.push(
        Case::served(
            31,
            "bytes beyond a length",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nabc d\r\n\r\n",
            &[200, 400],
        )
        .forwards("POST / HTTP/1.1\r\nContent-Length: 2\r\n~a\r\n\r\nab")
        .ends(),
    );
    cases.push(Case::served(31, "one empty line is no request", chunked("\r\n"), &[200]).forwards(forwarded));

    let plain = "GET / HTTP/1.1\r\n~a\r\n\r\n";
    cases.extend([
        Case::served(33, "close", get("Connection: close\r\n"), &[200]).forwards(plain).ends(),
        Case::served(33, "close in any case, in a list", get("Connection: x, CLOSE\r\n"), &[200])
            .forwards(plain)
            .ends(),
        Case::served(33, "close and keep-alive", get("Connection: keep-alive, close\r\n"), &[200])
            .forwards(plain)
            .ends(),
        Case::served(33, "keep-alive", get("Connection: keep-alive\r\n"), &[200]).forwards(plain),
        Case::served(33, "1.0", "GET / HTTP/1.0\r\nHost: a\r\n\r\n", &[200]).forwards(plain).ends(),
        Case::served(
            33,
            "1.0 with keep-alive",
            "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
            &[200],
        )
        .forwards(plain),
        Case::served(
            33,
            "1.0 with a length",
            "POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 2\r\n\r\nab",
            &[200],
        )
        .forwards("POST / HTTP/1.1\r\nContent-Length: 2\r\n~a\r\n\r\nab")
        .ends(),
        Case::refused(33, "1.0 with two hosts", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"),
    ]);

    for field in [
        "Keep-Alive: timeout=5",
        "Proxy-Connection: keep-alive",
        "TE: trailers",
        "TE: gzip",
        "Trailer: X",
        "Proxy-Authorization: x",
        "Proxy-Authenticate: x",
        "Upgrade: websocket",
        "Connection: keep-alive, TE\r\nTE: trailers",
    ] {
        cases.push(
            Case::served(34, &field.replace("\r\n", " "), get(&format!("{field}\r\n")), &[200])
                .forwards(plain),
        );
    }
    cases
}

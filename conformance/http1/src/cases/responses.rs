//! Responses of upstreams: those that no client must see, and those that are right.

use super::Case;
use crate::case::Play;

fn answer(text: &str) -> Play {
    Play::Answer(text.into())
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, response) in [
        (
            "both framings",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "both framings, the other way round",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        ),
        ("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        ("a list of lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\nab"),
        ("a negative length", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
        ("a length that is no number", "HTTP/1.1 200 OK\r\nContent-Length: 2x\r\n\r\nab"),
        ("an empty length", "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n"),
        ("an unknown coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: cow\r\n\r\n0\r\n\r\n"),
        (
            "chunked twice",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "chunked before identity",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        ),
        ("an empty coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n\r\n"),
        ("a coding in disguise", "HTTP/1.1 200 OK\r\nTransfer_Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("a space before the colon", "HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
        ("chunked in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("chunked on 204", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("a body on 204", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello"),
        ("a body on 304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello"),
        ("a response on 204", "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ("bytes behind a body", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab!"),
        (
            "a response behind a body",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        ),
        ("bytes behind a length of 0", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nx"),
        ("a folded field", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n"),
        ("bare line feeds", "HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
        ("a NUL in a value", "HTTP/1.1 200 OK\r\nX: \x00\r\nContent-Length: 0\r\n\r\n"),
        ("a CR in a value", "HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n"),
        ("a field without colon", "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n"),
        ("an empty name", "HTTP/1.1 200 OK\r\n: v\r\n\r\n"),
        ("a status of two digits", "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"),
        ("a status of four digits", "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"),
        ("a status of letters", "HTTP/1.1 OK 200\r\nContent-Length: 0\r\n\r\n"),
        ("no status", "HTTP/1.1\r\nContent-Length: 0\r\n\r\n"),
        ("a status below 100", "HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n"),
        ("another version", "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ("a version in lower case", "http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ("an empty line first", "\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ("no HTTP at all", "SSH-2.0-OpenSSH_9.2\r\n\r\n"),
        (
            "a switch of protocols that nobody asked for",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: foo\r\nConnection: upgrade\r\n\r\n",
        ),
        ("a NUL", "\x00"),
    ] {
        cases.push(Case::bad_gateway(30, name, response));
    }
    cases.push(
        Case::bad_gateway(30, "a body on HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
            .sending("HEAD /up HTTP/1.1\r\nHost: a\r\n\r\n"),
    );
    cases.push(Case::bad_gateway(30, "nothing", "").playing(Play::AnswerAndClose(vec![])));
    let half = Play::AnswerAndClose("HTTP/1.1 200 OK\r\nContent-Le".into());
    cases.push(Case::bad_gateway(30, "half a head", "").playing(half));
    // A thousand may come of a server that is busy for hours.
    let flood = "HTTP/1.1 100 Continue\r\n\r\n".repeat(1001);
    cases.push(Case::bad_gateway(30, "a flood of interim responses", flood));
    let fields = format!("HTTP/1.1 200 OK\r\n{}Content-Length: 0\r\n\r\n", "X: y\r\n".repeat(1000));
    cases.push(Case::bad_gateway(30, "1000 fields", fields));
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(100_000));
    cases.push(Case::bad_gateway(30, "a field of 100 KB", long));

    let chunked =
        |body: &str| answer(&format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}"));
    cases.extend([
        Case::cut(30, "a chunk's size of nonsense", chunked("3\r\nabc\r\nx\r\n")),
        Case::cut(30, "a chunk longer than its size", chunked("3\r\nabcd\r\n0\r\n\r\n")),
        Case::cut(30, "a bare LF behind a chunk", chunked("3\r\nabc\n0\r\n\r\n")),
        Case::cut(30, "a folded trailer", chunked("3\r\nabc\r\n0\r\nX: a\r\n b\r\n\r\n")),
        Case::cut(
            30,
            "a body that ends early",
            Play::AnswerAndClose("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc".into()),
        ),
        Case::cut(
            30,
            "chunks that end early",
            Play::AnswerAndClose("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n".into()),
        ),
    ]);

    let behind = |name: &str, response: &str| Case::not_kept(30, name, response);
    cases.extend([
        behind("bytes behind chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nZ\r\n0\r\n\r\n!"),
        behind("a response behind chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nZ\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        behind("it says that it closes, and does not", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nab"),
        behind("it says that it closes, in HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nab"),
    ]);

    let up = "GET /up HTTP/1.1\r\nHost: a\r\n\r\n";
    let forwarded = "GET /up HTTP/1.1\r\n~a\r\n\r\n";
    let right = |name: &str, status: u16, play: Play| {
        Case::served(36, name, up, &[status]).playing(play).forwards(forwarded)
    };
    cases.extend([
        right("chunks", 200, chunked("3\r\nabc\r\n1;x\r\nd\r\n0\r\n\r\n")).bodies(&["abcd"]),
        right("trailers", 200, chunked("3\r\nabc\r\n0\r\nX: y\r\n\r\n")).bodies(&["abc"]),
        right("the end of the connection", 200, Play::AnswerAndClose("HTTP/1.1 200 OK\r\n\r\nabc".into())).bodies(&["abc"]),
        right("HTTP/1.0", 200, Play::AnswerAndClose("HTTP/1.0 200 OK\r\n\r\nabc".into())).bodies(&["abc"]),
        right("the same length twice", 200, answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab")).bodies(&["ab"]),
        right("204", 204, answer("HTTP/1.1 204 No Content\r\n\r\n")),
        right("304 with the length of what was not sent", 304, answer("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n")),
        right("interim responses first", 200, answer("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab")).bodies(&["ab"]),
        right("no reason phrase", 200, answer("HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nab")).bodies(&["ab"]),
        right("a status that nobody knows", 599, answer("HTTP/1.1 599 Odd\r\nContent-Length: 2\r\n\r\nab")).bodies(&["ab"]),
        right("it closes", 200, Play::AnswerAndClose("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nab".into())).bodies(&["ab"]),
        right("fields of its connection", 200, answer("HTTP/1.1 200 OK\r\nConnection: X-Mine\r\nX-Mine: 1\r\nKeep-Alive: x\r\nContent-Length: 2\r\n\r\nab")).bodies(&["ab"]),
    ]);
    let head = "HEAD /up HTTP/1.1\r\nHost: a\r\n\r\n";
    for (name, response) in [
        ("HEAD with a length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        ("HEAD with chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("HEAD with neither", "HTTP/1.1 200 OK\r\n\r\n"),
    ] {
        cases.push(
            Case::served(36, name, head, &[200])
                .head(0)
                .playing(answer(response))
                .forwards("HEAD /up HTTP/1.1\r\n~a\r\n\r\n"),
        );
    }
    let old = "GET /up HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n";
    cases.push(
        Case::served(36, "chunks for a client of 1.0 end with the connection", old, &[200])
            .playing(chunked("3\r\nabc\r\n0\r\n\r\n"))
            .forwards(forwarded)
            .bodies(&["abc"])
            .ends(),
    );
    cases
}

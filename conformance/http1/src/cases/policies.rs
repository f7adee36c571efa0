//! What policies do to a connection: answers before the body is read, fields that they set, refusals in a pipeline.

use super::Case;
use crate::case::Play;

/// A request that must never be seen, as (a part of) the body of another.
const HIDDEN: &str = "GET /admin HTTP/1.1\r\nHost: a\r\n\r\n";

pub(super) fn cases() -> Vec<Case> {
    let hidden = HIDDEN.len();
    let early = |path: &str, fields: &str, body: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}")
    };
    let length = |more: usize| format!("Content-Length: {}\r\n", hidden + more);
    let mut cases = vec![];
    for (path, status) in [("/early", 403), ("/made", 200), ("/none/such", 404), ("/admin", 403)] {
        cases.extend([
            Case::served(25, &format!("{path}: a length"), early(path, &length(0), HIDDEN), &[status])
                .may_end(),
            Case::served(
                25,
                &format!("{path}: a chunk"),
                early(path, "Transfer-Encoding: chunked\r\n", &format!("20\r\n{HIDDEN}\r\n0\r\n\r\n")),
                &[status],
            )
            .may_end(),
            Case::served(
                25,
                &format!("{path}: 20 KB"),
                early(path, "Content-Length: 20000\r\n", &HIDDEN.repeat(20000 / hidden + 1)[..20000]),
                &[status],
            )
            .may_end(),
            Case::served(
                25,
                &format!("{path}: more than is drained"),
                early(path, "Content-Length: 200000\r\n", &HIDDEN.repeat(200_000 / hidden + 1)[..200_000]),
                &[status],
            )
            .ends(),
            Case::served(
                25,
                &format!("{path}: broken chunks"),
                early(path, "Transfer-Encoding: chunked\r\n", &format!("x\r\n{HIDDEN}")),
                &[status],
            )
            .ends(),
        ]);
    }
    cases.push(
        Case::served(25, "a body that is never whole", early("/early", &length(100), HIDDEN), &[403]).ends(),
    );
    cases.push(
        Case::served(25, "a policy reads it, and sends another", early("/reads", &length(0), HIDDEN), &[200])
            .forwards("POST /reads HTTP/1.1\r\nContent-Length: 9\r\n~a\r\nx-read: 32\r\ncontent-type: text/plain;charset=UTF-8\r\n\r\nread it\r\n"),
    );
    let answer = "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno!";
    cases.push(
        Case::served(
            25,
            "the upstream answers before it has read it",
            early("/", "Content-Length: 200000\r\n", &HIDDEN.repeat(200_000 / hidden + 1)[..200_000]),
            &[413],
        )
        .playing(Play::AnswerHead(answer.into()))
        .may_end(),
    );

    let waits = |more: &str| format!("Expect: 100-continue\r\n{more}");
    cases.extend([
        Case::served(
            26,
            "a policy answers, the body was sent at once",
            early("/early", &waits(&length(0)), HIDDEN),
            &[403],
        )
        .may_end(),
        Case::served(
            26,
            "a policy answers, chunks were sent at once",
            early(
                "/early",
                &waits("Transfer-Encoding: chunked\r\n"),
                &format!("20\r\n{HIDDEN}\r\n0\r\n\r\n"),
            ),
            &[403],
        )
        .may_end(),
        Case::served(
            26,
            "no route, the body was sent at once",
            early("/none/such", &waits(&length(0)), HIDDEN),
            &[404],
        )
        .may_end(),
        Case::served(
            26,
            "a policy answers, the body is not sent",
            early("/early", &waits(&length(0)), ""),
            &[403],
        )
        .ends(),
        Case::served(
            26,
            "the body was sent at once and is forwarded",
            early("/", &waits("Content-Length: 5\r\n"), "hello"),
            &[200],
        )
        .forwards("POST / HTTP/1.1\r\nContent-Length: 5\r\n~a\r\n\r\nhello"),
        Case::served(
            26,
            "without a body it means nothing",
            "GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
            &[200],
        )
        .forwards("GET / HTTP/1.1\r\n~a\r\n\r\n"),
        Case::served(
            26,
            "in any case",
            early("/", "Expect: 100-Continue\r\nContent-Length: 5\r\n", "hello"),
            &[200],
        )
        .forwards("POST / HTTP/1.1\r\nContent-Length: 5\r\n~a\r\n\r\nhello"),
        Case::served(
            26,
            "the upstream answers without reading it",
            early("/", &waits(&length(0)), ""),
            &[417],
        )
        .playing(Play::AnswerHead("HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n".into()))
        .ends(),
        Case::refused_with(
            26,
            "another expectation",
            &[417],
            early("/", "Expect: 200-ok\r\nContent-Length: 5\r\n", "hello"),
        ),
        Case::refused_with(
            26,
            "two expectations",
            &[417],
            early("/", "Expect: 100-continue, x\r\nContent-Length: 5\r\n", "hello"),
        ),
        Case::served(
            26,
            "in HTTP/1.0 it means nothing",
            "POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
            &[200],
        )
        .forwards("POST / HTTP/1.1\r\nContent-Length: 5\r\n~a\r\n\r\nhello")
        .ends(),
    ]);

    let stamped = "GET /stamp HTTP/1.1\r\nx-consumer-id: stamped\r\n~a\r\n\r\n";
    for (name, fields) in [
        ("named in Connection", "Connection: close, X-Consumer-Id\r\nX-Consumer-Id: admin\r\n"),
        ("not named", "X-Consumer-Id: admin\r\nConnection: close\r\n"),
        ("twice", "X-Consumer-Id: admin\r\nConnection: X-Consumer-Id, close\r\nx-consumer-id: root\r\n"),
    ] {
        cases.push(
            Case::served(
                28,
                &format!("what a policy sets reaches the upstream: {name}"),
                format!("GET /stamp HTTP/1.1\r\nHost: a\r\n{fields}\r\n"),
                &[200],
            )
            .forwards_one_of(&["GET /stamp HTTP/1.1\r\n~a\r\nx-consumer-id: stamped\r\n\r\n", stamped])
            .ends(),
        );
    }
    cases.push(
        Case::served(
            28,
            "what a policy sets into framing goes nowhere",
            "GET /frames HTTP/1.1\r\nHost: a\r\n\r\n",
            &[200],
        )
        .forwards("GET /frames HTTP/1.1\r\n~a\r\ncontent-length: 0\r\n\r\n"),
    );

    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    cases.extend([
        Case::served(
            32,
            "the middle one is refused by a policy",
            [get("/1"), get("/early"), get("/3")].concat(),
            &[200, 403, 200],
        )
        .forwards("GET /1 HTTP/1.1\r\n~a\r\n\r\n")
        .forwards("GET /3 HTTP/1.1\r\n~a\r\n\r\n")
        .bodies(&["GET /1", "denied", "GET /3"]),
        Case::served(
            32,
            "the first one is refused by a policy",
            [get("/early"), get("/2"), get("/3")].concat(),
            &[403, 200, 200],
        )
        .forwards("GET /2 HTTP/1.1\r\n~a\r\n\r\n")
        .forwards("GET /3 HTTP/1.1\r\n~a\r\n\r\n")
        .bodies(&["denied", "GET /2", "GET /3"]),
        Case::served(
            32,
            "the middle one has a body that nobody reads",
            [get("/1"), early("/early", &length(0), HIDDEN), get("/3")].concat(),
            &[200, 403, 200],
        )
        .forwards("GET /1 HTTP/1.1\r\n~a\r\n\r\n")
        .forwards("GET /3 HTTP/1.1\r\n~a\r\n\r\n")
        .bodies(&["GET /1", "denied", "GET /3"]),
        Case::served(
            32,
            "bodies with lengths and in chunks",
            [
                early("/1", "Content-Length: 2\r\n", "ab"),
                early("/2", "Transfer-Encoding: chunked\r\n", "1\r\nZ\r\n0\r\n\r\n"),
                get("/3"),
            ]
            .concat(),
            &[200, 200, 200],
        )
        .forwards("POST /1 HTTP/1.1\r\nContent-Length: 2\r\n~a\r\n\r\nab")
        .forwards("POST /2 HTTP/1.1\r\n~a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nZ\r\n0\r\n\r\n")
        .forwards("GET /3 HTTP/1.1\r\n~a\r\n\r\n")
        .bodies(&["POST /1", "POST /2", "GET /3"]),
        Case::served(32, "twenty", (0..20).map(|_| get("/n")).collect::<String>(), &[200; 20]),
        Case::served(
            32,
            "the second closes, the third is nobody's",
            [get("/1"), "GET /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_owned(), get("/admin")]
                .concat(),
            &[200, 200],
        )
        .forwards("GET /1 HTTP/1.1\r\n~a\r\n\r\n")
        .forwards("GET /2 HTTP/1.1\r\n~a\r\n\r\n")
        .ends(),
        Case::served(
            32,
            "an empty line between two",
            [get("/1"), "\r\n".to_owned(), get("/2")].concat(),
            &[200, 200],
        )
        .forwards("GET /1 HTTP/1.1\r\n~a\r\n\r\n")
        .forwards("GET /2 HTTP/1.1\r\n~a\r\n\r\n"),
        Case::served(
            32,
            "HEAD between two",
            [get("/1"), "HEAD /2 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), get("/3")].concat(),
            &[200, 200, 200],
        )
        .head(1)
        .forwards("GET /1 HTTP/1.1\r\n~a\r\n\r\n")
        .forwards("HEAD /2 HTTP/1.1\r\n~a\r\n\r\n")
        .forwards("GET /3 HTTP/1.1\r\n~a\r\n\r\n"),
    ]);
    cases
}

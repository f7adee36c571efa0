//! What we take from upstreams and another parser refuses or reads in another way, and why that is right.

use polygate_http1::Framing;
use polygate_pipeline::Version;

use super::{Reply, Split as Own, split};
use crate::fuzz::ours::{End, Message, Split};

/// Where two parsers begin to differ.
pub(super) struct Place<'a> {
    /// The last response that both took.
    pub(super) before: Option<&'a Reply>,
    /// Our first whole one that the other has not.
    pub(super) beyond: Option<&'a Reply>,
    /// What the other made of the stream.
    pub(super) theirs: &'a Split,
    /// What both read.
    pub(super) stream: &'a [u8],
}

/// Why we take what another refuses or does not go on with, where that is right.
pub(super) fn reason(oracle: &str, place: &Place<'_>) -> Option<&'static str> {
    let &Place { before, beyond, theirs, stream } = place;
    let refuses = |why: &str| theirs.end == End::Error && theirs.why.contains(why);
    let closes = theirs.end == End::Closed;
    let is_chunked = |reply: Option<&Reply>| reply.is_some_and(|r| r.head.framing == Framing::Chunked);
    let framing = ["CONTENT_LENGTH", "TRANSFER_ENCODING", "Content-Length", "Transfer-Encoding"];
    let refuses_framing = framing.iter().any(|why| refuses(why));
    let reasons = [
        (
            closes && before.is_some_and(|r| r.head.version == Version::Http10),
            "HTTP/1.0 persists with keep-alive (RFC 9112 9.3)",
        ),
        (
            closes && before.is_some_and(|r| r.head.headers.contains("proxy-connection")),
            "Proxy-Connection is no field of HTTP and closes nothing",
        ),
        (
            (closes || refuses("HPE_CLOSED_CONNECTION")) && is_chunked(before),
            "Connection in trailers is dropped (RFC 9110 6.5.1)",
        ),
        (
            oracle == "llhttp"
                && refuses("HPE_CLOSED_CONNECTION")
                && beyond.is_some_and(|reply| reply.interim.closes),
            "whether the connection persists is for the final response to say (RFC 9112 9.6)",
        ),
        (
            oracle == "llhttp"
                && (theirs.end == End::Error || theirs.end == End::More)
                && beyond.is_some_and(|reply| reply.interim.with_body.is_some()),
            INTERIM,
        ),
        (
            refuses("in chunk extensions") && is_chunked(beyond),
            "chunk extensions are bounded and dropped, and not read (RFC 9112 7.1.1)",
        ),
        (refuses_framing && is_chunked(beyond), "framing fields in trailers are dropped (RFC 9110 6.5.1)"),
        (
            refuses("Duplicate Content-Length") || refuses("conflicting Content-Length"),
            "the same length twice is one, and 02 is 2 (RFC 9110 8.6)",
        ),
        (
            oracle == "llhttp"
                && refuses_framing
                && beyond.is_some_and(|r| r.head_bytes(stream).contains(&b'\t')),
            "a tab around a value is no part of it (RFC 9110 5.6.3)",
        ),
    ];
    reasons.into_iter().find_map(|(is, reason)| is.then_some(reason))
}

/// llhttp knows it of 100 to 103 alone.
const INTERIM: &str = "an interim response has no body, whatever it says of a length (RFC 9112 6.3)";

/// Why we read `mine`, whole or not, where the other parser reads `theirs` as a whole response.
///
/// llhttp does not know the coding `chunked<TAB>` and reads such a response to the end of the connection: what it reads
/// must be all that is behind our head. And it gives bodies to interim responses that it does not know: what it reads must
/// be what stands behind that body. No other reading is excused.
pub(super) fn read_otherwise(
    oracle: &str,
    mine: &Reply,
    theirs: &Message,
    stream: &[u8],
) -> Option<&'static str> {
    if oracle != "llhttp" {
        return None;
    }
    if let Some(behind) = mine.interim.with_body.and_then(|end| stream.get(end..)) {
        let there = split([behind]).replies;
        return there.first().is_some_and(|reply| reply.is(&theirs.method, &theirs.body)).then_some(INTERIM);
    }
    let is = mine.head.framing == Framing::Chunked
        && mine.head.status.as_str().as_bytes() == theirs.method
        && stream[mine.body_at..] == theirs.body
        && has_tab_behind_coding(mine.head_bytes(stream));
    is.then_some("a tab behind `chunked` is no part of it (RFC 9110 5.6.3); llhttp reads to the end")
}

/// Why a head has not ended for us that has for the other parser.
///
/// llhttp lets some line ends be CR without LF. What we have of such a head must be refused once it is whole.
pub(super) fn never_whole(oracle: &str, ours: &Own, stream: &[u8]) -> Option<&'static str> {
    let last = &stream[ours.replies.last().map_or(0, |reply| reply.body_at)..];
    let is = oracle == "llhttp"
        && last.windows(2).any(|pair| pair[0] == b'\r' && pair[1] != b'\n')
        && split([stream, b"\r\n\r\n"]).end == End::Error;
    is.then_some("CR alone ends no line (RFC 9112 2.2): such a head is refused when it is whole")
}

/// Whether white space with a tab in it stands behind the value of `Transfer-Encoding`.
fn has_tab_behind_coding(head: &[u8]) -> bool {
    head.split(|&byte| byte == b'\n').any(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { return false };
        let (name, value) = line.split_at(colon);
        name.eq_ignore_ascii_case(b"transfer-encoding")
            && value[value.trim_ascii_end().len()..].contains(&b'\t')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAB: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\t\r\n\r\n";

    /// Whether it is known that the first response of a stream is this one to another parser.
    fn is_known(oracle: &str, stream: &str, status: &str, body: &str) -> bool {
        let ours = split([stream.as_bytes()]);
        let mine = ours.replies.first().or(ours.begun.as_ref()).expect("a response");
        let theirs = Message::of_another(status.into(), vec![], body.into());
        read_otherwise(oracle, mine, &theirs, stream.as_bytes()).is_some()
    }

    #[test]
    fn llhttp_reads_to_the_end_behind_a_tab() {
        for (head, rest) in [
            (TAB.to_owned(), "2\r\nab\r\n0\r\n\r\n"),
            (TAB.to_owned(), "2\r\nab\r\n0\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"),
            // Not whole to us.
            (TAB.to_owned(), "2\r\nab\r\n"),
            (TAB.to_owned(), ""),
            (TAB.replace("\t", " \t "), "0\r\n\r\n"),
            (TAB.replace("Transfer-Encoding", "transfer-encoding"), "0\r\n\r\n"),
            (format!("HTTP/1.1 103 Early Hints\r\n\r\n{TAB}"), "0\r\n\r\n"),
        ] {
            let stream = format!("{head}{rest}");
            assert!(is_known("llhttp", &stream, "200", rest), "{stream:?}");
            assert!(!is_known("h11", &stream, "200", rest), "{stream:?}");
            assert!(!is_known("llhttp", &stream, "201", rest), "{stream:?}");
            assert!(!is_known("llhttp", &stream, "200", &format!("{rest}x")), "{stream:?}");
        }
    }

    #[test]
    fn llhttp_gives_bodies_to_interim_responses() {
        let last = "HTTP/1.1 404 Not Found\r\nContent-Length: 1\r\n\r\nx";
        let hidden = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab";
        let stream = |status: u16, length: usize| {
            format!("HTTP/1.1 {status} Odd\r\nContent-Length: {length}\r\n\r\n{hidden}{last}")
        };
        let skipping = stream(104, hidden.len());
        assert!(is_known("llhttp", &skipping, "404", "x"));
        assert!(!is_known("llhttp", &skipping, "404", "y") && !is_known("h11", &skipping, "404", "x"));
        assert!(!is_known("llhttp", &stream(104, hidden.len() - 1), "404", "x"));
        assert!(!is_known("llhttp", &stream(103, hidden.len()), "404", "x"));
        // Where the other is lost in the body.
        for (status, length, end, is) in [
            (104, 5, End::Error, true),
            (199, 500, End::More, true),
            (104, 0, End::Error, false),
            (103, 5, End::Error, false),
            (104, 5, End::Closed, false),
        ] {
            let stream = stream(status, length);
            let ours = split([stream.as_bytes()]);
            let theirs = Split { messages: vec![], end, why: "HPE_INVALID_CONSTANT".to_owned() };
            let (before, beyond) = (None, ours.replies.first());
            let place = Place { before, beyond, theirs: &theirs, stream: stream.as_bytes() };
            assert_eq!(reason("llhttp", &place).is_some(), is, "{status} {length} {end:?}");
        }
    }

    #[test]
    fn what_will_be_refused_need_not_be_whole() {
        let before = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx";
        for (head, is) in [
            ("HTTP/1.1 200 OK\r\r\r\n", true),
            ("HTTP/1.1 200 OK\r\r\r\n3\r\r\r\n ", true),
            // These may become whole, or end otherwise.
            ("HTTP/1.1 200 OK\r\n", false),
            ("HTTP/1.1 200 OK\r\nA: b\r\n", false),
        ] {
            for stream in [head.to_owned(), format!("{before}{head}")] {
                let ours = split([stream.as_bytes()]);
                assert!(ours.begun.is_none() && ours.end == End::More, "{stream:?}");
                assert_eq!(never_whole("llhttp", &ours, stream.as_bytes()).is_some(), is, "{stream:?}");
                assert_eq!(never_whole("h11", &ours, stream.as_bytes()), None);
            }
        }
    }

    #[test]
    fn interim_responses_close_nothing() {
        for (interim, is) in [
            ("HTTP/1.1 103 Early Hints\r\nConnection: close\r\n\r\n", true),
            ("HTTP/1.0 100 Continue\r\n\r\n", true),
            ("HTTP/1.1 100 Continue\r\n\r\n", false),
        ] {
            let stream = format!("{interim}HTTP/1.1 204 No Content\r\n\r\n");
            let ours = split([stream.as_bytes()]);
            let theirs = Split { messages: vec![], end: End::Error, why: "HPE_CLOSED_CONNECTION".to_owned() };
            let (before, beyond) = (None, ours.replies.first());
            let place = Place { before, beyond, theirs: &theirs, stream: stream.as_bytes() };
            assert_eq!(reason("llhttp", &place).is_some(), is, "{interim}");
            assert_eq!(reason("h11", &place), None, "{interim}");
        }
    }

    #[test]
    fn another_body_without_that_tab_is_a_finding() {
        let rest = "2\r\nab\r\n0\r\n\r\n";
        for head in [
            TAB.replace('\t', ""),
            TAB.replace('\t', " "),
            TAB.replace(" chunked\t", "\tchunked"),
            // Of an interim response, and of another field.
            format!("HTTP/1.1 103 Early Hints\r\nA: b\t\r\n\r\n{}", TAB.replace('\t', "")),
            TAB.replace("chunked\t", "chunked\r\nA: b\t"),
        ] {
            let stream = format!("{head}{rest}");
            assert!(!is_known("llhttp", &stream, "200", rest), "{stream:?}");
        }
        assert!(!is_known("llhttp", &format!("{TAB}{rest}"), "200", "ab"));
    }
}

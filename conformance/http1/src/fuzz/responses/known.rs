//! What we take from upstreams and another parser refuses or reads in another way, and why that is right.

use polygate_http1::Framing;
use polygate_pipeline::Version;

use super::Reply;
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

/// Why we read `mine`, whole or not, where the other parser reads `theirs` as a whole response with another body.
///
/// llhttp does not know the coding `chunked<TAB>` and reads such a response to the end of the connection: what it reads
/// must be all that is behind our head, and no other reading is excused.
pub(super) fn read_otherwise(
    oracle: &str,
    mine: &Reply,
    theirs: &Message,
    stream: &[u8],
) -> Option<&'static str> {
    let is = oracle == "llhttp"
        && mine.head.framing == Framing::Chunked
        && mine.head.status.as_str().as_bytes() == theirs.method
        && stream[mine.body_at..] == theirs.body
        && has_tab_behind_coding(mine.head_bytes(stream));
    is.then_some("a tab behind `chunked` is no part of it (RFC 9110 5.6.3); llhttp reads to the end")
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
    use super::super::split;
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

//! Streams of responses to GET requests on one connection, each of which ends with the connection. Where we take what
//! another parser refuses, or see another body, a client could be given what another client's response was to be.

use std::time::Instant;

use bytes::BytesMut;
use polygate_http1::{Decoded, Decoder, Framing, Limits, ResponseHead, ResponseParser};
use polygate_pipeline::{Method, StatusCode, Version};

use super::mutate::{Mutator, OF_RESPONSES};
use super::oracle::Oracle;
use super::ours::{self, End};
use super::{Log, MOST, Plan, oracles};
use crate::case::Play;
use crate::cases;

/// Runs until the time is over. `Err` says what was found.
pub(crate) fn run(plan: &Plan<'_>) -> Result<(), String> {
    let mut oracles = oracles(plan, "_responses")?;
    let played = cases::all().into_iter().filter_map(|case| match case.play {
        Play::Answer(bytes) | Play::AnswerAndClose(bytes) | Play::AnswerHead(bytes) => Some(bytes),
        Play::Echo => None,
    });
    let seeds = played.filter(|bytes| bytes.len() <= MOST).collect();
    let mut mutator = Mutator::new(seeds, OF_RESPONSES, plan.seed);
    let (mut log, mut streams) = (Log::default(), 0);
    let started = Instant::now();
    while started.elapsed() < plan.time {
        let stream = mutator.next(MOST);
        let ours = split([&stream[..]]);
        for oracle in &mut oracles {
            compare(oracle, &ours, &stream, &mut log)?;
        }
        let (first, second) = stream.split_at(mutator.random() as usize % (stream.len() + 1));
        let alike = |other: Split| other.is_like(&ours);
        if !alike(split([first, second])) || !alike(split(stream.chunks(1))) {
            log.found("ours: the answer depends on how the bytes were split", &stream, "");
        }
        streams += 1;
    }
    log.report("responses", streams, plan)
}

/// A stream as we read it.
struct Split {
    /// Whole final responses.
    replies: Vec<Reply>,
    end: End,
}

struct Reply {
    head: ResponseHead,
    body: Vec<u8>,
    /// Its bytes, with those of interim responses before it.
    raw: Vec<u8>,
}

impl Reply {
    fn is(&self, status: &[u8], body: &[u8]) -> bool {
        self.head.status.as_str().as_bytes() == status && self.body == body
    }

    fn head_bytes(&self) -> &[u8] {
        let end = self.raw.windows(4).position(|window| window == b"\r\n\r\n");
        &self.raw[..end.unwrap_or(self.raw.len())]
    }
}

impl Split {
    fn is_like(&self, other: &Self) -> bool {
        let same = |(a, b): (&Reply, &Reply)| a.is(b.head.status.as_str().as_bytes(), &b.body);
        self.end == other.end
            && self.replies.len() == other.replies.len()
            && self.replies.iter().zip(&other.replies).all(same)
    }
}

fn split<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Split {
    let limits = Limits::DEFAULT;
    let (mut buffer, mut raw, mut parser) = (BytesMut::new(), Vec::new(), ResponseParser::new());
    let mut replies = Vec::new();
    let mut current: Option<(ResponseHead, Decoder, Vec<u8>)> = None;
    for piece in pieces {
        buffer.extend_from_slice(piece);
        raw.extend_from_slice(piece);
        loop {
            let Some((_, decoder, body)) = &mut current else {
                if buffer.is_empty() {
                    break;
                }
                match parser.parse(&mut buffer, &limits, &Method::GET) {
                    Ok(None) => break,
                    // As the gateway does it: nobody asked for another protocol.
                    Ok(Some(head)) if head.status == StatusCode::SWITCHING_PROTOCOLS => {
                        return Split { replies, end: End::Error };
                    }
                    Ok(Some(head)) if head.status.is_informational() => {}
                    Ok(Some(head)) => {
                        let decoder = Decoder::new(head.framing);
                        current = Some((head, decoder, vec![]));
                    }
                    Err(_) => return Split { replies, end: End::Error },
                }
                continue;
            };
            match decoder.decode(&mut buffer, &limits) {
                Ok(Decoded::Data(data)) => body.extend_from_slice(&data),
                Ok(Decoded::Trailers(_)) => {}
                Ok(Decoded::More) => break,
                Err(_) => return Split { replies, end: End::Error },
                Ok(Decoded::End) => {
                    let of_reply = raw.drain(..raw.len() - buffer.len()).collect();
                    if let Some((head, _, body)) = current.take() {
                        let goes_on = head.keep_alive();
                        replies.push(Reply { head, body, raw: of_reply });
                        if !goes_on {
                            return Split { replies, end: End::Closed };
                        }
                    }
                }
            }
        }
    }
    match current {
        Some((head, _, body)) if head.framing == Framing::Close => {
            replies.push(Reply { head, body, raw });
            Split { replies, end: End::Closed }
        }
        Some(_) => Split { replies, end: End::More },
        None if raw.is_empty() => Split { replies, end: End::Clean },
        None => Split { replies, end: End::More },
    }
}

fn compare(oracle: &mut Oracle, ours: &Split, stream: &[u8], log: &mut Log) -> Result<(), String> {
    let name = oracle.name();
    let theirs = oracle.split(stream)?;
    let both = ours.replies.len().min(theirs.messages.len());
    for (mine, other) in ours.replies.iter().zip(&theirs.messages) {
        if !mine.is(&other.method, &other.body) {
            let (status, body) = (mine.head.status, &mine.body);
            log.found(
                &format!("{name}: another response"),
                stream,
                &format!("{status} {body:?} and {other:?}"),
            );
            return Ok(());
        }
    }
    log.agreed += both as u64;
    let kind = match (ours.replies.len() > both, theirs.end, theirs.messages.len() > both, ours.end) {
        (true, End::Error, ..) => "taken here, refused there",
        (true, End::Closed, ..) => "goes on here, closed there",
        (true, ..) => "whole here, not whole there",
        (_, _, true, End::Clean | End::More) => "whole there, not whole here",
        _ => return Ok(()),
    };
    let before = both.checked_sub(1).and_then(|last| ours.replies.get(last));
    if let Some(reason) = known(name, before, ours.replies.get(both), &theirs) {
        *log.knowns.entry(format!("{name}: {reason}")).or_default() += 1;
        return Ok(());
    }
    log.found(&format!("{name}: {kind}: {}", theirs.why), stream, &format!("after {both} responses"));
    Ok(())
}

/// Why we take what another refuses, where that is right. `before` is the last response that both took, `beyond` our
/// first that the other has not.
fn known(
    oracle: &str,
    before: Option<&Reply>,
    beyond: Option<&Reply>,
    theirs: &ours::Split,
) -> Option<&'static str> {
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
            oracle == "llhttp" && refuses_framing && beyond.is_some_and(|r| r.head_bytes().contains(&b'\t')),
            "a tab around a value is no part of it (RFC 9110 5.6.3)",
        ),
    ];
    reasons.into_iter().find_map(|(is, reason)| is.then_some(reason))
}

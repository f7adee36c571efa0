//! Streams of responses to GET requests on one connection, each of which ends with the connection. Where we take what
//! another parser refuses, or see another body, a client could be given what another client's response was to be.

mod known;

use std::time::Instant;

use bytes::BytesMut;
use polygate_http1::{Decoded, Decoder, Framing, Limits, ResponseHead, ResponseParser, content_length};
use polygate_pipeline::{Known, Method, StatusCode};

use super::mutate::{Mutator, OF_RESPONSES};
use super::oracle::Oracle;
use super::ours::End;
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
    /// One more of which the end did not come.
    begun: Option<Reply>,
    end: End,
}

struct Reply {
    head: ResponseHead,
    body: Vec<u8>,
    /// Where its head begins in the stream.
    head_at: usize,
    /// Where its body does.
    body_at: usize,
    interim: Interim,
}

/// What other parsers may take interim responses for.
#[derive(Default)]
struct Interim {
    /// One does not persist, if that could be said of it.
    closes: bool,
    /// Where the first that a length has and no other meaning would end with that body.
    with_body: Option<usize>,
}

impl Reply {
    fn is(&self, status: &[u8], body: &[u8]) -> bool {
        self.head.status.as_str().as_bytes() == status && self.body == body
    }

    /// The bytes of its head, in the stream that it was read from.
    fn head_bytes<'a>(&self, stream: &'a [u8]) -> &'a [u8] {
        &stream[self.head_at..self.body_at]
    }
}

impl Interim {
    /// Takes note of a head that ends at `end`.
    fn note(&mut self, head: &ResponseHead, end: usize) {
        self.closes |= !head.connection.persists(head.version);
        // 100 to 103 are registered.
        if head.status.as_u16() > 103 && self.with_body.is_none() {
            let length = head.headers.known(Known::ContentLength).and_then(|told| content_length(told).ok());
            self.with_body = length.filter(|&length| length > 0).map(|length| end + length as usize);
        }
    }
}

impl Split {
    fn new(replies: Vec<Reply>, end: End) -> Self {
        Self { replies, begun: None, end }
    }

    fn is_like(&self, other: &Self) -> bool {
        let same = |(a, b): (&Reply, &Reply)| a.is(b.head.status.as_str().as_bytes(), &b.body);
        self.end == other.end
            && self.replies.len() == other.replies.len()
            && self.replies.iter().zip(&other.replies).all(same)
    }
}

fn split<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Split {
    let limits = Limits::DEFAULT;
    let (mut buffer, mut parser) = (BytesMut::new(), ResponseParser::new());
    // How much of the stream came, and how much of it belongs to whole replies.
    let (mut received, mut whole) = (0, 0);
    let (mut replies, mut interim) = (Vec::new(), Interim::default());
    let mut current: Option<(Reply, Decoder)> = None;
    for piece in pieces {
        buffer.extend_from_slice(piece);
        received += piece.len();
        loop {
            let Some((reply, decoder)) = &mut current else {
                if buffer.is_empty() {
                    break;
                }
                let head_at = received - buffer.len();
                match parser.parse(&mut buffer, &limits, &Method::GET) {
                    Ok(None) => break,
                    // As the gateway does it: nobody asked for another protocol.
                    Ok(Some(head)) if head.status == StatusCode::SWITCHING_PROTOCOLS => {
                        return Split::new(replies, End::Error);
                    }
                    Ok(Some(head)) if head.status.is_informational() => {
                        interim.note(&head, received - buffer.len());
                    }
                    Ok(Some(head)) => {
                        let decoder = Decoder::new(head.framing);
                        let body_at = received - buffer.len();
                        let interim = std::mem::take(&mut interim);
                        current = Some((Reply { head, body: vec![], head_at, body_at, interim }, decoder));
                    }
                    Err(_) => return Split::new(replies, End::Error),
                }
                continue;
            };
            match decoder.decode(&mut buffer, &limits) {
                Ok(Decoded::Data(data)) => reply.body.extend_from_slice(&data),
                Ok(Decoded::Trailers(_)) => {}
                Ok(Decoded::More) => break,
                Err(_) => return Split::new(replies, End::Error),
                Ok(Decoded::End) => {
                    whole = received - buffer.len();
                    let goes_on = reply.head.keep_alive();
                    replies.extend(current.take().map(|(reply, _)| reply));
                    if !goes_on {
                        return Split::new(replies, End::Closed);
                    }
                }
            }
        }
    }
    match current {
        Some((reply, _)) if reply.head.framing == Framing::Close => {
            replies.push(reply);
            Split::new(replies, End::Closed)
        }
        Some((reply, _)) => Split { replies, begun: Some(reply), end: End::More },
        None if whole == received => Split::new(replies, End::Clean),
        None => Split::new(replies, End::More),
    }
}

fn compare(oracle: &mut Oracle, ours: &Split, stream: &[u8], log: &mut Log) -> Result<(), String> {
    let name = oracle.name();
    let theirs = oracle.split(stream)?;
    let both = ours.replies.len().min(theirs.messages.len());
    for (mine, other) in ours.replies.iter().zip(&theirs.messages) {
        if mine.is(&other.method, &other.body) {
            continue;
        }
        if let Some(reason) = known::read_otherwise(name, mine, other, stream) {
            log.known(name, reason);
            return Ok(());
        }
        let (status, body) = (mine.head.status, &mine.body);
        log.found(&format!("{name}: another response"), stream, &format!("{status} {body:?} and {other:?}"));
        return Ok(());
    }
    log.agreed += both as u64;
    let kind = match (ours.replies.len() > both, theirs.end, theirs.messages.len() > both, ours.end) {
        (true, End::Error, ..) => "taken here, refused there",
        (true, End::Closed, ..) => "goes on here, closed there",
        (true, ..) => "whole here, not whole there",
        (_, _, true, End::Clean | End::More) => "whole there, not whole here",
        _ => return Ok(()),
    };
    let place = known::Place {
        before: both.checked_sub(1).and_then(|last| ours.replies.get(last)),
        beyond: ours.replies.get(both),
        theirs: &theirs,
        stream,
    };
    let whole_there = || match (&ours.begun, theirs.messages.get(both)?) {
        (Some(mine), other) => known::read_otherwise(name, mine, other, stream),
        (None, _) => known::never_whole(name, ours, stream),
    };
    if let Some(reason) = known::reason(name, &place).or_else(whole_there) {
        log.known(name, reason);
        return Ok(());
    }
    log.found(&format!("{name}: {kind}: {}", theirs.why), stream, &format!("after {both} responses"));
    Ok(())
}

//! Our own parser, as the gateway uses it.

use bytes::BytesMut;
use polygate_http1::encode::{self, Encoder};
use polygate_http1::{Decoded, Decoder, Framing, Limits, Origin, Outbox, RequestHead, RequestParser};
use polygate_pipeline::{Scheme, Target, Version};

/// A stream as one parser reads it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Split {
    /// Whole requests.
    pub(super) messages: Vec<Message>,
    /// How it ends.
    pub(super) end: End,
    /// More about the end.
    pub(super) why: String,
}

/// How a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Between two requests.
    Clean,
    /// Within one.
    More,
    /// With what is refused.
    Error,
    /// No more is read: the connection does not persist.
    Closed,
}

/// A request.
#[derive(Debug)]
pub(super) struct Message {
    /// Its method.
    pub(super) method: Vec<u8>,
    /// As it stands in the request line.
    pub(super) target: Vec<u8>,
    /// Without framing.
    pub(super) body: Vec<u8>,
    /// Of our own parser.
    own: Option<Own>,
    /// Its bytes, where it was read by our own parser.
    pub(super) raw: Vec<u8>,
    /// Where its body begins in them.
    body_at: usize,
}

#[derive(Debug)]
struct Own {
    target: Target,
    head: RequestHead,
}

impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        (&self.method, &self.target, &self.body) == (&other.method, &other.target, &other.body)
    }
}

impl Eq for Message {}

impl Message {
    /// One of another parser.
    pub(super) fn of_another(method: Vec<u8>, target: Vec<u8>, body: Vec<u8>) -> Self {
        Self { method, target, body, own: None, raw: vec![], body_at: 0 }
    }

    /// Path and query.
    pub(super) fn path(&self) -> &[u8] {
        self.own.as_ref().map_or(&self.target, |own| own.target.path_and_query().as_bytes())
    }

    /// Whether the gateway would forward it: it serves only methods that are commonly registered.
    pub(super) fn is_forwarded(&self) -> bool {
        const METHODS: [&[u8]; 8] =
            [b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE"];
        METHODS.contains(&&self.method[..])
    }

    /// Whether its body came in chunks.
    pub(super) fn is_chunked(&self) -> bool {
        self.own.as_ref().is_some_and(|own| own.head.framing == Framing::Chunked)
    }

    /// Whether it is of HTTP/1.0.
    pub(super) fn is_old(&self) -> bool {
        self.own.as_ref().is_some_and(|own| own.head.version == Version::Http10)
    }

    /// Whether it asks for another protocol.
    pub(super) fn wants_upgrade(&self) -> bool {
        self.own.as_ref().is_some_and(|own| own.head.connection.upgrade)
    }

    /// Whether its head has a field of that name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.own.as_ref().is_some_and(|own| own.head.headers.contains(name))
    }

    /// The bytes of its head, where it was read by our own parser.
    pub(super) fn head_bytes(&self) -> &[u8] {
        &self.raw[..self.body_at]
    }

    /// Of a body in chunks, as it came: whether a chunk has an extension, and the trailer section.
    pub(super) fn around_chunks(&self) -> (bool, &[u8]) {
        let mut rest = self.raw.get(self.body_at..).unwrap_or_default();
        let mut has_extensions = false;
        while let Some(end) = rest.iter().position(|&byte| byte == b'\r').filter(|_| self.is_chunked()) {
            let line = &rest[..end];
            let digits = line.iter().take_while(|digit| digit.is_ascii_hexdigit()).count();
            has_extensions |= digits < line.len();
            let size = std::str::from_utf8(&line[..digits])
                .ok()
                .and_then(|text| usize::from_str_radix(text, 16).ok());
            let behind = rest.get(end + 2..).unwrap_or_default();
            match size {
                Some(0) => return (has_extensions, behind),
                Some(size) => rest = behind.get(size + 2..).unwrap_or_default(),
                None => break,
            }
        }
        (has_extensions, &[])
    }

    /// Whether a request that another parser read is the same.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let whole = match &self.own {
            // In absolute form (RFC 9112 3.2.2).
            Some(own) if !other.target.starts_with(b"/") && other.target != b"*" => {
                let written = std::str::from_utf8(&other.target).ok();
                written.and_then(|url| Target::parse(url).ok()).is_some_and(|target| target == own.target)
            }
            _ => self.path() == other.target,
        };
        whole && self.method == other.method && self.body == other.body
    }
}

impl Split {
    /// The stream that the gateway would send to an upstream, and the number of its requests. None when there are none.
    pub(super) fn forwarded(&self) -> Option<(Vec<u8>, usize)> {
        let (mut outbox, mut count) = (Outbox::new(), 0);
        for message in self.messages.iter().filter(|message| message.is_forwarded()) {
            let own = message.own.as_ref()?;
            let framing = own.head.framing;
            let (method, headers) = (&own.head.method, &own.head.headers);
            encode::request_head(outbox.end_mut(), method, &own.target, headers, framing, None);
            let mut encoder = Encoder::new(framing);
            // What is encoded has the length that its framing promised.
            encoder.data(&mut outbox, message.body.clone().into()).ok()?;
            encoder.end(&mut outbox, None).ok()?;
            count += 1;
        }
        let (slices, used) = outbox.slices();
        let bytes = slices[..used].iter().flat_map(|slice| slice.iter().copied()).collect();
        (count > 0).then_some((bytes, count))
    }
}

/// Splits a stream that comes in one piece.
pub(super) fn split(stream: &[u8]) -> Split {
    split_pieces([stream])
}

/// Whether a stream is read alike in one piece, in two, and byte by byte.
pub(super) fn splits_alike(stream: &[u8], random: u64) -> bool {
    let whole = split(stream);
    let (first, second) = stream.split_at(random as usize % (stream.len() + 1));
    let alike = |other: Split| other.messages == whole.messages && other.end == whole.end;
    alike(split_pieces([first, second])) && alike(split_pieces(stream.chunks(1)))
}

fn split_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Split {
    let limits = Limits::DEFAULT;
    let origin = Origin { scheme: Scheme::Http, authority: "local".to_owned() };
    let mut buffer = BytesMut::new();
    let mut parser = RequestParser::new();
    let mut messages = Vec::new();
    let mut current: Option<(RequestHead, Decoder, Vec<u8>)> = None;
    let (mut raw, mut body_at) = (Vec::new(), 0);
    let error =
        |messages, why: polygate_http1::WireError| Split { messages, end: End::Error, why: why.to_string() };
    for piece in pieces {
        buffer.extend_from_slice(piece);
        raw.extend_from_slice(piece);
        loop {
            let Some((head, decoder, body)) = &mut current else {
                if buffer.is_empty() {
                    break;
                }
                match parser.parse(&mut buffer, &limits, &origin) {
                    Ok(None) => break,
                    Ok(Some(head)) => {
                        let decoder = Decoder::new(head.framing);
                        body_at = raw.len() - buffer.len();
                        current = Some((head, decoder, vec![]));
                    }
                    Err(why) => return error(messages, why),
                }
                continue;
            };
            match decoder.decode(&mut buffer, &limits) {
                Ok(Decoded::Data(data)) => body.extend_from_slice(&data),
                Ok(Decoded::Trailers(_)) => {}
                Ok(Decoded::More) => break,
                Err(why) => return error(messages, why),
                Ok(Decoded::End) => {
                    let persists = head.keep_alive();
                    let of_message = raw.drain(..raw.len() - buffer.len()).collect();
                    if let Some((head, _, body)) = current.take() {
                        messages.push(message(head, body, of_message, body_at));
                    }
                    if !persists {
                        return Split { messages, end: End::Closed, why: String::new() };
                    }
                }
            }
        }
    }
    let begun = current.is_some() || parser.has_begun(&buffer);
    Split { messages, end: if begun { End::More } else { End::Clean }, why: String::new() }
}

fn message(head: RequestHead, body: Vec<u8>, raw: Vec<u8>, body_at: usize) -> Message {
    Message {
        method: head.method.as_str().as_bytes().to_vec(),
        target: head.target.path_and_query().as_bytes().to_vec(),
        body,
        own: Some(Own { target: head.target.clone(), head }),
        raw,
        body_at,
    }
}

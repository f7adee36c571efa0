//! Bodies out of a read buffer (RFC 9112 6 and 7).
//!
//! Data is split off the buffer without a copy, except for small pieces: they are copied, so that the buffer stays
//! whole and is used again for the next read.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;
use polygate_pipeline::Headers;

use crate::{Framing, Limits, WireError, trailers};

/// What came out of the buffer.
#[derive(Debug)]
pub enum Decoded {
    /// Bytes of the body; never empty.
    Data(Bytes),
    /// The trailer section, forbidden fields dropped; not empty. [`Decoded::End`] follows.
    Trailers(Headers),
    /// The body is whole; what is left in the buffer belongs to the next message. Given again on every call.
    End,
    /// Nothing more without more bytes from the wire.
    More,
}

/// Reads one body.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    extensions: usize,
    /// How far a trailer section was looked at, and where its current line starts.
    trailer: (usize, usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Length(u64),
    Close,
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailers,
    End,
}

/// Pieces up to this size are copied out of the buffer.
const COPY_BELOW: usize = 1024;
/// A chunk's size has at most this many digits: what fits 64 bits.
const MAX_DIGITS: usize = 16;

impl Decoder {
    /// At the start of a body.
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Empty | Framing::Length(0) => State::End,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkSize,
            Framing::Close => State::Close,
        };
        Self { state, extensions: 0, trailer: (0, 0) }
    }

    /// Whether the body is whole.
    pub fn is_end(&self) -> bool {
        self.state == State::End
    }

    /// Bytes still to come, when the framing says it.
    pub fn length(&self) -> Option<u64> {
        match self.state {
            State::Length(left) => Some(left),
            State::End => Some(0),
            _ => None,
        }
    }

    /// Told that the connection ended: whether the body is whole with that. The buffer has been decoded before.
    pub fn eof(&mut self) -> bool {
        if self.state == State::Close {
            self.state = State::End;
        }
        self.state == State::End
    }

    /// Takes the next piece from the front of `buffer`.
    ///
    /// # Errors
    /// A malformed chunk or trailer section, or one beyond its limits; the connection is of no use then.
    pub fn decode(&mut self, buffer: &mut BytesMut, limits: &Limits) -> Result<Decoded, WireError> {
        loop {
            match self.state {
                State::End => return Ok(Decoded::End),
                _ if buffer.is_empty() => return Ok(Decoded::More),
                State::Close => return Ok(Decoded::Data(take(buffer, u64::MAX))),
                State::Length(left) => {
                    let data = take(buffer, left);
                    self.state = match left - data.len() as u64 {
                        0 => State::End,
                        left => State::Length(left),
                    };
                    return Ok(Decoded::Data(data));
                }
                State::ChunkData(left) => {
                    let data = take(buffer, left);
                    self.state = match left - data.len() as u64 {
                        0 => State::ChunkEnd,
                        left => State::ChunkData(left),
                    };
                    return Ok(Decoded::Data(data));
                }
                State::ChunkEnd => match buffer[..] {
                    [b'\r', b'\n', ..] => {
                        buffer.advance(2);
                        self.state = State::ChunkSize;
                    }
                    [b'\r'] => return Ok(Decoded::More),
                    _ => return Err(WireError::Chunk),
                },
                State::ChunkSize => match self.size_line(buffer, limits)? {
                    None => return Ok(Decoded::More),
                    Some(0) => self.state = State::Trailers,
                    Some(size) => self.state = State::ChunkData(size),
                },
                State::Trailers => {
                    let Some(end) = self.trailer_end(buffer, limits)? else { return Ok(Decoded::More) };
                    let section = buffer.split_to(end);
                    self.state = State::End;
                    if end > 2 {
                        let fields = trailers::parse(&section)?;
                        if !fields.is_empty() {
                            return Ok(Decoded::Trailers(fields));
                        }
                    }
                }
            }
        }
    }

    /// Reads `1*HEXDIG [";" extension] CRLF`. No space is taken anywhere: RFC 9112 7.1.1 lets "bad whitespace"
    /// stand around the semicolon, and parsers have disagreed about it.
    fn size_line(&mut self, buffer: &mut BytesMut, limits: &Limits) -> Result<Option<u64>, WireError> {
        let digits = buffer.iter().take(MAX_DIGITS + 1).take_while(|b| b.is_ascii_hexdigit()).count();
        if digits > MAX_DIGITS || (digits == 0 && !buffer.is_empty()) {
            return Err(WireError::Chunk);
        }
        let rest = &buffer[digits..];
        let extension = match rest.first() {
            None => return Ok(None),
            Some(b'\r') => 0,
            Some(b';') => {
                // The longest extension with its CRLF.
                let window = &rest[..rest.len().min(limits.chunk_extension + 2)];
                let length = window.iter().position(|&b| (b < 0x20 && b != b'\t') || b == 0x7f);
                match length {
                    None if window.len() == limits.chunk_extension + 2 => {
                        return Err(WireError::ChunkExtension);
                    }
                    None => return Ok(None),
                    Some(length) if length > limits.chunk_extension => return Err(WireError::ChunkExtension),
                    Some(length) => length,
                }
            }
            Some(_) => return Err(WireError::Chunk),
        };
        match rest[extension..] {
            [b'\r', b'\n', ..] => {}
            [b'\r'] => return Ok(None),
            _ => return Err(WireError::Chunk),
        }
        self.extensions += extension;
        if self.extensions > limits.chunk_extensions {
            return Err(WireError::ChunkExtension);
        }
        let size = buffer[..digits].iter().fold(0u64, |sum, &b| sum << 4 | u64::from(hex(b)));
        // Sums of sizes stay within 64 bits.
        if size > i64::MAX as u64 {
            return Err(WireError::Chunk);
        }
        buffer.advance(digits + extension + 2);
        Ok(Some(size))
    }

    /// The end of the trailer section: behind its empty line.
    fn trailer_end(&mut self, buffer: &[u8], limits: &Limits) -> Result<Option<usize>, WireError> {
        let window = &buffer[..buffer.len().min(limits.trailers)];
        let (at, line) = &mut self.trailer;
        while let Some(found) = memchr(b'\n', &window[*at..]) {
            let feed = *at + found;
            *at = feed + 1;
            if feed == *line || window[feed - 1] != b'\r' {
                return Err(WireError::BareLineFeed);
            }
            let empty = feed - 1 == *line;
            *line = feed + 1;
            if empty {
                return Ok(Some(feed + 1));
            }
        }
        *at = window.len();
        // What cannot become a field or the end is not waited for.
        if buffer.first().is_some_and(|&b| b != b'\r' && !polygate_pipeline::is_token(b)) {
            return Err(WireError::FieldName);
        }
        if matches!(buffer, [b'\r', second, ..] if *second != b'\n') {
            return Err(WireError::Chunk);
        }
        if buffer.len() >= limits.trailers { Err(WireError::TrailersTooLong) } else { Ok(None) }
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

/// Takes up to `most` bytes.
fn take(buffer: &mut BytesMut, most: u64) -> Bytes {
    let length = usize::try_from(most).map_or(buffer.len(), |most| most.min(buffer.len()));
    if length <= COPY_BELOW {
        let data = Bytes::copy_from_slice(&buffer[..length]);
        buffer.advance(length);
        data
    } else {
        buffer.split_to(length).freeze()
    }
}

//! Heads and bodies onto the wire.
//!
//! Framing is always made anew from the body that is sent: what the peer or a plugin wrote into `Content-Length`
//! and `Transfer-Encoding` never goes out (one exception: answers to HEAD and 304 keep a valid length). Fields that
//! belong to one connection are left out; all others go out in their order and case.

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode};
use polygate_pipeline::{Body, Fate, Headers, Known, Target, Upgrade, Version};

use crate::framing::content_length;
use crate::{Framing, Outbox, trailers};

/// Tells a client to send its body (RFC 9110 15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// How a request with that body is framed: by its length when it is known, else in chunks.
pub fn request_framing(body: &Body) -> Framing {
    match body.length() {
        Some(0) => Framing::Empty,
        Some(length) => Framing::Length(length),
        None => Framing::Chunked,
    }
}

/// How the response to a `method` request of a client of that version is framed. [`Framing::Empty`] also where the
/// body must not be sent: HEAD, 1xx, 204, 304 (RFC 9110 6.4.1).
pub fn response_framing(method: &Method, status: StatusCode, version: Version, body: &Body) -> Framing {
    if *method == Method::HEAD || is_bodiless(status) {
        return Framing::Empty;
    }
    match body.length() {
        Some(0) => Framing::Empty,
        Some(length) => Framing::Length(length),
        None if version == Version::Http10 => Framing::Close,
        None => Framing::Chunked,
    }
}

fn is_bodiless(status: StatusCode) -> bool {
    status.is_informational() || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}

/// Writes a request's head in origin-form, for HTTP/1.1.
///
/// `Host` goes first: the headers' own when there is one (one alone), else the target's authority. `Expect` is left
/// out: waiting is between the client and us. With `upgrade` the recipient is asked to go on with that protocol.
pub fn request_head(
    out: &mut BytesMut,
    method: &Method,
    target: &Target,
    headers: &Headers,
    framing: Framing,
    upgrade: Option<&Upgrade>,
) {
    let path = target.path_and_query();
    out.reserve(headers.bytes() + 4 * headers.len() + path.len() + target.authority().len() + 96);
    put(out, &[method.as_str().as_bytes(), b" ", path.as_bytes(), b" HTTP/1.1\r\nHost: "]);
    put(out, &[headers.known(Known::Host).unwrap_or(target.authority().as_bytes()), b"\r\n"]);
    let expects_body = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
    let mut length = match framing {
        Framing::Length(length) => Some(length),
        Framing::Empty if expects_body || headers.known(Known::ContentLength).is_some() => Some(0),
        _ => None,
    };
    headers.write(out, |known, value| match known {
        Known::Host | Known::Expect => Fate::Leave,
        Known::ContentLength => length_field(value, length.take()),
        known if known.is_hop_by_hop() => Fate::Leave,
        _ => Fate::Keep,
    });
    put_length(out, b"Content-Length", length);
    if framing == Framing::Chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    put_upgrade(out, upgrade);
    out.extend_from_slice(b"\r\n");
}

/// What a response's head needs besides status and fields.
#[derive(Debug, Clone, Copy)]
pub struct ResponseOptions<'a> {
    /// The request's method.
    pub method: &'a Method,
    /// The client's version.
    pub version: Version,
    /// From [`response_framing`].
    pub framing: Framing,
    /// The length of a body that is not sent, for an answer to HEAD without `Content-Length`.
    pub hidden_length: Option<u64>,
    /// Whether the connection stays open after the response.
    pub keep_alive: bool,
    /// A date in IMF-fixdate form for a response without `Date` (RFC 9110 6.6.1).
    pub date: Option<&'a [u8]>,
    /// The protocol that the connection goes on with, behind a head with status 101.
    pub upgrade: Option<&'a Upgrade>,
}

/// The `Content-Length` of a response: of the body that is sent, or where none may be sent, of the one that is meant.
pub fn response_length(status: StatusCode, headers: &Headers, options: &ResponseOptions<'_>) -> Option<u64> {
    match options.framing {
        Framing::Length(length) => Some(length),
        Framing::Empty if *options.method == Method::HEAD || status == StatusCode::NOT_MODIFIED => {
            let told = headers.known(Known::ContentLength).and_then(|v| content_length(v).ok());
            let hidden = options.hidden_length.filter(|&l| l > 0 && *options.method == Method::HEAD);
            told.or(hidden).filter(|_| !status.is_informational() && status != StatusCode::NO_CONTENT)
        }
        Framing::Empty if is_bodiless(status) => None,
        Framing::Empty => Some(0),
        Framing::Chunked | Framing::Close => None,
    }
}

/// Writes a response's head.
pub fn response_head(
    out: &mut BytesMut,
    status: StatusCode,
    headers: &Headers,
    options: &ResponseOptions<'_>,
) {
    out.reserve(headers.bytes() + 4 * headers.len() + 160);
    // The version is the server's own capability, not the client's version (RFC 9110 6.2).
    put(out, &[b"HTTP/1.1 ", status.as_str().as_bytes(), b" "]);
    put(out, &[status.canonical_reason().unwrap_or("").as_bytes(), b"\r\n"]);
    let mut length = response_length(status, headers, options);
    let mut dated = false;
    headers.write(out, |known, value| match known {
        Known::ContentLength => length_field(value, length.take()),
        Known::Date => {
            dated = true;
            Fate::Keep
        }
        known if known.is_hop_by_hop() => Fate::Leave,
        _ => Fate::Keep,
    });
    put_length(out, b"Content-Length", length);
    if options.framing == Framing::Chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    if let (false, Some(date)) = (dated, options.date) {
        put(out, &[b"Date: ", date, b"\r\n"]);
    }
    match (options.keep_alive, options.version) {
        _ if options.upgrade.is_some() => put_upgrade(out, options.upgrade),
        (false, _) => out.extend_from_slice(b"Connection: close\r\n"),
        (true, Version::Http10) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        (true, _) => {}
    }
    out.extend_from_slice(b"\r\n");
}

fn put_upgrade(out: &mut BytesMut, upgrade: Option<&Upgrade>) {
    if let Some(upgrade) = upgrade {
        put(out, &[b"Connection: Upgrade\r\nUpgrade: ", upgrade.as_str().as_bytes(), b"\r\n"]);
    }
}

fn put(out: &mut BytesMut, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}

fn field(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    put(out, &[name, b": ", value, b"\r\n"]);
}

/// What becomes of a `Content-Length` when the length is known, or when it was written already.
fn length_field(value: &[u8], length: Option<u64>) -> Fate {
    let Some(length) = length else { return Fate::Leave };
    // As it stands it need not be written by itself.
    if value == itoa::Buffer::new().format(length).as_bytes() { Fate::Keep } else { Fate::Number(length) }
}

fn put_length(out: &mut BytesMut, name: &[u8], length: Option<u64>) {
    if let Some(length) = length {
        field(out, name, itoa::Buffer::new().format(length).as_bytes());
    }
}

/// Writes a number's hexadecimal digits, without allocation.
fn hexadecimal(digits: &mut [u8; 16], mut number: u64) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b"0123456789abcdef"[(number % 16) as usize];
        number /= 16;
        if number == 0 {
            return &digits[at..];
        }
    }
}

/// The body's bytes do not fit the length that its head promised. The connection must be closed: going on would
/// let the peer read what follows as another message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body does not have the length that its head promised")]
pub struct LengthMismatch;

/// Writes one body behind its head.
#[derive(Debug)]
pub struct Encoder {
    framing: Framing,
    left: u64,
}

impl Encoder {
    /// For a body framed so in its head.
    pub fn new(framing: Framing) -> Self {
        let left = if let Framing::Length(length) = framing { length } else { 0 };
        Self { framing, left }
    }

    /// Adds bytes of the body.
    ///
    /// # Errors
    /// When the body is longer than promised; nothing is added then.
    pub fn data(&mut self, out: &mut Outbox, data: Bytes) -> Result<(), LengthMismatch> {
        if data.is_empty() {
            return Ok(());
        }
        match self.framing {
            Framing::Empty => return Err(LengthMismatch),
            Framing::Length(_) => {
                self.left = self.left.checked_sub(data.len() as u64).ok_or(LengthMismatch)?;
                out.push(data);
            }
            Framing::Close => out.push(data),
            Framing::Chunked => {
                let mut digits = [0u8; 16];
                put(out.end_mut(), &[hexadecimal(&mut digits, data.len() as u64), b"\r\n"]);
                out.push(data);
                out.end_mut().extend_from_slice(b"\r\n");
            }
        }
        Ok(())
    }

    /// Ends the body. Trailers go out in chunked framing alone, without fields that may not stand there.
    ///
    /// # Errors
    /// When the body is shorter than promised.
    pub fn end(&mut self, out: &mut Outbox, trailers: Option<&Headers>) -> Result<(), LengthMismatch> {
        if self.left > 0 {
            return Err(LengthMismatch);
        }
        if self.framing == Framing::Chunked {
            let out = out.end_mut();
            out.extend_from_slice(b"0\r\n");
            for (known, name, value) in trailers.iter().flat_map(|t| t.iter_known()) {
                if trailers::is_allowed(known, name) {
                    field(out, name.as_bytes(), value);
                }
            }
            out.extend_from_slice(b"\r\n");
        }
        Ok(())
    }
}

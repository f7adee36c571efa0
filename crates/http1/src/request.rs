//! Request heads.

use std::mem::MaybeUninit;

use bytes::{Buf, BytesMut};
use http::Method;
use polygate_pipeline::{Headers, Known, Scheme, Target, Version, is_token};

use crate::connection::{Options, strip_nominated};
use crate::limits::MAX_FIELDS;
use crate::scan::{Scan, is_in_order};
use crate::{Framing, Limits, WireError};

/// A request's head, checked.
#[derive(Debug)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// Where to. The authority is the target's own in absolute-form, else the `Host` field's.
    pub target: Target,
    /// 1.0 or 1.1.
    pub version: Version,
    /// Fields as received, except that those named by `Connection` are gone, and that `Host` has the authority of
    /// a target in absolute-form (RFC 9112 3.2.2).
    pub headers: Headers,
    /// What ends the body.
    pub framing: Framing,
    /// What it says about the connection.
    pub connection: Options,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

impl RequestHead {
    /// Whether the client wants the connection to outlive the exchange.
    pub fn keep_alive(&self) -> bool {
        self.connection.persists(self.version)
    }
}

/// Where a connection's requests go when they do not say it themselves.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The scheme of the listener.
    pub scheme: Scheme,
    /// `host[:port]` for an HTTP/1.0 request without `Host`.
    pub authority: String,
}

/// Reads request heads, one after the other, from the buffer of one connection.
#[derive(Debug, Default)]
pub struct RequestParser {
    scan: Scan,
}

/// Longest method name taken.
const MAX_METHOD: usize = 32;

impl RequestParser {
    /// At the start of a head.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a head has begun and is not whole. `buffer` is the one given to [`parse`](Self::parse).
    pub fn has_begun(&self, buffer: &[u8]) -> bool {
        buffer.len() > self.scan.start()
    }

    /// Takes a head from the front of `buffer`; `None` when it is not whole yet: call again with more behind the
    /// same bytes. Garbage is refused as soon as it shows.
    ///
    /// # Errors
    /// What is wrong with it; the connection is of no use then.
    pub fn parse(
        &mut self,
        buffer: &mut BytesMut,
        limits: &Limits,
        origin: &Origin,
    ) -> Result<Option<RequestHead>, WireError> {
        if self.scan.is_new()
            && let Some((head, end)) = parse_whole(buffer, limits, origin)?
        {
            buffer.advance(end);
            return Ok(Some(head));
        }
        let found = self.scan.find_end(buffer, limits, true, WireError::UriTooLong);
        // What is not the start of a method is answered at once, not when the client falls silent.
        let first = buffer.get(self.scan.start()).copied();
        if first.is_some_and(|b| !is_token(b) && b != b'\r' && b != b'\n') {
            return Err(WireError::RequestLine);
        }
        let Some((start, end)) = found? else { return Ok(None) };
        let head = parse_head(&buffer[start..end], limits, origin)?;
        buffer.advance(end);
        self.scan = Scan::default();
        Ok(Some(head))
    }
}

/// Parses a head that is at the front of the buffer as a whole and in order; says where it ends. What it does not take is
/// for the scan to judge, or has not come yet.
fn parse_whole(
    buffer: &[u8],
    limits: &Limits,
    origin: &Origin,
) -> Result<Option<(RequestHead, usize)>, WireError> {
    // Empty lines before the head are the scan's to count.
    if !buffer.first().is_some_and(|&byte| is_token(byte)) {
        return Ok(None);
    }
    let window = &buffer[..buffer.len().min(limits.head)];
    let mut table = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(window, &mut table) {
        Ok(httparse::Status::Complete(end)) if is_in_order(&window[..end], parsed.headers, limits) => {
            check(&window[..end], &parsed, limits, origin).map(|head| Some((head, end)))
        }
        _ => Ok(None),
    }
}

/// Parses a whole head, from the first byte of its first line to its empty line.
fn parse_head(head: &[u8], limits: &Limits, origin: &Origin) -> Result<RequestHead, WireError> {
    let mut table = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(head, &mut table) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(WireError::RequestLine),
        Err(error) => return Err(first_line_error(error, head)),
    }
    check(head, &parsed, limits, origin)
}

/// What a head says, once it is split.
fn check(
    head: &[u8],
    parsed: &httparse::Request<'_, '_>,
    limits: &Limits,
    origin: &Origin,
) -> Result<RequestHead, WireError> {
    let (Some(method), Some(path), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(WireError::RequestLine);
    };
    if path.len() > limits.uri {
        return Err(WireError::UriTooLong);
    }
    if method.len() > MAX_METHOD {
        return Err(WireError::Method);
    }
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| WireError::RequestLine)?;
    let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    let mut headers = collect(head, parsed.headers)?;
    let framing = Framing::of_request(&headers, version)?;
    let (target, absolute) = target(&method, path, version, &headers, origin)?;
    if absolute && headers.known(Known::Host) != Some(target.authority().as_bytes()) {
        headers.set("Host", target.authority().as_bytes()).map_err(|_| WireError::Target)?;
    }
    let connection = Options::of(&headers);
    strip_nominated(&mut headers, &connection);
    let expects_continue = match headers.known(Known::Expect) {
        None => false,
        Some(value) if value.eq_ignore_ascii_case(b"100-continue") => {
            // RFC 9110 10.1.1: ignored on 1.0, and pointless without a body.
            version == Version::Http11 && framing != Framing::Empty
        }
        Some(_) => return Err(WireError::Expectation),
    };
    Ok(RequestHead { method, target, version, headers, framing, connection, expects_continue })
}

/// Copies the part of `head` that holds the fields, once, and notes where each stands.
pub(crate) fn collect(head: &[u8], fields: &[httparse::Header<'_>]) -> Result<Headers, WireError> {
    let Some(first) = fields.first() else { return Ok(Headers::new()) };
    // The fields are slices of the head: their addresses give their places.
    let start = first.name.as_ptr() as usize;
    let skipped = start - head.as_ptr() as usize;
    let mut arena = Vec::with_capacity(head.len() - skipped + SPARE_BYTES);
    arena.extend_from_slice(&head[skipped..]);
    let mut headers = Headers::from_arena(arena, fields.len() + SPARE_FIELDS);
    for field in fields {
        if field.name.len() > Headers::MAX_NAME {
            // Where the settings let a line be so long.
            return Err(WireError::LineTooLong);
        }
        let name = field.name.as_ptr() as usize - start;
        let value = if field.value.is_empty() { 0 } else { field.value.as_ptr() as usize - start };
        if has_disguised_length(field.name) && field.name.contains('_') {
            refuse_disguise(field.name)?;
        }
        headers.push_range(name..name + field.name.len(), value..value + field.value.len());
    }
    Ok(headers)
}

/// Room for fields that layers add, so that the table is rarely grown.
const SPARE_FIELDS: usize = 6;
/// The same for their bytes: `X-Forwarded-*` and a request id take some 180.
const SPARE_BYTES: usize = 256;

/// Whether the name is as long as one of those that can be disguised, which are those with a dash.
fn has_disguised_length(name: &str) -> bool {
    [Known::TransferEncoding, Known::ContentLength].iter().any(|known| known.name().len() == name.len())
}

/// Servers that map names to variables read `Transfer_Encoding` as `Transfer-Encoding`: a framing or routing field
/// in that disguise is refused.
///
/// # Errors
/// [`WireError::FieldName`].
pub fn refuse_disguise(name: &str) -> Result<(), WireError> {
    match Known::of(name.replace('_', "-").as_bytes()) {
        Known::TransferEncoding | Known::ContentLength | Known::Host | Known::Connection => {
            Err(WireError::FieldName)
        }
        _ => Ok(()),
    }
}

/// The error of a head that httparse refused.
fn first_line_error(error: httparse::Error, head: &[u8]) -> WireError {
    match error {
        httparse::Error::HeaderName | httparse::Error::NewLine => WireError::FieldName,
        httparse::Error::HeaderValue => WireError::FieldValue,
        httparse::Error::TooManyHeaders => WireError::TooManyFields,
        httparse::Error::Version if is_other_version(head) => WireError::Version,
        _ => WireError::RequestLine,
    }
}

/// Whether the first line is in order but for `HTTP/d.d` (RFC 9112 2.3) of a version that is not served.
fn is_other_version(head: &[u8]) -> bool {
    let line = head.split(|&b| b == b'\r').next().unwrap_or_default();
    let mut parts = line.split(|&b| b == b' ').skip(1);
    match (parts.next(), parts.next(), parts.next()) {
        (Some([_, ..]), Some(&[b'H', b'T', b'T', b'P', b'/', a, b'.', b]), None) => {
            a.is_ascii_digit() && b.is_ascii_digit() && (a, b) != (b'1', b'0') && (a, b) != (b'1', b'1')
        }
        _ => false,
    }
}

/// Puts the target together from the request line and `Host`; says whether it stood in absolute-form.
fn target(
    method: &Method,
    path: &str,
    version: Version,
    headers: &Headers,
    origin: &Origin,
) -> Result<(Target, bool), WireError> {
    let mut hosts = headers.all_known(Known::Host);
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => Some(check_authority(host)?),
        (None, _) if version == Version::Http10 => None,
        _ => return Err(WireError::Host),
    };
    if *method == Method::CONNECT {
        return Err(WireError::Method);
    }
    let authority = host.unwrap_or(&origin.authority);
    if path.starts_with('/') || (path == "*" && *method == Method::OPTIONS) {
        let target = Target::new(origin.scheme, authority, path).map_err(|_| WireError::Target)?;
        return Ok((target, false));
    }
    if path.contains('#') {
        return Err(WireError::Target);
    }
    let target = Target::parse(path).map_err(|_| WireError::Target)?.with_scheme(origin.scheme);
    check_authority(target.authority().as_bytes()).map_err(|_| WireError::Target)?;
    Ok((target, true))
}

/// What may stand in the name of a host: letters, digits, and some more.
static NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        table[byte] = b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'%');
        byte += 1;
    }
    table
};

/// Refuses what is not `host[:port]`: also lists, user information, and the sub-delimiters that RFC 3986 3.2.2
/// would let stand in a name but that no host has.
///
/// # Errors
/// [`WireError::Host`].
pub fn check_authority(value: &[u8]) -> Result<&str, WireError> {
    let text = std::str::from_utf8(value).map_err(|_| WireError::Host)?;
    let (host_ok, port) = if let Some(rest) = text.strip_prefix('[') {
        let (address, after) = rest.split_once(']').ok_or(WireError::Host)?;
        let ok =
            address.contains(':') && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':' || b == b'.');
        match after.strip_prefix(':') {
            Some(port) => (ok, port),
            None => (ok && after.is_empty(), ""),
        }
    } else {
        let (host, port) = text.split_once(':').unwrap_or((text, ""));
        (!host.is_empty() && host.bytes().all(|b| NAME[b as usize]), port)
    };
    let port_ok =
        port.is_empty() || (port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok());
    if host_ok && port_ok { Ok(text) } else { Err(WireError::Host) }
}

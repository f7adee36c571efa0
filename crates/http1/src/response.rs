//! Response heads.

use std::mem::MaybeUninit;

use bytes::{Buf, BytesMut};
use http::{Method, StatusCode};
use polygate_pipeline::{Headers, Version};

use crate::connection::{Options, strip_nominated};
use crate::limits::MAX_FIELDS;
use crate::request::collect;
use crate::scan::{Scan, is_in_order};
use crate::{Framing, Limits, WireError};

/// A response's head, checked.
#[derive(Debug)]
pub struct ResponseHead {
    /// The status, 100 to 999.
    pub status: StatusCode,
    /// 1.0 or 1.1.
    pub version: Version,
    /// Fields as received, without those named by `Connection`.
    pub headers: Headers,
    /// What ends the body.
    pub framing: Framing,
    /// What it says about the connection.
    pub connection: Options,
}

impl ResponseHead {
    /// Whether the connection can carry another request once the body is read.
    pub fn keep_alive(&self) -> bool {
        self.framing != Framing::Close && self.connection.persists(self.version)
    }
}

/// Reads response heads, one after the other, from the buffer of one connection.
#[derive(Debug, Default)]
pub struct ResponseParser {
    scan: Scan,
}

const VERSION: &[u8] = b"HTTP/1.";

impl ResponseParser {
    /// At the start of a head.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a head from the front of `buffer`; `None` when it is not whole yet: call again with more behind the
    /// same bytes. `method` is the request's. Interim (1xx) responses are given like any other.
    ///
    /// # Errors
    /// What is wrong with it; the connection is of no use then.
    pub fn parse(
        &mut self,
        buffer: &mut BytesMut,
        limits: &Limits,
        method: &Method,
    ) -> Result<Option<ResponseHead>, WireError> {
        let known = buffer.len().min(VERSION.len());
        if buffer[..known] != VERSION[..known] {
            return Err(WireError::StatusLine);
        }
        if self.scan.is_new()
            && let Some((head, end)) = parse_whole(buffer, limits, method)?
        {
            buffer.advance(end);
            return Ok(Some(head));
        }
        let Some((start, end)) = self.scan.find_end(buffer, limits, false, WireError::LineTooLong)? else {
            return Ok(None);
        };
        let head = parse_head(&buffer[start..end], method)?;
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
    method: &Method,
) -> Result<Option<(ResponseHead, usize)>, WireError> {
    let window = &buffer[..buffer.len().min(limits.head)];
    let mut table = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut parsed, window, &mut table) {
        Ok(httparse::Status::Complete(end)) if is_in_order(&window[..end], parsed.headers, limits) => {
            check(&window[..end], &parsed, method).map(|head| Some((head, end)))
        }
        _ => Ok(None),
    }
}

fn parse_head(head: &[u8], method: &Method) -> Result<ResponseHead, WireError> {
    let mut table = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut parsed, head, &mut table) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(WireError::StatusLine),
        Err(httparse::Error::HeaderName | httparse::Error::NewLine) => return Err(WireError::FieldName),
        Err(httparse::Error::HeaderValue) => return Err(WireError::FieldValue),
        Err(httparse::Error::TooManyHeaders) => return Err(WireError::TooManyFields),
        Err(_) => return Err(WireError::StatusLine),
    }
    check(head, &parsed, method)
}

/// What a head says, once it is split.
fn check(
    head: &[u8],
    parsed: &httparse::Response<'_, '_>,
    method: &Method,
) -> Result<ResponseHead, WireError> {
    let (Some(code), Some(minor)) = (parsed.code, parsed.version) else {
        return Err(WireError::StatusLine);
    };
    let status = StatusCode::from_u16(code).map_err(|_| WireError::StatusLine)?;
    let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    let mut headers = collect(head, parsed.headers)?;
    let framing = Framing::of_response(&headers, version, status, method)?;
    let connection = Options::of(&headers);
    strip_nominated(&mut headers, &connection);
    Ok(ResponseHead { status, version, headers, framing, connection })
}

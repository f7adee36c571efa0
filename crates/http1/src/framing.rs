//! How long a body is (RFC 9112 6.3).

use http::{Method, StatusCode};
use polygate_pipeline::{Headers, Known, Version};

use crate::WireError;

/// What ends a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// That many bytes; more than 0.
    Length(u64),
    /// The last chunk.
    Chunked,
    /// The end of the connection (responses only).
    Close,
}

/// The largest `Content-Length` taken: sums of lengths stay within 64 bits.
const MAX_LENGTH: u64 = i64::MAX as u64;

/// The most digits of a `Content-Length`: those of [`MAX_LENGTH`]. Parsers disagree about what is longer, be it zeros.
const MAX_DIGITS: usize = 19;

/// Reads one `Content-Length` value: digits alone. Signs, spaces, lists, hexadecimal and overflow are refused;
/// leading zeros are not ambiguous and are taken.
///
/// # Errors
/// [`WireError::ContentLength`].
pub fn content_length(value: &[u8]) -> Result<u64, WireError> {
    if value.is_empty() || value.len() > MAX_DIGITS {
        return Err(WireError::ContentLength);
    }
    value
        .iter()
        .try_fold(0u64, |sum, digit| {
            let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
            sum.checked_mul(10)?.checked_add(digit).filter(|&sum| sum <= MAX_LENGTH)
        })
        .ok_or(WireError::ContentLength)
}

/// The framing fields of a head: their length, and whether it is chunked.
fn fields(headers: &Headers, version: Version, repeats: bool) -> Result<(Option<u64>, bool), WireError> {
    let mut length = None;
    let mut chunked = false;
    for (known, _, value) in headers.iter_raw() {
        match known {
            Known::ContentLength => {
                let new = content_length(value)?;
                if length.is_some_and(|old| !repeats || old != new) {
                    return Err(WireError::ContentLength);
                }
                length = Some(new);
            }
            Known::TransferEncoding => {
                if chunked || version == Version::Http10 || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(WireError::TransferEncoding);
                }
                chunked = true;
            }
            _ => {}
        }
    }
    if chunked && length.is_some() {
        return Err(WireError::FramingConflict);
    }
    Ok((length, chunked))
}

impl Framing {
    /// The framing of a request's body.
    ///
    /// # Errors
    /// `Content-Length` twice (also equal ones) or malformed; `Transfer-Encoding` other than one `chunked`, or
    /// on HTTP/1.0; both.
    pub fn of_request(headers: &Headers, version: Version) -> Result<Framing, WireError> {
        Ok(match fields(headers, version, false)? {
            (_, true) => Framing::Chunked,
            (Some(0) | None, false) => Framing::Empty,
            (Some(length), false) => Framing::Length(length),
        })
    }

    /// The framing of the body of the response to a `method` request.
    ///
    /// # Errors
    /// Two different or malformed `Content-Length`; `Transfer-Encoding` other than one `chunked`, on HTTP/1.0, or
    /// on a status that has no body; both.
    pub fn of_response(
        headers: &Headers,
        version: Version,
        status: StatusCode,
        method: &Method,
    ) -> Result<Framing, WireError> {
        let (length, chunked) = fields(headers, version, true)?;
        let bodiless = status.is_informational() || status == StatusCode::NO_CONTENT;
        if bodiless && chunked {
            return Err(WireError::TransferEncoding);
        }
        if bodiless || status == StatusCode::NOT_MODIFIED || *method == Method::HEAD {
            return Ok(Framing::Empty);
        }
        Ok(match (length, chunked) {
            (_, true) => Framing::Chunked,
            (Some(0), false) => Framing::Empty,
            (Some(length), false) => Framing::Length(length),
            (None, false) => Framing::Close,
        })
    }
}

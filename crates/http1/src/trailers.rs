//! Trailer sections: which fields may stand there.

use polygate_pipeline::{Headers, Known};

use crate::WireError;
use crate::limits::MAX_FIELDS;
use crate::request::collect;

/// Fields that are needed before the body, or that steer routing, authentication and caching: never taken from a
/// trailer section (RFC 9110 6.5.1), on top of all that [`Known`] lists.
const FORBIDDEN: &[&str] = &[
    "age",
    "content-range",
    "expires",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "max-forwards",
    "pragma",
    "range",
    "retry-after",
    "vary",
    "www-authenticate",
];

/// Whether a field of that name may be sent and taken in a trailer section.
pub fn is_allowed(known: Known, name: &str) -> bool {
    known == Known::Other && !FORBIDDEN.iter().any(|f| f.eq_ignore_ascii_case(name))
}

/// Parses a whole trailer section that ends in its empty line; forbidden fields are dropped.
pub(crate) fn parse(section: &[u8]) -> Result<Headers, WireError> {
    let mut table = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let fields = match httparse::parse_headers(section, &mut table) {
        Ok(httparse::Status::Complete((length, fields))) if length == section.len() => fields,
        Ok(_) | Err(httparse::Error::HeaderName | httparse::Error::NewLine) => {
            return Err(WireError::FieldName);
        }
        Err(httparse::Error::TooManyHeaders) => return Err(WireError::TooManyFields),
        Err(_) => return Err(WireError::FieldValue),
    };
    let mut headers = collect(section, fields)?;
    headers.retain(|name, _| is_allowed(Known::of(name.as_bytes()), name));
    Ok(headers)
}

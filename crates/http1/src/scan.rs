//! Finds the end of a head, line by line, and keeps its limits while it grows.
//!
//! The state says how far the buffer was looked at, so that a head that comes byte by byte costs no more than one
//! that comes at once. Every answer depends on positions alone, never on how the bytes were split.

use memchr::memchr;

use polygate_pipeline::is_token;

use crate::{Limits, WireError};

/// Where the search for a head's end stands.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Scan {
    /// All before was looked at.
    at: usize,
    /// Start of the line that is being read.
    line: usize,
    /// Start of the head, behind empty lines that were skipped.
    start: usize,
    /// Complete lines so far.
    lines: usize,
}

/// Empty lines that may stand before a request (RFC 9112 2.2 asks for at least one).
const MAX_EMPTY_LINES: usize = 4;

impl Scan {
    /// Looks for the empty line that ends the head at the start of `buffer`, which holds at least what it held at
    /// the call before. Gives the head's start (behind empty lines, when `skip_empty`) and its end.
    ///
    /// `first_line_error` is the error for a first line that is too long.
    pub(crate) fn find_end(
        &mut self,
        buffer: &[u8],
        limits: &Limits,
        skip_empty: bool,
        first_line_error: WireError,
    ) -> Result<Option<(usize, usize)>, WireError> {
        let window = &buffer[..buffer.len().min(limits.head)];
        while let Some(found) = memchr(b'\n', &window[self.at..]) {
            let feed = self.at + found;
            self.at = feed + 1;
            if feed == self.line || window[feed - 1] != b'\r' {
                return Err(WireError::BareLineFeed);
            }
            let length = feed - 1 - self.line;
            if length > limits.line {
                return Err(self.too_long(first_line_error));
            }
            self.line = feed + 1;
            if length > 0 {
                // What cannot become a field is not waited with; also a second carriage return before the line feed.
                if self.lines > 0 && !is_token(window[feed - 1 - length]) {
                    return Err(WireError::FieldName);
                }
                self.lines += 1;
                if self.lines > limits.fields + 1 {
                    return Err(WireError::TooManyFields);
                }
            } else if self.lines > 0 {
                return Ok(Some((self.start, self.line)));
            } else if skip_empty && self.start < 2 * MAX_EMPTY_LINES {
                self.start = self.line;
            } else {
                return Err(first_line_error_of_empty(first_line_error));
            }
        }
        self.at = window.len();
        // The carriage return of a line that is exactly as long as allowed may be here already.
        if window.len() - self.line > limits.line + 1 {
            return Err(self.too_long(first_line_error));
        }
        if buffer.len() >= limits.head {
            return Err(WireError::HeadTooLong);
        }
        Ok(None)
    }

    /// Whether nothing was looked at yet.
    pub(crate) fn is_new(&self) -> bool {
        self.at == 0
    }

    fn too_long(&self, first_line_error: WireError) -> WireError {
        if self.lines == 0 { first_line_error } else { WireError::LineTooLong }
    }

    /// The first byte of the head proper that is there, behind skipped empty lines.
    pub(crate) fn start(&self) -> usize {
        self.start
    }
}

/// Whether a whole head, which a parser took as its first line and these fields, is one that [`Scan`] would have found in
/// the same place and within the same limits: each line ends with CRLF, none is too long, and there are not too many.
///
/// A head mostly comes whole, and to look for its end before it is parsed costs as much as the parsing. This answers
/// only for heads that are in order; what it does not vouch for, the scan says why.
pub(crate) fn is_in_order(head: &[u8], fields: &[httparse::Header<'_>], limits: &Limits) -> bool {
    let mut line = 0;
    let mut ends_at = |next: usize| {
        let end = next.checked_sub(2);
        let ok = end.is_some_and(|end| {
            head.get(end..next) == Some(b"\r\n")
                && end.checked_sub(line).is_some_and(|length| length <= limits.line)
        });
        line = next;
        ok
    };
    fields.len() <= limits.fields
        // The names are slices of the head: their addresses give the starts of their lines.
        && fields.iter().all(|field| ends_at(field.name.as_ptr() as usize - head.as_ptr() as usize))
        && head.ends_with(b"\r\n")
        && ends_at(head.len() - 2)
}

/// A head that begins with an empty line has no first line at all.
fn first_line_error_of_empty(first_line_error: WireError) -> WireError {
    match first_line_error {
        WireError::UriTooLong => WireError::RequestLine,
        _ => WireError::StatusLine,
    }
}

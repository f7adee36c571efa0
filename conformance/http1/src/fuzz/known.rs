//! What we take and another parser refuses, and why that is right.

use super::ours::{End, Message, Split};

/// A difference between us and another parser.
struct Difference {
    /// The parser.
    oracle: &'static str,
    /// Why we do it so.
    reason: &'static str,
    /// Whether it is this difference.
    applies: fn(&Place<'_>) -> bool,
}

/// Where two parsers begin to differ.
pub(super) struct Place<'a> {
    /// The last request that both took.
    pub(super) before: Option<&'a Message>,
    /// Our first request that the other has not.
    pub(super) beyond: Option<&'a Message>,
    /// What the other made of the stream.
    pub(super) theirs: &'a Split,
}

const DIFFERENCES: &[Difference] = &[
    Difference {
        oracle: "h11",
        reason: "RFC 9112 2.2 asks to skip an empty line before a request",
        applies: |place| {
            place.refuses_with("no request line") && place.beyond_is(|m| m.raw.starts_with(b"\r\n"))
        },
    },
    Difference {
        oracle: "h11",
        reason: "HTTP/1.0 persists with keep-alive (RFC 9112 9.3); h11 never lets it",
        applies: |place| place.closes() && place.before.is_some_and(Message::is_old),
    },
    Difference {
        oracle: "llhttp",
        reason: "a wish for an upgrade changes nothing before a 101 (RFC 9110 7.8); llhttp stops there",
        applies: |place| place.closes() && place.before.is_some_and(Message::wants_upgrade),
    },
    Difference {
        oracle: "llhttp",
        reason: "Proxy-Connection is no field of HTTP and closes nothing; llhttp takes it for Connection",
        applies: |place| place.closes() && place.before.is_some_and(|m| m.has("proxy-connection")),
    },
    Difference {
        oracle: "llhttp",
        reason: "Connection in trailers is dropped (RFC 9110 6.5.1); llhttp closes",
        applies: |place| {
            let closed = place.closes() || place.refuses_with("HPE_CLOSED_CONNECTION");
            closed && place.before.is_some_and(Message::is_chunked)
        },
    },
    Difference {
        oracle: "llhttp",
        reason: "a method that is not registered is a request, and answered with 501",
        applies: |place| place.refuses_with("HPE_INVALID_METHOD") && place.beyond_is(|m| !m.is_forwarded()),
    },
    Difference {
        oracle: "llhttp",
        reason: "chunk extensions are bounded and dropped, and not read (RFC 9112 7.1.1)",
        applies: |place| place.refuses_with("in chunk extensions") && place.beyond_is(Message::is_chunked),
    },
    Difference {
        oracle: "llhttp",
        reason: "a tab around a value is no part of it (RFC 9110 5.6.3)",
        applies: |place| {
            (place.refuses_with("HPE_INVALID_CONTENT_LENGTH")
                || place.refuses_with("HPE_INVALID_TRANSFER_ENCODING"))
                && place.beyond_is(|m| m.head_bytes().contains(&b'\t'))
        },
    },
    Difference {
        oracle: "llhttp",
        reason: "a tab behind keep-alive is no part of it (RFC 9110 5.6.3); llhttp closes",
        applies: |place| {
            place.closes() && place.before.is_some_and(|m| m.is_old() && m.head_bytes().contains(&b'\t'))
        },
    },
    Difference {
        oracle: "llhttp",
        reason: "framing fields in trailers are dropped (RFC 9110 6.5.1)",
        applies: |place| {
            (place.refuses_with("HPE_INVALID_CONTENT_LENGTH")
                || place.refuses_with("HPE_UNEXPECTED_CONTENT_LENGTH")
                || place.refuses_with("HPE_INVALID_TRANSFER_ENCODING"))
                && place.beyond_is(Message::is_chunked)
        },
    },
    Difference {
        oracle: "llhttp",
        reason: "of a wish for an upgrade it is not told what llhttp refuses: extensions, or framing in trailers",
        applies: |place| {
            place.refuses_with("stopped within a wish for an upgrade")
                && place.beyond_is(|m| {
                    let (has_extensions, trailers) = m.around_chunks();
                    m.wants_upgrade() && (has_extensions || has_framing(trailers))
                })
        },
    },
    Difference {
        oracle: "h11",
        reason: "framing fields in trailers are dropped (RFC 9110 6.5.1)",
        applies: |place| {
            (place.refuses_with("Content-Length") || place.refuses_with("Transfer-Encoding"))
                && place.beyond_is(Message::is_chunked)
        },
    },
];

/// The reason for a difference, when there is a known one.
pub(super) fn reason(oracle: &str, place: &Place<'_>) -> Option<&'static str> {
    DIFFERENCES
        .iter()
        .find(|known| known.oracle == oracle && (known.applies)(place))
        .map(|known| known.reason)
}

/// Whether a section of fields has one that says how long a body is.
fn has_framing(section: &[u8]) -> bool {
    section.split(|&byte| byte == b'\n').any(|line| {
        let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
        name.eq_ignore_ascii_case(b"content-length") || name.eq_ignore_ascii_case(b"transfer-encoding")
    })
}

impl Place<'_> {
    fn refuses_with(&self, why: &str) -> bool {
        self.theirs.end == End::Error && self.theirs.why.contains(why)
    }

    fn closes(&self) -> bool {
        self.theirs.end == End::Closed
    }

    fn beyond_is(&self, holds: impl Fn(&Message) -> bool) -> bool {
        self.beyond.is_some_and(holds)
    }
}

#[cfg(test)]
mod tests {
    use super::super::ours::split;
    use super::*;

    /// Whether it is known that llhttp stops, without a word, within the first request of a stream.
    fn may_stop(head: &str, body: &str) -> bool {
        let stream = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n{head}\r\n{body}");
        let ours = split(stream.as_bytes());
        let why = "stopped within a wish for an upgrade".to_owned();
        let theirs = Split { messages: vec![], end: End::Error, why };
        let place =
            Place { before: None, beyond: Some(ours.messages.first().expect("one")), theirs: &theirs };
        reason("llhttp", &place).is_some()
    }

    #[test]
    fn a_wish_for_an_upgrade_hides_known_reasons_alone() {
        const WISH: &str = "Connection: upgrade\r\nUpgrade: x\r\n";
        for body in [
            "1\r\nZ\r\n0\r\nContent-Length: 3\r\n\r\n",
            "3\r\n0\r\n\r\n0\r\nX: y\r\ntransfer-encoding: chunked\r\n\r\n",
            "1;a=\"\r\nZ\r\n0\r\n\r\n",
            "1\r\nZ\r\n0;\r\n\r\n",
        ] {
            assert!(may_stop(WISH, body), "{body:?}");
            assert!(!may_stop("", body), "{body:?}");
        }
        for body in [
            "1\r\nZ\r\n0\r\n\r\n",
            "1\r\n;\r\n0\r\nX: Content-Length\r\n\r\n",
            "14\r\nContent-Length: 33\r\n\r\n0\r\n\r\n",
        ] {
            assert!(!may_stop(WISH, body), "{body:?}");
        }
    }
}

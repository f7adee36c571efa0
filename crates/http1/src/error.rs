//! What is wrong with bytes from the wire.

use polygate_pipeline::Reason;

/// Why a message was refused. After it nothing more can be read from the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The target is longer than its limit.
    #[error("the request target is too long")]
    UriTooLong,
    /// A line of the head is longer than its limit.
    #[error("a line of the head is too long")]
    LineTooLong,
    /// The head as a whole is longer than its limit.
    #[error("the head is too long")]
    HeadTooLong,
    /// More fields than the limit.
    #[error("the head has too many fields")]
    TooManyFields,
    /// The trailer section is longer than its limit.
    #[error("the trailer section is too long")]
    TrailersTooLong,
    /// A line feed without carriage return (RFC 9112 2.2 lets a recipient take it; we do not).
    #[error("a line ends in a bare line feed")]
    BareLineFeed,
    /// The request line is not `method SP target SP version`.
    #[error("the request line is malformed")]
    RequestLine,
    /// The target has none of the four forms, or holds bytes that no target may (RFC 9112 3.2).
    #[error("the request target is malformed")]
    Target,
    /// CONNECT, or a method whose name is absurdly long.
    #[error("the method is not served")]
    Method,
    /// A well-formed version other than 1.0 and 1.1.
    #[error("the version is not served")]
    Version,
    /// The status line is not `version SP status SP [reason]`.
    #[error("the status line is malformed")]
    StatusLine,
    /// A field name that is not a token followed at once by a colon; also a folded line.
    #[error("a field name is malformed")]
    FieldName,
    /// A field value with control characters.
    #[error("a field value is malformed")]
    FieldValue,
    /// None, several or malformed `Host` fields on HTTP/1.1 (RFC 9112 3.2).
    #[error("the Host field is missing, doubled or malformed")]
    Host,
    /// `Content-Length` that is not one number.
    #[error("Content-Length is malformed or doubled")]
    ContentLength,
    /// `Transfer-Encoding` that is not exactly `chunked`, or on a version that has none.
    #[error("Transfer-Encoding is not exactly chunked")]
    TransferEncoding,
    /// `Content-Length` and `Transfer-Encoding` in one head.
    #[error("both Content-Length and Transfer-Encoding")]
    FramingConflict,
    /// `Expect` with anything but `100-continue`.
    #[error("the expectation cannot be met")]
    Expectation,
    /// A chunk's size line, or the end of its data.
    #[error("a chunk is malformed")]
    Chunk,
    /// A chunk's extensions are longer than their limit.
    #[error("chunk extensions are too long")]
    ChunkExtension,
}

impl WireError {
    /// The reason when a client sent it; its status is the one to answer with before closing.
    pub const fn reason(self) -> Reason {
        match self {
            WireError::UriTooLong => Reason::UriTooLong,
            WireError::LineTooLong
            | WireError::HeadTooLong
            | WireError::TooManyFields
            | WireError::TrailersTooLong => Reason::HeadersTooLarge,
            WireError::Method => Reason::MethodNotImplemented,
            WireError::Version => Reason::VersionNotSupported,
            WireError::Expectation => Reason::ExpectationFailed,
            _ => Reason::BadRequest,
        }
    }

    /// The status to answer a client with: 400, 414, 417, 431, 501 or 505.
    pub const fn status(self) -> u16 {
        self.reason().status()
    }
}

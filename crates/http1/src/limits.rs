//! Limits on heads and on what stands between the data of a chunked body.

/// How much of a head, or of a body's framing, is read before the message is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a head as a whole, from the first line to the empty one. Default 64 KiB; 431 above.
    pub head: usize,
    /// Bytes of one line of a head, without its CRLF. Default 16 KiB; 431 above (414 for the request line).
    pub line: usize,
    /// Fields of a head. Default 128; 431 above.
    pub fields: usize,
    /// Bytes of a request's target. Default 8 KiB; 414 above.
    pub uri: usize,
    /// Bytes of one chunk's extensions. Default 1 KiB; 400 above.
    pub chunk_extension: usize,
    /// Bytes of all chunk extensions of one body. Default 16 KiB; 400 above.
    pub chunk_extensions: usize,
    /// Bytes of a trailer section. Default 16 KiB; 431 above.
    pub trailers: usize,
}

/// The most fields that [`Limits::fields`] can ask for: the size of the parser's table on the stack.
pub(crate) const MAX_FIELDS: usize = 256;

impl Limits {
    /// The limits that hold where nothing else is configured.
    pub const DEFAULT: Limits = Limits {
        head: 64 << 10,
        line: 16 << 10,
        fields: 128,
        uri: 8 << 10,
        chunk_extension: 1 << 10,
        chunk_extensions: 16 << 10,
        trailers: 16 << 10,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

//! Response compression: which responses, with which codings.

use polygate_pipeline::ByteSize;

/// Types that are compressed when none are named: text, and what is text by another name.
const TYPES: &[&str] = &[
    "text/html",
    "text/css",
    "text/plain",
    "text/xml",
    "text/csv",
    "text/javascript",
    "text/markdown",
    "application/json",
    "application/javascript",
    "application/xml",
    "application/wasm",
    "application/graphql-response+json",
    "application/manifest+json",
    "application/problem+json",
    "application/ld+json",
    "application/xhtml+xml",
    "application/rss+xml",
    "application/atom+xml",
    "image/svg+xml",
    "font/ttf",
    "font/otf",
];

/// A content coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// RFC 1952.
    Gzip,
    /// RFC 7932.
    Brotli,
    /// RFC 8878.
    Zstd,
}

impl Coding {
    /// Its name in `Content-Encoding`, and in settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Coding::Gzip => "gzip",
            Coding::Brotli => "br",
            Coding::Zstd => "zstd",
        }
    }
}

/// Response compression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compression {
    /// The codings that are offered; the first one is taken of those that a client likes equally. Default zstd, brotli,
    /// gzip.
    pub codings: Vec<Coding>,
    /// Media types in lower case; `text/*` means all of a kind.
    pub types: Vec<String>,
    /// Shorter bodies are left alone. Default 1 KiB.
    pub min_size: ByteSize,
    /// 1 to 9. Default 5.
    pub gzip_level: u32,
    /// 0 to 9. Default 4.
    pub brotli_level: u32,
    /// 1 to 19. Default 3.
    pub zstd_level: u32,
}

impl Default for Compression {
    fn default() -> Self {
        Self {
            codings: vec![Coding::Zstd, Coding::Brotli, Coding::Gzip],
            types: TYPES.iter().map(|&name| name.to_owned()).collect(),
            min_size: ByteSize::kib(1),
            gzip_level: 5,
            brotli_level: 4,
            zstd_level: 3,
        }
    }
}

impl Compression {
    /// The level of a coding.
    pub fn level(&self, coding: Coding) -> u32 {
        match coding {
            Coding::Gzip => self.gzip_level,
            Coding::Brotli => self.brotli_level,
            Coding::Zstd => self.zstd_level,
        }
    }

    /// Whether responses of this `Content-Type` are compressed. Event streams are when they are named themselves, gRPC,
    /// which compresses its own messages, never.
    pub fn takes(&self, content_type: &[u8]) -> bool {
        let end = content_type.iter().position(|&b| b == b';').unwrap_or(content_type.len());
        let name = content_type[..end].trim_ascii();
        let starts =
            |prefix: &[u8]| name.len() >= prefix.len() && name[..prefix.len()].eq_ignore_ascii_case(prefix);
        if starts(b"application/grpc") {
            return false;
        }
        let is_stream = name.eq_ignore_ascii_case(b"text/event-stream");
        self.types.iter().any(|known| match known.strip_suffix('*') {
            Some(kind) => !is_stream && starts(kind.as_bytes()),
            None => name.eq_ignore_ascii_case(known.as_bytes()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_compared_without_case_and_parameters() {
        let mut compression = Compression::default();
        for taken in ["text/html", "Text/HTML; charset=utf-8", "application/json ;x"] {
            assert!(compression.takes(taken.as_bytes()), "{taken}");
        }
        for left in ["", "image/png", "text/event-stream", "text/htmlx", "application/grpc"] {
            assert!(!compression.takes(left.as_bytes()), "{left}");
        }
        compression.types = vec!["text/*".to_owned(), "application/*".to_owned()];
        assert!(compression.takes(b"text/x") && !compression.takes(b"text/event-stream"));
        assert!(!compression.takes(b"application/grpc+proto") && !compression.takes(b"image/png"));
        compression.types.push("text/event-stream".to_owned());
        assert!(compression.takes(b"text/event-stream; charset=utf-8"));
    }
}

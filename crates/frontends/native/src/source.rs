//! A project's files: reading them, and turning offsets into lines and columns.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use polygate_pipeline::{Diagnostic, Span};

use crate::tree::Node;
use crate::{json, toml_file, yaml};

/// Largest configuration file that is read, in bytes; beyond, it is refused.
pub(crate) const MAX_FILE: u64 = 16 << 20;

/// What all parts of the front end share: the project's folder, its variables, and what was found so far.
pub(crate) struct Project<'a> {
    pub(crate) root: &'a Path,
    pub(crate) variables: Arc<BTreeMap<String, String>>,
    pub(crate) worlds: &'a [String],
    pub(crate) found: Vec<Diagnostic>,
    pub(crate) files: Vec<PathBuf>,
}

/// How a file is written.
#[derive(Clone, Copy)]
pub(crate) enum Syntax {
    Json,
    Yaml,
    Toml,
}

impl Project<'_> {
    /// Reads a file; `None` when it does not exist, or cannot be read, which is reported.
    pub(crate) fn text(&mut self, file: &str) -> Option<String> {
        let path = self.root.join(file);
        self.files.push(path.clone());
        let read = std::fs::metadata(&path).and_then(|meta| {
            if meta.len() > MAX_FILE {
                return Err(io::Error::other(format!("larger than {} MiB", MAX_FILE >> 20)));
            }
            std::fs::read(&path)
        });
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                self.report(
                    Diagnostic::error("unreadable", format!("cannot be read: {error}")).at(file, None),
                );
                return None;
            }
        };
        match String::from_utf8(bytes) {
            Ok(text) => Some(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text)),
            Err(error) => {
                let valid = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]);
                let span = Lines::new(&valid).span(valid.len()..valid.len());
                self.report(Diagnostic::error("syntax", "not UTF-8").at(file, Some(span)));
                None
            }
        }
    }

    /// Reads and parses a file; what is wrong with it is reported.
    pub(crate) fn tree(&mut self, file: &str, syntax: Syntax) -> Option<Node> {
        let text = self.text(file)?;
        let (node, problems) = match syntax {
            Syntax::Json => json::parse(&text),
            Syntax::Yaml => yaml::parse(&text),
            Syntax::Toml => toml_file::parse(&text),
        };
        self.found.extend(
            problems
                .into_iter()
                .map(|(code, message, span)| Diagnostic::error(code, message).at(file, Some(span))),
        );
        node
    }

    pub(crate) fn report(&mut self, diagnostic: Diagnostic) {
        self.found.push(diagnostic);
    }

    /// Whether an error was found.
    pub(crate) fn is_refused(&self) -> bool {
        self.found.iter().any(Diagnostic::is_error)
    }
}

/// A tree as far as it could be read, and what is wrong: code, message, place.
pub(crate) type Parsed = (Option<Node>, Vec<(&'static str, String, Span)>);

/// Where the lines of a text begin.
pub(crate) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
    /// Characters before every [`STEP`]th byte: a line may be as long as the file.
    before: Vec<usize>,
}

/// Bytes that are counted anew for each place.
const STEP: usize = 256;

impl<'a> Lines<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let mut before = vec![0];
        for chunk in text.as_bytes().chunks(STEP) {
            before.push(before.last().copied().unwrap_or(0) + begun(chunk));
        }
        Self { text, starts, before }
    }

    /// Characters before a byte.
    fn characters(&self, at: usize) -> usize {
        let step = at / STEP;
        self.before[step] + begun(&self.text.as_bytes()[step * STEP..at])
    }

    /// The place of a range of bytes; only its first line counts.
    pub(crate) fn span(&self, range: std::ops::Range<usize>) -> Span {
        let start = floor(self.text, range.start);
        let end = floor(self.text, range.end).max(start);
        let line = self.starts.partition_point(|&at| at <= start) - 1;
        let column = self.characters(start) - self.characters(self.starts[line]);
        let meant = self.text[start..end].lines().next().unwrap_or("").len();
        let length = self.characters(start + meant) - self.characters(start);
        Span { line: line as u32 + 1, column: column as u32 + 1, length: length.max(1) as u32 }
    }
}

/// Characters that begin in these bytes of UTF-8.
fn begun(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| byte & 0xc0 != 0x80).count()
}

fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_long_lines_are_counted_in_characters() {
        let text = format!("eins\n{}zwei\r\ndrei", "ä€ ".repeat(500));
        let lines = Lines::new(&text);
        let found = |word: &str| {
            let at = text.find(word).unwrap();
            let span = lines.span(at..at + word.len());
            (span.line, span.column, span.length)
        };
        assert_eq!(found("eins"), (1, 1, 4));
        assert_eq!(found("zwei"), (2, 1501, 4));
        assert_eq!(found("drei"), (3, 1, 4));
        let whole = lines.span(0..text.len());
        assert_eq!((whole.line, whole.column, whole.length), (1, 1, 4));
    }
}

//! Places in source text.

use polygate_pipeline::Span;

/// The place of bytes `start..end` of `source`; lines and columns from 1, columns and length in characters.
pub(crate) fn span_of(source: &str, start: u32, end: u32) -> Span {
    let start = source.floor_char_boundary(start as usize);
    let end = source.ceil_char_boundary((end as usize).max(start));
    let before = &source[..start];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let count = |text: &str| u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
    let meant = source[start..end].lines().next().unwrap_or("");
    Span {
        line: u32::try_from(before.bytes().filter(|b| *b == b'\n').count()).unwrap_or(u32::MAX - 1) + 1,
        column: count(&source[line_start..start]) + 1,
        length: count(meant).max(1),
    }
}

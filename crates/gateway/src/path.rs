//! The one canonical path: which forms of a path are taken at all.
//!
//! Router, plugins and upstream see the same bytes. Forms that another server may read as a different path are
//! refused, because a policy on a prefix could be walked around with them (`/public/../admin`).

/// Whether a path has a form that another server may read as a different path: a dot segment (also written with
/// `%2e`), a backslash (also `%5c`), a NUL (`%00`).
pub fn is_ambiguous(path: &str) -> bool {
    // Most paths hold none of these bytes: one pass decides.
    if !path.bytes().any(|b| matches!(b, b'%' | b'\\' | b'.')) {
        return false;
    }
    path.contains('\\')
        || has_escape(path, b"00")
        || has_escape(path, b"5c")
        || path.split('/').any(is_dot_segment)
}

fn has_escape(path: &str, hex: &[u8; 2]) -> bool {
    path.as_bytes().windows(3).any(|w| w[0] == b'%' && w[1..].eq_ignore_ascii_case(hex))
}

fn is_dot_segment(segment: &str) -> bool {
    let mut rest = segment.as_bytes();
    let mut dots = 0;
    while !rest.is_empty() {
        if rest[0] == b'.' {
            rest = &rest[1..];
        } else if rest.len() >= 3 && rest[..3].eq_ignore_ascii_case(b"%2e") {
            rest = &rest[3..];
        } else {
            return false;
        }
        dots += 1;
        if dots > 2 {
            return false;
        }
    }
    dots > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ambiguous_forms_are_told_from_plain_ones() {
        for path in ["/a/../b", "/a/%2e%2E/b", "/./a", "/a/.", "/a\\b", "/a%5Cb", "/a%00", "/.%2e/x", "/a/.."]
        {
            assert!(is_ambiguous(path), "{path}");
        }
        for path in ["/", "/a.b/c", "/...", "/a%20b", "/.well-known/x", "/a%2Fb", "/a//b", "/%2e%2e%2e"] {
            assert!(!is_ambiguous(path), "{path}");
        }
    }
}

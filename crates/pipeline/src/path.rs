//! Paths that are put together from parts of a request. What becomes of those of requests themselves, the plan says.

/// Whether a path that was put together may lead a server out of the part that the configuration wrote: by a dot segment
/// (also written with `%2e`), a backslash (also `%5c`), a NUL (`%00`).
pub fn leads_out(path: &str) -> bool {
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
    fn what_leads_out_is_told_from_the_rest() {
        for path in ["/a/../b", "/a/%2e%2E/b", "/./a", "/a/.", "/a\\b", "/a%5Cb", "/a%00", "/.%2e/x", "/a/.."]
        {
            assert!(leads_out(path), "{path}");
        }
        for path in ["/", "/a.b/c", "/...", "/a%20b", "/.well-known/x", "/a%2Fb", "/a//b", "/%2e%2e%2e"] {
            assert!(!leads_out(path), "{path}");
        }
    }
}

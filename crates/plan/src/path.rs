//! The canonical path, and what becomes of requests whose path can be read in more than one way.
//!
//! Servers disagree about paths: some take `%2f` or `\` for a slash, drop `;parameters`, merge `//`, resolve `..` before
//! or after decoding. Whoever guards `/admin` in one reading and forwards another can be walked around. So the path
//! of every request is reduced to the one that the most generous server would make of it, and **the route is always
//! looked up by that path**, whatever the policy: no spelling of `/admin` that any server may take for it reaches a
//! route other than that of `/admin`. The policy ([`AmbiguousPaths`]) decides only what becomes of the request then.

use std::borrow::Cow;

/// What becomes of a request whose path can be read in more than one way. The route's own policy counts when a route
/// takes the canonical path; else the listener's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AmbiguousPaths {
    /// It is refused: 400, `path_refused`.
    #[default]
    Reject,
    /// Plugins and upstream see the canonical path. What has none is refused as above.
    Normalize,
    /// Plugins and upstream see the path as it was received. For upstreams that need it, such as those with encoded
    /// slashes in names. Policies that look at the path see what the client wrote, and must not rely on its form.
    Raw,
}

/// Which path plugins and upstream see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathSeen {
    /// The canonical one.
    Canonical,
    /// The one that was received.
    Received,
    /// None: the request is refused.
    Refused,
}

impl AmbiguousPaths {
    /// What becomes of a request whose path has this form.
    pub fn see(self, form: PathForm) -> PathSeen {
        match (self, form) {
            (Self::Raw, _) => PathSeen::Received,
            (_, PathForm::Plain) | (Self::Normalize, PathForm::Ambiguous) => PathSeen::Canonical,
            (Self::Normalize, PathForm::Unreadable) | (Self::Reject, _) => PathSeen::Refused,
        }
    }
}

/// What can be said about a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathForm {
    /// There is one reading: the canonical path is the same, or equivalent by RFC 3986 6.2.2 (escapes of characters
    /// that need none, the case of escapes).
    Plain,
    /// Servers read it in different ways: dot segments, empty segments, `\`, `%5c`, `%2f`, `;`.
    Ambiguous,
    /// No reading can be relied upon: `%00`, a `%` without two digits, overlong UTF-8 (RFC 3629 10).
    Unreadable,
}

/// A path reduced to its canonical form.
#[derive(Debug, PartialEq, Eq)]
pub struct CanonicalPath<'a> {
    /// The canonical path.
    pub path: Cow<'a, str>,
    /// What can be said about the path as received.
    pub form: PathForm,
}

/// Reduces a path, percent-encoded and without query, to its canonical form:
/// - escapes of unreserved characters are decoded, other escapes are written in upper case;
/// - `\`, `%5c` and `%2f` are slashes;
/// - what follows `;` in a segment is dropped;
/// - empty segments are dropped, but for the last one, and dot segments are resolved (RFC 3986 5.2.4).
///
/// A path in canonical form is not copied. What is no path (`*`) stays as it is.
pub fn canonical(path: &str) -> CanonicalPath<'_> {
    if is_canonical(path.as_bytes()) || !path.starts_with('/') {
        return CanonicalPath { path: Cow::Borrowed(path), form: PathForm::Plain };
    }
    let (decoded, mut form) = decode(path);
    let mut whole = String::with_capacity(decoded.len());
    let mut segments = decoded.split('/').skip(1).peekable();
    while let Some(written) = segments.next() {
        let last = segments.peek().is_none();
        let segment = written.split(';').next().unwrap_or_default();
        let plain = match segment {
            "" => last && written.is_empty(),
            "." | ".." => false,
            _ => segment.len() == written.len(),
        };
        if !plain {
            form = form.max(PathForm::Ambiguous);
        }
        match segment {
            "." | "" => {}
            ".." => whole.truncate(whole.rfind('/').unwrap_or(0)),
            _ => {
                whole.push('/');
                whole.push_str(segment);
            }
        }
        if last && matches!(segment, "." | ".." | "") {
            whole.push('/');
        }
    }
    let path = if whole == path { Cow::Borrowed(path) } else { Cow::Owned(whole) };
    CanonicalPath { path, form }
}

/// A text of plain form with its escapes written as in canonical paths.
pub(crate) fn equivalent(text: &str) -> String {
    decode(text).0
}

impl PathForm {
    fn max(self, other: Self) -> Self {
        if self as u8 >= other as u8 { self } else { other }
    }
}

/// Whether nothing in a path has to be looked at closely. One pass; true for most paths.
fn is_canonical(path: &[u8]) -> bool {
    let mut before = 0;
    for &byte in path {
        if matches!(byte, b'%' | b'\\' | b';') || (before == b'/' && matches!(byte, b'/' | b'.')) {
            return false;
        }
        before = byte;
    }
    true
}

/// Decodes what is safe to decode, and what some server decodes into a slash.
fn decode(path: &str) -> (String, PathForm) {
    let mut decoded = String::with_capacity(path.len());
    let mut form = PathForm::Plain;
    let mut rest = path;
    while let Some(next) = rest.chars().next() {
        let escape = (next == '%').then(|| escape(rest.as_bytes())).flatten();
        rest = &rest[if escape.is_some() { 3 } else { next.len_utf8() }..];
        match (next, escape) {
            (_, Some(b'/' | b'\\')) | ('\\', None) => {
                form = form.max(PathForm::Ambiguous);
                decoded.push('/');
            }
            (_, Some(byte)) if is_unreserved(byte) => decoded.push(char::from(byte)),
            (_, Some(byte)) => {
                if byte == 0 || is_overlong(byte, escape_at_start(rest)) {
                    form = PathForm::Unreadable;
                }
                decoded.push('%');
                decoded.extend(
                    [byte >> 4, byte & 15].map(|digit| char::from(b"0123456789ABCDEF"[usize::from(digit)])),
                );
            }
            (other, None) => {
                if other == '%' {
                    form = PathForm::Unreadable;
                }
                decoded.push(other);
            }
        }
    }
    (decoded, form)
}

/// The byte of the escape that `text`, which begins with `%`, begins with.
fn escape(text: &[u8]) -> Option<u8> {
    let digit = |at: usize| text.get(at).and_then(|&byte| char::from(byte).to_digit(16));
    Some((digit(1)? << 4 | digit(2)?) as u8)
}

fn escape_at_start(text: &str) -> Option<u8> {
    text.starts_with('%').then(|| escape(text.as_bytes())).flatten()
}

/// RFC 3986 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// Whether a sequence of UTF-8 that begins so is longer than it need be: a decoder that is not strict makes of it
/// any character, a slash for one.
fn is_overlong(first: u8, second: Option<u8>) -> bool {
    match (first, second) {
        (0xc0 | 0xc1, _) => true,
        (0xe0, Some(second)) => (0x80..0xa0).contains(&second),
        (0xf0, Some(second)) => (0x80..0x90).contains(&second),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expected: &str, form: PathForm) {
        let found = canonical(path);
        assert_eq!((&*found.path, found.form), (expected, form), "{path}");
        let again = canonical(&found.path);
        assert_eq!(again.path, found.path, "canonical is canonical: {path}");
        if form != PathForm::Unreadable {
            assert_eq!(again.form, PathForm::Plain, "{path}");
        }
    }

    #[test]
    fn one_reading() {
        for path in [
            "/",
            "/a",
            "/a/",
            "/a.b/c",
            "/...",
            "/.well-known/x",
            "/a%20b",
            "/%C3%A9",
            "/a%252f",
            "*",
            "/a:b@c",
            "/..a",
        ] {
            check(path, path, PathForm::Plain);
            assert!(matches!(canonical(path).path, Cow::Borrowed(_)), "{path}");
        }
        check("/%61dmin", "/admin", PathForm::Plain);
        check("/a%2db%7ec%5F", "/a-b~c_", PathForm::Plain);
        check("/%c3%a9", "/%C3%A9", PathForm::Plain);
        check("/%2e%2e%2e", "/...", PathForm::Plain);
    }

    #[test]
    fn several_readings() {
        for path in [
            "/public/../admin",
            "/public/%2e%2e/admin",
            "/public/..%2fadmin",
            "//admin",
            "/admin/.",
            "/./admin",
            "/admin;x=1",
            "/public/.;/../admin",
            "/public/..;/admin",
            "/public/.%2E/admin",
            "/x/..\\admin",
            "/x/%2E.%5Cadmin",
            "/../admin",
            "/../../admin",
            "/;a/admin",
            "/a/b/../../admin",
            "/%2fadmin",
            "/%5Cadmin",
            "///admin",
        ] {
            let found = canonical(path);
            assert_eq!(
                (found.path.trim_end_matches('/'), found.form),
                ("/admin", PathForm::Ambiguous),
                "{path}"
            );
        }
        check("/admin/.", "/admin/", PathForm::Ambiguous);
        check("/a/b/..", "/a/", PathForm::Ambiguous);
        check("/..", "/", PathForm::Ambiguous);
        check("//", "/", PathForm::Ambiguous);
        check("/a//", "/a/", PathForm::Ambiguous);
        check("/a/;b", "/a/", PathForm::Ambiguous);
        check("/admin%2f", "/admin/", PathForm::Ambiguous);
        check("/a\\b", "/a/b", PathForm::Ambiguous);
    }

    #[test]
    fn no_reading() {
        check("/admin%00", "/admin%00", PathForm::Unreadable);
        check("/a%", "/a%", PathForm::Unreadable);
        check("/a%2", "/a%2", PathForm::Unreadable);
        check("/a%zz/../b", "/b", PathForm::Unreadable);
        check("/admin%c0%af", "/admin%C0%AF", PathForm::Unreadable);
        check("/a%e0%80%af", "/a%E0%80%AF", PathForm::Unreadable);
        check("/a%f0%80%80%af", "/a%F0%80%80%AF", PathForm::Unreadable);
        check("/%e0%a4%a9", "/%E0%A4%A9", PathForm::Plain);
    }
}

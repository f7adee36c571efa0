//! A request's target: scheme, authority, path, query in one string.

use std::fmt;

/// `http` or `https`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Scheme {
    /// Cleartext.
    #[default]
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    /// 80 or 443.
    pub const fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// Where a request goes. The text is `authority path [?query]`, one allocation.
///
/// The path starts with `/` (or is `*` for `OPTIONS *`) and stays percent-encoded; it is the one canonical path
/// that router, plugins and upstream use.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Target {
    scheme: Scheme,
    text: String,
    path: u32,
    /// Index of `?`, or the text's length.
    query: u32,
}

/// A target that cannot be requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTarget {
    /// Not `http` or `https`.
    #[error("the scheme is not http or https")]
    Scheme,
    /// Empty, or holds characters that do not belong there (also user information).
    #[error("the authority is not host[:port]")]
    Authority,
    /// Does not start with `/`, or holds control characters, spaces, `#` or anything beyond ASCII (RFC 3986 2).
    #[error("the path or query holds a character that must be percent-encoded")]
    Path,
}

impl Target {
    /// Puts a target together.
    ///
    /// `authority` is `host[:port]`, `path_and_query` is `/path[?query]` or `*`.
    ///
    /// # Errors
    /// When a part holds bytes that would break a request line or a `Host` field.
    pub fn new(scheme: Scheme, authority: &str, path_and_query: &str) -> Result<Self, InvalidTarget> {
        if !authority.bytes().all(|b| HOST[b as usize]) {
            return Err(InvalidTarget::Authority);
        }
        check_path(path_and_query)?;
        let mut text = String::with_capacity(authority.len() + path_and_query.len());
        text.push_str(authority);
        text.push_str(path_and_query);
        let path = authority.len();
        let query = path_and_query.bytes().position(|b| b == b'?').map_or(text.len(), |at| path + at);
        Ok(Self { scheme, text, path: path as u32, query: query as u32 })
    }

    /// Reads an absolute URL such as `http://host:1/path?query`; a fragment is dropped, an empty path becomes `/`.
    ///
    /// # Errors
    /// When it is not an absolute http or https URL without user information.
    pub fn parse(url: &str) -> Result<Self, InvalidTarget> {
        let (scheme, rest) = match url.split_once("://") {
            Some((s, rest)) if s.eq_ignore_ascii_case("http") => (Scheme::Http, rest),
            Some((s, rest)) if s.eq_ignore_ascii_case("https") => (Scheme::Https, rest),
            _ => return Err(InvalidTarget::Scheme),
        };
        let rest = rest.split('#').next().unwrap_or("");
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        if authority.is_empty() || authority.contains('@') {
            return Err(InvalidTarget::Authority);
        }
        if path.starts_with('/') {
            Self::new(scheme, authority, path)
        } else {
            Self::new(scheme, authority, &format!("/{path}"))
        }
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// `host[:port]` as received.
    pub fn authority(&self) -> &str {
        &self.text[..self.path as usize]
    }

    /// The host without port; an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        split_port(self.authority()).0
    }

    /// The port, or the scheme's default.
    pub fn port(&self) -> u16 {
        split_port(self.authority()).1.unwrap_or(self.scheme.default_port())
    }

    /// The path, percent-encoded, without query.
    pub fn path(&self) -> &str {
        &self.text[self.path as usize..self.query as usize]
    }

    /// The query without `?`; `None` when there is no `?`.
    pub fn query(&self) -> Option<&str> {
        self.text.get(self.query as usize + 1..)
    }

    /// The query with its `?`, or nothing.
    pub fn search(&self) -> &str {
        &self.text[self.query as usize..]
    }

    /// Path and query, as they stand in a request line.
    pub fn path_and_query(&self) -> &str {
        &self.text[self.path as usize..]
    }

    /// The same with another scheme.
    pub fn with_scheme(mut self, scheme: Scheme) -> Self {
        self.scheme = scheme;
        self
    }
}

/// Splits `host[:port]`; brackets of an IPv6 address are taken off.
fn split_port(authority: &str) -> (&str, Option<u16>) {
    if let Some(rest) = authority.strip_prefix('[')
        && let Some((host, after)) = rest.split_once(']')
    {
        return (host, after.strip_prefix(':').and_then(|p| p.parse().ok()));
    }
    match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()),
        None => (authority, None),
    }
}

/// Bytes that may stand in an authority (RFC 3986 3.2), without `@`; beyond ASCII, all.
static HOST: [bool; 256] = {
    let (mut table, mut byte) = ([false; 256], 0);
    while byte < 256 {
        let b = byte as u8;
        let mark = matches!(
            b,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b':'
                | b'['
                | b']'
                | b'%'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
        );
        table[byte] = b.is_ascii_alphanumeric() || mark || b >= 0x80;
        byte += 1;
    }
    table
};

fn check_path(path: &str) -> Result<(), InvalidTarget> {
    let bad = |b: u8| b <= b' ' || b >= 0x7f || b == b'#';
    // Without an early end, so that many bytes are looked at together.
    if !(path.starts_with('/') || path == "*") || path.bytes().fold(false, |any, b| any | bad(b)) {
        return Err(InvalidTarget::Path);
    }
    Ok(())
}

/// `/` of no authority.
impl Default for Target {
    fn default() -> Self {
        Self { scheme: Scheme::Http, text: "/".to_owned(), path: 0, query: 1 }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.text)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_urls_apart() {
        let t = Target::parse("https://Example.com:8443/a/b?x=1&y=2#frag").unwrap();
        assert_eq!((t.scheme(), t.host(), t.port()), (Scheme::Https, "Example.com", 8443));
        assert_eq!((t.path(), t.query(), t.search()), ("/a/b", Some("x=1&y=2"), "?x=1&y=2"));
        assert_eq!(t.to_string(), "https://Example.com:8443/a/b?x=1&y=2");
        let t = Target::parse("http://[::1]:9?q").unwrap();
        assert_eq!((t.host(), t.port(), t.path(), t.query()), ("::1", 9, "/", Some("q")));
        let t = Target::parse("http://a").unwrap();
        assert_eq!((t.path(), t.query(), t.search(), t.port()), ("/", None, "", 80));
        assert_eq!(Target::parse("http://a/?").unwrap().query(), Some(""));
    }

    #[test]
    fn refuses_what_would_split_a_request() {
        assert_eq!(Target::parse("ftp://a/"), Err(InvalidTarget::Scheme));
        assert_eq!(Target::parse("http://u:p@a/"), Err(InvalidTarget::Authority));
        assert_eq!(Target::parse("http:///x"), Err(InvalidTarget::Authority));
        assert_eq!(Target::new(Scheme::Http, "a", "/x y"), Err(InvalidTarget::Path));
        assert_eq!(Target::new(Scheme::Http, "a\r\nb: c", "/"), Err(InvalidTarget::Authority));
        assert_eq!(Target::new(Scheme::Http, "a", "x"), Err(InvalidTarget::Path));
    }
}

//! Path patterns: which paths a route takes, and its path parameters.

use std::sync::Arc;

use urlpattern::{UrlPattern, UrlPatternInit, UrlPatternMatchInput, UrlPatternOptions};

use crate::path::{self, PathForm};

/// Path parameters in the order of the pattern, percent-decoded.
pub type Params = Vec<(Arc<str>, String)>;

/// Which paths a route takes.
#[derive(Debug, Clone)]
pub enum PathPattern {
    /// OpenAPI's form: `{name}` stands for one segment or a part of one; everything else is literal.
    OpenApi(Vec<Segment>),
    /// The pathname syntax of the URL Pattern standard.
    UrlPattern(Arc<Compiled>),
}

/// A path's segment, between two slashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// These characters.
    Literal(String),
    /// Any characters, at least one.
    Param(Arc<str>),
    /// Literals and parameters side by side.
    Mixed(Vec<Part>),
}

/// A piece of a mixed segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// These characters.
    Literal(String),
    /// Any characters, at least one, as few as possible.
    Param(Arc<str>),
}

/// A compiled URL pattern.
#[derive(Debug)]
pub struct Compiled {
    pattern: UrlPattern,
    names: Vec<Arc<str>>,
    /// What every matching path starts with.
    prefix: String,
}

/// Why a pattern is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// A path starts with `/`.
    #[error("a path starts with /")]
    NoSlash,
    /// `{` without `}`, or an empty or repeated name.
    #[error("{0}")]
    Token(String),
    /// No request has such a path: routes are looked up by canonical paths.
    #[error("no request has this path; its canonical form is {0}")]
    NotCanonical(String),
    /// The URL pattern does not parse.
    #[error("not a URL pattern: {0}")]
    UrlPattern(String),
}

impl PathPattern {
    /// Parses OpenAPI's form, such as `/orders/{id}`.
    ///
    /// # Errors
    /// See [`InvalidPattern`].
    pub fn open_api(path: &str) -> Result<Self, InvalidPattern> {
        let rest = path.strip_prefix('/').ok_or(InvalidPattern::NoSlash)?;
        check_canonical(&without_names(path))?;
        let rest = path::equivalent(rest);
        let mut names: Vec<Arc<str>> = Vec::new();
        let segments =
            rest.split('/').map(|text| parse_segment(text, &mut names)).collect::<Result<_, _>>()?;
        Ok(Self::OpenApi(segments))
    }

    /// Parses the pathname syntax of the URL Pattern standard, such as `/files/:name(.*)`.
    ///
    /// # Errors
    /// See [`InvalidPattern`].
    pub fn url_pattern(path: &str) -> Result<Self, InvalidPattern> {
        if !path.starts_with(['/', ':', '(', '{', '*']) {
            return Err(InvalidPattern::NoSlash);
        }
        let init = UrlPatternInit { pathname: Some(path.to_owned()), ..UrlPatternInit::default() };
        let refused = |error: urlpattern::Error| InvalidPattern::UrlPattern(error.to_string());
        let pattern = <UrlPattern>::parse(init, UrlPatternOptions::default()).map_err(refused)?;
        let special = |c: char| matches!(c, ':' | '(' | '{' | '*' | '\\' | '?' | '+');
        let mut prefix = path[..path.find(special).unwrap_or(path.len())].to_owned();
        // A modifier after a group may make what stands before it optional: keep whole segments only.
        prefix.truncate(prefix.rfind('/').unwrap_or(0));
        check_canonical(&prefix)?;
        let names = group_names(path);
        Ok(Self::UrlPattern(Arc::new(Compiled { pattern, names, prefix })))
    }

    /// Names of the path parameters, in order.
    pub fn names(&self) -> Vec<Arc<str>> {
        match self {
            Self::OpenApi(segments) => segments
                .iter()
                .flat_map(|segment| match segment {
                    Segment::Literal(_) => Vec::new(),
                    Segment::Param(name) => vec![name.clone()],
                    Segment::Mixed(parts) => parts
                        .iter()
                        .filter_map(|part| match part {
                            Part::Param(name) => Some(name.clone()),
                            Part::Literal(_) => None,
                        })
                        .collect(),
                })
                .collect(),
            Self::UrlPattern(compiled) => compiled.names.clone(),
        }
    }

    /// The parameters if `path` (percent-encoded, without query) matches.
    pub fn matches(&self, path: &str) -> Option<Params> {
        match self {
            Self::OpenApi(segments) => {
                let mut params = Params::new();
                let mut given = path.strip_prefix('/')?.split('/');
                for segment in segments {
                    segment.matches(given.next()?, &mut params).then_some(())?;
                }
                given.next().is_none().then_some(params)
            }
            Self::UrlPattern(compiled) => compiled.matches(path),
        }
    }
}

impl Segment {
    /// Whether `text` fits; its parameters are appended to `params`.
    pub fn matches(&self, text: &str, params: &mut Params) -> bool {
        match self {
            Segment::Literal(literal) => literal == text,
            Segment::Param(_) if text.is_empty() => false,
            Segment::Param(name) => {
                params.push((name.clone(), decode(text)));
                true
            }
            Segment::Mixed(parts) => matches_parts(parts, text, params),
        }
    }
}

/// Leftmost, shortest: a parameter ends where the next literal first stands.
fn matches_parts(parts: &[Part], mut text: &str, params: &mut Params) -> bool {
    let before = params.len();
    let mut pending: Option<&Arc<str>> = None;
    for part in parts {
        match (part, pending) {
            (Part::Param(name), _) => pending = Some(name),
            (Part::Literal(literal), None) => match text.strip_prefix(literal.as_str()) {
                Some(rest) => text = rest,
                None => {
                    params.truncate(before);
                    return false;
                }
            },
            (Part::Literal(literal), Some(name)) => {
                // At least one character belongs to the parameter.
                let skip = text.chars().next().map_or(0, char::len_utf8);
                match text[skip..].find(literal.as_str()).filter(|_| skip > 0) {
                    Some(at) => {
                        params.push((name.clone(), decode(&text[..skip + at])));
                        text = &text[skip + at + literal.len()..];
                        pending = None;
                    }
                    None => {
                        params.truncate(before);
                        return false;
                    }
                }
            }
        }
    }
    let fits = match pending {
        Some(name) if !text.is_empty() => {
            params.push((name.clone(), decode(text)));
            true
        }
        Some(_) => false,
        None => text.is_empty(),
    };
    if !fits {
        params.truncate(before);
    }
    fits
}

impl Compiled {
    /// What every matching path starts with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    fn matches(&self, path: &str) -> Option<Params> {
        if !path.starts_with(&self.prefix) {
            return None;
        }
        let init = UrlPatternInit { pathname: Some(path.to_owned()), ..UrlPatternInit::default() };
        let found = self.pattern.exec(UrlPatternMatchInput::Init(init)).ok()??;
        let value = |name: &Arc<str>| found.pathname.groups.get(&**name).cloned().flatten();
        Some(self.names.iter().filter_map(|name| Some((name.clone(), decode(&value(name)?)))).collect())
    }
}

fn check_canonical(path: &str) -> Result<(), InvalidPattern> {
    let canonical = path::canonical(path);
    let plain = canonical.form == PathForm::Plain;
    if plain { Ok(()) } else { Err(InvalidPattern::NotCanonical(canonical.path.into_owned())) }
}

/// A path of OpenAPI's form with letters in the places of parameters.
fn without_names(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for (number, part) in path.split('{').enumerate() {
        match part.split_once('}') {
            Some((_, rest)) if number > 0 => {
                text.push('x');
                text.push_str(rest);
            }
            _ => text.push_str(part),
        }
    }
    text
}

fn parse_segment(text: &str, names: &mut Vec<Arc<str>>) -> Result<Segment, InvalidPattern> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find('{') {
        let end = rest[start..]
            .find('}')
            .ok_or_else(|| InvalidPattern::Token(format!("`{{` without `}}` in {text:?}")))?;
        let name = &rest[start + 1..start + end];
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '$');
        if name.is_empty() || !name.chars().all(plain) {
            return Err(InvalidPattern::Token(format!("{name:?} is no parameter name")));
        }
        if names.iter().any(|known| **known == *name) {
            return Err(InvalidPattern::Token(format!("parameter {name:?} stands twice")));
        }
        if start > 0 {
            parts.push(Part::Literal(rest[..start].to_owned()));
        } else if matches!(parts.last(), Some(Part::Param(_))) {
            return Err(InvalidPattern::Token(format!("nothing between two parameters in {text:?}")));
        }
        let name: Arc<str> = Arc::from(name);
        names.push(name.clone());
        parts.push(Part::Param(name));
        rest = &rest[start + end + 1..];
    }
    if parts.is_empty() {
        return Ok(Segment::Literal(text.to_owned()));
    }
    if rest.is_empty()
        && let [Part::Param(name)] = &parts[..]
    {
        return Ok(Segment::Param(name.clone()));
    }
    if !rest.is_empty() {
        parts.push(Part::Literal(rest.to_owned()));
    }
    Ok(Segment::Mixed(parts))
}

/// Names of the groups of a URL pattern, in order; unnamed groups are numbered from 0.
fn group_names(path: &str) -> Vec<Arc<str>> {
    let mut names: Vec<Arc<str>> = Vec::new();
    let mut unnamed = 0;
    let mut chars = path.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            ':' => {
                let rest = &path[at + 1..];
                let end =
                    rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).unwrap_or(rest.len());
                if end > 0 {
                    names.push(Arc::from(&rest[..end]));
                    while chars.peek().is_some_and(|(i, _)| *i < at + 1 + end) {
                        chars.next();
                    }
                    if chars.peek().is_some_and(|(_, c)| *c == '(') {
                        skip_group(&mut chars);
                    }
                }
            }
            '(' => {
                names.push(Arc::from(unnamed.to_string()));
                unnamed += 1;
                let mut depth = 1;
                skip_depth(&mut chars, &mut depth);
            }
            '*' if !path[..at].ends_with([')', '}']) && !preceded_by_name(path, at) => {
                names.push(Arc::from(unnamed.to_string()));
                unnamed += 1;
            }
            _ => {}
        }
    }
    names
}

fn preceded_by_name(path: &str, at: usize) -> bool {
    let head = path[..at].trim_end_matches(|c: char| c.is_alphanumeric() || c == '_' || c == '$');
    head.len() < at && head.ends_with(':')
}

fn skip_group(chars: &mut std::iter::Peekable<std::str::CharIndices<'_>>) {
    let mut depth = 0;
    skip_depth(chars, &mut depth);
}

fn skip_depth(chars: &mut std::iter::Peekable<std::str::CharIndices<'_>>, depth: &mut u32) {
    for (_, c) in chars.by_ref() {
        match c {
            '(' => *depth += 1,
            ')' => *depth = depth.saturating_sub(1),
            _ => {}
        }
        if *depth == 0 {
            return;
        }
    }
}

/// Percent-decodes; what is not UTF-8 afterwards stays as it was.
fn decode(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
        match (bytes[at], bytes.get(at + 1).copied().and_then(hex), bytes.get(at + 2).copied().and_then(hex))
        {
            (b'%', Some(high), Some(low)) => {
                out.push(high << 4 | low);
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(pattern: &PathPattern, path: &str) -> Option<Vec<(String, String)>> {
        Some(pattern.matches(path)?.into_iter().map(|(n, v)| (n.to_string(), v)).collect())
    }

    #[test]
    fn open_api_tokens_take_one_segment() {
        let p = PathPattern::open_api("/orders/{id}/items/{item}").unwrap();
        let expected = vec![("id".into(), "7".into()), ("item".into(), "a b".into())];
        assert_eq!(params(&p, "/orders/7/items/a%20b"), Some(expected));
        for path in [
            "/orders/7/items/",
            "/orders/7/items/a/b",
            "/orders//items/a",
            "/orders/7/items",
            "/Orders/7/items/a",
        ] {
            assert_eq!(params(&p, path), None, "{path}");
        }
    }

    #[test]
    fn everything_else_is_literal() {
        let p = PathPattern::open_api("/accounts/open({id})").unwrap();
        assert_eq!(params(&p, "/accounts/open(5)"), Some(vec![("id".into(), "5".into())]));
        assert_eq!(params(&p, "/accounts/open()"), None);
        let p = PathPattern::open_api("/accounts/:action").unwrap();
        assert_eq!(params(&p, "/accounts/:action"), Some(vec![]));
        assert_eq!(params(&p, "/accounts/x"), None);
        let p = PathPattern::open_api("/f/{name}.{ext}").unwrap();
        assert_eq!(
            params(&p, "/f/a.b.c"),
            Some(vec![("name".into(), "a".into()), ("ext".into(), "b.c".into())])
        );
    }

    #[test]
    fn url_patterns_match_as_the_standard_says() {
        let p = PathPattern::url_pattern("/files/:name/:rest(.*)").unwrap();
        let expected = vec![("name".into(), "a".into()), ("rest".into(), "b/c".into())];
        assert_eq!(params(&p, "/files/a/b/c"), Some(expected));
        let p = PathPattern::url_pattern("/v1/(.*)").unwrap();
        assert_eq!(params(&p, "/v1/x/y"), Some(vec![("0".into(), "x/y".into())]));
        assert_eq!(params(&p, "/v2/x"), None);
        let p = PathPattern::url_pattern("/a{/}?").unwrap();
        assert!(params(&p, "/a").is_some() && params(&p, "/a/").is_some());
        let p = PathPattern::url_pattern("/proxy:path(/.*)").unwrap();
        assert_eq!(params(&p, "/proxy/x/y"), Some(vec![("path".into(), "/x/y".into())]));
        let p = PathPattern::url_pattern("/w/*").unwrap();
        assert_eq!(params(&p, "/w/1/2"), Some(vec![("0".into(), "1/2".into())]));
    }

    #[test]
    fn bad_patterns_are_refused() {
        for path in ["orders", "/a/{", "/a/{}", "/a/{x}/{x}", "/a/{x}{y}"] {
            assert!(PathPattern::open_api(path).is_err(), "{path}");
        }
        assert!(PathPattern::url_pattern("/a/(").is_err());
    }
}

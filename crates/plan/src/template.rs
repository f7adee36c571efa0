//! Templates of URLs: `${...}` expressions over the request, parsed once.
//!
//! The syntax is that of JavaScript template literals. Only the shapes listed in [`Expression`] are rendered
//! natively; a template with any other expression is left to the world that evaluates JavaScript.

use std::fmt::Write as _;

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Expression(Expression),
}

/// An expression with a native rendering. A value that is missing is rendered as `undefined`, as in JavaScript.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// `env.NAME`
    Env(String),
    /// `params.name`, percent-decoded.
    Param(String),
    /// `query.name`: the first value, decoded.
    Query(String),
    /// `headers.get("name")`; a missing one is rendered as `null`.
    Header(String),
    /// `url`: the whole URL as received.
    Url,
    /// `origin`: scheme and authority.
    Origin,
    /// `protocol`: the scheme with its colon.
    Protocol,
    /// `host`: host and port.
    Host,
    /// `hostname`: without port.
    Hostname,
    /// `port`; empty when it is the scheme's own.
    Port,
    /// `pathname`: percent-encoded.
    Pathname,
    /// `search`: with its `?`, or empty.
    Search,
    /// `method`
    Method,
    /// `encodeURIComponent(...)` or `e(...)`.
    Encode(Box<Expression>),
}

/// Why a template cannot be rendered natively.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateError {
    /// `${` without `}`; byte offset of the `${`.
    Unclosed(usize),
    /// An expression that needs JavaScript: its byte offset and text.
    NeedsScript(usize, String),
}

/// What expressions are rendered from.
pub trait Variables {
    /// Appends the expression's value to `out`; false when it has none. Never called with [`Expression::Encode`].
    fn write(&self, expression: &Expression, out: &mut String) -> bool;
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// See [`TemplateError`].
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            let at = text.len() - rest.len() + start;
            let Some(end) = rest[start..].find('}') else { return Err(TemplateError::Unclosed(at)) };
            if start > 0 {
                pieces.push(Piece::Text(rest[..start].to_owned()));
            }
            let inner = rest[start + 2..start + end].trim();
            let Some(expression) = Expression::parse(inner) else {
                return Err(TemplateError::NeedsScript(at, inner.to_owned()));
            };
            pieces.push(Piece::Expression(expression));
            rest = &rest[start + end + 1..];
        }
        if rest.contains(['\\', '`']) || text.contains('\\') {
            // Escapes of JavaScript's own.
            return Err(TemplateError::NeedsScript(0, text.to_owned()));
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self { pieces })
    }

    /// The text, when there is no expression in it.
    pub fn as_text(&self) -> Option<&str> {
        match &self.pieces[..] {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The expressions, in order.
    pub fn expressions(&self) -> impl Iterator<Item = &Expression> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Expression(expression) => Some(expression),
            Piece::Text(_) => None,
        })
    }

    /// Renders it.
    pub fn render(&self, variables: &impl Variables, out: &mut String) {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Expression(expression) => expression.render(variables, out),
            }
        }
    }
}

impl Expression {
    fn parse(text: &str) -> Option<Self> {
        let name =
            |prefix: &str| text.strip_prefix(prefix).filter(|rest| is_identifier(rest)).map(str::to_owned);
        for function in ["encodeURIComponent(", "e("] {
            if let Some(inner) = text.strip_prefix(function).and_then(|rest| rest.strip_suffix(')')) {
                return Self::parse(inner.trim()).map(|inner| Self::Encode(Box::new(inner)));
            }
        }
        if let Some(argument) = text.strip_prefix("headers.get(").and_then(|rest| rest.strip_suffix(')')) {
            let quote = argument.chars().next().filter(|c| matches!(c, '"' | '\''))?;
            let name = argument.strip_prefix(quote)?.strip_suffix(quote)?;
            let plain =
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
            return plain.then(|| Self::Header(name.to_ascii_lowercase()));
        }
        match text {
            "url" => Some(Self::Url),
            "origin" => Some(Self::Origin),
            "protocol" => Some(Self::Protocol),
            "host" => Some(Self::Host),
            "hostname" => Some(Self::Hostname),
            "port" => Some(Self::Port),
            "pathname" => Some(Self::Pathname),
            "search" => Some(Self::Search),
            "method" => Some(Self::Method),
            _ => name("env.")
                .map(Self::Env)
                .or_else(|| name("params.").map(Self::Param))
                .or_else(|| name("query.").map(Self::Query)),
        }
    }

    fn render(&self, variables: &impl Variables, out: &mut String) {
        match self {
            Self::Encode(inner) => {
                let mut value = String::new();
                inner.render(variables, &mut value);
                encode_component(&value, out);
            }
            Self::Header(_) if !variables.write(self, out) => out.push_str("null"),
            Self::Header(_) => {}
            _ if !variables.write(self, out) => out.push_str("undefined"),
            _ => {}
        }
    }
}

fn is_identifier(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || matches!(b, b'_' | b'$'))
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$'))
}

/// JavaScript's `encodeURIComponent` (ECMA-262 19.2.6.4).
fn encode_component(value: &str, out: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte) {
            out.push(byte as char);
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl Variables for Fixed {
        fn write(&self, expression: &Expression, out: &mut String) -> bool {
            match expression {
                Expression::Env(name) if name == "BASE" => out.push_str("http://up"),
                Expression::Param(name) if name == "id" => out.push_str("a b/ü"),
                Expression::Pathname => out.push_str("/x"),
                _ => return false,
            }
            true
        }
    }

    fn render(text: &str) -> String {
        let mut out = String::new();
        Template::parse(text).unwrap().render(&Fixed, &mut out);
        out
    }

    #[test]
    fn native_shapes_are_rendered() {
        assert_eq!(render("${env.BASE}${pathname}"), "http://up/x");
        assert_eq!(render("/o/${ e(params.id) }?z"), "/o/a%20b%2F%C3%BC?z");
        assert_eq!(render("${env.NONE}-${headers.get('a')}-${query.q}"), "undefined-null-undefined");
        assert_eq!(Template::parse("plain").unwrap().as_text(), Some("plain"));
    }

    #[test]
    fn the_rest_needs_a_script() {
        for text in ["${params.a + 1}", "${context.custom.x}", "${params['a']}", "a\\n", "${headers.get(x)}"]
        {
            assert!(matches!(Template::parse(text), Err(TemplateError::NeedsScript(..))), "{text}");
        }
        assert_eq!(Template::parse("ab${x"), Err(TemplateError::Unclosed(2)));
    }
}

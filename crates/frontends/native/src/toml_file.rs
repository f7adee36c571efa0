//! TOML as a tree; members are put back into document order.

use serde_json::Number;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::source::{Lines, Parsed};
use crate::tree::{MAX_DEPTH, Member, Node, Value};

/// Parses a file. All syntax errors are reported; what could be read is there beside them.
pub(crate) fn parse(text: &str) -> Parsed {
    let lines = Lines::new(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut problems: Vec<_> = errors
        .iter()
        .map(|error| {
            let message = error.message().lines().collect::<Vec<_>>().join("; ");
            ("syntax", message, lines.span(error.span().unwrap_or(0..0)))
        })
        .collect();
    let span = lines.span(0..0);
    let value = object(table.into_inner(), &lines, &mut problems, 0);
    // What is read past a syntax error may lie in the wrong table: only whole files are looked at further.
    (problems.is_empty().then(|| Node::new(value, span)), problems)
}

type Problems = Vec<(&'static str, String, polygate_pipeline::Span)>;

fn object(table: DeTable<'_>, lines: &Lines<'_>, problems: &mut Problems, depth: usize) -> Value {
    let mut entries: Vec<_> = table.into_iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    let member = |(key, value): (Spanned<_>, Spanned<DeValue<'_>>)| {
        let key_span = lines.span(key.span());
        let key: std::borrow::Cow<'_, str> = key.into_inner();
        Some(Member { key: key.into_owned(), key_span, value: node(value, lines, problems, depth + 1)? })
    };
    Value::Object(entries.into_iter().filter_map(member).collect())
}

fn node(
    spanned: Spanned<DeValue<'_>>,
    lines: &Lines<'_>,
    problems: &mut Problems,
    depth: usize,
) -> Option<Node> {
    let span = lines.span(spanned.span());
    if depth > MAX_DEPTH {
        problems.push(("too-large", "nested too deeply".to_owned(), span));
        return None;
    }
    let value = match spanned.into_inner() {
        DeValue::String(text) => Value::String(text.into_owned()),
        DeValue::Boolean(value) => Value::Bool(value),
        DeValue::Datetime(value) => Value::String(value.to_string()),
        DeValue::Integer(value) => match i64::from_str_radix(value.as_str(), value.radix()) {
            Ok(value) => Value::Number(value.into()),
            Err(_) => {
                problems.push(("syntax", "a whole number that is too large".to_owned(), span));
                return None;
            }
        },
        DeValue::Float(value) => match value.as_str().parse().ok().and_then(Number::from_f64) {
            Some(value) => Value::Number(value),
            None => {
                problems.push(("syntax", "not a finite number".to_owned(), span));
                return None;
            }
        },
        DeValue::Array(array) => {
            Value::Array(array.into_iter().filter_map(|v| node(v, lines, problems, depth + 1)).collect())
        }
        DeValue::Table(table) => object(table, lines, problems, depth),
    };
    Some(Node::new(value, span))
}

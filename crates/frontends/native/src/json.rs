//! JSON with comments and trailing commas, as a tree.

use std::str::FromStr as _;

use jsonc_parser::ast;
use jsonc_parser::common::{Range, Ranged as _};
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};
use serde_json::Number;

use crate::source::{Lines, Parsed};
use crate::tree::{MAX_DEPTH, MAX_NODES, Member, Node, Value};

/// Parses a file. Repeated members are reported; the first one stands.
pub(crate) fn parse(text: &str) -> Parsed {
    let options = ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    let mut builder = Builder { lines: Lines::new(text), problems: Vec::new(), nodes: 0 };
    match parse_to_ast(text, &CollectOptions::default(), &options) {
        Ok(parsed) => {
            let node = parsed.value.and_then(|value| builder.node(value, 0));
            if node.is_none() && builder.problems.is_empty() {
                builder.problem(Range::new(0, 0), "the file is empty");
            }
            (node, builder.problems)
        }
        Err(error) => {
            let message = error.kind().to_string();
            builder.problem(error.range(), &lower_first(&message));
            (None, builder.problems)
        }
    }
}

struct Builder<'a> {
    lines: Lines<'a>,
    problems: Vec<(&'static str, String, polygate_pipeline::Span)>,
    nodes: usize,
}

impl Builder<'_> {
    fn problem(&mut self, range: Range, message: &str) {
        self.problems.push(("syntax", message.to_owned(), self.span(range)));
    }

    fn span(&self, range: Range) -> polygate_pipeline::Span {
        self.lines.span(range.start..range.end)
    }

    fn node(&mut self, value: ast::Value<'_>, depth: usize) -> Option<Node> {
        let range = value.range();
        self.nodes += 1;
        if depth > MAX_DEPTH || self.nodes > MAX_NODES {
            if self.problems.iter().all(|(code, ..)| *code != "too-large") {
                let span = self.span(range);
                self.problems.push(("too-large", "nested too deeply, or too many values".to_owned(), span));
            }
            return None;
        }
        let span = self.span(range);
        let value = match value {
            ast::Value::NullKeyword(_) => Value::Null,
            ast::Value::BooleanLit(literal) => Value::Bool(literal.value),
            ast::Value::NumberLit(literal) => match Number::from_str(literal.value) {
                Ok(number) => Value::Number(number),
                Err(_) => {
                    self.problem(range, "not a number that can be represented");
                    return None;
                }
            },
            ast::Value::StringLit(literal) => Value::String(literal.value.into_owned()),
            ast::Value::Array(array) => {
                Value::Array(array.elements.into_iter().filter_map(|v| self.node(v, depth + 1)).collect())
            }
            ast::Value::Object(object) => self.object(object, depth),
        };
        Some(Node::new(value, span))
    }

    fn object(&mut self, object: ast::Object<'_>, depth: usize) -> Value {
        let mut members: Vec<Member> = Vec::with_capacity(object.properties.len());
        let mut keys = std::collections::HashSet::new();
        for property in object.properties {
            let key_span = self.span(property.name.range());
            let key = property.name.into_string();
            let Some(value) = self.node(property.value, depth + 1) else { continue };
            if !keys.insert(key.clone()) {
                self.problems.push(("duplicate-field", format!("{key:?} stands twice"), key_span));
                continue;
            }
            members.push(Member { key, key_span, value });
        }
        Value::Object(members)
    }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|c| c.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

//! YAML (one document, core schema) as a tree.

use std::collections::{HashMap, HashSet};
use std::str::FromStr as _;

use polygate_pipeline::Span;
use saphyr_parser::{Event, Parser, ScalarStyle, Span as Range};
use serde_json::Number;

use crate::source::Parsed;
use crate::tree::{MAX_DEPTH, MAX_NODES, Member, Node, Value};

/// Parses a file. Repeated members are reported; the first one stands.
pub(crate) fn parse(text: &str) -> Parsed {
    let mut builder = Builder::default();
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let done = match event {
            Ok((Event::StreamEnd, _)) => true,
            Ok((event, range)) => builder.take(event, range),
            Err(error) => {
                let at = error.marker();
                let span = Span { line: at.line() as u32, column: at.col() as u32 + 1, length: 1 };
                builder.problems.push(("syntax", error.info().to_owned(), span));
                return (None, builder.problems);
            }
        };
        if done {
            break;
        }
    }
    if builder.root.is_none() && builder.problems.is_empty() {
        let start = Span { line: 1, column: 1, length: 1 };
        builder.problems.push(("syntax", "the file is empty".to_owned(), start));
    }
    (builder.root, builder.problems)
}

#[derive(Default)]
struct Builder {
    root: Option<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    problems: Vec<(&'static str, String, Span)>,
}

/// A collection whose end was not read yet.
struct Open {
    anchor: usize,
    span: Span,
    content: Content,
}

enum Content {
    Sequence(Vec<Node>),
    Mapping { members: Vec<Member>, keys: HashSet<String>, key: Option<(String, Span)> },
}

impl Builder {
    /// Takes an event; true when no more are wanted.
    fn take(&mut self, event: Event<'_>, range: Range) -> bool {
        let span = place(range);
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                self.problems.push(("syntax", "a second document in the file".to_owned(), span));
                return true;
            }
            Event::Scalar(text, style, anchor, tag) => {
                let text = text.into_owned();
                let quoted = style != ScalarStyle::Plain
                    || tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
                if self.wants_key() {
                    self.set_key(text, span);
                    return false;
                }
                let value = if quoted { Value::String(text) } else { plain(text) };
                return self.add(Node::new(value, span), anchor);
            }
            Event::SequenceStart(anchor, _) => {
                return self.open(anchor, span, Content::Sequence(Vec::new()));
            }
            Event::MappingStart(anchor, _) => {
                let content = Content::Mapping { members: Vec::new(), keys: HashSet::new(), key: None };
                return self.open(anchor, span, content);
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.open.pop() {
                    let value = match open.content {
                        Content::Sequence(elements) => Value::Array(elements),
                        Content::Mapping { members, .. } => Value::Object(members),
                    };
                    return self.add(Node::new(value, open.span), open.anchor);
                }
            }
            Event::Alias(anchor) => match self.anchors.get(&anchor).cloned() {
                Some(node) => {
                    self.nodes += node.count();
                    return self.add(node, 0);
                }
                None => {
                    self.problems.push(("syntax", "an alias of an unfinished anchor".to_owned(), span));
                    return true;
                }
            },
            _ => {}
        }
        false
    }

    fn wants_key(&self) -> bool {
        matches!(self.open.last(), Some(Open { content: Content::Mapping { key: None, .. }, .. }))
    }

    fn set_key(&mut self, text: String, span: Span) {
        if let Some(Open { content: Content::Mapping { key, .. }, .. }) = self.open.last_mut() {
            *key = Some((text, span));
        }
    }

    fn open(&mut self, anchor: usize, span: Span, content: Content) -> bool {
        if self.wants_key() {
            self.problems.push(("syntax", "a member's name that is no scalar".to_owned(), span));
            return true;
        }
        if self.open.len() >= MAX_DEPTH {
            self.problems.push(("too-large", "nested too deeply".to_owned(), span));
            return true;
        }
        self.open.push(Open { anchor, span, content });
        false
    }

    fn add(&mut self, node: Node, anchor: usize) -> bool {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            self.problems.push(("too-large", "too many values".to_owned(), node.span));
            return true;
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(Content::Sequence(elements)) => elements.push(node),
            Some(Content::Mapping { members, keys, key }) => {
                if let Some((key, key_span)) = key.take() {
                    if keys.insert(key.clone()) {
                        members.push(Member { key, key_span, value: node });
                    } else {
                        self.problems.push(("duplicate-field", format!("{key:?} stands twice"), key_span));
                    }
                }
            }
        }
        false
    }
}

fn place(range: Range) -> Span {
    let same_line = range.start.line() == range.end.line();
    let length = if same_line { range.end.col().saturating_sub(range.start.col()) } else { 1 };
    Span {
        line: range.start.line().max(1) as u32,
        column: range.start.col() as u32 + 1,
        length: length.max(1) as u32,
    }
}

/// A plain scalar by the core schema (YAML 1.2.2, 10.3.2).
fn plain(text: String) -> Value {
    match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let radix = |prefix, radix| {
        text.strip_prefix(prefix).and_then(|digits| i64::from_str_radix(digits, radix).ok()).map(Number::from)
    };
    let number = radix("0x", 16).or_else(|| radix("0o", 8)).or_else(|| {
        let starts = text.trim_start_matches(['-', '+', '.']).starts_with(|c: char| c.is_ascii_digit());
        let integer = text.strip_prefix('+').unwrap_or(&text).parse::<i64>().ok().map(Number::from);
        integer.or_else(|| {
            starts.then(|| Number::from_str(&text).ok().or_else(|| Number::from_f64(text.parse().ok()?)))?
        })
    });
    number.map_or_else(|| Value::String(text.clone()), Value::Number)
}

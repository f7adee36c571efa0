//! The one tree that all file kinds are read into: values with their places, members in document order.

use polygate_pipeline::Span;
use serde_json::Number;

/// Deepest nesting that is read; beyond, the file is refused.
pub(crate) const MAX_DEPTH: usize = 128;

/// Most values of one file, aliases of YAML counted as often as they stand; beyond, the file is refused.
pub(crate) const MAX_NODES: usize = 500_000;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) span: Span,
    /// Whether it came from an environment variable: no diagnostic may show it.
    pub(crate) secret: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    Array(Vec<Node>),
    Object(Vec<Member>),
}

/// One member of an object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Member {
    pub(crate) key: String,
    pub(crate) key_span: Span,
    pub(crate) value: Node,
}

impl Node {
    pub(crate) fn new(value: Value, span: Span) -> Self {
        Self { value, span, secret: false }
    }

    /// The member of that name, when this is an object that has it.
    pub(crate) fn member(&self, key: &str) -> Option<&Member> {
        self.members().iter().find(|member| member.key == key)
    }

    /// The value of that name, when this is an object that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.member(key).map(|member| &member.value)
    }

    /// The members; none when this is no object.
    pub(crate) fn members(&self) -> &[Member] {
        match &self.value {
            Value::Object(members) => members,
            _ => &[],
        }
    }

    /// The elements; none when this is no array.
    pub(crate) fn elements(&self) -> &[Node] {
        match &self.value {
            Value::Array(elements) => elements,
            _ => &[],
        }
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The value alone.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Number(value) => value.clone().into(),
            Value::String(value) => value.as_str().into(),
            Value::Array(elements) => elements.iter().map(Node::to_json).collect(),
            Value::Object(members) => {
                members.iter().map(|member| (member.key.clone(), member.value.to_json())).collect()
            }
        }
    }

    /// The kind of value, for people.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "an array",
            Value::Object(_) => "an object",
        }
    }

    /// The value for people: quoted when it is short and no secret, else its kind.
    pub(crate) fn shown(&self) -> String {
        match &self.value {
            Value::String(_) if self.secret => "the variable's value".to_owned(),
            Value::String(text) if text.len() <= 60 => format!("{text:?}"),
            Value::Number(number) => number.to_string(),
            Value::Bool(value) => value.to_string(),
            _ => self.kind().to_owned(),
        }
    }

    /// How many values it is made of.
    pub(crate) fn count(&self) -> usize {
        1 + match &self.value {
            Value::Array(elements) => elements.iter().map(Node::count).sum(),
            Value::Object(members) => members.iter().map(|member| member.value.count()).sum(),
            _ => 0,
        }
    }
}

/// Appends a member's name to a field path such as `policies[2].handler`.
pub(crate) fn child(path: &str, key: &str) -> String {
    let plain =
        !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'$'));
    match (path, plain) {
        ("", true) => key.to_owned(),
        (_, true) => format!("{path}.{key}"),
        _ => format!("{path}[{key:?}]"),
    }
}

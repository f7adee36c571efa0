//! Checks a tree against a generated schema and decodes it: every problem is reported, with its place.
//!
//! Knows as much of JSON Schema as schemars writes for this crate's structures.

use polygate_pipeline::Diagnostic;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value as Schema;

use crate::raw::text::FORMATS;
use crate::schema;
use crate::tree::{Node, Value, child};

/// Decodes `node`, which stands at `path` of `file`; `None` when something is wrong with it, which is reported.
pub(crate) fn decode<T: JsonSchema + DeserializeOwned>(
    node: &Node,
    file: &str,
    path: &str,
    found: &mut Vec<Diagnostic>,
) -> Option<T> {
    let root = schema::of::<T>();
    let before = found.len();
    Checker { root: &root, file, found }.check(&root, node, path);
    if found.len() > before {
        return None;
    }
    match serde_json::from_value(node.to_json()) {
        Ok(value) => Some(value),
        Err(_) => {
            // The error's text may hold a value, and values may be secret.
            let problem = Diagnostic::error("bad-value", "this cannot be read");
            found.push(problem.at(file, Some(node.span)).field(path));
            None
        }
    }
}

struct Checker<'a> {
    root: &'a Schema,
    file: &'a str,
    found: &'a mut Vec<Diagnostic>,
}

impl<'a> Checker<'a> {
    fn check(&mut self, schema: &'a Schema, node: &Node, path: &str) {
        let whole = self.resolve(schema);
        let Some(schema) = whole.as_object() else { return };
        if let Some(alternatives) = schema.get("anyOf").or_else(|| schema.get("oneOf")) {
            return self.check_alternatives(alternatives, node, path);
        }
        if let Some(expected) = schema.get("type")
            && !fits(expected, node)
        {
            return self.wrong_type(node, path, self.describe(whole));
        }
        if let Some(names) = schema.get("enum").and_then(Schema::as_array)
            && !matches!(node.value, Value::Null)
            && !names.contains(&node.to_json())
        {
            return self.not_one_of(node, path, names);
        }
        if let Some(format) = schema.get("format").and_then(Schema::as_str) {
            self.check_format(format, node, path);
        }
        if let Value::Number(number) = &node.value {
            let bound = |name: &str| schema.get(name).and_then(Schema::as_f64);
            let value = number.as_f64().unwrap_or(f64::NAN);
            let (low, high) = (bound("minimum"), bound("maximum"));
            if low.is_some_and(|low| value < low) || high.is_some_and(|high| value > high) {
                let expected = match (low, high) {
                    (Some(low), Some(high)) => format!("a number from {low} to {high}"),
                    (Some(low), None) => format!("a number of at least {low}"),
                    (_, high) => format!("a number of at most {}", high.unwrap_or_default()),
                };
                let message = format!("{} is out of range", node.shown());
                self.push(Diagnostic::error("out-of-range", message).expected(expected), node, path);
            }
        }
        match &node.value {
            Value::Object(_) => self.check_members(schema, node, path),
            Value::Array(elements) => {
                if let Some(items) = schema.get("items") {
                    for (index, element) in elements.iter().enumerate() {
                        self.check(items, element, &format!("{path}[{index}]"));
                    }
                }
            }
            _ => {}
        }
    }

    fn check_members(&mut self, schema: &'a serde_json::Map<String, Schema>, node: &Node, path: &str) {
        let properties = schema.get("properties").and_then(Schema::as_object);
        let rest = schema.get("additionalProperties");
        for member in node.members() {
            let at = child(path, &member.key);
            if let Some(property) = properties.and_then(|all| all.get(&member.key)) {
                self.check(property, &member.value, &at);
            } else if rest == Some(&Schema::Bool(false)) {
                let names = properties.map(|all| all.keys().map(String::as_str).collect::<Vec<_>>());
                let names = names.unwrap_or_default();
                let known = names.iter().copied().filter(|name| !name.starts_with('$'));
                let problem = Diagnostic::error("unknown-field", format!("unknown field {:?}", member.key))
                    .at(self.file, Some(member.key_span))
                    .field(at)
                    .expected(format!("one of {}", known.clone().collect::<Vec<_>>().join(", ")))
                    .nearest(&member.key, known);
                self.found.push(problem);
            } else if let Some(rest) = rest {
                self.check(rest, &member.value, &at);
            }
        }
        for name in schema.get("required").and_then(Schema::as_array).into_iter().flatten() {
            let Some(name) = name.as_str().filter(|name| node.get(name).is_none()) else { continue };
            let property = properties.and_then(|all| all.get(name));
            let mut problem = Diagnostic::error("missing-field", format!("the field {name:?} is missing"));
            if let Some(property) = property {
                problem = problem.expected(self.describe(property));
            }
            self.push(problem, node, &child(path, name));
        }
    }

    fn check_alternatives(&mut self, alternatives: &'a Schema, node: &Node, path: &str) {
        let all = alternatives.as_array().map(Vec::as_slice).unwrap_or_default();
        let all: Vec<&'a Schema> = all.iter().map(|schema| self.resolve(schema)).collect();
        let constants: Option<Vec<Schema>> = all
            .iter()
            .map(|schema| match (schema.get("const"), schema.get("enum").and_then(Schema::as_array)) {
                (Some(one), _) => Some(vec![one.clone()]),
                (_, Some(many)) => Some(many.clone()),
                _ => None,
            })
            .collect::<Option<Vec<_>>>()
            .map(|lists| lists.concat());
        if let Some(names) = constants {
            if !names.contains(&node.to_json()) {
                self.not_one_of(node, path, &names);
            }
            return;
        }
        let fitting = all.iter().find(|schema| match schema.get("type") {
            Some(expected) => fits(expected, node),
            None => !matches!(node.value, Value::Null),
        });
        match fitting {
            Some(schema) => self.check(schema, node, path),
            None => {
                let expected: Vec<_> = all
                    .iter()
                    .filter(|schema| schema.get("type") != Some(&"null".into()))
                    .map(|schema| self.describe(schema))
                    .collect();
                self.wrong_type(node, path, expected.join(" or "));
            }
        }
    }

    fn check_format(&mut self, name: &str, node: &Node, path: &str) {
        let (Some(format), Some(text)) = (FORMATS.iter().find(|known| known.name == name), node.as_str())
        else {
            return;
        };
        if !(format.valid)(text) {
            let problem = Diagnostic::error("bad-value", format!("{} cannot be read", node.shown()));
            self.push(problem.expected(format.expected), node, path);
        }
    }

    fn not_one_of(&mut self, node: &Node, path: &str, names: &[Schema]) {
        let texts: Vec<String> =
            names.iter().map(|name| name.as_str().map_or_else(|| name.to_string(), str::to_owned)).collect();
        let mut problem = Diagnostic::error("bad-value", format!("{} is not possible here", node.shown()))
            .expected(format!("one of {}", texts.join(", ")));
        if let Some(text) = node.as_str().filter(|_| !node.secret) {
            problem = problem.nearest(text, texts.iter().map(String::as_str));
        }
        self.push(problem, node, path);
    }

    fn wrong_type(&mut self, node: &Node, path: &str, expected: String) {
        let problem = Diagnostic::error("wrong-type", format!("{} stands here", node.kind()));
        self.push(problem.expected(expected), node, path);
    }

    fn push(&mut self, problem: Diagnostic, node: &Node, path: &str) {
        let problem = problem.at(self.file, Some(node.span));
        self.found.push(if path.is_empty() { problem } else { problem.field(path) });
    }

    fn resolve(&self, schema: &'a Schema) -> &'a Schema {
        let name = schema.get("$ref").and_then(Schema::as_str).and_then(|r| r.strip_prefix("#/$defs/"));
        name.and_then(|name| self.root.get("$defs")?.get(name)).unwrap_or(schema)
    }

    /// What is expected, for people.
    fn describe(&self, schema: &Schema) -> String {
        let name = schema.get("$ref").and_then(Schema::as_str).and_then(|r| r.strip_prefix("#/$defs/"));
        if let Some(known) = name.and_then(|name| self.root.get("$defs")?.get(name)) {
            return self.describe(known);
        }
        if let Some(format) = schema.get("format").and_then(Schema::as_str)
            && let Some(format) = FORMATS.iter().find(|known| known.name == format)
        {
            return format.expected.to_owned();
        }
        if let Some(names) = schema.get("enum").and_then(Schema::as_array) {
            return list(names.iter());
        }
        if let Some(all) = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Schema::as_array) {
            if all.iter().all(|one| one.get("const").is_some()) {
                return list(all.iter().filter_map(|one| one.get("const")));
            }
            let null = Schema::from("null");
            let some = all.iter().filter(|one| one.get("type") != Some(&null));
            return some.map(|one| self.describe(one)).collect::<Vec<_>>().join(" or ");
        }
        type_names(schema.get("type")).into_iter().filter_map(article).collect::<Vec<_>>().join(" or ")
    }
}

fn list<'s>(names: impl Iterator<Item = &'s Schema>) -> String {
    let texts: Vec<String> =
        names.map(|name| name.as_str().map_or_else(|| name.to_string(), str::to_owned)).collect();
    if let [one] = &texts[..] { one.clone() } else { format!("one of {}", texts.join(", ")) }
}

fn type_names(names: Option<&Schema>) -> Vec<&str> {
    match names {
        Some(Schema::String(name)) => vec![name],
        Some(Schema::Array(names)) => names.iter().filter_map(Schema::as_str).collect(),
        _ => Vec::new(),
    }
}

fn article(name: &str) -> Option<&'static str> {
    Some(match name {
        "boolean" => "true or false",
        "integer" => "a whole number",
        "number" => "a number",
        "string" => "a string",
        "array" => "an array",
        "object" => "an object",
        _ => return None,
    })
}

fn fits(names: &Schema, node: &Node) -> bool {
    type_names(Some(names)).into_iter().any(|name| match &node.value {
        Value::Null => name == "null",
        Value::Bool(_) => name == "boolean",
        Value::Number(number) => name == "number" || name == "integer" && !number.is_f64(),
        Value::String(_) => name == "string",
        Value::Array(_) => name == "array",
        Value::Object(_) => name == "object",
    })
}

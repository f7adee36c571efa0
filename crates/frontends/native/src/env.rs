//! Environment variables: `.env` files, and `$env(NAME)` in configuration.

use std::collections::BTreeMap;

use polygate_pipeline::{Diagnostic, Span};

use crate::source::Project;
use crate::tree::{Node, Value, child};

const OPEN: &str = "$env(";

/// Reads `.env.zuplo`, then `.env`, then what the process was given: the later one wins.
pub(crate) fn variables(
    project: &mut Project<'_>,
    process: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for file in [".env.zuplo", ".env"] {
        let Some(text) = project.text(file) else { continue };
        let (read, wrong) = parse(&text);
        all.extend(read);
        for (message, span) in wrong {
            let problem = Diagnostic::error("syntax", message).at(file, Some(span));
            project.report(problem.expected("a line such as NAME=value, NAME=\"value\" or # comment"));
        }
    }
    all.extend(process.iter().map(|(name, value)| (name.clone(), value.clone())));
    all
}

type Variables = Vec<(String, String)>;
type Problems = Vec<(String, Span)>;

/// `NAME=value` lines; `export ` before the name, quotes around the value (escapes in double ones; either kind may
/// span lines) and comments.
fn parse(text: &str) -> (Variables, Problems) {
    let mut read = Vec::new();
    let mut wrong = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let column = line.chars().take_while(|c| c.is_whitespace()).count() as u32 + 1;
        let span = Span { line: index as u32 + 1, column, length: 1 };
        let assignment = trimmed.strip_prefix("export ").map_or(trimmed, str::trim_start);
        let Some((name, value)) = assignment.split_once('=') else {
            wrong.push(("no `=` in the line".to_owned(), span));
            continue;
        };
        let name = name.trim_end();
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
        if name.is_empty() || !name.bytes().all(plain) || name.as_bytes()[0].is_ascii_digit() {
            wrong.push(("what stands before `=` is no variable's name".to_owned(), span));
            continue;
        }
        let mut value = value.trim_start().to_owned();
        let Some(quote) = value.chars().next().filter(|c| matches!(c, '"' | '\'' | '`')) else {
            let end = value.find(" #").or_else(|| value.starts_with('#').then_some(0)).unwrap_or(value.len());
            read.push((name.to_owned(), value[..end].trim_end().to_owned()));
            continue;
        };
        value.remove(0);
        let end = loop {
            if let Some(end) = closing(&value, quote) {
                break Some(end);
            }
            match lines.next() {
                Some((_, line)) => {
                    value.push('\n');
                    value.push_str(line);
                }
                None => break None,
            }
        };
        match end {
            Some(end) => {
                value.truncate(end);
                read.push((name.to_owned(), if quote == '"' { unescape(&value) } else { value }));
            }
            None => wrong.push((format!("the quote {quote} is never closed"), span)),
        }
    }
    (read, wrong)
}

fn closing(value: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in value.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote == '"' => escaped = true,
            c if c == quote => return Some(at),
            _ => {}
        }
    }
    None
}

fn unescape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => match chars.next() {
                Some('n') => out.push('\n'),
                Some('r') => out.push('\r'),
                Some('t') => out.push('\t'),
                Some(c @ ('"' | '\\' | '$')) => out.push(c),
                Some(c) => out.extend(['\\', c]),
                None => out.push('\\'),
            },
            (c, false) => out.push(c),
        }
    }
    out
}

/// Whether `$env(NAME)` stands in the text.
pub(crate) fn is_reference(text: &str) -> bool {
    text.find(OPEN).is_some_and(|at| text[at..].contains(')'))
}

/// Puts variables in the place of `$env(NAME)`, everywhere in `node`. `None` when the node itself is removed: it
/// names one unset variable and nothing else.
pub(crate) fn substitute(node: &Node, variables: &BTreeMap<String, String>, keep: &[&str]) -> Option<Node> {
    let mut out = node.clone();
    match &mut out.value {
        Value::String(text) if is_reference(text) => {
            out.secret = true;
            *text = replace(text, variables)?;
        }
        Value::Array(elements) => {
            for element in elements {
                // An unset variable leaves a hole, as `undefined` does in an array that is written as JSON.
                *element = substitute(element, variables, &[])
                    .unwrap_or_else(|| Node::new(Value::Null, element.span));
            }
        }
        Value::Object(members) => {
            members.retain_mut(|member| {
                if keep.contains(&member.key.as_str()) {
                    return true;
                }
                match substitute(&member.value, variables, &[]) {
                    Some(value) => {
                        member.value = value;
                        true
                    }
                    None => false,
                }
            });
        }
        _ => {}
    }
    Some(out)
}

fn replace(text: &str, variables: &BTreeMap<String, String>) -> Option<String> {
    if let Some(name) = text.strip_prefix(OPEN).and_then(|rest| rest.strip_suffix(')'))
        && !name.contains(')')
    {
        return variables.get(name.trim()).cloned();
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(OPEN) {
        let Some(end) = rest[start..].find(')') else { break };
        out.push_str(&rest[..start]);
        let name = &rest[start + OPEN.len()..start + end];
        out.push_str(variables.get(name.trim()).map_or("", String::as_str));
        rest = &rest[start + end + 1..];
    }
    out.push_str(rest);
    Some(out)
}

/// Reports each `$env(NAME)` in `node` but for those below a path that `allowed` takes.
pub(crate) fn refuse_elsewhere(
    node: &Node,
    file: &str,
    path: &str,
    allowed: &dyn Fn(&str) -> bool,
    found: &mut Vec<Diagnostic>,
) {
    if allowed(path) {
        return;
    }
    match &node.value {
        Value::String(text) if is_reference(text) => {
            let problem = Diagnostic::error("misplaced-env", "$env(...) is not expected at this location");
            let expected = "$env(...) within the options of a policy's or route's handler";
            found.push(problem.at(file, Some(node.span)).field(path).expected(expected));
        }
        Value::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                refuse_elsewhere(element, file, &format!("{path}[{index}]"), allowed, found);
            }
        }
        Value::Object(members) => {
            for member in members {
                refuse_elsewhere(&member.value, file, &child(path, &member.key), allowed, found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn env_files_are_read() {
        let text =
            "# c\nA=1\nexport B = two words # c\nC=\"x\\ny # z\" # c\nD='a\nb'\nE=\n\nbad\n1=x\nF=\"open";
        let (read, wrong) = parse(text);
        let expected = [("A", "1"), ("B", "two words"), ("C", "x\ny # z"), ("D", "a\nb"), ("E", "")];
        assert_eq!(read, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(wrong.iter().map(|(_, span)| span.line).collect::<Vec<_>>(), [9, 10, 11]);
    }

    #[test]
    fn variables_are_put_in() {
        let variables = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
        assert_eq!(replace("$env(A)", &variables), Some("1".to_owned()));
        assert_eq!(replace("$env(B)", &variables), None);
        assert_eq!(replace("x$env(A)y$env(B))", &variables), Some("x1y)".to_owned()));
        assert_eq!(replace("$env(A)$env(B)", &variables), Some("1".to_owned()));
        assert_eq!(replace("$env(A", &variables), Some("$env(A".to_owned()));
    }
}

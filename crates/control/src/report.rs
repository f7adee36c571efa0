//! Diagnostics as people and machines read them.
//!
//! People get the place, an excerpt of the source with the piece underlined, what was expected and what was probably
//! meant. Machines get `{"diagnostics": [...], "errors": n, "warnings": n}`.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use polygate_pipeline::{Diagnostic, Severity, Span};
use serde_json::{Value, json};

use crate::paint::{Look, Paint};

/// Characters of a source line that an excerpt shows at most; a longer line is cut around the place.
const MAX_EXCERPT: usize = 140;

/// Bytes of a file that is read for excerpts at most.
const MAX_SOURCE: u64 = 4 << 20;

/// Diagnostics of one project, ready to be shown.
pub struct Report<'a> {
    root: PathBuf,
    diagnostics: &'a [Diagnostic],
}

impl<'a> Report<'a> {
    /// A report on the project at `root`; errors and warnings in the order given.
    pub fn new(root: &Path, diagnostics: &'a [Diagnostic]) -> Self {
        Self { root: root.to_owned(), diagnostics }
    }

    /// The diagnostics.
    pub fn diagnostics(&self) -> &'a [Diagnostic] {
        self.diagnostics
    }

    /// Number of errors.
    pub fn errors(&self) -> usize {
        self.diagnostics.iter().filter(|d| d.is_error()).count()
    }

    /// Number of warnings.
    pub fn warnings(&self) -> usize {
        self.diagnostics.len() - self.errors()
    }

    /// `2 errors, 1 warning`, or `no problems`.
    pub fn summary(&self) -> String {
        let counted = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        match (self.errors(), self.warnings()) {
            (0, 0) => "no problems".to_owned(),
            (e, 0) => counted(e, "error"),
            (0, w) => counted(w, "warning"),
            (e, w) => format!("{}, {}", counted(e, "error"), counted(w, "warning")),
        }
    }

    /// For people: each diagnostic with its excerpt, a blank line between them, and the summary last.
    pub fn text(&self, paint: Paint) -> String {
        let mut sources = Sources { root: &self.root, files: HashMap::new() };
        let mut out = String::new();
        for diagnostic in self.diagnostics {
            write_diagnostic(&mut out, diagnostic, &mut sources, paint);
            out.push('\n');
        }
        if !self.diagnostics.is_empty() {
            let look = if self.errors() > 0 { Look::BoldRed } else { Look::BoldYellow };
            let _ = writeln!(out, "{}", paint.on(look, self.summary()));
        }
        out
    }

    /// For machines.
    pub fn json(&self) -> Value {
        json!({
            "diagnostics": self.diagnostics,
            "errors": self.errors(),
            "warnings": self.warnings(),
        })
    }
}

/// The files that were read for excerpts.
struct Sources<'a> {
    root: &'a Path,
    files: HashMap<String, Option<String>>,
}

impl Sources<'_> {
    fn line(&mut self, file: &str, line: u32) -> Option<&str> {
        let root = self.root;
        let text = self.files.entry(file.to_owned()).or_insert_with(|| {
            let path = root.join(file);
            let small = path.metadata().is_ok_and(|m| m.is_file() && m.len() <= MAX_SOURCE);
            small.then(|| std::fs::read_to_string(&path).ok()).flatten()
        });
        text.as_deref()?.lines().nth(line.checked_sub(1)? as usize)
    }
}

fn write_diagnostic(out: &mut String, diagnostic: &Diagnostic, sources: &mut Sources<'_>, paint: Paint) {
    let (word, title, mark) = match diagnostic.severity {
        Severity::Error => ("error", Look::BoldRed, Look::Red),
        Severity::Warning => ("warning", Look::BoldYellow, Look::Yellow),
    };
    let head = paint.on(title, format_args!("{word}[{}]", diagnostic.code)).to_string();
    let mut lines = diagnostic.message.lines();
    let _ = writeln!(out, "{head}: {}", paint.on(Look::Bold, lines.next().unwrap_or("")));
    for line in lines {
        let _ = writeln!(out, "    {}", paint.on(Look::Dim, line));
    }
    let number = diagnostic.span.map(|span| span.line.to_string()).unwrap_or_default();
    let margin = " ".repeat(number.len());
    let bar = paint.on(Look::Blue, "|").to_string();
    if let Some(file) = &diagnostic.file {
        let place = match diagnostic.span {
            Some(span) => format!("{file}:{}:{}", span.line, span.column),
            None => file.clone(),
        };
        let _ = writeln!(out, "{margin}{} {place}", paint.on(Look::Blue, "-->"));
        if let Some(span) = diagnostic.span
            && let Some(line) = sources.line(file, span.line)
        {
            let (shown, before, length) = excerpt(line, span, is_env_file(file));
            let _ = writeln!(out, "{margin} {bar}");
            let _ = writeln!(out, "{} {bar} {shown}", paint.on(Look::Blue, &number));
            let carets = paint.on(mark, "^".repeat(length)).to_string();
            let _ = writeln!(out, "{margin} {bar} {}{carets}", " ".repeat(before));
        }
    }
    let equals = paint.on(Look::Blue, "=").to_string();
    if let Some(field) = &diagnostic.field {
        let _ = writeln!(out, "{margin} {equals} {} {field}", paint.on(Look::Dim, "field:"));
    }
    if let Some(expected) = &diagnostic.expected {
        let _ = writeln!(out, "{margin} {equals} {} {expected}", paint.on(Look::Bold, "expected:"));
    }
    if let Some(nearest) = &diagnostic.nearest {
        let _ = writeln!(
            out,
            "{margin} {equals} did you mean {}?",
            paint.on(Look::Green, format_args!("`{nearest}`"))
        );
    }
}

/// The shown piece of a line, the columns before its carets, and their number.
fn excerpt(line: &str, span: Span, secret: bool) -> (String, usize, usize) {
    let mut chars: Vec<char> = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if secret && let Some(equals) = chars.iter().position(|c| *c == '=') {
        // Values of variables are credentials more often than not.
        chars.truncate(equals + 1);
        chars.push('…');
    }
    let column = (span.column.max(1) as usize - 1).min(chars.len());
    let length = (span.length.max(1) as usize).min((chars.len() - column).max(1));
    if chars.len() <= MAX_EXCERPT {
        return (chars.into_iter().collect(), column, length);
    }
    let start = column.saturating_sub(MAX_EXCERPT / 3);
    let end = (start + MAX_EXCERPT).min(chars.len());
    let head = if start > 0 { "…" } else { "" };
    let tail = if end < chars.len() { "…" } else { "" };
    let shown: String = chars[start..end].iter().collect();
    let before = column - start + head.chars().count();
    (format!("{head}{shown}{tail}"), before, length.min(end - column).max(1))
}

fn is_env_file(file: &str) -> bool {
    file.rsplit('/').next().is_some_and(|name| name.starts_with(".env"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(name: &str, file: &str, text: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("polygate-report-{name}-{}", std::process::id()));
        let path = root.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        root
    }

    #[test]
    fn a_problem_is_shown_with_its_place_and_cure() {
        let root = project("place", "config/policies.json", "{\n  \"policis\": []\n}\n");
        let found = [Diagnostic::error("unknown-field", "there is no field `policis` here")
            .at("config/policies.json", Some(Span { line: 2, column: 3, length: 9 }))
            .expected("one of `policies`, `corsPolicies`")
            .nearest("policis", ["policies", "corsPolicies"])];
        let text = Report::new(&root, &found).text(Paint::new(false));
        let expected = "error[unknown-field]: there is no field `policis` here
 --> config/policies.json:2:3
  |
2 |   \"policis\": []
  |   ^^^^^^^^^
  = expected: one of `policies`, `corsPolicies`
  = did you mean `policies`?

1 error
";
        assert_eq!(text, expected);
    }

    #[test]
    fn values_of_variables_are_not_shown() {
        let root = project("env", ".env", "TOKEN=hunter2\n");
        let found =
            [Diagnostic::warning("env", "odd").at(".env", Some(Span { line: 1, column: 7, length: 7 }))];
        let text = Report::new(&root, &found).text(Paint::new(false));
        assert!(text.contains("1 | TOKEN=…"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let line = format!("{}HERE{}", "a".repeat(300), "b".repeat(300));
        let (shown, before, length) = excerpt(&line, Span { line: 1, column: 301, length: 4 }, false);
        let marked: String = shown.chars().skip(before).take(length).collect();
        assert_eq!(marked, "HERE");
        assert!(shown.chars().count() <= MAX_EXCERPT + 2);
        let (_, before, length) = excerpt("ab", Span { line: 1, column: 9, length: 9 }, false);
        assert_eq!((before, length), (2, 1));
    }

    #[test]
    fn machines_get_counts_and_places() {
        let found = [Diagnostic::error("a", "b"), Diagnostic::warning("c", "d")];
        let report = Report::new(Path::new("."), &found);
        let json = report.json();
        assert_eq!((json["errors"].as_u64(), json["warnings"].as_u64()), (Some(1), Some(1)));
        assert_eq!(json["diagnostics"][0]["severity"], "error");
        assert_eq!(report.summary(), "1 error, 1 warning");
        assert_eq!(Report::new(Path::new("."), &[]).summary(), "no problems");
    }
}

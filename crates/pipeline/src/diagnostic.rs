//! What is wrong with a project, said so that it can be mended: where, what was expected, what is nearest.

use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It runs, but probably not as meant.
    Warning,
    /// It is refused.
    Error,
}

/// A place in a file; lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Span {
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
    /// Characters from there that are meant; at least 1.
    pub length: u32,
}

/// One problem of a project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// A stable kebab-case name of the kind of problem, such as `unknown-field`.
    pub code: &'static str,
    /// The file, relative to the project's root, with `/`.
    pub file: Option<String>,
    /// The place in it.
    pub span: Option<Span>,
    /// The field, as a path such as `policies[2].handler.module`.
    pub field: Option<String>,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// What would be right.
    pub expected: Option<String>,
    /// The nearest valid name.
    pub nearest: Option<String>,
}

impl Diagnostic {
    /// An error.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            file: None,
            span: None,
            field: None,
            message: message.into(),
            expected: None,
            nearest: None,
        }
    }

    /// A warning.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    /// Where: the file, relative to the project's root, and the place in it.
    #[must_use]
    pub fn at(mut self, file: impl Into<String>, span: Option<Span>) -> Self {
        self.file = Some(file.into());
        self.span = span;
        self
    }

    /// The field's path.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// What would be right.
    #[must_use]
    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    /// The nearest of `candidates` to `name`, if one is near.
    #[must_use]
    pub fn nearest<'a>(mut self, name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Self {
        self.nearest = nearest(name, candidates).map(str::to_owned);
        self
    }

    /// Whether it is an error.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// The candidate that `name` was probably meant to be: the most similar one, if it is similar enough.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(score, _)| *score >= 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_or_none() {
        let names = ["urlForwardHandler", "redirectHandler", "urlRewriteHandler"];
        assert_eq!(nearest("urlForwardHandlr", names), Some("urlForwardHandler"));
        assert_eq!(nearest("URLREWRITEHANDLER", names), Some("urlRewriteHandler"));
        assert_eq!(nearest("zzz", names), None);
    }
}

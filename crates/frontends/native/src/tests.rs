//! Golden tests: small projects, and what comes of them.

mod accepted;
mod refused;
mod schemas;
mod tls;

use std::fmt::Write as _;

use polygate_pipeline::{Diagnostic, Severity};

use crate::{LoadOptions, Loaded, load};

/// A project in a folder of its own.
pub(crate) fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

/// Loads a project; `variables` are the process's.
pub(crate) fn loaded(files: &[(&str, &str)], variables: &[(&str, &str)]) -> Loaded {
    let folder = project(files);
    let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    load(folder.path(), &LoadOptions { environment: environment.collect(), ..LoadOptions::default() })
}

/// The diagnostics as text, one a line: `file:line:column+length severity[code] field: message | expected | nearest`.
pub(crate) fn shown(diagnostics: &[Diagnostic]) -> String {
    let mut out = String::new();
    for d in diagnostics {
        out.push_str(d.file.as_deref().unwrap_or("-"));
        if let Some(span) = d.span {
            write!(out, ":{}:{}+{}", span.line, span.column, span.length).unwrap();
        }
        let severity = if d.severity == Severity::Error { "error" } else { "warning" };
        write!(out, " {severity}[{}]", d.code).unwrap();
        if let Some(field) = &d.field {
            write!(out, " {field}").unwrap();
        }
        write!(out, ": {}", d.message).unwrap();
        if let Some(expected) = &d.expected {
            write!(out, " | {expected}").unwrap();
        }
        if let Some(nearest) = &d.nearest {
            write!(out, " | {nearest}?").unwrap();
        }
        out.push('\n');
    }
    out
}

/// A route file with one path for each `(path, operation)`.
pub(crate) fn routes(paths: &[(&str, &str)]) -> String {
    let items: Vec<String> = paths.iter().map(|(path, item)| format!("{path:?}: {item}")).collect();
    format!("{{ \"openapi\": \"3.1.0\", \"paths\": {{\n{}\n}} }}", items.join(",\n"))
}

/// A `get` operation with that handler and those policies.
pub(crate) fn get(handler: &str, policies: &str) -> String {
    format!(
        "{{ \"get\": {{ \"x-polygate-route\": {{ \"handler\": {handler}, \"policies\": {policies} }} }} }}"
    )
}

/// A built-in handler with options.
pub(crate) fn built_in(export: &str, options: &str) -> String {
    format!(
        "{{ \"export\": {export:?}, \"module\": \"$import(@polygate/runtime)\", \"options\": {options} }}"
    )
}

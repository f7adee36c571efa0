//! `[access-log]` of `polygate.toml`.

use std::sync::Arc;

use polygate_pipeline::{Diagnostic, is_token};
use polygate_plan::{AccessFormat, AccessLogSettings, LineError, LineTemplate};

use crate::raw::settings::AccessLogFile;
use crate::settings::FILE;
use crate::source::Project;
use crate::tree::Node;

/// Checks the section, which stands at `node`.
pub(crate) fn load(raw: AccessLogFile, node: &Node, project: &mut Project<'_>) -> AccessLogSettings {
    let mut settings = AccessLogSettings {
        file: raw.file.map(|file| project.root.join(file)),
        sample: raw.sample.unwrap_or(1),
        ..AccessLogSettings::default()
    };
    let at = |name: &str| node.get(name).unwrap_or(node).span;
    let mut report = |problem: Diagnostic, name: &str| {
        project.report(problem.at(FILE, Some(at(name))).field(format!("access-log.{name}")));
    };
    settings.format = match raw.format.as_deref() {
        None => None,
        Some("json") => Some(AccessFormat::Json),
        Some("combined") => Some(AccessFormat::Line(LineTemplate::combined())),
        Some(text) => match LineTemplate::parse(text) {
            Ok(line) => Some(AccessFormat::Line(line)),
            Err(error) => {
                report(refusal(text, error), "format");
                None
            }
        },
    };
    let lines = matches!(settings.format, Some(AccessFormat::Line(_)));
    for (name, written, to) in [
        ("headers", raw.headers, &mut settings.headers),
        ("response-headers", raw.response_headers, &mut settings.response_headers),
    ] {
        if lines && !written.is_empty() {
            let problem = Diagnostic::error("misplaced-field", "only lines of the format json hold these");
            report(problem.expected("${request.NAME} or ${response.NAME} in the format"), name);
        }
        for header in written {
            if header.is_empty() || !header.bytes().all(is_token) {
                let problem = Diagnostic::error("bad-value", format!("{header:?} is no header's name"));
                report(problem.expected("a header's name such as user-agent"), name);
                continue;
            }
            to.push(Arc::from(header.to_ascii_lowercase()));
        }
    }
    settings
}

fn refusal(text: &str, error: LineError) -> Diagnostic {
    let problem = |message: String| Diagnostic::error("bad-template", message);
    match error {
        LineError::Unclosed => problem("a ${ has no }".to_owned()).expected("${name}"),
        LineError::Unknown(name, near) => problem(format!("there is no variable {name:?}"))
            .expected("a variable such as $status, or $$ for a dollar sign")
            .nearest(&name, near),
        LineError::Header(name) => {
            problem(format!("{name:?} is no header's name")).expected("${request.user-agent}")
        }
        LineError::Constant => {
            let names = ["json", "combined"];
            problem(format!("{text:?} is no format: every line would be the same"))
                .expected("json, combined, or a template such as \"$status $duration $path\"")
                .nearest(text, names)
        }
    }
}

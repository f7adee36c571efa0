//! Templates of forwarding handlers that only JavaScript can evaluate, as modules.
//!
//! A template is the text of a JavaScript template literal over a request's parts. It becomes a module whose default
//! export gives the text for a request, with only those variables made that the template names.

use polygate_pipeline::{Failure, Reason, Target, leads_out};
use serde::Deserialize;

/// A template policy's configuration, as the front end writes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Template {
    /// The text between the backticks.
    pub(crate) template: String,
    pub(crate) mode: Mode,
    #[serde(default = "yes")]
    pub(crate) forward_search: bool,
}

/// What a template's text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// A base, behind which the request's own path is put.
    Forward,
    /// The whole URL.
    Rewrite,
}

fn yes() -> bool {
    true
}

/// Variables of a template: name, and how it is made.
const VARIABLES: &[(&str, &str)] = &[
    ("params", "request.params"),
    // The first value of a name, as the templates have it that need no JavaScript.
    ("query", "Object.fromEntries([...parts.searchParams].reverse())"),
    ("headers", "request.headers"),
    ("method", "request.method"),
    ("url", "request.url"),
    ("origin", "parts.origin"),
    ("protocol", "parts.protocol"),
    ("host", "parts.host"),
    ("hostname", "parts.hostname"),
    ("port", "parts.port"),
    ("pathname", "parts.pathname"),
    ("search", "parts.search"),
    ("e", "encodeURIComponent"),
];

impl Template {
    /// The module that evaluates it: a default export of `(request, context, env)`.
    pub(crate) fn module(&self) -> String {
        let text = escape_backticks(&self.template);
        let used: Vec<_> = VARIABLES.iter().filter(|(name, _)| names(&text, name)).collect();
        let mut module = String::from("export default function template(request, context, env) {\n");
        if used.iter().any(|(_, made)| made.contains("parts.")) {
            module.push_str("  const parts = new URL(request.url);\n");
        }
        for (name, made) in used {
            module.push_str(&format!("  const {name} = {made};\n"));
        }
        module.push_str(&format!("  return `{text}`;\n}}\n"));
        module
    }

    /// The target for a request to `incoming`, from what the template gave.
    ///
    /// # Errors
    /// When it is no URL, or a parameter in it leads out of the path that the route was made for.
    pub(crate) fn target(&self, text: &str, incoming: &Target) -> Result<Target, Failure> {
        let refused = |error| {
            Failure::new(Reason::PolicyResult)
                .detail(format!("the template gave {text:?}, which is no URL: {error}"))
        };
        let base = Target::parse(text).map_err(refused)?;
        // Parameters are decoded. The data plane refuses the same of the templates that it renders itself.
        if leads_out(base.path()) {
            let detail = "a parameter leads out of the upstream's path";
            return Err(Failure::new(Reason::PathRefused).detail(detail));
        }
        let mut path = match self.mode {
            Mode::Forward => format!("{}{}", base.path().trim_end_matches('/'), incoming.path()),
            Mode::Rewrite => base.path().to_owned(),
        };
        path.push_str(base.search());
        if self.forward_search
            && let Some(query) = incoming.query()
            && !query.is_empty()
        {
            path.push(if base.query().is_some() { '&' } else { '?' });
            path.push_str(query);
        }
        Target::new(base.scheme(), base.authority(), &path).map_err(refused)
    }
}

/// Whether `text` has `name` as a word of its own.
fn names(text: &str, name: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        !before.is_some_and(|c| word(c) && c != '$') && !after.is_some_and(word)
    })
}

/// A backtick outside of `${...}` is a character of the URL, not the end of the literal.
fn escape_backticks(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut depth = 0u32;
    let mut previous = '\0';
    for c in text.chars() {
        match c {
            '{' if previous == '$' || depth > 0 => depth += 1,
            '}' if depth > 0 => depth -= 1,
            '`' if depth == 0 && previous != '\\' => escaped.push('\\'),
            _ => {}
        }
        escaped.push(c);
        previous = c;
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str, mode: Mode, forward_search: bool) -> Template {
        Template { template: text.to_owned(), mode, forward_search }
    }

    #[test]
    fn only_named_variables_are_made() {
        let module = template("${env.HOST}/${params.id.toUpperCase()}`x", Mode::Rewrite, true).module();
        assert!(module.contains("const params = request.params;"), "{module}");
        assert!(!module.contains("const query") && !module.contains("new URL"), "{module}");
        assert!(module.contains("\\`x"), "{module}");
        let module = template("https://a${pathname}", Mode::Rewrite, true).module();
        assert!(
            module.contains("const parts") && module.contains("const pathname = parts.pathname;"),
            "{module}"
        );
    }

    #[test]
    fn queries_are_joined_and_paths_appended() {
        let incoming = Target::parse("http://gate/in/x?b=2").unwrap();
        let of = |text: &str, mode, search| {
            template("", mode, search).target(text, &incoming).unwrap().to_string()
        };
        assert_eq!(of("https://up/base/", Mode::Forward, true), "https://up/base/in/x?b=2");
        assert_eq!(of("https://up", Mode::Forward, false), "https://up/in/x");
        assert_eq!(of("https://up/y?a=1", Mode::Rewrite, true), "https://up/y?a=1&b=2");
        assert_eq!(of("https://up/y?a=1", Mode::Rewrite, false), "https://up/y?a=1");
        assert!(template("", Mode::Rewrite, true).target("not a url", &incoming).is_err());
    }

    #[test]
    fn parameters_cannot_lead_out_of_a_path() {
        let incoming = Target::parse("http://gate/in/../x").unwrap();
        let of = |text: &str, mode| template("", mode, true).target(text, &incoming);
        for text in
            ["https://up/orders/../admin", "https://up/orders/%2E%2e", "https://up/a\\..", "https://up/."]
        {
            for mode in [Mode::Rewrite, Mode::Forward] {
                assert_eq!(of(text, mode).unwrap_err().reason(), Reason::PathRefused, "{text}");
            }
        }
        // What the client wrote where the route takes raw paths, and a query, lead nowhere.
        assert_eq!(of("https://up/base", Mode::Forward).unwrap().path(), "/base/in/../x");
        assert_eq!(of("https://up/x?next=/../y", Mode::Rewrite).unwrap().search(), "?next=/../y");
    }
}

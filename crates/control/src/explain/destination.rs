//! Where a request would go: templates rendered, secrets left out.

use polygate_pipeline::{Method, Target};
use polygate_plan::{Expression, Forward, ForwardTo, Params, Plan, Template, UpstreamTarget, Variables};

/// Variables whose names do not tell that they are secrets, and that are shorter than this, are not searched for in
/// what is shown: `true` or `localhost` stand everywhere.
const MIN_UNNAMED_SECRET: usize = 16;

/// Shorter ones are not searched for at all.
const MIN_SECRET: usize = 4;

/// Segments longer than this in a variable's URL are taken for tokens.
const MAX_PLAIN_SEGMENT: usize = 20;

/// Words in the names of variables that hold secrets.
const SECRET_NAMES: &[&str] = &["KEY", "TOKEN", "SECRET", "PASS", "CREDENTIAL", "AUTH", "SIGNATURE", "DSN"];

pub(super) struct Destination<'a> {
    plan: &'a Plan,
    method: &'a Method,
    target: &'a Target,
    params: &'a Params,
}

impl<'a> Destination<'a> {
    pub(super) fn new(plan: &'a Plan, method: &'a Method, target: &'a Target, params: &'a Params) -> Self {
        Self { plan, method, target, params }
    }

    /// The URL that a request is forwarded to.
    pub(super) fn of(&self, forward: &Forward) -> String {
        let search = if forward.search { self.target.search() } else { "" };
        match &forward.to {
            ForwardTo::Base(base) => {
                format!("{}{}{search}", self.render(base).trim_end_matches('/'), self.target.path())
            }
            ForwardTo::Url(url) => {
                let url = self.render(url);
                match (search.strip_prefix('?'), url.contains('?')) {
                    (Some(query), true) => format!("{url}&{query}"),
                    _ => format!("{url}{search}"),
                }
            }
            ForwardTo::Upstream(index) => {
                let upstreams = &self.plan.settings.upstreams;
                let upstream = &upstreams[*index];
                let targets = upstream.targets.iter().map(|UpstreamTarget { url, .. }| {
                    format!("{}://{}", url.scheme().as_str(), url.authority())
                });
                let shares = upstream
                    .split
                    .iter()
                    .map(|share| format!("{} of {:?}", share.weight, upstreams[share.upstream].name));
                let targets: Vec<String> = targets.chain(shares).collect();
                format!(
                    "upstream {:?} ({}) {}{search}",
                    upstream.name,
                    targets.join(", "),
                    self.target.path()
                )
            }
            ForwardTo::Exchange => {
                "the URL that a policy of this route sets (it needs JavaScript to be known)".to_owned()
            }
        }
    }

    pub(super) fn render(&self, template: &Template) -> String {
        let mut out = String::new();
        template.render(self, &mut out);
        self.without_secrets(out)
    }

    /// Variables can also have been put into a template when the project was loaded.
    fn without_secrets(&self, mut text: String) -> String {
        for (name, value) in self.plan.variables.iter() {
            let least = if is_secret_name(name) { MIN_SECRET } else { MIN_UNNAMED_SECRET };
            if value.len() >= least && !may_be_shown(name, value) && text.contains(value.as_str()) {
                text = text.replace(value.as_str(), &hidden(name));
            }
        }
        text
    }
}

impl Variables for Destination<'_> {
    fn write(&self, expression: &Expression, out: &mut String) -> bool {
        let target = self.target;
        let text = match expression {
            Expression::Env(name) => match self.plan.variables.get(name) {
                Some(value) if may_be_shown(name, value) => value.clone(),
                Some(_) => hidden(name),
                None => return false,
            },
            Expression::Param(name) => match self.params.iter().find(|(known, _)| **known == **name) {
                Some((_, value)) => value.clone(),
                None => return false,
            },
            Expression::Query(name) => match query_value(target.query().unwrap_or(""), name) {
                Some(value) => value,
                None => return false,
            },
            // Only a real request has headers.
            Expression::Header(name) => format!("<header {name}>"),
            Expression::Url => target.to_string(),
            Expression::Origin => format!("{}://{}", target.scheme().as_str(), target.authority()),
            Expression::Protocol => format!("{}:", target.scheme().as_str()),
            Expression::Host => target.authority().to_owned(),
            Expression::Hostname => target.host().to_owned(),
            Expression::Port if target.port() == target.scheme().default_port() => String::new(),
            Expression::Port => target.port().to_string(),
            Expression::Pathname => target.path().to_owned(),
            Expression::Search => target.search().to_owned(),
            Expression::Method => self.method.to_string(),
            Expression::Encode(_) => return false,
        };
        out.push_str(&text);
        true
    }
}

fn hidden(name: &str) -> String {
    format!("<env {name}>")
}

/// Only what is plainly the address of a service is shown of variables.
fn may_be_shown(name: &str, value: &str) -> bool {
    let plain_url = Target::parse(value).is_ok_and(|url| {
        url.query().is_none() && url.path().split('/').all(|segment| segment.len() <= MAX_PLAIN_SEGMENT)
    });
    plain_url && !is_secret_name(name)
}

fn is_secret_name(name: &str) -> bool {
    let name = name.to_uppercase();
    SECRET_NAMES.iter().any(|word| name.contains(word))
}

fn query_value(query: &str, name: &str) -> Option<String> {
    url::form_urlencoded::parse(query.as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_and_secrets_are_not() {
        assert!(may_be_shown("BASE_URL", "http://127.0.0.1:9000/v1"));
        assert!(!may_be_shown("BASE_URL", "http://user:pw@127.0.0.1/"));
        assert!(!may_be_shown("BASE_URL", "http://hooks.example/T0/abcdefghijklmnopqrstuvwxyz"));
        assert!(!may_be_shown("BASE_URL", "http://a.example/?key=1"));
        assert!(!may_be_shown("API_TOKEN", "http://a.example/"));
        assert!(!may_be_shown("REGION", "eu-west-1"));
    }

    #[test]
    fn query_values_are_decoded() {
        assert_eq!(query_value("a=1&b=x%20y+z", "b"), Some("x y z".to_owned()));
        assert_eq!(query_value("a=1", "b"), None);
    }
}

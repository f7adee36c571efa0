//! The access log: one line for each exchange, how it looks, and where it goes.

use std::path::PathBuf;
use std::sync::Arc;

use polygate_pipeline::nearest;

/// Where the access log goes and how it looks.
#[derive(Debug, Clone, Default)]
pub struct AccessLogSettings {
    /// Which exchanges get a line.
    pub which: AccessLog,
    /// How a line looks; `None` means as all other lines do.
    pub format: Option<AccessFormat>,
    /// The file that gets the lines; `None` means standard output.
    pub file: Option<PathBuf>,
    /// Of how many exchanges that did not fail one gets a line; those that failed all do. 0 means 1. Default 1.
    pub sample: u32,
    /// Request headers that JSON lines hold, in lower case.
    pub headers: Vec<Arc<str>>,
    /// Response headers that JSON lines hold, in lower case.
    pub response_headers: Vec<Arc<str>>,
}

/// Whether exchanges are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AccessLog {
    /// Each one.
    #[default]
    All,
    /// Those that failed or were answered with 5xx.
    Errors,
    /// None.
    Off,
}

/// How a line of the access log looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessFormat {
    /// One JSON object.
    Json,
    /// A template; also what `combined` stands for.
    Line(LineTemplate),
}

/// A line with variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineTemplate(Vec<LinePiece>);

/// A piece of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinePiece {
    /// As it stands.
    Text(String),
    /// What a variable holds; `-` when it holds nothing.
    Variable(Variable),
}

/// What a line can tell of an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Variable {
    /// When the request's head was complete: RFC 3339, UTC, milliseconds.
    Time,
    /// The same as web servers write it: `02/Jan/2026:03:04:05 +0000`.
    TimeLocal,
    /// The request id.
    Id,
    /// The client's address.
    Client,
    /// Who the client is, as a policy found.
    User,
    /// The method.
    Method,
    /// The authority as received.
    Host,
    /// The path as received.
    Path,
    /// The query as received, without its `?`.
    Query,
    /// The version as received.
    Version,
    /// The route's label.
    Route,
    /// The status.
    Status,
    /// Why the exchange ended as it did.
    Reason,
    /// The policy that is to blame for a failure.
    Policy,
    /// What went wrong.
    Error,
    /// Seconds with microseconds: `0.003210`.
    Duration,
    /// Whole microseconds.
    DurationUs,
    /// Bytes of the request's body.
    Received,
    /// Bytes of the response's body.
    Sent,
    /// Where the request was forwarded to.
    Upstream,
    /// The worker's number.
    Worker,
    /// A request header, by its name in lower case.
    Request(Arc<str>),
    /// A response header, by its name in lower case.
    Response(Arc<str>),
}

/// Variables without an argument.
const VARIABLES: &[(&str, Variable)] = &[
    ("time", Variable::Time),
    ("time_local", Variable::TimeLocal),
    ("id", Variable::Id),
    ("client", Variable::Client),
    ("user", Variable::User),
    ("method", Variable::Method),
    ("host", Variable::Host),
    ("path", Variable::Path),
    ("query", Variable::Query),
    ("version", Variable::Version),
    ("route", Variable::Route),
    ("status", Variable::Status),
    ("reason", Variable::Reason),
    ("policy", Variable::Policy),
    ("error", Variable::Error),
    ("duration", Variable::Duration),
    ("duration_us", Variable::DurationUs),
    ("received", Variable::Received),
    ("sent", Variable::Sent),
    ("upstream", Variable::Upstream),
    ("worker", Variable::Worker),
];

/// What `combined` stands for: the line of Apache and nginx, but without the query, which may hold secrets.
const COMBINED: &str = "$client - $user [$time_local] \"$method $path $version\" $status $sent \
                        \"${request.referer}\" \"${request.user-agent}\"";

/// Why a template of a line is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineError {
    /// `${` without `}`.
    Unclosed,
    /// No variable has this name; the nearest one that has, if one is near.
    Unknown(String, Option<&'static str>),
    /// This is no header's name.
    Header(String),
    /// There is no variable in it: every line would be the same.
    Constant,
}

impl LineTemplate {
    /// The line of Apache and nginx.
    pub fn combined() -> Self {
        Self::parse(COMBINED).unwrap_or(Self(Vec::new()))
    }

    /// Parses `$name`, `${name}`, `${request.NAME}`, `${response.NAME}` and `$$` within text.
    ///
    /// # Errors
    /// See [`LineError`].
    pub fn parse(text: &str) -> Result<Self, LineError> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            plain.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                plain.push('$');
                rest = after;
                continue;
            }
            let name = match rest.strip_prefix('{') {
                Some(braced) => {
                    let end = braced.find('}').ok_or(LineError::Unclosed)?;
                    rest = &braced[end + 1..];
                    &braced[..end]
                }
                None => {
                    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
                    let end = rest.find(|c| !word(c)).unwrap_or(rest.len());
                    let (name, after) = rest.split_at(end);
                    rest = after;
                    name
                }
            };
            if !plain.is_empty() {
                pieces.push(LinePiece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(LinePiece::Variable(variable(name)?));
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(LinePiece::Text(plain));
        }
        if !pieces.iter().any(|piece| matches!(piece, LinePiece::Variable(_))) {
            return Err(LineError::Constant);
        }
        Ok(Self(pieces))
    }

    /// The pieces in order.
    pub fn pieces(&self) -> &[LinePiece] {
        &self.0
    }
}

fn variable(name: &str) -> Result<Variable, LineError> {
    for (prefix, make) in
        [("request.", Variable::Request as fn(Arc<str>) -> Variable), ("response.", Variable::Response)]
    {
        if let Some(header) = name.strip_prefix(prefix) {
            if header.is_empty() || !header.bytes().all(polygate_pipeline::is_token) {
                return Err(LineError::Header(header.to_owned()));
            }
            return Ok(make(Arc::from(header.to_ascii_lowercase())));
        }
    }
    let found = VARIABLES.iter().find(|(known, _)| *known == name);
    let unknown = || {
        let names = VARIABLES.iter().map(|(known, _)| *known);
        LineError::Unknown(name.to_owned(), nearest(name, names))
    };
    found.map(|(_, variable)| variable.clone()).ok_or_else(unknown)
}

impl AccessLogSettings {
    /// Names of the request headers that lines need, and of the response headers.
    pub fn needed_headers(&self) -> (Vec<&str>, Vec<&str>) {
        match &self.format {
            Some(AccessFormat::Line(line)) => {
                let of = |pick: fn(&Variable) -> Option<&Arc<str>>| {
                    line.pieces().iter().filter_map(move |piece| match piece {
                        LinePiece::Variable(variable) => pick(variable).map(|name| &**name),
                        LinePiece::Text(_) => None,
                    })
                };
                let request = of(|variable| match variable {
                    Variable::Request(name) => Some(name),
                    _ => None,
                });
                let response = of(|variable| match variable {
                    Variable::Response(name) => Some(name),
                    _ => None,
                });
                (request.collect(), response.collect())
            }
            _ => (
                self.headers.iter().map(|name| &**name).collect(),
                self.response_headers.iter().map(|name| &**name).collect(),
            ),
        }
    }

    /// Whether lines hold the variable.
    pub fn needs(&self, wanted: &Variable) -> bool {
        let Some(AccessFormat::Line(line)) = &self.format else { return false };
        line.pieces().iter().any(|piece| matches!(piece, LinePiece::Variable(variable) if variable == wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_parsed() {
        let parsed = LineTemplate::parse("$status cost$$ ${duration_us}us ${request.User-Agent}").unwrap();
        let text = |text: &str| LinePiece::Text(text.to_owned());
        assert_eq!(
            parsed.pieces(),
            [
                LinePiece::Variable(Variable::Status),
                text(" cost$ "),
                LinePiece::Variable(Variable::DurationUs),
                text("us "),
                LinePiece::Variable(Variable::Request(Arc::from("user-agent"))),
            ]
        );
        assert_eq!(LineTemplate::combined().pieces().len(), 20);
        assert_eq!(LineTemplate::parse("${status"), Err(LineError::Unclosed));
        assert_eq!(LineTemplate::parse("$staus"), Err(LineError::Unknown("staus".into(), Some("status"))));
        assert_eq!(LineTemplate::parse("$ x"), Err(LineError::Unknown(String::new(), None)));
        assert_eq!(LineTemplate::parse("${request.a b}"), Err(LineError::Header("a b".into())));
        assert_eq!(LineTemplate::parse("the same"), Err(LineError::Constant));
    }
}

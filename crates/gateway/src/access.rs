//! Which exchanges get a line in the access log, and what of their messages the lines hold beyond the record. Headers
//! and queries are copied only when the configured lines hold them.

use std::cell::Cell;
use std::sync::Arc;

use polygate_pipeline::{Exchange, Headers, Request, is_secret};
use polygate_plan::{AccessLog, AccessLogSettings, Variable};

/// Bytes of one header or query that are kept.
const MAX_VALUE: usize = 2 << 10;

/// What stands in the place of a secret.
const REDACTED: &str = "(redacted)";

/// Parts of an exchange's messages, for its line in the access log.
#[derive(Debug, Clone, Default)]
pub struct Captured {
    /// The query as received.
    pub query: Option<String>,
    /// Who the client is, as a policy found.
    pub user: Option<String>,
    /// Request headers that were there, with their names in lower case.
    pub request: Vec<(Arc<str>, String)>,
    /// Response headers that were there, with their names in lower case.
    pub response: Vec<(Arc<str>, String)>,
}

/// The access log of one deployment on one worker.
pub(crate) struct Access {
    which: AccessLog,
    sample: u32,
    turn: Cell<u32>,
    /// `None` when lines hold nothing beyond the record.
    capture: Option<Capture>,
}

struct Capture {
    query: bool,
    user: bool,
    request: Vec<Arc<str>>,
    response: Vec<Arc<str>>,
}

impl Access {
    pub(crate) fn new(settings: &AccessLogSettings) -> Self {
        // Copies of this worker's own: counting references to shared ones would be a cache line shared by workers.
        let own = |names: Vec<&str>| names.into_iter().map(Arc::from).collect::<Vec<Arc<str>>>();
        let (request, response) = settings.needed_headers();
        let capture = Capture {
            query: settings.needs(&Variable::Query),
            user: settings.needs(&Variable::User),
            request: own(request),
            response: own(response),
        };
        let needed =
            capture.query || capture.user || !capture.request.is_empty() || !capture.response.is_empty();
        Self {
            which: settings.which,
            sample: settings.sample.max(1),
            turn: Cell::new(0),
            capture: (needed && settings.which != AccessLog::Off).then_some(capture),
        }
    }

    /// Whether an exchange that is over gets a line.
    pub(crate) fn takes(&self, failed: bool) -> bool {
        match self.which {
            AccessLog::Off => false,
            AccessLog::Errors => failed,
            AccessLog::All if failed || self.sample == 1 => true,
            AccessLog::All => {
                let turn = self.turn.get();
                self.turn.set(if turn + 1 >= self.sample { 0 } else { turn + 1 });
                turn == 0
            }
        }
    }

    /// What of a request lines hold.
    pub(crate) fn request(&self, request: &Request) -> Option<Box<Captured>> {
        let capture = self.capture.as_ref()?;
        Some(Box::new(Captured {
            query: request.target.query().filter(|_| capture.query).map(|query| text(query.as_bytes())),
            request: headers(&capture.request, &request.headers),
            ..Captured::default()
        }))
    }

    /// What of a response lines hold.
    pub(crate) fn response(&self, captured: &mut Captured, response: &Headers) {
        if let Some(capture) = &self.capture {
            captured.response = headers(&capture.response, response);
        }
    }

    /// What of an exchange that is over lines hold.
    pub(crate) fn end(&self, captured: &mut Captured, exchange: &Exchange) {
        if self.capture.as_ref().is_some_and(|capture| capture.user) {
            captured.user = exchange.identity().map(|identity| text(identity.subject.as_bytes()));
        }
    }
}

fn headers(names: &[Arc<str>], headers: &Headers) -> Vec<(Arc<str>, String)> {
    let mut found = Vec::new();
    for name in names {
        let mut values = headers.get_all(name);
        let Some(first) = values.next() else { continue };
        let value = if is_secret(name) {
            REDACTED.to_owned()
        } else {
            values.fold(text(first), |mut all, more| {
                if all.len() < MAX_VALUE {
                    all.push_str(", ");
                    all.push_str(&text(more));
                }
                all
            })
        };
        found.push((name.clone(), value));
    }
    found
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(&value[..value.len().min(MAX_VALUE)]).into_owned()
}

#[cfg(test)]
mod tests {
    use polygate_pipeline::{Method, Target};
    use polygate_plan::{AccessFormat, LineTemplate};

    use super::*;

    #[test]
    fn failures_are_always_taken_and_successes_are_sampled() {
        let access = Access::new(&AccessLogSettings { sample: 3, ..Default::default() });
        let taken: Vec<bool> = (0..6).map(|_| access.takes(false)).collect();
        assert_eq!(taken, [true, false, false, true, false, false]);
        assert!((0..6).all(|_| access.takes(true)));
        let errors = AccessLogSettings { which: AccessLog::Errors, ..Default::default() };
        assert_eq!([false, true].map(|failed| Access::new(&errors).takes(failed)), [false, true]);
    }

    #[test]
    fn only_what_lines_hold_is_copied_and_no_secret() {
        let mut request = Request::new(Method::GET, Target::parse("http://a/x?key=1").unwrap());
        for (name, value) in [("User-Agent", "curl"), ("Authorization", "Bearer x"), ("Accept", "*/*")] {
            request.headers.append(name, value.as_bytes()).unwrap();
        }
        assert!(Access::new(&AccessLogSettings::default()).request(&request).is_none());

        let names = ["user-agent", "authorization", "cookie"].map(Arc::from).to_vec();
        let access = Access::new(&AccessLogSettings { headers: names, ..Default::default() });
        let captured = access.request(&request).unwrap();
        let shown: Vec<_> = captured.request.iter().map(|(name, value)| (&**name, value.as_str())).collect();
        assert_eq!(shown, [("user-agent", "curl"), ("authorization", "(redacted)")]);
        assert_eq!(captured.query, None);

        let line = LineTemplate::parse("$query ${request.accept} ${response.x}").unwrap();
        let format = Some(AccessFormat::Line(line));
        let access = Access::new(&AccessLogSettings { format, ..Default::default() });
        let mut captured = access.request(&request).unwrap();
        assert_eq!((captured.query.as_deref(), &*captured.request[0].1), (Some("key=1"), "*/*"));
        let long = "y".repeat(MAX_VALUE + 1);
        access.response(&mut captured, &[("X", long.as_str())].into_iter().collect());
        assert_eq!(captured.response[0].1.len(), MAX_VALUE);
    }
}

//! `[upstreams.NAME]` and `[dns]` of `polygate.toml`.

use std::collections::BTreeMap;
use std::time::Duration;

use http::StatusCode;
use polygate_pipeline::{Diagnostic, Scheme, Target, is_token};
use polygate_plan as plan;
use polygate_plan::{Balance, HashKey, MAX_TARGETS, MAX_UPSTREAMS, MAX_WEIGHT, RetryOn, Share, StickyCookie};

use crate::raw::settings::Connection;
use crate::raw::upstreams as raw;
use crate::settings::{FILE, apply_connection, set};
use crate::source::Project;
use crate::tree::{Node, child};
use crate::{upstream_http2, upstream_tls};

/// What stands before the scheme of a target whose host names SRV records.
const SRV: &str = "srv+";

/// Reads all upstreams; what is wrong is reported.
pub(crate) fn load(
    project: &mut Project<'_>,
    file: BTreeMap<String, raw::Upstream>,
    node: Option<&Node>,
    defaults: &plan::Connection,
) -> Vec<plan::Upstream> {
    let Some(node) = node else { return Vec::new() };
    let names: Vec<String> = file.keys().cloned().collect();
    if names.len() > MAX_UPSTREAMS {
        let problem = Diagnostic::error("out-of-range", format!("there are {} upstreams", names.len()));
        let problem = problem.at(FILE, Some(node.span)).field("upstreams");
        project.report(problem.expected(format!("at most {MAX_UPSTREAMS}")));
        return Vec::new();
    }
    let splits: Vec<bool> = file.values().map(|upstream| upstream.split.is_some()).collect();
    let mut upstreams = Vec::with_capacity(names.len());
    for (name, raw) in file {
        let Some(node) = node.get(&name) else { continue };
        let mut reader =
            Reader { path: child("upstreams", &name), node, project, names: &names, splits: &splits };
        upstreams.push(reader.upstream(name, raw, defaults));
    }
    upstreams
}

/// `[dns]`.
pub(crate) fn dns(from: &raw::Dns) -> plan::Dns {
    let servers = from.servers.iter().map(|address| address.0).collect();
    let mut to = plan::Dns { servers, ..plan::Dns::default() };
    set(&mut to.min_ttl, from.min_ttl.map(|d| d.0));
    set(&mut to.max_ttl, from.max_ttl.map(|d| d.0));
    set(&mut to.timeout, from.timeout.map(|d| d.0));
    to.max_ttl = to.max_ttl.max(to.min_ttl);
    to.family = match from.family {
        Some(raw::Family::Ipv4) => plan::Family::Ipv4,
        Some(raw::Family::Ipv6) => plan::Family::Ipv6,
        Some(raw::Family::Both) | None => plan::Family::Both,
    };
    to
}

struct Reader<'a, 'p> {
    path: String,
    node: &'a Node,
    project: &'a mut Project<'p>,
    /// Names of all upstreams, in the order of their indices.
    names: &'a [String],
    /// Which of them are splits.
    splits: &'a [bool],
}

impl Reader<'_, '_> {
    fn upstream(&mut self, name: String, raw: raw::Upstream, defaults: &plan::Connection) -> plan::Upstream {
        self.check_places(&name, &raw);
        let mut connection = defaults.clone();
        let own = Connection {
            connect: raw.connect,
            response: raw.response,
            idle_body: raw.idle_body,
            keep_alive: raw.keep_alive,
            pool: raw.pool,
            protocol: raw.protocol,
            http2: raw.http2,
            ca_file: raw.ca_file.clone(),
            tls: None,
        };
        apply_connection(&mut connection, &own);
        upstream_http2::check(&connection.http2, (self.node, &self.path), self.project);
        let targets = self.targets(&raw);
        let tls = (raw.ca_file.as_ref(), raw.tls.as_ref());
        upstream_tls::apply(&mut connection.tls, tls, (self.node, &self.path), self.project);
        if raw.tls.is_some() && !targets.iter().any(|target| target.url.scheme() == Scheme::Https) {
            let problem = Diagnostic::error("misplaced-field", "tls has no effect without an https target");
            self.report(problem, "tls", "a target such as https://10.0.0.1:9443, or no tls");
        }
        let mut upstream = plan::Upstream {
            targets,
            split: self.split(&name, raw.split.as_ref()),
            balance: self.balance(&raw),
            connection,
            try_timeout: raw.r#try.map(|d| d.0),
            check: raw.check.as_ref().map(|check| self.check(check)),
            eject: raw.eject.as_ref().map(eject),
            mirror: raw.mirror.as_ref().and_then(|mirror| self.mirror(&name, mirror)),
            name,
            ..plan::Upstream::default()
        };
        if let Some(written) = &raw.retries {
            upstream.retries = retries(written);
        }
        set(&mut upstream.slow_start, raw.slow_start.map(|d| d.0));
        set(&mut upstream.panic_percent, raw.panic);
        let (to, from) = (&mut upstream.breaker, &raw.breaker);
        set(&mut to.connections, from.connections);
        set(&mut to.pending, from.pending);
        set(&mut to.requests, from.requests);
        set(&mut to.retries, from.retries);
        upstream
    }

    fn report(&mut self, problem: Diagnostic, field: &str, expected: &str) {
        let node = match field.split('.').try_fold(self.node, |node, name| node.get(name)) {
            Some(node) if !field.is_empty() => node,
            _ => self.node,
        };
        let path = if field.is_empty() { self.path.clone() } else { format!("{}.{field}", self.path) };
        self.project.report(problem.at(FILE, Some(node.span)).field(path).expected(expected.to_owned()));
    }

    /// Exactly one of `url`, `targets` and `split`, and it is not empty.
    fn check_places(&mut self, name: &str, raw: &raw::Upstream) {
        let places =
            [("url", raw.url.is_some()), ("targets", raw.targets.is_some()), ("split", raw.split.is_some())];
        let written: Vec<&str> = places.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect();
        let missing = || Diagnostic::error("missing-field", format!("the upstream {name:?} has no target"));
        match written[..] {
            [] => self.report(missing(), "", "url = \"http://host:port\", or targets"),
            [one] => {
                let empty = raw.targets.as_ref().is_some_and(Vec::is_empty);
                if empty {
                    self.report(missing(), "", "at least one URL in targets");
                } else if raw.split.as_ref().is_some_and(|split| split.values().all(|&weight| weight == 0)) {
                    self.report(missing(), one, "shares of other upstreams that are not all 0");
                }
            }
            [one, other, ..] => {
                let message = format!("both {one} and {other} stand here");
                self.report(Diagnostic::error("two-spellings", message), "", &format!("{one}, or {other}"));
            }
        }
    }

    fn targets(&mut self, raw: &raw::Upstream) -> Vec<plan::UpstreamTarget> {
        let weights: Vec<u32> = match &raw.targets {
            Some(targets) => targets
                .iter()
                .map(|target| match target {
                    raw::Target::Url(_) => 1,
                    raw::Target::Weighted(target) => target.weight.unwrap_or(1),
                })
                .collect(),
            None => vec![1],
        };
        let path = &self.path;
        let single = self.node.get("url").map(|node| (node, child(path, "url")));
        let several = self.node.get("targets").map(Node::elements).unwrap_or_default();
        if several.len() > MAX_TARGETS {
            let problem = Diagnostic::error("out-of-range", format!("there are {} targets", several.len()));
            self.report(problem, "targets", &format!("at most {MAX_TARGETS}"));
            return Vec::new();
        }
        let several = several.iter().enumerate().map(|(i, node)| match node.get("url") {
            Some(url) => (url, format!("{path}.targets[{i}].url")),
            None => (node, format!("{path}.targets[{i}]")),
        });
        let mut targets = Vec::new();
        for ((node, path), weight) in single.into_iter().chain(several).zip(weights) {
            let text = node.as_str().unwrap_or_default();
            let (srv, url) = match text.strip_prefix(SRV) {
                Some(url) => (true, url),
                None => (false, text),
            };
            match Target::parse(url) {
                Ok(url) => targets.push(plan::UpstreamTarget { url, weight, srv }),
                Err(error) => {
                    let problem = Diagnostic::error("bad-url", error.to_string());
                    let problem = problem.at(FILE, Some(node.span)).field(path);
                    self.project.report(problem.expected("a URL such as http://127.0.0.1:9000"));
                }
            }
        }
        targets
    }

    fn split(&mut self, name: &str, split: Option<&BTreeMap<String, u32>>) -> Vec<Share> {
        let mut shares = Vec::new();
        for (other, &weight) in split.into_iter().flatten() {
            let field = format!("split.{other}");
            if weight > MAX_WEIGHT {
                let problem = Diagnostic::error("out-of-range", format!("{weight} is out of range"));
                self.report(problem, &field, &format!("a number from 0 to {MAX_WEIGHT}"));
            }
            let Some(upstream) = self.other(name, other, &field) else { continue };
            if self.splits[upstream] {
                let problem = Diagnostic::error("bad-value", format!("{other:?} is a split itself"));
                self.report(problem, &field, "an upstream with targets");
            }
            shares.push(Share { upstream, weight });
        }
        shares
    }

    /// The index of another upstream.
    fn other(&mut self, name: &str, other: &str, field: &str) -> Option<usize> {
        let index = self.names.iter().position(|known| known == other && known != name);
        if index.is_none() {
            let names = self.names.iter().map(String::as_str).filter(|known| *known != name);
            let problem =
                Diagnostic::error("unknown-upstream", format!("there is no other upstream {other:?}"))
                    .nearest(other, names);
            self.report(problem, field, "the name of another upstream");
        }
        index
    }

    fn balance(&mut self, raw: &raw::Upstream) -> Balance {
        let balance = raw.balance.unwrap_or(raw::Balance::RoundRobin);
        for (field, there, owner, name) in [
            ("hash", raw.hash.is_some(), raw::Balance::ConsistentHash, "consistent-hash"),
            ("cookie", raw.cookie.is_some(), raw::Balance::StickyCookie, "sticky-cookie"),
        ] {
            if there && balance != owner {
                let message = format!("{field} has no effect with another balance than {name:?}");
                self.report(
                    Diagnostic::error("misplaced-field", message),
                    field,
                    &format!("balance = {name:?}"),
                );
            }
        }
        match balance {
            raw::Balance::RoundRobin => Balance::RoundRobin,
            raw::Balance::LeastRequest => Balance::LeastRequest,
            raw::Balance::Random => Balance::Random,
            raw::Balance::ConsistentHash => Balance::ConsistentHash(self.hash(raw.hash.as_ref())),
            raw::Balance::StickyCookie => {
                Balance::StickyCookie(self.cookie(raw.cookie.as_ref().unwrap_or(&raw::Cookie::default())))
            }
        }
    }

    fn hash(&mut self, raw: Option<&raw::Hash>) -> HashKey {
        let Some(raw) = raw else { return HashKey::Client };
        match (&raw.header, &raw.cookie, raw.by) {
            (Some(name), None, None) => {
                self.need_token(name, "hash.header");
                HashKey::Header(name.clone())
            }
            (None, Some(name), None) => {
                self.need_token(name, "hash.cookie");
                HashKey::Cookie(name.clone())
            }
            (None, None, Some(raw::HashBy::Client) | None) => HashKey::Client,
            (None, None, Some(raw::HashBy::Path)) => HashKey::Path,
            _ => {
                let problem = Diagnostic::error("two-spellings", "more than one key stands here");
                self.report(problem, "hash", "header, cookie, or by");
                HashKey::Client
            }
        }
    }

    fn need_token(&mut self, name: &str, field: &str) {
        if name.is_empty() || !name.bytes().all(is_token) {
            let problem = Diagnostic::error("bad-value", format!("{name:?} is no such name"));
            self.report(problem, field, "letters, digits and hyphens");
        }
    }

    /// The attributes of RFC 6265 4.1.1, written once.
    fn cookie(&mut self, raw: &raw::Cookie) -> StickyCookie {
        let name = raw.name.clone().unwrap_or_else(|| "polygate-endpoint".to_owned());
        self.need_token(&name, "cookie.name");
        let path = raw.path.clone().unwrap_or_else(|| "/".to_owned());
        for (field, value) in [("cookie.path", Some(&path)), ("cookie.domain", raw.domain.as_ref())] {
            let bad = |b: u8| !(b' '..=b'~').contains(&b) || b == b';';
            if value.is_some_and(|value| value.bytes().any(bad)) {
                let problem = Diagnostic::error("bad-value", "this cannot stand in a cookie");
                self.report(problem, field, "visible characters other than ;");
            }
        }
        if raw.same_site == Some(raw::SameSite::None) && raw.secure != Some(true) {
            let problem = Diagnostic::error("bad-value", "browsers refuse this cookie");
            self.report(problem, "cookie.same-site", "secure = true beside it");
        }
        let mut attributes = format!("; Path={path}");
        if let Some(domain) = &raw.domain {
            attributes.push_str(&format!("; Domain={domain}"));
        }
        if let Some(age) = raw.max_age {
            attributes.push_str(&format!("; Max-Age={}", age.0.as_secs()));
        }
        if raw.secure == Some(true) {
            attributes.push_str("; Secure");
        }
        if raw.http_only != Some(false) {
            attributes.push_str("; HttpOnly");
        }
        attributes.push_str(match raw.same_site {
            Some(raw::SameSite::Strict) => "; SameSite=Strict",
            Some(raw::SameSite::None) => "; SameSite=None",
            _ => "; SameSite=Lax",
        });
        StickyCookie { name, attributes }
    }

    fn check(&mut self, raw: &raw::Check) -> plan::Check {
        let mut check = plan::Check::default();
        if let Some(path) = &raw.path {
            match Target::new(polygate_pipeline::Scheme::Http, "a", path) {
                Ok(_) => check.path = Some(path.clone()),
                Err(error) => self.report(
                    Diagnostic::error("bad-path", error.to_string()),
                    "check.path",
                    "a path such as /healthz",
                ),
            }
        }
        if let Some(host) = &raw.host {
            match Target::new(polygate_pipeline::Scheme::Http, host, "/") {
                Ok(_) => check.host = Some(host.clone()),
                Err(error) => self.report(
                    Diagnostic::error("bad-value", error.to_string()),
                    "check.host",
                    "a host, or a host and a port",
                ),
            }
        }
        set(&mut check.interval, raw.interval.map(|d| d.0));
        set(&mut check.timeout, raw.timeout.map(|d| d.0));
        for (field, value) in [("check.interval", check.interval), ("check.timeout", check.timeout)] {
            if value < Duration::from_millis(1) {
                let problem = Diagnostic::error("out-of-range", "this is too short");
                self.report(problem, field, "at least 1ms");
            }
        }
        if let Some(statuses) = &raw.statuses {
            check.statuses = statuses.iter().filter_map(|text| status_range(text)).collect();
            if check.statuses.len() < statuses.len() || statuses.is_empty() {
                let problem = Diagnostic::error("bad-value", "not all of this are statuses");
                self.report(problem, "check.statuses", "statuses such as \"204\" and \"200-299\"");
            }
        }
        set(&mut check.healthy, raw.healthy);
        set(&mut check.unhealthy, raw.unhealthy);
        check
    }

    fn mirror(&mut self, name: &str, raw: &raw::Mirror) -> Option<plan::Mirror> {
        let upstream = self.other(name, &raw.upstream, "mirror.upstream")?;
        Some(plan::Mirror {
            upstream,
            percent: raw.percent.unwrap_or(100),
            body: raw.body.map_or(polygate_pipeline::ByteSize::kib(64), |size| size.0),
            in_flight: raw.in_flight.unwrap_or(64),
        })
    }
}

fn retries(raw: &raw::Retries) -> plan::Retries {
    let mut to = plan::Retries { same_endpoint: true, ..plan::Retries::default() };
    set(&mut to.attempts, raw.attempts);
    set(&mut to.budget_percent, raw.budget_percent);
    set(&mut to.budget_reserve, raw.budget_reserve);
    set(&mut to.backoff, raw.backoff.map(|d| d.0));
    to.retry_after = raw.retry_after.map(|d| d.0);
    set(&mut to.body, raw.body.map(|size| size.0));
    if let Some(on) = &raw.on {
        to.on = on
            .iter()
            .map(|on| match on {
                raw::RetryOn::ConnectFailure => RetryOn::ConnectFailure,
                raw::RetryOn::Reset => RetryOn::Reset,
                raw::RetryOn::Timeout => RetryOn::Timeout,
                raw::RetryOn::TooManyRequests => RetryOn::Status(StatusCode::TOO_MANY_REQUESTS),
                raw::RetryOn::InternalServerError => RetryOn::Status(StatusCode::INTERNAL_SERVER_ERROR),
                raw::RetryOn::BadGateway => RetryOn::Status(StatusCode::BAD_GATEWAY),
                raw::RetryOn::ServiceUnavailable => RetryOn::Status(StatusCode::SERVICE_UNAVAILABLE),
                raw::RetryOn::GatewayTimeout => RetryOn::Status(StatusCode::GATEWAY_TIMEOUT),
            })
            .collect();
    }
    to
}

fn eject(raw: &raw::Eject) -> plan::Eject {
    let mut to = plan::Eject::default();
    set(&mut to.failures, raw.failures);
    set(&mut to.time, raw.time.map(|d| d.0));
    set(&mut to.max_time, raw.max_time.map(|d| d.0));
    set(&mut to.max_percent, raw.max_percent);
    to
}

/// `204` or `200-299`.
fn status_range(text: &str) -> Option<(u16, u16)> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let (low, high) = (low.trim().parse().ok()?, high.trim().parse().ok()?);
    (low <= high && (100..=599).contains(&low) && high <= 599).then_some((low, high))
}

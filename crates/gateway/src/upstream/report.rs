//! What there is to tell of named upstreams: for the admin API and metrics, read beside running workers.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use polygate_plan::{Balance, Settings};

use super::endpoint::Key;
use super::view::Watching;
use super::vitals::{EndpointVitals, Http2Vitals, UpstreamVitals};

/// One worker's list of its named upstreams. Its lock is taken when endpoints change, never by a request.
#[derive(Clone, Default)]
pub(crate) struct Roll {
    named: Arc<Mutex<HashMap<Arc<str>, Entry>>>,
    /// HTTP/2 towards targets that no named upstream has.
    http2: Arc<Http2Vitals>,
}

struct Entry {
    vitals: Arc<UpstreamVitals>,
    endpoints: HashMap<Key, Arc<EndpointVitals>>,
}

impl Roll {
    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Entry>> {
        // A panic while listing leaves a list behind that is listed anew.
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is counted of HTTP/2 towards targets that no named upstream has.
    pub(super) fn http2(&self) -> &Arc<Http2Vitals> {
        &self.http2
    }

    /// Lists an upstream with its endpoints.
    pub(super) fn list(
        &self,
        name: &Arc<str>,
        vitals: &Arc<UpstreamVitals>,
        endpoints: HashMap<Key, Arc<EndpointVitals>>,
    ) {
        self.lock().insert(name.clone(), Entry { vitals: vitals.clone(), endpoints });
    }

    /// Takes it off the list, if it is the one that stands there.
    pub(super) fn remove(&self, name: &Arc<str>, vitals: &Arc<UpstreamVitals>) {
        let mut list = self.lock();
        if list.get(name).is_some_and(|entry| Arc::ptr_eq(&entry.vitals, vitals)) {
            list.remove(name);
        }
    }
}

/// A named upstream, over all workers.
#[derive(Debug, Clone, Default)]
pub struct UpstreamReport {
    /// Its name.
    pub name: String,
    /// How one of the endpoints is chosen, in the words of configuration; `split` when others are.
    pub balance: &'static str,
    /// Names and weights of the upstreams it is split into.
    pub split: Vec<(String, u32)>,
    /// The name of the upstream that gets copies.
    pub mirror: Option<String>,
    /// Where requests go.
    pub endpoints: Vec<EndpointReport>,
    /// Whether its names were all asked for once.
    pub settled: bool,
    /// What is wrong with a name.
    pub problem: Option<Arc<str>>,
    /// Endpoints beyond the cap, which are not used.
    pub left_out: usize,
    /// Open connections.
    pub connections: u64,
    /// Requests that wait for a connection.
    pub pending: u64,
    /// Requests under way.
    pub running: u64,
    /// Retries under way.
    pub retrying: u64,
    /// Copies under way.
    pub mirroring: u64,
    /// Counts since the start, with their names.
    pub totals: Vec<(&'static str, u64)>,
    /// What is particular to HTTP/2.
    pub http2: Http2Report,
}

/// HTTP/2 towards a named upstream, or towards all targets that none has, over all workers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Http2Report {
    /// Open connections.
    pub connections: u64,
    /// Streams under way.
    pub streams: u64,
    /// Requests that wait for a stream.
    pub waiting: u64,
    /// Counts since the start, by [`Self::EVENTS`].
    pub totals: [u64; 5],
}

/// One endpoint of an upstream, over all workers.
#[derive(Debug, Clone)]
pub struct EndpointReport {
    /// The base URL.
    pub url: String,
    /// The address that is connected to.
    pub address: SocketAddr,
    /// Its share.
    pub weight: u32,
    /// What checks say; `None` without checks.
    pub healthy: Option<bool>,
    /// What the check that changed it found.
    pub why: Arc<str>,
    /// When checks changed it.
    pub since: Option<SystemTime>,
    /// Requests under way.
    pub running: u64,
    /// Requests so far.
    pub requests: u64,
    /// Failures so far.
    pub failures: u64,
    /// Workers that have ejected it now.
    pub ejected_by: usize,
    /// Until when the last one of them does.
    pub ejected_until: Option<SystemTime>,
}

impl Http2Report {
    /// What is counted: connections that were opened, to which the server said goodbye, and that were closed because it
    /// broke the protocol; requests that it refused, and those that got no stream.
    pub const EVENTS: [&'static str; 5] = ["opened", "goaway", "broken", "refused", "overloaded"];

    fn add(&mut self, vitals: &Http2Vitals) {
        self.connections += vitals.connections.get();
        self.streams += vitals.streams.get();
        self.waiting += vitals.waiting.get();
        let Http2Vitals { opened, goaways, broken, refused, overloaded, .. } = vitals;
        for (sum, count) in self.totals.iter_mut().zip([opened, goaways, broken, refused, overloaded]) {
            *sum += count.get();
        }
    }
}

impl UpstreamReport {
    fn add(&mut self, vitals: &UpstreamVitals) {
        self.connections += vitals.connections.get();
        self.pending += vitals.pending.get();
        self.running += vitals.running.get();
        self.retrying += vitals.retrying.get();
        self.mirroring += vitals.mirroring.get();
        self.http2.add(&vitals.http2);
        let totals = [
            ("requests", &vitals.requests),
            ("retries", &vitals.retries),
            ("retries_over_budget", &vitals.over_budget),
            ("overloaded", &vitals.overloaded),
            ("unhealthy", &vitals.unhealthy),
            ("panics", &vitals.panics),
            ("ejections", &vitals.ejections),
            ("mirrored", &vitals.mirrored),
            ("unmirrored", &vitals.unmirrored),
        ];
        if self.totals.is_empty() {
            self.totals = totals.iter().map(|(name, _)| (*name, 0)).collect();
        }
        for ((_, sum), (_, count)) in self.totals.iter_mut().zip(totals) {
            *sum += count.get();
        }
    }
}

impl EndpointReport {
    fn add(&mut self, vitals: &EndpointVitals) {
        self.running += vitals.running.get();
        self.requests += vitals.requests.get();
        self.failures += vitals.failures.get();
        let until = UNIX_EPOCH + Duration::from_millis(vitals.ejected_until.get());
        if until > SystemTime::now() {
            self.ejected_by += 1;
            self.ejected_until = self.ejected_until.max(Some(until));
        }
    }
}

/// HTTP/2 towards targets that no named upstream has.
pub(crate) fn plain_http2(rolls: &[&Roll]) -> Http2Report {
    let mut report = Http2Report::default();
    rolls.iter().for_each(|roll| report.add(roll.http2()));
    report
}

/// The upstreams of a deployment, in its order.
pub(crate) fn report(settings: &Settings, watching: &[Watching], rolls: &[&Roll]) -> Vec<UpstreamReport> {
    let name = |index: usize| settings.upstreams.get(index).map(|u| u.name.clone()).unwrap_or_default();
    let mut reports = Vec::with_capacity(settings.upstreams.len());
    for (upstream, watching) in settings.upstreams.iter().zip(watching) {
        let view = watching.borrow().clone();
        let mut report = UpstreamReport {
            name: upstream.name.clone(),
            balance: match upstream.balance {
                _ if !upstream.split.is_empty() => "split",
                Balance::RoundRobin => "round-robin",
                Balance::LeastRequest => "least-request",
                Balance::Random => "random",
                Balance::ConsistentHash(_) => "consistent-hash",
                Balance::StickyCookie(_) => "sticky-cookie",
            },
            split: upstream.split.iter().map(|share| (name(share.upstream), share.weight)).collect(),
            mirror: upstream.mirror.as_ref().map(|mirror| name(mirror.upstream)),
            settled: view.settled,
            problem: view.problem.clone(),
            left_out: view.left_out,
            ..UpstreamReport::default()
        };
        report.endpoints.extend(view.endpoints.iter().map(|found| EndpointReport {
            url: found.url.to_string(),
            address: found.address,
            weight: found.weight,
            healthy: found.checked.as_ref().map(|checked| checked.healthy),
            why: found.checked.as_ref().map_or_else(|| "".into(), |checked| checked.why.clone()),
            since: found.checked.as_ref().and_then(|checked| checked.since).map(|(_, time)| time),
            running: 0,
            requests: 0,
            failures: 0,
            ejected_by: 0,
            ejected_until: None,
        }));
        for roll in rolls {
            let list = roll.lock();
            let Some(entry) = list.get(&*upstream.name) else { continue };
            report.add(&entry.vitals);
            for (found, endpoint) in view.endpoints.iter().zip(&mut report.endpoints) {
                if let Some(vitals) = entry.endpoints.get(&(found.url.clone(), found.address)) {
                    endpoint.add(vitals);
                }
            }
        }
        reports.push(report);
    }
    reports
}

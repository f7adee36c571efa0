//! One endpoint of a named upstream on one worker.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use polygate_pipeline::{InvalidTarget, Target};
use polygate_plan::Connection;
use tokio::time::Instant;

use super::balance::{Seat, hash};
use super::health::Conduct;
use super::pool::Place;
use super::view::{Checked, Found};
use super::vitals::EndpointVitals;

/// An endpoint as one view has it. What outlives views is shared by reference.
pub(super) struct Endpoint {
    /// The base URL.
    pub(super) url: Target,
    pub(super) authority: Rc<str>,
    pub(super) address: SocketAddr,
    pub(super) weight: u32,
    pub(super) checked: Option<Checked>,
    pub(super) place: Rc<Place>,
    pub(super) state: Rc<State>,
    seed: u64,
    /// The base URL's path without its last slash.
    prefix: Box<str>,
}

/// What this worker knows of an endpoint, also across reloads.
#[derive(Default)]
pub(super) struct State {
    pub(super) conduct: Conduct,
    pub(super) vitals: Arc<EndpointVitals>,
}

/// What tells an endpoint from others.
pub(super) type Key = (Target, SocketAddr);

/// What is kept of an endpoint from one view or deployment to the next.
pub(super) struct Kept {
    pub(super) state: Rc<State>,
    pub(super) place: Rc<Place>,
    /// How the place's connections were made.
    pub(super) connection: Rc<Connection>,
}

impl Endpoint {
    pub(super) fn new(found: &Found, kept: &Kept) -> Self {
        let url = found.url.clone();
        Self {
            authority: url.authority().into(),
            address: found.address,
            weight: found.weight,
            checked: found.checked.clone(),
            place: kept.place.clone(),
            state: kept.state.clone(),
            seed: hash(format!("{url}|{}", found.address).as_bytes()),
            prefix: url.path().trim_end_matches('/').into(),
            url,
        }
    }

    /// Where a request for `incoming` goes, with its query or without.
    pub(super) fn join(&self, incoming: &Target, search: bool) -> Result<Target, InvalidTarget> {
        let (scheme, authority) = (self.url.scheme(), self.url.authority());
        if self.prefix.is_empty() && (search || incoming.search().is_empty()) {
            return Target::new(scheme, authority, incoming.path_and_query());
        }
        let search = if search { incoming.search() } else { "" };
        Target::new(scheme, authority, &[&self.prefix, incoming.path(), search].concat())
    }

    /// Whether checks and exchanges let it be used.
    pub(super) fn is_usable(&self, now: Instant) -> bool {
        self.checked.as_ref().is_none_or(|checked| checked.healthy) && !self.state.conduct.is_ejected(now)
    }

    /// When it recovered last.
    pub(super) fn recovered(&self, now: Instant) -> Option<Instant> {
        let checked =
            self.checked.as_ref().filter(|checked| checked.healthy).and_then(|checked| checked.since);
        let back = self.state.conduct.until().filter(|&until| until <= now);
        checked.map(|(since, _)| since).max(back)
    }
}

impl Seat for Rc<Endpoint> {
    fn load(&self) -> u32 {
        u32::try_from(self.state.vitals.running.get()).unwrap_or(u32::MAX)
    }

    fn seed(&self) -> u64 {
        self.seed
    }
}

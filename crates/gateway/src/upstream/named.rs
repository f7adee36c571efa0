//! A named upstream on one worker: its endpoints as the lookout sees them, the choice among them, its caps.

mod send;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use polygate_pipeline::{Blame, Failure, Reason, Request, Response};
use polygate_plan::{self as plan, Balance, Connection, HashKey, RetryOn, Settings};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::balance::{Chooser, Rule, Seat, hash};
use super::breaker::{Gate, Open};
use super::endpoint::{Endpoint, Kept, Key};
use super::health;
use super::pool::Place;
use super::report::Roll;
use super::retry::{Budget, cookie};
use super::stream::Connected;
use super::view::{View, Watching};
use super::vitals::UpstreamVitals;
use super::{Inner, Way};

/// What a worker keeps of its named upstreams from one deployment to the next.
pub(super) struct Registry {
    cores: RefCell<HashMap<String, Weak<Core>>>,
    roll: Roll,
}

/// What is kept of one named upstream for as long as some deployment has it.
struct Core {
    name: Arc<str>,
    vitals: Arc<UpstreamVitals>,
    gate: Rc<Gate>,
    budget: Budget,
    known: RefCell<HashMap<Key, Kept>>,
    roll: Roll,
}

/// A named upstream of one deployment.
pub(crate) struct Named {
    client: Rc<Inner>,
    spec: plan::Upstream,
    connection: Rc<Connection>,
    core: Rc<Core>,
    chooser: Chooser,
    members: RefCell<Members>,
    /// Whether some endpoint must not be used, or not fully: the choice looks closely then.
    impaired: Cell<bool>,
    /// Weights of one choice, kept for their memory.
    weights: RefCell<Vec<u32>>,
    changed: Notify,
    /// Whether a streaming body may have to be sent twice.
    keeps_bodies: bool,
    /// The parts of a split; others of the same deployment, which holds them.
    split: OnceCell<Vec<Weak<Named>>>,
    mirror: OnceCell<Weak<Named>>,
    follower: OnceCell<AbortHandle>,
}

/// The endpoints of one view.
#[derive(Default)]
struct Members {
    endpoints: Vec<Rc<Endpoint>>,
    /// Whether all weights are the same.
    even: bool,
    settled: bool,
    problem: Option<Arc<str>>,
}

/// A connection that may be used, or made.
pub(super) enum Admitted {
    /// One that fell idle.
    Kept(Box<Connected>),
    /// One of the place's HTTP/2 connections has room for a stream again.
    Shared,
    /// Room for a new one.
    New(Open),
}

impl Registry {
    pub(super) fn new(roll: Roll) -> Self {
        Self { cores: RefCell::default(), roll }
    }

    fn core(&self, name: &str) -> Rc<Core> {
        let mut cores = self.cores.borrow_mut();
        cores.retain(|_, core| core.strong_count() > 0);
        if let Some(core) = cores.get(name).and_then(Weak::upgrade) {
            return core;
        }
        let vitals = Arc::<UpstreamVitals>::default();
        let core = Rc::new(Core {
            name: name.into(),
            gate: Gate::new(vitals.clone()),
            vitals,
            budget: Budget::default(),
            known: RefCell::default(),
            roll: self.roll.clone(),
        });
        cores.insert(name.to_owned(), Rc::downgrade(&core));
        core
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.roll.remove(&self.name, &self.vitals);
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        if let Some(follower) = self.follower.get() {
            follower.abort();
        }
    }
}

impl Named {
    /// All named upstreams of the settings, in their order.
    pub(super) fn all(client: &Rc<Inner>, settings: &Settings, watching: &[Watching]) -> Vec<Rc<Self>> {
        let all: Vec<Rc<Self>> =
            settings.upstreams.iter().map(|upstream| Self::new(client.clone(), upstream)).collect();
        for (named, watching) in all.iter().zip(watching) {
            let other = |index: usize| all.get(index).map(Rc::downgrade).unwrap_or_default();
            // They were made just now: the cells are empty.
            let _ = named.split.set(named.spec.split.iter().map(|share| other(share.upstream)).collect());
            if let Some(mirror) = &named.spec.mirror {
                let _ = named.mirror.set(other(mirror.upstream));
            }
            named.apply(&watching.borrow());
            let follower = tokio::task::spawn_local(follow(Rc::downgrade(named), watching.clone()));
            let _ = named.follower.set(follower.abort_handle());
        }
        all
    }

    fn new(client: Rc<Inner>, spec: &plan::Upstream) -> Rc<Self> {
        let rule = match spec.balance {
            Balance::RoundRobin => Rule::RoundRobin,
            Balance::LeastRequest => Rule::LeastRequest,
            Balance::Random => Rule::Random,
            Balance::ConsistentHash(_) => Rule::Hash,
            Balance::StickyCookie(_) => Rule::Seed,
        };
        let core = client.named.core(&spec.name);
        let keeps_bodies = spec.retries.on.iter().any(|on| *on != RetryOn::ConnectFailure);
        Rc::new(Self {
            client,
            connection: Rc::new(spec.connection.clone()),
            core,
            chooser: Chooser::new(rule),
            members: RefCell::default(),
            impaired: Cell::default(),
            weights: RefCell::default(),
            changed: Notify::new(),
            keeps_bodies,
            split: OnceCell::new(),
            mirror: OnceCell::new(),
            follower: OnceCell::new(),
            spec: spec.clone(),
        })
    }

    /// What is counted of it on this worker.
    pub(super) fn vitals(&self) -> &UpstreamVitals {
        &self.core.vitals
    }

    /// Its settings for connections.
    pub(crate) fn connection(&self) -> &Rc<Connection> {
        &self.connection
    }

    /// Takes over a view. What is known of endpoints that stay is kept.
    fn apply(&self, view: &View) {
        let mut known = self.core.known.borrow_mut();
        let mut endpoints = Vec::with_capacity(view.endpoints.len());
        for found in &view.endpoints {
            let kept = known.entry((found.url.clone(), found.address)).or_insert_with(|| Kept {
                state: Rc::default(),
                place: self.client.pool.own_place(&found.url, &self.connection, &self.core.gate),
                connection: self.connection.clone(),
            });
            if kept.connection != self.connection {
                // Connections that were made otherwise are not used any more.
                kept.place = self.client.pool.own_place(&found.url, &self.connection, &self.core.gate);
                kept.connection = self.connection.clone();
            }
            endpoints.push(Rc::new(Endpoint::new(found, kept)));
        }
        let first = endpoints.first().map(|endpoint| endpoint.weight);
        let members = Members {
            even: endpoints.iter().all(|endpoint| Some(endpoint.weight) == first),
            settled: view.settled,
            problem: view.problem.clone(),
            endpoints,
        };
        let listed = members
            .endpoints
            .iter()
            .map(|endpoint| ((endpoint.url.clone(), endpoint.address), endpoint.state.vitals.clone()));
        self.core.roll.list(&self.core.name, &self.core.vitals, listed.collect());
        let before = self.members.replace(members);
        drop(before);
        // Those that no deployment has any more.
        known.retain(|_, kept| Rc::strong_count(&kept.state) > 1);
        drop(known);
        // The next choice finds out.
        self.impaired.set(true);
        self.changed.notify_waiters();
    }

    /// Waits for the first answer of the name service, when there is none yet.
    async fn ready(&self) -> Result<(), Failure> {
        let changed = {
            let members = self.members.borrow();
            if !members.endpoints.is_empty() {
                return Ok(());
            }
            if members.settled {
                return Err(self.unresolved(members.problem.as_deref()));
            }
            self.changed.notified()
        };
        // What is there after that time is what counts.
        let _ = timeout(self.connection.connect, changed).await;
        let members = self.members.borrow();
        match members.endpoints.is_empty() {
            true => Err(self.unresolved(members.problem.as_deref())),
            false => Ok(()),
        }
    }

    fn unresolved(&self, problem: Option<&str>) -> Failure {
        let problem = problem.unwrap_or("no answer yet");
        let detail = format!("no address for upstream {:?}: {problem}", self.core.name);
        Failure::new(Reason::UpstreamUnresolved).detail(detail).retryable()
    }

    /// The next endpoint; other than those whose seeds are in `tried` as long as there is one.
    fn choose(&self, key: Option<u64>, tried: &[u64]) -> Result<Rc<Endpoint>, Failure> {
        let members = self.members.borrow();
        let all = &members.endpoints;
        let chosen = if self.impaired.get() || !tried.is_empty() {
            self.choose_closely(all, key, tried)?
        } else if members.even {
            self.chooser.choose_even(all, key)
        } else {
            // In the scale of a closer choice: what endpoints have saved up goes on from one to the other.
            self.chooser.choose(all, |index| all[index].weight * health::WHOLE, key)
        };
        match chosen.and_then(|index| all.get(index)) {
            Some(endpoint) => Ok(endpoint.clone()),
            None => Err(self.unresolved(members.problem.as_deref())),
        }
    }

    /// The choice when not all are well, or not all come into question.
    fn choose_closely(
        &self,
        all: &[Rc<Endpoint>],
        key: Option<u64>,
        tried: &[u64],
    ) -> Result<Option<usize>, Failure> {
        let now = Instant::now();
        let mut weights = self.weights.borrow_mut();
        weights.clear();
        let mut usable = 0;
        let mut ramping = false;
        for endpoint in all {
            let mut weight = 0;
            if endpoint.is_usable(now) {
                let percent = match endpoint.recovered(now).filter(|_| !self.spec.slow_start.is_zero()) {
                    Some(since) => health::ramp(since, now, self.spec.slow_start),
                    None => health::WHOLE,
                };
                ramping |= percent < health::WHOLE;
                usable += 1;
                weight = endpoint.weight * percent;
            }
            weights.push(weight);
        }
        self.impaired.set(ramping || usable < all.len());
        if health::is_panic(usable, all.len(), self.spec.panic_percent) {
            self.core.vitals.panics.add(1);
            weights.clear();
            weights.extend(all.iter().map(|endpoint| endpoint.weight * health::WHOLE));
        } else if usable == 0 && !all.is_empty() {
            self.core.vitals.unhealthy.add(1);
            let detail = format!("none of {} endpoints of {:?} is usable", all.len(), self.core.name);
            return Err(Failure::new(Reason::UpstreamUnhealthy).detail(detail));
        }
        let is_new = |index: usize| !tried.contains(&all[index].seed());
        let others = (0..all.len()).any(|index| weights[index] > 0 && is_new(index));
        let weight = |index: usize| if others && !is_new(index) { 0 } else { weights[index] };
        Ok(self.chooser.choose(all, weight, key))
    }

    /// What the choice goes by, if by anything.
    pub(super) fn key(&self, request: &Request, client: IpAddr) -> Option<u64> {
        match &self.spec.balance {
            Balance::RoundRobin | Balance::LeastRequest | Balance::Random => None,
            Balance::ConsistentHash(HashKey::Header(name)) => request.headers.get(name).map(hash),
            Balance::ConsistentHash(HashKey::Cookie(name)) => cookie(&request.headers, name).map(hash),
            Balance::ConsistentHash(HashKey::Path) => Some(hash(request.target.path().as_bytes())),
            Balance::ConsistentHash(HashKey::Client) => Some(match client {
                IpAddr::V4(ip) => hash(&ip.octets()),
                IpAddr::V6(ip) => hash(&ip.octets()),
            }),
            Balance::StickyCookie(sticky) => {
                let value = std::str::from_utf8(cookie(&request.headers, &sticky.name)?).ok()?;
                u64::from_str_radix(value, 16).ok()
            }
        }
    }

    /// Room for a request, a connection that another one gave back, or room for a new connection. Waits within the
    /// caps. With `fresh`, a used connection is not taken; with `shares`, one of HTTP/2 is good too.
    pub(super) async fn admit(
        &self,
        place: &Rc<Place>,
        fresh: bool,
        shares: bool,
    ) -> Result<Admitted, Failure> {
        let (gate, breaker) = (&self.core.gate, &self.spec.breaker);
        let mut deadline = None;
        loop {
            if let Some(open) = gate.open(breaker.connections) {
                return Ok(Admitted::New(open));
            }
            // Unused connections to other endpoints make room.
            if self.members.borrow().endpoints.iter().any(|endpoint| endpoint.place.close_one()) {
                continue;
            }
            let waiting = gate.wait(breaker.pending).ok_or_else(|| {
                self.overloaded(format!("{} requests wait for a connection", breaker.pending))
            })?;
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + self.connection.connect);
            timeout_at(deadline, waiting).await.map_err(|_| {
                self.overloaded(format!("no connection was free within {:?}", self.connection.connect))
            })?;
            if shares && place.lines.has_room() {
                return Ok(Admitted::Shared);
            }
            if let Some(connected) = place.take(|_| !fresh) {
                return Ok(Admitted::Kept(Box::new(connected)));
            }
        }
    }

    /// That a cap did not allow a request, which is counted.
    pub(super) fn overloaded(&self, what: String) -> Failure {
        self.core.vitals.overloaded.add(1);
        Failure::new(Reason::UpstreamOverloaded).detail(format!("upstream {:?}: {what}", self.core.name))
    }

    /// Learns from what became of a request.
    fn note(&self, endpoint: &Endpoint, outcome: &Result<Response, Failure>) {
        match outcome {
            Ok(response) => self.judge(endpoint, response.status.is_server_error()),
            Err(failure) if failure.blame() == Blame::Upstream => self.judge(endpoint, true),
            // The client's fault, or ours: it says nothing of the endpoint.
            Err(_) => {}
        }
    }

    fn judge(&self, endpoint: &Endpoint, failed: bool) {
        let state = &endpoint.state;
        if !failed {
            state.conduct.success();
            return;
        }
        state.vitals.failures.add(1);
        let Some(eject) = &self.spec.eject else { return };
        let now = Instant::now();
        let may = || {
            let members = self.members.borrow();
            let all = &members.endpoints;
            let ejected = all.iter().filter(|endpoint| endpoint.state.conduct.is_ejected(now)).count();
            health::may_eject(ejected, all.len(), eject.max_percent)
        };
        if !state.conduct.failure(eject, now, may) {
            return;
        }
        self.impaired.set(true);
        self.core.vitals.ejections.add(1);
        let time = state.conduct.until().map_or_else(Default::default, |until| until - now);
        let until = (SystemTime::now() + time).duration_since(UNIX_EPOCH).unwrap_or_default();
        state.vitals.ejected_until.set(until.as_millis() as u64);
        tracing::warn!(
            upstream = &*self.core.name,
            endpoint = %endpoint.address,
            seconds = time.as_secs(),
            "an endpoint is ejected after failures in a row"
        );
    }
}

/// Takes over each view for as long as the upstream is there.
async fn follow(named: Weak<Named>, mut watching: Watching) {
    while watching.changed().await.is_ok() {
        let view = watching.borrow_and_update().clone();
        let Some(named) = named.upgrade() else { return };
        named.apply(&view);
    }
}

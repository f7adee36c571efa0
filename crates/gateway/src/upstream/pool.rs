//! Unused connections of a worker, by target.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use polygate_pipeline::{Scheme, Target};
use polygate_plan::{Connection, UpstreamTls};
use tokio::time::Instant;

use super::breaker::Gate;
use super::http2::Lines;
use super::stream::Connected;
use super::vitals::Http2Vitals;
use crate::wire::now;

/// Unused connections of all targets together; beyond, they are closed after use.
pub(super) const MAX_IDLE: usize = 4096;
/// One of so many unused connections is closed at a time when memory or descriptors run low.
const REAPED_OF: usize = 8;
/// How often unused connections are looked through.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// All places of a worker.
pub(super) struct Pool {
    /// By authority as written; the few places of one authority differ in scheme or encryption.
    places: RefCell<HashMap<Box<str>, Vec<Rc<Place>>>>,
    /// Those of named upstreams' endpoints, which hold them.
    own: RefCell<Vec<Weak<Place>>>,
    idle: Rc<Cell<usize>>,
    sweeping: Cell<bool>,
    /// HTTP/2 of those places that are no named upstream's.
    http2: Arc<Http2Vitals>,
}

/// Where connections to one target wait.
pub(super) struct Place {
    scheme: Scheme,
    tls: Arc<UpstreamTls>,
    /// Goes up when connections that were made before are not to be used again.
    generation: Cell<u32>,
    pub(super) port: u16,
    idle: RefCell<Vec<Idle>>,
    /// Connections of HTTP/2, idle or not.
    pub(super) lines: Lines,
    total: Rc<Cell<usize>>,
    /// The named upstream whose place it is, which is told of connections that fall idle.
    gate: Option<Rc<Gate>>,
}

struct Idle {
    connected: Connected,
    expires: Instant,
}

impl Pool {
    /// An empty pool, which counts the HTTP/2 of places that are no named upstream's there.
    pub(super) fn new(http2: Arc<Http2Vitals>) -> Rc<Self> {
        let (places, own, idle, sweeping) = Default::default();
        Rc::new(Self { places, own, idle, sweeping, http2 })
    }

    /// The target's place.
    pub(super) fn place(self: &Rc<Self>, target: &Target, connection: &Connection) -> Rc<Place> {
        let mut places = self.places.borrow_mut();
        let fits = |place: &&Rc<Place>| {
            place.scheme == target.scheme() && (place.scheme == Scheme::Http || place.tls == connection.tls)
        };
        if let Some(found) = places.get(target.authority()).and_then(|all| all.iter().find(fits)) {
            return found.clone();
        }
        let place = Rc::new(self.made(target, connection, None));
        places.entry(target.authority().into()).or_default().push(place.clone());
        drop(places);
        self.ensure_sweeper();
        place
    }

    /// A place of a named upstream's own.
    pub(super) fn own_place(
        self: &Rc<Self>,
        target: &Target,
        connection: &Connection,
        gate: &Rc<Gate>,
    ) -> Rc<Place> {
        let place = Rc::new(self.made(target, connection, Some(gate.clone())));
        self.own.borrow_mut().push(Rc::downgrade(&place));
        self.ensure_sweeper();
        place
    }

    fn made(&self, target: &Target, connection: &Connection, gate: Option<Rc<Gate>>) -> Place {
        Place {
            scheme: target.scheme(),
            tls: connection.tls.clone(),
            generation: Cell::default(),
            port: target.port(),
            idle: RefCell::default(),
            lines: Lines::new(gate.as_ref().map_or(&self.http2, |gate| gate.http2()).clone()),
            total: self.idle.clone(),
            gate,
        }
    }

    /// Closes unused connections that were encrypted by these settings, and keeps none that are in use now: what their
    /// files hold has changed.
    pub(super) fn retire(&self, renewed: &[Arc<UpstreamTls>]) {
        for place in self.all() {
            if place.scheme == Scheme::Https && renewed.contains(&place.tls) {
                place.generation.set(place.generation.get().wrapping_add(1));
                place.lines.retire();
                while place.close_one() {}
            }
        }
    }

    /// Closes a part of the unused connections of each target, those that have waited longest; gives how many.
    pub(super) fn reap(&self) -> u64 {
        self.all().iter().map(|place| place.reap()).sum()
    }

    fn all(&self) -> Vec<Rc<Place>> {
        let own: Vec<Rc<Place>> = self.own.borrow().iter().filter_map(Weak::upgrade).collect();
        self.places.borrow().values().flatten().cloned().chain(own).collect()
    }

    /// Starts looking through the pool now and then, until there is nothing left to look at.
    fn ensure_sweeper(self: &Rc<Self>) {
        if self.sweeping.replace(true) {
            return;
        }
        let pool = Rc::downgrade(self);
        tokio::task::spawn_local(sweeper(pool));
    }

    /// Closes what has expired or was closed by the other end. Says whether anything is left.
    fn sweep(&self) -> bool {
        let now = Instant::now();
        let mut places = self.places.borrow_mut();
        places.retain(|_, all| {
            all.retain(|place| place.sweep(now) || Rc::strong_count(place) > 1);
            !all.is_empty()
        });
        let mut own = self.own.borrow_mut();
        own.retain(|place| place.upgrade().inspect(|place| _ = place.sweep(now)).is_some());
        !places.is_empty() || !own.is_empty()
    }
}

async fn sweeper(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        let Some(pool) = pool.upgrade() else { return };
        if !pool.sweep() {
            pool.sweeping.set(false);
            return;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.total.set(self.total.get() - self.idle.get_mut().len());
    }
}

impl Place {
    /// Closes what has expired or was closed by the other end. Says whether anything is left.
    fn sweep(&self, now: Instant) -> bool {
        let mut idle = self.idle.borrow_mut();
        let gone: Vec<Idle> =
            idle.extract_if(.., |idle| idle.expires <= now || !idle.connected.is_quiet()).collect();
        let left = !idle.is_empty();
        drop(idle);
        self.total.set(self.total.get() - gone.len());
        let lines = self.lines.sweep(now);
        left || lines
    }

    fn reap(&self) -> u64 {
        let count = self.idle.borrow().len().div_ceil(REAPED_OF).max(1);
        (0..count).take_while(|_| self.close_one()).count() as u64
    }

    /// Closes the connection that has waited longest, or one of HTTP/2 without a stream. False when none waits.
    pub(super) fn close_one(&self) -> bool {
        let mut idle = self.idle.borrow_mut();
        if idle.is_empty() {
            drop(idle);
            return self.lines.close_one();
        }
        let closed = idle.remove(0);
        drop(idle);
        self.total.set(self.total.get() - 1);
        drop(closed);
        true
    }

    /// What connections that are made from now on are marked with.
    pub(super) fn generation(&self) -> u32 {
        self.generation.get()
    }

    /// The connection that was used last, if it is still good and `admits` its address.
    pub(super) fn take(&self, admits: impl Fn(IpAddr) -> bool) -> Option<Connected> {
        let mut all = self.idle.borrow_mut();
        while let Some(mut idle) = all.pop() {
            self.total.set(self.total.get() - 1);
            if !admits(idle.connected.peer) {
                continue;
            }
            // The time is looked at only when it may matter: a dead connection mostly shows itself.
            if idle.connected.is_quiet() && idle.expires > now() {
                return Some(idle.connected);
            }
        }
        None
    }

    /// Keeps a connection for the next request, if there is room.
    pub(super) fn put(&self, mut connected: Connected, keep_alive: Duration, room: usize) {
        if connected.generation != self.generation.get() {
            return;
        }
        let mut all = self.idle.borrow_mut();
        if all.len() < room && self.total.get() < MAX_IDLE && !keep_alive.is_zero() {
            connected.buffer.release();
            self.total.set(self.total.get() + 1);
            all.push(Idle { connected, expires: now() + keep_alive });
            drop(all);
            if let Some(gate) = &self.gate {
                gate.call();
            }
        }
    }

    /// A stream of a connection has ended: who waits for one, or for a connection, may try.
    pub(super) fn freed(&self) {
        self.lines.freed();
        if let Some(gate) = &self.gate {
            gate.call();
        }
    }

    /// How many wait.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.idle.borrow().len()
    }
}

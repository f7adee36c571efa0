//! The lookout: one thread for all workers that asks for names when their time to live is over and checks endpoints.
//!
//! It publishes each change as a new [`View`]; workers follow. So neither name services nor endpoints are asked once
//! for each worker, no worker ever waits, and a deployment that keeps an upstream as it was keeps its views as well.

mod check;
mod tend;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use polygate_plan::{Check, Connection, Dns, Settings, Upstream, UpstreamTarget};
use tokio::sync::{mpsc, watch};

use super::view::{Addresses, Checked, Found, View, Watching, endpoints, literal};
use crate::tls::Clients;

/// Keeps the views of upstreams. Dropped, its thread ends.
#[derive(Default)]
pub(crate) struct Lookout(Arc<Mutex<Watched>>);

#[derive(Default)]
struct Watched {
    upstreams: HashMap<String, Entry>,
    /// To the thread, once there is one.
    orders: Option<mpsc::UnboundedSender<Order>>,
    /// What the thread makes TLS handshakes with.
    clients: Arc<Clients>,
}

struct Entry {
    what: Arc<What>,
    view: watch::Sender<Arc<View>>,
}

/// What there is to know and to do of one upstream. Equal ones share a view.
#[derive(PartialEq)]
struct What {
    name: String,
    targets: Vec<UpstreamTarget>,
    check: Option<Check>,
    connection: Connection,
    dns: Dns,
}

/// What the thread is told.
enum Order {
    /// To look after an upstream.
    Tend(Errand),
    /// To make new TLS handshakes with these.
    Equip(Arc<Clients>),
}

/// An upstream to look after, for as long as somebody follows its view.
struct Errand {
    what: Arc<What>,
    view: watch::Sender<Arc<View>>,
    watched: Weak<Mutex<Watched>>,
}

impl What {
    fn of(upstream: &Upstream, dns: &Dns) -> Self {
        Self {
            name: upstream.name.clone(),
            targets: upstream.targets.clone(),
            check: upstream.check.clone(),
            connection: upstream.connection.clone(),
            dns: dns.clone(),
        }
    }

    /// What is known before anybody was asked: addresses, and what an older view knows of the same targets.
    fn begin(&self, before: Option<&View>) -> View {
        let known: Vec<Addresses> = self.targets.iter().map(|target| self.known(target, before)).collect();
        let settled = known.iter().all(Option::is_some);
        let (mut endpoints, left_out) = endpoints(known.iter().flatten().flatten());
        for found in &mut endpoints {
            found.checked = self.check.as_ref().map(|_| {
                let same = before.and_then(|view| {
                    view.endpoints.iter().find(|old| (&old.url, old.address) == (&found.url, found.address))
                });
                same.and_then(|old| old.checked.clone()).unwrap_or_else(Checked::unknown)
            });
        }
        View { endpoints, settled, problem: None, left_out }
    }

    fn known(&self, target: &UpstreamTarget, before: Option<&View>) -> Addresses {
        literal(target).or_else(|| {
            let same = |found: &&Found| !target.srv && found.url == target.url;
            let old: Vec<Found> = before?.endpoints.iter().filter(same).cloned().collect();
            let weighted = old.into_iter().map(|found| Found { weight: target.weight, ..found });
            Some(weighted.collect::<Vec<_>>()).filter(|old| !old.is_empty())
        })
    }

    /// Whether there is anything to do: names, or checks.
    fn needs_looking_after(&self) -> bool {
        self.check.is_some() || self.targets.iter().any(|target| literal(target).is_none())
    }
}

impl Lookout {
    fn lock(&self) -> MutexGuard<'_, Watched> {
        lock(&self.0)
    }

    /// The views of a plan's upstreams, in the settings' order. One that is watched already is watched on.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(crate) fn watch(&self, settings: &Settings) -> io::Result<Vec<Watching>> {
        let mut watched = self.lock();
        let mut watching = Vec::with_capacity(settings.upstreams.len());
        for upstream in &settings.upstreams {
            let what = What::of(upstream, &settings.dns);
            let entry = watched.upstreams.get(&upstream.name);
            let before = match entry {
                Some(entry) if *entry.what == what => {
                    watching.push(entry.view.subscribe());
                    continue;
                }
                entry => entry.map(|entry| entry.view.borrow().clone()),
            };
            let (view, receiver) = watch::channel(Arc::new(what.begin(before.as_deref())));
            let what = Arc::new(what);
            if what.needs_looking_after() {
                let errand =
                    Errand { what: what.clone(), view: view.clone(), watched: Arc::downgrade(&self.0) };
                watched.order(Order::Tend(errand))?;
            }
            watched.upstreams.insert(upstream.name.clone(), Entry { what, view });
            watching.push(receiver);
        }
        Ok(watching)
    }

    /// Makes new TLS handshakes of checks with these.
    pub(crate) fn equip(&self, clients: &Arc<Clients>) {
        let mut watched = self.lock();
        watched.clients = clients.clone();
        if let Some(orders) = &watched.orders {
            // A thread that has ended gets them when the next one begins.
            let _ = orders.send(Order::Equip(clients.clone()));
        }
    }

    /// Forgets the upstreams that nobody follows any more. Called when a deployment has taken over from another.
    pub(crate) fn tidy(&self) {
        self.lock().upstreams.retain(|_, entry| entry.view.receiver_count() > 0);
    }
}

fn lock(watched: &Mutex<Watched>) -> MutexGuard<'_, Watched> {
    // A panic leaves views behind that are still true.
    watched.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watched {
    fn order(&mut self, order: Order) -> io::Result<()> {
        let order = match &self.orders {
            Some(orders) => match orders.send(order) {
                Ok(()) => return Ok(()),
                // The thread has ended, which it does only when it panicked.
                Err(mpsc::error::SendError(order)) => order,
            },
            None => order,
        };
        let (orders, receiver) = mpsc::unbounded_channel();
        let run = move || tend::run(receiver);
        std::thread::Builder::new().name("polygate-lookout".to_owned()).spawn(run)?;
        // The thread holds the receiver until it ends.
        let _ = orders.send(Order::Equip(self.clients.clone()));
        let _ = orders.send(order);
        self.orders = Some(orders);
        Ok(())
    }
}

//! The lookout's thread: names and checks of each upstream for as long as somebody follows its view.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use polygate_pipeline::Target;
use polygate_plan::{Settings, UpstreamTarget};
use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

use super::check::keep_checking;
use super::{Errand, Order, What, lock};
use crate::upstream::Client;
use crate::upstream::dns::Resolver;
use crate::upstream::view::{Addresses, Checked, Found, View, endpoints, found};

/// The wait after a failed question; it doubles up to the longest.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// Takes orders until nobody can give any.
pub(super) fn run(mut orders: mpsc::UnboundedReceiver<Order>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return tracing::error!(%error, "no event loop for names and checks"),
    };
    runtime.block_on(async {
        let client = Client::new(&Settings::default());
        while let Some(order) = orders.recv().await {
            match order {
                Order::Tend(errand) => drop(tokio::task::spawn_local(tend(errand, client.clone()))),
                Order::Equip(clients) => client.equip(&clients),
            }
        }
    });
    // Questions to the system's resolver must not hold up the end.
    runtime.shutdown_background();
}

/// One upstream that is looked after.
pub(super) struct Tended {
    pub(super) what: Arc<What>,
    errand: Errand,
    targets: RefCell<Vec<Known>>,
    /// What checks say; of endpoints that are there.
    checked: RefCell<HashMap<(Target, SocketAddr), Checked>>,
    changed: Notify,
}

/// What is known of one target.
struct Known {
    addresses: Addresses,
    problem: Option<String>,
}

async fn tend(errand: Errand, client: Rc<Client>) {
    let before = errand.view.borrow().clone();
    let what = errand.what.clone();
    let known =
        |target: &UpstreamTarget| Known { addresses: what.known(target, Some(&before)), problem: None };
    let checked = before
        .endpoints
        .iter()
        .filter_map(|found| Some(((found.url.clone(), found.address), found.checked.clone()?)));
    let tended = Rc::new(Tended {
        targets: RefCell::new(what.targets.iter().map(known).collect()),
        checked: RefCell::new(checked.collect()),
        changed: Notify::new(),
        what: what.clone(),
        errand,
    });
    // Aborted when this task ends.
    let mut tasks = JoinSet::new();
    let named: Vec<usize> =
        (0..what.targets.len()).filter(|&i| super::literal(&what.targets[i]).is_none()).collect();
    if !named.is_empty() {
        let resolver = Rc::new(Resolver::new(&what.dns));
        for index in named {
            tasks.spawn_local(keep_resolving(tended.clone(), resolver.clone(), index));
        }
    }
    if what.check.is_some() {
        tasks.spawn_local(check_all(tended.clone(), client));
    }
    loop {
        tended.errand.view.closed().await;
        let Some(watched) = tended.errand.watched.upgrade() else { return };
        let mut watched = lock(&watched);
        // Somebody may follow again by now.
        if tended.errand.view.receiver_count() == 0 {
            let own = |entry: &mut super::Entry| Arc::ptr_eq(&entry.what, &what);
            if watched.upstreams.get_mut(&what.name).is_some_and(own) {
                watched.upstreams.remove(&what.name);
            }
            return;
        }
    }
}

impl Tended {
    /// Whether the endpoint is thought to be healthy.
    pub(super) fn is_healthy(&self, url: &Target, address: SocketAddr) -> bool {
        let checked = self.checked.borrow();
        checked.get(&(url.clone(), address)).is_none_or(|checked| checked.healthy)
    }

    /// A check changed what is thought of an endpoint.
    pub(super) fn checked(&self, url: &Target, address: SocketAddr, checked: Checked) {
        self.checked.borrow_mut().insert((url.clone(), address), checked);
        self.publish();
    }

    /// A target's name was asked for. A failure keeps the old addresses.
    fn resolved(&self, index: usize, answer: Result<Vec<Found>, String>) {
        if let Some(known) = self.targets.borrow_mut().get_mut(index) {
            match answer {
                Ok(addresses) => *known = Known { addresses: Some(addresses), problem: None },
                Err(problem) => {
                    known.addresses.get_or_insert_default();
                    known.problem = Some(problem);
                }
            }
        }
        self.publish();
    }

    fn publish(&self) {
        let targets = self.targets.borrow();
        let (mut endpoints, left_out) = endpoints(targets.iter().flat_map(|t| &t.addresses).flatten());
        if self.what.check.is_some() {
            let mut checked = self.checked.borrow_mut();
            let mut kept = HashMap::with_capacity(endpoints.len());
            for found in &mut endpoints {
                let key = (found.url.clone(), found.address);
                let known = checked.remove(&key).unwrap_or_else(Checked::unknown);
                found.checked = Some(known.clone());
                kept.insert(key, known);
            }
            *checked = kept;
        }
        let view = View {
            endpoints,
            left_out,
            settled: targets.iter().all(|target| target.addresses.is_some()),
            problem: targets.iter().find_map(|target| target.problem.as_deref()).map(Into::into),
        };
        let changed = self.errand.view.send_if_modified(|current| {
            let changed = **current != view;
            if changed {
                *current = Arc::new(view);
            }
            changed
        });
        if changed {
            self.changed.notify_one();
        }
    }
}

/// Asks for a target's name, again and again as its time to live is over.
async fn keep_resolving(tended: Rc<Tended>, resolver: Rc<Resolver>, index: usize) {
    let (target, dns) = (&tended.what.targets[index], &tended.what.dns);
    let mut retry = FIRST_RETRY.min(dns.max_ttl);
    loop {
        let wait = match resolve(&resolver, target).await {
            Ok((addresses, ttl)) => {
                tended.resolved(index, Ok(addresses));
                retry = FIRST_RETRY.min(dns.max_ttl);
                ttl.clamp(dns.min_ttl, dns.max_ttl)
            }
            Err(problem) => {
                let problem = format!("{}: {problem}", target.url.host());
                tracing::warn!(upstream = &*tended.what.name, problem, "a name has no address");
                tended.resolved(index, Err(problem));
                let wait = retry;
                retry = (retry * 2).min(LONGEST_RETRY);
                wait
            }
        };
        sleep(wait.max(Duration::from_millis(1))).await;
    }
}

async fn resolve(resolver: &Resolver, target: &UpstreamTarget) -> Result<(Vec<Found>, Duration), String> {
    let host = target.url.host();
    if !target.srv {
        let answer = resolver.addresses(host).await?;
        return Ok((answer.found.into_iter().map(|ip| found(target, ip)).collect(), answer.ttl));
    }
    let answer = resolver.services(host).await?;
    let endpoint = |service: crate::upstream::dns::Service| {
        let authority = format!("{}:{}", service.host, service.port);
        let url = Target::new(target.url.scheme(), &authority, target.url.path_and_query());
        let url = url.map_err(|error| format!("{authority}: {error}"))?;
        let address = SocketAddr::new(service.address, service.port);
        let weight = target.weight.saturating_mul(service.weight).min(polygate_plan::MAX_WEIGHT);
        Ok(Found { url, address, weight, checked: None })
    };
    let found: Result<Vec<Found>, String> = answer.found.into_iter().map(endpoint).collect();
    Ok((found?, answer.ttl))
}

/// Checks each endpoint that there is.
async fn check_all(tended: Rc<Tended>, client: Rc<Client>) {
    let mut checks = JoinSet::new();
    let mut running: HashMap<(Target, SocketAddr), AbortHandle> = HashMap::new();
    loop {
        let view = tended.errand.view.borrow().clone();
        let here = |key: &(Target, SocketAddr)| {
            view.endpoints.iter().any(|found| (&found.url, found.address) == (&key.0, key.1))
        };
        running.retain(|key, check| {
            let stays = here(key);
            if !stays {
                check.abort();
            }
            stays
        });
        for found in &view.endpoints {
            running.entry((found.url.clone(), found.address)).or_insert_with(|| {
                checks.spawn_local(keep_checking(
                    tended.clone(),
                    client.clone(),
                    found.url.clone(),
                    found.address,
                ))
            });
        }
        drop(view);
        while checks.try_join_next().is_some() {}
        tended.changed.notified().await;
    }
}

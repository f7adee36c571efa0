//! What the lookout tells the workers of an upstream: its endpoints, and what checks say of them.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use polygate_pipeline::Target;
use polygate_plan::UpstreamTarget;
use tokio::sync::watch;
use tokio::time::Instant;

/// Endpoints of one upstream; further ones are left out.
pub(crate) const MAX_ENDPOINTS: usize = 1024;

/// Follows the views of one upstream.
pub(crate) type Watching = watch::Receiver<Arc<View>>;

/// An upstream as the lookout sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct View {
    /// Where requests may go.
    pub(crate) endpoints: Vec<Found>,
    /// Whether all names were asked for once.
    pub(crate) settled: bool,
    /// What went wrong with a name last time. Its old addresses are kept.
    pub(crate) problem: Option<Arc<str>>,
    /// Endpoints that were left out.
    pub(crate) left_out: usize,
}

/// An endpoint: an address of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// The base URL; its port is the address's.
    pub(crate) url: Target,
    /// Where to connect to.
    pub(crate) address: SocketAddr,
    /// Its share.
    pub(crate) weight: u32,
    /// What checks say; `None` without checks.
    pub(crate) checked: Option<Checked>,
}

/// What checks say of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checked {
    /// Whether it is thought to be healthy.
    pub(crate) healthy: bool,
    /// What the check that changed it found; empty before the first change.
    pub(crate) why: Arc<str>,
    /// When it changed.
    pub(crate) since: Option<(Instant, SystemTime)>,
}

impl Checked {
    /// Before the first check nothing bad is known.
    pub(crate) fn unknown() -> Self {
        Self { healthy: true, why: "".into(), since: None }
    }
}

/// What is known of a target: its addresses, when its host is one or its name was resolved.
pub(super) type Addresses = Option<Vec<Found>>;

/// The endpoint of a target whose host is an address.
pub(super) fn literal(target: &UpstreamTarget) -> Addresses {
    let ip: IpAddr = target.url.host().parse().ok().filter(|_| !target.srv)?;
    Some(vec![found(target, ip)])
}

/// An endpoint of a target at that address.
pub(super) fn found(target: &UpstreamTarget, ip: IpAddr) -> Found {
    let address = SocketAddr::new(ip, target.url.port());
    Found { url: target.url.clone(), address, weight: target.weight, checked: None }
}

/// All endpoints of an upstream, each once, as many as may be; and how many were left out.
pub(super) fn endpoints<'a>(all: impl Iterator<Item = &'a Found>) -> (Vec<Found>, usize) {
    let mut seen = HashSet::new();
    let mut endpoints = Vec::new();
    let mut left_out = 0;
    for found in all {
        if !seen.insert((&found.url, found.address)) {
            continue;
        }
        if endpoints.len() < MAX_ENDPOINTS {
            endpoints.push(found.clone());
        } else {
            left_out += 1;
        }
    }
    (endpoints, left_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> UpstreamTarget {
        UpstreamTarget::new(Target::parse(url).unwrap())
    }

    #[test]
    fn addresses_need_no_resolver() {
        let found = literal(&target("http://[::1]:81/base")).unwrap();
        assert_eq!(found[0].address, "[::1]:81".parse().unwrap());
        assert_eq!(literal(&target("https://name")), None);
    }

    #[test]
    fn endpoints_are_each_there_once_and_capped() {
        let target = target("http://a");
        let all: Vec<Found> = (0..MAX_ENDPOINTS as u32 + 5)
            .map(|n| super::found(&target, IpAddr::from((0x0a00_0000 + n).to_be_bytes())))
            .collect();
        let (kept, left_out) = endpoints(all.iter().chain(&all[..9]));
        assert_eq!((kept.len(), left_out), (MAX_ENDPOINTS, 5));
    }
}

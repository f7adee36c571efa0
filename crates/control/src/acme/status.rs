//! What there is to tell of the domains that certificates are obtained for.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// Shared by the thread that obtains certificates and the admin API.
#[derive(Default)]
pub(crate) struct Status(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    domains: Vec<DomainStatus>,
    obtained: u64,
    failed: u64,
}

/// One domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DomainStatus {
    /// Its name.
    pub(crate) name: String,
    /// Until when its certificate is valid; `None` while there is none.
    pub(crate) not_after: Option<SystemTime>,
    /// When the authority was asked last.
    pub(crate) last_try: Option<SystemTime>,
    /// What went wrong the last time; `None` when nothing did.
    pub(crate) last_error: Option<String>,
    /// Tries in a row that failed.
    pub(crate) failures: u32,
    /// When it is tried next.
    pub(crate) next_try: SystemTime,
}

impl Status {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        // What is told is replaced piece by piece, each of them whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is nothing to obtain.
    pub(super) fn clear(&self) {
        self.lock().domains.clear();
    }

    /// These are the domains now.
    pub(super) fn set(&self, domains: Vec<DomainStatus>) {
        self.lock().domains = domains;
    }

    /// One of them changed, and an order came to its end, if `outcome` says so.
    pub(super) fn update(&self, index: usize, domain: &DomainStatus, outcome: Option<bool>) {
        let mut counts = self.lock();
        match outcome {
            Some(true) => counts.obtained += 1,
            Some(false) => counts.failed += 1,
            None => {}
        }
        if let Some(known) = counts.domains.get_mut(index) {
            *known = domain.clone();
        }
    }

    /// The domains, in the settings' order.
    pub(crate) fn domains(&self) -> Vec<DomainStatus> {
        self.lock().domains.clone()
    }

    /// Orders since the start: those that ended in a certificate, and those that failed.
    pub(crate) fn orders(&self) -> (u64, u64) {
        let counts = self.lock();
        (counts.obtained, counts.failed)
    }
}

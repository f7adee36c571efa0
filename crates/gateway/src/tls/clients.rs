//! The keeper of what handshakes with upstreams are made with: reads the files that settings name, reads them again,
//! and keeps the old ones when the new are bad. It belongs to the gateway's owner, not to a worker.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use polygate_pipeline::Diagnostic;
use polygate_plan::{Settings, UpstreamTls};

use super::keeper::{CertificateStatus, Refreshed};
use super::upstream::Client;

/// What handshakes are made with, by settings; immutable, swapped in whole. Settings that name no file are not among
/// it: there is nothing about them that could be wrong, or change.
pub(crate) type Clients = HashMap<Arc<UpstreamTls>, Arc<Client>>;

/// Keeps them.
#[derive(Default)]
pub(crate) struct ClientsKeeper(Mutex<State>);

#[derive(Default)]
struct State {
    used: Arc<Clients>,
    refused: Option<(SystemTime, Vec<Diagnostic>)>,
    refreshed: u64,
    refusals: u64,
}

/// TLS towards upstreams.
#[derive(Debug, Clone, Default)]
pub struct UpstreamTlsStatus {
    /// The certificates that servers are shown.
    pub certificates: Vec<CertificateStatus>,
    /// When newer files were refused, and why; `None` when the files hold what is in use.
    pub refused: Option<(SystemTime, Vec<Diagnostic>)>,
    /// Times that new files were taken into use while running.
    pub refreshed: u64,
    /// Times that new files were refused.
    pub refusals: u64,
}

/// Reads the files that the settings name, to see what is wrong with them.
pub(crate) fn load_clients(settings: &Settings) -> (Option<Clients>, Vec<Diagnostic>) {
    load(settings, &Clients::new())
}

/// Reads the files that the settings name. What holds the same as in `before` is taken from there.
///
/// The second part holds all that is wrong; with an error among it there is no first part.
fn load(settings: &Settings, before: &Clients) -> (Option<Clients>, Vec<Diagnostic>) {
    let (mut clients, mut found) = (Clients::new(), Vec::new());
    for (_, tls) in settings.upstream_tls() {
        if tls.files().next().is_none() || clients.contains_key(tls) {
            continue;
        }
        let (loaded, problems) = Client::load(tls);
        found.extend(problems);
        if let Some(new) = loaded {
            let old = before.get(tls).filter(|old| old.is_same(&new)).cloned();
            clients.insert(tls.clone(), old.unwrap_or_else(|| Arc::new(new)));
        }
    }
    // Several settings may name the same bad file.
    found.dedup();
    (Some(clients).filter(|_| !found.iter().any(Diagnostic::is_error)), found)
}

impl ClientsKeeper {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing is left half changed by a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the files that the settings name, for use with [`adopt`](Self::adopt).
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn load(&self, settings: &Settings) -> Result<Arc<Clients>, Vec<Diagnostic>> {
        let before = self.lock().used.clone();
        let (clients, found) = load(settings, &before);
        clients.map(Arc::new).ok_or(found)
    }

    /// Takes into use what was loaded.
    pub(crate) fn adopt(&self, clients: &Arc<Clients>) {
        let mut state = self.lock();
        state.used = clients.clone();
        state.refused = None;
    }

    /// Reads the files that the settings name again. New ones are for the workers as well.
    pub(crate) fn refresh(&self, settings: &Settings) -> (Refreshed, Option<Arc<Clients>>) {
        let before = self.lock().used.clone();
        if before.is_empty() {
            return (Refreshed::Unchanged, None);
        }
        let (loaded, found) = load(settings, &before);
        let mut state = self.lock();
        let Some(clients) = loaded else {
            let again = state.refused.as_ref().is_some_and(|(_, known)| *known == found);
            state.refusals += u64::from(!again);
            state.refused = Some((SystemTime::now(), found.clone()));
            return (Refreshed::Refused { diagnostics: found, again }, None);
        };
        state.refused = None;
        let same = |(tls, client)| before.get(tls).is_some_and(|old| Arc::ptr_eq(old, client));
        if clients.iter().all(same) {
            return (Refreshed::Unchanged, None);
        }
        let clients = Arc::new(clients);
        state.used = clients.clone();
        state.refreshed += 1;
        (Refreshed::Changed, Some(clients))
    }

    pub(crate) fn status(&self) -> UpstreamTlsStatus {
        let state = self.lock();
        let mut certificates: Vec<CertificateStatus> =
            state.used.values().filter_map(|client| client.shown.clone()).collect();
        certificates.sort_by(|a, b| a.file.cmp(&b.file));
        certificates.dedup();
        UpstreamTlsStatus {
            certificates,
            refused: state.refused.clone(),
            refreshed: state.refreshed,
            refusals: state.refusals,
        }
    }
}

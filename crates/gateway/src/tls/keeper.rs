//! The keeper of our certificates: reads their files again, keeps the old ones when the new are bad, and knows which
//! are in use. It belongs to the gateway's owner, not to a worker.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use polygate_pipeline::Diagnostic;
use polygate_plan::Tls;

use super::acceptor::Acceptor;
use super::challenges::Challenges;

/// Keeps what handshakes are made with.
#[derive(Default)]
pub(crate) struct Keeper {
    state: Mutex<State>,
    challenges: Arc<Challenges>,
}

#[derive(Default)]
struct State {
    used: Option<(Tls, Arc<Acceptor>)>,
    refused: Option<(SystemTime, Vec<Diagnostic>)>,
    refreshed: u64,
    refusals: u64,
}

/// What came of reading the files of certificates again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refreshed {
    /// They hold what is in use already, or there are none.
    Unchanged,
    /// New handshakes use the new ones.
    Changed,
    /// The new ones are bad in this way: the old ones are used on. It was said before when `again`.
    Refused {
        /// What is wrong.
        diagnostics: Vec<Diagnostic>,
        /// Whether the last reading was refused for the same reasons.
        again: bool,
    },
}

/// The certificates of a gateway.
#[derive(Debug, Clone, Default)]
pub struct TlsStatus {
    /// Those in use, the default first.
    pub certificates: Vec<CertificateStatus>,
    /// When newer files were refused, and why; `None` when the files hold what is in use.
    pub refused: Option<(SystemTime, Vec<Diagnostic>)>,
    /// Times that new files were taken into use while running.
    pub refreshed: u64,
    /// Times that new files were refused.
    pub refusals: u64,
}

/// A certificate in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateStatus {
    /// Its file.
    pub file: PathBuf,
    /// Whether it was obtained by ACME.
    pub obtained: bool,
    /// Its names.
    pub names: Vec<String>,
    /// Who issued it (RFC 4514).
    pub issuer: String,
    /// Since when it is valid.
    pub not_before: SystemTime,
    /// Until when it is valid.
    pub not_after: SystemTime,
    /// The authority's word that is stapled to it, when there is a file for that.
    pub staple: Option<StapleStatus>,
}

/// What is stapled to a certificate (OCSP).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StapleStatus {
    /// Its file.
    pub file: PathBuf,
    /// Until when it is good; `None` when it cannot be used.
    pub until: Option<SystemTime>,
    /// Why it is not shown now.
    pub problem: Option<String>,
}

impl Keeper {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing is left half changed by a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the files that the settings name, for use with [`adopt`](Self::adopt).
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn load(&self, tls: Option<&Tls>) -> Result<Option<Arc<Acceptor>>, Vec<Diagnostic>> {
        let Some(tls) = tls else { return Ok(None) };
        let before = self.lock().used.as_ref().map(|(_, acceptor)| acceptor.clone());
        match Acceptor::load(tls, before.as_deref()) {
            (Some(acceptor), _) => Ok(Some(self.finish(tls, acceptor))),
            (None, found) => Err(found),
        }
    }

    fn finish(&self, tls: &Tls, acceptor: Acceptor) -> Arc<Acceptor> {
        Arc::new(if tls.acme.is_some() { acceptor.answering(&self.challenges) } else { acceptor })
    }

    /// The answers to challenges.
    pub(crate) fn challenges(&self) -> &Arc<Challenges> {
        &self.challenges
    }

    /// Takes into use what was loaded.
    pub(crate) fn adopt(&self, tls: Option<&Tls>, acceptor: Option<&Arc<Acceptor>>) {
        let mut state = self.lock();
        state.used = tls.cloned().zip(acceptor.cloned());
        state.refused = None;
    }

    /// Reads the files in use again. New ones are for the workers as well.
    pub(crate) fn refresh(&self) -> (Refreshed, Option<Arc<Acceptor>>) {
        let Some((tls, before)) = self.lock().used.clone() else { return (Refreshed::Unchanged, None) };
        let (loaded, found) = Acceptor::load(&tls, Some(&before));
        let mut state = self.lock();
        let Some(acceptor) = loaded else {
            let again = state.refused.as_ref().is_some_and(|(_, known)| *known == found);
            state.refusals += u64::from(!again);
            state.refused = Some((SystemTime::now(), found.clone()));
            return (Refreshed::Refused { diagnostics: found, again }, None);
        };
        state.refused = None;
        if acceptor.is_same(&before) {
            return (Refreshed::Unchanged, None);
        }
        // Those of a deployment are told with it.
        for warning in found.iter().filter(|problem| problem.code == "bad-staple") {
            tracing::warn!(file = warning.file.as_deref(), "{}", warning.message);
        }
        let acceptor = self.finish(&tls, acceptor);
        state.used = Some((tls, acceptor.clone()));
        state.refreshed += 1;
        (Refreshed::Changed, Some(acceptor))
    }

    pub(crate) fn status(&self) -> Option<TlsStatus> {
        let state = self.lock();
        let (_, acceptor) = state.used.as_ref()?;
        let now = SystemTime::now();
        let certificates = acceptor.certificates().iter().map(|certificate| CertificateStatus {
            file: certificate.file.clone(),
            obtained: certificate.obtained,
            names: certificate.names.texts(),
            issuer: certificate.issuer.clone(),
            not_before: certificate.not_before,
            not_after: certificate.not_after,
            staple: certificate.staple.as_ref().map(|staple| StapleStatus {
                file: staple.file.clone(),
                until: staple.shown.as_ref().ok().map(|shown| shown.term.until),
                problem: staple.problem(now).map(str::to_owned),
            }),
        });
        Some(TlsStatus {
            certificates: certificates.collect(),
            refused: state.refused.clone(),
            refreshed: state.refreshed,
            refusals: state.refusals,
        })
    }
}

//! Looks after the certificates of all domains, for as long as the settings stay as they are.

use std::convert::Infallible;
use std::error::Error as _;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, SystemTime};

use instant_acme::{Account, CertificateIdentifier};
use polygate_gateway::Challenges;
use polygate_plan::AcmeDomain;
use tokio::time::{sleep, timeout};

use super::Assignment;
use super::account::account;
use super::order::obtain;
use super::schedule::backoff;
use super::status::{DomainStatus, Status};
use super::storage::{Storage, kept};
use crate::state::Command;

/// The longest sleep: the system's clock may be set, or stand still with the machine.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// How long to wait for another process that speaks with the authority.
const WHILE_LOCKED: Duration = Duration::from_secs(15);

/// How often authorities are asked whether a certificate should be renewed at another time than planned.
const SUGGESTIONS_EVERY: Duration = Duration::from_secs(6 * 3600);

/// How long one order may take in all.
const ORDER_TIMEOUT: Duration = Duration::from_secs(300);

/// Longest error that is kept, in characters.
const MAX_ERROR: usize = 500;

/// Why there is no certificate.
#[derive(Debug)]
pub(super) struct Trouble {
    why: String,
    /// The authority could not be reached: it can be tried again soon.
    silent: bool,
    /// The authority does not know the account.
    unknown_account: bool,
}

/// The kind of problem of an account that is not there (RFC 8555 6.7).
const UNKNOWN_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

impl Trouble {
    /// Something here is wrong.
    pub(super) fn local(why: String) -> Self {
        Self { why, silent: false, unknown_account: false }
    }

    /// The authority refuses.
    pub(super) fn refused(why: String) -> Self {
        Self::local(why)
    }
}

impl From<instant_acme::Error> for Trouble {
    fn from(error: instant_acme::Error) -> Self {
        let silent = matches!(error, instant_acme::Error::Other(_));
        let unknown_account = match &error {
            instant_acme::Error::Api(problem) => problem.r#type.as_deref() == Some(UNKNOWN_ACCOUNT),
            _ => false,
        };
        let mut why = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            if !why.contains(&text) {
                why = format!("{why}: {text}");
            }
            source = cause.source();
        }
        Self { why, silent, unknown_account }
    }
}

/// Obtains and renews.
pub(super) struct Agent<'a> {
    assignment: &'a Assignment,
    challenges: &'a Arc<Challenges>,
    commands: &'a Sender<Command>,
    status: &'a Status,
    storage: Storage,
    account: Option<Account>,
    domains: Vec<DomainStatus>,
    /// When each domain's authority was asked for suggestions.
    asked: Vec<Option<SystemTime>>,
}

impl<'a> Agent<'a> {
    pub(super) fn new(
        assignment: &'a Assignment,
        challenges: &'a Arc<Challenges>,
        commands: &'a Sender<Command>,
        status: &'a Status,
    ) -> Self {
        let storage = Storage::new(&assignment.settings.folder);
        let domains: Vec<DomainStatus> = assignment.settings.domains.iter().map(begin).collect();
        status.set(domains.clone());
        let asked = vec![None; domains.len()];
        Self { assignment, challenges, commands, status, storage, account: None, domains, asked }
    }

    /// Works without end.
    pub(super) async fn run(mut self) -> Infallible {
        for domain in self.domains.iter().filter(|domain| domain.not_after.is_none()) {
            let message = "there is no certificate yet: it is obtained now";
            tracing::warn!(domain = domain.name, message);
        }
        loop {
            let next = (0..self.domains.len()).min_by_key(|&index| self.domains[index].next_try);
            let Some(next) = next else { return std::future::pending().await };
            let left = self.domains[next].next_try.duration_since(SystemTime::now());
            match left.ok().filter(|left| !left.is_zero()) {
                None => self.renew(next).await,
                Some(left) => {
                    sleep(left.min(LONGEST_SLEEP)).await;
                    self.ask_for_suggestions().await;
                }
            }
        }
    }

    fn domain(&self, index: usize) -> &'a AcmeDomain {
        &self.assignment.settings.domains[index]
    }

    /// Obtains a new certificate, unless another process does or has done so.
    async fn renew(&mut self, index: usize) {
        let lock = match self.storage.lock() {
            Ok(Some(lock)) => lock,
            Ok(None) => {
                self.domains[index].next_try = SystemTime::now() + WHILE_LOCKED;
                return self.status.update(index, &self.domains[index], None);
            }
            Err(error) => {
                let why = format!("{}: {error}", self.assignment.settings.folder.display());
                return self.failed(index, Trouble::local(why));
            }
        };
        if self.found(index) {
            return;
        }
        self.domains[index].last_try = Some(SystemTime::now());
        let outcome = timeout(ORDER_TIMEOUT, self.order(index)).await;
        drop(lock);
        match outcome {
            Ok(Ok(())) => {
                tracing::info!(domain = self.domains[index].name, "a certificate was obtained");
                self.take(index, Some(true));
                // The owner ends later than this thread.
                let _ = self.commands.send(Command::RefreshCertificates);
            }
            Ok(Err(trouble)) => self.failed(index, trouble),
            Err(_) => {
                let why = format!("no certificate within {} s", ORDER_TIMEOUT.as_secs());
                self.failed(index, Trouble::local(why));
            }
        }
    }

    /// Whether another process has renewed it meanwhile.
    fn found(&mut self, index: usize) -> bool {
        let before = self.domains[index].not_after;
        let now = kept(&self.domain(index).file).map(|kept| kept.validity.not_after);
        if now.is_none() || now <= before {
            return false;
        }
        self.take(index, None);
        // As above.
        let _ = self.commands.send(Command::RefreshCertificates);
        true
    }

    async fn order(&mut self, index: usize) -> Result<(), Trouble> {
        let domain = self.domain(index);
        let account = match &self.account {
            Some(account) => account,
            None => self.account.insert(account(self.assignment, &self.storage).await?),
        };
        let settings = &self.assignment.settings;
        let content = obtain(account, settings, &domain.name, self.challenges).await?;
        let written = self.storage.write(&domain.file, content.as_bytes());
        written.map_err(|error| Trouble::local(format!("{}: {error}", domain.file.display())))
    }

    /// Plans by the certificate that is there now.
    fn take(&mut self, index: usize, outcome: Option<bool>) {
        let last_try = self.domains[index].last_try;
        self.domains[index] = DomainStatus { last_try, ..begin(self.domain(index)) };
        self.asked[index] = None;
        if self.domains[index].next_try <= SystemTime::now() {
            // An authority whose certificates are over when they come must not be asked without end.
            self.domains[index].next_try = SystemTime::now() + backoff(1, false, fastrand::f64());
        }
        self.status.update(index, &self.domains[index], outcome);
    }

    fn failed(&mut self, index: usize, trouble: Trouble) {
        if trouble.unknown_account {
            // The next try makes a new one.
            self.account = None;
            self.storage.forget_account();
        }
        let domain = &mut self.domains[index];
        domain.failures = domain.failures.saturating_add(1);
        let wait = backoff(domain.failures, trouble.silent, fastrand::f64());
        domain.next_try = SystemTime::now() + wait;
        let why: String = trouble.why.chars().filter(|c| !c.is_control()).take(MAX_ERROR).collect();
        let (name, next) = (&*domain.name, wait.as_secs());
        tracing::error!(domain = name, why, next_try_s = next, "no certificate was obtained");
        domain.last_error = Some(why);
        self.status.update(index, &self.domains[index], Some(false));
    }

    /// Asks the authority when it wants certificates to be renewed (RFC 9773). One that does not say is not asked
    /// again soon.
    async fn ask_for_suggestions(&mut self) {
        for index in 0..self.domains.len() {
            let now = SystemTime::now();
            let since = self.asked[index].and_then(|asked| now.duration_since(asked).ok());
            if self.domains[index].failures > 0 || since.is_some_and(|since| since < SUGGESTIONS_EVERY) {
                continue;
            }
            self.asked[index] = Some(now);
            let Some(kept) = kept(&self.domain(index).file) else { continue };
            if !kept.validity.takes_suggestions() {
                continue;
            }
            let Ok(identifier) = CertificateIdentifier::try_from(&kept.leaf) else { continue };
            if self.account.is_none() && matches!(self.storage.account(), Ok(Some(_))) {
                self.account = account(self.assignment, &self.storage).await.ok();
            }
            let Some(account) = &self.account else { continue };
            let Ok((info, _)) = account.renewal_info(&identifier).await else { continue };
            let window = info.suggested_window;
            let lot = fastrand::f64();
            let next = kept.validity.suggested(window.start.into(), window.end.into(), lot);
            self.domains[index].next_try = next;
            self.status.update(index, &self.domains[index], None);
        }
    }
}

/// What is planned for a domain by the certificate that is kept.
fn begin(domain: &AcmeDomain) -> DomainStatus {
    let kept = kept(&domain.file).map(|kept| kept.validity);
    DomainStatus {
        name: domain.name.clone(),
        not_after: kept.map(|validity| validity.not_after),
        last_try: None,
        last_error: None,
        failures: 0,
        next_try: kept.map_or_else(SystemTime::now, |validity| validity.due(fastrand::f64())),
    }
}

//! What the gateway's owner knows: which deployment runs, which was refused last, and whether it is stopping.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use polygate_gateway::{Deployment, Gateway};
use polygate_pipeline::{Diagnostic, LogLevel, Role};
use polygate_plan::Plan;
use tokio::sync::{oneshot, watch};

use crate::acme;
use crate::journal::{Output, Voice};
use crate::level::Levels;
use crate::overload::Report;
use crate::telemetry::{Counts, Exports};
use crate::upgrade::STOPPING;

/// How a gateway is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// For whoever writes policies: watches, and shows each request.
    Dev,
    /// For production.
    Run,
}

impl Mode {
    /// The command's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Mode::Dev => "dev",
            Mode::Run => "run",
        }
    }
}

/// What the owner is told to do.
pub(crate) enum Command {
    /// Build the project again and deploy it.
    Reload(Cause, Option<oneshot::Sender<Reload>>),
    /// Read the files of certificates again.
    RefreshCertificates,
    /// Watching may miss changes.
    WatchFailed(String),
    /// Finish running exchanges, then end.
    Stop(&'static str),
    /// A new process serves on our sockets, of this id: finish running exchanges, then end.
    HandedOver(u32),
}

/// Why a reload was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Files changed; relative to the root.
    Files(Vec<PathBuf>),
    /// SIGHUP.
    Signal,
    /// The admin API.
    Admin,
}

/// What came of a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reload {
    /// The new deployment runs.
    Deployed(String, Duration),
    /// It is the one that runs already.
    Unchanged,
    /// The old deployment serves on.
    Refused(Vec<Diagnostic>),
}

/// The deployment that runs.
#[derive(Clone)]
pub(crate) struct Running {
    /// It, immutable.
    pub(crate) deployment: Arc<Deployment>,
    /// Since when.
    pub(crate) since: SystemTime,
    /// How long it took to load, compile, try and swap in.
    pub(crate) took: Duration,
}

/// A change that was refused.
#[derive(Debug, Clone)]
pub(crate) struct Refused {
    /// When.
    pub(crate) at: SystemTime,
    /// Why.
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// The deployments of a process.
#[derive(Clone, Default)]
pub(crate) struct Deployments {
    /// What runs.
    pub(crate) running: Option<Running>,
    /// What was refused last.
    pub(crate) refused: Option<Refused>,
    /// Whether what was refused is newer than what runs.
    pub(crate) stale: bool,
    /// Deployments that went live after the first one.
    pub(crate) reloaded: u64,
    /// Changes that were refused.
    pub(crate) refusals: u64,
}

impl Deployments {
    pub(crate) fn deployed(&mut self, deployment: Arc<Deployment>, took: Duration) {
        self.reloaded += u64::from(self.running.is_some());
        self.running = Some(Running { deployment, since: SystemTime::now(), took });
        self.stale = false;
    }

    pub(crate) fn refuse(&mut self, diagnostics: Vec<Diagnostic>) {
        self.refused = Some(Refused { at: SystemTime::now(), diagnostics });
        self.refusals += 1;
        self.stale = true;
    }
}

/// Shared by the owner, the admin API and the signals' task. None of its locks is taken by a worker.
pub(crate) struct State {
    pub(crate) version: &'static str,
    pub(crate) mode: Mode,
    pub(crate) project: String,
    pub(crate) root: PathBuf,
    pub(crate) started: Instant,
    pub(crate) commands: Sender<Command>,
    /// The program's file, as it was called when the process started: a new version stands there later.
    pub(crate) binary: Option<PathBuf>,
    /// The domains that certificates are obtained for.
    pub(crate) acme: Arc<acme::Status>,
    /// What became of spans.
    pub(crate) spans: Arc<Counts>,
    /// What became of exports of metrics.
    pub(crate) exports: Exports,
    /// Which log lines are written.
    pub(crate) levels: Arc<Levels>,
    gateway: Mutex<Option<Arc<Gateway>>>,
    deployments: Mutex<Deployments>,
    stopping: AtomicBool,
    /// Whether a new process has taken over.
    handed_over: AtomicBool,
    /// Whether a new process can take over.
    upgradable: AtomicBool,
    /// Whether one is about to.
    upgrading: AtomicBool,
    /// Connections to the upgrade socket that are being answered.
    answering: AtomicUsize,
    /// A handle to the admin API's socket.
    admin: Mutex<Option<TcpListener>>,
    /// True when the admin API is to accept no more.
    admin_left: watch::Sender<bool>,
    voice: Mutex<Option<Voice>>,
    /// Until the first look.
    overload: Mutex<Option<Report>>,
    /// The access log's file.
    access_file: Mutex<Option<Arc<Output>>>,
}

/// A new process is about to take over; over when dropped.
pub(crate) struct UnderWay<'a>(&'a AtomicBool);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// A connection to the upgrade socket that is being answered.
pub(crate) struct Answering<'a>(&'a AtomicUsize);

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl State {
    pub(crate) fn new(
        version: &'static str,
        mode: Mode,
        project: String,
        root: PathBuf,
        commands: Sender<Command>,
    ) -> Self {
        Self {
            version,
            mode,
            project,
            root,
            started: Instant::now(),
            commands,
            binary: std::env::current_exe().ok(),
            acme: Arc::default(),
            spans: Arc::default(),
            exports: Exports::default(),
            levels: Arc::new(Levels::new(match mode {
                Mode::Dev => LogLevel::Debug,
                Mode::Run => LogLevel::Info,
            })),
            gateway: Mutex::default(),
            deployments: Mutex::default(),
            stopping: AtomicBool::default(),
            handed_over: AtomicBool::default(),
            upgradable: AtomicBool::default(),
            upgrading: AtomicBool::default(),
            answering: AtomicUsize::default(),
            admin: Mutex::default(),
            admin_left: watch::Sender::default(),
            voice: Mutex::default(),
            overload: Mutex::default(),
            access_file: Mutex::default(),
        }
    }

    /// Counts a connection to the upgrade socket in, until the guard is dropped.
    pub(crate) fn answering(&self) -> Answering<'_> {
        self.answering.fetch_add(1, Ordering::AcqRel);
        Answering(&self.answering)
    }

    /// Whether a connection to the upgrade socket is being answered.
    pub(crate) fn is_answering(&self) -> bool {
        self.answering.load(Ordering::Acquire) > 0
    }

    /// Whom [`say`](Self::say) speaks through.
    pub(crate) fn set_voice(&self, voice: Voice) {
        *self.voice.lock().unwrap_or_else(PoisonError::into_inner) = Some(voice);
    }

    /// One line of the gateway about itself.
    pub(crate) fn say(&self, level: LogLevel, message: impl Into<String>) {
        let voice = self.voice.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(voice) = voice {
            voice.say(level, message);
        }
    }

    /// Notes how hard the process is pressed.
    pub(crate) fn set_overload(&self, report: Report) {
        *self.overload.lock().unwrap_or_else(PoisonError::into_inner) = Some(report);
    }

    /// How hard the process is pressed; `None` as long as nobody has looked.
    pub(crate) fn overload(&self) -> Option<Report> {
        self.overload.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes the access log's file.
    pub(crate) fn set_access_file(&self, file: Arc<Output>) {
        *self.access_file.lock().unwrap_or_else(PoisonError::into_inner) = Some(file);
    }

    /// Writes to the access log's file that failed; `None` when it has none.
    pub(crate) fn failed_writes(&self) -> Option<u64> {
        let file = self.access_file.lock().unwrap_or_else(PoisonError::into_inner);
        file.as_ref().map(|file| file.failed())
    }

    /// Opens log files anew, which may have been moved away.
    pub(crate) fn reopen_files(&self) {
        let file = self.access_file.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(Err(error)) = file.map(|file| file.reopen()) {
            self.say(
                LogLevel::Error,
                format!("the access log cannot be opened anew, the old one goes on: {error}"),
            );
        }
    }

    /// Notes the admin API's socket.
    pub(crate) fn set_admin(&self, socket: Option<TcpListener>) {
        *self.admin.lock().unwrap_or_else(PoisonError::into_inner) = socket;
    }

    /// Tells when the admin API is to accept no more.
    pub(crate) fn admin_left(&self) -> watch::Receiver<bool> {
        self.admin_left.subscribe()
    }

    /// The admin API accepts no more, and closes its connections after their requests.
    pub(crate) fn leave_admin(&self) {
        self.set_admin(None);
        self.admin_left.send_replace(true);
    }

    /// Handles to all listening sockets of the process, with what each is for.
    ///
    /// # Errors
    /// When there are no file descriptors left, or nothing serves.
    pub(crate) fn sockets(&self) -> std::io::Result<Vec<(&'static str, TcpListener)>> {
        let gateway = self.gateway().ok_or_else(|| std::io::Error::other("nothing serves"))?;
        let mut sockets = gateway.sockets()?;
        if let Some(admin) = &*self.admin.lock().unwrap_or_else(PoisonError::into_inner) {
            sockets.push(("admin", admin.try_clone()?));
        }
        Ok(sockets)
    }

    /// Says that new processes can take over.
    pub(crate) fn set_upgradable(&self) {
        self.upgradable.store(true, Ordering::Release);
    }

    pub(crate) fn is_upgradable(&self) -> bool {
        self.upgradable.load(Ordering::Acquire)
    }

    /// Begins an upgrade, one at a time.
    ///
    /// # Errors
    /// Why it cannot be now.
    pub(crate) fn begin_upgrade(&self) -> Result<UnderWay<'_>, &'static str> {
        if self.is_stopping() {
            return Err(STOPPING);
        }
        if self.upgrading.swap(true, Ordering::AcqRel) {
            return Err("another upgrade is under way");
        }
        Ok(UnderWay(&self.upgrading))
    }

    /// The gateway, once it has started and until it stops. No lock is held while it is used: a deployment that is
    /// being swapped in does not keep anybody from looking.
    pub(crate) fn gateway(&self) -> Option<Arc<Gateway>> {
        self.gateway.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says which gateway runs, or that none does any more; gives back the one that ran.
    pub(crate) fn set_gateway(&self, gateway: Option<Gateway>) -> Option<Arc<Gateway>> {
        let mut current = self.gateway.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut current, gateway.map(Arc::new))
    }

    /// The deployments as they are now.
    pub(crate) fn deployments(&self) -> Deployments {
        self.deployments.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut Deployments)) {
        change(&mut self.deployments.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The id of the deployment that runs.
    pub(crate) fn running_id(&self) -> Option<String> {
        let deployments = self.deployments.lock().unwrap_or_else(PoisonError::into_inner);
        deployments.running.as_ref().map(|running| running.deployment.id().to_owned())
    }

    /// Says that the process is stopping.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Says that a new process has taken over.
    pub(crate) fn hand_over(&self) {
        self.handed_over.store(true, Ordering::Release);
        self.stop();
    }

    pub(crate) fn is_handed_over(&self) -> bool {
        self.handed_over.load(Ordering::Acquire)
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

/// Resident memory of the process in bytes; `None` where it cannot be told.
pub(crate) fn resident_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// Policies of a plan, without the functions that are handlers.
pub(crate) fn policies(plan: &Plan) -> usize {
    plan.policies.iter().filter(|policy| policy.spec.roles.iter().any(|role| *role != Role::Handler)).count()
}

//! The owner of a running gateway: starts it, deploys what changes, stops it. `dev` and `run` are this.

mod banner;
mod error;
mod restart;
mod stop;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Instant;

use polygate_gateway::{Deployment, Gateway, GatewayOptions, Inherited, Refreshed, StartError, Tracing};
use polygate_pipeline::{Diagnostic, LogLevel};
use polygate_plan::{AccessFormat, LogFormat, LogSettings, Plan, Settings};
use serde_json::{Map, json};

pub use error::ServeError;

use self::stop::Why;

use crate::acme::Acme;
use crate::build::{Builder, Built, Overrides};
use crate::certificates::CertificateWatch;
use crate::clock::short;
use crate::http::bind;
use crate::journal::{AccessLines, Journal, Output, Voice};
use crate::paint::Paint;
use crate::report::Report;
use crate::source::Source;
use crate::state::{Cause, Command, Mode, Reload, State};
use crate::trace::Trace;
use crate::watch::{Notice, Watcher};

use crate::upgrade::Predecessor;
use crate::{admin, descriptors, echo, overload, packages, signals, systemd, telemetry, upgrade};

/// One of so many exchanges is X-rayed in `run` unless settings say otherwise.
const XRAY_SAMPLE: u32 = 100;

/// Changed files that a reload's line names.
const MAX_NAMED_FILES: usize = 3;

/// How a gateway is run.
pub struct ServeOptions {
    /// For development or for production.
    pub mode: Mode,
    /// The project.
    pub source: Source,
    /// What the command line says in place of its settings.
    pub overrides: Overrides,
    /// The worlds of this build.
    pub worlds: Vec<Arc<dyn polygate_pipeline::World>>,
    /// Whether lines for people are coloured.
    pub paint: Paint,
    /// The program's version.
    pub version: &'static str,
    /// Has the allocator give freed memory back to the system; called on a thread of its own when memory runs out.
    pub give_back: fn(),
}

/// Runs a gateway until it is told to stop.
///
/// # Errors
/// See [`ServeError`]; nothing is left running then.
pub fn serve(options: ServeOptions) -> Result<(), ServeError> {
    descriptors::raise();
    let (commands, inbox) = channel();
    let ServeOptions { mode, source, overrides, worlds, paint, version, give_back } = options;
    let state = State::new(version, mode, source.name(), source.root.clone(), commands.clone());
    let output = Arc::new(Output::stdout());
    let state = Arc::new(state);
    let inherited = Inherited::new(systemd::sockets());
    signals::start(state.clone(), output.clone()).map_err(ServeError::thread)?;
    overload::start(state.clone(), give_back).map_err(ServeError::thread)?;
    // Watching begins before reading, so that no change falls between the two.
    let watched = (mode == Mode::Dev).then(|| {
        Watcher::start(&source.root, move |notice| {
            let command = match notice {
                Notice::Changed(files) => Command::Reload(Cause::Files(files), None),
                Notice::Failed(error) => Command::WatchFailed(error),
            };
            let _ = commands.send(command);
        })
    });
    let format = if mode == Mode::Dev { LogFormat::Pretty } else { LogFormat::Json };
    Trace::start(format, paint, output.clone(), state.levels.clone());
    let mut owner = Owner {
        builder: match Builder::new(source.root.clone(), worlds, overrides) {
            builder if mode == Mode::Dev => builder.partial(),
            builder => builder,
        },
        voice: Voice::new(format, paint, output.clone()),
        state,
        inherited,
        output,
        paint,
        admin: None,
        journal: None,
        certificates: None,
        acme: None,
        exporter: None,
        metrics: None,
    };
    let _watcher = match watched {
        Some(Ok(watcher)) => Some(watcher),
        Some(Err(error)) => {
            owner.watch_failed(&error.to_string());
            None
        }
        None => None,
    };

    if mode == Mode::Dev && packages::are_missing(&source.root) {
        owner.install_packages(&source.root);
    }
    let started = Instant::now();
    let Built { deployment, diagnostics } = owner.builder.build();
    match deployment {
        Some(deployment) => owner.start(deployment, &diagnostics, started)?,
        None if mode == Mode::Run => {
            return Err(ServeError::Refused(diagnostics));
        }
        None => {
            owner.voice.report(&Report::new(&source.root, &diagnostics));
            owner.state.update(|deployments| deployments.refuse(diagnostics));
            let bound = owner.bind_admin(owner.builder.settings().listen.admin)?;
            owner.start_admin(bound)?;
            owner.voice.say(LogLevel::Warn, "nothing serves yet: mend the project, and it starts");
        }
    }
    owner.run(&inbox)
}

struct Owner {
    builder: Builder,
    voice: Voice,
    state: Arc<State>,
    output: Arc<Output>,
    paint: Paint,
    /// Listening sockets of systemd, or of the process that ran before, until they are taken.
    inherited: Inherited,
    /// Where the admin API listens, once it does.
    admin: Option<SocketAddr>,
    journal: Option<JoinHandle<()>>,
    /// Hears of changes in files of certificates.
    certificates: Option<CertificateWatch>,
    /// Obtains certificates.
    acme: Option<Acme>,
    /// Exports traces.
    exporter: Option<JoinHandle<()>>,
    /// Exports metrics.
    metrics: Option<telemetry::MetricsExporter>,
}

impl Owner {
    /// Starts the gateway and what stands beside it.
    fn start(
        &mut self,
        deployment: Arc<Deployment>,
        diagnostics: &[Diagnostic],
        started: Instant,
    ) -> Result<(), ServeError> {
        let settings = &deployment.plan().settings;
        let dev = self.state.mode == Mode::Dev;
        let format = settings.log.format.unwrap_or(if dev { LogFormat::Pretty } else { LogFormat::Json });
        self.voice = Voice::new(format, self.paint, self.output.clone());
        self.state.set_voice(self.voice.clone());
        if !diagnostics.is_empty() {
            self.voice.report(&Report::new(self.builder.root(), diagnostics));
        }
        self.state.levels.set(settings.log.level, None);
        let access = self.access_lines(&settings.log, format)?;
        let upgrade_socket = settings.listen.upgrade_socket.as_deref().filter(|_| !dev);
        let predecessor = match upgrade_socket {
            Some(path) => self.take_over(path)?,
            None => None,
        };
        let admin = self.bind_admin(settings.listen.admin)?;
        let echo = settings.dev_echo.filter(|_| dev);
        if let Some(address) = echo {
            let listener = bind(address).map_err(|(address, error)| ServeError::echo(address, &error))?;
            echo::start(listener).map_err(ServeError::thread)?;
        }
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let options = GatewayOptions {
            address: settings.listen.address,
            workers: settings.listen.workers.unwrap_or_else(cores).max(1),
            xray_sample: if dev { 1 } else { settings.log.xray_sample.unwrap_or(XRAY_SAMPLE) },
            log_level: self.state.levels.all.clone(),
            tracing: settings.telemetry.as_ref().filter(|telemetry| telemetry.traces).map(|telemetry| {
                Tracing { sample: telemetry.sample, trust_parents: telemetry.trust_parents }
            }),
        };
        let gateway = Gateway::start(&options, &mut self.inherited, deployment.clone());
        let gateway = gateway.map_err(|error| match error {
            StartError::Listen(address, error) => ServeError::listen(address, &error),
            StartError::Worker(error) => ServeError::thread(error),
            StartError::Deployment(found) => ServeError::Refused(found),
        })?;
        if let Some(events) = gateway.take_events() {
            let journal = Journal::new(format, self.paint, access);
            let output = self.output.clone();
            let spawned = std::thread::Builder::new()
                .name("polygate-journal".to_owned())
                .spawn(move || journal.run(&events, &output))
                .map_err(ServeError::thread)?;
            self.journal = Some(spawned);
        }
        if let (Some(traces), Some(telemetry)) = (gateway.take_traces(), &settings.telemetry) {
            let (variables, counts) = (&deployment.plan().variables, self.state.spans.clone());
            let exporter = telemetry::start(telemetry, variables, self.state.version, traces, counts);
            self.exporter = Some(exporter.map_err(|error| ServeError::telemetry(&error))?);
        }
        if let Some(telemetry) = &settings.telemetry {
            let started = telemetry::start_metrics(telemetry, &deployment.plan().variables, &self.state);
            self.metrics = started.map_err(|error| ServeError::telemetry(&error))?;
        }
        let took = started.elapsed();
        let banner = banner::Banner {
            state: &self.state,
            plan: deployment.plan(),
            address: gateway.address(),
            tls: gateway.tls_address(),
            workers: gateway.workers(),
            admin: self.admin,
            echo,
            took,
        };
        self.voice.show(&banner.text(self.paint));
        if format == LogFormat::Json {
            self.voice.say_with(LogLevel::Info, "listening", banner.fields(deployment.id()));
        }
        self.state.set_gateway(Some(gateway));
        self.watch_certificates(settings);
        self.state.update(|deployments| deployments.deployed(deployment.clone(), took));
        self.start_admin(admin)?;
        for address in std::mem::take(&mut self.inherited).addresses() {
            let message = format!("an inherited socket on {address} was closed: nothing is configured there");
            self.voice.say(LogLevel::Warn, message);
        }
        match predecessor {
            // Told to stop before it could take over: the one that runs has lost nothing.
            Some(_) if self.state.is_stopping() => return Ok(()),
            Some(predecessor) => self.relieve(predecessor)?,
            None => {}
        }
        // From here on clients, and authorities, reach this process alone.
        self.obtain_certificates(deployment.plan());
        if let Some(path) = upgrade_socket {
            upgrade::listen(path, self.state.clone())
                .map_err(|error| ServeError::upgrade_socket(path, &error))?;
            self.state.set_upgradable();
        }
        systemd::ready();
        systemd::watchdog(self.state.clone()).map_err(ServeError::thread)
    }

    /// How lines of exchanges differ from all others; `None` when they do not.
    fn access_lines(&self, log: &LogSettings, format: LogFormat) -> Result<Option<AccessLines>, ServeError> {
        let settings = &log.access;
        let file = match &settings.file {
            None => None,
            Some(path) => {
                let opened = Output::file(path).map_err(|error| ServeError::access_log(path, &error))?;
                let opened = Arc::new(opened);
                self.state.set_access_file(opened.clone());
                Some(opened)
            }
        };
        let style = settings.format.clone().or(file.as_ref().map(|_| AccessFormat::Json));
        // JSON among JSON lines is what the journal writes anyway.
        let style =
            style.filter(|style| file.is_some() || format != LogFormat::Json || *style != AccessFormat::Json);
        Ok(style.map(|format| AccessLines { format, file }))
    }

    /// Listens for the admin API, if it does not yet.
    fn bind_admin(&mut self, address: Option<SocketAddr>) -> Result<Option<TcpListener>, ServeError> {
        let Some(address) = address.filter(|_| self.admin.is_none()) else { return Ok(None) };
        let listener = match self.inherited.take("admin", address).into_iter().next() {
            Some(inherited) => inherited,
            None => bind(address).map_err(|(address, error)| ServeError::admin(address, &error))?,
        };
        self.admin = listener.local_addr().ok();
        Ok(Some(listener))
    }

    fn start_admin(&mut self, listener: Option<TcpListener>) -> Result<(), ServeError> {
        let Some(listener) = listener else { return Ok(()) };
        self.state.set_admin(listener.try_clone().ok());
        admin::start(listener, self.state.clone()).map_err(ServeError::thread)
    }

    /// Takes the sockets of the process that runs, if there is one.
    fn take_over(&mut self, path: &Path) -> Result<Option<Predecessor>, ServeError> {
        let asked = Predecessor::ask(path).map_err(|error| ServeError::upgrade_socket(path, &error))?;
        Ok(asked.map(|(predecessor, sockets)| {
            self.inherited.extend(sockets);
            predecessor
        }))
    }

    /// Lets the process that ran before drain.
    fn relieve(&self, predecessor: Predecessor) -> Result<(), ServeError> {
        let message = match predecessor.relieve() {
            Ok(Some(process)) => format!("took over from process {process}, which drains"),
            Ok(None) => "took over; the process that ran before has ended already".to_owned(),
            Err(why) => {
                return Err(ServeError::Failed(format!("the running process goes on, this one ends: {why}")));
            }
        };
        self.voice.say(LogLevel::Info, message);
        Ok(())
    }

    /// Does what it is told, until it is told to stop.
    fn run(mut self, inbox: &Receiver<Command>) -> Result<(), ServeError> {
        while let Ok(first) = inbox.recv() {
            // Changes that came in while the last one was built are built together.
            let mut commands = vec![first];
            commands.extend(inbox.try_iter());
            let mut causes = Vec::new();
            let mut replies = Vec::new();
            for command in commands {
                match command {
                    Command::Reload(cause, reply) => {
                        causes.push(cause);
                        replies.extend(reply);
                    }
                    Command::RefreshCertificates => self.refresh_certificates(),
                    Command::WatchFailed(error) => self.watch_failed(&error),
                    Command::Stop(signal) => {
                        self.stop(Why::Signal(signal));
                        return Ok(());
                    }
                    Command::HandedOver(process) => {
                        self.stop(Why::HandedOver(process));
                        return Ok(());
                    }
                }
            }
            if !causes.is_empty() {
                systemd::reloading();
                let outcome = self.reload(&causes)?;
                systemd::ready();
                for reply in replies {
                    // Whoever asked may have gone.
                    let _ = reply.send(outcome.clone());
                }
            }
        }
        Ok(())
    }

    fn reload(&mut self, causes: &[Cause]) -> Result<Reload, ServeError> {
        let started = Instant::now();
        let Built { deployment, diagnostics } = self.builder.build();
        let Some(deployment) = deployment else { return Ok(self.refuse(diagnostics)) };
        if self.state.running_id().as_deref() == Some(deployment.id()) {
            return Ok(self.unchanged());
        }
        let before = self.state.deployments().running;
        let Some(before) = before else {
            self.start(deployment.clone(), &diagnostics, started)?;
            return Ok(Reload::Deployed(deployment.id().to_owned(), started.elapsed()));
        };
        let deployed = match self.state.gateway() {
            Some(gateway) => gateway.deploy(&deployment),
            None => return Ok(Reload::Unchanged),
        };
        if let Err(found) = deployed {
            return Ok(self.refuse(found));
        }
        let took = started.elapsed();
        self.watch_certificates(&deployment.plan().settings);
        self.obtain_certificates(deployment.plan());
        self.state.update(|deployments| deployments.deployed(deployment.clone(), took));
        if !diagnostics.is_empty() {
            self.voice.report(&Report::new(self.builder.root(), &diagnostics));
        }
        let mut fields = Map::new();
        fields.insert("deployment".into(), deployment.id().into());
        fields.insert("took_ms".into(), json!(took.as_millis() as u64));
        let message = format!("reloaded in {}{}", short(took), named(causes));
        self.voice.say_with(LogLevel::Info, message, fields);
        for (what, change) in restart::needed(before.deployment.plan(), deployment.plan()) {
            self.voice.say(LogLevel::Warn, format!("{what} is {change} after a restart only"));
        }
        Ok(Reload::Deployed(deployment.id().to_owned(), took))
    }

    fn refuse(&self, diagnostics: Vec<Diagnostic>) -> Reload {
        // First: who reads the lines finds in the admin API what they say.
        self.state.update(|deployments| deployments.refuse(diagnostics.clone()));
        let report = Report::new(self.builder.root(), &diagnostics);
        self.voice.report(&report);
        let serves = if self.state.running_id().is_some() {
            "the last good version serves on"
        } else {
            "nothing serves yet"
        };
        self.voice.say(LogLevel::Error, format!("change refused ({}): {serves}", report.summary()));
        Reload::Refused(diagnostics)
    }

    /// Watches the files that the settings name.
    fn watch_certificates(&mut self, settings: &Settings) {
        let files: Vec<PathBuf> = settings.certificate_files().map(Path::to_owned).collect();
        if self.certificates.is_none() && !files.is_empty() {
            let commands = self.state.commands.clone();
            let changed = move || drop(commands.send(Command::RefreshCertificates));
            match CertificateWatch::start(changed) {
                Ok(watch) => self.certificates = Some(watch),
                Err(error) => self.watch_failed(&error.to_string()),
            }
        }
        if let Some(watch) = &self.certificates {
            watch.watch(files);
        }
    }

    /// Sees to it that certificates are obtained as the plan says.
    fn obtain_certificates(&mut self, plan: &Plan) {
        let settings = plan.settings.tls.as_ref().and_then(|tls| tls.acme.as_ref());
        if self.state.mode == Mode::Dev {
            if settings.is_some() {
                self.voice.say(
                    LogLevel::Warn,
                    "no certificates are obtained in development: [tls.acme] is for run",
                );
            }
            return;
        }
        let Some(gateway) = self.state.gateway() else { return };
        if self.acme.is_none() && settings.is_some() {
            let commands = self.state.commands.clone();
            match Acme::start(gateway.challenges(), commands, self.state.acme.clone()) {
                Ok(acme) => self.acme = Some(acme),
                Err(error) => {
                    let message = format!("certificates cannot be obtained: {error}");
                    self.voice.say(LogLevel::Error, message);
                }
            }
        }
        if let Some(acme) = &self.acme {
            acme.assign(settings, &plan.variables);
        }
    }

    fn refresh_certificates(&self) {
        let Some(gateway) = self.state.gateway() else { return };
        let of_upstreams = gateway.refresh_upstream_certificates();
        for (what, refreshed) in
            [("certificates", gateway.refresh_certificates()), ("certificates of upstreams", of_upstreams)]
        {
            match refreshed {
                Refreshed::Changed => self.voice.say(LogLevel::Info, format!("new {what} are in use")),
                Refreshed::Refused { diagnostics, again: false } => {
                    self.voice.report(&Report::new(self.builder.root(), &diagnostics));
                    let message = format!("new {what} refused: the ones in use serve on");
                    self.voice.say(LogLevel::Error, message);
                }
                Refreshed::Refused { again: true, .. } | Refreshed::Unchanged => {}
            }
        }
    }

    fn unchanged(&self) -> Reload {
        self.refresh_certificates();
        if self.state.deployments().stale {
            self.state.update(|deployments| deployments.stale = false);
            self.voice.say(LogLevel::Info, "mended: this is the version that runs");
        }
        Reload::Unchanged
    }

    fn install_packages(&self, root: &Path) {
        let command = packages::command(root);
        self.voice.say(LogLevel::Info, format!("installing npm packages ({command})"));
        let started = Instant::now();
        match packages::install(root) {
            Ok(()) => self.voice.say(LogLevel::Info, format!("installed in {}", short(started.elapsed()))),
            Err(why) => self.voice.say(
                LogLevel::Warn,
                format!(
                    "{why}; routes whose policies import a missing package answer 503 until `{command}` has run in {}",
                    root.display()
                ),
            ),
        }
    }

    fn watch_failed(&self, error: &str) {
        let message = format!("files cannot be watched, so changes need a restart: {error}");
        self.voice.say(LogLevel::Warn, message);
    }
}

/// ` (a.ts, b.ts)`: what a reload was for.
fn named(causes: &[Cause]) -> String {
    let mut names: Vec<String> = Vec::new();
    for cause in causes {
        match cause {
            Cause::Files(files) => names.extend(files.iter().map(|file| file.display().to_string())),
            Cause::Signal => names.push("SIGHUP".to_owned()),
            Cause::Admin => names.push("admin API".to_owned()),
        }
    }
    names.sort();
    names.dedup();
    let more = names.len().saturating_sub(MAX_NAMED_FILES);
    names.truncate(MAX_NAMED_FILES);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    if names.is_empty() { String::new() } else { format!(" ({}{more})", names.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reload_names_what_it_is_for() {
        assert_eq!(named(&[Cause::Files(vec!["b.ts".into(), "a.ts".into()])]), " (a.ts, b.ts)");
        let many = Cause::Files((0..5).map(|n| format!("{n}.ts").into()).collect());
        assert_eq!(named(&[many]), " (0.ts, 1.ts, 2.ts and 2 more)");
        assert_eq!(named(&[Cause::Signal]), " (SIGHUP)");
    }
}

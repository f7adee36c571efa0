//! The gateway as its owner sees it: start, deploy, observe, stop. Its methods block; they are not for workers.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use polygate_pipeline::Diagnostic;
use tokio::sync::watch;

use crate::deployment::Deployment;
use crate::events::{Event, Events, LogThreshold};
use crate::listen::{self, Bound, Inherited};
use crate::metrics::{Metrics, WorkerMetrics};
use crate::overload::{Level, Overload, Pulse, Strain};
use crate::record::ExchangeRecord;
use crate::tls::{
    Acceptor, Challenges, Clients, ClientsKeeper, Keeper, Refreshed, TlsStatus, UpstreamTlsStatus,
};
use crate::traces::{TraceRecord, Tracing};
use crate::upstream::{Http2Report, Lookout, Roll, UpstreamReport, Watching, plain_http2, report};
use crate::worker::{Command, Ping, Worker};

/// How a gateway is started, beyond its first deployment.
#[derive(Debug, Clone)]
pub struct GatewayOptions {
    /// Where clients connect; port 0 lets the kernel choose.
    pub address: SocketAddr,
    /// Worker threads, at least 1.
    pub workers: usize,
    /// One of so many exchanges is X-rayed; 1 means each, 0 none.
    pub xray_sample: u32,
    /// How severe a log line must be.
    pub log_level: LogThreshold,
    /// Which exchanges are traced; `None` when nobody exports traces.
    pub tracing: Option<Tracing>,
}

/// Why a gateway did not start.
#[derive(Debug)]
pub enum StartError {
    /// The address cannot be listened on.
    Listen(SocketAddr, io::Error),
    /// A worker could not be started.
    Worker(io::Error),
    /// The deployment could not be made live.
    Deployment(Vec<Diagnostic>),
}

/// A running gateway. Dropping it stops it without waiting for its exchanges.
pub struct Gateway {
    address: SocketAddr,
    tls_address: Option<SocketAddr>,
    workers: Vec<Handle>,
    tls: Keeper,
    clients: ClientsKeeper,
    /// A handle to each listening socket, until the gateway stops.
    sockets: Mutex<Vec<(&'static str, TcpListener)>>,
    events: Events,
    overload: watch::Sender<Overload>,
    lookout: Lookout,
    /// What runs, with its upstreams' views.
    running: Mutex<Option<Running>>,
    /// Until it is taken.
    receiver: Mutex<Option<Receiver<Event>>>,
    /// Until they are taken; `None` also when nobody exports traces.
    traces: Mutex<Option<Receiver<Box<TraceRecord>>>>,
}

/// A deployment with its upstreams' views.
type Running = (Arc<Deployment>, Arc<[Watching]>);

struct Handle {
    commands: tokio::sync::mpsc::UnboundedSender<Command>,
    pings: tokio::sync::mpsc::UnboundedSender<Ping>,
    pulse: Mutex<Pulse>,
    metrics: WorkerMetrics,
    roll: Roll,
    /// Until it is joined.
    thread: Mutex<Option<JoinHandle<u64>>>,
}

/// What the gateway's listening sockets are called when they are handed on.
const CLEARTEXT: &str = "gateway";
const ENCRYPTED: &str = "tls";

impl Gateway {
    /// Listens on the addresses, on inherited sockets where there are any for them; starts the workers, and makes the
    /// deployment live on each.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running then.
    pub fn start(
        options: &GatewayOptions,
        inherited: &mut Inherited,
        deployment: Arc<Deployment>,
    ) -> Result<Self, StartError> {
        let count = options.workers.max(1);
        let settings = &deployment.plan().settings;
        let mut sockets = Vec::new();
        let mut bind = |name: &'static str, wanted: SocketAddr| {
            let bound = listen::bind(wanted, count, inherited.take(name, wanted));
            let bound = bound.and_then(|bound| Ok((bound.sockets[0].local_addr()?, bound)));
            let (address, Bound { workers, sockets: all }) =
                bound.map_err(|error| StartError::Listen(wanted, error))?;
            sockets.extend(all.into_iter().map(|socket| (name, socket)));
            Ok((address, workers))
        };
        let (address, listeners) = bind(CLEARTEXT, options.address)?;
        let (tls_address, mut tls_listeners) = match settings.listen.tls_address {
            Some(wanted) if settings.tls.is_some() => {
                let (address, listeners) = bind(ENCRYPTED, wanted)?;
                (Some(address), listeners)
            }
            _ => (None, Vec::new()),
        };
        let tls = Keeper::default();
        let (events, receiver) = Events::new(options.log_level.clone());
        let (events, traces) = match options.tracing {
            Some(_) => events.with_traces(),
            None => (events, None),
        };
        let (overload, told) = watch::channel(Overload::default());
        let mut workers = Vec::with_capacity(count);
        for (number, listeners) in listeners.into_iter().enumerate() {
            let metrics = WorkerMetrics::default();
            let roll = Roll::default();
            let (commands, receiver) = tokio::sync::mpsc::unbounded_channel();
            let (pings, pinged) = tokio::sync::mpsc::unbounded_channel();
            let worker = Worker {
                number,
                listeners,
                tls_listeners: tls_listeners.pop().unwrap_or_default(),
                pings: pinged,
                overload: told.clone(),
                events: events.clone(),
                metrics: metrics.clone(),
                xray_sample: options.xray_sample,
                tracing: options.tracing,
                settings: settings.clone(),
                roll: roll.clone(),
                challenges: tls.challenges().clone(),
            };
            let thread = std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || worker.run(receiver))
                .map_err(StartError::Worker)?;
            let (pulse, thread) = (Mutex::default(), Mutex::new(Some(thread)));
            workers.push(Handle { commands, pings, pulse, metrics, roll, thread });
        }
        let (sockets, receiver) = (Mutex::new(sockets), Mutex::new(Some(receiver)));
        let (lookout, running, clients) = Default::default();
        let traces = Mutex::new(traces);
        let gateway = Self {
            address,
            tls_address,
            workers,
            tls,
            clients,
            sockets,
            events,
            overload,
            lookout,
            running,
            receiver,
            traces,
        };
        gateway.deploy(&deployment).map_err(StartError::Deployment)?;
        Ok(gateway)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens for TLS; `None` when it does not.
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.tls_address
    }

    /// Worker threads.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Makes a deployment live: spawned beside the running one on every worker, then swapped in on all. Exchanges in
    /// flight finish on the old one.
    ///
    /// # Errors
    /// What kept it from becoming live on some worker; the old one serves on everywhere then.
    pub fn deploy(&self, deployment: &Arc<Deployment>) -> Result<(), Vec<Diagnostic>> {
        let tls = deployment.plan().settings.tls.as_ref();
        let acceptor = self.tls.load(tls)?;
        let clients = self.clients.load(&deployment.plan().settings)?;
        let watching: Arc<[Watching]> = match self.lookout.watch(&deployment.plan().settings) {
            Ok(watching) => watching.into(),
            Err(error) => {
                let problem = format!("nobody can look after upstreams: {error}");
                return Err(vec![Diagnostic::error("internal", problem)]);
            }
        };
        // One after the other, so that at most one worker at a time is busy with it.
        let prepared = self.workers.iter().try_for_each(|worker| {
            let (reply, answer) = tokio::sync::oneshot::channel();
            let sent = worker.commands.send(Command::Prepare(deployment.clone(), watching.clone(), reply));
            let gone = || vec![Diagnostic::error("internal", "a worker has ended")];
            sent.map_err(|_| gone())?;
            answer.blocking_recv().map_err(|_| gone())?
        });
        if prepared.is_ok() {
            self.tls.adopt(tls, acceptor.as_ref());
            self.secure(acceptor);
            self.clients.adopt(&clients);
            self.equip(&clients);
        }
        for worker in &self.workers {
            let command = if prepared.is_ok() { Command::Commit } else { Command::Abort };
            // A worker that has ended was reported above.
            let _ = worker.commands.send(command);
        }
        if prepared.is_ok() {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            *running = Some((deployment.clone(), watching));
        }
        self.lookout.tidy();
        prepared
    }

    /// Reads the files of certificates again; new handshakes use what is new in them. Connections stay as they are.
    pub fn refresh_certificates(&self) -> Refreshed {
        let (refreshed, acceptor) = self.tls.refresh();
        self.secure(acceptor);
        refreshed
    }

    /// Reads the files again that connections to upstreams are encrypted with. New connections use what is new in them;
    /// older ones of the same settings are not used for further requests.
    pub fn refresh_upstream_certificates(&self) -> Refreshed {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some((deployment, _)) = running else { return Refreshed::Unchanged };
        let (refreshed, clients) = self.clients.refresh(&deployment.plan().settings);
        if let Some(clients) = clients {
            self.equip(&clients);
        }
        refreshed
    }

    fn equip(&self, clients: &Arc<Clients>) {
        self.lookout.equip(clients);
        for worker in &self.workers {
            // A worker that has ended makes no more connections.
            let _ = worker.commands.send(Command::Equip(clients.clone()));
        }
    }

    fn secure(&self, acceptor: Option<Arc<Acceptor>>) {
        let Some(acceptor) = acceptor else { return };
        for worker in &self.workers {
            // A worker that has ended makes no more handshakes.
            let _ = worker.commands.send(Command::Secure(acceptor.clone()));
        }
    }

    /// The certificates; `None` when there is no listener for TLS.
    pub fn tls_status(&self) -> Option<TlsStatus> {
        self.tls.status()
    }

    /// Answers to authorities that are asked for certificates.
    pub fn challenges(&self) -> Arc<Challenges> {
        self.tls.challenges().clone()
    }

    /// What connections to upstreams are encrypted with.
    pub fn upstream_tls_status(&self) -> UpstreamTlsStatus {
        self.clients.status()
    }

    /// The named upstreams of what runs, in the order of their names: endpoints, health, counts.
    pub fn upstreams(&self) -> Vec<UpstreamReport> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some((deployment, watching)) = running else { return Vec::new() };
        let rolls: Vec<&Roll> = self.workers.iter().map(|worker| &worker.roll).collect();
        report(&deployment.plan().settings, &watching, &rolls)
    }

    /// HTTP/2 towards targets that no named upstream has.
    pub fn plain_http2(&self) -> Http2Report {
        plain_http2(&self.workers.iter().map(|worker| &worker.roll).collect::<Vec<_>>())
    }

    /// What the workers have to say, as an iterator that blocks. Given once.
    pub fn take_events(&self) -> Option<Receiver<Event>> {
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Traced exchanges that are over. Given once; `None` when nobody exports traces.
    pub fn take_traces(&self) -> Option<Receiver<Box<TraceRecord>>> {
        self.traces.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The counts of all workers.
    pub fn metrics(&self) -> Metrics {
        let mut sum = Metrics::default();
        for worker in &self.workers {
            sum.add(&worker.metrics.snapshot());
        }
        sum.dropped_events = self.events.dropped();
        sum.dropped_traces = self.events.dropped_traces();
        sum
    }

    /// The exchanges that the X-ray kept, newest first.
    pub fn exchanges(&self, limit: usize) -> Vec<Arc<ExchangeRecord>> {
        let mut all: Vec<_> = self.workers.iter().flat_map(|worker| worker.metrics.exchanges()).collect();
        all.sort_by_key(|record| std::cmp::Reverse(record.time));
        all.truncate(limit);
        all
    }

    /// Handles to its listening sockets, with what each is for: whoever has them goes on listening when this gateway
    /// has stopped.
    ///
    /// # Errors
    /// When there are no file descriptors left, or it has stopped.
    pub fn sockets(&self) -> io::Result<Vec<(&'static str, TcpListener)>> {
        let sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        if sockets.is_empty() {
            return Err(io::Error::other("the gateway has stopped"));
        }
        sockets.iter().map(|(name, socket)| Ok((*name, socket.try_clone()?))).collect()
    }

    /// Whether every worker's event loop turns: each answers within `patience`, all in all.
    pub fn answers(&self, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        let (reply, answers) = std::sync::mpsc::channel();
        for worker in &self.workers {
            if worker.pings.send(Ping::Turns(reply.clone())).is_err() {
                return false;
            }
        }
        let answered = || answers.recv_timeout(end.saturating_duration_since(Instant::now()));
        self.workers.iter().all(|_| answered().is_ok())
    }

    /// How busy the workers are. Asked again and again, it tells how late their event loops were since.
    pub fn strain(&self) -> Strain {
        let mut strain = Strain::default();
        for worker in &self.workers {
            let mut pulse = worker.pulse.lock().unwrap_or_else(PoisonError::into_inner);
            // A worker that has ended is not late.
            let lag = pulse.take(|reply| drop(worker.pings.send(Ping::Lag(reply))));
            strain.lag = strain.lag.max(lag);
            strain.exchanges = strain.exchanges.max(worker.metrics.running());
        }
        strain
    }

    /// Tells the workers how hard the process is pressed. While it is, they close further idle connections each time.
    pub fn press(&self, overload: Overload) {
        self.overload.send_if_modified(|told| {
            let changed = *told != overload || overload.level > Level::Calm;
            *told = overload;
            changed
        });
    }

    /// Stops: accepts no more connections, lets running exchanges finish for as long as `grace`, and closes the rest.
    /// Says how many exchanges were cut off.
    pub fn stop(&self, grace: Duration) -> u64 {
        // The workers' own handles are the last ones then, and close the sockets once their backlogs are empty.
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner).clear();
        for worker in &self.workers {
            // A worker that has ended needs no telling.
            let _ = worker.commands.send(Command::Stop(grace));
        }
        let mut cut = 0;
        for worker in &self.workers {
            let thread = worker.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
            match thread.map(JoinHandle::join) {
                Some(Ok(of_worker)) => cut += of_worker,
                Some(Err(_)) => cut += worker.metrics.snapshot().running,
                None => {}
            }
        }
        cut
    }
}

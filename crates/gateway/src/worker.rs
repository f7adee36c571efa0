//! A worker: one thread with its own event loop, connections, upstream pool and instances.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use polygate_pipeline::{Diagnostic, Services};
use polygate_plan::Settings;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{oneshot, watch};

use crate::deployment::Deployment;
use crate::downstream::{Listener, Secure, Stop};
use crate::events::Events;
use crate::live::Live;
use crate::metrics::WorkerMetrics;
use crate::overload::{Overload, Valve};
use crate::serve::Server;
use crate::tls::{Acceptor, Challenges, Clients};
use crate::traces::Tracing;
use crate::tunnel::FAREWELL;
use crate::upstream::{Client, Roll, Watching};

/// What a worker is told.
pub(crate) enum Command {
    /// Spawn this deployment, with its upstreams' views, beside the running one.
    Prepare(Arc<Deployment>, Arc<[Watching]>, oneshot::Sender<Result<(), Vec<Diagnostic>>>),
    /// Swap in what was prepared.
    Commit,
    /// Drop what was prepared.
    Abort,
    /// Make new TLS handshakes with this.
    Secure(Arc<Acceptor>),
    /// Make new TLS handshakes with upstreams with these.
    Equip(Arc<Clients>),
    /// Stop, waiting so long for running exchanges.
    Stop(Duration),
}

/// What a worker is asked, to show that its event loop turns.
pub(crate) enum Ping {
    /// Answered at once.
    Turns(Sender<()>),
    /// Answered, with the time, behind all that waits for its turn now.
    Lag(Sender<Instant>),
}

/// What a worker's thread is started with.
pub(crate) struct Worker {
    pub(crate) number: usize,
    /// At least one.
    pub(crate) listeners: Vec<TcpListener>,
    /// Those for TLS.
    pub(crate) tls_listeners: Vec<TcpListener>,
    /// Apart from commands, which may take their time.
    pub(crate) pings: UnboundedReceiver<Ping>,
    /// How hard the process is pressed.
    pub(crate) overload: watch::Receiver<Overload>,
    pub(crate) events: Events,
    pub(crate) metrics: WorkerMetrics,
    pub(crate) xray_sample: u32,
    pub(crate) tracing: Option<Tracing>,
    pub(crate) settings: Settings,
    /// Where its named upstreams are listed.
    pub(crate) roll: Roll,
    /// What authorities are answered that are asked for certificates.
    pub(crate) challenges: Arc<Challenges>,
}

/// How often the worker looks at its instances' memory, and at who waits.
const VITALS_EVERY: Duration = Duration::from_secs(1);

impl Worker {
    /// Runs until told to stop, or until nobody can tell it anything any more. Gives the number of exchanges that were
    /// cut off.
    pub(crate) fn run(self, commands: UnboundedReceiver<Command>) -> u64 {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
        match runtime {
            Ok(runtime) => {
                let cut = runtime.block_on(self.serve(commands));
                // Plugins' blocking helpers and name lookups must not hold up the end.
                runtime.shutdown_background();
                cut
            }
            Err(error) => {
                tracing::error!(%error, worker = self.number, "no event loop");
                0
            }
        }
    }

    async fn serve(self, mut commands: UnboundedReceiver<Command>) -> u64 {
        let client = Client::reporting(&self.settings, self.roll.clone());
        let mut server: Option<Server> = None;
        let stop = Stop::default();
        let mut prepared: Option<Live> = None;
        let (mut listeners, mut tls_listeners) = (self.listeners, self.tls_listeners);
        let mut secure: Option<Secure> = None;
        let mut pings = self.pings;
        let valve = Valve::new(self.overload);
        let ways = valve.clone();
        tokio::task::spawn_local(async move {
            while let Some(ping) = pings.recv().await {
                // Whoever asked may have lost patience.
                match ping {
                    Ping::Turns(reply) => {
                        let _ = reply.send(());
                    }
                    // A new task stands at the end of the queue, and behind the requests that wait, as the next one does.
                    Ping::Lag(reply) => {
                        let valve = ways.clone();
                        tokio::task::spawn_local(async move {
                            valve.entered().await;
                            let _ = reply.send(Instant::now());
                        });
                    }
                }
            }
        });
        tokio::task::spawn_local(valve.clone().follow(stop.clone(), client.clone(), self.metrics.clone()));
        tokio::task::spawn_local(valve.clone().laps());
        let mut vitals = tokio::time::interval(VITALS_EVERY);
        vitals.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let grace = loop {
            let command = tokio::select! {
                command = commands.recv() => command,
                _ = vitals.tick() => {
                    let memory = server.as_ref().map_or(0, |server| server.live().memory());
                    self.metrics.with(|metrics| {
                        metrics.plugin_memory = memory;
                        metrics.requests_waiting = valve.waiting();
                        metrics.connects_waiting = client.waiting();
                    });
                    continue;
                }
            };
            match command {
                Some(Command::Prepare(deployment, watching, reply)) => {
                    let log = std::rc::Rc::new(self.events.clone());
                    let variables = deployment.plan().variables.clone();
                    let services = Services::new(client.clone(), log, variables, self.number);
                    let result = Live::spawn(deployment, services, client.clone(), &watching).await;
                    let answer = match result {
                        Ok(live) => {
                            prepared = Some(live);
                            Ok(())
                        }
                        Err(diagnostics) => Err(diagnostics),
                    };
                    // Whoever asked may have gone.
                    let _ = reply.send(answer);
                }
                Some(Command::Commit) => {
                    let Some(live) = prepared.take() else { continue };
                    client.reconfigure(&live.deployment.plan().settings);
                    if let Some(server) = &server {
                        server.swap(live);
                        continue;
                    }
                    let settings = live.deployment.plan().settings.clone();
                    let (events, metrics) = (self.events.clone(), self.metrics.clone());
                    let (xray, tracing) = (self.xray_sample, self.tracing);
                    let valve = valve.clone();
                    let first = Server::new(self.number, live, events, metrics.clone(), xray, tracing, valve)
                        .answering(&self.challenges);
                    let spawn = |listener, secure| {
                        let (service, metrics) = (first.clone(), metrics.clone());
                        Listener::spawn(listener, secure, service, stop.clone(), metrics, &settings);
                    };
                    for listener in listeners.drain(..) {
                        spawn(listener, None);
                    }
                    // What handshakes are made with was told before the first deployment.
                    for listener in tls_listeners.drain(..) {
                        if let Some(secure) = &secure {
                            spawn(listener, Some(secure.clone()));
                        }
                    }
                    server = Some(first);
                }
                Some(Command::Abort) => prepared = None,
                Some(Command::Secure(acceptor)) => match &secure {
                    Some(secure) => secure.replace(acceptor),
                    None => secure = Some(Secure::new(acceptor)),
                },
                Some(Command::Equip(clients)) => client.equip(&clients),
                Some(Command::Stop(grace)) => break grace,
                None => break Duration::ZERO,
            }
        };
        stop.stop();
        // When the grace is over, what still runs is dropped with the runtime.
        if tokio::time::timeout(grace, stop.drained()).await.is_ok() {
            return 0;
        }
        if let Some(server) = &server {
            server.cut();
        }
        let cut = self.metrics.snapshot().running;
        stop.cut();
        // A little longer than they take to say goodbye. Those who had to wait for their turn are dropped unheard.
        let _ = tokio::time::timeout(FAREWELL * 2, stop.tunnels_closed()).await;
        cut
    }
}

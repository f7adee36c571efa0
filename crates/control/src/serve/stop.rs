//! The end of a process: readiness fails first, running exchanges finish, the rest is closed.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use polygate_pipeline::LogLevel;
use serde_json::{Map, json};

use super::Owner;
use crate::signals::cut_off;
use crate::systemd;

/// How long the end waits for the journal, and for the last traces and metrics to be exported, each.
const WRITING_GRACE: Duration = Duration::from_secs(2);

/// How long the end waits for answers at the upgrade socket.
const ANSWERS_GRACE: Duration = Duration::from_secs(1);

/// Why a process ends.
pub(super) enum Why {
    /// A signal of this name.
    Signal(&'static str),
    /// The process of this id serves in our place.
    HandedOver(u32),
}

impl Owner {
    /// Ends the gateway in good order. From before this is called `/health/ready` says 503.
    pub(super) fn stop(mut self, why: Why) {
        // Whoever goes on, or comes next, obtains certificates.
        self.acme = None;
        let running = self.state.deployments().running;
        let timeouts = running.map(|running| running.deployment.plan().settings.timeouts);
        let mut cut = 0;
        if let (Some(gateway), Some(timeouts)) = (self.state.gateway(), timeouts) {
            let delay = match &why {
                Why::Signal(_) => timeouts.ready_delay,
                // Load balancers have nothing to notice: they reach the new process.
                Why::HandedOver(_) => Duration::ZERO,
            };
            if !delay.is_zero() {
                let message =
                    format!("stopping: not ready any more, serving on for {} s", delay.as_secs_f64());
                self.voice.say(LogLevel::Info, message);
                tell_systemd(&why);
                // A second signal ends the process from its own thread.
                std::thread::sleep(delay);
            }
            self.announce(&why, gateway.metrics().running, timeouts.drain);
            tell_systemd(&why);
            cut = gateway.stop(timeouts.drain);
            let metrics = self.metrics.take().map(|metrics| metrics.finish(gateway.metrics()));
            // The journal ends when nobody can send it anything more.
            drop((gateway, self.state.set_gateway(None)));
            finish(self.journal.take());
            finish(self.exporter.take());
            finish(metrics);
            if cut > 0 {
                let limit = timeouts.drain.as_secs_f64();
                let message = format!("{} after {limit} s ([timeouts] drain)", cut_off(cut));
                self.voice.say(LogLevel::Warn, message);
            }
        }
        if self.state.is_handed_over() {
            self.finish_answers();
        } else {
            self.remove_upgrade_socket();
        }
        let mut fields = Map::new();
        fields.insert("cut_off".into(), json!(cut));
        self.voice.say_with(LogLevel::Info, "stopped", fields);
        self.output.flush();
    }

    fn announce(&self, why: &Why, running: u64, grace: Duration) {
        let grace = grace.as_secs_f64();
        let message = match (why, running) {
            (Why::Signal(_), 0) => return,
            (Why::HandedOver(process), 0) => format!("process {process} has taken over: stopping"),
            (why, running) => {
                let what = if running == 1 { "one running exchange is" } else { "the running exchanges are" };
                match why {
                    Why::Signal(signal) => format!(
                        "{signal}: stopping once {what} over, in {grace} s at the latest; again to stop at once"
                    ),
                    Why::HandedOver(process) => format!(
                        "process {process} has taken over: stopping once {what} over, in {grace} s at the latest"
                    ),
                }
            }
        };
        self.voice.say(LogLevel::Info, message);
    }

    /// Nobody can take over from a process that has ended.
    fn remove_upgrade_socket(&self) {
        if let (Some(running), true) = (self.state.deployments().running, self.state.is_upgradable())
            && let Some(path) = &running.deployment.plan().settings.listen.upgrade_socket
        {
            let _ = std::fs::remove_file(path);
        }
    }

    /// The new process, and whoever asked for it, get their answers.
    fn finish_answers(&self) {
        let end = Instant::now() + ANSWERS_GRACE;
        while self.state.is_answering() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Waits for a thread that writes what is left. It ends when the last worker's end of the channel is gone.
fn finish(thread: Option<JoinHandle<()>>) {
    let Some(thread) = thread else { return };
    let end = Instant::now() + WRITING_GRACE;
    while !thread.is_finished() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// systemd takes the end of the process that it knows for the end of the service; after an upgrade that is another one.
fn tell_systemd(why: &Why) {
    if let Why::Signal(_) = why {
        systemd::stopping();
    }
}

//! Connections from clients: accepting them, one task each, and stopping them.

mod addresses;
mod arrival;
mod body;
mod connection;
mod date;
mod http2;
mod proxy;
mod state;
mod stop;
mod transport;
mod tunnel;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt;
use polygate_http1::Limits;
use polygate_plan::{Settings, Timeouts};
use tokio::net::TcpStream;

pub(crate) use self::arrival::Secure;
pub(crate) use self::stop::Stop;
use crate::metrics::WorkerMetrics;
use crate::service::Service;

/// After a failed accept (no file descriptors left, mostly) this long passes before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Connections that are accepted in one turn: as many as make it take some milliseconds. Under load turns are rare, and who
/// waits in the backlog is not even refused.
const MAX_A_TURN: usize = 1024;

/// With few descriptors left so long is waited for the next sample of how many there are.
const SAMPLE_PATIENCE: Duration = Duration::from_millis(500);

/// Connections that are still accepted when the worker stops: those that wait in the backlog by then.
const MAX_LATE: usize = 4096;

/// What all connections of a listener have in common.
struct Common<S> {
    service: S,
    stop: Stop,
    metrics: WorkerMetrics,
    /// Of HTTP/1.1's parser.
    limits: Limits,
    /// All limits, as they are configured.
    settings: polygate_plan::Limits,
    /// Whether HTTP/2 is served without TLS.
    http2: bool,
    /// Unread bytes of a request's body that are drained so that the connection can be kept.
    drain: u64,
    /// Interim responses that are sent of one exchange.
    interim: usize,
    timeouts: Timeouts,
    /// TLS handshakes that may be under way.
    handshakes: usize,
    date: date::DateCache,
}

/// Accepts connections on a worker and serves each in a task of its own.
pub(crate) struct Listener;

impl Listener {
    /// Starts accepting, until `stop`. Counts connections in `metrics` (accepted, refused, connections). With `secure`
    /// connections are encrypted.
    pub(crate) fn spawn<S: Service + Clone>(
        listener: TcpListener,
        secure: Option<Secure>,
        service: S,
        stop: Stop,
        metrics: WorkerMetrics,
        settings: &Settings,
    ) {
        let limits = &settings.limits;
        let bytes = |size: polygate_pipeline::ByteSize| size.bytes() as usize;
        let common = Rc::new(Common {
            service,
            stop,
            metrics,
            limits: Limits {
                head: bytes(limits.head),
                line: bytes(limits.header_line),
                fields: limits.header_fields,
                uri: bytes(limits.uri),
                ..Limits::DEFAULT
            },
            settings: *limits,
            http2: settings.listen.http2,
            drain: limits.drain.bytes(),
            interim: limits.interim_responses,
            timeouts: settings.timeouts,
            handshakes: limits.handshakes,
            date: date::DateCache::default(),
        });
        let most = limits.connections;
        let listener =
            listener.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(listener));
        match listener {
            Ok(listener) => {
                let listening = common.stop.listening();
                tokio::task::spawn_local(async move {
                    // Otherwise it would accept 128 of them in a turn, however long it then waits for its next one.
                    tokio::task::unconstrained(accept(listener, secure, common, most)).await;
                    drop(listening);
                });
            }
            Err(error) => tracing::error!(%error, "the listener cannot be used"),
        }
    }
}

async fn accept<S: Service>(
    listener: tokio::net::TcpListener,
    secure: Option<Secure>,
    common: Rc<Common<S>>,
    most: usize,
) {
    let secure = secure.as_ref();
    let valve = common.service.valve();
    let mut failing = false;
    let mut shut = valve.is_shut();
    let mut turn = 0;
    loop {
        if turn == MAX_A_TURN {
            turn = 0;
            tokio::task::yield_now().await;
        }
        if shut {
            tokio::select! {
                () = valve.opened() => {}
                () = common.stop.stopped() => break,
            }
        }
        let accepted = tokio::select! {
            // In this order: a listener that always has one more must not hide a stop, and only one that has none has to
            // hear of its closing.
            biased;
            () = common.stop.stopped() => break,
            accepted = listener.accept() => accepted,
            () = valve.shut() => {
                shut = true;
                continue;
            }
        };
        shut = valve.is_shut();
        match accepted {
            Ok((stream, peer)) => {
                failing = false;
                turn += 1;
                let last = valve.is_last(stream.as_raw_fd());
                admit(stream, peer, secure, &common, most);
                if last {
                    valve.sampled(SAMPLE_PATIENCE).await;
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                common.metrics.with(|metrics| metrics.accept_errors += 1);
                // Once, and not for each attempt of a bad hour.
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "connections cannot be accepted");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // Closing the listener resets those who wait in the backlog. One turn of the event loop shows whether there are any.
    tokio::task::yield_now().await;
    for _ in 0..MAX_LATE {
        match listener.accept().now_or_never() {
            Some(Ok((stream, peer))) => admit(stream, peer, secure, &common, most),
            Some(Err(error)) if is_of_one_connection(&error) => {}
            _ => return,
        }
    }
}

fn admit<S: Service>(
    stream: TcpStream,
    peer: SocketAddr,
    secure: Option<&Secure>,
    common: &Rc<Common<S>>,
    most: usize,
) {
    let full = common.stop.connections() >= most;
    common.metrics.with(|metrics| {
        metrics.accepted += 1;
        metrics.refused += u64::from(full);
    });
    if full {
        return;
    }
    let open = common.stop.open(common.metrics.clone());
    match secure {
        None => tokio::task::spawn_local(arrival::plain(stream, peer, common.clone(), open)),
        Some(secure) => {
            tokio::task::spawn_local(arrival::encrypted(stream, peer, secure.clone(), common.clone(), open))
        }
    };
}

/// Errors of the connection that would have been accepted, not of the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;

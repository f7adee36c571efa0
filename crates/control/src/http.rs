//! The small HTTP server beneath the admin API and the echo service: HTTP/1.1, capped, on a runtime of its own.
//!
//! Neither is on the path of a client's request, so hyper serves them; the data plane has a wire of its own.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Semaphore, watch};

/// Bytes of a request's head.
const MAX_HEAD: usize = 16 << 10;

/// Header fields of a request.
const MAX_FIELDS: usize = 64;

/// Until a request's head is complete.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Pause after a failed accept: out of file descriptors, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A response with a whole body.
pub(crate) type Answer = Response<Full<Bytes>>;

/// Serves `listener` until `left` says true, with at most `connections` at a time; further ones wait.
pub(crate) async fn serve<A, F>(
    listener: TcpListener,
    connections: usize,
    mut left: watch::Receiver<bool>,
    answer: A,
) -> std::io::Result<()>
where
    A: Fn(Request<Incoming>) -> F + Clone + 'static,
    F: Future<Output = Answer> + 'static,
{
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let slots = Arc::new(Semaphore::new(connections));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return Ok(()) };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = told(&mut left) => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(_) => {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (answer, mut left) = (answer.clone(), left.clone());
        tokio::task::spawn_local(async move {
            let _slot = slot;
            let service = service_fn(move |request| {
                let answering = answer(request);
                async move { Ok::<_, Infallible>(answering.await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_buf_size(MAX_HEAD)
                .max_headers(MAX_FIELDS)
                .serve_connection(TokioIo::new(stream), service);
            let mut connection = pin!(connection);
            // Errors are the client's: it went away or spoke nonsense, which hyper has answered.
            tokio::select! {
                _ = connection.as_mut() => {}
                () = told(&mut left) => {
                    connection.as_mut().graceful_shutdown();
                    let _ = connection.await;
                }
            }
        });
    }
    drop(listener);
    // Those that are open are closed after the request that they are about.
    let _ = slots.acquire_many(u32::try_from(connections).unwrap_or(u32::MAX)).await;
    Ok(())
}

/// Until it says true; for ever when nobody can say it any more.
async fn told(left: &mut watch::Receiver<bool>) {
    if left.wait_for(|left| *left).await.is_err() {
        pending::<()>().await;
    }
}

/// Runs `work` on a thread and event loop of its own.
///
/// # Errors
/// When there is no thread or no event loop to be had.
pub(crate) fn on_thread<F>(name: &str, work: impl FnOnce() -> F + Send + 'static) -> std::io::Result<()>
where
    F: Future<Output = std::io::Result<()>> + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let local = tokio::task::LocalSet::new();
        if let Err(error) = local.block_on(&runtime, async move { work().await }) {
            tracing::error!(%error, "a service beside the gateway ended");
        }
    })?;
    Ok(())
}

/// Binds, with the address in the error.
pub(crate) fn bind(address: SocketAddr) -> Result<TcpListener, (SocketAddr, std::io::Error)> {
    TcpListener::bind(address).map_err(|error| (address, error))
}

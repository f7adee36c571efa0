//! Connections to upstreams: a client for each worker, with a pool by target.

mod connect;
mod flight;
mod pool;
mod stream;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use polygate_http1::Outbox;
use polygate_http1::encode::{self, Encoder};
use polygate_pipeline::{Body, Failure, Method, Outbound, OutboundOptions, Request, Response};
use polygate_plan::{Connection, Settings};

use self::connect::{AddressPolicy, Connector};
use self::flight::Flight;
use self::pool::Pool;
use crate::wire::Transfer;

/// A worker's client. What it sends is HTTP/1.1, over TLS where the target says https.
pub(crate) struct Client(Rc<Inner>);

struct Inner {
    pool: Rc<Pool>,
    connector: Connector,
    plugins: RefCell<Plugins>,
}

/// What the settings say of plugins' requests.
#[derive(Clone)]
struct Plugins {
    /// How they are sent.
    connection: Rc<Connection>,
    /// Where they may go.
    policy: AddressPolicy,
}

impl Plugins {
    fn of(settings: &Settings) -> Self {
        let policy =
            AddressPolicy { link_local: settings.outbound.link_local, private: settings.outbound.private };
        Self { connection: Rc::new(settings.connection.clone()), policy }
    }
}

impl Client {
    /// A client with the settings' defaults and address policy.
    pub(crate) fn new(settings: &Settings) -> Rc<Self> {
        let plugins = RefCell::new(Plugins::of(settings));
        Rc::new(Self(Rc::new(Inner { pool: Rc::default(), connector: Connector::default(), plugins })))
    }

    /// Takes over what another deployment's settings say of plugins' requests; pools and names are kept.
    pub(crate) fn reconfigure(&self, settings: &Settings) {
        self.0.plugins.replace(Plugins::of(settings));
    }

    /// Sends a request to its target (no address policy: the operator configured it) and gives the response once its
    /// head is there.
    ///
    /// `Host` is the request's own, or the target's authority when it has none. The request's body is read while the
    /// response is waited for, and after that while the response's body is read. Dropping the future or the
    /// response's body before its end closes the connection.
    ///
    /// # Errors
    /// One of the upstream's reasons, or what the request's body failed with. Retryable when nothing was sent.
    pub(crate) async fn send_to(
        &self,
        request: Request,
        connection: &Rc<Connection>,
    ) -> Result<Response, Failure> {
        self.0.send(request, connection, AddressPolicy::ALL, None).await
    }

    /// The same for a target that an upstream chose, by a redirect: held to the address policy of plugins.
    ///
    /// # Errors
    /// As [`send_to`](Self::send_to), and [`Reason::AddressDenied`](polygate_pipeline::Reason::AddressDenied).
    pub(crate) async fn follow(
        &self,
        request: Request,
        connection: &Rc<Connection>,
    ) -> Result<Response, Failure> {
        let policy = self.0.plugins.borrow().policy;
        self.0.send(request, connection, policy, None).await
    }
}

impl Outbound for Client {
    fn send(
        &self,
        request: Request,
        options: OutboundOptions,
    ) -> LocalBoxFuture<'static, Result<Response, Failure>> {
        let inner = self.0.clone();
        let Plugins { connection, policy } = inner.plugins.borrow().clone();
        Box::pin(async move { inner.send(request, &connection, policy, options.timeout).await })
    }
}

impl Inner {
    async fn send(
        &self,
        mut request: Request,
        connection: &Rc<Connection>,
        policy: AddressPolicy,
        limit: Option<Duration>,
    ) -> Result<Response, Failure> {
        let place = self.pool.place(&request.target, connection);
        let framing = encode::request_framing(&request.body);
        let mut body = std::mem::take(&mut request.body);
        let mut fresh = false;
        loop {
            let reused = if fresh { None } else { place.take(|ip| policy.admits(ip)) };
            let may_retry = reused.is_some();
            let connected = match reused {
                Some(connected) => connected,
                None => self.connector.connect(&request.target, connection, policy).await?,
            };
            // Only what is in memory can be sent a second time.
            let replay = may_retry.then(|| replay(&body)).flatten();
            let mut outbox = Outbox::new();
            encode::request_head(
                outbox.end_mut(),
                &request.method,
                &request.target,
                &request.headers,
                framing,
            );
            let transfer = Transfer::new(outbox, Encoder::new(framing), body);
            let mut flight = Flight::new(connected, transfer, place.clone(), connection.clone());
            match flight.head(&request.method, limit).await {
                Ok(head) => return Ok(flight.response(head)),
                // The upstream closed a kept connection just as it was used again (RFC 9112 9.3.1): on a new one the
                // request is not a repetition, or is harmless.
                Err(no)
                    if no.died && (no.written == 0 || is_idempotent(&request.method)) && replay.is_some() =>
                {
                    body = replay.unwrap_or_default();
                    fresh = true;
                }
                Err(no) if no.died && no.written == 0 => return Err(no.failure.retryable()),
                Err(no) => return Err(no.failure),
            }
        }
    }
}

fn replay(body: &Body) -> Option<Body> {
    match body.as_full() {
        Some(bytes) => Some(Body::full(bytes.clone())),
        None => body.is_empty().then(Body::empty),
    }
}

/// RFC 9110 9.2.2.
fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

#[cfg(test)]
mod tests;

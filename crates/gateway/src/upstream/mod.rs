//! Connections to upstreams: a client for each worker.
//!
//! A plain target has its place in the [`pool`], where unused connections wait. A [`named`] upstream chooses one of its
//! [`endpoint`]s (by [`balance`] and [`health`]), keeps to its caps ([`breaker`]), and tries again where that is safe
//! ([`retry`]). What is true for all workers, addresses ([`dns`]) and checks, is found out once, by the [`lookout`].

mod balance;
mod breaker;
mod connect;
mod dns;
mod endpoint;
mod flight;
mod health;
mod http2;
mod lookout;
mod mirror;
mod named;
mod pool;
mod progress;
mod report;
mod retry;
mod stream;
mod view;
mod vitals;
mod wish;

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use polygate_http1::Outbox;
use polygate_http1::encode::{self, Encoder};
use polygate_pipeline::{
    Body, Call, Caller, Exchange, Failure, Outbound, OutboundOptions, Request, Response, Target, Version,
};
use polygate_plan::{Connection, Settings, UpstreamProtocol};
use tokio::time::timeout;

use self::connect::{AddressPolicy, Connector};
use self::flight::Flight;
use self::http2::Sent;
pub(crate) use self::lookout::Lookout;
pub(crate) use self::named::Named;
use self::named::{Admitted, Registry};
use self::pool::{Place, Pool};
pub use self::report::{EndpointReport, Http2Report, UpstreamReport};
pub(crate) use self::report::{Roll, plain_http2, report};
use self::retry::is_idempotent;
use self::stream::Connected;
pub(crate) use self::view::Watching;
use self::wish::Wish;
use crate::tls::Clients;
use crate::turnstile::{Queue, Turnstile};
use crate::wire::Transfer;

/// A worker's client. What it sends is HTTP/1.1 or HTTP/2, over TLS where the target says https.
pub(crate) struct Client(Rc<Inner>);

/// Connections that a worker begins to make in a turn. Making and closing one takes far longer than forwarding on one that
/// is there.
const A_TURN: u32 = 16;

struct Inner {
    pool: Rc<Pool>,
    connector: Connector,
    /// Where exchanges wait that need a new connection of their own.
    turnstile: Rc<Turnstile>,
    plugins: RefCell<Plugins>,
    named: Registry,
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

/// Where and how one try of a request goes.
struct Way<'a> {
    place: &'a Rc<Place>,
    connection: &'a Rc<Connection>,
    policy: AddressPolicy,
    /// The address, when it was chosen already.
    at: Option<IpAddr>,
    /// The named upstream, whose caps hold.
    named: Option<&'a Named>,
    /// What is told where the request went.
    exchange: Option<&'a Exchange>,
    /// How long until the response's head in all; without, `quiet` after the last sign of progress.
    limit: Option<Duration>,
    quiet: Duration,
}

/// A target that is used again and again: where its connections wait is looked up once.
pub(crate) struct Destination {
    place: Rc<Place>,
    connection: Rc<Connection>,
}

impl Client {
    /// A client with the settings' defaults and address policy.
    pub(crate) fn new(settings: &Settings) -> Rc<Self> {
        Self::reporting(settings, Roll::default())
    }

    /// The same; its named upstreams are listed on `roll`.
    pub(crate) fn reporting(settings: &Settings, roll: Roll) -> Rc<Self> {
        let plugins = RefCell::new(Plugins::of(settings));
        Rc::new(Self(Rc::new(Inner {
            pool: Pool::new(roll.http2().clone()),
            connector: Connector::default(),
            turnstile: Turnstile::new(A_TURN),
            plugins,
            named: Registry::new(roll),
        })))
    }

    /// Takes over what another deployment's settings say of plugins' requests; pools and names are kept.
    pub(crate) fn reconfigure(&self, settings: &Settings) {
        self.0.plugins.replace(Plugins::of(settings));
    }

    /// Makes new TLS handshakes with what a deployment, or a change in its files, brings along.
    pub(crate) fn equip(&self, clients: &Clients) {
        let renewed = self.0.connector.equip(clients);
        if !renewed.is_empty() {
            self.0.pool.retire(&renewed);
        }
    }

    /// Closes some of the connections that wait for the next request; gives how many. For when memory or descriptors run
    /// low: a new one can be made, should it be needed.
    pub(crate) fn reap(&self) -> u64 {
        self.0.pool.reap()
    }

    /// Who waits to make a connection.
    pub(crate) fn waiting(&self) -> Queue {
        self.0.turnstile.watch()
    }

    /// Makes a deployment's named upstreams live, in the settings' order. What is known of endpoints that were there
    /// before is kept.
    pub(crate) fn named(&self, settings: &Settings, watching: &[Watching]) -> Vec<Rc<Named>> {
        Named::all(&self.0, settings, watching)
    }

    /// A target to send to with [`send_along`](Self::send_along).
    pub(crate) fn destination(&self, target: &Target, connection: &Rc<Connection>) -> Destination {
        Destination { place: self.0.pool.place(target, connection), connection: connection.clone() }
    }

    /// As [`send_to`](Self::send_to), to a target with the destination's scheme and authority.
    ///
    /// # Errors
    /// As there.
    pub(crate) async fn send_along(
        &self,
        mut request: Request,
        destination: &Destination,
        exchange: &Exchange,
    ) -> Result<Response, Failure> {
        let Destination { place, connection } = destination;
        let way = Way::new(place, connection, AddressPolicy::ALL, Some(exchange));
        self.0.attempt(&mut request, &way).await
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
        exchange: Option<&Exchange>,
    ) -> Result<Response, Failure> {
        self.0.send(request, connection, AddressPolicy::ALL, exchange, None).await
    }

    /// As [`send_to`](Self::send_to), to that address of the target.
    ///
    /// # Errors
    /// As there.
    async fn send_at(
        &self,
        mut request: Request,
        at: IpAddr,
        connection: &Rc<Connection>,
    ) -> Result<Response, Failure> {
        let place = self.0.pool.place(&request.target, connection);
        let way = Way { at: Some(at), ..Way::new(&place, connection, AddressPolicy::ALL, None) };
        self.0.attempt(&mut request, &way).await
    }

    /// Connects to that address of the target, TLS included, and closes again.
    ///
    /// # Errors
    /// One of the upstream's reasons.
    async fn connect(&self, target: &Target, at: IpAddr, connection: &Connection) -> Result<(), Failure> {
        let protocol = connection.protocol;
        let connected = self.0.connector.connect(target, Some(at), connection, protocol, AddressPolicy::ALL);
        connected.await.map(drop)
    }

    /// As [`send_to`](Self::send_to), to a target that an upstream chose, by a redirect: held to the address policy of plugins.
    ///
    /// # Errors
    /// As there, and [`Reason::AddressDenied`](polygate_pipeline::Reason::AddressDenied).
    pub(crate) async fn follow(
        &self,
        request: Request,
        connection: &Rc<Connection>,
        exchange: &Exchange,
    ) -> Result<Response, Failure> {
        let policy = self.0.plugins.borrow().policy;
        self.0.send(request, connection, policy, Some(exchange), None).await
    }
}

impl Outbound for Client {
    fn send(
        &self,
        mut request: Request,
        options: OutboundOptions,
    ) -> LocalBoxFuture<'static, Result<Response, Failure>> {
        // Plugins send requests; there is nothing that they could do with a tunnel.
        request.upgrade = None;
        let inner = self.0.clone();
        let Plugins { connection, policy } = inner.plugins.borrow().clone();
        Box::pin(async move { inner.send(request, &connection, policy, None, options.timeout).await })
    }
}

impl<'a> Way<'a> {
    fn new(
        place: &'a Rc<Place>,
        connection: &'a Rc<Connection>,
        policy: AddressPolicy,
        exchange: Option<&'a Exchange>,
    ) -> Self {
        let quiet = connection.response;
        Self { place, connection, policy, at: None, named: None, exchange, limit: None, quiet }
    }

    /// A connection to use again, unless it is to be a fresh one.
    fn reusable(&self, fresh: bool) -> Option<Connected> {
        if fresh { None } else { self.place.take(|ip| self.policy.admits(ip)) }
    }
}

impl Inner {
    async fn send(
        &self,
        mut request: Request,
        connection: &Rc<Connection>,
        policy: AddressPolicy,
        exchange: Option<&Exchange>,
        limit: Option<Duration>,
    ) -> Result<Response, Failure> {
        let place = self.pool.place(&request.target, connection);
        let way = Way { limit, ..Way::new(&place, connection, policy, exchange) };
        self.attempt(&mut request, &way).await
    }

    /// One try for an exchange, if it is for one: counted, and a call of its trace.
    async fn attempt(&self, request: &mut Request, way: &Way<'_>) -> Result<Response, Failure> {
        let Some(exchange) = way.exchange else { return self.send_one_way(request, way).await };
        exchange.count_try();
        let call = Call::begin(exchange, request, Caller::Handler);
        let result = self.send_one_way(request, way).await;
        if let Some(call) = call {
            call.end(&result);
        }
        result
    }

    /// Sends a request one way. Its body is taken out once there is a connection.
    async fn send_one_way(&self, request: &mut Request, way: &Way<'_>) -> Result<Response, Failure> {
        let mut made = None;
        if way.connection.protocol.may_be_http2(request.target.scheme()) {
            match Box::pin(self.send_http2(request, way)).await? {
                Sent::Response(response) => return Ok(response),
                Sent::Http1(connected) => made = Some((connected, false)),
                Sent::Unlikely => {}
            }
        }
        let framing = encode::request_framing(&request.body);
        // Policies may have made the request anew: only the exchange knows what came.
        let keyless = way.exchange.is_some_and(|exchange| exchange.version() == Version::Http2);
        let mut fresh = false;
        loop {
            let (connected, reused) = match made.take() {
                Some(made) => made,
                None => self.connected(&request.target, way, fresh).await?,
            };
            if let Some(exchange) = way.exchange {
                exchange.set_upstream_address(SocketAddr::new(connected.peer, way.place.port));
            }
            let body = std::mem::take(&mut request.body);
            // Only what is in memory can be sent a second time.
            let replay = reused.then(|| replay(&body)).flatten();
            let wish = Wish::of(request, keyless);
            let mut outbox = Outbox::new();
            encode::request_head(
                outbox.end_mut(),
                &request.method,
                &request.target,
                &request.headers,
                framing,
                wish.as_deref().map(Wish::protocol),
            );
            let transfer = Transfer::new(outbox, Encoder::new(framing), body);
            let (place, connection) = (way.place.clone(), way.connection.clone());
            let mut flight = Flight::new(connected, transfer, place, connection, wish);
            let interim = way.exchange.and_then(Exchange::interim);
            match flight.head(&request.method, interim, way.limit, way.quiet).await {
                Ok(head) => return flight.response(head),
                // The upstream closed a kept connection just as it was used again (RFC 9112 9.3.1): on a new one the
                // request is not a repetition, or is harmless.
                Err(no)
                    if no.died && (no.written == 0 || is_idempotent(&request.method)) && replay.is_some() =>
                {
                    request.body = replay.unwrap_or_default();
                    fresh = true;
                }
                Err(no) if no.died && no.written == 0 => return Err(no.failure.retryable()),
                Err(no) => return Err(no.failure),
            }
        }
    }

    /// A connection, and whether it was used before.
    async fn connected(
        &self,
        target: &Target,
        way: &Way<'_>,
        fresh: bool,
    ) -> Result<(Connected, bool), Failure> {
        match way.reusable(fresh) {
            Some(connected) => Ok((connected, true)),
            // On the heap: of all requests but the first few, none has to hold the room for it.
            None => Box::pin(self.connect(target, way, fresh)).await,
        }
    }

    /// A connection when there was none to use again. When many want one at the same time, they are made a few a turn; by
    /// then another exchange may have left one.
    async fn connect(
        &self,
        target: &Target,
        way: &Way<'_>,
        fresh: bool,
    ) -> Result<(Connected, bool), Failure> {
        if timeout(way.connection.connect, self.turnstile.enter()).await.is_err() {
            return Err(connect::timed_out(target, way.connection));
        }
        let open = match way.named {
            None => match way.reusable(fresh) {
                Some(connected) => return Ok((connected, true)),
                None => None,
            },
            Some(named) => loop {
                match named.admit(way.place, fresh, false).await? {
                    Admitted::Kept(connected) => return Ok((*connected, true)),
                    Admitted::New(open) => break Some(open),
                    Admitted::Shared => {}
                }
            },
        };
        let generation = way.place.generation();
        let protocol = UpstreamProtocol::Http1;
        let mut connected =
            self.connector.connect(target, way.at, way.connection, protocol, way.policy).await?;
        connected.open = open;
        connected.generation = generation;
        Ok((connected, false))
    }
}

fn replay(body: &Body) -> Option<Body> {
    match body.as_full() {
        Some(bytes) => Some(Body::full(bytes.clone())),
        None => body.is_empty().then(Body::empty),
    }
}

#[cfg(test)]
mod tests;

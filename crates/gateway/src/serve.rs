//! The exchange on a worker: from a request that was read to a response that can be sent.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use polygate_pipeline::{
    Body, Client, Exchange, ExchangeParts, Failure, Interim, Known, Method, Reason, Request, RequestId,
    Response, StatusCode, Target, Trace, Upgrade, Version, clock,
};
use polygate_plan::{CanonicalPath, PathSeen, Settings, canonical};

use crate::compress;
use crate::events::Events;
use crate::forwarded;
use crate::grpc;
use crate::live::Live;
use crate::metrics::WorkerMetrics;
use crate::overload::{Cause, Valve};
use crate::service::{Refusal, Service};
use crate::tls::Challenges;
use crate::traces::Tracing;
use crate::tunnel::Seats;

mod track;

pub(crate) use self::track::Track;

/// Answers the requests of one worker's connections.
#[derive(Clone)]
pub(crate) struct Server(Rc<Inner>);

struct Inner {
    worker: usize,
    live: RefCell<Rc<Live>>,
    events: Events,
    metrics: WorkerMetrics,
    xray_sample: u32,
    xray_turn: Cell<u32>,
    tracing: Option<Tracing>,
    valve: Valve,
    /// Exchanges that run now.
    running: Cell<usize>,
    random: RefCell<fastrand::Rng>,
    seats: Seats,
    /// Why exchanges that are dropped from now on end.
    dropped_for: Cell<Reason>,
    /// The label of exchanges without a route.
    unrouted: Arc<str>,
    /// What authorities are answered that are asked for certificates.
    challenges: OnceCell<Arc<Challenges>>,
}

impl Server {
    /// A server for the first deployment.
    pub(crate) fn new(
        worker: usize,
        live: Live,
        events: Events,
        metrics: WorkerMetrics,
        xray_sample: u32,
        tracing: Option<Tracing>,
        valve: Valve,
    ) -> Self {
        Self(Rc::new(Inner {
            worker,
            live: RefCell::new(Rc::new(live)),
            events,
            metrics,
            xray_sample,
            xray_turn: Cell::default(),
            tracing,
            valve,
            running: Cell::new(0),
            random: RefCell::new(fastrand::Rng::new()),
            seats: Seats::default(),
            dropped_for: Cell::new(Reason::ClientClosed),
            unrouted: Arc::from(""),
            challenges: OnceCell::new(),
        }))
    }

    /// The same, which answers challenges of authorities.
    pub(crate) fn answering(self, challenges: &Arc<Challenges>) -> Self {
        // It was made just now.
        let _ = self.0.challenges.set(challenges.clone());
        self
    }

    /// The answer to an authority's challenge by HTTP-01, which comes in cleartext (RFC 8555 8.3).
    fn challenge(&self, client: &Client, request: &Request) -> Option<Response> {
        let challenges = self.0.challenges.get().filter(|challenges| challenges.are_pending())?;
        if client.tls.is_some() || request.method != Method::GET {
            return None;
        }
        let answer = challenges.http(request.target.path())?;
        let mut response = Response::new(StatusCode::OK);
        // Constant, and a name.
        let _ = response.headers.set("Content-Type", b"application/octet-stream");
        response.body = Body::full(answer);
        Some(response)
    }

    /// The deployment that new exchanges run on.
    pub(crate) fn live(&self) -> Rc<Live> {
        self.0.live.borrow().clone()
    }

    /// Lets new exchanges run on another deployment.
    pub(crate) fn swap(&self, live: Live) {
        self.0.live.replace(Rc::new(live));
    }

    /// What still runs is about to be cut off by a stop.
    pub(crate) fn cut(&self) {
        self.0.dropped_for.set(Reason::Stopping);
    }

    fn begin(&self, live: &Rc<Live>, client: Client, head: Head) -> Track {
        let sample = self.0.xray_sample;
        let turn = self.0.xray_turn.get();
        self.0.xray_turn.set(if turn + 1 >= sample { 0 } else { turn + 1 });
        let exchange = Exchange::new(ExchangeParts {
            id: head.id,
            started: clock::now(),
            client,
            method: head.method,
            target: head.target,
            version: head.version,
            xray: sample > 0 && turn == 0,
            trace: head.trace,
            interim: head.interim,
            services: live.services.clone(),
        });
        self.0.metrics.with(|metrics| metrics.running += 1);
        self.0.running.set(self.0.running.get() + 1);
        Track {
            server: self.clone(),
            live: live.clone(),
            exchange,
            route: None,
            status: 0,
            over: false,
            captured: None,
            seat: None,
        }
    }

    /// Why the exchange that has just begun is not to go on, if it is not.
    fn sheds(&self, live: &Live, exchange: &Exchange) -> Option<Failure> {
        let Settings { limits, overload, .. } = &live.deployment.plan().settings;
        let valve = &self.0.valve;
        let late = overload.enabled && valve.is_late(exchange.started(), overload.lag);
        let full = self.0.running.get() > limits.exchanges;
        let own = if late { Some(Cause::Lag) } else { full.then_some(Cause::Exchanges) };
        let cause = valve.sheds().or(own)?;
        self.0.metrics.with(|metrics| metrics.shed[cause as usize] += 1);
        Some(Failure::new(Reason::Overloaded).detail(cause.as_str()))
    }

    fn new_id(&self) -> RequestId {
        RequestId::from_random(self.0.random.borrow_mut().u128(..))
    }

    async fn answer(
        &self,
        live: &Rc<Live>,
        track: &mut Track,
        mut request: Request,
    ) -> Result<Response, Failure> {
        let settings = &live.deployment.plan().settings;
        if !is_registered(&request.method) {
            return Err(Failure::new(Reason::MethodNotImplemented));
        }
        if let (Some(tls), Some(connection)) = (&settings.tls, &track.exchange.client().tls)
            && tls.refuse_misdirected
            && !connection.admits(request.target.host())
        {
            return Err(Failure::new(Reason::Misdirected));
        }
        if let Some(response) = self.challenge(track.exchange.client(), &request) {
            return Ok(response);
        }
        let CanonicalPath { path, form } = canonical(request.target.path());
        let Some(found) = live.router.find(&request.method, &path) else {
            let refused = settings.listen.ambiguous_paths.see(form) == PathSeen::Refused;
            return Err(Failure::new(if refused { Reason::PathRefused } else { Reason::NoRoute }));
        };
        let route = &live.routes[found.route];
        let planned = &live.deployment.plan().routes[found.route];
        match planned.ambiguous_paths.see(form) {
            PathSeen::Canonical => {
                if let Cow::Owned(path) = path {
                    request.target = with_path(&request.target, &path)?;
                }
            }
            PathSeen::Received => {}
            PathSeen::Refused => {
                let detail = format!("a path of {} that can be read in several ways", route.info.label);
                return Err(Failure::new(Reason::PathRefused).detail(detail));
            }
        }
        track.route = Some(found.route);
        track.exchange.set_route(route.info.clone(), found.params);
        let limit = planned.body_limit.bytes();
        match request.body.length() {
            Some(length) if length > limit => return Err(Failure::new(Reason::BodyTooLarge)),
            Some(_) => {}
            None => request.body = Body::stream(crate::limit::Limited::new(request.body, limit)),
        }
        forwarded::tell(&mut request, &track.exchange, &settings.listen.request_id_header);
        if request.upgrade.is_some() {
            self.admit_upgrade(settings, track, &mut request)?;
        }
        route.chain.run(request, &track.exchange).await
    }

    /// Leaves of a wish for another protocol what the settings allow, and sees to it that there is room for the tunnel.
    #[cold]
    fn admit_upgrade(
        &self,
        settings: &Settings,
        track: &mut Track,
        request: &mut Request,
    ) -> Result<(), Failure> {
        let allowed = &settings.listen.upgrades;
        request.upgrade = Upgrade::choose(&request.headers, |protocol| allowed.contains(protocol));
        if request.upgrade.is_none() {
            if track.exchange.version() == Version::Http2 {
                // There it is the method.
                let detail = "CONNECT for a protocol that listen.upgrades does not list";
                return Err(Failure::new(Reason::UpgradeRefused).detail(detail));
            }
            // RFC 9110 7.8: it may be ignored.
            return Ok(());
        }
        let most = settings.limits.tunnels;
        track.seat = self.0.seats.take(most);
        if track.seat.is_none() {
            self.0.metrics.with(|metrics| metrics.tunnels_refused += 1);
            return Err(Failure::new(Reason::Overloaded).detail(format!("{most} tunnels are open")));
        }
        Ok(())
    }
}

/// Whether a client that has sent an extended CONNECT would take a response for a tunnel that is none (RFC 9113 8.5).
fn agrees_without_tunnel(response: &Response) -> bool {
    response.status.is_success() && !response.body.is_tunnel()
}

fn with_path(target: &Target, path: &str) -> Result<Target, Failure> {
    let made = Target::new(target.scheme(), target.authority(), &[path, target.search()].concat());
    made.map_err(|error| Failure::new(Reason::PathRefused).detail(error.to_string()))
}

/// What is known of a request before it is routed.
struct Head {
    id: RequestId,
    method: Method,
    target: Target,
    version: Version,
    trace: Option<Box<Trace>>,
    interim: Option<Interim>,
}

impl Service for Server {
    type Finish = Track;

    fn is_introduced(&self, peer: IpAddr) -> bool {
        let live = self.0.live.borrow();
        let listen = &live.deployment.plan().settings.listen;
        listen.proxy_protocol && listen.trusted_proxies.contain(peer)
    }

    fn is_trusted(&self, peer: IpAddr) -> bool {
        let live = self.0.live.borrow();
        live.deployment.plan().settings.listen.trusted_proxies.contain(peer)
    }

    fn valve(&self) -> &Valve {
        &self.0.valve
    }

    async fn call(
        &self,
        mut request: Request,
        mut client: Client,
        interim: Option<Interim>,
    ) -> (Response, Track) {
        let live = self.live();
        let listen = &live.deployment.plan().settings.listen;
        let trusted = listen.trusted_proxies.contain(client.ip);
        let mut id = None;
        if trusted {
            id = request.headers.get(&listen.request_id_header).and_then(RequestId::from_text);
            client.ip = forwarded::client(&request, &listen.trusted_proxies).unwrap_or(client.ip);
        } else {
            // A client must not be able to claim who it is.
            for name in
                [Known::Forwarded, Known::XForwardedFor, Known::XForwardedHost, Known::XForwardedProto]
            {
                request.headers.remove_known(name);
            }
        }
        let head = Head {
            id: id.unwrap_or_else(|| self.new_id()),
            method: request.method.clone(),
            target: request.target.clone(),
            version: request.version,
            trace: self
                .0
                .tracing
                .map(|tracing| tracing.begin(&request, trusted, &mut self.0.random.borrow_mut())),
            interim,
        };
        let connects = request.upgrade.is_some() && request.version == Version::Http2;
        let mut track = self.begin(&live, client, head);
        track.captured = live.access.request(&request);
        let compression = live.deployment.plan().settings.compression.as_ref();
        let accepted = compression.and_then(|settings| compress::accepted(settings, &request));
        let grpc = grpc::is_spoken(&request);
        let answered = match self.sheds(&live, &track.exchange) {
            None => self.answer(&live, &mut track, request).await,
            Some(failure) => Err(failure),
        };
        let mut response = match answered {
            Ok(response) if connects && agrees_without_tunnel(&response) => {
                let detail = format!("answered with {} and without a tunnel", response.status);
                track.fail(&Failure::new(Reason::UpgradeRefused).detail(detail))
            }
            Ok(mut response) => {
                if grpc {
                    grpc::watch(&mut response, &track.exchange);
                }
                response
            }
            Err(failure) => {
                let response = track.fail(&failure);
                if grpc { grpc::response(&failure).unwrap_or(response) } else { response }
            }
        };
        if let Some(settings) = compression {
            compress::apply(settings, accepted, &mut response);
        }
        let id = *track.exchange.id();
        // The name was checked when the plan was made, the id when it was taken.
        let _ = response.headers.set(&listen.request_id_header, id.as_bytes());
        track.status = response.status.as_u16();
        if let Some(seat) = &mut track.seat {
            if response.body.is_tunnel() {
                seat.open(&self.0.metrics);
            } else {
                track.seat = None;
            }
        }
        if let Some(captured) = &mut track.captured {
            live.access.response(captured, &response.headers);
        }
        (response, track)
    }

    fn refuse(&self, refusal: Refusal, client: Client) -> (Response, Track) {
        let live = self.live();
        let head = Head {
            id: self.new_id(),
            method: refusal.method.unwrap_or(Method::GET),
            target: refusal.target.unwrap_or_default(),
            version: refusal.version,
            // What is no request has no parent, and calls nobody.
            trace: None,
            interim: None,
        };
        let mut track = self.begin(&live, client, head);
        let mut response = track.fail(&refusal.failure);
        let name = &live.deployment.plan().settings.listen.request_id_header;
        // As above.
        let _ = response.headers.set(name, track.exchange.id().as_str().as_bytes());
        track.status = response.status.as_u16();
        (response, track)
    }
}

/// Whether the method is one that is commonly registered; others are answered with 501.
pub fn is_registered(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET
            | Method::HEAD
            | Method::POST
            | Method::PUT
            | Method::PATCH
            | Method::DELETE
            | Method::OPTIONS
            | Method::TRACE
    )
}

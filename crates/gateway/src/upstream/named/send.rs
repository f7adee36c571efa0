//! A request to a named upstream: tries until one is good enough, or no other one may be made.

use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use polygate_pipeline::{
    Blame, Body, BodyStream, Exchange, Failure, Frame, Method, Reason, Request, Response,
};
use polygate_plan::Balance;
use tokio::time::Instant;

use super::{Core, Named, Way};
use crate::upstream::balance::Seat;
use crate::upstream::connect::AddressPolicy;
use crate::upstream::endpoint::{Endpoint, State};
use crate::upstream::retry::{self, Repeat, is_idempotent};

impl Named {
    /// Sends a request for an incoming target, to which the endpoint's base is put; without its query unless `search`.
    /// Afterwards the request has the target of the last try.
    ///
    /// # Errors
    /// The reason of the last try, or why there was none.
    pub(crate) async fn send(
        self: &Rc<Self>,
        request: &mut Request,
        search: bool,
        exchange: &Exchange,
    ) -> Result<Response, Failure> {
        let part = self.part()?;
        let named = part.as_ref().unwrap_or(self);
        let client = exchange.client().ip;
        if let (Some(shadow), Some(mirror)) = (named.mirror.get(), &named.spec.mirror) {
            named.copy(request, search, client, shadow, mirror);
        }
        let key = named.key(request, client);
        named.run(request, search, key, Some(exchange)).await
    }

    /// Of a split, the upstream whose turn it is.
    fn part(&self) -> Result<Option<Rc<Self>>, Failure> {
        let shares = &self.spec.split;
        let Some(parts) = self.split.get().filter(|parts| !parts.is_empty()) else { return Ok(None) };
        let index = self.chooser.choose(parts, |index| shares[index].weight, None);
        let part = index.and_then(|index| parts[index].upgrade());
        let gone = || Failure::new(Reason::Internal).detail("a part of the split is gone");
        part.map(Some).ok_or_else(gone)
    }

    /// Sends a request, and again where that is worth it and safe.
    pub(in crate::upstream) async fn run(
        self: &Rc<Self>,
        request: &mut Request,
        search: bool,
        key: Option<u64>,
        exchange: Option<&Exchange>,
    ) -> Result<Response, Failure> {
        let running = self.enter()?;
        self.ready().await?;
        let retries = &self.spec.retries;
        let keep = self.keeps_bodies && is_idempotent(&request.method);
        let repeat = match retries.attempts {
            0 => None,
            _ => Some(Repeat::of(&mut request.body, keep.then_some(retries.body.bytes()))),
        };
        self.core.budget.pay_in(retries);
        // Without settings of their own there is at most one retry, of what took no longer than connecting.
        let started = retries.same_endpoint.then(Instant::now);
        let mut retrying: Option<Retrying> = None;
        let mut incoming = None;
        let mut tried = Vec::new();
        loop {
            let endpoint = self.choose(key, &tried)?;
            let joined = endpoint.join(incoming.as_ref().unwrap_or(&request.target), search);
            let joined = joined.map_err(|error| {
                Failure::new(Reason::PolicyResult).detail(format!("the upstream's URL: {error}"))
            })?;
            let before = std::mem::replace(&mut request.target, joined);
            incoming.get_or_insert(before);
            if let Some(exchange) = exchange {
                exchange.set_upstream(endpoint.authority.clone());
                exchange.set_upstream_address(endpoint.address);
            }
            let busy = Busy::new(&endpoint);
            let way = Way {
                at: Some(endpoint.address.ip()),
                named: Some(self),
                quiet: self.patience(started),
                ..Way::new(&endpoint.place, &self.connection, AddressPolicy::ALL, exchange)
            };
            let outcome = self.client.attempt(request, &way).await;
            self.note(&endpoint, &outcome);
            let Some(wait) = self.pause(tried.len() as u32, &outcome, &request.method, started) else {
                let response = outcome?;
                return Ok(self.finish(response, key, endpoint, (running, busy, retrying)));
            };
            let left = std::mem::take(&mut request.body);
            let taken = left.is_empty();
            let Some(body) = repeat.as_ref().and_then(|repeat| repeat.again(left, taken)) else {
                let response = outcome?;
                return Ok(self.finish(response, key, endpoint, (running, busy, retrying)));
            };
            if retrying.is_none() {
                retrying = Retrying::new(&self.core, self.spec.breaker.retries);
            }
            if retrying.is_none() || !self.may_spend() {
                let response = outcome?;
                return Ok(self.finish(response, key, endpoint, (running, busy, retrying)));
            }
            self.core.vitals.retries.add(1);
            drop((outcome, busy));
            request.body = body;
            tried.push(endpoint.seed());
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
        }
    }

    /// Room for a request.
    fn enter(&self) -> Result<Running, Failure> {
        let vitals = &self.core.vitals;
        vitals.requests.add(1);
        let most = self.spec.breaker.requests;
        if vitals.running.get() >= most as u64 {
            return Err(self.overloaded(format!("{most} requests are under way")));
        }
        vitals.running.add(1);
        Ok(Running(self.core.clone()))
    }

    /// How long a try may go without progress.
    fn patience(&self, started: Option<Instant>) -> Duration {
        let whole = self.connection.response;
        let one = self.spec.try_timeout.unwrap_or(whole);
        match started {
            Some(started) => one.min(whole.saturating_sub(started.elapsed())),
            None => one,
        }
    }

    /// How long to wait before another try is made; `None` when none is worth it or safe. `number` were made again
    /// before.
    fn pause(
        &self,
        number: u32,
        outcome: &Result<Response, Failure>,
        method: &Method,
        started: Option<Instant>,
    ) -> Option<Duration> {
        let retries = &self.spec.retries;
        let cause = retry::cause(outcome)?;
        if number >= retries.attempts || !retries.on.contains(&cause) || !retry::is_safe(outcome, method) {
            return None;
        }
        if !retries.same_endpoint && self.members.borrow().endpoints.len() < 2 {
            return None;
        }
        let mut wait = match retries.backoff.is_zero() {
            true => Duration::ZERO,
            false => retry::backoff(retries.backoff, number + 1, fastrand::f64()),
        };
        if let (Ok(response), Some(longest)) = (outcome, retries.retry_after)
            && let Some(asked) = retry::retry_after(response)
        {
            if asked > longest {
                return None;
            }
            wait = wait.max(asked);
        }
        let left = started.map(|started| self.connection.response.saturating_sub(started.elapsed()));
        left.is_none_or(|left| wait < left).then_some(wait)
    }

    /// Takes a retry out of the budget.
    fn may_spend(&self) -> bool {
        let may = self.core.budget.take(&self.spec.retries, Instant::now());
        if !may {
            self.core.vitals.over_budget.add(1);
        }
        may
    }

    /// The response for the client: what was counted is held until its body's end.
    fn finish(
        self: &Rc<Self>,
        mut response: Response,
        key: Option<u64>,
        endpoint: Rc<Endpoint>,
        held: Held,
    ) -> Response {
        if let Balance::StickyCookie(sticky) = &self.spec.balance
            && key != Some(endpoint.seed())
        {
            let value = format!("{}={:016x}{}", sticky.name, endpoint.seed(), sticky.attributes);
            // Checked when the plan was made.
            let _ = response.headers.append("Set-Cookie", value.as_bytes());
        }
        if response.body.is_tunnel() {
            response.body.with_tunnel(|tunnel| tunnel.hold(held));
        } else if response.body.as_full().is_none() && !response.body.is_empty() {
            let body = std::mem::take(&mut response.body);
            let counted = Counted { body, held: Some(held), named: Rc::downgrade(self), endpoint };
            response.body = Body::stream(counted);
        }
        response
    }
}

impl Seat for Weak<Named> {
    fn load(&self) -> u32 {
        0
    }

    fn seed(&self) -> u64 {
        0
    }
}

/// What is counted while a request is under way.
type Held = (Running, Busy, Option<Retrying>);

/// A request that is under way in an upstream.
struct Running(Rc<Core>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.vitals.running.sub(1);
    }
}

/// A request that is under way on an endpoint.
struct Busy(Rc<State>);

impl Busy {
    fn new(endpoint: &Endpoint) -> Self {
        endpoint.state.vitals.requests.add(1);
        endpoint.state.vitals.running.add(1);
        Self(endpoint.state.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.vitals.running.sub(1);
    }
}

/// A request that is being tried again.
struct Retrying(Rc<Core>);

impl Retrying {
    fn new(core: &Rc<Core>, most: usize) -> Option<Self> {
        if core.vitals.retrying.get() >= most as u64 {
            core.vitals.overloaded.add(1);
            return None;
        }
        core.vitals.retrying.add(1);
        Some(Self(core.clone()))
    }
}

impl Drop for Retrying {
    fn drop(&mut self) {
        self.0.vitals.retrying.sub(1);
    }
}

/// A response's body, counted as under way until its end.
struct Counted {
    body: Body,
    held: Option<Held>,
    named: Weak<Named>,
    endpoint: Rc<Endpoint>,
}

impl BodyStream for Counted {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Failure>>> {
        let polled = self.body.poll_frame(cx);
        match &polled {
            Poll::Ready(None) => self.held = None,
            Poll::Ready(Some(Err(failure))) => {
                self.held = None;
                if let Some(named) = self.named.upgrade().filter(|_| failure.blame() == Blame::Upstream) {
                    named.judge(&self.endpoint, true);
                }
            }
            _ => {}
        }
        polled
    }

    fn poll_progress(&mut self, cx: &mut Context<'_>) {
        self.body.poll_progress(cx);
    }

    fn length(&self) -> Option<u64> {
        self.body.length()
    }
}

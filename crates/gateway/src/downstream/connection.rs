//! One connection: requests in, responses out, in order, until one of both sides has had enough.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Method;
use polygate_http1::encode::{self, Encoder, ResponseOptions};
use polygate_http1::{Framing, Origin, RequestHead, RequestParser, WireError};
use polygate_pipeline::{
    Body, Client, Failure, Frame, Interim, Reason, Request, Response, Scheme, StatusCode, Upgrade, Version,
};
use polygate_plan::Timeouts;
use tokio::io::AsyncWrite;
use tokio::time::Instant;

use super::body::RequestBody;
use super::state::{Shared, State};
use super::stop::Open;
use super::transport::Transport;
use super::{Common, http2};
use crate::buffer;
use crate::service::{End, Finish, Refusal, Service};
use crate::turnstile::Ticket;
use crate::wire::{Deadline, Transfer, now, take_whole};

/// How long unread bytes of a request are waited for, so that the connection can be kept, or closed without the
/// client losing the response to a reset.
pub(super) const DRAIN_TIME: Duration = Duration::from_secs(1);
/// A connection that waits for a request when the worker stops gets this long: the request may be under way, and closing
/// would lose it.
pub(super) const LAST_CHANCE: Duration = Duration::from_millis(500);
/// Bytes that are read and thrown away while a connection is being closed.
const LINGER_BYTES: usize = 256 << 10;

/// Serves a connection of `client` to its end.
pub(super) async fn serve<S: Service>(stream: Transport, client: Client, common: Rc<Common<S>>, open: Open) {
    let scheme = if client.tls.is_some() { Scheme::Https } else { Scheme::Http };
    let origin = Origin { scheme, authority: client.local.to_string() };
    let state = Rc::new(RefCell::new(State::new(stream, common.limits)));
    let mut connection = Connection {
        common: common.clone(),
        state: state.clone(),
        client: client.clone(),
        origin,
        parser: RequestParser::new(),
        deadline: Deadline::default(),
        interim: Interim::default(),
        cut_short: false,
        open,
    };
    poll_fn(|cx| {
        connection.open.wake_on_stop(cx.waker());
        Poll::Ready(())
    })
    .await;
    let mut first = true;
    loop {
        match connection.next(first).await {
            Next::Request(head) => {
                if !connection.exchange(head).await {
                    break;
                }
            }
            // A request line of HTTP/1.1 is never refused for being this one.
            Next::Refuse(_) if first && connection.begins_http2() => {
                let Connection { open, state: held, .. } = connection;
                drop(held);
                let Ok(state) = Rc::try_unwrap(state) else { return };
                let State { stream, buffer, .. } = state.into_inner();
                // Boxed: of connections of HTTP/1.1 none has to hold the room for it.
                return Box::pin(http2::serve(stream, buffer.bytes, client, common, open)).await;
            }
            Next::Refuse(failure) => {
                connection.refuse(failure).await;
                break;
            }
            Next::Close => break,
        }
        first = false;
    }
    let held = Rc::strong_count(&state) > 2;
    let stream = &mut state.borrow_mut().stream;
    if !connection.cut_short {
        stream.say_goodbye();
    }
    if held {
        // A body that somebody still holds must not keep the socket open.
        stream.cut();
    }
}

pub(super) struct Connection<S> {
    pub(super) common: Rc<Common<S>>,
    pub(super) state: Shared,
    client: Client,
    origin: Origin,
    parser: RequestParser,
    deadline: Deadline,
    /// Interim responses of the current exchange.
    interim: Interim,
    /// A response broke off: what was sent must not look whole.
    pub(super) cut_short: bool,
    open: Open,
}

/// What came next on a connection.
enum Next {
    Request(RequestHead),
    /// Something that is answered once, and then the connection is closed.
    Refuse(Failure),
    Close,
}

impl<S: Service> Connection<S> {
    /// Reads the next head; `first` is the connection's first.
    async fn next(&mut self, first: bool) -> Next {
        let Self { common, state, origin, parser, deadline, open, .. } = self;
        let (mut idle_since, mut head_since, mut chance_since) = (None, None, None);
        // Whether all that had come was read; what comes then waits for its turn.
        let (mut dry, mut ticket) = (false, Ticket::default());
        poll_fn(|cx| {
            let state = &mut *state.borrow_mut();
            state.set_task(cx.waker());
            loop {
                if !state.buffer.bytes.is_empty() {
                    match parser.parse(&mut state.buffer.bytes, &common.limits, origin) {
                        Ok(Some(head)) => {
                            open.set_idle(None);
                            state.buffer.release();
                            return Poll::Ready(Next::Request(head));
                        }
                        Ok(None) => {}
                        Err(error) => return Poll::Ready(Next::Refuse(refusal(error))),
                    }
                }
                if state.eof {
                    return Poll::Ready(Next::Close);
                }
                let waits = dry && state.buffer.bytes.is_empty();
                if !waits || state.stream.poll_readable(cx).is_ready() {
                    if waits {
                        ready!(common.service.valve().poll_enter(&mut ticket, cx));
                    }
                    if state.poll_fill().is_ready() {
                        continue;
                    }
                    dry = true;
                }
                let begun = parser.has_begun(&state.buffer.bytes);
                if open.leaves() && !begun {
                    return Poll::Ready(Next::Close);
                }
                let (since, pause) = match (begun, first, common.stop.is_stopping()) {
                    (true, ..) => (&mut head_since, common.timeouts.head),
                    (false, _, true) => (&mut chance_since, LAST_CHANCE),
                    (false, true, false) => (&mut idle_since, common.timeouts.head),
                    (false, false, false) => (&mut idle_since, common.timeouts.idle),
                };
                let since = *since.get_or_insert_with(now);
                open.set_idle((!begun).then_some(since));
                ready!(deadline.poll(since + pause, cx));
                let timeout = Failure::new(Reason::HeadTimeout);
                return Poll::Ready(if begun { Next::Refuse(timeout) } else { Next::Close });
            }
        })
        .await
    }

    /// Whether a connection whose first bytes are no request is one of HTTP/2, by prior knowledge (RFC 9113 3.3). In TLS it
    /// would have been agreed on in the handshake.
    fn begins_http2(&self) -> bool {
        let bytes = &self.state.borrow().buffer.bytes;
        self.common.http2 && self.client.tls.is_none() && http2::is_preface(bytes)
    }

    /// Has a request answered. Says whether the connection can go on.
    async fn exchange(&mut self, head: RequestHead) -> bool {
        let (method, version, persists) = (head.method.clone(), head.version, head.keep_alive());
        let request = self.request(head);
        let upgrades = request.upgrade.is_some();
        let answered = {
            let Self { common, state, deadline, interim, .. } = self;
            interim.begin(common.interim);
            // RFC 9110 15.2: clients of version 1.0 know none.
            let told = (version != Version::Http10).then(|| interim.clone());
            let mut call = pin!(common.service.call(request, self.client.clone(), told));
            let timeouts = &common.timeouts;
            poll_fn(|cx| {
                state.borrow_mut().set_task(cx.waker());
                let polled = call.as_mut().poll(cx);
                let mut state = state.borrow_mut();
                while let Some((status, headers)) = interim.take() {
                    if !state.put_interim(status, &headers) {
                        interim.drop_one();
                    }
                }
                if let Poll::Ready(answered) = polled {
                    return Poll::Ready(Some(answered));
                }
                if state.poll_watch().is_ready() {
                    return Poll::Ready(None);
                }
                // A client that does not take 100 Continue shows on the next write.
                let _ = state.poll_interim();
                poll_body_pause(&mut state, timeouts, deadline, cx);
                Poll::Pending
            })
            .await
        };
        let dropped = self.interim.take_dropped();
        if dropped > 0 {
            self.common.metrics.with(|metrics| metrics.interim_dropped += dropped);
        }
        // The client went away; with the call its exchange was dropped.
        let Some((response, finish)) = answered else { return false };
        if upgrades && response.status == StatusCode::SWITCHING_PROTOCOLS && response.body.is_tunnel() {
            // Boxed: of connections that stay what they are, none has to hold the room for it.
            Box::pin(self.tunnel(response, finish)).await;
            return false;
        }
        self.respond(&method, version, persists, response, finish).await
    }

    fn request(&self, head: RequestHead) -> Request {
        let mut state = self.state.borrow_mut();
        let exchange = state.begin(head.framing, head.expects_continue);
        let body = match head.framing {
            Framing::Empty => Body::empty(),
            Framing::Length(length) if length <= state.buffer.bytes.len() as u64 => {
                state.begin(Framing::Empty, false);
                state.received = length;
                Body::full(take_whole(&mut state.buffer.bytes, length as usize))
            }
            _ => Body::stream(RequestBody::new(self.state.clone(), exchange)),
        };
        // RFC 9110 7.8: older clients cannot ask for it. What comes behind the head is the next request until somebody
        // has agreed, so a body has no place here either.
        let may_upgrade =
            head.connection.upgrade && head.version == Version::Http11 && head.framing == Framing::Empty;
        let RequestHead { method, target, version, headers, .. } = head;
        let upgrade = if may_upgrade { Upgrade::choose(&headers, |_| true) } else { None };
        Request { method, target, version, headers, upgrade, body }
    }

    /// Answers what is no request, and closes.
    async fn refuse(&mut self, failure: Failure) {
        let refusal = Refusal { failure, method: None, target: None, version: Version::Http11 };
        let (response, finish) = self.common.service.refuse(refusal, self.client.clone());
        self.state.borrow_mut().begin(Framing::Empty, false);
        self.respond(&Method::GET, Version::Http11, false, response, finish).await;
        self.linger().await;
    }

    /// Sends a response. Says whether the connection can go on.
    async fn respond(
        &mut self,
        method: &Method,
        version: Version,
        persists: bool,
        mut response: Response,
        finish: S::Finish,
    ) -> bool {
        let mut failure = None;
        if response.status.is_informational() || response.body.is_tunnel() {
            // An interim response in the place of the final one would leave the client waiting.
            failure = Some(
                Failure::new(Reason::PolicyResult)
                    .detail("a status of 1xx, or a tunnel, that nobody asked for"),
            );
            response = Response::new(StatusCode::INTERNAL_SERVER_ERROR);
        }
        let framing = encode::response_framing(method, response.status, version, &response.body);
        let keep_alive = persists && framing != Framing::Close && self.can_persist();
        let date = self.common.date.now();
        let options = ResponseOptions {
            method,
            version,
            framing,
            hidden_length: response.body.length(),
            keep_alive,
            date: Some(&date),
            upgrade: None,
        };
        let mut outbox = buffer::outbox();
        encode::response_head(outbox.end_mut(), response.status, &response.headers, &options);
        let body = if framing == Framing::Empty { Body::empty() } else { response.body };
        let mut transfer = Transfer::new(outbox, Encoder::new(framing), body);
        let sent = self.send(&mut transfer).await;
        let done = sent.is_ok();
        failure = sent.err().or(failure);
        let received = self.state.borrow().received;
        finish.finish(End { received, sent: transfer.sent(), failure });
        buffer::give_back(transfer.into_outbox());
        if !done {
            self.cut_short = true;
            if framing == Framing::Close {
                // Only a reset tells the client that this is not the end of the body.
                self.state.borrow().stream.reset_on_close();
            }
            return false;
        }
        let kept = keep_alive && self.drain().await;
        self.state.borrow_mut().exchange += 1;
        let unread = {
            let state = self.state.borrow();
            !state.is_body_read() || !state.buffer.bytes.is_empty()
        };
        if !kept && unread {
            self.linger().await;
        }
        kept
    }

    /// Whether the connection can go on after the response, as far as it can be known before it.
    fn can_persist(&self) -> bool {
        let mut state = self.state.borrow_mut();
        // A client that was never told to send its body may or may not do so now.
        let owed = state.settle_continue();
        let buffered = state.buffer.bytes.len() as u64;
        let too_much = !state.is_body_read()
            && state.length().is_some_and(|length| length > buffered.saturating_add(self.common.drain));
        let pressed = self.open.leaves() || self.common.service.valve().closes();
        !owed && !too_much && !state.is_broken() && !pressed && !self.common.stop.is_stopping()
    }

    /// Writes a response as it comes.
    pub(super) async fn send(&mut self, transfer: &mut Transfer) -> Result<(), Failure> {
        let Self { common, state, deadline, .. } = self;
        let timeouts = common.timeouts;
        let closed = || Failure::new(Reason::ClientClosed);
        state.borrow_mut().answered();
        poll_fn(|cx| {
            state.borrow_mut().set_task(cx.waker());
            loop {
                // No borrow here: the body may be, or wait for, the request's.
                transfer.pull(cx)?;
                let state = &mut *state.borrow_mut();
                let mut blocked = match state.poll_interim() {
                    Poll::Ready(Ok(())) => false,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(closed().source(error))),
                    Poll::Pending => true,
                };
                let starved = transfer.is_idle();
                if starved && transfer.has_pulled_all() {
                    return Poll::Ready(Ok(()));
                }
                if !blocked && !starved {
                    match transfer.poll_push(&mut state.stream, cx) {
                        Poll::Ready(Ok(())) => continue,
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(closed().source(error))),
                        Poll::Pending => blocked = true,
                    }
                }
                // A client that has closed its side may still read what is ready for it, but is not waited with.
                if state.poll_watch().is_ready() && !blocked {
                    return Poll::Ready(Err(closed()));
                }
                if let Some(since) = transfer.stalled().or(state.interim_stalled())
                    && deadline.poll(since + timeouts.write, cx).is_ready()
                {
                    return Poll::Ready(Err(Failure::new(Reason::WriteTimeout)));
                }
                poll_body_pause(state, &timeouts, deadline, cx);
                return Poll::Pending;
            }
        })
        .await
    }

    /// Reads what is left of the request's body, within the cap and the time. Says whether it is read.
    async fn drain(&mut self) -> bool {
        let Self { common, state, deadline, .. } = self;
        let mut left = common.drain;
        let mut until = None;
        poll_fn(|cx| {
            let mut state = state.borrow_mut();
            state.set_task(cx.waker());
            while !state.is_body_read() {
                match state.poll_frame(cx) {
                    Poll::Ready(Some(Ok(Frame::Data(data)))) => match left.checked_sub(data.len() as u64) {
                        Some(rest) => left = rest,
                        None => return Poll::Ready(false),
                    },
                    Poll::Ready(Some(Ok(Frame::Trailers(_)))) => {}
                    Poll::Ready(Some(Err(_))) => return Poll::Ready(false),
                    Poll::Ready(None) => return Poll::Ready(true),
                    Poll::Pending => {
                        let until = *until.get_or_insert_with(|| Instant::now() + DRAIN_TIME);
                        return deadline.poll(until, cx).map(|()| false);
                    }
                }
            }
            Poll::Ready(true)
        })
        .await
    }

    /// Closes our side and reads on for a moment: closing a socket with unread bytes resets it, and the client may
    /// lose the response (RFC 9112 9.6).
    async fn linger(&mut self) {
        let Self { state, deadline, .. } = self;
        let mut left = LINGER_BYTES;
        let mut until = None;
        poll_fn(|cx| {
            let mut state = state.borrow_mut();
            state.set_task(cx.waker());
            if let Poll::Ready(Err(_)) = Pin::new(&mut state.stream).poll_shutdown(cx) {
                return Poll::Ready(());
            }
            while !state.eof && left > 0 {
                state.buffer.bytes.clear();
                match state.poll_fill() {
                    Poll::Ready(Ok(count)) => left = left.saturating_sub(count),
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => {
                        let until = *until.get_or_insert_with(|| Instant::now() + DRAIN_TIME);
                        return deadline.poll(until, cx);
                    }
                }
            }
            Poll::Ready(())
        })
        .await;
    }
}

/// Keeps the time of a body that is waited for; the body fails when it is over.
fn poll_body_pause(state: &mut State, timeouts: &Timeouts, deadline: &mut Deadline, cx: &mut Context<'_>) {
    if let Some(at) = state.body_deadline(timeouts)
        && deadline.poll(at, cx).is_ready()
    {
        state.fail_body(Failure::new(Reason::BodyTimeout));
    }
}

fn refusal(error: WireError) -> Failure {
    Failure::new(error.reason()).detail(error.to_string())
}

//! One request on a connection: the upload runs beside the reading of the response.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Method;
use polygate_http1::{Decoded, Decoder, Framing, Limits, ResponseHead, ResponseParser};
use polygate_pipeline::{Body, BodyStream, Failure, Frame, Interim, Reason, Response, StatusCode, Tunnel};
use polygate_plan::Connection;

use super::pool::Place;
use super::progress::Progress;
use super::stream::{Connected, is_alert};
use super::wish::Wish;
use crate::wire::{Broken, Transfer, now, take_whole};

/// Interim responses that may come before the final one. A server that is busy for long sends one now and then; how
/// many of them a client is sent is a setting.
pub(super) const MAX_INTERIM: usize = 1000;

/// Where the request's body stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Upload {
    Running,
    Done,
    /// The connection did not take it, or it failed when a response was there already.
    Aborted,
}

/// A request that was put on a connection.
pub(super) struct Flight {
    connected: Connected,
    transfer: Transfer,
    upload: Upload,
    place: Rc<Place>,
    connection: Rc<Connection>,
    parser: ResponseParser,
    interim: usize,
    received: bool,
    /// What the request asks to go on with.
    wish: Option<Box<Wish>>,
}

/// Why no head came.
pub(super) struct NoHead {
    pub(super) failure: Failure,
    /// The connection was closed before any byte of a response.
    pub(super) died: bool,
    /// Bytes of the request that were written.
    pub(super) written: u64,
}

impl Flight {
    /// Puts a request, whose head is in `transfer` and has that `wish`, on a connection.
    pub(super) fn new(
        connected: Connected,
        transfer: Transfer,
        place: Rc<Place>,
        connection: Rc<Connection>,
        wish: Option<Box<Wish>>,
    ) -> Self {
        let (upload, parser) = (Upload::Running, ResponseParser::new());
        Self { connected, transfer, upload, place, connection, parser, interim: 0, received: false, wish }
    }

    /// Waits for the final response's head while the request is being sent; others go to `interim`. With `limit`, no
    /// longer than that in all; without, no longer than `quiet` after the last sign of progress.
    pub(super) async fn head(
        &mut self,
        method: &Method,
        interim: Option<&Interim>,
        limit: Option<Duration>,
        quiet: Duration,
    ) -> Result<ResponseHead, NoHead> {
        let mut until = limit.map(|limit| now() + limit);
        let mut written = 0;
        let result = poll_fn(|cx| {
            if let Poll::Ready(result) = self.poll_head(method, interim, cx) {
                return Poll::Ready(result);
            }
            if limit.is_none() && (until.is_none() || written != self.transfer.written()) {
                written = self.transfer.written();
                until = Some(now() + quiet);
            }
            match until {
                Some(at) if self.connected.deadline.poll(at, cx).is_ready() => {
                    let time = limit.unwrap_or(quiet);
                    let detail = format!("no response within {time:?}");
                    Poll::Ready(Err((Failure::new(Reason::UpstreamTimeout).detail(detail), false)))
                }
                _ => Poll::Pending,
            }
        });
        let result = result.await;
        result.map_err(|(failure, died)| NoHead { failure, died, written: self.transfer.written() })
    }

    fn poll_head(
        &mut self,
        method: &Method,
        interim: Option<&Interim>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<ResponseHead, (Failure, bool)>> {
        if let Err(failure) = self.poll_upload(cx) {
            return Poll::Ready(Err((failure, false)));
        }
        loop {
            if !self.connected.buffer.bytes.is_empty() {
                match self.parser.parse(&mut self.connected.buffer.bytes, &Limits::DEFAULT, method) {
                    Ok(None) => {}
                    Ok(Some(head)) if head.status.is_informational() => {
                        self.interim += 1;
                        let switches = head.status == StatusCode::SWITCHING_PROTOCOLS;
                        if switches && self.is_agreed(&head) {
                            return Poll::Ready(Ok(head));
                        }
                        if switches || self.interim > MAX_INTERIM {
                            let detail = format!("{} where no such response belongs", head.status);
                            let failure = Failure::new(Reason::UpstreamProtocol).detail(detail);
                            return Poll::Ready(Err((failure, false)));
                        }
                        // 100 is the answer to an expectation, and the client's is met by its own connection.
                        if let Some(interim) = interim.filter(|_| head.status != StatusCode::CONTINUE) {
                            interim.push(head.status, head.headers);
                        }
                        continue;
                    }
                    Ok(Some(head)) => return Poll::Ready(Ok(head)),
                    Err(error) => {
                        let failure = Failure::new(Reason::UpstreamProtocol).detail(error.to_string());
                        return Poll::Ready(Err((failure, false)));
                    }
                }
            }
            let Connected { stream, buffer, .. } = &mut self.connected;
            match buffer.poll_read(stream, cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(count)) if count > 0 => self.received = true,
                Poll::Ready(result) => {
                    let mut failure =
                        Failure::new(Reason::UpstreamClosed).detail("closed before its response");
                    if let Err(error) = result {
                        if is_alert(&error) {
                            failure = Failure::new(Reason::UpstreamTls).detail("ended before its response");
                        }
                        failure = failure.source(error);
                    }
                    return Poll::Ready(Err((failure, !self.received)));
                }
            }
        }
    }

    /// Whether a head with status 101 agrees to what the request asked for, and to nothing else.
    fn is_agreed(&self, head: &ResponseHead) -> bool {
        self.upload == Upload::Done && self.wish.as_ref().is_some_and(|wish| wish.is_granted(head))
    }

    /// Sends on. Fails when the body itself failed; a connection that takes no more may still answer.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        if self.upload == Upload::Running {
            match self.transfer.poll(&mut self.connected.stream, cx) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => self.upload = Upload::Done,
                Poll::Ready(Err(Broken::Write)) => self.upload = Upload::Aborted,
                Poll::Ready(Err(Broken::Body(failure))) => {
                    self.upload = Upload::Aborted;
                    return Err(failure);
                }
            }
        }
        Ok(())
    }

    /// The response of a head that came. A small one is taken whole and the connection is free at once.
    ///
    /// # Errors
    /// When bytes stand behind a response that is whole: where the upstream means a body (of an answer to HEAD, say), it
    /// would be lost, and whatever they are, two readers could disagree about where the response ends.
    pub(super) fn response(mut self, head: ResponseHead) -> Result<Response, Failure> {
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(self.switched(head));
        }
        // Who answers before the request is whole may answer once more at its end, and every later request on the
        // connection would get the response to the one before it.
        let keep_alive = head.keep_alive() && self.upload == Upload::Done;
        let buffered = self.connected.buffer.bytes.len() as u64;
        let excess = match head.framing {
            Framing::Empty => buffered,
            Framing::Length(length) => buffered.saturating_sub(length),
            // Seen at its end.
            Framing::Chunked | Framing::Close => 0,
        };
        if excess > 0 {
            let detail = format!("{excess} bytes behind the response");
            return Err(Failure::new(Reason::UpstreamProtocol).detail(detail));
        }
        let body = match head.framing {
            Framing::Empty => {
                self.recycle(keep_alive);
                Body::empty()
            }
            Framing::Length(length) if length <= buffered && self.upload == Upload::Done => {
                let bytes = take_whole(&mut self.connected.buffer.bytes, length as usize);
                self.recycle(keep_alive);
                Body::full(bytes)
            }
            framing => {
                let decoder = Decoder::new(framing);
                let progress = Progress::default();
                Body::stream(ResponseBody { flight: Some(self), decoder, keep_alive, progress })
            }
        };
        Ok(Response { status: head.status, headers: head.headers, body })
    }

    /// The response of an upstream that goes on with another protocol: its connection is a tunnel.
    fn switched(self, mut head: ResponseHead) -> Response {
        let Self { connected: Connected { stream, buffer, open, .. }, wish, .. } = self;
        let body = wish.map(|wish| {
            let mut tunnel = Tunnel::new(wish.clean(&mut head.headers), stream, buffer.bytes.freeze());
            tunnel.hold(open);
            Body::tunnel(tunnel)
        });
        Response { status: head.status, headers: head.headers, body: body.unwrap_or_default() }
    }

    /// Gives the connection back, if it can carry another request. Bytes behind the response are a fault of the
    /// upstream: they would be taken for the next one.
    fn recycle(self, keep_alive: bool) {
        if keep_alive && self.connected.buffer.bytes.is_empty() {
            self.place.put(self.connected, self.connection.keep_alive, self.connection.pool);
        }
    }
}

/// A response's body as it comes. Dropped before its end it closes the connection.
struct ResponseBody {
    flight: Option<Flight>,
    decoder: Decoder,
    keep_alive: bool,
    progress: Progress,
}

impl BodyStream for ResponseBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Failure>>> {
        let polled = self.poll_decoded(cx);
        match &polled {
            Poll::Ready(None) => {
                if let Some(flight) = self.flight.take() {
                    flight.recycle(self.keep_alive);
                }
            }
            Poll::Ready(Some(Err(_))) => self.flight = None,
            Poll::Ready(Some(Ok(_))) => self.progress.moved(),
            Poll::Pending => {}
        }
        polled
    }

    fn poll_progress(&mut self, cx: &mut Context<'_>) {
        if let Some(flight) = &mut self.flight {
            self.progress.sent(flight.poll_upload(cx));
        }
    }

    fn length(&self) -> Option<u64> {
        self.decoder.length()
    }
}

impl ResponseBody {
    fn poll_decoded(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Failure>>> {
        self.poll_progress(cx);
        let Some(flight) = &mut self.flight else { return Poll::Ready(None) };
        let failed = |reason, detail: String| Poll::Ready(Some(Err(Failure::new(reason).detail(detail))));
        loop {
            let Connected { stream, buffer, deadline, .. } = &mut flight.connected;
            match self.decoder.decode(&mut buffer.bytes, &Limits::DEFAULT) {
                Ok(Decoded::Data(data)) => return Poll::Ready(Some(Ok(Frame::Data(data)))),
                Ok(Decoded::Trailers(fields)) => return Poll::Ready(Some(Ok(Frame::Trailers(fields)))),
                Ok(Decoded::End) => return Poll::Ready(None),
                Ok(Decoded::More) => {}
                Err(error) => return failed(Reason::UpstreamProtocol, error.to_string()),
            }
            if let Some(failure) = self.progress.broken() {
                return Poll::Ready(Some(Err(failure)));
            }
            match buffer.poll_read(stream, cx) {
                Poll::Ready(Ok(0)) if self.decoder.eof() => return Poll::Ready(None),
                Poll::Ready(Ok(0)) => {
                    return failed(Reason::UpstreamClosed, "closed within the body".to_owned());
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => {
                    return failed(Reason::UpstreamClosed, format!("within the body: {error}"));
                }
                Poll::Pending => {
                    let stalled = self.progress.poll_stalled(flight.connection.idle_body, deadline, cx);
                    return stalled.map(|failure| Some(Err(failure)));
                }
            }
        }
    }
}

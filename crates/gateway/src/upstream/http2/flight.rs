//! One request on a stream: the upload runs beside the reading of the response.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{RecvStream, SendStream};
use http::Request as Head;
use polygate_pipeline::{Body, Failure, Interim, Reason, Response, StatusCode};
use polygate_plan::Connection;
use tokio::time::Instant;

use super::super::flight::MAX_INTERIM;
use super::body::{self, ResponseBody};
use super::line::Ticket;
use super::tunnel::{self, Wish};
use crate::http2::{Broken, Outgoing, fields};
use crate::wire::Deadline;

/// How long an upload may stand still by itself. What it is waited for with is the patience with the response.
const UPLOAD_PATIENCE: Duration = Duration::from_secs(30 * 24 * 3600);

/// A request that was put on a stream. Dropped before the end of both, it resets the stream with CANCEL.
pub(super) struct Flight {
    response: ResponseFuture,
    stream: SendStream<Bytes>,
    /// The body, until it was sent or is not wanted any more.
    upload: Option<Outgoing>,
    sent: u64,
    interim: usize,
    pub(super) deadline: Deadline,
    pub(super) connection: Rc<Connection>,
    pub(super) ticket: Ticket,
}

/// Why no head came.
pub(super) struct NoHead {
    pub(super) failure: Failure,
    /// The connection was lost before a response.
    pub(super) died: bool,
    /// The server says, or it is certain, that nothing was made of the request.
    pub(super) unprocessed: bool,
    /// That is because the connection takes no more requests, which another one may.
    pub(super) gone: bool,
}

impl NoHead {
    fn new(failure: Failure) -> Box<Self> {
        Box::new(Self { failure, died: false, unprocessed: false, gone: false })
    }

    fn of(error: h2::Error) -> Box<Self> {
        // Streams beyond the last one that a GOAWAY names end so, of which nothing was made (RFC 9113 6.8). Those before it
        // end with the connection.
        let gone = error.is_go_away() && error.is_remote();
        let refused = error.is_reset() && error.is_remote() && is(&error, h2::Reason::REFUSED_STREAM);
        let (died, unprocessed) = (error.is_io(), gone || refused);
        Box::new(Self { failure: failure(error, "before its response"), died, unprocessed, gone })
    }
}

impl Flight {
    /// Puts a request on a stream; its body has `length` bytes, when that is known.
    ///
    /// # Errors
    /// When the connection takes no more: nothing was sent.
    pub(super) fn begin(
        mut ticket: Ticket,
        head: Head<()>,
        body: Body,
        length: Option<u64>,
        connection: Rc<Connection>,
    ) -> Result<Self, Box<NoHead>> {
        let tunnels = tunnel::is_asked(&head);
        let ends = body.is_empty() && !tunnels;
        let (response, stream) = ticket.sender().send_request(head, ends).map_err(|error| {
            ticket.line().retire();
            let mut no = NoHead::of(error);
            no.unprocessed = true;
            // A head that cannot be sent is so on the next connection as well.
            no.gone |= no.died;
            no
        })?;
        let upload = (!ends && !tunnels).then(|| Outgoing::new(body, length));
        let deadline = Deadline::default();
        Ok(Self { response, stream, upload, sent: 0, interim: 0, deadline, connection, ticket })
    }

    /// Waits for the final response's head while the request is being sent; others go to `interim`. With `limit`, no
    /// longer than that in all; without, no longer than `quiet` after the last sign of progress.
    pub(super) async fn head(
        &mut self,
        interim: Option<&Interim>,
        limit: Option<Duration>,
        quiet: Duration,
    ) -> Result<http::Response<RecvStream>, Box<NoHead>> {
        let mut until = limit.map(|limit| Instant::now() + limit);
        let mut sent = 0;
        poll_fn(|cx| {
            if let Poll::Ready(result) = self.poll_head(interim, cx) {
                return Poll::Ready(result);
            }
            if limit.is_none() && (until.is_none() || sent != self.sent) {
                sent = self.sent;
                until = Some(Instant::now() + quiet);
            }
            match until {
                Some(at) if self.deadline.poll(at, cx).is_ready() => {
                    // It may be dead. As over HTTP/1.1, no other request finds that out the same way.
                    self.ticket.line().retire();
                    let time = limit.unwrap_or(quiet);
                    let detail = format!("no response within {time:?}");
                    Poll::Ready(Err(NoHead::new(Failure::new(Reason::UpstreamTimeout).detail(detail))))
                }
                _ => Poll::Pending,
            }
        })
        .await
    }

    fn poll_head(
        &mut self,
        interim: Option<&Interim>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<http::Response<RecvStream>, Box<NoHead>>> {
        self.poll_upload(cx).map_err(NoHead::new)?;
        while let Poll::Ready(Some(result)) = self.response.poll_informational(cx) {
            let (parts, ()) = result.map_err(NoHead::of)?.into_parts();
            self.interim += 1;
            // RFC 9113 8.6: HTTP/2 has no 101.
            if parts.status == StatusCode::SWITCHING_PROTOCOLS || self.interim > MAX_INTERIM {
                let detail = format!("{} where no such response belongs", parts.status);
                return Poll::Ready(Err(NoHead::new(Failure::new(Reason::UpstreamProtocol).detail(detail))));
            }
            // 100 is the answer to an expectation, and the client's is met by its own connection.
            if let Some(interim) = interim.filter(|_| parts.status != StatusCode::CONTINUE) {
                let fields = fields::received(&parts.headers).map_err(|error| {
                    NoHead::new(Failure::new(Reason::UpstreamProtocol).detail(error.as_str()))
                })?;
                interim.push(parts.status, fields);
            }
        }
        Pin::new(&mut self.response).poll(cx).map_err(NoHead::of)
    }

    /// Sends on. Fails when the body itself failed; a stream that takes no more may still bring an answer.
    pub(super) fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        let Some(upload) = &mut self.upload else { return Ok(()) };
        let polled = upload.poll(&mut self.stream, UPLOAD_PATIENCE, cx);
        self.sent = upload.sent();
        match polled {
            Poll::Pending => return Ok(()),
            Poll::Ready(Ok(()) | Err(Broken::Closed(_) | Broken::Stalled)) => self.upload = None,
            Poll::Ready(Err(Broken::Body(failure))) => {
                self.upload = None;
                return Err(failure);
            }
        }
        Ok(())
    }

    /// The response of a head that came. With a `wish`, of which the request was made, success means a tunnel.
    ///
    /// # Errors
    /// When the head is malformed.
    pub(super) fn response(
        mut self,
        head: http::Response<RecvStream>,
        wish: Option<Wish>,
    ) -> Result<Response, Failure> {
        let (parts, stream) = head.into_parts();
        let malformed = |detail: &str| Failure::new(Reason::UpstreamProtocol).detail(detail);
        let headers = fields::received(&parts.headers).map_err(|error| malformed(error.as_str()))?;
        if let Some(wish) = wish {
            if parts.status.is_success() {
                return Ok(wish.granted(headers, stream, self.stream, self.ticket));
            }
            // There is nothing to be said then. A stream that is closed already need not hear it.
            let _ = self.stream.send_data(Bytes::new(), true);
        }
        let length = body::length(&headers).map_err(malformed)?;
        let body = if stream.is_end_stream() {
            // The stream is over, and the request with it.
            Body::empty()
        } else {
            Body::stream(ResponseBody::new(self, stream, length))
        };
        Ok(Response { status: parts.status, headers, body })
    }
}

fn is(error: &h2::Error, reason: h2::Reason) -> bool {
    error.reason() == Some(reason)
}

/// Why a stream broke off, `when`.
pub(super) fn failure(error: h2::Error, when: &str) -> Failure {
    // What we refuse of the server's, and what it has to refuse of HTTP/2 itself.
    let protocol = error.is_library() || is(&error, h2::Reason::HTTP_1_1_REQUIRED);
    let reason = if protocol { Reason::UpstreamProtocol } else { Reason::UpstreamClosed };
    let what = match error.reason() {
        _ if error.is_io() => "closed".to_owned(),
        Some(code) if error.is_reset() && error.is_remote() => format!("the stream was reset ({code:?})"),
        Some(code) if error.is_remote() => format!("the server has left ({code:?})"),
        Some(code) => format!("the server broke HTTP/2 ({code:?})"),
        None => "closed".to_owned(),
    };
    Failure::new(reason).detail(format!("{what} {when}")).source(error)
}

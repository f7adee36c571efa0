//! The body of a response, read from its stream on demand: what is not pulled holds the server back.

use std::task::{Context, Poll, ready};

use h2::RecvStream;
use polygate_http1::content_length;
use polygate_pipeline::{BodyStream, Failure, Frame, Headers, Known, Reason};

use super::super::progress::Progress;
use super::flight::{Flight, failure};
use crate::http2::fields;

/// A response's body as it comes. Dropped before its end it resets the stream.
pub(super) struct ResponseBody {
    /// Until the end.
    flight: Option<Flight>,
    stream: RecvStream,
    /// Bytes still to come, when the head says so.
    left: Option<u64>,
    data_over: bool,
    progress: Progress,
}

/// What a head says of its body's length, which the crate holds the body to.
pub(super) fn length(headers: &Headers) -> Result<Option<u64>, &'static str> {
    let mut lengths = headers.all_known(Known::ContentLength).map(content_length);
    match (lengths.next(), lengths.next()) {
        (None, _) => Ok(None),
        (Some(Ok(length)), None) => Ok(Some(length)),
        _ => Err("Content-Length is malformed or doubled"),
    }
}

impl ResponseBody {
    pub(super) fn new(flight: Flight, stream: RecvStream, left: Option<u64>) -> Self {
        Self { flight: Some(flight), stream, left, data_over: false, progress: Progress::default() }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Failure>>> {
        if self.flight.is_none() {
            return Poll::Ready(None);
        }
        self.poll_progress(cx);
        while !self.data_over {
            match self.stream.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) => {
                    // It fails only for more than was taken.
                    let _ = self.stream.flow_control().release_capacity(data.len());
                    // The end of a stream may be an empty frame.
                    if data.is_empty() {
                        continue;
                    }
                    self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                    return Poll::Ready(Some(Ok(Frame::Data(data))));
                }
                Poll::Ready(Some(Err(error))) => return self.broken(error),
                Poll::Ready(None) => self.data_over = true,
                Poll::Pending => return self.wait(cx),
            }
        }
        match self.stream.poll_trailers(cx) {
            Poll::Ready(Ok(None)) => Poll::Ready(None),
            Poll::Ready(Ok(Some(fields))) => Poll::Ready(Some(match fields::received_trailers(&fields) {
                Ok(fields) => Ok(Frame::Trailers(fields)),
                Err(malformed) => Err(Failure::new(Reason::UpstreamProtocol).detail(malformed.as_str())),
            })),
            Poll::Ready(Err(error)) => self.broken(error),
            Poll::Pending => self.wait(cx),
        }
    }

    /// A reset without blame stands behind a whole response whose request was not wanted to its end (RFC 9113 8.1). The
    /// crate holds it back when the end has come: here it stands in the place of the end, and only a length can tell that
    /// nothing is missing.
    fn broken(&self, error: h2::Error) -> Poll<Option<Result<Frame, Failure>>> {
        let blameless = error.is_reset() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR);
        if blameless && self.left == Some(0) {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(Err(failure(error, "within the body"))))
    }

    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Failure>>> {
        if let Some(failure) = self.progress.broken() {
            return Poll::Ready(Some(Err(failure)));
        }
        let Some(flight) = &mut self.flight else { return Poll::Ready(None) };
        let failure =
            ready!(self.progress.poll_stalled(flight.connection.idle_body, &mut flight.deadline, cx));
        flight.ticket.line().retire();
        Poll::Ready(Some(Err(failure)))
    }
}

impl BodyStream for ResponseBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Failure>>> {
        let polled = self.poll(cx);
        match &polled {
            Poll::Ready(None | Some(Err(_))) => self.flight = None,
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
        self.left
    }
}

//! The body of a request, read from its stream on demand: what is not pulled holds the client back.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use polygate_pipeline::{Body, BodyStream, Failure, Frame, Headers, Interim, Reason, StatusCode};
use tokio::time::Instant;

use crate::http2::fields;
use crate::wire::{Deadline, Pace};

/// Bodies that are there as a whole are taken as such up to this size, as far as they came in one frame.
const MAX_WHOLE: u64 = 64 << 10;

/// What a stream's task keeps of its request's body: how much came, and the end of it with the exchange's.
#[derive(Default)]
pub(super) struct Upload(Option<Rc<Held>>, u64);

struct Held {
    incoming: RefCell<Option<Incoming>>,
    received: Cell<u64>,
}

struct Incoming {
    stream: RecvStream,
    /// Taken already when it was tried to take the whole.
    first: Bytes,
    /// Bytes still to come, when the head says so.
    left: Option<u64>,
    /// Where to put `100 Continue` once the body is waited for, when the client waits for that.
    waits: Option<Interim>,
    data_over: bool,
    pause: Duration,
    pace: Pace,
    /// The response has begun.
    answered: bool,
    deadline: Deadline,
}

struct RequestBody(Rc<Held>);

/// Takes the body of a request that promises `length` bytes, if it says so; `pause` is how long it may be waited for. A
/// client that waits for `100 Continue` is sent it by way of `waits`, once the body is wanted.
pub(super) fn take(
    mut stream: RecvStream,
    length: Option<u64>,
    pause: Duration,
    waits: Option<Interim>,
) -> (Body, Upload) {
    if stream.is_end_stream() {
        return (Body::empty(), Upload::default());
    }
    let mut first = Bytes::new();
    if length.is_some_and(|length| length <= MAX_WHOLE)
        // Nobody waits yet: the waker is replaced at the next poll.
        && let Poll::Ready(Some(Ok(data))) = stream.poll_data(&mut Context::from_waker(std::task::Waker::noop()))
    {
        // It fails only for more than was taken.
        let _ = stream.flow_control().release_capacity(data.len());
        if stream.is_end_stream() {
            let received = data.len() as u64;
            return (Body::full(data), Upload(None, received));
        }
        first = data;
    }
    let incoming = Incoming {
        stream,
        first,
        left: length,
        waits,
        data_over: false,
        pause,
        pace: Pace::default(),
        answered: false,
        deadline: Deadline::default(),
    };
    let held = Rc::new(Held { incoming: RefCell::new(Some(incoming)), received: Cell::new(0) });
    (Body::stream(RequestBody(held.clone())), Upload(Some(held), 0))
}

impl Upload {
    /// Bytes that came.
    pub(super) fn received(&self) -> u64 {
        self.0.as_ref().map_or(self.1, |held| held.received.get())
    }

    /// Told that the response begins. From then on both sides may talk as gRPC's streams do: the client may pause for so
    /// long, and however slow it is, each time anew.
    pub(super) fn answered(&self, pause: Duration) {
        let Some(held) = &self.0 else { return };
        if let Some(incoming) = &mut *held.incoming.borrow_mut() {
            (incoming.answered, incoming.pause, incoming.pace) = (true, pause, Pace::default());
        }
    }

    /// Whether there is more of the body than was read.
    pub(super) fn is_unread(&self) -> bool {
        let incoming = self.0.as_ref().map(|held| held.incoming.borrow());
        incoming.is_some_and(|incoming| incoming.as_ref().is_some_and(|incoming| !incoming.data_over))
    }

    /// Reads what is left of a body that was answered early, up to `most` bytes and for that long. Some clients that are
    /// reset while they send do not look at the response any more.
    pub(super) async fn drain(&self, most: u64, time: Duration) {
        let Some(held) = &self.0 else { return };
        let (mut left, mut deadline, until) = (most, Deadline::default(), Instant::now() + time);
        poll_fn(|cx| {
            let mut incoming = held.incoming.borrow_mut();
            // One that waits to be told to go on sends nothing.
            let waited = |i: &&mut Incoming| i.waits.is_none() && i.left.is_none_or(|length| length <= left);
            let Some(incoming) = incoming.as_mut().filter(waited) else { return Poll::Ready(()) };
            while let Poll::Ready(frame) = incoming.poll(&held.received, cx) {
                let Some(Ok(frame)) = frame else { return Poll::Ready(()) };
                if let Frame::Data(data) = frame {
                    let Some(rest) = left.checked_sub(data.len() as u64) else { return Poll::Ready(()) };
                    left = rest;
                }
            }
            deadline.poll(until, cx)
        })
        .await;
    }
}

/// The exchange is over, and with it the body, whoever still holds it.
impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(held) = &self.0 {
            held.incoming.take();
        }
    }
}

impl BodyStream for RequestBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Failure>>> {
        let mut incoming = self.0.incoming.borrow_mut();
        match &mut *incoming {
            Some(incoming) => incoming.poll(&self.0.received, cx),
            None => {
                let failure = Failure::new(Reason::ClientClosed).detail("the exchange of this body is over");
                Poll::Ready(Some(Err(failure)))
            }
        }
    }

    fn length(&self) -> Option<u64> {
        self.0.incoming.borrow().as_ref().and_then(|incoming| incoming.left)
    }
}

impl Incoming {
    fn poll(&mut self, received: &Cell<u64>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Failure>>> {
        loop {
            if !self.first.is_empty() {
                let first = std::mem::take(&mut self.first);
                return self.taken(first, received);
            }
            if !self.data_over {
                match self.stream.poll_data(cx) {
                    Poll::Ready(Some(Ok(data))) => {
                        self.pace.moved();
                        // As above.
                        let _ = self.stream.flow_control().release_capacity(data.len());
                        // The end of a stream may be an empty frame.
                        if data.is_empty() {
                            continue;
                        }
                        return self.taken(data, received);
                    }
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(failure(error)))),
                    Poll::Ready(None) => self.data_over = true,
                    Poll::Pending => return self.wait(received.get(), cx),
                }
            }
            return match self.stream.poll_trailers(cx) {
                Poll::Ready(Ok(None)) => Poll::Ready(None),
                Poll::Ready(Ok(Some(fields))) => {
                    Poll::Ready(Some(match fields::received_trailers(&fields) {
                        Ok(fields) => Ok(Frame::Trailers(fields)),
                        Err(malformed) => Err(Failure::new(Reason::BadRequest).detail(malformed.as_str())),
                    }))
                }
                Poll::Ready(Err(error)) => Poll::Ready(Some(Err(failure(error)))),
                Poll::Pending => self.wait(received.get(), cx),
            };
        }
    }

    fn taken(&mut self, data: Bytes, received: &Cell<u64>) -> Poll<Option<Result<Frame, Failure>>> {
        self.waits = None;
        if self.answered {
            self.pace = Pace::default();
        }
        received.set(received.get() + data.len() as u64);
        // The crate holds bodies to the length in their head.
        self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
        Poll::Ready(Some(Ok(Frame::Data(data))))
    }

    fn wait(&mut self, received: u64, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Failure>>> {
        if let Some(interim) = self.waits.take() {
            interim.push(StatusCode::CONTINUE, Headers::new());
        }
        let until = self.pace.wait(self.pause, received);
        ready!(self.deadline.poll(until, cx));
        Poll::Ready(Some(Err(Failure::new(Reason::BodyTimeout))))
    }
}

/// Why a body broke off.
fn failure(error: h2::Error) -> Failure {
    let by_client = error.is_remote() || error.is_io() || error.reason().is_none();
    let reason = if by_client { Reason::ClientClosed } else { Reason::BadRequest };
    Failure::new(reason).detail("within the request's body").source(error)
}

//! Bodies: streams of frames that nobody buffers unless a layer asked to see them whole.

use std::fmt;
use std::future::poll_fn;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};

use crate::tunnel::Waiting;
use crate::{Failure, Headers, Reason, Tunnel};

/// One piece of a body.
#[derive(Debug)]
pub enum Frame {
    /// Bytes; never empty.
    Data(Bytes),
    /// Trailer fields; the last frame when it comes.
    Trailers(Headers),
}

/// A body that is made as it is read. Reading is pulling: what is not polled is not read from the wire, and that is
/// the back-pressure. Dropping it says that the rest is not wanted.
pub trait BodyStream {
    /// The next frame; `None` at the end. Not polled again after `None` or an error.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Failure>>>;

    /// Called in the place of `poll_frame` while there is no room for a frame: takes none, and goes on with what runs beside
    /// the reading. A response drives the sending of its request, which a client that does not read for now must not hold
    /// up. Wakes as `poll_frame` does; what fails is told by the next frame. Bodies made of others hand it on.
    fn poll_progress(&mut self, _cx: &mut Context<'_>) {}

    /// Bytes still to come, when known.
    fn length(&self) -> Option<u64> {
        None
    }
}

/// A request's or response's body.
#[derive(Default)]
pub struct Body(Kind);

#[derive(Default)]
enum Kind {
    #[default]
    Empty,
    Full(Bytes),
    Stream(Box<dyn BodyStream>),
    Tunnel(Waiting),
}

impl Body {
    /// No body.
    pub const fn empty() -> Self {
        Self(Kind::Empty)
    }

    /// A body that is in memory as a whole.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        if bytes.is_empty() { Self::empty() } else { Self(Kind::Full(bytes)) }
    }

    /// A body that is made as it is read.
    pub fn stream(stream: impl BodyStream + 'static) -> Self {
        Self(Kind::Stream(Box::new(stream)))
    }

    /// In the place of a body, of a response with status 101: the way to the other end.
    pub fn tunnel(tunnel: Tunnel) -> Self {
        Self(Kind::Tunnel(Waiting::new(tunnel)))
    }

    /// Whether it is a tunnel: nothing can be read from it then.
    pub fn is_tunnel(&self) -> bool {
        matches!(self.0, Kind::Tunnel(_))
    }

    /// The tunnel, to be opened; `None` when it is none, or was taken.
    pub fn take_tunnel(self) -> Option<Box<Tunnel>> {
        if let Kind::Tunnel(waiting) = &self.0 { waiting.take() } else { None }
    }

    /// Changes a tunnel; nothing happens when it is none.
    pub fn with_tunnel(&mut self, change: impl FnOnce(&mut Tunnel)) {
        if let Kind::Tunnel(waiting) = &self.0 {
            waiting.with(change);
        }
    }

    /// Another handle to the same tunnel.
    pub(crate) fn same_tunnel(&self) -> Option<Self> {
        if let Kind::Tunnel(waiting) = &self.0 { Some(Self(Kind::Tunnel(waiting.clone()))) } else { None }
    }

    /// Whether there is certainly nothing (more) to read.
    pub fn is_empty(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Full(bytes) => bytes.is_empty(),
            Kind::Stream(stream) => stream.length() == Some(0),
            Kind::Tunnel(_) => false,
        }
    }

    /// The bytes, when the whole body is in memory.
    pub fn as_full(&self) -> Option<&Bytes> {
        match &self.0 {
            Kind::Full(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Bytes still to come, when known.
    pub fn length(&self) -> Option<u64> {
        match &self.0 {
            Kind::Empty => Some(0),
            Kind::Full(bytes) => Some(bytes.len() as u64),
            Kind::Stream(stream) => stream.length(),
            Kind::Tunnel(_) => None,
        }
    }

    /// What tells this body from another one that was put in its place: a pointer and a length.
    pub(crate) fn identity(&self) -> (usize, usize) {
        match &self.0 {
            Kind::Empty => (0, 0),
            Kind::Full(bytes) => (bytes.as_ptr() as usize, bytes.len()),
            Kind::Stream(stream) => (std::ptr::from_ref(&**stream).cast::<u8>() as usize, usize::MAX),
            Kind::Tunnel(waiting) => (waiting.address(), usize::MAX),
        }
    }

    /// The next frame; `None` at the end, then always `None`. Cancel-safe.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Failure>>> {
        match &mut self.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Kind::Empty;
                Poll::Ready(Some(Ok(Frame::Data(bytes))))
            }
            Kind::Stream(stream) => {
                let polled = stream.poll_frame(cx);
                if let Poll::Ready(None | Some(Err(_))) = polled {
                    self.0 = Kind::Empty;
                }
                polled
            }
            Kind::Tunnel(_) => {
                self.0 = Kind::Empty;
                let failure = Failure::new(Reason::PolicyResult).detail("a tunnel has no body to read");
                Poll::Ready(Some(Err(failure)))
            }
        }
    }

    /// Goes on with what runs beside the reading, while there is no room for a frame: see [`BodyStream::poll_progress`].
    pub fn poll_progress(&mut self, cx: &mut Context<'_>) {
        if let Kind::Stream(stream) = &mut self.0 {
            stream.poll_progress(cx);
        }
    }

    /// The next frame; see [`poll_frame`](Self::poll_frame).
    ///
    /// # Errors
    /// What the stream failed with.
    pub async fn frame(&mut self) -> Option<Result<Frame, Failure>> {
        poll_fn(|cx| self.poll_frame(cx)).await
    }

    /// Reads all of it.
    ///
    /// # Errors
    /// What the stream failed with, or [`Reason::BodyTooLarge`] once it is longer than `cap` bytes.
    pub async fn collect(mut self, cap: u64) -> Result<(Bytes, Option<Headers>), Failure> {
        let too_large = || Failure::new(Reason::BodyTooLarge).detail(format!("longer than {cap} bytes"));
        if self.length().is_some_and(|length| length > cap) {
            return Err(too_large());
        }
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        let mut trailers = None;
        while let Some(frame) = self.frame().await {
            match frame? {
                Frame::Data(data) => {
                    if (first.len() + rest.len() + data.len()) as u64 > cap {
                        return Err(too_large());
                    }
                    if first.is_empty() && rest.is_empty() {
                        first = data;
                    } else {
                        if rest.is_empty() {
                            rest.reserve(
                                self.length().unwrap_or(0).min(cap) as usize + first.len() + data.len(),
                            );
                            rest.extend_from_slice(&std::mem::take(&mut first));
                        }
                        rest.extend_from_slice(&data);
                    }
                }
                Frame::Trailers(fields) => trailers = Some(fields),
            }
        }
        Ok((if rest.is_empty() { first } else { rest.freeze() }, trailers))
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Empty => f.write_str("Body(empty)"),
            Kind::Full(bytes) => write!(f, "Body({} bytes)", bytes.len()),
            Kind::Stream(stream) => write!(f, "Body(stream, {:?} bytes)", stream.length()),
            Kind::Tunnel(_) => f.write_str("Body(tunnel)"),
        }
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Self {
        Self::full(bytes)
    }
}

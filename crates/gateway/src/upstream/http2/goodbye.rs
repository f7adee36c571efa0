//! What a GOAWAY says, read from the wire: the `h2` crate ends the streams that the server has not looked at like those that
//! it had begun to answer when it closed the connection, and only the former may be repeated whatever they ask for.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of a frame's head (RFC 9113 4.1).
const HEAD: usize = 9;
/// The number of a GOAWAY's last stream stands behind the head (RFC 9113 6.8).
const LAST: usize = HEAD + 4;
const GOAWAY: u8 = 7;

/// The last stream that the server has looked at or will; all, before it says so.
#[derive(Clone)]
pub(super) struct Goodbye(Rc<Cell<u32>>);

impl Goodbye {
    pub(super) fn new() -> Self {
        Self(Rc::new(Cell::new(u32::MAX)))
    }

    /// Whether the server has said that nothing was made of the stream.
    pub(super) fn leaves_out(&self, stream: u32) -> bool {
        stream > self.0.get()
    }
}

/// A connection whose frames from the server are looked at as they are read.
pub(super) struct Watched<S> {
    stream: S,
    goodbye: Goodbye,
    /// The head of the frame that is being read, and of a GOAWAY what follows.
    seen: [u8; LAST],
    filled: usize,
    /// Bytes of the frame that are skipped.
    left: usize,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, goodbye: Goodbye) -> Self {
        Self { stream, goodbye, seen: [0; LAST], filled: 0, left: 0 }
    }

    fn walk(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let skipped = self.left.min(bytes.len());
                self.left -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let wanted = if self.filled >= HEAD { LAST } else { HEAD };
            let taken = (wanted - self.filled).min(bytes.len());
            self.seen[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled < wanted {
                return;
            }
            let [a, b, c, kind, ..] = self.seen;
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            if wanted == LAST {
                let [.., a, b, c, d] = self.seen;
                let last = u32::from_be_bytes([a & 0x7f, b, c, d]);
                self.goodbye.0.set(self.goodbye.0.get().min(last));
            } else if kind == GOAWAY && length >= LAST - HEAD {
                continue;
            }
            self.left = length - (self.filled - HEAD);
            self.filled = 0;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        this.walk(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend_from_slice(&[kind, 0, 0, 0, 0, 0]);
        frame.extend_from_slice(payload);
        frame
    }

    #[test]
    fn the_last_stream_is_found_however_frames_are_split() {
        let data = frame(0, &[GOAWAY; 40]);
        let first = frame(GOAWAY, &[0x80, 0, 0, 9, 0, 0, 0, 0, b'x', b'y']);
        let second = frame(GOAWAY, &[0, 0, 0, 5, 0, 0, 0, 0]);
        let bytes =
            [frame(4, &[]), data.clone(), first, data.clone(), frame(GOAWAY, &[1]), second, data].concat();
        for size in 1..bytes.len() {
            let goodbye = Goodbye::new();
            let mut watched = Watched::new((), goodbye.clone());
            let mut lasts = vec![];
            for piece in bytes.chunks(size) {
                watched.walk(piece);
                lasts.push(goodbye.0.get());
            }
            lasts.dedup();
            assert!(lasts.ends_with(&[5]), "{size}: {lasts:?}");
            assert!(size > 8 || lasts == [u32::MAX, 9, 5], "{size}: {lasts:?}");
            assert_eq!((goodbye.leaves_out(5), goodbye.leaves_out(7)), (false, true));
        }
    }
}

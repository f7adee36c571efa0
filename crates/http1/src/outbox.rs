//! What is still to be written to a connection.

use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

/// Pieces up to this many bytes are copied behind what waits already, so that a small body leaves together with its
/// head in one plain write. Larger ones are not copied and leave in a vectored write.
pub const COALESCE: usize = 4096;

/// With this much waiting, no more is put in before some is written.
const FULL: usize = 32 << 10;

/// Bytes on their way out: small pieces, at most one large one, small pieces.
#[derive(Debug, Default)]
pub struct Outbox {
    head: BytesMut,
    body: Bytes,
    tail: BytesMut,
}

impl Outbox {
    /// Empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// Empty; what is put in is written to `room`, which holds nothing, as far as it suffices.
    pub fn in_room(room: BytesMut) -> Self {
        debug_assert!(room.is_empty());
        Self { head: room, ..Self::default() }
    }

    /// Room that may be used again; what waits is dropped.
    pub fn into_room(self) -> BytesMut {
        let mut room = self.head;
        room.clear();
        room
    }

    /// Whether all was written.
    pub fn is_empty(&self) -> bool {
        self.head.is_empty() && self.body.is_empty() && self.tail.is_empty()
    }

    /// Bytes waiting.
    pub fn len(&self) -> usize {
        self.head.len() + self.body.len() + self.tail.len()
    }

    /// Whether what waits should be written before more is put in.
    pub fn is_full(&self) -> bool {
        !self.body.is_empty() || self.head.len() >= FULL
    }

    /// Where small pieces are added: behind everything that waits.
    pub fn end_mut(&mut self) -> &mut BytesMut {
        if self.body.is_empty() { &mut self.head } else { &mut self.tail }
    }

    /// Adds a piece at the end.
    pub fn push(&mut self, data: Bytes) {
        if data.len() <= COALESCE || !self.body.is_empty() {
            self.end_mut().extend_from_slice(&data);
        } else {
            self.body = data;
        }
    }

    /// What to write next, for a vectored write: the slices and how many of them are used.
    pub fn slices(&self) -> ([IoSlice<'_>; 3], usize) {
        let mut slices = [IoSlice::new(&[]); 3];
        let mut used = 0;
        for part in [&self.head[..], &self.body[..], &self.tail[..]] {
            if !part.is_empty() {
                slices[used] = IoSlice::new(part);
                used += 1;
            }
        }
        (slices, used)
    }

    /// The one slice that waits, when a plain write does.
    pub fn single(&self) -> Option<&[u8]> {
        if self.body.is_empty() {
            Some(&self.head)
        } else if self.head.is_empty() && self.tail.is_empty() {
            Some(&self.body)
        } else {
            None
        }
    }

    /// Told that the first `written` bytes are out.
    pub fn advance(&mut self, mut written: usize) {
        let of_head = written.min(self.head.len());
        if of_head == self.head.len() {
            self.head.clear();
        } else {
            self.head.advance(of_head);
        }
        written -= of_head;
        let of_body = written.min(self.body.len());
        self.body.advance(of_body);
        if self.body.is_empty() {
            self.body = Bytes::new();
            self.tail.advance((written - of_body).min(self.tail.len()));
            if self.head.is_empty() && !self.tail.is_empty() {
                std::mem::swap(&mut self.head, &mut self.tail);
            }
        }
    }
}

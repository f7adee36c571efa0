//! Frames as they pass (RFC 9113 4.1): only their heads are looked at, whatever way reads and writes split them.

/// Bytes of a frame's head.
const HEAD: usize = 9;

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHead {
    /// Bytes that follow it.
    pub(crate) length: u32,
    /// One of [`kind`].
    pub(crate) kind: u8,
    /// Of [`flag`]; what a bit means depends on the kind.
    pub(crate) flags: u8,
}

/// Kinds of frames (RFC 9113 6).
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const CONTINUATION: u8 = 9;
}

/// Flags of frames.
pub(crate) mod flag {
    pub(crate) const END_STREAM: u8 = 0x1;
    pub(crate) const ACK: u8 = 0x1;
    pub(crate) const END_HEADERS: u8 = 0x4;
}

impl FrameHead {
    /// Whether a flag is set.
    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Finds the frames in a stream of bytes.
#[derive(Debug)]
pub(crate) struct Walker {
    head: [u8; HEAD],
    filled: usize,
    /// Bytes to skip: of the current frame, or what stands before the first.
    left: usize,
}

impl Walker {
    /// For a stream in which so many bytes stand before the first frame.
    pub(crate) fn after(preface: usize) -> Self {
        Self { head: [0; HEAD], filled: 0, left: preface }
    }

    /// Whether the last frame that was seen is not whole yet.
    pub(crate) fn is_within(&self) -> bool {
        self.left > 0
    }

    /// Walks on; every frame is shown once, when its head is whole.
    pub(crate) fn walk(&mut self, mut bytes: &[u8], mut see: impl FnMut(FrameHead)) {
        loop {
            let skipped = self.left.min(bytes.len());
            self.left -= skipped;
            bytes = &bytes[skipped..];
            let taken = (HEAD - self.filled).min(bytes.len());
            if taken == 0 {
                return;
            }
            self.head[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled < HEAD {
                return;
            }
            let [a, b, c, kind, flags, ..] = self.head;
            let length = u32::from_be_bytes([0, a, b, c]);
            self.filled = 0;
            self.left = length as usize;
            see(FrameHead { length, kind, flags });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_however_they_are_split() {
        let mut bytes = b"PREFACE".to_vec();
        let frames = [(0u32, 4u8, 1u8), (5, 1, 4), (0, 0, 0), (300, 0, 1)];
        for (length, kind, flags) in frames {
            bytes.extend_from_slice(&length.to_be_bytes()[1..]);
            bytes.extend_from_slice(&[kind, flags, 0, 0, 0, 1]);
            bytes.resize(bytes.len() + length as usize, 0xff);
        }
        for size in 1..40 {
            let (mut walker, mut seen) = (Walker::after(7), Vec::new());
            for piece in bytes.chunks(size) {
                walker.walk(piece, |head| seen.push((head.length, head.kind, head.flags)));
            }
            assert_eq!(seen, frames, "{size}");
            assert!(!walker.is_within());
        }
    }
}

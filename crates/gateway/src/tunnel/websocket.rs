//! What must be known of WebSocket frames to say goodbye between two of them (RFC 6455 5.2).
//!
//! Heads of frames are looked at and payloads skipped, so that it costs next to nothing. Control frames may stand between
//! the fragments of a message (RFC 6455 5.4): the end of any frame will do.

/// The longest head: two bytes, a length of eight, a mask of four.
const MAX_HEAD: usize = 14;

/// The code of the opcode's field for a Close frame.
const CLOSE: u8 = 0x8;
/// "Going away" (RFC 6455 7.4.1).
const GOING_AWAY: u16 = 1001;

/// Who sends in a direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sender {
    /// Its frames are masked.
    Client,
    /// Its frames are not.
    Server,
}

/// Where one direction of a WebSocket stands.
#[derive(Debug, Clone)]
pub(super) struct Frames {
    sender: Sender,
    head: [u8; MAX_HEAD],
    known: usize,
    /// Bytes of the payload still to come.
    left: u64,
    closing: bool,
    /// The stream does not consist of frames.
    lost: bool,
}

impl Frames {
    pub(super) fn new(sender: Sender) -> Self {
        Self { sender, head: [0; MAX_HEAD], known: 0, left: 0, closing: false, lost: false }
    }

    /// Takes note of bytes that went by.
    pub(super) fn pass(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() && !self.lost {
            rest = &rest[self.step(rest)..];
        }
    }

    /// How many of these bytes belong to the frame that has begun; 0 between two frames.
    pub(super) fn belonging(&self, bytes: &[u8]) -> usize {
        let mut ahead = self.clone();
        let mut count = 0;
        while count < bytes.len() && !ahead.is_between() && !ahead.lost {
            count += ahead.step(&bytes[count..]);
        }
        count
    }

    /// Whether a frame may be put in here.
    pub(super) fn is_between(&self) -> bool {
        self.known == 0 && self.left == 0 && !self.lost
    }

    /// Whether nothing more may be said: a Close frame went by, or what is said cannot be told.
    pub(super) fn is_over(&self) -> bool {
        self.lost || (self.closing && self.is_between())
    }

    /// Takes a byte of a head, or as much of a payload as there is. Says how much.
    fn step(&mut self, bytes: &[u8]) -> usize {
        if self.left > 0 {
            let count = self.left.min(bytes.len() as u64);
            self.left -= count;
            return count as usize;
        }
        let Some(&first) = bytes.first() else { return 0 };
        self.head[self.known] = first;
        self.known += 1;
        if let Some(length) = self.payload() {
            self.closing |= self.head[0] & 0x0f == CLOSE;
            // The uppermost bit of a length is never set.
            self.lost |= length > i64::MAX as u64;
            self.known = 0;
            self.left = length;
        }
        1
    }

    /// The payload's length, once the head is whole.
    fn payload(&self) -> Option<u64> {
        if self.known < 2 {
            return None;
        }
        let (is_masked, short) = (self.head[1] & 0x80 != 0, self.head[1] & 0x7f);
        let size = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if self.known < 2 + size + if is_masked { 4 } else { 0 } {
            return None;
        }
        if size == 0 {
            return Some(u64::from(short));
        }
        Some(self.head[2..2 + size].iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)))
    }

    /// A Close frame that says that the gateway goes away, as the sender of this direction would write it.
    pub(super) fn goodbye(&self) -> Vec<u8> {
        let code = GOING_AWAY.to_be_bytes();
        let (first, length) = (0x80 | CLOSE, code.len() as u8);
        match self.sender {
            Sender::Server => vec![first, length, code[0], code[1]],
            Sender::Client => {
                // It keeps intermediaries from taking the payload for something else, and this one is known anyway.
                let mask: [u8; 4] = fastrand::u32(..).to_be_bytes();
                let [a, b, c, d] = mask;
                vec![first, 0x80 | length, a, b, c, d, code[0] ^ a, code[1] ^ b]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame with a payload of zeros.
    fn frame(first: u8, length: usize, is_masked: bool) -> Vec<u8> {
        let bit = if is_masked { 0x80 } else { 0 };
        let mut frame = vec![first];
        match length {
            0..126 => frame.push(bit | length as u8),
            126..65_536 => {
                frame.push(bit | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            _ => {
                frame.push(bit | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.resize(frame.len() + length + if is_masked { 4 } else { 0 }, 0);
        frame
    }

    #[test]
    fn frames_end_where_their_heads_say_however_they_are_cut() {
        for is_masked in [false, true] {
            for length in [0, 1, 125, 126, 65_535, 65_536] {
                let frame = frame(0x82, length, is_masked);
                for split in [1, 2, 3, frame.len() / 2, frame.len() - 1] {
                    let (one, two) = frame.split_at(split.min(frame.len()));
                    let mut frames = Frames::new(Sender::Client);
                    assert_eq!(frames.belonging(&frame), 0, "it has not begun");
                    frames.pass(one);
                    assert_eq!(frames.is_between(), two.is_empty(), "{length} {split}");
                    let more = [two, b"\x81\x00"].concat();
                    assert_eq!(frames.belonging(&more), two.len(), "{length} {split}");
                    frames.pass(two);
                    assert!(frames.is_between() && !frames.is_over(), "{length} {split}");
                }
            }
        }
    }

    #[test]
    fn nothing_is_said_after_a_close_frame_or_in_a_stream_without_frames() {
        let mut frames = Frames::new(Sender::Server);
        frames.pass(&[frame(0x01, 9, false), frame(0x89, 0, false), frame(0x80, 3, false)].concat());
        assert!(frames.is_between() && !frames.is_over());
        frames.pass(&frame(0x88, 2, false)[..3]);
        assert!(!frames.is_over() && !frames.is_between());
        frames.pass(&[0]);
        assert!(frames.is_over());
        let mut frames = Frames::new(Sender::Server);
        frames.pass(&[0x82, 127, 0xff, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert!(frames.is_over() && !frames.is_between());
    }

    #[test]
    fn the_goodbye_is_a_frame_of_its_sender() {
        assert_eq!(Frames::new(Sender::Server).goodbye(), [0x88, 2, 0x03, 0xe9]);
        let masked = Frames::new(Sender::Client).goodbye();
        assert_eq!(masked[..2], [0x88, 0x82]);
        assert_eq!([masked[6] ^ masked[2], masked[7] ^ masked[3]], [0x03, 0xe9]);
        let mut frames = Frames::new(Sender::Client);
        frames.pass(&masked);
        assert!(frames.is_over() && frames.is_between());
    }
}

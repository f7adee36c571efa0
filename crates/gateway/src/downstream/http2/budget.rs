//! What a client may cost with frames that carry nothing: resets (CVE-2023-44487), pings, settings and window updates
//! (CVE-2019-9512, -9515, -9517), heads in endless pieces (CVE-2024-27316).
//!
//! The `h2` crate answers such frames, or takes note of them, without counting all of them. So they are counted where
//! they are read, before it sees them.

use std::time::Duration;

use polygate_plan::Limits;
use tokio::time::Instant;

use crate::http2::frames::{FrameHead, flag, kind};

/// The time that a full purse lasts.
const WINDOW: Duration = Duration::from_secs(10);
/// What each frame of a response earns: a client may answer it with updates of two windows, a ping and one to spare.
const EARNED: u32 = 4;
/// More than this is not saved up.
const MAX_SAVED: u32 = 1 << 16;

/// What a client does too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Abuse {
    /// It resets streams that it has opened.
    Resets,
    /// It sends frames that carry nothing of a message.
    ControlFrames,
    /// It spreads a head over too many frames, or bytes, or does not take the answers to heads that are too large.
    Head,
    /// It takes too long to send a head.
    Slow,
}

/// Credit that is spent frame by frame, and comes back with time and by merit.
#[derive(Debug)]
struct Purse {
    credit: u32,
    /// What time gives back at most.
    full: u32,
    refilled: Instant,
}

impl Purse {
    fn new(full: u32) -> Self {
        Self { credit: full, full, refilled: Instant::now() }
    }

    /// Says whether there was enough.
    fn spend(&mut self, cost: u32) -> bool {
        if self.credit < cost {
            // The clock is looked at only now: a client that behaves never spends it all.
            let now = Instant::now();
            let share = (now - self.refilled).as_secs_f64() / WINDOW.as_secs_f64();
            self.credit =
                (f64::from(self.credit) + share * f64::from(self.full)).min(f64::from(self.full)) as u32;
            self.refilled = now;
        }
        match self.credit.checked_sub(cost) {
            Some(rest) => self.credit = rest,
            None => return false,
        }
        true
    }

    fn earn(&mut self, credit: u32, most: u32) {
        if self.credit < most {
            self.credit = (self.credit + credit).min(most);
        }
    }
}

/// Judges the frames of one connection.
#[derive(Debug)]
pub(super) struct Budget {
    resets: Purse,
    control: Purse,
    /// Frames and bytes of the head that is being read, and how many it may have.
    head: (u32, u32),
    most_head: (u32, u32),
    /// The last head is not whole: more frames of it must follow.
    in_head: bool,
    /// The last frame is one of a head.
    of_head: bool,
}

impl Budget {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            resets: Purse::new(limits.http2.resets),
            control: Purse::new(limits.http2.control_frames),
            head: (0, 0),
            most_head: (limits.http2.head_frames, limits.head.bytes().try_into().unwrap_or(u32::MAX)),
            in_head: false,
            of_head: false,
        }
    }

    /// A frame of the client.
    pub(super) fn received(&mut self, frame: FrameHead) -> Option<Abuse> {
        self.of_head = matches!(frame.kind, kind::HEADERS | kind::CONTINUATION);
        let cost = match frame.kind {
            kind::HEADERS => {
                self.head = (0, 0);
                return self.head_frame(frame);
            }
            kind::CONTINUATION => return self.head_frame(frame),
            kind::RST_STREAM => return (!self.resets.spend(1)).then_some(Abuse::Resets),
            kind::DATA if frame.length > 0 || frame.has(flag::END_STREAM) => return None,
            // Unlike the others it makes us change what we keep of each stream.
            kind::SETTINGS if !frame.has(flag::ACK) => 2,
            _ => 1,
        };
        (!self.control.spend(cost)).then_some(Abuse::ControlFrames)
    }

    /// Whether a head has begun and is not whole; `cut_short` says whether the last frame is not.
    pub(super) fn is_in_head(&self, cut_short: bool) -> bool {
        self.in_head || (self.of_head && cut_short)
    }

    fn head_frame(&mut self, frame: FrameHead) -> Option<Abuse> {
        self.in_head = !frame.has(flag::END_HEADERS);
        let (frames, bytes) = (self.head.0 + 1, self.head.1.saturating_add(frame.length));
        self.head = (frames, bytes);
        (frames > self.most_head.0 || bytes > self.most_head.1).then_some(Abuse::Head)
    }

    /// A frame of ours.
    pub(super) fn sent(&mut self, frame: FrameHead) {
        if !matches!(frame.kind, kind::DATA | kind::HEADERS) {
            return;
        }
        self.control.earn(EARNED, MAX_SAVED);
        if frame.has(flag::END_STREAM) {
            // Who takes responses may do without some.
            self.resets.earn(1, self.resets.full);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, length: u32, flags: u8) -> FrameHead {
        FrameHead { length, kind, flags }
    }

    /// How many such frames are taken before it is too much.
    fn taken(budget: &mut Budget, frame: FrameHead) -> (usize, Abuse) {
        (0..100_000).find_map(|n| budget.received(frame).map(|abuse| (n, abuse))).expect("no end")
    }

    #[test]
    fn frames_that_carry_nothing_are_counted() {
        let new = || Budget::new(&Limits::default());
        const PING: u8 = 6;
        const WINDOW_UPDATE: u8 = 8;
        for (frame, count, abuse) in [
            (frame(PING, 8, 0), 100, Abuse::ControlFrames),
            (frame(WINDOW_UPDATE, 4, 0), 100, Abuse::ControlFrames),
            (frame(kind::DATA, 0, 0), 100, Abuse::ControlFrames),
            (frame(0x42, 1, 0), 100, Abuse::ControlFrames),
            (frame(kind::SETTINGS, 0, 0), 50, Abuse::ControlFrames),
            (frame(kind::SETTINGS, 0, flag::ACK), 100, Abuse::ControlFrames),
            (frame(kind::RST_STREAM, 4, 0), 100, Abuse::Resets),
            (frame(kind::CONTINUATION, 0, 0), 20, Abuse::Head),
            (frame(kind::CONTINUATION, 16 << 10, 0), 4, Abuse::Head),
        ] {
            assert_eq!(taken(&mut new(), frame), (count, abuse), "{frame:?}");
        }
        let mut budget = new();
        for _ in 0..1000 {
            assert_eq!(budget.received(frame(kind::DATA, 1, 0)), None);
            assert_eq!(budget.received(frame(kind::DATA, 0, flag::END_STREAM)), None);
            assert_eq!(budget.received(frame(kind::HEADERS, 10, flag::END_HEADERS)), None);
        }
        assert!(!budget.is_in_head(false) && budget.is_in_head(true));
        assert_eq!(budget.received(frame(kind::HEADERS, 10, 0)), None);
        assert!(budget.is_in_head(false));
    }

    #[test]
    fn responses_earn_credit_and_so_does_time() {
        let mut budget = Budget::new(&Limits::default());
        for _ in 0..50 {
            budget.sent(frame(kind::HEADERS, 10, flag::END_HEADERS));
            budget.sent(frame(kind::DATA, 10, flag::END_STREAM));
        }
        assert_eq!(taken(&mut budget, frame(6, 8, 0)).0, 500);
        assert_eq!(taken(&mut budget, frame(kind::RST_STREAM, 4, 0)).0, 100);
        budget.sent(frame(kind::DATA, 10, flag::END_STREAM));
        assert_eq!(taken(&mut budget, frame(kind::RST_STREAM, 4, 0)).0, 1);
        budget.control.refilled -= WINDOW / 2;
        let refilled = taken(&mut budget, frame(6, 8, 0)).0;
        assert!((50..60).contains(&refilled), "{refilled}");
    }
}

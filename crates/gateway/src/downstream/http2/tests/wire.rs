//! A client that sends exactly the frames it is told to.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::super::guard::PREFACE;
use super::Gate;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

pub(super) const PROTOCOL_ERROR: u32 = 1;
pub(super) const INTERNAL_ERROR: u32 = 2;
pub(super) const REFUSED_STREAM: u32 = 7;
pub(super) const CANCEL: u32 = 8;
pub(super) const ENHANCE_YOUR_CALM: u32 = 11;

/// What a client waits for at most.
const PATIENCE: Duration = Duration::from_secs(10);

/// A frame that came.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

impl Got {
    /// The error code of RST_STREAM or GOAWAY.
    pub(super) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }

    /// The last stream of GOAWAY.
    pub(super) fn last_stream(&self) -> u32 {
        u32::from_be_bytes(self.payload[..4].try_into().unwrap())
    }
}

/// A frame's bytes.
pub(super) fn encoded(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A block of fields, each literal and without Huffman's code (RFC 7541 6.2.2).
pub(super) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        text(&mut bytes, name);
        text(&mut bytes, value);
    }
    bytes
}

/// A string with its length as an integer of 7 bits (RFC 7541 5.1).
fn text(bytes: &mut Vec<u8>, text: &str) {
    let mut length = text.len();
    if length < 127 {
        bytes.push(length as u8);
    } else {
        bytes.push(127);
        length -= 127;
        while length >= 128 {
            bytes.push((length % 128) as u8 | 128);
            length /= 128;
        }
        bytes.push(length as u8);
    }
    bytes.extend_from_slice(text.as_bytes());
}

/// A connection.
pub(super) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
    got: VecDeque<Got>,
}

impl Wire {
    /// Connects and sends nothing.
    pub(super) async fn raw(gate: &Gate) -> Self {
        let stream = gate.connect().await;
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new(), got: VecDeque::new() }
    }

    /// Connects, and sends preface and empty settings.
    pub(super) async fn open(gate: &Gate) -> Self {
        let mut wire = Self::raw(gate).await;
        wire.write(PREFACE).await;
        wire.frame(SETTINGS, 0, 0, &[]).await;
        wire.frame(SETTINGS, ACK, 0, &[]).await;
        wire
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Writes as long as the other end takes it. Says whether it took all.
    pub(super) async fn try_write(&mut self, bytes: &[u8]) -> bool {
        timeout(PATIENCE, self.stream.write_all(bytes)).await.is_ok_and(|written| written.is_ok())
    }

    pub(super) async fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.write(&encoded(kind, flags, stream, payload)).await;
    }

    /// A head in one frame; `ends` with it the stream as well.
    pub(super) async fn head(&mut self, stream: u32, fields: &[(&str, &str)], ends: bool) {
        let flags = END_HEADERS | if ends { END_STREAM } else { 0 };
        self.frame(HEADERS, flags, stream, &block(fields)).await;
    }

    /// A request without a body.
    pub(super) async fn get(&mut self, stream: u32, path: &str) {
        let fields = [(":method", "GET"), (":path", path), (":scheme", "http"), (":authority", "a.test")];
        self.head(stream, &fields, true).await;
    }

    /// The next frame; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Got> {
        loop {
            if let Some(got) = self.got.pop_front() {
                return Some(got);
            }
            let mut at = 0;
            while let Some(head) = self.buffer.get(at..at + 9) {
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                let stream = u32::from_be_bytes(head[5..9].try_into().unwrap());
                let (kind, flags) = (head[3], head[4]);
                let Some(payload) = self.buffer.get(at + 9..at + 9 + length) else { break };
                self.got.push_back(Got { kind, flags, stream, payload: payload.to_vec() });
                at += 9 + length;
            }
            self.buffer.drain(..at);
            if !self.got.is_empty() {
                continue;
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await.expect("no frame");
            if read.map_or(true, |count| count == 0) {
                return None;
            }
        }
    }

    /// The next frame of that kind; others are passed over.
    pub(super) async fn next_of(&mut self, kind: u8) -> Got {
        let mut passed = Vec::new();
        loop {
            match self.next().await {
                Some(got) if got.kind == kind => return got,
                Some(got) => passed.push(got),
                None => panic!("the end instead of a frame of kind {kind}, after {passed:?}"),
            }
        }
    }

    /// The code of a GOAWAY that has come by now; what came before it is forgotten.
    pub(super) async fn said_goodbye(&mut self) -> Option<u32> {
        while let Ok(Some(got)) = timeout(Duration::ZERO, self.next()).await {
            if got.kind == GOAWAY {
                return Some(got.code());
            }
        }
        None
    }

    /// Waits until the other end closes, in order or not.
    pub(super) async fn closed(mut self) {
        while self.next().await.is_some() {}
    }
}

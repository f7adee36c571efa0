//! Frames of HTTP/2 as attackers write them, byte by byte, and what they get back.

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

pub(super) const CANCEL: u32 = 8;

/// Settings without a window for streams (RFC 9113 6.5.2): what is answered cannot be sent.
pub(super) const NO_WINDOW: &[u8] = &[0, 4, 0, 0, 0, 0];

/// One frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The `n`th stream of a client.
pub(super) fn stream(n: usize) -> u32 {
    1 + 2 * n as u32
}

/// Fields, each literal and without Huffman's code (RFC 7541 6.2.2); texts are shorter than 127 bytes.
pub(super) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

/// What a request begins with.
pub(super) fn request(method: &str, path: &str) -> Vec<u8> {
    block(&[(":method", method), (":path", path), (":scheme", "http"), (":authority", "localhost")])
}

/// Reads frames out of what comes in pieces.
#[derive(Default)]
pub(super) struct Reader(Vec<u8>);

impl Reader {
    /// The frames that are whole with these bytes: kind, stream and payload.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Vec<(u8, u32, Vec<u8>)> {
        self.0.extend_from_slice(bytes);
        let (mut frames, mut at) = (Vec::new(), 0);
        while let Some(&[a, b, c, kind, _, d, e, f, g]) = self.0.get(at..at + 9) {
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            let Some(payload) = self.0.get(at + 9..at + 9 + length) else { break };
            frames.push((kind, u32::from_be_bytes([d, e, f, g]) & 0x7fff_ffff, payload.to_vec()));
            at += 9 + length;
        }
        self.0.drain(..at);
        frames
    }
}

/// The error code of GOAWAY.
pub(super) fn goaway_code(payload: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(payload.get(4..8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_they_were_written() {
        let bytes = [frame(PING, 0, 0, &[7; 8]), frame(DATA, END_STREAM, 3, b"hello")].concat();
        let mut reader = Reader::default();
        let read: Vec<_> = bytes.iter().flat_map(|byte| reader.read(&[*byte])).collect();
        assert_eq!(read, [(PING, 0, vec![7; 8]), (DATA, 3, b"hello".to_vec())]);
        assert_eq!(goaway_code(&[0, 0, 0, 0, 0, 0, 0, 11]), Some(11));
        assert_eq!(goaway_code(&[]), None);
        assert_eq!(block(&[("te", "x")]), b"\0\x02te\x01x");
    }
}

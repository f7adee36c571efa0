//! Streams that are nearly right.

/// What is put in: the words of framing and the bytes that parsers disagree about.
const WORDS: &[&str] = &[
    "\r\n",
    "\n",
    "\r",
    " ",
    "\t",
    ":",
    ",",
    ";",
    "=",
    "\"",
    "\x00",
    "\x0b",
    "\x0c",
    "\x7f",
    "\u{85}",
    "\u{a0}",
    "_",
    "%",
    "#",
    "0",
    "1",
    "5",
    "a",
    "\r\n\r\n",
    "\r\n ",
    "\r\n\t",
    "0\r\n\r\n",
    "1\r\nZ\r\n",
    "5\r\nhello\r\n",
    "chunked",
    "identity",
    "gzip, ",
    ", ",
    "Content-Length: 5\r\n",
    "Content-Length: 0\r\n",
    "Content-Length: 1",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: ",
    "Connection: close\r\n",
    "Connection: keep-alive\r\n",
    "Connection: upgrade\r\nUpgrade: x\r\n",
    "Host: b\r\n",
    "Expect: 100-continue\r\n",
    "Trailer: X\r\n",
    "X: y\r\n",
    "TE: trailers\r\n",
    "HTTP/1.0",
    "HTTP/1.1",
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET",
    "HEAD",
    "POST",
    "OPTIONS *",
    "http://b/",
    "/a?b",
    ";x=y",
    ";x=\"\\\"\"",
    "ffffffffffffffff",
    "10000000000000000",
    "0x",
    "+",
    "-",
];

/// What is put into responses beside that.
pub(super) const OF_RESPONSES: &[&str] = &[
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.0 200 OK\r\n\r\n",
    " 200 ",
    " 304 ",
    " 101 ",
    "OK",
];

/// Makes streams out of seeds, always the same ones for one number.
pub(super) struct Mutator {
    seeds: Vec<Vec<u8>>,
    more: &'static [&'static str],
    state: u64,
}

impl Mutator {
    /// A mutator of these seeds, of which there is one at least, that puts in `more` beside the words of all messages.
    pub(super) fn new(seeds: Vec<Vec<u8>>, more: &'static [&'static str], number: u64) -> Self {
        Self { seeds, more, state: number }
    }

    /// The next number (SplitMix64).
    pub(super) fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, most: usize) -> usize {
        (self.random() % most.max(1) as u64) as usize
    }

    fn seed(&mut self) -> Vec<u8> {
        let at = self.below(self.seeds.len());
        self.seeds.get(at).cloned().unwrap_or_default()
    }

    fn word(&mut self) -> &'static str {
        let at = self.below(WORDS.len() + self.more.len());
        WORDS.get(at).copied().unwrap_or_else(|| self.more[at - WORDS.len()])
    }

    /// The next stream, of at most `most` bytes: a few seeds, one behind the other, with a few changes.
    pub(super) fn next(&mut self, most: usize) -> Vec<u8> {
        let mut stream = self.seed();
        for _ in 0..self.below(3) {
            stream.extend(self.seed());
        }
        for _ in 0..self.below(5) {
            self.change(&mut stream);
        }
        stream.truncate(most);
        stream
    }

    fn change(&mut self, stream: &mut Vec<u8>) {
        let at = self.below(stream.len() + 1);
        let length = self.below(8).min(stream.len() - at);
        match self.below(9) {
            0 | 1 => {
                let word = self.word();
                stream.splice(at..at, word.bytes());
            }
            2 => {
                let word = self.word();
                stream.splice(at..at + length, word.bytes());
            }
            3 => drop(stream.drain(at..at + length)),
            4 => {
                if let Some(byte) = stream.get_mut(at) {
                    *byte = self.state as u8;
                }
            }
            5 => {
                if let Some(byte) = stream.get_mut(at) {
                    *byte ^= 1 << (self.state % 8);
                }
            }
            // A line is doubled, taken out, or put somewhere else.
            6 => {
                let line = line(stream, at);
                let copy = stream[line].to_vec();
                let to = self.below(stream.len() + 1);
                let start = line_start(stream, to);
                stream.splice(start..start, copy);
            }
            7 => {
                let line = line(stream, at);
                stream.drain(line);
            }
            _ => {
                let other = self.seed();
                let from = self.below(other.len() + 1);
                stream.splice(at.., other[from..].iter().copied());
            }
        }
    }
}

fn line_start(stream: &[u8], at: usize) -> usize {
    stream[..at].iter().rposition(|&byte| byte == b'\n').map_or(0, |feed| feed + 1)
}

/// The line around a place, with its end.
fn line(stream: &[u8], at: usize) -> std::ops::Range<usize> {
    let end = stream[at..].iter().position(|&byte| byte == b'\n').map_or(stream.len(), |feed| at + feed + 1);
    line_start(stream, at)..end
}

//! The client: a bare socket.

use std::io::{self, Read as _, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::message::{Head, Read, show};

/// How long anything is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A connection to the gateway.
pub(crate) struct Client {
    stream: TcpStream,
    bytes: Vec<u8>,
    ended: bool,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Reply {
    /// Its status.
    pub(crate) status: u16,
    /// Its body, without framing.
    pub(crate) body: Vec<u8>,
    /// Whether it says that the connection is closed after it.
    pub(crate) closes: bool,
}

impl Client {
    /// Connects.
    pub(crate) fn connect(gateway: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(gateway)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, bytes: vec![], ended: false })
    }

    /// Sends bytes. The gateway may have closed in the meantime: the answers tell.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Reads the next final answer. None: the connection ended before a byte of it.
    pub(crate) fn reply(&mut self, to_head: bool) -> Result<Option<Reply>, String> {
        loop {
            if let Some(head) = Head::read(&self.bytes) {
                let head = head?;
                let status = status(&head.line)?;
                let bodiless = to_head || status < 200 || status == 204 || status == 304;
                let framed = head.all("content-length").chain(head.all("transfer-encoding")).next().is_some();
                let read = if framed || bodiless {
                    head.body(&self.bytes, bodiless)
                } else if self.ended {
                    Read::Whole { end: self.bytes.len(), body: self.bytes[head.end..].to_vec() }
                } else {
                    Read::More
                };
                match read {
                    Read::Malformed(why) => return Err(why),
                    Read::Whole { end, body } => {
                        let closes = head.all("connection").any(|value| value.eq_ignore_ascii_case("close"));
                        self.bytes.drain(..end);
                        if (100..200).contains(&status) {
                            continue;
                        }
                        return Ok(Some(Reply { status, body, closes }));
                    }
                    Read::More => {}
                }
            }
            if self.ended {
                let begun = !self.bytes.is_empty();
                return if begun { Err(format!("broken off: {}", show(&self.bytes))) } else { Ok(None) };
            }
            self.fill()?;
        }
    }

    /// Whether the connection has ended and nothing more came on it.
    pub(crate) fn ends(&mut self) -> Result<(), String> {
        while !self.ended && self.bytes.is_empty() {
            self.fill()?;
        }
        if self.bytes.is_empty() { Ok(()) } else { Err(format!("unexpected: {}", show(&self.bytes))) }
    }

    fn fill(&mut self) -> Result<(), String> {
        let mut piece = vec![0; 64 << 10];
        match self.stream.read(&mut piece) {
            Ok(count) => {
                self.ended = count == 0;
                self.bytes.extend_from_slice(&piece[..count]);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                self.ended = true;
                Ok(())
            }
            Err(_) => Err(format!("neither an answer nor the end, after {}", show(&self.bytes))),
        }
    }
}

fn status(line: &str) -> Result<u16, String> {
    let code = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    code.ok_or_else(|| format!("a status line {line:?}"))
}

//! A client that hides nothing: raw requests in, parsed replies out.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A response, its chunked coding taken off.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
    trailers: Vec<(String, String)>,
}

impl Reply {
    /// The first field of that name, which is given in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// All fields of that name.
    pub(crate) fn headers_of(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect()
    }

    /// The trailer field of that name.
    pub(crate) fn trailer(&self, name: &str) -> Option<&str> {
        find(&self.trailers, name)
    }
}

fn find<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    fields.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
}

/// Sends a raw request and reads one response.
pub(crate) fn request(address: SocketAddr, raw: &str) -> Reply {
    pipeline(address, raw, 1).remove(0)
}

/// Sends raw requests at once and reads so many responses.
pub(crate) fn pipeline(address: SocketAddr, raw: &str, count: usize) -> Vec<Reply> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.write_all(raw.as_bytes()).unwrap();
    let mut reader = Reader { stream, buffer: Vec::new() };
    (0..count).map(|_| reader.reply()).collect()
}

struct Reader {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Reader {
    fn fill(&mut self) {
        let mut chunk = [0; 4096];
        let read = self.stream.read(&mut chunk).expect("the reply ends early");
        assert!(read > 0, "closed early; so far: {:?}", String::from_utf8_lossy(&self.buffer));
        self.buffer.extend_from_slice(&chunk[..read]);
    }

    fn take(&mut self, count: usize) -> String {
        while self.buffer.len() < count {
            self.fill();
        }
        String::from_utf8(self.buffer.drain(..count).collect()).unwrap()
    }

    fn line(&mut self) -> String {
        loop {
            if let Some(at) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                let mut line = self.take(at + 2);
                line.truncate(at);
                return line;
            }
            self.fill();
        }
    }

    fn fields(&mut self) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(':') else { return fields };
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    fn reply(&mut self) -> Reply {
        let status = self.line().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = self.fields();
        let mut reply = Reply { status, headers, body: String::new(), trailers: Vec::new() };
        if reply.header("transfer-encoding") == Some("chunked") {
            loop {
                let size = usize::from_str_radix(&self.line(), 16).unwrap();
                if size == 0 {
                    reply.trailers = self.fields();
                    return reply;
                }
                reply.body.push_str(&self.take(size));
                assert_eq!(self.line(), "");
            }
        }
        let length = reply.header("content-length").map_or(0, |length| length.parse().unwrap());
        reply.body = self.take(length);
        reply
    }
}

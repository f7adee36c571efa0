//! The upstream: a bare socket that keeps every byte it receives, and answers as a case says.

use std::collections::BTreeSet;
use std::io::{self, Read as _, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::case::Play;
use crate::message::{Head, Read, show};

/// Connections are numbered in the order in which they were made.
type Number = usize;

/// An upstream that serves until the program ends.
#[derive(Clone)]
pub(crate) struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    seen: Mutex<Seen>,
    changed: Condvar,
}

struct Seen {
    play: Play,
    made: Number,
    open: BTreeSet<Number>,
    /// Those on which a request has begun.
    begun: BTreeSet<Number>,
    requests: Vec<Received>,
    partial: Vec<Vec<u8>>,
    malformed: Vec<String>,
}

/// A whole request.
pub(crate) struct Received {
    /// The connection that it came on.
    pub(crate) connection: Number,
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
}

/// What came since the last [`Upstream::play`].
pub(crate) struct Haul {
    /// Whole requests.
    pub(crate) requests: Vec<Received>,
    /// Beginnings of requests, on connections that were closed then.
    pub(crate) partial: Vec<Vec<u8>>,
    /// What is no request.
    pub(crate) malformed: Vec<String>,
}

impl Upstream {
    /// Starts one.
    pub(crate) fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let seen = Seen {
            play: Play::Echo,
            made: 0,
            open: BTreeSet::new(),
            begun: BTreeSet::new(),
            requests: vec![],
            partial: vec![],
            malformed: vec![],
        };
        let shared = Arc::new(Shared { seen: Mutex::new(seen), changed: Condvar::new() });
        let upstream = Self { address: listener.local_addr()?, shared };
        let accepting = upstream.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let connected = accepting.clone();
                std::thread::spawn(move || connected.serve(stream));
            }
        });
        Ok(upstream)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Forgets what came, and plays so from now on.
    pub(crate) fn play(&self, play: Play) {
        let mut seen = self.seen();
        seen.play = play;
        (seen.requests, seen.partial, seen.malformed) = (vec![], vec![], vec![]);
    }

    /// What came since.
    pub(crate) fn haul(&self) -> Haul {
        let mut seen = self.seen();
        Haul {
            requests: std::mem::take(&mut seen.requests),
            partial: std::mem::take(&mut seen.partial),
            malformed: std::mem::take(&mut seen.malformed),
        }
    }

    /// Waits until these connections are closed, and all others on which a request has begun. Says whether they are.
    pub(crate) fn await_closed(&self, patience: Duration, numbers: &[Number]) -> bool {
        let until = Instant::now() + patience;
        let mut seen = self.seen();
        while !seen.begun.is_empty() || numbers.iter().any(|number| seen.open.contains(number)) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.shared.changed.wait_timeout(seen, left);
            seen = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(self, stream: TcpStream) {
        let number = {
            let mut seen = self.seen();
            seen.made += 1;
            let number = seen.made;
            seen.open.insert(number);
            number
        };
        let rest = self.requests(&stream, number);
        let mut seen = self.seen();
        seen.open.remove(&number);
        seen.begun.remove(&number);
        match rest {
            Ok(rest) if rest.is_empty() => {}
            Ok(rest) => seen.partial.push(rest),
            Err(malformed) => seen.malformed.push(malformed),
        }
        drop(seen);
        self.shared.changed.notify_all();
    }

    /// Serves a connection to its end. Gives what is left of it: the beginning of a request.
    fn requests(&self, mut stream: &TcpStream, connection: Number) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        let mut piece = vec![0; 64 << 10];
        let mut answered = false;
        loop {
            if let Some(head) = Head::read(&bytes) {
                let head = head.map_err(|why| format!("{why} in {}", show(&bytes)))?;
                let play = self.seen().play.clone();
                if let Play::AnswerHead(answer) = &play
                    && !answered
                {
                    answered = true;
                    // The gateway may have gone.
                    let _ = stream.write_all(answer);
                }
                match head.body(&bytes, false) {
                    Read::Malformed(why) => return Err(format!("{why} in {}", show(&bytes))),
                    Read::More => {}
                    Read::Whole { end, .. } => {
                        let rest = bytes.split_off(end);
                        let mut seen = self.seen();
                        seen.requests.push(Received { connection, bytes });
                        seen.begun.remove(&connection);
                        drop(seen);
                        bytes = rest;
                        let sent = match play {
                            _ if std::mem::take(&mut answered) => Ok(()),
                            Play::Echo => stream.write_all(&echo(&head.line)),
                            Play::Answer(answer) => stream.write_all(&answer),
                            Play::AnswerAndClose(answer) => {
                                let _ = stream.write_all(&answer);
                                return Ok(bytes);
                            }
                            Play::AnswerHead(_) => Ok(()),
                        };
                        if sent.is_err() {
                            return Ok(bytes);
                        }
                        continue;
                    }
                }
            }
            if !bytes.is_empty() {
                self.seen().begun.insert(connection);
            }
            match stream.read(&mut piece) {
                Ok(0) | Err(_) => return Ok(bytes),
                Ok(count) => bytes.extend_from_slice(&piece[..count]),
            }
        }
    }
}

/// The answer whose body says what was asked for.
fn echo(line: &str) -> Vec<u8> {
    let asked = line.strip_suffix(" HTTP/1.1").unwrap_or(line);
    let body = if asked.starts_with("HEAD ") { "" } else { asked };
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", asked.len()).into_bytes()
}

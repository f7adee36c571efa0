//! Load generator and upstream in one thread that never sleeps.
//!
//! Whoever writes to a process that sleeps pays for waking it, and on a virtual machine that is microseconds: the faster
//! the proxy, the busier the load's core and the cheaper its writes. `wrk` and an nginx behind it make a slow proxy look
//! slower than it is in this way. Here nobody is ever woken, so what is measured is the proxy alone.
//!
//! It runs as a process of its own on the load's core (`cargo xtask busy`) and is told what to do on its standard input:
//! `PORT PATH CONNECTIONS MILLISECONDS` makes it answer `REQUESTS ERRORS P50 P99` (microseconds).

use std::io::{self, BufRead, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use clap::Args;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::Outcome;

#[derive(Args)]
pub(crate) struct Options {
    /// The port that the upstream listens on.
    port: u16,
    /// Bytes of its response body.
    body: usize,
}

const LISTENER: Token = Token(usize::MAX);

pub(crate) fn run(options: &Options) -> Outcome {
    let failed = |error: io::Error| format!("busy load: {error}");
    let mut engine = Engine::new(options).map_err(failed)?;
    for line in io::stdin().lock().lines() {
        let line = line.map_err(failed)?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let &[port, path, connections, millis] = words.as_slice() else {
            return Err(format!("busy load: not an order: {line}"));
        };
        let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text}: {error}"));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, number(port)? as u16));
        let time = Duration::from_millis(number(millis)?);
        let answer = engine.load(address, path, number(connections)? as usize, time).map_err(failed)?;
        println!("{answer}");
    }
    Ok(())
}

/// One side of a connection.
struct Peer {
    stream: TcpStream,
    input: Vec<u8>,
    /// When the request was sent; `None` at the upstream's end of a connection.
    asked: Option<Instant>,
}

struct Engine {
    poll: Poll,
    listener: TcpListener,
    peers: Vec<Option<Peer>>,
    response: Vec<u8>,
}

impl Engine {
    fn new(options: &Options) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, options.port)))?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let body = "x".repeat(options.body);
        let head = "HTTP/1.1 200 OK\r\nServer: busy\r\nContent-Type: text/plain";
        let response = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", options.body).into_bytes();
        Ok(Self { poll, listener, peers: Vec::new(), response })
    }

    fn add(&mut self, mut stream: TcpStream, asked: Option<Instant>) -> io::Result<usize> {
        stream.set_nodelay(true)?;
        let index = self.peers.len();
        self.poll.registry().register(&mut stream, Token(index), Interest::READABLE)?;
        self.peers.push(Some(Peer { stream, input: Vec::with_capacity(16 << 10), asked }));
        Ok(index)
    }

    fn load(
        &mut self,
        address: SocketAddr,
        path: &str,
        connections: usize,
        time: Duration,
    ) -> io::Result<String> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").into_bytes();
        let mut events = Events::with_capacity(1024);
        let first = self.peers.len();
        for _ in 0..connections {
            let stream = std::net::TcpStream::connect(address)?;
            stream.set_nonblocking(true)?;
            let index = self.add(TcpStream::from_std(stream), Some(Instant::now()))?;
            if let Some(Some(peer)) = self.peers.get_mut(index) {
                peer.stream.write_all(&request)?;
            }
        }
        let mut latencies = Vec::with_capacity(1 << 20);
        let mut errors = 0u64;
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.poll.poll(&mut events, Some(Duration::ZERO))?;
            for event in &events {
                if event.token() == LISTENER {
                    while let Ok((stream, _)) = self.listener.accept() {
                        self.add(stream, None)?;
                    }
                    continue;
                }
                let index = event.token().0;
                let Some(Some(peer)) = self.peers.get_mut(index) else { continue };
                if !peer.serve(&request, &self.response, &mut latencies, &mut errors) {
                    errors += u64::from(peer.asked.is_some());
                    self.peers[index] = None;
                }
            }
        }
        // The load's connections are closed; those that the proxy keeps to the upstream stay.
        for peer in
            self.peers.iter_mut().skip(first).filter(|p| p.as_ref().is_some_and(|p| p.asked.is_some()))
        {
            *peer = None;
        }
        latencies.sort_unstable();
        let percentile = |share: usize| latencies.get(latencies.len() * share / 100).copied().unwrap_or(0);
        let (p50, p99) = (percentile(50), percentile(99));
        Ok(format!("{} {errors} {p50} {p99}", latencies.len()))
    }
}

impl Peer {
    /// Reads what there is and answers it; false when the connection is over.
    fn serve(&mut self, request: &[u8], response: &[u8], latencies: &mut Vec<u32>, errors: &mut u64) -> bool {
        let mut room = [0; 16 << 10];
        loop {
            match self.stream.read(&mut room) {
                Ok(0) => return false,
                Ok(count) => self.input.extend_from_slice(&room[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
            while let Some(length) = message(&self.input) {
                let reply = match self.asked {
                    Some(asked) => {
                        *errors += u64::from(!self.input.starts_with(b"HTTP/1.1 200"));
                        latencies.push(asked.elapsed().as_micros().min(u128::from(u32::MAX)) as u32);
                        self.asked = Some(Instant::now());
                        request
                    }
                    None => response,
                };
                self.input.drain(..length);
                if self.stream.write_all(reply).is_err() {
                    return false;
                }
            }
        }
    }
}

/// The length of the first message in `input`, once it is there as a whole. Bodies have a length.
fn message(input: &[u8]) -> Option<usize> {
    let head = input.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&input[..head]).ok()?;
    let length = text.lines().filter_map(|line| line.split_once(':')).find_map(|(name, value)| {
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let whole = head + length.unwrap_or(0);
    (input.len() >= whole).then_some(whole)
}

//! Clients of HTTP/1.1: as many as are kept busy, or so many requests a second whatever comes back.
//!
//! Latencies count from when a request was due, not from when there was somebody to send it.

use std::cell::{Cell, RefCell};
use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Connections that clients with a rate open at most; beyond, requests are not sent.
const MOST_CONNECTIONS: usize = 4_000;

/// What clients ask for.
#[derive(Clone)]
pub(super) struct Asks {
    pub(super) address: SocketAddr,
    pub(super) path: &'static str,
    /// Whether connections are used again.
    pub(super) keeps: bool,
    /// Answers that take longer are too late to be good.
    pub(super) within: Duration,
}

/// What became of requests.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) good: u64,
    /// Answered with 503 and the reason `overloaded`.
    pub(super) shed: u64,
    /// Answered too late.
    pub(super) late: u64,
    pub(super) failed: u64,
    /// No connection was free.
    pub(super) unsent: u64,
    /// Of those that were good or late, in no order.
    pub(super) times: Vec<Duration>,
    /// When, since the beginning, the last answer came that was not good.
    pub(super) last_bad: Option<Duration>,
    /// What failed first.
    pub(super) first_failure: Option<String>,
}

impl Tally {
    pub(super) fn add(&mut self, other: Self) {
        self.good += other.good;
        self.shed += other.shed;
        self.late += other.late;
        self.failed += other.failed;
        self.unsent += other.unsent;
        self.times.extend(other.times);
        self.last_bad = self.last_bad.max(other.last_bad);
        self.first_failure = self.first_failure.take().or(other.first_failure);
    }

    /// The latency that such a share of good answers stays below.
    pub(super) fn percentile(&mut self, share: f64) -> Duration {
        self.times.sort_unstable();
        let last = self.times.len().saturating_sub(1);
        self.times.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
    }

    /// Notes an answer to a request that was due then.
    pub(super) fn note(&mut self, began: Instant, due: Instant, within: Duration, seen: Result<Seen>) {
        let took = due.elapsed();
        match seen {
            Ok(Seen::Good) => {
                self.times.push(took);
                if took <= within {
                    self.good += 1;
                    return;
                }
                self.late += 1;
            }
            Ok(Seen::Shed) => self.shed += 1,
            Err(error) => {
                self.failed += 1;
                self.first_failure.get_or_insert_with(|| error.to_string());
            }
        }
        self.last_bad = Some(began.elapsed());
    }
}

/// An answer that was to be expected.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    Good,
    Shed,
}

/// Runs clients on this thread.
pub(super) fn on_runtime<T>(clients: impl Future<Output = T>) -> std::result::Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map(|runtime| runtime.block_on(clients)).map_err(|error| error.to_string())
}

/// Keeps so many connections busy.
pub(super) async fn busy(asks: &Asks, connections: usize, time: Duration) -> Tally {
    let began = Instant::now();
    let clients = (0..connections).map(|_| async {
        let (mut tally, mut stream) = (Tally::default(), None);
        while began.elapsed() < time {
            let due = Instant::now();
            tally.note(began, due, asks.within, ask(asks, &mut stream).await);
        }
        tally
    });
    let mut all = Tally::default();
    join_all(clients).await.into_iter().for_each(|tally| all.add(tally));
    all
}

/// Sends so many requests a second, and waits for those that are under way then.
pub(super) async fn steady(asks: Asks, rate: f64, time: Duration) -> Tally {
    let began = Instant::now();
    let (tally, free) = (Rc::new(RefCell::new(Tally::default())), Rc::new(RefCell::new(Vec::new())));
    let open = Rc::new(Cell::new(0));
    let local = LocalSet::new();
    let sending = local.run_until(async {
        let total = (rate * time.as_secs_f64()) as u64;
        for number in 0..total {
            let due = began + Duration::from_secs_f64(number as f64 / rate);
            if due > Instant::now() {
                tokio::time::sleep_until(due.into()).await;
            }
            if open.get() >= MOST_CONNECTIONS {
                tally.borrow_mut().unsent += 1;
                continue;
            }
            open.set(open.get() + 1);
            let (asks, tally, free, open) = (asks.clone(), tally.clone(), free.clone(), open.clone());
            tokio::task::spawn_local(async move {
                let mut stream = free.borrow_mut().pop();
                let seen = ask(&asks, &mut stream).await;
                tally.borrow_mut().note(began, due, asks.within, seen);
                free.borrow_mut().extend(stream);
                open.set(open.get() - 1);
            });
        }
    });
    sending.await;
    local.await;
    Rc::try_unwrap(tally).map(RefCell::into_inner).unwrap_or_default()
}

/// One request over `stream`, or a new one; what can be used again is left there.
async fn ask(asks: &Asks, stream: &mut Option<TcpStream>) -> Result<Seen> {
    let asked = tokio::time::timeout(PATIENCE, async {
        if let Some(kept) = stream.take() {
            match talk(asks, kept).await {
                // It was closed while nobody used it, which is anybody's right.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                other => return other,
            }
        }
        let fresh = TcpStream::connect(asks.address).await?;
        fresh.set_nodelay(true)?;
        talk(asks, fresh).await
    });
    let (seen, kept) = asked.await.map_err(|_| Error::other("no answer in ten seconds"))??;
    *stream = kept.filter(|_| asks.keeps);
    Ok(seen)
}

/// One request and its answer, and the connection if it persists.
async fn talk(asks: &Asks, mut stream: TcpStream) -> Result<(Seen, Option<TcpStream>)> {
    let request = format!("GET {} HTTP/1.1\r\nhost: localhost\r\n\r\n", asks.path);
    let mut input = Vec::with_capacity(1024);
    let begun = async {
        stream.write_all(request.as_bytes()).await?;
        stream.read_buf(&mut input).await
    };
    // Nothing of an answer: the connection was over before the request came.
    let nothing = |_| Error::from(ErrorKind::ConnectionAborted);
    if begun.await.map_err(nothing)? == 0 {
        return Err(ErrorKind::ConnectionAborted.into());
    }
    let end = loop {
        if let Some(end) = input.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        more(&mut stream, &mut input).await?;
    };
    let head = String::from_utf8_lossy(&input[..end]).to_ascii_lowercase();
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let length: usize = field("content-length:").and_then(|length| length.parse().ok()).unwrap_or(0);
    let persists = field("connection:") != Some("close");
    while input.len() < end + length {
        more(&mut stream, &mut input).await?;
    }
    let body = String::from_utf8_lossy(&input[end..]);
    let seen = match head.get(9..12) {
        Some("200") => Seen::Good,
        Some("503") if body.contains("\"overloaded\"") => Seen::Shed,
        _ => return Err(Error::other(format!("{head}{body}"))),
    };
    Ok((seen, persists.then_some(stream)))
}

async fn more(stream: &mut TcpStream, input: &mut Vec<u8>) -> Result<()> {
    match stream.read_buf(input).await? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

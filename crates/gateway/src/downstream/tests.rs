//! Connections over real sockets, with a service that is a function.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::task::{Context, Poll};

use futures_util::future::LocalBoxFuture;
use polygate_pipeline::{
    Body, BodyStream, Bytes, Client, Failure, Frame, Interim, Known, Reason, Request, Response, StatusCode,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

mod crowds;
mod interim;
mod tunnels;

use super::*;
use crate::overload::{Overload, Valve};
use crate::service::{End, Finish, Refusal};

type Handler = Rc<dyn Fn(Request, Client) -> LocalBoxFuture<'static, Response>>;
pub(super) type Ends = Rc<RefCell<Vec<(u64, u64, Option<Reason>)>>>;

#[derive(Clone)]
pub(super) struct Fake {
    handler: Handler,
    ends: Ends,
    dropped: Rc<Cell<usize>>,
    introduced: bool,
    /// Where interim responses of the newest exchange go.
    interim: Rc<RefCell<Option<Interim>>>,
    valve: Valve,
}

/// The proxy that is trusted.
pub(super) const TRUSTED: std::net::Ipv4Addr = std::net::Ipv4Addr::new(127, 9, 9, 9);

/// A valve that nobody turns.
fn calm() -> Valve {
    Valve::new(tokio::sync::watch::channel(Overload::default()).1)
}

impl Fake {
    /// Answers by what is known of the client.
    pub(super) fn of_client(answer: impl Fn(Request, Client) -> Response + 'static) -> Self {
        let handler: Handler = Rc::new(move |request, client| {
            let response = answer(request, client);
            Box::pin(async { response })
        });
        Self {
            handler,
            ends: Ends::default(),
            dropped: Rc::default(),
            introduced: false,
            interim: Rc::default(),
            valve: calm(),
        }
    }

    /// The same behind a proxy that says whose each connection is.
    pub(super) fn introduced(self) -> Self {
        Self { introduced: true, ..self }
    }
}

pub(super) struct Recorder(Ends);

impl Finish for Recorder {
    fn finish(self, end: End) {
        self.0.borrow_mut().push((end.received, end.sent, end.failure.map(|failure| failure.reason())));
    }
}

/// Counts calls that are dropped before they are done.
struct Guard(Rc<Cell<usize>>, bool);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.set(self.0.get() + usize::from(!self.1));
    }
}

impl Service for Fake {
    type Finish = Recorder;

    fn is_introduced(&self, _peer: std::net::IpAddr) -> bool {
        self.introduced
    }

    fn is_trusted(&self, peer: std::net::IpAddr) -> bool {
        peer == TRUSTED
    }

    fn valve(&self) -> &Valve {
        &self.valve
    }

    async fn call(&self, request: Request, client: Client, interim: Option<Interim>) -> (Response, Recorder) {
        self.interim.replace(interim);
        let mut guard = Guard(self.dropped.clone(), false);
        let response = (self.handler)(request, client).await;
        guard.1 = true;
        (response, Recorder(self.ends.clone()))
    }

    fn refuse(&self, refusal: Refusal, _client: Client) -> (Response, Recorder) {
        let mut response = Response::new(refusal.failure.status());
        response.body = Body::full(refusal.failure.reason().as_str());
        (response, Recorder(self.ends.clone()))
    }
}

/// A gateway's listener in the test's own thread.
pub(super) struct Gate {
    pub(super) address: SocketAddr,
    pub(super) stop: Stop,
    pub(super) ends: Ends,
    pub(super) dropped: Rc<Cell<usize>>,
    pub(super) metrics: WorkerMetrics,
    pub(super) interim: Rc<RefCell<Option<Interim>>>,
}

pub(super) fn gate_with<F>(settings: Settings, handler: impl Fn(Request) -> F + 'static) -> Gate
where
    F: Future<Output = Response> + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // As many may wait as in earnest.
    socket2::SockRef::from(&listener).listen(1024).unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, metrics, ends) = (Stop::default(), WorkerMetrics::default(), Ends::default());
    let dropped = Rc::new(Cell::new(0));
    let handler: Handler = Rc::new(move |request, _| Box::pin(handler(request)));
    let interim: Rc<RefCell<Option<Interim>>> = Rc::default();
    let service = Fake {
        handler,
        ends: ends.clone(),
        dropped: dropped.clone(),
        introduced: false,
        interim: interim.clone(),
        valve: calm(),
    };
    Listener::spawn(listener, None, service, stop.clone(), metrics.clone(), &settings);
    Gate { address, stop, ends, dropped, metrics, interim }
}

pub(super) fn gate<F>(handler: impl Fn(Request) -> F + 'static) -> Gate
where
    F: Future<Output = Response> + 'static,
{
    gate_with(Settings::default(), handler)
}

pub(super) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let within = async { timeout(Duration::from_secs(20), test).await.expect("the test hangs") };
    tokio::task::LocalSet::new().block_on(&runtime, within);
}

impl Gate {
    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes and reads until the gateway closes.
    pub(super) async fn talk(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes.as_ref()).await.unwrap();
        rest(&mut stream).await
    }

    pub(super) async fn until(&self, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

async fn rest(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.unwrap();
    without_date(&all)
}

/// Reads until `end` was seen.
async fn through(stream: &mut TcpStream, end: &str) -> String {
    let mut all = Vec::new();
    while !all.ends_with(end.as_bytes()) {
        let byte = stream.read_u8().await;
        all.push(byte.unwrap_or_else(|e| panic!("{e} after {:?}", String::from_utf8_lossy(&all))));
    }
    without_date(&all)
}

fn without_date(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).into_owned();
    text.split_inclusive("\r\n").filter(|line| !line.starts_with("Date: ")).collect()
}

pub(super) fn text(body: impl Into<Body>) -> Response {
    let mut response = Response::new(StatusCode::OK);
    response.body = body.into();
    response
}

/// A body of frames that come one a turn of the event loop, of unknown length.
pub(super) struct Slowly(pub(super) Vec<Result<&'static str, Reason>>);

impl BodyStream for Slowly {
    fn poll_frame(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame, Failure>>> {
        if self.0.is_empty() {
            return std::task::Poll::Ready(None);
        }
        if self.0[0] == Ok("") {
            let _ = self.0.remove(0);
            cx.waker().wake_by_ref();
            return std::task::Poll::Pending;
        }
        let frame = self.0.remove(0);
        std::task::Poll::Ready(Some(
            frame.map(|text| Frame::Data(Bytes::from_static(text.as_bytes()))).map_err(Failure::new),
        ))
    }
}

#[test]
fn answers_pipelined_requests_in_order_on_one_connection() {
    run(async {
        let gate = gate(|request: Request| async move { text(request.target.path().to_owned()) });
        let get = |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n{more}\r\n");
        let all = [get("/1", ""), get("/22", ""), get("/333", "Connection: close\r\n")].concat();
        let ok = |length: u8, more: &str, body: &str| {
            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{more}\r\n{body}")
        };
        let expected = [ok(2, "", "/1"), ok(3, "", "/22"), ok(4, "Connection: close\r\n", "/333")].concat();
        assert_eq!(gate.talk(all).await, expected);
        assert_eq!(*gate.ends.borrow(), [(0, 2, None), (0, 3, None), (0, 4, None)]);
        let old = gate.talk("GET /old HTTP/1.0\r\n\r\n").await;
        assert_eq!(old, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\n/old");
        assert_eq!(gate.metrics.snapshot().accepted, 2);
    });
}

#[test]
fn reads_and_writes_bodies_of_every_framing() {
    run(async {
        let gate = gate(|request: Request| async move {
            let unknown = request.target.query().is_some();
            let (body, _) = request.body.collect(1 << 30).await.unwrap();
            if unknown { text(Body::stream(Slowly(vec![Ok("one"), Ok(""), Ok("two")]))) } else { text(body) }
        });
        let close = "Host: a\r\nConnection: close\r\n";
        let got = gate.talk(format!("POST / HTTP/1.1\r\n{close}Content-Length: 5\r\n\r\nhello")).await;
        assert!(got.ends_with("Content-Length: 5\r\nConnection: close\r\n\r\nhello"), "{got}");
        let chunks = "5\r\nhello\r\n3;x=y\r\n, a\r\n0\r\nT: v\r\n\r\n";
        let got =
            gate.talk(format!("POST / HTTP/1.1\r\n{close}Transfer-Encoding: chunked\r\n\r\n{chunks}")).await;
        assert!(got.ends_with("\r\n\r\nhello, a"), "{got}");
        let got = gate.talk(format!("GET /?x HTTP/1.1\r\n{close}\r\n")).await;
        assert!(got.contains("Transfer-Encoding: chunked\r\n"), "{got}");
        assert!(got.ends_with("\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"), "{got}");
        let got = gate.talk("GET /?x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
        assert_eq!(got, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nonetwo");
        // Larger than every buffer, in small writes.
        let mut stream = gate.connect().await;
        let (mut reader, mut writer) = stream.split();
        let send = async {
            let head = format!("POST / HTTP/1.1\r\n{close}Content-Length: 3000000\r\n\r\n");
            writer.write_all(head.as_bytes()).await.unwrap();
            for _ in 0..3000 {
                writer.write_all(&[b'x'; 1000]).await.unwrap();
            }
        };
        let receive = async {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).await.unwrap();
            all
        };
        let ((), all) = tokio::join!(send, receive);
        assert_eq!(all.iter().rev().take_while(|&&b| b == b'x').count(), 3_000_000);
    });
}

#[test]
fn a_request_body_can_be_streamed_back() {
    run(async {
        let gate = gate(|request: Request| async move { text(request.body) });
        let mut stream = gate.connect().await;
        stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
        assert!(through(&mut stream, "\r\n\r\n").await.contains("chunked"));
        for _ in 0..3 {
            stream.write_all(b"2\r\nhi\r\n").await.unwrap();
            assert_eq!(through(&mut stream, "\r\nhi\r\n").await, "2\r\nhi\r\n");
        }
        stream.write_all(b"0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
        let got = rest(&mut stream).await;
        assert!(got.starts_with("0\r\n\r\nHTTP/1.1 200 OK\r\n"), "{got}");
    });
}

#[test]
fn a_body_that_nobody_reads_is_drained_or_ends_the_connection() {
    run(async {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let log = seen.clone();
        let gate = gate(move |request: Request| {
            log.borrow_mut().push(request.target.path().to_owned());
            async { Response::new(StatusCode::FORBIDDEN) }
        });
        let inner = "GET /admin HTTP/1.1\r\nHost: a\r\n\r\n";
        let next = "GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let mut stream = gate.connect().await;
        let head = format!("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", inner.len());
        stream.write_all(head.as_bytes()).await.unwrap();
        assert!(!through(&mut stream, "\r\n\r\n").await.contains("close"));
        stream.write_all(format!("{inner}{next}").as_bytes()).await.unwrap();
        assert!(rest(&mut stream).await.starts_with("HTTP/1.1 403"));
        assert_eq!(*seen.borrow(), ["/a", "/next"]);
        // More than the cap: the head says so at once, and the client gets the whole answer.
        let big =
            format!("POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n{}", "x".repeat(150_000));
        let got = gate.talk(big).await;
        assert!(got.contains("403") && got.contains("Connection: close\r\n"), "{got}");
        // In chunks it shows while it is drained.
        let chunk = format!("{:x}\r\n{}\r\n", 30_000, "x".repeat(30_000));
        let many = format!(
            "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n{inner}",
            chunk.repeat(3)
        );
        let got = gate.talk(many).await;
        assert_eq!(got.matches("HTTP/1.1").count(), 1, "{got}");
        assert_eq!(*seen.borrow(), ["/a", "/next", "/b", "/c"]);
    });
}

#[test]
fn a_client_that_goes_away_drops_its_exchange() {
    run(async {
        let gate = gate(|request: Request| async move {
            if request.target.path() == "/stream" {
                let never = Body::stream(Never);
                return text(never);
            }
            std::future::pending().await
        });
        let mut stream = gate.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        gate.until(|g| g.metrics.snapshot().connections == 1).await;
        assert_eq!(gate.dropped.get(), 0);
        drop(stream);
        gate.until(|g| g.dropped.get() == 1 && g.metrics.snapshot().connections == 0).await;
        let mut stream = gate.connect().await;
        stream.write_all(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        through(&mut stream, "\r\n\r\n").await;
        drop(stream);
        gate.until(|g| g.ends.borrow().len() == 1).await;
        assert_eq!(*gate.ends.borrow(), [(0, 0, Some(Reason::ClientClosed))]);
    });
}

/// A body that never comes.
pub(super) struct Never;

impl BodyStream for Never {
    fn poll_frame(
        &mut self,
        _cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame, Failure>>> {
        std::task::Poll::Pending
    }
}

#[test]
fn says_continue_only_when_the_body_is_wanted() {
    run(async {
        let gate = gate(|request: Request| async move {
            if request.target.path() == "/no" {
                return Response::new(StatusCode::FORBIDDEN);
            }
            text(request.body.collect(100).await.unwrap().0)
        });
        let head = |path: &str| {
            format!("POST {path} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        };
        let mut stream = gate.connect().await;
        stream.write_all(head("/yes").as_bytes()).await.unwrap();
        assert_eq!(through(&mut stream, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(b"hello").await.unwrap();
        assert!(through(&mut stream, "hello").await.starts_with("HTTP/1.1 200 OK\r\n"));
        // The body is there already: nothing to wait for.
        stream.write_all(format!("{}hello", head("/yes")).as_bytes()).await.unwrap();
        assert!(through(&mut stream, "hello").await.starts_with("HTTP/1.1 200 OK\r\n"));
        stream.write_all(head("/no").as_bytes()).await.unwrap();
        let got = rest(&mut stream).await;
        assert!(got.starts_with("HTTP/1.1 403 ") && got.contains("Connection: close\r\n"), "{got}");
    });
}

#[test]
fn garbage_is_answered_once() {
    run(async {
        let gate = gate(|_| async { text("ok") });
        let good = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for (bytes, status, answers) in [
            ("\x16\x03\x01".to_owned(), "400", 1),
            ("GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), "400", 1),
            (format!("{good}\0"), "400", 2),
            ("GET / HTTP/3.0\r\nHost: a\r\n\r\n".to_owned(), "505", 1),
            (format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "u".repeat(9000)), "414", 1),
            (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "u".repeat(70_000)), "431", 1),
        ] {
            let got = gate.talk(&bytes).await;
            assert_eq!(got.matches("HTTP/1.1 ").count(), answers, "{got}");
            assert!(got.contains(&format!("HTTP/1.1 {status} ")), "{got}");
            assert!(got.contains("Connection: close\r\n"), "{got}");
        }
        // A malformed body fails the exchange that reads it, and the connection.
        let gate = self::gate(|request: Request| async move {
            match request.body.collect(100).await {
                Ok(_) => text("ok"),
                Err(failure) => Response::new(failure.status()),
            }
        });
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let got = gate.talk(format!("{head}0x1\r\nZ\r\n0\r\n\r\n{good}")).await;
        assert!(got.starts_with("HTTP/1.1 400 ") && got.matches("HTTP/1.1").count() == 1, "{got}");
    });
}

#[test]
fn every_wait_has_an_end() {
    run(async {
        let mut settings = Settings::default();
        settings.timeouts.head = Duration::from_millis(60);
        settings.timeouts.idle = Duration::from_millis(120);
        settings.timeouts.body = Duration::from_millis(60);
        settings.timeouts.write = Duration::from_millis(150);
        let gate = gate_with(settings, |request: Request| async move {
            if request.target.path() == "/big" {
                return text(vec![b'x'; 32 << 20]);
            }
            match request.body.collect(100).await {
                Ok((body, _)) => text(body),
                Err(failure) => Response::new(failure.status()),
            }
        });
        assert_eq!(gate.talk("").await, "");
        let got = gate.talk("GET / HTTP/1.1\r\nHo").await;
        assert!(got.starts_with("HTTP/1.1 408 ") && got.ends_with("head_timeout"), "{got}");
        let got = gate.talk("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(got, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        let got = gate.talk("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel").await;
        assert!(got.starts_with("HTTP/1.1 408 ") && got.contains("Connection: close"), "{got}");
        let mut stream = gate.connect().await;
        stream.write_all(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        gate.until(|g| g.ends.borrow().iter().any(|end| end.2 == Some(Reason::WriteTimeout))).await;
    });
}

#[test]
fn a_stop_closes_idle_connections_and_lets_busy_ones_finish() {
    run(async {
        let gate = gate(|request: Request| async move {
            if request.target.path() == "/slow" {
                tokio::time::sleep(Duration::from_millis(150)).await;
            }
            text("done")
        });
        let mut idle = gate.connect().await;
        idle.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        through(&mut idle, "done").await;
        // One that is kept, and whose next request is under way when the stop comes.
        let mut kept = gate.connect().await;
        kept.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        through(&mut kept, "done").await;
        let mut busy = gate.connect().await;
        busy.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        gate.until(|g| g.metrics.snapshot().connections == 3).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        // One more whose request is on its way.
        let mut late = gate.connect().await;
        late.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        gate.stop.stop();
        tokio::task::yield_now().await;
        kept.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        for last in [&mut late, &mut kept] {
            let got = rest(last).await;
            assert_eq!(got, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\ndone");
        }
        let (closed, finished, ()) = tokio::join!(rest(&mut idle), rest(&mut busy), gate.stop.drained());
        assert_eq!(closed, "");
        assert_eq!(finished, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\ndone");
        assert!(TcpStream::connect(gate.address).await.is_err());
        assert_eq!(gate.metrics.snapshot().connections, 0);
    });
}

/// Answers with a body that never ends, and sends the request's nowhere meanwhile, as a forwarded one would be.
pub(super) struct Both {
    pub(super) upload: Body,
    pub(super) received: Rc<Cell<usize>>,
}

impl BodyStream for Both {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Failure>>> {
        self.poll_progress(cx);
        Poll::Ready(Some(Ok(Frame::Data(Bytes::from_static(&[b'x'; 16 << 10])))))
    }

    fn poll_progress(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(Ok(frame))) = self.upload.poll_frame(cx) {
            if let Frame::Data(data) = frame {
                self.received.set(self.received.get() + data.len());
            }
        }
    }
}

#[test]
fn a_body_is_read_on_while_the_client_does_not_take_the_response() {
    run(async {
        let received = Rc::new(Cell::new(0));
        let counted = received.clone();
        let gate = gate(move |request: Request| {
            let received = counted.clone();
            async move { text(Body::stream(Both { upload: request.body, received })) }
        });
        let mut stream = gate.connect().await;
        // More than all buffers of the system hold.
        const LENGTH: usize = 32 << 20;
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {LENGTH}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        // The response comes to a stand first.
        tokio::time::sleep(Duration::from_millis(200)).await;
        stream.write_all(&vec![b'x'; LENGTH]).await.unwrap();
        gate.until(|_| received.get() == LENGTH).await;
    });
}

/// Sends back what comes; a body may pause for 100 ms, and for so long once it is answered.
pub(super) fn echoing(tunnel_idle: Duration) -> Gate {
    let mut settings = Settings::default();
    settings.timeouts.body = Duration::from_millis(100);
    settings.timeouts.tunnel_idle = tunnel_idle;
    gate_with(settings, |request: Request| async move {
        let mut response = Response::new(StatusCode::OK);
        response.body = request.body;
        response
    })
}

#[test]
fn who_is_being_answered_may_pause() {
    const HEAD: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    run(async {
        let gate = echoing(Duration::from_secs(60));
        let mut talking = gate.connect().await;
        talking.write_all(HEAD).await.unwrap();
        let mut room = vec![0; 1024];
        assert!(talking.read(&mut room).await.unwrap() > 0, "the head of the response");
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(120)).await;
            talking.write_all(b"1\r\nx\r\n").await.unwrap();
            let count = talking.read(&mut room).await.unwrap();
            assert_eq!(&room[..count], b"1\r\nx\r\n");
        }
        talking.write_all(b"0\r\n\r\n").await.unwrap();
        let count = talking.read(&mut room).await.unwrap();
        assert_eq!(&room[..count], b"0\r\n\r\n");
        // But not for ever.
        let gate = echoing(Duration::from_millis(150));
        let mut silent = gate.connect().await;
        silent.write_all(HEAD).await.unwrap();
        let mut all = Vec::new();
        silent.read_to_end(&mut all).await.unwrap();
        assert!(all.starts_with(b"HTTP/1.1 200 ") && !all.ends_with(b"0\r\n\r\n"), "{all:?}");
        assert_eq!(gate.ends.borrow().last().unwrap().2, Some(Reason::BodyTimeout));
    });
}

#[test]
fn connections_are_capped() {
    run(async {
        let mut settings = Settings::default();
        settings.limits.connections = 2;
        let gate = gate_with(settings, |_| async { text("ok") });
        let (first, second) = (gate.connect().await, gate.connect().await);
        assert_eq!(gate.talk("").await, "");
        assert_eq!(gate.metrics.snapshot().refused, 1);
        drop((first, second));
        gate.until(|g| g.metrics.snapshot().connections == 0).await;
        let got = gate.talk("GET / HTTP/1.0\r\n\r\n").await;
        assert!(got.starts_with("HTTP/1.1 200"));
    });
}

#[test]
fn a_body_that_breaks_off_does_not_look_whole() {
    run(async {
        let gate = gate(|request: Request| async move {
            let body = Body::stream(Slowly(vec![Ok("one"), Ok(""), Err(Reason::UpstreamClosed)]));
            let mut response = text(body);
            response.headers.remove_known(Known::ContentLength);
            drop(request);
            response
        });
        let got = gate.talk("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(got.ends_with("3\r\none\r\n"), "{got}");
        let mut stream = gate.connect().await;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        let mut all = Vec::new();
        assert!(stream.read_to_end(&mut all).await.is_err(), "a reset tells of the missing end");
        assert_eq!(gate.ends.borrow().last().unwrap().2, Some(Reason::UpstreamClosed));
    });
}

#[test]
fn an_interim_status_is_no_final_response() {
    run(async {
        let gate = gate(|_| async { Response::new(StatusCode::SWITCHING_PROTOCOLS) });
        let got = gate.talk("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        assert!(got.starts_with("HTTP/1.1 500 "), "{got}");
        assert_eq!(gate.ends.borrow()[0].2, Some(Reason::PolicyResult));
    });
}

#[test]
fn a_body_may_be_read_by_another_task() {
    run(async {
        let gate = gate(|request: Request| async move {
            let (sender, receiver) = tokio::sync::oneshot::channel();
            tokio::task::spawn_local(async move {
                let _ = sender.send(request.body.collect(1 << 20).await.map(|(body, _)| body));
            });
            match receiver.await.unwrap() {
                Ok(body) => text(body),
                Err(failure) => Response::new(failure.status()),
            }
        });
        let mut stream = gate.connect().await;
        for _ in 0..2 {
            stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 30000\r\n\r\n").await.unwrap();
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_millis(5)).await;
                stream.write_all(&[b'x'; 10_000]).await.unwrap();
            }
            assert!(through(&mut stream, "\r\n\r\n").await.contains("Content-Length: 30000\r\n"));
            let mut body = vec![0; 30_000];
            stream.read_exact(&mut body).await.unwrap();
        }
        // The time is kept for it as well: see the limits of the connection's own task.
        let mut settings = Settings::default();
        settings.timeouts.body = Duration::from_millis(50);
        let gate = gate_with(settings, |request: Request| async move {
            let read = tokio::task::spawn_local(async move { request.body.collect(100).await });
            Response::new(read.await.unwrap().unwrap_err().status())
        });
        let got = gate.talk("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe").await;
        assert!(got.starts_with("HTTP/1.1 408 "), "{got}");
    });
}

#[test]
fn a_body_that_outlives_its_exchange_reads_nothing_of_the_next() {
    run(async {
        let kept: Rc<RefCell<Option<Body>>> = Rc::default();
        let keep = kept.clone();
        let gate = gate(move |mut request: Request| {
            let body = std::mem::take(&mut request.body);
            if keep.borrow().is_none() {
                *keep.borrow_mut() = Some(body);
            }
            async { text("ok") }
        });
        let mut stream = gate.connect().await;
        stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
        through(&mut stream, "ok").await;
        stream.write_all(b"3\r\nabc\r\n0\r\n\r\n").await.unwrap();
        stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n").await.unwrap();
        through(&mut stream, "ok").await;
        let old = kept.borrow_mut().take().unwrap();
        assert_eq!(old.collect(100).await.unwrap_err().reason(), Reason::ClientClosed);
        stream.write_all(b"123456789GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
        assert!(rest(&mut stream).await.ends_with("ok"));
        assert_eq!(gate.ends.borrow().len(), 3);
    });
}

/// Longer than a connection is idle before it gives its memory back.
const RESTED: Duration = Duration::from_millis(1_200);

#[test]
fn a_connection_that_rests_goes_on_with_a_request_in_pieces_and_hears_of_the_end() {
    run(async {
        let gate = gate(|request: Request| async move { text(request.target.path().to_owned()) });
        let (mut one, mut fresh) = (gate.connect().await, gate.connect().await);
        one.write_all(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        through(&mut one, "/1").await;
        for path in ["/2", "/3"] {
            tokio::time::sleep(RESTED).await;
            for piece in ["GET ", path, " HTTP/1.1\r\nHost: a\r\n\r\n"] {
                one.write_all(piece.as_bytes()).await.unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            through(&mut one, path).await;
        }
        // One that has never asked anything, too.
        fresh.write_all(b"GET /4 HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        through(&mut fresh, "/4").await;
        tokio::time::sleep(RESTED).await;
        drop((one, fresh));
        gate.until(|gate| gate.metrics.snapshot().connections == 0).await;
    });
}

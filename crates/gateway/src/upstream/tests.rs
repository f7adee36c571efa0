//! The client against upstreams that do exactly what a test says, over real sockets.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use polygate_pipeline::{BodyStream, Bytes, Frame, Headers, Method, Reason, StatusCode, Target, Upgrade};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

use polygate_plan::UpstreamTls;

use super::*;

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let within = async { timeout(Duration::from_secs(20), test).await.expect("the test hangs") };
    tokio::task::LocalSet::new().block_on(&runtime, within);
}

/// What an upstream does with one connection.
enum Act {
    /// Waits for a whole request (head, and a body that ends so), then answers.
    Answer(&'static str, &'static str),
    /// Waits for a request without a body, and until there were so many on all connections, then answers.
    Together(usize, &'static str),
    /// Answers before it reads.
    Speak(&'static str),
    /// Reads until the client closes, and says how much came.
    Count,
    /// Never answers.
    Hang,
}

/// An upstream: for each connection a list of acts, after which it closes.
struct Upstream {
    address: SocketAddr,
    connections: Rc<Cell<usize>>,
    requests: Rc<RefCell<Vec<String>>>,
    counted: Rc<Cell<Option<usize>>>,
}

impl Upstream {
    async fn start(scripts: Vec<Vec<Act>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let this =
            Self { address, connections: Rc::default(), requests: Rc::default(), counted: Rc::default() };
        let (connections, requests, counted) =
            (this.connections.clone(), this.requests.clone(), this.counted.clone());
        tokio::task::spawn_local(async move {
            for script in scripts {
                let (mut stream, _) = listener.accept().await.unwrap();
                connections.set(connections.get() + 1);
                let (requests, counted) = (requests.clone(), counted.clone());
                tokio::task::spawn_local(async move {
                    for act in script {
                        perform(act, &mut stream, &requests, &counted).await;
                    }
                });
            }
        });
        this
    }

    fn request(&self, method: Method, path: &str) -> Request {
        Request::new(method, Target::parse(&format!("http://{}{path}", self.address)).unwrap())
    }
}

async fn perform<S: AsyncRead + AsyncWrite + Unpin>(
    act: Act,
    stream: &mut S,
    requests: &RefCell<Vec<String>>,
    counted: &Cell<Option<usize>>,
) {
    match act {
        Act::Answer(end, answer) => {
            let mut request = Vec::new();
            while !request.ends_with(end.as_bytes()) {
                match stream.read_u8().await {
                    Ok(byte) => request.push(byte),
                    Err(_) => return,
                }
            }
            requests.borrow_mut().push(String::from_utf8(request).unwrap());
            let _ = stream.write_all(answer.as_bytes()).await;
        }
        Act::Together(count, answer) => {
            let mut request = Vec::new();
            while !request.ends_with(HEAD.as_bytes()) {
                request.push(stream.read_u8().await.unwrap());
            }
            requests.borrow_mut().push(String::new());
            while requests.borrow().len() < count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        Act::Speak(text) => stream.write_all(text.as_bytes()).await.unwrap(),
        Act::Count => {
            let (mut buffer, mut count) = (vec![0; 1 << 16], 0);
            while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                count += read;
            }
            counted.set(Some(count));
        }
        Act::Hang => std::future::pending().await,
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const HEAD: &str = "\r\n\r\n";

fn client() -> (Rc<Client>, Rc<Connection>) {
    let connection = Connection {
        connect: Duration::from_millis(300),
        response: Duration::from_millis(300),
        idle_body: Duration::from_millis(150),
        ..Connection::default()
    };
    (Client::new(&Settings::default()), Rc::new(connection))
}

async fn text(response: Response) -> String {
    String::from_utf8(response.body.collect(1 << 30).await.unwrap().0.to_vec()).unwrap()
}

async fn reason(client: &Client, connection: &Rc<Connection>, request: Request) -> Reason {
    match client.send_to(request, connection, None).await {
        Ok(response) => response.body.collect(1 << 30).await.unwrap_err().reason(),
        Err(failure) => failure.reason(),
    }
}

/// Frames that come as they are given, of unknown length; `None` waits for ever.
struct Frames(Vec<Option<Frame>>);

impl BodyStream for Frames {
    fn poll_frame(&mut self, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Failure>>> {
        match self.0.first() {
            None => Poll::Ready(None),
            Some(None) => Poll::Pending,
            Some(Some(_)) => Poll::Ready(self.0.remove(0).map(Ok)),
        }
    }
}

fn data(text: &'static str) -> Option<Frame> {
    Some(Frame::Data(Bytes::from_static(text.as_bytes())))
}

#[test]
fn keeps_connections_and_uses_them_again() {
    run(async {
        let again = || vec![Act::Answer(HEAD, OK), Act::Answer(HEAD, OK), Act::Answer(HEAD, OK), Act::Hang];
        let upstream = Upstream::start(vec![again(), again()]).await;
        let (client, connection) = client();
        for _ in 0..3 {
            let mut request = upstream.request(Method::GET, "/a?b");
            request.headers.append("X-Case", b"1").unwrap();
            request.headers.append("Connection", b"x").unwrap();
            let response = client.send_to(request, &connection, None).await.unwrap();
            // A small response leaves the connection free before its body is read.
            assert!(response.body.as_full().is_some());
            assert_eq!(text(response).await, "ok");
        }
        assert_eq!(upstream.connections.get(), 1);
        let expected = format!("GET /a?b HTTP/1.1\r\nHost: {}\r\nX-Case: 1\r\n\r\n", upstream.address);
        assert_eq!(upstream.requests.borrow()[2], expected);
        let place = client.0.pool.place(&upstream.request(Method::GET, "/").target, &connection);
        assert_eq!(place.len(), 1);
    });
}

#[test]
fn connections_of_many_requests_at_a_time_are_kept() {
    run(async {
        const MANY: usize = 300;
        let twice = || vec![Act::Together(MANY, OK), Act::Together(2 * MANY, OK), Act::Hang];
        let upstream = Upstream::start((0..MANY).map(|_| twice()).collect()).await;
        let (client, connection) = (Client::new(&Settings::default()), Rc::new(Connection::default()));
        for _ in 0..2 {
            let request = || client.send_to(upstream.request(Method::GET, "/"), &connection, None);
            let responses = futures_util::future::join_all((0..MANY).map(|_| request())).await;
            assert!(responses.into_iter().all(|response| response.is_ok()));
            // None had to be made for the second round, nor will there be for a third.
            assert_eq!(upstream.connections.get(), MANY);
            let place = client.0.pool.place(&upstream.request(Method::GET, "/").target, &connection);
            assert_eq!(place.len(), MANY);
        }
        // Nor are they kept when there is no room for them.
        let place = client.0.pool.place(&upstream.request(Method::GET, "/").target, &connection);
        assert_eq!((client.reap(), place.len()), (38, MANY - 38));
        let more: u64 = (0..50).map(|_| client.reap()).sum();
        assert_eq!((more, place.len()), (MANY as u64 - 38, 0));
        assert_eq!(client.reap(), 0);
    });
}

#[test]
fn connections_are_made_a_few_a_turn() {
    run(async {
        const MANY: usize = 200;
        let often = || (0..MANY).map(|_| Act::Answer(HEAD, OK)).chain([Act::Hang]).collect();
        let upstream = Upstream::start((0..MANY).map(|_| often()).collect()).await;
        let (client, connection) = (Client::new(&Settings::default()), Rc::new(Connection::default()));
        let mut all = futures_util::future::join_all(
            (0..MANY).map(|_| client.send_to(upstream.request(Method::GET, "/"), &connection, None)),
        );
        // All ask, and a few are let in.
        assert!(futures_util::poll!(&mut all).is_pending());
        let others = MANY as u64 - u64::from(A_TURN);
        let queue = Queue { waiting: others, waited: others };
        assert_eq!(client.waiting(), queue);
        for response in all.await {
            assert_eq!(text(response.unwrap()).await, "ok");
        }
        assert_eq!(client.waiting(), Queue { waiting: 0, ..queue });
        // Those who waited have used what the ones before them left.
        assert!(upstream.connections.get() < MANY / 2, "{} connections", upstream.connections.get());
    });
}

#[test]
fn a_kept_connection_that_died_is_replaced_once() {
    run(async {
        let first = || vec![Act::Answer(HEAD, OK), Act::Answer(HEAD, "")];
        // The second request is read and not answered.
        let upstream = Upstream::start(vec![first(), vec![Act::Answer(HEAD, OK), Act::Hang]]).await;
        let (client, connection) = client();
        for _ in 0..2 {
            let response =
                client.send_to(upstream.request(Method::GET, "/"), &connection, None).await.unwrap();
            assert_eq!(text(response).await, "ok");
        }
        assert_eq!((upstream.connections.get(), upstream.requests.borrow().len()), (2, 3));
        // What may have been acted upon is not repeated.
        let upstream = Upstream::start(vec![first(), vec![Act::Answer(HEAD, OK)]]).await;
        let response = client.send_to(upstream.request(Method::GET, "/"), &connection, None).await.unwrap();
        assert_eq!(text(response).await, "ok");
        let post = upstream.request(Method::POST, "/");
        assert_eq!(reason(&client, &connection, post).await, Reason::UpstreamClosed);
        assert_eq!(upstream.connections.get(), 1);
    });
}

#[test]
fn a_connection_that_was_closed_while_unused_is_not_used() {
    run(async {
        let once = || vec![Act::Answer(HEAD, OK)];
        let upstream = Upstream::start(vec![once(), once()]).await;
        let (client, connection) = client();
        for _ in 0..2 {
            let response =
                client.send_to(upstream.request(Method::POST, "/"), &connection, None).await.unwrap();
            assert_eq!(text(response).await, "ok");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(upstream.connections.get(), 2);
    });
}

#[test]
fn bodies_of_every_framing_both_ways() {
    run(async {
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\nSum: 6\r\n\r\n";
        let closed = "HTTP/1.1 200 OK\r\n\r\nuntil the end";
        let script = vec![Act::Answer("0\r\nT: v\r\n\r\n", chunked), Act::Answer("hello", closed)];
        let upstream = Upstream::start(vec![script]).await;
        let (client, connection) = client();
        let mut request = upstream.request(Method::POST, "/");
        let trailers: Headers = [("T", "v"), ("Content-Length", "3")].into_iter().collect();
        request.body = Body::stream(Frames(vec![data("he"), data("llo"), Some(Frame::Trailers(trailers))]));
        let response = client.send_to(request, &connection, None).await.unwrap();
        let (body, trailers) = response.body.collect(100).await.unwrap();
        assert_eq!((&body[..], trailers), (&b"onetwo"[..], Some([("sum", "6")].into_iter().collect())));
        let mut request = upstream.request(Method::POST, "/");
        request.body = Body::full("hello");
        let response = client.send_to(request, &connection, None).await.unwrap();
        assert_eq!((response.body.length(), text(response).await.as_str()), (None, "until the end"));
        assert_eq!(upstream.connections.get(), 1);
        let requests = upstream.requests.borrow();
        assert!(
            requests[0]
                .ends_with("Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\nT: v\r\n\r\n")
        );
        assert!(requests[1].ends_with("Content-Length: 5\r\n\r\nhello"));
    });
}

#[test]
fn an_answer_may_come_before_the_request_is_whole() {
    run(async {
        let early =
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 413 No\r\nContent-Length: 4\r\n\r\nmuch";
        let upstream = Upstream::start(vec![vec![Act::Speak(early), Act::Count]]).await;
        let (client, connection) = client();
        let mut request = upstream.request(Method::POST, "/");
        request.body = Body::stream(Frames(vec![data("some"), None]));
        let response = client.send_to(request, &connection, None).await.unwrap();
        assert_eq!(response.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(text(response).await, "much");
        // With the response the unfinished upload is over: its connection is closed, not kept.
        while upstream.counted.get().is_none() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        // A large upload beside a response that is read at the same time.
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";
        let upstream = Upstream::start(vec![vec![Act::Answer(HEAD, answer), Act::Count]]).await;
        let mut request = upstream.request(Method::POST, "/");
        request.body = Body::full(vec![b'x'; 5 << 20]);
        let response = client.send_to(request, &connection, None).await.unwrap();
        assert_eq!(response.body.collect(10).await.unwrap_err().reason(), Reason::UpstreamTimeout);
        while upstream.counted.get().is_none() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert_eq!(upstream.counted.get(), Some(5 << 20));
    });
}

#[test]
fn garbage_and_silence_have_reasons() {
    run(async {
        let (client, connection) = client();
        for (answer, expected) in [
            ("SSH-2.0-x\r\n", Reason::UpstreamProtocol),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                Reason::UpstreamProtocol,
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy", Reason::UpstreamProtocol),
            ("HTTP/1.1 101 Go\r\n\r\n", Reason::UpstreamProtocol),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", Reason::UpstreamProtocol),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe", Reason::UpstreamClosed),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe", Reason::UpstreamClosed),
            ("HTTP/1.1 200", Reason::UpstreamClosed),
            ("", Reason::UpstreamClosed),
        ] {
            let upstream = Upstream::start(vec![vec![Act::Answer(HEAD, answer)]]).await;
            let request = upstream.request(Method::GET, "/");
            assert_eq!(reason(&client, &connection, request).await, expected, "{answer:?}");
        }
        let upstream = Upstream::start(vec![vec![Act::Hang]]).await;
        let request = upstream.request(Method::GET, "/");
        assert_eq!(reason(&client, &connection, request).await, Reason::UpstreamTimeout);
        let body = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe";
        let upstream = Upstream::start(vec![vec![Act::Answer(HEAD, body), Act::Hang]]).await;
        let request = upstream.request(Method::GET, "/");
        assert_eq!(reason(&client, &connection, request).await, Reason::UpstreamTimeout);
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let request = Request::new(Method::GET, Target::parse(&format!("http://{free}/")).unwrap());
        let failure = client.send_to(request, &connection, None).await.unwrap_err();
        assert_eq!((failure.reason(), failure.is_retryable()), (Reason::UpstreamRefused, true));
    });
}

#[test]
fn what_stands_behind_a_response_is_never_taken_for_another() {
    run(async {
        let poison =
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
        let none = "HTTP/1.1 204 No Content\r\n\r\nevil";
        let not_modified = "HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nevil";
        let empty = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n\r\n";
        let (client, connection) = client();
        for (method, answer) in [
            (Method::GET, poison),
            (Method::HEAD, head),
            (Method::GET, none),
            (Method::GET, not_modified),
            (Method::GET, empty),
        ] {
            let scripts =
                vec![vec![Act::Answer(HEAD, answer), Act::Hang], vec![Act::Answer(HEAD, OK), Act::Hang]];
            let upstream = Upstream::start(scripts).await;
            let first = client.send_to(upstream.request(method, "/"), &connection, None).await;
            assert_eq!(first.unwrap_err().reason(), Reason::UpstreamProtocol, "{answer:?}");
            let second = client.send_to(upstream.request(Method::GET, "/"), &connection, None).await.unwrap();
            assert_eq!(text(second).await, "ok");
            assert_eq!(upstream.connections.get(), 2);
        }
    });
}

/// An empty body that ends once it is told to.
struct Gated(Rc<Cell<bool>>);

impl BodyStream for Gated {
    fn poll_frame(&mut self, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Failure>>> {
        if self.0.get() { Poll::Ready(None) } else { Poll::Pending }
    }
}

#[test]
fn a_connection_whose_answer_came_early_is_not_kept() {
    run(async {
        let begin = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no";
        let first =
            vec![Act::Speak(begin), Act::Answer("0\r\n\r\n", "k"), Act::Answer(HEAD, "evil"), Act::Hang];
        let second = vec![Act::Answer(HEAD, OK), Act::Hang];
        let upstream = Upstream::start(vec![first, second]).await;
        let (client, connection) = client();
        let end = Rc::new(Cell::new(false));
        let mut request = upstream.request(Method::POST, "/");
        request.body = Body::stream(Gated(end.clone()));
        let response = client.send_to(request, &connection, None).await.unwrap();
        end.set(true);
        assert_eq!(text(response).await, "ok", "both are whole in the end");
        let next = client.send_to(upstream.request(Method::GET, "/"), &connection, None).await.unwrap();
        assert_eq!((text(next).await.as_str(), upstream.connections.get()), ("ok", 2));
    });
}

/// Never ends, and never has to be waited for: in frames that are written one by one.
struct Endless;

impl BodyStream for Endless {
    fn poll_frame(&mut self, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Failure>>> {
        Poll::Ready(Some(Ok(Frame::Data(Bytes::from_static(&[b'x'; 5000])))))
    }
}

#[test]
fn an_upload_that_never_pauses_leaves_its_response_a_turn() {
    run(async {
        let begin = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n";
        let upstream = Upstream::start(vec![vec![Act::Speak(begin), Act::Count]]).await;
        let (client, connection) = client();
        let mut request = upstream.request(Method::POST, "/");
        request.body = Body::stream(Endless);
        let turn = tokio::task::spawn_local(async move {
            let mut response = client.send_to(request, &connection, None).await.unwrap();
            let frame = response.body.frame().await;
            assert!(matches!(frame, Some(Ok(Frame::Data(data))) if data == "half"));
        });
        turn.await.unwrap();
    });
}

#[test]
fn an_upload_goes_on_while_its_response_is_not_read() {
    run(async {
        let begin = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n";
        let upstream = Upstream::start(vec![vec![Act::Speak(begin), Act::Count]]).await;
        let (client, connection) = client();
        let (goes_on, ended) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(false)));
        let mut request = upstream.request(Method::POST, "/");
        request.body = Body::stream(Told { goes_on: goes_on.clone(), left: 1000, ended: ended.clone() });
        let mut response = client.send_to(request, &connection, None).await.unwrap();
        goes_on.set(true);
        while !ended.get() {
            poll_fn(|cx| {
                response.body.poll_progress(cx);
                Poll::Ready(())
            })
            .await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(matches!(response.body.frame().await, Some(Ok(Frame::Data(data))) if data == "half"));
    });
}

/// So many frames, once it is told to go on.
struct Told {
    goes_on: Rc<Cell<bool>>,
    left: usize,
    ended: Rc<Cell<bool>>,
}

impl BodyStream for Told {
    fn poll_frame(&mut self, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Failure>>> {
        if !self.goes_on.get() {
            return Poll::Pending;
        }
        let Some(left) = self.left.checked_sub(1) else {
            self.ended.set(true);
            return Poll::Ready(None);
        };
        self.left = left;
        Poll::Ready(Some(Ok(Frame::Data(Bytes::from_static(&[b'x'; 5000])))))
    }
}

/// Breaks off when it is told to.
struct Breaking(Rc<Cell<bool>>);

impl BodyStream for Breaking {
    fn poll_frame(&mut self, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Failure>>> {
        let failed = || Poll::Ready(Some(Err(Failure::new(Reason::BodyTooLarge))));
        if self.0.get() { failed() } else { Poll::Pending }
    }
}

#[test]
fn a_request_that_breaks_off_takes_the_rest_of_its_response_with_it() {
    run(async {
        for (begin, whole) in [
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", false),
            ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhalf", true),
        ] {
            let upstream = Upstream::start(vec![vec![Act::Speak(begin), Act::Count]]).await;
            let (client, connection) = client();
            let broken = Rc::new(Cell::new(false));
            let mut request = upstream.request(Method::POST, "/");
            request.body = Body::stream(Breaking(broken.clone()));
            let mut response = client.send_to(request, &connection, None).await.unwrap();
            broken.set(true);
            let mut next = async || poll_fn(|cx| response.body.poll_frame(cx)).await;
            assert!(matches!(next().await, Some(Ok(Frame::Data(data))) if data == "half"));
            match next().await {
                Some(Err(failure)) if !whole => assert_eq!(failure.reason(), Reason::BodyTooLarge),
                None if whole => {}
                other => panic!("{other:?}"),
            }
            // The upstream sees the end of its connection, but never that of the body.
            while upstream.counted.get().is_none() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    });
}

#[test]
fn a_response_that_is_given_up_closes_its_connection() {
    run(async {
        let endless = "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhe";
        let upstream = Upstream::start(vec![vec![Act::Answer(HEAD, endless), Act::Count]]).await;
        let (client, connection) = client();
        let response = client.send_to(upstream.request(Method::GET, "/"), &connection, None).await.unwrap();
        drop(response);
        while upstream.counted.get().is_none() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
}

#[test]
fn plugins_reach_only_what_the_policy_admits() {
    run(async {
        let upstream =
            Upstream::start(vec![vec![Act::Answer(HEAD, OK), Act::Answer(HEAD, OK), Act::Hang]]).await;
        let mut settings = Settings::default();
        settings.outbound.private = false;
        let careful = Client::new(&settings);
        // A connection that the operator's own traffic left open is no way around the policy.
        let own =
            careful.send_to(upstream.request(Method::GET, "/"), &Rc::new(Connection::default()), None).await;
        assert_eq!(text(own.unwrap()).await, "ok");
        let options = OutboundOptions::default();
        let denied = careful.send(upstream.request(Method::GET, "/"), options).await.unwrap_err();
        assert_eq!(denied.reason(), Reason::AddressDenied);
        assert_eq!(upstream.connections.get(), 1);
        let upstream = Upstream::start(vec![vec![Act::Answer(HEAD, OK), Act::Hang]]).await;
        let client = Client::new(&Settings::default());
        let sent = client.send(upstream.request(Method::GET, "/"), options).await.unwrap();
        assert_eq!(text(sent).await, "ok");
        let options = OutboundOptions { timeout: Some(Duration::from_millis(50)) };
        let late = client.send(upstream.request(Method::GET, "/"), options).await.unwrap_err();
        assert_eq!(late.reason(), Reason::UpstreamTimeout);
    });
}

#[test]
fn https_with_an_authority_of_ones_own() {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(params, key);
    let server_key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned()];
    let certificate = rcgen::CertificateParams::new(names).unwrap().signed_by(&server_key, &issuer).unwrap();
    let file = std::env::temp_dir().join(format!("polygate-ca-{}.pem", std::process::id()));
    std::fs::write(&file, authority.pem()).unwrap();

    let provider = crate::tls::provider();
    let private = rustls::pki_types::PrivatePkcs8KeyDer::from(server_key.serialize_der()).into();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let handshakes = Rc::new(Cell::new(0));
        let count = handshakes.clone();
        tokio::task::spawn_local(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                count.set(count.get() + 1);
                tokio::task::spawn_local(async move {
                    let (requests, counted) = (RefCell::default(), Cell::default());
                    for _ in 0..3 {
                        perform(Act::Answer(HEAD, OK), &mut stream, &requests, &counted).await;
                    }
                });
            }
        });
        let request =
            || Request::new(Method::GET, Target::parse(&format!("https://localhost:{port}/")).unwrap());
        let client = Client::new(&Settings::default());
        let tls = UpstreamTls { authorities: vec![file.clone()], ..UpstreamTls::default() };
        let trusting = Rc::new(Connection { tls: Arc::new(tls), ..Connection::default() });
        for _ in 0..2 {
            assert_eq!(text(client.send_to(request(), &trusting, None).await.unwrap()).await, "ok");
        }
        assert_eq!(handshakes.get(), 1);
        // Neither without the authority, nor over the connection that was made with it.
        let strict = Rc::new(Connection::default());
        assert_eq!(reason(&client, &strict, request()).await, Reason::UpstreamTls);
    });
    std::fs::remove_file(file).unwrap();
}

/// A request for a WebSocket.
fn wish(upstream: &Upstream) -> Request {
    let mut request = upstream.request(Method::GET, "/chat");
    request.headers.append("Upgrade", b"WebSocket").unwrap();
    request.upgrade = Upgrade::new("WebSocket");
    request
}

#[test]
fn an_upstream_that_agrees_gives_a_tunnel() {
    run(async {
        let agrees = "HTTP/1.1 101 Switching Protocols\r\nX: 1\r\nConnection: upgrade\r\nupgrade: websocket\r\n\r\nfirst";
        let script = vec![Act::Answer(HEAD, agrees), Act::Answer("up", "down")];
        let upstream = Upstream::start(vec![script]).await;
        let (client, connection) = client();
        let response = client.send_to(wish(&upstream), &connection, None).await.unwrap();
        assert_eq!(response.status, StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(response.headers.get("x"), Some(&b"1"[..]));
        let mut tunnel = response.body.take_tunnel().unwrap();
        let mut first = tunnel.read.to_vec();
        while first.len() < 5 {
            first.push(tunnel.stream.read_u8().await.unwrap());
        }
        assert_eq!(first, b"first");
        tunnel.stream.write_all(b"up").await.unwrap();
        let mut rest = Vec::new();
        tunnel.stream.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"down");
        let asked = &upstream.requests.borrow()[0];
        assert!(asked.ends_with("\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n"), "{asked}");
    });
}

#[test]
fn an_upstream_that_does_not_agree_gives_no_tunnel() {
    run(async {
        for answer in [
            "HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n",
            "HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket, other\r\n\r\n",
            "HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\nUpgrade: other\r\n\r\n",
            "HTTP/1.1 101 S\r\nConnection: upgrade\r\n\r\n",
            "HTTP/1.1 101 S\r\nUpgrade: websocket\r\n\r\n",
            "HTTP/1.0 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        ] {
            let upstream = Upstream::start(vec![vec![Act::Answer(HEAD, answer), Act::Count]]).await;
            let (client, connection) = client();
            assert_eq!(
                reason(&client, &connection, wish(&upstream)).await,
                Reason::UpstreamProtocol,
                "{answer}"
            );
        }
        // Nobody asked.
        let agrees = "HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
        let upstream = Upstream::start(vec![vec![Act::Answer(HEAD, agrees), Act::Count]]).await;
        let (client, connection) = client();
        let request = upstream.request(Method::GET, "/");
        assert_eq!(reason(&client, &connection, request).await, Reason::UpstreamProtocol);
        assert!(!upstream.requests.borrow()[0].contains("pgrade"));
        // It may answer otherwise, and its connection is good for more.
        let upstream = Upstream::start(vec![vec![Act::Answer(HEAD, OK), Act::Answer(HEAD, OK)]]).await;
        for _ in 0..2 {
            let response = client.send_to(wish(&upstream), &connection, None).await.unwrap();
            assert_eq!((response.status, &*text(response).await), (StatusCode::OK, "ok"));
        }
        assert_eq!(upstream.connections.get(), 1);
        // A plugin's request asks for nothing.
        let upstream = Upstream::start(vec![vec![Act::Answer(HEAD, OK)]]).await;
        Outbound::send(&*client, wish(&upstream), OutboundOptions::default()).await.unwrap();
        assert!(!upstream.requests.borrow()[0].contains("pgrade"));
    });
}

#[test]
fn interim_responses_come_to_an_end() {
    run(async {
        let (client, connection) = client();
        for (count, fine) in [(flight::MAX_INTERIM, true), (flight::MAX_INTERIM + 1, false)] {
            let answer = "HTTP/1.1 102 Processing\r\n\r\n".repeat(count) + OK;
            let upstream = Upstream::start(vec![vec![Act::Answer(HEAD, answer.leak()), Act::Count]]).await;
            let sent = client.send_to(upstream.request(Method::GET, "/"), &connection, None).await;
            match sent {
                Ok(response) => assert!(fine && text(response).await == "ok"),
                Err(failure) => assert!(!fine && failure.reason() == Reason::UpstreamProtocol, "{failure}"),
            }
        }
    });
}

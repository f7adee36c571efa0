//! Requests over HTTP/2 against servers that do exactly what a test says, over real sockets.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use polygate_pipeline::{
    Body, BodyStream, ByteSize, Failure, Frame, Headers, Interim, Method, Reason, Request, StatusCode,
    Target, Upgrade,
};
use polygate_plan::{Connection, Settings, UpstreamHttp2, UpstreamProtocol, UpstreamTls};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::super::connect::AddressPolicy;
use super::super::{Client, Roll, Way};
use super::flight::Flight;
use super::head;
use super::lines::Ready;
use crate::tls::testing::{Authority, Folder};

mod caps;
mod tunnels;

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let within = async { timeout(Duration::from_secs(20), test).await.expect("the test hangs") };
    tokio::task::LocalSet::new().block_on(&runtime, within);
}

/// What the server has seen.
#[derive(Default)]
struct Seen {
    connections: Cell<usize>,
    requests: RefCell<Vec<http::request::Parts>>,
    /// Of HTTP/1.1.
    heads: RefCell<Vec<String>>,
    resets: RefCell<Vec<h2::Reason>>,
    changed: Notify,
    /// A whole body came under `/count`.
    counted: Cell<bool>,
    /// Lets go what waits under `/wait`.
    release: Notify,
}

/// A server of HTTP/2.
struct Server {
    address: SocketAddr,
    seen: Rc<Seen>,
}

impl Server {
    /// Streams of one connection are limited to `streams`.
    async fn start(streams: u32) -> Self {
        Self::with(move |builder| _ = builder.max_concurrent_streams(streams)).await
    }

    /// Connections are made as `set` says.
    async fn with(set: impl Fn(&mut h2::server::Builder) + Clone + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, seen) = (listener.local_addr().unwrap(), Rc::<Seen>::default());
        let told = seen.clone();
        tokio::task::spawn_local(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::task::spawn_local(serve(stream, set.clone(), told.clone()));
            }
        });
        Self { address, seen }
    }

    fn request(&self, method: Method, path: &str) -> Request {
        request(self.address, method, path)
    }

    /// Waits until `what` holds.
    async fn until(&self, what: impl Fn(&Seen) -> bool) {
        loop {
            let changed = self.seen.changed.notified();
            if what(&self.seen) {
                return;
            }
            changed.await;
        }
    }
}

fn request(address: SocketAddr, method: Method, path: &str) -> Request {
    Request::new(method, Target::parse(&format!("http://{address}{path}")).unwrap())
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    set: impl Fn(&mut h2::server::Builder),
    seen: Rc<Seen>,
) {
    seen.connections.set(seen.connections.get() + 1);
    let mut builder = h2::server::Builder::new();
    set(&mut builder);
    let mut connection = builder.handshake::<_, Bytes>(stream).await.unwrap();
    while let Some(Ok((request, respond))) = connection.accept().await {
        let (parts, body) = request.into_parts();
        if parts.uri.path() == "/last" {
            connection.graceful_shutdown();
        }
        seen.requests.borrow_mut().push(parts.clone());
        seen.changed.notify_one();
        tokio::task::spawn_local(answer(parts.uri.path().to_owned(), body, respond, seen.clone()));
    }
}

async fn answer(path: String, mut body: RecvStream, mut respond: SendResponse<Bytes>, seen: Rc<Seen>) {
    let head = |status: u16| http::Response::builder().status(status);
    let nothing = |status: u16| head(status).body(()).unwrap();
    match path.as_str() {
        "/echo" => {
            let mut send =
                respond.send_response(head(200).header("x-a", "b").body(()).unwrap(), false).unwrap();
            while let Some(data) = body.data().await {
                let data = data.unwrap();
                body.flow_control().release_capacity(data.len()).unwrap();
                write(&mut send, data).await;
            }
            send.send_trailers(body.trailers().await.unwrap().unwrap_or_default()).unwrap();
        }
        "/deny" => {
            let mut send = respond.send_response(nothing(403), false).unwrap();
            send.send_data(Bytes::from_static(b"no"), true).unwrap();
            // It hears that nothing will come.
            while let Some(data) = body.data().await {
                assert_eq!(data.unwrap(), "");
            }
            note_reset(Ok(h2::Reason::NO_ERROR), &seen);
        }
        "/cut" => {
            let mut send = respond.send_response(nothing(200), false).unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            send.send_reset(h2::Reason::CANCEL);
        }
        "/refuse-once" if seen.requests.borrow().len() < 2 => {
            respond.send_reset(h2::Reason::REFUSED_STREAM);
        }
        "/refuse" => respond.send_reset(h2::Reason::REFUSED_STREAM),
        "/fail" => respond.send_reset(h2::Reason::INTERNAL_ERROR),
        "/early" => {
            let mut send = respond.send_response(nothing(200), false).unwrap();
            send.send_data(Bytes::from_static(b"enough"), true).unwrap();
            // A reset takes with it what was not written by then.
            tokio::time::sleep(Duration::from_millis(20)).await;
            respond.send_reset(h2::Reason::NO_ERROR);
        }
        "/aborted" => {
            let status = match body.trailers().await.unwrap() {
                None => nothing(200),
                Some(_) => head(200).header("content-length", "4").body(()).unwrap(),
            };
            let mut send = respond.send_response(status, false).unwrap();
            send.send_data(Bytes::from_static(b"half"), false).unwrap();
            // As above.
            tokio::time::sleep(Duration::from_millis(20)).await;
            send.send_reset(h2::Reason::NO_ERROR);
        }
        "/broken" => {
            let mut send = respond.send_response(nothing(200), false).unwrap();
            send.send_data(Bytes::from_static(b"half"), false).unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            send.send_reset(h2::Reason::INTERNAL_ERROR);
        }
        "/stall" => {
            let mut send = respond.send_response(nothing(200), false).unwrap();
            note_reset(poll_fn(|cx| send.poll_reset(cx)).await, &seen);
        }
        "/count" => {
            let mut send = respond.send_response(nothing(200), false).unwrap();
            send.send_data(Bytes::from_static(b"half"), false).unwrap();
            while let Some(data) = body.data().await {
                let data = data.unwrap();
                body.flow_control().release_capacity(data.len()).unwrap();
            }
            seen.counted.set(true);
            send.send_data(Bytes::from_static(b"whole"), true).unwrap();
        }
        // Its length is a lie.
        "/liar" => {
            respond.send_response(head(200).header("content-length", "5").body(()).unwrap(), true).unwrap();
        }
        "/never" => note_reset(poll_fn(|cx| respond.poll_reset(cx)).await, &seen),
        "/wait" => {
            seen.release.notified().await;
            respond.send_response(nothing(204), true).unwrap();
        }
        "/hints" => {
            for _ in 0..2 {
                let hints = head(103).header("link", "</a>").body(()).unwrap();
                respond.send_informational(hints).unwrap();
            }
            respond.send_response(nothing(204), true).unwrap();
        }
        _ => {
            let status = head(200).header("content-length", "2").body(()).unwrap();
            respond.send_response(status, false).unwrap().send_data(Bytes::from_static(b"ok"), true).unwrap();
        }
    }
}

fn note_reset(reset: Result<h2::Reason, h2::Error>, seen: &Seen) {
    seen.resets.borrow_mut().push(reset.unwrap());
    seen.changed.notify_one();
}

async fn write(send: &mut SendStream<Bytes>, mut data: Bytes) {
    while !data.is_empty() {
        send.reserve_capacity(data.len());
        let room = poll_fn(|cx| send.poll_capacity(cx)).await.unwrap().unwrap();
        send.send_data(data.split_to(room.min(data.len())), false).unwrap();
    }
}

fn client() -> (Rc<Client>, Rc<Connection>) {
    reporting(Roll::default())
}

fn reporting(roll: Roll) -> (Rc<Client>, Rc<Connection>) {
    let connection = Connection {
        connect: Duration::from_millis(300),
        response: Duration::from_secs(5),
        idle_body: Duration::from_secs(5),
        protocol: UpstreamProtocol::Http2,
        ..Connection::default()
    };
    (Client::reporting(&Settings::default(), roll), Rc::new(connection))
}

async fn reason(client: &Client, connection: &Rc<Connection>, request: Request) -> Reason {
    match client.send_to(request, connection, None).await {
        Ok(response) => response.body.collect(1 << 30).await.unwrap_err().reason(),
        Err(failure) => failure.reason(),
    }
}

async fn text(client: &Client, connection: &Rc<Connection>, request: Request) -> String {
    let response = client.send_to(request, connection, None).await.unwrap();
    String::from_utf8(response.body.collect(1 << 30).await.unwrap().0.to_vec()).unwrap()
}

/// Frames that come as they are given, of unknown length; `None` waits for ever.
struct Frames(Vec<Option<Frame>>);

impl BodyStream for Frames {
    fn poll_frame(&mut self, _: &mut std::task::Context<'_>) -> Poll<Option<Result<Frame, Failure>>> {
        match self.0.first() {
            None => Poll::Ready(None),
            Some(None) => Poll::Pending,
            Some(Some(_)) => Poll::Ready(self.0.remove(0).map(Ok)),
        }
    }
}

#[test]
fn messages_pass_whole_with_their_trailers() {
    run(async {
        let server = Server::start(10).await;
        let (client, connection) = client();
        let data = |byte: u8, size: usize| Some(Frame::Data(vec![byte; size].into()));
        let trailers: Headers = [("x-sum", "7"), ("connection", "close")].into_iter().collect();
        let frames = vec![data(b'a', 3), data(b'b', 700_000), Some(Frame::Trailers(trailers))];
        let mut request = server.request(Method::POST, "/echo?q=1");
        request.headers.append("Host", b"shop.test").unwrap();
        request.headers.append("TE", b"trailers").unwrap();
        request.headers.append("Connection", b"TE").unwrap();
        request.body = Body::stream(Frames(frames));
        let response = client.send_to(request, &connection, None).await.unwrap();
        assert_eq!((response.status, response.headers.get("x-a")), (StatusCode::OK, Some(&b"b"[..])));
        let (body, trailers) = response.body.collect(1 << 30).await.unwrap();
        assert_eq!((body.len(), &body[..4]), (700_003, &b"aaab"[..]));
        assert_eq!(trailers.unwrap().get("x-sum"), Some(&b"7"[..]));
        let seen = server.seen.requests.borrow();
        assert_eq!(seen[0].uri, "http://shop.test/echo?q=1");
        let mut names: Vec<_> = seen[0].headers.keys().map(|name| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["te"]);
    });
}

#[test]
fn an_upload_goes_on_while_its_response_is_not_read() {
    run(async {
        let server = Server::start(10).await;
        let (client, connection) = client();
        let mut request = server.request(Method::POST, "/count");
        // More than every window and buffer holds.
        let frame = || Some(Frame::Data(Bytes::from_static(&[b'x'; 64 << 10])));
        request.body = Body::stream(Frames((0..64).map(|_| frame()).collect()));
        let mut response = client.send_to(request, &connection, None).await.unwrap();
        assert!(!server.seen.counted.get());
        while !server.seen.counted.get() {
            poll_fn(|cx| {
                response.body.poll_progress(cx);
                Poll::Ready(())
            })
            .await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(response.body.collect(100).await.unwrap().0, "halfwhole");
    });
}

#[test]
fn requests_share_a_few_connections_and_wait_beyond() {
    run(async {
        let server = Server::start(2).await;
        let (client, connection) = client();
        let http2 = UpstreamHttp2 { connections: 2, ..connection.http2 };
        let connection = Rc::new(Connection { http2, ..Connection::clone(&connection) });
        // The server's limit is known once it has spoken.
        assert_eq!(text(&client, &connection, server.request(Method::GET, "/")).await, "ok");
        let ask = |path: &str| {
            let (client, connection, request) =
                (client.clone(), connection.clone(), server.request(Method::GET, path));
            tokio::task::spawn_local(async move { client.send_to(request, &connection, None).await })
        };
        let waiting: Vec<_> = (0..4).map(|_| ask("/wait")).collect();
        server.until(|seen| seen.requests.borrow().len() == 5).await;
        assert_eq!(server.seen.connections.get(), 2);
        // All four are taken: the next one waits as long as for a connection.
        let failure = ask("/").await.unwrap().unwrap_err();
        assert_eq!(failure.reason(), Reason::UpstreamOverloaded);
        let next = ask("/");
        tokio::task::yield_now().await;
        server.seen.release.notify_one();
        assert_eq!(next.await.unwrap().unwrap().status, StatusCode::OK);
        for _ in 0..3 {
            server.seen.release.notify_one();
            tokio::task::yield_now().await;
        }
        for response in waiting {
            server.seen.release.notify_one();
            assert_eq!(response.await.unwrap().unwrap().status, StatusCode::NO_CONTENT);
        }
        assert_eq!(server.seen.connections.get(), 2);
    });
}

#[test]
fn many_at_once_make_one_connection_and_fail_together() {
    run(async {
        let server = Server::start(100).await;
        let (client, connection) = client();
        let all = (0..50).map(|_| text(&client, &connection, server.request(Method::GET, "/")));
        assert!(futures_util::future::join_all(all).await.iter().all(|text| text == "ok"));
        assert_eq!(server.seen.connections.get(), 1);
        // Nobody listens there.
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let all = (0..50).map(|_| reason(&client, &connection, request(free, Method::GET, "/")));
        let reasons = futures_util::future::join_all(all).await;
        assert!(reasons.iter().all(|&reason| reason == Reason::UpstreamRefused), "{reasons:?}");
    });
}

#[test]
fn who_is_not_waited_for_any_more_is_told_at_once() {
    run(async {
        let server = Server::start(10).await;
        let (client, connection) = client();
        let never = client.send_to(server.request(Method::GET, "/never"), &connection, None);
        tokio::select! {
            _ = never => panic!("answered"),
            () = server.until(|seen| seen.requests.borrow().len() == 1) => {}
        }
        let dropped = Instant::now();
        server.until(|seen| seen.resets.borrow().len() == 1).await;
        assert!(dropped.elapsed() < Duration::from_millis(50), "{:?}", dropped.elapsed());
        let response = client.send_to(server.request(Method::GET, "/stall"), &connection, None).await;
        let dropped = Instant::now();
        drop(response.unwrap());
        server.until(|seen| seen.resets.borrow().len() == 2).await;
        assert!(dropped.elapsed() < Duration::from_millis(50), "{:?}", dropped.elapsed());
        assert_eq!(*server.seen.resets.borrow(), [h2::Reason::CANCEL; 2]);
        assert_eq!(text(&client, &connection, server.request(Method::GET, "/")).await, "ok");
        assert_eq!(server.seen.connections.get(), 1);
    });
}

#[test]
fn what_was_not_processed_is_sent_again() {
    run(async {
        let server = Server::start(10).await;
        let (client, connection) = client();
        let mut post = server.request(Method::POST, "/refuse-once");
        post.body = Body::full("hello");
        assert_eq!(text(&client, &connection, post).await, "ok");
        assert_eq!(server.seen.requests.borrow().len(), 2);
        // Once, and then it is for others to decide.
        let failure = client.send_to(server.request(Method::POST, "/refuse"), &connection, None).await;
        let failure = failure.unwrap_err();
        assert_eq!((failure.reason(), failure.is_retryable()), (Reason::UpstreamClosed, true));
        assert_eq!(server.seen.requests.borrow().len(), 4);
        // What may have been processed is not.
        let failure = client.send_to(server.request(Method::GET, "/fail"), &connection, None).await;
        let failure = failure.unwrap_err();
        assert_eq!((failure.reason(), failure.is_retryable()), (Reason::UpstreamClosed, false));
        assert_eq!((server.seen.requests.borrow().len(), server.seen.connections.get()), (5, 1));
    });
}

/// A frame as it is written.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// The next connection, once all of a request with the body `hello` has come: the body is behind the head.
async fn asked(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().await.unwrap();
    stream.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    let mut got = Vec::new();
    while !got.windows(5).any(|part| part == b"hello") {
        stream.read_buf(&mut got).await.unwrap();
    }
    stream
}

#[test]
fn a_goodbye_that_leaves_a_request_out_moves_it() {
    run(async {
        let (listener, address) = listen().await;
        let (client, connection) = client();
        let mut post = request(address, Method::POST, "/");
        post.body = Body::full("hello");
        let server = async {
            let mut stream = asked(&listener).await;
            // GOAWAY: the last stream that was looked at is 0.
            stream.write_all(&frame(7, 0, 0, &[0; 8])).await.unwrap();
            let (second, _) = listener.accept().await.unwrap();
            let seen = Rc::<Seen>::default();
            tokio::task::spawn_local(serve(second, |_| {}, seen.clone()));
            // The first one is closed, by us.
            let mut rest = Vec::new();
            while stream.read_buf(&mut rest).await.is_ok_and(|count| count > 0) {}
            seen
        };
        let (text, seen) = tokio::join!(text(&client, &connection, post), server);
        assert_eq!(text, "ok");
        assert_eq!(seen.requests.borrow()[0].method, Method::POST);
    });
}

#[test]
fn a_request_that_was_looked_at_before_a_goodbye_is_not_repeated() {
    run(async {
        let (listener, address) = listen().await;
        let (client, connection) = client();
        let mut post = request(address, Method::POST, "/");
        post.body = Body::full("hello");
        let server = async {
            let mut stream = asked(&listener).await;
            // GOAWAY: the last stream that was looked at is this one, and yet the connection is closed.
            stream.write_all(&frame(7, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0])).await.unwrap();
        };
        let (reason, ()) = tokio::join!(reason(&client, &connection, post), server);
        assert_eq!(reason, Reason::UpstreamClosed);
        let more = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
        assert!(more.is_err(), "no further connection");
    });
}

#[test]
fn a_server_that_says_goodbye_gets_nothing_more() {
    run(async {
        let server = Server::start(10).await;
        let (client, connection) = client();
        assert_eq!(text(&client, &connection, server.request(Method::GET, "/last")).await, "ok");
        // The word may be under way still: whichever connection it goes to, it is answered.
        for _ in 0..3 {
            assert_eq!(text(&client, &connection, server.request(Method::POST, "/")).await, "ok");
        }
        assert_eq!(server.seen.connections.get(), 2);
    });
}

#[test]
fn bodies_that_break_off_do_not_look_whole_and_early_ends_do() {
    run(async {
        let server = Server::start(10).await;
        let (client, connection) = client();
        let broken = server.request(Method::GET, "/broken");
        assert_eq!(reason(&client, &connection, broken).await, Reason::UpstreamClosed);
        // Nobody is to blame, but the end is missing, unless a length says that all is there.
        let aborted = server.request(Method::GET, "/aborted");
        assert_eq!(reason(&client, &connection, aborted).await, Reason::UpstreamClosed);
        let mut aborted = server.request(Method::POST, "/aborted");
        let trailers = [("x-measured", "yes")].into_iter().collect();
        aborted.body = Body::stream(Frames(vec![Some(Frame::Trailers(trailers)), None]));
        assert_eq!(text(&client, &connection, aborted).await, "half");
        let mut early = server.request(Method::POST, "/early");
        early.body = Body::stream(Frames(vec![Some(Frame::Data("x".into())), None]));
        assert_eq!(text(&client, &connection, early).await, "enough");
        // A body of ours that breaks off takes its request with it.
        struct Fails;
        impl BodyStream for Fails {
            fn poll_frame(&mut self, _: &mut std::task::Context<'_>) -> Poll<Option<Result<Frame, Failure>>> {
                Poll::Ready(Some(Err(Failure::new(Reason::BodyTimeout))))
            }
        }
        let mut fails = server.request(Method::POST, "/never");
        fails.body = Body::stream(Fails);
        assert_eq!(reason(&client, &connection, fails).await, Reason::BodyTimeout);
        // And the rest of its response, once that has begun.
        let breaks = Rc::new(Cell::new(false));
        struct Breaks(Rc<Cell<bool>>);
        impl BodyStream for Breaks {
            fn poll_frame(
                &mut self,
                cx: &mut std::task::Context<'_>,
            ) -> Poll<Option<Result<Frame, Failure>>> {
                if self.0.get() { Fails.poll_frame(cx) } else { Poll::Pending }
            }
        }
        let mut stalls = server.request(Method::POST, "/stall");
        stalls.body = Body::stream(Breaks(breaks.clone()));
        let response = client.send_to(stalls, &connection, None).await.unwrap();
        breaks.set(true);
        assert_eq!(response.body.collect(10).await.unwrap_err().reason(), Reason::BodyTimeout);
        server.until(|seen| seen.resets.borrow().contains(&h2::Reason::CANCEL)).await;
        assert_eq!(text(&client, &connection, server.request(Method::GET, "/")).await, "ok");
    });
}

#[test]
fn a_silent_server_is_waited_for_so_long() {
    run(async {
        let server = Server::start(10).await;
        let (client, connection) = client();
        let (response, idle_body) = (Duration::from_millis(80), Duration::from_millis(80));
        let connection = Rc::new(Connection { response, idle_body, ..Connection::clone(&connection) });
        for (path, connections) in [("/never", 1), ("/stall", 2)] {
            let silent = server.request(Method::GET, path);
            assert_eq!(reason(&client, &connection, silent).await, Reason::UpstreamTimeout);
            // Nobody else has to find out that the connection is dead.
            assert_eq!(server.seen.connections.get(), connections);
        }
        assert_eq!(text(&client, &connection, server.request(Method::GET, "/")).await, "ok");
        assert_eq!(server.seen.connections.get(), 3);
        let place = client.0.pool.place(&server.request(Method::GET, "/").target, &connection);
        assert_eq!(place.lines.len(), 1);
        place.lines.sweep(Instant::now());
        assert_eq!(place.lines.len(), 1);
        assert!(!place.lines.sweep(Instant::now() + connection.keep_alive));
        assert_eq!(place.lines.len(), 0);
    });
}

#[test]
fn interim_responses_come_before_the_final_one() {
    run(async {
        let server = Server::start(10).await;
        let (client, connection) = client();
        let request = server.request(Method::GET, "/hints");
        let place = client.0.pool.place(&request.target, &connection);
        let way = Way::new(&place, &connection, AddressPolicy::ALL, None);
        let Ok(Ready::Http2(ticket)) = client.0.line(&request.target, &way).await else {
            panic!("no stream")
        };
        let (head, length) = head::request(&request).unwrap();
        let flight = Flight::begin(ticket, head, Body::empty(), length, connection.clone());
        let mut flight = flight.map_err(|no| no.failure).unwrap();
        let interim = Interim::default();
        interim.begin(5);
        let head = flight.head(Some(&interim), None, connection.response).await;
        assert_eq!(head.map_err(|no| no.failure).unwrap().status(), StatusCode::NO_CONTENT);
        for _ in 0..2 {
            let (status, fields) = interim.take().unwrap();
            assert_eq!((status, fields.get("link")), (StatusCode::EARLY_HINTS, Some(&b"</a>"[..])));
        }
        assert!(interim.take().is_none());
    });
}

#[test]
fn servers_of_http1_are_told_apart() {
    run(async {
        let (listener, address) = listen().await;
        tokio::task::spawn_local(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut got = Vec::new();
                while !got.windows(4).any(|part| part == b"\r\n\r\n") {
                    stream.read_buf(&mut got).await.unwrap();
                }
                let answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbad";
                let _ = stream.write_all(answer).await;
            }
        });
        let (client, connection) = client();
        let get = || request(address, Method::GET, "/");
        assert_eq!(reason(&client, &connection, get()).await, Reason::UpstreamProtocol);
        let mut socket = get();
        socket.upgrade = Upgrade::new(Upgrade::WEBSOCKET);
        assert_eq!(reason(&client, &connection, socket).await, Reason::UpstreamProtocol);
        // Without encryption nothing is agreed on.
        let auto = Rc::new(Connection { protocol: UpstreamProtocol::Auto, ..Connection::clone(&connection) });
        assert_eq!(text(&client, &auto, get()).await, "bad");
    });
}

/// A server with TLS that speaks what is agreed on, out of `offers`.
async fn secure(authority: &Authority, offers: &[&[u8]]) -> (SocketAddr, Rc<Seen>) {
    let issued = authority.issue("up", &["localhost"]);
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(issued.key.serialize_der()).into();
    let provider = crate::tls::provider();
    let config = rustls::ServerConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let mut config = config.with_single_cert(vec![issued.der()], key).unwrap();
    config.alpn_protocols = offers.iter().map(|name| name.to_vec()).collect();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, seen) = (listener.local_addr().unwrap(), Rc::<Seen>::default());
    let told = seen.clone();
    tokio::task::spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, told) = (acceptor.clone(), told.clone());
            tokio::task::spawn_local(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                    return serve(stream, |_| {}, told).await;
                }
                told.connections.set(told.connections.get() + 1);
                let mut got = Vec::new();
                while stream.read_buf(&mut got).await.is_ok_and(|count| count > 0) {
                    if got.ends_with(b"\r\n\r\n") {
                        told.heads.borrow_mut().push(String::from_utf8(std::mem::take(&mut got)).unwrap());
                        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold").await.unwrap();
                    }
                }
            });
        }
    });
    (address, seen)
}

#[test]
fn the_protocol_is_agreed_on_with_the_encryption() {
    run(async {
        let (authority, folder) = (Authority::new("test"), Folder::new());
        let file = folder.file("ca.pem", &authority.pem);
        let tls =
            Arc::new(UpstreamTls { authorities: vec![file], system_roots: false, ..UpstreamTls::default() });
        let (client, connection) = client();
        // Reading authorities and shaking hands take their time on a busy machine.
        let connect = Duration::from_secs(5);
        let with = |protocol| {
            Rc::new(Connection { protocol, connect, tls: tls.clone(), ..Connection::clone(&connection) })
        };
        let (http1, http2, auto) =
            (with(UpstreamProtocol::Http1), with(UpstreamProtocol::Http2), with(UpstreamProtocol::Auto));
        let get = |address: SocketAddr| {
            let url = format!("https://localhost:{}/", address.port());
            Request::new(Method::GET, Target::parse(&url).unwrap())
        };
        let (both, seen) = secure(&authority, &[b"h2", b"http/1.1"]).await;
        for _ in 0..2 {
            assert_eq!(text(&client, &auto, get(both)).await, "ok");
            assert_eq!(text(&client, &http2, get(both)).await, "ok");
        }
        assert_eq!(seen.connections.get(), 1);
        assert_eq!(seen.requests.borrow()[0].uri, *format!("https://localhost:{}/", both.port()));
        assert_eq!(text(&client, &http1, get(both)).await, "old");
        let (old, seen) = secure(&authority, &[b"http/1.1"]).await;
        for _ in 0..2 {
            assert_eq!(text(&client, &auto, get(old)).await, "old");
        }
        assert_eq!(seen.connections.get(), 1);
        // It may have learnt HTTP/2 since: it is asked again now and then, once.
        client.0.pool.place(&get(old).target, &auto).lines.unsettle();
        for _ in 0..2 {
            assert_eq!(text(&client, &auto, get(old)).await, "old");
        }
        assert_eq!(seen.connections.get(), 2);
        assert_eq!(reason(&client, &http2, get(old)).await, Reason::UpstreamTls);
        // One that agrees on nothing speaks HTTP/1.1.
        let (silent, _) = secure(&authority, &[]).await;
        assert_eq!(text(&client, &auto, get(silent)).await, "old");
        assert_eq!(reason(&client, &http2, get(silent)).await, Reason::UpstreamTls);
    });
}

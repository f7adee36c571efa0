//! WebSockets and other tunnels over streams (RFC 8441).

use h2::ext::Protocol;

use super::*;
use crate::http2::frames::{Walker, kind};

/// RFC 6455 1.3.
const KEY: (&str, &str) = ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// What asks for a WebSocket, as it comes of HTTP/1.1.
fn socket(mut request: Request) -> Request {
    for (name, value) in [KEY, ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"), ("X-A", "b")] {
        request.headers.append(name, value.as_bytes()).unwrap();
    }
    request.upgrade = Upgrade::new(Upgrade::WEBSOCKET);
    request
}

/// A server that takes extended CONNECT.
async fn willing() -> Server {
    Server::with(|builder| _ = builder.enable_connect_protocol()).await
}

#[test]
fn a_stream_becomes_a_tunnel() {
    run(async {
        let server = willing().await;
        let (client, connection) = client();
        let asked = socket(server.request(Method::GET, "/echo?q=1"));
        let response = client.send_to(asked, &connection, None).await.unwrap();
        assert_eq!(response.status, StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(response.headers.get("sec-websocket-accept"), Some(ACCEPT));
        assert_eq!(response.headers.get("x-a"), Some(&b"b"[..]));
        {
            let seen = server.seen.requests.borrow();
            let head = &seen[0];
            assert_eq!((&head.method, head.uri.path()), (&Method::CONNECT, "/echo"));
            assert_eq!(head.uri.query(), Some("q=1"));
            assert_eq!(head.extensions.get::<Protocol>().map(Protocol::as_str), Some("websocket"));
            let mut names: Vec<_> = head.headers.keys().map(|name| name.as_str()).collect();
            names.sort_unstable();
            assert_eq!(names, ["sec-websocket-version", "x-a"]);
        }
        let mut tunnel = response.body.take_tunnel().unwrap();
        // More than the windows hold.
        let sent: Vec<u8> = (0..1_000_000_u32).map(|n| n as u8).collect();
        let (mut far, mut near) = tokio::io::split(&mut tunnel.stream);
        let write = async {
            near.write_all(&sent).await.unwrap();
            near.shutdown().await.unwrap();
        };
        let read = async {
            let mut got = Vec::new();
            // The server ends the stream with trailers, which have no place behind a tunnel.
            let end = far.read_to_end(&mut got).await;
            (got, end)
        };
        let ((), (got, end)) = tokio::join!(write, read);
        assert!(got == sent, "{} bytes came back", got.len());
        assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::InvalidData);
        // Plain requests go beside it; its stream is closed with it.
        let place = client.0.pool.place(&server.request(Method::GET, "/").target, &connection);
        assert_eq!(
            (
                text(&client, &connection, server.request(Method::GET, "/")).await,
                place.lines.vitals.streams.get()
            ),
            ("ok".to_owned(), 1)
        );
        drop(tunnel);
        assert_eq!((server.seen.connections.get(), place.lines.vitals.streams.get()), (1, 0));
    });
}

#[test]
fn what_is_no_consent_is_an_answer() {
    run(async {
        let server = willing().await;
        let (client, connection) = client();
        let denied =
            client.send_to(socket(server.request(Method::GET, "/deny")), &connection, None).await.unwrap();
        assert_eq!((denied.status, denied.body.is_tunnel()), (StatusCode::FORBIDDEN, false));
        assert_eq!(denied.headers.get("sec-websocket-accept"), None);
        assert_eq!(denied.body.collect(100).await.unwrap().0, "no");
        server.until(|seen| seen.resets.borrow().len() == 1).await;
        let cut =
            client.send_to(socket(server.request(Method::GET, "/cut")), &connection, None).await.unwrap();
        let mut tunnel = cut.body.take_tunnel().unwrap();
        assert!(tunnel.stream.read(&mut [0]).await.is_err());
        // No key that the client would know an answer to: nothing is asked.
        let mut keyless = socket(server.request(Method::GET, "/echo"));
        keyless.headers.remove("sec-websocket-key");
        assert_eq!(reason(&client, &connection, keyless).await, Reason::BadRequest);
        assert_eq!(server.seen.requests.borrow().len(), 2);
        assert_eq!(server.seen.connections.get(), 1);
    });
}

#[test]
fn nothing_is_asked_of_a_server_that_takes_no_tunnels() {
    run(async {
        let server = Server::start(10).await;
        let (client, connection) = client();
        for _ in 0..2 {
            let asked = socket(server.request(Method::GET, "/echo"));
            assert_eq!(reason(&client, &connection, asked).await, Reason::UpstreamUpgrade);
        }
        assert_eq!(text(&client, &connection, server.request(Method::GET, "/")).await, "ok");
        assert_eq!((server.seen.connections.get(), server.seen.requests.borrow().len()), (1, 1));
    });
}

#[test]
fn where_either_will_do_such_a_server_is_asked_over_http1() {
    run(async {
        let (authority, folder) = (Authority::new("test"), Folder::new());
        let file = folder.file("ca.pem", &authority.pem);
        let tls =
            Arc::new(UpstreamTls { authorities: vec![file], system_roots: false, ..UpstreamTls::default() });
        let (client, connection) = client();
        let connect = Duration::from_secs(5);
        let auto = Rc::new(Connection {
            protocol: UpstreamProtocol::Auto,
            connect,
            tls,
            ..Connection::clone(&connection)
        });
        let (address, seen) = secure(&authority, &[b"h2", b"http/1.1"]).await;
        let get = |path: &str| {
            let url = format!("https://localhost:{}{path}", address.port());
            Request::new(Method::GET, Target::parse(&url).unwrap())
        };
        assert_eq!(text(&client, &auto, get("/")).await, "ok");
        for _ in 0..2 {
            assert_eq!(text(&client, &auto, socket(get("/s"))).await, "old");
        }
        // One of each.
        assert_eq!(seen.connections.get(), 2);
        let heads = seen.heads.take();
        assert_eq!(heads.len(), 2);
        for head in heads.iter() {
            assert!(
                head.starts_with("GET /s HTTP/1.1\r\n") && head.contains("\r\nUpgrade: websocket\r\n"),
                "{head}"
            );
        }
        assert_eq!(text(&client, &auto, get("/")).await, "ok");
        assert_eq!(seen.requests.borrow().len(), 2);
    });
}

#[test]
fn the_settings_of_a_server_are_waited_for() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, connection) = client();
        const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
        const PING: u8 = 6;
        let kinds = |got: &[u8]| {
            let mut kinds = Vec::new();
            Walker::after(PREFACE).walk(got, |head| kinds.push((head.kind, head.flags)));
            kinds
        };
        let two = async {
            let ask = || client.send_to(socket(request(address, Method::GET, "/")), &connection, None);
            let (one, two) = tokio::join!(ask(), ask());
            (one.unwrap().status, two.unwrap().status)
        };
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut got = Vec::new();
            while !kinds(&got).contains(&(PING, 0)) {
                stream.read_buf(&mut got).await.unwrap();
            }
            assert!(kinds(&got).iter().all(|(kind, _)| *kind != kind::HEADERS), "too early: {got:?}");
            let ping = frame(PING, 0, 0, &[0; 8]);
            let at = got.windows(9).position(|head| *head == ping[..9]).unwrap() + 9;
            while got.len() < at + 8 {
                stream.read_buf(&mut got).await.unwrap();
            }
            // ENABLE_CONNECT_PROTOCOL (RFC 8441 3), then the answer.
            stream.write_all(&frame(kind::SETTINGS, 0, 0, &[0, 8, 0, 0, 0, 1])).await.unwrap();
            stream.write_all(&frame(PING, 1, 0, &got[at..at + 8])).await.unwrap();
            let heads = |got: &[u8]| kinds(got).iter().filter(|(kind, _)| *kind == kind::HEADERS).count();
            while heads(&got) < 2 {
                stream.read_buf(&mut got).await.unwrap();
            }
            // One question was enough for both.
            assert_eq!(kinds(&got).iter().filter(|kind| **kind == (PING, 0)).count(), 1);
            // `:status: 403` (RFC 7541 6.2.1: the name of entry 8), and the end.
            for number in [1, 3] {
                stream.write_all(&frame(kind::HEADERS, 5, number, b"\x48\x03403")).await.unwrap();
            }
            stream
        };
        let (statuses, _stream) = tokio::join!(two, server);
        assert_eq!(statuses, (StatusCode::FORBIDDEN, StatusCode::FORBIDDEN));
    });
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, connection) = client();
        let connection =
            Rc::new(Connection { connect: Duration::from_millis(80), ..Connection::clone(&connection) });
        let (asked, silent) = (socket(request(address, Method::GET, "/")), listener.accept());
        let (failure, silent) = tokio::join!(client.send_to(asked, &connection, None), silent);
        let failure = failure.unwrap_err();
        assert_eq!((failure.reason(), failure.is_retryable()), (Reason::UpstreamConnectTimeout, true));
        drop(silent);
        // One that is closed is so too, and nothing of the request was sent.
        let asked = socket(request(address, Method::GET, "/"));
        let closes = async { drop(listener.accept().await.unwrap()) };
        let (failure, ()) = tokio::join!(client.send_to(asked, &connection, None), closes);
        let failure = failure.unwrap_err();
        assert_eq!((failure.reason(), failure.is_retryable()), (Reason::UpstreamClosed, true));
    });
}

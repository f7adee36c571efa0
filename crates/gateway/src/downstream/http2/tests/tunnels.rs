//! Streams that become tunnels (RFC 8441), and those that do not.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use h2::ext::Protocol;
use polygate_pipeline::{Tunnel, Upgrade};
use polygate_plan::Settings;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{sleep, timeout};

use super::wire::{self, Wire};
use super::*;

/// A gateway that agrees to everything, and gives the far ends of its tunnels with the requests for them.
fn agreeing(settings: Settings) -> (Gate, UnboundedReceiver<(Request, DuplexStream)>) {
    let (sender, receiver) = unbounded_channel();
    let gate = gate_with(settings, move |request: Request| {
        let sender = sender.clone();
        async move {
            let Some(protocol) = request.upgrade.clone() else { return text("plain") };
            let (far, near) = duplex(1 << 10);
            let mut response = Response::new(StatusCode::SWITCHING_PROTOCOLS);
            for (name, value) in [("x-a", "1"), ("upgrade", "forged"), ("content-length", "7")] {
                response.headers.append(name, value.as_bytes()).unwrap();
            }
            response.body = Body::tunnel(Tunnel::new(protocol, near, Bytes::from_static(b"first ")));
            sender.send((request, far)).unwrap();
            response
        }
    });
    (gate, receiver)
}

/// An extended CONNECT.
fn wish(protocol: &'static str) -> http::Request<()> {
    let mut head = head(Method::CONNECT, "/chat?x=1");
    head.extensions_mut().insert(Protocol::from_static(protocol));
    head.headers_mut().insert("sec-websocket-version", "13".parse().unwrap());
    head.headers_mut().insert("sec-websocket-key", "forged".parse().unwrap());
    head
}

/// A client that was told that it may ask for tunnels.
async fn told_client(gate: &Gate) -> SendRequest<Bytes> {
    let mut client = client(gate).await;
    while !client.is_extended_connect_protocol_enabled() {
        get(&mut client, "/plain").await;
    }
    client
}

/// Asks for a WebSocket with frames.
async fn ask(wire: &mut Wire, stream: u32) {
    let fields = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":path", "/"),
        (":scheme", "http"),
        (":authority", "a.test"),
    ];
    wire.head(stream, &fields, false).await;
    assert_eq!(wire.next_of(wire::HEADERS).await.stream, stream);
    assert_eq!(wire.next_of(wire::DATA).await.payload, b"first ");
}

#[test]
fn a_stream_becomes_a_tunnel_and_ends_as_one() {
    run(async {
        let (gate, mut tunnels) = agreeing(Settings::default());
        let mut client = told_client(&gate).await;
        let plain = gate.ends.borrow().len();
        let (response, mut up) = client.send_request(wish("WebSocket"), false).unwrap();
        // Sent at once: it waits for the answer and goes through the tunnel then.
        send(&mut up, Bytes::from_static(b"early ")).await;
        let (head, down) = response.await.unwrap().into_parts();
        assert_eq!(head.status, StatusCode::OK);
        let mut names: Vec<_> = head.headers.keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["date", "x-a"]);
        let (request, mut far) = tunnels.recv().await.unwrap();
        assert_eq!((request.method, request.target.path_and_query()), (Method::GET, "/chat?x=1"));
        assert_eq!(request.upgrade, Upgrade::new("websocket"));
        let shown: Vec<_> = request.headers.iter().map(|(name, _)| name).collect();
        assert_eq!(shown, ["sec-websocket-version", "host", "upgrade"]);
        assert!(request.body.is_empty());
        // Others run beside it.
        assert_eq!(get(&mut client, "/").await.1, "plain");
        send(&mut up, Bytes::from_static(b"hello")).await;
        up.send_data(Bytes::new(), true).unwrap();
        let mut heard = Vec::new();
        far.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"early hello");
        far.write_all(b"and bye").await.unwrap();
        drop(far);
        assert_eq!(whole(down).await, (Bytes::from_static(b"first and bye"), None));
        gate.until(|gate| gate.ends.borrow().len() == plain + 2).await;
        assert_eq!(*gate.ends.borrow().last().unwrap(), (11, 13, None));
    });
}

#[test]
fn who_takes_nothing_holds_the_other_side_back() {
    run(async {
        let (gate, mut tunnels) = agreeing(Settings::default());
        let mut client = told_client(&gate).await;
        let (response, mut up) = client.send_request(wish("other"), false).unwrap();
        let down = response.await.unwrap().into_body();
        let (_, far) = tunnels.recv().await.unwrap();
        let (mut far_read, mut far_write) = tokio::io::split(far);
        let data = Bytes::from(vec![b'x'; 3_000_000]);
        // More than the windows, the pipe and what is read at once can hold is not taken.
        let mut sent = 0;
        let mut left = data.clone();
        up.reserve_capacity(left.len());
        while let Ok(room) = timeout(Duration::from_millis(100), poll_fn(|cx| up.poll_capacity(cx))).await {
            let piece = left.split_to(room.unwrap().unwrap());
            sent += piece.len();
            up.send_data(piece, false).unwrap();
        }
        assert!((256 << 10..400 << 10).contains(&sent), "{sent}");
        // The client's windows are of 64 KiB; what waits for them is capped as well.
        let mut said = 0;
        while let Ok(count) = timeout(Duration::from_millis(100), far_write.write(&data[said..])).await {
            said += count.unwrap();
        }
        assert!((64 << 10..300 << 10).contains(&said), "{said}");
        let upload = async {
            send(&mut up, left).await;
            up.send_data(Bytes::new(), true).unwrap();
        };
        let take = async {
            let mut heard = Vec::new();
            far_read.read_to_end(&mut heard).await.unwrap();
            heard
        };
        let answer = async {
            far_write.write_all(&data[said..]).await.unwrap();
            far_write.shutdown().await.unwrap();
        };
        let ((), heard, (), (got, _)) = tokio::join!(upload, take, answer, whole(down));
        assert!(heard == data);
        assert!(got.strip_prefix(b"first ").is_some_and(|got| got == data));
        gate.until(|gate| gate.ends.borrow().last().is_some_and(|end| end.1 > 10)).await;
        assert_eq!(gate.ends.borrow().last(), Some(&(3_000_000, 3_000_006, None)));
    });
}

/// A far end whose connection breaks.
struct Breaking;

impl AsyncRead for Breaking {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
    }
}

impl AsyncWrite for Breaking {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn what_breaks_on_one_side_breaks_on_the_other() {
    run(async {
        let (gate, mut tunnels) = agreeing(Settings::default());
        let mut wire = Wire::open(&gate).await;
        let cancel = wire::CANCEL.to_be_bytes();
        let far_hears = async |far: &mut DuplexStream, expected: &[u8]| {
            let mut heard = Vec::new();
            far.read_to_end(&mut heard).await.unwrap();
            assert_eq!(heard, expected);
        };
        // A reset of the client, with its direction open and after it has ended it.
        for (number, ends) in [(0, false), (1, true)] {
            let stream = 1 + 2 * number;
            ask(&mut wire, stream).await;
            let (_, mut far) = tunnels.recv().await.unwrap();
            if ends {
                wire.frame(wire::DATA, wire::END_STREAM, stream, b"last").await;
                far_hears(&mut far, b"last").await;
            }
            wire.frame(wire::RST_STREAM, 0, stream, &cancel).await;
            gate.until(|gate| gate.ends.borrow().len() == number as usize + 1).await;
            let received = if ends { 4 } else { 0 };
            assert_eq!(gate.ends.borrow()[number as usize], (received, 6, Some(Reason::ClientClosed)));
            far_hears(&mut far, b"").await;
        }
        // Fields where bytes belong.
        ask(&mut wire, 5).await;
        let (_, mut far) = tunnels.recv().await.unwrap();
        wire.head(5, &[("x", "y")], true).await;
        let reset = wire.next_of(wire::RST_STREAM).await;
        assert_eq!((reset.stream, reset.code()), (5, wire::PROTOCOL_ERROR));
        far_hears(&mut far, b"").await;
        assert_eq!(gate.ends.borrow()[2], (0, 6, Some(Reason::ClientClosed)));
        // The connection itself.
        ask(&mut wire, 7).await;
        let (_, mut far) = tunnels.recv().await.unwrap();
        drop(wire);
        far_hears(&mut far, b"").await;
        gate.until(|gate| gate.ends.borrow().len() == 4).await;
        assert_eq!(gate.ends.borrow()[3], (0, 6, Some(Reason::ClientClosed)));
        // The upstream's.
        let gate = gate_with(Settings::default(), |request: Request| async move {
            let mut response = Response::new(StatusCode::SWITCHING_PROTOCOLS);
            let read = Bytes::from_static(b"first ");
            response.body = Body::tunnel(Tunnel::new(request.upgrade.unwrap(), Breaking, read));
            response
        });
        let mut wire = Wire::open(&gate).await;
        let fields =
            [(":method", "CONNECT"), (":protocol", "a"), (":path", "/"), (":scheme", "http"), ("host", "a")];
        wire.head(1, &fields, false).await;
        assert_eq!(wire.next_of(wire::RST_STREAM).await.code(), wire::CANCEL);
        assert_eq!(gate.ends.borrow()[0].2, Some(Reason::UpstreamClosed));
    });
}

#[test]
fn a_silent_tunnel_is_reset() {
    run(async {
        let mut settings = Settings::default();
        settings.timeouts.tunnel_idle = Duration::from_millis(100);
        // A tunnel is no idle connection.
        settings.timeouts.idle = Duration::from_millis(20);
        let (gate, mut tunnels) = agreeing(settings);
        let mut wire = Wire::open(&gate).await;
        ask(&mut wire, 1).await;
        let (_, far) = tunnels.recv().await.unwrap();
        let reset = wire.next_of(wire::RST_STREAM).await;
        assert_eq!((reset.stream, reset.code()), (1, wire::CANCEL));
        assert_eq!(*gate.ends.borrow(), [(0, 6, Some(Reason::TunnelIdle))]);
        drop(far);
    });
}

#[test]
fn a_stop_lets_tunnels_live_until_they_are_told_goodbye() {
    run(async {
        let (gate, mut tunnels) = agreeing(Settings::default());
        let mut wire = Wire::open(&gate).await;
        let settings = wire.next_of(wire::SETTINGS).await;
        assert!(settings.payload.chunks(6).any(|pair| pair == [0, 8, 0, 0, 0, 1]), "{settings:?}");
        ask(&mut wire, 1).await;
        let (_, mut far) = tunnels.recv().await.unwrap();
        // What came first reads as a frame of `i` bytes, of which there were four.
        far.write_all(&[0; b'i' as usize - 4]).await.unwrap();
        wire.next_of(wire::DATA).await;
        gate.stop.stop();
        assert_eq!(wire.next_of(wire::GOAWAY).await.code(), 0);
        for _ in 0..2 {
            wire.frame(wire::DATA, 0, 1, b"\x81\x82\0\0\0\0hi").await;
            let mut heard = [0; 8];
            far.read_exact(&mut heard).await.unwrap();
            far.write_all(b"\x81\x02ho").await.unwrap();
            assert_eq!(wire.next_of(wire::DATA).await.payload, b"\x81\x02ho");
            sleep(Duration::from_millis(20)).await;
        }
        assert!(gate.ends.borrow().is_empty());
        gate.stop.cut();
        assert_eq!(wire.next_of(wire::DATA).await.payload, [0x88, 2, 0x03, 0xe9]);
        assert!(wire.next_of(wire::DATA).await.flags & wire::END_STREAM != 0);
        let mut goodbye = Vec::new();
        far.read_to_end(&mut goodbye).await.unwrap();
        assert_eq!((goodbye.len(), &goodbye[..2]), (8, &[0x88, 0x82][..]));
        // Both answer, and that is the end.
        drop(far);
        wire.frame(wire::DATA, wire::END_STREAM, 1, &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9]).await;
        gate.stop.tunnels_closed().await;
        wire.closed().await;
        gate.stop.drained().await;
        assert_eq!(gate.ends.borrow()[0].2, Some(Reason::Stopping));
    });
}

#[test]
fn what_is_not_agreed_to_is_a_response_like_any_other() {
    run(async {
        let gate = gate(|request: Request| async move {
            assert!(request.upgrade.is_some());
            let mut response = text("no");
            response.status = StatusCode::FORBIDDEN;
            if request.upgrade == Upgrade::new("unasked") {
                response.status = StatusCode::SWITCHING_PROTOCOLS;
            }
            response
        });
        let mut wire = Wire::open(&gate).await;
        let mut fields =
            [(":method", "CONNECT"), (":protocol", "a"), (":path", "/"), (":scheme", "http"), ("host", "a")];
        wire.head(1, &fields, false).await;
        wire.frame(wire::DATA, 0, 1, &[0; 100]).await;
        let answer = wire.next_of(wire::DATA).await;
        assert_eq!((&*answer.payload, answer.flags & wire::END_STREAM), (&b"no"[..], wire::END_STREAM));
        let reset = wire.next_of(wire::RST_STREAM).await;
        assert_eq!((reset.stream, reset.code()), (1, 0));
        // An upstream's 101 without a connection is no tunnel.
        fields[1].1 = "unasked";
        wire.head(3, &fields, false).await;
        wire.next_of(wire::HEADERS).await;
        gate.until(|gate| gate.ends.borrow().len() == 2).await;
        assert_eq!(*gate.ends.borrow(), [(0, 2, None), (0, 0, Some(Reason::PolicyResult))]);
    });
}

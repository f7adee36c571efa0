//! Connections that become tunnels, and those that do not.

use polygate_pipeline::{Method, Tunnel, Upgrade};
use tokio::io::{DuplexStream, duplex};

use super::*;

const WISH: &str =
    "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\r\n";

/// What an upstream would answer that agrees, with the far end of its connection.
fn agreed(request: &Request, read: &'static [u8]) -> (Response, DuplexStream) {
    let (far, near) = duplex(1 << 10);
    let mut response = Response::new(StatusCode::SWITCHING_PROTOCOLS);
    response.headers.append("X-A", b"1").unwrap();
    response.headers.append("Upgrade", b"forged").unwrap();
    let protocol = request.upgrade.clone().unwrap_or_else(|| Upgrade::new("unasked").unwrap());
    response.body = Body::tunnel(Tunnel::new(protocol, near, Bytes::from_static(read)));
    (response, far)
}

/// A gateway that agrees to everything and gives the far ends of its tunnels.
fn agreeing(settings: Settings) -> (Gate, tokio::sync::mpsc::UnboundedReceiver<DuplexStream>) {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    let gate = gate_with(settings, move |request: Request| {
        let sender = sender.clone();
        async move {
            if request.target.path() == "/plain" {
                return text("plain");
            }
            let (response, far) = agreed(&request, b"first ");
            sender.send(far).unwrap();
            response
        }
    });
    (gate, receiver)
}

const SWITCHED: &str =
    "HTTP/1.1 101 Switching Protocols\r\nX-A: 1\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n";

#[test]
fn a_connection_becomes_a_tunnel_and_ends_as_one() {
    run(async {
        let (gate, mut tunnels) = agreeing(Settings::default());
        let mut client = gate.connect().await;
        // Sent at once: it waits for the answer and goes through the tunnel then.
        client.write_all(format!("{WISH}early ").as_bytes()).await.unwrap();
        assert_eq!(through(&mut client, "\r\n\r\n").await, SWITCHED);
        let mut far = tunnels.recv().await.unwrap();
        client.write_all(b"hello").await.unwrap();
        client.shutdown().await.unwrap();
        let mut heard = Vec::new();
        far.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"early hello");
        far.write_all(b"and bye").await.unwrap();
        drop(far);
        assert_eq!(rest(&mut client).await, "first and bye");
        gate.until(|gate| !gate.ends.borrow().is_empty()).await;
        assert_eq!(*gate.ends.borrow(), [(11, 13, None)]);
        gate.until(|gate| gate.metrics.snapshot().connections == 0).await;
    });
}

#[test]
fn what_is_not_agreed_to_is_the_next_request() {
    run(async {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let log = seen.clone();
        let gate = gate(move |request: Request| {
            let wish = request.upgrade.as_ref().map(|upgrade| upgrade.as_str().to_owned());
            log.borrow_mut().push((request.target.path().to_owned(), wish));
            async { text("ok") }
        });
        let hidden = "GET /admin HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let got = gate.talk(format!("{WISH}{hidden}")).await;
        assert_eq!(got.matches("HTTP/1.1 200 OK").count(), 2, "{got}");
        let wish = Some("WebSocket".to_owned());
        assert_eq!(*seen.borrow(), [("/chat".to_owned(), wish), ("/admin".to_owned(), None)]);
    });
}

#[test]
fn only_whole_requests_of_version_1_1_wish_for_something() {
    run(async {
        for request in [
            "GET / HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nUpgrade: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, Upgrade\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, Upgrade\r\nUpgrade: a b\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: close, Upgrade\r\nUpgrade: a\r\nContent-Length: 2\r\n\r\nhi",
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: close, Upgrade\r\nUpgrade: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ] {
            // Who gives a tunnel to somebody who did not ask for one is at fault.
            let gate = gate(|request: Request| async move {
                assert!(request.upgrade.is_none());
                agreed(&request, b"").0
            });
            let got = gate.talk(request).await;
            assert!(got.starts_with("HTTP/1.1 500 "), "{request:?}: {got}");
            assert_eq!(gate.ends.borrow()[0].2, Some(Reason::PolicyResult));
        }
        // And so is who gives one with another status, or the status without a tunnel.
        let gate = gate(|request: Request| async move {
            let (mut response, _) = agreed(&request, b"");
            match request.method == Method::POST {
                true => response.status = StatusCode::OK,
                false => response.body = Body::empty(),
            }
            response
        });
        for method in ["POST", "GET"] {
            let got = gate.talk(WISH.replace("GET", method).replace("keep-alive", "close")).await;
            assert!(got.starts_with("HTTP/1.1 500 "), "{method}: {got}");
        }
    });
}

#[test]
fn a_stop_lets_tunnels_live_until_they_are_cut() {
    run(async {
        let (gate, mut tunnels) = agreeing(Settings::default());
        let mut client = gate.connect().await;
        client.write_all(WISH.as_bytes()).await.unwrap();
        through(&mut client, "first ").await;
        let mut far = tunnels.recv().await.unwrap();
        gate.stop.stop();
        for _ in 0..2 {
            far.write_all(b"\x81\x02hi").await.unwrap();
            let mut heard = [0; 4];
            client.read_exact(&mut heard).await.unwrap();
            assert_eq!(&heard, b"\x81\x02hi");
        }
        let unfinished = timeout(Duration::from_millis(50), gate.stop.drained()).await;
        assert!(unfinished.is_err() && gate.ends.borrow().is_empty());
        gate.stop.cut();
        // What the upstream sent at first is the head of a frame whose end does not come: the client is told nothing.
        assert_eq!(rest(&mut client).await, "");
        let mut heard = Vec::new();
        far.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard.len(), 8);
        gate.stop.tunnels_closed().await;
        gate.stop.drained().await;
        assert_eq!(gate.ends.borrow()[0].2, Some(Reason::Stopping));
    });
}

#[test]
fn a_tunnel_that_breaks_says_whose_fault_it_is() {
    run(async {
        let mut settings = Settings::default();
        settings.timeouts.tunnel_idle = Duration::from_millis(100);
        let (gate, mut tunnels) = agreeing(settings);
        let mut client = gate.connect().await;
        client.write_all(WISH.as_bytes()).await.unwrap();
        through(&mut client, "first ").await;
        let far = tunnels.recv().await.unwrap();
        assert_eq!(rest(&mut client).await, "");
        assert_eq!(*gate.ends.borrow(), [(0, 6, Some(Reason::TunnelIdle))]);
        drop(far);
        // A reset of the client ends it at once, without waiting for the upstream.
        let (gate, mut tunnels) = agreeing(Settings::default());
        let mut client = gate.connect().await;
        client.write_all(WISH.as_bytes()).await.unwrap();
        through(&mut client, "first ").await;
        let mut far = tunnels.recv().await.unwrap();
        socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        let mut heard = Vec::new();
        far.read_to_end(&mut heard).await.unwrap();
        assert_eq!(*gate.ends.borrow(), [(0, 6, Some(Reason::ClientClosed))]);
    });
}

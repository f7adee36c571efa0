//! Many connections at once, and of one client address.

use std::net::Ipv4Addr;
use std::num::NonZeroUsize;

use tokio::net::TcpSocket;

use super::*;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn few(most: usize) -> Settings {
    let mut settings = Settings::default();
    settings.limits.connections_per_address = NonZeroUsize::new(most);
    settings
}

async fn connect(gate: &Gate, from: impl Into<Ipv4Addr>) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from.into(), 0).into()).unwrap();
    socket.connect(gate.address).await.unwrap()
}

/// A connection that has got an answer and is kept.
async fn let_in(gate: &Gate, from: impl Into<Ipv4Addr>) -> TcpStream {
    let mut stream = connect(gate, from).await;
    stream.write_all(REQUEST).await.unwrap();
    through(&mut stream, "hello").await;
    stream
}

/// A connection is closed without a word.
async fn turned_away(gate: &Gate, from: impl Into<Ipv4Addr>) {
    let mut stream = connect(gate, from).await;
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
}

#[test]
fn an_address_has_as_many_connections_as_it_may() {
    run(async {
        let gate = gate_with(few(2), |_| async { text("hello") });
        let refused = || gate.metrics.snapshot().refused_per_address;
        let held = [let_in(&gate, [127, 0, 0, 2]).await, let_in(&gate, [127, 0, 0, 2]).await];
        for count in 1..=3 {
            turned_away(&gate, [127, 0, 0, 2]).await;
            assert_eq!(refused(), count);
        }
        // Others do not suffer, and a proxy stands for many.
        let _other = let_in(&gate, [127, 0, 0, 3]).await;
        let mut proxied = Vec::new();
        for _ in 0..5 {
            proxied.push(let_in(&gate, TRUSTED).await);
        }
        // Whoever leaves makes room.
        drop(held);
        gate.until(|gate| gate.metrics.snapshot().connections == 6).await;
        let _again = [let_in(&gate, [127, 0, 0, 2]).await, let_in(&gate, [127, 0, 0, 2]).await];
        assert_eq!(refused(), 3);
        assert_eq!(gate.metrics.snapshot().accepted, 13);
    });
}

#[test]
fn any_number_may_be_allowed() {
    run(async {
        let gate = gate_with(few(0), |_| async { text("hello") });
        let mut held = Vec::new();
        for _ in 0..20 {
            held.push(let_in(&gate, [127, 0, 0, 2]).await);
        }
        assert_eq!(gate.metrics.snapshot().refused_per_address, 0);
    });
}

#[test]
fn a_crowd_is_let_in_in_one_turn() {
    run(async {
        let gate = gate_with(few(0), |_| async { text("hello") });
        // The kernel takes them while the thread that accepts them is busy here.
        let crowd: Vec<_> = (0..300).map(|_| std::net::TcpStream::connect(gate.address).unwrap()).collect();
        let accepted = || gate.metrics.snapshot().accepted;
        while accepted() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(accepted(), crowd.len() as u64);
    });
}

//! Open tunnels between two ends in memory, whose buffers are small.

use std::future::{Future, poll_fn};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::timeout;

use super::*;

const LONG: Duration = Duration::from_secs(600);

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let within = async { timeout(Duration::from_secs(20), test).await.expect("the test hangs") };
    tokio::task::LocalSet::new().block_on(&runtime, within);
}

/// The far ends of a tunnel, and our ends of both.
struct Ends {
    client: DuplexStream,
    upstream: DuplexStream,
    near: (DuplexStream, DuplexStream),
}

fn ends(room: usize) -> Ends {
    let (client, near_client) = duplex(room);
    let (upstream, near_upstream) = duplex(room);
    Ends { client, upstream, near: (near_client, near_upstream) }
}

fn splice(protocol: &str, idle: Duration) -> Splice {
    let protocol = Upgrade::new(protocol).unwrap();
    Splice::new(&protocol, BytesMut::new(), BytesMut::new(), idle)
}

/// Runs a tunnel to its end and closes what carried it.
async fn serve(
    mut splice: Splice,
    near: (DuplexStream, DuplexStream),
    cut: impl Fn() -> bool,
) -> (Option<Reason>, u64, u64) {
    let (mut client, mut upstream) = near;
    let failure = poll_fn(|cx| splice.poll(&mut client, &mut upstream, cut(), cx)).await;
    (failure.map(|failure| failure.reason()), splice.received(), splice.sent())
}

async fn all(stream: &mut DuplexStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    bytes
}

#[test]
fn both_directions_end_on_their_own() {
    run(async {
        let Ends { mut client, mut upstream, near } = ends(64);
        let protocol = Upgrade::new("foo").unwrap();
        let splice = Splice::new(&protocol, b"early "[..].into(), b"first "[..].into(), LONG);
        let talk = async {
            client.write_all(b"request").await.unwrap();
            client.shutdown().await.unwrap();
            assert_eq!(all(&mut upstream).await, b"early request");
            // The other side goes on.
            upstream.write_all(b"answer").await.unwrap();
            let mut seen = [0; 12];
            client.read_exact(&mut seen).await.unwrap();
            assert_eq!(&seen, b"first answer");
            upstream.shutdown().await.unwrap();
            assert_eq!(all(&mut client).await, b"");
        };
        let (end, ()) = tokio::join!(serve(splice, near, || false), talk);
        assert_eq!(end, (None, 13, 12));
    });
}

#[test]
fn what_is_not_taken_is_not_read() {
    run(async {
        let Ends { mut client, mut upstream, near } = ends(1024);
        let served = tokio::task::spawn_local(serve(splice("websocket", LONG), near, || false));
        let chunk = vec![7; 16 << 10];
        let mut sent = 0;
        // The client reads nothing: what is under way is what the buffers hold.
        while timeout(Duration::from_millis(50), upstream.write_all(&chunk)).await.is_ok() {
            sent += chunk.len();
            assert!(sent < 1 << 20, "{sent} bytes are under way");
        }
        // The other direction is not held up.
        client.write_all(b"still here").await.unwrap();
        let mut heard = [0; 10];
        upstream.read_exact(&mut heard).await.unwrap();
        upstream.shutdown().await.unwrap();
        drop(upstream);
        let got = all(&mut client).await;
        assert!(got.len() >= sent && got.iter().all(|&byte| byte == 7));
        drop(client);
        assert_eq!(served.await.unwrap().0, None);
    });
}

#[test]
fn large_amounts_pass_unchanged() {
    run(async {
        let Ends { mut client, mut upstream, near } = ends(10_007);
        let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
        let talk = async {
            let send = async {
                client.write_all(&bytes).await.unwrap();
                client.shutdown().await.unwrap();
            };
            let ((), got) = tokio::join!(send, all(&mut upstream));
            assert!(got == bytes);
            upstream.write_all(b"x").await.unwrap();
            upstream.shutdown().await.unwrap();
            assert_eq!(all(&mut client).await, b"x");
        };
        let (end, ()) = tokio::join!(serve(splice("websocket", LONG), near, || false), talk);
        assert_eq!(end, (None, 3_000_000, 1));
    });
}

#[test]
fn silence_ends_a_tunnel() {
    run(async {
        let idle = Duration::from_millis(150);
        let Ends { mut client, mut upstream, near } = ends(64);
        let talk = async {
            let mut heard = [0; 1];
            for _ in 0..6 {
                tokio::time::sleep(idle / 3).await;
                upstream.write_all(b"x").await.unwrap();
                client.read_exact(&mut heard).await.unwrap();
            }
            assert_eq!(all(&mut client).await, b"");
        };
        let started = Instant::now();
        let (end, ()) = tokio::join!(serve(splice("websocket", idle), near, || false), talk);
        assert_eq!(end, (Some(Reason::TunnelIdle), 0, 6));
        assert!(started.elapsed() >= idle * 3);
    });
}

#[test]
fn a_websocket_of_which_one_side_has_closed_does_not_linger() {
    run(async {
        for (protocol, expected) in [("websocket", Some(Reason::TunnelIdle)), ("other", None)] {
            let Ends { mut client, mut upstream, near } = ends(64);
            let mut splice = splice(protocol, LONG);
            assert_eq!(splice.half_open, if protocol == "other" { LONG } else { HALF_OPEN });
            splice.half_open = splice.half_open.min(Duration::from_millis(100)).max(splice.half_open / 3000);
            let served = tokio::task::spawn_local(serve(splice, near, || false));
            client.shutdown().await.unwrap();
            assert_eq!(all(&mut upstream).await, b"");
            if expected.is_none() {
                tokio::time::sleep(Duration::from_millis(120)).await;
                upstream.write_all(b"late").await.unwrap();
                drop(upstream);
                assert_eq!(all(&mut client).await, b"late");
            }
            assert_eq!(served.await.unwrap().0, expected, "{protocol}");
        }
    });
}

/// A tunnel into which these bytes were sent before the gateway stopped, and what both sides got in all.
async fn stopped(protocol: &str, from_client: &[u8], from_upstream: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let Ends { mut client, mut upstream, near } = ends(1 << 10);
    let cut = std::rc::Rc::new(std::cell::Cell::new(false));
    let is_cut = cut.clone();
    let wake = std::rc::Rc::new(std::cell::RefCell::new(None::<std::task::Waker>));
    let waker = wake.clone();
    let mut splice = splice(protocol, LONG);
    let served = tokio::task::spawn_local(async move {
        let (mut client, mut upstream) = near;
        let failure = poll_fn(|cx| {
            *waker.borrow_mut() = Some(cx.waker().clone());
            splice.poll(&mut client, &mut upstream, is_cut.get(), cx)
        });
        failure.await.map(|failure| failure.reason())
    });
    client.write_all(from_client).await.unwrap();
    upstream.write_all(from_upstream).await.unwrap();
    let (mut heard_up, mut heard_down) = (vec![0; from_client.len()], vec![0; from_upstream.len()]);
    upstream.read_exact(&mut heard_up).await.unwrap();
    client.read_exact(&mut heard_down).await.unwrap();
    cut.set(true);
    if let Some(waker) = wake.borrow_mut().take() {
        waker.wake();
    }
    // Both go away once they are told.
    let to_client = async {
        let all = all(&mut client).await;
        client.shutdown().await.unwrap();
        all
    };
    let to_upstream = async {
        let all = all(&mut upstream).await;
        upstream.shutdown().await.unwrap();
        all
    };
    let heard = tokio::join!(to_client, to_upstream);
    assert_eq!(served.await.unwrap(), Some(Reason::Stopping));
    heard
}

#[test]
fn a_stop_is_said_between_two_frames() {
    run(async {
        let goodbye = [0x88, 2, 0x03, 0xe9];
        let started = Instant::now();
        let (to_client, to_upstream) = stopped("websocket", b"\x81\x82abcdef", b"\x81\x02hi").await;
        assert_eq!(to_client, goodbye);
        assert_eq!((to_upstream.len(), &to_upstream[..2]), (8, &[0x88, 0x82][..]));
        // Whoever has said it already is not made to say it twice.
        let (to_client, to_upstream) = stopped("websocket", b"", b"\x88\x02\x03\xe8").await;
        assert_eq!((to_client, to_upstream.len()), (vec![], 8));
        // What is spoken otherwise just ends.
        let (to_client, to_upstream) = stopped("foo", b"abc", b"def").await;
        assert_eq!((to_client, to_upstream), (vec![], vec![]));
        assert!(started.elapsed() < FAREWELL, "nobody was waited for");
        // A frame whose end does not come is not torn up by another one.
        let (to_client, to_upstream) = stopped("websocket", b"", b"\x82\x05he").await;
        assert_eq!((to_client, to_upstream.len()), (vec![], 8));
    });
}

#[test]
fn nobody_has_to_answer_a_goodbye() {
    run(async {
        let Ends { client, upstream, near } = ends(64);
        let started = Instant::now();
        let end = serve(splice("websocket", LONG), near, || true).await;
        assert_eq!(end, (Some(Reason::Stopping), 8, 4));
        assert!(started.elapsed() >= FAREWELL);
        drop((client, upstream));
    });
}

#[test]
fn a_frame_that_has_begun_is_ended_before_the_goodbye() {
    run(async {
        let Ends { mut client, mut upstream, near } = ends(1 << 10);
        let (mut near_client, mut near_upstream) = near;
        let mut splice = splice("websocket", LONG);
        upstream.write_all(b"\x82\x05he").await.unwrap();
        let mut step = async |cut| {
            let polled = poll_fn(|cx| {
                Poll::Ready(splice.poll(&mut near_client, &mut near_upstream, cut, cx).is_pending())
            });
            assert!(polled.await);
        };
        step(false).await;
        step(true).await;
        upstream.write_all(b"llo\x81\x02xx").await.unwrap();
        step(true).await;
        assert_eq!(all(&mut client).await, b"\x82\x05hello\x88\x02\x03\xe9");
    });
}

#[test]
fn seats_are_capped_and_given_back() {
    let (seats, metrics) = (Seats::default(), crate::metrics::WorkerMetrics::default());
    let mut first = seats.take(2).unwrap();
    let second = seats.take(2).unwrap();
    assert!(seats.take(2).is_none());
    assert_eq!(metrics.snapshot().tunnels, 0);
    first.open(&metrics);
    first.open(&metrics);
    assert_eq!(metrics.snapshot().tunnels, 1);
    drop(first);
    assert_eq!(metrics.snapshot().tunnels, 0);
    assert!(seats.take(2).is_some());
    drop(second);
}

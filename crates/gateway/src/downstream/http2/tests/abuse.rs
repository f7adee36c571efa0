//! What attackers send: each is cut off within its bound, and others are served on.

use std::time::Duration;

use polygate_pipeline::Request;
use polygate_plan::Settings;

use super::wire::{self, Wire};
use super::*;
use crate::metrics::AbuseMetrics;

/// Handlers never answer on their own, so that streams stay until they are reset.
fn waiting_gate() -> Gate {
    gate(|request: Request| async move {
        if request.target.path() == "/ok" {
            return text("ok");
        }
        std::future::pending().await
    })
}

/// Sends `round` after `round`, and gives how many were sent until the connection was cut off, and with which code.
async fn until_cut_off(gate: &Gate, most: usize, round: impl Fn(usize) -> Vec<u8>) -> (usize, u32) {
    let mut wire = Wire::open(gate).await;
    // Not before our settings are known to have been taken: they count as well.
    wire.next_of(wire::SETTINGS).await;
    for n in 0..most {
        if !wire.try_write(&round(n)).await {
            // It was closed; what it said before is still to be read.
            break;
        }
        // Everything up to here has its answer, if it gets one, before more is sent.
        if n % 10 == 9 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if let Some(code) = wire.said_goodbye().await {
            return (n + 1, code);
        }
    }
    (most, wire.next_of(wire::GOAWAY).await.code())
}

fn request(stream: u32) -> Vec<u8> {
    let fields = [(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "a.test")];
    wire::encoded(wire::HEADERS, wire::END_HEADERS | wire::END_STREAM, stream, &wire::block(&fields))
}

fn upload(stream: u32) -> Vec<u8> {
    let fields = [(":method", "POST"), (":path", "/"), (":scheme", "http"), (":authority", "a.test")];
    wire::encoded(wire::HEADERS, wire::END_HEADERS, stream, &wire::block(&fields))
}

fn stream(n: usize) -> u32 {
    1 + 2 * n as u32
}

/// Others are still served, and nothing of the attack is left behind.
async fn serves_on(gate: &Gate, expected: AbuseMetrics) {
    let mut other = client(gate).await;
    assert_eq!(get(&mut other, "/ok").await.1, "ok");
    drop(other);
    gate.until(|g| g.metrics.snapshot().http2.connections == 0).await;
    assert_eq!(gate.metrics.snapshot().http2.abuse, expected);
    assert_eq!(gate.metrics.snapshot().connections, 0);
}

#[test]
fn rapid_reset() {
    run(async {
        let gate = waiting_gate();
        // One by one, so that each is accepted first: only its reset counts.
        let reset = |n| {
            let cancel = wire::encoded(wire::RST_STREAM, 0, stream(n), &wire::CANCEL.to_be_bytes());
            [request(stream(n)), cancel].concat()
        };
        let (count, code) = until_cut_off(&gate, 250, reset).await;
        assert!(count <= 200 && code == wire::ENHANCE_YOUR_CALM, "{count} {code}");
        // All at once, so that none is.
        let mut wire = Wire::open(&gate).await;
        let all: Vec<u8> = (0..150).flat_map(reset).collect();
        wire.try_write(&all).await;
        assert_eq!(wire.next_of(wire::GOAWAY).await.code(), wire::ENHANCE_YOUR_CALM);
        wire.closed().await;
        gate.until(|g| g.metrics.snapshot().http2.connections == 0).await;
        let abuse = gate.metrics.snapshot().http2.abuse;
        assert_eq!(abuse.resets + abuse.streams, 2, "{abuse:?}");
        serves_on(&gate, abuse).await;
    });
}

#[test]
fn clients_that_take_responses_may_reset_as_many() {
    run(async {
        let gate = waiting_gate();
        let mut wire = Wire::open(&gate).await;
        for n in 0..300 {
            wire.get(stream(2 * n), "/ok").await;
            wire.next_of(wire::DATA).await;
            let given_up = stream(2 * n + 1);
            wire.write(&request(given_up)).await;
            wire.frame(wire::RST_STREAM, 0, given_up, &wire::CANCEL.to_be_bytes()).await;
        }
        wire.get(1201, "/ok").await;
        assert_eq!(wire.next_of(wire::DATA).await.stream, 1201);
    });
}

#[test]
fn made_you_reset() {
    run(async {
        for (what, round) in [
            (
                "an increment of 0",
                Box::new(|n| {
                    let zero = wire::encoded(wire::WINDOW_UPDATE, 0, stream(n), &[0; 4]);
                    [upload(stream(n)), zero].concat()
                }) as Box<dyn Fn(usize) -> Vec<u8>>,
            ),
            (
                "a window beyond the largest",
                Box::new(|n| {
                    let much = wire::encoded(wire::WINDOW_UPDATE, 0, stream(n), &[0x7f, 0xff, 0xff, 0xff]);
                    [upload(stream(n)), much].concat()
                }),
            ),
            (
                "a body that is too long",
                Box::new(|n| {
                    let fields = [
                        (":method", "POST"),
                        (":path", "/"),
                        (":scheme", "http"),
                        (":authority", "a.test"),
                        ("content-length", "1"),
                    ];
                    let head =
                        wire::encoded(wire::HEADERS, wire::END_HEADERS, stream(n), &wire::block(&fields));
                    [head, wire::encoded(wire::DATA, 0, stream(n), b"two")].concat()
                }),
            ),
            (
                "data behind the end",
                Box::new(|n| [request(stream(n)), wire::encoded(wire::DATA, 0, stream(n), b"x")].concat()),
            ),
            (
                "a malformed head",
                Box::new(|n| {
                    wire::encoded(
                        wire::HEADERS,
                        wire::END_HEADERS,
                        stream(n),
                        &wire::block(&[("te", "gzip")]),
                    )
                }),
            ),
            ("more streams than are allowed", Box::new(|n| request(stream(n)))),
        ] {
            let gate = waiting_gate();
            let (count, code) = until_cut_off(&gate, 400, round).await;
            // The streams that are open count for nothing; DATA behind the end may end the connection at once.
            assert!(count <= 128 + 110, "{what}: {count}");
            assert_ne!(code, 0, "{what}");
            gate.until(|g| g.metrics.snapshot().http2.connections == 0).await;
            let abuse = gate.metrics.snapshot().http2.abuse;
            let ours = code == wire::ENHANCE_YOUR_CALM;
            assert_eq!(abuse.streams + abuse.control_frames, u64::from(ours), "{what}: {abuse:?} {code}");
        }
    });
}

#[test]
fn floods_of_frames_that_carry_nothing() {
    run(async {
        for (what, frame, most) in [
            ("PING", wire::encoded(wire::PING, 0, 0, &[0; 8]), 110),
            ("SETTINGS", wire::encoded(wire::SETTINGS, 0, 0, &[]), 60),
            (
                "SETTINGS that change windows",
                wire::encoded(wire::SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff]),
                60,
            ),
            ("WINDOW_UPDATE", wire::encoded(wire::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]), 110),
            ("PRIORITY", wire::encoded(2, 0, 1, &[0, 0, 0, 0, 1]), 110),
            ("unknown frames", wire::encoded(0x77, 0, 0, b"?"), 110),
        ] {
            let gate = waiting_gate();
            let (count, code) = until_cut_off(&gate, 1000, |_| frame.clone()).await;
            assert!(count <= most && code == wire::ENHANCE_YOUR_CALM, "{what}: {count} {code}");
            serves_on(&gate, AbuseMetrics { control_frames: 1, ..AbuseMetrics::default() }).await;
        }
        // On a stream.
        let gate = waiting_gate();
        let (count, code) = until_cut_off(&gate, 1000, |n| {
            let empty = wire::encoded(wire::DATA, 0, 1, &[]);
            if n == 0 { [upload(1), empty].concat() } else { empty }
        })
        .await;
        assert!(count <= 110 && code == wire::ENHANCE_YOUR_CALM, "{count} {code}");
        // Padding alone is as empty.
        let (count, code) = until_cut_off(&gate, 1000, |n| {
            let padded = wire::encoded(wire::DATA, 8, 1, &[1, 0]);
            if n == 0 { [upload(1), padded].concat() } else { padded }
        })
        .await;
        assert!(count <= 120 && code == wire::ENHANCE_YOUR_CALM, "{count} {code}");
    });
}

#[test]
fn heads_without_an_end() {
    run(async {
        let gate = waiting_gate();
        for piece in [0, 1, 1000, 16_000] {
            let junk = wire::block(&[("x", &"v".repeat(piece))]);
            let (count, code) = until_cut_off(&gate, 1000, |n| {
                if n == 0 {
                    let fields =
                        [(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "a")];
                    wire::encoded(wire::HEADERS, 0, 1, &wire::block(&fields))
                } else {
                    wire::encoded(wire::CONTINUATION, 0, 1, &junk)
                }
            })
            .await;
            assert!(count <= 22 && code == wire::ENHANCE_YOUR_CALM, "{piece}: {count} {code}");
            assert!(piece < 16_000 || count <= 6, "{count} of {piece} bytes");
        }
    });
}

/// The `n`th head of a connection, of 480 fields that take one byte each on the wire.
fn bomb(n: usize, name: &str) -> Vec<u8> {
    let fields = [(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "a.test")];
    let mut block = wire::block(&fields);
    if n == 0 {
        // Into the table once (RFC 7541 6.2.1).
        block.extend([0x40, name.len() as u8]);
        block.extend(name.as_bytes());
        block.extend([100]);
        block.extend([b'c'; 100]);
    }
    // Then one byte each: the newest entry of the table.
    block.extend([0x80 | 62; 480]);
    wire::encoded(wire::HEADERS, wire::END_HEADERS | wire::END_STREAM, stream(n), &block)
}

#[test]
fn heads_that_are_too_large_again_and_again() {
    run(async {
        let gate = waiting_gate();
        // Who takes the answers is told so each time.
        let mut wire = Wire::open(&gate).await;
        for n in 0..60 {
            wire.write(&bomb(n, "x")).await;
        }
        for _ in 0..60 {
            assert_eq!(wire.next_of(wire::HEADERS).await.flags & wire::END_HEADERS, wire::END_HEADERS);
        }
        wire.get(121, "/ok").await;
        while wire.next_of(wire::DATA).await.stream != 121 {}
        drop(wire);
        // Who does not, has no more streams stay than that.
        let mut wire = Wire::raw(&gate).await;
        wire.write(super::super::guard::PREFACE).await;
        wire.frame(wire::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]).await;
        for n in 0..21 {
            wire.try_write(&bomb(n, "x")).await;
        }
        assert_eq!(wire.next_of(wire::GOAWAY).await.code(), wire::ENHANCE_YOUR_CALM);
        wire.closed().await;
        serves_on(&gate, AbuseMetrics { heads: 1, ..AbuseMetrics::default() }).await;
    });
}

/// Many fields of one byte each on the wire, or many crumbs, and no window to answer into.
#[test]
fn bombs_of_compression() {
    run(async {
        let mut settings = Settings::default();
        settings.timeouts.write = Duration::from_millis(100);
        let gate = gate_with(settings, |_| async { text("answer") });
        for name in ["cookie", "x"] {
            let mut wire = Wire::raw(&gate).await;
            wire.write(super::super::guard::PREFACE).await;
            // The window of new streams is 0.
            wire.frame(wire::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]).await;
            for n in 0..20 {
                wire.write(&bomb(n, name)).await;
            }
            let mut heads = 0;
            let mut resets = 0;
            while resets < 20 {
                let got = wire.next().await.expect("the connection stays");
                heads += usize::from(got.kind == wire::HEADERS);
                resets += usize::from(got.kind == wire::RST_STREAM);
                assert_ne!(got.kind, wire::DATA);
            }
            assert_eq!(heads, 20, "each is refused with 431");
        }
        // Each was refused, and its answer given up for want of a window.
        gate.until(|g| g.ends.borrow().len() == 40).await;
        let given_up = |end: &(u64, u64, Option<polygate_pipeline::Reason>)| {
            end.2 == Some(polygate_pipeline::Reason::WriteTimeout)
        };
        assert!(gate.ends.borrow().iter().all(given_up), "{:?}", gate.ends.borrow());
        assert_eq!(gate.dropped.get(), 0);
        // Far beyond the limit the connection goes.
        let fields = [(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "a.test")];
        let mut block = wire::block(&fields);
        block.extend([0x40, 1, b'x', 100]);
        block.extend([b'c'; 100]);
        block.extend(vec![0x80 | 62; 10_000]);
        let mut wire = Wire::open(&gate).await;
        wire.frame(wire::HEADERS, wire::END_HEADERS | wire::END_STREAM, 1, &block).await;
        assert_eq!(wire.next_of(wire::GOAWAY).await.code(), wire::ENHANCE_YOUR_CALM);
    });
}

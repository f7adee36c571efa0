//! The attacks: what is sent on one connection, in one piece.

use super::frames::{
    ACK, CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, NO_WINDOW, PING, PREFACE, PRIORITY,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, frame, request, stream,
};
use super::upstream::{BIG, SLOW};

/// One attack.
pub(super) struct Recipe {
    pub(super) name: &'static str,
    /// What a connection carries.
    pub(super) what: &'static str,
    pub(super) bytes: Vec<u8>,
}

/// A connection that begins with these settings and goes on with so many rounds.
fn connection(settings: &[u8], rounds: usize, round: impl FnMut(usize) -> Vec<u8>) -> Vec<u8> {
    let hello = [PREFACE, &frame(SETTINGS, 0, 0, settings), &frame(SETTINGS, ACK, 0, &[])].concat();
    let rounds: Vec<u8> = (0..rounds).flat_map(round).collect();
    [hello, rounds].concat()
}

/// A request without a body.
fn get(n: usize, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream(n), &request("GET", path))
}

/// A request whose body follows.
fn post(n: usize, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream(n), &request("POST", path))
}

/// Those that are to be cut off.
pub(super) fn recipes() -> Vec<Recipe> {
    let recipe = |name, what, bytes| Recipe { name, what, bytes };
    let flood = |one: Vec<u8>| connection(&[], 2_000, |_| one.clone());
    vec![
        recipe(
            "rapid reset (CVE-2023-44487)",
            "400 requests, each reset at once",
            connection(&[], 400, |n| {
                [get(n, SLOW), frame(RST_STREAM, 0, stream(n), &CANCEL.to_be_bytes())].concat()
            }),
        ),
        recipe(
            "MadeYouReset (CVE-2025-8671), increment 0",
            "400 streams that have to be reset",
            connection(&[], 400, |n| [post(n, SLOW), frame(WINDOW_UPDATE, 0, stream(n), &[0; 4])].concat()),
        ),
        recipe(
            "MadeYouReset, window overflow",
            "400 streams that have to be reset",
            connection(&[], 400, |n| {
                [post(n, SLOW), frame(WINDOW_UPDATE, 0, stream(n), &[0x7f, 0xff, 0xff, 0xff])].concat()
            }),
        ),
        recipe(
            "MadeYouReset, DATA after the end",
            "400 streams that have to be reset",
            connection(&[], 400, |n| [get(n, SLOW), frame(DATA, 0, stream(n), b"x")].concat()),
        ),
        recipe("too many streams", "400 requests", connection(&[], 400, |n| get(n, SLOW))),
        recipe("SETTINGS flood (CVE-2019-9515)", "2,000 frames", flood(frame(SETTINGS, 0, 0, NO_WINDOW))),
        recipe("PING flood (CVE-2019-9512)", "2,000 frames", flood(frame(PING, 0, 0, &[0; 8]))),
        recipe("WINDOW_UPDATE flood", "2,000 frames", flood(frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]))),
        recipe(
            "PRIORITY flood (CVE-2019-9513)",
            "2,000 frames",
            flood(frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])),
        ),
        recipe(
            "empty DATA (CVE-2019-9518)",
            "2,000 frames",
            connection(&[], 2_000, |n| if n == 0 { post(0, SLOW) } else { frame(DATA, 0, 1, &[]) }),
        ),
        recipe(
            "CONTINUATION, empty (CVE-2024-27316)",
            "2,000 frames of one head",
            connection(&[], 2_000, |n| match n {
                0 => frame(HEADERS, 0, 1, &request("GET", "/")),
                _ => frame(CONTINUATION, 0, 1, &[]),
            }),
        ),
        recipe(
            "CONTINUATION, full",
            "200 frames of 16 KB of one head",
            connection(&[], 200, |n| match n {
                0 => frame(HEADERS, 0, 1, &request("GET", "/")),
                // RFC 7541 6.2.2: one literal field as long as 8 KB, twice.
                _ => frame(CONTINUATION, 0, 1, &[long_field(), long_field()].concat()),
            }),
        ),
        bomb("HPACK bomb, one field", "x-bomb", 480),
        // CVE-2026-49975 and its like: crumbs of cookies are joined, and the window stays shut.
        bomb("HPACK bomb, cookie crumbs", "cookie", 480),
        bomb("HPACK bomb, far beyond the limit", "x-bomb", 16_000),
    ]
}

fn long_field() -> Vec<u8> {
    const LENGTH: usize = 8_000;
    // Its length is an integer of 7 bits and more (RFC 7541 5.1).
    let left = LENGTH - 127;
    let length = [127, (left % 128) as u8 | 128, (left / 128) as u8];
    [&[0, 1, b'x'], &length[..], &[b'v'; LENGTH]].concat()
}

/// 300 heads of so many fields, which take one byte each on the wire (RFC 7541 6.1): the newest one of the table, again
/// and again. What is answered cannot be sent.
fn bomb(name: &'static str, field: &'static str, fields: usize) -> Recipe {
    let bytes = connection(NO_WINDOW, 300, |n| {
        let mut block = request("GET", "/");
        if n == 0 {
            let value = [b'c'; 100];
            block.extend(
                [&[0x40, field.len() as u8], field.as_bytes(), &[value.len() as u8], &value].concat(),
            );
        }
        block.resize(block.len() + fields, 0x80 | 62);
        frame(HEADERS, END_HEADERS | END_STREAM, stream(n), &block)
    });
    Recipe { name, what: "300 heads, and no window for the answers", bytes }
}

/// A connection whose streams ask for much and take nothing, and how many they are.
pub(super) fn stall() -> (Vec<u8>, usize) {
    const STREAMS: usize = 100;
    (connection(NO_WINDOW, STREAMS, |n| get(n, BIG)), STREAMS)
}

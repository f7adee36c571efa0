//! Properties: the same result for every split of the input, and no panic for any input.

use proptest::prelude::*;

use super::*;
use crate::Framing;

/// The input cut at the given places.
fn cut<'a>(bytes: &'a [u8], places: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<_> = places.iter().map(|p| p.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|w| &bytes[w[0]..w[1]]).collect()
}

/// Text that looks like requests, with faults.
fn requestish() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "GET / HTTP/1.1\r\n",
        "POST /a?b HTTP/1.1\r\n",
        "GET http://b/ HTTP/1.0\r\n",
        "Host: a\r\n",
        "X-Y: z\r\n",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Connection: close, x-y\r\n",
        "\r\n",
        "\n",
        "\r",
        "5\r\nhello\r\n",
        "0\r\n\r\n",
        "0\r\nT: x\r\n\r\n",
        "hello",
        ";ext=1",
        " ",
        ":",
        "\0",
        "3\r\nabc\r\n",
        "ff\r\n",
    ]);
    prop::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat().into_bytes())
}

/// A request with a chunked body, well-formed.
fn well_formed() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 1..3000), 0..5).prop_map(|chunks| {
        let mut wire = b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for chunk in &chunks {
            wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            wire.extend_from_slice(chunk);
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(b"0\r\nSum: 1\r\n\r\nrest");
        (wire, chunks.concat())
    })
}

proptest! {
    #[test]
    fn any_split_gives_the_same(bytes in requestish(), places in prop::collection::vec(any::<prop::sample::Index>(), 0..12)) {
        prop_assert_eq!(message(cut(&bytes, &places)), message([&bytes[..]]));
        prop_assert_eq!(message(bytes.chunks(1)), message([&bytes[..]]));
    }

    #[test]
    fn chunks_come_back_whole((wire, body) in well_formed(), places in prop::collection::vec(any::<prop::sample::Index>(), 0..12)) {
        let m = message(cut(&wire, &places)).unwrap();
        prop_assert_eq!(m.body, body);
        prop_assert_eq!(m.rest, b"rest");
        prop_assert!(m.whole && m.trailers.is_some());
    }

    #[test]
    fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = message([&bytes[..]]);
        let _ = response(&bytes, Method::GET);
        let _ = response(&[b"HTTP/1.1 200 ", &bytes[..]].concat(), Method::GET);
        let _ = request(&[b"GET / HTTP/1.1\r\n", &bytes[..], b"\r\n\r\n"].concat());
        for framing in [Framing::Chunked, Framing::Length(10), Framing::Close] {
            let mut decoder = Decoder::new(framing);
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Decoded::Data(_) | Decoded::Trailers(_)) = decoder.decode(&mut buffer, &Limits::DEFAULT) {}
        }
    }
}

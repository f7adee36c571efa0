use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::Read;
use std::task::{Context, Poll};

use polygate_pipeline::{BodyStream, Bytes, Failure, Frame, Reason, Target};

use super::*;

fn request(accept: &[&str]) -> Request {
    let mut request = Request::new(Method::GET, Target::default());
    for value in accept {
        request.headers.append("Accept-Encoding", value.as_bytes()).unwrap();
    }
    request
}

fn chosen(accept: &[&str]) -> &'static str {
    accepted(&Compression::default(), &request(accept)).map_or("identity", Coding::as_str)
}

#[test]
fn the_client_chooses_and_of_equals_the_settings() {
    for (accept, coding) in [
        (&[][..], "identity"),
        (&[""], "identity"),
        (&["gzip"], "gzip"),
        (&["X-GZIP"], "gzip"),
        (&["gzip, deflate, br, zstd"], "zstd"),
        (&["gzip", "br"], "br"),
        (&["gzip;q=1.0, br;q=0.999"], "gzip"),
        (&["gzip;q=0, br;q=0.0, zstd;q=0.000"], "identity"),
        (&["*"], "zstd"),
        (&["*;q=0.5, gzip"], "gzip"),
        (&["*, zstd;q=0"], "br"),
        (&["gzip;q=0.5, identity"], "identity"),
        (&["gzip;q=0.5, identity;q=0.4"], "gzip"),
        (&["gzip;q=2", "br;q=x", "zstd;q=0.0001"], "identity"),
        (&["deflate"], "identity"),
    ] {
        assert_eq!(chosen(accept), coding, "{accept:?}");
    }
    let mut head = request(&["gzip"]);
    head.method = Method::HEAD;
    assert_eq!(accepted(&Compression::default(), &head), None);
}

fn response(body: impl Into<Body>) -> Response {
    let mut response = Response::new(StatusCode::OK);
    response.headers.append("Content-Type", b"text/html; charset=utf-8").unwrap();
    response.body = body.into();
    response
}

fn text(length: usize) -> String {
    "All work and no play. ".chars().cycle().take(length).collect()
}

fn field<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers.get_str(name)
}

fn decoded(coding: Coding, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match coding {
        Coding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut out),
        Coding::Brotli => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut out),
        Coding::Zstd => zstd::Decoder::new(bytes).unwrap().read_to_end(&mut out),
    }
    .unwrap();
    out
}

const ALL: [Coding; 3] = [Coding::Gzip, Coding::Brotli, Coding::Zstd];

#[test]
fn bodies_in_memory_are_compressed_whole() {
    let settings = Compression::default();
    for coding in ALL {
        let mut compressed = response(text(5_000));
        compressed.headers.append("ETag", b"\"abc\"").unwrap();
        compressed.headers.append("Accept-Ranges", b"bytes").unwrap();
        compressed.headers.append("Content-Length", b"5000").unwrap();
        apply(&settings, Some(coding), &mut compressed);
        assert_eq!(field(&compressed, "content-encoding"), Some(coding.as_str()));
        assert_eq!(field(&compressed, "vary"), Some("Accept-Encoding"));
        assert_eq!(field(&compressed, "etag"), Some("W/\"abc\""));
        assert_eq!((field(&compressed, "accept-ranges"), field(&compressed, "content-length")), (None, None));
        let body = compressed.body.as_full().unwrap();
        assert!(body.len() < 500, "{coding:?}: {}", body.len());
        assert_eq!(decoded(coding, body), text(5_000).as_bytes());
    }
}

#[test]
fn what_must_not_be_compressed_is_left_alone() {
    let settings = Compression::default();
    let untouched = |change: &dyn Fn(&mut Response)| {
        let mut left = response(text(5_000));
        change(&mut left);
        apply(&settings, Some(Coding::Gzip), &mut left);
        let whole = left.body.as_full().map_or(0, Bytes::len);
        (field(&left, "vary").map(str::to_owned), whole)
    };
    let header = |name: &'static str, value: &'static str| {
        move |response: &mut Response| response.headers.set(name, value.as_bytes()).unwrap()
    };
    let status = |code| move |response: &mut Response| response.status = StatusCode::from_u16(code).unwrap();
    let changes: [&dyn Fn(&mut Response); 9] = [
        &header("content-encoding", "br"),
        &header("content-range", "bytes 0-1/2"),
        &header("cache-control", "max-age=1, No-Transform"),
        &header("content-type", "image/png"),
        &header("content-type", "text/event-stream"),
        &status(204),
        &status(206),
        &status(304),
        &|response| assert!(response.headers.remove("content-type")),
    ];
    for (index, change) in changes.into_iter().enumerate() {
        assert_eq!(untouched(change), (None, 5_000), "{index}");
    }
    // One that is too small.
    let mut small = response(text(1_000));
    apply(&settings, Some(Coding::Gzip), &mut small);
    assert_eq!((field(&small, "vary"), small.body.as_full().unwrap().len()), (None, 1_000));
    // One that does not shrink, and one that the client does not want: caches must know that others are answered otherwise.
    let noise: Vec<u8> = std::iter::repeat_with({
        let mut random = fastrand::Rng::with_seed(7);
        move || random.u8(..)
    })
    .take(5_000)
    .collect();
    for (body, coding) in [(noise, Some(Coding::Gzip)), (text(5_000).into_bytes(), None)] {
        let mut left = response(body.clone());
        left.headers.append("Vary", b"Origin").unwrap();
        apply(&settings, coding, &mut left);
        let vary: Vec<_> = left.headers.get_all("vary").collect();
        assert_eq!(vary, [&b"Origin"[..], b"Accept-Encoding"]);
        assert_eq!(field(&left, "content-encoding"), None);
        assert_eq!(left.body.as_full().unwrap(), &body);
    }
    let mut known = response(text(5_000));
    known.headers.append("Vary", b"origin, accept-encoding").unwrap();
    apply(&settings, Some(Coding::Gzip), &mut known);
    assert_eq!(known.headers.get_all("vary").count(), 1);
}

#[test]
fn the_answer_to_head_says_the_same_to_caches() {
    for (length, vary) in
        [(Some("5000"), Some("Accept-Encoding")), (Some("5"), None), (Some("x"), None), (None, None)]
    {
        // With a coding: what a policy wrote of a length makes no body.
        for coding in [None, Some(Coding::Gzip)] {
            let mut head = response(Body::empty());
            if let Some(length) = length {
                head.headers.append("Content-Length", length.as_bytes()).unwrap();
            }
            apply(&Compression::default(), coding, &mut head);
            assert_eq!((field(&head, "vary"), field(&head, "content-length")), (vary, length));
            assert!(head.body.is_empty() && field(&head, "content-encoding").is_none(), "{length:?}");
        }
    }
}

/// Pieces, of which `None` is a pause that wakes.
struct Pieces(VecDeque<Option<Result<Frame, Failure>>>);

impl BodyStream for Pieces {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Failure>>> {
        match self.0.pop_front() {
            Some(Some(piece)) => Poll::Ready(Some(piece)),
            Some(None) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            None => Poll::Ready(None),
        }
    }
}

fn pieces(pieces: Vec<Option<Result<Frame, Failure>>>) -> Body {
    Body::stream(Pieces(pieces.into()))
}

fn data(text: String) -> Option<Result<Frame, Failure>> {
    Some(Ok(Frame::Data(text.into())))
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
fn streams_are_compressed_as_they_come() {
    for coding in ALL {
        let trailers = [("x-sum", "7")].into_iter().collect();
        let parts = vec![
            data("first ".into()),
            None,
            data(text(300_000)),
            None,
            None,
            data("last".into()),
            Some(Ok(Frame::Trailers(trailers))),
        ];
        let mut streamed = response(pieces(parts));
        apply(&Compression::default(), Some(coding), &mut streamed);
        assert_eq!(streamed.body.length(), None);
        run(async {
            // What came before a pause can be read before what follows it is there.
            let Some(Ok(Frame::Data(first))) = streamed.body.frame().await else { panic!("no data") };
            let mut reader: Box<dyn Read> = match coding {
                Coding::Gzip => Box::new(flate2::read::GzDecoder::new(&*first)),
                Coding::Brotli => Box::new(brotli::Decompressor::new(&*first, 1)),
                Coding::Zstd => Box::new(zstd::Decoder::new(&*first).unwrap()),
            };
            let mut seen = [0; 6];
            reader.read_exact(&mut seen).unwrap();
            assert_eq!(&seen, b"first ", "{coding:?}");
            let mut all = first.to_vec();
            let mut trailers = None;
            while let Some(frame) = streamed.body.frame().await {
                match frame.unwrap() {
                    Frame::Data(data) => {
                        assert!(!data.is_empty());
                        all.extend_from_slice(&data);
                    }
                    Frame::Trailers(fields) => trailers = fields.get_str("x-sum").map(str::to_owned),
                }
            }
            assert_eq!(decoded(coding, &all), format!("first {}last", text(300_000)).into_bytes());
            assert_eq!(trailers.as_deref(), Some("7"));
        });
    }
}

#[test]
fn a_large_body_yields_to_others_and_is_never_held_whole() {
    let mut random = fastrand::Rng::with_seed(7);
    // Noise does not shrink: what comes in must go out at once.
    let noise: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(4 << 20).collect();
    for coding in ALL {
        let mut large = response(noise.clone());
        apply(&Compression::default(), Some(coding), &mut large);
        let (mut pauses, mut all) = (0, Vec::new());
        run(async {
            loop {
                let polled = poll_fn(|cx| Poll::Ready(large.body.poll_frame(cx))).await;
                match polled {
                    Poll::Pending => pauses += 1,
                    Poll::Ready(Some(Ok(Frame::Data(data)))) => {
                        assert!(data.len() < 512 << 10, "{coding:?}: {}", data.len());
                        all.extend_from_slice(&data);
                    }
                    Poll::Ready(None) => break,
                    Poll::Ready(other) => panic!("{other:?}"),
                }
            }
        });
        assert_eq!(decoded(coding, &all), noise, "{coding:?}");
        // One that shrinks to little has to pause by itself.
        if coding == Coding::Gzip {
            let mut zeros = response(vec![b' '; 4 << 20]);
            apply(&Compression::default(), Some(coding), &mut zeros);
            run(async {
                while let Poll::Pending | Poll::Ready(Some(_)) = poll_fn(|cx| {
                    let polled = zeros.body.poll_frame(cx);
                    pauses += u32::from(polled.is_pending());
                    Poll::Ready(polled)
                })
                .await
                {}
            });
            assert!(pauses >= 16, "{pauses}");
        }
    }
}

#[test]
fn failures_and_empty_streams_come_through() {
    let failure = Failure::new(Reason::UpstreamClosed);
    let mut broken = response(pieces(vec![data("x".into()), Some(Err(failure))]));
    apply(&Compression::default(), Some(Coding::Zstd), &mut broken);
    run(async {
        let mut last = None;
        while let Some(frame) = broken.body.frame().await {
            last = Some(frame);
        }
        assert_eq!(last.unwrap().unwrap_err().reason(), Reason::UpstreamClosed);
    });
    let mut empty = response(pieces(vec![]));
    apply(&Compression::default(), Some(Coding::Gzip), &mut empty);
    let (bytes, _) = run(empty.body.collect(1_000)).unwrap();
    assert_eq!(decoded(Coding::Gzip, &bytes), b"");
}

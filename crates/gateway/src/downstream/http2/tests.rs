//! HTTP/2 over real sockets: with the `h2` crate's client where any client will do, with frames of our own where none
//! would send them.

mod abuse;
mod heads;
mod limits;
mod tunnels;
mod wire;

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use polygate_pipeline::{
    Body, BodyStream, Failure, Frame, Headers, Method, Reason, Request, Response, StatusCode, Version,
};

use self::wire::Wire;
use super::super::tests::{Both, Gate, Never, Slowly, echoing, gate, gate_with, run, text};

/// A client's connection; its frames move in a task of their own.
async fn client(gate: &Gate) -> SendRequest<Bytes> {
    let (sender, connection) = h2::client::handshake(gate.connect().await).await.unwrap();
    tokio::task::spawn_local(async move {
        // Tests look at streams; how the connection ends, at the wire.
        let _ = connection.await;
    });
    sender
}

fn head(method: Method, path: &str) -> http::Request<()> {
    http::Request::builder().method(method).uri(format!("http://a.test{path}")).body(()).unwrap()
}

/// Sends a request without a body, and gives the response's head and body.
async fn get(client: &mut SendRequest<Bytes>, path: &str) -> (http::Response<()>, String) {
    let (response, _) = client.send_request(head(Method::GET, path), true).unwrap();
    let (parts, body) = response.await.unwrap().into_parts();
    (http::Response::from_parts(parts, ()), String::from_utf8(whole(body).await.0.to_vec()).unwrap())
}

/// Reads a body to its end.
async fn whole(mut body: RecvStream) -> (Bytes, Option<http::HeaderMap>) {
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        all.extend_from_slice(&data);
        body.flow_control().release_capacity(data.len()).unwrap();
    }
    (all.into(), body.trailers().await.unwrap())
}

/// Sends all of a body, as fast as it is taken.
async fn send(stream: &mut SendStream<Bytes>, mut data: Bytes) {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let room = poll_fn(|cx| stream.poll_capacity(cx)).await.unwrap().unwrap();
        stream.send_data(data.split_to(room.min(data.len())), false).unwrap();
    }
}

/// A body that ends in trailers.
struct Trailing(Option<Frame>, Option<Frame>);

impl Trailing {
    fn body(data: &'static str, name: &str, value: &str) -> Body {
        let fields: Headers = [(name, value), ("content-length", "9")].into_iter().collect();
        Body::stream(Self(
            Some(Frame::Data(Bytes::from_static(data.as_bytes()))),
            Some(Frame::Trailers(fields)),
        ))
    }
}

impl BodyStream for Trailing {
    fn poll_frame(
        &mut self,
        _cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame, Failure>>> {
        std::task::Poll::Ready(self.0.take().or_else(|| self.1.take()).map(Ok))
    }
}

#[test]
fn streams_run_beside_one_another_on_one_connection() {
    run(async {
        let gate = gate(|request: Request| async move {
            assert_eq!((request.version, request.target.authority()), (Version::Http2, "a.test"));
            if request.target.path() == "/slow" {
                tokio::time::sleep(Duration::from_millis(60)).await;
            }
            text(request.target.path_and_query().to_owned())
        });
        let mut client = client(&gate).await;
        let (slow, _) = client.send_request(head(Method::GET, "/slow"), true).unwrap();
        for _ in 0..3 {
            let (response, body) = get(&mut client, "/fast?x=1").await;
            assert_eq!((response.status(), &*body), (StatusCode::OK, "/fast?x=1"));
            assert_eq!(response.headers()["content-length"], "9");
            assert_eq!(response.headers()["date"].len(), 29);
        }
        assert_eq!(gate.ends.borrow().len(), 3, "the slow one still runs");
        assert_eq!(whole(slow.await.unwrap().into_body()).await.0, "/slow");
        assert_eq!(gate.ends.borrow()[3], (0, 5, None));
        assert_eq!(gate.metrics.snapshot().accepted, 1);
        assert_eq!(gate.metrics.snapshot().http2.connections, 1);
    });
}

#[test]
fn a_body_is_read_on_while_the_client_does_not_take_the_response() {
    run(async {
        let received = Rc::new(Cell::new(0));
        let counted = received.clone();
        let gate = gate(move |request: Request| {
            let received = counted.clone();
            async move { text(Body::stream(Both { upload: request.body, received })) }
        });
        let mut client = client(&gate).await;
        let (response, mut stream) = client.send_request(head(Method::POST, "/"), false).unwrap();
        let _response = response.await.unwrap();
        // The response comes to a stand first; then more comes than every window and buffer holds.
        tokio::time::sleep(Duration::from_millis(50)).await;
        send(&mut stream, vec![b'x'; 4 << 20].into()).await;
        gate.until(|_| received.get() == 4 << 20).await;
    });
}

#[test]
fn bodies_and_trailers_go_both_ways() {
    run(async {
        let gate = gate(|mut request: Request| async move {
            match request.target.path() {
                "/echo" => text(std::mem::take(&mut request.body)),
                "/trailers" => {
                    let (body, trailers) = request.body.collect(100).await.unwrap();
                    let trailers = trailers.unwrap();
                    assert_eq!(trailers.len(), 1, "{trailers:?}");
                    assert_eq!((&body[..], trailers.get_str("x-sum")), (&b"hello"[..], Some("5")));
                    text(Trailing::body("there", "grpc-status", "0"))
                }
                _ => Response { body: Trailing::body("", "grpc-status", "12"), ..text("") },
            }
        });
        let mut client = client(&gate).await;
        // Larger than every window and buffer.
        let (response, mut upload) = client.send_request(head(Method::POST, "/echo"), false).unwrap();
        let sent = Bytes::from(vec![b'x'; 3_000_000]);
        let upload = async {
            send(&mut upload, sent.clone()).await;
            upload.send_data(Bytes::new(), true).unwrap();
        };
        let download = async { whole(response.await.unwrap().into_body()).await };
        let ((), (received, trailers)) = tokio::join!(upload, download);
        assert!(received == sent && trailers.is_none());
        assert_eq!(gate.ends.borrow().last(), Some(&(3_000_000, 3_000_000, None)));
        // A trailer that must not stand there is left out, on the way in and out.
        let (response, mut upload) = client.send_request(head(Method::POST, "/trailers"), false).unwrap();
        send(&mut upload, Bytes::from_static(b"hello")).await;
        let fields = [("x-sum", "5"), ("authorization", "x")];
        let fields = fields.map(|(n, v)| (http::HeaderName::from_static(n), v.parse().unwrap()));
        upload.send_trailers(fields.into_iter().collect()).unwrap();
        let (body, trailers) = whole(response.await.unwrap().into_body()).await;
        let trailers = trailers.unwrap();
        assert_eq!(
            (&body[..], &trailers["grpc-status"], trailers.len()),
            (&b"there"[..], &"0".parse().unwrap(), 1)
        );
        // Of unknown length and empty but for trailers, as gRPC answers a failed call.
        let (response, _) = client.send_request(head(Method::GET, "/only"), true).unwrap();
        let (body, trailers) = whole(response.await.unwrap().into_body()).await;
        assert_eq!((body.len(), &trailers.unwrap()["grpc-status"]), (0, &"12".parse().unwrap()));
    });
}

#[test]
fn responses_without_a_body_have_none() {
    run(async {
        let gate = gate(|request: Request| async move {
            let mut response = text("hello");
            let _ = response.headers.append("connection", b"close");
            match request.target.path() {
                "/204" => response.status = StatusCode::NO_CONTENT,
                "/304" => response.status = StatusCode::NOT_MODIFIED,
                "/101" => response.status = StatusCode::SWITCHING_PROTOCOLS,
                _ => {}
            }
            response
        });
        let mut client = client(&gate).await;
        let mut ask = async |method, path: &str| {
            let (response, _) = client.send_request(head(method, path), true).unwrap();
            let response = response.await.unwrap();
            assert!(response.headers().get("connection").is_none());
            assert!(response.body().is_end_stream() || response.status() == StatusCode::OK);
            let length = response.headers().get("content-length").map(|v| v.to_str().unwrap().to_owned());
            (response.status().as_u16(), length)
        };
        assert_eq!(ask(Method::HEAD, "/").await, (200, Some("5".to_owned())));
        assert_eq!(ask(Method::GET, "/204").await, (204, None));
        assert_eq!(ask(Method::GET, "/304").await, (304, None));
        assert_eq!(ask(Method::GET, "/101").await, (500, Some("0".to_owned())));
        assert_eq!(gate.ends.borrow()[3].2, Some(Reason::PolicyResult));
    });
}

#[test]
fn a_reset_or_a_lost_connection_drops_exchanges() {
    run(async {
        let gate = gate(|request: Request| async move {
            if request.target.path() == "/stream" {
                return text(Body::stream(Never));
            }
            std::future::pending().await
        });
        let mut lost = client(&gate).await;
        let (response, mut upload) = lost.send_request(head(Method::POST, "/"), false).unwrap();
        let (_kept, _) = lost.send_request(head(Method::GET, "/"), true).unwrap();
        gate.until(|g| g.metrics.snapshot().http2.connections == 1).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(gate.dropped.get(), 0);
        upload.send_reset(h2::Reason::CANCEL);
        gate.until(|g| g.dropped.get() == 1).await;
        assert!(response.await.is_err());
        gate.until(|g| g.metrics.snapshot().http2.resets_received == 1).await;
        // One that has begun its response.
        let (response, mut upload) = lost.send_request(head(Method::POST, "/stream"), false).unwrap();
        response.await.unwrap();
        upload.send_reset(h2::Reason::CANCEL);
        gate.until(|g| g.ends.borrow().len() == 1).await;
        assert_eq!(*gate.ends.borrow(), [(0, 0, Some(Reason::ClientClosed))]);
        assert_eq!(gate.dropped.get(), 1);
        let mut wire = Wire::open(&gate).await;
        wire.get(1, "/").await;
        wire.get(3, "/stream").await;
        assert_eq!(wire.next_of(wire::HEADERS).await.stream, 3);
        drop(wire);
        gate.until(|g| g.dropped.get() == 2 && g.ends.borrow().len() == 2).await;
    });
}

#[test]
fn an_unread_body_ends_its_stream_without_blame() {
    run(async {
        let gate = gate(|_| async { Response::new(StatusCode::FORBIDDEN) });
        let mut wire = Wire::open(&gate).await;
        wire.head(1, &[(":method", "POST"), (":path", "/"), (":scheme", "http"), (":authority", "a")], false)
            .await;
        let response = wire.next_of(wire::HEADERS).await;
        assert!(response.flags & wire::END_STREAM != 0);
        let reset = wire.next_of(wire::RST_STREAM).await;
        assert_eq!((reset.stream, reset.code()), (1, 0));
        // What comes of it still harms nothing.
        wire.frame(wire::DATA, 0, 1, &[0; 100]).await;
        wire.get(3, "/").await;
        assert_eq!(wire.next_of(wire::HEADERS).await.stream, 3);
    });
}

#[test]
fn the_rest_of_a_body_that_was_answered_early_is_waited_for() {
    run(async {
        let gate = gate(|_| async { Response::new(StatusCode::FORBIDDEN) });
        let mut wire = Wire::open(&gate).await;
        wire.head(1, &[(":method", "POST"), (":path", "/"), (":scheme", "http"), (":authority", "a")], false)
            .await;
        wire.next_of(wire::HEADERS).await;
        let soon = Duration::from_millis(100);
        assert!(tokio::time::timeout(soon, wire.next_of(wire::RST_STREAM)).await.is_err());
        wire.frame(wire::DATA, wire::END_STREAM, 1, &[0; 100]).await;
        let late = Duration::from_millis(1_300);
        assert!(tokio::time::timeout(late, wire.next_of(wire::RST_STREAM)).await.is_err(), "it was whole");
    });
}

#[test]
fn a_body_that_breaks_off_does_not_look_whole() {
    run(async {
        let gate = gate(|request: Request| async move {
            if request.target.path() == "/short" {
                struct Short(Option<Frame>);
                impl BodyStream for Short {
                    fn poll_frame(
                        &mut self,
                        _cx: &mut std::task::Context<'_>,
                    ) -> std::task::Poll<Option<Result<Frame, Failure>>> {
                        std::task::Poll::Ready(self.0.take().map(Ok))
                    }
                    fn length(&self) -> Option<u64> {
                        Some(10)
                    }
                }
                return text(Body::stream(Short(Some(Frame::Data(Bytes::from_static(b"one"))))));
            }
            // A reset takes with it what was not written by then.
            let turns = std::iter::repeat_n(Ok(""), 50);
            let end = std::iter::once(Err(Reason::UpstreamClosed));
            text(Body::stream(Slowly(std::iter::once(Ok("one")).chain(turns).chain(end).collect())))
        });
        let mut wire = Wire::open(&gate).await;
        wire.get(1, "/").await;
        assert_eq!(wire.next_of(wire::DATA).await.payload, b"one");
        let reset = wire.next_of(wire::RST_STREAM).await;
        assert_eq!((reset.stream, reset.code()), (1, wire::INTERNAL_ERROR));
        assert_eq!(gate.ends.borrow()[0], (0, 3, Some(Reason::UpstreamClosed)));
        wire.get(3, "/short").await;
        assert_eq!(wire.next_of(wire::RST_STREAM).await.code(), wire::INTERNAL_ERROR);
        assert_eq!(gate.ends.borrow()[1].2, Some(Reason::Internal));
    });
}

#[test]
fn a_body_that_outlives_its_exchange_reads_nothing_more() {
    run(async {
        let kept = Rc::new(std::cell::RefCell::new(None));
        let keep = kept.clone();
        let gate = gate(move |mut request: Request| {
            keep.borrow_mut().replace(std::mem::take(&mut request.body));
            async { text("ok") }
        });
        let mut client = client(&gate).await;
        let (response, _upload) = client.send_request(head(Method::POST, "/"), false).unwrap();
        assert_eq!(whole(response.await.unwrap().into_body()).await.0, "ok");
        gate.until(|g| g.ends.borrow().len() == 1).await;
        let old: Body = kept.borrow_mut().take().unwrap();
        assert_eq!(old.collect(100).await.unwrap_err().reason(), Reason::ClientClosed);
    });
}

/// A connection that was answered, and one with a request that takes so much time.
async fn idle_and_busy(time: Duration) -> (Gate, Wire, Wire) {
    let gate = gate(move |request: Request| async move {
        if request.target.path() == "/slow" {
            tokio::time::sleep(time).await;
        }
        text("done")
    });
    let mut idle = Wire::open(&gate).await;
    idle.get(1, "/").await;
    idle.next_of(wire::DATA).await;
    let mut busy = Wire::open(&gate).await;
    busy.get(1, "/slow").await;
    (gate, idle, busy)
}

#[test]
fn a_stop_lets_streams_finish_and_opens_no_more() {
    run(async {
        let (gate, mut idle, mut busy) = idle_and_busy(Duration::from_millis(150)).await;
        let mut new = Wire::open(&gate).await;
        gate.until(|g| g.metrics.snapshot().http2.connections == 3).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        gate.stop.stop();
        let stopped = tokio::time::Instant::now();
        // One whose request was under way.
        new.get(1, "/").await;
        for wire in [&mut idle, &mut busy, &mut new] {
            let away = wire.next_of(wire::GOAWAY).await;
            assert_eq!((away.last_stream(), away.code()), (i32::MAX as u32, 0));
        }
        assert_eq!(new.next_of(wire::DATA).await.payload, b"done");
        // A client that takes part is told exactly, one that does not is waited for a moment.
        let ping = busy.next_of(wire::PING).await;
        busy.frame(wire::PING, wire::ACK, 0, &ping.payload).await;
        let away = busy.next_of(wire::GOAWAY).await;
        assert_eq!((away.last_stream(), away.code()), (1, 0));
        assert_eq!(busy.next_of(wire::DATA).await.payload, b"done");
        for wire in [idle, busy, new] {
            wire.closed().await;
        }
        gate.stop.drained().await;
        assert!(stopped.elapsed() < Duration::from_secs(4));
        assert_eq!(gate.ends.borrow().iter().filter(|end| end.2.is_none()).count(), 3);
        assert_eq!(gate.metrics.snapshot().http2.connections, 0);
    });
}

#[test]
fn times_are_limited() {
    run(async {
        let mut settings = polygate_plan::Settings::default();
        let times = &mut settings.timeouts;
        times.head = Duration::from_millis(60);
        times.idle = Duration::from_millis(200);
        times.body = Duration::from_millis(60);
        times.write = Duration::from_millis(60);
        let seen = Rc::new(std::cell::Cell::new(None));
        let note = seen.clone();
        let gate = gate_with(settings, move |request: Request| {
            let note = note.clone();
            async move {
                if request.target.path() == "/big" {
                    return text(vec![b'x'; 1 << 20]);
                }
                note.set(request.body.collect(100).await.err().map(|failure| failure.reason()));
                Response::new(StatusCode::OK)
            }
        });
        // No whole preface.
        let mut wire = Wire::raw(&gate).await;
        wire.write(&super::guard::PREFACE[..20]).await;
        wire.closed().await;
        // No request.
        let mut wire = Wire::open(&gate).await;
        assert_eq!(wire.next_of(wire::GOAWAY).await.code(), 0);
        wire.closed().await;
        // Half a head, within a frame and between frames.
        for (flags, length) in [(wire::END_HEADERS, 100), (0, 9)] {
            let mut wire = Wire::open(&gate).await;
            let mut frame = wire::encoded(wire::HEADERS, flags, 1, &wire::block(&[(":method", "GET")]));
            frame[2] = length;
            wire.write(&frame[..9 + 9]).await;
            assert_eq!(wire.next_of(wire::GOAWAY).await.code(), wire::ENHANCE_YOUR_CALM);
            wire.closed().await;
        }
        assert_eq!(gate.metrics.snapshot().http2.abuse.slow, 2);
        // Half a body.
        let mut wire = Wire::open(&gate).await;
        wire.head(1, &[(":method", "POST"), (":path", "/"), (":scheme", "http"), (":authority", "a")], false)
            .await;
        wire.next_of(wire::HEADERS).await;
        assert_eq!(wire.next_of(wire::RST_STREAM).await.code(), 0);
        assert_eq!(*gate.ends.borrow(), [(0, 0, None)]);
        assert_eq!(seen.get(), Some(Reason::BodyTimeout));
        // A window that stays shut.
        let mut wire = Wire::open(&gate).await;
        wire.get(1, "/big").await;
        let reset = wire.next_of(wire::RST_STREAM).await;
        assert_eq!((reset.stream, reset.code()), (1, wire::CANCEL));
        assert_eq!(gate.ends.borrow().last().unwrap().2, Some(Reason::WriteTimeout));
    });
}

#[test]
fn prior_knowledge_can_be_switched_off() {
    run(async {
        let mut settings = polygate_plan::Settings::default();
        settings.listen.http2 = false;
        let gate = gate_with(settings, |_| async { text("ok") });
        let got = gate.talk(super::guard::PREFACE).await;
        assert!(got.starts_with("HTTP/1.1 505 "), "{got}");
        let got = gate.talk("GET / HTTP/1.0\r\n\r\n").await;
        assert!(got.starts_with("HTTP/1.1 200 "), "{got}");
    });
}

#[test]
fn the_preface_is_known_however_it_is_split() {
    run(async {
        let gate = gate(|_| async { text("ok") });
        let mut all = super::guard::PREFACE.to_vec();
        all.extend(wire::encoded(wire::SETTINGS, 0, 0, &[]));
        let fields = [(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "a")];
        let block = wire::block(&fields);
        all.extend(wire::encoded(wire::HEADERS, wire::END_HEADERS | wire::END_STREAM, 1, &block));
        for split in (1..all.len()).step_by(3) {
            let mut wire = Wire::raw(&gate).await;
            wire.write(&all[..split]).await;
            tokio::task::yield_now().await;
            wire.write(&all[split..]).await;
            assert_eq!(wire.next_of(wire::DATA).await.payload, b"ok", "{split}");
        }
        // What only begins like it is answered as HTTP/1.1, or closed.
        let got = gate.talk("PRI * HTTP/2.0\r\nHost: a\r\n\r\n").await;
        assert!(got.starts_with("HTTP/1.1 505 "), "{got}");
        let mut wire = Wire::raw(&gate).await;
        wire.write(b"PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n").await;
        wire.closed().await;
    });
}

#[test]
fn interim_responses_come_before_the_final_one() {
    run(async {
        let mut settings = polygate_plan::Settings::default();
        settings.limits.interim_responses = 2;
        let told = Rc::new(tokio::sync::Notify::new());
        let tell = told.clone();
        let gate = gate_with(settings, move |request: Request| {
            let told = told.clone();
            async move {
                if request.target.path() == "/body" {
                    return text(request.body.collect(100).await.unwrap().0);
                }
                told.notified().await;
                told.notified().await;
                text("ok")
            }
        });
        let mut client = client(&gate).await;
        let (mut response, _) = client.send_request(head(Method::GET, "/"), true).unwrap();
        gate.until(|gate| gate.interim.borrow().is_some()).await;
        let interim = gate.interim.take().unwrap();
        for n in ["1", "2", "3"] {
            let fields =
                [("link", n), ("connection", "close"), ("content-length", "5")].into_iter().collect();
            interim.push(StatusCode::EARLY_HINTS, fields);
        }
        tell.notify_one();
        for n in ["1", "2"] {
            let hints = poll_fn(|cx| response.poll_informational(cx)).await.unwrap().unwrap();
            assert_eq!((hints.status(), hints.headers().len()), (StatusCode::EARLY_HINTS, 1));
            assert_eq!(hints.headers()["link"], n);
        }
        tell.notify_one();
        assert_eq!(response.await.unwrap().status(), StatusCode::OK);
        assert_eq!(gate.metrics.snapshot().interim_dropped, 1);
        // A client that waits is told to go on, once the body is wanted.
        let mut request = head(Method::POST, "/body");
        request.headers_mut().insert("expect", "100-continue".parse().unwrap());
        let (mut response, mut upload) = client.send_request(request, false).unwrap();
        let interim = poll_fn(|cx| response.poll_informational(cx)).await.unwrap().unwrap();
        assert_eq!(interim.status(), StatusCode::CONTINUE);
        upload.send_data(Bytes::from_static(b"hello"), true).unwrap();
        assert_eq!(whole(response.await.unwrap().into_body()).await.0, "hello");
    });
}

#[test]
fn who_is_being_answered_may_pause() {
    run(async {
        let gate = echoing(Duration::from_secs(60));
        let mut talking = client(&gate).await;
        let (response, mut upload) = talking.send_request(head(Method::POST, "/"), false).unwrap();
        let mut echo = response.await.unwrap().into_body();
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(120)).await;
            upload.send_data(Bytes::from_static(b"x"), false).unwrap();
            assert_eq!(echo.data().await.unwrap().unwrap(), "x");
        }
        upload.send_data(Bytes::new(), true).unwrap();
        assert_eq!(whole(echo).await.0, "");
        // But not for ever.
        let gate = echoing(Duration::from_millis(150));
        let mut silent = client(&gate).await;
        let (response, _upload) = silent.send_request(head(Method::POST, "/"), false).unwrap();
        let error = response.await.unwrap().into_body().data().await.unwrap().unwrap_err();
        assert_eq!(error.reason(), Some(h2::Reason::INTERNAL_ERROR));
        gate.until(|gate| gate.ends.borrow().len() == 1).await;
        assert_eq!(*gate.ends.borrow(), [(0, 0, Some(Reason::BodyTimeout))]);
    });
}

#[test]
fn idle_connections_leave_under_pressure_and_busy_ones_stay() {
    run(async {
        let (gate, mut idle, mut busy) = idle_and_busy(Duration::from_millis(1_300)).await;
        gate.until(|g| g.metrics.snapshot().http2.connections == 2).await;
        // Who is idle for less is left alone: see `Stop::reap`.
        tokio::time::sleep(Duration::from_millis(1_050)).await;
        assert_eq!(gate.stop.reap(), 1);
        assert_eq!(idle.next_of(wire::GOAWAY).await.code(), 0);
        idle.closed().await;
        assert_eq!(busy.next_of(wire::DATA).await.payload, b"done");
    });
}

//! Every limit at its edge.

use polygate_pipeline::{Reason, Request};
use polygate_plan::Settings;

use super::wire::{self, Wire};
use super::*;

/// A request with these further fields is sent; gives whether it was answered with success, and the reason if not.
async fn ask(gate: &Gate, path: &str, more: &[(String, String)]) -> (u16, String) {
    let mut client = client(gate).await;
    let mut request = head(Method::GET, path);
    for (name, value) in more {
        let name: http::HeaderName = name.parse().unwrap();
        request.headers_mut().append(name, value.parse().unwrap());
    }
    let (response, _) = client.send_request(request, true).unwrap();
    let response = response.await.unwrap();
    let status = response.status().as_u16();
    (status, String::from_utf8(whole(response.into_body()).await.0.to_vec()).unwrap())
}

fn field(name: &str, length: usize) -> (String, String) {
    (name.to_owned(), "v".repeat(length))
}

#[test]
fn fields_and_bytes_of_a_head() {
    run(async {
        let gate = gate(|request: Request| async move { text(request.headers.len().to_string()) });
        let crumbs = |count: usize| vec![("cookie".to_owned(), "a=b".to_owned()); count];
        assert_eq!(ask(&gate, "/", &crumbs(128)).await, (200, "2".to_owned()), "joined, with host");
        assert_eq!(ask(&gate, "/", &crumbs(129)).await, (431, "headers_too_large".to_owned()));
        // 16 KiB one value, 64 KiB all of them with 32 bytes for each field.
        assert_eq!(ask(&gate, "/", &[field("x", 16 << 10)]).await.0, 200);
        assert_eq!(ask(&gate, "/", &[field("x", (16 << 10) + 1)]).await.0, 431);
        let full = |last: usize| {
            vec![field("x1", 16 << 10), field("x2", 16 << 10), field("x3", 16 << 10), field("x4", last)]
        };
        let rest = (16 << 10) - 4 * (32 + 2);
        assert_eq!(ask(&gate, "/", &full(rest)).await.0, 200);
        assert_eq!(ask(&gate, "/", &full(rest + 1)).await, (431, "headers_too_large".to_owned()));
        let path = |length: usize| format!("/{}", "p".repeat(length - 1));
        assert_eq!(ask(&gate, &path(8 << 10), &[]).await.0, 200);
        assert_eq!(ask(&gate, &path((8 << 10) + 1), &[]).await, (414, "uri_too_long".to_owned()));
    });
}

#[test]
fn streams_of_a_connection() {
    run(async {
        let mut settings = Settings::default();
        settings.limits.http2.streams = 2;
        let gate = gate_with(settings, |_| async { std::future::pending().await });
        let mut wire = Wire::open(&gate).await;
        for stream in [1, 3, 5] {
            wire.get(stream, "/").await;
        }
        let refused = wire.next_of(wire::RST_STREAM).await;
        assert_eq!((refused.stream, refused.code()), (5, wire::REFUSED_STREAM));
        wire.frame(wire::RST_STREAM, 0, 1, &wire::CANCEL.to_be_bytes()).await;
        gate.until(|g| g.dropped.get() == 1).await;
        wire.get(7, "/").await;
        wire.get(9, "/").await;
        assert_eq!(wire.next_of(wire::RST_STREAM).await.stream, 9);
    });
}

#[test]
fn windows_are_what_the_settings_say_and_open_as_bodies_are_read() {
    run(async {
        let mut settings = Settings::default();
        settings.limits.http2.stream_window = polygate_pipeline::ByteSize::kib(20);
        settings.timeouts.body = Duration::from_millis(200);
        let gate = gate_with(settings, |request: Request| async move {
            match request.target.path() {
                // Read when all that fits has come.
                "/late" => {
                    tokio::time::sleep(Duration::from_millis(30)).await;
                    text(request.body.collect(1 << 20).await.unwrap().0.len().to_string())
                }
                _ => std::future::pending().await,
            }
        });
        let mut client = client(&gate).await;
        let (response, mut upload) = client.send_request(head(Method::POST, "/late"), false).unwrap();
        let upload = async {
            send(&mut upload, Bytes::from(vec![0; 100_000])).await;
            upload.send_data(Bytes::new(), true).unwrap();
        };
        let (response, ()) = tokio::join!(response, upload);
        assert_eq!(whole(response.unwrap().into_body()).await.0, "100000");
        // Nobody reads: the client can send a window's worth and no more.
        let (_response, mut upload) = client.send_request(head(Method::POST, "/never"), false).unwrap();
        let mut taken = 0;
        upload.reserve_capacity(100_000);
        while let Ok(Some(Ok(room))) =
            tokio::time::timeout(Duration::from_millis(50), poll_fn(|cx| upload.poll_capacity(cx))).await
        {
            taken += room;
            upload.send_data(Bytes::from(vec![0; room]), false).unwrap();
            upload.reserve_capacity(100_000);
        }
        assert_eq!(taken, 20 << 10);
    });
}

#[test]
fn small_messages_may_wait_for_a_slow_reader() {
    run(async {
        let gate = gate(|request: Request| async move {
            tokio::time::sleep(Duration::from_millis(60)).await;
            text(request.body.collect(1 << 20).await.unwrap().0.len().to_string())
        });
        let mut wire = Wire::open(&gate).await;
        // The connection's window is open by then.
        wire.next_of(wire::WINDOW_UPDATE).await;
        let post = [(":method", "POST"), (":path", "/"), (":scheme", "http"), (":authority", "a.test")];
        wire.head(1, &post, false).await;
        let message = wire::encoded(wire::DATA, 0, 1, &[7; 32]);
        wire.write(&message.repeat(8000)).await;
        wire.frame(wire::DATA, wire::END_STREAM, 1, &[]).await;
        assert_eq!(wire.next_of(wire::DATA).await.payload, b"256000");
        assert_eq!(gate.ends.borrow()[0], (256_000, 6, None::<Reason>));
    });
}

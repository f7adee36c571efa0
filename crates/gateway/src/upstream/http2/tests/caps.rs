//! Each cap of HTTP/2 with a target, at its edge, and what is counted.

use super::*;
use crate::http2::frames::{Walker, kind};
use crate::upstream::{Http2Report, plain_http2};

/// A client whose caps are the defaults with this change, and how what it does is counted.
fn capped(change: impl FnOnce(&mut UpstreamHttp2)) -> (Rc<Client>, Rc<Connection>, impl Fn() -> Http2Report) {
    let roll = Roll::default();
    let (client, mut connection) = reporting(roll.clone());
    change(&mut Rc::make_mut(&mut connection).http2);
    (client, connection, move || plain_http2(&[&roll]))
}

fn event(report: &Http2Report, name: &str) -> u64 {
    report.totals[Http2Report::EVENTS.iter().position(|event| *event == name).unwrap()]
}

#[test]
fn streams_beyond_the_cap_go_to_another_connection() {
    run(async {
        let server = Server::start(10).await;
        let (client, connection, report) = capped(|http2| http2.streams = 2);
        let ask = || client.send_to(server.request(Method::GET, "/wait"), &connection, None);
        let answers = futures_util::future::join_all((0..3).map(|_| ask()));
        let released = async {
            server.until(|seen| seen.requests.borrow().len() == 3).await;
            let now = report();
            assert_eq!((server.seen.connections.get(), now.connections, now.streams), (2, 2, 3));
            for _ in 0..3 {
                server.seen.release.notify_waiters();
                tokio::task::yield_now().await;
            }
        };
        let (answers, ()) = tokio::join!(answers, released);
        assert!(answers.iter().all(|answer| answer.is_ok()));
        drop(answers);
        let now = report();
        assert_eq!((now.connections, now.streams, event(&now, "opened")), (2, 0, 2));
    });
}

#[test]
fn requests_beyond_the_cap_do_not_wait() {
    run(async {
        let server = Server::start(10).await;
        let caps = |http2: &mut UpstreamHttp2| (http2.connections, http2.streams, http2.waiting) = (1, 1, 1);
        let (client, connection, report) = capped(caps);
        let ask = |path| client.send_to(server.request(Method::GET, path), &connection, None);
        let first = ask("/wait");
        let second = ask("/");
        let third = async {
            server.until(|seen| seen.requests.borrow().len() == 1).await;
            assert_eq!((report().waiting, event(&report(), "overloaded")), (1, 0));
            let asked = Instant::now();
            let failure = ask("/").await.unwrap_err();
            assert_eq!(failure.reason(), Reason::UpstreamOverloaded);
            assert!(asked.elapsed() < connection.connect, "it has waited");
            assert_eq!((report().waiting, event(&report(), "overloaded")), (1, 1));
            server.seen.release.notify_one();
        };
        let (first, second, ()) = tokio::join!(first, second, third);
        assert_eq!((first.unwrap().status, second.unwrap().status), (StatusCode::NO_CONTENT, StatusCode::OK));
        assert_eq!((report().waiting, report().streams), (0, 0));
    });
}

/// Takes a connection and reads until `enough`; it says nothing but its SETTINGS.
async fn read(listener: &TcpListener, enough: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let (mut stream, _) = listener.accept().await.unwrap();
    stream.write_all(&frame(kind::SETTINGS, 0, 0, &[])).await.unwrap();
    let mut got = Vec::new();
    while !enough(&got) {
        assert_ne!(stream.read_buf(&mut got).await.unwrap(), 0, "it is cut off");
    }
    got
}

const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();

#[test]
fn servers_are_told_of_the_windows() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let caps = |http2: &mut UpstreamHttp2| (http2.streams, http2.stream_window) = (3, ByteSize(100_000));
        let (client, connection, _) = capped(caps);
        let asked = client.send_to(request(address, Method::GET, "/"), &connection, None);
        // INITIAL_WINDOW_SIZE (4) of SETTINGS, and the rest of three such windows in a WINDOW_UPDATE of the connection.
        let initial = [&[0, 4][..], &100_000_u32.to_be_bytes()].concat();
        let update = frame(8, 0, 0, &(300_000_u32 - 65_535).to_be_bytes());
        let said = |got: &[u8], what: &[u8]| got.windows(what.len()).any(|part| part == what);
        tokio::select! {
            _ = asked => panic!("answered"),
            _ = read(&listener, |got| said(got, &initial) && said(got, &update)) => {}
        }
    });
}

#[test]
fn requests_wait_in_buffers_of_that_size() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        for (size, most) in [(1024, 1024), (64 << 10, 16 << 10)] {
            let (client, connection, _) = capped(|http2| http2.send_buffer = ByteSize(size));
            let mut post = request(address, Method::POST, "/");
            post.body = Body::full(vec![b'x'; 60_000]);
            let asked = client.send_to(post, &connection, None);
            let frames = |got: &[u8]| {
                let mut sizes = Vec::new();
                Walker::after(PREFACE).walk(got, |head| {
                    if head.kind == kind::DATA {
                        sizes.push(head.length);
                    }
                });
                sizes
            };
            let got = tokio::select! {
                _ = asked => panic!("answered"),
                got = read(&listener, |got| frames(got).iter().sum::<u32>() == 60_000) => got,
            };
            assert_eq!(frames(&got).iter().max(), Some(&most), "of {size}");
        }
    });
}

#[test]
fn a_server_that_breaks_the_protocol_too_often_loses_its_connection() {
    run(async {
        let server = Server::start(10).await;
        let (client, connection, report) = capped(|http2| http2.stream_errors = 2);
        let liar = || reason(&client, &connection, server.request(Method::GET, "/liar"));
        for _ in 0..2 {
            assert_eq!(liar().await, Reason::UpstreamProtocol);
        }
        assert_eq!((server.seen.connections.get(), event(&report(), "broken")), (1, 0));
        assert_eq!(liar().await, Reason::UpstreamProtocol);
        assert_eq!(text(&client, &connection, server.request(Method::GET, "/")).await, "ok");
        assert_eq!((server.seen.connections.get(), event(&report(), "broken")), (2, 1));
    });
}

#[test]
fn goodbyes_and_refusals_are_counted_once() {
    run(async {
        let server = Server::start(10).await;
        let (client, connection, report) = capped(|_| {});
        assert_eq!(
            reason(&client, &connection, server.request(Method::GET, "/refuse")).await,
            Reason::UpstreamClosed
        );
        // It was tried twice.
        assert_eq!(event(&report(), "refused"), 2);
        assert_eq!(text(&client, &connection, server.request(Method::GET, "/last")).await, "ok");
        // The server closes the connection once its last stream has ended, whether anybody asks for another or not.
        while report().connections > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!((event(&report(), "goaway"), event(&report(), "opened")), (1, 1));
        assert_eq!(text(&client, &connection, server.request(Method::GET, "/")).await, "ok");
        assert_eq!((event(&report(), "goaway"), event(&report(), "opened")), (1, 2));
    });
}

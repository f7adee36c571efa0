//! Interim responses on a client's connection.

use polygate_pipeline::Headers;
use tokio::sync::Notify;

use super::*;

fn hints(text: &str) -> Headers {
    let fields = [("Link", text), ("Connection", "close"), ("Content-Length", "5"), ("Keep-Alive", "1")];
    fields.into_iter().collect()
}

/// A gateway that answers when it is told to.
fn waiting(settings: Settings) -> (Gate, Rc<Notify>) {
    let told: Rc<Notify> = Rc::default();
    let tell = told.clone();
    let gate = gate_with(settings, move |_| {
        let told = told.clone();
        async move {
            told.notified().await;
            // Polled once more, as an exchange is when something has come of its upstream.
            told.notified().await;
            text("ok")
        }
    });
    (gate, tell)
}

#[test]
fn interim_responses_are_sent_at_once_and_in_order() {
    run(async {
        let mut settings = Settings::default();
        settings.limits.interim_responses = 3;
        let (gate, tell) = waiting(settings);
        let mut client = gate.connect().await;
        for _ in 0..2 {
            client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
            gate.until(|gate| gate.interim.borrow().is_some()).await;
            let interim = gate.interim.take().unwrap();
            interim.push(StatusCode::EARLY_HINTS, hints("1"));
            interim.push(StatusCode::PROCESSING, Headers::new());
            tell.notify_one();
            let early = "HTTP/1.1 103 Early Hints\r\nLink: 1\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n";
            assert_eq!(through(&mut client, "Processing\r\n\r\n").await, early);
            // What comes together with the final response goes before it, within the cap.
            interim.push(StatusCode::EARLY_HINTS, hints("2"));
            interim.push(StatusCode::EARLY_HINTS, hints("beyond the cap"));
            tell.notify_one();
            let last =
                "HTTP/1.1 103 Early Hints\r\nLink: 2\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            assert_eq!(through(&mut client, "ok").await, last);
        }
        assert_eq!(gate.metrics.snapshot().interim_dropped, 2);
    });
}

#[test]
fn old_clients_are_sent_none() {
    run(async {
        let (gate, tell) = waiting(Settings::default());
        let mut client = gate.connect().await;
        client.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        tell.notify_one();
        tokio::task::yield_now().await;
        gate.until(|_| {
            tell.notify_one();
            !gate.ends.borrow().is_empty()
        })
        .await;
        assert!(gate.interim.borrow().is_none());
        assert!(rest(&mut client).await.starts_with("HTTP/1.1 200 "));
    });
}

#[test]
fn a_client_that_takes_nothing_holds_up_no_more_than_a_bounded_amount() {
    run(async {
        let mut settings = Settings::default();
        settings.limits.interim_responses = 100_000;
        settings.timeouts.write = Duration::from_millis(100);
        let (gate, tell) = waiting(settings);
        let mut client = gate.connect().await;
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        gate.until(|gate| gate.interim.borrow().is_some()).await;
        let interim = gate.interim.take().unwrap();
        // More than all the buffers between both ends take.
        for _ in 0..500 {
            interim.push(StatusCode::EARLY_HINTS, hints(&"x".repeat(60_000)));
        }
        tell.notify_one();
        gate.until(|_| {
            tell.notify_one();
            !gate.ends.borrow().is_empty()
        })
        .await;
        assert_eq!(gate.ends.borrow()[0].2, Some(Reason::WriteTimeout));
        assert!(gate.metrics.snapshot().interim_dropped > 300);
    });
}

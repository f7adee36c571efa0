//! A client of HTTP/2 with a steady rate, on one connection.

use std::cell::RefCell;
use std::io::{Error, Result};
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use super::client::{Asks, Seen, Tally};

/// Sends so many requests a second for so long, and waits for those that are under way then.
pub(super) async fn steady(asks: Asks, rate: f64, time: std::time::Duration) -> Tally {
    let began = Instant::now();
    let tally = Rc::new(RefCell::new(Tally::default()));
    let local = LocalSet::new();
    local
        .run_until(async {
            let client = match connect(&asks).await {
                Ok(client) => client,
                Err(error) => return tally.borrow_mut().note(began, began, asks.within, Err(error)),
            };
            for number in 0..(rate * time.as_secs_f64()) as u64 {
                let due = began + std::time::Duration::from_secs_f64(number as f64 / rate);
                tokio::time::sleep_until(due.into()).await;
                let (client, asks, tally) = (client.clone(), asks.clone(), tally.clone());
                tokio::task::spawn_local(async move {
                    let seen = ask(client, &asks).await.map_err(Error::other);
                    tally.borrow_mut().note(began, due, asks.within, seen);
                });
            }
        })
        .await;
    // The connection ends with the last of them.
    local.await;
    Rc::try_unwrap(tally).map(RefCell::into_inner).unwrap_or_default()
}

async fn connect(asks: &Asks) -> Result<SendRequest<Bytes>> {
    let stream = TcpStream::connect(asks.address).await?;
    stream.set_nodelay(true)?;
    let (client, connection) = h2::client::handshake(stream).await.map_err(Error::other)?;
    tokio::task::spawn_local(async move {
        // Streams say what became of it.
        let _ = connection.await;
    });
    Ok(client)
}

async fn ask(
    client: SendRequest<Bytes>,
    asks: &Asks,
) -> std::result::Result<Seen, Box<dyn std::error::Error + Send + Sync>> {
    let head = Request::builder().uri(format!("http://localhost{}", asks.path)).body(())?;
    let (response, _) = client.ready().await?.send_request(head, true)?;
    let response = response.await?;
    let status = response.status();
    let (mut body, mut text) = (response.into_body(), Vec::new());
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        text.extend_from_slice(&data);
    }
    match status.as_u16() {
        200 => Ok(Seen::Good),
        503 if String::from_utf8_lossy(&text).contains("\"overloaded\"") => Ok(Seen::Shed),
        _ => Err(format!("{status}: {}", String::from_utf8_lossy(&text)).into()),
    }
}

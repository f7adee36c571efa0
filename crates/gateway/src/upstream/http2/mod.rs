//! HTTP/2 towards upstreams (RFC 9113): a few connections to each place, many requests on each.
//!
//! [`Lines`] are the connections of one place, a [`Line`](line::Line) is one of them, a [`Flight`] is one request on a
//! stream. The connection itself is the `h2` crate's; a local task drives it.

mod body;
mod flight;
mod head;
mod line;
mod lines;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use polygate_pipeline::{Exchange, Failure, Request, Response};

use self::flight::Flight;
pub(super) use self::lines::Lines;
use self::lines::Ready;
use super::retry::is_idempotent;
use super::stream::Connected;
use super::{Inner, Way, replay};

/// Connections that may say goodbye to one request before it is given up. A server that leaves after so many requests,
/// as nginx does, says it to all at once that wait on the connection, and their next one may be as far.
const MAX_GOODBYES: usize = 10;

/// What became of a request that was to go over HTTP/2.
pub(super) enum Sent {
    /// It was answered.
    Response(Response),
    /// It was not sent: the server chose HTTP/1.1 on this new connection.
    Http1(Connected),
    /// It was not sent: the server chose HTTP/1.1 not long ago.
    Unlikely,
}

impl Inner {
    /// Sends a request over HTTP/2. Its body is taken out once there is a connection.
    pub(super) async fn send_http2(&self, request: &mut Request, way: &Way<'_>) -> Result<Sent, Failure> {
        let (mut again, mut goodbyes) = (false, 0);
        loop {
            let stream = match self.line(&request.target, way).await? {
                Ready::Http2(stream) => stream,
                Ready::Http1(connected) => return Ok(Sent::Http1(*connected)),
                Ready::Unlikely => return Ok(Sent::Unlikely),
            };
            if let Some(exchange) = way.exchange {
                exchange.set_upstream_address(SocketAddr::new(stream.line().peer, way.place.port));
            }
            let (head, length) = head::request(request)?;
            let body = std::mem::take(&mut request.body);
            // Only what is in memory can be sent a second time.
            let replay = replay(&body);
            let reused = stream.is_reused();
            let interim = way.exchange.and_then(Exchange::interim);
            let sent = match Flight::begin(stream, head, body, length, way.connection.clone()) {
                Ok(mut flight) => match flight.head(interim, way.limit, way.quiet).await {
                    Ok(head) => return flight.response(head).map(Sent::Response),
                    Err(no) => no,
                },
                Err(no) => no,
            };
            if sent.unprocessed {
                way.place.lines.vitals.refused.add(1);
            }
            // What was not processed can be sent again whatever it is (RFC 9113 8.7), and what can be repeated without
            // harm is when a connection that was used before is lost with it (RFC 9112 9.3.1).
            let harmless = sent.unprocessed || sent.died && reused && is_idempotent(&request.method);
            let may = harmless && if sent.gone { goodbyes < MAX_GOODBYES } else { !again };
            match replay {
                Some(body) if may => {
                    request.body = body;
                    goodbyes += usize::from(sent.gone);
                    again |= !sent.gone;
                }
                _ if sent.unprocessed => return Err(sent.failure.retryable()),
                _ => return Err(sent.failure),
            }
        }
    }
}

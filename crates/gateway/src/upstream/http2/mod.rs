//! HTTP/2 towards upstreams (RFC 9113): a few connections to each place, many requests on each.
//!
//! [`Lines`] are the connections of one place, a [`Line`](line::Line) is one of them, a [`Flight`] is one request on a
//! stream. The connection itself is the `h2` crate's; a local task drives it.

mod body;
mod flight;
mod head;
mod line;
mod lines;
mod tunnel;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use polygate_pipeline::{Exchange, Failure, Reason, Request, Response, Target, Version};
use polygate_plan::UpstreamProtocol;
use tokio::time::timeout;

use self::flight::Flight;
use self::line::Ticket;
pub(super) use self::lines::Lines;
use self::lines::Ready;
use self::tunnel::Wish;
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
    /// It was not sent: the server chose HTTP/1.1 not long ago, or it takes no tunnels over HTTP/2.
    Unlikely,
}

impl Inner {
    /// Sends a request over HTTP/2. Its body is taken out once there is a connection.
    pub(super) async fn send_http2(&self, request: &mut Request, way: &Way<'_>) -> Result<Sent, Failure> {
        let (mut again, mut goodbyes) = (false, 0);
        if request.upgrade.is_some() && way.place.lines.lacks_tunnels(way.connection.protocol) {
            return Ok(Sent::Unlikely);
        }
        loop {
            let stream = match self.line(&request.target, way).await? {
                Ready::Http2(stream) => stream,
                Ready::Http1(connected) => return Ok(Sent::Http1(*connected)),
                Ready::Unlikely => return Ok(Sent::Unlikely),
            };
            if let Some(exchange) = way.exchange {
                exchange.set_upstream_address(SocketAddr::new(stream.line().peer, way.place.port));
            }
            if request.upgrade.is_some() {
                match self.tunnels(&stream, &request.target, way).await {
                    Ok(true) => {}
                    Ok(false) => return Ok(Sent::Unlikely),
                    // It was closed just as it was used again.
                    Err(failure)
                        if failure.reason() == Reason::UpstreamClosed
                            && stream.is_reused()
                            && goodbyes < MAX_GOODBYES =>
                    {
                        goodbyes += 1;
                        continue;
                    }
                    Err(failure) => return Err(failure),
                }
            }
            let (mut head, length) = head::request(request)?;
            // Policies may have made the request anew: only the exchange knows what came.
            let keyless = way.exchange.is_some_and(|exchange| exchange.version() == Version::Http2);
            let wish = Wish::of(request, keyless)?;
            if let Some(wish) = &wish {
                wish.ask(&mut head);
            }
            let body = std::mem::take(&mut request.body);
            // Only what is in memory can be sent a second time.
            let replay = replay(&body);
            let reused = stream.is_reused();
            let interim = way.exchange.and_then(Exchange::interim);
            let sent = match Flight::begin(stream, head, body, length, way.connection.clone()) {
                Ok(mut flight) => match flight.head(interim, way.limit, way.quiet).await {
                    Ok(head) => return flight.response(head, wish).map(Sent::Response),
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

    /// Whether a tunnel may be asked for on a connection. When it must not and HTTP/1.1 will do, that is remembered.
    ///
    /// # Errors
    /// When it must not, or when nothing is heard of the server.
    async fn tunnels(&self, stream: &Ticket, target: &Target, way: &Way<'_>) -> Result<bool, Failure> {
        let time = way.connection.connect;
        match timeout(time, stream.line().takes_tunnels()).await {
            Ok(Ok(true)) => Ok(true),
            Ok(Ok(false)) if way.connection.protocol == UpstreamProtocol::Auto => {
                way.place.lines.no_tunnels.set(true);
                Ok(false)
            }
            Ok(Ok(false)) => {
                let detail = format!("{} does not take extended CONNECT over HTTP/2", target.authority());
                Err(Failure::new(Reason::UpstreamUpgrade).detail(detail))
            }
            Ok(Err(error)) => {
                stream.line().retire();
                Err(flight::failure(error, "before its settings").retryable())
            }
            Err(_) => {
                stream.line().retire();
                let detail = format!("no settings within {time:?}");
                Err(Failure::new(Reason::UpstreamConnectTimeout).detail(detail).retryable())
            }
        }
    }
}

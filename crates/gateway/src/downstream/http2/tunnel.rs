//! A stream that becomes a tunnel: WebSocket over HTTP/2 (RFC 8441).
//!
//! An extended CONNECT goes through the pipeline as the GET of HTTP/1.1 that it stands for (RFC 8441 5), so that routes,
//! policies and upstreams need not know the difference; what agrees to it is a 101 there, and a 200 here.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use bytes::BytesMut;
use h2::RecvStream;
use http::header::{DATE, HeaderMap};
use polygate_pipeline::{Failure, Headers, Known, Reason, Response, StatusCode, Tunnel, Upgrade};

use super::stream::Stream;
use crate::http2::{Pipe, fields};
use crate::service::{End, Finish, Service};
use crate::tunnel::Splice;

/// The field of a handshake on HTTP/1.1 that has no meaning here (RFC 8441 5): whoever needs one makes it.
const KEY: &str = "sec-websocket-key";

/// What an extended CONNECT with this `:protocol` wishes for; `headers` are changed to say so as those of HTTP/1.1 do.
///
/// # Errors
/// What is wrong with it.
pub(super) fn wish(protocol: &str, headers: &mut Headers) -> Result<Upgrade, &'static str> {
    let upgrade = Upgrade::new(protocol).ok_or("the protocol is malformed")?;
    // RFC 9110 9.3.6: the bytes of a tunnel are no content; counted by a length, they would end where it does.
    if headers.known(Known::ContentLength).is_some() {
        return Err("CONNECT has no content");
    }
    headers.remove(KEY);
    headers.append("upgrade", protocol.as_bytes()).map_err(|_| "the protocol is malformed")?;
    Ok(upgrade)
}

impl<S: Service> Stream<S> {
    /// Tells the client that its stream is a tunnel from here on, and serves it to its end. What the client sent before
    /// that has waited under flow control.
    pub(super) async fn tunnel(mut self, incoming: RecvStream, response: Response, finish: S::Finish) {
        let Response { headers, body, .. } = response;
        let Some(tunnel) = body.take_tunnel() else { return };
        let mut end = End { received: 0, sent: 0, failure: None };
        match self.respond.send_response(self.agreement(headers), false) {
            Ok(outgoing) => self.splice(Pipe::new(incoming, outgoing), *tunnel, &mut end).await,
            Err(error) => end.failure = Some(Failure::new(Reason::ClientClosed).source(error)),
        }
        finish.finish(end);
    }

    /// The head that agrees (RFC 8441 5).
    fn agreement(&self, headers: Headers) -> http::Response<()> {
        let dated = headers.known(Known::Date).is_some();
        let mut map = HeaderMap::with_capacity(headers.len() + 1);
        // RFC 9110 8.6: no length where there is no content.
        fields::to_send(headers, &mut map, |known| known == Known::ContentLength);
        if !dated {
            map.insert(DATE, self.shared.common.date.value());
        }
        let mut head = http::Response::new(());
        *head.status_mut() = StatusCode::OK;
        *head.headers_mut() = map;
        head
    }

    async fn splice(&self, mut client: Pipe, mut tunnel: Tunnel, end: &mut End) {
        let common = &self.shared.common;
        let _open = common.stop.tunnel();
        let read = BytesMut::from(std::mem::take(&mut tunnel.read));
        let idle = common.timeouts.tunnel_idle;
        let mut splice = Splice::new(&tunnel.protocol, BytesMut::new(), read, idle);
        let mut cut = pin!(self.shared.cut.notified());
        end.failure = poll_fn(|cx| {
            let is_cut = common.stop.is_cut();
            if let Poll::Ready(failure) = splice.poll(&mut client, &mut *tunnel.stream, is_cut, cx) {
                return Poll::Ready(failure);
            }
            if !is_cut {
                // Only the connection's task is woken when the worker says so.
                let _ = cut.as_mut().poll(cx);
            }
            client
                .poll_gone(cx)
                .map(|error| Some(Failure::new(Reason::ClientClosed).detail("within a tunnel").source(error)))
        })
        .await;
        (end.received, end.sent) = (splice.received(), splice.sent());
        if end.failure.is_some() {
            client.cut();
        }
    }
}

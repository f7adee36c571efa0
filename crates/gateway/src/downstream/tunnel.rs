//! A connection that becomes a tunnel: the head that says so, and then bytes.

use std::future::poll_fn;

use bytes::BytesMut;
use http::Method;
use polygate_http1::encode::{self, Encoder, ResponseOptions};
use polygate_http1::{Framing, Outbox};
use polygate_pipeline::{Body, Response, Version};

use super::connection::Connection;
use crate::service::{End, Finish, Service};
use crate::tunnel::Splice;
use crate::wire::Transfer;

impl<S: Service> Connection<S> {
    /// Tells the client that its connection is a tunnel from here on, and serves it to its end. What the client sent
    /// behind its request, which waited until now, is the first that goes through.
    pub(super) async fn tunnel(&mut self, response: Response, finish: S::Finish) {
        let Some(mut tunnel) = response.body.take_tunnel() else { return };
        let options = ResponseOptions {
            method: &Method::GET,
            version: Version::Http11,
            framing: Framing::Empty,
            hidden_length: None,
            keep_alive: true,
            date: None,
            upgrade: Some(&tunnel.protocol),
        };
        let mut outbox = Outbox::new();
        encode::response_head(outbox.end_mut(), response.status, &response.headers, &options);
        let mut transfer = Transfer::new(outbox, Encoder::new(Framing::Empty), Body::empty());
        let sent = self.send(&mut transfer).await;
        drop(transfer);
        let mut end = End { received: 0, sent: 0, failure: sent.err() };
        if end.failure.is_none() {
            let Self { common, state, .. } = self;
            let _open = common.stop.tunnel();
            let early = std::mem::take(&mut state.borrow_mut().buffer.bytes);
            let read = BytesMut::from(std::mem::take(&mut tunnel.read));
            let idle = common.timeouts.tunnel_idle;
            let mut splice = Splice::new(&tunnel.protocol, early, read, idle);
            end.failure = poll_fn(|cx| {
                let client = &mut state.borrow_mut().stream;
                splice.poll(client, &mut *tunnel.stream, common.stop.is_cut(), cx)
            })
            .await;
            (end.received, end.sent) = (splice.received(), splice.sent());
        }
        self.cut_short = end.failure.is_some();
        finish.finish(end);
    }
}

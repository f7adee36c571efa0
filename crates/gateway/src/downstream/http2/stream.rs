//! One stream: a request, its exchange, its response.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::header::{CONTENT_LENGTH, DATE, HeaderMap, HeaderValue};
use polygate_http1::Framing;
use polygate_http1::encode::{self, ResponseOptions};
use polygate_pipeline::{Body, Failure, Interim, Known, Method, Reason, Response, StatusCode, Version};

use super::body::{self, Upload};
use super::connection::Shared;
use super::head::{self, NoRequest};
use crate::downstream::connection::DRAIN_TIME;
use crate::http2::{Broken, Outgoing, fields};
use crate::service::{End, Finish, Service};

/// A stream that was opened, until it is closed.
pub(super) struct Stream<S: Service> {
    pub(super) shared: Rc<Shared<S>>,
    pub(super) respond: SendResponse<Bytes>,
}

impl<S: Service> Stream<S> {
    /// Counts a stream in, until it is dropped.
    pub(super) fn new(shared: Rc<Shared<S>>, respond: SendResponse<Bytes>) -> Self {
        shared.opened();
        Self { shared, respond }
    }

    /// Has a request answered.
    pub(super) async fn serve(mut self, request: http::Request<RecvStream>) {
        let (parts, incoming) = request.into_parts();
        let common = self.shared.common.clone();
        let client = self.shared.client.clone();
        let (mut request, length) = match head::request(parts, self.shared.scheme, &self.shared.limits) {
            Ok(headed) => headed,
            Err(NoRequest::Refuse(refusal)) => {
                drop(incoming);
                let method = refusal.method.clone().unwrap_or(Method::GET);
                let is_large = refusal.failure.reason() == Reason::HeadersTooLarge;
                let (response, finish) = common.service.refuse(*refusal, client);
                let shared = self.shared.clone();
                if is_large {
                    shared.refuses_large_head();
                }
                self.respond(&method, response, finish, Upload::default()).await;
                if is_large {
                    shared.refused_large_head();
                }
                return;
            }
            Err(NoRequest::Malformed(refusal)) => {
                let failure = refusal.failure.clone();
                // The response is for the record alone.
                let (_, finish) = common.service.refuse(*refusal, client);
                self.respond.send_reset(h2::Reason::PROTOCOL_ERROR);
                return finish.finish(End { received: 0, sent: 0, failure: Some(failure) });
            }
        };
        let interim = Interim::default();
        interim.begin(common.interim);
        // Another expectation was refused with the head.
        let waits = request.headers.known(Known::Expect).map(|_| interim.clone());
        let (upload, incoming) = if request.upgrade.is_some() {
            // No body: it waits for the answer, and goes through the tunnel then.
            (Upload::default(), Some(incoming))
        } else {
            let upload;
            (request.body, upload) = body::take(incoming, length, common.timeouts.body, waits);
            (upload, None)
        };
        let method = request.method.clone();
        let answered = {
            let mut call = pin!(common.service.call(request, client, Some(interim.clone())));
            let respond = &mut self.respond;
            poll_fn(|cx| {
                let polled = call.as_mut().poll(cx);
                hand_on(&interim, respond);
                if let Poll::Ready(answered) = polled {
                    return Poll::Ready(Some(answered));
                }
                respond.poll_reset(cx).map(|_| None)
            })
            .await
        };
        let dropped = interim.take_dropped();
        if dropped > 0 {
            common.metrics.with(|metrics| metrics.interim_dropped += dropped);
        }
        // The client went away; with the call its exchange was dropped.
        let Some((response, finish)) = answered else { return };
        upload.answered(common.timeouts.tunnel_idle);
        if let Some(incoming) = incoming
            && response.status == StatusCode::SWITCHING_PROTOCOLS
            && response.body.is_tunnel()
        {
            // Boxed: of streams that stay what they are, none has to hold the room for it.
            return Box::pin(self.tunnel(incoming, response, finish)).await;
        }
        self.respond(&method, response, finish, upload).await;
    }

    /// Sends a response. If then the request's body is not over, and is not soon, the stream is reset without blame
    /// (RFC 9113 8.1).
    async fn respond(mut self, method: &Method, mut response: Response, finish: S::Finish, upload: Upload) {
        let mut failure = None;
        if response.status.is_informational() || response.body.is_tunnel() {
            // An interim response in the place of the final one would leave the client waiting.
            failure = Some(
                Failure::new(Reason::PolicyResult)
                    .detail("a status of 1xx, or a tunnel, that nobody asked for"),
            );
            response = Response::new(StatusCode::INTERNAL_SERVER_ERROR);
        }
        let framing = encode::response_framing(method, response.status, Version::Http2, &response.body);
        let (head, body) = self.head(method, response, framing);
        let length = if let Framing::Length(length) = framing { Some(length) } else { None };
        let mut outgoing = Outgoing::new(body, length);
        let sent = match self.respond.send_response(head, framing == Framing::Empty) {
            Ok(_) if framing == Framing::Empty => Ok(()),
            Ok(mut stream) => self.send(&mut outgoing, &mut stream).await,
            Err(error) => Err(Failure::new(Reason::ClientClosed).source(error)),
        };
        let done = sent.is_ok();
        let end = End { received: upload.received(), sent: outgoing.sent(), failure: sent.err().or(failure) };
        finish.finish(end);
        if done && upload.is_unread() {
            // Boxed: few need it.
            Box::pin(upload.drain(self.shared.common.drain, DRAIN_TIME)).await;
        }
    }

    /// The head of a response, and the body that is sent behind it.
    fn head(&self, method: &Method, response: Response, framing: Framing) -> (http::Response<()>, Body) {
        let options = ResponseOptions {
            method,
            version: Version::Http2,
            framing,
            hidden_length: response.body.length(),
            keep_alive: true,
            date: None,
            upgrade: None,
        };
        let length = encode::response_length(response.status, &response.headers, &options);
        let has = |known| usize::from(response.headers.known(known).is_some());
        let dated = has(Known::Date) > 0;
        // Exact: a table that is larger by a little may be twice as large.
        let fields = response.headers.len() + 2 - has(Known::Date) - has(Known::ContentLength);
        let mut map = HeaderMap::with_capacity(fields);
        fields::to_send(response.headers, &mut map, |known| known == Known::ContentLength);
        if let Some(length) = length {
            map.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        if !dated {
            map.insert(DATE, self.shared.common.date.value());
        }
        let mut head = http::Response::new(());
        *head.status_mut() = response.status;
        *head.headers_mut() = map;
        (head, if framing == Framing::Empty { Body::empty() } else { response.body })
    }

    /// Sends a body to its end; a stream on which that is not possible is reset.
    async fn send(&self, outgoing: &mut Outgoing, stream: &mut SendStream<Bytes>) -> Result<(), Failure> {
        let patience = self.shared.common.timeouts.write;
        match poll_fn(|cx| outgoing.poll(stream, patience, cx)).await {
            Ok(()) => Ok(()),
            Err(Broken::Body(failure)) => {
                // What was sent must not look whole.
                stream.send_reset(h2::Reason::INTERNAL_ERROR);
                Err(failure)
            }
            Err(Broken::Closed(error)) => Err(Failure::new(Reason::ClientClosed).source(error)),
            Err(Broken::Stalled) => {
                stream.send_reset(h2::Reason::CANCEL);
                Err(Failure::new(Reason::WriteTimeout))
            }
        }
    }
}

/// Sends the interim responses that wait.
fn hand_on(interim: &Interim, respond: &mut SendResponse<Bytes>) {
    while let Some((status, headers)) = interim.take() {
        let mut head = http::Response::new(());
        *head.status_mut() = status;
        fields::to_send(headers, head.headers_mut(), |known| known == Known::ContentLength);
        if respond.send_informational(head).is_err() {
            interim.drop_one();
        }
    }
}

impl<S: Service> Drop for Stream<S> {
    fn drop(&mut self) {
        self.shared.closed();
    }
}

//! What clients of gRPC are told of a request that is longer than it may be.
//!
//! Other failures they read from the HTTP status (gRPC's "HTTP to gRPC Status Code Mapping"), which has none for 413: it
//! would be UNKNOWN, and a stream that is cut INTERNAL. Both look like faults; this one is a limit, and gRPC has a status
//! for that.

use std::task::{Context, Poll};

use polygate_pipeline::{
    Body, BodyStream, Exchange, Failure, Frame, Headers, Known, Reason, Request, Response, StatusCode,
    Version,
};

const CONTENT_TYPE: &[u8] = b"application/grpc";
/// RESOURCE_EXHAUSTED.
const EXHAUSTED: &[u8] = b"8";
/// All of it may stand in `grpc-message` as it is.
const MESSAGE: &[u8] = b"the request is longer than this route allows";

/// Whether a request is gRPC's own, and not gRPC-Web, which has its trailers in the body.
pub(crate) fn is_spoken(request: &Request) -> bool {
    let content_type = request.headers.known(Known::ContentType).unwrap_or_default();
    let rest = content_type
        .split_at_checked(CONTENT_TYPE.len())
        .and_then(|(name, rest)| name.eq_ignore_ascii_case(CONTENT_TYPE).then_some(rest));
    request.version == Version::Http2
        && rest.is_some_and(|rest| matches!(rest, [] | [b'+' | b';' | b' ', ..]))
}

/// The response to a failure, where gRPC has one of its own: a head that is the end as well ("trailers-only").
pub(crate) fn response(failure: &Failure) -> Option<Response> {
    if failure.reason() != Reason::BodyTooLarge {
        return None;
    }
    let mut response = Response::new(StatusCode::OK);
    response.headers = status();
    // The name and the value are constant and valid.
    let _ = response.headers.set("content-type", CONTENT_TYPE);
    Some(response)
}

/// Has a response that has begun end with gRPC's status when its request turns out to be too long.
pub(crate) fn watch(response: &mut Response, exchange: &Exchange) {
    // With a length nothing can come in the place of what is missing.
    if response.body.length().is_none() && !response.body.is_tunnel() {
        let body = std::mem::take(&mut response.body);
        response.body = Body::stream(Watched { body, exchange: exchange.clone() });
    }
}

fn status() -> Headers {
    let mut fields = Headers::new();
    // The names and values are constant and valid.
    let _ = fields.set("grpc-status", EXHAUSTED);
    let _ = fields.set("grpc-message", MESSAGE);
    fields
}

struct Watched {
    body: Body,
    exchange: Exchange,
}

impl BodyStream for Watched {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Failure>>> {
        // After a failure the body is empty: the trailers are the end.
        match self.body.poll_frame(cx) {
            Poll::Ready(Some(Err(failure))) if failure.reason() == Reason::BodyTooLarge => {
                self.exchange.fail(&failure);
                Poll::Ready(Some(Ok(Frame::Trailers(status()))))
            }
            polled => polled,
        }
    }

    fn poll_progress(&mut self, cx: &mut Context<'_>) {
        self.body.poll_progress(cx);
    }

    fn length(&self) -> Option<u64> {
        self.body.length()
    }
}

#[cfg(test)]
mod tests {
    use polygate_pipeline::{Method, Target};

    use super::*;

    #[test]
    fn grpc_is_known_by_its_content_type_over_http2() {
        let request = |version, content_type: &str| {
            let mut request = Request::new(Method::POST, Target::parse("http://a/t.T/One").unwrap());
            request.version = version;
            request.headers.set("content-type", content_type.as_bytes()).unwrap();
            is_spoken(&request)
        };
        for spoken in ["application/grpc", "Application/gRPC+proto", "application/grpc;x=y"] {
            assert!(request(Version::Http2, spoken) && !request(Version::Http11, spoken), "{spoken}");
        }
        for other in ["", "application/grpc-web", "application/grpc-web+proto", "application/json"] {
            assert!(!request(Version::Http2, other), "{other}");
        }
    }
}

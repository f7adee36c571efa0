//! The head of a request as HTTP/2 has it.
//!
//! Source: RFC 9113 8.3.1 and 8.2.2.

use http::uri::{Authority, PathAndQuery, Scheme as UriScheme, Uri};
use http::{HeaderValue, Request as Head, header};
use polygate_http1::Framing;
use polygate_http1::encode::request_framing;
use polygate_pipeline::{Failure, Headers, Known, Method, Reason, Request, Scheme};

use crate::http2::fields;

/// Takes the head out of a request, and how long its body is, when that is known.
///
/// # Errors
/// When host or path cannot be written as HTTP/2 has them.
pub(super) fn request(request: &Request) -> Result<(Head<()>, Option<u64>), Failure> {
    let expects_body = matches!(request.method, Method::POST | Method::PUT | Method::PATCH);
    let headers = &request.headers;
    let length = match request_framing(&request.body) {
        Framing::Length(length) => Some(length),
        Framing::Empty if expects_body || headers.known(Known::ContentLength).is_some() => Some(0),
        _ => None,
    };
    let mut head = Head::new(());
    *head.method_mut() = request.method.clone();
    *head.version_mut() = http::Version::HTTP_2;
    *head.uri_mut() = uri(request)?;
    let map = head.headers_mut();
    map.reserve(headers.len() + 2);
    let drop = |known| matches!(known, Known::Host | Known::Expect | Known::ContentLength);
    // The request may have to be sent again: what it holds is shared, not taken.
    fields::to_send(headers.clone(), map, drop);
    if let Some(length) = length {
        map.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    if takes_trailers(headers) {
        map.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    Ok((head, length))
}

/// Whether trailers are welcome: the one thing that `te` may say, and that gRPC wants to hear.
fn takes_trailers(headers: &Headers) -> bool {
    let is_trailers = |item: &[u8]| item.trim_ascii().eq_ignore_ascii_case(b"trailers");
    headers.all_known(Known::Te).any(|value| value.split(|&byte| byte == b',').any(is_trailers))
}

fn uri(request: &Request) -> Result<Uri, Failure> {
    let target = &request.target;
    let host = request.headers.known(Known::Host).unwrap_or(target.authority().as_bytes());
    let wrong = |what: &str| Failure::new(Reason::BadRequest).detail(format!("{what} is malformed"));
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(match target.scheme() {
        Scheme::Http => UriScheme::HTTP,
        Scheme::Https => UriScheme::HTTPS,
    });
    parts.authority = Some(Authority::try_from(host).map_err(|_| wrong("the host"))?);
    let path = PathAndQuery::try_from(target.path_and_query());
    parts.path_and_query = Some(path.map_err(|_| wrong("the request target"))?);
    Uri::from_parts(parts).map_err(|_| wrong("the request target"))
}

#[cfg(test)]
mod tests {
    use polygate_pipeline::{Body, Target, Version};

    use super::*;

    fn made(method: Method, fields: &[(&str, &str)], body: Body) -> Head<()> {
        let target = Target::parse("http://up.test:81/a?b").unwrap();
        let headers = fields.iter().copied().collect();
        let given = Request { method, target, version: Version::Http11, headers, upgrade: None, body };
        request(&given).unwrap().0
    }

    #[test]
    fn what_belongs_to_one_connection_stays_behind() {
        let fields = [
            ("Host", "shop.test"),
            ("TE", "gzip, Trailers"),
            ("Transfer-Encoding", "chunked"),
            ("Expect", "100-continue"),
            ("Content-Length", "77"),
            ("X-One", "1"),
        ];
        let head = made(Method::POST, &fields, Body::full("hello"));
        assert_eq!(head.uri(), "http://shop.test/a?b");
        let mut sent: Vec<_> =
            head.headers().iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
        sent.sort_unstable();
        assert_eq!(sent, [("content-length", "5"), ("te", "trailers"), ("x-one", "1")]);
    }

    #[test]
    fn the_target_is_the_authority_without_a_host() {
        let head = made(Method::GET, &[("te", "gzip")], Body::empty());
        assert_eq!(head.uri(), "http://up.test:81/a?b");
        assert!(head.headers().is_empty());
        let head = made(Method::PUT, &[], Body::empty());
        assert_eq!(head.headers()["content-length"], "0");
    }
}

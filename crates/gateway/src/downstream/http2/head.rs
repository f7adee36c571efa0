//! The head of a request: from pseudo-header fields to the form in which it goes through the pipeline.
//!
//! Source: RFC 9113 8.3.1 and 8.2. What the `h2` crate lets pass and HTTP/1.1 would be read differently for is malformed
//! here.

use h2::ext::Protocol;
use http::request::Parts;
use polygate_http1::{check_authority, content_length};
use polygate_pipeline::{Body, Failure, Headers, Known, Method, Reason, Request, Scheme, Target, Version};
use polygate_plan::Limits;

use super::tunnel;
use crate::http2::fields;
use crate::service::Refusal;

/// Bytes that each field counts for beyond its name and value (RFC 9113 10.5.1).
const FIELD_OVERHEAD: usize = 32;
/// No method is longer.
const MAX_METHOD: usize = 32;

/// Why a head is not taken.
pub(super) enum NoRequest {
    /// It is answered with an error.
    Refuse(Box<Refusal>),
    /// It is malformed: the stream is reset (RFC 9113 8.1.1).
    Malformed(Box<Refusal>),
}

/// A request without its body, and the length that it promises.
pub(super) type Headed = (Request, Option<u64>);

/// Makes a request of a head.
pub(super) fn request(parts: Parts, scheme: Scheme, limits: &Limits) -> Result<Headed, NoRequest> {
    let refusal = |failure: Failure, target: Option<Target>| {
        let method = (parts.method.as_str().len() <= MAX_METHOD).then(|| parts.method.clone());
        Box::new(Refusal { failure, method, target, version: Version::Http2 })
    };
    let refuse =
        |reason: Reason, detail: &str| NoRequest::Refuse(refusal(Failure::new(reason).detail(detail), None));
    let malformed =
        |detail: &str| NoRequest::Malformed(refusal(Failure::new(Reason::BadRequest).detail(detail), None));
    let map = &parts.headers;
    let cost = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        name.as_str().len() + value.len() + FIELD_OVERHEAD
    };
    if map.len() > limits.header_fields {
        return Err(refuse(Reason::HeadersTooLarge, "the head has too many fields"));
    }
    if map.iter().map(cost).sum::<usize>() as u64 > limits.head.bytes() {
        return Err(refuse(Reason::HeadersTooLarge, "the head is too long"));
    }
    if map.values().any(|value| value.len() as u64 > limits.header_line.bytes()) {
        return Err(refuse(Reason::HeadersTooLarge, "a field of the head is too long"));
    }
    // An extended one is something else (RFC 8441 4).
    let protocol = parts.extensions.get::<Protocol>().map(Protocol::as_str);
    if (parts.method == Method::CONNECT && protocol.is_none()) || parts.method.as_str().len() > MAX_METHOD {
        return Err(refuse(Reason::MethodNotImplemented, "the method is not served"));
    }
    let path = parts.uri.path_and_query().map(|path| path.as_str()).filter(|path| !path.is_empty());
    let Some(path) = path else { return Err(malformed("there is no :path")) };
    if path.len() as u64 > limits.uri.bytes() {
        return Err(refuse(Reason::UriTooLong, "the request target is too long"));
    }
    if path == "*" && parts.method != Method::OPTIONS {
        return Err(malformed("the request target is malformed"));
    }
    let mut headers = fields::received(map).map_err(|error| malformed(error.as_str()))?;
    let authority = authority(parts.uri.authority().map(http::uri::Authority::as_str), &headers);
    let authority = authority.map_err(malformed)?;
    let target = Target::new(scheme, authority, path);
    let target = target.map_err(|_| malformed("the request target is malformed"))?;
    // Layers and upstreams find it where HTTP/1.1 has it (RFC 9113 8.3.1).
    if headers.known(Known::Host).is_none() && headers.append("host", target.authority().as_bytes()).is_err()
    {
        return Err(malformed("the authority is malformed"));
    }
    let upgrade = protocol.map(|protocol| tunnel::wish(protocol, &mut headers)).transpose();
    let upgrade = upgrade.map_err(malformed)?;
    let length = length(&headers).map_err(malformed)?;
    if let Some(value) = headers.known(Known::Expect)
        && !value.eq_ignore_ascii_case(b"100-continue")
    {
        let failure = Failure::new(Reason::ExpectationFailed).detail("the expectation cannot be met");
        return Err(NoRequest::Refuse(refusal(failure, Some(target))));
    }
    let method = if upgrade.is_some() { Method::GET } else { parts.method };
    let request = Request { method, target, version: Version::Http2, headers, upgrade, body: Body::empty() };
    Ok((request, length))
}

/// What the head says of its body's length, which the crate holds the body to.
fn length(headers: &Headers) -> Result<Option<u64>, &'static str> {
    let mut lengths = headers.all_known(Known::ContentLength).map(content_length);
    match (lengths.next(), lengths.next()) {
        (None, _) => Ok(None),
        (Some(Ok(length)), None) => Ok(Some(length)),
        _ => Err("Content-Length is malformed or doubled"),
    }
}

/// The authority, of which `:authority` and `host` must say the same.
fn authority<'a>(pseudo: Option<&'a str>, headers: &'a Headers) -> Result<&'a str, &'static str> {
    const BAD: &str = "the authority is missing, doubled or malformed";
    let mut hosts = headers.all_known(Known::Host);
    let host = match (hosts.next(), hosts.next()) {
        (None, _) => None,
        (Some(host), None) => Some(check_authority(host).map_err(|_| BAD)?),
        _ => return Err(BAD),
    };
    let pseudo = pseudo.map(|text| check_authority(text.as_bytes())).transpose().map_err(|_| BAD)?;
    match (pseudo, host) {
        (Some(pseudo), Some(host)) if !pseudo.eq_ignore_ascii_case(host) => {
            Err(":authority and Host say different things")
        }
        (Some(authority), _) | (None, Some(authority)) => Ok(authority),
        (None, None) => Err(BAD),
    }
}

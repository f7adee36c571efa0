//! Response compression: after the pipeline, for clients that accept it, when nobody within has encoded already.
//!
//! Bodies that are in memory are compressed whole; others piece by piece as they come, a bounded amount at each poll, so
//! that a large response does not hold up the worker. What was read is handed on at once when the body pauses: a
//! client sees of a slow stream what it would see without compression.

mod accept;
mod body;
mod encoder;
#[cfg(test)]
mod tests;

use polygate_http1::content_length;
use polygate_pipeline::{Body, Headers, Known, Method, Request, Response, StatusCode};
use polygate_plan::{Coding, Compression};

use self::body::{CompressedBody, compress_whole};

const ETAG: &str = "etag";
const VARY: &str = "vary";
const ACCEPT_ENCODING: &str = "Accept-Encoding";

/// The coding that a client likes best, read from its request before policies change it. `None` when it takes responses
/// as they are, and for HEAD, whose answers have no body.
pub(crate) fn accepted(settings: &Compression, request: &Request) -> Option<Coding> {
    if request.method == Method::HEAD { None } else { accept::choose(settings, &request.headers) }
}

/// Compresses a response when that is allowed and worth it.
pub(crate) fn apply(settings: &Compression, accepted: Option<Coding>, response: &mut Response) {
    if !is_eligible(settings, response) {
        return;
    }
    // From here on it depends on what the client accepts, also for those who get it as it is.
    vary(&mut response.headers);
    let Some(coding) = accepted.filter(|_| !response.body.is_empty()) else { return };
    let body = std::mem::take(&mut response.body);
    let level = settings.level(coding);
    response.body = match body.as_full() {
        Some(bytes) if bytes.len() <= body::WHOLE => match compress_whole(coding, level, bytes) {
            Some(smaller) => Body::full(smaller),
            // What does not shrink is better left alone.
            None => {
                response.body = body;
                return;
            }
        },
        _ => Body::stream(CompressedBody::new(coding, level, body)),
    };
    let headers = &mut response.headers;
    // All of these names and values are well-formed.
    let _ = headers.set("Content-Encoding", coding.as_str().as_bytes());
    headers.remove_known(Known::ContentLength);
    // Ranges of the encoded form are not to be had, and another form has another strong tag (RFC 9110 8.8.3).
    headers.remove("accept-ranges");
    headers.remove("content-md5");
    headers.remove("digest");
    headers.remove("content-digest");
    let weak = headers.get(ETAG).filter(|tag| tag.starts_with(b"\"")).map(|tag| [b"W/", tag].concat());
    if let Some(weak) = weak {
        let _ = headers.set("ETag", &weak);
    }
}

fn is_eligible(settings: &Compression, response: &Response) -> bool {
    let headers = &response.headers;
    let status = response.status;
    let bodiless = status.is_informational()
        || matches!(
            status,
            StatusCode::NO_CONTENT
                | StatusCode::RESET_CONTENT
                | StatusCode::PARTIAL_CONTENT
                | StatusCode::NOT_MODIFIED
        );
    if bodiless || headers.known(Known::ContentEncoding).is_some() || headers.contains("content-range") {
        return false;
    }
    let length = match response.body.length() {
        // The answer to HEAD has a length, but no body. What it says of caches must be what the one to GET says.
        Some(0) => headers.known(Known::ContentLength).and_then(|told| content_length(told).ok()).or(Some(0)),
        length => length,
    };
    if length.is_some_and(|length| length < settings.min_size.bytes()) {
        return false;
    }
    let Some(content_type) = headers.known(Known::ContentType) else { return false };
    settings.takes(content_type) && !says_no_transform(headers)
}

/// `Cache-Control: no-transform` (RFC 9111 5.2.2.6).
fn says_no_transform(headers: &Headers) -> bool {
    let says = |value: &[u8]| {
        let mut directives = value.split(|&b| b == b',');
        directives.any(|directive| directive.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
    };
    headers.all_known(Known::CacheControl).any(says)
}

fn vary(headers: &mut Headers) {
    let names = |value: &[u8]| {
        let mut names = value.split(|&b| b == b',').map(<[u8]>::trim_ascii);
        names.any(|name| name == b"*" || name.eq_ignore_ascii_case(ACCEPT_ENCODING.as_bytes()))
    };
    if !headers.get_all(VARY).any(names) {
        // Name and value are well-formed.
        let _ = headers.append("Vary", ACCEPT_ENCODING.as_bytes());
    }
}

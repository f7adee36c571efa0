//! Error responses: one function makes them all, as problem details (RFC 9457).

use polygate_pipeline::{Body, Failure, RequestId, Response};
use serde_json::{Map, Value};

/// The response to a failure: status, title, the reason's name and the request id, and what a plugin meant for the
/// client. Nothing of the failure's detail is shown.
pub fn problem(failure: &Failure, id: &RequestId, instance: &str) -> Response {
    let status = failure.status();
    let mut members = Map::new();
    members.insert("type".into(), "about:blank".into());
    members.insert("title".into(), title(status).into());
    members.insert("status".into(), status.as_u16().into());
    members.insert("instance".into(), instance.into());
    members.insert("reason".into(), failure.reason().as_str().into());
    members.insert("requestId".into(), id.as_str().into());
    if let Some(extensions) = failure.extension_members() {
        for (name, value) in extensions {
            members.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    let mut response = Response::new(status);
    // The name and value are constant and valid.
    let _ = response.headers.append("content-type", b"application/problem+json");
    response.body = Body::full(Value::Object(members).to_string());
    response
}

fn title(status: http::StatusCode) -> &'static str {
    match status.as_u16() {
        // Not registered; the name that nginx gave it, which operators know.
        499 => "Client Closed Request",
        _ => status.canonical_reason().unwrap_or("Error"),
    }
}

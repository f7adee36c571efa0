//! The echo service of `dev`: an upstream that answers every request with what it received, so that a project can be
//! tried without one.

use std::net::TcpListener;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::http::{Answer, on_thread, serve};

/// Connections at a time.
const MAX_CONNECTIONS: usize = 4_096;

/// Bytes of a body that are echoed; a longer one is refused.
const MAX_BODY: usize = 4 << 20;

/// Starts the service on `listener`, for as long as the process lives.
///
/// # Errors
/// When there is no thread to be had.
pub(crate) fn start(listener: TcpListener) -> std::io::Result<()> {
    let (_, never) = watch::channel(false);
    on_thread("polygate-echo", move || serve(listener, MAX_CONNECTIONS, never, echo))
}

/// `method`, `url`, `headers` as pairs in the order received, and `body` as text (null when it is not UTF-8).
async fn echo(request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MAX_BODY).collect().await.map(|body| body.to_bytes()) else {
        return answer(413, &json!({ "error": "the echo service takes 4 MiB" }));
    };
    let headers: Vec<Value> = head
        .headers
        .iter()
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
        .collect();
    answer(
        200,
        &json!({
            "method": head.method.as_str(),
            "url": head.uri.to_string(),
            "headers": headers,
            "body": std::str::from_utf8(&body).ok(),
        }),
    )
}

fn answer(status: u16, body: &Value) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    let json = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, json);
    response
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn a_request_comes_back_as_json() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        start(listener).unwrap();
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        let request = "POST /a?b=1 HTTP/1.1\r\nHost: x\r\nX-B: 1\r\nX-A: 2\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi";
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!(
            (&body["method"], &body["url"], &body["body"]),
            (&"POST".into(), &"/a?b=1".into(), &"hi".into())
        );
        assert_eq!(body["headers"][1], json!(["x-b", "1"]));
    }
}

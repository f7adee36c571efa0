//! The admin API: what runs, what was refused, what passes through. JSON, on loopback unless told otherwise.
//!
//! It changes nothing but by `POST /reload` and `PUT /log`. Pages of other origins cannot use it: no CORS, requests with a foreign
//! `Origin` are refused, and on loopback a `Host` that is a name other than `localhost` is refused as well (DNS
//! rebinding).

mod certificates;
mod log;
pub(crate) mod metrics;
mod upstreams;
mod views;

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{ALLOW, CONTENT_TYPE, HOST, HeaderValue, ORIGIN};
use hyper::{HeaderMap, Method, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::http::{Answer, on_thread, serve};
use crate::state::{Cause, Command, Reload, State};

/// Connections at a time.
const MAX_CONNECTIONS: usize = 64;

/// Bytes of a request's body.
const MAX_BODY: usize = 16 << 10;

/// What there is: method, path, what it tells.
const ENDPOINTS: &[(&str, &str, &str)] = &[
    ("GET", "/health/live", "whether the process runs"),
    ("GET", "/health/ready", "whether it takes requests: 503 while stopping or when nothing is deployed"),
    ("GET", "/status", "the running deployment, the change that was refused last and why, memory"),
    ("GET", "/routes", "the routes, in the order in which they are tried"),
    ("GET", "/upstreams", "the named upstreams: endpoints, their health and why, requests under way, counts"),
    ("GET", "/certificates", "certificates in use, and the domains that some are obtained for by ACME"),
    ("GET", "/metrics", "counts and durations in the text format of Prometheus"),
    (
        "GET",
        "/exchanges",
        "exchanges of late with what each layer did; ?limit=50&route=TEXT&status=404 or 5xx",
    ),
    ("GET", "/exchanges/{id}", "one exchange, by its request id"),
    ("POST", "/reload", "builds the project again and deploys it"),
    ("GET", "/log", "the level of log lines"),
    ("PUT", "/log", "changes it: {\"level\": \"debug\", \"targets\": {\"polygate_gateway\": \"debug\"}}"),
];

/// Starts the API on `listener`, for as long as the process lives.
///
/// # Errors
/// When there is no thread to be had.
pub(crate) fn start(listener: TcpListener, state: Arc<State>) -> std::io::Result<()> {
    let address = listener.local_addr()?;
    on_thread("polygate-admin", move || {
        let left = state.admin_left();
        serve(listener, MAX_CONNECTIONS, left, move |request| {
            let state = state.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = match head.method {
                    Method::PUT => Limited::new(body, MAX_BODY).collect().await.map(|body| body.to_bytes()),
                    _ => Ok(Bytes::new()),
                };
                let Ok(body) = body else {
                    return problem(413, "Content Too Large", "the admin API takes 16 KiB");
                };
                let asked = Asked {
                    method: &head.method,
                    path: head.uri.path(),
                    query: head.uri.query().unwrap_or(""),
                    headers: &head.headers,
                    body: &body,
                };
                respond(&state, address, &asked).await
            }
        })
    })
}

struct Asked<'a> {
    method: &'a Method,
    path: &'a str,
    query: &'a str,
    headers: &'a HeaderMap,
    /// Read for `PUT` alone.
    body: &'a [u8],
}

async fn respond(state: &State, address: SocketAddr, asked: &Asked<'_>) -> Answer {
    if !is_own(address, asked.headers) {
        return problem(403, "Forbidden", "the admin API answers neither other origins nor other host names");
    }
    let (reading, writing) =
        (matches!(*asked.method, Method::GET | Method::HEAD), *asked.method == Method::POST);
    match asked.path {
        "/reload" if writing => reload(state).await,
        "/reload" => not_allowed("POST"),
        "/log" if reading => log::show(state),
        "/log" if *asked.method == Method::PUT => log::change(state, asked.body),
        "/log" => not_allowed("GET, HEAD, PUT"),
        "/health/live" if reading => json_answer(200, &json!({ "status": "live" })),
        "/health/ready" if reading => ready(state),
        "/status" if reading => json_answer(200, &views::status(state)),
        "/routes" if reading => json_answer(200, &views::routes(state)),
        "/upstreams" if reading => json_answer(200, &upstreams::view(state)),
        "/certificates" if reading => json_answer(200, &certificates::view(state)),
        "/metrics" if reading => {
            text_answer(200, "text/plain; version=0.0.4; charset=utf-8", metrics::text(state))
        }
        "/exchanges" if reading => match views::Filter::parse(asked.query) {
            Ok(filter) => json_answer(200, &views::exchanges(state, &filter)),
            Err(detail) => problem(400, "Bad Request", &detail),
        },
        path if reading && path.starts_with("/exchanges/") => {
            let id = path.trim_start_matches("/exchanges/");
            match views::exchange(state, id) {
                Some(exchange) => json_answer(200, &exchange),
                None => problem(
                    404,
                    "Not Found",
                    "no exchange with this id is kept; old ones make room for new ones",
                ),
            }
        }
        path if ENDPOINTS.iter().any(|(_, known, _)| *known == path) => not_allowed("GET, HEAD"),
        _ => unknown(),
    }
}

/// Whether a request comes from whom the API is for.
fn is_own(address: SocketAddr, headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
    let same_origin = match headers.get(ORIGIN).map(|origin| origin.to_str().unwrap_or("")) {
        Some(origin) => origin.split_once("://").is_some_and(|(_, authority)| authority == host),
        None => true,
    };
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((literal, _)) => literal,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let own_name = name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok();
    same_origin && (own_name || !address.ip().is_loopback())
}

fn ready(state: &State) -> Answer {
    // After an upgrade the new process answers for both: a question that this one still got must not take the gateway
    // out of service.
    let word = if state.is_stopping() && !state.is_handed_over() {
        "stopping"
    } else if state.running_id().is_none() {
        "nothing deployed"
    } else {
        return json_answer(200, &json!({ "status": "ready" }));
    };
    json_answer(503, &json!({ "status": word }))
}

async fn reload(state: &State) -> Answer {
    let (reply, answer) = oneshot::channel();
    let stopping = || problem(503, "Service Unavailable", "the process is stopping");
    if state.commands.send(Command::Reload(Cause::Admin, Some(reply))).is_err() {
        return stopping();
    }
    match answer.await {
        Ok(Reload::Deployed(id, took)) => {
            let took_ms = took.as_millis() as u64;
            json_answer(200, &json!({ "outcome": "deployed", "deployment": id, "took_ms": took_ms }))
        }
        Ok(Reload::Unchanged) => {
            json_answer(200, &json!({ "outcome": "unchanged", "deployment": state.running_id() }))
        }
        Ok(Reload::Refused(diagnostics)) => {
            json_answer(422, &json!({ "outcome": "refused", "diagnostics": diagnostics }))
        }
        Err(_) => stopping(),
    }
}

fn unknown() -> Answer {
    let endpoints: Vec<Value> = ENDPOINTS
        .iter()
        .map(|(method, path, what)| json!({ "method": method, "path": path, "what": what }))
        .collect();
    let body = json!({ "type": "about:blank", "title": "Not Found", "status": 404, "endpoints": endpoints });
    problem_answer(404, &body)
}

fn not_allowed(allowed: &'static str) -> Answer {
    let mut answer = problem(405, "Method Not Allowed", &format!("this takes {allowed}"));
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

fn problem(status: u16, title: &str, detail: &str) -> Answer {
    problem_answer(
        status,
        &json!({ "type": "about:blank", "title": title, "status": status, "detail": detail }),
    )
}

fn problem_answer(status: u16, body: &Value) -> Answer {
    text_answer(status, "application/problem+json", format!("{body:#}\n"))
}

fn json_answer(status: u16, body: &Value) -> Answer {
    // Indented: people read it with curl, and machines do not mind.
    text_answer(status, "application/json", format!("{body:#}\n"))
}

fn text_answer(status: u16, content_type: &'static str, text: String) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests;

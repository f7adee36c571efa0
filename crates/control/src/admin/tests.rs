use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use polygate_gateway::Deployment;
use polygate_pipeline::{Diagnostic, LogLevel};
use polygate_plan::Plan;

use super::*;
use crate::state::Mode;

const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8081);

fn state() -> (Arc<State>, Receiver<Command>) {
    let (commands, receiver) = channel();
    (Arc::new(State::new("1.2.3", Mode::Dev, "shop".to_owned(), "/shop".into(), commands)), receiver)
}

fn deployment() -> Arc<Deployment> {
    let plan = Plan {
        root: "/shop".into(),
        settings: Default::default(),
        variables: Default::default(),
        policies: Vec::new(),
        routes: Vec::new(),
    };
    Arc::new(Deployment::build(plan, &[]).0.unwrap())
}

fn ask_with(state: &State, method: Method, uri: &str, headers: &[(&str, &str)]) -> (u16, String, Value) {
    send(state, method, uri, headers, "")
}

fn send(
    state: &State,
    method: Method,
    uri: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, String, Value) {
    let mut map = HeaderMap::new();
    map.insert(HOST, HeaderValue::from_static("127.0.0.1:8081"));
    for (name, value) in headers {
        let name = hyper::header::HeaderName::from_bytes(name.as_bytes()).unwrap();
        map.insert(name, HeaderValue::from_str(value).unwrap());
    }
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let asked = Asked { method: &method, path, query, headers: &map, body: body.as_bytes() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answer = runtime.block_on(respond(state, LOOPBACK, &asked));
    let content_type = answer.headers()[CONTENT_TYPE].to_str().unwrap().to_owned();
    let status = answer.status().as_u16();
    let body = runtime.block_on(answer.into_body().collect()).unwrap().to_bytes();
    (status, content_type, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

fn ask(state: &State, method: Method, uri: &str) -> (u16, String, Value) {
    ask_with(state, method, uri, &[])
}

#[test]
fn readiness_follows_the_deployment() {
    let (state, _commands) = state();
    assert_eq!(ask(&state, Method::GET, "/health/live").0, 200);
    assert_eq!(ask(&state, Method::GET, "/health/ready").0, 503);
    state.update(|deployments| deployments.deployed(deployment(), Duration::from_millis(5)));
    assert_eq!(ask(&state, Method::GET, "/health/ready").0, 200);
    state.stop();
    let (status, _, body) = ask(&state, Method::GET, "/health/ready");
    assert_eq!((status, &body["status"]), (503, &"stopping".into()));
    // A new process serves in its place.
    state.hand_over();
    assert_eq!(ask(&state, Method::GET, "/health/ready").0, 200);
    assert_eq!(ask(&state, Method::GET, "/health/live").0, 200);
}

#[test]
fn status_says_what_runs_and_what_was_refused() {
    let (state, _commands) = state();
    state.update(|deployments| deployments.deployed(deployment(), Duration::from_millis(5)));
    state.update(|deployments| deployments.refuse(vec![Diagnostic::error("unknown-field", "no such field")]));
    let (status, _, body) = ask(&state, Method::GET, "/status");
    assert_eq!(status, 200);
    assert_eq!(
        (&body["version"], &body["mode"], &body["project"]["name"]),
        (&"1.2.3".into(), &"dev".into(), &"shop".into())
    );
    assert_eq!(body["running"]["deployment"], deployment().id());
    assert_eq!(body["refused"]["diagnostics"][0]["code"], "unknown-field");
    assert_eq!(body["refused"]["newer_than_running"], true);
    assert_eq!(body["reloads"], json!({ "ok": 0, "refused": 1 }));
    state.update(|deployments| deployments.deployed(deployment(), Duration::from_millis(5)));
    let (_, _, body) = ask(&state, Method::GET, "/status");
    assert_eq!(body["refused"]["newer_than_running"], false);
    assert_eq!(body["reloads"], json!({ "ok": 1, "refused": 1 }));
}

#[test]
fn unknown_paths_and_methods_are_told_what_there_is() {
    let (state, _commands) = state();
    let (status, content_type, body) = ask(&state, Method::GET, "/statuss");
    assert_eq!((status, content_type.as_str()), (404, "application/problem+json"));
    assert_eq!(body["endpoints"].as_array().unwrap().len(), ENDPOINTS.len());
    assert_eq!(ask(&state, Method::POST, "/status").0, 405);
    assert_eq!(ask(&state, Method::GET, "/reload").0, 405);
    assert_eq!(ask(&state, Method::GET, "/exchanges?limit=x").0, 400);
    assert_eq!(ask(&state, Method::GET, "/exchanges/nope").0, 404);
    assert_eq!(ask(&state, Method::GET, "/exchanges").2, json!({ "kept": 0, "exchanges": [] }));
}

#[test]
fn other_origins_and_rebound_names_are_refused() {
    let (state, _commands) = state();
    for (headers, expected) in [
        (vec![("host", "evil.example:8081")], 403),
        (vec![("origin", "http://evil.example")], 403),
        (vec![("origin", "null")], 403),
        (vec![("host", "localhost:8081"), ("origin", "http://localhost:8081")], 200),
        (vec![("host", "[::1]:8081")], 200),
    ] {
        assert_eq!(ask_with(&state, Method::GET, "/status", &headers).0, expected, "{headers:?}");
    }
    // Whoever binds it elsewhere may give it a name.
    let any = SocketAddr::from(([0, 0, 0, 0], 8081));
    let mut named = HeaderMap::new();
    named.insert(HOST, HeaderValue::from_static("gateway.internal:8081"));
    assert!(is_own(any, &named));
}

#[test]
fn a_reload_waits_for_its_outcome() {
    let (state, commands) = state();
    let owner = std::thread::spawn(move || {
        let Ok(Command::Reload(Cause::Admin, Some(reply))) = commands.recv() else { panic!("no reload") };
        reply.send(Reload::Refused(vec![Diagnostic::error("x", "y")])).unwrap();
    });
    let (status, _, body) = ask(&state, Method::POST, "/reload");
    assert_eq!((status, &body["outcome"]), (422, &"refused".into()));
    owner.join().unwrap();
    // Nobody listens any more.
    assert_eq!(ask(&state, Method::POST, "/reload").0, 503);
}

#[test]
fn the_log_level_is_shown_and_changed() {
    let (state, _commands) = state();
    assert_eq!(ask(&state, Method::GET, "/log").2, json!({ "level": "debug", "targets": {} }));
    let change = |body: &str| send(&state, Method::PUT, "/log", &[], body);
    let (status, _, now) = change(r#"{ "level": "warn", "targets": { "h2": "debug" } }"#);
    assert_eq!((status, &now), (200, &json!({ "level": "warn", "targets": { "h2": "debug" } })));
    assert!(state.levels.all.takes(LogLevel::Warn) && !state.levels.all.takes(LogLevel::Info));
    // What is not given stays.
    assert_eq!(change(r#"{ "targets": {} }"#).2, json!({ "level": "warn", "targets": {} }));
    for wrong in ["", "1", "{}", r#"{ "level": "loud" }"#, r#"{ "levle": "info" }"#, r#"{ "targets": 1 }"#] {
        assert_eq!(change(wrong).0, 400, "{wrong}");
    }
    assert_eq!(state.levels.all.get(), LogLevel::Warn);
    assert_eq!(send(&state, Method::POST, "/log", &[], "").0, 405);
    let foreign = [("origin", "http://evil.example")];
    assert_eq!(send(&state, Method::PUT, "/log", &foreign, r#"{ "level": "error" }"#).0, 403);
}

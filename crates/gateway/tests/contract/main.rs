//! The contract over real sockets: streaming filters, composite layers, early answers, replaced bodies, failures and
//! failure policies, each with its X-ray entry.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod client;
mod world;

use std::sync::Arc;
use std::time::Duration;

use client::{Reply, request};
use polygate_gateway::{Deployment, ExchangeRecord, Gateway, GatewayOptions, Inherited, LogThreshold};
use polygate_pipeline::{
    Budget, ByteSize, LogLevel, Method, OnFailure, PluginRef, PolicySpec, Role, RouteInfo, World,
};
use polygate_plan::{AmbiguousPaths, Handler, PathPattern, Plan, PlannedLayer, Policy, Route, Settings};

/// A gateway with one route, `/`, through these layers.
struct House {
    gateway: Gateway,
}

fn policy(module: &str, role: Role, on_failure: OnFailure) -> Policy {
    let budget = Budget { wall: Duration::from_millis(200), on_failure, ..Budget::default() };
    Policy {
        world: "trial".into(),
        spec: PolicySpec {
            name: module.into(),
            plugin: PluginRef { module: module.to_owned(), export: String::new() },
            config: None,
            roles: vec![role],
            budget,
            file: "test".to_owned(),
            span: None,
            export_span: None,
        },
    }
}

fn house(layers: &[&str], on_failure: OnFailure) -> House {
    house_on(Inherited::default(), layers, on_failure)
}

/// The same on these sockets.
fn house_on(mut inherited: Inherited, layers: &[&str], on_failure: OnFailure) -> House {
    let mut policies: Vec<_> =
        layers.iter().map(|module| policy(module, Role::Inbound, on_failure)).collect();
    policies.push(policy("echo", Role::Handler, OnFailure::Closed));
    let info = RouteInfo {
        path: "/".to_owned(),
        methods: vec![Method::GET, Method::POST],
        operation_id: None,
        summary: None,
        handler: ("echo".to_owned(), String::new()),
        inbound: vec![],
        outbound: vec![],
        file: "test".to_owned(),
        raw: Arc::default(),
        label: "POST /".into(),
    };
    let route = Route {
        info: Arc::new(info),
        pattern: PathPattern::open_api("/").unwrap(),
        layers: (0..layers.len()).map(|policy| PlannedLayer { policy, role: Role::Inbound }).collect(),
        handler: Handler::Function(layers.len()),
        ambiguous_paths: AmbiguousPaths::default(),
        body_limit: ByteSize::kib(64),
    };
    let plan = Plan {
        root: std::env::temp_dir(),
        settings: Settings::default(),
        variables: Arc::default(),
        policies,
        routes: vec![route],
    };
    let worlds: [Arc<dyn World>; 1] = [Arc::new(world::Trial)];
    let (deployment, diagnostics) = Deployment::build(plan, &worlds);
    assert_eq!(diagnostics, []);
    let deployment = Arc::new(deployment.unwrap());
    assert_eq!(deployment.trial(), []);
    let options = GatewayOptions {
        address: ([127, 0, 0, 1], 0).into(),
        workers: 1,
        xray_sample: 1,
        log_level: LogThreshold::new(LogLevel::Debug),
        tracing: None,
    };
    House { gateway: Gateway::start(&options, &mut inherited, deployment).unwrap() }
}

impl House {
    fn post(&self, body: &str) -> Reply {
        let length = body.len();
        request(
            self.gateway.address(),
            &format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{body}"),
        )
    }

    /// The X-ray of the last exchange.
    fn xray(&self) -> Arc<ExchangeRecord> {
        // The record is written after the last byte was sent.
        for _ in 0..100 {
            if let Some(record) = self.gateway.exchanges(1).pop() {
                return record;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("no exchange was kept");
    }
}

fn edits(record: &ExchangeRecord, step: usize) -> Vec<String> {
    let edits = record.steps[step].edits.iter();
    edits.map(|edit| format!("{} {}", edit.message, edit.name)).collect()
}

fn verdict(record: &ExchangeRecord, step: usize) -> String {
    serde_json::to_value(&record.steps[step]).unwrap()["verdict"].as_str().unwrap().to_owned()
}

#[test]
fn a_streaming_filter_sees_headers_chunks_and_trailers_of_both_directions() {
    let house = house(&["filter"], OnFailure::Closed);
    let reply = house.post("hello");
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("seen-x-filtered"), Some("request"));
    assert_eq!(reply.header("x-filtered"), Some("response"));
    assert_eq!(reply.body, "HELLO");
    // The request's filter made the trailer, the response's filter added to it.
    assert_eq!(reply.trailer("x-chunks"), Some("1"));
    assert_eq!(reply.trailer("x-outer-chunks"), Some("1"));
    let record = house.xray();
    assert_eq!(
        edits(&record, 0),
        ["request x-filtered", "request :body", "response x-filtered", "response :body"]
    );
    assert_eq!((verdict(&record, 0), verdict(&record, 1)), ("continued".into(), "answered".into()));
    assert_eq!((record.received, record.sent, record.status), (5, 5, 200));
}

#[test]
fn a_composite_layer_runs_its_plugins_in_its_own_order_on_both_sides() {
    let house = house(&["composite"], OnFailure::Closed);
    let reply = house.post("");
    assert_eq!(reply.headers_of("seen-x-access"), ["one", "two"]);
    assert_eq!(reply.headers_of("x-header-filter"), ["one", "two"]);
    assert_eq!(edits(&house.xray(), 0), ["request x-access", "response x-header-filter"]);
}

#[test]
fn an_early_answer_leaves_the_connection_usable() {
    let house = house(&["early"], OnFailure::Closed);
    let two = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nGET /POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n";
    let replies = client::pipeline(house.gateway.address(), two, 2);
    assert_eq!(
        replies.iter().map(|reply| (reply.status, &*reply.body)).collect::<Vec<_>>(),
        [(403, "early"); 2]
    );
    let record = house.xray();
    assert_eq!(verdict(&record, 0), "answered");
    assert_eq!(record.reason.as_str(), "policy_answered");
    assert_eq!(record.steps.len(), 1, "the handler did not run");
}

#[test]
fn both_bodies_can_be_replaced() {
    let house = house(&["replace"], OnFailure::Closed);
    assert_eq!(house.post("original").body, "instead of: another request");
    assert_eq!(edits(&house.xray(), 0), ["request :body", "response :body"]);
}

#[test]
fn a_failing_layer_ends_the_exchange_and_leaks_nothing() {
    let house = house(&["composite", "fail"], OnFailure::Closed);
    let reply = house.post("x");
    assert_eq!((reply.status, reply.header("content-type")), (500, Some("application/problem+json")));
    assert!(!reply.body.contains("secret"), "{}", reply.body);
    let body: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(body["requestId"].as_str(), reply.header("x-request-id"));
    let record = house.xray();
    assert_eq!((verdict(&record, 0), verdict(&record, 1)), ("continued".into(), "failed".into()));
    assert_eq!((record.policy.as_deref(), record.reason.as_str()), (Some("fail"), "policy_error"));
    assert!(record.error.as_deref().unwrap_or("").contains("secret detail"));
}

#[test]
fn a_failing_layer_is_skipped_when_its_failure_policy_is_open() {
    for module in ["fail", "fail-late", "stuck"] {
        let house = house(&[module, "composite"], OnFailure::Open);
        let reply = house.post("kept");
        assert_eq!((reply.status, &*reply.body), (200, "kept"), "{module}");
        assert_eq!(reply.headers_of("seen-x-access"), ["one", "two"], "{module}");
        let record = house.xray();
        assert_eq!(verdict(&record, 0), "skipped", "{module}");
        assert_eq!(
            (verdict(&record, 1), record.reason.as_str()),
            ("continued".into(), "completed"),
            "{module}"
        );
    }
}

#[test]
fn a_layer_that_never_answers_is_ended_by_its_wall_time() {
    let house = house(&["stuck"], OnFailure::Closed);
    let reply = house.post("x");
    assert_eq!(reply.status, 504);
    assert_eq!(house.xray().reason.as_str(), "policy_timeout");
}

#[test]
fn a_worker_whose_event_loop_stands_still_does_not_answer() {
    let house = house(&["hog"], OnFailure::Closed);
    assert!(house.gateway.answers(Duration::from_secs(10)));
    std::thread::scope(|scope| {
        let busy = scope.spawn(|| house.post("x").status);
        while house.gateway.metrics().running == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(!house.gateway.answers(Duration::from_millis(100)));
        assert_eq!(busy.join().unwrap(), 200);
    });
    assert!(house.gateway.answers(Duration::from_secs(10)));
}

#[test]
fn another_gateway_goes_on_with_the_sockets_of_one_that_stops() {
    let first = house(&[], OnFailure::Closed);
    let address = first.gateway.address();
    let sockets = first.gateway.sockets().unwrap();
    let sockets = sockets.into_iter().map(|(name, socket)| (name.to_owned(), socket)).collect();
    assert_eq!(first.gateway.stop(Duration::from_secs(10)), 0);
    assert!(first.gateway.sockets().is_err());
    // Nobody serves: connections wait in the backlog.
    let waiting = std::thread::spawn(move || {
        request(address, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi")
    });
    let second = house_on(Inherited::new(sockets), &[], OnFailure::Closed);
    assert_eq!(second.gateway.address(), address);
    assert_eq!(&*waiting.join().unwrap().body, "hi");
}

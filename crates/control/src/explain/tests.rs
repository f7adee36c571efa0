use std::collections::BTreeMap;

use http::StatusCode;
use polygate_pipeline::{ByteSize, PluginRef, PolicySpec, RouteInfo};
use polygate_plan::{AmbiguousPaths, Forward, ForwardTo, PathPattern, PlannedLayer, Policy, Template};

use super::*;
use crate::paint::Paint;

fn policy(name: &str, role: Role) -> Policy {
    Policy {
        world: Arc::from("zuplo"),
        spec: PolicySpec {
            name: Arc::from(name),
            plugin: PluginRef { module: format!("./modules/{name}"), export: "default".to_owned() },
            config: None,
            roles: vec![role],
            budget: Budget::default(),
            file: "config/policies.json".to_owned(),
            span: None,
            export_span: None,
        },
    }
}

fn route(method: Method, path: &str, layers: Vec<PlannedLayer>, handler: Handler) -> Route {
    Route {
        info: Arc::new(RouteInfo {
            path: path.to_owned(),
            methods: vec![method.clone()],
            operation_id: None,
            summary: None,
            handler: ("$import(@polygate/runtime)".to_owned(), "urlForwardHandler".to_owned()),
            inbound: Vec::new(),
            outbound: Vec::new(),
            file: "config/routes.oas.json".to_owned(),
            raw: Arc::default(),
            label: format!("{method} {path}").into(),
        }),
        pattern: PathPattern::open_api(path).unwrap(),
        ambiguous_paths: AmbiguousPaths::default(),
        body_limit: ByteSize::mib(2),
        layers,
        handler,
    }
}

fn forward(to: ForwardTo) -> Handler {
    Handler::Forward(Forward { to, search: true, follow_redirects: false, upstream: None })
}

fn plan() -> Plan {
    let base = |text: &str| forward(ForwardTo::Base(Template::parse(text).unwrap()));
    let url = |text: &str| forward(ForwardTo::Url(Template::parse(text).unwrap()));
    let variables: BTreeMap<String, String> =
        [("BASE", "http://up.example:9000"), ("API_TOKEN", "hunter2-hunter2")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
    let around = vec![
        PlannedLayer { policy: 0, role: Role::Inbound },
        PlannedLayer { policy: 1, role: Role::Outbound },
    ];
    let location = Template::parse("/new/${params.id}").unwrap();
    Plan {
        root: "/shop".into(),
        settings: Default::default(),
        variables: Arc::new(variables),
        policies: vec![
            policy("need-key", Role::Inbound),
            policy("stamp", Role::Outbound),
            policy("GET /f", Role::Handler),
        ],
        routes: vec![
            route(Method::GET, "/orders/{id}", around, base("${env.BASE}/v1")),
            route(Method::GET, "/{any}/{id}", vec![], base("http://other.example")),
            route(
                Method::POST,
                "/secret",
                vec![],
                url("http://x.example/${env.API_TOKEN}?k=hunter2-hunter2"),
            ),
            route(
                Method::GET,
                "/old/{id}",
                vec![],
                Handler::Redirect { location, status: StatusCode::FOUND },
            ),
            route(Method::GET, "/f", vec![], Handler::Function(2)),
        ],
    }
}

#[test]
fn a_request_is_followed_to_its_destination() {
    let explanation = explain(&plan(), "get", "/orders/a%20b?x=1").unwrap();
    let route = explanation.route.as_ref().unwrap();
    assert_eq!(&*route.name.label, "GET /orders/{id}");
    assert_eq!(route.params, [(Arc::from("id"), "a b".to_owned())]);
    let layers: Vec<_> = route.layers.iter().map(|layer| (&*layer.policy, layer.role)).collect();
    assert_eq!(layers, [("need-key", Role::Inbound), ("stamp", Role::Outbound)]);
    let ExplainedHandler::Forward { to, .. } = &route.handler else { panic!("{:?}", route.handler) };
    assert_eq!(to, "http://up.example:9000/v1/orders/a%20b?x=1");
    assert_eq!(&*explanation.shadowed[0].label, "GET /{any}/{id}");

    assert_eq!(route.body_limit, 2 << 20);

    let text = explanation.text(Paint::new(false));
    let order: Vec<usize> =
        ["route ", "at most 2MiB", "inbound", "need-key", "handler", "outbound", "stamp", "shadowed"]
            .map(|w| text.find(w).unwrap())
            .into();
    assert!(order.is_sorted(), "{text}");
}

#[test]
fn what_matches_nothing_is_told_why() {
    let plan = plan();
    let explanation = explain(&plan, "DELETE", "http://localhost:8080/f").unwrap();
    assert_eq!(&*explanation.other_methods[0].label, "GET /f");
    assert!(explanation.refused.as_ref().unwrap().contains("not with this method"));
    let explanation = explain(&plan, "GET", "/orders").unwrap();
    assert!(explanation.route.is_none());
    assert_eq!(&*explanation.nearest[0].label, "GET /orders/{id}");
    assert!(explanation.text(Paint::new(false)).contains("404"));
}

#[test]
fn paths_that_can_be_read_in_several_ways_go_as_in_the_gateway() {
    let mut plan = plan();
    let refused = |plan: &Plan, path: &str| explain(plan, "GET", path).unwrap().refused;
    assert!(refused(&plan, "/orders//1").unwrap().contains("path_refused"));
    assert!(refused(&plan, "/none/../such").unwrap().contains("path_refused"));
    assert_eq!(refused(&plan, "/%6frders/1"), None);
    plan.routes[0].ambiguous_paths = AmbiguousPaths::Normalize;
    let explanation = explain(&plan, "GET", "/x/../orders//1?y").unwrap();
    assert_eq!((explanation.target.as_str(), explanation.refused), ("/orders/1?y", None));
    plan.routes[0].ambiguous_paths = AmbiguousPaths::Raw;
    let explanation = explain(&plan, "GET", "/x/../orders//1?y").unwrap();
    assert_eq!((explanation.target.as_str(), explanation.refused), ("/x/../orders//1?y", None));
}

#[test]
fn secrets_are_never_shown() {
    let explanation = explain(&plan(), "POST", "/secret").unwrap();
    let (text, json) = (explanation.text(Paint::new(false)), serde_json::to_string(&explanation).unwrap());
    assert!(!text.contains("hunter2") && !json.contains("hunter2"), "{text}");
    assert!(text.contains("http://x.example/<env API_TOKEN>?k=<env API_TOKEN>"), "{text}");
}

#[test]
fn redirects_and_functions_are_named() {
    let plan = plan();
    let json = |url| serde_json::to_value(explain(&plan, "GET", url).unwrap()).unwrap();
    // The earlier route of any two segments would take it.
    assert_eq!(json("/old/7")["route"]["label"], "GET /{any}/{id}");
    let function = &json("/f")["route"]["handler"];
    assert_eq!((&function["kind"], &function["module"]), (&"function".into(), &"./modules/GET /f".into()));
    let mut plan = plan.clone();
    plan.routes.remove(1);
    let redirect = serde_json::to_value(explain(&plan, "GET", "/old/7").unwrap()).unwrap();
    assert_eq!(
        redirect["route"]["handler"],
        serde_json::json!({"kind": "redirect", "location": "/new/7", "status": 302})
    );
}

#[test]
fn nonsense_is_refused() {
    assert!(matches!(explain(&plan(), "G T", "/"), Err(InvalidRequest::Method(_))));
    assert!(matches!(explain(&plan(), "GET", "orders"), Err(InvalidRequest::Url(_))));
}

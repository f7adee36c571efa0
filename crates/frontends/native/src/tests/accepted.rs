//! Projects that are in order, and their plans.

use std::path::Path;
use std::time::Duration;

use http::{Method, StatusCode};
use polygate_pipeline::{ByteSize, LogLevel, OnFailure, Role};
use polygate_plan::{
    AccessFormat, AccessLog, AmbiguousPaths, Coding, ForwardTo, Handler, LineTemplate, LogFormat,
    OtlpProtocol, Plan,
};
use serde_json::json;

use super::{built_in, get, loaded, routes, shown};
use crate::{LoadOptions, load};

fn plan(files: &[(&str, &str)], variables: &[(&str, &str)]) -> Plan {
    let loaded = loaded(files, variables);
    assert_eq!(shown(&loaded.diagnostics), "");
    loaded.plan.unwrap()
}

const POLICIES: &str = r#"{ "policies": [
  { "name": "a", "policyType": "custom-code-inbound",
    "handler": { "export": "default", "module": "$import(./modules/a)",
                 "options": { "key": "$env(KEY)", "none": "$env(NONE)", "mixed": "<$env(KEY)$env(NONE)>",
                              "list": ["$env(NONE)", { "deep": "$env(KEY)" }] } },
    "budget": { "cpu": "5ms", "memory": "64MiB", "subrequests": 2 }, "onFailure": "open" },
  { "name": "b", "handler": { "export": "b", "module": "$import(./modules/lib)" } },
  { "name": "c", "handler": { "export": "c", "module": "$import(./modules/lib)" } },
  { "name": "d", "handler": { "export": "d", "module": "$import(./modules/lib)" } }, // a comment
] }"#;

#[test]
fn a_project_becomes_a_plan() {
    let text = routes(&[(
        "/orders/{id}",
        r#"{ "summary": "x", "get,post": { "operationId": "order", "x-own": 1, "x-zuplo-route": {
            "handler": { "export": "default", "module": "$import(./modules/a)", "options": { "k": "$env(KEY)" } },
            "policies": { "inbound": ["a", "b"], "outbound": ["c", "d"] } } } }"#,
    )]);
    let files = [
        ("config/routes.oas.json", text.as_str()),
        ("config/policies.json", POLICIES),
        ("modules/a.ts", ""),
        ("modules/lib/index.js", ""),
        (".env", "KEY=file\nOTHER=o"),
    ];
    let plan = plan(&files, &[("KEY", "process")]);
    assert_eq!(plan.variables["KEY"], "process");
    assert_eq!(plan.variables["OTHER"], "o");

    let route = &plan.routes[0];
    assert_eq!(&*route.info.label, "GET,POST /orders/{id}");
    assert_eq!(route.info.methods, [Method::GET, Method::POST]);
    assert_eq!(route.info.raw["x-own"], 1);
    // What plugins may read of the configuration holds no secrets.
    assert_eq!(route.info.raw["x-zuplo-route"]["handler"]["options"]["k"], "$env(KEY)");
    let name = |index: usize| &*plan.policies[index].spec.name;
    let layers: Vec<_> = route.layers.iter().map(|layer| (name(layer.policy), layer.role)).collect();
    let expected = [("a", Role::Inbound), ("b", Role::Inbound), ("d", Role::Outbound), ("c", Role::Outbound)];
    assert_eq!(layers, expected);

    let a = &plan.policies[0].spec;
    let options = json!({ "key": "process", "mixed": "<process>", "list": [null, { "deep": "process" }] });
    assert_eq!(a.config, Some(options));
    assert_eq!((a.plugin.module.as_str(), a.plugin.export.as_str()), ("./modules/a", "default"));
    assert_eq!((a.budget.cpu, a.budget.memory), (Duration::from_millis(5), ByteSize::mib(64)));
    assert_eq!((a.budget.subrequests, a.budget.wall), (2, Duration::from_secs(10)));
    assert_eq!((a.budget.on_failure, &a.roles[..]), (OnFailure::Open, &[Role::Inbound][..]));
    assert_eq!(a.span.unwrap().line, 3);

    let Handler::Function(index) = route.handler else { panic!("{:?}", route.handler) };
    let function = &plan.policies[index].spec;
    assert_eq!((&*function.name, &function.roles[..]), ("order", &[Role::Handler][..]));
    assert_eq!(function.config, Some(json!({ "k": "process" })));
}

#[test]
fn built_in_handlers_are_planned() {
    let base =
        built_in("urlForwardHandler", r#"{ "baseUrl": "https://${env.HOST}/v2", "forwardSearch": false }"#);
    let named = built_in("urlForwardHandler", r#"{ "upstream": "orders", "followRedirects": true }"#);
    let rewrite = built_in("urlRewriteHandler", r#"{ "rewritePattern": "http://up/${params.id}" }"#);
    let script = built_in("urlRewriteHandler", r#"{ "rewritePattern": "http://up/${params.id + 1}" }"#);
    let moved = built_in("redirectHandler", r#"{ "location": "/new${search}", "status": 308 }"#);
    let text = routes(&[
        ("/base", &get(&base, "{}")),
        ("/named", &get(&named, "{}")),
        ("/rewrite/{id}", &get(&rewrite, "{}")),
        ("/script/{id}", &get(&script, r#"{ "inbound": ["a"], "outbound": ["b"] }"#)),
        ("/moved", &get(&moved, "{}")),
    ]);
    let policies = r#"{ "policies": [
        { "name": "a", "handler": { "export": "default", "module": "$import(./modules/a)" } },
        { "name": "b", "handler": { "export": "default", "module": "$import(./modules/a)" } } ] }"#;
    let settings = "[upstreams.orders]\ntargets = [\"http://a:1\", \"https://b\"]\nresponse = \"3s\"";
    let files = [
        ("config/r.oas.json", text.as_str()),
        ("config/policies.json", policies),
        ("modules/a.ts", ""),
        ("polygate.toml", settings),
    ];
    let plan = plan(&files, &[("HOST", "h")]);
    let forward = |index: usize| match &plan.routes[index].handler {
        Handler::Forward(forward) => forward,
        other => panic!("{other:?}"),
    };
    assert!(matches!(forward(0).to, ForwardTo::Base(_)) && !forward(0).search);
    assert!(matches!(forward(1).to, ForwardTo::Upstream(0)) && forward(1).follow_redirects);
    assert_eq!(plan.settings.upstreams[0].targets.len(), 2);
    assert_eq!(plan.settings.upstreams[0].connection.response, Duration::from_secs(3));
    assert!(matches!(forward(2).to, ForwardTo::Url(_)) && forward(2).search);
    assert!(matches!(forward(3).to, ForwardTo::Exchange));
    let layers = &plan.routes[3].layers;
    let innermost = &plan.policies[layers[2].policy].spec;
    assert_eq!((layers.len(), layers[2].role), (3, Role::Inbound));
    assert_eq!(
        (innermost.plugin.module.as_str(), innermost.plugin.export.as_str()),
        ("@polygate/runtime", "template")
    );
    let config =
        json!({ "template": "http://up/${params.id + 1}", "mode": "rewrite", "forwardSearch": true });
    assert_eq!(innermost.config, Some(config));
    let Handler::Redirect { status, .. } = &plan.routes[4].handler else { panic!() };
    assert_eq!(*status, StatusCode::PERMANENT_REDIRECT);
}

#[test]
fn settings_are_read() {
    let text = routes(&[("/", &get(&built_in("redirectHandler", r#"{ "location": "/a" }"#), "{}"))]);
    let settings = r#"
        [listen]
        address = "0.0.0.0:80"
        workers = 3
        trusted-proxies = ["10.0.0.1", "::1"]
        request-id-header = "x-rid"
        http2 = false
        upgrade-socket = "run/upgrade.sock"
        [admin]
        address = false
        [limits]
        uri = "4KiB"
        body = 1000
        header-fields = 9
        exchanges = 11
        [limits.http2]
        streams = 7
        stream-window = "64KiB"
        control-frames = 500
        large-heads = 9
        [overload]
        memory = "300MiB"
        close-at = 0.5
        shed-at = 0.5
        lag = "20ms"
        [timeouts]
        head = "1s"
        ready-delay = "5s"
        drain = "2m"
        [budget]
        cpu = "7ms"
        on-failure = "open"
        [connection]
        connect = "250ms"
        pool = 5
        protocol = "http2"
        http2 = { connections = 3, streams = 9, waiting = 0, stream-errors = 5 }
        ca-file = "ca.pem"
        [upstreams.one]
        url = "http://one"
        protocol = "auto"
        http2 = { streams = 8, stream-window = "1MiB", send-buffer = "2KiB" }
        [outbound]
        private = false
        [log]
        format = "json"
        access = "errors"
        xray-sample = 10
        level = "warn"
        [access-log]
        format = "combined"
        file = "logs/access.log"
        sample = 50
        [compression]
        enabled = true
        algorithms = ["br", "gzip", "br"]
        types = ["Text/*", "application/json"]
        min-size = 0
        brotli-level = 9
        [telemetry]
        endpoint = "https://collector.example:4317"
        protocol = "grpc"
        sample = 0.25
        trust-parents = false
        traces = false
        metrics = true
        metrics-interval = "5s"
        [dev]
        echo = "127.0.0.1:9010"
    "#;
    let authorities = "-----BEGIN CERTIFICATE-----\n";
    let files = [("config/a.oas.json", text.as_str()), ("polygate.toml", settings), ("ca.pem", authorities)];
    let plan = plan(&files, &[]);
    let s = &plan.settings;
    assert_eq!((s.listen.address.port(), s.listen.admin, s.listen.workers), (80, None, Some(3)));
    assert!(s.listen.trusted_proxies.contain("10.0.0.1".parse().unwrap()));
    assert_eq!(s.listen.request_id_header, "x-rid");
    assert_eq!((s.limits.uri, s.limits.body, s.limits.header_fields), (ByteSize::kib(4), ByteSize(1000), 9));
    let http2 = &s.limits.http2;
    assert_eq!((http2.streams, http2.stream_window, http2.control_frames), (7, ByteSize::kib(64), 500));
    assert_eq!((s.listen.http2, http2.connection_window, http2.resets), (false, ByteSize::mib(1), 100));
    assert_eq!(http2.large_heads, 9);
    assert_eq!((s.timeouts.head, s.timeouts.drain), (Duration::from_secs(1), Duration::from_secs(120)));
    assert_eq!((s.budget.cpu, s.budget.on_failure), (Duration::from_millis(7), OnFailure::Open));
    let overload = &s.overload;
    assert_eq!((s.limits.exchanges, overload.memory), (11, Some(ByteSize::mib(300))));
    assert_eq!((overload.close_at, overload.shed_at, overload.pause_at), (0.5, 0.5, 0.97));
    assert_eq!((overload.lag, overload.enabled), (Duration::from_millis(20), true));
    assert_eq!(s.connection.connect, Duration::from_millis(250));
    assert_eq!((s.upstreams[0].connection.pool, s.outbound.private), (5, false));
    let own = &s.upstreams[0].connection;
    assert_eq!(own.protocol, polygate_plan::UpstreamProtocol::Auto);
    let http2 = &own.http2;
    assert_eq!((http2.connections, http2.streams, http2.waiting, http2.stream_errors), (3, 8, 0, 5));
    assert_eq!((http2.stream_window, http2.send_buffer), (ByteSize::mib(1), ByteSize::kib(2)));
    assert_eq!((s.connection.http2.streams, s.connection.http2.stream_window), (9, ByteSize::kib(256)));
    assert_eq!(s.connection.protocol, polygate_plan::UpstreamProtocol::Http2);
    assert_eq!(s.connection.tls.authorities, [plan.root.join("ca.pem")]);
    assert_eq!(
        (s.log.format, s.log.access.which, s.log.xray_sample),
        (Some(LogFormat::Json), AccessLog::Errors, Some(10))
    );
    assert_eq!(s.dev_echo.unwrap().port(), 9010);
    let access = &s.log.access;
    assert_eq!((access.format.as_ref(), access.sample), (Some(&combined()), 50));
    assert_eq!(access.file.as_deref(), Some(plan.root.join("logs/access.log").as_path()));
    assert_eq!(s.log.level, Some(LogLevel::Warn));
    assert_eq!(s.listen.upgrade_socket.as_deref(), Some(plan.root.join("run/upgrade.sock").as_path()));
    assert_eq!(s.timeouts.ready_delay, Duration::from_secs(5));
    let compression = s.compression.as_ref().unwrap();
    assert_eq!(compression.codings, [Coding::Brotli, Coding::Gzip]);
    assert_eq!((compression.level(Coding::Brotli), compression.level(Coding::Gzip)), (9, 5));
    assert!(compression.takes(b"text/x") && compression.min_size == ByteSize(0));
    let telemetry = s.telemetry.as_ref().unwrap();
    assert_eq!((telemetry.endpoint.port(), telemetry.protocol), (4317, OtlpProtocol::Grpc));
    assert_eq!((telemetry.sample, telemetry.trust_parents), (0.25, false));
    assert_eq!((telemetry.traces, telemetry.metrics), (false, Some(Duration::from_secs(5))));
}

fn combined() -> AccessFormat {
    AccessFormat::Line(LineTemplate::combined())
}

#[test]
fn nothing_is_traced_or_compressed_unless_asked_for() {
    let text = routes(&[("/", &get(&built_in("redirectHandler", r#"{ "location": "/a" }"#), "{}"))]);
    let settings = "[compression]\nmin-size = \"2KiB\"\n[telemetry]\nsample = 1\n";
    let plan = plan(&[("config/a.oas.json", text.as_str()), ("polygate.toml", settings)], &[]);
    assert_eq!((plan.settings.compression, plan.settings.telemetry), (None, None));
}

#[test]
fn modules_are_found_with_every_ending_that_the_engine_knows() {
    let route = |name: &str| {
        get(&format!(r#"{{ "export": "default", "module": "$import(./modules/{name})" }}"#), "{}")
    };
    let text = routes(&[
        ("/a", &route("a")),
        ("/b", &route("b")),
        ("/c", &route("c")),
        ("/d", &route("d")),
        ("/e", &route("e")),
        ("/f", &route("e/index.tsx")),
    ]);
    let files = [
        ("config/r.oas.json", text.as_str()),
        ("modules/a.mts", ""),
        ("modules/b.cts", ""),
        ("modules/c.tsx", ""),
        ("modules/d.cjs", ""),
        ("modules/e/index.tsx", ""),
    ];
    assert_eq!(plan(&files, &[]).routes.len(), 6);
}

#[test]
fn hooks_get_a_layer_where_no_typescript_stands() {
    let function = r#"{ "export": "default", "module": "$import(./modules/a)" }"#;
    let plain = built_in("urlForwardHandler", r#"{ "baseUrl": "http://up" }"#);
    let script = built_in("urlRewriteHandler", r#"{ "rewritePattern": "http://up/${params.id + 1}" }"#);
    let moved = built_in("redirectHandler", r#"{ "location": "/a" }"#);
    let text = routes(&[
        ("/plain", &get(&plain, "{}")),
        ("/guarded", &get(&plain, r#"{ "inbound": ["a"] }"#)),
        ("/function", &get(function, "{}")),
        ("/script/{id}", &get(&script, "{}")),
        ("/moved", &get(&moved, "{}")),
        ("/foreign", &get(&plain, r#"{ "inbound": ["w"] }"#)),
    ]);
    let policies = r#"{ "policies": [
        { "name": "a", "handler": { "export": "default", "module": "$import(./modules/a)" } },
        { "name": "w", "world": "proxy-wasm", "plugin": "w.wasm" } ] }"#;
    let files = [
        ("config/r.oas.json", text.as_str()),
        ("config/policies.json", policies),
        ("modules/a.ts", ""),
        ("polygate.toml", "[budget]\non-failure = \"open\""),
    ];
    let layers = |files: &[(&str, &str)]| -> Vec<Vec<String>> {
        let folder = super::project(files);
        let options =
            LoadOptions { worlds: vec!["zuplo".into(), "proxy-wasm".into()], ..LoadOptions::default() };
        let loaded = load(folder.path(), &options);
        assert_eq!(shown(&loaded.diagnostics), "");
        assert!(loaded.files.contains(&folder.path().join("modules/polygate.runtime.ts")));
        let plan = loaded.plan.unwrap();
        for policy in plan.policies.iter().filter(|policy| policy.spec.plugin.export == "hooks") {
            assert_eq!(policy.spec.plugin.module, "@polygate/runtime");
            assert_eq!(policy.spec.budget.on_failure, OnFailure::Closed);
        }
        let name = |index: usize| plan.policies[index].spec.name.to_string();
        plan.routes
            .iter()
            .map(|route| route.layers.iter().map(|layer| name(layer.policy)).collect())
            .collect()
    };
    let script = "GET /script/{id} (URL)";
    let empty: [&str; 0] = [];
    assert_eq!(layers(&files), [&empty[..], &["a"], &[], &[script], &[], &["w"]]);
    let hooks = "runtime hooks";
    for module in ["modules/polygate.runtime.mts", "modules/zuplo.runtime.js"] {
        let files: Vec<_> = files.iter().copied().chain([(module, "")]).collect();
        assert_eq!(layers(&files), [&[hooks][..], &["a"], &[], &[script], &[hooks], &[hooks, "w"]]);
    }
}

#[test]
fn what_answers_is_never_skipped() {
    let function = r#"{ "export": "default", "module": "$import(./modules/a)" }"#;
    let script = built_in("urlRewriteHandler", r#"{ "rewritePattern": "http://up/${params.id + 1}" }"#);
    let text = routes(&[("/f", &get(function, r#"{ "inbound": ["a"] }"#)), ("/s/{id}", &get(&script, "{}"))]);
    let policies = r#"{ "policies": [
        { "name": "a", "handler": { "export": "default", "module": "$import(./modules/a)" } } ] }"#;
    let files = [
        ("config/r.oas.json", text.as_str()),
        ("config/policies.json", policies),
        ("modules/a.ts", ""),
        ("polygate.toml", "[budget]\non-failure = \"open\"\nsubrequests = 3"),
    ];
    let plan = plan(&files, &[]);
    let found: Vec<_> = plan.policies.iter().map(|p| (&*p.spec.name, p.spec.budget.on_failure)).collect();
    let closed = OnFailure::Closed;
    assert_eq!(found, [("a", OnFailure::Open), ("GET /f", closed), ("GET /s/{id} (URL)", closed)]);
    assert!(plan.policies.iter().all(|policy| policy.spec.budget.subrequests == 3));
}

#[test]
fn files_are_in_order_of_name_and_yaml_is_read() {
    let yaml = r#"
openapi: 3.0.3
paths:
  /z/:rest(.*):
    x-polygate-path: { pathMode: url-pattern }
    get: &op
      x-polygate-route:
        handler: { export: redirectHandler, module: $import(@zuplo/runtime), options: { location: "/", status: 301 } }
  /a:
    get: *op
"#;
    let json = routes(&[("/first", &get(&built_in("redirectHandler", r#"{ "location": "/a" }"#), "{}"))]);
    let plan =
        plan(&[("config/b.oas.yaml", yaml), ("config/a.oas.json", &json), ("config/other.json", "{")], &[]);
    let labels: Vec<_> = plan.routes.iter().map(|route| &*route.info.label).collect();
    assert_eq!(labels, ["GET /first", "GET /z/:rest(.*)", "GET /a"]);
    assert!(plan.routes[1].pattern.matches("/z/1/2").is_some());
}

#[test]
fn a_route_says_what_becomes_of_ambiguous_paths_or_the_listener_does() {
    let get = get(&built_in("redirectHandler", r#"{ "location": "/a" }"#), "{}");
    let with = |policy: &str| {
        get.replacen('{', &format!(r#"{{ "x-polygate-path": {{ "ambiguous": "{policy}" }},"#), 1)
    };
    let text = routes(&[("/a", &get), ("/caf%c3%a9", &with("raw")), ("/c", &with("reject"))]);
    let of = |settings: &str| {
        let plan = plan(&[("config/a.oas.json", &text), ("polygate.toml", settings)], &[]);
        (plan.routes.iter().map(|route| route.ambiguous_paths).collect::<Vec<_>>(), plan)
    };
    use AmbiguousPaths::{Normalize, Raw, Reject};
    let (policies, plan) = of("");
    assert_eq!((policies, plan.settings.listen.ambiguous_paths), (vec![Reject, Raw, Reject], Reject));
    assert!(plan.routes[1].pattern.matches("/caf%C3%A9").is_some(), "escapes as in canonical paths");
    assert_eq!(of("[listen]\nambiguous-paths = \"normalize\"").0, [Normalize, Raw, Reject]);
}

#[test]
fn a_route_says_how_long_bodies_may_be_or_the_settings_do() {
    let handler = built_in("redirectHandler", r#"{ "location": "/a" }"#);
    let with = |limits: &str| {
        let route = format!(r#"{{ "handler": {handler}, "limits": {limits} }}"#);
        format!(r#"{{ "get": {{ "x-polygate-route": {route} }} }}"#)
    };
    let text = routes(&[
        ("/larger", &with(r#"{ "body": "1GiB" }"#)),
        ("/smaller", &with(r#"{ "body": 17 }"#)),
        ("/none", &with(r#"{ "body": 0 }"#)),
        ("/empty", &with("{}")),
        ("/usual", &get(&handler, "{}")),
    ]);
    let of = |settings: &str| {
        let plan = plan(&[("config/a.oas.json", &text), ("polygate.toml", settings)], &[]);
        plan.routes.iter().map(|route| route.body_limit.bytes()).collect::<Vec<_>>()
    };
    assert_eq!(of(""), [1 << 30, 17, 0, 100 << 20, 100 << 20]);
    assert_eq!(of("[limits]\nbody = \"1KiB\""), [1 << 30, 17, 0, 1024, 1024]);
}

#[test]
fn an_address_may_have_half_of_all_connections_unless_the_settings_say_it() {
    let text = routes(&[("/", &get(&built_in("redirectHandler", r#"{ "location": "/a" }"#), "{}"))]);
    let of = |limits: &str| {
        let settings = format!("[limits]\n{limits}");
        let plan = plan(&[("config/a.oas.json", &text), ("polygate.toml", &settings)], &[]);
        plan.settings.limits.connections_per_address.map(std::num::NonZero::get)
    };
    assert_eq!(of(""), Some(10_000));
    assert_eq!(of("connections = 7"), Some(4));
    assert_eq!(of("connections = 1"), Some(1));
    assert_eq!(of("connections-per-address = 20"), Some(20));
    assert_eq!(of("connections-per-address = 0"), None, "any number");
}

#[test]
fn all_that_is_looked_for_is_watched() {
    let policies = r#"{ "policies": [
        { "name": "a", "handler": { "export": "default", "module": "$import(./modules/gone)" } } ] }"#;
    let folder = super::project(&[("config/policies.json", policies), ("config/a.oas.json", "{}")]);
    let loaded = load(folder.path(), &LoadOptions::default());
    let watched = |name: &str| loaded.files.contains(&folder.path().join(name));
    for name in [
        "config",
        "config/policies.json",
        "config/a.oas.json",
        "polygate.toml",
        ".env",
        ".env.zuplo",
        "zuplo.jsonc",
        "modules/gone.ts",
        "modules/gone/index.mjs",
    ] {
        assert!(watched(name), "{name}");
    }
}

#[test]
fn another_world_gets_its_policies_as_they_stand() {
    let policies = r#"{ "policies": [ { "name": "w", "world": "proxy-wasm", "plugin": "plugins/w.wasm", "config": [1] } ] }"#;
    let redirect = built_in("redirectHandler", r#"{ "location": "/a" }"#);
    let text = routes(&[("/", &get(&redirect, r#"{ "inbound": ["w"] }"#))]);
    let folder = super::project(&[("config/policies.json", policies), ("config/a.oas.json", &text)]);
    let options = LoadOptions { worlds: vec!["zuplo".into(), "proxy-wasm".into()], ..LoadOptions::default() };
    let loaded = load(folder.path(), &options);
    assert_eq!(shown(&loaded.diagnostics), "");
    let plan = loaded.plan.unwrap();
    let policy = &plan.policies[0];
    assert_eq!((&*policy.world, policy.spec.plugin.module.as_str()), ("proxy-wasm", "plugins/w.wasm"));
    assert_eq!(policy.spec.config, Some(json!([1])));
}

#[test]
fn the_examples_are_in_order() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../examples");
    let mut tried = 0;
    for entry in
        std::fs::read_dir(root).unwrap().flatten().filter(|entry| entry.path().join("config").is_dir())
    {
        let loaded = load(&entry.path(), &LoadOptions::default());
        assert_eq!(shown(&loaded.diagnostics), "", "{:?}", entry.path());
        tried += 1;
    }
    assert!(tried > 0);
}

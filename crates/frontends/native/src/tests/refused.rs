//! What is wrong with a project is said at its place, all in one run.

use super::{built_in, get, loaded, routes, shown};

/// Loads the project, which must be refused, and compares what is said.
fn refused(files: &[(&str, &str)], expected: &str) {
    let loaded = loaded(files, &[("SECRET", "hunter2")]);
    assert!(loaded.plan.is_none());
    same(&shown(&loaded.diagnostics), expected);
}

fn same(found: &str, expected: &str) {
    let lines: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let found: Vec<&str> = found.lines().collect();
    assert!(found == lines, "found:\n{}\nexpected:\n{}", found.join("\n"), lines.join("\n"));
}

#[test]
fn policies() {
    let policies = r#"{
  "policies": [
    { "name": "a", "handler": { "exprt": "default", "module": "$import(./modules/one)" } },
    { "name": "a", "handler": { "export": "default", "module": "./modules/one" } },
    { "name": "b", "handler": { "export": "default", "module": "$import(./modules/on)" }, "onFailure": "opn" },
    { "name": "c", "handler": { "export": "default", "module": "$import(./modules/on)" } },
    { "name": "d", "handler": { "export": "default", "module": "$import(../x)" } },
    { "name": "e", "handler": { "export": "RateLimitInboundPolicy", "module": "$import(@zuplo/runtime)" } },
    { "name": "f", "world": "proxy-wasm", "plugin": "x.wasm" },
    { "name": "g", "budget": { "cpu": "5", "memory": true, "wall": "1s" } },
    { "name": 7 },
    { "name": "h", "handler": { "export": "$env(SECRET)", "module": "$import(./modules/one)" } }
  ],
  "polices": []
}"#;
    let expected = r#"
config/policies.json:12:43+14 error[misplaced-env] policies[9].handler.export: $env(...) is not expected at this location | $env(...) within the options of a policy's or route's handler
config/policies.json:3:33+7 error[unknown-field] policies[0].handler.exprt: unknown field "exprt" | one of export, module, options | export?
config/policies.json:3:31+58 error[missing-field] policies[0].handler.export: the field "export" is missing | a string
config/policies.json:5:104+5 error[bad-value] policies[2].onFailure: "opn" is not possible here | one of closed, open | open?
config/policies.json:10:39+3 error[bad-value] policies[7].budget.cpu: "5" cannot be read | a duration such as 50ms, 5s, 1m or 1h
config/policies.json:10:54+4 error[wrong-type] policies[7].budget.memory: a boolean stands here | a size such as 64KiB, 16MiB or 1GiB, or a number of bytes
config/policies.json:11:15+1 error[wrong-type] policies[8].name: a number stands here | a string
config/policies.json:14:3+9 error[unknown-field] polices: unknown field "polices" | one of policies, corsPolicies | policies?
config/policies.json:4:15+3 error[duplicate-policy] policies[1].name: the policy "a" is already in line 3 | another name
config/policies.json:6:64+23 error[missing-module] policies[3].handler.module: there is no module ./modules/on | a file ./modules/on.ts, .js or the like, or a folder with an index file | ./modules/one?
config/policies.json:7:64+15 error[bad-import] policies[4].handler.module: "../x" is not within the project | $import(./modules/NAME) from the project's folder, or $import(@polygate/runtime)
config/policies.json:8:43+24 error[not-supported] policies[5].handler.export: the built-in policy "RateLimitInboundPolicy" is not supported yet | a module of the project; what is built in so far are the handlers urlForwardHandler, urlRewriteHandler, redirectHandler
config/policies.json:9:29+12 error[unknown-world] policies[6].world: the world "proxy-wasm" is not part of this build | one of zuplo
"#;
    let redirect = built_in("redirectHandler", r#"{ "location": "/a" }"#);
    let text =
        routes(&[("/", &get(&redirect, r#"{ "inbound": ["a", "b", "c", "d", "e", "f", "g", "h"] }"#))]);
    let files =
        [("config/policies.json", policies), ("config/a.oas.json", text.as_str()), ("modules/one.ts", "")];
    refused(&files, expected);
}

#[test]
fn routes_and_handlers() {
    let text = r#"{
  "openapi": "3.1.0",
  "paths": {
    "/a": {
      "gett": {},
      "get": { "x-polygate-rout": {} },
      "post": {
        "policies": {},
        "x-zuplo-route": {
          "handler": { "export": "urlForwardHandlr", "module": "$import(@polygate/runtime)" },
          "policies": { "inbound": ["on"], "outbond": [] },
          "corsPolicy": "anything-goes"
        }
      },
      "put": {
        "x-zuplo-route": { "handler": { "export": "mcpServerHandler", "module": "$import(@zuplo/runtime)" } },
        "x-polygate-route": { "handler": { "export": "x", "module": "$import(./modules/none)" } }
      }
    },
    "b": { "x-polygate-path": { "pathMode": "open" } },
    "/c/{": {},
    "/d//{x};v": { "x-polygate-path": { "ambiguous": "normal" } }
  }
}"#;
    let again = routes(&[("/a", r#"{ "get,post": { "description": "$env(SECRET)" } }"#)]);
    let expected = r#"
config/a.oas.json:5:7+6 error[unknown-method] paths["/a"].gett: "gett" is no method | one of get, put, post, delete, options, head, patch, trace | get?
config/a.oas.json:6:16+17 error[no-handler] paths["/a"].get.x-polygate-route: GET /a does not say what answers it | x-polygate-route {handler, policies} | x-polygate-route?
config/a.oas.json:8:9+10 warning[misplaced-field] paths["/a"].post.policies: policies beside the route's extension have no effect | policies within x-polygate-route
config/a.oas.json:12:25+15 error[not-supported] paths["/a"].post.x-zuplo-route.corsPolicy: CORS policies are not supported yet | "none", or no corsPolicy
config/a.oas.json:11:44+9 error[unknown-field] paths["/a"].post.x-zuplo-route.policies.outbond: unknown field "outbond" | one of inbound, outbound | outbound?
config/a.oas.json:11:37+4 error[unknown-policy] paths["/a"].post.x-zuplo-route.policies.inbound[0]: there is no policy "on" | one of one | one?
config/a.oas.json:10:34+18 error[unknown-handler] paths["/a"].post.x-zuplo-route.handler.export: there is no built-in handler "urlForwardHandlr" | one of urlForwardHandler, urlRewriteHandler, redirectHandler, or a function of a module | urlForwardHandler?
config/a.oas.json:16:9+15 error[two-spellings] paths["/a"].put.x-zuplo-route: both x-polygate-route and x-zuplo-route stand here | one of them
config/a.oas.json:17:69+25 error[missing-module] paths["/a"].put.x-polygate-route.handler.module: there is no module ./modules/none | a file ./modules/none.ts, .js or the like, or a folder with an index file | ./modules/one?
config/a.oas.json:20:45+6 error[bad-value] paths.b.x-polygate-path.pathMode: "open" is not possible here | one of open-api, url-pattern | open-api?
config/a.oas.json:20:5+3 error[bad-path] paths.b: a path starts with / | a path such as /orders/{id}
config/a.oas.json:21:5+6 error[bad-path] paths["/c/{"]: `{` without `}` in "{" | a path such as /orders/{id}
config/a.oas.json:22:54+8 error[bad-value] paths["/d//{x};v"].x-polygate-path.ambiguous: "normal" is not possible here | one of reject, normalize, raw | normalize?
config/a.oas.json:22:5+11 error[bad-path] paths["/d//{x};v"]: no request has this path; its canonical form is /d/x | a path such as /orders/{id}
config/b.oas.json:2:38+14 error[misplaced-env] paths["/a"]["get,post"].description: $env(...) is not expected at this location | $env(...) within the options of a policy's or route's handler
config/b.oas.json:2:9+10 error[duplicate-route] paths["/a"]["get,post"]: GET /a is already in config/a.oas.json:6 | one operation for each method and path (or allowDuplicateRoutes in zuplo.jsonc)
config/b.oas.json:2:9+10 error[duplicate-route] paths["/a"]["get,post"]: POST /a is already in config/a.oas.json:7 | one operation for each method and path (or allowDuplicateRoutes in zuplo.jsonc)
config/b.oas.json:2:9+10 error[no-handler] paths["/a"]["get,post"].x-polygate-route: GET,POST /a does not say what answers it | x-polygate-route {handler, policies}
config/policies.json:1:90+24 warning[unused-policy]: no route uses the policy "one": only code can call it, by its name
"#;
    let policies = r#"{ "policies": [ { "name": "one", "handler": { "export": "default",             "module": "$import(./modules/one)" } } ] }"#;
    let files = [
        ("config/a.oas.json", text),
        ("config/b.oas.json", again.as_str()),
        ("config/policies.json", policies),
        ("modules/one.ts", ""),
    ];
    refused(&files, expected);
}

#[test]
fn limits_of_routes() {
    let text = r#"{
  "openapi": "3.1.0",
  "paths": {
    "/a": {
      "get": { "x-polygate-route": {
        "handler": { "export": "redirectHandler", "module": "$import(@polygate/runtime)", "options": { "location": "/" } },
        "limits": { "body": "1.5MiB", "bodi": 1 } } },
      "put": { "x-polygate-route": {
        "handler": { "export": "redirectHandler", "module": "$import(@polygate/runtime)", "options": { "location": "/" } },
        "limits": { "body": -1 } } }
    }
  }
}"#;
    let expected = r#"
config/a.oas.json:7:29+8 error[bad-value] paths["/a"].get.x-polygate-route.limits.body: "1.5MiB" cannot be read | a size such as 64KiB, 16MiB or 1GiB, or a number of bytes
config/a.oas.json:7:39+6 error[unknown-field] paths["/a"].get.x-polygate-route.limits.bodi: unknown field "bodi" | one of body | body?
config/a.oas.json:10:29+2 error[out-of-range] paths["/a"].put.x-polygate-route.limits.body: -1 is out of range | a number of at least 0
"#;
    refused(&[("config/a.oas.json", text)], expected);
}

#[test]
fn options_of_handlers() {
    let options = [
        ("urlForwardHandler", r#"{ "baseUrl": "ftp://x" }"#),
        ("urlForwardHandler", r#"{ "baseUrl": "http://x", "upstream": "a" }"#),
        ("urlForwardHandler", r#"{ "upstream": "orderz" }"#),
        ("urlForwardHandler", r#"{ "upstream": "$env(SECRET)" }"#),
        ("urlForwardHandler", r#"{ "baseUrl": "https://$env(SECRET)/${env.NONE}" }"#),
        ("urlRewriteHandler", r#"{ "rewritePatern": "http://x", "forwardSearch": "$env(SECRET)" }"#),
        ("urlRewriteHandler", r#"{ "rewritePattern": "http://${params.id" }"#),
        ("redirectHandler", r#"{ "location": "/", "status": 200 }"#),
        ("redirectHandler", r#"{ "location": "$env(NONE)", "status": "$env(SECRET)" }"#),
    ];
    let paths: Vec<(String, String)> = options
        .iter()
        .enumerate()
        .map(|(i, (export, options))| (format!("/{i}"), get(&built_in(export, options), "{}")))
        .collect();
    let paths: Vec<(&str, &str)> = paths.iter().map(|(path, item)| (&**path, &**item)).collect();
    let text = routes(&paths);
    let loaded = loaded(
        &[("config/a.oas.json", &text), ("polygate.toml", "[upstreams.orders]\nurl = \"http://a\"")],
        &[("SECRET", "hunter2")],
    );
    let found = shown(&loaded.diagnostics);
    assert!(!found.contains("hunter2"), "a secret is shown:\n{found}");
    let found: Vec<String> = found
        .lines()
        .map(|line| line.replace(".get.x-polygate-route.handler.options", " "))
        .map(|line| line.split_once(' ').map(|(_, rest)| rest.to_owned()).unwrap_or_default())
        .collect();
    let expected = r#"
error[bad-url] paths["/0"] .baseUrl: the scheme is not http or https | a URL such as https://example.com or ${env.BASE_URL}
error[two-spellings] paths["/1"] : both baseUrl and upstream stand here | baseUrl, or upstream
error[unknown-upstream] paths["/2"] .upstream: there is no upstream "orderz" | one of orders | orders?
error[unknown-upstream] paths["/3"] .upstream: there is no upstream of that name | one of orders
warning[literal-env] paths["/4"] .baseUrl: $env(...) is not substituted here | ${env.NAME}
warning[unset-variable] paths["/4"] .baseUrl: the environment variable NONE is not set
error[unknown-field] paths["/5"] .rewritePatern: unknown field "rewritePatern" | one of rewritePattern, forwardSearch, followRedirects | rewritePattern?
error[wrong-type] paths["/5"] .forwardSearch: a string stands here | true or false
error[missing-field] paths["/5"] .rewritePattern: the field "rewritePattern" is missing | a string
error[bad-template] paths["/6"] .rewritePattern: `${` is never closed
error[bad-value] paths["/7"] .status: 200 is not possible here | one of 301, 302, 303, 307, 308
error[wrong-type] paths["/8"] .status: a string stands here | one of 301, 302, 303, 307, 308
error[missing-field] paths["/8"] .location: the field "location" is missing | a string
"#;
    same(&found.join("\n"), expected);
}

#[test]
fn settings() {
    let text = routes(&[("/", &get(&built_in("redirectHandler", r#"{ "location": "/a" }"#), "{}"))]);
    let settings = r#"
[listen]
adress = "127.0.0.1:1"
address = "localhost"
workers = 0
request-id-header = "x rid"
[admin]
address = true
[limits]
uri = "8KB"
[timeouts]
idle = 5
[log]
format = "jsn"
[upstreams.a]
[upstreams.b]
url = "b:1"
[listn]
"#;
    let expected = r#"
polygate.toml:3:1+6 error[unknown-field] listen.adress: unknown field "adress" | one of address, tls-address, http2, workers, trusted-proxies, proxy-protocol, ambiguous-paths, request-id-header, upgrades, upgrade-socket | address?
polygate.toml:4:11+11 error[bad-value] listen.address: "localhost" cannot be read | an address such as 127.0.0.1:8080 or [::1]:8080
polygate.toml:5:11+1 error[out-of-range] listen.workers: 0 is out of range | a number from 1 to 1024
polygate.toml:8:11+4 error[bad-value] admin.address: true is not possible here | one of false
polygate.toml:10:7+5 error[bad-value] limits.uri: "8KB" cannot be read | a size such as 64KiB, 16MiB or 1GiB, or a number of bytes
polygate.toml:12:8+1 error[wrong-type] timeouts.idle: a number stands here | a duration such as 50ms, 5s, 1m or 1h
polygate.toml:14:10+5 error[bad-value] log.format: "jsn" is not possible here | one of pretty, json | json?
polygate.toml:18:2+5 error[unknown-field] listn: unknown field "listn" | one of listen, tls, admin, limits, timeouts, overload, budget, connection, upstreams, dns, outbound, compression, log, access-log, telemetry, dev | listen?
"#;
    refused(&[("config/a.oas.json", &text), ("polygate.toml", settings)], expected);
    let expected = r#"
polygate.toml:1:28+7 error[bad-value] listen.request-id-header: "x rid" is no header's name | a header's name such as x-request-id
polygate.toml:2:1+13 error[missing-field] upstreams.a: the upstream "a" has no target | url = "http://host:port", or targets
polygate.toml:4:7+5 error[bad-url] upstreams.b.url: the scheme is not http or https | a URL such as http://127.0.0.1:9000
"#;
    let settings = "listen.request-id-header = \"x rid\"\n[upstreams.a]\n[upstreams.b]\nurl = \"b:1\"";
    refused(&[("config/a.oas.json", &text), ("polygate.toml", settings)], expected);
}

#[test]
fn overload() {
    let text = routes(&[("/", &get(&built_in("redirectHandler", r#"{ "location": "/a" }"#), "{}"))]);
    let settings = r#"
[overload]
memory = 0
close-at = 0.95
pause-at = 0.5
"#;
    let expected = r#"
polygate.toml:3:10+1 error[out-of-range] overload.memory: nothing runs without memory | a size such as 512MiB
polygate.toml:4:12+4 error[bad-value] overload.shed-at: shed-at (0.92) is less than close-at (0.95) | close-at, shed-at and pause-at that do not decrease
polygate.toml:5:12+3 error[bad-value] overload.pause-at: pause-at (0.5) is less than shed-at (0.92) | close-at, shed-at and pause-at that do not decrease
"#;
    refused(&[("config/a.oas.json", &text), ("polygate.toml", settings)], expected);
}

#[test]
fn access_logs() {
    let text = routes(&[("/", &get(&built_in("redirectHandler", r#"{ "location": "/a" }"#), "{}"))]);
    let settings = r#"
[access-log]
format = "$staus $duration"
headers = ["user agent"]
"#;
    let expected = r#"
polygate.toml:3:10+18 error[bad-template] access-log.format: there is no variable "staus" | a variable such as $status, or $$ for a dollar sign | status?
polygate.toml:4:11+14 error[bad-value] access-log.headers: "user agent" is no header's name | a header's name such as user-agent
"#;
    refused(&[("config/a.oas.json", &text), ("polygate.toml", settings)], expected);
    let settings = "[access-log]\nformat = \"combind\"";
    let expected = r#"
polygate.toml:2:10+9 error[bad-template] access-log.format: "combind" is no format: every line would be the same | json, combined, or a template such as "$status $duration $path" | combined?
"#;
    refused(&[("config/a.oas.json", &text), ("polygate.toml", settings)], expected);
    let settings = "[access-log]\nformat = \"combined\"\nresponse-headers = [\"x\"]";
    let expected = r#"
polygate.toml:3:20+5 error[misplaced-field] access-log.response-headers: only lines of the format json hold these | ${request.NAME} or ${response.NAME} in the format
"#;
    refused(&[("config/a.oas.json", &text), ("polygate.toml", settings)], expected);
}

#[test]
fn syntax() {
    let files = [
        ("config/a.oas.json", "{ \"openapi\": \"3.1.0\",\n  \"paths\" {} }"),
        ("config/b.oas.yaml", "openapi: 3.1.0\npaths:\n  - [a\n"),
        ("config/c.oas.json", "{ \"openapi\": \"3.1.0\", \"openapi\": \"3.1.0\" }"),
        ("config/d.oas.json", ""),
        ("config/e.oas.json", "{ \"swagger\": \"2.0\" }"),
        ("polygate.toml", "[listen\naddress = \"127.0.0.1:1\"\nworkers = = 1\n"),
        ("zuplo.jsonc", "{ \"version\": 1, // ok\n \"alowDuplicateRoutes\": true }"),
        (".env", "A=1\nB"),
    ];
    let loaded = loaded(&files, &[]);
    assert!(loaded.plan.is_none());
    let found = shown(&loaded.diagnostics);
    let places: Vec<&str> = found.lines().map(|line| line.split_once(']').unwrap().0).collect();
    let expected = [
        ".env:2:1+1 error[syntax",
        "polygate.toml:1:8+1 error[syntax",
        "polygate.toml:3:11+1 error[syntax",
        "polygate.toml:3:13+1 error[syntax",
        "zuplo.jsonc:2:2+21 warning[unknown-field",
        "config/a.oas.json:2:11+1 error[syntax",
        "config/b.oas.yaml:4:1+1 error[syntax",
        "config/c.oas.json:1:23+9 error[duplicate-field",
        "config/d.oas.json:1:1+1 error[syntax",
        "config/e.oas.json:1:14+5 error[bad-openapi",
    ];
    assert_eq!(places, expected, "{found}");
}

#[test]
fn an_empty_folder_and_a_project_without_routes() {
    let nothing = loaded(&[], &[]);
    assert!(nothing.plan.is_none() && shown(&nothing.diagnostics).contains("error[no-config]"));
    let empty = loaded(&[("config/policies.json", "{}")], &[]);
    assert!(empty.plan.is_some());
    assert!(shown(&empty.diagnostics).starts_with("config warning[no-routes]: there is no route file"));
}

#[test]
fn duplicates_can_be_allowed() {
    let redirect = get(&built_in("redirectHandler", r#"{ "location": "/a" }"#), "{}");
    let text = routes(&[("/", &redirect)]);
    let files = [
        ("config/a.oas.json", text.as_str()),
        ("config/b.oas.json", text.as_str()),
        ("zuplo.jsonc", "{ \"allowDuplicateRoutes\": true, /* c */ }"),
    ];
    assert_eq!(shown(&loaded(&files, &[]).diagnostics), "");
}

#[test]
fn bombs_are_refused() {
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..12 {
        let of = vec![format!("*a{}", i - 1); 10].join(", ");
        laughs.push_str(&format!("a{i}: &a{i} [{of}]\n"));
    }
    let files =
        [("config/a.oas.json", &*deep), ("config/b.oas.yaml", &*deep), ("config/c.oas.yaml", &*laughs)];
    let loaded = loaded(&files, &[]);
    let files: Vec<_> =
        loaded.diagnostics.iter().filter(|d| d.is_error()).map(|d| d.file.clone().unwrap()).collect();
    for name in ["config/a.oas.json", "config/b.oas.yaml", "config/c.oas.yaml"] {
        assert!(files.iter().any(|file| file == name), "{name}: {files:?}");
    }
}

#[test]
fn a_policy_of_which_code_speaks_is_not_unused() {
    let policy = |name: &str| {
        format!(
            r#"{{ "name": "{name}", "handler": {{ "export": "default", "module": "$import(./modules/a)" }} }}"#
        )
    };
    let policies =
        format!("{{ \"policies\": [{}] }}", ["called", "deep", "not-called"].map(policy).join(",\n"));
    let text = routes(&[("/", &get(&built_in("redirectHandler", r#"{ "location": "/a" }"#), "{}"))]);
    let loaded = loaded(
        &[
            ("config/policies.json", &policies),
            ("config/a.oas.json", &text),
            ("modules/a.ts", "context.invokeInboundPolicy('called', request); // not-called"),
            ("modules/lib/b.mts", "export const name = `deep`;"),
            ("modules/node_modules/x/index.js", "'not-called'"),
            ("modules/notes.txt", "'not-called'"),
        ],
        &[],
    );
    assert!(loaded.plan.is_some());
    let expected = "config/policies.json:3:69+22 warning[unused-policy]: no route uses the policy \"not-called\": only code can call it, by its name";
    same(&shown(&loaded.diagnostics), expected);
}

#[test]
fn windows_of_http2_to_upstreams_that_cannot_be() {
    let text = routes(&[("/", &get(&built_in("redirectHandler", r#"{ "location": "/a" }"#), "{}"))]);
    let settings = r#"
[connection.http2]
streams = 3000
stream-window = "1MiB"
[upstreams.a]
url = "http://a"
http2 = { streams = 0 }
[upstreams.b]
url = "http://b"
http2 = { streams = 20, send-buffer = 1 }
"#;
    let expected = r#"
polygate.toml:7:21+1 error[out-of-range] upstreams.a.http2.streams: 0 is out of range | a number from 1 to 10000
"#;
    refused(&[("config/a.oas.json", &text), ("polygate.toml", settings)], expected);
    let expected = r#"
polygate.toml:4:17+6 error[bad-value] connection.http2.stream-window: 1MiB is no size for stream-window | 1KiB to 715827 bytes, so that 3000 streams share 2047MiB
polygate.toml:10:39+1 error[bad-value] upstreams.b.http2.send-buffer: 1B is no size for send-buffer | 1KiB to 2047MiB
"#;
    let settings = settings.replace("streams = 0", "streams = 1");
    refused(&[("config/a.oas.json", &text), ("polygate.toml", &settings)], expected);
}

#[test]
fn windows_of_http2_that_cannot_be() {
    let settings = r#"
[limits.http2]
stream-window = "2GiB"
connection-window = "1KiB"
"#;
    let text = routes(&[("/", &get(&built_in("redirectHandler", r#"{ "location": "/a" }"#), "{}"))]);
    let files = [("config/a.oas.json", text.as_str()), ("polygate.toml", settings)];
    let expected = r#"
polygate.toml:3:17+6 error[bad-value] limits.http2.stream-window: 2GiB is no size for stream-window | 1KiB to 2047MiB
polygate.toml:4:21+6 error[bad-value] limits.http2.connection-window: 1KiB is no size for connection-window | 64KiB to 2047MiB
"#;
    refused(&files, expected);
}

#[test]
fn brotli_is_no_slower_than_a_response_can_wait() {
    let text = routes(&[("/", &get(&built_in("redirectHandler", r#"{ "location": "/a" }"#), "{}"))]);
    let expected = r#"
polygate.toml:2:16+2 error[out-of-range] compression.brotli-level: 10 is out of range | a number from 0 to 9
"#;
    let settings = "[compression]\nbrotli-level = 10\n";
    refused(&[("config/a.oas.json", &text), ("polygate.toml", settings)], expected);
}

#[test]
fn limits_and_authorities_that_cannot_be() {
    let settings = r#"
[limits]
header-fields = 257
[connection]
ca-file = "gone.pem"
[upstreams.a]
url = "https://a"
ca-file = "key.pem"
"#;
    let text = routes(&[("/", &get(&built_in("redirectHandler", r#"{ "location": "/a" }"#), "{}"))]);
    let fields = "polygate.toml:3:17+3 error[out-of-range] limits.header-fields: 257 is out of range | a number from 1 to 256";
    let mut files = vec![
        ("config/a.oas.json", text.as_str()),
        ("polygate.toml", settings),
        ("key.pem", "-----BEGIN KEY"),
    ];
    refused(&files, fields);
    let settings = settings.replace("257", "256");
    files[1].1 = &settings;
    let expected = r#"
polygate.toml:5:11+10 error[unreadable] connection.ca-file: "gone.pem" cannot be read: No such file or directory (os error 2) | a PEM file with certificates, relative to the project's folder
polygate.toml:8:11+9 error[bad-value] upstreams.a.ca-file: "key.pem" holds no certificate | a PEM file with certificates, relative to the project's folder
"#;
    refused(&files, expected);
}

#[test]
fn what_is_in_order_is_drafted() {
    let function = r#"{ "export": "default", "module": "$import(./modules/a)" }"#;
    let to = |name: &str| built_in("urlForwardHandler", &format!(r#"{{ "upstream": "{name}" }}"#));
    let text = routes(&[
        ("/fine", &get(function, r#"{ "inbound": ["a", "wrong"] }"#)),
        ("/named", &get(&to("a"), "{}")),
        ("/broken", &get(&to("b"), "{}")),
        ("/none", "{ \"get\": {} }"),
    ]);
    let policies = r#"{ "policies": [
        { "name": "wrong", "handler": { "export": "default", "module": "$import(./modules/gone)" } },
        { "name": "a", "handler": { "export": "a", "module": "$import(./modules/a)" } } ] }"#;
    let settings = "[upstreams.a]\nurl = \"http://a\"\n[upstreams.b]\nurl = \"nonsense\"";
    let mut files = vec![
        ("config/a.oas.json", text.as_str()),
        ("config/policies.json", policies),
        ("modules/a.ts", ""),
        ("polygate.toml", settings),
    ];
    let drafted = |files: &[(&str, &str)]| {
        let loaded = loaded(files, &[]);
        assert!(loaded.plan.is_none());
        loaded.draft.map(|draft| {
            let policies: Vec<_> = draft.policies.iter().map(|p| p.spec.name.to_string()).collect();
            let routes: Vec<_> = draft.routes.iter().map(|route| route.info.path.clone()).collect();
            (policies.join(", "), routes.join(", "))
        })
    };
    let of = |policies: &str, routes: &str| Some((policies.to_owned(), routes.to_owned()));
    assert_eq!(drafted(&files), of("a, GET /fine", "/fine, /named"));
    // Settings that cannot be decoded at all leave no upstream to forward to.
    files[3].1 = "[upstreams.a]\nurl = \"http://a\"\nresponse = 1\n[upstreams.b]";
    assert_eq!(drafted(&files), of("a, GET /fine", "/fine"));
    assert_eq!(drafted(&[("polygate.toml", "[limit]")]), None);
}

#[test]
fn protocols_to_go_on_with() {
    let settings = "[listen]\nupgrades = [\"websocket\", \"h2c\", \"HTTP/2.0\", \"a b\"]\n";
    let text = routes(&[("/", &get(&built_in("redirectHandler", r#"{ "location": "/a" }"#), "{}"))]);
    let expected = r#"
polygate.toml:2:12+39 error[bad-value] listen.upgrades: "h2c" is no protocol to go on with | a protocol other than HTTP, such as websocket
polygate.toml:2:12+39 error[bad-value] listen.upgrades: "HTTP/2.0" is no protocol to go on with | a protocol other than HTTP, such as websocket
polygate.toml:2:12+39 error[bad-value] listen.upgrades: "a b" is no protocol to go on with | a protocol other than HTTP, such as websocket
"#;
    refused(&[("config/a.oas.json", &text), ("polygate.toml", settings)], expected);
}

//! What a gateway does under load, once through: plain forwards, policies, bodies both ways, compression, pools, HTTP/2 and
//! TLS on either side. What is not in here is laid out as code that hardly ever runs.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::bench::{nginx, wait_for};
use crate::certificate::Certificate;
use crate::process::program;
use crate::{Outcome, setup};

const PORT: u16 = 18_190;
const TLS_PORT: u16 = 18_191;
const UPSTREAM_PORT: u16 = 18_192;
const UPSTREAM_HTTP2_PORT: u16 = 18_193;
const SECOND_UPSTREAM_PORT: u16 = 18_194;

/// Seconds of each load.
const SECONDS: &str = "3";
/// Time to write the profile in.
const GOODBYE: Duration = Duration::from_secs(30);

/// Whether all is there that training needs.
pub(super) fn check() -> Outcome {
    let needed = [("nginx", "nginx"), ("wrk", "wrk"), ("h2load", "nghttp2-client"), ("openssl", "openssl")];
    setup::missing(&needed).map_or(Ok(()), Err)
}

/// Trains a binary that counts; it writes its counts when it ends.
pub(super) fn run(binary: &Path, folder: &Path) -> Outcome {
    let project = folder.join("training");
    fs::create_dir_all(&project).map_err(|error| format!("{}: {error}", project.display()))?;
    let certificate = Certificate::make(&project)?;
    write_project(&project, &certificate)?;
    let _upstream = nginx(&project, "upstream", None, &upstream())?;
    wait_for(UPSTREAM_PORT)?;
    let path = project.to_string_lossy();
    let arguments = ["run", &*path, "--workers", "1", "--admin", "off"];
    let gateway = program(binary, &arguments).start()?;
    wait_for(TLS_PORT)?;
    let body = project.join("body");
    let plain = |path: &str| format!("http://127.0.0.1:{PORT}{path}");
    let encrypted = |path: &str| format!("https://127.0.0.1:{TLS_PORT}{path}");
    for (connections, path) in [
        ("32", "/plain"),
        ("256", "/plain"),
        ("32", "/long"),
        ("32", "/chunked"),
        ("32", "/one"),
        ("32", "/two"),
        ("32", "/pool"),
        ("32", "/http2"),
    ] {
        wrk(&["-c", connections, &plain(path)])?;
    }
    wrk(&["-c", "32", "-H", "Accept-Encoding: gzip", &plain("/long")])?;
    let body = body.to_string_lossy();
    for (url, options) in [
        (plain("/plain"), &["--h1", "-d", &*body][..]),
        (plain("/plain"), &["-m", "10"]),
        (plain("/plain"), &["-m", "10", "-d", &*body]),
        (encrypted("/plain"), &["--h1"]),
        (encrypted("/one"), &["-m", "10"]),
        (encrypted("/http2"), &["-m", "10", "-d", &*body]),
    ] {
        h2load(&[options, &[&url]].concat())?;
    }
    let address = format!("127.0.0.1:{TLS_PORT}");
    for how in ["-new", "-reuse"] {
        program("openssl", &["s_time", "-connect", &address, how, "-time", SECONDS]).output()?;
    }
    gateway.end(GOODBYE)
}

/// A load of HTTP/1.1. What is answered with errors is no training.
fn wrk(arguments: &[&str]) -> Outcome {
    let said = program("wrk", &[&["-t", "1", "-d", SECONDS], arguments].concat()).output()?;
    let is_good = !said.contains("Non-2xx") && !said.contains(" 0 requests in ");
    is_good.then_some(()).ok_or_else(|| format!("training failed, wrk said: {said}"))
}

/// A load that may be of HTTP/2, as above.
fn h2load(arguments: &[&str]) -> Outcome {
    let said = program("h2load", &[&["-c", "16", "-D", SECONDS], arguments].concat()).output()?;
    let is_good = !said.contains("status codes: 0 2xx") && said.contains(" 0 3xx, 0 4xx, 0 5xx");
    is_good.then_some(()).ok_or_else(|| format!("training failed, h2load said: {said}"))
}

fn upstream() -> String {
    // What is substituted has no length any more, and comes in chunks.
    let at = |port: u16, protocol: &str| {
        format!(
            "server {{ listen 127.0.0.1:{port} {protocol} backlog=4096; default_type text/plain;\n\
             location / {{ return 200 '{}'; }}\n\
             location /long {{ return 200 '{}'; }}\n\
             location /chunked {{ sub_filter_types *; sub_filter 'a' 'bb'; return 200 '{}'; }} }}\n",
            "x".repeat(100),
            "word ".repeat(800),
            "abc ".repeat(800),
        )
    };
    at(UPSTREAM_PORT, "") + &at(SECOND_UPSTREAM_PORT, "") + &at(UPSTREAM_HTTP2_PORT, "http2")
}

const POLICY: &str = r#"import { type PolygateContext, type PolygateRequest, HttpProblems } from "@polygate/runtime";

export async function both(request: PolygateRequest, context: PolygateContext) {
  const url = new URL(request.url);
  if (url.searchParams.has("never")) return HttpProblems.badRequest(request, context);
  request.headers.set("x-seen-by", request.headers.get("user-agent") ?? "unknown");
  context.addResponseSendingHook((response) => {
    response.headers.set("x-gateway", "polygate");
    return response;
  });
  return request;
}

export async function answer(request: PolygateRequest, context: PolygateContext) {
  return new Response(JSON.stringify({ path: new URL(request.url).pathname, id: context.requestId }), {
    headers: { "content-type": "application/json" },
  });
}

export async function stamp(response: Response) {
  response.headers.set("x-gateway", "polygate");
  return response;
}
"#;

fn write_project(project: &Path, certificate: &Certificate) -> Outcome {
    let route = |export: &str, module: &str, options: Value, policies: Value| {
        let module = format!("$import({module})");
        let handler = json!({ "export": export, "module": module, "options": options });
        json!({ "get,post": { "x-polygate-route": { "handler": handler, "policies": policies } } })
    };
    let forward =
        |options: Value, policies: Value| route("urlForwardHandler", "@polygate/runtime", options, policies);
    let base = json!({ "baseUrl": format!("http://127.0.0.1:{UPSTREAM_PORT}") });
    let plain = || forward(base.clone(), json!({}));
    let (inbound, both) =
        (json!({ "inbound": ["both"] }), json!({ "inbound": ["both"], "outbound": ["stamp"] }));
    let paths = json!({
        "/plain": plain(), "/long": plain(), "/chunked": plain(),
        "/one": forward(base.clone(), inbound),
        "/two": route("answer", "./modules/policy", json!({}), both),
        "/pool": forward(json!({ "upstream": "pool" }), json!({})),
        "/http2": forward(json!({ "upstream": "http2" }), json!({})),
    });
    let routes =
        json!({ "openapi": "3.1.0", "info": { "title": "training", "version": "1" }, "paths": paths });
    let policy = |name: &str, kind: &str| {
        let handler = json!({ "export": name, "module": "$import(./modules/policy)" });
        json!({ "name": name, "policyType": kind, "handler": handler })
    };
    let policies = json!({ "policies": [
        policy("both", "custom-code-inbound"), policy("stamp", "custom-code-outbound"),
    ] });
    let settings = format!(
        "[listen]\naddress = \"127.0.0.1:{PORT}\"\ntls-address = \"127.0.0.1:{TLS_PORT}\"\n{}\
         [access-log]\nsample = 20\n[compression]\nenabled = true\n\
         [upstreams.pool]\ntargets = [\"http://127.0.0.1:{UPSTREAM_PORT}\", \"http://127.0.0.1:{SECOND_UPSTREAM_PORT}\"]\n\
         balance = \"least-request\"\n\
         [upstreams.http2]\nurl = \"http://127.0.0.1:{UPSTREAM_HTTP2_PORT}\"\nprotocol = \"http2\"\n",
        certificate.settings()
    );
    let files = [
        ("config/routes.oas.json", &*routes.to_string()),
        ("config/policies.json", &*policies.to_string()),
        ("modules/policy.ts", POLICY),
        ("polygate.toml", &*settings),
        ("body", &"x".repeat(1_000)),
    ];
    crate::project::write(project, &files)
}

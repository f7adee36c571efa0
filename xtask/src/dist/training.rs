//! What a gateway does under load, once through: plain forwards, policies, bodies both ways, compression, pools, HTTP/2 and
//! TLS on either side. What is not in here is laid out as code that hardly ever runs.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::bench::{nginx, wait_for};
use crate::certificate::Certificate;
use crate::process::program;
use crate::{Outcome, setup};

const PORT: u16 = 18_190;
const TLS_PORT: u16 = 18_191;
const UPSTREAM_PORT: u16 = 18_192;
const UPSTREAM_HTTP2_PORT: u16 = 18_193;

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
    let _upstream = nginx(&project, "upstream", "0-1023", &upstream())?;
    wait_for(UPSTREAM_PORT)?;
    let path = project.to_string_lossy();
    let arguments = ["run", &*path, "--workers", "1", "--admin", "off"];
    let gateway = program(binary, &arguments).start()?;
    wait_for(TLS_PORT)?;
    let body = project.join("body");
    fs::write(&body, "x".repeat(1_000)).map_err(|error| format!("{}: {error}", body.display()))?;
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
        program("wrk", &["-t", "1", "-c", connections, "-d", SECONDS, &plain(path)]).output()?;
    }
    program("wrk", &["-t", "1", "-c", "32", "-d", SECONDS, "-H", "Accept-Encoding: gzip", &plain("/long")])
        .output()?;
    let body = body.to_string_lossy();
    for (url, options) in [
        (plain("/plain"), &["--h1", "-d", &*body][..]),
        (plain("/plain"), &["-m", "10"]),
        (plain("/plain"), &["-m", "10", "-d", &*body]),
        (encrypted("/plain"), &["--h1"]),
        (encrypted("/one"), &["-m", "10"]),
        (encrypted("/http2"), &["-m", "10", "-d", &*body]),
    ] {
        program("h2load", &[options, &["-c", "16", "-D", SECONDS, &url]].concat()).output()?;
    }
    let address = format!("127.0.0.1:{TLS_PORT}");
    for how in ["-new", "-reuse"] {
        program("openssl", &["s_time", "-connect", &address, how, "-time", SECONDS]).output()?;
    }
    gateway.end(GOODBYE)
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
    at(UPSTREAM_PORT, "") + &at(UPSTREAM_HTTP2_PORT, "http2")
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
    let module = |module: &str, export: &str, options: &str| {
        format!(r#"{{ "export": "{export}", "module": "$import({module})", "options": {{ {options} }} }}"#)
    };
    let route = |path: &str, handler: &str, policies: &str| {
        let policies = format!(r#""policies": {{ {policies} }}"#);
        format!(
            r#""{path}": {{ "get,post": {{ "x-polygate-route": {{ "handler": {handler}, {policies} }} }} }}"#
        )
    };
    let forward = |options: &str| module("@polygate/runtime", "urlForwardHandler", options);
    let base = forward(&format!(r#""baseUrl": "http://127.0.0.1:{UPSTREAM_PORT}""#));
    let paths = [
        route("/plain", &base, ""),
        route("/long", &base, ""),
        route("/chunked", &base, ""),
        route("/one", &base, r#""inbound": ["both"]"#),
        route(
            "/two",
            &module("./modules/policy", "answer", ""),
            r#""inbound": ["both"], "outbound": ["stamp"]"#,
        ),
        route("/pool", &forward(r#""upstream": "pool""#), ""),
        route("/http2", &forward(r#""upstream": "http2""#), ""),
    ];
    let routes = format!(
        r#"{{ "openapi": "3.1.0", "info": {{ "title": "training", "version": "1" }}, "paths": {{ {} }} }}"#,
        paths.join(",\n")
    );
    let policies = r#"{ "policies": [
  { "name": "both", "policyType": "custom-code-inbound", "handler": { "export": "both", "module": "$import(./modules/policy)" } },
  { "name": "stamp", "policyType": "custom-code-outbound", "handler": { "export": "stamp", "module": "$import(./modules/policy)" } } ] }"#;
    let settings = format!(
        "[listen]\naddress = \"127.0.0.1:{PORT}\"\ntls-address = \"127.0.0.1:{TLS_PORT}\"\n{}\
         [access-log]\nsample = 20\n[compression]\nenabled = true\n\
         [upstreams.pool]\ntargets = [\"http://127.0.0.1:{UPSTREAM_PORT}\", \"http://localhost:{UPSTREAM_PORT}\"]\n\
         balance = \"least-request\"\n\
         [upstreams.http2]\nurl = \"http://127.0.0.1:{UPSTREAM_HTTP2_PORT}\"\nprotocol = \"http2\"\n",
        certificate.settings()
    );
    for (name, text) in [
        ("config/routes.oas.json", routes.as_str()),
        ("config/policies.json", policies),
        ("modules/policy.ts", POLICY),
        ("polygate.toml", settings.as_str()),
    ] {
        let file = project.join(name);
        let failed = |error: std::io::Error| format!("{}: {error}", file.display());
        fs::create_dir_all(file.parent().unwrap_or(project)).map_err(failed)?;
        fs::write(&file, text).map_err(failed)?;
    }
    Ok(())
}

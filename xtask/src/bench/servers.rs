//! The servers that are compared, and the upstream behind them.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::process::{Running, program};

/// The core of the proxy under test.
const PROXY_CORE: &str = "0";
/// The core of load generator and upstream.
pub(super) const LOAD_CORE: &str = "1";

const UPSTREAM_PORT: u16 = 18_090;
const NGINX_PORT: u16 = 18_091;
const POLYGATE_PORT: u16 = 18_092;

/// A server under test; several routes of one process are several servers.
pub(super) struct Server {
    pub name: &'static str,
    pub url: String,
    id: u32,
}

impl Server {
    /// The server's process and its children.
    pub(super) fn process_ids(&self) -> Vec<u32> {
        let children =
            fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.id)).unwrap_or_default();
        std::iter::once(self.id).chain(children.split_whitespace().filter_map(|id| id.parse().ok())).collect()
    }
}

/// All servers, running.
pub(super) struct Servers {
    all: Vec<Server>,
    _running: Vec<Running>,
}

impl Servers {
    /// Starts the upstream, nginx and Polygate; waits until each listens.
    pub(super) fn start(body: usize) -> Result<Self, String> {
        let folder = crate::root().join("target/bench");
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let upstream = nginx(&folder, "upstream", LOAD_CORE, &upstream_config(body))?;
        let peer = nginx(&folder, "peer", PROXY_CORE, &peer_config())?;
        let project = project(&folder)?;
        let binary = super::release_binary();
        let address = format!("127.0.0.1:{POLYGATE_PORT}");
        let arguments = [
            "-c",
            PROXY_CORE,
            &*binary.to_string_lossy(),
            "run",
            &*project.to_string_lossy(),
            "--workers",
            "1",
            "--listen",
            &address,
            "--admin",
            "off",
        ];
        let polygate = program("taskset", &arguments).start()?;
        for port in [UPSTREAM_PORT, NGINX_PORT, POLYGATE_PORT] {
            wait_for(port)?;
        }
        let server =
            |name, id, port, path| Server { name, url: format!("http://127.0.0.1:{port}{path}"), id };
        let all = vec![
            server("nginx, plain forward", peer.id(), NGINX_PORT, "/plain"),
            server("polygate, plain forward", polygate.id(), POLYGATE_PORT, "/plain"),
            server("polygate, one TypeScript policy", polygate.id(), POLYGATE_PORT, "/one"),
            server("polygate, two TypeScript policies", polygate.id(), POLYGATE_PORT, "/two"),
        ];
        Ok(Self { all, _running: vec![upstream, peer, polygate] })
    }

    pub(super) fn all(&self) -> &[Server] {
        &self.all
    }
}

fn nginx(folder: &Path, name: &str, core: &str, config: &str) -> Result<Running, String> {
    let file = folder.join(format!("{name}.conf"));
    let folder_text = folder.to_string_lossy();
    let text = format!(
        "daemon off; worker_processes 1; pid {folder_text}/{name}.pid; error_log stderr error;\n\
         events {{ worker_connections 4096; }}\n\
         http {{ access_log off; keepalive_requests 1000000000;\n\
         client_body_temp_path {folder_text}/tmp; proxy_temp_path {folder_text}/tmp; fastcgi_temp_path {folder_text}/tmp;\n\
         uwsgi_temp_path {folder_text}/tmp; scgi_temp_path {folder_text}/tmp;\n{config}\n}}\n"
    );
    fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
    let arguments =
        ["-c", core, "nginx", "-p", &*folder_text, "-c", &*file.to_string_lossy(), "-e", "stderr"];
    program("taskset", &arguments).start()
}

fn upstream_config(body: usize) -> String {
    let body = "x".repeat(body);
    format!(
        "server {{ listen 127.0.0.1:{UPSTREAM_PORT} backlog=4096; location / {{ return 200 '{body}'; }} }}"
    )
}

fn peer_config() -> String {
    format!(
        "upstream up {{ server 127.0.0.1:{UPSTREAM_PORT}; keepalive 256; keepalive_requests 1000000000; }}\n\
         server {{ listen 127.0.0.1:{NGINX_PORT} backlog=4096; location / {{ proxy_pass http://up;\n\
         proxy_http_version 1.1; proxy_set_header Connection ''; proxy_set_header X-Forwarded-For $remote_addr; }} }}"
    )
}

const POLICY: &str = r#"import type { PolygateContext, PolygateRequest } from "@polygate/runtime";

export async function both(request: PolygateRequest, context: PolygateContext) {
  const agent = request.headers.get("x-client") ?? "unknown";
  request.headers.set("x-seen-by", agent);
  context.addResponseSendingHook((response) => {
    response.headers.set("x-gateway", "polygate");
    return response;
  });
  return request;
}

export async function tag(request: PolygateRequest) {
  const agent = request.headers.get("x-client") ?? "unknown";
  request.headers.set("x-seen-by", agent);
  return request;
}

export async function stamp(response: Response) {
  response.headers.set("x-gateway", "polygate");
  return response;
}
"#;

/// A project with the same upstream: plainly forwarded, with one TypeScript policy that reads a header, sets one and
/// marks the response, and with the same work in an inbound and an outbound policy.
fn project(folder: &Path) -> Result<PathBuf, String> {
    let project = folder.join("project");
    let handler = format!(
        r#""handler": {{ "export": "urlForwardHandler", "module": "$import(@polygate/runtime)", "options": {{ "baseUrl": "http://127.0.0.1:{UPSTREAM_PORT}" }} }}"#
    );
    let routes = format!(
        r#"{{ "openapi": "3.1.0", "info": {{ "title": "bench", "version": "1" }}, "paths": {{
  "/plain": {{ "get": {{ "x-polygate-route": {{ {handler} }} }} }},
  "/one": {{ "get": {{ "x-polygate-route": {{ {handler}, "policies": {{ "inbound": ["both"] }} }} }} }},
  "/two": {{ "get": {{ "x-polygate-route": {{ {handler},
    "policies": {{ "inbound": ["tag"], "outbound": ["stamp"] }} }} }} }} }} }}"#
    );
    let policies = r#"{ "policies": [
  { "name": "both", "policyType": "custom-code-inbound", "handler": { "export": "both", "module": "$import(./modules/policy)" } },
  { "name": "tag", "policyType": "custom-code-inbound", "handler": { "export": "tag", "module": "$import(./modules/policy)" } },
  { "name": "stamp", "policyType": "custom-code-outbound", "handler": { "export": "stamp", "module": "$import(./modules/policy)" } } ] }"#;
    let settings = "[log]\naccess = \"off\"\nxray-sample = 0\n";
    let files = [
        ("config/routes.oas.json", routes.as_str()),
        ("config/policies.json", policies),
        ("modules/policy.ts", POLICY),
        ("polygate.toml", settings),
    ];
    for (name, text) in files {
        let file = project.join(name);
        let folder = file.parent().unwrap_or(&project);
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(project)
}

fn wait_for(port: u16) -> Result<(), String> {
    for _ in 0..250 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(format!("nothing listens on port {port}"))
}

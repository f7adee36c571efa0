//! The servers that are compared, and the upstream behind them.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::measure::Busy;
use super::peers::{envoy, nginx, peer_config, upstream_config};
use super::{Options, Protocol};
use crate::certificate::Certificate;
use crate::process::{Running, program};

/// The core of the proxy under test.
pub(super) const PROXY_CORE: &str = "0";
/// The core of load generator and upstream.
pub(super) const LOAD_CORE: &str = "1";

pub(super) const UPSTREAM_PORT: u16 = 18_090;
const NGINX_PORT: u16 = 18_091;
const POLYGATE_PORT: u16 = 18_092;
const EARLIER_PORT: u16 = 18_093;
const MANY_PORT: u16 = 18_094;
const ENVOY_PORT: u16 = 18_095;
/// Where a server encrypts, beyond its port.
const TLS: u16 = 1_000;

/// Routes of the project that has many.
const MANY: usize = 10_000;

/// A server under test; several routes of one process are several servers.
pub(super) struct Server {
    pub name: String,
    pub port: u16,
    pub path: String,
    id: u32,
}

impl Server {
    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}{}", self.port, self.path)
    }

    /// The server's process and its children.
    pub(super) fn process_ids(&self) -> Vec<u32> {
        let children =
            fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.id)).unwrap_or_default();
        std::iter::once(self.id).chain(children.split_whitespace().filter_map(|id| id.parse().ok())).collect()
    }
}

/// What is measured: paths of the project, and what they show.
const PATHS: [(&str, &str); 3] =
    [("/plain", "plain forward"), ("/one", "one TypeScript policy"), ("/two", "two TypeScript policies")];

/// All servers, running.
pub(super) struct Servers {
    all: Vec<Server>,
    busy: Option<Busy>,
    _running: Vec<Running>,
}

impl Servers {
    /// Starts the upstream, nginx, Envoy if it is wanted, Polygate, and an earlier build of it if there is one; waits until
    /// each listens.
    pub(super) fn start(options: &Options, ours: &Path) -> Result<Self, String> {
        let folder = crate::root().join("target/bench");
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let (mut running, mut busy) = (Vec::new(), None);
        if options.busy {
            busy = Some(Busy::start(UPSTREAM_PORT, options.body)?);
        } else {
            running.push(nginx(&folder, "upstream", Some(LOAD_CORE), &upstream_config(options.body))?);
        }
        wait_for(UPSTREAM_PORT)?;
        let protocol = options.protocol;
        let certificate = match protocol {
            Protocol::Handshakes => Some(Certificate::make(&folder)?),
            _ => None,
        };
        let certificate = certificate.as_ref();
        let measured = |port: u16| if certificate.is_some() { port + TLS } else { port };
        let mut all = Vec::new();
        let mut add = |process: Running, name: &str, port: u16, paths: &[(&str, &str)]| {
            let port = measured(port);
            wait_for(port)?;
            all.extend(paths.iter().map(|(path, what)| Server {
                name: format!("{name}, {what}"),
                port,
                path: (*path).to_owned(),
                id: process.id(),
            }));
            running.push(process);
            Ok::<_, String>(())
        };
        let paths = match protocol {
            Protocol::Http1 => &PATHS[..],
            Protocol::Http2 => &PATHS[..1],
            Protocol::Handshakes => &[("/plain", "handshakes")],
        };
        let config = peer_config(measured(NGINX_PORT), protocol, certificate);
        add(nginx(&folder, "peer", Some(PROXY_CORE), &config)?, "nginx", NGINX_PORT, &paths[..1])?;
        if options.envoy {
            let envoy = envoy(&folder, measured(ENVOY_PORT), certificate)?;
            add(envoy, "envoy", ENVOY_PORT, &paths[..1])?;
        }
        let made = |name: &str, more: usize, port: u16| {
            project(&folder, name, more, certificate.map(|certificate| (port + TLS, certificate)))
        };
        if let Some(earlier) = options.earlier.as_deref() {
            let process = polygate(earlier, &made("earlier", 0, EARLIER_PORT)?, EARLIER_PORT)?;
            add(process, "earlier", EARLIER_PORT, paths)?;
        }
        let process = polygate(ours, &made("project", 0, POLYGATE_PORT)?, POLYGATE_PORT)?;
        add(process, "polygate", POLYGATE_PORT, paths)?;
        if protocol == Protocol::Http1 {
            let process = polygate(ours, &made("many", MANY, MANY_PORT)?, MANY_PORT)?;
            add(process, "polygate", MANY_PORT, &[("/plain", "one of 10,000 routes")])?;
        }
        Ok(Self { all, busy, _running: running })
    }

    /// The load that never sleeps, if it was asked for.
    pub(super) fn take_busy(&mut self) -> Option<Busy> {
        self.busy.take()
    }

    pub(super) fn all(&self) -> &[Server] {
        &self.all
    }
}

fn polygate(binary: &Path, project: &Path, port: u16) -> Result<Running, String> {
    let (binary, project) = (binary.to_string_lossy(), project.to_string_lossy());
    let address = format!("127.0.0.1:{port}");
    let arguments = ["-c", PROXY_CORE, &*binary, "run", &*project];
    let options = ["--workers", "1", "--listen", &address, "--admin", "off"];
    program("taskset", &[&arguments[..], &options[..]].concat()).start()
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
/// marks the response, and with the same work in an inbound and an outbound policy. So many further routes stand before
/// them.
fn project(
    folder: &Path,
    name: &str,
    more: usize,
    tls: Option<(u16, &Certificate)>,
) -> Result<PathBuf, String> {
    let project = folder.join(name);
    let handler = format!(
        r#""handler": {{ "export": "urlForwardHandler", "module": "$import(@polygate/runtime)", "options": {{ "baseUrl": "http://127.0.0.1:{UPSTREAM_PORT}" }} }}"#
    );
    let others: String = (0..more)
        .map(|n| format!(r#""/r{n}/orders/{{id}}": {{ "get": {{ "x-polygate-route": {{ {handler} }} }} }},"#))
        .collect();
    let routes = format!(
        r#"{{ "openapi": "3.1.0", "info": {{ "title": "bench", "version": "1" }}, "paths": {{ {others}
  "/plain": {{ "get": {{ "x-polygate-route": {{ {handler} }} }} }},
  "/one": {{ "get": {{ "x-polygate-route": {{ {handler}, "policies": {{ "inbound": ["both"] }} }} }} }},
  "/two": {{ "get": {{ "x-polygate-route": {{ {handler},
    "policies": {{ "inbound": ["tag"], "outbound": ["stamp"] }} }} }} }} }} }}"#
    );
    let policies = r#"{ "policies": [
  { "name": "both", "policyType": "custom-code-inbound", "handler": { "export": "both", "module": "$import(./modules/policy)" } },
  { "name": "tag", "policyType": "custom-code-inbound", "handler": { "export": "tag", "module": "$import(./modules/policy)" } },
  { "name": "stamp", "policyType": "custom-code-outbound", "handler": { "export": "stamp", "module": "$import(./modules/policy)" } } ] }"#;
    let encrypted = tls.map_or(String::new(), |(port, certificate)| {
        format!("[listen]\ntls-address = \"127.0.0.1:{port}\"\n{}", certificate.settings())
    });
    let settings = format!("[log]\naccess = \"off\"\nxray-sample = 0\n{encrypted}");
    let files = [
        ("config/routes.oas.json", routes.as_str()),
        ("config/policies.json", policies),
        ("modules/policy.ts", POLICY),
        ("polygate.toml", settings.as_str()),
    ];
    crate::project::write(&project, &files)?;
    Ok(project)
}

/// Waits until somebody listens.
pub(crate) fn wait_for(port: u16) -> Result<(), String> {
    for _ in 0..250 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(format!("nothing listens on port {port}"))
}

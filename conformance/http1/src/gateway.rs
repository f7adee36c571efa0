//! The gateway under test: `polygate run` with routes and TypeScript policies, as a process of its own.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// How long it may take to get ready.
const PATIENCE: Duration = Duration::from_secs(30);

const MODULE: &str = r#"
export function deny() {
  return new Response("denied", { status: 403 });
}
export function made() {
  return new Response("made");
}
export async function reads(request: Request) {
  const text = await request.text();
  const headers = new Headers(request.headers);
  headers.set("x-read", String(text.length));
  return new Request(request, { body: "read it\r\n", headers });
}
export function stamp(request: Request) {
  request.headers.set("x-consumer-id", "stamped");
  return request;
}
export function frames(request: Request) {
  request.headers.set("content-length", "50");
  request.headers.set("transfer-encoding", "chunked");
  request.headers.set("connection", "x-other");
  return request;
}
"#;

/// Methods of every route.
const METHODS: [&str; 7] = ["get", "head", "post", "put", "patch", "delete", "options"];

/// A running gateway. Dropping it ends it.
pub(crate) struct Gateway {
    child: Child,
    address: SocketAddr,
    _project: TempDir,
}

impl Gateway {
    /// Writes a project that forwards to `upstream`, and serves it on one worker.
    pub(crate) fn start(program: &Path, upstream: SocketAddr) -> Result<Self, String> {
        let project = tempfile::tempdir().map_err(|error| format!("no folder for a project: {error}"))?;
        write(project.path(), upstream).map_err(|error| format!("the project: {error}"))?;
        let (address, admin) = (free_address()?, free_address()?);
        let child = Command::new(program)
            .arg("run")
            .arg(project.path())
            .args(["--listen", &address.to_string(), "--admin", &admin.to_string(), "--workers", "1"])
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(|error| format!("{}: {error}", program.display()))?;
        let mut gateway = Self { child, address, _project: project };
        let started = Instant::now();
        while !is_ready(admin) {
            if let Ok(Some(status)) = gateway.child.try_wait() {
                return Err(format!("the gateway ended with {status}"));
            }
            if started.elapsed() > PATIENCE {
                return Err("the gateway does not get ready".to_owned());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(gateway)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write(project: &Path, upstream: SocketAddr) -> std::io::Result<()> {
    let forward = json!({
        "export": "urlForwardHandler", "module": "$import(@polygate/runtime)",
        "options": { "baseUrl": format!("http://{upstream}") },
    });
    let made = json!({ "export": "made", "module": "$import(./modules/policies)" });
    let mut paths = serde_json::Map::new();
    let mut add = |path: &str, mode: &str, handler: &Value, policies: &[&str]| {
        let mut item = json!({ "x-polygate-path": { "pathMode": mode } });
        for method in METHODS {
            let route = json!({ "handler": handler, "policies": { "inbound": policies } });
            item[method] = json!({ "x-polygate-route": route });
        }
        paths.insert(path.to_owned(), item);
    };
    add("/early", "open-api", &forward, &["deny"]);
    add("/admin", "open-api", &forward, &["deny"]);
    add("/made", "open-api", &made, &[]);
    add("/reads", "open-api", &forward, &["reads"]);
    add("/stamp", "open-api", &forward, &["stamp"]);
    add("/frames", "open-api", &forward, &["frames"]);
    add("/{rest}", "open-api", &forward, &[]);
    add("/", "open-api", &forward, &[]);
    add("/a-._~!$&'()*+,=:@b", "open-api", &forward, &[]);
    let policy = |name: &str| {
        json!({
            "name": name, "policyType": "custom-code-inbound",
            "handler": { "export": name, "module": "$import(./modules/policies)" },
        })
    };
    let routes =
        json!({ "openapi": "3.1.0", "info": { "title": "conformance", "version": "1" }, "paths": paths });
    let policies = ["deny", "reads", "stamp", "frames"].map(policy);
    let policies = json!({ "policies": policies });
    for folder in ["config", "modules"] {
        fs::create_dir_all(project.join(folder))?;
    }
    fs::write(project.join("config/routes.oas.json"), routes.to_string())?;
    fs::write(project.join("config/policies.json"), policies.to_string())?;
    fs::write(project.join("modules/policies.ts"), MODULE)?;
    fs::write(project.join("polygate.toml"), "[log]\naccess = \"off\"\nlevel = \"warn\"\n")
}

/// An address that was free a moment ago.
fn free_address() -> Result<SocketAddr, String> {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    listener.map_err(|error| format!("no free port: {error}"))
}

fn is_ready(admin: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(admin) else { return false };
    let mut answer = String::new();
    let request = format!("GET /health/ready HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).is_ok()
        && stream.set_read_timeout(Some(PATIENCE)).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200 ")
}

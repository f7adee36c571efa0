//! The gateway under test: `polygate run` with routes and TypeScript policies, as a process of its own.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// How long it may take to get ready, or to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// Methods of every route.
const METHODS: [&str; 7] = ["get", "head", "post", "put", "patch", "delete", "options"];

/// Where what it prints goes, within its project.
const OUTPUT: &str = "output.log";

/// What it serves: routes, and policies that are exports of one module.
pub(crate) struct Project {
    module: &'static str,
    paths: Map<String, Value>,
    policies: BTreeSet<String>,
    /// `polygate.toml`.
    pub(crate) settings: String,
}

impl Project {
    /// Without routes. Policies are exports of `module`.
    pub(crate) fn new(module: &'static str) -> Self {
        Self { module, paths: Map::new(), policies: BTreeSet::new(), settings: String::new() }
    }

    /// A handler that forwards to an upstream.
    pub(crate) fn forward(upstream: SocketAddr) -> Value {
        json!({
            "export": "urlForwardHandler", "module": "$import(@polygate/runtime)",
            "options": { "baseUrl": format!("http://{upstream}") },
        })
    }

    /// A handler that is an export of the module.
    pub(crate) fn function(export: &str) -> Value {
        json!({ "export": export, "module": "$import(./modules/policies)" })
    }

    /// A route for all methods, with what stands under `x-polygate-path`.
    pub(crate) fn route(&mut self, path: &str, form: &Value, handler: &Value, policies: &[&str]) {
        let mut item = json!({ "x-polygate-path": form });
        for method in METHODS {
            let route = json!({ "handler": handler, "policies": { "inbound": policies } });
            item[method] = json!({ "x-polygate-route": route });
        }
        self.paths.insert(path.to_owned(), item);
        self.policies.extend(policies.iter().map(|&name| name.to_owned()));
    }

    /// Gives a route that was added a limit of its own for bodies, in bytes.
    pub(crate) fn limit_bodies(&mut self, path: &str, most: usize) {
        if let Some(item) = self.paths.get_mut(path) {
            for method in METHODS {
                item[method]["x-polygate-route"]["limits"] = json!({ "body": most });
            }
        }
    }

    fn write(&self, root: &Path) -> std::io::Result<()> {
        let policy = |name: &String| json!({ "name": name, "policyType": "custom-code-inbound", "handler": Self::function(name) });
        let policies: Vec<Value> = self.policies.iter().map(policy).collect();
        let info = json!({ "title": "conformance", "version": "1" });
        let routes = json!({ "openapi": "3.1.0", "info": info, "paths": self.paths });
        for folder in ["config", "modules"] {
            fs::create_dir_all(root.join(folder))?;
        }
        fs::write(root.join("config/routes.oas.json"), routes.to_string())?;
        fs::write(root.join("config/policies.json"), json!({ "policies": policies }).to_string())?;
        fs::write(root.join("modules/policies.ts"), self.module)?;
        fs::write(root.join("polygate.toml"), &self.settings)
    }
}

/// A running gateway. Dropping it ends it.
pub(crate) struct Gateway {
    child: Mutex<Child>,
    address: SocketAddr,
    folder: TempDir,
}

impl Gateway {
    /// Serves a project on one worker.
    pub(crate) fn start(program: &Path, project: &Project) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| format!("no folder for a project: {error}"))?;
        let output = project.write(folder.path()).and_then(|()| File::create(folder.path().join(OUTPUT)));
        let output = output.map_err(|error| format!("the project: {error}"))?;
        let (address, admin) = (free_address()?, free_address()?);
        let child = Command::new(program)
            .arg("run")
            .arg(folder.path())
            .args(["--listen", &address.to_string(), "--admin", &admin.to_string(), "--workers", "1"])
            .stdout(output)
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(|error| format!("{}: {error}", program.display()))?;
        let gateway = Self { child: Mutex::new(child), address, folder };
        let started = Instant::now();
        while !is_ready(admin) {
            if !gateway.runs() {
                return Err(format!("the gateway ended:\n{}", gateway.output()));
            }
            if started.elapsed() > PATIENCE {
                return Err(format!("the gateway does not get ready:\n{}", gateway.output()));
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
    pub(crate) fn runs(&self) -> bool {
        matches!(self.child().try_wait(), Ok(None))
    }

    /// What it printed so far.
    pub(crate) fn output(&self) -> String {
        fs::read_to_string(self.folder.path().join(OUTPUT)).unwrap_or_default()
    }

    /// Stops it in good order, so that all it has to print is there.
    pub(crate) fn stop(&self) -> Result<(), String> {
        let id = self.child().id().to_string();
        let told = Command::new("kill").args(["-TERM", &id]).status();
        told.map_err(|error| format!("kill: {error}"))?;
        let told = Instant::now();
        while self.runs() {
            if told.elapsed() > PATIENCE {
                return Err("the gateway does not stop".to_owned());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let mut child = self.child();
        // It may have ended already.
        let _ = child.kill();
        let _ = child.wait();
    }
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

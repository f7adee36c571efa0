//! Projects in temporary folders, and `polygate` as a process of its own over real sockets.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// How long anything may take before a test gives up: generous, for slow machines.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A project that is written file by file.
pub(crate) struct Project {
    folder: TempDir,
    paths: serde_json::Map<String, Value>,
    policies: Vec<Value>,
}

impl Project {
    /// An empty project.
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), paths: Default::default(), policies: vec![] }
    }

    /// Its folder.
    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file.
    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        self.write(name, text);
        self
    }

    /// Writes a file of a project that is running, in one step as editors do.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.root().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A route with a function handler: `export` of `modules/main`.
    pub(crate) fn function(self, method: &str, path: &str, export: &str) -> Self {
        let handler = json!({ "export": export, "module": "$import(./modules/main)" });
        self.route(method, path, handler, &[], &[])
    }

    /// A route that forwards to a base URL through these policies.
    pub(crate) fn forward(self, path: &str, base: &str, inbound: &[&str], outbound: &[&str]) -> Self {
        let handler = json!({
            "export": "urlForwardHandler", "module": "$import(@polygate/runtime)", "options": { "baseUrl": base },
        });
        self.route("get,post", path, handler, inbound, outbound)
    }

    /// A route.
    pub(crate) fn route(
        mut self,
        method: &str,
        path: &str,
        handler: Value,
        inbound: &[&str],
        outbound: &[&str],
    ) -> Self {
        let route = json!({ "handler": handler, "policies": { "inbound": inbound, "outbound": outbound } });
        let item = self.paths.entry(path).or_insert_with(|| json!({}));
        item[method] = json!({ "x-polygate-route": route });
        self.with_routes()
    }

    /// Gives a route that stands there already a limit of its own for bodies.
    pub(crate) fn body_limit(mut self, method: &str, path: &str, limit: Value) -> Self {
        self.paths[path][method]["x-polygate-route"]["limits"] = json!({ "body": limit });
        self.with_routes()
    }

    fn with_routes(self) -> Self {
        let routes =
            json!({ "openapi": "3.1.0", "info": { "title": "t", "version": "1" }, "paths": self.paths });
        self.file("config/routes.oas.json", &routes.to_string())
    }

    /// A policy: `export` of `modules/main`, with further members such as a budget.
    pub(crate) fn policy(mut self, name: &str, export: &str, more: Value) -> Self {
        let mut policy = json!({
            "name": name, "policyType": "custom-code-inbound",
            "handler": { "export": export, "module": "$import(./modules/main)" },
        });
        for (member, value) in more.as_object().unwrap() {
            policy[member] = value.clone();
        }
        self.policies.push(policy);
        let policies = json!({ "policies": self.policies });
        self.file("config/policies.json", &policies.to_string())
    }

    /// Lets modules import the packages of `tests/packages`; false when they are not installed, which is reported.
    pub(crate) fn packages(&self, needed_by: &str) -> bool {
        let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/packages/node_modules");
        if !installed.join("zod").exists() {
            skip(
                needed_by,
                "npm packages are not installed (run `cargo xtask test`, or npm ci in crates/polygate/tests/packages)",
            );
            return false;
        }
        std::os::unix::fs::symlink(installed, self.root().join("node_modules")).unwrap();
        true
    }

    /// Serves it with `polygate run`.
    pub(crate) fn run(&self) -> Gateway {
        Gateway::start("run", self.root(), &[])
    }

    /// Serves it with `polygate dev`.
    pub(crate) fn dev(&self) -> Gateway {
        Gateway::start("dev", self.root(), &[])
    }
}

/// Reports a test that cannot run here.
pub(crate) fn skip(test: &str, why: &str) {
    eprintln!("skipped {test}: {why}");
    if let Some(path) = std::env::var_os("POLYGATE_SKIPPED_TESTS") {
        let mut file = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        writeln!(file, "{test}: {why}").unwrap();
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The program under test.
pub(crate) fn polygate() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_polygate"));
    command.env("NO_COLOR", "1").env_remove("API_KEYS");
    command
}

/// A running `polygate`.
pub(crate) struct Gateway {
    child: Child,
    port: u16,
    admin: u16,
    output: Arc<Mutex<String>>,
}

/// A response.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: ureq::http::HeaderMap,
    pub(crate) body: String,
}

impl Reply {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.body))
    }
}

impl Gateway {
    /// Starts it and waits until it is ready.
    pub(crate) fn start(command: &str, project: &Path, more: &[&str]) -> Self {
        Self::start_with(command, project, more, &[])
    }

    /// The same with environment variables.
    pub(crate) fn start_with(
        command: &str,
        project: &Path,
        more: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let (mut port, admin) = (free_port(), free_port());
        let workers: &[&str] = if more.contains(&"--workers") { &[] } else { &["--workers", "2"] };
        let listen = format!("127.0.0.1:{port}");
        let listen = match more.iter().position(|argument| *argument == "--listen") {
            Some(given) => {
                port = more[given + 1].rsplit_once(':').unwrap().1.parse().unwrap();
                Vec::new()
            }
            None => vec!["--listen", &listen],
        };
        let mut child = polygate()
            .arg(command)
            .arg(project)
            .args(listen)
            .args(["--admin", &format!("127.0.0.1:{admin}")])
            .args(workers)
            .args(more)
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = Arc::new(Mutex::new(String::new()));
        collect(child.stdout.take().unwrap(), output.clone());
        collect(child.stderr.take().unwrap(), output.clone());
        let mut gateway = Self { child, port, admin, output };
        let started = Instant::now();
        while !matches!(try_get(&gateway.admin_url("/health/ready")), Some(reply) if reply.status == 200) {
            if let Some(status) = gateway.child.try_wait().unwrap() {
                panic!("polygate ended with {status}:\n{}", gateway.output());
            }
            assert!(started.elapsed() < PATIENCE, "not ready:\n{}", gateway.output());
            std::thread::sleep(Duration::from_millis(10));
        }
        gateway
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A URL on it.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// A URL of its admin API.
    pub(crate) fn admin_url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.admin)
    }

    /// GET.
    pub(crate) fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], "")
    }

    /// POST.
    pub(crate) fn post(&self, path: &str, body: &str) -> Reply {
        self.send("POST", path, &[], body)
    }

    /// Any request.
    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut request = ureq::http::Request::builder().method(method).uri(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let reply = if body.is_empty() && method == "GET" {
            agent().run(request.body(()).unwrap())
        } else {
            agent().run(request.body(body.to_owned()).unwrap())
        };
        read(reply.unwrap_or_else(|error| panic!("{method} {path}: {error}\n{}", self.output())))
    }

    /// GET on the admin API, as JSON.
    pub(crate) fn admin(&self, path: &str) -> Value {
        try_get(&self.admin_url(path))
            .unwrap_or_else(|| panic!("no answer from the admin API\n{}", self.output()))
            .json()
    }

    /// GET on the admin API, as text.
    pub(crate) fn admin_text(&self, path: &str) -> String {
        try_get(&self.admin_url(path))
            .unwrap_or_else(|| panic!("no answer from the admin API\n{}", self.output()))
            .body
    }

    /// All that it printed so far.
    pub(crate) fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    /// Waits until it has printed something.
    pub(crate) fn await_output(&self, text: &str) -> String {
        self.wait(|| self.output().contains(text).then(|| self.output()), &format!("output {text:?}"))
    }

    /// Waits until there is an answer.
    pub(crate) fn wait<T>(&self, mut ask: impl FnMut() -> Option<T>, what: &str) -> T {
        let started = Instant::now();
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            assert!(started.elapsed() < PATIENCE, "waited in vain for {what}:\n{}", self.output());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "did not end:\n{}", self.output());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(stream: impl std::io::Read + Send + 'static, output: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut output = output.lock().unwrap();
            output.push_str(&line);
            output.push('\n');
        }
    });
}

/// A client that follows no redirects and takes every status for an answer.
pub(crate) fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_global(Some(PATIENCE))
        .build()
        .new_agent()
}

fn try_get(url: &str) -> Option<Reply> {
    agent().get(url).call().ok().map(read)
}

fn read(reply: ureq::http::Response<ureq::Body>) -> Reply {
    let (parts, mut body) = reply.into_parts();
    Reply { status: parts.status.as_u16(), headers: parts.headers, body: body.read_to_string().unwrap() }
}

/// The folder of an example.
pub(crate) fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name).canonicalize().unwrap()
}

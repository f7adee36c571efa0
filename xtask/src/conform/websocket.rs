//! `cargo xtask conform websocket`: Autobahn's client plays its cases against Autobahn's server, directly and through the
//! gateway. What a case finds must be the same both ways.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use crate::process::{Program, cargo, program};
use crate::{Outcome, root};

#[derive(Args)]
pub(crate) struct Options {
    /// Cases to run, such as `1.*,9.1.*`. All of them take about an hour.
    #[arg(long, value_delimiter = ',', default_value = "*")]
    cases: Vec<String>,
    /// A Python 2.7 with pip, which the suite needs.
    #[arg(long, default_value = "python2.7")]
    python: PathBuf,
    /// Program to run in place of a debug build.
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
}

/// The suite, of PyPI.
const SUITE: &str = "autobahntestsuite==25.10.1";
/// Runs its command out of a folder of packages, some of which share a namespace by `.pth` files.
const WSTEST: &str = "import os, site, sys; site.addsitedir(os.environ['SUITE']); \
                      from autobahntestsuite.wstest import run; sys.argv[0] = 'wstest'; run()";
/// How long a program may take to listen: the suite's server compiles itself at its first start.
const PATIENCE: Duration = Duration::from_secs(30);

/// What both ways are called.
const DIRECT: &str = "direct";
const GATEWAY: &str = "gateway";

pub(crate) fn run(options: &Options) -> Outcome {
    let folder = root().join("target/conform/websocket");
    let suite = folder.join("suite");
    install(&options.python, &suite)?;
    let binary = match &options.binary {
        Some(binary) => std::path::absolute(binary).map_err(|error| error.to_string())?,
        None => {
            cargo(&["build", "--quiet", "--package", "polygate"]).run()?;
            root().join("target/debug/polygate")
        }
    };
    let (server, gateway) = (free_port()?, free_port()?);
    let project = folder.join("project");
    write_project(&project, server).map_err(|error| format!("{}: {error}", project.display()))?;
    let url = format!("ws://127.0.0.1:{server}");
    // "Testee" is what Autobahn calls a server that its client tests; this one speaks extensions as well.
    let arguments = ["-c", WSTEST, "--mode", "testeeserver", "--wsuri", &url, "--webport", "0"];
    let _server = wstest(&options.python, &suite, &arguments).start()?;
    let listen = format!("127.0.0.1:{gateway}");
    let arguments =
        ["run", &*project.to_string_lossy(), "--listen", &listen, "--admin", "off", "--workers", "1"];
    let _gateway = program(&binary, &arguments).start()?;
    for port in [server, gateway] {
        await_port(port)?;
    }

    let reports = folder.join("reports");
    // Verdicts of an earlier run must not be taken for those of this one.
    let _ = fs::remove_dir_all(&reports);
    let spec = json!({
        "outdir": reports,
        "servers": [
            { "agent": DIRECT, "url": url },
            { "agent": GATEWAY, "url": format!("ws://127.0.0.1:{gateway}/") },
        ],
        "cases": options.cases, "exclude-cases": [], "exclude-agent-cases": {},
    });
    let file = folder.join("spec.json");
    fs::write(&file, spec.to_string()).map_err(|error| format!("{}: {error}", file.display()))?;
    let arguments = ["-c", WSTEST, "--mode", "fuzzingclient", "--spec", &*file.to_string_lossy()];
    wstest(&options.python, &suite, &arguments).output()?;
    let index = reports.join("index.json");
    let text = fs::read_to_string(&index).map_err(|error| format!("{}: {error}", index.display()))?;
    let verdicts = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", index.display()))?;
    compare(&verdicts)
}

/// Puts the suite into a folder of its own, unless it is there.
fn install(python: &Path, suite: &Path) -> Outcome {
    if suite.join("autobahntestsuite").exists() {
        return Ok(());
    }
    let target = suite.to_string_lossy();
    let arguments = ["-m", "pip", "install", "--quiet", "--target", &target, SUITE];
    program(python, &arguments)
        .run()
        .map_err(|why| format!("{why}; Autobahn's suite needs a Python 2.7 with pip: --python PATH"))
}

fn wstest(python: &Path, suite: &Path, arguments: &[&str]) -> Program {
    program(python, arguments).variable("SUITE", suite)
}

/// A project that forwards everything to the server.
fn write_project(folder: &Path, server: u16) -> std::io::Result<()> {
    let handler = json!({
        "export": "urlForwardHandler", "module": "$import(@polygate/runtime)",
        "options": { "baseUrl": format!("http://127.0.0.1:{server}") },
    });
    let route = json!({ "get": { "x-polygate-route": { "handler": handler, "policies": {} } } });
    let routes =
        json!({ "openapi": "3.1.0", "info": { "title": "t", "version": "1" }, "paths": { "/": route } });
    fs::create_dir_all(folder.join("config"))?;
    fs::write(folder.join("config/routes.oas.json"), routes.to_string())
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    listener.map(|address| address.port()).map_err(|error| error.to_string())
}

fn await_port(port: u16) -> Outcome {
    let started = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if started.elapsed() > PATIENCE {
            return Err(format!("nothing listens on port {port}"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// What was found of a case, without its duration.
fn verdict(found: &Value) -> (&Value, &Value, &Value) {
    (&found["behavior"], &found["behaviorClose"], &found["remoteCloseCode"])
}

/// Prints how often each verdict was given, and each case whose verdicts differ, which there must not be.
fn compare(verdicts: &Value) -> Outcome {
    let of = |way: &str| verdicts[way].as_object().ok_or_else(|| format!("no verdicts of {way:?}"));
    let (direct, gateway) = (of(DIRECT)?, of(GATEWAY)?);
    let mut different = Vec::new();
    let mut counts = std::collections::BTreeMap::<&str, usize>::new();
    for (case, found) in direct {
        *counts.entry(found["behavior"].as_str().unwrap_or("none")).or_default() += 1;
        let other = gateway.get(case).unwrap_or(&Value::Null);
        if verdict(found) != verdict(other) {
            different.push(format!(
                "{case}: {:?} directly, {:?} through the gateway",
                verdict(found),
                verdict(other)
            ));
        }
    }
    let counts: Vec<_> = counts.iter().map(|(verdict, count)| format!("{count} {verdict}")).collect();
    println!("{} cases: {}", direct.len(), counts.join(", "));
    if direct.is_empty() || gateway.len() != direct.len() {
        return Err(format!("{} cases ran directly, {} through the gateway", direct.len(), gateway.len()));
    }
    if different.is_empty() {
        println!("the same verdicts through the gateway");
        return Ok(());
    }
    Err(format!("{} verdicts differ:\n  {}", different.len(), different.join("\n  ")))
}

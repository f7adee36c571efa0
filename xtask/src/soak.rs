//! `cargo xtask soak`: binary upgrades and edits under load, and memory over many reloads.

mod http2;
mod streams;
mod upgrades;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;

use crate::bench::memory_kib;
use crate::certificate::Certificate;
use crate::process::{cargo, program};
use crate::{Outcome, root, setup};

#[derive(Args)]
pub(crate) struct Options {
    /// Binary upgrades that are made while `wrk`, `curl`, clients of HTTP/2, WebSockets and streams of events put load on the gateway; 0
    /// leaves the part out.
    #[arg(long, default_value_t = 5)]
    upgrades: usize,
    /// Reloads that are made between the upgrades, under the same load.
    #[arg(long, default_value_t = 20)]
    upgrade_reloads: usize,
    /// Edits that are made while `wrk` puts load on the gateway; 0 leaves the part out.
    #[arg(long, default_value_t = 100)]
    edits: usize,
    /// Reloads over which memory must not grow; 0 leaves the part out.
    #[arg(long, default_value_t = 1000)]
    reloads: usize,
    /// Program to run in place of a release build.
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
}

const PORT: u16 = 18_095;
const ADMIN: u16 = 18_096;
const TLS_PORT: u16 = 18_099;
/// Further settings. WebSockets outlive every stop, so that each takes as long as it may.
const SETTINGS: &str = "[log]\naccess = \"errors\"\n\n[timeouts]\ndrain = \"3s\"\n";
/// How much resident memory may grow from the 10th reload to the last.
const ALLOWED_GROWTH: f64 = 1.05;

pub(crate) fn run(options: &Options) -> Outcome {
    if let Some(missing) = setup::missing(&[("wrk", "wrk"), ("curl", "curl"), ("openssl", "openssl")]) {
        return Err(missing);
    }
    setup::npm("examples/quickstart")?;
    let binary = match &options.binary {
        Some(binary) => std::path::absolute(binary).map_err(|error| error.to_string())?,
        None => {
            cargo(&["build", "--release", "--quiet", "--package", "polygate"]).run()?;
            crate::bench::release_binary()
        }
    };
    // A copy, because it is edited.
    let project = root().join("target/soak");
    if project.exists() {
        fs::remove_dir_all(&project).map_err(|error| format!("target/soak: {error}"))?;
    }
    copy(&root().join("examples/quickstart"), &project).map_err(|error| format!("target/soak: {error}"))?;
    let settings = project.join("polygate.toml");
    let text = fs::read_to_string(&settings).map_err(|error| error.to_string())?;
    let certificate = Certificate::make(&project)?;
    let tls = format!("[listen]\ntls-address = \"127.0.0.1:{TLS_PORT}\"\n{}", certificate.settings());
    // Another port than the example's own, which may run beside us.
    let text = format!("{}\n{SETTINGS}\n{tls}", text.replace("9010", "19010"));
    fs::write(&settings, text).map_err(|error| error.to_string())?;

    if options.upgrades > 0 {
        streams::upstream(&project).map_err(|error| format!("target/soak: {error}"))?;
        http2::routes(&project).map_err(|error| format!("target/soak: {error}"))?;
        upgrades::run(&binary, &project, &certificate, options.upgrades, options.upgrade_reloads)?;
    }
    if options.edits == 0 && options.reloads == 0 {
        return Ok(());
    }
    let (listen, admin) = (format!("127.0.0.1:{PORT}"), format!("127.0.0.1:{ADMIN}"));
    let arguments = ["dev", &*project.to_string_lossy(), "--listen", &listen, "--admin", &admin];
    let gateway = program(&binary, &arguments).start()?;
    ready()?;
    if options.edits > 0 {
        under_load(&project, options.edits)?;
    }
    if options.reloads > 0 {
        memory(&project, gateway.id(), options.reloads)?;
    }
    Ok(())
}

/// Waits until the gateway is ready.
fn ready() -> Outcome {
    let started = Instant::now();
    while !get(ADMIN, "/health/ready").is_ok_and(|reply| reply.starts_with("HTTP/1.1 200")) {
        if started.elapsed() > Duration::from_secs(10) {
            return Err("the gateway did not get ready".to_owned());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    println!("ready after {:?}", started.elapsed());
    Ok(())
}

/// The stamp policy with another value.
fn edit(project: &Path, value: &str) -> Outcome {
    let text = format!(
        "export default async function stamp(response: Response) {{\n  const stamped = new Response(response.body, response);\n  \
         stamped.headers.set(\"x-handled-by\", \"{value}\");\n  return stamped;\n}}\n"
    );
    fs::write(project.join("modules/stamp.ts"), text).map_err(|error| error.to_string())
}

/// Saves an edit and gives the time until a response shows it.
fn save_and_see(project: &Path, value: &str) -> Result<Duration, String> {
    edit(project, value)?;
    let saved = Instant::now();
    let expected = format!("x-handled-by: {value}\r\n");
    loop {
        if get(PORT, "/orders").is_ok_and(|reply| reply.contains(&expected)) {
            return Ok(saved.elapsed());
        }
        if saved.elapsed() > Duration::from_secs(10) {
            return Err(format!("edit {value} did not show"));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn under_load(project: &Path, edits: usize) -> Outcome {
    let url = format!("http://127.0.0.1:{PORT}/orders");
    let load = std::thread::spawn(move || {
        let header = ["-H", "x-api-key: demo-key"];
        program("wrk", &["-t1", "-c8", "-d30s", "--latency", header[0], header[1], &url]).output()
    });
    std::thread::sleep(Duration::from_millis(500));
    let mut times = Vec::new();
    for number in 0..edits {
        times.push(save_and_see(project, &format!("edit-{number}"))?);
        std::thread::sleep(Duration::from_millis(20));
    }
    times.sort();
    let output = load.join().map_err(|_| "the load generator's thread failed".to_owned())??;
    println!("{}", output.trim_end());
    let at =
        |part: usize| times.get((times.len().saturating_sub(1)) * part / 100).copied().unwrap_or_default();
    println!(
        "{edits} edits under load: shown after {:?} (median), {:?} (99th), {:?} (longest)",
        at(50),
        at(99),
        at(100)
    );
    if output.contains("Non-2xx") || output.contains("Socket errors") {
        return Err("requests failed while edits were made".to_owned());
    }
    println!("no request failed");
    Ok(())
}

fn memory(project: &Path, id: u32, reloads: usize) -> Outcome {
    let mut after_ten = 0;
    for number in 1..=reloads {
        save_and_see(project, &format!("reload-{number}"))?;
        if number == 10 {
            after_ten = memory_kib(id);
        }
        if number % 100 == 0 {
            println!("{number} reloads: {} MiB resident", memory_kib(id) / 1024);
        }
    }
    let last = memory_kib(id);
    let growth = last as f64 / after_ten.max(1) as f64;
    println!("resident after 10 reloads {after_ten} KiB, after {reloads} {last} KiB: {growth:.3} times");
    if growth > ALLOWED_GROWTH {
        return Err(format!("resident memory grew {growth:.3} times"));
    }
    Ok(())
}

fn get(port: u16, path: &str) -> Result<String, std::io::Error> {
    ask("GET", port, path)
}

fn ask(method: &str, port: u16, path: &str) -> Result<String, std::io::Error> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nx-api-key: demo-key\r\nconnection: close\r\n\r\n"
    )?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    Ok(reply)
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

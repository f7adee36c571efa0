//! `cargo xtask soak`: edits under load, and memory over many reloads.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::Args;

use crate::process::{cargo, program};
use crate::{Outcome, root, setup};

#[derive(Args)]
pub(crate) struct Options {
    /// Edits that are made while `wrk` puts load on the gateway.
    #[arg(long, default_value_t = 100)]
    edits: usize,
    /// Reloads over which memory must not grow.
    #[arg(long, default_value_t = 1000)]
    reloads: usize,
}

const PORT: u16 = 18_095;
const ADMIN: u16 = 18_096;
/// How much resident memory may grow from the 10th reload to the last.
const ALLOWED_GROWTH: f64 = 1.05;

pub(crate) fn run(options: &Options) -> Outcome {
    if let Some(missing) = setup::missing(&[("wrk", "wrk")]) {
        return Err(missing);
    }
    setup::npm("examples/quickstart")?;
    cargo(&["build", "--release", "--quiet", "--package", "polygate"]).run()?;
    // A copy, because it is edited.
    let project = root().join("target/soak");
    if project.exists() {
        fs::remove_dir_all(&project).map_err(|error| format!("target/soak: {error}"))?;
    }
    copy(&root().join("examples/quickstart"), &project).map_err(|error| format!("target/soak: {error}"))?;
    let settings = project.join("polygate.toml");
    let text = fs::read_to_string(&settings).map_err(|error| error.to_string())?;
    // Another port than the example's own, which may run beside us.
    let text = text
        .replace("9010", "19010")
        .replace("[upstreams.orders]", "[log]\naccess = \"errors\"\n\n[upstreams.orders]");
    fs::write(&settings, text).map_err(|error| error.to_string())?;

    let binary = crate::bench::release_binary();
    let (listen, admin) = (format!("127.0.0.1:{PORT}"), format!("127.0.0.1:{ADMIN}"));
    let arguments = ["dev", &*project.to_string_lossy(), "--listen", &listen, "--admin", &admin];
    let started = Instant::now();
    let gateway = program(&binary, &arguments).start()?;
    while !get(ADMIN, "/health/ready").is_ok_and(|reply| reply.starts_with("HTTP/1.1 200")) {
        if started.elapsed() > Duration::from_secs(10) {
            return Err("the gateway did not get ready".to_owned());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    println!("ready after {:?}", started.elapsed());
    under_load(&project, options.edits)?;
    memory(&project, gateway.id(), options.reloads)
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
            after_ten = resident_kib(id);
        }
        if number % 100 == 0 {
            println!("{number} reloads: {} MiB resident", resident_kib(id) / 1024);
        }
    }
    let last = resident_kib(id);
    let growth = last as f64 / after_ten.max(1) as f64;
    println!("resident after 10 reloads {after_ten} KiB, after {reloads} {last} KiB: {growth:.3} times");
    if growth > ALLOWED_GROWTH {
        return Err(format!("resident memory grew {growth:.3} times"));
    }
    Ok(())
}

fn resident_kib(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn get(port: u16, path: &str) -> Result<String, std::io::Error> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: localhost\r\nx-api-key: demo-key\r\nconnection: close\r\n\r\n"
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

//! `cargo xtask conform`: conformance of the built program, seen from outside.

mod http2;
mod stress;
mod websocket;

use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};

use crate::process::{cargo, exists, program};
use crate::{Outcome, root, setup};

#[derive(Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Send raw bytes to a gateway, and compare what both sides see with what RFC 9110 and RFC 9112 ask for.
    Http1 {
        /// Only cases whose class or name holds this, or of the class with this number.
        filter: Option<String>,
    },
    /// Run h2spec, which Go builds when it is not there yet, against a gateway: without TLS, and with it.
    Http2,
    /// Have mutated streams of requests, or of responses, split by our parser, by h11 and by llhttp, and report where they
    /// differ.
    Fuzz {
        /// Streams of responses in place of requests.
        #[arg(long)]
        responses: bool,
        /// For how long.
        #[arg(long, default_value_t = 1)]
        minutes: u64,
        /// Makes another run; the same number makes the same one again.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Put three times the load on a gateway that it can serve, in 512 MiB of memory: what is served, refused and said, and
    /// how soon all is well again.
    Overload(stress::OverloadOptions),
    /// Attack a gateway over HTTP/2 in all ways that are known, again and again, while others are served: who is cut off, what
    /// it costs, and whether the others notice.
    Attacks(stress::AttackOptions),
    /// Have slowhttptest open thousands of connections that send heads, send bodies or read as slowly as they may, while
    /// others are served.
    Slow(stress::SlowOptions),
    /// Run Autobahn's cases against a WebSocket server, directly and through the gateway, and compare the verdicts.
    Websocket(websocket::Options),
}

/// The other parser in Python, and the folder in `target` where it is installed.
const H11: (&str, &str) = ("h11==0.16.0", "target/conformance-python");

/// How long a gateway may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn run(options: &Options) -> Outcome {
    match &options.what {
        What::Http1 { filter } => http1(filter.as_deref()),
        What::Http2 => http2::run(),
        What::Fuzz { responses, minutes, seed } => fuzz(*responses, *minutes, *seed),
        What::Overload(options) => stress::overload(options),
        What::Attacks(options) => stress::attacks(options),
        What::Slow(options) => stress::slow(options),
        What::Websocket(options) => websocket::run(options),
    }
}

/// Runs the raw-byte suite. It fails when a case does.
pub(crate) fn http1(filter: Option<&str>) -> Outcome {
    cargo(&["build", "--quiet", "--package", "polygate", "--package", "conformance-http1"]).run()?;
    let built = root().join("target/debug");
    let mut arguments = vec!["suite", "--gateway", "target/debug/polygate"];
    arguments.extend(filter);
    program(built.join("conformance-http1"), &arguments).run()
}

/// Compares parsers. One that is not there is said and left out; it fails when none is.
fn fuzz(responses: bool, minutes: u64, seed: u64) -> Outcome {
    let (seconds, seed) = ((minutes * 60).to_string(), seed.to_string());
    let mut arguments =
        vec!["fuzz", "--oracles", "conformance/http1/oracles", "--seconds", &seconds, "--seed", &seed];
    if responses {
        arguments.push("--responses");
    }
    let (package, folder) = H11;
    let python = root().join(folder).join("bin/python");
    let python = python.to_string_lossy();
    match setup::python(folder, package) {
        Ok(()) => arguments.extend(["--python", &python]),
        Err(why) => println!("left out h11: {why}"),
    }
    if exists("node") {
        arguments.extend(["--node", "node"]);
    } else {
        println!("left out llhttp: node is not installed (Debian: apt-get install nodejs)");
    }
    cargo(&["build", "--quiet", "--package", "conformance-http1"]).run()?;
    program(root().join("target/debug/conformance-http1"), &arguments).run()
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16, String> {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    address.map(|address| address.port()).map_err(|error| error.to_string())
}

fn await_listener(port: u16) -> Outcome {
    let started = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if started.elapsed() > PATIENCE {
            return Err("the gateway does not listen".to_owned());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

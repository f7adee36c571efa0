//! HTTP/1.1 conformance of a running gateway, over bare sockets: no client or server library that could put bytes right
//! stands between.
//!
//! Every [`case`] of the [`cases`] is three observations: what the client is answered, which bytes the upstream receives, and
//! whether both connections are good for another request. The [`gateway`] is the real program with real TypeScript
//! policies; the [`upstream`] keeps what it receives and judges it with a strict reader of its own ([`message`]).
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line program talks to its user")]

mod case;
mod cases;
mod client;
mod fuzz;
mod gateway;
mod message;
mod paths;
mod suite;
mod upstream;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

/// HTTP/1.1 conformance. `cargo xtask conform` builds what this needs and runs it.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Send the cases' bytes to a gateway and print a table.
    Suite {
        /// The `polygate` program.
        #[arg(long)]
        gateway: PathBuf,
        /// Only cases whose class or name holds this, or of the class with this number.
        filter: Option<String>,
    },
    /// Have mutated streams split by our parser and by others.
    Fuzz(Fuzz),
}

#[derive(Args)]
struct Fuzz {
    /// A Python that has h11.
    #[arg(long)]
    python: Option<PathBuf>,
    /// Node.js.
    #[arg(long)]
    node: Option<PathBuf>,
    /// The folder with the other parsers' programs.
    #[arg(long)]
    oracles: PathBuf,
    /// For how long.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Streams of responses in place of requests.
    #[arg(long)]
    responses: bool,
    /// Makes another run; the same number makes the same one again.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Suite { gateway, filter } => suite::run(&gateway, filter.as_deref()),
        Task::Fuzz(options) => {
            let run = if options.responses { fuzz::run_responses } else { fuzz::run };
            run(&fuzz::Plan {
                python: options.python.as_deref(),
                node: options.node.as_deref(),
                oracles: &options.oracles,
                time: Duration::from_secs(options.seconds),
                seed: options.seed,
            })
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}

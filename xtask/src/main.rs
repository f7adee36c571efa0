//! The project's own tasks. `cargo xtask --help` lists them.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line program talks to its user")]

mod bench;
mod certificate;
mod conform;
mod dist;
mod process;
mod project;
mod setup;
mod soak;
mod test;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own tasks.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Set up what tests need, run all of them, and say what was skipped and why.
    Test(test::Options),
    /// Measure CPU time per request against nginx in interleaved rounds.
    Bench(bench::Options),
    /// Compare the program with what standards ask for.
    Conform(conform::Options),
    /// Build the binary that is shipped: optimised by a profile of what a gateway does under load.
    Dist(dist::Options),
    /// Edit policies under load, and watch memory over many reloads.
    Soak(soak::Options),
    /// Load generator and upstream of `bench --busy`.
    #[command(hide = true)]
    Busy(bench::BusyOptions),
    /// Write the generated files of the tree (JSON Schemas) anew.
    Gen,
}

/// Why a task did not succeed; already complete as a sentence.
type Outcome = Result<(), String>;

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Test(options) => test::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Conform(options) => conform::run(&options),
        Task::Dist(options) => dist::run(&options),
        Task::Soak(options) => soak::run(&options),
        Task::Busy(options) => bench::busy(&options),
        Task::Gen => generate(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn generate() -> Outcome {
    process::cargo(&["run", "--quiet", "--package", "polygate", "--", "schema", "--out", "schemas"]).run()
}

/// The tree's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

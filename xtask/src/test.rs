//! `cargo xtask test`: sets up what tests need, runs all of them and the conformance suite, and closes with what was skipped and why.

use clap::Args;

use crate::process::{cargo, exists, program};
use crate::{Outcome, conform, root, setup};

/// Folders with a package.json whose packages tests use.
const PACKAGES: &[&str] = &["examples/quickstart", "crates/polygate/tests/packages"];

/// The Python that tests run, in a virtual environment, and the packages that they need.
const PYTHON: (&str, &[&str]) = ("target/test-python", &["websockets", "grpcio", "hypercorn"]);

#[derive(Args)]
pub(crate) struct Options {
    /// Only tests whose name holds this.
    filter: Option<String>,
}

pub(crate) fn run(options: &Options) -> Outcome {
    let mut skipped = Vec::new();
    for folder in PACKAGES {
        if let Err(why) = setup::npm(folder) {
            skipped.push(format!("tests with npm packages of {folder}: {why}"));
        }
    }
    if let Err(why) = setup::pebble() {
        skipped.push(format!("tests with Pebble: {why}"));
    }
    // Without it, tests try the system's Python, and say what is missing.
    for package in PYTHON.1 {
        if let Err(why) = setup::python(PYTHON.0, package) {
            println!("{package}: {why}");
        }
    }
    // Tests add a line for each case that they cannot run here.
    let report = root().join("target").join("skipped-tests.txt");
    std::fs::create_dir_all(root().join("target")).map_err(|error| format!("target: {error}"))?;
    std::fs::write(&report, "").map_err(|error| format!("{}: {error}", report.display()))?;

    let mut arguments = vec!["test", "--workspace", "--quiet"];
    if let Some(filter) = &options.filter {
        arguments.extend(["--", filter]);
    }
    let mut tests = cargo(&arguments).variable("POLYGATE_SKIPPED_TESTS", &report);
    let python = root().join(PYTHON.0).join("bin/python");
    if python.exists() {
        tests = tests.variable("POLYGATE_TEST_PYTHON", python);
    }
    let mut outcome = tests.run();
    if outcome.is_ok() && options.filter.is_none() {
        outcome = types(&mut skipped);
    }
    if outcome.is_ok() && options.filter.is_none() {
        outcome = conform::http1(None);
    }

    let reported = std::fs::read_to_string(&report).unwrap_or_default();
    skipped.extend(reported.lines().map(str::to_owned));
    if skipped.is_empty() {
        println!("\nnothing was skipped");
    } else {
        println!("\nskipped:");
        for line in &skipped {
            println!("  {line}");
        }
    }
    outcome
}

/// Checks the quickstart's TypeScript against our declarations with the real compiler.
fn types(skipped: &mut Vec<String>) -> Outcome {
    let folder = root().join("examples/quickstart");
    if !exists("node") || !folder.join("node_modules/.bin/tsc").exists() {
        skipped.push("type check of examples/quickstart: tsc is not installed".to_owned());
        return Ok(());
    }
    program("npx", &["--no-install", "tsc", "--noEmit"]).within(&folder).run()
}

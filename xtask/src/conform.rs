//! `cargo xtask conform`: conformance of the built program, seen from outside.

use clap::{Args, Subcommand};

use crate::process::{cargo, program};
use crate::{Outcome, root};

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
}

pub(crate) fn run(options: &Options) -> Outcome {
    match &options.what {
        What::Http1 { filter } => http1(filter.as_deref()),
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

//! `cargo xtask dist`: the binary that is shipped, optimised by a profile of what a gateway does under load.
//!
//! The compiler lays out code by how often each branch was taken in training, and inlines what was called often. The
//! profile stays in `target`, so that builds after it, of a source that has changed a little, need no training.

mod training;

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::process::{cargo, exists, program};
use crate::{Outcome, root};

#[derive(Args)]
pub(crate) struct Options {
    /// Use the profile of the last time, if there is one, in place of training anew.
    #[arg(long)]
    keep_profile: bool,
}

/// How a binary is made that is to be measured.
#[derive(Args)]
pub(crate) struct Build {
    /// Build without a profile, which takes a quarter of the time: what `cargo build --profile dist` makes.
    #[arg(long)]
    no_profile: bool,
}

pub(crate) fn run(options: &Options) -> Outcome {
    let binary = profiled(options.keep_profile)?;
    println!("\n{}", binary.display());
    Ok(())
}

impl Build {
    /// Builds what is shipped, by the last profile if there is one; without one where it cannot be made here, which is said.
    pub(crate) fn build(&self) -> Result<PathBuf, String> {
        if !self.no_profile {
            let merger = Compiler::ask().and_then(|compiler| compiler.merger());
            match merger.and_then(|_| training::check()) {
                Ok(()) => return profiled(true),
                Err(missing) => {
                    println!("built without a profile, so slower than what is shipped: {missing}");
                }
            }
        }
        println!("building the binary with all optimisation (profile dist; takes minutes)");
        cargo(&["build", "--profile", "dist", "--quiet", "--package", "polygate"]).run()?;
        Ok(target().join("dist/polygate"))
    }
}

/// Cargo's target folder.
pub(crate) fn target() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    root().join(target)
}

/// Builds by a profile, which is made first where there is none or it is not to be kept. Gives the binary.
fn profiled(keeps_profile: bool) -> Result<PathBuf, String> {
    let compiler = Compiler::ask()?;
    let merger = compiler.merger()?;
    let folder = target().join("profiled");
    let profile = folder.join(format!("polygate-llvm{}.profdata", compiler.llvm));
    if !(keeps_profile && profile.exists()) {
        training::check()?;
        let raw = folder.join("raw");
        println!("building what counts how often each branch is taken (takes minutes)");
        let flag = format!("-Cprofile-generate={}", raw.display());
        let counting = compiler.build(&flag, &folder.join("counting"))?;
        // What an earlier build counted is of no use to this one.
        let _ = fs::remove_dir_all(&raw);
        training::run(&counting, &folder)?;
        let (from, to) = (raw.to_string_lossy(), profile.to_string_lossy());
        program(merger, &["merge", "-o", &*to, &*from]).run()?;
    }
    println!("building by the profile (takes minutes)");
    compiler.build(&format!("-Cprofile-use={}", profile.display()), &folder.join("shipped"))
}

/// The compiler, as far as profiles depend on it.
struct Compiler {
    host: String,
    /// The major version of its LLVM: profiles of another one cannot be read.
    llvm: String,
    sysroot: PathBuf,
}

impl Compiler {
    fn ask() -> Result<Self, String> {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let said = program(&rustc, &["-vV"]).output()?;
        let field = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let host = field("host:").ok_or("rustc does not say its host")?.to_owned();
        let llvm = field("LLVM version:").and_then(|version| version.split('.').next());
        let llvm = llvm.ok_or("rustc does not say the version of its LLVM")?.to_owned();
        let sysroot = program(&rustc, &["--print", "sysroot"]).output()?.trim().into();
        Ok(Self { host, llvm, sysroot })
    }

    /// The program that puts profiles together.
    fn merger(&self) -> Result<PathBuf, String> {
        let own = self.sysroot.join("lib/rustlib").join(&self.host).join("bin/llvm-profdata");
        let system = format!("llvm-profdata-{}", self.llvm);
        match (own.is_file(), exists(&system)) {
            (true, _) => Ok(own),
            (_, true) => Ok(system.into()),
            _ => Err(format!(
                "llvm-profdata {0} not found (rustup component add llvm-tools, or Debian: apt-get install llvm-{0})",
                self.llvm
            )),
        }
    }

    /// Builds with one more flag into a folder of its own; gives the binary.
    fn build(&self, flag: &str, folder: &Path) -> Result<PathBuf, String> {
        let flags = format!("{} {flag}", std::env::var("RUSTFLAGS").unwrap_or_default());
        let place = folder.to_string_lossy();
        // With a target, so that what runs during the build is not built like this.
        let arguments = ["--package", "polygate", "--target", &self.host, "--target-dir", &*place];
        cargo(&[&["build", "--profile", "dist", "--quiet"], &arguments[..]].concat())
            .variable("RUSTFLAGS", flags.trim())
            .run()?;
        Ok(folder.join(&self.host).join("dist/polygate"))
    }
}

//! What tests and benchmarks need beyond Rust: npm packages are installed, the rest is named in one line.

use std::path::Path;

use crate::process::{exists, program};

/// Installs the npm packages of a folder as its lock file says. The answer says why not, when it could not be.
pub(crate) fn npm(folder: &str) -> Result<(), String> {
    let folder = crate::root().join(folder);
    if !exists("npm") {
        return Err("npm is not installed (Debian: apt-get install npm)".to_owned());
    }
    if is_installed(&folder) {
        return Ok(());
    }
    // An install without development dependencies, as `polygate dev` makes it, is not enough for tests.
    let arguments =
        ["ci", "--include=dev", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"];
    program("npm", &arguments).within(&folder).run()
}

/// Installs a Python package into a folder of its own, from the tree's root. The answer says why not, when it could not be.
pub(crate) fn python(folder: &str, package: &str) -> Result<(), String> {
    if !exists("python3") {
        return Err("python3 is not installed (Debian: apt-get install python3 python3-venv)".to_owned());
    }
    let marker = crate::root().join(folder).join(package);
    if marker.exists() {
        return Ok(());
    }
    program("python3", &["-m", "venv", folder]).run()?;
    let python = crate::root().join(folder).join("bin/python");
    program(python, &["-m", "pip", "install", "--quiet", "--disable-pip-version-check", package]).run()?;
    std::fs::write(&marker, "").map_err(|error| format!("{}: {error}", marker.display()))
}

/// Whether the installed packages are those of the lock file, with the development dependencies.
fn is_installed(folder: &Path) -> bool {
    let manifest = std::fs::read_to_string(folder.join("package.json")).unwrap_or_default();
    if manifest.contains("\"typescript\"") && !folder.join("node_modules/.bin/tsc").exists() {
        return false;
    }
    let modified = |path: &Path| path.metadata().and_then(|data| data.modified()).ok();
    let installed = modified(&folder.join("node_modules/.package-lock.json"));
    let wanted = modified(&folder.join("package-lock.json"));
    matches!((installed, wanted), (Some(installed), Some(wanted)) if installed >= wanted)
}

/// The test authority for ACME, and the name service that goes with it: what is built, and from what.
const PEBBLE: [(&str, &str); 2] = [
    ("pebble", "github.com/letsencrypt/pebble/v2/cmd/pebble@v2.10.1"),
    ("pebble-challtestsrv", "github.com/letsencrypt/pebble/v2/cmd/pebble-challtestsrv@v2.10.1"),
];

/// Builds Pebble into `target/test-tools`, where tests look for it. The answer says why not, when it could not be.
pub(crate) fn pebble() -> Result<(), String> {
    let folder = crate::root().join("target").join("test-tools");
    for (name, module) in PEBBLE {
        if folder.join(name).exists() {
            continue;
        }
        // Where Go's own archive puts it, which is not on every path.
        let go = ["go", "/usr/local/go/bin/go"].into_iter().find(|go| exists(go));
        let go = go.ok_or("go is not installed (go.dev/dl, or Debian: apt-get install golang-go)")?;
        program(go, &["install", module]).variable("GOBIN", &folder).run()?;
    }
    Ok(())
}

/// Names those of `programs` that are not on the path, with the Debian package that has them.
pub(crate) fn missing(programs: &[(&str, &str)]) -> Option<String> {
    let missing: Vec<_> = programs.iter().filter(|(name, _)| !exists(name)).collect();
    if missing.is_empty() {
        return None;
    }
    let names = missing.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let packages = missing.iter().map(|(_, package)| *package).collect::<Vec<_>>().join(" ");
    Some(format!("{names} not found (Debian: apt-get install {packages})"))
}

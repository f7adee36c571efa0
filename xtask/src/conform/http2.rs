//! `cargo xtask conform http2`: h2spec against a running gateway, without TLS and with it.

use std::fs;
use std::path::{Path, PathBuf};

use super::{await_listener, free_port};
use crate::certificate::Certificate;
use crate::process::{cargo, exists, program};
use crate::{Outcome, root, setup};

/// The tool, as a Go module.
const MODULE: &str = "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible";

/// Cases that cannot pass where HTTP/1.1 is served as well, by package and name: what does not begin as HTTP/2 begins is
/// answered as HTTP/1.1, and the connection closed.
const EXPECTED_WITHOUT_TLS: &[(&str, &str)] = &[("http2/3.5", "Sends invalid connection preface")];

const ROUTES: &str = r#"{ "openapi": "3.1.0", "info": { "title": "conformance", "version": "1" },
  "paths": { "/": { "get,post,put,head": { "x-polygate-route": {
    "handler": { "export": "answer", "module": "$import(./modules/main)" } } } } } }"#;
const CODE: &str = "export async function answer(request: Request): Promise<Response> {
  return new Response(`an answer, after ${(await request.text()).length} characters`);
}
";

/// Runs all cases, the strict ones too. It fails when one does that is not expected to.
pub(super) fn run() -> Outcome {
    if let Some(missing) = setup::missing(&[("openssl", "openssl")]) {
        return Err(missing);
    }
    let tool = tool()?;
    cargo(&["build", "--quiet", "--package", "polygate"]).run()?;
    let folder = root().join("target/conform-http2");
    let (plain, tls) = (free_port()?, free_port()?);
    project(&folder, tls)?;

    let listen = format!("127.0.0.1:{plain}");
    let shown = folder.to_string_lossy().into_owned();
    let arguments = ["run", &shown, "--listen", &listen, "--admin", "off", "--workers", "1"];
    let gateway = program(root().join("target/debug/polygate"), &arguments).start()?;
    await_listener(plain)?;
    await_listener(tls)?;
    let mut missed = Vec::new();
    for (way, port, more, expected) in [
        ("without TLS", plain, &[][..], EXPECTED_WITHOUT_TLS),
        ("with TLS", tls, &["--tls", "--insecure"], &[]),
    ] {
        let cases = cases(&tool, &folder.join("report.xml"), port, more)?;
        let failed: Vec<&Case> = cases.iter().filter(|case| case.failed).collect();
        println!("{way}: {} cases, {} passed", cases.len(), cases.len() - failed.len());
        for case in failed {
            let is_expected = expected.contains(&(&*case.package, &*case.name));
            println!("  {}: {}{}", case.package, case.name, if is_expected { " (expected)" } else { "" });
            if !is_expected {
                missed.push(format!("{} {way}", case.package));
            }
        }
        if cases.len() < 140 {
            return Err(format!("h2spec has run {} cases alone {way}", cases.len()));
        }
    }
    drop(gateway);
    if missed.is_empty() { Ok(()) } else { Err(format!("h2spec: {}", missed.join(", "))) }
}

/// One case of h2spec.
struct Case {
    package: String,
    name: String,
    failed: bool,
}

/// Runs h2spec against a port of this machine.
fn cases(tool: &Path, report: &Path, port: u16, more: &[&str]) -> Result<Vec<Case>, String> {
    let _ = fs::remove_file(report);
    let (port, shown) = (port.to_string(), report.to_string_lossy().into_owned());
    let mut arguments = vec!["-h", "127.0.0.1", "-p", &port, "--timeout", "5", "--strict", "-j", &shown];
    arguments.extend(more);
    // It ends with an error when a case fails, which the report tells better.
    let _ = program(tool, &arguments).output();
    let text = fs::read_to_string(report).map_err(|error| format!("h2spec wrote no report: {error}"))?;
    Ok(parse(&text))
}

/// Reads a report in the format of JUnit, as h2spec writes it.
fn parse(report: &str) -> Vec<Case> {
    let attribute = |text: &str, name: &str| {
        let value = text.split_once(&format!("{name}=\"")).and_then(|(_, rest)| rest.split_once('"'));
        value.map(|(value, _)| value.to_owned()).unwrap_or_default()
    };
    let case = |text: &str| Case {
        package: attribute(text, "package"),
        name: attribute(text, "classname"),
        failed: text.contains("<failure") || text.contains("<error"),
    };
    report.split("<testcase ").skip(1).map(case).collect()
}

/// Where h2spec is; it is built when it is not there.
fn tool() -> Result<PathBuf, String> {
    let folder = root().join("target/h2spec");
    let tool = folder.join("h2spec");
    if !tool.exists() {
        if !exists("go") {
            return Err("h2spec is built with Go, which is not on the path (https://go.dev/dl)".to_owned());
        }
        program("go", &["install", MODULE]).variable("GOBIN", &folder).run()?;
    }
    Ok(tool)
}

fn project(folder: &Path, tls: u16) -> Outcome {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    fs::create_dir_all(folder.join("config")).map_err(failed)?;
    fs::create_dir_all(folder.join("modules")).map_err(failed)?;
    fs::write(folder.join("config/routes.oas.json"), ROUTES).map_err(failed)?;
    fs::write(folder.join("modules/main.ts"), CODE).map_err(failed)?;
    let certificate = Certificate::make(folder)?.settings();
    let settings = format!("[listen]\ntls-address = \"127.0.0.1:{tls}\"\n{certificate}");
    fs::write(folder.join("polygate.toml"), settings).map_err(failed)
}

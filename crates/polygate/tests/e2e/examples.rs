//! Every example is loaded, and does what its README says.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::harness::{Gateway, Project, example, free_port, polygate, skip};

/// The port of the echo service that the quickstart names.
const ECHO: &str = "127.0.0.1:9010";

/// A copy of the quickstart with another port: the README's may be taken by who tries it out.
fn quickstart() -> TempDir {
    let (from, to) = (example("quickstart"), tempfile::tempdir().unwrap());
    copy(&from, to.path());
    std::os::unix::fs::symlink(from.join("node_modules"), to.path().join("node_modules")).unwrap();
    let echo = format!("127.0.0.1:{}", free_port());
    for name in ["polygate.toml", "config/routes.oas.json"] {
        let text = fs::read_to_string(to.path().join(name)).unwrap();
        assert!(text.contains(ECHO), "{name} has no {ECHO}");
        fs::write(to.path().join(name), text.replace(ECHO, &echo)).unwrap();
    }
    to
}

/// Copies a folder but for its packages.
fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        if path.is_file() {
            fs::copy(&path, to.join(name)).unwrap();
        } else if name != "node_modules" {
            fs::create_dir(to.join(name)).unwrap();
            copy(&path, &to.join(name));
        }
    }
}

fn installed() -> bool {
    let there = example("quickstart").join("node_modules/zod").exists();
    if !there {
        skip("examples::quickstart", "npm packages are not installed (run `cargo xtask test`)");
    }
    there
}

#[test]
fn every_example_passes_its_check() {
    if !installed() {
        return;
    }
    for entry in fs::read_dir(example(".")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let output = polygate().arg("check").arg(&path).output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}: {text}", path.display());
        }
    }
}

#[test]
fn the_quickstart_does_what_the_readme_says() {
    if !installed() {
        return;
    }
    let folder = quickstart();
    let gateway = Gateway::start("dev", folder.path(), &[]);
    let hello = gateway.get("/hello/Ada");
    assert_eq!((hello.status, hello.json()["hello"].as_str()), (200, Some("Ada")));
    assert_eq!(hello.header("x-request-id"), hello.json()["requestId"].as_str());

    let refused = gateway.get("/orders");
    assert_eq!((refused.status, refused.header("content-type")), (401, Some("application/problem+json")));
    assert_eq!(refused.header("x-handled-by"), None, "outbound policies are skipped by a short circuit");

    let key = [("x-api-key", "demo-key"), ("x-note", "kept")];
    let listed = gateway.send("GET", "/orders?page=2", &key, "");
    assert_eq!((listed.status, listed.header("x-handled-by")), (200, Some("polygate listOrders")));
    let seen = listed.json();
    assert!(seen["url"].as_str().unwrap().ends_with("/orders?page=2"), "{seen}");
    let text = seen.to_string().to_lowercase();
    assert!(
        text.contains("x-note") && text.contains("x-forwarded-for") && !text.contains("demo-key"),
        "{seen}"
    );

    let bad = gateway.send("POST", "/orders", &key, r#"{"item":"tea","quantity":0}"#);
    assert_eq!((bad.status, bad.json()["errors"][0]["at"].as_str()), (400, Some("quantity")));
    let good = gateway.send("POST", "/orders", &key, r#"{"item":"tea","quantity":2,"x":1}"#);
    assert_eq!(good.status, 200);
    assert!(good.body.contains("quantity") && !good.body.contains("\\\"x\\\""), "{}", good.body);

    let one = gateway.send("GET", "/orders/a%20b", &key, "");
    assert!(one.json()["url"].as_str().unwrap().ends_with("/v2/orders?id=a%20b"), "{}", one.body);

    let moved = gateway.get("/old-orders");
    assert_eq!((moved.status, moved.header("location")), (308, Some("/orders")));

    let broken = gateway.get("/broken");
    assert_eq!((broken.status, broken.json()["reason"].as_str()), (500, Some("policy_error")));
    assert!(!broken.body.contains("undefined"), "{}", broken.body);
    gateway.await_output("modules/hello.ts:10:");

    let loops = gateway.get("/loop");
    assert_eq!((loops.status, loops.json()["reason"].as_str()), (500, Some("policy_cpu")));
    assert_eq!(gateway.get("/nowhere").status, 404);

    let xray = gateway.admin("/exchanges?limit=50");
    let text = xray.to_string();
    assert!(text.contains("need-key") && text.contains("x-handled-by"), "{text}");
}

#[test]
fn without_its_packages_a_project_starts_and_says_what_is_missing() {
    let handler = |module: &str| serde_json::json!({ "export": "default", "module": format!("$import(./modules/{module})") });
    let project = Project::new()
        .file("package.json", r#"{ "dependencies": { "left-pad": "1" } }"#)
        .file("modules/plain.ts", "export default async () => new Response('plain');")
        .file(
            "modules/padded.ts",
            "import pad from 'left-pad';\nexport default async () => new Response(pad('x', 3));",
        )
        .route("get", "/plain", handler("plain"), &[], &[])
        .route("get", "/padded", handler("padded"), &[], &[]);
    // No npm there: as on a machine that cannot reach a registry.
    let gateway = Gateway::start_with("dev", project.root(), &[], &[("PATH", "/nowhere")]);
    assert_eq!(gateway.get("/plain").body, "plain");
    let missing = gateway.get("/padded");
    assert_eq!((missing.status, missing.json()["reason"].as_str()), (503, Some("policy_unavailable")));
    let said = gateway.await_output("left-pad");
    assert!(said.contains("npm install") && said.contains("not installed"), "{said}");

    // As soon as it is there, its route serves.
    project.write("node_modules/left-pad/package.json", r#"{ "name": "left-pad", "main": "index.js" }"#);
    project.write(
        "node_modules/left-pad/index.js",
        "module.exports = (text, length) => text.padStart(length, '.');",
    );
    project.write("node_modules/.package-lock.json", "{}");
    gateway.wait(|| (gateway.get("/padded").body == "..x").then_some(()), "the package");

    // In production such a project is refused.
    fs::remove_dir_all(project.root().join("node_modules")).unwrap();
    let output = polygate().arg("check").arg(project.root()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
}

//! The access log in a file of its own, and the level of log lines while running.

use crate::harness::{Project, agent};

const MODULE: &str = r#"
export async function answer(request, context) { context.log.debug("in detail"); return new Response("here", { headers: { "x-shard": "7" } }); }
"#;

fn project(settings: &str) -> Project {
    Project::new()
        .file("modules/main.ts", MODULE)
        .file("polygate.toml", settings)
        .function("get", "/", "answer")
}

#[test]
fn the_access_log_goes_to_a_file_that_is_opened_anew() {
    let settings = r#"
[access-log]
file = "access.log"
format = "$status $method $path ?$query ${request.user-agent} ${request.authorization} ${response.x-shard}"
"#;
    let project = project(settings);
    let gateway = project.run();
    let get = |path: &str| {
        let headers = [("user-agent", "test \"1\""), ("authorization", "Bearer secret")];
        gateway.send("GET", path, &headers, "").status
    };
    assert_eq!(get("/?a=1"), 200);
    let log = project.root().join("access.log");
    let read = |name: &str| std::fs::read_to_string(project.root().join(name)).unwrap_or_default();
    let expected = "200 GET / ?a=1 test \\x221\\x22 (redacted) 7\n";
    gateway.wait(|| (read("access.log") == expected).then_some(()), "the line");
    std::fs::rename(&log, project.root().join("access.log.1")).unwrap();
    gateway.signal("-USR1");
    gateway.wait(|| log.exists().then_some(()), "the new file");
    assert_eq!(get("/missing"), 404);
    let line = "404 GET /missing ?- test \\x221\\x22 (redacted) -\n";
    gateway.wait(|| (read("access.log") == line).then_some(()), "the line in the new file");
    assert_eq!(read("access.log.1"), expected);
    assert!(!gateway.output().contains("\"access\""), "{}", gateway.output());
    assert!(gateway.admin_text("/metrics").contains("polygate_access_log_write_errors_total 0\n"));
}

#[test]
fn chosen_headers_and_samples_in_json() {
    let settings =
        "[access-log]\nsample = 1000\nheaders = [\"x-tenant\"]\nresponse-headers = [\"x-shard\"]\n";
    let project = project(settings);
    let gateway = project.run();
    // Each of the two workers logs its first success; failures are logged all.
    for _ in 0..20 {
        assert_eq!(gateway.send("GET", "/", &[("x-tenant", "t1")], "").status, 200);
    }
    for _ in 0..3 {
        assert_eq!(gateway.get("/missing").status, 404);
    }
    let lines = || {
        let output = gateway.output();
        let parsed = output.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        parsed.filter(|line| line["type"] == "access").collect::<Vec<_>>()
    };
    let of = |status: u16| lines().into_iter().filter(|line| line["status"] == status).collect::<Vec<_>>();
    gateway.wait(|| (of(404).len() == 3).then_some(()), "the failures");
    let fine = of(200);
    assert!((1..=2).contains(&fine.len()), "{fine:?}");
    assert_eq!(
        (&fine[0]["headers"]["x-tenant"], &fine[0]["response_headers"]["x-shard"]),
        (&"t1".into(), &"7".into())
    );
}

#[test]
fn the_log_level_changes_while_running() {
    let project = project("[log]\nlevel = \"warn\"\n");
    let gateway = project.run();
    assert_eq!(gateway.get("/").status, 200);
    let change = agent().put(gateway.admin_url("/log")).send(r#"{ "level": "debug" }"#).unwrap();
    assert_eq!(change.status(), 200);
    assert_eq!(gateway.admin("/log")["level"], "debug");
    assert_eq!(gateway.get("/").status, 200);
    let output = gateway.await_output("in detail");
    assert_eq!(output.matches("in detail").count(), 1, "{output}");
}

#[test]
fn a_log_that_cannot_be_written_is_said_at_start_and_counted_later() {
    let project = project("[access-log]\nfile = \"no/such/folder/access.log\"\n");
    let output =
        crate::harness::polygate().arg("run").arg(project.root()).args(["--listen", "0"]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("no/such/folder/access.log"), "{error}");
    // The disk is always full here.
    if !std::path::Path::new("/dev/full").exists() {
        return crate::harness::skip("logs::a_log_that_cannot_be_written", "there is no /dev/full");
    }
    project.write("polygate.toml", "[access-log]\nfile = \"/dev/full\"\n");
    let gateway = project.run();
    assert_eq!(gateway.get("/").status, 200);
    let counted = || {
        let metrics = gateway.admin_text("/metrics");
        let line = metrics.lines().find(|line| line.starts_with("polygate_access_log_write_errors_total"));
        line.is_some_and(|line| !line.ends_with(" 0"))
    };
    gateway.wait(|| counted().then_some(()), "the count");
}

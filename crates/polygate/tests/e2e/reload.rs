//! Hot reload: a saved change shows at once, a broken one is refused, nothing is lost meanwhile.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{PATIENCE, Project, agent, polygate};

fn answer(text: &str) -> String {
    format!("export async function answer(): Promise<Response> {{ return new Response({text:?}); }}")
}

#[test]
fn a_saved_change_shows_and_a_broken_one_is_refused() {
    let project = Project::new().function("get", "/", "answer").file("modules/main.ts", &answer("one"));
    let gateway = project.dev();
    assert_eq!(gateway.get("/").body, "one");

    let saved = Instant::now();
    project.write("modules/main.ts", &answer("two"));
    gateway.wait(|| (gateway.get("/").body == "two").then_some(()), "the change");
    let took = saved.elapsed();
    println!("the change showed after {took:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");

    project.write("modules/main.ts", "export async function answer( { return 1 }");
    let refused = gateway.wait(
        || Some(gateway.admin("/status")).filter(|status| status.to_string().contains("modules/main.ts")),
        "the refusal in /status",
    );
    assert!(refused.to_string().contains("main.ts"), "{refused}");
    assert_eq!(gateway.get("/").body, "two", "the old one serves on");

    // A missing export is told with the nearest name.
    project.write("modules/main.ts", "export const answr = 1;");
    gateway.await_output("answr");
    assert_eq!(gateway.get("/").body, "two");

    // One that throws while it loads, one that never ends to load: refused as well.
    project.write("modules/main.ts", "export const answer = 1;\nthrow new Error('at load time');");
    gateway.await_output("at load time");
    assert_eq!(gateway.get("/").body, "two");

    project.write("modules/main.ts", &answer("three"));
    gateway.wait(|| (gateway.get("/").body == "three").then_some(()), "the repaired change");
}

#[test]
fn new_routes_policies_and_variables_show_too() {
    let project = Project::new().function("get", "/", "answer").file(".env", "NAME=first\n").file(
        "modules/main.ts",
        "import { environment } from '@polygate/runtime';\nexport const answer = async () => new Response(environment.NAME);",
    );
    let gateway = project.dev();
    assert_eq!(gateway.get("/").body, "first");
    project.write(".env", "NAME=second\n");
    gateway.wait(|| (gateway.get("/").body == "second").then_some(()), "the variable");
    let project = project.function("get", "/more", "answer");
    gateway.wait(|| (gateway.get("/more").status == 200).then_some(()), "the route");
    drop(project);
}

#[test]
fn no_request_is_lost_over_many_edits() {
    let project = Project::new().function("get", "/", "answer").file("modules/main.ts", &answer("0"));
    let gateway = project.dev();
    let (over, served) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let agent = agent();
                while !over.load(Ordering::Relaxed) {
                    let reply = agent.get(gateway.url("/")).call().unwrap();
                    assert_eq!(reply.status(), 200);
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for edit in 1..=20 {
            project.write("modules/main.ts", &answer(&edit.to_string()));
            let started = Instant::now();
            while gateway.get("/").body != edit.to_string() {
                assert!(started.elapsed() < PATIENCE, "edit {edit} did not show\n{}", gateway.output());
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(served.load(Ordering::Relaxed) > 20);
}

#[test]
fn every_problem_is_reported_in_one_run() {
    let project = Project::new()
        .file("modules/main.ts", "export const answer = (: number) => 1;")
        .file("modules/other.ts", "import { nothing } from './missing';\nexport const x = nothing;")
        .policy(
            "other",
            "x",
            serde_json::json!({
                "handler": { "export": "x", "module": "$import(./modules/other)" }, "onFailur": "open",
            }),
        )
        .policy(
            "fine",
            "x",
            serde_json::json!({ "handler": { "export": "y", "module": "$import(./modules/other)" } }),
        )
        .function("get", "/", "answer")
        .forward("/more", "http://127.0.0.1:1", &["othr", "fine"], &[])
        .file("polygate.toml", "[limits]\nuri = \"8KB\"\n");
    let output = polygate().arg("check").arg(project.root()).args(["--format", "json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = report.to_string();
    // The settings' size, the policy's field, the route's policy, the module's syntax, the module's import.
    for expected in ["limits.uri", "onFailure", "\"nearest\":\"other\"", "modules/main.ts", "./missing"] {
        assert!(text.contains(expected), "{expected} is not in {report:#}");
    }
    for diagnostic in report["diagnostics"].as_array().unwrap() {
        assert!(diagnostic["file"].is_string() && diagnostic["span"]["line"].is_u64(), "{diagnostic}");
    }
}

//! Budgets: what spends them gets its own error, and the next request is served as if nothing had happened.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Gateway, Project};

const MODULE: &str = r#"
import { ZuploRequest } from "@polygate/runtime";
export async function fine() { return new Response("fine"); }
export async function loops() { for (;;) {} }
export async function microtasks() { for (;;) { await null; } }
export async function regex() { return new Response(String(/^(a+)+$/.test("a".repeat(40) + "!"))); }
export async function memory() { const all = []; for (;;) all.push(new Uint8Array(1 << 20).fill(1)); }
export async function strings() { let s = "x"; for (;;) s += s; }
export async function recursion() { const f = (n: number): number => f(n + 1) + 1; return f(0); }
export async function never() { return new Promise(() => {}); }
export async function nonsense(request: ZuploRequest) { return 42; }
export async function throws() { throw new TypeError("secret text"); }
export async function continues(request: ZuploRequest) { return request; }
"#;

fn gateway() -> (Project, Gateway) {
    let mut project = Project::new().file("modules/main.ts", MODULE);
    for export in ["fine", "loops", "microtasks", "regex", "memory", "strings", "recursion", "throws"] {
        project = project.function("get", &format!("/{export}"), export);
    }
    let fine = json!({ "export": "fine", "module": "$import(./modules/main)" });
    for (policy, on_failure) in [("closed", "closed"), ("open", "open")] {
        let more = json!({ "onFailure": on_failure, "budget": { "wall": "200ms" } });
        for export in ["never", "nonsense", "throws", "loops"] {
            let name = format!("{export}-{policy}");
            project = project.policy(&name, export, more.clone());
            project = project.route("get", &format!("/{policy}/{export}"), fine.clone(), &[&name], &[]);
        }
    }
    let gateway = project.run();
    (project, gateway)
}

fn expect(gateway: &Gateway, path: &str, status: u16, reason: &str) {
    let started = Instant::now();
    let reply = gateway.get(path);
    let took = started.elapsed();
    assert_eq!(
        (reply.status, reply.json()["reason"].as_str()),
        (status, Some(reason)),
        "{path}: {}",
        reply.body
    );
    assert!(reply.json()["requestId"].as_str() == reply.header("x-request-id"), "{path}");
    assert!(!reply.body.contains("secret"), "{}", reply.body);
    assert!(took < Duration::from_secs(2), "{path} took {took:?}");
    // Both workers go on.
    for _ in 0..4 {
        let next =
            gateway.wait(|| Some(gateway.get("/fine")).filter(|reply| reply.status != 503), "a new VM");
        assert_eq!((next.status, &*next.body), (200, "fine"), "after {path}");
    }
}

#[test]
fn what_spends_its_budget_is_stopped_and_nothing_else() {
    let (_project, gateway) = gateway();
    for path in ["/loops", "/microtasks", "/regex"] {
        expect(&gateway, path, 500, "policy_cpu");
    }
    for path in ["/memory", "/strings"] {
        let reply = gateway.get(path);
        let reason = reply.json()["reason"].as_str().unwrap().to_owned();
        // Filling memory takes CPU time too: which budget ends first depends on the machine.
        assert!(
            reply.status == 500 && ["policy_memory", "policy_cpu", "policy_error"].contains(&&*reason),
            "{path}: {}",
            reply.body
        );
        gateway.wait(|| (gateway.get("/fine").status == 200).then_some(()), "a new VM");
    }
    expect(&gateway, "/recursion", 500, "policy_error");
    expect(&gateway, "/throws", 500, "policy_error");
    expect(&gateway, "/closed/never", 504, "policy_timeout");
    expect(&gateway, "/closed/nonsense", 500, "policy_result");
    expect(&gateway, "/closed/throws", 500, "policy_error");
    expect(&gateway, "/closed/loops", 500, "policy_cpu");
    for export in ["never", "nonsense", "throws", "loops"] {
        let reply = gateway.get(&format!("/open/{export}"));
        assert_eq!((reply.status, &*reply.body), (200, "fine"), "{export} is skipped");
    }
    let metrics = gateway.admin_text("/metrics");
    assert!(metrics.contains("policy_cpu"), "{metrics}");
}

//! The TypeScript world through the whole house: order, sharing, short circuits, errors.

use serde_json::json;

use crate::harness::Project;

const MODULE: &str = r#"
import { ZuploRequest, ZuploContext, HttpProblems, RuntimeError, environment } from "@zuplo/runtime";
import { helper } from "./lib/helper";
import settings from "../config/settings.json";

export async function first(request: ZuploRequest, context: ZuploContext, options: any, name: string) {
  context.custom.order = [name];
  request.user = { sub: "ada", data: { roles: ["admin"] } };
  request.headers.set("x-first", options.value);
  return request;
}

export function second(request: ZuploRequest, context: ZuploContext, options: any, name: string) {
  context.custom.order.push(name);
  const next = new Request(request, { headers: { ...Object.fromEntries(request.headers), "x-second": "2" } });
  return next;
}

export async function stop(request: ZuploRequest, context: ZuploContext) {
  if (request.query.stop === "1") return HttpProblems.tooManyRequests(request, context, { detail: "slow down" }, { "retry-after": "7" });
}

export async function out(response: Response, request: ZuploRequest, context: ZuploContext, options: any, name: string) {
  const next = new Response(response.body, { status: response.status, headers: response.headers });
  next.headers.append("x-out", name + ":" + context.custom.order.join(","));
  return next;
}

export async function handler(request: ZuploRequest, context: ZuploContext) {
  context.addResponseSendingHook((response) => { response.headers.set("x-hook", "sent"); return response; });
  context.log.info("in the handler", { nested: { deep: true } });
  return {
    params: request.params, query: request.query, user: request.user, first: request.headers.get("x-first"),
    second: request.headers.get("X-Second"), order: context.custom.order, path: context.route.path,
    operation: context.route.operationId, helper: helper(), settings, env: environment.GREETING, url: new URL(request.url).pathname,
  };
}

export async function text() { return "plain"; }
export async function rejected() { throw new RuntimeError({ message: "not shown", extensionMembers: { code: "E42" } }); }
"#;

#[test]
fn policies_share_an_exchange_and_run_in_order() {
    let handler = json!({ "export": "handler", "module": "$import(./modules/main)" });
    let inbound = ["first", "second", "stop"];
    let project = Project::new()
        .file("modules/main.ts", MODULE)
        .file("modules/lib/helper.ts", "export enum Kind { A = 'a' }\nexport const helper = () => Kind.A;\n")
        .file("config/settings.json", r#"{"limit":3}"#)
        .file(".env", "GREETING=hello\n")
        .policy("first", "first", json!({ "handler": { "export": "first", "module": "$import(./modules/main)", "options": { "value": "$env(GREETING)!" } } }))
        .policy("second", "second", json!({}))
        .policy("stop", "stop", json!({}))
        .policy("out-a", "out", json!({}))
        .policy("out-b", "out", json!({}))
        .route("get", "/things/{id}", handler, &inbound, &["out-a", "out-b"])
        .function("get", "/text", "text")
        .function("get", "/rejected", "rejected");
    let gateway = project.run();

    let reply = gateway.get("/things/a%20b?q=1&q=2");
    assert_eq!(reply.status, 200, "{}", reply.body);
    let seen = reply.json();
    assert_eq!(seen["params"], json!({ "id": "a b" }));
    assert_eq!(seen["user"], json!({ "sub": "ada", "data": { "roles": ["admin"] } }));
    assert_eq!((&seen["first"], &seen["second"]), (&json!("hello!"), &json!("2")));
    assert_eq!(seen["order"], json!(["first", "second"]));
    assert_eq!(
        (&seen["path"], &seen["helper"], &seen["env"]),
        (&json!("/things/{id}"), &json!("a"), &json!("hello"))
    );
    assert_eq!((&seen["settings"]["limit"], &seen["url"]), (&json!(3), &json!("/things/a%20b")));
    let out: Vec<_> = reply.headers.get_all("x-out").iter().collect();
    assert_eq!(out, ["out-a:first,second", "out-b:first,second"]);
    assert_eq!(
        (reply.header("x-hook"), reply.header("content-type")),
        (Some("sent"), Some("application/json"))
    );

    let stopped = gateway.get("/things/1?stop=1");
    assert_eq!(
        (stopped.status, stopped.header("retry-after"), stopped.header("x-out")),
        (429, Some("7"), None)
    );
    assert_eq!(stopped.json()["detail"], json!("slow down"));
    assert_eq!(stopped.json()["instance"], json!("/things/1"));

    assert_eq!(gateway.get("/text").body, "\"plain\"");
    let rejected = gateway.get("/rejected");
    assert_eq!((rejected.status, &rejected.json()["code"]), (500, &json!("E42")));
    assert!(!rejected.body.contains("not shown"));
    gateway.await_output("modules/main.ts:");
    assert_eq!(gateway.send("POST", "/text", &[], "x").status, 404, "another method of a known path");
    gateway.await_output("in the handler");
}

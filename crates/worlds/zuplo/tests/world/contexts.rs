//! The context: route, log, custom data, hooks, background work; the environment and problem responses.

use std::time::Duration;

use polygate_pipeline::{LogLevel, Role};
use serde_json::json;

use crate::gate::{Fixture, get, json as body, post, run, text};

#[test]
fn the_context_tells_about_exchange_and_route() {
    run(async {
        let gate = Fixture::module(
            r#"
            export default async (request, context) => ({
              requestId: context.requestId, same: context.contextId === context.contextId, uuid: context.contextId.length,
              path: context.route.path, pattern: context.route.pathPattern, methods: context.route.methods,
              operationId: context.route.operationId, label: context.route.label, handler: context.route.handler,
              inbound: context.route.policies.inbound, raw: context.route.raw(),
              frozen: Object.isFrozen(context.route.methods), identical: context.route === context.route,
              protocol: context.incomingRequestProperties.httpProtocol, country: context.incomingRequestProperties.country ?? null,
            });
            "#,
        )
        .handler("default")
        .start()
        .await;
        let response = gate.send(get("http://gate.test/")).await.unwrap();
        assert_eq!(
            body(response).await,
            json!({
                "requestId": "00000000-0000-4000-8000-000000000007", "same": true, "uuid": 36,
                "path": "/orders/{id}", "pattern": "/orders/{id}", "methods": ["GET", "POST"],
                "operationId": "getOrder", "label": "One order",
                "handler": { "module": "$import(./modules/m)", "export": "default" },
                "inbound": ["a"], "raw": { "operationId": "getOrder", "x-mine": [1] }, "frozen": true,
                "identical": true, "protocol": "HTTP/1.1", "country": null,
            })
        );
    });
}

#[test]
fn log_lines_carry_request_and_policy() {
    run(async {
        let gate = Fixture::module(
            r#"
            export const speak = async (request, context) => {
              context.log.setLogProperties({ tenant: "t1" });
              context.log.info("hello", { a: 1 }, 2, null, undefined);
              context.log.error(new TypeError("broken"));
            };"#,
        )
        .inbound("speak")
        .start()
        .await;
        gate.send(get("http://gate.test/")).await.unwrap();
        let lines = gate.log.0.borrow();
        assert_eq!(
            (lines[0].level, lines[0].message.as_str()),
            (LogLevel::Info, r#"hello {"a":1} 2 null undefined"#)
        );
        assert_eq!(lines[0].policy.as_deref(), Some("speak"));
        assert_eq!(lines[0].request_id.unwrap().as_str(), "00000000-0000-4000-8000-000000000007");
        assert_eq!(lines[0].fields["tenant"], "t1");
        assert_eq!(lines[1].level, LogLevel::Error);
        assert!(lines[1].message.starts_with("TypeError: broken"), "{}", lines[1].message);
    });
}

#[test]
fn hooks_for_the_response_are_chained_after_outbound_policies() {
    run(async {
        let gate = Fixture::module(
            r#"
            const order = [];
            export const hooks = async (request, context) => {
              context.addResponseSendingHook(async (response) => {
                order.push("first:" + response.headers.get("x-out"));
                return new Response("from hook", { status: 299, headers: { "x-hook": "1" } });
              });
              context.addResponseSendingHook((response, request, ctx) => {
                order.push("second:" + response.headers.get("x-hook") + (ctx === context) + request.method);
                return response;
              });
              context.addResponseSendingFinalHook(async (response) => {
                order.push("final:" + response.status);
                context.log.info(order.join(" "));
                throw new Error("ignored");
              });
            };
            export const out = async (response) => { order.push("out"); response.headers.set("x-out", "o"); return response; };
            "#,
        )
        .inbound("hooks")
        .outbound("out")
        .start()
        .await;
        assert_eq!(gate.get("http://gate.test/").await, (299, "from hook".to_owned()));
        let log = gate.log.text();
        assert!(log.contains("out first:o second:1trueGET final:299"), "{log}");
        assert!(log.contains("a final hook failed: Error: ignored"), "{log}");

        // The same hooks, on a route that is answered early, and whose order is then asked for.
        let gate = Fixture::module(
            r#"
            export const hooks = async (request, context) => {
              context.addResponseSendingHook(async (response) => new Response((await response.text()) + " and hooked"));
              return new Response("early", { status: 401 });
            };"#,
        )
        .inbound("hooks")
        .start()
        .await;
        assert_eq!(gate.get("http://gate.test/").await, (200, "early and hooked".to_owned()));
    });
}

#[test]
fn wait_until_goes_on_after_the_response() {
    run(async {
        let gate = Fixture::module(
            r#"
            export const later = async (request, context) => {
              context.waitUntil((async () => {
                await new Promise((resolve) => setTimeout(resolve, 20));
                context.log.info("done for " + request.url);
              })());
              context.waitUntil(Promise.reject(new Error("background broke")));
            };"#,
        )
        .inbound("later")
        .start()
        .await;
        gate.send(get("http://gate.test/x")).await.unwrap();
        assert!(!gate.log.text().contains("done for"));
        assert!(gate.services.background_tasks() > 0);
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert!(gate.log.text().contains("done for http://gate.test/x"), "{}", gate.log.text());
        assert!(gate.log.text().contains("background broke"), "{}", gate.log.text());
        assert_eq!(gate.services.background_tasks(), 0);
    });
}

#[test]
fn data_of_a_context_is_its_own() {
    run(async {
        let gate = Fixture::module(
            r#"
            import { ContextData } from "@zuplo/runtime";
            const counter = new ContextData("counter");
            export const count = async (request, context) => {
              const before = counter.get(context);
              counter.set(context, 1);
              ContextData.set(context, "other", "x");
              return Response.json([before ?? null, ContextData.get(context, "counter"), ContextData.get(context, "other")]);
            };"#,
        )
        .inbound("count")
        .start()
        .await;
        for _ in 0..2 {
            assert_eq!(gate.get("http://gate.test/").await.1, r#"[null,1,"x"]"#);
        }
    });
}

#[test]
fn the_environment_is_readable_at_load_and_frozen() {
    run(async {
        let gate = Fixture::module(
            r#"
            import { environment } from "@zuplo/runtime";
            import { environment as same } from "@polygate/runtime";
            const atLoad = environment.KEY;
            export default async () => {
              let refused = false;
              try { environment.KEY = "changed"; } catch { refused = true; }
              return [atLoad, environment.NONE ?? null, refused, same === environment, "toString" in environment];
            };"#,
        )
        .variable("KEY", "v\"1\"")
        .handler("default")
        .start()
        .await;
        assert_eq!(gate.get("http://gate.test/").await.1, r#"["v\"1\"",null,true,true,false]"#);
    });
}

#[test]
fn problems_have_the_documented_form() {
    run(async {
        let gate = Fixture::module(
            r#"
            import { HttpProblems, HttpStatusCode, ProblemResponseFormatter } from "@zuplo/runtime";
            export const deny = async (request, context) => request.query.how === "empty"
              ? HttpProblems.noContent(request, context)
              : request.query.how === "format"
              ? ProblemResponseFormatter.format({ status: 418, title: "Tea", extensions: { pot: 1 } }, request, context)
              : HttpProblems.tooManyRequests(request, context,
                  { detail: "slow down", extensions: { a: 1 }, b: 2 }, { "retry-after": "9" });
            "#,
        )
        .inbound("deny")
        .start()
        .await;
        let response = gate.send(get("http://gate.test/orders/1?x=/y")).await.unwrap();
        assert_eq!(response.status.as_u16(), 429);
        assert_eq!(response.headers.get_str("content-type"), Some("application/problem+json"));
        assert_eq!(response.headers.get_str("retry-after"), Some("9"));
        let mut problem = body(response).await;
        let trace = problem["trace"].take();
        assert_eq!(trace["requestId"], "00000000-0000-4000-8000-000000000007");
        assert!(trace["timestamp"].as_str().is_some_and(|t| t.ends_with('Z')), "{trace}");
        assert_eq!(trace["buildId"].as_str().map(str::len), Some(16));
        assert_eq!(
            problem,
            json!({
                "type": "https://httpproblems.com/http-status/429", "title": "Too Many Requests", "status": 429,
                "instance": "/orders/1", "detail": "slow down", "a": 1, "b": 2, "trace": null,
            })
        );
        let response = gate.send(get("http://gate.test/?how=empty")).await.unwrap();
        assert_eq!((response.status.as_u16(), response.headers.get_str("content-type")), (204, None));
        assert_eq!(text(response).await, "");
        let problem = body(gate.send(get("http://gate.test/?how=format")).await.unwrap()).await;
        assert_eq!(
            (&problem["title"], &problem["pot"], &problem["status"]),
            (&json!("Tea"), &json!(1), &json!(418))
        );
    });
}

#[test]
fn the_project_leaves_hooks_at_start() {
    run(async {
        let gate = Fixture::new(&[
            (
                "modules/m.ts",
                "export default async (request) => ({ hooked: request.headers.get('x-hook'), url: request.url });",
            ),
            (
                "modules/zuplo.runtime.ts",
                r#"
                import { RuntimeExtensions, SystemRuntimePlugin } from "@zuplo/runtime";
                class Plugin extends SystemRuntimePlugin {
                  async initialize(runtime: RuntimeExtensions) {
                    runtime.addResponseSendingHook((response) => { response.headers.set("x-plugin", "1"); return response; });
                  }
                }
                export async function runtimeInit(runtime: RuntimeExtensions) {
                  await Promise.resolve();
                  runtime.addPlugin(new Plugin());
                  runtime.addRequestHook(async (request, context) => {
                    if (request.query.stop) return new Response("stopped", { status: 402 });
                    request.headers.set("x-hook", context.requestId.slice(-1));
                    return request;
                  });
                }"#,
            ),
        ])
        .handler("default")
        .start()
        .await;
        let response = gate.send(get("http://gate.test/a")).await.unwrap();
        assert_eq!(response.headers.get_str("x-plugin"), Some("1"));
        assert_eq!(body(response).await, json!({ "hooked": "7", "url": "http://gate.test/a" }));
        let response = gate.send(get("http://gate.test/a?stop=1")).await.unwrap();
        assert_eq!((response.status.as_u16(), response.headers.get_str("x-plugin")), (402, Some("1")));
    });
}

#[test]
fn a_layer_of_its_own_runs_the_hooks_of_the_project() {
    run(async {
        let gate = Fixture::new(&[(
            "modules/polygate.runtime.js",
            r#"
            export function runtimeInit(runtime) {
              runtime.addRequestHook((request) => { request.headers.set("x-hook", "1"); return request; });
              runtime.addResponseSendingHook((response, request) => {
                response.headers.set("x-sent", request.headers.get("x-hook") + request.method);
                return response;
              });
            }"#,
        )])
        .policy(Role::Inbound, "hooks", "@polygate/runtime", "hooks", None)
        .start()
        .await;
        let response = gate.send(post("http://gate.test/", "payload")).await.unwrap();
        assert_eq!(response.headers.get_str("x-sent"), Some("1POST"));
        let seen = gate.terminal.seen.borrow();
        assert_eq!((seen[0].0.headers.get_str("x-hook"), seen[0].1.as_str()), (Some("1"), "payload"));
    });
}

#[test]
fn policies_on_no_route_can_be_invoked() {
    run(async {
        let gate = Fixture::module(
            r#"
            export const tag = async (request, context, options, name) => { request.headers.set("x-tag", name); return request; };
            export const stamp = async (response, request, context, options, name) =>
              new Response(`${await response.text()} ${name} ${request.headers.get("x-tag")}`);
            export default async (request, context) => {
              const tagged = await context.invokeInboundPolicy("tag", request);
              return context.invokeOutboundPolicy("stamp", new Response("answer"), tagged);
            };"#,
        )
        .unused("tag")
        .unused("stamp")
        .handler("default")
        .start()
        .await;
        assert_eq!(gate.get("http://gate.test/").await, (200, "answer stamp tag".to_owned()));
    });
}

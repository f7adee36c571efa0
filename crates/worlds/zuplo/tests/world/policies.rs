//! Inbound and outbound policies: what they are given and what they may return.

use std::rc::Rc;

use futures_util::future::LocalBoxFuture;
use polygate_pipeline::{Exchange, Failure, Identity, Layer, Next, Reason, Request, Response, Role};
use serde_json::json;

use crate::gate::{Fixture, get, json as body, post, run, text};

#[test]
fn a_policy_edits_the_request_and_the_response() {
    run(async {
        let gate = Fixture::module(
            r#"
            import { ZuploContext, ZuploRequest } from "@zuplo/runtime";
            export async function before(request: ZuploRequest, context: ZuploContext) {
              request.headers.set("x-seen", request.headers.get("x-sent") ?? "none");
              return request;
            }
            export async function after(response: Response, request: ZuploRequest) {
              response.headers.set("x-after", request.headers.get("x-seen") ?? "none");
              return response;
            }"#,
        )
        .inbound("before")
        .outbound("after")
        .start()
        .await;
        let mut request = get("http://gate.test/orders/1");
        request.headers.set("X-Sent", b"hello").unwrap();
        let response = gate.send(request).await.unwrap();
        assert_eq!(response.headers.get_str("x-after"), Some("hello"));
        assert_eq!(response.headers.get_str("x-terminal"), Some("yes"));
        assert_eq!(text(response).await, "terminal");
        assert_eq!(gate.terminal.seen.borrow()[0].0.headers.get_str("x-seen"), Some("hello"));
    });
}

#[test]
fn a_response_ends_the_exchange_and_nothing_within_runs() {
    run(async {
        let gate = Fixture::module(
            r#"
            export const stop = async () => new Response("stopped", { status: 403 });
            export const never = async () => { throw new Error("must not run"); };
            "#,
        )
        .inbound("stop")
        .inbound("never")
        .outbound("never")
        .start()
        .await;
        assert_eq!(gate.get("http://gate.test/").await, (403, "stopped".to_owned()));
        assert!(gate.terminal.seen.borrow().is_empty());
    });
}

#[test]
fn undefined_goes_on_with_the_same_request() {
    run(async {
        let gate = Fixture::module("export const look = (request) => { request.headers.set('x-a', '1'); };")
            .inbound("look")
            .start()
            .await;
        assert_eq!(gate.send(post("http://gate.test/", "payload")).await.unwrap().status.as_u16(), 200);
        let seen = gate.terminal.seen.borrow();
        assert_eq!((seen[0].0.headers.get_str("x-a"), seen[0].1.as_str()), (Some("1"), "payload"));
    });
}

#[test]
fn anything_else_is_refused_by_name() {
    run(async {
        for (code, what) in [
            ("'text'", "a string"),
            ("null", "null"),
            ("({ status: 200 })", "an object"),
            ("new Map()", "an object of class Map"),
            ("[1]", "an array"),
        ] {
            let gate = Fixture::module(&format!("export const bad = async () => {code};"))
                .inbound("bad")
                .start()
                .await;
            let failure = gate.failure().await;
            assert_eq!(failure.reason(), Reason::PolicyResult, "{code}");
            assert!(failure.detail_text().ends_with(&format!("it returned {what}")), "{failure}");
            assert_eq!(&**failure.policy_name().unwrap(), "bad");
        }
        for code in ["undefined", "request", "'text'"] {
            let gate = Fixture::module(&format!("export const bad = async (response, request) => {code};"))
                .outbound("bad")
                .start()
                .await;
            assert_eq!(gate.failure().await.reason(), Reason::PolicyResult, "{code}");
        }
    });
}

#[test]
fn options_and_name_are_given_and_shared_by_exchanges() {
    run(async {
        let gate = Fixture::module(
            r#"
            export default async (request, context, options, policyName) => {
              options.count = (options.count ?? 0) + 1;
              return Response.json({ options, policyName });
            };
            export const none = async (request, context, options) => Response.json({ none: options === undefined });
            "#,
        )
        .policy(Role::Inbound, "mine", "./modules/m", "default", Some(json!({ "header": "x-key", "deep": { "a": [1] } })))
        .start()
        .await;
        let first = body(gate.send(get("http://gate.test/")).await.unwrap()).await;
        assert_eq!(
            first,
            json!({ "options": { "header": "x-key", "deep": { "a": [1] }, "count": 1 }, "policyName": "mine" })
        );
        let second = body(gate.send(get("http://gate.test/")).await.unwrap()).await;
        assert_eq!(second["options"]["count"], 2);

        let gate = Fixture::module(
            "export const none = async (r, c, options) => Response.json(options === undefined);",
        )
        .inbound("none")
        .start()
        .await;
        assert_eq!(gate.get("http://gate.test/").await.1, "true");
    });
}

#[test]
fn all_layers_see_the_same_objects() {
    run(async {
        let gate = Fixture::module(
            r#"
            export const one = async (request, context) => { request.mine = 1; context.custom.a = [request]; return request; };
            export const two = async (request, context) => {
              context.custom.a.push(request.mine, request === context.custom.a[0]);
            };
            export const out = async (response, request, context) =>
              Response.json([request === context.custom.a[0], ...context.custom.a.slice(1), request.url, request.params.id]);
            "#,
        )
        .inbound("one")
        .inbound("two")
        .outbound("out")
        .start()
        .await;
        assert_eq!(
            gate.get("http://gate.test/orders/1?x=2").await.1,
            r#"[true,1,true,"http://gate.test/orders/1?x=2","a b"]"#
        );
    });
}

#[test]
fn a_new_request_keeps_params_user_and_class() {
    run(async {
        let gate = Fixture::module(
            r#"
            import { ZuploRequest } from "@polygate/runtime";
            export const auth = async (request) => { request.user = { sub: "ann", data: { plan: "gold" } }; return request; };
            export const plain = async (request) => new Request("http://other.test/moved?q=1&q=2", {
              method: "POST", body: "new body", headers: { "x-new": "1" } });
            export const own = async (request) => new ZuploRequest(request, { headers: { "x-new": "2", "x-old": request.headers.get("x-new") } });
            export const report = async (response, request) => Response.json({
              params: request.params, query: request.query, user: request.user, original: request.originalUrl,
              isClass: request instanceof ZuploRequest, url: request.url, clone: request.clone() instanceof ZuploRequest,
              cloned: request.clone().user.sub,
            });
            "#,
        )
        .inbound("auth")
        .inbound("plain")
        .inbound("own")
        .outbound("report")
        .start()
        .await;
        let request = get("http://gate.test/orders/1");
        let exchange = gate.exchange(&request);
        let response = gate.send_on(request, &exchange).await.unwrap();
        assert_eq!(
            body(response).await,
            json!({ "params": { "id": "a b" }, "query": { "q": "2" }, "user": { "sub": "ann", "data": { "plan": "gold" } },
                    "original": "http://gate.test/orders/1", "isClass": true, "url": "http://other.test/moved?q=1&q=2",
                    "clone": true, "cloned": "ann" })
        );
        let seen = gate.terminal.seen.borrow();
        let (request, sent) = &seen[0];
        assert_eq!((request.method.as_str(), sent.as_str()), ("POST", "new body"));
        assert_eq!(request.target.to_string(), "http://other.test/moved?q=1&q=2");
        assert_eq!(request.headers.get_str("x-old"), Some("1"));
        let identity = exchange.identity().unwrap();
        assert_eq!((identity.subject.as_str(), &identity.data), ("ann", &json!({ "plan": "gold" })));
    });
}

/// Another world: tells who the user is, or notes it, and adds a header.
struct Other {
    sets: Option<&'static str>,
}

impl Layer for Other {
    fn handle<'a>(
        &'a self,
        mut request: Request,
        exchange: &'a Exchange,
        next: Next<'a>,
    ) -> LocalBoxFuture<'a, Result<Response, Failure>> {
        Box::pin(async move {
            let before = exchange.identity().map(|identity| identity.subject.clone()).unwrap_or_default();
            request.headers.set("x-other", before.as_bytes()).unwrap();
            if let Some(subject) = self.sets {
                exchange
                    .set_identity(Some(Identity { subject: subject.to_owned(), data: json!({ "n": 1 }) }));
            }
            next.run(request, exchange).await
        })
    }
}

#[test]
fn the_user_is_shared_with_other_worlds() {
    run(async {
        let project = r#"
            import { ZuploRequest } from "@zuplo/runtime";
            export const who = async (request) => { request.user = { sub: "ann", data: 1 }; };
            export const init = async (request) => new ZuploRequest(request, { user: { sub: "init", data: 2 } });
            export const report = async (response, request) =>
              Response.json([request.user, request.user === request.user, request.headers.get("x-other")]);"#;
        let gate = Fixture::module(project).inbound("who").outbound("report").start().await;
        let gate = gate.with_layer(Rc::new(Other { sets: Some("bob") }));
        assert_eq!(gate.get("http://gate.test/").await.1, r#"[{"sub":"bob","data":{"n":1}},true,"ann"]"#);

        let gate = Fixture::module(project).inbound("init").outbound("report").start().await;
        let gate = gate.with_layer(Rc::new(Other { sets: None }));
        assert_eq!(gate.get("http://gate.test/").await.1, r#"[{"sub":"init","data":2},true,"init"]"#);
    });
}

#[test]
fn bodies_pass_through_and_can_be_read() {
    run(async {
        let gate = Fixture::module(
            r#"
            export const read = async (request) => {
              const text = await request.clone().text();
              request.headers.set("x-length", `${text.length}`);
              return request;
            };
            export const replace = async (response) => {
              const text = await response.text();
              return new Response(text.toUpperCase(), { status: 201, headers: response.headers });
            };
            export const through = async (response) => new Response(response.body, { status: response.status, headers: { "x-new": "1" } });
            "#,
        )
        .inbound("read")
        .outbound("replace")
        .outbound("through")
        .start()
        .await;
        let response = gate.send(post("http://gate.test/", "payload")).await.unwrap();
        assert_eq!(response.status.as_u16(), 201);
        assert_eq!(response.headers.get_str("x-new"), Some("1"));
        assert_eq!(text(response).await, "TERMINAL");
        let seen = gate.terminal.seen.borrow();
        assert_eq!((seen[0].0.headers.get_str("x-length"), seen[0].1.as_str()), (Some("7"), "payload"));
    });
}

#[test]
fn policies_run_others_by_name() {
    run(async {
        let gate = Fixture::module(
            r#"
            export const composed = async (request, context) => {
              const result = await context.invokeInboundPolicy("inner", request);
              if (result instanceof Response) return result;
              result.headers.set("x-composed", result.headers.get("x-inner"));
              return result;
            };
            export const inner = async (request, context, options, policyName) => {
              request.headers.set("x-inner", policyName);
              return request.headers.get("x-stop") ? new Response("inner stopped", { status: 418 }) : request;
            };
            export const out = async (response, request, context) => context.invokeOutboundPolicy("stamp", response, request);
            export const stamp = async (response, request, context, options, policyName) => {
              response.headers.set("x-stamp", policyName);
              return response;
            };
            export const missing = async (request, context) => context.invokeInboundPolicy("nobody", request);
            "#,
        )
        .inbound("composed")
        .inbound("inner")
        .outbound("out")
        .outbound("stamp")
        .start()
        .await;
        let response = gate.send(get("http://gate.test/")).await.unwrap();
        assert_eq!(response.headers.get_str("x-stamp"), Some("stamp"));
        assert_eq!(gate.terminal.seen.borrow()[0].0.headers.get_str("x-composed"), Some("inner"));
        let mut request = get("http://gate.test/");
        request.headers.set("x-stop", b"1").unwrap();
        assert_eq!(gate.send(request).await.unwrap().status.as_u16(), 418);
    });
}

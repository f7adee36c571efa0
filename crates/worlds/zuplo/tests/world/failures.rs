//! What breaks: errors with their place in the source, and what the client may see of them.

use polygate_pipeline::{ByteSize, OnFailure, Reason};
use serde_json::json;

use crate::gate::{Fixture, get, post, run};

#[test]
fn an_error_names_its_place_in_the_typescript() {
    run(async {
        let gate = Fixture::new(&[
            (
                "modules/m.ts",
                "import { check } from './lib/check';\n\ninterface Unused { a: string }\n\nexport default async function guard(request: Request): Promise<Request> {\n  await Promise.resolve();\n  check(request.url as string);\n  return request;\n}\n",
            ),
            (
                "modules/lib/check.ts",
                "export type Url = string;\n\nexport function check(url: Url): void {\n  throw new TypeError(`bad url: ${url}`);\n}\n",
            ),
        ])
        .inbound("default")
        .start()
        .await;
        let failure = gate.failure().await;
        assert_eq!(failure.reason(), Reason::PolicyError);
        assert_eq!(failure.status().as_u16(), 500);
        let detail = failure.detail_text();
        assert!(detail.contains("TypeError: bad url: http://gate.test/orders/1"), "{detail}");
        assert!(detail.contains("check (modules/lib/check.ts:4:"), "{detail}");
        assert!(detail.contains("guard (modules/m.ts:7:"), "{detail}");
        assert!(failure.extension_members().is_none());
    });
}

#[test]
fn members_of_a_runtime_error_are_for_the_client() {
    run(async {
        let gate = Fixture::module(
            r#"
            import { ConfigurationError, RuntimeError } from "@zuplo/runtime";
            export const fail = async (request) => {
              if (request.method === "POST") throw new ConfigurationError("not set up");
              throw new RuntimeError({ message: "secret", extensionMembers: { code: "E1", deep: { a: [1] } } }, { cause: new Error("root") });
            };
            export const kinds = () => {
              const error = new ConfigurationError("x");
              return [error instanceof RuntimeError, error instanceof Error, error.name, `${error}`];
            };"#,
        )
        .inbound("fail")
        .handler("kinds")
        .start()
        .await;
        let failure = gate.failure().await;
        let members = serde_json::Value::Object(failure.extension_members().unwrap().clone());
        assert_eq!(members, json!({ "code": "E1", "deep": { "a": [1] } }));
        let detail = failure.detail_text();
        assert!(
            detail.contains("RuntimeError: secret") && detail.contains("caused by Error: root"),
            "{detail}"
        );
        let failure = gate.send(post("http://gate.test/", "")).await.unwrap_err();
        assert!(failure.detail_text().contains("ConfigurationError: not set up"), "{failure}");
        assert!(failure.extension_members().is_none());
    });
}

#[test]
fn one_failure_harms_no_other_exchange() {
    run(async {
        let gate = Fixture::module(
            r#"
            let calls = 0;
            export const flaky = async (request) => {
              calls += 1;
              if (request.query.bad) throw new Error("bad");
              request.headers.set("x-calls", `${calls}`);
              return request;
            };"#,
        )
        .inbound("flaky")
        .start()
        .await;
        for _ in 0..3 {
            assert!(gate.send(get("http://gate.test/?bad=1")).await.is_err());
            assert_eq!(gate.send(get("http://gate.test/")).await.unwrap().status.as_u16(), 200);
        }
        // Module state is the worker's, across exchanges.
        assert_eq!(gate.terminal.seen.borrow()[2].0.headers.get_str("x-calls"), Some("6"));
    });
}

#[test]
fn a_body_that_was_read_cannot_be_sent_on() {
    run(async {
        let gate = Fixture::module(
            "export const eat = async (request) => { await request.text(); return request; };",
        )
        .inbound("eat")
        .start()
        .await;
        let failure = gate.send(post("http://gate.test/", "payload")).await.unwrap_err();
        assert_eq!(failure.reason(), Reason::PolicyError);
        assert!(failure.detail_text().contains("TypeError"), "{failure}");
    });
}

#[test]
fn an_open_policy_is_skipped() {
    run(async {
        let gate = Fixture::module(
            r#"
            export const broken = async () => { throw new Error("broken"); };
            export const after = async (response, request, context) => { response.headers.set("x-after", request.url); return response; };
            "#,
        )
        .inbound("broken")
        .budget(|budget| budget.on_failure = OnFailure::Open)
        .outbound("after")
        .start()
        .await;
        let response = gate.send(post("http://gate.test/a", "payload")).await.unwrap();
        assert_eq!(response.headers.get_str("x-after"), Some("http://gate.test/a"));
        assert_eq!(gate.terminal.seen.borrow()[0].1, "payload");
    });
}

#[test]
fn errors_of_native_operations_keep_their_reason_when_nobody_catches_them() {
    run(async {
        let gate = Fixture::module(
            r#"
            const kinds = {
              request: (request) => request.text(),
              stream: (request) => new Request(request, { body: request.body.pipeThrough(new TransformStream()) }).text(),
              held: (request) => { request.body; return request.text(); },
              response: async () => (await fetch("http://up.test/long/answer")).text(),
              denied: () => fetch("http://denied.test/"),
              spent: async () => { for (let i = 0; i < 3; i++) await fetch("http://up.test/"); },
              down: () => fetch("http://down.test/"),
            };
            export default async (request, context) => {
              const { how, wrap } = request.query;
              try {
                await kinds[how](request);
              } catch (error) {
                if (wrap) throw new TypeError("mine", { cause: error });
                throw error;
              }
              return "went on";
            };"#,
        )
        .handler("default")
        .budget(|budget| {
            budget.body = ByteSize(10);
            budget.subrequests = 2;
        })
        .start()
        .await;
        for (how, reason, status) in [
            ("request", Reason::BodyTooLarge, 413),
            ("stream", Reason::BodyTooLarge, 413),
            ("held", Reason::BodyTooLarge, 413),
            ("response", Reason::BodyTooLarge, 502),
            ("denied", Reason::AddressDenied, 502),
            ("spent", Reason::PolicySubrequests, 500),
            ("down", Reason::PolicyError, 500),
        ] {
            let url = format!("http://gate.test/?how={how}");
            let failure = gate.send(post(&url, "longer than ten bytes")).await.unwrap_err();
            assert_eq!((failure.reason(), failure.status().as_u16()), (reason, status), "{how}: {failure}");
            assert_eq!(failure.policy_name().map(|name| &**name), Some("default"), "{how}");
            assert!(failure.detail_text().contains("modules/m.ts") || how == "stream", "{failure}");
            let failure =
                gate.send(post(&format!("{url}&wrap=1"), "longer than ten bytes")).await.unwrap_err();
            assert_eq!(failure.reason(), Reason::PolicyError, "{how}");
        }
    });
}

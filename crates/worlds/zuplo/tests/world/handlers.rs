//! Handlers, templates and the forwarding handlers as functions.

use polygate_pipeline::{Reason, Role};
use serde_json::json;

use crate::gate::{Fixture, get, json as body, post, run, text};

#[test]
fn a_value_is_sent_as_json() {
    run(async {
        for (code, expected) in [
            ("({ a: [1, 'x'] })", r#"{"a":[1,"x"]}"#),
            ("'text'", r#""text""#),
            ("7", "7"),
            ("null", "null"),
            ("Promise.resolve([])", "[]"),
        ] {
            let gate = Fixture::module(&format!("export default (request, context) => {code};"))
                .handler("default")
                .start()
                .await;
            let response = gate.send(get("http://gate.test/")).await.unwrap();
            assert_eq!(response.headers.get_str("content-type"), Some("application/json"), "{code}");
            assert_eq!((response.status.as_u16(), text(response).await.as_str()), (200, expected));
        }
        let gate = Fixture::module("export default async () => {};").handler("default").start().await;
        let failure = gate.failure().await;
        assert_eq!(failure.reason(), Reason::PolicyResult);
        assert!(failure.detail_text().contains("it returned undefined"), "{failure}");
    });
}

#[test]
fn a_handler_reads_the_request_and_answers() {
    run(async {
        let gate = Fixture::module(
            r#"
            export const pass = async (request) => request;
            export default async function (request, context) {
              return new Response(`${arguments.length} ${request.method} ${await request.text()} ${request.params.id}`, {
                status: 201, headers: [["set-cookie", "a=1"], ["set-cookie", "b=2"]],
              });
            }"#,
        )
        .inbound("pass")
        .handler("default")
        .start()
        .await;
        let response = gate.send(post("http://gate.test/", "in")).await.unwrap();
        assert_eq!(response.headers.get_all("set-cookie").count(), 2);
        assert_eq!((response.status.as_u16(), text(response).await.as_str()), (201, "2 POST in a b"));
    });
}

#[test]
fn a_stream_made_by_a_handler_is_sent() {
    run(async {
        let gate = Fixture::module(
            r#"
            export default async () => new Response(new ReadableStream({
              async start(controller) {
                for (const part of ["one ", "two ", "three"]) {
                  await new Promise((resolve) => setTimeout(resolve, 1));
                  controller.enqueue(new TextEncoder().encode(part));
                }
                controller.close();
              },
            }));"#,
        )
        .handler("default")
        .start()
        .await;
        assert_eq!(gate.get("http://gate.test/").await.1, "one two three");
    });
}

#[test]
fn forwarding_handlers_are_functions() {
    run(async {
        let gate = Fixture::module(
            r#"
            import { redirectHandler, urlForwardHandler, urlRewriteHandler } from "@zuplo/runtime";
            export default async (request, context) => {
              switch (request.query.to) {
                case "forward": return urlForwardHandler(request, context, { baseUrl: "http://up.test/base/" });
                case "bare": return urlForwardHandler(request, context, { baseUrl: "http://up.test", forwardSearch: false });
                case "rewrite": return urlRewriteHandler(request, context, { rewritePattern: "http://up.test/x?a=1" });
                case "redirect": return redirectHandler(request, context, { location: "/there", status: 308 });
                default: return urlForwardHandler(request, context, {});
              }
            };"#,
        )
        .handler("default")
        .start()
        .await;
        assert_eq!(gate.get("http://gate.test/p?to=forward").await.1, "GET http://up.test/base/p?to=forward");
        assert_eq!(gate.get("http://gate.test/p?to=bare").await.1, "GET http://up.test/p");
        assert_eq!(gate.get("http://gate.test/p?to=rewrite").await.1, "GET http://up.test/x?a=1&to=rewrite");
        let response = gate.send(get("http://gate.test/p?to=redirect")).await.unwrap();
        assert_eq!((response.status.as_u16(), response.headers.get_str("location")), (308, Some("/there")));
        let failure = gate.failure().await;
        assert!(
            failure
                .detail_text()
                .contains("ConfigurationError: urlForwardHandler needs the option 'baseUrl'"),
            "{failure}"
        );
    });
}

#[test]
fn templates_choose_the_target() {
    run(async {
        let template = |text: &str, mode: &str| {
            Fixture::module("export const mark = async (request, context) => { context.custom.region = 'eu'; request.user = { sub: 'ann' }; };")
                .variable("HOST", "up.test")
                .inbound("mark")
                .policy(
                    Role::Inbound,
                    "route#target",
                    "@polygate/runtime",
                    "template",
                    Some(json!({ "template": text, "mode": mode, "forwardSearch": true })),
                )
        };
        let target = async |fixture: Fixture| {
            let gate = fixture.start().await;
            let request = get("http://gate.test/orders/1?x=2&x=3");
            let exchange = gate.exchange(&request);
            let result = gate.send_on(request, &exchange).await;
            result.map(|_| exchange.take_upstream_target().unwrap().to_string())
        };
        let fixture = template(
            "https://${context.custom.region}.${env.HOST}/${params.id.length}/${e(params.id)}",
            "rewrite",
        );
        assert_eq!(target(fixture).await.unwrap(), "https://eu.up.test/3/a%20b?x=2&x=3");
        let fixture = template("https://${request.user.sub}.${hostname.toUpperCase()}/base", "forward");
        assert_eq!(target(fixture).await.unwrap(), "https://ann.GATE.TEST/base/orders/1?x=2&x=3");
        let fixture = template("https://up.test/${query.x}${request.query.x}${query.none}?", "rewrite");
        assert_eq!(target(fixture).await.unwrap(), "https://up.test/23undefined?&x=2&x=3");
        let failure = target(template("${headers.get('x-none')}", "rewrite")).await.unwrap_err();
        assert_eq!(failure.reason(), Reason::PolicyResult);
        let failure = target(template("${params.none.x}", "rewrite")).await.unwrap_err();
        assert_eq!(failure.reason(), Reason::PolicyError);

        let problems = template("https://${env.", "rewrite").problems().await;
        assert_eq!(
            (problems[0].code, problems[0].file.as_deref()),
            ("bad-template", Some("config/policies.json"))
        );
        assert_eq!(problems[0].span, Some(crate::gate::SPAN));
    });
}

#[test]
fn json_of_a_body_round_trips() {
    run(async {
        let gate = Fixture::module("export default async (request) => ({ got: await request.json() });")
            .handler("default")
            .start()
            .await;
        let response = gate.send(post("http://gate.test/", r#"{"a":"ü"}"#)).await.unwrap();
        assert_eq!(body(response).await, json!({ "got": { "a": "ü" } }));
    });
}

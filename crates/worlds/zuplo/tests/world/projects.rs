//! Projects that are refused: everything wrong at once, each thing at its place.

use polygate_pipeline::Role;
use serde_json::json;

use crate::gate::{EXPORT_SPAN, Fixture, SPAN, run};

#[test]
fn missing_modules_and_exports_are_told_at_their_places() {
    run(async {
        let problems = Fixture::new(&[(
            "modules/need-key.ts",
            "export const guard = async (request) => request;\nexport const other = 1;",
        )])
        .policy(Role::Inbound, "a", "./modules/need-kye", "guard", None)
        .policy(Role::Inbound, "b", "./modules/need-key", "gaurd", None)
        .policy(Role::Inbound, "c", "@polygate/runtime", "nothing", None)
        .policy(Role::Inbound, "d", "@polygate/runtime", "template", Some(json!({ "template": 1 })))
        .problems()
        .await;
        assert_eq!(problems.len(), 4, "{problems:#?}");
        for problem in &problems {
            assert_eq!(problem.file.as_deref(), Some("config/policies.json"), "{problem:#?}");
        }
        let module = problems.iter().find(|p| p.message.contains("need-kye")).unwrap();
        assert_eq!(module.span, Some(SPAN), "{module:#?}");
        let export = problems.iter().find(|p| p.message.contains("gaurd")).unwrap();
        assert_eq!(
            (export.span, export.nearest.as_deref()),
            (Some(EXPORT_SPAN), Some("guard")),
            "{export:#?}"
        );
    });
}

#[test]
fn names_of_the_runtime_module_are_checked() {
    run(async {
        let problems = Fixture::module(
            "import { HttpProblem } from '@zuplo/runtime';\nexport const a = async () => HttpProblem.ok();",
        )
        .inbound("a")
        .problems()
        .await;
        assert_eq!(problems.len(), 1, "{problems:#?}");
        assert_eq!(problems[0].nearest.as_deref(), Some("HttpProblems"));
        assert_eq!(problems[0].file.as_deref(), Some("modules/m.ts"));
        assert_eq!(problems[0].span.map(|span| span.line), Some(1));
    });
}

#[test]
fn what_fails_at_start_is_told() {
    run(async {
        let problems = Fixture::module("export const a = 1;").inbound("a").problems().await;
        assert_eq!(
            (problems[0].code, problems[0].span),
            ("not-a-function", Some(EXPORT_SPAN)),
            "{problems:#?}"
        );

        let problems =
            Fixture::module("const x = undefined;\nexport const a = x.y;").inbound("a").problems().await;
        assert_eq!(problems[0].code, "module-load");
        assert!(problems[0].message.contains("modules/m.ts:2:"), "{problems:#?}");

        let problems = Fixture::new(&[
            ("modules/m.ts", "export const a = async (r) => r;"),
            (
                "modules/polygate.runtime.ts",
                "export const runtimeInit = (runtime) => { runtime.notFoundHandler = () => {}; };",
            ),
        ])
        .inbound("a")
        .problems()
        .await;
        assert_eq!(problems[0].code, "runtime-init");
        assert!(problems[0].message.contains("notFoundHandler is not supported"), "{problems:#?}");
        assert_eq!(problems[0].file.as_deref(), Some("modules/polygate.runtime.ts"));
    });
}

#[test]
fn the_native_functions_are_out_of_reach() {
    run(async {
        let gate = Fixture::module(
            "const key = Symbol.for('polygate.zuplo');\nexport default () => [key in globalThis, Object.getOwnPropertySymbols(globalThis).length];",
        )
        .handler("default")
        .start()
        .await;
        assert_eq!(gate.get("http://gate.test/").await.1.split(',').next(), Some("[false"));
    });
}

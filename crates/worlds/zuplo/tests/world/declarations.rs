//! The declarations in `packages/runtime` name what the runtime module exports, no more and no less.

use std::collections::BTreeSet;

use crate::gate::{Fixture, run};

#[test]
fn declared_values_are_those_that_exist() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../packages/runtime/index.d.ts");
    let text = std::fs::read_to_string(path).unwrap();
    let mut declared = BTreeSet::new();
    let mut statics = BTreeSet::new();
    for line in text.lines() {
        let line = line.trim();
        for prefix in
            ["export class ", "export declare class ", "export declare const ", "export declare function "]
        {
            if let Some(rest) = line.strip_prefix(prefix) {
                let end = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
                declared.insert(rest[..end].to_owned());
            }
        }
        if let Some(rest) = line.strip_prefix("export { ")
            && let Some((_, alias)) = rest.trim_end_matches(" };").split_once(" as ")
        {
            declared.insert(alias.to_owned());
        }
        if let Some((name, _)) =
            line.strip_prefix("static ").and_then(|rest| rest.split_once(": HttpProblem;"))
        {
            statics.insert(name.to_owned());
        }
    }
    run(async {
        let gate = Fixture::module(
            r#"
            import * as runtime from "@polygate/runtime";
            import * as alias from "@zuplo/runtime";
            export default () => ({
              names: Object.keys(runtime),
              same: Object.keys(alias).every((name) => runtime[name] === alias[name]) && Object.keys(alias).length,
              problems: Object.getOwnPropertyNames(runtime.HttpProblems).filter((n) => !["length", "name", "prototype"].includes(n)),
            });"#,
        )
        .handler("default")
        .start()
        .await;
        let found: serde_json::Value = serde_json::from_str(&gate.get("http://gate.test/").await.1).unwrap();
        let names = |key: &str| -> BTreeSet<String> {
            found[key].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(declared, names("names"));
        assert_eq!(statics, names("problems"));
        assert_eq!(found["same"], declared.len());
    });
}

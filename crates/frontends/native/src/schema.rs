//! JSON Schemas of the project's files, generated from the structures they are decoded into.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::raw::handlers::{ForwardOptions, RedirectOptions, RewriteOptions};
use crate::raw::policies::PoliciesFile;
use crate::raw::routes::{PathExtension, RouteExtension};
use crate::raw::settings::SettingsFile;

const METHODS: &str = "get|put|post|delete|options|head|patch|trace";

/// The schemas with the names of their files.
pub fn schemas() -> Vec<(&'static str, Value)> {
    vec![
        ("policies.schema.json", of::<PoliciesFile>()),
        ("polygate.toml.schema.json", of::<SettingsFile>()),
        ("routes.oas.schema.json", routes()),
    ]
}

/// The schema of one structure, whole: with `$defs`.
pub(crate) fn of<T: JsonSchema>() -> Value {
    SchemaGenerator::default().into_root_schema_for::<T>().to_value()
}

/// The frame is OpenAPI's and left free; what is Polygate's is checked.
fn routes() -> Value {
    let mut generator = SchemaGenerator::default();
    let route = generator.subschema_for::<RouteExtension>().to_value();
    let path = generator.subschema_for::<PathExtension>().to_value();
    let options: Vec<(&str, Schema)> = vec![
        ("urlForwardHandler", generator.subschema_for::<ForwardOptions>()),
        ("urlRewriteHandler", generator.subschema_for::<RewriteOptions>()),
        ("redirectHandler", generator.subschema_for::<RedirectOptions>()),
    ];
    let mut definitions: Map<String, Value> = generator.take_definitions(true);
    let per_handler: Vec<Value> = options
        .into_iter()
        .map(|(export, options)| {
            let built_in = json!({ "properties": {
                "export": { "const": export }, "module": { "pattern": "^\\$import\\(@(polygate|zuplo)/runtime\\)$" }
            } });
            json!({ "if": built_in, "then": { "required": ["options"], "properties": { "options": options } } })
        })
        .collect();
    if let Some(Value::Object(code)) = definitions.get_mut("CodeRef") {
        code.insert("allOf".to_owned(), per_handler.into());
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Polygate routes",
        "description": "An OpenAPI 3 document whose operations say how they are served.",
        "type": "object",
        "required": ["openapi", "paths"],
        "properties": {
            "openapi": { "type": "string", "pattern": "^3\\.[01](\\.[0-9]+)?$" },
            "paths": { "type": "object", "additionalProperties": {
                "type": "object",
                "properties": { "x-polygate-path": path, "x-zuplo-path": path },
                "patternProperties": {
                    format!("^({METHODS})(,({METHODS}))*$"): {
                        "type": "object",
                        "properties": { "x-polygate-route": route, "x-zuplo-route": route },
                    }
                }
            } }
        },
        "$defs": definitions,
    })
}

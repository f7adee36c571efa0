//! `config/policies.json` as it is written.

use polygate_pipeline::OnFailure;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::text::{Duration, Size};

/// The policies of a project: `config/policies.json`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "Polygate policies")]
#[expect(dead_code, reason = "decoded piece by piece; the structure is the schema")]
pub(crate) struct PoliciesFile {
    /// The JSON Schema of this file, for editors.
    #[serde(rename = "$schema")]
    pub(crate) schema: Option<String>,
    /// The policies. Routes name them.
    #[serde(default)]
    pub(crate) policies: Vec<PolicyEntry>,
    /// CORS policies. Not applied yet: a route that names one is refused.
    #[serde(default)]
    pub(crate) cors_policies: Vec<CorsPolicy>,
}

/// One policy.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PolicyEntry {
    /// Its name, unique in the project.
    pub(crate) name: String,
    /// A label, such as `custom-code-inbound`. Which code runs is said by `handler` alone.
    #[expect(dead_code, reason = "a label that nothing depends on")]
    pub(crate) policy_type: Option<String>,
    /// The code of a TypeScript policy.
    pub(crate) handler: Option<CodeRef>,
    /// The world of a policy that is not TypeScript.
    pub(crate) world: Option<String>,
    /// The plugin of another world's policy: a path from the project's folder, or a pinned name.
    pub(crate) plugin: Option<String>,
    /// The configuration of another world's policy, handed to the plugin as it stands.
    pub(crate) config: Option<Value>,
    /// What one call may spend. What is not said here is taken from `[budget]` of `polygate.toml`.
    pub(crate) budget: Option<BudgetEntry>,
    /// What happens when the policy fails or its budget is spent: `closed` ends the exchange with an error response,
    /// `open` goes on without the policy.
    #[schemars(with = "Option<OnFailureName>")]
    pub(crate) on_failure: Option<OnFailure>,
}

/// Whether a failed policy ends the exchange.
#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "describes a type of another crate to the schema")]
pub(crate) enum OnFailureName {
    Closed,
    Open,
}

/// An export of a module.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CodeRef {
    /// The export's name, such as `default`.
    pub(crate) export: String,
    /// The module: `$import(./modules/NAME)` from the project's folder, or `$import(@polygate/runtime)`.
    pub(crate) module: String,
    /// Handed to the code. `$env(NAME)` in a text stands for an environment variable.
    #[expect(dead_code, reason = "looked at in the tree, for its place")]
    pub(crate) options: Option<Map<String, Value>>,
}

/// What one call of a policy may spend.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct BudgetEntry {
    /// CPU time of one call.
    pub(crate) cpu: Option<Duration>,
    /// Memory of the virtual machine that runs the policy.
    pub(crate) memory: Option<Size>,
    /// Time of one call, without the time in the layers within.
    pub(crate) wall: Option<Duration>,
    /// Requests that one call may send.
    pub(crate) subrequests: Option<u32>,
    /// Bytes of a body that the policy may read as a whole.
    pub(crate) body: Option<Size>,
}

/// A CORS policy.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read to be checked; CORS is not applied yet")]
pub(crate) struct CorsPolicy {
    /// Its name.
    pub(crate) name: String,
    /// Origins that may ask.
    pub(crate) allowed_origins: Option<Names>,
    /// Methods that may be asked for.
    pub(crate) allowed_methods: Option<Names>,
    /// Request headers that may be sent.
    pub(crate) allowed_headers: Option<Names>,
    /// Response headers that scripts may read.
    pub(crate) expose_headers: Option<Names>,
    /// How long an answer may be kept, in seconds.
    pub(crate) max_age: Option<u32>,
    /// Whether credentials may be sent.
    pub(crate) allow_credentials: Option<bool>,
}

/// Names: an array, or one text with commas.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "read to be checked; CORS is not applied yet")]
pub(crate) enum Names {
    /// One by one.
    List(Vec<String>),
    /// Parted by commas.
    Text(String),
}

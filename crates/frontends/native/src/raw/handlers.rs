//! The options of the built-in handlers, as they are written.

use schemars::JsonSchema;
use serde::Deserialize;

/// Options of `urlForwardHandler`, which appends the incoming path to a URL or to a named upstream's.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ForwardOptions {
    /// The URL to which the incoming path is appended; a template such as `https://${env.HOST}/v2`.
    pub(crate) base_url: Option<String>,
    /// The name of an upstream of `polygate.toml`, in place of `baseUrl`.
    pub(crate) upstream: Option<String>,
    /// Whether the incoming query is appended.
    #[serde(default = "yes")]
    pub(crate) forward_search: bool,
    /// Whether redirects of the upstream are followed rather than handed on.
    #[serde(default)]
    pub(crate) follow_redirects: bool,
}

/// Options of `urlRewriteHandler`, which sends the request to a URL made from it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RewriteOptions {
    /// The URL; a template such as `https://example.com/orders?id=${params.id}`.
    #[expect(dead_code, reason = "looked at in the tree, for its place")]
    pub(crate) rewrite_pattern: String,
    /// Whether the incoming query is appended.
    #[serde(default = "yes")]
    pub(crate) forward_search: bool,
    /// Whether redirects of the upstream are followed rather than handed on.
    #[serde(default)]
    pub(crate) follow_redirects: bool,
}

/// Options of `redirectHandler`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RedirectOptions {
    /// Where to: a path or a URL.
    pub(crate) location: String,
    /// The status.
    #[serde(default = "found")]
    #[schemars(extend("enum" = [301, 302, 303, 307, 308]))]
    pub(crate) status: u16,
}

fn yes() -> bool {
    true
}

fn found() -> u16 {
    302
}

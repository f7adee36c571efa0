//! The parts of a route file that are Polygate's, as they are written. The rest of the file is OpenAPI's.

use polygate_plan::AmbiguousPaths;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::policies::CodeRef;
use super::text::Size;

/// Which code answers a route and which policies stand before it: `x-polygate-route` of an operation.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RouteExtension {
    /// What answers.
    pub(crate) handler: CodeRef,
    /// The route's policies.
    #[expect(dead_code, reason = "looked at in the tree, for its place")]
    #[serde(default)]
    pub(crate) policies: RoutePolicies,
    /// The route's own caps.
    #[serde(default)]
    pub(crate) limits: RouteLimits,
    /// The CORS policy. Only `none` can be had yet.
    #[expect(dead_code, reason = "looked at in the tree, for its place")]
    pub(crate) cors_policy: Option<String>,
    /// How the route appears as an MCP tool. Kept for plugins to read; no handler uses it yet.
    #[expect(dead_code, reason = "looked at in the tree, for its place")]
    pub(crate) mcp: Option<Map<String, Value>>,
}

/// A route's policies, by name.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "looked at in the tree, for the names' places")]
pub(crate) struct RoutePolicies {
    /// Those that see the request, in order; what wraps the rest of the route stands here as well.
    #[serde(default)]
    pub(crate) inbound: Vec<String>,
    /// Those that see the response, in the order in which they see it.
    #[serde(default)]
    pub(crate) outbound: Vec<String>,
}

/// Caps of a route, in place of those in `[limits]` of polygate.toml; they may be smaller or larger.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RouteLimits {
    /// Request body; beyond, 413. Default: `limits.body` of polygate.toml.
    #[serde(default)]
    pub(crate) body: Option<Size>,
}

/// How a path is read: `x-polygate-path` of a path item.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PathExtension {
    /// The syntax of the path.
    #[serde(default)]
    pub(crate) path_mode: PathMode,
    /// What becomes of requests whose path can be read in more than one way (`/a/../b`, `/a%2fb`, `/a//b`, `/a;b`). Default:
    /// `listen.ambiguous-paths` of polygate.toml.
    #[serde(default)]
    pub(crate) ambiguous: Option<AmbiguousPathsName>,
}

/// What becomes of a request whose path can be read in more than one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AmbiguousPathsName {
    /// It is refused with 400.
    Reject,
    /// Policies and upstream see the canonical path.
    Normalize,
    /// Policies and upstream see the path as it was received.
    Raw,
}

impl From<AmbiguousPathsName> for AmbiguousPaths {
    fn from(name: AmbiguousPathsName) -> Self {
        match name {
            AmbiguousPathsName::Reject => Self::Reject,
            AmbiguousPathsName::Normalize => Self::Normalize,
            AmbiguousPathsName::Raw => Self::Raw,
        }
    }
}

/// The syntax of a path.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PathMode {
    /// `{name}` stands for a segment; the rest is literal.
    #[default]
    OpenApi,
    /// The pathname syntax of the URL Pattern standard.
    UrlPattern,
}

/// `zuplo.jsonc`, as far as it is known. Members that are not are reported as warnings.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "most members say how the project is hosted elsewhere")]
pub(crate) struct ProjectFile {
    #[serde(rename = "$schema")]
    pub(crate) schema: Option<String>,
    pub(crate) version: Option<u32>,
    pub(crate) compatibility_date: Option<String>,
    pub(crate) project_type: Option<ProjectType>,
    pub(crate) allow_duplicate_routes: Option<bool>,
    pub(crate) allow_host_header_override: Option<bool>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ProjectType {
    ManagedEdge,
    ManagedDedicated,
    SelfHosted,
}

//! Worlds: the environment that one gateway gives its plugins.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::future::LocalBoxFuture;

use crate::{Budget, Diagnostic, Layer, Services, Span};

/// A gateway's plugin environment. Stateless; one per process.
pub trait World: Send + Sync {
    /// Its name in configuration, such as `zuplo`.
    fn name(&self) -> &'static str;

    /// Checks and compiles all of a project's policies of this world, once per deployment. Touches no network and
    /// runs no plugin code.
    ///
    /// Every problem is added to `diagnostics`; with an error among them the answer is `None`.
    fn compile(
        &self,
        project: &Project,
        policies: &[PolicySpec],
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Option<Arc<dyn Program>>;
}

/// Compiled plugins of one world and deployment: shared by the workers, immutable.
pub trait Program: Send + Sync {
    /// Makes the plugins live on the calling worker. Plugin code that runs at load time runs here, under its own
    /// budget; it is tried aside before any worker of the running gateway does it.
    ///
    /// # Errors
    /// What is wrong with the plugins: a module that throws while it loads, say.
    fn spawn<'a>(
        &'a self,
        services: &'a Services,
    ) -> LocalBoxFuture<'a, Result<Rc<dyn Instance>, Vec<Diagnostic>>>;

    /// Bytes that differ when the compiled code differs: part of the deployment's content address.
    fn fingerprint(&self) -> Vec<u8>;
}

/// A program live on one worker. Dropping it frees all that it holds.
pub trait Instance {
    /// The layer of the policy with that index in the slice that was compiled, in one of the roles its
    /// specification lists.
    ///
    /// # Errors
    /// When the policy cannot stand in that role.
    fn layer(&self, policy: usize, role: Role) -> Result<Rc<dyn Layer>, Box<Diagnostic>>;

    /// Memory that the instance's virtual machine uses now, in bytes.
    fn memory(&self) -> u64 {
        0
    }
}

/// Where in a route's pipeline a policy stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Around all that follows, seeing the request first.
    Inbound,
    /// Sees the response on its way back.
    Outbound,
    /// Innermost: answers.
    Handler,
}

impl Role {
    /// The name in configuration and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Inbound => "inbound",
            Role::Outbound => "outbound",
            Role::Handler => "handler",
        }
    }
}

/// What a world is told about the project.
#[derive(Debug, Clone)]
pub struct Project {
    /// The project's folder, absolute.
    pub root: PathBuf,
    /// Environment variables and secrets.
    pub variables: Arc<BTreeMap<String, String>>,
}

/// A configured use of a plugin.
#[derive(Debug, Clone)]
pub struct PolicySpec {
    /// The policy's name, unique in the project. A function handler's is its route's.
    pub name: Arc<str>,
    /// The plugin.
    pub plugin: PluginRef,
    /// The plugin's configuration, environment variables substituted; `None` when there is none.
    pub config: Option<serde_json::Value>,
    /// The roles in which routes use it.
    pub roles: Vec<Role>,
    /// What it may spend.
    pub budget: Budget,
    /// The file that configures it, relative to the root.
    pub file: String,
    /// The place of the plugin's reference in that file.
    pub span: Option<Span>,
    /// The place of the export's name in that file.
    pub export_span: Option<Span>,
}

/// Which code: as written in configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginRef {
    /// Module path relative to the root (`./modules/need-key`), package or built-in module name.
    pub module: String,
    /// The export, for worlds whose modules have several.
    pub export: String,
}

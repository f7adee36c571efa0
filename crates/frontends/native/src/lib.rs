//! The native front end: a project's folder in, the plan out.
//!
//! A project is `config/*.oas.json|yaml` (OpenAPI documents whose operations are routes), `config/policies.json`,
//! `modules/`, `polygate.toml`, `.env` and, of projects that come from elsewhere, `zuplo.jsonc`. Every file is read
//! into one tree that knows the place of each value, checked against the schema that editors use too, and decoded;
//! all that is wrong is reported in one run. Plugin code is not looked at: its world does that.

mod access_log;
mod acme;
mod check;
mod env;
mod handler;
mod hooks;
mod import;
mod json;
mod mentions;
mod policies;
mod raw;
mod routes;
mod schema;
mod settings;
mod source;
mod tls;
mod toml_file;
mod tree;
mod upstream_http2;
mod upstream_tls;
mod upstreams;
mod yaml;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use polygate_pipeline::Diagnostic;
use polygate_plan::{Forward, Handler, Plan};

use crate::policies::Policies;
use crate::source::Project;

pub use schema::schemas;

/// What a load depends on beside the project's files.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// Environment variables of the process; they come before those of `.env`.
    pub environment: BTreeMap<String, String>,
    /// Names of the worlds that this build has.
    pub worlds: Vec<String>,
}

impl Default for LoadOptions {
    /// No variables; TypeScript alone.
    fn default() -> Self {
        Self { environment: BTreeMap::new(), worlds: vec![policies::TYPESCRIPT.to_owned()] }
    }
}

impl LoadOptions {
    /// With the variables of this process, as far as they are UTF-8.
    pub fn of_process() -> Self {
        let variables = std::env::vars_os();
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self { environment: variables.filter_map(text).collect(), ..Self::default() }
    }
}

/// What came of a load.
#[derive(Debug)]
pub struct Loaded {
    /// The plan; `None` when there is an error among the diagnostics.
    pub plan: Option<Plan>,
    /// What can be made of a project with errors: the policies and routes that are in order, with default settings
    /// where these are not. For worlds to compile, so that what is wrong with modules is said in the same run; never to
    /// be served. `None` when there is a plan, and when there is nothing to compile.
    pub draft: Option<Plan>,
    /// All that is wrong, errors and warnings, in the order in which the files were read.
    pub diagnostics: Vec<Diagnostic>,
    /// Every file and folder that was read or looked for: what to watch. Modules that modules import are not among
    /// them.
    pub files: Vec<PathBuf>,
}

/// Reads the project at `root`.
pub fn load(root: &Path, options: &LoadOptions) -> Loaded {
    let root = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
    let mut project = Project {
        root: &root,
        variables: Arc::default(),
        worlds: &options.worlds,
        found: Vec::new(),
        files: Vec::new(),
    };
    project.variables = Arc::new(env::variables(&mut project, &options.environment));
    let settings = settings::load(&mut project);
    let allow_duplicates = settings::allows_duplicate_routes(&mut project);
    let mut policies = Policies::load(&mut project, &settings.budget);
    let routes = routes::load(&mut project, &settings, &mut policies, allow_duplicates);
    policies.warn_of_unused(&mut project);
    let refused = project.is_refused();
    let Project { variables, found, mut files, .. } = project;
    files.sort();
    files.dedup();
    let plan = Plan { root: root.clone(), settings, variables, policies: policies.all, routes };
    let (plan, draft) = if refused { (None, draft(plan)) } else { (Some(plan), None) };
    Loaded { plan, draft, diagnostics: found, files }
}

/// A plan that holds together, of one that was made from a project with errors.
fn draft(mut plan: Plan) -> Option<Plan> {
    let upstreams = &plan.settings.upstreams;
    // What is wrong with an upstream, or with the settings as a whole, leaves it without targets.
    let empty = |forward: &Forward| {
        forward.upstream.and_then(|index| upstreams.get(index)).is_some_and(|known| known.targets.is_empty())
    };
    plan.routes.retain(|route| !matches!(&route.handler, Handler::Forward(forward) if empty(forward)));
    (!plan.policies.is_empty()).then_some(plan)
}

#[cfg(test)]
mod tests;

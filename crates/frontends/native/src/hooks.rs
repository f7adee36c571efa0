//! The project's hooks: a layer for routes that have no other one of the TypeScript world.
//!
//! Hooks that `runtimeInit` leaves run at the outermost TypeScript layer of a route. A route that only forwards or
//! redirects gets a layer that does nothing else.

use polygate_pipeline::{Budget, OnFailure, PluginRef, PolicySpec, Role};
use polygate_plan::{PlannedLayer, Policy};

use crate::import::RUNTIME;
use crate::policies::{Policies, TYPESCRIPT};
use crate::source::Project;

/// The export of the runtime module that runs hooks.
const EXPORT: &str = "hooks";

/// The layer's name in logs and metrics.
const NAME: &str = "runtime hooks";

/// Where a project's `runtimeInit` may stand, as the TypeScript world looks for it: the first one counts.
const MODULES: [&str; 2] = ["modules/polygate.runtime", "modules/zuplo.runtime"];
const ENDINGS: [&str; 4] = ["ts", "mts", "js", "mjs"];

/// Whether a project leaves hooks, and what runs them.
pub(crate) struct Hooks {
    /// The module with `runtimeInit`, relative to the root.
    file: Option<String>,
    /// The policy, once a route needed it.
    policy: Option<usize>,
}

impl Hooks {
    /// Looks for the module; every place looked at is watched.
    pub(crate) fn find(project: &mut Project<'_>) -> Self {
        let mut places = MODULES.iter().flat_map(|m| ENDINGS.iter().map(move |e| format!("{m}.{e}")));
        let file = places.find(|file| {
            let path = project.root.join(file);
            let found = path.is_file();
            project.files.push(path);
            found
        });
        Self { file, policy: None }
    }

    /// The layer that runs the hooks on a route without another TypeScript layer; `None` when there are no hooks.
    pub(crate) fn layer(&mut self, policies: &mut Policies, budget: &Budget) -> Option<PlannedLayer> {
        let file = self.file.as_ref()?;
        let policy = *self.policy.get_or_insert_with(|| {
            let spec = PolicySpec {
                name: NAME.into(),
                plugin: PluginRef { module: RUNTIME.to_owned(), export: EXPORT.to_owned() },
                config: None,
                roles: vec![Role::Inbound],
                // Hooks may guard routes: they are not skipped.
                budget: Budget { on_failure: OnFailure::Closed, ..*budget },
                file: file.clone(),
                span: None,
                export_span: None,
            };
            policies.add(Policy { world: TYPESCRIPT.into(), spec })
        });
        Some(PlannedLayer { policy, role: Role::Inbound })
    }
}

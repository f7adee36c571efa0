//! From a source to a deployment: load, compile, try. The same for `check`, a start and a reload.

use std::any::Any;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use polygate_frontend_native::LoadOptions;
use polygate_gateway::Deployment;
use polygate_pipeline::{Diagnostic, World};
use polygate_plan::{Plan, Settings};

use crate::packages;

/// What the command line says in place of a project's settings.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Where clients connect.
    pub listen: Option<SocketAddr>,
    /// Where the admin API listens; `Some(None)` turns it off.
    pub admin: Option<Option<SocketAddr>>,
    /// Worker threads.
    pub workers: Option<usize>,
    /// Where a new process asks for the listening sockets.
    pub upgrade_socket: Option<PathBuf>,
}

impl Overrides {
    fn apply(&self, settings: &mut Settings) {
        if let Some(listen) = self.listen {
            settings.listen.address = listen;
        }
        if let Some(admin) = self.admin {
            settings.listen.admin = admin;
        }
        if let Some(workers) = self.workers {
            settings.listen.workers = Some(workers);
        }
        if let Some(path) = &self.upgrade_socket {
            settings.listen.upgrade_socket = Some(path.clone());
        }
    }
}

/// Builds deployments of one project.
#[derive(Clone)]
pub struct Builder {
    root: PathBuf,
    worlds: Vec<Arc<dyn World>>,
    overrides: Overrides,
    /// Whether policies that lack an npm package are done without.
    partial: bool,
}

/// What came of a build.
pub struct Built {
    /// The deployment, tried and ready to run; `None` when there are errors.
    pub deployment: Option<Arc<Deployment>>,
    /// All that is wrong, errors and warnings, by file and place.
    pub diagnostics: Vec<Diagnostic>,
}

impl Builder {
    /// A builder for the project at `root`, an absolute path.
    pub fn new(root: PathBuf, worlds: Vec<Arc<dyn World>>, overrides: Overrides) -> Self {
        Self { root, worlds, overrides, partial: false }
    }

    /// The same, but policies that lack an npm package are done without: their routes answer 503.
    #[must_use]
    pub(crate) fn partial(mut self) -> Self {
        self.partial = true;
        self
    }

    /// The project's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Reads the project's configuration alone.
    pub fn plan(&self) -> (Option<Plan>, Vec<Diagnostic>) {
        let read = guarded(|| self.load());
        read.map_or_else(|fault| (None, vec![*fault]), |read| (read.plan, read.diagnostics))
    }

    /// The settings of a project that may have errors, with defaults where they are not in order.
    pub(crate) fn settings(&self) -> Settings {
        let read = guarded(|| self.load()).ok();
        let plan = read.and_then(|read| read.plan.or(read.draft));
        let mut settings = plan.map(|plan| plan.settings).unwrap_or_default();
        self.overrides.apply(&mut settings);
        settings
    }

    /// Loads, compiles and tries. Whatever is found is reported together: a front end's errors do not hide a
    /// compiler's, as long as there is a plan to compile.
    pub fn build(&self) -> Built {
        let built = guarded(|| {
            let Read { plan, draft, mut diagnostics } = self.load();
            let Some(plan) = plan else {
                // Never to run: compiled so that what is wrong with modules is said in the same run.
                if let Some(draft) = draft {
                    diagnostics.extend(Deployment::build(draft, &self.worlds).1);
                }
                return Built { deployment: None, diagnostics };
            };
            let kept = self.partial.then(|| plan.clone());
            let (mut deployment, mut found) = Deployment::build(plan, &self.worlds);
            if let (None, Some(plan)) = (&deployment, kept) {
                deployment = packages::without_missing(&plan, &self.worlds, &mut found);
            }
            diagnostics.extend(found);
            if let Some(deployment) = &deployment {
                diagnostics.extend(deployment.trial());
            }
            let refused = diagnostics.iter().any(Diagnostic::is_error);
            Built { deployment: deployment.filter(|_| !refused).map(Arc::new), diagnostics }
        });
        let mut built = built.unwrap_or_else(|fault| Built { deployment: None, diagnostics: vec![*fault] });
        sort(&mut built.diagnostics);
        built
    }

    fn load(&self) -> Read {
        let mut options = LoadOptions::of_process();
        options.worlds = self.worlds.iter().map(|world| world.name().to_owned()).collect();
        let loaded = polygate_frontend_native::load(&self.root, &options);
        let mut plan = loaded.plan;
        if let Some(plan) = &mut plan {
            self.overrides.apply(&mut plan.settings);
        }
        Read { plan, draft: loaded.draft, diagnostics: loaded.diagnostics }
    }
}

/// What the front end made of the project.
struct Read {
    plan: Option<Plan>,
    /// What is in order of a project with errors.
    draft: Option<Plan>,
    diagnostics: Vec<Diagnostic>,
}

/// By file and place; what has no place comes first. Said twice is said once.
fn sort(diagnostics: &mut Vec<Diagnostic>) {
    diagnostics.sort_by(|a, b| (&a.file, &a.span, a.code).cmp(&(&b.file, &b.span, b.code)));
    diagnostics.dedup();
}

/// A compiler's panic on somebody's project must not end a gateway that serves.
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, Box<Diagnostic>> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        Diagnostic::error(
            "internal",
            format!("Polygate failed while it read the project: {}", panic_text(&*panic)),
        )
        .expected("a report of this to the project, with what was changed last")
        .into()
    })
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use polygate_pipeline::Span;

    use super::*;

    #[test]
    fn the_command_line_comes_before_the_project() {
        let mut settings = Settings::default();
        let overrides =
            Overrides { listen: None, admin: Some(None), workers: Some(3), ..Overrides::default() };
        overrides.apply(&mut settings);
        assert_eq!(settings.listen.address, Settings::default().listen.address);
        assert_eq!((settings.listen.admin, settings.listen.workers), (None, Some(3)));
    }

    #[test]
    fn problems_are_in_order_and_said_once() {
        let at = |file: &str, line| {
            Diagnostic::error("x", "y").at(file, Some(Span { line, column: 1, length: 1 }))
        };
        let mut found = vec![at("b", 1), at("a", 9), at("a", 2), at("a", 2), Diagnostic::error("z", "y")];
        sort(&mut found);
        assert_eq!(found, [Diagnostic::error("z", "y"), at("a", 2), at("a", 9), at("b", 1)]);
    }

    #[test]
    fn a_fault_of_our_own_is_a_diagnostic() {
        let fault = guarded(|| -> () { panic!("out of cheese") }).unwrap_err();
        assert!(fault.message.contains("out of cheese"), "{}", fault.message);
    }
}

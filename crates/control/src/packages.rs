//! npm packages of a project in `dev`: installed when they are missing, and done without when they cannot be.
//!
//! A missing package fails the policies that import it, and never the others: their routes answer 503 until the
//! package is there. That is for `dev` alone; `check` and `run` refuse such a project.

use std::path::Path;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;

use polygate_gateway::Deployment;
use polygate_pipeline::{
    Diagnostic, Exchange, Failure, Instance, Layer, LocalBoxFuture, Next, PolicySpec, Program, Project,
    Reason, Request, Response, Role, Services, Severity, World,
};
use polygate_plan::Plan;

/// The code of diagnostics about a package that package.json lists and node_modules lacks.
const NOT_INSTALLED: &str = "package-not-installed";

/// The world of policies that cannot run.
const UNAVAILABLE: &str = "unavailable";

/// Whether the project wants a package that is not there.
pub(crate) fn are_missing(root: &Path) -> bool {
    let manifest = std::fs::read_to_string(root.join("package.json")).unwrap_or_default();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap_or_default();
    let installed = root.join("node_modules");
    let wanted = manifest["dependencies"].as_object();
    wanted.is_some_and(|wanted| wanted.keys().any(|name| !installed.join(name).exists()))
}

/// The command that installs a project's packages: exactly those of the lock file, when there is one.
pub(crate) fn command(root: &Path) -> &'static str {
    if root.join("package-lock.json").exists() { "npm ci" } else { "npm install" }
}

/// Installs the project's packages; scripts of packages are not run.
///
/// # Errors
/// Why they could not be installed, in one line.
pub(crate) fn install(root: &Path) -> Result<(), String> {
    let task = command(root).trim_start_matches("npm ");
    let output = Command::new("npm")
        .args([task, "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
        .current_dir(root)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("npm cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().find(|line| line.contains("code ")).or_else(|| said.lines().next()).unwrap_or("");
    Err(format!("{} failed: {}", command(root), line.trim()))
}

/// A deployment in which policies that lack a package answer 503, when that is all that is wrong. The errors about
/// them become warnings.
pub(crate) fn without_missing(
    plan: &Plan,
    worlds: &[Arc<dyn World>],
    diagnostics: &mut [Diagnostic],
) -> Option<Deployment> {
    let mut errors = diagnostics.iter_mut().filter(|diagnostic| diagnostic.is_error()).peekable();
    errors.peek()?;
    for error in errors {
        if error.code != NOT_INSTALLED {
            return None;
        }
        error.severity = Severity::Warning;
    }
    let mut plan = plan.clone();
    for index in 0..plan.policies.len() {
        let alone = Plan { policies: vec![plan.policies[index].clone()], routes: Vec::new(), ..plan.clone() };
        if Deployment::build(alone, worlds).0.is_none() {
            plan.policies[index].world = Arc::from(UNAVAILABLE);
        }
    }
    let worlds: Vec<Arc<dyn World>> =
        worlds.iter().cloned().chain([Arc::new(Unavailable) as Arc<dyn World>]).collect();
    Deployment::build(plan, &worlds).0
}

struct Unavailable;

impl World for Unavailable {
    fn name(&self) -> &'static str {
        UNAVAILABLE
    }

    fn compile(&self, _: &Project, _: &[PolicySpec], _: &mut Vec<Diagnostic>) -> Option<Arc<dyn Program>> {
        Some(Arc::new(Self))
    }
}

impl Program for Unavailable {
    fn spawn<'a>(&'a self, _: &'a Services) -> LocalBoxFuture<'a, Result<Rc<dyn Instance>, Vec<Diagnostic>>> {
        let instance: Rc<dyn Instance> = Rc::new(Self);
        Box::pin(std::future::ready(Ok(instance)))
    }

    fn fingerprint(&self) -> Vec<u8> {
        Vec::new()
    }
}

impl Instance for Unavailable {
    fn layer(&self, _: usize, _: Role) -> Result<Rc<dyn Layer>, Box<Diagnostic>> {
        Ok(Rc::new(Self))
    }
}

impl Layer for Unavailable {
    fn handle<'a>(
        &'a self,
        _: Request,
        _: &'a Exchange,
        _: Next<'a>,
    ) -> LocalBoxFuture<'a, Result<Response, Failure>> {
        let failure =
            Failure::new(Reason::PolicyUnavailable).detail("an npm package that it imports is not installed");
        Box::pin(std::future::ready(Err(failure)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_that_is_listed_and_not_there_is_missing() {
        let project = tempfile::tempdir().unwrap();
        let root = project.path();
        assert!(!are_missing(root), "a project without packages");
        std::fs::write(
            root.join("package.json"),
            r#"{"dependencies":{"@a/b":"1"},"devDependencies":{"c":"1"}}"#,
        )
        .unwrap();
        assert!(are_missing(root));
        assert_eq!(command(root), "npm install");
        std::fs::write(root.join("package-lock.json"), "{}").unwrap();
        assert_eq!(command(root), "npm ci");
        std::fs::create_dir_all(root.join("node_modules/@a/b")).unwrap();
        assert!(!are_missing(root));
    }
}

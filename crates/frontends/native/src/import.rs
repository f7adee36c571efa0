//! `$import(...)`: which module a reference names.

use std::path::{Component, Path};

use polygate_pipeline::Diagnostic;
use polygate_pipeline::nearest;

use crate::source::Project;
use crate::tree::Node;

/// The module of what is built in.
pub(crate) const RUNTIME: &str = "@polygate/runtime";
const RUNTIME_NAMES: [&str; 2] = [RUNTIME, "@zuplo/runtime"];

/// Endings that a reference may leave out, in the order in which they are tried: the engine's resolver has the same.
pub(crate) const ENDINGS: [&str; 8] = ["ts", "mts", "cts", "tsx", "js", "mjs", "cjs", "json"];

const EXPECTED: &str = "$import(./modules/NAME) from the project's folder, or $import(@polygate/runtime)";

/// A module that was found.
pub(crate) enum Module {
    /// What is built in.
    BuiltIn,
    /// A file of the project, as it was written: `./modules/need-key`.
    File(String),
}

/// Finds the module that `node` names; what is wrong is reported.
pub(crate) fn module(project: &mut Project<'_>, node: &Node, file: &str, path: &str) -> Option<Module> {
    let text = node.as_str()?;
    let inner = text.strip_prefix("$import(").and_then(|rest| rest.strip_suffix(')')).map(str::trim);
    let at = |problem: Diagnostic| problem.at(file, Some(node.span)).field(path);
    let Some(name) = inner else {
        project.report(at(
            Diagnostic::error("bad-import", format!("{} is no import", node.shown())).expected(EXPECTED)
        ));
        return None;
    };
    if RUNTIME_NAMES.contains(&name) {
        return Some(Module::BuiltIn);
    }
    if RUNTIME_NAMES.iter().any(|known| name.strip_prefix(known).is_some_and(|rest| rest.starts_with('/'))) {
        let problem = Diagnostic::error("not-supported", format!("{name} is not supported yet"));
        project.report(at(problem.expected(EXPECTED)));
        return None;
    }
    let relative = Path::new(name);
    let inside = name.starts_with("./")
        && relative.components().all(|part| matches!(part, Component::CurDir | Component::Normal(_)));
    if !inside {
        let problem = Diagnostic::error("bad-import", format!("{name:?} is not within the project"));
        project.report(at(problem.expected(EXPECTED).nearest(name, RUNTIME_NAMES)));
        return None;
    }
    if find(project, name) {
        return Some(Module::File(name.to_owned()));
    }
    let mut problem = at(Diagnostic::error("missing-module", format!("there is no module {name}")))
        .expected(format!("a file {name}.ts, .js or the like, or a folder with an index file"));
    problem.nearest = similar(project.root, relative);
    project.report(problem);
    None
}

/// Whether the module exists; every place looked at is watched from now on.
fn find(project: &mut Project<'_>, name: &str) -> bool {
    let base = project.root.join(name.strip_prefix("./").unwrap_or(name));
    let with = |ending: &str| {
        let mut path = base.clone().into_os_string();
        path.push(".");
        path.push(ending);
        path.into()
    };
    let mut candidates = Vec::new();
    if base.extension().is_some_and(|e| ENDINGS.iter().any(|known| e == *known)) {
        candidates.push(base.clone());
    }
    candidates.extend(ENDINGS.iter().map(|ending| with(ending)));
    candidates.extend(ENDINGS.iter().map(|ending| base.join(format!("index.{ending}"))));
    let found = candidates.iter().position(|path| path.is_file());
    project.files.extend(candidates.into_iter().take(found.map_or(usize::MAX, |at| at + 1)));
    found.is_some()
}

/// The nearest name among what lies in the folder in which the module should be.
fn similar(root: &Path, relative: &Path) -> Option<String> {
    let folder = relative.parent()?;
    let name = relative.file_stem()?.to_str()?;
    let names: Vec<String> = std::fs::read_dir(root.join(folder))
        .ok()?
        .flatten()
        .filter_map(|entry| {
            let path = entry.path();
            let known = path.is_dir() || path.extension().is_some_and(|e| ENDINGS.iter().any(|k| e == *k));
            known.then(|| Some(path.file_stem()?.to_str()?.to_owned())).flatten()
        })
        .collect();
    let near = nearest(name, names.iter().map(String::as_str))?;
    let folder = folder.to_str()?.trim_start_matches("./");
    Some(if folder.is_empty() || folder == "." { format!("./{near}") } else { format!("./{folder}/{near}") })
}

//! All the files that a project's entries reach.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use polygate_pipeline::Diagnostic;

use super::helpers::HELPERS;
use super::resolve::{Importer, Meaning, Resolved, Resolvers, name_of};
use super::unit::{Hint, Import, ImportKind, Unit};
use super::{Cache, CompileInput, commonjs};

/// Most modules of a program.
pub const MAX_MODULES: usize = 10_000;

/// Longest source file, in bytes.
pub const MAX_MODULE_BYTES: u64 = 16 * 1024 * 1024;

/// A file of the program and what its imports lead to.
pub(crate) struct Node {
    pub(crate) unit: Arc<Unit>,
    /// The project's own file.
    pub(crate) project: bool,
    /// An ES module by Node's rules (`.mjs`, `"type": "module"`), for which a CommonJS module's default is its exports.
    pub(crate) node_esm: bool,
    /// Specifier to node.
    pub(crate) targets: HashMap<String, Target>,
}

/// What an import leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Module(String),
    /// Not found; whoever requires it catches that.
    Missing,
}

/// The files, by name, and what the entries lead to.
#[derive(Default)]
pub(crate) struct Graph {
    pub(crate) nodes: BTreeMap<String, Node>,
    pub(crate) entries: Vec<Option<String>>,
}

struct Collector<'a> {
    root: PathBuf,
    input: &'a CompileInput,
    cache: &'a Cache,
    resolvers: Resolvers,
    nodes: BTreeMap<String, Node>,
    queue: VecDeque<(String, PathBuf)>,
    problems: &'a mut Vec<Diagnostic>,
}

/// Compiles every file that the entries reach.
pub(crate) fn collect(input: &CompileInput, cache: &Cache, problems: &mut Vec<Diagnostic>) -> Graph {
    let root = match std::fs::canonicalize(&input.root) {
        Ok(root) => root,
        Err(error) => {
            let message = format!("the project's folder {} cannot be opened: {error}", input.root.display());
            problems.push(Diagnostic::error("unreadable-project", message));
            return Graph::default();
        }
    };
    let resolvers = Resolvers::new(&root);
    let mut collector = Collector {
        root: root.clone(),
        input,
        cache,
        resolvers,
        nodes: BTreeMap::new(),
        queue: VecDeque::new(),
        problems,
    };
    let mut entries = Vec::new();
    for entry in &input.entries {
        let importer = Importer { name: "", directory: &root, project: true };
        let found = collector.find(importer, &entry.specifier, ImportKind::Static);
        entries.push(match found {
            Ok(Target::Module(name)) => Some(name),
            Ok(Target::Missing) => None,
            Err(problem) => {
                let problem = match &entry.file {
                    Some(file) if problem.file.is_none() => problem.at(file.clone(), entry.span),
                    _ => *problem,
                };
                collector.problems.push(problem);
                None
            }
        });
    }
    while let Some((name, directory)) = collector.queue.pop_front() {
        collector.follow(&name, &directory);
    }
    Graph { nodes: collector.nodes, entries }
}

impl Collector<'_> {
    /// What `specifier` leads to; compiles the file when it is new.
    fn find(
        &mut self,
        importer: Importer<'_>,
        specifier: &str,
        kind: ImportKind,
    ) -> Result<Target, Box<Diagnostic>> {
        let input = self.input;
        let supplied =
            input.builtins.iter().find(|(name, _)| name == specifier).map(|(_, source)| source.as_str());
        let helper = || HELPERS.iter().find(|(name, _)| *name == specifier).map(|(_, source)| *source);
        if let Some(source) = supplied.or_else(helper) {
            if !self.nodes.contains_key(specifier) {
                let unit = self.cache.unit(specifier, source, Hint::Module);
                self.add(specifier.to_owned(), unit, false, true, self.root.clone());
            }
            return Ok(Target::Module(specifier.to_owned()));
        }
        match self.resolvers.resolve(importer, specifier, kind)? {
            Meaning::File(resolved) => self.file(&resolved).map(Target::Module),
            Meaning::Nothing => {
                if !self.nodes.contains_key(commonjs::EMPTY) {
                    let unit = self.cache.unit(commonjs::EMPTY, "module.exports = {};", Hint::None);
                    self.add(commonjs::EMPTY.to_owned(), unit, false, false, self.root.clone());
                }
                Ok(Target::Module(commonjs::EMPTY.to_owned()))
            }
        }
    }

    fn file(&mut self, resolved: &Resolved) -> Result<String, Box<Diagnostic>> {
        let name = name_of(&self.root, &resolved.path);
        if self.nodes.contains_key(&name) {
            return Ok(name);
        }
        if self.nodes.len() >= MAX_MODULES {
            let message = format!("more than {MAX_MODULES} modules");
            return Err(Box::new(Diagnostic::error("too-many-modules", message)));
        }
        let size = std::fs::metadata(&resolved.path).map(|meta| meta.len());
        if size.is_ok_and(|size| size > MAX_MODULE_BYTES) {
            let message = format!("the file is longer than {MAX_MODULE_BYTES} bytes");
            return Err(Box::new(Diagnostic::error("module-too-long", message).at(name, None)));
        }
        let source = std::fs::read_to_string(&resolved.path).map_err(|error| {
            let problem = Diagnostic::error("unreadable-file", format!("the file cannot be read: {error}"));
            Box::new(problem.at(name.clone(), None))
        })?;
        let unit = self.cache.unit(&name, &source, resolved.hint);
        let project = !name.contains("node_modules/");
        let extension = resolved.path.extension().and_then(|e| e.to_str()).unwrap_or("");
        let node_esm = matches!(extension, "mjs" | "mts")
            || (resolved.hint == Hint::Module && !matches!(extension, "cjs" | "cts"));
        let directory = resolved.path.parent().unwrap_or(Path::new("/")).to_owned();
        self.add(name.clone(), unit, project, node_esm, directory);
        Ok(name)
    }

    fn add(&mut self, name: String, unit: Arc<Unit>, project: bool, node_esm: bool, directory: PathBuf) {
        self.problems.extend(unit.problems.iter().cloned());
        self.nodes.insert(name.clone(), Node { unit, project, node_esm, targets: HashMap::new() });
        self.queue.push_back((name, directory));
    }

    /// Resolves the imports of a file.
    fn follow(&mut self, name: &str, directory: &Path) {
        let Some(node) = self.nodes.get(name) else { return };
        let unit = node.unit.clone();
        let importer = Importer { name, directory, project: node.project };
        let mut targets = HashMap::new();
        for import in &unit.imports {
            match self.find(importer, &import.specifier, import.kind) {
                Ok(target) => {
                    targets.insert(import.specifier.clone(), target);
                }
                Err(_) if may_miss(import, importer) => {
                    targets.insert(import.specifier.clone(), Target::Missing);
                }
                Err(problem) => self.problems.push(Resolvers::at_import(*problem, name, import)),
            }
        }
        if let Some(node) = self.nodes.get_mut(name) {
            node.targets = targets;
        }
    }
}

/// Whether a file lives with an import that is not found: it catches the failure, or a package may never get there.
fn may_miss(import: &Import, importer: Importer<'_>) -> bool {
    match import.kind {
        ImportKind::Require { guarded } => guarded,
        ImportKind::Dynamic => !importer.project,
        ImportKind::Static => false,
    }
}

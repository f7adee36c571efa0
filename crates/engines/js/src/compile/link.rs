//! From compiled files to a program: names checked, CommonJS given faces, imports bound to modules.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use polygate_pipeline::Diagnostic;

use super::graph::{Graph, Node, Target};
use super::unit::{ImportKind, Kind};
use super::{CompileInput, CompiledModule, Program, commonjs};

/// Exported names of a module, and whether there may be more that only running it tells.
#[derive(Debug, Clone, Default)]
struct Names {
    known: BTreeSet<String>,
    open: bool,
}

struct Linker<'a> {
    graph: &'a Graph,
    names: HashMap<String, Names>,
    /// Names that importers ask of CommonJS modules.
    asked: HashMap<String, BTreeSet<String>>,
    /// Names that TypeScript passes on and that turned out to be types.
    types: BTreeMap<String, BTreeSet<String>>,
    /// CommonJS modules that ES modules import, with the two ways of naming their default.
    faces: BTreeMap<String, [bool; 2]>,
}

/// Links a graph.
pub(crate) fn link(input: &CompileInput, graph: Graph, problems: &mut Vec<Diagnostic>) -> Program {
    let mut linker = Linker {
        graph: &graph,
        names: HashMap::new(),
        asked: HashMap::new(),
        types: BTreeMap::new(),
        faces: BTreeMap::new(),
    };
    for name in graph.nodes.keys() {
        linker.names_of(name, &mut HashSet::new());
    }
    for (name, node) in &graph.nodes {
        linker.check(name, node, problems);
    }
    linker.entries(input, problems);
    linker.program(input)
}

impl Linker<'_> {
    fn names_of(&mut self, name: &str, walking: &mut HashSet<String>) -> Names {
        if let Some(names) = self.names.get(name) {
            return names.clone();
        }
        let Some(node) = self.graph.nodes.get(name) else { return Names { open: true, ..Names::default() } };
        if !walking.insert(name.to_owned()) {
            return Names::default();
        }
        let dynamic = node.unit.kind != Kind::Esm;
        let mut names = Names { known: node.unit.exports.iter().cloned().collect(), open: dynamic };
        if dynamic {
            names.known.insert("default".to_owned());
        }
        for star in &node.unit.stars {
            match node.targets.get(star) {
                Some(Target::Module(target)) => {
                    let theirs = self.names_of(target, walking);
                    names.known.extend(theirs.known.into_iter().filter(|name| name != "default"));
                    names.open |= theirs.open;
                }
                _ => names.open = true,
            }
        }
        walking.remove(name);
        // Inside a cycle the names of modules still being walked are not complete: remembered at the top only.
        if walking.is_empty() {
            self.names.insert(name.to_owned(), names.clone());
        }
        names
    }

    /// Checks what a file imports by name, and notes what it asks of CommonJS modules.
    fn check(&mut self, name: &str, node: &Node, problems: &mut Vec<Diagnostic>) {
        for import in &node.unit.imports {
            let Some(Target::Module(target)) = node.targets.get(&import.specifier) else { continue };
            let Some(imported) = self.graph.nodes.get(target) else { continue };
            if matches!(import.kind, ImportKind::Require { .. }) {
                continue;
            }
            if imported.unit.kind != Kind::Esm {
                self.faces.entry(target.clone()).or_default()[usize::from(node.node_esm)] = true;
                let asked = self.asked.entry(target.clone()).or_default();
                asked.extend(import.names.iter().map(|imported| imported.name.clone()));
                asked.extend(import.members.iter().cloned());
                continue;
            }
            let names = self.names.get(target).cloned().unwrap_or_default();
            for imported in &import.names {
                if names.known.contains(&imported.name) {
                    continue;
                }
                if names.open {
                    self.ask(target, &imported.name, &mut HashSet::new());
                    continue;
                }
                if node.unit.typescript && imported.passed_on {
                    self.types.entry(target.clone()).or_default().insert(imported.name.clone());
                    continue;
                }
                let message = format!("{:?} has no export {:?}", import.specifier, imported.name);
                problems.push(missing_export(message, &imported.name, &names).at(name, Some(imported.span)));
            }
        }
    }

    /// Asks a name of the first CommonJS module that `module` exports whole: only running that one tells its names.
    fn ask(&mut self, module: &str, name: &str, walked: &mut HashSet<String>) -> bool {
        let Some(node) = self.graph.nodes.get(module) else { return false };
        if !walked.insert(module.to_owned()) {
            return false;
        }
        if node.unit.kind != Kind::Esm {
            self.asked.entry(module.to_owned()).or_default().insert(name.to_owned());
            return true;
        }
        node.unit.stars.iter().any(|star| match node.targets.get(star) {
            Some(Target::Module(target)) => self.ask(target, name, walked),
            _ => false,
        })
    }

    fn entries(&mut self, input: &CompileInput, problems: &mut Vec<Diagnostic>) {
        for (entry, found) in input.entries.iter().zip(&self.graph.entries) {
            let Some(name) = found else { continue };
            let Some(node) = self.graph.nodes.get(name) else { continue };
            if node.unit.kind != Kind::Esm {
                self.faces.entry(name.clone()).or_default()[0] = true;
                self.asked.entry(name.clone()).or_default().extend(entry.export.clone());
            }
            let Some(export) = &entry.export else { continue };
            let names = self.names.get(name).cloned().unwrap_or_default();
            if names.open || names.known.contains(export) || !node.unit.problems.is_empty() {
                continue;
            }
            let message = format!("module {:?} has no export {export:?}", entry.specifier);
            let problem = missing_export(message, export, &names);
            problems.push(match &entry.file {
                Some(file) => problem.at(file.clone(), entry.export_span.or(entry.span)),
                None => problem.at(name.clone(), None),
            });
        }
    }

    fn program(self, input: &CompileInput) -> Program {
        let mut modules = HashMap::new();
        let mut add = |module: CompiledModule| {
            modules.insert(module.specifier.clone(), Arc::new(module));
        };
        add(internal(commonjs::REGISTRY, commonjs::REGISTRY_CODE.to_owned()));
        for (name, node) in &self.graph.nodes {
            let links = self.links(node);
            for (specifier, target) in &node.targets {
                if *target == Target::Missing {
                    add(internal(&missing_name(specifier), commonjs::missing(specifier)));
                }
            }
            let dynamic = node.unit.kind != Kind::Esm;
            let exports =
                self.names.get(name).map(|names| names.known.iter().cloned().collect()).unwrap_or_default();
            let types = self.types.get(name);
            let mut module = CompiledModule {
                specifier: if dynamic { commonjs::factory_name(name) } else { name.clone() },
                code: node.unit.code.clone(),
                exports,
                links,
                unit: Some(node.unit.clone()),
                bytecode: node.unit.bytecode.clone(),
            };
            if let Some(types) = types {
                // Types leave nothing behind; whoever passes them on still needs a binding to link to.
                let mut code = module.code.to_string();
                for (index, name) in types.iter().enumerate() {
                    code.push_str(&format!("\nconst __polygate_type_{index} = undefined;"));
                    code.push_str(&format!("\nexport {{ __polygate_type_{index} as {name} }};\n"));
                }
                module.code = code.into();
                module.bytecode = Arc::default();
            }
            add(module);
        }
        for (name, kinds) in &self.faces {
            let mut names = self.names.get(name).map(|names| names.known.clone()).unwrap_or_default();
            names.extend(self.asked.get(name).into_iter().flatten().cloned());
            for (node, wanted) in kinds.iter().enumerate() {
                if *wanted {
                    let code = commonjs::face(name, &names, node == 1);
                    let own = if node == 1 { commonjs::node_face_name(name) } else { name.clone() };
                    let mut face = internal(&own, code);
                    let factory = commonjs::factory_name(name);
                    face.links.insert(factory.clone(), factory);
                    face.exports = names.iter().cloned().collect();
                    add(face);
                }
            }
        }
        let entries = input.entries.iter().zip(&self.graph.entries);
        let entries =
            entries.filter_map(|(entry, name)| Some((entry.specifier.clone(), name.clone()?))).collect();
        let builtins = input.builtins.iter().map(|(name, _)| name.clone()).collect();
        Program::new(modules, entries, builtins)
    }

    /// The modules that a file's imports are bound to.
    fn links(&self, node: &Node) -> HashMap<String, String> {
        let mut links = HashMap::new();
        links.insert(commonjs::REGISTRY.to_owned(), commonjs::REGISTRY.to_owned());
        for import in &node.unit.imports {
            let Some(target) = node.targets.get(&import.specifier) else { continue };
            let Target::Module(name) = target else {
                links.insert(import.specifier.clone(), missing_name(&import.specifier));
                continue;
            };
            let dynamic = self.graph.nodes.get(name).is_some_and(|target| target.unit.kind != Kind::Esm);
            let bound = match (dynamic, import.kind) {
                (true, ImportKind::Require { .. }) => commonjs::factory_name(name),
                (true, _) if node.node_esm => commonjs::node_face_name(name),
                _ => name.clone(),
            };
            links.insert(import.specifier.clone(), bound);
        }
        links
    }
}

fn missing_export(message: String, name: &str, names: &Names) -> Diagnostic {
    let known: Vec<_> = names.known.iter().take(12).map(String::as_str).collect();
    let expected = match known.as_slice() {
        [] => "a module that exports something".to_owned(),
        known => format!("one of {}", known.join(", ")),
    };
    Diagnostic::error("missing-export", message)
        .expected(expected)
        .nearest(name, names.known.iter().map(String::as_str))
}

fn missing_name(specifier: &str) -> String {
    format!("polygate:missing/{specifier}")
}

/// A module of our own making.
fn internal(name: &str, code: String) -> CompiledModule {
    CompiledModule {
        specifier: name.to_owned(),
        code: code.into(),
        exports: Vec::new(),
        links: HashMap::from([(commonjs::REGISTRY.to_owned(), commonjs::REGISTRY.to_owned())]),
        unit: None,
        bytecode: Arc::new(OnceLock::new()),
    }
}

//! The world: a project's policies to one program.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use polygate_engine_js::{Cache, CompileInput, Entry as EngineEntry, Program as Modules};
use polygate_pipeline::{Diagnostic, PolicySpec, Program, Project, Role, World};

use crate::program::{Compiled, Entry, Init, ZuploProgram};
use crate::template::Template;
use crate::{RUNTIME_ALIAS, RUNTIME_MODULE, RUNTIME_SOURCE};

/// The export of the runtime module by which a front end asks for a template that is evaluated in JavaScript: an
/// inbound policy that chooses the target of the route's forward handler. Its configuration is
/// `{"template": "...", "mode": "forward" | "rewrite", "forwardSearch": bool}`.
pub const TEMPLATE_EXPORT: &str = "template";

/// The export of the runtime module by which a front end asks for a layer that only runs a project's request and
/// response hooks: for routes that have no other layer of this world.
pub const HOOKS_EXPORT: &str = "hooks";

/// Where a project's `runtimeInit` may stand.
const INIT_MODULES: &[&str] = &["./modules/polygate.runtime", "./modules/zuplo.runtime"];

/// Extensions of modules, for the optional one.
const EXTENSIONS: &[&str] = &["ts", "mts", "js", "mjs"];

/// The TypeScript world. It keeps compiled modules, so that a changed file is the only one compiled again.
#[derive(Debug, Default)]
pub struct ZuploWorld {
    cache: Cache,
}

impl ZuploWorld {
    /// The world, with nothing compiled yet.
    pub fn new() -> Self {
        Self::default()
    }
}

impl World for ZuploWorld {
    fn name(&self) -> &'static str {
        "zuplo"
    }

    fn compile(
        &self,
        project: &Project,
        policies: &[PolicySpec],
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Option<Arc<dyn Program>> {
        let before = diagnostics.len();
        let mut input = CompileInput {
            root: project.root.clone(),
            entries: vec![EngineEntry::new(RUNTIME_MODULE)],
            builtins: vec![
                (RUNTIME_MODULE.to_owned(), RUNTIME_SOURCE.to_owned()),
                (RUNTIME_ALIAS.to_owned(), format!("export * from {RUNTIME_MODULE:?};\n")),
            ],
        };
        let mut plan = Vec::with_capacity(policies.len());
        for (index, spec) in policies.iter().enumerate() {
            plan.push(plan_entry(index, spec, &mut input, diagnostics));
        }
        let init = find_init(project);
        if let Some(init) = &init {
            input.entries.push(EngineEntry {
                export: Some("runtimeInit".to_owned()),
                ..EngineEntry::new(init.module.as_str())
            });
        }
        let modules = match polygate_engine_js::compile(&input, &self.cache) {
            Ok(modules) => modules,
            Err(problems) => {
                diagnostics.extend(problems.into_iter().map(|problem| place(problem, policies)));
                return None;
            }
        };
        if diagnostics[before..].iter().any(Diagnostic::is_error) {
            return None;
        }
        let resolved = |specifier: &str| modules.entry(specifier).unwrap_or(specifier).to_owned();
        let entries = plan
            .into_iter()
            .flatten()
            .map(|entry| match entry {
                Entry::Module(module) => Entry::Module(resolved(&module)),
                other => other,
            })
            .collect();
        let init = init.map(|init| Init { module: resolved(&init.module), ..init });
        let fingerprint = fingerprint(&modules, policies);
        let build_id = fingerprint.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let compiled =
            Compiled { modules, policies: policies.to_vec(), entries, init, fingerprint, build_id };
        Some(Arc::new(ZuploProgram(Arc::new(compiled))))
    }
}

/// A hash of all code and options.
fn fingerprint(modules: &Modules, policies: &[PolicySpec]) -> [u8; 16] {
    let mut names: Vec<_> = modules.modules().collect();
    names.sort_by(|a, b| a.specifier.cmp(&b.specifier));
    // Two hashes that differ in their beginning stand for one of twice the length.
    let hash = |half: u8| {
        let mut hasher = DefaultHasher::new();
        half.hash(&mut hasher);
        for module in &names {
            (&module.specifier, &module.code).hash(&mut hasher);
        }
        for spec in policies {
            let config = spec.config.as_ref().map(ToString::to_string);
            (&spec.name, &spec.plugin.module, &spec.plugin.export, config).hash(&mut hasher);
        }
        hasher.finish()
    };
    (u128::from(hash(0)) << 64 | u128::from(hash(1))).to_be_bytes()
}

/// What a policy is run by, with its modules added to the input.
fn plan_entry(
    index: usize,
    spec: &PolicySpec,
    input: &mut CompileInput,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Entry> {
    let builtin = matches!(spec.plugin.module.as_str(), RUNTIME_MODULE | RUNTIME_ALIAS);
    if builtin && spec.plugin.export == HOOKS_EXPORT {
        return Some(Entry::Hooks);
    }
    if builtin && spec.plugin.export == TEMPLATE_EXPORT {
        let config = spec.config.clone().unwrap_or_default();
        return match serde_json::from_value::<Template>(config) {
            Ok(template) => {
                let name = template_name(index);
                input.builtins.push((name.clone(), template.module()));
                input.entries.push(EngineEntry::new(name.as_str()));
                Some(Entry::Template(name, template))
            }
            Err(error) => {
                let problem =
                    Diagnostic::error("bad-template", format!("the template is malformed: {error}"));
                diagnostics.push(problem.at(spec.file.as_str(), spec.span));
                None
            }
        };
    }
    if builtin && spec.roles.iter().any(|role| *role != Role::Handler) {
        let message = format!("{:?} is not a policy of {:?}", spec.plugin.export, spec.plugin.module);
        let problem = Diagnostic::error("unknown-policy", message)
            .at(spec.file.as_str(), spec.export_span.or(spec.span));
        diagnostics.push(problem.expected("a policy that is built in, or a module of the project"));
        return None;
    }
    input.entries.push(EngineEntry {
        specifier: spec.plugin.module.clone(),
        export: Some(spec.plugin.export.clone()),
        file: Some(spec.file.clone()),
        span: spec.span,
        export_span: spec.export_span,
    });
    Some(Entry::Module(spec.plugin.module.clone()))
}

fn template_name(index: usize) -> String {
    format!("polygate:template/{index}")
}

/// A problem of a template's module belongs where the template is written.
fn place(problem: Diagnostic, policies: &[PolicySpec]) -> Diagnostic {
    let index =
        problem.file.as_deref().and_then(|file| file.strip_prefix("polygate:template/")?.parse().ok());
    match index.and_then(|index: usize| policies.get(index)) {
        Some(spec) => {
            let message = format!("the template is no JavaScript template literal: {}", problem.message);
            Diagnostic::error("bad-template", message).at(spec.file.as_str(), spec.span)
        }
        None => problem,
    }
}

/// The module with `runtimeInit`, if the project has one.
fn find_init(project: &Project) -> Option<Init> {
    INIT_MODULES.iter().find_map(|module| {
        let file = EXTENSIONS
            .iter()
            .map(|extension| format!("{}.{extension}", module.trim_start_matches("./")))
            .find(|file| project.root.join(file).is_file())?;
        Some(Init { module: (*module).to_owned(), file })
    })
}

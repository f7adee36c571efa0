//! `config/policies.json`: from entries to the plan's policies.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use polygate_pipeline::{Budget, Diagnostic, PluginRef, PolicySpec, Role};
use polygate_plan::Policy;

use crate::check::decode;
use crate::env;
use crate::handler::BUILT_IN;
use crate::import::{self, Module};
use crate::mentions;
use crate::raw::policies::{BudgetEntry, PoliciesFile, PolicyEntry};
use crate::settings::set;
use crate::source::{Project, Syntax};
use crate::tree::Node;

/// The policies' file.
pub(crate) const FILE: &str = "config/policies.json";

/// The world of TypeScript policies.
pub(crate) const TYPESCRIPT: &str = "zuplo";

/// A project's policies, and how routes find them.
#[derive(Default)]
pub(crate) struct Policies {
    /// Those that are in order; routes add their function handlers.
    pub(crate) all: Vec<Policy>,
    /// Every name that is there, with the policy's index when the policy is in order.
    by_name: BTreeMap<String, Option<usize>>,
    /// Names of CORS policies.
    pub(crate) cors: Vec<String>,
}

impl Policies {
    /// Reads the file; none when there is none. What is wrong is reported.
    pub(crate) fn load(project: &mut Project<'_>, defaults: &Budget) -> Self {
        let mut policies = Self::default();
        let Some(tree) = project.tree(FILE, Syntax::Json) else { return policies };
        let options = |path: &str| {
            path.strip_prefix("policies[").is_some_and(|rest| rest.ends_with("].handler.options"))
                || path.starts_with("corsPolicies[") && path.contains("].")
        };
        env::refuse_elsewhere(&tree, FILE, "", &options, &mut project.found);
        // Reports what is wrong with any field; the entries without a fault are looked at further below.
        let _ = decode::<PoliciesFile>(&tree, FILE, "", &mut project.found);
        let mut first: HashMap<&str, u32> = HashMap::new();
        for (index, node) in tree.get("policies").map(Node::elements).unwrap_or_default().iter().enumerate() {
            let path = format!("policies[{index}]");
            let Some(name) = node.get("name") else { continue };
            if let Some(text) = name.as_str() {
                let at =
                    |problem: Diagnostic| problem.at(FILE, Some(name.span)).field(format!("{path}.name"));
                if let Some(line) = first.get(text) {
                    let message = format!("the policy {text:?} is already in line {line}");
                    project
                        .report(at(Diagnostic::error("duplicate-policy", message).expected("another name")));
                    continue;
                }
                if text.is_empty() {
                    project.report(at(Diagnostic::error("bad-value", "the name is empty")));
                }
                first.insert(text, name.span.line);
                policies.by_name.insert(text.to_owned(), None);
            }
            if let Some(entry) = decode::<PolicyEntry>(node, FILE, &path, &mut Vec::new())
                && let Some(policy) = policy(project, &entry, node, &path, defaults)
            {
                policies.by_name.insert(entry.name, Some(policies.all.len()));
                policies.all.push(policy);
            }
        }
        let cors = tree.get("corsPolicies").map(Node::elements).unwrap_or_default();
        policies.cors = cors.iter().filter_map(|node| Some(node.get("name")?.as_str()?.to_owned())).collect();
        policies
    }

    /// Every policy's name.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// Whether there is a policy of that name; its index, when it is in order.
    pub(crate) fn find(&self, name: &str) -> Option<Option<usize>> {
        self.by_name.get(name).copied()
    }

    /// Notes that a route uses a policy so.
    pub(crate) fn used(&mut self, index: usize, role: Role) {
        let roles = &mut self.all[index].spec.roles;
        if !roles.contains(&role) {
            roles.push(role);
        }
    }

    /// Adds a policy that no file names; its name is made unique.
    pub(crate) fn add(&mut self, mut policy: Policy) -> usize {
        let wanted = policy.spec.name.clone();
        let mut number = 1;
        while self.by_name.contains_key(&*policy.spec.name)
            || self.all.iter().any(|known| known.spec.name == policy.spec.name)
        {
            number += 1;
            policy.spec.name = format!("{wanted} #{number}").into();
        }
        self.all.push(policy);
        self.all.len() - 1
    }

    /// Reports the policies that no route uses, and of which no code speaks either.
    pub(crate) fn warn_of_unused(&self, project: &mut Project<'_>) {
        let unused: Vec<_> = self.all.iter().filter(|policy| policy.spec.roles.is_empty()).collect();
        let callable: Vec<&str> = unused
            .iter()
            .filter(|policy| &*policy.world == TYPESCRIPT)
            .map(|policy| &*policy.spec.name)
            .collect();
        let mentioned = mentions::of(project.root, &callable);
        for policy in unused.into_iter().filter(|policy| !mentioned.contains(&*policy.spec.name)) {
            let name = &policy.spec.name;
            let message = match &*policy.world {
                TYPESCRIPT => {
                    format!("no route uses the policy {name:?}: only code can call it, by its name")
                }
                _ => format!("no route uses the policy {name:?}"),
            };
            project.report(Diagnostic::warning("unused-policy", message).at(FILE, policy.spec.span));
        }
    }
}

fn policy(
    project: &mut Project<'_>,
    entry: &PolicyEntry,
    node: &Node,
    path: &str,
    defaults: &Budget,
) -> Option<Policy> {
    let world = entry.world.as_deref().unwrap_or(TYPESCRIPT);
    let (plugin, config, place, export) = if world == TYPESCRIPT {
        typescript(project, entry, node, path)?
    } else {
        foreign(project, entry, node, path, world)?
    };
    let mut budget = *defaults;
    apply(&mut budget, entry.budget.as_ref());
    set(&mut budget.on_failure, entry.on_failure);
    let spec = PolicySpec {
        name: Arc::from(entry.name.as_str()),
        plugin,
        config,
        roles: Vec::new(),
        budget,
        file: FILE.to_owned(),
        span: Some(place.span),
        export_span: export.map(|node| node.span),
    };
    Some(Policy { world: Arc::from(world), spec })
}

type Code<'n> = (PluginRef, Option<serde_json::Value>, &'n Node, Option<&'n Node>);

fn typescript<'n>(
    project: &mut Project<'_>,
    entry: &PolicyEntry,
    node: &'n Node,
    path: &str,
) -> Option<Code<'n>> {
    for name in ["plugin", "config"] {
        if let Some(member) = node.member(name) {
            let problem =
                Diagnostic::error("misplaced-field", format!("{name} is for policies of other worlds"));
            let problem = problem.at(FILE, Some(member.key_span)).field(format!("{path}.{name}"));
            project.report(problem.expected("handler, or a world"));
        }
    }
    let (Some(handler), Some(written)) = (&entry.handler, node.get("handler")) else {
        let problem = Diagnostic::error("missing-field", "the policy has neither handler nor world");
        let problem = problem.at(FILE, Some(node.span)).field(format!("{path}.handler"));
        project.report(problem.expected("handler {export, module, options}, or world with plugin"));
        return None;
    };
    let (place, export) = (written.get("module")?, written.get("export")?);
    let Module::File(module) = import::module(project, place, FILE, &format!("{path}.handler.module"))?
    else {
        let message = format!("the built-in policy {:?} is not supported yet", handler.export);
        let problem = Diagnostic::error("not-supported", message).at(FILE, Some(export.span));
        let expected = format!(
            "a module of the project; what is built in so far are the handlers {}",
            BUILT_IN.join(", ")
        );
        project.report(problem.field(format!("{path}.handler.export")).expected(expected));
        return None;
    };
    let config = written.get("options").and_then(|options| env::substitute(options, &project.variables, &[]));
    let plugin = PluginRef { module, export: handler.export.clone() };
    Some((plugin, config.map(|config| config.to_json()), place, Some(export)))
}

fn foreign<'n>(
    project: &mut Project<'_>,
    entry: &PolicyEntry,
    node: &'n Node,
    path: &str,
    world: &str,
) -> Option<Code<'n>> {
    if !project.worlds.iter().any(|known| known == world) {
        let place = node.get("world").map(|node| node.span);
        let problem =
            Diagnostic::error("unknown-world", format!("the world {world:?} is not part of this build"))
                .at(FILE, place)
                .field(format!("{path}.world"))
                .expected(format!("one of {}", project.worlds.join(", ")))
                .nearest(world, project.worlds.iter().map(String::as_str));
        project.report(problem);
        return None;
    }
    if let Some(member) = node.member("handler") {
        let problem = Diagnostic::error("misplaced-field", "handler is for TypeScript policies");
        let problem = problem.at(FILE, Some(member.key_span)).field(format!("{path}.handler"));
        project.report(problem.expected("plugin and config"));
    }
    let (Some(plugin), Some(place)) = (&entry.plugin, node.get("plugin")) else {
        let problem =
            Diagnostic::error("missing-field", "the policy has no plugin").at(FILE, Some(node.span));
        project.report(problem.field(format!("{path}.plugin")).expected("a path, or a pinned plugin's name"));
        return None;
    };
    let plugin = PluginRef { module: plugin.clone(), export: "default".to_owned() };
    Some((plugin, entry.config.clone(), place, None))
}

fn apply(budget: &mut Budget, entry: Option<&BudgetEntry>) {
    let Some(entry) = entry else { return };
    set(&mut budget.cpu, entry.cpu.map(|d| d.0));
    set(&mut budget.memory, entry.memory.map(|size| size.0));
    set(&mut budget.wall, entry.wall.map(|d| d.0));
    set(&mut budget.subrequests, entry.subrequests);
    set(&mut budget.body, entry.body.map(|size| size.0));
}

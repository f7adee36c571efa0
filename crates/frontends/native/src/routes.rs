//! Route files: from OpenAPI documents to the plan's routes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use http::Method;
use polygate_pipeline::{Diagnostic, Role, RouteInfo, Span};
use polygate_plan::{AmbiguousPaths, Handler, PathPattern, PlannedLayer, Route, Settings};

use crate::check::decode;
use crate::env;
use crate::handler::Place;
use crate::hooks::Hooks;
use crate::policies::{Policies, TYPESCRIPT};
use crate::raw::routes::{PathExtension, PathMode, RouteExtension};
use crate::source::{Project, Syntax};
use crate::tree::{Member, Node, child};

const FOLDER: &str = "config";
const ROUTE: [&str; 2] = ["x-polygate-route", "x-zuplo-route"];
const PATH: [&str; 2] = ["x-polygate-path", "x-zuplo-path"];
const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// OpenAPI's own members of a path item, other than methods.
const PATH_ITEM: [&str; 5] = ["summary", "description", "servers", "parameters", "additionalOperations"];

/// Reads all route files. What is wrong is reported.
pub(crate) fn load(
    project: &mut Project<'_>,
    settings: &Settings,
    policies: &mut Policies,
    allow_duplicates: bool,
) -> Vec<Route> {
    let hooks = Hooks::find(project);
    let mut reader = Reader {
        settings,
        hooks,
        policies,
        allow_duplicates,
        taken: HashMap::new(),
        operations: HashSet::new(),
        routes: Vec::new(),
    };
    let Some(files) = route_files(project) else { return Vec::new() };
    let before = project.found.len();
    for (file, syntax) in &files {
        let file = format!("{FOLDER}/{file}");
        if let Some(tree) = project.tree(&file, *syntax) {
            reader.document(project, &file, &tree);
        }
    }
    if reader.routes.is_empty() && project.found.len() == before {
        let message =
            if files.is_empty() { "there is no route file" } else { "the route files hold no route" };
        project.report(
            Diagnostic::warning("no-routes", message).at(FOLDER, None).expected(
                "config/routes.oas.json (or .oas.yaml) with operations that have an x-polygate-route",
            ),
        );
    }
    reader.routes
}

/// The route files by name; `None` when there is no folder for them.
fn route_files(project: &mut Project<'_>) -> Option<Vec<(String, Syntax)>> {
    let folder = project.root.join(FOLDER);
    project.files.push(folder.clone());
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) => {
            let problem =
                Diagnostic::error("no-config", format!("the folder config cannot be read: {error}"));
            project.report(problem.expected("a project: a folder with config/routes.oas.json"));
            return None;
        }
    };
    let mut files: Vec<(String, Syntax)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let syntax = match name.rsplit_once(".oas.")?.1 {
                "json" => Syntax::Json,
                "yaml" | "yml" => Syntax::Yaml,
                _ => return None,
            };
            Some((name, syntax))
        })
        .collect();
    files.sort_by(|a, b| a.0.cmp(&b.0));
    Some(files)
}

struct Reader<'a> {
    settings: &'a Settings,
    policies: &'a mut Policies,
    hooks: Hooks,
    allow_duplicates: bool,
    /// Where each method and path stands.
    taken: HashMap<(Method, String), (String, Span)>,
    operations: HashSet<String>,
    routes: Vec<Route>,
}

/// An operation in its place.
struct Operation<'a> {
    file: &'a str,
    /// The path as written.
    path: &'a str,
    /// What becomes of requests whose path can be read in more than one way.
    ambiguous_paths: AmbiguousPaths,
    methods: Vec<Method>,
    member: &'a Member,
    /// The operation's field path.
    at: String,
}

impl Reader<'_> {
    fn document(&mut self, project: &mut Project<'_>, file: &str, tree: &Node) {
        let allowed = |path: &str| path.ends_with("-route.handler.options");
        env::refuse_elsewhere(tree, file, "", &allowed, &mut project.found);
        let version = tree.get("openapi").or_else(|| tree.get("swagger"));
        let text = version.and_then(Node::as_str).unwrap_or_default();
        if !["3.0", "3.1"].iter().any(|known| text == *known || text.starts_with(&format!("{known}."))) {
            let message = match version {
                Some(node) => format!("{} is not a version of OpenAPI that is read", node.shown()),
                None => "the field \"openapi\" is missing".to_owned(),
            };
            let place = version.unwrap_or(tree).span;
            let problem = Diagnostic::error("bad-openapi", message).at(file, Some(place)).field("openapi");
            project.report(problem.expected("\"3.1.0\" or \"3.0.3\""));
        }
        let Some(paths) = tree.get("paths") else { return };
        if !matches!(paths.value, crate::tree::Value::Object(_)) {
            let problem = Diagnostic::error("wrong-type", format!("{} stands here", paths.kind()));
            project.report(problem.at(file, Some(paths.span)).field("paths").expected("an object"));
        }
        for item in paths.members().iter().filter(|item| !item.key.starts_with("x-")) {
            self.path_item(project, file, item);
        }
    }

    fn path_item(&mut self, project: &mut Project<'_>, file: &str, item: &Member) {
        let at = child("paths", &item.key);
        let PathExtension { path_mode: mode, ambiguous } =
            match one_spelling(project, &item.value, PATH, file, &at) {
                Some(member) => {
                    let at = child(&at, &member.key);
                    decode(&member.value, file, &at, &mut project.found).unwrap_or_default()
                }
                None => PathExtension::default(),
            };
        let ambiguous_paths = ambiguous.map_or(self.settings.listen.ambiguous_paths, Into::into);
        let pattern = match mode {
            PathMode::OpenApi => PathPattern::open_api(&item.key),
            PathMode::UrlPattern => PathPattern::url_pattern(&item.key),
        };
        if let Err(error) = &pattern {
            let expected = match mode {
                PathMode::OpenApi => "a path such as /orders/{id}",
                PathMode::UrlPattern => "a URL pattern such as /files/:name(.*)",
            };
            let problem = Diagnostic::error("bad-path", error.to_string()).at(file, Some(item.key_span));
            project.report(problem.field(&at).expected(expected));
        }
        for member in item.value.members() {
            if PATH_ITEM.contains(&member.key.as_str()) || member.key.starts_with("x-") {
                self.misspelt(project, file, &at, member, PATH);
                continue;
            }
            let at = child(&at, &member.key);
            let Some(methods) = methods(project, file, &at, member) else { continue };
            let operation = Operation { file, path: &item.key, ambiguous_paths, methods, member, at };
            self.operation(project, &operation, pattern.as_ref().ok());
        }
    }

    /// Reports a name that is nearly one of ours.
    fn misspelt(&self, project: &mut Project<'_>, file: &str, at: &str, member: &Member, names: [&str; 2]) {
        let key = member.key.to_ascii_lowercase().replace('_', "-");
        if names.contains(&member.key.as_str()) {
            return;
        }
        let close = names.iter().any(|name| key == *name || key.replace('-', "") == name.replace('-', ""));
        if close {
            let problem = Diagnostic::error("unknown-field", format!("unknown field {:?}", member.key))
                .at(file, Some(member.key_span))
                .field(child(at, &member.key));
            project.report(problem.expected(names[0]).nearest(&key, names));
        }
    }

    fn operation(&mut self, project: &mut Project<'_>, op: &Operation<'_>, pattern: Option<&PathPattern>) {
        let (file, node) = (op.file, &op.member.value);
        let names: Vec<&str> = op.methods.iter().map(Method::as_str).collect();
        let label = format!("{} {}", names.join(","), op.path);
        for method in &op.methods {
            let place = (file.to_owned(), op.member.key_span);
            let Some((other, span)) = self.taken.insert((method.clone(), op.path.to_owned()), place) else {
                continue;
            };
            if !self.allow_duplicates {
                let message = format!("{method} {} is already in {other}:{}", op.path, span.line);
                let problem =
                    Diagnostic::error("duplicate-route", message).at(file, Some(op.member.key_span));
                let expected =
                    "one operation for each method and path (or allowDuplicateRoutes in zuplo.jsonc)";
                project.report(problem.field(&op.at).expected(expected));
            }
        }
        if let Some(member) = node.member("policies") {
            let message = "policies beside the route's extension have no effect";
            let problem = Diagnostic::warning("misplaced-field", message).at(file, Some(member.key_span));
            let expected = format!("policies within {}", ROUTE[0]);
            project.report(problem.field(child(&op.at, "policies")).expected(expected));
        }
        let operation_id = node.get("operationId").and_then(Node::as_str).filter(|id| !id.is_empty());
        if let Some(id) = operation_id
            && !self.operations.insert(id.to_owned())
        {
            let place = node.get("operationId").map(|node| node.span);
            let problem =
                Diagnostic::warning("duplicate-operation", format!("the operationId {id:?} stands twice"));
            project
                .report(problem.at(file, place).field(child(&op.at, "operationId")).expected("unique ids"));
        }
        let Some(extension) = one_spelling(project, node, ROUTE, file, &op.at) else {
            let keys = node.members().iter().filter(|member| member.key.starts_with("x-"));
            let like = keys.filter(|member| polygate_pipeline::nearest(&member.key, ROUTE).is_some());
            let place = like.clone().map(|member| member.key_span).next().unwrap_or(op.member.key_span);
            let mut problem =
                Diagnostic::error("no-handler", format!("{label} does not say what answers it"))
                    .at(file, Some(place))
                    .field(child(&op.at, ROUTE[0]))
                    .expected(format!("{} {{handler, policies}}", ROUTE[0]));
            if let Some(member) = like.clone().next() {
                problem = problem.nearest(&member.key, ROUTE);
            }
            project.report(problem);
            return;
        };
        let at = child(&op.at, &extension.key);
        self.refuse_cors(project, file, &at, &extension.value);
        let decoded = decode::<RouteExtension>(&extension.value, file, &at, &mut project.found);
        let (inbound, inbound_names) =
            self.policies(project, file, &format!("{at}.policies.inbound"), &extension.value, "inbound");
        let (outbound, outbound_names) =
            self.policies(project, file, &format!("{at}.policies.outbound"), &extension.value, "outbound");
        let Some(written) = extension.value.get("handler") else { return };
        let place = Place {
            file,
            path: &format!("{at}.handler"),
            node: written,
            name: operation_id.unwrap_or(&label),
            upstreams: &self.settings.upstreams,
            budget: &self.settings.budget,
        };
        // Made even when another field is wrong, so that what is wrong with the handler is said in the same run.
        let (Some(made), Some(decoded)) = (place.make(project, self.policies), decoded) else { return };
        let mut layers: Vec<PlannedLayer> = Vec::new();
        let layer = |role| move |policy| PlannedLayer { policy, role };
        layers.extend(inbound.into_iter().map(layer(Role::Inbound)));
        // The innermost layer sees the response first: the first outbound policy stands nearest to the handler.
        layers.extend(outbound.into_iter().rev().map(layer(Role::Outbound)));
        layers.extend(made.before.map(layer(Role::Inbound)));
        let typescript = |layer: &PlannedLayer| &*self.policies.all[layer.policy].world == TYPESCRIPT;
        if !matches!(made.handler, Handler::Function(_)) && !layers.iter().any(typescript) {
            let hooks = self.hooks.layer(self.policies, &self.settings.budget);
            layers.splice(0..0, hooks);
        }
        let Some(pattern) = pattern else { return };
        let info = RouteInfo {
            path: op.path.to_owned(),
            methods: op.methods.clone(),
            operation_id: operation_id.map(str::to_owned),
            summary: node.get("summary").and_then(Node::as_str).map(str::to_owned),
            handler: (decoded.handler.module, decoded.handler.export),
            inbound: inbound_names,
            outbound: outbound_names,
            file: file.to_owned(),
            raw: Arc::new(node.to_json()),
            label: label.into(),
        };
        let (info, pattern) = (Arc::new(info), pattern.clone());
        self.routes.push(Route {
            info,
            pattern,
            ambiguous_paths: op.ambiguous_paths,
            body_limit: decoded.limits.body.map_or(self.settings.limits.body, |size| size.0),
            layers,
            handler: made.handler,
        });
    }

    /// The policies that a route names for one direction: those in order, and all names.
    fn policies(
        &mut self,
        project: &mut Project<'_>,
        file: &str,
        path: &str,
        extension: &Node,
        direction: &str,
    ) -> (Vec<usize>, Vec<Arc<str>>) {
        let named = extension.get("policies").and_then(|policies| policies.get(direction));
        let role = if direction == "inbound" { Role::Inbound } else { Role::Outbound };
        let (mut indexes, mut names) = (Vec::new(), Vec::new());
        for (at, node) in named.map(Node::elements).unwrap_or_default().iter().enumerate() {
            let Some(name) = node.as_str() else { continue };
            names.push(Arc::from(name));
            match self.policies.find(name) {
                Some(Some(index)) => {
                    self.policies.used(index, role);
                    indexes.push(index);
                }
                Some(None) => {}
                None => {
                    let known: Vec<&str> = self.policies.names().collect();
                    let expected = match &known[..] {
                        [] => "a policy of config/policies.json; there is none".to_owned(),
                        _ => format!("one of {}", known.join(", ")),
                    };
                    let problem = Diagnostic::error("unknown-policy", format!("there is no policy {name:?}"))
                        .at(file, Some(node.span))
                        .field(format!("{path}[{at}]"));
                    project.report(problem.expected(expected).nearest(name, known));
                }
            }
        }
        (indexes, names)
    }

    fn refuse_cors(&self, project: &mut Project<'_>, file: &str, at: &str, extension: &Node) {
        let Some(node) = extension.get("corsPolicy") else { return };
        let Some(name) = node.as_str().filter(|name| *name != "none") else { return };
        let built_in = name == "anything-goes" || self.policies.cors.iter().any(|known| known == name);
        let problem = if built_in {
            Diagnostic::error("not-supported", "CORS policies are not supported yet")
                .expected("\"none\", or no corsPolicy")
        } else {
            Diagnostic::error("unknown-policy", format!("there is no CORS policy {name:?}"))
                .expected("\"none\" (CORS policies are not supported yet)")
                .nearest(name, self.policies.cors.iter().map(String::as_str).chain(["none"]))
        };
        project.report(problem.at(file, Some(node.span)).field(format!("{at}.corsPolicy")));
    }
}

/// The member that has one of two names; both at once are reported.
fn one_spelling<'n>(
    project: &mut Project<'_>,
    node: &'n Node,
    names: [&str; 2],
    file: &str,
    at: &str,
) -> Option<&'n Member> {
    match (node.member(names[0]), node.member(names[1])) {
        (Some(first), Some(second)) => {
            let message = format!("both {} and {} stand here", names[0], names[1]);
            let problem = Diagnostic::error("two-spellings", message).at(file, Some(second.key_span));
            project.report(problem.field(child(at, names[1])).expected("one of them"));
            Some(first)
        }
        (first, second) => first.or(second),
    }
}

/// The methods that a member of a path item names; what is no method is reported.
fn methods(project: &mut Project<'_>, file: &str, at: &str, member: &Member) -> Option<Vec<Method>> {
    let mut methods = Vec::new();
    for name in member.key.split(',').map(str::trim) {
        if !METHODS.contains(&name) {
            let message = match name {
                "$ref" => "references between path items are not supported yet".to_owned(),
                _ => format!("{name:?} is no method"),
            };
            let code = if name == "$ref" { "not-supported" } else { "unknown-method" };
            let problem = Diagnostic::error(code, message).at(file, Some(member.key_span)).field(at);
            project.report(problem.expected(format!("one of {}", METHODS.join(", "))).nearest(name, METHODS));
            return None;
        }
        methods.extend(Method::from_bytes(name.to_ascii_uppercase().as_bytes()));
    }
    if !matches!(member.value.value, crate::tree::Value::Object(_)) {
        let problem = Diagnostic::error("wrong-type", format!("{} stands here", member.value.kind()));
        project.report(problem.at(file, Some(member.value.span)).field(at).expected("an object"));
        return None;
    }
    Some(methods)
}

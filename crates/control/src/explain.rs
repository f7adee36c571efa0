//! Explains what would become of a request: which route takes it, through which layers it goes, where it ends.
//!
//! It answers from the plan alone: no plugin runs, and no value of a variable that may be a secret is shown.

mod destination;
mod text;

use std::fmt;
use std::sync::Arc;

use polygate_gateway::{Router, is_registered};
use polygate_pipeline::{Budget, Method, OnFailure, Role, Target};
use polygate_plan::{CanonicalPath, Handler, PathSeen, Plan, Route, canonical};
use serde::Serialize;

use destination::Destination;

/// What would become of a request.
#[derive(Debug, Serialize)]
pub struct Explanation {
    /// The method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The environment that would serve it.
    pub environment: &'static str,
    /// The route that takes it.
    pub route: Option<ExplainedRoute>,
    /// Routes that take the path but not the method, in order.
    pub other_methods: Vec<RouteName>,
    /// Further routes that would take it if the first were not there.
    pub shadowed: Vec<RouteName>,
    /// Why no route takes it, and what the client gets.
    pub refused: Option<String>,
    /// The routes whose paths are most alike, when none takes it.
    pub nearest: Vec<RouteName>,
}

/// A route, by name and place.
#[derive(Debug, Serialize)]
pub struct RouteName {
    /// Its label: methods and path.
    pub label: Arc<str>,
    /// The file that configures it.
    pub file: String,
    /// Its place among all routes, from 1: the first that matches wins.
    pub position: usize,
}

/// The route that takes the request.
#[derive(Debug, Serialize)]
pub struct ExplainedRoute {
    /// Its name and place.
    #[serde(flatten)]
    pub name: RouteName,
    /// The operation's id.
    pub operation_id: Option<String>,
    /// Path parameters, decoded, in order.
    pub params: Vec<(Arc<str>, String)>,
    /// The longest body of a request, in bytes.
    pub body_limit: u64,
    /// What the request passes through, outermost first: inbound ones before the handler, outbound ones after it.
    pub layers: Vec<ExplainedLayer>,
    /// What answers.
    pub handler: ExplainedHandler,
}

/// A policy in its place.
#[derive(Debug, Serialize)]
pub struct ExplainedLayer {
    /// The policy's name.
    pub policy: Arc<str>,
    /// The world that runs it.
    pub world: Arc<str>,
    /// Its role on the route.
    pub role: Role,
    /// Its module and export.
    pub module: String,
    /// The export.
    pub export: String,
    /// The file that configures it.
    pub file: String,
    /// What it may spend.
    pub budget: ExplainedBudget,
}

/// A budget, in the units of configuration.
#[derive(Debug, Serialize)]
pub struct ExplainedBudget {
    /// CPU time of a call, in milliseconds.
    pub cpu_ms: u64,
    /// Time of a call, in milliseconds.
    pub wall_ms: u64,
    /// Bytes of memory.
    pub memory: u64,
    /// Requests it may send.
    pub subrequests: u32,
    /// Bytes of a body it may read whole.
    pub body: u64,
    /// What happens when it fails.
    pub on_failure: OnFailure,
}

impl From<&Budget> for ExplainedBudget {
    fn from(budget: &Budget) -> Self {
        Self {
            cpu_ms: budget.cpu.as_millis() as u64,
            wall_ms: budget.wall.as_millis() as u64,
            memory: budget.memory.bytes(),
            subrequests: budget.subrequests,
            body: budget.body.bytes(),
            on_failure: budget.on_failure,
        }
    }
}

/// What answers.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ExplainedHandler {
    /// Sends the request on.
    Forward {
        /// Where to; values that may be secrets are left out.
        to: String,
        /// Whether redirects are followed.
        follow_redirects: bool,
    },
    /// Answers with a redirect.
    Redirect {
        /// Where to.
        location: String,
        /// The status.
        status: u16,
    },
    /// Runs a function.
    Function {
        /// The world that runs it.
        world: Arc<str>,
        /// Its module.
        module: String,
        /// Its export.
        export: String,
        /// What it may spend.
        budget: ExplainedBudget,
    },
}

/// Why a request cannot be explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvalidRequest {
    /// No HTTP method.
    Method(String),
    /// Neither a path nor a URL.
    Url(String),
}

impl fmt::Display for InvalidRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method(method) => write!(f, "{method:?} is no HTTP method; write GET, POST ..."),
            Self::Url(url) => write!(
                f,
                "{url:?} is neither a path such as /orders/17 nor a URL such as http://localhost:8080/orders/17"
            ),
        }
    }
}

impl std::error::Error for InvalidRequest {}

/// Explains `method` on `url`, which is a path with or without query, or a whole URL.
///
/// # Errors
/// When one of them is not what it is said to be.
pub fn explain(plan: &Plan, method: &str, url: &str) -> Result<Explanation, InvalidRequest> {
    let invalid = || InvalidRequest::Method(method.to_owned());
    let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).map_err(|_| invalid())?;
    let local = format!("http://{}{url}", plan.settings.listen.address);
    let absolute = if url.starts_with('/') { &local } else { url };
    let target = Target::parse(absolute).map_err(|_| InvalidRequest::Url(url.to_owned()))?;

    let router = Router::new(&plan.routes);
    // As the gateway does it: the route is looked up by the canonical path, and says what becomes of other spellings.
    let CanonicalPath { path, form } = canonical(target.path());
    let found = router.find(&method, &path);
    let policy = found
        .as_ref()
        .map_or(plan.settings.listen.ambiguous_paths, |found| plan.routes[found.route].ambiguous_paths);
    let seen = policy.see(form);
    let before_routing = if !is_registered(&method) {
        Some(format!("{method} is no registered method; the client gets 501 (method_not_implemented)"))
    } else if seen == PathSeen::Refused {
        let why = "two servers may read the path differently; the client gets 400 (path_refused)";
        Some(why.to_owned())
    } else {
        None
    };
    let found = found.filter(|_| before_routing.is_none());
    let takes_path = router.by_path(&path);
    let target = match (seen, &path) {
        (PathSeen::Canonical, std::borrow::Cow::Owned(path)) => {
            let whole = [path, target.search()].concat();
            Target::new(target.scheme(), target.authority(), &whole)
                .map_err(|_| InvalidRequest::Url(url.to_owned()))?
        }
        _ => target.clone(),
    };
    let taken = found.as_ref().map(|found| found.route);
    let takes_method = |index: usize| plan.routes[index].info.methods.contains(&method);
    let named = |indices: &mut dyn Iterator<Item = usize>| indices.map(|index| name(plan, index)).collect();
    let other_methods: Vec<_> = named(&mut takes_path.iter().copied().filter(|&index| !takes_method(index)));
    let shadowed =
        named(&mut takes_path.iter().copied().filter(|&index| takes_method(index) && taken != Some(index)));
    let nearest =
        if found.is_none() && takes_path.is_empty() { alike(plan, target.path()) } else { Vec::new() };
    let unrouted = || {
        if plan.routes.is_empty() {
            "the project has no routes".to_owned()
        } else if other_methods.is_empty() {
            format!(
                "none of the {} routes takes this path; the client gets 404 (no_route)",
                plan.routes.len()
            )
        } else {
            "the path is taken, but not with this method; the client gets 404 (no_route)".to_owned()
        }
    };
    let refused = before_routing.or_else(|| found.is_none().then(unrouted));
    let route = found.map(|found| {
        let route = &plan.routes[found.route];
        let destination = Destination::new(plan, &method, &target, &found.params);
        ExplainedRoute {
            name: name(plan, found.route),
            operation_id: route.info.operation_id.clone(),
            body_limit: route.body_limit.bytes(),
            layers: layers(plan, route),
            handler: handler(plan, route, &destination),
            params: found.params,
        }
    });
    Ok(Explanation {
        method: method.to_string(),
        target: target.path_and_query().to_owned(),
        environment: "default",
        route,
        other_methods,
        shadowed,
        refused,
        nearest,
    })
}

fn name(plan: &Plan, index: usize) -> RouteName {
    let info = &plan.routes[index].info;
    RouteName { label: info.label.clone(), file: info.file.clone(), position: index + 1 }
}

/// How many near routes are named.
const MAX_ALIKE: usize = 3;

fn alike(plan: &Plan, path: &str) -> Vec<RouteName> {
    let shared = |route: &Route| {
        let (a, b) = (path.split('/'), route.info.path.split('/'));
        a.zip(b).skip(1).take_while(|(a, b)| a.eq_ignore_ascii_case(b) || b.contains(['{', ':', '*'])).count()
    };
    let mut scored: Vec<(usize, usize)> =
        plan.routes.iter().enumerate().map(|(index, route)| (shared(route), index)).collect();
    scored.retain(|(score, _)| *score > 0);
    scored.sort_by_key(|(score, index)| (std::cmp::Reverse(*score), *index));
    scored.into_iter().take(MAX_ALIKE).map(|(_, index)| name(plan, index)).collect()
}

fn layers(plan: &Plan, route: &Route) -> Vec<ExplainedLayer> {
    let explained = |layer: &polygate_plan::PlannedLayer| {
        let policy = &plan.policies[layer.policy];
        ExplainedLayer {
            policy: policy.spec.name.clone(),
            world: policy.world.clone(),
            role: layer.role,
            module: policy.spec.plugin.module.clone(),
            export: policy.spec.plugin.export.clone(),
            file: policy.spec.file.clone(),
            budget: (&policy.spec.budget).into(),
        }
    };
    route.layers.iter().map(explained).collect()
}

/// `forward`, `redirect` or `function`.
pub(crate) fn handler_kind(handler: &Handler) -> &'static str {
    match handler {
        Handler::Forward(_) => "forward",
        Handler::Redirect { .. } => "redirect",
        Handler::Function(_) => "function",
    }
}

fn handler(plan: &Plan, route: &Route, destination: &Destination<'_>) -> ExplainedHandler {
    match &route.handler {
        Handler::Forward(forward) => ExplainedHandler::Forward {
            to: destination.of(forward),
            follow_redirects: forward.follow_redirects,
        },
        Handler::Redirect { location, status } => {
            ExplainedHandler::Redirect { location: destination.render(location), status: status.as_u16() }
        }
        Handler::Function(index) => {
            let policy = &plan.policies[*index];
            ExplainedHandler::Function {
                world: policy.world.clone(),
                module: policy.spec.plugin.module.clone(),
                export: policy.spec.plugin.export.clone(),
                budget: (&policy.spec.budget).into(),
            }
        }
    }
}

#[cfg(test)]
mod tests;

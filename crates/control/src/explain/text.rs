//! An explanation as people read it.

use std::fmt::Write as _;

use polygate_pipeline::{ByteSize, OnFailure, Role};

use super::{ExplainedBudget, ExplainedHandler, ExplainedLayer, Explanation, RouteName};
use crate::paint::{Look, Paint};

impl Explanation {
    /// For people.
    pub fn text(&self, paint: Paint) -> String {
        let mut out = String::new();
        let heading = format!("{} {}", self.method, self.target);
        let _ = writeln!(out, "{}\n", paint.on(Look::Bold, heading));
        let row = |out: &mut String, name: &str, text: &str| {
            let _ = writeln!(out, "  {} {text}", paint.on(Look::Dim, format_args!("{name:<12}")));
        };
        row(&mut out, "environment", self.environment);
        if let Some(route) = &self.route {
            let label = paint.on(Look::Green, &route.name.label).to_string();
            let id = route.operation_id.as_ref().map(|id| format!(", operation {id}")).unwrap_or_default();
            row(
                &mut out,
                "route",
                &format!("{label}{id} ({}, number {})", route.name.file, route.name.position),
            );
            for (name, value) in &route.params {
                row(&mut out, "param", &format!("{name} = {value:?}"));
            }
            row(&mut out, "body", &format!("at most {}", ByteSize(route.body_limit)));
            let (response, request): (Vec<_>, Vec<_>) =
                route.layers.iter().partition(|layer| layer.role == Role::Outbound);
            for (index, layer) in request.iter().enumerate() {
                row(&mut out, if index == 0 { "inbound" } else { "" }, &layer_line(index, layer, paint));
            }
            row(&mut out, "handler", &handler_line(&route.handler, paint));
            for (index, layer) in response.iter().enumerate() {
                row(&mut out, if index == 0 { "outbound" } else { "" }, &layer_line(index, layer, paint));
            }
        }
        if let Some(refused) = &self.refused {
            row(&mut out, "route", &paint.on(Look::Yellow, format_args!("none: {refused}")).to_string());
        }
        for (title, routes) in
            [("other method", &self.other_methods), ("shadowed", &self.shadowed), ("nearest", &self.nearest)]
        {
            for (index, route) in routes.iter().enumerate() {
                row(&mut out, if index == 0 { title } else { "" }, &route_line(route));
            }
        }
        out
    }
}

fn route_line(route: &RouteName) -> String {
    format!("{} ({}, number {})", route.label, route.file, route.position)
}

fn layer_line(index: usize, layer: &ExplainedLayer, paint: Paint) -> String {
    let code = code(&layer.module, &layer.export);
    let name = paint.on(Look::Bold, &layer.policy);
    let budget = paint.on(Look::Dim, budget(&layer.budget)).to_string();
    format!("{}. {name}  {} {code}  {budget}", index + 1, layer.world)
}

fn handler_line(handler: &ExplainedHandler, paint: Paint) -> String {
    match handler {
        ExplainedHandler::Forward { to, follow_redirects } => {
            let follow = if *follow_redirects { ", following redirects" } else { "" };
            format!("forward to {}{follow}", paint.on(Look::Blue, to))
        }
        ExplainedHandler::Redirect { location, status } => {
            format!("redirect {status} to {}", paint.on(Look::Blue, location))
        }
        ExplainedHandler::Function { world, module, export, budget: spent } => {
            format!("function {world} {}  {}", code(module, export), paint.on(Look::Dim, budget(spent)))
        }
    }
}

fn code(module: &str, export: &str) -> String {
    if export.is_empty() { module.to_owned() } else { format!("{module}#{export}") }
}

fn budget(budget: &ExplainedBudget) -> String {
    let fails = match budget.on_failure {
        OnFailure::Closed => "closed",
        OnFailure::Open => "open",
    };
    format!(
        "cpu {} ms, wall {}, memory {}, fails {fails}",
        budget.cpu_ms,
        match budget.wall_ms {
            ms if ms.is_multiple_of(1_000) => format!("{} s", ms / 1_000),
            ms => format!("{ms} ms"),
        },
        ByteSize(budget.memory)
    )
}

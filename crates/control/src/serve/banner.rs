//! What is said when a gateway has started.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use polygate_pipeline::Method;
use polygate_plan::Plan;
use serde_json::{Map, Value, json};

use crate::clock::short;
use crate::paint::{Look, Paint};
use crate::state::{Mode, State, policies};

pub(super) struct Banner<'a> {
    pub(super) state: &'a State,
    pub(super) plan: &'a Plan,
    pub(super) address: SocketAddr,
    pub(super) tls: Option<SocketAddr>,
    pub(super) workers: usize,
    pub(super) admin: Option<SocketAddr>,
    pub(super) echo: Option<SocketAddr>,
    pub(super) took: Duration,
}

impl Banner<'_> {
    /// For people.
    pub(super) fn text(&self, paint: Paint) -> String {
        let Self { state, plan, .. } = self;
        let counted = |n: usize, one: &str, many: &str| format!("{n} {}", if n == 1 { one } else { many });
        let mut out = String::new();
        let _ = writeln!(
            out,
            "\n  {} {}  {} ({}, {}, {}) ready in {}\n",
            paint.on(Look::Bold, "polygate"),
            state.version,
            paint.on(Look::Bold, &state.project),
            counted(plan.routes.len(), "route", "routes"),
            counted(policies(plan), "policy", "policies"),
            counted(self.workers, "worker", "workers"),
            short(self.took),
        );
        let mut row = |name: &str, look: Look, text: &str, hint: &str| {
            let name = paint.on(Look::Dim, format_args!("{name:<9}")).to_string();
            let hint =
                if hint.is_empty() { String::new() } else { format!("  {}", paint.on(Look::Dim, hint)) };
            let _ = writeln!(out, "  {name} {}{hint}", paint.on(look, text));
        };
        let url = reachable("http", self.address);
        row("gateway", Look::Green, &url, "");
        if let Some(tls) = self.tls {
            row("tls", Look::Green, &reachable("https", tls), "");
        }
        if let Some(admin) = self.admin {
            row("admin", Look::Cyan, &reachable("http", admin), "/status /routes /exchanges /metrics");
        }
        if let Some(echo) = self.echo {
            row("echo", Look::Cyan, &reachable("http", echo), "an upstream that answers with what it got");
        }
        if let Some(path) = self.first_path() {
            row("try", Look::Bold, &format!("curl -i {url}{path}"), "");
        }
        if state.mode == Mode::Dev {
            let hint = "save a file and the next request shows it; ctrl-c stops";
            row("watching", Look::Blue, &state.root.display().to_string(), hint);
        }
        out.push('\n');
        out
    }

    /// For machines.
    pub(super) fn fields(&self, deployment: &str) -> Map<String, Value> {
        let fields = json!({
            "version": self.state.version,
            "address": self.address.to_string(),
            "tls": self.tls.map(|tls| tls.to_string()),
            "admin": self.admin.map(|admin| admin.to_string()),
            "project": self.state.project,
            "deployment": deployment,
            "routes": self.plan.routes.len(),
            "policies": policies(self.plan),
            "workers": self.workers,
            "took_ms": self.took.as_millis() as u64,
        });
        fields.as_object().cloned().unwrap_or_default()
    }

    /// A path that can be tried as it stands.
    fn first_path(&self) -> Option<&str> {
        let plain = |path: &str| !path.contains(['{', ':', '(', '*']);
        let mut routes = self.plan.routes.iter().map(|route| &route.info);
        let found = routes.find(|info| info.methods.contains(&Method::GET) && plain(&info.path));
        found.map(|info| info.path.as_str())
    }
}

/// A URL that works on this machine.
fn reachable(scheme: &str, address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        format!("{scheme}://localhost:{}", address.port())
    } else {
        format!("{scheme}://{address}")
    }
}

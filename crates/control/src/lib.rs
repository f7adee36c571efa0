//! Control: where a gateway's configuration comes from, what becomes of its changes, and what its owner sees of it.
//!
//! `source` finds the project, `build` makes a deployment of it (load, compile, try), `serve` starts the gateway and
//! swaps in what changes, `watch` hears of changes, `certificates` of those in files of certificates, `overload` looks after
//! memory and descriptors, `journal` writes what happens, `admin` answers questions.
//! `report` and `explain` show a project's problems and a request's way to people and machines.

mod acme;
mod admin;
mod build;
mod certificates;
mod clock;
mod descriptors;
mod echo;
mod explain;
mod families;
mod http;
mod journal;
mod level;
mod overload;
mod packages;
mod paint;
mod report;
mod serve;
mod signals;
mod source;
mod state;
mod systemd;
mod telemetry;
mod trace;
mod trust;
mod upgrade;
mod watch;

pub use build::{Builder, Built, Overrides};
pub use clock::short;
pub use explain::{
    ExplainedBudget, ExplainedHandler, ExplainedLayer, ExplainedRoute, Explanation, InvalidRequest,
    RouteName, explain,
};
pub use paint::{Look, Paint, Painted};
pub use report::Report;
pub use serve::{ServeError, ServeOptions, serve};
pub use source::{Source, SourceError};
pub use state::Mode;
pub use upgrade::upgrade;

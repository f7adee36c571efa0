//! The gateway under stress: more load than it can serve, attacks over HTTP/2, slow clients. Each has bars, and others
//! are served all the while.

mod attacks;
mod bars;
mod cgroup;
mod client;
mod frames;
mod multiplexed;
mod neighbours;
mod overload;
mod recipes;
mod slow;
mod subject;
mod upstream;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

pub(super) use attacks::{Options as AttackOptions, run as attacks};
pub(super) use overload::{Options as OverloadOptions, run as overload};
pub(super) use slow::{Options as SlowOptions, run as slow};

use crate::process::cargo;

/// The program that is put under stress.
#[derive(Args)]
pub(super) struct Binary {
    /// Program to run in place of a release build.
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
}

impl Binary {
    fn path(&self) -> Result<PathBuf, String> {
        match &self.binary {
            Some(binary) => std::path::absolute(binary).map_err(|error| error.to_string()),
            None => {
                cargo(&["build", "--release", "--quiet", "--package", "polygate"]).run()?;
                Ok(crate::bench::release_binary())
            }
        }
    }
}

/// Routes that forward to upstreams: to one what is asked for by clients that behave, to another one what is not, so that
/// they do not meet there.
fn forwarding() -> Result<String, String> {
    let route = |upstream: SocketAddr| {
        let options = json!({ "baseUrl": format!("http://{upstream}") });
        let module = "$import(@polygate/runtime)";
        let handler = json!({ "export": "urlForwardHandler", "module": module, "options": options });
        json!({ "get,post": { "x-polygate-route": { "handler": handler } } })
    };
    let (plain, other) = (route(upstream::start(false)?), route(upstream::start(true)?));
    let paths = json!({ "/": plain, upstream::QUICK: other, upstream::SLOW: other, upstream::BIG: other });
    Ok(json!({ "openapi": "3.1.0", "info": { "title": "stress", "version": "1" }, "paths": paths })
        .to_string())
}

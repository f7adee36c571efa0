//! The TypeScript world: policies and handlers over `Request` and `Response`.
//!
//! A project's modules are compiled once per deployment ([`ZuploWorld`]), loaded into one VM a worker, and stand on
//! routes as layers. What they import as `@polygate/runtime` (or `@zuplo/runtime`) is the JavaScript in `js/`, over
//! the native functions of [`binding`].
//!
//! Behaviour follows the public documentation of zuplo.com/docs: signatures, what may be returned, hooks, problem
//! responses. Where a project's own code is silent, the pipeline's rules hold.
//!
//! - `world`: compile; `template`: per-request templates as modules; `program`: spawn;
//! - `live`: a VM with the project's functions; `seat`: its replacement when it dies;
//! - `layer`: one policy's turn; `verdict`: what its result means; `session`: what the turns of one exchange share; `turn`: who is outermost, who aborts;
//! - `uncaught`: errors of the engine's own that no code caught, and their reason;
//! - `binding`: native functions of the runtime module; `route`: `context.route`; `messages`: requests and responses.

mod binding;
mod layer;
mod live;
mod messages;
mod program;
mod route;
mod seat;
mod session;
mod template;
mod turn;
mod uncaught;
mod verdict;
mod world;

pub use world::{HOOKS_EXPORT, TEMPLATE_EXPORT, ZuploWorld};

/// The name by which projects import the runtime module.
pub const RUNTIME_MODULE: &str = "@polygate/runtime";

/// Another name of the same module, for projects that were written with it.
pub const RUNTIME_ALIAS: &str = "@zuplo/runtime";

/// The runtime module's text. One module, many files: the parts share their scope.
const RUNTIME_SOURCE: &str = concat!(
    include_str!("../js/natives.js"),
    include_str!("../js/errors.js"),
    include_str!("../js/request.js"),
    include_str!("../js/context.js"),
    include_str!("../js/problems.js"),
    include_str!("../js/handlers.js"),
    include_str!("../js/extensions.js"),
    include_str!("../js/exports.js"),
);

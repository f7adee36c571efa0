//! The JavaScript engine: QuickJS, modules, budgets and Web APIs. It knows no gateway's API: worlds bring theirs.
//!
//! - [`compile`] turns a project into a [`Program`], once, shared by all workers;
//! - a [`Vm`] is one worker's live instance of it, with limits on memory, stack and CPU;
//! - [`Vm::call`] runs a function under a [`CallScope`], which is charged for the CPU time it and its continuations use;
//! - [`ops`] turns Rust futures into promises: what timers, fetch and body reads stand on;
//! - [`web`] installs the Web APIs.

mod call;
mod cast;
mod clock;
mod compile;
mod error;
mod handle;
mod harden;
mod kept;
mod loader;
mod native;
pub mod ops;
mod scope;
mod sys;
mod throw;
mod trace;
mod vm;
pub mod web;

#[cfg(test)]
mod tests;

pub use call::Call;
pub use cast::{as_object, into_object};
pub use compile::{
    Cache, CompileInput, CompiledModule, DIRECT, Entry, MAX_CACHE_BYTES, MAX_MODULE_BYTES, MAX_MODULES,
    Program, compile,
};
pub use error::{CallError, Death, MAX_CAUSES, MAX_ERROR_TEXT, ScriptError};
pub use handle::VmHandle;
pub use kept::Kept;
pub use native::{NativeCall, NativeFunction, NativeText, NativeValue, set_native};
pub use rquickjs;
pub use scope::CallScope;
pub use throw::{OpError, throw_dom};
pub use vm::{Arguments, FEW_ARGS, Finish, LoadedModule, MAX_ARGS, Vm, VmOptions};

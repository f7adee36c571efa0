//! Native side of `console`: lines go to the log of the exchange that is being charged.

use polygate_pipeline::LogLevel;
use rquickjs::function::Rest;
use rquickjs::{Ctx, Function, JsLifetime, Object, Result, Value};

use super::bytes::Usv;
use super::script::internal;
use crate::handle::VmHandle;

/// A receiver of `(level, line)` beside the log, for tests of scripts in a context without a VM.
type LogHook = Box<dyn Fn(LogLevel, &str)>;

#[derive(JsLifetime)]
struct Hook(LogHook);

/// Puts the functions of `js/console.js` on `native`.
pub(super) fn natives<'js>(ctx: &Ctx<'js>, native: &Object<'js>) -> Result<()> {
    native.set("write", Function::new(ctx.clone(), write)?)
}

/// Sends the lines of `ctx`'s console to `hook` too.
#[cfg(test)]
pub(super) fn set_log_hook(ctx: &Ctx<'_>, hook: LogHook) {
    let _ = ctx.store_userdata(Hook(hook));
}

/// The text that `console.log` would write for `values`: `%` formats, then each value inspected.
///
/// # Errors
/// What a getter or `toString` of a value throws.
pub fn format_values<'js>(ctx: &Ctx<'js>, values: Vec<Value<'js>>) -> Result<String> {
    let usage: Function = internal(ctx)?.get("use")?;
    let exports: Object = usage.call(("console",))?;
    let format: Function = exports.get("format")?;
    let text: Usv = format.call((Rest(values),))?;
    Ok(text.0)
}

fn write(ctx: Ctx<'_>, level: u8, line: Usv) {
    let level = match level {
        0 => LogLevel::Debug,
        1 => LogLevel::Info,
        2 => LogLevel::Warn,
        _ => LogLevel::Error,
    };
    if let Some(hook) = ctx.userdata::<Hook>() {
        (hook.0)(level, &line.0);
    }
    if let Some(vm) = VmHandle::try_of(&ctx) {
        vm.log(vm.scope().as_deref(), level, line.0, serde_json::Map::new());
    }
}

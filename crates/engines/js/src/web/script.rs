//! Prelude scripts: registration, lazy evaluation, and the `internal` object they share.

use rquickjs::context::EvalOptions;
use rquickjs::{Array, Ctx, Exception, Function, JsLifetime, Object, Result, Value};

/// One prelude script.
pub(crate) struct Script {
    /// Its name: the key of `internal.use(name)` and the file name in stack traces.
    pub(crate) name: &'static str,
    /// A function expression of `(internal, native)` that returns the script's exports.
    pub(crate) source: &'static str,
    /// The exports that become (lazily evaluated) properties of `globalThis`.
    pub(crate) globals: &'static [&'static str],
    /// Puts the script's Rust functions on its `native` object; called when the script is first used.
    pub(crate) native: Option<Natives>,
}

/// Fills a script's `native` object.
pub(crate) type Natives = for<'js> fn(&Ctx<'js>, &Object<'js>) -> Result<()>;

/// Keeps the `internal` object of a context alive and out of reach of user code.
#[derive(JsLifetime)]
struct Internal<'js>(Object<'js>);

const BOOT: &str = include_str!("../../js/boot.js");

/// Creates the `internal` object of `ctx`. Later calls do nothing.
pub(super) fn boot(ctx: &Ctx<'_>) -> Result<()> {
    if ctx.userdata::<Internal>().is_some() {
        return Ok(());
    }
    let boot: Function = evaluate(ctx, "boot", BOOT)?;
    let internal: Object = boot.call((ctx.globals(),))?;
    ctx.store_userdata(Internal(internal))
        .map_err(|_| Exception::throw_internal(ctx, "the web prelude was booted from inside itself"))?;
    Ok(())
}

/// The object that all preludes of `ctx` share. Members that preludes set are listed at the head of `js/boot.js`.
pub(crate) fn internal<'js>(ctx: &Ctx<'js>) -> Result<Object<'js>> {
    match ctx.userdata::<Internal>() {
        Some(found) => Ok(found.0.clone()),
        None => Err(Exception::throw_internal(ctx, "the web prelude is not installed")),
    }
}

/// Makes `scripts` known to `ctx`: `internal.use(name)` and their globals evaluate them on first use.
pub(crate) fn register(ctx: &Ctx<'_>, scripts: &'static [Script]) -> Result<()> {
    let internal = internal(ctx)?;
    let define: Function = internal.get("define")?;
    for script in scripts {
        let globals = Array::new(ctx.clone())?;
        for (index, name) in script.globals.iter().enumerate() {
            globals.set(index, *name)?;
        }
        let load = Function::new(ctx.clone(), move |ctx: Ctx<'_>| -> Result<()> { load(&ctx, script) })?;
        define.call::<_, ()>((script.name, globals, load))?;
    }
    Ok(())
}

/// Evaluates `script` and hands its exports to `internal.loaded`.
fn load(ctx: &Ctx<'_>, script: &'static Script) -> Result<()> {
    let internal = internal(ctx)?;
    let native = Object::new(ctx.clone())?;
    if let Some(fill) = script.native {
        fill(ctx, &native)?;
    }
    let body: Function = evaluate(ctx, script.name, script.source)?;
    let exports: Value = body.call((internal.clone(), native))?;
    let loaded: Function = internal.get("loaded")?;
    loaded.call((script.name, exports))
}

fn evaluate<'js>(ctx: &Ctx<'js>, name: &str, source: &'static str) -> Result<Function<'js>> {
    let mut options = EvalOptions::default();
    options.filename = Some(format!("polygate:web/{name}"));
    ctx.eval_with_options(source, options)
}

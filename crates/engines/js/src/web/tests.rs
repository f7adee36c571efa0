//! Tests of the Web APIs by scripts, in a plain context.

use rquickjs::{CatchResultExt, Context, Ctx, Promise, Runtime};

use super::install;

/// Evaluates an async function body; what it throws fails the test.
fn run(body: &str) {
    with(|ctx| eval(ctx, body));
}

fn with(f: impl FnOnce(&Ctx<'_>)) {
    let runtime = Runtime::new().unwrap();
    let context = Context::full(&runtime).unwrap();
    context.with(|ctx| {
        install(&ctx).catch(&ctx).map_err(|error| error.to_string()).unwrap();
        ctx.eval::<(), _>(include_str!("tests/assert.js")).unwrap();
        f(&ctx);
    });
}

fn eval(ctx: &Ctx<'_>, body: &str) {
    let source = format!("(async () => {{ {body} }})()");
    let promise = ctx.eval::<Promise, _>(source).catch(ctx).map_err(|error| error.to_string()).unwrap();
    promise.finish::<()>().catch(ctx).map_err(|error| error.to_string()).unwrap();
}

mod blob;
mod clone;
mod console;
mod crypto;
mod encoding;
mod events;
mod streams;
mod timers;
mod url;

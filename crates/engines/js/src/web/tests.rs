//! Tests of the Web APIs by scripts, in a plain context.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use rquickjs::{CatchResultExt, Context, Ctx, Promise, Runtime, Value};

use super::install;
use crate::tests::Files;
use crate::{CallScope, Vm, VmHandle, VmOptions};

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

/// As [`run`], in a VM, for what needs operations. Gives the number of times that the thread's own tasks got their
/// turn meanwhile.
fn run_in_vm(body: &str) -> u32 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let files = Files::new(&[("main.js", "export {};")]);
        let program = files.program(&["./main"]);
        let vm = Vm::new(program, None, VmOptions::default(), |_| Ok(())).unwrap();
        let turns = Rc::new(Cell::new(0));
        let counted = turns.clone();
        let ticker = tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(1)).await;
                counted.set(counted.get() + 1);
            }
        });
        let scope = CallScope::new(Duration::from_secs(20), None, None);
        let function = vm.run(&scope, |ctx| {
            ctx.eval::<(), _>(include_str!("tests/assert.js"))?;
            let function: Value = ctx.eval(format!("(async () => {{ {body} }})"))?;
            Ok(VmHandle::of(ctx).keep(ctx, function))
        });
        let function = function.unwrap_or_else(|error| panic!("{error}"));
        vm.call(&scope, &function, |_, _| Ok(()), |_, _| Ok(()))
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        ticker.abort();
        turns.get()
    })
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

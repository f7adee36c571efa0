//! Timers, in a VM.

use std::rc::Rc;
use std::time::Duration;

use crate::tests::Files;
use crate::{CallScope, Vm, VmOptions};

fn scope() -> Rc<CallScope> {
    CallScope::new(Duration::from_secs(5), None, None)
}

/// Loads a module that exports `run`; what it returns, as JSON.
fn call(source: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let files = Files::new(&[("main.ts", source)]);
        let program = files.program(&["./main"]);
        let vm = Vm::new(program.clone(), None, VmOptions::default(), |_| Ok(())).unwrap();
        let module = vm.load(program.entry("./main").unwrap()).await.unwrap();
        let scope = scope();
        let run = vm.run(&scope, |ctx| module.function(ctx, "run")).unwrap().unwrap();
        let call = vm.call(
            &scope,
            &run,
            |_, _| Ok(()),
            |ctx, value| {
                ctx.json_stringify(value)?.map_or(Ok("undefined".to_owned()), |json| json.to_string())
            },
        );
        let result = call.await.unwrap_or_else(|error| panic!("{error}"));
        vm.abort(&scope);
        // The loop drops aborted tasks in their turn, some dozens a round.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(vm.pending_ops(), 0, "an operation outlived its scope");
        result
    })
}

#[test]
fn timers_fire_in_order_with_their_arguments() {
    let found = call(
        "export const run = () => new Promise((resolve) => {
           const seen: unknown[] = [];
           setTimeout((...a) => { seen.push('late', ...a); resolve(seen); }, 20, 1, 2);
           setTimeout(() => seen.push('early'), 1);
           setImmediate(() => seen.push('now'));
           clearTimeout(setTimeout(() => seen.push('never'), 2));
           clearTimeout(undefined); clearTimeout(12345); clearInterval('x' as never);
           seen.push('sync');
         })",
    );
    assert_eq!(found, r#"["sync","now","early","late",1,2]"#);
}

#[test]
fn intervals_repeat_until_they_are_cleared() {
    let found = call(
        "export const run = () => new Promise((resolve) => {
           let count = 0;
           const id = setInterval(() => { if (++count === 3) { clearInterval(id); setTimeout(() => resolve(count), 10); } }, 1);
         })",
    );
    assert_eq!(found, "3");
}

#[test]
fn live_timers_are_capped_and_come_free_again() {
    let found = call(
        "export const run = () => {
           const ids = [];
           let name = '';
           try { for (let i = 0; i < 2000; i++) ids.push(setTimeout(() => {}, 1e6)); } catch (error) { name = error.name; }
           const count = ids.length;
           for (const id of ids) clearTimeout(id);
           setTimeout(() => {}, 1e6);
           return [name, count];
         }",
    );
    assert_eq!(found, r#"["RangeError",1000]"#);
}

#[test]
fn abort_signal_timeout_aborts() {
    let found = call(
        "export const run = () => new Promise((resolve) => {
           const signal = AbortSignal.timeout(5);
           signal.onabort = () => resolve([signal.aborted, signal.reason.name, signal.reason.code]);
         })",
    );
    assert_eq!(found, r#"[true,"TimeoutError",23]"#);
}

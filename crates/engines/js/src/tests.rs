//! Tests of the engine as a whole: budgets, promises, operations, errors, memory.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use polygate_pipeline::{
    Failure, LocalBoxFuture, LogLine, LogSink, Outbound, OutboundOptions, Request, Response, Services,
};
use rquickjs::function::Func;
use rquickjs::{Ctx, Function, Promise, Value};

use crate::ops::{spawn_op, spawn_promise};
use crate::{
    Cache, CallError, CallScope, CompileInput, Death, Entry, Kept, LoadedModule, OpError, Program,
    ScriptError, Vm, VmOptions, compile,
};

/// Files of a project in a folder that lives as long as this.
pub(crate) struct Files(pub(crate) std::path::PathBuf);

impl Files {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("polygate-js-{}-{number}", std::process::id()));
        let files_in = Self(root);
        for (name, text) in files {
            files_in.write(name, text);
        }
        files_in
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn input(&self, entries: &[&str]) -> CompileInput {
        CompileInput {
            root: self.0.clone(),
            entries: entries.iter().map(|entry| Entry::new(*entry)).collect(),
            builtins: Vec::new(),
        }
    }

    pub(crate) fn program(&self, entries: &[&str]) -> Arc<Program> {
        compile(&self.input(entries), &Cache::new()).unwrap_or_else(|problems| panic!("{problems:#?}"))
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Nowhere;

impl Outbound for Nowhere {
    fn send(&self, _: Request, _: OutboundOptions) -> LocalBoxFuture<'static, Result<Response, Failure>> {
        Box::pin(std::future::pending())
    }
}

#[derive(Default)]
struct Lines(RefCell<Vec<String>>);

impl LogSink for Lines {
    fn log(&self, line: LogLine) {
        self.0.borrow_mut().push(line.message);
    }
}

/// `sleep(ms)` as a promise, `later(ms, f)` as a callback, `never()`.
fn timers(ctx: &Ctx<'_>) -> rquickjs::Result<()> {
    fn sleep<'js>(ctx: Ctx<'js>, ms: u64) -> rquickjs::Result<Promise<'js>> {
        spawn_promise(&ctx, async move {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            Ok::<_, OpError>(ms as f64)
        })
    }
    fn later<'js>(ctx: Ctx<'js>, ms: u64, f: Function<'js>) -> rquickjs::Result<()> {
        let f = crate::VmHandle::of(&ctx).keep(&ctx, f.into_value());
        spawn_op(&ctx, move |op| async move {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            op.finish(|ctx| f.function(ctx).unwrap().call(()));
        })?;
        Ok(())
    }
    fn never(ctx: Ctx<'_>) -> rquickjs::Result<Promise<'_>> {
        spawn_promise(&ctx, std::future::pending::<Result<(), OpError>>())
    }
    fn fails(ctx: Ctx<'_>) -> rquickjs::Result<Promise<'_>> {
        spawn_promise(&ctx, async { Err::<(), _>(OpError::Type("no such thing".to_owned())) })
    }
    let globals = ctx.globals();
    globals.set("sleep", Func::from(sleep))?;
    globals.set("later", Func::from(later))?;
    globals.set("never", Func::from(never))?;
    globals.set("fails", Func::from(fails))
}

struct Bench {
    vm: Vm,
    module: LoadedModule,
    lines: Rc<Lines>,
}

impl Bench {
    fn function(&self, name: &str) -> Kept {
        let scope = scope(1000);
        self.vm.run(&scope, |ctx| self.module.function(ctx, name)).unwrap().unwrap()
    }

    async fn call(&self, scope: &Rc<CallScope>, name: &str) -> Result<String, CallError> {
        let function = self.function(name);
        self.vm.call(scope, &function, |_, _| Ok(()), text).await
    }
}

fn text<'js>(ctx: &Ctx<'js>, value: Value<'js>) -> rquickjs::Result<String> {
    match ctx.json_stringify(value)? {
        Some(json) => json.to_string(),
        None => Ok("undefined".to_owned()),
    }
}

fn scope(ms: u64) -> Rc<CallScope> {
    CallScope::new(Duration::from_millis(ms), None, None)
}

fn script(error: Result<String, CallError>) -> ScriptError {
    match error {
        Err(CallError::Script(error)) => *error,
        other => panic!("not a script error: {other:?}"),
    }
}

fn services() -> (Services, Rc<Lines>) {
    let lines = Rc::new(Lines::default());
    (Services::new(Rc::new(Nowhere), lines.clone(), Arc::default(), 0), lines)
}

async fn bench_with(source: &str, options: VmOptions) -> Result<Bench, CallError> {
    let files = Files::new(&[("main.ts", source)]);
    let program = files.program(&["./main"]);
    let (services, lines) = services();
    let vm = Vm::new(program.clone(), Some(services), options, timers)?;
    let module = vm.load(program.entry("./main").unwrap()).await?;
    Ok(Bench { vm, module, lines })
}

async fn bench(source: &str) -> Bench {
    bench_with(source, VmOptions::default()).await.unwrap_or_else(|error| panic!("{error}"))
}

/// Runs a test the way a worker runs: one thread, local tasks.
fn local<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

#[test]
fn settled_results_are_ready_at_once() {
    local(async {
        let bench = bench(
            "export const f = () => 1; export async function g(): Promise<number> { await null; return 2 }",
        )
        .await;
        for (name, expected) in [("f", "1"), ("g", "2")] {
            let function = bench.function(name);
            let call = bench.vm.call(&scope(50), &function, |_, _| Ok(()), text);
            assert_eq!(call.into_ready().ok().unwrap().unwrap(), expected);
        }
    });
}

#[test]
fn pending_results_wake_the_caller() {
    local(async {
        let bench = bench("export async function f() { return (await sleep(5)) + await sleep(5) }").await;
        assert_eq!(bench.call(&scope(50), "f").await.unwrap(), "10");
        assert_eq!(bench.vm.pending_ops(), 0);
    });
}

#[test]
fn arguments_reach_the_function() {
    use crate::{FEW_ARGS, MAX_ARGS};

    local(async {
        let bench = bench("export const f = (a: string, b: number) => a + b").await;
        let function = bench.function("f");
        let args = |_: &Ctx<'_>, args: &mut crate::Arguments<'_>| {
            args.push("x")?;
            args.push(7)
        };
        assert_eq!(bench.vm.call(&scope(50), &function, args, text).await.unwrap(), "\"x7\"");
        for (many, count, fits) in [
            (false, FEW_ARGS, true),
            (false, FEW_ARGS + 1, false),
            (true, MAX_ARGS, true),
            (true, MAX_ARGS + 1, false),
        ] {
            let more = move |_: &Ctx<'_>, args: &mut crate::Arguments<'_>| {
                if many {
                    args.expect_many();
                }
                (0..count).try_for_each(|i| args.push(i))
            };
            assert_eq!(bench.vm.call(&scope(50), &function, more, text).await.is_ok(), fits, "{count}");
        }
    });
}

#[test]
fn endless_code_is_stopped_and_the_vm_lives_on() {
    local(async {
        let bench = bench(
            "export function loop() { for (;;) {} }
             export async function microtasks() { while (true) await null }
             export function regexp() { return /(a+)+$/.test('a'.repeat(64) + 'b') }
             export async function later() { await sleep(1); for (;;) {} }
             export function caught() { try { for (;;) {} } catch { return 'caught' } finally { for (;;) {} } }
             export async function asyncCaught() { for (;;) { try { for (;;) {} } catch {} } }
             export const fine = () => 'fine'",
        )
        .await;
        for name in ["loop", "microtasks", "regexp", "later", "caught", "asyncCaught"] {
            let scope = scope(20);
            let start = Instant::now();
            match bench.call(&scope, name).await {
                Err(CallError::CpuExceeded { used, limit }) => assert!(used >= limit, "{name}: {used:?}"),
                other => panic!("{name}: {other:?}"),
            }
            assert!(start.elapsed() < Duration::from_millis(500), "{name} took {:?}", start.elapsed());
            assert!(scope.is_exceeded());
            assert!(!bench.vm.is_dead(), "{name}");
            assert_eq!(bench.call(&self::scope(50), "fine").await.unwrap(), "\"fine\"", "after {name}");
        }
    });
}

#[test]
fn a_storm_of_jobs_kills_the_vm() {
    local(async {
        let bench = bench(
            "export function storm() { function p() { Promise.resolve().then(p); Promise.resolve().then(p) } p() }
             export const waits = () => never()",
        )
        .await;
        let waits = bench.function("waits");
        let waiting = bench.vm.call(&scope(50), &waits, |_, _| Ok(()), text);
        assert!(matches!(bench.call(&scope(20), "storm").await, Err(CallError::CpuExceeded { .. })));
        assert_eq!(bench.vm.death(), Some(Death::JobStorm));
        assert!(matches!(waiting.await, Err(CallError::VmDead(Death::JobStorm))));
    });
}

#[test]
fn reaching_the_memory_limit_kills_the_vm_and_not_the_process() {
    local(async {
        for source in [
            "export function f() { const a = []; for (;;) a.push({ x: a.length }) }",
            "export async function f() { const a: any[] = []; for (;;) { a.push(new Array(100).fill(0)); await null } }",
            "export function f() { const a = []; for (let s = 'x';; s = s.slice(1) + 'yz') a.push(s.repeat(1000)) }",
            "export async function f() { const a: any[] = []; for (;;) { try { a.push(new Uint8Array(1e6)) } catch {} } }",
            "export async function f() { const p: any[] = []; for (;;) p.push((async () => { throw new Error('x') })().catch(() => {})) }",
            "export function f() { return new ArrayBuffer(1e9) }",
        ] {
            let options = VmOptions { memory_limit: 16 << 20, ..VmOptions::default() };
            let bench = bench_with(source, options).await.unwrap();
            let result = bench.call(&scope(5000), "f").await;
            assert!(
                matches!(result, Err(CallError::MemoryExceeded { limit }) if limit == 16 << 20),
                "{result:?}"
            );
            assert_eq!(bench.vm.death(), Some(Death::Memory), "{source}");
            assert!(bench.vm.memory_peak() <= (16 << 20) + crate::sys::RESERVE, "{}", bench.vm.memory_peak());
        }
    });
}

#[test]
fn deep_recursion_is_an_exception() {
    local(async {
        let bench = bench("export function f() { return f() + 1 }; export async function g(): Promise<any> { return await g() }").await;
        for name in ["f", "g"] {
            assert_eq!(script(bench.call(&scope(500), name).await).name, "RangeError", "{name}");
        }
    });
}

#[test]
fn errors_name_the_typescript_they_come_from() {
    local(async {
        let bench = bench(
            "interface Unused { a: number }\n\
             class Refused extends Error {\n\
               constructor(readonly status: number, message: string) { super(message); this.name = 'Refused' }\n\
             }\n\
             function inner(): never {\n\
               throw new Refused(403, 'not you')\n\
             }\n\
             export async function f(): Promise<void> {\n\
               try {\n\
                 await sleep(1)\n\
                 inner()\n\
               } catch (error) {\n\
                 throw new TypeError('outer', { cause: error })\n\
               }\n\
             }\n\
             export function g() { throw 'a string' }",
        )
        .await;
        let error = script(bench.call(&scope(50), "f").await);
        assert_eq!((error.name.as_str(), error.message.as_str()), ("TypeError", "outer"));
        assert!(error.stack.contains("main.ts:13:"), "{}", error.stack);
        let cause = error.cause.unwrap();
        assert_eq!((cause.name.as_str(), cause.message.as_str()), ("Refused", "not you"));
        assert!(cause.stack.contains("at inner (main.ts:6:"), "{}", cause.stack);
        assert!(cause.stack.contains("main.ts:11:"), "{}", cause.stack);
        assert_eq!(cause.properties["status"], 403);
        let error = script(bench.call(&scope(50), "g").await);
        assert_eq!((error.name.as_str(), error.message.as_str()), ("", "a string"));
    });
}

#[test]
fn rejections_nobody_handles_are_logged_once() {
    local(async {
        let bench = bench(
            "export function f() {\n  Promise.reject(new Error('lost'));\n  const kept = Promise.reject(new Error('found')); kept.catch(() => {});\n  return 1 }
             export async function g() { throw new Error('the caller has it') }",
        )
        .await;
        assert_eq!(bench.call(&scope(50), "f").await.unwrap(), "1");
        assert!(bench.call(&scope(50), "g").await.is_err());
        let lines = bench.lines.0.borrow();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("lost") && lines[0].contains("main.ts:2:"), "{lines:?}");
    });
}

#[test]
fn operations_fail_into_javascript() {
    local(async {
        let bench = bench("export async function f() { try { await fails() } catch (e: any) { return e.name + ': ' + e.message } }").await;
        assert_eq!(bench.call(&scope(50), "f").await.unwrap(), "\"TypeError: no such thing\"");
    });
}

#[test]
fn operations_are_capped_and_stopped_by_abort() {
    local(async {
        let options = VmOptions { max_pending_ops: 10, ..VmOptions::default() };
        let bench = bench_with(
            "export function f() { for (let i = 0; i < 11; i++) never() }
             export let ran = 0; export function g() { later(1, () => { ran++ }); return never() }
             export const count = () => ran",
            options,
        )
        .await
        .unwrap();
        assert_eq!(script(bench.call(&scope(50), "f").await).name, "RangeError");
        assert_eq!(bench.vm.pending_ops(), 10);
        let bench = self::bench("export let ran = 0; export function g() { later(5, () => { ran++ }); return never() }; export const count = () => ran").await;
        let scope = scope(50);
        let function = bench.function("g");
        let call = bench.vm.call(&scope, &function, |_, _| Ok(()), text);
        bench.vm.abort(&scope);
        assert!(matches!(call.await, Err(CallError::Aborted)));
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(bench.vm.pending_ops(), 0);
        assert_eq!(bench.call(&self::scope(50), "count").await.unwrap(), "0");
    });
}

#[test]
fn continuations_are_charged_to_whoever_started_them() {
    local(async {
        let bench = bench("export async function f(n: number) { await sleep(2); const end = n; let x = 0; for (let i = 0; i < end; i++) x += i; return x > 0 }").await;
        let function = bench.function("f");
        let (busy, idle) = (scope(1000), scope(1000));
        let a = bench.vm.call(&busy, &function, |_, args| args.push(2_000_000), text);
        let b = bench.vm.call(&idle, &function, |_, args| args.push(10), text);
        let _ = tokio::join!(a, b);
        assert!(busy.cpu_used() > idle.cpu_used() * 4, "{:?} {:?}", busy.cpu_used(), idle.cpu_used());
    });
}

#[test]
fn code_from_strings_is_refused() {
    local(async {
        let bench = bench(
            "const tries: (() => any)[] = [
               () => eval('1'), () => (0, eval)('1'), () => new Function('return 1')(), () => Function('return 1')(),
               () => (function () {}).constructor('return 1')(), () => (async () => {}).constructor('return 1')(),
               () => (function* () {}).constructor('yield 1')(), () => (async function* () {}).constructor('yield 1')(),
               () => Reflect.construct(Function, ['return 1']),
               () => Object.getPrototypeOf((async () => {}).constructor)('return 1') ];
             export const f = () => tries.map((t) => { try { t(); return 'ran' } catch (e: any) { return e.name } });
             export const g = () => [f instanceof Function, typeof Function.prototype.call, eval(5 as any)]",
        )
        .await;
        let results: Vec<String> = serde_json::from_str(&bench.call(&scope(50), "f").await.unwrap()).unwrap();
        assert_eq!(results, vec!["EvalError"; 10]);
        assert_eq!(bench.call(&scope(50), "g").await.unwrap(), "[true,\"function\",5]");
    });
}

#[test]
fn modules_that_fail_or_loop_while_they_load_are_errors() {
    local(async {
        let error = bench_with("export const a = 1;\nthrow new Error('at load')", VmOptions::default()).await;
        assert!(
            matches!(&error, Err(CallError::Script(e)) if e.stack.contains("main.ts:2:")),
            "{:?}",
            error.err()
        );
        let options = VmOptions { load_cpu: Duration::from_millis(30), ..VmOptions::default() };
        let error = bench_with("for (;;) {}", options).await;
        assert!(matches!(error, Err(CallError::CpuExceeded { .. })));
        let bench = bench("const x = await sleep(2); export const f = () => x").await;
        assert_eq!(bench.call(&scope(50), "f").await.unwrap(), "2");
    });
}

#[test]
fn dropping_a_vm_frees_everything() {
    local(async {
        let files = Files::new(&[(
            "main.ts",
            "const big = new Array(50_000).fill('x').map((x, i) => x + i);
             export async function f() { const all = [never(), sleep(60_000)]; later(60_000, () => big.length); await Promise.all(all) }",
        )]);
        let program = files.program(&["./main"]);
        let entry = program.entry("./main").unwrap().to_owned();
        let (services, _) = services();
        for round in 0..200 {
            let vm = Vm::new(program.clone(), Some(services.clone()), VmOptions::default(), timers).unwrap();
            let module = vm.load(&entry).await.unwrap();
            let function = vm.run(&scope(50), |ctx| module.function(ctx, "f")).unwrap().unwrap();
            let call = vm.call(&scope(50), &function, |_, _| Ok(()), text);
            assert_eq!(vm.pending_ops(), 3);
            let memory = vm.0.state.memory.clone();
            let state = Rc::downgrade(&vm.0.state);
            assert!(memory.used() > 1 << 20);
            if round % 2 == 0 {
                drop(call);
                drop(vm);
                drop((function, module));
            } else {
                drop((function, module));
                drop(vm);
                drop(call);
            }
            tokio::task::yield_now().await;
            assert_eq!(memory.used(), 0, "round {round}");
            assert!(state.upgrade().is_none(), "round {round}");
        }
    });
}

/// Prints what one call costs; run by hand: `cargo test --release -p polygate-engine-js call_cost -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn call_cost() {
    local(async {
        let bench =
            bench("export async function f(a: number) { return a }; export const g = (a: number) => a").await;
        for name in ["f", "g"] {
            let function = bench.function(name);
            let start = Instant::now();
            const ROUNDS: u32 = 200_000;
            for _ in 0..ROUNDS {
                let scope = scope(50);
                let call =
                    bench.vm.call(&scope, &function, |_, args| args.push(1), |_, value| Ok(value.as_int()));
                assert_eq!(call.into_ready().ok().unwrap().unwrap(), Some(1));
            }
            println!("{name}: {:?} a call", start.elapsed() / ROUNDS);
        }
    });
}

/// Memory may run out at any allocation: every one of them must unwind.
#[test]
fn memory_may_run_out_anywhere() {
    local(async {
        let files = Files::new(&[(
            "main.ts",
            "class A { #x = 1; static async *gen() { for (let i = 0; ; i++) yield { i } } }
             export const kept: any[] = [];
             export async function f() {
               const fill = async (n: number): Promise<any> => { kept.push(new A(), /x+/.exec('x'), new Map([[n, {}]])); await null; return n ? [await fill(n - 1), await Promise.all([fill(0), fill(1)])] : JSON.parse('[1,{\"a\":2}]') };
               for (let i = 0; ; i++) { try { kept.push(await fill(3), `${i}`.padStart(50)); for await (const x of A.gen()) { kept.push(x); if (x.i > 5) break } } catch (e) { kept.push(e) } finally { kept.push([i]) } }
             }",
        )]);
        let program = files.program(&["./main"]);
        let entry = program.entry("./main").unwrap().to_owned();
        let base = {
            let vm = Vm::new(program.clone(), None, VmOptions::default(), timers).unwrap();
            let _module = vm.load(&entry).await.unwrap();
            vm.memory_used()
        };
        for step in 0..150 {
            let options = VmOptions { memory_limit: base + 100_000 + step * 1_009, ..VmOptions::default() };
            let vm = Vm::new(program.clone(), None, options, timers).unwrap();
            let module = vm.load(&entry).await.unwrap();
            let function = vm.run(&scope(1000), |ctx| module.function(ctx, "f")).unwrap().unwrap();
            let result = vm.call(&scope(2000), &function, |_, _| Ok(()), text).await;
            assert!(matches!(result, Err(CallError::MemoryExceeded { .. })), "step {step}: {result:?}");
        }
    });
}

/// The stack may end at any call, native ones between two functions included.
#[test]
fn the_stack_may_end_anywhere() {
    local(async {
        let files = Files::new(&[(
            "main.ts",
            "async function plain(n: number): Promise<any> { return await plain(n + 1) }
             async function nested(n: number): Promise<any> { try { return await [n].map((x) => nested(x + 1))[0] } catch (e) { throw new Error('x', { cause: e }) } }
             async function* generate(n: number): any { yield* generate(n + 1) }
             const proxy: any = new Proxy({}, { get: (t, k, r) => r[k] });
             class Deep { toJSON() { return JSON.stringify(this) } get [Symbol.toStringTag](): string { return String(this) } }
             export async function f() {
               const names = [];
               for (const t of [() => plain(0), () => nested(0), () => generate(0).next(), () => proxy.x, () => JSON.stringify(new Deep()), () => `${new Deep()}`]) {
                 try { await t(); names.push('none') } catch (e: any) { names.push(e.name) }
               }
               return names }",
        )]);
        let program = files.program(&["./main"]);
        let entry = program.entry("./main").unwrap().to_owned();
        for step in 0..100 {
            let options = VmOptions { stack_size: 96 * 1024 + step * 16, ..VmOptions::default() };
            let vm = Vm::new(program.clone(), None, options, timers).unwrap();
            let module = vm.load(&entry).await.unwrap();
            let function = vm.run(&scope(1000), |ctx| module.function(ctx, "f")).unwrap().unwrap();
            let result = vm.call(&scope(2000), &function, |_, _| Ok(()), text).await.unwrap();
            let expected = r#"["RangeError","Error","RangeError","RangeError","RangeError","RangeError"]"#;
            assert_eq!(result, expected, "step {step}");
        }
    });
}

//! Tests of the compiler: what it finds, what it refuses, and that the result runs.

use std::rc::Rc;
use std::time::Duration;

use polygate_pipeline::{Diagnostic, Span};
use rquickjs::Value;

use super::{Cache, CompileInput, Entry, compile};
use crate::tests::Files;
use crate::{CallError, CallScope, Vm, VmOptions};

fn problems(files: &Files, entries: &[&str]) -> Vec<Diagnostic> {
    compile(&files.input(entries), &Cache::new()).err().unwrap_or_default()
}

/// What the default export of `./main` gives, as JSON.
fn run(input: &CompileInput) -> Result<String, CallError> {
    let program = compile(input, &Cache::new()).unwrap_or_else(|problems| panic!("{problems:#?}"));
    // Twice: the second VM loads the bytecode that the first one wrote.
    run_program(&program)?;
    run_program(&program)
}

fn run_program(program: &std::sync::Arc<crate::Program>) -> Result<String, CallError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let vm = Vm::new(program.clone(), None, VmOptions::default(), |ctx| {
            let process = rquickjs::Object::new(ctx.clone())?;
            let env = rquickjs::Object::new(ctx.clone())?;
            env.set("NODE_ENV", "production")?;
            process.set("env", env)?;
            ctx.globals().set("process", process)
        })?;
        let module = vm.load(program.entry("./main").unwrap()).await?;
        let scope: Rc<CallScope> = CallScope::new(Duration::from_secs(5), None, None);
        let function = vm.run(&scope, |ctx| module.function(ctx, "default"))?.expect("a default export");
        vm.call(
            &scope,
            &function,
            |_, _| Ok(()),
            |ctx, value: Value<'_>| {
                ctx.json_stringify(value)?.map_or(Ok("undefined".to_owned()), |json| json.to_string())
            },
        )
        .await
    })
}

fn runs(files: &[(&str, &str)], expected: &str) {
    let files = Files::new(files);
    let result = run(&files.input(&["./main"])).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(result, expected);
}

#[test]
fn typescript_runs() {
    runs(
        &[(
            "main.ts",
            "enum Color { Red = 1, Blue }
             const enum Size { Small = 's' }
             namespace Names { export const a = 'n'; }
             type T = { a: number };
             abstract class Base<T> { constructor(protected readonly x: T, public y?: number) {} abstract f(): T }
             class Sub extends Base<number> { f() { return this.x! satisfies number as number } }
             function log(target: any, key: string, d: PropertyDescriptor) { const f = d.value; d.value = function () { return 'logged ' + f.call(this) }; return d }
             function named(name: string) { return (target: any) => { target.label = name } }
             @named('it') class Decorated { declare gone: string; @log m() { return 'm' } }
             export default () => [Color.Blue, Color[1], Size.Small, Names.a, new Sub(3).f(), new Decorated().m(), (Decorated as any).label]",
        )],
        r#"[2,"Red","s","n",3,"logged m","it"]"#,
    );
}

#[test]
fn using_disposes() {
    runs(
        &[(
            "main.ts",
            "export default async () => {
               const log: string[] = [];
               { using a = { [Symbol.dispose]() { log.push('a') } }; using b = { [Symbol.dispose]() { log.push('b') } }; log.push('in') }
               { await using c = { async [Symbol.asyncDispose]() { await null; log.push('c') } } }
               try { using d = { [Symbol.dispose]() { throw new Error('d') } }; throw new Error('body') } catch (e: any) { log.push(e.name) }
               return log }",
        )],
        r#"["in","b","a","c","SuppressedError"]"#,
    );
}

#[test]
fn project_imports_resolve() {
    runs(
        &[
            (
                "main.ts",
                "import a from './lib'; import { b } from './lib/b.js'; import * as c from '@lib/c'; import data, { version } from './data.json';
                 import { d } from '#d'; import type { T } from './types'; import { T as T2, type U, value } from './types'; export { T } from './types';
                 export default async () => { const lazy = await import('./lazy'); const t: T2 | T | U = 1; return [a, b, c.c, data.name, version, d, lazy.default, value, t] }",
            ),
            ("lib/index.ts", "export default 'index'"),
            ("lib/b.ts", "export const b = 'b'"),
            ("lib/c.mjs", "export const c = 'c'"),
            ("lazy.mts", "export default 'lazy'"),
            ("types.ts", "export type T = number; export interface U { a: 1 }; export const value = 'v'"),
            ("internal/d.ts", "export const d = 'd'"),
            ("data.json", r#"{"name": "n", "version": 2, "a b": 1, "__proto__": 1}"#),
            ("package.json", r##"{"imports": {"#d": "./internal/d.ts"}}"##),
            ("tsconfig.json", r#"{"compilerOptions": {"baseUrl": ".", "paths": {"@lib/*": ["lib/*"]}} /* a comment */}"#),
        ],
        r#"["index","b","c","n",2,"d","lazy","v",1]"#,
    );
}

#[test]
fn packages_resolve_by_exports_and_conditions() {
    runs(
        &[
            (
                "main.ts",
                "import a from 'a'; import sub from 'a/sub'; import b from 'b'; import c from 'c'; import { d } from '@s/d'; import f from 'f';
                 export default () => [a, sub, b, c, d, f]",
            ),
            ("node_modules/a/package.json", r#"{"type": "module", "exports": {".": {"node": "./node.js", "workerd": "./w.js", "default": "./d.js"}, "./sub": {"import": "./sub.mjs", "require": "./sub.cjs"}}}"#),
            ("node_modules/a/w.js", "export default 'workerd'"),
            ("node_modules/a/sub.mjs", "export default 'sub esm'"),
            ("node_modules/b/package.json", r#"{"main": "./main.js", "module": "./module.js"}"#),
            ("node_modules/b/module.js", "export default 'module field'"),
            ("node_modules/c/package.json", r#"{"main": "./main.js", "browser": {"./main.js": "./browser.js", "fs": false}}"#),
            ("node_modules/c/browser.js", "var fs = require('fs'); module.exports = 'browser map ' + typeof fs.readFile"),
            ("node_modules/@s/d/package.json", r#"{"main": "lib/index.js"}"#),
            ("node_modules/@s/d/lib/index.js", "exports.d = 'scoped'"),
            ("node_modules/f/index.js", "module.exports = 'index'"),
        ],
        r#"["workerd","sub esm","module field","browser map undefined","scoped","index"]"#,
    );
}

#[test]
fn commonjs_behaves_as_in_node() {
    runs(
        &[
            (
                "main.ts",
                "import whole, { one, two, toString as own } from './m.cjs'; import babel, { named } from './babel.cjs'; import * as all from './dynamic.cjs';
                 import umd from './umd.cjs'; import cycle from './cycle-a.cjs'; import { starred } from './star.cjs'; import esm from './uses-esm.cjs'; import json from './uses-json.cjs';
                 import optional from './optional.cjs'; import { made } from './star.mjs'; import './sideeffect.cjs';
                 export default () => [whole.one, one, two, typeof own, babel, named, all.made, umd, cycle, starred, esm, json, optional, (globalThis as any).effects, made]",
            ),
            ("m.cjs", "#!/usr/bin/env node\n'use strict'; exports.one = 1; Object.defineProperty(exports, 'two', { get: () => 2 }); if (false) require('./never.cjs'); if (this !== exports) throw new Error('this'); return; throw new Error('after return')"),
            ("never.cjs", "throw new Error('this file must not run')"),
            ("babel.cjs", "Object.defineProperty(exports, '__esModule', { value: true }); exports.default = 'the default'; exports.named = 'the named'"),
            ("dynamic.cjs", "for (const name of ['made']) module.exports[name] = 'made by a loop'"),
            ("umd.cjs", "(function (root, factory) { if (typeof define === 'function' && define.amd) define([], factory); else if (typeof module === 'object' && module.exports) module.exports = factory(); else root.umd = factory() })(this, function () { function inner(require) { return require('./not-a-module') } return inner((x) => 'umd ' + x) })"),
            ("cycle-a.cjs", "exports.a = 'a'; const b = require('./cycle-b.cjs'); module.exports = [exports.a, b.b, b.seen]"),
            ("cycle-b.cjs", "const a = require('./cycle-a.cjs'); exports.b = 'b'; exports.seen = a.a"),
            ("star.cjs", "function __exportStar(m, e) { for (const k in m) e[k] = m[k] } __exportStar(require('./starred.cjs'), exports)"),
            ("starred.cjs", "exports.starred = 'starred'"),
            ("uses-esm.cjs", "const { x, default: d } = require('./esm.mjs'); module.exports = x + d + require('./esm.mjs').__esModule"),
            ("esm.mjs", "export const x = 'x'; export default 'd'"),
            ("uses-json.cjs", "module.exports = require('./data.json').list.length"),
            ("data.json", r#"{"list": [1, 2, 3]}"#),
            ("star.mjs", "export * from './dynamic.cjs'; export const own = 1"),
            ("optional.cjs", "try { require('not-installed') } catch (e) { module.exports = e.code }"),
            ("sideeffect.cjs", "globalThis.effects = (globalThis.effects || 0) + 1; require('./sideeffect.cjs')"),
        ],
        r#"[1,1,2,"function","the default","the named","made by a loop","umd ./not-a-module",["a","b","a"],"starred","xdtrue",3,"MODULE_NOT_FOUND",1,"made by a loop"]"#,
    );
}

#[test]
fn builtins_are_supplied_by_the_caller() {
    let files = Files::new(&[(
        "main.ts",
        "import { a } from '@polygate/runtime'; import { a as b } from '@other/runtime'; import { Buffer } from 'node:buffer'; export default () => [a, a === b, Buffer]",
    )]);
    let mut input = files.input(&["./main"]);
    input.builtins = vec![
        ("@polygate/runtime".to_owned(), "export const a = 'ours'".to_owned()),
        ("@other/runtime".to_owned(), "export * from '@polygate/runtime'".to_owned()),
        ("node:buffer".to_owned(), "export const Buffer = 'ours too'".to_owned()),
    ];
    assert_eq!(run(&input).unwrap(), r#"["ours",true,"ours too"]"#);
}

#[test]
fn every_problem_is_reported_at_its_place() {
    let files = Files::new(&[
        (
            "main.ts",
            "import a from './moduls/a';\nimport { fooo, Type } from './lib';\nimport zod from 'zod';\nimport fs from 'node:fs';\nimport up from '../outside';\nimport lef from 'left';\nexport const ok = [a, fooo, zod, fs, up, lef] as Type[];",
        ),
        ("lib.ts", "export const foo = 1; export type Type = number"),
        ("broken.ts", "export const x: = 1\n"),
        ("data.json", "{\n  \"a\": }"),
        ("second.js", "import './broken';\nimport './data.json';\nimport 'uses-node'"),
        ("node_modules/uses-node/index.js", "\nconst path = require('path')"),
        ("modules/a.ts", ""),
        ("package.json", r#"{"dependencies": {"zod": "4", "left-pad": "1"}}"#),
    ]);
    std::fs::write(files.0.parent().unwrap().join("outside.js"), "export default 1").unwrap();
    let found = problems(&files, &["./main", "./second"]);
    let at = |file: &str, line: u32, code: &str| {
        let found: Vec<_> = found
            .iter()
            .filter(|p| {
                p.file.as_deref() == Some(file) && p.code == code && p.span.is_some_and(|s| s.line == line)
            })
            .collect();
        assert_eq!(found.len(), 1, "{code} in {file}:{line} of {found:#?}");
        found[0]
    };
    assert_eq!(at("main.ts", 1, "unresolved-import").span, Some(Span { line: 1, column: 15, length: 12 }));
    let missing = at("main.ts", 2, "missing-export");
    assert_eq!(missing.nearest.as_deref(), Some("foo"));
    assert_eq!(missing.span.unwrap().column, 10);
    assert!(at("main.ts", 3, "package-not-installed").message.contains("zod"));
    assert!(at("main.ts", 4, "node-module").message.contains("\"fs\""));
    at("main.ts", 5, "import-outside-project");
    assert_eq!(at("main.ts", 6, "unresolved-import").nearest.as_deref(), Some("left-pad"));
    at("broken.ts", 1, "unreadable-script");
    at("data.json", 2, "invalid-json");
    let node = at("node_modules/uses-node/index.js", 2, "node-module");
    assert!(node.message.contains("\"uses-node\"") && node.message.contains("\"path\""), "{}", node.message);
    assert_eq!(found.len(), 9, "{found:#?}");
}

#[test]
fn entries_are_checked_where_they_are_named() {
    let files = Files::new(&[
        ("modules/a.ts", "export function handler() {}\nexport default 1"),
        ("modules/b.cjs", "exports.x = 1"),
    ]);
    let entry = |specifier: &str, export: &str| Entry {
        specifier: specifier.to_owned(),
        export: Some(export.to_owned()),
        file: Some("config/policies.json".to_owned()),
        span: Some(Span { line: 4, column: 2, length: 1 }),
        export_span: Some(Span { line: 5, column: 2, length: 1 }),
    };
    let input = CompileInput {
        root: files.0.clone(),
        entries: vec![
            entry("./modules/a", "handlr"),
            entry("./modules/aa", "x"),
            entry("./modules/b", "y"),
            entry("./modules/a", "default"),
        ],
        builtins: Vec::new(),
    };
    let found = compile(&input, &Cache::new()).unwrap_err();
    assert_eq!(found.len(), 2, "{found:#?}");
    assert_eq!((found[0].code, found[0].span.unwrap().line), ("unresolved-import", 4));
    assert_eq!(found[0].nearest.as_deref(), Some("a"));
    assert_eq!((found[1].code, found[1].span.unwrap().line), ("missing-export", 5));
    assert_eq!(found[1].nearest.as_deref(), Some("handler"));
}

#[test]
fn only_changed_files_are_compiled_again() {
    let files = Files::new(&[
        ("main.ts", "import { a } from './a'; export default () => a"),
        ("a.ts", "export const a = 1"),
    ]);
    let cache = Cache::new();
    let first = compile(&files.input(&["./main"]), &cache).unwrap();
    assert_eq!(cache.compiled_files(), 2);
    files.write("a.ts", "export const a = 2");
    let second = compile(&files.input(&["./main"]), &cache).unwrap();
    assert_eq!(cache.compiled_files(), 3);
    assert_eq!(
        (run_program(&first).unwrap(), run_program(&second).unwrap()),
        ("1".to_owned(), "2".to_owned())
    );
    let main = |program: &crate::Program| program.module("main.ts").unwrap().bytecode.clone();
    assert!(std::sync::Arc::ptr_eq(&main(&first), &main(&second)) && main(&first).get().is_some());
}

#[test]
fn modules_cannot_be_named_at_run_time() {
    runs(
        &[
            (
                "main.ts",
                "const name = './secret'; import { x } from './other'; export default async () => { try { await import(name); return 'loaded' } catch (e: any) { return x + typeof e } }",
            ),
            ("other.ts", "import './secret'; export const x = 'refused '"),
            ("secret.ts", "export {}"),
        ],
        r#""refused object""#,
    );
}

/// What an export, and its twin if it has one, give or throw.
fn with_twin(source: &str, export: &str) -> (String, Option<String>) {
    let files = Files::new(&[("main.ts", source)]);
    let program = compile(&files.input(&["./main"]), &Cache::new()).unwrap_or_else(|p| panic!("{p:#?}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let vm = Vm::new(program.clone(), None, VmOptions::default(), |_| Ok(())).unwrap();
        let module = vm.load(program.entry("./main").unwrap()).await.unwrap();
        let direct = match program.module(crate::DIRECT) {
            Some(_) => Some(vm.load(crate::DIRECT).await.unwrap()),
            None => None,
        };
        let scope: Rc<CallScope> = CallScope::new(Duration::from_secs(5), None, None);
        let function = vm.run(&scope, |ctx| module.function(ctx, export)).unwrap().expect("the export");
        let twin = direct.and_then(|direct| {
            vm.run(&scope, |ctx| {
                let of = direct.export(ctx, "of")?.and_then(Value::into_function).expect("`of`");
                let twin: Option<Value<'_>> = of.call((function.get(ctx),))?;
                Ok(twin.map(|twin| vm.handle().keep(ctx, twin)))
            })
            .unwrap()
        });
        let text = |function| {
            let call = vm.call(
                &scope,
                function,
                |_, args| args.push(7),
                |ctx, value: Value<'_>| {
                    ctx.json_stringify(value)?.map_or(Ok("undefined".to_owned()), |json| json.to_string())
                },
            );
            async move { call.await.unwrap_or_else(|error| error.to_string()) }
        };
        let original = text(&function).await;
        let twin = match &twin {
            Some(twin) => Some(text(twin).await),
            None => None,
        };
        (original, twin)
    })
}

#[test]
fn an_asynchronous_function_that_never_awaits_has_a_twin() {
    let same = [
        ("export async function f(n: number) { return n + 1; }", "f"),
        ("export default async function (n: number) { return [n]; }", "default"),
        ("export default async function named(n: number) { return named.name; }", "default"),
        ("export default async (n: number) => ({ n });", "default"),
        ("export const f = async (n: number) => n * 2;", "f"),
        ("const f = async function (n: number) { return n; }; export { f as g };", "g"),
        ("export async function f(n: number): Promise<number> { throw new TypeError(`no ${n}`); }", "f"),
        ("export async function f(n: number) { return Promise.resolve(n); }", "f"),
        ("export async function f(n: number) { return { then(yes: any) { yes(n); } } as any; }", "f"),
        ("export async function f(n: number) { return (async () => await n)(); }", "f"),
        ("export async function f(n: number) { if (n > 0) return f(0).then((x) => x + 1); return n; }", "f"),
    ];
    for (source, export) in same {
        let (original, twin) = with_twin(source, export);
        let unstacked = |text: String| text.lines().next().unwrap_or_default().to_owned();
        assert_eq!(twin.map(unstacked), Some(unstacked(original)), "{source}");
    }
}

#[test]
fn what_awaits_or_is_not_what_it_was_has_none() {
    let none = [
        ("export async function f(n: number) { return await n; }", "f"),
        ("export async function f(n: number) { for await (const x of [n]) return x; }", "f"),
        (
            "export async function f(n: number) { await using x = { [Symbol.asyncDispose]() {} } as any; return n; }",
            "f",
        ),
        ("export function f(n: number) { return n; }", "f"),
        ("export let f = async (n: number) => n; f = async () => 8;", "f"),
        ("export async function f(n: number) { return n; }\n(f as any) = async () => 9;", "f"),
    ];
    for (source, export) in none {
        assert_eq!(with_twin(source, export).1, None, "{source}");
    }
}

#[test]
fn functions_with_twins_look_as_written() {
    runs(
        &[(
            "main.ts",
            "import * as self from './other';
             export default function () {
               const f = self.default as any;
               return [Object.keys(self), f.name, f.length, f.constructor.name, f(1) instanceof Promise, self.g.name];
             }",
        ), (
            "other.ts",
            "export default async function (n: number) { return n; }\nexport const g = async () => 1;",
        )],
        r#"[["default","g"],"default",1,"AsyncFunction",true,"g"]"#,
    );
}

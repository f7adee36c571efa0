//! console, reportError, performance, navigator.

use std::cell::RefCell;
use std::rc::Rc;

use polygate_pipeline::LogLevel;

use super::{eval, run, with};
use crate::web::console::set_log_hook;

fn lines(body: &str) -> Vec<(LogLevel, String)> {
    let lines = Rc::new(RefCell::new(Vec::new()));
    with(|ctx| {
        let sink = lines.clone();
        set_log_hook(ctx, Box::new(move |level, line| sink.borrow_mut().push((level, line.to_owned()))));
        eval(ctx, body);
    });
    lines.take()
}

fn texts(body: &str) -> Vec<String> {
    lines(body).into_iter().map(|(_, line)| line).collect()
}

#[test]
fn levels() {
    let found =
        lines("console.log(1); console.info(1); console.warn(1); console.error(1); console.debug(1);");
    let levels: Vec<_> = found.into_iter().map(|(level, _)| level).collect();
    assert!(matches!(
        levels[..],
        [LogLevel::Info, LogLevel::Info, LogLevel::Warn, LogLevel::Error, LogLevel::Debug]
    ));
}

#[test]
fn values_are_shown_as_node_shows_them() {
    let found = texts(
        r#"
      class Point { constructor() { this.x = 1; } }
      const circle = { name: 'c' }; circle.self = circle;
      console.log('a', 1, -0, 2n, null, undefined, true, Symbol('s'));
      console.log({ a: 1, 'b-c': 'it\'s', [Symbol('k')]: [1, , 'x'], f() {}, get g() { return 1; } });
      console.log([new Map([['k', { v: 1 }]]), new Set([1]), new Date(0), /x/g, new Uint8Array([1, 2])]);
      console.log(new Point(), class A {}, circle, Object.create(null), [[[[[[1]]]]]]);
      console.log('%s is %d years and %i, %j %o %%', 'Bob', '42', 4.7, { a: 1 }, [1], 'extra');
      console.log([], {}, new URL('http://h/p').href, new URLSearchParams('a=1'));
      console.log([new Error('boom')].length, Object.prototype.toString.call(console));
    "#,
    );
    assert_eq!(
        found,
        [
            "a 1 -0 2n null undefined true Symbol(s)",
            "{\n  a: 1,\n  'b-c': \"it's\",\n  f: [Function: f],\n  g: [Getter],\n  [Symbol(k)]: [ 1, <1 empty item>, 'x' ]\n}",
            "[\n  Map(1) { 'k' => { v: 1 } },\n  Set(1) { 1 },\n  1970-01-01T00:00:00.000Z,\n  /x/g,\n  Uint8Array(2) [ 1, 2 ]\n]",
            "Point { x: 1 } [class A] { name: 'c', self: [Circular *1] } [Object: null prototype] {} [ [ [ [ [Array] ] ] ] ]",
            "Bob is 42 years and 4, {\"a\":1} [ 1 ] % extra",
            "[] {} http://h/p URLSearchParams { 'a' => '1' }",
            "1 [object console]",
        ]
    );
}

#[test]
fn errors_show_their_stack_and_cause() {
    let found = texts("console.error(new TypeError('outer', { cause: new Error('inner') }))").remove(0);
    assert!(found.starts_with("TypeError: outer\n    at "), "{found}");
    assert!(found.contains("[cause]: Error: inner"), "{found}");
}

#[test]
fn lines_are_capped() {
    let found = texts(
        "console.log('x'.repeat(1e6)); console.log(Array(1e5).fill('abcdefgh')); console.log({ a: 'y'.repeat(1e5) });
         const wide = {}; for (let i = 0; i < 1e4; i++) wide['k' + i] = { a: { b: { c: i } } }; console.log([wide, wide, wide]);",
    );
    assert_eq!(found.len(), 4);
    for line in found {
        assert!(line.len() < 17 * 1024, "{}", line.len());
    }
}

#[test]
fn the_rest_of_the_console() {
    let found = texts(
        r#"
      console.assert(true, 'no'); console.assert(false, 'yes %d', 1);
      console.count(); console.count();
      console.group('g'); console.log('in\nside'); console.groupEnd(); console.log('out');
      console.table([{ a: 1, b: 'x' }, { a: 2 }]);
      console.timeEnd('none');
      const { log } = console; log('unbound');
    "#,
    );
    assert_eq!(
        found,
        [
            "Assertion failed: yes 1",
            "default: 1",
            "default: 2",
            "g",
            "  in\n  side",
            "out",
            "(index) | a | b\n--------+---+----\n0       | 1 | 'x'\n1       | 2 |",
            "Timer 'none' does not exist",
            "unbound",
        ]
    );
}

#[test]
fn hostile_values_are_survived() {
    run(r#"
      console.log(new Proxy({}, { get() { throw new Error('trap'); } }).constructor === undefined);
    "#.replace("console.log(new Proxy({}, { get() { throw new Error('trap'); } }).constructor === undefined);",
        "console.log({ toString() { throw 1; } }); throws(() => console.log(new Proxy({}, { ownKeys() { throw new TypeError('t'); } })), 'TypeError');").as_str());
}

#[test]
fn performance_and_navigator() {
    run(r#"
      const a = performance.now(); ok(a >= 0 && performance.now() >= a);
      ok(Math.abs(performance.timeOrigin + performance.now() - Date.now()) < 1000);
      ok(/^Polygate\/\d/.test(navigator.userAgent), navigator.userAgent);
      ok(self === globalThis);
      same(process.env.NODE_ENV, 'production');
      throws(() => new Performance(), 'TypeError');
    "#);
}

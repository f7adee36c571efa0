//! Takes code generation from strings away: `eval` and every `Function` constructor throw an `EvalError`.
//!
//! Libraries that probe for it (zod's `new Function("")`) fall back. The intrinsics themselves must stay reachable as
//! objects: `f instanceof Function` and `f.constructor.name` go on working.

use rquickjs::{Ctx, Result};

const FORBID: &str = r#"(function () {
  'use strict';
  const refuse = () => { throw new EvalError('Code generation from strings disallowed for this context'); };
  const define = Object.defineProperty;
  const hidden = (value) => ({ value, writable: true, enumerable: false, configurable: true });
  const replace = (sample, name, parent) => {
    const prototype = Object.getPrototypeOf(sample);
    const blocked = { [name]: function () { refuse(); } }[name];
    define(blocked, 'length', { value: 1, configurable: true });
    define(blocked, 'prototype', { value: prototype, writable: false, enumerable: false, configurable: false });
    if (parent) Object.setPrototypeOf(blocked, parent);
    define(prototype, 'constructor', { value: blocked, writable: !parent, enumerable: false, configurable: true });
    return blocked;
  };
  const plain = replace(function () {}, 'Function', undefined);
  replace(async function () {}, 'AsyncFunction', plain);
  replace(function* () {}, 'GeneratorFunction', plain);
  replace(async function* () {}, 'AsyncGeneratorFunction', plain);
  define(globalThis, 'Function', hidden(plain));
  define(globalThis, 'eval', hidden({ eval(x) { return typeof x === 'string' ? refuse() : x; } }.eval));
})()"#;

/// Forbids it in `ctx`, for good. Must run before any other script.
pub(crate) fn forbid_eval(ctx: &Ctx<'_>) -> Result<()> {
    ctx.eval::<(), _>(FORBID)
}

//! Functions that transformed TypeScript calls: decorators, `using`, and twins of functions.

use super::direct::DIRECT;

/// Name and source of each.
pub(crate) const HELPERS: &[(&str, &str)] = &[
    (
        DIRECT,
        "const twins = new WeakMap();
const { defineProperty } = Object;
const { get, set } = WeakMap.prototype;
const call = Function.prototype.call.bind(Function.prototype.call);
export default function (original, twin, name) {
  if (name !== undefined) defineProperty(original, 'name', { value: name, configurable: true });
  defineProperty(twin, 'name', { value: original.name, configurable: true });
  call(set, twins, original, twin);
}
export const of = (original) => call(get, twins, original);
",
    ),
    (
        "@oxc-project/runtime/helpers/decorate",
        "export default function decorate(decorators, target, key, descriptor) {
  const member = arguments.length > 2;
  const described = arguments.length > 3;
  if (descriptor === null) descriptor = Object.getOwnPropertyDescriptor(target, key);
  let result = member ? descriptor : target;
  for (const decorator of decorators.toReversed()) {
    if (!decorator) continue;
    const given = !member ? decorator(result) : described ? decorator(target, key, result) : decorator(target, key);
    if (given) result = given;
  }
  if (described && result) Object.defineProperty(target, key, result);
  return result;
}
",
    ),
    (
        "@oxc-project/runtime/helpers/decorateParam",
        "export default function decorateParam(index, decorator) {
  return (target, key) => decorator(target, key, index);
}
",
    ),
    (
        "@oxc-project/runtime/helpers/decorateMetadata",
        "export default function decorateMetadata(key, value) {
  if (typeof Reflect.metadata === 'function') return Reflect.metadata(key, value);
}
",
    ),
    (
        "@oxc-project/runtime/helpers/usingCtx",
        "export default function usingCtx() {
  const none = {};
  const resources = [];
  const add = (asynchronous) => (value) => {
    if (value === null || value === undefined) {
      if (asynchronous) resources.push({ asynchronous });
      return value;
    }
    const dispose = (asynchronous && value[Symbol.asyncDispose]) || value[Symbol.dispose];
    if (typeof dispose !== 'function') throw new TypeError('the value has no dispose method');
    resources.push({ value, dispose, asynchronous });
    return value;
  };
  return {
    e: none,
    u: add(false),
    a: add(true),
    d() {
      let failed = this.e !== none;
      let error = this.e;
      const fail = (thrown) => {
        error = failed ? new SuppressedError(thrown, error) : thrown;
        failed = true;
      };
      const next = () => {
        while (resources.length > 0) {
          const { value, dispose, asynchronous } = resources.pop();
          try {
            const result = dispose?.call(value);
            if (asynchronous) return Promise.resolve(result).catch(fail).then(next);
          } catch (thrown) {
            fail(thrown);
          }
        }
        if (failed) throw error;
      };
      return next();
    },
  };
}
",
    ),
];

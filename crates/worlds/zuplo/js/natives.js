// The Rust side of this module. It stands on the global object only until this line has run, and this module is
// loaded before any module of a project.
const BINDING = Symbol.for('polygate.zuplo');
const native = globalThis[BINDING];
delete globalThis[BINDING];

// Hidden members of requests and contexts. Registered nowhere: projects cannot name them.
const PARAMS = Symbol('params');
const QUERY = Symbol('query');
const USER = Symbol('user');
const PROPERTIES = Symbol('log properties');

const define = Object.defineProperty;

/** Sets a hidden member: writable, not listed. */
function hide(object, key, value) {
  define(object, key, { value, writable: true, enumerable: false, configurable: true });
  return value;
}

/** Replaces a getter of the prototype by its value on the object itself. */
function settle(object, key, value, writable = false) {
  define(object, key, { value, writable, enumerable: true, configurable: true });
  return value;
}

/** What a value is, for an error message. */
function describe(value) {
  if (value === null) return 'null';
  if (value === undefined) return 'undefined';
  if (typeof value === 'function') return 'a function';
  if (Array.isArray(value)) return 'an array';
  if (typeof value !== 'object') return `a ${typeof value}`;
  const name = value.constructor?.name;
  return typeof name === 'string' && name !== '' && name !== 'Object' ? `an object of class ${name}` : 'an object';
}

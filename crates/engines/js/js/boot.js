// Boot of the preludes; evaluated in every VM, so it stays short.
//
// Members of `internal`:
//   define(name, globals, load)  (native side) makes a script and its lazy globals known
//   loaded(name, exports)        (native side) called by load()
//   use(name)                    the exports of a script, evaluating it on first use; throws when unknown
//   has(name)                    whether a script of that name is registered
//   lazy(target, key, make)      a property that becomes a data property on first read or write
//   idl(constructor, ...names)   WebIDL shape: enumerable prototype members, Symbol.toStringTag
//   toBytes(source)              a Uint8Array view of an ArrayBuffer or view, else undefined
//   domException(name, message)  a DOMException to throw
//   usv(value)                   ToString, lone surrogates replaced
//   inspect                      the symbol of a method (depth, options) => string that console.log calls
(function (global) {
  'use strict';
  const scripts = new Map();
  const exportsOf = new Map();
  const defineProperty = Object.defineProperty;
  const Uint8 = Uint8Array;
  const isView = ArrayBuffer.isView;
  const Buffer = ArrayBuffer;
  const Shared = global.SharedArrayBuffer;
  const Dom = global.DOMException;
  const call = Function.prototype.call;
  const taggedName = call.bind(
    Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array).prototype, Symbol.toStringTag).get);

  function data(target, key, value) {
    defineProperty(target, key, { value, writable: true, enumerable: false, configurable: true });
    return value;
  }

  const internal = {
    __proto__: null,
    global,
    define(name, globals, load) {
      scripts.set(name, load);
      for (const key of globals) internal.lazy(global, key, () => internal.use(name)[key]);
    },
    loaded(name, exports) {
      exportsOf.set(name, exports ?? {});
    },
    has(name) {
      return scripts.has(name);
    },
    use(name) {
      let exports = exportsOf.get(name);
      if (exports === undefined) {
        const load = scripts.get(name);
        if (load === undefined) throw new Error(`no prelude script is named ${name}`);
        load();
        exports = exportsOf.get(name);
      }
      return exports;
    },
    lazy(target, key, make) {
      defineProperty(target, key, {
        configurable: true,
        enumerable: false,
        get() { return data(target, key, make()); },
        set(value) { data(target, key, value); },
      });
    },
    data,
    idl(constructor, ...names) {
      const proto = constructor.prototype;
      const all = names.length ? names : Object.getOwnPropertyNames(proto);
      for (const name of all) {
        if (name !== 'constructor') defineProperty(proto, name, { enumerable: true });
      }
      defineProperty(proto, Symbol.toStringTag, { value: constructor.name, configurable: true });
      return constructor;
    },
    toBytes(source) {
      if (isView(source)) {
        if (taggedName(source) === 'Uint8Array') return source;
        return new Uint8(source.buffer, source.byteOffset, source.byteLength);
      }
      if (source instanceof Buffer || (Shared !== undefined && source instanceof Shared)) return new Uint8(source);
      return undefined;
    },
    domException(name, message) {
      return new Dom(message, name);
    },
    usv(value) {
      // The method is looked up, not called through a bound one, for speed: the native side checks what it is given.
      return (typeof value === 'string' ? value : `${value}`).toWellFormed();
    },
    inspect: Symbol('inspect'),
  };
  return internal;
})

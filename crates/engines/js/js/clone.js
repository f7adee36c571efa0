// structuredClone (https://html.spec.whatwg.org/multipage/structured-data.html).
(function (internal) {
  'use strict';
  const ERRORS = { __proto__: null, Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError };
  const tagOf = Function.prototype.call.bind(Object.prototype.toString);
  const brand = (Class, name) => {
    const get = Object.getOwnPropertyDescriptor(Class.prototype, name).get;
    return (value) => {
      try {
        Reflect.apply(get, value, []);
        return true;
      } catch {
        return false;
      }
    };
  };
  const isMap = brand(Map, 'size');
  const isSet = brand(Set, 'size');
  const isBuffer = brand(ArrayBuffer, 'byteLength');
  const time = Date.prototype.getTime;
  const source = Object.getOwnPropertyDescriptor(RegExp.prototype, 'source').get;
  const flags = Object.getOwnPropertyDescriptor(RegExp.prototype, 'flags').get;
  const typeOf = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array).prototype, Symbol.toStringTag).get;
  const valueOf = [
    [Number, Number.prototype.valueOf], [String, String.prototype.valueOf],
    [Boolean, Boolean.prototype.valueOf], [BigInt, BigInt.prototype.valueOf],
  ];

  function refuse(what) {
    throw internal.domException('DataCloneError', `${what} could not be cloned`);
  }

  function describe(value) {
    if (typeof value === 'function') return `${Function.prototype.toString.call(value).slice(0, 80)}`;
    return tagOf(value);
  }

  function cloneBuffer(buffer, seen, transfer) {
    const known = seen.get(buffer);
    if (known !== undefined) return known;
    const copy = transfer.has(buffer) ? buffer.transfer()
      : buffer.resizable ? (() => {
        const out = new ArrayBuffer(buffer.byteLength, { maxByteLength: buffer.maxByteLength });
        new Uint8Array(out).set(new Uint8Array(buffer));
        return out;
      })()
        : buffer.slice(0);
    seen.set(buffer, copy);
    return copy;
  }

  function clone(value, seen, transfer) {
    switch (typeof value) {
      case 'symbol': return refuse(String(value));
      case 'function': return refuse(describe(value));
      case 'object': break;
      default: return value;
    }
    if (value === null) return null;
    const known = seen.get(value);
    if (known !== undefined) return known;

    if (Array.isArray(value)) {
      const out = new Array(value.length);
      seen.set(value, out);
      return properties(value, out, seen, transfer);
    }
    const proto = Object.getPrototypeOf(value);
    if (proto === Object.prototype || proto === null) {
      const out = {};
      seen.set(value, out);
      return properties(value, out, seen, transfer);
    }
    if (ArrayBuffer.isView(value)) {
      const buffer = cloneBuffer(value.buffer, seen, transfer);
      const name = typeOf.call(value);
      const out = name === undefined
        ? new DataView(buffer, value.byteOffset, value.byteLength)
        : new internal.global[name](buffer, value.byteOffset, value.length);
      seen.set(value, out);
      return out;
    }
    if (isBuffer(value)) return cloneBuffer(value, seen, transfer);
    if (isMap(value)) {
      const out = new Map();
      seen.set(value, out);
      const copy = [];
      Map.prototype.forEach.call(value, (item, key) => copy.push(key, item));
      for (let i = 0; i < copy.length; i += 2) {
        out.set(clone(copy[i], seen, transfer), clone(copy[i + 1], seen, transfer));
      }
      return out;
    }
    if (isSet(value)) {
      const out = new Set();
      seen.set(value, out);
      const copy = [];
      Set.prototype.forEach.call(value, (item) => copy.push(item));
      for (const item of copy) out.add(clone(item, seen, transfer));
      return out;
    }
    if (value instanceof Date) {
      const out = new Date(time.call(value));
      seen.set(value, out);
      return out;
    }
    if (value instanceof RegExp) {
      const out = new RegExp(source.call(value), flags.call(value));
      seen.set(value, out);
      return out;
    }
    for (const [Class, get] of valueOf) {
      if (value instanceof Class) {
        const out = Object(get.call(value));
        seen.set(value, out);
        return out;
      }
    }
    if (internal.has('blob')) {
      const blob = internal.use('blob').cloneBlob(value);
      if (blob !== undefined) {
        seen.set(value, blob);
        return blob;
      }
    }
    if (value instanceof DOMException) {
      const out = new DOMException(value.message, value.name);
      seen.set(value, out);
      return out;
    }
    if (value instanceof Error) {
      const Class = ERRORS[value.name] ?? Error;
      const message = Object.getOwnPropertyDescriptor(value, 'message');
      const made = Reflect.construct(Error, message && 'value' in message ? [`${message.value}`] : [], Class);
      seen.set(value, made);
      if (typeof value.stack === 'string') internal.data(made, 'stack', value.stack);
      if (Object.hasOwn(value, 'cause')) internal.data(made, 'cause', clone(value.cause, seen, transfer));
      return made;
    }
    if (value instanceof Promise || value instanceof WeakMap || value instanceof WeakSet || value instanceof WeakRef) {
      return refuse(describe(value));
    }
    // A platform object (its prototype chain has a class of ours with a brand) cannot be cloned.
    if (isPlatform(value)) return refuse(describe(value));
    const out = {};
    seen.set(value, out);
    return properties(value, out, seen, transfer);
  }

  const PLATFORM = new Set(['Headers', 'Request', 'Response', 'URL', 'URLSearchParams', 'URLPattern', 'ReadableStream',
    'WritableStream', 'TransformStream', 'AbortSignal', 'AbortController', 'Event', 'EventTarget', 'CryptoKey',
    'FormData', 'TextEncoder', 'TextDecoder', 'MessagePort', 'Generator', 'AsyncGenerator']);
  function isPlatform(value) {
    return PLATFORM.has(tagOf(value).slice(8, -1));
  }

  function properties(from, to, seen, transfer) {
    for (const key of Object.keys(from)) {
      // A getter may have removed a later key.
      if (Object.hasOwn(from, key)) {
        const value = clone(from[key], seen, transfer);
        if (key === '__proto__') Object.defineProperty(to, key, { value, writable: true, enumerable: true, configurable: true });
        else to[key] = value;
      }
    }
    return to;
  }

  function structuredClone(value, options = undefined) {
    if (arguments.length < 1) throw new TypeError('structuredClone needs a value');
    const transfer = new Set();
    for (const item of options?.transfer ?? []) {
      if (!isBuffer(item)) refuse(describe(item));
      if (transfer.has(item)) refuse('A buffer that is transferred twice');
      if (item.detached) refuse('A detached buffer');
      transfer.add(item);
    }
    const seen = new Map();
    const out = clone(value, seen, transfer);
    for (const buffer of transfer) if (!seen.has(buffer)) buffer.transfer();
    return out;
  }

  return { structuredClone };
})

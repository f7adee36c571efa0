// console (https://console.spec.whatwg.org) and the inspection of values, roughly as Node's util.inspect.
(function (internal, native) {
  'use strict';
  const MAX_LINE = 16 * 1024;
  const MAX_DEPTH = 4;
  const MAX_ITEMS = 100;
  const MAX_STRING = 10_000;
  const MAX_LABELS = 1000;
  const BREAK_LENGTH = 76;
  const [DEBUG, INFO, WARN, ERROR] = [0, 1, 2, 3];
  const IDENTIFIER = /^[A-Za-z_$][\w$]*$/;
  const typedArrayName = Object.getOwnPropertyDescriptor(
    Object.getPrototypeOf(Uint8Array.prototype), Symbol.toStringTag).get;
  const mapEntries = Map.prototype.entries;
  const setValues = Set.prototype.values;
  const mapSize = Object.getOwnPropertyDescriptor(Map.prototype, 'size').get;
  const setSize = Object.getOwnPropertyDescriptor(Set.prototype, 'size').get;
  const errorStack = Error.prototype.toString;

  function quote(text) {
    if (text.length > MAX_STRING) {
      return `${quote(text.slice(0, MAX_STRING))}... ${text.length - MAX_STRING} more characters`;
    }
    const mark = !text.includes("'") ? "'" : !text.includes('"') ? '"' : !text.includes('`') ? '`' : "'";
    let out = JSON.stringify(text).slice(1, -1).replaceAll('\\"', '"');
    if (mark === "'" && text.includes("'")) out = out.replaceAll("'", "\\'");
    return mark + out + mark;
  }

  function keyText(key) {
    if (typeof key === 'symbol') return `[${String(key)}]`;
    return IDENTIFIER.test(key) ? key : quote(key);
  }

  function className(value) {
    let proto = value;
    for (let i = 0; i < 10; i++) {
      proto = Object.getPrototypeOf(proto);
      if (proto === null) return null;
      const descriptor = Object.getOwnPropertyDescriptor(proto, 'constructor');
      if (descriptor !== undefined && typeof descriptor.value === 'function' && descriptor.value.name !== '') {
        return descriptor.value.name;
      }
    }
    return '';
  }

  function tryCall(get, value) {
    try {
      return Reflect.apply(get, value, []);
    } catch {
      return undefined;
    }
  }

  function errorText(error) {
    let head;
    try {
      head = `${errorStack.call(error)}`;
    } catch {
      head = '[Error]';
    }
    const { stack } = error;
    if (typeof stack !== 'string' || stack === '') return `[${head}]`;
    // The engine's stacks are the frames alone.
    return stack.startsWith(head) ? stack.trimEnd() : `${head}\n${stack.trimEnd()}`;
  }

  // `state`: { seen: the objects above, size: what has been written, so that huge values stop early }
  function inspect(value, depth, state) {
    switch (typeof value) {
      case 'string': return depth === 0 && state.top ? value : quote(value);
      case 'bigint': return `${value}n`;
      case 'number': return Object.is(value, -0) ? '-0' : `${value}`;
      case 'symbol': return String(value);
      case 'function': {
        const source = Function.prototype.toString.call(value);
        const kind = source.startsWith('class') ? 'class' : 'Function';
        const name = typeof value.name === 'string' && value.name !== '' ? value.name : '';
        const base = kind === 'class' ? `[class ${name || '(anonymous)'}]`
          : name === '' ? '[Function (anonymous)]' : `[Function: ${name}]`;
        return properties(value, base, [], depth, state, true);
      }
      case 'object': break;
      default: return `${value}`;
    }
    if (value === null) return 'null';
    if (state.seen.includes(value)) return '[Circular *1]';
    if (state.size > 4 * MAX_LINE) return '...';
    state.seen.push(value);
    try {
      return object(value, depth, state);
    } finally {
      state.seen.pop();
    }
  }

  function object(value, depth, state) {
    const custom = value[internal.inspect];
    if (typeof custom === 'function') {
      const inner = (item) => inspect(item, depth + 1, { ...state, top: false });
      return `${Reflect.apply(custom, value, [inner, depth])}`;
    }
    const name = className(value);
    const label = name === null ? '[Object: null prototype]' : name;
    const deep = depth >= MAX_DEPTH;

    if (Array.isArray(value)) {
      const prefix = name === 'Array' ? '' : `${label}(${value.length}) `;
      if (deep) return `[${name === 'Array' ? 'Array' : label}]`;
      const items = [];
      const shown = Math.min(value.length, MAX_ITEMS);
      for (let i = 0; i < shown; i++) {
        if (!(i in value)) {
          const from = i;
          while (i + 1 < value.length && !(i + 1 in value)) i++;
          items.push(`<${i - from + 1} empty item${i === from ? '' : 's'}>`);
          continue;
        }
        items.push(inspect(value[i], depth + 1, { ...state, top: false }));
      }
      if (value.length > shown) items.push(`... ${value.length - shown} more item${value.length - shown > 1 ? 's' : ''}`);
      return properties(value, prefix, items, depth, state, false, ['[', ']'], (key) => !/^\d+$/.test(key));
    }
    if (value instanceof Error) {
      const base = errorText(value);
      const extra = [];
      if (Object.hasOwn(value, 'cause')) extra.push(`[cause]: ${inspect(value.cause, depth + 1, { ...state, top: false })}`);
      if (Array.isArray(value.errors)) extra.push(`[errors]: ${inspect(value.errors, depth + 1, { ...state, top: false })}`);
      return properties(value, base, extra, depth, state, true, ['{', '}'],
        (key) => !['stack', 'message', 'cause', 'errors', 'name'].includes(key));
    }
    if (value instanceof Date) {
      return Number.isNaN(value.getTime()) ? 'Invalid Date' : value.toISOString();
    }
    if (value instanceof RegExp) return properties(value, RegExp.prototype.toString.call(value), [], depth, state, true);
    if (value instanceof Promise) return 'Promise { <pending or settled> }';
    if (value instanceof WeakMap || value instanceof WeakSet) return `${label} { <items unknown> }`;
    if (ArrayBuffer.isView(value)) {
      const kind = typedArrayName.call(value);
      if (kind === undefined) return `DataView { byteLength: ${value.byteLength}, byteOffset: ${value.byteOffset} }`;
      if (deep) return `[${kind}]`;
      const items = Array.from(value.subarray(0, MAX_ITEMS), (item) => inspect(item, depth + 1, state));
      if (value.length > MAX_ITEMS) items.push(`... ${value.length - MAX_ITEMS} more items`);
      return wrap(`${kind}(${value.length}) `, items, ['[', ']'], depth);
    }
    if (value instanceof ArrayBuffer) return `ArrayBuffer { byteLength: ${value.byteLength} }`;
    const mapLength = tryCall(mapSize, value);
    if (mapLength !== undefined) {
      if (deep) return `[${label}]`;
      const items = [];
      for (const [key, item] of Reflect.apply(mapEntries, value, [])) {
        if (items.length === MAX_ITEMS) break;
        const inner = { ...state, top: false };
        items.push(`${inspect(key, depth + 1, inner)} => ${inspect(item, depth + 1, inner)}`);
      }
      if (mapLength > MAX_ITEMS) items.push(`... ${mapLength - MAX_ITEMS} more items`);
      return properties(value, `${label}(${mapLength}) `, items, depth, state, false);
    }
    const setLength = tryCall(setSize, value);
    if (setLength !== undefined) {
      if (deep) return `[${label}]`;
      const items = [];
      for (const item of Reflect.apply(setValues, value, [])) {
        if (items.length === MAX_ITEMS) break;
        items.push(inspect(item, depth + 1, { ...state, top: false }));
      }
      if (setLength > MAX_ITEMS) items.push(`... ${setLength - MAX_ITEMS} more items`);
      return properties(value, `${label}(${setLength}) `, items, depth, state, false);
    }
    for (const Box of [Number, String, Boolean, BigInt, Symbol]) {
      if (value instanceof Box) {
        const inner = tryCall(Box.prototype.valueOf, value);
        return `[${Box.name}: ${inspect(inner, depth + 1, { ...state, top: false })}]`;
      }
    }
    if (deep) return `[${label || 'Object'}]`;
    const tag = value[Symbol.toStringTag];
    let prefix = name === 'Object' ? '' : `${label} `;
    if (typeof tag === 'string' && tag !== '' && tag !== name) prefix = `${label || 'Object'} [${tag}] `;
    return properties(value, prefix, [], depth, state, false);
  }

  // `alone`: the base stands for itself when there is nothing to add.
  function properties(value, base, items, depth, state, alone, braces = ['{', '}'], filter = undefined) {
    let count = 0;
    for (const key of Reflect.ownKeys(value)) {
      if (filter !== undefined && typeof key === 'string' && !filter(key)) continue;
      const descriptor = Object.getOwnPropertyDescriptor(value, key);
      if (descriptor === undefined || !descriptor.enumerable) continue;
      if (++count > MAX_ITEMS) {
        items.push('...');
        break;
      }
      let text;
      if (descriptor.get !== undefined) text = descriptor.set === undefined ? '[Getter]' : '[Getter/Setter]';
      else if (descriptor.set !== undefined) text = '[Setter]';
      else text = inspect(descriptor.value, depth + 1, { ...state, top: false });
      state.size += text.length;
      items.push(`${keyText(key)}: ${text}`);
    }
    if (items.length === 0) return alone ? base : `${base}${braces[0]}${braces[1]}`;
    return wrap(alone ? `${base} ` : base, items, braces, depth);
  }

  function wrap(prefix, items, braces, depth) {
    let length = prefix.length + items.length;
    let lines = false;
    for (const item of items) {
      length += item.length + 1;
      if (item.includes('\n')) lines = true;
    }
    if (items.length === 0) return `${prefix}${braces[0]}${braces[1]}`;
    if (!lines && length <= BREAK_LENGTH) return `${prefix}${braces[0]} ${items.join(', ')} ${braces[1]}`;
    const indent = '  '.repeat(depth + 1);
    return `${prefix}${braces[0]}\n${indent}${items.join(`,\n${indent}`)}\n${'  '.repeat(depth)}${braces[1]}`;
  }

  function show(value) {
    return inspect(value, 0, { seen: [], size: 0, top: false });
  }

  function format(...values) {
    const [first] = values;
    let at = 0;
    let out = '';
    if (typeof first === 'string') {
      at = 1;
      if (values.length === 1 || !first.includes('%')) {
        out = first;
      } else {
        out = first.replace(/%[sdifjoOc%]/g, (code) => {
          if (code === '%%') return '%';
          if (at >= values.length) return code;
          const value = values[at++];
          switch (code) {
            case '%s':
              return typeof value === 'string' ? value
                : typeof value === 'object' && value !== null ? show(value) : typeof value === 'bigint' ? `${value}n` : String(value);
            case '%d': return typeof value === 'bigint' ? `${value}n` : typeof value === 'symbol' ? 'NaN' : `${Number(value)}`;
            case '%i': return typeof value === 'bigint' ? `${value}n` : typeof value === 'symbol' ? 'NaN' : `${parseInt(value, 10)}`;
            case '%f': return typeof value === 'symbol' ? 'NaN' : `${parseFloat(value)}`;
            case '%j':
              try {
                return JSON.stringify(value);
              } catch {
                return '[Circular]';
              }
            case '%c': return '';
            default: return show(value);
          }
        });
      }
    }
    for (; at < values.length; at++) {
      const value = values[at];
      if (at !== 0) out += ' ';
      out += typeof value === 'string' ? value : show(value);
      if (out.length > MAX_LINE) break;
    }
    return out.length > MAX_LINE ? `${out.slice(0, MAX_LINE)}... (cut)` : out;
  }

  let indent = '';
  function print(level, values) {
    let line = format(...values);
    if (indent !== '') line = indent + line.replaceAll('\n', `\n${indent}`);
    native.write(level, internal.usv(line));
  }

  const counts = new Map();
  const times = new Map();
  const now = () => internal.use('performance').performance.now();

  function elapsed(label) {
    const ms = now() - times.get(label);
    return ms >= 1000 ? `${(ms / 1000).toFixed(3)}s` : `${ms.toFixed(3)}ms`;
  }

  function table(data, columns) {
    if (typeof data !== 'object' || data === null) return format(data);
    const rows = [];
    const heads = [];
    let plain = false;
    const entries = data instanceof Map ? [...data] : data instanceof Set ? [...data].map((v, i) => [i, v]) : Object.entries(data);
    for (const [index, row] of entries.slice(0, MAX_ITEMS)) {
      const cells = new Map();
      if (typeof row === 'object' && row !== null) {
        for (const key of columns ?? Object.keys(row)) {
          if (!heads.includes(key)) heads.push(key);
          cells.set(key, show(row[key]));
        }
      } else {
        plain = true;
        cells.set('\0', show(row));
      }
      rows.push([String(index), cells]);
    }
    const header = ['(index)', ...heads, ...(plain ? ['Values'] : [])];
    const body = rows.map(([index, cells]) =>
      [index, ...heads.map((head) => cells.get(head) ?? ''), ...(plain ? [cells.get('\0') ?? ''] : [])]);
    const widths = header.map((head, i) => Math.max(head.length, ...body.map((row) => row[i].length)));
    const line = (row) => row.map((cell, i) => cell.padEnd(widths[i])).join(' | ').trimEnd();
    return [line(header), widths.map((width) => '-'.repeat(width)).join('-+-'), ...body.map(line)].join('\n');
  }

  const console = {
    log(...values) { print(INFO, values); },
    info(...values) { print(INFO, values); },
    warn(...values) { print(WARN, values); },
    error(...values) { print(ERROR, values); },
    debug(...values) { print(DEBUG, values); },
    trace(...values) {
      const { stack } = new Error();
      print(DEBUG, [`Trace: ${format(...values)}\n${String(stack ?? '').trimEnd()}`]);
    },
    dir(value) { print(INFO, [typeof value === 'string' ? quote(value) : value]); },
    dirxml(...values) { print(INFO, values); },
    assert(condition, ...values) {
      if (condition) return;
      if (typeof values[0] === 'string') values[0] = `Assertion failed: ${values[0]}`;
      else values.unshift('Assertion failed');
      print(ERROR, values);
    },
    table(data, columns = undefined) { print(INFO, [table(data, columns)]); },
    count(label = 'default') {
      label = `${label}`;
      if (counts.size >= MAX_LABELS && !counts.has(label)) counts.clear();
      counts.set(label, (counts.get(label) ?? 0) + 1);
      print(INFO, [`${label}: ${counts.get(label)}`]);
    },
    countReset(label = 'default') { counts.delete(`${label}`); },
    time(label = 'default') {
      label = `${label}`;
      if (times.has(label)) return print(WARN, [`Timer '${label}' already exists`]);
      if (times.size >= MAX_LABELS) times.clear();
      times.set(label, now());
    },
    timeLog(label = 'default', ...values) {
      label = `${label}`;
      if (!times.has(label)) return print(WARN, [`Timer '${label}' does not exist`]);
      print(INFO, [`${label}: ${elapsed(label)}`, ...values]);
    },
    timeEnd(label = 'default') {
      label = `${label}`;
      if (!times.has(label)) return print(WARN, [`Timer '${label}' does not exist`]);
      print(INFO, [`${label}: ${elapsed(label)}`]);
      times.delete(label);
    },
    group(...values) {
      if (values.length) print(INFO, values);
      if (indent.length < 64) indent += '  ';
    },
    groupCollapsed(...values) { console.group(...values); },
    groupEnd() { indent = indent.slice(2); },
    clear() {},
    timeStamp() {},
  };
  Object.defineProperty(console, Symbol.toStringTag, { value: 'console', configurable: true });

  function reportError(error) {
    if (arguments.length < 1) throw new TypeError('reportError needs an error');
    print(ERROR, ['Uncaught', error]);
  }

  return { console, reportError, format, inspect: show };
})

// Blob, File (https://w3c.github.io/FileAPI/) and FormData (https://xhr.spec.whatwg.org/#interface-formdata).
(function (internal, native) {
  'use strict';
  const { usv, toBytes } = internal;
  const { encode, concat, toText } = native;
  const KEY = Symbol('Blob');
  const PLAIN_TYPE = /^[\x20-\x7E]*$/;
  let bytesOf;
  let adopt;

  function mime(type) {
    type = usv(type);
    return PLAIN_TYPE.test(type) ? type.toLowerCase() : '';
  }

  class Blob {
    #bytes;
    #type = '';

    static {
      bytesOf = (blob) => blob.#bytes;
      // A blob over bytes that nobody else writes.
      adopt = (blob, bytes) => {
        blob.#bytes = bytes;
        return blob;
      };
    }

    constructor(parts = undefined, options = undefined) {
      if (parts === KEY) return;
      if (options !== undefined && options !== null && typeof options !== 'object' && typeof options !== 'function') {
        throw new TypeError('The options of a Blob must be an object');
      }
      const native = options?.endings === 'native';
      const list = [];
      if (parts !== undefined) {
        if ((typeof parts !== 'object' && typeof parts !== 'function') || parts === null
          || typeof parts[Symbol.iterator] !== 'function') {
          throw new TypeError('The parts of a Blob must be a sequence');
        }
        for (const part of parts) {
          if (typeof part === 'object' && part !== null) {
            if (#bytes in part) {
              list.push(part.#bytes);
              continue;
            }
            const view = toBytes(part);
            if (view !== undefined) {
              list.push(view);
              continue;
            }
          }
          let text = usv(part);
          if (native) text = text.replace(/\r\n?|\n/g, '\n');
          list.push(encode(text));
        }
      }
      this.#bytes = concat(list);
      if (options?.type !== undefined) this.#type = mime(options.type);
    }

    get size() { return this.#bytes.byteLength; }
    get type() { return this.#type; }

    slice(start = 0, end = this.size, type = '') {
      const { size } = this;
      const clamp = (at) => {
        at = Math.trunc(Number(at)) || 0;
        return at < 0 ? Math.max(size + at, 0) : Math.min(at, size);
      };
      const from = clamp(start);
      const to = Math.max(clamp(end), from);
      const out = adopt(new Blob(KEY), this.#bytes.subarray(from, to));
      out.#type = mime(type);
      return out;
    }

    async text() { return toText(this.#bytes); }
    async arrayBuffer() { return this.#bytes.slice().buffer; }
    async bytes() { return this.#bytes.slice(); }

    stream() {
      const bytes = this.#bytes;
      const CHUNK = 64 * 1024;
      let at = 0;
      return new ReadableStream({
        type: 'bytes',
        pull(controller) {
          if (at < bytes.byteLength) {
            controller.enqueue(bytes.slice(at, at + CHUNK));
            at += CHUNK;
          }
          if (at >= bytes.byteLength) {
            controller.close();
            controller.byobRequest?.respond(0);
          }
        },
      });
    }

    [internal.inspect](inspect) { return `Blob ${inspect({ size: this.size, type: this.type })}`; }
  }
  internal.idl(Blob);

  class File extends Blob {
    #name;
    #modified;

    constructor(parts, name, options = undefined) {
      if (parts !== KEY && arguments.length < 2) throw new TypeError('File needs parts and a name');
      super(parts, options);
      this.#name = usv(name);
      this.#modified = options?.lastModified === undefined ? Date.now() : Math.trunc(Number(options.lastModified)) || 0;
    }

    get name() { return this.#name; }
    get lastModified() { return this.#modified; }
    get webkitRelativePath() { return ''; }

    [internal.inspect](inspect) {
      return `File ${inspect({ size: this.size, type: this.type, name: this.name, lastModified: this.lastModified })}`;
    }
  }
  internal.idl(File);

  function isBlob(value) {
    try {
      bytesOf(value);
      return true;
    } catch {
      return false;
    }
  }

  // A File over `bytes`, which are not copied.
  function fileOf(bytes, name, type) {
    return adopt(new File([], name, { type }), bytes);
  }

  function entryValue(value, filename) {
    if (!isBlob(value)) return usv(value);
    if (value instanceof File && filename === undefined) return value;
    const name = filename === undefined ? 'blob' : filename;
    const modified = value instanceof File ? value.lastModified : undefined;
    return adopt(new File([], name, { type: value.type, lastModified: modified }), bytesOf(value));
  }

  const IteratorPrototype = Object.getPrototypeOf(Object.getPrototypeOf([][Symbol.iterator]()));
  class FormDataIterator {
    #list;
    #kind;
    #at = 0;
    constructor(list, kind) {
      this.#list = list;
      this.#kind = kind;
    }
    next() {
      if (this.#at >= this.#list.length) return { value: undefined, done: true };
      const [name, value] = this.#list[this.#at++];
      return { value: this.#kind === 0 ? [name, value] : this.#kind === 1 ? name : value, done: false };
    }
  }
  Object.setPrototypeOf(FormDataIterator.prototype, IteratorPrototype);
  Object.defineProperty(FormDataIterator.prototype, Symbol.toStringTag,
    { value: 'FormData Iterator', configurable: true });

  let entriesOf;
  class FormData {
    #list = [];

    static { entriesOf = (form) => form.#list; }

    constructor(form = undefined) {
      if (form !== undefined) throw new TypeError('FormData takes no form element here');
    }

    #value(count, value, filename) {
      if (count > 2) {
        if (!isBlob(value)) throw new TypeError('A file name needs a Blob');
        return entryValue(value, usv(filename));
      }
      return entryValue(value, undefined);
    }

    append(name, value, filename = undefined) {
      if (arguments.length < 2) throw new TypeError('append needs a name and a value');
      this.#list.push([usv(name), this.#value(arguments.length, value, filename)]);
    }

    set(name, value, filename = undefined) {
      if (arguments.length < 2) throw new TypeError('set needs a name and a value');
      name = usv(name);
      const entry = [name, this.#value(arguments.length, value, filename)];
      const at = this.#list.findIndex(([key]) => key === name);
      if (at === -1) {
        this.#list.push(entry);
        return;
      }
      this.#list[at] = entry;
      let to = at + 1;
      for (let i = at + 1; i < this.#list.length; i++) {
        if (this.#list[i][0] !== name) this.#list[to++] = this.#list[i];
      }
      this.#list.length = to;
    }

    delete(name) {
      name = usv(name);
      let to = 0;
      for (const entry of this.#list) if (entry[0] !== name) this.#list[to++] = entry;
      this.#list.length = to;
    }

    get(name) {
      name = usv(name);
      return this.#list.find(([key]) => key === name)?.[1] ?? null;
    }

    getAll(name) {
      name = usv(name);
      return this.#list.filter(([key]) => key === name).map(([, value]) => value);
    }

    has(name) {
      name = usv(name);
      return this.#list.some(([key]) => key === name);
    }

    forEach(callback, thisArg = undefined) {
      if (typeof callback !== 'function') throw new TypeError('forEach needs a function');
      for (let i = 0; i < this.#list.length; i++) {
        callback.call(thisArg, this.#list[i][1], this.#list[i][0], this);
      }
    }

    entries() { return new FormDataIterator(this.#list, 0); }
    keys() { return new FormDataIterator(this.#list, 1); }
    values() { return new FormDataIterator(this.#list, 2); }

    [internal.inspect](inspect) { return `FormData ${inspect(this.#list)}`; }
  }
  internal.idl(FormData);
  internal.data(FormData.prototype, Symbol.iterator, FormData.prototype.entries);

  // Body of a form as multipart/form-data: [bytes, content type].
  function encodeMultipart(form) {
    const boundary = native.boundary();
    const list = [];
    for (const [name, value] of entriesOf(form)) {
      if (typeof value === 'string') {
        list.push(native.partHead(boundary, name, undefined, undefined), encode(value.replace(/\r\n?|\n/g, '\r\n')));
      } else {
        list.push(native.partHead(boundary, name, value.name, value.type || 'application/octet-stream'), bytesOf(value));
      }
    }
    list.push(native.partsEnd(boundary));
    return [concat(list), `multipart/form-data; boundary=${boundary}`];
  }

  // A FormData of a body by its content type; throws a TypeError when it is malformed or of another type.
  function parseForm(bytes, contentType) {
    const form = new FormData();
    const list = entriesOf(form);
    const type = native.formType(usv(contentType ?? ''));
    if (type === 'urlencoded') {
      const flat = internal.use('url').parseQuery(toText(bytes));
      for (let i = 0; i < flat.length; i += 2) list.push([flat[i], flat[i + 1]]);
      return form;
    }
    if (type === undefined || type === null) throw new TypeError('The body is not of a form type');
    // A flat list: name, file name or undefined, type, start and end of the content.
    const parts = native.parseMultipart(bytes, type.slice('multipart:'.length));
    for (let i = 0; i < parts.length; i += 5) {
      const content = bytes.slice(parts[i + 3], parts[i + 4]);
      list.push([parts[i], parts[i + 1] === undefined ? toText(content) : fileOf(content, parts[i + 1], parts[i + 2])]);
    }
    return form;
  }

  // A copy for structuredClone, or undefined when it is no blob.
  function cloneBlob(value) {
    if (!isBlob(value)) return undefined;
    if (value instanceof File) {
      return adopt(new File([], value.name, { type: value.type, lastModified: value.lastModified }), bytesOf(value));
    }
    return value.slice(0, value.size, value.type);
  }

  return {
    Blob, File, FormData,
    // For other preludes:
    isBlob, // (value) => boolean
    bytesOf, // (blob) => its Uint8Array; not to be written
    blobOf: (bytes, type) => adopt(new Blob([], { type }), bytes), // over bytes that are not copied
    fileOf, // (bytes, name, type)
    isForm: (value) => {
      try {
        entriesOf(value);
        return true;
      } catch {
        return false;
      }
    },
    entriesOf, // (form) => its live list of [name, string or File]
    encodeMultipart, // (form) => [bytes, content type]
    parseForm, // (bytes, content type) => FormData
    cloneBlob,
  };
})

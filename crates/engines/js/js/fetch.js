// Headers, Request, Response, fetch (https://fetch.spec.whatwg.org).
//
// The objects are native (src/web/fetch): constructors here return what `native` made with the prototype of
// `new.target`, so that classes can extend them; hot members are native functions.
(function (internal, native) {
  'use strict';
  const { usv, toBytes, data } = internal;
  const uncurry = Function.prototype.bind.bind(Function.prototype.call);
  const tagOf = uncurry(Object.prototype.toString);
  const getPrototypeOf = Object.getPrototypeOf;
  const headersOf = uncurry(native.headers);
  const methodOf = uncurry(native.method);
  const urlOf = uncurry(native.url);
  const statusOf = uncurry(native.status);
  const getField = uncurry(native.get);
  const hasField = uncurry(native.has);
  const setField = uncurry(native.set);
  const appendField = uncurry(native.append);
  const streams = () => internal.use('streams');
  const events = () => internal.use('events');
  const REQUEST = 1;
  const RESPONSE = 2;
  const NULL = 0;
  const STREAM = 2;
  const MOVED = 3;
  const [BYTES, TEXT, JSON_, BUFFER] = [0, 1, 2, 3];

  const isObject = (value) => (typeof value === 'object' && value !== null) || typeof value === 'function';

  function prototypeOf(target, Class) {
    const { prototype } = target;
    return isObject(prototype) ? prototype : Class.prototype;
  }

  function dictionary(init, what) {
    if (init === undefined || init === null) return undefined;
    if (!isObject(init)) throw new TypeError(`The options of a ${what} must be an object`);
    return init;
  }

  // Native members of `names` on a prototype, enumerable as WebIDL has them.
  function methods(Class, names) {
    for (const name of names) {
      Object.defineProperty(Class.prototype, name,
        { value: native[name], writable: true, enumerable: true, configurable: true });
    }
  }
  function getters(Class, names) {
    for (const name of names) {
      Object.defineProperty(Class.prototype, name, { get: native[name], enumerable: true, configurable: true });
    }
  }

  // ---- Headers

  function fill(headers, init) {
    if (native.isHeaders(init)) {
      native.copy(headers, init);
      return;
    }
    if (!isObject(init)) throw new TypeError('Headers are made from an object or a sequence of pairs');
    const iterate = init[Symbol.iterator];
    if (iterate !== undefined && iterate !== null) {
      for (const pair of init) {
        if (!isObject(pair)) throw new TypeError('A header must be a pair of name and value');
        const entry = [...pair];
        if (entry.length !== 2) throw new TypeError('A header must be a pair of name and value');
        appendField(headers, entry[0], entry[1]);
      }
      return;
    }
    for (const key of Reflect.ownKeys(init)) {
      const property = Reflect.getOwnPropertyDescriptor(init, key);
      if (property === undefined || !property.enumerable) continue;
      if (typeof key === 'symbol') throw new TypeError('A header\'s name cannot be a symbol');
      appendField(headers, key, init[key]);
    }
  }

  class HeadersIterator {
    #headers;
    #kind;
    #at = 0;
    #list = undefined;
    #version = -1;

    constructor(headers, kind) {
      this.#headers = headers;
      this.#kind = kind;
    }

    next() {
      const version = native.version(this.#headers);
      if (version !== this.#version) {
        this.#list = native.flat(this.#headers);
        this.#version = version;
      }
      const at = this.#at;
      const list = this.#list;
      if (at >= list.length) return { value: undefined, done: true };
      this.#at += 2;
      const value = this.#kind === 0 ? [list[at], list[at + 1]] : list[at + this.#kind - 1];
      return { value, done: false };
    }
  }
  Object.setPrototypeOf(HeadersIterator.prototype, getPrototypeOf(getPrototypeOf([][Symbol.iterator]())));
  Object.defineProperty(HeadersIterator.prototype, 'next', { enumerable: true });
  Object.defineProperty(HeadersIterator.prototype, Symbol.toStringTag,
    { value: 'Headers Iterator', configurable: true });

  function brand(headers) {
    if (!native.isHeaders(headers)) throw new TypeError('Illegal invocation: not a Headers object');
    return headers;
  }

  class Headers {
    constructor(init = undefined) {
      const headers = native.newHeaders(prototypeOf(new.target, Headers));
      if (init !== undefined) fill(headers, init);
      return headers;
    }

    entries() { return new HeadersIterator(brand(this), 0); }
    keys() { return new HeadersIterator(brand(this), 1); }
    values() { return new HeadersIterator(brand(this), 2); }

    forEach(callback, thisArg = undefined) {
      if (typeof callback !== 'function') throw new TypeError('forEach needs a function');
      const iterator = new HeadersIterator(brand(this), 0);
      for (let step = iterator.next(); !step.done; step = iterator.next()) {
        callback.call(thisArg, step.value[1], step.value[0], this);
      }
    }

    [internal.inspect](inspect) {
      const list = native.flat(this);
      const shown = {};
      for (let i = 0; i < list.length; i += 2) shown[list[i]] = list[i + 1];
      return `Headers ${inspect(shown)}`;
    }
  }
  methods(Headers, ['append', 'delete', 'get', 'getSetCookie', 'has', 'set']);
  internal.idl(Headers, 'entries', 'keys', 'values', 'forEach');
  data(Headers.prototype, Symbol.iterator, Headers.prototype.entries);

  // ---- Body

  // Puts `body` into a message and says its content type.
  function setBody(message, body) {
    let type;
    if (typeof body === 'string') {
      native.setText(message, body);
      type = 'text/plain;charset=UTF-8';
    } else if (isObject(body)) {
      const bytes = toBytes(body);
      if (bytes !== undefined) {
        native.setBytes(message, bytes);
        return;
      }
      const tag = tagOf(body).slice(8, -1);
      if (tag === 'ReadableStream' && streams().isStream(body)) {
        if (streams().isUsed(body)) throw new TypeError('The stream is locked or was read from already');
        native.setStream(message, body);
        return;
      }
      if (tag === 'URLSearchParams') {
        native.setText(message, usv(body));
        type = 'application/x-www-form-urlencoded;charset=UTF-8';
      } else if (tag === 'FormData' && internal.use('blob').isForm(body)) {
        const [encoded, encodedType] = internal.use('blob').encodeMultipart(body);
        native.setBytes(message, encoded);
        type = encodedType;
      } else if ((tag === 'Blob' || tag === 'File') && internal.use('blob').isBlob(body)) {
        native.setBytes(message, internal.use('blob').bytesOf(body));
        if (body.type !== '') ({ type } = body);
      } else {
        native.setText(message, usv(body));
        type = 'text/plain;charset=UTF-8';
      }
    } else {
      native.setText(message, usv(body));
      type = 'text/plain;charset=UTF-8';
    }
    if (type !== undefined) {
      const headers = headersOf(message);
      if (!hasField(headers, 'content-type')) setField(headers, 'content-type', type);
    }
  }

  function bodyOf(message) {
    const state = native.state(message);
    if (state === NULL) return null;
    if (state === STREAM) return native.stream(message);
    if (state === MOVED) return streams().usedStream();
    const stream = streams().ofHeld(native.hold(message));
    native.setStream(message, stream);
    return stream;
  }

  function isBodyUsed(message) {
    const state = native.state(message);
    return state === MOVED || (state === STREAM && streams().isDisturbed(native.stream(message)));
  }

  // Whether the body cannot be handed on: read, being read, or moved out.
  function isUnusable(message) {
    const state = native.state(message);
    return state === MOVED || (state === STREAM && streams().isUsed(native.stream(message)));
  }

  async function readAll(stream, owner) {
    const reader = streams().acquireReader(stream);
    const limit = native.bodyLimit();
    const chunks = [];
    let length = 0;
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      if (!(value instanceof Uint8Array)) {
        const error = new TypeError('A chunk of a body must be a Uint8Array');
        reader.cancel(error).catch(() => {});
        throw error;
      }
      length += value.byteLength;
      if (length > limit) {
        const error = failure('The body is too large to be read as a whole', `longer than ${limit} bytes`,
          'body_too_large', false, owner);
        reader.cancel(error).catch(() => {});
        throw error;
      }
      chunks.push(value);
    }
    const all = new Uint8Array(length);
    let at = 0;
    for (const chunk of chunks) {
      all.set(chunk, at);
      at += chunk.byteLength;
    }
    return all;
  }

  function consume(message, form) {
    try {
      if (native.state(message) !== STREAM) return native.collect(message, form);
      const stream = native.stream(message);
      if (streams().isUsed(stream)) throw new TypeError('The body has already been used');
      const held = streams().unwrap(stream);
      const owner = message instanceof Response ? 'response' : 'request';
      if (held !== undefined) return native.collectHeld(held, form, owner);
      return readAll(stream, owner).then((bytes) => native.convert(bytes, form));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  const contentType = (message) => getField(headersOf(message), 'content-type') ?? '';

  const Body = {
    get body() { return bodyOf(this); },
    get bodyUsed() { return isBodyUsed(this); },
    text() { return consume(this, TEXT); },
    json() { return consume(this, JSON_); },
    arrayBuffer() { return consume(this, BUFFER); },
    bytes() { return consume(this, BYTES); },
    async blob() {
      const bytes = await consume(this, BYTES);
      return internal.use('blob').blobOf(bytes, contentType(this));
    },
    async formData() {
      const type = contentType(this);
      const bytes = await consume(this, BYTES);
      return internal.use('blob').parseForm(bytes, type);
    },
  };
  function mixin(Class) {
    Object.defineProperties(Class.prototype, Object.getOwnPropertyDescriptors(Body));
  }

  // Gives `copy` a copy of `message`'s body.
  function teeInto(message, copy) {
    if (isUnusable(message)) throw new TypeError('A body that was used cannot be cloned');
    if (native.cloneBody(message, copy)) return;
    const [one, two] = streams().tee(native.stream(message));
    native.setStream(message, one);
    native.setStream(copy, two);
  }

  // ---- Request

  const REDIRECTS = ['follow', 'manual', 'error'];
  // Members that a gateway keeps and shows but does not act upon, with their defaults.
  const PASSIVE = {
    __proto__: null, cache: 'default', credentials: 'same-origin', integrity: '', keepalive: false, mode: 'cors',
    referrer: 'about:client', referrerPolicy: '', duplex: 'half',
  };

  function extraOf(message) {
    let extra = native.extra(message);
    if (extra === undefined) {
      extra = { __proto__: null, signal: undefined, given: undefined, from: undefined, redirect: undefined };
      native.setExtra(message, extra);
    }
    return extra;
  }

  function methodFrom(value) {
    const method = usv(value);
    const upper = method.toUpperCase();
    switch (upper) {
      case 'CONNECT': case 'TRACE': case 'TRACK':
        throw new TypeError(`The method ${upper} is not allowed`);
      case 'DELETE': case 'GET': case 'HEAD': case 'OPTIONS': case 'POST': case 'PUT':
        return upper;
      default:
        return method;
    }
  }

  function parseUrl(input) {
    const { URL } = internal.use('url');
    let url;
    try {
      url = new URL(input);
    } catch (cause) {
      throw new TypeError(`Invalid URL: ${input}`, { cause });
    }
    if (url.username !== '' || url.password !== '') {
      throw new TypeError('The URL of a request must not hold a user name or password');
    }
    return url.href;
  }

  function build(prototype, input, init) {
    init = dictionary(init, 'Request');
    const source = native.kind(input) === REQUEST ? input : undefined;
    const href = source === undefined ? parseUrl(usv(input)) : undefined;
    let method = init?.method;
    method = method === undefined ? (source === undefined ? 'GET' : methodOf(source)) : methodFrom(method);
    const message = native.newRequest(prototype, method, href, source);
    if (init !== undefined) {
      const { headers, signal, redirect } = init;
      if (headers !== undefined && headers !== null) {
        if (source !== undefined) native.clearHeaders(message);
        fill(headersOf(message), headers);
      }
      if (redirect !== undefined) {
        const mode = `${redirect}`;
        if (!REDIRECTS.includes(mode)) throw new TypeError(`Invalid redirect mode: ${mode}`);
        if (mode !== 'follow') extraOf(message).redirect = mode;
      }
      if (signal !== undefined && signal !== null) {
        if (!(signal instanceof events().AbortSignal)) throw new TypeError('The signal must be an AbortSignal');
        extraOf(message).given = signal;
      } else if (signal === undefined && source !== undefined) {
        extraOf(message).from = source;
      }
      for (const key in PASSIVE) {
        const value = init[key];
        if (value !== undefined && value !== PASSIVE[key]) extraOf(message)[key] = value;
      }
    } else if (source !== undefined) {
      extraOf(message).from = source;
    }
    if (source !== undefined) {
      const kept = native.extra(source);
      if (kept !== undefined) {
        const extra = extraOf(message);
        if (init?.redirect === undefined) extra.redirect = kept.redirect;
        for (const key in PASSIVE) extra[key] ??= kept[key];
      }
    }
    const body = init?.body;
    const given = body !== undefined && body !== null;
    const inherits = !given && source !== undefined && native.state(source) !== NULL;
    if ((given || inherits) && (method === 'GET' || method === 'HEAD')) {
      throw new TypeError(`A request with the method ${method} cannot have a body`);
    }
    if (given) {
      setBody(message, body);
    } else if (inherits) {
      if (isUnusable(source)) throw new TypeError('The body of the request has already been used');
      native.moveBody(source, message);
    }
    return message;
  }

  function signalOf(request) {
    const extra = extraOf(request);
    if (extra.signal === undefined) {
      const { makeSignal, AbortSignal } = events();
      if (extra.given !== undefined) extra.signal = AbortSignal.any([extra.given]);
      else if (extra.from !== undefined) extra.signal = AbortSignal.any([signalOf(extra.from)]);
      else extra.signal = makeSignal();
    }
    return extra.signal;
  }

  // The signal that can abort a request, if JavaScript has one in hand.
  function watchedSignal(request) {
    for (let at = request; at !== undefined;) {
      const extra = native.extra(at);
      if (extra === undefined) return undefined;
      const signal = extra.signal ?? extra.given;
      if (signal !== undefined) return signal;
      at = extra.from;
    }
    return undefined;
  }

  function requestBrand(value) {
    if (native.kind(value) !== REQUEST) throw new TypeError('Illegal invocation: not a Request');
    return value;
  }

  class Request {
    constructor(input, init = undefined) {
      if (arguments.length < 1) throw new TypeError('Request needs a URL or a Request');
      return build(prototypeOf(new.target, Request), input, init);
    }

    get signal() { return signalOf(requestBrand(this)); }
    get redirect() { return native.extra(requestBrand(this))?.redirect ?? 'follow'; }
    get destination() { return ''; }

    clone() {
      requestBrand(this);
      const copy = native.newRequest(getPrototypeOf(this), methodOf(this), undefined, this);
      teeInto(this, copy);
      const kept = native.extra(this);
      const extra = extraOf(copy);
      if (kept !== undefined) Object.assign(extra, kept, { signal: undefined });
      extra.given = undefined;
      extra.from = this;
      return copy;
    }

    [internal.inspect](inspect) {
      return `Request ${inspect({ method: methodOf(this), url: urlOf(this), headers: headersOf(this) })}`;
    }
  }
  for (const key in PASSIVE) {
    Object.defineProperty(Request.prototype, key, {
      get() { return native.extra(requestBrand(this))?.[key] ?? PASSIVE[key]; },
      enumerable: true,
      configurable: true,
    });
  }
  getters(Request, ['method', 'url', 'headers']);
  mixin(Request);
  internal.idl(Request, 'signal', 'redirect', 'destination', 'clone');

  // ---- Response

  const REASON = /^[\t\x20-\x7E\x80-\xFF]*$/;
  const isNullBody = (status) => status === 101 || status === 204 || status === 205 || status === 304;

  function buildResponse(prototype, body, init) {
    init = dictionary(init, 'Response');
    let status = 200;
    let statusText = '';
    let headers;
    if (init !== undefined) {
      if (init.status !== undefined) {
        status = Number(init.status) & 0xFFFF;
        if (status === 101) {
          throw new RangeError('Only an upstream can switch protocols: return its response with status 101 as it is');
        }
        if (status < 200 || status > 599) {
          throw new RangeError(`The status of a response must be from 200 to 599, not ${init.status}`);
        }
      }
      if (init.statusText !== undefined) {
        statusText = `${init.statusText}`;
        if (!REASON.test(statusText)) throw new TypeError('Invalid statusText');
      }
      ({ headers } = init);
    }
    const message = native.newResponse(prototype, status, statusText);
    if (headers !== undefined && headers !== null) fill(headersOf(message), headers);
    if (body !== null && body !== undefined) {
      if (isNullBody(status)) throw new TypeError(`A response with status ${status} cannot have a body`);
      setBody(message, body);
    }
    return message;
  }

  class Response {
    constructor(body = null, init = undefined) {
      return buildResponse(prototypeOf(new.target, Response), body, init);
    }

    static json(value, init = undefined) {
      const text = JSON.stringify(value);
      if (text === undefined) throw new TypeError('The value cannot be made JSON');
      const message = buildResponse(Response.prototype, null, init);
      if (isNullBody(statusOf(message))) {
        throw new TypeError(`A response with status ${statusOf(message)} cannot have a body`);
      }
      native.setText(message, text);
      const fields = headersOf(message);
      if (!hasField(fields, 'content-type')) setField(fields, 'content-type', 'application/json');
      return message;
    }

    static error() {
      const message = native.newResponse(Response.prototype, 0, '');
      native.freeze(headersOf(message));
      return message;
    }

    static redirect(url, status = 302) {
      const location = new (internal.use('url').URL)(usv(url)).href;
      status = Number(status) & 0xFFFF;
      if (![301, 302, 303, 307, 308].includes(status)) throw new RangeError(`${status} is not a redirect status`);
      const message = native.newResponse(Response.prototype, status, '');
      const fields = headersOf(message);
      setField(fields, 'location', location);
      native.freeze(fields);
      return message;
    }

    get type() {
      if (statusOf(this) === 0) return 'error';
      return urlOf(this) === '' ? 'default' : 'basic';
    }

    clone() {
      if (native.kind(this) !== RESPONSE) throw new TypeError('Illegal invocation: not a Response');
      const copy = native.cloneResponse(getPrototypeOf(this), this);
      teeInto(this, copy);
      return copy;
    }

    [internal.inspect](inspect) {
      return `Response ${inspect({ status: statusOf(this), url: urlOf(this), headers: headersOf(this) })}`;
    }
  }
  getters(Response, ['status', 'ok', 'statusText', 'headers', 'url', 'redirected']);
  mixin(Response);
  internal.idl(Response, 'type', 'clone');
  for (const name of ['json', 'error', 'redirect']) Object.defineProperty(Response, name, { enumerable: true });

  // ---- fetch

  // Members of the cause are enumerable, as Node has them: the world reads them when nobody catches the error.
  function failure(message, detail, code, aborted, owner = undefined) {
    if (aborted) return internal.domException('AbortError', 'This operation was aborted');
    const cause = new Error(detail);
    member(cause, 'code', code);
    if (owner !== undefined) member(cause, 'body', owner);
    return new TypeError(message, { cause });
  }

  function member(target, key, value) {
    Object.defineProperty(target, key, { value, writable: true, enumerable: true, configurable: true });
  }

  function send(request, resolve, reject) {
    const mode = REDIRECTS.indexOf(native.extra(request)?.redirect ?? 'follow');
    const signal = watchedSignal(request);
    if (signal === undefined) {
      resolve(native.send(request, mode, undefined));
      return;
    }
    if (signal.aborted) {
      reject(signal.reason);
      return;
    }
    const aborter = native.aborter();
    // Stays until the signal goes: it also ends the response's body.
    const unfollow = events().follow(signal, (reason) => {
      reject(reason);
      native.abort(aborter);
    });
    native.send(request, mode, aborter).then(resolve, (error) => {
      unfollow();
      reject(error);
    });
  }

  function fetch(input, init = undefined) {
    if (arguments.length < 1) return Promise.reject(new TypeError('fetch needs a URL or a Request'));
    return new Promise((resolve, reject) => {
      const request = init === undefined && native.kind(input) === REQUEST
        ? input : build(Request.prototype, input, init);
      send(request, resolve, reject);
    });
  }

  // ---- for native code

  function describe(error) {
    if (!(error instanceof Error)) return `${error}`;
    const because = error.cause === undefined ? '' : `\ncaused by ${error.cause}`;
    return `${error}\n${error.stack ?? ''}${because}`;
  }

  // The native body of a stream: the one it stands for, or one that reads it.
  function release(stream) {
    const { isUsed, unwrap, acquireReader } = streams();
    if (isUsed(stream)) throw new TypeError('The body has already been used');
    const held = unwrap(stream);
    if (held !== undefined) return held;
    const reader = acquireReader(stream);
    const fail = (held, error) => {
      const code = error?.cause?.code;
      let text;
      try {
        text = describe(error);
      } catch {
        text = 'the stream failed';
      }
      native.fail(held, text, typeof code === 'string' ? code : '');
    };
    const step = (held) => {
      reader.read().then(({ done, value }) => {
        if (done) {
          native.end(held);
        } else if (!(value instanceof Uint8Array)) {
          const error = new TypeError('A chunk of a body must be a Uint8Array');
          fail(held, error);
          reader.cancel(error).catch(() => {});
        } else if (!native.push(held, value)) {
          step(held);
        }
      }, (error) => fail(held, error));
    };
    return native.open(step, () => { reader.cancel(new TypeError('Nobody reads the body any more')).catch(() => {}); });
  }

  function disconnect(request, timedOut) {
    const reason = timedOut
      ? internal.domException('TimeoutError', 'The time for this policy is up')
      : internal.domException('AbortError', 'The client went away');
    events().abortSignal(signalOf(request), reason);
  }

  native.ready(Headers.prototype, Request.prototype, Response.prototype);
  return {
    Headers, Request, Response, fetch, failure, release, disconnect,
    isUsed: (stream) => streams().isUsed(stream),
  };
})

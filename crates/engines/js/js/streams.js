// Streams (https://streams.spec.whatwg.org): readable (default and byte), writable, transform, strategies.
//
// Algorithms work on plain state objects, which the public objects hold privately. A readable stream may stand for a
// native body (`held`): it costs nothing more until somebody reads it, and can be unwrapped again until then.
// Departure: tee() of a byte stream made by JavaScript gives two default streams. A tee's slow branch queues without
// bound but the VM's memory limit, as the standard has it; that of a native body is bounded (src/web/fetch/tee.rs).
(function (internal, native) {
  'use strict';
  const KEY = Symbol('internal');
  const resolved = (value) => Promise.resolve(value);
  const ignore = () => {};
  const isObject = (value) => (typeof value === 'object' && value !== null) || typeof value === 'function';

  function handled(promise) {
    promise.then(undefined, ignore);
    return promise;
  }

  function deferred() {
    const out = { settled: false };
    out.promise = new Promise((resolve, reject) => {
      out.resolve = (value) => { out.settled = true; resolve(value); };
      out.reject = (error) => { out.settled = true; reject(error); };
    });
    return out;
  }

  function rejectedDeferred(error) {
    const out = deferred();
    handled(out.promise);
    out.reject(error);
    return out;
  }

  // A method of a source, sink or transformer as a function that always gives a promise.
  function algorithm(owner, name, absent = () => resolved()) {
    const method = owner?.[name];
    if (method === undefined) return absent;
    if (typeof method !== 'function') throw new TypeError(`${name} must be a function`);
    return (...args) => {
      try {
        return resolved(Reflect.apply(method, owner, args));
      } catch (error) {
        return Promise.reject(error);
      }
    };
  }

  function starter(owner, controller) {
    const method = owner?.start;
    if (method === undefined) return ignore;
    if (typeof method !== 'function') throw new TypeError('start must be a function');
    return () => Reflect.apply(method, owner, [controller]);
  }

  function highWaterMark(strategy, fallback) {
    const given = strategy?.highWaterMark;
    if (given === undefined) return fallback;
    const mark = Number(given);
    if (Number.isNaN(mark) || mark < 0) throw new RangeError('Invalid highWaterMark');
    return mark;
  }

  function sizeOf(strategy) {
    const size = strategy?.size;
    if (size === undefined) return () => 1;
    if (typeof size !== 'function') throw new TypeError('size must be a function');
    return (chunk) => size(chunk);
  }

  // A queue with sizes; taking from its front is cheap.
  class Queue {
    constructor() { this.reset(); }
    reset() {
      this.items = [];
      this.at = 0;
      this.total = 0;
    }
    get length() { return this.items.length - this.at; }
    push(value, size) {
      size = Number(size);
      if (!(size >= 0) || size === Infinity) throw new RangeError('The size of a chunk must be a finite number of at least 0');
      this.items.push({ value, size });
      this.total += size;
    }
    peek() { return this.items[this.at].value; }
    shift() {
      const { value, size } = this.items[this.at];
      this.items[this.at++] = undefined;
      if (this.at > 64 && this.at * 2 > this.items.length) {
        this.items = this.items.slice(this.at);
        this.at = 0;
      }
      this.total = Math.max(0, this.total - size);
      return value;
    }
  }

  // ---- readable streams

  let readableState;
  let readerState;
  let makeController;
  let makeRequest;

  const newReadable = () => ({
    state: 'readable', error: undefined, reader: undefined, disturbed: false, controller: undefined,
    held: undefined, moved: false,
  });
  const isLocked = (s) => s.reader !== undefined || s.moved;

  // Sets a stream that stands for a native body up for reading.
  function materialise(s) {
    const { held } = s;
    if (held === undefined) return;
    s.held = undefined;
    const c = newByteController(s, 0, undefined);
    c.started = true;
    c.pullAlgorithm = () => native.pull(held).then((bytes) => {
      if (s.state !== 'readable') return;
      if (bytes !== undefined) {
        byteEnqueue(c, bytes);
        return;
      }
      byteClose(c);
      if (c.pending.length !== 0) byteRespond(c, 0);
    });
    c.cancelAlgorithm = () => {
      native.cancel(held);
      return resolved();
    };
  }

  function streamClose(s) {
    s.state = 'closed';
    const { reader } = s;
    if (reader === undefined) return;
    reader.closed.resolve();
    if (!reader.byob) for (const request of reader.requests.splice(0)) request.close();
  }

  function streamError(s, error) {
    s.state = 'errored';
    s.error = error;
    const { reader } = s;
    if (reader === undefined) return;
    reader.closed.reject(error);
    handled(reader.closed.promise);
    for (const request of reader.requests.splice(0)) request.error(error);
  }

  function streamCancel(s, reason) {
    s.disturbed = true;
    if (s.state === 'closed') return resolved();
    if (s.state === 'errored') return Promise.reject(s.error);
    if (s.held !== undefined) {
      native.cancel(s.held);
      s.held = undefined;
      s.state = 'closed';
      return resolved();
    }
    streamClose(s);
    if (s.reader?.byob) for (const request of s.reader.requests.splice(0)) request.close(undefined);
    const c = s.controller;
    if (c.byte) {
      invalidateRequest(c);
      c.pending = [];
    }
    c.queue.reset();
    const result = c.cancelAlgorithm(reason);
    clearAlgorithms(c);
    return result.then(ignore);
  }

  function clearAlgorithms(c) {
    c.pullAlgorithm = c.cancelAlgorithm = () => resolved();
    c.sizeAlgorithm = undefined;
  }

  const waiting = (s) => s.reader?.requests.length ?? 0;
  const hasDefaultReader = (s) => s.reader !== undefined && !s.reader.byob;
  const hasByobReader = (s) => s.reader !== undefined && s.reader.byob;

  function desiredSize(c) {
    const { state } = c.stream;
    return state === 'errored' ? null : state === 'closed' ? 0 : c.mark - c.queue.total;
  }

  const canEnqueue = (c) => !c.closeRequested && c.stream.state === 'readable';

  function shouldPull(c) {
    if (!canEnqueue(c) || !c.started) return false;
    return waiting(c.stream) > 0 || desiredSize(c) > 0;
  }

  function pullIfNeeded(c) {
    if (!shouldPull(c)) return;
    if (c.pulling) {
      c.pullAgain = true;
      return;
    }
    c.pulling = true;
    c.pullAlgorithm(c.controller).then(() => {
      c.pulling = false;
      if (c.pullAgain) {
        c.pullAgain = false;
        pullIfNeeded(c);
      }
    }, (error) => controllerError(c, error));
  }

  function controllerError(c, error) {
    if (c.stream.state !== 'readable') return;
    if (c.byte) {
      invalidateRequest(c);
      c.pending = [];
    }
    c.queue.reset();
    clearAlgorithms(c);
    streamError(c.stream, error);
  }

  function begin(c, start) {
    resolved(start()).then(() => {
      c.started = true;
      pullIfNeeded(c);
    }, (error) => controllerError(c, error));
  }

  function newDefaultController(s, mark, size) {
    const c = {
      byte: false, stream: s, queue: new Queue(), started: false, closeRequested: false, pulling: false,
      pullAgain: false, mark, sizeAlgorithm: size, pullAlgorithm: undefined, cancelAlgorithm: undefined,
      controller: undefined,
    };
    clearAlgorithms(c);
    c.sizeAlgorithm = size;
    c.controller = makeController(c);
    s.controller = c;
    return c;
  }

  function defaultClose(c) {
    if (!canEnqueue(c)) return;
    c.closeRequested = true;
    if (c.queue.length === 0) {
      clearAlgorithms(c);
      streamClose(c.stream);
    }
  }

  function defaultEnqueue(c, chunk) {
    if (!canEnqueue(c)) return;
    if (waiting(c.stream) > 0) {
      c.stream.reader.requests.shift().chunk(chunk);
    } else {
      try {
        c.queue.push(chunk, c.sizeAlgorithm(chunk));
      } catch (error) {
        controllerError(c, error);
        throw error;
      }
    }
    pullIfNeeded(c);
  }

  // Gives a default reader's request what it asks for.
  function readInto(s, request) {
    s.disturbed = true;
    if (s.state === 'closed') {
      request.close();
      return;
    }
    if (s.state === 'errored') {
      request.error(s.error);
      return;
    }
    const c = s.controller;
    if (c.byte) {
      if (c.queue.total > 0) {
        byteGive(c, request);
        return;
      }
      if (c.autoAllocate !== undefined) {
        c.pending.push({
          buffer: new ArrayBuffer(c.autoAllocate), offset: 0, length: c.autoAllocate, filled: 0, minimum: 1,
          element: 1, make: Uint8Array, kind: 'default',
        });
      }
    } else if (c.queue.length > 0) {
      const chunk = c.queue.shift();
      if (c.closeRequested && c.queue.length === 0) {
        clearAlgorithms(c);
        streamClose(s);
      } else {
        pullIfNeeded(c);
      }
      request.chunk(chunk);
      return;
    }
    s.reader.requests.push(request);
    pullIfNeeded(c);
  }

  // ---- byte streams

  const transfer = typeof ArrayBuffer.prototype.transfer === 'function'
    ? (buffer) => buffer.transfer() : (buffer) => buffer.slice(0);

  function newByteController(s, mark, autoAllocate) {
    const c = newDefaultController(s, mark, undefined);
    c.byte = true;
    c.pending = [];
    c.request = null;
    c.autoAllocate = autoAllocate;
    c.controller = makeController(c);
    return c;
  }

  function invalidateRequest(c) {
    if (c.request === null) return;
    c.request.c = undefined;
    c.request.view = null;
    c.request = null;
  }

  function bytePush(c, buffer, offset, length) {
    c.queue.push({ buffer, offset, length }, length);
  }

  function byteEnqueue(c, chunk) {
    const s = c.stream;
    if (!canEnqueue(c)) return;
    const { byteOffset, byteLength } = chunk;
    const buffer = transfer(chunk.buffer);
    if (c.pending.length > 0) {
      const first = c.pending[0];
      invalidateRequest(c);
      first.buffer = transfer(first.buffer);
      if (first.kind === 'none') byteDetach(c, first);
    }
    if (hasDefaultReader(s)) {
      while (s.reader.requests.length > 0 && c.queue.total > 0) byteGive(c, s.reader.requests.shift());
      if (s.reader.requests.length === 0) {
        bytePush(c, buffer, byteOffset, byteLength);
      } else {
        if (c.pending.length > 0) c.pending.shift();
        s.reader.requests.shift().chunk(new Uint8Array(buffer, byteOffset, byteLength));
      }
    } else {
      bytePush(c, buffer, byteOffset, byteLength);
      if (hasByobReader(s)) for (const filled of byteProcess(c)) byteCommit(s, filled);
    }
    pullIfNeeded(c);
  }

  function byteDrained(c) {
    if (c.queue.total === 0 && c.closeRequested) {
      clearAlgorithms(c);
      streamClose(c.stream);
    } else {
      pullIfNeeded(c);
    }
  }

  function byteGive(c, request) {
    const { buffer, offset, length } = c.queue.shift();
    byteDrained(c);
    request.chunk(new Uint8Array(buffer, offset, length));
  }

  // A partly filled descriptor whose reader went away: what it holds goes back to the queue.
  function byteDetach(c, d) {
    if (d.filled > 0) bytePush(c, d.buffer.slice(d.offset, d.offset + d.filled), 0, d.filled);
    c.pending.shift();
  }

  function byteFill(c, d) {
    const copies = Math.min(c.queue.total, d.length - d.filled);
    const most = d.filled + copies;
    const aligned = most - (most % d.element);
    const ready = aligned >= d.minimum;
    let left = ready ? aligned - d.filled : copies;
    while (left > 0) {
      const head = c.queue.peek();
      const n = Math.min(left, head.length);
      new Uint8Array(d.buffer, d.offset + d.filled, n).set(new Uint8Array(head.buffer, head.offset, n));
      if (n === head.length) {
        c.queue.shift();
      } else {
        head.offset += n;
        head.length -= n;
        c.queue.items[c.queue.at].size -= n;
        c.queue.total -= n;
      }
      d.filled += n;
      left -= n;
    }
    return ready;
  }

  // Descriptors that the queue fills now.
  function byteProcess(c) {
    const filled = [];
    while (c.pending.length > 0 && c.queue.total > 0) {
      const d = c.pending[0];
      if (!byteFill(c, d)) break;
      c.pending.shift();
      filled.push(d);
    }
    return filled;
  }

  const viewOf = (d) => new d.make(transfer(d.buffer), d.offset, d.filled / d.element);

  function byteCommit(s, d) {
    const request = s.reader.requests.shift();
    if (s.state === 'closed') request.close(d.kind === 'default' ? undefined : viewOf(d));
    else request.chunk(viewOf(d));
  }

  function byteClose(c) {
    if (!canEnqueue(c)) return;
    if (c.queue.total > 0) {
      c.closeRequested = true;
      return;
    }
    if (c.pending.length > 0 && c.pending[0].filled % c.pending[0].element !== 0) {
      const error = new TypeError('The stream was closed within an element');
      controllerError(c, error);
      throw error;
    }
    clearAlgorithms(c);
    streamClose(c.stream);
  }

  function byteRespond(c, written) {
    const s = c.stream;
    const first = c.pending[0];
    invalidateRequest(c);
    if (s.state === 'closed') {
      if (first.kind === 'none') c.pending.shift();
      if (hasByobReader(s)) {
        while (s.reader.requests.length > 0 && c.pending.length > 0) byteCommit(s, c.pending.shift());
      }
    } else {
      first.filled += written;
      if (first.kind === 'none') {
        byteDetach(c, first);
        for (const filled of byteProcess(c)) byteCommit(s, filled);
      } else if (first.filled >= first.minimum) {
        c.pending.shift();
        const rest = first.filled % first.element;
        if (rest > 0) {
          const end = first.offset + first.filled;
          bytePush(c, first.buffer.slice(end - rest, end), 0, rest);
        }
        first.filled -= rest;
        const filled = byteProcess(c);
        byteCommit(s, first);
        for (const d of filled) byteCommit(s, d);
      }
    }
    pullIfNeeded(c);
  }

  function byobRead(s, view, minimum, request) {
    s.disturbed = true;
    if (s.state === 'errored') {
      request.error(s.error);
      return;
    }
    const c = s.controller;
    const element = view.BYTES_PER_ELEMENT ?? 1;
    const d = {
      buffer: undefined, offset: view.byteOffset, length: view.byteLength, filled: 0, minimum: minimum * element,
      element, make: view.constructor, kind: 'byob',
    };
    try {
      d.buffer = transfer(view.buffer);
    } catch (error) {
      request.error(error);
      return;
    }
    if (c.pending.length > 0) {
      c.pending.push(d);
      s.reader.requests.push(request);
      return;
    }
    if (s.state === 'closed') {
      request.close(viewOf(d));
      return;
    }
    if (c.queue.total > 0) {
      if (byteFill(c, d)) {
        const filled = viewOf(d);
        byteDrained(c);
        request.chunk(filled);
        return;
      }
      if (c.closeRequested) {
        const error = new TypeError('The stream ended before the view could be filled');
        controllerError(c, error);
        request.error(error);
        return;
      }
    }
    c.pending.push(d);
    s.reader.requests.push(request);
    pullIfNeeded(c);
  }

  // ---- readers

  function lock(s, byob) {
    if (isLocked(s)) throw new TypeError('The stream is locked to a reader');
    materialise(s);
    if (byob && !s.controller?.byte) throw new TypeError('A BYOB reader needs a byte stream');
    const r = { stream: s, byob, requests: [], closed: deferred() };
    s.reader = r;
    if (s.state === 'closed') r.closed.resolve();
    else if (s.state === 'errored') r.closed = rejectedDeferred(s.error);
    return r;
  }

  function release(r) {
    const s = r.stream;
    if (s === undefined) return;
    const error = new TypeError('The reader was released');
    if (s.state === 'readable') {
      r.closed.reject(error);
      handled(r.closed.promise);
    } else {
      r.closed = rejectedDeferred(error);
    }
    const c = s.controller;
    if (c?.byte && c.pending.length > 0) {
      c.pending[0].kind = 'none';
      c.pending.length = 1;
    }
    s.reader = undefined;
    r.stream = undefined;
    for (const request of r.requests.splice(0)) request.error(error);
  }

  const released = () => Promise.reject(new TypeError('The reader was released'));

  function read(r) {
    if (r.stream === undefined) return released();
    return new Promise((resolve, reject) => {
      readInto(r.stream, {
        chunk: (value) => resolve({ value, done: false }),
        close: () => resolve({ value: undefined, done: true }),
        error: reject,
      });
    });
  }

  class ReadableStreamDefaultReader {
    #r;
    static { readerState = (reader) => reader.#r; }
    constructor(stream) { this.#r = lock(readableState(stream), false); }
    get closed() { return this.#r.closed.promise; }
    read() {
      try {
        return read(this.#r);
      } catch (error) {
        return Promise.reject(error);
      }
    }
    cancel(reason = undefined) {
      const s = this.#r.stream;
      return s === undefined ? released() : streamCancel(s, reason);
    }
    releaseLock() { release(this.#r); }
  }
  internal.idl(ReadableStreamDefaultReader);

  class ReadableStreamBYOBReader {
    #r;
    constructor(stream) { this.#r = lock(readableState(stream), true); }
    get closed() { return this.#r.closed.promise; }
    read(view, options = undefined) {
      try {
        if (!ArrayBuffer.isView(view)) throw new TypeError('read needs a view of an ArrayBuffer');
        if (view.byteLength === 0) throw new TypeError('The view is empty');
        const minimum = options?.min === undefined ? 1 : Number(options.min);
        if (!(minimum >= 1)) throw new TypeError('min must be at least 1');
        if (minimum > (view.length ?? view.byteLength)) throw new RangeError('min is larger than the view');
        const { stream } = this.#r;
        if (stream === undefined) return released();
        return new Promise((resolve, reject) => {
          byobRead(stream, view, minimum, {
            chunk: (value) => resolve({ value, done: false }),
            close: (value) => resolve({ value, done: true }),
            error: reject,
          });
        });
      } catch (error) {
        return Promise.reject(error);
      }
    }
    cancel(reason = undefined) {
      const s = this.#r.stream;
      return s === undefined ? released() : streamCancel(s, reason);
    }
    releaseLock() { release(this.#r); }
  }
  internal.idl(ReadableStreamBYOBReader);

  class ReadableStreamBYOBRequest {
    #q;
    static { makeRequest = (q) => new ReadableStreamBYOBRequest(KEY, q); }
    constructor(key, q) {
      if (key !== KEY) throw new TypeError('Illegal constructor');
      this.#q = q;
    }
    get view() { return this.#q.view; }
    respond(written) {
      const { c } = this.#q;
      if (c === undefined) throw new TypeError('The request is no longer valid');
      written = Number(written);
      const first = c.pending[0];
      if (c.stream.state === 'closed') {
        if (written !== 0) throw new TypeError('Nothing can be written to a closed stream');
      } else {
        if (!(written > 0)) throw new TypeError('At least one byte must be written');
        if (first.filled + written > first.length) throw new RangeError('More was written than the view holds');
      }
      first.buffer = transfer(first.buffer);
      byteRespond(c, written);
    }
    respondWithNewView(view) {
      const { c } = this.#q;
      if (c === undefined) throw new TypeError('The request is no longer valid');
      if (!ArrayBuffer.isView(view)) throw new TypeError('respondWithNewView needs a view');
      const first = c.pending[0];
      if (c.stream.state === 'closed' ? view.byteLength !== 0 : view.byteLength === 0) {
        throw new TypeError('The view has the wrong length');
      }
      if (first.offset + first.filled !== view.byteOffset || first.filled + view.byteLength > first.length) {
        throw new RangeError('The view is not of the region that was asked for');
      }
      const written = view.byteLength;
      first.buffer = transfer(view.buffer);
      byteRespond(c, written);
    }
  }
  internal.idl(ReadableStreamBYOBRequest);

  class ReadableStreamDefaultController {
    #c;
    constructor(key, c) {
      if (key !== KEY) throw new TypeError('Illegal constructor');
      this.#c = c;
    }
    get desiredSize() { return desiredSize(this.#c); }
    close() {
      if (!canEnqueue(this.#c)) throw new TypeError('The stream is not in a state that permits close');
      defaultClose(this.#c);
    }
    enqueue(chunk = undefined) {
      if (!canEnqueue(this.#c)) throw new TypeError('The stream is not in a state that permits enqueue');
      defaultEnqueue(this.#c, chunk);
    }
    error(error = undefined) { controllerError(this.#c, error); }
  }
  internal.idl(ReadableStreamDefaultController);

  class ReadableByteStreamController {
    #c;
    constructor(key, c) {
      if (key !== KEY) throw new TypeError('Illegal constructor');
      this.#c = c;
    }
    get byobRequest() {
      const c = this.#c;
      if (c.request === null && c.pending.length > 0) {
        const first = c.pending[0];
        c.request = {
          c, view: new Uint8Array(first.buffer, first.offset + first.filled, first.length - first.filled), object: null,
        };
        c.request.object = makeRequest(c.request);
      }
      return c.request === null ? null : c.request.object;
    }
    get desiredSize() { return desiredSize(this.#c); }
    close() {
      if (!canEnqueue(this.#c)) throw new TypeError('The stream is not in a state that permits close');
      byteClose(this.#c);
    }
    enqueue(chunk) {
      if (!ArrayBuffer.isView(chunk)) throw new TypeError('A chunk of a byte stream must be a view of an ArrayBuffer');
      if (chunk.byteLength === 0) throw new TypeError('A chunk of a byte stream must not be empty');
      if (!canEnqueue(this.#c)) throw new TypeError('The stream is not in a state that permits enqueue');
      byteEnqueue(this.#c, chunk);
    }
    error(error = undefined) { controllerError(this.#c, error); }
  }
  internal.idl(ReadableByteStreamController);

  makeController = (c) => (c.byte
    ? new ReadableByteStreamController(KEY, c) : new ReadableStreamDefaultController(KEY, c));

  function makeReadable(s) {
    return new ReadableStream(KEY, s);
  }

  // A default stream of algorithms that give promises.
  function createReadable(start, pull, cancel, mark = 1, size = () => 1) {
    const s = newReadable();
    const c = newDefaultController(s, mark, size);
    c.pullAlgorithm = pull;
    c.cancelAlgorithm = cancel;
    begin(c, start);
    return [makeReadable(s), c];
  }

  function tee(s) {
    if (isLocked(s)) throw new TypeError('The stream is locked to a reader');
    if (s.held !== undefined && !s.disturbed) {
      const [one, two] = native.tee(s.held);
      s.held = undefined;
      s.disturbed = s.moved = true;
      return [ofHeld(one), ofHeld(two)];
    }
    const r = lock(s, false);
    const clones = s.controller?.byte;
    const canceled = [false, false];
    const reasons = [undefined, undefined];
    const done = deferred();
    let reading = false;
    let again = false;
    let branches;
    const each = (f) => branches.forEach(([, c], index) => { if (!canceled[index]) f(c, index); });
    const pull = () => {
      if (reading) {
        again = true;
        return resolved();
      }
      reading = true;
      readInto(s, {
        chunk: (chunk) => {
          queueMicrotask(() => {
            again = false;
            each((c, index) => defaultEnqueue(c, clones && index === 1 ? chunk.slice() : chunk));
            reading = false;
            if (again) pull();
          });
        },
        close: () => {
          reading = false;
          each((c) => defaultClose(c));
          if (!canceled[0] || !canceled[1]) done.resolve();
        },
        error: () => { reading = false; },
      });
      return resolved();
    };
    const cancel = (index) => (reason) => {
      canceled[index] = true;
      reasons[index] = reason;
      if (canceled[1 - index]) streamCancel(s, reasons).then(done.resolve, done.reject);
      return done.promise;
    };
    branches = [createReadable(ignore, pull, cancel(0)), createReadable(ignore, pull, cancel(1))];
    r.closed.promise.then(undefined, (error) => {
      for (const [, c] of branches) controllerError(c, error);
      if (!canceled[0] || !canceled[1]) done.resolve();
    });
    handled(done.promise);
    return [branches[0][0], branches[1][0]];
  }

  class StreamIterator {
    #r;
    #preventCancel;
    #last = undefined;
    #finished = false;
    constructor(r, preventCancel) {
      this.#r = r;
      this.#preventCancel = preventCancel;
    }
    #enqueue(step) {
      this.#last = this.#last === undefined ? step() : this.#last.then(step, step);
      return this.#last;
    }
    next() {
      return this.#enqueue(async () => {
        if (this.#finished) return { value: undefined, done: true };
        try {
          const result = await read(this.#r);
          if (result.done) {
            this.#finished = true;
            release(this.#r);
          }
          return result;
        } catch (error) {
          this.#finished = true;
          release(this.#r);
          throw error;
        }
      });
    }
    return(value = undefined) {
      return this.#enqueue(async () => {
        if (this.#finished) return { value, done: true };
        this.#finished = true;
        if (this.#preventCancel) {
          release(this.#r);
        } else {
          const canceled = streamCancel(this.#r.stream, value);
          release(this.#r);
          await canceled;
        }
        return { value, done: true };
      });
    }
  }
  Object.setPrototypeOf(StreamIterator.prototype,
    Object.getPrototypeOf(Object.getPrototypeOf((async function* () {}).prototype)));

  function pipeOptions(options) {
    const signal = options?.signal;
    if (signal !== undefined && !(signal instanceof internal.use('events').AbortSignal)) {
      throw new TypeError('The signal must be an AbortSignal');
    }
    return {
      preventClose: Boolean(options?.preventClose), preventAbort: Boolean(options?.preventAbort),
      preventCancel: Boolean(options?.preventCancel), signal,
    };
  }

  function pipe(s, w, { preventClose, preventAbort, preventCancel, signal }) {
    const r = lock(s, false);
    const writer = lockWriter(w);
    s.disturbed = true;
    const done = deferred();
    let shutting = false;
    let written = resolved();
    let unfollow = ignore;

    const finish = (failed, error) => {
      releaseWriter(writer);
      release(r);
      unfollow();
      if (failed) done.reject(error);
      else done.resolve();
    };
    const shutdown = (action, failed, error) => {
      if (shutting) return;
      shutting = true;
      const act = () => {
        if (action === undefined) finish(failed, error);
        else action().then(() => finish(failed, error), (newError) => finish(true, newError));
      };
      if (w.state === 'writable' && !closeQueued(w)) written.then(act, act);
      else act();
    };
    if (signal !== undefined) {
      const { follow } = internal.use('events');
      unfollow = follow(signal, (reason) => {
        shutdown(() => Promise.all([
          preventAbort || w.state !== 'writable' ? resolved() : writableAbort(w, reason),
          preventCancel || s.state !== 'readable' ? resolved() : streamCancel(s, reason),
        ]), true, reason);
      });
    }
    const sourceClosed = () => {
      if (preventClose) shutdown(undefined, false);
      else shutdown(() => writerClosePropagating(writer), false);
    };
    const sourceErrored = (error) => {
      if (preventAbort) shutdown(undefined, true, error);
      else shutdown(() => writableAbort(w, error), true, error);
    };
    const sinkErrored = (error) => {
      if (preventCancel) shutdown(undefined, true, error);
      else shutdown(() => streamCancel(s, error), true, error);
    };
    const step = () => {
      if (shutting) return;
      writer.ready.promise.then(() => {
        if (shutting) return;
        readInto(s, {
          chunk: (chunk) => {
            // In a microtask, as the standard's reads are: the chunk's owner goes first.
            queueMicrotask(() => {
              written = handled(writerWrite(writer, chunk));
              step();
            });
          },
          close: ignore,
          error: ignore,
        });
      }, ignore);
    };
    if (shutting) return done.promise;
    if (s.state === 'errored') {
      sourceErrored(s.error);
    } else if (w.state === 'errored' || w.state === 'erroring') {
      sinkErrored(w.error);
    } else if (s.state === 'closed') {
      sourceClosed();
    } else if (closeQueued(w) || w.state === 'closed') {
      sinkErrored(new TypeError('The destination is closed'));
    }
    r.closed.promise.then(() => queueMicrotask(sourceClosed), sourceErrored);
    writer.closed.promise.then(() => sinkErrored(new TypeError('The destination closed')), sinkErrored);
    step();
    return done.promise;
  }

  class ReadableStream {
    #s;

    static {
      readableState = (stream) => {
        if (!isObject(stream) || !(#s in stream)) throw new TypeError('The value is not a ReadableStream');
        return stream.#s;
      };
    }

    constructor(source = undefined, strategy = undefined) {
      if (source === KEY) {
        this.#s = strategy;
        return;
      }
      if (source !== undefined && !isObject(source)) throw new TypeError('The source of a stream must be an object');
      const s = newReadable();
      this.#s = s;
      const type = source?.type;
      if (type === undefined) {
        const size = sizeOf(strategy);
        const c = newDefaultController(s, highWaterMark(strategy, 1), size);
        c.pullAlgorithm = algorithm(source, 'pull');
        c.cancelAlgorithm = algorithm(source, 'cancel');
        begin(c, starter(source, c.controller));
        return;
      }
      if (`${type}` !== 'bytes') throw new TypeError(`Invalid type of stream: ${type}`);
      if (strategy?.size !== undefined) throw new RangeError('A byte stream has no size function');
      const chunk = source.autoAllocateChunkSize;
      if (chunk !== undefined && !(Number(chunk) > 0)) throw new TypeError('Invalid autoAllocateChunkSize');
      const c = newByteController(s, highWaterMark(strategy, 0), chunk === undefined ? undefined : Number(chunk));
      c.pullAlgorithm = algorithm(source, 'pull');
      c.cancelAlgorithm = algorithm(source, 'cancel');
      begin(c, starter(source, c.controller));
    }

    static from(iterable) {
      const make = iterable?.[Symbol.asyncIterator] ?? iterable?.[Symbol.iterator];
      if (typeof make !== 'function') throw new TypeError('ReadableStream.from needs an iterable');
      const iterator = make.call(iterable);
      if (!isObject(iterator)) throw new TypeError('The iterator is not an object');
      const [stream, c] = createReadable(ignore, async () => {
        const result = await iterator.next();
        if (!isObject(result)) throw new TypeError('The iterator gave something other than an object');
        if (result.done) defaultClose(c);
        else defaultEnqueue(c, await result.value);
      }, async (reason) => {
        if (typeof iterator.return === 'function') await iterator.return(reason);
      }, 0);
      return stream;
    }

    get locked() { return isLocked(this.#s); }

    cancel(reason = undefined) {
      try {
        if (isLocked(this.#s)) throw new TypeError('The stream is locked to a reader');
        return streamCancel(this.#s, reason);
      } catch (error) {
        return Promise.reject(error);
      }
    }

    getReader(options = undefined) {
      const mode = options?.mode;
      if (mode === undefined) return new ReadableStreamDefaultReader(this);
      if (`${mode}` !== 'byob') throw new TypeError(`Invalid mode of a reader: ${mode}`);
      return new ReadableStreamBYOBReader(this);
    }

    pipeThrough(pair, options = undefined) {
      if (!isObject(pair)) throw new TypeError('pipeThrough needs a readable and a writable');
      const { readable, writable } = pair;
      readableState(readable);
      const w = writableState(writable);
      const given = pipeOptions(options);
      if (isLocked(this.#s)) throw new TypeError('The stream is locked to a reader');
      if (w.writer !== undefined) throw new TypeError('The writable stream is locked to a writer');
      handled(pipe(this.#s, w, given));
      return readable;
    }

    pipeTo(destination, options = undefined) {
      try {
        const w = writableState(destination);
        const given = pipeOptions(options);
        if (isLocked(this.#s)) throw new TypeError('The stream is locked to a reader');
        if (w.writer !== undefined) throw new TypeError('The writable stream is locked to a writer');
        return pipe(this.#s, w, given);
      } catch (error) {
        return Promise.reject(error);
      }
    }

    tee() { return tee(this.#s); }

    values(options = undefined) {
      return new StreamIterator(lock(this.#s, false), Boolean(options?.preventCancel));
    }
  }
  internal.idl(ReadableStream);
  Object.defineProperty(ReadableStream, 'from', { enumerable: true });
  internal.data(ReadableStream.prototype, Symbol.asyncIterator, ReadableStream.prototype.values);

  function ofHeld(held) {
    const s = newReadable();
    s.held = held;
    return makeReadable(s);
  }

  // ---- writable streams

  let writableState;
  let makeWritableController;

  const newWritable = () => ({
    state: 'writable', error: undefined, writer: undefined, controller: undefined, requests: [], inFlight: undefined,
    closeRequest: undefined, closing: undefined, pendingAbort: undefined, backpressure: false,
  });
  const closeQueued = (w) => w.closeRequest !== undefined || w.closing !== undefined;
  const CLOSE = Symbol('close');

  function lockWriter(w) {
    if (w.writer !== undefined) throw new TypeError('The stream is locked to a writer');
    const writer = { stream: w, closed: deferred(), ready: deferred() };
    handled(writer.closed.promise);
    handled(writer.ready.promise);
    w.writer = writer;
    if (w.state === 'writable') {
      if (closeQueued(w) || !w.backpressure) writer.ready.resolve();
    } else if (w.state === 'erroring') {
      writer.ready.reject(w.error);
    } else if (w.state === 'closed') {
      writer.ready.resolve();
      writer.closed.resolve();
    } else {
      writer.ready.reject(w.error);
      writer.closed.reject(w.error);
    }
    return writer;
  }

  function rejectWriter(writer, which, error) {
    if (writer[which].settled) writer[which] = rejectedDeferred(error);
    else writer[which].reject(error);
    handled(writer[which].promise);
  }

  function releaseWriter(writer) {
    const w = writer.stream;
    if (w === undefined) return;
    const error = new TypeError('The writer was released');
    rejectWriter(writer, 'ready', error);
    rejectWriter(writer, 'closed', error);
    w.writer = undefined;
    writer.stream = undefined;
  }

  function writableAbort(w, reason) {
    if (w.state === 'closed' || w.state === 'errored') return resolved();
    internal.use('events').abortSignal(w.controller.signal, reason);
    if (w.state === 'closed' || w.state === 'errored') return resolved();
    if (w.pendingAbort !== undefined) return w.pendingAbort.promise;
    const was = w.state === 'erroring';
    w.pendingAbort = deferred();
    w.pendingAbort.reason = was ? undefined : reason;
    w.pendingAbort.was = was;
    const { promise } = w.pendingAbort;
    if (!was) startErroring(w, reason);
    return promise;
  }

  function writableClose(w) {
    if (w.state === 'closed' || w.state === 'errored') {
      return Promise.reject(new TypeError('The stream is closed or failed already'));
    }
    w.closeRequest = deferred();
    const { promise } = w.closeRequest;
    if (w.writer !== undefined && w.backpressure && w.state === 'writable') w.writer.ready.resolve();
    w.controller.queue.push(CLOSE, 0);
    advance(w.controller);
    return promise;
  }

  function writerClosePropagating(writer) {
    const w = writer.stream;
    if (closeQueued(w) || w.state === 'closed') return resolved();
    if (w.state === 'errored') return Promise.reject(w.error);
    return writableClose(w);
  }

  function startErroring(w, reason) {
    w.state = 'erroring';
    w.error = reason;
    if (w.writer !== undefined) rejectWriter(w.writer, 'ready', reason);
    if (w.inFlight === undefined && w.closing === undefined && w.controller.started) finishErroring(w);
  }

  function finishErroring(w) {
    w.state = 'errored';
    w.controller.queue.reset();
    for (const request of w.requests.splice(0)) request.reject(w.error);
    const abort = w.pendingAbort;
    if (abort === undefined) {
      rejectCloseAndClosed(w);
      return;
    }
    w.pendingAbort = undefined;
    if (abort.was) {
      abort.reject(w.error);
      rejectCloseAndClosed(w);
      return;
    }
    const result = w.controller.abortAlgorithm(abort.reason);
    clearSink(w.controller);
    result.then(() => {
      abort.resolve();
      rejectCloseAndClosed(w);
    }, (error) => {
      abort.reject(error);
      rejectCloseAndClosed(w);
    });
  }

  function rejectCloseAndClosed(w) {
    if (w.closeRequest !== undefined) {
      w.closeRequest.reject(w.error);
      w.closeRequest = undefined;
    }
    if (w.writer !== undefined) rejectWriter(w.writer, 'closed', w.error);
  }

  function dealWithRejection(w, error) {
    if (w.state === 'writable') startErroring(w, error);
    else finishErroring(w);
  }

  function clearSink(c) {
    c.writeAlgorithm = c.closeAlgorithm = c.abortAlgorithm = () => resolved();
    c.sizeAlgorithm = undefined;
  }

  function setBackpressure(w, backpressure) {
    const { writer } = w;
    if (writer !== undefined && backpressure !== w.backpressure) {
      if (backpressure) writer.ready = deferred();
      else writer.ready.resolve();
      handled(writer.ready.promise);
    }
    w.backpressure = backpressure;
  }

  const writableRoom = (c) => c.mark - c.queue.total;

  function advance(c) {
    const w = c.stream;
    if (!c.started || w.inFlight !== undefined) return;
    if (w.state === 'closed' || w.state === 'errored') return;
    if (w.state === 'erroring') {
      finishErroring(w);
      return;
    }
    if (c.queue.length === 0) return;
    const chunk = c.queue.peek();
    if (chunk === CLOSE) {
      w.closing = w.closeRequest;
      w.closeRequest = undefined;
      c.queue.shift();
      const result = c.closeAlgorithm();
      clearSink(c);
      result.then(() => {
        w.closing.resolve();
        w.closing = undefined;
        if (w.state === 'erroring') {
          w.error = undefined;
          w.pendingAbort?.resolve();
          w.pendingAbort = undefined;
        }
        w.state = 'closed';
        w.writer?.closed.resolve();
      }, (error) => {
        w.closing.reject(error);
        w.closing = undefined;
        w.pendingAbort?.reject(error);
        w.pendingAbort = undefined;
        dealWithRejection(w, error);
      });
      return;
    }
    w.inFlight = w.requests.shift();
    c.writeAlgorithm(chunk, c.controller).then(() => {
      w.inFlight.resolve();
      w.inFlight = undefined;
      c.queue.length > 0 && c.queue.shift();
      if (!closeQueued(w) && w.state === 'writable') setBackpressure(w, writableRoom(c) <= 0);
      advance(c);
    }, (error) => {
      if (w.state === 'writable') clearSink(c);
      w.inFlight.reject(error);
      w.inFlight = undefined;
      dealWithRejection(w, error);
    });
  }

  function sinkError(c, error) {
    if (c.stream.state === 'writable') {
      clearSink(c);
      startErroring(c.stream, error);
    }
  }

  function writerWrite(writer, chunk) {
    const w = writer.stream;
    const c = w.controller;
    let size = 1;
    try {
      if (c.sizeAlgorithm !== undefined) size = c.sizeAlgorithm(chunk);
    } catch (error) {
      sinkError(c, error);
    }
    if (writer.stream !== w) return Promise.reject(new TypeError('The writer was released'));
    if (w.state === 'errored') return Promise.reject(w.error);
    if (closeQueued(w) || w.state === 'closed') return Promise.reject(new TypeError('The stream is closed'));
    if (w.state === 'erroring') return Promise.reject(w.error);
    const request = deferred();
    w.requests.push(request);
    try {
      c.queue.push(chunk, size);
    } catch (error) {
      sinkError(c, error);
      return request.promise;
    }
    if (!closeQueued(w) && w.state === 'writable') setBackpressure(w, writableRoom(c) <= 0);
    advance(c);
    return request.promise;
  }

  function setUpWritable(w, mark, size) {
    const c = {
      stream: w, queue: new Queue(), started: false, mark, sizeAlgorithm: size, controller: undefined,
      signal: internal.use('events').makeSignal(),
    };
    clearSink(c);
    c.sizeAlgorithm = size;
    c.controller = makeWritableController(c);
    w.controller = c;
    setBackpressure(w, writableRoom(c) <= 0);
    return c;
  }

  function beginSink(c, start) {
    const w = c.stream;
    resolved(start()).then(() => {
      c.started = true;
      advance(c);
    }, (error) => {
      c.started = true;
      dealWithRejection(w, error);
    });
  }

  class WritableStreamDefaultController {
    #c;
    static { makeWritableController = (c) => new WritableStreamDefaultController(KEY, c); }
    constructor(key, c) {
      if (key !== KEY) throw new TypeError('Illegal constructor');
      this.#c = c;
    }
    get signal() { return this.#c.signal; }
    error(error = undefined) { sinkError(this.#c, error); }
  }
  internal.idl(WritableStreamDefaultController);

  class WritableStream {
    #w;
    static {
      writableState = (stream) => {
        if (!isObject(stream) || !(#w in stream)) throw new TypeError('The value is not a WritableStream');
        return stream.#w;
      };
    }
    constructor(sink = undefined, strategy = undefined) {
      if (sink === KEY) {
        this.#w = strategy;
        return;
      }
      if (sink !== undefined && !isObject(sink)) throw new TypeError('The sink of a stream must be an object');
      if (sink?.type !== undefined) throw new RangeError('Invalid type of stream');
      const w = newWritable();
      this.#w = w;
      const size = sizeOf(strategy);
      const c = setUpWritable(w, highWaterMark(strategy, 1), size);
      c.writeAlgorithm = algorithm(sink, 'write');
      c.closeAlgorithm = algorithm(sink, 'close');
      c.abortAlgorithm = algorithm(sink, 'abort');
      beginSink(c, starter(sink, c.controller));
    }
    get locked() { return this.#w.writer !== undefined; }
    abort(reason = undefined) {
      if (this.#w.writer !== undefined) return Promise.reject(new TypeError('The stream is locked to a writer'));
      return writableAbort(this.#w, reason);
    }
    close() {
      const w = this.#w;
      if (w.writer !== undefined) return Promise.reject(new TypeError('The stream is locked to a writer'));
      if (closeQueued(w)) return Promise.reject(new TypeError('The stream is being closed already'));
      return writableClose(w);
    }
    getWriter() { return new WritableStreamDefaultWriter(this); }
  }
  internal.idl(WritableStream);

  class WritableStreamDefaultWriter {
    #writer;
    constructor(stream) { this.#writer = lockWriter(writableState(stream)); }
    get closed() { return this.#writer.closed.promise; }
    get ready() { return this.#writer.ready.promise; }
    get desiredSize() {
      const w = this.#writer.stream;
      if (w === undefined) throw new TypeError('The writer was released');
      if (w.state === 'errored' || w.state === 'erroring') return null;
      return w.state === 'closed' ? 0 : writableRoom(w.controller);
    }
    #with(f) {
      const w = this.#writer.stream;
      return w === undefined ? Promise.reject(new TypeError('The writer was released')) : f(w);
    }
    abort(reason = undefined) { return this.#with((w) => writableAbort(w, reason)); }
    close() {
      return this.#with((w) => (closeQueued(w)
        ? Promise.reject(new TypeError('The stream is being closed already')) : writableClose(w)));
    }
    releaseLock() { releaseWriter(this.#writer); }
    write(chunk = undefined) { return this.#with(() => writerWrite(this.#writer, chunk)); }
  }
  internal.idl(WritableStreamDefaultWriter);

  // ---- transform streams

  let makeTransformController;

  function transformBackpressure(t, backpressure) {
    t.change?.resolve();
    t.change = deferred();
    t.backpressure = backpressure;
  }

  function transformUnblock(t) {
    if (t.backpressure) transformBackpressure(t, false);
  }

  function transformErrorWritable(t, error) {
    clearTransformer(t);
    sinkError(t.w.controller, error);
    transformUnblock(t);
  }

  function transformError(t, error) {
    controllerError(t.c, error);
    transformErrorWritable(t, error);
  }

  function clearTransformer(t) {
    t.transformAlgorithm = t.flushAlgorithm = t.cancelAlgorithm = () => resolved();
  }

  function transformEnqueue(t, chunk) {
    if (!canEnqueue(t.c)) throw new TypeError('The readable side is not in a state that permits enqueue');
    try {
      defaultEnqueue(t.c, chunk);
    } catch (error) {
      transformErrorWritable(t, error);
      throw t.s.error;
    }
    const backpressure = !shouldPull(t.c);
    if (backpressure !== t.backpressure) transformBackpressure(t, true);
  }

  class TransformStreamDefaultController {
    #t;
    static { makeTransformController = (t) => new TransformStreamDefaultController(KEY, t); }
    constructor(key, t) {
      if (key !== KEY) throw new TypeError('Illegal constructor');
      this.#t = t;
    }
    get desiredSize() { return desiredSize(this.#t.c); }
    enqueue(chunk = undefined) { transformEnqueue(this.#t, chunk); }
    error(error = undefined) { transformError(this.#t, error); }
    terminate() {
      defaultClose(this.#t.c);
      transformErrorWritable(this.#t, new TypeError('The transform stream was terminated'));
    }
  }
  internal.idl(TransformStreamDefaultController);

  class TransformStream {
    #readable;
    #writable;

    constructor(transformer = undefined, writableStrategy = undefined, readableStrategy = undefined) {
      if (transformer !== undefined && !isObject(transformer)) throw new TypeError('A transformer must be an object');
      if (transformer?.readableType !== undefined || transformer?.writableType !== undefined) {
        throw new RangeError('Invalid type of transform stream');
      }
      const readableMark = highWaterMark(readableStrategy, 0);
      const readableSize = sizeOf(readableStrategy);
      const writableMark = highWaterMark(writableStrategy, 1);
      const writableSize = sizeOf(writableStrategy);
      const t = { s: newReadable(), w: newWritable(), c: undefined, backpressure: undefined, change: undefined, finish: undefined };
      const begun = deferred();
      const c = setUpWritable(t.w, writableMark, writableSize);
      t.c = newDefaultController(t.s, readableMark, readableSize);
      const controller = makeTransformController(t);
      transformBackpressure(t, true);
      t.transformAlgorithm = algorithm(transformer, 'transform', (chunk) => {
        try {
          transformEnqueue(t, chunk);
          return resolved();
        } catch (error) {
          return Promise.reject(error);
        }
      });
      t.flushAlgorithm = algorithm(transformer, 'flush');
      t.cancelAlgorithm = algorithm(transformer, 'cancel');

      const perform = (chunk) => t.transformAlgorithm(chunk, controller).then(undefined, (error) => {
        transformError(t, error);
        throw error;
      });
      c.writeAlgorithm = (chunk) => {
        if (!t.backpressure) return perform(chunk);
        return t.change.promise.then(() => {
          if (t.w.state === 'erroring') throw t.w.error;
          return perform(chunk);
        });
      };
      c.abortAlgorithm = (reason) => {
        if (t.finish !== undefined) return t.finish.promise;
        t.finish = deferred();
        handled(t.finish.promise);
        const result = t.cancelAlgorithm(reason);
        clearTransformer(t);
        result.then(() => {
          if (t.s.state === 'errored') {
            t.finish.reject(t.s.error);
          } else {
            controllerError(t.c, reason);
            t.finish.resolve();
          }
        }, (error) => {
          controllerError(t.c, error);
          t.finish.reject(error);
        });
        return t.finish.promise;
      };
      c.closeAlgorithm = () => {
        if (t.finish !== undefined) return t.finish.promise;
        t.finish = deferred();
        handled(t.finish.promise);
        const result = t.flushAlgorithm(controller);
        clearTransformer(t);
        result.then(() => {
          if (t.s.state === 'errored') {
            t.finish.reject(t.s.error);
          } else {
            defaultClose(t.c);
            t.finish.resolve();
          }
        }, (error) => {
          controllerError(t.c, error);
          t.finish.reject(error);
        });
        return t.finish.promise;
      };
      t.c.pullAlgorithm = () => {
        transformBackpressure(t, false);
        return t.change.promise;
      };
      t.c.cancelAlgorithm = (reason) => {
        if (t.finish !== undefined) return t.finish.promise;
        t.finish = deferred();
        handled(t.finish.promise);
        const result = t.cancelAlgorithm(reason);
        clearTransformer(t);
        result.then(() => {
          if (t.w.state === 'errored') {
            t.finish.reject(t.w.error);
          } else {
            sinkError(t.w.controller, reason);
            transformUnblock(t);
            t.finish.resolve();
          }
        }, (error) => {
          sinkError(t.w.controller, error);
          transformUnblock(t);
          t.finish.reject(error);
        });
        return t.finish.promise;
      };
      this.#readable = makeReadable(t.s);
      this.#writable = new WritableStream(KEY, t.w);
      beginSink(c, () => begun.promise);
      begin(t.c, () => begun.promise);
      begun.resolve(starter(transformer, controller)());
    }

    get readable() { return this.#readable; }
    get writable() { return this.#writable; }
  }
  internal.idl(TransformStream);

  // ---- strategies

  function strategy(name, size) {
    const Strategy = { [name]: class {
      #mark;
      constructor(init) {
        if (!isObject(init) || init.highWaterMark === undefined) throw new TypeError(`${name} needs a highWaterMark`);
        this.#mark = Number(init.highWaterMark);
      }
      get highWaterMark() { return this.#mark; }
      get size() { return size; }
    } }[name];
    return internal.idl(Strategy);
  }
  const ByteLengthQueuingStrategy = strategy('ByteLengthQueuingStrategy', { size(chunk) { return chunk.byteLength; } }.size);
  const CountQueuingStrategy = strategy('CountQueuingStrategy', { size() { return 1; } }.size);

  return {
    ReadableStream, ReadableStreamDefaultReader, ReadableStreamBYOBReader, ReadableStreamDefaultController,
    ReadableByteStreamController, ReadableStreamBYOBRequest, WritableStream, WritableStreamDefaultWriter,
    WritableStreamDefaultController, TransformStream, TransformStreamDefaultController, ByteLengthQueuingStrategy,
    CountQueuingStrategy,
    // For other preludes:
    isStream: (value) => {
      try {
        readableState(value);
        return true;
      } catch {
        return false;
      }
    },
    isDisturbed: (stream) => readableState(stream).disturbed,
    isUsed: (stream) => readableState(stream).disturbed || isLocked(readableState(stream)),
    acquireReader: (stream) => new ReadableStreamDefaultReader(stream),
    tee: (stream) => tee(readableState(stream)),
    ofHeld, // (held) => a stream that stands for a native body
    // The native body that a stream stands for, unless it was read from; the stream is locked for good then.
    unwrap: (stream) => {
      const s = readableState(stream);
      const { held } = s;
      if (held === undefined || s.disturbed || isLocked(s)) return undefined;
      s.held = undefined;
      s.disturbed = s.moved = true;
      return held;
    },
    // A stream whose content was moved away.
    usedStream: () => {
      const s = newReadable();
      s.state = 'closed';
      s.disturbed = s.moved = true;
      return makeReadable(s);
    },
  };
})

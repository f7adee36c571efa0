// EventTarget, Event and its kinds, AbortController, AbortSignal (https://dom.spec.whatwg.org), MessageChannel.
(function (internal) {
  'use strict';
  // DOM: an event target of this many listeners is a leak; adding more throws.
  const MAX_LISTENERS = 10_000;
  // Live signals that AbortSignal.any made of one signal; making more throws.
  const MAX_DEPENDENTS = 10_000;
  const PRUNE_FIRST = 64;
  const now = () => (internal.use('performance').performance.now());

  let setTarget;
  let setPhase;
  let stopped;
  let setPassive;
  let trust;

  class Event {
    #type;
    #bubbles = false;
    #cancelable = false;
    #composed = false;
    #target = null;
    #currentTarget = null;
    #phase = 0;
    #canceled = false;
    #stop = false;
    #stopNow = false;
    #dispatching = false;
    #passive = false;
    #trusted = false;
    #time = undefined;

    static {
      setTarget = (event, target) => { event.#target = target; };
      setPhase = (event, phase, current, dispatching) => {
        event.#phase = phase;
        event.#currentTarget = current;
        event.#dispatching = dispatching;
        if (!dispatching) event.#stop = event.#stopNow = false;
      };
      stopped = (event, which) => (which === 'now' ? event.#stopNow : which === 'all' ? event.#stop : event.#dispatching);
      setPassive = (event, passive) => { event.#passive = passive; };
      trust = (event) => {
        event.#trusted = true;
        return event;
      };
    }

    constructor(type, init = undefined) {
      if (arguments.length < 1) throw new TypeError('Event needs a type');
      this.#type = typeof type === 'string' ? type : `${type}`;
      if (init !== undefined && init !== null) {
        if (typeof init !== 'object' && typeof init !== 'function') {
          throw new TypeError('The options of an Event must be an object');
        }
        this.#bubbles = Boolean(init.bubbles);
        this.#cancelable = Boolean(init.cancelable);
        this.#composed = Boolean(init.composed);
      }
    }

    get type() { return this.#type; }
    get target() { return this.#target; }
    get srcElement() { return this.#target; }
    get currentTarget() { return this.#currentTarget; }
    get eventPhase() { return this.#phase; }
    get bubbles() { return this.#bubbles; }
    get cancelable() { return this.#cancelable; }
    get composed() { return this.#composed; }
    get defaultPrevented() { return this.#canceled; }
    get returnValue() { return !this.#canceled; }
    set returnValue(value) { if (!value) this.preventDefault(); }
    get cancelBubble() { return this.#stop; }
    set cancelBubble(value) { if (value) this.#stop = true; }
    get isTrusted() { return this.#trusted; }
    get timeStamp() { return (this.#time ??= now()); }
    composedPath() { return this.#currentTarget === null ? [] : [this.#currentTarget]; }
    preventDefault() { if (this.#cancelable && !this.#passive) this.#canceled = true; }
    stopPropagation() { this.#stop = true; }
    stopImmediatePropagation() { this.#stop = this.#stopNow = true; }
    initEvent(type, bubbles = false, cancelable = false) {
      if (this.#dispatching) return;
      this.#type = `${type}`;
      this.#bubbles = Boolean(bubbles);
      this.#cancelable = Boolean(cancelable);
      this.#canceled = this.#stop = this.#stopNow = false;
    }
  }
  internal.idl(Event);
  ['NONE', 'CAPTURING_PHASE', 'AT_TARGET', 'BUBBLING_PHASE'].forEach((name, value) => {
    Object.defineProperty(Event, name, { value, enumerable: true });
    Object.defineProperty(Event.prototype, name, { value, enumerable: true });
  });

  // A kind of event with read-only members and their defaults.
  function kind(name, members) {
    const Kind = { [name]: class extends Event {
      #values;
      static { this.values = (event) => event.#values; }
      constructor(type, init = undefined) {
        super(type, init);
        this.#values = {};
        for (const key in members) {
          const given = init?.[key];
          this.#values[key] = given === undefined ? members[key]() : given;
        }
      }
    } }[name];
    const { values } = Kind;
    delete Kind.values;
    for (const key in members) {
      Object.defineProperty(Kind.prototype, key, {
        get() { return values(this)[key]; }, enumerable: true, configurable: true,
      });
    }
    Object.defineProperty(Kind.prototype, Symbol.toStringTag, { value: name, configurable: true });
    return Kind;
  }
  const nil = () => null;
  const empty = () => '';
  const zero = () => 0;
  const no = () => false;
  const CustomEvent = kind('CustomEvent', { detail: nil });
  const ErrorEvent = kind('ErrorEvent',
    { message: empty, filename: empty, lineno: zero, colno: zero, error: () => undefined });
  const MessageEvent = kind('MessageEvent',
    { data: nil, origin: empty, lastEventId: empty, source: nil, ports: () => Object.freeze([]) });
  const CloseEvent = kind('CloseEvent', { wasClean: no, code: zero, reason: empty });
  const ProgressEvent = kind('ProgressEvent', { lengthComputable: no, loaded: zero, total: zero });
  const PromiseRejectionEvent = kind('PromiseRejectionEvent',
    { promise: () => { throw new TypeError('PromiseRejectionEvent needs a promise'); }, reason: () => undefined });

  function report(error) {
    try {
      internal.use('console').reportError(error);
    } catch {
      // The reporter itself failed: nothing is left to report to.
    }
  }

  let fire;
  let listeners;
  class EventTarget {
    #listeners = null; // Map of type to arrays of listener records

    static {
      fire = (target, event) => target.#dispatch(event);
      listeners = (target, type) => target.#listeners?.get(type)?.length ?? 0;
    }

    addEventListener(type, callback, options = undefined) {
      if (arguments.length < 2) throw new TypeError('addEventListener needs a type and a listener');
      type = `${type}`;
      let capture = false, once = false, passive = false, signal;
      if (typeof options === 'object' && options !== null) {
        capture = Boolean(options.capture);
        once = Boolean(options.once);
        passive = Boolean(options.passive);
        signal = options.signal;
        if (signal !== undefined && !(signal instanceof AbortSignal)) {
          throw new TypeError('The signal of a listener must be an AbortSignal');
        }
      } else {
        capture = Boolean(options);
      }
      if (callback === null || callback === undefined) return;
      if (typeof callback !== 'function' && typeof callback !== 'object') {
        throw new TypeError('A listener must be a function or an object');
      }
      if (signal?.aborted) return;
      this.#listeners ??= new Map();
      let list = this.#listeners.get(type);
      if (list === undefined) this.#listeners.set(type, (list = []));
      for (const item of list) if (item.callback === callback && item.capture === capture) return;
      if (list.length >= MAX_LISTENERS) throw new RangeError(`An event target takes ${MAX_LISTENERS} listeners of a type`);
      list.push({ callback, capture, once, passive, removed: false });
      signal?.addEventListener('abort', () => this.removeEventListener(type, callback, capture), { once: true });
    }

    removeEventListener(type, callback, options = undefined) {
      if (arguments.length < 2) throw new TypeError('removeEventListener needs a type and a listener');
      const capture = typeof options === 'object' && options !== null ? Boolean(options.capture) : Boolean(options);
      const list = this.#listeners?.get(`${type}`);
      if (list === undefined) return;
      const at = list.findIndex((item) => item.callback === callback && item.capture === capture);
      if (at === -1) return;
      list[at].removed = true;
      list.splice(at, 1);
    }

    dispatchEvent(event) {
      if (!(event instanceof Event)) throw new TypeError('dispatchEvent needs an Event');
      if (stopped(event, 'dispatching')) {
        throw internal.domException('InvalidStateError', 'The event is already being dispatched');
      }
      return this.#dispatch(event);
    }

    #dispatch(event) {
      setTarget(event, this);
      const list = this.#listeners?.get(event.type);
      if (list !== undefined && list.length !== 0 && !stopped(event, 'all')) {
        setPhase(event, 2, this, true);
        for (const item of list.slice()) {
          if (item.removed) continue;
          if (item.once) this.removeEventListener(event.type, item.callback, item.capture);
          setPassive(event, item.passive);
          try {
            const { callback } = item;
            if (typeof callback === 'function') callback.call(this, event);
            else callback.handleEvent(event);
          } catch (error) {
            report(error);
          }
          setPassive(event, false);
          if (stopped(event, 'now')) break;
        }
      }
      setPhase(event, 0, null, false);
      return !event.defaultPrevented;
    }
  }
  internal.idl(EventTarget);

  // An `onNAME` attribute: a listener whose place is kept while its function changes.
  function handler(Target, name) {
    const current = new WeakMap();
    Object.defineProperty(Target.prototype, `on${name}`, {
      enumerable: true,
      configurable: true,
      get() { return current.get(this)?.callback ?? null; },
      set(callback) {
        if (typeof callback !== 'function' && (typeof callback !== 'object' || callback === null)) callback = null;
        const slot = current.get(this);
        if (slot !== undefined) {
          slot.callback = callback;
          return;
        }
        const fresh = { callback };
        current.set(this, fresh);
        this.addEventListener(name, function (event) {
          if (typeof fresh.callback === 'function') {
            if (fresh.callback.call(this, event) === false) event.preventDefault();
          }
        });
      },
    });
  }

  let makeSignal;
  let abortSignal;
  let follow;
  const KEY = Symbol('AbortSignal');
  class AbortSignal extends EventTarget {
    #aborted = false;
    #reason = undefined;
    // Signals made by any() of this one, each behind a WeakRef: one that nobody can observe any more may go. One that
    // has listeners or algorithms can be observed through them, so it is in #held as well.
    #dependents = null;
    #pruneAt = PRUNE_FIRST;
    #held = null;
    #sources = null; // what an any() signal depends on
    #listening = 0; // its abort listeners
    #algorithms = null; // native or prelude callbacks, run before the listeners

    static {
      makeSignal = () => new AbortSignal(KEY);
      abortSignal = (signal, reason) => signal.#abort(reason);
      follow = (signal, algorithm) => {
        if (signal.#aborted) {
          algorithm(signal.#reason);
          return () => {};
        }
        signal.#hold();
        signal.#algorithms ??= new Set();
        signal.#algorithms.add(algorithm);
        return () => {
          signal.#algorithms?.delete(algorithm);
          signal.#release();
        };
      };
    }

    constructor(key) {
      if (key !== KEY) throw new TypeError('Illegal constructor');
      super();
    }

    static abort(reason = undefined) {
      const signal = makeSignal();
      signal.#aborted = true;
      signal.#reason = reason === undefined
        ? internal.domException('AbortError', 'This operation was aborted') : reason;
      return signal;
    }

    static timeout(delay) {
      delay = Number(delay);
      if (!Number.isFinite(delay) || delay < 0 || delay > Number.MAX_SAFE_INTEGER) {
        throw new TypeError('The delay of AbortSignal.timeout is out of range');
      }
      const signal = makeSignal();
      const { setTimeout } = internal.use('timers');
      setTimeout(() => {
        abortSignal(signal, internal.domException('TimeoutError', 'The operation was aborted due to timeout'));
      }, Math.trunc(delay));
      return signal;
    }

    static any(signals) {
      const list = Array.from(signals);
      for (const source of list) {
        if (!(source instanceof AbortSignal)) throw new TypeError('AbortSignal.any needs AbortSignals');
      }
      const signal = makeSignal();
      for (const source of list) {
        if (source.#aborted) {
          signal.#aborted = true;
          signal.#reason = source.#reason;
          return signal;
        }
      }
      signal.#sources = new Set();
      for (const source of list) {
        // A dependent signal stands for its sources, so that order of abortion is as the standard says.
        for (const root of source.#sources ?? [source]) {
          if (signal.#sources.has(root)) continue;
          root.#adopt(signal);
          signal.#sources.add(root);
        }
      }
      return signal;
    }

    #adopt(dependent) {
      const all = (this.#dependents ??= new Set());
      if (all.size >= this.#pruneAt) {
        for (const one of all) if (one.deref() === undefined) all.delete(one);
        if (all.size >= MAX_DEPENDENTS) {
          throw new RangeError(`AbortSignal.any makes at most ${MAX_DEPENDENTS} live signals of one signal`);
        }
        this.#pruneAt = Math.min(Math.max(PRUNE_FIRST, all.size * 2), MAX_DEPENDENTS);
      }
      all.add(new WeakRef(dependent));
    }

    #hold() {
      if (this.#sources === null || this.#aborted) return;
      for (const source of this.#sources) (source.#held ??= new Set()).add(this);
    }

    #release() {
      if (this.#sources === null || (!this.#aborted && (this.#listening > 0 || this.#algorithms?.size > 0))) return;
      for (const source of this.#sources) source.#held?.delete(this);
    }

    addEventListener(type, callback, options = undefined) {
      super.addEventListener(...arguments);
      if (this.#sources !== null && `${type}` === 'abort') {
        this.#listening = listeners(this, 'abort');
        if (this.#listening > 0) this.#hold();
      }
    }

    removeEventListener(type, callback, options = undefined) {
      super.removeEventListener(...arguments);
      if (this.#sources !== null && `${type}` === 'abort') {
        this.#listening = listeners(this, 'abort');
        this.#release();
      }
    }

    #abort(reason) {
      if (this.#aborted) return;
      if (reason === undefined) reason = internal.domException('AbortError', 'This operation was aborted');
      const all = [this];
      this.#aborted = true;
      this.#reason = reason;
      if (this.#dependents !== null) {
        for (const weak of this.#dependents) {
          const dependent = weak.deref();
          if (dependent === undefined || dependent.#aborted) continue;
          dependent.#aborted = true;
          dependent.#reason = reason;
          dependent.#release();
          all.push(dependent);
        }
        this.#dependents = null;
        this.#held = null;
      }
      for (const signal of all) {
        const algorithms = signal.#algorithms;
        signal.#algorithms = null;
        if (algorithms !== null) {
          for (const algorithm of algorithms) {
            try {
              algorithm(reason);
            } catch (error) {
              report(error);
            }
          }
        }
        fire(signal, trust(new Event('abort')));
      }
    }

    get aborted() { return this.#aborted; }
    get reason() { return this.#reason; }
    throwIfAborted() { if (this.#aborted) throw this.#reason; }
  }
  internal.idl(AbortSignal);
  handler(AbortSignal, 'abort');

  class AbortController {
    #signal = makeSignal();
    get signal() { return this.#signal; }
    abort(reason = undefined) { abortSignal(this.#signal, reason); }
  }
  internal.idl(AbortController);

  let entangle;
  class MessagePort extends EventTarget {
    #other = null;
    #started = false;
    #queue = [];
    static {
      entangle = (one, two) => {
        one.#other = two;
        two.#other = one;
      };
    }
    constructor(key) {
      if (key !== KEY) throw new TypeError('Illegal constructor');
      super();
    }
    postMessage(message) {
      const other = this.#other;
      const data = internal.use('clone').structuredClone(message);
      if (other === null) return;
      if (other.#queue.length >= MAX_LISTENERS) throw new RangeError('The message port is full');
      other.#queue.push(data);
      if (other.#started) other.#pump();
    }
    #pump() {
      queueMicrotask(() => {
        if (!this.#started || this.#queue.length === 0) return;
        const data = this.#queue.shift();
        fire(this, trust(new MessageEvent('message', { data })));
      });
    }
    start() {
      if (this.#started) return;
      this.#started = true;
      for (const _ of this.#queue) this.#pump();
    }
    close() {
      if (this.#other !== null) this.#other.#other = null;
      this.#other = null;
    }
  }
  internal.idl(MessagePort);
  handler(MessagePort, 'message');
  const onmessage = Object.getOwnPropertyDescriptor(MessagePort.prototype, 'onmessage');
  Object.defineProperty(MessagePort.prototype, 'onmessage', {
    ...onmessage,
    set(callback) {
      onmessage.set.call(this, callback);
      this.start();
    },
  });

  class MessageChannel {
    #one = new MessagePort(KEY);
    #two = new MessagePort(KEY);
    constructor() { entangle(this.#one, this.#two); }
    get port1() { return this.#one; }
    get port2() { return this.#two; }
  }
  internal.idl(MessageChannel);

  return {
    Event, EventTarget, CustomEvent, ErrorEvent, MessageEvent, CloseEvent, ProgressEvent, PromiseRejectionEvent,
    AbortSignal, AbortController, MessagePort, MessageChannel,
    // For other preludes:
    makeSignal, // () => AbortSignal
    abortSignal, // (signal, reason) aborts it
    follow, // (signal, algorithm) => unfollow; the algorithm runs before the listeners, at once when aborted
    fire, // (target, event)
    handler, // (Class, name) defines onNAME
    trust, // (event) => event with isTrusted
  };
})

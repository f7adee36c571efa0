const LEVELS = { debug: 0, info: 1, log: 1, warn: 2, error: 3 };

/** Text of what is logged: strings as they are, errors with their stack, the rest as JSON. */
function text(value) {
  if (typeof value === 'string') return value;
  if (value instanceof Error) {
    const head = `${value}`;
    const stack = typeof value.stack === 'string' ? value.stack : '';
    return stack === '' ? head : stack.startsWith(head) ? stack : `${head}\n${stack}`;
  }
  if (typeof value === 'object' && value !== null) {
    try {
      return JSON.stringify(value) ?? `${value}`;
    } catch {
      return Object.prototype.toString.call(value);
    }
  }
  return typeof value === 'symbol' ? value.toString() : `${value}`;
}

/** A context's log: lines carry the request's id and the policy's name. */
class ContextLog {
  constructor() {
    hide(this, PROPERTIES, undefined);
  }

  setLogProperties(properties) {
    this[PROPERTIES] = { ...this[PROPERTIES], ...properties };
  }
}
for (const [name, level] of Object.entries(LEVELS)) {
  hide(ContextLog.prototype, name, { [name](...values) {
    const properties = this?.[PROPERTIES];
    let fields;
    if (properties !== undefined) {
      try {
        fields = JSON.stringify(properties);
      } catch {
        // What JSON cannot express is left out.
      }
    }
    native.log(level, values.map(text).join(' '), fields);
  } }[name]);
}

/** What the stages of one exchange share. Made by the gateway alone. */
class ZuploContext {
  constructor() {
    throw new TypeError('Illegal constructor');
  }

  get requestId() { return settle(this, 'requestId', native.requestId(this)); }

  get contextId() { return settle(this, 'contextId', crypto.randomUUID()); }

  get custom() { return settle(this, 'custom', {}, true); }
  set custom(value) { settle(this, 'custom', value, true); }

  get route() { return settle(this, 'route', native.route(this)); }

  get log() { return settle(this, 'log', new ContextLog()); }

  get incomingRequestProperties() {
    return settle(this, 'incomingRequestProperties', Object.freeze({
      asn: undefined, asOrganization: undefined, city: undefined, continent: undefined, country: undefined,
      latitude: undefined, longitude: undefined, colo: undefined, postalCode: undefined, metroCode: undefined,
      region: undefined, regionCode: undefined, timezone: undefined, httpProtocol: native.httpProtocol(this),
    }));
  }

  waitUntil(promise) {
    const release = native.background();
    Promise.resolve(promise).then(release, (error) => {
      native.log(LEVELS.error, `a promise given to waitUntil was rejected: ${text(error)}`, undefined);
      release();
    });
  }

  async invokeInboundPolicy(name, request) {
    const policy = policyNamed(name);
    const result = await policy.run(request, this, policy.options, name);
    if (result === undefined) return request;
    if (result instanceof Response) return result;
    if (result instanceof Request) return adopt(result, request, this);
    throw new RuntimeError(`The inbound policy '${name}' must return a Request or a Response, it returned ${describe(result)}`);
  }

  async invokeOutboundPolicy(name, response, request) {
    const policy = policyNamed(name);
    const result = await policy.run(response, request, this, policy.options, name);
    if (result instanceof Response) return result;
    throw new RuntimeError(`The outbound policy '${name}' must return a Response, it returned ${describe(result)}`);
  }
}

for (const add of [native.addResponseSendingHook, native.addResponseSendingFinalHook]) {
  hide(ZuploContext.prototype, add.name, add);
}

function requireFunction(value, where) {
  if (typeof value !== 'function') throw new TypeError(`${where} needs a function, not ${describe(value)}`);
}

/** Policies by name, for `invokeInboundPolicy` and `invokeOutboundPolicy`. */
const policies = new Map();

function policyNamed(name) {
  const policy = policies.get(`${name}`);
  if (policy === undefined) {
    throw new ConfigurationError(`No policy written in TypeScript has the name '${name}'`);
  }
  return policy;
}

/** Data of one's own for a context, which no other code can see without the key. */
class ContextData {
  static #all = new WeakMap();
  #key;

  constructor(key) { this.#key = key; }

  static #of(context) {
    let data = ContextData.#all.get(context);
    if (data === undefined) ContextData.#all.set(context, data = new Map());
    return data;
  }

  static get(context, key) { return ContextData.#all.get(context)?.get(key); }
  static set(context, key, value) { ContextData.#of(context).set(key, value); }
  get(context) { return ContextData.get(context, this.#key); }
  set(context, value) { ContextData.set(context, this.#key, value); }
}

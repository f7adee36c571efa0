/** A Request that also knows its route's parameters, its query and its user. */
class ZuploRequest extends Request {
  constructor(input, init = undefined) {
    super(input, init);
    const source = typeof input === 'object' && input !== null ? input : undefined;
    const context = native.context(source);
    if (context !== undefined) native.tie(this, context);
    const params = init?.params ?? source?.[PARAMS];
    if (params !== undefined) hide(this, PARAMS, params);
    if (init?.user !== undefined) hide(this, USER, init.user);
    else if (source !== undefined && USER in source) hide(this, USER, source[USER]);
  }

  /** Path parameters, percent-decoded. */
  get params() {
    const own = this[PARAMS];
    if (own !== undefined) return own;
    const context = native.context(this);
    return hide(this, PARAMS, context === undefined ? {} : native.params(context));
  }

  /** Query parameters; of a name that comes several times, the last. */
  get query() {
    return this[QUERY] ?? hide(this, QUERY, native.query(this.url));
  }

  /** Who sent the request, as an authentication policy of any world found. */
  get user() {
    if (USER in this) return this[USER];
    const context = native.context(this);
    return context === undefined ? undefined : userOf(context);
  }

  set user(value) {
    const context = native.context(this);
    if (context === undefined || USER in this) hide(this, USER, value);
    if (context !== undefined) setUser(context, value);
  }

  /** The URL as it was received, whatever policies did since. */
  get originalUrl() {
    const context = native.context(this);
    return context === undefined ? this.url : native.originalUrl(context);
  }

  clone() {
    return dress(super.clone(), this);
  }
}

/** Makes a plain request, as `Request.prototype.clone` gives it, a ZuploRequest like `source`. */
function dress(request, source) {
  if (!(request instanceof ZuploRequest)) Object.setPrototypeOf(request, ZuploRequest.prototype);
  if (native.context(request) === undefined) {
    const context = native.context(source);
    if (context !== undefined) native.tie(request, context);
  }
  for (const key of [PARAMS, USER]) {
    if (key in source && !(key in request)) hide(request, key, source[key]);
  }
  return request;
}

/** The user of a context's exchange: one object for all who ask, until another world says otherwise. */
function userOf(context) {
  if (native.identityChanged(context)) {
    const text = native.identity(context);
    hide(context, USER, text === undefined ? undefined : JSON.parse(text));
  }
  return context[USER];
}

function setUser(context, user) {
  hide(context, USER, user);
  if (user === undefined || user === null) {
    native.setIdentity(context, undefined, undefined);
    return;
  }
  let data;
  try {
    data = JSON.stringify(user.data);
  } catch {
    // A cycle or a BigInt: other worlds and the log see the subject alone.
  }
  native.setIdentity(context, `${user.sub ?? ''}`, data);
}

/** The request that goes on when a policy returned `next` in place of `previous`: with what it may not know itself. */
function adopt(next, previous, context) {
  const prototype = Object.getPrototypeOf(next);
  const request = prototype === Request.prototype || next instanceof ZuploRequest ? next : new ZuploRequest(next);
  dress(request, previous);
  if (native.context(request) !== context) native.tie(request, context);
  if (USER in request) {
    const user = request[USER];
    delete request[USER];
    if (user !== context[USER] || native.identityChanged(context)) setUser(context, user);
  }
  return request;
}

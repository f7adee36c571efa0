// URL, URLSearchParams (https://url.spec.whatwg.org) and URLPattern (https://urlpattern.spec.whatwg.org).
// A URL is its canonical serialisation, which is ASCII; components are sliced out of it on demand.
(function (internal, native) {
  'use strict';
  const { usv } = internal;
  const { parse, set, decode, encode, pattern } = native;
  const SPECIAL_ORIGINS = new Set(['http:', 'https:', 'ws:', 'wss:', 'ftp:']);
  const PLAIN = /^[A-Za-z0-9*\-._]*$/;
  let listOf;
  let adopt;
  let update;
  let setSearch;

  function component(text) {
    if (text.indexOf('+') !== -1) text = text.replaceAll('+', ' ');
    return text.indexOf('%') === -1 ? text : decode(text);
  }

  // A flat list: name, value, name, value ...
  function parseQuery(text) {
    const list = [];
    if (text === '') return list;
    const plain = text.indexOf('%') === -1 && text.indexOf('+') === -1;
    for (const part of text.split('&')) {
      if (part === '') continue;
      const at = part.indexOf('=');
      if (plain) {
        if (at === -1) list.push(part, '');
        else list.push(part.slice(0, at), part.slice(at + 1));
      } else if (at === -1) list.push(component(part), '');
      else list.push(component(part.slice(0, at)), component(part.slice(at + 1)));
    }
    return list;
  }

  function escape(text) {
    return PLAIN.test(text) ? text : encode(text);
  }

  function serialise(list) {
    let out = '';
    for (let i = 0; i < list.length; i += 2) {
      if (i !== 0) out += '&';
      out += escape(list[i]) + '=' + escape(list[i + 1]);
    }
    return out;
  }

  const IteratorPrototype = Object.getPrototypeOf(Object.getPrototypeOf([][Symbol.iterator]()));
  class ParamsIterator {
    #list;
    #kind;
    #at = 0;
    constructor(list, kind) {
      this.#list = list;
      this.#kind = kind;
    }
    next() {
      const list = this.#list;
      const at = this.#at;
      if (at >= list.length) return { value: undefined, done: true };
      this.#at = at + 2;
      const kind = this.#kind;
      return { value: kind === 0 ? [list[at], list[at + 1]] : kind === 1 ? list[at] : list[at + 1], done: false };
    }
  }
  Object.setPrototypeOf(ParamsIterator.prototype, IteratorPrototype);
  Object.defineProperty(ParamsIterator.prototype, Symbol.toStringTag,
    { value: 'URLSearchParams Iterator', configurable: true });

  class URLSearchParams {
    #list = [];
    #url = null;

    static {
      listOf = (params) => params.#list;
      adopt = (url, query) => {
        const params = new URLSearchParams();
        params.#list = parseQuery(query);
        params.#url = url;
        return params;
      };
      update = (params, query) => {
        // In place: iterators under way see the new list.
        params.#list.length = 0;
        for (const item of parseQuery(query)) params.#list.push(item);
      };
    }

    constructor(init = '') {
      if (init === '') return;
      if (typeof init === 'object' || typeof init === 'function') {
        if (init === null) {
          this.#list = parseQuery('null');
          return;
        }
        const iterator = init[Symbol.iterator];
        if (iterator !== undefined && iterator !== null) {
          if (#list in init && iterator === URLSearchParams.prototype[Symbol.iterator]) {
            this.#list = init.#list.slice();
            return;
          }
          const list = this.#list;
          for (const pair of init) {
            if ((typeof pair !== 'object' && typeof pair !== 'function') || pair === null) {
              throw new TypeError('Each query pair must be an iterable [name, value] tuple');
            }
            const items = Array.from(pair);
            if (items.length !== 2) throw new TypeError('Each query pair must be an iterable [name, value] tuple');
            list.push(usv(items[0]), usv(items[1]));
          }
          return;
        }
        const record = new Map();
        for (const key of Reflect.ownKeys(init)) {
          const descriptor = Reflect.getOwnPropertyDescriptor(init, key);
          if (descriptor === undefined || !descriptor.enumerable) continue;
          if (typeof key === 'symbol') throw new TypeError('Cannot convert a Symbol value to a string');
          record.set(usv(key), usv(init[key]));
        }
        for (const [key, value] of record) this.#list.push(key, value);
        return;
      }
      const text = usv(init);
      this.#list = parseQuery(text[0] === '?' ? text.slice(1) : text);
    }

    get size() { return this.#list.length / 2; }

    append(name, value) {
      if (arguments.length < 2) throw new TypeError('append needs a name and a value');
      this.#list.push(usv(name), usv(value));
      this.#changed();
    }

    delete(name, value = undefined) {
      if (arguments.length < 1) throw new TypeError('delete needs a name');
      const list = this.#list;
      name = usv(name);
      if (value !== undefined) value = usv(value);
      let to = 0;
      for (let i = 0; i < list.length; i += 2) {
        if (list[i] === name && (value === undefined || list[i + 1] === value)) continue;
        list[to++] = list[i];
        list[to++] = list[i + 1];
      }
      list.length = to;
      this.#changed();
    }

    get(name) {
      if (arguments.length < 1) throw new TypeError('get needs a name');
      const list = this.#list;
      name = usv(name);
      for (let i = 0; i < list.length; i += 2) if (list[i] === name) return list[i + 1];
      return null;
    }

    getAll(name) {
      if (arguments.length < 1) throw new TypeError('getAll needs a name');
      const list = this.#list;
      const out = [];
      name = usv(name);
      for (let i = 0; i < list.length; i += 2) if (list[i] === name) out.push(list[i + 1]);
      return out;
    }

    has(name, value = undefined) {
      if (arguments.length < 1) throw new TypeError('has needs a name');
      const list = this.#list;
      name = usv(name);
      if (value !== undefined) value = usv(value);
      for (let i = 0; i < list.length; i += 2) {
        if (list[i] === name && (value === undefined || list[i + 1] === value)) return true;
      }
      return false;
    }

    set(name, value) {
      if (arguments.length < 2) throw new TypeError('set needs a name and a value');
      const list = this.#list;
      name = usv(name);
      value = usv(value);
      let found = false;
      let to = 0;
      for (let i = 0; i < list.length; i += 2) {
        if (list[i] === name) {
          if (found) continue;
          found = true;
          list[to++] = name;
          list[to++] = value;
        } else {
          list[to++] = list[i];
          list[to++] = list[i + 1];
        }
      }
      list.length = to;
      if (!found) list.push(name, value);
      this.#changed();
    }

    sort() {
      // By UTF-16 code units, stable: what `<` compares.
      const list = this.#list;
      const pairs = [];
      for (let i = 0; i < list.length; i += 2) pairs.push([list[i], list[i + 1]]);
      pairs.sort((a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0));
      for (let i = 0; i < pairs.length; i++) {
        list[2 * i] = pairs[i][0];
        list[2 * i + 1] = pairs[i][1];
      }
      this.#changed();
    }

    forEach(callback, thisArg = undefined) {
      if (typeof callback !== 'function') throw new TypeError('forEach needs a function');
      const list = this.#list;
      for (let i = 0; i < list.length; i += 2) callback.call(thisArg, list[i + 1], list[i], this);
    }

    entries() { return new ParamsIterator(this.#list, 0); }
    keys() { return new ParamsIterator(this.#list, 1); }
    values() { return new ParamsIterator(this.#list, 2); }
    toString() { return serialise(this.#list); }

    [internal.inspect]() {
      let out = '';
      for (let i = 0; i < this.#list.length; i += 2) {
        out += `${i ? ', ' : ' '}'${this.#list[i]}' => '${this.#list[i + 1]}'`;
      }
      return `URLSearchParams {${out}${out ? ' ' : ''}}`;
    }

    #changed() {
      if (this.#url !== null) setSearch(this.#url, serialise(this.#list));
    }
  }
  internal.idl(URLSearchParams);
  internal.data(URLSearchParams.prototype, Symbol.iterator, URLSearchParams.prototype.entries);

  function invalid(input, base) {
    const error = new TypeError('Invalid URL');
    error.code = 'ERR_INVALID_URL';
    error.input = input;
    if (base !== undefined) error.base = base;
    return error;
  }

  function parseWith(input, base) {
    return base === undefined ? parse(usv(input)) : parse(usv(input), usv(base));
  }

  class URL {
    #href;
    #params = null;
    // Offsets into the href, found when first asked for: the end of the scheme, the start of the credentials (-1 without
    // authority), the start and end of the host name, the starts of path, query and fragment.
    #at = null;

    static { setSearch = (url, query) => url.#set('search', query); }

    constructor(url, base = undefined) {
      if (arguments.length < 1) throw new TypeError('URL needs a string');
      const href = parseWith(url, base);
      if (href === undefined) throw invalid(usv(url), base === undefined ? undefined : usv(base));
      this.#href = href;
    }

    static canParse(url, base = undefined) {
      if (arguments.length < 1) throw new TypeError('canParse needs a string');
      return parseWith(url, base) !== undefined;
    }

    static parse(url, base = undefined) {
      if (arguments.length < 1) throw new TypeError('parse needs a string');
      const href = parseWith(url, base);
      return href === undefined ? null : new URL(href);
    }

    #locate() {
      if (this.#at !== null) return this.#at;
      const href = this.#href;
      const scheme = href.indexOf(':') + 1;
      let hash = href.indexOf('#', scheme);
      if (hash === -1) hash = href.length;
      let query = href.indexOf('?', scheme);
      if (query === -1 || query > hash) query = hash;
      let path = scheme;
      let user = -1;
      let host = path;
      let port = path;
      if (href.startsWith('//', scheme)) {
        user = scheme + 2;
        path = href.indexOf('/', user);
        if (path === -1 || path > query) path = query;
        const at = href.lastIndexOf('@', path - 1);
        host = at < user ? user : at + 1;
        const colon = href.lastIndexOf(':', path - 1);
        port = colon < host || href[path - 1] === ']' ? path : colon;
      } else if (href.startsWith('/.//', scheme)) {
        // A path that begins with two slashes is told from an authority by "/.".
        path += 2;
      }
      return (this.#at = { scheme, user, host, port, path, query, hash });
    }

    #replace(href) {
      this.#href = href;
      this.#at = null;
    }

    #set(component, value) {
      const href = set(this.#href, component, usv(value));
      if (href !== undefined) this.#replace(href);
    }

    get href() { return this.#href; }
    set href(value) {
      const href = parse(usv(value));
      if (href === undefined) throw invalid(usv(value));
      this.#replace(href);
      if (this.#params !== null) update(this.#params, this.search.slice(1));
    }

    get origin() {
      const protocol = this.protocol;
      if (SPECIAL_ORIGINS.has(protocol)) return `${protocol}//${this.host}`;
      if (protocol === 'blob:') {
        const inner = parse(this.pathname);
        if (inner !== undefined && inner.startsWith('http')) return new URL(inner).origin;
      }
      return 'null';
    }

    get protocol() {
      return this.#href.slice(0, this.#locate().scheme);
    }
    set protocol(value) { this.#set('protocol', value); }

    get username() {
      const { user, host } = this.#locate();
      if (user === -1 || host === user) return '';
      const text = this.#href.slice(user, host - 1);
      const colon = text.indexOf(':');
      return colon === -1 ? text : text.slice(0, colon);
    }
    set username(value) { this.#set('username', value); }

    get password() {
      const { user, host } = this.#locate();
      if (user === -1 || host === user) return '';
      const text = this.#href.slice(user, host - 1);
      const colon = text.indexOf(':');
      return colon === -1 ? '' : text.slice(colon + 1);
    }
    set password(value) { this.#set('password', value); }

    get host() {
      const { user, host, path } = this.#locate();
      return user === -1 ? '' : this.#href.slice(host, path);
    }
    set host(value) { this.#set('host', value); }

    get hostname() {
      const { user, host, port } = this.#locate();
      return user === -1 ? '' : this.#href.slice(host, port);
    }
    set hostname(value) { this.#set('hostname', value); }

    get port() {
      const { user, port, path } = this.#locate();
      return user === -1 ? '' : this.#href.slice(port + 1, path);
    }
    set port(value) { this.#set('port', value); }

    get pathname() {
      const { path, query } = this.#locate();
      return this.#href.slice(path, query);
    }
    set pathname(value) { this.#set('pathname', value); }

    get search() {
      const { query, hash } = this.#locate();
      return hash - query < 2 ? '' : this.#href.slice(query, hash);
    }
    set search(value) {
      this.#set('search', value);
      if (this.#params !== null) update(this.#params, this.search.slice(1));
    }

    get searchParams() {
      if (this.#params === null) {
        this.#params = adopt(this, this.search.slice(1));
      }
      return this.#params;
    }

    get hash() {
      const { hash } = this.#locate();
      return this.#href.length - hash < 2 ? '' : this.#href.slice(hash);
    }
    set hash(value) { this.#set('hash', value); }

    toString() { return this.#href; }
    toJSON() { return this.#href; }

    [internal.inspect](inspect) {
      return `URL ${inspect({
        href: this.href, origin: this.origin, protocol: this.protocol, username: this.username,
        password: this.password, host: this.host, hostname: this.hostname, port: this.port,
        pathname: this.pathname, search: this.search, searchParams: this.searchParams, hash: this.hash,
      })}`;
    }
  }
  internal.idl(URL);
  for (const name of ['canParse', 'parse']) Object.defineProperty(URL, name, { enumerable: true });

  const COMPONENTS = ['protocol', 'username', 'password', 'hostname', 'port', 'pathname', 'search', 'hash'];

  // A plain copy of a URLPatternInit, every member a string.
  function patternInit(input) {
    const out = { __proto__: null };
    for (const name of [...COMPONENTS, 'baseURL']) {
      const value = input[name];
      if (value !== undefined) out[name] = usv(value);
    }
    return out;
  }

  class URLPattern {
    #native;

    constructor(input = {}, baseOrOptions = undefined, options = undefined) {
      let base;
      if (typeof baseOrOptions === 'object' && baseOrOptions !== null) options = baseOrOptions;
      else if (baseOrOptions !== undefined) base = usv(baseOrOptions);
      if (typeof input === 'object' && input !== null) {
        if (base !== undefined) throw new TypeError('A base URL cannot be given with an init object');
        input = patternInit(input);
      } else {
        input = usv(input);
      }
      this.#native = pattern(input, base, Boolean(options?.ignoreCase));
    }

    #run(input, base) {
      if (typeof input === 'object' && input !== null && !(input instanceof URL)) {
        if (base !== undefined) throw new TypeError('A base URL cannot be given with an init object');
        return this.#native.run(patternInit(input), undefined);
      }
      return this.#native.run(usv(input), base === undefined ? undefined : usv(base));
    }

    test(input = {}, base = undefined) {
      const found = this.#run(input, base);
      return found !== null && found !== undefined;
    }

    exec(input = {}, base = undefined) {
      const found = this.#run(input, base);
      if (found === null || found === undefined) return null;
      const out = { inputs: base === undefined ? [input] : [input, base] };
      COMPONENTS.forEach((name, i) => {
        const [matched, names, values] = found[i];
        const groups = {};
        // A wildcard has a number for a name; the engine's map has no order, so sort.
        const order = names.map((_, at) => at).sort((a, b) => (names[a] < names[b] ? -1 : 1));
        for (const at of order) groups[names[at]] = values[at];
        out[name] = { input: matched, groups };
      });
      return out;
    }

    get protocol() { return this.#native.protocol; }
    get username() { return this.#native.username; }
    get password() { return this.#native.password; }
    get hostname() { return this.#native.hostname; }
    get port() { return this.#native.port; }
    get pathname() { return this.#native.pathname; }
    get search() { return this.#native.search; }
    get hash() { return this.#native.hash; }
    get hasRegExpGroups() { return this.#native.hasRegExpGroups; }
  }
  internal.idl(URLPattern);

  return { URL, URLSearchParams, URLPattern, parseQuery, serialiseQuery: serialise, listOf };
})

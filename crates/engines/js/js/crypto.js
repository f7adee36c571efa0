// crypto and crypto.subtle (https://w3c.github.io/webcrypto/). The arithmetic is native; here are names, usages, formats.
// RSA key generation and PBKDF2 run on blocking threads, over copies of their inputs. Every other operation runs to its
// end within the call, so that inputs need no snapshot; its promise is settled by then.
(function (internal, native) {
  'use strict';
  const { toBytes, usv } = internal;
  const ILLEGAL = Symbol('CryptoKey');
  const USAGES = ['encrypt', 'decrypt', 'sign', 'verify', 'deriveKey', 'deriveBits', 'wrapKey', 'unwrapKey'];
  const HASHES = ['SHA-1', 'SHA-256', 'SHA-384', 'SHA-512'];
  const BLOCK_BITS = { 'SHA-1': 512, 'SHA-256': 512, 'SHA-384': 1024, 'SHA-512': 1024 };
  const SUFFIX = { 'SHA-1': '1', 'SHA-256': '256', 'SHA-384': '384', 'SHA-512': '512' };
  const EXPONENT = new Uint8Array([1, 0, 1]);
  const EMPTY = new Uint8Array(0);
  const fromBase64 = Uint8Array.fromBase64;
  const toBase64 = Function.prototype.call.bind(Uint8Array.prototype.toBase64);

  function fail(name, message) {
    throw internal.domException(name, message);
  }
  // What a native function gave, or an error when it gave nothing.
  function done(value, name = 'OperationError', message = 'The operation failed') {
    return value === undefined || value === null ? fail(name, message) : value;
  }
  function bytes(value, what) {
    const view = value === undefined || value === null ? undefined : toBytes(value);
    if (view === undefined) throw new TypeError(`${what} must be an ArrayBuffer or a view of one`);
    return view;
  }
  function encodeUrl(view) {
    return toBase64(view, { alphabet: 'base64url', omitPadding: true });
  }
  function decodeUrl(text, what) {
    if (typeof text !== 'string') fail('DataError', `The JWK member ${what} is missing`);
    try {
      return fromBase64.call(Uint8Array, text, { alphabet: 'base64url' });
    } catch {
      return fail('DataError', `The JWK member ${what} is not base64url`);
    }
  }

  let handleOf;
  class CryptoKey {
    #handle;
    #type;
    #extractable;
    #algorithm;
    #usages;
    static { handleOf = (key) => key.#handle; }
    constructor(illegal, handle, type, extractable, algorithm, usages) {
      if (illegal !== ILLEGAL) throw new TypeError('Illegal constructor');
      this.#handle = handle;
      this.#type = type;
      this.#extractable = extractable;
      this.#algorithm = algorithm;
      this.#usages = USAGES.filter((usage) => usages.includes(usage));
    }
    get type() { return this.#type; }
    get extractable() { return this.#extractable; }
    get algorithm() { return this.#algorithm; }
    get usages() { return this.#usages; }
    [internal.inspect](inspect) {
      return `CryptoKey ${inspect({
        type: this.type, extractable: this.extractable, algorithm: this.algorithm, usages: this.usages })}`;
    }
  }
  internal.idl(CryptoKey);

  function makeKey(handle, type, extractable, algorithm, usages) {
    if ((type === 'private' || type === 'secret') && usages.length === 0) {
      throw internal.domException('SyntaxError', 'The key must have a usage');
    }
    return new CryptoKey(ILLEGAL, handle, type, extractable, algorithm, usages);
  }
  function checkKey(key) {
    if (!(key instanceof CryptoKey)) throw new TypeError('The key must be a CryptoKey');
    return handleOf(key);
  }
  function checkUsages(usages, allowed) {
    for (const usage of usages) {
      if (!allowed.includes(usage)) fail('SyntaxError', `The usage ${usage} is not of this kind of key`);
    }
  }
  function readUsages(usages) {
    const list = Array.from(usages, (usage) => `${usage}`);
    for (const usage of list) if (!USAGES.includes(usage)) throw new TypeError(`${usage} is not a key usage`);
    return list;
  }

  // --- JSON Web Keys (RFC 7517, 7518, 8037) ---
  function checkJwk(jwk, kty, extractable, usages, use) {
    if (typeof jwk !== 'object' || jwk === null) throw new TypeError('The key data of a JWK must be an object');
    if (jwk.kty !== kty) fail('DataError', `The JWK member kty must be ${kty}`);
    if (usages.length && jwk.use !== undefined && jwk.use !== use) fail('DataError', `The JWK member use must be ${use}`);
    if (jwk.key_ops !== undefined) {
      if (!Array.isArray(jwk.key_ops) || usages.some((usage) => !jwk.key_ops.includes(usage))) {
        fail('DataError', 'The JWK member key_ops does not allow the usages');
      }
    }
    if (jwk.ext === false && extractable) fail('DataError', 'The JWK is not extractable');
  }
  function makeJwk(kty, members, key, alg) {
    const out = { kty, ...members };
    if (alg !== undefined) out.alg = alg;
    out.key_ops = [...key.usages];
    out.ext = key.extractable;
    return out;
  }

  function hashOf(value) {
    return normalise(value, 'digest').name;
  }
  function required(params, member) {
    if (params[member] === undefined) throw new TypeError(`The algorithm's member ${member} is required`);
    return params[member];
  }
  function integer(value, what) {
    const number = Number(value);
    if (!Number.isInteger(number) || number < 0 || number > 0xFFFFFFFF) throw new TypeError(`${what} is out of range`);
    return number;
  }
  function format(kind, allowed) {
    if (!allowed.includes(kind)) fail('NotSupportedError', `The key format ${kind} is not supported for this algorithm`);
  }

  // --- algorithms ---
  const HMAC = {
    usages: ['sign', 'verify'],
    generateKey(params, extractable, usages) {
      checkUsages(usages, this.usages);
      const hash = hashOf(required(params, 'hash'));
      const length = params.length === undefined ? BLOCK_BITS[hash] : integer(params.length, 'length');
      if (length === 0 || length % 8 !== 0 || length > 65536) fail('OperationError', 'The key length is invalid');
      return makeKey(native.secret(native.random(length / 8)), 'secret', extractable,
        { name: 'HMAC', hash: { name: hash }, length }, usages);
    },
    importKey(kind, data, params, extractable, usages) {
      format(kind, ['raw', 'jwk']);
      checkUsages(usages, this.usages);
      const hash = hashOf(required(params, 'hash'));
      if (kind === 'jwk') {
        checkJwk(data, 'oct', extractable, usages, 'sig');
        if (data.alg !== undefined && data.alg !== `HS${SUFFIX[hash]}`) fail('DataError', 'The JWK member alg does not fit the hash');
        data = decodeUrl(data.k, 'k');
      }
      if (data.byteLength === 0) fail('DataError', 'The key is empty');
      if (params.length !== undefined && integer(params.length, 'length') !== data.byteLength * 8) {
        fail('DataError', 'The key has another length');
      }
      return makeKey(native.secret(data), 'secret', extractable,
        { name: 'HMAC', hash: { name: hash }, length: data.byteLength * 8 }, usages);
    },
    exportKey(kind, key) {
      format(kind, ['raw', 'jwk']);
      const raw = native.secretBytes(handleOf(key));
      if (kind === 'raw') return raw.buffer;
      return makeJwk('oct', { k: encodeUrl(raw) }, key, `HS${SUFFIX[key.algorithm.hash.name]}`);
    },
    sign(params, key, data) {
      return done(native.hmacSign(handleOf(key), key.algorithm.hash.name, data));
    },
    verify(params, key, signature, data) {
      return done(native.hmacVerify(handleOf(key), key.algorithm.hash.name, signature, data));
    },
  };

  function aes(name, usages, tag, work) {
    return {
      usages,
      generateKey(params, extractable, wanted) {
        checkUsages(wanted, usages);
        const length = integer(required(params, 'length'), 'length');
        if (![128, 192, 256].includes(length)) fail('OperationError', 'The length of an AES key is 128, 192 or 256');
        return makeKey(native.secret(native.random(length / 8)), 'secret', extractable, { name, length }, wanted);
      },
      importKey(kind, data, params, extractable, wanted) {
        format(kind, ['raw', 'jwk']);
        checkUsages(wanted, usages);
        if (kind === 'jwk') {
          checkJwk(data, 'oct', extractable, wanted, 'enc');
          const raw = decodeUrl(data.k, 'k');
          if (data.alg !== undefined && data.alg !== `A${raw.byteLength * 8}${tag}`) {
            fail('DataError', 'The JWK member alg does not fit the key');
          }
          data = raw;
        }
        if (![16, 24, 32].includes(data.byteLength)) fail('DataError', 'The length of an AES key is 128, 192 or 256');
        return makeKey(native.secret(data), 'secret', extractable, { name, length: data.byteLength * 8 }, wanted);
      },
      exportKey(kind, key) {
        format(kind, ['raw', 'jwk']);
        const raw = native.secretBytes(handleOf(key));
        if (kind === 'raw') return raw.buffer;
        return makeJwk('oct', { k: encodeUrl(raw) }, key, `A${key.algorithm.length}${tag}`);
      },
      getKeyLength(params) { return integer(required(params, 'length'), 'length'); },
      ...work,
    };
  }
  const CRYPT = ['encrypt', 'decrypt', 'wrapKey', 'unwrapKey'];
  function both(work) {
    return {
      encrypt: (params, key, data) => work(params, key, data, true),
      decrypt: (params, key, data) => work(params, key, data, false),
    };
  }
  const AES_GCM = aes('AES-GCM', CRYPT, 'GCM', both((params, key, data, encrypt) => {
    const iv = bytes(required(params, 'iv'), 'iv');
    const tagLength = params.tagLength === undefined ? 128 : Number(params.tagLength);
    if (![32, 64, 96, 104, 112, 120, 128].includes(tagLength)) fail('OperationError', 'The tag length is invalid');
    if (tagLength !== 128) fail('NotSupportedError', 'Only tags of 128 bits are supported');
    if (iv.byteLength !== 12) fail('NotSupportedError', 'Only an iv of 12 bytes is supported');
    const additional = params.additionalData === undefined ? EMPTY : bytes(params.additionalData, 'additionalData');
    return done(native.aesGcm(handleOf(key), encrypt, iv, additional, data));
  }));
  const AES_CBC = aes('AES-CBC', CRYPT, 'CBC', both((params, key, data, encrypt) => {
    const iv = bytes(required(params, 'iv'), 'iv');
    if (iv.byteLength !== 16) fail('OperationError', 'The iv must have 16 bytes');
    return done(native.aesCbc(handleOf(key), encrypt, iv, data));
  }));
  const AES_CTR = aes('AES-CTR', CRYPT, 'CTR', both((params, key, data, encrypt) => {
    const counter = bytes(required(params, 'counter'), 'counter');
    const length = integer(required(params, 'length'), 'length');
    if (counter.byteLength !== 16) fail('OperationError', 'The counter must have 16 bytes');
    if (length === 0 || length > 128) fail('OperationError', 'The counter length is invalid');
    return done(native.aesCtr(handleOf(key), encrypt, counter, length, data));
  }));
  const AES_KW = aes('AES-KW', ['wrapKey', 'unwrapKey'], 'KW', {
    wrapKey: (params, key, data) => done(native.aesKw(handleOf(key), true, data)),
    unwrapKey: (params, key, data) => done(native.aesKw(handleOf(key), false, data)),
  });

  function rsa(name, publicUsages, privateUsages, alg, use, work) {
    const algorithm = (handle, hash) => {
      const [n, e] = native.rsaParts(handle);
      const modulusLength = n.byteLength * 8 - Math.clz32(n[0]) + 24;
      return { name, modulusLength, publicExponent: e, hash: { name: hash } };
    };
    return {
      usages: [...publicUsages, ...privateUsages],
      async generateKey(params, extractable, usages) {
        checkUsages(usages, this.usages);
        const hash = hashOf(required(params, 'hash'));
        const bits = integer(required(params, 'modulusLength'), 'modulusLength');
        const exponent = bytes(required(params, 'publicExponent'), 'publicExponent');
        if (![2048, 3072, 4096].includes(bits)) fail('NotSupportedError', 'RSA keys of 2048, 3072 or 4096 bits are supported');
        if (!native.equal(exponent, EXPONENT)) fail('NotSupportedError', 'Only the public exponent 65537 is supported');
        const [priv, pub] = done(await native.rsaGenerate(bits));
        return {
          privateKey: makeKey(priv, 'private', extractable, algorithm(priv, hash), usages.filter((u) => privateUsages.includes(u))),
          publicKey: makeKey(pub, 'public', true, algorithm(pub, hash), usages.filter((u) => publicUsages.includes(u))),
        };
      },
      importKey(kind, data, params, extractable, usages) {
        format(kind, ['spki', 'pkcs8', 'jwk']);
        const hash = hashOf(required(params, 'hash'));
        const isPrivate = kind === 'pkcs8' || (kind === 'jwk' && data?.d !== undefined);
        checkUsages(usages, isPrivate ? privateUsages : publicUsages);
        let handle;
        if (kind === 'jwk') {
          checkJwk(data, 'RSA', extractable, usages, use);
          if (data.alg !== undefined && data.alg !== alg(hash)) fail('DataError', 'The JWK member alg does not fit the algorithm');
          if (data.oth !== undefined) fail('NotSupportedError', 'Keys of more than two primes are not supported');
          const members = isPrivate ? ['n', 'e', 'd', 'p', 'q', 'dp', 'dq', 'qi'] : ['n', 'e'];
          handle = native.rsaFromParts(members.map((member) => decodeUrl(data[member], member)));
        } else {
          handle = native.rsaImport(kind, data);
        }
        done(handle, 'DataError', 'The key is not an RSA key of 2048 to 8192 bits');
        return makeKey(handle, isPrivate ? 'private' : 'public', extractable, algorithm(handle, hash), usages);
      },
      exportKey(kind, key) {
        format(kind, ['spki', 'pkcs8', 'jwk']);
        const handle = handleOf(key);
        if (kind !== 'jwk') {
          return done(native.rsaExport(handle, kind), 'InvalidAccessError', `A ${key.type} key has no form ${kind}`);
        }
        const members = {};
        native.rsaParts(handle).forEach((part, i) => {
          members[['n', 'e', 'd', 'p', 'q', 'dp', 'dq', 'qi'][i]] = encodeUrl(part);
        });
        return makeJwk('RSA', members, key, alg(key.algorithm.hash.name));
      },
      ...work,
    };
  }
  const RSA_PKCS1 = rsa('RSASSA-PKCS1-v1_5', ['verify'], ['sign'], (hash) => `RS${SUFFIX[hash]}`, 'sig', {
    sign: (params, key, data) => done(native.rsaSign(handleOf(key), key.algorithm.hash.name, undefined, data)),
    verify: (params, key, signature, data) =>
      done(native.rsaVerify(handleOf(key), key.algorithm.hash.name, undefined, signature, data)),
  });
  function salt(params, key) {
    const length = integer(required(params, 'saltLength'), 'saltLength');
    if (![0, 20, 32, 48, 64].includes(length) || key.algorithm.hash.name === 'SHA-1') {
      fail('NotSupportedError', 'RSA-PSS is supported with SHA-256, SHA-384, SHA-512 and salts of 0, 20, 32, 48, 64 bytes');
    }
    return length;
  }
  const RSA_PSS = rsa('RSA-PSS', ['verify'], ['sign'], (hash) => `PS${SUFFIX[hash]}`, 'sig', {
    sign: (params, key, data) => done(native.rsaSign(handleOf(key), key.algorithm.hash.name, salt(params, key), data)),
    verify: (params, key, signature, data) =>
      done(native.rsaVerify(handleOf(key), key.algorithm.hash.name, salt(params, key), signature, data)),
  });
  const oaep = (params, key, data) => {
    const label = params.label === undefined ? EMPTY : bytes(params.label, 'label');
    return done(native.rsaOaep(handleOf(key), key.algorithm.hash.name, label, data));
  };
  const RSA_OAEP = rsa('RSA-OAEP', ['encrypt', 'wrapKey'], ['decrypt', 'unwrapKey'],
    (hash) => (hash === 'SHA-1' ? 'RSA-OAEP' : `RSA-OAEP-${SUFFIX[hash]}`), 'enc', { encrypt: oaep, decrypt: oaep });

  function curve(value) {
    const named = `${value}`;
    if (!['P-256', 'P-384', 'P-521'].includes(named)) fail('NotSupportedError', `The curve ${named} is not supported`);
    return named;
  }
  function ec(name, publicUsages, privateUsages, use, work) {
    return {
      usages: [...publicUsages, ...privateUsages],
      generateKey(params, extractable, usages) {
        checkUsages(usages, this.usages);
        const algorithm = { name, namedCurve: curve(required(params, 'namedCurve')) };
        const [priv, pub] = done(native.ecGenerate(algorithm.namedCurve));
        return {
          privateKey: makeKey(priv, 'private', extractable, algorithm, usages.filter((u) => privateUsages.includes(u))),
          publicKey: makeKey(pub, 'public', true, { ...algorithm }, usages.filter((u) => publicUsages.includes(u))),
        };
      },
      importKey(kind, data, params, extractable, usages) {
        format(kind, ['raw', 'spki', 'pkcs8', 'jwk']);
        const namedCurve = curve(required(params, 'namedCurve'));
        const isPrivate = kind === 'pkcs8' || (kind === 'jwk' && data?.d !== undefined);
        checkUsages(usages, isPrivate ? privateUsages : publicUsages);
        let handle;
        if (kind === 'jwk') {
          checkJwk(data, 'EC', extractable, usages, use);
          if (data.crv !== namedCurve) fail('DataError', 'The JWK member crv is another curve');
          if (use === 'sig' && data.alg !== undefined
            && data.alg !== { 'P-256': 'ES256', 'P-384': 'ES384', 'P-521': 'ES512' }[namedCurve]) {
            fail('DataError', 'The JWK member alg does not fit the curve');
          }
          handle = native.ecFromParts(namedCurve, decodeUrl(data.x, 'x'), decodeUrl(data.y, 'y'),
            isPrivate ? decodeUrl(data.d, 'd') : undefined);
        } else {
          handle = native.ecImport(namedCurve, kind, data);
        }
        done(handle, 'DataError', `The key is not one of ${namedCurve}`);
        return makeKey(handle, isPrivate ? 'private' : 'public', extractable, { name, namedCurve }, usages);
      },
      exportKey(kind, key) {
        format(kind, ['raw', 'spki', 'pkcs8', 'jwk']);
        const handle = handleOf(key);
        if (kind !== 'jwk') {
          if ((kind === 'pkcs8') !== (key.type === 'private')) fail('InvalidAccessError', `A ${key.type} key has no form ${kind}`);
          return done(native.ecExport(handle, kind));
        }
        const [x, y, d] = native.ecParts(handle);
        const members = { crv: key.algorithm.namedCurve, x: encodeUrl(x), y: encodeUrl(y) };
        if (d !== undefined) members.d = encodeUrl(d);
        return makeJwk('EC', members, key);
      },
      ...work,
    };
  }
  const ECDSA = ec('ECDSA', ['verify'], ['sign'], 'sig', {
    sign: (params, key, data) => done(native.ecSign(handleOf(key), hashOf(required(params, 'hash')), data)),
    verify: (params, key, signature, data) =>
      done(native.ecVerify(handleOf(key), hashOf(required(params, 'hash')), signature, data)),
  });
  function agree(params, key, length, derive) {
    const other = required(params, 'public');
    if (!(other instanceof CryptoKey)) throw new TypeError('public must be a CryptoKey');
    if (other.type !== 'public' || other.algorithm.name !== key.algorithm.name
      || other.algorithm.namedCurve !== key.algorithm.namedCurve) {
      fail('InvalidAccessError', 'The public key does not fit the private one');
    }
    const shared = done(derive(handleOf(key), handleOf(other)));
    if (length === null) return shared;
    if (shared.byteLength * 8 < length) fail('OperationError', 'The shared secret is shorter than that');
    const out = shared.slice(0, Math.ceil(length / 8));
    if (length % 8 !== 0) new Uint8Array(out)[out.byteLength - 1] &= 0xFF00 >> (length % 8);
    return out;
  }
  const DERIVE = ['deriveKey', 'deriveBits'];
  const ECDH = ec('ECDH', [], DERIVE, 'enc', {
    deriveBits: (params, key, length) => agree(params, key, length, native.ecdh),
  });

  function okp(name, publicUsages, privateUsages, use, work) {
    const ed = name === 'Ed25519';
    return {
      usages: [...publicUsages, ...privateUsages],
      generateKey(params, extractable, usages) {
        checkUsages(usages, this.usages);
        const [priv, pub] = done(native.okpGenerate(ed));
        return {
          privateKey: makeKey(priv, 'private', extractable, { name }, usages.filter((u) => privateUsages.includes(u))),
          publicKey: makeKey(pub, 'public', true, { name }, usages.filter((u) => publicUsages.includes(u))),
        };
      },
      importKey(kind, data, params, extractable, usages) {
        format(kind, ['raw', 'spki', 'pkcs8', 'jwk']);
        const isPrivate = kind === 'pkcs8' || (kind === 'jwk' && data?.d !== undefined);
        checkUsages(usages, isPrivate ? privateUsages : publicUsages);
        if (kind === 'jwk') {
          checkJwk(data, 'OKP', extractable, usages, use);
          if (data.crv !== name) fail('DataError', 'The JWK member crv is another curve');
          if (ed && data.alg !== undefined && data.alg !== 'EdDSA' && data.alg !== 'Ed25519') {
            fail('DataError', 'The JWK member alg does not fit the curve');
          }
          const x = decodeUrl(data.x, 'x');
          let handle;
          if (isPrivate) {
            handle = done(native.okpImport(ed, 'seed', decodeUrl(data.d, 'd')), 'DataError', 'The key is invalid');
            if (!native.equal(native.okpParts(handle)[0], x)) fail('DataError', 'The public and private key do not fit');
          } else {
            handle = done(native.okpImport(ed, 'raw', x), 'DataError', 'The key is invalid');
          }
          return makeKey(handle, isPrivate ? 'private' : 'public', extractable, { name }, usages);
        }
        const handle = done(native.okpImport(ed, kind, data), 'DataError', `The key is not one of ${name}`);
        return makeKey(handle, isPrivate ? 'private' : 'public', extractable, { name }, usages);
      },
      exportKey(kind, key) {
        format(kind, ['raw', 'spki', 'pkcs8', 'jwk']);
        const handle = handleOf(key);
        if (kind !== 'jwk') {
          if ((kind === 'pkcs8') !== (key.type === 'private')) fail('InvalidAccessError', `A ${key.type} key has no form ${kind}`);
          return done(native.okpExport(handle, kind));
        }
        const [x, d] = native.okpParts(handle);
        const members = { crv: name, x: encodeUrl(x) };
        if (d !== undefined) members.d = encodeUrl(d);
        return makeJwk('OKP', members, key);
      },
      ...work,
    };
  }
  const ED25519 = okp('Ed25519', ['verify'], ['sign'], 'sig', {
    sign: (params, key, data) => done(native.edSign(handleOf(key), data)),
    verify: (params, key, signature, data) => done(native.edVerify(handleOf(key), signature, data)),
  });
  const X25519 = okp('X25519', [], DERIVE, 'enc', {
    deriveBits: (params, key, length) => agree(params, key, length, native.x25519),
  });

  function kdf(name, deriveBits) {
    return {
      usages: DERIVE,
      importKey(kind, data, params, extractable, usages) {
        format(kind, ['raw']);
        checkUsages(usages, DERIVE);
        if (extractable) fail('SyntaxError', `A key of ${name} cannot be extractable`);
        return makeKey(native.secret(data), 'secret', false, { name }, usages);
      },
      getKeyLength: () => null,
      deriveBits(params, key, length) {
        if (length === null || length % 8 !== 0) fail('OperationError', 'The length must be a multiple of 8');
        return deriveBits(params, key, length / 8);
      },
    };
  }
  const HKDF = kdf('HKDF', (params, key, length) => {
    const hash = hashOf(required(params, 'hash'));
    const salted = bytes(required(params, 'salt'), 'salt');
    const info = bytes(required(params, 'info'), 'info');
    return done(native.hkdf(handleOf(key), hash, salted, info, length));
  });
  const PBKDF2 = kdf('PBKDF2', (params, key, length) => {
    const hash = hashOf(required(params, 'hash'));
    const salted = bytes(required(params, 'salt'), 'salt');
    const iterations = integer(required(params, 'iterations'), 'iterations');
    if (iterations === 0) fail('OperationError', 'There must be an iteration');
    return native.pbkdf2(handleOf(key), hash, salted, iterations, length);
  });

  const ALGORITHMS = new Map();
  for (const [name, algorithm] of Object.entries({
    HMAC, 'AES-GCM': AES_GCM, 'AES-CBC': AES_CBC, 'AES-CTR': AES_CTR, 'AES-KW': AES_KW,
    'RSASSA-PKCS1-v1_5': RSA_PKCS1, 'RSA-PSS': RSA_PSS, 'RSA-OAEP': RSA_OAEP, ECDSA, ECDH,
    Ed25519: ED25519, X25519, HKDF, PBKDF2,
  })) {
    ALGORITHMS.set(name.toUpperCase(), { ...algorithm, name });
  }
  for (const name of HASHES) ALGORITHMS.set(name, { name, digest: (data) => done(native.digest(name, data)) });

  // The algorithm that `value` names, with its parameters; throws when it has no such operation.
  function normalise(value, operation) {
    let params = value;
    let name = value;
    if (typeof value === 'object' && value !== null) {
      name = value.name;
      if (name === undefined) throw new TypeError('The algorithm has no name');
    } else {
      params = {};
    }
    name = usv(name);
    const found = ALGORITHMS.get(name.toUpperCase());
    if (found === undefined || found[operation] === undefined) {
      fail('NotSupportedError', `The algorithm ${name} does not support ${operation}`);
    }
    return { name: found.name, work: found, params };
  }

  function use(operation, usage, algorithm, key) {
    const found = normalise(algorithm, operation);
    checkKey(key);
    if (found.name !== key.algorithm.name) fail('InvalidAccessError', 'The key is of another algorithm');
    if (!key.usages.includes(usage)) fail('InvalidAccessError', `The key must not be used for ${usage}`);
    return found;
  }

  function need(count, given) {
    if (given < count) throw new TypeError(`${count} arguments are needed, ${given} are given`);
  }

  function importAny(kind, data, algorithm, extractable, usages) {
    kind = `${kind}`;
    if (!['raw', 'spki', 'pkcs8', 'jwk'].includes(kind)) throw new TypeError(`${kind} is not a key format`);
    const { work, params } = normalise(algorithm, 'importKey');
    usages = readUsages(usages);
    if (kind !== 'jwk') {
      data = bytes(data, 'The key data');
    } else if (typeof data !== 'object' || data === null || toBytes(data) !== undefined) {
      throw new TypeError('The key data of a JWK must be an object');
    }
    return work.importKey(kind, data, params, Boolean(extractable), usages);
  }

  function exportAny(kind, key) {
    kind = `${kind}`;
    checkKey(key);
    const { work } = normalise(key.algorithm.name, 'exportKey');
    if (!key.extractable) fail('InvalidAccessError', 'The key is not extractable');
    return work.exportKey(kind, key);
  }

  function bitsOf(value) {
    return value === undefined || value === null ? null : integer(value, 'length');
  }

  class SubtleCrypto {
    constructor(illegal) { if (illegal !== ILLEGAL) throw new TypeError('Illegal constructor'); }

    async digest(algorithm, data) {
      need(2, arguments.length);
      const { work } = normalise(algorithm, 'digest');
      return work.digest(bytes(data, 'data'));
    }

    async sign(algorithm, key, data) {
      need(3, arguments.length);
      const { work, params } = use('sign', 'sign', algorithm, key);
      return work.sign(params, key, bytes(data, 'data'));
    }

    async verify(algorithm, key, signature, data) {
      need(4, arguments.length);
      const { work, params } = use('verify', 'verify', algorithm, key);
      return work.verify(params, key, bytes(signature, 'signature'), bytes(data, 'data'));
    }

    async encrypt(algorithm, key, data) {
      need(3, arguments.length);
      const { work, params } = use('encrypt', 'encrypt', algorithm, key);
      return work.encrypt(params, key, bytes(data, 'data'));
    }

    async decrypt(algorithm, key, data) {
      need(3, arguments.length);
      const { work, params } = use('decrypt', 'decrypt', algorithm, key);
      return work.decrypt(params, key, bytes(data, 'data'));
    }

    async generateKey(algorithm, extractable, usages) {
      need(3, arguments.length);
      const { work, params } = normalise(algorithm, 'generateKey');
      const made = work.generateKey(params, Boolean(extractable), readUsages(usages));
      return made;
    }

    async importKey(kind, data, algorithm, extractable, usages) {
      need(5, arguments.length);
      return importAny(kind, data, algorithm, extractable, usages);
    }

    async exportKey(kind, key) {
      need(2, arguments.length);
      return exportAny(kind, key);
    }

    async deriveBits(algorithm, key, length = null) {
      need(2, arguments.length);
      const { work, params } = use('deriveBits', 'deriveBits', algorithm, key);
      return work.deriveBits(params, key, bitsOf(length));
    }

    async deriveKey(algorithm, key, derived, extractable, usages) {
      need(5, arguments.length);
      const { work, params } = use('deriveBits', 'deriveKey', algorithm, key);
      const target = normalise(derived, 'importKey');
      const length = target.work.getKeyLength === undefined
        ? (target.name === 'HMAC' ? hmacLength(target.params) : fail('NotSupportedError', 'Such keys cannot be derived'))
        : target.work.getKeyLength(target.params);
      const secret = await work.deriveBits(params, key, length);
      return importAny('raw', secret, derived, extractable, usages);
    }

    async wrapKey(kind, key, wrapping, algorithm) {
      need(4, arguments.length);
      const found = wrapper(algorithm, 'wrapKey', 'encrypt');
      checkKey(wrapping);
      if (found.name !== wrapping.algorithm.name || !wrapping.usages.includes('wrapKey')) {
        fail('InvalidAccessError', 'The key must not be used for wrapKey');
      }
      const exported = exportAny(kind, key);
      const data = kind === 'jwk' ? internal.use('encoding').encode(JSON.stringify(exported)) : new Uint8Array(exported);
      return (found.work.wrapKey ?? found.work.encrypt)(found.params, wrapping, data);
    }

    async unwrapKey(kind, wrapped, unwrapping, algorithm, keyAlgorithm, extractable, usages) {
      need(7, arguments.length);
      const found = wrapper(algorithm, 'unwrapKey', 'decrypt');
      checkKey(unwrapping);
      if (found.name !== unwrapping.algorithm.name || !unwrapping.usages.includes('unwrapKey')) {
        fail('InvalidAccessError', 'The key must not be used for unwrapKey');
      }
      let data = (found.work.unwrapKey ?? found.work.decrypt)(found.params, unwrapping, bytes(wrapped, 'wrappedKey'));
      if (kind === 'jwk') {
        try {
          data = JSON.parse(internal.use('encoding').decode(new Uint8Array(data)));
        } catch {
          fail('DataError', 'The unwrapped key is not a JWK');
        }
      }
      return importAny(kind, data, keyAlgorithm, extractable, usages);
    }
  }
  internal.idl(SubtleCrypto);

  function wrapper(algorithm, operation, instead) {
    const name = usv(typeof algorithm === 'object' && algorithm !== null ? algorithm.name : algorithm);
    const direct = ALGORITHMS.get(name.toUpperCase())?.[operation] !== undefined;
    return normalise(algorithm, direct ? operation : instead);
  }

  function hmacLength(params) {
    return params.length === undefined ? BLOCK_BITS[hashOf(required(params, 'hash'))] : integer(params.length, 'length');
  }

  const INTEGERS = ['Int8Array', 'Uint8Array', 'Uint8ClampedArray', 'Int16Array', 'Uint16Array', 'Int32Array',
    'Uint32Array', 'BigInt64Array', 'BigUint64Array'];
  const subtle = new SubtleCrypto(ILLEGAL);

  class Crypto {
    constructor(illegal) { if (illegal !== ILLEGAL) throw new TypeError('Illegal constructor'); }
    get subtle() { return subtle; }
    getRandomValues(array) {
      if (!ArrayBuffer.isView(array) || !INTEGERS.includes(array[Symbol.toStringTag])) {
        if (ArrayBuffer.isView(array)) fail('TypeMismatchError', 'getRandomValues needs an array of integers');
        throw new TypeError('getRandomValues needs a typed array');
      }
      const length = array.byteLength;
      if (length > 65536) fail('QuotaExceededError', 'getRandomValues gives at most 65536 bytes');
      toBytes(array).set(native.random(length));
      return array;
    }
    randomUUID() { return native.uuid(); }
  }
  internal.idl(Crypto);

  return { Crypto, SubtleCrypto, CryptoKey, crypto: new Crypto(ILLEGAL) };
})

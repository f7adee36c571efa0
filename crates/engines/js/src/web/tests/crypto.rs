//! crypto and crypto.subtle, against vectors of the standards (RFC 3394, 4231, 5869, 6070, 7515, 8037).

use super::{run, run_in_vm};

/// Helpers of these tests.
const HEX: &str = r#"
  const hex = (data) => new Uint8Array(data).toHex();
  const unhex = (text) => Uint8Array.fromHex(text);
  const utf8 = (text) => new TextEncoder().encode(text);
  const b64u = (text) => Uint8Array.fromBase64(text, { alphabet: 'base64url' });
  const { subtle } = crypto;
"#;

fn check(body: &str) {
    run(&format!("{HEX}{body}"));
}

fn check_in_vm(body: &str) -> u32 {
    run_in_vm(&format!("{HEX}{body}"))
}

#[test]
fn random_values_and_uuids() {
    check(
        r#"
      const a = crypto.getRandomValues(new Uint8Array(32)), b = crypto.getRandomValues(new Uint32Array(8));
      ok(a.some((x) => x !== 0) && b.some((x) => x > 255));
      throws(() => crypto.getRandomValues(new Float64Array(1)), 'TypeMismatchError');
      throws(() => crypto.getRandomValues(new Uint8Array(65537)), 'QuotaExceededError');
      throws(() => crypto.getRandomValues([]), 'TypeError');
      const ids = new Set(Array.from({ length: 1000 }, () => crypto.randomUUID()));
      same(ids.size, 1000);
      for (const id of ids) ok(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(id), id);
      throws(() => new CryptoKey(), 'TypeError');
      throws(() => new SubtleCrypto(), 'TypeError');
    "#,
    );
}

#[test]
fn digests() {
    check(
        r#"
      same(hex(await subtle.digest('SHA-1', utf8('abc'))), 'a9993e364706816aba3e25717850c26c9cd0d89d');
      same(hex(await subtle.digest({ name: 'sha-256' }, utf8('abc').buffer)), 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
      same(hex(await subtle.digest('SHA-384', utf8('abc'))).slice(0, 16), 'cb00753f45a35e8b');
      same(hex(await subtle.digest('SHA-512', utf8('abc'))).slice(0, 16), 'ddaf35a193617aba');
      same(hex(await subtle.digest('SHA-1', new Uint8Array(0))), 'da39a3ee5e6b4b0d3255bfef95601890afd80709');
      await rejects(subtle.digest('MD5', utf8('abc')), 'NotSupportedError');
      await rejects(subtle.digest('SHA-1', 'text'), 'TypeError');
      await rejects(subtle.digest('SHA-1'), 'TypeError');
    "#,
    );
}

#[test]
fn hmac() {
    check(
        r#"
      const raw = unhex('0b'.repeat(20));
      const alg = { name: 'HMAC', hash: 'SHA-256' };
      const key = await subtle.importKey('raw', raw, alg, true, ['verify', 'sign', 'sign']);
      same([key.type, key.extractable, key.algorithm, key.usages, `${key}`],
        ['secret', true, { name: 'HMAC', hash: { name: 'SHA-256' }, length: 160 }, ['sign', 'verify'], '[object CryptoKey]']);
      const tag = await subtle.sign('hmac', key, utf8('Hi There'));
      same(hex(tag), 'b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7');
      ok(await subtle.verify('HMAC', key, tag, utf8('Hi There')));
      new Uint8Array(tag)[0] ^= 1;
      ok(!await subtle.verify('HMAC', key, tag, utf8('Hi There')));
      ok(!await subtle.verify('HMAC', key, new Uint8Array(3), utf8('Hi There')));
      const jwk = await subtle.exportKey('jwk', key);
      same(jwk, { kty: 'oct', k: 'CwsLCwsLCwsLCwsLCwsLCwsLCws', alg: 'HS256', key_ops: ['sign', 'verify'], ext: true });
      const again = await subtle.importKey('jwk', jwk, alg, false, ['sign']);
      same(hex(await subtle.sign('HMAC', again, utf8('Hi There'))).slice(0, 8), 'b0344c61');
      await rejects(subtle.exportKey('raw', again), 'InvalidAccessError');
      await rejects(subtle.verify('HMAC', again, tag, raw), 'InvalidAccessError');
      await rejects(subtle.importKey('jwk', jwk, { name: 'HMAC', hash: 'SHA-512' }, false, ['sign']), 'DataError');
      await rejects(subtle.importKey('raw', raw, alg, false, []), 'SyntaxError');
      await rejects(subtle.importKey('raw', raw, alg, false, ['encrypt']), 'SyntaxError');
      await rejects(subtle.importKey('raw', raw, alg, false, ['fly']), 'TypeError');
      await rejects(subtle.importKey('raw', raw, 'HMAC', false, ['sign']), 'TypeError');
      await rejects(subtle.importKey('raw', new Uint8Array(0), alg, false, ['sign']), 'DataError');
      await rejects(subtle.importKey('spki', raw, alg, false, ['sign']), 'NotSupportedError');
      await rejects(subtle.sign('HMAC', {}, raw), 'TypeError');
      const made = await subtle.generateKey({ name: 'HMAC', hash: 'SHA-512' }, true, ['sign']);
      same([made.algorithm.length, (await subtle.exportKey('raw', made)).byteLength], [1024, 128]);
    "#,
    );
}

#[test]
fn aes() {
    check(
        r#"
      // Test case 2 of the GCM specification.
      const zero = await subtle.importKey('raw', new Uint8Array(16), 'AES-GCM', true, ['encrypt', 'decrypt']);
      const sealed = await subtle.encrypt({ name: 'AES-GCM', iv: new Uint8Array(12) }, zero, new Uint8Array(16));
      same(hex(sealed), '0388dace60b6a392f328c2b971b2fe78ab6e47d42cec13bdf53a67b21257bddf');
      same(hex(await subtle.decrypt({ name: 'AES-GCM', iv: new Uint8Array(12), tagLength: 128 }, zero, sealed)), '00'.repeat(16));
      const params = { name: 'AES-GCM', iv: crypto.getRandomValues(new Uint8Array(12)), additionalData: utf8('aad') };
      for (const length of [128, 192, 256]) {
        const key = await subtle.generateKey({ name: 'AES-GCM', length }, true, ['encrypt', 'decrypt']);
        const box = await subtle.encrypt(params, key, utf8('hello'));
        same(box.byteLength, 21);
        same(new TextDecoder().decode(await subtle.decrypt(params, key, box)), 'hello');
        await rejects(subtle.decrypt({ ...params, additionalData: utf8('other') }, key, box), 'OperationError');
        await rejects(subtle.decrypt(params, key, box.slice(0, 10)), 'OperationError');
        const jwk = await subtle.exportKey('jwk', key);
        same([jwk.alg, jwk.kty], [`A${length}GCM`, 'oct']);
        const back = await subtle.importKey('jwk', jwk, 'AES-GCM', false, ['decrypt']);
        same((await subtle.decrypt(params, back, box)).byteLength, 5);
      }
      await rejects(subtle.importKey('raw', new Uint8Array(15), 'AES-GCM', true, ['encrypt']), 'DataError');
      await rejects(subtle.generateKey({ name: 'AES-GCM', length: 100 }, true, ['encrypt']), 'OperationError');
      await rejects(subtle.encrypt({ name: 'AES-GCM' }, zero, new Uint8Array(1)), 'TypeError');
      await rejects(subtle.encrypt({ name: 'AES-GCM', iv: new Uint8Array(16) }, zero, new Uint8Array(1)), 'NotSupportedError');

      const cbcKey = await subtle.importKey('raw', unhex('2b7e151628aed2a6abf7158809cf4f3c'), 'AES-CBC', false, ['encrypt', 'decrypt']);
      const cbc = { name: 'AES-CBC', iv: unhex('000102030405060708090a0b0c0d0e0f') };
      const boxed = await subtle.encrypt(cbc, cbcKey, unhex('6bc1bee22e409f96e93d7e117393172a'));
      same(hex(boxed).slice(0, 32), '7649abac8119b246cee98e9b12e9197d');
      same(hex(await subtle.decrypt(cbc, cbcKey, boxed)), '6bc1bee22e409f96e93d7e117393172a');
      await rejects(subtle.decrypt(cbc, cbcKey, boxed.slice(0, 16)), 'OperationError');
      const ctrKey = await subtle.importKey('raw', unhex('2b7e151628aed2a6abf7158809cf4f3c'), 'AES-CTR', false, ['encrypt', 'decrypt']);
      const ctr = { name: 'AES-CTR', counter: unhex('f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff'), length: 64 };
      same(hex(await subtle.encrypt(ctr, ctrKey, unhex('6bc1bee22e409f96e93d7e117393172a'))), '874d6191b620e3261bef6864990db6ce');
      same((await subtle.decrypt(ctr, ctrKey, new Uint8Array(5))).byteLength, 5);
      const wrapping = await subtle.importKey('raw', unhex('000102030405060708090a0b0c0d0e0f'), 'AES-KW', false, ['wrapKey', 'unwrapKey']);
      const inner = await subtle.importKey('raw', unhex('00112233445566778899aabbccddeeff'), 'AES-GCM', true, ['encrypt']);
      const wrapped = await subtle.wrapKey('raw', inner, wrapping, 'AES-KW');
      same(hex(wrapped), '1fa68b0a8112b447aef34bd8fb5a7b829d3e862371d2cfe5');
      const un = await subtle.unwrapKey('raw', wrapped, wrapping, 'AES-KW', 'AES-GCM', true, ['encrypt']);
      same(hex(await subtle.exportKey('raw', un)), '00112233445566778899aabbccddeeff');
      const jw = await subtle.generateKey({ name: 'AES-GCM', length: 256 }, false, ['wrapKey', 'unwrapKey']);
      const gcm = { name: 'AES-GCM', iv: new Uint8Array(12) };
      const asJwk = await subtle.wrapKey('jwk', inner, jw, gcm);
      same((await subtle.unwrapKey('jwk', asJwk, jw, gcm, 'AES-GCM', true, ['encrypt'])).algorithm.length, 128);
    "#,
    );
}

#[test]
fn key_derivation() {
    check_in_vm(
        r#"
      const ikm = await subtle.importKey('raw', unhex('0b'.repeat(22)), 'HKDF', false, ['deriveBits', 'deriveKey']);
      const hkdf = { name: 'HKDF', hash: 'SHA-256', salt: unhex('000102030405060708090a0b0c'), info: unhex('f0f1f2f3f4f5f6f7f8f9') };
      same(hex(await subtle.deriveBits(hkdf, ikm, 336)),
        '3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865');
      const key = await subtle.deriveKey(hkdf, ikm, { name: 'AES-GCM', length: 256 }, true, ['encrypt']);
      same(hex(await subtle.exportKey('raw', key)).slice(0, 8), '3cb25f25');
      const mac = await subtle.deriveKey(hkdf, ikm, { name: 'HMAC', hash: 'SHA-256', length: 256 }, true, ['sign']);
      same(mac.algorithm.length, 256);
      const pass = await subtle.importKey('raw', utf8('password'), 'PBKDF2', false, ['deriveBits']);
      const kdf = { name: 'PBKDF2', hash: 'SHA-1', salt: utf8('salt'), iterations: 4096 };
      same(hex(await subtle.deriveBits(kdf, pass, 160)), '4b007901b765489abead49d926f721d065a429c1');
      const over = await rejects(subtle.deriveBits({ ...kdf, iterations: 1e7 + 1 }, pass, 160), 'OperationError');
      ok(over.message.includes('10000000'), over.message);
      // Two blocks of output cost each iteration twice.
      await rejects(subtle.deriveBits({ ...kdf, iterations: 5e6 + 1 }, pass, 320), 'OperationError');
      await rejects(subtle.deriveBits({ ...kdf, iterations: 0 }, pass, 160), 'OperationError');
      await rejects(subtle.deriveBits(kdf, pass, 7), 'OperationError');
      await rejects(subtle.deriveKey(kdf, pass, { name: 'AES-GCM', length: 256 }, true, ['encrypt']), 'InvalidAccessError');
      await rejects(subtle.importKey('raw', utf8('x'), 'PBKDF2', true, ['deriveBits']), 'SyntaxError');
    "#,
    );
}

#[test]
fn rsa_verifies_the_example_of_rfc_7515() {
    check(
        r#"
      const n = 'ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ';
      const d = 'Eq5xpGnNCivDflJsRQBXHx1hdR1k6Ulwe2JZD50LpXyWPEAeP88vLNO97IjlA7_GQ5sLKMgvfTeXZx9SE-7YwVol2NXOoAJe46sui395IW_GO-pWJ1O0BkTGoVEn2bKVRUCgu-GjBVaYLU6f3l9kJfFNS3E0QbVdxzubSu3Mkqzjkn439X0M_V51gfpRLI9JYanrC4D4qAdGcopV_0ZHHzQlBjudU2QvXt4ehNYTCBr6XCLQUShb1juUO1ZdiYoFaFQT5Tw8bGUl_x_jTj3ccPDVZFD9pIuhLhBOneufuBiB4cS98l2SR_RQyGWSeWjnczT0QU91p1DhOVRuOopznQ';
      const signed = 'eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ';
      const signature = 'cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw';
      const alg = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' };
      const key = await subtle.importKey('jwk', { kty: 'RSA', n, e: 'AQAB', alg: 'RS256', use: 'sig' }, alg, true, ['verify']);
      same([key.type, key.algorithm.modulusLength, [...key.algorithm.publicExponent], key.algorithm.hash.name], ['public', 2048, [1, 0, 1], 'SHA-256']);
      ok(await subtle.verify(alg.name, key, b64u(signature), utf8(signed)));
      ok(await subtle.verify(alg.name, key, b64u(signature), utf8(signed)));
      ok(!await subtle.verify(alg.name, key, b64u(signature), utf8(signed + '.')));
      ok(!await subtle.verify(alg.name, key, new Uint8Array(2), utf8(signed)));
      const spki = await subtle.exportKey('spki', key);
      const back = await subtle.importKey('spki', spki, alg, true, ['verify']);
      same((await subtle.exportKey('jwk', back)).n, n);
      await rejects(subtle.importKey('jwk', { kty: 'RSA', n, e: 'AQAB', alg: 'RS512' }, alg, true, ['verify']), 'DataError');
      await rejects(subtle.importKey('jwk', { kty: 'EC', n, e: 'AQAB' }, alg, true, ['verify']), 'DataError');
      await rejects(subtle.importKey('jwk', { kty: 'RSA', n: n.slice(0, 40), e: 'AQAB' }, alg, true, ['verify']), 'DataError');
      await rejects(subtle.importKey('jwk', { kty: 'RSA', n, e: 'AQAB', d }, alg, true, ['sign']), 'DataError');
      await rejects(subtle.importKey('spki', new Uint8Array(9), alg, true, ['verify']), 'DataError');
      await rejects(subtle.importKey('raw', new Uint8Array(9), alg, true, ['verify']), 'NotSupportedError');
    "#,
    );
}

#[test]
fn rsa_keys_of_every_scheme_go_round() {
    check_in_vm(
        r#"
      const pair = await subtle.generateKey({ name: 'RSA-PSS', hash: 'SHA-256', modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]) }, true, ['sign', 'verify']);
      same([pair.privateKey.usages, pair.publicKey.usages, pair.privateKey.type, pair.publicKey.extractable], [['sign'], ['verify'], 'private', true]);
      const jwk = await subtle.exportKey('jwk', pair.privateKey);
      same([jwk.alg, Object.keys(jwk).sort().join()], ['PS256', 'alg,d,dp,dq,e,ext,key_ops,kty,n,p,q,qi']);
      const pkcs8 = await subtle.exportKey('pkcs8', pair.privateKey), spki = await subtle.exportKey('spki', pair.publicKey);
      const { alg: _, key_ops: __, ...bare } = jwk;
      const data = utf8('data');
      for (const name of ['RSASSA-PKCS1-v1_5', 'RSA-PSS']) for (const hash of ['SHA-256', 'SHA-384', 'SHA-512']) {
        const alg = { name, hash, saltLength: { 'SHA-256': 32, 'SHA-384': 48, 'SHA-512': 64 }[hash] };
        const priv = await subtle.importKey('pkcs8', pkcs8, alg, false, ['sign']);
        const pub = await subtle.importKey('spki', spki, alg, false, ['verify']);
        const signature = await subtle.sign(alg, priv, data);
        ok(await subtle.verify(alg, pub, signature, data), name + hash);
        ok(!await subtle.verify(alg, pub, signature, utf8('other')), name + hash);
        const again = await subtle.importKey('jwk', bare, alg, true, ['sign']);
        ok(await subtle.verify(alg, pub, await subtle.sign(alg, again, data), data), 'jwk ' + name + hash);
      }
      const salted = { name: 'RSA-PSS', saltLength: 20 };
      ok(await subtle.verify(salted, pair.publicKey, await subtle.sign(salted, pair.privateKey, data), data));
      ok(!await subtle.verify({ name: 'RSA-PSS', saltLength: 32 }, pair.publicKey, await subtle.sign(salted, pair.privateKey, data), data));
      await rejects(subtle.sign({ name: 'RSA-PSS' }, pair.privateKey, data), 'TypeError');
      for (const hash of ['SHA-1', 'SHA-256']) {
        const alg = { name: 'RSA-OAEP', hash };
        const pub = await subtle.importKey('spki', spki, alg, true, ['encrypt', 'wrapKey']);
        const priv = await subtle.importKey('pkcs8', pkcs8, alg, true, ['decrypt', 'unwrapKey']);
        const params = { name: 'RSA-OAEP', label: utf8('l') };
        const box = await subtle.encrypt(params, pub, data);
        same([box.byteLength, new TextDecoder().decode(await subtle.decrypt(params, priv, box))], [256, 'data']);
        await rejects(subtle.decrypt('RSA-OAEP', priv, box), 'OperationError');
        await rejects(subtle.encrypt(params, pub, new Uint8Array(300)), 'OperationError');
      }
      await rejects(subtle.generateKey({ name: 'RSA-PSS', hash: 'SHA-256', modulusLength: 1024, publicExponent: new Uint8Array([1, 0, 1]) }, true, ['sign']), 'NotSupportedError');
      await rejects(subtle.exportKey('spki', pair.privateKey), 'InvalidAccessError');
    "#,
    );
}

#[test]
fn elliptic_curves() {
    check(
        r#"
      // RFC 7515 A.3
      const jwk = { kty: 'EC', crv: 'P-256', x: 'f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU', y: 'x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0', d: 'jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI' };
      const signed = 'eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ';
      const signature = 'DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q';
      const alg = { name: 'ECDSA', namedCurve: 'P-256' }, es256 = { name: 'ECDSA', hash: 'SHA-256' };
      const { d, ...publicJwk } = jwk;
      const pub = await subtle.importKey('jwk', publicJwk, alg, true, ['verify']);
      ok(await subtle.verify(es256, pub, b64u(signature), utf8(signed)));
      ok(!await subtle.verify(es256, pub, b64u(signature), utf8('x')));
      const priv = await subtle.importKey('jwk', jwk, alg, true, ['sign']);
      ok(await subtle.verify(es256, pub, await subtle.sign(es256, priv, utf8('m')), utf8('m')));
      const out = await subtle.exportKey('jwk', priv);
      same([out.x, out.y, out.d, out.crv, out.kty], [jwk.x, jwk.y, jwk.d, 'P-256', 'EC']);
      await rejects(subtle.importKey('jwk', { ...publicJwk, x: jwk.y }, alg, true, ['verify']), 'DataError');
      await rejects(subtle.importKey('jwk', { ...jwk, d: jwk.x }, alg, true, ['sign']), 'DataError');
      await rejects(subtle.importKey('jwk', publicJwk, { name: 'ECDSA', namedCurve: 'P-384' }, true, ['verify']), 'DataError');
      await rejects(subtle.importKey('jwk', publicJwk, { name: 'ECDSA', namedCurve: 'K-256' }, true, ['verify']), 'NotSupportedError');
      for (const [namedCurve, size] of [['P-256', 32], ['P-384', 48], ['P-521', 66]]) {
        const pair = await subtle.generateKey({ name: 'ECDSA', namedCurve }, true, ['sign', 'verify']);
        for (const hash of ['SHA-1', 'SHA-256', 'SHA-384', 'SHA-512']) {
          const s = await subtle.sign({ name: 'ECDSA', hash }, pair.privateKey, utf8('m'));
          same(s.byteLength, 2 * size);
          ok(await subtle.verify({ name: 'ECDSA', hash }, pair.publicKey, s, utf8('m')), namedCurve + hash);
          ok(!await subtle.verify({ name: 'ECDSA', hash }, pair.publicKey, s, utf8('n')), namedCurve + hash);
        }
        for (const [format, key, usage] of [['raw', pair.publicKey, 'verify'], ['spki', pair.publicKey, 'verify'], ['jwk', pair.publicKey, 'verify'], ['pkcs8', pair.privateKey, 'sign'], ['jwk', pair.privateKey, 'sign']]) {
          const form = await subtle.exportKey(format, key);
          const back = await subtle.importKey(format, form, { name: 'ECDSA', namedCurve }, true, [usage]);
          same(await subtle.exportKey('jwk', back), await subtle.exportKey('jwk', key), format);
        }
        const [a, b] = await Promise.all([1, 2].map(() => subtle.generateKey({ name: 'ECDH', namedCurve }, true, ['deriveBits', 'deriveKey'])));
        const one = await subtle.deriveBits({ name: 'ECDH', public: b.publicKey }, a.privateKey, null);
        const two = await subtle.deriveBits({ name: 'ECDH', public: a.publicKey }, b.privateKey, 256);
        same([one.byteLength, hex(one).slice(0, 64) === hex(two)], [size, true]);
        const aes = await subtle.deriveKey({ name: 'ECDH', public: b.publicKey }, a.privateKey, { name: 'AES-GCM', length: 256 }, true, ['encrypt']);
        same(hex(await subtle.exportKey('raw', aes)), hex(two));
      }
    "#,
    );
}

#[test]
fn an_ecdsa_digest_longer_or_shorter_than_the_curve_is_an_integer_of_its_leftmost_bits() {
    // A signature over P-256 with SHA-384 and with SHA-1, made with another implementation (Node 20's OpenSSL).
    check(include_str!("ecdsa.js"));
}

#[test]
fn edwards_and_montgomery() {
    check(
        r#"
      // RFC 8037 A.1, A.4
      const jwk = { kty: 'OKP', crv: 'Ed25519', d: 'nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A', x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo' };
      const { d, ...publicJwk } = jwk;
      const priv = await subtle.importKey('jwk', jwk, 'Ed25519', true, ['sign']);
      const pub = await subtle.importKey('jwk', publicJwk, { name: 'Ed25519' }, true, ['verify']);
      const signature = await subtle.sign('Ed25519', priv, utf8('eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc'));
      same(new Uint8Array(signature).toBase64({ alphabet: 'base64url', omitPadding: true }), 'hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg');
      ok(await subtle.verify('Ed25519', pub, signature, utf8('eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc')));
      ok(!await subtle.verify('Ed25519', pub, signature, utf8('x')));
      await rejects(subtle.importKey('jwk', { ...jwk, x: jwk.d }, 'Ed25519', true, ['sign']), 'DataError');
      for (const [name, usages] of [['Ed25519', ['sign', 'verify']], ['X25519', ['deriveBits']]]) {
        const pair = await subtle.generateKey(name, true, usages);
        for (const [format, key] of [['raw', pair.publicKey], ['spki', pair.publicKey], ['jwk', pair.publicKey], ['pkcs8', pair.privateKey], ['jwk', pair.privateKey]]) {
          const back = await subtle.importKey(format, await subtle.exportKey(format, key), name, true, key.usages);
          same(await subtle.exportKey('jwk', back), await subtle.exportKey('jwk', key), name + format);
        }
      }
      const a = await subtle.generateKey('X25519', true, ['deriveBits']), b = await subtle.generateKey('X25519', true, ['deriveBits']);
      same(hex(await subtle.deriveBits({ name: 'X25519', public: b.publicKey }, a.privateKey, 256)),
        hex(await subtle.deriveBits({ name: 'X25519', public: a.publicKey }, b.privateKey, 256)));
      // Made with another implementation (Node 20's OpenSSL).
      const fixed = await subtle.importKey('pkcs8', unhex('302e020100300506032b656e04220420' + '07'.repeat(32)), 'X25519', true, ['deriveBits']);
      const peer = await subtle.importKey('raw', unhex('57db4b359f23ae5e146e4e2512056704722506348c150c14753d0c933d04d421'), 'X25519', true, []);
      same(hex(await subtle.deriveBits({ name: 'X25519', public: peer }, fixed, null)), '2ffe325b2a26611bf1911325d4a62b33749b8f350d0e88ba91e316acaae66554');
    "#,
    );
}

#[test]
fn derivations_and_key_generations_leave_the_worker_free() {
    let turns = check_in_vm(
        r#"
      const pass = await subtle.importKey('raw', utf8('password'), 'PBKDF2', false, ['deriveBits']);
      const kdf = { name: 'PBKDF2', hash: 'SHA-256', salt: utf8('salt'), iterations: 300_000 };
      const rsa = { name: 'RSA-OAEP', hash: 'SHA-256', modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]) };
      // More at a time than may run at a time.
      const [pair, ...bits] = await Promise.all([
        subtle.generateKey(rsa, true, ['encrypt', 'decrypt']),
        ...Array.from({ length: 6 }, () => subtle.deriveBits(kdf, pass, 256)),
      ]);
      same([pair.privateKey.type, new Set(bits.map(hex)).size], ['private', 1]);
    "#,
    );
    assert!(turns >= 10, "other tasks of the thread had {turns} turns");
}

//! structuredClone.

use super::run;

#[test]
fn values_are_copied_deeply() {
    run(r#"
      const date = new Date(5), re = /a+/gi;
      const from = { n: 1, s: 'x', u: undefined, nul: null, big: 12n, list: [1, , 3], date, re,
        map: new Map([[{ k: 1 }, new Set([1, 'a'])]]), box: Object(5), nested: { deep: { er: true } } };
      from.self = from; from.list.push(from.nested);
      const to = structuredClone(from);
      ok(to !== from && to.self === to && to.list[3] === to.nested && to.nested !== from.nested);
      same([to.n, to.s, 'u' in to, to.nul, to.big, 1 in to.list, to.list.length], [1, 'x', true, null, 12n, false, 4]);
      same([to.date instanceof Date, +to.date, to.date !== date, to.re.source, to.re.flags], [true, 5, true, 'a+', 'gi']);
      same([[...to.map][0][0], [...[...to.map][0][1]]], [{ k: 1 }, [1, 'a']]);
      same([typeof to.box, to.box + 1], ['object', 6]);
      class Point { constructor() { this.x = 1; } get y() { return 2; } }
      const point = structuredClone(new Point());
      same([point.x, point.y, Object.getPrototypeOf(point) === Object.prototype], [1, undefined, true]);
      same(structuredClone(JSON.parse('{"__proto__":1}')).__proto__, 1);
    "#);
}

#[test]
fn binary_and_errors_are_copied() {
    run(r#"
      const buffer = new Uint8Array([1, 2, 3, 4]).buffer;
      const from = { a: new Uint8Array(buffer, 1, 2), b: new Uint16Array(buffer), v: new DataView(buffer, 2) };
      const to = structuredClone(from);
      ok(to.a.buffer === to.b.buffer && to.a.buffer !== buffer && to.v.buffer === to.a.buffer);
      same([[...to.a], to.a.byteOffset, to.v.getUint8(0), to.b.length], [[2, 3], 1, 3, 2]);
      const moved = structuredClone(buffer, { transfer: [buffer] });
      same([moved.byteLength, buffer.byteLength, buffer.detached], [4, 0, true]);
      const e = structuredClone(Object.assign(new RangeError('bad', { cause: { c: 1 } }), { extra: 1 }));
      same([e instanceof RangeError, e.message, e.cause, e.extra, e.name], [true, 'bad', { c: 1 }, undefined, 'RangeError']);
      class Custom extends Error { name = 'Custom'; }
      same([structuredClone(new Custom('m')).name, structuredClone(new DOMException('m', 'AbortError')).name], ['Error', 'AbortError']);
      const file = structuredClone(new File(['abc'], 'n.txt', { type: 'text/plain', lastModified: 7 }));
      same([await file.text(), file.name, file.type, file.lastModified], ['abc', 'n.txt', 'text/plain', 7]);
    "#);
}

#[test]
fn what_cannot_be_cloned_is_refused() {
    run(r#"
      for (const value of [() => {}, Symbol('s'), { f() {} }, Promise.resolve(), new WeakMap(), new URL('http://h'), new AbortController()]) {
        same(throws(() => structuredClone(value), 'DataCloneError').code, 25);
      }
      throws(() => structuredClone(), 'TypeError');
      throws(() => structuredClone(1, { transfer: [{}] }), 'DataCloneError');
      let deep = {}; for (let i = 0; i < 1e5; i++) deep = { deep };
      throws(() => structuredClone(deep), 'RangeError');
    "#);
}

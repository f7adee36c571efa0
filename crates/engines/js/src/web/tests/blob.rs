//! Blob, File, FormData.

use super::run;

#[test]
fn blobs() {
    run(r#"
      const b = new Blob(['aé', new Uint8Array([33]), new Uint8Array([1, 2, 63, 4]).subarray(2, 3), new Blob(['z'])], { type: 'Text/X' });
      same([b.size, b.type, await b.text()], [6, 'text/x', 'aé!?z']);
      same([...await b.slice(-2).bytes()], [63, 122]);
      const s = b.slice(1, 3, 'a/b');
      same([s.size, s.type, await s.text(), (await s.arrayBuffer()).byteLength], [2, 'a/b', 'é', 2]);
      same([b.slice(5, 2).size, new Blob().size, new Blob([], { type: 'é' }).type], [0, 0, '']);
      same(await new Blob(['\uFEFFx']).text(), 'x');
      // A blob does not change with what it was made of, nor with what it gave.
      const source = new Uint8Array([65]); const c = new Blob([source]); source[0] = 66;
      (await c.bytes())[0] = 67;
      same(await c.text(), 'A');
      same(await new Blob(['a\r\nb\rc\n'], { endings: 'native' }).text(), 'a\nb\nc\n');
      throws(() => new Blob('text'), 'TypeError');
      same([`${b}`, b instanceof Blob], ['[object Blob]', true]);
    "#);
}

#[test]
fn files() {
    run(r#"
      const f = new File(['abc'], 'a.txt', { type: 'text/plain', lastModified: 12 });
      same([f.name, f.type, f.lastModified, f.size, f instanceof Blob, await f.text()], ['a.txt', 'text/plain', 12, 3, true, 'abc']);
      ok(new File([], 'x').lastModified > 1e12);
      throws(() => new File(['x']), 'TypeError');
    "#);
}

#[test]
fn forms() {
    run(r#"
      const f = new FormData();
      f.append('a', 1); f.append('b', 'x'); f.append('a', '2');
      f.append('file', new Blob(['q'], { type: 't/u' }), 'q.txt');
      f.append('blob', new Blob(['r']));
      same([f.get('a'), f.getAll('a'), f.has('c'), f.get('c'), f.get('file').name, f.get('blob').name, f.get('file').type],
        ['1', ['1', '2'], false, null, 'q.txt', 'blob', 't/u']);
      ok(f.get('file') instanceof File);
      f.set('a', '9'); same([...f.keys()], ['a', 'b', 'file', 'blob']);
      f.delete('b'); same([...f].map(([k]) => k), ['a', 'file', 'blob']);
      throws(() => f.append('x', 'text', 'name'), 'TypeError');
      throws(() => new FormData({}), 'TypeError');
    "#);
}

#[test]
fn forms_cross_the_wire_and_come_back() {
    super::with(|ctx| {
        ctx.globals().set("internal", crate::web::internal(ctx).unwrap()).unwrap();
        super::eval(
            ctx,
            r#"
          const { encodeMultipart, parseForm } = internal.use('blob');
          const f = new FormData();
          f.append('plain', 'line\nbreak'); f.append('q"uote\r\n', 'é');
          f.append('file', new File([new Uint8Array([0, 13, 10, 45, 45, 255])], 'n"ä.bin', { type: 'a/b' }));
          f.append('empty', new File([], 'e'));
          const [bytes, type] = encodeMultipart(f);
          ok(/^multipart\/form-data; boundary=----polygate-[0-9a-f]{32}$/.test(type), type);
          const back = parseForm(bytes, type);
          same([...back.keys()], ['plain', 'q"uote\r\n', 'file', 'empty']);
          same([back.get('plain'), back.get('q"uote\r\n'), back.get('file').name, back.get('file').type], ['line\r\nbreak', 'é', 'n"ä.bin', 'a/b']);
          same([[...await back.get('file').bytes()], back.get('empty').size], [[0, 13, 10, 45, 45, 255], 0]);
          const u = parseForm(new TextEncoder().encode('a=1&b=x+%C3%A9&a=2'), 'application/x-www-form-urlencoded;charset=UTF-8');
          same([...u], [['a', '1'], ['b', 'x é'], ['a', '2']]);
          throws(() => parseForm(new Uint8Array(3), 'text/plain'), 'TypeError');
          throws(() => parseForm(new Uint8Array(3), 'multipart/form-data; boundary=x'), 'TypeError');
        "#,
        );
    });
}

//! TextEncoder, TextDecoder, atob, btoa.

use super::run;

#[test]
fn encoder() {
    run(r#"
      const e = new TextEncoder();
      same([e.encoding, [...e.encode('aé€😀')]], ['utf-8', [97, 195, 169, 226, 130, 172, 240, 159, 152, 128]]);
      same([...e.encode('\uD800x\uDC00')], [239, 191, 189, 120, 239, 191, 189]);
      same([[...e.encode()], [...e.encode(undefined)], [...e.encode(12)]], [[], [], [49, 50]]);
      const to = new Uint8Array(5);
      same([e.encodeInto('é€x', to), [...to]], [{ read: 2, written: 5 }, [195, 169, 226, 130, 172]]);
      same(e.encodeInto('😀', new Uint8Array(3)), { read: 0, written: 0 });
      same(e.encodeInto('😀', new Uint8Array(4)), { read: 2, written: 4 });
      throws(() => e.encodeInto('x', []), 'TypeError');
      ok(e.encode('x') instanceof Uint8Array);
      same([...e.encode('a\0b')], [97, 0, 98]);
    "#);
}

#[test]
fn decoder_of_utf_8() {
    run(r#"
      const d = new TextDecoder();
      same([d.encoding, d.fatal, d.ignoreBOM], ['utf-8', false, false]);
      same(d.decode(new Uint8Array([239, 187, 191, 97, 195, 169])), 'aé');
      same(new TextDecoder('utf-8', { ignoreBOM: true }).decode(new Uint8Array([239, 187, 191, 97])), '\uFEFFa');
      same(d.decode(new Uint8Array([97, 255, 98])), 'a\uFFFDb');
      same(d.decode(), '');
      same(d.decode(undefined), '');
      same(d.decode(new Uint8Array([1, 97, 98, 2]).subarray(1, 3)), 'ab');
      same(d.decode(new DataView(new Uint8Array([97, 98]).buffer, 1)), 'b');
      same(d.decode(new Uint16Array([0x6161]).buffer), 'aa');
      throws(() => new TextDecoder('utf-8', { fatal: true }).decode(new Uint8Array([255])), 'TypeError');
      throws(() => d.decode('text'), 'TypeError');
      throws(() => new TextDecoder('nonsense'), 'RangeError');
      const gone = new ArrayBuffer(4);
      const view = new Uint8Array(gone);
      structuredClone(gone, { transfer: [gone] });
      same(d.decode(view), '');
    "#);
}

#[test]
fn decoder_of_streams() {
    run(r#"
      const text = 'aé€😀z';
      const bytes = new TextEncoder().encode(text);
      for (let size = 1; size <= bytes.length; size++) {
        const d = new TextDecoder();
        let out = '';
        for (let i = 0; i < bytes.length; i += size) out += d.decode(bytes.subarray(i, i + size), { stream: true });
        same(out + d.decode(), text);
      }
      const d = new TextDecoder();
      same(d.decode(new Uint8Array([0xE2, 0x82]), { stream: true }), '');
      same(d.decode(), '\uFFFD');
      same(d.decode(new Uint8Array([0xEF]), { stream: true }) + d.decode(new Uint8Array([0xBB, 0xBF, 97])), 'a');
      const f = new TextDecoder('utf-8', { fatal: true });
      f.decode(new Uint8Array([0xE2]), { stream: true });
      throws(() => f.decode(), 'TypeError');
      same(f.decode(new Uint8Array([97])), 'a');
    "#);
}

#[test]
fn decoder_of_other_encodings() {
    run(r#"
      same(new TextDecoder('latin1').encoding, 'windows-1252');
      same(new TextDecoder(' ISO-8859-1 ').decode(new Uint8Array([0xE9, 0x80])), 'é€');
      same(new TextDecoder('utf-16').decode(new Uint8Array([0x61, 0, 0xAC, 0x20])), 'a€');
      same(new TextDecoder('shift_jis').decode(new Uint8Array([0x82, 0xA0])), 'あ');
      const s = new TextDecoder('shift_jis');
      same(s.decode(new Uint8Array([0x82]), { stream: true }) + s.decode(new Uint8Array([0xA0])), 'あ');
    "#);
}

#[test]
fn base64() {
    run(r#"
      same([btoa('ÿa'), btoa(''), atob('/2E='), atob(' /2\nE')], ['/2E=', '', 'ÿa', 'ÿa']);
      same(throws(() => btoa('€'), 'InvalidCharacterError').code, 5);
      throws(() => atob('a'), 'InvalidCharacterError');
      throws(() => atob('ab=c'), 'InvalidCharacterError');
    "#);
}

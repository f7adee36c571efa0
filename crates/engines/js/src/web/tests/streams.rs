//! Streams that stand on this module: compression, text, blobs.

use super::run;

const GATHER: &str = r#"
  const gather = async (stream) => {
    const parts = [];
    for await (const part of stream) parts.push(part);
    return parts;
  };
  const of = (...chunks) => new ReadableStream({ start(c) { for (const chunk of chunks) c.enqueue(chunk); c.close(); } });
"#;

fn check(body: &str) {
    run(&format!("{GATHER}{body}"));
}

#[test]
fn compression_goes_round_in_every_format() {
    check(
        r#"
      const text = 'polygate '.repeat(40_000);
      for (const format of ['gzip', 'deflate', 'deflate-raw']) {
        const packed = await gather(of(new TextEncoder().encode(text)).pipeThrough(new CompressionStream(format)));
        const small = await new Blob(packed).bytes();
        ok(small.length < 4000, small.length);
        const halves = of(small.subarray(0, 7), small.subarray(7));
        const back = await gather(halves.pipeThrough(new DecompressionStream(format)));
        ok(back.every((part) => part.length <= 65536));
        same((await new Blob(back).text()) === text, true, format);
        await rejects(gather(of(small.subarray(0, 20)).pipeThrough(new DecompressionStream(format))), 'TypeError');
      }
      throws(() => new CompressionStream('brotli'), 'TypeError');
      await rejects(gather(of(new Uint8Array([1, 2, 3])).pipeThrough(new DecompressionStream('gzip'))), 'TypeError');
    "#,
    );
}

#[test]
fn gzip_of_another_implementation_is_read() {
    // `printf hello | gzip -n`
    check(
        r#"
      const packed = Uint8Array.fromHex('1f8b0800000000000003cb48cdc9c907008' + '6a6103605000000');
      same(await new Blob(await gather(of(packed).pipeThrough(new DecompressionStream('gzip')))).text(), 'hello');
    "#,
    );
}

#[test]
fn text_streams_keep_characters_whole() {
    check(
        r#"
      const bytes = new TextEncoder().encode('aé€😀');
      const chunks = Array.from(bytes, (byte) => new Uint8Array([byte]));
      same((await gather(of(...chunks).pipeThrough(new TextDecoderStream()))).join(''), 'aé€😀');
      const encoded = await gather(of('x\uD83D', '\uDE00y', '\uD83D').pipeThrough(new TextEncoderStream()));
      same(await new Blob(encoded).text(), 'x😀y\uFFFD');
      same([new TextDecoderStream('latin1').encoding, new TextEncoderStream().encoding], ['windows-1252', 'utf-8']);
    "#,
    );
}

#[test]
fn blobs_stream() {
    check(
        r#"
      const blob = new Blob(['x'.repeat(100_000)]);
      const parts = await gather(blob.stream());
      same([parts.length, parts[0].length, parts[1].length], [2, 65536, 34464]);
      same(await gather(new Blob().stream()), []);
    "#,
    );
}

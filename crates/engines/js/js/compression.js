// CompressionStream and DecompressionStream (https://compression.spec.whatwg.org).
(function (internal, native) {
  'use strict';
  const FORMATS = ['gzip', 'deflate', 'deflate-raw'];

  function transform(format, compress) {
    format = `${format}`;
    if (!FORMATS.includes(format)) throw new TypeError(`Unsupported compression format: '${format}'`);
    const state = native.codec(format, compress);
    return new TransformStream({
      transform(chunk, controller) {
        const bytes = internal.toBytes(chunk);
        if (bytes === undefined) throw new TypeError('A chunk must be an ArrayBuffer or a view of one');
        // The native side gives at most one block at a time, so that a small input cannot become one huge array.
        let rest = bytes;
        for (;;) {
          const [out, used, more] = state(rest, false);
          if (out.byteLength !== 0) controller.enqueue(out);
          rest = rest.subarray(used);
          if (!more) break;
        }
      },
      flush(controller) {
        for (;;) {
          const [out, , more] = state(new Uint8Array(0), true);
          if (out.byteLength !== 0) controller.enqueue(out);
          if (!more) break;
        }
      },
    });
  }

  class CompressionStream {
    #transform;
    constructor(format) {
      if (arguments.length < 1) throw new TypeError('CompressionStream needs a format');
      this.#transform = transform(format, true);
    }
    get readable() { return this.#transform.readable; }
    get writable() { return this.#transform.writable; }
  }
  internal.idl(CompressionStream);

  class DecompressionStream {
    #transform;
    constructor(format) {
      if (arguments.length < 1) throw new TypeError('DecompressionStream needs a format');
      this.#transform = transform(format, false);
    }
    get readable() { return this.#transform.readable; }
    get writable() { return this.#transform.writable; }
  }
  internal.idl(DecompressionStream);

  return { CompressionStream, DecompressionStream };
})

// TextEncoder, TextDecoder and their streams (https://encoding.spec.whatwg.org).
(function (internal, native) {
  'use strict';
  const { toBytes } = internal;
  const { encode, encodeInto, decodeUtf8, label, decoder } = native;

  class TextEncoder {
    get encoding() { return 'utf-8'; }

    encode(input = '') {
      return encode(typeof input === 'string' ? input : `${input}`);
    }

    encodeInto(source, destination) {
      const text = `${source}`;
      if (!(destination instanceof Uint8Array)) throw new TypeError('encodeInto needs a Uint8Array');
      const [read, bytes] = encodeInto(text, destination.byteLength);
      destination.set(bytes);
      return { read, written: bytes.byteLength };
    }
  }
  internal.idl(TextEncoder);

  const EMPTY = new Uint8Array(0);

  class TextDecoder {
    #encoding = 'utf-8';
    #fatal = false;
    #ignoreBOM = false;
    #state = null; // the native decoder of a stream under way

    constructor(encoding = 'utf-8', options = undefined) {
      if (encoding !== 'utf-8') {
        const name = label(internal.usv(encoding));
        if (name === undefined || name === null) {
          throw new RangeError(`The "${encoding}" encoding is not supported`);
        }
        this.#encoding = name;
      }
      if (options !== undefined && options !== null) {
        if (typeof options !== 'object' && typeof options !== 'function') {
          throw new TypeError('The options of a TextDecoder must be an object');
        }
        this.#fatal = Boolean(options.fatal);
        this.#ignoreBOM = Boolean(options.ignoreBOM);
      }
    }

    get encoding() { return this.#encoding; }
    get fatal() { return this.#fatal; }
    get ignoreBOM() { return this.#ignoreBOM; }

    decode(input = undefined, options = undefined) {
      const bytes = input === undefined ? EMPTY : toBytes(input);
      if (bytes === undefined) throw new TypeError('decode needs an ArrayBuffer or a view of one');
      const stream = options !== undefined && options !== null && Boolean(options.stream);
      if (!stream && this.#state === null && this.#encoding === 'utf-8') {
        return decodeUtf8(bytes, this.#fatal, this.#ignoreBOM);
      }
      const state = this.#state ?? decoder(this.#encoding, this.#fatal, this.#ignoreBOM);
      this.#state = null;
      const text = state(bytes, stream);
      if (stream) this.#state = state;
      return text;
    }
  }
  internal.idl(TextDecoder);

  // For other preludes: encode(string) => Uint8Array, decode(Uint8Array) => string without a byte order mark.
  const exports = { TextEncoder, TextDecoder, encode, decode: (bytes) => decodeUtf8(bytes, false, false) };

  // The streams need TransformStream, which may be registered later than this script is evaluated.
  internal.lazy(exports, 'TextEncoderStream', () => {
    class TextEncoderStream {
      #transform;
      constructor() {
        let pending = '';
        this.#transform = new TransformStream({
          transform(chunk, controller) {
            let text = pending + `${chunk}`;
            pending = '';
            const last = text.charCodeAt(text.length - 1);
            if (last >= 0xD800 && last <= 0xDBFF) {
              pending = text.slice(-1);
              text = text.slice(0, -1);
            }
            if (text !== '') controller.enqueue(encode(text));
          },
          flush(controller) {
            if (pending !== '') controller.enqueue(encode(pending));
          },
        });
      }
      get encoding() { return 'utf-8'; }
      get readable() { return this.#transform.readable; }
      get writable() { return this.#transform.writable; }
    }
    return internal.idl(TextEncoderStream);
  });

  internal.lazy(exports, 'TextDecoderStream', () => {
    class TextDecoderStream {
      #decoder;
      #transform;
      constructor(encoding = 'utf-8', options = undefined) {
        const decode = new TextDecoder(encoding, options);
        this.#decoder = decode;
        this.#transform = new TransformStream({
          transform(chunk, controller) {
            const text = decode.decode(chunk, { stream: true });
            if (text !== '') controller.enqueue(text);
          },
          flush(controller) {
            const text = decode.decode();
            if (text !== '') controller.enqueue(text);
          },
        });
      }
      get encoding() { return this.#decoder.encoding; }
      get fatal() { return this.#decoder.fatal; }
      get ignoreBOM() { return this.#decoder.ignoreBOM; }
      get readable() { return this.#transform.readable; }
      get writable() { return this.#transform.writable; }
    }
    return internal.idl(TextDecoderStream);
  });

  return exports;
})

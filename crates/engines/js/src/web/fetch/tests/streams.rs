//! Streams made by JavaScript.

use super::*;

async fn check(body: &str) {
    local(async { Rig::offline().check(body).await }).await;
}

#[tokio::test]
async fn readable_streams_read_close_fail_and_cancel() {
    check(
        r#"
        let pulls = 0, cancelled;
        const s = new ReadableStream({ pull(c) { c.enqueue(++pulls); if (pulls === 3) c.close(); } });
        const got = []; for await (const v of s) got.push(v); assertEquals(got.join(), '1,2,3');
        const f = new ReadableStream({ start(c) { c.error(new RangeError('x')); } });
        assert((await f.getReader().read().catch((e) => e)) instanceof RangeError);
        const c = new ReadableStream({ cancel(r) { cancelled = r; } }); await c.cancel('r'); assertEquals(cancelled, 'r');
        const l = new ReadableStream(); const r = l.getReader(); assert(l.locked);
        try { l.getReader(); throw new Error('no'); } catch (e) { assert(e instanceof TypeError); }
        const pending = r.read().catch((e) => e); r.releaseLock(); assert((await pending) instanceof TypeError); assert(!l.locked);
        assertEquals((await Array.fromAsync(ReadableStream.from(['a', 'b']))).join(), 'a,b');
        let back; const from = ReadableStream.from({ async *[Symbol.asyncIterator]() { try { yield 1; yield 2; } finally { back = true; } } });
        for await (const v of from) { assertEquals(v, 1); break; } assert(back);
        const [a, b] = new ReadableStream({ start(c) { c.enqueue('t'); c.close(); } }).tee();
        assertEquals((await Array.fromAsync(a)).join() + (await Array.fromAsync(b)).join(), 'tt');
        const hwm = new ReadableStream({ start(c) { this.c = c; c.enqueue('four'); assertEquals(c.desiredSize, 6); } }, { highWaterMark: 10, size: (x) => x.length });
        "#,
    )
    .await;
}

#[tokio::test]
async fn byte_streams_fill_the_reader_s_buffers() {
    check(
        r#"
        const s = new ReadableStream({ type: 'bytes', start(c) { c.enqueue(new Uint8Array([1, 2, 3, 4, 5])); c.close(); } });
        const r = s.getReader({ mode: 'byob' });
        let { value, done } = await r.read(new Uint8Array(2)); assertEquals(value.join() + done, '1,2false');
        ({ value } = await r.read(new Uint8Array(9))); assertEquals(value.join(), '3,4,5');
        ({ value, done } = await r.read(new Uint8Array(9))); assertEquals(value.byteLength + `${done}`, '0true');
        let n = 0;
        const pulled = new ReadableStream({ type: 'bytes', autoAllocateChunkSize: 4, pull(c) {
          const { view } = c.byobRequest; view[0] = ++n; c.byobRequest.respond(1); if (n === 3) { c.close(); c.byobRequest?.respond(0); } } });
        const all = []; for await (const chunk of pulled) all.push(...chunk); assertEquals(all.join(), '1,2,3');
        assertEquals(await new Response(new Blob(['blob']).stream()).text(), 'blob');
        const native = new Response('native bytes').body.getReader({ mode: 'byob' });
        ({ value } = await native.read(new Uint8Array(6))); assertEquals(new TextDecoder().decode(value), 'native');
        ({ value } = await native.read(new Uint8Array(99))); assertEquals(new TextDecoder().decode(value), ' bytes');
        ({ done } = await native.read(new Uint8Array(1))); assert(done);
        "#,
    )
    .await;
}

#[tokio::test]
async fn writable_streams_write_in_order_close_and_abort() {
    check(
        r#"
        const log = [];
        const w = new WritableStream({ async write(c) { await 0; log.push(c); }, close() { log.push('end'); } });
        const writer = w.getWriter(); assertEquals(writer.desiredSize, 1);
        writer.write('a'); writer.write('b'); await writer.close(); assertEquals(log.join(), 'a,b,end');
        await writer.closed;
        let why, signal;
        const x = new WritableStream({ start(c) { signal = c.signal; }, abort(r) { why = r; } });
        await x.abort('stop'); assertEquals(why + signal.aborted, 'stoptrue');
        const e = new WritableStream({ write() { throw new RangeError('w'); } }).getWriter();
        assert((await e.write(1).catch((e) => e)) instanceof RangeError);
        assert((await e.closed.catch((e) => e)) instanceof RangeError); assert((await e.write(2).catch((e) => e)) instanceof RangeError);
        const slow = new WritableStream({ write: () => new Promise((r) => setTimeout(r, 2)) }).getWriter();
        await slow.ready; slow.write(1); let ready = false; slow.ready.then(() => { ready = true; }); await 0; assert(!ready); await slow.ready;
        "#,
    )
    .await;
}

#[tokio::test]
async fn transforms_and_pipes() {
    check(
        r#"
        const double = () => new TransformStream({ transform(x, c) { c.enqueue(x * 2); }, flush(c) { c.enqueue('end'); } });
        const out = await Array.fromAsync(ReadableStream.from([1, 2]).pipeThrough(double()));
        assertEquals(out.join(), '2,4,end');
        const enc = ReadableStream.from(['h', 'é']).pipeThrough(new TextEncoderStream()).pipeThrough(new TextDecoderStream());
        assertEquals((await Array.fromAsync(enc)).join(''), 'hé');
        const sink = []; await ReadableStream.from([1, 2, 3]).pipeTo(new WritableStream({ write(x) { sink.push(x); } })); assertEquals(sink.join(), '1,2,3');
        let cancelled; const src = new ReadableStream({ pull(c) { c.enqueue(1); }, cancel(r) { cancelled = r; } });
        const bad = await src.pipeTo(new WritableStream({ write() { throw new Error('full'); } })).catch((e) => e);
        assertEquals(bad.message + cancelled.message, 'fullfull');
        let aborted; const err = await new ReadableStream({ start(c) { c.error(new Error('src')); } }).pipeTo(new WritableStream({ abort(r) { aborted = r; } })).catch((e) => e);
        assertEquals(err.message + aborted.message, 'srcsrc');
        const c = new AbortController(); const p = new ReadableStream().pipeTo(new WritableStream(), { signal: c.signal }).catch((e) => e);
        c.abort(); assertEquals((await p).name, 'AbortError');
        const t = new TransformStream(); const w = t.writable.getWriter(); const r = t.readable.getReader();
        w.write('x'); assertEquals((await r.read()).value, 'x'); w.close(); assert((await r.read()).done);
        const boom = new TransformStream({ transform() { throw new Error('boom'); } });
        boom.writable.getWriter().write(1).catch(() => {});
        assertEquals((await boom.readable.getReader().read().catch((e) => e)).message, 'boom');
        const term = new TransformStream({ transform(x, c) { c.enqueue(x); c.terminate(); } });
        const one = await Array.fromAsync(ReadableStream.from([1, 2, 3]).pipeThrough(term)); assertEquals(one.join(), '1');
        const zip = await new Response(new Response('zip '.repeat(99)).body.pipeThrough(new CompressionStream('gzip')).pipeThrough(new DecompressionStream('gzip'))).text();
        assertEquals(zip.length, 396);
        "#,
    )
    .await;
}

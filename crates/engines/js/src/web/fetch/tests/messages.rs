//! Headers, Request, Response and their bodies.

use super::*;

#[tokio::test]
async fn headers_combine_sort_and_refuse() {
    local(async {
        Rig::offline()
            .check(
                r#"
                const h = request.headers;
                assertEquals(h.get('x-ONE'), '1');
                assertEquals(h.get('X-two'), 'a, b');
                assertEquals(h.get('nope'), null);
                assert(h === request.headers, 'one object');
                h.append('Set-Cookie', 'a=1'); h.append('set-cookie', 'b=2');
                assertEquals(JSON.stringify(h.getSetCookie()), '["a=1","b=2"]');
                assertEquals(JSON.stringify([...h]),
                  '[["set-cookie","a=1"],["set-cookie","b=2"],["x-one","1"],["x-two","a, b"]]');
                h.set('X-One', '  2\t'); h.delete('x-two');
                assertEquals(h.get('x-one'), '2');
                assert(!h.has('x-two') && h.has('X-ONE'));
                h.set('latin', 'caf\u00e9'); assertEquals(h.get('latin'), 'caf\u00e9');
                const throws = (f) => { try { f(); } catch (e) { assert(e instanceof TypeError, `${e}`); return; } throw new Error(`${f} did not throw`); };
                throws(() => h.set('a b', '1')); throws(() => h.set('a', 'x\r\ny')); throws(() => h.get(''));
                throws(() => h.set('a', '\u0100')); throws(() => h.set('a')); throws(() => Headers.prototype.get.call({}, 'a'));
                throws(() => new Headers([['a']])); throws(() => new Headers(null)); throws(() => h.get(Symbol()));
                assertEquals(new Headers({ a: 1, B: 'x' }).get('b'), 'x');
                assertEquals([...new Headers([['a', '1'], ['A', '2']])].join(), 'a,1, 2');
                assertEquals([...new Headers(new Map([['q', 'r']])).keys()].join(), 'q');
                const seen = []; new Headers({ b: 1, a: 2 }).forEach((v, k) => seen.push(k + v)); assertEquals(seen.join(), 'a2,b1');
                class Mine extends Headers {} ; assert(new Mine({ a: 'b' }) instanceof Mine);
                assertEquals(Object.prototype.toString.call(h), '[object Headers]');
                "#,
            )
            .await;
    })
    .await;
}

#[tokio::test]
async fn edits_of_an_incoming_request_change_what_is_forwarded() {
    local(async {
        let rig = Rig::offline();
        let body =
            "request.headers.set('x-one', 'changed'); request.headers.delete('x-two'); return request;";
        let scope = rig.scope();
        let taken = rig.call(&scope, body, get("http://gate/a?b=c"), |ctx, value| {
            super::super::take_request(ctx, &value)
        });
        let taken = taken.await.unwrap();
        let fields: Vec<_> = taken.headers.iter().map(|(n, v)| (n.to_owned(), v.to_vec())).collect();
        assert_eq!(fields, [("x-one".to_owned(), b"changed".to_vec())]);
        assert_eq!(taken.target.to_string(), "http://gate/a?b=c");
    })
    .await;
}

#[tokio::test]
async fn requests_are_made_read_and_subclassed() {
    local(async {
        Rig::offline()
            .check_with(
                r#"
                assertEquals(request.method, 'POST'); assertEquals(request.url, 'http://gate/');
                assert(request instanceof Request);
                class Zed extends Request {
                  params = { a: 1 };
                  constructor(input, init) { super(input, init); this.user = init?.user ?? input.user; }
                  get shout() { return this.method + '!'; }
                }
                const z = new Zed('https://Example.com:443/x#f', { method: 'post', body: 'hi', headers: { a: 'b' }, user: 7 });
                assert(z instanceof Zed && z instanceof Request);
                assertEquals([z.url, z.method, z.shout, z.user, z.params.a].join(), 'https://example.com/x#f,POST,POST!,7,1');
                assertEquals(z.headers.get('content-type'), 'text/plain;charset=UTF-8');
                const copy = z.clone(); assert(copy instanceof Zed);
                assertEquals(await z.text(), 'hi'); assert(z.bodyUsed && !copy.bodyUsed);
                assertEquals(await copy.text(), 'hi');
                const again = await z.text().then(() => 'no', (e) => e); assert(again instanceof TypeError, `${again}`);
                assertEquals(await request.json().then((v) => v.n), 5);
                const made = new Request(new Request('http://a/', { method: 'PUT', body: 'x', headers: { q: '1' } }), { headers: { r: '2' } });
                assertEquals([made.method, made.headers.get('q'), made.headers.get('r'), await made.text()].join(), 'PUT,,2,x');
                const throws = (f) => { try { f(); } catch (e) { assert(e instanceof TypeError, `${e}`); return; } throw new Error(`${f} did not throw`); };
                throws(() => new Request('http://a/', { body: 'x' })); throws(() => new Request('nope'));
                throws(() => new Request('http://u:p@a/')); throws(() => new Request('http://a/', { method: 'TRACE' }));
                throws(() => new Request('http://a/', { method: 'a b' })); throws(() => Request('http://a/')); throws(() => new Request());
                assertEquals(new Request('http://a/', { redirect: 'manual' }).redirect, 'manual');
                assertEquals(new Request('http://a/', { method: 'patch' }).method, 'patch');
                const q = new Request('http://a/', { method: 'POST', body: new URLSearchParams('a=1&b=2') });
                assertEquals(q.headers.get('content-type'), 'application/x-www-form-urlencoded;charset=UTF-8');
                assertEquals((await q.formData()).get('b'), '2');
                const f = new FormData(); f.append('k', 'v'); f.append('file', new Blob(['zz'], { type: 'text/x' }), 'n.txt');
                const form = await new Request('http://a/', { method: 'POST', body: f }).formData();
                assertEquals(form.get('k') + form.get('file').name + await form.get('file').text(), 'vn.txtzz');
                const blob = await new Response(new Blob(['b'], { type: 'text/y' })).blob(); assertEquals(blob.type + blob.size, 'text/y1');
                assertEquals((await new Response(new Uint8Array([1, 2, 3]).subarray(1)).bytes()).join(), '2,3');
                assertEquals((await new Response(new ArrayBuffer(4)).arrayBuffer()).byteLength, 4);
                "#,
                post(r#"{"n":5}"#),
            )
            .await;
    })
    .await;
}

#[tokio::test]
async fn responses_are_made_and_read() {
    local(async {
        Rig::offline()
            .check(
                r#"
                const r = new Response('x', { status: 201, statusText: 'Made', headers: { a: 'b' } });
                assertEquals([r.status, r.statusText, r.ok, r.type, r.url, r.redirected, r.headers.get('a')].join(), '201,Made,true,default,,false,b');
                const j = Response.json({ a: 1 }, { status: 202 });
                assertEquals([j.status, j.headers.get('content-type'), await j.text()].join(), '202,application/json,{"a":1}');
                assertEquals(Response.error().type, 'error');
                const to = Response.redirect('http://x/y', 307); assertEquals(to.status + to.headers.get('location'), '307http://x/y');
                const throws = (f, T = TypeError) => { try { f(); } catch (e) { assert(e instanceof T, `${e}`); return; } throw new Error(`${f} did not throw`); };
                throws(() => to.headers.set('a', 'b')); throws(() => new Response('x', { status: 204 })); throws(() => new Response('', { status: 700 }), RangeError);
                throws(() => Response.redirect('http://x', 200), RangeError); throws(() => Response.json(undefined));
                assertEquals(new Response(null, { status: 204 }).body, null);
                assertEquals(await new Response().text(), '');
                assertEquals(await new Response('\ufeffhé').text(), 'hé');
                const bad = await new Response('{').json().catch((e) => e); assert(bad instanceof SyntaxError, `${bad}`);
                const like = new Response(r.body, r); assertEquals([like.status, like.headers.get('a'), await like.text()].join(), '201,b,x');
                class Mine extends Response {} ; assert(new Mine('q') instanceof Mine);
                const both = new Response('twice'); const copy = both.clone();
                assertEquals(await both.text() + await copy.text(), 'twicetwice');
                throws(() => both.clone());
                "#,
            )
            .await;
    })
    .await;
}

#[tokio::test]
async fn a_body_larger_than_the_limit_is_refused() {
    local(async {
        let rig = Rig::offline();
        rig.vm
            .run(&rig.scope(), |ctx| {
                super::super::set_limits(ctx, |_| super::super::Limits { body: 8, subrequests: 1 });
                Ok(())
            })
            .unwrap();
        rig.check_with("assertEquals(await request.text(), '12345678');", post("12345678")).await;
        let over = "const e = await request.text().catch((e) => e); assert(e instanceof TypeError); assertEquals(JSON.stringify(e.cause), '{\"code\":\"body_too_large\",\"body\":\"request\"}');";
        rig.check_with(over, post("123456789")).await;
        let feed = Feed::default();
        feed.data("12345");
        feed.data("6789");
        feed.end();
        rig.check_with(over, post(feed.body())).await;
    })
    .await;
}

#[tokio::test]
async fn identity_and_kind_are_told() {
    local(async {
        let rig = Rig::offline();
        rig.vm
            .run(&rig.scope(), |ctx| {
                let proto: Object<'_> = ctx.eval(
                    "globalThis.Z = class Z extends Request { hi() { return this.url; } }; Z.prototype",
                )?;
                let made = super::super::wrap_request(ctx, get("http://gate/"), Some(&proto))?;
                ctx.globals().set("made", made.clone())?;
                assert_eq!(ctx.eval::<String, _>("made instanceof Z && made.hi()")?, "http://gate/");
                let value = made.into_value();
                assert!(super::super::is_request(&value) && !super::super::is_response(&value));
                assert!(super::super::is_same(&value, &ctx.eval::<Value<'_>, _>("made")?));
                assert!(!super::super::is_request(&ctx.eval::<Value<'_>, _>("({})")?));
                assert!(super::super::take_response(ctx, &value).is_err());
                ctx.catch();
                assert!(super::super::take_request(ctx, &value).is_ok());
                Ok(())
            })
            .unwrap();
    })
    .await;
}

//! `fetch`.

use super::*;

/// Answers by path; records what was sent.
fn site(log: Rc<RefCell<Vec<String>>>) -> Rig {
    Rig::new(move |request| {
        let log = log.clone();
        Box::pin(async move {
            let Request { method, target, headers, body, .. } = request;
            let body = text_of(body).await;
            let field = |name| headers.get_str(name).unwrap_or("-").to_owned();
            log.borrow_mut().push(format!(
                "{method} {target} [{body}] auth={} type={} host={}",
                field("authorization"),
                field("content-type"),
                field("host")
            ));
            let redirect = |status, to: &str| {
                let mut response = answer(status, "");
                response.headers.set("location", to.as_bytes()).unwrap();
                response
            };
            Ok(match target.path() {
                "/302" => redirect(302, "/end?x#frag"),
                "/307" => redirect(307, "end"),
                "/away" => redirect(301, "http://other/end"),
                "/loop" => redirect(302, "/loop"),
                "/bad" => redirect(302, "ftp://x/"),
                _ => answer(200, format!("end of {method}")),
            })
        })
    })
}

#[tokio::test]
async fn redirects_are_followed_as_the_standard_says() {
    local(async {
        let log = Rc::default();
        let rig = site(Rc::clone(&log));
        rig.vm
            .run(&rig.scope(), |ctx| {
                super::super::set_limits(ctx, |_| super::super::Limits { body: 1000, subrequests: 100 });
                Ok(())
            })
            .unwrap();
        rig.check(
            r#"
            const init = { method: 'POST', body: 'b', headers: { authorization: 's', host: 'evil' } };
            let r = await fetch('http://up/302', init);
            assertEquals([r.url, r.redirected, r.status, await r.text()].join(), 'http://up/end?x,true,200,end of GET');
            r = await fetch('http://up/307', init); assertEquals(await r.text(), 'end of POST');
            r = await fetch('http://up/away', init); assertEquals(r.url, 'http://other/end');
            r = await fetch('http://up/302', { redirect: 'manual' }); assertEquals([r.status, r.redirected].join(), '302,false');
            for (const [path, init] of [['302', { redirect: 'error' }], ['loop'], ['bad'],
                ['307', { method: 'POST', body: new ReadableStream({ start(c) { c.close(); } }) }]]) {
              const e = await fetch(`http://up/${path}`, init).catch((e) => e);
              assert(e instanceof TypeError && e.cause instanceof Error, `${path}: ${e}`);
            }
            "#,
        )
        .await;
        let log: Vec<String> = log.borrow().clone();
        assert_eq!(
            &log[..6],
            [
                "POST http://up/302 [b] auth=s type=text/plain;charset=UTF-8 host=-",
                "GET http://up/end?x [] auth=s type=- host=-",
                "POST http://up/307 [b] auth=s type=text/plain;charset=UTF-8 host=-",
                "POST http://up/end [b] auth=s type=text/plain;charset=UTF-8 host=-",
                "POST http://up/away [b] auth=s type=text/plain;charset=UTF-8 host=-",
                "GET http://other/end [] auth=- type=- host=-",
            ]
        );
        assert_eq!(log.iter().filter(|l| l.contains("/loop")).count(), 21);
    })
    .await;
}

#[tokio::test]
async fn bodies_stream_both_ways() {
    local(async {
        let rig = Rig::new(|request| Box::pin(async move { Ok(answer(200, request.body)) }));
        rig.check_with(
            r#"
            const up = new ReadableStream({ async start(c) { for (const t of ['a', 'b', 'c']) { await 0; c.enqueue(new TextEncoder().encode(t)); } c.close(); } });
            const r = await fetch('http://up/', { method: 'POST', body: up, duplex: 'half' });
            let text = '';
            for await (const chunk of r.body) text += new TextDecoder().decode(chunk);
            assertEquals(text, 'abc');
            assertEquals(await (await fetch('http://up/', request)).text(), 'native');
            "#,
            post("native"),
        )
        .await;
    })
    .await;
}

#[tokio::test]
async fn signals_stop_fetches() {
    local(async {
        let feed = Feed::default();
        let body = feed.clone();
        let rig = Rig::new(move |request| {
            let body = body.body();
            Box::pin(async move {
                if request.target.path() == "/body" {
                    Ok(answer(200, body))
                } else {
                    std::future::pending().await
                }
            })
        });
        rig.check(
            r#"
            const done = await fetch('http://up/', { signal: AbortSignal.abort('why') }).catch((e) => e);
            assertEquals(done, 'why');
            const late = await fetch('http://up/', { signal: AbortSignal.timeout(5) }).catch((e) => e);
            assertEquals(late.name, 'TimeoutError');
            const c = new AbortController();
            const p = fetch(new Request('http://up/', { signal: c.signal })).catch((e) => e);
            c.abort(); assertEquals((await p).name, 'AbortError');
            const d = new AbortController();
            const r = await fetch('http://up/body', { signal: d.signal });
            const text = r.text().catch((e) => e);
            setTimeout(() => d.abort(), 3);
            assertEquals((await text).name, 'AbortError');
            "#,
        )
        .await;
        assert!(feed.0.dropped.get());
    })
    .await;
}

#[tokio::test]
async fn failures_and_limits_are_type_errors_with_a_cause() {
    local(async {
        let rig = Rig::offline();
        rig.check(
            r#"
            const e = await fetch('http://up/').catch((e) => e);
            assert(e instanceof TypeError && e.message.includes('http://up/'), `${e}`);
            assertEquals(e.cause.code, 'upstream_refused'); assert(e.cause.message.includes('nobody there'));
            for (let i = 0; i < 15; i++) await fetch('http://up/').catch(() => {});
            const over = await fetch('http://up/').catch((e) => e);
            assertEquals(over.cause.code, 'policy_subrequests');
            for (const url of ['data:,x', 'nope', 'ftp://a/']) {
              const bad = await fetch(url).catch((e) => e); assert(bad instanceof TypeError, `${url} ${bad}`);
            }
            assert((await fetch().catch((e) => e)) instanceof TypeError);
            "#,
        )
        .await;
    })
    .await;
}

#[tokio::test]
async fn sub_requests_are_counted_for_each_call() {
    local(async {
        let rig = Rig::new(|_| Box::pin(async { Ok(answer(200, "")) }));
        let exchange = rig.exchange();
        let scope = || CallScope::new(Duration::from_secs(10), Some(exchange.clone()), None);
        for (scope, calls) in [(scope(), 16), (scope(), 16), (CallScope::new(Duration::from_secs(1), None, None), 16)] {
            let sent = (0..20).filter(|_| scope.count_subrequest(calls)).count();
            assert_eq!(sent, 16);
        }
        // What the exchange has seen is for information.
        assert!(exchange.count_subrequest(33) && !exchange.count_subrequest(33));
        let body = "for (let i = 0; i < 16; i++) await fetch('http://up/'); await fetch('http://up/').then(() => assert(false), (e) => assertEquals(e.cause.code, 'policy_subrequests'));";
        rig.check(body).await;
        rig.check(body).await;
    })
    .await;
}

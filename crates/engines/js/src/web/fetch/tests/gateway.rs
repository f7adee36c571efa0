//! What gateways need and browsers' tests do not cover.

use super::*;

/// Case 1: a response's body goes through a policy without being copied into JavaScript, read only as fast as wanted.
#[tokio::test]
async fn a_passed_on_body_stays_native() {
    local(async {
        let feed = Feed::default();
        let upstream = feed.clone();
        let rig = Rig::new(move |_| {
            let body = upstream.body();
            Box::pin(async move { Ok(answer(200, body)) })
        });
        let body = "const r = await fetch('http://up/'); return new Response(r.body, { status: 203, headers: r.headers });";
        let mut response = rig.respond(body, get("http://gate/")).await.unwrap();
        assert_eq!(response.status, 203);
        assert_eq!(feed.0.polls.get(), 0, "nobody may read before the client does");
        feed.data("one");
        feed.data("two");
        feed.end();
        assert!(matches!(response.body.frame().await, Some(Ok(Frame::Data(b))) if &b[..] == b"one"));
        assert_eq!(feed.0.polls.get(), 1);
        assert_eq!(text_of(response.body).await, "two");
        assert_eq!(rig.vm.pending_ops(), 0);
    })
    .await;
}

/// Case 1 through a transform in JavaScript: pulled as the client reads.
#[tokio::test]
async fn a_transformed_body_is_pulled_as_it_is_read() {
    local(async {
        let feed = Feed::default();
        let rig = Rig::offline();
        let body = r"
            const up = new TransformStream({ transform(chunk, c) { c.enqueue(chunk.map((b) => b >= 97 ? b - 32 : b)); } });
            return new Response(request.body.pipeThrough(up));";
        let mut response = rig.respond(body, post(feed.body())).await.unwrap();
        for n in 0..50 {
            feed.data(&format!("chunk{n} "));
        }
        feed.end();
        let first = response.body.frame().await;
        assert!(matches!(&first, Some(Ok(Frame::Data(b))) if &b[..] == b"CHUNK0 "), "{first:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(feed.0.polls.get() < 8, "{} frames were read ahead", feed.0.polls.get());
        let rest = text_of(response.body).await;
        assert!(rest.starts_with("CHUNK1 ") && rest.ends_with("CHUNK49 "), "{rest}");
        until(|| rig.vm.pending_ops() == 0).await;
    })
    .await;
}

/// Case 2: the client goes away.
#[tokio::test]
async fn a_disconnect_aborts_the_signal_and_drops_fetches() {
    local(async {
        let gone = Rc::new(Cell::new(0));
        struct Gone(Rc<Cell<usize>>);
        impl Drop for Gone {
            fn drop(&mut self) {
                self.0.set(self.0.get() + 1);
            }
        }
        let count = gone.clone();
        let rig = Rig::new(move |_| {
            let guard = Gone(count.clone());
            Box::pin(async move {
                let _guard = guard;
                std::future::pending().await
            })
        });
        let scope = rig.scope();
        let function = rig.function(
            "request.signal.addEventListener('abort', () => { globalThis.seen = request.signal.reason.name; }); await fetch('http://up/');",
        );
        let kept = RefCell::new(None);
        let call = rig.vm.call(
            &scope,
            &function,
            |ctx, args| {
                let wrapped = super::super::wrap_request(ctx, get("http://gate/"), None)?;
                *kept.borrow_mut() = Some(rig.vm.handle().keep(ctx, wrapped.clone().into_value()));
                args.push(wrapped)
            },
            |_, _| Ok(()),
        );
        let request = kept.borrow_mut().take().unwrap();
        super::super::disconnect(&rig.vm, &scope, &request, super::super::Abandoned::ClientGone);
        assert!(matches!(call.await, Err(CallError::Aborted)));
        until(|| gone.get() == 1).await;
        rig.check("assertEquals(globalThis.seen, 'AbortError');").await;
    })
    .await;
}

/// Case 2, the other half: who drops a response's body cancels the stream that makes it.
#[tokio::test]
async fn a_dropped_body_cancels_its_stream() {
    local(async {
        let rig = Rig::offline();
        let body = "return new Response(new ReadableStream({ pull(c) { c.enqueue(new Uint8Array(10)); }, cancel() { globalThis.cancelled = true; } }));";
        let mut response = rig.respond(body, get("http://gate/")).await.unwrap();
        assert!(response.body.frame().await.unwrap().is_ok());
        drop(response);
        until(|| rig.vm.pending_ops() == 0).await;
        rig.check("assertEquals(globalThis.cancelled, true);").await;
        let feed = Feed::default();
        rig.check_with("await request.body.cancel(); assert(request.bodyUsed);", post(feed.body())).await;
        assert!(feed.0.dropped.get());
    })
    .await;
}

/// Case 3: a clone that nobody reads does not keep a whole body in memory.
#[tokio::test]
async fn a_clone_that_lags_behind_is_bounded() {
    local(async {
        let rig = Rig::offline();
        rig.vm
            .run(&rig.scope(), |ctx| {
                super::super::set_limits(ctx, |_| super::super::Limits { body: 100, subrequests: 1 });
                Ok(())
            })
            .unwrap();
        let feed = Feed::default();
        for _ in 0..20 {
            feed.data("0123456789");
        }
        feed.end();
        let body = "globalThis.copy = request.clone(); return new Response(request.body);";
        let response = rig.respond(body, post(feed.body())).await.unwrap();
        let failure = response.body.collect(1000).await.unwrap_err();
        assert_eq!(failure.reason(), Reason::BodyTooLarge);
        let feed = Feed::default();
        feed.data("both");
        feed.end();
        let both =
            "const c = request.clone(); assertEquals(await c.text() + await request.text(), 'bothboth');";
        rig.check_with(both, post(feed.body())).await;
    })
    .await;
}

/// Case 4: an event reaches the client before the upstream ends.
#[tokio::test]
async fn an_event_goes_through_before_the_stream_ends() {
    local(async {
        let feed = Feed::default();
        let rig = Rig::offline();
        let body = r"
            const reader = request.body.getReader();
            const decoder = new TextDecoder(), encoder = new TextEncoder();
            return new Response(new ReadableStream({
              async pull(c) {
                const { done, value } = await reader.read();
                if (done) c.close(); else c.enqueue(encoder.encode(decoder.decode(value, { stream: true }).replace('data', 'event')));
              },
            }), { headers: { 'content-type': 'text/event-stream' } });";
        let mut response = rig.respond(body, post(feed.body())).await.unwrap();
        feed.data("data: 1\n\n");
        let first = response.body.frame().await;
        assert!(matches!(&first, Some(Ok(Frame::Data(b))) if &b[..] == b"event: 1\n\n"), "{first:?}");
        feed.data("data: 2\n\n");
        feed.end();
        assert_eq!(text_of(response.body).await, "event: 2\n\n");
    })
    .await;
}

/// Case 5: a body is read once.
#[tokio::test]
async fn a_body_read_twice_throws() {
    local(async {
        let rig = Rig::offline();
        let body = r"
            await request.text();
            for (const f of [() => request.text(), () => request.json(), async () => request.clone(),
                             async () => new Request(request), async () => new Response(request.body), () => fetch(request)]) {
              const e = await f().then(() => 'no error', (e) => e);
              assert(e instanceof TypeError, `${f}: ${e}`);
            }
            assert(request.bodyUsed); return request;";
        let taken = rig
            .call(&rig.scope(), body, post("x"), |ctx, value| super::super::take_request(ctx, &value))
            .await;
        assert!(matches!(taken, Err(CallError::Script(e)) if e.name == "TypeError"));
    })
    .await;
}

/// Case 6: a body kept from one exchange is read in another.
#[tokio::test]
async fn a_body_kept_across_exchanges_works_until_its_connection_ends() {
    local(async {
        let rig = Rig::offline();
        let (alive, dead) = (Feed::default(), Feed::default());
        let scope = rig.scope();
        rig.call(&scope, "globalThis.alive = request;", post(alive.body()), |_, _| Ok(())).await.unwrap();
        rig.call(&scope, "globalThis.dead = request; request.body;", post(dead.body()), |_, _| Ok(()))
            .await
            .unwrap();
        rig.vm.abort(&scope);
        alive.data("later");
        alive.end();
        dead.put(Some(Err(Failure::new(Reason::ClientClosed))));
        rig.check(
            r"assertEquals(await alive.text(), 'later');
              const e = await dead.text().catch((e) => e);
              assert(e instanceof TypeError, `${e}`); assertEquals(e.cause.code, 'client_closed');",
        )
        .await;
    })
    .await;
}

/// A stream whose script is stopped ends with a failure: the client's connection does not hang.
#[tokio::test]
async fn a_stream_ends_when_its_scope_does() {
    local(async {
        let rig = Rig::offline();
        let scope = rig.scope();
        let body = "return new Response(new ReadableStream({ pull() { return new Promise(() => {}); } }));";
        let response =
            rig.call(&scope, body, get("http://gate/"), |ctx, v| super::super::take_response(ctx, &v));
        let response = response.await.unwrap();
        let reading = response.body.collect(10);
        let (read, ()) = tokio::join!(reading, async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            rig.vm.abort(&scope);
        });
        assert_eq!(read.unwrap_err().reason(), Reason::PolicyError);
    })
    .await;
}

/// The reason of an upstream's failure survives a transform in JavaScript.
#[tokio::test]
async fn a_failure_keeps_its_reason_through_javascript() {
    local(async {
        let rig = Rig::offline();
        let feed = Feed::default();
        feed.data("x");
        feed.put(Some(Err(Failure::new(Reason::UpstreamClosed))));
        let body = "return new Response(request.body.pipeThrough(new TransformStream()));";
        let response = rig.respond(body, post(feed.body())).await.unwrap();
        assert_eq!(response.body.collect(100).await.unwrap_err().reason(), Reason::UpstreamClosed);
    })
    .await;
}

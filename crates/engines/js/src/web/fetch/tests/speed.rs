//! Figures of the hot path; run by hand: `cargo test --release -p polygate-engine-js -- --ignored --nocapture speed`.

use super::*;

#[tokio::test]
#[ignore = "measures"]
async fn speed_of_wrapping_reading_setting_and_taking() {
    local(async {
        let rig = Rig::offline();
        let scope = CallScope::new(Duration::from_secs(60), None, None);
        let mut report = String::new();
        rig.vm
            .run(&scope, |ctx| {
                super::super::warm_up(ctx)?;
                let mut base = get("http://gate.example.com/orders/17?x=1");
                for n in 0..10 {
                    base.headers.append(&format!("x-field-{n}"), b"some value of it").unwrap();
                }
                let f: rquickjs::Function<'_> =
                    ctx.eval("((r) => { r.headers.get('x-field-3'); r.headers.set('x-new', 'value'); return r; })")?;
                let empty: rquickjs::Function<'_> = ctx.eval("((r) => r)")?;
                const N: u32 = 200_000;
                let cost = |f: &dyn Fn(Request) -> rquickjs::Result<()>| -> rquickjs::Result<f64> {
                    let mut total = Duration::ZERO;
                    for _ in 0..N / 100 {
                        let batch: Vec<Request> = (0..100).map(|_| base.clone_head()).collect();
                        let start = Instant::now();
                        for request in batch {
                            f(request)?;
                        }
                        total += start.elapsed();
                    }
                    Ok(total.as_nanos() as f64 / f64::from(N))
                };
                let wrap = cost(&|request| super::super::wrap_request(ctx, request, None).map(drop))?;
                let take = cost(&|request| {
                    let object = super::super::wrap_request(ctx, request, None)?.into_value();
                    super::super::take_request(ctx, &object).map(drop)
                })?;
                let call = cost(&|request| {
                    let object = super::super::wrap_request(ctx, request, None)?;
                    let back: Value<'_> = empty.call((object,))?;
                    super::super::take_request(ctx, &back).map(drop)
                })?;
                let all = cost(&|request| {
                    let object = super::super::wrap_request(ctx, request, None)?;
                    let back: Value<'_> = f.call((object,))?;
                    super::super::take_request(ctx, &back).map(drop)
                })?;
                let source = [
                    "r.headers",
                    "h.get('x-field-3')",
                    "h.set('x-new', 'value')",
                    "h.has('x-one')",
                    "r.method",
                    "r.url",
                ];
                for what in source {
                    let object = super::super::wrap_request(ctx, base.clone_head(), None)?;
                    let f: rquickjs::Function<'_> = ctx.eval(format!(
                        "((r) => {{ const h = r.headers; for (let i = 0; i < 100000; i++) {what}; }})"
                    ))?;
                    let start = Instant::now();
                    f.call::<_, ()>((object,))?;
                    report += &format!("{what} {} ns; ", start.elapsed().as_nanos() / 100_000);
                }
                report += &format!(
                    "wrap {wrap:.0} ns; wrap+take {take:.0} ns; with an empty call {call:.0} ns; with get and set {all:.0} ns"
                );
                Ok(())
            })
            .unwrap();
        eprintln!("{report}");
    })
    .await;
}

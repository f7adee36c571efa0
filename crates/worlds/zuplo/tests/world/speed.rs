//! What policies cost; run by hand:
//! `cargo test --release -p polygate-world-zuplo --test world speed -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use polygate_pipeline::{Response, StatusCode};

use crate::gate::{Fixture, Gate, get, run};

const EXCHANGES: u32 = 5_000;
const ROUNDS: u32 = 40;

async fn cost(gate: &Gate) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let mut spent = Duration::ZERO;
        for _ in 0..EXCHANGES {
            let mut request = get("http://gate.test/orders/1?x=1");
            for (name, value) in
                [("host", "gate.test"), ("user-agent", "bench"), ("accept", "*/*"), ("x-key", "k")]
            {
                request.headers.append(name, value.as_bytes()).unwrap();
            }
            let exchange = gate.exchange(&request);
            let begun = Instant::now();
            let response: Response = gate.send_on(request, &exchange).await.unwrap();
            spent += begun.elapsed();
            assert_eq!(response.status, StatusCode::OK);
        }
        gate.terminal.seen.borrow_mut().clear();
        best = best.min(spent / EXCHANGES);
    }
    best
}

#[test]
#[ignore = "a measurement"]
fn speed() {
    run(async {
        let text = r#"
            export async function none(request, context) { return request; }
            export async function before(request, context) {
              request.headers.set("x-seen", request.headers.get("x-key") ?? "none");
              return request;
            }
            export async function after(response) { response.headers.set("x-after", "1"); return response; }
            export default async (request, context) => new Response("hello");
            export const rich = async (request, context, options) => {
              request.user = { sub: "a", data: { b: 1 } };
              context.custom.x = request.params.id + request.query.x + context.requestId + context.route.path;
            };"#;
        let alone = cost(&Fixture::module(text).start().await).await;
        println!("terminal alone: {alone:?}");
        for (name, fixture) in [
            ("inbound that returns its request", Fixture::module(text).inbound("none")),
            ("inbound, get and set", Fixture::module(text).inbound("before")),
            ("outbound, set", Fixture::module(text).outbound("after")),
            ("inbound and outbound", Fixture::module(text).inbound("before").outbound("after")),
            ("two inbound", Fixture::module(text).inbound("none").inbound("before")),
            ("inbound with user, params, query, custom, route", Fixture::module(text).inbound("rich")),
            ("handler", Fixture::module(text).handler("default")),
        ] {
            if std::env::var("ONLY").is_ok_and(|only| only != name) {
                continue;
            }
            println!("{name}: +{:?}", cost(&fixture.start().await).await.saturating_sub(alone));
        }
    });
}

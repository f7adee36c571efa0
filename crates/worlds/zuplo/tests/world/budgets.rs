//! Budgets: a policy that loops, backtracks, hoards, or never answers costs its own exchange alone.

use std::time::{Duration, Instant};

use polygate_pipeline::{ByteSize, Reason};

use crate::gate::{Fixture, get, run};

const CPU: Duration = Duration::from_millis(20);

#[test]
fn loops_and_backtracking_are_stopped() {
    run(async {
        let gate = Fixture::module(
            r#"
            export const spin = async (request) => {
              switch (request.query.how) {
                case "loop": for (;;) {}
                case "catch": for (;;) { try { for (;;) {} } catch {} }
                case "regexp": return new Response(`${/^(a+)+$/.test("a".repeat(40) + "b")}`);
                case "await": for (;;) await null;
                default: return request;
              }
            };"#,
        )
        .inbound("spin")
        .budget(|budget| budget.cpu = CPU)
        .start()
        .await;
        for how in ["loop", "catch", "regexp", "await"] {
            let begun = Instant::now();
            let failure = gate.send(get(&format!("http://gate.test/?how={how}"))).await.unwrap_err();
            assert_eq!(failure.reason(), Reason::PolicyCpu, "{how}: {failure}");
            assert!(begun.elapsed() < Duration::from_secs(2), "{how} took {:?}", begun.elapsed());
            assert_eq!(
                gate.send(get("http://gate.test/")).await.unwrap().status.as_u16(),
                200,
                "after {how}"
            );
        }
    });
}

#[test]
fn a_hoarder_dies_and_its_virtual_machine_is_replaced() {
    run(async {
        let gate = Fixture::module(
            r#"
            let loaded = Math.random();
            export const hoard = async (request) => {
              if (!request.query.hoard) return Response.json(loaded);
              const all = [];
              for (;;) all.push(new Uint8Array(1 << 16).fill(1));
            };"#,
        )
        .inbound("hoard")
        .budget(|budget| {
            budget.memory = ByteSize::mib(16);
            budget.cpu = Duration::from_secs(5);
        })
        .start()
        .await;
        let before = gate.get("http://gate.test/").await;
        let failure = gate.send(get("http://gate.test/?hoard=1")).await.unwrap_err();
        assert_eq!(failure.reason(), Reason::PolicyMemory, "{failure}");
        // Waits for the replacement, whose modules were loaded anew.
        let after = gate.get("http://gate.test/").await;
        assert_eq!((before.0, after.0), (200, 200));
        assert_ne!(before.1, after.1);
        assert!(gate.log.text().contains("was replaced"), "{}", gate.log.text());
        assert!(gate.instance.memory() < 16 << 20);
    });
}

#[test]
fn a_promise_that_never_settles_ends_with_the_wall_time() {
    run(async {
        let gate = Fixture::module(
            r#"
            export const wait = async (request, context) => {
              if (!request.query.wait) return request;
              request.signal.addEventListener("abort", () => context.log.warn(`${request.signal.reason}`));
              await new Promise(() => {});
            };"#,
        )
        .inbound("wait")
        .budget(|budget| budget.wall = Duration::from_millis(30))
        .start()
        .await;
        let failure = gate.send(get("http://gate.test/?wait=1")).await.unwrap_err();
        assert_eq!((failure.reason(), failure.status().as_u16()), (Reason::PolicyTimeout, 504));
        let log = gate.log.text();
        assert!(log.contains("TimeoutError: The time for this policy is up"), "{log}");
        assert_eq!(gate.send(get("http://gate.test/")).await.unwrap().status.as_u16(), 200);
    });
}

#[test]
fn time_of_others_is_not_taken_for_the_policy_s_own() {
    run(async {
        let gate = Fixture::module(
            r#"
            export const late = async (response, request, context) => {
              request.signal.addEventListener("abort", () => context.log.warn(request.signal.reason.name));
              await new Promise(() => {});
            };"#,
        )
        .outbound("late")
        .budget(|budget| budget.wall = Duration::from_millis(200))
        .start()
        .await;
        gate.terminal.delay.set(Duration::from_millis(250));
        let sending = gate.send(get("http://gate.test/"));
        assert!(tokio::time::timeout(Duration::from_millis(300), sending).await.is_err());
        assert!(gate.log.text().contains("AbortError"), "{}", gate.log.text());
        let failure = gate.failure().await;
        assert_eq!(failure.reason(), Reason::PolicyTimeout);
        assert!(gate.log.text().contains("TimeoutError"), "{}", gate.log.text());
    });
}

#[test]
fn a_client_that_goes_away_stops_the_call_and_its_fetch() {
    run(async {
        let gate = Fixture::module(
            r#"
            export default async (request, context) => {
              request.signal.addEventListener("abort", () => context.log.warn(`${request.signal.reason}`));
              await fetch("http://up.test/slow", { signal: request.signal });
              context.log.error("went on");
            };"#,
        )
        .handler("default")
        .start()
        .await;
        gate.upstream.delay.set(Duration::from_millis(30));
        let sending = gate.send(get("http://gate.test/"));
        assert!(tokio::time::timeout(Duration::from_millis(10), sending).await.is_err());
        assert_eq!(gate.upstream.started.get(), 1);
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(gate.upstream.finished.get(), 0);
        let log = gate.log.text();
        assert!(log.contains("AbortError: The client went away") && !log.contains("went on"), "{log}");
    });
}

#[test]
fn time_in_the_layers_within_does_not_count() {
    run(async {
        let gate = Fixture::module(
            "export const quick = async (request) => request; export const out = async (r) => r;",
        )
        .inbound("quick")
        .budget(|budget| budget.wall = Duration::from_millis(20))
        .outbound("out")
        .budget(|budget| budget.wall = Duration::from_millis(20))
        .start()
        .await;
        gate.terminal.delay.set(Duration::from_millis(60));
        assert_eq!(gate.send(get("http://gate.test/")).await.unwrap().status.as_u16(), 200);
    });
}

#[test]
fn more_sub_requests_than_allowed_are_refused() {
    run(async {
        let gate = Fixture::module(
            r#"
            export default async (request) => {
              const statuses = [];
              for (let i = 0; i < 3; i++) statuses.push(await fetch("http://up.test/").then((r) => r.status, (e) => e.name));
              return statuses;
            };"#,
        )
        .handler("default")
        .budget(|budget| budget.subrequests = 2)
        .start()
        .await;
        assert_eq!(gate.get("http://gate.test/").await.1, r#"[200,200,"TypeError"]"#);
    });
}

#[test]
fn sub_requests_are_counted_for_each_call_and_load() {
    run(async {
        let gate = Fixture::module(
            r#"
            const sent = async () => {
              for (let count = 0; ; count++) {
                try { await fetch("http://up.test/"); } catch (error) { return `${count} ${error.cause.code}`; }
              }
            };
            const atLoad = await sent();
            export const first = async (request) => { request.headers.set("x-first", await sent()); };
            export default async (request) => [atLoad, request.headers.get("x-first"), await sent()];
            "#,
        )
        .inbound("first")
        .budget(|budget| budget.subrequests = 2)
        .handler("default")
        .budget(|budget| budget.subrequests = 3)
        .start()
        .await;
        let [load, two, three] = [16, 2, 3].map(|count| format!("\"{count} policy_subrequests\""));
        for _ in 0..2 {
            assert_eq!(gate.get("http://gate.test/").await.1, format!("[{load},{two},{three}]"));
        }
    });
}

#[test]
fn exchanges_leave_no_memory_behind() {
    run(async {
        let gate = Fixture::module(
            r#"
            export const touch = async (request, context) => {
              context.custom.request = request; request.context = context;
              request.user = { sub: "a", data: { b: [1, 2, 3] } };
              request.headers.set("x-a", request.params.id + request.query.x);
            };
            export const out = async (response, request, context) => { response.headers.set("a", request.user.sub); return response; };
            "#,
        )
        .inbound("touch")
        .outbound("out")
        .start()
        .await;
        let send = async |count: u32| {
            for _ in 0..count {
                gate.send(get("http://gate.test/?x=1")).await.unwrap();
            }
            gate.terminal.seen.borrow_mut().clear();
        };
        send(500).await;
        let before = gate.instance.memory();
        send(10_000).await;
        let after = gate.instance.memory();
        // The collector of cycles runs by itself: what is left of 10,000 exchanges is less than its threshold.
        assert!(after < before + (6 << 20), "{before} bytes became {after}");
    });
}

#[test]
fn thousands_of_exchanges_wait_at_a_time() {
    run(async {
        let gate = Fixture::module(
            r#"
            export default async (request) => {
              if (request.query.timers) {
                let count = 0;
                try { for (;; count++) setTimeout(() => {}, 1e6); } catch (error) { return [error.name, count]; }
              }
              return (await fetch("http://up.test/")).status;
            };"#,
        )
        .handler("default")
        .budget(|budget| budget.cpu = Duration::from_secs(5))
        .start()
        .await;
        gate.upstream.delay.set(Duration::from_millis(300));
        let sending = (0..3000).map(|_| gate.get("http://gate.test/"));
        let answers = futures_util::future::join_all(sending).await;
        assert!(answers.iter().all(|answer| *answer == (200, "200".to_owned())));
        assert_eq!(gate.get("http://gate.test/?timers=1").await.1, r#"["RangeError",10000]"#);
    });
}

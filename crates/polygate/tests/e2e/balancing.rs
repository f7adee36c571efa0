//! Named upstreams: balancing, retries, ejection, checks, caps, copies, shares.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Gateway, Project, free_port};

/// A server that answers with its name, and with the status that it is told; 0 means that it reads the request and
/// closes, 1 that it never answers.
#[derive(Clone)]
struct Server {
    url: String,
    status: Arc<AtomicU16>,
    seen: Arc<AtomicUsize>,
    bodies: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            status: Arc::new(AtomicU16::new(200)),
            seen: Arc::default(),
            bodies: Arc::default(),
        };
        let this = server.clone();
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let this = this.clone();
                std::thread::spawn(move || this.serve(stream, name));
            }
        });
        server
    }

    fn serve(&self, stream: TcpStream, name: &str) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut stream = stream;
        loop {
            let mut length = 0;
            let mut line = String::new();
            let mut first = String::new();
            loop {
                line.clear();
                if reader.read_line(&mut line).unwrap_or(0) == 0 {
                    return;
                }
                if first.is_empty() {
                    first.clone_from(&line);
                }
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line == "\r\n" {
                    break;
                }
            }
            let mut body = vec![0; length];
            if reader.read_exact(&mut body).is_err() {
                return;
            }
            if !first.contains("/health") {
                self.seen.fetch_add(1, Ordering::Relaxed);
                self.bodies.lock().unwrap().push(String::from_utf8(body).unwrap());
            }
            match self.status.load(Ordering::Relaxed) {
                0 => return,
                1 => std::thread::sleep(Duration::from_secs(3600)),
                status => {
                    let answer =
                        format!("HTTP/1.1 {status} Said\r\nContent-Length: {}\r\n\r\n{name}", name.len());
                    if stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            }
        }
    }

    fn say(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    fn seen(&self) -> usize {
        self.seen.load(Ordering::Relaxed)
    }
}

/// A project that forwards `/` to the upstream `up`, which these settings describe.
fn project(settings: &str) -> Project {
    let route = |method: &str| {
        json!({ "operationId": method, "x-polygate-route": { "handler": {
            "export": "urlForwardHandler", "module": "$import(@polygate/runtime)", "options": { "upstream": "up" } } } })
    };
    let routes = json!({ "openapi": "3.1.0", "info": { "title": "t", "version": "1" },
        "paths": { "/": { "get": route("get"), "post": route("post") } } });
    Project::new().file("config/routes.oas.json", &routes.to_string()).file("polygate.toml", settings)
}

fn serve(project: &Project) -> Gateway {
    Gateway::start("run", project.root(), &["--workers", "1"])
}

fn tally(gateway: &Gateway, requests: usize) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for _ in 0..requests {
        let reply = gateway.get("/");
        assert_eq!(reply.status, 200, "{}", reply.body);
        *tally.entry(reply.body).or_default() += 1;
    }
    tally
}

/// Whether some requests in a row go to that server alone: workers hear of a check a moment after the admin API does.
fn leads_to(gateway: &Gateway, name: &str) -> Option<()> {
    (0..4).all(|_| gateway.get("/").body == name).then_some(())
}

fn upstream(gateway: &Gateway, name: &str) -> Value {
    let all = gateway.admin("/upstreams");
    all["upstreams"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap().clone()
}

#[test]
fn requests_are_spread_by_weight_hash_and_cookie() {
    let (a, b) = (Server::start("a"), Server::start("b"));
    let targets = format!("targets = [{{ url = {:?}, weight = 3 }}, {:?}]\n", a.url, b.url);
    let gateway = serve(&project(&format!("[upstreams.up]\n{targets}")));
    assert_eq!(tally(&gateway, 40), BTreeMap::from([("a".to_owned(), 30), ("b".to_owned(), 10)]));
    let seen = upstream(&gateway, "up");
    assert_eq!(seen["endpoints"][0]["requests"], 30);
    assert_eq!(seen["endpoints"][1]["address"], b.url.trim_start_matches("http://"));
    assert!(gateway.admin_text("/metrics").contains("polygate_endpoint_requests_total{upstream=\"up\""));

    let hashed = "balance = \"consistent-hash\"\nhash = { header = \"x-user\" }\n";
    let gateway = serve(&project(&format!("[upstreams.up]\n{targets}{hashed}")));
    let of = |user: &str| gateway.send("GET", "/", &[("x-user", user)], "").body;
    let users: Vec<String> = (0..40).map(|number| number.to_string()).collect();
    let first: Vec<String> = users.iter().map(|user| of(user)).collect();
    assert_eq!(
        users.iter().map(|user| of(user)).collect::<Vec<_>>(),
        first,
        "the same one for the same user"
    );
    assert!(first.iter().any(|name| name == "a") && first.iter().any(|name| name == "b"));

    let gateway = serve(&project(&format!("[upstreams.up]\n{targets}balance = \"sticky-cookie\"\n")));
    for _ in 0..4 {
        let reply = gateway.get("/");
        let cookie = reply.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        assert!(cookie.starts_with("polygate-endpoint="), "{cookie}");
        for _ in 0..3 {
            let again = gateway.send("GET", "/", &[("cookie", &cookie)], "");
            assert_eq!((&again.body, again.header("set-cookie")), (&reply.body, None));
        }
    }
}

#[test]
fn tries_are_repeated_where_that_is_safe() {
    let (bad, good) = (Server::start("bad"), Server::start("good"));
    let retries =
        "retries = { attempts = 2, on = [\"connect-failure\", \"reset\", \"503\"], budget-reserve = 100 }\n";
    let settings = format!("[upstreams.up]\ntargets = [{:?}, {:?}]\n{retries}", bad.url, good.url);
    let gateway = serve(&project(&settings));
    bad.say(503);
    assert_eq!(tally(&gateway, 10), BTreeMap::from([("good".to_owned(), 10)]), "503 is tried elsewhere");
    bad.say(0);
    assert_eq!(tally(&gateway, 10), BTreeMap::from([("good".to_owned(), 10)]), "a reset of GET too");
    // A POST that was sent may have been carried out: it is not sent again.
    let before = (bad.seen(), good.seen());
    let statuses: Vec<u16> = (0..4).map(|_| gateway.post("/", "order").status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 2, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 502).count(), 2, "{statuses:?}");
    assert_eq!((bad.seen() - before.0, good.seen() - before.1), (2, 2));
    let totals = upstream(&gateway, "up")["totals"].clone();
    assert!(totals["retries"].as_u64().unwrap() >= 10, "{totals}");
}

#[test]
fn retries_have_a_budget() {
    let (one, two) = (Server::start("one"), Server::start("two"));
    let retries = "retries = { attempts = 1, on = [\"503\"], budget-percent = 0, budget-reserve = 2 }\n";
    let settings = format!("[upstreams.up]\ntargets = [{:?}, {:?}]\n{retries}", one.url, two.url);
    let gateway = serve(&project(&settings));
    one.say(503);
    two.say(503);
    for _ in 0..6 {
        assert_eq!(gateway.get("/").status, 503);
    }
    let sent = one.seen() + two.seen();
    // One comes back each second: a slow machine may see some more.
    assert!((8..12).contains(&sent), "{sent}");
    assert!(upstream(&gateway, "up")["totals"]["retries_over_budget"].as_u64().unwrap() > 0);
}

#[test]
fn failing_endpoints_are_ejected_and_come_back() {
    let (bad, good) = (Server::start("bad"), Server::start("good"));
    bad.say(500);
    let eject = "eject = { failures = 2, time = \"2s\", max-percent = 50 }\n";
    let settings = format!("[upstreams.up]\ntargets = [{:?}, {:?}]\n{eject}", bad.url, good.url);
    let project = project(&settings);
    let gateway = serve(&project);
    for _ in 0..4 {
        gateway.get("/");
    }
    let seen = bad.seen();
    assert_eq!(tally(&gateway, 6), BTreeMap::from([("good".to_owned(), 6)]));
    assert_eq!(bad.seen(), seen);
    let ejected = upstream(&gateway, "up")["endpoints"][0].clone();
    assert_eq!(ejected["ejected_by_workers"], 1, "{ejected}");
    // What is known of an endpoint outlives a reload.
    project.write("polygate.toml", &format!("{settings}\n[limits]\nbody = \"1MiB\"\n"));
    let mut answer = crate::harness::agent().post(&gateway.admin_url("/reload")).send_empty().unwrap();
    let answer = answer.body_mut().read_to_string().unwrap();
    assert!(answer.contains("\"deployed\""), "{answer}");
    let after = upstream(&gateway, "up")["endpoints"][0].clone();
    assert_eq!((&after["ejected_until_ms"], &after["failures"]), (&ejected["ejected_until_ms"], &json!(2)));
    bad.say(200);
    gateway.wait(|| (gateway.get("/").body == "bad").then_some(()), "the endpoint to come back");
}

#[test]
fn an_endpoint_that_comes_back_gets_its_share_gradually() {
    let (back, other) = (Server::start("back"), Server::start("other"));
    back.say(503);
    let check = "check = { path = \"/health\", interval = \"50ms\", timeout = \"500ms\", unhealthy = 1, healthy = 1 }";
    let settings = format!(
        "[upstreams.up]\ntargets = [{:?}, {:?}]\nslow-start = \"4s\"\n{check}\n",
        back.url, other.url
    );
    let gateway = serve(&project(&settings));
    let endpoint = || upstream(&gateway, "up")["endpoints"][0].clone();
    gateway.wait(|| (endpoint()["healthy"] == json!(false)).then_some(()), "a check to fail");
    gateway.wait(|| leads_to(&gateway, "other"), "the worker to know");
    let seen = back.seen();
    assert_eq!(tally(&gateway, 20), BTreeMap::from([("other".to_owned(), 20)]));
    assert_eq!(back.seen(), seen, "it gets nothing while checks fail");
    back.say(200);
    let since = gateway.wait(
        || Some(endpoint()).filter(|one| one["healthy"] == json!(true))?["since_ms"].as_u64(),
        "it to recover",
    );
    // Its weight grows from 1 % to 100 % of the other's within four seconds. How far it has come is asked of the clock before
    // and after some requests, so that a slow machine may take its time: its share of them lies between.
    let begun = std::time::UNIX_EPOCH + Duration::from_millis(since);
    let part = || (begun.elapsed().unwrap().as_secs_f64() / 4.0).min(1.0);
    let mut shares = Vec::new();
    while part() < 1.0 {
        let before = part();
        let got = tally(&gateway, 40).remove("back").unwrap_or(0) as f64 / 40.0;
        let share = |part: f64| part / (1.0 + part);
        // Turns are taken by weight: up to three more or fewer than its share are rounding.
        let slack = 3.0 / 40.0;
        assert!(
            got >= share(before) - slack && got <= share(part()) + slack,
            "{got} of the requests between {before} and {}",
            part()
        );
        shares.push(got);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(shares.is_sorted_by(|a, b| *a <= b + 0.15), "it grows: {shares:?}");
    let whole = tally(&gateway, 60).remove("back").unwrap_or(0);
    assert!((29..=31).contains(&whole), "and then its whole share: {whole} of 60");
}

#[test]
fn an_endpoint_that_refuses_connections_is_ejected_and_gets_nothing() {
    let good = Server::start("good");
    let dead = free_port();
    let settings = format!(
        "[upstreams.up]\ntargets = [\"http://127.0.0.1:{dead}\", {:?}]\neject = {{ failures = 1, time = \"1s\" }}\n",
        good.url
    );
    let gateway = serve(&project(&settings));
    // Whoever meets it is sent on to the other one.
    assert_eq!(tally(&gateway, 10), BTreeMap::from([("good".to_owned(), 10)]));
    let one = || upstream(&gateway, "up")["endpoints"][0].clone();
    let (requests, until) =
        (one()["requests"].as_u64().unwrap(), one()["ejected_until_ms"].as_u64().unwrap());
    assert!(requests >= 1 && until > 0, "{}", one());
    // Once its time is over it is tried again, and ejected for twice as long.
    let tried = || {
        gateway.get("/");
        one()["requests"].as_u64().filter(|now| *now > requests)
    };
    gateway.wait(tried, "it to be tried again");
    let again = one()["ejected_until_ms"].as_u64().unwrap();
    // Clocks are read one after the other.
    assert!(again >= until + 1950, "{again} after {until}");
    // Now there is somebody.
    let listener = TcpListener::bind(("127.0.0.1", dead)).unwrap();
    let server = Server { url: String::new(), status: Arc::new(AtomicU16::new(200)), ..good.clone() };
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let server = server.clone();
            std::thread::spawn(move || server.serve(stream, "alive"));
        }
    });
    gateway.wait(|| (gateway.get("/").body == "alive").then_some(()), "it to come back");
}

#[test]
fn checks_decide_who_is_healthy() {
    let (sick, well) = (Server::start("sick"), Server::start("well"));
    sick.say(503);
    let check = "check = { path = \"/health\", interval = \"50ms\", timeout = \"500ms\", unhealthy = 2, healthy = 1 }\n";
    let settings = format!("[upstreams.up]\ntargets = [{:?}, {:?}]\n{check}", sick.url, well.url);
    let gateway = serve(&project(&settings));
    let healthy = |index: usize| upstream(&gateway, "up")["endpoints"][index]["healthy"].clone();
    gateway.wait(|| (healthy(0) == json!(false)).then_some(()), "a check to fail");
    gateway.wait(|| leads_to(&gateway, "well"), "the worker to know");
    assert_eq!(tally(&gateway, 6), BTreeMap::from([("well".to_owned(), 6)]));
    let why = upstream(&gateway, "up")["endpoints"][0]["why"].clone();
    assert!(why.as_str().unwrap().contains("503"), "{why}");
    sick.say(200);
    gateway.wait(|| (gateway.get("/").body == "sick").then_some(()), "the endpoint to recover");
}

#[test]
fn caps_refuse_what_is_too_much() {
    let slow = Server::start("slow");
    slow.say(1);
    let settings = format!("[upstreams.up]\nurl = {:?}\nbreaker = {{ requests = 1 }}\n", slow.url);
    let gateway = serve(&project(&settings));
    let url = gateway.url("/");
    let waiting = std::thread::spawn(move || crate::harness::agent().get(&url).call().map(|_| ()));
    gateway.wait(|| (slow.seen() == 1).then_some(()), "the first request");
    let refused = gateway.get("/");
    assert_eq!((refused.status, refused.json()["reason"].as_str()), (503, Some("upstream_overloaded")));
    assert_eq!(upstream(&gateway, "up")["totals"]["overloaded"], 1);
    drop(gateway);
    let _ = waiting.join();
}

#[test]
fn upstreams_are_split_and_mirrored() {
    let (one, two, shadow) = (Server::start("one"), Server::start("two"), Server::start("shadow"));
    shadow.say(500);
    let settings = format!(
        "[upstreams.up]\nsplit = {{ v1 = 75, v2 = 25 }}\n\n[upstreams.v1]\nurl = {:?}\n\
         mirror = {{ upstream = \"shadow\" }}\n\n[upstreams.v2]\nurl = {:?}\n\n[upstreams.shadow]\nurl = {:?}\n",
        one.url, two.url, shadow.url
    );
    let gateway = serve(&project(&settings));
    assert_eq!(tally(&gateway, 20), BTreeMap::from([("one".to_owned(), 15), ("two".to_owned(), 5)]));
    for _ in 0..4 {
        assert_eq!(gateway.post("/", "order").status, 200);
    }
    gateway.wait(|| (shadow.seen() == 18).then_some(()), "the copies");
    let bodies = shadow.bodies.lock().unwrap();
    assert_eq!(bodies.iter().filter(|body| *body == "order").count(), 3, "{bodies:?}");
}

#[test]
fn no_endpoint_is_a_clear_answer() {
    let settings = format!("[upstreams.up]\nurl = \"http://127.0.0.1:{}\"\n", free_port());
    let gateway = serve(&project(&settings));
    let reply = gateway.get("/");
    assert_eq!((reply.status, reply.json()["reason"].as_str()), (502, Some("upstream_refused")));
}

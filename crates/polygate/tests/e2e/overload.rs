//! Overload: what is shed and said when memory, descriptors or places for exchanges run out, and that it passes.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Gateway, PATIENCE, Project, Reply, agent};

/// How fast the admin API answers whatever happens, and how fast all is well again: generous, for slow machines. The
/// figures that are promised are 100 ms and 2 s.
const AT_ONCE: Duration = Duration::from_millis(1_000);
const SOON: Duration = Duration::from_secs(5);

const MODULE: &str = r#"
export async function hello() { return new Response("hello"); }
export async function wait(request) {
    console.log("waits");
    await new Promise((resolve) => setTimeout(resolve, 1500));
    return new Response("waited");
}
export async function work() {
    const until = Date.now() + 5;
    while (Date.now() < until);
    return new Response("done");
}
export async function hold() {
    const kept = [];
    for (let n = 0; n < 10; n++) kept.push(new Uint8Array(10 << 20).fill(n + 1));
    console.log("holds");
    await new Promise((resolve) => setTimeout(resolve, 2000));
    return new Response(String(kept.length));
}
"#;

fn project(settings: &str) -> Project {
    let mut project = Project::new().file("modules/main.ts", MODULE).file("polygate.toml", settings);
    for name in ["hello", "wait", "work", "hold"] {
        project = project.function("get", &format!("/{name}"), name);
    }
    project
}

/// A keep-alive connection.
struct Client(TcpStream);

impl Client {
    fn connect(gateway: &Gateway) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", gateway.port())).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    fn ask(&mut self, path: &str) {
        write!(self.0, "GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    }

    /// The head and the body of a response that has a length.
    fn answer(&mut self) -> (String, String) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        self.0.read_exact(&mut body).unwrap();
        (head, String::from_utf8(body).unwrap())
    }

    /// Whether it is open, as far as is known here already.
    fn is_open(&self) -> bool {
        self.0.set_nonblocking(true).unwrap();
        let peeked = self.0.peek(&mut [0]);
        self.0.set_nonblocking(false).unwrap();
        peeked.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }

    fn is_closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0]), Ok(0) | Err(_))
    }
}

fn level(gateway: &Gateway) -> String {
    gateway.admin("/status")["overload"]["level"].as_str().unwrap_or("none").to_owned()
}

fn await_level(gateway: &Gateway, wanted: &str) {
    gateway.wait(|| (level(gateway) == wanted).then_some(()), &format!("level {wanted}"));
}

/// Whether the process lives and is ready, and says so fast.
fn assert_healthy(gateway: &Gateway) {
    for path in ["/health/live", "/health/ready"] {
        let asked = Instant::now();
        assert_eq!(agent().get(gateway.admin_url(path)).call().unwrap().status(), 200);
        assert!(asked.elapsed() < AT_ONCE, "{path} after {:?}", asked.elapsed());
    }
}

fn assert_shed(reply: &Reply, retry_after: &str) {
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some(retry_after)), "{reply:?}");
    assert_eq!(reply.json()["reason"], "overloaded");
}

fn count(gateway: &Gateway, metric: &str) -> u64 {
    let text = gateway.admin_text("/metrics");
    let found = text.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {metric} in\n{text}")).parse().unwrap()
}

/// Changes the settings of a gateway that runs.
fn reload(project: &Project, gateway: &Gateway, settings: &str) {
    project.write("polygate.toml", settings);
    let reply = agent().post(gateway.admin_url("/reload")).send_empty().unwrap();
    assert_eq!(reply.status(), 200);
}

/// With a memory of 1 GiB, of which any process uses more than a thousandth and less than the whole.
fn rungs(close: &str, shed: &str, pause: &str) -> String {
    format!("[overload]\nmemory = \"1GiB\"\nclose-at = {close}\nshed-at = {shed}\npause-at = {pause}\n")
}

#[test]
fn each_rung_of_the_ladder_does_what_it_says() {
    let project = project("");
    let gateway = project.run();
    let mut idle = Client::connect(&gateway);
    let mut kept = Client::connect(&gateway);
    for client in [&mut idle, &mut kept] {
        client.ask("/hello");
        let (head, _) = client.answer();
        assert!(!head.contains("connection: close"), "{head}");
    }

    reload(&project, &gateway, &rungs("0.001", "1", "1"));
    await_level(&gateway, "close");
    let output = gateway.await_output("overload: connections are closed after their exchange");
    assert!(output.contains("(memory: "), "{output}");
    let mut fresh = Client::connect(&gateway);
    fresh.ask("/hello");
    let (head, body) = fresh.answer();
    assert!(head.starts_with("http/1.1 200") && head.contains("connection: close"), "{head}");
    assert_eq!(body, "hello");
    assert!(fresh.is_closed() && idle.is_closed() && kept.is_closed(), "idle ones are reaped");
    assert_eq!(count(&gateway, "polygate_connections_reaped_total"), 2);

    reload(&project, &gateway, &rungs("0.001", "0.001", "1"));
    await_level(&gateway, "shed");
    assert_shed(&gateway.get("/hello"), "2");
    assert_healthy(&gateway);
    assert_eq!(count(&gateway, "polygate_overload_level"), 2);
    assert_eq!(count(&gateway, "polygate_exchanges_shed_total{cause=\"memory\"}"), 1);
    let shed = "polygate_exchanges_total{route=\"\",status=\"503\",reason=\"overloaded\"}";
    assert_eq!(count(&gateway, shed), 1);

    reload(&project, &gateway, &rungs("0.001", "0.001", "0.001"));
    await_level(&gateway, "pause");
    assert_eq!(gateway.admin("/status")["overload"]["cause"], "memory");
    // The kernel takes the connection, and it waits.
    let mut waiting = Client::connect(&gateway);
    waiting.ask("/hello");
    waiting.0.set_read_timeout(Some(Duration::from_millis(600))).unwrap();
    assert!(waiting.0.peek(&mut [0]).is_err(), "nobody answers");
    assert_healthy(&gateway);
    waiting.0.set_read_timeout(Some(PATIENCE)).unwrap();

    let mended = Instant::now();
    reload(&project, &gateway, "");
    let (head, _) = waiting.answer();
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(mended.elapsed() < SOON, "{:?}", mended.elapsed());
    await_level(&gateway, "calm");
    gateway.await_output("overload is over");
}

#[test]
fn memory_that_runs_out_is_shed_for_and_comes_back() {
    let project = project("");
    let gateway = Gateway::start("run", project.root(), &["--workers", "1"]);
    assert_eq!(gateway.get("/hello").status, 200);
    let resident = gateway.admin("/status")["memory"]["resident_bytes"].as_u64().unwrap();
    let most = resident + (150 << 20);
    let shed = (resident + (60 << 20)) as f64 / most as f64;
    let settings = format!(
        "[budget]\nmemory = \"512MiB\"\ncpu = \"10s\"\n\
         [overload]\nmemory = {most}\nclose-at = {shed}\nshed-at = {shed}\npause-at = 1\nretry-after = \"7s\"\n"
    );
    reload(&project, &gateway, &settings);
    let mut holder = Client::connect(&gateway);
    holder.ask("/hold");
    gateway.await_output("holds");
    await_level(&gateway, "shed");
    assert_shed(&gateway.get("/hello"), "7");
    assert_healthy(&gateway);
    let (head, body) = holder.answer();
    assert!(head.starts_with("http/1.1 200") && body == "10", "what runs is finished: {head}{body}");
    let over = Instant::now();
    gateway.wait(|| (gateway.get("/hello").status == 200).then_some(()), "recovery");
    assert!(over.elapsed() < SOON, "{:?}", over.elapsed());
}

#[test]
fn a_worker_has_so_many_places_for_exchanges() {
    let project = project("[limits]\nexchanges = 1\n");
    let gateway = Gateway::start("run", project.root(), &["--workers", "1"]);
    let mut first = Client::connect(&gateway);
    first.ask("/wait");
    gateway.await_output("waits");
    assert_shed(&gateway.get("/hello"), "2");
    assert_eq!(count(&gateway, "polygate_exchanges_shed_total{cause=\"exchanges\"}"), 1);
    let (head, _) = first.answer();
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert_eq!(gateway.get("/hello").status, 200);
}

#[test]
fn what_cannot_be_done_in_time_is_shed_and_the_rest_is_done() {
    let project = project("[overload]\nlag = \"20ms\"\n");
    let gateway = Gateway::start("run", project.root(), &["--workers", "1"]);
    let began = Instant::now();
    let (done, shed) = (AtomicU64::new(0), AtomicU64::new(0));
    let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
    // Together they ask for ten times as much as can be done in time.
    std::thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| {
                let mut client = Client::connect(&gateway);
                while (of(&shed) < 20 || of(&done) < 20) && began.elapsed() < PATIENCE {
                    client.ask("/work");
                    let (head, body) = client.answer();
                    // Closing it would only make more work.
                    assert!(!head.contains("connection: close"), "{head}");
                    if head.starts_with("http/1.1 200") {
                        assert_eq!(body, "done");
                        done.fetch_add(1, Ordering::Relaxed);
                    } else {
                        assert!(
                            head.starts_with("http/1.1 503") && head.contains("retry-after: 2"),
                            "{head}"
                        );
                        assert!(body.contains("\"overloaded\""), "{body}");
                        shed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert!(of(&shed) >= 20 && of(&done) >= 20, "{done:?} done, {shed:?} shed");
    assert_eq!(count(&gateway, "polygate_exchanges_shed_total{cause=\"lag\"}"), of(&shed));
    // Whoever comes alone is never late.
    assert_eq!(gateway.get("/work").status, 200);
}

/// Sets how many descriptors the process may have; the limit stays one that can be raised again.
fn limit_descriptors(gateway: &Gateway, most: u64) {
    let process = gateway.admin("/status")["process"].to_string();
    prlimit(&process, most);
}

fn prlimit(process: &str, most: u64) {
    let limit = format!("--nofile={most}:");
    let status = std::process::Command::new("prlimit").args(["--pid", process, &limit]).status().unwrap();
    assert!(status.success());
}

/// CPU time of a process so far.
fn cpu_time(process: &str) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

#[test]
fn descriptors_that_run_out_cost_the_oldest_idle_connections() {
    let project = project("");
    let gateway = project.run();
    limit_descriptors(&gateway, 200);
    let most = || gateway.admin("/status")["overload"]["readings"]["descriptors"]["most"].as_f64();
    // 32 and one for each worker are kept back.
    gateway.wait(|| (most() == Some(166.0)).then_some(()), "the limit to be seen");
    let mut clients: Vec<Client> = (0..400).map(|_| Client::connect(&gateway)).collect();
    gateway.wait(|| (level(&gateway) != "calm").then_some(()), "overload");
    assert_eq!(gateway.admin("/status")["overload"]["cause"], "descriptors");
    assert_healthy(&gateway);
    assert!(clients[0].is_closed());
    // It may come back while those that wait in the backlog are accepted.
    gateway.wait(
        || (count(&gateway, "polygate_connections_accepted_total") >= 400).then_some(()),
        "all to be accepted",
    );
    await_level(&gateway, "calm");
    gateway.await_output("overload is over");
    let reaped = count(&gateway, "polygate_connections_reaped_total");
    assert!((200..400).contains(&reaped), "{reaped}");
    // Of the newest ones, some are still there: each worker lets its own oldest go.
    let newest = clients.iter_mut().rev().take(150).find(|client| client.is_open());
    let newest = newest.expect("the newest connections are kept");
    newest.ask("/hello");
    assert_eq!(newest.answer().1, "hello");
}

#[test]
fn no_descriptor_at_all_neither_ends_the_process_nor_makes_it_spin() {
    let project = project("[overload]\nenabled = false\n");
    let gateway = project.run();
    let process = gateway.admin("/status")["process"].to_string();
    prlimit(&process, 4);
    let mut waiting = Client::connect(&gateway);
    waiting.ask("/hello");
    gateway.await_output("connections cannot be accepted");
    let (before, since) = (cpu_time(&process), Instant::now());
    waiting.0.set_read_timeout(Some(Duration::from_millis(1_500))).unwrap();
    assert!(waiting.0.peek(&mut [0]).is_err(), "nobody answers");
    let spent = cpu_time(&process) - before;
    assert!(spent < since.elapsed() / 4, "{spent:?} of {:?}", since.elapsed());
    assert_eq!(gateway.output().matches("connections cannot be accepted").count(), 1, "said once");
    prlimit(&process, 200);
    waiting.0.set_read_timeout(Some(PATIENCE)).unwrap();
    let mended = Instant::now();
    assert_eq!(waiting.answer().1, "hello");
    assert!(mended.elapsed() < SOON, "{:?}", mended.elapsed());
    assert!(count(&gateway, "polygate_accept_errors_total") > 0);
}

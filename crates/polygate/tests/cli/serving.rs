//! `dev` and `run`: served, reloaded, refused, stopped.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::project::{Folder, text};

/// How long something may take on a busy machine.
const SOON: Duration = Duration::from_secs(20);

struct Serving {
    child: Child,
    lines: Receiver<String>,
    gateway: String,
    admin: String,
}

impl Serving {
    fn dev(folder: &Folder) -> Self {
        let mut serving =
            Self::start(folder, &["dev", "shop", "--listen", "0", "--admin", "0", "--workers", "1"]);
        let url = |line: String| {
            line.split("http://").nth(1).unwrap().split_whitespace().next().unwrap().to_owned()
        };
        serving.gateway = url(serving.line("gateway "));
        serving.admin = url(serving.line("admin "));
        serving
    }

    fn run(folder: &Folder) -> Self {
        let mut serving =
            Self::start(folder, &["run", "shop", "--listen", "0", "--admin", "0", "--workers", "1"]);
        let listening: Value = serde_json::from_str(&serving.line("\"listening\"")).unwrap();
        serving.gateway = listening["fields"]["address"].as_str().unwrap().to_owned();
        serving.admin = listening["fields"]["admin"].as_str().unwrap().to_owned();
        serving
    }

    fn start(folder: &Folder, arguments: &[&str]) -> Self {
        let mut child = folder.command(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self { child, lines, gateway: String::new(), admin: String::new() }
    }

    /// The next line of standard output with `part` in it.
    fn line(&self, part: &str) -> String {
        let end = Instant::now() + SOON;
        let mut seen = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            if line.contains(part) {
                return line;
            }
            seen.push(line);
        }
        panic!("no {part:?} in {seen:#?}");
    }

    fn get(&self, path: &str) -> (u16, String) {
        request(&self.gateway, "GET", path, "")
    }

    fn admin(&self, method: &str, path: &str) -> (u16, Value) {
        let (status, body) = request(&self.admin, method, path, "");
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    /// Asks until the answer holds `part`.
    fn until(&self, path: &str, part: &str) -> Duration {
        let start = Instant::now();
        loop {
            let (_, body) = self.get(path);
            if body.contains(part) {
                return start.elapsed();
            }
            assert!(start.elapsed() < SOON, "no {part:?} in {body}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn signal(&self, name: &str) {
        let sent = std::process::Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    fn end(&mut self) -> Option<i32> {
        let end = Instant::now() + SOON;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it does not end");
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn request(address: &str, method: &str, path: &str, headers: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[test]
fn dev_serves_reloads_and_keeps_the_last_good_version() {
    let folder = Folder::project();
    let mut serving = Serving::dev(&folder);

    let (status, body) = serving.get("/hello?name=you");
    assert!(status == 200 && body.contains("Hello, you!"), "{status} {body}");
    assert!(serving.line("GET  /hello").contains("200"));
    assert!(serving.line("greeting").contains("info"));

    // A policy refuses; with the key the upstream that `dev` started answers.
    assert_eq!(serving.get("/orders/17").0, 401);
    assert!(serving.line("GET  /orders/17").contains("policy_answered by need-key"));
    let (status, body) = request(&serving.gateway, "GET", "/orders/17", "x-api-key: let-me-in\r\n");
    assert!(
        status == 200 && body.contains("\"url\":\"/orders/17\"") && !body.contains("let-me-in"),
        "{body}"
    );

    folder.edit("shop/modules/hello.ts", "Hello, ", "Good morning, ");
    serving.until("/hello", "Good morning, world!");
    assert!(serving.line("reloaded in").contains("modules/hello.ts"));

    folder.edit("shop/modules/hello.ts", "return {", "return {{");
    serving.line("--> modules/hello.ts:");
    serving.line("the last good version serves on");
    assert!(serving.get("/hello").1.contains("Good morning"));
    let (_, state) = serving.admin("GET", "/status");
    assert_eq!(state["refused"]["newer_than_running"], true, "{state:#}");
    assert_eq!(state["reloads"]["ok"], 1);

    folder.edit("shop/modules/hello.ts", "return {{", "return {");
    serving.line("mended");
    let (status, kept) = serving.admin("GET", "/exchanges?route=/orders");
    assert_eq!(status, 200);
    let steps = &kept["exchanges"][0]["steps"];
    assert_eq!(steps[0]["policy"], "need-key", "{kept:#}");
    let id = kept["exchanges"][0]["id"].as_str().unwrap();
    assert_eq!(serving.admin("GET", &format!("/exchanges/{id}")).0, 200);
    let (_, metrics) = request(&serving.admin, "GET", "/metrics", "");
    assert!(metrics.contains("polygate_policy_duration_seconds_count{policy=\"need-key\"} 2"), "{metrics}");

    serving.signal("-TERM");
    assert_eq!(serving.end(), Some(0));
}

#[test]
fn dev_waits_for_a_broken_project_to_be_mended() {
    let folder = Folder::project();
    folder.edit("shop/config/routes.oas.json", "[\"need-key\"]", "[\"need-kye\"]");
    let serving = Serving::start(&folder, &["dev", "shop", "--listen", "0", "--admin", "0"]);
    serving.line("did you mean `need-key`?");
    serving.line("nothing serves yet");
    folder.edit("shop/config/routes.oas.json", "[\"need-kye\"]", "[\"need-key\"]");
    serving.line("gateway ");
}

#[test]
fn run_logs_json_and_reloads_when_told() {
    let folder = Folder::project();
    let mut serving = Serving::run(&folder);
    assert_eq!(serving.get("/hello").0, 200);
    let said: Value = serde_json::from_str(&serving.line("\"type\":\"log\"")).unwrap();
    assert_eq!(said["level"], "info");
    let access: Value = serde_json::from_str(&serving.line("\"type\":\"access\"")).unwrap();
    assert_eq!((&access["status"], &access["path"]), (&200.into(), &"/hello".into()));
    assert_eq!(access["id"], said["id"]);

    folder.edit("shop/modules/hello.ts", "Hello, ", "Good morning, ");
    let (status, reloaded) = serving.admin("POST", "/reload");
    assert_eq!((status, &reloaded["outcome"]), (200, &"deployed".into()), "{reloaded:#}");
    assert!(serving.get("/hello").1.contains("Good morning"));
    assert_eq!(serving.admin("POST", "/reload").1["outcome"], "unchanged");

    folder.edit("shop/modules/hello.ts", "Good morning, ", "Good evening, ");
    serving.signal("-HUP");
    serving.until("/hello", "Good evening");
    folder.edit("shop/config/policies.json", "\"options\"", "\"optoins\"");
    let (status, refused) = serving.admin("POST", "/reload");
    assert_eq!((status, &refused["outcome"]), (422, &"refused".into()));
    assert!(serving.get("/hello").1.contains("Good evening"));

    serving.signal("-INT");
    serving.line("\"stopped\"");
    assert_eq!(serving.end(), Some(0));
}

#[test]
fn run_refuses_a_broken_project() {
    let folder = Folder::project();
    folder.edit("shop/config/policies.json", "\"options\"", "\"optoins\"");
    let run = folder.run(&["run", "shop", "--listen", "0", "--admin", "off"]);
    assert_eq!(run.status.code(), Some(1));
    let shown = text(&run.stderr);
    assert!(shown.contains("did you mean `options`?") && shown.ends_with("2 errors\n"), "{shown}");
}

#[test]
fn a_taken_port_is_one_clear_line() {
    let folder = Folder::project();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (arguments, who) in [
        (["run", "shop", "--listen", &address, "--admin", "off"], "the gateway"),
        (["run", "shop", "--listen", "0", "--admin", &address], "the admin API"),
    ] {
        let run = folder.run(&arguments);
        let shown = text(&run.stderr);
        assert_eq!(run.status.code(), Some(1));
        assert_eq!(shown.lines().count(), 1, "{shown}");
        assert!(shown.contains(who) && shown.contains(&address) && shown.contains("is taken"), "{shown}");
    }
}

/// A project whose function handler takes its time, and a request that waits for it.
fn slow_answer(folder: &Folder) -> (Serving, std::thread::JoinHandle<std::io::Result<String>>) {
    let file = "shop/modules/hello.ts";
    folder.edit(file, "  return {", "  await new Promise((done) => setTimeout(done, 1500));\n  return {");
    let serving = Serving::run(folder);
    let address = serving.gateway.clone();
    let waiting = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(b"GET /hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    });
    // The handler has begun once it has said so.
    serving.line("greeting");
    (serving, waiting)
}

#[test]
fn a_stop_waits_for_running_exchanges() {
    let folder = Folder::project();
    let (mut serving, waiting) = slow_answer(&folder);
    serving.signal("-TERM");
    serving.line("SIGTERM");
    let (status, ready) = serving.admin("GET", "/health/ready");
    assert_eq!((status, &ready["status"]), (503, &"stopping".into()));
    assert!(waiting.join().unwrap().unwrap().starts_with("HTTP/1.1 200"));
    assert_eq!(serving.end(), Some(0));
}

#[test]
fn a_second_signal_stops_at_once() {
    let folder = Folder::project();
    let (mut serving, waiting) = slow_answer(&folder);
    serving.signal("-INT");
    serving.line("SIGINT");
    serving.signal("-INT");
    assert_eq!(serving.end(), Some(130));
    assert!(waiting.join().unwrap().map_or(true, |answer| answer.is_empty()));
}

//! Binary upgrades: a new process takes over the sockets of the one that runs, and nobody notices.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{PATIENCE, Project, polygate};

const MODULE: &str = r#"
export async function answer() { return new Response("here"); }
export async function slow() { await new Promise((resolve) => setTimeout(resolve, 700)); return new Response("finished"); }
"#;

/// Processes that write to one pipe: the first one and what it starts.
struct Family {
    first: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    address: SocketAddr,
    admin: SocketAddr,
    socket: PathBuf,
}

impl Family {
    fn start(project: &Project, socket: &Path) -> Self {
        let mut first = polygate()
            .arg("run")
            .arg(project.root())
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--workers", "2", "--upgrade-socket"])
            .arg(socket)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(first.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let (address, socket) = (SocketAddr::from(([127, 0, 0, 1], 0)), socket.to_owned());
        let mut family = Self { first, lines, seen: Vec::new(), address, admin: address, socket };
        let listening = family.listening();
        family.address = listening["address"].as_str().unwrap().parse().unwrap();
        family.admin = listening["admin"].as_str().unwrap().parse().unwrap();
        family
    }

    /// The next line with `part` in it.
    fn line(&mut self, part: &str) -> String {
        let end = Instant::now() + PATIENCE;
        while let Ok(line) = self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            self.seen.push(line.clone());
            if line.contains(part) {
                return line;
            }
        }
        panic!("no {part:?} in {:#?}", self.seen);
    }

    fn listening(&mut self) -> Value {
        let line: Value = serde_json::from_str(&self.line("\"listening\"")).unwrap();
        line["fields"].clone()
    }

    fn get(&self, path: &str) -> String {
        get(self.address, path).unwrap()
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        // Processes that the first one started are nobody's children once it has ended.
        let socket = self.socket.to_string_lossy();
        while let Ok(line) = self.lines.try_recv() {
            self.seen.push(line);
        }
        let started = self.seen.iter().filter_map(|line| line.split("as process ").nth(1)?.split('"').next());
        for id in started {
            let command = std::fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
            if command.contains(&*socket) {
                let _ = std::process::Command::new("kill").args(["-KILL", id]).status();
            }
        }
        let _ = self.first.kill();
        let _ = self.first.wait();
    }
}

fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    Ok(reply)
}

fn upgrade(socket: &Path) -> std::process::Output {
    polygate().arg("upgrade").arg(socket).output().unwrap()
}

fn project() -> (Project, PathBuf) {
    let project = Project::new()
        .file("modules/main.ts", MODULE)
        .function("get", "/", "answer")
        .function("get", "/slow", "slow");
    let socket = project.root().join("upgrade.sock");
    (project, socket)
}

#[test]
fn an_upgrade_under_load_loses_nothing() {
    let (project, socket) = project();
    let mut family = Family::start(&project, &socket);
    let address = family.address;
    let (over, served) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        // Each request on a new connection: none may be refused or reset.
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let reply = get(address, "/").unwrap();
                    assert!(reply.starts_with("HTTP/1.1 200") && reply.ends_with("here"), "{reply}");
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // One connection for as long as it is kept.
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                served.fetch_add(keep_asking(address, &over), Ordering::Relaxed);
            }
        });
        let running = scope.spawn(move || get(address, "/slow").unwrap());
        std::thread::sleep(Duration::from_millis(100));
        let output = upgrade(&socket);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        // What was running on the old process is finished by it.
        assert!(running.join().unwrap().ends_with("finished"));
        over.store(true, Ordering::Relaxed);
    });
    assert!(served.load(Ordering::Relaxed) > 20);
    assert_eq!(family.listening()["address"], address.to_string());
    family.line("\"stopped\"");
    assert!(family.first.wait().unwrap().success());
    assert!(family.get("/").ends_with("here"));
    // The admin API is the new process's, and never said that it is not ready.
    assert!(get(family.admin, "/health/ready").unwrap().starts_with("HTTP/1.1 200"));

    // And once more, from the process that was started by the first one, by signal.
    let line = family.seen.iter().find(|line| line.contains("as process ")).unwrap();
    let second = line.split("as process ").nth(1).unwrap().split('"').next().unwrap().to_owned();
    assert!(std::process::Command::new("kill").args(["-USR2", &second]).status().unwrap().success());
    family.line("as process ");
    family.line("\"stopped\"");
    assert!(family.get("/").ends_with("here"));
}

/// Sends requests on one connection until it is closed after an answer that said so. A connection that breaks in the
/// middle of a request fails the test.
fn keep_asking(address: SocketAddr, over: &AtomicBool) -> u64 {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut served, mut answered) = (0, Instant::now());
    while !over.load(Ordering::Relaxed) {
        let sent = stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n");
        // Whoever lets a connection idle on for too long finds it closed, as ever; a busy machine may do that to us.
        let late = answered.elapsed() > Duration::from_millis(250);
        let (mut head, mut closes) = (String::new(), false);
        while !head.ends_with("\r\n\r\n") {
            let read = if sent.is_ok() { reader.read_line(&mut head).unwrap_or(0) } else { 0 };
            if read == 0 && head.is_empty() && late {
                return served;
            }
            assert!(read > 0, "closed in the middle of a request: {head:?}");
        }
        closes |= head.to_ascii_lowercase().contains("connection: close");
        let mut body = [0; 4];
        reader.read_exact(&mut body).unwrap();
        assert!(head.starts_with("HTTP/1.1 200") && body == *b"here", "{head}");
        (served, answered) = (served + 1, Instant::now());
        if closes {
            break;
        }
    }
    served
}

#[test]
fn a_new_process_that_does_not_get_ready_changes_nothing() {
    let (project, socket) = project();
    let mut family = Family::start(&project, &socket);
    project.write("modules/main.ts", "export const answer = (: number) => 1;");
    let output = upgrade(&socket);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("serves on") && error.lines().count() == 1, "{error}");
    assert!(family.get("/").ends_with("here"));
    assert!(get(family.admin, "/health/ready").unwrap().starts_with("HTTP/1.1 200"));
    // Mended, it works.
    project.write("modules/main.ts", &MODULE.replace("here", "there"));
    let output = upgrade(&socket);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // The old process may still take the very next connections; once it has ended, all reach the new one.
    family.line("\"stopped\"");
    assert!(family.get("/").ends_with("there"));
}

#[test]
fn without_a_process_there_is_nothing_to_upgrade() {
    let (project, socket) = project();
    let output = upgrade(&socket);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no process can be reached"));
    // What a process that was killed has left behind is no hindrance.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let family = Family::start(&project, &socket);
    assert!(family.get("/").ends_with("here"));
}

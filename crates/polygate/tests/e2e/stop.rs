//! Starting and stopping: a taken port, a graceful stop, the log.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::harness::{PATIENCE, Project, agent, free_port, polygate, skip};

const MODULE: &str = r#"
export async function slow() { await new Promise((resolve) => setTimeout(resolve, 400)); return new Response("finished"); }
"#;

#[test]
fn a_stop_lets_running_exchanges_finish() {
    let project = Project::new().file("modules/main.ts", MODULE).function("get", "/slow", "slow");
    let mut gateway = project.run();
    let port = gateway.port();
    let client = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        reply
    });
    let idle = TcpStream::connect(("127.0.0.1", port)).unwrap();
    std::thread::sleep(Duration::from_millis(150));
    gateway.signal("-TERM");
    let reply = client.join().unwrap();
    assert!(reply.starts_with("HTTP/1.1 200") && reply.ends_with("finished"), "{reply}");
    assert!(reply.to_ascii_lowercase().contains("connection: close"), "{reply}");
    assert!(gateway.ended().success(), "{}", gateway.output());
    drop(idle);
    let line = gateway.output().lines().find(|line| line.contains("/slow")).map(str::to_owned);
    let line: serde_json::Value =
        serde_json::from_str(&line.unwrap_or_else(|| panic!("{}", gateway.output()))).unwrap();
    assert_eq!(
        (&line["status"], &line["method"]),
        (&serde_json::json!(200), &serde_json::json!("GET")),
        "{line}"
    );
}

#[test]
fn a_taken_port_is_one_clear_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let project = Project::new().file("modules/main.ts", MODULE).function("get", "/", "slow");
    let output = polygate()
        .arg("run")
        .arg(project.root())
        .args(["--listen", &address, "--admin", "off"])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(error.contains(&address) && !error.contains("panicked"), "{error}");
}

#[test]
fn a_missing_project_is_one_clear_line() {
    let output = polygate().args(["run", "/no/such/project"]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && error.contains("/no/such/project") && !error.contains("panicked"),
        "{error}"
    );
}

/// Sends a request and gives the stream, whose answer is yet to come.
fn ask(port: u16, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    stream
}

#[test]
fn readiness_fails_first_and_what_outlasts_the_limit_is_counted() {
    let module = r#"
export async function quick() { return new Response("here"); }
export async function endless() { console.log("began"); await new Promise((r) => setTimeout(r, 60000)); return new Response(""); }
"#;
    let project = Project::new()
        .file("modules/main.ts", module)
        .file(
            "polygate.toml",
            "[budget]\nwall = \"1h\"\n[timeouts]\nready-delay = \"700ms\"\ndrain = \"300ms\"\n",
        )
        .function("get", "/", "quick")
        .function("get", "/endless", "endless");
    let mut gateway = project.run();
    let mut waiting = [ask(gateway.port(), "/endless"), ask(gateway.port(), "/endless")];
    gateway.wait(|| (gateway.output().matches("began").count() == 2).then_some(()), "both to run");
    gateway.signal("-TERM");
    gateway.await_output("not ready any more");
    // Load balancers are told; whoever comes all the same is served as before.
    let ready = agent().get(gateway.admin_url("/health/ready")).call().unwrap();
    assert_eq!(ready.status(), 503);
    let reply = gateway.get("/");
    assert_eq!((reply.status, reply.header("connection")), (200, None));
    assert!(gateway.ended().success());
    let output = gateway.await_output("\"stopped\"");
    assert!(output.contains("2 exchanges were cut off after 0.3 s"), "{output}");
    assert_eq!(output.matches("\"reason\":\"stopping\"").count(), 2, "{output}");
    for stream in &mut waiting {
        let mut reply = String::new();
        // Reset or closed; no half of an answer.
        let _ = stream.read_to_string(&mut reply);
        assert_eq!(reply, "");
    }
}

#[test]
fn only_checking_ends_with_what_was_found() {
    let project = Project::new().file("modules/main.ts", MODULE).function("get", "/", "slow");
    // A port that is taken: nothing listens.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let check = || {
        let mut command = polygate();
        command.arg("run").arg(project.root()).args(["--listen", &address, "--check-only"]);
        command.output().unwrap()
    };
    let fine = check();
    assert_eq!((fine.status.code(), &*fine.stdout), (Some(0), &b"no problems\n"[..]));
    // What shows only when the module is loaded is found as well.
    project.write("modules/main.ts", "export const slow = 1;\nthrow new Error('at load time');");
    let broken = check();
    assert_eq!(broken.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&broken.stdout).contains("at load time"));
}

#[test]
fn systemd_itself_hands_sockets_over() {
    let program = "systemd-socket-activate";
    if std::process::Command::new(program).arg("--version").stdout(Stdio::null()).status().is_err() {
        return skip("stop::systemd_itself_hands_sockets_over", "systemd-socket-activate is not installed");
    }
    let project = Project::new().file("modules/main.ts", MODULE).function("get", "/slow", "slow");
    let notify = project.root().join("notify.sock");
    let told = UnixDatagram::bind(&notify).unwrap();
    told.set_read_timeout(Some(PATIENCE)).unwrap();
    let hear = |what: &str| loop {
        let mut buffer = [0; 256];
        let count = told.recv(&mut buffer).unwrap_or_else(|error| panic!("{what}: {error}"));
        let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
        if text.starts_with(what) {
            return text;
        }
    };
    let address = format!("127.0.0.1:{}", free_port());
    let mut gateway = std::process::Command::new(program)
        .args(["-l", &address, "-E", &format!("NOTIFY_SOCKET={}", notify.display())])
        .args([env!("CARGO_BIN_EXE_polygate"), "run"])
        .arg(project.root())
        .args(["--listen", &address, "--admin", "off", "--workers", "2"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // It listens already; the first client starts the gateway, and waits in the socket's queue meanwhile.
    let started = Instant::now();
    let mut stream = loop {
        match TcpStream::connect(&address) {
            Ok(stream) => break stream,
            Err(error) => assert!(started.elapsed() < PATIENCE, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    // It becomes the gateway: the process stays the same.
    assert_eq!(hear("READY=1"), format!("READY=1\nMAINPID={}", gateway.id()));
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let id = gateway.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    hear("STOPPING=1");
    assert!(gateway.wait().unwrap().success());
}

#[test]
fn systemd_is_told_and_its_sockets_are_used() {
    let project = Project::new().file("modules/main.ts", MODULE).function("get", "/slow", "slow");
    let notify = project.root().join("notify.sock");
    let told = UnixDatagram::bind(&notify).unwrap();
    told.set_read_timeout(Some(PATIENCE)).unwrap();
    let hear = || {
        let mut buffer = [0; 256];
        let count = told.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..count]).into_owned()
    };
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    // The shell takes the part of systemd: the socket is descriptor 3, and the process knows that it is meant.
    let script = r#"LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@" 3<&0 0</dev/null"#;
    let mut gateway = std::process::Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_polygate"), "run"])
        .arg(project.root())
        .args(["--listen", &address.to_string(), "--admin", "off", "--workers", "2"])
        .env("NOTIFY_SOCKET", &notify)
        .env("WATCHDOG_USEC", "200000")
        .stdin(Stdio::from(OwnedFd::from(socket)))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let ready = hear();
    assert_eq!(ready, format!("READY=1\nMAINPID={}", gateway.id()));
    let await_told = |what: &str| while !hear().starts_with(what) {};
    await_told("WATCHDOG=1");
    let signal = |name: &str| {
        let id = gateway.id().to_string();
        assert!(std::process::Command::new("kill").args([name, &id]).status().unwrap().success());
    };
    signal("-HUP");
    await_told("RELOADING=1\nMONOTONIC_USEC=");
    await_told("READY=1");
    let mut stream = ask(address.port(), "/slow");
    let mut first = [0; 15];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    signal("-TERM");
    await_told("STOPPING=1");
    assert!(gateway.wait().unwrap().success());
}

//! Starting and stopping: a taken port, a graceful stop, the log.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use crate::harness::{Project, polygate};

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

//! HTTP/2 as clients see it: curl without TLS, h2load over many streams. Over TLS: see `tls`.

use std::process::Command;

use crate::harness::{Gateway, Project, skip};

const MODULE: &str = r#"
export async function answer(request: Request): Promise<Response> {
  const crumbs = request.headers.get("cookie");
  return new Response(`${request.method} ${new URL(request.url).pathname} ${crumbs} ${(await request.text()).length}`);
}
export async function slow() { await new Promise((resolve) => setTimeout(resolve, 400)); return new Response("finished"); }
export async function stamp(response: Response): Promise<Response> {
  const stamped = new Response(response.body, response);
  stamped.headers.set("x-stamp", "here");
  stamped.headers.set("connection", "close");
  return stamped;
}
"#;

fn project() -> Project {
    Project::new()
        .file("modules/main.ts", MODULE)
        .function("get,post", "/answer", "answer")
        .function("get", "/slow", "slow")
}

/// Whether the programs are here, and curl speaks HTTP/2.
pub(crate) fn here(programs: &[&str], test: &str) -> bool {
    for program in programs {
        let output = Command::new(program).arg("--version").output().map(|output| output.stdout);
        let text = output.map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default();
        if text.is_empty() || (*program == "curl" && !text.contains("HTTP2")) {
            skip(
                test,
                &format!("{program} is not installed, or has no HTTP/2 (Debian: curl, nghttp2-client)"),
            );
            return false;
        }
    }
    true
}

pub(crate) fn curl(more: &[&str]) -> String {
    let arguments = ["-sS", "--max-time", "20", "--http2-prior-knowledge"];
    let output = Command::new("curl").args(arguments).args(more).output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn curl_speaks_http2_without_tls() {
    if !here(&["curl"], "curl_speaks_http2_without_tls") {
        return;
    }
    let upstream = project().run();
    let gateway = project()
        .policy("stamp", "stamp", serde_json::json!({}))
        .forward("/{path}", &upstream.url(""), &[], &["stamp"])
        .run();
    // A function answers.
    let got = curl(&["-i", "-d", &"x".repeat(100_000), "-b", "a=1; b=2", &gateway.url("/answer")]);
    assert!(got.starts_with("HTTP/2 200"), "{got}");
    assert!(got.ends_with("POST /answer a=1; b=2 100000"), "{got}");
    // An upstream that speaks HTTP/1.1 does, through a policy.
    let got = curl(&["-i", &gateway.url("/slow2")]);
    assert!(got.starts_with("HTTP/2 404") && got.contains("x-stamp: here\r\n"), "{got}");
    assert!(!got.contains("connection:"), "{got}");
    assert_eq!(gateway.get("/answer").status, 200, "HTTP/1.1 on the same listener");
    // The log and the metrics know.
    let log = gateway.await_output("\"path\":\"/slow2\"");
    let line = log.lines().find(|line| line.contains("\"path\":\"/slow2\"")).unwrap();
    assert!(line.contains("HTTP/2.0"), "{line}");
    let metrics = gateway.admin_text("/metrics");
    assert!(metrics.contains("polygate_http2_connections_accepted_total "), "{metrics}");
}

#[test]
fn h2load_gets_every_answer() {
    if !here(&["h2load"], "h2load_gets_every_answer") {
        return;
    }
    let upstream = project().run();
    let gateway = project().forward("/{path}", &upstream.url(""), &[], &[]).run();
    let body = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(body.path(), vec![b'x'; 20_000]).unwrap();
    for (path, more) in [
        ("/answer", vec!["-n2000", "-c4", "-m32"]),
        ("/other", vec!["-n2000", "-c4", "-m32"]),
        ("/answer", vec!["-n200", "-c2", "-m20", "-d", body.path().to_str().unwrap()]),
    ] {
        let output = Command::new("h2load").args(&more).arg(gateway.url(path)).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let count = more[0].trim_start_matches("-n");
        let expected = format!("requests: {count} total, {count} started, {count} done");
        assert!(text.contains(&expected) && text.contains(" 0 errored, 0 timeout"), "{text}");
        let statuses = if path == "/other" { format!("{count} 4xx") } else { format!("{count} 2xx") };
        assert!(text.contains(&statuses), "{text}");
    }
}

#[test]
fn streams_that_come_together_connect_by_turns() {
    if !here(&["h2load"], "streams_that_come_together_connect_by_turns") {
        return;
    }
    let upstream = project().run();
    let project = Project::new().forward("/{path}", &upstream.url(""), &[], &[]);
    let gateway = Gateway::start("run", project.root(), &["--workers", "1"]);
    let waited = || {
        let metrics = gateway.admin_text("/metrics");
        let name = "polygate_turns_waited_total{for=\"upstream_connection\"} ";
        let count = metrics.lines().find_map(|line| line.strip_prefix(name)).expect(&metrics);
        count.parse::<u32>().unwrap()
    };
    assert_eq!(waited(), 0);
    let load = ["-n100", "-c1", "-m100", &gateway.url("/slow")];
    let output = Command::new("h2load").args(load).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("100 2xx"), "{text}");
    // A worker looks at it each second.
    let count = gateway.wait(|| Some(waited()).filter(|count| *count > 0), "those who waited");
    assert!(count <= 100, "{count}");
    assert!(
        gateway.admin_text("/metrics").contains("polygate_turns_waiting{for=\"upstream_connection\"} 0\n")
    );
}

#[test]
fn a_stop_lets_running_streams_finish() {
    if !here(&["curl"], "a_stop_lets_running_streams_finish") {
        return;
    }
    let mut gateway = project().run();
    let url = gateway.url("/slow");
    let client = std::thread::spawn(move || curl(&["-w", " %{http_version} %{http_code}", &url]));
    let running = |gateway: &Gateway| {
        gateway.admin_text("/metrics").contains("polygate_exchanges_running 1").then_some(())
    };
    gateway.wait(|| running(&gateway), "the exchange");
    gateway.signal("-TERM");
    assert_eq!(client.join().unwrap(), "finished 2 200");
    assert!(gateway.ended().success(), "{}", gateway.output());
}

#[test]
fn requests_of_an_upstream_share_the_connections_it_may_have() {
    let server = project().file("polygate.toml", "[limits.http2]\nstreams = 2\n").run();
    let settings = format!(
        "[upstreams.up]\nurl = {:?}\nprotocol = \"http2\"\nbreaker = {{ connections = 1 }}\n",
        server.url("")
    );
    let handler = serde_json::json!({
        "export": "urlForwardHandler", "module": "$import(@polygate/runtime)", "options": { "upstream": "up" },
    });
    let project = Project::new().file("polygate.toml", &settings);
    let project = project.route("get", "/{path}", handler, &[], &[]);
    let gateway = Gateway::start("run", project.root(), &["--workers", "1"]);
    // How many streams the server allows is known once it has spoken.
    assert_eq!(gateway.get("/slow").body, "finished");
    let (replies, upstream) = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..6).map(|_| scope.spawn(|| gateway.get("/slow"))).collect();
        let upstream = gateway.wait(
            || {
                let upstream = gateway.admin("/upstreams")["upstreams"][0].clone();
                (upstream["running"] == 6).then_some(upstream)
            },
            "all requests",
        );
        (asked.into_iter().map(|asked| asked.join().unwrap()).collect::<Vec<_>>(), upstream)
    });
    assert_eq!(upstream["connections"], 1, "{upstream}");
    assert!(replies.iter().all(|reply| reply.body == "finished"), "{}", gateway.output());
    let metrics = server.admin_text("/metrics");
    assert!(metrics.contains("polygate_http2_connections_accepted_total 1\n"), "{metrics}");
    assert_eq!(gateway.get("/missing").status, 404);
}

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::mpsc::channel;

use polygate_pipeline::{Method, Reason, Version};

use super::testing::Kept;
use super::*;

fn record(id: &str, path: &str, status: u16, reason: Reason) -> Box<ExchangeRecord> {
    Box::new(ExchangeRecord {
        id: RequestId::from_text(id.as_bytes()).unwrap(),
        time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_767_323_045_678),
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        tls: None,
        method: Method::GET,
        host: "localhost:8080".to_owned(),
        path: path.to_owned(),
        version: Version::Http11,
        route: Some(Arc::from("GET /orders/{id}")),
        status,
        reason,
        policy: None,
        error: None,
        duration: Duration::from_micros(3_210),
        received: 0,
        sent: 12,
        upstream: Some("127.0.0.1:9000".to_owned()),
        upstream_address: None,
        tries: 1,
        steps: Vec::new(),
        xray: false,
        worker: 0,
        captured: None,
    })
}

fn said(id: Option<&str>, message: &str) -> Event {
    Event::Log(LogLine {
        time: SystemTime::UNIX_EPOCH,
        level: LogLevel::Info,
        request_id: id.map(|id| RequestId::from_text(id.as_bytes()).unwrap()),
        policy: Some(Arc::from("stamp")),
        message: message.to_owned(),
        fields: serde_json::Map::new(),
    })
}

fn journal(format: LogFormat) -> Journal {
    let mut journal = Journal::new(format, Paint::new(false), None);
    journal.zone = TimeZone::UTC;
    journal
}

#[test]
fn policy_lines_stand_beneath_their_exchange() {
    let mut journal = journal(LogFormat::Pretty);
    let (now, mut text) = (Instant::now(), String::new());
    journal.take(said(Some("a"), "hello\n  at x.ts:1"), now, &mut text);
    journal.take(said(Some("b"), "other"), now, &mut text);
    assert_eq!(text, "");
    journal.take(Event::Exchange(record("a", "/orders/7", 200, Reason::Completed)), now, &mut text);
    assert_eq!(
        text,
        "03:04:05  200  GET  /orders/7  3.2 ms  /orders/{id}  -> 127.0.0.1:9000\n\
         \x20         info stamp: hello\n\
         \x20             at x.ts:1\n"
    );
    // What is said after the end is written at once.
    text.clear();
    journal.take(said(Some("a"), "late"), now, &mut text);
    assert_eq!(text, "00:00:00  info stamp: late\n");
    // What waits too long is written on its own.
    text.clear();
    journal.expire(now + HOLD, &mut text);
    assert_eq!(text, "00:00:00  info stamp: other\n");
    assert_eq!((journal.held_lines, journal.waiting.len(), journal.held.len()), (0, 0, 0));
}

#[test]
fn held_lines_are_capped() {
    let mut journal = journal(LogFormat::Pretty);
    let (now, mut text) = (Instant::now(), String::new());
    for n in 0..MAX_HELD_LINES + 10 {
        journal.take(said(Some(&n.to_string()), "x"), now, &mut text);
    }
    assert_eq!(text.lines().count(), 10);
    assert_eq!(journal.held_lines, MAX_HELD_LINES);
}

#[test]
fn failures_name_reason_and_policy_and_escape_what_clients_send() {
    let mut journal = journal(LogFormat::Pretty);
    let mut failed = record("a", "/\u{1b}[2J", 500, Reason::PolicyError);
    failed.policy = Some(Arc::from("stamp"));
    failed.error = Some("policy_error in policy \"stamp\": boom\n    at stamp.ts:3:5".to_owned());
    let mut text = String::new();
    journal.take(Event::Exchange(failed), Instant::now(), &mut text);
    assert!(text.contains("policy_error by stamp\n"), "{text}");
    assert!(text.contains("error stamp: boom\n"), "{text}");
    assert_eq!(text.matches("policy_error").count(), 1, "{text}");
    assert!(text.contains("/\\u{1b}[2J") && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn a_reason_without_detail_is_said_once() {
    let mut missing = record("a", "/x", 404, Reason::NoRoute);
    missing.error = Some("no_route".to_owned());
    let mut text = String::new();
    journal(LogFormat::Pretty).take(Event::Exchange(missing), Instant::now(), &mut text);
    assert_eq!((text.lines().count(), text.matches("no_route").count()), (1, 1), "{text}");
}

#[test]
fn json_lines_hold_the_documented_fields() {
    let (sender, events) = channel();
    sender.send(said(Some("a"), "hello")).unwrap();
    sender.send(Event::Exchange(record("a", "/orders/7", 502, Reason::UpstreamRefused))).unwrap();
    drop(sender);
    let kept = Kept::default();
    journal(LogFormat::Json).run(&events, &Output::to(kept.clone()));
    let text = kept.text();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(
        (&lines[0]["type"], &lines[0]["message"], &lines[0]["id"]),
        (&"log".into(), &"hello".into(), &"a".into())
    );
    assert_eq!(lines[1]["type"], "access");
    assert_eq!(lines[1]["level"], "error");
    assert_eq!(lines[1]["reason"], "upstream_refused");
    assert_eq!(lines[1]["duration_us"], 3210);
    assert_eq!(lines[1]["time"], "2026-01-02T03:04:05.678Z");
}

#[test]
fn access_lines_have_their_own_format_and_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let file = Arc::new(Output::file(&path).unwrap());
    let format = AccessFormat::Line(polygate_plan::LineTemplate::combined());
    let access = AccessLines { format, file: Some(file.clone()) };
    let mut journal = Journal::new(LogFormat::Pretty, Paint::new(false), Some(access));
    journal.zone = TimeZone::UTC;
    let mut exchange = record("a", "/x\"\n\u{1b}", 200, Reason::Completed);
    let agent = (Arc::from("user-agent"), "curl\"/8".to_owned());
    exchange.captured =
        Some(Box::new(polygate_gateway::Captured { request: vec![agent], ..Default::default() }));
    let mut text = String::new();
    journal.take(said(Some("a"), "hello"), Instant::now(), &mut text);
    assert_eq!(text, "00:00:00  info stamp: hello\n", "there is nothing that it could wait for");
    journal.take(Event::Exchange(exchange), Instant::now(), &mut text);
    journal.write_file(true);
    let line = "127.0.0.1 - - [02/Jan/2026:03:04:05 +0000] \"GET /x\\x22\\x0A\\x1B HTTP/1.1\" 200 12 \"-\" \"curl\\x22/8\"\n";
    assert_eq!(std::fs::read_to_string(&path).unwrap(), line);
    // Moved away and opened anew: what follows goes to the new file.
    std::fs::rename(&path, folder.path().join("access.log.1")).unwrap();
    file.reopen().unwrap();
    journal.take(Event::Exchange(record("b", "/y", 500, Reason::PolicyError)), Instant::now(), &mut text);
    journal.write_file(true);
    assert!(std::fs::read_to_string(&path).unwrap().contains("\"GET /y HTTP/1.1\" 500 12"));
    assert_eq!(std::fs::read_to_string(folder.path().join("access.log.1")).unwrap(), line);
}

#[test]
fn templates_show_what_there_is() {
    let line =
        "$time $id $route $reason $duration $duration_us $upstream $query ${response.x} $policy $error $$";
    let format = AccessFormat::Line(polygate_plan::LineTemplate::parse(line).unwrap());
    let mut text = String::new();
    access::exchange(&record("a", "/x", 200, Reason::Completed), &format, &TimeZone::UTC, &mut text);
    let expected =
        "2026-01-02T03:04:05.678Z a GET /orders/{id} completed 0.003210 3210 127.0.0.1:9000 - - - - $\n";
    assert_eq!(text, expected);
}

//! Runs the cases and says which were answered as they should be.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::json;

use crate::case::{Answer, Case, Expect, Play, Then};
use crate::cases;
use crate::cases::chunks::{LARGEST, TIGHT, WIDE};
use crate::client::{Client, PATIENCE};
use crate::gateway::{Gateway, Project};
use crate::message::show;
use crate::paths;
use crate::upstream::{Haul, Upstream};

/// The request that shows whether a connection is still good.
const NEXT: &str = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
/// What the upstream receives of it, and answers.
const NEXT_FORWARDED: &str = "GET /next HTTP/1.1\r\n~a\r\n\r\n";
const NEXT_BODY: &[u8] = b"GET /next";

/// Targets that no upstream may ever see: policies stand before them, or no route is there.
const NEVER: [&str; 4] = ["/admin", "/early", "/made", "/none"];

/// Cases with more bytes than this are not sent one by one.
const SHORT: usize = 1500;

const MODULE: &str = r#"
export function deny() {
  return new Response("denied", { status: 403 });
}
export function made() {
  return new Response("made");
}
export async function reads(request: Request) {
  const text = await request.text();
  const headers = new Headers(request.headers);
  headers.set("x-read", String(text.length));
  return new Request(request, { body: "read it\r\n", headers });
}
export function stamp(request: Request) {
  request.headers.set("x-consumer-id", "stamped");
  return request;
}
export function frames(request: Request) {
  request.headers.set("content-length", "50");
  request.headers.set("transfer-encoding", "chunked");
  request.headers.set("connection", "x-other");
  return request;
}
"#;

/// How the bytes of a case reach the gateway. What is right must not depend on it.
#[derive(Clone, Copy, Debug)]
enum Delivery {
    /// In one write; the next request after the answers.
    Whole,
    /// In one write with the next request.
    Pipelined,
    /// Byte by byte, or in pieces; the next request after the answers.
    Pieces,
}

/// Runs all cases whose class or name holds `filter`, each in three deliveries. Prints a table; `Err` when one failed.
pub(crate) fn run(program: &Path, filter: Option<&str>) -> Result<(), String> {
    let upstream = Upstream::start().map_err(|error| format!("the upstream: {error}"))?;
    let gateway = Gateway::start(program, &project(upstream.address()))?;
    let mut results: Vec<(u8, bool)> = Vec::new();
    for case in cases::all() {
        let title = title(case.class);
        if filter.is_some_and(|filter| {
            !title.contains(filter) && !case.name.contains(filter) && filter != case.class.to_string()
        }) {
            continue;
        }
        let mut passed = true;
        for delivery in [Delivery::Whole, Delivery::Pipelined, Delivery::Pieces] {
            let run = Run { case: &case, delivery, gateway: &gateway, upstream: &upstream };
            if let Err(why) = run.run() {
                println!(
                    "FAILED {} {title}: {} ({delivery:?})\n  {why}\n  sent {}",
                    case.class,
                    case.name,
                    show(&case.send)
                );
                passed = false;
            }
        }
        results.push((case.class, passed));
        if !gateway.runs() {
            return Err(format!("the gateway is gone after {} {title}: {}", case.class, case.name));
        }
    }
    if filter.is_none_or(|filter| cases::PATHS.contains(filter)) {
        let (wrong, count) = paths::run(program)?;
        for why in &wrong {
            println!("FAILED {}: {why}", cases::PATHS);
        }
        let class = cases::CLASSES.len() as u8;
        results.extend((0..count).map(|at| (class, at >= wrong.len())));
    }
    table(&results)
}

/// The routes that cases ask for, with policies that answer early, read bodies and set fields.
fn project(upstream: SocketAddr) -> Project {
    let mut project = Project::new(MODULE);
    let (forward, made) = (Project::forward(upstream), Project::function("made"));
    let mut add = |path: &str, handler, policies: &[&str]| project.route(path, &json!({}), handler, policies);
    add("/early", &forward, &["deny"]);
    add("/admin", &forward, &["deny"]);
    add("/made", &made, &[]);
    add("/reads", &forward, &["reads"]);
    add("/stamp", &forward, &["stamp"]);
    add("/frames", &forward, &["frames"]);
    add(TIGHT.0, &forward, &[]);
    add(WIDE.0, &forward, &[]);
    add("/{rest}", &forward, &[]);
    add("/", &forward, &[]);
    for (path, most) in [TIGHT, WIDE] {
        project.limit_bodies(path, most);
    }
    project.settings = format!("[log]\naccess = \"off\"\nlevel = \"error\"\n[limits]\nbody = {LARGEST}\n");
    project
}

fn title(class: u8) -> &'static str {
    cases::CLASSES.get(usize::from(class) - 1).copied().unwrap_or("?")
}

fn table(results: &[(u8, bool)]) -> Result<(), String> {
    println!("{:>5}  {:<45} {:>6} {:>6}", "class", "", "cases", "passed");
    let (mut all, mut good) = (0, 0);
    for class in 1..=cases::CLASSES.len() as u8 {
        let of_class = || results.iter().filter(|(of, _)| *of == class);
        let (cases, passed) = (of_class().count(), of_class().filter(|(_, passed)| *passed).count());
        if cases > 0 {
            println!("{class:>5}  {:<45} {cases:>6} {passed:>6}", title(class));
        }
        (all, good) = (all + cases, good + passed);
    }
    println!("{:>5}  {:<45} {all:>6} {good:>6}", "", "all");
    if good == all { Ok(()) } else { Err(format!("{} of {all} cases failed", all - good)) }
}

struct Run<'a> {
    case: &'a Case,
    delivery: Delivery,
    gateway: &'a Gateway,
    upstream: &'a Upstream,
}

impl Run<'_> {
    fn run(&self) -> Result<(), String> {
        self.upstream.play(self.case.play.clone());
        let mut client = self.connect()?;
        self.send(&mut client);
        match &self.case.expect {
            Expect::Refused(statuses) => {
                self.refused(&mut client, statuses)?;
                let haul = self.upstream.haul();
                if haul.requests.is_empty() && haul.partial.is_empty() && haul.malformed.is_empty() {
                    Ok(())
                } else {
                    Err(format!("the upstream received {}", self.list(&haul)))
                }
            }
            Expect::Broken(statuses) => {
                self.refused(&mut client, statuses)?;
                self.given_up()?;
                let haul = self.upstream.haul();
                if haul.requests.is_empty() && haul.malformed.is_empty() {
                    Ok(())
                } else {
                    Err(format!("the upstream received {}", self.list(&haul)))
                }
            }
            Expect::Served { answers, forwards, then } => self.served(&mut client, answers, forwards, *then),
            Expect::BadGateway => {
                let reply = client.reply(self.case.send.starts_with(b"HEAD "))?.ok_or("no answer")?;
                if reply.status != 502 {
                    return Err(format!("answered {} {}", reply.status, show(&reply.body)));
                }
                self.given_up()?;
                self.afresh()
            }
            Expect::NotKept => {
                let reply = client.reply(false)?.ok_or("no answer")?;
                if !matches!(reply.status, 200 | 502) {
                    return Err(format!("answered {} {}", reply.status, show(&reply.body)));
                }
                self.given_up()?;
                self.afresh()
            }
            Expect::Cut => {
                match client.reply(false) {
                    Ok(Some(reply)) if reply.status != 502 => {
                        return Err(format!("a whole answer {}: {}", reply.status, show(&reply.body)));
                    }
                    Err(why) if why.starts_with("neither") => return Err(why),
                    _ => {}
                }
                self.given_up()?;
                self.afresh()
            }
        }
    }

    fn connect(&self) -> Result<Client, String> {
        Client::connect(self.gateway.address()).map_err(|error| format!("cannot connect: {error}"))
    }

    fn send(&self, client: &mut Client) {
        let bytes = &self.case.send;
        match self.delivery {
            Delivery::Whole => client.send(bytes),
            // What the upstream does here is not meant for another request.
            Delivery::Pipelined if matches!(self.case.play, Play::Echo) => {
                client.send(&[bytes, NEXT.as_bytes()].concat());
            }
            Delivery::Pipelined => client.send(bytes),
            Delivery::Pieces => {
                let piece = if bytes.len() <= SHORT { 1 } else { bytes.len().div_ceil(7) };
                bytes.chunks(piece).for_each(|piece| client.send(piece));
            }
        }
    }

    fn refused(&self, client: &mut Client, statuses: &[u16]) -> Result<(), String> {
        let reply = client.reply(false)?.ok_or("closed without an answer")?;
        if !statuses.contains(&reply.status) {
            return Err(format!("answered {} {}", reply.status, show(&reply.body)));
        }
        if !reply.closes {
            return Err("the answer does not say that the connection is closed".to_owned());
        }
        client.ends()
    }

    fn served(
        &self,
        client: &mut Client,
        answers: &[Answer],
        forwards: &[Vec<&str>],
        then: Then,
    ) -> Result<(), String> {
        for (number, answer) in answers.iter().enumerate() {
            let what = || format!("answer {}", number + 1);
            let reply = client.reply(answer.to_head).map_err(|why| format!("{}: {why}", what()))?;
            let reply = reply.ok_or_else(|| format!("{}: closed instead", what()))?;
            if reply.status != answer.status {
                return Err(format!("{}: {} {}", what(), reply.status, show(&reply.body)));
            }
            if answer.body.is_some_and(|body| body.as_bytes() != reply.body) {
                return Err(format!("{}: the body is {}", what(), show(&reply.body)));
            }
        }
        // Sent with the case already, or after its answers.
        let pipelined = matches!(self.delivery, Delivery::Pipelined) && matches!(self.case.play, Play::Echo);
        if !pipelined {
            self.check(&self.upstream.haul(), forwards, false)?;
            self.upstream.play(Play::Echo);
            client.send(NEXT.as_bytes());
        }
        let next = match then {
            Then::Ends => {
                client.ends()?;
                false
            }
            Then::Goes | Then::GoesOrEnds => {
                match client.reply(false).map_err(|why| format!("the next answer: {why}"))? {
                    Some(reply) if reply.status == 200 && reply.body == NEXT_BODY => true,
                    Some(reply) => {
                        return Err(format!("the next answer: {} {}", reply.status, show(&reply.body)));
                    }
                    None if then == Then::GoesOrEnds => false,
                    None => return Err("the next request: closed".to_owned()),
                }
            }
        };
        let forwards = if pipelined { forwards } else { &[] };
        self.check(&self.upstream.haul(), forwards, next)
    }

    /// Compares what the upstream received. Without `forwards` only what it must never see.
    fn check(&self, haul: &Haul, forwards: &[Vec<&str>], next: bool) -> Result<(), String> {
        if let Some(why) = haul.malformed.first() {
            return Err(format!("the upstream received {why}"));
        }
        let mut received = Vec::new();
        for request in &haul.requests {
            received.push(self.told(&request.bytes)?);
        }
        if let Some(seen) = received.iter().find(|request| NEVER.iter().any(|path| has_target(request, path)))
        {
            return Err(format!("the upstream received {}", show(seen)));
        }
        if next {
            match received.pop() {
                Some(last) if last == NEXT_FORWARDED.as_bytes() => {}
                last => return Err(format!("the next request came as {}", show(&last.unwrap_or_default()))),
            }
        }
        if forwards.is_empty() {
            return Ok(());
        }
        let right = received.len() == forwards.len()
            && received
                .iter()
                .zip(forwards)
                .all(|(got, forms)| forms.iter().any(|form| form.as_bytes() == got));
        if right { Ok(()) } else { Err(format!("the upstream received {}", self.list(haul))) }
    }

    /// The upstream's connections of this case get closed.
    fn given_up(&self) -> Result<(), String> {
        let used: Vec<_> = {
            let haul = self.upstream.haul();
            if let Some(why) = haul.malformed.first() {
                return Err(format!("the upstream received {why}"));
            }
            if matches!(self.case.expect, Expect::Broken(_)) && !haul.requests.is_empty() {
                return Err(format!("the upstream received {}", self.list(&haul)));
            }
            haul.requests.iter().map(|request| request.connection).collect()
        };
        let closed = self.upstream.await_closed(PATIENCE, &used);
        closed.then_some(()).ok_or_else(|| "the upstream's connection is not closed".to_owned())
    }

    /// A request on new connections goes well.
    fn afresh(&self) -> Result<(), String> {
        self.upstream.play(Play::Echo);
        let mut client = self.connect()?;
        client.send(NEXT.as_bytes());
        match client.reply(false)? {
            Some(reply) if reply.status == 200 && reply.body == NEXT_BODY => {}
            other => return Err(format!("afterwards: {other:?}")),
        }
        self.check(&self.upstream.haul(), &[vec![NEXT_FORWARDED]], false)
    }

    /// A request as cases write it down.
    fn told(&self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let end =
            bytes.windows(4).position(|window| window == b"\r\n\r\n").map_or(bytes.len(), |end| end + 2);
        let (head, rest) = bytes.split_at(end);
        let text = String::from_utf8_lossy(head);
        let mut lines: Vec<&str> = text.split_inclusive("\r\n").collect();
        let host = format!("Host: {}\r\n", self.upstream.address());
        if lines.get(1) != Some(&host.as_str()) {
            return Err(format!("no Host first: {}", show(bytes)));
        }
        lines.remove(1);
        let is_id = |line: &&str| {
            let (name, value) = line.split_once(": ").unwrap_or_default();
            name.eq_ignore_ascii_case("x-request-id") && value.trim_end().len() == 36
        };
        let id = lines.iter().position(is_id).ok_or_else(|| format!("no request id: {}", show(bytes)))?;
        lines.remove(id);
        let told = lines.concat().replacen(
            "x-forwarded-for: 127.0.0.1\r\nx-forwarded-proto: http\r\nx-forwarded-host: ",
            "~",
            1,
        );
        Ok([told.as_bytes(), rest].concat())
    }

    fn list(&self, haul: &Haul) -> String {
        let whole = haul.requests.iter().map(|request| match self.told(&request.bytes) {
            Ok(told) => show(&told),
            Err(why) => why,
        });
        let partial = haul.partial.iter().map(|bytes| format!("a part: {}", show(bytes)));
        let all: Vec<_> = whole.chain(partial).chain(haul.malformed.iter().cloned()).collect();
        if all.is_empty() { "nothing".to_owned() } else { all.join("\n           ") }
    }
}

/// Whether a request's target is that path.
fn has_target(request: &[u8], path: &str) -> bool {
    let target = request.split(|&b| b == b' ').nth(1).unwrap_or_default();
    target == path.as_bytes() || target.starts_with(format!("{path}/").as_bytes())
}

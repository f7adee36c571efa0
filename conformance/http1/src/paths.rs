//! Paths that servers read in different ways, under each policy: which route takes the request, what a policy of the
//! route sees, what the upstream receives. All three must be of one mind, and no spelling of a guarded path may reach
//! another route.

use std::path::Path;

use serde_json::{Value, json};

use crate::case::Play;
use crate::client::Client;
use crate::gateway::{Gateway, Project};
use crate::message::{Head, show};
use crate::upstream::Upstream;

use Form::{Ambiguous, Plain, Unreadable};

/// What can be said about a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// One reading.
    Plain,
    /// Several.
    Ambiguous,
    /// None that can be relied upon.
    Unreadable,
}

/// Paths as sent, the route by which each is taken, and the canonical path.
const TABLE: &[(&str, &str, &str, Form)] = &[
    ("/", "/(.*)", "/", Plain),
    ("/admin", "/admin", "/admin", Plain),
    ("/public/a", "/public/(.*)", "/public/a", Plain),
    ("/public/", "/public/(.*)", "/public/", Plain),
    ("/%61dmin", "/admin", "/admin", Plain),
    ("/%61%64%6d%69%6e", "/admin", "/admin", Plain),
    ("/%61%64%6D%69%6E", "/admin", "/admin", Plain),
    ("/publi%63/a", "/public/(.*)", "/public/a", Plain),
    ("/a%2db%2Ec%5fd%7ee", "/(.*)", "/a-b.c_d~e", Plain),
    ("/caf%c3%a9", "/(.*)", "/caf%C3%A9", Plain),
    ("/%e0%a4%b9", "/(.*)", "/%E0%A4%B9", Plain),
    ("/caf%e9", "/(.*)", "/caf%E9", Plain),
    ("/Admin", "/(.*)", "/Admin", Plain),
    ("/admin/", "/(.*)", "/admin/", Plain),
    ("/admin%20", "/(.*)", "/admin%20", Plain),
    ("/admin%252f", "/(.*)", "/admin%252f", Plain),
    ("/public/%252e%252e/admin", "/public/(.*)", "/public/%252e%252e/admin", Plain),
    ("/admin%3f", "/(.*)", "/admin%3F", Plain),
    ("/admin%23x", "/(.*)", "/admin%23x", Plain),
    ("/admin%3Bx", "/(.*)", "/admin%3Bx", Plain),
    ("/admin.", "/(.*)", "/admin.", Plain),
    ("/...", "/(.*)", "/...", Plain),
    ("/.well-known/x", "/(.*)", "/.well-known/x", Plain),
    ("/public/..a", "/public/(.*)", "/public/..a", Plain),
    ("/public/a..", "/public/(.*)", "/public/a..", Plain),
    ("/a:b@c,d=e+f", "/(.*)", "/a:b@c,d=e+f", Plain),
    ("/a%0d%0ab", "/(.*)", "/a%0D%0Ab", Plain),
    ("/public/../admin", "/admin", "/admin", Ambiguous),
    ("/public/%2e%2e/admin", "/admin", "/admin", Ambiguous),
    ("/public/%2E%2E/admin", "/admin", "/admin", Ambiguous),
    ("/public/.%2e/admin", "/admin", "/admin", Ambiguous),
    ("/public/%2e./admin", "/admin", "/admin", Ambiguous),
    ("/public/..%2fadmin", "/admin", "/admin", Ambiguous),
    ("/public/..%2Fadmin", "/admin", "/admin", Ambiguous),
    ("/public%2f..%2fadmin", "/admin", "/admin", Ambiguous),
    ("/public/..%5cadmin", "/admin", "/admin", Ambiguous),
    ("/public\\..\\admin", "/admin", "/admin", Ambiguous),
    ("/public/a/../../admin", "/admin", "/admin", Ambiguous),
    ("/public/a/b/../../../admin", "/admin", "/admin", Ambiguous),
    ("/../admin", "/admin", "/admin", Ambiguous),
    ("/../../admin", "/admin", "/admin", Ambiguous),
    ("/./admin", "/admin", "/admin", Ambiguous),
    ("/%2e/admin", "/admin", "/admin", Ambiguous),
    ("/public/.;/../admin", "/admin", "/admin", Ambiguous),
    ("/public/..;/admin", "/admin", "/admin", Ambiguous),
    ("/public/..;a=b/admin", "/admin", "/admin", Ambiguous),
    ("/;/admin", "/admin", "/admin", Ambiguous),
    ("/admin;x=1", "/admin", "/admin", Ambiguous),
    ("/admin;", "/admin", "/admin", Ambiguous),
    ("/admin;/../admin", "/admin", "/admin", Ambiguous),
    ("//admin", "/admin", "/admin", Ambiguous),
    ("///admin", "/admin", "/admin", Ambiguous),
    ("/.//admin", "/admin", "/admin", Ambiguous),
    ("/%2fadmin", "/admin", "/admin", Ambiguous),
    ("/%5cadmin", "/admin", "/admin", Ambiguous),
    ("/\\admin", "/admin", "/admin", Ambiguous),
    ("/admin/..", "/(.*)", "/", Ambiguous),
    ("/admin/.", "/(.*)", "/admin/", Ambiguous),
    ("/admin//", "/(.*)", "/admin/", Ambiguous),
    ("/admin%2f", "/(.*)", "/admin/", Ambiguous),
    ("/admin\\", "/(.*)", "/admin/", Ambiguous),
    ("/admin/../public/a", "/public/(.*)", "/public/a", Ambiguous),
    ("/public/a%2Fb", "/public/(.*)", "/public/a/b", Ambiguous),
    ("/public//a", "/public/(.*)", "/public/a", Ambiguous),
    ("/public/./%61", "/public/(.*)", "/public/a", Ambiguous),
    ("/admin%00", "/(.*)", "", Unreadable),
    ("/admin%00.html", "/(.*)", "", Unreadable),
    ("/public/%00/../admin", "/public/(.*)", "", Unreadable),
    ("/admin%c0%af", "/(.*)", "", Unreadable),
    ("/public/..%c0%afadmin", "/public/(.*)", "", Unreadable),
    ("/%e0%80%afadmin", "/(.*)", "", Unreadable),
    ("/admin%", "/(.*)", "", Unreadable),
    ("/admin%2", "/(.*)", "", Unreadable),
    ("/admin%zz", "/(.*)", "", Unreadable),
    ("/admin%u002f", "/(.*)", "", Unreadable),
];

/// Paths of a project whose listener rejects, and whose routes say otherwise; the route and what is seen, if anything.
const OVERRIDES: &[(&str, Option<(&str, &str)>)] = &[
    ("/raw/a%2Fb", Some(("/raw/(.*)", "/raw/a%2Fb"))),
    ("/raw//a", Some(("/raw/(.*)", "/raw//a"))),
    ("/raw/%61", Some(("/raw/(.*)", "/raw/%61"))),
    ("/raw/../admin", None),
    ("/raw/..%2fadmin", None),
    ("/raw/..;/admin", None),
    ("/admin/../raw/a", Some(("/raw/(.*)", "/admin/../raw/a"))),
    ("/normalized/a%2Fb", Some(("/normalized/(.*)", "/normalized/a/b"))),
    ("/normalized/../admin", None),
    ("/normalized/%00", None),
    ("/other/../normalized/a", Some(("/normalized/(.*)", "/normalized/a"))),
    ("/other/a%2Fb", None),
    ("//", None),
    ("/other/a", Some(("/other/{rest}", "/other/a"))),
];

const MODULE: &str = r#"
export function tell(request: Request, context: { route: { path: string } }) {
  request.headers.set("x-url", request.url);
  request.headers.set("x-route", context.route.path);
  return request;
}
"#;

/// Sends all paths under all policies. Gives what was wrong, and how many there were.
pub(crate) fn run(program: &Path) -> Result<(Vec<String>, usize), String> {
    let upstream = Upstream::start().map_err(|error| format!("the upstream: {error}"))?;
    let mut wrong = Vec::new();
    let mut count = 0;
    for policy in ["reject", "normalize", "raw"] {
        let gateway = Gateway::start(program, &project(&upstream, policy))?;
        let mut refused = Vec::new();
        for (path, route, canonical, form) in TABLE {
            let seen = match (policy, form) {
                ("raw", _) => Some(*path),
                (_, Plain) | ("normalize", Ambiguous) => Some(*canonical),
                _ => None,
            };
            let expected = seen.map(|seen| (*route, seen));
            if expected.is_none() {
                refused.push(*path);
            }
            count += 1;
            if let Err(why) = check(&gateway, &upstream, path, expected) {
                wrong.push(format!("{policy} {path}: {why}"));
            }
        }
        gateway.stop()?;
        let log = gateway.output();
        for path in refused {
            let line = format!("\"path\":{}", json!(path));
            let is_logged = |text: &str| text.contains(&line) && text.contains("\"path_refused\"");
            if !log.lines().any(is_logged) {
                wrong.push(format!("{policy} {path}: its refusal is not in the access log"));
            }
        }
    }
    let gateway = Gateway::start(program, &overriding(&upstream))?;
    for (path, expected) in OVERRIDES {
        count += 1;
        if let Err(why) = check(&gateway, &upstream, path, *expected) {
            wrong.push(format!("a route's own policy, {path}: {why}"));
        }
    }
    Ok((wrong, count))
}

fn check(
    gateway: &Gateway,
    upstream: &Upstream,
    path: &str,
    expected: Option<(&str, &str)>,
) -> Result<(), String> {
    upstream.play(Play::Echo);
    let mut client =
        Client::connect(gateway.address()).map_err(|error| format!("cannot connect: {error}"))?;
    client.send(format!("GET {path}?q=/../x HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
    let reply = client.reply(false)?.ok_or("no answer")?;
    let haul = upstream.haul();
    let Some((route, seen)) = expected else {
        return match (reply.status, haul.requests.first()) {
            (400, None) => Ok(()),
            (status, request) => {
                let bytes = request.map(|request| show(&request.bytes)).unwrap_or_default();
                Err(format!("not refused: {status} {bytes}"))
            }
        };
    };
    let [request] = &haul.requests[..] else {
        return Err(format!("{} {}, and {} requests", reply.status, show(&reply.body), haul.requests.len()));
    };
    let head = Head::read(&request.bytes).ok_or("no head")??;
    let field = |name: &'static str| head.all(name).next().unwrap_or_default().to_owned();
    let found = (head.line.clone(), field("x-url"), field("x-route"));
    let wanted =
        (format!("GET {seen}?q=/../x HTTP/1.1"), format!("http://a{seen}?q=/../x"), route.to_owned());
    if found == wanted { Ok(()) } else { Err(format!("{found:?}, not {wanted:?}")) }
}

fn overriding(upstream: &Upstream) -> Project {
    let mut project = Project::new(MODULE);
    let forward = Project::forward(upstream.address());
    for (path, form) in [
        ("/admin", json!({})),
        ("/raw/(.*)", json!({ "pathMode": "url-pattern", "ambiguous": "raw" })),
        ("/normalized/(.*)", json!({ "pathMode": "url-pattern", "ambiguous": "normalize" })),
        ("/other/{rest}", json!({})),
    ] {
        project.route(path, &form, &forward, &["tell"]);
    }
    project
}

fn project(upstream: &Upstream, policy: &str) -> Project {
    let mut project = Project::new(MODULE);
    let forward = Project::forward(upstream.address());
    for (path, mode) in [("/admin", "open-api"), ("/public/(.*)", "url-pattern"), ("/(.*)", "url-pattern")] {
        project.route(path, &json!({ "pathMode": mode }), &forward, &["tell"]);
    }
    project.settings = format!("[listen]\nambiguous-paths = {}\n", Value::from(policy));
    project
}

//! The journal for people: one short line an exchange, what its policies said beneath it.
//!
//! Text of clients and plugins is shown with control characters escaped: a request must not be able to repaint the
//! operator's terminal.

use std::borrow::Cow;
use std::fmt::Write as _;

use jiff::tz::TimeZone;
use polygate_gateway::ExchangeRecord;
use polygate_pipeline::{LogLevel, LogLine, Reason};

use crate::clock::{of_day, short};
use crate::paint::{Look, Paint};

/// Characters of a path that are shown.
const MAX_PATH: usize = 200;

/// Lines beneath an exchange start here.
const INDENT: &str = "          ";

pub(super) fn exchange(record: &ExchangeRecord, paint: Paint, zone: &TimeZone, text: &mut String) {
    let look = match record.status {
        200..300 => Look::Green,
        300..400 => Look::Cyan,
        400..500 => Look::Yellow,
        _ => Look::Red,
    };
    let method = plain(record.method.as_str());
    let mut path: String = plain(&record.path).into_owned();
    if path.chars().count() > MAX_PATH {
        path = path.chars().take(MAX_PATH).chain(['…']).collect();
    }
    let _ = write!(
        text,
        "{}  {}  {} {path}  {}",
        paint.on(Look::Dim, of_day(record.time, zone)),
        paint.on(look, record.status),
        paint.on(Look::Bold, format_args!("{method:<4}")),
        paint.on(Look::Dim, short(record.duration)),
    );
    if let Some(route) = record.route.as_deref().map(route_path).filter(|route| *route != record.path) {
        let _ = write!(text, "  {}", paint.on(Look::Dim, format_args!("{route}")));
    }
    if let Some(upstream) = &record.upstream {
        let _ = write!(text, "  {}", paint.on(Look::Dim, format_args!("-> {}", plain(upstream))));
    }
    match record.reason {
        Reason::Completed => {}
        reason => {
            let answered =
                record.steps.iter().rfind(|step| step.verdict == polygate_pipeline::Verdict::Answered);
            let by = record.policy.as_ref().or(answered.map(|step| &step.policy));
            let by = match (by, reason) {
                (Some(policy), _) => format!(" by {}", plain(policy)),
                _ => String::new(),
            };
            let _ = write!(text, "  {}", paint.on(look, format_args!("{reason}{by}")));
        }
    }
    text.push('\n');
}

/// A route's label without its methods.
fn route_path(label: &str) -> &str {
    label.split_once(' ').map_or(label, |(_, path)| path)
}

/// What went wrong, beneath the exchange. Its line has said the reason and the policy already.
pub(super) fn failure(record: &ExchangeRecord, error: &str, paint: Paint, text: &mut String) {
    let who = record.policy.as_deref();
    let mut detail = error.strip_prefix(record.reason.as_str()).unwrap_or(error);
    if let Some(policy) = who {
        detail = detail.strip_prefix(&format!(" in policy {policy:?}")).unwrap_or(detail);
    }
    let detail = detail.strip_prefix(": ").unwrap_or(detail);
    if !detail.is_empty() {
        said(LogLevel::Error, who, detail, INDENT, paint, text);
    }
}

pub(super) fn line(line: &LogLine, beneath: bool, paint: Paint, zone: &TimeZone, text: &mut String) {
    if beneath {
        text.push_str(INDENT);
    } else {
        let _ = write!(text, "{}  ", paint.on(Look::Dim, of_day(line.time, zone)));
    }
    let mut message = line.message.clone();
    if !line.fields.is_empty() {
        let fields = serde_json::to_string(&line.fields).unwrap_or_default();
        let end = message.find('\n').unwrap_or(message.len());
        message.insert_str(end, &format!(" {fields}"));
    }
    let mut said_text = String::new();
    said(line.level, line.policy.as_deref(), &message, INDENT, paint, &mut said_text);
    text.push_str(said_text.trim_start_matches(' '));
}

pub(super) fn gateway(line: &LogLine, paint: Paint, text: &mut String) {
    let look = match line.level {
        LogLevel::Error => Look::Red,
        LogLevel::Warn => Look::Yellow,
        _ => Look::Cyan,
    };
    let _ = writeln!(text, "{}", paint.on(look, &line.message));
}

/// `level policy: first line`, and the other lines (a stack trace) dimmed beneath.
fn said(level: LogLevel, who: Option<&str>, message: &str, indent: &str, paint: Paint, text: &mut String) {
    let (word, look) = match level {
        LogLevel::Debug => ("debug", Look::Dim),
        LogLevel::Info => ("info", Look::Blue),
        LogLevel::Warn => ("warn", Look::Yellow),
        LogLevel::Error => ("error", Look::Red),
    };
    let mut lines = message.lines();
    let first = plain(lines.next().unwrap_or(""));
    let _ = write!(text, "{indent}{} ", paint.on(look, word));
    if let Some(who) = who {
        let _ = write!(text, "{} ", paint.on(Look::Bold, format_args!("{}:", plain(who))));
    }
    let _ = writeln!(text, "{first}");
    for line in lines {
        let _ = writeln!(text, "{indent}  {}", paint.on(Look::Dim, plain(line)));
    }
}

/// Control characters escaped.
fn plain(text: &str) -> Cow<'_, str> {
    let unsafe_char = |c: char| c.is_control() && c != '\t';
    if !text.contains(unsafe_char) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if unsafe_char(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

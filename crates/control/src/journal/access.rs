//! Lines of the access log in the format that `[access-log]` says.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use polygate_gateway::ExchangeRecord;
use polygate_plan::{AccessFormat, LinePiece, LineTemplate, Variable};

use super::json;
use crate::clock::rfc3339;

/// The form of web servers, without the zone's offset.
const LOCAL: &str = "%d/%b/%Y:%H:%M:%S";

/// What stands where a variable holds nothing.
const NOTHING: &str = "-";

pub(super) fn exchange(record: &ExchangeRecord, format: &AccessFormat, zone: &TimeZone, text: &mut String) {
    match format {
        AccessFormat::Json => json::exchange(record, text),
        AccessFormat::Line(line) => template(record, line, zone, text),
    }
}

fn template(record: &ExchangeRecord, line: &LineTemplate, zone: &TimeZone, text: &mut String) {
    for piece in line.pieces() {
        match piece {
            LinePiece::Text(plain) => text.push_str(plain),
            LinePiece::Variable(variable) => {
                let before = text.len();
                value(record, variable, zone, text);
                if text.len() == before {
                    text.push_str(NOTHING);
                }
            }
        }
    }
    text.push('\n');
}

fn value(record: &ExchangeRecord, variable: &Variable, zone: &TimeZone, text: &mut String) {
    let captured = record.captured.as_deref();
    let maybe = |value: Option<&str>, text: &mut String| escape(value.unwrap_or(""), text);
    // Writing to a text does not fail.
    let _ = match variable {
        Variable::Time => text.write_str(&rfc3339(record.time)),
        Variable::TimeLocal => match Timestamp::try_from(record.time) {
            Ok(time) => {
                let minutes = zone.to_offset(time).seconds() / 60;
                let sign = if minutes < 0 { '-' } else { '+' };
                let (hours, minutes) = (minutes.abs() / 60, minutes.abs() % 60);
                write!(text, "{} {sign}{hours:02}{minutes:02}", zone.to_datetime(time).strftime(LOCAL))
            }
            // Years that the form has no digits for.
            Err(_) => Ok(()),
        },
        Variable::Id => text.write_str(record.id.as_str()),
        Variable::Client => write!(text, "{}", record.client),
        Variable::User => return maybe(captured.and_then(|captured| captured.user.as_deref()), text),
        Variable::Method => text.write_str(record.method.as_str()),
        Variable::Host => return escape(&record.host, text),
        Variable::Path => return escape(&record.path, text),
        Variable::Query => return maybe(captured.and_then(|captured| captured.query.as_deref()), text),
        Variable::Version => text.write_str(record.version.as_str()),
        Variable::Route => return maybe(record.route.as_deref(), text),
        Variable::Status => write!(text, "{}", record.status),
        Variable::Reason => text.write_str(record.reason.as_str()),
        Variable::Policy => return maybe(record.policy.as_deref(), text),
        Variable::Error => return maybe(record.error.as_deref(), text),
        Variable::Duration => write!(text, "{:.6}", record.duration.as_secs_f64()),
        Variable::DurationUs => write!(text, "{}", record.duration.as_micros()),
        Variable::Received => write!(text, "{}", record.received),
        Variable::Sent => write!(text, "{}", record.sent),
        Variable::Upstream => return maybe(record.upstream.as_deref(), text),
        Variable::Worker => write!(text, "{}", record.worker),
        Variable::Request(name) => {
            return maybe(captured.and_then(|captured| find(&captured.request, name)), text);
        }
        Variable::Response(name) => {
            return maybe(captured.and_then(|captured| find(&captured.response, name)), text);
        }
    };
}

fn find<'a>(headers: &'a [(std::sync::Arc<str>, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(known, _)| **known == *name).map(|(_, value)| value.as_str())
}

/// What clients send must neither end a line nor a quoted value, nor steer a terminal: `\xHH` stands in its place, as
/// in other servers' logs.
fn escape(value: &str, text: &mut String) {
    for c in value.chars() {
        if c == '"' || c == '\\' || c.is_control() {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                let _ = write!(text, "\\x{byte:02X}");
            }
        } else {
            text.push(c);
        }
    }
}

//! `/log`: the level of log lines, shown and changed.

use polygate_pipeline::LogLevel;
use serde_json::{Map, Value, json};

use super::{json_answer, problem};
use crate::http::Answer;
use crate::level::{MAX_TARGETS, named};
use crate::state::State;

/// What is asked for is one of these.
const LEVELS: &str = "debug, info, warn or error";

pub(super) fn show(state: &State) -> Answer {
    json_answer(200, &levels(state))
}

pub(super) fn change(state: &State, body: &[u8]) -> Answer {
    match read(body) {
        Ok((level, targets)) => {
            state.levels.set(level, targets);
            let now = levels(state);
            state.say(LogLevel::Info, format!("log level set by the admin API: {now}"));
            json_answer(200, &now)
        }
        Err(detail) => problem(400, "Bad Request", &detail),
    }
}

fn levels(state: &State) -> Value {
    let targets = state.levels.targets().into_iter().map(|(name, level)| (name, json!(level)));
    json!({ "level": state.levels.all.get(), "targets": targets.collect::<Map<_, _>>() })
}

type Change = (Option<LogLevel>, Option<Vec<(String, LogLevel)>>);

fn read(body: &[u8]) -> Result<Change, String> {
    let expected =
        || format!("expected {{\"level\": LEVEL, \"targets\": {{MODULE: LEVEL}}}}; LEVEL is {LEVELS}");
    let asked: Map<String, Value> = serde_json::from_slice(body).map_err(|_| expected())?;
    let level = |value: &Value| {
        let name = value.as_str().unwrap_or_default();
        named(name).ok_or_else(|| format!("{value} is no level; there are {LEVELS}"))
    };
    let (mut all, mut targets) = (None, None);
    for (name, value) in &asked {
        match (name.as_str(), value) {
            ("level", value) => all = Some(level(value)?),
            ("targets", Value::Object(members)) if members.len() <= MAX_TARGETS => {
                let read = members.iter().map(|(name, value)| Ok((name.clone(), level(value)?)));
                targets = Some(read.collect::<Result<Vec<_>, String>>()?);
            }
            ("targets", Value::Object(_)) => return Err(format!("at most {MAX_TARGETS} targets")),
            _ => return Err(expected()),
        }
    }
    if all.is_none() && targets.is_none() {
        return Err(expected());
    }
    Ok((all, targets))
}

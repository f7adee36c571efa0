//! From a thrown JavaScript value to a [`ScriptError`] whose stack names the files as written.

use std::rc::Rc;

use polygate_pipeline::LogLevel;
use rquickjs::function::This;
use rquickjs::{Ctx, Error, Function, Object, Value};

use crate::error::{MAX_CAUSES, MAX_ERROR_TEXT, ScriptError};
use crate::handle::{State, VmHandle};
use crate::ops::thrown;

/// Describes what a native call gave back as an error; takes the pending exception.
pub(crate) fn from_error(ctx: &Ctx<'_>, error: Error) -> ScriptError {
    let value = thrown(ctx, error);
    from_value(ctx, &value, MAX_CAUSES)
}

/// Describes a thrown value.
pub(crate) fn from_value<'js>(ctx: &Ctx<'js>, value: &Value<'js>, causes: usize) -> ScriptError {
    let described = match value.as_object() {
        Some(object) if object.is_error() || is_error_like(object) => describe(ctx, object, causes),
        _ => ScriptError { message: text(ctx, value), ..ScriptError::default() },
    };
    // Getters of the value may have thrown; that must not be taken for somebody else's exception.
    if ctx.has_exception() {
        ctx.catch();
    }
    described
}

/// Logs the rejections of this run that nobody handled.
pub(crate) fn report_rejections(ctx: &Ctx<'_>, state: &Rc<State>) {
    let rejections = std::mem::take(&mut *state.rejections.borrow_mut());
    for rejection in rejections {
        let Ok(reason) = rejection.reason.restore(ctx) else { continue };
        let error = from_value(ctx, &reason, MAX_CAUSES);
        report(state, "Unhandled promise rejection", &error);
        drop(rejection.promise);
    }
}

/// Logs an exception that nobody can catch any more.
pub(crate) fn report_uncaught(ctx: &Ctx<'_>, state: &Rc<State>, error: Error) {
    let error = from_error(ctx, error);
    report(state, "Uncaught exception", &error);
}

fn report(state: &Rc<State>, what: &str, error: &ScriptError) {
    let handle = VmHandle(state.clone());
    let scope = handle.scope();
    handle.log(scope.as_deref(), LogLevel::Error, format!("{what}: {error}"), error.properties.clone());
}

/// Errors of libraries that do not extend `Error`, and `DOMException`.
fn is_error_like(object: &Object<'_>) -> bool {
    let has = |key: &str| object.get::<_, Value<'_>>(key).is_ok_and(|value| value.is_string());
    has("name") && has("message")
}

fn describe<'js>(ctx: &Ctx<'js>, object: &Object<'js>, causes: usize) -> ScriptError {
    let member = |key: &str| object.get::<_, Option<Value<'js>>>(key).ok().flatten();
    let string = |key: &str| member(key).map(|value| text(ctx, &value)).unwrap_or_default();
    let program = VmHandle::try_of(ctx).and_then(|handle| handle.0.program.clone());
    let stack = string("stack");
    let cause = member("cause").filter(|_| causes > 0);
    ScriptError {
        name: string("name"),
        message: string("message"),
        stack: match &program {
            Some(program) => program.map_stack(&stack),
            None => stack.trim_end().to_owned(),
        },
        properties: properties(ctx, object),
        cause: cause
            .filter(|cause| !cause.is_undefined())
            .map(|cause| Box::new(from_value(ctx, &cause, causes - 1))),
    }
}

/// Own enumerable properties as JSON.
fn properties<'js>(ctx: &Ctx<'js>, object: &Object<'js>) -> serde_json::Map<String, serde_json::Value> {
    let mut properties = serde_json::Map::new();
    for key in object.keys::<String>().flatten() {
        if matches!(key.as_str(), "name" | "message" | "stack" | "cause") {
            continue;
        }
        let Ok(value) = object.get::<_, Value<'js>>(key.as_str()) else { continue };
        let Ok(Some(json)) = ctx.json_stringify(value) else { continue };
        if let Ok(json) = json.to_string()
            && json.len() <= MAX_ERROR_TEXT
            && let Ok(json) = serde_json::from_str(&json)
        {
            properties.insert(key, json);
        }
    }
    properties
}

/// A value as `String(value)` gives it, cut to [`MAX_ERROR_TEXT`].
fn text<'js>(ctx: &Ctx<'js>, value: &Value<'js>) -> String {
    let string = match value.as_string() {
        Some(string) => string.to_string(),
        None => ctx
            .globals()
            .get::<_, Function<'js>>("String")
            .and_then(|convert| convert.call::<_, String>((This(()), value.clone()))),
    };
    let mut string = match string {
        Ok(string) => string,
        Err(_) => {
            ctx.catch();
            format!("[{}]", value.type_name())
        }
    };
    if string.len() > MAX_ERROR_TEXT {
        string.truncate(string.floor_char_boundary(MAX_ERROR_TEXT));
    }
    string
}

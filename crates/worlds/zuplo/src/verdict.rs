//! What a result of JavaScript means.

use polygate_engine_js::rquickjs::{Ctx, Error, Object, Result as JsResult, Value};
use polygate_pipeline::{Body, Request, Response, StatusCode};

use crate::binding::function;
use crate::live::Live;
use crate::messages;
use crate::session::Session;

/// What an inbound policy or a request hook wants.
pub(crate) enum Verdict {
    /// Go on with this request.
    Continue(Request),
    /// Nothing within runs.
    Answer(Response),
    /// It returned neither: what it was.
    Wrong(String),
}

/// What an outbound policy or a handler gave.
pub(crate) enum Handled {
    Response(Response),
    /// What it was in place of a response.
    Wrong(String),
}

/// An inbound policy's result.
pub(crate) fn inbound<'js>(
    ctx: &Ctx<'js>,
    value: &Value<'js>,
    live: &Live,
    session: &std::rc::Rc<Session>,
) -> JsResult<Verdict> {
    let own = session.request(ctx).ok_or(Error::Unknown)?;
    if value.is_undefined() || value == own.as_value() {
        return messages::take_request(ctx, &own).map(Verdict::Continue);
    }
    if let Some(response) = messages::take_response(ctx, value)? {
        return Ok(Verdict::Answer(response));
    }
    let Some(request) = messages::as_request(value) else {
        return describe(ctx, value, live).map(Verdict::Wrong);
    };
    let (own, context) = session.made(ctx)?;
    let upgrade = messages::upgrade(&own);
    let adopted: Object<'js> = function(ctx, &live.hooks().adopt)?.call((request.clone(), own, context))?;
    session.set_request(ctx, live, &adopted);
    let mut request = messages::take_request(ctx, &adopted)?;
    // The client's wish is the exchange's, whichever object stands for its request.
    request.upgrade = request.upgrade.or(upgrade);
    Ok(Verdict::Continue(request))
}

/// An outbound policy's result.
pub(crate) fn outbound<'js>(ctx: &Ctx<'js>, value: &Value<'js>, live: &Live) -> JsResult<Handled> {
    match messages::take_response(ctx, value)? {
        Some(response) => Ok(Handled::Response(response)),
        None => describe(ctx, value, live).map(Handled::Wrong),
    }
}

/// A handler's result: a response, or any value that JSON can express.
pub(crate) fn handler<'js>(ctx: &Ctx<'js>, value: Value<'js>, live: &Live) -> JsResult<Handled> {
    if let Some(response) = messages::take_response(ctx, &value)? {
        return Ok(Handled::Response(response));
    }
    if messages::as_request(&value).is_some() {
        return describe(ctx, &value, live).map(Handled::Wrong);
    }
    match ctx.json_stringify(value.clone())? {
        Some(json) => {
            let mut response = Response::new(StatusCode::OK);
            response.headers.set("content-type", b"application/json").map_err(|_| Error::Unknown)?;
            response.body = Body::full(json.to_string()?);
            Ok(Handled::Response(response))
        }
        // Nothing to send: most likely a `return` was forgotten.
        None => describe(ctx, &value, live).map(Handled::Wrong),
    }
}

fn describe<'js>(ctx: &Ctx<'js>, value: &Value<'js>, live: &Live) -> JsResult<String> {
    function(ctx, &live.hooks().describe)?.call((value.clone(),))
}

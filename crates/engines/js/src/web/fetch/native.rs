//! The native functions that the scripts of this module are given.

use rquickjs::{Ctx, Function, Object, Result};

use super::{Prototypes, body, client, headers, hot, message, pipe};

macro_rules! functions {
    ($ctx:expr, $native:expr, $($name:literal = $function:expr),+ $(,)?) => {
        $($native.set($name, Function::new($ctx.clone(), $function)?.with_name($name)?)?;)+
    };
}

/// For `js/streams.js`: bodies that streams stand for.
pub(super) fn streams<'js>(ctx: &Ctx<'js>, native: &Object<'js>) -> Result<()> {
    functions!(ctx, native, "pull" = body::pull, "cancel" = body::cancel, "tee" = body::tee_held);
    Ok(())
}

/// For `js/fetch.js`.
pub(super) fn fetch<'js>(ctx: &Ctx<'js>, native: &Object<'js>) -> Result<()> {
    hot::install(ctx, native)?;
    functions!(
        ctx,
        native,
        // Methods of Headers, beside the hot ones.
        "append" = headers::append,
        "delete" = headers::delete,
        "getSetCookie" = headers::get_set_cookie,
        // Getters of Response, likewise.
        "ok" = message::ok,
        "statusText" = message::status_text,
        "redirected" = message::redirected,
        // Plain functions.
        "newHeaders" = headers::create,
        "flat" = headers::flat,
        "version" = headers::version,
        "copy" = headers::copy,
        "freeze" = headers::freeze,
        "isHeaders" = headers::is_headers,
        "newRequest" = message::new_request,
        "newResponse" = message::new_response,
        "cloneResponse" = message::clone_response,
        "clearHeaders" = message::clear_headers,
        "kind" = message::kind,
        "state" = message::state,
        "stream" = message::stream,
        "setStream" = message::set_stream,
        "hold" = message::hold,
        "moveBody" = message::move_body,
        "cloneBody" = message::clone_body,
        "extra" = message::extra_of,
        "setExtra" = message::set_extra,
        "setText" = body::set_text,
        "setBytes" = body::set_bytes,
        "collect" = body::collect,
        "collectHeld" = body::collect_held,
        "convert" = body::convert,
        "open" = pipe::open,
        "push" = pipe::push,
        "end" = pipe::end,
        "fail" = pipe::fail,
        "send" = client::send,
        "aborter" = client::aborter,
        "abort" = client::abort,
        "ready" = ready,
        "bodyLimit" = body_limit,
    );
    Ok(())
}

/// The script's classes are made.
fn ready<'js>(ctx: Ctx<'js>, headers: Object<'js>, request: Object<'js>, response: Object<'js>) {
    // Called once per context, and nothing borrows what is not there yet.
    let _ = ctx.store_userdata(Prototypes { headers, request, response });
}

fn body_limit(ctx: Ctx<'_>) -> f64 {
    super::limits(&ctx).body as f64
}

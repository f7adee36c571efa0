//! Requests and responses in and out of the VM, by the engine's own classes.

use polygate_engine_js::as_object;
use polygate_engine_js::rquickjs::{Ctx, Object, Result as JsResult, Value};
use polygate_engine_js::web::fetch;
use polygate_pipeline::{Request, Response, Upgrade};

/// The value as a request object.
pub(crate) fn as_request<'a, 'js>(value: &'a Value<'js>) -> Option<&'a Object<'js>> {
    as_object(value).filter(|_| fetch::is_request(value))
}

/// An object of the runtime module's request class.
pub(crate) fn wrap_request<'js>(
    ctx: &Ctx<'js>,
    request: Request,
    prototype: &Object<'js>,
) -> JsResult<Object<'js>> {
    fetch::wrap_request(ctx, request, Some(prototype))
}

/// Puts `request` in the place of what the object stood for; gives it back when it has another method or URL now.
pub(crate) fn put_request<'js>(
    ctx: &Ctx<'js>,
    object: &Object<'js>,
    request: Request,
) -> JsResult<Option<Request>> {
    fetch::put_request(ctx, object.as_value(), request)
}

/// Moves the request out of its object, which goes on showing the head.
pub(crate) fn take_request<'js>(ctx: &Ctx<'js>, object: &Object<'js>) -> JsResult<Request> {
    fetch::take_request(ctx, object.as_value())
}

/// The protocol that the request of an object wishes to go on with.
pub(crate) fn upgrade(object: &Object<'_>) -> Option<Upgrade> {
    fetch::upgrade(object.as_value())
}

/// A response object.
pub(crate) fn wrap_response<'js>(ctx: &Ctx<'js>, response: Response) -> JsResult<Object<'js>> {
    fetch::wrap_response(ctx, response, None)
}

/// Moves the response out of its object, if the value is one.
pub(crate) fn take_response<'js>(ctx: &Ctx<'js>, value: &Value<'js>) -> JsResult<Option<Response>> {
    fetch::take_if_response(ctx, value)
}

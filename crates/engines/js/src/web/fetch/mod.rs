//! `Headers`, `Request`, `Response`, `fetch` and the streams (<https://fetch.spec.whatwg.org>, <https://streams.spec.whatwg.org>).
//!
//! A message object is a native class around the pipeline's own parts: nothing of a request that a world wraps is
//! converted until JavaScript asks for it. The hot members (`method`, `url`, `headers`, `status`, and all of `Headers`)
//! are native functions; the constructors and everything about streams are scripts (`js/fetch.js`, `js/streams.js`).
//!
//! Worlds use [`wrap_request`], [`take_request`], [`wrap_response`], [`take_response`] and, when the client goes away,
//! [`disconnect`].

mod body;
mod client;
mod headers;
mod hot;
mod message;
mod native;
mod pipe;
mod tee;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::rc::Rc;

use polygate_pipeline::{Budget, Failure, Reason, Request, Response, Upgrade};
use rquickjs::function::Opt;
use rquickjs::{Class, Ctx, Exception, Function, JsLifetime, Object, Result, Value};

use self::message::{Kind, Message};
use super::script::{Script, internal, register};
use crate::handle::VmHandle;
use crate::kept::Kept;
use crate::scope::CallScope;

const SCRIPTS: &[Script] = &[
    Script {
        name: "streams",
        source: include_str!("../../../js/streams.js"),
        globals: &[
            "ReadableStream",
            "ReadableStreamDefaultReader",
            "ReadableStreamBYOBReader",
            "ReadableStreamDefaultController",
            "ReadableByteStreamController",
            "ReadableStreamBYOBRequest",
            "WritableStream",
            "WritableStreamDefaultWriter",
            "WritableStreamDefaultController",
            "TransformStream",
            "TransformStreamDefaultController",
            "ByteLengthQueuingStrategy",
            "CountQueuingStrategy",
        ],
        native: Some(native::streams),
    },
    Script {
        name: "fetch",
        source: include_str!("../../../js/fetch.js"),
        globals: &["Headers", "Request", "Response", "fetch"],
        native: Some(native::fetch),
    },
];

/// What a call may do with bodies and sub-requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a body that may be read as a whole, and that one branch of a clone may lag behind. Default 16 MiB.
    pub body: u64,
    /// Requests that one call, or the load of one module, may send, redirects included. Default 16.
    pub subrequests: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self::from(&Budget::default())
    }
}

impl From<&Budget> for Limits {
    fn from(budget: &Budget) -> Self {
        Self { body: budget.body.bytes(), subrequests: budget.subrequests }
    }
}

type LimitsOf = Rc<dyn Fn(&CallScope) -> Limits>;

/// How limits are found; the default ones when a world says nothing.
#[derive(JsLifetime)]
struct LimitsHook(RefCell<Option<LimitsOf>>);

/// The prototypes that native code makes objects with.
#[derive(JsLifetime)]
pub(crate) struct Prototypes<'js> {
    headers: Object<'js>,
    request: Object<'js>,
    response: Object<'js>,
}

/// Makes the globals known; their scripts are evaluated on first use.
pub(crate) fn install(ctx: &Ctx<'_>) -> Result<()> {
    let _ = ctx.store_userdata(LimitsHook(RefCell::default()));
    register(ctx, SCRIPTS)
}

/// Sets how a call's limits are found, for the whole VM: usually from what the world attached to the scope.
pub fn set_limits(ctx: &Ctx<'_>, limits: impl Fn(&CallScope) -> Limits + 'static) {
    if let Some(hook) = ctx.userdata::<LimitsHook>() {
        *hook.0.borrow_mut() = Some(Rc::new(limits));
    }
}

pub(crate) fn limits(ctx: &Ctx<'_>) -> Limits {
    let Some(scope) = VmHandle::try_of(ctx).and_then(|handle| handle.scope()) else {
        return Limits::default();
    };
    let hook = ctx.userdata::<LimitsHook>().and_then(|hook| hook.0.borrow().clone());
    hook.map_or_else(Limits::default, |hook| hook(&scope))
}

/// A JavaScript object for `request`: an instance of `prototype`, or of `Request` itself. No JavaScript runs, nothing
/// is converted; header edits in JavaScript are edits of the object's own header list.
///
/// `prototype` is that of a class that extends `Request`; its constructor is not called.
///
/// # Errors
/// The VM is out of memory.
pub fn wrap_request<'js>(
    ctx: &Ctx<'js>,
    request: Request,
    prototype: Option<&Object<'js>>,
) -> Result<Object<'js>> {
    let prototype = match prototype {
        Some(prototype) => prototype.clone(),
        None => with_prototypes(ctx, |p| p.request.clone())?,
    };
    message::instance(Message::of_request(request), prototype)
}

/// A JavaScript object for `response`, as [`wrap_request`] makes one for a request.
///
/// # Errors
/// The VM is out of memory.
pub fn wrap_response<'js>(
    ctx: &Ctx<'js>,
    response: Response,
    prototype: Option<&Object<'js>>,
) -> Result<Object<'js>> {
    let prototype = match prototype {
        Some(prototype) => prototype.clone(),
        None => with_prototypes(ctx, |p| p.response.clone())?,
    };
    message::instance(Message::of_response(response), prototype)
}

/// The native request of a `Request` object (or of a subclass): its body is moved out, and the object's `bodyUsed` is
/// true from then on; method, URL and headers are copied, and stay readable on the object.
///
/// A body that JavaScript never looked into comes back as the very body that was wrapped. A stream made by JavaScript
/// becomes a body that pulls it under the scope that is current now; see `Vm` lifetimes in [`take_response`].
///
/// # Errors
/// A `TypeError`: it is no `Request`, its body was used or is locked, or its URL is neither http nor https.
pub fn take_request<'js>(ctx: &Ctx<'js>, value: &Value<'js>) -> Result<Request> {
    let message = message::of_value(ctx, value, "Request")?;
    message.borrow().take_request(ctx)
}

/// Puts a request that [`take_request`] moved out back into its object, with the headers and the body that it has now.
/// Gives it back when its method or URL is another one by now: it needs an object of its own then.
///
/// # Errors
/// A `TypeError`: the value is no `Request`.
pub fn put_request<'js>(ctx: &Ctx<'js>, value: &Value<'js>, request: Request) -> Result<Option<Request>> {
    let message = message::of_value(ctx, value, "Request")?;
    Ok(message.borrow().put_request(request))
}

/// [`take_response`], if `value` is a `Response` object.
///
/// # Errors
/// As with [`take_response`].
pub fn take_if_response<'js>(ctx: &Ctx<'js>, value: &Value<'js>) -> Result<Option<Response>> {
    let Some(message) = message::find(value) else { return Ok(None) };
    let message = message.borrow();
    match &message.kind {
        Kind::Response(_) => message.take_response(ctx).map(Some),
        Kind::Request(_) => Ok(None),
    }
}

/// The native response of a `Response` object, as [`take_request`] does for requests.
///
/// A body made from a JavaScript stream keeps the VM alive until it was read to its end or dropped. The scope must not
/// be aborted before that: the body would end with a failure.
///
/// # Errors
/// A `TypeError`: it is no `Response`, it is `Response.error()`, or its body was used or is locked.
pub fn take_response<'js>(ctx: &Ctx<'js>, value: &Value<'js>) -> Result<Response> {
    let message = message::of_value(ctx, value, "Response")?;
    message.borrow().take_response(ctx)
}

/// The protocol that a request which was wrapped wishes to go on with. A copy that JavaScript makes wishes for nothing.
pub fn upgrade(value: &Value<'_>) -> Option<Upgrade> {
    match &message::find(value)?.borrow().kind {
        Kind::Request(head) => head.upgrade(),
        Kind::Response(_) => None,
    }
}

/// A `Request` or `Response` object whose body was moved out shows none from now on, instead of one that was used.
pub fn forget_body(value: &Value<'_>) {
    if let Some(message) = message::find(value) {
        message.borrow().forget_body();
    }
}

/// Ties a `Request` or `Response` object to another object, for [`owner`]; JavaScript does not see it. Does nothing for
/// other values. What `clone()` and the constructors make of it is tied to nothing.
pub fn set_owner<'js>(value: &Value<'js>, owner: Value<'js>) {
    if let Some(message) = message::find(value) {
        message.borrow().set_owner(owner);
    }
}

/// What [`set_owner`] tied the object to.
pub fn owner<'js>(value: &Value<'js>) -> Option<Value<'js>> {
    message::find(value)?.borrow().owner()
}

/// Whether `value` is a `Request` or a `Response`.
pub(crate) fn is_message(value: &Value<'_>) -> bool {
    message::find(value).is_some()
}

/// Whether `value` is a `Request` or an instance of a subclass.
pub fn is_request(value: &Value<'_>) -> bool {
    message::find(value).is_some_and(|m| matches!(m.borrow().kind, Kind::Request(_)))
}

/// Whether `value` is a `Response` or an instance of a subclass.
pub fn is_response(value: &Value<'_>) -> bool {
    message::find(value).is_some_and(|m| matches!(m.borrow().kind, Kind::Response(_)))
}

/// Whether both are the same object. A policy that returns the request it was given has returned the same object.
pub fn is_same<'js>(one: &Value<'js>, other: &Value<'js>) -> bool {
    one.is_object() && one == other
}

/// Whether the body of a `Request` or `Response` object was read, is being read, or was moved out. False for others.
pub fn is_body_used<'js>(ctx: &Ctx<'js>, value: &Value<'js>) -> bool {
    message::find(value).is_some_and(|m| m.borrow().is_used(ctx))
}

/// The status of a `Response` object without taking it.
pub fn response_status(value: &Value<'_>) -> Option<u16> {
    match &message::find(value)?.borrow().kind {
        Kind::Response(head) => Some(head.status),
        Kind::Request(_) => None,
    }
}

/// Makes the headers of a `Request` or `Response` object immutable: edits throw a `TypeError` then.
pub fn freeze_headers(value: &Value<'_>) {
    if let Some(message) = message::find(value) {
        message.borrow().list.freeze();
    }
}

/// Evaluates the scripts now instead of on first use. A world calls it once per VM, so that no exchange pays for it.
///
/// # Errors
/// The VM is out of memory.
pub fn warm_up(ctx: &Ctx<'_>) -> Result<()> {
    with_prototypes(ctx, |_| ())
}

/// `Request.prototype`, to derive from in Rust or to compare with.
///
/// # Errors
/// The VM is out of memory.
pub fn request_prototype<'js>(ctx: &Ctx<'js>) -> Result<Object<'js>> {
    with_prototypes(ctx, |p| p.request.clone())
}

/// `Response.prototype`.
///
/// # Errors
/// The VM is out of memory.
pub fn response_prototype<'js>(ctx: &Ctx<'js>) -> Result<Object<'js>> {
    with_prototypes(ctx, |p| p.response.clone())
}

/// Why nobody waits for a call any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abandoned {
    /// The client went away: an `AbortError`.
    ClientGone,
    /// The wall time is spent: a `TimeoutError`.
    TimedOut,
}

/// Aborts `request.signal`, running its listeners; `why` says with which error. Does nothing when JavaScript never asked
/// for the signal.
///
/// # Errors
/// The VM is out of memory.
pub fn abort_signal<'js>(ctx: &Ctx<'js>, request: &Value<'js>, why: Abandoned) -> Result<()> {
    let Some(message) = message::find(request) else { return Ok(()) };
    if message.borrow().extra().is_none() {
        return Ok(());
    }
    let exports = exports(ctx)?;
    let disconnect: Function = exports.get("disconnect")?;
    disconnect.call((request.clone(), why == Abandoned::TimedOut))
}

/// Nobody waits any more: aborts the signal of the `Request` object `request` under `scope`, then the scope itself, which
/// drops the fetches and timers under way. Call it from outside of the VM, when the call's future is dropped unfinished.
pub fn disconnect(vm: &crate::Vm, scope: &Rc<CallScope>, request: &Kept, why: Abandoned) {
    // Listeners run once more under the scope; that they fail has no one to be told to but the log.
    let _ = vm.handle().run(Some(scope), |ctx| match request.get(ctx) {
        Some(request) => abort_signal(ctx, &request, why),
        None => Ok(()),
    });
    vm.abort(scope);
}

/// The exports of `js/fetch.js`, evaluating it if need be.
pub(crate) fn exports<'js>(ctx: &Ctx<'js>) -> Result<Object<'js>> {
    let internal = internal(ctx)?;
    let load: Function = internal.get("use")?;
    load.call(("fetch",))
}

pub(crate) fn with_prototypes<'js, T>(ctx: &Ctx<'js>, f: impl FnOnce(&Prototypes<'js>) -> T) -> Result<T> {
    if let Some(found) = ctx.userdata::<Prototypes<'_>>() {
        return Ok(f(&found));
    }
    exports(ctx)?;
    match ctx.userdata::<Prototypes<'_>>() {
        Some(found) => Ok(f(&found)),
        None => Err(Exception::throw_internal(ctx, "the fetch script did not register its classes")),
    }
}

/// Throws what a native operation failed with: a `TypeError` whose `cause` says why, with the closed reason as `code`
/// and, of a body, whose it is as `body`.
pub(crate) fn throw_failure(
    ctx: &Ctx<'_>,
    message: &str,
    failure: &Failure,
    owner: Option<&str>,
) -> rquickjs::Error {
    let made = (|| {
        let make: Function = exports(ctx)?.get("failure")?;
        let aborted = std::error::Error::source(failure).is_some_and(|s| s.is::<client::AbortedBySignal>());
        let code = failure.reason().as_str();
        make.call::<_, Value<'_>>((message, failure.to_string(), code, aborted, Opt(owner)))
    })();
    match made {
        Ok(error) => ctx.throw(error),
        Err(error) => error,
    }
}

/// The failure of a stream that JavaScript failed: the reason of the native failure beneath, if there is one.
pub(crate) fn failure_of(detail: String, code: &str) -> Failure {
    let reason = Reason::ALL.iter().copied().find(|reason| reason.as_str() == code);
    Failure::new(reason.unwrap_or(Reason::PolicyError)).detail(detail)
}

/// The class behind a `Request` or `Response` object.
pub(crate) type MessageClass<'js> = Class<'js, Message<'js>>;

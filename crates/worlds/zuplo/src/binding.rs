//! The native functions of the runtime module, and the functions that it gives back.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::rc::Rc;
use std::time::Duration;

use polygate_engine_js::rquickjs::class::Class;
use polygate_engine_js::rquickjs::function::Func;
use polygate_engine_js::rquickjs::{
    Array, Ctx, Error, Exception, Function, Object, Result as JsResult, Symbol, Value,
};
use polygate_engine_js::web::fetch::{self, Limits};
use polygate_engine_js::{Kept, NativeCall, NativeFunction, NativeValue, VmHandle, into_object, set_native};
use polygate_pipeline::{Identity, LogLevel};
use tokio::sync::oneshot;

use crate::session::{Link, MAX_HOOKS};

/// How long a promise given to `waitUntil` keeps the VM.
pub(crate) const WAIT_UNTIL_LIMIT: Duration = Duration::from_secs(30);

/// Where the runtime module finds its native functions until it has read them.
const BINDING: &str = "polygate.zuplo";

/// What the runtime module gives back.
pub(crate) struct Hooks {
    context: Kept,
    pub(crate) request: Kept,
    pub(crate) adopt: Kept,
    pub(crate) describe: Kept,
    pub(crate) initialise: Kept,
    pub(crate) request_hooks: Kept,
    pub(crate) sending_hooks: Kept,
    pub(crate) know: Kept,
    pub(crate) template: Kept,
}

impl Hooks {
    fn of<'js>(ctx: &Ctx<'js>, given: &Object<'js>) -> JsResult<Self> {
        let handle = VmHandle::of(ctx);
        let keep = |name: &str| -> JsResult<Kept> {
            let value: Value<'js> = given.get(name)?;
            if value.is_undefined() {
                return Err(Exception::throw_internal(ctx, &format!("the runtime module gives no {name}")));
            }
            Ok(handle.keep(ctx, value))
        };
        Ok(Self {
            context: keep("context")?,
            request: keep("request")?,
            adopt: keep("adopt")?,
            describe: keep("describe")?,
            initialise: keep("initialise")?,
            request_hooks: keep("runRequestHooks")?,
            sending_hooks: keep("runSendingHooks")?,
            know: keep("know")?,
            template: keep("template")?,
        })
    }

    /// A context object.
    pub(crate) fn new_context<'js>(&self, ctx: &Ctx<'js>, link: Link) -> JsResult<Object<'js>> {
        let prototype = object(ctx, &self.context)?;
        Ok(Class::instance_proto(link, prototype)?.into_inner())
    }
}

/// A kept value as an object.
pub(crate) fn object<'js>(ctx: &Ctx<'js>, kept: &Kept) -> JsResult<Object<'js>> {
    kept.get(ctx).and_then(into_object).ok_or(Error::Unknown)
}

/// A kept value as a function.
pub(crate) fn function<'js>(ctx: &Ctx<'js>, kept: &Kept) -> JsResult<Function<'js>> {
    kept.function(ctx).ok_or(Error::Unknown)
}

/// Where the hooks arrive once the runtime module has run.
pub(crate) type HooksSlot = Rc<RefCell<Option<Hooks>>>;

/// Puts the native functions where the runtime module looks for them.
pub(crate) fn install(
    ctx: &Ctx<'_>,
    variables: &BTreeMap<String, String>,
    build_id: &str,
    slot: &HooksSlot,
) -> JsResult<()> {
    fetch::warm_up(ctx)?;
    fetch::set_limits(ctx, |scope| {
        scope.attachment::<Facts>().map_or_else(Limits::default, |facts| facts.limits)
    });
    let native = Object::new(ctx.clone())?;
    let slot = slot.clone();
    let ready = receiver(move |ctx, given| {
        let hooks = Hooks::of(ctx, &given)?;
        *slot.borrow_mut() = Some(hooks);
        Ok(())
    });
    native.set("ready", Function::new(ctx.clone(), ready)?)?;
    native.set("variables", serde_json::to_string(variables).map_err(|_| Error::Unknown)?)?;
    native.set("buildId", build_id)?;
    native.set("params", Func::from(params))?;
    native.set("query", Func::from(query))?;
    native.set("originalUrl", Func::from(original_url))?;
    native.set("identityChanged", Func::from(identity_changed))?;
    native.set("identity", Func::from(identity))?;
    native.set("setIdentity", Func::from(set_identity))?;
    native.set("requestId", Func::from(request_id))?;
    native.set("httpProtocol", Func::from(http_protocol))?;
    set_native::<ContextOf>(ctx, &native)?;
    set_native::<AddHook>(ctx, &native)?;
    set_native::<AddFinalHook>(ctx, &native)?;
    native.set("tie", Func::from(tie))?;
    native.set("takeHooks", Func::from(take_hooks))?;
    native.set("log", Func::from(log))?;
    native.set("background", Func::from(background))?;
    native.set("route", Func::from(route))?;
    let key: Function<'_> = ctx.eval("Symbol.for")?;
    let key: Symbol<'_> = key.call((BINDING,))?;
    ctx.globals().set(key, native)
}

/// Gives the closure its lifetimes.
fn receiver(
    receive: impl for<'js> Fn(&Ctx<'js>, Object<'js>) -> JsResult<()> + 'static,
) -> impl for<'js> Fn(Ctx<'js>, Object<'js>) -> JsResult<()> + 'static {
    move |ctx, given| receive(&ctx, given)
}

/// What a call's scope says beside its CPU time.
pub(crate) struct Facts {
    pub(crate) limits: Limits,
    /// The turn's wall time.
    pub(crate) wall: Duration,
    /// The index of the turn's step on the exchange.
    pub(crate) step: usize,
}

fn params<'js>(ctx: Ctx<'js>, link: Class<'js, Link>) -> JsResult<Object<'js>> {
    let params = Object::new(ctx)?;
    for (name, value) in link.borrow().exchange.params().iter() {
        params.set(&**name, value.as_str())?;
    }
    Ok(params)
}

fn query<'js>(ctx: Ctx<'js>, url: String) -> JsResult<Object<'js>> {
    let query = Object::new(ctx)?;
    let url = url.split('#').next().unwrap_or("");
    if let Some((_, text)) = url.split_once('?') {
        for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
            query.set(&*name, &*value)?;
        }
    }
    Ok(query)
}

fn original_url(link: Class<'_, Link>) -> String {
    link.borrow().exchange.target().to_string()
}

fn request_id(link: Class<'_, Link>) -> String {
    link.borrow().exchange.id().as_str().to_owned()
}

fn http_protocol(link: Class<'_, Link>) -> &'static str {
    link.borrow().exchange.version().as_str()
}

fn route<'js>(ctx: Ctx<'js>, link: Class<'js, Link>) -> JsResult<Value<'js>> {
    let link = link.borrow();
    match link.exchange.route() {
        Some(route) => link.routes.object(&ctx, &route),
        None => Ok(Value::new_undefined(ctx)),
    }
}

fn identity_changed(link: Class<'_, Link>) -> bool {
    let link = link.borrow();
    link.session.identity_changed(&link.exchange)
}

/// The identity as JSON of `{sub, data}`.
fn identity(link: Class<'_, Link>) -> Option<String> {
    let identity = link.borrow().exchange.identity()?;
    Some(serde_json::json!({ "sub": identity.subject, "data": identity.data }).to_string())
}

/// Sets the identity; `data` is JSON. Without a subject, nobody is known.
fn set_identity(link: Class<'_, Link>, subject: Option<String>, data: Option<String>) {
    let link = link.borrow();
    let identity = subject.map(|subject| Identity {
        subject,
        data: data.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default(),
    });
    link.exchange.set_identity(identity);
    // What was assigned is what is read back, not its copy.
    link.session.identity_changed(&link.exchange);
}

/// The context that a request is tied to; `undefined` for any other value.
struct ContextOf;

impl NativeFunction for ContextOf {
    const NAME: &'static CStr = c"context";
    const LENGTH: u8 = 1;

    fn call<'js>(call: NativeCall<'_, 'js>) -> JsResult<NativeValue<'js>> {
        let owner = fetch::owner(&call.value(0));
        Ok(owner.map_or(NativeValue::UNDEFINED, |owner| NativeValue::of(&owner)))
    }
}

/// Ties a request to a context.
fn tie<'js>(request: Value<'js>, context: Value<'js>) {
    fetch::set_owner(&request, context);
}

/// The context's method that leaves a hook for the response.
struct AddHook;

/// The one for hooks that come after all others.
struct AddFinalHook;

impl NativeFunction for AddHook {
    const NAME: &'static CStr = c"addResponseSendingHook";
    const LENGTH: u8 = 1;

    fn call<'js>(call: NativeCall<'_, 'js>) -> JsResult<NativeValue<'js>> {
        add_hook(&call, "addResponseSendingHook", false)
    }
}

impl NativeFunction for AddFinalHook {
    const NAME: &'static CStr = c"addResponseSendingFinalHook";
    const LENGTH: u8 = 1;

    fn call<'js>(call: NativeCall<'_, 'js>) -> JsResult<NativeValue<'js>> {
        add_hook(&call, "addResponseSendingFinalHook", true)
    }
}

fn add_hook<'js>(call: &NativeCall<'_, 'js>, name: &str, last: bool) -> JsResult<NativeValue<'js>> {
    let link = call.this::<Link>()?;
    let (ctx, hook) = (call.ctx(), call.value(0));
    if !hook.is_function() {
        let message = format!("{name} needs a function, not {}", hook.type_name());
        return Err(Exception::throw_type(ctx, &message));
    }
    if !link.borrow().session.add_hook(VmHandle::of(ctx).keep(ctx, hook), last) {
        let message = format!("more than {MAX_HOOKS} hooks on one request");
        return Err(Exception::throw_range(ctx, &message));
    }
    Ok(NativeValue::UNDEFINED)
}

/// Takes the hooks that policies left on an exchange; `undefined` when there are none.
fn take_hooks<'js>(ctx: Ctx<'js>, link: Class<'js, Link>, last: bool) -> JsResult<Value<'js>> {
    let taken = link.borrow().session.take_hooks(last);
    if taken.is_empty() {
        return Ok(Value::new_undefined(ctx));
    }
    let hooks = Array::new(ctx.clone())?;
    for (index, hook) in taken.iter().enumerate() {
        hooks.set(index, hook.get(&ctx))?;
    }
    Ok(hooks.into_value())
}

/// Writes a log line about the current exchange and policy; `fields` is JSON of an object.
fn log(ctx: Ctx<'_>, level: u8, message: String, fields: Option<String>) {
    let level = match level {
        0 => LogLevel::Debug,
        1 => LogLevel::Info,
        2 => LogLevel::Warn,
        _ => LogLevel::Error,
    };
    let fields = fields.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let handle = VmHandle::of(&ctx);
    handle.log(handle.scope().as_deref(), level, message, fields);
}

/// Keeps the VM, and the current scope's operations, until the function that this gives is called, for at most
/// [`WAIT_UNTIL_LIMIT`].
fn background(ctx: Ctx<'_>) -> JsResult<Function<'_>> {
    let handle = VmHandle::of(&ctx);
    if let Some(scope) = handle.scope() {
        scope.detach();
    }
    let (done, ended) = oneshot::channel::<()>();
    if let (Some(vm), Some(services)) = (handle.vm(), handle.services()) {
        let kept = services.spawn(async move {
            let _vm = vm;
            // Either way the VM is no longer needed for this.
            let _ = tokio::time::timeout(WAIT_UNTIL_LIMIT, ended).await;
        });
        if !kept {
            return Err(Exception::throw_range(&ctx, "too many background tasks on this worker"));
        }
    }
    let done = RefCell::new(Some(done));
    Function::new(ctx, move || {
        if let Some(done) = done.borrow_mut().take() {
            let _ = done.send(());
        }
    })
}

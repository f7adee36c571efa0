//! The members that nearly every policy uses, as plain functions of the engine.
//!
//! A function made by `Function::new` costs some 250 ns a call, most of it for arguments that are cloned, converted and
//! freed one by one. What stands here reads its arguments where they are. Whatever is out of the ordinary (a name that
//! is no string or no token, a value beyond ASCII) goes the general way, through [`headers`] and [`message`], which
//! also words the errors.
#![allow(
    unsafe_code,
    reason = "the engine calls C functions with raw values; each block says why it is sound"
)]

use std::ffi::{CStr, c_char, c_int};
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

use polygate_pipeline::{check_name, check_value};
use rquickjs::class::JsClass;
use rquickjs::function::This;
use rquickjs::{Class, Ctx, Error, Exception, Object, Result, Value, qjs};

use super::headers::{self, HeadersObject};
use super::message::{self, Message};

/// Puts the functions on the script's `native` object.
pub(super) fn install<'js>(ctx: &Ctx<'js>, native: &Object<'js>) -> Result<()> {
    let all: [(&CStr, c_int, RawFunction); 7] = [
        (c"get", 1, raw_get),
        (c"has", 1, raw_has),
        (c"set", 2, raw_set),
        (c"headers", 0, raw_headers),
        (c"method", 0, raw_method),
        (c"url", 0, raw_url),
        (c"status", 0, raw_status),
    ];
    for (name, length, function) in all {
        let kind = qjs::JSCFunctionEnum_JS_CFUNC_generic;
        // SAFETY: the context is live, the name is a C string, and the function keeps to the engine's calling
        // convention; what comes back is owned by `value`.
        let value = unsafe {
            let raw =
                qjs::JS_NewCFunction2(ctx.as_raw().as_ptr(), Some(function), name.as_ptr(), length, kind, 0);
            Value::from_raw(ctx.clone(), raw)
        };
        if value.is_exception() {
            return Err(Error::Exception);
        }
        native.set(name.to_str().map_err(|_| Error::Unknown)?, value)?;
    }
    Ok(())
}

type RawFunction =
    unsafe extern "C" fn(*mut qjs::JSContext, qjs::JSValue, c_int, *mut qjs::JSValue) -> qjs::JSValue;

macro_rules! raw {
    ($($raw:ident = $function:path),+ $(,)?) => {
        $(
            unsafe extern "C" fn $raw(
                ctx: *mut qjs::JSContext,
                this: qjs::JSValue,
                argc: c_int,
                argv: *mut qjs::JSValue,
            ) -> qjs::JSValue {
                // SAFETY: the engine calls this with a live context, a live `this` and `argc` live arguments.
                unsafe { enter(ctx, this, argc, argv, |call| $function(call)) }
            }
        )+
    };
}

raw!(
    raw_get = get,
    raw_has = has,
    raw_set = set,
    raw_headers = headers_of,
    raw_method = method,
    raw_url = url,
    raw_status = status,
);

/// One call of such a function. It borrows the engine's values; nothing is counted but the context.
struct Call<'a, 'js> {
    this: &'a Value<'js>,
    args: &'a [qjs::JSValue],
}

/// A value that the engine will own.
struct Raw(qjs::JSValue);

impl Raw {
    const UNDEFINED: Self = Self(qjs::JS_UNDEFINED);
    const NULL: Self = Self(qjs::JS_NULL);

    fn bool(value: bool) -> Self {
        Self(if value { qjs::JS_TRUE } else { qjs::JS_FALSE })
    }

    /// A copy of `value`.
    fn of(value: &Value<'_>) -> Self {
        // SAFETY: the value is live, and its context with it.
        Self(unsafe { qjs::JS_DupValue(value.ctx().as_raw().as_ptr(), value.as_raw()) })
    }

    /// A string of `text`, which is ASCII.
    fn text(ctx: &Ctx<'_>, text: &[u8]) -> Self {
        // SAFETY: the context is live and the pointer is good for `len` bytes. An exception is handed on as it is.
        Self(unsafe { qjs::JS_NewStringLen(ctx.as_raw().as_ptr(), text.as_ptr().cast(), text.len() as _) })
    }
}

/// Runs `function` and turns what it gives into what the engine wants.
///
/// # Safety
/// `ctx`, `this` and the `argc` values at `argv` are live for the length of the call, as the engine's own calls have it.
#[inline]
unsafe fn enter(
    ctx: *mut qjs::JSContext,
    this: qjs::JSValue,
    argc: c_int,
    argv: *mut qjs::JSValue,
    function: impl for<'a, 'js> FnOnce(Call<'a, 'js>) -> Result<Raw>,
) -> qjs::JSValue {
    let Some(ctx) = NonNull::new(ctx) else { return qjs::JS_EXCEPTION };
    // SAFETY: the engine is inside this context, so the runtime is this thread's. `this` is borrowed: the wrapper is
    // never dropped, only its hold on the context is.
    let this = unsafe { ManuallyDrop::new(Value::from_raw(Ctx::from_raw(ctx), this)) };
    let args: &[qjs::JSValue] = match usize::try_from(argc) {
        // SAFETY: the engine gives `argc` values, in order.
        Ok(argc) if !argv.is_null() => unsafe { std::slice::from_raw_parts(argv, argc) },
        _ => &[],
    };
    // A panic must not cross the engine's frames.
    let result = catch_unwind(AssertUnwindSafe(|| function(Call { this: &this, args })));
    let value = match result {
        Ok(Ok(Raw(value))) => value,
        Ok(Err(Error::Exception)) => qjs::JS_EXCEPTION,
        Ok(Err(error)) => {
            Exception::throw_type(this.ctx(), &error.to_string());
            qjs::JS_EXCEPTION
        }
        Err(_) => {
            Exception::throw_internal(this.ctx(), "a native function failed");
            qjs::JS_EXCEPTION
        }
    };
    // SAFETY: gives back the count that `Ctx::from_raw` took; `this` is not used any more.
    unsafe { qjs::JS_FreeContext(ctx.as_ptr()) };
    value
}

/// A string argument's bytes, as the engine has them.
struct Text<'a, 'js> {
    ctx: &'a Ctx<'js>,
    at: NonNull<c_char>,
    len: usize,
}

impl Text<'_, '_> {
    fn bytes(&self) -> &[u8] {
        // SAFETY: the engine keeps `len` bytes at this address until they are given back.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr().cast(), self.len) }
    }

    /// The text, if it is a header's name.
    fn name(&self) -> Option<&str> {
        check_name(self.bytes()).ok()?;
        std::str::from_utf8(self.bytes()).ok()
    }
}

impl Drop for Text<'_, '_> {
    fn drop(&mut self) {
        // SAFETY: the pointer is what `JS_ToCStringLen2` gave, and given back once.
        unsafe { qjs::JS_FreeCString(self.ctx.as_raw().as_ptr(), self.at.as_ptr()) };
    }
}

impl<'a, 'js> Call<'a, 'js> {
    fn ctx(&self) -> &'a Ctx<'js> {
        self.this.ctx()
    }

    /// `this` as an object of a native class.
    fn this<C: JsClass<'js>>(&self) -> Result<&'a Class<'js, C>> {
        match self.this.as_object().and_then(Object::as_class) {
            Some(class) => Ok(class),
            None => Err(Exception::throw_type(self.ctx(), &format!("Illegal invocation: not a {}", C::NAME))),
        }
    }

    /// Refuses a call with fewer arguments.
    fn needs(&self, count: usize) -> Result<()> {
        if self.args.len() < count {
            return Err(Error::MissingArgs { expected: count, given: self.args.len() });
        }
        Ok(())
    }

    /// An argument that is a string.
    fn text(&self, index: usize) -> Result<Option<Text<'a, 'js>>> {
        let Some(&value) = self.args.get(index) else { return Ok(None) };
        let ctx = self.ctx();
        let mut len = 0;
        // SAFETY: the argument is live; the pointer is null, with an exception thrown, or good for `len` bytes.
        let at = unsafe {
            if !qjs::JS_IsString(value) {
                return Ok(None);
            }
            qjs::JS_ToCStringLen2(ctx.as_raw().as_ptr(), &raw mut len, value, false)
        };
        let at = NonNull::new(at.cast_mut()).ok_or(Error::Exception)?;
        Ok(Some(Text { ctx, at, len: len as usize }))
    }

    /// An argument for a function that takes it over.
    fn value(&self, index: usize) -> Value<'js> {
        let ctx = self.ctx();
        match self.args.get(index) {
            // SAFETY: the argument is live and the copy is owned by what is returned.
            Some(&value) => unsafe {
                Value::from_raw(ctx.clone(), qjs::JS_DupValue(ctx.as_raw().as_ptr(), value))
            },
            None => Value::new_undefined(ctx.clone()),
        }
    }
}

fn get(call: Call<'_, '_>) -> Result<Raw> {
    let this = call.this::<HeadersObject>()?;
    call.needs(1)?;
    if let Some(text) = call.text(0)?
        && let Some(name) = text.name()
    {
        let this = this.borrow();
        let fields = this.list.fields.borrow();
        let mut all = fields.get_all(name);
        match (all.next(), all.next()) {
            (None, _) => return Ok(Raw::NULL),
            (Some(value), None) if value.is_ascii() => return Ok(Raw::text(call.ctx(), value)),
            _ => {}
        }
    }
    headers::get(call.ctx().clone(), This(this.clone()), call.value(0)).map(|value| Raw::of(&value))
}

fn has(call: Call<'_, '_>) -> Result<Raw> {
    let this = call.this::<HeadersObject>()?;
    call.needs(1)?;
    if let Some(text) = call.text(0)?
        && let Some(name) = text.name()
    {
        return Ok(Raw::bool(this.borrow().list.fields.borrow().contains(name)));
    }
    headers::has(call.ctx().clone(), This(this.clone()), call.value(0)).map(Raw::bool)
}

fn set(call: Call<'_, '_>) -> Result<Raw> {
    let this = call.this::<HeadersObject>()?;
    call.needs(2)?;
    if let (Some(name), Some(value)) = (call.text(0)?, call.text(1)?)
        && let Some(name) = name.name()
    {
        let value = headers::trim(value.bytes());
        if value.is_ascii() && check_value(value).is_ok() {
            let this = this.borrow();
            // Name and value were checked: there is no error left to give.
            let _ = this.list.edit_field(call.ctx(), value.len())?.set(name, value);
            return Ok(Raw::UNDEFINED);
        }
    }
    headers::set(call.ctx().clone(), This(this.clone()), call.value(0), call.value(1))
        .map(|()| Raw::UNDEFINED)
}

fn headers_of<'js>(call: Call<'_, 'js>) -> Result<Raw> {
    let this = call.this::<Message<'js>>()?;
    if let Some(made) = &*this.borrow().made_headers() {
        return Ok(Raw::of(made));
    }
    message::headers(call.ctx().clone(), This(this.clone())).map(|value| Raw::of(&value))
}

fn method<'js>(call: Call<'_, 'js>) -> Result<Raw> {
    let this = call.this::<Message<'js>>()?.borrow();
    Ok(Raw::text(call.ctx(), this.request(call.ctx())?.method().as_bytes()))
}

fn url<'js>(call: Call<'_, 'js>) -> Result<Raw> {
    let this = call.this::<Message<'js>>()?;
    message::url(call.ctx().clone(), This(this.clone())).map(|value| Raw::of(&value))
}

fn status<'js>(call: Call<'_, 'js>) -> Result<Raw> {
    let this = call.this::<Message<'js>>()?.borrow();
    let status = this.response(call.ctx())?.status;
    Ok(Raw(qjs::JS_MKVAL(qjs::JS_TAG_INT, i32::from(status))))
}

//! Native functions in the engine's own calling convention, for what nearly every call uses.
//!
//! A function made by `Function::new` costs some 250 ns a call, most of it for arguments that are cloned, converted and
//! freed one by one. A [`NativeFunction`] reads its arguments where they are. What is out of the ordinary (an argument
//! of another type, a text beyond ASCII) is for a general function that it falls back on, which also words the errors.
#![allow(
    unsafe_code,
    reason = "the engine calls C functions with raw values; each block says why it is sound"
)]

use std::ffi::{CStr, c_char, c_int};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

use rquickjs::class::JsClass;
use rquickjs::{Class, Ctx, Error, Exception, Object, Result, Value, qjs};

use crate::cast::as_object;

/// A native function without state. Its type stands for it: the engine is given a C function made for that type.
pub trait NativeFunction {
    /// Its name in JavaScript.
    const NAME: &'static CStr;
    /// Its `length`: arguments it expects.
    const LENGTH: u8;

    /// One call.
    ///
    /// # Errors
    /// Thrown in JavaScript: a pending exception as it is, anything else as a `TypeError`.
    fn call<'js>(call: NativeCall<'_, 'js>) -> Result<NativeValue<'js>>;
}

/// Sets a native function on `object`, under its name.
///
/// # Errors
/// The VM is out of memory.
pub fn set_native<'js, F: NativeFunction>(ctx: &Ctx<'js>, object: &Object<'js>) -> Result<()> {
    let kind = qjs::JSCFunctionEnum_JS_CFUNC_generic;
    let (name, length) = (F::NAME, c_int::from(F::LENGTH));
    // SAFETY: the context is live, the name is a C string, and `raw` keeps to the engine's calling convention; what
    // comes back is owned by `value`.
    let value = unsafe {
        let function =
            qjs::JS_NewCFunction2(ctx.as_raw().as_ptr(), Some(raw::<F>), name.as_ptr(), length, kind, 0);
        Value::from_raw(ctx.clone(), function)
    };
    if value.is_exception() {
        return Err(Error::Exception);
    }
    object.set(name.to_str().map_err(|_| Error::Unknown)?, value)
}

/// Whether jobs wait to be run: cheaper than to try to run one.
pub(crate) fn has_jobs(ctx: &Ctx<'_>) -> bool {
    // SAFETY: the context is live, and its runtime with it; nothing runs.
    unsafe { qjs::JS_IsJobPending(qjs::JS_GetRuntime(ctx.as_raw().as_ptr())) }
}

unsafe extern "C" fn raw<F: NativeFunction>(
    ctx: *mut qjs::JSContext,
    this: qjs::JSValue,
    argc: c_int,
    argv: *mut qjs::JSValue,
) -> qjs::JSValue {
    // SAFETY: the engine calls this with a live context, a live `this` and `argc` live arguments.
    unsafe { enter(ctx, this, argc, argv, |call| F::call(call)) }
}

/// One call of a native function. It borrows the engine's values; nothing is counted but the context.
pub struct NativeCall<'a, 'js> {
    this: &'a Value<'js>,
    args: &'a [qjs::JSValue],
}

/// A value that the engine will own.
pub struct NativeValue<'js>(qjs::JSValue, PhantomData<Value<'js>>);

impl<'js> NativeValue<'js> {
    const fn new(value: qjs::JSValue) -> Self {
        Self(value, PhantomData)
    }

    /// `undefined`.
    pub const UNDEFINED: Self = Self::new(qjs::JS_UNDEFINED);
    /// `null`.
    pub const NULL: Self = Self::new(qjs::JS_NULL);

    /// A boolean.
    pub fn bool(value: bool) -> Self {
        Self::new(if value { qjs::JS_TRUE } else { qjs::JS_FALSE })
    }

    /// A number.
    pub fn int(value: i32) -> Self {
        Self::new(qjs::JS_MKVAL(qjs::JS_TAG_INT, value))
    }

    /// A copy of `value`.
    pub fn of(value: &Value<'js>) -> Self {
        // SAFETY: the value is live, and its context with it.
        Self::new(unsafe { qjs::JS_DupValue(value.ctx().as_raw().as_ptr(), value.as_raw()) })
    }

    /// A string of `text`, which is UTF-8.
    pub fn text(ctx: &Ctx<'js>, text: &[u8]) -> Self {
        // SAFETY: the context is live and the pointer is good for `len` bytes. An exception is handed on as it is.
        Self::new(unsafe {
            qjs::JS_NewStringLen(ctx.as_raw().as_ptr(), text.as_ptr().cast(), text.len() as _)
        })
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
    function: impl for<'a, 'js> FnOnce(NativeCall<'a, 'js>) -> Result<NativeValue<'js>>,
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
    let result = catch_unwind(AssertUnwindSafe(|| function(NativeCall { this: &this, args })));
    let value = match result {
        Ok(Ok(NativeValue(value, _))) => value,
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
pub struct NativeText<'a, 'js> {
    ctx: &'a Ctx<'js>,
    at: NonNull<c_char>,
    len: usize,
}

impl NativeText<'_, '_> {
    /// The text as UTF-8; lone surrogates as WTF-8.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the engine keeps `len` bytes at this address until they are given back.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr().cast(), self.len) }
    }

    /// The text, if it is ASCII.
    pub fn ascii(&self) -> Option<&str> {
        let bytes = self.bytes();
        // SAFETY: ASCII is UTF-8.
        bytes.is_ascii().then(|| unsafe { std::str::from_utf8_unchecked(bytes) })
    }
}

impl Drop for NativeText<'_, '_> {
    fn drop(&mut self) {
        // SAFETY: the pointer is what `JS_ToCStringLen2` gave, and given back once.
        unsafe { qjs::JS_FreeCString(self.ctx.as_raw().as_ptr(), self.at.as_ptr()) };
    }
}

impl<'a, 'js> NativeCall<'a, 'js> {
    /// The context of the call.
    pub fn ctx(&self) -> &'a Ctx<'js> {
        self.this.ctx()
    }

    /// `this` as an object of a native class.
    pub fn this<C: JsClass<'js>>(&self) -> Result<&'a Class<'js, C>> {
        match as_object(self.this).and_then(Object::as_class) {
            Some(class) => Ok(class),
            None => Err(Exception::throw_type(self.ctx(), &format!("Illegal invocation: not a {}", C::NAME))),
        }
    }

    /// Refuses a call with fewer arguments.
    pub fn needs(&self, count: usize) -> Result<()> {
        if self.args.len() < count {
            return Err(Error::MissingArgs { expected: count, given: self.args.len() });
        }
        Ok(())
    }

    /// An argument that is a string.
    pub fn text(&self, index: usize) -> Result<Option<NativeText<'a, 'js>>> {
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
        Ok(Some(NativeText { ctx, at, len: len as usize }))
    }

    /// An argument for a function that takes it over.
    pub fn value(&self, index: usize) -> Value<'js> {
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

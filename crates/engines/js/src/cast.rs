//! Values as objects and functions, by their tag alone.
//!
//! The engine's own conversions (`Value::as_object`) first find out what kind of object it is, by five calls into C.
#![allow(unsafe_code, reason = "wrappers of a value are reinterpreted; each block says why it is sound")]

use rquickjs::{Function, Object, Value, qjs};

const _: () = assert!(
    size_of::<Value<'static>>() == size_of::<Object<'static>>()
        && size_of::<Value<'static>>() == size_of::<Function<'static>>()
);

/// The value, if it is an object of any kind.
pub fn as_object<'a, 'js>(value: &'a Value<'js>) -> Option<&'a Object<'js>> {
    // SAFETY: `Object` is a transparent wrapper of `Value`, for values whose tag says that they are objects.
    value.is_object().then(|| unsafe { &*std::ptr::from_ref(value).cast::<Object<'js>>() })
}

/// The value, if it is an object of any kind.
pub fn into_object(value: Value<'_>) -> Option<Object<'_>> {
    // SAFETY: as in `as_object`.
    value.is_object().then(|| unsafe { std::mem::transmute::<Value<'_>, Object<'_>>(value) })
}

/// The value, if it is a function.
pub(crate) fn into_function(value: Value<'_>) -> Option<Function<'_>> {
    // SAFETY: the context is live. `Function` is a transparent wrapper of `Object`.
    unsafe {
        let is_function = qjs::JS_IsFunction(value.ctx().as_raw().as_ptr(), value.as_raw());
        is_function.then(|| std::mem::transmute::<Value<'_>, Function<'_>>(value))
    }
}

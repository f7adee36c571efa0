//! Bytes and strings across the engine's border: the one place of the web layer that reads the engine's memory.
//!
//! Everything handed to JavaScript is copied into memory of the engine's own allocator, so that it counts towards the
//! VM's memory limit.
#![allow(
    unsafe_code,
    reason = "rquickjs lends buffer memory only through raw pointers; each block says why it is sound"
)]

use rquickjs::{
    ArrayBuffer, Ctx, Error, Exception, FromJs, IntoJs, Result, String as JsString, TypedArray, Value,
};

/// A Uint8Array argument. Prelude scripts turn every other kind of buffer into one first (`internal.toBytes`).
pub(crate) struct View<'js>(TypedArray<'js, u8>);

impl<'js> View<'js> {
    /// Calls `read` with the bytes. `read` must not run JavaScript.
    ///
    /// # Errors
    /// A `TypeError` when the buffer is detached or the view is out of its bounds.
    pub(crate) fn with<R>(&self, read: impl FnOnce(&[u8]) -> R) -> Result<R> {
        if self.0.is_empty() {
            return Ok(read(&[]));
        }
        let Some(raw) = self.0.as_raw() else {
            return Err(Exception::throw_type(self.0.as_value().ctx(), "The buffer is detached"));
        };
        // SAFETY: the pointer and length are of the live, attached buffer that `self` keeps alive; `read` has no
        // access to the context, so no JavaScript can detach, resize or write it meanwhile.
        Ok(read(unsafe { raw.as_ref() }))
    }

    /// A copy of the bytes.
    ///
    /// # Errors
    /// As [`View::with`].
    pub(crate) fn to_vec(&self) -> Result<Vec<u8>> {
        self.with(<[u8]>::to_vec)
    }
}

impl<'js> FromJs<'js> for View<'js> {
    fn from_js(_: &Ctx<'js>, value: Value<'js>) -> Result<Self> {
        TypedArray::from_value(value).map(View)
    }
}

/// A string argument as WebIDL's USVString: lone surrogates become U+FFFD.
pub(crate) struct Usv(pub(crate) String);

impl<'js> FromJs<'js> for Usv {
    fn from_js(_: &Ctx<'js>, value: Value<'js>) -> Result<Self> {
        let kind = value.type_name();
        let string = value.into_string().ok_or_else(|| Error::new_from_js(kind, "string"))?;
        with_wtf8(string, |bytes| Usv(lossy(bytes)))
    }
}

impl<'js> IntoJs<'js> for Usv {
    fn into_js(self, ctx: &Ctx<'js>) -> Result<Value<'js>> {
        self.0.into_js(ctx)
    }
}

/// Calls `read` with the string in WTF-8: UTF-8, but with lone surrogates as three bytes each.
pub(crate) fn with_wtf8<R>(string: JsString<'_>, read: impl FnOnce(&[u8]) -> R) -> Result<R> {
    let text = string.to_cstring()?;
    // SAFETY: the engine owns `len` readable bytes at this address for as long as `text` lives. They are read as
    // bytes, since they are not UTF-8 when the string has lone surrogates.
    let bytes = unsafe { std::slice::from_raw_parts(text.as_ptr().cast::<u8>(), text.len()) };
    Ok(read(bytes))
}

/// UTF-8 of WTF-8: each lone surrogate (three bytes) is replaced by U+FFFD (three bytes).
pub(crate) fn lossy(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => String::from_utf8_lossy(&replace_surrogates(bytes)).into_owned(),
    }
}

/// As [`lossy`], for a caller that wants bytes.
pub(crate) fn replace_surrogates(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let mut at = 0;
    while let Some(found) =
        out.get(at..).and_then(|rest| rest.windows(2).position(|w| w[0] == 0xED && w[1] >= 0xA0))
    {
        let start = at + found;
        let end = (start + 3).min(out.len());
        for (slot, byte) in out[start..end].iter_mut().zip([0xEF, 0xBF, 0xBD]) {
            *slot = byte;
        }
        at = end;
    }
    out
}

/// A new `Uint8Array` with a copy of `bytes`.
pub(crate) fn uint8_array<'js>(ctx: &Ctx<'js>, bytes: &[u8]) -> Result<Value<'js>> {
    Ok(TypedArray::<u8>::new_copy(ctx.clone(), bytes)?.into_value())
}

/// A new `ArrayBuffer` with a copy of `bytes`.
pub(crate) fn array_buffer<'js>(ctx: &Ctx<'js>, bytes: &[u8]) -> Result<Value<'js>> {
    Ok(ArrayBuffer::new_copy(ctx.clone(), bytes)?.into_value())
}

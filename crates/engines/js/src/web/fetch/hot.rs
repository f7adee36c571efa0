//! The members of messages and headers that nearly every policy uses, as [`NativeFunction`]s. Whatever is out of the
//! ordinary goes the general way, through [`headers`] and [`message`].

use polygate_pipeline::{check_name, check_value};
use rquickjs::function::This;
use rquickjs::{Ctx, Object, Result};

use super::headers::{self, HeadersObject};
use super::message::{self, Message};
use crate::native::{NativeCall, NativeFunction, NativeText, NativeValue, set_native};

macro_rules! natives {
    ($($type:ident = $name:literal, $length:literal, $function:path;)+) => {
        $(
            struct $type;

            impl NativeFunction for $type {
                const NAME: &'static std::ffi::CStr = $name;
                const LENGTH: u8 = $length;

                fn call<'js>(call: NativeCall<'_, 'js>) -> Result<NativeValue<'js>> {
                    $function(call)
                }
            }
        )+

        /// Puts the functions on the script's `native` object.
        pub(super) fn install<'js>(ctx: &Ctx<'js>, native: &Object<'js>) -> Result<()> {
            $(set_native::<$type>(ctx, native)?;)+
            Ok(())
        }
    };
}

natives! {
    Get = c"get", 1, get;
    Has = c"has", 1, has;
    Set = c"set", 2, set;
    HeadersOf = c"headers", 0, headers_of;
    MethodOf = c"method", 0, method;
    UrlOf = c"url", 0, url;
    StatusOf = c"status", 0, status;
}

/// The text, if it is a header's name.
fn name_of<'a>(text: &'a NativeText<'_, '_>) -> Option<&'a str> {
    text.ascii().filter(|name| check_name(name.as_bytes()).is_ok())
}

fn get<'js>(call: NativeCall<'_, 'js>) -> Result<NativeValue<'js>> {
    let this = call.this::<HeadersObject>()?;
    call.needs(1)?;
    if let Some(text) = call.text(0)?
        && let Some(name) = name_of(&text)
    {
        let this = this.borrow();
        let fields = this.list.fields.borrow();
        let mut all = fields.get_all(name);
        match (all.next(), all.next()) {
            (None, _) => return Ok(NativeValue::NULL),
            (Some(value), None) if value.is_ascii() => return Ok(NativeValue::text(call.ctx(), value)),
            _ => {}
        }
    }
    headers::get(call.ctx().clone(), This(this.clone()), call.value(0)).map(|value| NativeValue::of(&value))
}

fn has<'js>(call: NativeCall<'_, 'js>) -> Result<NativeValue<'js>> {
    let this = call.this::<HeadersObject>()?;
    call.needs(1)?;
    if let Some(text) = call.text(0)?
        && let Some(name) = name_of(&text)
    {
        return Ok(NativeValue::bool(this.borrow().list.fields.borrow().contains(name)));
    }
    headers::has(call.ctx().clone(), This(this.clone()), call.value(0)).map(NativeValue::bool)
}

fn set<'js>(call: NativeCall<'_, 'js>) -> Result<NativeValue<'js>> {
    let this = call.this::<HeadersObject>()?;
    call.needs(2)?;
    if let (Some(name), Some(value)) = (call.text(0)?, call.text(1)?)
        && let Some(name) = name_of(&name)
    {
        let value = headers::trim(value.bytes());
        if value.is_ascii() && check_value(value).is_ok() {
            let this = this.borrow();
            // Name and value were checked: there is no error left to give.
            let _ = this.list.edit_field(call.ctx(), value.len())?.set(name, value);
            return Ok(NativeValue::UNDEFINED);
        }
    }
    headers::set(call.ctx().clone(), This(this.clone()), call.value(0), call.value(1))
        .map(|()| NativeValue::UNDEFINED)
}

fn headers_of<'js>(call: NativeCall<'_, 'js>) -> Result<NativeValue<'js>> {
    let this = call.this::<Message<'js>>()?.borrow();
    Ok(NativeValue::of(&*this.headers(call.ctx())?))
}

fn method<'js>(call: NativeCall<'_, 'js>) -> Result<NativeValue<'js>> {
    let this = call.this::<Message<'js>>()?.borrow();
    Ok(NativeValue::text(call.ctx(), this.request(call.ctx())?.method().as_bytes()))
}

fn url<'js>(call: NativeCall<'_, 'js>) -> Result<NativeValue<'js>> {
    let this = call.this::<Message<'js>>()?;
    message::url(call.ctx().clone(), This(this.clone())).map(|value| NativeValue::of(&value))
}

fn status<'js>(call: NativeCall<'_, 'js>) -> Result<NativeValue<'js>> {
    let this = call.this::<Message<'js>>()?.borrow();
    let status = this.response(call.ctx())?.status;
    Ok(NativeValue::int(i32::from(status)))
}

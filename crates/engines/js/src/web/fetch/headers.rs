//! `Headers`: a native class over the pipeline's header list, shared with the message it belongs to.

use std::borrow::Cow;
use std::cell::{Cell, RefCell, RefMut};
use std::rc::Rc;

use polygate_pipeline::{Headers, check_name, check_value};
use rquickjs::class::{JsClass, Readable, Trace, Tracer};
use rquickjs::function::{Constructor, This};
use rquickjs::{
    Array, Class, Coerced, Ctx, Exception, FromJs, JsLifetime, Object, Result, String as JsString, Value,
};

use crate::web::bytes::with_wtf8;

/// Most fields of one list that JavaScript may make.
const MAX_FIELDS: usize = 2_000;
/// Most bytes of names and values of one list that JavaScript may make.
const MAX_BYTES: usize = 1 << 20;

/// A header list that a message and its `Headers` object share.
pub(crate) struct List {
    pub(super) fields: RefCell<Headers>,
    immutable: Cell<bool>,
    /// Counts edits, so that iterators see them.
    version: Cell<u32>,
}

impl List {
    pub(super) fn new(fields: Headers) -> Rc<Self> {
        Rc::new(Self { fields: RefCell::new(fields), immutable: Cell::new(false), version: Cell::new(0) })
    }

    pub(super) fn freeze(&self) {
        self.immutable.set(true);
    }

    /// Puts other fields in the place of these, immutable or not.
    pub(super) fn replace(&self, fields: Headers) {
        self.version.set(self.version.get().wrapping_add(1));
        *self.fields.borrow_mut() = fields;
    }

    fn edit(&self, ctx: &Ctx<'_>) -> Result<()> {
        if self.immutable.get() {
            return Err(Exception::throw_type(ctx, "These headers are immutable"));
        }
        self.version.set(self.version.get().wrapping_add(1));
        Ok(())
    }

    /// The fields, to add one with a value of `more` bytes.
    pub(super) fn edit_field(&self, ctx: &Ctx<'_>, more: usize) -> Result<RefMut<'_, Headers>> {
        self.edit(ctx)?;
        let fields = self.fields.borrow_mut();
        if fields.len() >= MAX_FIELDS || fields.bytes() + more > MAX_BYTES {
            return Err(Exception::throw_range(ctx, "The headers are too large"));
        }
        Ok(fields)
    }
}

/// The object.
#[derive(JsLifetime)]
pub(crate) struct HeadersObject {
    pub(super) list: Rc<List>,
}

impl<'js> Trace<'js> for HeadersObject {
    fn trace<'a>(&self, _: Tracer<'a, 'js>) {}
}

impl<'js> JsClass<'js> for HeadersObject {
    const NAME: &'static str = "Headers";
    type Mutable = Readable;

    fn constructor(_: &Ctx<'js>) -> Result<Option<Constructor<'js>>> {
        Ok(None)
    }
}

pub(super) type HeadersClass<'js> = Class<'js, HeadersObject>;
type Me<'js> = This<HeadersClass<'js>>;

/// A new, empty object.
pub(super) fn create<'js>(prototype: Object<'js>) -> Result<HeadersClass<'js>> {
    of_list(List::new(Headers::new()), prototype)
}

pub(super) fn of_list<'js>(list: Rc<List>, prototype: Object<'js>) -> Result<HeadersClass<'js>> {
    Class::instance_proto(HeadersObject { list }, prototype)
}

/// Calls `f` with a byte string (WebIDL `ByteString`) argument as bytes.
pub(super) fn with_bytes<'js, R>(
    ctx: &Ctx<'js>,
    value: Value<'js>,
    what: &str,
    f: impl FnOnce(&[u8]) -> Result<R>,
) -> Result<R> {
    let string = match value.try_into_string() {
        Ok(string) => string,
        Err(value) => Coerced::<JsString<'js>>::from_js(ctx, value)?.0,
    };
    with_wtf8(string, |text| match latin1(text) {
        Some(bytes) => f(&bytes),
        None => Err(Exception::throw_type(ctx, &format!("{what} holds a character above U+00FF"))),
    })?
}

/// WTF-8 as Latin-1; `None` when a character does not fit.
fn latin1(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    if text.is_ascii() {
        return Some(Cow::Borrowed(text));
    }
    let text = std::str::from_utf8(text).ok()?;
    text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect::<Option<Vec<u8>>>().map(Cow::Owned)
}

/// A value as a JavaScript string, one character a byte.
pub(super) fn text<'js>(ctx: &Ctx<'js>, bytes: &[u8]) -> Result<JsString<'js>> {
    match std::str::from_utf8(bytes) {
        Ok(text) if bytes.is_ascii() => JsString::from_str(ctx.clone(), text),
        _ => JsString::from_str(ctx.clone(), &bytes.iter().map(|&b| char::from(b)).collect::<String>()),
    }
}

fn with_name<'js, R>(ctx: &Ctx<'js>, name: Value<'js>, f: impl FnOnce(&str) -> Result<R>) -> Result<R> {
    with_bytes(ctx, name, "A header's name", |bytes| match (check_name(bytes), std::str::from_utf8(bytes)) {
        (Ok(()), Ok(name)) => f(name),
        _ => Err(Exception::throw_type(
            ctx,
            &format!("Invalid header name: {:?}", String::from_utf8_lossy(bytes)),
        )),
    })
}

fn with_field<'js>(
    ctx: &Ctx<'js>,
    list: &List,
    name: Value<'js>,
    value: Value<'js>,
    f: impl FnOnce(&mut Headers, &str, &[u8]),
) -> Result<()> {
    // Converted first: a `toString` may do anything, also to this list.
    let name = match name.try_into_string() {
        Ok(name) => name,
        Err(name) => Coerced::<JsString<'js>>::from_js(ctx, name)?.0,
    };
    let value = match value.try_into_string() {
        Ok(value) => value,
        Err(value) => Coerced::<JsString<'js>>::from_js(ctx, value)?.0,
    };
    with_name(ctx, name.into_value(), |name| {
        with_bytes(ctx, value.into_value(), "A header's value", |bytes| {
            let value = trim(bytes);
            if check_value(value).is_err() {
                return Err(Exception::throw_type(ctx, &format!("Invalid value for the header {name:?}")));
            }
            f(&mut *list.edit_field(ctx, value.len())?, name, value);
            Ok(())
        })
    })
}

/// Without HTTP whitespace at both ends ("normalize a byte sequence").
pub(super) fn trim(mut value: &[u8]) -> &[u8] {
    const SPACE: &[u8] = b"\t\n\r ";
    while let [first, rest @ ..] = value
        && SPACE.contains(first)
    {
        value = rest;
    }
    while let [rest @ .., last] = value
        && SPACE.contains(last)
    {
        value = rest;
    }
    value
}

pub(super) fn get<'js>(ctx: Ctx<'js>, this: Me<'js>, name: Value<'js>) -> Result<Value<'js>> {
    with_name(&ctx, name, |name| {
        let this = this.borrow();
        let fields = this.list.fields.borrow();
        let mut all = fields.get_all(name);
        let Some(first) = all.next() else { return Ok(Value::new_null(ctx.clone())) };
        let Some(second) = all.next() else { return Ok(text(&ctx, first)?.into_value()) };
        let mut joined = first.to_vec();
        for value in std::iter::once(second).chain(all) {
            joined.extend_from_slice(b", ");
            joined.extend_from_slice(value);
        }
        Ok(text(&ctx, &joined)?.into_value())
    })
}

pub(super) fn has<'js>(ctx: Ctx<'js>, this: Me<'js>, name: Value<'js>) -> Result<bool> {
    with_name(&ctx, name, |name| Ok(this.borrow().list.fields.borrow().contains(name)))
}

pub(super) fn set<'js>(ctx: Ctx<'js>, this: Me<'js>, name: Value<'js>, value: Value<'js>) -> Result<()> {
    // Name and value were checked: there is no error left to give.
    with_field(&ctx, &this.borrow().list, name, value, |fields, name, value| {
        let _ = fields.set(name, value);
    })
}

pub(super) fn append<'js>(ctx: Ctx<'js>, this: Me<'js>, name: Value<'js>, value: Value<'js>) -> Result<()> {
    with_field(&ctx, &this.borrow().list, name, value, |fields, name, value| {
        let _ = fields.append(name, value);
    })
}

pub(super) fn delete<'js>(ctx: Ctx<'js>, this: Me<'js>, name: Value<'js>) -> Result<()> {
    with_name(&ctx, name, |name| {
        let this = this.borrow();
        this.list.edit(&ctx)?;
        this.list.fields.borrow_mut().remove(name);
        Ok(())
    })
}

pub(super) fn get_set_cookie<'js>(ctx: Ctx<'js>, this: Me<'js>) -> Result<Array<'js>> {
    let out = Array::new(ctx.clone())?;
    let this = this.borrow();
    for (index, value) in this.list.fields.borrow().get_all("set-cookie").enumerate() {
        out.set(index, text(&ctx, value)?)?;
    }
    Ok(out)
}

/// Name, value, name, value ... sorted and combined ("sort and combine").
pub(super) fn flat<'js>(ctx: Ctx<'js>, headers: HeadersClass<'js>) -> Result<Array<'js>> {
    let this = headers.borrow();
    let fields = this.list.fields.borrow();
    let mut all: Vec<(String, Cow<'_, [u8]>)> =
        fields.iter().map(|(name, value)| (name.to_ascii_lowercase(), Cow::Borrowed(value))).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all.dedup_by(|next, kept| {
        let same = next.0 == kept.0 && kept.0 != "set-cookie";
        if same {
            let joined = kept.1.to_mut();
            joined.extend_from_slice(b", ");
            joined.extend_from_slice(&next.1);
        }
        same
    });
    let out = Array::new(ctx.clone())?;
    for (index, (name, value)) in all.iter().enumerate() {
        out.set(index * 2, name.as_str())?;
        out.set(index * 2 + 1, text(&ctx, value)?)?;
    }
    Ok(out)
}

pub(super) fn version(headers: HeadersClass<'_>) -> u32 {
    headers.borrow().list.version.get()
}

/// Appends all fields of `from` to `to`.
pub(super) fn copy<'js>(ctx: Ctx<'js>, to: HeadersClass<'js>, from: HeadersClass<'js>) -> Result<()> {
    let to = to.borrow();
    to.list.edit(&ctx)?;
    let source = from.borrow().list.fields.borrow().clone();
    let mut fields = to.list.fields.borrow_mut();
    if fields.is_empty() {
        *fields = source;
        return Ok(());
    }
    for (name, value) in source.iter() {
        // Every field of a list was checked when it came in.
        let _ = fields.append(name, value);
    }
    Ok(())
}

pub(super) fn freeze(headers: HeadersClass<'_>) {
    headers.borrow().list.freeze();
}

pub(super) fn is_headers(value: Value<'_>) -> bool {
    value.as_object().is_some_and(|object| object.instance_of::<HeadersObject>())
}

//! Reading bodies: whole, natively and with a cap; or frame by frame for a stream.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use polygate_pipeline::{Body, Failure, Frame, Reason};
use rquickjs::class::{JsClass, Readable, Trace, Tracer};
use rquickjs::function::Constructor;
use rquickjs::{Class, Ctx, Exception, JsLifetime, Object, Promise, Result, String as JsString, Value};

use super::MessageClass;
use super::message::{Content, Kind, set_body};
use super::pipe::Pipe;
use crate::ops::spawn_promise_with;
use crate::web::bytes::{Usv, View, array_buffer, uint8_array};

/// Whose body could not be read, as the error's `cause.body` says.
const REQUEST: &str = "request";
const RESPONSE: &str = "response";

/// A native body that a `ReadableStream` stands for.
#[derive(JsLifetime)]
pub(crate) struct Held {
    body: Rc<RefCell<Option<Body>>>,
    /// The other direction: where a script puts what its stream gives.
    pub(super) pipe: Option<Pipe>,
}

impl<'js> Trace<'js> for Held {
    fn trace<'a>(&self, _: Tracer<'a, 'js>) {}
}

impl<'js> JsClass<'js> for Held {
    const NAME: &'static str = "HeldBody";
    type Mutable = Readable;

    fn constructor(_: &Ctx<'js>) -> Result<Option<Constructor<'js>>> {
        Ok(None)
    }
}

pub(super) type HeldClass<'js> = Class<'js, Held>;

impl Held {
    pub(super) fn create<'js>(ctx: &Ctx<'js>, body: Body) -> Result<HeldClass<'js>> {
        Self::with_pipe(ctx, body, None)
    }

    pub(super) fn with_pipe<'js>(ctx: &Ctx<'js>, body: Body, pipe: Option<Pipe>) -> Result<HeldClass<'js>> {
        let held = Self { body: Rc::new(RefCell::new(Some(body))), pipe };
        // Never seen by user code: no prototype of its own.
        Class::instance_proto(held, Object::new(ctx.clone())?)
    }

    /// Moves the body out; an empty one when it was moved out or cancelled.
    pub(super) fn take(&self) -> Body {
        self.body.try_borrow_mut().ok().and_then(|mut body| body.take()).unwrap_or_default()
    }
}

/// How a body is wanted.
#[derive(Clone, Copy)]
enum Form {
    Bytes,
    Text,
    Json,
    Buffer,
}

impl Form {
    fn of(code: u8) -> Self {
        match code {
            1 => Self::Text,
            2 => Self::Json,
            3 => Self::Buffer,
            _ => Self::Bytes,
        }
    }

    fn make<'js>(self, ctx: &Ctx<'js>, bytes: &[u8]) -> Result<Value<'js>> {
        match self {
            Self::Bytes => uint8_array(ctx, bytes),
            Self::Buffer => array_buffer(ctx, bytes),
            Self::Text => Ok(JsString::from_str(ctx.clone(), &decode(bytes))?.into_value()),
            Self::Json => {
                let text = decode(bytes);
                if text.contains('\0') {
                    return Err(Exception::throw_syntax(ctx, "unexpected character in JSON"));
                }
                ctx.json_parse(text.into_owned())
            }
        }
    }
}

/// "UTF-8 decode": without byte order mark, malformed sequences replaced.
fn decode(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes))
}

fn collect_body<'js>(
    ctx: &Ctx<'js>,
    body: Body,
    form: u8,
    owner: Option<&'static str>,
) -> Result<Promise<'js>> {
    let cap = super::limits(ctx).body;
    let form = Form::of(form);
    spawn_promise_with(ctx, body.collect(cap), move |ctx, read| match read {
        Ok((bytes, _)) => form.make(ctx, &bytes),
        Err(failure) => Err(throw_read(ctx, &failure, owner)),
    })
}

/// `owner` is whose body it is, if that is known: `request` or `response`.
fn throw_read(ctx: &Ctx<'_>, failure: &Failure, owner: Option<&str>) -> rquickjs::Error {
    let message = match failure.reason() {
        Reason::BodyTooLarge => "The body is too large to be read as a whole",
        _ => "The body could not be read",
    };
    super::throw_failure(ctx, message, failure, owner)
}

/// A promise for a message's whole native body: 0 bytes, 1 text, 2 JSON, 3 ArrayBuffer.
pub(super) fn collect<'js>(ctx: Ctx<'js>, message: MessageClass<'js>, form: u8) -> Result<Promise<'js>> {
    let (body, owner) = {
        let message = message.borrow();
        let owner = match message.kind {
            Kind::Request(_) => REQUEST,
            Kind::Response(_) => RESPONSE,
        };
        let is_null = match &*message.content.borrow() {
            Content::Null => true,
            Content::Native(body) => body.is_tunnel(),
            _ => false,
        };
        // A null body may be read any number of times.
        (if is_null { Body::empty() } else { message.take_body(&ctx)? }, owner)
    };
    collect_body(&ctx, body, form, Some(owner))
}

/// The same for a held body; `owner` is `request` or `response`.
pub(super) fn collect_held<'js>(
    ctx: Ctx<'js>,
    held: HeldClass<'js>,
    form: u8,
    owner: String,
) -> Result<Promise<'js>> {
    let body = held.borrow().take();
    collect_body(&ctx, body, form, Some(if owner == RESPONSE { RESPONSE } else { REQUEST }))
}

/// What bytes that a script collected become.
pub(super) fn convert<'js>(ctx: Ctx<'js>, bytes: View<'js>, form: u8) -> Result<Value<'js>> {
    let bytes = bytes.to_vec()?;
    Form::of(form).make(&ctx, &bytes)
}

/// A promise for the next bytes of a held body; undefined at its end.
pub(super) fn pull<'js>(ctx: Ctx<'js>, held: HeldClass<'js>) -> Result<Promise<'js>> {
    let body = held.borrow().body.clone();
    let next = poll_fn(move |cx| {
        let Ok(mut slot) = body.try_borrow_mut() else {
            return Poll::Ready(Some(Err(
                Failure::new(Reason::Internal).detail("a body is read from within itself")
            )));
        };
        loop {
            let polled = match slot.as_mut() {
                Some(body) => body.poll_frame(cx),
                None => Poll::Ready(None),
            };
            return match polled {
                Poll::Pending => Poll::Pending,
                // JavaScript's streams know no trailers.
                Poll::Ready(Some(Ok(Frame::Trailers(_)))) => continue,
                Poll::Ready(Some(Ok(Frame::Data(bytes)))) => Poll::Ready(Some(Ok(bytes))),
                Poll::Ready(Some(Err(failure))) => Poll::Ready(Some(Err(failure))),
                Poll::Ready(None) => Poll::Ready(None),
            };
        }
    });
    spawn_promise_with(&ctx, next, |ctx, read| match read {
        Some(Ok(bytes)) => uint8_array(ctx, &bytes),
        Some(Err(failure)) => Err(throw_read(ctx, &failure, None)),
        None => Ok(Value::new_undefined(ctx.clone())),
    })
}

/// Gives the rest of a held body up.
pub(super) fn cancel(held: HeldClass<'_>) {
    drop(held.borrow().take());
}

/// Two held bodies of one; see [`tee`](super::tee::tee).
pub(super) fn tee_held<'js>(ctx: Ctx<'js>, held: HeldClass<'js>) -> Result<Vec<HeldClass<'js>>> {
    let (one, two) = super::tee::tee(held.borrow().take(), super::limits(&ctx).body);
    Ok(vec![Held::create(&ctx, one)?, Held::create(&ctx, two)?])
}

pub(super) fn set_text(message: MessageClass<'_>, text: Usv) {
    set_body(&message.borrow(), Body::full(text.0));
}

pub(super) fn set_bytes<'js>(message: MessageClass<'js>, bytes: View<'js>) -> Result<()> {
    let bytes = bytes.with(Bytes::copy_from_slice)?;
    set_body(&message.borrow(), Body::full(bytes));
    Ok(())
}

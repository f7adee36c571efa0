//! The native class behind `Request` and `Response` objects.

use std::cell::{Ref, RefCell};
use std::rc::Rc;

use http::{Method, StatusCode};
use polygate_pipeline::{Body, Request, Response, Target, Upgrade, Version};
use rquickjs::class::{JsClass, Readable, Trace, Tracer};
use rquickjs::function::{Constructor, This};
use rquickjs::{
    Class, Ctx, Error, Exception, Function, JsLifetime, Object, Result, String as JsString, Value,
};

use super::MessageClass;
use super::body::{Held, HeldClass};
use super::headers::{self, List};
use crate::cast::as_object;

/// What a `Request` or `Response` object holds. It is shared by no two objects, but for its header list.
#[derive(JsLifetime)]
pub(crate) struct Message<'js> {
    pub(super) kind: Kind<'js>,
    pub(super) list: Rc<List>,
    /// The `Headers` object, once JavaScript asked for it.
    headers: RefCell<Option<Value<'js>>>,
    pub(super) content: RefCell<Content<'js>>,
    /// What the scripts keep: signal, redirect mode and the like.
    extra: RefCell<Option<Value<'js>>>,
    /// What a world ties the object to.
    owner: RefCell<Option<Value<'js>>>,
}

#[derive(JsLifetime)]
pub(crate) enum Kind<'js> {
    Request(RequestHead<'js>),
    Response(ResponseHead),
}

#[derive(JsLifetime)]
pub(crate) struct RequestHead<'js> {
    method: Method,
    version: Version,
    upgrade: RefCell<Option<Upgrade>>,
    url: Url,
    /// `url` as a JavaScript string, once it was asked for.
    text: RefCell<Option<Value<'js>>>,
}

/// Where a request goes: as the gateway has it, or as a script gave it (an absolute URL of any scheme).
#[derive(Clone)]
enum Url {
    Target(Target),
    Href(String),
}

pub(crate) struct ResponseHead {
    /// 0 for `Response.error()`.
    pub(super) status: u16,
    /// `None`: the standard phrase.
    status_text: Option<String>,
    /// The URL it came from and whether redirects were followed; empty unless `fetch` made it.
    pub(super) origin: Option<(String, bool)>,
}

/// The body of a message object.
#[derive(JsLifetime)]
pub(crate) enum Content<'js> {
    /// There is none: `body` is null.
    Null,
    /// JavaScript has not looked into it.
    Native(Body),
    /// A `ReadableStream`, which may itself stand for a native body.
    Stream(Value<'js>),
    /// It was moved out.
    Used,
}

impl RequestHead<'_> {
    pub(super) fn upgrade(&self) -> Option<Upgrade> {
        self.upgrade.borrow().clone()
    }

    pub(super) fn method(&self) -> &str {
        self.method.as_str()
    }
}

impl<'js> Trace<'js> for Message<'js> {
    fn trace<'a>(&self, tracer: Tracer<'a, 'js>) {
        for slot in [&self.headers, &self.extra, &self.owner] {
            if let Ok(value) = slot.try_borrow() {
                value.trace(tracer);
            }
        }
        if let Kind::Request(head) = &self.kind
            && let Ok(value) = head.text.try_borrow()
        {
            value.trace(tracer);
        }
        if let Ok(content) = self.content.try_borrow()
            && let Content::Stream(stream) = &*content
        {
            stream.trace(tracer);
        }
    }
}

impl<'js> JsClass<'js> for Message<'js> {
    const NAME: &'static str = "Body";
    type Mutable = Readable;

    fn constructor(_: &Ctx<'js>) -> Result<Option<Constructor<'js>>> {
        Ok(None)
    }
}

type Me<'js> = This<MessageClass<'js>>;

pub(super) fn instance<'js>(message: Message<'js>, prototype: Object<'js>) -> Result<Object<'js>> {
    Ok(Class::instance_proto(message, prototype)?.into_inner())
}

/// The message behind an object.
pub(super) fn find<'a, 'js>(value: &'a Value<'js>) -> Option<&'a MessageClass<'js>> {
    as_object(value).and_then(Object::as_class)
}

pub(super) fn of_value<'a, 'js>(
    ctx: &Ctx<'js>,
    value: &'a Value<'js>,
    what: &str,
) -> Result<&'a MessageClass<'js>> {
    find(value).ok_or_else(|| Exception::throw_type(ctx, &format!("The value is not a {what}")))
}

impl<'js> Message<'js> {
    fn new(kind: Kind<'js>, list: Rc<List>, body: Body) -> Self {
        let content = if body.is_empty() { Content::Null } else { Content::Native(body) };
        Self {
            kind,
            list,
            headers: RefCell::default(),
            content: RefCell::new(content),
            extra: RefCell::default(),
            owner: RefCell::default(),
        }
    }

    pub(super) fn of_request(request: Request) -> Self {
        let Request { method, target, version, headers, upgrade, body } = request;
        let url = Url::Target(target);
        let head =
            RequestHead { method, version, upgrade: RefCell::new(upgrade), url, text: RefCell::default() };
        Self::new(Kind::Request(head), List::new(headers), body)
    }

    pub(super) fn of_response(response: Response) -> Self {
        let Response { status, headers, body } = response;
        let head = ResponseHead { status: status.as_u16(), status_text: None, origin: None };
        Self::new(Kind::Response(head), List::new(headers), body)
    }

    pub(super) fn extra(&self) -> Option<Value<'js>> {
        self.extra.borrow().clone()
    }

    /// What the object is tied to.
    pub(super) fn owner(&self) -> Option<Value<'js>> {
        self.owner.borrow().clone()
    }

    /// A body that was moved out is none from now on, instead of one that was used.
    pub(super) fn forget_body(&self) {
        let mut content = self.content.borrow_mut();
        if matches!(*content, Content::Used) {
            *content = Content::Null;
        }
    }

    pub(super) fn set_owner(&self, owner: Value<'js>) {
        let old = self.owner.replace(Some(owner));
        drop(old);
    }

    /// The `Headers` object: the same each time.
    pub(super) fn headers(&self, ctx: &Ctx<'js>) -> Result<Ref<'_, Value<'js>>> {
        let made = |headers| Ref::filter_map(headers, Option::as_ref);
        if let Ok(headers) = made(self.headers.borrow()) {
            return Ok(headers);
        }
        let prototype = super::with_prototypes(ctx, |p| p.headers.clone())?;
        let headers = headers::of_list(self.list.clone(), prototype)?.into_value();
        self.headers.replace(Some(headers));
        made(self.headers.borrow()).map_err(|_| Error::Unknown)
    }

    pub(super) fn request(&self, ctx: &Ctx<'js>) -> Result<&RequestHead<'js>> {
        match &self.kind {
            Kind::Request(head) => Ok(head),
            Kind::Response(_) => Err(Exception::throw_type(ctx, "The value is not a Request")),
        }
    }

    pub(super) fn response(&self, ctx: &Ctx<'js>) -> Result<&ResponseHead> {
        match &self.kind {
            Kind::Response(head) => Ok(head),
            Kind::Request(_) => Err(Exception::throw_type(ctx, "The value is not a Response")),
        }
    }

    /// Whether the body was used, or is locked by somebody who reads it.
    pub(super) fn is_used(&self, ctx: &Ctx<'js>) -> bool {
        let stream = match &*self.content.borrow() {
            Content::Used => return true,
            Content::Stream(stream) => stream.clone(),
            Content::Null | Content::Native(_) => return false,
        };
        let disturbed = (|| super::exports(ctx)?.get::<_, Function>("isUsed")?.call::<_, bool>((stream,)))();
        disturbed.unwrap_or_else(|_| {
            ctx.catch();
            true
        })
    }

    pub(super) fn take_request(&self, ctx: &Ctx<'js>) -> Result<Request> {
        let head = self.request(ctx)?;
        let target = match &head.url {
            Url::Target(target) => target.clone(),
            Url::Href(href) => Target::parse(href)
                .map_err(|error| Exception::throw_type(ctx, &format!("Cannot request {href}: {error}")))?,
        };
        let body = self.take_body(ctx)?;
        let headers = self.list.fields.borrow().clone();
        let (method, upgrade) = (head.method.clone(), head.upgrade());
        Ok(Request { method, target, version: head.version, headers, upgrade, body })
    }

    /// Puts `request` back where it was taken from; gives it back when its method or URL is another one.
    pub(super) fn put_request(&self, request: Request) -> Option<Request> {
        let Kind::Request(head) = &self.kind else { return Some(request) };
        let same = match &head.url {
            Url::Target(target) => *target == request.target,
            Url::Href(href) => Target::parse(href).is_ok_and(|target| target == request.target),
        };
        if !same || head.method != request.method || head.version != request.version {
            return Some(request);
        }
        self.list.replace(request.headers);
        head.upgrade.replace(request.upgrade);
        let content = if request.body.is_empty() { Content::Null } else { Content::Native(request.body) };
        // The stream that stood there, if any, may free other values.
        let old = self.content.replace(content);
        drop(old);
        None
    }

    pub(super) fn take_response(&self, ctx: &Ctx<'js>) -> Result<Response> {
        let head = self.response(ctx)?;
        let Ok(status) = StatusCode::from_u16(head.status) else {
            return Err(Exception::throw_type(ctx, "A network error is not a response to send"));
        };
        let body = self.take_body(ctx)?;
        let headers = self.list.fields.borrow().clone();
        Ok(Response { status, headers, body })
    }

    /// Moves the body out.
    pub(super) fn take_body(&self, ctx: &Ctx<'js>) -> Result<Body> {
        let content = match &mut *self.content.borrow_mut() {
            Content::Null => return Ok(Body::empty()),
            content => std::mem::replace(content, Content::Used),
        };
        match content {
            Content::Native(body) => Ok(body),
            Content::Stream(stream) => {
                // Put back: the stream goes on answering for `body` and `bodyUsed`.
                *self.content.borrow_mut() = Content::Stream(stream.clone());
                let release: Function = super::exports(ctx)?.get("release")?;
                let held: HeldClass<'js> = release.call((stream,))?;
                let held = held.borrow();
                Ok(held.take())
            }
            Content::Null | Content::Used => {
                Err(Exception::throw_type(ctx, "The body has already been used"))
            }
        }
    }
}

pub(super) fn new_request<'js>(
    ctx: Ctx<'js>,
    prototype: Object<'js>,
    method: String,
    href: Option<String>,
    from: Option<MessageClass<'js>>,
) -> Result<MessageClass<'js>> {
    let method = Method::from_bytes(method.as_bytes())
        .map_err(|_| Exception::throw_type(&ctx, &format!("{method:?} is not a valid HTTP method")))?;
    let (url, version, text) = match (href, &from) {
        (Some(href), _) => (Url::Href(href), Version::Http11, None),
        (None, Some(from)) => {
            let from = from.borrow();
            let head = from.request(&ctx)?;
            (head.url.clone(), head.version, head.text.borrow().clone())
        }
        (None, None) => return Err(Exception::throw_type(&ctx, "A request needs a URL")),
    };
    let list = match from {
        Some(from) => List::new(from.borrow().list.fields.borrow().clone()),
        None => List::new(Default::default()),
    };
    // What a script makes of a request wishes for nothing: a world hands the wish on where a request may have one.
    let head = RequestHead { method, version, upgrade: RefCell::default(), url, text: RefCell::new(text) };
    Class::instance_proto(Message::new(Kind::Request(head), list, Body::empty()), prototype)
}

pub(super) fn new_response<'js>(
    prototype: Object<'js>,
    status: u16,
    status_text: Option<String>,
) -> Result<MessageClass<'js>> {
    let head = ResponseHead { status, status_text, origin: None };
    Class::instance_proto(
        Message::new(Kind::Response(head), List::new(Default::default()), Body::empty()),
        prototype,
    )
}

/// A response with the head of another one and no body.
pub(super) fn clone_response<'js>(
    ctx: Ctx<'js>,
    prototype: Object<'js>,
    from: MessageClass<'js>,
) -> Result<MessageClass<'js>> {
    let from = from.borrow();
    let head = from.response(&ctx)?;
    let head = ResponseHead {
        status: head.status,
        status_text: head.status_text.clone(),
        origin: head.origin.clone(),
    };
    let list = List::new(from.list.fields.borrow().clone());
    Class::instance_proto(Message::new(Kind::Response(head), list, Body::empty()), prototype)
}

pub(super) fn url<'js>(ctx: Ctx<'js>, this: Me<'js>) -> Result<Value<'js>> {
    let this = this.borrow();
    let head = match &this.kind {
        Kind::Request(head) => head,
        Kind::Response(head) => {
            let url = head.origin.as_ref().map_or("", |(url, _)| url.as_str());
            return Ok(JsString::from_str(ctx, url)?.into_value());
        }
    };
    if let Some(text) = &*head.text.borrow() {
        return Ok(text.clone());
    }
    let text = match &head.url {
        // `OPTIONS *` has no URL of its own; its resource is the server.
        Url::Target(target) if target.path() == "*" => {
            format!("{}://{}/", target.scheme().as_str(), target.authority())
        }
        Url::Target(target) => target.to_string(),
        Url::Href(href) => href.clone(),
    };
    let text = JsString::from_str(ctx, &text)?.into_value();
    *head.text.borrow_mut() = Some(text.clone());
    Ok(text)
}

/// Takes all fields away, before a script fills in others.
pub(super) fn clear_headers(message: MessageClass<'_>) {
    message.borrow().list.fields.borrow_mut().clear();
}

pub(super) fn ok<'js>(ctx: Ctx<'js>, this: Me<'js>) -> Result<bool> {
    Ok((200..300).contains(&this.borrow().response(&ctx)?.status))
}

pub(super) fn status_text<'js>(ctx: Ctx<'js>, this: Me<'js>) -> Result<JsString<'js>> {
    let this = this.borrow();
    let head = this.response(&ctx)?;
    let text = match &head.status_text {
        Some(text) => text.as_str(),
        None => StatusCode::from_u16(head.status).ok().and_then(|s| s.canonical_reason()).unwrap_or(""),
    };
    JsString::from_str(ctx.clone(), text)
}

pub(super) fn redirected<'js>(ctx: Ctx<'js>, this: Me<'js>) -> Result<bool> {
    Ok(this.borrow().response(&ctx)?.origin.as_ref().is_some_and(|(_, redirected)| *redirected))
}

/// 0: neither, 1: a request, 2: a response.
pub(super) fn kind(value: Value<'_>) -> u8 {
    match find(&value).map(|m| matches!(m.borrow().kind, Kind::Request(_))) {
        None => 0,
        Some(true) => 1,
        Some(false) => 2,
    }
}

/// 0: null, 1: native, 2: a stream, 3: moved out.
pub(super) fn state(message: MessageClass<'_>) -> u8 {
    match &*message.borrow().content.borrow() {
        Content::Null => 0,
        // A response that switches protocols has no body.
        Content::Native(body) if body.is_tunnel() => 0,
        Content::Native(_) => 1,
        Content::Stream(_) => 2,
        Content::Used => 3,
    }
}

pub(super) fn stream<'js>(ctx: Ctx<'js>, message: MessageClass<'js>) -> Value<'js> {
    match &*message.borrow().content.borrow() {
        Content::Stream(stream) => stream.clone(),
        _ => Value::new_undefined(ctx),
    }
}

pub(super) fn set_stream<'js>(message: MessageClass<'js>, stream: Value<'js>) {
    set_content(&message.borrow(), Content::Stream(stream));
}

pub(super) fn set_body(message: &Message<'_>, body: Body) {
    set_content(message, Content::Native(body));
}

fn set_content<'js>(message: &Message<'js>, content: Content<'js>) {
    // The old one is dropped after the borrow ends: its end may reach for the message again.
    let old = message.content.replace(content);
    drop(old);
}

/// Moves a native body into an object that a stream reads from.
pub(super) fn hold<'js>(ctx: Ctx<'js>, message: MessageClass<'js>) -> Result<HeldClass<'js>> {
    let message = message.borrow();
    let content = message.content.replace(Content::Used);
    match content {
        Content::Native(body) => Held::create(&ctx, body),
        other => {
            set_content(&message, other);
            Err(Exception::throw_type(&ctx, "The body has already been used"))
        }
    }
}

/// Gives `from`'s body to `to`; `from` counts as used then.
pub(super) fn move_body<'js>(from: MessageClass<'js>, to: MessageClass<'js>) {
    let (from, to) = (from.borrow(), to.borrow());
    let content = from.content.replace(Content::Null);
    if !matches!(content, Content::Null) {
        set_content(&from, Content::Used);
    }
    set_content(&to, content);
}

/// Gives `to` a copy of `from`'s body; false when it is a stream, which a script must tee.
pub(super) fn clone_body<'js>(ctx: Ctx<'js>, from: MessageClass<'js>, to: MessageClass<'js>) -> Result<bool> {
    let (from, to) = (from.borrow(), to.borrow());
    let content = from.content.replace(Content::Null);
    if matches!(&content, Content::Native(body) if body.is_tunnel()) {
        set_content(&from, content);
        return Err(Exception::throw_type(&ctx, "A response that switches protocols cannot be cloned"));
    }
    let (kept, copy, done) = match content {
        Content::Native(body) => {
            let (one, two) = super::tee::tee(body, super::limits(&ctx).body);
            (Content::Native(one), Content::Native(two), true)
        }
        Content::Null => (Content::Null, Content::Null, true),
        other => (other, Content::Null, false),
    };
    set_content(&from, kept);
    set_content(&to, copy);
    Ok(done)
}

pub(super) fn extra_of<'js>(ctx: Ctx<'js>, message: MessageClass<'js>) -> Value<'js> {
    message.borrow().extra().unwrap_or_else(|| Value::new_undefined(ctx))
}

pub(super) fn set_extra<'js>(message: MessageClass<'js>, extra: Value<'js>) {
    let old = message.borrow().extra.replace(Some(extra));
    drop(old);
}

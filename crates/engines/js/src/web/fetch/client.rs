//! The native half of `fetch`: sends over the gateway's own client, follows redirects, stops on abort.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use http::{Method, StatusCode};
use polygate_pipeline::{
    Body, BodyStream, Call, Caller, Failure, Frame, Known, Outbound, OutboundOptions, Reason, Request,
    Response, Scheme, Target,
};
use rquickjs::class::{JsClass, Readable, Trace, Tracer};
use rquickjs::function::Constructor;
use rquickjs::{Class, Ctx, Exception, JsLifetime, Object, Promise, Result, Value};

use super::MessageClass;
use super::message::{Kind, Message, instance};
use crate::handle::VmHandle;
use crate::ops::spawn_promise_with;
use crate::scope::CallScope;

/// Most redirects that one fetch follows (Fetch standard, HTTP-redirect fetch, step 7).
const MAX_REDIRECTS: u32 = 20;

/// Fields that describe a body, taken away with it (Fetch standard, "request-body-header name").
const BODY_FIELDS: [&str; 5] =
    ["content-encoding", "content-language", "content-location", "content-type", "content-length"];

/// What a fetch that its signal stopped fails with.
#[derive(Debug)]
pub(super) struct AbortedBySignal;

impl fmt::Display for AbortedBySignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("aborted by its signal")
    }
}

impl std::error::Error for AbortedBySignal {}

fn aborted() -> Failure {
    Failure::new(Reason::PolicyError).source(AbortedBySignal)
}

/// Stops one fetch and the body of its response.
#[derive(JsLifetime)]
pub(crate) struct Aborter(Rc<Flag>);

#[derive(Default)]
struct Flag {
    set: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Flag {
    /// Whether it is set; else the task is woken when it is.
    fn poll(&self, cx: &Context<'_>) -> bool {
        if !self.set.get() {
            *self.waker.borrow_mut() = Some(cx.waker().clone());
        }
        self.set.get()
    }
}

impl<'js> Trace<'js> for Aborter {
    fn trace<'a>(&self, _: Tracer<'a, 'js>) {}
}

impl<'js> JsClass<'js> for Aborter {
    const NAME: &'static str = "Aborter";
    type Mutable = Readable;

    fn constructor(_: &Ctx<'js>) -> Result<Option<Constructor<'js>>> {
        Ok(None)
    }
}

pub(super) fn aborter<'js>(ctx: Ctx<'js>) -> Result<Class<'js, Aborter>> {
    Class::instance_proto(Aborter(Rc::default()), Object::new(ctx)?)
}

pub(super) fn abort(aborter: Class<'_, Aborter>) {
    let flag = aborter.borrow().0.clone();
    flag.set.set(true);
    let waker = flag.waker.borrow_mut().take();
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// A response's body that ends with a failure once the fetch is aborted.
struct AbortableBody {
    body: Body,
    flag: Rc<Flag>,
}

impl BodyStream for AbortableBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<std::result::Result<Frame, Failure>>> {
        if self.flag.poll(cx) {
            self.body = Body::empty();
            return Poll::Ready(Some(Err(aborted())));
        }
        self.body.poll_frame(cx)
    }

    fn poll_progress(&mut self, cx: &mut Context<'_>) {
        self.body.poll_progress(cx);
    }

    fn length(&self) -> Option<u64> {
        self.body.length()
    }
}

/// What to do with a redirect.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Redirect {
    Follow,
    Manual,
    Error,
}

struct Fetch {
    outbound: Rc<dyn Outbound>,
    scope: Option<Rc<CallScope>>,
    cap: u32,
    redirect: Redirect,
}

struct Fetched {
    response: Response,
    url: String,
    redirected: bool,
}

impl Fetch {
    async fn run(self, mut request: Request) -> std::result::Result<Fetched, Failure> {
        let mut hops = 0;
        loop {
            if let Some(scope) = &self.scope
                && !scope.count_subrequest(self.cap)
            {
                return Err(Failure::new(Reason::PolicySubrequests)
                    .detail(format!("more than {} sub-requests in one call", self.cap)));
            }
            // The target says where to; a Host that was copied from another request would say otherwise.
            request.headers.remove_known(Known::Host);
            let target = request.target.clone();
            let mut next = (self.redirect == Redirect::Follow).then(|| Again::of(&request));
            let scope = self.scope.as_ref().and_then(|scope| Some((scope.exchange()?, scope.policy())));
            let call = scope.and_then(|(exchange, policy)| {
                Call::begin(exchange, &mut request, Caller::Policy(policy.map(|name| &**name)))
            });
            let response = self.outbound.send(request, OutboundOptions::default()).await;
            if let Some(call) = call {
                call.end(&response);
            }
            let response = response?;
            let is_redirect = matches!(response.status.as_u16(), 301 | 302 | 303 | 307 | 308);
            let location = response.headers.known(Known::Location).map(<[u8]>::to_vec);
            let location = match (is_redirect, location, self.redirect) {
                (true, Some(_), Redirect::Error) => {
                    return Err(refused("redirected, and redirect is \"error\""));
                }
                (true, Some(location), Redirect::Follow) => location,
                _ => return Ok(Fetched { response, url: target.to_string(), redirected: hops > 0 }),
            };
            hops += 1;
            if hops > MAX_REDIRECTS {
                return Err(refused(&format!("more than {MAX_REDIRECTS} redirects")));
            }
            let Some(again) = next.take() else { return Err(refused("redirected")) };
            request = again.redirect(response.status, &location)?;
        }
    }
}

fn refused(detail: &str) -> Failure {
    Failure::new(Reason::PolicyError).detail(detail)
}

/// What is needed to send a request again.
struct Again {
    head: Request,
    /// The body when it is in memory; `None` when it is a stream, which cannot be sent twice.
    body: Option<Body>,
}

impl Again {
    fn of(request: &Request) -> Self {
        let body = match request.body.as_full() {
            Some(bytes) => Some(Body::full(bytes.clone())),
            None => request.body.is_empty().then(Body::empty),
        };
        Self { head: request.clone_head(), body }
    }

    /// The request to `location` (Fetch standard, HTTP-redirect fetch).
    fn redirect(self, status: StatusCode, location: &[u8]) -> std::result::Result<Request, Failure> {
        let Self { head: mut request, body } = self;
        let bad = || refused("redirected to an invalid URL");
        let base = url::Url::parse(&request.target.to_string()).map_err(|_| bad())?;
        let location = std::str::from_utf8(location).map_err(|_| bad())?;
        let url = base.join(location).map_err(|_| bad())?;
        let target = Target::parse(url.as_str()).map_err(|_| bad())?;
        let rewrites = match status.as_u16() {
            301 | 302 => request.method == Method::POST,
            303 => request.method != Method::GET && request.method != Method::HEAD,
            _ => false,
        };
        if rewrites {
            request.method = Method::GET;
            for name in BODY_FIELDS {
                request.headers.remove(name);
            }
        } else {
            request.body = body.ok_or_else(|| {
                refused("redirected, and the request's body is a stream that was sent already")
            })?;
        }
        if origin(&request.target) != origin(&target) {
            // Authorization is the standard's; the others would tell a stranger as much.
            for known in [Known::Authorization, Known::ProxyAuthorization, Known::Cookie] {
                request.headers.remove_known(known);
            }
        }
        request.target = target;
        Ok(request)
    }
}

fn origin(target: &Target) -> (Scheme, String, u16) {
    (target.scheme(), target.host().to_ascii_lowercase(), target.port())
}

/// A promise for the response to a `Request` object, whose body is moved out. `mode`: 0 follow, 1 manual, 2 error.
pub(super) fn send<'js>(
    ctx: Ctx<'js>,
    message: MessageClass<'js>,
    mode: u8,
    aborter: Option<Class<'js, Aborter>>,
) -> Result<Promise<'js>> {
    let handle = VmHandle::try_of(&ctx).ok_or_else(|| Exception::throw_internal(&ctx, "fetch needs a VM"))?;
    let Some(services) = handle.services() else {
        return Err(Exception::throw_type(&ctx, "fetch is not available here"));
    };
    let outbound = services.outbound().clone();
    let request = message.borrow().take_request(&ctx)?;
    let url = request.target.to_string();
    let redirect = match mode {
        0 => Redirect::Follow,
        1 => Redirect::Manual,
        _ => Redirect::Error,
    };
    let fetch = Fetch { outbound, scope: handle.scope(), cap: super::limits(&ctx).subrequests, redirect };
    let flag = aborter.map(|aborter| aborter.borrow().0.clone());
    let sent = async move {
        let mut sending = Box::pin(fetch.run(request));
        let mut fetched = poll_fn(|cx| {
            if flag.as_ref().is_some_and(|flag| flag.poll(cx)) {
                return Poll::Ready(Err(aborted()));
            }
            sending.as_mut().poll(cx)
        })
        .await?;
        if let Some(flag) = flag
            && !fetched.response.body.is_empty()
        {
            let body = std::mem::take(&mut fetched.response.body);
            fetched.response.body = Body::stream(AbortableBody { body, flag });
        }
        Ok(fetched)
    };
    spawn_promise_with(&ctx, sent, move |ctx, sent| match sent {
        Ok(fetched) => response(ctx, fetched),
        Err(failure) => Err(super::throw_failure(ctx, &format!("fetch failed: {url}"), &failure, None)),
    })
}

fn response<'js>(ctx: &Ctx<'js>, fetched: Fetched) -> Result<Value<'js>> {
    let Fetched { response, url, redirected } = fetched;
    let mut message = Message::of_response(response);
    if let Kind::Response(head) = &mut message.kind {
        head.origin = Some((url, redirected));
    }
    let prototype = super::with_prototypes(ctx, |p| p.response.clone())?;
    Ok(instance(message, prototype)?.into_value())
}

//! Tests of messages, bodies, streams and fetch, with a VM and an outbound client that the test plays.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use polygate_pipeline::{
    Body, BodyStream, Bytes, Client, Exchange, ExchangeParts, Failure, Frame, LocalBoxFuture, LogLine,
    LogSink, Method, Outbound, OutboundOptions, Reason, Request, RequestId, Response, Services, StatusCode,
    Target, Version,
};
use rquickjs::{Ctx, Object, Value};
use tokio::task::LocalSet;

use crate::tests::Files;
use crate::{CallError, CallScope, Kept, Vm, VmOptions};

const ASSERT: &str = r"
globalThis.assertEquals = (found, wanted) => {
  if (found !== wanted) throw new Error(`found ${found}, wanted ${wanted}`);
};
globalThis.assert = (value, what = '') => {
  if (!value) throw new Error(`not so: ${what}`);
};";

type Answer = LocalBoxFuture<'static, Result<Response, Failure>>;

struct Played(Box<dyn Fn(Request) -> Answer>);

impl Outbound for Played {
    fn send(&self, request: Request, _: OutboundOptions) -> Answer {
        (self.0)(request)
    }
}

#[derive(Default)]
struct Lines(RefCell<Vec<String>>);

impl LogSink for Lines {
    fn log(&self, line: LogLine) {
        self.0.borrow_mut().push(line.message);
    }
}

struct Rig {
    vm: Vm,
    services: Services,
    lines: Rc<Lines>,
}

impl Rig {
    /// `answer` plays the world outside.
    fn new(answer: impl Fn(Request) -> Answer + 'static) -> Self {
        let lines = Rc::new(Lines::default());
        let services =
            Services::new(Rc::new(Played(Box::new(answer))), lines.clone(), Arc::new(BTreeMap::new()), 0);
        let program = Files::new(&[("main.js", "export {}")]).program(&["./main.js"]);
        let options = VmOptions { load_cpu: Duration::from_secs(10), ..VmOptions::default() };
        let assert = |ctx: &Ctx<'_>| ctx.eval::<(), _>(ASSERT);
        let vm = Vm::new(program, Some(services.clone()), options, assert).unwrap();
        Self { vm, services, lines }
    }

    fn offline() -> Self {
        Self::new(|_| Box::pin(async { Err(Failure::new(Reason::UpstreamRefused).detail("nobody there")) }))
    }

    fn exchange(&self) -> Exchange {
        let peer = "127.0.0.1:1".parse().unwrap();
        Exchange::new(ExchangeParts {
            id: RequestId::from_random(1),
            started: Instant::now(),
            client: Client { ip: "127.0.0.1".parse().unwrap(), peer, local: peer, tls: None },
            method: Method::GET,
            target: target("http://gate/"),
            version: Version::Http11,
            xray: false,
            trace: None,
            interim: None,
            services: self.services.clone(),
        })
    }

    fn scope(&self) -> Rc<CallScope> {
        CallScope::new(Duration::from_secs(10), Some(self.exchange()), None)
    }

    /// A function of `request`, from an async body.
    fn function(&self, body: &str) -> Kept {
        let source = format!("(async (request) => {{ {body} }})");
        let scope = self.scope();
        self.vm
            .run(&scope, |ctx| {
                let function: Value<'_> = ctx.eval(source)?;
                Ok(self.vm.handle().keep(ctx, function))
            })
            .unwrap()
    }

    async fn call<T: 'static>(
        &self,
        scope: &Rc<CallScope>,
        body: &str,
        request: Request,
        finish: impl for<'js> FnOnce(&Ctx<'js>, Value<'js>) -> rquickjs::Result<T>,
    ) -> Result<T, CallError> {
        let function = self.function(body);
        let call = self.vm.call(
            scope,
            &function,
            |ctx, args| args.push(super::wrap_request(ctx, request, None)?),
            finish,
        );
        call.await
    }

    /// Runs a body that throws when something is wrong.
    async fn check(&self, body: &str) {
        self.check_with(body, get("http://gate/a?b=c")).await;
    }

    async fn check_with(&self, body: &str, request: Request) {
        let outcome = self.call(&self.scope(), body, request, |_, _| Ok(())).await;
        if let Err(error) = outcome {
            panic!("{error}\n{:?}", self.lines.0.borrow());
        }
    }

    async fn respond(&self, body: &str, request: Request) -> Result<Response, CallError> {
        self.call(&self.scope(), body, request, |ctx, value| super::take_response(ctx, &value)).await
    }
}

fn target(url: &str) -> Target {
    Target::parse(url).unwrap()
}

fn get(url: &str) -> Request {
    let mut request = Request::new(Method::GET, target(url));
    request.headers.append("X-One", b"1").unwrap();
    request.headers.append("x-two", b"a").unwrap();
    request.headers.append("X-Two", b"b").unwrap();
    request
}

fn post(body: impl Into<Body>) -> Request {
    let mut request = Request::new(Method::POST, target("http://gate/"));
    request.body = body.into();
    request
}

fn answer(status: u16, body: impl Into<Body>) -> Response {
    let mut response = Response::new(StatusCode::from_u16(status).unwrap());
    response.body = body.into();
    response
}

async fn local<F: Future>(test: F) -> F::Output {
    let limit = tokio::time::timeout(Duration::from_secs(30), test);
    LocalSet::new().run_until(limit).await.unwrap()
}

/// A body that the test feeds, and that says what became of it.
#[derive(Clone, Default)]
struct Feed(Rc<FeedState>);

#[derive(Default)]
struct FeedState {
    frames: RefCell<VecDeque<Option<Result<Frame, Failure>>>>,
    waker: RefCell<Option<Waker>>,
    polls: Cell<usize>,
    dropped: Cell<bool>,
}

struct FeedBody(Rc<FeedState>);

impl Feed {
    fn body(&self) -> Body {
        Body::stream(FeedBody(self.0.clone()))
    }

    fn put(&self, frame: Option<Result<Frame, Failure>>) {
        self.0.frames.borrow_mut().push_back(frame);
        if let Some(waker) = self.0.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    fn data(&self, text: &str) {
        self.put(Some(Ok(Frame::Data(Bytes::copy_from_slice(text.as_bytes())))));
    }

    fn end(&self) {
        self.put(None);
    }
}

impl BodyStream for FeedBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Failure>>> {
        self.0.polls.set(self.0.polls.get() + 1);
        match self.0.frames.borrow_mut().pop_front() {
            Some(frame) => Poll::Ready(frame),
            None => {
                *self.0.waker.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for FeedBody {
    fn drop(&mut self) {
        self.0.dropped.set(true);
    }
}

async fn text_of(body: Body) -> String {
    String::from_utf8(body.collect(1 << 20).await.unwrap().0.to_vec()).unwrap()
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

mod client;
mod gateway;
mod messages;
mod speed;
mod streams;

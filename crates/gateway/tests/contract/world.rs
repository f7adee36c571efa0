//! A world of Rust closures: shows that the contract is not shaped by one language.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use polygate_pipeline::{
    Body, BodyStream, Bytes, Diagnostic, Exchange, Failure, Frame, Headers, Instance, Layer, LocalBoxFuture,
    Next, PolicySpec, Program, Project, Reason, Request, Response, Role, Services, StatusCode, World,
};

/// The world. A policy's module says which layer it is.
pub(crate) struct Trial;

impl World for Trial {
    fn name(&self) -> &'static str {
        "trial"
    }

    fn compile(
        &self,
        _: &Project,
        policies: &[PolicySpec],
        _: &mut Vec<Diagnostic>,
    ) -> Option<Arc<dyn Program>> {
        Some(Arc::new(Plugins(policies.iter().map(|policy| policy.plugin.module.clone()).collect())))
    }
}

struct Plugins(Vec<String>);

impl Program for Plugins {
    fn spawn<'a>(&'a self, _: &'a Services) -> LocalBoxFuture<'a, Result<Rc<dyn Instance>, Vec<Diagnostic>>> {
        let instance: Rc<dyn Instance> = Rc::new(Live(self.0.clone()));
        Box::pin(std::future::ready(Ok(instance)))
    }

    fn fingerprint(&self) -> Vec<u8> {
        self.0.concat().into_bytes()
    }
}

struct Live(Vec<String>);

impl Instance for Live {
    fn layer(&self, policy: usize, _: Role) -> Result<Rc<dyn Layer>, Box<Diagnostic>> {
        Ok(match &*self.0[policy] {
            "filter" => Rc::new(Filter),
            "composite" => Rc::new(Composite(vec!["one", "two"])),
            "early" => Rc::new(Early),
            "replace" => Rc::new(Replace),
            "fail" => Rc::new(Fail),
            "fail-late" => Rc::new(FailLate),
            "stuck" => Rc::new(Stuck),
            "hog" => Rc::new(Hog),
            "echo" => Rc::new(Echo),
            other => return Err(Box::new(Diagnostic::error("unknown-plugin", other))),
        })
    }
}

type Handled<'a> = LocalBoxFuture<'a, Result<Response, Failure>>;

/// Handler: gives the request's body back, streaming, with what it saw of the head.
struct Echo;

impl Layer for Echo {
    fn handle<'a>(&'a self, request: Request, _: &'a Exchange, _: Next<'a>) -> Handled<'a> {
        let mut response = Response::new(StatusCode::OK);
        for (name, value) in request.headers.iter().filter(|(name, _)| name.starts_with("x-")) {
            response.headers.append(&format!("seen-{name}"), value).unwrap();
        }
        response.body = request.body;
        Box::pin(std::future::ready(Ok(response)))
    }
}

/// A streaming filter on both directions: headers, then each chunk in upper case, then a trailer with their number.
/// It pauses before each chunk and goes on when it is woken.
struct Filter;

struct Shout {
    body: Body,
    chunks: u32,
    paused: bool,
    ended: bool,
}

impl Shout {
    fn body(body: Body) -> Body {
        Body::stream(Self { body, chunks: 0, paused: false, ended: false })
    }
}

impl BodyStream for Shout {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Failure>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.paused = !self.paused;
        if self.paused {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        match self.body.poll_frame(cx) {
            Poll::Ready(Some(Ok(Frame::Data(data)))) => {
                self.chunks += 1;
                Poll::Ready(Some(Ok(Frame::Data(Bytes::from(data.to_ascii_uppercase())))))
            }
            Poll::Ready(Some(Ok(Frame::Trailers(mut trailers)))) => {
                self.ended = true;
                trailers.append("x-outer-chunks", self.chunks.to_string().as_bytes()).unwrap();
                Poll::Ready(Some(Ok(Frame::Trailers(trailers))))
            }
            Poll::Ready(None) => {
                self.ended = true;
                let mut trailers = Headers::new();
                trailers.append("x-chunks", self.chunks.to_string().as_bytes()).unwrap();
                Poll::Ready(Some(Ok(Frame::Trailers(trailers))))
            }
            Poll::Pending => {
                self.paused = false;
                Poll::Pending
            }
            failed => failed,
        }
    }
}

impl Layer for Filter {
    fn handle<'a>(&'a self, mut request: Request, exchange: &'a Exchange, next: Next<'a>) -> Handled<'a> {
        Box::pin(async move {
            request.headers.set("x-filtered", b"request").unwrap();
            request.body = Shout::body(request.body);
            let mut response = next.run(request, exchange).await?;
            response.headers.set("x-filtered", b"response").unwrap();
            response.body = Shout::body(response.body);
            Ok(response)
        })
    }
}

/// Runs several plugins in its own order, with a response phase in the same order.
struct Composite(Vec<&'static str>);

impl Layer for Composite {
    fn handle<'a>(&'a self, mut request: Request, exchange: &'a Exchange, next: Next<'a>) -> Handled<'a> {
        Box::pin(async move {
            for plugin in &self.0 {
                request.headers.append("x-access", plugin.as_bytes()).unwrap();
            }
            let mut response = next.run(request, exchange).await?;
            for plugin in &self.0 {
                response.headers.append("x-header-filter", plugin.as_bytes()).unwrap();
            }
            Ok(response)
        })
    }
}

/// Answers early and reads nothing of the body.
struct Early;

impl Layer for Early {
    fn handle<'a>(&'a self, request: Request, _: &'a Exchange, _: Next<'a>) -> Handled<'a> {
        drop(request);
        let mut response = Response::new(StatusCode::FORBIDDEN);
        response.body = Body::full("early");
        Box::pin(std::future::ready(Ok(response)))
    }
}

/// Replaces both bodies.
struct Replace;

impl Layer for Replace {
    fn handle<'a>(&'a self, mut request: Request, exchange: &'a Exchange, next: Next<'a>) -> Handled<'a> {
        Box::pin(async move {
            request.body = Body::full("another request");
            let response = next.run(request, exchange).await?;
            let mut replaced = response.clone_head();
            let (seen, _) = response.body.collect(1000).await?;
            replaced.body = Body::full([b"instead of: ", &seen[..]].concat());
            Ok(replaced)
        })
    }
}

/// Fails at once.
struct Fail;

impl Layer for Fail {
    fn handle<'a>(&'a self, _: Request, _: &'a Exchange, _: Next<'a>) -> Handled<'a> {
        Box::pin(std::future::ready(Err(Failure::new(Reason::PolicyError).detail("secret detail"))))
    }
}

/// Fails on the way back.
struct FailLate;

impl Layer for FailLate {
    fn handle<'a>(&'a self, request: Request, exchange: &'a Exchange, next: Next<'a>) -> Handled<'a> {
        Box::pin(async move {
            next.run(request, exchange).await?;
            Err(Failure::new(Reason::PolicyError).detail("secret detail"))
        })
    }
}

/// Never answers.
struct Stuck;

impl Layer for Stuck {
    fn handle<'a>(&'a self, _: Request, _: &'a Exchange, _: Next<'a>) -> Handled<'a> {
        let polled = Cell::new(0);
        Box::pin(std::future::poll_fn(move |_| {
            polled.set(polled.get() + 1);
            Poll::Pending
        }))
    }
}

/// Keeps the whole worker busy for a while, as no layer may.
struct Hog;

impl Layer for Hog {
    fn handle<'a>(&'a self, request: Request, exchange: &'a Exchange, next: Next<'a>) -> Handled<'a> {
        std::thread::sleep(std::time::Duration::from_millis(700));
        next.run(request, exchange)
    }
}

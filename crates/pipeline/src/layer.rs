//! Layers and how they are run: order, clocks, wall time, failure policies and records, once for all worlds.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::LocalBoxFuture;

use crate::shared_body::Shared;
use crate::{
    Blame, Budget, Exchange, Failure, LogLevel, OnFailure, Reason, Request, Response, Role, StepRecord,
    Verdict,
};

/// One step of the pipeline, around the next one. A handler is a layer that does not call `next`.
pub trait Layer {
    /// Handles a request: answer, or pass it on with `next` and give back its response, either one changed as need be.
    ///
    /// To filter a body as it streams, wrap it ([`Body::stream`]) and return: the wrapper is polled while the message
    /// is sent. Dropping the future means that the exchange is over (client gone, wall time spent).
    ///
    /// # Errors
    /// A [`Failure`] ends the exchange, or skips this layer when its failure policy is open. Failures of `next` are
    /// to be handed on unless the layer has an answer for them.
    fn handle<'a>(
        &'a self,
        request: Request,
        exchange: &'a Exchange,
        next: Next<'a>,
    ) -> LocalBoxFuture<'a, Result<Response, Failure>>;

    /// Called once after the last byte of the response, or after the exchange broke off, if the layer had its turn.
    fn log(&self, _exchange: &Exchange) {}
}

/// A layer in its place on a route.
#[derive(Clone)]
pub struct Step {
    /// The policy's name.
    pub policy: Arc<str>,
    /// Its world.
    pub world: Arc<str>,
    /// Its role.
    pub role: Role,
    /// Its budget; `None` for the gateway's own layers, which have their own timeouts.
    pub budget: Option<Budget>,
    /// The layer.
    pub layer: Rc<dyn Layer>,
}

/// A route's pipeline on one worker: the layers, outermost first, the last of which is the handler.
pub struct Chain {
    steps: Box<[Step]>,
}

impl Chain {
    /// A pipeline of these steps. The last one is the handler.
    pub fn new(steps: Vec<Step>) -> Self {
        Self { steps: steps.into() }
    }

    /// The steps, outermost first.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Runs the pipeline.
    ///
    /// # Errors
    /// The failure that no layer had an answer for; it is noted on the exchange.
    pub async fn run(&self, request: Request, exchange: &Exchange) -> Result<Response, Failure> {
        let result = Next { chain: self, index: 0, keeper: None }.run(request, exchange).await;
        if let Err(failure) = &result {
            exchange.fail(failure);
        }
        result
    }

    /// Tells the layers that had their turn that the exchange is over.
    pub fn log(&self, exchange: &Exchange) {
        let turns = exchange.with_steps(|steps| {
            for record in steps.iter_mut().filter(|record| record.verdict == Verdict::Running) {
                record.verdict = Verdict::Abandoned;
            }
            steps.len()
        });
        for step in self.steps.iter().take(turns) {
            step.layer.log(exchange);
        }
    }
}

/// The rest of the pipeline, from the point of view of one layer.
pub struct Next<'a> {
    chain: &'a Chain,
    index: usize,
    keeper: Option<Rc<Keeper>>,
}

/// What a layer that may be skipped was given, so that the exchange can go on without it.
#[derive(Default)]
struct Keeper {
    request: RefCell<Option<Kept<Request>>>,
    response: RefCell<Option<Kept<Response>>>,
}

struct Kept<T> {
    head: T,
    body: Shared,
}

impl<'a> Next<'a> {
    /// The index of the layer that was given this, for [`Exchange::charge`].
    pub fn step(&self) -> usize {
        self.index.saturating_sub(1)
    }

    /// Runs the layers within and the handler.
    ///
    /// # Errors
    /// The failure of a layer within, of the handler, or of the upstream.
    pub fn run(
        self,
        request: Request,
        exchange: &'a Exchange,
    ) -> LocalBoxFuture<'a, Result<Response, Failure>> {
        let Some(step) = self.chain.steps.get(self.index) else {
            let failure = Failure::new(Reason::Internal).detail("a handler called the layer after it");
            return Box::pin(std::future::ready(Err(failure)));
        };
        boxed(|| run_step(self.chain, self.index, step, self.keeper, request, exchange))
    }
}

/// A future that is made where it stays. `Box::pin(f())` makes it on the stack first and copies all of it, mostly room for
/// what a later state of it needs.
pub fn boxed<'a, F: Future + 'a>(make: impl FnOnce() -> F) -> LocalBoxFuture<'a, F::Output> {
    let made: Box<F> = Box::write(Box::new_uninit(), make());
    Box::into_pin(made)
}

async fn run_step(
    chain: &Chain,
    index: usize,
    step: &Step,
    outer: Option<Rc<Keeper>>,
    mut request: Request,
    exchange: &Exchange,
) -> Result<Response, Failure> {
    enter(step, index, exchange, &request);
    let open = step.budget.is_some_and(|b| b.on_failure == OnFailure::Open);
    let keeper = open.then(|| {
        let keeper = Rc::new(Keeper::default());
        keeper
            .request
            .replace(Some(Kept { head: request.clone_head(), body: Shared::split(&mut request.body) }));
        keeper
    });
    if let Some(xray) = exchange.xray_of() {
        xray.gives(index, &request);
    }

    let next = Next { chain, index: index + 1, keeper: keeper.clone() };
    let handling = step.layer.handle(request, exchange, next);
    let mut result = match step.budget {
        Some(budget) => Guarded { handling, wall: budget.wall, timer: None, exchange, index }.await,
        None => handling.await,
    };

    if let Err(failure) = &mut result
        && failure.blame() == Blame::Policy
        && failure.policy_name().is_none()
    {
        *failure = failure.clone().policy(&step.policy);
    }
    if let (Err(failure), Some(keeper)) = (&result, keeper)
        && failure.policy_name().is_some_and(|name| *name == step.policy)
        && let Some(recovered) = skip(chain, index, &keeper, failure, exchange)
    {
        let message = format!("policy {:?} failed and was skipped: {failure}", step.policy);
        exchange.log(LogLevel::Warn, Some(&step.policy), message);
        let reason = failure.reason();
        result = recovered.await;
        exchange.with_steps(|steps| steps[index].verdict = Verdict::Skipped { reason });
    }
    if let (Ok(response), Some(outer)) = (&mut result, outer) {
        let body = Shared::split(&mut response.body);
        outer.response.replace(Some(Kept { head: response.clone_head(), body }));
    }
    leave(step, index, exchange, &result);
    result
}

/// How the exchange can go on without a layer that failed: with the response it was given, or with the request; `None`
/// when it has already read from the body concerned.
fn skip<'a>(
    chain: &'a Chain,
    index: usize,
    keeper: &Keeper,
    failure: &Failure,
    exchange: &'a Exchange,
) -> Option<LocalBoxFuture<'a, Result<Response, Failure>>> {
    if let Some(Kept { mut head, body }) = keeper.response.take() {
        head.body = body.take_untouched()?;
        return Some(Box::pin(std::future::ready(Ok(head))));
    }
    let called = exchange.with_steps(|steps| steps[index].called);
    if called || failure.reason() == Reason::Internal {
        return None;
    }
    let Kept { mut head, body } = keeper.request.take()?;
    head.body = body.take_untouched()?;
    Some(Next { chain, index: index + 1, keeper: None }.run(head, exchange))
}

fn enter(step: &Step, index: usize, exchange: &Exchange, request: &Request) {
    let lap = exchange.lap();
    exchange.with_steps(|steps| {
        if let Some(caller) = index.checked_sub(1).and_then(|i| steps.get_mut(i)) {
            caller.duration += lap;
            caller.within = true;
            caller.called = true;
        }
        if steps.len() <= index {
            steps.push(StepRecord {
                policy: step.policy.clone(),
                world: step.world.clone(),
                role: step.role,
                verdict: Verdict::Running,
                duration: Duration::ZERO,
                cpu: Duration::ZERO,
                status: None,
                edits: Vec::new(),
                begun: exchange.lapped(),
                ended: Duration::ZERO,
                within: false,
                called: false,
            });
        }
    });
    if let (Some(xray), Some(caller)) = (exchange.xray_of(), index.checked_sub(1)) {
        let edits = xray.passes_on(caller, request);
        exchange.with_steps(|steps| steps[caller].edits.extend(edits));
    }
}

fn leave(step: &Step, index: usize, exchange: &Exchange, result: &Result<Response, Failure>) {
    let lap = exchange.lap();
    let status = result.as_ref().ok().map(|response| response.status);
    exchange.with_steps(|steps| {
        let record = &mut steps[index];
        record.duration += lap;
        record.ended = exchange.lapped();
        record.status = status;
        if record.verdict == Verdict::Running {
            // A failure from within passes through the layers around it: they did not fail.
            let passed = |failure: &Failure| record.called && failure.policy_name() != Some(&step.policy);
            record.verdict = match result {
                Err(failure) if passed(failure) => Verdict::Continued,
                Err(failure) => Verdict::Failed { reason: failure.reason() },
                Ok(_) if record.called => Verdict::Continued,
                Ok(_) => Verdict::Answered,
            };
        }
        if record.verdict == Verdict::Answered && step.role != Role::Handler {
            exchange.set_answered();
        }
        if let Some(caller) = index.checked_sub(1).and_then(|i| steps.get_mut(i)) {
            caller.within = false;
        }
    });
    if let (Some(xray), Ok(response)) = (exchange.xray_of(), result) {
        let edits = xray.gives_back(index, response);
        exchange.with_steps(|steps| steps[index].edits.extend(edits));
    }
}

/// A layer's turn under its wall time. The timer exists only while the layer itself waits: a turn that never waits
/// costs none, and time in the layers within does not count.
struct Guarded<'a> {
    handling: LocalBoxFuture<'a, Result<Response, Failure>>,
    wall: Duration,
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
    exchange: &'a Exchange,
    index: usize,
}

impl Future for Guarded<'_> {
    type Output = Result<Response, Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(result) = self.handling.as_mut().poll(cx) {
            return Poll::Ready(result);
        }
        let (within, spent) = self.exchange.with_steps(|steps| {
            let record = &steps[self.index];
            (record.within, record.duration)
        });
        if within {
            self.timer = None;
            return Poll::Pending;
        }
        let left = self.wall.saturating_sub(spent + self.exchange.since_lap());
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(left)));
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => {
                let failure = Failure::new(Reason::PolicyTimeout);
                Poll::Ready(Err(failure.detail(format!("no answer within {:?}", self.wall))))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

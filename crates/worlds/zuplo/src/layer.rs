//! One policy's turn on an exchange: into the VM, out of it, and what its result means.

use std::cell::OnceCell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use polygate_engine_js::rquickjs::{Ctx, Error, Result as JsResult, Value};
use polygate_engine_js::web::fetch::{self, Limits};
use polygate_engine_js::{Arguments, CallError, CallScope, FEW_ARGS, Kept};
use polygate_pipeline::{Exchange, Failure, Layer, Next, Reason, Request, Response, Role};

use crate::binding::Facts;
use crate::live::{Bound, Live};
use crate::messages;
use crate::program::Entry;
use crate::seat::Seat;
use crate::session::Session;
use crate::turn::{AbortOnDrop, Turn};
use crate::uncaught;
use crate::verdict::{self, Handled, Verdict};

/// A policy in a role on a route.
pub(crate) struct PolicyLayer {
    seat: Rc<Seat>,
    policy: usize,
    role: Role,
    /// A copy of this worker's own: counting references to a shared one would be a cache line shared by workers.
    name: Arc<str>,
    /// What is the same for all its turns, once its place is known.
    facts: OnceCell<Rc<Facts>>,
}

impl Layer for PolicyLayer {
    fn handle<'a>(
        &'a self,
        request: Request,
        exchange: &'a Exchange,
        next: Next<'a>,
    ) -> LocalBoxFuture<'a, Result<Response, Failure>> {
        let Some(calls) = self.quick(exchange, next.step()) else {
            return Box::pin(self.run(request, exchange, next));
        };
        let turn = Turn::begin(calls.session.clone());
        match self.role {
            Role::Inbound => calls.inbound_turn(turn, request, next),
            _ => Box::pin(calls.outbound_turn(turn, request, next)),
        }
    }
}

impl PolicyLayer {
    pub(crate) fn new(seat: Rc<Seat>, policy: usize, role: Role) -> Self {
        let name = Arc::from(&*seat.program().policies[policy].name);
        Self { seat, policy, role, name, facts: OnceCell::new() }
    }

    /// The calls of a turn that waits for nothing before its policy runs, as most do. It is begun at once, so that what
    /// is left of it, which is put on the heap, stays small.
    fn quick<'a>(&'a self, exchange: &'a Exchange, step: usize) -> Option<Calls<'a>> {
        let program = self.seat.program();
        if self.role == Role::Handler || !matches!(program.entries[self.policy], Entry::Module(_)) {
            return None;
        }
        let live = self.seat.ready()?;
        live.function(self.policy, self.role)?;
        let session = Session::of(exchange);
        if live.request_hooks && session.depth.get() == 0 {
            return None;
        }
        Some(self.calls(live, session, exchange, step))
    }

    fn calls<'a>(
        &'a self,
        live: Rc<Live>,
        session: Rc<Session>,
        exchange: &'a Exchange,
        step: usize,
    ) -> Calls<'a> {
        let budget = &self.seat.program().policies[self.policy].budget;
        let facts = || Rc::new(Facts { limits: Limits::from(budget), wall: budget.wall, step });
        let facts = self.facts.get_or_init(facts);
        let (name, policy) = (&self.name, self.policy);
        Calls { seat: &self.seat, live, session, exchange, name, facts, cpu: budget.cpu, policy }
    }

    async fn run(
        &self,
        mut request: Request,
        exchange: &Exchange,
        next: Next<'_>,
    ) -> Result<Response, Failure> {
        let session = Session::of(exchange);
        let turn = Turn::begin(session.clone());
        let live = match self.seat.ready() {
            Some(live) => live,
            None => Box::pin(self.seat.wait()).await?,
        };
        let program = self.seat.program();
        let entry = &program.entries[self.policy];
        let call = self.calls(live.clone(), session, exchange, next.step());
        // For the hooks, when no policy of this world stands on the route.
        let mut head = None;
        if turn.is_outermost() && live.request_hooks {
            match call.hooked_request(request).await? {
                Verdict::Continue(changed) => request = changed,
                Verdict::Answer(response) => return call.leave(&turn, None, response).await,
                Verdict::Wrong(what) => {
                    return Err(wrong("a request hook must return a Request or a Response", &what));
                }
            }
        }
        let response = match (entry, self.role) {
            (Entry::Hooks, _) => {
                head = live.sending_hooks.then(|| request.clone_head());
                next.run(request, exchange).await?
            }
            (Entry::Template(_, template), _) => {
                let (text, request) = Box::pin(call.template(self.function(&live)?, request)).await?;
                exchange.set_upstream_target(template.target(&text, &request.target)?);
                next.run(request, exchange).await?
            }
            (Entry::Module(_), Role::Inbound) => match call.inbound(self.function(&live)?, request).await? {
                Verdict::Continue(request) => next.run(request, exchange).await?,
                Verdict::Answer(response) => response,
                Verdict::Wrong(what) => {
                    return Err(wrong(INBOUND, &what));
                }
            },
            (Entry::Module(_), Role::Outbound) => {
                let head = request.clone_head();
                let response = next.run(request, exchange).await?;
                let handled = call.outbound(self.function(&live)?, Some(head), response).await?;
                handled.or_wrong(OUTBOUND)?
            }
            (Entry::Module(_), Role::Handler) => {
                let handled = call.handler(self.function(&live)?, request).await?;
                handled.or_wrong("a handler must return a Response or a value for JSON")?
            }
        };
        call.leave(&turn, head, response).await
    }

    fn function<'l>(&self, live: &'l Live) -> Result<&'l Bound, Failure> {
        // `Instance::layer` has seen that the policy has this role.
        live.function(self.policy, self.role).ok_or_else(|| Failure::new(Reason::PolicyUnavailable))
    }
}

const INBOUND: &str = "an inbound policy must return a Request or a Response";
const HOOK: &str = "a response-sending hook must return a Response";
const OUTBOUND: &str = "an outbound policy must return a Response";

fn wrong(expected: &str, what: &str) -> Failure {
    Failure::new(Reason::PolicyResult).detail(format!("{expected}, it returned {what}"))
}

/// A call that has ended already, as most do, or one to be awaited: on the heap, so that layers' futures stay small.
enum Begun<'a, T> {
    Ended(Option<Result<T, Failure>>),
    Waiting(LocalBoxFuture<'a, Result<T, Failure>>),
}

// Nothing is pinned: the result is only ever moved out.
impl<T> Unpin for Begun<'_, T> {}

impl<T> Future for Begun<'_, T> {
    type Output = Result<T, Failure>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Ended(result) => {
                Poll::Ready(result.take().unwrap_or_else(|| Err(Failure::new(Reason::Internal))))
            }
            Self::Waiting(rest) => rest.as_mut().poll(cx),
        }
    }
}

impl Handled {
    /// The response, or the failure that the result was none.
    fn or_wrong(self, expected: &str) -> Result<Response, Failure> {
        match self {
            Self::Response(response) => Ok(response),
            Self::Wrong(what) => Err(wrong(expected, &what)),
        }
    }
}

/// What the request object shows beside a response.
enum Shown {
    /// This head.
    Head(Request),
    /// What it shows already, which was passed on as it stands: without its body.
    PassedOn,
    /// What it shows already.
    AsItIs,
}

/// Calls into the VM for one turn.
#[derive(Clone)]
struct Calls<'a> {
    seat: &'a Rc<Seat>,
    live: Rc<Live>,
    session: Rc<Session>,
    exchange: &'a Exchange,
    name: &'a Arc<str>,
    facts: &'a Rc<Facts>,
    cpu: Duration,
    policy: usize,
}

impl<'a> Calls<'a> {
    /// An inbound policy's whole turn: its call, what is within, and the hooks for the response.
    fn inbound_turn(
        self,
        turn: Turn,
        request: Request,
        next: Next<'a>,
    ) -> LocalBoxFuture<'a, Result<Response, Failure>> {
        let begun = match self.live.function(self.policy, Role::Inbound) {
            Some(function) => self.inbound(function, request),
            None => Begun::Ended(Some(Err(Failure::new(Reason::PolicyUnavailable)))),
        };
        match begun {
            Begun::Ended(Some(Ok(Verdict::Continue(request)))) => {
                self.session.pass_on(self.facts.step);
                let within = next.run(request, self.exchange);
                Box::pin(async move {
                    let response = within.await?;
                    self.leave(&turn, None, response).await
                })
            }
            begun => Box::pin(async move {
                let response = match begun.await? {
                    Verdict::Continue(request) => next.run(request, self.exchange).await?,
                    Verdict::Answer(response) => response,
                    Verdict::Wrong(what) => return Err(wrong(INBOUND, &what)),
                };
                self.leave(&turn, None, response).await
            }),
        }
    }

    /// An outbound policy's whole turn.
    async fn outbound_turn(self, turn: Turn, request: Request, next: Next<'a>) -> Result<Response, Failure> {
        let head = if self.session.shows_request_of(self.facts.step) {
            self.session.pass_on(self.facts.step);
            None
        } else {
            Some(request.clone_head())
        };
        let response = next.run(request, self.exchange).await?;
        let begun = match self.live.function(self.policy, Role::Outbound) {
            Some(function) => self.outbound(function, head, response),
            None => return Err(Failure::new(Reason::PolicyUnavailable)),
        };
        let response = begun.await?.or_wrong(OUTBOUND)?;
        self.leave(&turn, None, response).await
    }

    fn inbound(&self, bound: &Bound, request: Request) -> Begun<'a, Verdict> {
        let (live, session) = (self.live.clone(), self.session.clone());
        let args = self.with_request(request, Some(bound));
        self.call(bound.function(), args, move |ctx, value| verdict::inbound(ctx, &value, &live, &session))
    }

    fn outbound(&self, bound: &Bound, head: Option<Request>, response: Response) -> Begun<'a, Handled> {
        let live = self.live.clone();
        let head = head.map_or(Shown::PassedOn, Shown::Head);
        let args = self.with_response(head, response, Some(bound));
        self.call(bound.function(), args, move |ctx, value| verdict::outbound(ctx, &value, &live))
    }

    fn handler(&self, bound: &Bound, request: Request) -> Begun<'a, Handled> {
        let live = self.live.clone();
        let args = self.with_request(request, Some(bound));
        self.call(bound.function(), args, move |ctx, value| verdict::handler(ctx, value, &live))
    }

    fn template(&self, bound: &Bound, request: Request) -> Begun<'a, (String, Request)> {
        let session = self.session.clone();
        let args = self.with_request(request, Some(bound));
        let finish = move |ctx: &Ctx<'_>, value: Value<'_>| -> JsResult<(String, Request)> {
            let own = session.request(ctx).ok_or(Error::Unknown)?;
            Ok((value.get()?, messages::take_request(ctx, &own)?))
        };
        self.call(bound.function(), args, finish)
    }

    fn hooked_request(&self, request: Request) -> Begun<'a, Verdict> {
        let (live, session) = (self.live.clone(), self.session.clone());
        let args = self.with_request(request, None);
        let hooks = &self.live.hooks().request_hooks;
        self.call(hooks, args, move |ctx, value| verdict::inbound(ctx, &value, &live, &session))
    }

    /// Runs the hooks for the response when no layer of this world stands around.
    async fn leave(
        &self,
        turn: &Turn,
        head: Option<Request>,
        response: Response,
    ) -> Result<Response, Failure> {
        if !turn.is_outermost()
            || !(self.live.sending_hooks || self.session.has_hooks())
            || self.live.vm.is_dead()
        {
            return Ok(response);
        }
        let mut response = response;
        if !self.live.sending_hooks {
            // Mostly a policy left one hook: it needs no script around it.
            while let Some(hook) = self.session.take_only_hook() {
                response = self.sending(&hook, None, response).await?.or_wrong(HOOK)?;
            }
            if !self.session.has_hooks() {
                return Ok(response);
            }
        }
        self.sending(&self.live.hooks().sending_hooks, head, response).await?.or_wrong(HOOK)
    }

    fn sending(&self, hook: &Kept, head: Option<Request>, response: Response) -> Begun<'a, Handled> {
        let live = self.live.clone();
        let args = self.with_response(head.map_or(Shown::AsItIs, Shown::Head), response, None);
        self.call(hook, args, move |ctx, value| verdict::outbound(ctx, &value, &live))
    }

    /// Arguments `(request, context)`, and those of `bound`.
    fn with_request(
        &self,
        request: Request,
        bound: Option<&Bound>,
    ) -> impl for<'js> FnOnce(&Ctx<'js>, &mut Arguments<'js>) -> JsResult<()> {
        move |ctx, args| {
            let (request, context) = self.session.present(ctx, &self.live, self.exchange, request)?;
            args.push(request)?;
            args.push(context)?;
            bound.map_or(Ok(()), |bound| bound.push(ctx, args))
        }
    }

    /// Arguments `(response, request, context)`, and those of `bound`.
    fn with_response(
        &self,
        shown: Shown,
        response: Response,
        bound: Option<&Bound>,
    ) -> impl for<'js> FnOnce(&Ctx<'js>, &mut Arguments<'js>) -> JsResult<()> {
        move |ctx, args| {
            let passed_on = matches!(shown, Shown::PassedOn);
            let (request, context) = match shown {
                Shown::Head(head) => self.session.present(ctx, &self.live, self.exchange, head)?,
                Shown::PassedOn | Shown::AsItIs => self.session.made(ctx)?,
            };
            if bound.is_some_and(|bound| 3 + bound.count() > FEW_ARGS) {
                args.expect_many();
            }
            if passed_on {
                fetch::forget_body(request.as_value());
            }
            args.push(messages::wrap_response(ctx, response)?)?;
            args.push(request)?;
            args.push(context)?;
            bound.map_or(Ok(()), |bound| bound.push(ctx, args))
        }
    }

    /// Calls `function` under this policy's budget. It runs at once; what is left of it is awaited.
    fn call<T: 'a, C>(
        &self,
        function: &Kept,
        args: impl for<'js> FnOnce(&Ctx<'js>, &mut Arguments<'js>) -> JsResult<()>,
        finish: C,
    ) -> Begun<'a, T>
    where
        C: for<'js> FnOnce(&Ctx<'js>, Value<'js>) -> JsResult<T> + 'a,
    {
        let scope = CallScope::new(self.cpu, Some(self.exchange.clone()), Some(self.name.clone()));
        scope.attach(self.facts.clone());
        match self.live.vm.call(&scope, function, args, finish).into_ready() {
            Ok(result) => Begun::Ended(Some(self.ended(&scope, result))),
            Err(call) => {
                let this = self.clone();
                Begun::Waiting(Box::pin(async move {
                    let guard = AbortOnDrop::new(&this.live.vm, &scope, &this.session);
                    let result = call.await;
                    guard.disarm();
                    this.ended(&scope, result)
                }))
            }
        }
    }

    fn ended<T>(&self, scope: &CallScope, result: Result<T, CallError>) -> Result<T, Failure> {
        self.exchange.charge(self.facts.step, scope.cpu_used());
        result.map_err(|error| self.failure(error))
    }

    fn failure(&self, error: CallError) -> Failure {
        if self.live.vm.is_dead() {
            // Refused exchanges ask again: an attempt that fails is not final.
            self.seat.replace();
        }
        let members = match &error {
            CallError::Script(error) => {
                error.properties.get("extensionMembers").and_then(|members| members.as_object()).cloned()
            }
            _ => None,
        };
        let failure = match &error {
            // Named here: the pipeline blames a policy by itself only for reasons that can have no other cause.
            CallError::Script(script) => match uncaught::failure(script) {
                Some(failure) => failure.detail(error.to_string()).policy(self.name),
                None => error.into_failure(),
            },
            _ => error.into_failure(),
        };
        match members {
            Some(members) => failure.extensions(members),
            None => failure,
        }
    }
}

//! One policy's turn on an exchange: into the VM, out of it, and what its result means.

use std::cell::Cell;
use std::rc::Rc;

use futures_util::future::LocalBoxFuture;
use polygate_engine_js::rquickjs::{Ctx, Error, Result as JsResult, Value};
use polygate_engine_js::web::fetch::Limits;
use polygate_engine_js::{Arguments, CallError, CallScope, Kept};
use polygate_pipeline::{Exchange, Failure, Layer, Next, PolicySpec, Reason, Request, Response, Role};

use crate::binding::Facts;
use crate::live::Live;
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
}

impl Layer for PolicyLayer {
    fn handle<'a>(
        &'a self,
        request: Request,
        exchange: &'a Exchange,
        next: Next<'a>,
    ) -> LocalBoxFuture<'a, Result<Response, Failure>> {
        Box::pin(self.run(request, exchange, next))
    }
}

impl PolicyLayer {
    pub(crate) fn new(seat: Rc<Seat>, policy: usize, role: Role) -> Self {
        Self { seat, policy, role }
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
            None => self.seat.wait().await?,
        };
        let program = self.seat.program();
        let (spec, entry) = (&program.policies[self.policy], &program.entries[self.policy]);
        let call =
            Calls { seat: &self.seat, live: &live, session: &session, exchange, spec, step: next.step() };
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
                let (text, request) = call.template(self.function(&live)?, request).await?;
                exchange.set_upstream_target(template.target(&text, &request.target)?);
                next.run(request, exchange).await?
            }
            (Entry::Module(_), Role::Inbound) => match call.inbound(self.function(&live)?, request).await? {
                Verdict::Continue(request) => next.run(request, exchange).await?,
                Verdict::Answer(response) => response,
                Verdict::Wrong(what) => {
                    return Err(wrong("an inbound policy must return a Request or a Response", &what));
                }
            },
            (Entry::Module(_), Role::Outbound) => {
                let head = request.clone_head();
                let response = next.run(request, exchange).await?;
                call.outbound(self.function(&live)?, head, response).await?
            }
            (Entry::Module(_), Role::Handler) => call.handler(self.function(&live)?, request).await?,
        };
        call.leave(&turn, head, response).await
    }

    fn function<'l>(&self, live: &'l Live) -> Result<&'l Kept, Failure> {
        // `Instance::layer` has seen that the policy has this role.
        live.function(self.policy, self.role).ok_or_else(|| Failure::new(Reason::PolicyUnavailable))
    }
}

fn wrong(expected: &str, what: &str) -> Failure {
    Failure::new(Reason::PolicyResult).detail(format!("{expected}, it returned {what}"))
}

/// Calls into the VM for one turn.
struct Calls<'a> {
    seat: &'a Rc<Seat>,
    live: &'a Rc<Live>,
    session: &'a Rc<Session>,
    exchange: &'a Exchange,
    spec: &'a PolicySpec,
    step: usize,
}

impl Calls<'_> {
    fn inbound(&self, function: &Kept, request: Request) -> impl Future<Output = Result<Verdict, Failure>> {
        let (live, session) = (self.live.clone(), self.session.clone());
        let args = self.with_request(request);
        self.call(function, args, move |ctx, value| verdict::inbound(ctx, &value, &live, &session))
    }

    async fn outbound(
        &self,
        function: &Kept,
        head: Request,
        response: Response,
    ) -> Result<Response, Failure> {
        let live = self.live.clone();
        let args = self.with_response(Some(head), response);
        match self.call(function, args, move |ctx, value| verdict::outbound(ctx, &value, &live)).await? {
            Handled::Response(response) => Ok(response),
            Handled::Wrong(what) => Err(wrong("an outbound policy must return a Response", &what)),
        }
    }

    async fn handler(&self, function: &Kept, request: Request) -> Result<Response, Failure> {
        let live = self.live.clone();
        let args = self.with_request(request);
        match self.call(function, args, move |ctx, value| verdict::handler(ctx, value, &live)).await? {
            Handled::Response(response) => Ok(response),
            Handled::Wrong(what) => Err(wrong("a handler must return a Response or a value for JSON", &what)),
        }
    }

    fn template(
        &self,
        function: &Kept,
        request: Request,
    ) -> impl Future<Output = Result<(String, Request), Failure>> {
        let session = self.session.clone();
        let args = self.with_request(request);
        let finish = move |ctx: &Ctx<'_>, value: Value<'_>| -> JsResult<(String, Request)> {
            let own = session.request(ctx).ok_or(Error::Unknown)?;
            Ok((value.get()?, messages::take_request(ctx, &own)?))
        };
        self.call(function, args, finish)
    }

    fn hooked_request(&self, request: Request) -> impl Future<Output = Result<Verdict, Failure>> {
        let (live, session) = (self.live.clone(), self.session.clone());
        let args = self.with_request(request);
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
            || !(self.session.hooked.get() || self.live.sending_hooks)
            || self.live.vm.is_dead()
        {
            return Ok(response);
        }
        let live = self.live.clone();
        let args = self.with_response(head, response);
        let hooks = &self.live.hooks().sending_hooks;
        match self.call(hooks, args, move |ctx, value| verdict::outbound(ctx, &value, &live)).await? {
            Handled::Response(response) => Ok(response),
            Handled::Wrong(what) => Err(wrong("a response-sending hook must return a Response", &what)),
        }
    }

    /// Arguments `(request, context)`.
    fn with_request(
        &self,
        request: Request,
    ) -> impl for<'js> FnOnce(&Ctx<'js>, &mut Arguments<'js>) -> JsResult<()> {
        let (live, session, exchange) = (self.live.clone(), self.session.clone(), self.exchange.clone());
        move |ctx, args| {
            let context = session.context(ctx, &live, &exchange)?;
            args.push(session.present(ctx, &live, &context, request)?)?;
            args.push(context)
        }
    }

    /// Arguments `(response, request, context)`; with a head, the request object shows it.
    fn with_response(
        &self,
        head: Option<Request>,
        response: Response,
    ) -> impl for<'js> FnOnce(&Ctx<'js>, &mut Arguments<'js>) -> JsResult<()> {
        let (live, session, exchange) = (self.live.clone(), self.session.clone(), self.exchange.clone());
        move |ctx, args| {
            let context = session.context(ctx, &live, &exchange)?;
            let request = match head {
                Some(head) => session.present(ctx, &live, &context, head)?,
                None => session.request(ctx).ok_or(Error::Unknown)?,
            };
            args.push(messages::wrap_response(ctx, response)?)?;
            args.push(request)?;
            args.push(context)
        }
    }

    /// Calls `function` under this policy's budget. It runs at once; what is left of it is awaited.
    fn call<T, C>(
        &self,
        function: &Kept,
        args: impl for<'js> FnOnce(&Ctx<'js>, &mut Arguments<'js>) -> JsResult<()>,
        finish: C,
    ) -> impl Future<Output = Result<T, Failure>>
    where
        C: for<'js> FnOnce(&Ctx<'js>, Value<'js>) -> JsResult<T>,
    {
        let vm = &self.live.vm;
        let scope =
            CallScope::new(self.spec.budget.cpu, Some(self.exchange.clone()), Some(self.spec.name.clone()));
        let limits = Limits::from(&self.spec.budget);
        let (wall, step) = (self.spec.budget.wall, self.step);
        scope.attach(Rc::new(Facts { limits, wall, step, detached: Cell::new(false) }));
        let call = vm.call(&scope, function, args, finish);
        async move {
            let result = match call.into_ready() {
                Ok(result) => result,
                Err(call) => {
                    let guard = AbortOnDrop::new(vm, &scope, self.session);
                    let result = call.await;
                    guard.disarm();
                    result
                }
            };
            self.exchange.charge(self.step, scope.cpu_used());
            result.map_err(|error| self.failure(error))
        }
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
                Some(failure) => failure.detail(error.to_string()).policy(&self.spec.name),
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

//! Sessions: what the turns of one exchange share, so that all of them see the same request and context objects.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use polygate_engine_js::rquickjs::{Ctx, Error, JsLifetime, Object, Result as JsResult, class::Trace};
use polygate_engine_js::web::fetch;
use polygate_engine_js::{Kept, into_object};
use polygate_pipeline::{Exchange, Identity, Request};

use crate::binding::{function, object};
use crate::live::Live;
use crate::messages;
use crate::route::Routes;

/// Hooks that policies may leave on one exchange.
pub(crate) const MAX_HOOKS: usize = 1_000;

/// This world's state of one exchange.
#[derive(Default)]
pub(crate) struct Session {
    /// Turns under way.
    pub(crate) depth: Cell<u32>,
    /// The identity that `request.user` shows; `None` before anybody asked.
    seen: RefCell<Option<Option<Rc<Identity>>>>,
    /// The step that passed on what the request object shows.
    passed_on: Cell<Option<usize>>,
    /// The VM that the objects live in.
    generation: Cell<u64>,
    /// The request object; the context object is its owner.
    request: RefCell<Option<Kept>>,
    /// Hooks for the response that policies left.
    hooks: RefCell<Vec<Kept>>,
    /// Those that come after all others.
    final_hooks: RefCell<Vec<Kept>>,
}

/// The native part of a context object.
#[derive(JsLifetime, Trace)]
#[rquickjs::class(rename = "ZuploContext")]
pub(crate) struct Link {
    #[qjs(skip_trace)]
    pub(crate) exchange: Exchange,
    #[qjs(skip_trace)]
    pub(crate) session: Rc<Session>,
    #[qjs(skip_trace)]
    pub(crate) routes: Rc<Routes>,
}

impl Session {
    /// The exchange's session.
    pub(crate) fn of(exchange: &Exchange) -> Rc<Self> {
        exchange.extension(Self::default)
    }

    /// The request object with `request` in it, and the context object: those of the exchange, made on first use in this
    /// VM.
    pub(crate) fn present<'js>(
        self: &Rc<Self>,
        ctx: &Ctx<'js>,
        live: &Live,
        exchange: &Exchange,
        request: Request,
    ) -> JsResult<(Object<'js>, Object<'js>)> {
        if self.generation.replace(live.generation()) != live.generation() {
            self.clear();
        }
        let prototype = object(ctx, &live.hooks().request)?;
        let Some(known) = self.request(ctx) else {
            let link =
                Link { exchange: exchange.clone(), session: self.clone(), routes: live.routes().clone() };
            let context = live.hooks().new_context(ctx, link)?;
            let made = messages::wrap_request(ctx, request, &prototype)?;
            fetch::set_owner(made.as_value(), context.clone().into_value());
            self.set_request(ctx, live, &made);
            return Ok((made, context));
        };
        let context = context_of(&known)?;
        let Some(request) = messages::put_request(ctx, &known, request)? else { return Ok((known, context)) };
        // A layer of another world changed the URL: what was tied to the object is tied to its successor.
        let made = messages::wrap_request(ctx, request, &prototype)?;
        let made: Object<'js> = function(ctx, &live.hooks().adopt)?.call((made, known, context.clone()))?;
        self.set_request(ctx, live, &made);
        Ok((made, context))
    }

    /// The request and context objects as they are.
    pub(crate) fn made<'js>(&self, ctx: &Ctx<'js>) -> JsResult<(Object<'js>, Object<'js>)> {
        let request = self.request(ctx).ok_or(Error::Unknown)?;
        let context = context_of(&request)?;
        Ok((request, context))
    }

    /// The request object, if one was made.
    pub(crate) fn request<'js>(&self, ctx: &Ctx<'js>) -> Option<Object<'js>> {
        into_object(self.request.borrow().as_ref()?.get(ctx)?)
    }

    /// Makes `request` the exchange's request object.
    pub(crate) fn set_request<'js>(&self, ctx: &Ctx<'js>, live: &Live, request: &Object<'js>) {
        let kept = live.vm.handle().keep(ctx, request.clone().into_value());
        let old = self.request.replace(Some(kept));
        drop(old);
    }

    /// Notes a hook for the response; false when there are [`MAX_HOOKS`].
    pub(crate) fn add_hook(&self, hook: Kept, last: bool) -> bool {
        let mut hooks = if last { self.final_hooks.borrow_mut() } else { self.hooks.borrow_mut() };
        if hooks.len() == MAX_HOOKS {
            return false;
        }
        hooks.push(hook);
        true
    }

    /// Whether a policy left hooks for the response.
    pub(crate) fn has_hooks(&self) -> bool {
        !self.hooks.borrow().is_empty() || !self.final_hooks.borrow().is_empty()
    }

    /// Takes the hooks that policies left.
    pub(crate) fn take_hooks(&self, last: bool) -> Vec<Kept> {
        if last { self.final_hooks.take() } else { self.hooks.take() }
    }

    /// Takes the hook that policies left, if it is the only one.
    pub(crate) fn take_only_hook(&self) -> Option<Kept> {
        let mut hooks = self.hooks.borrow_mut();
        if hooks.len() == 1 && self.final_hooks.borrow().is_empty() { hooks.pop() } else { None }
    }

    /// Whether the exchange's identity is another one than when this was last asked.
    pub(crate) fn identity_changed(&self, exchange: &Exchange) -> bool {
        let identity = exchange.identity();
        let mut seen = self.seen.borrow_mut();
        let same = match (&*seen, &identity) {
            (Some(Some(seen)), Some(identity)) => Rc::ptr_eq(seen, identity),
            (Some(None), None) => true,
            _ => false,
        };
        if !same {
            *seen = Some(identity);
        }
        !same
    }

    /// Notes that the step passes on what the request object shows.
    pub(crate) fn pass_on(&self, step: usize) {
        self.passed_on.set(Some(step));
    }

    /// Whether the request that the step was given is what the request object shows: no other layer stood between.
    pub(crate) fn shows_request_of(&self, step: usize) -> bool {
        step > 0 && self.passed_on.get() == Some(step - 1)
    }

    /// Takes the request object, to tell its listeners that the client is gone.
    pub(crate) fn take_request(&self) -> Option<Kept> {
        self.request.take()
    }

    /// Gives up the JavaScript objects.
    pub(crate) fn clear(&self) {
        // Freeing them runs finalizers, which must not find these cells borrowed.
        let objects = (self.request.take(), self.hooks.take(), self.final_hooks.take());
        drop(objects);
        self.passed_on.set(None);
        self.seen.take();
    }
}

/// The context object that a request object is tied to.
fn context_of<'js>(request: &Object<'js>) -> JsResult<Object<'js>> {
    fetch::owner(request.as_value()).and_then(into_object).ok_or(Error::Unknown)
}

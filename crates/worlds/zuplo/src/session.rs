//! Sessions: what the turns of one exchange share, so that all of them see the same request and context objects.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use polygate_engine_js::Kept;
use polygate_engine_js::rquickjs::{Ctx, Error, JsLifetime, Object, Result as JsResult, class::Trace};
use polygate_pipeline::{Exchange, Identity, Request};

use crate::binding::{function, object};
use crate::live::Live;
use crate::messages;
use crate::route::Routes;

/// This world's state of one exchange.
#[derive(Default)]
pub(crate) struct Session {
    /// Turns under way.
    pub(crate) depth: Cell<u32>,
    /// Whether a policy left hooks for the response.
    pub(crate) hooked: Cell<bool>,
    /// The identity that `request.user` shows; `None` before anybody asked.
    seen: RefCell<Option<Option<Rc<Identity>>>>,
    /// The VM that the objects live in.
    generation: Cell<u64>,
    context: RefCell<Option<Kept>>,
    request: RefCell<Option<Kept>>,
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

    /// The context object, made on first use in this VM.
    pub(crate) fn context<'js>(
        self: &Rc<Self>,
        ctx: &Ctx<'js>,
        live: &Live,
        exchange: &Exchange,
    ) -> JsResult<Object<'js>> {
        if self.generation.replace(live.generation()) != live.generation() {
            self.clear();
        }
        if let Some(context) = self.context.borrow().as_ref().and_then(|kept| kept.get(ctx)) {
            return context.into_object().ok_or(Error::Unknown);
        }
        let link = Link { exchange: exchange.clone(), session: self.clone(), routes: live.routes().clone() };
        let context = live.hooks().new_context(ctx, link)?;
        self.context.replace(Some(live.vm.handle().keep(ctx, context.clone().into_value())));
        Ok(context)
    }

    /// The context object, if one was made.
    pub(crate) fn made_context<'js>(&self, ctx: &Ctx<'js>) -> Option<Object<'js>> {
        self.context.borrow().as_ref()?.get(ctx)?.into_object()
    }

    /// The request object with `request` in it: the one of the exchange, made on first use.
    pub(crate) fn present<'js>(
        &self,
        ctx: &Ctx<'js>,
        live: &Live,
        context: &Object<'js>,
        request: Request,
    ) -> JsResult<Object<'js>> {
        let known = self.request(ctx);
        let request = match &known {
            Some(known) => match messages::put_request(ctx, known, request)? {
                None => return Ok(known.clone()),
                Some(request) => request,
            },
            None => request,
        };
        let made = messages::wrap_request(ctx, request, &object(ctx, &live.hooks().request)?)?;
        let made = match known {
            // A layer of another world changed the URL: what was tied to the object is tied to its successor.
            Some(known) => function(ctx, &live.hooks().adopt)?.call((made, known, context.clone()))?,
            None => {
                live.hooks().link(ctx, &made, context)?;
                made
            }
        };
        self.set_request(ctx, live, &made);
        Ok(made)
    }

    /// The request object, if one was made. Ask for the context first.
    pub(crate) fn request<'js>(&self, ctx: &Ctx<'js>) -> Option<Object<'js>> {
        self.request.borrow().as_ref()?.get(ctx)?.into_object()
    }

    /// Makes `request` the exchange's request object.
    pub(crate) fn set_request<'js>(&self, ctx: &Ctx<'js>, live: &Live, request: &Object<'js>) {
        let kept = live.vm.handle().keep(ctx, request.clone().into_value());
        self.request.replace(Some(kept));
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

    /// Takes the request object, to tell its listeners that the client is gone.
    pub(crate) fn take_request(&self) -> Option<Kept> {
        self.request.take()
    }

    /// Gives up the JavaScript objects.
    pub(crate) fn clear(&self) {
        // Freeing them runs finalizers, which must not find these cells borrowed.
        let context = self.context.take();
        let request = self.request.take();
        drop((context, request));
        self.seen.take();
    }
}

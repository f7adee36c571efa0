//! `context.route`: one frozen object a route and VM.

use std::cell::RefCell;
use std::rc::Rc;

use polygate_engine_js::rquickjs::{Ctx, Function, Object, Result as JsResult, Value};
use polygate_engine_js::{Kept, VmHandle};
use polygate_pipeline::RouteInfo;

/// Most route objects that are kept. Routes live as long as their deployment, and so does the VM: more are made only
/// when somebody makes routes as they go.
const MAX_ROUTES: usize = 10_000;

/// Route objects of one VM.
#[derive(Default)]
pub(crate) struct Routes(RefCell<Vec<(Rc<RouteInfo>, Kept)>>);

/// Deep-freezes what is given, with `raw` as a function of its own.
const MAKE: &str = "(function (text, raw) {
  const freeze = (value) => {
    if (typeof value === 'object' && value !== null) Object.values(Object.freeze(value)).forEach(freeze);
    return value;
  };
  const route = JSON.parse(text);
  let operation;
  route.raw = () => operation ??= JSON.parse(raw);
  return freeze(route);
})";

impl Routes {
    /// The object of this route.
    pub(crate) fn object<'js>(&self, ctx: &Ctx<'js>, route: &Rc<RouteInfo>) -> JsResult<Value<'js>> {
        let found = |(known, kept): &(Rc<RouteInfo>, Kept)| Rc::ptr_eq(known, route).then(|| kept.get(ctx));
        if let Some(object) = self.0.borrow().iter().find_map(found).flatten() {
            return Ok(object);
        }
        let made: Object<'js> = make(ctx, route)?;
        let kept = VmHandle::of(ctx).keep(ctx, made.clone().into_value());
        let mut routes = self.0.borrow_mut();
        let old = if routes.len() < MAX_ROUTES { Vec::new() } else { std::mem::take(&mut *routes) };
        routes.push((route.clone(), kept));
        drop(routes);
        drop(old);
        Ok(made.into_value())
    }
}

fn make<'js>(ctx: &Ctx<'js>, route: &RouteInfo) -> JsResult<Object<'js>> {
    let methods: Vec<&str> = route.methods.iter().map(|method| method.as_str()).collect();
    let mut shown = serde_json::json!({
        "path": route.path,
        "pathPattern": route.path,
        "methods": methods,
        "handler": { "module": route.handler.0, "export": route.handler.1 },
        "policies": { "inbound": route.inbound, "outbound": route.outbound },
    });
    if let Some(id) = &route.operation_id {
        shown["operationId"] = id.as_str().into();
    }
    if let Some(summary) = &route.summary {
        shown["label"] = summary.as_str().into();
    }
    let make: Function<'js> = ctx.eval(MAKE)?;
    make.call((shown.to_string(), route.raw.to_string()))
}

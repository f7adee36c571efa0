//! JavaScript values that Rust keeps between runs.

use std::fmt;
use std::rc::{Rc, Weak};

use rquickjs::{Ctx, Function, Persistent, Value};

use crate::cast::into_function;
use crate::handle::State;

/// A JavaScript value that is kept alive from outside a run: a policy's function, a timer's callback.
///
/// The VM owns the value: a `Kept` that outlives its VM is empty and does no harm, so it may be stored in futures and
/// in native classes alike. Dropping it gives the value up.
pub struct Kept {
    state: Weak<State>,
    key: usize,
}

impl Kept {
    pub(crate) fn new<'js>(state: &Rc<State>, ctx: &Ctx<'js>, value: Value<'js>) -> Self {
        let key = state.kept.borrow_mut().insert(Persistent::save(ctx, value));
        Self { state: Rc::downgrade(state), key }
    }

    /// The value; `None` in a run of another VM than the one it was made in.
    pub fn get<'js>(&self, ctx: &Ctx<'js>) -> Option<Value<'js>> {
        let state = self.state.upgrade()?;
        let value = state.kept.borrow().get(self.key)?.clone();
        value.restore(ctx).ok()
    }

    /// The value as a function.
    pub fn function<'js>(&self, ctx: &Ctx<'js>) -> Option<Function<'js>> {
        into_function(self.get(ctx)?)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let Some(state) = self.state.upgrade() else { return };
        // Freeing the value may run finalizers that drop other kept values: not under the borrow.
        let value = state.kept.borrow_mut().try_remove(self.key);
        drop(value);
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kept({})", self.key)
    }
}

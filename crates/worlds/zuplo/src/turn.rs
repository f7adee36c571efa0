//! Turns: who is the outermost layer of this world on an exchange, and what is given up when a future is dropped.

use std::rc::Rc;

use polygate_engine_js::web::fetch;
use polygate_engine_js::{CallScope, Vm};

use crate::binding::Facts;
use crate::session::Session;

/// A layer's turn on an exchange. The last one to end clears the session: JavaScript objects hold the exchange, and
/// the exchange would hold them.
pub(crate) struct Turn {
    session: Rc<Session>,
    outermost: bool,
}

impl Turn {
    /// Begins a turn.
    pub(crate) fn begin(session: Rc<Session>) -> Self {
        let depth = session.depth.get();
        session.depth.set(depth + 1);
        Self { session, outermost: depth == 0 }
    }

    /// Whether no other layer of this world stands around.
    pub(crate) fn is_outermost(&self) -> bool {
        self.outermost
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.session.depth.set(self.session.depth.get() - 1);
        if self.outermost {
            self.session.clear();
        }
    }
}

/// Aborts a call whose future is dropped before its end: the client is gone, or the wall time is spent.
pub(crate) struct AbortOnDrop<'a> {
    vm: &'a Vm,
    scope: &'a Rc<CallScope>,
    session: &'a Session,
    armed: bool,
}

impl<'a> AbortOnDrop<'a> {
    /// Watches over a call under `scope`.
    pub(crate) fn new(vm: &'a Vm, scope: &'a Rc<CallScope>, session: &'a Session) -> Self {
        Self { vm, scope, session, armed: true }
    }

    /// The call has ended.
    pub(crate) fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for AbortOnDrop<'_> {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let request = self.session.take_request();
        // What was given to `waitUntil` outlives the client.
        let detached = self.scope.attachment::<Facts>().is_some_and(|facts| facts.detached.get());
        match request {
            Some(request) if detached => {
                // Listeners that fail have no one to be told to but the log.
                let _ = self.vm.handle().run(Some(self.scope), |ctx| match request.get(ctx) {
                    Some(request) => fetch::abort_signal(ctx, &request),
                    None => Ok(()),
                });
            }
            Some(request) => fetch::disconnect(self.vm, self.scope, &request),
            None if detached => {}
            None => self.vm.abort(self.scope),
        }
    }
}

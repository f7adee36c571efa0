//! Turns: who is the outermost layer of this world on an exchange, and what is given up when a future is dropped.

use std::rc::Rc;
use std::time::Duration;

use polygate_engine_js::web::fetch::{self, Abandoned};
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
        let facts = self.scope.attachment::<Facts>();
        let why = facts.as_ref().map_or(Abandoned::ClientGone, |facts| why(self.scope, facts));
        // What was given to `waitUntil` outlives the client.
        let detached = self.scope.is_detached();
        match request {
            Some(request) if detached => {
                // Listeners that fail have no one to be told to but the log.
                let _ = self.vm.handle().run(Some(self.scope), |ctx| match request.get(ctx) {
                    Some(request) => fetch::abort_signal(ctx, &request, why),
                    None => Ok(()),
                });
            }
            Some(request) => fetch::disconnect(self.vm, self.scope, &request, why),
            None if detached => {}
            None => self.vm.abort(self.scope),
        }
    }
}

/// Why a call's future was dropped. The pipeline does not say; but what the exchange took without the other layers'
/// turns is what this one took, and the pipeline stops it no sooner than after its wall time.
fn why(scope: &CallScope, facts: &Facts) -> Abandoned {
    let Some(exchange) = scope.exchange() else { return Abandoned::ClientGone };
    let steps = exchange.steps();
    let others = steps.iter().enumerate().filter(|(index, _)| *index != facts.step);
    let others: Duration = others.map(|(_, record)| record.duration).sum();
    if exchange.elapsed().saturating_sub(others) >= facts.wall {
        Abandoned::TimedOut
    } else {
        Abandoned::ClientGone
    }
}

//! Native side of the timers: each is an operation of its VM, charged to the scope that started it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use rquickjs::{Ctx, Exception, Function, Object, Result};
use tokio::time::sleep;

use crate::handle::VmHandle;
use crate::kept::Kept;
use crate::ops::{self, OpId};

type Live = Rc<RefCell<HashMap<u32, OpId>>>;

/// Puts the functions of `js/timers.js` on `native`: `start(id, delay, repeat, run)` calls `run()` after the delay in
/// milliseconds, `stop(id)` forgets it. `run` is kept by the operation, so that it goes when its scope is aborted.
pub(super) fn natives<'js>(ctx: &Ctx<'js>, native: &Object<'js>) -> Result<()> {
    let live: Live = Rc::default();
    let of_start = live.clone();
    let start = move |ctx: Ctx<'js>, id: u32, delay: f64, repeat: bool, run: Function<'js>| -> Result<()> {
        // Clamped, so that the conversion cannot fail; a NaN was made 0 by the script.
        let delay = Duration::from_secs_f64((delay / 1e3).clamp(0.0, 2_147_483.647));
        start(&ctx, &of_start, id, delay, repeat, run)
    };
    native.set("start", Function::new(ctx.clone(), start)?)?;
    let stop = move |ctx: Ctx<'_>, id: u32| {
        let found = live.borrow_mut().remove(&id);
        if let Some(op) = found {
            ops::cancel(&ctx, op);
        }
    };
    native.set("stop", Function::new(ctx.clone(), stop)?)
}

fn start<'js>(
    ctx: &Ctx<'js>,
    live: &Live,
    id: u32,
    delay: Duration,
    repeat: bool,
    run: Function<'js>,
) -> Result<()> {
    let Some(vm) = VmHandle::try_of(ctx) else {
        return Err(Exception::throw_internal(ctx, "timers need a VM"));
    };
    // A timer is an operation: how many there may be is said by `VmOptions::max_pending_ops`.
    let entry = Entry { live: live.clone(), id };
    let run = vm.keep(ctx, run.into_value());
    let op = ops::spawn_op(ctx, move |op| async move {
        let entry = entry;
        sleep(delay).await;
        if repeat {
            while op.run(|ctx| call(ctx, &run)) {
                sleep(delay).await;
            }
            return;
        }
        // Given back before the callback runs, which may set as many timers again.
        drop(entry);
        op.finish(move |ctx| call(ctx, &run));
    })?;
    live.borrow_mut().insert(id, op);
    Ok(())
}

fn call(ctx: &Ctx<'_>, run: &Kept) -> Result<()> {
    match run.function(ctx) {
        Some(run) => run.call(()),
        None => Ok(()),
    }
}

/// Takes the timer out of the live ones, also when its operation is dropped with its scope.
struct Entry {
    live: Live,
    id: u32,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.live.borrow_mut().remove(&self.id);
    }
}

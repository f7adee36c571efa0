//! Native side of the timers: each is an operation of its VM, charged to the scope that started it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use rquickjs::{Ctx, Exception, Function, Object, Result};
use tokio::time::sleep;

use super::script::internal;
use crate::handle::VmHandle;
use crate::ops::{self, OpId};

/// Most live timers of one VM.
const MAX_TIMERS: usize = 1_000;

type Live = Rc<RefCell<HashMap<u32, OpId>>>;

/// Puts the functions of `js/timers.js` on `native`: `start(id, delay, repeat)` calls `internal.fireTimer(id)` after
/// the delay in milliseconds, `stop(id)` forgets it.
pub(super) fn natives<'js>(ctx: &Ctx<'js>, native: &Object<'js>) -> Result<()> {
    let live: Live = Rc::default();
    let of_start = live.clone();
    let start = move |ctx: Ctx<'_>, id: u32, delay: f64, repeat: bool| -> Result<()> {
        start(&ctx, &of_start, id, Duration::from_secs_f64((delay / 1e3).clamp(0.0, 2_147_483.647)), repeat)
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

fn start(ctx: &Ctx<'_>, live: &Live, id: u32, delay: Duration, repeat: bool) -> Result<()> {
    if VmHandle::try_of(ctx).is_none() {
        return Err(Exception::throw_internal(ctx, "timers need a VM"));
    }
    if live.borrow().len() >= MAX_TIMERS {
        return Err(Exception::throw_range(ctx, &format!("more than {MAX_TIMERS} timers are live")));
    }
    let of_op = Entry { live: live.clone(), id };
    let op = ops::spawn_op(ctx, move |op| async move {
        if repeat {
            loop {
                sleep(delay).await;
                if !op.run(|ctx| fire(ctx, id)) {
                    return;
                }
            }
        }
        sleep(delay).await;
        // Given back before the callback runs, which may set as many timers again.
        drop(of_op);
        op.finish(|ctx| fire(ctx, id));
    })?;
    live.borrow_mut().insert(id, op);
    Ok(())
}

fn fire(ctx: &Ctx<'_>, id: u32) -> Result<()> {
    let fire: Function = internal(ctx)?.get("fireTimer")?;
    fire.call((id,))
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

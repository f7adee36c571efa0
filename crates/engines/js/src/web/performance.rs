//! The clock behind `performance`, and what `navigator` says.

use std::time::{SystemTime, UNIX_EPOCH};

use rquickjs::{Ctx, Function, Object, Result};
use tokio::time::Instant;

/// Puts the functions of `js/performance.js` on `native`.
pub(super) fn natives<'js>(ctx: &Ctx<'js>, native: &Object<'js>) -> Result<()> {
    let start = Instant::now();
    let origin = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64() * 1e3);
    native.set("origin", origin)?;
    native.set("now", Function::new(ctx.clone(), move || start.elapsed().as_secs_f64() * 1e3)?)?;
    native.set("userAgent", concat!("Polygate/", env!("CARGO_PKG_VERSION")))
}

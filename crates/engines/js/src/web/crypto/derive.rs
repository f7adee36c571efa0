//! Key derivation: HKDF and PBKDF2.

use std::num::NonZeroU32;

use aws_lc_rs::{hkdf, pbkdf2};
use rquickjs::{Class, Ctx, Function, Object, Promise, Result, Value};

use super::super::bytes::{View, array_buffer};
use super::digest::Hash;
use super::key::{KeyHandle, Material};
use crate::ops;
use crate::throw::throw_dom;

/// Most PBKDF2 iterations of one call, times the blocks of output: some seconds of a blocking thread.
const MAX_ROUNDS: u64 = 10_000_000;
/// Longest derived output, in bytes.
const MAX_OUTPUT: usize = 16 * 1024;

pub(super) fn natives<'js>(ctx: &Ctx<'js>, native: &Object<'js>) -> Result<()> {
    native.set("hkdf", Function::new(ctx.clone(), hkdf_bits)?)?;
    native.set("pbkdf2", Function::new(ctx.clone(), pbkdf2_bits)?)
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn hkdf_bits<'js>(
    ctx: Ctx<'js>,
    key: Class<'js, KeyHandle>,
    hash: String,
    salt: View<'js>,
    info: View<'js>,
    length: usize,
) -> Result<Option<Value<'js>>> {
    let (salt, info) = (salt.to_vec()?, info.to_vec()?);
    let derive = || {
        let Material::Secret(secret) = &key.borrow().material else { return None };
        let hash = Hash::named(&hash)?;
        let mut out = vec![0; (length <= MAX_OUTPUT).then_some(length)?];
        let prk = hkdf::Salt::new(hash.hkdf(), &salt).extract(secret);
        prk.expand(&[&info], Length(length)).ok()?.fill(&mut out).ok()?;
        Some(out)
    };
    derive().map(|out| array_buffer(&ctx, &out)).transpose()
}

/// A promise of an `ArrayBuffer`, or of nothing.
fn pbkdf2_bits<'js>(
    ctx: Ctx<'js>,
    key: Class<'js, KeyHandle>,
    hash: String,
    salt: View<'js>,
    iterations: u32,
    length: usize,
) -> Result<Promise<'js>> {
    let salt = salt.to_vec()?;
    let secret = match &key.borrow().material {
        Material::Secret(secret) => Some(secret.clone()),
        _ => None,
    };
    let hash = Hash::named(&hash);
    let rounds = NonZeroU32::new(iterations);
    let (Some(secret), Some(hash), Some(rounds)) = (secret, hash, rounds) else {
        return Err(throw_dom(&ctx, "OperationError", "The operation failed"));
    };
    // Each block of output costs all iterations again.
    let blocks = length.div_ceil(hash.digest().output_len());
    if u64::from(iterations).saturating_mul(blocks as u64) > MAX_ROUNDS {
        let message =
            format!("PBKDF2 is limited to {MAX_ROUNDS} iterations, counted for each block of output");
        return Err(throw_dom(&ctx, "OperationError", &message));
    }
    if length > MAX_OUTPUT {
        let message = format!("PBKDF2 gives at most {MAX_OUTPUT} bytes");
        return Err(throw_dom(&ctx, "OperationError", &message));
    }
    let derive = move || {
        let mut out = vec![0; length];
        pbkdf2::derive(hash.pbkdf2(), rounds, &salt, &secret, &mut out);
        out
    };
    ops::spawn_blocking_promise(&ctx, derive, |ctx, out| array_buffer(ctx, &out))
}

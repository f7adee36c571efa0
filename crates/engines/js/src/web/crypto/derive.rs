//! Key derivation: HKDF and PBKDF2.

use std::num::NonZeroU32;

use aws_lc_rs::{hkdf, pbkdf2};
use rquickjs::{Class, Ctx, Function, Object, Result, Value};

use super::super::bytes::{View, array_buffer};
use super::digest::Hash;
use super::key::{KeyHandle, Material};

/// Most PBKDF2 iterations of one call: more would hold a worker for over 100 ms.
const MAX_ITERATIONS: u32 = 100_000;
/// Longest derived output, in bytes.
const MAX_OUTPUT: usize = 16 * 1024;

pub(super) fn natives<'js>(ctx: &Ctx<'js>, native: &Object<'js>) -> Result<()> {
    native.set("maxIterations", MAX_ITERATIONS)?;
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

fn pbkdf2_bits<'js>(
    ctx: Ctx<'js>,
    key: Class<'js, KeyHandle>,
    hash: String,
    salt: View<'js>,
    iterations: u32,
    length: usize,
) -> Result<Option<Value<'js>>> {
    let salt = salt.to_vec()?;
    let derive = || {
        let Material::Secret(secret) = &key.borrow().material else { return None };
        let hash = Hash::named(&hash)?;
        let rounds = NonZeroU32::new(iterations).filter(|rounds| rounds.get() <= MAX_ITERATIONS)?;
        // Each block of output costs all rounds again.
        let blocks = length.div_ceil(hash.digest().output_len());
        if u64::from(iterations) * blocks as u64 > 4 * u64::from(MAX_ITERATIONS) || length > MAX_OUTPUT {
            return None;
        }
        let mut out = vec![0; length];
        pbkdf2::derive(hash.pbkdf2(), rounds, &salt, secret, &mut out);
        Some(out)
    };
    derive().map(|out| array_buffer(&ctx, &out)).transpose()
}

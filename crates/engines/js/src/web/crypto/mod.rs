//! Native side of `crypto` and `crypto.subtle` (W3C Web Cryptography), over aws-lc.
//!
//! `js/crypto.js` normalises algorithms, checks usages and formats, and speaks JWK; the functions here get plain
//! bytes and a [`KeyHandle`] and return bytes, or nothing when the operation failed: the script then throws the
//! `DOMException` that the standard names. Key material never becomes JavaScript memory unless it is exported.

mod aes;
mod der;
mod derive;
mod digest;
mod ec;
mod key;
mod okp;
mod rsa;

use std::cell::RefCell;

use aws_lc_rs::rand;
use rquickjs::{Ctx, Exception, Function, Object, Result, Value};

use self::key::{KeyHandle, Material};
use super::bytes::{View, uint8_array};

/// Largest request of `getRandomValues`, in bytes (the standard's quota).
const MAX_RANDOM: usize = 65_536;

/// Puts the functions of `js/crypto.js` on `native`.
pub(super) fn natives<'js>(ctx: &Ctx<'js>, native: &Object<'js>) -> Result<()> {
    native.set("random", Function::new(ctx.clone(), random)?)?;
    native.set("uuid", Function::new(ctx.clone(), uuid)?)?;
    native.set("secret", Function::new(ctx.clone(), secret)?)?;
    native.set("secretBytes", Function::new(ctx.clone(), secret_bytes)?)?;
    native.set("equal", Function::new(ctx.clone(), equal)?)?;
    digest::natives(ctx, native)?;
    aes::natives(ctx, native)?;
    derive::natives(ctx, native)?;
    rsa::natives(ctx, native)?;
    ec::natives(ctx, native)?;
    okp::natives(ctx, native)
}

/// Random bytes that are drawn at once, since a draw costs far more than a copy. Each is given out once, then erased.
const POOL: usize = 1024;

thread_local! {
    static RANDOM: RefCell<([u8; POOL], usize)> = const { RefCell::new(([0; POOL], POOL)) };
}

fn fill(ctx: &Ctx<'_>, out: &mut [u8]) -> Result<()> {
    let filled = if out.len() > POOL / 16 {
        rand::fill(out)
    } else {
        RANDOM.with_borrow_mut(|(pool, at)| {
            if pool.len() - *at < out.len() {
                rand::fill(pool)?;
                *at = 0;
            }
            let taken = &mut pool[*at..*at + out.len()];
            out.copy_from_slice(taken);
            taken.fill(0);
            *at += out.len();
            Ok(())
        })
    };
    filled.map_err(|_| Exception::throw_internal(ctx, "no entropy"))
}

fn random<'js>(ctx: Ctx<'js>, length: usize) -> Result<Value<'js>> {
    let mut bytes = vec![0; length.min(MAX_RANDOM)];
    fill(&ctx, &mut bytes)?;
    uint8_array(&ctx, &bytes)
}

/// A version 4 UUID (RFC 9562).
fn uuid(ctx: Ctx<'_>) -> Result<String> {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut bytes = [0; 16];
    fill(&ctx, &mut bytes)?;
    bytes[6] = bytes[6] & 0x0F | 0x40;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.into_iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push(HEX[usize::from(byte >> 4)] as char);
        text.push(HEX[usize::from(byte & 15)] as char);
    }
    Ok(text)
}

/// A key that is only bytes: HMAC, AES, HKDF, PBKDF2.
fn secret<'js>(ctx: Ctx<'js>, bytes: View<'js>) -> Result<Value<'js>> {
    key::wrap(&ctx, Material::Secret(bytes.to_vec()?))
}

fn secret_bytes<'js>(ctx: Ctx<'js>, key: rquickjs::Class<'js, KeyHandle>) -> Result<Option<Value<'js>>> {
    match &key.borrow().material {
        Material::Secret(bytes) => uint8_array(&ctx, bytes).map(Some),
        _ => Ok(None),
    }
}

/// Comparison in constant time, for scripts that check tags.
fn equal<'js>(one: View<'js>, two: View<'js>) -> Result<bool> {
    let one = one.to_vec()?;
    two.with(|two| aws_lc_rs::constant_time::verify_slices_are_equal(&one, two).is_ok())
}

//! AES: GCM, CBC, CTR and key wrap.

use aws_lc_rs::aead::{AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{
    self, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext, PaddedBlockDecryptingKey,
    PaddedBlockEncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::key_wrap::{self, AesKek, KeyWrap};
use rquickjs::{Class, Ctx, Function, Object, Result, Value};

use super::super::bytes::{View, array_buffer};
use super::key::{KeyHandle, Material};

pub(super) fn natives<'js>(ctx: &Ctx<'js>, native: &Object<'js>) -> Result<()> {
    native.set("aesGcm", Function::new(ctx.clone(), gcm)?)?;
    native.set("aesCbc", Function::new(ctx.clone(), cbc)?)?;
    native.set("aesCtr", Function::new(ctx.clone(), ctr)?)?;
    native.set("aesKw", Function::new(ctx.clone(), kw)?)
}

fn secret(key: &KeyHandle) -> Option<&[u8]> {
    match &key.material {
        Material::Secret(bytes) => Some(bytes),
        _ => None,
    }
}

fn answer<'js>(ctx: &Ctx<'js>, bytes: Option<Vec<u8>>) -> Result<Option<Value<'js>>> {
    bytes.map(|bytes| array_buffer(ctx, &bytes)).transpose()
}

/// With a nonce of 12 bytes and a tag of 16, which the script has checked.
fn gcm<'js>(
    ctx: Ctx<'js>,
    key: Class<'js, KeyHandle>,
    encrypt: bool,
    iv: View<'js>,
    additional: View<'js>,
    data: View<'js>,
) -> Result<Option<Value<'js>>> {
    let (iv, additional, data) = (iv.to_vec()?, additional.to_vec()?, data.to_vec()?);
    answer(&ctx, seal_or_open(&key.borrow(), encrypt, &iv, &additional, data))
}

fn seal_or_open(
    key: &KeyHandle,
    encrypt: bool,
    iv: &[u8],
    additional: &[u8],
    mut data: Vec<u8>,
) -> Option<Vec<u8>> {
    let bytes = secret(key)?;
    let algorithm = match bytes.len() {
        16 => &AES_128_GCM,
        24 => &AES_192_GCM,
        32 => &AES_256_GCM,
        _ => return None,
    };
    let key = LessSafeKey::new(UnboundKey::new(algorithm, bytes).ok()?);
    let nonce = Nonce::try_assume_unique_for_key(iv).ok()?;
    if encrypt {
        key.seal_in_place_append_tag(nonce, Aad::from(additional), &mut data).ok()?;
    } else {
        let length = key.open_in_place(nonce, Aad::from(additional), &mut data).ok()?.len();
        data.truncate(length);
    }
    Some(data)
}

fn unbound(bytes: &[u8]) -> Option<UnboundCipherKey> {
    let algorithm = match bytes.len() {
        16 => &cipher::AES_128,
        24 => &cipher::AES_192,
        32 => &cipher::AES_256,
        _ => return None,
    };
    UnboundCipherKey::new(algorithm, bytes).ok()
}

fn cbc<'js>(
    ctx: Ctx<'js>,
    key: Class<'js, KeyHandle>,
    encrypt: bool,
    iv: View<'js>,
    data: View<'js>,
) -> Result<Option<Value<'js>>> {
    let (iv, data) = (iv.to_vec()?, data.to_vec()?);
    answer(&ctx, cbc_bytes(&key.borrow(), encrypt, &iv, data))
}

fn cbc_bytes(key: &KeyHandle, encrypt: bool, iv: &[u8], mut data: Vec<u8>) -> Option<Vec<u8>> {
    let key = unbound(secret(key)?)?;
    let iv = FixedLength::<16>::try_from(iv).ok()?;
    if encrypt {
        let key = PaddedBlockEncryptingKey::cbc_pkcs7(key).ok()?;
        key.less_safe_encrypt(&mut data, EncryptionContext::Iv128(iv)).ok()?;
    } else {
        let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).ok()?;
        let length = key.decrypt(&mut data, DecryptionContext::Iv128(iv)).ok()?.len();
        data.truncate(length);
    }
    Some(data)
}

fn ctr<'js>(
    ctx: Ctx<'js>,
    key: Class<'js, KeyHandle>,
    encrypt: bool,
    counter: View<'js>,
    bits: u32,
    data: View<'js>,
) -> Result<Option<Value<'js>>> {
    let (counter, data) = (counter.to_vec()?, data.to_vec()?);
    answer(&ctx, ctr_bytes(&key.borrow(), encrypt, &counter, bits, data))
}

/// Refuses a counter that would wrap within its `bits`: the cipher counts in all 128, which is the same until then.
fn ctr_bytes(
    key: &KeyHandle,
    encrypt: bool,
    counter: &[u8],
    bits: u32,
    mut data: Vec<u8>,
) -> Option<Vec<u8>> {
    let start = u128::from_be_bytes(counter.try_into().ok()?);
    let blocks = u128::try_from(data.len().div_ceil(16)).ok()?;
    let mask = if bits >= 128 { u128::MAX } else { (1 << bits) - 1 };
    if bits == 0 || (start & mask).checked_add(blocks.saturating_sub(1)).is_none_or(|last| last > mask) {
        return None;
    }
    let key = unbound(secret(key)?)?;
    let iv = FixedLength::<16>::try_from(counter).ok()?;
    if encrypt {
        EncryptingKey::ctr(key).ok()?.less_safe_encrypt(&mut data, EncryptionContext::Iv128(iv)).ok()?;
    } else {
        DecryptingKey::ctr(key).ok()?.decrypt(&mut data, DecryptionContext::Iv128(iv)).ok()?;
    }
    Some(data)
}

fn kw<'js>(
    ctx: Ctx<'js>,
    key: Class<'js, KeyHandle>,
    wrap: bool,
    data: View<'js>,
) -> Result<Option<Value<'js>>> {
    let data = data.to_vec()?;
    answer(&ctx, kw_bytes(&key.borrow(), wrap, &data))
}

fn kw_bytes(key: &KeyHandle, wrap: bool, data: &[u8]) -> Option<Vec<u8>> {
    let bytes = secret(key)?;
    let cipher = match bytes.len() {
        16 => &key_wrap::AES_128,
        32 => &key_wrap::AES_256,
        _ => return None,
    };
    let kek = AesKek::new(cipher, bytes).ok()?;
    let mut out = vec![0; data.len() + 16];
    let length =
        if wrap { kek.wrap(data, &mut out).ok()?.len() } else { kek.unwrap(data, &mut out).ok()?.len() };
    out.truncate(length);
    Some(out)
}

//! Digests and HMAC.

use aws_lc_rs::{digest, hkdf, hmac, pbkdf2};
use rquickjs::{Class, Ctx, Function, Object, Result, Value};

use super::super::bytes::{View, array_buffer};
use super::key::{KeyHandle, Material};

/// The hash functions of the standard.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Hash {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    /// By the standard's name, in upper case.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "SHA-1" => Self::Sha1,
            "SHA-256" => Self::Sha256,
            "SHA-384" => Self::Sha384,
            "SHA-512" => Self::Sha512,
            _ => return None,
        })
    }

    pub(super) fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha384 => hmac::HMAC_SHA384,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }

    pub(super) fn hkdf(self) -> hkdf::Algorithm {
        match self {
            Self::Sha1 => hkdf::HKDF_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hkdf::HKDF_SHA256,
            Self::Sha384 => hkdf::HKDF_SHA384,
            Self::Sha512 => hkdf::HKDF_SHA512,
        }
    }

    pub(super) fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            Self::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::Sha384 => pbkdf2::PBKDF2_HMAC_SHA384,
            Self::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        }
    }
}

pub(super) fn natives<'js>(ctx: &Ctx<'js>, native: &Object<'js>) -> Result<()> {
    native.set("digest", Function::new(ctx.clone(), hash)?)?;
    native.set("hmacSign", Function::new(ctx.clone(), hmac_sign)?)?;
    native.set("hmacVerify", Function::new(ctx.clone(), hmac_verify)?)
}

fn hash<'js>(ctx: Ctx<'js>, name: String, data: View<'js>) -> Result<Option<Value<'js>>> {
    let Some(hash) = Hash::named(&name) else { return Ok(None) };
    let value = data.with(|data| digest::digest(hash.digest(), data))?;
    array_buffer(&ctx, value.as_ref()).map(Some)
}

fn hmac_key(key: &KeyHandle, name: &str) -> Option<hmac::Key> {
    match (&key.material, Hash::named(name)) {
        (Material::Secret(bytes), Some(hash)) => Some(hmac::Key::new(hash.hmac(), bytes)),
        _ => None,
    }
}

fn hmac_sign<'js>(
    ctx: Ctx<'js>,
    key: Class<'js, KeyHandle>,
    hash: String,
    data: View<'js>,
) -> Result<Option<Value<'js>>> {
    let Some(key) = hmac_key(&key.borrow(), &hash) else { return Ok(None) };
    let tag = data.with(|data| hmac::sign(&key, data))?;
    array_buffer(&ctx, tag.as_ref()).map(Some)
}

fn hmac_verify<'js>(
    key: Class<'js, KeyHandle>,
    hash: String,
    signature: View<'js>,
    data: View<'js>,
) -> Result<Option<bool>> {
    let Some(key) = hmac_key(&key.borrow(), &hash) else { return Ok(None) };
    let tag = signature.to_vec()?;
    data.with(|data| hmac::verify(&key, data, &tag).is_ok()).map(Some)
}

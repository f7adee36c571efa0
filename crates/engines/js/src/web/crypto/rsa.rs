//! RSA: PKCS#1 v1.5 and PSS signatures, OAEP encryption; keys of 2048 to 8192 bits.

use std::cell::RefCell;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{
    KeyPair as RsaKeyPair, KeySize, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384,
    OAEP_SHA512_MGF1SHA512, OaepAlgorithm, OaepPrivateDecryptingKey, OaepPublicEncryptingKey,
    PrivateDecryptingKey, PublicEncryptingKey,
};
use aws_lc_rs::signature::{
    KeyPair, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384,
    RSA_PKCS1_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaParameters, RsaPssSaltLength, RsaSignatureEncoding,
};
use rquickjs::{Array, Class, Ctx, Function, Object, Promise, Result, Value};

use super::super::bytes::{View, array_buffer, uint8_array};
use super::der::{self, Reader};
use super::digest::Hash;
use super::key::{self, KeyHandle, Material};
use crate::ops;

const RSA_ENCRYPTION: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01];
/// The content of the AlgorithmIdentifier: rsaEncryption and NULL.
const ALGORITHM: &[u8] = &[0x06, 9, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01, 0x05, 0x00];
/// Largest key that is generated, in bits: larger ones take many seconds.
const MAX_GENERATED: u32 = 4096;

pub(super) fn natives<'js>(ctx: &Ctx<'js>, native: &Object<'js>) -> Result<()> {
    native.set("rsaImport", Function::new(ctx.clone(), import)?)?;
    native.set("rsaFromParts", Function::new(ctx.clone(), from_parts)?)?;
    native.set("rsaExport", Function::new(ctx.clone(), export)?)?;
    native.set("rsaParts", Function::new(ctx.clone(), parts)?)?;
    native.set("rsaGenerate", Function::new(ctx.clone(), generate)?)?;
    native.set("rsaSign", Function::new(ctx.clone(), sign)?)?;
    native.set("rsaVerify", Function::new(ctx.clone(), verify)?)?;
    native.set("rsaOaep", Function::new(ctx.clone(), oaep)?)
}

fn public(pkcs1: Vec<u8>) -> Option<Material> {
    // Parsing by any algorithm checks the key.
    ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &pkcs1).ok()?;
    Some(Material::RsaPublic { pkcs1, parsed: RefCell::new(None) })
}

fn private(pair: RsaKeyPair) -> Option<Material> {
    let pkcs8: Pkcs8V1Der<'static> = pair.as_der().ok()?;
    let pkcs8 = pkcs8.as_ref().to_vec();
    Some(Material::RsaPrivate { pair: Box::new(pair), pkcs8 })
}

fn import<'js>(ctx: Ctx<'js>, format: String, bytes: View<'js>) -> Result<Option<Value<'js>>> {
    let bytes = bytes.to_vec()?;
    let read = || match format.as_str() {
        "spki" => {
            let (algorithm, _, pkcs1) = der::read_spki(&bytes)?;
            (algorithm == RSA_ENCRYPTION).then(|| public(pkcs1.to_vec()))?
        }
        "pkcs8" => private(RsaKeyPair::from_pkcs8(&bytes).ok()?),
        _ => None,
    };
    read().map(|material| key::wrap(&ctx, material)).transpose()
}

/// Of a JWK's integers: `[n, e]`, or `[n, e, d, p, q, dp, dq, qi]`.
fn from_parts<'js>(ctx: Ctx<'js>, parts: Vec<View<'js>>) -> Result<Option<Value<'js>>> {
    let parts = parts.iter().map(View::to_vec).collect::<Result<Vec<_>>>()?;
    let read = || match parts.len() {
        2 => {
            let content: Vec<u8> = parts.iter().flat_map(|part| der::unsigned(part)).collect();
            public(der::element(der::SEQUENCE, &content))
        }
        8 => {
            let mut content = der::unsigned(&[0]);
            content.extend(parts.iter().flat_map(|part| der::unsigned(part)));
            private(RsaKeyPair::from_der(&der::element(der::SEQUENCE, &content)).ok()?)
        }
        _ => None,
    };
    read().map(|material| key::wrap(&ctx, material)).transpose()
}

fn export<'js>(ctx: Ctx<'js>, key: Class<'js, KeyHandle>, format: String) -> Result<Option<Value<'js>>> {
    let key = key.borrow();
    let bytes = match (&key.material, format.as_str()) {
        (Material::RsaPublic { pkcs1, .. }, "spki") => Some(der::spki(ALGORITHM, pkcs1)),
        (Material::RsaPrivate { pkcs8, .. }, "pkcs8") => Some(pkcs8.clone()),
        _ => None,
    };
    bytes.map(|bytes| array_buffer(&ctx, &bytes)).transpose()
}

fn integers(material: &Material) -> Option<Vec<Vec<u8>>> {
    let (mut reader, count) = match material {
        Material::RsaPublic { pkcs1, .. } => (Reader::new(pkcs1).sequence()?, 2),
        Material::RsaPrivate { pkcs8, .. } => {
            let mut reader = Reader::new(der::read_pkcs8(pkcs8)?.2).sequence()?;
            reader.unsigned()?;
            (reader, 8)
        }
        _ => return None,
    };
    (0..count).map(|_| reader.unsigned().map(<[u8]>::to_vec)).collect()
}

/// The integers of the key as [`from_parts`] takes them.
fn parts<'js>(ctx: Ctx<'js>, key: Class<'js, KeyHandle>) -> Result<Option<Array<'js>>> {
    let Some(integers) = integers(&key.borrow().material) else { return Ok(None) };
    let out = Array::new(ctx.clone())?;
    for (index, integer) in integers.iter().enumerate() {
        out.set(index, uint8_array(&ctx, integer)?)?;
    }
    Ok(Some(out))
}

/// A promise of `[private, public]` with the exponent 65537, or of nothing.
fn generate<'js>(ctx: Ctx<'js>, bits: u32) -> Result<Promise<'js>> {
    let make = move || {
        let size = match bits {
            2048 => KeySize::Rsa2048,
            3072 => KeySize::Rsa3072,
            MAX_GENERATED => KeySize::Rsa4096,
            _ => return None,
        };
        let pair = RsaKeyPair::generate(size).ok()?;
        let public = public(pair.public_key().as_ref().to_vec())?;
        Some((private(pair)?, public))
    };
    ops::spawn_blocking_promise(&ctx, make, |ctx, pair| {
        let Some((private, public)) = pair else { return Ok(Value::new_undefined(ctx.clone())) };
        let out = Array::new(ctx.clone())?;
        out.set(0, key::wrap(ctx, private)?)?;
        out.set(1, key::wrap(ctx, public)?)?;
        Ok(out.into_value())
    })
}

/// A match over the salt lengths that are in use, since the library wants parameters of static lifetime.
macro_rules! salted {
    ($base:expr, $length:expr) => {
        match $length {
            0 => Some(&const { $base.with_pss_salt_length(RsaPssSaltLength::Custom(0)) }),
            20 => Some(&const { $base.with_pss_salt_length(RsaPssSaltLength::Custom(20)) }),
            32 => Some(&const { $base.with_pss_salt_length(RsaPssSaltLength::Custom(32)) }),
            48 => Some(&const { $base.with_pss_salt_length(RsaPssSaltLength::Custom(48)) }),
            64 => Some(&const { $base.with_pss_salt_length(RsaPssSaltLength::Custom(64)) }),
            _ => None,
        }
    };
}

/// `salt` is none for PKCS#1 v1.5.
fn encoding(hash: Hash, salt: Option<u32>) -> Option<&'static RsaSignatureEncoding> {
    match (hash, salt) {
        (Hash::Sha1, _) => None,
        (Hash::Sha256, None) => Some(&RSA_PKCS1_SHA256),
        (Hash::Sha384, None) => Some(&RSA_PKCS1_SHA384),
        (Hash::Sha512, None) => Some(&RSA_PKCS1_SHA512),
        (Hash::Sha256, Some(salt)) => salted!(RSA_PSS_SHA256, salt),
        (Hash::Sha384, Some(salt)) => salted!(RSA_PSS_SHA384, salt),
        (Hash::Sha512, Some(salt)) => salted!(RSA_PSS_SHA512, salt),
    }
}

fn parameters(hash: Hash, salt: Option<u32>) -> Option<&'static RsaParameters> {
    match (hash, salt) {
        (Hash::Sha1, None) => Some(&RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY),
        (Hash::Sha1, Some(_)) => None,
        (Hash::Sha256, None) => Some(&RSA_PKCS1_2048_8192_SHA256),
        (Hash::Sha384, None) => Some(&RSA_PKCS1_2048_8192_SHA384),
        (Hash::Sha512, None) => Some(&RSA_PKCS1_2048_8192_SHA512),
        (Hash::Sha256, Some(salt)) => salted!(RSA_PSS_2048_8192_SHA256, salt),
        (Hash::Sha384, Some(salt)) => salted!(RSA_PSS_2048_8192_SHA384, salt),
        (Hash::Sha512, Some(salt)) => salted!(RSA_PSS_2048_8192_SHA512, salt),
    }
}

fn sign<'js>(
    ctx: Ctx<'js>,
    key: Class<'js, KeyHandle>,
    hash: String,
    salt: Option<u32>,
    data: View<'js>,
) -> Result<Option<Value<'js>>> {
    let key = key.borrow();
    let Material::RsaPrivate { pair, .. } = &key.material else { return Ok(None) };
    let Some(encoding) = Hash::named(&hash).and_then(|hash| encoding(hash, salt)) else { return Ok(None) };
    let mut signature = vec![0; pair.public_modulus_len()];
    let done = data.with(|data| pair.sign(encoding, &SystemRandom::new(), data, &mut signature))?;
    done.ok().map(|()| array_buffer(&ctx, &signature)).transpose()
}

fn verify<'js>(
    key: Class<'js, KeyHandle>,
    hash: String,
    salt: Option<u32>,
    signature: View<'js>,
    data: View<'js>,
) -> Result<Option<bool>> {
    let key = key.borrow();
    let Material::RsaPublic { pkcs1, parsed } = &key.material else { return Ok(None) };
    let Some(parameters) = Hash::named(&hash).and_then(|hash| parameters(hash, salt)) else {
        return Ok(None);
    };
    let signature = signature.to_vec()?;
    let identity = std::ptr::from_ref(parameters).addr();
    let mut parsed = parsed.borrow_mut();
    if parsed.as_ref().is_none_or(|(found, _)| *found != identity) {
        let Ok(fresh) = ParsedPublicKey::new(parameters, pkcs1) else { return Ok(None) };
        *parsed = Some((identity, fresh));
    }
    let Some((_, public)) = parsed.as_ref() else { return Ok(None) };
    data.with(|data| public.verify_sig(data, &signature).is_ok()).map(Some)
}

fn oaep<'js>(
    ctx: Ctx<'js>,
    key: Class<'js, KeyHandle>,
    hash: String,
    label: View<'js>,
    data: View<'js>,
) -> Result<Option<Value<'js>>> {
    let (label, data) = (label.to_vec()?, data.to_vec()?);
    let key = key.borrow();
    let crypt = || {
        let algorithm: &'static OaepAlgorithm = match Hash::named(&hash)? {
            Hash::Sha1 => &OAEP_SHA1_MGF1SHA1,
            Hash::Sha256 => &OAEP_SHA256_MGF1SHA256,
            Hash::Sha384 => &OAEP_SHA384_MGF1SHA384,
            Hash::Sha512 => &OAEP_SHA512_MGF1SHA512,
        };
        let label = (!label.is_empty()).then_some(label.as_slice());
        match &key.material {
            Material::RsaPublic { pkcs1, .. } => {
                let spki = der::spki(ALGORITHM, pkcs1);
                let key = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(&spki).ok()?).ok()?;
                let mut out = vec![0; key.ciphertext_size()];
                let length = key.encrypt(algorithm, &data, &mut out, label).ok()?.len();
                out.truncate(length);
                Some(out)
            }
            Material::RsaPrivate { pkcs8, .. } => {
                let key =
                    OaepPrivateDecryptingKey::new(PrivateDecryptingKey::from_pkcs8(pkcs8).ok()?).ok()?;
                let mut out = vec![0; key.min_output_size()];
                let length = key.decrypt(algorithm, &data, &mut out, label).ok()?.len();
                out.truncate(length);
                Some(out)
            }
            _ => None,
        }
    };
    crypt().map(|out| array_buffer(&ctx, &out)).transpose()
}

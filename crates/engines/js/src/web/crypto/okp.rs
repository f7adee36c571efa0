//! Ed25519 (RFC 8032) and X25519 (RFC 7748), in the encodings of RFC 8410.

use aws_lc_rs::agreement::{self, X25519};
use aws_lc_rs::encoding::{AsBigEndian, Curve25519SeedBin};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use rquickjs::{Array, Class, Ctx, Function, Object, Result, Value};

use super::super::bytes::{View, array_buffer, uint8_array};
use super::der;
use super::key::{self, KeyHandle, Material};

const ED25519_OID: &[u8] = &[0x2B, 0x65, 0x70];
const X25519_OID: &[u8] = &[0x2B, 0x65, 0x6E];

pub(super) fn natives<'js>(ctx: &Ctx<'js>, native: &Object<'js>) -> Result<()> {
    native.set("okpImport", Function::new(ctx.clone(), import)?)?;
    native.set("okpExport", Function::new(ctx.clone(), export)?)?;
    native.set("okpParts", Function::new(ctx.clone(), parts)?)?;
    native.set("okpGenerate", Function::new(ctx.clone(), generate)?)?;
    native.set("edSign", Function::new(ctx.clone(), sign)?)?;
    native.set("edVerify", Function::new(ctx.clone(), verify)?)?;
    native.set("x25519", Function::new(ctx.clone(), agree)?)
}

fn oid(ed: bool) -> &'static [u8] {
    if ed { ED25519_OID } else { X25519_OID }
}

fn public(ed: bool, bytes: &[u8]) -> Option<Material> {
    let bytes = (bytes.len() == 32).then(|| bytes.to_vec())?;
    Some(if ed { Material::EdPublic(bytes) } else { Material::XPublic(bytes) })
}

fn private(ed: bool, seed: &[u8]) -> Option<Material> {
    if seed.len() != 32 {
        return None;
    }
    if ed {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
        let public = pair.public_key().as_ref().to_vec();
        Some(Material::EdPrivate { pair: Box::new(pair), seed: seed.to_vec(), public })
    } else {
        let key = agreement::PrivateKey::from_private_key(&X25519, seed).ok()?;
        let public = key.compute_public_key().ok()?.as_ref().to_vec();
        Some(Material::XPrivate { key: Box::new(key), seed: seed.to_vec(), public })
    }
}

/// `format` is `raw` or `spki` (public), `pkcs8` or `seed` (private).
fn import<'js>(ctx: Ctx<'js>, ed: bool, format: String, bytes: View<'js>) -> Result<Option<Value<'js>>> {
    let bytes = bytes.to_vec()?;
    let read = || match format.as_str() {
        "raw" => public(ed, &bytes),
        "seed" => private(ed, &bytes),
        "spki" => {
            let (found, None, key) = der::read_spki(&bytes)? else { return None };
            (found == oid(ed)).then(|| public(ed, key))?
        }
        "pkcs8" => {
            let (found, None, key) = der::read_pkcs8(&bytes)? else { return None };
            let seed = der::Reader::new(key).element(der::OCTET_STRING)?;
            (found == oid(ed)).then(|| private(ed, seed))?
        }
        _ => None,
    };
    read().map(|material| key::wrap(&ctx, material)).transpose()
}

type Parts<'a> = (&'a [u8], Option<&'a [u8]>, bool);

/// The public key, the private seed if there is one, and whether it is of Ed25519.
fn of(material: &Material) -> Option<Parts<'_>> {
    match material {
        Material::EdPublic(public) => Some((public, None, true)),
        Material::XPublic(public) => Some((public, None, false)),
        Material::EdPrivate { seed, public, .. } => Some((public, Some(seed), true)),
        Material::XPrivate { seed, public, .. } => Some((public, Some(seed), false)),
        _ => None,
    }
}

fn export<'js>(ctx: Ctx<'js>, key: Class<'js, KeyHandle>, format: String) -> Result<Option<Value<'js>>> {
    let key = key.borrow();
    let write = || {
        let (public, seed, ed) = of(&key.material)?;
        let algorithm = der::element(der::OID, oid(ed));
        match format.as_str() {
            "raw" => Some(public.to_vec()),
            "spki" => Some(der::spki(&algorithm, public)),
            "pkcs8" => Some(der::pkcs8(&algorithm, &der::element(der::OCTET_STRING, seed?))),
            _ => None,
        }
    };
    write().map(|bytes| array_buffer(&ctx, &bytes)).transpose()
}

/// `[public]` or `[public, seed]`, for JWK.
fn parts<'js>(ctx: Ctx<'js>, key: Class<'js, KeyHandle>) -> Result<Option<Array<'js>>> {
    let key = key.borrow();
    let Some((public, seed, _)) = of(&key.material) else { return Ok(None) };
    let out = Array::new(ctx.clone())?;
    out.set(0, uint8_array(&ctx, public)?)?;
    if let Some(seed) = seed {
        out.set(1, uint8_array(&ctx, seed)?)?;
    }
    Ok(Some(out))
}

/// `[private, public]`.
fn generate<'js>(ctx: Ctx<'js>, ed: bool) -> Result<Option<Array<'js>>> {
    let make = || {
        let seed: Vec<u8> = if ed {
            let mut seed = vec![0; 32];
            aws_lc_rs::rand::fill(&mut seed).ok()?;
            seed
        } else {
            let key = agreement::PrivateKey::generate(&X25519).ok()?;
            let seed: Curve25519SeedBin<'static> = key.as_be_bytes().ok()?;
            seed.as_ref().to_vec()
        };
        let private = private(ed, &seed)?;
        let public = public(ed, of(&private)?.0)?;
        Some((private, public))
    };
    let Some((private, public)) = make() else { return Ok(None) };
    let out = Array::new(ctx.clone())?;
    out.set(0, key::wrap(&ctx, private)?)?;
    out.set(1, key::wrap(&ctx, public)?)?;
    Ok(Some(out))
}

fn sign<'js>(ctx: Ctx<'js>, key: Class<'js, KeyHandle>, data: View<'js>) -> Result<Option<Value<'js>>> {
    let key = key.borrow();
    let Material::EdPrivate { pair, .. } = &key.material else { return Ok(None) };
    match data.with(|data| pair.try_sign(data))? {
        Ok(signature) => array_buffer(&ctx, signature.as_ref()).map(Some),
        Err(_) => Ok(None),
    }
}

fn verify<'js>(key: Class<'js, KeyHandle>, signature: View<'js>, data: View<'js>) -> Result<Option<bool>> {
    let key = key.borrow();
    let Material::EdPublic(public) = &key.material else { return Ok(None) };
    let signature = signature.to_vec()?;
    let public = UnparsedPublicKey::new(&ED25519, public);
    data.with(|data| public.verify(data, &signature).is_ok()).map(Some)
}

fn agree<'js>(
    ctx: Ctx<'js>,
    private: Class<'js, KeyHandle>,
    public: Class<'js, KeyHandle>,
) -> Result<Option<Value<'js>>> {
    let (private, public) = (private.borrow(), public.borrow());
    let (Material::XPrivate { key, .. }, Material::XPublic(public)) = (&private.material, &public.material)
    else {
        return Ok(None);
    };
    let peer = agreement::UnparsedPublicKey::new(&X25519, public);
    let shared = agreement::agree(key, peer, (), |shared| Ok(shared.to_vec()));
    shared.ok().map(|shared| array_buffer(&ctx, &shared)).transpose()
}

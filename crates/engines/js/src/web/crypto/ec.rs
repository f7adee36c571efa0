//! ECDSA and ECDH over P-256, P-384 and P-521.

use aws_lc_rs::agreement;
use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::encoding::{AsBigEndian, EcPrivateKeyBin, EcPublicKeyUncompressedBin};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED,
    ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, EcdsaVerificationAlgorithm, KeyPair, ParsedPublicKey,
};
use rquickjs::{Array, Class, Ctx, Function, Object, Result, Value};

use super::super::bytes::{View, array_buffer, uint8_array};
use super::der;
use super::digest::Hash;
use super::key::{self, KeyHandle, Material};

const EC_PUBLIC_KEY: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01];

/// A named curve.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "P-256" => Self::P256,
            "P-384" => Self::P384,
            "P-521" => Self::P521,
            _ => return None,
        })
    }

    /// The content of the curve's OID.
    fn oid(self) -> &'static [u8] {
        match self {
            Self::P256 => &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07],
            Self::P384 => &[0x2B, 0x81, 0x04, 0x00, 0x22],
            Self::P521 => &[0x2B, 0x81, 0x04, 0x00, 0x23],
        }
    }

    fn signing(self) -> &'static EcdsaSigningAlgorithm {
        match self {
            Self::P256 => &ECDSA_P256_SHA256_FIXED_SIGNING,
            Self::P384 => &ECDSA_P384_SHA384_FIXED_SIGNING,
            Self::P521 => &ECDSA_P521_SHA512_FIXED_SIGNING,
        }
    }

    fn verification(self) -> &'static EcdsaVerificationAlgorithm {
        match self {
            Self::P256 => &ECDSA_P256_SHA256_FIXED,
            Self::P384 => &ECDSA_P384_SHA384_FIXED,
            Self::P521 => &ECDSA_P521_SHA512_FIXED,
        }
    }

    fn agreement(self) -> &'static agreement::Algorithm {
        match self {
            Self::P256 => &agreement::ECDH_P256,
            Self::P384 => &agreement::ECDH_P384,
            Self::P521 => &agreement::ECDH_P521,
        }
    }

    /// Bytes of a coordinate or scalar.
    fn size(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    /// The digest of `data` by `hash` as one of the curve's own hash: ECDSA uses a digest as an integer of its
    /// leftmost bits (FIPS 186-5, 6.4.1), so cutting or zero-extending it on the left changes nothing.
    fn digest(self, hash: Hash, data: &[u8]) -> Option<Digest> {
        let own = match self {
            Self::P256 => &digest::SHA256,
            Self::P384 => &digest::SHA384,
            Self::P521 => &digest::SHA512,
        };
        let found = digest::digest(hash.digest(), data);
        let found = found.as_ref();
        let size = own.output_len();
        let bytes = if found.len() >= size {
            found[..size].to_vec()
        } else {
            let mut padded = vec![0; size - found.len()];
            padded.extend_from_slice(found);
            padded
        };
        Digest::import_less_safe(&bytes, own).ok()
    }
}

pub(super) fn natives<'js>(ctx: &Ctx<'js>, native: &Object<'js>) -> Result<()> {
    native.set("ecImport", Function::new(ctx.clone(), import)?)?;
    native.set("ecFromParts", Function::new(ctx.clone(), from_parts)?)?;
    native.set("ecExport", Function::new(ctx.clone(), export)?)?;
    native.set("ecParts", Function::new(ctx.clone(), parts)?)?;
    native.set("ecGenerate", Function::new(ctx.clone(), generate)?)?;
    native.set("ecSign", Function::new(ctx.clone(), sign)?)?;
    native.set("ecVerify", Function::new(ctx.clone(), verify)?)?;
    native.set("ecdh", Function::new(ctx.clone(), agree)?)
}

/// A public key of an uncompressed point that is on the curve. (The standard lets compressed ones be refused.)
fn public(curve: Curve, point: &[u8]) -> Option<Material> {
    if point.first() != Some(&4) || point.len() != 1 + 2 * curve.size() {
        return None;
    }
    let parsed = ParsedPublicKey::new(curve.verification(), point).ok()?;
    Some(Material::EcPublic { curve, point: point.to_vec(), parsed: Box::new(parsed) })
}

fn private(curve: Curve, pair: EcdsaKeyPair) -> Option<Material> {
    let scalar: EcPrivateKeyBin<'static> = pair.private_key().as_be_bytes().ok()?;
    let scalar = scalar.as_ref().to_vec();
    let point: EcPublicKeyUncompressedBin<'static> = pair.public_key().as_be_bytes().ok()?;
    let point = point.as_ref().to_vec();
    Some(Material::EcPrivate { curve, pair: Box::new(pair), scalar, point })
}

fn import<'js>(ctx: Ctx<'js>, curve: String, format: String, bytes: View<'js>) -> Result<Option<Value<'js>>> {
    let bytes = bytes.to_vec()?;
    let read = || {
        let curve = Curve::named(&curve)?;
        match format.as_str() {
            "raw" => public(curve, &bytes),
            "spki" => {
                let (algorithm, named, point) = der::read_spki(&bytes)?;
                (algorithm == EC_PUBLIC_KEY && named == Some(curve.oid())).then(|| public(curve, point))?
            }
            "pkcs8" => {
                let (algorithm, named, _) = der::read_pkcs8(&bytes)?;
                if algorithm != EC_PUBLIC_KEY || named != Some(curve.oid()) {
                    return None;
                }
                private(curve, EcdsaKeyPair::from_pkcs8(curve.signing(), &bytes).ok()?)
            }
            _ => None,
        }
    };
    read().map(|material| key::wrap(&ctx, material)).transpose()
}

/// Of a JWK's coordinates, and its scalar when it is private.
fn from_parts<'js>(
    ctx: Ctx<'js>,
    curve: String,
    x: View<'js>,
    y: View<'js>,
    d: Option<View<'js>>,
) -> Result<Option<Value<'js>>> {
    let (x, y) = (x.to_vec()?, y.to_vec()?);
    let d = d.map(|d| d.to_vec()).transpose()?;
    let read = || {
        let curve = Curve::named(&curve)?;
        let size = curve.size();
        if x.len() != size || y.len() != size {
            return None;
        }
        let mut point = vec![4];
        point.extend_from_slice(&x);
        point.extend_from_slice(&y);
        match &d {
            None => public(curve, &point),
            Some(d) if d.len() == size => {
                let pair = EcdsaKeyPair::from_private_key_and_public_key(curve.signing(), d, &point).ok()?;
                private(curve, pair)
            }
            Some(_) => None,
        }
    };
    read().map(|material| key::wrap(&ctx, material)).transpose()
}

fn export<'js>(ctx: Ctx<'js>, key: Class<'js, KeyHandle>, format: String) -> Result<Option<Value<'js>>> {
    let key = key.borrow();
    let write = || {
        let (curve, point) = match &key.material {
            Material::EcPrivate { curve, point, .. } | Material::EcPublic { curve, point, .. } => {
                (*curve, point)
            }
            _ => return None,
        };
        match (format.as_str(), &key.material) {
            ("raw", _) => Some(point.clone()),
            ("spki", _) => {
                let mut algorithm = der::element(der::OID, EC_PUBLIC_KEY);
                algorithm.extend(der::element(der::OID, curve.oid()));
                Some(der::spki(&algorithm, point))
            }
            ("pkcs8", Material::EcPrivate { pair, .. }) => Some(pair.to_pkcs8v1().ok()?.as_ref().to_vec()),
            _ => None,
        }
    };
    write().map(|bytes| array_buffer(&ctx, &bytes)).transpose()
}

/// `[x, y]` or `[x, y, d]`, for JWK.
fn parts<'js>(ctx: Ctx<'js>, key: Class<'js, KeyHandle>) -> Result<Option<Array<'js>>> {
    let key = key.borrow();
    let (curve, point, scalar) = match &key.material {
        Material::EcPrivate { curve, point, scalar, .. } => (curve, point, Some(scalar)),
        Material::EcPublic { curve, point, .. } => (curve, point, None),
        _ => return Ok(None),
    };
    let out = Array::new(ctx.clone())?;
    out.set(0, uint8_array(&ctx, &point[1..=curve.size()])?)?;
    out.set(1, uint8_array(&ctx, &point[1 + curve.size()..])?)?;
    if let Some(scalar) = scalar {
        out.set(2, uint8_array(&ctx, scalar)?)?;
    }
    Ok(Some(out))
}

/// `[private, public]`.
fn generate<'js>(ctx: Ctx<'js>, curve: String) -> Result<Option<Array<'js>>> {
    let make = || {
        let curve = Curve::named(&curve)?;
        let private = private(curve, EcdsaKeyPair::generate(curve.signing()).ok()?)?;
        let Material::EcPrivate { point, .. } = &private else { return None };
        let public = public(curve, point)?;
        Some((private, public))
    };
    let Some((private, public)) = make() else { return Ok(None) };
    let out = Array::new(ctx.clone())?;
    out.set(0, key::wrap(&ctx, private)?)?;
    out.set(1, key::wrap(&ctx, public)?)?;
    Ok(Some(out))
}

fn sign<'js>(
    ctx: Ctx<'js>,
    key: Class<'js, KeyHandle>,
    hash: String,
    data: View<'js>,
) -> Result<Option<Value<'js>>> {
    let key = key.borrow();
    let (Material::EcPrivate { curve, pair, .. }, Some(hash)) = (&key.material, Hash::named(&hash)) else {
        return Ok(None);
    };
    let signature = data.with(|data| pair.sign_digest(&curve.digest(hash, data)?).ok())?;
    signature.map(|signature| array_buffer(&ctx, signature.as_ref())).transpose()
}

fn verify<'js>(
    key: Class<'js, KeyHandle>,
    hash: String,
    signature: View<'js>,
    data: View<'js>,
) -> Result<Option<bool>> {
    let key = key.borrow();
    let (Material::EcPublic { curve, parsed, .. }, Some(hash)) = (&key.material, Hash::named(&hash)) else {
        return Ok(None);
    };
    let signature = signature.to_vec()?;
    data.with(|data| Some(parsed.verify_digest_sig(&curve.digest(hash, data)?, &signature).is_ok()))
}

fn agree<'js>(
    ctx: Ctx<'js>,
    private: Class<'js, KeyHandle>,
    public: Class<'js, KeyHandle>,
) -> Result<Option<Value<'js>>> {
    let (private, public) = (private.borrow(), public.borrow());
    let derive = || {
        let Material::EcPrivate { curve, scalar, .. } = &private.material else { return None };
        let Material::EcPublic { curve: other, point, .. } = &public.material else { return None };
        if curve != other {
            return None;
        }
        let key = agreement::PrivateKey::from_private_key(curve.agreement(), scalar).ok()?;
        let peer = agreement::UnparsedPublicKey::new(curve.agreement(), point);
        agreement::agree(&key, peer, (), |shared| Ok(shared.to_vec())).ok()
    };
    derive().map(|shared| array_buffer(&ctx, &shared)).transpose()
}

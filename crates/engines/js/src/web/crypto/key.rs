//! The native half of a CryptoKey.

use std::cell::RefCell;

use aws_lc_rs::agreement;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair, ParsedPublicKey};
use rquickjs::class::Trace;
use rquickjs::{Class, Ctx, IntoJs, JsLifetime, Result, Value};

use super::ec::Curve;

/// What a CryptoKey holds; opaque to JavaScript.
#[derive(Trace, JsLifetime)]
#[rquickjs::class]
pub(crate) struct KeyHandle {
    #[qjs(skip_trace)]
    pub(super) material: Material,
}

/// Key material by kind.
pub(super) enum Material {
    /// Raw bytes: HMAC, AES, HKDF, PBKDF2.
    Secret(Vec<u8>),
    /// An RSA private key, with its PKCS#8 form.
    RsaPrivate { pair: Box<rsa::KeyPair>, pkcs8: Vec<u8> },
    /// An RSA public key as PKCS#1 DER, with the parsed keys of the last verification's algorithm.
    RsaPublic { pkcs1: Vec<u8>, parsed: RefCell<Option<(usize, ParsedPublicKey)>> },
    /// An EC private key; `point` is the uncompressed public one.
    EcPrivate { curve: Curve, pair: Box<EcdsaKeyPair>, scalar: Vec<u8>, point: Vec<u8> },
    /// An EC public key: the uncompressed point, checked to be on the curve.
    EcPublic { curve: Curve, point: Vec<u8>, parsed: Box<ParsedPublicKey> },
    /// An Ed25519 private key.
    EdPrivate { pair: Box<Ed25519KeyPair>, seed: Vec<u8>, public: Vec<u8> },
    /// An Ed25519 public key.
    EdPublic(Vec<u8>),
    /// An X25519 private key.
    XPrivate { key: Box<agreement::PrivateKey>, seed: Vec<u8>, public: Vec<u8> },
    /// An X25519 public key.
    XPublic(Vec<u8>),
}

/// Makes a JavaScript value of `material`.
pub(super) fn wrap<'js>(ctx: &Ctx<'js>, material: Material) -> Result<Value<'js>> {
    Class::instance(ctx.clone(), KeyHandle { material })?.into_js(ctx)
}

//! What handshakes are made with, on either side, and which cipher suite they agree on.
//!
//! AES with keys of 128 bits comes first, as in Go's library: both lengths are out of reach of an attacker, and the
//! longer one goes with SHA-384, which hardly a processor has instructions for. A client that would rather have
//! ChaCha20 gets it: it says so where it has no instructions for AES.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::{CipherSuite, ServerConfig};

const AES_128: [CipherSuite; 3] = [
    CipherSuite::TLS13_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
];
const CHACHA20: [CipherSuite; 3] = [
    CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// AWS-LC, with the suites in the order that we prefer.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    // Stable: the rest stays as it is.
    provider.cipher_suites.sort_by_key(|suite| !AES_128.contains(&suite.suite()));
    Arc::new(provider)
}

/// Whether a client with these suites is to have its own order followed, rather than ours.
pub(super) fn follows_client(offered: &[CipherSuite], config: &ServerConfig) -> bool {
    let served = |suite: &&CipherSuite| {
        config.crypto_provider().cipher_suites.iter().any(|ours| ours.suite() == **suite)
    };
    // Others may stand before it, which nobody serves (RFC 8701).
    offered.iter().find(served).is_some_and(|first| CHACHA20.contains(first))
}

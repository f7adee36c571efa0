//! How the program's own clients, of authorities and of collectors, encrypt and whom they trust.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// Trusts those that `authorities` have vouched for.
pub(crate) fn in_authorities(authorities: &[CertificateDer<'_>]) -> TlsConfig {
    let owned = authorities.iter().map(|certificate| Certificate::from_der(certificate).to_owned());
    with(RootCerts::from(owned.collect::<Vec<_>>()))
}

/// Trusts the system's authorities; those of browsers where it has none.
pub(crate) fn in_the_system() -> TlsConfig {
    let found = rustls_native_certs::load_native_certs().certs;
    if found.is_empty() { with(RootCerts::WebPki) } else { in_authorities(&found) }
}

fn with(roots: RootCerts) -> TlsConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    TlsConfig::builder().unversioned_rustls_crypto_provider(provider).root_certs(roots).build()
}

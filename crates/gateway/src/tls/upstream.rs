//! TLS towards upstreams: the trusted roots and the client's configuration.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Roots that every connection trusts: Mozilla's, and those of the system. Read once a process.
static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();

/// The configuration for upstreams, trusting the authorities of `ca_file` (PEM) as well. Reads files: not for a
/// worker's own thread.
///
/// # Errors
/// A text that names the file and what is wrong with it.
pub(crate) fn client_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let roots = ROOTS.get_or_init(|| {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        // Certificates that cannot be read are left out, as other clients of the system's store do.
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        Arc::new(roots)
    });
    let roots = match ca_file {
        None => roots.clone(),
        Some(file) => {
            let mut roots = RootCertStore::clone(roots);
            let fault = |error: &dyn std::fmt::Display| {
                format!("certificate authorities {}: {error}", file.display())
            };
            let certificates = CertificateDer::pem_file_iter(file).map_err(|error| fault(&error))?;
            let mut count = 0;
            for certificate in certificates {
                roots.add(certificate.map_err(|error| fault(&error))?).map_err(|error| fault(&error))?;
                count += 1;
            }
            if count == 0 {
                return Err(fault(&"no certificate in it"));
            }
            Arc::new(roots)
        }
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_refused() {
        assert!(client_config(None).is_ok());
        let error = client_config(Some(Path::new("no/such/file.pem"))).unwrap_err();
        assert!(error.contains("no/such/file.pem"), "{error}");
        let error =
            client_config(Some(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")))).unwrap_err();
        assert!(error.contains("no certificate"), "{error}");
    }
}

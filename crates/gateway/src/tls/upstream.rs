//! TLS towards upstreams: the trusted roots, what we show, and the client's configuration.

use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use aws_lc_rs::digest;
use polygate_pipeline::{Diagnostic, TlsVersion};
use polygate_plan::{CertificateFiles, UpstreamTls};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::certificate::{authorities, bad, facts, pair};
use super::keeper::CertificateStatus;

/// Mozilla's roots, and those of the system. Read once a process.
static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();

/// What handshakes with upstreams of the same settings are made with.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) config: Arc<ClientConfig>,
    /// The certificate that servers are shown when they ask for one.
    pub(super) shown: Option<CertificateStatus>,
    /// Over the content of all files, to notice changes.
    digest: [u8; 32],
}

impl Client {
    /// Reads all files of `tls`. Not for a worker's own thread.
    ///
    /// The second part holds all that is wrong; with an error among it there is no client.
    pub(crate) fn load(tls: &UpstreamTls) -> (Option<Self>, Vec<Diagnostic>) {
        let mut found = Vec::new();
        let provider = super::suites::provider();
        let mut content = digest::Context::new(&digest::SHA256);
        let verifier = verifier(tls, &provider, &mut content, &mut found);
        let pair = tls.identity.as_ref().map(|files| identity(files, &provider, &mut content, &mut found));
        let (key, shown) = pair.flatten().unzip();
        let Some(verifier) = verifier.filter(|_| !found.iter().any(Diagnostic::is_error)) else {
            return (None, found);
        };
        match config(tls, provider, verifier, key) {
            Ok(config) => {
                let mut digest = [0; 32];
                digest.copy_from_slice(content.finish().as_ref());
                (Some(Self { config: Arc::new(config), shown, digest }), found)
            }
            Err(error) => {
                let problem = format!("TLS towards upstreams cannot be set up: {error}");
                found.push(Diagnostic::error("internal", problem));
                (None, found)
            }
        }
    }

    /// Whether it was made of files with the same content.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

fn config(
    tls: &UpstreamTls,
    provider: Arc<CryptoProvider>,
    verifier: Arc<dyn ServerCertVerifier>,
    key: Option<Arc<dyn ResolvesClientCert>>,
) -> Result<ClientConfig, rustls::Error> {
    let versions: &[_] = match tls.min_version {
        TlsVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::Tls13 => &[&rustls::version::TLS13],
    };
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions)?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = match key {
        Some(key) => builder.with_client_cert_resolver(key),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// What servers' certificates are verified with; `None` when that is not to be had, which `found` says.
fn verifier(
    tls: &UpstreamTls,
    provider: &Arc<CryptoProvider>,
    digest: &mut digest::Context,
    found: &mut Vec<Diagnostic>,
) -> Option<Arc<dyn ServerCertVerifier>> {
    let mut own = Vec::new();
    for file in &tls.authorities {
        match authorities(file, digest) {
            Ok(certificates) => own.extend(certificates.into_iter().map(|certificate| (file, certificate))),
            Err(problem) => found.push(*problem),
        }
    }
    if !tls.verify {
        return Some(Arc::new(Unverified(provider.signature_verification_algorithms)));
    }
    let mut roots = if tls.system_roots { system_roots() } else { Arc::new(RootCertStore::empty()) };
    for (file, certificate) in own {
        if let Err(error) = Arc::make_mut(&mut roots).add(certificate) {
            found.push(*bad(file, format!("an authority cannot be used: {error}")));
        }
    }
    if found.iter().any(Diagnostic::is_error) {
        return None;
    }
    match WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build() {
        Ok(verifier) => Some(verifier),
        Err(error) => {
            let problem = format!("servers of upstreams cannot be verified: {error}");
            found.push(Diagnostic::error("bad-certificate", problem));
            None
        }
    }
}

fn system_roots() -> Arc<RootCertStore> {
    let read = || {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        // Certificates that cannot be read are left out, as other clients of the system's store do.
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        Arc::new(roots)
    };
    ROOTS.get_or_init(read).clone()
}

/// The certificate that we show, and what there is to say of it.
fn identity(
    files: &CertificateFiles,
    provider: &CryptoProvider,
    digest: &mut digest::Context,
    found: &mut Vec<Diagnostic>,
) -> Option<(Arc<dyn ResolvesClientCert>, CertificateStatus)> {
    let (chain, key) = pair(files, digest, found)?;
    let facts = match chain.first().map(facts) {
        Some(Ok(facts)) => facts,
        Some(Err(why)) => {
            found.push(*bad(&files.cert, why));
            return None;
        }
        None => return None,
    };
    let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            bad(&files.key, "the private key does not belong to the certificate")
        }
        error => bad(&files.cert, error.to_string()),
    });
    match key {
        Ok(key) => {
            if facts.not_after < SystemTime::now() {
                let problem = Diagnostic::warning("expired-certificate", "the certificate has expired");
                found.push(problem.at(files.cert.display().to_string(), None));
            }
            let status = CertificateStatus {
                file: files.cert.clone(),
                obtained: false,
                names: facts.names.texts(),
                issuer: facts.issuer,
                not_before: facts.not_before,
                not_after: facts.not_after,
                staple: None,
            };
            Some((Arc::new(SingleCertAndKey::from(key)), status))
        }
        Err(problem) => {
            found.push(*problem);
            None
        }
    }
}

/// Believes every certificate, as the operator has asked for; that the server has its key is verified all the same.
#[derive(Debug)]
struct Unverified(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::testing::{Authority, Folder};
    use super::*;

    fn said(tls: &UpstreamTls) -> String {
        let (client, found) = Client::load(tls);
        assert_eq!(client.is_none(), found.iter().any(Diagnostic::is_error), "{found:?}");
        let texts: Vec<String> = found
            .iter()
            .map(|problem| {
                format!("{} {}: {}", problem.code, problem.file.as_deref().unwrap(), problem.message)
            })
            .collect();
        texts.join("; ")
    }

    #[test]
    fn what_is_wrong_with_files_is_said_of_them() {
        let folder = Folder::new();
        let authority = Authority::new("one");
        let (a, b) = (authority.issue("a", &[]), authority.issue("b", &[]));
        let (a, b) = (folder.write("a", &a), folder.write("b", &b));
        let trusting = |file: &str| UpstreamTls {
            authorities: vec![file.into()],
            system_roots: false,
            ..UpstreamTls::default()
        };
        assert_eq!(said(&UpstreamTls::default()), "");
        let ca = folder.file("ca.pem", &authority.pem);
        assert_eq!(said(&trusting(ca.to_str().unwrap())), "");
        assert!(said(&trusting("/no/such.pem")).starts_with("unreadable /no/such.pem"));
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        assert!(said(&trusting(manifest)).contains("no certificate"));
        let showing = |cert: &PathBuf, key: &PathBuf| {
            let identity = Some(CertificateFiles { cert: cert.clone(), key: key.clone(), ocsp: None });
            said(&UpstreamTls { identity, ..UpstreamTls::default() })
        };
        // Unlike a server's, a client's certificate needs no name.
        assert_eq!(showing(&a.cert, &a.key), "");
        assert!(showing(&a.cert, &b.key).contains("b.key: the private key does not belong"));
        assert!(showing(&a.key, &a.cert).contains("no private key"));
    }
}

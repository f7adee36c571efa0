//! Encryption towards clients.

use std::path::{Path, PathBuf};

use polygate_pipeline::TlsVersion;

use crate::Acme;

/// How connections of clients are encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Our certificates; the first one is shown to clients that ask for no name, or for one that none of them has.
    pub certificates: Vec<CertificateFiles>,
    /// Certificates that are obtained, beside those of files; `None` when there are none.
    pub acme: Option<Acme>,
    /// The oldest version that is spoken. Default 1.2.
    pub min_version: TlsVersion,
    /// Whether HTTP/2 is offered. Default true.
    pub http2: bool,
    /// Whether clients show certificates. Default not.
    pub client_auth: ClientAuth,
    /// Whether requests for a host that neither was asked for in the handshake nor stands in the certificate are
    /// answered with 421. Default true.
    pub refuse_misdirected: bool,
}

impl Tls {
    /// All files that it names.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let pairs = self.certificates.iter().flat_map(|files| {
            [files.cert.as_path(), files.key.as_path()].into_iter().chain(files.ocsp.as_deref())
        });
        let obtained = self.acme.iter().flat_map(|acme| &acme.domains).map(|domain| domain.file.as_path());
        pairs.chain(obtained).chain(self.client_auth.authorities())
    }
}

/// Where a certificate and its key are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CertificateFiles {
    /// The chain (PEM), our certificate first. Absolute.
    pub cert: PathBuf,
    /// The private key (PEM: PKCS #8, PKCS #1 or SEC 1). Absolute.
    pub key: PathBuf,
    /// The authority's word that ours is not revoked: an OCSP response (DER) that clients are shown along with it. Absolute.
    pub ocsp: Option<PathBuf>,
}

/// Whether clients show certificates, and which authorities vouch for them (PEM, absolute).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked.
    #[default]
    Off,
    /// They are asked; one that shows a certificate must have a good one.
    Optional(PathBuf),
    /// Without a good one there is no connection.
    Required(PathBuf),
}

impl ClientAuth {
    /// The file of authorities.
    pub fn authorities(&self) -> Option<&Path> {
        match self {
            ClientAuth::Off => None,
            ClientAuth::Optional(file) | ClientAuth::Required(file) => Some(file),
        }
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            certificates: Vec::new(),
            acme: None,
            min_version: TlsVersion::Tls12,
            http2: true,
            client_auth: ClientAuth::Off,
            refuse_misdirected: true,
        }
    }
}

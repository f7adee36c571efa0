//! Certificates that are obtained by ACME (RFC 8555).

use std::path::{Path, PathBuf};

/// Domains of one plan that certificates are obtained for, at most.
pub const MAX_ACME_DOMAINS: usize = 256;

/// Where certificates come from, for which domains, and how we prove that these are ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acme {
    /// The URL of the authority's directory. Default Let's Encrypt's.
    pub directory: String,
    /// URLs at which the authority can reach the operator, such as `mailto:ops@example.com`.
    pub contact: Vec<String>,
    /// The domains, at most [`MAX_ACME_DOMAINS`]: each gets a certificate of its own, so that none waits for another.
    pub domains: Vec<AcmeDomain>,
    /// The folder of account and certificates. Absolute.
    pub folder: PathBuf,
    /// How control of a domain is shown. Default TLS-ALPN-01.
    pub challenge: AcmeChallenge,
    /// Authorities that vouch for the directory (PEM, absolute), in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// The kind of key that certificates get. Default P-256.
    pub key: AcmeKey,
    /// What binds the account to one that the operator has with the authority (RFC 8555 7.3.4).
    pub external_account: Option<ExternalAccount>,
}

/// A domain, and the file in which its certificate is kept, with its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeDomain {
    /// Its name, in lower case.
    pub name: String,
    /// The chain, and the key behind it (PEM).
    pub file: PathBuf,
}

/// How control of a domain is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AcmeChallenge {
    /// By a certificate on the listener for TLS, which clients must reach at port 443 (RFC 8737).
    #[default]
    TlsAlpn01,
    /// By an answer on the cleartext listener, which clients must reach at port 80 (RFC 8555 8.3).
    Http01,
}

/// The kind of a certificate's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AcmeKey {
    /// ECDSA with the curve P-256.
    #[default]
    P256,
    /// ECDSA with the curve P-384.
    P384,
}

/// An account that the operator has with the authority. The key is a secret: it stands in a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalAccount {
    /// How the authority calls it.
    pub id: String,
    /// The variable with its HMAC key, in base64url.
    pub key_variable: String,
}

impl Acme {
    /// What belongs to a directory stands in a folder of `storage` that is named after it: certificates of a staging
    /// authority never pass for those of another.
    pub fn folder_for(storage: &Path, directory: &str) -> PathBuf {
        let name = directory.trim_start_matches("https://").trim_matches('/');
        let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' };
        storage.join(name.chars().map(plain).collect::<String>())
    }

    /// The file of a domain's certificate and key.
    pub fn file_for(folder: &Path, domain: &str) -> PathBuf {
        folder.join(format!("{domain}.pem"))
    }
}

//! Our certificates: a chain and its key, read from files and held against each other.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;
use polygate_pipeline::{CertificateNames, Diagnostic};
use polygate_plan::CertificateFiles;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::time::ASN1Time;

use super::name::distinguished;
use super::staple::Staple;

/// Largest file of certificates or keys that is read, in bytes; beyond, it is refused.
const MAX_FILE: u64 = 1 << 20;

/// A certificate that can be shown.
pub(crate) struct Certificate {
    pub(crate) key: Arc<CertifiedKey>,
    pub(crate) names: Arc<CertificateNames>,
    pub(crate) issuer: String,
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
    /// The file of the chain.
    pub(crate) file: PathBuf,
    /// Whether it was obtained by ACME.
    pub(crate) obtained: bool,
    /// The authority's word that it is not revoked, when there is a file for it.
    pub(crate) staple: Option<Staple>,
}

impl Certificate {
    /// Reads and checks a pair of files; their content goes into `digest`, by which a change is noticed.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub(crate) fn load(
        files: &CertificateFiles,
        provider: &CryptoProvider,
        digest: &mut digest::Context,
        found: &mut Vec<Diagnostic>,
    ) -> Option<Self> {
        let (chain, key) = pair(files, digest, found)?;
        match Self::new(chain, key, &files.cert, provider) {
            Ok(mut certificate) => {
                if let Some(file) = &files.ocsp {
                    certificate.staple(file, digest, found);
                }
                if certificate.not_after < SystemTime::now() {
                    let problem = Diagnostic::warning("expired-certificate", "the certificate has expired");
                    found.push(problem.at(files.cert.display().to_string(), None));
                }
                Some(certificate)
            }
            Err(problem) => {
                found.push(*problem);
                None
            }
        }
    }

    /// A certificate that is in memory.
    ///
    /// # Errors
    /// When chain and key do not belong together, or cannot be used.
    pub(crate) fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        file: &Path,
        provider: &CryptoProvider,
    ) -> Result<Self, Box<Diagnostic>> {
        let leaf = chain.first().ok_or_else(|| bad(file, "there is no certificate in it"))?;
        let Facts { names, issuer, not_before, not_after } = facts(leaf).map_err(|error| bad(file, error))?;
        if names.dns.is_empty() && names.ips.is_empty() {
            // Clients have not looked at the common name for years (RFC 9525).
            let why = "the certificate has no subject alternative name, by which clients know whose it is";
            return Err(bad(file, why));
        }
        let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                bad(file, "the private key does not belong to this certificate")
            }
            error => bad(file, error.to_string()),
        })?;
        let (key, names, file) = (Arc::new(key), Arc::new(names), file.to_owned());
        Ok(Self { key, names, issuer, not_before, not_after, file, obtained: false, staple: None })
    }

    /// Reads what is stapled to it. What is wrong with that keeps no certificate from being shown.
    fn staple(&mut self, file: &Path, digest: &mut digest::Context, found: &mut Vec<Diagnostic>) {
        let response = read(file, digest).map_err(|problem| problem.message.clone());
        let serial = self.key.end_entity_cert().ok().and_then(serial).unwrap_or_default();
        let staple = Staple::new(file.to_owned(), response, &serial, &self.key);
        if let Some(problem) = staple.problem(SystemTime::now()) {
            let problem = Diagnostic::warning("bad-staple", format!("nothing is stapled: {problem}"));
            found.push(problem.at(file.display().to_string(), None));
        }
        self.staple = Some(staple);
    }

    /// What is shown: with the authority's word, as long as that is good.
    pub(super) fn shown(&self) -> &Arc<CertifiedKey> {
        let Some(staple) = &self.staple else { return &self.key };
        staple.key(SystemTime::now()).unwrap_or(&self.key)
    }
}

/// The serial number of a certificate, as it is written.
fn serial(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(parsed.raw_serial().to_vec())
}

/// A chain and its key, as they stand in their files; what is wrong with these is added to `found`.
pub(super) fn pair(
    files: &CertificateFiles,
    digest: &mut digest::Context,
    found: &mut Vec<Diagnostic>,
) -> Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let chain = read(&files.cert, digest).and_then(|pem| chain(&pem, &files.cert));
    let key = read(&files.key, digest).and_then(|pem| {
        PrivateKeyDer::from_pem_slice(&pem).map_err(|error| bad(&files.key, no_item(&error, "private key")))
    });
    match (chain, key) {
        (Ok(chain), Ok(key)) => Some((chain, key)),
        (chain, key) => {
            found.extend(chain.err().into_iter().chain(key.err()).map(|problem| *problem));
            None
        }
    }
}

/// The certificates of a file.
///
/// # Errors
/// When it cannot be read or holds none.
pub(crate) fn authorities(
    file: &Path,
    digest: &mut digest::Context,
) -> Result<Vec<CertificateDer<'static>>, Box<Diagnostic>> {
    chain(&read(file, digest)?, file)
}

/// Reads a file whole, and makes it part of what is held against the next reading.
fn read(file: &Path, digest: &mut digest::Context) -> Result<Vec<u8>, Box<Diagnostic>> {
    let bytes = std::fs::metadata(file).and_then(|meta| {
        if meta.len() > MAX_FILE {
            return Err(std::io::Error::other("it is larger than 1 MiB"));
        }
        std::fs::read(file)
    });
    let bytes = bytes.map_err(|error| {
        let problem = Diagnostic::error("unreadable", format!("the file cannot be read: {error}"));
        Box::new(problem.at(file.display().to_string(), None))
    })?;
    digest.update(&(bytes.len() as u64).to_be_bytes());
    digest.update(&bytes);
    Ok(bytes)
}

fn chain(pem: &[u8], file: &Path) -> Result<Vec<CertificateDer<'static>>, Box<Diagnostic>> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|error| bad(file, no_item(&error, "certificate")))?;
    if all.is_empty() { Err(bad(file, "there is no certificate in it")) } else { Ok(all) }
}

/// Errors of the PEM reader hold no part of the file.
fn no_item(error: &rustls::pki_types::pem::Error, what: &str) -> String {
    match error {
        rustls::pki_types::pem::Error::NoItemsFound => format!("there is no {what} in it"),
        error => format!("the {what} cannot be read: {error}"),
    }
}

pub(super) fn bad(file: &Path, why: impl Into<String>) -> Box<Diagnostic> {
    let problem = Diagnostic::error("bad-certificate", why).at(file.display().to_string(), None);
    Box::new(problem.expected("PEM files of a certificate chain, ours first, and of its private key"))
}

/// What there is to know of a certificate.
pub(super) struct Facts {
    pub(super) names: CertificateNames,
    /// Who issued it, in the form of RFC 4514.
    pub(super) issuer: String,
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
}

/// Reads a certificate.
pub(super) fn facts(certificate: &CertificateDer<'_>) -> Result<Facts, String> {
    let unreadable = |error: &dyn std::fmt::Display| format!("the certificate cannot be read: {error}");
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| unreadable(&error))?;
    let mut names = CertificateNames::default();
    let extension = parsed.subject_alternative_name().map_err(|error| unreadable(&error))?;
    for name in extension.iter().flat_map(|extension| &extension.value.general_names) {
        match name {
            GeneralName::DNSName(name) => names.dns.push(name.to_ascii_lowercase().into()),
            GeneralName::IPAddress(bytes) => names.ips.extend(ip(bytes)),
            _ => {}
        }
    }
    let (not_before, not_after) = (&parsed.validity().not_before, &parsed.validity().not_after);
    let issuer = distinguished(parsed.issuer());
    Ok(Facts { names, issuer, not_before: time(not_before), not_after: time(not_after) })
}

/// The address of a subject alternative name.
pub(super) fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

/// A time of a certificate; one before 1970 counts as 1970.
pub(super) fn time(time: &ASN1Time) -> SystemTime {
    let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Folder, Issued};
    use super::*;

    fn load(files: &CertificateFiles) -> (Option<Certificate>, Vec<Diagnostic>) {
        let mut found = Vec::new();
        let provider = crate::tls::provider();
        let mut digest = digest::Context::new(&digest::SHA256);
        (Certificate::load(files, &provider, &mut digest, &mut found), found)
    }

    #[test]
    fn names_are_those_of_the_certificate() {
        let folder = Folder::new();
        let files = folder.write("a", &Issued::new(&["A.test", "*.b.test", "127.0.0.1"]));
        let (certificate, found) = load(&files);
        assert_eq!(found, []);
        let names = &certificate.unwrap().names;
        assert_eq!(names.dns, ["a.test".into(), Box::from("*.b.test")]);
        assert_eq!(names.ips, [IpAddr::from([127, 0, 0, 1])]);
    }

    #[test]
    fn what_is_wrong_is_said_of_the_file() {
        let folder = Folder::new();
        let (a, b) =
            (folder.write("a", &Issued::new(&["a.test"])), folder.write("b", &Issued::new(&["b.test"])));
        let said = |cert: &Path, key: &Path| {
            let (certificate, found) =
                load(&CertificateFiles { cert: cert.into(), key: key.into(), ocsp: None });
            assert!(certificate.is_none());
            found
                .iter()
                .map(|problem| format!("{} {}", problem.code, problem.message))
                .collect::<Vec<_>>()
                .join("; ")
        };
        assert!(said(&a.cert, &b.key).contains("does not belong"));
        assert!(said(&a.key, &a.key).contains("no certificate"));
        assert!(said(&a.cert, &a.cert).contains("no private key"));
        let missing = said(Path::new("/no/such"), Path::new("/nor/this"));
        assert_eq!(missing.matches("unreadable").count(), 2, "{missing}");
        std::fs::write(&a.cert, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        assert!(said(&a.cert, &a.key).contains("cannot be read"));
        assert!(
            said(&folder.write("nameless", &Issued::new(&[])).cert, &a.key)
                .contains("no subject alternative")
        );
    }

    #[test]
    fn an_expired_one_is_warned_about() {
        let folder = Folder::new();
        let (certificate, found) = load(&folder.write("old", &Issued::expired(&["a.test"])));
        assert!(certificate.is_some());
        assert!(!found[0].is_error() && found[0].code == "expired-certificate", "{found:?}");
    }
}

//! What authorities ask to see before they issue certificates (ACME): answers by HTTP-01 (RFC 8555 8.3) and TLS-ALPN-01
//! (RFC 8737).

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

/// Where authorities look (RFC 8555 8.3).
const PATH: &str = "/.well-known/acme-challenge/";

/// What authorities offer in the handshake, and nothing beside it (RFC 8737 3).
const PROTOCOL: &[u8] = b"acme-tls/1";

/// Answers to challenges that are pending. One for all workers, who look at no more than a number while there is none.
#[derive(Default)]
pub struct Challenges {
    pending: AtomicUsize,
    answers: RwLock<Answers>,
}

#[derive(Default)]
struct Answers {
    /// By token.
    http: HashMap<String, String>,
    /// By domain, in lower case.
    alpn: HashMap<String, Arc<ServerConfig>>,
}

/// An answer that is given for as long as this lives.
#[must_use]
pub struct Answering {
    challenges: Arc<Challenges>,
    /// The token or domain.
    name: String,
    http: bool,
}

impl Challenges {
    /// Answers requests for a token by HTTP on the cleartext listener.
    pub fn answer_http(self: &Arc<Self>, token: &str, answer: &str) -> Answering {
        self.change(|answers| drop(answers.http.insert(token.to_owned(), answer.to_owned())));
        Answering { challenges: self.clone(), name: token.to_owned(), http: true }
    }

    /// Answers handshakes for a domain, as authorities make them, with a certificate (DER) and its key (PKCS #8).
    ///
    /// # Errors
    /// When these are not usable.
    pub fn answer_alpn(
        self: &Arc<Self>,
        domain: &str,
        certificate: Vec<u8>,
        key: Vec<u8>,
    ) -> Result<Answering, String> {
        let config = config(certificate, key).map_err(|error| error.to_string())?;
        self.change(|answers| drop(answers.alpn.insert(domain.to_owned(), Arc::new(config))));
        Ok(Answering { challenges: self.clone(), name: domain.to_owned(), http: false })
    }

    fn change(&self, change: impl FnOnce(&mut Answers)) {
        // Maps are whole whatever panicked.
        let mut answers = self.answers.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut answers);
        self.pending.store(answers.http.len() + answers.alpn.len(), Ordering::Release);
    }

    /// Whether there is any.
    pub(crate) fn are_pending(&self) -> bool {
        self.pending.load(Ordering::Acquire) > 0
    }

    /// The answer to a request for this path.
    pub(crate) fn http(&self, path: &str) -> Option<String> {
        let token = path.strip_prefix(PATH)?;
        self.answers.read().unwrap_or_else(PoisonError::into_inner).http.get(token).cloned()
    }

    /// What the handshake is made with, when it is an authority's and for a domain with a pending challenge.
    pub(super) fn alpn(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        let mut offered = hello.alpn()?;
        if !self.are_pending() || offered.next() != Some(PROTOCOL) || offered.next().is_some() {
            return None;
        }
        let domain = hello.server_name()?;
        self.answers.read().unwrap_or_else(PoisonError::into_inner).alpn.get(domain).cloned()
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.challenges.change(|answers| match self.http {
            true => drop(answers.http.remove(&self.name)),
            false => drop(answers.alpn.remove(&self.name)),
        });
    }
}

fn config(certificate: Vec<u8>, key: Vec<u8>) -> Result<ServerConfig, rustls::Error> {
    let provider = super::suites::provider();
    let key = PrivatePkcs8KeyDer::from(key).into();
    // Held against each other they are not: what the authority looks for is an extension that others must refuse.
    let key = provider.key_provider.load_private_key(key)?;
    let key = CertifiedKey::new(vec![CertificateDer::from(certificate)], key);
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let shown = Arc::new(SingleCertAndKey::from(key));
    let mut config = builder.with_no_client_auth().with_cert_resolver(shown);
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_given_while_they_are_pending() {
        let challenges = Arc::<Challenges>::default();
        assert!(!challenges.are_pending());
        let one = challenges.answer_http("token-1", "answer");
        assert!(challenges.are_pending());
        assert_eq!(challenges.http("/.well-known/acme-challenge/token-1").as_deref(), Some("answer"));
        for path in ["/.well-known/acme-challenge/token-2", "/.well-known/acme-challenge/", "/token-1"] {
            assert_eq!(challenges.http(path), None, "{path}");
        }
        drop(one);
        assert!(!challenges.are_pending());
        assert_eq!(challenges.http("/.well-known/acme-challenge/token-1"), None);
        assert!(challenges.answer_alpn("a.test", vec![1], vec![2]).is_err());
        assert!(!challenges.are_pending());
    }
}

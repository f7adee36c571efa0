//! Which certificate a client is shown.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::Certificate;

/// Certificates by the names that clients ask for (SNI). Several may have one name, with keys of different kinds: the
/// first whose signatures the client takes is shown.
pub(crate) struct Resolver {
    certificates: Vec<Certificate>,
    exact: HashMap<Box<str>, Vec<usize>>,
    /// By what stands behind `*.`.
    wildcard: HashMap<Box<str>, Vec<usize>>,
}

impl Resolver {
    pub(crate) fn new(certificates: Vec<Certificate>) -> Self {
        let (mut exact, mut wildcard) = (HashMap::new(), HashMap::new());
        for (index, certificate) in certificates.iter().enumerate() {
            for name in &certificate.names.dns {
                let (names, name): (&mut HashMap<Box<str>, Vec<usize>>, &str) = match name.strip_prefix("*.")
                {
                    Some(parent) => (&mut wildcard, parent),
                    None => (&mut exact, name),
                };
                names.entry(name.into()).or_default().push(index);
            }
        }
        Self { certificates, exact, wildcard }
    }

    /// All of them, the default first.
    pub(crate) fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// The certificate for a name in lower case: one that has it, else one with a wildcard for it, else the default. A client
    /// that takes none of our keys' signatures gets the default too: the handshake then ends with `handshake_failure`, as
    /// with other servers, while without a certificate it would be `access_denied`.
    pub(crate) fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<&Certificate> {
        let usable = |index: &usize| {
            let found = self.certificates.get(*index)?;
            found.key.key.choose_scheme(schemes).map(|_| found)
        };
        let named = name.and_then(|name| {
            let exact = self.exact.get(name).into_iter().flatten().find_map(usable);
            exact.or_else(|| {
                let (label, parent) = name.split_once('.')?;
                let all = self.wildcard.get(parent).filter(|_| !label.is_empty())?;
                all.iter().find_map(usable)
            })
        });
        let any = || (0..self.certificates.len()).find_map(|index| usable(&index));
        named.or_else(any).or_else(|| self.certificates.first())
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes()).map(|chosen| chosen.shown().clone())
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("certificates", &self.certificates.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Issued;
    use super::*;

    #[test]
    fn the_most_exact_name_wins_and_the_first_is_the_default() {
        let names: [&[&str]; 4] = [&["default.test"], &["*.a.test"], &["www.a.test", "b.test"], &["a.test"]];
        let resolver = Resolver::new(names.iter().map(|names| Issued::new(names).certificate()).collect());
        let chosen = |name: Option<&str>| {
            let found = resolver.choose(name, &[SignatureScheme::ECDSA_NISTP256_SHA256]).unwrap();
            found.names.dns[0].to_string()
        };
        for (name, expected) in [
            ("default.test", "default.test"),
            ("www.a.test", "www.a.test"),
            ("x.a.test", "*.a.test"),
            ("x.y.a.test", "default.test"),
            ("a.test", "a.test"),
            ("b.test", "www.a.test"),
            ("nobody.test", "default.test"),
            ("", "default.test"),
        ] {
            assert_eq!(chosen(Some(name)), expected, "{name}");
        }
        assert_eq!(chosen(None), "default.test");
    }

    #[test]
    fn the_kind_of_key_is_one_that_the_client_takes() {
        let curve = |kind| Issued::with_key(&["a.test"], kind).certificate();
        let resolver =
            Resolver::new(vec![curve(&rcgen::PKCS_ECDSA_P384_SHA384), curve(&rcgen::PKCS_ECDSA_P256_SHA256)]);
        let scheme = SignatureScheme::ECDSA_NISTP256_SHA256;
        for name in [Some("a.test"), None] {
            let key = &resolver.choose(name, &[scheme]).unwrap().key.key;
            assert!(key.choose_scheme(&[scheme]).is_some());
        }
        let other = resolver.choose(Some("a.test"), &[SignatureScheme::RSA_PSS_SHA256]).unwrap();
        assert!(other.key.key.choose_scheme(&[SignatureScheme::RSA_PSS_SHA256]).is_none());
    }
}

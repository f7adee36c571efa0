//! `[tls.acme]` of `polygate.toml`: checked.

use polygate_pipeline::{Diagnostic, Scheme, Target};
use polygate_plan::{Acme, AcmeChallenge, AcmeDomain, AcmeKey, ExternalAccount, MAX_ACME_DOMAINS};

use crate::raw::tls as raw;
use crate::settings::{FILE, authorities};
use crate::source::Project;
use crate::tree::{Node, child};

const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
const LETS_ENCRYPT_STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";

/// Where account and certificates are kept unless settings say otherwise.
const STORAGE: &str = ".polygate/acme";

/// The variable with the key of an account that the operator has, unless settings name another.
const KEY_VARIABLE: &str = "ACME_EAB_KEY";

/// The field path of the table.
const PATH: &str = "tls.acme";

/// What `[tls.acme]` says; `tls` is the node of `[tls]`. `None` when it cannot be used, which is reported.
pub(crate) fn load(project: &mut Project<'_>, from: &raw::Acme, tls: Option<&Node>) -> Option<Acme> {
    let node = tls.and_then(|tls| tls.get("acme"))?;
    let mut reader = Reader { node, project };
    if !from.terms_agreed {
        let problem =
            Diagnostic::error("missing-field", "the authority's terms of service are not agreed to");
        reader.report(problem, "terms-agreed", "terms-agreed = true, once they are");
    }
    let directory = reader.directory(from.directory.as_deref());
    let storage = reader.project.root.join(from.storage.as_deref().unwrap_or(STORAGE));
    let folder = Acme::folder_for(&storage, &directory);
    let domains = reader.domains(&from.domains);
    let domains = domains.into_iter().map(|name| AcmeDomain { file: Acme::file_for(&folder, &name), name });
    Some(Acme {
        domains: domains.collect(),
        contact: reader.contact(&from.contact),
        challenge: match from.challenge {
            None | Some(raw::AcmeChallenge::TlsAlpn01) => AcmeChallenge::TlsAlpn01,
            Some(raw::AcmeChallenge::Http01) => AcmeChallenge::Http01,
        },
        ca_file: from.ca_file.as_ref().map(|file| {
            let span = node.get("ca-file").unwrap_or(node).span;
            authorities(reader.project, file, Some(span), child(PATH, "ca-file"))
        }),
        key: match from.key_type {
            None | Some(raw::AcmeKey::P256) => AcmeKey::P256,
            Some(raw::AcmeKey::P384) => AcmeKey::P384,
        },
        external_account: from.external_account.as_ref().map(|account| reader.external_account(account)),
        directory,
        folder,
    })
}

struct Reader<'a, 'p> {
    node: &'a Node,
    project: &'a mut Project<'p>,
}

impl Reader<'_, '_> {
    fn report(&mut self, problem: Diagnostic, field: &str, expected: &str) {
        let node = self.node.get(field.split('.').next().unwrap_or(field)).unwrap_or(self.node);
        let problem = problem.at(FILE, Some(node.span)).field(format!("{PATH}.{field}"));
        self.project.report(problem.expected(expected));
    }

    /// What is wrong with one element of a list.
    fn report_element(&mut self, problem: Diagnostic, list: &str, index: usize, expected: &str) {
        let elements = self.node.get(list).map(Node::elements).unwrap_or_default();
        let node = elements.get(index).unwrap_or(self.node);
        let problem = problem.at(FILE, Some(node.span)).field(format!("{PATH}.{list}[{index}]"));
        self.project.report(problem.expected(expected));
    }

    fn directory(&mut self, written: Option<&str>) -> String {
        match written {
            None | Some("letsencrypt") => LETS_ENCRYPT.to_owned(),
            Some("letsencrypt-staging") => LETS_ENCRYPT_STAGING.to_owned(),
            Some(url) => {
                if !Target::parse(url).is_ok_and(|target| target.scheme() == Scheme::Https) {
                    let message = format!("{url:?} is no directory of an authority");
                    let expected = "letsencrypt, letsencrypt-staging, or an https URL";
                    self.report(Diagnostic::error("bad-url", message), "directory", expected);
                }
                url.to_owned()
            }
        }
    }

    fn domains(&mut self, written: &[String]) -> Vec<String> {
        if written.is_empty() || written.len() > MAX_ACME_DOMAINS {
            let message = format!("there are {} domains", written.len());
            let expected = format!("1 to {MAX_ACME_DOMAINS} domains");
            self.report(Diagnostic::error("out-of-range", message), "domains", &expected);
        }
        let mut domains: Vec<String> = Vec::new();
        for (index, domain) in written.iter().enumerate().take(MAX_ACME_DOMAINS) {
            let name = domain.to_ascii_lowercase();
            let problem = if name.starts_with("*.") {
                let message = format!("no wildcard can be obtained by this challenge: {domain:?}");
                Diagnostic::error("bad-value", message)
            } else if !is_domain(&name) {
                Diagnostic::error("bad-value", format!("no certificate can be obtained for {domain:?}"))
            } else if domains.contains(&name) {
                let problem = Diagnostic::error("duplicate", format!("{domain:?} stands here twice"));
                self.report_element(problem, "domains", index, "each domain once");
                continue;
            } else {
                domains.push(name);
                continue;
            };
            self.report_element(problem, "domains", index, "a domain such as www.example.com");
        }
        domains
    }

    fn contact(&mut self, written: &[String]) -> Vec<String> {
        let mut contact = Vec::new();
        for (index, text) in written.iter().enumerate() {
            let address = text.strip_prefix("mailto:").unwrap_or(text);
            let is_address =
                |(name, host): (&str, &str)| !name.is_empty() && is_domain(&host.to_ascii_lowercase());
            let plain = address.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b',' | b'?'));
            if !plain || !address.split_once('@').is_some_and(is_address) {
                let problem = Diagnostic::error("bad-value", format!("{text:?} is no address for mail"));
                self.report_element(problem, "contact", index, "an address such as ops@example.com");
            }
            contact.push(format!("mailto:{address}"));
        }
        contact
    }

    fn external_account(&mut self, written: &raw::ExternalAccount) -> ExternalAccount {
        let key_variable = written.key_variable.clone().unwrap_or_else(|| KEY_VARIABLE.to_owned());
        if !self.project.variables.contains_key(&key_variable) {
            let message = format!("the variable {key_variable} is not set");
            let problem = Diagnostic::error("unset-variable", message);
            self.report(problem, "external-account.key-variable", "the account's HMAC key in base64url");
        }
        ExternalAccount { id: written.id.clone(), key_variable }
    }
}

/// Whether a name, in lower case, is one that authorities issue for: letters, digits and hyphens (RFC 1123 2.1), at
/// least two labels, the last of which is no number.
fn is_domain(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or(name);
    name.len() <= 253
        && name.contains('.')
        && name.split('.').all(label)
        && !last.bytes().all(|b| b.is_ascii_digit())
}

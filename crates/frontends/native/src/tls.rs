//! `[tls]` of `polygate.toml`: checked.

use polygate_pipeline::{Diagnostic, TlsVersion};
use polygate_plan::{self as plan, CertificateFiles, Tls};

use crate::acme;
use crate::raw::tls as raw;
use crate::settings::{FILE, authorities, set};
use crate::source::Project;
use crate::tree::Node;

/// What `[tls]` says, when there is a listener for it. `tree` is the whole file.
pub(crate) fn load(
    project: &mut Project<'_>,
    file: raw::Tls,
    listen: &plan::Listen,
    tree: &Node,
) -> Option<Tls> {
    let node = tree.get("tls");
    if node.is_none() && listen.tls_address.is_none() {
        return None;
    }
    if listen.tls_address.is_none() {
        let problem = Diagnostic::error("missing-field", "there is no listener for TLS");
        let problem = problem.at(FILE, node.map(|node| node.span)).field("listen.tls-address");
        project.report(problem.expected("tls-address = \"0.0.0.0:8443\" in [listen]"));
    } else if listen.tls_address == Some(listen.address) {
        let found = tree.get("listen").and_then(|listen| listen.get("tls-address"));
        let problem = Diagnostic::error("bad-value", "cleartext and TLS cannot share an address");
        project.report(problem.at(FILE, found.map(|node| node.span)).field("listen.tls-address"));
    }
    let acme = file.acme.as_ref().and_then(|acme| acme::load(project, acme, node));
    if file.certificates.is_empty() && file.acme.is_none() {
        let place = node.or_else(|| tree.get("listen")?.get("tls-address"));
        let problem = Diagnostic::error("missing-field", "there is no certificate for the TLS listener");
        let problem = problem.at(FILE, place.map(|node| node.span)).field("tls.certificates");
        let expected = "[[tls.certificates]] with cert = \"FILE\" and key = \"FILE\", or [tls.acme]";
        project.report(problem.expected(expected));
    }
    let mut tls = Tls { acme, client_auth: client_auth(project, &file, node), ..Tls::default() };
    for certificate in file.certificates {
        let files = CertificateFiles {
            cert: project.root.join(certificate.cert),
            key: project.root.join(certificate.key),
            ocsp: certificate.ocsp_file.map(|file| project.root.join(file)),
        };
        project.files.extend([files.cert.clone(), files.key.clone()].into_iter().chain(files.ocsp.clone()));
        tls.certificates.push(files);
    }
    set(&mut tls.min_version, file.min_version.map(version));
    set(&mut tls.http2, file.http2);
    set(&mut tls.refuse_misdirected, file.refuse_misdirected);
    Some(tls)
}

fn client_auth(project: &mut Project<'_>, file: &raw::Tls, node: Option<&Node>) -> plan::ClientAuth {
    let place = |field: &str| node.and_then(|node| node.get(field)).or(node).map(|node| node.span);
    let auth = file.client_auth.unwrap_or(raw::ClientAuth::Off);
    match (auth, &file.client_ca) {
        (raw::ClientAuth::Off, None) => plan::ClientAuth::Off,
        (raw::ClientAuth::Off, Some(_)) => {
            let problem =
                Diagnostic::error("misplaced-field", "client-ca has no effect while client-auth is off");
            let problem = problem.at(FILE, place("client-ca")).field("tls.client-ca");
            project.report(problem.expected("client-auth = \"optional\" or \"required\", or no client-ca"));
            plan::ClientAuth::Off
        }
        (_, None) => {
            let problem =
                Diagnostic::error("missing-field", "no authority is named that vouches for clients");
            let problem = problem.at(FILE, place("client-auth")).field("tls.client-ca");
            project.report(problem.expected("client-ca = \"FILE\", a PEM file with certificate authorities"));
            plan::ClientAuth::Off
        }
        (auth, Some(file)) => {
            let path = authorities(project, file, place("client-ca"), "tls.client-ca".to_owned());
            match auth {
                raw::ClientAuth::Required => plan::ClientAuth::Required(path),
                _ => plan::ClientAuth::Optional(path),
            }
        }
    }
}

pub(crate) fn version(raw: raw::TlsVersion) -> TlsVersion {
    match raw {
        raw::TlsVersion::Tls12 => TlsVersion::Tls12,
        raw::TlsVersion::Tls13 => TlsVersion::Tls13,
    }
}

//! Facts of a connection whose handshake is done.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use polygate_pipeline::{CertificateNames, ClientCertificate, Fingerprint, SubjectName, Tls, TlsVersion};
use rustls::pki_types::CertificateDer;
use rustls::{HandshakeKind, ProtocolVersion, ServerConnection};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::certificate::{ip, time};
use super::name::distinguished;

/// What exchanges are told of a connection. `names` are those of the certificate that we showed.
pub(super) fn facts(connection: &ServerConnection, names: Arc<CertificateNames>) -> Tls {
    let client = connection.peer_certificates().and_then(<[_]>::first).and_then(certificate);
    let cipher = connection.negotiated_cipher_suite().map(|suite| suite.suite());
    Tls {
        version: match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => TlsVersion::Tls12,
            _ => TlsVersion::Tls13,
        },
        cipher: cipher.and_then(|cipher| cipher.as_str()).unwrap_or("unknown"),
        server_name: connection.server_name().map(Into::into),
        resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
        names,
        client,
    }
}

/// The facts of a client's certificate. It was verified; `None` only when the two parsers disagree on it.
fn certificate(der: &CertificateDer<'_>) -> Option<ClientCertificate> {
    let (_, parsed) = X509Certificate::from_der(der).ok()?;
    let names = parsed.subject_alternative_name().ok()?;
    let names =
        names.iter().flat_map(|extension| &extension.value.general_names).filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(SubjectName::Dns((*name).to_owned())),
            GeneralName::RFC822Name(name) => Some(SubjectName::Email((*name).to_owned())),
            GeneralName::URI(uri) => Some(SubjectName::Uri((*uri).to_owned())),
            GeneralName::IPAddress(bytes) => ip(bytes).map(SubjectName::Ip),
            _ => None,
        });
    let mut fingerprint = Fingerprint([0; 32]);
    fingerprint.0.copy_from_slice(digest(&SHA256, der).as_ref());
    Some(ClientCertificate {
        subject: distinguished(parsed.subject()),
        issuer: distinguished(parsed.issuer()),
        serial: parsed.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect(),
        names: names.collect(),
        fingerprint,
        not_before: time(&parsed.validity().not_before),
        not_after: time(&parsed.validity().not_after),
        der: der.to_vec(),
    })
}

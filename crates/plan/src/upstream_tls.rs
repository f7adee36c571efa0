//! Encryption towards upstreams.

use std::path::{Path, PathBuf};

use polygate_pipeline::TlsVersion;

use crate::CertificateFiles;

/// How connections to `https` targets are encrypted, whom they believe, and what they show. Connections of different
/// settings are never shared.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UpstreamTls {
    /// Files with authorities that vouch for servers (PEM, absolute).
    pub authorities: Vec<PathBuf>,
    /// Whether the system's authorities, and Mozilla's, vouch as well. Default true.
    pub system_roots: bool,
    /// What servers that ask for a certificate are shown. Default nothing.
    pub identity: Option<CertificateFiles>,
    /// The name, or address, that servers are asked for (SNI) and that their certificates must have. Default the
    /// target's host.
    pub server_name: Option<String>,
    /// The oldest version that is spoken. Default 1.2.
    pub min_version: TlsVersion,
    /// Whether servers must prove who they are. Default true; without, whoever answers is believed.
    pub verify: bool,
}

impl UpstreamTls {
    /// All files that it names.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let pair = self.identity.iter().flat_map(|files| [files.cert.as_path(), files.key.as_path()]);
        self.authorities.iter().map(PathBuf::as_path).chain(pair)
    }
}

impl Default for UpstreamTls {
    fn default() -> Self {
        Self {
            authorities: Vec::new(),
            system_roots: true,
            identity: None,
            server_name: None,
            min_version: TlsVersion::Tls12,
            verify: true,
        }
    }
}

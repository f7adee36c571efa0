//! A certificate for servers that are tried on this machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::process::program;

/// The files of a certificate that vouches for itself, and of its key.
pub(crate) struct Certificate {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificate {
    /// Has `openssl` make one for `localhost`, on the curve P-256, as most of the web has them.
    pub(crate) fn make(folder: &Path) -> Result<Self, String> {
        let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        let (out, keyout) = (cert.to_string_lossy(), key.to_string_lossy());
        let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"];
        let names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];
        // Clients take it for what it is only when it says that it is no authority.
        let end = ["-addext", "basicConstraints=critical,CA:FALSE"];
        let files = ["-out", &*out, "-keyout", &*keyout];
        program("openssl", &[&["req", "-x509"], &curve[..], &names, &end, &files].concat()).output()?;
        Ok(Self { cert, key })
    }

    /// What trusts it, and offers these protocols by ALPN.
    pub(crate) fn client(&self, protocols: &[&str]) -> Result<Arc<ClientConfig>, String> {
        let mut roots = RootCertStore::empty();
        let own = CertificateDer::from_pem_file(&self.cert).map_err(|error| error.to_string())?;
        roots.add(own).map_err(|error| error.to_string())?;
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(Arc::new(config))
    }

    /// The table of `polygate.toml` that names it.
    pub(crate) fn settings(&self) -> String {
        let (cert, key) = (self.cert.display(), self.key.display());
        format!("[[tls.certificates]]\ncert = \"{cert}\"\nkey = \"{key}\"\n")
    }
}

//! `tls` and `ca-file` of connections to upstreams: checked.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use polygate_pipeline::Diagnostic;
use polygate_plan::{CertificateFiles, UpstreamTls};

use crate::raw::tls as raw;
use crate::settings::{CERTIFICATE, FILE, authorities, bad_pem, set};
use crate::source::Project;
use crate::tls::version;
use crate::tree::{Node, child};

/// Where a private key begins in a PEM file, whichever its form.
const KEY: &[u8] = b"PRIVATE KEY-----";

/// The longest name of a server (RFC 1035 2.3.4).
const MAX_NAME: usize = 253;

/// Takes over what is written: `ca-file` and `tls` of one table, which is at `place`, its node and field path.
pub(crate) fn apply(
    to: &mut Arc<UpstreamTls>,
    written: (Option<&String>, Option<&raw::UpstreamTls>),
    place: (&Node, &str),
    project: &mut Project<'_>,
) {
    let mut tls = UpstreamTls::clone(to);
    match written {
        (None, None) => return,
        (Some(file), from) => {
            let span = place.0.get("ca-file").unwrap_or(place.0).span;
            tls.authorities = vec![authorities(project, file, Some(span), child(place.1, "ca-file"))];
            tls.system_roots = true;
            if from.is_some_and(|from| from.ca_files.is_some()) {
                let problem = Diagnostic::error("two-spellings", "both ca-file and tls.ca-files stand here");
                let problem = problem.at(FILE, Some(span)).field(child(place.1, "ca-file"));
                project.report(problem.expected("tls.ca-files"));
            }
        }
        (None, Some(_)) => {}
    }
    if let Some(from) = written.1 {
        let node = place.0.get("tls").unwrap_or(place.0);
        Reader { node, path: child(place.1, "tls"), project }.apply(&mut tls, from);
    }
    *to = Arc::new(tls);
}

struct Reader<'a, 'p> {
    node: &'a Node,
    path: String,
    project: &'a mut Project<'p>,
}

impl Reader<'_, '_> {
    fn apply(&mut self, to: &mut UpstreamTls, from: &raw::UpstreamTls) {
        if let Some(files) = &from.ca_files {
            to.authorities = self.authorities(files);
            to.system_roots = false;
        }
        set(&mut to.system_roots, from.system_roots);
        let said = from.ca_files.as_ref().is_some_and(Vec::is_empty);
        if to.authorities.is_empty() && !to.system_roots && !said {
            let problem = Diagnostic::error("missing-field", "no authority is left that vouches for servers");
            self.report(problem, "system-roots", "ca-files = [\"FILE\"] beside it, or system-roots = true");
        }
        if let Some(identity) = self.identity(from) {
            to.identity = Some(identity);
        }
        if let Some(name) = &from.server_name {
            self.check_name(name);
            to.server_name = Some(name.clone());
        }
        set(&mut to.min_version, from.min_version.map(version));
        set(&mut to.verify, from.verify);
        if from.verify == Some(false) {
            let message =
                "servers need not prove who they are: whoever answers is sent requests, secrets included";
            let problem = Diagnostic::warning("unverified-upstream", message);
            self.report(
                problem,
                "verify",
                "ca-files with the authority of the servers, and no verify = false",
            );
        }
    }

    fn report(&mut self, problem: Diagnostic, field: &str, expected: &str) {
        let node = self.node.get(field).unwrap_or(self.node);
        let problem = problem.at(FILE, Some(node.span)).field(child(&self.path, field));
        self.project.report(problem.expected(expected));
    }

    fn authorities(&mut self, files: &[String]) -> Vec<PathBuf> {
        let nodes = self.node.get("ca-files").map(Node::elements).unwrap_or_default();
        let path = child(&self.path, "ca-files");
        if files.is_empty() {
            let problem = Diagnostic::error("bad-value", "no file stands here");
            self.report(problem, "ca-files", "at least one PEM file with certificates");
        }
        let files = files.iter().zip(nodes).enumerate().map(|(index, (file, node))| {
            authorities(self.project, file, Some(node.span), format!("{path}[{index}]"))
        });
        files.collect()
    }

    fn identity(&mut self, from: &raw::UpstreamTls) -> Option<CertificateFiles> {
        let (cert, key) = match (&from.cert, &from.key) {
            (None, None) => return None,
            (Some(cert), Some(key)) => (cert, key),
            (cert, _) => {
                let (there, missing) = if cert.is_some() { ("cert", "key") } else { ("key", "cert") };
                let problem =
                    Diagnostic::error("missing-field", format!("{there} stands here without {missing}"));
                self.report(problem, there, &format!("{missing} = \"FILE\" beside it"));
                return None;
            }
        };
        let files = CertificateFiles {
            cert: self.project.root.join(cert),
            key: self.project.root.join(key),
            ocsp: None,
        };
        self.project.files.extend([files.cert.clone(), files.key.clone()]);
        for (field, path, written, begin, what) in [
            ("cert", &files.cert, cert, CERTIFICATE, "certificate"),
            ("key", &files.key, key, KEY, "private key"),
        ] {
            if let Some(problem) = bad_pem(path, written, begin, what) {
                self.report(problem, field, "a PEM file, relative to the project's folder");
            }
        }
        Some(files)
    }

    /// A name as DNS has it, or an address.
    fn check_name(&mut self, name: &str) {
        if self.path == "connection.tls" {
            let message = "one name cannot be that of all servers";
            let problem = Diagnostic::error("misplaced-field", message);
            self.report(problem, "server-name", "server-name in [upstreams.NAME.tls]");
        }
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        let fits = name.len() <= MAX_NAME && name.split('.').all(label);
        if !fits && name.parse::<IpAddr>().is_err() {
            let problem = Diagnostic::error("bad-value", format!("{name:?} is no name of a server"));
            self.report(problem, "server-name", "a name such as shop.internal, or an address");
        }
    }
}

//! What is known of an encrypted connection: of its handshake, of our certificate, and of the client's.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Serialize, Serializer};

/// Facts of one encrypted connection. All its exchanges share them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The version that was agreed on.
    pub version: TlsVersion,
    /// The cipher suite, by its name in the registry of IANA, such as `TLS13_AES_128_GCM_SHA256`.
    pub cipher: &'static str,
    /// The name that the client asked for (SNI, RFC 6066 3), in lower case.
    pub server_name: Option<Box<str>>,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// The names that our certificate is good for.
    pub names: Arc<CertificateNames>,
    /// The client's certificate, verified; `None` when it showed none or was not asked to.
    pub client: Option<ClientCertificate>,
}

/// A version of TLS that is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum TlsVersion {
    /// 1.2 (RFC 5246).
    #[default]
    Tls12,
    /// 1.3 (RFC 8446).
    Tls13,
}

impl TlsVersion {
    /// `TLSv1.2` or `TLSv1.3`, as OpenSSL and most logs write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            TlsVersion::Tls12 => "TLSv1.2",
            TlsVersion::Tls13 => "TLSv1.3",
        }
    }
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Tls {
    /// Whether a request for `host` belongs on this connection: it is the name that the client asked for, or one that
    /// our certificate is good for. A client that asked for no name is not held to any.
    pub fn admits(&self, host: &str) -> bool {
        match &self.server_name {
            None => true,
            Some(asked) => {
                let host = host.strip_suffix('.').unwrap_or(host);
                asked.eq_ignore_ascii_case(host) || self.names.cover(host)
            }
        }
    }
}

/// The names that a certificate is good for: its subject alternative names (RFC 5280 4.2.1.6).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateNames {
    /// DNS names in lower case, wildcards as they stand: `*.example.com`.
    pub dns: Vec<Box<str>>,
    /// IP addresses.
    pub ips: Vec<IpAddr>,
}

impl CertificateNames {
    /// All of them as text.
    pub fn texts(&self) -> Vec<String> {
        self.dns.iter().map(|name| name.to_string()).chain(self.ips.iter().map(IpAddr::to_string)).collect()
    }

    /// Whether a host, a name or an IP address, is among them. A wildcard stands for one whole label (RFC 9525 6.3).
    pub fn cover(&self, host: &str) -> bool {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return self.ips.contains(&ip);
        }
        let parent = host.split_once('.').filter(|(label, _)| !label.is_empty()).map(|(_, parent)| parent);
        self.dns.iter().any(|name| match (name.strip_prefix("*."), parent) {
            (Some(suffix), Some(parent)) => suffix.eq_ignore_ascii_case(parent),
            (Some(_), None) => false,
            (None, _) => name.eq_ignore_ascii_case(host),
        })
    }
}

/// A client's certificate that one of the configured authorities has vouched for.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The subject's distinguished name, such as `CN=device 7,O=Example`: the most specific part first (RFC 4514).
    pub subject: String,
    /// The issuer's distinguished name.
    pub issuer: String,
    /// The serial number in hexadecimal, two digits a byte.
    pub serial: String,
    /// The subject alternative names.
    pub names: Vec<SubjectName>,
    /// SHA-256 over the certificate.
    pub fingerprint: Fingerprint,
    /// From when it is valid.
    pub not_before: SystemTime,
    /// Until when it is valid.
    pub not_after: SystemTime,
    /// The certificate itself, in DER.
    pub der: Vec<u8>,
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate")
            .field("subject", &self.subject)
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

/// One subject alternative name of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SubjectName {
    /// A DNS name.
    Dns(String),
    /// An IP address.
    Ip(IpAddr),
    /// A mail address.
    Email(String),
    /// A URI, such as a SPIFFE id.
    Uri(String),
}

/// A SHA-256 digest; shown in lower-case hexadecimal without colons.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What an access log holds of it.
impl Serialize for Tls {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = s.serialize_map(None)?;
        map.serialize_entry("version", self.version.as_str())?;
        map.serialize_entry("cipher", self.cipher)?;
        map.serialize_entry("server_name", &self.server_name)?;
        map.serialize_entry("resumed", &self.resumed)?;
        if let Some(client) = &self.client {
            map.serialize_entry("client_subject", &client.subject)?;
            map.serialize_entry("client_serial", &client.serial)?;
            map.serialize_entry("client_names", &client.names)?;
            map.serialize_entry("client_fingerprint", &client.fingerprint.to_string())?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dns: &[&str]) -> CertificateNames {
        CertificateNames {
            dns: dns.iter().map(|&name| name.into()).collect(),
            ips: vec!["192.0.2.1".parse().unwrap()],
        }
    }

    #[test]
    fn a_wildcard_stands_for_one_label() {
        let names = names(&["example.com", "*.example.com", "*.a.test"]);
        for covered in ["example.com", "EXAMPLE.com", "www.example.com", "x.A.test", "192.0.2.1"] {
            assert!(names.cover(covered), "{covered}");
        }
        for foreign in
            ["a.b.example.com", ".example.com", "a.test", "com", "", "notexample.com", "192.0.2.2", "*.com"]
        {
            assert!(!names.cover(foreign), "{foreign}");
        }
    }

    #[test]
    fn a_request_belongs_where_it_was_asked_for_or_where_the_certificate_is_good() {
        let tls = |server_name: Option<&str>| Tls {
            version: TlsVersion::Tls13,
            cipher: "",
            server_name: server_name.map(Into::into),
            resumed: false,
            names: Arc::new(names(&["a.test", "b.test"])),
            client: None,
        };
        let asked = tls(Some("a.test"));
        assert!(asked.admits("a.test") && asked.admits("A.test.") && asked.admits("b.test"));
        assert!(!asked.admits("c.test") && !asked.admits("192.0.2.7"));
        // The default certificate was shown for a name that it does not have: the client took it nevertheless.
        assert!(tls(Some("c.test")).admits("c.test"));
        assert!(tls(None).admits("c.test"));
    }
}

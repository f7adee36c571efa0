//! `[tls]` of `polygate.toml`, and `tls` of connections to upstreams, as they are written.

use schemars::JsonSchema;
use serde::Deserialize;

/// How connections to `listen.tls-address` are encrypted.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Tls {
    /// Our certificates. Which one is shown depends on the name that the client asks for (SNI); the first one is the
    /// default.
    pub(crate) certificates: Vec<Certificate>,
    /// Certificates that are obtained from an authority, and renewed. Default none.
    pub(crate) acme: Option<Acme>,
    /// The oldest version that is spoken. Default `1.2`.
    pub(crate) min_version: Option<TlsVersion>,
    /// Whether HTTP/2 is offered. Default true.
    pub(crate) http2: Option<bool>,
    /// Whether clients show certificates. Default `off`.
    pub(crate) client_auth: Option<ClientAuth>,
    /// A file with the authorities (PEM) that vouch for clients, relative to the project's folder.
    pub(crate) client_ca: Option<String>,
    /// Whether requests for a host that was not asked for in the handshake, and that the certificate is not good for,
    /// are answered with 421. Default true.
    pub(crate) refuse_misdirected: Option<bool>,
}

/// A certificate and its key.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Certificate {
    /// The chain (PEM), our certificate first; relative to the project's folder.
    pub(crate) cert: String,
    /// Its private key (PEM); relative to the project's folder.
    pub(crate) key: String,
    /// An OCSP response (DER) that is stapled to it as long as it is good; relative to the project's folder. Default none.
    pub(crate) ocsp_file: Option<String>,
}

/// Certificates that are obtained by ACME (RFC 8555), beside those of files. `polygate run` does it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Acme {
    /// The domains; each gets a certificate of its own. No wildcards.
    #[schemars(length(min = 1, max = 256))]
    pub(crate) domains: Vec<String>,
    /// Whether the operator agrees to the authority's terms of service. Must be true.
    pub(crate) terms_agreed: bool,
    /// The authority's directory: a URL, `letsencrypt` or `letsencrypt-staging`. Default `letsencrypt`.
    pub(crate) directory: Option<String>,
    /// Addresses for mail at which the authority can reach the operator. Default none.
    pub(crate) contact: Vec<String>,
    /// The folder of account and certificates, relative to the project's folder. Default `.polygate/acme`.
    pub(crate) storage: Option<String>,
    /// How control of a domain is shown. Default `tls-alpn-01`.
    pub(crate) challenge: Option<AcmeChallenge>,
    /// A file with the authorities (PEM) that vouch for the directory, in place of the system's; relative to the
    /// project's folder.
    pub(crate) ca_file: Option<String>,
    /// The kind of key that certificates get. Default `p256`.
    pub(crate) key_type: Option<AcmeKey>,
    /// An account that the operator has with the authority, to which the new one is bound.
    pub(crate) external_account: Option<ExternalAccount>,
}

/// How control of a domain is shown.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
pub(crate) enum AcmeChallenge {
    /// On the listener for TLS, which the authority reaches at port 443 (RFC 8737).
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
    /// On the cleartext listener, which the authority reaches at port 80 (RFC 8555 8.3).
    #[serde(rename = "http-01")]
    Http01,
}

/// The kind of a certificate's key.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AcmeKey {
    /// ECDSA with the curve P-256.
    P256,
    /// ECDSA with the curve P-384.
    P384,
}

/// An account that the operator has with the authority (RFC 8555 7.3.4).
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct ExternalAccount {
    /// How the authority calls it.
    pub(crate) id: String,
    /// The variable, of the environment or `.env`, with its HMAC key in base64url. Default `ACME_EAB_KEY`.
    pub(crate) key_variable: Option<String>,
}

/// How connections to `https` targets of upstreams are encrypted. What is not said is taken from `[connection.tls]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct UpstreamTls {
    /// Files with the authorities (PEM) that vouch for servers, in place of the system's; relative to the project's
    /// folder.
    pub(crate) ca_files: Option<Vec<String>>,
    /// Whether the system's authorities vouch as well. Default true without `ca-files`, and false with them.
    pub(crate) system_roots: Option<bool>,
    /// The certificate, and its chain (PEM), that servers are shown; relative to the project's folder.
    pub(crate) cert: Option<String>,
    /// Its private key (PEM); relative to the project's folder.
    pub(crate) key: Option<String>,
    /// The name that servers are asked for (SNI) and that their certificates must have. Default the target's host.
    pub(crate) server_name: Option<String>,
    /// The oldest version that is spoken. Default `1.2`.
    pub(crate) min_version: Option<TlsVersion>,
    /// Whether servers must prove who they are. Default true. With `false` whoever answers is believed.
    pub(crate) verify: Option<bool>,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
pub(crate) enum TlsVersion {
    /// TLS 1.2.
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    Tls13,
}

/// Whether clients show certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ClientAuth {
    /// They are not asked.
    Off,
    /// They are asked, and may show none.
    Optional,
    /// Without one there is no connection.
    Required,
}

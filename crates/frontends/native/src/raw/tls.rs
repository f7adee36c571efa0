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

//! `[tls]` of `polygate.toml` as it is written.

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

//! Fields that belong to one connection (RFC 9110 7.6.1): keep-alive, `Connection` options, `Upgrade`, `Expect`.

use polygate_pipeline::{Headers, Known, Version};

/// What a head says about its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// `Connection: close`.
    pub close: bool,
    /// `Connection: keep-alive`.
    pub keep_alive: bool,
    /// `Connection: upgrade` together with an `Upgrade` field.
    pub upgrade: bool,
    /// `Connection` names fields other than its own options.
    nominates: bool,
}

impl Options {
    /// Reads all `Connection` fields. Unknown options are names of fields.
    pub fn of(headers: &Headers) -> Self {
        let mut options = Self::default();
        for token in tokens(headers) {
            if token.eq_ignore_ascii_case(b"keep-alive") {
                options.keep_alive = true;
            } else if token.eq_ignore_ascii_case(b"close") {
                options.close = true;
            } else if token.eq_ignore_ascii_case(b"upgrade") {
                options.upgrade = true;
            } else {
                options.nominates = true;
            }
        }
        options.upgrade &= headers.known(Known::Upgrade).is_some();
        options
    }

    /// Whether the connection outlives the message (RFC 9112 9.3).
    pub fn persists(&self, version: Version) -> bool {
        match version {
            Version::Http10 => self.keep_alive && !self.close,
            _ => !self.close,
        }
    }
}

/// Removes the fields that `Connection` names. Done once, when a head was received and before anything is set on
/// it: a field that a plugin or the gateway sets later cannot be named away by the peer.
///
/// Well-known end-to-end fields (`Host`, `Authorization`, `X-Forwarded-For` ...) stay: naming them is an attack
/// (RFC 9110 7.6.1 forbids it to senders). The hop-by-hop fields themselves stay visible to plugins; encoding
/// leaves them out.
pub fn strip_nominated(headers: &mut Headers, options: &Options) {
    if !options.nominates {
        return;
    }
    let names: Vec<Vec<u8>> =
        tokens(headers).filter(|t| Known::of(t) == Known::Other).map(<[u8]>::to_vec).collect();
    headers.retain(|name, _| !names.iter().any(|n| n.eq_ignore_ascii_case(name.as_bytes())));
}

fn tokens(headers: &Headers) -> impl Iterator<Item = &[u8]> {
    headers
        .all_known(Known::Connection)
        .flat_map(|value| value.split(|&b| b == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}

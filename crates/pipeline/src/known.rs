//! Names of header fields that the gateway itself looks at, as one byte.

macro_rules! known {
    ($($variant:ident = $name:literal),+ $(,)?) => {
        /// A well-known header name. `Other` is every name not listed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        #[allow(missing_docs, reason = "each variant is the name it stands for")]
        pub enum Known { Other, $($variant),+ }

        impl Known {
            /// The name in lower case; empty for `Other`.
            pub const fn name(self) -> &'static str {
                match self { Known::Other => "", $(Known::$variant => $name),+ }
            }

            const ALL: &[Known] = &[$(Known::$variant),+];
        }
    };
}

known! {
    Accept = "accept",
    AcceptEncoding = "accept-encoding",
    Authorization = "authorization",
    CacheControl = "cache-control",
    Connection = "connection",
    ContentEncoding = "content-encoding",
    ContentLength = "content-length",
    ContentType = "content-type",
    Cookie = "cookie",
    Date = "date",
    Expect = "expect",
    Forwarded = "forwarded",
    Host = "host",
    KeepAlive = "keep-alive",
    Location = "location",
    Origin = "origin",
    ProxyAuthenticate = "proxy-authenticate",
    ProxyAuthorization = "proxy-authorization",
    ProxyConnection = "proxy-connection",
    Server = "server",
    SetCookie = "set-cookie",
    Te = "te",
    Traceparent = "traceparent",
    Trailer = "trailer",
    TransferEncoding = "transfer-encoding",
    Upgrade = "upgrade",
    UserAgent = "user-agent",
    Via = "via",
    XForwardedFor = "x-forwarded-for",
    XForwardedHost = "x-forwarded-host",
    XForwardedProto = "x-forwarded-proto",
    XRequestId = "x-request-id",
}

const SLOTS: usize = 128;

/// Where a name stands in [`TABLE`]. The factor is chosen so that no two names share a slot.
#[inline]
const fn slot(len: usize, first: u8, last: u8) -> usize {
    // In lower case, as far as the letters are concerned.
    (len + 25 * (first | 0x20) as usize + (last | 0x20) as usize) % SLOTS
}

/// The well-known name in each slot, if any. A name that does not fit fails the build: choose another factor then.
static TABLE: [Known; SLOTS] = {
    let mut table = [Known::Other; SLOTS];
    let mut index = 0;
    while index < Known::ALL.len() {
        let known = Known::ALL[index];
        let name = known.name().as_bytes();
        let slot = slot(name.len(), name[0], name[name.len() - 1]);
        assert!(matches!(table[slot], Known::Other), "two well-known names share a slot");
        table[slot] = known;
        index += 1;
    }
    table
};

/// Whether `given` is the name `known`, which is of lower case letters and dashes: ignores the case of letters. Without
/// branches, so that many bytes are compared together.
#[inline]
fn is_name(known: &[u8], given: &[u8]) -> bool {
    let differs = |(&known, &given): (&u8, &u8)| (given | if known == b'-' { 0 } else { 0x20 }) ^ known;
    known.len() == given.len() && known.iter().zip(given).map(differs).fold(0, |all, one| all | one) == 0
}

impl Known {
    /// Which well-known name `name` is, ignoring ASCII case.
    #[inline]
    pub fn of(name: &[u8]) -> Known {
        let (Some(&first), Some(&last)) = (name.first(), name.last()) else { return Known::Other };
        let known = TABLE[slot(name.len(), first, last)];
        if known != Known::Other && is_name(known.name().as_bytes(), name) { known } else { Known::Other }
    }

    /// Whether the field belongs to one connection and must not be forwarded (RFC 9110 7.6.1).
    pub const fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Known::Connection
                | Known::KeepAlive
                | Known::ProxyConnection
                | Known::ProxyAuthenticate
                | Known::ProxyAuthorization
                | Known::Te
                | Known::Trailer
                | Known::TransferEncoding
                | Known::Upgrade
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognises_each_name() {
        for &known in Known::ALL {
            assert_eq!(Known::of(known.name().as_bytes()), known);
            assert_eq!(Known::of(known.name().to_ascii_uppercase().as_bytes()), known);
            assert_eq!(Known::of(format!("{}x", known.name()).as_bytes()), Known::Other);
            // The control characters that a bit away from a letter or a dash.
            let disguised: Vec<u8> = known.name().bytes().map(|b| b & !0x60).collect();
            assert_eq!(Known::of(&disguised), Known::Other);
            assert_eq!(
                Known::of(known.name().replace('-', "\r").as_bytes()) == known,
                !known.name().contains('-')
            );
        }
    }

    #[test]
    fn recognises_names_in_any_case() {
        assert_eq!(Known::of(b"HoSt"), Known::Host);
        assert_eq!(Known::of(b"Transfer-Encoding"), Known::TransferEncoding);
        assert_eq!(Known::of(b"x-forwarded-foo"), Known::Other);
        assert_eq!(Known::of(b""), Known::Other);
        assert_eq!(Known::of(&[b'a'; 300]), Known::Other);
    }
}

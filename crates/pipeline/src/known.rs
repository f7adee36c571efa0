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

            fn compare(candidate: &[u8]) -> Known {
                $(if candidate == $name.as_bytes() { return Known::$variant; })+
                Known::Other
            }

            const LENGTHS: u64 = 0 $(| 1 << $name.len())+;
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

/// Longest name above; the buffer for lower-casing.
const LONGEST: usize = 24;

impl Known {
    /// Which well-known name `name` is, ignoring ASCII case.
    pub fn of(name: &[u8]) -> Known {
        if name.len() > LONGEST || (Self::LENGTHS >> name.len()) & 1 == 0 {
            return Known::Other;
        }
        let mut lower = [0u8; LONGEST];
        let lower = &mut lower[..name.len()];
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        Self::compare(lower)
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
    fn recognises_names_in_any_case() {
        assert_eq!(Known::of(b"HoSt"), Known::Host);
        assert_eq!(Known::of(b"Transfer-Encoding"), Known::TransferEncoding);
        assert_eq!(Known::of(b"x-forwarded-foo"), Known::Other);
        assert_eq!(Known::of(b""), Known::Other);
        assert_eq!(Known::of(&[b'a'; 300]), Known::Other);
    }
}

//! What a request asks its upstream to go on with, and how the upstream's consent is known (RFC 9110 7.8).
//!
//! Clients of HTTP/1.1 make the key of a WebSocket's handshake and look at what becomes of it. On HTTP/2 there is none
//! (RFC 8441 5): then it is made and looked at here. Upstreams of HTTP/2 are asked as [`http2`](super::http2) does.

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use polygate_http1::ResponseHead;
use polygate_pipeline::{Headers, Known, Request, Upgrade, Version};

pub(super) const KEY: &str = "sec-websocket-key";
pub(super) const ACCEPT: &str = "sec-websocket-accept";

/// What is hashed behind the key (RFC 6455 1.3).
const SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A wish for a protocol.
pub(super) struct Wish {
    protocol: Upgrade,
    /// What must become of the key, if it is ours.
    accept: Option<String>,
}

impl Wish {
    /// The wish of a request, if it has one. With `keyless`, a key that its client did not make is put into its headers.
    pub(super) fn of(request: &mut Request, keyless: bool) -> Option<Box<Self>> {
        let protocol = request.upgrade.clone()?;
        let accept = if keyless && protocol.is_websocket() {
            let key = BASE64_STANDARD.encode(fastrand::u128(..).to_be_bytes());
            // The name is constant, the value letters, digits, plus, slash and equals sign.
            let _ = request.headers.set(KEY, key.as_bytes());
            Some(accept(&key))
        } else {
            None
        };
        Some(Box::new(Self { protocol, accept }))
    }

    /// The protocol.
    pub(super) fn protocol(&self) -> &Upgrade {
        &self.protocol
    }

    /// Whether a head with status 101 agrees to this, and to nothing else.
    pub(super) fn is_granted(&self, head: &ResponseHead) -> bool {
        let is_asked = |value: &[u8]| value.eq_ignore_ascii_case(self.protocol.as_str().as_bytes());
        head.version == Version::Http11
            && head.connection.upgrade
            && only(head.headers.all_known(Known::Upgrade)).is_some_and(is_asked)
            && self.is_accepted(&head.headers)
    }

    fn is_accepted(&self, headers: &Headers) -> bool {
        let Some(accept) = &self.accept else { return true };
        only(headers.get_all(ACCEPT)) == Some(accept.as_bytes())
    }

    /// Takes what is between the upstream and us out of the head that has granted it.
    pub(super) fn clean(self, headers: &mut Headers) -> Upgrade {
        if self.accept.is_some() {
            headers.remove(ACCEPT);
        }
        self.protocol
    }
}

/// The value, when there is one alone.
pub(super) fn only<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Option<&'a [u8]> {
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// What a server makes of a key (RFC 6455 4.2.2).
pub(super) fn accept(key: &str) -> String {
    let mut hash = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key.as_bytes());
    hash.update(SUFFIX);
    BASE64_STANDARD.encode(hash.finish())
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use polygate_http1::{Limits, ResponseParser};
    use polygate_pipeline::{Method, Target};

    use super::*;

    fn request(protocol: &str) -> Request {
        let mut request = Request::new(Method::GET, Target::parse("http://a/").unwrap());
        request.upgrade = Upgrade::new(protocol);
        request
    }

    fn agrees(protocol: &str, fields: &str) -> ResponseHead {
        let head = format!("HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: {protocol}\r\n{fields}\r\n");
        let mut head = BytesMut::from(head.as_bytes());
        ResponseParser::new().parse(&mut head, &Limits::DEFAULT, &Method::GET).unwrap().unwrap()
    }

    #[test]
    fn the_key_becomes_what_the_standard_says() {
        // RFC 6455 1.3.
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_key_of_ours_must_be_answered() {
        let mut asking = request("WebSocket");
        // What a policy has put there is not what the client asked for.
        asking.headers.append(KEY, b"forged").unwrap();
        let wish = Wish::of(&mut asking, true).unwrap();
        let key = asking.headers.get_str(KEY).unwrap();
        assert_eq!((key.len(), &key[22..]), (24, "=="), "{key}");
        let accept = accept(key);
        let good = format!("{ACCEPT}: {accept}\r\n");
        let other = format!("{ACCEPT}: {}\r\n", super::accept("dGhlIHNhbXBsZSBub25jZQ=="));
        for bad in ["", &other, &good.to_ascii_lowercase(), &good.repeat(2), &format!("{good}{other}")] {
            assert!(!wish.is_granted(&agrees("websocket", bad)), "{bad}");
        }
        assert!(!wish.is_granted(&agrees("other", &good)));
        let mut head = agrees("websocket", &good);
        assert!(wish.is_granted(&head));
        assert_eq!(wish.clean(&mut head.headers).as_str(), "WebSocket");
        assert_eq!(head.headers.get(ACCEPT), None);
        let mut again = request("WebSocket");
        Wish::of(&mut again, true).unwrap();
        assert_ne!(again.headers.get_str(KEY), Some(key), "each handshake has its own");
    }

    #[test]
    fn a_key_of_the_client_is_its_own_affair() {
        for (protocol, keyless) in [("websocket", false), ("other", true)] {
            let mut asking = request(protocol);
            let wish = Wish::of(&mut asking, keyless).unwrap();
            assert!(asking.headers.is_empty());
            let mut head = agrees(protocol, "Sec-WebSocket-Accept: x\r\n");
            assert!(wish.is_granted(&head));
            wish.clean(&mut head.headers);
            assert_eq!(head.headers.get_str(ACCEPT), Some("x"));
        }
        let mut plain = request("websocket");
        plain.upgrade = None;
        assert!(Wish::of(&mut plain, true).is_none() && plain.headers.is_empty());
    }
}

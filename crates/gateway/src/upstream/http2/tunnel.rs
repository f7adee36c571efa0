//! A stream that becomes a tunnel: what an upstream of HTTP/2 is asked for and agrees to (RFC 8441).
//!
//! In the pipeline a request for a WebSocket is the GET of HTTP/1.1, and consent a 101. Here the one becomes an extended
//! CONNECT, and 2xx becomes the other. The key of the handshake has no meaning on HTTP/2 (RFC 8441 5): a client of
//! HTTP/1.1 gets the answer to its key from us.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use h2::ext::Protocol;
use h2::{RecvStream, SendStream};
use http::{Request as Head, header};
use polygate_pipeline::{
    Body, Failure, Headers, Known, Method, Reason, Request, Response, StatusCode, Tunnel, Upgrade,
};

use super::super::wish::{ACCEPT, KEY, accept, only};
use super::line::Ticket;
use crate::http2::Pipe;

/// Bytes of a key (RFC 6455 4.1).
const KEY_BYTES: usize = 16;

/// A wish for a protocol, on its way over HTTP/2.
pub(super) struct Wish {
    protocol: Upgrade,
    /// What the client, if it speaks HTTP/1.1, wants to hear of its key.
    accept: Option<String>,
}

impl Wish {
    /// The wish of a request, if it has one; `keyless` when its client had no key to send.
    ///
    /// # Errors
    /// When the client would not know an answer for one to its handshake.
    pub(super) fn of(request: &Request, keyless: bool) -> Result<Option<Self>, Failure> {
        let Some(protocol) = request.upgrade.clone() else { return Ok(None) };
        let mut wish = Self { protocol, accept: None };
        if wish.protocol.is_websocket() && !keyless {
            let key = only(request.headers.get_all(KEY)).filter(|key| is_key(key));
            let key = key.and_then(|key| std::str::from_utf8(key).ok());
            let key = key.ok_or_else(|| {
                Failure::new(Reason::BadRequest).detail("Sec-WebSocket-Key is missing or malformed")
            })?;
            wish.accept = Some(accept(key));
        }
        Ok(Some(wish))
    }

    /// Makes a head the extended CONNECT that asks for it.
    pub(super) fn ask(&self, head: &mut Head<()>) {
        *head.method_mut() = Method::CONNECT;
        head.extensions_mut().insert(Protocol::from(self.protocol.as_str()));
        let fields = head.headers_mut();
        fields.remove(KEY);
        // RFC 9110 9.3.6: what goes through a tunnel is no content.
        fields.remove(header::CONTENT_LENGTH);
    }

    /// The response of an upstream that has agreed: its stream is a tunnel, for as long as which the ticket holds.
    pub(super) fn granted(
        self,
        mut headers: Headers,
        incoming: RecvStream,
        outgoing: SendStream<Bytes>,
        ticket: Ticket,
    ) -> Response {
        headers.remove(ACCEPT);
        headers.remove_known(Known::ContentLength);
        if let Some(accept) = self.accept {
            // The name is constant, the value letters, digits, plus, slash and equals sign.
            let _ = headers.append("Sec-WebSocket-Accept", accept.as_bytes());
        }
        let mut tunnel = Tunnel::new(self.protocol, Pipe::new(incoming, outgoing), Bytes::new());
        tunnel.hold(ticket);
        Response { status: StatusCode::SWITCHING_PROTOCOLS, headers, body: Body::tunnel(tunnel) }
    }
}

/// Whether a head asks for a tunnel.
pub(super) fn is_asked(head: &Head<()>) -> bool {
    head.extensions().get::<Protocol>().is_some()
}

fn is_key(key: &[u8]) -> bool {
    BASE64_STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == KEY_BYTES)
}

#[cfg(test)]
mod tests {
    use polygate_pipeline::Target;

    use super::*;

    fn request(fields: &[(&str, &str)]) -> Request {
        let mut request = Request::new(Method::GET, Target::parse("http://a/").unwrap());
        request.headers = fields.iter().copied().collect();
        request.upgrade = Upgrade::new("websocket");
        request
    }

    #[test]
    fn a_key_of_the_client_is_answered_and_must_be_one() {
        // RFC 6455 1.3.
        let key = ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
        let wish = Wish::of(&request(&[key]), false).unwrap().unwrap();
        assert_eq!(wish.accept.as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        let bad =
            [&[][..], &[key, key], &[(key.0, "")], &[(key.0, "k")], &[(key.0, "dGhlIHNhbXBsZSBub25jZT0=A")]];
        for fields in bad {
            let failure = Wish::of(&request(fields), false).err().unwrap();
            assert_eq!(failure.reason(), Reason::BadRequest, "{fields:?}");
            // Who speaks HTTP/2 has none, whatever a policy has put there.
            assert!(Wish::of(&request(fields), true).unwrap().unwrap().accept.is_none());
        }
        let mut other = request(&[]);
        other.upgrade = Upgrade::new("other");
        assert!(Wish::of(&other, false).unwrap().unwrap().accept.is_none());
        other.upgrade = None;
        assert!(Wish::of(&other, false).unwrap().is_none());
    }

    #[test]
    fn the_head_becomes_an_extended_connect() {
        let wish = Wish { protocol: Upgrade::new("websocket").unwrap(), accept: None };
        let mut head = Head::builder().uri("http://a/b").header(KEY, "k").header("content-length", "0");
        head = head.header("sec-websocket-version", "13");
        let mut head = head.body(()).unwrap();
        assert!(!is_asked(&head));
        wish.ask(&mut head);
        assert!(is_asked(&head) && head.method() == Method::CONNECT);
        assert_eq!(head.headers().len(), 1, "{:?}", head.headers());
    }
}

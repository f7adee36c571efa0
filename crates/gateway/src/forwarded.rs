//! What proxies before us say of a client, and what we say of it to upstreams: `X-Forwarded-*`.

use std::net::{IpAddr, SocketAddr};

use polygate_pipeline::{Exchange, Known, Request};
use polygate_plan::Networks;

/// Tells the upstream who asked, through which scheme and for which host.
pub(crate) fn tell(request: &mut Request, exchange: &Exchange, request_id_header: &str) {
    let headers = &mut request.headers;
    let client = exchange.client();
    let mut room = [0; LONGEST];
    let peer = text_of(client.peer.ip(), &mut room);
    // Values come from parsed parts, and the id's name was checked.
    if headers.known(Known::XForwardedFor).is_none() {
        let _ = headers.append_known(Known::XForwardedFor, peer);
    } else {
        let mut chain = Vec::new();
        for before in headers.all_known(Known::XForwardedFor) {
            chain.extend_from_slice(before);
            chain.extend_from_slice(b", ");
        }
        chain.extend_from_slice(peer);
        let _ = headers.set_known(Known::XForwardedFor, &chain);
    }
    if headers.known(Known::XForwardedProto).is_none() {
        let proto: &[u8] = if client.tls.is_some() { b"https" } else { b"http" };
        let _ = headers.append_known(Known::XForwardedProto, proto);
    }
    if headers.known(Known::XForwardedHost).is_none() && !request.target.authority().is_empty() {
        let _ = headers.append_known(Known::XForwardedHost, request.target.authority().as_bytes());
    }
    let _ = headers.set(request_id_header, exchange.id().as_bytes());
}

/// Bytes of the longest address: that of IPv6 with a part in the form of IPv4.
const LONGEST: usize = 45;

/// The address as text, without allocation.
fn text_of(ip: IpAddr, room: &mut [u8; LONGEST]) -> &[u8] {
    use std::io::Write;
    let mut at = 0;
    match ip {
        // By hand: formatting costs more than all the rest of this module.
        IpAddr::V4(ip) => {
            for (index, octet) in ip.octets().into_iter().enumerate() {
                if index > 0 {
                    room[at] = b'.';
                    at += 1;
                }
                for (least, divisor) in [(100, 100), (10, 10), (0, 1)] {
                    if octet >= least {
                        room[at] = b'0' + octet / divisor % 10;
                        at += 1;
                    }
                }
            }
        }
        IpAddr::V6(ip) => {
            let mut rest = &mut room[..];
            // There is room for every address.
            let _ = write!(rest, "{ip}");
            at = LONGEST - rest.len();
        }
    }
    &room[..at]
}

/// The client as trusted proxies say: from the right, the first address of `X-Forwarded-For` that is not one of
/// theirs. What stands further left is what a client claims; it is not looked at.
pub(crate) fn client(request: &Request, trusted: &Networks) -> Option<IpAddr> {
    let values: Vec<&[u8]> = request.headers.all_known(Known::XForwardedFor).collect();
    for value in values.into_iter().rev() {
        for address in std::str::from_utf8(value).ok()?.rsplit(',') {
            let address = address_of(address.trim())?;
            if !trusted.contain(address) {
                return Some(address);
            }
        }
    }
    None
}

/// An address; some proxies add the port.
fn address_of(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let found = bare.parse().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    found.ok().map(|ip: IpAddr| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use polygate_pipeline::{Method, Target};

    use super::*;

    #[test]
    fn addresses_are_written_as_the_library_writes_them() {
        let mut addresses = vec!["::1", "2001:db8::ff00:42:8329", "::ffff:192.0.2.128"];
        addresses.extend([
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "0.0.0.0",
            "255.255.255.255",
            "10.0.100.9",
        ]);
        for text in addresses {
            let ip: IpAddr = text.parse().unwrap();
            assert_eq!(text_of(ip, &mut [0; LONGEST]), ip.to_string().as_bytes());
        }
    }

    #[test]
    fn the_client_is_read_from_the_right() {
        let mut request = Request::new(Method::GET, Target::default());
        let proxies = ["10.0.0.0/30", "10.1.0.2"].iter().map(|text| Networks::parse(text).unwrap()).collect();
        let found = |request: &Request| client(request, &proxies).map(|ip| ip.to_string());
        assert_eq!(found(&request), None);
        let chain = b"garbled, 192.0.2.7, 198.51.100.1, ::ffff:10.0.0.2, 10.1.0.2:4711";
        request.headers.append("x-forwarded-for", chain).unwrap();
        assert_eq!(found(&request).as_deref(), Some("198.51.100.1"));
        request.headers.append("x-forwarded-for", b"[2001:db8::1]:80, [10.0.0.1]").unwrap();
        assert_eq!(found(&request).as_deref(), Some("2001:db8::1"));
        request.headers.append("X-Forwarded-For", b"nonsense").unwrap();
        assert_eq!(found(&request), None, "what a trusted proxy wrote cannot be read");
    }
}

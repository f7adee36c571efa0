//! Fields of heads and trailers, in our form and in that of the `h2` crate.
//!
//! Both ways a value crosses with one copy at most: into our arena once, out of it as a part of the arena. Fields that
//! belong to one HTTP/1.1 connection never cross (RFC 9113 8.2.2).

use http::header::{self, COOKIE, HeaderMap, HeaderName, HeaderValue};
use polygate_http1::{refuse_disguise, trailers};
use polygate_pipeline::{Headers, Known};

/// Room for fields that the gateway and layers add, and for their bytes, so that neither is often grown.
const SPARE: (usize, usize) = (6, 192);

// Names that the crate has no constants for, and that many heads hold.
static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Why fields that were received are not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// A value begins or ends in a space or tab (RFC 9113 8.2.1).
    Value,
    /// A framing or routing field in the disguise of underscores.
    Disguise,
}

impl Malformed {
    /// For the log.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Malformed::Value => "a field's value begins or ends in white space",
            Malformed::Disguise => "a field name is malformed",
        }
    }
}

/// Takes the fields of a head in their order; crumbs of a cookie are joined (RFC 9113 8.2.3).
///
/// # Errors
/// When what another server would make of a field is not certain.
pub(crate) fn received(map: &HeaderMap) -> Result<Headers, Malformed> {
    let mut bytes = 0;
    for (name, value) in map {
        let padded = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        let raw = value.as_bytes();
        if padded(raw.first()) || padded(raw.last()) {
            return Err(Malformed::Value);
        }
        if memchr::memchr(b'_', name.as_str().as_bytes()).is_some() {
            refuse_disguise(name.as_str()).map_err(|_| Malformed::Disguise)?;
        }
        bytes += name.as_str().len() + raw.len() + 2;
    }
    let mut arena = Vec::with_capacity(bytes + SPARE.1);
    for (name, value) in joined(map) {
        match name {
            Some(name) => arena.extend_from_slice(name.as_str().as_bytes()),
            None => arena.extend_from_slice(b"; "),
        }
        arena.extend_from_slice(value.as_bytes());
    }
    let mut headers = Headers::from_arena(arena, map.len() + SPARE.0);
    let mut at = 0;
    let mut fields = joined(map).peekable();
    while let Some((name, value)) = fields.next() {
        let name = at..at + name.map_or(0, |name| name.as_str().len());
        let mut end = name.end + value.len();
        while let Some((_, crumb)) = fields.next_if(|(name, _)| name.is_none()) {
            end += b"; ".len() + crumb.len();
        }
        headers.push_range(name.clone(), name.end..end);
        at = end;
    }
    Ok(headers)
}

/// The fields in order; a crumb that continues the cookie before it has no name. The map keeps values of one name
/// together.
fn joined(map: &HeaderMap) -> impl Iterator<Item = (Option<&HeaderName>, &HeaderValue)> {
    let mut in_cookie = false;
    map.iter().map(move |(name, value)| {
        let continues = in_cookie && *name == COOKIE;
        in_cookie = *name == COOKIE;
        ((!continues).then_some(name), value)
    })
}

/// Takes trailer fields; those that may not stand there are dropped.
///
/// # Errors
/// As [`received`].
pub(crate) fn received_trailers(map: &HeaderMap) -> Result<Headers, Malformed> {
    let mut headers = received(map)?;
    headers.retain(|name, _| trailers::is_allowed(Known::of(name.as_bytes()), name));
    Ok(headers)
}

/// Gives fields away for sending, but for those that `drop` names and those of one connection. A field that cannot be
/// sent is left out: names and values were checked when they were set.
pub(crate) fn to_send(headers: Headers, into: &mut HeaderMap, mut drop: impl FnMut(Known) -> bool) {
    headers.for_each_shared(|known, name, value| {
        if known.is_hop_by_hop() || drop(known) {
            return;
        }
        let value = HeaderValue::from_maybe_shared(value);
        if let (Some(name), Ok(mut value)) = (name_of(known, name), value) {
            // Each is sent once: in the table of the compression it would only drive out others.
            value.set_sensitive(known == Known::XRequestId || known == Known::Traceparent);
            into.append(name, value);
        }
    });
}

/// Gives trailer fields away for sending.
pub(crate) fn trailers_to_send(headers: Headers) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(headers.len());
    headers.for_each_shared(|known, name, value| {
        // Names are tokens, hence ASCII.
        if !std::str::from_utf8(name).is_ok_and(|name| trailers::is_allowed(known, name)) {
            return;
        }
        let value = HeaderValue::from_maybe_shared(value);
        if let (Some(name), Ok(value)) = (name_of(known, name), value) {
            map.append(name, value);
        }
    });
    map
}

/// A field's name as the crate has it. Those that most responses hold are not read letter by letter; a name that is
/// spelt out may have to be allocated.
fn name_of(known: Known, name: &[u8]) -> Option<HeaderName> {
    let found = match known {
        Known::CacheControl => header::CACHE_CONTROL,
        Known::ContentEncoding => header::CONTENT_ENCODING,
        Known::ContentLength => header::CONTENT_LENGTH,
        Known::ContentType => header::CONTENT_TYPE,
        Known::Date => header::DATE,
        Known::Location => header::LOCATION,
        Known::Server => header::SERVER,
        Known::SetCookie => header::SET_COOKIE,
        Known::Accept => header::ACCEPT,
        Known::AcceptEncoding => header::ACCEPT_ENCODING,
        Known::UserAgent => header::USER_AGENT,
        Known::Traceparent => TRACEPARENT.clone(),
        Known::XRequestId => X_REQUEST_ID.clone(),
        Known::XForwardedFor => X_FORWARDED_FOR.clone(),
        Known::XForwardedHost => X_FORWARDED_HOST.clone(),
        Known::XForwardedProto => X_FORWARDED_PROTO.clone(),
        _ => return HeaderName::from_bytes(name).ok(),
    };
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let fields = fields.iter();
        fields.map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).fold(
            HeaderMap::new(),
            |mut map, (name, value)| {
                map.append(name, value);
                map
            },
        )
    }

    fn shown(headers: &Headers) -> Vec<(&str, &str)> {
        headers.iter().map(|(n, v)| (n, std::str::from_utf8(v).unwrap())).collect()
    }

    #[test]
    fn crumbs_are_joined() {
        let given =
            map(&[("accept", "*/*"), ("cookie", "a=1"), ("cookie", "b=2"), ("x", ""), ("cookie", "c=3")]);
        let taken = received(&given).unwrap();
        assert_eq!(shown(&taken), [("accept", "*/*"), ("cookie", "a=1; b=2; c=3"), ("x", "")]);
        assert_eq!(taken.known(Known::Cookie), Some(&b"a=1; b=2; c=3"[..]));
    }

    #[test]
    fn what_servers_may_read_differently_is_refused() {
        for (name, value) in
            [("x", " v"), ("x", "v\t"), ("transfer_encoding", "chunked"), ("content_length", "3")]
        {
            assert!(received(&map(&[("a", "b"), (name, value)])).is_err(), "{name}: {value:?}");
        }
        assert!(received(&map(&[("x_y", "v w")])).is_ok());
    }

    #[test]
    fn fields_of_a_connection_are_not_sent() {
        let headers: Headers = [
            ("Connection", "close"),
            ("Keep-Alive", "timeout=5"),
            ("Transfer-Encoding", "chunked"),
            ("Upgrade", "h2c"),
            ("X-Two", "2"),
            ("Host", "a"),
            ("x-two", "3"),
        ]
        .into_iter()
        .collect();
        let mut sent = HeaderMap::new();
        to_send(headers, &mut sent, |known| known == Known::Host);
        assert_eq!(sent, map(&[("x-two", "2"), ("x-two", "3")]));
    }

    #[test]
    fn names_that_are_known_are_the_ones_that_are_meant() {
        let names =
            ["Accept", "Accept-Encoding", "Cache-Control", "Content-Encoding", "Content-Type", "Date"];
        let more = ["Location", "Server", "Set-Cookie", "User-Agent", "Traceparent", "X-Request-Id", "Via"];
        let forwarded = ["X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Content-Length", "X-Y"];
        for name in names.into_iter().chain(more).chain(forwarded) {
            let mut sent = HeaderMap::new();
            to_send([(name, "1")].into_iter().collect(), &mut sent, |_| false);
            assert_eq!(sent.keys().next().map(HeaderName::as_str), Some(&*name.to_ascii_lowercase()));
        }
    }

    #[test]
    fn trailers_hold_what_may_stand_there() {
        let given = map(&[("grpc-status", "0"), ("content-length", "3"), ("authorization", "x")]);
        let taken = received_trailers(&given).unwrap();
        assert_eq!(shown(&taken), [("grpc-status", "0")]);
        assert_eq!(trailers_to_send(taken), map(&[("grpc-status", "0")]));
    }
}

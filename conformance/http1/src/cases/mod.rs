//! The cases, by class. Classes 1 to 32 are ways in which gateways were attacked or confused; those above 32 hold
//! what RFC 9110 and RFC 9112 say beside that.

pub(crate) mod chunks;
mod connections;
mod framing;
mod heads;
mod policies;
mod responses;
mod targets;

use crate::case::Case;

/// The classes, in order of their numbers, from 1.
pub(crate) const CLASSES: &[&str] = &[
    "Content-Length before Transfer-Encoding",
    "Transfer-Encoding before Content-Length",
    "Content-Length twice",
    "Content-Length as a list",
    "Content-Length that is empty",
    "Content-Length in odd forms",
    "codings that are not known",
    "chunked that is not last",
    "empty items in Transfer-Encoding",
    "chunked twice",
    "Transfer-Encoding in disguise",
    "Transfer-Encoding in HTTP/1.0",
    "sizes of chunks in odd forms",
    "extensions of chunks",
    "bare line feeds between chunks",
    "chunks of a wrong length",
    "bare line feeds in a head",
    "CR, NUL and other controls in values",
    "bytes of names",
    "folded fields",
    "Host",
    "targets in absolute form",
    "request lines",
    "early use of an upgrade",
    "bodies that nobody reads",
    "Expect",
    "bodies of GET, HEAD, OPTIONS and DELETE",
    "fields that Connection names",
    "trailers",
    "responses of upstreams that are wrong",
    "bytes after the end",
    "pipelines with refusals in them",
    "persistence",
    "hop-by-hop fields",
    "bodies as they should be",
    "responses of upstreams that are right",
    "limits of heads",
    "limits of bodies",
    PATHS,
];

/// The class of the paths, which have a table of their own.
pub(crate) const PATHS: &str = "paths under each policy";

/// All cases.
pub(crate) fn all() -> Vec<Case> {
    [
        framing::cases(),
        chunks::cases(),
        heads::cases(),
        targets::cases(),
        policies::cases(),
        connections::cases(),
        responses::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A POST to `/` with these field lines and this body.
fn post(fields: &str, body: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}").into_bytes()
}

/// A GET of `/` with these field lines.
fn get(fields: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes()
}

/// A POST with a chunked body.
fn chunked(body: &str) -> Vec<u8> {
    post("Transfer-Encoding: chunked\r\n", body)
}

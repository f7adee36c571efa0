//! HTTP/2 (RFC 9113) with clients, on the `h2` crate.
//!
//! [`connection`] drives a connection and gives each [`stream`] a task of its own on the worker, in which its request goes
//! the same way as one of HTTP/1.1. [`guard`] and [`budget`] stand beneath, where bytes are read and written: they count
//! what the crate does not. What is negotiated is small on purpose; all of it is in `[limits.http2]`.

mod body;
mod budget;
mod connection;
mod guard;
mod head;
mod stream;
mod tunnel;

pub(super) use self::connection::serve;

/// Whether a head that is none of HTTP/1.1 begins a connection of HTTP/2: its request line, before which nothing stands.
pub(super) fn is_preface(bytes: &[u8]) -> bool {
    let shown = bytes.len().min(guard::PREFACE.len());
    // The parser has seen an empty line, and that is the 18th byte.
    shown >= 18 && bytes[..shown] == guard::PREFACE[..shown]
}

#[cfg(test)]
mod tests;

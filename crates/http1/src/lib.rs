//! The HTTP/1.1 wire: framing and heads, no I/O inside.
//!
//! Bytes go in, messages come out, and back. Nothing here reads a socket, keeps a clock or spawns a task, so that
//! every function can be fed by a test or a fuzzer. Parsing is stricter than RFC 9112 asks: what two parsers could
//! read differently is refused on the request side (400 and close) and on the response side (502 and close).
//!
//! - [`RequestParser`], [`ResponseParser`]: heads, incremental, with [`Limits`];
//! - [`Framing`]: how long a body is (RFC 9112 6.3);
//! - [`Decoder`]: bodies from a read buffer, without copying them;
//! - [`encode`]: heads and chunks; [`Outbox`]: what is still to be written, small bodies joined to their heads;
//! - [`connection`]: fields that belong to one connection;
//! - [`check_authority`], [`refuse_disguise`], [`trailers::is_allowed`]: rules that hold on HTTP/2 as well.

pub mod connection;
mod decode;
pub mod encode;
mod error;
mod framing;
mod limits;
mod outbox;
mod request;
mod response;
mod scan;
pub mod trailers;

pub use decode::{Decoded, Decoder};
pub use error::WireError;
pub use framing::{Framing, content_length};
pub use limits::Limits;
pub use outbox::{COALESCE, Outbox};
pub use request::{Origin, RequestHead, RequestParser, check_authority, refuse_disguise};
pub use response::{ResponseHead, ResponseParser};

#[cfg(test)]
mod tests;

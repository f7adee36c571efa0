//! The files as they are written: the one source of truth for what fields there are.
//!
//! The JSON Schemas for editors are generated from these structures, and the very same schemas check a file before
//! it is decoded into them; so the two cannot drift apart.

pub(crate) mod handlers;
pub(crate) mod policies;
pub(crate) mod routes;
pub(crate) mod settings;
pub(crate) mod text;
pub(crate) mod tls;
pub(crate) mod upstreams;

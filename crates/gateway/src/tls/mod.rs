//! TLS. Towards clients: certificates by name, what handshakes are made with, how files are read again. Towards
//! upstreams: the client's configuration.
//!
//! What handshakes are made with is immutable, shared by the workers and swapped in whole, as deployments are; a
//! handshake under way goes on with what it began with.

mod acceptor;
mod certificate;
mod challenges;
mod clients;
mod keeper;
mod name;
mod peer;
mod resolver;
mod staple;
mod suites;
mod upstream;

pub(crate) use acceptor::{Acceptor, is_challenge};
pub use challenges::{Answering, Challenges};
pub use clients::UpstreamTlsStatus;
pub(crate) use clients::{Clients, ClientsKeeper, load_clients};
pub(crate) use keeper::Keeper;
pub use keeper::{CertificateStatus, Refreshed, StapleStatus, TlsStatus};
#[cfg(test)]
pub(crate) use suites::provider;
pub(crate) use upstream::Client;

#[cfg(test)]
pub(crate) mod testing;

//! What both sides of the gateway need of HTTP/2 beside the `h2` crate: heads in our form and in its own, bodies sent
//! under flow control, frames counted as they pass.

pub(crate) mod fields;
pub(crate) mod frames;
mod outgoing;

pub(crate) use self::outgoing::{Broken, Outgoing};

//! What both sides of the gateway need of HTTP/2 beside the `h2` crate: heads in our form and in its own, bodies sent
//! under flow control, streams that are pipes, frames counted as they pass.

pub(crate) mod fields;
pub(crate) mod frames;
mod outgoing;
mod pipe;

pub(crate) use self::outgoing::{Broken, Outgoing};
pub(crate) use self::pipe::Pipe;

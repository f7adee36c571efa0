//! The command line as its users meet it: the built binary, real folders, real sockets.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod commands;
mod project;
mod serving;

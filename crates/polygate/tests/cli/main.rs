//! The command line as its users meet it: the built binary, real folders, real sockets.

mod commands;
mod project;
mod serving;

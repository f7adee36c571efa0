//! The `polygate` command: reads the command line and hands over to `control`.

mod allocator;
mod arguments;
mod commands;
mod print;
mod scaffold;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(print::panic_line));
    // Clap prints usage problems itself and ends with 2.
    commands::run(arguments::Arguments::parse())
}

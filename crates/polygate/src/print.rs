//! Standard output and standard error.

use std::io::{IsTerminal, Write};
use std::panic::PanicHookInfo;

use polygate_control::{Look, Paint};

use crate::arguments::Colour;

/// Writes to standard output. A reader that went away (`| head`) is no error.
pub(crate) fn out(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// Writes to standard error.
pub(crate) fn err(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// `error: message`, on standard error.
pub(crate) fn error(colour: Colour, message: &str) {
    let paint = paint_for(colour, &std::io::stderr());
    err(&format!("{}: {message}\n", paint.on(Look::BoldRed, "error")));
}

/// Colours for standard output.
pub(crate) fn paint(colour: Colour) -> Paint {
    paint_for(colour, &std::io::stdout())
}

/// Colours for standard error.
pub(crate) fn paint_err(colour: Colour) -> Paint {
    paint_for(colour, &std::io::stderr())
}

/// The argument comes first, then <https://no-color.org>, then whether somebody is looking.
fn paint_for(colour: Colour, stream: &impl IsTerminal) -> Paint {
    Paint::new(match colour {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto => {
            let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
            !unwanted && !dumb && stream.is_terminal()
        }
    })
}

/// A panic is a fault of our own: one line of it, and the process goes on where it can.
pub(crate) fn panic_line(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let message = panic.payload().downcast_ref::<&str>().copied();
    let message = message.or_else(|| panic.payload().downcast_ref::<String>().map(String::as_str));
    let message = message.unwrap_or("no message").replace(['\n', '\r'], " ");
    let place =
        panic.location().map(|place| format!(" at {}:{}", place.file(), place.line())).unwrap_or_default();
    let thread = thread.name().unwrap_or("unnamed");
    err(&format!("polygate: fault in thread {thread}{place}: {message}; please report it\n"));
}

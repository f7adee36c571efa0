//! Where the journal and the gateway's own lines go: one writer, so that lines never mix.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

/// A shared writer.
pub(crate) struct Output(Mutex<Box<dyn Write + Send>>);

impl Output {
    /// Standard output.
    pub(crate) fn stdout() -> Self {
        Self::to(io::BufWriter::with_capacity(64 << 10, io::stdout()))
    }

    /// Any writer.
    pub(crate) fn to(writer: impl Write + Send + 'static) -> Self {
        Self(Mutex::new(Box::new(writer)))
    }

    /// Writes. A reader that went away is no reason to stop serving.
    pub(crate) fn write(&self, text: &str) {
        if !text.is_empty() {
            let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(text.as_bytes());
        }
    }

    /// Hands on what is buffered.
    pub(crate) fn flush(&self) {
        let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).flush();
    }

    /// Writes and flushes.
    pub(crate) fn say(&self, text: &str) {
        self.write(text);
        self.flush();
    }
}

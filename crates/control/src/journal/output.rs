//! Where the journal and the gateway's own lines go: one writer, so that lines never mix.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Bytes that are gathered before they are written.
const BUFFER: usize = 64 << 10;

/// A shared writer.
pub(crate) struct Output {
    writer: Mutex<Box<dyn Write + Send>>,
    /// The file that it writes to.
    path: Option<PathBuf>,
    /// Writes that failed, with what they should have written.
    failed: AtomicU64,
}

impl Output {
    /// Standard output.
    pub(crate) fn stdout() -> Self {
        Self::to(io::BufWriter::with_capacity(BUFFER, io::stdout()))
    }

    /// The end of a file, which is made when it is not there.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(crate) fn file(path: &Path) -> io::Result<Self> {
        let file = io::BufWriter::with_capacity(BUFFER, open(path)?);
        Ok(Self {
            writer: Mutex::new(Box::new(file)),
            path: Some(path.to_owned()),
            failed: AtomicU64::new(0),
        })
    }

    /// Opens its file anew, which may have been moved away.
    ///
    /// # Errors
    /// When it cannot be opened: what was open is written on then.
    pub(crate) fn reopen(&self) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let file = io::BufWriter::with_capacity(BUFFER, open(path)?);
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        // What is buffered belongs to the old one.
        let _ = writer.flush();
        *writer = Box::new(file);
        Ok(())
    }

    /// Any writer.
    pub(crate) fn to(writer: impl Write + Send + 'static) -> Self {
        Self { writer: Mutex::new(Box::new(writer)), path: None, failed: AtomicU64::new(0) }
    }

    /// Writes. A reader that went away, or a full disk, is no reason to stop serving: it is counted.
    pub(crate) fn write(&self, text: &str) {
        if !text.is_empty() {
            self.count(self.writer.lock().unwrap_or_else(PoisonError::into_inner).write_all(text.as_bytes()));
        }
    }

    /// Hands on what is buffered.
    pub(crate) fn flush(&self) {
        self.count(self.writer.lock().unwrap_or_else(PoisonError::into_inner).flush());
    }

    fn count(&self, written: io::Result<()>) {
        if written.is_err() {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes that failed.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Writes and flushes.
    pub(crate) fn say(&self, text: &str) {
        self.write(text);
        self.flush();
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

#[cfg(test)]
pub(crate) mod testing {
    use std::sync::Arc;

    use super::*;

    /// A writer that keeps what it is given. Clones are the same one.
    #[derive(Clone, Default)]
    pub(crate) struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Kept {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}

//! Compiled files kept across compiles, by content.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use super::unit::{Hint, Unit, compile_unit};

/// Most bytes of compiled code that are kept.
pub const MAX_CACHE_BYTES: usize = 256 * 1024 * 1024;

/// Compiled files by their name and content. Shared by the threads that compile; capped at [`MAX_CACHE_BYTES`].
#[derive(Debug, Default)]
pub struct Cache(Mutex<Units>);

#[derive(Debug, Default)]
struct Units {
    by_key: HashMap<Key, Entry>,
    bytes: usize,
    compile: u64,
    compiled: u64,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    name: String,
    hint: Hint,
    length: usize,
    hash: u64,
}

#[derive(Debug)]
struct Entry {
    unit: Arc<Unit>,
    /// The compile that used it last.
    used: u64,
}

impl Cache {
    /// An empty cache.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many files were compiled so far, and not taken from the cache.
    pub fn compiled_files(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).compiled
    }

    /// Begins a compile: what it does not use may be dropped when the cache is full.
    pub(crate) fn begin(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).compile += 1;
    }

    /// The unit of a file.
    pub(crate) fn unit(&self, name: &str, source: &str, hint: Hint) -> Arc<Unit> {
        let mut hasher = DefaultHasher::new();
        source.hash(&mut hasher);
        let key = Key { name: name.to_owned(), hint, length: source.len(), hash: hasher.finish() };
        {
            let mut units = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let compile = units.compile;
            if let Some(entry) = units.by_key.get_mut(&key) {
                entry.used = compile;
                return entry.unit.clone();
            }
        }
        let unit = Arc::new(compile_unit(name, source, hint));
        let mut units = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        units.compiled += 1;
        units.insert(key, unit.clone());
        unit
    }
}

impl Units {
    fn insert(&mut self, key: Key, unit: Arc<Unit>) {
        let compile = self.compile;
        self.bytes += unit.code.len();
        if let Some(old) = self.by_key.insert(key, Entry { unit, used: compile }) {
            self.bytes -= old.unit.code.len();
        }
        if self.bytes > MAX_CACHE_BYTES {
            self.by_key.retain(|_, entry| entry.used == compile);
            self.bytes = self.by_key.values().map(|entry| entry.unit.code.len()).sum();
        }
    }
}

//! A compiled program: immutable, shared by all workers.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use crate::sys::Bytecode;

/// A project's modules, compiled and linked.
#[derive(Debug, Default)]
pub struct Program {
    pub(crate) modules: HashMap<String, Arc<CompiledModule>>,
}

/// One module, ready for the engine.
#[derive(Debug)]
pub struct CompiledModule {
    /// Its name in the program: the path relative to the project's root, or a built-in's name.
    pub specifier: String,
    /// JavaScript.
    pub code: String,
    /// Exported names, as far as they can be told without running it.
    pub exports: Vec<String>,
    pub(crate) bytecode: OnceLock<Bytecode>,
}

impl Program {
    /// The module of this name.
    pub fn module(&self, specifier: &str) -> Option<&CompiledModule> {
        self.modules.get(specifier).map(Arc::as_ref)
    }

    /// The name of the module that entry `entry` (as given to `compile`) was resolved to.
    pub fn entry(&self, entry: &str) -> Option<&str> {
        let _ = entry;
        None
    }

    pub(crate) fn link(&self, base: &str, name: &str) -> Option<&str> {
        let _ = base;
        self.modules.get_key_value(name).map(|(key, _)| key.as_str())
    }

    /// A stack trace of generated code in terms of the files as written.
    pub fn map_stack(&self, stack: &str) -> String {
        stack.trim_end().to_owned()
    }
}

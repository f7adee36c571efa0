//! A compiled program: immutable, shared by all workers.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use super::unit::Unit;
use crate::sys::Bytecode;

/// A project's modules, compiled and linked.
#[derive(Debug, Default)]
pub struct Program {
    modules: HashMap<String, Arc<CompiledModule>>,
    entries: HashMap<String, String>,
    builtins: HashSet<String>,
}

/// One module, ready for the engine.
#[derive(Debug)]
pub struct CompiledModule {
    /// Its name in the program: the path relative to the project's root, or a built-in's name.
    pub specifier: String,
    /// JavaScript.
    pub code: Arc<str>,
    /// Exported names, as far as they can be told without running it.
    pub exports: Vec<String>,
    pub(crate) links: HashMap<String, String>,
    pub(crate) unit: Option<Arc<Unit>>,
    /// Written by the first worker that loads the module, and shared with later programs that hold it unchanged.
    pub(crate) bytecode: Arc<OnceLock<Bytecode>>,
}

impl Program {
    pub(crate) fn new(
        modules: HashMap<String, Arc<CompiledModule>>,
        entries: HashMap<String, String>,
        builtins: HashSet<String>,
    ) -> Self {
        Self { modules, entries, builtins }
    }

    /// The module of this name.
    pub fn module(&self, specifier: &str) -> Option<&CompiledModule> {
        self.modules.get(specifier).map(Arc::as_ref)
    }

    /// Names of all modules, in no order.
    pub fn modules(&self) -> impl Iterator<Item = &CompiledModule> {
        self.modules.values().map(Arc::as_ref)
    }

    /// The name of the module that an entry's specifier led to, for [`Vm::load`](crate::Vm::load).
    pub fn entry(&self, specifier: &str) -> Option<&str> {
        self.entries.get(specifier).map(String::as_str)
    }

    /// Names that an entry's module exports, as far as they can be told without running it.
    pub fn exports(&self, specifier: &str) -> Option<&[String]> {
        Some(self.module(self.entry(specifier)?)?.exports.as_slice())
    }

    /// What `name` means in module `base`. Code that is no module of the program may name modules outright.
    pub(crate) fn link(&self, base: &str, name: &str) -> Option<&str> {
        match self.modules.get(base) {
            Some(module) => module.links.get(name).map(String::as_str),
            None => self.modules.get_key_value(name).map(|(key, _)| key.as_str()),
        }
    }

    /// A stack trace of generated code in terms of the files as written. Frames of built-in modules and of the Web APIs
    /// are gathered into one `<runtime>` each; the CommonJS machinery is left out.
    pub fn map_stack(&self, stack: &str) -> String {
        let mut mapped = String::with_capacity(stack.len());
        let mut runtime = false;
        for line in stack.lines() {
            let frame = line.trim_start().strip_prefix("at ").unwrap_or(line.trim());
            if frame.is_empty() {
                continue;
            }
            let (function, place) = match frame.rsplit_once(" (") {
                Some((function, place)) => (function, place.trim_end_matches(')')),
                None => ("", frame),
            };
            match self.place(place) {
                Place::Hidden => continue,
                Place::Runtime => {
                    if !std::mem::replace(&mut runtime, true) {
                        push(&mut mapped, "", "<runtime>");
                    }
                    continue;
                }
                Place::Known(text) => push(&mut mapped, function, &text),
                Place::Unknown => push(&mut mapped, function, place),
            }
            runtime = false;
        }
        mapped
    }

    fn place(&self, place: &str) -> Place {
        let mut parts = place.rsplitn(3, ':');
        let (column, line, file) = (parts.next(), parts.next(), parts.next());
        let (Some(file), Some(line), Some(column)) = (file, line, column) else { return Place::Unknown };
        let (Ok(line), Ok(column)) = (line.parse(), column.parse()) else { return Place::Unknown };
        if file.starts_with("polygate:web/") || self.builtins.contains(file) || file == "eval_script" {
            return Place::Runtime;
        }
        let Some(module) = self.modules.get(file) else { return Place::Unknown };
        let Some(unit) = &module.unit else { return Place::Hidden };
        let file = file.strip_suffix("?cjs").unwrap_or(file);
        match &unit.map {
            None => Place::Known(format!("{file}:{line}:{column}")),
            Some(map) => match map.written(line, column) {
                Some((line, column)) => Place::Known(format!("{file}:{line}:{column}")),
                None => Place::Known(file.to_owned()),
            },
        }
    }
}

enum Place {
    Known(String),
    Unknown,
    Runtime,
    Hidden,
}

fn push(stack: &mut String, function: &str, place: &str) {
    if !stack.is_empty() {
        stack.push('\n');
    }
    let _ = match function {
        "" | "<anonymous>" => write!(stack, "    at {place}"),
        function => write!(stack, "    at {function} ({place})"),
    };
}

//! From a project's files to a program: parse, transform, resolve and generate, one module at a time.
//!
//! Modules are compiled one by one and linked by the engine's own loader, so a changed file is the only one compiled
//! again. Every problem of every file is reported at once.

use std::path::PathBuf;
use std::sync::Arc;

use polygate_pipeline::{Diagnostic, Span};

mod cache;
mod commonjs;
mod direct;
mod graph;
mod helpers;
mod link;
mod map;
mod program;
mod resolve;
mod scan;
mod text;
mod unit;

#[cfg(test)]
mod tests;

pub use cache::{Cache, MAX_CACHE_BYTES};
pub use direct::DIRECT;
pub use graph::{MAX_MODULE_BYTES, MAX_MODULES};
pub use program::{CompiledModule, Program};

/// What to compile.
#[derive(Debug, Clone, Default)]
pub struct CompileInput {
    /// The project's root: its own files' imports do not leave it, other than into packages.
    pub root: PathBuf,
    /// Where the program is entered.
    pub entries: Vec<Entry>,
    /// Modules that the caller supplies: name as imported (`@polygate/runtime`) and JavaScript source text. Several
    /// names may stand for one module by exporting from it.
    pub builtins: Vec<(String, String)>,
}

/// A module, and perhaps an export of it, that the caller will load by [`Program::entry`].
#[derive(Debug, Clone, Default)]
pub struct Entry {
    /// As the project writes it: relative to the root (`./modules/need-key`), a package or a built-in.
    pub specifier: String,
    /// An export that it must have.
    pub export: Option<String>,
    /// The file that names the module, relative to the root.
    pub file: Option<String>,
    /// The place of the module's name in that file.
    pub span: Option<Span>,
    /// The place of the export's name in that file.
    pub export_span: Option<Span>,
}

impl Entry {
    /// An entry that nothing but the caller names.
    pub fn new(specifier: impl Into<String>) -> Self {
        Self { specifier: specifier.into(), ..Self::default() }
    }
}

/// Compiles a project.
///
/// # Errors
/// Every problem found, by file and place. A program is only given when there is none.
pub fn compile(input: &CompileInput, cache: &Cache) -> Result<Arc<Program>, Vec<Diagnostic>> {
    cache.begin();
    let mut problems = Vec::new();
    let graph = graph::collect(input, cache, &mut problems);
    let program = link::link(input, graph, &mut problems);
    if problems.iter().any(Diagnostic::is_error) {
        problems.sort_by(|a, b| {
            let place = |d: &Diagnostic| (d.file.clone(), d.span.map(|span| (span.line, span.column)));
            place(a).cmp(&place(b))
        });
        problems.dedup();
        return Err(problems);
    }
    Ok(Arc::new(program))
}

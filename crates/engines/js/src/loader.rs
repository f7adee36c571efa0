//! The engine's module loader over a compiled program: nothing is read or compiled while a worker links.

use std::sync::Arc;

use rquickjs::loader::{ImportAttributes, Loader, Resolver};
use rquickjs::module::Declared;
use rquickjs::{Ctx, Error, Module, Result};

use crate::compile::Program;
use crate::sys;

/// Resolves imports as the compiler did.
pub(crate) struct GraphResolver(Arc<Program>);

impl GraphResolver {
    pub(crate) fn new(program: Arc<Program>) -> Self {
        Self(program)
    }
}

impl Resolver for GraphResolver {
    fn resolve<'js>(
        &mut self,
        _ctx: &Ctx<'js>,
        base: &str,
        name: &str,
        _attributes: Option<ImportAttributes<'js>>,
    ) -> Result<String> {
        match self.0.link(base, name) {
            Some(specifier) => Ok(specifier.to_owned()),
            None => Err(Error::new_resolving_message(
                base,
                name,
                "only modules that the project imports by a literal specifier can be loaded",
            )),
        }
    }
}

/// Declares modules from bytecode, or from source when no worker did so before.
pub(crate) struct GraphLoader(Arc<Program>);

impl GraphLoader {
    pub(crate) fn new(program: Arc<Program>) -> Self {
        Self(program)
    }
}

impl Loader for GraphLoader {
    fn load<'js>(
        &mut self,
        ctx: &Ctx<'js>,
        name: &str,
        _attributes: Option<ImportAttributes<'js>>,
    ) -> Result<Module<'js, Declared>> {
        let Some(module) = self.0.module(name) else {
            return Err(Error::new_loading_message(name, "the program has no such module"));
        };
        if let Some(bytecode) = module.bytecode.get() {
            return sys::load_bytecode(ctx, bytecode);
        }
        let declared = Module::declare(ctx.clone(), name, &*module.code)?;
        if let Ok(bytecode) = sys::bytecode(&declared) {
            // Another worker may have been faster: its bytecode is the same.
            let _ = module.bytecode.set(bytecode);
        }
        Ok(declared)
    }
}

//! What a parsed file imports and exports.

use std::collections::{HashMap, HashSet};

use oxc::ast::ast::{
    Argument, AssignmentExpression, AssignmentTarget, AwaitExpression, CallExpression, Declaration,
    ExportSpecifier, Expression, ForOfStatement, Function, ImportDeclarationSpecifier, ImportExpression,
    ImportMeta, ObjectExpression, ObjectPropertyKind, Program, Statement, StaticMemberExpression,
    StringLiteral, TryStatement,
};
use oxc::ast_visit::{Visit, walk};
use oxc::semantic::{ScopeFlags, Scoping};

use super::text::span_of;
use super::unit::{Import, ImportKind, ImportedName};

/// Imports and exports of a file.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) imports: Vec<Import>,
    pub(crate) exports: Vec<String>,
    pub(crate) stars: Vec<String>,
}

impl Found {
    fn import(
        &mut self,
        source: &str,
        literal: &StringLiteral<'_>,
        kind: ImportKind,
        names: Vec<ImportedName>,
    ) {
        let specifier = literal.value.as_str();
        let known = self.imports.iter_mut().find(|known| known.specifier == specifier);
        match known {
            Some(known) => {
                known.names.extend(names);
                match (known.kind, kind) {
                    (ImportKind::Dynamic, ImportKind::Static) => known.kind = kind,
                    (ImportKind::Require { guarded: true }, ImportKind::Require { guarded: false }) => {
                        known.kind = kind
                    }
                    _ => {}
                }
            }
            None => self.imports.push(Import {
                specifier: specifier.to_owned(),
                span: span_of(source, literal.span.start, literal.span.end),
                kind,
                names,
                members: Vec::new(),
            }),
        }
    }
}

/// Whether `name` can stand in an export list.
pub(crate) fn is_identifier(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_alphabetic() || c == '_' || c == '$')
        && chars.all(|c| c.is_alphanumeric() || c == '_' || c == '$')
}

/// Whether a file without `import` and `export` uses what only modules have.
pub(crate) fn only_esm(program: &Program<'_>) -> bool {
    let mut visitor = OnlyEsm { found: false, depth: 0 };
    visitor.visit_program(program);
    visitor.found
}

struct OnlyEsm {
    found: bool,
    depth: u32,
}

impl<'a> Visit<'a> for OnlyEsm {
    fn visit_import_meta(&mut self, _: &ImportMeta) {
        self.found = true;
    }

    fn visit_await_expression(&mut self, it: &AwaitExpression<'a>) {
        self.found |= self.depth == 0;
        walk::walk_await_expression(self, it);
    }

    fn visit_for_of_statement(&mut self, it: &ForOfStatement<'a>) {
        self.found |= self.depth == 0 && it.r#await;
        walk::walk_for_of_statement(self, it);
    }

    fn visit_function(&mut self, it: &Function<'a>, flags: ScopeFlags) {
        self.depth += 1;
        walk::walk_function(self, it, flags);
        self.depth -= 1;
    }

    fn visit_arrow_function_expression(&mut self, it: &oxc::ast::ast::ArrowFunctionExpression<'a>) {
        self.depth += 1;
        walk::walk_arrow_function_expression(self, it);
        self.depth -= 1;
    }
}

/// Scans an ES module.
pub(crate) fn esm(source: &str, program: &Program<'_>) -> Found {
    let mut found = Found::default();
    let passed_on: HashSet<&str> = program
        .body
        .iter()
        .filter_map(|statement| match statement {
            Statement::ExportNamedDeclaration(export) => Some(export.specifiers.iter()),
            _ => None,
        })
        .flatten()
        .map(|specifier| specifier.local.name().as_str())
        .collect();
    for statement in &program.body {
        match statement {
            Statement::ImportDeclaration(import) if import.import_kind.is_value() => {
                let names = import.specifiers.iter().flatten().filter_map(|specifier| match specifier {
                    ImportDeclarationSpecifier::ImportSpecifier(named) if named.import_kind.is_value() => {
                        Some(ImportedName {
                            name: named.imported.name().to_string(),
                            span: span_of(source, named.span.start, named.span.end),
                            passed_on: passed_on.contains(named.local.name.as_str()),
                        })
                    }
                    ImportDeclarationSpecifier::ImportDefaultSpecifier(default) => Some(ImportedName {
                        name: "default".to_owned(),
                        span: span_of(source, default.span.start, default.span.end),
                        passed_on: passed_on.contains(default.local.name.as_str()),
                    }),
                    _ => None,
                });
                let names = names.collect();
                found.import(source, &import.source, ImportKind::Static, names);
            }
            Statement::ExportAllDeclaration(export) if export.export_kind.is_value() => {
                found.import(source, &export.source, ImportKind::Static, Vec::new());
                match &export.exported {
                    Some(name) => found.exports.push(name.name().to_string()),
                    None => found.stars.push(export.source.value.to_string()),
                }
            }
            Statement::ExportFromDeclaration(export) if export.export_kind.is_value() => {
                let names = export.specifiers.iter().filter(|specifier| specifier.export_kind.is_value());
                let names: Vec<_> = names.map(|specifier| passed(source, specifier)).collect();
                let exported = export.specifiers.iter().filter(|specifier| specifier.export_kind.is_value());
                found.exports.extend(exported.map(|specifier| specifier.exported.name().to_string()));
                found.import(source, &export.source, ImportKind::Static, names);
            }
            Statement::ExportNamedDeclaration(export) if export.export_kind.is_value() => {
                let values = export.specifiers.iter().filter(|specifier| specifier.export_kind.is_value());
                found.exports.extend(values.map(|specifier| specifier.exported.name().to_string()));
            }
            Statement::ExportDeclaration(export) => declared(&export.declaration, &mut found.exports),
            Statement::ExportDefaultDeclaration(_) => found.exports.push("default".to_owned()),
            _ => {}
        }
    }
    let mut spaces = HashMap::new();
    for statement in &program.body {
        let Statement::ImportDeclaration(import) = statement else { continue };
        for specifier in import.specifiers.iter().flatten() {
            if let ImportDeclarationSpecifier::ImportNamespaceSpecifier(space) = specifier {
                spaces.insert(space.local.name.to_string(), import.source.value.to_string());
            }
        }
    }
    let mut dynamic = Dynamic { source, found: &mut found, spaces };
    dynamic.visit_program(program);
    found
}

fn passed(source: &str, specifier: &ExportSpecifier<'_>) -> ImportedName {
    ImportedName {
        name: specifier.local.name().to_string(),
        span: span_of(source, specifier.span.start, specifier.span.end),
        passed_on: true,
    }
}

fn declared(declaration: &Declaration<'_>, exports: &mut Vec<String>) {
    match declaration {
        Declaration::VariableDeclaration(variables) => {
            for declarator in &variables.declarations {
                let names = declarator.id.get_binding_identifiers();
                exports.extend(names.iter().map(|identifier| identifier.name.to_string()));
            }
        }
        other => exports.extend(other.id().map(|identifier| identifier.name.to_string())),
    }
}

struct Dynamic<'s> {
    source: &'s str,
    found: &'s mut Found,
    /// Local names of whole modules, and their specifiers.
    spaces: HashMap<String, String>,
}

impl<'a> Visit<'a> for Dynamic<'_> {
    fn visit_static_member_expression(&mut self, it: &StaticMemberExpression<'a>) {
        // A variable of the same name inside a function does no harm here: the names only widen a CommonJS face.
        if let Expression::Identifier(object) = &it.object
            && let Some(specifier) = self.spaces.get(object.name.as_str())
            && let Some(import) = self.found.imports.iter_mut().find(|import| import.specifier == *specifier)
        {
            let name = it.property.name.as_str();
            if !import.members.iter().any(|known| known == name) {
                import.members.push(name.to_owned());
            }
        }
        walk::walk_static_member_expression(self, it);
    }

    fn visit_import_expression(&mut self, it: &ImportExpression<'a>) {
        if let Expression::StringLiteral(literal) = &it.source {
            self.found.import(self.source, literal, ImportKind::Dynamic, Vec::new());
        }
        walk::walk_import_expression(self, it);
    }
}

/// Scans a CommonJS module.
pub(crate) fn commonjs(source: &str, program: &Program<'_>, scoping: &Scoping) -> Found {
    let mut visitor = CommonJs { source, scoping, found: Found::default(), tries: 0 };
    visitor.visit_program(program);
    let mut found = visitor.found;
    found.exports.retain(|name| name != "__esModule" && is_identifier(name));
    found.exports.sort();
    found.exports.dedup();
    found
}

struct CommonJs<'s> {
    source: &'s str,
    scoping: &'s Scoping,
    found: Found,
    tries: u32,
}

impl CommonJs<'_> {
    /// Whether the expression is the module's own `name`, not a variable of the file.
    fn is_global(&self, expression: &Expression<'_>, name: &str) -> bool {
        match expression {
            Expression::Identifier(identifier) => {
                identifier.name == name && !self.scoping.has_binding(identifier.reference_id())
            }
            _ => false,
        }
    }

    /// `exports` or `module.exports`.
    fn is_exports(&self, expression: &Expression<'_>) -> bool {
        match expression {
            Expression::StaticMemberExpression(member) => {
                member.property.name == "exports" && self.is_global(&member.object, "module")
            }
            other => self.is_global(other, "exports"),
        }
    }

    /// The literal of `require("...")`.
    fn required<'e, 'a>(&self, expression: &'e Expression<'a>) -> Option<&'e StringLiteral<'a>> {
        match expression {
            Expression::CallExpression(call) => self.required_by(call),
            _ => None,
        }
    }

    fn required_by<'e, 'a>(&self, call: &'e CallExpression<'a>) -> Option<&'e StringLiteral<'a>> {
        match call.arguments.as_slice() {
            [Argument::StringLiteral(literal)] if self.is_global(&call.callee, "require") => Some(literal),
            _ => None,
        }
    }

    /// Names of `module.exports = { ... }`.
    fn object(&mut self, object: &ObjectExpression<'_>) {
        for property in &object.properties {
            match property {
                ObjectPropertyKind::ObjectProperty(property) => {
                    self.found.exports.extend(property.key.static_name().map(|name| name.to_string()));
                }
                ObjectPropertyKind::SpreadProperty(spread) => {
                    if let Some(literal) = self.required(&spread.argument) {
                        self.found.stars.push(literal.value.to_string());
                    }
                }
            }
        }
    }
}

impl<'a> Visit<'a> for CommonJs<'_> {
    fn visit_try_statement(&mut self, it: &TryStatement<'a>) {
        if it.handler.is_some() {
            self.tries += 1;
            self.visit_block_statement(&it.block);
            self.tries -= 1;
        } else {
            self.visit_block_statement(&it.block);
        }
        if let Some(handler) = &it.handler {
            self.visit_catch_clause(handler);
        }
        if let Some(finalizer) = &it.finalizer {
            self.visit_block_statement(finalizer);
        }
    }

    fn visit_call_expression(&mut self, it: &CallExpression<'a>) {
        if let Some(literal) = self.required_by(it) {
            let kind = ImportKind::Require { guarded: self.tries > 0 };
            self.found.import(self.source, literal, kind, Vec::new());
        }
        match it.arguments.as_slice() {
            // Object.defineProperty(exports, "name", ...)
            [
                Argument::Identifier(_) | Argument::StaticMemberExpression(_),
                Argument::StringLiteral(name),
                ..,
            ] if it.callee.is_specific_member_access("Object", "defineProperty")
                && it.arguments[0].as_expression().is_some_and(|target| self.is_exports(target)) =>
            {
                self.found.exports.push(name.value.to_string());
            }
            // __exportStar(require("..."), exports), __reExport(exports, require("..."))
            [first, second] => {
                let sides = [first.as_expression(), second.as_expression()];
                if sides.iter().flatten().any(|side| self.is_exports(side)) {
                    let required = sides.iter().flatten().filter_map(|side| self.required(side));
                    let stars: Vec<_> = required.map(|literal| literal.value.to_string()).collect();
                    self.found.stars.extend(stars);
                }
            }
            _ => {}
        }
        walk::walk_call_expression(self, it);
    }

    fn visit_import_expression(&mut self, it: &ImportExpression<'a>) {
        if let Expression::StringLiteral(literal) = &it.source {
            self.found.import(self.source, literal, ImportKind::Dynamic, Vec::new());
        }
        walk::walk_import_expression(self, it);
    }

    fn visit_assignment_expression(&mut self, it: &AssignmentExpression<'a>) {
        match &it.left {
            AssignmentTarget::StaticMemberExpression(member) => {
                if self.is_exports(&member.object) {
                    self.found.exports.push(member.property.name.to_string());
                } else if member.property.name == "exports" && self.is_global(&member.object, "module") {
                    match &it.right {
                        Expression::ObjectExpression(object) => self.object(object),
                        other => {
                            if let Some(literal) = self.required(other) {
                                self.found.stars.push(literal.value.to_string());
                            }
                        }
                    }
                }
            }
            AssignmentTarget::ComputedMemberExpression(member) => {
                if let Expression::StringLiteral(name) = &member.expression
                    && self.is_exports(&member.object)
                {
                    self.found.exports.push(name.value.to_string());
                }
            }
            _ => {}
        }
        walk::walk_assignment_expression(self, it);
    }
}

//! One file, compiled alone: what it becomes, what it imports and exports, and what is wrong with it.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use oxc::allocator::Allocator;
use oxc::codegen::{Codegen, CodegenOptions, CommentOptions};
use oxc::diagnostics::OxcDiagnostic;
use oxc::parser::{ParseOptions, Parser};
use oxc::semantic::SemanticBuilder;
use oxc::span::SourceType;
use oxc::transformer::{DecoratorOptions, EnvOptions, TransformOptions, Transformer};
use polygate_pipeline::{Diagnostic, Span};

use super::direct;
use super::map::Mappings;
use super::scan;
use super::text::span_of;
use crate::sys::Bytecode;

/// Most problems that are reported of one file.
const MAX_PROBLEMS: usize = 20;

/// How a file's module behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `import` and `export`.
    Esm,
    /// `require` and `module.exports`.
    CommonJs,
    /// Data: a CommonJS module whose exports are the value.
    Json,
}

/// What a file's place says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Hint {
    /// Its nearest package.json says `"type": "module"`.
    Module,
    /// Its nearest package.json says `"type": "commonjs"`.
    CommonJs,
    /// Nothing: its text decides.
    None,
}

/// How a file asks for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ImportKind {
    /// `import`, `export ... from`.
    Static,
    /// `import()` of a literal.
    Dynamic,
    /// `require()` of a literal; `guarded` when a `try` around it catches its failure.
    Require { guarded: bool },
}

/// One import of a file.
#[derive(Debug, Clone)]
pub(crate) struct Import {
    pub(crate) specifier: String,
    pub(crate) span: Span,
    pub(crate) kind: ImportKind,
    pub(crate) names: Vec<ImportedName>,
    /// Members that are read of the whole module (`import * as ns`, then `ns.name`).
    pub(crate) members: Vec<String>,
}

/// A name that an import takes from a module.
#[derive(Debug, Clone)]
pub(crate) struct ImportedName {
    pub(crate) name: String,
    pub(crate) span: Span,
    /// It is only passed on: in TypeScript it may be a type, which cannot be told from one file.
    pub(crate) passed_on: bool,
}

/// A compiled file.
#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) kind: Kind,
    pub(crate) typescript: bool,
    /// The module's code for the engine; of CommonJS, the module that registers its function.
    pub(crate) code: Arc<str>,
    pub(crate) map: Option<Mappings>,
    pub(crate) imports: Vec<Import>,
    pub(crate) exports: Vec<String>,
    /// Specifiers of `export * from`.
    pub(crate) stars: Vec<String>,
    pub(crate) problems: Vec<Diagnostic>,
    pub(crate) bytecode: Arc<OnceLock<Bytecode>>,
}

impl Unit {
    fn broken(problems: Vec<Diagnostic>) -> Self {
        Self {
            kind: Kind::Esm,
            typescript: false,
            code: "".into(),
            map: None,
            imports: Vec::new(),
            exports: Vec::new(),
            stars: Vec::new(),
            problems,
            bytecode: Arc::default(),
        }
    }
}

/// Compiles one file. `name` is its path relative to the root, `/` between parts.
pub(crate) fn compile_unit(name: &str, source: &str, hint: Hint) -> Unit {
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    let extension = Path::new(name).extension().and_then(|e| e.to_str()).unwrap_or("");
    match extension {
        "json" => json(name, source),
        "ts" | "mts" | "cts" | "tsx" => typescript(name, source, extension),
        _ => javascript(name, source, extension, hint),
    }
}

fn json(name: &str, source: &str) -> Unit {
    let value: serde_json::Value = match serde_json::from_str(source) {
        Ok(value) => value,
        Err(error) => {
            let span = Span {
                line: u32::try_from(error.line()).unwrap_or(1).max(1),
                column: u32::try_from(error.column()).unwrap_or(1).max(1),
                length: 1,
            };
            let problem = Diagnostic::error("invalid-json", format!("this JSON cannot be read: {error}"));
            return Unit::broken(vec![problem.at(name, Some(span))]);
        }
    };
    let exports = match &value {
        serde_json::Value::Object(members) => {
            members.keys().filter(|k| scan::is_identifier(k)).cloned().collect()
        }
        _ => Vec::new(),
    };
    let text = serde_json::Value::String(source.to_owned());
    Unit {
        kind: Kind::Json,
        code: super::commonjs::factory(name, &format!("module.exports = JSON.parse({text});"), &[]).into(),
        exports,
        ..Unit::broken(Vec::new())
    }
}

fn javascript(name: &str, source: &str, extension: &str, hint: Hint) -> Unit {
    let source_type = match (extension, hint) {
        ("mjs", _) => SourceType::mjs(),
        ("cjs", _) => SourceType::cjs(),
        (_, Hint::Module) => SourceType::mjs(),
        (_, Hint::CommonJs) => SourceType::unambiguous(),
        (_, Hint::None) => SourceType::unambiguous(),
    };
    let allocator = Allocator::default();
    let options =
        ParseOptions { allow_return_outside_function: !source_type.is_module(), ..ParseOptions::default() };
    let parsed = Parser::new(&allocator, source, source_type).with_options(options).parse();
    if parsed.panicked || parsed.diagnostics.has_errors() {
        return Unit::broken(problems(name, source, parsed.diagnostics.errors()));
    }
    let esm = source_type.is_module()
        || (!source_type.is_commonjs()
            && (parsed.module_record.has_module_syntax || scan::only_esm(&parsed.program)));
    let found = if esm {
        scan::esm(source, &parsed.program)
    } else {
        let semantic = SemanticBuilder::new().build(&parsed.program).semantic;
        scan::commonjs(source, &parsed.program, semantic.scoping())
    };
    // The engine reads JavaScript as it is: only TypeScript is rewritten.
    let code = if esm {
        source.into()
    } else {
        let body = if source.starts_with("#!") { format!("//{source}") } else { source.to_owned() };
        super::commonjs::factory(name, &body, &found.imports).into()
    };
    Unit {
        kind: if esm { Kind::Esm } else { Kind::CommonJs },
        code,
        map: (!esm).then(|| Mappings::shifted(super::commonjs::factory_head_lines(&found.imports))),
        imports: found.imports,
        exports: found.exports,
        stars: found.stars,
        ..Unit::broken(Vec::new())
    }
}

fn typescript(name: &str, source: &str, extension: &str) -> Unit {
    let source_type = if extension == "tsx" { SourceType::tsx() } else { SourceType::ts() };
    let allocator = Allocator::default();
    let parsed = Parser::new(&allocator, source, source_type).parse();
    if parsed.panicked || parsed.diagnostics.has_errors() {
        return Unit::broken(problems(name, source, parsed.diagnostics.errors()));
    }
    let mut program = parsed.program;
    let semantic = SemanticBuilder::new()
        .with_check_syntax_error(true)
        .with_excess_capacity(2.0)
        .with_enum_eval(true)
        .build(&program);
    if semantic.diagnostics.has_errors() {
        return Unit::broken(problems(name, source, semantic.diagnostics.errors()));
    }
    let options = TransformOptions {
        decorator: DecoratorOptions { legacy: true, ..DecoratorOptions::default() },
        env: EnvOptions::from_target("es2023").unwrap_or_default(),
        ..TransformOptions::default()
    };
    let scoping = semantic.semantic.into_scoping();
    let transformed =
        Transformer::new(&allocator, Path::new(name), &options).build_with_scoping(scoping, &mut program);
    if transformed.diagnostics.has_errors() {
        return Unit::broken(problems(name, source, transformed.diagnostics.errors()));
    }
    direct::add(&allocator, source, &mut program);
    let found = scan::esm(source, &program);
    let options = CodegenOptions {
        source_map_path: Some(Path::new(name).to_owned()),
        comments: CommentOptions::disabled(),
        ..CodegenOptions::default()
    };
    let generated = Codegen::new().with_options(options).build(&program);
    let map = generated.map.map(|map| {
        Mappings::new(map.get_tokens().map(|token| {
            [token.get_dst_line(), token.get_dst_col(), token.get_src_line(), token.get_src_col()]
        }))
    });
    Unit {
        typescript: true,
        code: generated.code.into(),
        map,
        imports: found.imports,
        exports: found.exports,
        stars: found.stars,
        ..Unit::broken(Vec::new())
    }
}

/// What oxc found, in our words' form.
fn problems<'a>(name: &str, source: &str, found: impl Iterator<Item = &'a OxcDiagnostic>) -> Vec<Diagnostic> {
    found
        .take(MAX_PROBLEMS)
        .map(|problem| {
            let span = problem.labels.first().map(|label| {
                let start = label.offset();
                span_of(source, start, start + label.len())
            });
            let mut diagnostic = Diagnostic::error(
                "unreadable-script",
                problem.message.to_string().trim_end_matches('.').to_owned(),
            );
            if let Some(help) = &problem.help {
                diagnostic = diagnostic.expected(help.to_string());
            }
            diagnostic.at(name, span)
        })
        .collect()
}

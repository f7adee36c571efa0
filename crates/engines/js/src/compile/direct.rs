//! Twins of asynchronous functions that never await, for whoever calls them from Rust.
//!
//! `async` is how policies are declared, whether they wait for anything or not. Each call of such a function makes a
//! promise with two functions that resolve it, only for the caller to find it settled: about a third of what a short
//! policy costs. So a function at a module's top level that is asynchronous and awaits nothing gets a twin with the
//! same parameters and body that is not asynchronous. It returns what the promise would be resolved with and throws
//! what it would be rejected with. Nothing but [`DIRECT`] knows the twins: JavaScript sees the function as written.

use oxc::allocator::{Allocator, CloneIn, Vec as ArenaVec};
use oxc::ast::ast::{
    ArrowFunctionExpression, AwaitExpression, BindingPattern, Declaration, ExportDefaultDeclarationKind,
    Expression, ForOfStatement, Function, Program, Statement, VariableDeclaration, VariableDeclarationKind,
};
use oxc::ast_visit::{Visit, VisitMut, walk};
use oxc::parser::Parser;
use oxc::semantic::ScopeFlags;
use oxc::span::{GetSpan, SPAN, SourceType, Span};

/// The module that knows the twins: its default export adds one, `of` finds it.
pub const DIRECT: &str = "polygate:direct";
/// A function longer than this many bytes has no twin: what a promise costs is nothing beside what it does.
const MAX_LENGTH: u32 = 64 << 10;
/// The names that are added to a module; one that uses them itself is left as it is.
const NAME: &str = "_polygate_direct";

/// The function of a default export without a name goes by this one.
const DEFAULT: &str = "_polygate_direct_default";

/// What stands at a place of a module's body.
enum Found<'a> {
    /// A function declaration, which exists before the body runs.
    Declared { name: &'a str, twin: Twin<'a> },
    /// `const` with a function: the twin is added behind it.
    Const { name: &'a str, twin: Twin<'a> },
    /// A default export without a name.
    Default { twin: Twin<'a> },
}

/// What a twin is made of.
enum Twin<'a> {
    Function(Function<'a>),
    Arrow(ArrowFunctionExpression<'a>),
}

/// Adds twins to a module that needs no further transformation.
pub(super) fn add<'a>(allocator: &'a Allocator, source: &str, program: &mut Program<'a>) {
    if source.contains(NAME) {
        return;
    }
    let found: Vec<(usize, Found<'a>)> = program
        .body
        .iter()
        .enumerate()
        .filter_map(|(index, statement)| Some((index, find(allocator, statement)?)))
        .collect();
    if found.is_empty() {
        return;
    }
    let Some(mut import) = parse(allocator, &format!("import {NAME} from '{DIRECT}';")) else { return };
    let mut found = found.into_iter().peekable();
    // Declared functions get their twins before anything else runs.
    let mut head: Vec<Statement<'a>> = import.drain(..).collect();
    let mut body: Vec<Statement<'a>> = Vec::new();
    for (index, statement) in program.body.drain(..).enumerate() {
        let Some((_, found)) = found.next_if(|(place, _)| *place == index) else {
            body.push(statement);
            continue;
        };
        match found {
            Found::Declared { name, twin } => {
                head.extend(call(allocator, name, "", twin));
                body.push(statement);
            }
            Found::Const { name, twin } => {
                body.push(statement);
                body.extend(call(allocator, name, "", twin));
            }
            Found::Default { twin } => {
                let declared = matches!(twin, Twin::Function(_));
                let added = call(allocator, DEFAULT, ", 'default'", twin);
                body.extend(named(allocator, statement));
                if declared { head.extend(added) } else { body.extend(added) }
            }
        }
    }
    program.body.extend(head);
    program.body.extend(body);
}

fn find<'a>(allocator: &'a Allocator, statement: &Statement<'a>) -> Option<Found<'a>> {
    let declared = |function: &Function<'a>| {
        let twin = of_function(allocator, function)?;
        let name = function.id.as_ref()?.name.as_str();
        Some(Found::Declared { name: allocator.alloc_str(name), twin })
    };
    match statement {
        Statement::FunctionDeclaration(function) => declared(function),
        Statement::VariableDeclaration(declaration) => constant(allocator, declaration),
        Statement::ExportDeclaration(export) => match &export.declaration {
            Declaration::FunctionDeclaration(function) => declared(function),
            Declaration::VariableDeclaration(declaration) => constant(allocator, declaration),
            _ => None,
        },
        Statement::ExportDefaultDeclaration(export) => match &export.declaration {
            ExportDefaultDeclarationKind::FunctionDeclaration(function) if function.id.is_some() => {
                declared(function)
            }
            ExportDefaultDeclarationKind::FunctionDeclaration(function) => {
                Some(Found::Default { twin: of_function(allocator, function)? })
            }
            ExportDefaultDeclarationKind::ArrowFunctionExpression(arrow) => {
                Some(Found::Default { twin: of_arrow(allocator, arrow)? })
            }
            _ => None,
        },
        _ => None,
    }
}

fn constant<'a>(allocator: &'a Allocator, declaration: &VariableDeclaration<'a>) -> Option<Found<'a>> {
    let [only] = declaration.declarations.as_slice() else { return None };
    let (VariableDeclarationKind::Const, BindingPattern::BindingIdentifier(id)) =
        (declaration.kind, &only.id)
    else {
        return None;
    };
    let twin = match only.init.as_ref()? {
        Expression::ArrowFunctionExpression(arrow) => of_arrow(allocator, arrow)?,
        // One with a name of its own may call itself by it.
        Expression::FunctionExpression(function) if function.id.is_none() => {
            of_function(allocator, function)?
        }
        _ => return None,
    };
    Some(Found::Const { name: allocator.alloc_str(id.name.as_str()), twin })
}

fn of_function<'a>(allocator: &'a Allocator, function: &Function<'a>) -> Option<Twin<'a>> {
    let body = function.body.as_ref()?;
    if !function.r#async || function.generator || function.span.size() > MAX_LENGTH {
        return None;
    }
    let mut awaits = Awaits(false);
    awaits.visit_function_body(body);
    (!awaits.0).then(|| Twin::Function(function.clone_in(allocator)))
}

fn of_arrow<'a>(allocator: &'a Allocator, arrow: &ArrowFunctionExpression<'a>) -> Option<Twin<'a>> {
    if !arrow.r#async || arrow.span().size() > MAX_LENGTH {
        return None;
    }
    let mut awaits = Awaits(false);
    awaits.visit_arrow_function_body(&arrow.body);
    (!awaits.0).then(|| Twin::Arrow(arrow.clone_in(allocator)))
}

/// The statement that adds a twin to the function `name`; `more` are further arguments.
fn call<'a>(allocator: &'a Allocator, name: &str, more: &str, twin: Twin<'a>) -> Option<Statement<'a>> {
    let function = match &twin {
        Twin::Function(_) => "function () {}",
        Twin::Arrow(_) => "() => {}",
    };
    let mut statement = parse(allocator, &format!("{NAME}({name}, {function}{more});"))?.pop()?;
    let Statement::ExpressionStatement(expression) = &mut statement else { return None };
    let Expression::CallExpression(call) = &mut expression.expression else { return None };
    match (call.arguments.get_mut(1)?.as_expression_mut()?, twin) {
        (Expression::FunctionExpression(blank), Twin::Function(function)) => {
            blank.params = function.params;
            blank.body = function.body;
        }
        (Expression::ArrowFunctionExpression(blank), Twin::Arrow(arrow)) => {
            blank.params = arrow.params;
            blank.body = arrow.body;
        }
        _ => return None,
    }
    Some(statement)
}

/// A default export without a name, with one.
fn named<'a>(allocator: &'a Allocator, statement: Statement<'a>) -> Vec<Statement<'a>> {
    let Statement::ExportDefaultDeclaration(mut export) = statement else { return vec![statement] };
    let blank = match &export.declaration {
        ExportDefaultDeclarationKind::FunctionDeclaration(_) => format!("async function {DEFAULT}() {{}}"),
        _ => format!("const {DEFAULT} = async () => {{}};"),
    };
    let parsed = parse(allocator, &format!("{blank} export {{ {DEFAULT} as default }};"));
    let Some(mut parsed) = parsed else { return vec![Statement::ExportDefaultDeclaration(export)] };
    match (parsed.first_mut(), &mut export.declaration) {
        (
            Some(Statement::FunctionDeclaration(blank)),
            ExportDefaultDeclarationKind::FunctionDeclaration(function),
        ) => {
            std::mem::swap(&mut blank.params, &mut function.params);
            std::mem::swap(&mut blank.body, &mut function.body);
        }
        (
            Some(Statement::VariableDeclaration(blank)),
            ExportDefaultDeclarationKind::ArrowFunctionExpression(arrow),
        ) => {
            if let Some(Expression::ArrowFunctionExpression(blank)) =
                blank.declarations.first_mut().and_then(|declarator| declarator.init.as_mut())
            {
                std::mem::swap(&mut blank.params, &mut arrow.params);
                std::mem::swap(&mut blank.body, &mut arrow.body);
            }
        }
        _ => {}
    }
    parsed.drain(..).collect()
}

fn parse<'a>(allocator: &'a Allocator, text: &str) -> Option<ArenaVec<'a, Statement<'a>>> {
    let parsed = Parser::new(allocator, allocator.alloc_str(text), SourceType::mjs()).parse();
    let mut program = parsed.program;
    Nowhere.visit_program(&mut program);
    (!parsed.panicked && !parsed.diagnostics.has_errors()).then_some(program.body)
}

/// Nobody wrote what is added: it stands nowhere in the file.
struct Nowhere;

impl<'a> VisitMut<'a> for Nowhere {
    fn visit_span(&mut self, span: &mut Span) {
        *span = SPAN;
    }
}

/// Whether a function awaits, without the functions in it.
struct Awaits(bool);

impl<'a> Visit<'a> for Awaits {
    fn visit_await_expression(&mut self, _: &AwaitExpression<'a>) {
        self.0 = true;
    }

    fn visit_for_of_statement(&mut self, it: &ForOfStatement<'a>) {
        self.0 |= it.r#await;
        walk::walk_for_of_statement(self, it);
    }

    fn visit_variable_declaration(&mut self, it: &VariableDeclaration<'a>) {
        self.0 |= it.kind == VariableDeclarationKind::AwaitUsing;
        walk::walk_variable_declaration(self, it);
    }

    fn visit_function(&mut self, _: &Function<'a>, _: ScopeFlags) {}

    fn visit_arrow_function_expression(&mut self, _: &ArrowFunctionExpression<'a>) {}
}

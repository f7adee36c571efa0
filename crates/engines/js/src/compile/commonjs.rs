//! CommonJS modules as ES modules.
//!
//! A CommonJS file becomes two modules. Its *factory* (`path?cjs`) registers the file's function, so that nothing runs
//! before it is required and cycles behave as CommonJS has them. Its *face* (`path`) is what ES modules import: it
//! requires the file and exports the names that importers of this program ask for.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::unit::{Import, ImportKind};

/// The module that holds the table of registered files.
pub(crate) const REGISTRY: &str = "polygate:commonjs";

/// What `require` gives for a package's `browser: {"x": false}`.
pub(crate) const EMPTY: &str = "polygate:empty";

/// Source of [`REGISTRY`].
pub(crate) const REGISTRY_CODE: &str = r#"
const table = new Map();
const faces = new WeakMap();
export function define(id, run, dependencies) {
  table.set(id, { run, dependencies, module: undefined });
}
function missing(name) {
  const error = new Error(`Cannot find module '${name}'`);
  error.code = 'MODULE_NOT_FOUND';
  return error;
}
function face(namespace) {
  let made = faces.get(namespace);
  if (made === undefined) {
    made = Object.defineProperty({}, '__esModule', { value: true });
    for (const name of Object.keys(namespace)) {
      Object.defineProperty(made, name, { enumerable: true, get: () => namespace[name] });
    }
    faces.set(namespace, made);
  }
  return made;
}
export function load(id) {
  const entry = table.get(id);
  if (entry === undefined) throw missing(id);
  if (entry.module !== undefined) return entry.module.exports;
  const module = { id, filename: id, loaded: false, exports: {}, children: [], paths: [] };
  entry.module = module;
  const require = (name) => {
    const namespace = Object.hasOwn(entry.dependencies, name) ? entry.dependencies[name] : undefined;
    if (namespace === undefined || namespace.__polygate_missing !== undefined) throw missing(name);
    return namespace.__polygate_commonjs !== undefined ? load(namespace.__polygate_commonjs) : face(namespace);
  };
  require.cache = Object.create(null);
  module.require = require;
  try {
    entry.run.call(module.exports, module.exports, require, module, id, id.slice(0, Math.max(id.lastIndexOf('/'), 0)));
  } catch (error) {
    entry.module = undefined;
    throw error;
  }
  module.loaded = true;
  return module.exports;
}
"#;

/// A string as a JavaScript literal.
fn literal(text: &str) -> String {
    serde_json::Value::String(text.to_owned()).to_string()
}

/// The name of a CommonJS file's factory module.
pub(crate) fn factory_name(name: &str) -> String {
    format!("{name}?cjs")
}

/// The name of a CommonJS file's face for importers that are ES modules by Node's rules.
pub(crate) fn node_face_name(name: &str) -> String {
    format!("{name}?node")
}

/// Lines that [`factory`] puts before the file's own.
pub(crate) fn factory_head_lines(imports: &[Import]) -> u32 {
    u32::try_from(required(imports).count()).unwrap_or(0) + 3
}

fn required(imports: &[Import]) -> impl Iterator<Item = &Import> {
    imports.iter().filter(|import| matches!(import.kind, ImportKind::Require { .. }))
}

/// The factory module of a file: `import`s of what it requires, then its function.
pub(crate) fn factory(name: &str, body: &str, imports: &[Import]) -> String {
    let mut code = String::with_capacity(body.len() + 512);
    let mut table = String::new();
    for (index, import) in required(imports).enumerate() {
        let specifier = literal(&import.specifier);
        let _ = writeln!(code, "import * as __polygate_{index} from {specifier};");
        let _ = write!(table, "{specifier}: __polygate_{index}, ");
    }
    let id = literal(name);
    let _ = writeln!(code, "import {{ define as __polygate_define }} from {};", literal(REGISTRY));
    let _ = writeln!(code, "export const __polygate_commonjs = {id};");
    let _ = writeln!(
        code,
        "__polygate_define({id}, function (exports, require, module, __filename, __dirname) {{"
    );
    code.push_str(body);
    let _ = write!(code, "\n}}, {{ __proto__: null, {table}}});\n");
    code
}

/// The face of a file with these `names`. `node` takes `module.exports` as the default whatever `__esModule` says.
pub(crate) fn face(name: &str, names: &BTreeSet<String>, node: bool) -> String {
    let mut code = String::new();
    let _ = writeln!(code, "import {};", literal(&factory_name(name)));
    let _ = writeln!(code, "import {{ load as __polygate_load }} from {};", literal(REGISTRY));
    let _ = writeln!(code, "const __polygate_exports = __polygate_load({});", literal(name));
    code.push_str(if node {
        "export default __polygate_exports;\n"
    } else {
        "export default __polygate_exports?.__esModule ? __polygate_exports.default : __polygate_exports;\n"
    });
    for (index, name) in names.iter().filter(|name| *name != "default").enumerate() {
        let name = literal(name);
        let _ = writeln!(code, "const __polygate_{index} = __polygate_exports?.[{name}];");
        let _ = writeln!(code, "export {{ __polygate_{index} as {name} }};");
    }
    code
}

/// A module that stands for one that was not found: requiring it throws.
pub(crate) fn missing(specifier: &str) -> String {
    format!("export const __polygate_missing = {};\n", literal(specifier))
}

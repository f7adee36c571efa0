//! Which file an import means: relative paths, packages, tsconfig paths, and what to say when there is none.

use std::path::{Component, Path, PathBuf};

use oxc_resolver::{
    AliasValue, PackageType, ResolveError, ResolveOptions, Resolver, TsconfigDiscovery, TsconfigOptions,
    TsconfigReferences,
};
use polygate_pipeline::Diagnostic;

use super::unit::{Hint, Import, ImportKind};

/// Modules that Node.js has built in; nothing but a package or a built-in of ours can stand for them.
const NODE_MODULES: &[&str] = &[
    "assert",
    "async_hooks",
    "buffer",
    "child_process",
    "cluster",
    "console",
    "constants",
    "crypto",
    "dgram",
    "diagnostics_channel",
    "dns",
    "domain",
    "events",
    "fs",
    "http",
    "http2",
    "https",
    "inspector",
    "module",
    "net",
    "os",
    "path",
    "perf_hooks",
    "process",
    "punycode",
    "querystring",
    "readline",
    "repl",
    "stream",
    "string_decoder",
    "sys",
    "timers",
    "tls",
    "trace_events",
    "tty",
    "url",
    "util",
    "v8",
    "vm",
    "wasi",
    "worker_threads",
    "zlib",
];

/// A file that an import means.
pub(crate) struct Resolved {
    pub(crate) path: PathBuf,
    pub(crate) hint: Hint,
}

/// What an import means.
pub(crate) enum Meaning {
    File(Resolved),
    /// The package says that there is nothing (`"browser": {"x": false}`).
    Nothing,
}

/// Who imports.
#[derive(Clone, Copy)]
pub(crate) struct Importer<'a> {
    /// Its name, relative to the root.
    pub(crate) name: &'a str,
    /// Its folder.
    pub(crate) directory: &'a Path,
    /// Whether it is the project's own file, and not a package's.
    pub(crate) project: bool,
}

/// The resolvers of one compile.
pub(crate) struct Resolvers {
    root: PathBuf,
    project_import: Resolver,
    project_require: Resolver,
    package_import: Resolver,
    package_require: Resolver,
}

impl Resolvers {
    /// `root` is canonical.
    pub(crate) fn new(root: &Path) -> Self {
        let tsconfig = root.join("tsconfig.json");
        let tsconfig = tsconfig.is_file().then_some(TsconfigDiscovery::Manual(TsconfigOptions {
            config_file: tsconfig,
            references: TsconfigReferences::Auto,
        }));
        let package_import = Resolver::new(options(None, "import"));
        Self {
            root: root.to_owned(),
            project_import: package_import.clone_with_options(options(tsconfig.clone(), "import")),
            project_require: package_import.clone_with_options(options(tsconfig, "require")),
            package_require: package_import.clone_with_options(options(None, "require")),
            package_import,
        }
    }

    /// What `specifier` means in a file.
    pub(crate) fn resolve(
        &self,
        importer: Importer<'_>,
        specifier: &str,
        kind: ImportKind,
    ) -> Result<Meaning, Box<Diagnostic>> {
        let resolver = match (importer.project, kind) {
            (true, ImportKind::Require { .. }) => &self.project_require,
            (true, _) => &self.project_import,
            (false, ImportKind::Require { .. }) => &self.package_require,
            (false, _) => &self.package_import,
        };
        if let Some(name) = specifier.strip_prefix("node:") {
            return Err(Box::new(node_module(importer, name)));
        }
        match resolver.resolve(importer.directory, specifier) {
            Ok(resolution) => {
                let hint = match resolution.package_json().and_then(|package| package.r#type()) {
                    Some(PackageType::Module) => Hint::Module,
                    Some(PackageType::CommonJs) => Hint::CommonJs,
                    None => Hint::None,
                };
                let path = resolution.into_path_buf();
                if importer.project && !self.may_import(specifier, &path) {
                    let message = format!("{specifier:?} leads out of the project");
                    let problem = Diagnostic::error("import-outside-project", message);
                    return Err(Box::new(
                        problem.expected("a file inside the project or an installed package"),
                    ));
                }
                Ok(Meaning::File(Resolved { path, hint }))
            }
            Err(ResolveError::Ignored(_)) => Ok(Meaning::Nothing),
            Err(error) => Err(Box::new(self.explain(importer, specifier, &error))),
        }
    }

    /// Project files import files under the root, and packages wherever Node's rules find them.
    fn may_import(&self, specifier: &str, path: &Path) -> bool {
        path.starts_with(&self.root)
            || (is_package(specifier) && path.components().any(|part| part.as_os_str() == "node_modules"))
    }

    fn explain(&self, importer: Importer<'_>, specifier: &str, error: &ResolveError) -> Diagnostic {
        match error {
            ResolveError::TsconfigNotFound(_)
            | ResolveError::TsconfigLoadFailed { .. }
            | ResolveError::TsconfigCircularExtend(_)
            | ResolveError::TsconfigSelfReference(_) => {
                return Diagnostic::error("invalid-tsconfig", error.to_string()).at("tsconfig.json", None);
            }
            ResolveError::PackagePathNotExported { subpath, .. } => {
                let message = format!("package {:?} does not export {subpath:?}", package_of(specifier));
                return Diagnostic::error("unresolved-import", message);
            }
            _ => {}
        }
        if specifier.starts_with('.') || specifier.starts_with('/') {
            let target = importer.directory.join(specifier);
            let wanted =
                target.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let message = format!("there is no module {specifier:?}");
            let names = siblings(&target);
            return Diagnostic::error("unresolved-import", message)
                .expected("an existing .ts, .js, .mjs, .cjs or .json file")
                .nearest(&wanted, names.iter().map(String::as_str));
        }
        let package = package_of(specifier);
        if NODE_MODULES.contains(&package) {
            return node_module(importer, specifier);
        }
        if specifier.starts_with('#') {
            let message = format!("package.json has no \"imports\" entry for {specifier:?}");
            return Diagnostic::error("unresolved-import", message);
        }
        let dependencies = dependencies(&self.root);
        if self.root.join("node_modules").join(package).is_dir() {
            let message = format!("package {package:?} is installed, but {specifier:?} is not in it");
            return Diagnostic::error("unresolved-import", message);
        }
        if dependencies.iter().any(|name| name == package) {
            let message = format!("package {package:?} is not installed");
            return Diagnostic::error("package-not-installed", message)
                .expected("installed packages: run npm install");
        }
        Diagnostic::error("unresolved-import", format!("there is no package {package:?}"))
            .expected("a package that package.json lists and npm install installed")
            .nearest(package, dependencies.iter().map(String::as_str))
    }

    /// The diagnostic of an entry's or import's place: `import` of `importer`.
    pub(crate) fn at_import(diagnostic: Diagnostic, importer: &str, import: &Import) -> Diagnostic {
        if diagnostic.file.is_some() { diagnostic } else { diagnostic.at(importer, Some(import.span)) }
    }
}

fn node_module(importer: Importer<'_>, name: &str) -> Diagnostic {
    let who = match package_in(importer.name) {
        Some(package) => format!("package {package:?} needs"),
        None => "this file needs".to_owned(),
    };
    Diagnostic::error("node-module", format!("{who} the Node.js module {name:?}, which is not available"))
        .expected("a package or version made for browsers or workers")
}

fn options(tsconfig: Option<TsconfigDiscovery>, import_or_require: &str) -> ResolveOptions {
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    ResolveOptions {
        tsconfig,
        alias: Vec::<(String, Vec<AliasValue>)>::new(),
        alias_fields: vec![list(&["browser"])],
        condition_names: list(&["workerd", "worker", "browser", import_or_require, "module", "default"]),
        extensions: list(&[".ts", ".mts", ".cts", ".tsx", ".js", ".mjs", ".cjs", ".json"]),
        extension_alias: vec![
            (".js".to_owned(), list(&[".js", ".ts", ".tsx"])),
            (".mjs".to_owned(), list(&[".mjs", ".mts"])),
            (".cjs".to_owned(), list(&[".cjs", ".cts"])),
        ],
        main_fields: list(&["browser", "module", "main"]),
        main_files: list(&["index"]),
        node_path: false,
        ..ResolveOptions::default()
    }
}

/// Whether a specifier names a package (or a tsconfig path) and not a file by its place.
fn is_package(specifier: &str) -> bool {
    !specifier.starts_with('.') && !specifier.starts_with('/')
}

/// The package's name in a specifier.
fn package_of(specifier: &str) -> &str {
    let parts = if specifier.starts_with('@') { 2 } else { 1 };
    match specifier.match_indices('/').nth(parts - 1) {
        Some((at, _)) => &specifier[..at],
        None => specifier,
    }
}

/// The package that a module belongs to, by its name in the program.
fn package_in(name: &str) -> Option<&str> {
    let (_, inside) = name.rsplit_once("node_modules/")?;
    Some(package_of(inside))
}

/// Names of modules beside a file that does not exist.
fn siblings(target: &Path) -> Vec<String> {
    let Some(Ok(entries)) = target.parent().map(std::fs::read_dir) else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.path().file_stem().map(|name| name.to_string_lossy().into_owned()))
        .take(1000)
        .collect()
}

/// Names of the packages that the project's package.json lists.
fn dependencies(root: &Path) -> Vec<String> {
    let Ok(text) = std::fs::read_to_string(root.join("package.json")) else { return Vec::new() };
    let Ok(package) = serde_json::from_str::<serde_json::Value>(&text) else { return Vec::new() };
    ["dependencies", "devDependencies", "optionalDependencies"]
        .iter()
        .filter_map(|key| package.get(key)?.as_object())
        .flat_map(|members| members.keys().cloned())
        .collect()
}

/// A file's name in the program: its path relative to the root, with `/`.
pub(crate) fn name_of(root: &Path, path: &Path) -> String {
    let join = |parts: Vec<String>| parts.join("/");
    let text = |part: Component<'_>| part.as_os_str().to_string_lossy().into_owned();
    if let Ok(inside) = path.strip_prefix(root) {
        return join(inside.components().map(text).collect());
    }
    let common = root.components().zip(path.components()).take_while(|(a, b)| a == b).count();
    let mut parts = vec!["..".to_owned(); root.components().count() - common];
    parts.extend(path.components().skip(common).map(text));
    join(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_names() {
        assert_eq!(package_of("lodash/map"), "lodash");
        assert_eq!(package_of("@a/b/c/d"), "@a/b");
        assert_eq!(package_of("@a/b"), "@a/b");
        assert_eq!(package_in("node_modules/x/node_modules/@a/b/c.js"), Some("@a/b"));
        assert_eq!(package_in("modules/x.ts"), None);
    }

    #[test]
    fn names_are_relative_to_the_root() {
        assert_eq!(name_of(Path::new("/p/q"), Path::new("/p/q/modules/a.ts")), "modules/a.ts");
        assert_eq!(name_of(Path::new("/p/q"), Path::new("/p/node_modules/a/i.js")), "../node_modules/a/i.js");
    }
}

//! `polygate new`: a project that runs at once.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

/// The files of a new project; `{{name}}` stands for the project's name.
const FILES: &[(&str, &str)] = &[
    ("config/routes.oas.json", include_str!("../scaffold/config/routes.oas.json")),
    ("config/policies.json", include_str!("../scaffold/config/policies.json")),
    ("modules/hello.ts", include_str!("../scaffold/modules/hello.ts")),
    ("modules/need-key.ts", include_str!("../scaffold/modules/need-key.ts")),
    ("polygate.toml", include_str!("../scaffold/polygate.toml")),
    (".env", include_str!("../scaffold/env")),
    ("tsconfig.json", include_str!("../scaffold/tsconfig.json")),
    ("package.json", include_str!("../scaffold/package.json")),
    (".gitignore", include_str!("../scaffold/gitignore")),
    ("README.md", include_str!("../scaffold/README.md")),
    ("types/runtime/index.d.ts", include_str!("../../../packages/runtime/index.d.ts")),
    ("types/runtime/package.json", include_str!("../../../packages/runtime/package.json")),
];

/// Makes a project in `folder` and gives the text that says what to do next.
///
/// # Errors
/// One line: the folder holds something already, or cannot be written.
pub(crate) fn make(folder: &Path) -> Result<String, String> {
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned());
    let Some(name) = name.filter(|name| is_name(name)) else {
        let shown = folder.display();
        return Err(format!(
            "{shown} is no project name: use letters, digits, - and _, such as shop or ./apis/shop"
        ));
    };
    match std::fs::read_dir(folder) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                return Err(format!(
                    "{} is not empty: choose another name, or remove it first",
                    folder.display()
                ));
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(format!("{} cannot be used: {error}", folder.display())),
    }
    write_all(folder, &name)
        .map_err(|(path, error)| format!("{} cannot be written: {error}", path.display()))?;
    Ok(next_steps(folder))
}

/// A name that is also one of a package and of a host.
fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric()) && name.bytes().all(plain)
}

fn write_all(folder: &Path, name: &str) -> Result<(), (PathBuf, io::Error)> {
    for (file, text) in FILES {
        write(folder.join(file), &text.replace("{{name}}", &name.to_lowercase()))?;
    }
    for (file, schema) in polygate_frontend_native::schemas() {
        write(folder.join("types/schemas").join(file), &format!("{schema:#}\n"))?;
    }
    link_types(folder);
    Ok(())
}

fn write(path: PathBuf, text: &str) -> Result<(), (PathBuf, io::Error)> {
    let parent = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    parent.and_then(|()| std::fs::write(&path, text)).map_err(|error| (path, error))
}

/// What `npm install` would make of the dependency on `types/runtime`, so that editors know the types at once. Where
/// links cannot be made, `npm install` does it.
fn link_types(folder: &Path) {
    #[cfg(unix)]
    {
        let scope = folder.join("node_modules/@polygate");
        let _ = std::fs::create_dir_all(&scope)
            .and_then(|()| std::os::unix::fs::symlink("../../types/runtime", scope.join("runtime")));
    }
    #[cfg(not(unix))]
    let _ = folder;
}

fn next_steps(folder: &Path) -> String {
    let mut text = format!("made {}\n\n", folder.display());
    for (command, what) in [
        (format!("polygate dev {}", folder.display()), "serve it; edit a file and the next request shows it"),
        ("curl -i localhost:8080/hello".to_owned(), "try it"),
        (format!("polygate check {}", folder.display()), "find everything that is wrong with it"),
    ] {
        let _ = writeln!(text, "  {command:<36} {what}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_packages() {
        for name in ["shop", "my-api_2", "9lives"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "-x", "a b", "a/b", ".hidden", "ü"] {
            assert!(!is_name(name), "{name}");
        }
    }
}

//! Sources: where a configuration comes from, and of which kind it is.

use std::fmt;
use std::path::{Path, PathBuf};

/// A source that Polygate understands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The project's folder, absolute.
    pub root: PathBuf,
}

/// Why a source cannot be used; each says in one sentence what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceError {
    /// There is nothing at that path.
    Missing(PathBuf),
    /// It cannot be looked at.
    Unreadable(PathBuf, String),
    /// A folder without a project in it.
    NotAProject(PathBuf),
    /// A file of a kind that is not understood, and what it looks like.
    UnknownKind(PathBuf, Option<&'static str>),
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(path) => write!(
                f,
                "there is no {} here: give the path of a project, or make one with `polygate new NAME`",
                path.display()
            ),
            Self::Unreadable(path, error) => write!(f, "{} cannot be read: {error}", path.display()),
            Self::NotAProject(path) => write!(
                f,
                "{} holds no project: a project is a folder with config/*.oas.json (or .oas.yaml); make one with `polygate new NAME`",
                path.display()
            ),
            Self::UnknownKind(path, looks_like) => {
                write!(f, "{}", path.display())?;
                match looks_like {
                    Some(kind) => write!(f, " looks like {kind}, which this version cannot run yet")?,
                    None => write!(f, " is of no kind that this version understands")?,
                }
                write!(f, ": it runs native projects, folders with config/*.oas.json")
            }
        }
    }
}

impl std::error::Error for SourceError {}

impl Source {
    /// Tells the kind of source by looking at it. A route file or `polygate.toml` stands for its project.
    ///
    /// # Errors
    /// See [`SourceError`].
    pub fn find(path: &Path) -> Result<Self, SourceError> {
        let canonical = path.canonicalize().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => SourceError::Missing(path.to_owned()),
            _ => SourceError::Unreadable(path.to_owned(), error.to_string()),
        })?;
        if canonical.is_dir() {
            return if is_project(&canonical) {
                Ok(Self { root: canonical })
            } else {
                Err(SourceError::NotAProject(path.to_owned()))
            };
        }
        let name =
            canonical.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
        let parent = canonical.parent();
        if name == "polygate.toml"
            && let Some(root) = parent.filter(|root| is_project(root))
        {
            return Ok(Self { root: root.to_owned() });
        }
        if is_route_file(&name)
            && let Some(root) = parent.and_then(Path::parent).filter(|root| is_project(root))
        {
            return Ok(Self { root: root.to_owned() });
        }
        Err(SourceError::UnknownKind(path.to_owned(), looks_like(&canonical, &name)))
    }

    /// The project's name: that of its folder.
    pub fn name(&self) -> String {
        self.root.file_name().map_or_else(|| "project".to_owned(), |name| name.to_string_lossy().into_owned())
    }
}

/// A folder with `config/` in it, or at least the settings of a project.
fn is_project(root: &Path) -> bool {
    root.join("config").is_dir() || root.join("polygate.toml").is_file() || root.join("zuplo.jsonc").is_file()
}

fn is_route_file(name: &str) -> bool {
    [".oas.json", ".oas.yaml", ".oas.yml"].iter().any(|end| name.ends_with(end))
}

/// What a foreign file seems to be, from its name and its first bytes.
fn looks_like(path: &Path, name: &str) -> Option<&'static str> {
    use std::io::Read;
    let mut head = Vec::new();
    let _ = std::fs::File::open(path).and_then(|file| file.take(64 << 10).read_to_end(&mut head));
    let head = String::from_utf8_lossy(&head);
    let has = |needle: &str| head.contains(needle);
    if name.starts_with("kong.") || has("_format_version") {
        Some("a Kong declarative configuration")
    } else if name.starts_with("apisix") || has("#END") {
        Some("an APISIX standalone configuration")
    } else if has("static_resources") {
        Some("an Envoy bootstrap")
    } else if name.starts_with("nginx") || has("proxy_pass ") {
        Some("an nginx configuration")
    } else if name.starts_with("traefik") || has("entryPoints") {
        Some("a Traefik configuration")
    } else if name.starts_with("tyk") || has("api_definition") {
        Some("a Tyk definition")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("polygate-source-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&root).unwrap();
        root.canonicalize().unwrap()
    }

    #[test]
    fn a_project_is_found_by_its_folder_or_its_files() {
        let root = folder("project");
        std::fs::create_dir_all(root.join("config")).unwrap();
        std::fs::write(root.join("config/routes.oas.json"), "{}").unwrap();
        std::fs::write(root.join("polygate.toml"), "").unwrap();
        for path in [root.clone(), root.join("polygate.toml"), root.join("config/routes.oas.json")] {
            assert_eq!(Source::find(&path), Ok(Source { root: root.clone() }), "{}", path.display());
        }
    }

    #[test]
    fn what_is_no_project_is_named() {
        let root = folder("foreign");
        assert_eq!(Source::find(&root), Err(SourceError::NotAProject(root.clone())));
        assert!(matches!(Source::find(&root.join("nothing")), Err(SourceError::Missing(_))));
        std::fs::write(root.join("kong.yml"), "_format_version: \"3.0\"\n").unwrap();
        let error = Source::find(&root.join("kong.yml")).unwrap_err().to_string();
        assert!(
            error.contains("Kong declarative configuration") && error.contains("native projects"),
            "{error}"
        );
        std::fs::write(root.join("notes.txt"), "hello").unwrap();
        assert!(matches!(Source::find(&root.join("notes.txt")), Err(SourceError::UnknownKind(_, None))));
    }
}

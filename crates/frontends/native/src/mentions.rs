//! Names of policies in a project's code: what code may invoke by its name is not unused.
//!
//! Code is not understood here, only searched for the name as a string. A policy that is found so and never invoked
//! costs nothing but a warning that is not given.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::import::ENDINGS;
use crate::source::MAX_FILE;

/// Where a project's code lies.
const FOLDER: &str = "modules";

/// Most files and folders that are looked at; what lies beyond is taken to speak of nobody.
const MAX_ENTRIES: usize = 10_000;

/// Those of `names` that stand as a string in a module of the project.
pub(crate) fn of(root: &Path, names: &[&str]) -> HashSet<String> {
    let mut found = HashSet::new();
    let mut left: Vec<(&str, [String; 3])> = names.iter().map(|name| (*name, spellings(name))).collect();
    let mut folders = vec![root.join(FOLDER)];
    let mut seen = 0;
    while !left.is_empty()
        && let Some(folder) = folders.pop()
    {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            seen += 1;
            if seen > MAX_ENTRIES {
                return found;
            }
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && entry.file_name() != "node_modules" {
                folders.push(entry.path());
            } else if let Some(text) = (!kind.is_dir()).then(|| code(entry.path())).flatten() {
                left.retain(|(name, spellings)| {
                    let mentioned = spellings.iter().any(|spelling| text.contains(spelling.as_str()));
                    if mentioned {
                        found.insert((*name).to_owned());
                    }
                    !mentioned
                });
            }
        }
    }
    found
}

/// A string literal of the name, with each kind of quotes.
fn spellings(name: &str) -> [String; 3] {
    ['"', '\'', '`'].map(|quote| format!("{quote}{name}{quote}"))
}

/// The file's text, when it is a module of a size that is read.
fn code(path: PathBuf) -> Option<String> {
    let known = path.extension().is_some_and(|ending| ENDINGS.iter().any(|known| ending == *known));
    let small = known && std::fs::metadata(&path).is_ok_and(|meta| meta.is_file() && meta.len() <= MAX_FILE);
    small.then(|| std::fs::read(path).ok()).flatten().and_then(|bytes| String::from_utf8(bytes).ok())
}

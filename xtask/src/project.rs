//! Projects that tasks write for the gateways that they run.

use std::fs;
use std::path::Path;

use crate::Outcome;

/// Writes a project's files, by their names within it; what else is there stays.
pub(crate) fn write(folder: &Path, files: &[(&str, &str)]) -> Outcome {
    for (name, text) in files {
        let file = folder.join(name);
        let failed = |error: std::io::Error| format!("{}: {error}", file.display());
        fs::create_dir_all(file.parent().unwrap_or(folder)).map_err(failed)?;
        fs::write(&file, text).map_err(failed)?;
    }
    Ok(())
}

//! The watcher: says when a project's files changed, once for all the events of one save.
//!
//! Watched are the project's folder itself and all folders in it but hidden ones, build outputs and `node_modules`
//! (of which only the top is watched: package managers write a file there when they are done). Editors that write a
//! new file and rename it over the old one change the folder, and so are seen as well.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use notify::event::{EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

/// Silence that ends a save.
const QUIET: Duration = Duration::from_millis(20);

/// A save is taken to be over after this long even without silence.
const MAX_DELAY: Duration = Duration::from_millis(150);

/// Top-level folders of a project that are watched at most.
const MAX_FOLDERS: usize = 256;

/// Folders that hold nothing a deployment is made of.
const IGNORED_FOLDERS: &[&str] = &["target", "dist", "coverage", "tests"];

/// Endings of files that a deployment may be made of.
const ENDINGS: &[&str] = &[
    "ts", "tsx", "mts", "cts", "js", "jsx", "mjs", "cjs", "json", "jsonc", "yaml", "yml", "toml", "lua",
    "wasm", "so", "go", "py", "pem", "crt", "key", "txt", "html",
];

/// A running watcher; dropping it ends it.
pub(crate) struct Watcher {
    signals: Sender<Signal>,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.signals.send(Signal::Stop);
    }
}

enum Signal {
    Changed(PathBuf),
    Failed(String),
    Stop,
}

/// What a watcher says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// These files, relative to the project, were written, made, renamed or removed.
    Changed(Vec<PathBuf>),
    /// Watching failed; changes may go unseen.
    Failed(String),
}

impl Watcher {
    /// Watches the project at `root`; `notice` is called on the watcher's own thread.
    ///
    /// # Errors
    /// When the operating system offers no watch (its limit of watches may be reached).
    pub(crate) fn start(
        root: &Path,
        mut notice: impl FnMut(Notice) + Send + 'static,
    ) -> Result<Self, notify::Error> {
        let (sender, signals) = channel::<Signal>();
        let events = sender.clone();
        let inner = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // A receiver that is gone means that the watcher ends.
            let _ = match event {
                Ok(event) if changes(&event.kind) => {
                    event.paths.into_iter().try_for_each(|path| events.send(Signal::Changed(path)))
                }
                Ok(_) => Ok(()),
                Err(error) => events.send(Signal::Failed(error.to_string())),
            };
        })?;
        let mut folders = Folders { root: root.to_owned(), inner, watched: BTreeSet::new() };
        folders.inner.watch(root, RecursiveMode::NonRecursive)?;
        folders.update()?;
        let spawned = std::thread::Builder::new().name("polygate-watch".to_owned()).spawn(move || {
            while let Some((paths, failures)) = gather(&signals) {
                if let Err(error) = folders.update() {
                    notice(Notice::Failed(error.to_string()));
                }
                for failure in failures {
                    notice(Notice::Failed(failure));
                }
                let root = &folders.root;
                let relevant: BTreeSet<PathBuf> = paths
                    .iter()
                    .filter_map(|path| path.strip_prefix(root).ok())
                    .filter(|path| is_relevant(path, || root.join(path).is_dir()))
                    .map(Path::to_owned)
                    .collect();
                if !relevant.is_empty() {
                    notice(Notice::Changed(relevant.into_iter().collect()));
                }
            }
        });
        spawned.map_err(notify::Error::io)?;
        Ok(Self { signals: sender })
    }
}

/// The watched folders of a project.
struct Folders {
    root: PathBuf,
    inner: RecommendedWatcher,
    watched: BTreeSet<PathBuf>,
}

impl Folders {
    /// Watches folders that are new and forgets those that are gone.
    fn update(&mut self) -> Result<(), notify::Error> {
        let found: BTreeSet<PathBuf> = std::fs::read_dir(&self.root)
            .map(|entries| {
                let folders = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir());
                folders.filter(|path| is_watched_folder(path)).take(MAX_FOLDERS).collect()
            })
            .unwrap_or_default();
        for gone in self.watched.difference(&found) {
            // The watch went with the folder.
            let _ = self.inner.unwatch(gone);
        }
        self.watched.retain(|path| found.contains(path));
        for path in found {
            if !self.watched.contains(&path) {
                let node_modules = path.ends_with("node_modules");
                let mode = if node_modules { RecursiveMode::NonRecursive } else { RecursiveMode::Recursive };
                self.inner.watch(&path, mode)?;
                self.watched.insert(path);
            }
        }
        Ok(())
    }
}

fn is_watched_folder(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    !name.starts_with('.') && !IGNORED_FOLDERS.contains(&&*name)
}

fn changes(kind: &EventKind) -> bool {
    match kind {
        EventKind::Access(_) => false,
        // Reading a file may touch its times; changed permissions are worth a look.
        EventKind::Modify(ModifyKind::Metadata(what)) => {
            matches!(what, notify::event::MetadataKind::Permissions | notify::event::MetadataKind::Ownership)
        }
        _ => true,
    }
}

/// Whether a path, relative to the root, may be part of a deployment.
fn is_relevant(path: &Path, is_folder: impl FnOnce() -> bool) -> bool {
    let Some(name) = path.file_name().map(|name| name.to_string_lossy()) else { return false };
    let in_node_modules = path.components().any(|part| part == Component::Normal("node_modules".as_ref()));
    if in_node_modules {
        // The folder itself came or went; or a file that package managers write once all packages are in place.
        return path.as_os_str() == "node_modules"
            || matches!(&*name, ".package-lock.json" | ".yarn-state.yml" | ".modules.yaml");
    }
    if name.starts_with(".env") {
        return !name.ends_with('~') && !name.ends_with(".swp");
    }
    if name.starts_with(['.', '#']) || name.ends_with('~') {
        return false;
    }
    match path.extension() {
        Some(ending) => ENDINGS.contains(&&*ending.to_string_lossy().to_lowercase()),
        // A folder that was made or renamed; editors' temporary files have no ending either.
        None => is_folder(),
    }
}

/// Waits for a change and then for silence. `None` when the watcher is gone.
fn gather(signals: &Receiver<Signal>) -> Option<(Vec<PathBuf>, Vec<String>)> {
    let mut paths = Vec::new();
    let mut failures = Vec::new();
    let mut take = |signal| {
        match signal {
            Signal::Changed(path) => paths.push(path),
            Signal::Failed(error) => failures.push(error),
            Signal::Stop => return None,
        }
        Some(())
    };
    take(signals.recv().ok()?)?;
    let end = Instant::now() + MAX_DELAY;
    loop {
        let left = end.saturating_duration_since(Instant::now()).min(QUIET);
        if left.is_zero() {
            break;
        }
        match signals.recv_timeout(left) {
            Ok(signal) => take(signal)?,
            Err(RecvTimeoutError::Timeout) => break,
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
    Some((paths, failures))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("polygate-watch-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(root.join("modules")).unwrap();
        root.canonicalize().unwrap()
    }

    fn watch(root: &Path) -> (Watcher, Receiver<Notice>) {
        let (sender, notices) = channel();
        let watcher = Watcher::start(root, move |notice| drop(sender.send(notice))).unwrap();
        (watcher, notices)
    }

    /// What changed until nothing more is heard.
    fn heard(notices: &Receiver<Notice>) -> Vec<String> {
        let mut all = BTreeSet::new();
        let mut wait = Duration::from_secs(5);
        while let Ok(notice) = notices.recv_timeout(wait) {
            let Notice::Changed(paths) = notice else { panic!("{notice:?}") };
            all.extend(paths.iter().map(|path| path.display().to_string()));
            wait = Duration::from_millis(300);
        }
        all.into_iter().collect()
    }

    fn silent(notices: &Receiver<Notice>) -> bool {
        notices.recv_timeout(Duration::from_millis(300)).is_err()
    }

    #[test]
    fn saves_are_heard_whichever_way_the_editor_writes() {
        let root = folder("save");
        let (_watcher, notices) = watch(&root);
        let file = root.join("modules/a.ts");
        std::fs::write(&file, "1").unwrap();
        std::fs::write(&file, "2").unwrap();
        assert_eq!(heard(&notices), ["modules/a.ts"]);
        // Written aside and renamed over the old one.
        std::fs::write(root.join("modules/.a.ts.swp"), "3").unwrap();
        std::fs::rename(root.join("modules/.a.ts.swp"), &file).unwrap();
        assert_eq!(heard(&notices), ["modules/a.ts"]);
    }

    #[test]
    fn new_folders_are_watched_and_noise_is_not_heard() {
        let root = folder("folders");
        let (watcher, notices) = watch(&root);
        std::fs::create_dir_all(root.join("node_modules/zod")).unwrap();
        std::fs::create_dir(root.join("config")).unwrap();
        assert_eq!(heard(&notices), ["config", "node_modules"]);
        std::fs::write(root.join("config/routes.oas.json"), "{}").unwrap();
        assert_eq!(heard(&notices), ["config/routes.oas.json"]);
        std::fs::write(root.join("node_modules/zod/index.js"), "").unwrap();
        std::fs::write(root.join("out.log"), "x").unwrap();
        assert!(silent(&notices));
        std::fs::write(root.join(".env"), "A=1").unwrap();
        assert_eq!(heard(&notices), [".env"]);
        drop(watcher);
        // The thread ends, and its end of the channel with it.
        assert_eq!(notices.recv_timeout(Duration::from_secs(5)), Err(RecvTimeoutError::Disconnected));
    }

    #[test]
    fn what_matters_is_told_from_what_does_not() {
        for path in [
            "modules/a.ts",
            "polygate.toml",
            ".env.local",
            "config/x.oas.yaml",
            "node_modules/.package-lock.json",
        ] {
            assert!(is_relevant(Path::new(path), || false), "{path}");
        }
        assert!(is_relevant(Path::new("modules"), || true));
        for path in
            ["modules/a.ts~", "modules/.#a.ts", "modules/4913", "a.log", "README.md", "node_modules/x/a.js"]
        {
            assert!(!is_relevant(Path::new(path), || false), "{path}");
        }
    }

    #[test]
    fn endless_writing_does_not_put_a_reload_off_for_ever() {
        let (sender, signals) = channel();
        let writer = std::thread::spawn(move || {
            let end = Instant::now() + Duration::from_millis(600);
            while Instant::now() < end && sender.send(Signal::Changed("x".into())).is_ok() {
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let start = Instant::now();
        assert!(gather(&signals).is_some());
        assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
        drop(signals);
        writer.join().unwrap();
    }
}

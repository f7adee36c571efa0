//! Says when files of certificates may have changed, in whichever way they are replaced.
//!
//! Watched are folders, not files: that of each file and, where a path leads through symbolic links, that of each link.
//! So a file that is written, one that is renamed over the old one, and a link that is swapped (as Kubernetes does it
//! with `..data`) are all seen. Where watching does not work, on network file systems for instance, a look once a minute
//! does.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

/// Silence that ends a change: certificate and key are mostly written one after the other.
const QUIET: Duration = Duration::from_millis(100);

/// A change is taken to be over after this long even without silence.
const MAX_DELAY: Duration = Duration::from_secs(2);

/// How often the files are looked at without any sign.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Symbolic links that one path is followed through.
const MAX_LINKS: usize = 32;

/// A running watch; dropping it ends it.
pub(crate) struct CertificateWatch {
    signals: Sender<Signal>,
}

enum Signal {
    /// Something happened in a watched folder.
    Event,
    /// These are the files from now on.
    Files(Vec<PathBuf>),
    Stop,
}

impl CertificateWatch {
    /// Starts a watch of no file; `changed` is called on its own thread.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(crate) fn start(changed: impl FnMut() + Send + 'static) -> std::io::Result<Self> {
        let (sender, signals) = channel();
        let events = sender.clone();
        std::thread::Builder::new()
            .name("polygate-certificates".to_owned())
            .spawn(move || run(&signals, events, changed))?;
        Ok(Self { signals: sender })
    }

    /// Watches these files and no others, and says once that they may have changed.
    pub(crate) fn watch(&self, files: Vec<PathBuf>) {
        // Its thread ends with the last watch only.
        let _ = self.signals.send(Signal::Files(files));
    }
}

impl Drop for CertificateWatch {
    fn drop(&mut self) {
        let _ = self.signals.send(Signal::Stop);
    }
}

fn run(signals: &Receiver<Signal>, events: Sender<Signal>, mut changed: impl FnMut()) {
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // An error may mean that something was missed.
        if event.is_ok_and(|event| matches!(event.kind, notify::EventKind::Access(_))) {
            return;
        }
        let _ = events.send(Signal::Event);
    });
    let mut folders = Folders { inner: watcher.ok(), watched: BTreeSet::new() };
    let mut files = Vec::new();
    loop {
        match signals.recv_timeout(LOOK_EVERY) {
            Ok(Signal::Files(new)) => {
                files = new;
                folders.update(&files);
                // What changed between their reading and this has left no sign.
                changed();
            }
            Ok(Signal::Event) => {
                if !settle(signals, &mut files) {
                    return;
                }
                // Links may lead elsewhere now.
                folders.update(&files);
                changed();
            }
            Err(RecvTimeoutError::Timeout) if !files.is_empty() => {
                folders.update(&files);
                changed();
            }
            Err(RecvTimeoutError::Timeout) => {}
            Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Waits for silence. False when the watch is to end.
fn settle(signals: &Receiver<Signal>, files: &mut Vec<PathBuf>) -> bool {
    let end = Instant::now() + MAX_DELAY;
    loop {
        let left = end.saturating_duration_since(Instant::now()).min(QUIET);
        if left.is_zero() {
            return true;
        }
        match signals.recv_timeout(left) {
            Ok(Signal::Event) => {}
            Ok(Signal::Files(new)) => *files = new,
            Err(RecvTimeoutError::Timeout) => return true,
            Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
        }
    }
}

/// The folders that are watched.
struct Folders {
    /// `None` where the operating system offers no watch.
    inner: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
}

impl Folders {
    fn update(&mut self, files: &[PathBuf]) {
        let Some(inner) = &mut self.inner else { return };
        let wanted: BTreeSet<PathBuf> = files.iter().flat_map(|file| folders_of(file)).collect();
        for gone in self.watched.difference(&wanted) {
            // The watch may have gone with the folder.
            let _ = inner.unwatch(gone);
        }
        self.watched.retain(|folder| wanted.contains(folder));
        for folder in wanted {
            // One that was removed and made again has lost its watch; asking twice does no harm.
            if inner.watch(&folder, RecursiveMode::NonRecursive).is_ok() {
                self.watched.insert(folder);
            }
        }
    }
}

/// The folders in which a path can come to mean another file.
fn folders_of(file: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let mut path = file.to_owned();
    for _ in 0..MAX_LINKS {
        folders.extend(path.parent().map(Path::to_owned));
        let Some((link, target, rest)) = first_link(&path) else { break };
        let Some(folder) = link.parent() else { break };
        folders.push(folder.to_owned());
        path = folder.join(target).join(rest);
    }
    folders
}

/// The first symbolic link that a path leads through, where that leads, and what follows it in the path.
fn first_link(path: &Path) -> Option<(PathBuf, PathBuf, PathBuf)> {
    let mut walked = PathBuf::new();
    let mut parts = path.components();
    while let Some(part) = parts.next() {
        walked.push(part);
        if matches!(part, Component::Normal(_))
            && let Ok(target) = std::fs::read_link(&walked)
        {
            return Some((walked, target, parts.as_path().to_owned()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    struct Watched {
        folder: tempfile::TempDir,
        changes: Receiver<()>,
        watch: CertificateWatch,
    }

    impl Watched {
        fn new() -> Self {
            let (sender, changes) = channel();
            let watch = CertificateWatch::start(move || sender.send(()).unwrap_or(())).unwrap();
            Self { folder: tempfile::tempdir().unwrap(), changes, watch }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn write(&self, name: &str) {
            std::fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
            std::fs::write(self.path(name), name).unwrap();
        }

        /// Watches a file, and waits until the watch is there.
        fn watch(&self, name: &str) {
            self.watch.watch(vec![self.path(name)]);
            self.changes.recv_timeout(Duration::from_secs(10)).expect("the watch is there");
        }

        fn hears(&self, change: impl FnOnce()) {
            change();
            self.changes.recv_timeout(Duration::from_secs(10)).expect("the change is heard");
            while self.changes.recv_timeout(Duration::from_millis(300)).is_ok() {}
        }
    }

    #[test]
    fn files_are_replaced_in_many_ways() {
        let watched = Watched::new();
        watched.write("tls/cert.pem");
        watched.watch("tls/cert.pem");
        watched.hears(|| watched.write("tls/cert.pem"));
        watched.write("new.pem");
        watched.hears(|| std::fs::rename(watched.path("new.pem"), watched.path("tls/cert.pem")).unwrap());
        watched.hears(|| std::fs::remove_file(watched.path("tls/cert.pem")).unwrap());
        watched.hears(|| watched.write("tls/cert.pem"));
    }

    #[test]
    fn links_are_swapped_as_kubernetes_does_it() {
        let watched = Watched::new();
        watched.write("mount/..one/tls.crt");
        symlink("..one", watched.path("mount/..data")).unwrap();
        symlink("..data/tls.crt", watched.path("mount/tls.crt")).unwrap();
        // And the configuration names the mount through a link of its own.
        symlink("mount", watched.path("live")).unwrap();
        watched.watch("live/tls.crt");
        for name in ["..two", "..three"] {
            watched.write(&format!("mount/{name}/tls.crt"));
            while watched.changes.recv_timeout(Duration::from_millis(300)).is_ok() {}
            symlink(name, watched.path("mount/..data_tmp")).unwrap();
            watched.hears(|| {
                std::fs::rename(watched.path("mount/..data_tmp"), watched.path("mount/..data")).unwrap();
            });
        }
        watched.write("other/tls.crt");
        symlink("other", watched.path("next")).unwrap();
        watched.hears(|| std::fs::rename(watched.path("next"), watched.path("live")).unwrap());
        watched.hears(|| watched.write("other/tls.crt"));
    }

    #[test]
    fn a_path_of_links_in_a_circle_comes_to_an_end() {
        let folder = tempfile::tempdir().unwrap();
        symlink("b", folder.path().join("a")).unwrap();
        symlink("a", folder.path().join("b")).unwrap();
        assert!(folders_of(&folder.path().join("a")).len() <= 2 * MAX_LINKS);
    }
}

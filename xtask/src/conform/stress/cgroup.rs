//! A control group with a limit of memory, where we may make one: version 2 or 1, beneath the root.

use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = "/sys/fs/cgroup";

/// A control group of our own. It is removed when it is dropped, after its processes have ended.
pub(super) struct Cgroup {
    folder: PathBuf,
    is_second: bool,
}

impl Cgroup {
    /// One whose processes have so many bytes together. The answer says why not, when it cannot be made.
    pub(super) fn make(bytes: u64) -> Result<Self, String> {
        let root = Path::new(ROOT);
        let controllers = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
        let is_second = controllers.split_whitespace().any(|name| name == "memory");
        let parent = if is_second { root.to_owned() } else { root.join("memory") };
        let folder = parent.join(format!("polygate-conform-{}", std::process::id()));
        fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let cgroup = Self { folder, is_second };
        let file = cgroup.folder.join(if is_second { "memory.max" } else { "memory.limit_in_bytes" });
        fs::write(&file, bytes.to_string()).map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(cgroup)
    }

    /// Where a process writes its id to be in it.
    pub(super) fn processes(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }

    /// How many of its processes the kernel has killed because they had too much.
    pub(super) fn killed(&self) -> Option<u64> {
        let file = if self.is_second { "memory.events" } else { "memory.oom_control" };
        let text = fs::read_to_string(self.folder.join(file)).ok()?;
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The kernel may need a moment to forget the last process.
        for _ in 0..50 {
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

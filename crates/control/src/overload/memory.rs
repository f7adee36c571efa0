//! How much memory is used, of how much.
//!
//! Without a setting the cap is what the process's control group may have. Its usage is counted as the kernel does before it
//! kills: buffers of sockets are part of it, cached files that can be dropped are not. With a cap of the operator's own,
//! or where no group has one, it is the process's resident memory that counts.

use std::fs;
use std::path::{Path, PathBuf};

use polygate_pipeline::ByteSize;

use crate::state::resident_memory;

/// Share of the machine's memory that is the cap when nothing else is.
const OF_MACHINE: f64 = 0.8;

/// Looks after the memory of the process.
pub(super) struct Memory {
    group: Option<Group>,
    machine: u64,
}

/// A control group with a limit.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    folder: PathBuf,
    files: Files,
    limit: u64,
}

/// What a version of control groups calls things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Files {
    limit: &'static str,
    usage: &'static str,
    /// In `memory.stat`: cached files that have not been used of late.
    droppable: &'static str,
}

const V2: Files = Files { limit: "memory.max", usage: "memory.current", droppable: "inactive_file " };
const V1: Files = Files {
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    droppable: "total_inactive_file ",
};

impl Memory {
    pub(super) fn new() -> Self {
        let machine = machine().map_or(u64::MAX, |total| (total as f64 * OF_MACHINE) as u64);
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        // A limit above what the machine has is none.
        let group = group(&groups, Path::new("/sys/fs/cgroup")).filter(|group| group.limit < machine);
        Self { group, machine }
    }

    /// Bytes that are used, and how many there are.
    pub(super) fn read(&self, setting: Option<ByteSize>) -> (u64, u64) {
        let resident = || resident_memory().unwrap_or(0);
        match (setting, &self.group) {
            (Some(cap), _) => (resident(), cap.bytes()),
            (None, Some(group)) => (group.usage().unwrap_or_else(resident), group.limit),
            (None, None) => (resident(), self.machine),
        }
    }
}

impl Group {
    fn usage(&self) -> Option<u64> {
        let usage: u64 = fs::read_to_string(self.folder.join(self.files.usage)).ok()?.trim().parse().ok()?;
        let stat = fs::read_to_string(self.folder.join("memory.stat")).unwrap_or_default();
        let droppable = stat.lines().find_map(|line| line.strip_prefix(self.files.droppable));
        Some(usage.saturating_sub(droppable.and_then(|bytes| bytes.trim().parse().ok()).unwrap_or(0)))
    }
}

/// The group of a process with the lowest limit, its own or one above it. `groups` is what `/proc/self/cgroup` says.
fn group(groups: &str, mount: &Path) -> Option<Group> {
    let mut lowest: Option<Group> = None;
    for line in groups.lines() {
        // `ID:CONTROLLERS:PATH`; version 2 names no controllers.
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, files) = match controllers {
            "" => (mount.to_owned(), V2),
            _ if controllers.split(',').any(|name| name == "memory") => (mount.join("memory"), V1),
            _ => continue,
        };
        // Within a container the path may be the host's, and its own group is what is mounted.
        let mut folder = root.join(path.trim_start_matches('/'));
        loop {
            let limit = fs::read_to_string(folder.join(files.limit)).ok();
            let limit = limit.and_then(|text| text.trim().parse::<u64>().ok());
            if let Some(limit) =
                limit.filter(|limit| lowest.as_ref().is_none_or(|found| *limit < found.limit))
            {
                lowest = Some(Group { folder: folder.clone(), files, limit });
            }
            if folder == root || !folder.pop() {
                break;
            }
        }
    }
    lowest
}

/// All memory of the machine, in bytes.
fn machine() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn the_lowest_limit_of_a_group_and_those_above_it_counts() {
        let mount = tempfile::tempdir().unwrap();
        let root = mount.path();
        write(root, "a/memory.max", "1000000\n");
        write(root, "a/memory.current", "900000\n");
        write(root, "a/memory.stat", "anon 1\nfile 2\ninactive_file 300000\nactive_file 5\n");
        write(root, "a/b/memory.max", "max\n");
        let found = group("0::/a/b\n", root).unwrap();
        assert_eq!((&found.folder, found.limit, found.usage()), (&root.join("a"), 1_000_000, Some(600_000)));
        write(root, "a/b/memory.max", "4000\n");
        assert_eq!(group("0::/a/b\n", root).unwrap().limit, 4000);
        assert_eq!(group("0::/\n", root), None);
    }

    #[test]
    fn the_older_version_is_read_and_a_container_sees_its_own_group() {
        let mount = tempfile::tempdir().unwrap();
        let root = mount.path();
        write(root, "memory/memory.limit_in_bytes", "5000\n");
        write(root, "memory/memory.usage_in_bytes", "4000\n");
        write(root, "memory/memory.stat", "inactive_file 1\ntotal_inactive_file 500\n");
        // The path is the host's: nothing is there in the container.
        let found = group("5:cpu:/x\n4:memory:/docker/0123\n0::/\n", root).unwrap();
        assert_eq!((found.limit, found.usage()), (5000, Some(3500)));
    }

    #[test]
    fn this_machine_has_memory() {
        let (used, most) = Memory::new().read(None);
        assert!(used > 0 && most > used, "{used} of {most}");
        assert_eq!(Memory::new().read(Some(ByteSize::mib(3))).1, 3 << 20);
    }
}

//! File descriptors: every connection takes one, and many systems start processes with 1,024.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the process's limit of open files as far as it may.
pub(crate) fn raise() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // When it may not, what we have is what there is.
    let _ = setrlimit(Resource::Nofile, wanted);
}

/// How many the process may have open; `None` means no limit.
pub(crate) fn limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// How many the process has open.
pub(crate) fn open() -> Option<u64> {
    let folder = "/proc/self/fd";
    // Since Linux 6.2 the folder's size is their number; before it is 0.
    match std::fs::metadata(folder).ok()?.len() {
        0 => Some(std::fs::read_dir(folder).ok()?.count() as u64),
        open => Some(open),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn open_descriptors_are_counted() {
        let before = super::open().unwrap();
        // Other tests open and close some meanwhile.
        let many: Vec<_> = (0..500).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        let counted = super::open().unwrap();
        assert!(counted >= before + 300, "{counted} after {before}");
        drop(many);
    }

    #[test]
    fn the_limit_is_raised_to_what_is_allowed() {
        super::raise();
        let maximum = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
        assert_eq!(super::limit(), maximum);
    }
}

//! File descriptors: every connection takes one, and many systems start processes with 1,024.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the process's limit of open files as far as it may. Says how many it has then; `None` means no limit.
pub(crate) fn raise() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => limit.maximum,
        // What we have is what there is; connections beyond it wait to be accepted.
        Err(_) => limit.current,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_limit_is_raised_to_what_is_allowed() {
        let raised = super::raise();
        assert_eq!(raised, rustix::process::getrlimit(rustix::process::Resource::Nofile).current);
    }
}

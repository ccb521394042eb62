//! The limit of open files, which also bounds the table of direct descriptors of each ring.

use std::io;

use rustix::process::{Resource, getrlimit};

/// Raises the process's limit of open files to its hard limit (getrlimit(2)); returns the limit
/// then.
///
/// # Errors
/// The kernel refused.
pub fn raise_open_files() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the call writes one `rlimit`, which lives until it returns.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the call reads one `rlimit`, which lives until it returns.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit.rlim_cur)
}

/// The limit of open files as it is (getrlimit(2)).
#[must_use]
pub fn open_files() -> u64 {
    // Without a number there is none.
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raising_twice_changes_nothing_more() {
        let first = raise_open_files().expect("a hard limit can be taken up");
        assert_eq!(raise_open_files().expect("once more"), first);
    }
}

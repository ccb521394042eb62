//! Memory that may be locked: the kernel counts what rings share with their process as such.

use std::fs;

use rustix::process::{Resource, getrlimit};

/// Whoever has it is not counted (capabilities(7), `CAP_IPC_LOCK`).
const IPC_LOCK: u32 = 14;

/// Where users are those of the machine itself (user_namespaces(7), "uid_map").
const ALL_USERS: [u64; 3] = [0, 0, u32::MAX as u64];

/// The kernel from which on what a ring shares with its process is counted.
const COUNTED_FROM: (u32, u32) = (6, 14);

/// What of memory may be locked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LockedMemory {
    /// The soft limit (getrlimit(2), `RLIMIT_MEMLOCK`), which the gateway leaves as it is. It is
    /// for all processes of a user together.
    pub limit: u64,
    /// Whether it does not count for this process.
    pub is_free: bool,
    /// Major and minor number of the kernel, if they can be read.
    pub kernel: Option<(u32, u32)>,
}

/// How so much memory of rings stands to what may be locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locking {
    /// It fits.
    Fits,
    /// It is more than the limit, which does not count for this process.
    Free,
    /// It is more than the limit, and this kernel does not count it.
    Uncounted,
    /// It is more than there may be.
    TooMuch,
}

impl LockedMemory {
    /// As it is here.
    #[must_use]
    pub fn here() -> Self {
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        let map = text("/proc/self/uid_map");
        let map: Vec<u64> = map.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        Self {
            // Without a number there is none.
            limit: getrlimit(Resource::Memlock).current.unwrap_or(u64::MAX),
            // In a user namespace the capability does not count here.
            is_free: map == ALL_USERS && has_capability(&text("/proc/self/status"), IPC_LOCK),
            kernel: version(&text("/proc/sys/kernel/osrelease")),
        }
    }

    /// How rings of so many bytes stand to it.
    #[must_use]
    pub fn locking(&self, bytes: u64) -> Locking {
        match self.kernel {
            _ if bytes <= self.limit => Locking::Fits,
            _ if self.is_free => Locking::Free,
            Some(kernel) if kernel < COUNTED_FROM => Locking::Uncounted,
            _ => Locking::TooMuch,
        }
    }
}

/// Whether a process has a capability (proc_pid_status(5), `CapEff`).
fn has_capability(status: &str, number: u32) -> bool {
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = set.and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
    set.is_some_and(|set| set >> number & 1 == 1)
}

/// The first two numbers of a release, such as `6.8.0-45-generic`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    let mut next = || numbers.next()?.parse().ok();
    Some((next()?, next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_the_limit_is_too_much_for_whoever_is_counted() {
        let of = |is_free, kernel| LockedMemory { limit: 4096, is_free, kernel };
        assert_eq!(of(false, Some((6, 18))).locking(4096), Locking::Fits);
        assert_eq!(of(false, Some((6, 18))).locking(4097), Locking::TooMuch);
        assert_eq!(of(false, None).locking(4097), Locking::TooMuch);
        assert_eq!(of(false, Some((6, 8))).locking(4097), Locking::Uncounted);
        assert_eq!(of(true, Some((6, 18))).locking(4097), Locking::Free);
    }

    #[test]
    fn capabilities_are_read() {
        let status = "Name:\tx\nCapEff:\t0000000000004000\nSeccomp:\t0\n";
        assert!(has_capability(status, IPC_LOCK));
        assert!(!has_capability(status, IPC_LOCK + 1));
        assert!(!has_capability("", IPC_LOCK) && !has_capability("CapEff:\tx", IPC_LOCK));
    }

    #[test]
    fn releases_are_read() {
        for (text, expected) in [
            ("6.8.0-45-generic", Some((6, 8))),
            ("6.14-rc1", Some((6, 14))),
            ("6", None),
            ("", None),
            ("x.y", None),
            ("99999999999.1", None),
        ] {
            assert_eq!(version(text), expected, "{text}");
        }
    }
}

//! Memory that may be locked: the kernel counts that of rings as such.

use rustix::process::{Resource, getrlimit};

use super::machine_files::MachineFiles;
use super::needs::Needs;
use super::symptom::Symptom;
use crate::bill::Owner;
use crate::kernel::Driver;

/// Whoever has it is not counted (capabilities(7), `CAP_IPC_LOCK`).
const IPC_LOCK: u32 = 14;

/// Where users are those of the machine itself (user_namespaces(7), "uid_map").
const ALL_USERS: [u64; 3] = [0, 0, u32::MAX as u64];

/// The kernel from which on what a ring shares with its process is counted.
const COUNTED_FROM: (u32, u32) = (6, 14);

/// The ring of the control thread, of 64 entries: a page of them, and one of completions.
const CONTROL_RING: u64 = 2 * 4096;

/// What of memory may be locked.
#[derive(Debug, Default)]
pub(super) struct LockedReadings {
    /// The soft limit (getrlimit(2), `RLIMIT_MEMLOCK`), which the gateway leaves as it is.
    pub(super) limit: u64,
    pub(super) is_free: bool,
    /// Major and minor number of the kernel.
    pub(super) kernel: Option<(u32, u32)>,
}

impl LockedReadings {
    /// As it is here, and in these files.
    pub(super) fn read(files: &MachineFiles<'_>) -> Self {
        // In a user namespace the capability does not count here.
        let is_outside = files.numbers("/proc/self/uid_map") == Some(ALL_USERS);
        let release = files.text("/proc/sys/kernel/osrelease");
        Self {
            // Without a number there is none.
            limit: getrlimit(Resource::Memlock).current.unwrap_or(u64::MAX),
            is_free: is_outside && files.has_capability(IPC_LOCK),
            kernel: release.as_deref().and_then(version),
        }
    }

    /// By epoll nothing is locked.
    pub(super) fn examine(&self, needs: &Needs) -> Option<Symptom> {
        if needs.way.driver != Driver::IoUring {
            return None;
        }
        let wanted = wanted(needs);
        let it = Symptom::counted("memory that may be locked", Some(self.limit), wanted);
        if !it.is_short() {
            return Some(it);
        }
        if self.is_free {
            return Some(it.noted("the limit does not count for this process (CAP_IPC_LOCK)"));
        }
        if self.kernel.is_some_and(|kernel| kernel < COUNTED_FROM) {
            let (major, minor) = COUNTED_FROM;
            return Some(it.noted(format!("Linux counts the rings from {major}.{minor} on")));
        }
        let kib = wanted.div_ceil(1024);
        let changes = [
            format!("as root, in the shell that starts it: ulimit -l {kib}"),
            format!("systemd, in [Service]: LimitMEMLOCK={wanted}"),
            format!("docker, podman: --ulimit memlock={wanted}"),
            format!(
                "Kubernetes: LimitMEMLOCK={wanted} in the unit of the node's containerd or CRI-O; \
                 a pod cannot say it"
            ),
            "or, in the configuration: driver = \"epoll\"".into(),
        ];
        let why = "the kernel counts what rings share with the process as locked, for all \
                   processes of a user together";
        Some(it.remedy(&changes, why))
    }
}

/// Bytes of all rings.
fn wanted(needs: &Needs) -> u64 {
    let is_ring = |owner| {
        matches!(owner, Owner::SubmissionQueue | Owner::CompletionQueue | Owner::ProvidedRing)
    };
    let lines = needs.bill.lines().iter().filter(|line| is_ring(line.owner));
    let control = if needs.has_admin { CONTROL_RING } else { 0 };
    lines.map(|line| line.bytes).sum::<u64>() * needs.shards as u64 + control
}

/// The first two numbers of a release, such as `6.8.0-45-generic`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    let mut next = || numbers.next()?.parse().ok();
    Some((next()?, next()?))
}

#[cfg(test)]
mod tests {
    use super::super::symptom::Verdict;
    use super::super::tests::needs;
    use super::*;

    #[test]
    fn rings_are_locked_of_whoever_is_not_free_of_it() {
        let two = needs(Driver::IoUring, 2, 32_768);
        // As measured on Linux 6.18.
        assert_eq!(wanted(&two), 2584 << 10);
        let of = |limit, is_free, kernel| {
            let readings = LockedReadings { limit, is_free, kernel };
            readings.examine(&two).expect("by a ring it counts").verdict()
        };
        assert_eq!(of(2584 << 10, false, Some((6, 18))), Verdict::Fits);
        assert_eq!(of(2583 << 10, false, Some((6, 18))), Verdict::Short);
        assert_eq!(of(2583 << 10, false, None), Verdict::Short);
        assert_eq!(of(2583 << 10, false, Some((6, 8))), Verdict::Noted);
        assert_eq!(of(0, true, Some((6, 18))), Verdict::Noted);
        let by_epoll = needs(Driver::Epoll, 2, 32_768);
        assert!(LockedReadings::default().examine(&by_epoll).is_none());
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

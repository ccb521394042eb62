//! Memory that may be locked: the kernel counts that of rings as such.

use super::needs::Needs;
use super::symptom::Symptom;
use crate::gateway;
use crate::kernel::{Driver, LockedMemory, Locking};

impl LockedMemory {
    /// By epoll nothing is locked.
    pub(super) fn examine(&self, needs: &Needs) -> Option<Symptom> {
        if needs.way.driver != Driver::IoUring {
            return None;
        }
        let wanted = gateway::bytes_of_rings(&needs.bill, needs.shards, needs.has_admin);
        let it = Symptom::counted("memory that may be locked", Some(self.limit), wanted);
        match self.locking(wanted) {
            Locking::Fits => return Some(it),
            Locking::Free => {
                return Some(it.noted("the limit does not count for this process (CAP_IPC_LOCK)"));
            }
            Locking::Uncounted => return Some(it.noted("Linux counts the rings from 6.14 on")),
            Locking::TooMuch => {}
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

#[cfg(test)]
mod tests {
    use super::super::symptom::Verdict;
    use super::super::tests::needs;
    use super::*;

    #[test]
    fn rings_are_locked_of_whoever_is_not_free_of_it() {
        let two = needs(Driver::IoUring, 2, 32_768);
        // As measured on Linux 6.18.
        assert_eq!(gateway::bytes_of_rings(&two.bill, two.shards, false), 2584 << 10);
        let of = |limit, is_free, kernel| {
            let readings = LockedMemory { limit, is_free, kernel };
            readings.examine(&two).expect("by a ring it counts").verdict()
        };
        assert_eq!(of(2584 << 10, false, Some((6, 18))), Verdict::Fits);
        assert_eq!(of(2583 << 10, false, Some((6, 18))), Verdict::Short);
        assert_eq!(of(2583 << 10, false, None), Verdict::Short);
        assert_eq!(of(2583 << 10, false, Some((6, 8))), Verdict::Noted);
        assert_eq!(of(0, true, Some((6, 18))), Verdict::Noted);
        let by_epoll = needs(Driver::Epoll, 2, 32_768);
        assert!(LockedMemory::default().examine(&by_epoll).is_none());
    }
}

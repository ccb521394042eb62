//! How shards ask the kernel, and why by nothing better.

use super::machine_files::MachineFiles;
use super::needs::{Needs, Way};
use super::symptom::Symptom;
use crate::config::DriverChoice;
use crate::kernel::{ALLOWED_BY_SYSCTL, ALLOWED_IN_CONTAINERS, Driver, MINIMUM_KERNEL};

/// What decides about io_uring.
#[derive(Debug, Default)]
pub(super) struct WayReadings {
    /// Such as `6.8.0-45-generic`.
    pub(super) kernel: Option<String>,
    /// `kernel.io_uring_disabled`: 0, 1 or 2.
    pub(super) disabled: Option<u64>,
    /// Whether a seccomp filter is on this process (proc_pid_status(5), `Seccomp`).
    pub(super) is_filtered: bool,
}

impl WayReadings {
    /// As it is in these files.
    pub(super) fn read(files: &MachineFiles<'_>) -> Self {
        Self {
            kernel: files.text("/proc/sys/kernel/osrelease"),
            disabled: files.number("/proc/sys/kernel/io_uring_disabled"),
            is_filtered: files.field("/proc/self/status", "Seccomp:").as_deref() == Some("2"),
        }
    }

    pub(super) fn examine(&self, needs: &Needs) -> Vec<Symptom> {
        vec![self.kernel(&needs.way), self.way(&needs.way)]
    }

    fn kernel(&self, way: &Way) -> Symptom {
        let is = self.kernel.clone().unwrap_or_else(|| "unknown".into());
        match way.driver {
            Driver::IoUring => Symptom::new("Linux", is, format!("{MINIMUM_KERNEL} or later")),
            Driver::Epoll => Symptom::new("Linux", is, "any, for epoll"),
        }
    }

    fn way(&self, way: &Way) -> Symptom {
        let what = "driver";
        let is = way.driver.name();
        if let Some(refusal) = &way.refusal {
            let it = Symptom::new(what, "none", is).short();
            let mut changes = self.changes();
            changes.push("or, in the configuration: driver = \"auto\"".into());
            return it.remedy(&changes, refusal.clone());
        }
        match (way.choice, way.driver) {
            (DriverChoice::Auto, Driver::Epoll) => Symptom::new(what, is, Driver::IoUring.name())
                .noted(format!(
                    "{}. By epoll it serves as well, and costs more: a call for each operation",
                    way.why
                ))
                .advice(&if way.is_refused { self.changes() } else { Vec::new() }),
            (DriverChoice::Auto | DriverChoice::Only(_), _) => Symptom::new(what, is, is),
        }
    }

    /// What would let this process have io_uring.
    fn changes(&self) -> Vec<String> {
        match (self.disabled, self.is_filtered) {
            (Some(1..), _) => vec![ALLOWED_BY_SYSCTL.into()],
            (_, true) => ALLOWED_IN_CONTAINERS.map(Into::into).into(),
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::symptom::Verdict;
    use super::*;

    fn way(choice: DriverChoice, driver: Driver, refusal: Option<&str>) -> Way {
        Way {
            choice,
            driver,
            why: "it is refused".into(),
            refusal: refusal.map(Into::into),
            is_refused: true,
        }
    }

    #[test]
    fn a_ring_that_is_configured_and_refused_is_in_the_way() {
        let only = DriverChoice::Only(Driver::IoUring);
        let readings = WayReadings::default();
        assert_eq!(readings.way(&way(only, Driver::IoUring, None)).verdict(), Verdict::Fits);
        let refused = readings.way(&way(only, Driver::IoUring, Some("refused (EPERM)")));
        assert!(refused.is_short() && refused.to_string().contains("refused (EPERM)"), "{refused}");
    }

    #[test]
    fn epoll_in_place_of_a_ring_is_told_of_with_what_refuses_it() {
        let auto = way(DriverChoice::Auto, Driver::Epoll, None);
        let of =
            |disabled, is_filtered| WayReadings { kernel: None, disabled, is_filtered }.way(&auto);
        assert_eq!(of(Some(0), true).verdict(), Verdict::Noted);
        assert!(of(Some(0), true).to_string().contains("--security-opt seccomp="));
        for disabled in [1, 2] {
            let text = of(Some(disabled), true).to_string();
            assert!(text.contains("sysctl -w kernel.io_uring_disabled=0\n"), "{text}");
        }
        assert!(!of(None, false).to_string().contains("change"));
        let only = way(DriverChoice::Only(Driver::Epoll), Driver::Epoll, None);
        assert_eq!(WayReadings::default().way(&only).verdict(), Verdict::Fits);
    }
}

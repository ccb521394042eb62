//! Cores, and the clock.

use super::machine_files::MachineFiles;
use super::needs::Needs;
use super::symptom::Symptom;

/// The clock sources that a process reads without a call into the kernel.
const WITHOUT_CALLS: [&str; 4] =
    ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter"];

const CLOCK: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";

/// What shards run on.
#[derive(Debug, Default)]
pub(super) struct ProcessorReadings {
    /// How many shards `auto` gives.
    pub(super) cores: usize,
    /// On how many cores the process may run.
    pub(super) allowed: Option<usize>,
    /// What its control groups let it have, in thousandths of a core.
    pub(super) quota: Option<u64>,
    pub(super) clock: Option<String>,
}

impl ProcessorReadings {
    /// As it is here and in these files, where `auto` gives so many shards.
    pub(super) fn read(files: &MachineFiles<'_>, cores: usize) -> Self {
        Self {
            cores,
            allowed: core_affinity::get_core_ids().map(|ids| ids.len()),
            quota: files.cpu_quota(),
            clock: files.text(CLOCK),
        }
    }

    pub(super) fn examine(&self, needs: &Needs) -> Vec<Symptom> {
        let mut symptoms = vec![self.cores(needs.shards)];
        symptoms.extend(self.clock());
        symptoms
    }

    fn cores(&self, shards: usize) -> Symptom {
        let (is, quota) = match self.quota {
            Some(quota) => {
                let text = format!("{}.{:02}", quota / 1000, quota % 1000 / 10);
                (format!("{}, quota {text}", self.cores), text)
            }
            None => (self.cores.to_string(), "none".into()),
        };
        let allowed = self.allowed.map_or("unknown".into(), |count| count.to_string());
        let it = Symptom::new("cores", is, shards.to_string());
        let found = format!(
            "the process may run on {allowed} (sched_setaffinity(2), cpuset), the quota of its \
             control group is {quota}"
        );
        if shards > self.cores {
            let cores = self.cores;
            let changes = [
                format!("in the configuration: shards = {cores}, or \"auto\""),
                format!("docker, podman: --cpus {shards}"),
                format!("Kubernetes, in the container's resources: limits: {{cpu: \"{shards}\"}}"),
            ];
            return it.short().remedy(&changes, format!("shards that share a core wait; {found}"));
        }
        // Rounded down, so that no shard is stopped within its turn because the others used it up.
        match self.quota {
            Some(quota)
                if quota % 1000 != 0 && (quota / 1000) < self.allowed.unwrap_or(1) as u64 =>
            {
                it.noted(format!(
                    "{found}. A shard is one thread, so `auto` takes the whole cores of it, and at \
                     least one; what is left over is for the other threads{}",
                    if quota < 1000 {
                        ". With less than one the kernel stops the shard in each \
                     period that is used up"
                    } else {
                        ""
                    }
                ))
            }
            _ => it,
        }
    }

    fn clock(&self) -> Option<Symptom> {
        let clock = self.clock.as_deref()?;
        let it = Symptom::new("clock source", clock, "tsc");
        if WITHOUT_CALLS.contains(&clock) {
            return Some(it);
        }
        let change = "clocksource=tsc on the kernel's command line, if the machine's is stable";
        let why =
            "a shard reads the clock in each turn, and from this one by a call into the kernel";
        Some(it.noted(why).advice(&[change.into()]))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::symptom::Verdict;
    use super::*;

    fn of(cores: usize, quota: Option<u64>, shards: usize) -> Symptom {
        let allowed = Some(4);
        ProcessorReadings { cores, allowed, quota, clock: None }.cores(shards)
    }

    #[test]
    fn more_shards_than_cores_are_in_the_way() {
        assert_eq!(of(4, None, 4).verdict(), Verdict::Fits);
        assert_eq!(of(4, None, 5).verdict(), Verdict::Short);
        assert_eq!(of(1, Some(1500), 2).verdict(), Verdict::Short);
        assert_eq!(of(2, Some(2000), 2).verdict(), Verdict::Fits);
    }

    #[test]
    fn what_of_a_quota_is_no_whole_core_is_told_of() {
        let text = of(1, Some(1500), 1).to_string();
        assert!(text.contains("1, quota 1.50") && !text.contains("stops the shard"), "{text}");
        assert_eq!(of(1, Some(1500), 1).verdict(), Verdict::Noted);
        let text = of(1, Some(500), 1).to_string();
        assert!(text.contains("quota 0.50") && text.contains("stops the shard"), "{text}");
        // It is more than there are cores.
        assert_eq!(of(4, Some(5500), 4).verdict(), Verdict::Fits);
    }

    #[test]
    fn a_clock_that_takes_a_call_is_told_of() {
        let of = |clock: &str| {
            let clock = Some(clock.to_owned());
            let readings = ProcessorReadings { clock, ..ProcessorReadings::default() };
            readings.clock().map(|it| it.verdict())
        };
        assert_eq!(of("tsc"), Some(Verdict::Fits));
        assert_eq!(of("kvm-clock"), Some(Verdict::Fits));
        assert_eq!(of("acpi_pm"), Some(Verdict::Noted));
    }

    #[test]
    fn the_quota_is_read_and_the_cores_are_asked_for() {
        let read = |path: &Path| match path.to_str() {
            Some("/proc/self/cgroup") => Some("0::/\n".to_owned()),
            Some("/sys/fs/cgroup/cpu.max") => Some("75000 50000\n".to_owned()),
            _ => None,
        };
        let readings = ProcessorReadings::read(&MachineFiles::made_up(&read), 1);
        assert_eq!(readings.quota, Some(1500));
        assert!(readings.allowed.is_some_and(|count| count >= 1));
    }
}

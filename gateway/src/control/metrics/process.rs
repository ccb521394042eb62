//! What every process is watched by, under the names that Prometheus's client libraries give it.

use std::fs;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::{Family, MetricKind, Value};
use crate::control::clock::since_1970;
use crate::machine;

/// What is known of the process; what cannot be found out is left out.
pub(super) fn families() -> Vec<Family> {
    use MetricKind::{Counter, Gauge};
    let pages = pages();
    let bytes = |at: usize| pages.as_ref()?.get(at).map(|count| count * page_size() as u64);
    let number = |value: u64| Value::Number(value);
    let allowed = machine::memory().map(|bound| bound.bytes);
    let all = [
        family("start_time_seconds", Gauge, "When the process started, in seconds since 1970.")
            .with(started().map(|since| Value::Real(since.as_secs_f64()))),
        family("cpu_seconds", Counter, "Seconds on a core, of all threads, user's and kernel's.")
            .with(Some(Value::Real(on_core()))),
        family("virtual_memory_bytes", Gauge, "Bytes of the address space that are mapped.")
            .with(bytes(0).map(number)),
        family("resident_memory_bytes", Gauge, "Bytes that the process has resident.")
            .with(bytes(1).map(number)),
        family("open_fds", Gauge, "Descriptors that are open.").with(open_files().map(number)),
        family("max_fds", Gauge, "Descriptors that may be open.")
            // Without a number there is no limit.
            .with(getrlimit(Resource::Nofile).current.map(number)),
        of_group(
            "in_use",
            "Bytes that the process's control group has in use, with what the kernel \
                  holds for it; 0 if that cannot be read.",
        )
        .value(number(machine::group_memory_in_use().unwrap_or(0))),
        of_group(
            "files",
            "Bytes of that in pages of files, which the kernel takes back before it refuses \
                  memory; 0 if that cannot be read.",
        )
        .value(number(machine::group_memory_of_files().unwrap_or(0))),
        of_group(
            "allowed",
            "Bytes that the process may have: what its control group and those \
                  above it may, or the machine has if that is less; 0 if that cannot be read.",
        )
        .value(number(allowed.unwrap_or(0))),
    ];
    all.into_iter().filter(|family| !family.samples.is_empty()).collect()
}

fn family(name: &str, kind: MetricKind, help: &str) -> Family {
    Family { name: format!("process_{name}"), kind, help: help.into(), samples: Vec::new() }
}

fn of_group(name: &str, help: &str) -> Family {
    let name = format!("tidegate_machine_memory_{name}_bytes");
    Family { name, kind: MetricKind::Gauge, help: help.into(), samples: Vec::new() }
}

impl Family {
    /// With this value, if it is known.
    fn with(self, value: Option<Value>) -> Self {
        match value {
            Some(value) => self.value(value),
            None => self,
        }
    }
}

/// What is mapped and what is resident, in pages (proc_pid_statm(5)).
fn pages() -> Option<Vec<u64>> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    text.split_whitespace().take(2).map(|word| word.parse().ok()).collect()
}

/// Seconds that all threads were on a core.
fn on_core() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// How many descriptors are open: the size of their folder from Linux 6.2 on (proc_pid_fd(5)).
fn open_files() -> Option<u64> {
    let folder = "/proc/self/fd";
    match fs::metadata(folder).ok()?.len() {
        // What counts them has one open itself.
        0 => Some((fs::read_dir(folder).ok()?.count() as u64).saturating_sub(1)),
        count => Some(count),
    }
}

/// When the process started, since 1970, by the clock as it stood when this was asked first: what
/// watches for restarts wants it to stay.
fn started() -> Option<Duration> {
    static STARTED: OnceLock<Option<Duration>> = OnceLock::new();
    let find = || {
        let text = fs::read_to_string("/proc/self/stat").ok()?;
        let since_boot = started_since_boot(&text, clock_ticks_per_second())?;
        let now = clock_gettime(ClockId::Boottime);
        let now = Duration::new(now.tv_sec.try_into().ok()?, now.tv_nsec.try_into().ok()?);
        Some(since_1970().saturating_sub(now.saturating_sub(since_boot)))
    };
    *STARTED.get_or_init(find)
}

/// When a process started, since the boot: the 22nd field (proc_pid_stat(5)), in ticks. The second
/// one is a name in parentheses, which may have anything in it.
fn started_since_boot(stat: &str, ticks: u64) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let started: u64 = fields.split(' ').nth(22 - 3)?.parse().ok()?;
    Some(Duration::from_secs_f64(started as f64 / ticks.max(1) as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_known() {
        let families = families();
        let of = |name: &str| {
            let family = families.iter().find(|family| family.full_name() == name);
            match family.unwrap_or_else(|| panic!("{name} is missing")).samples[0].value {
                Value::Number(number) => number as f64,
                Value::Real(number) => number,
                Value::Histogram(..) => panic!("{name} is a histogram"),
            }
        };
        let now = since_1970().as_secs_f64();
        let started = of("process_start_time_seconds");
        assert!(started > now - 3600.0 && started < now + 1.0, "{started}, and it is {now}");
        assert!(of("process_cpu_seconds_total") > 0.0);
        assert!(of("process_virtual_memory_bytes") > of("process_resident_memory_bytes"));
        assert!(of("process_resident_memory_bytes") > 100_000.0);
        let open = of("process_open_fds");
        let _files: Vec<fs::File> = (0..50).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        // Other tests open and close some meanwhile.
        assert!(open >= 3.0 && open_files().unwrap() >= 50, "{open}");
        assert!(of("process_max_fds") >= open);
        assert!(of("tidegate_machine_memory_allowed_bytes") > 100_000.0);
        of("tidegate_machine_memory_in_use_bytes");
        of("tidegate_machine_memory_files_bytes");
    }

    #[test]
    fn a_name_may_have_anything_in_it() {
        let fields = "S 1 1 1 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 9 0 250 1 2";
        let of = |name: &str| started_since_boot(&format!("7 ({name}) {fields}"), 100);
        assert_eq!(of("gate"), Some(Duration::from_millis(2500)));
        assert_eq!(of("a) S 3 (b"), of("gate"));
        assert_eq!(started_since_boot("7 gate", 100), None);
        assert_eq!(started_since_boot("7 (gate) S 1", 100), None);
    }
}

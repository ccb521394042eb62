//! What the machine lets this process have.

use std::fs;
use std::path::Path;

/// The root of all control groups (cgroups(7), version 2).
const GROUPS: &str = "/sys/fs/cgroup";

/// A bound on the memory of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBound {
    /// How much, in bytes.
    pub bytes: u64,
    /// What sets the bound.
    pub source: MemorySource,
}

/// What bounds the memory of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemorySource {
    /// The machine has no more: `MemTotal` of `/proc/meminfo` (proc_meminfo(5)).
    Machine,
    /// The control group of the process, or one above it, may have no more: its `memory.max`.
    ControlGroup,
}

/// How much memory this process may have, by whatever allows the least; `None` if that cannot be
/// read.
#[must_use]
pub fn memory() -> Option<MemoryBound> {
    memory_by(&|path| fs::read_to_string(path).ok())
}

fn memory_by(read: &impl Fn(&Path) -> Option<String>) -> Option<MemoryBound> {
    let machine = read(Path::new("/proc/meminfo")).and_then(|text| total(&text));
    let bounds =
        [(machine, MemorySource::Machine), (least_of_groups(read), MemorySource::ControlGroup)];
    bounds
        .into_iter()
        .filter_map(|(bytes, source)| bytes.map(|bytes| MemoryBound { bytes, source }))
        .min_by_key(|bound| bound.bytes)
}

/// The machine's memory in bytes. The line says `kB` and means KiB.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let number: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    number.checked_mul(1024)
}

/// The least `memory.max` of the process's group and those above it, which bound it as well. A
/// group that says `max`, and the machine's topmost one, which has no such file, set no bound.
/// Where a container does not see its own path, the topmost group it sees is its own.
fn least_of_groups(read: &impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let groups = read(Path::new("/proc/self/cgroup"))?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Path::new(GROUPS)
        .join(path)
        .ancestors()
        .take_while(|group| group.starts_with(GROUPS))
        .filter_map(|group| read(&group.join("memory.max"))?.trim().parse().ok())
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: (&str, &str) =
        ("/proc/meminfo", "MemTotal:       16777216 kB\nMemFree:  1024 kB\n");

    /// What is found where these files are all there is.
    fn found(files: &[(&str, &str)]) -> Option<(u64, MemorySource)> {
        let read = |path: &Path| {
            let file = files.iter().find(|(name, _)| Path::new(name) == path);
            file.map(|(_, text)| (*text).to_owned())
        };
        memory_by(&read).map(|bound| (bound.bytes, bound.source))
    }

    /// What is found on a machine of 16 GiB with these files of control groups.
    fn found_in(path: &str, limits: &[(&str, &str)]) -> Option<(u64, MemorySource)> {
        found(&[&[MACHINE, ("/proc/self/cgroup", path)], limits].concat())
    }

    #[test]
    fn without_a_group_the_machine_is_the_bound() {
        let machine = Some((16 << 30, MemorySource::Machine));
        assert_eq!(found(&[MACHINE]), machine);
        assert_eq!(found_in("0::/\n", &[]), machine);
        assert_eq!(found_in("0::/a\n", &[("/sys/fs/cgroup/a/memory.max", "max\n")]), machine);
        let version_1 = "4:memory:/a\n1:cpu:/\n";
        assert_eq!(found_in(version_1, &[("/sys/fs/cgroup/a/memory.max", "4096\n")]), machine);
    }

    #[test]
    fn the_least_of_the_group_and_those_above_is_the_bound() {
        let (own, above) = ("/sys/fs/cgroup/a/b/memory.max", "/sys/fs/cgroup/a/memory.max");
        let top = "/sys/fs/cgroup/memory.max";
        let group = |bytes| Some((bytes, MemorySource::ControlGroup));
        let path = "4:memory:/\n0::/a/b\n";
        assert_eq!(found_in(path, &[(own, "1073741824\n")]), group(1 << 30));
        assert_eq!(found_in(path, &[(own, "max\n"), (above, "2147483648\n")]), group(2 << 30));
        assert_eq!(found_in(path, &[(own, "8192\n"), (above, "4096\n")]), group(4096));
        assert_eq!(found_in(path, &[(top, "4096\n")]), group(4096));
        assert_eq!(found_in("0::/\n", &[(top, "4096\n")]), group(4096));
        assert_eq!(found_in("0::/../..\n", &[(top, "4096\n")]), group(4096));
    }

    #[test]
    fn a_group_that_may_have_more_than_there_is_does_not_count() {
        let limits = [("/sys/fs/cgroup/memory.max", "1099511627776\n")];
        assert_eq!(found_in("0::/\n", &limits), Some((16 << 30, MemorySource::Machine)));
    }

    #[test]
    fn what_cannot_be_read_is_no_bound() {
        assert_eq!(found(&[]), None);
        for text in ["", "MemTotal:", "MemTotal: many kB", "MemTotal: 18446744073709551615 kB"] {
            assert_eq!(found(&[("/proc/meminfo", text)]), None, "{text}");
        }
        let group = [("/proc/self/cgroup", "0::/\n"), ("/sys/fs/cgroup/memory.max", "4096\n")];
        assert_eq!(found(&group), Some((4096, MemorySource::ControlGroup)));
    }

    #[test]
    fn this_machine_has_some() {
        assert!(memory().is_some_and(|bound| bound.bytes > 1 << 20));
    }
}

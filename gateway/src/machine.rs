//! What the machine lets this process have.

mod in_use;

use std::fs;
use std::path::{Component, Path, PathBuf};

pub use in_use::{group_memory_in_use, group_memory_of_files, group_memory_share};

/// Where version 2 of control groups is mounted (cgroups(7)), if nothing says otherwise.
const GROUPS: &str = "/sys/fs/cgroup";

/// From here on a bound is none: version 1 writes the most pages that a signed number can count.
const UNBOUNDED: u64 = 1 << 62;

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
    /// The control group of the process, or one above it, may have no more: its `memory.max`,
    /// or in version 1 its `memory.limit_in_bytes`.
    ControlGroup,
}

/// How much memory this process may have, by whatever allows the least; `None` if that cannot be
/// read.
#[must_use]
pub fn memory() -> Option<MemoryBound> {
    memory_by(&|path| fs::read_to_string(path).ok())
}

/// As [`memory`], where `read` says what is in a file.
pub(crate) fn memory_by(read: &impl Fn(&Path) -> Option<String>) -> Option<MemoryBound> {
    let machine = read(Path::new("/proc/meminfo")).and_then(|text| total(&text));
    let bounds =
        [(machine, MemorySource::Machine), (least_of_groups(read), MemorySource::ControlGroup)];
    bounds
        .into_iter()
        .filter_map(|(bytes, source)| bytes.map(|bytes| MemoryBound { bytes, source }))
        .min_by_key(|bound| bound.bytes)
}

/// How much CPU the control groups of this process let it have, in thousandths of one, by whichever
/// allows the least: `cpu.max`, or in version 1 `cpu.cfs_quota_us` of `cpu.cfs_period_us`; `None`
/// if none of them sets a bound. `read` says what is in a file.
pub(crate) fn cpu_quota_by(read: &impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let share = |quota: &str, period: &str| -> Option<u64> {
        // Without a bound the quota is `max`, or -1.
        let (quota, period) = (quota.trim().parse::<u64>().ok()?, period.trim().parse().ok()?);
        quota.checked_mul(1000)?.checked_div(period)
    };
    let of_new = |group: &Path| {
        let text = read(&group.join("cpu.max"))?;
        let (quota, period) = text.split_once(' ')?;
        share(quota, period)
    };
    let of_old = |group: &Path| {
        let period = read(&group.join("cpu.cfs_period_us"))?;
        share(&read(&group.join("cpu.cfs_quota_us"))?, &period)
    };
    let groups = read(Path::new("/proc/self/cgroup"))?;
    let mounts = read(Path::new("/proc/self/mountinfo")).unwrap_or_default();
    let new = unified(&groups, &mounts).and_then(|group| group.least(of_new));
    let old = version_1("cpu", &groups, &mounts).and_then(|group| group.least(of_old));
    new.into_iter().chain(old).min()
}

/// The machine's memory in bytes.
fn total(meminfo: &str) -> Option<u64> {
    meminfo_bytes(meminfo, "MemTotal:")
}

/// What the line of `/proc/meminfo` says that begins with `key`, in bytes. It says `kB` and means
/// KiB.
pub(crate) fn meminfo_bytes(meminfo: &str, key: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(key))?;
    let number: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    number.checked_mul(1024)
}

/// The least bound of the process's groups and those above them, of both versions: with a hybrid
/// set-up, either may hold the memory controller. A group that says `max` or the like sets none.
fn least_of_groups(read: &impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let groups = read(Path::new("/proc/self/cgroup"))?;
    let mounts = read(Path::new("/proc/self/mountinfo")).unwrap_or_default();
    let versions = [
        // A machine whose mounts cannot be read has the usual one.
        (unified(&groups, &mounts), "memory.max"),
        (version_1("memory", &groups, &mounts), "memory.limit_in_bytes"),
    ];
    let bytes = |group: &Path, file| {
        let bytes = read(&group.join(file))?.trim().parse().ok()?;
        (bytes < UNBOUNDED).then_some(bytes)
    };
    let bounds =
        versions.into_iter().filter_map(|(group, file)| group?.least(|group| bytes(group, file)));
    bounds.min()
}

/// The group of the process in one hierarchy.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    /// Where the hierarchy is mounted; groups above are not to be seen.
    top: PathBuf,
    /// The group's folder, `top` or below it.
    folder: PathBuf,
}

impl Group {
    /// The group that `/proc/self/cgroup` calls `path`, in a hierarchy whose group `root` is at
    /// `top`. Where a container does not see its own path, the topmost group it sees is its own.
    fn new(top: &str, root: &str, path: &str) -> Self {
        let below = Path::new(path).strip_prefix(root).unwrap_or(Path::new(""));
        let is_plain = |part| matches!(part, Component::Normal(_));
        let below = if below.components().all(is_plain) { below } else { Path::new("") };
        Self { top: top.into(), folder: Path::new(top).join(below) }
    }

    /// The least bound of the group and those above it, which bound it as well. (Those of version 1
    /// without `memory.use_hierarchy` do not, and none are made any more.)
    fn least(&self, bound: impl Fn(&Path) -> Option<u64>) -> Option<u64> {
        self.each(bound).min()
    }

    /// What `of` says of the group and those above it.
    fn each(&self, of: impl Fn(&Path) -> Option<u64>) -> impl Iterator<Item = u64> {
        let groups = self.folder.ancestors().take_while(|group| group.starts_with(&self.top));
        groups.filter_map(of)
    }
}

/// The group in the hierarchy of version 2.
fn unified(groups: &str, mounts: &str) -> Option<Group> {
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mounted = mounts.lines().filter_map(Mount::parse).find(|mount| mount.kind == "cgroup2");
    let (top, root) = mounted.map_or((GROUPS, "/"), |mount| (mount.point, mount.root));
    Some(Group::new(top, root, path))
}

/// The group in the hierarchy of version 1 that has the `controller`.
fn version_1(controller: &str, groups: &str, mounts: &str) -> Option<Group> {
    let has_it = |names: &str| names.split(',').any(|name| name == controller);
    // A line is number, controllers, path; the path may hold colons.
    let mut lines = groups.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
    let (_, path) = lines.find(|(controllers, _)| has_it(controllers))?;
    let mut mounts = mounts.lines().filter_map(Mount::parse);
    let mount = mounts.find(|mount| mount.kind == "cgroup" && has_it(mount.options))?;
    Some(Group::new(mount.point, mount.root, path))
}

/// A line of `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
struct Mount<'m> {
    /// What of the file system is mounted there.
    root: &'m str,
    point: &'m str,
    /// The file system's type.
    kind: &'m str,
    /// Those of the file system, of version 1 the controllers among them.
    options: &'m str,
}

impl<'m> Mount<'m> {
    fn parse(line: &'m str) -> Option<Self> {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let mut file_system = file_system.split(' ');
        Some(Self {
            root: mount.next()?,
            point: mount.next()?,
            kind: file_system.next()?,
            options: file_system.nth(1)?,
        })
    }
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

    pub(super) const MOUNTS: &str = "\
        27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
        32 31 0:29 / /sys/fs/cgroup/cpu rw shared:9 - cgroup cgroup rw,cpu\n\
        33 31 0:30 / /sys/fs/cgroup/memory rw shared:9 master:1 - cgroup cgroup rw,memory\n\
        34 31 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n";

    /// What is found with these lines of /proc/self/cgroup and of /proc/self/mountinfo.
    fn found_under(path: &str, mounts: &str, limits: &[(&str, &str)]) -> Option<u64> {
        let limits = [&[("/proc/self/mountinfo", mounts)], limits].concat();
        let bound = found_in(path, &limits);
        bound.filter(|(_, source)| *source == MemorySource::ControlGroup).map(|(bytes, _)| bytes)
    }

    #[test]
    fn version_1_bounds_by_the_group_and_those_above() {
        let path = "4:memory:/a/b\n1:cpu:/\n0::/\n";
        let own = "/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes";
        let above = "/sys/fs/cgroup/memory/a/memory.limit_in_bytes";
        let top = "/sys/fs/cgroup/memory/memory.limit_in_bytes";
        let none = "9223372036854771712\n";
        let found = |limits: &[(&str, &str)]| found_under(path, MOUNTS, limits);
        assert_eq!(found(&[(own, "134217728\n")]), Some(128 << 20));
        assert_eq!(found(&[(own, none), (above, "8192\n"), (top, none)]), Some(8192));
        assert_eq!(found(&[(own, "4096\n"), (above, "8192\n")]), Some(4096));
        assert_eq!(found(&[(top, "4096\n")]), Some(4096));
        assert_eq!(found(&[(own, none), (top, none)]), None);
        assert_eq!(found_under("4:cpu,memory:/a:b\n", MOUNTS, &[(own, "4096\n")]), None);
        let colon = ("/sys/fs/cgroup/memory/a:b/memory.limit_in_bytes", "4096\n");
        assert_eq!(found_under("4:cpu,memory:/a:b\n", MOUNTS, &[colon]), Some(4096));
    }

    #[test]
    fn a_container_sees_its_group_of_version_1_as_the_topmost() {
        let mounts = "33 31 0:30 /docker/c1 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        let top = ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "8192\n");
        let below = ("/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "4096\n");
        for (path, bytes) in [
            ("4:memory:/docker/c1\n", 8192),
            ("4:memory:/docker/c1/x\n", 4096),
            ("4:memory:/elsewhere\n", 8192),
            ("4:memory:/../other\n", 8192),
        ] {
            assert_eq!(found_under(path, mounts, &[top, below]), Some(bytes), "{path}");
        }
    }

    #[test]
    fn the_least_of_both_versions_is_the_bound() {
        let path = "4:memory:/a\n0::/b\n";
        let old = "/sys/fs/cgroup/memory/a/memory.limit_in_bytes";
        let new = "/sys/fs/cgroup/unified/b/memory.max";
        let found = |one, other| found_under(path, MOUNTS, &[(old, one), (new, other)]);
        assert_eq!(found("4096\n", "8192\n"), Some(4096));
        assert_eq!(found("8192\n", "4096\n"), Some(4096));
        assert_eq!(found("8192\n", "max\n"), Some(8192));
    }

    /// The quota with this group and these files, in thousandths of a CPU.
    fn quota(path: &str, files: &[(&str, &str)]) -> Option<u64> {
        let all =
            [&[("/proc/self/cgroup", path), ("/proc/self/mountinfo", MOUNTS)], files].concat();
        let text = |path: &Path| all.iter().find(|(name, _)| Path::new(name) == path);
        cpu_quota_by(&|path| text(path).map(|(_, text)| (*text).to_owned()))
    }

    #[test]
    fn the_least_quota_of_the_group_and_those_above_counts() {
        let (own, above) =
            ("/sys/fs/cgroup/unified/a/b/cpu.max", "/sys/fs/cgroup/unified/a/cpu.max");
        let new = |files: &[(&str, &str)]| quota("0::/a/b\n", files);
        assert_eq!(new(&[(own, "150000 100000\n")]), Some(1500));
        assert_eq!(new(&[(own, "max 100000\n"), (above, "50000 100000\n")]), Some(500));
        assert_eq!(new(&[(own, "max 100000\n"), (above, "max 100000\n")]), None);
        let of = |file| format!("/sys/fs/cgroup/cpu/a/cpu.cfs_{file}_us");
        let (quota_file, period) = (of("quota"), of("period"));
        let old =
            |quota_text| quota("2:cpu:/a\n", &[(&quota_file, quota_text), (&period, "50000\n")]);
        assert_eq!((old("75000\n"), old("-1\n")), (Some(1500), None));
        for text in ["", "max", "1", "1 0\n", "18446744073709551615 1\n", "a b"] {
            assert_eq!(new(&[(own, text)]), None, "{text}");
        }
    }

    #[test]
    fn mounts_that_make_no_sense_are_passed_over() {
        for mounts in ["", " - ", "1 2 3 4", "1 2 3 / /x - cgroup", "\n\n - cgroup2\n"] {
            let limits = [("/sys/fs/cgroup/a/memory.max", "4096\n")];
            assert_eq!(found_under("0::/a\n4:memory:/a\n", mounts, &limits), Some(4096));
        }
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

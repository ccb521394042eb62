//! How much memory the control group of this process has in use.

use std::fs;
use std::path::Path;

use super::{Group, UNBOUNDED, unified, version_1};

/// What the process's control group has in use, in bytes, with what the kernel holds for it: of
/// version 2 or, where that has no memory controller, of version 1. `None` if it is in none, or
/// that cannot be read.
#[must_use]
pub fn group_memory_in_use() -> Option<u64> {
    of_own_group(&|path| fs::read_to_string(path).ok(), GroupFiles::in_use)
}

/// How many bytes of that are pages of files, likewise.
#[must_use]
pub fn group_memory_of_files() -> Option<u64> {
    of_own_group(&|path| fs::read_to_string(path).ok(), GroupFiles::of_files)
}

/// What `of` says of the process's own group.
fn of_own_group<F: Fn(&Path) -> Option<String>>(
    read: &F,
    of: impl Fn(&GroupFiles, &Path, &F) -> Option<u64>,
) -> Option<u64> {
    let groups = read(Path::new("/proc/self/cgroup"))?;
    let mounts = read(Path::new("/proc/self/mountinfo")).unwrap_or_default();
    let new = unified(&groups, &mounts).and_then(|group| of(&VERSION_2, &group.folder, read));
    let old = || version_1("memory", &groups, &mounts);
    new.or_else(|| old().and_then(|group| of(&VERSION_1, &group.folder, read)))
}

/// How much of what it may have the process's control group has in use that the kernel cannot take
/// back, in hundredths: pages of files are left out, which it gives up before it refuses memory. Of
/// the group and those above it, that which is fullest; `None` if none of them has a bound, or that
/// cannot be read.
#[must_use]
pub fn group_memory_share() -> Option<u64> {
    group_memory_share_by(&|path| fs::read_to_string(path).ok())
}

fn group_memory_share_by(read: &impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let groups = read(Path::new("/proc/self/cgroup"))?;
    let mounts = read(Path::new("/proc/self/mountinfo")).unwrap_or_default();
    let share = |group: &Path, files: &GroupFiles| {
        let bound = number(group, files.bound, read).filter(|bytes| *bytes < UNBOUNDED)?;
        let kept = files.in_use(group, read)?.saturating_sub(files.of_files(group, read)?);
        Some(kept.saturating_mul(100) / bound.max(1))
    };
    let new = unified(&groups, &mounts);
    let old = version_1("memory", &groups, &mounts);
    let fullest = |group: Option<Group>, files| group?.each(|it| share(it, files)).max();
    fullest(new, &VERSION_2).into_iter().chain(fullest(old, &VERSION_1)).max()
}

/// What one version of control groups calls its files about memory, and lines of `memory.stat`.
struct GroupFiles {
    bound: &'static str,
    in_use: &'static str,
    /// The pages of files that were read or written lately, and the others.
    pages: [&'static str; 2],
}

/// Of version 1 `memory.stat` has lines of the group alone and, called `total_`, of those below it
/// as well, which `memory.usage_in_bytes` counts.
const VERSION_1: GroupFiles = GroupFiles {
    bound: "memory.limit_in_bytes",
    in_use: "memory.usage_in_bytes",
    pages: ["total_active_file", "total_inactive_file"],
};

const VERSION_2: GroupFiles = GroupFiles {
    bound: "memory.max",
    in_use: "memory.current",
    pages: ["active_file", "inactive_file"],
};

impl GroupFiles {
    /// How many bytes a group has in use.
    fn in_use(&self, group: &Path, read: &impl Fn(&Path) -> Option<String>) -> Option<u64> {
        number(group, self.in_use, read)
    }

    /// How many bytes of files are among them.
    fn of_files(&self, group: &Path, read: &impl Fn(&Path) -> Option<String>) -> Option<u64> {
        let stat = read(&group.join("memory.stat"))?;
        let lines = stat.lines().filter_map(|line| line.split_once(' '));
        let pages = lines.filter(|(name, _)| self.pages.contains(name));
        Some(pages.filter_map(|(_, bytes)| bytes.trim().parse::<u64>().ok()).sum())
    }
}

/// The number that is all there is in a group's file.
fn number(group: &Path, file: &str, read: &impl Fn(&Path) -> Option<String>) -> Option<u64> {
    read(&group.join(file))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::tests::MOUNTS;

    #[test]
    fn the_fullest_group_counts_without_the_pages_of_files() {
        let share = |path: &str, files: &[(&str, &str)]| {
            let all =
                [&[("/proc/self/cgroup", path), ("/proc/self/mountinfo", MOUNTS)], files].concat();
            let text = |path: &Path| all.iter().find(|(name, _)| Path::new(name) == path);
            group_memory_share_by(&|path| text(path).map(|(_, text)| (*text).to_owned()))
        };
        let own = "/sys/fs/cgroup/unified/a/b";
        let [bound, used, stat] = ["max", "current", "stat"].map(|it| format!("{own}/memory.{it}"));
        let files =
            |max| [(&*bound, max), (&*used, "900\n"), (&*stat, "anon 1\nactive_file 100\n")];
        assert_eq!(share("0::/a/b\n", &files("1000\n")), Some(80));
        assert_eq!(share("0::/a/b\n", &files("max\n")), None, "it has no bound");
        assert_eq!(share("0::/a/b\n", &[]), None);
        let above = [
            ("/sys/fs/cgroup/unified/a/memory.max", "2000\n"),
            ("/sys/fs/cgroup/unified/a/memory.current", "1900\n"),
            ("/sys/fs/cgroup/unified/a/memory.stat", "inactive_file 100\nactive_file 0\n"),
        ];
        let both = [&files("1000\n")[..], &above].concat();
        assert_eq!(share("0::/a/b\n", &both), Some(90), "the one above is fuller");
        let old = [
            ("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "400\n"),
            ("/sys/fs/cgroup/memory/a/memory.usage_in_bytes", "300\n"),
            ("/sys/fs/cgroup/memory/a/memory.stat", "active_file 9\ntotal_inactive_file 100\n"),
        ];
        assert_eq!(share("4:memory:/a\n", &old), Some(50));
        assert_eq!(share("4:memory:/a\n0::/a/b\n", &[&old[..], &both].concat()), Some(90));
    }
}

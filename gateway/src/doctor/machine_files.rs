//! What the kernel says of itself and of this process, in files.

use std::fs;
use std::path::Path;

use crate::machine::{self, MemoryBound};

/// The files of a machine: those that are there, or such as a test makes up.
pub(super) struct MachineFiles<'a> {
    read: &'a dyn Fn(&Path) -> Option<String>,
}

impl MachineFiles<'static> {
    /// Those that are there.
    pub(super) fn here() -> Self {
        Self { read: &|path| fs::read_to_string(path).ok() }
    }
}

impl<'a> MachineFiles<'a> {
    /// Those that a test makes up.
    #[cfg(test)]
    pub(super) fn made_up(read: &'a dyn Fn(&Path) -> Option<String>) -> Self {
        Self { read }
    }

    /// What is in a file, without the end of its last line.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        (self.read)(Path::new(path)).map(|text| text.trim_end().to_owned())
    }

    /// The numbers in a file, as many as are asked for, which spaces or tabs stand between.
    pub(super) fn numbers<const N: usize>(&self, path: &str) -> Option<[u64; N]> {
        let text = self.text(path)?;
        let mut numbers = text.split_whitespace().map(|word| word.parse().ok());
        let mut all = [0; N];
        for number in &mut all {
            *number = numbers.next()??;
        }
        Some(all)
    }

    /// The number in a file.
    pub(super) fn number(&self, path: &str) -> Option<u64> {
        self.numbers(path).map(|[number]| number)
    }

    /// The rest of the line of a file that begins with `key`.
    pub(super) fn field(&self, path: &str, key: &str) -> Option<String> {
        let text = self.text(path)?;
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        Some(line.trim().to_owned())
    }

    /// Whether this process has a capability (proc_pid_status(5), `CapEff`).
    pub(super) fn has_capability(&self, number: u32) -> bool {
        let set = self.field("/proc/self/status", "CapEff:");
        let set = set.and_then(|text| u64::from_str_radix(&text, 16).ok());
        set.is_some_and(|set| set >> number & 1 == 1)
    }

    /// How much memory the process may have.
    pub(super) fn memory(&self) -> Option<MemoryBound> {
        machine::memory_by(&|path| (self.read)(path))
    }

    /// How much of the machine's memory could be had now, in bytes (proc_meminfo(5)).
    pub(super) fn memory_left(&self) -> Option<u64> {
        machine::meminfo_bytes(&self.text("/proc/meminfo")?, "MemAvailable:")
    }

    /// How much CPU control groups let the process have, in thousandths of one.
    pub(super) fn cpu_quota(&self) -> Option<u64> {
        machine::cpu_quota_by(&|path| (self.read)(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_is_none() {
        for (text, numbers) in [
            ("1\t22 333\n", Some([1, 22])),
            ("1\n", None),
            ("", None),
            ("1 x", None),
            ("-1 2", None),
            ("18446744073709551616 2", None),
        ] {
            let read = |_: &Path| Some(text.to_owned());
            assert_eq!(MachineFiles::made_up(&read).numbers("/a"), numbers, "{text:?}");
        }
    }
}

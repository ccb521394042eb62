//! Where figures were measured.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use serde::Serialize;
use tidegate::kernel::raise_open_files;
use time::OffsetDateTime;

/// A machine, and the day.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The day, in UTC: 2026-01-31.
    pub date: String,
    /// The processor's name.
    pub processor: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// RAM, in bytes.
    pub memory_bytes: u64,
    /// The kernel's release.
    pub kernel: String,
    /// The limit of open files.
    pub open_files: u64,
    /// The revision of the sources, if they are in a Git repository; `+` if they were changed.
    pub revision: Option<String>,
}

impl Machine {
    /// This one, today. What cannot be found out is "unknown" or 0.
    #[must_use]
    pub fn here() -> Self {
        let unknown = || "unknown".to_owned();
        Self {
            date: OffsetDateTime::now_utc().date().to_string(),
            processor: field("/proc/cpuinfo", "model name").unwrap_or_else(unknown),
            cores: thread::available_parallelism().map_or(0, Into::into),
            memory_bytes: memory_bytes().unwrap_or(0),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .map_or_else(|_| unknown(), |release| release.trim().to_owned()),
            open_files: raise_open_files().unwrap_or(0),
            revision: revision(),
        }
    }
}

/// What stands behind `name` and a colon in a file of proc(5), the first time.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim_start().strip_prefix(':')?.trim().to_owned())
}

fn memory_bytes() -> Option<u64> {
    let total = field("/proc/meminfo", "MemTotal")?;
    total.strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

fn revision() -> Option<String> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut git = Command::new("git");
    git.arg("-C").arg(sources).args(["describe", "--always", "--exclude=*", "--dirty=+"]);
    let output = git.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

impl fmt::Display for Machine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { date, processor, cores, kernel, open_files, .. } = self;
        let gib = self.memory_bytes as f64 / f64::from(1 << 30);
        write!(out, "{date}; {processor}, {cores} cores, {gib:.0} GiB; Linux {kernel}; ")?;
        write!(out, "{open_files} open files")?;
        match &self.revision {
            Some(revision) => write!(out, "; sources at {revision}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_one_is_known() {
        let machine = Machine::here();
        assert!(machine.memory_bytes > 1 << 28 && machine.cores > 0, "{machine:?}");
        assert!(machine.kernel.starts_with(|first: char| first.is_ascii_digit()), "{machine:?}");
        assert_eq!(machine.date.len(), "2026-01-31".len());
        assert!(machine.to_string().contains("open files"));
    }
}

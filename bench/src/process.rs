//! What the kernel knows of a process: proc(5).

use std::fs;
use std::io;
use std::ops::Sub;
use std::time::Duration;

/// Clock ticks per second of the times in `/proc/PID/stat`: `USER_HZ`, which is 100 on every
/// architecture that Linux runs on today.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time, of all threads of a process together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// In user mode.
    pub user: Duration,
    /// In kernel mode.
    pub system: Duration,
}

impl CpuTime {
    /// What process `pid` has used so far.
    ///
    /// The sum comes from the scheduler, to the nanosecond and for the threads that live; which
    /// part of it was in kernel mode comes from `/proc/PID/stat`, whose clock ticks 100 times a
    /// second.
    ///
    /// # Errors
    /// There is no such process.
    pub fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let ticked = Self::parse(&stat)
            .ok_or_else(|| io::Error::other("/proc/PID/stat is not as in proc(5)"))?;
        Ok(ticked.scaled_to(scheduled(pid)?))
    }

    /// The same proportions with another sum; unchanged if that is zero. A process that no tick has
    /// met was in user mode, for want of better knowledge.
    fn scaled_to(self, sum: Duration) -> Self {
        if sum.is_zero() {
            return self;
        }
        if self.total().is_zero() {
            return Self { user: sum, system: Duration::ZERO };
        }
        let system = sum.mul_f64(self.system.as_secs_f64() / self.total().as_secs_f64());
        Self { user: sum.saturating_sub(system), system }
    }

    /// User and system time together.
    #[must_use]
    pub fn total(self) -> Duration {
        self.user + self.system
    }

    fn parse(stat: &str) -> Option<Self> {
        // Field 2, the command's name, is in parentheses and may itself have blanks in it; utime
        // and stime are fields 14 and 15.
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
        let mut time = || {
            let ticks: f64 = fields.next()?.parse().ok()?;
            Some(Duration::from_secs_f64(ticks / TICKS_PER_SECOND))
        };
        Some(Self { user: time()?, system: time()? })
    }
}

/// The time that the threads of process `pid` that live have been ready to run and had to wait for
/// a processor: what others on the same cores have taken from it.
///
/// # Errors
/// There is no such process.
pub fn waited_for_cpu(pid: u32) -> io::Result<Duration> {
    schedstat(pid, 1)
}

/// The time that the threads of a process that live have been on a processor.
fn scheduled(pid: u32) -> io::Result<Duration> {
    schedstat(pid, 0)
}

/// The sum over the threads of a process of a number of `/proc/PID/task/TID/schedstat`: the first is
/// the time on a processor, the second the time waiting for one, in nanoseconds (Linux,
/// `sched-stats.rst`).
fn schedstat(pid: u32, index: usize) -> io::Result<Duration> {
    let mut sum_ns = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread that has ended between the two calls, or a kernel without the file.
        let Ok(line) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        let number = line.split_ascii_whitespace().nth(index).and_then(|it| it.parse().ok());
        sum_ns += number.unwrap_or(0);
    }
    Ok(Duration::from_nanos(sum_ns))
}

impl Sub for CpuTime {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
        }
    }
}

/// The most memory that process `pid` has had resident so far, in bytes (`VmHWM`, proc(5)).
///
/// # Errors
/// There is no such process, or it is another user's.
pub fn peak_resident_bytes(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other("/proc/PID/status has no VmHWM"))
}

/// User-space memory of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Bytes in RAM, those shared with other processes among them.
    pub resident_bytes: u64,
    /// Bytes in RAM that are this process's own.
    pub private_bytes: u64,
}

impl MemoryUse {
    /// What process `pid` uses now, in pages.
    ///
    /// # Errors
    /// There is no such process, or it is another user's.
    pub fn of(pid: u32) -> io::Result<Self> {
        Ok(Self::parse(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?))
    }

    fn parse(rollup: &str) -> Self {
        let mut memory = Self::default();
        for line in rollup.lines() {
            let mut words = line.split_ascii_whitespace();
            let (Some(name), Some(number)) = (words.next(), words.next()) else { continue };
            let bytes = number.parse::<u64>().unwrap_or(0) * 1024;
            match name {
                "Rss:" => memory.resident_bytes = bytes,
                "Private_Clean:" | "Private_Dirty:" => memory.private_bytes += bytes,
                _ => {}
            }
        }
        memory
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_parentheses() {
        let stat = "12 (a) b (c) S 1 1 1 0 -1 0 10 0 0 0 250 75 0 0 20 0 3 0 100";
        let expected =
            CpuTime { user: Duration::from_millis(2500), system: Duration::from_millis(750) };
        assert_eq!(CpuTime::parse(stat), Some(expected));
        assert_eq!(CpuTime::parse("12 (a) S"), None);
    }

    #[test]
    fn proportions_stay() {
        let ms = Duration::from_millis;
        let ticked = CpuTime { user: ms(10), system: ms(30) };
        assert_eq!(ticked.scaled_to(ms(80)), CpuTime { user: ms(20), system: ms(60) });
        assert_eq!(ticked.scaled_to(ms(0)), ticked);
        assert_eq!(CpuTime::default().scaled_to(ms(5)).total(), ms(5));
    }

    #[test]
    fn private_is_clean_and_dirty() {
        let rollup = "00-ff ---p 0 00:00 0 [rollup]\nRss: 10 kB\nPrivate_Clean: 2 kB\n\
                      Private_Dirty: 3 kB\nSwap: 0 kB\n";
        let expected = MemoryUse { resident_bytes: 10 << 10, private_bytes: 5 << 10 };
        assert_eq!(MemoryUse::parse(rollup), expected);
    }

    #[test]
    fn this_process() {
        let pid = std::process::id();
        assert!(MemoryUse::of(pid).unwrap().private_bytes > 0);
        assert!(CpuTime::of(pid).is_ok());
        assert!(waited_for_cpu(pid).is_ok());
        assert!(peak_resident_bytes(pid).unwrap() > 0);
    }
}

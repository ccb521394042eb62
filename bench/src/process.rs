//! What the kernel knows of a process: proc(5).

use std::fs;
use std::io;
use std::ops::Sub;
use std::time::Duration;

use nix::time::ClockId;
use nix::unistd::Pid;

/// CPU time, of all threads of a process together.
///
/// How much comes from the process's own clock (clock_getcpuclockid(3)), to the nanosecond, with
/// threads that have ended. Which part of it was in kernel mode comes from `/proc/PID/stat`, whose
/// clock ticks 100 times a second: for a difference, from the ticks between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    sum: Duration,
    user_ticks: u64,
    system_ticks: u64,
}

impl CpuTime {
    /// What process `pid` has used so far.
    ///
    /// # Errors
    /// There is no such process.
    pub fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let (user_ticks, system_ticks) =
            ticks(&stat).ok_or_else(|| io::Error::other("/proc/PID/stat is not as in proc(5)"))?;
        let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid as i32))?;
        Ok(Self { sum: clock.now()?.into(), user_ticks, system_ticks })
    }

    /// User and system time together.
    #[must_use]
    pub fn total(self) -> Duration {
        self.sum
    }

    /// In user mode.
    #[must_use]
    pub fn user(self) -> Duration {
        self.sum.saturating_sub(self.system())
    }

    /// In kernel mode, where a server is most of the time: all of it if no clock has ticked.
    #[must_use]
    pub fn system(self) -> Duration {
        match self.user_ticks + self.system_ticks {
            0 => self.sum,
            ticks => self.sum.mul_f64(self.system_ticks as f64 / ticks as f64),
        }
    }
}

/// User and system time of `/proc/PID/stat`, in ticks.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    // Field 2, the command's name, is in parentheses and may itself have blanks in it; utime and
    // stime are fields 14 and 15.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut next = || fields.next()?.parse().ok();
    Some((next()?, next()?))
}

/// The time that the threads of process `pid` that live have been ready to run and had to wait for
/// a processor: what others on the same cores have taken from it. It is the second number of
/// `/proc/PID/task/TID/schedstat`, in nanoseconds (Linux, `sched-stats.rst`).
///
/// # Errors
/// There is no such process.
pub fn waited_for_cpu(pid: u32) -> io::Result<Duration> {
    let mut sum_ns = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread that has ended between the two calls, or a kernel without the file.
        let Ok(line) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        sum_ns += line.split_ascii_whitespace().nth(1).and_then(|it| it.parse().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(sum_ns))
}

impl Sub for CpuTime {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            sum: self.sum.saturating_sub(earlier.sum),
            user_ticks: self.user_ticks.saturating_sub(earlier.user_ticks),
            system_ticks: self.system_ticks.saturating_sub(earlier.system_ticks),
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
        assert_eq!(ticks(stat), Some((250, 75)));
        assert_eq!(ticks("12 (a) S"), None);
    }

    #[test]
    fn a_difference_has_proportions_of_its_own() {
        let ms = Duration::from_millis;
        let before = CpuTime { sum: ms(100), user_ticks: 9, system_ticks: 1 };
        let after = CpuTime { sum: ms(180), user_ticks: 11, system_ticks: 7 };
        let between = after - before;
        assert_eq!((between.total(), between.user(), between.system()), (ms(80), ms(20), ms(60)));
        let at_once = CpuTime { sum: ms(5), ..CpuTime::default() };
        assert_eq!((at_once.user(), at_once.system()), (ms(0), ms(5)));
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

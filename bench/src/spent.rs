//! What a server uses for something, and when it rests.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crate::process::{CpuTime, MemoryUse, waited_for_cpu};

/// How often it is looked whether the server rests.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// CPU time that a server may use from one look to the next and be taken to rest.
const RESTING: Duration = Duration::from_millis(1);

/// What was used for something.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    pub(crate) time: Duration,
    /// The server's.
    pub(crate) cpu: Duration,
    /// What the server waited for a core.
    pub(crate) waited: Duration,
}

impl Spent {
    /// What is used while `work` is done.
    pub(crate) fn on(pid: u32, work: impl FnOnce() -> io::Result<()>) -> io::Result<Self> {
        let (cpu, waited, started) = (CpuTime::of(pid)?, waited_for_cpu(pid)?, Instant::now());
        work()?;
        let time = started.elapsed();
        let waited = waited_for_cpu(pid)?.saturating_sub(waited);
        Ok(Self { time, cpu: (CpuTime::of(pid)? - cpu).total(), waited })
    }
}

/// Waits until the server rests, though not for longer than so many seconds: some never do. Yields
/// its private memory then.
pub(crate) fn rest(pid: u32, at_most: f64) -> io::Result<u64> {
    let until = Instant::now() + Duration::from_secs_f64(at_most);
    let mut used = CpuTime::of(pid)?.total();
    while Instant::now() < until {
        thread::sleep(LOOK_EVERY);
        let before = std::mem::replace(&mut used, CpuTime::of(pid)?.total());
        if used.saturating_sub(before) < RESTING {
            break;
        }
    }
    Ok(MemoryUse::of(pid)?.private_bytes)
}

/// So many per second; 0 if no time has passed.
pub(crate) fn per_second(count: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { count as f64 / time.as_secs_f64() }
}

//! A clock that ticks on a ring of monoio, finer than its own timers' millisecond.

use std::fs;
use std::io;
use std::time::Duration;

use monoio::fs::File;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// Ticks at equal distances (timerfd_create(2)).
pub(crate) struct Ticks {
    timer: File,
    /// Where the kernel writes how many ticks have passed.
    room: Vec<u8>,
}

impl Ticks {
    /// Ticks every so often from now on.
    pub(crate) fn every(interval: Duration) -> io::Result<Self> {
        let interval =
            Timespec { tv_sec: interval.as_secs() as i64, tv_nsec: interval.subsec_nanos().into() };
        let spec = Itimerspec { it_interval: interval, it_value: interval };
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &spec)?;
        let timer = File::from_std(fs::File::from(timer))?;
        Ok(Self { timer, room: vec![0; size_of::<u64>()] })
    }

    /// Waits for the next tick; at once if there have been some since the last call.
    pub(crate) async fn next(&mut self) -> io::Result<()> {
        let (read, room) = self.timer.read_at(std::mem::take(&mut self.room), 0).await;
        self.room = room;
        read.map(|_| ())
    }
}

//! What the signals mean that the program is sent.

use std::io;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::{Handle as Closer, Signals as Raised};
use tidegate::gateway;
use tidegate::steering::{DrainAsked, Handle, NotChanged, ReloadOptions, Reloader};

use crate::manager::Manager;

/// How long after the first signal to end another one is the same: `timeout(1)` and shells send
/// one to the process and one to its group, moments apart, and both arrive.
const SAME: Duration = Duration::from_secs(1);

/// The signals of the program, from when they are caught.
pub struct Signals {
    raised: Raised,
    /// When the first signal to end came.
    ending: Option<Instant>,
}

/// What a signal to end asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// It is the first.
    Drain,
    /// It came together with the first.
    Nothing,
    /// Somebody does not want to wait.
    Stop,
}

impl Signals {
    /// Catches the signals. (Rust's runtime has SIGPIPE ignored.)
    ///
    /// # Errors
    ///
    /// The kernel refused.
    pub fn catch() -> io::Result<Self> {
        let raised = Raised::new([SIGTERM, SIGINT, SIGQUIT, SIGUSR1, SIGHUP, SIGUSR2])?;
        Ok(Self { raised, ending: None })
    }

    /// What makes [`Signals::serve`] return.
    pub fn closer(&self) -> Closer {
        self.raised.handle()
    }

    /// Does what signals ask of the gateway behind `handle`, of which `manager` is told, and of its
    /// `reloader`, until the closer closes them. Returns whether the gateway was told to stop at
    /// once.
    pub fn serve(mut self, handle: &Handle, reloader: &Reloader, manager: &Manager) -> bool {
        let mut was_stopped = false;
        for signal in self.raised.forever() {
            match signal {
                SIGUSR1 => log_counters(handle),
                SIGHUP => hang_up(reloader),
                SIGUSR2 => ignore("SIGUSR2"),
                _ => {
                    if !is_leaving(handle) {
                        // It is the first one, or what the last one asked for was taken back,
                        // whatever others have asked for since.
                        self.ending = None;
                    }
                    let ending = ending(&mut self.ending, Instant::now());
                    was_stopped |= ending == Ending::Stop;
                    end(handle, ending);
                    manager.draining();
                }
            }
        }
        was_stopped
    }
}

/// Whether the gateway drains because a signal has asked for that.
fn is_leaving(handle: &Handle) -> bool {
    let drain = handle.last_drain();
    drain.is_some_and(|drain| drain.is_in_force() && drain.asked == DrainAsked::ToLeave)
}

/// What a signal to end asks for that comes `now`, where the first came at `first`.
fn ending(first: &mut Option<Instant>, now: Instant) -> Ending {
    match *first {
        None => {
            *first = Some(now);
            Ending::Drain
        }
        Some(first) if now.saturating_duration_since(first) < SAME => Ending::Nothing,
        Some(_) => Ending::Stop,
    }
}

fn end(handle: &Handle, ending: Ending) {
    match ending {
        Ending::Drain => {
            tracing::info!("draining; a signal a second from now, or later, stops at once");
            handle.drain();
        }
        Ending::Nothing => {
            tracing::info!("another signal to end within a second counts as the same one");
        }
        Ending::Stop => {
            tracing::info!(
                "a second signal to end: stopping at once; who is still connected is cut off, and \
                 told nothing"
            );
            handle.stop();
        }
    }
}

/// The default of these is to end the process without a word, and with it all connections.
fn ignore(name: &str) {
    tracing::warn!(
        "{name} is ignored: SIGTERM drains, SIGHUP reads the configuration anew, SIGUSR1 logs the \
         counters"
    );
}

/// Opens the file of the access log anew, and reads the configuration anew.
fn hang_up(reloader: &Reloader) {
    if let Some(access_log) = reloader.access_log() {
        access_log.reopen();
    }
    reload(reloader);
}

/// Reads the configuration anew, beside what other signals ask for. The log says what comes of it.
fn reload(reloader: &Reloader) {
    match reloader.reload_aside(ReloadOptions::default(), |_| ()) {
        // One that waits will see what was changed before this signal.
        Ok(()) | Err(NotChanged::UnderWay) => {}
        Err(error) => tracing::error!("the configuration stays as it is: {error}"),
    }
}

fn log_counters(handle: &Handle) {
    for (name, value) in gateway::counts(handle) {
        tracing::info!(target: "tidegate::counters", "{name} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_within_a_second_of_the_first_is_the_same() {
        let (begun, mut first) = (Instant::now(), None);
        let mut after = |millis| ending(&mut first, begun + Duration::from_millis(millis));
        assert_eq!(after(0), Ending::Drain);
        assert_eq!(after(0), Ending::Nothing);
        assert_eq!(after(999), Ending::Nothing);
        assert_eq!(after(1000), Ending::Stop, "of the first, not of the last");
        assert_eq!(after(1001), Ending::Stop);
    }
}

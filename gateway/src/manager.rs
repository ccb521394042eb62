//! What the service manager is told that has started the gateway, if it wants to know
//! (sd_notify(3)): that it serves, how it is, that it lives, that it ends.
//!
//! A thread of its own tells it, because whoever reads may be slow, and nothing else waits for
//! that.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tidegate::gateway::Gateway;
use tidegate::steering::{Handle, Pulse, Reloader};

/// The environment variable that says where the service manager listens.
const SOCKET: &str = "NOTIFY_SOCKET";

/// How often it is told how the gateway is, if it does not want to know whether it lives.
const STATUS_PERIOD: Duration = Duration::from_secs(10);

/// The shortest time between two looks at the shards: one with connections shows its turns once in
/// a quarter of a second.
const PERIOD_MIN: Duration = Duration::from_millis(500);

/// How much longer than the configured time a drain may take: what is left then is closed.
const GRACE: Duration = Duration::from_secs(5);

/// Addresses that a status names; of more, only their number is told.
const NAMED: usize = 3;

/// The stack of the thread, in bytes.
const THREAD_STACK: usize = 128 << 10;

/// The way to the service manager; it does nothing if there is none.
pub struct Manager {
    /// Tells the thread of a drain. Once it is gone, the thread ends.
    drains: Option<SyncSender<()>>,
}

/// What the thread has.
struct Teller {
    handle: Handle,
    reloader: Reloader,
    /// Whether all shards have turns, if that is asked for.
    pulse: Option<Pulse>,
    period: Duration,
    /// What it was told last.
    status: String,
    /// What it has to be told once and was not yet: that the gateway serves, or drains.
    owed: Vec<NotifyState<'static>>,
    /// Whether it could not be told the last time.
    has_failed: bool,
}

impl Manager {
    /// Tells the service manager that the gateway serves, and from then on how it is.
    pub fn serving(gateway: &Gateway) -> Self {
        if std::env::var_os(SOCKET).is_none() {
            return Self { drains: None };
        }
        let watchdog = sd_notify::watchdog_enabled().filter(|within| !within.is_zero());
        if watchdog.is_some_and(|within| within < 4 * PERIOD_MIN) {
            tracing::warn!(
                ?watchdog,
                "the service manager wants to know sooner than shards are looked at whether the \
                 gateway lives: write WatchdogSec=2s or more in its unit"
            );
        }
        let teller = Teller {
            handle: gateway.handle(),
            reloader: gateway.reloader(),
            pulse: watchdog.map(|_| Pulse::new(gateway.handle())),
            period: watchdog.map_or(STATUS_PERIOD, |within| (within / 4).max(PERIOD_MIN)),
            status: String::new(),
            owed: vec![NotifyState::Ready],
            has_failed: false,
        };
        let (drains, asked) = sync_channel(1);
        let spawned = thread::Builder::new().name("manager".into()).stack_size(THREAD_STACK);
        let spawned = spawned.spawn(move || teller.tell(&asked));
        if let Err(error) = spawned {
            tracing::warn!(
                %error,
                "the thread that tells the service manager how the gateway is could not be \
                 started: it will take the start for failed; raise `TasksMax` in its unit"
            );
        }
        Self { drains: Some(drains) }
    }

    /// Tells the service manager that the gateway drains.
    pub fn draining(&self) {
        if let Some(drains) = &self.drains {
            // If the thread was told before, or is gone, there is nothing more to tell.
            let _ = drains.try_send(());
        }
    }
}

impl Teller {
    /// Tells until the gateway has ended.
    fn tell(mut self, asked: &Receiver<()>) {
        self.say(None);
        loop {
            match asked.recv_timeout(self.period) {
                Ok(()) => return self.tell_of_drain(asked),
                Err(RecvTimeoutError::Disconnected) => return,
                // Nobody but the admin address was asked.
                Err(RecvTimeoutError::Timeout) if self.handle.is_ending() => {
                    return self.tell_of_drain(asked);
                }
                Err(RecvTimeoutError::Timeout) => {
                    let lives = self.lives();
                    self.say(lives.then_some(NotifyState::Watchdog));
                }
            }
        }
    }

    /// Tells of a drain until the gateway has ended. Whether it lives is no longer asked then, only
    /// whether it ends in time, which is `TimeoutStopSec` or what the configuration says if that is
    /// more.
    fn tell_of_drain(&mut self, asked: &Receiver<()>) {
        let usual = self.handle.usual_drain();
        let usual = usual.delay + usual.time;
        let drain = self.handle.last_drain().map_or(usual, |drain| drain.time_left());
        let until = Instant::now() + drain + GRACE;
        self.owed.push(NotifyState::Stopping);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let left = u32::try_from(left.as_micros()).unwrap_or(u32::MAX);
            self.say((left > 0).then_some(NotifyState::ExtendTimeoutUsec(left)));
            if asked.recv_timeout(self.period) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
        }
    }

    /// Whether the service manager is to be told that the gateway lives: all shards have had a turn
    /// since it was asked last.
    fn lives(&mut self) -> bool {
        let Some(pulse) = &mut self.pulse else { return false };
        let still = pulse.still();
        // One that was told to end has no more turns once it has.
        if self.handle.is_ending() {
            return false;
        }
        if let Some(shard) = still.first() {
            let seconds = self.period.as_secs_f32();
            tracing::error!(
                "shard {shard} has had no turn for {seconds} s: the service manager is not told \
                 that the gateway lives, and ends it if this goes on"
            );
        }
        still.is_empty()
    }

    /// Says this, with what is owed, and how the gateway is if that has changed. What cannot be
    /// said now, for want of a descriptor or because the manager starts anew, is tried again the
    /// next time.
    fn say(&mut self, news: Option<NotifyState<'static>>) {
        let connections = self.handle.counters().connections;
        let status = match self.handle.is_serving() {
            true => {
                format!("serving {connections} connections on {}", named(&self.reloader))
            }
            false => format!("draining: {connections} connections left"),
        };
        let mut said: Vec<NotifyState<'_>> = self.owed.clone();
        said.extend(news);
        if status != self.status {
            said.push(NotifyState::Status(&status));
        }
        if said.is_empty() {
            return;
        }
        match sd_notify::notify(&said) {
            Ok(()) => {
                (self.status, self.has_failed) = (status, false);
                self.owed.clear();
            }
            Err(error) if !std::mem::replace(&mut self.has_failed, true) => {
                tracing::warn!(
                    %error,
                    "the service manager cannot be told how the gateway is; this is tried again, \
                     and a watchdog ends the gateway if it goes on"
                );
            }
            Err(_) => {}
        }
    }
}

/// The addresses that a gateway listens on, or how many there are.
fn named(reloader: &Reloader) -> String {
    let all: Vec<String> = reloader.addresses().iter().map(ToString::to_string).collect();
    match all.len() {
        0..=NAMED => all.join(", "),
        count => format!("{count} addresses"),
    }
}

//! Having all shards take a change over, and everybody else with them.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::Reloader;
use super::considering::{Considered, NextLog};
use super::not_changed::NotChanged;
use crate::access_log::AccessThread;
use crate::checks::CheckThreads;
use crate::shard::ConfigChange;

/// How long shards may take to be ready, and then to have it. They do it beside their work.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long it is waited at a stretch, where no shard says anything.
const PAUSE: Duration = Duration::from_millis(20);

/// What changes with it, one change at a time.
pub(super) struct Changing {
    pub(super) threads: CheckThreads,
    /// The access log, which shards say their last to before it ends.
    pub(super) access_log: Option<AccessThread>,
    /// What was put in force last.
    pub(super) last: Option<Arc<ConfigChange>>,
    /// The gateway has ended.
    pub(super) is_over: bool,
}

impl Reloader {
    /// Checks that nothing is in the way of a change.
    pub(super) fn check_free(&self, changing: &Changing) -> Result<(), NotChanged> {
        let handle = self.handle();
        let shards = handle.wires().len() as u32;
        match () {
            () if changing.is_over || handle.is_ending() => Err(NotChanged::Ending),
            () if changing.last.as_ref().is_some_and(|last| last.done() < shards) => {
                Err(NotChanged::UnderWay)
            }
            () => Ok(()),
        }
    }

    /// Has all shards take the change over, and everybody else with them. Returns what there is to
    /// say of it, if not all of them have it yet.
    ///
    /// # Errors
    /// Nothing has changed.
    pub(super) fn take_over(
        &self,
        change: &Arc<ConfigChange>,
        considered: Considered,
    ) -> Result<Option<String>, NotChanged> {
        let Considered { next, files, listening, log, .. } = considered;
        let mut changing = self.lock();
        self.check_free(&changing)?;
        self.prepare(change)?;
        let threads = changing.threads.serve(&next.config, &next.checks, self.door());
        let made = threads.map_err(NotChanged::Thread).and_then(|()| listening.put_in_order());
        let made = made.and_then(|()| {
            next_thread(log, changing.access_log.as_ref()).inspect_err(|_| listening.give_back())
        });
        let log = made.inspect_err(|_| self.take_back(change))?;
        listening.tell();
        self.handle().usually_drain_as(&next.config);
        // What it is called by is known before anybody is on it.
        self.has_in_force(next);
        self.certificates().take(files);
        changing.last = Some(Arc::clone(change));
        let late = self.put_in_force(change);
        if let Some(log) = log {
            // The one before writes what shards have said to it, and ends.
            drop(std::mem::replace(&mut changing.access_log, log));
        }
        Ok(late)
    }

    /// Hands the change to all shards, and waits until they are ready for it.
    fn prepare(&self, change: &Arc<ConfigChange>) -> Result<(), NotChanged> {
        let handle = self.handle();
        let shards = handle.wires().len() as u32;
        for wire in handle.wires() {
            wire.panel.change(Some(Arc::clone(change)), &wire.waker);
        }
        let is_decided = || change.ready() == shards || change.wrong().is_some();
        let waited = wait(is_decided, || handle.is_ending());
        let wrong = change.wrong().map(NotChanged::Shard);
        let why = wrong.map_or(waited, Err);
        why.inspect_err(|_| self.take_back(change))
    }

    /// Nothing comes of the change.
    fn take_back(&self, change: &Arc<ConfigChange>) {
        change.abandon();
        for wire in self.handle().wires() {
            wire.panel.change(None, &wire.waker);
        }
        // Whoever lets go of it last takes its routes down, which is not to be a shard.
        let is_let_go = || Arc::strong_count(change) == 1;
        let _ = wait(is_let_go, || self.handle().is_ending());
    }

    /// All shards have it from one moment on, and it is waited until each does. Returns what there
    /// is to say if one does not.
    fn put_in_force(&self, change: &ConfigChange) -> Option<String> {
        let handle = self.handle();
        let shards = handle.wires().len() as u32;
        change.put_in_force();
        for wire in handle.wires() {
            wire.waker.wake();
        }
        if wait(|| change.done() == shards, || handle.is_ending()).is_err() {
            return Some(format!(
                "the configuration is in force, but only {} of {shards} shards have it yet: the \
                 others have had no turn of their loops, or the gateway ends",
                change.done()
            ));
        }
        for wire in handle.wires() {
            wire.panel.change(None, &wire.waker);
        }
        None
    }
}

/// Starts what takes the place of the access log, if something does.
///
/// # Errors
/// It could not be started: then nothing is left of it.
fn next_thread(
    log: NextLog,
    before: Option<&AccessThread>,
) -> Result<Option<Option<AccessThread>>, NotChanged> {
    let NextLog::Other(log) = log else { return Ok(None) };
    let started = log.map(|log| log.start(before)).transpose();
    started.map(Some).map_err(NotChanged::AccessLog)
}

/// Waits until something is so.
///
/// # Errors
/// It is not in time, or the gateway ends.
fn wait(is_so: impl Fn() -> bool, is_ending: impl Fn() -> bool) -> Result<(), NotChanged> {
    let until = Instant::now() + PATIENCE;
    loop {
        match () {
            () if is_so() => return Ok(()),
            () if is_ending() => return Err(NotChanged::Ending),
            () if Instant::now() > until => return Err(NotChanged::Late(PATIENCE)),
            () => thread::park_timeout(PAUSE),
        }
    }
}

//! The thread of one shard: where it runs, how it says that it is set up, and that all end with it.

use std::any::Any;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use core_affinity::CoreId;

use super::{Gateway, Program, StartError};
use crate::access_log::AccessFeed;
use crate::census::Census;
use crate::checks::GatekeeperParts;
use crate::config::{Config, Pin};
use crate::hub::Hub;
use crate::kernel::{Driver, ListeningSocket};
use crate::shard::{Assembly, BuildError, ListenerTable, Panel, RouteTable};
use crate::steering::Handle;

/// What a shard's thread says when it is set up.
pub(super) type SetUp = Result<(), BuildError>;

/// The stack of a shard's thread, in bytes. Nothing there recurses, and what is large is pooled.
pub(super) const THREAD_STACK: usize = 512 << 10;

/// How often a shard that is set up looks whether it is to end before it has begun.
const PAUSE: Duration = Duration::from_millis(20);

/// What all shards are made of.
pub(super) struct Parts {
    driver: Driver,
    pub(super) config: Arc<Config>,
    pub(super) routes: Arc<RouteTable>,
    pub(super) listening: Arc<ListenerTable>,
    program: Program,
    checks: GatekeeperParts,
    pub(super) census: Arc<Census>,
    access_log: Option<AccessFeed>,
    /// The cores that shards are pinned to; none if they are not.
    cores: Vec<CoreId>,
}

impl Parts {
    /// Of these, `shards` shards are made.
    pub(super) fn new(
        config: Arc<Config>,
        program: Program,
        listening: ListenerTable,
        shards: usize,
        driver: Driver,
    ) -> Self {
        let cores = cores_to_pin(config.pin, shards);
        let (checks, census) = (GatekeeperParts::none(), Arc::new(Census::new(&config)));
        let (access_log, listening) = (None, Arc::new(listening));
        let routes = Arc::new(RouteTable::new(&config.routes));
        Self { driver, cores, routes, listening, config, program, checks, census, access_log }
    }

    /// With these to check requests by.
    pub(super) fn with_checks(self, checks: GatekeeperParts) -> Self {
        Self { checks, ..self }
    }

    /// With this access log.
    pub(super) fn with_access_log(self, access_log: Option<AccessFeed>) -> Self {
        Self { access_log, ..self }
    }

    /// What shard `index` starts with, where it says that it is ready, and by what it is told to
    /// begin.
    pub(super) fn shard(
        &self,
        index: usize,
        listeners: Vec<ListeningSocket>,
        hub: Hub,
        all: &Handle,
    ) -> (Start, Receiver<SetUp>, SyncSender<()>) {
        let wire = &all.wires()[index];
        let assembly = Assembly {
            index,
            config: Arc::clone(&self.config),
            routes: Arc::clone(&self.routes),
            listening: Arc::clone(&self.listening),
            listeners,
            waker: wire.waker.clone(),
            panel: Arc::clone(&wire.panel),
            program: self.program.clone(),
            checks: self.checks.clone(),
            census: Arc::clone(&self.census),
            access_log: self.access_log.clone(),
            hub,
        };
        let core = self.cores.get(index % self.cores.len().max(1)).copied();
        let ((ready, readiness), (begin, begins)) = (sync_channel(1), sync_channel(1));
        let start = Start { assembly, driver: self.driver, core, all: all.clone(), ready, begins };
        (start, readiness, begin)
    }
}

impl Gateway {
    /// Starts the threads of shards, each with its sockets and its part of the hub, and waits until
    /// they are set up. Returns what tells each to begin.
    pub(super) fn start_shards<B, R>(
        &mut self,
        parts: &Parts,
        shards: impl Iterator<Item = (Vec<ListeningSocket>, Hub)>,
        build: &B,
    ) -> Result<Vec<SyncSender<()>>, StartError>
    where
        B: Fn(Assembly, Driver) -> Result<R, BuildError> + Clone + Send + 'static,
        R: FnOnce() -> io::Result<()>,
    {
        let (mut readiness, mut begin) = (Vec::new(), Vec::new());
        for (index, (listeners, hub)) in shards.enumerate() {
            let (start, ready, begins) = parts.shard(index, listeners, hub, &self.handle);
            self.threads.push(start.spawn(build.clone())?);
            readiness.push(ready);
            begin.push(begins);
        }
        self.wait_until_ready(&readiness)?;
        Ok(begin)
    }

    /// Waits until every shard has said that it is set up.
    fn wait_until_ready(&mut self, readiness: &[Receiver<SetUp>]) -> Result<(), StartError> {
        for (shard, ready) in readiness.iter().enumerate() {
            match ready.recv() {
                Ok(Ok(())) => {}
                Ok(Err(BuildError::Ring(error))) => return Err(StartError::Ring { shard, error }),
                Ok(Err(BuildError::NoHandler(error))) => return Err(StartError::NoHandler(error)),
                // The thread ended without a word.
                Err(_) => {
                    self.stop();
                    let end = self.join_threads();
                    return end.map_err(StartError::Shard);
                }
            }
        }
        Ok(())
    }
}

/// What a shard's thread starts with.
pub(super) struct Start {
    assembly: Assembly,
    driver: Driver,
    /// Where to run; `None` for anywhere.
    core: Option<CoreId>,
    /// All shards, to be stopped if this one fails.
    all: Handle,
    ready: SyncSender<SetUp>,
    /// Tells it to begin, once the whole gateway is set up: who is accepted before a start fails
    /// would be cut, and is left to the next gateway where sockets were passed.
    begins: Receiver<()>,
}

impl Start {
    pub(super) fn spawn<B, R>(self, build: B) -> Result<JoinHandle<io::Result<()>>, StartError>
    where
        B: Fn(Assembly, Driver) -> Result<R, BuildError> + Send + 'static,
        R: FnOnce() -> io::Result<()>,
    {
        let shard = self.assembly.index;
        thread::Builder::new()
            .name(format!("shard-{shard}"))
            .stack_size(THREAD_STACK)
            .spawn(move || self.run(build))
            .map_err(|error| StartError::Thread { shard, error })
    }

    /// The whole life of a shard's thread.
    fn run<B, R>(self, build: B) -> io::Result<()>
    where
        B: Fn(Assembly, Driver) -> Result<R, BuildError>,
        R: FnOnce() -> io::Result<()>,
    {
        // Before the shard is built, so that its memory is that core's.
        pin(self.assembly.index, self.core);
        let mut guard = StopAll { all: self.all, armed: true };
        let panel = Arc::clone(&self.assembly.panel);
        let (readiness, shard) = match build(self.assembly, self.driver) {
            Ok(shard) => (Ok(()), Some(shard)),
            Err(error) => (Err(error), None),
        };
        // Nobody hears it only if another shard failed first; then this one is told to stop.
        let _ = self.ready.send(readiness);
        let shard = shard.filter(|_| may_begin(&self.begins, &panel));
        let result = shard.map_or(Ok(()), |run| run());
        guard.armed = result.is_err();
        result
    }
}

/// Waits until the shard is told to begin; `false` if it is to end instead.
fn may_begin(begins: &Receiver<()>, panel: &Panel) -> bool {
    loop {
        match begins.recv_timeout(PAUSE) {
            Ok(()) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
            Err(RecvTimeoutError::Timeout) if panel.stops() => return false,
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// Stops all shards when this one ends by an error or a panic.
struct StopAll {
    all: Handle,
    armed: bool,
}

impl Drop for StopAll {
    fn drop(&mut self) {
        if self.armed {
            self.all.stop();
        }
    }
}

/// The cores that shards are pinned to; none if they are not to be, or the kernel does not tell.
fn cores_to_pin(pin: Pin, shards: usize) -> Vec<CoreId> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let pins = pins(pin, shards, cores.len());
    let how = if pins { "pinned" } else { "not pinned" };
    tracing::info!(shards, cores = cores.len(), pin = pin.name(), "shards are {how} to cores");
    if pins { cores } else { Vec::new() }
}

/// Whether so many shards are pinned where the process may use so many cores. Gateways that use a
/// part of them would all take the same part.
fn pins(pin: Pin, shards: usize, cores: usize) -> bool {
    match pin {
        Pin::Auto => shards == cores,
        Pin::Always => true,
        Pin::Never => false,
    }
}

/// Pins this thread, which is the one of `shard`. A shard runs without, only slower.
fn pin(shard: usize, core: Option<CoreId>) {
    if let Some(core) = core
        && !core_affinity::set_for_current(core)
    {
        tracing::warn!("shard {shard} could not be pinned to core {}", core.id);
    }
}

/// What a panic says.
pub(super) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_pinned_if_they_are_all_the_cores() {
        assert!(pins(Pin::Auto, 4, 4));
        for (shards, cores) in [(1, 2), (2, 4), (8, 4), (1, 0)] {
            assert!(!pins(Pin::Auto, shards, cores), "{shards} on {cores}");
            assert!(pins(Pin::Always, shards, cores));
        }
        assert!(!pins(Pin::Never, 4, 4));
    }
}

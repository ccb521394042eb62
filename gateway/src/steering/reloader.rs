//! Having a gateway take over another configuration while it runs.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::not_changed::NotChanged;
use super::reload_report::{ReloadOptions, ReloadReport};
use super::{Certificates, Handle};
use crate::bill::Bill;
use crate::checks::{CheckThreads, GatekeeperParts, HashCounts, IssuerFacts};
use crate::config::Config;
use crate::hub::{Door, TopicRules};
use crate::shard::{ChangeParts, ConfigChange, RouteTable};
use crate::transport::tls::ReadAnew;

/// How long shards may take to be ready, and then to have it. They do it beside their work.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long it is waited at a stretch, where no shard says anything.
const PAUSE: Duration = Duration::from_millis(20);

/// The stack of a thread that reads a configuration, in bytes.
const THREAD_STACK: usize = 2 << 20;

/// Threads that read one, at once: one reads, and one waits, which will see what whoever asks now
/// has changed.
const READERS_MAX: u32 = 2;

/// Says what a gateway of a configuration may come to hold, or why the program cannot serve it.
pub(crate) type Judge = dyn Fn(&Config) -> Result<Bill, NotChanged> + Send + Sync;

/// Has a gateway take over another configuration; cheap to clone. It outlives its gateway, and
/// changes nothing then.
#[derive(Clone)]
pub struct Reloader(Arc<Inner>);

struct Inner {
    handle: Handle,
    certificates: Certificates,
    door: Door,
    judge: Box<Judge>,
    source: OnceLock<ConfigSource>,
    in_force: ArcSwap<InForce>,
    /// Held while a configuration and its files are read and taken over: one after the other.
    reading: Mutex<()>,
    /// Held while shards change. Nobody reads a file meanwhile, which may take for ever.
    changing: Mutex<Changing>,
    /// Threads that have it taken over, and those that only look what would change.
    readers: AtomicU32,
    lookers: AtomicU32,
    done: AtomicU64,
    refused: AtomicU64,
}

/// What changes with it, one change at a time.
struct Changing {
    threads: CheckThreads,
    /// What was put in force last.
    last: Option<Arc<ConfigChange>>,
    /// The gateway has ended.
    is_over: bool,
}

/// What is in force.
pub(crate) struct InForce {
    /// As it was written.
    pub(crate) configured: Arc<Config>,
    /// As it came to be on this machine.
    pub(crate) config: Arc<Config>,
    pub(crate) routes: Arc<RouteTable>,
    pub(crate) checks: GatekeeperParts,
    pub(crate) bill: Bill,
    /// What it was warned of.
    pub(crate) warnings: Vec<String>,
}

/// Where a program has its configuration.
pub struct ConfigSource {
    /// Reads it.
    pub read: Box<dyn Fn() -> Result<Config, String> + Send + Sync>,
    /// Is told of each that is in force from then on.
    pub taken_over: Box<dyn Fn(&Config) + Send + Sync>,
}

/// How often it was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReloadCounts {
    pub(crate) done: u64,
    pub(crate) refused: u64,
}

/// What a reloader is made of.
pub(crate) struct ReloaderParts {
    pub(crate) handle: Handle,
    pub(crate) certificates: Certificates,
    pub(crate) door: Door,
    pub(crate) threads: CheckThreads,
    pub(crate) judge: Box<Judge>,
    pub(crate) in_force: InForce,
}

impl Reloader {
    pub(crate) fn new(parts: ReloaderParts) -> Self {
        let ReloaderParts { handle, certificates, door, threads, judge, in_force } = parts;
        Self(Arc::new(Inner {
            handle,
            certificates,
            door,
            judge,
            source: OnceLock::new(),
            in_force: ArcSwap::from_pointee(in_force),
            reading: Mutex::new(()),
            changing: Mutex::new(Changing { threads, last: None, is_over: false }),
            readers: AtomicU32::new(0),
            lookers: AtomicU32::new(0),
            done: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }))
    }

    /// What is in force.
    pub(crate) fn in_force(&self) -> Arc<InForce> {
        self.0.in_force.load_full()
    }

    /// What is told of the issuers of tokens.
    pub(crate) fn issuers(&self) -> Vec<IssuerFacts> {
        self.in_force().checks.issuers().iter().map(|issuer| issuer.facts()).collect()
    }

    /// What is told of passwords that wait to be hashed; `None` if there are no passwords.
    pub(crate) fn hashing(&self) -> Option<HashCounts> {
        let in_force = self.in_force();
        let has_some = !in_force.config.passwords.is_empty();
        has_some.then(|| in_force.checks.hashers().counts())
    }

    /// How often it was done.
    pub(crate) fn counts(&self) -> ReloadCounts {
        let Inner { done, refused, .. } = &*self.0;
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        ReloadCounts { done: count(done), refused: count(refused) }
    }

    /// Starts the threads that the configuration wants which is in force.
    ///
    /// # Errors
    /// One could not be started.
    pub(crate) fn start_threads(&self) -> io::Result<()> {
        let in_force = self.in_force();
        self.lock().threads.serve(&in_force.config, &in_force.checks, &self.0.door)
    }

    /// The gateway has ended: its threads end, and nothing changes any more.
    pub(crate) fn close(&self) {
        let mut changing = self.lock();
        changing.is_over = true;
        changing.threads.end();
    }

    fn lock(&self) -> MutexGuard<'_, Changing> {
        self.0.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the program has its configuration: what [`Self::reload`] reads. What was said first
    /// stays.
    pub fn have_source(&self, source: ConfigSource) {
        let _ = self.0.source.set(source);
    }

    /// Reads the configuration anew and has the gateway take it over, and waits for that; says in
    /// the log what has come of it.
    ///
    /// # Errors
    /// Nothing has changed: why.
    pub fn reload(&self, options: ReloadOptions) -> Result<ReloadReport, NotChanged> {
        // Behind whoever reads already: what is read was written last.
        let _reading = self.0.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let source = self.0.source.get().ok_or(NotChanged::NoSource);
        let read = source.and_then(|source| (source.read)().map_err(NotChanged::Config));
        self.say(options, read.and_then(|wanted| self.change(wanted, options)))
    }

    /// Has the gateway take over this configuration, likewise.
    ///
    /// # Errors
    /// Nothing has changed: why.
    pub fn change_to(
        &self,
        wanted: Config,
        options: ReloadOptions,
    ) -> Result<ReloadReport, NotChanged> {
        let _reading = self.0.reading.lock().unwrap_or_else(PoisonError::into_inner);
        self.say(options, self.change(wanted, options))
    }

    /// As [`Self::reload`], on a thread of its own, which `tells` what has come of it.
    ///
    /// # Errors
    /// It is not read for this.
    pub fn reload_aside(
        &self,
        options: ReloadOptions,
        tells: impl FnOnce(Result<ReloadReport, NotChanged>) + Send + 'static,
    ) -> Result<(), NotChanged> {
        let reader = ConfigReader::begin(self, options).ok_or(NotChanged::UnderWay)?;
        let spawned = thread::Builder::new().name("reload".into()).stack_size(THREAD_STACK);
        let spawned = spawned.spawn(move || {
            let reloaded = reader.reloader.reload(options);
            drop(reader);
            tells(reloaded);
        });
        spawned.map(drop).map_err(NotChanged::Thread)
    }

    /// Says in the log what has come of it, and counts it.
    fn say(
        &self,
        options: ReloadOptions,
        reloaded: Result<ReloadReport, NotChanged>,
    ) -> Result<ReloadReport, NotChanged> {
        if options.dry_run {
            return reloaded;
        }
        match &reloaded {
            Ok(report) => {
                self.0.done.fetch_add(1, Ordering::Relaxed);
                report.log();
            }
            Err(why) => {
                self.0.refused.fetch_add(1, Ordering::Relaxed);
                if matches!(why, NotChanged::Files(_)) {
                    self.0.certificates.were_refused();
                }
                let what = "the configuration stays as it is";
                tracing::error!(target: "tidegate::reload", "{what}: {why}");
            }
        }
        reloaded
    }

    /// Takes a configuration over, or looks what that would be. It is called by one at a time.
    fn change(&self, wanted: Config, options: ReloadOptions) -> Result<ReloadReport, NotChanged> {
        let began = Instant::now();
        let Inner { certificates, judge, source, in_force, .. } = &*self.0;
        self.check_free(&self.lock())?;
        wanted.check().map_err(|wrong| NotChanged::Config(wrong.to_string()))?;
        let now = in_force.load_full();
        let differences = now.configured.differences(&wanted);
        let config = now.config.taking_over(wanted.clone());
        config.check().map_err(NotChanged::Mixed)?;
        // What needs a restart is told each time until there was one.
        let configured = Arc::new(now.configured.taking_over(wanted));
        let (bill, warnings) = (judge(&config)?, config.doubts());
        // Nobody reads others meanwhile, which would be newer.
        let held = certificates.hold();
        let read = certificates.read_anew(&config).map_err(NotChanged::Files)?;
        let checks = now.checks.read_anew(&config).map_err(NotChanged::Keys)?;
        let routes = now.routes.followed_by(&config.routes).map_err(NotChanged::Names)?;
        let mut report = ReloadReport { differences, warnings, took: Duration::ZERO };
        if options.dry_run {
            return Ok(ReloadReport { took: began.elapsed(), ..report });
        }
        let rules = config.topics.iter().map(|topic| (topic.name.as_str(), topic.rule));
        let change = Arc::new(ConfigChange::new(ChangeParts {
            routes: Arc::new(routes),
            checks: checks.clone(),
            rules: Arc::new(TopicRules::new(rules)),
            closes: options.closes_gone.then_some(config.drain_rate),
        }));
        let config = Arc::new(config);
        let next = InForce {
            configured,
            config: Arc::clone(&config),
            routes: Arc::clone(&change.parts().routes),
            checks,
            bill,
            warnings: report.warnings.clone(),
        };
        report.warnings.extend(self.take_over(&change, next, read)?);
        drop(held);
        report.warnings.extend(certificates.doubts());
        if let Some(source) = source.get() {
            (source.taken_over)(&config);
        }
        Ok(ReloadReport { took: began.elapsed(), ..report })
    }

    /// Checks that nothing is in the way of a change.
    fn check_free(&self, changing: &Changing) -> Result<(), NotChanged> {
        let handle = &self.0.handle;
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
    fn take_over(
        &self,
        change: &Arc<ConfigChange>,
        next: InForce,
        read: ReadAnew,
    ) -> Result<Option<String>, NotChanged> {
        let Inner { handle, certificates, door, in_force, .. } = &*self.0;
        let mut changing = self.lock();
        self.check_free(&changing)?;
        self.prepare(change)?;
        if let Err(error) = changing.threads.serve(&next.config, &next.checks, door) {
            self.take_back(change);
            return Err(NotChanged::Thread(error));
        }
        handle.usually_drain_as(&next.config);
        // What it is called by is known before anybody is on it.
        in_force.store(Arc::new(next));
        certificates.take(read);
        changing.last = Some(Arc::clone(change));
        Ok(self.put_in_force(change))
    }

    /// Hands the change to all shards, and waits until they are ready for it.
    fn prepare(&self, change: &Arc<ConfigChange>) -> Result<(), NotChanged> {
        let handle = &self.0.handle;
        let shards = handle.wires().len() as u32;
        for wire in handle.wires() {
            wire.panel.change(Some(Arc::clone(change)), &wire.waker);
        }
        let is_decided = || change.ready() == shards || change.wrong().is_some();
        let waited = wait(is_decided, || handle.is_ending());
        let wrong = change.wrong().map(NotChanged::Routes);
        let why = wrong.map_or(waited, Err);
        why.inspect_err(|_| self.take_back(change))
    }

    /// Nothing comes of the change.
    fn take_back(&self, change: &Arc<ConfigChange>) {
        change.abandon();
        for wire in self.0.handle.wires() {
            wire.panel.change(None, &wire.waker);
        }
        // Whoever lets go of it last takes its routes down, which is not to be a shard.
        let is_let_go = || Arc::strong_count(change) == 1;
        let _ = wait(is_let_go, || self.0.handle.is_ending());
    }

    /// All shards have it from one moment on, and it is waited until each does. Returns what there
    /// is to say if one does not.
    fn put_in_force(&self, change: &ConfigChange) -> Option<String> {
        let handle = &self.0.handle;
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

/// A thread that reads the configuration; it is counted until this is dropped.
struct ConfigReader {
    reloader: Reloader,
    only_looks: bool,
}

impl ConfigReader {
    /// One more, if there may be.
    fn begin(reloader: &Reloader, options: ReloadOptions) -> Option<Self> {
        let more = |count: u32| (count < READERS_MAX).then_some(count + 1);
        let only_looks = options.dry_run;
        let counted = reloader.0.readers(only_looks);
        let counted = counted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        counted.ok().map(|_| Self { reloader: reloader.clone(), only_looks })
    }
}

impl Drop for ConfigReader {
    fn drop(&mut self) {
        self.reloader.0.readers(self.only_looks).fetch_sub(1, Ordering::Relaxed);
    }
}

impl Inner {
    /// How many threads there are that only look, or that have it taken over.
    fn readers(&self, only_look: bool) -> &AtomicU32 {
        if only_look { &self.lookers } else { &self.readers }
    }
}

impl fmt::Debug for Reloader {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Reloader").finish_non_exhaustive()
    }
}

impl fmt::Debug for ConfigSource {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("ConfigSource")
    }
}

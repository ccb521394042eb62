//! Having a gateway take over another configuration while it runs.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::in_force::InForce;
use super::not_changed::NotChanged;
use super::reload_report::{ReloadOptions, ReloadReport};
use super::taking_over::Changing;
use super::{Certificates, Handle};
use crate::access_log::{AccessCounts, AccessFeed, AccessThread};
use crate::bill::Bill;
use crate::checks::{CheckThreads, HashCounts, IssuerFacts};
use crate::config::{Config, ListenAddress};
use crate::hub::{Door, TopicRules};
use crate::shard::{ChangeParts, ConfigChange};

/// The stack of a thread that reads a configuration, in bytes.
const THREAD_STACK: usize = 2 << 20;

/// Threads that read one, at once: one reads, and one waits, which will see what whoever asks now
/// has changed.
const READERS_MAX: u32 = 2;

/// Says what a gateway of a configuration may come to hold, be there as much or not, or why the
/// program cannot serve it.
pub(crate) type Judge = dyn Fn(&Config, Judged) -> Result<Bill, NotChanged> + Send + Sync;

/// What is judged besides a configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Judged {
    /// Listeners that are had beside its own meanwhile.
    pub(crate) beside: usize,
    /// The program is asked for its handlers, as shards would ask it: they are only looked at.
    pub(crate) makes_handlers: bool,
}

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
    pub(crate) access_log: Option<AccessThread>,
    pub(crate) judge: Box<Judge>,
    /// What it says of the access log is that of this one.
    pub(crate) in_force: InForce,
}

impl Reloader {
    pub(crate) fn new(parts: ReloaderParts) -> Self {
        let ReloaderParts { handle, certificates, door, threads, access_log, .. } = parts;
        let ReloaderParts { judge, mut in_force, .. } = parts;
        in_force.access_log = access_log.as_ref().map(AccessThread::feed).cloned();
        in_force.access_totals = access_log.as_ref().map(|log| Arc::clone(log.feed().totals()));
        let changing = Changing { threads, access_log, last: None, is_over: false };
        Self(Arc::new(Inner {
            handle,
            certificates,
            door,
            judge,
            source: OnceLock::new(),
            in_force: ArcSwap::from_pointee(in_force),
            reading: Mutex::new(()),
            changing: Mutex::new(changing),
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

    /// This is in force from now on.
    pub(super) fn has_in_force(&self, next: InForce) {
        self.0.in_force.store(Arc::new(next));
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.0.handle
    }

    pub(super) fn certificates(&self) -> &Certificates {
        &self.0.certificates
    }

    pub(super) fn door(&self) -> &Door {
        &self.0.door
    }

    /// What a gateway of this configuration may come to hold.
    ///
    /// # Errors
    /// The program cannot serve it, or there are too few open files for it.
    pub(super) fn judge(&self, config: &Config, judged: Judged) -> Result<Bill, NotChanged> {
        (self.0.judge)(config, judged)
    }

    /// The addresses that are listened on, in the order of the configuration, each with its real
    /// port.
    #[must_use]
    pub fn addresses(&self) -> Vec<ListenAddress> {
        self.in_force().listening.addresses()
    }

    /// The way into the access log that is in force, if there is one.
    #[must_use]
    pub fn access_log(&self) -> Option<AccessFeed> {
        self.in_force().access_log.clone()
    }

    /// What has become of lines of the access log, if there is one, or was.
    pub(crate) fn access_counts(&self) -> Option<AccessCounts> {
        self.in_force().access_totals.as_ref().map(|totals| totals.counts())
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
        // Shards have said their last.
        changing.access_log = None;
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Changing> {
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
        let Inner { certificates, source, .. } = &*self.0;
        self.check_free(&self.lock())?;
        // Nobody reads others meanwhile, which would be newer.
        let held = certificates.hold();
        let mut considered = self.consider(wanted, options.dry_run)?;
        let mut report = ReloadReport {
            differences: std::mem::take(&mut considered.differences),
            warnings: considered.next.warnings.clone(),
            took: Duration::ZERO,
        };
        if options.dry_run {
            return Ok(ReloadReport { took: began.elapsed(), ..report });
        }
        let sockets = considered.listening.deal()?;
        let next = &considered.next;
        let config = Arc::clone(&next.config);
        let rules = config.topics.iter().map(|topic| (topic.name.as_str(), topic.rule));
        let change = ConfigChange::new(ChangeParts {
            config: Arc::clone(&config),
            listening: Arc::clone(&next.listening),
            routes: Arc::clone(&next.routes),
            checks: next.checks.clone(),
            census: Arc::clone(&next.census),
            access_log: next.access_log.clone(),
            rules: Arc::new(TopicRules::new(rules)),
            closes: options.closes_gone.then_some(config.drain_rate),
        });
        let change = Arc::new(change.with_sockets(sockets));
        report.warnings.extend(self.take_over(&change, considered)?);
        drop(held);
        report.warnings.extend(certificates.doubts());
        if let Some(source) = source.get() {
            (source.taken_over)(&config);
        }
        Ok(ReloadReport { took: began.elapsed(), ..report })
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

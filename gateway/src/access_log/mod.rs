//! The access log: a line for each connection, response and refusal, on a stream of its own.
//!
//! Shards hand records over by a bounded queue, which never waits: what finds it full is dropped
//! and counted. A thread makes lines of them and writes them, to a file, to stdout or to syslog.

mod combined;
mod file;
mod json;
mod outlet;
mod record;
mod syslog;
mod tap;
mod writer;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::bill::{Line, Owner};
use crate::config::{AccessLog, AccessTarget, Config};
use outlet::Outlet;
pub(crate) use record::{AccessEvent, AccessRecord, AccessStay};
pub use tap::AccessTap;
use writer::{LAST, LineWriter, Style};

/// The most bytes of a line, with its end.
const LINE_BYTES_MAX: usize = 4096;

/// The stack of the thread, in bytes.
const THREAD_STACK: usize = 256 << 10;

/// What the thread is handed: a line, or nothing, so that it looks what it is told.
type AccessMail = Option<AccessRecord>;

/// What all sides see.
#[derive(Debug, Default)]
struct AccessState {
    /// What is written to is to be opened anew.
    reopens: AtomicBool,
    ends: AtomicBool,
    totals: Arc<AccessTotals>,
}

/// What has become of the lines of a gateway, whatever logs it has had one after the other.
#[derive(Debug, Default)]
pub(crate) struct AccessTotals {
    lines: AtomicU64,
    dropped: AtomicU64,
    unwritten: AtomicU64,
    left_out: AtomicU64,
}

/// The way into the access log; cheap to clone. It never waits, and outlives its gateway.
#[derive(Clone, Debug)]
pub struct AccessFeed {
    stream: Arc<AccessState>,
    queue: Sender<AccessMail>,
}

/// An access log whose thread was not started yet: what is said waits in its queue.
pub(crate) struct UnstartedLog {
    feed: AccessFeed,
    said: Receiver<AccessMail>,
    log: AccessLog,
}

/// What has become of lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AccessCounts {
    pub(crate) lines: u64,
    /// They found the queue full.
    pub(crate) dropped: u64,
    /// They could not be written.
    pub(crate) unwritten: u64,
    /// Refusals that there were too many of for a line each.
    pub(crate) left_out: u64,
}

/// The thread that writes. Dropped, it is told to end, and waited for until what waits is written,
/// for a second at most.
#[derive(Debug)]
pub(crate) struct AccessThread {
    feed: AccessFeed,
    to: AccessTarget,
    ended: Receiver<()>,
}

/// There is no access log. Displayed, it says what to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum AccessLogError {
    /// What it goes to cannot be opened.
    Open(AccessTarget, io::Error),
    /// Its thread could not be started.
    Thread(io::Error),
}

/// Starts the access log of a configuration, if it has one.
///
/// # Errors
/// What kept it from starting.
pub(crate) fn start(config: &Config) -> Result<Option<AccessThread>, AccessLogError> {
    let log = config.access_log.as_ref();
    log.map(|log| UnstartedLog::new(log, Arc::default()).start(None)).transpose()
}

/// Whether what lines are to go to can be opened. Nothing is left of that.
///
/// # Errors
/// It cannot be.
pub(crate) fn check(config: &Config) -> Result<(), AccessLogError> {
    let Some(log) = &config.access_log else { return Ok(()) };
    outlet::check(&log.to).map_err(|error| AccessLogError::Open(log.to.clone(), error))
}

/// What lines that wait may hold, and the thread.
pub(crate) fn lines(config: &Config) -> Vec<Line> {
    let Some(log) = &config.access_log else { return Vec::new() };
    let place = size_of::<AccessMail>() + size_of::<usize>();
    let waiting = u64::from(log.queue) * (place + AccessRecord::BYTES) as u64;
    let thread = (THREAD_STACK + 2 * LINE_BYTES_MAX + outlet::PIECE_BYTES) as u64;
    vec![
        Line::new(Owner::AccessLines, waiting, &["access_log.queue"]),
        Line::new(Owner::AccessThread, thread, &["access_log.to"]),
    ]
}

impl UnstartedLog {
    /// A log as this says, whose lines are counted there.
    pub(crate) fn new(log: &AccessLog, totals: Arc<AccessTotals>) -> Self {
        let (queue, said) = bounded(log.queue as usize);
        let stream = Arc::new(AccessState { totals, ..AccessState::default() });
        Self { feed: AccessFeed { stream, queue }, said, log: log.clone() }
    }

    /// The way into it.
    pub(crate) fn feed(&self) -> &AccessFeed {
        &self.feed
    }

    /// Opens what lines go to, and starts the thread. Where one before it writes to the same, that
    /// has written all that it was told first.
    ///
    /// # Errors
    /// What kept it from starting: then nothing is left of it.
    pub(crate) fn start(
        self,
        before: Option<&AccessThread>,
    ) -> Result<AccessThread, AccessLogError> {
        let Self { feed, said, log } = self;
        let is_new = !outlet::is_there(&log.to);
        let opened = Outlet::open(&log);
        let outlet = opened.map_err(|error| AccessLogError::Open(log.to.clone(), error))?;
        let before = before.filter(|before| before.to == log.to).map(|one| one.ended.clone());
        let style = Style { format: log.format, fields: log.fields };
        let mut writer = LineWriter::new(Arc::clone(&feed.stream), said, outlet, style);
        // Nothing is ever sent: it is closed when the thread has ended, however it does.
        let (running, ended) = bounded(0);
        let spawned = thread::Builder::new().name("access-log".into()).stack_size(THREAD_STACK);
        let spawned = spawned.spawn(move || {
            let _running: Sender<()> = running;
            if let Some(before) = before {
                writer.wait_for(&before);
            }
            writer.run();
        });
        spawned.map_err(|error| {
            if is_new {
                outlet::forget(&log.to);
            }
            AccessLogError::Thread(error)
        })?;
        Ok(AccessThread { feed, to: log.to, ended })
    }
}

impl PartialEq for AccessFeed {
    /// Whether both lead into the same log.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.stream, &other.stream)
    }
}

impl AccessFeed {
    /// One that nobody reads.
    #[cfg(test)]
    pub(crate) fn unread() -> Self {
        let log = AccessLog::new(AccessTarget::Stdout);
        UnstartedLog::new(&log, Arc::default()).feed.clone()
    }

    /// Hands a line over, unless as many wait as may.
    pub(crate) fn say(&self, record: AccessRecord) {
        if self.queue.try_send(Some(record)).is_err() {
            self.stream.totals.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A refusal has no line, because there are too many.
    pub(crate) fn leave_out(&self) {
        self.stream.totals.left_out.fetch_add(1, Ordering::Relaxed);
    }

    /// Has what is written to opened anew, by its name: a file that was moved away is left to
    /// whoever did. Whether it could be stands in the log.
    pub fn reopen(&self) {
        self.stream.reopens.store(true, Ordering::Release);
        self.wake();
    }

    /// Has the thread look what it is told. A full queue means that it does anyway.
    fn wake(&self) {
        let _ = self.queue.try_send(None);
    }

    /// Where its lines are counted.
    pub(crate) fn totals(&self) -> &Arc<AccessTotals> {
        &self.stream.totals
    }
}

impl AccessTotals {
    /// What has become of lines so far.
    pub(crate) fn counts(&self) -> AccessCounts {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Self { lines, dropped, unwritten, left_out } = self;
        AccessCounts {
            lines: count(lines),
            dropped: count(dropped),
            unwritten: count(unwritten),
            left_out: count(left_out),
        }
    }
}

impl AccessThread {
    /// The way into it.
    pub(crate) fn feed(&self) -> &AccessFeed {
        &self.feed
    }
}

impl Drop for AccessThread {
    fn drop(&mut self) {
        self.feed.stream.ends.store(true, Ordering::Release);
        self.feed.wake();
        // Whoever takes nothing is not waited for: then the thread ends by itself.
        let _ = self.ended.recv_timeout(2 * LAST);
    }
}

impl fmt::Display for AccessLogError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(AccessTarget::Syslog(path), error) => write!(
                out,
                "access_log.to: nobody receives at the socket {} ({error}): start a syslog \
                 daemon, write \"syslog:PATH\" with the path of its socket, or write to a file",
                path.display()
            ),
            Self::Open(AccessTarget::File(path), error) => write!(
                out,
                "access_log.to: the file {} cannot be opened ({error}): its folder has to be \
                 there, and the user that runs the gateway has to be let write to it; a FIFO needs \
                 somebody who reads",
                path.display()
            ),
            Self::Open(AccessTarget::Stdout, error) => {
                write!(out, "access_log.to: stdout cannot be written to ({error})")
            }
            Self::Thread(error) => write!(
                out,
                "the thread of the access log could not be started ({error}): raise the limit of \
                 threads (`ulimit -u`, or `TasksMax` in a systemd unit)"
            ),
        }
    }
}

impl std::error::Error for AccessLogError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Open(_, error) | Self::Thread(error) => Some(error),
        }
    }
}

#[cfg(test)]
mod tests;

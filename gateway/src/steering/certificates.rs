//! The certificates that a gateway shows, and reading them anew.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustls::pki_types::UnixTime;

use crate::config::Config;
use crate::transport::tls::{FollowingLayer, ReadAnew, TlsFiles, TlsServers};

#[doc(inline)]
pub use crate::transport::tls::{CertificateFacts, WrongFile};

/// The stack of a thread that reads files anew, in bytes.
const THREAD_STACK: usize = 512 << 10;

/// Threads that read files anew, at once: one reads, and one waits, which will see what whoever
/// asks now has changed.
const READERS_MAX: u32 = 2;

/// The files that a gateway speaks TLS with: certificates, keys, authorities of clients, keys of
/// tickets. Cheap to clone. It outlives its gateway, and changes nothing then.
#[derive(Clone)]
pub struct Certificates(Arc<InUse>);

/// What is in use, and what has come of reading it anew.
struct InUse {
    files: TlsFiles,
    /// Held while files are read: what is in use is of one reading.
    reading: Mutex<()>,
    /// Threads of [`Certificates::reload_aside`].
    readers: AtomicU32,
    done: AtomicU64,
    refused: AtomicU64,
}

/// How often files were read anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reloads {
    /// And are used.
    pub(crate) done: u64,
    /// And were wrong.
    pub(crate) refused: u64,
}

/// What came of reading files anew: what is in use from then on, or all files that are wrong.
pub type Reloaded = Result<Arc<Vec<CertificateFacts>>, Vec<WrongFile>>;

/// Files are not read anew now.
#[derive(Debug)]
pub enum NotReloaded {
    /// They are already, and will be once more behind that.
    Underway,
    /// No thread could be started for it.
    Thread(io::Error),
}

impl Certificates {
    /// Reads the files of a configuration.
    ///
    /// # Errors
    /// All files that cannot be used.
    pub(crate) fn read(config: &Config) -> Result<Self, Vec<WrongFile>> {
        let files = TlsFiles::read(config, UnixTime::now())?;
        Ok(Self(Arc::new(InUse {
            files,
            reading: Mutex::new(()),
            readers: AtomicU32::new(0),
            done: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        })))
    }

    /// What handshakes are made with.
    pub(crate) fn servers(&self) -> TlsServers {
        TlsServers::new(self.0.files.servers())
    }

    /// Whether any listener speaks TLS.
    #[must_use]
    pub fn are_shown(&self) -> bool {
        self.0.files.servers().iter().any(Option::is_some)
    }

    /// What is told of those that are in use, those of `[[certificate]]` first.
    #[must_use]
    pub fn facts(&self) -> Arc<Vec<CertificateFacts>> {
        self.0.files.certificates()
    }

    /// What may be a mistake about the files that are in use, one line each.
    #[must_use]
    pub fn doubts(&self) -> Vec<String> {
        self.0.files.doubts()
    }

    /// Reads all files anew, and waits for that; says in the log what has come of it. Connections
    /// that are there go on as they are, and handshakes that begin are made with what was read.
    ///
    /// # Errors
    /// All files that cannot be used: then everything stays as it was.
    pub fn reload(&self) -> Reloaded {
        let InUse { files, reading, done, refused, .. } = &*self.0;
        let _reading = reading.lock().unwrap_or_else(PoisonError::into_inner);
        match files.reload(UnixTime::now()) {
            Ok(facts) => {
                done.fetch_add(1, Ordering::Relaxed);
                let count = facts.len();
                tracing::info!(
                    target: "tidegate::tls",
                    "{count} certificates were read anew, and handshakes that begin are made with \
                     them; the configuration was not"
                );
                for doubt in files.doubts() {
                    tracing::warn!(target: "tidegate::tls", "{doubt}");
                }
                Ok(facts)
            }
            Err(wrong) => {
                refused.fetch_add(1, Ordering::Relaxed);
                for one in &wrong {
                    let what = "certificates stay as they are";
                    tracing::error!(target: "tidegate::tls", "{what}: {one}");
                }
                Err(wrong)
            }
        }
    }

    /// Reads the files of another configuration, whose listeners follow those at these places.
    /// Nothing has changed before [`Self::take`].
    ///
    /// # Errors
    /// All files that cannot be used.
    pub(super) fn read_anew(
        &self,
        config: &Config,
        follow: &[Option<usize>],
    ) -> Result<ReadAnew, Vec<WrongFile>> {
        let layers = config.listeners.iter().zip(follow);
        let layers = layers
            .map(|(one, before)| FollowingLayer { layer: one.stack.tls.clone(), before: *before });
        let certificates = config.certificates.clone();
        self.0.files.read_anew(certificates, layers.collect(), UnixTime::now())
    }

    /// Nobody else reads them before this is dropped.
    pub(super) fn hold(&self) -> MutexGuard<'_, ()> {
        self.0.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Handshakes that begin from now on are made with what was read, while they were held.
    pub(super) fn take(&self, read: ReadAnew) {
        self.0.files.take(read);
        self.0.done.fetch_add(1, Ordering::Relaxed);
    }

    /// What was read of another configuration was wrong.
    pub(super) fn were_refused(&self) {
        self.0.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// As [`Self::reload`], on a thread of its own, which `tells` what has come of it: disks may be
    /// slow.
    ///
    /// # Errors
    /// They are not read anew for this.
    pub fn reload_aside(
        &self,
        tells: impl FnOnce(Reloaded) + Send + 'static,
    ) -> Result<(), NotReloaded> {
        let reading = Reloading::begin(self).ok_or(NotReloaded::Underway)?;
        let spawned = thread::Builder::new().name("certificates".into()).stack_size(THREAD_STACK);
        let spawned = spawned.spawn(move || {
            let reloaded = reading.0.reload();
            drop(reading);
            tells(reloaded);
        });
        spawned.map(drop).map_err(NotReloaded::Thread)
    }

    /// How often they were read anew.
    pub(crate) fn reloads(&self) -> Reloads {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Reloads { done: count(&self.0.done), refused: count(&self.0.refused) }
    }
}

/// A thread that reads files anew; it is counted until this is dropped.
struct Reloading(Certificates);

impl Reloading {
    /// One more, if there may be.
    fn begin(certificates: &Certificates) -> Option<Self> {
        let more = |count: u32| (count < READERS_MAX).then_some(count + 1);
        let readers = &certificates.0.readers;
        let counted = readers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        counted.ok().map(|_| Self(certificates.clone()))
    }
}

impl Drop for Reloading {
    fn drop(&mut self) {
        self.0.0.readers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Certificates")
            .field("in_use", &self.facts().len())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for NotReloaded {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Underway => {
                out.write_str("files are read anew already, and once more after that")
            }
            Self::Thread(error) => write!(
                out,
                "the thread that reads files anew could not be started ({error}): raise the limit \
                 of threads (`ulimit -u`, or `TasksMax` in a systemd unit)"
            ),
        }
    }
}

impl std::error::Error for NotReloaded {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Underway => None,
            Self::Thread(error) => Some(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn of_those_who_ask_at_once_one_reads_and_one_waits() {
        let certificates = Certificates::read(&Config::default()).expect("it has no files");
        let (told, tells) = channel();
        let ask = || {
            let told = told.clone();
            certificates.reload_aside(move |reloaded| told.send(reloaded).expect("it is heard"))
        };
        let held = certificates.0.reading.lock().expect("nobody panicked");
        assert!(ask().is_ok() && ask().is_ok());
        assert!(matches!(ask(), Err(NotReloaded::Underway)));
        drop(held);
        for _ in 0..2 {
            assert_eq!(tells.recv().expect("an outcome").map(|facts| facts.len()), Ok(0));
        }
        assert_eq!(certificates.reloads(), Reloads { done: 2, refused: 0 });
        assert!(ask().is_ok(), "both have ended");
    }
}

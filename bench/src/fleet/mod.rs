//! Very many client connections of one process, most of which do nothing.
//!
//! A fleet is made of flocks: rings with a table of direct descriptors each, because the limit of
//! open files bounds the table of a ring and not the sum of all tables. One thread drives them one
//! after the other. Every connection has a poll armed, so that a Ping is answered, and costs this
//! process under a hundred bytes. The sockets go out from many addresses in 127.0.0.0/8, each of
//! which has ports for a few thousand of them.

mod client;
mod errand;
mod flock;
mod source;

use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tidegate::kernel::{AreaSizes, Memory, raise_open_files};

pub use self::errand::{Errand, MESSAGE_MAX};
pub use self::flock::WINDOW_MAX;
use self::flock::{Flock, Kit, Part};
pub(crate) use self::source::Sources;
use crate::target::Target;

/// The most connections of one ring.
const FLOCK_MAX: usize = 16_384;

/// Ordinary descriptors that are left for everything that is no connection: rings, files, and
/// sockets on their way into a ring.
const DESCRIPTORS_KEPT: u64 = 1024;

/// How often connections are looked after that have nothing to do.
const TEND_EVERY: Duration = Duration::from_millis(250);

/// What the connections are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// WebSocket, with a complete opening handshake.
    WebSocket,
    /// TCP that says nothing.
    Bare,
}

/// How a connection ends that is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Ending {
    /// With a reset: nothing of it remains in the kernel.
    Reset,
    /// With FIN, as a program that dies ends them.
    Fin,
}

/// Client connections to one server.
pub struct Fleet {
    flocks: Vec<Flock>,
    /// One for all flocks: whatever uses it is done within a call into the kernel, or within one of
    /// the methods below.
    memory: Memory,
    sources: Sources,
    target: Target,
    kind: Kind,
    flock_size: usize,
    /// Connections that are open.
    length: usize,
    tended: Instant,
}

/// How a message that one connection published has come to all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// From before it was sent to after the last connection had it.
    pub took: Duration,
    /// Connections that do not have it, and have waited for it in vain: half a minute, if nothing
    /// else was said.
    pub missing: usize,
}

/// What a method calls with the number of connections that it is done with.
pub type Progress<'a> = &'a mut dyn FnMut(usize);

impl Fleet {
    /// A fleet without connections.
    ///
    /// # Errors
    /// The limit of open files is too low, or the kernel has no memory for it.
    pub fn new(target: &Target, kind: Kind, ending: Ending) -> io::Result<Self> {
        let limit = raise_open_files()?;
        let flock_size = FLOCK_MAX.min(limit.saturating_sub(DESCRIPTORS_KEPT) as usize);
        if flock_size == 0 {
            return Err(io::Error::other("the limit of open files (ulimit -n) is too low"));
        }
        Ok(Self {
            flocks: Vec::new(),
            memory: Memory::new(AreaSizes {
                receive: flock::RECEIVE_AREA,
                staging: flock::STAGING_AREA,
                blocks: flock::BLOCKS_AREA,
                scratch: 1,
            })?,
            sources: Sources::new(target.address, ending)?,
            target: target.clone(),
            kind,
            flock_size,
            length: 0,
            tended: Instant::now(),
        })
    }

    /// Connections that are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether no connection is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Makes the rings for `count` more connections, so that opening them need not.
    ///
    /// # Errors
    /// The kernel has no memory for it.
    pub fn reserve(&mut self, count: usize) -> io::Result<()> {
        while self.flocks.len() * self.flock_size < self.length + count {
            self.flocks.push(Flock::new(self.flock_size, &self.memory)?);
        }
        Ok(())
    }

    /// Opens `count` more connections, up to `window` of them at once.
    ///
    /// # Errors
    /// The server is not there, or does not want one of them.
    pub fn open(&mut self, count: usize, window: usize, progress: Progress<'_>) -> io::Result<()> {
        self.reserve(count)?;
        let end = self.length + count;
        let errand = match self.kind {
            Kind::WebSocket => Errand::Open { target: self.target.clone() },
            Kind::Bare => Errand::Connect,
        };
        self.run(self.length..end, &errand, window, progress)?;
        self.length = end;
        Ok(())
    }

    /// Lets each connection do `errand`, up to `window` of them at once.
    ///
    /// # Errors
    /// A connection broke, or said something else than it should.
    pub fn each(
        &mut self,
        errand: &Errand,
        window: usize,
        progress: Progress<'_>,
    ) -> io::Result<()> {
        self.run(0..self.length, errand, window, progress)
    }

    /// Lets connection `index` do `errand`, and says how long that took.
    ///
    /// # Errors
    /// There is no such connection, it broke, or it said something else than it should.
    pub fn one(&mut self, index: usize, errand: &Errand) -> io::Result<Duration> {
        if index >= self.length {
            let why = format!("there is no connection {index}, there are {}", self.length);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let started = Instant::now();
        self.run(index..index + 1, errand, 1, &mut |_| ())?;
        Ok(started.elapsed())
    }

    /// Lets connection 0 send `message`, and waits until all have it, itself among them: that is
    /// for a path where a message of one goes to all.
    ///
    /// # Errors
    /// There is no connection, one broke, or something else has come than the message.
    pub fn publish(&mut self, message: &Rc<[u8]>) -> io::Result<Delivery> {
        self.publish_within(message, flock::PATIENCE)
    }

    /// The same; those have waited in vain to whom nothing has come for so long.
    ///
    /// # Errors
    /// As for [`Fleet::publish`].
    pub fn publish_within(
        &mut self,
        message: &Rc<[u8]>,
        patience: Duration,
    ) -> io::Result<Delivery> {
        let errand = Errand::Receive { message: Rc::clone(message) };
        errand.check()?;
        let mut parts: Vec<_> = self.parts(0..self.length, self.length).collect();
        let mut kit = Kit { errand: &errand, sources: &mut self.sources, memory: &mut self.memory };
        for (flock, part) in &mut parts {
            part.patience = patience;
            self.flocks[*flock].start(part, &mut kit)?;
        }
        let no_one = || io::Error::new(io::ErrorKind::InvalidInput, "there is no connection");
        let started = Instant::now();
        self.flocks.first_mut().ok_or_else(no_one)?.publish(0, message, kit.memory)?;
        let mut missing = 0;
        for (flock, part) in &mut parts {
            match self.drive(*flock, part, &errand, &mut |_| ()) {
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    missing += part.under_way();
                }
                driven => driven?,
            }
        }
        Ok(Delivery { took: started.elapsed(), missing })
    }

    /// Keeps all connections for `time` and answers what the server asks.
    ///
    /// # Errors
    /// A connection broke.
    pub fn hold(&mut self, time: Duration) -> io::Result<()> {
        let until = Instant::now() + time;
        loop {
            self.tend(&Errand::Connect)?;
            let rest = until.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return Ok(());
            }
            std::thread::sleep(rest.min(TEND_EVERY));
        }
    }

    /// Drops all connections without a word.
    ///
    /// # Errors
    /// A ring is beyond use.
    pub fn drop_all(&mut self, progress: Progress<'_>) -> io::Result<()> {
        self.run(0..self.length, &Errand::Drop, flock::BATCH, progress)?;
        self.length = 0;
        Ok(())
    }

    /// Closes all connections with the closing handshake.
    ///
    /// # Errors
    /// The server broke a connection without answering.
    pub fn close_all(&mut self, window: usize, progress: Progress<'_>) -> io::Result<()> {
        self.run(0..self.length, &Errand::Close, window, progress)?;
        self.length = 0;
        Ok(())
    }

    fn run(
        &mut self,
        range: Range<usize>,
        errand: &Errand,
        window: usize,
        progress: Progress<'_>,
    ) -> io::Result<()> {
        errand.check()?;
        for (flock, mut part) in self.parts(range, window) {
            self.drive(flock, &mut part, errand, progress)?;
        }
        Ok(())
    }

    /// Which flock has which of the connections in `range`.
    fn parts(
        &self,
        range: Range<usize>,
        window: usize,
    ) -> impl Iterator<Item = (usize, Part)> + use<> {
        let (size, mut at) = (self.flock_size, range.start);
        std::iter::from_fn(move || {
            let (flock, first) = (at / size, at % size);
            let count = (size - first).min(range.end.saturating_sub(at));
            at += count;
            (count > 0).then(|| (flock, Part::new(first as u32, count as u32, window)))
        })
    }

    /// Lets `part` of a flock do its errand to the end.
    fn drive(
        &mut self,
        flock: usize,
        part: &mut Part,
        errand: &Errand,
        progress: Progress<'_>,
    ) -> io::Result<()> {
        while !part.is_done() {
            let mut kit = Kit { errand, sources: &mut self.sources, memory: &mut self.memory };
            progress(self.flocks[flock].step(part, &mut kit)?);
            if self.tended.elapsed() >= TEND_EVERY {
                self.tend(errand)?;
            }
        }
        Ok(())
    }

    /// Answers what has come in on all connections.
    fn tend(&mut self, errand: &Errand) -> io::Result<()> {
        self.tended = Instant::now();
        let mut kit = Kit { errand, sources: &mut self.sources, memory: &mut self.memory };
        self.flocks.iter_mut().try_for_each(|flock| flock.tend(&mut kit))
    }
}

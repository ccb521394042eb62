//! The thread that writes lines.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use super::outlet::Outlet;
use super::record::AccessRecord;
use super::{AccessMail, AccessState, LINE_BYTES_MAX, combined, json};
use crate::config::{AccessField, AccessFormat};

/// How long lines are gathered: whoever hands one over then wakes nobody.
pub(super) const GATHERED: Duration = Duration::from_millis(5);

/// How long what waits may be written for once the gateway has ended.
pub(super) const LAST: Duration = Duration::from_secs(1);

/// How long nothing more is said in the log of lines that could not be written.
const QUIET: Duration = Duration::from_secs(10);

/// How lines are written.
pub(super) struct Style {
    pub(super) format: AccessFormat,
    pub(super) fields: Vec<AccessField>,
}

/// What writes lines.
pub(super) struct LineWriter {
    stream: Arc<AccessState>,
    said: Receiver<AccessMail>,
    outlet: Outlet,
    style: Style,
    line: Vec<u8>,
    /// Whole lines that are written next.
    piece: Vec<u8>,
    /// What was written last has no end.
    is_amid_line: bool,
    /// Until when what waits is written, once it is to end.
    until: Option<Instant>,
    missing: MissingLines,
}

/// What is told of lines that could not be written.
#[derive(Default)]
struct MissingLines {
    told_at: Option<Instant>,
    /// It was not told yet that it goes on.
    is_open: bool,
    /// Lines that it was not told of yet.
    missing: u64,
}

impl LineWriter {
    pub(super) fn new(
        stream: Arc<AccessState>,
        said: Receiver<AccessMail>,
        outlet: Outlet,
        style: Style,
    ) -> Self {
        let [line, piece] = [LINE_BYTES_MAX, outlet.piece_bytes()].map(Vec::with_capacity);
        let (is_amid_line, until) = (false, None);
        Self {
            stream,
            said,
            outlet,
            style,
            line,
            piece,
            is_amid_line,
            until,
            missing: MissingLines::default(),
        }
    }

    /// Waits until the thread has ended that has written to the same before, whose lines stand
    /// first. It ends in time, whoever does not read.
    pub(super) fn wait_for(&mut self, ended: &Receiver<()>) {
        let _ = ended.recv_timeout(2 * LAST);
        // It may have put the file aside.
        if let Err(error) = self.outlet.reopen() {
            tracing::error!(
                target: "tidegate::access_log",
                %error,
                "cannot be opened anew behind the one before, and goes on to what was open"
            );
        }
    }

    /// Writes lines until it is told to end, and nothing waits.
    pub(super) fn run(mut self) {
        while let Ok(first) = self.said.recv() {
            if !self.ends() {
                thread::sleep(GATHERED);
            }
            self.take(first);
            while let Ok(next) = self.said.try_recv() {
                self.take(next);
            }
            self.flush();
            self.heed();
            if self.ends() && self.said.is_empty() {
                return;
            }
        }
    }

    /// Whether it is told to end.
    fn ends(&mut self) -> bool {
        let ends = self.stream.ends.load(Ordering::Acquire);
        if ends {
            self.until.get_or_insert_with(|| Instant::now() + LAST);
        }
        ends
    }

    fn take(&mut self, said: AccessMail) {
        match said {
            Some(record) => self.add(&record),
            None => {
                // What was said before stands in what it was said to.
                self.flush();
                self.heed();
            }
        }
    }

    /// Opens what is written to anew, if it was told to.
    fn heed(&mut self) {
        if !self.stream.reopens.swap(false, Ordering::AcqRel) {
            return;
        }
        match self.outlet.reopen() {
            Ok(()) => {
                self.is_amid_line = false;
                tracing::info!(target: "tidegate::access_log", "opened anew");
            }
            Err(error) => tracing::error!(
                target: "tidegate::access_log",
                %error,
                "cannot be opened anew, and goes on to what was open"
            ),
        }
    }

    fn add(&mut self, record: &AccessRecord) {
        self.line.clear();
        match self.style.format {
            AccessFormat::Json => json::write(record, &self.style.fields, &mut self.line),
            AccessFormat::Combined => combined::write(record, &mut self.line),
        }
        if self.piece.len() + self.line.len() > self.outlet.piece_bytes() {
            self.flush();
        }
        self.piece.extend_from_slice(&self.line);
    }

    /// Writes what was gathered.
    fn flush(&mut self) {
        if self.piece.is_empty() {
            return;
        }
        let piece = std::mem::take(&mut self.piece);
        if let Some(error) = self.outlet.make_room(piece.len()).failed {
            tracing::error!(
                target: "tidegate::access_log",
                %error,
                "the file cannot be put aside, and grows on"
            );
        }
        let mut written = 0;
        let result = self.write(&piece, &mut written);
        let lines = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        let (done, left) = piece.split_at(written);
        let (done, left) = (lines(done), lines(left));
        self.stream.totals.lines.fetch_add(done, Ordering::Relaxed);
        self.stream.totals.unwritten.fetch_add(left, Ordering::Relaxed);
        let is_broken_off = result.is_err();
        self.missing.tell(result.err(), done, left);
        self.is_amid_line =
            piece[..written].last().map_or(self.is_amid_line, |last| *last != b'\n');
        self.piece = piece;
        self.piece.clear();
        if is_broken_off {
            self.heed();
        }
    }

    /// Writes a piece, and counts what was written of it.
    ///
    /// # Errors
    /// The rest cannot be.
    fn write(&mut self, piece: &[u8], written: &mut usize) -> io::Result<()> {
        if self.is_amid_line {
            // Half a line stands by itself.
            self.write_some(b"\n")?;
            self.is_amid_line = false;
        }
        while *written < piece.len() {
            *written += self.write_some(&piece[*written..])?;
        }
        Ok(())
    }

    /// Writes the beginning of `bytes`, once somebody takes it.
    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            if self.is_late() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            if !self.outlet.is_ready() {
                self.may_wait()?;
                continue;
            }
            match self.outlet.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // What has some room has too little.
                    self.may_wait()?;
                    thread::sleep(GATHERED);
                }
                other => return other,
            }
        }
    }

    /// Whether it was told to end long enough ago.
    fn is_late(&mut self) -> bool {
        self.ends() && self.until.is_some_and(|until| Instant::now() >= until)
    }

    /// Checks that whoever does not read is waited for: not where something else is to be written
    /// to.
    ///
    /// # Errors
    /// It is.
    fn may_wait(&self) -> io::Result<()> {
        match self.stream.reopens.load(Ordering::Acquire) {
            true => Err(io::ErrorKind::TimedOut.into()),
            false => Ok(()),
        }
    }
}

impl MissingLines {
    /// So many lines were written, and so many could not be. What fails and goes on by turns is not
    /// told of each time.
    fn tell(&mut self, error: Option<io::Error>, done: u64, left: u64) {
        self.missing += left;
        if let Some(error) = error {
            if self.told_at.is_none_or(|told_at| told_at.elapsed() >= QUIET) {
                (self.told_at, self.is_open) = (Some(Instant::now()), true);
                tracing::error!(
                    target: "tidegate::access_log",
                    %error,
                    "lines cannot be written: the gateway goes on without them, and counts them"
                );
            }
        } else if self.is_open && done > 0 {
            self.is_open = false;
            let missing = std::mem::take(&mut self.missing);
            tracing::warn!(
                target: "tidegate::access_log",
                "lines can be written again; {missing} are missing"
            );
        }
    }
}

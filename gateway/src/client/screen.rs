//! A terminal that is drawn anew each second, and whose keys are heard meanwhile.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};
use signal_hook::consts::{SIGINT, SIGTERM};

/// What a terminal is asked for: its other screen without a cursor, and back to the first.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// How often it is looked whether a signal has come.
const LOOK: Duration = Duration::from_millis(100);

/// The terminal, until it is dropped; then it is as it was.
pub(super) struct Screen {
    /// How stdin was, if it is a terminal.
    before: Option<Termios>,
    is_told_to_end: Arc<AtomicBool>,
    draws: bool,
}

impl Screen {
    /// Takes the terminal, if stdout is one.
    ///
    /// # Errors
    /// Signals cannot be caught, or stdout is not to be written to.
    pub(super) fn take() -> io::Result<Self> {
        let is_told_to_end = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&is_told_to_end))?;
        }
        let draws = io::stdout().is_terminal();
        let mut screen = Self { before: None, is_told_to_end, draws };
        if !draws {
            return Ok(screen);
        }
        if let Ok(before) = tcgetattr(io::stdin()) {
            let mut raw = before.clone();
            // Keys come one by one, and are not shown.
            raw.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
            raw.special_codes[SpecialCodeIndex::VMIN] = 0;
            raw.special_codes[SpecialCodeIndex::VTIME] = 0;
            if tcsetattr(io::stdin(), OptionalActions::Now, &raw).is_ok() {
                screen.before = Some(before);
            }
        }
        io::stdout().write_all(ENTER.as_bytes())?;
        Ok(screen)
    }

    /// Whether stdout is a terminal that is drawn anew.
    pub(super) fn draws(&self) -> bool {
        self.draws
    }

    /// Shows these lines in place of those before, as far as there is room.
    ///
    /// # Errors
    /// Nobody reads them.
    pub(super) fn draw(&self, lines: &[String]) -> io::Result<()> {
        let size = tcgetwinsize(io::stdout()).map(|size| (size.ws_row, size.ws_col));
        let (rows, columns) = match size {
            Ok((rows, columns)) if rows > 0 && columns > 0 => (rows.into(), columns.into()),
            _ => (24_usize, 80_usize),
        };
        let mut text = String::from("\x1b[H");
        for (at, line) in lines.iter().take(rows).enumerate() {
            text += if at > 0 { "\r\n" } else { "" };
            text.extend(line.chars().take(columns));
            text += "\x1b[K";
        }
        text += "\x1b[J";
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// Waits for so long; `false` if somebody wants it to end: by `q`, or by a signal.
    pub(super) fn wait(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        loop {
            if self.is_told_to_end.load(Ordering::Relaxed) {
                return false;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            if !self.passes(left.min(LOOK)) {
                return false;
            }
        }
    }

    /// A moment passes; `false` if the key that ends it was pressed.
    fn passes(&self, time: Duration) -> bool {
        if self.before.is_none() {
            std::thread::sleep(time);
            return true;
        }
        let stdin = io::stdin();
        let patience = Timespec { tv_sec: 0, tv_nsec: i64::from(time.subsec_nanos()) };
        let mut waited = [PollFd::new(&stdin, PollFlags::IN)];
        if !poll(&mut waited, Some(&patience)).is_ok_and(|count| count > 0) {
            return true;
        }
        let mut keys = [0; 64];
        match rustix::io::read(&stdin, &mut keys) {
            // The terminal has gone.
            Ok(0) => false,
            Ok(count) => !keys[..count].iter().any(|key| matches!(key, b'q' | b'Q')),
            Err(_) => true,
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // A terminal that has gone needs nothing.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
        if self.draws {
            let _ = io::stdout().write_all(LEAVE.as_bytes());
            let _ = io::stdout().flush();
        }
    }
}

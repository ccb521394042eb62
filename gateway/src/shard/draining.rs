//! Draining: every connection is closed, a portion at each tick.

use std::io;
use std::time::Duration;

use super::Shard;
use crate::connection::deadlines::TICK;
use crate::connection::{AfterFlush, Stage};
use crate::kernel::{Ring, Slot};
use crate::protocol::turn::Failing;

/// For how many ticks what waits to be accepted is taken in at the most, before the listeners are
/// closed: new clients may come all the time. Ticks do not count while the whole shard is paused.
const ACCEPT_TICKS: u64 = 4;

/// A drain in progress.
pub(super) struct Drain {
    /// Everything goes on as before until then.
    begins: Duration,
    has_begun: bool,
    /// When the listeners are closed at the latest, in ticks of the deadlines.
    accepts_until: u64,
    /// Connections below this slot have been told.
    cursor: Slot,
    /// When to give up on those that are left.
    deadline: Duration,
}

impl Drain {
    /// Whether connections are being closed.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Whoever comes in here now has yet to shake hands, and is told at the next tick like those
    /// who were there before, if nothing has come of it until then.
    pub(super) fn takes_in(&mut self, slot: Slot) {
        self.cursor = self.cursor.min(slot);
    }
}

impl<R: Ring> Shard<R> {
    /// The shard was told to drain: begins, or will after a while.
    ///
    /// # Errors
    /// The ring is beyond use.
    pub(super) fn start_draining(&mut self) -> io::Result<()> {
        if self.connections.drain.is_some() {
            return Ok(());
        }
        self.connections.hub.is_leaving = true;
        let begins = self.connections.sockets.ring.now() + self.connections.config.drain_delay;
        let deadline = begins + self.connections.config.drain;
        self.connections.drain =
            Some(Drain { begins, has_begun: false, accepts_until: 0, cursor: 0, deadline });
        self.drain_portion()
    }

    /// Accepts nothing more, when that is due, and closes the next portion of connections.
    ///
    /// # Errors
    /// The ring is beyond use.
    pub(super) fn drain_portion(&mut self) -> io::Result<()> {
        let (now, tick) =
            (self.connections.sockets.ring.now(), self.connections.sockets.deadlines.now());
        let Some(drain) = self.connections.drain.as_mut().filter(|drain| now >= drain.begins)
        else {
            return Ok(());
        };
        if !std::mem::replace(&mut drain.has_begun, true) {
            drain.accepts_until = tick + ACCEPT_TICKS;
            tracing::info!(
                shard = self.connections.index,
                connections = self.connections.sockets.table.live(),
                "draining"
            );
            self.accepting.stop_accepting(&mut self.connections);
        } else if tick >= drain.accepts_until {
            self.accepting.close_listeners(&mut self.connections);
        }
        let cursor = self.connections.drain.as_ref().map_or(0, |drain| drain.cursor);
        let per_tick =
            u64::from(self.connections.config.drain_rate) * TICK.as_millis() as u64 / 1000;
        let mut left = per_tick.max(1);
        for slot in cursor..self.connections.sockets.table.used_slots() {
            if left == 0 {
                break;
            }
            left -= u64::from(self.drain_connection(slot));
            self.connections.sockets.make_room()?;
            if let Some(drain) = &mut self.connections.drain {
                drain.cursor = slot + 1;
            }
        }
        Ok(())
    }

    /// Whether the drain is over: nobody is left, or it has taken too long.
    pub(super) fn is_drained(&self) -> bool {
        let Some(drain) = &self.connections.drain else { return false };
        let is_late = self.connections.sockets.ring.now() >= drain.deadline;
        if is_late && self.connections.sockets.table.live() > 0 {
            let left = self.connections.sockets.table.live();
            tracing::warn!(
                shard = self.connections.index,
                left,
                "the drain took too long: the rest is cut off"
            );
        }
        let is_empty =
            self.connections.sockets.table.live() == 0 && self.accepting.has_taken_all_over();
        drain.has_begun && ((is_empty && self.accepting.has_stopped_accepting()) || is_late)
    }

    /// Tells one connection; whether there was anything to tell.
    fn drain_connection(&mut self, slot: Slot) -> bool {
        let connection = &self.connections.sockets.table[slot];
        match connection.stage {
            Stage::Head | Stage::Open if !connection.is_closing() => {
                self.connections.close(slot, Failing::GoesAway);
            }
            Stage::Lingering
                if connection.is_flushed()
                    && connection.states.after_flush() != AfterFlush::Finish =>
            {
                self.connections.sockets.linger_briefly(slot);
                return false;
            }
            _ => return false,
        }
        true
    }
}

//! Sending where a transport seals: what goes first is sealed into staging memory and leaves in the
//! batch. Only what a peer did not take of that waits for it, in the backlog, as it is.

use crate::connection::{BLOCK_MIN, FrameId, Reading, Spot, Stage, States};
use crate::kernel::{AreaName, Ring, Slot, Span};
use crate::memory::{Full, Share};
use crate::shard::sockets::Sockets;
use crate::shard::sockets::batch::SentFrom;
use crate::transport::{Broken, OpenedInput, Sealed};

/// Sealed bytes that are made at a time, and about as many as leave in one send.
const AT_ONCE: u32 = 32 * 1024;

/// With so much room for sealed bytes, a transport seals at least one.
const ROOM: u32 = 1024;

impl<R: Ring> Sockets<R> {
    /// Whether what is sent to a connection is sealed.
    pub(crate) fn seals(&self, slot: Slot) -> bool {
        self.profiles.seals(self.table[slot].profile)
    }

    /// Seals what a turn has said; what there is no room for waits in the backlog.
    ///
    /// # Errors
    /// There is no block for it either.
    pub(crate) fn launch_sealed_output(&mut self, slot: Slot, spot: Spot) -> Result<(), Full> {
        if let Spot::At(span) = spot {
            let start = self.staged;
            let rest = span.skip(self.seal(slot, span));
            self.launch_staged(slot, start);
            if rest.length > 0 {
                let kept = self.outbox(slot).backlog().push_front(rest);
                self.counters.out_of_blocks += u64::from(kept.is_err());
                kept?;
            }
        }
        self.launch_sealed(slot);
        Ok(())
    }

    /// Seals a published frame to which nothing is in the way, and sends it; what there is no room
    /// for waits.
    pub(crate) fn launch_sealed_frame(&mut self, slot: Slot, frame: FrameId, span: Span) {
        let start = self.staged;
        let sealed = if self.may_seal_frame() { self.seal(slot, span) } else { 0 };
        self.launch_staged(slot, start);
        if sealed < span.length {
            self.outbox(slot).frame_waits(frame, sealed);
            self.launch_sealed(slot);
        }
    }

    /// Sends what goes first to a connection to which nothing else is being sent: sealed bytes that
    /// its peer has not taken, or what is sealed now. Returns whether anything waits still, or is
    /// sent.
    pub(crate) fn launch_sealed(&mut self, slot: Slot) -> bool {
        if self.table[slot].states.is_sending() {
            self.flush_soon |= self.table[slot].states.is_in_batch();
            return true;
        }
        if self.table[slot].stage == Stage::Zombie {
            return false;
        }
        if self.sealed.ahead(slot) > 0 {
            self.arm_send(slot);
            return true;
        }
        let start = self.staged;
        let mut waits = false;
        while self.may_seal_next(slot) {
            let Some(span) = self.outbox(slot).first() else { break };
            let taken = self.seal(slot, span);
            self.outbox(slot).sent(taken);
            waits = taken < span.length;
            if waits || self.staged - start >= AT_ONCE {
                break;
            }
        }
        self.launch_staged(slot, start);
        waits |= !self.may_seal_next(slot);
        if waits && self.staged == start {
            // Once the batch is settled, its memory is free again; blocks may be before long.
            self.sealed.waits(slot);
        }
        let connection = &self.table[slot];
        let is_paused = connection.states.reading() == Reading::Paused;
        let has_more = connection.backlog.is_some() || connection.states.has(States::QUEUED);
        let is_more_to_do = has_more || is_paused || connection.states.is_blocked();
        self.flush_soon |= is_more_to_do && !self.batch.is_empty();
        waits || self.staged > start
    }

    /// Whether what goes first may be sealed, if anything can be sent: a published frame that has
    /// not begun only while there are blocks for what its peer may not take of the copy.
    fn may_seal_next(&self, slot: Slot) -> bool {
        let connection = &self.table[slot];
        let is_frame = connection.backlog.is_none()
            && connection.states.has(States::QUEUED)
            && !self.frames.is_begun(slot)
            // Else it waits for something else, for which its peer has to be read from.
            && connection.is_between_messages()
            && !connection.is_closing();
        !is_frame || self.may_seal_frame()
    }

    /// Whether there are blocks for what peers may not take of a sealed frame, and of all that is
    /// in the batch: each of those may leave a rest behind, which takes a block of its own.
    fn may_seal_frame(&self) -> bool {
        let rests = self.batch.len() as u64 * u64::from(BLOCK_MIN);
        self.blocks.own_free_bytes(Share::Sending) >= self.sending_reserve() + rests
    }

    /// Seals the beginning of `span` behind what is staged; returns how much of it that was.
    fn seal(&mut self, slot: Slot, span: Span) -> u32 {
        let end = self.memory.area(AreaName::Staging).len() as u32;
        // One large frame must not take all of it: others wait as well.
        let length = (end - self.staged).min(AT_ONCE);
        let wire = Span { area: AreaName::Staging, start: self.staged, length };
        let transport = &mut self.profiles[self.table[slot].profile].transport;
        let (plain, wire) = self.memory.pair(span, wire);
        let Sealed { taken, written } = transport.seal(&mut self.transports, slot, plain, wire);
        if taken == 0 && length > ROOM {
            self.sealed.is_broken(slot);
            self.flush_soon = true;
        }
        self.staged += written as u32;
        taken as u32
    }

    /// Sends what was staged from `start` on.
    fn launch_staged(&mut self, slot: Slot, start: u32) {
        let length = self.staged - start;
        if length > 0 {
            let span = Span { area: AreaName::Staging, start, length };
            self.launch(slot, span, SentFrom::Staging);
        }
    }
}

/// Whether what a connection receives is opened.
pub(crate) fn opens<R: Ring>(sockets: &Sockets<R>, slot: Slot) -> bool {
    sockets.profiles.may_open() && sockets.profile(slot).transport.opens(&sockets.transports, slot)
}

/// Whether a proxy has yet to say whose connection it is.
pub(crate) fn awaits_header<R: Ring>(sockets: &Sockets<R>, slot: Slot) -> bool {
    sockets.profile(slot).transport.awaits_header(&sockets.transports, slot)
}

/// Whether anything can be said and heard on a connection: a proxy may have yet to say whose it
/// is, and its transport to shake hands.
pub(crate) fn is_ready<R: Ring>(sockets: &Sockets<R>, slot: Slot) -> bool {
    !opens(sockets, slot) || sockets.profile(slot).transport.is_ready(&sockets.transports, slot)
}

/// Whether hands are to be shaken on a connection before anything is said.
pub(crate) fn shakes_hands<R: Ring>(sockets: &Sockets<R>, slot: Slot) -> bool {
    sockets.seals(slot) && !is_ready(sockets, slot)
}

/// Whether a connection has to wait with its handshake until others have ended theirs.
pub(crate) fn must_wait<R: Ring>(sockets: &mut Sockets<R>, slot: Slot) -> bool {
    sockets.seals(slot)
        && sockets.table[slot].stage == Stage::Head
        && sockets.profiles[sockets.table[slot].profile]
            .transport
            .must_wait(&sockets.transports, slot)
}

/// A handshake has ended: those who wait with theirs have their turn before anyone sleeps.
pub(crate) fn has_room_for_parked<R: Ring>(sockets: &mut Sockets<R>) {
    sockets.flush_soon |= sockets.transports.kept.parked() > 0;
}

/// Opens what was received, in place. What its transport has to say itself is put where it
/// waits for [`say_words`].
///
/// # Errors
/// It cannot be opened.
pub(crate) fn open_received<R: Ring>(
    sockets: &mut Sockets<R>,
    slot: Slot,
    received: Span,
) -> Result<OpenedInput, Broken> {
    sockets.transports.words.clear();
    sockets.transports.tls.now = sockets.ring.now();
    let Sockets { profiles, table, transports, memory, .. } = sockets;
    let mut words = std::mem::take(&mut transports.words);
    let transport = &mut profiles[table[slot].profile].transport;
    let opened = transport.open(transports, slot, memory.bytes_mut(received), &mut words);
    transports.words = words;
    opened
}

/// Sends what a transport has to say itself, if there is any. Nothing waits that is yet to be
/// sealed.
///
/// # Errors
/// There is no block for it.
pub(crate) fn say_words<R: Ring>(sockets: &mut Sockets<R>, slot: Slot) -> Result<(), Full> {
    if sockets.transports.words.is_empty() {
        return Ok(());
    }
    let length = sockets.transports.words.len() as u32;
    let span = Span { area: AreaName::Staging, start: sockets.staged, length };
    let has_room = span.end() as usize <= sockets.memory.area(AreaName::Staging).len();
    if has_room && !sockets.table[slot].must_queue() {
        sockets.memory.bytes_mut(span).copy_from_slice(&sockets.transports.words);
        sockets.staged = span.end();
        sockets.launch_staged(slot, span.start);
        return Ok(());
    }
    let words = std::mem::take(&mut sockets.transports.words);
    let waits = sockets.outbox(slot).words_wait(&words);
    sockets.transports.words = words;
    waits?;
    sockets.flush_soon |= sockets.table[slot].states.is_in_batch();
    sockets.arm_send(slot);
    Ok(())
}

/// Puts the last words of a transport where they wait for [`say_words`]; `false` if it
/// has none, or has said them.
pub(crate) fn has_last_words<R: Ring>(sockets: &mut Sockets<R>, slot: Slot) -> bool {
    sockets.transports.words.clear();
    if is_ready(sockets, slot) && sockets.seals(slot) && sockets.transports.kept.leaves(slot) {
        let transport = &mut sockets.profiles[sockets.table[slot].profile].transport;
        let mut words = std::mem::take(&mut sockets.transports.words);
        transport.farewell(&mut sockets.transports, slot, &mut words);
        sockets.transports.words = words;
    }
    !sockets.transports.words.is_empty()
}

/// Whether the peer's end is not as its transport has it: without the last words, somebody
/// between may have cut it off.
pub(crate) fn is_cut<R: Ring>(sockets: &Sockets<R>, slot: Slot) -> bool {
    sockets.seals(slot)
        && sockets.profile(slot).transport.ends_with_words()
        && !sockets.transports.kept.has_ended(slot)
}

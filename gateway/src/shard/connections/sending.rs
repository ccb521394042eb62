//! What becomes of what was sent.

use std::io;

use tidegate_proto::keepalive::Wait;

use crate::connection::{Reading, Stage, States, Writing};
use crate::kernel::{BufferId, Errno, Generation, Peer, Ring, Slot, SlotRef};
use crate::memory::Full;
use crate::protocol;
use crate::protocol::end_reason::EndReason;
use crate::protocol::turn::Finished;
use crate::shard::connections::access::{self, AccessRequest};
use crate::shard::connections::log;
use crate::shard::connections::{Connections, Failed, is_amid_message};
use crate::shard::sockets::Sockets;
use crate::shard::sockets::batch::{BatchSend, SentFrom};
use crate::shard::sockets::receiving::Arrival;
use crate::transport::proxy::ProxyTold;

impl<R: Ring> Connections<R> {
    /// Sends what a turn has said, perhaps from `buffer`, and does what else the turn left to do.
    pub(crate) fn complete(&mut self, slot: Slot, buffer: Option<BufferId>, finished: Finished) {
        let Finished { spot, staged, end, reason, drop, unread, became_whole, .. } = finished;
        self.sockets.staged = staged;
        let traffic = finished.traffic;
        self.take_note(slot, finished);
        // Behind the note: one that has opened in this turn has an account only now.
        self.accounts.add(slot, traffic);
        let drop = self.sockets.launch_output(slot, buffer, spot).is_err() || drop;
        if let (Some(buffer), Some(span), false) = (buffer, unread, drop) {
            let is_amid = is_amid_message(self, slot);
            self.sockets.put_off(slot, Arrival { buffer, span }, is_amid);
        }
        if let Some(reason) = reason
            && self.sockets.table[slot].is_open()
        {
            self.accounts.ends_for(slot, reason);
        }
        if let Some(end) = end {
            let reason = if end.by_peer { EndReason::PeerClosed } else { EndReason::Done };
            self.messages_ended(slot, end, reason);
        }
        if drop {
            // What waits of its message is not laid aside.
            let id = self.hub.id(slot, self.sockets.table[slot].generation);
            self.inflating.forget(id);
            self.drop_connection(slot);
        } else {
            if self.sockets.table[slot].stage == Stage::Lingering {
                self.sockets.table.strangers.insert(slot);
            }
            let Sockets { table, profiles, halves, deadlines, .. } = &mut self.sockets;
            let connection = &table[slot];
            let due = deadlines.now() + u64::from(profiles[connection.profile].message);
            halves.watch(slot, connection, became_whole, due);
            self.after_words(slot);
        }
    }

    /// What a turn says of an opening: few do.
    fn take_note(&mut self, slot: Slot, finished: Finished) {
        let Finished { opened, refused, answered, asked, .. } = finished;
        if let Some(wait) = finished.wait {
            self.sockets.wait_for(slot, wait);
            if wait == Wait::Decision {
                // It has sent a whole request: it does not give way to a newcomer.
                self.sockets.table.strangers.remove(slot);
            }
        }
        if let Some(peer) = finished.learnt {
            let is_on = self.access.is_some();
            let profile = self.sockets.profile(slot);
            self.peers.is_told(slot, ProxyTold::Peer(peer), profile, [true, is_on]);
        }
        if let Some(opened) = opened {
            self.sockets.table.strangers.remove(slot);
            let is_logged = log::is_logged(self, slot) || self.sockets.profile(slot).logs();
            let peer = self.peers.has_opened(slot, is_logged);
            if self.service(slot).offer.hub_events.is_some() {
                self.details.keep(slot, peer, self.sockets.ring.now());
            }
            log::opened(self, slot, opened, asked);
            self.sockets.transports.proxied.forget_facts(slot);
        } else if let Some(refused) = refused {
            self.vitals.refused(refused.ground);
            let peer = self.peers.get(slot).unwrap_or(Peer::Unknown);
            self.refusals.tell(refused, peer, asked.as_deref());
            access::refused(self, slot, refused, AccessRequest { asked, answered });
        } else if answered.is_some() {
            access::answered(self, slot, AccessRequest { asked, answered });
        }
        if finished.found_full {
            self.tell_full();
        }
    }

    /// Whether `send` of the batch could not send everything: what is left goes to the backlog.
    pub(crate) fn fell_short(&mut self, slot: Slot, index: u32, result: Result<u32, Errno>) {
        let Some(send) = self.sockets.batch.get(index) else { return };
        let BatchSend { generation, span, from, .. } = *send;
        let current = self.sockets.table.current(slot, generation);
        if current.is_none_or(|connection| connection.stage == Stage::Zombie) {
            return;
        }
        self.sockets.counters.sends_short += 1;
        let sent = match result {
            Ok(sent) => sent,
            Err(Errno::AGAIN) => 0,
            Err(_) => {
                // To drop it now would push an operation, and the batch could not be settled: one
                // who resets in each turn would cost everybody copies.
                let whose = SlotRef { slot, generation };
                self.failed.push(Failed { whose, is_cut_short: false });
                return;
            }
        };
        if let SentFrom::Frame(frame) = from {
            return self.sockets.frame_fell_short(slot, frame, sent);
        }
        let (seals, rest) = (self.sockets.seals(slot), span.skip(sent));
        let mut outbox = self.sockets.outbox(slot);
        let kept = if seals { outbox.sealed_fell_short(rest) } else { outbox.fell_short(rest) };
        if kept == Err(Full) {
            // Part of a frame is lost: nothing more can be said to this peer. It is dropped later,
            // as above.
            self.sockets.counters.out_of_blocks += 1;
            let whose = SlotRef { slot, generation };
            self.failed.push(Failed { whose, is_cut_short: true });
        }
    }

    /// Everything is settled: the memory of the batch is free again.
    ///
    /// # Errors
    /// The ring is beyond use.
    pub(crate) fn settle(&mut self) -> io::Result<()> {
        self.sockets.staged = 0;
        self.sockets.flush_soon = false;
        let mut batch = self.sockets.batch.take();
        let Sockets { frames, batch: settled, blocks, .. } = &mut self.sockets;
        frames.release_all(&mut settled.done_frames, blocks);
        for send in batch.drain(..) {
            if let Some(buffer) = send.buffer() {
                self.sockets.buffers.release(buffer);
            }
            let Some(connection) = self.sockets.table.current(send.slot, send.generation) else {
                continue;
            };
            connection.states.set_writing(Writing::Idle);
            if connection.stage == Stage::Zombie {
                self.bury(send.slot);
            } else {
                self.settled(send.slot);
            }
            self.sockets.make_room()?;
        }
        self.sockets.batch.reuse(batch);
        self.drop_broken();
        // Who found no staging memory is first to be sealed for.
        let count = self.unqueued.len();
        while let Some(slot) = self.sockets.sealed.next_waiting() {
            self.unqueued.push(slot);
        }
        self.unqueued.rotate_left(count);
        self.go_on_with_queues()
    }

    /// What was sent to a connection in the batch has left, or waits.
    fn settled(&mut self, slot: Slot) {
        if self.sockets.sends_batches_only(slot) {
            self.unqueued.push(slot);
        } else if self.sockets.table[slot].waits_for_peer() {
            self.sockets.arm_send(slot);
            super::receiving::go_by_policy(self, slot);
        } else if self.sockets.table[slot].states.has(States::QUEUED) {
            self.unqueued.push(slot);
        } else {
            self.hub.recoveries.is_fed(slot);
            self.after_words(slot);
        }
    }

    /// Drops the connections whose sends have failed, or left a rest without a block. Whether the
    /// batch is settled is known by now: what this pushes does not keep it from being.
    ///
    /// # Errors
    /// The ring is beyond use.
    pub(crate) fn drop_failed(&mut self) -> io::Result<()> {
        while let Some(Failed { whose, is_cut_short }) = self.failed.pop() {
            let SlotRef { slot, generation } = whose;
            let current = self.sockets.table.current(slot, generation);
            if current.is_some_and(|connection| connection.stage != Stage::Zombie) {
                if is_cut_short {
                    self.drop_connection(slot);
                } else {
                    self.peer_failed(slot);
                }
                self.sockets.make_room()?;
            }
        }
        Ok(())
    }

    /// Peers that took all that was sent get what was published meanwhile.
    fn go_on_with_queues(&mut self) -> io::Result<()> {
        let mut unqueued = std::mem::take(&mut self.unqueued);
        for slot in unqueued.drain(..) {
            if self.sockets.seals(slot) {
                self.go_on_sealed(slot);
            } else {
                self.sockets.launch_queued(slot);
                self.after_words(slot);
            }
            self.sockets.make_room()?;
        }
        self.unqueued = unqueued;
        Ok(())
    }

    /// Drops those whose transport seals nothing.
    fn drop_broken(&mut self) {
        while let Some(slot) = self.sockets.sealed.next_broken() {
            if self.sockets.table[slot].stage != Stage::Zombie {
                self.drop_connection(slot);
            }
        }
    }

    /// What was sealed has left: so does what waits, or the peer has taken all.
    fn go_on_sealed(&mut self, slot: Slot) {
        let connection = &self.sockets.table[slot];
        if matches!(connection.stage, Stage::Free | Stage::Zombie) {
            return;
        }
        if self.sockets.launch_sealed(slot) {
            return;
        }
        let connection = &self.sockets.table[slot];
        let is_paused = connection.states.reading() == Reading::Paused;
        if connection.states.is_blocked() || (is_paused && !connection.keeps_input()) {
            self.drained(slot);
        } else if connection.states.has(States::QUEUED) {
            // It waits for the end of a message.
            self.after_words(slot);
        } else {
            self.hub.recoveries.is_fed(slot);
            self.after_words(slot);
        }
    }

    /// An armed send is done.
    pub(crate) fn sent(&mut self, slot: Slot, generation: Generation, result: Result<u32, Errno>) {
        let Some(connection) = self.sockets.table.current(slot, generation) else { return };
        connection.states.set_writing(Writing::Idle);
        if connection.stage == Stage::Zombie {
            return self.bury(slot);
        }
        let Ok(count @ 1..) = result else { return self.peer_failed(slot) };
        let wait = connection.wait;
        let mut outbox = self.sockets.outbox(slot);
        outbox.sent(count);
        if outbox.has_more() {
            if wait == Wait::Progress {
                self.sockets.stalled.remove(slot);
                self.sockets.wait_for(slot, Wait::Progress);
            }
            self.sockets.arm_send(slot);
        } else {
            self.drained(slot);
        }
    }

    /// The peer has taken all that it had no room for.
    fn drained(&mut self, slot: Slot) {
        let connection = &mut self.sockets.table[slot];
        connection.states.clear(States::BLOCKED);
        self.sockets.watched.lets_go(slot);
        if connection.wait == Wait::Progress {
            self.sockets.stalled.remove(slot);
            self.sockets.wait_for(slot, Wait::Activity);
        }
        let connection = &mut self.sockets.table[slot];
        if connection.states.reading() == Reading::Paused && !connection.keeps_input() {
            connection.states.set_reading(Reading::Idle);
            self.sockets.read_on(slot);
        }
        let connection = &self.sockets.table[slot];
        let tells = connection.may_go_on();
        if tells {
            self.in_turn(slot, None, protocol::writable);
        } else {
            self.after_words(slot);
        }
        if self.sockets.table[slot].stage == Stage::Open {
            self.hub.recoveries.is_fed(slot);
            self.sockets.launch_queued(slot);
        }
    }
}

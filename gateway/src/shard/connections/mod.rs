//! Connections with what they run under: their turns, their handlers and the hub.

pub(super) mod access;
pub(super) mod closing;
mod log;
pub(super) mod opening;
pub(super) mod queue;
pub(super) mod receiving;
mod sending;
pub(super) mod told;

use std::sync::Arc;
use std::time::Duration;

use crate::census::Turnstile;
use crate::checks::Gatekeeper;
use crate::config::{Config, Route};
use crate::connection::{Allotments, Output, Spot, Stage};
use crate::handler::built_in;
use crate::hub::Hub;
use crate::kernel::{BufferId, Memory, Peer, Ring, Slot, SlotRef};
use crate::memory::{Compressor, Pool};
use crate::protocol::Inflating;
use crate::protocol::program::Program;
use crate::protocol::services::{Made, NoHandler, Service, Services};
use crate::protocol::turn::{Finished, Said, Turn, Work};
use crate::shard::Assembly;
use crate::shard::access::AccessTeller;
use crate::shard::accounts::Accounts;
use crate::shard::details::Details;
use crate::shard::draining::Drain;
use crate::shard::ends::LastEnds;
use crate::shard::failed_handshakes::FailedHandshakes;
use crate::shard::peers::Peers;
use crate::shard::refusals::Refusals;
use crate::shard::reloading::Takeover;
use crate::shard::sockets::Sockets;
use crate::shard::traces::Traces;
use crate::shard::vitals::Vitals;

/// A shard that is full says so again after so long.
const TELL_AGAIN: Duration = Duration::from_secs(10);

/// A connection whose send has failed.
pub(super) struct Failed {
    whose: SlotRef,
    /// Its socket has not: there was no block for the rest, so that part of a frame is lost.
    is_cut_short: bool,
}

/// The connections of a shard.
pub(super) struct Connections<R> {
    /// Which shard.
    pub(super) index: usize,
    /// What is in force.
    pub(super) config: Arc<Config>,
    pub(super) sockets: Sockets<R>,
    pub(super) services: Services,
    /// Who may enter, and what those may do who have.
    pub(super) gatekeeper: Gatekeeper,
    pub(super) hub: Hub,
    pub(super) compressor: Compressor,
    pub(super) inflating: Inflating,
    /// What clients have left of what they may send.
    pub(super) allotments: Allotments,
    /// What they are counted by, on all shards together.
    pub(super) turnstile: Turnstile,
    /// Where a request head is put together.
    pub(super) head: Box<[u8]>,
    pub(super) details: Details,
    /// The addresses of peers whose listener logs.
    pub(super) peers: Peers,
    pub(super) accounts: Accounts,
    /// Those that have ended.
    pub(super) ends: LastEnds,
    /// Those whose frames the log tells of.
    pub(super) traces: Traces,
    /// How much the log says of requests that are refused.
    pub(super) refusals: Refusals,
    /// What the access log is told, if there is one.
    access: Option<AccessTeller>,
    /// How much the log says of handshakes that fail.
    failed_handshakes: FailedHandshakes,
    pub(super) vitals: Vitals,
    /// Connections whose sends have failed, to be dropped once that was settled.
    pub(super) failed: Vec<Failed>,
    /// Connections whose next queued frame can be sent once the batch is settled.
    pub(super) unqueued: Vec<Slot>,
    pub(super) drain: Drain,
    pub(super) reloading: Takeover,
    /// Somebody has begun to linger, who may give way to a newcomer.
    pub(super) look_again: bool,
}

/// Makes the handler of a route: the program does, or it is a built-in one.
pub(super) fn make(program: &Program, route: &Route) -> Option<Made> {
    match (program.handlers)(route) {
        Some(handler) => Some(Made { handler, is_brought: true }),
        None => built_in(route).map(|handler| Made { handler, is_brought: false }),
    }
}

impl<R: Ring> Connections<R> {
    pub(super) fn new(ring: R, memory: Memory, assembly: Assembly) -> Result<Self, NoHandler> {
        let Assembly { index, config, routes, listening, program, census, checks, .. } = assembly;
        let Assembly { access_log, mut hub, .. } = assembly;
        hub.calendar_ahead = ring.calendar().saturating_sub(ring.now());
        let limits = config.limits;
        let head = limits.request_head + limits.receive_buffer;
        Ok(Self {
            index,
            sockets: Sockets::new(ring, memory, &config, &program, &listening),
            services: Services::new(limits.slots(), routes, &|route| make(&program, route))?,
            gatekeeper: Gatekeeper::new(checks, &limits),
            hub,
            compressor: Compressor::new(),
            inflating: Inflating::new(),
            allotments: Allotments::new(limits.slots()),
            turnstile: Turnstile::new(limits.slots(), census),
            head: vec![0; head as usize].into_boxed_slice(),
            details: Details::new(),
            peers: Peers::default(),
            accounts: Accounts::default(),
            ends: LastEnds::default(),
            traces: Traces::default(),
            refusals: Refusals::new(),
            access: AccessTeller::of(access_log, &config),
            failed_handshakes: FailedHandshakes::default(),
            vitals: Vitals::default(),
            failed: Vec::new(),
            unqueued: Vec::new(),
            drain: Drain::new(limits.slots()),
            reloading: Takeover::new(limits.slots(), program, listening),
            look_again: false,
            config,
        })
    }

    /// What the connection runs under, as its route says.
    pub(super) fn service(&self, slot: Slot) -> &Service {
        &self.services[self.sockets.table[slot].service]
    }

    /// The connection with all that it may use, and the buffer that its input is in.
    pub(super) fn turn(&mut self, slot: Slot, buffer: Option<BufferId>) -> Turn<'_> {
        let sending_reserve = self.sockets.sending_reserve();
        let drains = self.is_draining();
        let is_full = drains || self.has_no_place(slot);
        let seals = self.sockets.seals(slot);
        let now = self.sockets.ring.now();
        let access = self.access.as_ref();
        let tells_refusals =
            self.refusals.has_room() || access.is_some_and(|access| access.has_room(now));
        let tells_answers = access.is_some();
        let calendar = self.hub.calendar_ahead + now;
        let peer = match self.sockets.table[slot].stage {
            Stage::Head => self.peers.get(slot).unwrap_or(Peer::Unknown),
            _ => Peer::Unknown,
        };
        let sockets = &mut self.sockets;
        let heard_before = sockets.counters.messages_in;
        let connection = &mut sockets.table[slot];
        let service = connection.service;
        let profile = &sockets.profiles[connection.profile];
        let limits = profile.limits(service, &self.services[service]);
        let id = self.hub.id(slot, connection.generation);
        let output = Output {
            connection,
            pool: Pool { blocks: &mut sockets.blocks, memory: &mut sockets.memory },
            buffer: buffer.map(|buffer| sockets.buffers.span(buffer)),
            staged: sockets.staged,
            backlog_limit: limits.backlog,
            sending_reserve,
            spot: Spot::Nothing,
            seals,
            trace: self.traces.of(slot),
        };
        let (compressor, hub) = (&mut self.compressor, &mut self.hub);
        let gatekeeper = &mut self.gatekeeper;
        let said = Said::default();
        Turn {
            work: Work {
                output,
                compressor,
                hub,
                gatekeeper,
                now,
                calendar,
                id,
                failing: None,
                said,
            },
            limits,
            services: &mut self.services,
            profiles: &mut sockets.profiles,
            transports: &sockets.transports,
            peer,
            inflating: &mut self.inflating,
            allotments: &mut self.allotments,
            turnstile: &mut self.turnstile,
            counters: &mut sockets.counters,
            input_budget: &mut sockets.put_off.budget,
            head: &mut self.head,
            head_max: sockets.limits.request_head as usize,
            is_full,
            drains,
            tells_refusals,
            tells_answers,
            heard_before,
            left: Finished::nothing(),
        }
    }

    /// A connection has a turn, in which `what` is done, and what that leaves to do is done as
    /// well.
    pub(super) fn in_turn<T>(
        &mut self,
        slot: Slot,
        buffer: Option<BufferId>,
        what: impl FnOnce(&mut Turn<'_>) -> T,
    ) -> T {
        let mut turn = self.turn(slot, buffer);
        let done = what(&mut turn);
        let finished = turn.finish();
        self.complete(slot, buffer, finished);
        done
    }

    /// Whether as many other connections are open, or may come to be once that is decided, as are
    /// served.
    fn has_no_place(&self, slot: Slot) -> bool {
        let counters = &self.sockets.counters;
        let own = u64::from(self.sockets.table[slot].undecided().is_some());
        let taken = counters.connections_open + counters.undecided - own;
        taken >= u64::from(self.sockets.limits.connections)
    }

    /// Whether as many connections are there as are served.
    pub(crate) fn is_full(&self) -> bool {
        self.sockets.table.live() >= self.sockets.limits.connections
    }

    /// A handshake has failed: says so in the log, now and then.
    pub(super) fn tell_failed_handshake(&mut self, slot: Slot, reason: &'static str) {
        let peer = self.peers.get(slot).unwrap_or(Peer::Unknown);
        self.failed_handshakes.tell(self.sockets.ring.now(), peer, reason);
    }

    /// There is no room for one more: says so in the log, now and then.
    pub(super) fn tell_full(&mut self) {
        let now = self.sockets.ring.now();
        if self.refusals.full_told.is_some_and(|told| now - told < TELL_AGAIN) {
            return;
        }
        self.refusals.full_told = Some(now);
        tracing::warn!(
            shard = self.index,
            connections = self.sockets.table.live(),
            open = self.sockets.counters.connections_open,
            "all places are taken: new connections wait until those give way that send no request, \
             or are answered with 503; raise limits.connections, or run more shards"
        );
    }

    /// Whether connections are being closed, and nobody is served any more who comes.
    pub(super) fn is_draining(&self) -> bool {
        self.drain.has_begun()
    }
}

/// Whether it is in the middle of a message that is inflated. Others wait for that, so it does not
/// wait for anything.
pub(super) fn is_amid_message<R: Ring>(connections: &Connections<R>, slot: Slot) -> bool {
    let generation = connections.sockets.table[slot].generation;
    connections.inflating.is_amid(connections.hub.id(slot, generation))
}

//! Carrying out a change of the configuration: a shard makes what it needs bit by bit, has it from
//! one turn of the loop to the next, and takes down bit by bit what is used no longer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::accept::Accepting;
use super::change::{ChangeParts, ChangeStage, ConfigChange};
use super::connections::{Connections, access, make};
use super::listening::NextListeners;
use super::pace::Portions;
use super::panel::Panel;
use crate::connection::Stage;
use crate::hub::Why;
use crate::kernel::{Ring, Slot, SlotSet};
use crate::protocol::end_reason::EndReason;
use crate::protocol::program::Program;
use crate::protocol::services::{ListenerTable, NextServices, NotPrepared, UnusedPart};

/// Routes that one turn of the loop makes handlers for, or whose handlers it takes down: about a
/// tenth of a millisecond's work.
const ROUTES_AT_ONCE: usize = 64;

/// Slots that one turn looks at for those whose route is there no longer.
const SLOTS_AT_ONCE: u32 = 2048;

/// What the moments are drawn from at which they are closed, with the number of the shard, so that
/// no two go on together: an odd factor, 2^64 over the golden ratio.
const SEED: u64 = 0x9E37_79B9_7F4A_7C15;

/// What those are told whose route is there no longer (RFC 6455 section 7.4 and its registry: 1012
/// is "service restart").
const CODE: u16 = 1012;

/// What a shard does about changes.
pub(super) struct Takeover {
    /// What makes handlers, layers and protocols.
    pub(super) program: Program,
    /// The listeners that there are.
    pub(super) listening: Arc<ListenerTable>,
    /// How often one was ordered when that was looked at last.
    seen: u32,
    next: Option<NextChange>,
    /// What nobody uses any more.
    unused: Vec<UnusedPart>,
    /// The first slot that is yet to be looked at for those whose route is there no longer.
    looks_at: Option<Slot>,
    /// It is looked once more at each tick.
    looks_again: bool,
    /// The first slot that is yet to be looked at for those who were there before what they are
    /// counted by was limited.
    counts_at: Option<Slot>,
    /// Those of them who are yet to be closed.
    leaving: SlotSet,
    /// How many of them are closed in a second, and when.
    closes: Option<(u32, Portions)>,
}

/// A change under way.
struct NextChange {
    change: Arc<ConfigChange>,
    services: NextServices,
    /// Made first.
    listeners: Option<NextListeners>,
    is_ready: bool,
}

impl Takeover {
    /// The bytes that it holds for so many slots.
    pub(super) const fn bytes(slots: u32) -> u64 {
        SlotSet::bytes(slots)
    }

    pub(super) fn new(slots: u32, program: Program, listening: Arc<ListenerTable>) -> Self {
        Self {
            program,
            listening,
            seen: 0,
            next: None,
            unused: Vec::new(),
            looks_at: None,
            looks_again: false,
            counts_at: None,
            leaving: SlotSet::new(slots),
            closes: None,
        }
    }

    /// Whether there is something to do without anything coming in.
    pub(super) fn has_work(&self) -> bool {
        self.next.as_ref().is_some_and(|next| !next.is_ready)
            || !self.unused.is_empty()
            || self.looks_at.is_some()
            || self.counts_at.is_some()
    }

    /// How long the shard may sleep for those who are to be closed.
    pub(super) fn sleep(&self, now: Duration) -> Option<Duration> {
        let (_, portions) = self.closes.as_ref().filter(|_| !self.leaving.is_empty())?;
        Some(portions.next().saturating_sub(now))
    }

    /// Whether nobody is to be closed.
    pub(super) fn leaves_nobody(&self) -> bool {
        self.leaving.is_empty()
    }

    /// Whether nothing is left of any change.
    pub(super) fn is_empty(&self) -> bool {
        self.next.is_none() && !self.has_work() && self.leaving.is_empty()
    }

    /// Whether whoever is in this slot is to be closed.
    pub(super) fn has(&self, slot: Slot) -> bool {
        self.leaving.contains(slot)
    }

    /// Whoever was in this slot has gone.
    pub(super) fn has_gone(&mut self, slot: Slot) {
        self.leaving.remove(slot);
    }
}

/// Looks what was ordered. One before that is over.
pub(super) fn obey<R: Ring>(connections: &mut Connections<R>, panel: &Panel) {
    if panel.changes() == connections.reloading.seen {
        return;
    }
    let (seen, ordered) = panel.change_ordered();
    connections.reloading.seen = seen;
    if let Some(next) = connections.reloading.next.take() {
        take_down(connections, next);
    }
    connections.reloading.next = ordered.map(|change| {
        let services = NextServices::new(Arc::clone(&change.parts().routes));
        NextChange { change, services, listeners: None, is_ready: false }
    });
}

/// Nothing comes of a change: what was made for it is taken down bit by bit.
fn take_down<R: Ring>(connections: &mut Connections<R>, next: NextChange) {
    connections.reloading.unused.extend(next.services.into_unused());
    if let Some(listeners) = next.listeners {
        listeners.let_go(connections);
    }
}

/// Goes on, as far as something is to be done.
///
/// # Errors
/// The ring is beyond use.
pub(super) fn go_on<R: Ring>(
    connections: &mut Connections<R>,
    accepting: &mut Accepting,
) -> io::Result<()> {
    if connections.reloading.is_empty() {
        return Ok(());
    }
    if let Some(next) = connections.reloading.next.take() {
        match next.change.stage() {
            ChangeStage::Ordered => {
                connections.reloading.next = prepare(connections, accepting, next);
            }
            ChangeStage::InForce if next.is_ready => have(connections, accepting, next),
            // It was not waited for: it is not said that this shard has it.
            ChangeStage::InForce | ChangeStage::Abandoned => take_down(connections, next),
        }
        connections.sockets.make_room()?;
    }
    let reloading = &mut connections.reloading;
    let left = reloading.unused.len().saturating_sub(ROUTES_AT_ONCE);
    reloading.unused.truncate(left);
    if left == 0 {
        reloading.unused = Vec::new();
    }
    look_for_gone(connections);
    count_some(connections);
    close_some(connections)
}

/// Makes some more of what the change needs.
fn prepare<R: Ring>(
    connections: &mut Connections<R>,
    accepting: &mut Accepting,
    mut next: NextChange,
) -> Option<NextChange> {
    if next.is_ready {
        return Some(next);
    }
    if next.listeners.is_none() {
        match NextListeners::make(connections, accepting, &next.change) {
            Ok(listeners) => next.listeners = listeners,
            Err(why) => return is_wrong(connections, next, why),
        }
        // Something that is called as one of them is yet to be closed.
        if next.listeners.is_none() {
            return Some(next);
        }
    }
    let services = &connections.services;
    let make = |route: &_| make(&connections.reloading.program, route);
    let made = next.services.make_some(ROUTES_AT_ONCE, services, &make).map_err(Into::into);
    let made = made.and_then(|all| match all {
        true => next.services.check_room(services).map(|()| true),
        false => Ok(false),
    });
    match made {
        Ok(is_all) => {
            next.is_ready = is_all;
            if is_all {
                next.change.is_ready();
            }
            Some(next)
        }
        Err(why) => is_wrong(connections, next, why),
    }
}

/// The shard cannot have the change.
fn is_wrong<R: Ring>(
    connections: &mut Connections<R>,
    next: NextChange,
    why: NotPrepared,
) -> Option<NextChange> {
    next.change.is_wrong(why);
    take_down(connections, next);
    None
}

/// The shard has it from now on.
fn have<R: Ring>(connections: &mut Connections<R>, accepting: &mut Accepting, next: NextChange) {
    let NextChange { change, services, listeners, .. } = next;
    let ChangeParts { config, checks, census, access_log, rules, closes, .. } = change.parts();
    let now = connections.sockets.ring.now();
    let unused = connections.services.replace(services);
    connections.gatekeeper.replace(checks.clone(), &config.limits);
    connections.hub.home.replace_rules(Arc::clone(rules));
    connections.sockets.limit(&config.limits);
    access::log_to(connections, access_log.clone(), config);
    connections.config = Arc::clone(config);
    if let Some(listeners) = listeners {
        listeners.come_into_force(connections, accepting, Arc::clone(&change.parts().listening));
    }
    let reloading = &mut connections.reloading;
    if connections.turnstile.replace(Arc::clone(census)) {
        reloading.counts_at = Some(0);
    }
    reloading.unused.extend(unused);
    // Those go on leaving who were to be closed before; of others it was not said.
    reloading.looks_at = closes.map(|_| 0);
    reloading.looks_again = closes.is_some();
    if let Some(rate) = *closes {
        let seed = SEED.wrapping_mul(connections.index as u64 + 1);
        reloading.closes = Some((rate, Portions::new(now, rate.into(), seed)));
    }
    change.is_done();
}

/// Somebody may have opened since on a route that is there no longer: its request was undecided.
pub(super) fn tick<R: Ring>(connections: &mut Connections<R>) {
    if !connections.reloading.looks_again {
        return;
    }
    match connections.services.gone() {
        0 => connections.reloading.looks_again = false,
        _ => _ = connections.reloading.looks_at.get_or_insert(0),
    }
}

/// Looks at some slots for those whose route is there no longer.
fn look_for_gone<R: Ring>(connections: &mut Connections<R>) {
    let Some(from) = connections.reloading.looks_at else { return };
    let table = &connections.sockets.table;
    let end = table.used_slots();
    let until = end.min(from.saturating_add(SLOTS_AT_ONCE));
    for slot in from..until {
        if table[slot].may_be_ended() && connections.services.is_gone(table[slot].service) {
            connections.reloading.leaving.insert(slot);
        }
    }
    connections.reloading.looks_at = (until < end).then_some(until);
}

/// Counts some of those who were there before what they are counted by was limited.
fn count_some<R: Ring>(connections: &mut Connections<R>) {
    let Some(from) = connections.reloading.counts_at else { return };
    let Connections { sockets, turnstile, hub, .. } = connections;
    let end = sockets.table.used_slots();
    let until = end.min(from.saturating_add(SLOTS_AT_ONCE));
    for slot in from..until {
        let connection = &sockets.table[slot];
        if !matches!(connection.stage, Stage::Free | Stage::Zombie) {
            let number = sockets.profiles[connection.profile].number;
            let listener = sockets.profiles.listener_numbered(number);
            turnstile.counts(slot, listener, hub.user(slot).as_ref());
        }
    }
    connections.reloading.counts_at = (until < end).then_some(until);
}

/// Closes some of those.
fn close_some<R: Ring>(connections: &mut Connections<R>) -> io::Result<()> {
    let now = connections.sockets.ring.now();
    let Takeover { closes: Some((rate, portions)), leaving, .. } = &mut connections.reloading
    else {
        return Ok(());
    };
    if leaving.is_empty() {
        return Ok(());
    }
    for _ in 0..portions.due(now, f64::from(*rate)) {
        let Some(slot) = connections.reloading.leaving.pop() else { break };
        if !connections.sockets.table[slot].may_be_ended() {
            continue;
        }
        connections.sockets.counters.route_gone_closed += 1;
        connections.accounts.ends_for(slot, EndReason::RouteGone);
        let why = Why::wish(CODE, "route_gone: it is served here no longer");
        connections.close_told(slot, &why);
        connections.sockets.make_room()?;
    }
    Ok(())
}

//! Telling other threads about connections.

use std::time::Duration;

use tidegate_proto::keepalive::Wait;

use super::connections::Connections;
use super::renewing;
use crate::connection::Spoken;
use crate::connection::deadlines::TICK;
use crate::hub::{Ask, ConnectionFilter, ConnectionInfo, Errand, NotDone, Outcome};
use crate::kernel::{Peer, Ring, Slot};
use crate::names::ConnectionId;

/// The most slots that are looked at for one answer: what is told is told in one turn of the loop.
const LOOKED_AT: u32 = 1024;

/// Once so many subscriptions were looked at, an answer ends.
const SUBSCRIPTIONS: usize = 2000;

/// The most topics that a list tells of a connection.
const TOPICS: usize = 20;

/// What is told of connections.
pub(super) struct Telling<'c, R> {
    pub(super) connections: &'c mut Connections<R>,
}

impl<R: Ring> Telling<'_, R> {
    /// Answers a question about connections.
    pub(super) fn answer_about_connections(&mut self, ask: Ask) {
        let answer = match ask.errand {
            Errand::Renew(id, token) => {
                return renewing::bring(self.connections, id, &token, ask.reply);
            }
            Errand::Connection(id) => match self.connections.slot_of(id) {
                Some(slot) => Outcome::Connection(Box::new(self.describe(slot, usize::MAX))),
                None => Outcome::NotDone(NotDone::Gone),
            },
            Errand::Connections { from, filter, limit } => {
                self.list_connections(from, &filter, limit)
            }
            Errand::Trace(id, time) => self.trace(id, time),
            Errand::Ends { filter, limit } => {
                Outcome::Ends(self.connections.ends.last(&filter, limit))
            }
            _ => Outcome::NotDone(NotDone::Unknown),
        };
        ask.reply.say(answer);
    }

    /// The log tells of the frames of a connection from now on.
    fn trace(&mut self, id: ConnectionId, time: Duration) -> Outcome {
        let Some(slot) = self.connections.slot_of(id) else {
            return Outcome::NotDone(NotDone::Gone);
        };
        if !matches!(self.connections.sockets.table[slot].spoken, Spoken::WebSocket(_)) {
            return Outcome::NotDone(NotDone::NotOpen);
        }
        let until = self.connections.sockets.ring.now() + time;
        self.connections.traces.begin(slot, id.to_string(), until);
        Outcome::Done(1)
    }

    fn list_connections(&self, from: Slot, filter: &ConnectionFilter, limit: usize) -> Outcome {
        let mut infos = Vec::new();
        let mut subscriptions = 0;
        let end = self.connections.sockets.table.used_slots();
        let until = end.min(from.saturating_add(LOOKED_AT));
        for slot in from..until {
            if infos.len() == limit || subscriptions >= SUBSCRIPTIONS {
                return Outcome::Connections(infos, Some(slot));
            }
            if !self.connections.sockets.table[slot].is_open() {
                continue;
            }
            subscriptions += self.connections.hub.local.topics_of(slot).count();
            if self.fits(slot, filter) {
                infos.push(self.describe(slot, TOPICS));
            }
        }
        Outcome::Connections(infos, (until < end).then_some(until))
    }

    fn fits(&self, slot: Slot, filter: &ConnectionFilter) -> bool {
        let ConnectionFilter { user, topic, route, address } = filter;
        route.is_none_or(|route| self.connections.service(slot).offer.number == Some(route))
            && topic.as_ref().is_none_or(|topic| self.connections.hub.is_subscribed(slot, topic))
            && user
                .as_ref()
                .is_none_or(|user| self.connections.hub.is_subscribed(slot, &user.of_user()))
            && address.is_none_or(|address| address.fits(self.peer(slot)))
    }

    fn describe(&self, slot: Slot, topics_max: usize) -> ConnectionInfo {
        let connection = &self.connections.sockets.table[slot];
        let mut topics = self.connections.hub.topics(slot);
        let topics_total = topics.len() as u32;
        topics.truncate(topics_max);
        let moment = self.connections.sockets.moment();
        ConnectionInfo {
            id: self.connections.hub.id(slot, connection.generation),
            route: self.connections.service(slot).offer.number,
            peer: self.peer(slot),
            user: self.connections.hub.user(slot),
            topics,
            topics_total,
            connected_at: self.connections.details.get(slot).map(|(_, at)| moment.at(at).as_secs()),
            active_at: self.silence(slot).map(|silence| moment.at(moment.now - silence).as_secs()),
            backlog: connection.backlog_bytes + self.connections.sockets.frames.bytes(slot),
            account: self.connections.accounts.tell(slot),
        }
    }

    /// How long ago something came from the peer, if that is what is waited for.
    fn silence(&self, slot: Slot) -> Option<Duration> {
        let connection = &self.connections.sockets.table[slot];
        if connection.wait != Wait::Activity {
            return None;
        }
        let wait = self.connections.sockets.profile(slot).ticks(Wait::Activity)?;
        let left = self.connections.sockets.deadlines.left(slot, connection.laps)?;
        Some(TICK * wait.saturating_sub(left))
    }

    fn peer(&self, slot: Slot) -> Peer {
        self.connections.peers.known(slot, &self.connections.details)
    }
}

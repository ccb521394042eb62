//! Listeners that come, go, or are otherwise, as part of a change of the configuration.

use std::sync::Arc;

use super::accept::Accepting;
use super::change::ConfigChange;
use super::connections::Connections;
use crate::kernel::{ListenerId, Operation, Ring};
use crate::protocol::services::{
    ListenerBefore, ListenerPlace, ListenerTable, NextProfiles, NotPrepared,
};

/// What a shard has made of the listeners of a change that is not in force yet.
pub(super) struct NextListeners {
    profiles: NextProfiles,
    /// Those that the ring has their sockets of, and that nobody is accepted from so far.
    opened: Vec<ListenerId>,
}

impl NextListeners {
    /// Makes what a shard needs of the listeners of a change; `None` if what is called as one of
    /// them is yet to be closed: then it is to be asked again in the next turn of the loop.
    ///
    /// # Errors
    /// The shard cannot have them.
    pub(super) fn make<R: Ring>(
        connections: &mut Connections<R>,
        accepting: &mut Accepting,
        change: &ConfigChange,
    ) -> Result<Option<Self>, NotPrepared> {
        let parts = change.parts();
        let places = parts.listening.places().iter();
        let new = places.filter(|place| place.before == ListenerBefore::Missing);
        // Each of them is asked: all are closed at once.
        if new.filter(|place| !accepting.has_freed(connections, place.id)).count() > 0 {
            return Ok(None);
        }
        let program = &connections.reloading.program;
        let profiles = &connections.sockets.profiles;
        let profiles = NextProfiles::missing(&parts.listening, program, profiles)?;
        connections.sockets.transports.fit(&parts.config, program.layers.is_some());
        let mut this = Self { profiles, opened: Vec::new() };
        for (listener, socket) in change.take_sockets(connections.index) {
            if let Err(error) = connections.sockets.ring.open_listener(listener, socket) {
                let shard = connections.index;
                this.let_go(connections);
                let why = format!("shard {shard} cannot watch one more listener ({error})");
                return Err(NotPrepared::Listener(why));
            }
            this.opened.push(listener);
        }
        Ok(Some(this))
    }

    /// Nothing comes of them.
    pub(super) fn let_go<R: Ring>(self, connections: &mut Connections<R>) {
        for listener in self.opened {
            connections.sockets.ring.push(Operation::CloseListener { listener });
        }
    }

    /// Who comes has what they say from now on: those that are new are accepted from, and those
    /// that are there no longer are closed once nobody waits there.
    pub(super) fn come_into_force<R: Ring>(
        self,
        connections: &mut Connections<R>,
        accepting: &mut Accepting,
        listening: Arc<ListenerTable>,
    ) {
        // Connections may be on some of them: only those that nobody is on are dropped here.
        drop(connections.sockets.profiles.replace(self.profiles));
        let before = std::mem::replace(&mut connections.reloading.listening, listening);
        let listening = Arc::clone(&connections.reloading.listening);
        for place in before.places() {
            if listening.of(place.id).is_none() {
                accepting.remove(connections, place.id);
            }
        }
        for place in listening.places() {
            match place.before {
                ListenerBefore::Missing => accepting.add(connections, place.id, place.sharing),
                ListenerBefore::Otherwise { sockets: true } => tune(connections, place),
                ListenerBefore::Otherwise { sockets: false } | ListenerBefore::Same => {}
            }
        }
    }
}

/// Sockets that are accepted from now on have what their listener says now.
fn tune<R: Ring>(connections: &Connections<R>, place: &ListenerPlace) {
    // A drain may have closed it.
    let Some(socket) = connections.sockets.ring.listener(place.id) else { return };
    if let Err(error) = socket.have(&place.listener.stack.socket.terms()) {
        let (shard, address) = (connections.index, &place.address);
        tracing::warn!(shard, %address, %error, "some options of a listener stay as they were");
    }
}

//! The listeners of a configuration that takes the place of another.

use std::sync::Arc;

use super::in_force::InForce;
use super::not_changed::NotChanged;
use crate::config::{Config, Difference, Listener};
use crate::kernel::{ListenerId, ListeningSocket};
use crate::listen::{self, ListenError, ListeningSockets};
use crate::shard::{ListenerBefore, ListenerTable, NewSockets, OpenedListener};
use crate::transport::tls::TlsServers;

/// Listeners, and the sockets of those that are new: they have their addresses, and nobody can
/// connect. Dropped, nothing is left of them.
pub(super) struct NextListening {
    pub(super) table: Arc<ListenerTable>,
    sockets: ListeningSockets,
    /// Of those that are new, in their order.
    new: Vec<Listener>,
    /// Another descriptor of each of their sockets, by which it comes to listen.
    to_listen: Vec<(Listener, ListeningSocket)>,
    /// What the configuration said before of those whose file has another mode or owner now.
    files: Vec<(Listener, Listener)>,
}

/// Has listeners stay that cannot be let go of, because others have passed their sockets: in what
/// is taken over, and in what is told. Returns what there is to say of them.
pub(super) fn keep_passed(
    now: &InForce,
    wanted: &mut Config,
    differences: &mut [Difference],
) -> Vec<String> {
    let passed = now.listening.passed_beside(&wanted.listeners);
    for listener in &passed {
        let name = format!("listener {}", listener.address);
        let told = differences.iter_mut().filter(|one| one.what == name);
        told.for_each(|one| one.needs_restart = true);
    }
    let warning = |listener: &Listener| {
        format!(
            "the socket of {} was passed by whoever has started the gateway: it stays until a \
             restart, because who connects there would wait for nobody; remove it from the socket \
             unit as well",
            listener.address
        )
    };
    let warnings = passed.iter().map(warning).collect();
    wanted.listeners.extend(passed);
    warnings
}

/// Binds the sockets of listeners that are new, for so many shards.
///
/// # Errors
/// An address cannot be listened on.
pub(super) fn next_listening(
    now: &InForce,
    config: &Config,
    servers: &TlsServers,
    shards: usize,
) -> Result<NextListening, NotChanged> {
    let matched = now.listening.matched(&config.listeners);
    let listeners = config.listeners.iter().zip(&matched);
    let new = listeners.filter(|(_, before)| before.is_none()).map(|(one, _)| one.clone());
    let new: Vec<Listener> = new.collect();
    let own = now.listening.addresses();
    let sockets = listen::bind_beside(&new, shards, &own).map_err(NotChanged::Listen)?;
    let opened = sockets.addresses.iter().zip(&sockets.sharing);
    let opened = opened
        .map(|(address, sharing)| OpenedListener { address: address.clone(), sharing: *sharing });
    let table = now.listening.followed_by(&config.listeners, opened.collect(), servers);
    let table = table.map_err(NotChanged::Addresses)?;
    let files = table.places().iter().filter_map(|place| {
        let is_otherwise = place.before == ListenerBefore::Otherwise { sockets: true };
        let before = now.listening.of(place.id).filter(|before| before.has_own_file())?;
        is_otherwise.then(|| (before.listener.clone(), place.listener.clone()))
    });
    let files = files.collect();
    Ok(NextListening { table: Arc::new(table), sockets, new, to_listen: Vec::new(), files })
}

impl NextListening {
    /// The sockets of each shard, which are the shards' from here on.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(super) fn deal(&mut self) -> Result<Vec<NewSockets>, NotChanged> {
        let places = self.table.places().iter();
        let new = places.filter(|place| place.before == ListenerBefore::Missing);
        let ids: Vec<ListenerId> = new.map(|place| place.id).collect();
        for (listener, socket) in
            self.sockets.by_shard.iter().flat_map(|shard| self.new.iter().zip(shard))
        {
            let (address, doing) = (listener.address.clone(), "sharing the socket of");
            let again = socket.try_clone();
            let again = again.map_err(|error| ListenError { address, doing, error });
            self.to_listen.push((listener.clone(), again.map_err(NotChanged::Listen)?));
        }
        let by_shard = std::mem::take(&mut self.sockets.by_shard).into_iter();
        Ok(by_shard.map(|sockets| ids.iter().copied().zip(sockets).collect()).collect())
    }

    /// Files have the mode and owner that is said of them now, and new sockets listen: whoever
    /// connects is accepted once shards do.
    ///
    /// # Errors
    /// The kernel refuses: then files have what they had, and nobody was accepted.
    pub(super) fn put_in_order(&self) -> Result<(), NotChanged> {
        let files = self.files.iter().try_for_each(|(_, next)| listen::give_file(next));
        let done = files.and_then(|()| listen::listen_now(&self.to_listen));
        done.map_err(NotChanged::Listen).inspect_err(|_| self.give_back())
    }

    /// Nothing comes of it.
    pub(super) fn give_back(&self) {
        for (before, _) in &self.files {
            // It could be set before.
            let _ = listen::give_file(before);
        }
    }

    /// Says in the log where is listened now.
    pub(super) fn tell(&self) {
        for address in &self.sockets.addresses {
            tracing::info!(target: "tidegate::reload", %address, "listening on one more address");
        }
    }
}

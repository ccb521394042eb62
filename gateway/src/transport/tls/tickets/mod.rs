//! Tickets, by which clients that come back resume a session (RFC 8446, 4.6.1; RFC 5077).

mod end;
mod keys;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::UnixTime;
use rustls::server::ProducesTickets;

pub(super) use self::end::TicketEnd;
use self::keys::OpenedTicket;
pub(super) use self::keys::TicketKeys;

/// A digest of what has to be the same where a session is resumed.
pub(super) type Binding = [u8; 32];

/// The tickets of a listener. They are bound to its rules about clients' certificates: who came
/// without one, or with one of another authority, does not resume that here.
pub(super) struct ListenerTickets {
    keys: Arc<TicketKeys>,
    binding: Binding,
}

impl ListenerTickets {
    /// By these keys, for listeners that have the same rules.
    pub(super) fn new(keys: &Arc<TicketKeys>, binding: Binding) -> Self {
        Self { keys: Arc::clone(keys), binding }
    }
}

impl ProducesTickets for ListenerTickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        keys::LIFETIME as u32
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.keys.seal(plain, &self.binding, TicketEnd::noted(), UnixTime::now().as_secs())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let opened = self.keys.open(cipher, &self.binding, UnixTime::now().as_secs())?;
        let OpenedTicket { plain, end } = opened;
        end.note();
        Some(plain)
    }
}

impl fmt::Debug for ListenerTickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerTickets").finish_non_exhaustive()
    }
}

/// No tickets: each handshake is a whole one.
#[derive(Debug)]
pub(super) struct NoTickets;

impl ProducesTickets for NoTickets {
    fn enabled(&self) -> bool {
        false
    }

    fn lifetime(&self) -> u32 {
        0
    }

    fn encrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn decrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

//! What an event is of, as the 64 bits that epoll carries for it.

use rustix::event::epoll::EventData;

use crate::kernel::{ListenerId, Slot};

/// The mask of a registration: 30 bits.
pub(super) const REGISTRATIONS: u32 = (1 << 30) - 1;

/// Where the registration stands: behind a slot, or a listener, and two bits of kind.
const REGISTRATION: u32 = 34;

mod kind {
    pub(super) const CONNECTION: u64 = 0;
    pub(super) const LISTENER: u64 = 1 << 32;
    pub(super) const WAKER: u64 = 2 << 32;
    pub(super) const ALL: u64 = 3 << 32;
}

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventSource {
    Connection {
        slot: Slot,
        /// Which of those that had the slot, by [`REGISTRATIONS`].
        registration: u32,
    },
    Listener(ListenerId),
    Waker,
}

impl EventSource {
    /// What its events carry.
    pub(super) fn data(self) -> EventData {
        EventData::new_u64(match self {
            Self::Connection { slot, registration } => {
                kind::CONNECTION | u64::from(slot) | u64::from(registration) << REGISTRATION
            }
            Self::Listener(listener) => kind::LISTENER | u64::from(listener),
            Self::Waker => kind::WAKER,
        })
    }

    /// What an event is of that carries this.
    pub(super) fn of(data: EventData) -> Self {
        let bits = data.u64();
        match bits & kind::ALL {
            kind::CONNECTION => {
                Self::Connection { slot: bits as u32, registration: (bits >> REGISTRATION) as u32 }
            }
            kind::LISTENER => Self::Listener(bits as u32),
            _ => Self::Waker,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::SLOT_MASK;

    #[test]
    fn what_an_event_carries_is_read_as_it_was_written() {
        let most = EventSource::Connection { slot: SLOT_MASK, registration: REGISTRATIONS };
        let first = EventSource::Connection { slot: 0, registration: 0 };
        for watched in [most, first, EventSource::Listener(ListenerId::MAX), EventSource::Waker] {
            assert_eq!(EventSource::of(watched.data()), watched);
        }
    }
}

//! What a handler can do without a connection at hand.

use std::time::Duration;

use super::context::Publishing;
use crate::hub::{Content, Hub, Message, NotDone, Publication, Target, Why};

/// What there is without a connection: the hub and the time. It is lent for the length of one call.
///
/// What is done here to connections goes out as mail, to this shard's own as to others', and is
/// carried out once the call has returned: a handler is never called from within one of its calls.
pub struct Desk<'d> {
    hub: &'d mut Hub,
    now: Duration,
    /// Whether it may still close others while very much mail waits.
    has_last_order: bool,
}

impl<'d> Desk<'d> {
    pub(crate) fn new(hub: &'d mut Hub, now: Duration) -> Self {
        Self { hub, now, has_last_order: false }
    }

    /// Where it is told that a connection has ended: nobody could try again later.
    pub(crate) fn of_end(hub: &'d mut Hub, now: Duration) -> Self {
        Self { hub, now, has_last_order: true }
    }

    /// The time of this call, since some moment before the start. Calls for what has come in
    /// together have the same. It never goes back.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Whether the gateway was told to end: it serves on until `drain_delay` is over, but who asks
    /// whether to send clients here should be told no.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.hub.is_leaving
    }

    /// Publishes a message: a text, bytes, or a [`Content`] of either. It is on its way when this
    /// returns; what becomes of it is not told. There is no connection that it could be kept from
    /// ([`Publishing::not_to_self`]).
    ///
    /// # Errors
    /// [`NotDone::Busy`] if messages hold all the memory that they may.
    pub fn publish(
        &mut self,
        target: &Target,
        content: impl Into<Content>,
        how: Publishing,
    ) -> Result<(), NotDone> {
        let message = Message::new(content, self.hub.memory())?;
        self.hub.publish(target, Publication { message, key: how.key, except: None, from: None });
        Ok(())
    }

    /// Closes connections, for a [`Cause`](crate::hub::Cause) or with more words for [`Why`].
    ///
    /// # Errors
    /// [`NotDone::Busy`] while very much mail waits: as much as two mailboxes hold, on any shard.
    /// In [`Handler::ended`](super::serve::Handler::ended), behind which no call comes, one order
    /// is taken even so: the first but for [`Target::All`], which is mail for every shard.
    pub fn disconnect(&mut self, target: &Target, why: impl Into<Why>) -> Result<(), NotDone> {
        let anyway =
            self.has_last_order && !matches!(target, Target::All) && self.hub.is_overfull();
        self.has_last_order &= !anyway;
        self.hub.disconnect(target, why.into(), anyway)
    }
}

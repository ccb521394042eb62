//! When the tickets of a handshake end: on its way past rustls, from where it is known to where the
//! next ticket is sealed.

use std::cell::Cell;

/// The second since 1970 from which on no ticket of a handshake is taken, if something is known
/// that ends before a ticket's own time: the certificate that its client has shown, or the ticket
/// that it came with.
///
/// So neither outlives the certificate, and with however many tickets: RFC 8446, 4.6.1, "it is
/// RECOMMENDED that implementations place limits on the total lifetime of such keying material;
/// these limits should take into account the lifetime of the peer's certificate, the likelihood of
/// intervening revocation, and the time since the peer's online CertificateVerify signature."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct TicketEnd(pub(super) u64);

thread_local! {
    static UNDERWAY: Cell<TicketEnd> = const { Cell::new(TicketEnd::NONE) };
}

impl TicketEnd {
    /// Nothing is known that would end them.
    pub(in super::super) const NONE: Self = Self(u64::MAX);

    /// That of who has shown a certificate that is valid up to this second.
    pub(in super::super) fn behind(not_after: u64) -> Self {
        Self(not_after.saturating_add(1))
    }

    /// Lets rustls work on the handshake whose end this is, and learns what is noted meanwhile on
    /// the same thread.
    pub(in super::super) fn during<T>(&mut self, work: impl FnOnce() -> T) -> T {
        UNDERWAY.set(*self);
        let done = work();
        *self = UNDERWAY.replace(Self::NONE);
        done
    }

    /// Notes it for the handshake that rustls works on.
    pub(in super::super) fn note(self) {
        UNDERWAY.set(self);
    }

    /// That of the handshake that rustls works on.
    pub(super) fn noted() -> Self {
        UNDERWAY.get()
    }
}

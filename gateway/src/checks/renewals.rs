//! Fresh tokens of open connections: who has brought one that is being verified elsewhere, and what
//! comes of it.

use std::time::Duration;

use super::check_passed::TokenPassed;
use super::{Gatekeeper, NotAdmitted, TokenQuestion, Verified};
use crate::hub::{NotDone, NotRenewed, Outcome, Reply};
use crate::kernel::Slot;
use crate::memory::SideTable;
use crate::names::{ConnectionId, Ticket};

/// How long a fresh token may take to be verified.
const PATIENCE: Duration = Duration::from_secs(15);

/// In the round of a ticket: it is about a fresh token, and about no request.
const OF_RENEWALS: u32 = 1 << 31;

/// Who has brought a fresh token, and is told what comes of it.
pub(crate) enum Bringer {
    /// The handler of its connection, with what it goes by there.
    Handler(Option<u32>),
    /// Somebody outside.
    Outside(Reply),
}

/// A fresh token that is being verified.
struct PendingRenewal {
    round: u32,
    /// Until when it is waited for, by the shard's clock.
    until: Duration,
    bringer: Bringer,
}

/// Those that are being verified: one of a connection at most.
pub(super) struct Renewals {
    pending: SideTable<PendingRenewal>,
    count: usize,
    most: usize,
    /// The round of the last one.
    last: u32,
}

/// What has come of a fresh token: until when it holds, counted from 1970, if it ends.
pub(crate) type Renewed = Result<Option<Duration>, NotRenewed>;

/// What has come of a fresh token so far.
pub(crate) enum RenewalBegun {
    /// It has taken the place of the other one, or has not.
    Done(Renewed),
    /// It has to be verified first.
    Later(TokenQuestion),
}

impl Renewals {
    /// None yet, and never more than so many.
    pub(super) fn new(most: usize) -> Self {
        Self { pending: SideTable::default(), count: 0, most, last: 0 }
    }

    /// The most bytes of so many.
    pub(super) fn bytes(count: u32) -> u64 {
        SideTable::<PendingRenewal>::bytes(count)
    }

    /// The bytes that they hold.
    pub(super) fn held(&self) -> u64 {
        self.pending.held()
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    fn has(&self, slot: Slot) -> bool {
        self.pending.get(slot).is_some()
    }

    fn insert(&mut self, slot: Slot, until: Duration, bringer: Bringer) -> u32 {
        self.last = self.last.wrapping_add(1) & !OF_RENEWALS;
        let round = self.last | OF_RENEWALS;
        self.pending.insert(slot, PendingRenewal { round, until, bringer });
        self.count += 1;
        round
    }

    fn take(&mut self, slot: Slot) -> Option<PendingRenewal> {
        let taken = self.pending.remove(slot)?;
        self.count -= 1;
        Some(taken)
    }

    /// The connection has ended: whoever waits outside hears of it.
    pub(super) fn forget(&mut self, slot: Slot) {
        if let Some(PendingRenewal { bringer: Bringer::Outside(reply), .. }) = self.take(slot) {
            reply.say(Outcome::NotDone(NotDone::Gone));
        }
    }
}

/// Whether a ticket of this round is about a fresh token.
pub(crate) const fn is_of_renewal(round: u32) -> bool {
    round & OF_RENEWALS != 0
}

impl Gatekeeper {
    /// A fresh token was brought for an open connection. If it is good it takes the place of the
    /// one that the connection has, at this time since 1970.
    pub(crate) fn renew(&mut self, slot: Slot, token: &[u8], now: Duration) -> RenewalBegun {
        let begun = self.begin(slot, token, now);
        if let RenewalBegun::Done(done) = &begun {
            self.count_renewal(done);
        }
        begun
    }

    fn begin(&mut self, slot: Slot, token: &[u8], now: Duration) -> RenewalBegun {
        let place = self.permits.whose(slot).and_then(|(issuer, _)| self.place(issuer));
        let Some(place) = place else { return RenewalBegun::Done(Err(NotRenewed::NoToken)) };
        if self.renewals.has(slot) {
            return RenewalBegun::Done(Err(NotRenewed::UnderWay));
        }
        match self.verify(place, token, now, None) {
            Err(denied) => RenewalBegun::Done(Err(not_renewed(denied))),
            Ok(TokenPassed::With(grant)) => RenewalBegun::Done(self.take_over(slot, &grant)),
            Ok(TokenPassed::Later(_)) if self.renewals.count >= self.renewals.most => {
                self.counts.unverified += 1;
                RenewalBegun::Done(Err(NotRenewed::Busy))
            }
            Ok(TokenPassed::Later(question)) => RenewalBegun::Later(question),
        }
    }

    /// It is verified elsewhere, and `bringer` is told at a time of the shard's clock, at the
    /// latest a while after `now`.
    pub(crate) fn wait_for_renewal(
        &mut self,
        connection: ConnectionId,
        question: TokenQuestion,
        bringer: Bringer,
        now: Duration,
    ) {
        let round = self.renewals.insert(connection.slot, now + PATIENCE, bringer);
        question.ask(Ticket { connection, round });
    }

    /// It was verified elsewhere, in this round: whom to tell what. `None` if nobody waits for it.
    pub(crate) fn finish_renewal(
        &mut self,
        slot: Slot,
        round: u32,
        verified: Verified,
        now: Duration,
    ) -> Option<(Bringer, Renewed)> {
        if self.renewals.pending.get(slot).is_none_or(|pending| pending.round != round) {
            return None;
        }
        let PendingRenewal { bringer, .. } = self.renewals.take(slot)?;
        let issuer = self.permits.whose(slot).map(|(issuer, _)| issuer.to_owned());
        let renewed = match issuer {
            None => Err(NotRenewed::NoToken),
            Some(issuer) => match self.verified(&issuer, verified, now) {
                Err(denied) => Err(not_renewed(denied)),
                Ok(grant) => self.take_over(slot, &grant),
            },
        };
        self.count_renewal(&renewed);
        Some((bringer, renewed))
    }

    /// One that was not verified in time, by the shard's clock: whom to tell so.
    pub(crate) fn overdue_renewal(&mut self, now: Duration) -> Option<(Slot, Bringer, Renewed)> {
        let is_due = |pending: &PendingRenewal| pending.until <= now;
        let slot =
            self.renewals.pending.iter().find(|(_, one)| is_due(one)).map(|(slot, _)| slot)?;
        let PendingRenewal { bringer, .. } = self.renewals.take(slot)?;
        let renewed = Err(NotRenewed::Busy);
        self.count_renewal(&renewed);
        Some((slot, bringer, renewed))
    }

    /// What this grants takes the place of what the connection has, if it is the same user's.
    fn take_over(&mut self, slot: Slot, grant: &super::Grant) -> Renewed {
        let user = self.permits.whose(slot).map(|(_, user)| user);
        if user != Some(self.mark_of_user(grant)) {
            return Err(NotRenewed::OtherUser);
        }
        self.have(slot, grant).map_err(|_| NotRenewed::NoRoom)?;
        Ok(self.until(slot))
    }

    fn count_renewal(&mut self, renewed: &Renewed) {
        let counts = &mut self.counts;
        let count = if renewed.is_ok() { &mut counts.renewed } else { &mut counts.not_renewed };
        *count += 1;
    }
}

fn not_renewed(denied: NotAdmitted) -> NotRenewed {
    match denied {
        NotAdmitted::Busy | NotAdmitted::NoKeys => NotRenewed::Busy,
        denied => NotRenewed::BadToken(denied.reason()),
    }
}

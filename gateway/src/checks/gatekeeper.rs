//! What a shard checks requests by, and what it keeps of those who were let in.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Cache};
use tidegate_proto::http::RequestHead;
use zeroize::Zeroizing;

use super::check_passed::{CheckPassed, CheckQuestion, TokenPassed, TokenQuestion};
use super::credentials;
use super::look_round::LookRound;
use super::passwords::{PasswordClient, PasswordRefused, Passwordkeeper};
use super::permits::{NoRoomForPermissions, Permits};
use super::remembered::{Fingerprint, Remembered};
use super::renewals::Renewals;
use super::taken_back::TakenBack;
use super::token_counts::TokenCounts;
use super::{CheckFound, GatekeeperParts, Grant, Issuer, NotAdmitted, Permissions, Verified};
use crate::config::{Limits, TokenCheck, TokenSource};
use crate::counters::Counters;
use crate::kernel::{Slot, SlotSet};
use crate::memory::SideTable;

/// What a request is, as far as checks look.
#[derive(Clone, Copy)]
pub(crate) struct Entrant<'a> {
    /// Its head.
    pub(crate) head: &'a RequestHead<'a>,
    /// The time, since 1970.
    pub(crate) now: Duration,
}

/// What a shard checks requests by, and what it keeps of those who were let in.
pub struct Gatekeeper {
    parts: GatekeeperParts,
    remembered: Remembered,
    passwords: Passwordkeeper,
    /// How often the keys of all issuers had changed when that was looked at last.
    changes: u64,
    /// What those have who were let in and have yet to open.
    grants: SideTable<Arc<Grant>>,
    pub(super) permits: Permits,
    /// Which tokens are taken back.
    taken_back: Cache<Arc<ArcSwap<TakenBack>>, Arc<TakenBack>>,
    /// Going round those who are there when some were taken back.
    round: LookRound,
    /// Those whose token has expired, or was taken back, as far as it was looked.
    due: SlotSet,
    /// Fresh tokens that are being verified.
    pub(super) renewals: Renewals,
    pub(super) counts: TokenCounts,
    slots: u32,
}

/// Slots that are looked at in one turn of the loop for those whose token was taken back: about a
/// tenth of a millisecond's work.
const SLOTS_AT_ONCE: u32 = 2048;

/// Why an open connection is closed for its token, with the code that it is closed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenEnd {
    /// The token has expired.
    Expired(u16),
    /// It was taken back.
    Revoked(u16),
}

impl Gatekeeper {
    /// Of a shard of these limits.
    #[must_use]
    pub fn new(parts: GatekeeperParts, limits: &Limits) -> Self {
        let slots = limits.slots();
        Self {
            remembered: Remembered::new(limits.tokens as usize),
            passwords: Passwordkeeper::new(limits.passwords as usize),
            changes: 0,
            grants: SideTable::default(),
            permits: Permits::new(slots, limits.permissions as usize),
            taken_back: parts.revocations.reader(),
            round: LookRound::default(),
            due: SlotSet::new(slots),
            renewals: Renewals::new(parts.verifiers.most()),
            counts: TokenCounts::default(),
            slots,
            parts,
        }
    }

    /// Checks the token of a request, by the issuer of this name. Of one that was verified
    /// elsewhere `found` is what was found out.
    ///
    /// # Errors
    /// Why it is not let in.
    pub(crate) fn check_token(
        &mut self,
        issuer: &str,
        asked: Entrant<'_>,
        found: Option<CheckFound>,
    ) -> Result<CheckPassed, NotAdmitted> {
        // The configuration was checked: without the issuer, nobody's token is good.
        let place = self.place(issuer).ok_or(NotAdmitted::UnknownKey)?;
        let token = credentials::find(asked.head, &self.parts.issuers[place].config.from)?;
        let verified = found.and_then(CheckFound::of_token);
        Ok(match self.verify(place, &token, asked.now, verified)? {
            TokenPassed::With(grant) => CheckPassed::With(grant),
            TokenPassed::Later(question) => CheckPassed::Later(CheckQuestion::Token(question)),
        })
    }

    /// Checks user and password of a request, by the file of this name.
    ///
    /// # Errors
    /// Why it is not let in.
    pub(crate) fn check_password(
        &mut self,
        file: &str,
        client: PasswordClient<'_>,
        counters: &mut Counters,
    ) -> Result<CheckPassed, PasswordRefused> {
        let now = client.asked.now;
        let passed = self.passwords.check(&self.parts, file, client, counters)?;
        let CheckPassed::With(grant) = passed else { return Ok(passed) };
        let held = self.hold(grant, now).map(CheckPassed::With);
        held.map_err(|denied| PasswordRefused { denied, realm: self.parts.realm(file) })
    }

    /// Nobody waits any longer for what is asked about a request.
    pub(crate) fn gives_up(&mut self, slot: Slot) {
        self.passwords.gives_up(slot);
    }

    /// Where the issuer of this name is.
    pub(super) fn place(&self, issuer: &str) -> Option<usize> {
        self.parts.issuers.iter().position(|one| one.config.name == issuer)
    }

    /// Verifies a token of the issuer at this place, or has it verified, unless that was done
    /// before.
    ///
    /// # Errors
    /// It is not good now.
    pub(super) fn verify(
        &mut self,
        place: usize,
        token: &[u8],
        now: Duration,
        verified: Option<Verified>,
    ) -> Result<TokenPassed, NotAdmitted> {
        self.forget_if_changed();
        let name = Remembered::fingerprint(place, token);
        if let Some(grant) = self.remembered.get(&name, now.as_secs()) {
            let grant = Arc::clone(grant);
            self.counts.remembered += 1;
            return self.hold(grant, now).map(TokenPassed::With);
        }
        let issuer = &self.parts.issuers[place];
        let is_quick = issuer.is_quick(token)?;
        let verified = match verified {
            // With other keys it is verified anew.
            Some(verified) if verified.is_by(issuer) => verified.found,
            _ if is_quick => issuer.verify(token).map(Arc::new),
            _ => {
                let reserved = self.parts.verifiers.reserve().ok_or_else(|| {
                    self.counts.unverified += 1;
                    NotAdmitted::Busy
                })?;
                let token = Zeroizing::new(Box::from(token));
                let issuer = Arc::clone(issuer);
                return Ok(TokenPassed::Later(TokenQuestion { reserved, issuer, token }));
            }
        };
        self.counts.verified += 1;
        self.remember(name, verified?, now).map(TokenPassed::With)
    }

    /// What of a fresh token was found out elsewhere, if it is good now by the issuer of this name.
    ///
    /// # Errors
    /// It is not; [`NotAdmitted::Busy`]: keys have changed since.
    pub(super) fn verified(
        &mut self,
        issuer: &str,
        verified: Verified,
        now: Duration,
    ) -> Result<Arc<Grant>, NotAdmitted> {
        self.forget_if_changed();
        let place = self.place(issuer).ok_or(NotAdmitted::UnknownKey)?;
        if !verified.is_by(&self.parts.issuers[place]) {
            return Err(NotAdmitted::Busy);
        }
        self.counts.verified += 1;
        self.remember(Remembered::of_issuer(place, verified.digest), verified.found?, now)
    }

    /// Remembers a token that was verified, also if it is taken back: who goes on showing that is
    /// not verified each time.
    ///
    /// # Errors
    /// It does not hold now.
    fn remember(
        &mut self,
        name: Fingerprint,
        grant: Arc<Grant>,
        now: Duration,
    ) -> Result<Arc<Grant>, NotAdmitted> {
        grant.holds(now)?;
        self.remembered.insert(name, &grant, u64::MAX);
        self.hold(grant, now)
    }

    /// What was verified may be signed with a key that nobody has any longer.
    fn forget_if_changed(&mut self) {
        let changes = self.parts.issuers.iter().map(|issuer| issuer.changes()).sum();
        if std::mem::replace(&mut self.changes, changes) != changes {
            self.remembered.clear();
        }
    }

    /// Checks that what a token grants holds now, and was not taken back.
    ///
    /// # Errors
    /// Why not.
    fn hold(&mut self, grant: Arc<Grant>, now: Duration) -> Result<Arc<Grant>, NotAdmitted> {
        grant.holds(now)?;
        if self.taken_back.load().has(&grant, now) {
            self.counts.taken_back += 1;
            return Err(NotAdmitted::Revoked);
        }
        Ok(grant)
    }

    /// Requests are checked by these from now on. What was verified before is verified anew, unless
    /// all issuers are those that there were.
    pub(crate) fn replace(&mut self, parts: GatekeeperParts, limits: &Limits) {
        if !Arc::ptr_eq(&self.parts.issuers, &parts.issuers) {
            self.remembered.clear();
        }
        self.passwords.follow(&self.parts, &parts);
        self.passwords.limit(limits.passwords as usize);
        self.remembered.limit(limits.tokens as usize);
        self.permits.limit(limits.permissions as usize);
        self.parts = parts;
    }

    /// Checks that a request has one of the tokens that are known by themselves.
    ///
    /// # Errors
    /// Why it is not let in.
    pub(crate) fn check_known(
        &mut self,
        check: &TokenCheck,
        asked: Entrant<'_>,
    ) -> Result<Arc<Grant>, NotAdmitted> {
        let grant = self.parts.tokens.check(check, asked.head)?;
        self.hold(grant, asked.now)
    }

    /// Checks that what somebody was let in with who has yet to open still holds: its handler may
    /// have taken its time.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn check_still(&mut self, slot: Slot, now: Duration) -> Result<(), NotAdmitted> {
        match self.grants.get(slot).map(Arc::clone) {
            None => Ok(()),
            Some(grant) => self.hold(grant, now).map(drop),
        }
    }

    /// Keeps what somebody was let in with, until it opens or ends.
    pub(crate) fn keep(&mut self, slot: Slot, grant: Arc<Grant>) {
        self.grants.insert(slot, grant);
    }

    /// What somebody was let in with who has yet to open.
    pub(crate) fn grant(&self, slot: Slot) -> Option<&Grant> {
        self.grants.get(slot).map(|grant| &**grant)
    }

    /// Checks that there is room for what it has.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn check_room(&self, slot: Slot) -> Result<(), NoRoomForPermissions> {
        self.grant(slot).map_or(Ok(()), |grant| self.permits.check_room(grant))
    }

    /// It opens: what it has it keeps to its end.
    ///
    /// # Errors
    /// There is no room for that.
    pub(crate) fn open(&mut self, slot: Slot) -> Result<(), NoRoomForPermissions> {
        match self.grants.remove(slot) {
            None => Ok(()),
            Some(grant) => self.have(slot, &grant),
        }
    }

    /// A connection has from now on what this grants.
    ///
    /// # Errors
    /// There is no room for that.
    pub(super) fn have(&mut self, slot: Slot, grant: &Grant) -> Result<(), NoRoomForPermissions> {
        let mark = self.taken_back.load().mark(grant);
        self.permits.give(slot, grant, mark)
    }

    /// It has ended.
    pub(crate) fn forget(&mut self, slot: Slot) {
        self.grants.remove(slot);
        self.permits.remove(slot);
        self.renewals.forget(slot);
        self.passwords.gives_up(slot);
    }

    /// What its token says of topics.
    pub(crate) fn permissions(&self, slot: Slot) -> Option<&Permissions> {
        self.permits.permissions(slot)
    }

    /// Whether an open connection is closed for its token at this time since 1970, and why.
    pub(crate) fn ends(&mut self, slot: Slot, now: Duration) -> Option<TokenEnd> {
        let code = self.permits.code(slot)?;
        if self.permits.has_expired(slot, now.as_secs()) {
            return Some(TokenEnd::Expired(code));
        }
        let taken_back = self.taken_back.load();
        let is_so = self.permits.is_taken_back(slot, taken_back, now);
        is_so.then_some(TokenEnd::Revoked(code))
    }

    /// Until when an open connection may be here by its token, counted from 1970, if that ends.
    pub(crate) fn until(&self, slot: Slot) -> Option<Duration> {
        self.permits.until(slot).map(Duration::from_secs)
    }

    /// Finds out whose token has expired, likewise.
    pub(crate) fn find_expired(&mut self, now: Duration) {
        let due = &mut self.due;
        self.permits.find_expired(now.as_secs(), |slot| due.insert(slot));
    }

    /// Looks whether tokens were taken back: then all who are there are looked at.
    pub(crate) fn hear_of_revocations(&mut self) {
        let version = self.taken_back.load().version();
        self.round.hears(version, self.slots);
    }

    /// Finds out whose token was taken back, of some of those who are there.
    pub(crate) fn find_taken_back(&mut self, now: Duration) {
        if !self.round.has_work() {
            return;
        }
        let taken_back = self.taken_back.load();
        for slot in self.round.next(self.slots, SLOTS_AT_ONCE) {
            if self.permits.is_taken_back(slot, taken_back, now) {
                self.due.insert(slot);
            }
        }
    }

    /// One of those that were found, who has perhaps ended since.
    pub(crate) fn take_due(&mut self) -> Option<Slot> {
        self.due.pop()
    }

    /// Whether somebody is left of those that were found, or to be looked at.
    pub(crate) fn has_work(&self) -> bool {
        !self.due.is_empty() || self.round.has_work()
    }

    /// Shows what was counted of tokens.
    pub(crate) fn count(&self, counters: &mut Counters) {
        self.counts.show(counters);
    }

    /// Whether the issuer of this name takes tokens that are offered as subprotocols.
    pub(crate) fn takes_offered(&self, issuer: &str) -> bool {
        let issuer = self.issuer(issuer);
        issuer.is_some_and(|one| one.config.from.contains(&TokenSource::Subprotocol))
    }

    /// The issuer of this name.
    pub(super) fn issuer(&self, name: &str) -> Option<&Arc<Issuer>> {
        self.parts.issuers.iter().find(|one| one.config.name == name)
    }

    /// By what a connection is found whose token is of the user of this one.
    pub(super) fn mark_of_user(&mut self, grant: &Grant) -> u64 {
        self.taken_back.load().mark(grant).user
    }

    /// The bytes that it holds of tokens that were verified.
    pub(crate) fn tokens_held(&self) -> u64 {
        self.remembered.held()
    }

    /// Those of passwords that were hashed.
    pub(crate) fn passwords_held(&self) -> u64 {
        self.passwords.held()
    }

    /// Those of what connections have by their tokens, and of permissions.
    pub(crate) fn permits_held(&self) -> u64 {
        let permits = self.grants.held() + self.permits.held().0;
        permits + self.renewals.held() + self.passwords.waiting_held()
    }

    /// Those of permissions.
    pub(crate) fn permissions_held(&self) -> u64 {
        self.permits.held().1
    }

    /// The most bytes of what connections in so many slots have by their tokens, without
    /// permissions, if so many tokens may wait to be verified.
    pub(super) fn bytes(slots: u32, verifications: u32) -> u64 {
        let renewals = Renewals::bytes(slots.min(verifications));
        let grants = SideTable::<Arc<Grant>>::bytes(slots);
        let waiting = Passwordkeeper::waiting_bytes(slots);
        grants + Permits::bytes(slots) + SlotSet::bytes(slots) + renewals + waiting
    }

    /// Whether nobody has anything.
    pub(crate) fn is_empty(&self) -> bool {
        let has_none = self.grants.is_empty() && self.permits.is_empty();
        let waits = !self.renewals.is_empty() || !self.passwords.is_empty();
        has_none && self.due.is_empty() && !waits
    }
}

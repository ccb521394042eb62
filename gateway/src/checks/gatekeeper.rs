//! What a shard checks requests by, and what it keeps of those who were let in.

use std::sync::Arc;
use std::time::Duration;

use tidegate_proto::http::RequestHead;
use zeroize::Zeroizing;

use super::credentials;
use super::known_tokens::KnownTokens;
use super::password_file::PasswordFile;
use super::passwords::{PasswordClient, PasswordQuestion, PasswordRefused, Passwordkeeper};
use super::permits::{NoRoomForPermissions, Permits};
use super::remembered::Remembered;
use super::verifiers::ReservedPlace;
use super::{CheckFound, Grant, Hashers, Issuer, NotAdmitted, Permissions, Verified, Verifiers};
use crate::config::{Config, Limits, TokenCheck, TokenSource};
use crate::counters::Counters;
use crate::kernel::{Slot, SlotSet};
use crate::memory::SideTable;
use crate::names::Ticket;

/// What the gatekeepers of all shards are made of; cheap to clone.
#[derive(Clone)]
pub struct GatekeeperParts {
    issuers: Arc<[Arc<Issuer>]>,
    tokens: Arc<KnownTokens>,
    verifiers: Verifiers,
    pub(super) passwords: Arc<[Arc<PasswordFile>]>,
    pub(super) hashers: Hashers,
}

impl GatekeeperParts {
    /// Of these issuers, in the order of the configuration, whose signatures these verify.
    #[must_use]
    pub fn new(issuers: Vec<Arc<Issuer>>, verifiers: Verifiers) -> Self {
        Self {
            issuers: issuers.into(),
            tokens: Arc::default(),
            verifiers,
            passwords: Vec::new().into(),
            hashers: Hashers::new(&Config::default()).0,
        }
    }

    /// The issuers.
    #[must_use]
    pub fn issuers(&self) -> Arc<[Arc<Issuer>]> {
        Arc::clone(&self.issuers)
    }

    /// Without issuers of tokens.
    #[must_use]
    pub fn none() -> Self {
        Self::new(Vec::new(), Verifiers::new(0).0)
    }

    /// What hands over passwords that are to be hashed.
    pub(crate) fn hashers(&self) -> &Hashers {
        &self.hashers
    }

    /// Of the issuers of a configuration, its tokens and its passwords.
    ///
    /// # Errors
    /// Each of their files that cannot be used.
    pub fn read(
        config: &Config,
        verifiers: Verifiers,
        hashers: Hashers,
    ) -> Result<Self, Vec<super::WrongKeyFile>> {
        let (mut issuers, mut wrong) = (Vec::new(), Vec::new());
        for jwt in &config.jwts {
            match Issuer::read(jwt) {
                Ok(issuer) => issuers.push(Arc::new(issuer)),
                Err(files) => wrong.extend(files),
            }
        }
        let tokens = KnownTokens::read(&config.tokens).unwrap_or_else(|files| {
            wrong.extend(files);
            KnownTokens::default()
        });
        let mut passwords = Vec::new();
        for file in &config.passwords {
            match PasswordFile::read(file, &config.hashing) {
                Ok(file) => passwords.push(Arc::new(file)),
                Err(file) => wrong.push(file),
            }
        }
        let (tokens, passwords) = (Arc::new(tokens), passwords.into());
        let parts = Self { tokens, passwords, hashers, ..Self::new(issuers, verifiers) };
        if wrong.is_empty() { Ok(parts) } else { Err(wrong) }
    }

    /// Of the issuers of another configuration, whose files are read anew. Those that are as they
    /// were stay, and those whose endpoint is the same keep the keys that are known from there.
    ///
    /// # Errors
    /// Each of their files that cannot be used.
    pub(crate) fn read_anew(&self, config: &Config) -> Result<Self, Vec<super::WrongKeyFile>> {
        let mut read = Self::read(config, self.verifiers.clone(), self.hashers.clone())?;
        read.keep_passwords_of(self);
        let old = |name: &str| self.issuers.iter().find(|one| one.config.name == name);
        let follow = |new: Arc<Issuer>| match old(&new.config.name) {
            Some(old) if old.is_as(&new) => Arc::clone(old),
            Some(old) => {
                new.keep_fetched_of(old);
                new
            }
            None => new,
        };
        let issuers: Vec<_> = read.issuers.iter().cloned().map(follow).collect();
        let is_same = issuers.len() == self.issuers.len()
            && issuers.iter().zip(&*self.issuers).all(|(new, old)| Arc::ptr_eq(new, old));
        read.issuers = if is_same { Arc::clone(&self.issuers) } else { issuers.into() };
        Ok(read)
    }
}

impl GatekeeperParts {
    /// Files of passwords that are as they were stay what they were.
    fn keep_passwords_of(&mut self, old: &Self) {
        let stays = |new: &Arc<PasswordFile>| {
            let same = old.passwords.iter().find(|old| old.is_as(new));
            Arc::clone(same.unwrap_or(new))
        };
        self.passwords = self.passwords.iter().map(stays).collect();
    }
}

/// What a request is, as far as checks look.
#[derive(Clone, Copy)]
pub(crate) struct Entrant<'a> {
    /// Its head.
    pub(crate) head: &'a RequestHead<'a>,
    /// The time, since 1970.
    pub(crate) now: Duration,
}

/// What has come of a check that was passed, or is not over.
pub(crate) enum CheckPassed {
    /// With this.
    With(Arc<Grant>),
    /// Its token or its password has to be verified first.
    Later(CheckQuestion),
}

/// What is to be verified elsewhere.
pub(crate) enum CheckQuestion {
    /// A token.
    Token(TokenQuestion),
    /// A password.
    Password(PasswordQuestion),
}

impl CheckQuestion {
    /// Has it verified: what is found out is told with this ticket.
    pub(crate) fn ask(self, ticket: Ticket) {
        match self {
            Self::Token(question) => question.ask(ticket),
            Self::Password(question) => question.ask(ticket),
        }
    }
}

/// A token that is to be verified elsewhere.
pub(crate) struct TokenQuestion {
    reserved: ReservedPlace,
    issuer: Arc<Issuer>,
    token: Zeroizing<Box<[u8]>>,
}

impl TokenQuestion {
    fn ask(self, ticket: Ticket) {
        let Self { reserved, issuer, token } = self;
        reserved.submit(issuer, &token, ticket);
    }
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
    permits: Permits,
    /// Those whose token has expired, as far as it was looked.
    due: SlotSet,
}

impl Gatekeeper {
    /// Of a shard of these limits.
    #[must_use]
    pub fn new(parts: GatekeeperParts, limits: &Limits) -> Self {
        Self {
            parts,
            remembered: Remembered::new(limits.tokens as usize),
            passwords: Passwordkeeper::new(limits.passwords as usize),
            changes: 0,
            grants: SideTable::default(),
            permits: Permits::new(limits.slots(), limits.permissions as usize),
            due: SlotSet::new(limits.slots()),
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
        counters: &mut Counters,
    ) -> Result<CheckPassed, NotAdmitted> {
        let issuers = &self.parts.issuers;
        let named = |one: &Arc<Issuer>| one.config.name == issuer;
        // The configuration was checked: without the issuer, nobody's token is good.
        let place = issuers.iter().position(named).ok_or(NotAdmitted::UnknownKey)?;
        let issuer = &issuers[place];
        let token = credentials::find(asked.head, &issuer.config.from)?;
        let changes = issuers.iter().map(|issuer| issuer.changes()).sum();
        if std::mem::replace(&mut self.changes, changes) != changes {
            // What was verified may be signed with a key that nobody has any longer.
            self.remembered.clear();
        }
        let name = Remembered::fingerprint(place, &token);
        if let Some(grant) = self.remembered.get(&name, asked.now.as_secs()) {
            grant.holds(asked.now)?;
            counters.tokens_remembered += 1;
            return Ok(CheckPassed::With(Arc::clone(grant)));
        }
        let is_quick = issuer.is_quick(&token)?;
        let verified = match found {
            // With other keys it is verified anew.
            Some(CheckFound::Token(Verified { found, issuer: by, changes }))
                if changes == issuer.changes() && Arc::ptr_eq(&by, issuer) =>
            {
                found
            }
            _ if is_quick => issuer.verify(&token).map(Arc::new),
            _ => {
                let reserved = self.parts.verifiers.reserve().ok_or_else(|| {
                    counters.tokens_unverified += 1;
                    NotAdmitted::Busy
                })?;
                let token = Zeroizing::new(Box::from(&*token));
                let issuer = Arc::clone(issuer);
                let question = TokenQuestion { reserved, issuer, token };
                return Ok(CheckPassed::Later(CheckQuestion::Token(question)));
            }
        };
        counters.tokens_verified += 1;
        let grant = verified?;
        grant.holds(asked.now)?;
        self.remembered.insert(name, &grant, u64::MAX);
        Ok(CheckPassed::With(grant))
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
        self.passwords.check(&self.parts, file, client, counters)
    }

    /// Nobody waits any longer for what is asked about a request.
    pub(crate) fn gives_up(&mut self, slot: Slot) {
        self.passwords.gives_up(slot);
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
        &self,
        check: &TokenCheck,
        head: &RequestHead<'_>,
    ) -> Result<Arc<Grant>, NotAdmitted> {
        self.parts.tokens.check(check, head)
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
            Some(grant) => self.permits.give(slot, &grant),
        }
    }

    /// It has ended.
    pub(crate) fn forget(&mut self, slot: Slot) {
        self.grants.remove(slot);
        self.permits.remove(slot);
        self.passwords.gives_up(slot);
    }

    /// What its token says of topics.
    pub(crate) fn permissions(&self, slot: Slot) -> Option<&Permissions> {
        self.permits.permissions(slot)
    }

    /// The code that an open connection is closed with, if its token has expired at this time since
    /// 1970.
    pub(crate) fn expired(&self, slot: Slot, now: Duration) -> Option<u16> {
        self.permits.expired(slot, now.as_secs())
    }

    /// Finds out whose token has expired, likewise.
    pub(crate) fn find_expired(&mut self, now: Duration) {
        let due = &mut self.due;
        self.permits.find_expired(now.as_secs(), |slot| due.insert(slot));
    }

    /// One of those that were found, who has perhaps ended since.
    pub(crate) fn take_expired(&mut self) -> Option<Slot> {
        self.due.pop()
    }

    /// Whether somebody is left of those that were found.
    pub(crate) fn has_expired(&self) -> bool {
        !self.due.is_empty()
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
        self.grants.held() + self.permits.held().0 + self.passwords.waiting_held()
    }

    /// Those of permissions.
    pub(crate) fn permissions_held(&self) -> u64 {
        self.permits.held().1
    }

    /// The most bytes of what connections in so many slots have by their tokens, without
    /// permissions.
    pub(super) fn bytes(slots: u32) -> u64 {
        SideTable::<Arc<Grant>>::bytes(slots)
            + Permits::bytes(slots)
            + SlotSet::bytes(slots)
            + Passwordkeeper::waiting_bytes(slots)
    }

    /// Whether nobody has anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.grants.is_empty()
            && self.permits.is_empty()
            && self.due.is_empty()
            && self.passwords.is_empty()
    }
}

//! Checking passwords, and what a shard remembers of them.

use std::sync::Arc;

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};

use super::check_passed::{CheckPassed, CheckQuestion};
use super::gatekeeper::Entrant;
use super::hashers::ReservedHash;
use super::password_file::PasswordFile;
use super::remembered::{Fingerprint, Remembered};
use super::{CheckFound, GatekeeperParts, NotAdmitted, PasswordVerified, basic};
use crate::counters::Counters;
use crate::kernel::{Peer, Slot};
use crate::memory::SideTable;
use crate::names::Ticket;

/// Whose password is checked.
pub(crate) struct PasswordClient<'a> {
    /// What it asks.
    pub(crate) asked: Entrant<'a>,
    /// Its slot.
    pub(crate) slot: Slot,
    /// Who it is.
    pub(crate) peer: Peer,
    /// What was found out elsewhere, if something was.
    pub(crate) found: Option<CheckFound>,
}

/// A client is not let in by its password, or without one.
pub(crate) struct PasswordRefused {
    pub(crate) denied: NotAdmitted,
    /// What it is asked a password for.
    pub(crate) realm: Arc<str>,
}

/// A password that is to be hashed elsewhere.
pub(crate) struct PasswordQuestion {
    reserved: ReservedHash,
    file: Arc<PasswordFile>,
    credentials: basic::Credentials,
    waits: Arc<()>,
}

impl PasswordQuestion {
    pub(super) fn ask(self, ticket: Ticket) {
        let Self { reserved, file, credentials, waits } = self;
        reserved.submit(file, credentials, waits, ticket);
    }
}

/// What a shard remembers of passwords, and who waits for one.
pub(super) struct Passwordkeeper {
    /// Right ones, by a name that nobody can tell them by who does not have `key`.
    remembered: Remembered,
    key: Key,
    /// What is gone once nobody waits any longer.
    waiting: SideTable<Arc<()>>,
}

impl Passwordkeeper {
    /// With so many bytes for what it remembers.
    pub(super) fn new(most: usize) -> Self {
        let mut key = [0; 32];
        getrandom::fill(&mut key).expect("the kernel has random bytes for every process");
        Self {
            remembered: Remembered::new(most),
            key: Key::new(HMAC_SHA256, &key),
            waiting: SideTable::default(),
        }
    }

    /// See [`Gatekeeper::check_password`](super::Gatekeeper::check_password).
    pub(super) fn check(
        &mut self,
        parts: &GatekeeperParts,
        name: &str,
        client: PasswordClient<'_>,
        counters: &mut Counters,
    ) -> Result<CheckPassed, PasswordRefused> {
        let place = parts.passwords.iter().position(|one| one.config.name == name);
        // The configuration was checked: without the file, nobody's password is good.
        let passed = match place {
            None => Err(NotAdmitted::WrongPassword),
            Some(place) => self.check_by(parts, place, client, counters),
        };
        passed.map_err(|denied| PasswordRefused { denied, realm: parts.realm(name) })
    }

    fn check_by(
        &mut self,
        parts: &GatekeeperParts,
        place: usize,
        client: PasswordClient<'_>,
        counters: &mut Counters,
    ) -> Result<CheckPassed, NotAdmitted> {
        let PasswordClient { asked, slot, peer, found } = client;
        let file = &parts.passwords[place];
        self.waiting.remove(slot);
        let credentials = basic::find(asked.head)?;
        let name = self.name(place, &credentials);
        let now = asked.now.as_secs();
        if let Some(grant) = self.remembered.get(&name, now) {
            counters.passwords_remembered += 1;
            return Ok(CheckPassed::With(Arc::clone(grant)));
        }
        match found {
            // By another file it is hashed anew.
            Some(CheckFound::Password(PasswordVerified { found, file: by }))
                if Arc::ptr_eq(&by, file) =>
            {
                counters.passwords_hashed += 1;
                let grant = found?;
                if let Some(time) = file.config.remember {
                    self.remembered.insert(name, &grant, now.saturating_add(time.as_secs()));
                }
                Ok(CheckPassed::With(grant))
            }
            _ => {
                let reserved = parts.hashers.reserve(peer);
                let reserved = reserved.inspect_err(|_| counters.passwords_unhashed += 1)?;
                let waits = Arc::new(());
                self.waiting.insert(slot, Arc::clone(&waits));
                let file = Arc::clone(file);
                let question = PasswordQuestion { reserved, file, credentials, waits };
                Ok(CheckPassed::Later(CheckQuestion::Password(question)))
            }
        }
    }

    /// What user and password go by, of the file that is at this place.
    fn name(&self, place: usize, credentials: &basic::Credentials) -> Fingerprint {
        let mut name = [0; 16];
        name.copy_from_slice(&sign(&self.key, credentials.both()).as_ref()[..16]);
        // Another file may have somebody else of the same name.
        name[0] ^= place as u8;
        name
    }

    /// Nobody in this slot waits any longer.
    pub(super) fn gives_up(&mut self, slot: Slot) {
        self.waiting.remove(slot);
    }

    /// Checks go by others from now on: what was right may be so no longer, unless they are the
    /// same.
    pub(super) fn follow(&mut self, old: &GatekeeperParts, new: &GatekeeperParts) {
        let (old, new) = (&old.passwords, &new.passwords);
        let is_same = old.len() == new.len()
            && old.iter().zip(&**new).all(|(old, new)| Arc::ptr_eq(old, new));
        if !is_same {
            self.remembered.clear();
        }
    }

    /// Never remembers more than so many bytes from here on.
    pub(super) fn limit(&mut self, most: usize) {
        self.remembered.limit(most);
    }

    /// The bytes of what it remembers.
    pub(super) fn held(&self) -> u64 {
        self.remembered.held()
    }

    /// Those of who waits, and the most that these may be for so many slots.
    pub(super) fn waiting_held(&self) -> u64 {
        self.waiting.held()
    }

    pub(super) fn waiting_bytes(slots: u32) -> u64 {
        SideTable::<Arc<()>>::bytes(slots)
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

//! The keys of tickets: drawn by the process and replaced in time, or read from a file.
//!
//! A ticket, as gateways with the same keys have to agree on it, numbers with their highest byte
//! first:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | the name of its key: the first of SHA-256 of `tidegate ticket` and the key |
//! | 12 | a nonce, drawn for it |
//! | 8 | sealed: its end, in seconds since 1970 |
//! | 0 to 8192 | sealed: the session, as rustls writes it |
//! | 16 | the tag of AES-256-GCM-SIV over both, with the listener's binding as additional data |

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::super::certificates::{WrongFile, read};
use super::end::TicketEnd;

/// A ticket is taken for so many seconds at the most, whatever its key is: as long as its client is
/// told, so nobody has a reason to bring it later (RFC 8446, 4.6.1: "Servers MAY treat a ticket as
/// valid for a shorter period of time than what is stated in the ticket_lifetime"; clients "MUST
/// NOT" use it for longer). A key that was drawn seals for as long, and is forgotten once no ticket
/// of it is taken.
pub(super) const LIFETIME: u64 = 6 * 60 * 60;

/// A key has so many bytes, and the name in front of a ticket.
const KEY: usize = 32;
const NAME: usize = 8;
const TAG: usize = 16;

/// What a ticket's end takes in front of what else is sealed.
const END: usize = size_of::<u64>();

/// A file may have so many keys.
const MOST_KEYS: usize = 16;

/// Tickets whose contents or whose own bytes are more are not made and not looked at: a client's
/// certificates are in them, and clients have to send them in their hello.
const LARGEST: usize = 8 << 10;

/// One key, and when it was drawn.
struct TicketKey {
    /// What tells it from others, in front of each ticket. It says nothing of the key.
    name: [u8; NAME],
    /// A misuse of nonces does no harm that matters (RFC 8452): those of a key that a fleet has for
    /// long are drawn so often that two of them may be the same.
    aead: LessSafeKey,
    drawn: u64,
}

impl TicketKey {
    fn new(key: &[u8; KEY], drawn: u64) -> Option<Self> {
        let labelled = Zeroizing::new([&b"tidegate ticket"[..], key].concat());
        let mut name = [0; NAME];
        name.copy_from_slice(digest(&SHA256, &labelled).as_ref().get(..NAME)?);
        let aead = LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, key).ok()?);
        Some(Self { name, aead, drawn })
    }

    fn draw(now: u64) -> Option<Self> {
        let mut key = Zeroizing::new([0; KEY]);
        rand::fill(&mut *key).ok()?;
        Self::new(&key, now)
    }
}

/// What was in a ticket.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OpenedTicket {
    /// What was sealed.
    pub(super) plain: Vec<u8>,
    /// When it ends, and whatever its client is given in its place.
    pub(super) end: TicketEnd,
}

/// Keys of tickets. All shards share them, and all listeners that have the same source of keys.
pub(in super::super) struct TicketKeys {
    /// The first seals, all open.
    keys: ArcSwap<Vec<Arc<TicketKey>>>,
    /// Whether they are drawn, and replaced in time.
    are_drawn: bool,
}

impl TicketKeys {
    /// Keys that nobody else has; `None` if there is no entropy.
    pub(in super::super) fn drawn(now: u64) -> Option<Self> {
        let first = Arc::new(TicketKey::draw(now)?);
        Some(Self { keys: ArcSwap::from_pointee(vec![first]), are_drawn: true })
    }

    /// The keys of a file: lines of 32 bytes in Base64, as `openssl rand -base64 32` writes them.
    /// The first seals, all open. Empty lines and those that begin with `#` are left out.
    ///
    /// # Errors
    /// The file cannot be read, or has something else in it.
    pub(in super::super) fn read(file: &Path) -> Result<Self, WrongFile> {
        let keys = ArcSwap::from_pointee(read_keys(file)?);
        Ok(Self { keys, are_drawn: false })
    }

    /// The same keys as another has, from now on.
    pub(in super::super) fn become_those_of(&self, other: &Self) {
        self.keys.store(other.keys.load_full());
    }

    /// Seals what a client is to bring again, before `end` and before it is too old; `bound` has to
    /// be the same then.
    pub(super) fn seal(
        &self,
        plain: &[u8],
        bound: &[u8],
        end: TicketEnd,
        now: u64,
    ) -> Option<Vec<u8>> {
        self.replace_if_old(now);
        if plain.len() > LARGEST {
            return None;
        }
        let keys = self.keys.load();
        let key = keys.first()?;
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let mut ticket = Vec::with_capacity(NAME + NONCE_LEN + END + plain.len() + TAG);
        ticket.extend_from_slice(&key.name);
        ticket.extend_from_slice(&nonce);
        ticket.extend_from_slice(&now.saturating_add(LIFETIME).min(end.0).to_be_bytes());
        ticket.extend_from_slice(plain);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let inside = &mut ticket[NAME + NONCE_LEN..];
        let tag = key.aead.seal_in_place_separate_tag(nonce, Aad::from(bound), inside).ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    /// Opens a ticket; `None` if it is not one of these keys, bound to something else, or past its
    /// end.
    pub(super) fn open(&self, ticket: &[u8], bound: &[u8], now: u64) -> Option<OpenedTicket> {
        self.replace_if_old(now);
        if ticket.len() > NAME + NONCE_LEN + END + LARGEST + TAG {
            return None;
        }
        let (name, rest) = ticket.split_first_chunk::<NAME>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let keys = self.keys.load();
        let key = keys.iter().find(|key| key.name == *name)?;
        let mut sealed = Zeroizing::new(sealed.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = key.aead.open_in_place(nonce, Aad::from(bound), &mut sealed).ok()?;
        let (end, plain) = opened.split_first_chunk::<END>()?;
        let end = u64::from_be_bytes(*end);
        (now < end).then(|| OpenedTicket { plain: plain.to_vec(), end: TicketEnd(end) })
    }

    /// Draws another key once the first has sealed for long enough, and forgets those of which no
    /// ticket is taken. Of shards that come to it at once one is heard.
    fn replace_if_old(&self, now: u64) {
        let keys = self.keys.load();
        let age = keys.first().map_or(0, |key| now.saturating_sub(key.drawn));
        if !self.are_drawn || age < LIFETIME {
            return;
        }
        // Without entropy the old one goes on until there is some.
        let Some(first) = TicketKey::draw(now) else { return };
        let is_needed = |key: &&Arc<TicketKey>| now.saturating_sub(key.drawn) < 2 * LIFETIME;
        let others = keys.iter().filter(is_needed).cloned();
        let replaced = std::iter::once(Arc::new(first)).chain(others).collect();
        self.keys.compare_and_swap(&keys, Arc::new(replaced));
    }
}

fn read_keys(file: &Path) -> Result<Vec<Arc<TicketKey>>, WrongFile> {
    let bytes = read(file)?;
    let wrong = |line: usize| {
        let what = format!(
            "has something else than a key in line {line}: a line is 32 bytes in Base64, as \
             `openssl rand -base64 32` writes them"
        );
        WrongFile::new(file, what)
    };
    let mut keys: Vec<Arc<TicketKey>> = Vec::new();
    for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        if keys.len() == MOST_KEYS {
            return Err(WrongFile::new(file, format!("has more than {MOST_KEYS} keys")));
        }
        let decoded = Zeroizing::new(STANDARD.decode(line).map_err(|_| wrong(at + 1))?);
        let key = <&[u8; KEY]>::try_from(decoded.as_slice()).map_err(|_| wrong(at + 1))?;
        let key = TicketKey::new(key, 0).ok_or_else(|| wrong(at + 1))?;
        if keys.iter().any(|other| other.name == key.name) {
            let what = format!("has the key of line {} twice: keep one", at + 1);
            return Err(WrongFile::new(file, what));
        }
        keys.push(Arc::new(key));
    }
    if keys.is_empty() {
        let what = "has no key in it: write one with `openssl rand -base64 32`";
        return Err(WrongFile::new(file, what));
    }
    Ok(keys)
}

//! The connections of a shard over TLS: amid their handshakes, and established.

use std::sync::Arc;
use std::time::Duration;

use tidegate_proto::tls::alert::Alert;

use super::certificates::PeerCertificate;
use super::counts::TlsCounts;
use super::established12::{Established12, OlderFailure, PlainFront};
use super::failure::HandshakeFailure;
use super::handshake::{Advanced, Established13, Handshake, HandshakeStep, Settled};
use super::records::{ALERT_RECORD, Secrets, Sessions, Suite, Unsealed};
use super::server::TlsServer;
use crate::config::Limits;
use crate::kernel::Slot;
use crate::memory::SideTable;
use crate::transport::{Broken, OpenedInput, Sealed};

/// As much room as one of TLS 1.2 needs at the most.
const OLDER_ALERT: usize = 64;

/// What a shard keeps of its connections over TLS, whatever their listeners.
pub struct TlsConnections {
    handshakes: SideTable<AmidHandshake>,
    /// How many handshakes may be in progress at once, and how many are.
    most: u32,
    count: u32,
    sessions: Sessions,
    /// Those of TLS 1.2, which stay with rustls.
    older: SideTable<Box<Established12>>,
    /// Of those who have shown one.
    peers: SideTable<Box<PeerCertificate>>,
    /// The bytes that these hold.
    peer_bytes: u64,
    /// Why the last handshake has failed that nobody has asked about.
    failure: Option<HandshakeFailure>,
    /// The time, as the shard has it when something has come in.
    pub now: Duration,
    /// What has become of handshakes, and of records that could not be opened.
    counts: TlsCounts,
}

/// A handshake in progress.
struct AmidHandshake {
    handshake: Handshake,
    began: Duration,
}

impl TlsConnections {
    /// What rustls and its library hold of a handshake in progress, in bytes: 8.6 KB were measured
    /// on the heap of Rust with X25519MLKEM768, and the library has some of its own.
    pub const HANDSHAKE_BYTES: u64 = 16 << 10;

    /// The same where clients are asked for certificates: all messages up to then are kept, and the
    /// client's chain. 52 KB were measured on the heap of both with a chain of 14 KB, and 268 KiB
    /// with 3,800 certificates of a byte each, as many as there is room for in 16 KiB: they are
    /// counted once the message is whole, and it waits for the next.
    pub const ASKING_HANDSHAKE_BYTES: u64 = 288 << 10;

    /// What they hold of a connection of TLS 1.2, in bytes: 3.4 KB were measured on both.
    pub const OLDER_BYTES: u64 = 5 << 10;

    /// The same where clients are asked for certificates, whose chains are kept: 19.7 KB were
    /// measured with one of 14 KB, in 50 certificates, and no more than 16 are taken.
    pub const ASKING_OLDER_BYTES: u64 = 24 << 10;

    /// The most bytes that this takes, without what handshakes and connections of TLS 1.2 own
    /// elsewhere.
    #[must_use]
    pub fn bytes(limits: &Limits) -> u64 {
        let slots = limits.slots();
        let underway = SideTable::<AmidHandshake>::bytes(limits.handshakes.min(slots));
        let older = SideTable::<Box<Established12>>::bytes(slots);
        Sessions::bytes(slots, limits.expanded_keys) + underway + older
    }

    /// The most bytes of what is known of clients by their certificates, in so many slots.
    #[must_use]
    pub fn peer_bytes(slots: u32) -> u64 {
        let each = u64::from(slots) * PeerCertificate::BYTES as u64;
        SideTable::<Box<PeerCertificate>>::bytes(slots) + each
    }

    /// None yet, in so many slots: all that the limits allow, or none where no listener has TLS.
    #[must_use]
    pub fn new(slots: u32, limits: &Limits) -> Self {
        Self {
            handshakes: SideTable::default(),
            most: limits.handshakes,
            count: 0,
            sessions: Sessions::new(slots, limits.expanded_keys),
            older: SideTable::default(),
            peers: SideTable::default(),
            peer_bytes: 0,
            failure: None,
            now: Duration::ZERO,
            counts: TlsCounts::default(),
        }
    }

    /// So many handshakes may be in progress at once from here on. Those that are go on.
    pub fn limit(&mut self, handshakes: u32) {
        self.most = handshakes;
    }

    /// Whether the handshake of a connection is done.
    #[must_use]
    pub fn is_ready(&self, slot: Slot) -> bool {
        self.sessions.has(slot) || self.older.get(slot).is_some()
    }

    /// Whether a connection has to wait with its handshake, because as many as may be are in
    /// progress.
    #[must_use]
    pub fn must_wait(&self, slot: Slot) -> bool {
        self.count >= self.most && self.handshakes.get(slot).is_none() && !self.is_ready(slot)
    }

    /// Opens what has come in, or goes on with the handshake.
    ///
    /// # Errors
    /// It cannot be opened: what the peer is told of that is in `words`.
    pub fn open(
        &mut self,
        server: &Arc<TlsServer>,
        slot: Slot,
        received: &mut [u8],
        words: &mut Vec<u8>,
    ) -> Result<OpenedInput, Broken> {
        if self.is_ready(slot) {
            let before = words.len();
            let opened = match self.older.get_mut(slot) {
                Some(older) => open_older(older, received, words).map_err(|failure| {
                    self.counts.broke_older(failure);
                    Broken
                }),
                None => self.open_records(slot, received, words),
            };
            debug_assert!(opened.is_err() || words.len() == before, "words amid what is said");
            return opened;
        }
        let used = self.shake_hands(server, slot, received, words)?;
        if !self.is_ready(slot) {
            return Ok(OpenedInput { plain: 0..0, used, has_ended: false });
        }
        // More may have come with the last of it.
        let opened = self.open(server, slot, &mut received[used..], words)?;
        Ok(opened.behind(used))
    }

    /// Goes on with a handshake, or begins it; returns how many bytes that has used.
    fn shake_hands(
        &mut self,
        server: &Arc<TlsServer>,
        slot: Slot,
        received: &mut [u8],
        words: &mut Vec<u8>,
    ) -> Result<usize, Broken> {
        if self.handshakes.get(slot).is_none() {
            self.count += 1;
            self.handshakes
                .insert(slot, AmidHandshake { handshake: Handshake::new(server), began: self.now });
        }
        let Some(AmidHandshake { handshake, began }) = self.handshakes.get_mut(slot) else {
            return Err(Broken);
        };
        let began = *began;
        let advanced = handshake.advance(received, words);
        let Advanced { used, step } = advanced.map_err(|failed| {
            self.counts.failed(failed.reason);
            self.failure = Some(failed.reason);
            self.end_handshake(slot);
            Broken
        })?;
        let settled = match step {
            HandshakeStep::GoesOn => return Ok(used),
            HandshakeStep::Established13(established) => self.establish(slot, established)?,
            HandshakeStep::Established12(settled, older) => {
                self.older.insert(slot, older);
                settled
            }
        };
        self.counts.done(&settled, self.now.saturating_sub(began));
        self.keep_peer(slot, settled.peer());
        self.end_handshake(slot);
        Ok(used)
    }

    /// From here on its records are ours.
    fn establish(&mut self, slot: Slot, established: Established13) -> Result<Settled, Broken> {
        let Established13 { settled, secrets, read_sequence, write_sequence } = established;
        // None other was offered.
        let suite = Suite::of_code(settled.suite.into()).ok_or(Broken)?;
        let secrets = Secrets {
            client: secrets.client.as_bytes(),
            server: secrets.server.as_bytes(),
            read_sequence,
            write_sequence,
        };
        self.sessions.begin(slot, suite, secrets);
        Ok(settled)
    }

    fn keep_peer(&mut self, slot: Slot, peer: Option<PeerCertificate>) {
        if let Some(peer) = peer {
            self.peer_bytes += peer.held();
            self.peers.insert(slot, Box::new(peer));
        }
    }

    /// Who the client is by its certificate, if it has shown one.
    #[must_use]
    pub fn peer(&self, slot: Slot) -> Option<&PeerCertificate> {
        self.peers.get(slot).map(|peer| &**peer)
    }

    /// The version that is spoken on a connection, once the handshake is done.
    #[must_use]
    pub fn version(&self, slot: Slot) -> Option<&'static str> {
        if self.sessions.has(slot) {
            return Some("1.3");
        }
        self.older.get(slot).map(|_| "1.2")
    }

    /// Why the handshake has failed on which this was asked last; `None` if none has.
    pub fn take_failure(&mut self) -> Option<HandshakeFailure> {
        self.failure.take()
    }

    fn end_handshake(&mut self, slot: Slot) {
        self.count -= u32::from(self.handshakes.remove(slot).is_some());
    }

    fn open_records(
        &mut self,
        slot: Slot,
        received: &mut [u8],
        words: &mut Vec<u8>,
    ) -> Result<OpenedInput, Broken> {
        match self.sessions.open(slot, received) {
            Ok(Unsealed { plain, rest, is_closed }) => {
                Ok(OpenedInput { plain, used: rest.start, has_ended: is_closed })
            }
            Err(fatal) => {
                self.counts.broke(fatal.reason);
                if let Some(alert) = fatal.alert {
                    self.say(slot, alert, words);
                }
                Err(Broken)
            }
        }
    }

    /// Puts an alert behind what is in `words`.
    fn say(&mut self, slot: Slot, alert: Alert, words: &mut Vec<u8>) {
        let start = words.len();
        words.resize(start + ALERT_RECORD, 0);
        let length = self.sessions.alert(slot, alert, &mut words[start..]);
        words.truncate(start + length);
    }

    /// Seals bytes from the front of `plain`, as many as there is room for what they become.
    pub fn seal(&mut self, slot: Slot, plain: &[u8], wire: &mut [u8]) -> Sealed {
        match self.older.get_mut(slot) {
            Some(older) => older.seal(plain, wire),
            None => self.sessions.seal(slot, plain, wire),
        }
    }

    /// Says that we say nothing more (RFC 8446 section 6.1: "Each party MUST send a
    /// "close_notify" alert before closing its write side of the connection").
    pub fn farewell(&mut self, slot: Slot, words: &mut Vec<u8>) {
        let Some(older) = self.older.get_mut(slot) else {
            return self.say(slot, Alert::CLOSE_NOTIFY, words);
        };
        words.resize(OLDER_ALERT, 0);
        let length = older.close_notify(words);
        words.truncate(length);
    }

    /// A connection has ended: what is known of it is wiped.
    pub fn end(&mut self, slot: Slot) {
        self.end_handshake(slot);
        self.sessions.end(slot);
        self.older.remove(slot);
        if let Some(peer) = self.peers.remove(slot) {
            self.peer_bytes -= peer.held();
        }
    }

    /// The bytes that what is known of clients holds.
    #[must_use]
    pub fn peers_held(&self) -> u64 {
        self.peers.held() + self.peer_bytes
    }

    /// What has become of handshakes and records.
    #[must_use]
    pub fn counts(&self) -> TlsCounts {
        TlsCounts { records: self.sessions.counts(), ..self.counts }
    }

    /// The bytes that it holds, without what handshakes and connections of TLS 1.2 own elsewhere.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.sessions.held() + self.handshakes.held() + self.older.held()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let has_ended = self.sessions.is_empty() && self.older.is_empty();
        has_ended && self.handshakes.is_empty() && self.peers.is_empty() && self.peer_bytes == 0
    }

    /// How many handshakes are in progress.
    #[must_use]
    pub fn handshakes(&self) -> u32 {
        self.count
    }

    /// Since when those handshakes are in progress that are.
    pub fn underway(&self) -> impl Iterator<Item = (Slot, Duration)> {
        self.handshakes.iter().map(|(slot, underway)| (slot, underway.began))
    }
}

fn open_older(
    older: &mut Established12,
    received: &mut [u8],
    words: &mut Vec<u8>,
) -> Result<OpenedInput, OlderFailure> {
    let PlainFront { plain, used, is_closed } = older.open(received, words)?;
    Ok(OpenedInput { plain: 0..plain, used, has_ended: is_closed })
}

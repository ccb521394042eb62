//! One handshake in progress.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use rustls::{AlertDescription, CipherSuite, Error, HandshakeKind, ProtocolVersion};

use super::capture::{Capture, TrafficSecrets};
use super::certificates::PeerCertificate;
use super::established12::{Established12, drain, encode};
use super::failure::HandshakeFailure;
use super::first_bytes::{ALERT, FATAL, FirstBytes, HEAD, prefers_chacha};
use super::server::{LARGEST_MESSAGE, TlsServer};
use super::tickets::TicketEnd;

#[cfg(test)]
mod tests;

/// So many records a handshake may take. The largest hello, a byte in each record, is fewer.
const MOST_RECORDS: u16 = 4096;

/// What a client hears who speaks HTTP to this port, so that a person knows what to do.
const USE_HTTPS: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain\r\nContent-Length: 57\r\nConnection: close\r\n\r\n\
    This port speaks TLS: use https:// or wss:// to reach it.";

/// A handshake in progress, of the server. It is driven by [`Self::advance`] until that says that
/// it is established, or fails; then it is done with.
pub struct Handshake {
    server: Arc<TlsServer>,
    stage: HandshakeStage,
    /// Where they never move: what moves leaves its bytes behind.
    secrets: Box<TrafficSecrets>,
    ticket_end: TicketEnd,
    /// Bytes at the front of what came in that rustls has seen, and needs until a message is whole.
    held: usize,
    records: u16,
    has_answered: bool,
}

enum HandshakeStage {
    /// The first record is not complete.
    Beginning,
    Going(Box<UnbufferedServerConnection>),
    Over,
}

/// What came of one call.
#[derive(Debug)]
pub struct Advanced {
    /// Bytes that were used, from the front. What is behind them has to be handed in again, with
    /// more behind it, as it is in the buffer then: it may have been opened or moved there.
    pub used: usize,
    /// Where the handshake is.
    pub step: HandshakeStep,
}

/// Where a handshake is.
#[derive(Debug)]
pub enum HandshakeStep {
    /// More has to come in.
    GoesOn,
    /// Its secrets are there, and records behind it are nobody's yet.
    Established13(Established13),
    /// It is of TLS 1.2, and stays with rustls. Who the client is nobody keeps beside it.
    Established12(Settled, Box<Established12>),
}

/// What a handshake of TLS 1.3 leaves. The records that were sealed and opened with these secrets
/// meanwhile were tickets; the first that is opened with them comes behind what was used.
#[derive(Debug)]
pub struct Established13 {
    /// What both agreed on.
    pub settled: Settled,
    /// What the keys of both directions are derived from.
    pub secrets: Box<TrafficSecrets>,
    /// The number of the next record that the client seals.
    pub read_sequence: u64,
    /// The number of the next record that the server seals.
    pub write_sequence: u64,
}

/// What both sides of a connection agreed on.
#[derive(Debug)]
pub struct Settled {
    /// The version.
    pub version: ProtocolVersion,
    /// The suite.
    pub suite: CipherSuite,
    /// Whether a ticket took the place of certificates.
    pub is_resumed: bool,
    /// The client's certificate and those behind it, as it showed them now or when its ticket was
    /// made.
    pub certificates: Vec<CertificateDer<'static>>,
}

impl Settled {
    /// Who the client is by the certificate that it has shown, if it has.
    #[must_use]
    pub fn peer(&self) -> Option<PeerCertificate> {
        PeerCertificate::of(&self.certificates)
    }
}

/// A handshake has failed. What the client is to be told is in `wire`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeFailed {
    /// Why.
    pub reason: HandshakeFailure,
}

impl Handshake {
    /// The most bytes that [`Self::advance`] leaves unused before it fails: so much room its caller
    /// needs.
    pub const LARGEST: usize = LARGEST_MESSAGE;

    /// A handshake that begins with what comes in first.
    #[must_use]
    pub fn new(server: &Arc<TlsServer>) -> Self {
        Self {
            server: Arc::clone(server),
            stage: HandshakeStage::Beginning,
            secrets: Box::new(TrafficSecrets::NONE),
            ticket_end: TicketEnd::NONE,
            held: 0,
            records: 0,
            has_answered: false,
        }
    }

    /// Works on what has come in. `received` begins with what the call before has not used. What
    /// is to be sent is put behind what is in `wire`, whether this fails or not.
    ///
    /// # Errors
    /// The handshake has failed: once `wire` is sent, the connection is dropped.
    pub fn advance(
        &mut self,
        received: &mut [u8],
        wire: &mut Vec<u8>,
    ) -> Result<Advanced, HandshakeFailed> {
        if matches!(self.stage, HandshakeStage::Over) {
            return Err(self.fail(HandshakeFailure::Internal));
        }
        let mut used = 0;
        while let Some(record) = self.next_record(&received[used..], wire)? {
            self.held += record;
            let (done, is_over) = self.work(&mut received[used..used + self.held], wire)?;
            used += done;
            self.held -= done;
            if is_over {
                return Ok(Advanced { used, step: self.finish()? });
            }
        }
        Ok(Advanced { used, step: HandshakeStep::GoesOn })
    }

    /// The length of the record behind those that are held, if it is complete.
    ///
    /// One record after the other is handed to rustls, so that it opens nothing that comes behind
    /// the handshake.
    fn next_record(
        &mut self,
        received: &[u8],
        wire: &mut Vec<u8>,
    ) -> Result<Option<usize>, HandshakeFailed> {
        // Who hands in less than was left breaks the contract: then nothing is there.
        let behind = received.get(self.held..).unwrap_or_default();
        let is_first = self.records == 0;
        if is_first && !self.begins_well(behind, wire)? {
            return Ok(None);
        }
        let Some([_, _, _, high, low]) = behind.first_chunk::<HEAD>() else { return Ok(None) };
        let length = HEAD + usize::from(u16::from_be_bytes([*high, *low]));
        if self.held + length > LARGEST_MESSAGE {
            return Err(self.refuse(
                HandshakeFailure::Oversized,
                AlertDescription::RecordOverflow,
                wire,
            ));
        }
        if behind.len() < length {
            return Ok(None);
        }
        if self.records == MOST_RECORDS {
            return Err(self.refuse(
                HandshakeFailure::TooManyRecords,
                AlertDescription::UnexpectedMessage,
                wire,
            ));
        }
        self.records += 1;
        if is_first {
            self.begin(&behind[..length])?;
        }
        Ok(Some(length))
    }

    /// Whether these are the first bytes of TLS; if not, whether there are too few to know.
    fn begins_well(&mut self, bytes: &[u8], wire: &mut Vec<u8>) -> Result<bool, HandshakeFailed> {
        let (reason, alert) = match FirstBytes::of(bytes) {
            FirstBytes::TooFew => return Ok(false),
            FirstBytes::Tls => return Ok(true),
            FirstBytes::Http => {
                wire.extend_from_slice(USE_HTTPS);
                return Err(self.fail(HandshakeFailure::PlainHttp));
            }
            FirstBytes::Sslv2 => (HandshakeFailure::Sslv2, AlertDescription::ProtocolVersion),
            FirstBytes::Other => (HandshakeFailure::NotTls, AlertDescription::UnexpectedMessage),
        };
        Err(self.refuse(reason, alert, wire))
    }

    /// Begins with the first record, which tells what the client prefers.
    fn begin(&mut self, record: &[u8]) -> Result<(), HandshakeFailed> {
        let settings = self.server.settings(prefers_chacha(record));
        match UnbufferedServerConnection::new(settings) {
            Ok(connection) => {
                self.stage = HandshakeStage::Going(Box::new(connection));
                Ok(())
            }
            Err(_) => Err(self.fail(HandshakeFailure::Internal)),
        }
    }

    /// Has rustls work on the records that it holds; returns how many bytes it is done with, and
    /// whether the handshake is.
    fn work(
        &mut self,
        records: &mut [u8],
        wire: &mut Vec<u8>,
    ) -> Result<(usize, bool), HandshakeFailed> {
        let HandshakeStage::Going(connection) = &mut self.stage else {
            return Err(self.fail(HandshakeFailure::Internal));
        };
        let before = wire.len();
        let work = || self.ticket_end.during(|| drive(connection, records, wire));
        let done = Capture::during(&mut self.secrets, work);
        let done = done.inspect_err(|_| drain(connection, wire));
        self.has_answered |= wire.len() > before;
        done.map_err(|error| {
            let reason = HandshakeFailure::of(&error);
            if wire.len() > before {
                self.fail(reason)
            } else {
                // For some errors rustls has no alert. Once keys are in use there is none of ours.
                self.refuse(reason, AlertDescription::UnexpectedMessage, wire)
            }
        })
    }

    /// What the handshake leaves, now that it is done.
    fn finish(&mut self) -> Result<HandshakeStep, HandshakeFailed> {
        let stage = std::mem::replace(&mut self.stage, HandshakeStage::Over);
        // What is held of a message would be lost: nothing may stand behind the last one.
        let HandshakeStage::Going(connection) = stage else {
            return Err(self.fail(HandshakeFailure::Internal));
        };
        if self.held > 0 {
            return Err(self.fail(HandshakeFailure::Unexpected));
        }
        let (Some(version), Some(suite)) =
            (connection.protocol_version(), connection.negotiated_cipher_suite())
        else {
            return Err(self.fail(HandshakeFailure::Internal));
        };
        let settled = Settled {
            version,
            suite: suite.suite(),
            is_resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
            certificates: connection.peer_certificates().unwrap_or_default().to_vec(),
        };
        if version != ProtocolVersion::TLSv1_3 {
            let established = Box::new(Established12::new(connection));
            return Ok(HandshakeStep::Established12(settled, established));
        }
        let secrets = std::mem::replace(&mut self.secrets, Box::new(TrafficSecrets::NONE));
        if !secrets.are_known() {
            return Err(self.fail(HandshakeFailure::Internal));
        }
        let Ok((extracted, _)) = connection.dangerous_into_kernel_connection() else {
            return Err(self.fail(HandshakeFailure::Internal));
        };
        debug_assert!(secrets.are_those_of(&extracted), "the keys are not those of rustls");
        let (read_sequence, write_sequence) = (extracted.rx.0, extracted.tx.0);
        let done = Established13 { settled, secrets, read_sequence, write_sequence };
        Ok(HandshakeStep::Established13(done))
    }
}

impl Handshake {
    /// Fails with an alert, if none of the keys are in use with which it would have to be sealed.
    fn refuse(
        &mut self,
        reason: HandshakeFailure,
        alert: AlertDescription,
        wire: &mut Vec<u8>,
    ) -> HandshakeFailed {
        if !self.has_answered {
            // A record of an alert, which is fatal (RFC 8446, 6).
            wire.extend_from_slice(&[ALERT, 3, 3, 0, 2, FATAL, u8::from(alert)]);
        }
        self.fail(reason)
    }

    /// Nothing can be done with it from now on.
    fn fail(&mut self, reason: HandshakeFailure) -> HandshakeFailed {
        self.stage = HandshakeStage::Over;
        HandshakeFailed { reason }
    }
}

/// Has rustls work on records until it wants more; returns how many bytes it is done with, and
/// whether the handshake is.
fn drive(
    connection: &mut UnbufferedServerConnection,
    records: &mut [u8],
    wire: &mut Vec<u8>,
) -> Result<(usize, bool), Error> {
    let mut done = 0;
    loop {
        let UnbufferedStatus { discard, state } =
            connection.process_tls_records(&mut records[done..]);
        let is_over = match state? {
            ConnectionState::EncodeTlsData(data) => {
                encode(data, wire)?;
                None
            }
            ConnectionState::TransmitTlsData(data) => {
                data.done();
                None
            }
            ConnectionState::BlockedHandshake => Some(false),
            ConnectionState::WriteTraffic(_) => Some(true),
            // One record at a time brings nothing of what comes behind a handshake.
            _ => return Err(Error::HandshakeNotComplete),
        };
        done = (done + discard).min(records.len());
        if let Some(is_over) = is_over {
            return Ok((done, is_over));
        }
    }
}

//! Connections of TLS 1.2, which stay with rustls.

use std::fmt;

use rustls::crypto::cipher::{OutboundChunks, OutboundPlainMessage};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};
use rustls::{
    AlertDescription, ConnectionTrafficSecrets, ContentType, Error, ProtocolVersion,
    SupportedCipherSuite,
};

use super::first_bytes::{FATAL, HEAD};
use crate::transport::Sealed;

#[cfg(test)]
mod tests;

/// The most plain bytes of a record (RFC 5246, 6.2.1).
const LARGEST_PLAIN: usize = 1 << 14;

/// What a record has more than its plain bytes, by the suites that are offered: head, explicit
/// nonce, tag (RFC 5288, 3). ChaCha20 has no explicit nonce.
const OVERHEAD: usize = HEAD + 8 + 16;

/// The longest record with its head. RFC 5246, 6.2.3, lets suites add up to 2,048 bytes; those that
/// are offered add no more than that.
const LARGEST_RECORD: usize = LARGEST_PLAIN + OVERHEAD;

/// What rustls writes records by.
type ServerTraffic<'c> = WriteTraffic<'c, ServerConnectionData>;

/// A connection of TLS 1.2 whose handshake is done.
pub struct Established12 {
    /// Not there any more once it has failed, or we have said that we close: nothing is opened or
    /// sealed from then on.
    connection: Option<Box<UnbufferedServerConnection>>,
}

/// What opening has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlainFront {
    /// Plain bytes, at the front.
    pub plain: usize,
    /// Bytes of records that were used. What is behind them is to be handed in again, in front of
    /// what comes next.
    pub used: usize,
    /// Whether the peer has said that it sends no more.
    pub is_closed: bool,
}

/// Why a connection of TLS 1.2 has failed behind its handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OlderFailure {
    /// The client wants to shake hands once more.
    Renegotiation,
    /// A record is longer than one of the suites makes it.
    Overflow,
    /// A part of a message of a handshake came.
    Handshake,
    /// Something that rustls refuses.
    Refused,
}

impl OlderFailure {
    /// Its name, as a label of a counter has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Renegotiation => "renegotiation",
            Self::Overflow => "record_overflow",
            Self::Handshake => "unexpected_handshake",
            Self::Refused => "tls12",
        }
    }

    /// What the client is told, unless rustls has done so.
    fn alert(self) -> Option<AlertDescription> {
        match self {
            // RFC 5246, 7.2.2, has it answered by `no_renegotiation`, which "is always a warning",
            // and rustls says that. Nobody has to go on behind a warning (7.2.1: "Either party may
            // initiate a close"), and here nobody does, as with nginx. What says so is, by 7.2.2,
            // "handshake_failure": "the sender was unable to negotiate an acceptable set of
            // security parameters given the options available. This is a fatal error."
            Self::Renegotiation => Some(AlertDescription::HandshakeFailure),
            // RFC 5246, 7.2.2: "This message is always fatal".
            Self::Overflow => Some(AlertDescription::RecordOverflow),
            // RFC 5246, 7.2.2: "An inappropriate message was received. This alert is always fatal".
            Self::Handshake => Some(AlertDescription::UnexpectedMessage),
            Self::Refused => None,
        }
    }
}

impl Established12 {
    pub(super) fn new(connection: Box<UnbufferedServerConnection>) -> Self {
        Self { connection: Some(connection) }
    }

    /// Opens the records that are complete; their plain bytes are put together at the front.
    ///
    /// # Errors
    /// The peer has sent what it may not: alerts are put behind what is in `wire`, and once that is
    /// sent, the connection is dropped.
    pub fn open(
        &mut self,
        received: &mut [u8],
        wire: &mut Vec<u8>,
    ) -> Result<PlainFront, OlderFailure> {
        let mut front =
            PlainFront { is_closed: self.connection.is_none(), ..PlainFront::default() };
        while !front.is_closed {
            let Some(head) = received[front.used..].first_chunk::<HEAD>() else { break };
            let length = HEAD + usize::from(u16::from_be_bytes([head[3], head[4]]));
            if length > LARGEST_RECORD {
                return Err(self.fail(OlderFailure::Overflow, wire));
            }
            let Some(record) = received.get_mut(front.used..front.used + length) else { break };
            let Some(connection) = &mut self.connection else { break };
            let opened = open_record(connection, record, wire);
            let (plain, is_closed) = opened.map_err(|failure| self.fail(failure, wire))?;
            // The plain bytes of a record are fewer than it has.
            received[front.plain..front.plain + plain.len()].copy_from_slice(&plain);
            front.plain += plain.len();
            front.used += length;
            front.is_closed = is_closed;
        }
        Ok(front)
    }

    /// Nothing can be done with it any more. What the client is told goes behind what is in `wire`.
    fn fail(&mut self, failure: OlderFailure, wire: &mut Vec<u8>) -> OlderFailure {
        if let Some(mut connection) = self.connection.take() {
            drain(&mut connection, wire);
            let alert = failure.alert().and_then(|alert| fatal(*connection, alert));
            wire.extend(alert.unwrap_or_default());
        }
        failure
    }

    /// Seals bytes from the front of `plain`, as many as there is room for what they become.
    pub fn seal(&mut self, plain: &[u8], wire: &mut [u8]) -> Sealed {
        let mut sealed = Sealed { taken: 0, written: 0 };
        while sealed.taken < plain.len() {
            let room = (wire.len() - sealed.written).saturating_sub(OVERHEAD);
            let length = room.min(LARGEST_PLAIN).min(plain.len() - sealed.taken);
            let piece = &plain[sealed.taken..sealed.taken + length];
            let room = &mut wire[sealed.written..];
            let written = if length == 0 { 0 } else { self.write(|on| on.encrypt(piece, room)) };
            if written == 0 {
                break;
            }
            sealed.taken += length;
            sealed.written += written;
        }
        sealed
    }

    /// Says that we close, by `close_notify`: returns how many bytes that is in `wire`, none if
    /// there is no room. Nothing is sealed behind it.
    pub fn close_notify(&mut self, wire: &mut [u8]) -> usize {
        let written = self.write(|on| on.queue_close_notify(wire));
        if written > 0 {
            self.connection = None;
        }
        written
    }

    /// Has rustls write; nothing, if it cannot.
    fn write(
        &mut self,
        what: impl FnOnce(&mut ServerTraffic<'_>) -> Result<usize, EncryptError>,
    ) -> usize {
        let Some(connection) = &mut self.connection else { return 0 };
        // Each record was used as a whole (`open_record`), so rustls refers to none of them.
        match connection.process_tls_records(&mut []).state {
            Ok(ConnectionState::WriteTraffic(mut on)) => what(&mut on).unwrap_or(0),
            _ => 0,
        }
    }
}

impl fmt::Debug for Established12 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Established12").finish_non_exhaustive()
    }
}

/// Opens one record; returns its plain bytes, and whether it says that the peer closes. What rustls
/// says to one that is refused goes behind what is in `wire`, if it says it at once.
///
/// rustls has the plain bytes in memory of its own, and lends them only while it has the record: so
/// they are copied once more than they would have to be.
fn open_record(
    connection: &mut UnbufferedServerConnection,
    record: &mut [u8],
    wire: &mut Vec<u8>,
) -> Result<(Vec<u8>, bool), OlderFailure> {
    let (mut plain, mut is_closed, mut done) = (Vec::new(), false, 0);
    loop {
        let UnbufferedStatus { discard, state } =
            connection.process_tls_records(&mut record[done..]);
        let mut goes_on = true;
        match state.map_err(|_| OlderFailure::Refused)? {
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(read) = traffic.next_record() {
                    let read = read.map_err(|_| OlderFailure::Refused)?;
                    plain.extend_from_slice(read.payload);
                }
            }
            // All that it says unasked is that it does not negotiate anew.
            ConnectionState::EncodeTlsData(data) => {
                encode(data, wire).map_err(|_| OlderFailure::Refused)?;
                return Err(OlderFailure::Renegotiation);
            }
            ConnectionState::PeerClosed => is_closed = true,
            _ => goes_on = false,
        }
        done = (done + discard).min(record.len());
        if !goes_on {
            break;
        }
    }
    if done < record.len() && !is_closed {
        // Part of a message of a handshake, of which there is to be none: rustls would wait for
        // its rest, and refer to this record meanwhile.
        return Err(OlderFailure::Handshake);
    }
    Ok((plain, is_closed))
}

/// A fatal alert, sealed behind all that rustls has: it can be made to send such only for what it
/// refuses itself. `None` if it has sent one, and has no keys any more.
fn fatal(connection: UnbufferedServerConnection, alert: AlertDescription) -> Option<Vec<u8>> {
    let SupportedCipherSuite::Tls12(suite) = connection.negotiated_cipher_suite()? else {
        return None;
    };
    let (secrets, _) = connection.dangerous_into_kernel_connection().ok()?;
    let (sequence, secrets) = secrets.tx;
    let (ConnectionTrafficSecrets::Aes128Gcm { key, iv }
    | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
    | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv }) = secrets
    else {
        return None;
    };
    let implicit = suite.aead_alg.key_block_shape().fixed_iv_len;
    let (implicit, explicit) = iv.as_ref().split_at_checked(implicit)?;
    let message = OutboundPlainMessage {
        typ: ContentType::Alert,
        version: ProtocolVersion::TLSv1_2,
        payload: OutboundChunks::Single(&[FATAL, alert.into()]),
    };
    let mut encrypter = suite.aead_alg.encrypter(key, implicit, explicit);
    Some(encrypter.encrypt(message, sequence).ok()?.encode())
}

/// Puts what rustls has to send behind what is in `wire`.
pub(super) fn encode(
    mut data: EncodeTlsData<'_, ServerConnectionData>,
    wire: &mut Vec<u8>,
) -> Result<(), Error> {
    let from = wire.len();
    let required = match data.encode(&mut []) {
        Err(EncodeError::InsufficientSize(error)) => error.required_size,
        _ => 0,
    };
    wire.resize(from + required, 0);
    match data.encode(&mut wire[from..]) {
        Ok(written) => wire.truncate(from + written),
        Err(_) => return Err(Error::EncryptError),
    }
    Ok(())
}

/// Takes from a connection that has failed what it wants to send: an alert.
pub(super) fn drain(connection: &mut UnbufferedServerConnection, wire: &mut Vec<u8>) {
    // rustls must not come to look for more records: it may refer to those that it had.
    while connection.wants_write() {
        let state = connection.process_tls_records(&mut []).state;
        let Ok(ConnectionState::EncodeTlsData(data)) = state else { break };
        if encode(data, wire).is_err() {
            break;
        }
    }
}

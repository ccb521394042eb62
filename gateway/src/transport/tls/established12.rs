//! Connections of TLS 1.2, which stay with rustls.

use std::fmt;

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus, WriteTraffic,
};
use rustls::{Error, unbuffered::EncryptError};

use super::failure::HandshakeFailure;
use super::first_bytes::HEAD;
use super::handshake::{HandshakeFailed, Settled};
use crate::transport::Sealed;

/// The most plain bytes of a record (RFC 5246, 6.2.1).
const LARGEST_PLAIN: usize = 1 << 14;

/// The longest record with its head (RFC 5246, 6.2.3).
const LARGEST_RECORD: usize = HEAD + LARGEST_PLAIN + 2048;

/// What a record has more than its plain bytes, by the suites that are offered: head, explicit
/// nonce, tag (RFC 5288, 3). ChaCha20 has no explicit nonce.
const OVERHEAD: usize = HEAD + 8 + 16;

/// What rustls writes records by.
type ServerTraffic<'c> = WriteTraffic<'c, ServerConnectionData>;

/// A connection of TLS 1.2 whose handshake is done.
pub struct Established12 {
    connection: Box<UnbufferedServerConnection>,
    settled: Settled,
    /// Nothing is opened or sealed any more: it has failed, or we have said that we close.
    is_over: bool,
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

impl Established12 {
    pub(super) fn new(connection: Box<UnbufferedServerConnection>, settled: Settled) -> Self {
        Self { connection, settled, is_over: false }
    }

    /// What both agreed on.
    #[must_use]
    pub fn settled(&self) -> &Settled {
        &self.settled
    }

    /// Opens the records that are complete; their plain bytes are put together at the front. What
    /// has to be answered, such as that nothing is negotiated anew, is put behind what is in
    /// `wire`.
    ///
    /// # Errors
    /// The peer has sent what it may not: once `wire` is sent, the connection is dropped.
    pub fn open(
        &mut self,
        received: &mut [u8],
        wire: &mut Vec<u8>,
    ) -> Result<PlainFront, HandshakeFailed> {
        let mut front = PlainFront { is_closed: self.is_over, ..PlainFront::default() };
        while !front.is_closed {
            let Some(head) = received[front.used..].first_chunk::<HEAD>() else { break };
            let length = HEAD + usize::from(u16::from_be_bytes([head[3], head[4]]));
            // A length that no record may have rustls refuses by the head alone.
            let length = if length > LARGEST_RECORD { HEAD } else { length };
            let Some(record) = received.get_mut(front.used..front.used + length) else { break };
            let (plain, is_closed) = self.open_one(record, wire)?;
            // The plain bytes of a record are fewer than it has.
            received[front.plain..front.plain + plain.len()].copy_from_slice(&plain);
            front.plain += plain.len();
            front.used += length;
            front.is_closed = is_closed;
        }
        Ok(front)
    }

    fn open_one(
        &mut self,
        record: &mut [u8],
        wire: &mut Vec<u8>,
    ) -> Result<(Vec<u8>, bool), HandshakeFailed> {
        open_record(&mut self.connection, record, wire).map_err(|error| {
            drain(&mut self.connection, wire);
            self.is_over = true;
            HandshakeFailed { reason: HandshakeFailure::of(&error) }
        })
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
        self.is_over |= written > 0;
        written
    }

    /// Has rustls write; nothing, if it cannot.
    fn write(
        &mut self,
        what: impl FnOnce(&mut ServerTraffic<'_>) -> Result<usize, EncryptError>,
    ) -> usize {
        if self.is_over {
            return 0;
        }
        // Each record was used as a whole (`open_record`), so rustls refers to none of them.
        match self.connection.process_tls_records(&mut []).state {
            Ok(ConnectionState::WriteTraffic(mut on)) => what(&mut on).unwrap_or(0),
            _ => 0,
        }
    }
}

impl fmt::Debug for Established12 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Established12").field("settled", &self.settled).finish_non_exhaustive()
    }
}

/// Opens one record; returns its plain bytes, and whether it says that the peer closes.
///
/// rustls has the plain bytes in memory of its own, and lends them only while it has the record: so
/// they are copied once more than they would have to be.
fn open_record(
    connection: &mut UnbufferedServerConnection,
    record: &mut [u8],
    wire: &mut Vec<u8>,
) -> Result<(Vec<u8>, bool), Error> {
    let (mut plain, mut is_closed, mut done) = (Vec::new(), false, 0);
    loop {
        let UnbufferedStatus { discard, state } =
            connection.process_tls_records(&mut record[done..]);
        let mut goes_on = true;
        match state? {
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(read) = traffic.next_record() {
                    plain.extend_from_slice(read?.payload);
                }
            }
            ConnectionState::EncodeTlsData(data) => encode(data, wire)?,
            ConnectionState::TransmitTlsData(data) => data.done(),
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
        return Err(Error::InappropriateMessage { expect_types: Vec::new(), got_type: 22.into() });
    }
    Ok((plain, is_closed))
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

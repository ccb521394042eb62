//! Which contents may follow each other on an established connection, and what comes of them.
//!
//! What a peer says beside its data is bounded by its data, because there is no clock here: so many
//! records without any in a row, and so many KeyUpdates at once, with another for each so many
//! records of data.

use crate::tls::alert::Alert;
use crate::tls::content::ContentType;
use crate::tls::error::RecordError;
use crate::tls::key_update::{self, KeyUpdate};

/// The most records in a row that carry no data. RFC 8446 section 5.1 lets empty ones be sent "as
/// they are potentially useful as a traffic analysis countermeasure", and each costs as much to
/// open as one with data.
pub const MAX_IDLE: u8 = 32;

/// The most KeyUpdates at once; deriving the next key takes as long as opening several records.
pub const MAX_UPDATES: u16 = 64;

/// For each so many records of data a peer may send another KeyUpdate.
pub const RECORDS_PER_UPDATE: u16 = 16;

/// What is known of what came in so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Incoming {
    /// Records without data since the last with some, at most [`MAX_IDLE`].
    idle: u8,
    /// Bytes of a KeyUpdate of which more are to come, fewer than [`key_update::LENGTH`]. They
    /// need not be kept: what differs from the only message that may come is refused at once.
    begun: u8,
    /// What the KeyUpdates that came have to be made up for, in records of data.
    debt: u16,
}

/// What comes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordEvent {
    /// Its content is data.
    Data,
    /// Nothing.
    Nothing,
    /// The next record is opened with the next key.
    Update(KeyUpdate),
    /// Nothing more comes. Section 6.1: "Any data received after a closure alert has been received
    /// MUST be ignored."
    Close,
}

impl Incoming {
    /// Takes the content of the next record.
    ///
    /// # Errors
    /// It may not come now, or not at all, or it says that the connection has failed.
    pub fn take(&mut self, kind: ContentType, content: &[u8]) -> Result<RecordEvent, RecordError> {
        // Section 5.1: "if a handshake message is split over two or more records, there MUST NOT
        // be any other records between them."
        if self.begun > 0 && kind != ContentType::Handshake {
            return Err(RecordError::Interleaved);
        }
        match kind {
            // Section 5.4: "Application Data records may contain a zero-length
            // TLSInnerPlaintext.content".
            ContentType::ApplicationData if content.is_empty() => self.nothing(),
            ContentType::ApplicationData => {
                self.idle = 0;
                self.debt = self.debt.saturating_sub(1);
                Ok(RecordEvent::Data)
            }
            ContentType::Handshake => self.take_handshake(content),
            ContentType::Alert => match Alert::parse(content)? {
                Alert::CLOSE_NOTIFY => Ok(RecordEvent::Close),
                // Section 6.1: it says "that the sender is canceling the handshake", which is over,
                // and "SHOULD be followed by a "close_notify"".
                Alert::USER_CANCELED => self.nothing(),
                // Section 6: "All the alerts listed in Section 6.2 [...] MUST be treated as error
                // alerts when received regardless of the AlertLevel in the message. Unknown Alert
                // types MUST be treated as error alerts."
                other => Err(RecordError::PeerAlert(other)),
            },
        }
    }

    fn take_handshake(&mut self, content: &[u8]) -> Result<RecordEvent, RecordError> {
        // As with alerts, section 5.4.
        if content.is_empty() {
            return Err(RecordError::EmptyContent);
        }
        let read = usize::from(self.begun);
        let Some(update) = KeyUpdate::parse(read, content)? else {
            debug_assert!(read + content.len() < key_update::LENGTH);
            self.begun += content.len() as u8;
            return self.nothing();
        };
        self.begun = 0;
        self.debt += RECORDS_PER_UPDATE;
        if self.debt > MAX_UPDATES * RECORDS_PER_UPDATE {
            return Err(RecordError::TooManyUpdates);
        }
        Ok(RecordEvent::Update(update))
    }

    /// A record came that carries no data.
    fn nothing(&mut self) -> Result<RecordEvent, RecordError> {
        self.idle += 1;
        if self.idle > MAX_IDLE { Err(RecordError::TooManyIdle) } else { Ok(RecordEvent::Nothing) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use ContentType::{ApplicationData, Handshake};

    const UPDATE: [u8; key_update::LENGTH] = KeyUpdate { is_requested: false }.to_bytes();

    #[test]
    fn rfc_8446_section_5_4_empty_records_are_taken_up_to_a_bound() {
        let mut incoming = Incoming::default();
        for _ in 0..3 {
            for _ in 0..MAX_IDLE {
                assert_eq!(incoming.take(ApplicationData, b""), Ok(RecordEvent::Nothing));
            }
            assert_eq!(incoming.take(ApplicationData, b"x"), Ok(RecordEvent::Data));
        }
        let canceled = Alert::USER_CANCELED.to_bytes();
        for _ in 0..MAX_IDLE {
            assert_eq!(incoming.take(ContentType::Alert, &canceled), Ok(RecordEvent::Nothing));
        }
        assert_eq!(incoming.take(ApplicationData, b""), Err(RecordError::TooManyIdle));
    }

    #[test]
    fn key_updates_are_taken_up_to_a_bound_which_data_lifts() {
        let mut incoming = Incoming::default();
        let update = RecordEvent::Update(KeyUpdate { is_requested: false });
        for _ in 0..MAX_UPDATES {
            assert_eq!(incoming.take(Handshake, &UPDATE), Ok(update));
        }
        let mut full = incoming;
        assert_eq!(full.take(Handshake, &UPDATE), Err(RecordError::TooManyUpdates));
        for _ in 0..RECORDS_PER_UPDATE {
            assert_eq!(incoming.take(ApplicationData, b"x"), Ok(RecordEvent::Data));
        }
        assert_eq!(incoming.take(Handshake, &UPDATE), Ok(update));
        assert_eq!(incoming.take(Handshake, &UPDATE), Err(RecordError::TooManyUpdates));
    }

    #[test]
    fn rfc_8446_section_5_1_a_message_in_parts_is_one_and_nothing_comes_between() {
        for cut in 1..key_update::LENGTH {
            let mut incoming = Incoming::default();
            assert_eq!(incoming.take(Handshake, &UPDATE[..cut]), Ok(RecordEvent::Nothing));
            for other in [ApplicationData, ContentType::Alert] {
                let taken = incoming.clone().take(other, &[1, 0]);
                assert_eq!(taken, Err(RecordError::Interleaved), "{cut}");
            }
            let update = RecordEvent::Update(KeyUpdate { is_requested: false });
            assert_eq!(incoming.take(Handshake, &UPDATE[cut..]), Ok(update), "{cut}");
            assert_eq!(incoming.take(ApplicationData, &[1, 0]), Ok(RecordEvent::Data));
        }
    }

    #[test]
    fn rfc_8446_section_6_an_alert_closes_or_fails() {
        for level in [0, 1, 2, 3] {
            for code in 0..=u8::MAX {
                let expected = match Alert(code) {
                    Alert::CLOSE_NOTIFY => Ok(RecordEvent::Close),
                    Alert::USER_CANCELED => Ok(RecordEvent::Nothing),
                    other => Err(RecordError::PeerAlert(other)),
                };
                let taken = Incoming::default().take(ContentType::Alert, &[level, code]);
                assert_eq!(taken, expected, "{level} {code}");
            }
        }
    }

    #[test]
    fn rfc_8446_section_5_4_alerts_and_handshake_messages_are_not_empty() {
        for kind in [ContentType::Alert, Handshake] {
            let taken = Incoming::default().take(kind, b"");
            assert_eq!(taken, Err(RecordError::EmptyContent));
        }
    }

    #[test]
    fn what_a_server_does_not_ask_for_is_unexpected() {
        // A ClientHello, a NewSessionTicket, a Certificate, a Finished.
        for kind in [1, 4, 11, 20] {
            let taken = Incoming::default().take(Handshake, &[kind, 0, 0, 1, 0]);
            assert_eq!(taken, Err(RecordError::Handshake(kind)));
        }
    }
}

//! Answers that may be large: what all of them hold at once is bounded, from before they are
//! gathered until they are sent.

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::ask;
use super::error::Error;

/// Bytes of JSON after which a list or a history ends, and says where to go on.
pub(super) const ENOUGH: usize = 1 << 20;

/// Bytes that an answer without messages may hold: what is gathered, up to [`ENOUGH`] and what one
/// shard adds to it, and the same as JSON.
pub(super) const PLAIN: usize = 4 << 20;

/// Bytes of all answers at once, unless a single one needs more, however many connections are
/// allowed.
const ALL: usize = 64 << 20;

/// What a place is counted in, in bytes.
const UNIT: usize = 1 << 10;

/// The room that answers share.
pub(super) struct Answers {
    places: Arc<Semaphore>,
    message: usize,
}

/// Room for one answer.
pub(super) struct Room(OwnedSemaphorePermit);

/// An answer as it is sent; its room is free when its last byte is passed on, or it is dropped.
struct Filled {
    bytes: Vec<u8>,
    _place: Room,
}

/// Bytes of all answers at once, at most, for messages of so many bytes on so many connections:
/// room for one without messages on each, and for any single one.
pub(super) fn bytes_max(max_message: u32, connections: u16) -> u64 {
    let plain = (usize::from(connections) * PLAIN).min(ALL);
    plain.max(with_message(max_message as usize)) as u64
}

/// Bytes that an answer with messages may hold: what of them is gathered, and JSON, in which a byte
/// of text takes six at most (RFC 8259 section 7).
fn with_message(max_message: usize) -> usize {
    2 * ENOUGH.max(6 * max_message)
}

impl Answers {
    /// For messages of so many bytes, on so many connections.
    pub(super) fn new(max_message: u32, connections: u16) -> Self {
        let units = bytes_max(max_message, connections) as usize / UNIT;
        Self { places: Arc::new(Semaphore::new(units)), message: max_message as usize }
    }

    /// Room for an answer without messages, once there is some.
    pub(super) async fn place(&self) -> Result<Room, Error> {
        self.room(PLAIN).await
    }

    /// Room for an answer with messages, once there is some.
    pub(super) async fn place_for_messages(&self) -> Result<Room, Error> {
        self.room(with_message(self.message)).await
    }

    async fn room(&self, bytes: usize) -> Result<Room, Error> {
        let units = (bytes / UNIT) as u32;
        let deadline = Instant::now() + ask::PATIENCE;
        let places = Arc::clone(&self.places).acquire_many_owned(units);
        let place = timeout_at(deadline, places).await.ok().and_then(Result::ok);
        place.map(Room).ok_or_else(|| Error::busy("too many large answers are on their way"))
    }

    #[cfg(test)]
    fn free(&self) -> usize {
        self.places.available_permits()
    }
}

impl Room {
    /// Keeps what the answer takes, and gives the rest of the room back.
    pub(super) fn keep(mut self, bytes: Vec<u8>) -> Bytes {
        let rest = self.0.num_permits().saturating_sub(bytes.capacity().div_ceil(UNIT));
        drop(self.0.split(rest));
        Bytes::from_owner(Filled { bytes, _place: self })
    }

    /// The answer as JSON.
    pub(super) fn json(self, value: &impl Serialize) -> Result<Bytes, Error> {
        let mut bytes = serde_json::to_vec(value).map_err(|_| Error::confused())?;
        bytes.shrink_to_fit();
        Ok(self.keep(bytes))
    }
}

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// JSON as a response.
pub(super) fn respond(json: Bytes) -> Response {
    ([(CONTENT_TYPE, "application/json")], json).into_response()
}

/// Bytes that `text` takes as a string of JSON, without its quotation marks, at most.
pub(super) fn length_in_json(text: &str) -> usize {
    let length = |byte: u8| match byte {
        b'"' | b'\\' => 2,
        0..0x20 => 6,
        _ => 1,
    };
    text.bytes().map(length).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers() -> Answers {
        Answers::new(1 << 20, 64)
    }

    #[test]
    fn the_room_of_an_answer_is_free_when_its_last_part_is_dropped() {
        let answers = answers();
        let all = answers.free();
        let permit = Arc::clone(&answers.places).try_acquire_many_owned(100).unwrap();
        let bytes = Room(permit).json(&"x".repeat(3000)).unwrap();
        assert_eq!(all - answers.free(), 3, "units of 1,024 bytes");
        let part = bytes.slice(5..10);
        drop(bytes);
        assert_eq!(all - answers.free(), 3);
        drop(part);
        assert_eq!(answers.free(), all);
    }

    #[test]
    fn few_connections_pay_for_few_answers_and_any_single_one_has_room() {
        assert_eq!(bytes_max(1 << 20, 1024), ALL as u64);
        assert_eq!(bytes_max(64 << 10, 4), 4 * PLAIN as u64);
        for (message, connections) in [(1, 1), (64 << 10, 4), (1 << 20, 1), (16 << 20, 1024)] {
            let one = PLAIN.max(with_message(message as usize)) as u64;
            assert!(bytes_max(message, connections) >= one, "{message}, {connections}");
        }
    }

    #[test]
    fn the_length_in_json_is_what_is_written() {
        for text in ["", "plain", "ä\u{1f600}", "\"\\", "\u{1}\u{1f}"] {
            assert_eq!(length_in_json(text) + 2, serde_json::to_string(text).unwrap().len());
        }
    }
}

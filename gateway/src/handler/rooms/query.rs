//! What the query of a request says.

use percent_encoding::percent_decode_str;
use tidegate_proto::http::RequestHead;

use crate::config::normal_path;
use crate::handler::Refusal;
use crate::hub::Past;
use crate::names::{NameError, Position};

/// The most messages that can be asked for by `last`.
const LAST_MAX: u16 = 1000;

/// What a request wants to be told of what was published before; `None` if nothing.
pub(super) fn past(head: &RequestHead<'_>) -> Result<Option<Past>, Refusal> {
    let since = only(values(head, "since"), Refusal::DuplicatePosition)?;
    let last = only(values(head, "last"), Refusal::DuplicateCount)?;
    match (since, last) {
        (None, None) => Ok(None),
        (Some(text), None) => {
            let text = decoded(text).map_err(|_| Refusal::InvalidPosition)?;
            position(&text).map(Past::Since).map(Some).ok_or(Refusal::InvalidPosition)
        }
        (None, Some(text)) => {
            let count = natural(text).and_then(|count| u16::try_from(count).ok());
            let count = count.filter(|count| (1..=LAST_MAX).contains(count));
            count.map(Past::Last).map(Some).ok_or(Refusal::InvalidCount)
        }
        (Some(_), Some(_)) => Err(Refusal::TwoPasts),
    }
}

/// The values of `key`, which needs no escapes, in the query, as they were sent; empty where it
/// stands without a `=`. Its name may be sent with needless escapes, as a path may.
pub(super) fn values<'h>(head: &RequestHead<'h>, key: &str) -> impl Iterator<Item = &'h str> {
    let pairs = head.query().unwrap_or_default().split('&');
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.filter(move |(name, _)| normal_path(name) == key).map(|(_, value)| value)
}

/// The only one of what may be there once, or what is said if there are more.
pub(super) fn only<T>(
    mut values: impl Iterator<Item = T>,
    more: Refusal,
) -> Result<Option<T>, Refusal> {
    match (values.next(), values.next()) {
        (first, None) => Ok(first),
        (_, Some(_)) => Err(more),
    }
}

/// Reads `EPOCH:OFFSET`; `None` if it is none.
pub(super) fn position(text: &str) -> Option<Position> {
    let (epoch, offset) = text.split_once(':')?;
    Some(Position { epoch: Position::parse_epoch(epoch)?, offset: natural(offset)? })
}

/// Reads a number that is written in digits alone.
fn natural(text: &str) -> Option<u64> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

pub(super) fn decoded(text: &str) -> Result<String, NameError> {
    let text = percent_decode_str(text).decode_utf8().map_err(|_| NameError::NotUtf8)?;
    Ok(text.into_owned())
}

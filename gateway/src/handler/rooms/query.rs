//! What the query of a request says.

use crate::handler::{Refusal, Request};
use crate::hub::Past;
use crate::names::Position;

/// The most messages that can be asked for by `last`.
const LAST_MAX: u16 = 1000;

/// What a request wants to be told of what was published before; `None` if nothing.
pub(super) fn past(request: &Request<'_>) -> Result<Option<Past>, Refusal> {
    let since = only(request.query_values("since"), Refusal::DuplicatePosition)?;
    let last = only(request.query_values("last"), Refusal::DuplicateCount)?;
    match (since, last) {
        (None, None) => Ok(None),
        (Some(text), None) => {
            let text = text.map_err(|_| Refusal::InvalidPosition)?;
            position(&text).map(Past::Since).map(Some).ok_or(Refusal::InvalidPosition)
        }
        (None, Some(text)) => {
            let text = text.map_err(|_| Refusal::InvalidCount)?;
            let count = natural(&text).and_then(|count| u16::try_from(count).ok());
            let count = count.filter(|count| (1..=LAST_MAX).contains(count));
            count.map(Past::Last).map(Some).ok_or(Refusal::InvalidCount)
        }
        (Some(_), Some(_)) => Err(Refusal::TwoPasts),
    }
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

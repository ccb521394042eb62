//! Pages of a list that all shards have a part of.

use super::ControlRoom;
use super::answer::ENOUGH;
use super::ask::Questions;
use super::cursor::ListCursor;
use super::error::Error;
use crate::hub::{Errand, Outcome};

/// Questions that one page takes, at most: a shard may answer with few, or none, and where to go
/// on.
const QUESTIONS_MAX: usize = 256;

/// The most that is asked for at once.
const AT_ONCE: usize = 100;

/// What is asked for.
pub(super) struct Wanted<'q> {
    /// What the page before has said.
    pub(super) cursor: Option<&'q str>,
    /// How many at most.
    pub(super) limit: usize,
}

/// A page.
pub(super) struct ListPage<T> {
    pub(super) items: Vec<T>,
    /// Where the next one begins.
    pub(super) cursor: Option<String>,
}

/// What is listed.
pub(super) trait Listed {
    /// Bytes that it takes in JSON, about.
    fn bytes(&self) -> usize;
}

/// What a shard has told of its part.
pub(super) struct ShardPart<T> {
    pub(super) items: Vec<T>,
    /// Where it goes on.
    pub(super) next: Option<u32>,
}

/// Asks shard after shard; `question` is for so many from a place on, and `told` reads its answer.
pub(super) async fn page<T: Listed>(
    control: &ControlRoom,
    wanted: Wanted<'_>,
    question: impl Fn(u32, usize) -> Errand,
    told: impl Fn(Outcome) -> Result<ShardPart<T>, Error>,
) -> Result<ListPage<T>, Error> {
    let shards = control.shards.door().shards();
    let mut cursor = Some(ListCursor::read(wanted.cursor, shards)?);
    let (mut items, mut bytes) = (Vec::new(), 0);
    let deadline = Questions::deadline();
    for _ in 0..QUESTIONS_MAX {
        let Some(at) = cursor.filter(|_| items.len() < wanted.limit && bytes < ENOUGH) else {
            break;
        };
        let errand = question(at.place, (wanted.limit - items.len()).min(AT_ONCE));
        let answer = control.shards.ask_shard(at.shard.into(), errand, deadline).await?;
        let part = told(answer)?;
        bytes += part.items.iter().map(Listed::bytes).sum::<usize>();
        items.extend(part.items);
        cursor = match part.next {
            Some(place) => Some(ListCursor { place, ..at }),
            None => Some(ListCursor { shard: at.shard + 1, place: 0 })
                .filter(|cursor| usize::from(cursor.shard) < shards),
        };
    }
    Ok(ListPage { items, cursor: cursor.map(|cursor| cursor.to_string()) })
}

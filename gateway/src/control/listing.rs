//! Pages of a list that all shards have a part of.

use super::Control;
use super::answer::ENOUGH;
use super::ask::Shards;
use super::cursor::Cursor;
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
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    /// Where the next one begins.
    pub(super) cursor: Option<String>,
}

/// What is listed.
pub(super) trait Listed {
    /// Bytes that it takes in JSON, about.
    fn bytes(&self) -> usize;
}

/// What a shard has told, and where it goes on.
type Told<T> = (Vec<T>, Option<u32>);

/// Asks shard after shard; `question` is for so many from a place on, and `told` reads its answer.
pub(super) async fn page<T: Listed>(
    control: &Control,
    wanted: Wanted<'_>,
    question: impl Fn(u32, usize) -> Errand,
    told: impl Fn(Outcome) -> Result<Told<T>, Error>,
) -> Result<Page<T>, Error> {
    let shards = control.shards.door().shards();
    let mut cursor = Some(Cursor::read(wanted.cursor, shards)?);
    let (mut items, mut bytes) = (Vec::new(), 0);
    let deadline = Shards::deadline();
    for _ in 0..QUESTIONS_MAX {
        let Some(at) = cursor.filter(|_| items.len() < wanted.limit && bytes < ENOUGH) else {
            break;
        };
        let errand = question(at.place, (wanted.limit - items.len()).min(AT_ONCE));
        let answer = control.shards.ask_shard(at.shard.into(), errand, deadline).await?;
        let (some, next) = told(answer)?;
        bytes += some.iter().map(Listed::bytes).sum::<usize>();
        items.extend(some);
        cursor = match next {
            Some(place) => Some(Cursor { place, ..at }),
            None => Some(Cursor { shard: at.shard + 1, place: 0 })
                .filter(|cursor| usize::from(cursor.shard) < shards),
        };
    }
    Ok(Page { items, cursor: cursor.map(|cursor| cursor.to_string()) })
}

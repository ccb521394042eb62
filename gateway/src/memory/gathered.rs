//! What must be whole before it is looked at, in one block that grows.

use super::blocks::{BlockId, Blocks, Share};
use super::pool::Pool;
use crate::kernel::Span;
use crate::memory::Full;

/// Appends what `from` names to what `gathered` holds. A block that is too small is replaced by one
/// of at least twice its size: memory is taken for what has come, never for what is only announced.
/// All of it is taken from `share`.
///
/// # Errors
/// The pool has no block of that size; what was gathered stays.
pub fn append(
    gathered: &mut Option<BlockId>,
    share: Share,
    pool: &mut Pool<'_>,
    from: Span,
) -> Result<(), Full> {
    let block = match *gathered {
        None => pool.blocks.take(share, from.length).ok_or(Full)?,
        Some(block) if pool.blocks.room(block).length >= from.length => block,
        Some(block) => grow(block, share, pool, from.length)?,
    };
    *gathered = Some(block);
    let room = pool.blocks.room(block);
    pool.memory.copy(from, room.part(0, from.length));
    pool.blocks.extend(block, from.length);
    Ok(())
}

/// Gives what was gathered back.
pub fn release(gathered: &mut Option<BlockId>, blocks: &mut Blocks) {
    if let Some(block) = gathered.take() {
        blocks.give_back(block);
    }
}

fn grow(small: BlockId, share: Share, pool: &mut Pool<'_>, wanted: u32) -> Result<BlockId, Full> {
    let Pool { blocks, memory } = pool;
    let content = blocks.content(small);
    let needed = content.length.saturating_add(wanted).max(blocks.size(small).saturating_mul(2));
    let large = blocks.take(share, needed).ok_or(Full)?;
    memory.copy(content, blocks.room(large).part(0, content.length));
    blocks.extend(large, content.length);
    blocks.give_back(small);
    Ok(large)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::World;

    const SHARE: Share = Share::Gathered;

    #[test]
    fn it_grows_and_stays_whole() {
        let mut world = World::new(1 << 20);
        let mut gathered = None;
        let mut expected = Vec::new();
        for length in [1, 511, 1, 700, 5000, 0, 60_000] {
            let bytes = vec![length as u8; length];
            let from = world.received(&bytes);
            append(&mut gathered, SHARE, &mut world.pool(), from).expect("room");
            expected.extend(bytes);
        }
        let block = gathered.expect("something was gathered");
        assert_eq!(world.memory.bytes(world.blocks.content(block)), expected);
        release(&mut gathered, &mut world.blocks);
        assert_eq!(world.blocks.used_bytes(), 0);
    }

    #[test]
    fn an_empty_pool_keeps_what_there_is() {
        let mut world = World::new(4096);
        let mut gathered = None;
        let (first, second) = (world.received(&[1; 500]), world.received(&[2; 600]));
        append(&mut gathered, SHARE, &mut world.pool(), first).expect("room");
        assert_eq!(append(&mut gathered, SHARE, &mut world.pool(), second), Err(Full));
        assert_eq!(world.blocks.content(gathered.expect("kept")).length, 500);
    }
}

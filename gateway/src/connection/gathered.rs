//! What must be whole before it is looked at, in one block that grows.

use super::backlog::Full;
use super::blocks::{BlockId, Blocks, Share};

/// Appends `bytes` to what `gathered` holds. A block that is too small is replaced by one of at
/// least twice its size: memory is taken for what has come, never for what is only announced. All
/// of it is taken from `share`.
///
/// # Errors
/// The pool has no block of that size; what was gathered stays.
pub fn append(
    gathered: &mut Option<BlockId>,
    share: Share,
    (blocks, area): (&mut Blocks, &mut [u8]),
    bytes: &[u8],
) -> Result<(), Full> {
    let count = u32::try_from(bytes.len()).map_err(|_| Full)?;
    let block = match *gathered {
        None => blocks.take(share, count).ok_or(Full)?,
        Some(block) if blocks.room(block).length >= count => block,
        Some(block) => grow(block, share, (blocks, area), count)?,
    };
    *gathered = Some(block);
    let start = blocks.room(block).start as usize;
    area[start..start + bytes.len()].copy_from_slice(bytes);
    blocks.extend(block, count);
    Ok(())
}

/// Gives what was gathered back.
pub fn release(gathered: &mut Option<BlockId>, blocks: &mut Blocks) {
    if let Some(block) = gathered.take() {
        blocks.give_back(block);
    }
}

fn grow(
    small: BlockId,
    share: Share,
    (blocks, area): (&mut Blocks, &mut [u8]),
    wanted: u32,
) -> Result<BlockId, Full> {
    let content = blocks.content(small);
    let needed = content.length.saturating_add(wanted).max(blocks.size(small).saturating_mul(2));
    let large = blocks.take(share, needed).ok_or(Full)?;
    area.copy_within(content.range(), blocks.room(large).start as usize);
    blocks.extend(large, content.length);
    blocks.give_back(small);
    Ok(large)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARE: Share = Share::Gathered;

    #[test]
    fn it_grows_and_stays_whole() {
        let mut blocks = Blocks::new(1 << 20);
        let mut area = vec![0; 1 << 20];
        let mut gathered = None;
        let mut expected = Vec::new();
        for length in [1, 511, 1, 700, 5000, 0, 60_000] {
            let bytes = vec![length as u8; length];
            append(&mut gathered, SHARE, (&mut blocks, &mut area), &bytes).expect("room");
            expected.extend(bytes);
        }
        let block = gathered.expect("something was gathered");
        assert_eq!(&area[blocks.content(block).range()], expected);
        release(&mut gathered, &mut blocks);
        assert_eq!(blocks.used_bytes(), 0);
    }

    #[test]
    fn an_empty_pool_keeps_what_there_is() {
        let mut blocks = Blocks::new(4096);
        let mut area = vec![0; 4096];
        let mut gathered = None;
        append(&mut gathered, SHARE, (&mut blocks, &mut area), &[1; 500]).expect("room");
        assert_eq!(append(&mut gathered, SHARE, (&mut blocks, &mut area), &[2; 600]), Err(Full));
        assert_eq!(blocks.content(gathered.expect("kept")).length, 500);
    }
}

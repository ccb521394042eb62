//! What collections take, in bytes.

/// A list that doubles as it grows, once it holds `count` entries of `bytes` each.
pub(crate) fn list(count: u64, bytes: usize) -> u64 {
    count.next_power_of_two() * bytes as u64
}

/// A tree of up to `count` entries of `bytes` each, in nodes of up to eleven, each with pointers to
/// twelve and its allocation: all but the first have five entries at least.
pub(crate) fn tree(count: u32, bytes: usize) -> u64 {
    let nodes = u64::from(count) / 5 + 1;
    nodes * (11 * bytes as u64 + 12 * 8 + 32)
}

/// A hash table of up to `count` entries of `bytes` each. Entries also have a byte of control each,
/// and there are as many more as are compared at once. Entries and marks of removed ones fill seven
/// eighths of the table at most; then it is cleaned if half of them are marks, else it doubles, and
/// the old one is there until all entries have moved.
pub(crate) fn hash_table(count: u32, bytes: usize) -> u64 {
    const COMPARED: u64 = 16;
    // The smallest table that never has to double: its seven eighths are twice the entries.
    let largest = (u64::from(count) * 16).div_ceil(7).next_power_of_two();
    (largest + largest / 2) * (bytes as u64 + 1) + 2 * COMPARED
}

/// What a hash table of this capacity holds, with the buckets that are kept free and their bytes of
/// control: seven eighths of the buckets may be used.
pub(crate) fn hash_table_held(capacity: usize, bytes: usize) -> u64 {
    match capacity {
        0 => 0,
        _ => ((capacity * 8).div_ceil(7).next_power_of_two() * (bytes + 1)) as u64,
    }
}

//! The bill: everything that the shards may ever hold, line by line, before any of it is reserved.
//!
//! Each owner writes its own lines, beside its structures; whoever starts a gateway adds them up.
//! After the start no buffer and no queue of a shard grows past its line. Not on the bill are the
//! program itself, the stacks of its few other threads, and what an embedding program's own
//! handlers hold.

mod holdings;
mod limit;
mod owner;
pub(crate) mod sizes;
mod table;

pub(crate) use holdings::GROWING_COUNT;
pub use holdings::Holdings;
pub use limit::{Limit, LimitOrigin, MemoryBound, MemorySource, OverBudget};
pub use owner::Owner;

pub(crate) use table::{grouped, plural};

/// Everything that the shards of a configuration may ever hold.
///
/// Displayed, it is a table with a line for each owner.
#[derive(Clone, Debug)]
pub struct Bill {
    /// In the order of their owners.
    lines: Vec<Line>,
    /// What the process has once, however many shards there are.
    common: Vec<Line>,
    shards: u64,
    sockets: SocketMemory,
}

/// What one owner may hold: in each shard, or in the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The owner.
    pub owner: Owner,
    /// Bytes in each shard, or in the process.
    pub bytes: u64,
    /// The keys of the configuration that decide how much, the weightiest first.
    pub keys: &'static [&'static str],
}

/// What the kernel may hold for the sockets of all shards, in bytes. It is not part of the sum: the
/// kernel bounds it in its own ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SocketMemory {
    /// How many connections there may be.
    pub(crate) connections: u64,
    /// Of one connection that is idle.
    pub(crate) idle: u64,
    /// Of one connection's socket buffers, when they are full.
    pub(crate) buffers: u64,
}

impl Line {
    /// What `owner` may hold, and the keys that decide it.
    pub(crate) fn new(owner: Owner, bytes: u64, keys: &'static [&'static str]) -> Self {
        Self { owner, bytes, keys }
    }
}

impl Bill {
    /// The bill of so many shards: what each may hold, and what the process has once.
    #[must_use]
    pub(crate) fn new(mut lines: Vec<Line>, shards: usize, sockets: SocketMemory) -> Self {
        lines.retain(|line| line.bytes > 0);
        lines.sort_by_key(|line| line.owner);
        let (common, lines) = lines.into_iter().partition(|line| line.owner.is_common());
        Self { lines, common, shards: shards as u64, sockets }
    }

    /// The same with those lines of the one before that somebody still needs: `held` is what
    /// shards hold of owners that grow, and of some others what was made once stays.
    pub(crate) fn keeping(mut self, before: &Self, held: &[Holdings]) -> Self {
        let kept = [(&mut self.lines, &before.lines), (&mut self.common, &before.common)];
        for (lines, before) in kept {
            for line in before {
                let place = lines.iter().position(|one| one.owner == line.owner);
                let now = place.map_or(0, |place| lines[place].bytes);
                let holds = |one: &Holdings| one.of(line.owner).is_some_and(|held| held > now);
                if line.bytes <= now || !(line.owner.stays() || held.iter().any(holds)) {
                    continue;
                }
                match place {
                    Some(place) => lines[place] = line.clone(),
                    None => lines.push(line.clone()),
                }
            }
            lines.sort_by_key(|line| line.owner);
        }
        self
    }

    /// The lines of one shard.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The lines of what the process has once, however many shards there are.
    #[must_use]
    pub fn common(&self) -> &[Line] {
        &self.common
    }

    /// Bytes that one shard may hold.
    #[must_use]
    pub fn per_shard(&self) -> u64 {
        self.lines.iter().map(|line| line.bytes).sum()
    }

    /// Bytes that all shards, and what the process has once, may hold.
    #[must_use]
    pub fn total(&self) -> u64 {
        let common: u64 = self.common.iter().map(|line| line.bytes).sum();
        self.per_shard() * self.shards + common
    }

    /// What the kernel may hold for the sockets, which is not part of the sum.
    #[must_use]
    pub(crate) fn sockets(&self) -> SocketMemory {
        self.sockets
    }

    /// The bill in one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let SocketMemory { connections, idle, .. } = self.sockets;
        format!(
            "{} may hold {} bytes in user space, and {} connections that are idle {} in the kernel",
            plural(self.shards),
            grouped(self.total()),
            grouped(connections),
            grouped(connections * idle),
        )
    }

    /// Checks that the total is at most `limit`.
    ///
    /// # Errors
    ///
    /// It is more.
    pub fn check(&self, limit: Limit) -> Result<(), OverBudget> {
        if self.total() <= limit.bytes {
            return Ok(());
        }
        let of_all = |line: &Line| Line { bytes: line.bytes * self.shards, ..line.clone() };
        let mut lines: Vec<Line> = self.lines.iter().map(of_all).collect();
        lines.extend(self.common.iter().cloned());
        lines.sort_by_key(|line| std::cmp::Reverse(line.bytes));
        Err(OverBudget { total: self.total(), limit, shards: self.shards, lines })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bill(lines: &[(Owner, u64)]) -> Bill {
        let lines = lines.iter().map(|(owner, bytes)| Line::new(*owner, *bytes, &[]));
        let sockets = SocketMemory { connections: 0, idle: 0, buffers: 0 };
        Bill::new(lines.collect(), 2, sockets)
    }

    #[test]
    fn what_is_still_held_stays_on_it() {
        let before = bill(&[
            (Owner::Accounts, 100),
            (Owner::Turnstiles, 50),
            (Owner::Listeners, 9),
            (Owner::Headcounts, 30),
            (Owner::AccessLines, 40),
        ]);
        let next = bill(&[(Owner::Accounts, 60), (Owner::Listeners, 8)]);
        let owners = |bill: &Bill| -> Vec<_> {
            let lines = bill.lines().iter().chain(bill.common());
            lines.map(|line| (line.owner, line.bytes)).collect()
        };
        let kept = next.clone().keeping(&before, &[Holdings::default()]);
        let common = (Owner::Headcounts, 30);
        assert_eq!(owners(&kept), [(Owner::Accounts, 60), (Owner::Listeners, 8), common]);
        let holds = |owner, bytes| {
            let mut held = Holdings::default();
            let place = held.iter().position(|(other, _)| other == owner).unwrap();
            held.bytes[place] = bytes;
            held
        };
        let held = [holds(Owner::Accounts, 60), holds(Owner::Turnstiles, 1)];
        let kept = next.clone().keeping(&before, &held);
        assert_eq!(kept.total(), 2 * (60 + 50 + 8) + 30);
        assert_eq!(next.keeping(&before, &[holds(Owner::Accounts, 61)]).lines()[0].bytes, 100);
    }
}

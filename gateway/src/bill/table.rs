//! The bill as text.

use std::fmt;

use super::{Bill, Line, SocketMemory};

/// The owners' column, and the one of bytes: room for 9,999,999,999,999,999,999.
const OWNER_WIDTH: usize = 28;
const BYTES_WIDTH: usize = 25;

impl fmt::Display for Bill {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        rows(out, "each shard", &self.lines)?;
        row(out, "one shard", self.per_shard(), "")?;
        row(out, &plural(self.shards), self.per_shard() * self.shards, "shards")?;
        for line in &self.common {
            line.fmt(out)?;
        }
        row(out, "total in user space", self.total(), "at most `memory`")?;
        self.sockets.fmt(out)
    }
}

impl fmt::Display for SocketMemory {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections: all, idle, buffers } = *self;
        writeln!(out, "\nkernel memory of {} connections, not in the total", grouped(all))?;
        row(out, "all of them idle", all * idle, "limits.connections, shards")?;
        let busy = all * (idle + buffers);
        row(out, "all socket buffers full", busy, "`rcvbuf` and `sndbuf` of the listeners")
    }
}

impl fmt::Display for Line {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        row(out, self.owner.name(), self.bytes, &self.keys.join(", "))
    }
}

/// A heading and all lines.
pub(super) fn rows(out: &mut fmt::Formatter<'_>, heading: &str, lines: &[Line]) -> fmt::Result {
    writeln!(out, "{heading:OWNER_WIDTH$}{:>BYTES_WIDTH$}  set by", "bytes")?;
    lines.iter().try_for_each(|line| write!(out, "{line}"))
}

fn row(out: &mut fmt::Formatter<'_>, owner: &str, bytes: u64, keys: &str) -> fmt::Result {
    let line = format!("{owner:OWNER_WIDTH$}{:>BYTES_WIDTH$}  {keys}", grouped(bytes));
    writeln!(out, "{}", line.trim_end())
}

/// `1 shard`, `2 shards`.
pub(crate) fn plural(shards: u64) -> String {
    format!("{shards} shard{}", if shards == 1 { "" } else { "s" })
}

/// A number with a comma before each three digits: `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(BYTES_WIDTH);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::gateway;
    use crate::kernel::Driver;

    #[test]
    fn the_table_is_aligned() {
        let text = gateway::bill(&Config::default(), 2, Driver::IoUring).to_string();
        let column = OWNER_WIDTH + BYTES_WIDTH;
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with("kernel")) {
            assert!(line.len() >= column, "{line}");
            assert!(!line[..column].ends_with(' '), "{line}");
            assert!(line.len() == column || line[column..].starts_with("  "), "{line}");
        }
        assert!(text.contains("limits.connections"), "{text}");
    }

    #[test]
    fn digits_are_grouped() {
        let cases = [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")];
        for (number, text) in cases {
            assert_eq!(grouped(number), text);
        }
    }
}

//! Why connections are closed that should have come through a proxy.

use std::fmt;

use tidegate_proto::proxy::ProxyMistake;

/// Why a connection is closed that should have come through a proxy. Nothing goes on the wire:
/// whoever made the mistake does not read answers of what is above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyRefusal {
    /// Its address is not that of a proxy.
    Stranger,
    /// Its header was not there in time.
    TimedOut,
    /// Behind its header is another one.
    Twice,
    /// What came is no header.
    Mistake(ProxyMistake),
}

/// How many there are that are no mistakes in a header.
const OTHERS: usize = 3;

impl ProxyRefusal {
    /// How many there are.
    pub const COUNT: usize = OTHERS + ProxyMistake::ALL.len();

    /// All of them, in their order.
    pub fn all() -> impl Iterator<Item = Self> {
        let others: [Self; OTHERS] = [Self::Stranger, Self::TimedOut, Self::Twice];
        others.into_iter().chain(ProxyMistake::ALL.into_iter().map(Self::Mistake))
    }

    /// Its place among all.
    #[must_use]
    pub const fn place(self) -> usize {
        match self {
            Self::Stranger => 0,
            Self::TimedOut => 1,
            Self::Twice => 2,
            Self::Mistake(mistake) => OTHERS + mistake.place(),
        }
    }

    /// Its name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stranger => "stranger",
            Self::TimedOut => "timed_out",
            Self::Twice => "twice",
            Self::Mistake(mistake) => mistake.name(),
        }
    }
}

impl fmt::Display for ProxyRefusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stranger => out.write_str(
                "it is in none of the networks of `proxy?from`; does it come past the proxy, or is \
                 the proxy not listed?",
            ),
            Self::TimedOut => out.write_str(
                "its PROXY header was not there in time; does the proxy send one at once?",
            ),
            Self::Twice => out.write_str(
                "another PROXY header is behind the first; let one proxy of the chain send it",
            ),
            Self::Mistake(ProxyMistake::TooLong) => out.write_str(
                "its PROXY header is longer than `proxy?max` allows; raise that, or let the proxy \
                 send less with it",
            ),
            Self::Mistake(mistake) => mistake.fmt(out),
        }
    }
}

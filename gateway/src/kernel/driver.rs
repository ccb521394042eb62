//! What carries the shards.

use std::fmt;

/// How a shard asks the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// By a ring of each shard (io_uring(7)).
    IoUring,
    /// By a system call for each operation, and an epoll instance of each shard (epoll(7)).
    Epoll,
}

impl Driver {
    /// All there are.
    pub const ALL: [Self; 2] = [Self::IoUring, Self::Epoll];

    /// Its name in the configuration, in metrics and in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

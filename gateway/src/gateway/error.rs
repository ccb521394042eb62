//! Why a gateway does not start, and why one ends.

use std::fmt;
use std::io;

use crate::bill::OverBudget;
use crate::config::BuiltWrong;

pub use super::driver::TooFewDescriptors;
pub use crate::access_log::AccessLogError;
pub use crate::checks::WrongKeyFile;
pub use crate::control::AdminError;
pub use crate::kernel::RingError;
pub use crate::listen::{ListenError, PassedError};
pub use crate::protocol::services::NoHandler;
pub use crate::transport::tls::WrongFile;

/// The gateway did not start. Nothing of it is left: no thread, and no socket. Displayed, it says
/// what to do; so it does by `Debug`, which is how an error is shown that `main` returns.
#[non_exhaustive]
pub enum StartError {
    /// The configuration, put together by a program, is wrong.
    Config(BuiltWrong),
    /// The shards might come to hold more than the configuration allows.
    Budget(OverBudget),
    /// There are too few descriptors for all connections.
    Descriptors(TooFewDescriptors),
    /// An address cannot be listened on.
    Listen(ListenError),
    /// A socket that was handed in is not wanted.
    Passed(PassedError),
    /// The kernel refused a descriptor to wake a shard by.
    Waker(io::Error),
    /// A shard's thread could not be started.
    Thread {
        /// Which shard.
        shard: usize,
        /// Why.
        error: io::Error,
    },
    /// A shard could not be set up.
    Ring {
        /// Which shard.
        shard: usize,
        /// Why.
        error: RingError,
    },
    /// Files of certificates, keys or authorities cannot be used: all of them.
    Tls(Vec<WrongFile>),
    /// Files of keys that tokens are verified with, of tokens or passwords cannot be used: all of
    /// them.
    Keys(Vec<WrongKeyFile>),
    /// A thread that verifies tokens or hashes passwords could not be started.
    Verifier(io::Error),
    /// The access log did not start.
    AccessLog(AccessLogError),
    /// Nobody makes the handler of a route.
    NoHandler(NoHandler),
    /// The program makes a handler for this path, and no route has it.
    NoRoute(String),
    /// A shard ended while it was set up.
    Shard(ShardError),
    /// The control thread did not start.
    Admin(AdminError),
}

/// A shard ended though it was not told to. The others were stopped then: they could not serve the
/// clients that the kernel deals out to the one that is gone.
#[derive(Debug)]
pub struct ShardError {
    /// Which shard; the one with the lowest number, if there are several.
    pub shard: usize,
    /// Why.
    pub cause: ShardEnd,
}

/// Why a shard ended.
#[derive(Debug)]
pub enum ShardEnd {
    /// Its ring is beyond use.
    Ring(io::Error),
    /// It panicked, with this message.
    Panic(String),
}

impl fmt::Debug for StartError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => write!(out, "the configuration is wrong: {error}"),
            Self::Budget(error) => error.fmt(out),
            Self::Descriptors(error) => error.fmt(out),
            Self::Listen(error) => error.fmt(out),
            Self::Passed(error) => error.fmt(out),
            Self::Tls(wrong) => {
                let lines: Vec<String> = wrong.iter().map(ToString::to_string).collect();
                out.write_str(&lines.join("\n"))
            }
            Self::Keys(wrong) => {
                let lines: Vec<String> = wrong.iter().map(ToString::to_string).collect();
                out.write_str(&lines.join("\n"))
            }
            Self::Verifier(error) => write!(
                out,
                "a thread that verifies tokens or hashes passwords could not be started ({error}): \
                 raise the limit of threads (`ulimit -u`, or `TasksMax` in a systemd unit)"
            ),
            Self::Waker(error) => write!(
                out,
                "each shard needs a few file descriptors, and one was refused ({error}): raise \
                 `ulimit -n`, or set fewer shards"
            ),
            Self::Thread { shard, error } => write!(
                out,
                "the thread of shard {shard} could not be started ({error}): raise the limit of \
                 threads (`ulimit -u`, or `TasksMax` in a systemd unit), or set fewer shards"
            ),
            Self::Ring { shard, error } => write!(out, "shard {shard}: {error}"),
            Self::AccessLog(error) => error.fmt(out),
            Self::NoHandler(error) => error.fmt(out),
            Self::NoRoute(path) => write!(
                out,
                "the program makes a handler for the path {path}, and no route has it: write the \
                 path as the route's, or add a route for it"
            ),
            Self::Shard(error) => error.fmt(out),
            Self::Admin(error) => error.fmt(out),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Config(error) => Some(error),
            Self::Budget(error) => Some(error),
            Self::Descriptors(error) => Some(error),
            Self::Listen(error) => Some(error),
            Self::Passed(error) => Some(error),
            Self::Waker(error) | Self::Verifier(error) | Self::Thread { error, .. } => Some(error),
            Self::NoRoute(_) | Self::Tls(_) | Self::Keys(_) => None,
            Self::Ring { error, .. } => Some(error),
            Self::AccessLog(error) => Some(error),
            Self::NoHandler(error) => Some(error),
            Self::Shard(error) => Some(error),
            Self::Admin(error) => Some(error),
        }
    }
}

impl fmt::Display for ShardError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shard = self.shard;
        match &self.cause {
            ShardEnd::Ring(error) => write!(out, "shard {shard} failed: its ring: {error}")?,
            ShardEnd::Panic(message) => write!(out, "shard {shard} panicked: {message}")?,
        }
        out.write_str("; all shards were stopped")
    }
}

impl std::error::Error for ShardError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            ShardEnd::Ring(error) => Some(error),
            ShardEnd::Panic(_) => None,
        }
    }
}

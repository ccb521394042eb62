//! Why a configuration is not taken over.

use std::fmt;
use std::io;
use std::time::Duration;

use super::WrongFile;
use crate::access_log::AccessLogError;
use crate::bill::OverBudget;
use crate::checks::WrongKeyFile;
use crate::config::BuiltWrong;
use crate::listen::ListenError;
use crate::shard::{NotPrepared, TooManyAddresses, TooManyNames};

/// A configuration is not taken over: all is as it was. Displayed, it says what to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum NotChanged {
    /// The program has not said where its configuration is.
    NoSource,
    /// It cannot be read, or all that is wrong with it.
    Config(String),
    /// It is right by itself, but not with what stays as it is until a restart.
    Mixed(BuiltWrong),
    /// The shards might come to hold more than it allows.
    Budget(OverBudget),
    /// The program makes a handler for this path, and no route has it any longer.
    NoRoute(String),
    /// Files of certificates, keys or authorities cannot be used: all of them.
    Files(Vec<WrongFile>),
    /// Files of keys that tokens are verified with, of tokens or passwords cannot be used: all of
    /// them.
    Keys(Vec<WrongKeyFile>),
    /// An address cannot be listened on.
    Listen(ListenError),
    /// There are too few open files for the sockets: what to do.
    OpenFiles(String),
    /// There are no numbers left for its listeners.
    Addresses(TooManyAddresses),
    /// What lines of the access log go to cannot be opened, or its thread could not be started.
    AccessLog(AccessLogError),
    /// A shard cannot have what it says.
    Shard(NotPrepared),
    /// There are no numbers left for its routes.
    Names(TooManyNames),
    /// Shards were not ready in this time.
    Late(Duration),
    /// One is read already, and will be once more behind that.
    UnderWay,
    /// A thread could not be started.
    Thread(io::Error),
    /// The gateway ends.
    Ending,
}

impl fmt::Display for NotChanged {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSource => out.write_str(
                "the program that embeds the gateway has not said where its configuration is",
            ),
            Self::Config(wrong) => out.write_str(wrong),
            Self::Mixed(wrong) => write!(
                out,
                "{wrong}; it is right by itself, but not beside what stays as it is until a \
                 restart: start the gateway anew, or change that alone first"
            ),
            Self::Budget(over) => over.fmt(out),
            Self::NoRoute(path) => write!(
                out,
                "the program makes a handler for {path}, and no route has this path any longer"
            ),
            Self::Files(wrong) => joined(out, wrong),
            Self::Keys(wrong) => joined(out, wrong),
            Self::Listen(why) => why.fmt(out),
            Self::OpenFiles(why) => out.write_str(why),
            Self::Addresses(why) => why.fmt(out),
            Self::AccessLog(why) => why.fmt(out),
            Self::Shard(why) => why.fmt(out),
            Self::Names(why) => why.fmt(out),
            Self::Late(time) => write!(
                out,
                "the shards were not ready within {} s: ask again when they have less to do",
                time.as_secs()
            ),
            Self::UnderWay => {
                out.write_str("a configuration is taken over already: ask again once that is done")
            }
            Self::Thread(error) => write!(
                out,
                "a thread could not be started for it ({error}): raise the limit of threads \
                 (`ulimit -u`, or `TasksMax` in a systemd unit)"
            ),
            Self::Ending => out.write_str("the gateway ends"),
        }
    }
}

/// All of them, on one line.
fn joined<T: fmt::Display>(out: &mut fmt::Formatter<'_>, all: &[T]) -> fmt::Result {
    for (at, one) in all.iter().enumerate() {
        write!(out, "{}{one}", if at > 0 { "; " } else { "" })?;
    }
    Ok(())
}

impl std::error::Error for NotChanged {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Mixed(error) => Some(error),
            Self::Budget(error) => Some(error),
            Self::Listen(error) => Some(error),
            Self::Addresses(error) => Some(error),
            Self::AccessLog(error) => Some(error),
            Self::Shard(error) => Some(error),
            Self::Names(error) => Some(error),
            Self::Thread(error) => Some(error),
            _ => None,
        }
    }
}

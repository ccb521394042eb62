//! The layer `unix`: sockets that processes of this machine connect to (unix(7)).

use std::fmt;
use std::ops::RangeInclusive;

use super::options::Options;
use super::place::{Place, SOCKET};
use super::values::{LISTEN_BACKLOGS, number_in};
use super::writer::LayerWriter;
use super::{SocketLayer, Stack};
use crate::config::built::{self, BuiltWrong};
use crate::units::quote;

/// Its place in a stack.
pub(super) const PLACE: Place = Place {
    name: "unix",
    at: "",
    rank: SOCKET,
    is_needed: true,
    read,
    agrees: |_| Ok(()),
    shown: |stack| match &stack.socket {
        SocketLayer::Unix(unix) => Some(unix),
        SocketLayer::Tcp(_) => None,
    },
    check: |stack, field| match &stack.socket {
        SocketLayer::Unix(unix) => unix.check(&format!("{field}.socket")),
        SocketLayer::Tcp(_) => Ok(()),
    },
};

/// The bounds of `mode`. A socket that nobody may connect to would be none.
const MODES: RangeInclusive<u32> = 0o1..=0o777;
/// The most characters of a user's or a group's name (useradd(8) takes 32).
const NAME_MAX: usize = 256;

/// The layer `unix`. Sizes of socket buffers are not among its options: the kernel gives accepted
/// sockets those of `net.core.wmem_default`, whatever their listener has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixLayer {
    /// Option `mode`: the permissions of the socket's file, of which writing is what lets connect,
    /// 0o1 to 0o777, written in octal. Default 0o660. It means nothing for an abstract name.
    pub mode: u32,
    /// Option `owner`: whose the socket's file is: `USER`, `USER:GROUP` or `:GROUP`, names or
    /// numbers. Default `None`: whose the process is.
    pub owner: Option<SocketOwner>,
    /// Option `backlog`: connections that may wait to be accepted, of all shards together, 1 to
    /// 65535; the kernel caps it at `net.core.somaxconn`. Default 4096.
    pub backlog: u32,
}

/// Whose the file of a socket is; at least one of both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketOwner {
    /// The user; `None` for that of the process.
    pub user: Option<OwnerName>,
    /// The group; `None` for that of the process.
    pub group: Option<OwnerName>,
}

/// A user or a group of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnerName {
    /// By its number.
    Number(u32),
    /// By its name, which is looked up at the start.
    Name(String),
}

impl Default for UnixLayer {
    fn default() -> Self {
        Self { mode: 0o660, owner: None, backlog: 4096 }
    }
}

fn read(mut options: Options<'_, '_>, stack: &mut Stack) {
    let default = UnixLayer::default();
    stack.socket = SocketLayer::Unix(UnixLayer {
        mode: options.read("mode", default.mode, mode),
        owner: options.read("owner", default.owner, |text| owner(text).map(Some)),
        backlog: options.read("backlog", default.backlog, |text| number_in(text, &LISTEN_BACKLOGS)),
    });
    options.finish();
}

fn mode(text: &str) -> Result<u32, String> {
    let is_octal = !text.is_empty() && text.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
    let mode = is_octal.then(|| u32::from_str_radix(text, 8).ok()).flatten();
    mode.filter(|mode| MODES.contains(mode)).ok_or_else(|| {
        let is = quote(text);
        format!("must be permissions in octal, 1 to 777, such as `660`, is {is}")
    })
}

fn owner(text: &str) -> Result<SocketOwner, String> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => ((!user.is_empty()).then_some(user), Some(group)),
        None => (Some(text), None),
    };
    let is_named = user.is_some() || group.is_some_and(|group| !group.is_empty());
    let name = |name: Option<&str>| name.map(OwnerName::read).transpose();
    match (is_named, name(user), name(group)) {
        (true, Ok(user), Ok(group)) => Ok(SocketOwner { user, group }),
        _ => Err(format!(
            "must be `USER`, `USER:GROUP` or `:GROUP`, names or numbers, is {}",
            quote(text)
        )),
    }
}

impl UnixLayer {
    /// Checks what a program has put together, which is `field` of the configuration.
    fn check(&self, field: &str) -> Result<(), BuiltWrong> {
        built::number(format!("{field}.mode"), self.mode, &MODES)?;
        built::number(format!("{field}.backlog"), self.backlog, &LISTEN_BACKLOGS)?;
        let Some(written) = &self.owner else { return Ok(()) };
        match owner(&written.to_string()) {
            Ok(read) if read == *written => Ok(()),
            _ => Err(BuiltWrong(format!("{field}.owner: a user, a group or both, by their names"))),
        }
    }
}

impl OwnerName {
    /// Reads a name or a number. `Err` where it can be neither.
    fn read(text: &str) -> Result<Self, ()> {
        if let Ok(number) = text.parse() {
            // chown(2): "-1" leaves it as it is.
            return if number == u32::MAX { Err(()) } else { Ok(Self::Number(number)) };
        }
        let may_stand = |letter: char| {
            letter.is_alphanumeric() || matches!(letter, '_' | '-' | '.' | '$' | '@' | '\\')
        };
        let is_name = (1..=NAME_MAX).contains(&text.len())
            && text.chars().all(may_stand)
            && !text.bytes().all(|byte| byte.is_ascii_digit());
        is_name.then(|| Self::Name(text.into())).ok_or(())
    }
}

impl fmt::Display for UnixLayer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = Self::default();
        let mut written = LayerWriter::begin("unix", out)?;
        written.option("mode", format_args!("{:o}", self.mode), self.mode == default.mode)?;
        if let Some(owner) = &self.owner {
            written.option("owner", owner, false)?;
        }
        written.option("backlog", self.backlog, self.backlog == default.backlog)
    }
}

impl fmt::Display for SocketOwner {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(out, "{user}")?;
        }
        match &self.group {
            Some(group) => write!(out, ":{group}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for OwnerName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(out, "{number}"),
            Self::Name(name) => out.write_str(name),
        }
    }
}

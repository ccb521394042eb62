//! Where is listened: an IP address and a port, or a Unix socket (unix(7)).

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::str::FromStr;

use super::stack::{SocketLayer, Stack, UnixLayer};
use crate::units::quote;

/// An address that is listened on. Displayed, it is as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// An IP address and a port.
    Ip(SocketAddr),
    /// A Unix socket: `unix:` and what it is called.
    Unix(UnixAddress),
}

/// What a Unix socket is called.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UnixAddress {
    /// By a file, whose path is absolute.
    Path(PathBuf),
    /// By a name that no file has, written with `@` before it. Whoever is in the same network
    /// namespace may connect.
    Abstract(String),
}

/// The most bytes of a path or of `@` and a name: `sun_path` has 108, of which one is a zero.
const UNIX_MAX: usize = 107;

impl ListenAddress {
    /// The IP address and the port, if it is that.
    #[must_use]
    pub fn ip(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// The port, if it has one.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.ip().map(|address| address.port())
    }

    /// Whether others than this machine may reach it.
    pub(super) fn is_open(&self) -> bool {
        self.ip().is_some_and(|address| !address.ip().is_loopback())
    }

    /// Whether two listeners there would share one port or one socket. Port 0 is another one each
    /// time.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self == other && self.port() != Some(0)
    }

    /// Whether the control thread cannot listen on `admin` beside a listener here: only sockets
    /// that all ask for it share a port, and an address that stands for all has each of its family.
    pub(super) fn excludes(&self, admin: &Self) -> bool {
        let (Some(address), Some(admin)) = (self.ip(), admin.ip()) else { return self == admin };
        let (one, other) = (address.ip(), admin.ip());
        let overlaps = one == other || one.is_unspecified() || other.is_unspecified();
        address.port() == admin.port()
            && address.port() != 0
            && one.is_ipv4() == other.is_ipv4()
            && overlaps
    }

    /// By what another one would differ.
    pub(super) fn differs_by(&self) -> &'static str {
        match self {
            Self::Ip(_) => "port",
            Self::Unix(_) => "name",
        }
    }

    /// The stack with the layer for such an address, which is by default if it had the other one.
    pub(super) fn adapt(&self, stack: Stack) -> Stack {
        let socket = match (self, stack.socket) {
            (Self::Ip(_), socket @ SocketLayer::Tcp(_))
            | (Self::Unix(_), socket @ SocketLayer::Unix(_)) => socket,
            (Self::Ip(_), _) => SocketLayer::default(),
            (Self::Unix(_), _) => SocketLayer::Unix(UnixLayer::default()),
        };
        Stack { socket, ..stack }
    }

    /// Checks that a stack is for such an address.
    pub(super) fn check(&self, stack: &Stack) -> Result<(), String> {
        match (self, &stack.socket) {
            (Self::Ip(_), SocketLayer::Tcp(_)) => Ok(()),
            (Self::Ip(_), SocketLayer::Unix(_)) => Err(format!(
                "`unix` is for an address such as \"unix:/run/tidegate.sock\", and {self} is of \
                 IP: write `tcp` in its place"
            )),
            (Self::Unix(_), SocketLayer::Tcp(_)) => {
                Err(format!("`tcp` is for an IP address, and not for {self}: write `unix`"))
            }
            (Self::Unix(UnixAddress::Path(_)), SocketLayer::Unix(_)) => Ok(()),
            (Self::Unix(UnixAddress::Abstract(_)), SocketLayer::Unix(layer)) => {
                let default = UnixLayer::default();
                if layer.mode != default.mode || layer.owner.is_some() {
                    return Err(format!(
                        "`unix?mode` and `unix?owner` mean nothing for {self}, which is no file: \
                         remove them, or take a path"
                    ));
                }
                match stack.proxy {
                    None => Ok(()),
                    Some(_) => Err(format!(
                        "`proxy` cannot stand over {self}: whoever connects could say to be \
                         anyone, and no mode says who may connect to an abstract name. Take a path \
                         in its place, such as \"unix:/run/tidegate/proxy.sock\", which by \
                         `unix?mode` and `unix?owner` only your proxies may connect to"
                    )),
                }
            }
        }
    }

    /// Checks what a program has put together.
    pub(super) fn check_name(&self) -> Result<(), String> {
        match self {
            Self::Ip(_) => Ok(()),
            Self::Unix(address) => address.check(),
        }
    }
}

impl UnixAddress {
    fn parse(text: &str) -> Result<Self, String> {
        let address = match text.strip_prefix('@') {
            Some(name) => Self::Abstract(name.into()),
            None => Self::Path(text.into()),
        };
        address.check().map(|()| address)
    }

    fn check(&self) -> Result<(), String> {
        let example = "such as \"unix:/run/tidegate.sock\" or \"unix:@tidegate\"";
        let (length, bytes) = match self {
            Self::Path(path) => (path.as_os_str().len(), path.as_os_str().as_bytes()),
            Self::Abstract(name) => (name.len() + 1, name.as_bytes()),
        };
        match self {
            Self::Path(path) if path.as_os_str().is_empty() => {
                Err(format!("must have a path, or `@` and a name, behind `unix:`, {example}"))
            }
            Self::Abstract(name) if name.is_empty() => {
                Err(format!("must have a name behind `unix:@`, {example}"))
            }
            Self::Path(path) if !path.is_absolute() => {
                let is = quote(&path.to_string_lossy());
                Err(format!("must have an absolute path behind `unix:`, {example}, is {is}"))
            }
            Self::Path(path) if path.file_name().is_none() => {
                let is = quote(&path.to_string_lossy());
                Err(format!("must have the path of a file behind `unix:`, {example}, is {is}"))
            }
            _ if bytes.contains(&0) => Err("must not have a zero byte".into()),
            // It stands in lines of the log.
            _ if bytes.iter().any(u8::is_ascii_control) => {
                Err("must not have control characters".into())
            }
            _ if length > UNIX_MAX => Err(format!(
                "must have at most {UNIX_MAX} bytes behind `unix:`, which is all that the kernel \
                 takes, has {length}"
            )),
            _ => Ok(()),
        }
    }
}

impl From<SocketAddr> for ListenAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

impl ToSocketAddrs for ListenAddress {
    type Iter = std::option::IntoIter<SocketAddr>;

    /// The IP address. A Unix socket has none, which is an error.
    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        let wrong =
            || io::Error::new(io::ErrorKind::InvalidInput, "a Unix socket has no IP address");
        self.ip().ok_or_else(wrong).map(|address| Some(address).into_iter())
    }
}

impl FromStr for ListenAddress {
    type Err = String;

    /// Reads an address. The error says what to write.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix("unix:") {
            return UnixAddress::parse(name).map(Self::Unix);
        }
        text.parse().map(Self::Ip).map_err(|_| {
            let is = quote(text);
            format!(
                "must be an IP address and a port, such as \"127.0.0.1:8080\" or \"[::1]:8080\", \
                 or a Unix socket, such as \"unix:/run/tidegate.sock\", is {is}"
            )
        })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(out),
            Self::Unix(address) => write!(out, "unix:{address}"),
        }
    }
}

impl fmt::Display for UnixAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(out),
            Self::Abstract(name) => write!(out, "@{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_written() {
        let longest = format!("unix:/{}", "a".repeat(106));
        for text in ["127.0.0.1:80", "[::1]:0", "unix:/run/x.sock", "unix:@x/y z", &longest] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_says_what_to_write() {
        for (text, wrong) in [
            ("unix:", "must have a path, or `@` and a name, behind `unix:`"),
            ("unix:@", "must have a name behind `unix:@`"),
            ("unix:x.sock", "must have an absolute path behind `unix:`"),
            ("unix:/", "must have the path of a file behind `unix:`"),
            ("unix:@a\0", "must not have a zero byte"),
            ("unix:@a\n", "must not have control characters"),
            ("unix:/run/\x1b[31m", "must not have control characters"),
            ("/run/x.sock", "must be an IP address and a port"),
            ("localhost:80", "must be an IP address and a port"),
        ] {
            let error = text.parse::<ListenAddress>().unwrap_err();
            assert!(error.starts_with(wrong), "{text}: {error}");
        }
        for name in [format!("unix:/{}", "a".repeat(107)), format!("unix:@{}", "a".repeat(107))] {
            let error = name.parse::<ListenAddress>().unwrap_err();
            assert!(error.ends_with("has 108"), "{error}");
        }
    }

    #[test]
    fn a_stack_is_for_its_kind_of_address() {
        let of = |text: &str| text.parse::<ListenAddress>().unwrap();
        let (ip, path, name) = (of("127.0.0.1:80"), of("unix:/run/x"), of("unix:@x"));
        let stack = |text: &str| Stack::parse(text).unwrap();
        for (address, text, wrong) in [
            (&ip, "ws!unix", "`unix` is for an address such as"),
            (&path, "ws!tcp", "`tcp` is for an IP address, and not for unix:/run/x"),
            (&name, "ws!unix?mode=600", "`unix?mode` and `unix?owner` mean nothing for unix:@x"),
            (&name, "ws!proxy!unix", "`proxy` cannot stand over unix:@x: whoever connects could"),
        ] {
            let error = address.check(&stack(text)).unwrap_err();
            assert!(error.starts_with(wrong), "{error}");
        }
        let proxied = "ws!proxy!unix?mode=600";
        for (address, text) in [(&ip, "ws!tcp"), (&path, proxied), (&name, "ws!unix")] {
            assert_eq!(address.check(&stack(text)), Ok(()));
            assert_eq!(address.adapt(stack(text)), stack(text));
        }
        assert_eq!(path.adapt(stack("log!ws!tcp?backlog=1")), stack("log!ws!unix"));
        assert_eq!(ip.adapt(stack("log!ws!unix?mode=1")), stack("log!ws!tcp"));
    }
}

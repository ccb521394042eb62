//! Sockets of this machine alone, by the path of a file or by an abstract name (unix(7)).
//!
//! A path is locked first, and for as long as its socket is there: of several that start at once
//! one has it. So what is there and does not listen was left over by a gateway that has crashed,
//! and is replaced. The new file has its permissions and its owner before the socket listens, and
//! until then the kernel refuses everybody: nobody connects who may not.

use std::fmt;
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, lchown};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use nix::unistd::{Group, User};
use socket2::{Domain, SockAddr, Socket, Type};

use super::{ListenError, PATIENCE, PAUSE, fail};
use crate::config::stack::{OwnerName, SocketOwner, UnixLayer};
use crate::config::{ListenAddress, UnixAddress};
use crate::kernel::{ListeningSocket, SocketFile, SocketLock};

/// How far a socket is made ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// It has its name, and nobody can connect.
    Bound,
    /// It listens.
    Listening,
}

/// A socket at `address` with what its layer says.
///
/// # Errors
/// Something listens there or is there that is no socket, or the kernel refuses.
pub(super) fn open(
    address: &UnixAddress,
    layer: &UnixLayer,
    until: Until,
) -> Result<ListeningSocket, ListenError> {
    let shown = ListenAddress::Unix(address.clone());
    match address {
        UnixAddress::Path(path) => of_path(path, layer, until, &shown),
        UnixAddress::Abstract(name) => {
            let socket = socket().map_err(fail(&shown, "making a socket for"))?;
            bind_name(&socket, name).map_err(fail(&shown, "binding"))?;
            listen(&socket, layer, until).map_err(fail(&shown, "listening on"))?;
            Ok(ListeningSocket::Unix(UnixListener::from(socket), None))
        }
    }
}

/// Gives the file of a socket that listens the mode and owner that its layer says.
///
/// # Errors
/// The kernel refuses.
pub(super) fn give_file(address: &UnixAddress, layer: &UnixLayer) -> Result<(), ListenError> {
    let UnixAddress::Path(path) = address else { return Ok(()) };
    let shown = ListenAddress::Unix(address.clone());
    set_permissions(path, layer).map_err(fail(&shown, "setting the mode and owner of"))
}

fn of_path(
    path: &Path,
    layer: &UnixLayer,
    until: Until,
    shown: &ListenAddress,
) -> Result<ListeningSocket, ListenError> {
    let lock = patiently(|| SocketLock::take(path)).map_err(fail(shown, "locking"))?;
    check_unused(path).map_err(fail(shown, "looking who listens on"))?;
    let socket = socket().map_err(fail(shown, "making a socket for"))?;
    let file = bind_path(&socket, path, lock).map_err(fail(shown, "making a file for"))?;
    set_permissions(path, layer).map_err(fail(shown, "setting the mode and owner of"))?;
    // Last: connect(2) is refused by a socket that does not listen, whatever its file allows.
    listen(&socket, layer, until).map_err(fail(shown, "listening on"))?;
    Ok(ListeningSocket::Unix(UnixListener::from(socket), Some(Arc::new(file))))
}

fn socket() -> io::Result<Socket> {
    Socket::new(Domain::UNIX, Type::STREAM, None)
}

/// Binds to a path that is locked, in place of a socket that was left over.
fn bind_path(socket: &Socket, path: &Path, lock: SocketLock) -> io::Result<SocketFile> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    socket.bind(&SockAddr::unix(path)?)?;
    SocketFile::at(path, lock)
}

/// Binds to an abstract name, which may be free in a moment: the kernel ends rings in the
/// background.
fn bind_name(socket: &Socket, name: &str) -> io::Result<()> {
    let address = SockAddr::unix(format!("\0{name}"))?;
    patiently(|| match socket.bind(&address) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => Ok(None),
        result => result.map(Some),
    })
}

/// What `look` finds, which may be some moments away.
///
/// # Errors
/// As of `look`; `EADDRINUSE` if it has found nothing for as long as [`PATIENCE`].
fn patiently<T>(mut look: impl FnMut() -> io::Result<Option<T>>) -> io::Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if begun.elapsed() >= PATIENCE {
            return Err(io::Error::from_raw_os_error(libc::EADDRINUSE));
        }
        thread::sleep(PAUSE);
    }
}

fn listen(socket: &Socket, layer: &UnixLayer, until: Until) -> io::Result<()> {
    match until {
        Until::Bound => Ok(()),
        Until::Listening => socket.listen(i32::try_from(layer.backlog).unwrap_or(i32::MAX)),
    }
}

/// Checks that nobody listens at a path, and that what is there may be replaced. Whoever knows the
/// lock does not listen; others may, such as a service manager.
fn check_unused(path: &Path) -> io::Result<()> {
    patiently(|| {
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Some(())),
            Err(error) => return Err(error),
            Ok(found) if !found.file_type().is_socket() => {
                return Err(io::Error::from_raw_os_error(libc::EEXIST));
            }
            Ok(_) => {}
        }
        match connect(path) {
            // Left over, or gone since.
            Err(error)
                if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) =>
            {
                Ok(Some(()))
            }
            // Somebody listens, whose backlog is full; or it is a socket of another kind.
            Ok(()) => Ok(None),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EPROTOTYPE)) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    })
}

/// Connects without waiting.
fn connect(path: &Path) -> io::Result<()> {
    let socket = socket()?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)
}

fn set_permissions(path: &Path, layer: &UnixLayer) -> io::Result<()> {
    // Before the owner: what is another's cannot be changed by this process without privileges.
    fs::set_permissions(path, Permissions::from_mode(layer.mode))?;
    let Some(SocketOwner { user, group }) = &layer.owner else { return Ok(()) };
    lchown(
        path,
        user.as_ref().map(user_number).transpose()?,
        group.as_ref().map(group_number).transpose()?,
    )
}

fn user_number(name: &OwnerName) -> io::Result<u32> {
    match name {
        OwnerName::Number(number) => Ok(*number),
        OwnerName::Name(name) => {
            let found = User::from_name(name)?.map(|user| user.uid.as_raw());
            found.ok_or_else(|| nobody("user", name))
        }
    }
}

fn group_number(name: &OwnerName) -> io::Result<u32> {
    match name {
        OwnerName::Number(number) => Ok(*number),
        OwnerName::Name(name) => {
            let found = Group::from_name(name)?.map(|group| group.gid.as_raw());
            found.ok_or_else(|| nobody("group", name))
        }
    }
}

fn nobody(what: &str, name: &str) -> io::Error {
    io::Error::new(ErrorKind::NotFound, format!("there is no {what} {name} on this machine"))
}

/// What is wrong with a Unix socket, and what to do about it.
pub(super) fn explain(wrong: &ListenError, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    let ListenError { address, doing, error } = wrong;
    match error.raw_os_error() {
        Some(libc::EADDRINUSE) => write!(
            out,
            "{address} is in use: something listens there already, or is about to ({error}); find \
             it with `ss -lxp` or `lslocks`, or listen on another path"
        ),
        Some(libc::EEXIST) => write!(
            out,
            "{address} is there and is no socket, so it is not replaced: take another path, or \
             remove it if nobody needs it"
        ),
        Some(libc::ENOENT) => write!(
            out,
            "{doing} {address}: its folder is not there ({error}): make it, or have systemd do so \
             by `RuntimeDirectory=`"
        ),
        Some(libc::EACCES | libc::EPERM | libc::EROFS) => write!(
            out,
            "{doing} {address} is refused to this user ({error}): the folder must be one that it \
             may write to, and only root gives a socket to others than itself and its groups"
        ),
        _ => write!(out, "{doing} {address}: {error}"),
    }
}

/// What a socket that was passed is called, if that can be configured.
pub(super) fn named(address: &SockAddr) -> Option<UnixAddress> {
    if let Some(path) = address.as_pathname() {
        return Some(UnixAddress::Path(path.to_owned()));
    }
    let name = address.as_abstract_namespace()?;
    std::str::from_utf8(name).ok().map(|name| UnixAddress::Abstract(name.to_owned()))
}

#[cfg(test)]
mod tests;

//! The socket of the local syslog that lines go to.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// RFC 5424 section 6.2.1: facility `local7` (23), as nginx has it, and severity `info` (6).
const PRIORITY: u32 = 23 * 8 + 6;

/// How long after a connection failed the next one is tried.
const PAUSE: Duration = Duration::from_secs(1);

/// A socket of this machine's syslog. Each line is a datagram, as syslog(3) sends it but for the
/// time, which whoever receives it knows: that of the sender would be in a zone that is not said.
pub(super) struct Syslog {
    path: PathBuf,
    socket: UnixDatagram,
    /// What stands before each line.
    start: Vec<u8>,
    datagram: Vec<u8>,
    /// When it was found not to be connected, if it is not.
    lost_at: Option<Instant>,
}

impl Syslog {
    /// Connects to the socket at this path.
    ///
    /// # Errors
    /// Nobody is there.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let start = format!("<{PRIORITY}>tidegate[{}]: ", std::process::id()).into_bytes();
        let socket = connect(path)?;
        Ok(Self { path: path.to_path_buf(), socket, start, datagram: Vec::new(), lost_at: None })
    }

    /// Connects anew.
    ///
    /// # Errors
    /// Nobody is there: then all goes on as it was.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        self.socket = connect(&self.path)?;
        self.lost_at = None;
        Ok(())
    }

    /// Sends one line, its end left out.
    ///
    /// # Errors
    /// It was not sent. Where nobody receives it any longer, another connection is tried, once in a
    /// second.
    pub(super) fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(lost_at) = self.lost_at {
            if lost_at.elapsed() < PAUSE {
                return Err(io::ErrorKind::NotConnected.into());
            }
            self.lost_at = Some(Instant::now());
            self.reopen()?;
        }
        let said = line.strip_suffix(b"\n").unwrap_or(line);
        self.datagram.clear();
        self.datagram.extend_from_slice(&self.start);
        self.datagram.extend_from_slice(said);
        match self.socket.send(&self.datagram) {
            Ok(_) => Ok(line.len()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            Err(error) => {
                // Whoever received there has ended, and may be there again.
                self.lost_at = Some(Instant::now());
                if self.reopen().is_err() {
                    return Err(error);
                }
                self.socket.send(&self.datagram).map(|_| line.len())
            }
        }
    }
}

impl AsFd for Syslog {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Whether somebody is there.
///
/// # Errors
/// Nobody is.
pub(super) fn check(path: &Path) -> io::Result<()> {
    connect(path).map(drop)
}

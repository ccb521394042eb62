//! Headers into bytes: what a proxy says.

use core::fmt::Write as _;
use core::net::{IpAddr, SocketAddr};
use core::{error, fmt};

use super::checksum::checksum_of_header;
use super::tlv::{CHECKSUM, Tlv};
use super::version_2::{AddressFamily, FIXED, LOCAL, PROXY, SIGNATURE, UNIX_ADDRESS};
use super::{Endpoints, version_1};

/// Why no header was written. Each is our own fault, and nothing goes on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyWriteError {
    /// The buffer is too small for the header, or the header for its length.
    NoRoom,
    /// The version has no words for these endpoints: none has for addresses of two families, and
    /// version 1 has only for TCP.
    NoWords,
}

impl fmt::Display for ProxyWriteError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::NoRoom => "the PROXY header does not fit",
            Self::NoWords => "the PROXY header has no words for these endpoints",
        })
    }
}

impl error::Error for ProxyWriteError {}

/// Writes a header of version 1 to the start of `out`, and yields its length in bytes, at most
/// [`MAX_LINE`](super::MAX_LINE).
///
/// # Errors
/// There is no room for it, or the endpoints are neither unknown nor TCP.
pub fn write_v1(out: &mut [u8], endpoints: &Endpoints<'_>) -> Result<usize, ProxyWriteError> {
    let mut room = HeaderRoom { out, used: 0 };
    room.bytes(version_1::SIGNATURE)?;
    match endpoints {
        Endpoints::Unknown => room.bytes(b"UNKNOWN\r\n")?,
        Endpoints::Tcp { source, destination } => {
            let name = match family(source, destination)? {
                AddressFamily::Tcp4 => "TCP4",
                _ => "TCP6",
            };
            let (from, to) = (source.ip(), destination.ip());
            let ports = (source.port(), destination.port());
            write!(room, "{name} {from} {to} {} {}\r\n", ports.0, ports.1)
                .map_err(|_| ProxyWriteError::NoRoom)?;
        }
        Endpoints::Local | Endpoints::Unix { .. } => return Err(ProxyWriteError::NoWords),
    }
    Ok(room.used)
}

/// Writes a header of version 2 to the start of `out`, and yields its length in bytes. A
/// [`CHECKSUM`] of four bytes gets its value.
///
/// # Errors
/// There is no room for it, or the addresses are of two families.
pub fn write_v2(
    out: &mut [u8],
    endpoints: &Endpoints<'_>,
    tlvs: &[Tlv<'_>],
) -> Result<usize, ProxyWriteError> {
    let mut room = HeaderRoom { out, used: 0 };
    let (command, family) = match endpoints {
        Endpoints::Local => (LOCAL, AddressFamily::Unspecified),
        Endpoints::Unknown => (PROXY, AddressFamily::Unspecified),
        Endpoints::Unix { .. } => (PROXY, AddressFamily::Unix),
        Endpoints::Tcp { source, destination } => (PROXY, self::family(source, destination)?),
    };
    room.bytes(SIGNATURE)?;
    let sizes = tlvs.iter().map(|tlv| 3 + tlv.value.len());
    room.bytes(&[command, family as u8])?;
    room.length(family.size() + sizes.sum::<usize>())?;
    room.addresses(endpoints)?;
    let mut checksum = None;
    for tlv in tlvs {
        room.bytes(&[tlv.number])?;
        room.length(tlv.value.len())?;
        if tlv.number == CHECKSUM && tlv.value.len() == 4 {
            checksum = Some(room.used);
        }
        room.bytes(tlv.value)?;
    }
    let written = &mut room.out[..room.used];
    if let Some(at) = checksum {
        let sum = checksum_of_header(written, at);
        written[at..at + 4].copy_from_slice(&sum.to_be_bytes());
    }
    Ok(written.len())
}

/// The family of both.
fn family(source: &SocketAddr, destination: &SocketAddr) -> Result<AddressFamily, ProxyWriteError> {
    match (source, destination) {
        (SocketAddr::V4(_), SocketAddr::V4(_)) => Ok(AddressFamily::Tcp4),
        (SocketAddr::V6(_), SocketAddr::V6(_)) => Ok(AddressFamily::Tcp6),
        _ => Err(ProxyWriteError::NoWords),
    }
}

/// The buffer, which fills up.
struct HeaderRoom<'b> {
    out: &'b mut [u8],
    /// How much of `out` is in use, `FIXED` and more once addresses are written.
    used: usize,
}

impl HeaderRoom<'_> {
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), ProxyWriteError> {
        let end = self.used + bytes.len();
        let room = self.out.get_mut(self.used..end).ok_or(ProxyWriteError::NoRoom)?;
        room.copy_from_slice(bytes);
        self.used = end;
        Ok(())
    }

    fn length(&mut self, length: usize) -> Result<(), ProxyWriteError> {
        let length = u16::try_from(length).map_err(|_| ProxyWriteError::NoRoom)?;
        self.bytes(&length.to_be_bytes())
    }

    fn addresses(&mut self, endpoints: &Endpoints<'_>) -> Result<(), ProxyWriteError> {
        debug_assert_eq!(self.used, FIXED);
        match *endpoints {
            Endpoints::Local | Endpoints::Unknown => Ok(()),
            Endpoints::Unix { source, destination } => {
                for address in [source, destination] {
                    let rest = UNIX_ADDRESS.checked_sub(address.len());
                    let rest = rest.ok_or(ProxyWriteError::NoRoom)?;
                    self.bytes(address)?;
                    self.bytes(&[0; UNIX_ADDRESS][..rest])?;
                }
                Ok(())
            }
            Endpoints::Tcp { source, destination } => {
                for address in [source, destination] {
                    match address.ip() {
                        IpAddr::V4(ip) => self.bytes(&ip.octets())?,
                        IpAddr::V6(ip) => self.bytes(&ip.octets())?,
                    }
                }
                self.bytes(&source.port().to_be_bytes())?;
                self.bytes(&destination.port().to_be_bytes())
            }
        }
    }
}

impl fmt::Write for HeaderRoom<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes(text.as_bytes()).map_err(|_| fmt::Error)
    }
}

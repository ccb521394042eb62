//! What is kept of connections on routes of the hub, so that it can be told: since when they are
//! there, and where they are from.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::time::Duration;

use crate::kernel::{Peer, Slot};

/// Of one connection.
#[derive(Clone, Copy, Default)]
struct Detail {
    /// As an IPv6 address, with an IPv4 address mapped; or the numbers of a process of this
    /// machine.
    address: [u8; 16],
    port: u16,
    kind: DetailKind,
    /// Whole seconds of the shard's clock, and one more; `None` where nothing is kept.
    connected_at: Option<NonZeroU32>,
}

/// What of a peer is known.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum DetailKind {
    #[default]
    Unknown,
    Ip,
    Unix,
}

/// The details, by slot.
#[derive(Default)]
pub struct Details {
    by_slot: Vec<Detail>,
}

impl Details {
    /// Bytes of one connection's.
    pub(crate) const BYTES: usize = size_of::<Detail>();

    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps the details of a connection that has opened `now`, by the shard's clock.
    pub(super) fn keep(&mut self, slot: Slot, peer: Peer, now: Duration) {
        let at = slot as usize;
        if self.by_slot.len() <= at {
            self.by_slot.resize(at + 1, Detail::default());
        }
        let (kind, address, port) = match peer {
            Peer::Ip(address) => {
                let ip = match address.ip() {
                    IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                    IpAddr::V6(ip) => ip,
                };
                (DetailKind::Ip, ip.octets(), address.port())
            }
            Peer::Unix { pid, uid, gid } => {
                let numbers = u128::from(pid) << 64 | u128::from(uid) << 32 | u128::from(gid);
                (DetailKind::Unix, numbers.to_ne_bytes(), 0)
            }
            Peer::Unknown => (DetailKind::Unknown, [0; 16], 0),
        };
        self.by_slot[at] = Detail {
            kind,
            address,
            port,
            // It stays at the largest once the shard has run for 136 years.
            connected_at: Some(
                u32::try_from(now.as_secs())
                    .map_or(NonZeroU32::MAX, |seconds| NonZeroU32::MIN.saturating_add(seconds)),
            ),
        };
    }

    /// Forgets them.
    pub(super) fn forget(&mut self, slot: Slot) {
        if let Some(detail) = self.by_slot.get_mut(slot as usize) {
            *detail = Detail::default();
        }
    }

    /// The peer, and when the connection opened by the shard's clock, in whole seconds, if
    /// they are kept.
    pub(super) fn get(&self, slot: Slot) -> Option<(Peer, Duration)> {
        let detail = self.by_slot.get(slot as usize)?;
        let seconds = detail.connected_at?.get() - 1;
        let peer = match detail.kind {
            DetailKind::Unknown => Peer::Unknown,
            DetailKind::Ip => {
                SocketAddr::from((Ipv6Addr::from(detail.address), detail.port)).into()
            }
            DetailKind::Unix => {
                let numbers = u128::from_ne_bytes(detail.address);
                let part = |shift: u32| (numbers >> shift) as u32;
                Peer::Unix { pid: part(64), uid: part(32), gid: part(0) }
            }
        };
        Some((peer, Duration::from_secs(seconds.into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_told_until_it_is_forgotten() {
        let mut details = Details::new();
        let seconds = Duration::from_secs;
        for (text, now) in [("127.0.0.1:80", 0), ("[::1]:65535", 1), ("[::1]:1", u32::MAX - 1)] {
            let peer: SocketAddr = text.parse().expect("an address");
            let peer = peer.into();
            details.keep(3, peer, seconds(now.into()) + Duration::from_millis(999));
            assert_eq!(details.get(3), Some((peer, seconds(now.into()))));
        }
        let process = Peer::Unix { pid: u32::MAX, uid: 0, gid: 7 };
        details.keep(3, process, seconds(5));
        assert_eq!(details.get(3), Some((process, seconds(5))));
        details.keep(3, Peer::Unknown, seconds(u64::MAX));
        let latest = seconds(u64::from(u32::MAX) - 1);
        assert_eq!(details.get(3), Some((Peer::Unknown, latest)), "it keeps its order");
        assert_eq!(Details::BYTES, 24);
        assert_eq!((details.get(2), details.get(9)), (None, None));
        details.forget(3);
        assert_eq!(details.get(3), None);
    }
}

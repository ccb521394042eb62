//! What is kept of connections on routes of the hub, so that it can be told: since when they are
//! there, and where they are from.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::uring::Slot;

/// Of one connection.
#[derive(Clone, Copy, Default)]
struct Detail {
    /// As an IPv6 address; an IPv4 address is mapped.
    address: [u8; 16],
    port: u16,
    /// Seconds since 1970; 0 where nothing is kept.
    connected_at: u32,
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

    /// Keeps the details of a connection that has just opened.
    pub(super) fn keep(&mut self, slot: Slot, peer: Option<SocketAddr>, unix: u64) {
        let at = slot as usize;
        if self.by_slot.len() <= at {
            self.by_slot.resize(at + 1, Detail::default());
        }
        let ip = match peer.map(|peer| peer.ip()) {
            Some(IpAddr::V4(ip)) => ip.to_ipv6_mapped(),
            Some(IpAddr::V6(ip)) => ip,
            None => Ipv6Addr::UNSPECIFIED,
        };
        self.by_slot[at] = Detail {
            address: ip.octets(),
            port: peer.map_or(0, |peer| peer.port()),
            // Until 2106.
            connected_at: u32::try_from(unix).unwrap_or(u32::MAX),
        };
    }

    /// Forgets them.
    pub(super) fn forget(&mut self, slot: Slot) {
        if let Some(detail) = self.by_slot.get_mut(slot as usize) {
            *detail = Detail::default();
        }
    }

    /// The peer's address and the second of the opening, if they are kept.
    pub(super) fn get(&self, slot: Slot) -> Option<(SocketAddr, u64)> {
        let detail = self.by_slot.get(slot as usize).filter(|detail| detail.connected_at > 0)?;
        let ip = Ipv6Addr::from(detail.address).to_canonical();
        Some((SocketAddr::new(ip, detail.port), detail.connected_at.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_told_until_it_is_forgotten() {
        let mut details = Details::new();
        for text in ["127.0.0.1:80", "[::1]:65535"] {
            let peer: SocketAddr = text.parse().expect("an address");
            details.keep(3, Some(peer), 1_700_000_000);
            assert_eq!(details.get(3), Some((peer, 1_700_000_000)));
        }
        assert_eq!((details.get(2), details.get(9)), (None, None));
        details.forget(3);
        assert_eq!(details.get(3), None);
    }
}

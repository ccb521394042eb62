//! Where accepts write the addresses of peers.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::kernel::{ACCEPT_BATCH, Peer, Slot};

/// One place for each accept that may be in flight.
pub(super) struct PeerNames {
    names: Box<[PeerName; ACCEPT_BATCH]>,
    /// The places that no accept in flight writes to.
    free: Vec<u32>,
}

/// Room for the longer of the two kinds.
struct PeerName {
    /// The slot that is accepted into.
    slot: Slot,
    address: libc::sockaddr_in6,
    length: libc::socklen_t,
}

impl PeerNames {
    pub(super) fn new() -> Self {
        Self {
            names: Box::new(std::array::from_fn(|_| PeerName::default())),
            free: (0..ACCEPT_BATCH as u32).collect(),
        }
    }

    /// A place for an accept into `slot`: its number, and where the kernel writes.
    pub(super) fn prepare(
        &mut self,
        slot: Slot,
    ) -> (u32, (*mut libc::sockaddr, *mut libc::socklen_t)) {
        let index = self.free.pop().expect("no more than ACCEPT_BATCH accepts are in flight");
        (index, self.names[index as usize].prepare(slot))
    }

    /// The accept with this place is done: the slot it went into, and whom it found if it
    /// succeeded.
    pub(super) fn take(&mut self, index: u32) -> (Slot, Peer) {
        self.free.push(index);
        let name = &self.names[index as usize];
        (name.slot, name.peer())
    }
}

impl Default for PeerName {
    fn default() -> Self {
        // SAFETY: an address of zeros is a valid value: all its fields are integers.
        Self { slot: 0, address: unsafe { std::mem::zeroed() }, length: 0 }
    }
}

impl PeerName {
    /// Ready to be written by an accept, which writes at most `length` bytes.
    fn prepare(&mut self, slot: Slot) -> (*mut libc::sockaddr, *mut libc::socklen_t) {
        self.slot = slot;
        self.length = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
        ((&raw mut self.address).cast(), &raw mut self.length)
    }

    /// What the accept wrote.
    fn peer(&self) -> Peer {
        let port = u16::from_be(self.address.sin6_port);
        match i32::from(self.address.sin6_family) {
            libc::AF_INET6 => {
                SocketAddr::from((Ipv6Addr::from(self.address.sin6_addr.s6_addr), port)).into()
            }
            libc::AF_INET => {
                // In `sockaddr_in` the address follows the port, where the flow label is here.
                let ip = Ipv4Addr::from(self.address.sin6_flowinfo.to_ne_bytes());
                SocketAddr::from((ip, port)).into()
            }
            _ => Peer::Unknown,
        }
    }
}

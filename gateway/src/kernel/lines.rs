//! What a shard shares with its kernel, for the bill.

use super::epoll::{EVENTS, PLACE_BYTES, armed_bytes, places};
use super::{AreaSizes, BufferId, Completion, Driver, Operation};
use crate::bill::sizes::list;
use crate::bill::{Line, Owner};

/// Bytes of kernel memory of a socket that is connected and only held, measured on Linux 6.18: what
/// no gateway can do without.
pub const SOCKET_BYTES: u64 = 3640;

/// Bytes of kernel memory of an idle connection, measured likewise: beside the socket's objects
/// those of its direct descriptor (40) and of the poll that is armed on it (256), or of what epoll
/// watches it by (208) and of its descriptor (8).
#[must_use]
pub const fn idle_bytes(driver: Driver) -> u64 {
    match driver {
        Driver::IoUring => SOCKET_BYTES + 40 + 256,
        Driver::Epoll => SOCKET_BYTES + 208 + 8,
    }
}

/// What the kernel maps memory by.
const PAGE: u64 = 4096;
/// A submission of a ring, `struct io_uring_sqe`.
const SUBMISSION: u64 = 64;
/// A completion of a ring, `struct io_uring_cqe`.
const COMPLETION: u64 = 16;
/// What stands before the completions in their mapping, `struct io_rings`: a page at most.
const RINGS: u64 = PAGE;
/// An entry of the ring of provided buffers, `struct io_uring_buf`.
const PROVIDED: u64 = 16;
/// An event of epoll, `struct epoll_event`: 12 bytes on x86-64, where it is packed.
const EVENT: u64 = 16;

const CONNECTIONS: &[&str] = &["limits.connections"];
const BUFFERS: &[&str] = &["limits.receive_buffers"];

/// The entries of a ring, or of what is in its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RingSizes {
    pub(crate) driver: Driver,
    pub(crate) slots: u32,
    pub(crate) submissions: u32,
    pub(crate) completions: u32,
    pub(crate) buffers: u16,
}

/// What the areas of a shard and its ring take.
pub(crate) fn lines(areas: AreaSizes, ring: RingSizes) -> Vec<Line> {
    let mut lines = vec![
        Line::new(
            Owner::ReceiveBuffers,
            pages(areas.receive as u64),
            &["limits.receive_buffer", "limits.receive_buffers"],
        ),
        Line::new(Owner::Staging, pages(areas.staging as u64), &["limits.staging"]),
        Line::new(Owner::Blocks, pages(areas.blocks as u64), &["limits.blocks"]),
    ];
    lines.extend(match ring.driver {
        Driver::IoUring => lines_of_rings(ring),
        Driver::Epoll => lines_of_epoll(ring),
    });
    lines
}

fn lines_of_rings(ring: RingSizes) -> Vec<Line> {
    let completions = u64::from(ring.completions) * COMPLETION + RINGS;
    let provided = pages(u64::from(ring.buffers) * PROVIDED);
    vec![
        Line::new(Owner::SubmissionQueue, u64::from(ring.submissions) * SUBMISSION, &[]),
        Line::new(Owner::CompletionQueue, completions, CONNECTIONS),
        Line::new(Owner::ProvidedRing, provided, BUFFERS),
    ]
}

fn lines_of_epoll(ring: RingSizes) -> Vec<Line> {
    let operations = list(ring.submissions.into(), size_of::<Operation>());
    let places = places(ring.submissions, ring.completions);
    let told = list(places as u64, size_of::<Completion>());
    let completions = told + EVENTS as u64 * EVENT;
    let lent = list(ring.buffers.into(), size_of::<BufferId>());
    let sockets = u64::from(ring.slots) * PLACE_BYTES as u64;
    vec![
        Line::new(Owner::SubmissionQueue, operations, &[]),
        Line::new(Owner::CompletionQueue, completions, CONNECTIONS),
        Line::new(Owner::ProvidedRing, lent, BUFFERS),
        Line::new(Owner::Sockets, sockets, CONNECTIONS),
        Line::new(Owner::ArmedSends, armed_bytes(ring.slots), CONNECTIONS),
    ]
}

/// What a mapping of `bytes` takes.
fn pages(bytes: u64) -> u64 {
    bytes.next_multiple_of(PAGE)
}

//! What a shard shares with its kernel, for the bill.

use super::AreaSizes;
use crate::bill::{Line, Owner};

/// Bytes of kernel memory of a socket that is connected and only held, measured on Linux 6.18: what
/// no gateway can do without.
pub const SOCKET_BYTES: u64 = 3640;

/// Bytes of kernel memory of an idle connection, measured likewise: beside the socket's objects, 40
/// of its direct descriptor and 256 of the poll that is armed on it.
pub const IDLE_BYTES: u64 = SOCKET_BYTES + 40 + 256;

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

/// The entries of a ring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RingSizes {
    pub(crate) submissions: u32,
    pub(crate) completions: u32,
    pub(crate) buffers: u16,
}

/// What the areas of a shard and its ring take.
pub(crate) fn lines(areas: AreaSizes, ring: RingSizes) -> Vec<Line> {
    let completions = u64::from(ring.completions) * COMPLETION + RINGS;
    let provided = pages(u64::from(ring.buffers) * PROVIDED);
    vec![
        Line::new(
            Owner::ReceiveBuffers,
            pages(areas.receive as u64),
            &["limits.receive_buffer", "limits.receive_buffers"],
        ),
        Line::new(Owner::Staging, pages(areas.staging as u64), &["limits.staging"]),
        Line::new(Owner::Blocks, pages(areas.blocks as u64), &["limits.blocks"]),
        Line::new(Owner::SubmissionQueue, u64::from(ring.submissions) * SUBMISSION, &[]),
        Line::new(Owner::CompletionQueue, completions, &["limits.connections"]),
        Line::new(Owner::ProvidedRing, provided, &["limits.receive_buffers"]),
    ]
}

/// What a mapping of `bytes` takes.
fn pages(bytes: u64) -> u64 {
    bytes.next_multiple_of(PAGE)
}

//! Whether this kernel's io_uring can carry a shard.

use io_uring::{IoUring, Probe, opcode};

use crate::kernel::RingError;

/// How connections are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accepts {
    /// By the ring, which is told not to wait.
    Ring,
    /// Beside it.
    Plain,
}

/// Checks what cannot be seen from set-up flags alone, and says what can be had.
pub(super) fn check(ring: &IoUring) -> Result<Accepts, RingError> {
    let parameters = ring.params();
    if !parameters.is_feature_skip_cqe_on_success() || !parameters.is_feature_nodrop() {
        return Err(RingError::TooOld("completions only on failure (Linux 5.17)"));
    }
    let mut probe = Probe::new();
    ring.submitter()
        .register_probe(&mut probe)
        .map_err(|error| RingError::Other("asking which operations there are", error))?;
    let needed = [
        (opcode::PollAdd::CODE, "poll"),
        (opcode::PollRemove::CODE, "poll removal"),
        (opcode::Accept::CODE, "accept"),
        (opcode::Recv::CODE, "receive"),
        (opcode::Send::CODE, "send"),
        (opcode::Close::CODE, "close"),
        (opcode::AsyncCancel::CODE, "cancel"),
        (opcode::UringCmd16::CODE, "socket commands (Linux 6.7)"),
        (opcode::FixedFdInstall::CODE, "installing a direct descriptor (Linux 6.8)"),
    ];
    match needed.into_iter().find(|(code, _)| !probe.is_supported(*code)) {
        Some((_, name)) => Err(RingError::TooOld(name)),
        // The feature came with the flag for accepts that do not wait, which has no bit of its own
        // (Linux 6.10).
        None if parameters.is_feature_recvsend_bundle() => Ok(Accepts::Ring),
        None => Ok(Accepts::Plain),
    }
}

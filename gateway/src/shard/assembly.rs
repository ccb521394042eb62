//! What a shard is made of, and how it is set up.

use std::io;
use std::sync::Arc;

use super::{Buffers, Panel, Shard};
use crate::access_log::AccessFeed;
use crate::census::Census;
use crate::checks::GatekeeperParts;
use crate::config::{Config, Limits};
use crate::hub::Hub;
use crate::kernel::{
    AreaSizes, Driver, Epoll, ListeningSocket, Memory, Ring, RingError, Setup, Uring, Waker,
};
use crate::memory::PIECE;
use crate::protocol::program::Program;
use crate::protocol::services::{ListenerTable, NoHandler, RouteTable};

/// Entries of the submission queue.
pub const SUBMISSIONS: u32 = 4096;

/// The most entries of the completion queue (io_uring_setup(2)).
const COMPLETIONS_MAX: u32 = 65_536;

/// What a shard is made of; it can be sent to the shard's thread.
pub struct Assembly {
    /// Which shard.
    pub index: usize,
    /// The checked configuration.
    pub config: Arc<Config>,
    /// Its routes, which all shards share.
    pub routes: Arc<RouteTable>,
    /// Its listeners, which all shards share.
    pub listening: Arc<ListenerTable>,
    /// The shard's own socket for each of them, in that order.
    pub listeners: Vec<ListeningSocket>,
    /// What wakes the shard.
    pub waker: Waker,
    /// The wire to the control thread.
    pub panel: Arc<Panel>,
    /// What an embedding program brings along.
    pub program: Program,
    /// What requests are checked by.
    pub checks: GatekeeperParts,
    /// How many connections there are of whom, on all shards.
    pub census: Arc<Census>,
    /// The way into the access log, if there is one.
    pub access_log: Option<AccessFeed>,
    /// The shard's part of the hub.
    pub hub: Hub,
}

/// The entries of the completion queue for a shard of these limits: each connection may have a poll
/// and a send, so that an overflow is rare; the kernel keeps what overflows.
#[must_use]
pub fn completions(limits: &Limits) -> u32 {
    (limits.slots().saturating_mul(2)).next_power_of_two().clamp(SUBMISSIONS * 2, COMPLETIONS_MAX)
}

/// The shared memory of a shard of these limits.
///
/// # Errors
/// The kernel has no room for the mappings.
pub fn memory(limits: &Limits) -> io::Result<Memory> {
    Memory::new(area_sizes(limits))
}

/// The areas of a shard of these limits.
pub(crate) fn area_sizes(limits: &Limits) -> AreaSizes {
    AreaSizes {
        receive: Buffers::area_length(limits.receive_buffers, limits.receive_buffer),
        staging: limits.staging as usize,
        blocks: limits.blocks as usize,
        scratch: PIECE,
    }
}

/// Why a shard was not set up.
#[derive(Debug)]
pub enum BuildError {
    /// What the kernel refused, and what to do about it.
    Ring(RingError),
    /// Nobody makes the handler of a route.
    NoHandler(NoHandler),
}

impl From<RingError> for BuildError {
    fn from(error: RingError) -> Self {
        Self::Ring(error)
    }
}

impl From<NoHandler> for BuildError {
    fn from(error: NoHandler) -> Self {
        Self::NoHandler(error)
    }
}

/// A shard that is set up, whatever it asks the kernel by.
pub trait Assembled {
    /// As [`Shard::run`].
    ///
    /// # Errors
    /// The ring is beyond use.
    fn run(self: Box<Self>) -> io::Result<()>;
}

impl<R: Ring> Assembled for Shard<R> {
    fn run(self: Box<Self>) -> io::Result<()> {
        (*self).run()
    }
}

/// Sets a shard up on the calling thread, to which it is bound, to ask the kernel by `driver`.
///
/// # Errors
/// What kept it from being set up.
pub fn build(assembly: Assembly, driver: Driver) -> Result<Box<dyn Assembled>, BuildError> {
    match driver {
        Driver::IoUring => Ok(Box::new(build_on(assembly, Uring::new)?)),
        Driver::Epoll => Ok(Box::new(build_on(assembly, Epoll::new)?)),
    }
}

/// The same, on the kernel that `open` makes.
///
/// # Errors
/// What kept it from being set up.
pub fn build_on<R: Ring>(
    mut assembly: Assembly,
    open: fn(Setup<'_>) -> Result<R, RingError>,
) -> Result<Shard<R>, BuildError> {
    let limits = assembly.config.limits;
    let memory = memory(&limits).map_err(|error| RingError::Other("mapping memory", error))?;
    let ring = open(Setup {
        connections: limits.slots(),
        submissions: SUBMISSIONS,
        completions: completions(&limits),
        buffers: limits.receive_buffers,
        buffer_size: limits.receive_buffer as usize,
        listeners: std::mem::take(&mut assembly.listeners),
        waker: assembly.waker.clone(),
        memory: &memory,
    })?;
    Ok(Shard::new(ring, memory, assembly)?)
}

//! A ring of the real kernel, with a listener and room for a few connections.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use tidegate::kernel::{
    self, AreaName, AreaSizes, BufferId, Completion, Errno, Generation, HEADROOM, ListenerId,
    ListeningSocket, Memory, Operation, Ring, RingError, Setup, Slot, Span, Waker, buffer_stride,
};
use tidegate_tests::{PATIENCE, noise};

use crate::connection::{Connection, staging};
use crate::driver::{self, Driver};
use crate::peer::Peer;

/// How long something that must not happen is given to happen.
pub const MOMENT: Duration = Duration::from_millis(30);

/// How long the kernel's buffers of a connection stay full before they count as full: longer than
/// any acknowledgement is delayed.
const FULL: Duration = Duration::from_millis(300);

/// The bytes that a receive buffer takes.
pub const BUFFER_SIZE: usize = 64;

/// The one listener.
pub const LISTENER: ListenerId = 0;

/// What a connection sends of at once; more than the kernel buffers for it.
const FLOOD: u32 = 4 << 20;

/// The first generation; not 0, which is also what nothing is.
pub const FIRST_GENERATION: Generation = 7;

/// The choices of a test.
pub struct Sizes {
    pub slots: u32,
    pub submissions: u32,
    pub completions: u32,
    pub listen: &'static str,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { slots: 8, submissions: 64, completions: 256, listen: "127.0.0.1:0" }
    }
}

/// A kernel as a shard sees it.
pub struct Kernel {
    pub ring: Driver,
    pub memory: Memory,
    pub waker: Waker,
    pub address: SocketAddr,
    /// Connections opened so far.
    opened: u32,
}

impl Kernel {
    pub fn new() -> Self {
        Self::with(Sizes::default())
    }

    pub fn with(sizes: Sizes) -> Self {
        Self::try_with(sizes).unwrap_or_else(|error| panic!("{error}"))
    }

    pub fn try_with(sizes: Sizes) -> Result<Self, RingError> {
        let listener = listen(sizes.listen);
        let address = listener.local_addr().expect("it is bound");
        Self::at(address, listener.into(), sizes)
    }

    /// Of the default sizes, with another listener, which has no address of IP.
    pub fn on(listener: ListeningSocket) -> Self {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        Self::at(nowhere, listener, Sizes::default()).unwrap_or_else(|error| panic!("{error}"))
    }

    fn at(address: SocketAddr, listener: ListeningSocket, sizes: Sizes) -> Result<Self, RingError> {
        const BUFFERS: u16 = 4;
        let mut memory = Memory::new(AreaSizes {
            receive: usize::from(BUFFERS) * buffer_stride(BUFFER_SIZE),
            staging: FLOOD as usize,
            blocks: FLOOD as usize,
            scratch: 1,
        })
        .expect("a few megabytes");
        let bytes = noise(FLOOD as usize, 1);
        memory.area_mut(AreaName::Staging).copy_from_slice(&bytes);
        memory.area_mut(AreaName::Blocks).copy_from_slice(&bytes);
        let waker = Waker::new().expect("a descriptor is left");
        let ring = driver::open(Setup {
            connections: sizes.slots,
            submissions: sizes.submissions,
            completions: sizes.completions,
            buffers: BUFFERS,
            buffer_size: BUFFER_SIZE,
            listeners: vec![listener],
            waker: waker.clone(),
            memory: &memory,
        })?;
        Ok(Self { ring, memory, waker, address, opened: 0 })
    }

    /// A new connection in the next slot, and its peer.
    pub fn open(&mut self) -> (Connection, Peer) {
        let (slot, generation) = (self.opened, FIRST_GENERATION + self.opened);
        self.opened += 1;
        self.open_as(Connection { slot, generation })
    }

    /// A new connection in that slot.
    pub fn open_as(&mut self, connection: Connection) -> (Connection, Peer) {
        let peer = Peer::connect(self.address);
        assert_eq!(self.accept(connection.slot), peer.address());
        (connection, peer)
    }

    /// Accepts what is about to arrive; yields who that is.
    pub fn accept(&mut self, slot: Slot) -> kernel::Peer {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.try_accept(slot) {
                Ok(peer) => return peer,
                Err(error) => assert_eq!(error, Errno::AGAIN),
            }
            assert!(Instant::now() < deadline, "nothing arrives");
            thread::yield_now();
        }
    }

    pub fn try_accept(&mut self, wanted: Slot) -> Result<kernel::Peer, Errno> {
        match *self.submit([accept(wanted)]) {
            [Completion::Accepted { listener: LISTENER, slot, result }] if slot == wanted => result,
            ref other => panic!("expected one accept, not {other:?}"),
        }
    }

    pub fn push(&mut self, operations: impl IntoIterator<Item = Operation>) {
        for operation in operations {
            self.ring.push(operation);
        }
    }

    /// Enters once with these operations; yields what has completed by then.
    pub fn submit<const N: usize>(&mut self, operations: [Operation; N]) -> Vec<Completion> {
        self.push(operations);
        self.enter(Duration::ZERO);
        assert!(self.ring.is_settled());
        std::iter::from_fn(|| self.ring.completion()).collect()
    }

    pub fn enter(&mut self, wait: Duration) {
        self.ring.enter(&mut self.memory, wait).expect("the ring works");
    }

    /// Enters until a completion is one that `wanted` knows.
    ///
    /// # Panics
    /// None came within [`PATIENCE`].
    #[track_caller]
    pub fn enter_until<T>(&mut self, mut wanted: impl FnMut(Completion) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            while let Some(completion) = self.ring.completion() {
                if let Some(found) = wanted(completion) {
                    return found;
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited {PATIENCE:?} in vain");
            self.enter(left);
        }
    }

    /// The next completion.
    #[track_caller]
    pub fn next(&mut self) -> Completion {
        self.enter_until(Some)
    }

    #[track_caller]
    pub fn expect(&mut self, completion: Completion) {
        assert_eq!(self.next(), completion);
    }

    #[track_caller]
    pub fn expect_nothing(&mut self) {
        assert_eq!(self.next_within(MOMENT), None);
    }

    /// The next completion, if it comes soon enough.
    pub fn next_within(&mut self, time: Duration) -> Option<Completion> {
        let deadline = Instant::now() + time;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            self.enter(left);
            let completion = self.ring.completion();
            if completion.is_some() || left.is_zero() {
                return completion;
            }
        }
    }

    /// Waits until there is something to receive, or an end of any kind.
    #[track_caller]
    pub fn wait_until_readable(&mut self, connection: Connection) {
        self.push([connection.poll()]);
        let next = self.next();
        let Completion::Readable { slot, generation, armed: false, .. } = next else {
            panic!("expected a poll that completes, not {next:?}")
        };
        assert_eq!((slot, generation), (connection.slot, connection.generation));
    }

    pub fn adopt(&mut self, first: Slot, sockets: Vec<OwnedFd>) -> io::Result<()> {
        self.ring.adopt(&mut self.memory, first, sockets)
    }

    pub fn lend(&mut self, buffer: u16) {
        self.ring.provide(BufferId(buffer));
    }

    /// What was received into a buffer.
    pub fn received(&self, buffer: u16, count: usize) -> &[u8] {
        let start = usize::from(buffer) * buffer_stride(BUFFER_SIZE) + HEADROOM;
        &self.memory.area(AreaName::Receive)[start..start + count]
    }

    /// Sends of [`flood`] until the peer's buffer and ours are full; yields how much that was.
    #[track_caller]
    pub fn fill(&mut self, connection: Connection) -> u32 {
        let (mut sent, mut refused_since) = (0, None);
        loop {
            match self.send_more(connection, sent) {
                Ok(more) => (sent, refused_since) = (sent + more, None),
                Err(error) => {
                    assert_eq!(error, Errno::AGAIN);
                    if refused_since.get_or_insert_with(Instant::now).elapsed() > FULL {
                        return sent;
                    }
                    thread::sleep(MOMENT);
                }
            }
        }
    }

    fn send_more(&mut self, connection: Connection, sent: u32) -> Result<u32, Errno> {
        match *self.submit([connection.send(flood().skip(sent))]) {
            [Completion::SendFellShort { slot, result, .. }] if slot == connection.slot => result,
            ref other => panic!("expected a send that falls short, not {other:?}"),
        }
    }
}

/// All of the staging memory: noise, and more than a connection's buffers hold.
pub fn flood() -> Span {
    staging(0, FLOOD)
}

pub fn accept(slot: Slot) -> Operation {
    Operation::Accept { listener: LISTENER, slot }
}

/// A listener whose connections have small send buffers: they inherit them.
fn listen(address: &str) -> TcpListener {
    let address: SocketAddr = address.parse().expect("an address");
    let make = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_send_buffer_size(64 << 10)?;
        socket.bind(&address.into())?;
        socket.listen(64)?;
        Ok::<_, std::io::Error>(socket.into())
    };
    make().expect("a port is free")
}

//! The connections of one ring.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use tidegate::kernel::{
    AreaName, Completion, Errno, Memory, Operation, Ring, Setup, Slot, Span, Uring, Waker,
    buffer_stride,
};
use tidegate_proto::websocket::frame::{MAX_HEADER, OpCode};
use tidegate_proto::websocket::handshake::client::UpgradeRequest;

use super::Errand;
use super::client::{Client, Owed, Waiting};
use super::errand::{MESSAGE_MAX, put_frame};
use super::source::Sources;
use crate::random::Random;
use crate::target::Target;
use crate::tls::{self, Dialing, sealed_length};

/// Sends, and receives, of one call into the kernel.
pub(super) const BATCH: usize = 256;

/// Sockets that are made before they are handed to the ring.
const ADOPT_MAX: usize = 64;

/// The most that is received at once.
const RECEIVE_SIZE: usize = 4096;

/// The longest opening handshake, or what one of TLS begins with: a key of ML-KEM-768 alone has
/// 1,184 bytes.
const REQUEST_SIZE: usize = 2048;

/// The most connections whose requests can be on their way at once.
pub const WINDOW_MAX: usize = 4096;

/// Room for a frame, and to seal it.
const FRAME_SIZE: usize = sealed_length(MAX_HEADER + MESSAGE_MAX);

/// A ring wants a receive buffer of its own; nothing is received into it.
const UNUSED_BUFFER: usize = 64;

pub(super) const RECEIVE_AREA: usize = buffer_stride(UNUSED_BUFFER);
pub(super) const STAGING_AREA: usize = BATCH * FRAME_SIZE;
pub(super) const BLOCKS_AREA: usize = BATCH * RECEIVE_SIZE + WINDOW_MAX * REQUEST_SIZE;

/// How long a call into the kernel waits for something to happen.
const WAIT: Duration = Duration::from_millis(100);

/// Calls into the kernel of one look after all connections: with all of them readable, and twice
/// over.
const TEND_TURNS: usize = 2 * super::FLOCK_MAX / BATCH;

/// How long nothing at all may happen on an errand, if nothing else is said.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The connections of one ring.
pub(super) struct Flock {
    ring: Uring,
    clients: Vec<Client>,
    /// Those that have something to receive.
    readable: VecDeque<Slot>,
    /// Those that are to send something because of what has come.
    owed: VecDeque<(Slot, Owed)>,
    /// Connections whose errand is done, since that was last asked.
    done: usize,
    /// Sends of the current batch.
    sends: usize,
    /// Receives of the current batch.
    receives: usize,
    /// Places for requests that are not in use.
    free_requests: Vec<u16>,
    /// The length of the request in each place, in bytes.
    request_lengths: Vec<u16>,
    random: Random,
    /// What the nonces are made from, so that they need not be kept.
    seed: u64,
}

/// What a flock goes on an errand with. It is the fleet's, and each flock's for as long as it is
/// driven.
pub(super) struct Kit<'a> {
    pub(super) errand: &'a Errand,
    pub(super) sources: &'a mut Sources,
    pub(super) memory: &'a mut Memory,
}

/// Connections of a flock that go on an errand.
pub(super) struct Part {
    next: Slot,
    end: Slot,
    window: usize,
    under_way: usize,
    progress: Instant,
    /// How long nothing at all may happen.
    pub(super) patience: Duration,
}

impl Part {
    pub(super) fn new(first: Slot, count: u32, window: usize) -> Self {
        let window = window.max(1);
        Self {
            next: first,
            end: first + count,
            window,
            under_way: 0,
            progress: Instant::now(),
            patience: PATIENCE,
        }
    }

    /// How many have started and are not done.
    pub(super) fn under_way(&self) -> usize {
        self.under_way
    }

    pub(super) fn is_done(&self) -> bool {
        self.next == self.end && self.under_way == 0
    }

    /// How many may start now.
    fn may_start(&self) -> usize {
        ((self.end - self.next) as usize).min(self.window - self.under_way)
    }
}

impl Flock {
    pub(super) fn new(size: usize, memory: &Memory) -> io::Result<Self> {
        let setup = Setup {
            connections: size as u32,
            submissions: 4096,
            completions: 32_768,
            buffers: 1,
            buffer_size: UNUSED_BUFFER,
            listeners: Vec::new(),
            waker: Waker::new()?,
            memory,
        };
        let mut random = Random::new()?;
        Ok(Self {
            ring: Uring::new(setup).map_err(io::Error::other)?,
            clients: (0..size).map(|_| Client::default()).collect(),
            readable: VecDeque::new(),
            owed: VecDeque::new(),
            done: 0,
            sends: 0,
            receives: 0,
            free_requests: (0..WINDOW_MAX as u16).collect(),
            request_lengths: vec![0; WINDOW_MAX],
            seed: random.next_u64(),
            random,
        })
    }

    /// Starts what may start, and takes in what has happened; yields how many are done.
    pub(super) fn step(&mut self, part: &mut Part, kit: &mut Kit<'_>) -> io::Result<usize> {
        self.say_owed(kit.memory)?;
        let started = self.start(part, kit)?;
        // What looking after the connections meanwhile has finished is not waited for.
        let idle = started == 0 && self.readable.is_empty() && self.sends == 0 && self.done == 0;
        self.turn(kit, if idle { WAIT } else { Duration::ZERO })?;
        let done = std::mem::take(&mut self.done);
        part.under_way -= done;
        if done > 0 || started > 0 {
            part.progress = Instant::now();
        } else if part.progress.elapsed() > part.patience {
            let waiting = part.under_way;
            let errand = kit.errand.name();
            let why = format!("{waiting} connections wait in vain for the server to {errand}");
            return Err(io::Error::new(io::ErrorKind::TimedOut, why));
        }
        Ok(done)
    }

    /// Takes in what has happened, and answers it; a server that never stops talking is listened to
    /// again next time.
    pub(super) fn tend(&mut self, kit: &mut Kit<'_>) -> io::Result<()> {
        for _ in 0..TEND_TURNS {
            self.say_owed(kit.memory)?;
            self.turn(kit, Duration::ZERO)?;
            if self.readable.is_empty() && self.owed.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// One call into the kernel, and everything that comes back.
    fn turn(&mut self, kit: &mut Kit<'_>, wait: Duration) -> io::Result<()> {
        self.receive();
        self.ring.enter(kit.memory, wait)?;
        while !self.ring.is_settled() {
            self.ring.enter(kit.memory, Duration::ZERO)?;
        }
        self.sends = 0;
        self.receives = 0;
        while let Some(completion) = self.ring.completion() {
            self.complete(completion, kit)?;
        }
        Ok(())
    }

    /// Starts what may start; yields how many.
    pub(super) fn start(&mut self, part: &mut Part, kit: &mut Kit<'_>) -> io::Result<usize> {
        let count = match kit.errand {
            Errand::Connect | Errand::Open { .. } => self.connect(part, kit)?,
            Errand::Receive { .. } => {
                let count = part.may_start();
                for client in &mut self.clients[part.next as usize..][..count] {
                    client.waiting = Waiting::Message(0);
                }
                count
            }
            _ => {
                let count = part.may_start().min(BATCH - self.sends);
                for slot in (part.next..).take(count) {
                    self.send_off(slot, kit)?;
                }
                count
            }
        };
        part.next += count as Slot;
        part.under_way += count;
        Ok(count)
    }

    /// Lets the next few connect, and shake hands if that is the errand.
    fn connect(&mut self, part: &Part, kit: &mut Kit<'_>) -> io::Result<usize> {
        let count = part.may_start().min(ADOPT_MAX).min(self.free_requests.len());
        if count == 0 {
            return Ok(0);
        }
        let sockets = (0..count).map(|_| kit.sources.connect()).collect::<io::Result<_>>()?;
        self.ring.adopt(kit.memory, part.next, sockets)?;
        for slot in (part.next..).take(count) {
            let client = &mut self.clients[slot as usize];
            if let Errand::Open { target } = kit.errand {
                client.begin(Waiting::Response(Vec::new()));
                self.request(slot, target, kit.memory)?;
            } else {
                client.begin(Waiting::Nothing);
                self.done += 1;
            }
            self.poll(slot);
        }
        Ok(count)
    }

    /// Sends the request. That waits for the connection, if it has to.
    fn request(&mut self, slot: Slot, target: &Target, memory: &mut Memory) -> io::Result<()> {
        let place = self.free_requests.pop().expect("`connect` starts no more than there are");
        let client = &mut self.clients[slot as usize];
        client.request = place;
        let generation = client.generation;
        let start = BATCH * RECEIVE_SIZE + usize::from(place) * REQUEST_SIZE;
        let room = &mut memory.area_mut(AreaName::Blocks)[start..start + REQUEST_SIZE];
        let request =
            UpgradeRequest::new(&target.host, &target.path, nonce(self.seed, slot, generation));
        let mut length = request.write(room).map_err(|_| io::Error::other("not a valid URL"))?;
        if let Some(dialer) = &target.tls {
            let mut wire = Vec::new();
            let dialing = Dialing::new(dialer, &target.host, room[..length].to_vec(), &mut wire)?;
            length = wire.len();
            let too_long = || io::Error::other("a ClientHello is longer than its room");
            room.get_mut(..length).ok_or_else(too_long)?.copy_from_slice(&wire);
            client.dial(dialing);
        }
        self.request_lengths[usize::from(place)] = length as u16;
        let span = span(AreaName::Blocks, start, length);
        self.ring.push(Operation::SendArmed { slot, generation, span });
        Ok(())
    }

    fn send_off(&mut self, slot: Slot, kit: &mut Kit<'_>) -> io::Result<()> {
        let (waiting, opcode, payload): (_, _, &[u8]) = match kit.errand {
            Errand::Echo { message } => (Waiting::Message(0), OpCode::Binary, message),
            Errand::Ping => (Waiting::Pong, OpCode::Ping, b"sweep"),
            // 1000, "a normal closure" (RFC 6455 section 7.4.1).
            Errand::Close => (Waiting::Close, OpCode::Close, &[0x03, 0xe8]),
            Errand::Drop => {
                self.drop_one(slot);
                return Ok(());
            }
            Errand::Connect | Errand::Open { .. } | Errand::Receive { .. } => {
                unreachable!("`start` has done those")
            }
        };
        self.clients[slot as usize].waiting = waiting;
        self.send(slot, opcode, payload, kit.memory)
    }

    /// Sends a binary message of connection `slot`, in the next step.
    pub(super) fn publish(
        &mut self,
        slot: Slot,
        message: &[u8],
        memory: &mut Memory,
    ) -> io::Result<()> {
        self.send(slot, OpCode::Binary, message, memory)
    }

    /// Sends a frame, sealed if the connection is over TLS.
    fn send(
        &mut self,
        slot: Slot,
        opcode: OpCode,
        payload: &[u8],
        memory: &mut Memory,
    ) -> io::Result<()> {
        let start = self.sends * FRAME_SIZE;
        let room = &mut memory.area_mut(AreaName::Staging)[start..start + FRAME_SIZE];
        let length = match self.clients[slot as usize].session() {
            None => put_frame(room, opcode, payload, &mut self.random),
            Some(session) => {
                let frame = &mut room[tls::HEADER..];
                let length = put_frame(frame, opcode, payload, &mut self.random);
                session.sealer.seal(room, tls::HEADER..tls::HEADER + length)?.len()
            }
        };
        self.push_send(slot, start, length);
        Ok(())
    }

    fn push_send(&mut self, slot: Slot, start: usize, length: usize) {
        let span = span(AreaName::Staging, start, length);
        self.ring.push(Operation::Send { slot, batch_index: self.sends as u32, span });
        self.sends += 1;
    }

    fn drop_one(&mut self, slot: Slot) {
        let client = &mut self.clients[slot as usize];
        if client.is_there() {
            client.end();
            self.ring.push(Operation::Unpoll { slot, generation: client.generation });
            self.ring.push(Operation::Close { slot });
        }
        self.done += 1;
    }

    fn poll(&mut self, slot: Slot) {
        let generation = self.clients[slot as usize].generation;
        self.ring.push(Operation::Poll { slot, generation });
    }

    /// Sends what is owed, as much as fits.
    fn say_owed(&mut self, memory: &mut Memory) -> io::Result<()> {
        while self.sends < BATCH {
            match self.owed.pop_front() {
                None => break,
                Some((slot, Owed::Pong(payload))) => {
                    self.send(slot, OpCode::Pong, &payload, memory)?;
                }
                Some((slot, Owed::Wire(wire))) => {
                    let start = self.sends * FRAME_SIZE;
                    let room = memory.area_mut(AreaName::Staging);
                    // A request and what the handshake ends with: no more than a frame.
                    room[start..start + wire.len()].copy_from_slice(&wire);
                    self.push_send(slot, start, wire.len());
                }
            }
        }
        Ok(())
    }

    /// Receives from those that are readable, as many as fit.
    fn receive(&mut self) {
        while self.receives < BATCH {
            let Some(slot) = self.readable.pop_front() else { return };
            let client = &mut self.clients[slot as usize];
            if !client.is_there() {
                continue;
            }
            client.place = self.receives as u16;
            let span = span(AreaName::Blocks, self.receives * RECEIVE_SIZE, RECEIVE_SIZE);
            let generation = client.generation;
            self.ring.push(Operation::ReceiveInto { slot, generation, span });
            self.receives += 1;
        }
    }

    fn is_current(&self, slot: Slot, generation: u32) -> bool {
        let client = &self.clients[slot as usize];
        client.is_there() && client.generation == generation
    }

    fn complete(&mut self, completion: Completion, kit: &mut Kit<'_>) -> io::Result<()> {
        match completion {
            Completion::Readable { slot, generation, .. } if self.is_current(slot, generation) => {
                self.readable.push_back(slot);
            }
            Completion::ReceivedInto { slot, generation, result, more }
                if self.is_current(slot, generation) =>
            {
                match result {
                    Ok(0) => self.ended(slot)?,
                    Ok(count) => {
                        self.received(slot, count as usize, kit)?;
                        if more { self.readable.push_back(slot) } else { self.poll(slot) }
                    }
                    Err(Errno::AGAIN) => self.poll(slot),
                    Err(errno) => return Err(io::Error::from_raw_os_error(errno.0)),
                }
            }
            Completion::Sent { slot, result, .. } => {
                let sent = result.map_err(|errno| io::Error::from_raw_os_error(errno.0))?;
                self.requested(slot, sent)?;
            }
            Completion::SendFellShort { slot, result, .. } => {
                let why = format!("the server does not read (connection {slot}: {result:?})");
                return Err(io::Error::other(why));
            }
            _ => {}
        }
        Ok(())
    }

    /// A request is sent, `sent` bytes of it; its place is free again.
    fn requested(&mut self, slot: Slot, sent: u32) -> io::Result<()> {
        let place = self.clients[slot as usize].request;
        self.free_requests.push(place);
        let length = u32::from(self.request_lengths[usize::from(place)]);
        if sent < length {
            let why = format!("connection {slot} sent {sent} bytes of a request of {length}");
            return Err(io::Error::other(why));
        }
        Ok(())
    }

    fn received(&mut self, slot: Slot, count: usize, kit: &mut Kit<'_>) -> io::Result<()> {
        let client = &mut self.clients[slot as usize];
        let start = usize::from(client.place) * RECEIVE_SIZE;
        let input = &mut kit.memory.area_mut(AreaName::Blocks)[start..start + count];
        let (seed, generation) = (self.seed, client.generation);
        let outcome = client.handle_input(input, kit.errand, || nonce(seed, slot, generation))?;
        self.done += usize::from(outcome.done);
        self.owed.extend(outcome.owed.map(|owed| (slot, owed)));
        Ok(())
    }

    /// The server has ended a stream: the connection is over.
    fn ended(&mut self, slot: Slot) -> io::Result<()> {
        let client = &mut self.clients[slot as usize];
        client.handle_end()?;
        client.end();
        self.ring.push(Operation::Close { slot });
        self.done += 1;
        Ok(())
    }
}

fn span(area: AreaName, start: usize, length: usize) -> Span {
    Span { area, start: start as u32, length: length as u32 }
}

/// A nonce that need not be kept: the same for the same arguments, and random to whoever does not
/// know the seed (the finishing steps of SplitMix64, twice).
fn nonce(seed: u64, slot: Slot, generation: u32) -> [u8; 16] {
    let mix = |value: u64| {
        let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ value >> 31
    };
    let first = mix(seed ^ (u64::from(generation) << 32 | u64::from(slot)));
    let second = mix(first ^ seed.rotate_left(32));
    (u128::from(first) << 64 | u128::from(second)).to_ne_bytes()
}

//! Any bytes as what a peer says to a protocol that a program brings along, the line echo, on a
//! whole shard over a kernel of a few lines.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tidegate::census::Census;
use tidegate::checks::GatekeeperParts;
use tidegate::config::Config;
use tidegate::gateway::{Program, hub_settings};
use tidegate::hub::{self, Identity, Seed};
use tidegate::kernel::{
    AreaName, BufferId, Completion, Errno, HEADROOM, ListeningSocket, Memory, Operation, Peer,
    Ring, Slot, Waker, buffer_stride,
};
use tidegate::names::Node;
use tidegate::shard::{self, Assembly, ListenerTable, RouteTable, Shard};
use tidegate::transport::tls::TlsServers;

use super::{Parameters, Stretches};
use crate::line_echo::{LineEcho, answer};

/// Turns of the shard after which it must be done with anything that a fuzzer says.
const TURNS: usize = 100_000;

/// `receive_buffer` of the shard.
const BUFFER: usize = 1024;

/// The peer, and the kernel between it and the shard.
struct Kernel {
    /// What the peer has yet to say, and how it is cut.
    input: VecDeque<u8>,
    stretches: Stretches,
    /// The peer has nothing more to say, and the shard may see that.
    has_ended: bool,
    /// Of so many sends one falls short; 0: none does.
    short_every: u8,
    sends: u8,
    /// What the shard has said.
    heard: Vec<u8>,
    finished_writing: bool,
    is_accepted: bool,
    is_closed: bool,
    is_polled: Option<(Slot, u32)>,
    queue: VecDeque<Operation>,
    lent: VecDeque<BufferId>,
    completions: VecDeque<Completion>,
    now: Duration,
}

impl Kernel {
    fn execute(&mut self, operation: Operation, memory: &mut Memory) {
        match operation {
            Operation::PollListener { listener } if !self.is_accepted => {
                self.completions.push_back(Completion::ListenerReady { listener });
            }
            Operation::Accept { listener, slot } => {
                let result = match std::mem::replace(&mut self.is_accepted, true) {
                    false => Ok(Peer::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)))),
                    true => Err(Errno::AGAIN),
                };
                self.completions.push_back(Completion::Accepted { listener, slot, result });
            }
            Operation::Poll { slot, generation } | Operation::PollOn { slot, generation } => {
                self.is_polled = Some((slot, generation));
            }
            Operation::Unpoll { .. } => self.is_polled = None,
            Operation::Receive { slot, generation } => {
                let count = self.stretches.next(self.input.len().min(BUFFER));
                let bytes: Vec<u8> = self.input.drain(..count).collect();
                let buffer = self.lent.pop_front().filter(|_| count > 0);
                if let Some(buffer) = buffer {
                    let start = usize::from(buffer.0) * buffer_stride(BUFFER) + HEADROOM;
                    memory.area_mut(AreaName::Receive)[start..start + count]
                        .copy_from_slice(&bytes);
                }
                let result = Ok(count as u32);
                let more = !self.input.is_empty();
                self.completions.push_back(Completion::Received {
                    slot,
                    generation,
                    buffer,
                    result,
                    more,
                });
            }
            Operation::Send { slot, batch_index, span } => {
                self.sends = self.sends.wrapping_add(1);
                let is_short = self.short_every > 0 && self.sends.is_multiple_of(self.short_every);
                let sent = if is_short { span.length / 2 } else { span.length };
                self.heard.extend_from_slice(memory.bytes(span.part(0, sent)));
                if is_short {
                    let result = if sent == 0 { Err(Errno::AGAIN) } else { Ok(sent) };
                    let completion = Completion::SendFellShort { slot, batch_index, result };
                    self.completions.push_back(completion);
                }
            }
            Operation::SendArmed { slot, generation, span } => {
                self.heard.extend_from_slice(memory.bytes(span));
                let result = Ok(span.length);
                self.completions.push_back(Completion::Sent { slot, generation, result });
            }
            Operation::FinishWrites { .. } => self.finished_writing = true,
            Operation::Close { .. } => self.is_closed = true,
            _ => {}
        }
    }

    /// The peer ends its side once it has said all, and a poll tells of what there is.
    fn tells(&mut self) {
        self.has_ended |= self.input.is_empty();
        if let Some((slot, generation)) = self.is_polled.take() {
            let ended = self.has_ended;
            self.completions.push_back(Completion::Readable {
                slot,
                generation,
                armed: false,
                ended,
            });
        }
    }
}

struct KernelRing(Rc<RefCell<Kernel>>);

impl Ring for KernelRing {
    fn push(&mut self, operation: Operation) {
        self.0.borrow_mut().queue.push_back(operation);
    }

    fn room(&self) -> usize {
        4096
    }

    fn provide(&mut self, buffer: BufferId) {
        self.0.borrow_mut().lent.push_back(buffer);
    }

    fn enter(&mut self, memory: &mut Memory, _wait: Duration) -> io::Result<()> {
        let mut kernel = self.0.borrow_mut();
        while let Some(operation) = kernel.queue.pop_front() {
            kernel.execute(operation, memory);
        }
        kernel.tells();
        kernel.now += Duration::from_micros(10);
        Ok(())
    }

    fn completion(&mut self) -> Option<Completion> {
        self.0.borrow_mut().completions.pop_front()
    }

    fn is_settled(&mut self) -> bool {
        self.0.borrow().queue.is_empty()
    }

    fn open_listener(&mut self, _: u32, _: ListeningSocket) -> io::Result<()> {
        // A socket of a world is there as soon as it is polled.
        Ok(())
    }

    fn listener(&self, _: u32) -> Option<&ListeningSocket> {
        None
    }

    fn accept_aside(&mut self, _listener: u32) -> io::Result<(OwnedFd, Peer)> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn adopt(&mut self, _: &mut Memory, _: Slot, _: Vec<OwnedFd>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn now(&self) -> Duration {
        self.0.borrow().now
    }

    fn calendar(&self) -> Duration {
        Duration::from_secs(1_700_000_000)
    }
}

/// Parameters: how the input is cut (a byte), and which sends fall short (another).
///
/// # Panics
/// What comes back is not what has to, however it was cut, or the shard keeps something.
pub fn lines(data: &[u8]) {
    let mut parameters = Parameters(data);
    let (seed, short_every) = (parameters.byte(), parameters.byte() % 8);
    let mut said = parameters.rest().to_vec();
    // What is published comes when it comes.
    said.iter_mut().filter(|byte| matches!(byte, b'+' | b'!')).for_each(|byte| *byte = b'-');
    let kernel = Kernel {
        input: said.iter().copied().collect(),
        stretches: Stretches::new(seed),
        has_ended: false,
        short_every,
        sends: 0,
        heard: Vec::new(),
        finished_writing: false,
        is_accepted: false,
        is_closed: false,
        is_polled: None,
        queue: VecDeque::new(),
        lent: VecDeque::new(),
        completions: VecDeque::new(),
        now: Duration::ZERO,
    };
    let kernel = Rc::new(RefCell::new(kernel));
    let mut shard = shard(&kernel);
    for _ in 0..TURNS {
        assert!(shard.step().expect("a ring that works"), "nobody told it to end");
        shard.check();
        if kernel.borrow().is_closed && kernel.borrow().queue.is_empty() {
            break;
        }
    }
    let kernel = kernel.borrow();
    assert!(kernel.is_closed, "it does not come to an end");
    let expected = answer(&said);
    assert!(kernel.heard == expected.bytes, "something else comes back");
    assert!(!kernel.finished_writing || expected.last_words > 0, "it ends, and was not asked to");
    assert!(shard.is_empty(), "something is left of the connection");
}

/// A shard with one listener, on which lines are echoed.
fn shard(kernel: &Rc<RefCell<Kernel>>) -> Shard<KernelRing> {
    let text = "[limits]\nconnections = 16\nreceive_buffers = 8\nreceive_buffer = 1024\n\
                request_head = 1024\nstaging = '16KiB'\nblocks = '4MiB'\n";
    let config = Arc::new(Config::parse(text, "lines").expect("a right configuration"));
    let waker = Waker::new().expect("a descriptor");
    let identity = Identity { node: Node { number: 0, start: 1 }, seed: Seed([1, 2]) };
    let (mut hubs, _door) =
        hub::open(&hub_settings(&config), identity, std::slice::from_ref(&waker));
    let memory = shard::memory(&config.limits).expect("memory");
    let census = Arc::new(Census::new(&config));
    let listening = Arc::new(ListenerTable::new(&config.listeners, &[], &TlsServers::default()));
    let assembly = Assembly {
        index: 0,
        checks: GatekeeperParts::none(),
        access_log: None,
        hub: hubs.pop().expect("one shard"),
        routes: RouteTable::new(&config.routes).into(),
        config,
        listeners: Vec::new(),
        waker,
        panel: Arc::default(),
        listening,
        census,
        program: Program::default().protocols(|_| Some(Box::new(LineEcho::default()))),
    };
    Shard::new(KernelRing(Rc::clone(kernel)), memory, assembly).expect("all handlers are built in")
}

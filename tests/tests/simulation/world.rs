//! Everything outside of a shard: sockets that are queues, clients, a clock, and a kernel that
//! takes every freedom that the real one has, drawn from one seed.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tidegate::kernel::{
    BufferId, Completion, Errno, Generation, ListenerId, Memory, Slot, Span, Waker,
};
use tidegate_tests::tls::TlsEnd;
use tidegate_tests::xor::Streams;

use crate::bearer::Token;
use crate::bearing::Bearing;
use crate::body_peer::BodyPeer;
use crate::chances::Chances;
use crate::client::{Action, Client, Facts};
use crate::commander::Commander;
use crate::drainer::Meant;
use crate::line_peer::LinePeer;
use crate::member::Member;
use crate::peer::{Peer, Temper};
use crate::proxied::Front;
use crate::random::Random;
use crate::rooms::{Plan, Transport};
use crate::trickler::{TICK, Trickler};
use crate::watch::{Queued, Watch};

/// A send that waits for room.
pub struct ArmedSend {
    pub generation: Generation,
    pub span: Span,
    /// The span's bytes when the send was armed.
    pub bytes: Vec<u8>,
}

/// A poll of a connection.
pub struct ArmedPoll {
    pub generation: Generation,
    /// It stays armed when it completes, and completes for news only.
    pub stays: bool,
    /// Something has come since it completed last.
    pub is_news: bool,
}

/// One connection, both ends.
#[derive(Default)]
pub struct Socket {
    /// Of which listener it is.
    listener: usize,
    /// A drain may close it, or refuse what is asked by it.
    drains: bool,
    /// What the peer has said and the server has not received.
    pub inbound: VecDeque<u8>,
    pub peer_ended: bool,
    /// The peer has reset.
    pub broken: bool,
    /// What the server has sent and the peer has not read.
    pub outbound: VecDeque<u8>,
    /// The server may send nothing more.
    pub finished_writing: bool,
    /// The peer can see that.
    server_ended: bool,
    pub server_closed: bool,
    pub poll: Option<ArmedPoll>,
    pub send: Option<ArmedSend>,
    /// A cancel of the armed send came too late to take effect at once.
    pub cancelled: bool,
    /// A descriptor outside of the table keeps the connection from being closed.
    installed: bool,
    pub slot: Option<Slot>,
    /// When it was accepted, and when the server first sent something.
    pub accepted_at: Option<Duration>,
    pub answered_at: Option<Duration>,
    /// Bytes that the server has sent.
    pub sent: u64,
    /// In how many ticks it was seen to be held, and the last of these.
    held: u32,
    held_last: Option<u128>,
    /// The client's end of the transport, if the shard has one.
    end: Option<End>,
    /// The proxy that the client comes through, if there is one.
    front: Option<Front>,
    /// Its client ends once hands are shaken.
    ends_later: bool,
}

/// A client's end of a transport.
enum End {
    /// Each byte is changed.
    Xor(Streams),
    Tls(Box<TlsEnd>),
}

impl Socket {
    /// Something has come.
    pub fn has_news(&mut self) {
        if let Some(poll) = &mut self.poll {
            poll.is_news = true;
        }
    }

    /// The client says something, and its transport changes that.
    fn says(&mut self, mut bytes: Vec<u8>) {
        match &mut self.end {
            None => {}
            Some(End::Xor(streams)) => streams.said.change(&mut bytes),
            Some(End::Tls(end)) => bytes = end.says(&bytes),
        }
        self.comes_in(bytes);
    }

    /// Bytes go on the wire, behind what a proxy has yet to say.
    fn comes_in(&mut self, bytes: Vec<u8>) {
        let bytes = match &mut self.front {
            Some(front) => front.passes_on(bytes),
            None => bytes,
        };
        self.inbound.extend(bytes);
    }

    /// What the client hears of so many bytes that have come. To some of them its transport has
    /// something to say.
    fn hears(&mut self, count: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.outbound.drain(..count).collect();
        let has_ended = self.has_ended();
        match &mut self.end {
            None => return bytes,
            Some(End::Xor(streams)) => streams.heard.change(&mut bytes),
            Some(End::Tls(end)) => {
                bytes = end.hears(&bytes);
                if !has_ended {
                    let sent = end.sends();
                    self.comes_in(sent);
                }
            }
        }
        if self.ends_later && !has_ended {
            self.ends();
        }
        self.has_news();
        bytes
    }

    /// The client's transport goes on to another key.
    fn turns_keys(&mut self) {
        if let Some(End::Tls(end)) = &mut self.end {
            end.updates_keys();
            let sent = end.sends();
            self.comes_in(sent);
        }
    }

    /// The client will say nothing more: what it has said leaves before, if it has to wait for a
    /// handshake.
    fn ends(&mut self) {
        if let Some(End::Tls(end)) = &mut self.end {
            if !end.is_ready() {
                self.ends_later = true;
                return;
            }
            end.ends();
            let sent = end.sends();
            self.comes_in(sent);
        }
        if let Some(front) = &mut self.front {
            self.inbound.extend(front.arrives_whole());
        }
        self.peer_ended = true;
        self.has_news();
    }

    pub fn is_over_tls(&self) -> bool {
        matches!(self.end, Some(End::Tls(_)))
    }

    /// Whether something that was said has yet to arrive.
    fn is_late(&self) -> bool {
        self.front.as_ref().is_some_and(Front::is_late)
    }

    fn is_readable(&self) -> bool {
        !self.inbound.is_empty() || self.has_ended()
    }

    fn has_ended(&self) -> bool {
        self.peer_ended || self.broken
    }
}

/// What comes out of the completion queue.
#[derive(Debug)]
pub enum Entry {
    Completion(Completion),
    /// The descriptor for the end of writing is there; the shard's ring uses it and says nothing.
    Installed(usize),
}

/// Everything outside of the shard.
pub struct World {
    pub random: Random,
    pub chances: Chances,
    pub now: Duration,
    /// How much of that the shard was at work or asleep, and how often something else happened.
    pub at_work: Duration,
    pauses: u32,
    /// What the wall clock shows at `now` 0, since 1970; to step the clock is to add another.
    pub calendars: Vec<Duration>,
    /// The latest of them.
    latest: Duration,
    pub sockets: Vec<Socket>,
    peers: Vec<Box<dyn Client>>,
    crowd: Option<Temper>,
    server_compresses: bool,
    plan: Plan,
    /// By slot.
    pub slots: Vec<Option<usize>>,
    /// By listener.
    pub waiting: [Waiting; NAMES],
    pub queue: VecDeque<Queued>,
    pub lent: VecDeque<BufferId>,
    pub visible: VecDeque<Entry>,
    pub overflowed: VecDeque<Entry>,
    pub watch: Watch,
    waker: Waker,
    /// The sleep at hand, or the last one.
    sleep: Sleep,
    /// A sleep of the shard ended and it had not been woken.
    pub slept_through: bool,
    /// The shard was told to end, by a drain or at once.
    pub drains: bool,
    /// Everybody who comes may be refused or closed by a drain.
    pub marks_who_come: bool,
    /// Something happened that may cost any client its connection.
    pub disturbed: bool,
    pub buffer_size: usize,
    /// Clients that were promised all of their answers, and got them.
    pub served: u64,
    /// A hash of everything that happened.
    pub trace: u64,
}

/// How many listeners there are: one for HTTP and what that leads to, one for the line echo.
const LISTENERS: usize = 2;

/// What listeners may be called, with those that changes bring.
const NAMES: usize = 8;

const HTTP: usize = 0;
const LINES: usize = 1;

/// Clients that wait at a listener.
#[derive(Default)]
pub struct Waiting {
    pub to_accept: VecDeque<usize>,
    pub is_polled: bool,
    /// It was polled since it was opened.
    pub is_known: bool,
    /// Somebody may connect to it who may as well to another one.
    pub is_open: bool,
}

/// For so long a shard sleeps that has work which it cannot do just now, such as mail that it may
/// not take in yet.
/// What the calendar shows at first, since 1970.
pub const BEGINNING: Duration = Duration::from_secs(1_700_000_000);

const A_MOMENT: Duration = Duration::from_millis(1);

/// The shard that a world is around.
pub struct Server {
    pub slots: u32,
    pub buffer_size: usize,
    pub compresses: bool,
    pub plan: Plan,
    pub waker: Waker,
}

/// A shard's sleep.
#[derive(Default)]
struct Sleep {
    /// It was allowed to sleep for more than a moment, so it is parked.
    is_one: bool,
    was_woken: bool,
    until: Duration,
    /// How long a moment of it is.
    step: Duration,
}

/// What is written is hashed (FNV-1a).
struct Trace<'a>(&'a mut u64);

impl std::fmt::Write for Trace<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for byte in text.bytes() {
            *self.0 = (*self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
        Ok(())
    }
}

impl World {
    /// A world for such a shard.
    pub fn new(seed: u64, server: Server) -> Self {
        let Server { slots, buffer_size, compresses, waker, plan } = server;
        let mut random = Random::new(seed);
        let chances = Chances::draw(&mut random);
        let crowd = Peer::crowd(&mut random);
        Self {
            disturbed: chances.is_narrow(),
            chances,
            random,
            now: Duration::ZERO,
            at_work: Duration::ZERO,
            pauses: 0,
            calendars: vec![BEGINNING],
            latest: BEGINNING,
            sockets: Vec::new(),
            peers: Vec::new(),
            crowd,
            server_compresses: compresses,
            plan,
            slots: vec![None; slots as usize],
            waiting: <[Waiting; NAMES]>::default(),
            queue: VecDeque::new(),
            lent: VecDeque::new(),
            visible: VecDeque::new(),
            overflowed: VecDeque::new(),
            watch: Watch::default(),
            waker,
            sleep: Sleep::default(),
            slept_through: false,
            drains: false,
            marks_who_come: false,
            buffer_size,
            served: 0,
            trace: 0,
        }
    }

    /// Another client connects.
    pub fn connect(&mut self) {
        let index = self.sockets.len();
        let is_narrow = self.chances.is_narrow();
        if self.plan.trickles && !is_narrow && self.random.chance(500) {
            let trickler = Trickler::new(&mut self.random);
            self.comes(HTTP, Box::new(trickler));
        } else if self.random.chance(self.plan.lines) {
            let peer = LinePeer::new(&mut self.random, &self.plan, index, is_narrow);
            self.note(peer.temper);
            self.comes(LINES, Box::new(peer));
        } else if self.random.chance(self.plan.bodies) {
            let peer = BodyPeer::new(&mut self.random, &self.plan, is_narrow);
            self.note(peer.temper);
            self.comes(HTTP, Box::new(peer));
        } else if self.plan.talks > 0 && self.random.chance(self.plan.talks) {
            let (plan, compresses) = (&self.plan, self.server_compresses);
            let commander = Commander::new(&mut self.random, plan, index, compresses);
            self.note(commander.temper);
            self.comes(HTTP, Box::new(commander));
        } else if self.random.chance(self.plan.share) {
            let mut member =
                Member::new(&mut self.random, &self.plan, index, self.server_compresses);
            member.is_prompt &= self.chances.send_buffer >= 3000;
            self.note(member.temper);
            self.comes(HTTP, Box::new(member));
        } else {
            let mut peer = Peer::new(&mut self.random, self.crowd, self.server_compresses);
            if self.plan.bearers > 0 && self.random.chance(self.plan.bearers) {
                let token = Token::draw(&mut self.random);
                peer.bears(&mut self.random, token, &self.plan.takings);
            }
            self.note(peer.temper);
            self.comes(HTTP, Box::new(peer));
        }
    }

    /// All members who want events lose their connections, and come back at once: each goes on from
    /// where it stood, or from before that.
    pub fn reconnect(&mut self) {
        for index in 0..self.sockets.len() {
            let socket = &self.sockets[index];
            if socket.broken || socket.peer_ended || socket.server_closed {
                continue;
            }
            let Some(mut identity) = self.peers[index].drops_out() else { continue };
            self.resets(index);
            if let Some(since) = &mut identity.since {
                since.offset -= self.random.below(since.offset as usize + 1) as u64;
            }
            let how = (self.sockets.len(), self.server_compresses);
            let mut member = Member::with(&mut self.random, &self.plan, how, identity);
            member.is_prompt &= self.chances.send_buffer >= 3000;
            self.comes(HTTP, Box::new(member));
        }
    }

    /// So many clients say half a request head, and keep it.
    pub fn half_heads(&mut self, count: usize) {
        for _ in 0..count {
            let peer = Peer::with_half_a_head(&mut self.random, self.server_compresses);
            self.comes(HTTP, Box::new(peer));
        }
    }

    /// By which listener somebody comes who speaks what is spoken on this one: perhaps by one that
    /// a change has brought, where the same is.
    fn door(&mut self, listener: usize) -> usize {
        let is_open = |place: &usize| self.waiting[*place].is_open;
        match (LISTENERS..NAMES).find(is_open) {
            Some(other) if listener == HTTP && self.random.chance(500) => other,
            _ => listener,
        }
    }

    fn comes(&mut self, listener: usize, mut peer: Box<dyn Client>) {
        let door = self.door(listener);
        self.waiting[door].to_accept.push_back(self.sockets.len());
        let socket = self.fresh_socket(listener);
        if socket.drains || socket.front.as_ref().is_some_and(Front::is_wrong) {
            peer.harm();
        }
        if socket.front.as_ref().is_some_and(Front::is_twofold) {
            peer.is_misread();
        }
        self.sockets.push(socket);
        self.peers.push(peer);
    }

    /// A drain begins: these may be closed by it, and if they are all, those as well who come.
    pub fn drains(&mut self, meant: Meant) {
        self.marks_who_come = meant == Meant::All;
        self.marks(meant);
    }

    /// These may be closed with 1012 from now on.
    pub fn marks(&mut self, meant: Meant) {
        for (socket, peer) in self.sockets.iter_mut().zip(&mut self.peers) {
            let is_meant = match meant {
                Meant::All => true,
                Meant::Listener(listener) => socket.listener == listener,
                Meant::Path(path) => peer.path() == Some(path),
            };
            if is_meant {
                socket.drains = true;
                peer.harm();
            }
        }
    }

    fn fresh_socket(&mut self, listener: usize) -> Socket {
        let drains = self.marks_who_come;
        let mut socket = Socket { listener, drains, ..Socket::default() };
        if self.plan.is_proxied {
            let mut front = Front::draw(&mut self.random, self.sockets.len(), listener == HTTP);
            socket.inbound.extend(front.arrives(&mut self.random));
            socket.front = Some(front);
        }
        match &self.plan.transport {
            Transport::Plain => {}
            Transport::Xor => socket.end = Some(End::Xor(Streams::default())),
            Transport::Tls(tls) => {
                let mut end = TlsEnd::new(&tls.clients);
                socket.comes_in(end.sends());
                socket.end = Some(End::Tls(Box::new(end)));
            }
        }
        socket
    }

    /// The token that the client in a slot has, if it was to show one.
    pub fn bearing(&self, slot: Slot) -> Option<Bearing> {
        self.peers[self.slots[slot as usize]?].bearing()
    }

    /// The latest that the calendar may have shown.
    pub fn latest(&self) -> Duration {
        self.latest + self.now
    }

    /// The address that the kernel has of a client.
    pub fn socket_address(&self, index: usize) -> SocketAddr {
        match &self.sockets[index].front {
            Some(front) => front.socket,
            None => (Ipv4Addr::LOCALHOST, index as u16).into(),
        }
    }

    /// The address that is to be told of a client, if there is one with this number.
    pub fn told_address(&self, index: usize) -> Option<SocketAddr> {
        match &self.sockets.get(index)?.front {
            Some(front) => Some(front.told),
            None => Some(self.socket_address(index)),
        }
    }

    fn resets(&mut self, index: usize) {
        let socket = &mut self.sockets[index];
        if let Some(front) = &mut socket.front {
            front.breaks();
        }
        socket.broken = true;
        socket.has_news();
        socket.inbound.clear();
        socket.outbound.clear();
        self.peers[index].sees_nothing_more();
    }

    /// Over TLS: the stream ends without the alert that says so (RFC 8446, section 6.1), at
    /// times behind bytes that are no record of this connection.
    fn breaks_its_transport(&mut self, index: usize) {
        let has_no_record = self.random.chance(500);
        let socket = &mut self.sockets[index];
        if has_no_record {
            socket.inbound.extend([23, 3, 3, 0, 20]);
            socket.inbound.extend([0; 20]);
        }
        socket.peer_ended = true;
        socket.has_news();
        self.peers[index].sees_nothing_more();
    }

    /// Whether all clients have seen the end of their connections.
    pub fn is_quiet(&self) -> bool {
        let gone = |socket: &Socket| socket.server_closed || socket.broken;
        self.are_all_accepted() && self.sockets.iter().all(gone)
    }

    /// The shard has had a turn; whom of its connections does it hold?
    pub fn had_a_turn(&mut self, is_held: impl Fn(Slot) -> bool) {
        let tick = Some(self.now.as_millis() / TICK.as_millis());
        for socket in &mut self.sockets {
            let counts = socket.held_last != tick && socket.slot.is_some_and(&is_held);
            if counts {
                socket.held_last = tick;
                socket.held += 1;
            }
        }
    }

    /// Whether somebody is being sent a body.
    pub fn sends_bodies(&self) -> bool {
        let mut all = self.sockets.iter().zip(&self.peers);
        all.any(|(socket, peer)| !socket.server_closed && peer.is_sent_a_body())
    }

    fn are_all_accepted(&self) -> bool {
        self.waiting.iter().all(|waiting| waiting.to_accept.is_empty())
    }

    /// Whether the server has given up the connection of a client.
    pub fn is_gone(&self, index: usize) -> bool {
        self.sockets.get(index).is_some_and(|socket| socket.server_closed)
    }

    /// Whether nothing is on its way: neither to a client that reads, nor from any.
    pub fn is_at_rest(&self) -> bool {
        let rests = |at: usize| {
            let (socket, peer) = (&self.sockets[at], &self.peers[at]);
            socket.server_closed
                || socket.broken
                || (socket.inbound.is_empty()
                    && !socket.is_late()
                    && peer.is_waiting()
                    && (peer.is_slow() || socket.outbound.is_empty()))
        };
        self.are_all_accepted() && self.queue.is_empty() && (0..self.sockets.len()).all(rests)
    }

    /// Everything that was published has been delivered: each client checks that it heard it.
    pub fn check_complete(&mut self) {
        self.peers.iter_mut().for_each(|peer| peer.check_complete());
    }

    /// Receive buffers that the shard has lent and not got back.
    pub fn buffers(&self) -> usize {
        let coming = self.visible.iter().chain(&self.overflowed).filter(|entry| {
            matches!(entry, Entry::Completion(Completion::Received { buffer: Some(_), .. }))
        });
        self.lent.len() + coming.count()
    }

    pub fn describe(&self) -> String {
        format!(
            "{:?}, {} clients (most {:?}), at {:?}",
            self.chances,
            self.peers.len(),
            self.crowd,
            self.now
        )
    }

    pub fn note(&mut self, what: impl std::fmt::Debug) {
        // Writing into the hash cannot fail.
        let _ = write!(Trace(&mut self.trace), "{what:?}");
    }

    pub fn chance(&mut self, pick: impl Fn(&Chances) -> u32) -> bool {
        let per_mille = pick(&self.chances);
        self.random.chance(per_mille)
    }

    pub fn socket(&mut self, slot: Slot) -> Option<&mut Socket> {
        self.slots[slot as usize].map(|socket| &mut self.sockets[socket])
    }

    /// An operation of this connection has failed that should not have.
    pub fn harm(&mut self, slot: Slot) {
        if let Some(socket) = self.slots[slot as usize] {
            self.peers[socket].harm();
        }
    }

    pub fn complete(&mut self, completion: Completion) {
        self.note(completion);
        self.emit(Entry::Completion(completion));
    }

    fn emit(&mut self, entry: Entry) {
        if self.visible.len() < self.chances.completions && self.overflowed.is_empty() {
            self.visible.push_back(entry);
        } else {
            self.overflowed.push_back(entry);
        }
    }

    /// The next completion that the shard sees.
    pub fn take_completion(&mut self) -> Option<Completion> {
        loop {
            match self.visible.pop_front()? {
                Entry::Completion(completion) => return Some(completion),
                Entry::Installed(index) => {
                    let socket = &mut self.sockets[index];
                    socket.installed = false;
                    socket.server_ended = true;
                    if socket.slot.is_none() {
                        self.end(index);
                    }
                }
            }
        }
    }

    /// Wants a descriptor for the end of writing.
    pub fn finish_writes(&mut self, slot: Slot) {
        let lacks_one = self.chance(|chances| chances.no_descriptor);
        let Some(index) = self.slots[slot as usize] else { return };
        self.sockets[index].finished_writing = true;
        if !lacks_one {
            self.sockets[index].installed = true;
            self.emit(Entry::Installed(index));
        }
    }

    pub fn close(&mut self, slot: Slot) {
        let is_full = self.slots.iter().all(Option::is_some);
        let index = self.slots[slot as usize].take().expect("closed a slot without a connection");
        let is_unread = !self.sockets[index].inbound.is_empty() || self.sockets[index].is_late();
        if is_full && is_unread {
            // Whoever was answered gives way to who comes, though it says more.
            self.peers[index].harm();
        }
        let socket = &mut self.sockets[index];
        assert!(socket.poll.is_none(), "slot {slot} is closed while its poll is armed");
        assert!(socket.send.is_none(), "slot {slot} is closed while its send is armed");
        socket.slot = None;
        if !socket.installed {
            self.end(index);
        }
    }

    /// The last descriptor of a connection is closed.
    fn end(&mut self, index: usize) {
        let socket = &mut self.sockets[index];
        socket.server_closed = true;
        socket.server_ended = true;
        let is_mute = socket.front.as_ref().is_some_and(Front::is_mute);
        assert!(!is_mute || socket.sent == 0, "client {index} is answered though its proxy is not");
        // With bytes unread the kernel resets, and what is on its way to the peer may be lost.
        if !socket.inbound.is_empty() {
            let arrives = self.random.below(socket.outbound.len() + 1);
            socket.outbound.truncate(arrives);
        }
    }

    pub fn close_listener(&mut self, listener: ListenerId) {
        // Whoever has connected is told of the drain, as long as there is a slot for it, and the
        // time of the drain is not over with a jump.
        let had_time = self.chances.clock_jump == 0 && self.chances.pause == 0;
        let had_slot = self.slots.iter().any(Option::is_none);
        let had_room = had_slot && had_time && self.chances.accept_error == 0;
        let to_accept = &mut self.waiting[listener as usize].to_accept;
        assert!(!had_room || to_accept.is_empty(), "a client that waits is reset");
        (self.waiting[listener as usize].is_known, self.waiting[listener as usize].is_open) =
            (false, false);
        let to_accept = &mut self.waiting[listener as usize].to_accept;
        for socket in to_accept.drain(..) {
            self.sockets[socket].server_closed = true;
            self.sockets[socket].server_ended = true;
            self.peers[socket].harm();
        }
    }

    /// Clients act, polls fire, armed sends go on.
    fn live(&mut self, memory: &Memory) {
        for index in 0..self.sockets.len() {
            self.peer_acts(index);
            self.peer_reads(index);
            self.fire(index, memory);
        }
        for listener in 0..NAMES {
            let somebody = !self.waiting[listener].to_accept.is_empty() && self.random.chance(500);
            let is_polled = self.waiting[listener].is_polled;
            if is_polled && (somebody || self.chance(|chances| chances.spurious_wake)) {
                self.waiting[listener].is_polled = false;
                let listener = listener as ListenerId;
                self.complete(Completion::ListenerReady { listener });
            }
        }
        let is_woken = self.waker.clear();
        self.sleep.was_woken |= is_woken;
        if is_woken || self.chance(|chances| chances.spurious_wake) {
            self.complete(Completion::Woken);
        }
    }

    fn facts(&self, index: usize) -> Facts {
        let socket = &self.sockets[index];
        Facts {
            now: self.now,
            calendar: *self.calendars.last().expect("one at least") + self.now,
            latest: self.latest + self.now,
            at_work: self.at_work,
            pauses: self.pauses,
            held: socket.held,
            is_accepted: socket.slot.is_some() || socket.server_closed,
            is_given_up: socket.server_closed,
            unread: socket.inbound.len(),
            sent: socket.sent,
            drains: self.drains || socket.drains,
        }
    }

    fn peer_acts(&mut self, index: usize) {
        let facts = self.facts(index);
        self.peers[index].sees(&facts);
        let socket = &mut self.sockets[index];
        if socket.is_late() && !socket.has_ended() && self.random.chance(300) {
            let front = socket.front.as_mut().expect("what is late is a proxy's");
            socket.inbound.extend(front.arrives(&mut self.random));
            socket.has_news();
        }
        if socket.has_ended() || socket.ends_later {
            return;
        }
        let room = self.chances.receive_buffer.saturating_sub(socket.inbound.len());
        match self.peers[index].act(&mut self.random, room) {
            Action::Nothing => {}
            Action::Say(bytes) => {
                if !socket.server_closed {
                    if socket.is_over_tls() && self.random.chance(50) {
                        socket.turns_keys();
                    }
                    socket.says(bytes);
                    socket.has_news();
                }
            }
            Action::End => socket.ends(),
            Action::Reset if socket.is_over_tls() && self.random.chance(500) => {
                self.breaks_its_transport(index);
            }
            Action::Reset => self.resets(index),
        }
    }

    fn peer_reads(&mut self, index: usize) {
        let facts = self.facts(index);
        let socket = &mut self.sockets[index];
        let peer = &mut self.peers[index];
        if socket.broken || peer.saw_end() || !peer.wants_to_read(&mut self.random) {
            return;
        }
        let any = self.random.below(socket.outbound.len() + 1);
        let count = if peer.reads_at_once() { socket.outbound.len() } else { any };
        let bytes = socket.hears(count);
        if !bytes.is_empty() {
            socket.answered_at.get_or_insert(self.now);
        }
        peer.reads(&facts);
        peer.hear(&bytes, self.drains || socket.drains);
        if socket.outbound.is_empty() && socket.server_ended {
            self.served += u64::from(peer.ended(self.disturbed));
        }
    }

    fn fire(&mut self, index: usize, memory: &Memory) {
        let Some(slot) = self.sockets[index].slot else { return };
        self.fire_poll(index, slot);
        if self.sockets[index].cancelled && self.random.chance(300) {
            if let Some(armed) = self.sockets[index].send.take() {
                let (generation, result) = (armed.generation, Err(Errno::CANCELED));
                self.complete(Completion::Sent { slot, generation, result });
            }
        } else if !self.chance(|chances| chances.late) {
            self.try_armed_send(slot, memory);
        }
    }

    fn fire_poll(&mut self, index: usize, slot: Slot) {
        let socket = &mut self.sockets[index];
        let (is_readable, ended) = (socket.is_readable(), socket.has_ended());
        let Some(poll) = &mut socket.poll else { return };
        // What is received by now is no news.
        poll.is_news &= is_readable;
        let (generation, stays) = (poll.generation, poll.stays);
        let fires = if poll.is_news || (is_readable && !stays) {
            !self.chance(|chances| chances.late)
        } else {
            self.chance(|chances| chances.spurious_poll)
        };
        if !fires {
            return;
        }
        let armed = stays && !self.chance(|chances| chances.poll_ends);
        self.sockets[index].poll = armed.then_some(ArmedPoll { generation, stays, is_news: false });
        self.complete(Completion::Readable { slot, generation, armed, ended });
    }

    /// Swaps neighbouring completions of different connections.
    fn reorder(&mut self) {
        for at in 1..self.visible.len() {
            let differ = slot_of(&self.visible[at - 1]) != slot_of(&self.visible[at]);
            if differ && self.chance(|chances| chances.reorder) {
                self.visible.swap(at - 1, at);
            }
        }
    }

    fn flush_overflow(&mut self) {
        while self.visible.len() < self.chances.completions {
            let Some(entry) = self.overflowed.pop_front() else { return };
            self.visible.push_back(entry);
        }
    }

    /// The shard enters the kernel, to sleep for `wait` at most.
    pub fn enter(&mut self, memory: &mut Memory, wait: Duration) {
        self.watch.look(&mut self.queue, memory, self.buffer_size);
        self.flush_overflow();
        self.submit(memory);
        self.sleep = Sleep { is_one: wait > A_MOMENT, ..Sleep::default() };
        self.live(memory);
        if self.chance(|chances| chances.clock_jump) {
            self.now += Duration::from_secs(self.random.below(100) as u64);
            self.pauses += 1;
        }
        if self.chance(|chances| chances.pause) {
            self.pause();
        }
        if self.chance(|chances| chances.calendar_step) {
            // By an hour, either way, or by years.
            let unix = self.random.pick(&[1_700_003_600, 1_699_996_400, 1_900_000_000]);
            let calendar = Duration::from_secs(unix);
            self.calendars.push(calendar);
            self.latest = self.latest.max(calendar);
        }
        // A kernel that does not take everything does not wait either.
        let wait = if self.queue.is_empty() { wait } else { Duration::ZERO };
        self.sleep.until = self.now + wait;
        // The longest sleeps of a shard without connections are seconds.
        self.sleep.step = Duration::from_millis(5).max(wait / 100);
    }

    /// The shard is stopped for up to half a minute: its peers go on, as far as the kernel's
    /// buffers go.
    fn pause(&mut self) {
        self.pauses += 1;
        let step = Duration::from_millis(self.random.below(1500) as u64);
        for _ in 0..20 {
            self.now += step;
            for index in 0..self.sockets.len() {
                self.peer_acts(index);
                self.peer_reads(index);
            }
        }
    }

    /// Whether the shard sleeps on.
    pub fn sleeps(&self) -> bool {
        self.visible.is_empty() && self.now < self.sleep.until
    }

    /// A moment of the shard's sleep has passed.
    pub fn doze(&mut self, memory: &Memory) {
        self.works(self.sleep.step);
        self.live(memory);
    }

    /// The shard comes back from the kernel.
    pub fn leave(&mut self) {
        self.slept_through |= self.sleep.is_one && !self.sleep.was_woken;
        self.works(Duration::from_micros(50));
        self.reorder();
    }

    fn works(&mut self, time: Duration) {
        self.now += time;
        self.at_work += time;
    }
}

/// Which connection a completion is about: those of one stay in order.
fn slot_of(entry: &Entry) -> Option<Slot> {
    let Entry::Completion(completion) = entry else { return None };
    match *completion {
        Completion::Readable { slot, .. }
        | Completion::Received { slot, .. }
        | Completion::ReceivedInto { slot, .. }
        | Completion::SendFellShort { slot, .. }
        | Completion::Sent { slot, .. }
        | Completion::Unacknowledged { slot, .. }
        | Completion::Accepted { slot, .. } => Some(slot),
        Completion::ListenerReady { .. } | Completion::Woken => None,
    }
}

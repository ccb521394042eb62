//! What the hub costs besides fan-out: how long a message takes to a connection of another shard,
//! and what a topic with one subscriber holds. The gateway runs within this process, embedded.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use serde::Serialize;
use tidegate::config::{Config, Limits, Route, Shards};
use tidegate::gateway::{Gateway, Program};
use tidegate::handler::{Admission, Context, Handler, Piece, Publishing, Wants};
use tidegate::hub::{self, Errand, Outcome};
use tidegate::names::{ConnectionId, Name};
use tidegate_proto::websocket::frame::OpCode;

use crate::arguments::count;
use crate::latency::{Latency, histogram};
use crate::plain::{self, PATIENCE};
use crate::process::MemoryUse;
use crate::progress;
use crate::random::Random;
use crate::target::Target;

/// Subscriptions of one connection; the gateway's default allows 128.
const EACH: usize = 100;

/// Characters of a printed id.
const ID: usize = 19;

/// What to do.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Messages to a connection of another shard, one after the other.
    #[arg(long, default_value_t = 20_000, value_parser = count)]
    pub pushes: usize,
    /// Topics with one subscriber each.
    #[arg(long, default_value_t = 100_000, value_parser = count)]
    pub topics: usize,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Messages that were pushed.
    pub pushes: usize,
    /// From before a client sends a message until another one, on another shard, has it.
    pub push: Latency,
    /// Topics that there were.
    pub topics: usize,
    /// What each of them and its subscription took of this process's private memory, in bytes.
    pub bytes_per_topic: f64,
}

/// Measures.
///
/// # Errors
/// The gateway did not start, or did not do what it was asked.
pub fn run(arguments: &Arguments) -> io::Result<Report> {
    let push = push(arguments.pushes)?;
    let bytes_per_topic = topics(arguments.topics)?;
    let Arguments { pushes, topics } = *arguments;
    Ok(Report { pushes, push, topics, bytes_per_topic })
}

/// Tells each connection its id, and hands messages on to the connection that they begin with.
struct Switch;

impl Handler for Switch {
    fn wants(&self) -> Wants {
        Wants::Whole
    }

    fn opened(&mut self, context: &mut Context<'_, '_>, _admission: Admission) {
        let id = context.id().to_string();
        // A connection that has just opened has room for a few bytes.
        let _ = context.send_bytes(id.as_bytes());
    }

    fn message(&mut self, context: &mut Context<'_, '_>, piece: Piece<'_>) {
        let whom = context.bytes(&piece).get(..ID).and_then(|id| std::str::from_utf8(id).ok());
        if let Some(id) = whom.and_then(|id| id.parse().ok()) {
            // What is not published is missed by the client, which is an error there.
            let target = hub::Target::Connection(id);
            let _ = context.publish_piece(&target, &piece, Publishing::default());
        }
    }
}

/// Where it listens.
fn address(gateway: &Gateway) -> SocketAddr {
    gateway.addresses()[0].ip().expect("it is over TCP")
}

fn start(shards: Shards) -> io::Result<Gateway> {
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut config = Config::default().with_listen(&[anywhere.into()]).with_admin(None);
    config.shards = shards;
    config.limits = Limits { connections: 4096, ..config.limits };
    config.hub.topics = 1 << 20;
    config.hub.subscriptions = 1 << 20;
    let switch = |route: &Route| -> Option<Box<dyn Handler>> {
        (route.path == "/echo").then(|| Box::new(Switch) as Box<dyn Handler>)
    };
    Gateway::start_with(config, Program::default().handlers(switch)).map_err(io::Error::other)
}

/// Measures how long messages take to a connection of another shard, one after the other, and a
/// tenth as many before, unmeasured.
///
/// # Errors
/// As for [`run`].
pub fn push(count: usize) -> io::Result<Latency> {
    let gateway = start(Shards::Count(2.try_into().expect("two is not zero")))?;
    let mut from = Client::open(address(&gateway))?;
    let mut to = Client::open(address(&gateway))?;
    // The kernel deals connections out as it likes.
    for _ in 0..100 {
        if from.id.shard != to.id.shard {
            break;
        }
        to = Client::open(address(&gateway))?;
    }
    if from.id.shard == to.id.shard {
        return Err(io::Error::other("the kernel gives all connections to one shard"));
    }
    let mut message = to.id.to_string().into_bytes();
    message.extend([b'.'; 45]);
    let mut times_ns = histogram();
    let mut bar = progress::bar((count + count / 10) as u64, "messages pushed");
    for round in 0..count + count / 10 {
        let sent = Instant::now();
        from.send(&message)?;
        if to.receive()? != message {
            return Err(io::Error::other("another message came than was sent"));
        }
        if round >= count / 10 {
            times_ns.saturating_record(sent.elapsed().as_nanos() as u64);
        }
        bar.advance(1);
        // A machine that does nothing else, and is not in a hurry either.
        std::thread::sleep(Duration::from_micros(100));
    }
    Ok(Latency::new(&times_ns))
}

fn topics(count: usize) -> io::Result<f64> {
    let gateway = start(Shards::Count(1.try_into().expect("one is not zero")))?;
    let mut clients = Vec::new();
    for _ in 0..count.div_ceil(EACH) {
        clients.push(Client::open(address(&gateway))?);
    }
    let door = gateway.door();
    // The first topic of each connection makes what a connection has once.
    for (number, client) in clients.iter().enumerate() {
        subscribe(&door, client.id, &format!("warm/{number}"))?;
    }
    let before = MemoryUse::of(std::process::id())?.private_bytes;
    for number in 0..count {
        subscribe(&door, clients[number / EACH].id, &format!("rooms/{number}"))?;
    }
    let after = MemoryUse::of(std::process::id())?.private_bytes;
    Ok(after.saturating_sub(before) as f64 / count as f64)
}

fn subscribe(door: &tidegate::hub::Door, id: ConnectionId, topic: &str) -> io::Result<()> {
    let topic = Name::new(topic).map_err(io::Error::other)?;
    let (sender, answer) = sync_channel(1);
    door.ask(Errand::Subscribe(hub::Target::Connection(id), topic), move |answer| {
        let _ = sender.send(answer);
    });
    match answer.recv_timeout(PATIENCE).map_err(io::Error::other)? {
        Outcome::Done(1) => Ok(()),
        other => Err(io::Error::other(format!("a subscription was answered with {other:?}"))),
    }
}

/// A client that waits for what it reads.
struct Client {
    stream: TcpStream,
    random: Random,
    id: ConnectionId,
}

impl Client {
    fn open(address: SocketAddr) -> io::Result<Self> {
        let mut random = Random::new()?;
        let mut stream = plain::open(&Target::new(address, "/echo"), &mut random)?;
        let text = String::from_utf8(receive(&mut stream)?).map_err(io::Error::other)?;
        let id = text.parse().map_err(io::Error::other)?;
        Ok(Self { stream, random, id })
    }

    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        let mut frame = Vec::new();
        plain::put_frame(&mut frame, OpCode::Binary, message, &mut self.random);
        self.stream.write_all(&frame)
    }

    fn receive(&mut self) -> io::Result<Vec<u8>> {
        receive(&mut self.stream)
    }
}

/// The next message, which is short and in one frame.
fn receive(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = [0; 2];
    stream.read_exact(&mut head)?;
    if head[1] > 125 {
        return Err(io::Error::other("a longer message came than any that was sent"));
    }
    let mut message = vec![0; head[1].into()];
    stream.read_exact(&mut message)?;
    Ok(message)
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Latency { p50_us, p90_us, p99_us, p999_us, max_us } = self.push;
        writeln!(out, "hub: {} pushes to a connection of another shard", self.pushes)?;
        writeln!(out, "  from end to end, p50  {p50_us:>12.1} us")?;
        writeln!(out, "                   p90  {p90_us:>12.1} us")?;
        writeln!(out, "                   p99  {p99_us:>12.1} us")?;
        writeln!(out, "                   p99.9{p999_us:>12.1} us")?;
        writeln!(out, "                   max  {max_us:>12.1} us")?;
        writeln!(out, "  topics                {:>12}", self.topics)?;
        writeln!(out, "  each, with one subscriber {:>8.1} B", self.bytes_per_topic)
    }
}

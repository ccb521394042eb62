//! A gateway whose topics have a history.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use tidegate_proto::websocket::frame::OpCode;

use super::Arguments;
use crate::plain;
use crate::random::Random;
use crate::server::Server;
use crate::target::Target;

/// Connections that there is room for by default.
const ROOM: usize = 16_384;

/// Connections beside the clients and the others: those that publish, and some to spare.
const SPARE: usize = 64;

/// What a message takes of the memory for messages beside its text, in bytes (ARCHITECTURE.md).
const MESSAGE_RECORDS: usize = 512;

/// Messages that are published before their events are read.
const PUBLISHED_AT_ONCE: usize = 16;

/// The least memory for messages, in bytes: that of the default configuration.
const MESSAGES_MIN: usize = 64 << 20;

/// A gateway, and how clients come back to it.
pub(super) struct Stage {
    pub(super) server: Server,
    pub(super) admin: SocketAddr,
    /// The path and the query of each topic, for one who has seen nothing of its epoch.
    pub(super) paths: Vec<String>,
}

impl Stage {
    /// Starts a gateway, and publishes what is to be missed.
    pub(super) fn set(arguments: &Arguments) -> io::Result<Self> {
        let config = configuration(arguments);
        let program = arguments.gateway.as_deref();
        let (server, admin) =
            Server::start_gateway_with_admin(program, arguments.shards, &config, None)?;
        let mut random = Random::new()?;
        let paths = (0..arguments.topics).map(|topic| {
            let path = format!("/recover/{topic}");
            let target = Target::new(server.target.address, &path);
            let epoch = publish(&target, arguments, &mut random)?;
            Ok(format!("{path}?since={epoch}:0"))
        });
        let paths = paths.collect::<io::Result<_>>()?;
        Ok(Self { server, admin, paths })
    }
}

/// What differs from the gateway's default configuration.
fn configuration(arguments: &Arguments) -> String {
    let Arguments { clients, topics, history, size, others, shards, .. } = *arguments;
    let connections = (clients + others + SPARE).max(ROOM);
    // Histories may take half of it, and those of each shard an equal part of that; topics come to
    // shards by their names.
    let held = topics * history * (size + MESSAGE_RECORDS);
    let messages = (2 * held * shards as usize * 3 / 2).max(MESSAGES_MIN);
    let history_bytes = (history * size).max(1);
    format!(
        "[limits]\nconnections = {connections}\n\
         [hub]\nmessages = {messages}\n\
         [[topic]]\nname = \"recover/{{room}}\"\nhistory = {history}\n\
         history_bytes = {history_bytes}\nhistory_age = \"1h\"\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\nstack = \"ws!tcp\"\n\
         [[route]]\npath = \"/recover/{{room}}\"\n\
         handler = \"hub?topic=recover/{{room}}&events=on\"\n\
         [[route]]\npath = \"/echo\"\nhandler = \"echo\"\n"
    )
}

/// Fills the history of one topic; yields its epoch.
fn publish(target: &Target, arguments: &Arguments, random: &mut Random) -> io::Result<String> {
    let mut stream = plain::open(target, random)?;
    let epoch = epoch(&receive(&mut stream)?)?;
    let mut left = arguments.history;
    while left > 0 {
        let count = left.min(PUBLISHED_AT_ONCE);
        let mut frames = Vec::new();
        for _ in 0..count {
            let text = text(arguments.size, random);
            plain::put_frame(&mut frames, OpCode::Text, text.as_bytes(), random);
        }
        stream.write_all(&frames)?;
        // What it publishes comes back to itself: then it is kept.
        for _ in 0..count {
            receive(&mut stream)?;
        }
        left -= count;
    }
    Ok(epoch)
}

/// Letters, which JSON takes as they are.
fn text(size: usize, random: &mut Random) -> String {
    (0..size).map(|_| char::from(b'a' + (random.next_u64() >> 32) as u8 % 26)).collect()
}

/// The epoch of the first event.
fn epoch(event: &[u8]) -> io::Result<String> {
    let event: serde_json::Value = serde_json::from_slice(event)?;
    let epoch = event["epoch"].as_str();
    epoch.map(str::to_owned).ok_or_else(|| io::Error::other("a topic was told without its epoch"))
}

/// The next event, in one frame as everything that the hub says.
fn receive(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = [0; 2];
    stream.read_exact(&mut head)?;
    let length = match head {
        [0x81, 126] => {
            let mut length = [0; 2];
            stream.read_exact(&mut length)?;
            u64::from(u16::from_be_bytes(length))
        }
        [0x81, 127] => {
            let mut length = [0; 8];
            stream.read_exact(&mut length)?;
            u64::from_be_bytes(length)
        }
        [0x81, length] => length.into(),
        _ => return Err(io::Error::other("the gateway did not take what was published")),
    };
    let mut event = Vec::new();
    stream.take(length).read_to_end(&mut event)?;
    Ok(event)
}

//! Rooms by the path, and news for all of them: a handler of one's own puts each connection on two
//! topics, publishes what it says on the first, and another thread publishes on the second.
//!
//! `cargo run --example rooms_and_push` says where to connect to. Ctrl-C drains, and ends it.

use std::error::Error;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tidegate::prelude::*;

struct Rooms {
    news: Name,
}

impl Handler for Rooms {
    fn wants(&self) -> Wants {
        Wants::Whole
    }

    fn request(&mut self, request: &Request<'_>, _: &mut Desk<'_>) -> Decision {
        let room = request.parameter("room").unwrap_or_default();
        let Ok(room) = Name::new(&format!("rooms/{room}")) else {
            return Refusal::InvalidTopic.into();
        };
        let (talks, listens) = (Subscribing::default().and_publishes(), Subscribing::default());
        Admission::default().joining(room, talks).joining(self.news.clone(), listens).into()
    }

    fn message(&mut self, context: &mut Context<'_, '_>, piece: Piece<'_>) {
        let Some(room) = context.publishing_topic() else {
            return context.close(Cause::Forbidden);
        };
        if context.publish_piece(&Target::Topic(room), &piece, Publishing::default()).is_err() {
            context.close(Cause::NoRoom);
        }
    }
}

/// Publishes something once a second, until the gateway has ended.
fn push(door: &Door, news: &Name, ended: &Receiver<()>) {
    let second = Duration::from_secs(1);
    for number in 1.. {
        if ended.recv_timeout(second) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        // On a shard's thread, which must not wait: so it is said elsewhere, or left alone, what
        // has come of it.
        door.publish(Target::Topic(news.clone()), format!("news {number}"), |_| {});
    }
}

const CONFIGURATION: &str = r#"
    limits.connections = 1000        # of each shard
    admin.address = "off"
    [[listener]]
    address = "127.0.0.1:0"          # any port that is free
    [[route]]
    path = "/rooms/{room}"
    handler = "embedded"
    slow_peer = "drop_oldest"        # who does not read misses something
"#;

fn main() -> Result<(), Box<dyn Error>> {
    let news = Name::new("news")?;
    let config = Config::parse(CONFIGURATION, "rooms_and_push.toml")?;
    let of_each = news.clone();
    let program =
        Program::default().handler("/rooms/{room}", move || Rooms { news: of_each.clone() });
    let gateway = Gateway::start_with(config, program)?;
    println!("ws://{}/rooms/lobby", gateway.addresses()[0]);
    let (handle, mut signals) = (gateway.handle(), Signals::new([SIGINT, SIGTERM])?);
    thread::spawn(move || signals.forever().for_each(|_| handle.drain()));
    let (door, (end, ended)) = (gateway.door(), channel());
    let pushing = thread::spawn(move || push(&door, &news, &ended));
    gateway.join()?;
    drop(end);
    pushing.join().map_err(|_| "what pushes has panicked".into())
}

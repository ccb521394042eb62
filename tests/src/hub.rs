//! A gateway in this process, with a door to its hub, and connections of which the shard is known.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use tidegate::config::{Config, Limits};
use tidegate::gateway::{Gateway, Program};
use tidegate::hub::{
    ConnectionFilter, ConnectionInfo, Content, Door, Errand, NotDone, Outcome, Publication,
    Published, Target, TopicInfo,
};
use tidegate::names::{ConnectionId, Name};
use tidegate::steering::{Counters, Handle};
use tidegate_proto::message::Kind;

use crate::gateway::driver;
use crate::{PATIENCE, Peer, http, wait_until};

/// A gateway of several shards in this process, and its door.
#[derive(Debug)]
pub struct HubGateway {
    gateway: Gateway,
    /// The way into the hub.
    pub door: Door,
}

/// A connection, and its id.
#[derive(Debug)]
pub struct Member {
    /// The other end.
    pub peer: Peer,
    /// What the gateway calls it.
    pub id: ConnectionId,
}

/// A name of a topic or a user.
///
/// # Panics
/// It is none.
#[must_use]
#[track_caller]
pub fn name(text: &str) -> Name {
    Name::new(text).expect("a right name")
}

/// The topic of this name as a target.
#[must_use]
#[track_caller]
pub fn topic(text: &str) -> Target {
    Target::Topic(name(text))
}

/// The user of this name as a target.
#[must_use]
#[track_caller]
pub fn user(text: &str) -> Target {
    Target::User(name(text))
}

impl HubGateway {
    /// Starts a gateway of so many shards. `more` is the rest of its configuration: keys of the
    /// root first, then tables. A listener in there lends its stack.
    ///
    /// # Panics
    /// It does not come up.
    #[must_use]
    #[track_caller]
    pub fn start(shards: usize, more: &str) -> Self {
        Self::start_with(shards, more, Program::default())
    }

    /// As [`HubGateway::start`], with what a program brings along.
    ///
    /// # Panics
    /// It does not come up.
    #[must_use]
    #[track_caller]
    pub fn start_with(shards: usize, more: &str, program: Program) -> Self {
        let root = format!("shards = {shards}\npin = false\ndriver = \"{}\"\n", driver());
        let text = root + more;
        let mut config = Config::parse(&text, "hub").unwrap_or_else(|wrong| panic!("{wrong}"));
        // Fewer than by default, so that no limit of open files has to be raised.
        if config.limits.connections == Limits::default().connections {
            config.limits.connections = 256;
        }
        let config =
            config.with_listen(&["127.0.0.1:0".parse().expect("an address")]).with_admin(None);
        let gateway = Gateway::start_with(config, program).expect("the gateway starts");
        let door = gateway.door();
        Self { gateway, door }
    }

    /// What steers it.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.gateway.handle()
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.gateway.addresses()[0].ip().expect("it is over TCP")
    }

    /// Tells it to drain.
    pub fn drain(&self) {
        self.gateway.drain();
    }

    /// Opens a connection, on whatever shard.
    #[must_use]
    #[track_caller]
    pub fn open(&self, path: &str) -> Member {
        self.open_with(&http::Request::open(path))
    }

    /// As [`HubGateway::open`], with another request.
    #[must_use]
    #[track_caller]
    pub fn open_with(&self, request: &http::Request) -> Member {
        self.identify(Peer::open_at(self.address(), request).0)
    }

    /// Opens connections until there is one on each shard; yields one of each, by shard. The others
    /// are gone when this returns.
    ///
    /// # Panics
    /// The kernel deals them out to one shard only.
    #[must_use]
    #[track_caller]
    pub fn open_on_each(&self, path: &str) -> Vec<Member> {
        let count = self.door.shards();
        let mut found: Vec<Option<Member>> = (0..count).map(|_| None).collect();
        let mut others = Vec::new();
        while found.iter().any(Option::is_none) {
            assert!(others.len() < 200, "every connection comes to the same shard");
            let member = self.open(path);
            match &mut found[usize::from(member.id.shard)] {
                place @ None => *place = Some(member),
                Some(_) => others.push(member),
            }
        }
        for id in others.into_iter().map(|member| member.id) {
            self.expect_gone(id);
        }
        found.into_iter().flatten().collect()
    }

    /// Opens a connection on this shard. Those that came to others are gone when this returns.
    #[must_use]
    #[track_caller]
    pub fn open_on(&self, shard: usize, request: &http::Request) -> Member {
        let mut others = Vec::new();
        let member = loop {
            assert!(others.len() < 200, "no connection comes to shard {shard}");
            let member = self.open_with(request);
            if usize::from(member.id.shard) == shard {
                break member;
            }
            others.push(member);
        };
        for id in others.into_iter().map(|member| member.id) {
            self.expect_gone(id);
        }
        member
    }

    /// Finds out which connection the peer is.
    ///
    /// # Panics
    /// It is on a route of which addresses are not kept.
    #[must_use]
    #[track_caller]
    pub fn identify(&self, peer: Peer) -> Member {
        let address = peer.address();
        let id = wait_until("the connection is listed", || {
            let found = self.connections(&ConnectionFilter::default());
            Some(found.into_iter().find(|one| one.peer == address.into())?.id)
        });
        Member { peer, id }
    }

    /// All connections of all shards that fit.
    #[must_use]
    #[track_caller]
    pub fn connections(&self, filter: &ConnectionFilter) -> Vec<ConnectionInfo> {
        let mut all = Vec::new();
        for shard in 0..self.door.shards() {
            let mut next = Some(0);
            while let Some(from) = next {
                let filter = filter.clone();
                let request = Errand::Connections { from, filter, limit: 100 };
                match self.ask_shard(shard, request) {
                    Outcome::Connections(found, more) => {
                        all.extend(found);
                        next = more;
                    }
                    other => panic!("connections were expected: {other:?}"),
                }
            }
        }
        all
    }

    /// Asks, and waits for the answer.
    #[track_caller]
    pub fn ask(&self, request: Errand) -> Outcome {
        answered(&self.ask_later(request))
    }

    /// Asks; the answer comes by the channel.
    pub fn ask_later(&self, request: Errand) -> Receiver<Outcome> {
        let (sender, receiver) = channel();
        self.door.ask(request, move |answer| _ = sender.send(answer));
        receiver
    }

    /// Asks a shard, and waits for the answer.
    #[track_caller]
    pub fn ask_shard(&self, shard: usize, request: Errand) -> Outcome {
        let (sender, receiver) = channel();
        self.door.ask_shard(shard, request, move |answer| _ = sender.send(answer));
        answered(&receiver)
    }

    /// A message as it is published from outside.
    ///
    /// # Panics
    /// It is not done.
    #[must_use]
    #[track_caller]
    pub fn publication(&self, kind: Kind, bytes: &[u8]) -> Publication {
        let message = content(kind, bytes).and_then(|content| self.door.message(content));
        let message = message.expect("a right message");
        Publication::new(message)
    }

    /// Publishes from outside.
    ///
    /// # Errors
    /// It is not done.
    #[track_caller]
    pub fn try_publish(
        &self,
        target: Target,
        kind: Kind,
        bytes: &[u8],
    ) -> Result<Published, NotDone> {
        match self.ask(Errand::Publish(target, self.publication(kind, bytes))) {
            Outcome::Published(published) => Ok(published),
            Outcome::NotDone(not_done) => Err(not_done),
            other => panic!("a publication was answered with {other:?}"),
        }
    }

    /// The same, again and again while the gateway is busy.
    ///
    /// # Panics
    /// It is not published.
    #[track_caller]
    pub fn publish_in_time(&self, target: &Target, kind: Kind, bytes: &[u8]) -> Published {
        let began = Instant::now();
        loop {
            match self.try_publish(target.clone(), kind, bytes) {
                Err(NotDone::Busy) if began.elapsed() < PATIENCE => {
                    thread::sleep(Duration::from_millis(1));
                }
                published => return published.expect("it is published"),
            }
        }
    }

    /// Publishes a text from outside; yields for how many connections it is.
    ///
    /// # Panics
    /// It is not done.
    #[track_caller]
    pub fn publish(&self, target: Target, text: &str) -> u64 {
        let done = self.try_publish(target, Kind::Text, text.as_bytes());
        done.expect("it is published").connections
    }

    /// Has something done; yields for how many connections.
    ///
    /// # Errors
    /// It is not done.
    #[track_caller]
    pub fn done(&self, request: Errand) -> Result<u64, NotDone> {
        match self.ask(request) {
            Outcome::Done(count) => Ok(count),
            Outcome::NotDone(not_done) => Err(not_done),
            other => panic!("an order was answered with {other:?}"),
        }
    }

    /// What is known of a topic, if there is one.
    #[must_use]
    #[track_caller]
    pub fn topic(&self, topic: &str) -> Option<TopicInfo> {
        match self.ask(Errand::Topic(name(topic))) {
            Outcome::Topics(mut found, _) => found.pop(),
            Outcome::NotDone(NotDone::Unknown) => None,
            other => panic!("a topic was expected: {other:?}"),
        }
    }

    /// Waits until a topic has so many subscribers.
    #[track_caller]
    pub fn expect_subscribers(&self, topic: &str, count: u64) {
        wait_until(&format!("{count} subscribers of {topic}"), || {
            let found = self.topic(topic).map_or(0, |topic| topic.subscribers);
            (found == count).then_some(())
        });
    }

    /// Waits until nothing is kept of a topic.
    #[track_caller]
    pub fn expect_no_topic(&self, topic: &str) {
        wait_until(&format!("{topic} is gone"), || self.topic(topic).is_none().then_some(()));
    }

    /// Waits until a connection is no more.
    #[track_caller]
    pub fn expect_gone(&self, id: ConnectionId) {
        wait_until("the connection ends", || match self.ask(Errand::Connection(id)) {
            Outcome::NotDone(NotDone::Gone) => Some(()),
            _ => None,
        });
    }

    /// The counters, as of the last tick.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.gateway.counters()
    }

    /// Waits until the counters are as `is_right` says; yields them.
    #[track_caller]
    pub fn expect_counters(&self, what: &str, is_right: impl Fn(&Counters) -> bool) -> Counters {
        wait_until(what, || Some(self.counters()).filter(&is_right))
    }

    /// Waits until nothing of connections and messages is left but histories, whose messages hold
    /// so much memory.
    #[track_caller]
    pub fn expect_rest(&self, memory: u64) {
        wait_until("no connection is left", || {
            self.connections(&ConnectionFilter::default()).is_empty().then_some(())
        });
        let is_rest = |now: &Counters| {
            [now.connections, now.subscriptions, now.topics, now.queued, now.blocks_used]
                .iter()
                .all(|count| *count == 0)
        };
        self.expect_counters("connections, subscriptions and frames are gone", is_rest);
        wait_until(&format!("messages hold {memory} B"), || {
            (self.door.memory().used() == memory).then_some(())
        });
    }
}

/// What a message of this kind says.
///
/// # Errors
/// It is text that is none.
pub fn content(kind: Kind, bytes: &[u8]) -> Result<Content, NotDone> {
    match kind {
        Kind::Text => Content::text(bytes.to_vec()),
        Kind::Bytes => Ok(Content::bytes(bytes.to_vec())),
    }
}

#[track_caller]
fn answered(answer: &Receiver<Outcome>) -> Outcome {
    answer.recv_timeout(PATIENCE).expect("every request is answered")
}

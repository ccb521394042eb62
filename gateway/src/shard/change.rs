//! A change of the configuration as it is ordered, and where shards show how far they are.
//!
//! All shards are handed the same one. Each makes what it needs beside its work, and shows that it
//! is ready. Once all are, one word says that the change is in force: each shard looks at it
//! between two turns of its loop, so no request sees half of it.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Thread};

use crate::access_log::AccessFeed;
use crate::census::Census;
use crate::checks::GatekeeperParts;
use crate::config::Config;
use crate::hub::TopicRules;
use crate::kernel::{ListenerId, ListeningSocket};
use crate::protocol::services::{ListenerTable, NotPrepared, RouteTable};

/// What takes the place of what shards have.
#[derive(Clone)]
pub struct ChangeParts {
    /// What is in force then.
    pub config: Arc<Config>,
    /// The routes, which follow those that shards have.
    pub routes: Arc<RouteTable>,
    /// The listeners, which follow those that shards have.
    pub listening: Arc<ListenerTable>,
    /// What requests are checked by.
    pub checks: GatekeeperParts,
    /// What connections are counted by.
    pub census: Arc<Census>,
    /// The way into the access log, if there is one.
    pub access_log: Option<AccessFeed>,
    /// What is kept of which topics.
    pub rules: Arc<TopicRules>,
    /// How many connections each shard closes in a second whose route is there no longer; `None` if
    /// they stay.
    pub closes: Option<u32>,
}

/// Sockets of a shard, and what it is to call them.
pub type NewSockets = Vec<(ListenerId, ListeningSocket)>;

/// A change that was ordered.
pub struct ConfigChange {
    parts: ChangeParts,
    /// The sockets of listeners that are new, until their shards have them.
    sockets: Mutex<Vec<NewSockets>>,
    stage: AtomicU8,
    ready: AtomicU32,
    done: AtomicU32,
    wrong: Mutex<Option<NotPrepared>>,
    /// Who has ordered it, and waits.
    waits: Thread,
}

/// What has become of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeStage {
    /// Shards make what they need.
    Ordered,
    /// It is in force.
    InForce,
    /// Nothing comes of it.
    Abandoned,
}

const ORDERED: u8 = 0;
const IN_FORCE: u8 = 1;
const ABANDONED: u8 = 2;

impl ConfigChange {
    /// A change that the calling thread will wait for.
    #[must_use]
    pub fn new(parts: ChangeParts) -> Self {
        Self {
            parts,
            sockets: Mutex::default(),
            stage: AtomicU8::new(ORDERED),
            ready: AtomicU32::new(0),
            done: AtomicU32::new(0),
            wrong: Mutex::default(),
            waits: thread::current(),
        }
    }

    /// With these sockets, by shard.
    #[must_use]
    pub fn with_sockets(self, by_shard: Vec<NewSockets>) -> Self {
        Self { sockets: Mutex::new(by_shard), ..self }
    }

    /// The sockets of a shard, which are its own from here on.
    pub(super) fn take_sockets(&self, shard: usize) -> NewSockets {
        let mut sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        sockets.get_mut(shard).map(std::mem::take).unwrap_or_default()
    }

    /// What takes the place of what shards have.
    #[must_use]
    pub fn parts(&self) -> &ChangeParts {
        &self.parts
    }

    /// What has become of it.
    #[must_use]
    pub fn stage(&self) -> ChangeStage {
        match self.stage.load(Ordering::Acquire) {
            ORDERED => ChangeStage::Ordered,
            IN_FORCE => ChangeStage::InForce,
            _ => ChangeStage::Abandoned,
        }
    }

    /// It is in force from now on. Shards have to be woken.
    pub fn put_in_force(&self) {
        self.stage.store(IN_FORCE, Ordering::Release);
    }

    /// Nothing comes of it. Shards have to be woken.
    pub fn abandon(&self) {
        self.stage.store(ABANDONED, Ordering::Release);
    }

    /// How many shards are ready for it.
    #[must_use]
    pub fn ready(&self) -> u32 {
        self.ready.load(Ordering::Acquire)
    }

    /// How many have it.
    #[must_use]
    pub fn done(&self) -> u32 {
        self.done.load(Ordering::Acquire)
    }

    /// Why a shard cannot have it.
    #[must_use]
    pub fn wrong(&self) -> Option<NotPrepared> {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A shard is ready for it.
    pub(super) fn is_ready(&self) {
        self.ready.fetch_add(1, Ordering::AcqRel);
        self.waits.unpark();
    }

    /// A shard has it.
    pub(super) fn is_done(&self) {
        self.done.fetch_add(1, Ordering::AcqRel);
        self.waits.unpark();
    }

    /// A shard cannot have it.
    pub(super) fn is_wrong(&self, why: NotPrepared) {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        self.waits.unpark();
    }
}

//! Which connections of this shard are subscribed to what.

use super::local::{Local, Terms};
use super::mail::{Inquiry, Joined, Left, Participant};
use super::{Author, Errand, Form, Hub, Mail, NotDone, Subscriber};
use crate::kernel::Slot;
use crate::names::{Address, ConnectionId, Name, Position};

/// What one who subscribes wants to be told of what was published before, as far as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Past {
    /// What was published behind the message that it saw last.
    Since(Position),
    /// So many messages, the last ones.
    Last(u16),
}

/// How a connection subscribes.
#[derive(Clone, Debug, Default)]
pub struct Subscribing {
    /// It wants events: messages with topic and position, joins and leaves, as JSON text; and first
    /// of all where it stands. Otherwise it gets messages as they were published.
    pub events: bool,
    /// What it wants to be told first of what was published before. Only with `events`. One who is
    /// subscribed already begins anew for it.
    pub past: Option<Past>,
    /// The connection publishes on the topic by sending.
    pub publishes: bool,
    /// Who asks for it: comes back as
    /// [`Event::Answered`](crate::handler::Event::Answered), with [`Outcome::Done`](super::Outcome)
    /// behind the event that says where it stands, or with why it is not subscribed; and that event
    /// has it as its `id`. Only with `events`. Without one, a connection that its topic has no room
    /// for is closed.
    pub tag: Option<u32>,
    /// The user that the connection belongs to.
    pub(crate) user: Option<Name>,
    /// In which form it is sent what is published.
    pub(crate) form: Form,
    /// What it is told that it can be asked for with again.
    pub(crate) resume: Option<Box<str>>,
}

impl Subscribing {
    /// The connection publishes on the topic by sending.
    #[must_use]
    pub fn and_publishes(self) -> Self {
        Self { publishes: true, ..self }
    }

    /// Who asks for it is answered with this: see [`Subscribing::tag`].
    #[must_use]
    pub fn with_tag(self, tag: u32) -> Self {
        Self { tag: Some(tag), ..self }
    }

    /// It wants events, and first of all this of what was published before.
    #[must_use]
    pub fn with_events(self, past: Option<Past>) -> Self {
        Self { events: true, past, ..self }
    }
}

impl Local {
    /// The name that stands for the user of a connection among its topics.
    pub(crate) fn user_topic(&self, slot: Slot) -> Option<&Name> {
        let mut names = self.topics_of(slot).map(|topic| &self.topic(topic).name);
        names.find(|name| name.user().is_some())
    }
}

impl Hub {
    /// Subscribes a connection of this shard, for what is spoken on it or for somebody outside.
    ///
    /// # Errors
    /// A bound is met. [`NotDone::Busy`]: very much mail waits, of which this, and its end, would
    /// be more.
    pub(crate) fn subscribe(
        &mut self,
        id: ConnectionId,
        name: &Name,
        how: Subscribing,
    ) -> Result<(), NotDone> {
        let is_told = how.tag.is_some() || how.resume.is_some() || how.past.is_some();
        let makes_mail = is_told || !self.is_subscribed(id.slot, name);
        if makes_mail && self.is_overfull() {
            return Err(NotDone::Busy);
        }
        self.subscribe_admitted(id, name, how)
    }

    /// The same for one that was let in, or of which it was said that this is done: however much
    /// mail waits.
    ///
    /// # Errors
    /// A bound is met.
    pub(crate) fn subscribe_admitted(
        &mut self,
        id: ConnectionId,
        name: &Name,
        how: Subscribing,
    ) -> Result<(), NotDone> {
        let address = self.locate(id).ok_or(NotDone::Gone)?;
        let replaced = replace(self, address.slot, name, &how);
        let publishes = how.publishes || replaced.as_ref().is_some_and(|one| one.publishes);
        self.serial = self.serial.wrapping_add(1);
        let Self { common, local, .. } = self;
        // On the topic that stands for a user there is nothing to be told first.
        let waits = how.events && name.user().is_none();
        let flag = |is_set: bool, flag: u32| if is_set { flag } else { 0 };
        let flags = flag(how.events, Subscriber::EVENTS) | flag(waits, Subscriber::PENDING);
        let subscriber = Subscriber::new(address.slot, how.form, flags);
        let terms = Terms { serial: self.serial, publishes };
        let hash = common.hash(name.as_str());
        let again =
            !local.subscribe(subscriber, terms, name, &|name| common.hash(name.as_str()))?;
        let Subscribing { past, user, form, tag, resume, .. } = how;
        if again && tag.is_none() && resume.is_none() {
            return Ok(());
        }
        let serial = match local.find(hash, name).filter(|_| again) {
            Some(topic) => local.serial(address.slot, topic).unwrap_or_default(),
            None => terms.serial,
        };
        let joined = Joined {
            name: name.clone(),
            hash,
            address,
            serial,
            participant: Participant::new(user, id),
            form,
            waits,
            past,
            tag,
            again,
            replaces: replaced.map(|one| one.form),
            resume,
        };
        self.post.send(common.home(hash), Mail::Joined(Box::new(joined)));
        Ok(())
    }

    /// Ends a subscription of a connection of this shard; `false` if there was none.
    /// With a tag, the connection is told of it behind everything of the topic.
    pub(crate) fn unsubscribe(&mut self, id: ConnectionId, name: &Name, tag: Option<u32>) -> bool {
        let Some(address) = self.locate(id) else { return false };
        let hash = self.common.hash(name.as_str());
        match self.local.find(hash, name) {
            Some(topic) => self.unsubscribe_topic(address, topic, self.user(address.slot), tag),
            None => false,
        }
    }

    /// Asks something of a topic, for a connection of this shard.
    ///
    /// # Errors
    /// [`NotDone::Unknown`]: it is nothing that one topic's home does. [`NotDone::Busy`]: very much
    /// mail waits, of which this and the answer would be more.
    pub(crate) fn ask(
        &mut self,
        id: ConnectionId,
        errand: Errand,
        tag: Option<u32>,
    ) -> Result<(), NotDone> {
        let asker = self.locate(id).ok_or(NotDone::Gone)?;
        let home = self.home_of(errand.topic().ok_or(NotDone::Unknown)?);
        if self.is_overfull() {
            return Err(NotDone::Busy);
        }
        self.published +=
            u64::from(matches!(errand, Errand::Publish(..) | Errand::PublishOnce(..)));
        self.post.send(home, Mail::Inquiry(Box::new(Inquiry { errand, asker, tag })));
        Ok(())
    }

    /// The connection has ended, and its subscriptions with it.
    pub(crate) fn ended(&mut self, address: Address) {
        let Some(mut topic) = self.local.any_topic_of(address.slot) else { return };
        // Who has left is known by the subscription to the user's topic, which ends as well.
        let user = self.user(address.slot);
        while self.unsubscribe_topic(address, topic, user.clone(), None) {
            match self.local.any_topic_of(address.slot) {
                Some(next) => topic = next,
                None => return,
            }
        }
    }

    /// Whether a connection wants events on some topic.
    pub(crate) fn wants_events(&self, slot: Slot) -> bool {
        let mut topics = self.local.topics_of(slot);
        topics.any(|topic| self.local.subscriber(slot, topic).is_some_and(Subscriber::wants_events))
    }

    /// The topic of this name, if it has subscribers here.
    pub(crate) fn find(&self, name: &Name) -> Option<u32> {
        self.local.find(self.common.hash(name.as_str()), name)
    }

    /// The user that a connection belongs to.
    pub(crate) fn user(&self, slot: Slot) -> Option<Name> {
        Name::new(self.local.user_topic(slot)?.user()?).ok()
    }

    /// Who a connection is to those who hear what it publishes.
    pub(crate) fn author(&self, id: ConnectionId) -> Author {
        Author::known(id, self.local.user_topic(id.slot).cloned())
    }

    /// The topics that a connection is subscribed to.
    pub(crate) fn topics(&self, slot: Slot) -> Vec<Name> {
        let names = self.local.topics_of(slot).map(|topic| self.local.topic(topic).name.clone());
        names.filter(|name| name.user().is_none()).collect()
    }

    /// The topic that a connection publishes on by sending.
    pub(crate) fn publishing_topic(&self, slot: Slot) -> Option<Name> {
        let topic = self.local.publishing_topic(slot)?;
        Some(self.local.topic(topic).name.clone())
    }

    /// Whether a connection publishes by sending.
    pub(crate) fn publishes(&self, slot: Slot) -> bool {
        self.local.publishing_topic(slot).is_some()
    }

    /// Whether a connection is subscribed to a topic.
    pub(crate) fn is_subscribed(&self, slot: Slot, name: &Name) -> bool {
        let topic = self.local.find(self.common.hash(name.as_str()), name);
        topic.is_some_and(|topic| self.local.subscriber(slot, topic).is_some())
    }

    pub(super) fn unsubscribe_topic(
        &mut self,
        address: Address,
        topic: u32,
        user: Option<Name>,
        tag: Option<u32>,
    ) -> bool {
        let participant = Participant::new(user, self.id_at(address));
        let Self { common, local, recoveries, .. } = self;
        let Some(subscriber) = local.subscriber(address.slot, topic) else { return false };
        let (name, form) = (local.topic(topic).name.clone(), subscriber.form());
        local.unsubscribe(address.slot, topic, &|name| common.hash(name.as_str()));
        let hash = common.hash(name.as_str());
        // What it missed is nobody's any more; a portion may be on its way.
        recoveries.remove((address.slot, hash));
        let left = Left { name, hash, address, participant, form, tag };
        self.post.send(common.home(hash), Mail::Left(Box::new(left)));
        true
    }
}

/// A subscription whose place another one of the same connection takes.
struct Replaced {
    /// The connection publishes there by sending.
    publishes: bool,
    form: Form,
}

/// Ends the subscription that a connection has, if it asks for something of the past: it cannot be
/// told that behind what it was told already, and begins anew. Its topic's home hears of it with
/// the one that takes its place, so that nobody is gone meanwhile.
fn replace(hub: &mut Hub, slot: Slot, name: &Name, how: &Subscribing) -> Option<Replaced> {
    how.past?;
    let Hub { common, local, recoveries, .. } = hub;
    let hash = common.hash(name.as_str());
    let topic = local.find(hash, name)?;
    let form = local.subscriber(slot, topic)?.form();
    let publishes = local.publishing_topic(slot) == Some(topic);
    local.unsubscribe(slot, topic, &|name| common.hash(name.as_str()));
    recoveries.remove((slot, hash));
    Some(Replaced { publishes, form })
}

//! What the hub may hold, for the bill.

use super::mail::{Direct, Inquiry, Joined, Mail};
use super::{Home, Local, Recoveries, Repeats, Settings};
use crate::bill::sizes::{hash_table, list, tree};
use crate::bill::{Line, Owner};
use crate::kernel::SlotSet;
use crate::names::Name;

/// A name of a topic, as long as it may be, with its counts of references.
const NAME_BYTES: usize = Name::LENGTH_MAX + 16;
/// A topic's records at its home and with its subscribers.
const TOPIC_BYTES: usize = Local::TOPIC_BYTES + Home::TOPIC_BYTES + NAME_BYTES;
/// A place in a mailbox, what a piece of mail of the larger kinds points to, and its allocation.
const MAIL_BYTES: usize = size_of::<Mail>()
    + largest(&[size_of::<Joined>(), size_of::<Inquiry>(), size_of::<Direct>()])
    + 16;

/// What decides how many subscriptions may get what they missed at once.
const RECOVERING: &[&str] =
    &["hub.subscriptions", "limits.connections", "hub.subscriptions_per_connection"];

/// What decides how much mail may wait.
const WAITING: &[&str] = &[
    "hub.subscriptions",
    "limits.connections",
    "hub.present",
    "hub.subscriptions_per_connection",
    "hub.mailbox",
    "shards",
];

/// What the hub may hold in each of `shards` shards, and what it has once.
pub(crate) fn lines(settings: &Settings, shards: usize) -> Vec<Line> {
    let Settings { slots, topics, subscriptions, present, mailbox, .. } = *settings;
    let idempotency_keys = settings.idempotency_keys;
    let subscribers = list(subscriptions.into(), size_of::<u32>());
    let recovering = recovering(settings);
    // While a mailbox is full, nobody who publishes is read from, and once as much as two hold
    // waits behind it, nobody who opens, and nobody subscribes or closes others; what comes to wait
    // then is that connections and subscriptions have ended, which each shard may have to hear of
    // those who were present, one order to close others for each connection that has ended, which
    // each shard may have to carry out, one question for each that recovers, and as many that were
    // accepted as another shard had places.
    let ended = u64::from(subscriptions) + u64::from(present);
    let waiting = ended + recovering + 2 * u64::from(mailbox) + 2 * u64::from(slots);
    let told = (u64::from(present) + u64::from(slots)) * (shards as u64 - 1);
    // Who is to be closed may be those of a topic that is nowhere else.
    let ordered = of(slots, NAME_BYTES);
    let waiting = of(waiting, MAIL_BYTES) + of(told, size_of::<Mail>()) + ordered;
    let places = shards as u64 * u64::from(mailbox);
    vec![
        Line::new(
            Owner::Topics,
            of(topics, TOPIC_BYTES) + 2 * hash_table(topics, 4),
            &["hub.topics"],
        ),
        Line::new(
            Owner::Subscriptions,
            of(subscriptions, Local::SUBSCRIPTION_BYTES) + subscribers,
            &["hub.subscriptions"],
        ),
        Line::new(Owner::Mailboxes, of(places, MAIL_BYTES), &["hub.mailbox", "shards"]),
        Line::new(Owner::WaitingMail, waiting, WAITING),
        Line::new(
            Owner::Recoveries,
            of(recovering, Recoveries::CURSOR_BYTES) + SlotSet::bytes(slots),
            RECOVERING,
        ),
        Line::new(
            Owner::Presence,
            of(present, Home::PRESENT_BYTES) + 2 * SlotSet::bytes(topics),
            &["hub.present", "hub.topics"],
        ),
        // All of them may have one home: that has then what the others have not.
        Line::new(
            Owner::Denied,
            tree(subscriptions, Home::SUBSCRIPTION_BYTES),
            &["hub.subscriptions"],
        ),
        Line::new(Owner::Unlisted, tree(present, Home::SUBSCRIPTION_BYTES), &["hub.present"]),
        Line::new(
            Owner::Repeats,
            list(idempotency_keys.into(), Repeats::KEY_BYTES)
                + hash_table(idempotency_keys, Repeats::PLACE_BYTES)
                + hash_table(idempotency_keys, Repeats::HOLDER_BYTES),
            &["hub.idempotency_keys"],
        ),
        Line::new(Owner::Messages, settings.messages, &["hub.messages"]),
    ]
}

/// How many subscriptions of a shard may get what they missed at once.
fn recovering(settings: &Settings) -> u64 {
    let each = u64::from(settings.subscriptions_per_connection);
    (u64::from(settings.slots) * each).min(settings.subscriptions.into())
}

/// The largest of some sizes.
const fn largest(sizes: &[usize]) -> usize {
    let (mut most, mut at) = (0, 0);
    while at < sizes.len() {
        most = if sizes[at] > most { sizes[at] } else { most };
        at += 1;
    }
    most
}

fn of(count: impl Into<u64>, bytes: usize) -> u64 {
    count.into() * bytes as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_was_denied_or_is_not_listed_is_paid_for() {
        let bytes = |settings: &Settings, owner| {
            lines(settings, 1).iter().find(|line| line.owner == owner).map_or(0, |line| line.bytes)
        };
        let small = Settings::small();
        let many = Settings { subscriptions: 100_000, ..Settings::small() };
        let crowded = Settings { present: 100_000, ..Settings::small() };
        // Each entry of a tree has a place in a node that may be half full.
        let least = 100_000 * 24;
        assert!(bytes(&many, Owner::Denied) > bytes(&small, Owner::Denied) + least);
        assert!(bytes(&crowded, Owner::Unlisted) > bytes(&small, Owner::Unlisted) + least);
    }
}

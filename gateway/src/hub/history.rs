//! What was published on a topic, as long as it is kept.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::Past;
use super::delivery::Delivery;
use crate::names::{Position, TopicRule};

/// The last messages of one topic.
pub(crate) struct History {
    /// The position of the last message.
    position: Position,
    /// The oldest first; offsets count up without gaps.
    kept: VecDeque<(Duration, Arc<Delivery>)>,
    bytes: u64,
    /// What they take of the memory for messages.
    held: u64,
}

/// Where what is kept begins for one who comes back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stands {
    /// The message behind which is what it has missed; `None` if it has missed nothing that is
    /// kept.
    pub(crate) behind: Option<Position>,
    /// It has missed something that is not.
    pub(crate) gap: bool,
    /// How many messages that are kept it is told.
    pub(crate) count: u64,
}

/// How far what is kept is behind a position.
struct Behind {
    /// How many of those that are kept are not.
    skip: usize,
    /// Some are no longer kept, or the position is of another epoch.
    gap: bool,
}

/// The messages behind a position.
pub(crate) struct Missed {
    pub(crate) deliveries: Vec<Arc<Delivery>>,
    /// Some are no longer kept, or the position is of another epoch.
    pub(crate) gap: bool,
}

/// A portion of the messages behind a position.
pub(crate) struct Portion {
    pub(crate) deliveries: Vec<Arc<Delivery>>,
    /// Messages before them that are no longer kept, as far as they can be counted.
    pub(crate) left_out: u64,
    /// The message behind which there is more; `None` if this was all.
    pub(crate) next: Option<Position>,
}

/// The most messages of a portion.
const PORTION_MOST: usize = 128;

impl Portion {
    /// Nothing is kept any more, and how much was cannot be told.
    pub(crate) fn nothing_kept() -> Self {
        Self { deliveries: Vec::new(), left_out: 1, next: None }
    }
}

impl History {
    pub(crate) fn new(epoch: u32) -> Self {
        Self { position: Position { epoch, offset: 0 }, kept: VecDeque::new(), bytes: 0, held: 0 }
    }

    pub(crate) fn position(&self) -> Position {
        self.position
    }

    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    /// When the last message that is kept was published, by the shard's clock.
    pub(crate) fn last_at(&self) -> Option<Duration> {
        self.kept.back().map(|(at, _)| *at)
    }

    /// Forgets all that is kept.
    pub(crate) fn clear(&mut self) {
        while !self.kept.is_empty() {
            self.forget_oldest();
        }
    }

    /// What its messages take of the memory for messages, in bytes.
    pub(crate) fn held(&self) -> u64 {
        self.held
    }

    /// The position of a message that is about to be published.
    pub(crate) fn advance(&mut self) -> Position {
        self.position.offset += 1;
        self.position
    }

    /// Keeps a message, which has the position that [`History::advance`] gave last, within the
    /// rule's bounds and `room` bytes of the memory for messages.
    pub(crate) fn keep(
        &mut self,
        now: Duration,
        delivery: Arc<Delivery>,
        rule: &TopicRule,
        room: u64,
    ) {
        self.bytes += delivery.payload_bytes();
        self.held += held(&delivery);
        self.kept.push_back((now, delivery));
        let most = u64::from(rule.history_bytes);
        while self.kept.len() > rule.history as usize || self.bytes > most || self.held > room {
            self.forget_oldest();
        }
    }

    /// Forgets what is more than the rule says, up to so many messages; whether that was all.
    pub(crate) fn shorten(&mut self, rule: &TopicRule, most: usize) -> bool {
        let most_bytes = u64::from(rule.history_bytes);
        for _ in 0..most {
            if self.kept.len() <= rule.history as usize && self.bytes <= most_bytes {
                return true;
            }
            self.forget_oldest();
        }
        self.kept.len() <= rule.history as usize && self.bytes <= most_bytes
    }

    /// Forgets what is older than the rule says.
    pub(crate) fn expire(&mut self, now: Duration, rule: &TopicRule) {
        let is_old = |at: Duration| now.saturating_sub(at) > rule.history_age;
        while self.kept.front().is_some_and(|(at, _)| is_old(*at)) {
            self.forget_oldest();
        }
    }

    /// The first `limit` of this of what was published; of all that is kept, if it is what is
    /// behind a position of another epoch, or of one that has yet to come.
    pub(crate) fn missed(&self, past: Option<Past>, limit: usize) -> Missed {
        let Behind { skip, gap } = self.begins(past);
        let kept = self.kept.range(skip.min(self.kept.len())..).take(limit);
        Missed { deliveries: kept.map(|(_, delivery)| Arc::clone(delivery)).collect(), gap }
    }

    /// Where what is kept begins for one who wants this of it.
    pub(crate) fn stands(&self, past: Past) -> Stands {
        let Behind { skip, gap } = self.begins(Some(past));
        let offset = self.oldest() + skip as u64 - 1;
        let behind = Position { offset, ..self.position };
        let count = self.kept.len().saturating_sub(skip) as u64;
        Stands { behind: (count > 0).then_some(behind), gap, count }
    }

    /// The next portion of what was published behind a message: up to `bytes` of it, and one
    /// message at least if there is any.
    pub(crate) fn portion(&self, behind: Position, bytes: u64) -> Portion {
        let Behind { skip, gap } = self.behind(Some(behind));
        let is_known = behind.epoch == self.position.epoch && behind.offset <= self.position.offset;
        let left_out = if is_known { self.oldest().saturating_sub(behind.offset + 1) } else { 1 };
        let mut portion = Portion {
            deliveries: Vec::new(),
            left_out: if gap { left_out } else { 0 },
            next: None,
        };
        let mut length = 0;
        for (_, delivery) in self.kept.range(skip.min(self.kept.len())..) {
            let is_full = length >= bytes || portion.deliveries.len() == PORTION_MOST;
            if is_full {
                let last = portion.deliveries.last();
                portion.next = last.and_then(|last: &Arc<Delivery>| last.position);
                break;
            }
            length += delivery.payload_bytes();
            portion.deliveries.push(Arc::clone(delivery));
        }
        portion
    }

    /// The offset of the oldest message that is kept, or of the next one if none is.
    fn oldest(&self) -> u64 {
        self.position.offset + 1 - self.kept.len() as u64
    }

    fn begins(&self, past: Option<Past>) -> Behind {
        match past {
            None => self.behind(None),
            Some(Past::Since(since)) => self.behind(Some(since)),
            Some(Past::Last(count)) => {
                Behind { skip: self.kept.len().saturating_sub(count.into()), gap: false }
            }
        }
    }

    fn behind(&self, since: Option<Position>) -> Behind {
        let oldest = self.oldest();
        match since {
            None => Behind { skip: 0, gap: false },
            Some(since) if since.epoch != self.position.epoch => Behind { skip: 0, gap: true },
            // From the future: of an epoch that was drawn twice, or made up.
            Some(since) if since.offset > self.position.offset => Behind { skip: 0, gap: true },
            Some(since) => {
                let next = since.offset + 1;
                Behind { skip: next.saturating_sub(oldest) as usize, gap: next < oldest }
            }
        }
    }

    /// Checks that what is kept is what is counted, in order, and within the rule's bounds.
    ///
    /// # Panics
    /// It is not.
    pub(crate) fn check(&self, rule: &TopicRule) {
        let payloads = self.kept.iter().map(|(_, delivery)| delivery.payload_bytes());
        assert_eq!(payloads.sum::<u64>(), self.bytes, "bytes that are kept");
        assert!(self.bytes <= u64::from(rule.history_bytes), "{} bytes are kept", self.bytes);
        assert!(self.kept.len() <= rule.history as usize, "{} are kept", self.kept.len());
        for ((_, delivery), offset) in self.kept.iter().zip(self.oldest()..) {
            let at = delivery.position.map(|position| position.offset);
            assert_eq!(at, Some(offset), "a message in the place of another");
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, delivery)) = self.kept.pop_front() {
            self.bytes -= delivery.payload_bytes();
            self.held -= held(&delivery);
        }
    }
}

fn held(delivery: &Delivery) -> u64 {
    delivery.publication().map_or(0, |publication| publication.message.held())
}

#[cfg(test)]
mod tests {
    use super::super::delivery::What;
    use super::super::{Message, MessageMemory, Publication};
    use super::*;

    const RULE: TopicRule = TopicRule {
        history: 3,
        history_bytes: 100,
        history_age: Duration::from_secs(10),
        presence: false,
        linger: Duration::ZERO,
        presence_events: 0,
    };

    fn publish(history: &mut History, now: u64, length: usize) {
        let memory = Arc::new(MessageMemory::new(1 << 20));
        let message = Message::new(vec![0; length], &memory).expect("room");
        let what = What::said(Publication::new(message), Duration::ZERO);
        let position = Some(history.advance());
        let delivery = Arc::new(Delivery { topic: None, hash: 0, position, what });
        history.keep(Duration::from_secs(now), delivery, &RULE, u64::MAX);
    }

    fn since(history: &History, epoch: u32, offset: u64) -> (Vec<u64>, bool) {
        let missed = history.missed(Some(Past::Since(Position { epoch, offset })), 10);
        let offset = |delivery: &Arc<Delivery>| delivery.position.expect("a position").offset;
        (missed.deliveries.iter().map(offset).collect(), missed.gap)
    }

    #[test]
    fn what_was_missed_and_whether_there_is_a_gap() {
        let mut history = History::new(5);
        assert_eq!(since(&history, 5, 0), (vec![], false));
        for now in 0..5 {
            publish(&mut history, now, 1);
        }
        assert_eq!(since(&history, 5, 4), (vec![5], false));
        assert_eq!(since(&history, 5, 5), (vec![], false));
        assert_eq!(since(&history, 5, 2), (vec![3, 4, 5], false));
        assert_eq!(since(&history, 5, 1), (vec![3, 4, 5], true), "2 is forgotten");
        assert_eq!(since(&history, 4, 5), (vec![3, 4, 5], true), "another epoch");
        assert_eq!(since(&history, 5, 6), (vec![3, 4, 5], true), "from the future");
        assert_eq!(history.missed(None, 2).deliveries.len(), 2);
    }

    #[test]
    fn what_was_missed_comes_in_portions() {
        let mut history = History::new(5);
        for now in 0..5 {
            publish(&mut history, now, 10);
        }
        let at = |epoch: u32, offset: u64| Position { epoch, offset };
        let stands = |behind: Option<Position>, gap| {
            let count = behind.map_or(0, |behind| 5 - behind.offset);
            Stands { behind, gap, count }
        };
        // 3, 4 and 5 are kept.
        let since = |epoch, offset| history.stands(Past::Since(at(epoch, offset)));
        assert_eq!(since(5, 5), stands(None, false));
        assert_eq!(since(5, 3), stands(Some(at(5, 3)), false));
        assert_eq!(since(5, 1), stands(Some(at(5, 2)), true));
        assert_eq!(since(4, 9), stands(Some(at(5, 2)), true), "another epoch");
        assert_eq!(since(5, 9), stands(Some(at(5, 2)), true), "from the future");
        for (count, behind) in [(0, None), (1, Some(4)), (3, Some(2)), (1000, Some(2))] {
            let behind = behind.map(|offset| at(5, offset));
            assert_eq!(history.stands(Past::Last(count)), stands(behind, false), "{count}");
        }
        let told = |behind: Position, bytes: u64| {
            let Portion { deliveries, left_out, next } = history.portion(behind, bytes);
            let offset = |delivery: &Arc<Delivery>| delivery.position.expect("a position").offset;
            (deliveries.iter().map(offset).collect::<Vec<_>>(), left_out, next)
        };
        assert_eq!(told(at(5, 2), 11), (vec![3, 4], 0, Some(at(5, 4))));
        assert_eq!(told(at(5, 4), 11), (vec![5], 0, None));
        assert_eq!(told(at(5, 5), 11), (vec![], 0, None));
        assert_eq!(told(at(5, 0), 1), (vec![3], 2, Some(at(5, 3))), "1 and 2 are gone");
        assert_eq!(told(at(4, 0), 100), (vec![3, 4, 5], 1, None), "another epoch");
        assert_eq!(told(at(5, 9), 100), (vec![3, 4, 5], 1, None), "from the future");
        assert_eq!(told(at(5, u64::MAX), 100), (vec![3, 4, 5], 1, None), "the last there is");
    }

    #[test]
    fn bounds_of_bytes_and_age() {
        let mut history = History::new(0);
        publish(&mut history, 0, 60);
        publish(&mut history, 1, 60);
        assert_eq!((history.len(), history.bytes), (1, 60));
        publish(&mut history, 2, 101);
        assert_eq!(
            (history.len(), history.bytes, history.held()),
            (0, 0, 0),
            "one that is too large is not kept"
        );
        assert_eq!(since(&history, 0, 2), (vec![], true));
        publish(&mut history, 3, 1);
        history.expire(Duration::from_secs(13), &RULE);
        assert_eq!(history.len(), 1);
        history.expire(Duration::from_secs(14), &RULE);
        assert_eq!((history.len(), history.position().offset), (0, 4));
    }
}

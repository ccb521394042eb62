//! What was published on a topic, as long as it is kept.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::delivery::Delivery;
use super::{Position, TopicRule};

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

/// The messages behind a position.
pub(crate) struct Missed {
    pub(crate) deliveries: Vec<Arc<Delivery>>,
    /// Some are no longer kept, or the position is of another epoch.
    pub(crate) gap: bool,
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

    /// Forgets what is older than the rule says.
    pub(crate) fn expire(&mut self, now: Duration, rule: &TopicRule) {
        let is_old = |at: Duration| now.saturating_sub(at) > rule.history_age;
        while self.kept.front().is_some_and(|(at, _)| is_old(*at)) {
            self.forget_oldest();
        }
    }

    /// The first `limit` of what was published behind `since`: of a topic that is in another epoch
    /// now, of all that is kept.
    pub(crate) fn since(&self, since: Option<Position>, limit: usize) -> Missed {
        let (skip, gap) = self.behind(since);
        self.from(skip, limit, gap)
    }

    /// As [`History::since`], but the newest `most`; what is left out is a gap.
    pub(crate) fn missed(&self, since: Option<Position>, most: usize) -> Missed {
        let (skip, gap) = self.behind(since);
        let newest = self.kept.len().saturating_sub(most);
        self.from(skip.max(newest), most, gap || skip < newest)
    }

    /// How many of those that are kept are not behind `since`, and whether there is a gap.
    fn behind(&self, since: Option<Position>) -> (usize, bool) {
        let oldest = self.position.offset + 1 - self.kept.len() as u64;
        match since {
            None => (0, false),
            Some(since) if since.epoch != self.position.epoch => (0, true),
            // From the future: of an epoch that was drawn twice, or made up.
            Some(since) if since.offset > self.position.offset => (self.kept.len(), true),
            Some(since) => {
                let next = since.offset + 1;
                (next.saturating_sub(oldest) as usize, next < oldest)
            }
        }
    }

    fn from(&self, skip: usize, limit: usize, gap: bool) -> Missed {
        let kept = self.kept.iter().skip(skip).take(limit);
        Missed { deliveries: kept.map(|(_, delivery)| Arc::clone(delivery)).collect(), gap }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, delivery)) = self.kept.pop_front() {
            self.bytes -= delivery.payload_bytes();
            self.held -= held(&delivery);
        }
    }
}

fn held(delivery: &Delivery) -> u64 {
    delivery.publication().map_or(0, |publication| publication.payload.held())
}

#[cfg(test)]
mod tests {
    use tidegate_proto::receiver::Kind;

    use super::super::delivery::What;
    use super::super::{MessageMemory, Payload, Publication};
    use super::*;

    const RULE: TopicRule = TopicRule {
        history: 3,
        history_bytes: 100,
        history_age: Duration::from_secs(10),
        presence: false,
        linger: Duration::ZERO,
    };

    fn publish(history: &mut History, now: u64, length: usize) {
        let memory = Arc::new(MessageMemory::new(1 << 20));
        let payload = Payload::new(Kind::Binary, &vec![0; length], &memory).expect("room");
        let what = What::Message(Publication { payload, key: None, except: None }, None);
        let position = Some(history.advance());
        let delivery = Arc::new(Delivery { topic: None, hash: 0, position, what });
        history.keep(Duration::from_secs(now), delivery, &RULE, u64::MAX);
    }

    fn since(history: &History, epoch: u32, offset: u64) -> (Vec<u64>, bool) {
        let missed = history.since(Some(Position { epoch, offset }), 10);
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
        assert_eq!(since(&history, 5, 6), (vec![], true), "from the future");
        assert_eq!(history.since(None, 2).deliveries.len(), 2);
        let newest = history.missed(Some(Position { epoch: 5, offset: 2 }), 2);
        assert_eq!((newest.deliveries.len(), newest.gap), (2, true));
        let all = history.missed(Some(Position { epoch: 5, offset: 2 }), 3);
        assert_eq!((all.deliveries.len(), all.gap), (3, false));
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

//! How far a connection to the admin address is, and how long it may stay so.
//!
//! A connection is idle, has a head half here, or is at a request. It is kept alive for as long as
//! is announced and a little longer, because a request that crosses our end on its way is lost to a
//! client that was told that it may send it.

use std::cell::Cell;
use std::time::Duration;

use tidegate_proto::http::HeadError;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::body::BYTES_A_SECOND;

/// How long a request head may take, the first one from when the connection is there.
const HEAD: Duration = Duration::from_secs(5);

/// The same of the connections beyond `admin.connections`.
const BRIEF_HEAD: Duration = Duration::from_secs(1);

/// How much longer than announced an idle connection is kept.
const GRACE: Duration = Duration::from_secs(2);

/// How long a request may take, from its head to the last byte of its answer, beside a second for
/// each [`BYTES_A_SECOND`] of both: what a body may take, what shards may, and as much for the
/// answer.
const REQUEST: Duration = Duration::from_secs(60);

/// How long a connection beyond `admin.connections` may be there in all: a head, what shards may
/// take to answer, and little more, since others wait for its place.
const BRIEF_LIFETIME: Duration = Duration::from_secs(7);

/// How long a connection is kept alive at all: it ends behind an answer that says so.
const LIFETIME: Duration = Duration::from_secs(600);

/// How long the end of a connection may take, once it has begun.
const ENDING: Duration = Duration::from_secs(1);

/// How long a connection must have been idle before it ends to make room for another.
const SETTLED: Duration = Duration::from_secs(1);

/// What becomes of a connection.
pub(super) struct Pace {
    /// It is one beyond `admin.connections`, for one request.
    is_brief: bool,
    keepalive: Option<Duration>,
    began: Instant,
    phase: Cell<Phase>,
    /// Bytes that came or left since the phase began, as far as they are told.
    moved: Cell<u64>,
    /// Heads that were let through, and requests that are answered. Never more answers than heads.
    begun: Cell<u64>,
    answered: Cell<u64>,
    /// The end of a request's body is yet to come.
    in_body: Cell<bool>,
    fault: Cell<Option<HeadFault>>,
    gives_way: Cell<bool>,
    told: Notify,
}

/// Where a connection is, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle(Instant),
    Head(Instant),
    Request(Instant),
    Ending(Instant),
}

/// Why a head is refused. Nothing behind it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadFault {
    /// It breaks the grammar, or a bound.
    Head(HeadError),
    /// It took too long.
    Slow,
}

/// What is to be done about a connection now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    /// It ends, since it is idle.
    End,
    /// The head that is half here is answered with 408.
    RefuseHead,
    /// It is given up, whatever it is at.
    GiveUp,
}

impl Pace {
    /// Of a connection that is there now.
    pub(super) fn new(is_brief: bool, keepalive: Option<Duration>) -> Self {
        let began = Instant::now();
        Self {
            is_brief,
            keepalive,
            began,
            phase: Cell::new(Phase::Idle(began)),
            moved: Cell::new(0),
            begun: Cell::new(0),
            answered: Cell::new(0),
            in_body: Cell::new(false),
            fault: Cell::new(None),
            gives_way: Cell::new(false),
            told: Notify::new(),
        }
    }

    /// The first bytes of a head are here.
    pub(super) fn head_comes(&self) {
        if let Phase::Idle(since) = self.phase.get() {
            let is_first = self.begun.get() == 0;
            self.phase.set(Phase::Head(if is_first { since } else { Instant::now() }));
        }
    }

    /// A head was let through: a request begins.
    pub(super) fn request_begins(&self) {
        self.begun.set(self.begun.get() + 1);
        if !matches!(self.phase.get(), Phase::Request(_)) {
            self.enter(Phase::Request);
        }
    }

    /// Heads that were let through, those that stand for one that is refused among them.
    #[cfg(test)]
    pub(super) fn requests(&self) -> u64 {
        self.begun.get()
    }

    /// The answer to a request was taken whole, or its end given up.
    pub(super) fn request_ends(&self) {
        self.answered.set(self.answered.get() + 1);
        self.enter(Phase::Request);
    }

    /// All that was to be sent has left; `half_head` says that bytes of a head are here.
    pub(super) fn flushed(&self, half_head: bool) {
        let is_done = self.answered.get() == self.begun.get();
        if is_done && matches!(self.phase.get(), Phase::Request(_)) {
            let now = Instant::now();
            self.phase.set(if half_head { Phase::Head(now) } else { Phase::Idle(now) });
        }
    }

    /// The request that begins now stands for a head that is refused.
    pub(super) fn refuse(&self, fault: HeadFault) {
        self.fault.set(Some(fault));
    }

    /// Why the head is refused that waits to be, or stands behind the requests before it.
    pub(super) fn fault(&self) -> Option<HeadFault> {
        self.fault.get()
    }

    /// Why the request is refused that is the so manieth on this connection, from 1.
    pub(super) fn fault_of(&self, request: u64) -> Option<HeadFault> {
        // Nothing is let through behind a head that is refused, so it is the last.
        self.fault.get().filter(|_| request == self.begun.get())
    }

    /// So many bytes of a request were passed on, or of an answer taken.
    pub(super) fn moves(&self, bytes: usize) {
        self.moved.set(self.moved.get() + bytes as u64);
    }

    /// A body is on its way: until its end is here, no other request can be read.
    pub(super) fn body_comes(&self, is_coming: bool) {
        self.in_body.set(is_coming);
    }

    /// Whether the end of a body is yet to come.
    pub(super) fn is_in_body(&self) -> bool {
        self.in_body.get()
    }

    /// How long an answer may announce that the connection is kept; `None` if it says that it ends.
    pub(super) fn announced(&self) -> Option<Duration> {
        let ends = self.is_brief || self.gives_way.get() || self.began.elapsed() > LIFETIME;
        self.keepalive.filter(|_| !ends)
    }

    /// Since when it is idle, if it can be asked to make room.
    pub(super) fn can_give_way(&self) -> Option<Instant> {
        let Phase::Idle(since) = self.phase.get() else { return None };
        Some(since).filter(|since| !self.gives_way.get() && since.elapsed() >= SETTLED)
    }

    /// Asks it to make room: at once if it is idle, else behind its next answer.
    pub(super) fn give_way(&self) {
        self.gives_way.set(true);
        self.told.notify_one();
    }

    /// Waits until it is asked to make room.
    pub(super) async fn is_told(&self) {
        self.told.notified().await;
    }

    /// When something is due, if nothing happens until then.
    pub(super) fn deadline(&self) -> Instant {
        let head = if self.is_brief { BRIEF_HEAD } else { HEAD };
        let deadline = match self.phase.get() {
            Phase::Idle(since) if self.begun.get() == 0 => since + head,
            Phase::Idle(since) => since + self.keepalive.unwrap_or_default() + GRACE,
            Phase::Head(since) => since + head,
            Phase::Request(since) => {
                since + REQUEST + Duration::from_secs(self.moved.get() / BYTES_A_SECOND)
            }
            Phase::Ending(since) => since + ENDING,
        };
        if self.is_brief { deadline.min(self.began + BRIEF_LIFETIME) } else { deadline }
    }

    /// What is due by now, once.
    pub(super) fn due(&self) -> Due {
        let now = Instant::now();
        let is_late = now >= self.deadline();
        let (due, next) = match self.phase.get() {
            Phase::Idle(_) if is_late || self.gives_way.get() => (Due::End, Phase::Ending(now)),
            Phase::Head(_) if is_late => (Due::RefuseHead, Phase::Request(now)),
            phase @ (Phase::Request(_) | Phase::Ending(_)) if is_late => (Due::GiveUp, phase),
            phase => (Due::Nothing, phase),
        };
        self.phase.set(next);
        due
    }

    /// The connection ends, which may take a moment, counted from when this is said first.
    pub(super) fn ends(&self) {
        self.enter(Phase::Ending);
    }

    /// Goes on to a phase that begins now. Nothing comes behind the end.
    fn enter(&self, phase: fn(Instant) -> Phase) {
        if !matches!(self.phase.get(), Phase::Ending(_)) {
            self.phase.set(phase(Instant::now()));
            self.moved.set(0);
        }
    }
}

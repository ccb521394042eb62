//! The last hour: what was counted in each stretch of ten seconds, and what has happened. So who
//! opens the operator's page when something is wrong sees how it came to be.

mod limits;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};
use utoipa::ToSchema;

use super::answer::respond;
use super::clock::{iso8601, since_1970};
use super::error::{Error, ErrorBody};
use super::overview::resident;
use super::{ControlRoom, Shared};
use crate::handler::{EndReason, Ground};
use crate::shard::{Counters, Vitals};
use crate::steering::{ReloadCounts, Reloads};
use limits::WatchedLimits;

/// How often limits are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Looks of a stretch.
const LOOKS: u32 = 10;

/// Stretches that are kept: an hour.
const PERIODS: usize = 360;

/// Happenings that are kept.
const HAPPENINGS: usize = 200;

/// Bytes of the text of one.
const TEXT_MAX: usize = 200;

/// What a stretch may hold as JSON while it is told.
const PERIOD_BYTES: usize = size_of::<Period>();

/// What is kept of the last hour.
#[derive(Default)]
pub(super) struct LastHour(Mutex<HourKept>);

#[derive(Default)]
struct HourKept {
    stretches: VecDeque<Period>,
    happenings: VecDeque<Happening>,
    before: Sums,
    limits: WatchedLimits,
    looks: u32,
    /// The most connections that were open at a look of this stretch.
    most_open: u64,
}

/// What all shards have counted since the start.
#[derive(Clone, Default)]
struct Sums {
    counters: Counters,
    vitals: Vitals,
    /// By the process's own clock.
    at: Duration,
}

/// Ten seconds: what was counted in them, and what there was at their end, of connections the most.
#[derive(Clone)]
struct Period {
    /// When it ended, in seconds since 1970.
    at: u64,
    connections: u64,
    opened: u64,
    messages_in: u64,
    messages_out: u64,
    bytes_in: u64,
    bytes_out: u64,
    resident: u64,
    messages_memory: u64,
    /// Of all shards' time, how much their loops worked, in thousandths.
    busy_per_mille: u32,
    refusals: [u32; Ground::ALL.len()],
    ends: [u32; EndReason::ALL.len()],
}

/// Something that has happened.
#[derive(Clone)]
struct Happening {
    at: u64,
    what: &'static str,
    text: Box<str>,
}

/// The last hour.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RecentAnswer {
    /// How long a stretch is, in seconds.
    stretch_seconds: u32,
    /// The oldest first; up to 360.
    stretches: Vec<PeriodJson>,
    /// The oldest first; up to 200.
    happenings: Vec<HappeningJson>,
}

/// What was counted in a stretch of time, and what there was at its end.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PeriodJson {
    /// Its end; ISO 8601.
    time: String,
    /// The most connections that were open at once, of what was looked at each second.
    connections: u64,
    /// Connections that have opened.
    opened: u64,
    /// Messages that were received.
    messages_in: u64,
    /// Messages that were sent.
    messages_out: u64,
    /// Bytes that were received.
    bytes_in: u64,
    /// Payload bytes that were sent.
    bytes_out: u64,
    /// Resident bytes of the process at its end.
    resident: u64,
    /// Bytes that messages held at its end.
    messages_memory: u64,
    /// Of all shards' time, how much their loops worked: 0 to 1.
    busy: f64,
    /// Requests that were refused, by reason; those that were.
    refusals: BTreeMap<&'static str, u32>,
    /// Connections that have ended, by reason; those that did.
    ends: BTreeMap<&'static str, u32>,
}

/// Something that has happened.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HappeningJson {
    /// ISO 8601.
    time: String,
    /// What kind it is of: `start`, `drain`, `limit_reached`, `limit_left`, `change`,
    /// `certificates`, `configuration`.
    what: &'static str,
    /// The same for people.
    text: String,
}

/// Tells the last hour: what was counted every ten seconds, and what has happened.
#[utoipa::path(
    get, path = "/v1/recent", tag = "watching",
    responses(
        (status = 200, description = "The last hour", body = RecentAnswer),
        (status = "4XX", description = "Not allowed", body = ErrorBody),
        (status = "5XX", description = "Try again", body = ErrorBody),
    )
)]
pub(super) async fn show(State(control): State<Shared>) -> Result<Response, Error> {
    let place = control.answers.place().await?;
    let answer = control.last_hour.answer();
    Ok(respond(place.json(&answer)?))
}

/// Watches the gateway until the thread ends.
pub(super) async fn watch(control: Shared) {
    control.last_hour.happened("start", &format!("started, version {}", env!("CARGO_PKG_VERSION")));
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut was_serving = true;
    let (mut reloads, mut changes) = (Reloads::default(), ReloadCounts::default());
    loop {
        ticks.tick().await;
        let before = std::mem::replace(&mut reloads, control.certificates.reloads());
        // They are read anew with the configuration, though it may name none.
        for text in told_of_reloads(before, reloads).filter(|_| control.certificates.are_shown()) {
            control.last_hour.happened("certificates", text);
        }
        let before = std::mem::replace(&mut changes, control.reloader.counts());
        for text in told_of_changes(before, changes) {
            control.last_hour.happened("configuration", text);
        }
        let is_serving = control.handle.is_serving();
        if was_serving && !is_serving {
            control.last_hour.happened("drain", "told to drain: connections are closed");
        }
        was_serving = is_serving;
        control.last_hour.look(&control);
    }
}

/// What is to be told where files were read anew between these: whoever has asked for it.
fn told_of_reloads(before: Reloads, now: Reloads) -> impl Iterator<Item = &'static str> {
    let done = (now.done > before.done).then_some("certificates were read anew, and are used");
    let wrong = "certificates were read anew, and stay as they were: files are wrong, see the log";
    done.into_iter().chain((now.refused > before.refused).then_some(wrong))
}

/// The same of the configuration.
fn told_of_changes(before: ReloadCounts, now: ReloadCounts) -> impl Iterator<Item = &'static str> {
    let done = (now.done > before.done).then_some("the configuration was read anew, and is used");
    let wrong = "the configuration was read anew, and stays as it was: something is wrong, see the \
                 log";
    done.into_iter().chain((now.refused > before.refused).then_some(wrong))
}

/// Bytes that all of it may hold.
pub(super) const fn bytes_max() -> u64 {
    let happening = size_of::<Happening>() + TEXT_MAX;
    // A queue that doubles has up to twice the places that are used.
    2 * (PERIODS * PERIOD_BYTES + HAPPENINGS * happening) as u64
}

impl LastHour {
    /// Keeps that something has happened.
    pub(super) fn happened(&self, what: &'static str, text: &str) {
        let text = text[..text.floor_char_boundary(TEXT_MAX)].into();
        self.kept().happened(Happening { at: since_1970().as_secs(), what, text });
    }

    fn kept(&self) -> MutexGuard<'_, HourKept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at limits, and now and then at all that is counted.
    fn look(&self, control: &ControlRoom) {
        let by_shard = control.handle.by_shard();
        let now = control.started.elapsed();
        let mut kept = self.kept();
        for told in kept.limits.look(control, &by_shard, now) {
            let what = if told.is_reached { "limit_reached" } else { "limit_left" };
            let text = told.text[..told.text.floor_char_boundary(TEXT_MAX)].into();
            kept.happened(Happening { at: since_1970().as_secs(), what, text });
        }
        let open = by_shard.iter().map(|(counters, _)| counters.connections_open).sum();
        kept.most_open = kept.most_open.max(open);
        kept.looks += 1;
        if kept.looks < LOOKS {
            return;
        }
        kept.looks = 0;
        let after = Sums::of(&by_shard, now);
        let messages = control.shards.door().memory().used();
        let mut stretch = Period::between(&kept.before, &after, by_shard.len(), messages);
        stretch.connections = std::mem::take(&mut kept.most_open);
        kept.before = after;
        if kept.stretches.len() == PERIODS {
            kept.stretches.pop_front();
        }
        kept.stretches.push_back(stretch);
    }

    fn answer(&self) -> RecentAnswer {
        let kept = self.kept();
        RecentAnswer {
            stretch_seconds: LOOKS * LOOK.as_secs() as u32,
            stretches: kept.stretches.iter().map(PeriodJson::from).collect(),
            happenings: kept.happenings.iter().map(HappeningJson::from).collect(),
        }
    }
}

impl HourKept {
    fn happened(&mut self, happening: Happening) {
        if self.happenings.len() == HAPPENINGS {
            self.happenings.pop_front();
        }
        self.happenings.push_back(happening);
    }
}

impl Sums {
    fn of(by_shard: &[(Counters, Vitals)], at: Duration) -> Self {
        let counters = by_shard.iter().map(|(counters, _)| *counters).sum();
        let vitals = by_shard.iter().fold(Vitals::default(), |sum, (_, one)| sum.plus(one));
        Self { counters, vitals, at }
    }
}

impl Period {
    fn between(before: &Sums, after: &Sums, shards: usize, messages_memory: u64) -> Self {
        let grown = |count: fn(&Counters) -> u64| {
            count(&after.counters).saturating_sub(count(&before.counters))
        };
        let worked = after.vitals.loop_nanoseconds.sum;
        let worked = worked.saturating_sub(before.vitals.loop_nanoseconds.sum);
        let whole = (after.at.saturating_sub(before.at)).as_nanos() as u64 * shards as u64;
        Self {
            at: since_1970().as_secs(),
            connections: after.counters.connections_open,
            opened: grown(|counters| counters.opened),
            messages_in: grown(|counters| counters.messages_in),
            messages_out: grown(|counters| counters.messages_out),
            bytes_in: grown(|counters| counters.bytes_in),
            bytes_out: grown(|counters| counters.bytes_out),
            resident: resident().unwrap_or_default(),
            messages_memory,
            busy_per_mille: (worked.saturating_mul(1000) / whole.max(1)).min(1000) as u32,
            refusals: differences(before.vitals.refusals, after.vitals.refusals),
            ends: differences(before.vitals.ends, after.vitals.ends),
        }
    }
}

fn differences<const N: usize>(before: [u64; N], after: [u64; N]) -> [u32; N] {
    std::array::from_fn(|at| {
        u32::try_from(after[at].saturating_sub(before[at])).unwrap_or(u32::MAX)
    })
}

impl From<&Period> for PeriodJson {
    fn from(stretch: &Period) -> Self {
        let refusals = Ground::ALL.map(Ground::name).into_iter().zip(stretch.refusals);
        let ends = EndReason::ALL.map(EndReason::name).into_iter().zip(stretch.ends);
        Self {
            time: iso8601(stretch.at),
            connections: stretch.connections,
            opened: stretch.opened,
            messages_in: stretch.messages_in,
            messages_out: stretch.messages_out,
            bytes_in: stretch.bytes_in,
            bytes_out: stretch.bytes_out,
            resident: stretch.resident,
            messages_memory: stretch.messages_memory,
            busy: f64::from(stretch.busy_per_mille) / 1000.0,
            refusals: refusals.filter(|(_, count)| *count > 0).collect(),
            ends: ends.filter(|(_, count)| *count > 0).collect(),
        }
    }
}

impl From<&Happening> for HappeningJson {
    fn from(happening: &Happening) -> Self {
        let Happening { at, what, text } = happening;
        Self { time: iso8601(*at), what, text: text.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_has_what_was_counted_in_it_and_what_there_is() {
        let mut before = Sums { at: Duration::from_secs(10), ..Sums::default() };
        before.counters.messages_in = 5;
        before.vitals.refusals[0] = 2;
        let mut after = Sums { at: Duration::from_secs(20), ..before.clone() };
        after.counters.messages_in = 12;
        after.counters.connections_open = 3;
        after.vitals.refusals[0] = 9;
        after.vitals.ends[EndReason::Drain as usize] = 4;
        after.vitals.loop_nanoseconds.sum = 5_000_000_000;
        let json = PeriodJson::from(&Period::between(&before, &after, 2, 77));
        assert_eq!((json.messages_in, json.connections, json.messages_memory), (7, 3, 77));
        assert_eq!(json.busy, 0.25, "five of twice ten seconds");
        assert_eq!(json.refusals, BTreeMap::from([(Ground::ALL[0].name(), 7)]));
        assert_eq!(json.ends, BTreeMap::from([("drain", 4)]));
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let hour = LastHour::default();
        let long = "ä".repeat(TEXT_MAX);
        for _ in 0..HAPPENINGS + 5 {
            hour.happened("change", &long);
        }
        let told = hour.answer().happenings;
        assert_eq!(told.len(), HAPPENINGS);
        assert!(told.iter().all(|one| one.text.len() <= TEXT_MAX));
    }
}

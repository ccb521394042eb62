//! What came of comparing, for people and for programs.

use std::collections::BTreeSet;
use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

use super::Suite;
use super::contest::{Contender, Contest, Of, Results, Wanted};
use super::metric::Metric;
use super::sample::Sample;
use super::spread::{Bound, Outcome, Spread, Verdict};
use super::table::Table;
use crate::machine::Machine;
use crate::peers::{Missing, Peer};

/// What came of a suite. It prints itself as Markdown.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Where and when.
    pub machine: Machine,
    /// Which contests.
    pub suite: Suite,
    /// Rounds at most.
    pub rounds: u16,
    /// How long all of it took, in seconds.
    pub seconds: f64,
    /// Servers that are not on this machine.
    pub missing: Vec<LeftOut>,
    /// What came of each contest.
    pub comparisons: Vec<Comparison>,
}

/// A server that took no part, or dropped out.
#[derive(Clone, Debug, Serialize)]
pub struct LeftOut {
    /// Its name.
    pub server: String,
    /// What is in the way, and what would help.
    pub why: String,
}

/// What came of a contest.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// What was done.
    pub title: String,
    /// What ratios are to.
    pub against: String,
    /// The servers, in the order of the suite.
    pub rows: Vec<Row>,
    /// Servers that dropped out.
    pub left_out: Vec<LeftOut>,
    /// What the gateway is to reach.
    pub wanted: Vec<BoundReport>,
}

/// The figures of a server.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub server: String,
    /// What it says of itself.
    pub description: String,
    /// Its rounds.
    pub rounds: usize,
    /// What was measured.
    pub figures: Vec<Figure>,
}

/// One figure of a server.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Figure {
    /// What it is.
    pub metric: Metric,
    /// All rounds.
    pub value: Spread,
    /// To what the other server had in the same round, if that means something.
    pub ratio: Option<Spread>,
    /// Of the ratio.
    pub verdict: Option<Verdict>,
}

/// What the gateway is to reach, and whether it does.
#[derive(Clone, Debug, Serialize)]
pub struct BoundReport {
    /// Whose figure.
    pub server: String,
    /// What is bounded.
    pub metric: Metric,
    /// Whose figure it is divided by; nothing if it is the figure itself.
    pub to: Option<String>,
    /// By what.
    pub bound: Bound,
    /// What was measured; nothing if it could not be.
    pub value: Option<Spread>,
    /// Whether it is reached.
    pub outcome: Option<Outcome>,
}

impl Report {
    /// What gives such a report.
    pub(super) fn command(&self) -> String {
        let value = self.suite.to_possible_value().expect("no variant is hidden");
        let (suite, rounds) = (value.get_name(), self.rounds);
        let cargo = "cargo run --release -p tidegate-bench --";
        format!("{cargo} compare --suite {suite} --rounds {rounds}")
    }

    /// Where the gateway itself dropped out.
    #[must_use]
    pub fn gateway_failures(&self) -> Vec<String> {
        let gateway = Contender::Gateway.name();
        let failures = self.comparisons.iter().flat_map(|comparison| {
            let own = comparison.left_out.iter().filter(|left_out| left_out.server == gateway);
            own.map(|left_out| format!("{}: {}", comparison.title, left_out.why))
        });
        failures.collect()
    }

    /// What each server says of itself.
    pub(super) fn servers(&self) -> BTreeSet<(&str, &str)> {
        let rows = self.comparisons.iter().flat_map(|comparison| &comparison.rows);
        rows.map(|row| (&*row.server, &*row.description)).collect()
    }
}

impl From<(Peer, bool, Missing)> for LeftOut {
    fn from((peer, tls, missing): (Peer, bool, Missing)) -> Self {
        let Missing { why, install } = missing;
        let server = peer.name() + if tls { ", TLS" } else { "" };
        Self { server, why: format!("{why}: try `{install}`") }
    }
}

impl Comparison {
    pub(super) fn new(contest: &Contest, results: &Results) -> Self {
        let rows = contest.contenders.iter().filter_map(|&contender| {
            let figures = figures(results, contender, contest.against);
            let description = results.descriptions.get(&contender)?.clone();
            let rounds = results.samples.get(&contender)?.len();
            let row = Row { server: contender.name(), description, rounds, figures };
            (!row.figures.is_empty()).then_some(row)
        });
        let rows: Vec<_> = rows.collect();
        let against = contest.against;
        let wanted = contest.wanted.iter().map(|it| BoundReport::new(it, against, results));
        let left_out = results
            .failures
            .iter()
            .map(|(contender, why)| LeftOut { server: contender.name(), why: why.clone() });
        Self {
            title: contest.title(),
            against: against.name(),
            wanted: wanted.collect(),
            left_out: left_out.collect(),
            rows,
        }
    }

    fn table(&self) -> Table {
        let metrics: Vec<Metric> = self.metrics();
        let mut head = vec!["server".to_owned(), "rounds".to_owned()];
        for metric in &metrics {
            head.push(metric.head().into());
            if metric.has_ratio() {
                head.push(format!("to {}", self.against));
            }
        }
        let mut table = Table::new(head);
        for row in &self.rows {
            let mut cells = vec![row.server.clone(), row.rounds.to_string()];
            for &metric in &metrics {
                let figure = row.figures.iter().find(|figure| figure.metric == metric);
                cells.push(figure.map_or_else(unknown, |figure| number(figure.value.median)));
                if metric.has_ratio() {
                    cells.push(figure.and_then(Figure::compared).unwrap_or_default());
                }
            }
            table.push(cells);
        }
        table
    }

    fn metrics(&self) -> Vec<Metric> {
        let figures = self.rows.iter().flat_map(|row| &row.figures);
        let mut metrics: Vec<_> = figures.map(|figure| figure.metric).collect();
        metrics.sort_unstable();
        metrics.dedup();
        metrics
    }
}

fn unknown() -> String {
    "?".into()
}

/// All figures of `contender`, with ratios to `against` if that is another, over all rounds that
/// both had.
fn figures(results: &Results, contender: Contender, against: Contender) -> Vec<Figure> {
    let Some(own) = results.samples.get(&contender) else { return Vec::new() };
    let metrics: BTreeSet<_> = own.values().flat_map(Sample::keys).collect();
    let figure = |&metric: &Metric| {
        let value = value(results, contender, metric)?;
        let has_ratio = contender != against && metric.has_ratio();
        let ratio = has_ratio.then(|| ratio(results, contender, against, metric)).flatten();
        Some(Figure { metric, value, ratio, verdict: ratio.map(Spread::verdict) })
    };
    metrics.into_iter().filter_map(figure).collect()
}

/// What `contender` had in all its rounds.
fn value(results: &Results, contender: Contender, metric: Metric) -> Option<Spread> {
    let samples = results.samples.get(&contender)?.values();
    Spread::of(&samples.filter_map(|sample| sample.get(&metric).copied()).collect::<Vec<_>>())
}

/// The same to what `other` had, in the rounds that both had.
fn ratio(
    results: &Results,
    contender: Contender,
    other: Contender,
    metric: Metric,
) -> Option<Spread> {
    let (own, other) = (results.samples.get(&contender)?, results.samples.get(&other)?);
    let ratios = own
        .iter()
        .filter_map(|(round, sample)| Some(sample.get(&metric)? / other.get(round)?.get(&metric)?));
    Spread::of(&ratios.collect::<Vec<_>>())
}

impl Figure {
    /// The ratio as the table has it.
    fn compared(&self) -> Option<String> {
        let Spread { median, low, high } = self.ratio?;
        let verdict = match self.verdict? {
            Verdict::Less => "less",
            Verdict::More => "more",
            Verdict::None => "no verdict",
        };
        Some(format!("{median:.2} [{low:.2} {high:.2}] {verdict}"))
    }
}

impl BoundReport {
    fn new(wanted: &Wanted, against: Contender, results: &Results) -> Self {
        let Wanted { whom, metric, of, bound } = *wanted;
        let other = match of {
            Of::Value => None,
            Of::Ratio => Some(against),
            Of::RatioTo(other) => Some(other),
        };
        let value = match other {
            None => value(results, whom, metric),
            Some(other) => ratio(results, whom, other, metric),
        };
        let outcome = value.map(|value| value.outcome(bound));
        Self { server: whom.name(), metric, to: other.map(Contender::name), bound, value, outcome }
    }
}

/// With as many digits as mean something.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        0.0..10.0 => format!("{value:.2}"),
        10.0..1000.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}. It took {:.0} s.\n", self.machine, self.seconds)?;
        for LeftOut { server, why } in &self.missing {
            writeln!(out, "- Left out: {server}: {why}")?;
        }
        for comparison in &self.comparisons {
            writeln!(out, "\n{comparison}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "## {}\n\n{}", self.title, self.table())?;
        for LeftOut { server, why } in &self.left_out {
            writeln!(out, "- {server} dropped out: {why}")?;
        }
        for wanted in &self.wanted {
            writeln!(out, "- {}", wanted.sentence())?;
        }
        Ok(())
    }
}

impl BoundReport {
    fn sentence(&self) -> String {
        let (relation, limit) = match self.bound {
            Bound::AtMost(limit) => ("at most", limit),
            Bound::LessThan(limit) => ("less than", limit),
            Bound::AtLeast(limit) => ("at least", limit),
        };
        let to = self.to.as_ref().map(|other| format!(" to {other}")).unwrap_or_default();
        let (server, head) = (&self.server, self.metric.head());
        let wanted = format!("{server}: {head}{to}, wanted {relation} {limit}");
        let Some((Spread { median, low, high }, outcome)) = self.value.zip(self.outcome) else {
            return format!("{wanted}: not known");
        };
        let outcome = match outcome {
            Outcome::Reached => "reached",
            Outcome::Missed => "missed",
            Outcome::Undecided => "undecided",
        };
        format!("{wanted}: {median:.3} [{low:.3} {high:.3}], {outcome}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Five rounds of the same CPU per message.
    fn results(cpu: &[(Contender, f64)]) -> Results {
        let sample = |us| Sample::from([(Metric::CpuPerMessage, us)]);
        let rounds = |us| (0..5).map(|round| (round, sample(us))).collect();
        let samples = cpu.iter().map(|&(whom, us)| (whom, rounds(us)));
        Results { samples: samples.collect(), ..Results::default() }
    }

    #[test]
    fn a_ratio_may_be_to_another_than_the_one_in_the_table() {
        let [epoll, nginx, ws] = [Peer::Epoll, Peer::Nginx, Peer::Ws].map(Contender::Peer);
        let results = results(&[(Contender::Gateway, 3.0), (epoll, 4.0), (nginx, 3.0)]);
        let (whom, metric, bound) =
            (Contender::Gateway, Metric::CpuPerMessage, Bound::LessThan(1.0));
        let said = |of| {
            let wanted = Wanted { whom, metric, of, bound };
            BoundReport::new(&wanted, epoll, &results).sentence()
        };
        let wanted = |to| format!("tidegate: CPU us/message{to}, wanted less than 1: ");
        for (of, to, outcome) in [
            (Of::Value, "", "3.000 [3.000 3.000], missed"),
            (Of::Ratio, " to epoll", "0.750 [0.750 0.750], reached"),
            (Of::RatioTo(nginx), " to nginx", "1.000 [1.000 1.000], missed"),
            // It is not on this machine.
            (Of::RatioTo(ws), " to ws", "not known"),
        ] {
            assert_eq!(said(of), wanted(to) + outcome);
        }
    }
}

//! `tidegate top`: what a gateway does at the moment.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::screen::Screen;
use super::table::TextTable;
use super::{Client, CommandFailure, NOT_DONE, cell, say};

/// Between two looks. An overview is up to a second old, so that shorter would show nothing new.
const LOOK: Duration = Duration::from_secs(1);

/// The most reasons that are shown of refusals, and of ends.
const REASONS: usize = 5;

/// How long it is shown.
#[derive(Args, Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopArguments {
    /// Look so many times, and exit; without, until `q` or ^C
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
}

/// What one look has counted.
#[derive(Clone, Debug, Default, PartialEq)]
struct TopLook {
    /// Milliseconds since 1970.
    at: u64,
    shards: Vec<BTreeMap<String, u64>>,
    refusals: BTreeMap<String, u64>,
    ends: BTreeMap<String, u64>,
}

impl TopArguments {
    /// Shows it until somebody has seen enough.
    ///
    /// # Errors
    /// The gateway does not answer, or nobody reads.
    pub fn run(self, client: &Client) -> Result<(), CommandFailure> {
        let unheard = |error: std::io::Error| CommandFailure(NOT_DONE, error.to_string());
        let mut told = client.get("/v1/overview")?;
        let screen = Screen::take().map_err(unheard)?;
        let mut looks = 0;
        let mut before: Option<TopLook> = None;
        // A line is there to stay: it waits until there are rates.
        if !client.json && !screen.draws() {
            before = Some(TopLook::of(&told));
            if !screen.wait(LOOK) {
                return Ok(());
            }
            told = client.get("/v1/overview")?;
        }
        loop {
            let now = TopLook::of(&told);
            let rates = Rates::between(before.as_ref().unwrap_or(&now), &now);
            looks += 1;
            if client.json {
                say(format_args!("{told}\n"))?;
            } else if screen.draws() {
                screen.draw(&page(&told, &now, &rates)).map_err(unheard)?;
            } else {
                say(format_args!("{}\n", line(&told, &now, &rates)))?;
            }
            let is_last = self.count.is_some_and(|count| looks >= count);
            if is_last || !screen.wait(LOOK) {
                return Ok(());
            }
            before = Some(now);
            told = client.get("/v1/overview")?;
        }
    }
}

impl TopLook {
    fn of(told: &Value) -> Self {
        let mut counted = Self { at: told["now"].as_u64().unwrap_or(0), ..Self::default() };
        for shard in told["shards"].as_array().into_iter().flatten() {
            let mut own = numbers(&shard["counters"]);
            let busy = shard["loop_nanoseconds"].as_u64().unwrap_or(0);
            own.insert("loop_nanoseconds".into(), busy);
            counted.shards.push(own);
            let kinds = [(&mut counted.refusals, "refusals"), (&mut counted.ends, "ends")];
            for (sums, key) in kinds {
                for (reason, count) in numbers(&shard[key]) {
                    *sums.entry(reason).or_default() += count;
                }
            }
        }
        counted
    }

    /// What all shards have counted by this name.
    fn sum(&self, name: &str) -> u64 {
        self.shards.iter().filter_map(|shard| shard.get(name)).sum()
    }
}

fn numbers(object: &Value) -> BTreeMap<String, u64> {
    let all = object.as_object().into_iter().flatten();
    all.filter_map(|(name, value)| Some((name.clone(), value.as_u64()?))).collect()
}

/// What was counted between two looks, by second.
struct Rates {
    seconds: f64,
    shards: Vec<BTreeMap<String, f64>>,
    refusals: Vec<(String, f64)>,
    ends: Vec<(String, f64)>,
}

impl Rates {
    fn between(before: &TopLook, now: &TopLook) -> Self {
        let seconds = now.at.saturating_sub(before.at) as f64 / 1000.0;
        let per_second = |before: u64, now: u64| match seconds > 0.0 {
            // Who has started anew counts from nothing.
            true => now.saturating_sub(before) as f64 / seconds,
            false => 0.0,
        };
        let of = |before: &BTreeMap<String, u64>, now: &BTreeMap<String, u64>| {
            let then = |name: &String| before.get(name).copied().unwrap_or(0);
            let all = now.iter().map(|(name, now)| (name.clone(), per_second(then(name), *now)));
            all.collect::<BTreeMap<_, _>>()
        };
        let most = |rates: BTreeMap<String, f64>| {
            let mut rates: Vec<_> = rates.into_iter().filter(|(_, rate)| *rate > 0.0).collect();
            rates.sort_by(|one, other| other.1.total_cmp(&one.1));
            rates.truncate(REASONS);
            rates
        };
        let nothing = BTreeMap::new();
        let shards = now.shards.iter().enumerate();
        let shards = shards.map(|(at, own)| of(before.shards.get(at).unwrap_or(&nothing), own));
        Self {
            seconds,
            shards: shards.collect(),
            refusals: most(of(&before.refusals, &now.refusals)),
            ends: most(of(&before.ends, &now.ends)),
        }
    }

    fn sum(&self, name: &str) -> f64 {
        self.shards.iter().filter_map(|shard| shard.get(name)).sum()
    }

    /// The part of its time that a shard works.
    fn busy(&self, shard: usize) -> f64 {
        self.shards.get(shard).and_then(|own| own.get("loop_nanoseconds")).unwrap_or(&0.0) / 1e9
    }
}

/// All of it, for a terminal.
fn page(told: &Value, now: &TopLook, rates: &Rates) -> Vec<String> {
    let number = |path: &str| told.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let mut lines = vec![
        format!(
            "tidegate {}  {}  up {} s  {} shards by {}",
            cell(&told["version"]),
            cell(&told["state"]),
            (now.at / 1000).saturating_sub(number("/started_at")),
            now.shards.len(),
            cell(&told["driver"]["kind"]),
        ),
        format!(
            "connections {} open, {} in all, of {}; memory {} of {}",
            now.sum("connections_open"),
            now.sum("connections"),
            number("/limits/connections_per_shard") * now.shards.len() as u64,
            bytes(number("/memory/resident") as f64),
            bytes(number("/memory/allowed") as f64),
        ),
        format!(
            "messages {} in, {} out per second",
            rate(rates, "messages_in"),
            rate(rates, "messages_out")
        ),
        format!(
            "bytes    {} in, {} out per second",
            bytes(rates.sum("bytes_in")),
            bytes(rates.sum("bytes_out"))
        ),
        format!(
            "opened   {} per second; refused {}",
            rate(rates, "opened"),
            reasons(&rates.refusals)
        ),
        format!("ended    {}", reasons(&rates.ends)),
    ];
    let drain = &told["drain"];
    if !drain.is_null() {
        lines.push(format!(
            "drain    {}: {} of {} closed",
            cell(&drain["state"]),
            cell(&drain["closed"]),
            cell(&drain["connections"])
        ));
    }
    lines.push(String::new());
    lines.extend(by_shard(now, rates).to_string().lines().map(str::to_owned));
    lines.push(String::new());
    lines.push("q quits".into());
    lines
}

fn by_shard(now: &TopLook, rates: &Rates) -> TextTable {
    let headings =
        ["SHARD", "CPU", "OPEN", "MSG IN/s", "MSG OUT/s", "BYTES IN/s", "BYTES OUT/s", "BACKLOG"];
    let mut table = TextTable::new(&headings);
    for (at, (own, counted)) in rates.shards.iter().zip(&now.shards).enumerate() {
        let rate = |name: &str| own.get(name).copied().unwrap_or(0.0);
        let count = |name: &str| counted.get(name).copied().unwrap_or(0);
        table.row(vec![
            at.to_string(),
            format!("{:.0}%", 100.0 * rates.busy(at)),
            count("connections_open").to_string(),
            format!("{:.0}", rate("messages_in")),
            format!("{:.0}", rate("messages_out")),
            bytes(rate("bytes_in")),
            bytes(rate("bytes_out")),
            bytes(count("backlog_bytes") as f64),
        ]);
    }
    table
}

/// The same in a line, for what reads lines.
fn line(told: &Value, now: &TopLook, rates: &Rates) -> String {
    let busy: f64 = (0..rates.shards.len()).map(|shard| rates.busy(shard)).sum();
    let words = |reasons: &[(String, f64)]| -> f64 { reasons.iter().map(|(_, rate)| rate).sum() };
    format!(
        "state={} seconds={:.1} connections={} messages_in={:.0}/s messages_out={:.0}/s \
         bytes_in={:.0}/s bytes_out={:.0}/s cpu={:.0}% refused={:.1}/s ended={:.1}/s",
        cell(&told["state"]),
        rates.seconds,
        now.sum("connections_open"),
        rates.sum("messages_in"),
        rates.sum("messages_out"),
        rates.sum("bytes_in"),
        rates.sum("bytes_out"),
        100.0 * busy,
        words(&rates.refusals),
        words(&rates.ends),
    )
}

fn rate(rates: &Rates, name: &str) -> String {
    format!("{:.0}", rates.sum(name))
}

/// Bytes to three digits.
fn bytes(count: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB"];
    let (mut count, mut unit) = (count, 0);
    while count >= 1000.0 && unit + 1 < units.len() {
        (count, unit) = (count / 1024.0, unit + 1);
    }
    let digits = usize::from(unit > 0 && count < 10.0);
    format!("{count:.digits$} {}", units[unit])
}

fn reasons(rates: &[(String, f64)]) -> String {
    let told: Vec<String> =
        rates.iter().map(|(reason, rate)| format!("{reason} {rate:.1}/s")).collect();
    if told.is_empty() { "none".into() } else { told.join(", ") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn look(now: u64, messages: u64, lost: u64) -> Value {
        json!({"now": now, "state": "ready", "shards": [
            {"counters": {"messages_in": messages, "connections_open": 3},
             "loop_nanoseconds": messages * 1_000_000, "refusals": {},
             "ends": {"lost": lost, "done": 0}},
            {"counters": {"messages_in": 5, "connections_open": 4},
             "loop_nanoseconds": 0, "refusals": {}, "ends": {"lost": 1}},
        ]})
    }

    #[test]
    fn what_two_looks_have_counted_is_told_by_second() {
        let (before, now) = (look(1000, 100, 2), look(3000, 900, 6));
        let (first, second) = (TopLook::of(&before), TopLook::of(&now));
        let rates = Rates::between(&first, &second);
        assert_eq!((rates.seconds, rates.sum("messages_in")), (2.0, 400.0));
        assert_eq!(rates.ends, [("lost".to_owned(), 2.0)]);
        assert!((rates.busy(0) - 0.4).abs() < 1e-9 && rates.busy(1) == 0.0);
        let line = line(&now, &second, &rates);
        assert!(line.contains("connections=7 messages_in=400/s"), "{line}");
        let page = page(&now, &second, &rates).join("\n");
        assert!(page.contains("lost 2.0/s") && page.contains("40%"), "{page}");
    }

    #[test]
    fn one_look_alone_and_one_of_another_process_have_no_rates() {
        let (late, early) = (TopLook::of(&look(9000, 900, 6)), TopLook::of(&look(9500, 3, 0)));
        assert_eq!(Rates::between(&late, &late).sum("messages_in"), 0.0);
        assert_eq!(Rates::between(&late, &early).sum("messages_in"), 0.0);
    }

    #[test]
    fn bytes_are_told_short() {
        let told = [0.0, 999.0, 1536.0, 5e6, 3e12].map(bytes);
        assert_eq!(told, ["0 B", "999 B", "1.5 KiB", "4.8 MiB", "2794 GiB"]);
    }
}

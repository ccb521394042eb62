//! Which seeds run, on all cores, and what they must have met altogether.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tidegate::shard::Counters;

use crate::Outcome;

/// How many seeds run if nothing else is asked for.
const SEEDS: u64 = 2000;

/// From this many seeds on everything that a shard counts must have happened.
const SEEDS_FOR_ALL: u64 = 1000;

/// How often a long run says how far it has come.
const REPORT: Duration = Duration::from_secs(60);

/// Runs what the environment asks for.
///
/// # Panics
/// A seed fails; the message says which, and how to replay it.
pub fn run_all(run: fn(u64) -> Outcome) {
    if let Some(seed) = variable("TIDEGATE_SEED") {
        return replay(run, number(&seed));
    }
    let seeds = variable("TIDEGATE_SEEDS").map_or(0..SEEDS, |text| range(&text));
    let is_all = seeds.end - seeds.start >= SEEDS_FOR_ALL;
    let sum = Sum::default();
    if let Some(seed) = run_range(run, seeds, &sum) {
        fail(seed);
    }
    let total = sum.total();
    println!(
        "{} seeds; {} clients that were promised all answers got them; {} shards were left empty",
        total.runs, total.served, total.emptied
    );
    if is_all {
        everything_happened(&total);
    }
}

fn replay(run: fn(u64) -> Outcome, seed: u64) {
    let first = run(seed);
    let again = run(seed);
    println!("seed {seed}: trace {:016x}", first.trace);
    assert_eq!(first, again, "seed {seed} does not replay");
}

fn fail(seed: u64) -> ! {
    panic!("seed {seed} failed: TIDEGATE_SEED={seed} replays it");
}

/// Runs the seeds in order, one on each core at a time; returns the lowest that fails.
fn run_range(run: fn(u64) -> Outcome, seeds: Range<u64>, sum: &Sum) -> Option<u64> {
    let next = AtomicU64::new(seeds.start);
    let failed = AtomicU64::new(u64::MAX);
    let reported = Mutex::new(Instant::now());
    let work = || {
        while failed.load(Ordering::Relaxed) == u64::MAX {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            match run_one(run, seed) {
                Ok(outcome) => sum.add(outcome),
                Err(seed) => drop(failed.fetch_min(seed, Ordering::Relaxed)),
            }
            let mut reported = reported.lock().expect("nobody panicked");
            if reported.elapsed() > REPORT {
                *reported = Instant::now();
                eprintln!("seed {seed}");
            }
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(work);
        }
    });
    Some(failed.into_inner()).filter(|seed| *seed != u64::MAX)
}

fn run_one(run: fn(u64) -> Outcome, seed: u64) -> Result<Outcome, u64> {
    catch_unwind(AssertUnwindSafe(|| run(seed))).map_err(|_| seed)
}

/// What all runs came to.
#[derive(Clone, Copy, Default)]
struct Total {
    runs: u64,
    served: u64,
    emptied: u64,
    counters: Counters,
}

#[derive(Default)]
struct Sum(Mutex<Total>);

impl Sum {
    fn add(&self, outcome: Outcome) {
        let mut total = self.0.lock().expect("nobody panicked");
        total.runs += 1;
        total.served += outcome.served;
        total.emptied += u64::from(outcome.emptied);
        total.counters = [total.counters, outcome.counters].into_iter().sum();
    }

    fn total(&self) -> Total {
        *self.0.lock().expect("nobody panicked")
    }
}

/// A simulation that does not get somewhere proves nothing about it.
fn everything_happened(total: &Total) {
    assert!(total.served > total.runs / 4, "{} clients were served to the end", total.served);
    assert!(total.emptied > total.runs / 20, "{} shards were left empty", total.emptied);
    for (name, count) in total.counters.named() {
        // No pool of a run is too small for a message, sockets stay in their world, there are
        // places for all addresses, nobody has a password, and proxies speak no HTTP: tests
        // outside, or of the parts, have these.
        if matches!(name, "deliveries_too_large" | "handed_over" | "clients_uncounted")
            || name.starts_with("passwords_")
            || name.starts_with("forwarded_")
        {
            continue;
        }
        // At the end nobody is there.
        let is_of_now =
            matches!(name, "connections" | "connections_open" | "blocks_used" | "undecided")
                || matches!(name, "drain_left" | "routes_gone")
                || name == "memory_level"
                || matches!(name, "blocks_heads" | "blocks_gathered" | "blocks_sending")
                || is_of_the_hub_now(name);
        assert!(count > 0 || is_of_now, "in no run was anything counted as {name}");
    }
}

/// Counters of what the hub holds now: nothing when all are gone.
pub fn is_of_the_hub_now(name: &str) -> bool {
    matches!(
        name,
        "queued"
            | "mail_waiting"
            | "subscriptions"
            | "topics"
            | "topics_home"
            | "history_bytes"
            | "present"
    )
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is no seed: write a number"))
}

/// `n` or `m..n`.
fn range(text: &str) -> Range<u64> {
    match text.split_once("..") {
        Some((start, end)) => number(start)..number(end),
        None => 0..number(text),
    }
}

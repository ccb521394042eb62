//! Whether this machine lets a gateway have so many connections, before it has them: what the
//! kernel allows beside what the configuration wants, and what to change where that is less.
//!
//! Reading is one thing and judging another. Each subject has its readings, which it takes from the
//! files of `MachineFiles`, and examines them against the `Needs` of a configuration.

mod locked_memory;
mod machine_files;
mod memory;
mod needs;
mod network;
mod open_files;
mod processor;
mod symptom;
mod way;

use std::fmt;

use crate::bill::{grouped, plural};
use crate::config::Config;
use crate::gateway;
use crate::kernel::LockedMemory;

use machine_files::MachineFiles;
use memory::MemoryReadings;
use needs::Needs;
use network::NetworkReadings;
use open_files::FileReadings;
use processor::ProcessorReadings;
pub use symptom::Symptom;
use way::WayReadings;

/// What was found. Displayed, it is a table, with what to change under each line that needs it.
pub struct Diagnosis {
    connections: u64,
    heading: String,
    symptoms: Vec<Symptom>,
}

/// Looks whether this machine lets a gateway of `config` have so many connections in all its shards
/// together; without a number, as many as the configuration says.
///
/// # Errors
///
/// No gateway of so many shards has so many connections.
pub fn examine(config: &Config, connections: Option<u64>) -> Result<Diagnosis, String> {
    let files = MachineFiles::here();
    let cores = gateway::cores();
    let needs = Needs::of(config, connections, cores)?;
    Ok(Readings {
        way: WayReadings::read(&files),
        processor: ProcessorReadings::read(&files, cores),
        files: FileReadings::read(&files),
        memory: MemoryReadings::read(&files),
        locked: LockedMemory::here(),
        network: NetworkReadings::read(&files),
    }
    .examine(&needs))
}

/// Everything that was read.
#[derive(Debug, Default)]
struct Readings {
    way: WayReadings,
    processor: ProcessorReadings,
    files: FileReadings,
    memory: MemoryReadings,
    locked: LockedMemory,
    network: NetworkReadings,
}

impl Readings {
    fn examine(&self, needs: &Needs) -> Diagnosis {
        let mut symptoms = self.way.examine(needs);
        symptoms.extend(self.processor.examine(needs));
        symptoms.push(configured(needs));
        symptoms.extend(self.files.examine(needs));
        symptoms.extend(self.memory.examine(needs));
        symptoms.extend(self.locked.examine(needs));
        symptoms.extend(self.network.examine(needs));
        let connections = needs.connections;
        let heading = format!(
            "{} connections by {}, in {} of {} each",
            grouped(connections),
            needs.way.driver,
            plural(needs.shards as u64),
            grouped(needs.per_shard.into())
        );
        Diagnosis { connections, heading, symptoms }
    }
}

/// Whether the configuration itself lets so many in.
fn configured(needs: &Needs) -> Symptom {
    let Needs { configured, connections, per_shard, shards, .. } = *needs;
    let it = Symptom::counted("limits.connections, all shards", Some(configured), connections);
    let change = format!("in the configuration, in [limits]: connections = {per_shard}");
    if configured > u64::from(per_shard) * shards as u64 {
        let why = "a start wants what all of these need; what is said below is for fewer";
        return it.noted(why).advice(&[change]);
    }
    it.remedy(&[change], "who comes beyond that is answered with 503")
}

impl Diagnosis {
    /// How many things are in the way.
    #[must_use]
    pub fn short(&self) -> usize {
        self.symptoms.iter().filter(|it| it.is_short()).count()
    }

    /// What it comes to, in a sentence.
    #[must_use]
    pub fn verdict(&self) -> String {
        let connections = grouped(self.connections);
        match self.short() {
            0 => format!("nothing is in the way of {connections} connections"),
            1 => format!("one thing is in the way of {connections} connections: it is SHORT above"),
            n => format!("{n} things are in the way of {connections} connections: SHORT above"),
        }
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", self.heading)?;
        symptom::heading(out)?;
        self.symptoms.iter().try_for_each(|it| it.fmt(out))
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;
    use crate::config::{DriverChoice, Shards};
    use crate::kernel::Driver;

    /// What a default configuration wants with so many shards and connections, and without an admin
    /// address that is not said here.
    pub(super) fn needs(driver: Driver, shards: u16, connections: u64) -> Needs {
        let shards = Shards::Count(NonZeroU16::new(shards).expect("a number of shards"));
        let driver = DriverChoice::Only(driver);
        let config = Config { shards, driver, ..Config::default() };
        Needs::of(&config.with_admin(None), Some(connections), 2).expect("so many may be")
    }

    #[test]
    fn a_machine_of_which_nothing_can_be_read_is_short_of_what_is_known_alone() {
        let diagnosis = Readings::default().examine(&needs(Driver::Epoll, 1, 1000));
        let text = diagnosis.to_string();
        let short: Vec<&str> = text.lines().filter(|line| line.starts_with("SHORT")).collect();
        // Without limits of the process, and without a core, as nothing is.
        assert_eq!(short.len(), diagnosis.short(), "{text}");
        assert!(short[0].contains("cores") && short[1].contains("open files"), "{text}");
        assert_eq!(short.len(), 2, "{text}");
        assert!(text.contains("unknown"), "{text}");
    }

    #[test]
    fn more_than_is_configured_is_in_the_way() {
        let of = |connections| configured(&needs(Driver::Epoll, 2, connections));
        assert!(of(32_769).is_short());
        assert!(of(32_769).to_string().contains("connections = 16385\n"), "{}", of(32_769));
        assert_eq!(of(32_768).verdict(), symptom::Verdict::Fits);
        assert_eq!(of(32_000).verdict(), symptom::Verdict::Noted);
    }

    #[test]
    fn this_machine_is_looked_at() {
        let config = Config::default().with_admin(None);
        let diagnosis = examine(&config, Some(16)).expect("sixteen may be");
        let text = diagnosis.to_string();
        for what in ["open files, hard limit", "fs.file-max", "somaxconn", "memory of the"] {
            let line = text.lines().find(|line| line.contains(what)).expect(what);
            assert!(!line.contains("unknown"), "{line}");
        }
        assert!(diagnosis.verdict().contains("16 connections"), "{}", diagnosis.verdict());
    }
}

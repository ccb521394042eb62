//! How shards ask the kernel, and whether there are the descriptors for it.

use std::fmt;

use super::bill::bill;
use crate::bill::{Bill, Owner, plural};
use crate::config::{Config, DriverChoice, Limits};
use crate::control::{self, ChosenDriver};
use crate::kernel::{self, Driver, LockedMemory, Locking, RingError};

/// Descriptors of a shard beside its listeners and connections: its epoll instance, its waker, and
/// a burst of those whom another shard has accepted and who have no slot yet.
const OF_A_SHARD: u64 = 2 + 64;

/// Descriptors for all else that a process opens: standard streams, files that are looked at.
const SPARE: u64 = 32;

/// The ring of the control thread, of 64 entries: a page of them, and one of completions.
const CONTROL_RING: u64 = 2 * 4096;

/// Listeners that there are descriptors for at least: a reload may add some to fewer.
const LISTENERS_MIN: usize = 8;

/// The fewest connections that a shard has.
const CONNECTIONS_MIN: u32 = Limits::CONNECTIONS_MIN;

/// There are too few descriptors: by epoll each connection takes one, and by io_uring the limit
/// bounds the table of each shard. Displayed, it says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooFewDescriptors {
    /// By what shards ask the kernel.
    pub driver: Driver,
    /// The limit of open files.
    pub limit: u64,
    /// What it would have to be.
    pub wanted: u64,
    /// The most connections that each shard could have.
    pub connections: u32,
    /// How many shards there would be.
    pub shards: usize,
    /// Descriptors of the admin address.
    pub admin: u64,
}

/// By what so many shards of a configuration ask the kernel.
pub(crate) fn choose(config: &Config, shards: usize) -> ChosenDriver {
    let (driver, why) = match config.driver {
        DriverChoice::Only(driver) => (driver, "it is configured".into()),
        DriverChoice::Auto => match kernel::probe_io_uring() {
            Ok(()) => match too_much_locked(config, shards, LockedMemory::here()) {
                None => (Driver::IoUring, "this kernel has all that a shard needs".into()),
                Some(why) => (Driver::Epoll, why.into()),
            },
            Err(error) => (Driver::Epoll, error.to_string().into()),
        },
    };
    ChosenDriver { driver, why }
}

/// Why the rings of so many shards may not lock what they take, if they may not. What other
/// processes of the same user have locked is not known.
fn too_much_locked(config: &Config, shards: usize, locked: LockedMemory) -> Option<String> {
    // As they would be where open files are few; if there are too few for any, that is said later.
    let mut config = config.clone();
    let _ = fit(&mut config, shards, Driver::IoUring, kernel::open_files());
    let bill = bill(&config, shards, Driver::IoUring);
    let wanted = bytes_of_rings(&bill, shards, config.admin.address.is_some());
    (locked.locking(wanted) == Locking::TooMuch).then(|| {
        let (limit, kib) = (locked.limit, wanted.div_ceil(1024));
        format!(
            "the rings of {} take {wanted} bytes of locked memory, of which this user may have \
             {limit}: raise the limit (`ulimit -l {kib}`, or `LimitMEMLOCK={wanted}` in a systemd \
             unit), or set fewer shards",
            plural(shards as u64)
        )
    })
}

/// What the rings of so many shards have locked, and that of the control thread, if it is there.
pub(crate) fn bytes_of_rings(bill: &Bill, shards: usize, has_admin: bool) -> u64 {
    let is_ring = |owner| {
        matches!(owner, Owner::SubmissionQueue | Owner::CompletionQueue | Owner::ProvidedRing)
    };
    let lines = bill.lines().iter().filter(|line| is_ring(line.owner));
    let control = if has_admin { CONTROL_RING } else { 0 };
    lines.map(|line| line.bytes).sum::<u64>() * shards as u64 + control
}

/// Says by what, and why, and what was lowered; returns what of that is a warning.
pub(super) fn announce(resolved: &Resolved, choice: DriverChoice) -> Vec<String> {
    let ChosenDriver { driver, why } = &resolved.chosen;
    let mut warnings = Vec::new();
    match (choice, driver) {
        (DriverChoice::Auto, Driver::Epoll) => {
            warnings.push(format!("shards ask the kernel by {driver}, which costs more: {why}"));
        }
        _ => tracing::info!("shards ask the kernel by {driver}: {why}"),
    }
    warnings.extend(resolved.lowered.map(|lowered| lowered.to_string()));
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    warnings
}

/// What a start makes of a configuration here.
pub(super) struct Resolved {
    pub(super) shards: usize,
    pub(super) chosen: ChosenDriver,
    /// What was lowered, if anything was.
    pub(super) lowered: Option<Lowered>,
}

/// Shards have fewer connections than by default. Displayed, it says why, and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lowered {
    limit: u64,
    wanted: u64,
    connections: u32,
}

/// Finds out how many shards there are, and by what they ask the kernel, and fits the configuration
/// to the limit of open files as it is.
pub(super) fn resolve(config: &mut Config) -> Result<Resolved, TooFewDescriptors> {
    let shards = config.shards.resolve(super::cores());
    let chosen = choose(config, shards);
    let lowered = fit(config, shards, chosen.driver, kernel::open_files())?;
    Ok(Resolved { shards, chosen, lowered })
}

/// Whether `limit` open files suffice for so many shards. With fewer, shards have fewer connections
/// if their number is the default. If it is not, that is an error.
fn fit(
    config: &mut Config,
    shards: usize,
    driver: Driver,
    limit: u64,
) -> Result<Option<Lowered>, TooFewDescriptors> {
    // What there is for each shard, and how many of these there are.
    let (beside, parts) = shares(config, shards, driver);
    let slots = limit.saturating_sub(beside) / parts;
    if u64::from(config.limits.slots()) <= slots {
        return Ok(None);
    }
    let wanted = beside + parts * u64::from(config.limits.slots());
    let connections = most_connections(slots);
    if config.limits.connections == Limits::default().connections && connections >= CONNECTIONS_MIN
    {
        config.limits.connections = connections;
        return Ok(Some(Lowered { limit, wanted, connections }));
    }
    let admin = of_admin(config);
    Err(TooFewDescriptors { driver, limit, wanted, connections, shards, admin })
}

/// Checks that there are the descriptors for a gateway of a configuration that runs, beside so many
/// listeners that it has no longer, or has twice.
///
/// # Errors
/// There are too few.
pub(super) fn check_beside(
    config: &Config,
    beside: usize,
    shards: usize,
    driver: Driver,
) -> Result<(), TooFewDescriptors> {
    let mut config = config.clone();
    let listener = config.listeners.first().cloned().unwrap_or_default();
    config.listeners.extend(std::iter::repeat_n(listener, beside));
    let limit = kernel::open_files();
    let OpenFiles { limit: wanted, .. } = OpenFiles::of(&config, shards, driver);
    if wanted <= limit {
        return Ok(());
    }
    let connections = config.limits.connections;
    Err(TooFewDescriptors { driver, limit, wanted, connections, shards, admin: of_admin(&config) })
}

/// How many connections each shard has in a start with so many open files, if that is fewer than
/// the default, which is what `config` asks for.
pub(crate) fn lowered(config: &Config, shards: usize, driver: Driver, limit: u64) -> Option<u32> {
    fit(&mut config.clone(), shards, driver, limit).ok()?.map(|lowered| lowered.connections)
}

/// What a limit of open files has to hold beside what is shared out, and among how many.
fn shares(config: &Config, shards: usize, driver: Driver) -> (u64, u64) {
    match driver {
        // The limit bounds the table of each ring by itself.
        Driver::IoUring => (0, 1),
        Driver::Epoll => (beside(config, shards), shards as u64),
    }
}

/// What so many shards with all their connections want of open files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpenFiles {
    /// Of the limit of the process.
    pub(crate) limit: u64,
    /// Of the machine: by a ring a connection has no descriptor, but is an open file there.
    pub(crate) machine: u64,
}

impl OpenFiles {
    /// What is wanted of the configuration as it stands.
    pub(crate) fn of(config: &Config, shards: usize, driver: Driver) -> Self {
        let slots = u64::from(config.limits.slots());
        let ((in_limit, parts), beside) = (shares(config, shards, driver), beside(config, shards));
        Self {
            // What is beside a ring's table is bounded as well, each for itself.
            limit: (in_limit + parts * slots).max(beside),
            machine: beside + shards as u64 * slots,
        }
    }
}

/// Descriptors beside those of connections.
fn beside(config: &Config, shards: usize) -> u64 {
    let listeners = config.listeners.len().max(LISTENERS_MIN) as u64;
    shards as u64 * (listeners + OF_A_SHARD) + of_admin(config) + SPARE
}

/// Descriptors of the admin address.
fn of_admin(config: &Config) -> u64 {
    match config.admin.address {
        Some(_) => u64::from(config.admin.connections) + control::CONNECTIONS_BEYOND,
        None => 0,
    }
}

/// The most connections of a shard with so many slots.
fn most_connections(slots: u64) -> u32 {
    let fits = |connections: &u32| {
        let limits = Limits { connections: *connections, ..Limits::default() };
        u64::from(limits.slots()) <= slots
    };
    let most = u32::try_from(slots).unwrap_or(u32::MAX);
    // Slots are connections and few more, so there is little to count down.
    (0..=most).rev().find(fits).unwrap_or(0)
}

impl fmt::Display for Lowered {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, wanted, connections } = self;
        write!(
            out,
            "each shard has {connections} connections in place of {}: the limit of open files is \
             {limit}; raise it to {wanted} (`ulimit -n {wanted}`, or `LimitNOFILE={wanted}` in a \
             systemd unit)",
            Limits::default().connections
        )
    }
}

impl fmt::Display for TooFewDescriptors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { driver, limit, wanted, connections, shards, admin } = self;
        if *driver == Driver::IoUring {
            // In the ring's own words: it would say so when it is set up.
            let wanted = u32::try_from(*wanted).unwrap_or(u32::MAX);
            return RingError::TooManyDescriptors { wanted }.fmt(out);
        }
        write!(
            out,
            "with epoll each connection takes an open file: there may be {limit}, and {wanted} are \
             needed. Raise the limit (`ulimit -n {wanted}`, or `LimitNOFILE={wanted}` in a systemd \
             unit)"
        )?;
        match *connections {
            CONNECTIONS_MIN.. => {
                write!(out, ", or set limits.connections to {connections} at most")
            }
            _ if *shards > 1 => out.write_str(", or set fewer shards"),
            _ if *admin > 0 => {
                write!(out, ", or set admin.connections: the admin address has {admin} of them")
            }
            _ => Ok(()),
        }
    }
}

impl std::error::Error for TooFewDescriptors {}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(connections: u32) -> Config {
        let limits = Limits { connections, ..Limits::default() };
        Config { limits, ..Config::default() }.with_admin(None)
    }

    #[test]
    fn what_fits_stays_as_it_is() {
        let mut config = of(100);
        let mut fit = |limit| fit(&mut config, 2, Driver::Epoll, limit);
        // A sixteenth more slots, a listener, and what is the shard's own; all that for two.
        let needed = 2 * (106 + LISTENERS_MIN as u64 + OF_A_SHARD) + SPARE;
        assert_eq!(fit(needed), Ok(None));
        let wanted = OpenFiles { limit: needed, machine: needed };
        assert_eq!(OpenFiles::of(&of(100), 2, Driver::Epoll), wanted);
        let error = fit(needed - 1).unwrap_err();
        assert_eq!((error.wanted, error.connections), (needed, 99));
        assert!(error.to_string().contains(&format!("ulimit -n {needed}")), "{error}");
        assert_eq!(config.limits.connections, 100);
    }

    #[test]
    fn the_default_is_lowered_to_what_fits() {
        let mut config = of(Limits::default().connections);
        let lowered = fit(&mut config, 2, Driver::Epoll, 1024).unwrap().unwrap();
        assert_eq!(lowered.connections, config.limits.connections);
        assert!(config.limits.connections > 300, "{}", config.limits.connections);
        let needed = 2 * u64::from(config.limits.slots()) + beside(&config, 2);
        assert!((1020..=1024).contains(&needed), "{needed}");
    }

    #[test]
    fn each_ring_has_the_whole_limit() {
        let mut config = of(Limits::default().connections);
        assert!(fit(&mut config, 8, Driver::IoUring, 1024).unwrap().is_some());
        assert_eq!((config.limits.slots(), config.limits.connections), (1024, 964));
        let wanted = OpenFiles::of(&of(964), 8, Driver::IoUring);
        assert_eq!(wanted, OpenFiles { limit: 1024, machine: 8 * 1024 + beside(&of(964), 8) });
        assert_eq!(OpenFiles::of(&of(16), 8, Driver::IoUring).limit, beside(&of(16), 8));
        let error = fit(&mut of(5000), 8, Driver::IoUring, 1024).unwrap_err();
        let said = format!("ulimit -n {}", of(5000).limits.slots());
        assert!(error.to_string().contains(&said), "{error}");
    }

    #[test]
    fn what_rings_lock_grows_with_the_shards() {
        let locked = LockedMemory { limit: 8 << 20, is_free: false, kernel: Some((6, 18)) };
        let config = Config::default();
        assert_eq!(too_much_locked(&config, 6, locked), None);
        let why = too_much_locked(&config, 7, locked).expect("as measured on Linux 6.18");
        assert!(why.contains("rings of 7 shards") && why.contains("ulimit -l "), "{why}");
        assert_eq!(too_much_locked(&config, 7, LockedMemory { is_free: true, ..locked }), None);
    }

    #[test]
    fn too_few_for_any_shard_are_refused() {
        let mut config = of(Limits::default().connections);
        let error = fit(&mut config, 64, Driver::Epoll, 256).unwrap_err();
        assert!(error.to_string().contains("fewer shards"), "{error}");
    }

    #[test]
    fn one_shard_is_not_told_to_be_fewer() {
        let mut config = Config::default();
        let error = fit(&mut config, 1, Driver::Epoll, 128).unwrap_err().to_string();
        assert!(error.contains("set admin.connections") && !error.contains("shards"), "{error}");
        let error = fit(&mut of(16), 1, Driver::Epoll, 40).unwrap_err().to_string();
        assert!(error.ends_with("in a systemd unit)"), "{error}");
    }
}

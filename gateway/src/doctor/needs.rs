//! What a configuration with so many connections wants of the machine.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::bill::{Bill, Limit};
use crate::config::stack::TcpLayer;
use crate::config::{Config, DriverChoice, Limits};
use crate::gateway::{self, OpenFiles};
use crate::kernel::{self, Driver};

/// What is wanted, whatever there is.
pub(super) struct Needs {
    /// Connections of the whole gateway.
    pub(super) connections: u64,
    /// What the configuration lets all shards have, and what `limits.connections` has to be.
    pub(super) configured: u64,
    pub(super) per_shard: u32,
    pub(super) slots: u32,
    pub(super) shards: usize,
    pub(super) way: Way,
    pub(super) files: OpenFiles,
    pub(super) bill: Bill,
    pub(super) limit: Limit,
    pub(super) tcp: Tcp,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) has_admin: bool,
    /// The configuration, if nobody has said how many connections there are to be: then a start
    /// has fewer where files are few.
    pub(super) unsaid: Option<Config>,
}

/// How the shards ask the kernel.
pub(super) struct Way {
    pub(super) choice: DriverChoice,
    pub(super) driver: Driver,
    pub(super) why: Arc<str>,
    /// Why a ring that is configured cannot be had.
    pub(super) refusal: Option<String>,
    /// This kernel, or somebody, refuses a ring.
    pub(super) is_refused: bool,
}

/// The most that any listener asks for.
pub(super) struct Tcp {
    pub(super) backlog: u32,
    pub(super) rcvbuf: u32,
    pub(super) sndbuf: u32,
}

impl Needs {
    /// What `config` wants on `cores` cores for so many connections of all shards together, or for
    /// as many as it says.
    ///
    /// # Errors
    /// No gateway of so many shards has so many.
    pub(super) fn of(
        config: &Config,
        connections: Option<u64>,
        cores: usize,
    ) -> Result<Self, String> {
        let shards = config.shards.resolve(cores);
        let configured = u64::from(config.limits.connections) * shards as u64;
        let is_unsaid =
            connections.is_none() && config.limits.connections == Limits::default().connections;
        let connections = connections.unwrap_or(configured);
        let per_shard = connections.div_ceil(shards as u64).max(Limits::CONNECTIONS_MIN.into());
        let per_shard = u32::try_from(per_shard).ok().filter(|it| *it <= Limits::CONNECTIONS_MAX);
        let per_shard = per_shard.ok_or_else(|| {
            let most = u64::from(Limits::CONNECTIONS_MAX) * shards as u64;
            format!(
                "--connections {connections}: {shards} shards have {most} at most; write fewer, or \
                 more shards"
            )
        })?;
        let mut config = config.clone();
        config.limits.connections = per_shard;
        let way = Way::of(&config, shards);
        Ok(Self {
            connections,
            configured,
            per_shard,
            slots: config.limits.slots(),
            shards,
            files: OpenFiles::of(&config, shards, way.driver),
            bill: gateway::bill(&config, shards, way.driver),
            limit: config.memory.limit(),
            tcp: Tcp::of(&config),
            addresses: config
                .listeners
                .iter()
                .filter_map(|listener| listener.address.ip())
                .collect(),
            has_admin: config.admin.address.is_some(),
            unsaid: is_unsaid.then_some(config),
            way,
        })
    }

    /// How many connections each shard would have with so many open files, where a start makes do
    /// with fewer.
    pub(super) fn lowered(&self, open_files: u64) -> Option<u32> {
        let config = self.unsaid.as_ref()?;
        gateway::lowered(config, self.shards, self.way.driver, open_files)
    }

    /// Bytes of the kernel for all connections while they are idle.
    pub(super) fn idle_sockets(&self) -> u64 {
        let sockets = self.bill.sockets();
        sockets.connections * sockets.idle
    }
}

impl Way {
    fn of(config: &Config, shards: usize) -> Self {
        let choice = config.driver;
        let chosen = gateway::choose(config, shards);
        let refusal = match choice {
            DriverChoice::Only(Driver::IoUring) => kernel::probe_io_uring().err(),
            DriverChoice::Only(Driver::Epoll) | DriverChoice::Auto => None,
        };
        let refusal = refusal.map(|error| error.to_string());
        // By epoll for want of something else, such as locked memory, `why` says what to change.
        let is_refused = refusal.is_some()
            || (chosen.driver == Driver::Epoll && kernel::probe_io_uring().is_err());
        Self { is_refused, choice, driver: chosen.driver, why: chosen.why, refusal }
    }
}

impl Tcp {
    fn of(config: &Config) -> Self {
        let most = |of: fn(&TcpLayer) -> u32| {
            let layers = config.listeners.iter().filter_map(|listener| listener.stack.socket.tcp());
            layers.map(of).max().unwrap_or(0)
        };
        let backlogs = config.listeners.iter().map(|listener| listener.stack.socket.backlog());
        Self {
            backlog: backlogs.max().unwrap_or(0),
            rcvbuf: most(|tcp| tcp.rcvbuf),
            sndbuf: most(|tcp| tcp.sndbuf),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;
    use crate::config::Shards;

    fn of(connections: Option<u64>) -> Result<Needs, String> {
        let shards = Shards::Count(NonZeroU16::new(3).unwrap());
        let driver = DriverChoice::Only(Driver::Epoll);
        Needs::of(&Config { shards, driver, ..Config::default() }, connections, 8)
    }

    #[test]
    fn connections_are_those_of_all_shards_together() {
        let needs = of(None).unwrap();
        assert_eq!((needs.connections, needs.per_shard), (3 * 16_384, 16_384));
        let needs = of(Some(1_000_000)).unwrap();
        assert_eq!((needs.per_shard, needs.configured), (333_334, 3 * 16_384));
        assert!(needs.files.limit > 1_000_000, "{:?}", needs.files);
        assert_eq!(of(Some(1)).unwrap().per_shard, 16);
    }

    #[test]
    fn more_than_any_gateway_has_are_refused_with_what_it_has() {
        let most = 3 * 4_194_304;
        assert!(of(Some(most)).is_ok());
        for wanted in [most + 1, u64::MAX] {
            let error = of(Some(wanted)).err().expect("too many");
            assert!(error.contains("3 shards have 12582912 at most"), "{error}");
        }
    }
}

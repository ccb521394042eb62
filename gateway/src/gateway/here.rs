//! What a start here and now would come to.

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;

use super::driver::{self, Resolved, choose};
use super::{AdminError, ListenError, StartError, TooFewDescriptors, bill};
use crate::access_log;
use crate::bill::Bill;
use crate::checks::{GatekeeperParts, Hashers, Verifiers};
use crate::config::{AccessLog, AccessTarget, Config, ListenAddress, UnixAddress};
use crate::control::ChosenDriver;
use crate::listen::{self, Dealt};
use crate::steering::Certificates;

/// How many cores this process may use (sched_getaffinity(2)), or how many its CPU quota pays for
/// (`cpu.max`, or `cpu.cfs_quota_us` of version 1 of control groups) if those are fewer; at least
/// 1.
#[must_use]
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The bill of a gateway of this configuration, started here and now: with as many shards as it
/// would have, as many connections, and by what they would ask the kernel.
///
/// # Errors
/// There are too few descriptors for all connections.
pub fn bill_here(mut config: Config) -> Result<Bill, TooFewDescriptors> {
    let Resolved { shards, chosen, .. } = driver::resolve(&mut config)?;
    Ok(bill(&config, shards, chosen.driver))
}

/// By what shards would ask the kernel in a start here and now, and why.
#[must_use]
pub fn driver_here(config: &Config) -> String {
    let ChosenDriver { driver, why } = choose(config, config.shards.resolve(cores()));
    format!("{driver} ({why})")
}

/// Reads the files that a configuration names, as a start here and now would.
///
/// # Errors
/// [`StartError::Tls`] or [`StartError::Keys`], with all that cannot be used;
/// [`StartError::AccessLog`].
pub fn check_files(config: &Config) -> Result<(), StartError> {
    access_log::check(config).map_err(StartError::AccessLog)?;
    Certificates::read(config).map_err(StartError::Tls)?;
    let (verifiers, _) = Verifiers::new(0);
    let (hashers, _) = Hashers::new(config);
    GatekeeperParts::read(config, verifiers, hashers).map(drop).map_err(StartError::Keys)
}

/// What a start here and now would warn of, one line each: that shards would have fewer connections
/// than by default, and what may be a mistake about certificates. Files that cannot be used are
/// what a start ends with.
#[must_use]
pub fn doubts_here(mut config: Config) -> Vec<String> {
    let certificates = Certificates::read(&config).map_or(Vec::new(), |read| read.doubts());
    let resolved = driver::resolve(&mut config).ok();
    let lowered = resolved.and_then(|it| it.lowered);
    lowered.iter().map(ToString::to_string).chain(certificates).collect()
}

/// The configuration of a rehearsal, which nobody notices: with a control thread at a port that
/// nobody knows, and an access log that leaves no file. What a start would find of both is found.
///
/// # Errors
/// What would keep the gateway from starting.
pub(super) fn set_aside(mut config: Config, dealt: &mut Dealt) -> Result<Config, StartError> {
    if let Some(address) = config.admin.address.take() {
        let taken = |error: ListenError| AdminError::Listen(address.clone(), error.error);
        if dealt.take_admin().is_none() {
            listen::check_admin(&address).map_err(taken).map_err(StartError::Admin)?;
        }
        config.admin.address = Some(elsewhere(&address));
    }
    access_log::check(&config).map_err(StartError::AccessLog)?;
    let nowhere = |log| AccessLog { to: AccessTarget::Stdout, max_size: None, ..log };
    config.access_log = config.access_log.map(nowhere);
    Ok(config)
}

/// An address of the same kind that nobody knows, for the control thread of a rehearsal.
fn elsewhere(address: &ListenAddress) -> ListenAddress {
    match address {
        ListenAddress::Ip(address) => SocketAddr::new(address.ip(), 0).into(),
        ListenAddress::Unix(_) => {
            let number = RandomState::new().hash_one(0);
            ListenAddress::Unix(UnixAddress::Abstract(format!("tidegate-rehearsal-{number:x}")))
        }
    }
}

//! What a configuration comes to before there are shards: files that are read, and sockets.

use super::StartError;
use crate::checks::{CheckThreads, GatekeeperParts, Hashers, Verifiers};
use crate::config::Config;
use crate::listen::ListeningSockets;
use crate::shard::{ListenerTable, OpenedListener};
use crate::steering::{Certificates, Handle};

/// The listeners of a configuration, for which these were opened.
pub(super) fn listening(
    config: &Config,
    sockets: &ListeningSockets,
    certificates: &Certificates,
) -> ListenerTable {
    let opened = sockets.addresses.iter().cloned().zip(sockets.sharing.iter().copied());
    let opened = opened.map(|(address, sharing)| OpenedListener { address, sharing });
    let opened: Vec<_> = opened.collect();
    ListenerTable::new(&config.listeners, &opened, &certificates.servers())
}

/// The files of TLS, with what is to be doubted of them in the log.
///
/// # Errors
/// A file cannot be used.
pub(super) fn read_certificates(config: &Config) -> Result<Certificates, StartError> {
    let certificates = Certificates::read(config).map_err(StartError::Tls)?;
    certificates.doubts().iter().for_each(|doubt| tracing::warn!("{doubt}"));
    Ok(certificates)
}

/// What shards check requests by, and the threads for that, of which none runs yet.
///
/// # Errors
/// A file cannot be used.
pub(super) fn read_checks(
    config: &Config,
    handle: &Handle,
) -> Result<(GatekeeperParts, CheckThreads), StartError> {
    let (verifiers, tokens) = Verifiers::new(config.verifying.waiting as usize);
    let (hashers, passwords) = Hashers::new(config);
    let parts = GatekeeperParts::read(config, verifiers, hashers).map_err(StartError::Keys)?;
    let parts = parts.with_revocations(handle.revocations());
    Ok((parts, CheckThreads::new(tokens, passwords)))
}

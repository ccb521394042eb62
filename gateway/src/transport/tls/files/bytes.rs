//! What files come to in memory, for the bill.

use std::fs;
use std::path::Path;

use crate::bill::{Line, Owner};
use crate::config::Config;

/// What is held of a file beyond its own bytes. Of a certificate and its key 1.4 KB more than both
/// files have were measured on all heaps; of long chains, and of authorities, less than the files
/// have.
const MADE: u64 = 2 << 10;

/// What is held of the files that a configuration names, as large as they are now. While they are
/// read anew, what was read before is there as well.
pub(crate) fn lines(config: &Config) -> Option<Line> {
    let bytes: u64 = files(config).map(|file| MADE + length(file)).sum();
    let keys = &["the files of `[[certificate]]` and of the layers `tls`"];
    (bytes > 0).then(|| Line::new(Owner::TlsFiles, 2 * bytes, keys))
}

/// Each file as often as something is made of it.
fn files(config: &Config) -> impl Iterator<Item = &Path> {
    let all = config.certificates.iter().flat_map(|one| [&one.cert, &one.key]);
    let layers = config.listeners.iter().filter_map(|listener| listener.stack.tls.as_ref());
    let of_layers = layers.flat_map(|layer| {
        let own = layer.certificate.iter().flat_map(|files| [&files.cert, &files.key]);
        let clients = layer.client.iter().map(|client| &client.ca);
        let tickets = layer.tickets.iter().filter_map(|tickets| tickets.keys.as_ref());
        own.chain(clients).chain(tickets)
    });
    all.chain(of_layers).map(AsRef::as_ref)
}

/// Without a file the start ends before anything is held.
fn length(file: &Path) -> u64 {
    fs::metadata(file).map_or(0, |about| about.len())
}

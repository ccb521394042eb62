//! What is in force of the configuration, and what was made of it.

use std::sync::Arc;

use crate::access_log::{AccessFeed, AccessTotals};
use crate::bill::Bill;
use crate::census::Census;
use crate::checks::GatekeeperParts;
use crate::config::Config;
use crate::shard::{ListenerTable, RouteTable};

/// What is in force.
pub(crate) struct InForce {
    /// As it was written.
    pub(crate) configured: Arc<Config>,
    /// As it came to be on this machine.
    pub(crate) config: Arc<Config>,
    pub(crate) routes: Arc<RouteTable>,
    pub(crate) listening: Arc<ListenerTable>,
    pub(crate) checks: GatekeeperParts,
    pub(crate) census: Arc<Census>,
    /// The way into the access log, if there is one.
    pub(crate) access_log: Option<AccessFeed>,
    /// What has become of its lines, and of those of all that were there before.
    pub(crate) access_totals: Option<Arc<AccessTotals>>,
    pub(crate) bill: Bill,
    /// What it was warned of.
    pub(crate) warnings: Vec<String>,
}

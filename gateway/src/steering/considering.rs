//! What would come of another configuration: all that it names is read, and all of it is checked.
//! Nothing has changed so far.

use std::sync::Arc;

use super::Reloader;
use super::in_force::InForce;
use super::not_changed::NotChanged;
use super::relistening::{NextListening, keep_passed, next_listening};
use super::reloader::Judged;
use crate::access_log::{self, AccessFeed, AccessTotals, UnstartedLog};
use crate::bill::{Bill, Holdings};
use crate::census::Census;
use crate::config::{Config, Difference};
use crate::shard::{ListenerTable, RouteTable};
use crate::transport::tls::{ReadAnew, TlsServers};

/// A configuration that can be taken over.
pub(super) struct Considered {
    /// What it has otherwise.
    pub(super) differences: Vec<Difference>,
    /// What is in force once it is.
    pub(super) next: InForce,
    /// The files of TLS.
    pub(super) files: ReadAnew,
    /// The listeners.
    pub(super) listening: NextListening,
    /// What takes the place of the access log.
    pub(super) log: NextLog,
}

/// What takes the place of the access log.
pub(super) enum NextLog {
    /// It stays.
    Same,
    /// Another one does, or none.
    Other(Option<UnstartedLog>),
}

/// It, the way into it, and where its lines are counted.
struct NextAccess {
    log: NextLog,
    feed: Option<AccessFeed>,
    totals: Option<Arc<AccessTotals>>,
}

impl Reloader {
    /// Finds out what comes of a configuration, and if it is only looked at, what shards would say
    /// against it. Files of TLS are held meanwhile.
    ///
    /// # Errors
    /// It cannot be taken over: why.
    pub(super) fn consider(
        &self,
        mut wanted: Config,
        only_looks: bool,
    ) -> Result<Considered, NotChanged> {
        wanted.check().map_err(|wrong| NotChanged::Config(wrong.to_string()))?;
        let now = self.in_force();
        let mut differences = now.configured.differences(&wanted);
        let mut warnings = keep_passed(&now, &mut wanted, &mut differences);
        let config = now.config.taking_over(wanted.clone());
        config.check().map_err(NotChanged::Mixed)?;
        warnings.extend(config.doubts());
        let matched = now.listening.matched(&config.listeners);
        let bill = self.judged(&config, &now, (&matched, only_looks))?;
        let files = self.certificates().read_anew(&config, &matched);
        let files = files.map_err(NotChanged::Files)?;
        let checks = now.checks.read_anew(&config).map_err(NotChanged::Keys)?;
        let routes = now.routes.followed_by(&config.routes).map_err(NotChanged::Names)?;
        if only_looks {
            warnings.extend(self.doubt_routes(&now, &routes));
        }
        let access = next_access(&now, &config)?;
        let servers = TlsServers::new(files.servers());
        let shards = self.handle().wires().len();
        let listening = next_listening(&now, &config, &servers, shards)?;
        let next = InForce {
            // What needs a restart is told each time until there was one.
            configured: Arc::new(now.configured.taking_over(wanted)),
            routes: Arc::new(routes),
            census: next_census(&now, &config, &listening.table),
            listening: Arc::clone(&listening.table),
            warnings,
            config: Arc::new(config),
            checks,
            access_log: access.feed,
            access_totals: access.totals,
            bill,
        };
        Ok(Considered { differences, next, files, listening, log: access.log })
    }

    /// What shards might say against routes that take the place of others: whether somebody is on
    /// those that go is theirs to know.
    fn doubt_routes(&self, now: &InForce, routes: &RouteTable) -> Option<String> {
        let shards = self.handle().by_shard();
        let gone = shards.iter().map(|(counters, _)| counters.routes_gone).max().unwrap_or(0);
        let go = now.routes.left_by(routes);
        let most = routes.gone_max();
        (gone as usize + go > most).then(|| {
            format!(
                "{go} routes go, and connections are on {gone} that are there no longer: if some \
                 are on so many of both that it is more than {most}, nothing changes"
            )
        })
    }

    /// What shards of a configuration may come to hold, with what they still hold for the one
    /// before.
    ///
    /// # Errors
    /// That is too much, or the program cannot serve it.
    fn judged(
        &self,
        config: &Config,
        now: &InForce,
        (matched, makes_handlers): (&[Option<usize>], bool),
    ) -> Result<Bill, NotChanged> {
        let added = matched.iter().filter(|before| before.is_none()).count();
        let stay = matched.len() - added;
        let gone = now.listening.places().len() - stay;
        let shards = self.handle().by_shard();
        let held: Vec<Holdings> = shards.into_iter().map(|(_, vitals)| vitals.holdings).collect();
        // Those that go are there until the others are; and each of these is had twice meanwhile.
        let judged = Judged { beside: gone + added, makes_handlers };
        let bill = self.judge(config, judged)?.keeping(&now.bill, &held);
        bill.check(config.memory.limit()).map_err(NotChanged::Budget)?;
        Ok(bill)
    }
}

/// What connections are counted by: the same, if nothing of it is otherwise.
fn next_census(now: &InForce, config: &Config, listening: &ListenerTable) -> Arc<Census> {
    let limits = |table: &ListenerTable| -> Vec<_> {
        table.places().iter().map(|place| (place.id, place.listener.limits)).collect()
    };
    if now.config.clients == config.clients && limits(&now.listening) == limits(listening) {
        return Arc::clone(&now.census);
    }
    Arc::new(now.census.followed_by(&config.clients, listening.seated()))
}

/// What becomes of the access log.
///
/// # Errors
/// What its lines are to go to cannot be opened.
fn next_access(now: &InForce, config: &Config) -> Result<NextAccess, NotChanged> {
    let totals = now.access_totals.clone();
    if now.config.access_log == config.access_log {
        return Ok(NextAccess { log: NextLog::Same, feed: now.access_log.clone(), totals });
    }
    let Some(log) = &config.access_log else {
        return Ok(NextAccess { log: NextLog::Other(None), feed: None, totals });
    };
    access_log::check(config).map_err(NotChanged::AccessLog)?;
    let totals = totals.unwrap_or_default();
    let log = UnstartedLog::new(log, Arc::clone(&totals));
    let feed = Some(log.feed().clone());
    Ok(NextAccess { log: NextLog::Other(Some(log)), feed, totals: Some(totals) })
}

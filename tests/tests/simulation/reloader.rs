//! Changes of the configuration in the middle of a run: of routes that nobody asks for, of what
//! routes say that nobody notices, of one route so that who is there stays on what was there
//! before, or is closed, and of what clients are counted by and shards limited.

use std::sync::Arc;

use tidegate::access_log::AccessFeed;
use tidegate::census::Census;
use tidegate::checks::GatekeeperParts;
use tidegate::config::{ClientNetwork, Clients, Config, Listener, Route, RouteHandler};
use tidegate::hub::TopicRules;
use tidegate::kernel::Sharing;
use tidegate::shard::{
    ChangeParts, ChangeStage, ConfigChange, ListenerTable, OpenedListener, RouteTable,
};
use tidegate::transport::tls::TlsServers;

use crate::drainer::Meant;
use crate::handlers::Behaviour;
use crate::random::Random;
use crate::several::Several;

/// Where one more is listened, now and then.
const ANOTHER: &str = "127.0.0.1:3";

/// What changes, and when.
pub struct Reloader {
    random: Random,
    /// Turns between two changes, on average; `None` for none.
    each: Option<usize>,
    next_at: usize,
    /// What is in force.
    config: Arc<Config>,
    routes: Vec<Route>,
    table: Arc<RouteTable>,
    listening: Arc<ListenerTable>,
    servers: TlsServers,
    pub census: Arc<Census>,
    /// What clients are counted by at the start.
    clients: Clients,
    checks: GatekeeperParts,
    rules: Arc<TopicRules>,
    /// The way into the access log, which stays.
    pub access_log: Option<AccessFeed>,
    /// Paths of which somebody may be on a route that is there no longer.
    gone: Vec<&'static str>,
    under_way: Option<UnderWay>,
}

struct UnderWay {
    change: Arc<ConfigChange>,
    routes: Vec<Route>,
    is_abandoned: bool,
    /// Of which path who is there stays on another route, and whether they are closed.
    path: Option<&'static str>,
    closes: bool,
}

impl Reloader {
    /// What happens in a run that begins with these.
    pub fn draw(
        random: &mut Random,
        config: &Arc<Config>,
        table: &Arc<RouteTable>,
        (listening, servers, census, checks): (
            &Arc<ListenerTable>,
            TlsServers,
            &Arc<Census>,
            &GatekeeperParts,
        ),
    ) -> Self {
        // Drawn apart, so that a run without changes is as if there were none.
        let mut random = Random::new(!random.clone().bits() ^ 0xC4);
        let each = random.chance(400).then(|| random.pick(&[20, 200, 1000]));
        let rules = config.topics.iter().map(|topic| (topic.name.as_str(), topic.rule));
        Self {
            each,
            next_at: random.below(500),
            random,
            routes: config.routes.clone(),
            clients: config.clients.clone(),
            config: Arc::clone(config),
            table: Arc::clone(table),
            listening: Arc::clone(listening),
            servers,
            census: Arc::clone(census),
            checks: checks.clone(),
            rules: Arc::new(TopicRules::new(rules)),
            access_log: None,
            gone: Vec::new(),
            under_way: None,
        }
    }

    /// Does what is due.
    pub fn act(&mut self, several: &Several) {
        if self.under_way.is_some() {
            return self.go_on(several);
        }
        let Some(each) = self.each.filter(|_| several.turns() >= self.next_at) else { return };
        self.next_at = several.turns() + self.random.between(1, 2 * each);
        let (routes, path) = self.other_routes();
        let table = self.table.followed_by(&routes).expect("there are few");
        let closes = self.random.chance(300).then(|| self.random.pick(&[10, 1_000_000]));
        let config = self.other_limits();
        let listening = Arc::new(self.other_listeners(&config));
        let is_same = config.clients == self.config.clients
            && config.listeners.len() == self.config.listeners.len();
        let census = match is_same {
            true => Arc::clone(&self.census),
            false => Arc::new(self.census.followed_by(&config.clients, listening.seated())),
        };
        let change = Arc::new(ConfigChange::new(ChangeParts {
            config: Arc::new(config),
            listening,
            census,
            access_log: self.access_log.clone(),
            routes: Arc::new(table),
            checks: self.checks.clone(),
            rules: Arc::clone(&self.rules),
            closes,
        }));
        several.change(Some(&change));
        let (is_abandoned, closes) = (self.random.chance(200), closes.is_some());
        self.under_way = Some(UnderWay { change, routes, is_abandoned, path, closes });
    }

    /// Goes on with the one that is under way.
    fn go_on(&mut self, several: &Several) {
        let Some(one) = &self.under_way else { return };
        assert_eq!(one.change.wrong(), None, "nothing is wrong with it");
        let shards = several.outsides.len() as u32;
        if one.is_abandoned {
            if one.change.ready() == shards || self.random.chance(50) {
                one.change.abandon();
                several.change(None);
                self.under_way = None;
            }
        } else if one.change.done() == shards {
            // Somebody may have come to a shard before that had it.
            self.marks_those_who_may_go(several);
            several.change(None);
            let UnderWay { change, routes, .. } = self.under_way.take().expect("it was there");
            let parts = change.parts();
            (self.table, self.routes) = (Arc::clone(&parts.routes), routes);
            (self.config, self.census) = (Arc::clone(&parts.config), Arc::clone(&parts.census));
            self.listening = Arc::clone(&parts.listening);
        } else if one.change.ready() == shards && one.change.stage() == ChangeStage::Ordered {
            self.gone.extend(one.path);
            self.listening.places().iter().for_each(|place| {
                if one.change.parts().listening.of(place.id).is_none() {
                    several.comes_nobody_by(place.id);
                }
            });
            one.change.put_in_force();
            several.outsides.iter().for_each(|outside| outside.waker.wake());
            self.marks_those_who_may_go(several);
        }
    }

    fn marks_those_who_may_go(&self, several: &Several) {
        if self.under_way.as_ref().is_some_and(|one| one.closes) {
            self.gone.iter().for_each(|path| several.marks(Meant::Path(path)));
        }
    }

    /// The same with other limits of clients, which nobody meets who does not at the start, and of
    /// work.
    fn other_limits(&mut self) -> Config {
        let mut config = (*self.config).clone();
        if self.random.chance(400) {
            config.clients = match self.random.below(4) {
                0 => self.clients.clone(),
                1 => Clients::default(),
                _ => self.roomy(),
            };
        }
        if self.random.chance(300) {
            // As the first, at another address.
            config.listeners.truncate(2);
            if self.random.chance(500) {
                let address = ANOTHER.parse().expect("an address");
                config.listeners.push(Listener { address, ..config.listeners[0].clone() });
            }
        }
        for listener in &mut config.listeners {
            if self.random.chance(200) {
                // Nobody comes from there.
                listener.networks.deny = match listener.networks.deny.is_empty() {
                    true => vec![ClientNetwork::Ip("203.0.113.0/24".parse().expect("a network"))],
                    false => Vec::new(),
                };
            }
        }
        if self.random.chance(300) {
            config.limits.heavy_input = self.random.pick(&[256 << 10, 3000, 1]);
        }
        config
    }

    /// What takes the place of the listeners: one more may be there, or no longer.
    fn other_listeners(&mut self, config: &Config) -> ListenerTable {
        let matched = self.listening.matched(&config.listeners);
        let new = config.listeners.iter().zip(matched).filter(|(_, before)| before.is_none());
        let opened = new
            .map(|(one, _)| OpenedListener { address: one.address.clone(), sharing: Sharing::Own });
        let opened = opened.collect();
        let table = self.listening.followed_by(&config.listeners, opened, &self.servers);
        table.expect("there are few")
    }

    /// More of some than there are.
    fn roomy(&mut self) -> Clients {
        let mut some = || self.random.chance(600).then_some(100_000);
        let (connections, per_address, per_user) = (some(), some(), some());
        let prefix_v4 = self.random.pick(&[8, 32]);
        let clients = self.clients.clone();
        // No rates: each world has a clock of its own.
        Clients { connections, per_address, per_user, prefix_v4, ..clients }
    }

    /// The routes otherwise: in another order, with others that nobody asks for, with bounds that
    /// nobody meets. Of the one with the path that is returned who is there stays on another one.
    fn other_routes(&mut self) -> (Vec<Route>, Option<&'static str>) {
        let mut routes = self.routes.clone();
        routes.retain(|route| !route.path.starts_with("/nobody/"));
        for number in 0..self.random.pick(&[0, 1, 200]) {
            routes.push(Route::new(format!("/nobody/{number}"), RouteHandler::Echo));
        }
        for route in &mut routes {
            if self.random.chance(300) {
                route.client.connections = self.random.pick(&[Some(1_000_000), None]);
            }
            if self.random.chance(300) {
                route.backlog = self.random.pick(&[16 << 10, 32 << 10]);
            }
        }
        let path = self.random.chance(400).then(|| self.random.pick(&Behaviour::ALL).path());
        for route in routes.iter_mut().filter(|route| Some(&*route.path) == path) {
            // The program makes the handler of either.
            route.handler = match route.handler {
                RouteHandler::Echo => RouteHandler::Embedded,
                _ => RouteHandler::Echo,
            };
        }
        let turn = self.random.below(routes.len());
        routes.rotate_left(turn);
        (routes, path)
    }
}

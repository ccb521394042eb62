//! What differs between two configurations: what a gateway takes over while it runs, and what it
//! needs a start for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::settings::settings;
use super::{Certificate, Config, Route};

/// One thing that another configuration has otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What it is: a key as the file has it, or one of several tables with what it is called by,
    /// such as `route /echo`.
    pub what: String,
    /// What has become of it.
    pub how: HowDifferent,
    /// Whether it is in force only after a start.
    pub needs_restart: bool,
}

/// What has become of something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HowDifferent {
    /// It was not there.
    Added,
    /// It is there no longer.
    Removed,
    /// It is otherwise, in more than one value, or in one that is not told.
    Changed,
    /// Its value is another: before and now.
    Set(String, String),
}

/// Keys with one value that a running gateway takes over.
const IN_PROCESS: [&str; 12] = [
    "memory",
    "drain",
    "drain_delay",
    "drain_rate",
    "drain_code",
    "limits.heavy_input",
    "limits.handshakes",
    "limits.tokens",
    "limits.passwords",
    "limits.permissions",
    "limits.memory_high",
    "limits.memory_critical",
];

/// Whether it takes over a key with one value.
fn is_in_process(name: &str) -> bool {
    let is_of_clients = name.starts_with("clients.") && name != "clients.places";
    is_of_clients || name.starts_with("access_log.") || IN_PROCESS.contains(&name)
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.what)?;
        match &self.how {
            HowDifferent::Added => out.write_str(" is added")?,
            HowDifferent::Removed => out.write_str(" is removed")?,
            HowDifferent::Changed => out.write_str(" is changed")?,
            HowDifferent::Set(before, now) => write!(out, ": {before} becomes {now}")?,
        }
        if self.needs_restart { out.write_str(" (with a restart)") } else { Ok(()) }
    }
}

impl Config {
    /// What `wanted` has otherwise.
    #[must_use]
    pub fn differences(&self, wanted: &Self) -> Vec<Difference> {
        let mut all = of_settings(self, wanted);
        // Its values may be nobody else's business.
        all.extend(changed("log", self.log != wanted.log, false));
        // What is drawn from it stays in use.
        let key = self.hub.resume_key != wanted.hub.resume_key;
        all.extend(changed("hub.resume_key", key, true));
        all.extend(changed("admin.tokens", self.admin.tokens != wanted.admin.tokens, false));
        all.extend(changed("admin.address", self.admin.address != wanted.admin.address, true));
        let listeners = [&*self.listeners, &*wanted.listeners];
        all.extend(of_tables("listener", listeners, |one| one.address.to_string(), false));
        let certificates = [&*self.certificates, &*wanted.certificates];
        let file = |one: &Certificate| one.cert.display().to_string();
        all.extend(of_tables("certificate", certificates, file, false));
        all.extend(of_tables("jwt", [&self.jwts, &wanted.jwts], |one| one.name.clone(), false));
        let tokens = [&*self.tokens, &*wanted.tokens];
        all.extend(of_tables("token", tokens, |one| one.name.clone(), false));
        let passwords = [&*self.passwords, &*wanted.passwords];
        all.extend(of_tables("passwords", passwords, |one| one.name.clone(), false));
        let topics = [&*self.topics, &*wanted.topics];
        all.extend(of_tables("topic", topics, |one| one.name.clone(), false));
        let routes = of_tables("route", [&self.routes, &wanted.routes], route_name, false);
        // Of those with one path the first that fits is taken.
        let is_order = routes.is_empty() && self.routes != wanted.routes;
        all.extend(routes);
        all.extend(changed("the order of routes", is_order, false));
        all
    }

    /// What a gateway that runs with this has once it has taken over from `wanted` what it can.
    #[must_use]
    pub fn taking_over(&self, wanted: Self) -> Self {
        // Each field is here, so that a new one is put on either side.
        let Self { log, memory, drain, drain_delay, drain_rate, drain_code, .. } = wanted;
        let Self { topics, certificates, jwts, tokens, passwords, routes, admin, .. } = wanted;
        let Self { access_log, clients, limits: looked_at, listeners, .. } = wanted;
        let Self { shards, pin, driver, log_format, verifying, .. } = self.clone();
        let Self { revocations, hashing, hub, .. } = *self;
        Self {
            shards,
            pin,
            driver,
            log,
            log_format,
            memory,
            drain,
            drain_delay,
            drain_rate,
            verifying,
            revocations,
            drain_code,
            hashing,
            access_log,
            limits: self.limits.taking_over(&looked_at),
            clients: super::Clients { places: self.clients.places, ..clients },
            hub,
            topics,
            listeners,
            certificates,
            jwts,
            tokens,
            passwords,
            routes,
            admin: super::Admin { tokens: admin.tokens, ..self.admin.clone() },
        }
    }
}

fn changed(what: &str, is_so: bool, needs_restart: bool) -> Option<Difference> {
    let what = what.to_owned();
    is_so.then_some(Difference { what, how: HowDifferent::Changed, needs_restart })
}

/// What is called by one route alone.
fn route_name(route: &Route) -> String {
    match &route.subprotocol {
        None => route.path.clone(),
        Some(subprotocol) => format!("{} of {subprotocol}", route.path),
    }
}

/// What has one value.
fn of_settings(old: &Config, new: &Config) -> Vec<Difference> {
    let before: BTreeMap<_, _> = settings(old).into_iter().collect();
    let now: BTreeMap<_, _> = settings(new).into_iter().collect();
    let names: BTreeSet<_> = before.keys().chain(now.keys()).copied().collect();
    let value = |all: &BTreeMap<&str, String>, name: &str| {
        all.get(name).cloned().unwrap_or_else(|| "nothing".into())
    };
    let difference = |name: &str| Difference {
        what: name.to_owned(),
        how: HowDifferent::Set(value(&before, name), value(&now, name)),
        needs_restart: !is_in_process(name),
    };
    names.into_iter().filter(|name| before.get(name) != now.get(name)).map(difference).collect()
}

/// Tables of one kind, by what they are called, before and now.
fn of_tables<T: PartialEq>(
    kind: &str,
    [old, new]: [&[T]; 2],
    name: impl Fn(&T) -> String,
    needs_restart: bool,
) -> Vec<Difference> {
    // Several may be called the same, such as by port 0: each is told apart from the others.
    let by_name = |all: &'_ [T]| {
        let mut named = BTreeMap::<String, usize>::new();
        for (at, one) in all.iter().enumerate() {
            let (name, mut called, mut count) = (name(one), name(one), 1);
            while named.contains_key(&called) {
                count += 1;
                called = format!("{name} ({count})");
            }
            named.insert(called, at);
        }
        named
    };
    let (olds, news) = (by_name(old), by_name(new));
    let one = |name: &str, how| Difference { what: format!("{kind} {name}"), how, needs_restart };
    let removed = olds.keys().filter(|name| !news.contains_key(*name));
    let removed = removed.map(|name| one(name, HowDifferent::Removed));
    let others = news.iter().filter_map(|(name, now)| match olds.get(name) {
        None => Some(one(name, HowDifferent::Added)),
        Some(before) if old[*before] != new[*now] => Some(one(name, HowDifferent::Changed)),
        Some(_) => None,
    });
    removed.chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Config {
        Config::parse(text, "a test").unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn told(old: &str, new: &str) -> Vec<String> {
        parse(old).differences(&parse(new)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_the_same_differs_in_nothing() {
        assert_eq!(told("", ""), [""; 0]);
        assert_eq!(Config::default().differences(&Config::default()), []);
    }

    #[test]
    fn each_difference_is_told_by_its_key_and_whether_it_needs_a_restart() {
        let old = "drain = '10s'\nlog = 'info'\n[[route]]\npath = '/a'\nhandler = 'echo'\n\
                   [[route]]\npath = '/b'\nhandler = 'echo'\n";
        let new = "drain = '20s'\nlog = 'warn'\n[limits]\nconnections = 64\n\
                   [[listener]]\naddress = '127.0.0.1:81'\n\
                   [[route]]\npath = '/b'\nhandler = 'echo'\nbacklog = '8MiB'\n\
                   [[route]]\npath = '/c'\nhandler = 'echo'\n";
        assert_eq!(
            told(old, new),
            [
                "drain: 10s becomes 20s",
                "hub.queued: 262144 becomes 1024 (with a restart)",
                "limits.connections: 16384 becomes 64 (with a restart)",
                "log is changed",
                "listener 127.0.0.1:8080 is removed",
                "listener 127.0.0.1:81 is added",
                "route /a is removed",
                "route /b is changed",
                "route /c is added",
            ]
        );
    }

    #[test]
    fn what_needs_a_restart_stays_and_all_else_is_taken_over() {
        let old = parse("shards = 2\n[limits]\nconnections = 64\n");
        let new = parse(
            "shards = 3\ndrain = '20s'\n[limits]\nconnections = 128\nheavy_input = '1MiB'\n\
             memory_high = 50\n[clients]\nplaces = 2048\nconnections = 9\n\
             [access_log]\nto = 'stdout'\n[admin]\n\
             tokens = ['0123456789abcdef']\nconnections = 7\n\
             [[route]]\npath = '/c'\nhandler = 'echo'\n",
        );
        let next = old.taking_over(new.clone());
        assert_eq!((next.shards, &next.routes), (old.shards, &new.routes));
        let looked_at = |config: &Config| (config.limits.heavy_input, config.limits.memory_high);
        assert_eq!(looked_at(&next), looked_at(&new));
        assert_eq!(next.limits.connections, old.limits.connections);
        assert_eq!((next.clients.connections, next.clients.places), (Some(9), old.clients.places));
        assert_eq!(next.access_log, new.access_log);
        assert_eq!((next.drain, &next.admin.tokens), (new.drain, &new.admin.tokens));
        assert_eq!(next.admin.connections, old.admin.connections);
        let left: Vec<_> =
            next.differences(&new).into_iter().map(|one| one.needs_restart).collect();
        assert!(!left.is_empty() && left.iter().all(|needs| *needs));
        assert!(old.differences(&next).iter().all(|one| !one.needs_restart));
    }
}

//! The routes of the hub in a run, and its topics.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::ClientConfig;
use tidegate::protocol::Allowance;
use tidegate::transport::tls::TlsServer;
use tidegate_tests::tls::{self, Authority};

use crate::HUSHED_AT;
use crate::ledger::Ledger;
use crate::model::{MAX_BUFFERED, MAX_MESSAGE};
use crate::random::Random;
use crate::revoker::Takings;

/// Names of rooms; the last one's subscriptions are ended from outside, and nothing is kept of the
/// first.
pub const ROOMS: [&str; 3] = ["plain", "kept", "upset"];

/// More keys than a run has, each kept for longer than it lasts, in seconds.
const LASTING_KEYS: (u32, u64) = (1 << 16, 24 * 3600);

/// Users.
pub const USERS: [&str; 3] = ["ann", "bo", "cy"];

/// How many commands may be unanswered at once on the route of those who speak them.
pub const TALK_COMMANDS: u16 = 8;

/// The parameter of a query that names a user.
const USER_KEY: &str = "name";

/// Who may publish on a route by sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MayPublish {
    Anyone,
    Users,
    Nobody,
}

/// A route of the hub.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    path: &'static str,
    pub events: bool,
    pub own: bool,
    pub may_publish: MayPublish,
    pub has_users: bool,
    /// What its slow peers do not take is left out, and they stay.
    pub leaves_out: bool,
    policy: &'static str,
}

/// What is between a socket and what is spoken on it.
#[derive(Clone)]
pub enum Transport {
    Plain,
    /// Each byte is changed.
    Xor,
    Tls(Tls),
}

/// What both ends shake hands with.
#[derive(Clone)]
pub struct Tls {
    pub server: Arc<TlsServer>,
    pub clients: Arc<ClientConfig>,
}

impl Tls {
    /// The same for all runs: certificates take time to make.
    fn shared() -> Self {
        static SHARED: OnceLock<(Arc<TlsServer>, Arc<ClientConfig>)> = OnceLock::new();
        let (server, clients) = SHARED.get_or_init(|| {
            let authority = Authority::new();
            (authority.server(&tls::terms()), authority.trusting())
        });
        Self { server: Arc::clone(server), clients: Arc::clone(clients) }
    }
}

/// What members have in common.
#[derive(Clone)]
pub struct Plan {
    pub ledger: Rc<RefCell<Ledger>>,
    pub routes: Rc<[Route]>,
    /// Per mille: how many clients are members.
    pub share: u32,
    /// How many rooms are used.
    pub rooms: usize,
    /// With more members than that, it is not told who comes and goes.
    pub presence_events: u32,
    /// Some clients are as late as they may be, or later, and nothing else ends them.
    pub trickles: bool,
    /// In this turn all who are there lose their connections, and come back at once.
    pub reconnect_at: Option<usize>,
    /// In this turn many say half a request head, and keep it.
    pub half_heads_at: Option<usize>,
    /// What is between the sockets of the listeners and what is spoken on them.
    pub transport: Transport,
    /// All clients come through proxies, which say so first.
    pub is_proxied: bool,
    /// Per mille: how many clients speak the line echo, and how many of the others ask for a body.
    pub lines: u32,
    pub bodies: u32,
    /// What those that speak the line echo may have, if little.
    pub allowance: Option<Allowance>,
    /// Per mille: how many of the rest speak commands.
    pub talks: u32,
    /// Their route; and whether it lets them publish on topics that are not its own.
    pub talk: Route,
    pub publishes_anywhere: bool,
    /// Some of them hardly read.
    pub talks_slowly: bool,
    /// Per mille: how many of those that are left bear tokens; and the bytes of tokens that are
    /// remembered, and of what they say of topics.
    pub bearers: u32,
    pub token_bytes: (u32, u32),
    /// Which tokens are taken back.
    pub takings: Takings,
    /// How many idempotency keys are kept, and for how long.
    pub keys: (u32, Duration),
    /// The shard of the client that has this.
    pub shard: usize,
}

impl Plan {
    pub fn draw(random: &mut Random) -> Self {
        // Drawn apart, so that a run in which nobody speaks commands is as if nobody could.
        let mut apart = Random::new(!random.clone().bits());
        let keys = [(4, 300), (1, 300), (64, 1), LASTING_KEYS];
        let (most, seconds) = apart.pick(&keys);
        let talks = apart.pick(&[0, 0, 0, 0, 0, 300, 1000]);
        let paths = ["/rooms", "/live", "/users", "/feed"];
        let mut plan = Self {
            ledger: Rc::default(),
            routes: paths.map(|path| Route::draw(path, random)).into(),
            share: random.pick(&[0, 0, 300, 700, 1000]),
            rooms: random.between(1, ROOMS.len()),
            presence_events: random.pick(&[500, 500, 2]),
            trickles: random.chance(200),
            reconnect_at: random.chance(250).then(|| random.between(500, HUSHED_AT)),
            half_heads_at: random.chance(150).then(|| random.between(100, HUSHED_AT)),
            transport: if random.chance(250) { Transport::Xor } else { Transport::Plain },
            is_proxied: false,
            lines: random.pick(&[0, 0, 100, 400, 1000]),
            bodies: random.pick(&[0, 0, 100, 400]),
            allowance: random.pick(&[None, Some(Allowance { kept: 1500, backlog: 6000 })]),
            talks,
            talk: Route::draw("/talk", &mut apart),
            publishes_anywhere: apart.chance(700),
            talks_slowly: apart.chance(300),
            bearers: apart.pick(&[0, 0, 300, 1000]),
            token_bytes: (apart.pick(&[1 << 20, 2000, 0]), apart.pick(&[1 << 20, 1000, 0])),
            takings: Takings::default(),
            keys: (most, Duration::from_secs(seconds)),
            shard: 0,
        };
        // Those who are as late as may be know how long a request may take, and no more.
        if matches!(plan.transport, Transport::Xor) && !plan.trickles && apart.chance(500) {
            plan.transport = Transport::Tls(Tls::shared());
        }
        plan.is_proxied = !plan.trickles && apart.chance(250);
        if plan.trickles {
            // Who is as late as may be is told nothing that would make it answer.
            plan.talks = 0;
        }
        plan
    }

    /// Whether a key is kept for as long as a run lasts.
    pub fn keeps_keys(&self) -> bool {
        self.keys.0 == LASTING_KEYS.0
    }

    /// The plan for the clients of a shard.
    pub fn of(&self, shard: usize) -> Self {
        Self { shard, ..self.clone() }
    }

    /// Its part of the configuration.
    pub fn config(&self, random: &mut Random) -> String {
        let mut history = random.pick(&[1, 5, 50, 200]);
        let mut age = random.pick(&["2s", "10s"]);
        let mut bytes = random.pick(&["1KiB", "8KiB", "64KiB"]);
        if self.reconnect_at.is_some() && random.chance(700) {
            // More than a portion of what was missed.
            (history, age, bytes) = (1000, "60s", "256KiB");
        }
        let linger = random.pick(&["0s", "2s"]);
        let presence = match random.chance(500) {
            false => String::new(),
            true => format!(
                "presence = true\nlinger = '{linger}'\npresence_events = {}\n",
                self.presence_events
            ),
        };
        let topic = format!(
            "[[topic]]\nname = 'rooms/{{room}}'\nhistory = {history}\nhistory_age = '{age}'\n\
             history_bytes = '{bytes}'\n{presence}\
             [[topic]]\nname = 'rooms/plain'\n"
        );
        let publish = if self.publishes_anywhere { "publish = ['rooms/*']\n" } else { "" };
        let talk = format!(
            "{}subscribe = ['rooms/*']\n{publish}commands = {TALK_COMMANDS}\n",
            self.talk.config()
        );
        self.routes.iter().fold(topic + &talk, |text, route| text + &route.config())
    }
}

impl Route {
    fn draw(path: &'static str, random: &mut Random) -> Self {
        let policy =
            random.pick(&["pause", "pause", "close", "drop_newest", "drop_oldest", "conflate"]);
        let may_publish = match path {
            "/users" => MayPublish::Users,
            "/feed" => MayPublish::Nobody,
            _ => MayPublish::Anyone,
        };
        Self {
            path,
            events: path == "/live" || (path != "/rooms" && random.chance(500)),
            own: random.chance(700),
            may_publish,
            has_users: path != "/rooms",
            leaves_out: !matches!(policy, "pause" | "close"),
            policy,
        }
    }

    fn config(&self) -> String {
        let on = |is_on: bool| if is_on { "on" } else { "off" };
        let publish = match self.may_publish {
            MayPublish::Anyone => "anyone",
            MayPublish::Users => "users",
            MayPublish::Nobody => "nobody",
        };
        let user = if self.has_users { format!("&user=query.{USER_KEY}") } else { String::new() };
        format!(
            "[[route]]\npath = '{}/{{room}}'\n\
             handler = 'hub?topic=rooms/{{room}}&publish={publish}&events={}&own={}{user}'\n\
             max_message = {MAX_MESSAGE}\nmax_buffered_message = {MAX_BUFFERED}\n\
             backlog = '16KiB'\nslow_peer = '{}'\n",
            self.path,
            on(self.events),
            on(self.own),
            self.policy
        )
    }

    /// What a request for a room of this route asks for.
    pub fn target(&self, room: &str, user: Option<&str>, since: Option<(&str, u64)>) -> String {
        let user = user.map(|user| format!("{USER_KEY}={user}"));
        let since = since.map(|(epoch, offset)| format!("since={epoch}:{offset}"));
        let query: Vec<_> = [user, since].into_iter().flatten().collect();
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{}/{room}{mark}{}", self.path, query.join("&"))
    }
}

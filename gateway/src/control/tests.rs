//! The control thread over a door whose shard is played by a thread here.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::*;
use crate::bill::Bill;
use crate::census::Census;
use crate::checks::{CheckThreads, GatekeeperParts, Hashers, Verifiers};
use crate::config::{
    Admin, AdmissionCheck, BearerToken, HubLimits, Listener, Passwords, Route, RouteHandler, Stack,
    TopicKept,
};
use crate::gateway::{self, hub_settings};
use crate::hub::{
    Common, ConnectionInfo, Content, EndInfo, Errand, Excerpt, Identity, Kept, Message, NotDone,
    Outcome, Peer, Presence, Present, Publication, Published, Seed, Target, TopicInfo,
};
use crate::kernel::{Sharing, Waker};
use crate::mailbox;
use crate::names::{ConnectionId, Name, Node, Position, ResumeKey};
use crate::shard::{ListenerTable, OpenedListener};
use crate::steering::{InForce, NotChanged, ReloaderParts};
use crate::transport::tls::TlsServers;

const TOKEN: &str = "0123456789abcdef";
const RESUME_SECRET: &str = "a secret that resume tokens are made with";
const IDENTITY: Identity = Identity { node: Node { number: 7, start: 9 }, seed: Seed([1, 2]) };
const MESSAGE_MAX: u32 = 10_000;

/// What the played shard answers to a request of this kind; `None` for nothing, ever.
type PlayedShard = fn(&Errand, &Common) -> Option<Outcome>;

/// A control thread, and the thread that plays its shards.
struct Fixture {
    admin: Option<AdminThread>,
    ended: Arc<AtomicBool>,
    shards: Option<JoinHandle<()>>,
}

struct HttpAnswer {
    status: u16,
    head: String,
    body: String,
}

impl Fixture {
    fn new(tokens: &[&str], shard: PlayedShard) -> Self {
        Self::with_mailboxes(64, tokens, shard)
    }

    /// With so many places in each mailbox.
    fn with_mailboxes(places: usize, tokens: &[&str], shard: PlayedShard) -> Self {
        let shards = 2;
        let wakers: Vec<Waker> = (0..shards).map(|_| Waker::new().unwrap()).collect();
        let (mut posts, entrance) = mailbox::open(&wakers, places);
        let tokens = tokens.iter().map(|token| BearerToken::new(token).unwrap()).collect();
        let address = "127.0.0.1:0".parse().ok();
        let admin = Admin { address, tokens, ..Admin::default() };
        let hub = HubLimits {
            messages: 1 << 20,
            max_message: MESSAGE_MAX,
            resume_key: Some(ResumeKey::of(RESUME_SECRET)),
            ..HubLimits::default()
        };
        let mut kept = TopicKept::new("kept/{name}");
        kept.rule.history = 7;
        let config = Arc::new(Config { admin, hub, topics: vec![kept], ..Config::default() });
        let common = Common::new(&hub_settings(&config), IDENTITY, shards);
        let door = Door::new(entrance, common.clone());
        let bill = gateway::bill(&config, shards, Driver::IoUring);
        let handle = Handle::new(shards, &config).expect("descriptors");
        let chosen = ChosenDriver { driver: Driver::IoUring, why: "it is a test".into() };
        let opened =
            OpenedListener { address: "127.0.0.1:4321".parse().unwrap(), sharing: Sharing::Own };
        let listening = ListenerTable::new(&config.listeners, &[opened], &TlsServers::default());
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap().into();
        let warnings = vec!["it is a warning".into()];
        let certificates = Certificates::read(&config).expect("it has no files");
        let reloader = Reloader::new(ReloaderParts {
            handle: handle.clone(),
            certificates: certificates.clone(),
            door: door.clone(),
            threads: CheckThreads::new(Verifiers::new(0).1, Hashers::new(&Config::default()).1),
            judge: Box::new(|_, _| Err(NotChanged::NoSource)),
            in_force: InForce {
                configured: Arc::clone(&config),
                routes: Arc::new(RouteTable::new(&config.routes)),
                listening: Arc::new(listening),
                census: Arc::new(Census::new(&config)),
                config,
                checks: GatekeeperParts::none(),
                access_log: None,
                access_totals: None,
                bill,
                warnings: Vec::new(),
            },
            access_log: None,
        });
        let admin = AdminParts { handle, door, certificates, reloader, chosen, warnings, socket };
        let admin = Some(start(admin).unwrap());
        let ended = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&ended);
        let play = move || {
            let mut silent = Vec::new();
            while !until.load(Ordering::Relaxed) {
                for post in &mut posts {
                    while let Some(mail) = post.receive() {
                        #[allow(irrefutable_let_patterns)]
                        let crate::hub::Mail::Ask(ask) = mail else { continue };
                        match shard(&ask.errand, &common) {
                            Some(answer) => ask.reply.say(answer),
                            None => silent.push(ask),
                        }
                    }
                }
                thread::sleep(Duration::from_micros(200));
            }
        };
        Self { admin, ended, shards: Some(thread::spawn(play)) }
    }

    fn send(&self, request: &str) -> HttpAnswer {
        let address = self.admin.as_ref().unwrap().address();
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").expect("a whole head");
        let status = head[9..12].parse().unwrap();
        HttpAnswer { status, head: head.to_ascii_lowercase(), body: body.into() }
    }

    fn request(&self, method: &str, path: &str, body: &str) -> HttpAnswer {
        let length = body.len();
        self.send(&format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\
             Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        ))
    }

    #[track_caller]
    fn expect(&self, (method, path, body): (&str, &str, &str), status: u16) -> Json {
        let response = self.request(method, path, body);
        assert_eq!(response.status, status, "{method} {path} {body}: {}", response.body);
        if response.body.is_empty() {
            return Json::Null;
        }
        let body: Json = serde_json::from_str(&response.body).expect("JSON");
        if status >= 400 && !path.starts_with("/@") {
            for key in ["code", "message", "hint"] {
                assert!(body["error"][key].is_string(), "{body}");
            }
        }
        body
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        drop(self.admin.take());
        self.ended.store(true, Ordering::Relaxed);
        self.shards.take().unwrap().join().unwrap();
    }
}

fn id() -> ConnectionId {
    ConnectionId { node: IDENTITY.node, shard: 1, slot: 5, generation: 3 }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn connection(slot: u32) -> ConnectionInfo {
    ConnectionInfo {
        id: ConnectionId { slot, ..id() },
        route: Some(1),
        peer: SocketAddr::from(([10, 0, 0, 1], 99)).into(),
        user: Some(name("ada")),
        topics: vec![name("a/b")],
        topics_total: 1,
        connected_at: Some(951_782_400),
        active_at: None,
        backlog: 12,
        account: None,
    }
}

fn end(at: u64) -> EndInfo {
    EndInfo {
        id: id(),
        route: Some(1),
        peer: Peer::Unknown,
        user: Some(name("ada")),
        reason: "slow_peer",
        by_peer: false,
        cause: None,
        at: Duration::from_secs(at),
        open_for: Some(Duration::from_millis(1500)),
    }
}

fn topic() -> TopicInfo {
    TopicInfo {
        name: name("a/b"),
        subscribers: 3,
        position: Some(Position { epoch: 0xab, offset: 4 }),
        kept: 2,
        present: Some(1),
    }
}

fn kept(offset: u64, content: impl Into<Content>, common: &Common) -> Kept {
    let message = Message::new(content, &common.memory).unwrap();
    Kept {
        offset,
        time: Duration::from_millis(7),
        publication: Arc::new(Publication::new(message)),
    }
}

fn history(common: &Common) -> Excerpt {
    Excerpt {
        messages: vec![
            kept(3, "hi", common),
            kept(4, vec![0xff], common),
            kept(5, Content::json(r#"[1, {"a": null}]"#).unwrap(), common),
        ],
        position: Position { epoch: 0xab, offset: 5 },
        gap: false,
    }
}

/// A shard that knows the connection [`id`] and the topic `a/b`.
fn shard(errand: &Errand, common: &Common) -> Option<Outcome> {
    let position = Position { epoch: 0xab, offset: 4 };
    let known = |target: &Target| match target {
        Target::Connection(other) => *other == id(),
        Target::User(user) => user.as_str() == "ada",
        Target::Topic(topic) => topic.as_str() == "a/b",
        Target::All => true,
    };
    Some(match errand {
        Errand::Publish(Target::User(user), _) if user.as_str() == "slow" => {
            Outcome::NotDone(NotDone::Slow)
        }
        Errand::Publish(target, publication) => {
            assert!(!publication.message.bytes().is_empty());
            let connections = u64::from(known(target));
            if matches!(target, Target::Connection(_)) && !known(target) {
                return Some(Outcome::NotDone(NotDone::Gone));
            }
            let position = matches!(target, Target::Topic(_)).then_some(position);
            Outcome::Published(Published { connections, position, repeated: false })
        }
        Errand::Subscribe(target, _)
        | Errand::Unsubscribe(target, _)
        | Errand::Disconnect(target, ..)
            if known(target) =>
        {
            Outcome::Done(1)
        }
        Errand::Connection(other) if *other == id() => Outcome::Connection(connection(5).into()),
        Errand::Connection(_) | Errand::Disconnect(..) => Outcome::NotDone(NotDone::Gone),
        Errand::Connections { from: 0, limit, .. } if *limit > 1 => {
            Outcome::Connections(vec![connection(0)], Some(1))
        }
        Errand::Connections { from: 0, .. } => Outcome::Connections(vec![connection(0)], Some(1)),
        Errand::Connections { .. } => Outcome::Connections(vec![connection(5)], None),
        Errand::Ends { filter, .. }
            if filter.user.as_ref().is_none_or(|user| *user == name("ada")) =>
        {
            Outcome::Ends(vec![end(2), end(1)])
        }
        Errand::Ends { .. } => Outcome::Ends(Vec::new()),
        Errand::LargestTopics { from: 0 } => Outcome::Topics(vec![topic()], Some(4096)),
        Errand::LargestTopics { .. } => {
            Outcome::Topics(vec![TopicInfo { subscribers: 5, ..topic() }], None)
        }
        Errand::Topics { .. } => Outcome::Topics(vec![topic()], None),
        Errand::Topic(topic_name) if topic_name.as_str() == "a/b" => {
            Outcome::Topics(vec![topic()], None)
        }
        Errand::DestroyTopic(topic) if topic.as_str() == "a/b" => Outcome::Done(3),
        Errand::Presence { .. } => Outcome::Presence(Presence {
            members: vec![Present {
                user: Some(name("ada")),
                connection: None,
                connections: 2,
                since: Duration::from_millis(1),
            }],
            total: 1,
        }),
        Errand::History { .. } => Outcome::History(history(common)),
        _ => Outcome::NotDone(NotDone::Unknown),
    })
}

#[test]
fn messages_are_published() {
    let fixture = Fixture::new(&[], shard);
    let published = |body| fixture.expect(("POST", "/v1/publish", body), 200);
    assert_eq!(
        published(r#"{"target":{"topic":"a/b"},"text":"hi"}"#),
        json!({"connections": 1, "position": {"epoch": "000000ab", "offset": 4}})
    );
    // One shard is asked, and passes it on to all; the one that is played here does not.
    assert_eq!(
        published(r#"{"target":{"all":true},"binary":"/w==","key":"k"}"#),
        json!({"connections": 1, "position": null})
    );
    assert_eq!(published(r#"{"target":{"user":"bob"},"json":null}"#)["connections"], 0);
    let to = |id: ConnectionId| format!(r#"{{"target":{{"connection":"{id}"}},"json":[1]}}"#);
    assert_eq!(published(&to(id()))["connections"], 1);
    let gone = to(ConnectionId { slot: 6, ..id() });
    let error = fixture.expect(("POST", "/v1/publish", &gone), 410);
    assert_eq!(error["error"]["code"], "connection_gone");
}

#[test]
fn a_batch_has_a_result_for_each_target() {
    let fixture = Fixture::new(&[], shard);
    let body = json!({"messages": [
        {"targets": [{"topic": "a/b"}, {"user": "slow"}, {"topic": ""}], "text": "x"},
        {"targets": [{"all": true}], "binary": "?"},
    ]});
    let answer = fixture.expect(("POST", "/v1/publish/batch", &body.to_string()), 200);
    let status: Vec<u64> = answer["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| result["status"].as_u64().unwrap())
        .collect();
    assert_eq!(status, [200, 429, 400, 400]);
    assert_eq!(answer["results"][1]["error"]["code"], "slow_peer");
    for empty in [json!([]), json!([{"targets": [], "text": "x"}])] {
        let batch = json!({"messages": empty}).to_string();
        fixture.expect(("POST", "/v1/publish/batch", &batch), 400);
    }
    let many = json!({"messages": [{"targets": vec![json!({"all": true}); 300], "text": "x"}]});
    let answer = fixture.expect(("POST", "/v1/publish/batch", &many.to_string()), 200);
    assert!(answer["results"].as_array().unwrap().iter().all(|one| one["status"] == 200));
    let many = json!({"messages": [{"targets": vec![json!({"all": true}); 1001], "text": "x"}]});
    fixture.expect(("POST", "/v1/publish/batch", &many.to_string()), 400);
}

#[test]
fn what_is_wrong_with_a_request_is_said() {
    let fixture = Fixture::new(&[], shard);
    let deep = format!("{{\"a\":{}", "[".repeat(500));
    let nested = "[".repeat(200) + &"]".repeat(200);
    let nested = format!(r#"{{"target":{{"all":true}},"json":{nested}}}"#);
    let long = format!(r#"{{"target":{{"topic":"{}"}},"text":"x"}}"#, "x".repeat(201));
    let large = format!(r#"{{"target":{{"all":true}},"text":"{}"}}"#, "x".repeat(10_001));
    let larger = format!(r#"{{"target":{{"all":true}},"text":"{}"}}"#, "x".repeat(1 << 20));
    for (body, status, code) in [
        ("", 400, "invalid_json"),
        ("{", 400, "invalid_json"),
        (&deep, 400, "invalid_request"),
        (&nested, 400, "invalid_request"),
        ("[]", 400, "invalid_request"),
        ("{}", 400, "invalid_request"),
        (r#"{"target":{"all":true}}"#, 400, "invalid_request"),
        (r#"{"target":{"all":false},"text":"x"}"#, 400, "invalid_request"),
        (r#"{"target":{"everyone":true},"text":"x"}"#, 400, "invalid_request"),
        (r#"{"target":{"all":true,"user":"x"},"text":"x"}"#, 400, "invalid_request"),
        (r#"{"target":{"all":true},"text":"x","binary":""}"#, 400, "invalid_request"),
        (r#"{"target":{"all":true},"text":"x","more":1}"#, 400, "invalid_request"),
        (r#"{"target":{"all":true},"text":"\ud800"}"#, 400, "invalid_json"),
        (r#"{"target":{"all":true},"binary":"a"}"#, 400, "invalid_request"),
        (r#"{"target":{"topic":"a\nb"},"text":"x"}"#, 400, "invalid_name"),
        (r#"{"target":{"topic":""},"text":"x"}"#, 400, "invalid_name"),
        (&long, 400, "invalid_name"),
        (r#"{"target":{"all":true},"text":"x","key":""}"#, 400, "invalid_name"),
        (r#"{"target":{"all":true},"text":"x","except":"y"}"#, 400, "invalid_connection_id"),
        (r#"{"target":{"connection":"x"},"text":"x"}"#, 400, "invalid_connection_id"),
        (&large, 413, "message_too_large"),
        (&larger, 413, "body_too_large"),
    ] {
        let error = fixture.expect(("POST", "/v1/publish", body), status);
        assert_eq!(error["error"]["code"], code, "{body:.80}");
    }
    let text = "POST /v1/publish HTTP/1.1\r\nHost: [::1]\r\nConnection: close\r\n\
                Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}";
    assert_eq!(fixture.send(text).status, 415);
    let latin = fixture.send(
        "POST /v1/publish HTTP/1.1\r\nHost: [::1]\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    );
    assert_eq!(latin.status, 400);
}

#[test]
fn connections_are_told_about_and_closed() {
    let fixture = Fixture::new(&[], shard);
    let path = format!("/v1/connections/{}", id());
    let info = fixture.expect(("GET", &path, ""), 200);
    assert_eq!(info["route"], "/echo");
    assert_eq!(info["connected_at"], "2000-02-29T00:00:00.000Z");
    assert_eq!(fixture.expect(("DELETE", &path, ""), 200), json!({"connections": 1}));
    for (query, status) in [
        ("?code=4999&reason=bye%20now", 200),
        ("?code=1000", 200),
        ("?code=999", 400),
        ("?code=1005", 400),
        ("?code=5000", 400),
        ("?code=x", 400),
        ("?cod=1000", 400),
    ] {
        fixture.expect(("DELETE", &format!("{path}{query}"), ""), status);
    }
    fixture.expect(("DELETE", &format!("{path}?reason={}", "x".repeat(124)), ""), 400);
    fixture.expect(("GET", "/v1/connections/x", ""), 400);
    fixture.expect(("GET", "/v1/connections/%ff", ""), 400);
    let gone = ConnectionId { slot: 6, ..id() };
    fixture.expect(("GET", &format!("/v1/connections/{gone}"), ""), 410);
    let body = r#"{"target":{"user":"ada"},"code":3000}"#;
    fixture.expect(("POST", "/v1/disconnect", body), 200);
    fixture.expect(("POST", "/v1/disconnect", r#"{"target":{"user":"ada"},"code":1006}"#), 400);
}

#[test]
fn ends_are_told_the_latest_first() {
    let fixture = Fixture::new(&[], shard);
    let answer = fixture.expect(("GET", "/v1/ends?user=ada&limit=3", ""), 200);
    let ends = answer["ends"].as_array().unwrap();
    let times: Vec<_> = ends.iter().map(|end| end["time"].as_str().unwrap()).collect();
    // There are two shards, and both say the same.
    let [first, second] = ["1970-01-01T00:00:02.000Z", "1970-01-01T00:00:01.000Z"];
    assert_eq!(times, [first, first, second]);
    let whole = json!({
        "time": second, "connection": id().to_string(), "route": "/echo", "address": null,
        "user": "ada", "reason": "slow_peer", "code": 1006, "by_peer": false, "seconds": 1.5,
    });
    assert_eq!(ends[2], whole);
    let none = fixture.expect(("GET", "/v1/ends?user=bob", ""), 200);
    assert_eq!(none, json!({ "ends": [] }));
    for wrong in ["user=", "reason=boredom", "address=here", "limit=0", "since=1"] {
        fixture.expect(("GET", &format!("/v1/ends?{wrong}"), ""), 400);
    }
    let one = fixture.expect(("GET", &format!("/v1/ends?connection={}", id()), ""), 200);
    assert_eq!(one["ends"].as_array().unwrap().len(), 4);
    fixture.expect(("GET", "/v1/ends?connection=x", ""), 400);
}

#[test]
fn nothing_is_traced_that_is_not_logged() {
    let fixture = Fixture::new(&[], shard);
    let trace = |seconds: u32, status: u16| {
        let body = format!(r#"{{"connection":"{}","seconds":{seconds}}}"#, id());
        fixture.expect(("POST", "/v1/trace", &body), status)
    };
    for seconds in [0, 601] {
        assert_eq!(trace(seconds, 400)["error"]["code"], "invalid_request");
    }
    // These tests have no log at all.
    assert_eq!(trace(600, 409)["error"]["code"], "not_logged");
    fixture.expect(("POST", "/v1/trace", r#"{"connection":"x"}"#), 400);
}

#[test]
fn connections_are_listed_shard_after_shard() {
    let fixture = Fixture::new(&[], shard);
    let all = fixture.expect(("GET", "/v1/connections", ""), 200);
    assert_eq!(all["connections"].as_array().unwrap().len(), 4);
    assert_eq!(all["cursor"], Json::Null);
    let (mut seen, mut cursor) = (0, String::new());
    loop {
        let page = fixture.expect(("GET", &format!("/v1/connections?limit=1{cursor}"), ""), 200);
        seen += page["connections"].as_array().unwrap().len();
        match &page["cursor"] {
            Json::String(next) => cursor = format!("&cursor={next}"),
            _ => break,
        }
    }
    assert_eq!(seen, 4);
    for (query, status) in [
        ("user=ada&topic=a%2Fb&route=/echo&address=::1", 200),
        ("route=/nowhere", 400),
        ("subprotocol=x", 400),
        ("address=localhost", 400),
        ("user=", 400),
        ("limit=0", 400),
        ("limit=1001", 400),
        ("limit=-1", 400),
        ("cursor=x", 400),
        ("cursor=AAIAAAAA", 400),
    ] {
        fixture.expect(("GET", &format!("/v1/connections?{query}"), ""), status);
    }
}

#[test]
fn topics_and_what_belongs_to_them() {
    let fixture = Fixture::new(&[], shard);
    let all = fixture.expect(("GET", "/v1/topics?prefix=a", ""), 200);
    assert_eq!(all["topics"].as_array().unwrap().len(), 2);
    for path in ["/v1/topics/a/b", "/v1/topics/a%2Fb"] {
        let topic = fixture.expect(("GET", path, ""), 200);
        assert_eq!(topic["name"], "a/b");
        assert_eq!(topic["position"], json!({"epoch": "000000ab", "offset": 4}));
        assert_eq!(fixture.expect(("DELETE", path, ""), 200), json!({"connections": 3}));
    }
    let long = format!("/v1/topics?prefix={}", "x".repeat(201));
    fixture.expect(("GET", &long, ""), 400);
    fixture.expect(("GET", "/v1/topics/other", ""), 404);
    fixture.expect(("GET", "/v1/topics/a%0Ab", ""), 400);
    let presence = fixture.expect(("GET", "/v1/presence?topic=a/b", ""), 200);
    assert_eq!(presence["members"][0]["user"], "ada");
    let history = fixture.expect(("GET", "/v1/history?topic=a/b&epoch=000000ab&offset=2", ""), 200);
    let time = "1970-01-01T00:00:00.007Z";
    assert_eq!(
        history["messages"],
        json!([
            {"offset": 3, "time": time, "text": "hi"},
            {"offset": 4, "time": time, "binary": "/w=="},
            {"offset": 5, "time": time, "json": [1, {"a": null}]},
        ])
    );
    assert_eq!(history["next"], Json::Null);
    for query in ["", "topic=", "topic=a&epoch=00000000", "topic=a&epoch=x&offset=1"] {
        fixture.expect(("GET", &format!("/v1/history?{query}"), ""), 400);
    }
    let body = format!(r#"{{"target":{{"connection":"{}"}},"topic":"a/b"}}"#, id());
    assert_eq!(fixture.expect(("POST", "/v1/subscribe", &body), 200), json!({"connections": 1}));
    fixture.expect(("POST", "/v1/unsubscribe", &body), 200);
    let body = r#"{"target":{"topic":"a/b"},"topic":"a/b"}"#;
    fixture.expect(("POST", "/v1/subscribe", body), 400);
}

#[test]
fn a_history_ends_after_a_mebibyte_and_says_where_to_go_on() {
    let fixture = Fixture::new(&[], |errand, common| {
        let Errand::History { .. } = errand else { return None };
        let text = "\u{1}".repeat(MESSAGE_MAX as usize);
        let messages = (1..=50).map(|at| kept(at, &*text, common));
        Some(Outcome::History(Excerpt {
            messages: messages.collect(),
            position: Position { epoch: 0xab, offset: 50 },
            gap: false,
        }))
    });
    let history = fixture.expect(("GET", "/v1/history?topic=a/b", ""), 200);
    assert_eq!(history["messages"].as_array().unwrap().len(), 17, "of 60,150 bytes each");
    assert_eq!(history["next"], json!({"epoch": "000000ab", "offset": 17}));
}

#[test]
fn a_client_of_amazon_gets_what_it_expects() {
    let fixture = Fixture::new(&[], shard);
    let path = format!("/@connections/{}", id());
    assert_eq!(fixture.expect(("POST", &path, "hi"), 200), Json::Null);
    assert_eq!(fixture.expect(("DELETE", &path.replace('@', "%40"), ""), 204), Json::Null);
    let info = fixture.expect(("GET", &path, ""), 200);
    assert_eq!(
        info,
        json!({"connectedAt": "2000-02-29T00:00:00.000Z", "identity":
            {"sourceIp": "10.0.0.1", "userAgent": ""}})
    );
    let gone = format!("/@connections/{}", ConnectionId { slot: 6, ..id() });
    for method in ["POST", "GET", "DELETE"] {
        let answer = fixture.request(method, &gone, "x");
        assert_eq!(answer.status, 410, "{method}");
        assert!(answer.head.contains("x-amzn-errortype: goneexception"), "{}", answer.head);
    }
    let large = fixture.request("POST", &path, &"x".repeat(10_001));
    assert_eq!(large.status, 413);
    assert!(large.head.contains("x-amzn-errortype: payloadtoolargeexception"), "{}", large.head);
}

#[test]
fn nobody_is_let_in_without_a_token() {
    let fixture = Fixture::new(&[TOKEN], shard);
    let plain = |path: &str| {
        fixture.send(&format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"))
    };
    for path in ["/v1/overview", "/metrics", "/openapi.json", "/nowhere"] {
        let answer = plain(path);
        assert_eq!(answer.status, 401, "{path}");
        assert!(answer.head.contains("www-authenticate: bearer"), "{}", answer.head);
        assert!(!answer.body.contains(TOKEN));
    }
    for path in ["/healthz", "/readyz", "/"] {
        assert_eq!(plain(path).status, 200, "{path}");
    }
    let answer = plain("/@connections/x");
    assert_eq!(answer.status, 403);
    assert!(answer.head.contains("x-amzn-errortype: forbiddenexception"), "{}", answer.head);
    let overview = fixture.expect(("GET", "/v1/overview", ""), 200);
    let subscribers: Vec<u64> = overview["topics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["subscribers"].as_u64().unwrap())
        .collect();
    assert_eq!(subscribers, [5, 5, 3, 3], "of both steps of both shards");
}

#[test]
fn what_it_runs_with_is_told_without_any_secret() {
    let fixture = Fixture::new(&[TOKEN, "another-secret-of-it"], shard);
    let told = fixture.expect(("GET", "/v1/config", ""), 200);
    let limits = [
        ("connections", "off"),
        ("accept_rate", "off"),
        ("accept_burst", "off"),
        ("allow", "off"),
        ("deny", "[]"),
    ];
    let limits = limits.map(|(name, value)| json!({"name": name, "value": value}));
    let listener = json!({
        "address": "127.0.0.1:4321", "stack": "ws!tcp", "settings": limits,
    });
    assert_eq!(told["listeners"], json!([listener]));
    assert_eq!(told["routes"][2]["path"], "/rooms/{room}");
    assert_eq!(told["routes"][2]["handler"], "hub?topic=rooms/{room}");
    let commanded = json!([
        {"name": "subscribe", "value": "[\"rooms/*\"]"},
        {"name": "publish", "value": "[\"rooms/*\"]"},
        {"name": "commands", "value": "32"},
    ]);
    let of_route = |route: usize| told["routes"][route]["settings"].as_array().unwrap();
    assert_eq!(json!(of_route(2)[of_route(1).len()..]), commanded);
    assert_eq!(told["topics"][0]["name"], "kept/{name}");
    assert_eq!(told["topics"][0]["settings"][0], json!({"name": "history", "value": "7"}));
    assert_eq!(told["admin"]["tokens"], 2);
    assert_eq!((&told["shards"], &told["version"]), (&json!(2), &json!(env!("CARGO_PKG_VERSION"))));
    assert_eq!(told["driver"], json!({"kind": "io_uring", "why": "it is a test"}));
    assert_eq!(told["warnings"], json!(["it is a warning"]));
    assert!(told["host"].as_str().is_some_and(|host| !host.is_empty()), "{told}");
    let settings = told["settings"].as_array().unwrap();
    let value = |name| settings.iter().find(|one| one["name"] == name).map(|one| &one["value"]);
    assert_eq!(value("limits.connections"), Some(&json!("16384")));
    assert_eq!(value("hub.messages"), Some(&json!("1MiB")));
    assert_eq!(value("hub.resume_key"), Some(&json!("configured")));
    let text = told.to_string();
    for secret in [TOKEN, "another-secret-of-it", RESUME_SECRET] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
}

#[test]
fn the_page_is_open_to_whoever_asks_and_runs_its_own_files_alone() {
    let fixture = Fixture::new(&[TOKEN], shard);
    let ask = |path: &str| {
        fixture.send(&format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"))
    };
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/page/layout.css", "text/css; charset=utf-8"),
        ("/page/main.js", "text/javascript; charset=utf-8"),
        ("/page/icon.svg", "image/svg+xml"),
    ] {
        let answer = ask(path);
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.head.contains(&format!("content-type: {kind}")), "{}", answer.head);
        assert!(answer.head.contains("script-src 'self'; style-src 'self'"), "{}", answer.head);
        assert!(!answer.head.contains("unsafe"), "{}", answer.head);
        assert!(answer.head.contains("x-content-type-options: nosniff"), "{}", answer.head);
    }
    for path in ["/page/nothing.js", "/page/", "/page/page.rs"] {
        assert_eq!(ask(path).status, 401, "{path}");
        fixture.expect(("GET", path, ""), 404);
    }
}

#[test]
fn health_is_told_to_whoever_asks_by_a_name() {
    let fixture = Fixture::new(&[], shard);
    for (path, status) in [("/healthz", 200), ("/readyz", 200), ("/v1/topics", 403), ("/", 403)] {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: tidegate.local\r\nConnection: close\r\n\r\n");
        assert_eq!(fixture.send(&request).status, status, "{path}");
    }
}

#[test]
fn what_is_wrong_is_said_in_words_of_the_api() {
    let fixture = Fixture::new(&[], shard);
    for (method, path, body, expected) in [
        (
            "GET",
            "/v1/topics?limit=x",
            "",
            "the query is wrong: limit: invalid digit found in string",
        ),
        ("POST", "/v1/publish", "[1]", "sequence, expected an object at"),
        ("POST", "/v1/publish", "[]", "sequence, expected an object at"),
        (
            "POST",
            "/v1/publish",
            r#"[{"all":true},"x",null,null,null,null]"#,
            "expected an object at",
        ),
        ("POST", "/v1/subscribe", r#"[{"user":"ada"},"a/b"]"#, "expected an object at"),
        ("POST", "/v1/disconnect", r#"[{"user":"ada"},1000,"x"]"#, "expected an object at"),
        ("POST", "/v1/publish/batch", "[[]]", "expected an object at"),
        (
            "POST",
            "/v1/publish/batch",
            r#"{"messages":[[[{"all":true}],"x",null,null,null,null]]}"#,
            "expected an object at",
        ),
        (
            "POST",
            "/v1/publish",
            r#"{"target":["a/b",null,null,null],"text":"x"}"#,
            "expected an object at",
        ),
        ("POST", "/v1/publish", "7", "expected an object at"),
    ] {
        let error = fixture.expect((method, path, body), 400);
        let message = error["error"]["message"].as_str().unwrap();
        assert!(message.contains(expected) && !message.contains("struct"), "{message}");
    }
}

#[test]
fn paths_and_methods_that_are_not_there() {
    let fixture = Fixture::new(&[], shard);
    fixture.expect(("GET", "/nowhere", ""), 404);
    fixture.expect(("GET", "/v1", ""), 404);
    let answer = fixture.request("PUT", "/v1/publish", "");
    assert_eq!(answer.status, 405);
    assert!(answer.head.contains("allow: post"), "{}", answer.head);
    assert!(answer.body.contains("unknown_method"), "{}", answer.body);
}

#[test]
fn a_shard_that_does_not_answer_is_not_waited_for() {
    let fixture = Fixture::new(&[], |_, _| None);
    let error = fixture.expect(("GET", "/v1/topics/a", ""), 503);
    assert_eq!(error["error"]["code"], "no_answer");
    let answer = fixture.request("GET", "/healthz", "");
    assert_eq!(answer.status, 200);
}

#[test]
fn a_full_mailbox_is_said_and_counted() {
    const CALLERS: usize = 40;
    let fixture = Fixture::with_mailboxes(16, &[], |errand, common| {
        thread::sleep(Duration::from_millis(30));
        shard(errand, common)
    });
    let body = r#"{"target":{"user":"ada"},"text":"x"}"#;
    let publish = || fixture.request("POST", "/v1/publish", body);
    let answers: Vec<HttpAnswer> = thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(publish)).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    let is_busy = |answer: &&HttpAnswer| answer.status == 503;
    let busy: Vec<&HttpAnswer> = answers.iter().filter(is_busy).collect();
    assert!(!busy.is_empty() && busy.len() < CALLERS, "{} of {CALLERS}", busy.len());
    for answer in &busy {
        assert!(answer.head.contains("retry-after: 1"), "{}", answer.head);
        assert!(answer.body.contains("raise hub.mailbox"), "{}", answer.body);
    }
    let metrics = fixture.request("GET", "/metrics", "").body;
    for line in [
        format!("tidegate_admin_requests_total{{status=\"503\"}} {}", busy.len()),
        format!("tidegate_admin_requests_total{{status=\"200\"}} {}", CALLERS - busy.len()),
        format!("tidegate_admin_refusals_total{{code=\"busy\"}} {}", busy.len()),
    ] {
        assert!(metrics.lines().any(|other| other == line), "{line}: {metrics}");
    }
}

#[test]
fn slow_bodies_keep_nobody_from_publishing_and_large_ones_are_refused_at_once() {
    let fixture = Fixture::new(&[], shard);
    let address = fixture.admin.as_ref().unwrap().address();
    let begin = |length: usize| {
        let mut stream = TcpStream::connect(&address).unwrap();
        let head = format!(
            "POST /v1/publish HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{{"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    let slow: Vec<TcpStream> = (0..20).map(|_| begin(80_000)).collect();
    fixture.expect(("POST", "/v1/publish", r#"{"target":{"all":true},"text":"x"}"#), 200);
    let mut large = begin(1 << 30);
    large.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut status = [0; 12];
    large.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 413");
    drop(slow);
}

#[test]
fn connections_that_say_nothing_keep_nobody_out() {
    let fixture = Fixture::new(&[], shard);
    let address = fixture.admin.as_ref().unwrap().address();
    let connections = usize::from(Admin::default().connections);
    let silent: Vec<TcpStream> =
        (0..connections).map(|_| TcpStream::connect(&address).unwrap()).collect();
    let begin = std::time::Instant::now();
    assert_eq!(fixture.request("GET", "/healthz", "").status, 200);
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    for mut stream in silent {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    }
    assert!(begin.elapsed() < Duration::from_secs(10), "they are closed after a while");
}

#[test]
fn every_path_of_the_document_is_answered() {
    let fixture = Fixture::new(&[], shard);
    let document = fixture.expect(("GET", "/openapi.json", ""), 200);
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let method = method.to_uppercase();
            let path = path.replace("{id}", &id().to_string()).replace("{topic}", "a/b");
            let answer = fixture.request(&method, &path, "{}");
            let is_known =
                ["unknown_path", "unknown_method"].iter().all(|code| !answer.body.contains(code));
            // None is in force.
            let is_found = answer.status != 404 || answer.body.contains("unknown_revocation");
            assert!(is_known && is_found, "{method} {path}: {}", answer.body);
        }
    }
}

#[test]
fn the_metrics_are_those_of_the_document() {
    let bills =
        [Driver::IoUring, Driver::Epoll].map(|driver| gateway::bill(&with_all_layers(), 1, driver));
    // What the document says of lines is what there can be.
    for owner in Owner::ALL.into_iter().filter(|owner| !owner.is_common()) {
        let mut lines = bills.iter().flat_map(Bill::lines);
        assert!(lines.any(|line| line.owner == owner), "{owner:?} is on neither bill");
    }
    let mut table = String::from("| name | kind | labels | meaning |\n|---|---|---|---|\n");
    for family in families(&bills[0]) {
        let labels: Vec<String> =
            family.samples[0].labels.iter().map(|label| format!("`{}`", label.name)).collect();
        let kind = format!("{:?}", family.kind).to_lowercase();
        let (name, labels) = (family.full_name(), labels.join(", "));
        table.push_str(&format!("| `{name}` | {kind} | {labels} | {} |\n", family.help));
    }
    table.push_str(&label_values(&bills));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/METRICS.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (intro, written) = text.split_once("| name |").expect("a table");
    let written = format!("| name |{written}");
    if std::env::var_os("TIDEGATE_WRITE").is_some() {
        std::fs::write(path, format!("{intro}{table}")).unwrap();
        return;
    }
    assert!(written == table, "METRICS.md is out of date: run this test with TIDEGATE_WRITE=1");
}

/// A configuration whose bill has every line that there is for one driver.
fn with_all_layers() -> Config {
    let stack = "log!ws!log!tls?min=1.2&client_ca=ca.pem!proxy?from=::1!tcp";
    let listener = Listener { stack: Stack::parse(stack).unwrap(), ..Listener::default() };
    let checks = [AdmissionCheck::Jwt("jwt".into()), AdmissionCheck::Basic("passwords".into())];
    let route = |check| Route { admission: vec![check], ..Route::new("/", RouteHandler::Echo) };
    let routes = checks.map(route).into();
    let mut config = Config { listeners: vec![listener], routes, ..Config::default() };
    config.passwords.push(Passwords::new("passwords", "users"));
    config.routes[0].client.idle = Some(Duration::from_secs(1));
    config.clients.per_address = Some(1);
    config
}

/// The values of labels that are a closed set, by either driver. How many shards there are, and
/// what is answered at the admin address, is not known before.
fn label_values(bills: &[Bill]) -> String {
    let each: Vec<Vec<Family>> = bills.iter().map(families).collect();
    let is_closed = |label: &&str| {
        !["shard", "status", "code", "version", "file", "name", "issuer"].contains(label)
    };
    let mut text = String::from(
        "\n## Values of labels\n\n`shard` counts from 0, `status` is one of HTTP, `code` is that \
         of an error's body, and `version` the program's, but for handshakes, of which it is that \
         of TLS. The others have these:\n\n\
         | name | label | values |\n|---|---|---|\n",
    );
    for (index, family) in each[0].iter().enumerate() {
        let labels = family.samples[0].labels.iter().map(|label| label.name);
        for label in labels.filter(is_closed) {
            let samples = each.iter().flat_map(|families| &families[index].samples);
            let all = samples.flat_map(|sample| &sample.labels);
            let mut values: Vec<String> = Vec::new();
            for one in all.filter(|one| one.name == label) {
                let value = format!("`{}`", one.value);
                if !values.contains(&value) {
                    values.push(value);
                }
            }
            let (name, values) = (family.full_name(), values.join(", "));
            text.push_str(&format!("| `{name}` | `{label}` | {values} |\n"));
        }
    }
    text
}

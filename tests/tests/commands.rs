//! What clients say and are told by `tidegate.v1`, on real sockets and across shards:
//! `proto/CLIENT.md`.

use serde_json::{Value, json};
use tidegate::hub::{Errand, Target};
use tidegate_tests::hub::{HubGateway, Member, name, topic, user};
use tidegate_tests::{Frame, Peer, Request, wait_until};

const CONFIGURATION: &str = r#"
    [hub]
    subscriptions_per_connection = 4
    [[topic]]
    name = "rooms/{room}"
    history = 10
    presence = true
    [[topic]]
    name = "users/{user}/{what}"
    history = 10
    [[route]]
    path = "/rooms/{room}"
    handler = "hub?topic=rooms/{room}&user=query.user"
    subscribe = ["rooms/*", "users/{user}/*", "plain"]
    publish = ["rooms/*", "users/{user}/*", "plain"]
    commands = 8
    [[route]]
    path = "/silent/{room}"
    handler = "hub?topic=rooms/{room}&own=off&publish=users&user=query.user"
    [[route]]
    path = "/none"
    handler = "hub"
    max_message = "1KiB"
    max_buffered_message = "1KiB"
    [[route]]
    path = "/own"
    handler = "hub?topic=rooms/own"
    subprotocol = "tidegate.v1"
    [[route]]
    path = "/other"
    handler = "hub?topic=rooms/other"
    subprotocol = "chat"
"#;

/// A client that speaks commands.
struct Client {
    member: Member,
    hello: Value,
}

fn start() -> HubGateway {
    HubGateway::start(2, CONFIGURATION)
}

fn opening(path: &str) -> Request {
    Request::open(path).with("Sec-WebSocket-Protocol", "chat2, tidegate.v1")
}

fn event(peer: &mut Peer) -> Value {
    let (opcode, bytes) = peer.message();
    assert_eq!(opcode, 1, "events are text");
    serde_json::from_slice(&bytes).expect("an event is JSON")
}

fn text(value: &Value, member: &str) -> String {
    value[member].as_str().unwrap_or_else(|| panic!("no {member} in {value}")).to_owned()
}

impl Client {
    #[track_caller]
    fn open(gateway: &HubGateway, path: &str) -> Self {
        let (mut peer, response) = Peer::open_at(gateway.address(), &opening(path));
        assert_eq!(response.header("Sec-WebSocket-Protocol"), Some("tidegate.v1"));
        let hello = event(&mut peer);
        assert_eq!(hello["type"], "hello", "{hello}");
        let ages = (&hello["resume_age"], &hello["idempotency_age"]);
        assert_eq!(ages, (&json!(3600), &json!(300)), "as by default: {hello}");
        let id = text(&hello, "connection").parse().expect("an id");
        Self { member: Member { peer, id }, hello }
    }

    /// One on each of two shards, which are past the event of their own subscription.
    fn two(gateway: &HubGateway, path: &str) -> [Self; 2] {
        let mut two = Self::two_without(gateway, path);
        for client in &mut two {
            client.expect_type("subscribed");
        }
        two
    }

    /// The same on a route without a topic of its own.
    fn two_without(gateway: &HubGateway, path: &str) -> [Self; 2] {
        let mut found: [Option<Self>; 2] = [None, None];
        let mut others = Vec::new();
        while found.iter().any(Option::is_none) {
            assert!(others.len() < 200, "all come to one shard");
            let client = Self::open(gateway, path);
            let place = &mut found[usize::from(client.member.id.shard)];
            if place.is_none() {
                *place = Some(client);
            } else {
                others.push(client);
            }
        }
        for id in others.into_iter().map(|client| client.member.id) {
            gateway.expect_gone(id);
        }
        found.map(|client| client.expect("both"))
    }

    fn say(&mut self, command: &Value) {
        self.member.peer.text(&command.to_string());
    }

    #[track_caller]
    fn next(&mut self) -> Value {
        event(&mut self.member.peer)
    }

    /// The next event but for joins and leaves.
    #[track_caller]
    fn heard(&mut self) -> Value {
        loop {
            let event = self.next();
            if event["type"] != "join" && event["type"] != "leave" {
                return event;
            }
        }
    }

    #[track_caller]
    fn expect_type(&mut self, kind: &str) -> Value {
        let event = self.heard();
        assert_eq!(event["type"], kind, "{event}");
        event
    }

    /// Says a command and yields its answer, before which other events may come.
    #[track_caller]
    fn ask(&mut self, mut command: Value) -> Value {
        command["id"] = json!(4_294_967_295_u32);
        self.say(&command);
        loop {
            let event = self.next();
            if event["id"] == command["id"] {
                return event;
            }
            assert!(event["id"].is_null(), "answered twice: {event}");
        }
    }

    #[track_caller]
    fn expect_error(&mut self, command: Value, code: &str) {
        let answer = self.ask(command);
        assert_eq!((&answer["type"], &answer["code"]), (&json!("error"), &json!(code)), "{answer}");
        assert!(!text(&answer, "message").is_empty());
    }

    fn is_over(&mut self) {
        let pong = self.ask(json!({"type": "ping"}));
        assert_eq!(pong["type"], "pong", "{pong}");
    }
}

#[test]
fn who_offers_the_protocol_is_greeted_first() {
    let gateway = start();
    let mut ann = Client::open(&gateway, "/rooms/a?user=ann");
    assert_eq!(ann.hello["protocol"], "tidegate.v1");
    assert_eq!(ann.hello["user"], "ann");
    assert_eq!(ann.hello["own"], true);
    assert_eq!(ann.hello["max_message"], 1 << 20);
    assert_eq!(ann.hello["commands"], 8);
    let time = text(&ann.hello, "time");
    assert!(time.starts_with("20") && time.ends_with('Z') && time.len() == 24, "{time}");
    let subscribed = ann.expect_type("subscribed");
    assert_eq!(subscribed["topic"], "rooms/a");
    assert!(subscribed["id"].is_null());
    let silent = Client::open(&gateway, "/silent/a");
    assert!(silent.hello["user"].is_null());
    assert_eq!(silent.hello["own"], false);
    let none = Client::open(&gateway, "/none");
    assert_eq!(none.hello["max_message"], 1024);
    let pong = ann.ask(json!({"type": "ping"}));
    assert_eq!(pong["type"], "pong");
    assert!(text(&pong, "time") >= time);
}

#[test]
fn who_does_not_offer_it_speaks_as_before() {
    let gateway = start();
    let (_, response) = Peer::open_at(gateway.address(), &Request::open("/rooms/a"));
    assert_eq!(response.header("Sec-WebSocket-Protocol"), None);
    let other = Request::open("/rooms/a").with("Sec-WebSocket-Protocol", "tidegate.v2");
    let (mut peer, response) = Peer::open_at(gateway.address(), &other);
    assert_eq!(response.header("Sec-WebSocket-Protocol"), None);
    peer.text("{\"type\":\"ping\",\"id\":1}");
    peer.expect_text("{\"type\":\"ping\",\"id\":1}");
    // A route's own is what is selected, and alone decides.
    let both = Request::open("/other").with("Sec-WebSocket-Protocol", "tidegate.v1, chat");
    let (mut peer, response) = Peer::open_at(gateway.address(), &both);
    assert_eq!(response.header("Sec-WebSocket-Protocol"), Some("chat"));
    peer.text("hello");
    peer.expect_text("hello");
    let mut own = Client::open(&gateway, "/own");
    own.is_over();
    let mut refused = Peer::try_connect(gateway.address()).expect("it listens");
    refused.request(&Request::open("/own"));
    refused.expect_refusal(404);
}

#[test]
fn what_is_published_is_answered_once_it_has_its_place() {
    let gateway = start();
    let [mut ann, mut bob] = Client::two(&gateway, "/rooms/a?user=ann");
    for (offset, content) in
        [json!({"text": "hello"}), json!({"json": {"x": [1, null]}}), json!({"binary": "/wE="})]
            .into_iter()
            .enumerate()
    {
        let mut command = json!({"type": "publish"});
        let (key, value) = content.as_object().and_then(|all| all.iter().next()).expect("one");
        command[key] = value.clone();
        let published = ann.ask(command);
        assert_eq!(published["type"], "published", "{published}");
        assert_eq!(published["topic"], "rooms/a");
        assert_eq!(published["offset"], offset + 1);
        assert!(published["repeated"].is_null());
        let message = bob.expect_type("message");
        assert_eq!(message[key], *value, "{message}");
        assert_eq!(
            (&message["offset"], &message["epoch"]),
            (&published["offset"], &published["epoch"])
        );
    }
    // Without an id it is published as well, and nothing is answered.
    ann.say(&json!({"type": "publish", "topic": "rooms/a", "text": "no answer"}));
    assert_eq!(bob.expect_type("message")["text"], "no answer");
    // A topic of which nothing is kept has no position.
    let published = ann.ask(json!({"type": "publish", "topic": "plain", "text": "x"}));
    assert!(published["epoch"].is_null() && published["offset"].is_null(), "{published}");
    let mut silent = Client::open(&gateway, "/silent/a?user=ann");
    silent.expect_type("subscribed");
    silent.ask(json!({"type": "publish", "text": "not to me"}));
    assert_eq!(bob.expect_type("message")["text"], "not to me");
    let published = ann.ask(json!({"type": "publish", "text": "to all"}));
    assert_eq!(published["offset"], 6);
    assert_eq!(silent.expect_type("message")["text"], "to all");
}

#[test]
fn topics_come_and_go_by_command() {
    let gateway = start();
    let clients = Client::two(&gateway, "/rooms/a");
    for (at, mut client) in clients.into_iter().enumerate() {
        for room in ["rooms/b", "rooms/c", "plain"] {
            let subscribed = client.ask(json!({"type": "subscribe", "topic": room}));
            assert_eq!(subscribed["type"], "subscribed", "{subscribed}");
            assert_eq!(subscribed["topic"], room);
            assert_eq!(subscribed["epoch"].is_null(), room == "plain", "{subscribed}");
        }
        client.expect_error(
            json!({"type": "subscribe", "topic": "rooms/d"}),
            "too_many_subscriptions",
        );
        let words = format!("to b {at}");
        client.ask(json!({"type": "publish", "topic": "rooms/b", "text": words}));
        let again = client.ask(json!({"type": "subscribe", "topic": "rooms/b"}));
        assert_eq!((&again["type"], &again["offset"]), (&json!("subscribed"), &json!(2 * at + 1)));
        let ended = client.ask(json!({"type": "unsubscribe", "topic": "rooms/b"}));
        assert_eq!(ended["type"], "unsubscribed", "{ended}");
        client.ask(json!({"type": "publish", "topic": "rooms/b", "text": "unheard"}));
        client.expect_error(json!({"type": "unsubscribe", "topic": "rooms/b"}), "not_subscribed");
        client.say(&json!({"type": "unsubscribe", "topic": "rooms/c"}));
        client.expect_error(json!({"type": "unsubscribe", "topic": "rooms/c"}), "not_subscribed");
        // What was missed is told behind the answer.
        let mut subscribe = json!({"type": "subscribe", "topic": "rooms/b", "last": 1, "id": 7});
        client.say(&subscribe);
        let subscribed = client.expect_type("subscribed");
        assert_eq!(subscribed["id"], 7);
        assert_eq!(client.expect_type("message")["text"], "unheard");
        client.ask(json!({"type": "unsubscribe", "topic": "rooms/b"}));
        subscribe["last"] = Value::Null;
        let position = format!("{}:{}", text(&subscribed, "epoch"), 2 * at);
        let since = json!({"type": "subscribe", "topic": "rooms/b", "since": position, "id": 8});
        client.say(&since);
        assert!(client.expect_type("subscribed")["gap"].is_null());
        assert_eq!(client.expect_type("message")["text"], words);
        assert_eq!(client.expect_type("message")["text"], "unheard");
        client.ask(json!({"type": "unsubscribe", "topic": "rooms/b"}));
        let since =
            json!({"type": "subscribe", "topic": "rooms/b", "since": "00000000:1", "id": 9});
        client.say(&since);
        assert_eq!(client.expect_type("subscribed")["gap"], true);
    }
}

/// Who is on a topic already and asks for what it missed begins anew, and is told all of that in
/// order: its route's own topic, and one to which somebody outside was quicker to subscribe it.
#[test]
fn who_is_subscribed_and_asks_for_the_past_begins_anew() {
    let gateway = start();
    let mut other = Client::open(&gateway, "/rooms/b");
    for shard in 0..2 {
        let topic = format!("rooms/of-{shard}");
        let say = |words: &str| json!({"type": "publish", "topic": topic, "text": words});
        let first = other.ask(say("one"));
        other.ask(say("two"));
        let [one, two] = Client::two(&gateway, &format!("/{topic}"));
        let mut client = if shard == 0 { one } else { two };
        other.ask(say("three"));
        assert_eq!(client.expect_type("message")["text"], "three");
        let since = format!("{}:{}", text(&first, "epoch"), first["offset"]);
        client.say(&json!({"type": "subscribe", "topic": topic, "since": since, "id": 1}));
        let subscribed = client.expect_type("subscribed");
        let facts = (&subscribed["id"], &subscribed["replay"], &subscribed["gap"]);
        assert_eq!(facts, (&json!(1), &json!(2), &Value::Null), "{subscribed}");
        assert_eq!(client.expect_type("message")["text"], "two");
        assert_eq!(client.expect_type("message")["text"], "three");
        client.expect_type("replayed");
        // It publishes there still without saying where.
        client.say(&json!({"type": "publish", "text": "own"}));
        assert_eq!(client.expect_type("message")["text"], "own");
        client.say(&json!({"type": "subscribe", "topic": topic, "last": 1}));
        assert_eq!(client.expect_type("subscribed")["replay"], 1);
        assert_eq!(client.expect_type("message")["text"], "own");
        client.expect_type("replayed");
        client.is_over();
    }
}

/// It stays on its topic all the while: that keeps its epoch, though nothing of it is kept any
/// more, and nobody is told that it has gone and come.
#[test]
fn who_begins_anew_was_never_gone() {
    let gateway = HubGateway::start(
        2,
        "[[topic]]\nname = \"rooms/{room}\"\nhistory = 10\nhistory_age = \"1s\"\n\
         presence = true\nlinger = \"0s\"\n\
         [[route]]\npath = \"/rooms/{room}\"\nhandler = \"hub?topic=rooms/{room}\"\n",
    );
    let mut alone = Client::open(&gateway, "/rooms/a");
    alone.expect_type("subscribed");
    let published = alone.ask(json!({"type": "publish", "text": "one"}));
    let since = format!("{}:{}", text(&published, "epoch"), published["offset"]);
    wait_until("nothing is kept", || {
        gateway.topic("rooms/a").is_some_and(|topic| topic.kept == 0).then_some(())
    });
    let again = json!({"type": "subscribe", "topic": "rooms/a", "since": since});
    for _ in 0..3 {
        let subscribed = alone.ask(again.clone());
        let facts = (&subscribed["epoch"], &subscribed["offset"], &subscribed["gap"]);
        assert_eq!(facts, (&published["epoch"], &published["offset"], &Value::Null));
        assert_eq!(subscribed["present"]["total"], 1, "{subscribed}");
    }
    let mut other = Client::open(&gateway, "/rooms/a");
    assert_eq!(other.expect_type("subscribed")["present"]["total"], 2);
    assert_eq!(other.next()["type"], "join", "its own");
    assert_eq!(alone.ask(again)["type"], "subscribed");
    other.say(&json!({"type": "ping", "id": 1}));
    assert_eq!(other.next()["type"], "pong", "nobody has come or gone");
    assert_eq!(gateway.topic("rooms/a").map(|topic| topic.subscribers), Some(2));
    let id = alone.member.id;
    drop(alone);
    gateway.expect_gone(id);
    assert_eq!(other.next()["type"], "leave");
    assert_eq!(gateway.topic("rooms/a").map(|topic| topic.subscribers), Some(1));
}

/// The same of a topic that the route does not list.
#[test]
fn somebody_outside_who_was_quicker_hides_nothing() {
    let gateway = start();
    gateway.publish(topic("rooms/x"), "one");
    gateway.publish(topic("rooms/x"), "two");
    let mut ann = Client::open(&gateway, "/none");
    let target = Target::Connection(ann.member.id);
    assert_eq!(gateway.done(Errand::Subscribe(target, name("rooms/x"))), Ok(1));
    let subscribed = ann.expect_type("subscribed");
    let since = format!("{}:1", text(&subscribed, "epoch"));
    ann.say(&json!({"type": "subscribe", "topic": "rooms/x", "since": since, "id": 2}));
    assert_eq!(ann.expect_type("subscribed")["replay"], 1);
    assert_eq!(ann.expect_type("message")["text"], "two");
    ann.expect_type("replayed");
    gateway.publish(topic("rooms/x"), "three");
    assert_eq!(ann.expect_type("message")["text"], "three");
}

/// However a subscription and its end cross each other, each command is answered once.
#[test]
fn who_comes_and_goes_at_once_is_answered_for_both() {
    let gateway = start();
    for mut client in Client::two(&gateway, "/rooms/a") {
        for round in 0..50_u32 {
            let topic = format!("rooms/{}", round % 5);
            let mut burst = String::new();
            for (id, kind) in
                ["subscribe", "unsubscribe", "subscribe", "unsubscribe"].iter().enumerate()
            {
                burst = json!({"type": kind, "topic": topic, "id": id}).to_string();
                client.member.peer.text(&burst);
            }
            assert!(!burst.is_empty());
            let mut answered = [false; 4];
            while answered.contains(&false) {
                let event = client.heard();
                let id = event["id"].as_u64().expect("an answer") as usize;
                assert!(!std::mem::replace(&mut answered[id], true), "twice: {event}");
                let kind = text(&event, "type");
                let is_right = match id % 2 {
                    0 => kind == "subscribed" || event["code"] == "not_subscribed",
                    _ => kind == "unsubscribed",
                };
                assert!(is_right, "{event}");
            }
        }
        client.is_over();
    }
}

#[test]
fn what_a_route_lets_nobody_do_is_not_allowed() {
    let gateway = start();
    let mut ann = Client::open(&gateway, "/rooms/a?user=ann");
    for topic in ["news", "rooms/a/b", "users/bob/inbox", "users/ann", "rooms/"] {
        ann.expect_error(json!({"type": "subscribe", "topic": topic}), "not_allowed");
        ann.expect_error(json!({"type": "publish", "topic": topic, "text": "x"}), "not_allowed");
        ann.expect_error(json!({"type": "presence", "topic": topic}), "not_allowed");
        ann.expect_error(json!({"type": "history", "topic": topic}), "not_allowed");
    }
    assert_eq!(
        ann.ask(json!({"type": "subscribe", "topic": "users/ann/inbox"}))["type"],
        "subscribed"
    );
    let mut slash = Client::open(&gateway, "/rooms/a?user=ann%2finbox");
    slash.expect_error(json!({"type": "subscribe", "topic": "users/ann/inbox"}), "not_allowed");
    let mut nobody = Client::open(&gateway, "/silent/a");
    nobody.expect_error(json!({"type": "publish", "text": "x"}), "not_allowed");
    nobody.expect_error(json!({"type": "subscribe", "topic": "rooms/b"}), "not_allowed");
    let own = nobody.ask(json!({"type": "history", "topic": "rooms/a"}));
    assert_eq!(own["type"], "history");
    let mut none = Client::open(&gateway, "/none");
    none.expect_error(json!({"type": "publish", "text": "x"}), "not_subscribed");
}

#[test]
fn mistakes_are_told_and_end_nothing() {
    let gateway = start();
    let mut client = Client::open(&gateway, "/rooms/a");
    client.expect_type("subscribed");
    for (said, code) in [
        ("", "bad_command"),
        ("hello", "bad_command"),
        ("[]", "bad_command"),
        ("{\"type\":\"ping\"} {}", "bad_command"),
        ("{\"type\":\"ping\",\"ping\":1}", "bad_command"),
        ("{\"type\":\"dance\"}", "unknown_command"),
        ("{\"type\":\"subscribe\",\"topic\":\"\"}", "bad_topic"),
        ("{\"type\":\"subscribe\",\"topic\":\"rooms/b\",\"since\":\"x\"}", "bad_position"),
        ("{\"type\":\"history\",\"topic\":\"plain\",\"id\":1}", "not_kept"),
        ("{\"type\":\"presence\",\"topic\":\"plain\",\"id\":1}", "not_kept"),
    ] {
        client.member.peer.text(said);
        let error = client.expect_type("error");
        assert_eq!(error["code"], code, "{said}: {error}");
    }
    client.member.peer.frame(&Frame::binary(b"{\"type\":\"ping\",\"id\":1}"));
    assert_eq!(client.expect_type("error")["code"], "bad_command");
    client.is_over();
    let mut small = Client::open(&gateway, "/none");
    small.member.peer.text(&"x".repeat(1025));
    small.member.peer.expect_failed(1009);
}

#[test]
fn no_more_are_unanswered_than_hello_says() {
    let gateway = start();
    for mut client in Client::two(&gateway, "/rooms/a") {
        let mut segment = Vec::new();
        for id in 0..40 {
            let command = json!({"type": "history", "topic": "rooms/a", "id": id}).to_string();
            segment.extend(Frame::text(&command).masked());
        }
        client.member.peer.send(segment);
        let mut refused = 0;
        let mut seen = [false; 40];
        for _ in 0..40 {
            let event = client.heard();
            let id = event["id"].as_u64().expect("an answer") as usize;
            assert!(!std::mem::replace(&mut seen[id], true), "twice: {event}");
            refused += usize::from(event["code"] == "too_many_commands");
        }
        assert!(refused > 0 && refused <= 32, "{refused}");
        client.is_over();
    }
}

#[test]
fn who_is_there_and_what_was_said_can_be_asked() {
    let gateway = start();
    let [mut ann, mut bob] = Client::two(&gateway, "/rooms/a?user=ann");
    let members = bob.ask(json!({"type": "presence", "topic": "rooms/a"}));
    assert_eq!(members["type"], "members");
    assert_eq!(members["total"], 1);
    assert_eq!(members["members"][0]["user"], "ann");
    assert_eq!(members["members"][0]["connections"], 2);
    for number in 0..5 {
        ann.ask(json!({"type": "publish", "json": number, "key": "k"}));
    }
    let all = bob.ask(json!({"type": "history", "topic": "rooms/a"}));
    assert_eq!(all["messages"].as_array().map(Vec::len), Some(5), "{all}");
    assert_eq!(
        (&all["offset"], &all["more"], &all["gap"]),
        (&json!(5), &Value::Null, &Value::Null)
    );
    let first = &all["messages"][0];
    assert_eq!(
        (&first["offset"], &first["json"], &first["user"]),
        (&json!(1), &json!(0), &json!("ann"))
    );
    assert_eq!(first["connection"], ann.hello["connection"]);
    let some = bob.ask(json!({"type": "history", "topic": "rooms/a", "limit": 2}));
    assert_eq!((some["messages"].as_array().map(Vec::len), &some["more"]), (Some(2), &json!(true)));
    let since = format!("{}:2", text(&all, "epoch"));
    let on = bob.ask(json!({"type": "history", "topic": "rooms/a", "since": since}));
    assert_eq!(on["messages"][0]["offset"], 3);
    let last = bob.ask(json!({"type": "history", "topic": "rooms/a", "last": 2}));
    assert_eq!(last["messages"][0]["offset"], 4, "{last}");
    assert!(last["more"].is_null());
    let gap = bob.ask(json!({"type": "history", "topic": "rooms/a", "since": "00000000:9"}));
    assert_eq!(gap["gap"], true);
}

#[test]
fn what_is_sent_again_with_its_key_is_published_once() {
    let gateway = start();
    let [mut ann, mut again] = Client::two(&gateway, "/rooms/a?user=ann");
    let mut bob = Client::open(&gateway, "/rooms/a?user=bob");
    bob.expect_type("subscribed");
    let publish = |text: &str| json!({"type": "publish", "text": text, "idempotency_key": "5f0c"});
    let first = ann.ask(publish("once"));
    assert!(first["repeated"].is_null());
    for client in [&mut ann, &mut again] {
        let repeated = client.ask(publish("once"));
        assert_eq!((&repeated["repeated"], &repeated["offset"]), (&json!(true), &first["offset"]));
    }
    let own = bob.ask(publish("of another"));
    assert_eq!((&own["repeated"], &own["offset"]), (&Value::Null, &json!(2)));
    let mut elsewhere = publish("elsewhere");
    elsewhere["topic"] = json!("rooms/b");
    assert!(ann.ask(elsewhere)["repeated"].is_null());
    let history = ann.ask(json!({"type": "history", "topic": "rooms/a"}));
    assert_eq!(history["messages"].as_array().map(Vec::len), Some(2), "{history}");
    let counters = gateway.expect_counters("repeats", |counters| counters.repeats == 2);
    assert_eq!(counters.repeats_forgotten, 0);
    // Whoever is no connection has keys of its own.
    let once = |text: &str| {
        let publication = gateway.publication(tidegate_proto::message::Kind::Text, text.as_bytes());
        Errand::PublishOnce(name("rooms/a"), publication, "5f0c".into())
    };
    let tidegate::hub::Outcome::Published(published) = gateway.ask(once("x")) else {
        panic!("not")
    };
    assert!(!published.repeated);
    let tidegate::hub::Outcome::Published(again) = gateway.ask(once("x")) else { panic!("not") };
    assert_eq!((again.repeated, again.position), (true, published.position));
}

/// Where no keys are kept, a client is told so: what it sends again is published again.
#[test]
fn where_no_keys_are_kept_hello_says_so() {
    let gateway = HubGateway::start(
        1,
        "[hub]\nidempotency_keys = 0\nresume_age = \"2m\"\n\
         [[route]]\npath = \"/none\"\nhandler = \"hub\"\npublish = [\"plain\"]\n",
    );
    let (mut peer, _) = Peer::open_at(gateway.address(), &opening("/none"));
    let hello = event(&mut peer);
    let ages = (&hello["idempotency_age"], &hello["resume_age"]);
    assert_eq!(ages, (&json!(0), &json!(120)), "{hello}");
    let publish =
        r#"{"type":"publish","id":1,"topic":"plain","text":"x","idempotency_key":"same"}"#;
    for _ in 0..2 {
        peer.text(publish);
        let published = event(&mut peer);
        assert_eq!(
            (&published["type"], &published["repeated"]),
            (&json!("published"), &json!(null))
        );
    }
}

#[test]
fn what_the_query_asks_for_is_told_first_or_refused() {
    let gateway = start();
    let mut ann = Client::open(&gateway, "/rooms/q");
    for number in 0..4 {
        ann.ask(json!({"type": "publish", "json": number}));
    }
    let mut last = Client::open(&gateway, "/rooms/q?last=2");
    let subscribed = last.expect_type("subscribed");
    assert_eq!(last.expect_type("message")["json"], 2);
    assert_eq!(last.expect_type("message")["json"], 3);
    let epoch = text(&subscribed, "epoch");
    let mut since = Client::open(&gateway, &format!("/rooms/q?since={epoch}%3A3"));
    since.expect_type("subscribed");
    assert_eq!(since.expect_type("message")["json"], 3);
    for wrong in [
        "since=",
        "since=x",
        "since=0:1",
        "last=0",
        "last=1001",
        "last=x",
        "last=",
        "last=1&last=1",
        "last=1&since=00000000:1",
        "since=00000000:1&since=00000000:1",
    ] {
        let mut peer = Peer::try_connect(gateway.address()).expect("it listens");
        peer.request(&opening(&format!("/rooms/q?{wrong}")));
        peer.expect_refusal(400);
    }
}

#[test]
fn systems_behind_the_gateway_reach_it_as_any_other() {
    let gateway = start();
    let mut ann = Client::open(&gateway, "/none");
    let target = Target::Connection(ann.member.id);
    assert_eq!(gateway.done(Errand::Subscribe(target.clone(), name("rooms/x"))), Ok(1));
    assert_eq!(ann.expect_type("subscribed")["topic"], "rooms/x");
    gateway.publish(topic("rooms/x"), "from outside");
    assert_eq!(ann.expect_type("message")["text"], "from outside");
    // What it is subscribed to it may hear of, and nothing else.
    assert_eq!(ann.ask(json!({"type": "history", "topic": "rooms/x"}))["type"], "history");
    ann.expect_error(json!({"type": "publish", "topic": "rooms/x", "text": "x"}), "not_allowed");
    gateway.publish(target, "to you");
    assert_eq!(ann.heard()["text"], "to you");
    let mut bob = Client::open(&gateway, "/rooms/b?user=bob");
    bob.expect_type("subscribed");
    gateway.publish(user("bob"), "to bob");
    assert_eq!(bob.heard()["text"], "to bob");
}

const KEY: &str = "[hub]\nresume_key = \"0123456789abcdef0123456789abcdef\"\n\
                   [[topic]]\nname = \"{*all}\"\nhistory = 10\n\
                   [[route]]\npath = \"/none\"\nhandler = \"hub?user=query.user\"\n";

/// What was subscribed to from outside is taken up again by its token, also at a gateway that has
/// started anew, by the same user.
#[test]
fn what_was_subscribed_to_from_outside_is_taken_up_again() {
    let gateway = HubGateway::start(2, KEY);
    let [mut ann, mut other] = Client::two_without(&gateway, "/none?user=ann");
    let target = Target::Connection(ann.member.id);
    assert_eq!(gateway.done(Errand::Subscribe(target, name("secret"))), Ok(1));
    let subscribed = ann.expect_type("subscribed");
    let token = text(&subscribed, "resume");
    gateway.publish(topic("secret"), "first");
    let seen = ann.expect_type("message");
    let since = format!("{}:{}", text(&seen, "epoch"), seen["offset"]);
    gateway.publish(topic("secret"), "missed");
    let secret = json!({"type": "subscribe", "topic": "secret", "since": since});
    let resume = |token: &str| {
        let mut command = secret.clone();
        command["resume"] = json!(token);
        command
    };
    let taken_up = other.ask(resume(&token));
    assert_eq!(taken_up["type"], "subscribed", "{taken_up}");
    assert_eq!(text(&taken_up, "resume").len(), token.len());
    assert_eq!(other.expect_type("message")["text"], "missed");
    // Whoever is subscribed is told a new one.
    let again = other.ask(resume(&token));
    assert_eq!(again["type"], "subscribed");
    assert!(!text(&again, "resume").is_empty());
    let mut bob = Client::open(&gateway, "/none?user=bob");
    bob.expect_error(resume(&token), "not_allowed");
    bob.expect_error(resume("x"), "not_allowed");
    let mut nobody = Client::open(&gateway, "/none");
    nobody.expect_error(resume(&token), "not_allowed");
    let elsewhere = json!({"type": "subscribe", "topic": "secrets", "resume": token});
    other.expect_error(elsewhere, "not_allowed");
    drop(gateway);
    let anew = HubGateway::start(2, KEY);
    let mut ann = Client::open(&anew, "/none?user=ann");
    assert_eq!(ann.ask(resume(&token))["gap"], true, "it is another epoch");
    let unkeyed = HubGateway::start(2, &KEY.replace("resume_key", "# resume_key"));
    let mut ann = Client::open(&unkeyed, "/none?user=ann");
    ann.expect_error(resume(&token), "not_allowed");
}

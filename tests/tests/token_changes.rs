//! Tokens that are taken back, and fresh ones in time.

use std::sync::Mutex;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidegate::config::Route;
use tidegate::gateway::Program;
use tidegate::handler::{
    self, Admission, Body, Context, Decision, Desk, Finding, Handler, Piece, Response, Ticket,
};
use tidegate::steering::{RevocationOrder, TokensOf};
use tidegate_tests::admin::{ask, json_of};
use tidegate_tests::hub::{HubGateway, name};
use tidegate_tests::tokens::{Signed, TokenIssuer, iso8601 as iso, now};
use tidegate_tests::{Frame, Gateway, Launch, PATIENCE, Peer, Request, case};

const BOTH: [Signed; 2] = [Signed::ByKey, Signed::BySecret];
const STATIC: &str = "static-0123456789-of-ada";

fn routes(issuer: &TokenIssuer, more: &str) -> String {
    issuer.config("leeway = \"0s\"")
        + more
        + r#"
[[token]]
name = "ada"
env = "TIDEGATE_TEST_ADA"
user = "ada"
[[route]]
path = "/open"
handler = "echo"
[[route]]
path = "/echo"
handler = "echo"
admission = ["jwt"]
[[route]]
path = "/known"
handler = "echo"
admission = ["token"]
[[route]]
path = "/rooms/{room}"
handler = "hub?topic=rooms/{room}"
admission = ["origin", "jwt"]
[[route]]
path = "/page"
handler = "static"
admission = ["jwt"]
"#
}

fn launch(issuer: &TokenIssuer, before: &str, more: &str) -> Gateway {
    let text = format!("pin = false\n{before}\n{}", routes(issuer, more));
    let launch = Launch::new().config(&text).listen("127.0.0.1:0").admin();
    launch.variable("TIDEGATE_TEST_ADA", STATIC).start()
}

fn start(issuer: &TokenIssuer) -> Gateway {
    launch(issuer, "shards = 2", "")
}

fn with_token(path: &str, token: &str) -> Request {
    Request::open(path).with("Authorization", &format!("Bearer {token}"))
}

fn open(gateway: &Gateway, path: &str, token: &str) -> Peer {
    Peer::open_with(gateway, &with_token(path, token)).0
}

/// The status that a request is answered with; one that opens is served.
fn status(gateway: &Gateway, request: &Request) -> u16 {
    let mut peer = Peer::connect(gateway);
    peer.request(request);
    peer.response_head().status
}

/// Takes tokens back: what that is called.
#[track_caller]
fn revoke(gateway: &Gateway, what: &Value) -> u64 {
    let answer = ask(gateway, "POST", "/v1/revocations", what);
    let text = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.status, 201, "{what}: {text}");
    json_of(&answer)["id"].as_u64().expect("a number")
}

#[track_caller]
fn withdraw(gateway: &Gateway, id: u64) {
    let answer = ask(gateway, "DELETE", &format!("/v1/revocations/{id}"), &Value::Null);
    assert_eq!(answer.status, 200);
}

/// The status and the code of what is not done.
fn refused(gateway: &Gateway, method: &str, path: &str, body: &Value) -> (u16, String) {
    let answer = ask(gateway, method, path, body);
    let code = json_of(&answer)["error"]["code"].as_str().unwrap_or_default().to_owned();
    (answer.status, code)
}

/// Checks that a connection is closed because its token was taken back.
#[track_caller]
fn expect_taken_back(peer: &mut Peer) {
    let said = peer.expect_close(4401);
    assert!(said.starts_with("token_revoked"), "{said}");
}

#[test]
fn each_way_to_take_tokens_back_acts_on_those_and_on_no_others() {
    let issuer = TokenIssuer::new();
    let gateway = start(&issuer);
    for signed in BOTH {
        let at = now() - 100;
        let token = |user: &str, issued: u64, id: &str| {
            let claims = json!({"sub": user, "exp": now() + 3600, "iat": issued, "jti": id});
            (format!("{user} {id}"), "/echo", issuer.sign(signed, &claims))
        };
        let silent = issuer.token(signed, "ada");
        let tokens = [
            token("ada", at, "a"),
            token("ada", at + 20, "b"),
            token("bob", at, "c"),
            token("bob", at + 20, "d"),
            ("ada silent".into(), "/rooms/x", silent),
            ("ada static".into(), "/known", STATIC.into()),
        ];
        for (what, expected) in [
            (json!({"user": "ada"}), vec!["ada a", "ada b", "ada silent", "ada static"]),
            (json!({"user": "ada", "issuer": "jwt"}), vec!["ada a", "ada b", "ada silent"]),
            (json!({"jti": "b", "issuer": "jwt"}), vec!["ada b"]),
            (json!({"user": "ada", "issued_before": iso(at + 20)}), vec!["ada a", "ada silent"]),
            (
                json!({"issued_before": iso(at + 20), "for": "1h"}),
                vec!["ada a", "bob c", "ada silent"],
            ),
            (json!({"issued_before": iso(at)}), vec!["ada silent"]),
            (json!({"user": "nobody"}), vec![]),
        ] {
            case(format!("{signed:?} {what}"), || {
                let before = gateway.fresh_counters().get("tokens_revoked");
                let mut peers: Vec<(&str, Peer)> = tokens
                    .iter()
                    .map(|(name, path, token)| (&**name, open(&gateway, path, token)))
                    .collect();
                let id = revoke(&gateway, &what);
                for (name, peer) in &mut peers {
                    if expected.contains(name) {
                        expect_taken_back(peer);
                    } else {
                        peer.echo("it stays");
                    }
                }
                for (name, path, token) in &tokens {
                    let shown = status(&gateway, &with_token(path, token));
                    let wanted = if expected.contains(&name.as_str()) { 401 } else { 101 };
                    assert_eq!(shown, wanted, "{name}");
                }
                // Once more says nothing new.
                let again = ask(&gateway, "POST", "/v1/revocations", &what);
                assert_eq!((again.status, json_of(&again)["id"].as_u64()), (200, Some(id)));
                let closed = expected.len() as u64;
                gateway.expect_counter("tokens_revoked", before + closed);
                withdraw(&gateway, id);
                for (name, path, token) in &tokens {
                    let shown = status(&gateway, &with_token(path, token));
                    assert_eq!(shown, 101, "{name} is as good as it was");
                }
            });
        }
    }
    let ends = ask(&gateway, "GET", "/v1/ends?reason=token_revoked&limit=1000", &Value::Null);
    let ends = json_of(&ends)["ends"].as_array().cloned().expect("a list");
    assert_eq!(ends.len() as u64, gateway.fresh_counters().get("tokens_revoked"));
}

#[test]
fn a_token_that_is_taken_back_is_refused_on_pages_as_well_and_told_why() {
    let issuer = TokenIssuer::new();
    let gateway = start(&issuer);
    for signed in BOTH {
        let token = issuer.token(signed, "ada");
        let request = Request::plain("GET", "/page");
        let request = request.with("Authorization", &format!("Bearer {token}"));
        assert_eq!(status(&gateway, &request), 200);
        // By one that is remembered, and by one that is not.
        let id = revoke(&gateway, &json!({"user": "ada"}));
        for request in [&request, &with_token("/echo", &issuer.token(signed, "ada"))] {
            let mut peer = Peer::connect(&gateway);
            peer.request(request);
            let refusal = peer.expect_refusal(401);
            let challenge = refusal.header("WWW-Authenticate");
            assert_eq!(challenge, Some("Bearer error=\"invalid_token\""));
            let body = String::from_utf8_lossy(&refusal.body).into_owned();
            assert!(body.contains("was taken back"), "{body}");
        }
        withdraw(&gateway, id);
        assert_eq!(status(&gateway, &request), 200);
    }
    gateway.expect_counter("tokens_revoked_shown", 4);
}

#[test]
fn the_table_is_bounded_and_says_what_is_in_it() {
    let issuer = TokenIssuer::new();
    let gateway = launch(&issuer, "shards = 1\nrevocations = 3", "");
    let user = |name: &str| json!({"user": name, "for": "1h"});
    let ids: Vec<u64> = ["a", "b", "c"].iter().map(|name| revoke(&gateway, &user(name))).collect();
    let full = refused(&gateway, "POST", "/v1/revocations", &user("d"));
    assert_eq!(full, (503, "revocations_full".into()));
    gateway.expect_counter("revocations", 3);
    gateway.expect_counter("revocations_refused", 1);
    let page = json_of(&ask(&gateway, "GET", "/v1/revocations?limit=2", &Value::Null));
    assert_eq!(page["revocations"][0]["user"], "a");
    assert_eq!(page["revocations"].as_array().map(Vec::len), Some(2));
    let cursor = page["cursor"].as_str().expect("there is more");
    let rest = format!("/v1/revocations?limit=2&cursor={cursor}");
    let rest = json_of(&ask(&gateway, "GET", &rest, &Value::Null));
    assert_eq!((&rest["revocations"][0]["user"], &rest["cursor"]), (&json!("c"), &Value::Null));
    let one = format!("/v1/revocations/{}", ids[1]);
    assert_eq!(json_of(&ask(&gateway, "GET", &one, &Value::Null))["user"], "b");
    withdraw(&gateway, ids[1]);
    for method in ["GET", "DELETE"] {
        let gone = refused(&gateway, method, &one, &Value::Null);
        assert_eq!(gone, (404, "unknown_revocation".into()));
    }
    revoke(&gateway, &user("d"));
}

#[test]
fn one_that_has_ended_takes_nothing_back_any_more() {
    let issuer = TokenIssuer::new();
    let gateway = launch(&issuer, "shards = 1\nrevocations = 1", "");
    let token = issuer.token(Signed::BySecret, "ada");
    revoke(&gateway, &json!({"user": "ada", "for": "1s"}));
    assert_eq!(status(&gateway, &with_token("/echo", &token)), 401);
    let begun = Instant::now();
    while status(&gateway, &with_token("/echo", &token)) == 401 {
        assert!(begun.elapsed() < Duration::from_secs(20), "it does not end");
        thread::sleep(Duration::from_millis(50));
    }
    revoke(&gateway, &json!({"user": "bob"}));
}

#[test]
fn what_says_no_tokens_or_says_them_wrongly_is_refused() {
    let issuer = TokenIssuer::new();
    let gateway = start(&issuer);
    let later = now() + 3600;
    for wrong in [
        json!({}),
        json!({"for": "1h"}),
        json!({"issuer": "jwt"}),
        json!({"jti": "a"}),
        json!({"jti": "", "issuer": "jwt"}),
        json!({"jti": "x".repeat(257), "issuer": "jwt"}),
        json!({"jti": "a", "issuer": "jwt", "user": "ada"}),
        json!({"jti": "a", "issuer": "jwt", "issued_before": "now"}),
        json!({"user": "ada", "issuer": "nobody"}),
        json!({"user": "ada", "issued_before": iso(later)}),
        json!({"user": "ada", "issued_before": "soon"}),
        json!({"user": "ada", "issued_before": "1960-01-01T00:00:00Z"}),
        json!({"user": "ada", "for": "0s"}),
        json!({"user": "ada", "for": "8785h"}),
        json!({"user": "ada", "until": iso(now() - 1)}),
        json!({"user": "ada", "until": iso(later), "for": "1h"}),
        json!({"user": "ada", "until": later}),
        json!({"user": "ada", "whatever": 1}),
    ] {
        case(format!("{wrong}"), || {
            let (status, code) = refused(&gateway, "POST", "/v1/revocations", &wrong);
            assert_eq!((status, &*code), (400, "invalid_request"));
        });
    }
    let (status, code) = refused(&gateway, "POST", "/v1/revocations", &json!({"user": ""}));
    assert_eq!((status, &*code), (400, "invalid_name"));
    gateway.expect_counter("revocations_made", 0);
    let without = Gateway::with_admin("");
    let none = refused(&without, "POST", "/v1/revocations", &json!({"user": "ada"}));
    assert_eq!(none, (409, "no_tokens".into()));
}

/// What a client that speaks commands is told next.
fn event(peer: &mut Peer) -> Value {
    let (_, bytes) = peer.message();
    serde_json::from_slice(&bytes).expect("JSON")
}

/// A client that speaks commands, and what it was told first.
fn speaks(gateway: &Gateway, path: &str, token: &str) -> (Peer, Value) {
    let request = with_token(path, token).with("Sec-WebSocket-Protocol", "tidegate.v1");
    let (mut peer, _) = Peer::open_with(gateway, &request);
    let hello = event(&mut peer);
    assert_eq!(hello["type"], "hello");
    assert_eq!(event(&mut peer)["type"], "subscribed");
    (peer, hello)
}

/// What a command is answered.
fn answer(peer: &mut Peer, command: &Value) -> Value {
    peer.text(&command.to_string());
    loop {
        let event = event(peer);
        if event["id"] == command["id"] {
            return event;
        }
    }
}

#[test]
fn a_fresh_token_in_time_keeps_its_connection_open() {
    let issuer = TokenIssuer::new();
    let gateway = start(&issuer);
    let mut renewed = 0;
    for (first, second) in
        [(BOTH[0], BOTH[0]), (BOTH[0], BOTH[1]), (BOTH[1], BOTH[0]), (BOTH[1], BOTH[1])]
    {
        case(format!("{first:?} {second:?}"), || {
            let until = now() + 3;
            let short = issuer.sign(first, &json!({"sub": "ada", "exp": until}));
            let (mut stays, hello) = speaks(&gateway, "/rooms/a", &short);
            let left = hello["token_left"].as_u64().expect("it ends");
            assert!((1..=3).contains(&left), "{hello}");
            let (mut goes, _) = speaks(&gateway, "/rooms/b", &short);
            let claims = json!({"sub": "ada", "exp": until + 3600, "publish": []});
            let long = issuer.sign(second, &claims);
            let publish = json!({"type": "publish", "id": 1, "text": "x"});
            assert_eq!(answer(&mut stays, &publish)["type"], "published");
            let told = answer(&mut stays, &json!({"type": "refresh", "id": 2, "token": long}));
            assert_eq!(told["type"], "refreshed", "{told}");
            assert!(told["token_left"].as_u64().is_some_and(|left| left > 3500), "{told}");
            let told = answer(&mut stays, &publish);
            assert_eq!(told["code"], "not_allowed", "what the fresh one says holds: {told}");
            let said = goes.expect_close(4401);
            assert!(said.starts_with("token_expired"), "{said}");
            assert!(now() >= until);
            thread::sleep(Duration::from_millis(600));
            assert_eq!(answer(&mut stays, &json!({"type": "ping", "id": 3}))["type"], "pong");
        });
        renewed += 1;
        gateway.expect_counter("tokens_renewed", renewed);
    }
    gateway.expect_counter("tokens_expired", renewed);
    gateway.expect_counter("tokens_not_renewed", 0);
}

#[test]
fn a_fresh_token_that_is_not_good_changes_nothing() {
    let (issuer, other) = (TokenIssuer::new(), TokenIssuer::new());
    let gateway = start(&issuer);
    revoke(&gateway, &json!({"jti": "gone", "issuer": "jwt"}));
    let mut refusals = 0;
    for signed in BOTH {
        let good = issuer.token(signed, "ada");
        let (mut peer, _) = speaks(&gateway, "/rooms/a", &good);
        let claims =
            |user: &str, until: u64, id: &str| json!({"sub": user, "exp": until, "jti": id});
        let until = now() + 3600;
        for (token, why) in [
            ("a.b.c".to_owned(), "the token is none"),
            (other.token(signed, "ada"), "signature is wrong"),
            (issuer.sign(signed, &claims("bob", until, "b")), "of another user"),
            (issuer.sign(signed, &claims("ada", now() - 1, "b")), "has expired"),
            (issuer.sign(signed, &claims("ada", until, "gone")), "was taken back"),
            (issuer.sign(signed, &json!({"exp": until})), "lacks a claim"),
        ] {
            case(format!("{signed:?} {why}"), || {
                let told = answer(&mut peer, &json!({"type": "refresh", "id": 2, "token": token}));
                assert_eq!((&told["type"], &told["code"]), (&json!("error"), &json!("bad_token")));
                let said = told["message"].as_str().unwrap_or_default();
                assert!(said.contains(why), "{said}");
                // And without an id what is wrong is told as well.
                peer.text(&json!({"type": "refresh", "token": token}).to_string());
                let told = event(&mut peer);
                assert_eq!((&told["id"], &told["code"]), (&Value::Null, &json!("bad_token")));
            });
            refusals += 2;
        }
        assert_eq!(answer(&mut peer, &json!({"type": "ping", "id": 3}))["type"], "pong");
    }
    gateway.expect_counter("tokens_not_renewed", refusals);
    gateway.expect_counter("tokens_renewed", 0);
}

#[test]
fn of_two_fresh_tokens_at_once_both_are_answered() {
    let issuer = TokenIssuer::new();
    let gateway = start(&issuer);
    let (mut peer, _) = speaks(&gateway, "/rooms/a", &issuer.token(Signed::BySecret, "ada"));
    let rounds = 20_u64;
    let (mut taken, mut busy) = (0_u64, 0_u64);
    for round in 0..rounds {
        // Both are in one turn of the shard: the first is still being verified.
        let ids = [round * 2, round * 2 + 1];
        let frames = ids.map(|id| {
            let until = now() + 3600 + id;
            let claims = json!({"sub": "ada", "exp": until});
            let token = issuer.sign(Signed::ByKey, &claims);
            let command = json!({"type": "refresh", "id": id, "token": token});
            Frame::text(command.to_string()).masked()
        });
        peer.send(frames.concat());
        let mut told = [event(&mut peer), event(&mut peer)];
        told.sort_by_key(|told| told["id"].as_u64());
        for (told, id) in told.iter().zip(ids) {
            assert_eq!(told["id"], json!(id));
            match told["code"].as_str() {
                None => taken += 1,
                Some("too_many_commands") => busy += 1,
                Some(_) => panic!("{told}"),
            }
        }
        assert_eq!(told[0]["type"], "refreshed", "the first is taken");
    }
    assert_eq!(taken + busy, 2 * rounds);
    assert!(busy > 0, "one at a time");
    gateway.expect_counter("tokens_renewed", taken);
    gateway.expect_counter("tokens_not_renewed", busy);
}

/// The id of the only connection.
fn only_id(gateway: &Gateway) -> String {
    let all = json_of(&ask(gateway, "GET", "/v1/connections", &Value::Null));
    let [one] = all["connections"].as_array().expect("a list").as_slice() else {
        panic!("not one: {all}")
    };
    one["id"].as_str().expect("an id").to_owned()
}

#[test]
fn a_system_behind_the_gateway_brings_fresh_tokens_too() {
    let issuer = TokenIssuer::new();
    let gateway = start(&issuer);
    for signed in BOTH {
        let until = now() + 3;
        let short = issuer.sign(signed, &json!({"sub": "ada", "exp": until}));
        let mut peer = open(&gateway, "/echo", &short);
        let path = format!("/v1/connections/{}/token", only_id(&gateway));
        let bring = |token: &str| {
            let answer = ask(&gateway, "POST", &path, &json!({"token": token}));
            (answer.status, json_of(&answer))
        };
        let (status, told) = bring(&issuer.token(signed, "bob"));
        assert_eq!((status, &told["error"]["code"]), (400, &json!("other_user")));
        let (status, told) = bring("a.b.c");
        assert_eq!((status, &told["error"]["code"]), (400, &json!("bad_token")));
        let (status, told) = bring(&issuer.sign(signed, &json!({"sub": "ada", "exp": until + 99})));
        assert_eq!((status, &told["until"]), (200, &json!(iso(until + 99))));
        while now() <= until {
            thread::sleep(Duration::from_millis(50));
        }
        thread::sleep(Duration::from_millis(600));
        peer.echo("it stays");
        drop(peer);
        gateway.expect_counter("connections", 0);
        let (status, told) = bring(&short);
        assert_eq!((status, &told["error"]["code"]), (410, &json!("connection_gone")));
    }
    let mut known = open(&gateway, "/known", STATIC);
    let path = format!("/v1/connections/{}/token", only_id(&gateway));
    let token = json!({"token": issuer.token(Signed::ByKey, "ada")});
    assert_eq!(refused(&gateway, "POST", &path, &token), (409, "no_token".into()));
    known.echo("it stays");
    gateway.expect_counter("tokens_renewed", 2);
}

#[test]
fn a_revocation_finds_the_token_that_a_connection_has_now() {
    let issuer = TokenIssuer::new();
    let gateway = start(&issuer);
    for signed in BOTH {
        let token =
            |id: &str| issuer.sign(signed, &json!({"sub": "ada", "exp": now() + 3600, "jti": id}));
        let (mut peer, _) = speaks(&gateway, "/rooms/a", &token("first"));
        let second = json!({"type": "refresh", "id": 1, "token": token("second")});
        assert_eq!(answer(&mut peer, &second)["type"], "refreshed");
        let first = revoke(&gateway, &json!({"jti": "first", "issuer": "jwt"}));
        let _ = gateway.fresh_counters();
        assert_eq!(answer(&mut peer, &json!({"type": "ping", "id": 2}))["type"], "pong");
        let second = revoke(&gateway, &json!({"jti": "second", "issuer": "jwt"}));
        expect_taken_back(&mut peer);
        withdraw(&gateway, first);
        withdraw(&gateway, second);
    }
}

#[test]
fn fresh_tokens_and_ids_reach_no_log() {
    let issuer = TokenIssuer::new();
    let text = format!(
        "shards = 1\npin = false\nlog = \"trace\"\n{}{}",
        Gateway::listener("log!ws!log!tcp"),
        routes(&issuer, "")
    );
    let launch = Launch::new().config(&text).listen("127.0.0.1:0").admin();
    let gateway = launch.variable("TIDEGATE_TEST_ADA", STATIC).start();
    let good = issuer.token(Signed::ByKey, "ada");
    let (mut peer, _) = speaks(&gateway, "/rooms/a", &good);
    let fresh = issuer.sign(Signed::ByKey, &json!({"sub": "ada", "exp": now() + 7200}));
    let told = answer(&mut peer, &json!({"type": "refresh", "id": 1, "token": fresh}));
    assert_eq!(told["type"], "refreshed");
    let path = format!("/v1/connections/{}/token", only_id(&gateway));
    assert_eq!(ask(&gateway, "POST", &path, &json!({"token": good})).status, 200);
    revoke(&gateway, &json!({"jti": "an-id-of-a-token", "issuer": "jwt"}));
    let log = gateway.terminate();
    for token in [&good, &fresh] {
        let signature = token.rsplit('.').next().expect("three parts");
        assert!(!log.contains(signature), "{log}");
    }
    assert!(!log.contains("an-id-of-a-token"), "{log}");
    assert!(log.contains("tokens of one id by jwt"), "{log}");
}

/// Lets everybody in, or answers, but later.
struct Later(Sender<Ticket>);

impl Handler for Later {
    fn request(&mut self, _: &handler::Request<'_>, _: &mut Desk<'_>) -> Decision {
        let asks = self.0.clone();
        Decision::later(move |ticket| asks.send(ticket).expect("somebody listens"))
    }

    fn decided(&mut self, _: &handler::Request<'_>, found: Finding, _: &mut Desk<'_>) -> Decision {
        match found.take() {
            Some(true) => Admission::default().into(),
            _ => Response::new(203, Body::Empty).expect("a response").into(),
        }
    }

    fn message(&mut self, context: &mut Context<'_, '_>, piece: Piece<'_>) {
        context.echo(piece).expect("there is room");
    }
}

#[test]
fn who_waits_for_a_decision_with_a_token_that_is_no_longer_good_is_refused() {
    let issuer = TokenIssuer::new();
    let (asks, questions) = mpsc::channel();
    let asks = Mutex::new(asks);
    let program = Program::default().handlers(move |_: &Route| {
        let asks = asks.lock().expect("nobody panicked").clone();
        Some(Box::new(Later(asks)) as Box<dyn Handler>)
    });
    let text = issuer.config("leeway = \"0s\"")
        + "[[route]]\npath = \"/\"\nhandler = \"embedded\"\nadmission = [\"jwt\"]\n";
    let gateway = HubGateway::start_with(1, &text, program);
    let handle = gateway.handle();
    // What happens before it is decided, and what then comes of it.
    for (what, is_open, expected) in [
        ("nothing", true, 101),
        ("nothing", false, 203),
        ("taken back", true, 401),
        ("taken back", false, 401),
        ("expired", true, 401),
        ("expired", false, 401),
    ] {
        for signed in BOTH {
            case(format!("{what} {is_open} {signed:?}"), || {
                let until = now() + if what == "expired" { 2 } else { 60 };
                let token = issuer.sign(signed, &json!({"sub": "ada", "exp": until}));
                let mut peer = Peer::try_connect(gateway.address()).expect("it listens");
                peer.request(&with_token("/", &token));
                let ticket = questions.recv_timeout(PATIENCE).expect("its handler is asked");
                let order = RevocationOrder {
                    tokens: TokensOf::User(name("ada")),
                    issuer: None,
                    issued_before: None,
                    until: Duration::from_secs(now() + 60),
                };
                let taken = (what == "taken back").then(|| handle.revoke(order).expect("room"));
                while what == "expired" && now() < until {
                    thread::sleep(Duration::from_millis(20));
                }
                gateway.door.found(ticket, is_open, |_| ());
                let response = peer.response_head();
                assert_eq!(response.status, expected);
                if let Some(taken) = taken {
                    assert!(handle.withdraw_revocation(taken.revocation.number).is_some());
                }
            });
        }
    }
}

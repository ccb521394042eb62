//! Who is let in by a token (JWT, RFC 7519), what one lets its bearer do, and for how long.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate::hub::ConnectionFilter;
use tidegate_tests::hub::{HubGateway, name};
use tidegate_tests::tokens::{Signed, TokenIssuer, now};
use tidegate_tests::{Gateway, Launch, Peer, Request, case};

const BOTH: [Signed; 2] = [Signed::ByKey, Signed::BySecret];

/// A gateway with routes that want tokens, and one that does not.
fn routes(issuer: &TokenIssuer, more: &str) -> String {
    issuer.config(more)
        + r#"
[[route]]
path = "/open"
handler = "echo"
[[route]]
path = "/echo"
handler = "echo"
admission = ["jwt"]
[[route]]
path = "/rooms/{room}"
handler = "hub?topic=rooms/{room}"
subscribe = ["news/*"]
admission = ["origin", "jwt"]
[[route]]
path = "/page"
handler = "static"
admission = ["jwt"]
[[route]]
path = "/shown"
handler = "echo"
admission = ["certificate"]
"#
}

fn with_token(path: &str, token: &str) -> Request {
    Request::open(path).with("Authorization", &format!("Bearer {token}"))
}

/// The status that a request is answered with; one that opens is served.
fn status(gateway: &Gateway, request: &Request) -> u16 {
    let mut peer = Peer::connect(gateway);
    peer.request(request);
    peer.response_head().status
}

#[test]
fn who_has_a_token_is_let_in_and_who_has_none_is_told() {
    let issuer = TokenIssuer::new();
    let gateway = Gateway::start(&routes(&issuer, ""));
    for signed in BOTH {
        case(format!("{signed:?}"), || {
            let token = issuer.token(signed, "ada");
            let (mut peer, _) = Peer::open_with(&gateway, &with_token("/echo", &token));
            peer.echo("let in");
            let request = Request::plain("GET", "/page");
            let request = request.with("Authorization", &format!("Bearer {token}"));
            assert_eq!(status(&gateway, &request), 200);
        });
    }
    Peer::open(&gateway, "/open").echo("without one");
    let mut peer = Peer::connect(&gateway);
    peer.request(&Request::open("/echo"));
    let refusal = peer.expect_refusal(401);
    assert_eq!(refusal.header("WWW-Authenticate"), Some("Bearer"));
    assert!(String::from_utf8_lossy(&refusal.body).contains("there is no token"));
    gateway.expect_log(&["tidegate::refused", "reason=\"token\"", "status=401", "path=\"/echo\""]);
    assert_eq!(status(&gateway, &Request::plain("GET", "/page")), 401);
    assert_eq!(status(&gateway, &Request::open("/shown")), 403, "by no TLS");
    gateway.expect_counter("refused", 3);
    gateway.expect_counter("tokens_verified", 2);
    gateway.expect_counter("tokens_remembered", 2);
    gateway.expect_counter("decided_later", 1);
}

#[test]
fn tokens_that_are_not_good_are_refused_and_say_why() {
    let (issuer, other) = (TokenIssuer::new(), TokenIssuer::new());
    let gateway = Gateway::start(&routes(&issuer, "issuers = [\"us\"]\nleeway = \"0s\""));
    let good = json!({"sub": "ada", "exp": now() + 3600, "iss": "us"});
    let but = |key: &str, value: Value| {
        let mut claims = good.clone();
        claims[key] = value;
        claims
    };
    for signed in BOTH {
        assert_eq!(status(&gateway, &with_token("/echo", &issuer.sign(signed, &good))), 101);
        for (token, why) in [
            (other.sign(signed, &good), "the token's signature is wrong"),
            (issuer.sign(signed, &but("exp", json!(now() - 1))), "the token has expired"),
            (issuer.sign(signed, &but("nbf", json!(now() + 60))), "does not hold yet"),
            (issuer.sign(signed, &but("iss", json!("them"))), "of an issuer that is not taken"),
            (issuer.sign(signed, &but("aud", json!("x"))), "the token is for others"),
            (issuer.sign(signed, &but("sub", json!(""))), "lacks a claim"),
            (issuer.sign(signed, &but("subscribe", json!("a**"))), "lacks a claim"),
            ("a.b.c".into(), "the token is none"),
        ] {
            case(format!("{signed:?} {why}"), || {
                let mut peer = Peer::connect(&gateway);
                peer.request(&with_token("/echo", &token));
                let refusal = peer.expect_refusal(401);
                let challenge = refusal.header("WWW-Authenticate").expect("a challenge");
                assert_eq!(challenge, "Bearer error=\"invalid_token\"");
                let body = String::from_utf8_lossy(&refusal.body).into_owned();
                assert!(body.contains(why), "{body}");
            });
        }
    }
    let twice = with_token("/echo", "a.b.c").with("Authorization", "Bearer a.b.c");
    assert_eq!(status(&gateway, &twice), 400);
}

#[test]
fn a_token_may_be_where_its_issuer_says_and_nowhere_else() {
    let issuer = TokenIssuer::new();
    let token = issuer.token(Signed::BySecret, "ada");
    let offered = |before: &str| format!("{before}bearer, {token}");
    let by = |place: &str| match place {
        "bearer" => with_token("/echo", &token),
        "query.token" => Request::open(&format!("/echo?a=b&token={token}")),
        "cookie.t" => Request::open("/echo").with("Cookie", &format!("a=b; t={token}")),
        _ => Request::open("/echo").with("Sec-WebSocket-Protocol", &offered("")),
    };
    let places = ["bearer", "query.token", "cookie.t", "subprotocol"];
    for place in places {
        let gateway = Gateway::start(&routes(&issuer, &format!("from = [{place:?}]")));
        for other in places {
            let expected = if place == other { 101 } else { 401 };
            case(format!("{place} {other}"), || {
                assert_eq!(status(&gateway, &by(other)), expected);
            });
        }
        if place != "subprotocol" {
            continue;
        }
        let selected = |path: &str, offered: &str| {
            let request = Request::open(path).with("Sec-WebSocket-Protocol", offered);
            let (_, response) = Peer::open_with(&gateway, &request);
            response.header("Sec-WebSocket-Protocol").map(str::to_owned)
        };
        assert_eq!(selected("/echo", &offered("")).as_deref(), Some("bearer"));
        assert_eq!(selected("/echo", &offered("chat, ")).as_deref(), Some("bearer"));
        let commands = selected("/rooms/a", &offered("tidegate.v1, "));
        assert_eq!(commands.as_deref(), Some("tidegate.v1"));
        assert_eq!(selected("/open", &offered("")), None, "it asks for no token");
    }
}

/// What a client that speaks commands is told next.
fn event(peer: &mut Peer) -> Value {
    let (_, bytes) = peer.message();
    serde_json::from_slice(&bytes).expect("JSON")
}

#[test]
fn what_a_token_says_of_topics_holds_for_path_and_commands() {
    let issuer = TokenIssuer::new();
    let gateway = Gateway::start(&routes(&issuer, ""));
    let claims = json!({
        "sub": "ada", "exp": now() + 60,
        "subscribe": ["rooms/a", "rooms/b"], "publish": ["rooms/b", "{user}/*"],
    });
    for signed in BOTH {
        let token = issuer.sign(signed, &claims);
        assert_eq!(status(&gateway, &with_token("/rooms/c", &token)), 403);
        // What is sent on its own topic, without commands.
        let (mut peer, _) = Peer::open_with(&gateway, &with_token("/rooms/a", &token));
        peer.text("I may not");
        peer.expect_close(1008);
        let (mut peer, _) = Peer::open_with(&gateway, &with_token("/rooms/b", &token));
        peer.text("I may");
        peer.expect_text("I may");
        let speaks = with_token("/rooms/a", &token).with("Sec-WebSocket-Protocol", "tidegate.v1");
        let (mut peer, _) = Peer::open_with(&gateway, &speaks);
        let hello = event(&mut peer);
        assert_eq!((&hello["type"], &hello["user"]), (&json!("hello"), &json!("ada")));
        assert_eq!(event(&mut peer)["type"], "subscribed");
        for (id, (command, topic, is_let)) in [
            ("subscribe", "rooms/b", true),
            ("subscribe", "rooms/c", false),
            ("subscribe", "news/1", true),
            ("publish", "rooms/a", false),
            ("publish", "rooms/c", false),
            ("publish", "ada/1", true),
            ("publish", "bob/1", false),
            ("history", "rooms/c", false),
        ]
        .into_iter()
        .enumerate()
        {
            case(format!("{signed:?} {command} {topic}"), || {
                let mut command = json!({"type": command, "id": id, "topic": topic});
                if command["type"] == "publish" {
                    command["text"] = "x".into();
                }
                peer.text(&command.to_string());
                let answer = loop {
                    let event = event(&mut peer);
                    if event["id"] == json!(id) {
                        break event;
                    }
                };
                let code = answer["code"].as_str();
                assert_eq!(code == Some("not_allowed"), !is_let, "{answer}");
                assert_eq!(code.is_none(), is_let, "{answer}");
            });
        }
    }
}

#[test]
fn a_connection_ends_with_its_token_and_not_before() {
    let issuer = TokenIssuer::new();
    let gateway = Gateway::start(&routes(&issuer, "leeway = \"1s\"\nexpired = 4444"));
    let stays: Vec<Peer> = BOTH
        .into_iter()
        .map(|signed| {
            let until = now() + 2;
            let open = |claims: &Value, path: &str| {
                let token = issuer.sign(signed, claims);
                Peer::open_with(&gateway, &with_token(path, &token)).0
            };
            let (short, long) =
                (json!({"sub": "ada", "exp": until}), json!({"sub": "bob", "exp": until + 3600}));
            let (mut echo, mut room) = (open(&short, "/echo"), open(&short, "/rooms/a"));
            let stays = open(&long, "/echo");
            for peer in [&mut echo, &mut room] {
                let said = peer.expect_close(4444);
                assert!(said.starts_with("token_expired"), "{said}");
                assert!(now() > until, "with the leeway");
            }
            stays
        })
        .collect();
    for mut peer in stays {
        peer.echo("it holds");
    }
    gateway.expect_counter("tokens_expired", 4);
}

#[test]
fn a_token_names_the_user_on_every_route() {
    let issuer = TokenIssuer::new();
    let gateway = HubGateway::start(2, &routes(&issuer, ""));
    let mut peers = Vec::new();
    for path in ["/echo", "/rooms/a"] {
        for user in ["ada", "bob"] {
            let token = issuer.token(Signed::ByKey, user);
            peers.push(Peer::open_at(gateway.address(), &with_token(path, &token)).0);
        }
    }
    let filter = ConnectionFilter { user: Some(name("ada")), ..ConnectionFilter::default() };
    assert_eq!(gateway.connections(&filter).len(), 2);
    let told = gateway.publish(tidegate_tests::hub::user("ada"), "for ada");
    assert_eq!(told, 2);
    for at in [0, 2] {
        peers[at].expect_text("for ada");
    }
    drop(peers);
    gateway.expect_rest(0);
}

#[test]
fn tokens_reach_no_log() {
    let issuer = TokenIssuer::new();
    let from = "from = [\"bearer\", \"subprotocol\", \"cookie.t\", \"query.token\"]";
    let launch = Launch::new().config(&format!(
        "{}\n{}",
        routes(&issuer, from),
        Gateway::listener("log!ws!log!tcp")
    ));
    let gateway = launch.variable("TIDEGATE_LOG", "trace").start();
    let good = issuer.token(Signed::ByKey, "ada");
    let bad = format!("{}x", issuer.token(Signed::BySecret, "a very long name of a user"));
    for token in [&good, &bad] {
        for request in [
            with_token("/echo", token),
            Request::open(&format!("/echo?token={token}")),
            Request::open(&format!("/nowhere?{token}")),
            Request::open("/echo").with("Cookie", &format!("t={token}")),
            Request::open("/echo").with("Sec-WebSocket-Protocol", &format!("bearer, {token}")),
        ] {
            status(&gateway, &request);
        }
    }
    gateway.expect_log(&["asked", "query=\"token=…\""]);
    gateway.expect_log(&["asked", "subprotocols=\"bearer, …\""]);
    let log = gateway.terminate();
    for token in [&good, &bad] {
        let signature = token.rsplit('.').next().expect("three parts");
        assert!(!log.contains(signature), "{log}");
    }
}

#[test]
fn keys_that_cannot_be_used_keep_a_gateway_from_starting() {
    let issuer = TokenIssuer::new();
    let config = routes(&issuer, "");
    std::fs::write(issuer.key_file(), "no key").expect("a file");
    let exited = Launch::new().config(&config).run();
    assert_ne!(exited.code, Some(0));
    let file = issuer.key_file().display().to_string();
    let said = ["jwt jwt: ", &file, "it has no `BEGIN PUBLIC KEY`"];
    assert!(said.iter().all(|words| exited.stderr.contains(words)), "{}", exited.stderr);
    let checked = Launch::new().config(&config).argument("--check").run();
    assert_ne!(checked.code, Some(0), "a check finds it out: {}", checked.stdout);
}

#[test]
fn many_tokens_at_once_are_verified_in_time_and_shards_go_on() {
    let issuer = TokenIssuer::new();
    let gateway = Gateway::start(&format!("verifications = 8\n{}", routes(&issuer, "")));
    let mut others = Peer::open(&gateway, "/open");
    let users = 64;
    let mut peers: Vec<Peer> = (0..users).map(|_| Peer::connect(&gateway)).collect();
    for (user, peer) in peers.iter_mut().enumerate() {
        let token = issuer.token(Signed::ByKey, &format!("user-{user}"));
        peer.request(&with_token("/echo", &token));
    }
    others.echo("meanwhile");
    let (mut opened, mut refused) = (0, 0);
    for peer in &mut peers {
        let response = peer.response_head();
        match response.status {
            101 => opened += 1,
            503 => {
                assert!(response.header("Retry-After").is_some());
                refused += 1;
            }
            other => panic!("answered with {other}"),
        }
    }
    assert_eq!(opened + refused, users as u64);
    assert!(opened >= 8, "as many as may wait: {opened}");
    gateway.expect_counter("tokens_verified", opened);
    gateway.expect_counter("tokens_unverified", refused);
    std::thread::sleep(Duration::from_millis(1));
    others.echo("behind them");
}

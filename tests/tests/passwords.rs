//! Who is let in by a user and a password (RFC 7617), what that costs, and whom it keeps waiting.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tidegate_tests::admin::{ask, json_of};
use tidegate_tests::tokens::{Signed, TokenIssuer};
use tidegate_tests::{
    Exposition, Gateway, Launch, PATIENCE, Peer, Request, Signal, case, wait_until,
};

/// What each user has for a password here, and what it hashes to, at little cost and at much.
const PASSWORD: &str = "open sesame: \u{e4}";
const BCRYPT: &str = "$2y$04$EGdrhbKUv8Oc9vGiXX0HQOWZ7wAf2dzEyg1XREnI3OPtjlIawxkX.";
const ARGON2: &str = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQxMjM0NTY3OA$\
                      rCV8b98fYOs6wNy8EFhAARlGU0yG/OeYid2liNaj7vM";
const SCRYPT: &str = "$scrypt$ln=5,r=2,p=1$c29tZXNhbHQxMjM0NTY3OA$\
                      q+sfeZl96XzP8WNnJMkHhRIZcJsgVxOxLxUpnkUgx4o";
const SLOW: &str = "$2b$12$EGdrhbKUv8Oc9vGiXX0HQO/QgRlRKxJ82V1pHGC8jA4hkutB9302S";
const SLOWEST: &str = "$2b$13$EGdrhbKUv8Oc9vGiXX0HQOmi4befzhXP9eXa9heh7uYp/AAKNVqIi";

/// A file of passwords, removed at the end.
struct UserFile(PathBuf);

impl UserFile {
    fn new(users: &[(&str, &str)]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tidegate-users-{}-{number}", std::process::id());
        let file = Self(std::env::temp_dir().join(name));
        file.write(users);
        file
    }

    fn write(&self, users: &[(&str, &str)]) {
        let lines: String = users.iter().map(|(user, hash)| format!("{user}:{hash}\n")).collect();
        fs::write(&self.0, lines).expect("it is writable");
    }

    /// Routes that want a password, and one that does not.
    fn config(&self, more: &str) -> String {
        format!(
            r#"
[[passwords]]
file = "{}"
realm = "Staff only"
{more}
[[route]]
path = "/open"
handler = "echo"
[[route]]
path = "/echo"
handler = "echo"
admission = ["basic"]
[[route]]
path = "/rooms/{{room}}"
handler = "hub?topic=rooms/{{room}}&publish=users"
subscribe = ["own/{{user}}"]
admission = ["basic"]
[[route]]
path = "/page"
handler = "static"
admission = ["basic"]
"#,
            self.0.display()
        )
    }
}

impl Drop for UserFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn all_kinds() -> UserFile {
    UserFile::new(&[("ada", BCRYPT), ("b\u{f6}b", ARGON2), ("c d", SCRYPT)])
}

const ONE_SHARD: &str = "shards = 1\npin = false\n";

fn start(config: &str) -> Gateway {
    Launch::new().config(&format!("{ONE_SHARD}{config}")).listen("127.0.0.1:0").admin().start()
}

fn authorization(text: impl AsRef<[u8]>) -> String {
    format!("Basic {}", STANDARD.encode(text))
}

fn by(path: &str, user: &str, password: &str) -> Request {
    let value = authorization(format!("{user}:{password}"));
    Request::open(path).with("Authorization", &value)
}

fn status(gateway: &Gateway, request: &Request) -> u16 {
    let mut peer = Peer::connect(gateway);
    peer.request(request);
    peer.response_head().status
}

/// What a family without labels is at.
fn metric(gateway: &Gateway, name: &str) -> f64 {
    let answer = ask(gateway, "GET", "/metrics", &Value::Null);
    Exposition::read(&String::from_utf8_lossy(&answer.body)).expect("metrics").get(name)
}

#[test]
fn who_has_the_password_is_let_in_and_nobody_else() {
    let file = all_kinds();
    let gateway = start(&file.config(""));
    let mut refused = 0;
    for (user, password, expected) in [
        ("ada", PASSWORD, 101),
        ("b\u{f6}b", PASSWORD, 101),
        ("c d", PASSWORD, 101),
        ("ada", "", 401),
        ("ada", &PASSWORD[1..], 401),
        ("ada", "open sesame: a\u{308}", 401),
        ("Ada", PASSWORD, 401),
        ("nobody", PASSWORD, 401),
        ("nobody", "x", 401),
        ("", PASSWORD, 401),
    ] {
        case(format!("{user} {password}"), || {
            assert_eq!(status(&gateway, &by("/echo", user, password)), expected);
        });
        refused += u64::from(expected == 401);
    }
    assert_eq!(status(&gateway, &by("/open", "nobody", "x")), 101, "it asks for none");
    let page = Request::plain("GET", "/page");
    assert_eq!(status(&gateway, &page), 401);
    let page = page.with("Authorization", &authorization(format!("ada:{PASSWORD}")));
    assert_eq!(status(&gateway, &page), 200);
    gateway.expect_counter("tidegate_refusals_total{reason=\"password\"}", refused + 1);
    // That without a user is none, and ada's was hashed before.
    gateway.expect_counter("passwords_hashed", 9);
    gateway.expect_counter("passwords_remembered", 1);
    gateway.expect_log(&["tidegate::refused", "reason=\"password\"", "status=401"]);
}

#[test]
fn who_is_refused_is_told_what_is_wanted() {
    let file = all_kinds();
    let gateway = start(&file.config(""));
    let good = authorization(format!("ada:{PASSWORD}"));
    let asked = |lines: &[&str], status: u16| {
        let request = lines
            .iter()
            .fold(Request::open("/echo"), |request, value| request.with("Authorization", value));
        let mut peer = Peer::connect(&gateway);
        peer.request(&request);
        let refusal = peer.expect_refusal(status);
        let body = String::from_utf8_lossy(&refusal.body).into_owned();
        (refusal.header("WWW-Authenticate").map(str::to_owned), body)
    };
    for (value, why) in [
        ("", "there is no password"),
        ("Bearer abc", "there is no password"),
        ("Digest username=\"ada\"", "there is no password"),
        (&*format!("Bearer {}", &good[6..]), "there is no password"),
        ("Basic", "no user and password"),
        ("Basic !!!!", "no user and password"),
        (good.trim_end_matches('='), "no user and password"),
        (&authorization("no colon"), "no user and password"),
        (&authorization(":x"), "no user and password"),
        (&authorization(b"ada:\xe4"), "no user and password"),
        (&authorization(b"ada:x\0"), "no user and password"),
        (&authorization("ada:x"), "no such user with this password"),
    ] {
        case(value, || {
            let lines: &[&str] = if value.is_empty() { &[] } else { &[value] };
            let (challenge, body) = asked(lines, 401);
            let expected = "Basic realm=\"Staff only\", charset=\"UTF-8\"";
            assert_eq!(challenge.as_deref(), Some(expected));
            assert!(body.contains(why), "{body}");
        });
    }
    assert_eq!(asked(&[&good, &good], 400).0, None);
    assert_eq!(asked(&["Bearer abc", &good], 400).0, None);
}

#[test]
fn a_user_is_who_the_hub_knows_it_by() {
    let file = all_kinds();
    let gateway = start(&file.config(""));
    let request = by("/rooms/a", "ada", PASSWORD);
    let request = request.with("Sec-WebSocket-Protocol", "tidegate.v1");
    let (mut peer, _) = Peer::open_with(&gateway, &request);
    let hello: Value = serde_json::from_slice(&peer.message().1).expect("JSON");
    assert_eq!(hello["user"], "ada", "{hello}");
    let listed = json_of(&ask(&gateway, "GET", "/v1/connections?user=ada", &Value::Null));
    assert_eq!(listed["connections"].as_array().map(Vec::len), Some(1), "{listed}");
    let config = json_of(&ask(&gateway, "GET", "/v1/config", &Value::Null));
    assert_eq!(config["passwords"][0]["realm"], "Staff only");
    assert!(!config.to_string().contains("$2y$"), "{config}");
}

#[test]
fn only_so_many_wait_and_tokens_do_not_wait_with_them() {
    let (file, issuer) = (UserFile::new(&[("ada", SLOW)]), TokenIssuer::new());
    let token_route = "[[route]]\npath = '/token'\nhandler = 'echo'\nadmission = ['jwt']\n";
    let gateway = start(&format!(
        "{}{}{token_route}[hashing]\nwaiting = 4\n",
        file.config(""),
        issuer.config("")
    ));
    let mut others = Peer::open(&gateway, "/open");
    let mut peers: Vec<Peer> = (0..12).map(|_| Peer::connect(&gateway)).collect();
    for (number, peer) in peers.iter_mut().enumerate() {
        peer.request(&by("/echo", "nobody", &number.to_string()));
    }
    others.echo("meanwhile");
    let token = issuer.token(Signed::ByKey, "ada");
    let request = Request::open("/token").with("Authorization", &format!("Bearer {token}"));
    let (mut peer, _) = Peer::open_with(&gateway, &request);
    peer.echo("meanwhile");
    // Somebody waits still: whose requests were read first is the kernel's affair.
    let waits = peers.iter_mut().any(|peer| {
        peer.set_patience(Duration::from_millis(1));
        let unanswered = peer.try_peek().is_err();
        peer.set_patience(PATIENCE);
        unanswered
    });
    assert!(waits, "everybody is answered before the token");
    let (mut hashed, mut busy) = (0, 0);
    for peer in &mut peers {
        let response = peer.response_head();
        match response.status {
            401 => hashed += 1,
            503 | 429 => {
                assert!(response.header("Retry-After").is_some());
                busy += 1;
            }
            other => panic!("answered with {other}"),
        }
    }
    assert!(hashed >= 4 && busy > 0, "{hashed} {busy}");
    gateway.expect_counter("passwords_hashed", hashed);
    gateway.expect_counter("passwords_unhashed", busy);
    assert_eq!(metric(&gateway, "tidegate_passwords_waiting"), 0.0);
}

#[test]
fn one_address_keeps_no_other_waiting() {
    let file = UserFile::new(&[("ada", SLOW)]);
    let gateway = start(&format!("{}[hashing]\nwaiting_per_address = 1\n", file.config("")));
    let mut peers: Vec<Peer> = (0..3).map(|_| Peer::connect(&gateway)).collect();
    for peer in &mut peers {
        peer.request(&by("/echo", "nobody", "x"));
    }
    let from = "127.0.0.2".parse().expect("an address");
    let mut other = Peer::try_connect_from(from, gateway.address()).expect("it listens");
    other.request(&by("/echo", "ada", PASSWORD));
    let mut statuses: Vec<u16> = peers.iter_mut().map(|peer| peer.response_head().status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [401, 429, 429]);
    other.expect_open();
    gateway.expect_counter("tidegate_refusals_total{reason=\"address_rate\"}", 2);
}

#[test]
fn nothing_is_hashed_for_who_has_left() {
    let file = UserFile::new(&[("ada", SLOWEST)]);
    let gateway = start(&format!("{}[hashing]\nwaiting_per_address = 8\n", file.config("")));
    let mut peers: Vec<Peer> = (0..8).map(|_| Peer::connect(&gateway)).collect();
    for peer in &mut peers {
        peer.request(&by("/echo", "nobody", "x"));
    }
    gateway.expect_counter_from("undecided", 6);
    peers.into_iter().for_each(Peer::reset);
    gateway.expect_counter("connections", 0);
    // One is being hashed, and perhaps the next one.
    wait_until("all are hashed or given up", || {
        (metric(&gateway, "tidegate_passwords_waiting") == 0.0).then_some(())
    });
    assert!(metric(&gateway, "tidegate_passwords_given_up_total") >= 5.0);
    assert!(gateway.counters().get("passwords_hashed") <= 3);
}

#[test]
fn who_comes_back_costs_no_hash_until_the_file_changes() {
    let file = UserFile::new(&[("ada", BCRYPT), ("bob", BCRYPT)]);
    let config = file.config("");
    let gateway = start(&config);
    let ada = by("/echo", "ada", PASSWORD);
    for _ in 0..5 {
        assert_eq!(status(&gateway, &ada), 101);
    }
    gateway.expect_counter("passwords_hashed", 1);
    gateway.expect_counter("passwords_remembered", 4);
    let (mut stays, _) = Peer::open_with(&gateway, &ada);
    let reload = |gateway: &Gateway| ask(gateway, "POST", "/v1/reload", &json!({}));
    // Nothing has changed, and nothing is forgotten.
    assert_eq!(reload(&gateway).status, 200);
    assert_eq!(status(&gateway, &ada), 101);
    gateway.expect_counter("passwords_hashed", 1);
    file.write(&[("bob", BCRYPT)]);
    assert_eq!(reload(&gateway).status, 200);
    assert_eq!(status(&gateway, &ada), 401);
    assert_eq!(status(&gateway, &by("/echo", "bob", PASSWORD)), 101);
    stays.echo("who is there stays");
    // One that is wrong changes nothing.
    file.write(&[("bob", BCRYPT), ("ada", "hunter2")]);
    let refused = reload(&gateway);
    let told = json_of(&refused).to_string();
    assert_eq!(refused.status, 422, "{told}");
    assert!(told.contains("passwords passwords: ") && told.contains("line 2: "), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
    assert_eq!(status(&gateway, &by("/echo", "bob", PASSWORD)), 101);
    file.write(&[("ada", ARGON2)]);
    gateway.signal(Signal::HUP);
    wait_until("bob is gone", || {
        (status(&gateway, &by("/echo", "bob", PASSWORD)) == 401).then_some(())
    });
    assert_eq!(status(&gateway, &ada), 101);
}

#[test]
fn what_is_not_to_be_remembered_is_hashed_each_time() {
    let file = all_kinds();
    let gateway = start(&file.config("remember = \"off\""));
    for _ in 0..3 {
        assert_eq!(status(&gateway, &by("/echo", "ada", PASSWORD)), 101);
    }
    gateway.expect_counter("passwords_hashed", 3);
}

#[test]
fn passwords_reach_no_log() {
    let file = all_kinds();
    let config = format!("{ONE_SHARD}{}{}", Gateway::listener("log!ws!log!tcp"), file.config(""));
    let launch = Launch::new().config(&config).listen("127.0.0.1:0");
    let gateway = launch.variable("TIDEGATE_LOG", "trace").start();
    for (user, password) in [("ada", PASSWORD), ("ada", "sesame-wrong"), ("nobody", "sesame")] {
        status(&gateway, &by("/echo", user, password));
        let page = Request::plain("GET", "/page");
        let value = authorization(format!("{user}:{password}"));
        status(&gateway, &page.with("Authorization", &value));
    }
    status(&gateway, &Request::open("/echo").with("Authorization", "Basic sesame"));
    let log = gateway.terminate();
    assert!(log.contains("refused"), "{log}");
    for secret in ["sesame", &authorization(format!("ada:{PASSWORD}"))[6..], "$2y$", "$argon2id$"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}

#[test]
fn files_that_cannot_be_used_keep_a_gateway_from_starting() {
    let file = UserFile::new(&[
        ("ada", BCRYPT),
        ("bob", "$2y$15$EGdrhbKUv8Oc9vGiXX0HQOWZ7wAf2dzEyg1XREnI3OPtjlIawxkX."),
    ]);
    for check in [false, true] {
        let launch = Launch::new().config(&file.config(""));
        let launch = if check { launch.argument("--check") } else { launch };
        let exited = launch.run();
        assert_ne!(exited.code, Some(0), "{}", exited.stdout);
        let words = "line 2: its cost must be between 4 and 13, is 15";
        assert!(exited.stderr.contains(words), "{}", exited.stderr);
        assert!(!exited.stderr.contains("EGdrh"), "{}", exited.stderr);
    }
}

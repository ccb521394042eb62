//! Taking the configuration over anew while the gateway runs.

use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_tests::admin::{ask, json_of};
use tidegate_tests::reload::{ALL, echo, refused, reload, reload_with, start, status, status_of};
use tidegate_tests::tokens::{Signed, TokenIssuer};
use tidegate_tests::{Frame, Gateway, Launch, PING, PONG, Peer, Request, Signal, TEXT, wait_until};

#[test]
fn routes_come_and_go_and_connections_stay() {
    let gateway = start(&(echo("/a", "") + &echo("/b", "")));
    let mut peers: Vec<Peer> = (0..8).map(|_| Peer::open(&gateway, "/a")).collect();
    let [changed, left] = reload_with(&gateway, &(echo("/b", "") + &echo("/c", "")), &json!({}));
    assert_eq!((changed, left.len()), (vec!["route /a".into(), "route /c".into()], 0));
    assert_eq!(["/a", "/b", "/c"].map(|path| status(&gateway, path)), [404, 101, 101]);
    for peer in &mut peers {
        peer.echo("still here");
    }
    let listed = json_of(&ask(&gateway, "GET", "/v1/connections?route=/a", &Value::Null));
    assert_eq!(listed["connections"].as_array().map(Vec::len), Some(8), "{listed}");
    assert_eq!(listed["connections"][0]["route"], "/a");
    gateway.expect_counter_from("routes_gone", 1);
    // It comes back, and those who are there have nothing to do with it.
    reload(&gateway, &echo("/a", ""));
    assert_eq!(["/a", "/b", "/c"].map(|path| status(&gateway, path)), [101, 404, 404]);
    for peer in &mut peers {
        peer.echo("still here");
    }
    drop(peers);
    gateway.expect_counter("routes_gone", 0);
}

#[test]
fn who_is_there_has_what_its_route_says_from_now_on() {
    let gateway = start(&echo("/a", "max_message = 100\nmax_buffered_message = 100\n"));
    let mut peers = [Peer::open(&gateway, "/a"), Peer::open(&gateway, "/a")];
    peers[0].echo(&"x".repeat(100));
    reload(&gateway, &echo("/a", "max_message = 1000\nmax_buffered_message = 1000\n"));
    peers[0].echo(&"x".repeat(1000));
    reload(&gateway, &echo("/a", "max_message = 10\nmax_buffered_message = 10\n"));
    peers[0].echo(&"x".repeat(10));
    peers[0].text(&"x".repeat(11));
    peers[0].expect_close(1009);
    peers[1].echo("short");
}

#[test]
fn what_clients_may_send_changes_and_so_does_how_many_there_may_be() {
    let gateway = start(&echo("/a", ""));
    let mut early = Peer::open(&gateway, "/a");
    let few =
        echo("/a", "connections = 2\nmessage_rate = 5\nmessage_burst = 5\nover_rate = 'close'\n");
    reload(&gateway, &few);
    // Who came before is not among those who are counted, nor has it an allotment.
    let _two = [Peer::open(&gateway, "/a"), Peer::open(&gateway, "/a")];
    assert_eq!(status(&gateway, "/a"), 503);
    for _ in 0..20 {
        early.echo("as many as it will");
    }
    // Those who are there count for the new limit.
    reload(&gateway, &few.replace("connections = 2", "connections = 3"));
    let mut third = Peer::open(&gateway, "/a");
    assert_eq!(status(&gateway, "/a"), 503);
    for _ in 0..20 {
        third.frame(&Frame::text("too many"));
    }
    wait_until("it is closed", || (third.read_frame().opcode == 8).then_some(()));
    early.echo("still here");
}

#[test]
fn a_wrong_configuration_changes_nothing_and_says_why() {
    let good = echo("/a", "");
    let gateway = start(&good);
    let mut peer = Peer::open(&gateway, "/a");
    let said = refused(&gateway, &(echo("/b", "") + "backlogg = 1\n"));
    assert!(said.contains("tidegate.toml:6: route[0].backlogg"), "{said}");
    let said = refused(&gateway, "[[route]]\npath = '/b'\nhandler = 'embedded'\n");
    assert!(said.contains("embedded"), "{said}");
    let token = "[[jwt]]\nname = 'a'\nkeys = ['/nowhere/key.pem']\n";
    let said = refused(&gateway, &format!("{token}{good}admission = ['jwt']\n"));
    assert!(said.contains("/nowhere/key.pem"), "{said}");
    let said = refused(&gateway, &format!("memory = '16MiB'\n{good}"));
    assert!(said.contains("memory"), "{said}");
    // By a signal it is the same, and the log says it.
    gateway.signal(Signal::HUP);
    gateway.expect_log(&["ERROR", "the configuration stays as it is", "memory"]);
    assert_eq!(["/a", "/b"].map(|path| status(&gateway, path)), [101, 404]);
    peer.echo("nothing has happened");
    // The log has said the same of what the address was refused: the signal may be heard yet.
    wait_until("five were refused", || {
        let metrics = ask(&gateway, "GET", "/metrics", &Value::Null);
        let metrics = String::from_utf8(metrics.body).expect("text");
        metrics.contains("tidegate_config_reloads_total{result=\"refused\"} 5").then_some(())
    });
}

#[test]
fn a_signal_has_it_read_anew() {
    let gateway = start(&echo("/a", ""));
    gateway.rewrite(&format!("{ALL}log = 'debug'\n{}", echo("/b", "")));
    gateway.signal(Signal::HUP);
    gateway.expect_log(&["tidegate::reload", "3 differences are in force, 0 need a restart"]);
    gateway.expect_log(&["tidegate::reload", "route /a is removed"]);
    wait_until("it is among what has happened", || {
        let recent = json_of(&ask(&gateway, "GET", "/v1/recent", &Value::Null));
        let mut happenings = recent["happenings"].as_array().expect("a list").iter();
        assert!(happenings.clone().all(|one| one["what"] != "certificates"), "{recent}");
        happenings.any(|one| one["what"] == "configuration").then_some(())
    });
    assert_eq!(["/a", "/b"].map(|path| status(&gateway, path)), [404, 101]);
}

/// How many connections a shard may have, which open files may bound.
fn connections(gateway: &Gateway) -> Value {
    let config = json_of(&ask(gateway, "GET", "/v1/config", &Value::Null));
    let settings = config["settings"].as_array().expect("a list").iter();
    let mut found = settings.filter(|one| one["name"] == "limits.connections");
    found.next().expect("it is told")["value"].clone()
}

#[test]
fn what_needs_a_restart_is_named_and_stays() {
    let gateway = start(&echo("/a", ""));
    let before = connections(&gateway);
    let text = "[limits]\nconnections = 77\n[clients]\nplaces = 1024\n\
                [hub]\nmailbox = 32\n";
    let text = format!("log_format = 'json'\n{text}{}", echo("/b", ""));
    let dry = reload_with(&gateway, &text, &json!({"dry_run": true}));
    assert_eq!(["/a", "/b"].map(|path| status(&gateway, path)), [101, 404], "nothing was done");
    let [changed, left] = reload_with(&gateway, &text, &json!({}));
    assert_eq!(dry, [changed.clone(), left.clone()], "it was said before");
    assert_eq!(changed, ["route /a", "route /b"]);
    for key in ["limits.connections", "clients.places", "hub.mailbox"] {
        assert!(left.iter().any(|one| one == key), "{key}: {left:?}");
    }
    assert!(left.iter().any(|one| one == "log_format"), "{left:?}");
    assert_eq!(connections(&gateway), before);
    let config = json_of(&ask(&gateway, "GET", "/v1/config", &Value::Null));
    assert_eq!(config["routes"][0]["path"], "/b");
}

#[test]
fn who_is_on_a_route_that_goes_is_closed_if_that_is_asked_for() {
    let hub = "[[route]]\npath = '/rooms/{room}'\nhandler = 'hub?topic=rooms/{room}'\n";
    let gateway = start(&(echo("/a", "") + &echo("/b", "") + hub));
    let mut gone: Vec<Peer> = (0..20).map(|_| Peer::open(&gateway, "/a")).collect();
    gone.push(Peer::open(&gateway, "/rooms/x"));
    let mut stays = Peer::open(&gateway, "/b");
    reload_with(&gateway, &echo("/b", "backlog = '8MiB'\n"), &json!({"gone": "close"}));
    for peer in &mut gone {
        let reason = peer.expect_close(1012);
        assert!(reason.starts_with("route_gone"), "{reason}");
        peer.frame(&Frame::close(1012, ""));
    }
    stays.echo("still here");
    gateway.expect_counter("route_gone_closed", 21);
    gateway.expect_counter("routes_gone", 0);
}

#[test]
fn rights_on_topics_change_for_those_who_are_there() {
    let hub = |publish: &str| {
        format!(
            "[[route]]\npath = '/rooms/{{room}}'\n\
             handler = 'hub?topic=rooms/{{room}}&publish={publish}'\n"
        )
    };
    let gateway = start(&hub("anyone"));
    let mut peers = [Peer::open(&gateway, "/rooms/x"), Peer::open(&gateway, "/rooms/x")];
    peers[0].text("hello");
    peers[1].expect_text("hello");
    peers[0].expect_text("hello");
    reload(&gateway, &hub("nobody"));
    peers[0].text("no more");
    peers[0].expect_close(1008);
    reload(&gateway, &hub("anyone"));
    peers[1].text("again");
    peers[1].expect_text("again");
}

#[test]
fn what_is_kept_of_topics_changes_for_those_that_are_there() {
    let hub = "[[route]]\npath = '/rooms/{room}'\nhandler = 'hub?topic=rooms/{room}'\n";
    let gateway = start(hub);
    let mut peer = Peer::open(&gateway, "/rooms/x");
    let history = |count: usize| {
        let told = json_of(&ask(&gateway, "GET", "/v1/history?topic=rooms/x", &Value::Null));
        (told["messages"].as_array().map_or(0, Vec::len) == count).then_some(())
    };
    let publish = |text: &str| {
        let message = json!({"target": {"topic": "rooms/x"}, "text": text});
        assert_eq!(ask(&gateway, "POST", "/v1/publish", &message).status, 200);
    };
    publish("not kept");
    reload(&gateway, &format!("[[topic]]\nname = 'rooms/{{room}}'\nhistory = 2\n{hub}"));
    // A topic that is there is told at a tick.
    wait_until("messages are kept", || {
        publish("kept");
        history(2)
    });
    reload(&gateway, &format!("[[topic]]\nname = 'rooms/{{room}}'\nhistory = 1\n{hub}"));
    wait_until("fewer are", || {
        publish("kept");
        history(1)
    });
    peer.expect_text("not kept");
    peer.expect_text("kept");
}

#[test]
fn a_route_asks_for_tokens_from_now_on_and_keys_are_read_anew() {
    let issuer = TokenIssuer::new();
    let gateway = start(&echo("/a", ""));
    let mut early = Peer::open(&gateway, "/a");
    let with_token = |issuer: &TokenIssuer| {
        let token = issuer.token(Signed::ByKey, "ada");
        Request::open("/a").with("Authorization", &format!("Bearer {token}"))
    };
    let asks = |issuer: &TokenIssuer| issuer.config("") + &echo("/a", "admission = ['jwt']\n");
    reload(&gateway, &asks(&issuer));
    assert_eq!(status(&gateway, "/a"), 401);
    assert_eq!(status_of(&gateway, &with_token(&issuer)), 101, "it is verified by a thread");
    assert_eq!(status_of(&gateway, &with_token(&issuer)), 101, "it is remembered");
    let another = TokenIssuer::new();
    assert_eq!(status_of(&gateway, &with_token(&another)), 401);
    reload(&gateway, &asks(&another));
    assert_eq!(status_of(&gateway, &with_token(&issuer)), 401, "it is forgotten");
    assert_eq!(status_of(&gateway, &with_token(&another)), 101);
    early.echo("nobody has asked it for one");
    reload(&gateway, &echo("/a", ""));
    assert_eq!(status(&gateway, "/a"), 101);
}

#[test]
fn who_may_use_the_admin_address_changes() {
    let gateway = start(&echo("/a", ""));
    reload(&gateway, &format!("{}[admin]\ntokens = ['0123456789abcdef']\n", echo("/a", "")));
    assert_eq!(ask(&gateway, "GET", "/v1/overview", &Value::Null).status, 401);
}

#[test]
fn a_file_that_cannot_be_read_to_its_end_keeps_nothing_from_ending() {
    let issuer = TokenIssuer::new();
    let asks = issuer.config("") + &echo("/a", "admission = ['jwt']\n");
    let gateway = start(&asks);
    let fifo = issuer.key_file().with_file_name("fifo");
    let made = Command::new("mkfifo").arg(&fifo).status().expect("it runs");
    assert!(made.success());
    let other = format!("[[jwt]]\nkeys = ['{}']\n", fifo.display());
    gateway.rewrite(&format!("{ALL}{other}{}", echo("/a", "admission = ['jwt']\n")));
    gateway.signal(Signal::HUP);
    // Somebody reads it from here on, and gets nothing.
    let fifo = OpenOptions::new().write(true).open(&fifo).expect("it is opened to be read");
    let token = issuer.token(Signed::ByKey, "ada");
    let request = Request::open("/a").with("Authorization", &format!("Bearer {token}"));
    assert_eq!(status_of(&gateway, &request), 101, "all goes on as it was");
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait().code, Some(0));
    drop(fifo);
}

#[test]
fn an_empty_file_is_not_read_anew() {
    let gateway = start(&echo("/a", ""));
    gateway.rewrite("");
    let response = ask(&gateway, "POST", "/v1/reload", &json!({}));
    assert_eq!(response.status, 422);
    assert!(json_of(&response).to_string().contains("is empty"));
    assert_eq!(status(&gateway, "/a"), 101);
}

#[test]
fn drains_are_as_the_configuration_says_now() {
    let gateway = start(&echo("/a", ""));
    let mut peer = Peer::open(&gateway, "/a");
    reload(&gateway, &format!("drain_code = 4321\n{}", echo("/a", "")));
    gateway.signal(Signal::TERM);
    peer.agree_to_close(4321);
    assert_eq!(gateway.wait().code, Some(0));
}

#[test]
fn the_command_says_what_would_change_and_has_it_done() {
    let gateway = start(&echo("/a", ""));
    gateway.rewrite(&format!("{ALL}drain = '77s'\n{}", echo("/b", "")));
    let admin = gateway.admin_address().to_string();
    let run = |more: &[&str]| {
        let launch = Launch::new().admin_at(&admin).argument("reload");
        more.iter().fold(launch, |launch, one| launch.argument(*one)).run()
    };
    let told = run(&["--dry-run"]);
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    for words in ["30s becomes 77s", "route /a", "removed", "with a reload"] {
        assert!(told.stdout.contains(words), "{words}: {}", told.stdout);
    }
    assert_eq!(status(&gateway, "/b"), 404);
    assert_eq!(run(&[]).code, Some(0));
    assert_eq!(status(&gateway, "/b"), 101);
    gateway.rewrite("shards = 'few'\n");
    let refused = run(&[]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("shards"), "{}", refused.stderr);
    assert_eq!(status(&gateway, "/b"), 101);
}

/// A few bits after another that look drawn (xorshift).
struct Draws(u64);

impl Draws {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn chance(&mut self, of_ten: u64) -> bool {
        self.below(10) < of_ten
    }
}

/// What a listener may have otherwise.
fn drawn_listener(draws: &mut Draws) -> String {
    let stacks = ["ws!tcp", "log!ws?ping=77s!tcp", "ws?deflate=off!tcp?backlog=99", "ws!log!tcp"];
    let stack = stacks[draws.below(4) as usize];
    let more =
        ["", "connections = 100000\n", "deny = ['203.0.113.0/24']\n", "accept_rate = 99999\n"];
    let more = more[draws.below(4) as usize];
    format!("[[listener]]\naddress = '127.0.0.1:0'\nstack = '{stack}'\n{more}")
}

/// What clients may be counted by, which nobody is too many for.
fn drawn_clients(draws: &mut Draws) -> String {
    let keys = ["connections", "connections_per_address", "connections_per_user"];
    let mut text = "[clients]\n".to_owned();
    for key in keys.into_iter().chain(["handshake_rate"]) {
        if draws.chance(5) {
            text += &format!("{key} = {}\n", 90_000 + draws.below(1000));
        }
    }
    text
}

/// A configuration that has the first listener and the route of all clients, and whatever else is
/// drawn; and whether it is right.
fn drawn(draws: &mut Draws, issuers: &[TokenIssuer]) -> (String, bool) {
    let mut text = ALL.to_owned();
    text += &format!("drain = '{}s'\n", 10 + draws.below(20));
    let wrong = draws.chance(2).then(|| draws.below(5));
    if wrong == Some(0) {
        text += "drain_rat = 7\n";
    }
    if draws.chance(3) {
        text += "[limits]\nconnections = 6000\nreceive_buffers = 128\n";
    } else if draws.chance(3) {
        text += &format!("[limits]\nheavy_input = '{}KiB'\n", 100 + draws.below(100));
    }
    text += &drawn_clients(draws);
    if draws.chance(3) {
        text += &format!("[access_log]\nto = 'file:/dev/null'\nqueue = {}\n", 16 + draws.below(99));
    }
    for _ in 0..1 + draws.below(4) {
        text += &drawn_listener(draws);
    }
    if wrong == Some(4) {
        // It is not of this machine.
        text += "[[listener]]\naddress = '192.0.2.1:81'\n";
    }
    text += &format!("[[topic]]\nname = 'rooms/{{room}}'\nhistory = {}\n", draws.below(20));
    let issuer = &issuers[draws.below(issuers.len() as u64) as usize];
    text += &issuer.config("");
    for number in 0..draws.below(40) {
        let path = format!("/drawn/{number}");
        let admission = if draws.chance(3) { "admission = ['jwt']\n" } else { "" };
        text += &echo(&path, &format!("max_frames = {}\n{admission}", 10 + draws.below(10)));
    }
    if wrong == Some(1) {
        text += &(echo("/clash/{a}", "") + &echo("/clash/{b}", ""));
    }
    if wrong == Some(2) {
        text += "[[route]]\npath = '/c'\nhandler = 'embedded'\n";
    }
    if wrong == Some(3) {
        text += &echo("/d", "admission = ['jwt?by=nobody']\n");
    }
    text += &format!(
        "[[route]]\npath = '/rooms/{{room}}'\nhandler = 'hub?topic=rooms/{{room}}'\n\
         backlog = '{}MiB'\nundecided = {}\nlifetime = '{}h'\n",
        2 + draws.below(8),
        draws.below(100),
        1 + draws.below(9)
    );
    (text, wrong.is_none())
}

/// Where it listens now.
fn addresses(gateway: &Gateway) -> Vec<SocketAddr> {
    let config = json_of(&ask(gateway, "GET", "/v1/config", &Value::Null));
    let listeners = config["listeners"].as_array().expect("a list").iter();
    let address = |one: &Value| one["address"].as_str().expect("a text").parse().ok();
    listeners.filter_map(address).collect()
}

/// Says that it is over when it is dropped, be it by a panic.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The next message. Who has waited for long is asked whether it is there.
#[track_caller]
fn heard(peer: &mut Peer) -> String {
    loop {
        let frame = peer.read_frame();
        match frame.opcode {
            TEXT => return String::from_utf8(frame.payload).expect("text"),
            PING => peer.frame(&Frame::new(PONG, frame.payload)),
            other => panic!("a frame of the kind {other:#x} came: {:?}", frame.payload),
        }
    }
}

/// So many clients, and reloads: more by hand than each time.
fn how_many() -> (usize, u32) {
    match std::env::var_os("TIDEGATE_FULL") {
        Some(_) => (5000, 200),
        None => (300, 60),
    }
}

#[test]
fn nobody_is_cut_off_and_nothing_lost_however_often_it_changes() {
    let (clients, reloads) = how_many();
    let issuers = [TokenIssuer::new(), TokenIssuer::new()];
    let mut draws = Draws(0x5EED);
    let drawn_first = |seed| drawn(&mut Draws(seed), &issuers);
    let (first, _) = (1..).map(drawn_first).find(|(_, is_right)| *is_right).expect("one is right");
    let gateway = Launch::new().config(&first).admin().start_with_addresses(1);
    let mut peers: Vec<Peer> = (0..clients).map(|_| Peer::open(&gateway, "/rooms/x")).collect();
    let (is_over, mut stay) = (AtomicBool::new(false), Vec::new());
    let published = thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            let mut count = 0;
            while !is_over.load(Ordering::Relaxed) {
                count += 1;
                let message = json!({"target": {"topic": "rooms/x"}, "text": count.to_string()});
                let answer = ask(&gateway, "POST", "/v1/publish", &message);
                assert_eq!(answer.status, 200, "{}", json_of(&answer));
                thread::sleep(Duration::from_millis(5));
            }
            count
        });
        let ends = Ends(&is_over);
        for _ in 0..reloads {
            let (text, is_right) = drawn(&mut draws, &issuers);
            gateway.rewrite(&text);
            let response = ask(&gateway, "POST", "/v1/reload", &json!({"gone": "close"}));
            let expected = if is_right { 200 } else { 422 };
            assert_eq!(response.status, expected, "{}\n{text}", json_of(&response));
            // Somebody comes meanwhile, to a route that is always there, by each listener; some
            // stay on listeners that go.
            for address in addresses(&gateway) {
                let (peer, response) = Peer::open_at(address, &Request::open("/rooms/y"));
                assert_eq!(response.status, 101);
                stay.extend(draws.chance(2).then_some(peer));
            }
        }
        drop(ends);
        publisher.join().expect("all was published")
    });
    for peer in &mut peers {
        for number in 1..=published {
            assert_eq!(heard(peer), number.to_string());
        }
    }
    for peer in &mut stay {
        peer.text("still here");
        wait_until("it hears it", || (heard(peer) == "still here").then_some(()));
    }
    let counters = gateway.fresh_counters();
    assert!(counters.get("connections_open") >= clients as u64);
    println!("{clients} clients heard {published} messages each through {reloads} reloads");
}

//! Why a connection ended, or was refused, in one word: in the log, in the metrics, and in what its
//! peer is told.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use tidegate_tests::{Exposition, Frame, Gateway, PATIENCE, Peer, Signal, case, wait_until};

const CONFIG: &str = r#"
[[listener]]
address = "127.0.0.1:0"
stack = "log!ws?ping=1s&pong=1s!tcp?sndbuf=16KiB"

[[route]]
path = "/echo"
handler = "echo"
max_message = "64KiB"
backlog = "128KiB"
slow_peer = "close"

[[route]]
path = "/rooms/{room}"
handler = "hub?topic=rooms/{room}&publish=nobody&user=query.user"
"#;

/// Asks the admin address, and yields the whole answer.
fn ask(gateway: &Gateway, method: &str, path: &str, body: &str) -> String {
    let address = gateway.admin_address();
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).expect("it is taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// How many connections have ended for this reason.
fn ended(gateway: &Gateway, reason: &str) -> f64 {
    let answer = ask(gateway, "GET", "/metrics", "");
    let body = answer.split_once("\r\n\r\n").expect("a body").1;
    let shown = Exposition::read(body).expect("metrics");
    shown.get(&format!("tidegate_ends_total{{reason=\"{reason}\",shard=\"0\"}}"))
}

/// Ends a connection, which has to be told of as ended for `reason`: with the words that its peer
/// is told, if it is told any.
fn ends(
    gateway: &Gateway,
    reason: &str,
    path: &str,
    how: impl FnOnce(&mut Peer) -> Option<String>,
) {
    case(reason, || {
        let before = ended(gateway, reason);
        let mut peer = Peer::open(gateway, path);
        let who = format!("peer={}", peer.address());
        let told = how(&mut peer);
        if let Some(told) = told {
            let word = told.split(':').next().expect("a word");
            assert_eq!(word, reason, "{told}");
        }
        drop(peer);
        let line = gateway.expect_log(&[&who, "closed", &format!("reason=\"{reason}\"")]);
        assert!(line.contains("route=\""), "{line}");
        wait_until(reason, || (ended(gateway, reason) == before + 1.0).then_some(()));
    });
}

#[test]
fn each_end_has_its_reason_in_the_log_the_metrics_and_the_close_frame() {
    let gateway = Gateway::with_admin(CONFIG);
    ends(&gateway, "peer_closed", "/echo", |peer| {
        peer.frame(&Frame::close(1000, "bye"));
        assert_eq!(peer.expect_close(1000), "bye");
        None
    });
    ends(&gateway, "peer_left", "/echo", |peer| {
        peer.finish();
        peer.expect_eof();
        None
    });
    ends(&gateway, "protocol_error", "/echo", |peer| {
        peer.send([0xf1, 0x80, 0, 0, 0, 0]);
        Some(peer.expect_failed(1002))
    });
    ends(&gateway, "too_big", "/echo", |peer| {
        peer.send(Frame::text("").masked_with_length(127, 1 << 20));
        Some(peer.expect_failed(1009))
    });
    ends(&gateway, "not_allowed", "/rooms/a", |peer| {
        peer.text("nobody may");
        let told = peer.expect_close(1008);
        peer.frame(&Frame::close(1008, ""));
        Some(told)
    });
    ends(&gateway, "ping_timeout", "/echo", |peer| {
        peer.expect(&Frame::ping(""));
        peer.expect_end();
        None
    });
    ends(&gateway, "slow_peer", "/echo", |peer| {
        let writer = peer.send_meanwhile(Frame::binary(vec![0; 60_000]).masked().repeat(200));
        gateway.expect_counter_from("slow_peers_closed", 1);
        peer.expect_end();
        let _ = writer.join();
        None
    });
    let reset = Peer::open(&gateway, "/echo");
    let who = format!("peer={}", reset.address());
    reset.reset();
    gateway.expect_log(&[&who, "closed", "reason=\"lost\""]);
}

#[test]
fn who_is_disconnected_from_outside_or_by_a_drain_is_told_of_as_that() {
    let gateway = Gateway::with_admin(CONFIG);
    let mut peer = Peer::open(&gateway, "/rooms/a?user=ada");
    let line = gateway.expect_log(&["opened", "user=\"ada\"", "path=\"/rooms/a\""]);
    peer.frame(&Frame::ping("12345"));
    peer.expect(&Frame::pong("12345"));
    let id = line.split_once(" id=").expect("an id").1.split(' ').next().expect("an id");
    let shown = ask(&gateway, "GET", &format!("/v1/connections/{id}"), "");
    let answer = ask(
        &gateway,
        "POST",
        "/v1/disconnect",
        &format!(
            "{{\"target\": {{\"connection\": \"{id}\"}}, \"code\": 4001, \"reason\": \"out\"}}"
        ),
    );
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let concerning = format!("concerning=\"connection {id}\"");
    gateway.expect_log(&["tidegate::admin", "peer=127.0.0.1:", "/v1/disconnect", &concerning]);
    assert_eq!(peer.expect_close(4001), "out");
    assert!(shown.contains("\"agent\":null,\"messages_in\":0,\"bytes_in\":11,"), "{shown}");
    let happened = format!("\"POST /v1/disconnect connection {id} by nobody's token: 200\"");
    let recent = ask(&gateway, "GET", "/v1/recent", "");
    assert!(recent.contains("\"what\":\"start\"") && recent.contains(&happened), "{recent}");
    peer.frame(&Frame::close(4001, ""));
    let id_field = format!("id={id}");
    gateway.expect_log(&[&id_field, "closed", "user=\"ada\"", "code=4001", "reason=\"admin\""]);
    let end = format!(
        "\"connection\":\"{id}\",\"route\":\"/rooms/{{room}}\",\"address\":\"{}\",\"user\":\"ada\",\
         \"reason\":\"admin\",\"code\":4001,\"by_peer\":false,\"seconds\":",
        peer.address()
    );
    for query in ["user=ada", "reason=admin&address=127.0.0.1", "limit=1"] {
        let ends = ask(&gateway, "GET", &format!("/v1/ends?{query}"), "");
        assert!(ends.contains(&end), "{query}: {ends}");
    }
    let ends = ask(&gateway, "GET", "/v1/ends?user=bob", "");
    assert!(ends.ends_with("{\"ends\":[]}"), "{ends}");
    let wrong = ask(&gateway, "GET", "/v1/ends?reason=boredom", "");
    assert!(wrong.starts_with("HTTP/1.1 400") && wrong.contains("slow_peer"), "{wrong}");
    let mut peer = Peer::open(&gateway, "/echo");
    let who = format!("peer={}", peer.address());
    peer.echo("hello");
    gateway.signal(Signal::TERM);
    assert_eq!(peer.expect_close(1012), "drain");
    peer.frame(&Frame::close(1012, ""));
    let line = gateway.expect_log(&[&who, "closed", "reason=\"drain\""]);
    for fact in ["messages_in=1 bytes_in=19 messages_out=1 bytes_out=5", "seconds=", "code=1012"] {
        assert!(line.contains(fact), "{fact}: {line}");
    }
    assert_eq!(gateway.wait().code, Some(0));
}

/// Who is traced is told of frame by frame, and nobody else is; what is in them is not told.
#[test]
fn the_frames_of_one_connection_are_told_of_while_somebody_wants_that() {
    let gateway = Gateway::with_admin(CONFIG);
    let mut other = Peer::open(&gateway, "/rooms/a?user=bob");
    let mut peer = Peer::open(&gateway, "/rooms/a?user=ada");
    let line = gateway.expect_log(&["opened", "user=\"ada\""]);
    let id = line.split_once(" id=").expect("an id").1.split(' ').next().expect("an id");
    let traced = |seconds: u32| {
        let body = format!("{{\"connection\": \"{id}\", \"seconds\": {seconds}}}");
        ask(&gateway, "POST", "/v1/trace", &body)
    };
    assert!(traced(0).starts_with("HTTP/1.1 400") && traced(601).starts_with("HTTP/1.1 400"));
    let answer = traced(600);
    assert!(answer.ends_with("{\"connections\":1}"), "{answer}");
    gateway.expect_log(&["tidegate::admin", "/v1/trace", &format!("connection {id}")]);
    let publish = "{\"target\": {\"topic\": \"rooms/a\"}, \"text\": \"secret\"}";
    assert!(ask(&gateway, "POST", "/v1/publish", publish).starts_with("HTTP/1.1 200"));
    other.expect_text("secret");
    peer.expect_text("secret");
    peer.frame(&Frame::ping("12345"));
    peer.expect(&Frame::pong("12345"));
    let whose = format!("id=\"{id}\"");
    for line in [
        "way=\"out\" kind=\"published\" messages=1 bytes=8",
        "way=\"in\" kind=\"ping\" length=5",
        "way=\"out\" kind=\"pong\" fin=true compressed=false length=5",
    ] {
        gateway.expect_log(&["tidegate::frames", &whose, line]);
    }
    peer.text("not allowed here");
    assert!(peer.expect_close(1008).starts_with("not_allowed"));
    let said = "way=\"in\" kind=\"text\" part=\"whole\" compressed=false length=16";
    gateway.expect_log(&["tidegate::frames", &whose, said]);
    gateway.expect_log(&["tidegate::frames", &whose, "way=\"out\" kind=\"close\" fin=true"]);
    drop((peer, other));
    let log = gateway.log();
    let mut lines = log.lines().filter(|line| line.contains("tidegate::frames"));
    assert!(lines.all(|line| line.contains(&whose)), "{log}");
    // What both were told is told of once.
    assert_eq!(log.matches("kind=\"published\"").count(), 1, "{log}");
    assert!(!log.contains("secret") && !log.contains("not allowed here"), "{log}");
    wait_until("it is gone", || traced(5).starts_with("HTTP/1.1 410").then_some(()));
}

#[test]
fn the_last_hour_is_kept_and_limits_are_told_of() {
    // These peers answer no Ping.
    let config = CONFIG.replace("ping=1s&pong=1s", "ping=off");
    let config = format!("{config}\n[hub]\nsubscriptions = 16\n");
    let gateway = Gateway::with_admin(&config);
    let peers: Vec<Peer> = (0..16).map(|_| Peer::open(&gateway, "/rooms/a")).collect();
    let limit = "subscriptions of a shard: 16 of 16 (`hub.subscriptions`)";
    gateway.expect_log(&["WARN", "a limit is reached", limit]);
    // They may have opened within one stretch of ten seconds or two.
    let recent = wait_until("a stretch with all of them", || {
        std::thread::sleep(Duration::from_millis(200));
        let recent = ask(&gateway, "GET", "/v1/recent", "");
        recent.contains("\"connections\":16,").then_some(recent)
    });
    let opened = recent.split("\"opened\":").skip(1).map(|rest| {
        let digits = rest.split(',').next().expect("a number");
        digits.parse::<u64>().expect("a number")
    });
    assert_eq!(opened.sum::<u64>(), 16, "{recent}");
    for part in ["\"what\":\"limit_reached\"", limit] {
        assert!(recent.contains(part), "{part}: {recent}");
    }
    drop(peers);
}

#[test]
fn a_refusal_is_logged_with_who_what_and_why_and_a_flood_of_them_is_not() {
    let gateway = Gateway::with_admin(CONFIG);
    let mut peer = Peer::connect(&gateway);
    let who = format!("peer={}", peer.address());
    peer.send(b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n");
    peer.expect_refusal(404);
    let line = gateway.expect_log(&[&who, "refused", "status=404", "reason=\"not_found\""]);
    assert!(line.contains("path=\"/nowhere\"") && line.contains("nothing is served"), "{line}");
    for _ in 0..200 {
        let mut peer = Peer::connect(&gateway);
        peer.send(b"GET /flood HTTP/1.1\r\nHost: a\r\n\r\n");
        peer.expect_refusal(404);
    }
    let said = gateway.log().lines().filter(|line| line.contains("path=\"/flood\"")).count();
    assert!((20..150).contains(&said), "{said} lines");
    // The next that is said tells how many were not.
    let unsaid = wait_until("a line that counts", || {
        std::thread::sleep(Duration::from_millis(300));
        let mut peer = Peer::connect(&gateway);
        peer.send(b"GET /later HTTP/1.1\r\nHost: a\r\n\r\n");
        peer.expect_refusal(404);
        let log = gateway.log();
        let line = log.lines().find(|line| line.contains("unsaid="))?;
        line.split_once("unsaid=")?.1.split(' ').next()?.parse::<u64>().ok()
    });
    assert!(unsaid > 20, "{unsaid} were not said");
}

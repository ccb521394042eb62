//! The admin address from outside: who is let in, what is refused, and what happens to peers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidegate_tests::{
    Exposition, Frame, Gateway, Launch, PATIENCE, Peer, Signal, TEXT, are_by_epoll, wait_until,
};

const TOKEN: &str = "0123456789abcdef";

/// A gateway with a topic whose history and presence are kept.
const KEPT: &str = "[[topic]]\nname = \"rooms/{room}\"\nhistory = 10\npresence = true\n";

/// An answer of the admin address.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// Sends a whole request, and reads until the end.
#[track_caller]
fn exchange(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(request).expect("the request is taken");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an answer");
    let text = String::from_utf8(bytes).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text}"));
    let status = head[9..12].parse().expect("a status");
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

/// Sends a request with these header lines, and more that any request has.
#[track_caller]
fn send(address: SocketAddr, line: &str, headers: &[&str], body: &[u8]) -> Answer {
    let mut head = format!("{line} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|header| header.starts_with("Host:")) {
        head.push_str(&format!("Host: {address}\r\n"));
    }
    for header in headers {
        head.push_str(&format!("{header}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    exchange(address, &[head.as_bytes(), body].concat())
}

#[track_caller]
fn get(gateway: &Gateway, path: &str) -> Answer {
    send(gateway.admin_address(), &format!("GET {path}"), &[], b"")
}

#[track_caller]
fn post(gateway: &Gateway, path: &str, body: &Value) -> Answer {
    let line = format!("POST {path}");
    let body = body.to_string();
    let json = ["Content-Type: application/json"];
    send(gateway.admin_address(), &line, &json, body.as_bytes())
}

#[track_caller]
fn delete(gateway: &Gateway, path: &str) -> Answer {
    send(gateway.admin_address(), &format!("DELETE {path}"), &[], b"")
}

/// The id of the only connection.
#[track_caller]
fn only_id(gateway: &Gateway) -> String {
    wait_until("one connection", || {
        let list = get(gateway, "/v1/connections").json();
        match list["connections"].as_array()?.as_slice() {
            [one] => one["id"].as_str().map(str::to_owned),
            _ => None,
        }
    })
}

#[test]
fn messages_reach_peers_by_topic_connection_and_all() {
    let gateway = Gateway::with_admin(KEPT);
    let mut peer = Peer::open(&gateway, "/rooms/7");
    let id = only_id(&gateway);
    let to = |target: Value, text: &str| {
        post(&gateway, "/v1/publish", &json!({"target": target, "text": text})).json()
    };
    assert_eq!(to(json!({"topic": "rooms/7"}), "one")["connections"], 1);
    peer.expect_text("one");
    assert_eq!(to(json!({"connection": id}), "two")["connections"], 1);
    peer.expect_text("two");
    assert_eq!(to(json!({"all": true}), "three")["connections"], 1);
    peer.expect_text("three");
    let answer = to(json!({"topic": "rooms/7"}), "four");
    assert_eq!(answer["position"]["offset"], 2);
    peer.expect_text("four");
    let binary = json!({"target": {"topic": "rooms/7"}, "binary": "AP8="});
    assert_eq!(post(&gateway, "/v1/publish", &binary).status, 200);
    peer.expect_binary(b"\x00\xff");
    let value = json!({"target": {"topic": "rooms/7"}, "json": {"a": [1, null]}});
    assert_eq!(post(&gateway, "/v1/publish", &value).status, 200);
    peer.expect_text("{\"a\":[1,null]}");
    let except = json!({"target": {"topic": "rooms/7"}, "text": "not here", "except": id});
    assert_eq!(post(&gateway, "/v1/publish", &except).status, 200);
    assert_eq!(to(json!({"connection": id}), "last")["connections"], 1);
    peer.expect_text("last");
    let history = get(&gateway, "/v1/history?topic=rooms/7").json();
    assert_eq!(history["messages"].as_array().unwrap().len(), 5, "{history}");
    let epoch = history["position"]["epoch"].as_str().unwrap();
    let since = format!("/v1/history?topic=rooms/7&epoch={epoch}&offset=4");
    let history = get(&gateway, &since).json();
    let kept = &history["messages"][0];
    assert_eq!((&kept["offset"], &kept["text"]), (&json!(5), &json!("not here")));
    assert!(kept["time"].as_str().is_some_and(|time| time.ends_with('Z') && time.len() == 24));
    let all = get(&gateway, "/v1/history?topic=rooms/7").json();
    assert_eq!(all["messages"][3]["json"], json!({"a": [1, null]}));
}

#[test]
fn a_batch_goes_to_several_shards() {
    let text = "shards = 3\npin = false\n";
    let gateway = Launch::new().config(text).listen("127.0.0.1:0").admin().start();
    let mut peers: Vec<Peer> =
        (0..9).map(|room| Peer::open(&gateway, &format!("/rooms/{room}"))).collect();
    wait_until("all are subscribed", || {
        let topics = get(&gateway, "/v1/topics?prefix=rooms/").json();
        (topics["topics"].as_array()?.len() == 9).then_some(())
    });
    let targets: Vec<Value> =
        (0..9).map(|room| json!({"topic": format!("rooms/{room}")})).collect();
    let batch = json!({"messages": [
        {"targets": targets, "text": "to each"},
        {"targets": [{"all": true}, {"connection": "x"}], "json": 1},
    ]});
    let answer = post(&gateway, "/v1/publish/batch", &batch).json();
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results.len(), 11);
    assert!(results[..9].iter().all(|one| one["connections"] == 1), "{answer}");
    assert_eq!(results[9]["connections"], 9);
    assert_eq!(results[10]["status"], 400);
    for peer in &mut peers {
        // What goes to all takes another way than what goes to a topic, so either may come first.
        let mut messages = [peer.message().1, peer.message().1];
        messages.sort();
        assert_eq!(messages, [b"1".to_vec(), b"to each".to_vec()]);
    }
    let mut seen = 0;
    let mut path = "/v1/connections?limit=2".to_owned();
    loop {
        let page = get(&gateway, &path).json();
        seen += page["connections"].as_array().unwrap().len();
        let Some(cursor) = page["cursor"].as_str() else { break };
        path = format!("/v1/connections?limit=2&cursor={cursor}");
    }
    assert_eq!(seen, 9);
}

#[test]
fn connections_are_told_about_and_closed() {
    let gateway = Gateway::with_admin(KEPT);
    let mut peer = Peer::open(&gateway, "/rooms/a%20b");
    let id = only_id(&gateway);
    let info = get(&gateway, &format!("/v1/connections/{id}")).json();
    assert_eq!(info["route"], "/rooms/{room}");
    assert_eq!(info["address"], peer.address().to_string());
    assert_eq!(info["topics"], json!(["rooms/a b"]));
    let presence = get(&gateway, "/v1/presence?topic=rooms/a%20b").json();
    assert_eq!(presence["members"][0]["connection"], id, "{presence}");
    for (filter, count) in [
        ("route=/echo", 0),
        ("route=/rooms/%7Broom%7D", 1),
        ("topic=rooms/a%20b", 1),
        ("topic=other", 0),
        ("address=127.0.0.1", 1),
        ("address=::1", 0),
        ("user=ada", 0),
    ] {
        let list = get(&gateway, &format!("/v1/connections?{filter}")).json();
        assert_eq!(list["connections"].as_array().unwrap().len(), count, "{filter}");
    }
    let closed = delete(&gateway, &format!("/v1/connections/{id}?code=4001&reason=enough"));
    assert_eq!((closed.status, closed.json()), (200, json!({"connections": 1})));
    assert_eq!(peer.expect_close(4001), "enough");
    peer.frame(&Frame::close(4001, ""));
    wait_until("the connection is gone", || {
        (get(&gateway, &format!("/v1/connections/{id}")).status == 410).then_some(())
    });
    let again = json!({"target": {"connection": id}, "text": "x"});
    let refused = post(&gateway, "/v1/publish", &again);
    assert_eq!(
        (refused.status, &refused.json()["error"]["code"]),
        (410, &json!("connection_gone"))
    );
}

#[test]
fn connections_are_subscribed_and_topics_end() {
    let gateway = Gateway::with_admin("");
    let mut peer = Peer::open(&gateway, "/rooms/1");
    let id = only_id(&gateway);
    let body = json!({"target": {"connection": id}, "topic": "news/today"});
    assert_eq!(post(&gateway, "/v1/subscribe", &body).json(), json!({"connections": 1}));
    let publish = json!({"target": {"topic": "news/today"}, "text": "x"});
    assert_eq!(post(&gateway, "/v1/publish", &publish).json()["connections"], 1);
    peer.expect_text("x");
    assert_eq!(get(&gateway, "/v1/topics/news/today").json()["subscribers"], 1);
    assert_eq!(post(&gateway, "/v1/unsubscribe", &body).status, 200);
    wait_until("nobody is subscribed", || {
        (post(&gateway, "/v1/publish", &publish).json()["connections"] == 0).then_some(())
    });
    assert_eq!(delete(&gateway, "/v1/topics/rooms%2F1").status, 200);
    let everyone = json!({"target": {"all": true}, "code": 3000, "reason": "moved"});
    assert_eq!(post(&gateway, "/v1/disconnect", &everyone).json(), json!({"connections": 1}));
    assert_eq!(peer.expect_close(3000), "moved");
}

#[test]
fn a_client_of_amazon_finds_its_way() {
    let gateway = Gateway::with_admin("[hub]\nmax_message = \"1KiB\"\n");
    let mut peer = Peer::open(&gateway, "/rooms/1");
    let path = format!("/@connections/{}", only_id(&gateway));
    let address = gateway.admin_address();
    let push = |bytes: &[u8]| send(address, &format!("POST {path}"), &[], bytes);
    assert_eq!((push(b"text").status, push(b"\xff").status), (200, 200));
    peer.expect_text("text");
    peer.expect_binary(b"\xff");
    let large = push(&[b'x'; 1025]);
    assert_eq!(large.status, 413);
    assert!(large.head.contains("x-amzn-errortype: payloadtoolargeexception"), "{}", large.head);
    let info = get(&gateway, &path).json();
    assert_eq!(info["identity"]["sourceIp"], "127.0.0.1");
    assert!(info["connectedAt"].as_str().is_some_and(|text| text.ends_with('Z')), "{info}");
    assert_eq!(delete(&gateway, &path).status, 204);
    peer.agree_to_close(1000);
    let gone = wait_until("it is gone", || Some(push(b"x")).filter(|answer| answer.status == 410));
    assert!(gone.head.contains("x-amzn-errortype: goneexception"), "{}", gone.head);
}

#[test]
fn what_is_wrong_is_said() {
    let gateway = Gateway::with_admin("[hub]\nmax_message = \"1KiB\"\n");
    let address = gateway.admin_address();
    let json = "Content-Type: application/json";
    let deep = [b"{\"target\":{\"all\":true},\"json\":", "[".repeat(5000).as_bytes()].concat();
    let large = format!(r#"{{"target":{{"all":true}},"text":"{}"}}"#, "x".repeat(1025));
    let huge = format!(r#"{{"target":{{"all":true}},"text":"{}"}}"#, "x".repeat(1 << 20));
    for (header, body, status) in [
        (json, &b"{"[..], 400),
        (json, b"\xff", 400),
        (json, b"{\"target\":{\"all\":true},\"text\":\"\xff\"}", 400),
        (json, br#"{"target":{"all":true},"text":"\ud800"}"#, 400),
        (json, br#"{"target":{"all":true},"binary":"*"}"#, 400),
        (json, br#"{"target":{"nobody":true},"text":"x"}"#, 400),
        (json, br#"{"target":{"topic":"a\u0001"},"text":"x"}"#, 400),
        (json, br#"{"target":{"connection":"x"},"text":"x"}"#, 400),
        (json, br#"{"target":{"connection":"AAAAAAAAAAAAAAAAAAA"},"text":"x"}"#, 410),
        (json, br#"{"target":{"topic":"nobody"},"text":"x"}"#, 200),
        (json, &deep, 400),
        (json, large.as_bytes(), 413),
        (json, huge.as_bytes(), 413),
        ("Content-Type: text/plain", b"{}", 415),
    ] {
        let answer = send(address, "POST /v1/publish", &[header], body);
        let shown = String::from_utf8_lossy(body);
        assert_eq!(answer.status, status, "{shown:.100}: {}", answer.body);
        if status >= 400 {
            assert!(answer.json()["error"]["hint"].is_string(), "{}", answer.body);
        }
    }
    for (line, status) in [
        ("GET /nowhere", 404),
        ("PUT /v1/publish", 405),
        ("GET /v1/topics/nobody-is-here", 404),
        ("GET /v1/connections/x", 400),
        ("GET /v1/connections?limit=1001", 400),
        ("GET /v1/connections?cursor=%00", 400),
        ("GET /v1/connections?unknown=1", 400),
    ] {
        assert_eq!(send(address, line, &[], b"").status, status, "{line}");
    }
}

#[test]
fn pages_of_others_are_kept_out() {
    let gateway = Gateway::with_admin("");
    let address = gateway.admin_address();
    let status = |headers: &[&str]| send(address, "GET /v1/overview", headers, b"").status;
    let own = format!("Origin: http://{address}");
    assert_eq!(status(&[]), 200);
    assert_eq!(status(&[&own]), 200);
    assert_eq!(status(&["Host: localhost:1"]), 200);
    assert_eq!(status(&["Host: rebound.example"]), 403);
    assert_eq!(status(&["Origin: http://rebound.example"]), 403);
    assert_eq!(status(&["Origin: null"]), 403);
}

#[test]
fn what_comes_through_a_proxy_needs_a_token() {
    let gateway = Gateway::with_admin("");
    let address = gateway.admin_address();
    let proxied = "X-Forwarded-For: 192.0.2.7";
    let answer = send(address, "GET /v1/overview", &[proxied], b"");
    assert_eq!(answer.status, 403);
    let hint = answer.json()["error"]["hint"].to_string();
    assert!(hint.contains("admin.tokens"), "{hint}");
    // As nginx asks by itself for `proxy_pass http://127.0.0.1:8081`.
    let plain =
        format!("GET /v1/overview HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    assert_eq!(exchange(address, plain.as_bytes()).status, 403);
    assert_eq!(send(address, "GET /readyz", &[proxied], b"").status, 200);
    let gateway = Gateway::with_admin(&format!("[admin]\ntokens = [\"{TOKEN}\"]\n"));
    let right = format!("Authorization: Bearer {TOKEN}");
    let answer = send(gateway.admin_address(), "GET /v1/overview", &[proxied, &right], b"");
    assert_eq!(answer.status, 200);
}

#[test]
fn a_token_is_asked_for() {
    let gateway = Gateway::with_admin(&format!("[admin]\ntokens = [\"{TOKEN}\"]\n"));
    let address = gateway.admin_address();
    let status =
        |path: &str, headers: &[&str]| send(address, &format!("GET {path}"), headers, b"").status;
    let right = format!("Authorization: Bearer {TOKEN}");
    for path in ["/v1/overview", "/metrics", "/openapi.json"] {
        assert_eq!(status(path, &[&right]), 200, "{path}");
        assert_eq!(status(path, &[]), 401, "{path}");
        assert_eq!(status(path, &["Authorization: Bearer 0123456789abcdee"]), 401, "{path}");
    }
    for path in ["/healthz", "/readyz", "/"] {
        assert_eq!(status(path, &[]), 200, "{path}");
    }
    assert_eq!(status("/@connections/x", &[]), 403);
    assert!(!gateway.terminate().contains(TOKEN), "the log shows the token");
}

#[test]
fn the_metrics_are_well_formed_and_count() {
    let gateway = Gateway::with_admin("");
    let mut peer = Peer::open(&gateway, "/echo");
    peer.echo("hello");
    let mut refused = Peer::connect(&gateway);
    refused.request(&tidegate_tests::Request::plain("GET", "/nowhere"));
    refused.expect_refusal(404);
    let metrics = wait_until("what happened is counted", || {
        let answer = get(&gateway, "/metrics");
        assert!(answer.head.contains("content-type: text/plain; version=0.0.4"), "{}", answer.head);
        let metrics = Exposition::read(&answer.body).unwrap();
        let refused = "tidegate_refusals_total{reason=\"not_found\",shard=\"0\"}";
        (metrics.get(refused) == 1.0).then_some(metrics)
    });
    assert_eq!(metrics.get("tidegate_connections_open{shard=\"0\"}"), 1.0);
    assert_eq!(metrics.get("tidegate_received_messages_total{shard=\"0\"}"), 1.0);
    assert_eq!(metrics.get("tidegate_ready"), 1.0);
    let kernel_bytes = if are_by_epoll() { 3856.0 } else { 3936.0 };
    assert_eq!(metrics.get("tidegate_connection_kernel_bytes"), kernel_bytes);
    let loops = metrics.get("tidegate_loop_seconds_count{shard=\"0\"}");
    assert!(loops >= 3.0, "{loops} turns of the loop");
    let seconds = metrics.get("tidegate_loop_seconds_sum{shard=\"0\"}");
    assert!(seconds > 0.0 && seconds < 10.0, "{seconds} s in the loop");
    assert!(
        metrics.get("tidegate_budget_used_bytes{line=\"connection records\",shard=\"0\"}") > 0.0
    );
    assert!(metrics.count("tidegate_budget_allowed_bytes") > 10);
}

#[test]
fn a_drain_is_told_to_load_balancers_and_can_be_watched() {
    let gateway = Gateway::with_admin("drain = \"20s\"\n");
    let mut peer = Peer::open(&gateway, "/echo");
    assert_eq!(get(&gateway, "/readyz").status, 200);
    gateway.signal(Signal::TERM);
    let answer = wait_until("the drain", || {
        Some(get(&gateway, "/readyz")).filter(|answer| answer.status == 503)
    });
    assert_eq!(answer.json()["error"]["code"], "draining");
    let said = answer.json()["error"]["message"].to_string();
    assert!(said.contains("takes no more connections"), "{said}");
    assert!(answer.head.contains("retry-after: "), "{}", answer.head);
    assert_eq!(get(&gateway, "/healthz").status, 200);
    assert_eq!(get(&gateway, "/v1/overview").json()["state"], "draining");
    peer.agree_to_close(1012);
    assert_eq!(gateway.wait().code, Some(0));
}

/// A connection to the admin address that may be used again.
struct Kept {
    stream: TcpStream,
    host: SocketAddr,
}

impl Kept {
    #[track_caller]
    fn new(gateway: &Gateway) -> Self {
        let host = gateway.admin_address();
        let stream = TcpStream::connect(host).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self { stream, host }
    }

    fn write(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).expect("it is taken");
    }

    /// Asks for `path`, and reads the answer's head, in lower case, and its body.
    #[track_caller]
    fn get(&mut self, path: &str) -> String {
        self.write(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.host));
        self.head()
    }

    /// Reads an answer; returns its head in lower case.
    #[track_caller]
    fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).expect("more of the head");
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).expect("text").to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
        let length = length.map_or(0, |digits| digits.parse().expect("a number"));
        self.stream.read_exact(&mut vec![0; length]).expect("the body");
        head
    }

    /// Waits for the end of the connection; returns what came before it.
    #[track_caller]
    fn rest(&mut self) -> String {
        let mut text = String::new();
        self.stream.read_to_string(&mut text).expect("an end without a reset");
        text
    }
}

#[test]
fn a_connection_is_kept_for_longer_than_is_announced() {
    let gateway = Gateway::with_admin("[admin]\nkeepalive = \"6s\"\n");
    let (mut kept, mut half) = (Kept::new(&gateway), Kept::new(&gateway));
    let head = kept.get("/healthz");
    assert!(head.contains("\r\nkeep-alive: timeout=6\r\n"), "{head}");
    half.get("/healthz");
    half.write("GET /healthz HTTP/1.1\r\nHos");
    let idle = Instant::now();
    // As late as a client may send that was told six seconds.
    thread::sleep(Duration::from_secs(6));
    kept.get("/healthz");
    let refused = half.head();
    assert!(refused.starts_with("http/1.1 408"), "a head that is half here: {refused}");
    assert!(refused.contains("connection: close"), "{refused}");
    assert!(idle.elapsed() < Duration::from_secs(9), "{:?}", idle.elapsed());
    let idle = Instant::now();
    assert_eq!(kept.rest(), "");
    let kept_for = idle.elapsed();
    assert!(kept_for > Duration::from_millis(7_500), "{kept_for:?}");
    assert!(kept_for < Duration::from_secs(12), "{kept_for:?}");
}

#[test]
fn whoever_wants_no_connection_kept_is_told_that_it_ends() {
    let gateway = Gateway::with_admin("[admin]\nkeepalive = \"off\"\n");
    let mut one = Kept::new(&gateway);
    let head = one.get("/healthz");
    assert!(head.contains("connection: close") && !head.contains("keep-alive"), "{head}");
    assert_eq!(one.rest(), "");
    let gateway = Gateway::with_admin("drain = \"20s\"\n");
    let _peer = Peer::open(&gateway, "/echo");
    let mut one = Kept::new(&gateway);
    assert!(one.get("/healthz").contains("keep-alive: timeout=75"));
    for (version, word, kept) in
        [("1.0", "x", false), ("1.0", "Keep-Alive", true), ("1.1", "close", false)]
    {
        let mut other = Kept::new(&gateway);
        other.write(&format!(
            "GET /healthz HTTP/{version}\r\nHost: a\r\nConnection: {word}\r\n\r\n"
        ));
        let head = other.head();
        assert_eq!(head.contains("keep-alive: timeout="), kept, "{version} {word}: {head}");
        assert_eq!(head.contains("connection: close"), !kept, "{version} {word}: {head}");
    }
    gateway.signal(Signal::TERM);
    let head = wait_until("the drain", || {
        let head = one.get("/readyz");
        head.contains("connection: close").then_some(head)
    });
    assert!(!head.contains("keep-alive"), "{head}");
    assert_eq!(one.rest(), "");
}

#[test]
fn idle_connections_make_room_for_others() {
    let gateway = Gateway::with_admin("[admin]\nconnections = 3\n");
    let mut idle: Vec<Kept> = (0..3).map(|_| Kept::new(&gateway)).collect();
    for kept in &mut idle {
        assert!(kept.get("/healthz").contains("keep-alive: timeout=75"));
    }
    thread::sleep(Duration::from_millis(1_200));
    // The second is the one that was idle longest, since the first has just been used.
    idle[0].get("/healthz");
    let mut late = Kept::new(&gateway);
    assert!(late.get("/healthz").contains("connection: close"), "others may come yet");
    assert_eq!(idle[1].rest(), "");
    let head = idle[2].get("/healthz");
    assert!(head.contains("connection: close"), "{head}");
    let metrics = Exposition::read(&get(&gateway, "/metrics").body).expect("metrics");
    assert_eq!(metrics.get("tidegate_admin_gave_way_total"), 1.0);
}

#[test]
fn a_log_that_nobody_reads_holds_nobody_up() {
    // Its standard error is a pipe that it has opened itself, and that fills up.
    let pipe =
        "pipe=$(mktemp -u) && mkfifo \"$pipe\" && exec 2<>\"$pipe\" && rm \"$pipe\" && exec \"$@\"";
    let launch = Launch::new().config("shards = 1\npin = false\n").listen("127.0.0.1:0").admin();
    let gateway = launch.under(&["sh", "-c", pipe, "sh"]).start();
    let mut peer = Peer::open(&gateway, "/echo");
    let metrics = || Exposition::read(&get(&gateway, "/metrics").body).expect("metrics");
    // All counters are logged: more lines than a pipe and the queue of the log hold.
    let lost = wait_until("lines are lost", || {
        gateway.signal(Signal::USR1);
        peer.echo("served meanwhile");
        let lost = metrics().get("tidegate_log_lines_lost_total{reason=\"queue\"}");
        (lost > 0.0).then_some(lost)
    });
    gateway.signal(Signal::USR1);
    wait_until("more lines are lost", || {
        let now = metrics().get("tidegate_log_lines_lost_total{reason=\"queue\"}");
        (now > lost).then_some(())
    });
    assert_eq!(metrics().get("tidegate_log_lines_lost_total{reason=\"write\"}"), 0.0);
    peer.echo("served as before");
    // Nor does it keep the process from ending.
    gateway.signal(Signal::TERM);
    peer.agree_to_close(1012);
    assert_eq!(gateway.wait().code, Some(0));
}

#[test]
fn requests_are_held_to_the_letter() {
    let gateway = Gateway::with_admin("");
    let good = "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    let post = "POST /v1/publish HTTP/1.1\r\nHost: 127.0.0.1\r\n\
                Content-Type: application/json\r\n";
    let body = r#"{"target":{"all":true},"text":"x"}"#;
    let length = body.len();
    let chunk = format!("{length:x}\r\n{body}\r\n0\r\n\r\n");
    let both = format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (name, request, status) in [
        ("lines that end in LF", "GET /healthz HTTP/1.1\nHost: a\n\n".to_owned(), 400),
        ("one line that does", good.replacen("1.1\r\n", "1.1\n", 1), 400),
        ("no host", "GET /healthz HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("a length and chunks", format!("{post}{both}{chunk}"), 400),
        (
            "a length twice",
            format!("{post}{0}{0}\r\n{body}", format!("Content-Length: {length}\r\n")),
            400,
        ),
        ("chunked twice", format!("{post}Transfer-Encoding: chunked, chunked\r\n\r\n{chunk}"), 400),
        ("another coding", format!("{post}Transfer-Encoding: gzip, chunked\r\n\r\n{chunk}"), 501),
        ("a space before the colon", format!("{post}Content-Length : 1\r\n\r\nx"), 400),
        (
            "too many lines",
            good.replace("\r\n\r\n", &format!("{}\r\n\r\n", "\r\nA: b".repeat(90))),
            431,
        ),
        ("another version", good.replace("1.1", "2.0"), 505),
    ] {
        let mut kept = Kept::new(&gateway);
        // One that is right before it, in the same piece, and one behind it that is never answered.
        kept.write(&format!("{good}{request}{good}"));
        assert!(kept.head().starts_with("http/1.1 200"), "{name}");
        let head = kept.head();
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{name}: {head}");
        assert!(head.contains("connection: close"), "{name}: {head}");
        assert_eq!(kept.rest(), "", "{name}");
    }
    // What is right is answered, each in its turn.
    let mut kept = Kept::new(&gateway);
    let chunked = format!("{post}Transfer-Encoding: chunked\r\n\r\n{chunk}");
    let plain = format!("{post}Content-Length: {length}\r\n\r\n{body}");
    kept.write(&format!("{good}{chunked}{plain}{chunked}{good}"));
    for at in 0..5 {
        let head = kept.head();
        assert!(head.starts_with("http/1.1 200"), "{at}: {head}");
    }
    kept.write(&format!("{post}Transfer-Encoding: chunked\r\n\r\n2\n{{}}"));
    assert!(kept.head().starts_with("http/1.1 400"), "a chunk whose line ends in LF");
    assert_eq!(kept.rest(), "");
}

#[test]
fn whoever_is_refused_and_stays_is_left() {
    let gateway = Gateway::with_admin("");
    let heads = ["GET / HTTP/1.1\nHost: a\n\n", "GET / HTTP/1.1\r\n\r\n"];
    let mut refused: Vec<Kept> = (0..72).map(|_| Kept::new(&gateway)).collect();
    for (kept, head) in refused.iter_mut().zip(heads.iter().cycle()) {
        kept.write(head);
    }
    // None of them closes its end, and nobody has a place without theirs.
    let since = Instant::now();
    assert_eq!(get(&gateway, "/healthz").status, 200);
    let mut late = Kept::new(&gateway);
    late.write("POST /v1/publish HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n");
    assert!(late.head().starts_with("http/1.1 415"), "a body that never comes");
    wait_until("only the one that asks is there", || {
        let metrics = Exposition::read(&get(&gateway, "/metrics").body).expect("metrics");
        (metrics.get("tidegate_admin_connections") == 1.0).then_some(())
    });
    assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
    drop(refused);
}

#[test]
fn bodies_that_do_not_come_keep_nobody_out() {
    let gateway = Gateway::with_admin("[admin]\nconnections = 4\n");
    let since = Instant::now();
    // More than there are places of any kind.
    let mut slow: Vec<Kept> = (0..30).map(|_| Kept::new(&gateway)).collect();
    for kept in &mut slow {
        kept.write(
            "POST /v1/publish HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
             Content-Length: 100000\r\n\r\n{",
        );
    }
    assert_eq!(get(&gateway, "/healthz").status, 200);
    assert_eq!(get(&gateway, "/readyz").status, 200);
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    // All places but those for health are taken, and there is none for anything else.
    let busy = get(&gateway, "/v1/overview");
    assert_eq!(busy.status, 503, "{}", busy.body);
    assert!(busy.head.contains("retry-after: "), "{}", busy.head);
    // What is beyond those allowed ends soon, so that others have a turn.
    wait_until("there is a place", || (get(&gateway, "/v1/overview").status == 200).then_some(()));
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
    // And what is not, when nothing of its body has come for a while.
    let refused = slow[0].head();
    assert!(refused.starts_with("http/1.1 408"), "{refused}");
    assert!(since.elapsed() < Duration::from_secs(13), "{:?}", since.elapsed());
    drop(slow);
}

#[test]
fn health_is_told_before_a_body_has_come() {
    let gateway = Gateway::with_admin("");
    let mut kept = Kept::new(&gateway);
    kept.write("GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n");
    let since = Instant::now();
    assert!(kept.head().starts_with("http/1.1 200"));
    assert_eq!(kept.rest(), "");
    assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
}

#[test]
fn a_connection_beyond_those_allowed_is_for_one_request() {
    let gateway = Gateway::with_admin("[admin]\nconnections = 2\n");
    let address = gateway.admin_address();
    let _idle: Vec<TcpStream> = (0..2).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut late = TcpStream::connect(address).unwrap();
    late.write_all(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").unwrap();
    late.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut text = String::new();
    late.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert!(text.to_ascii_lowercase().contains("connection: close"), "{text}");
    // Shards are not disturbed by what goes on here.
    let mut peer = Peer::open(&gateway, "/echo");
    peer.text("still");
    assert_eq!(peer.message(), (TEXT, b"still".to_vec()));
}

#[test]
fn what_is_published_again_with_its_key_is_published_once() {
    let gateway = Gateway::with_admin(KEPT);
    let mut peer = Peer::open(&gateway, "/rooms/7");
    only_id(&gateway);
    let message = |target: Value, key: &str| {
        let mut message = json!({"target": target, "text": "once"});
        message["idempotency_key"] = json!(key);
        message
    };
    let room = || json!({"topic": "rooms/7"});
    let first = post(&gateway, "/v1/publish", &message(room(), "5f0c")).json();
    assert_eq!(first["repeated"], Value::Null, "{first}");
    let again = post(&gateway, "/v1/publish", &message(room(), "5f0c")).json();
    let told = |answer: &Value| (answer["position"].clone(), answer["connections"].clone());
    assert_eq!((told(&again), &again["repeated"]), (told(&first), &json!(true)));
    peer.expect_text("once");
    let batch = json!({"messages": [
        {"targets": [room(), {"topic": "rooms/8"}, {"all": true}], "text": "x",
         "idempotency_key": "5f0c"},
        {"targets": [room()], "text": "behind"},
    ]});
    let results = post(&gateway, "/v1/publish/batch", &batch).json();
    assert_eq!(results["results"][0]["repeated"], true, "{results}");
    assert_eq!(results["results"][1]["repeated"], Value::Null, "{results}");
    assert_eq!(results["results"][2]["status"], 400, "{results}");
    peer.expect_text("behind");
    for (target, key) in [(json!({"all": true}), "k"), (room(), ""), (room(), &"k".repeat(65))] {
        assert_eq!(post(&gateway, "/v1/publish", &message(target, key)).status, 400, "{key}");
    }
}

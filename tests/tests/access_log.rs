//! The access log: a line for each connection, response and refusal, wherever it goes, and nobody
//! waits for it.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidegate_tests::tokens::{Signed, TokenIssuer};
use tidegate_tests::{Frame, Gateway, Launch, Peer, Request, Signal, wait_until};

/// What the counters of the access log are called by.
const METRIC: &str = "tidegate_access_log";

/// A folder that goes with this.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "tidegate-access-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("a folder");
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// The configuration of an access log to a file in here.
    fn log(&self, more: &str) -> String {
        to(&format!("file:{}", self.path("a.log")), more)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).expect("a file")
    }

    /// The lines of JSON in a file: each of them parses.
    fn lines(&self, name: &str) -> Vec<Value> {
        parsed(&self.read(name))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn to(place: &str, more: &str) -> String {
    format!("[access_log]\nto = \"{place}\"\n{more}\n")
}

fn parsed(text: &str) -> Vec<Value> {
    assert!(text.is_empty() || text.ends_with('\n'), "half a line: {text}");
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// Asks for a page, and returns the status.
fn get(gateway: &Gateway, path: &str) -> u16 {
    let mut peer = Peer::connect(gateway);
    peer.request(&Request::plain("GET", path));
    peer.response_head().status
}

/// A counter of the access log, by what is behind its common name.
fn counted(gateway: &Gateway, name: &str) -> u64 {
    let mut peer = Peer::try_connect(gateway.admin_address()).expect("the admin address");
    peer.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let text = String::from_utf8(peer.response().body).expect("text");
    let start = format!("{METRIC}_{name}_total ");
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(&start));
    lines.next().expect("the counter").parse().expect("a number")
}

fn expect_counted(gateway: &Gateway, name: &str, least: u64) -> u64 {
    wait_until(name, || Some(counted(gateway, name)).filter(|count| *count >= least))
}

#[track_caller]
fn expect(line: &Value, expected: &[(&str, Value)]) {
    for (field, value) in expected {
        assert_eq!(&line[field], value, "{field} of {line}");
    }
}

#[test]
fn each_connection_response_and_refusal_has_one_line() {
    let folder = Folder::new();
    let gateway = Gateway::start(&folder.log(""));
    let request = Request::open("/echo?x=y")
        .with("User-Agent", "me")
        .with("Origin", "http://gateway.example");
    let (mut echo, _) = Peer::open_with(&gateway, &request);
    let address = echo.address().to_string();
    echo.echo("hello");
    echo.frame(&Frame::close(1000, ""));
    echo.expect_close(1000);
    echo.expect_eof();
    assert_eq!(get(&gateway, "/"), 200);
    assert_eq!(get(&gateway, "/nothing"), 404);
    let mut malformed = Peer::connect(&gateway);
    malformed.send("nonsense\r\n\r\n");
    malformed.expect_refusal(400);
    Peer::open(&gateway, "/rooms/a").reset();
    wait_until("five lines", || (folder.lines("a.log").len() == 5).then_some(()));
    let mut last = Peer::open(&gateway, "/rooms/b?token=secret");
    gateway.signal(Signal::TERM);
    last.agree_to_close(1012);
    assert_eq!(gateway.wait().code, Some(0));
    let text = folder.read("a.log");
    assert!(!text.contains("secret") && !text.contains("x=y"), "{text}");
    let lines = folder.lines("a.log");
    let of = |field: &str, value: &str| {
        let found: Vec<_> = lines.iter().filter(|line| line[field] == value).collect();
        assert_eq!(found.len(), 1, "{field}={value} in {text}");
        found[0]
    };
    let common = [("method", json!("GET")), ("host", json!("gateway.example"))];
    let open =
        [("event", json!("closed")), ("protocol", json!("websocket")), ("status", json!(101))];
    expect(
        of("path", "/echo"),
        &[
            &common[..],
            &open,
            &[
                ("peer", json!(address)),
                ("route", json!("/echo")),
                ("user_agent", json!("me")),
                ("origin", json!("http://gateway.example")),
                ("listener", json!("127.0.0.1:0")),
                ("reason", json!("peer_closed")),
                ("code", json!(1000)),
                ("by_peer", json!(true)),
                ("messages_in", json!(1)),
                ("messages_out", json!(1)),
                ("bytes_out", json!(5)),
                ("query", Value::Null),
                ("left_out", Value::Null),
                ("user", Value::Null),
            ],
        ]
        .concat(),
    );
    assert!(of("path", "/echo")["bytes_in"].as_u64().is_some_and(|bytes| bytes >= 11));
    assert!(of("path", "/echo")["duration"].as_f64().is_some_and(|time| time < 20.0));
    expect(
        of("path", "/"),
        &[
            &common[..],
            &[
                ("event", json!("answered")),
                ("protocol", json!("http")),
                ("status", json!(200)),
                ("reason", Value::Null),
            ],
        ]
        .concat(),
    );
    assert!(of("path", "/")["bytes_out"].as_u64().is_some_and(|bytes| bytes > 1000));
    expect(
        of("path", "/nothing"),
        &[
            &common[..],
            &[
                ("event", json!("refused")),
                ("status", json!(404)),
                ("reason", json!("not_found")),
                ("bytes_out", json!("nothing is served at this path\n".len())),
            ],
        ]
        .concat(),
    );
    expect(
        of("reason", "bad_request"),
        &[("event", json!("refused")), ("status", json!(400)), ("path", Value::Null)],
    );
    expect(
        of("path", "/rooms/a"),
        &[
            &open[..],
            &[("reason", json!("lost")), ("code", json!(1006)), ("route", json!("/rooms/{room}"))],
        ]
        .concat(),
    );
    expect(of("path", "/rooms/b"), &[&open[..], &[("reason", json!("drain"))]].concat());
    assert_eq!(lines.len(), 6, "{text}");
}

#[test]
fn openings_have_lines_where_both_are_asked_for() {
    let folder = Folder::new();
    let fields = "fields = [\"event\", \"id\", \"path\", \"query\"]\nconnections = \"both\"";
    let gateway = Gateway::start(&folder.log(fields));
    let peer = Peer::open(&gateway, "/echo?a=b");
    wait_until("a line", || (folder.lines("a.log").len() == 1).then_some(()));
    drop(peer);
    get(&gateway, "/");
    wait_until("three lines", || (folder.lines("a.log").len() == 3).then_some(()));
    let _ = gateway.terminate();
    let lines = folder.lines("a.log");
    let mut events: Vec<_> =
        lines.iter().map(|line| line["event"].as_str().expect("one")).collect();
    assert_eq!(events[0], "opened");
    events.sort_unstable();
    assert_eq!(events, ["answered", "closed", "opened"]);
    let of = |event: &str| lines.iter().find(|line| line["event"] == event).expect("one");
    assert_eq!(of("opened")["id"], of("closed")["id"]);
    assert_eq!(of("closed")["query"], "a=…");
}

/// Takes a line of the combined format apart, as strictly as it can be.
fn combined(line: &str) -> Vec<String> {
    let mut fields = Vec::new();
    let mut rest = line;
    for (open, close) in [
        ("", " "),
        ("- ", ""),
        ("", " "),
        ("[", "] "),
        ("\"", "\" "),
        ("", " "),
        ("", " "),
        ("\"", "\" "),
        ("\"", "\""),
    ] {
        rest =
            rest.strip_prefix(open).unwrap_or_else(|| panic!("no {open:?} at {rest:?} of {line}"));
        let end = rest.find(close).unwrap_or_else(|| panic!("no {close:?} in {rest:?} of {line}"));
        let (field, behind) = rest.split_at(end);
        assert!(field.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{line}");
        for escape in field.split('\\').skip(1) {
            let digits = escape.strip_prefix('x').and_then(|hex| hex.get(..2)).expect(line);
            assert!(u8::from_str_radix(digits, 16).is_ok(), "{line}");
        }
        fields.push(field.to_owned());
        rest = &behind[close.len()..];
    }
    assert_eq!(rest, "", "{line}");
    fields.remove(1);
    fields
}

#[test]
fn nobody_forges_a_line() {
    let agents: [&[u8]; 4] = [
        b"a\" 200 1 \"-\" \"b",
        b"\"}\t{\"event\":\"closed\",\"user\":\"root\"}",
        b"\xc2\x85\xe2\x80\xa8\x9b31m\xff\\x0a\\n",
        b"\\\"",
    ];
    for format in ["json", "combined"] {
        let folder = Folder::new();
        let gateway = Gateway::start(&folder.log(&format!("format = \"{format}\"")));
        for agent in agents {
            let mut peer = Peer::connect(&gateway);
            let mut head = b"GET /\"]\\x0a\"} HTTP/1.1\r\nHost: a\r\nUser-Agent: ".to_vec();
            head.extend_from_slice(agent);
            head.extend_from_slice(b"\r\nReferer: ");
            head.extend_from_slice(agent);
            head.extend_from_slice(b"\r\n\r\n");
            peer.send(head);
            let status = peer.response_head().status;
            assert!([400, 404].contains(&status), "{status}");
        }
        let _ = gateway.terminate();
        let text = folder.read("a.log");
        assert_eq!(text.lines().count(), agents.len(), "{text}");
        if format == "json" {
            for line in folder.lines("a.log") {
                assert_eq!((&line["event"], &line["user"]), (&json!("refused"), &Value::Null));
            }
        } else {
            for line in text.lines() {
                let fields = combined(line);
                assert_eq!((fields[0].as_str(), fields[1].as_str()), ("127.0.0.1", "-"));
                assert!(["400", "404"].contains(&fields[4].as_str()), "{line}");
            }
        }
    }
}

#[test]
fn the_combined_format_has_who_what_and_how_much() {
    let folder = Folder::new();
    let issuer = TokenIssuer::new();
    let routes = "[[route]]\npath = \"/echo\"\nhandler = \"echo\"\nadmission = [\"jwt\"]\n";
    let gateway =
        Gateway::start(&(issuer.config("") + routes + &folder.log("format = \"combined\"")));
    let token = issuer.token(Signed::BySecret, "ada l");
    let request = Request::open("/echo?token=secret")
        .with("Authorization", &format!("Bearer {token}"))
        .with("User-Agent", "curl/8")
        .with("Cookie", &format!("token={token}"))
        .with("Referer", &format!("https://u:{token}@page.test/x?token={token}"));
    let (mut peer, _) = Peer::open_with(&gateway, &request);
    peer.echo("hello");
    drop(peer);
    wait_until("a line", || (!folder.read("a.log").is_empty()).then_some(()));
    let _ = gateway.terminate();
    let text = folder.read("a.log");
    assert!(!text.contains(&token) && !text.contains("secret"), "{text}");
    let fields = combined(text.trim_end_matches('\n'));
    assert!(fields[2].ends_with(" +0000") && fields[2].len() == 26, "{text}");
    let [peer, user, _, rest @ ..] = fields.as_slice() else { panic!("{text}") };
    assert_eq!((peer.as_str(), user.as_str()), ("127.0.0.1", "ada\\x20l"));
    assert_eq!(rest, ["GET /echo HTTP/1.1", "101", "5", "https://page.test/x", "curl/8"]);
}

#[test]
fn no_token_is_in_it() {
    let folder = Folder::new();
    let issuer = TokenIssuer::new();
    let route = "[[route]]\npath = \"/echo\"\nhandler = \"echo\"\nadmission = [\"jwt\"]\n";
    let from = "from = [\"bearer\", \"cookie.t\", \"query.token\", \"subprotocol\"]\n";
    let fields =
        "fields = [\"user\", \"path\", \"query\", \"subprotocol\", \"referer\", \"status\"]";
    let gateway = Gateway::start(&(issuer.config(from) + route + &folder.log(fields)));
    for (user, is_good) in [("ada", true), ("bob", false)] {
        let mut token = issuer.token(Signed::BySecret, user);
        if !is_good {
            token.push('x');
        }
        let page = format!("https://a.test/#{token}");
        for request in [
            Request::open("/echo").with("Authorization", &format!("Bearer {token}")),
            Request::open("/echo").with("Cookie", &format!("t={token}")).with("Referer", &page),
            Request::open(&format!("/echo?token={token}&{token}&{token}=")),
            Request::open("/echo").with("Sec-WebSocket-Protocol", &format!("bearer, {token}")),
        ] {
            let mut peer = Peer::connect(&gateway);
            peer.request(&request);
            let status = peer.response_head().status;
            assert_eq!(status == 101, is_good, "{status}");
        }
    }
    let _ = gateway.terminate();
    let lines = folder.lines("a.log");
    assert_eq!(lines.len(), 8, "{lines:?}");
    assert!(!folder.read("a.log").contains("eyJ"), "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line["user"] == "ada").count(), 4, "{lines:?}");
    assert!(lines.iter().any(|line| line["query"] == "token=…&…&…"), "{lines:?}");
}

#[test]
fn a_proxy_and_whom_it_speaks_for_are_both_told() {
    let folder = Folder::new();
    let stack = Gateway::listener("ws!proxy?from=127.0.0.1!tcp");
    let gateway = Gateway::start(&(folder.log("") + &stack));
    let mut peer = Peer::connect(&gateway);
    let proxy = peer.address().to_string();
    peer.send("PROXY TCP4 192.0.2.7 192.0.2.1 1234 80\r\n");
    peer.request(&Request::open("/echo"));
    peer.expect_open();
    drop(peer);
    let mut stranger = Peer::connect(&gateway);
    stranger.send("GET / HTTP/1.1\r\n\r\n");
    stranger.expect_end();
    wait_until("two lines", || (folder.lines("a.log").len() == 2).then_some(()));
    let _ = gateway.terminate();
    let lines = folder.lines("a.log");
    let of = |event: &str| lines.iter().find(|line| line["event"] == event).expect("a line");
    let told = [("peer", json!("192.0.2.7:1234")), ("proxied_by", json!(proxy))];
    expect(of("closed"), &told);
    expect(of("refused"), &[("reason", json!("http")), ("status", Value::Null)]);
}

#[test]
fn a_large_file_is_put_aside_and_so_many_are_kept() {
    let folder = Folder::new();
    let more = "max_size = \"64KiB\"\nkeep = 2\nrefusals_per_second = 1000000";
    let gateway = Gateway::start(&folder.log(more));
    let asked = 700;
    for _ in 0..asked {
        assert_eq!(get(&gateway, &format!("/{}", "a".repeat(200))), 404);
    }
    let _ = gateway.terminate();
    let names = ["a.log", "a.log.1", "a.log.2"];
    let mut left = 0;
    for name in names {
        let size = folder.read(name).len();
        assert!(size <= 64 << 10 && (name == "a.log" || size > 60 << 10), "{name} has {size}");
        left += folder.lines(name).len();
    }
    assert!(left < asked && left > 200, "{left} of {asked}");
    assert_eq!(fs::read_dir(&folder.0).expect("a folder").count(), names.len());
}

#[test]
fn a_file_that_was_moved_away_is_opened_anew_on_sighup() {
    let folder = Folder::new();
    let gateway = Gateway::with_admin(&folder.log(""));
    get(&gateway, "/first");
    wait_until("a line", || (folder.lines("a.log").len() == 1).then_some(()));
    fs::rename(folder.path("a.log"), folder.path("b.log")).expect("it is there");
    get(&gateway, "/second");
    wait_until("a line in what was moved", || (folder.lines("b.log").len() == 2).then_some(()));
    gateway.signal(Signal::HUP);
    gateway.expect_log(&["tidegate::access_log", "opened anew"]);
    get(&gateway, "/third");
    // Nothing is lost meanwhile.
    for _ in 0..20 {
        gateway.signal(Signal::HUP);
        (0..3).for_each(|_| _ = get(&gateway, "/third"));
    }
    expect_counted(&gateway, "lines", 63);
    assert_eq!(counted(&gateway, "unwritten"), 0);
    let log = gateway.terminate();
    assert!(!log.contains("is ignored"), "{log}");
    let paths =
        |name| folder.lines(name).iter().map(|line| line["path"].clone()).collect::<Vec<_>>();
    assert_eq!(paths("b.log"), ["/first", "/second"]);
    assert_eq!(paths("a.log"), vec![json!("/third"); 61]);
}

/// A FIFO that is open at its other end, though nobody reads it yet.
fn fifo(folder: &Folder) -> File {
    let path = folder.path("a.log");
    let made = Command::new("mkfifo").arg(&path).status().expect("mkfifo");
    assert!(made.success());
    OpenOptions::new().read(true).write(true).open(path).expect("it is there")
}

#[test]
fn nobody_waits_for_who_does_not_read() {
    let folder = Folder::new();
    let mut reader = fifo(&folder);
    let gateway = Gateway::with_admin(&folder.log("queue = 16\nrefusals_per_second = 1000000"));
    let mut peer = Peer::open(&gateway, "/echo");
    let mut asked = 0;
    let (begun, mut longest) = (Instant::now(), Duration::ZERO);
    // Lines may be dropped before the FIFO is full, where the thread that writes has no core. When
    // none was written while those of whole rounds were dropped, it is.
    let (mut at, mut still) = (0, 0);
    while still < 3 {
        for _ in 0..50 {
            assert_eq!(get(&gateway, "/nothing"), 404);
            let asked_at = Instant::now();
            peer.echo("here");
            longest = longest.max(asked_at.elapsed());
        }
        asked += 50;
        let now = counted(&gateway, "lines");
        still = if now == at && counted(&gateway, "dropped") > 100 { still + 1 } else { 0 };
        at = now;
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing is dropped");
    }
    assert!(longest < Duration::from_millis(500), "an echo took {longest:?}");
    // Once it is read, it goes on.
    let written = counted(&gateway, "lines");
    let mut bytes = vec![0; 1 << 20];
    let count = reader.read(&mut bytes).expect("what there was room for");
    let lines = bytes[..count].iter().filter(|byte| **byte == b'\n').count() as u64;
    assert!(count > 30_000 && lines >= written, "{lines} lines of {written}");
    assert_eq!(parsed(&String::from_utf8_lossy(&bytes[..count])).len() as u64, lines);
    expect_counted(&gateway, "lines", written + 1);
    let dropped = counted(&gateway, "dropped");
    assert!(dropped < asked, "{dropped} of {asked}");
    // Nor does the end wait for long.
    (0..300).for_each(|_| _ = get(&gateway, "/nothing"));
    let ending = Instant::now();
    drop(peer);
    let _ = gateway.terminate();
    assert!(ending.elapsed() < Duration::from_secs(10), "{:?}", ending.elapsed());
}

#[test]
fn a_full_disk_is_counted_and_the_gateway_serves() {
    let gateway = Gateway::with_admin(&to("file:/dev/full", ""));
    for _ in 0..20 {
        assert_eq!(get(&gateway, "/nothing"), 404);
    }
    assert_eq!(expect_counted(&gateway, "unwritten", 20), 20);
    assert_eq!((counted(&gateway, "lines"), counted(&gateway, "dropped")), (0, 0));
    Peer::open(&gateway, "/echo").echo("served");
    let log = gateway.terminate();
    assert_eq!(log.matches("lines cannot be written").count(), 1, "{log}");
}

#[test]
fn syslog_receives_each_line_and_may_be_started_anew() {
    let folder = Folder::new();
    let path = folder.path("log.sock");
    let receive = |socket: &UnixDatagram| {
        let mut bytes = [0; 8192];
        let count = socket.recv(&mut bytes).expect("a datagram");
        let text = String::from_utf8(bytes[..count].to_vec()).expect("text");
        let (start, line) = text.split_once("]: ").expect("what stands before it");
        assert!(start.starts_with("<190>tidegate["), "{text}");
        serde_json::from_str::<Value>(line).expect("JSON")
    };
    let bind = || {
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
        socket
    };
    let socket = bind();
    let gateway = Gateway::with_admin(&to(&format!("syslog:{path}"), ""));
    get(&gateway, "/one");
    assert_eq!(receive(&socket)["path"], "/one");
    drop(socket);
    get(&gateway, "/two");
    expect_counted(&gateway, "unwritten", 1);
    fs::remove_file(&path).expect("it was left there");
    let socket = bind();
    wait_until("it goes on", || {
        get(&gateway, "/three");
        (counted(&gateway, "lines") > 1).then_some(())
    });
    assert_eq!(receive(&socket)["path"], "/three");
    let log = gateway.terminate();
    assert!(log.contains("lines can be written again"), "{log}");
}

#[test]
fn of_a_flood_of_refusals_some_have_lines_and_all_are_counted() {
    let folder = Folder::new();
    let gateway = Gateway::with_admin(&folder.log("refusals_per_second = 5"));
    for _ in 0..100 {
        assert_eq!(get(&gateway, "/nothing"), 404);
    }
    let left_out = expect_counted(&gateway, "left_out", 50);
    assert_eq!(get(&gateway, "/"), 200);
    let _ = gateway.terminate();
    let lines = folder.lines("a.log");
    let last = lines.last().expect("a line");
    assert_eq!(last["event"], "answered");
    assert!(last["left_out"].as_u64().is_some_and(|count| count > 0), "{last}");
    let told: u64 = lines.iter().filter_map(|line| line["left_out"].as_u64()).sum();
    assert_eq!((told, told + lines.len() as u64), (left_out, 101));
}

#[test]
fn stdout_has_the_lines_below_where_is_listened() {
    let gateway = Gateway::start(&to("stdout", ""));
    get(&gateway, "/nothing");
    gateway.signal(Signal::TERM);
    let exited = gateway.wait();
    let lines: Vec<_> = exited.stdout.lines().collect();
    assert!(lines[0].starts_with("listening on "), "{lines:?}");
    assert_eq!(parsed(&format!("{}\n", lines[1]))[0]["path"], "/nothing");
    assert_eq!(lines.len(), 2);
}

#[test]
fn what_cannot_be_opened_ends_the_start_and_the_check() {
    let folder = Folder::new();
    let missing = to("file:/nowhere/a.log", "");
    let nobody = to(&format!("syslog:{}", folder.path("log.sock")), "");
    for (text, said) in [(missing, "/nowhere/a.log cannot be opened"), (nobody, "nobody receives")]
    {
        for argument in [None, Some("--check"), Some("--check=machine")] {
            let launch = Launch::new().config(&text).argument("--listen").argument("127.0.0.1:0");
            let exited = argument.map_or(launch.clone(), |one| launch.argument(one)).run();
            assert_eq!(exited.code, Some(2), "{}", exited.stderr);
            assert!(exited.stderr.contains(said), "{}", exited.stderr);
        }
    }
    // A FIFO that nobody reads would never be opened.
    let reader = fifo(&folder);
    drop(reader);
    let exited = Launch::new().config(&folder.log("")).listen("127.0.0.1:0").run();
    assert_eq!(exited.code, Some(2), "{}", exited.stderr);
    fs::remove_file(folder.path("a.log")).expect("it is there");
    for argument in ["--check", "--check=machine"] {
        let launch = Launch::new().config(&folder.log("")).argument("--listen");
        let exited = launch.argument("127.0.0.1:0").argument(argument).run();
        assert_eq!(exited.code, Some(0), "{}", exited.stderr);
        assert!(exited.stdout.contains("access log: lines that wait"), "{}", exited.stdout);
    }
    assert_eq!(fs::read_dir(&folder.0).expect("a folder").count(), 0, "a check left a file");
}

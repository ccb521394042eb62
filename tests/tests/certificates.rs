//! What operators see of TLS, and certificates: read at the start and anew, doubted, told of, and
//! those that clients show.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::Value;
use tidegate::config::stack::{ClientCertificates, Stack, TlsLayer};
use tidegate::config::{Certificate, Config, Listener, Route, RouteHandler};
use tidegate::gateway::{self as embedded, Program};
use tidegate::handler::{Context, Decision, Desk, Handler, Piece, Refusal, Request, Response};
use tidegate_tests::tls::{Authority, Files, NAME, Pair};
use tidegate_tests::{
    Exposition, Gateway, Launch, PATIENCE, Peer, Signal, case, read_some, wait_until,
};

/// A gateway over TLS whose certificate is in a file, and who has signed it.
struct Site {
    authority: Authority,
    files: Files,
    cert: PathBuf,
    key: PathBuf,
}

impl Site {
    fn new() -> Self {
        let (authority, files) = (Authority::new(), Files::new());
        let (cert, key) = write(&files, "own", &authority.pair(&[NAME]));
        Self { authority, files, cert, key }
    }

    /// A configuration with this layer of TLS, and a plain listener beside it.
    fn config(&self, layer: &str) -> String {
        let (cert, key) = (self.cert.display(), self.key.display());
        format!(
            "shards = 1\npin = false\n\
             [[listener]]\naddress = \"127.0.0.1:0\"\nstack = \"log!ws!{layer}!tcp\"\n\
             [[listener]]\naddress = \"127.0.0.1:0\"\nstack = \"ws!tcp\"\n\
             [[certificate]]\ncert = \"{cert}\"\nkey = \"{key}\"\n"
        )
    }

    fn start(&self, layer: &str) -> Gateway {
        Launch::new().config(&self.config(layer)).admin().start_with_addresses(2)
    }

    /// Puts another certificate in the place of the one that there is.
    fn renew(&self) -> Pair {
        let pair = self.authority.pair(&[NAME, "other.test"]);
        write(&self.files, "own", &pair);
        pair
    }

    /// The certificate that who connects now is shown.
    fn shown(&self, gateway: &Gateway) -> CertificateDer<'static> {
        let mut stream = connect(gateway.address(), self.authority.trusting());
        assert!(ask(&mut stream, "/echo").starts_with("HTTP/1.1 101 "));
        stream.conn.peer_certificates().expect("it shows one")[0].clone().into_owned()
    }
}

fn write(files: &Files, name: &str, pair: &Pair) -> (PathBuf, PathBuf) {
    let key = files.write(&format!("{name}.key"), &pair.key);
    (files.write(&format!("{name}.pem"), &pair.certificate), key)
}

type Stream = StreamOwned<ClientConnection, TcpStream>;

fn connect(address: SocketAddr, config: Arc<ClientConfig>) -> Stream {
    let socket = TcpStream::connect(address).expect("it listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("an option");
    let name = ServerName::try_from(NAME).expect("a name");
    StreamOwned::new(ClientConnection::new(config, name).expect("settings"), socket)
}

/// Asks for a WebSocket; yields the head of the answer, and what came with it.
fn ask(stream: &mut Stream, path: &str) -> String {
    let request = tidegate_tests::Request::open(path).bytes();
    stream.write_all(&request).expect("it is taken");
    let mut answer = Vec::new();
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut bytes = [0; 4096];
        let count = read_some(stream, &mut bytes).expect("an answer");
        assert!(count > 0, "it ends amid {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&bytes[..count]);
    }
    String::from_utf8(answer).expect("text")
}

/// The status and the body of what is asked of the admin address.
fn admin(gateway: &Gateway, method: &str, path: &str) -> (u16, String) {
    let address = gateway.admin_address();
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("an option");
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("it is taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole head");
    (head[9..12].parse().expect("a status"), body.to_owned())
}

fn json(gateway: &Gateway, method: &str, path: &str) -> Value {
    let (status, body) = admin(gateway, method, path);
    assert_eq!(status, 200, "{method} {path}: {body}");
    serde_json::from_str(&body).expect("JSON")
}

fn metrics(gateway: &Gateway) -> Exposition {
    Exposition::read(&admin(gateway, "GET", "/metrics").1).expect("metrics")
}

#[test]
fn certificates_are_read_anew_by_the_admin_address_and_by_a_signal() {
    let site = Site::new();
    let gateway = site.start("tls");
    let first = site.shown(&gateway);
    let mut open = connect(gateway.address(), site.authority.trusting());
    ask(&mut open, "/echo");
    let before = json(&gateway, "GET", "/v1/certificates");
    let told = &before["certificates"][0];
    assert_eq!(told["file"], site.cert.display().to_string());
    assert_eq!(told["names"], serde_json::json!([NAME]));
    assert!(told["days_left"].as_i64().expect("a number") > 14, "{told}");
    let renewed = site.renew();
    assert_eq!(site.shown(&gateway), first, "nobody has said so yet");
    let after = json(&gateway, "POST", "/v1/certificates/reload");
    assert_eq!(after["certificates"][0]["names"], serde_json::json!([NAME, "other.test"]));
    let fingerprint = |told: &Value| told["certificates"][0]["fingerprint_sha256"].clone();
    assert_ne!(fingerprint(&before), fingerprint(&after));
    assert_eq!(json(&gateway, "GET", "/v1/certificates"), after);
    assert_eq!(site.shown(&gateway), renewed.der());
    gateway.expect_log(&["/v1/certificates/reload", "status=200", "concerning=\"1 certificates\""]);
    let renewed = site.renew();
    gateway.signal(Signal::HUP);
    wait_until("the other certificate", || (site.shown(&gateway) == renewed.der()).then_some(()));
    open.write_all(&tidegate_tests::Frame::text("go on").masked()).expect("it is taken");
    let mut echo = [0; 7];
    open.read_exact(&mut echo).expect("who was there goes on");
    assert_eq!(&echo[2..], b"go on");
    let told = metrics(&gateway);
    assert_eq!(told.get("tidegate_certificate_reloads_total{result=\"done\"}"), 2.0);
    wait_until("it is among what has happened", || {
        let recent = json(&gateway, "GET", "/v1/recent");
        let happenings = recent["happenings"].as_array().expect("a list").clone();
        happenings.iter().any(|one| one["what"] == "certificates").then_some(())
    });
}

#[test]
fn wrong_files_are_all_named_and_nothing_changes() {
    let site = Site::new();
    let gateway = site.start("tls");
    let first = site.shown(&gateway);
    let (cert, key) = (site.cert.display().to_string(), site.key.display().to_string());
    site.files.write("own.pem", "no certificate");
    let (status, body) = admin(&gateway, "POST", "/v1/certificates/reload");
    assert_eq!(status, 422, "{body}");
    let error: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(error["error"]["code"], "wrong_files");
    let message = error["error"]["message"].as_str().expect("a text");
    assert!(message.contains(&format!("{cert} has no certificate in it")), "{message}");
    gateway.expect_log(&["ERROR", "certificates stay as they are", &cert]);
    site.renew();
    fs::remove_file(&site.key).expect("it is there");
    gateway.signal(Signal::HUP);
    gateway.expect_log(&["ERROR", "the configuration stays as it is", &key, "is not there"]);
    assert_eq!(site.shown(&gateway), first);
    let told = metrics(&gateway);
    assert_eq!(told.get("tidegate_certificate_reloads_total{result=\"refused\"}"), 2.0);
}

#[test]
fn a_start_names_all_wrong_files_and_a_check_does_so_before() {
    let site = Site::new();
    let missing = site.files.write("gone.pem", "").with_file_name("nowhere.pem");
    site.files.write("own.key", "no key");
    let layer = format!("tls?client_ca={}", missing.display());
    let config = site.config(&layer);
    for arguments in [&[][..], &["--check"], &["--check=machine"]] {
        case(arguments.join(" "), || {
            let launch = Launch::new().config(&config);
            let launch = arguments.iter().fold(launch, |launch, next| launch.argument(*next));
            let exited = launch.run();
            assert_eq!(exited.code, Some(2), "{exited:?}");
            let wrong: Vec<_> =
                exited.stderr.lines().filter(|line| line.starts_with('/')).collect();
            let expected = [
                format!("{} has no private key in it", site.key.display()),
                format!("{} is not there", missing.display()),
            ];
            assert_eq!(wrong.len(), expected.len(), "{}", exited.stderr);
            for start in &expected {
                assert!(wrong.iter().any(|line| line.starts_with(start)), "{}", exited.stderr);
            }
        });
    }
}

#[test]
fn what_is_doubtful_is_warned_of() {
    let site = Site::new();
    write(&site.files, "own", &site.authority.pair_for_days(3));
    let gateway = site.start("tls");
    let expected = format!("{}: it expires in", site.cert.display());
    gateway.expect_log(&["WARN", &expected, "days"]);
    let config = json(&gateway, "GET", "/v1/config");
    let warnings = config["warnings"].as_array().expect("a list");
    assert!(warnings.iter().any(|one| one.to_string().contains(&expected)), "{warnings:?}");
    let told = &json(&gateway, "GET", "/v1/overview")["tls"]["certificates"][0];
    assert!(told["days_left"].as_i64().expect("a number") <= 3, "{told}");
    for check in ["--check", "--check=machine"] {
        let exited = Launch::new().config(&site.config("tls")).argument(check).run();
        let expected = format!("warning: {expected}");
        assert!(exited.stderr.lines().any(|line| line.starts_with(&expected)), "{exited:?}");
        assert_eq!(exited.code, Some(0));
    }
    // Of one that is not in use any more nothing is said.
    site.renew();
    json(&gateway, "POST", "/v1/certificates/reload");
    let warnings = json(&gateway, "GET", "/v1/config")["warnings"].to_string();
    assert!(!warnings.contains("it expires in"), "{warnings}");
}

#[test]
fn handshakes_are_counted_and_connections_told_of_with_their_clients() {
    let site = Site::new();
    let ca = site.files.write("ca.pem", &site.authority.certificate());
    let gateway =
        site.start(&format!("tls?min=1.2&client_cert=optional&client_ca={}", ca.display()));
    let device = site.authority.trusting_as(&site.authority.client("device-7"));
    let mut known = connect(gateway.address(), device);
    ask(&mut known, "/echo");
    gateway.expect_log(&["opened", "tls=\"1.3\"", "certificate=\"CN=device-7\""]);
    let older = site.authority.trusting_by(&[&rustls::version::TLS12]);
    let mut older = connect(gateway.address(), older);
    ask(&mut older, "/echo");
    let line = gateway.expect_log(&["opened", "tls=\"1.2\""]);
    assert!(!line.contains("certificate"), "{line}");
    let is_counted = || {
        let told = metrics(&gateway);
        let handshakes = |version: &str, cipher: &str| {
            let labels = format!("version=\"{version}\",cipher=\"{cipher}\",shard=\"0\"");
            told.get(&format!("tidegate_tls_handshakes_total{{{labels}}}"))
        };
        let new = handshakes("1.3", "TLS_AES_128_GCM_SHA256")
            + handshakes("1.3", "TLS_AES_256_GCM_SHA384");
        let old: f64 = ["128_GCM_SHA256", "256_GCM_SHA384"]
            .map(|cipher| handshakes("1.2", &format!("TLS_ECDHE_ECDSA_WITH_AES_{cipher}")))
            .iter()
            .sum();
        let took = told.get("tidegate_tls_handshake_seconds_count{shard=\"0\"}");
        ((new, old, took) == (1.0, 1.0, 2.0)).then_some(told)
    };
    let told = wait_until("both are counted", is_counted);
    assert_eq!(told.get("tidegate_tls_handshakes_in_progress{shard=\"0\"}"), 0.0);
    assert_eq!(told.get("tidegate_tls_handshakes_allowed"), 256.0);
    let labels = format!("file=\"{}\",name=\"{NAME}\"", site.cert.display());
    let expires = format!("tidegate_certificate_not_after_timestamp_seconds{{{labels}}}");
    assert!(told.get(&expires) > 1.0e9);
    let held = "tidegate_budget_used_bytes{line=\"certificates of clients\",shard=\"0\"}";
    assert!(told.get(held) > 200.0, "{}", told.get(held));
}

#[test]
fn the_log_has_the_names_of_a_client_that_has_no_subject() {
    let site = Site::new();
    let ca = site.files.write("ca.pem", &site.authority.certificate());
    let gateway = site.start(&format!("tls?client_ca={}", ca.display()));
    let ids = |count: u32| -> Vec<String> {
        (0..count).map(|at| format!("spiffe://edge.test/ns/{at:02}/sa/sensor")).collect()
    };
    for (count, said, left_out) in [(1, 1, None), (20, 7, Some(13))] {
        let client = site.authority.trusting_as(&site.authority.workload(&ids(count)));
        ask(&mut connect(gateway.address(), client), "/echo");
        let names = format!("certificate=\"\" names={:?}", ids(said).join(" "));
        let line = gateway.expect_log(&["opened", &names]);
        let told = left_out.map(|count: u32| format!("names_left_out={count} "));
        match told {
            Some(told) => assert!(line.contains(&told), "{line}"),
            None => assert!(!line.contains("left_out"), "{line}"),
        }
    }
}

#[test]
fn failed_handshakes_are_counted_and_one_in_a_second_is_logged() {
    let site = Site::new();
    let gateway = site.start("tls");
    for _ in 0..5 {
        let mut peer = Peer::try_connect(gateway.address()).expect("it listens");
        peer.request(&tidegate_tests::Request::open("/echo"));
        peer.expect_refusal(400);
    }
    // One that expects somebody else of the same name, and so another signature.
    let stranger = Authority::new();
    let mut stream = connect(gateway.address(), stranger.trusting());
    assert!(stream.write_all(b"hello").is_err(), "it does not trust the certificate");
    wait_until("all are counted", || {
        let told = metrics(&gateway);
        let failed = |reason: &str| {
            let labels = format!("reason=\"{reason}\",shard=\"0\"");
            told.get(&format!("tidegate_tls_handshake_failures_total{{{labels}}}"))
        };
        let counts = (failed("plain_http"), failed("peer_alert"));
        (counts == (5.0, 1.0)).then_some(())
    });
    gateway.signal(Signal::USR1);
    let counter = "tidegate_tls_handshake_failures_total{reason=\"plain_http\"} 5";
    gateway.expect_log(&["tidegate::counters", counter]);
    let line = gateway.expect_log(&["a handshake has failed", "reason=\"plain_http\""]);
    assert!(line.contains("tidegate::tls") && line.contains("peer=127.0.0.1:"), "{line}");
    let lines = gateway.log().matches("a handshake has failed").count();
    assert!((1..=5).contains(&lines), "{lines} lines of six, moments apart");
    let told = &json(&gateway, "GET", "/v1/overview")["tls"];
    assert_eq!(told["failed"]["plain_http"], 5, "{told}");
}

#[test]
fn tls_to_a_plain_listener_is_refused_by_name() {
    let site = Site::new();
    let gateway = site.start("tls");
    let mut stream = connect(gateway.addresses()[1], site.authority.trusting());
    assert!(stream.write_all(b"hello").is_err(), "what it hears is not TLS");
    gateway.expect_log(&["tidegate::refused", "reason=\"tls\"", "speaks no TLS"]);
    wait_until("it is counted", || {
        let told = metrics(&gateway).get("tidegate_refusals_total{reason=\"tls\",shard=\"0\"}");
        (told == 1.0).then_some(())
    });
}

/// Says who asks by its certificate, at once or when it was found out.
struct Who;

impl Who {
    fn says(request: &Request<'_>) -> Decision {
        match request.client_certificate() {
            Some(peer) => Response::text(200, format!("{} {:?}", peer.subject, peer.names))
                .expect("a status")
                .into(),
            None => Refusal::Forbidden.into(),
        }
    }
}

impl Handler for Who {
    fn request(&mut self, request: &Request<'_>, _: &mut Desk<'_>) -> Decision {
        Self::says(request)
    }

    fn message(&mut self, _: &mut Context<'_, '_>, _: Piece<'_>) {}
}

#[test]
fn a_handler_is_told_the_certificate_of_who_asks() {
    let site = Site::new();
    let ca = site.files.write("ca.pem", &site.authority.certificate());
    let client = Some(ClientCertificates { ca, is_required: false });
    let tls = Some(TlsLayer { client, ..TlsLayer::default() });
    let stack = Stack { tls, ..Stack::default() };
    let listener = Listener { stack, ..Listener::new(SocketAddr::from(([127, 0, 0, 1], 0))) };
    let config = Config {
        listeners: vec![listener],
        certificates: vec![Certificate::new(&site.cert, &site.key)],
        ..Config::default()
    };
    let config = config.with_routes(vec![Route::new("/who", RouteHandler::Embedded)]);
    let program = Program::default().handler("/who", || Who);
    let gateway =
        embedded::Gateway::start_with(config.with_admin(None), program).expect("it starts");
    let address = gateway.addresses()[0].ip().expect("it is no Unix socket");
    let answer = |config| ask(&mut connect(address, config), "/who");
    let known = answer(site.authority.trusting_as(&site.authority.client("device-7")));
    assert!(known.starts_with("HTTP/1.1 200 "), "{known}");
    assert!(known.contains("CN=device-7 [\"client.test\"]"), "{known}");
    let unknown = answer(site.authority.trusting());
    assert!(unknown.starts_with("HTTP/1.1 403 "), "{unknown}");
    assert_eq!(gateway.certificates().facts()[0].names, [NAME]);
    gateway.certificates().reload().expect("they are as they were");
}

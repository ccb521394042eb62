//! Keys that an issuer has at an endpoint of its own, which rotates them, fails, and lies.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use tidegate_tests::tls::Authority;
use tidegate_tests::tokens::{Signed, TokenIssuer, now};
use tidegate_tests::{Gateway, Peer, Request, Signal, wait_until};

/// What an endpoint does with whoever asks.
#[derive(Clone, Debug)]
enum Mood {
    /// Says this set.
    Says(Value),
    /// Says this status, and nothing of use.
    Fails(u16),
    /// Says these bytes in place of a set.
    Lies(Vec<u8>),
    /// Takes the request and says nothing.
    Sulks,
    /// Ends amid its answer.
    Breaks,
}

/// An endpoint on a port of this machine.
struct Endpoint {
    address: SocketAddr,
    mood: Arc<Mutex<Mood>>,
    asked: Arc<AtomicU64>,
}

impl Endpoint {
    fn new(mood: Mood, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let (mood, asked) = (Arc::new(Mutex::new(mood)), Arc::new(AtomicU64::new(0)));
        let (its_mood, count) = (Arc::clone(&mood), Arc::clone(&asked));
        thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::Relaxed);
                let (mood, tls) = (its_mood.lock().expect("nobody panicked").clone(), tls.clone());
                thread::spawn(move || serve(socket, &mood, tls));
            }
        });
        Self { address, mood, asked }
    }

    fn becomes(&self, mood: Mood) {
        *self.mood.lock().expect("nobody panicked") = mood;
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// Waits until it was asked so often more.
    fn expect_asked(&self, more: u64) {
        let before = self.asked();
        wait_until("the endpoint is asked", || (self.asked() >= before + more).then_some(()));
    }
}

fn serve(socket: TcpStream, mood: &Mood, tls: Option<Arc<ServerConfig>>) {
    let _ = socket.set_read_timeout(Some(Duration::from_secs(20)));
    match tls {
        None => answer(socket, mood),
        Some(config) => {
            let connection = ServerConnection::new(config).expect("right settings");
            answer(StreamOwned::new(connection, socket), mood);
        }
    }
}

/// Who does not trust it, or leaves, is let go.
fn answer(mut stream: impl Read + Write, mood: &Mood) {
    let mut head = Vec::new();
    let mut bytes = [0; 1024];
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        match stream.read(&mut bytes) {
            Ok(0) | Err(_) => return,
            Ok(count) => head.extend_from_slice(&bytes[..count]),
        }
    }
    let (status, body) = match mood {
        Mood::Says(set) => (200, set.to_string().into_bytes()),
        Mood::Fails(status) => (*status, b"not now".to_vec()),
        Mood::Lies(bytes) => (200, bytes.clone()),
        Mood::Sulks => return thread::sleep(Duration::from_secs(15)),
        Mood::Breaks => (200, Vec::new()),
    };
    let length = if matches!(mood, Mood::Breaks) { 1000 } else { body.len() };
    let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {length}\r\n\r\n");
    let _ = stream.write_all(&[head.as_bytes(), &body].concat()).and_then(|()| stream.flush());
}

fn claims() -> Value {
    json!({"sub": "ada", "exp": now() + 3600})
}

fn set(keys: &[Value]) -> Mood {
    Mood::Says(json!({"keys": keys}))
}

/// A gateway with an issuer of this name that has its keys there, and a secret beside.
fn config(issuer: &TokenIssuer, url: &str, more: &str) -> String {
    let files = issuer.config("");
    let secrets = files.lines().find(|line| line.starts_with("secrets")).expect("a secret");
    format!(
        "[[jwt]]\njwks = \"{url}\"\njwks_age = \"10s\"\n{more}\n\
         [[route]]\npath = \"/\"\nhandler = \"echo\"\nadmission = [\"jwt\"]\n\
         [[jwt]]\nname = \"unused\"\n{secrets}\n"
    )
    .replace("admission = [\"jwt\"]", "admission = [\"jwt?by=jwt\"]")
}

fn status(gateway: &Gateway, token: &str) -> u16 {
    let mut peer = Peer::connect(gateway);
    peer.request(&Request::open("/").with("Authorization", &format!("Bearer {token}")));
    peer.response_head().status
}

#[track_caller]
fn expect_status(gateway: &Gateway, token: &str, expected: u16) {
    let what = format!("a token is answered with {expected}");
    wait_until(&what, || (status(gateway, token) == expected).then_some(()));
}

#[test]
fn keys_are_rotated_and_outlive_an_endpoint_that_fails_or_lies() {
    let (old, new, liar) = (TokenIssuer::new(), TokenIssuer::new(), TokenIssuer::new());
    let endpoint = Endpoint::new(Mood::Fails(500), None);
    let url = format!("http://{}/keys?secret=1", endpoint.address);
    let gateway = Gateway::with_admin(&config(&old, &url, ""));
    let (by_old, by_new) = (old.sign_as("old", &claims()), new.sign_as("new", &claims()));
    // Until it has answered once, nothing is known of its tokens.
    assert_eq!(status(&gateway, &by_old), 503);
    gateway.expect_log(&["tidegate::tokens", "it answers with 500", "are answered with 503"]);
    endpoint.becomes(set(&[old.jwk("old")]));
    expect_status(&gateway, &by_old, 101);
    assert_eq!(status(&gateway, &by_new), 401);
    // It rotates: a token whose key is not known has it asked, but not at once again.
    endpoint.becomes(set(&[old.jwk("old"), new.jwk("new")]));
    expect_status(&gateway, &by_new, 101);
    assert_eq!(status(&gateway, &by_old), 101);
    let asked = endpoint.asked();
    let unknown = liar.sign_as("who", &claims());
    (0..50).for_each(|_| assert_eq!(status(&gateway, &unknown), 401));
    assert!(endpoint.asked() <= asked + 1, "each token has it asked");
    // A key that it no longer has is good for nothing, though its token was verified before.
    endpoint.becomes(set(&[new.jwk("new")]));
    expect_status(&gateway, &by_old, 401);
    // What it says then is no set of keys, or none that is of use.
    let oct = json!({"keys": [{"kty": "oct", "k": "QUJD", "kid": "new"}]}).to_string();
    let forged = liar.sign(Signed::BySecret, &claims());
    for mood in [
        Mood::Fails(503),
        Mood::Fails(302),
        Mood::Lies(b"{\"keys\": 7}".to_vec()),
        Mood::Lies(oct.into_bytes()),
        Mood::Lies(vec![b' '; 300 << 10]),
        Mood::Lies(json!({"keys": []}).to_string().into_bytes()),
        Mood::Breaks,
    ] {
        endpoint.becomes(mood);
        endpoint.expect_asked(1);
        assert_eq!(status(&gateway, &by_new), 101, "what is known holds");
        assert_eq!(status(&gateway, &forged), 401);
    }
    let mut admin = Peer::try_connect(gateway.admin_address()).expect("it is there");
    admin.request(&Request::plain("GET", "/metrics").set("Host", "localhost"));
    let metrics = String::from_utf8(admin.response().body).expect("text");
    let value = |name: &str| {
        let line =
            metrics.lines().find(|line| line.starts_with(&format!("{name}{{issuer=\"jwt\"}}")));
        let value = line.and_then(|line| line.rsplit(' ').next()).expect(name);
        value.parse::<u64>().expect("a number")
    };
    assert!(value("tidegate_jwks_failures_total") >= 7, "{metrics}");
    assert!(value("tidegate_jwks_answers_total") >= 3, "{metrics}");
    assert_eq!(value("tidegate_jwt_keys"), 1, "{metrics}");
    let log = gateway.log();
    assert!(!log.contains("secret=1"), "{log}");
    assert!(gateway.terminate().len() > 1, "and it ends while it waits for an answer");
}

#[test]
fn an_endpoint_by_https_is_who_its_authority_says() {
    let authority = Authority::new();
    let pair = authority.pair(&["localhost"]);
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key");
    let tls = ServerConfig::builder().with_no_client_auth();
    let tls = Arc::new(tls.with_single_cert(vec![pair.der()], key).expect("they fit"));
    let issuer = TokenIssuer::new();
    let endpoint = Endpoint::new(set(&[issuer.jwk("a")]), Some(tls));
    let folder = issuer.key_file().parent().expect("a folder").to_owned();
    let [right, wrong] = [&authority, &Authority::new()].map(|authority| {
        let file = folder.join(format!("{:p}.pem", authority));
        std::fs::write(&file, authority.certificate()).expect("a file");
        format!("jwks_ca = {:?}", file.display().to_string())
    });
    let port = endpoint.address.port();
    let token = issuer.sign_as("a", &claims());
    let by_name = format!("https://localhost:{port}/keys");
    let gateway = Gateway::start(&config(&issuer, &by_name, &right));
    expect_status(&gateway, &token, 101);
    for (url, authority) in [
        (by_name.clone(), &wrong),
        (by_name, &String::new()),
        (format!("https://127.0.0.1:{port}"), &right),
    ] {
        let gateway = Gateway::start(&config(&issuer, &url, authority));
        gateway.expect_log(&["its keys cannot be had from https://", "certificate"]);
        assert_eq!(status(&gateway, &token), 503);
    }
}

#[test]
fn who_says_nothing_is_not_waited_for() {
    let issuer = TokenIssuer::new();
    let endpoint = Endpoint::new(Mood::Sulks, None);
    let url = format!("http://{}/", endpoint.address);
    let gateway = Gateway::start(&config(&issuer, &url, ""));
    let token = issuer.sign_as("a", &claims());
    assert_eq!(status(&gateway, &token), 503);
    wait_until("it is asked", || (endpoint.asked() > 0).then_some(()));
    let begun = std::time::Instant::now();
    gateway.terminate();
    assert!(begun.elapsed() < Duration::from_secs(8), "an end waits for no answer");
}

#[test]
fn keys_outlive_a_change_of_the_configuration_and_what_is_wanted_of_tokens_does_not() {
    let issuer = TokenIssuer::new();
    let endpoint = Endpoint::new(set(&[issuer.jwk("a")]), None);
    let url = format!("http://{}/keys", endpoint.address);
    let text = |audience: &str, more: &str| {
        config(&issuer, &url, &format!("audiences = ['{audience}']")) + more
    };
    let gateway = Gateway::with_admin(&text("one", ""));
    let for_audience = |audience: &str| {
        issuer.sign_as("a", &json!({"sub": "ada", "exp": now() + 3600, "aud": audience}))
    };
    let (one, two) = (for_audience("one"), for_audience("two"));
    expect_status(&gateway, &one, 101);
    assert_eq!(status(&gateway, &two), 401);
    // The endpoint cannot be asked, and its keys are known all the same.
    endpoint.becomes(Mood::Fails(500));
    let more = "[[route]]\npath = '/more'\nhandler = 'echo'\n";
    let all = "shards = 1\npin = false\n";
    gateway.rewrite(&format!("{all}{}", text("one", more)));
    gateway.signal(Signal::HUP);
    gateway.expect_log(&["tidegate::reload", "route /more is added"]);
    assert_eq!(status(&gateway, &one), 101);
    endpoint.becomes(set(&[issuer.jwk("a")]));
    gateway.rewrite(&format!("{all}{}", text("two", more)));
    gateway.signal(Signal::HUP);
    gateway.expect_log(&["tidegate::reload", "jwt jwt is changed"]);
    expect_status(&gateway, &two, 101);
    assert_eq!(status(&gateway, &one), 401);
}

//! Whole files: what is taken, and what each mistake is told.

use super::*;
use crate::kernel::Driver;
use crate::names::{Name, ResumeKey, TopicRule};
use crate::units::{SIZE_EXPECTED, TIME_EXPECTED};

const SAMPLE: &str = include_str!("../../tidegate.toml");

/// What is said of `text`, each line without the file's name; empty if nothing is wrong.
fn errors(text: &str) -> Vec<String> {
    match Config::parse(text, "t.toml") {
        Ok(_) => Vec::new(),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

/// Each text gets one error, which is the line given.
#[track_caller]
fn assert_each(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(errors(text), [*expected], "{text}");
    }
}

#[test]
fn the_sample_is_the_default() {
    assert_eq!(Config::parse(SAMPLE, "tidegate.toml"), Ok(Config::default()));
    assert_eq!(Config::parse("", "empty.toml"), Ok(Config::default()));
}

#[test]
fn the_sample_shows_every_key_and_option() {
    let keys = "shards pin driver log memory drain drain_delay drain_rate drain_code connections \
                receive_buffers receive_buffer staging blocks request_head heavy_input \
                handshakes expanded_keys tokens passwords permissions verifiers verifications \
                revocations memory_high memory_critical threads waiting waiting_per_address \
                address stack path handler max_message max_buffered_message backlog slow_peer \
                undecided message_rate byte_rate max_frames lifetime first_message idle \
                connections_per_address connections_per_user handshake_rate prefix_v4 prefix_v6 \
                exempt places accept_rate";
    for key in keys.split_whitespace() {
        let start = format!("{key} = ");
        assert!(SAMPLE.lines().any(|line| line.starts_with(&start)), "{key}");
    }
    for key in [
        "subprotocol",
        "subscribe",
        "publish",
        "commands",
        "origins",
        "cors",
        "allow",
        "deny",
        "cert",
        "key",
        "names",
        "admission",
        "file",
        "env",
        "sha256",
        "realm",
        "remember",
        "name",
        "keys",
        "jwks",
        "jwks_ca",
        "jwks_age",
        "secrets",
        "algorithms",
        "issuers",
        "audiences",
        "leeway",
        "must_expire",
        "from",
        "user",
        "expired",
        "message_burst",
        "byte_burst",
        "over_rate",
    ] {
        assert!(SAMPLE.contains(&format!("\n# {key} = ")), "{key}");
    }
    let options = "ping=30s pong=10s close=5s head=10s decision=10s stall=30s message=1m \
                   deflate=on deflate_level=1 deflate_min=256 forwarded=off backlog=4096 \
                   nodelay=on rcvbuf=128KiB sndbuf=256KiB user_timeout=off";
    let tls = "cert=FILE key=FILE client_ca=FILE client_cert=required min=1.3 ciphers=NAME,NAME \
               handshake=10s tickets=on ticket_keys=FILE";
    let proxy = "header=3s max=536 keep=512";
    for option in tls.split_whitespace().chain(proxy.split_whitespace()) {
        assert!(SAMPLE.contains(&format!(" {option} ")), "{option}");
    }
    let mut stack = String::from("ws?");
    for option in options.split_whitespace() {
        assert!(SAMPLE.contains(&format!("\n#   {option} ")), "{option}");
        let separator = if option.starts_with("backlog") { "!tcp?" } else { "&" };
        stack = format!("{stack}{separator}{option}");
    }
    assert_eq!(Stack::parse(&stack.replace("ws?&", "ws?")), Ok(Stack::default()));
}

/// A file in which every key is written, none of them as it is by default.
const WRITTEN: &str = r#"
    shards = 3
    pin = false
    driver = "epoll"
    log = "warn,tidegate=debug"
    log_format = "json"
    memory = "512MiB"
    drain = "2m"
    drain_delay = "3s"
    drain_rate = 0x10
    verifiers = 2
    verifications = 10
    revocations = 11
    drain_code = 1001
    [hashing]
    threads = 2
    waiting = 32
    waiting_per_address = 3
    memory = "16MiB"
    [access_log]
    to = "file:a.log"
    format = "json"
    fields = ["path", "query"]
    connections = "both"
    refusals_per_second = 7
    queue = 16
    max_size = "1MiB"
    keep = 2
    [limits]
    connections = 1_000
    receive_buffers = 64
    receive_buffer = "32KiB"
    staging = 65536
    blocks = "8MiB"
    request_head = "32KiB"
    heavy_input = "64KiB"
    handshakes = 3
    expanded_keys = 0
    tokens = "4KiB"
    passwords = "2KiB"
    permissions = 0
    memory_high = 70
    memory_critical = "off"
    [hub]
    node = 7
    topics = 100
    subscriptions = 200
    subscriptions_per_connection = 3
    mailbox = 64
    messages = "2MiB"
    max_message = "1KiB"
    queued = 300
    present = 400
    idempotency_keys = 500
    idempotency_age = "2m"
    resume_key = "0123456789abcdef0123456789abcdef"
    resume_age = "10m"
    [clients]
    connections = 1000
    connections_per_address = 10
    connections_per_user = 3
    handshake_rate = 5
    handshake_burst = 20
    prefix_v4 = 24
    prefix_v6 = 56
    exempt = ["10.0.0.0/8", "192.0.2.7"]
    places = 2048
    [[topic]]
    name = "rooms/{room}"
    history = 5
    history_bytes = "3KiB"
    history_age = "1m"
    presence = true
    linger = "2s"
    presence_events = 7
    [admin]
    address = "0.0.0.0:9"
    tokens = ["0123456789abcdef"]
    connections = 2
    keepalive = "9s"
    [[listener]]
    address = "[::1]:0"
    stack = "log!ws?ping=off!tcp"
    connections = 7
    accept_rate = 8
    accept_burst = 9
    deny = ["::2"]
    [[listener]]
    address = "0.0.0.0:81"
    [[certificate]]
    cert = "a/cert.pem"
    key = "/b/key.pem"
    names = ["Example.ORG", "*.example.org."]
    [[jwt]]
    name = "main"
    keys = ["a.pem", "/b.json"]
    secrets = ["c"]
    jwks = "https://a.example/keys"
    jwks_ca = "ca.pem"
    jwks_age = "1m"
    algorithms = ["ES256", "HS512"]
    issuers = ["https://a/"]
    audiences = ["chat", "news"]
    leeway = "1m"
    must_expire = false
    from = ["cookie.t", "query.token", "bearer", "subprotocol"]
    user = "user"
    subscribe = "hears"
    publish = ""
    expired = 3000
    [[token]]
    name = "backend"
    env = "BACKEND"
    user = "b"
    publish = ["news/*"]
    [[passwords]]
    name = "staff"
    file = "staff.users"
    realm = "Staff"
    remember = "1m"
    [[route]]
    path = "/rooms/{room}"
    handler = "echo"
    subprotocol = "chat"
    max_message = "2KB"
    backlog = "1MiB"
    slow_peer = "close"
    undecided = 9
    message_rate = 20
    message_burst = 40
    byte_rate = "64KiB"
    over_rate = "close"
    max_frames = 100
    lifetime = "12h"
    first_message = "20s"
    idle = "5m"
    origins = ["same", "https://*.example.org"]
    allow = ["10.0.0.0/8", "::1"]
    deny = ["unix"]
    admission = ["certificate", "origin", "jwt?by=main"]
    [[route]]
    path = "/live/{what}"
    handler = "hub?topic=live/{what}&publish=nobody&events=on&own=off&user=header.x-user"
    slow_peer = "conflate"
    subscribe = ["live/*"]
    publish = ["users/{user}/**"]
    commands = 9
    [[route]]
    path = "/health"
    handler = "health"
    cors = { origins = ["null"], methods = ["PUT"], headers = ["X-A"], max_age = "1m" }
    "#;

#[test]
fn what_is_written_is_read() {
    let quiet = Stack::parse("log!ws?ping=off!tcp").unwrap();
    let expected = Config {
        shards: Shards::Count(NonZeroU16::new(3).unwrap()),
        pin: Pin::Never,
        driver: DriverChoice::Only(Driver::Epoll),
        log: "warn,tidegate=debug".into(),
        log_format: LogFormat::Json,
        memory: MemoryLimit::Bytes(512 << 20),
        drain: Duration::from_secs(120),
        drain_delay: Duration::from_secs(3),
        drain_rate: 16,
        verifying: Verifying { threads: 2, waiting: 10 },
        revocations: 11,
        drain_code: 1001,
        hashing: Hashing { threads: 2, waiting: 32, per_address: 3, memory: 16 << 20 },
        access_log: Some(written_access_log()),
        limits: written_limits(),
        clients: written_clients(),
        hub: written_hub(),
        topics: vec![written_topic()],
        listeners: vec![
            Listener {
                stack: quiet,
                limits: ListenerLimits {
                    connections: Some(7),
                    accepts: Some(ClientRate { per_second: 8, burst: 9 }),
                },
                networks: Networks { deny: vec![client_network("::2/128")], ..Networks::default() },
                ..Listener::new("[::1]:0".parse::<ListenAddress>().unwrap())
            },
            Listener::new("0.0.0.0:81".parse::<ListenAddress>().unwrap()),
        ],
        certificates: vec![written_certificate()],
        jwts: vec![written_jwt()],
        tokens: vec![written_token()],
        passwords: vec![Passwords {
            realm: "Staff".into(),
            remember: Some(Duration::from_secs(60)),
            ..Passwords::new("staff", "staff.users")
        }],
        routes: vec![written_route(), written_hub_route(), written_health()],
        admin: written_admin(),
    };
    assert_eq!(Config::parse(WRITTEN, "t.toml"), Ok(expected));
}

fn client_network(text: &str) -> ClientNetwork {
    ClientNetwork::Ip(text.parse().unwrap())
}

fn written_access_log() -> AccessLog {
    AccessLog {
        fields: vec![AccessField::Path, AccessField::Query],
        connections: ToldConnections::Both,
        refusals_per_second: 7,
        queue: 16,
        max_size: Some(1 << 20),
        keep: 2,
        ..AccessLog::new(AccessTarget::File("a.log".into()))
    }
}

fn written_certificate() -> Certificate {
    let names = vec!["example.org".into(), "*.example.org".into()];
    Certificate { names, ..Certificate::new("a/cert.pem", "/b/key.pem") }
}

fn written_token() -> StaticToken {
    StaticToken {
        user: Some(Name::new("b").unwrap()),
        publish: Some(vec![TopicPattern::new("news/*").unwrap()]),
        ..StaticToken::new("backend", TokenSecret::Env("BACKEND".into()))
    }
}

fn written_jwt() -> Jwt {
    let text = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect();
    Jwt {
        name: "main".into(),
        keys: vec!["a.pem".into(), "/b.json".into()],
        secrets: vec!["c".into()],
        jwks: Some("https://a.example/keys".into()),
        jwks_ca: Some("ca.pem".into()),
        jwks_age: Duration::from_secs(60),
        algorithms: vec![JwtAlgorithm::Es256, JwtAlgorithm::Hs512],
        issuers: text(&["https://a/"]),
        audiences: text(&["chat", "news"]),
        leeway: Duration::from_secs(60),
        must_expire: false,
        from: vec![
            TokenSource::Cookie("t".into()),
            TokenSource::Query("token".into()),
            TokenSource::Bearer,
            TokenSource::Subprotocol,
        ],
        user: "user".into(),
        subscribe: "hears".into(),
        publish: String::new(),
        expired: 3000,
    }
}

fn written_limits() -> Limits {
    Limits {
        connections: 1_000,
        receive_buffers: 64,
        receive_buffer: 32 << 10,
        staging: 64 << 10,
        blocks: 8 << 20,
        request_head: 32 << 10,
        heavy_input: 64 << 10,
        handshakes: 3,
        expanded_keys: 0,
        tokens: 4 << 10,
        passwords: 2 << 10,
        permissions: 0,
        memory_high: Some(70),
        memory_critical: None,
    }
}

fn written_clients() -> Clients {
    Clients {
        connections: Some(1000),
        per_address: Some(10),
        per_user: Some(3),
        handshakes: Some(ClientRate { per_second: 5, burst: 20 }),
        prefix_v4: 24,
        prefix_v6: 56,
        exempt: vec!["10.0.0.0/8".parse().unwrap(), "192.0.2.7/32".parse().unwrap()],
        places: 2048,
    }
}

fn written_hub() -> HubLimits {
    HubLimits {
        node: 7,
        topics: 100,
        subscriptions: 200,
        subscriptions_per_connection: 3,
        mailbox: 64,
        messages: 2 << 20,
        max_message: 1 << 10,
        queued: Some(300),
        present: 400,
        idempotency_keys: 500,
        idempotency_age: Duration::from_secs(120),
        resume_key: Some(ResumeKey::of("0123456789abcdef0123456789abcdef")),
        resume_age: Duration::from_secs(600),
    }
}

fn written_topic() -> TopicKept {
    TopicKept {
        name: "rooms/{room}".into(),
        rule: TopicRule {
            presence_events: 7,
            history: 5,
            history_bytes: 3 << 10,
            history_age: Duration::from_secs(60),
            presence: true,
            linger: Duration::from_secs(2),
        },
    }
}

fn written_route() -> Route {
    Route {
        path: "/rooms/{room}".into(),
        subprotocol: Some("chat".into()),
        handler: RouteHandler::Echo,
        max_message: 2_000,
        max_buffered_message: 2_000,
        backlog: 1 << 20,
        slow_peer: SlowPeer::Close,
        undecided: 9,
        origins: Origins::new(["same", "https://*.example.org"]).unwrap(),
        cors: None,
        networks: Networks {
            allow: Some(["10.0.0.0/8", "::1/128"].map(client_network).to_vec()),
            deny: vec![ClientNetwork::Unix],
        },
        admission: vec![
            AdmissionCheck::Network,
            AdmissionCheck::Certificate,
            AdmissionCheck::Origin,
            AdmissionCheck::Jwt("main".into()),
        ],
        client: ClientLimits {
            connections: None,
            messages: Some(ClientRate { per_second: 20, burst: 40 }),
            bytes: Some(ClientRate { per_second: 64 << 10, burst: 64 << 10 }),
            over_rate: OverRate::Close,
            max_frames: 100,
            lifetime: Some(Duration::from_secs(12 * 3600)),
            first_message: Some(Duration::from_secs(20)),
            idle: Some(Duration::from_secs(300)),
        },
    }
}

#[test]
fn memory_is_critical_above_what_is_high() {
    let wrong = "2: limits.memory_critical: must be at least `limits.memory_high`, which is 85";
    assert_eq!(errors("[limits]\nmemory_critical = 80"), [wrong]);
    let wrong = "2: limits.memory_high: must be at most `limits.memory_critical`, which is 95";
    assert_eq!(errors("[limits]\nmemory_high = 99"), [wrong]);
    let off = "[limits]\nmemory_high = \"off\"\nmemory_critical = 50";
    let limits = Config::parse(off, "t.toml").unwrap().limits;
    assert_eq!((limits.memory_high, limits.memory_critical), (None, Some(50)));
}

#[test]
fn what_a_client_may_is_refused_where_it_means_nothing() {
    let route = |keys: &str| format!("[[route]]\npath = \"/\"\nhandler = \"echo\"\n{keys}");
    for (keys, expected) in [
        (
            "message_burst = 5",
            "message_burst: means nothing while `message_rate` is off: remove it",
        ),
        (
            "byte_rate = \"off\"\nbyte_burst = 5",
            "byte_burst: means nothing while `byte_rate` is off: remove it",
        ),
        (
            "over_rate = \"slow\"",
            "over_rate: means nothing while `message_rate` and `byte_rate` are off: remove it",
        ),
        (
            "message_rate = 0",
            "message_rate: must be between 1 and 1000000, is 0 (or write \"off\")",
        ),
        ("lifetime = \"0s\"", "lifetime: must be between 1s and 720h, is 0s (or write \"off\")"),
    ] {
        let line = 3 + keys.lines().count();
        let expected = format!("{line}: route[0].{expected}");
        assert_eq!(errors(&route(keys)), [expected], "{keys}");
    }
    let config = Config::parse(&route("byte_rate = 9\nover_rate = \"close\""), "t.toml").unwrap();
    let client = config.routes[0].client;
    assert_eq!(client.bytes, Some(ClientRate { per_second: 9, burst: 9 }));
    assert_eq!((client.messages, client.over_rate), (None, OverRate::Close));
}

fn written_health() -> Route {
    let cors = Cors {
        methods: vec!["PUT".into()],
        headers: vec!["x-a".into()],
        max_age: Some(Duration::from_secs(60)),
        ..Cors::new(Origins::new(["null"]).unwrap())
    };
    Route { cors: Some(cors), ..Route::new("/health", RouteHandler::Health) }
}

fn written_hub_route() -> Route {
    let live = HubRoute {
        topic: Some("live/{what}".into()),
        publish: Publishers::Nobody,
        events: true,
        own: false,
        user: Some(UserSource::Header("x-user".into())),
        may_subscribe: vec![TopicPattern::new("live/*").unwrap()],
        may_publish: vec![TopicPattern::new("users/{user}/**").unwrap()],
        commands: 9,
    };
    Route { slow_peer: SlowPeer::Conflate, ..Route::new("/live/{what}", RouteHandler::Hub(live)) }
}

fn written_admin() -> Admin {
    Admin {
        address: "0.0.0.0:9".parse().ok(),
        tokens: vec![BearerToken::new("0123456789abcdef").unwrap()],
        connections: 2,
        keepalive: Some(Duration::from_secs(9)),
    }
}

#[test]
fn mistakes_in_the_root() {
    let root = "the keys are `shards`, `pin`, `driver`, `log`, `log_format`, `memory`, `drain`, \
                `drain_delay`, `drain_rate`, `verifiers`, `verifications`, `revocations`, \
                `drain_code`, `hashing`, `access_log`, `limits`, `clients`, `hub`, `topic`, \
                `listener`, `certificate`, `jwt`, `token`, `passwords`, `route`, `admin`";
    let unknown = format!("1: \"a b\": is not a key: {root}");
    let hinted = format!("1: pim: is not a key: did you mean `pin`? T{}", &root[1..]);
    let auto = "(or write \"auto\")";
    let memory = format!("1: memory: \"4gb\" has the unknown unit \"gb\": {SIZE_EXPECTED} {auto}");
    let large = format!("1: memory: \"99999999TiB\" is too large: {SIZE_EXPECTED} {auto}");
    let drain = format!("1: drain: \"30\" has no unit: {TIME_EXPECTED}");
    let filter = "1: log: must be a filter of `tracing`, such as \"info\" or \
                  \"warn,tidegate=debug\", with the levels off, error, warn, info, debug, trace, \
                  is \"tidegate=loud\"";
    assert_each(&[
        ("shards = 0", "1: shards: must be between 1 and 1024, is 0"),
        ("shards = 1025", "1: shards: must be between 1 and 1024, is 1025"),
        ("shards = -1", "1: shards: must be between 1 and 1024, is -1"),
        ("shards = \"all\"", "1: shards: must be \"auto\" or an integer, is the string \"all\""),
        (
            "driver = \"kqueue\"",
            "1: driver: must be \"auto\", \"io_uring\" or \"epoll\", is the string \"kqueue\"",
        ),
        (
            "pin = \"yes\"",
            "1: pin: must be \"auto\" or a boolean (true or false), is the string \"yes\"",
        ),
        (
            "log_format = \"xml\"",
            "1: log_format: must be \"text\" or \"json\", is the string \"xml\"",
        ),
        ("log = 3", "1: log: must be a string, is the integer 3"),
        ("log = \"tidegate=loud\"", filter),
        (
            "log = \"\u{2003}a[bé]\"",
            "1: log: must be a filter of `tracing`, such as \"info\" or \
            \"warn,tidegate=debug\", with the levels off, error, warn, info, debug, trace, is \
            \"\\u{2003}a[bé]\"",
        ),
        ("memory = \"4gb\"", &memory),
        ("memory = \"99999999TiB\"", &large),
        (
            "memory = \"1MiB\"",
            "1: memory: must be between 16MiB and 64TiB, is 1MiB (or write \"auto\")",
        ),
        (
            "memory = -5",
            "1: memory: must be a size such as \"64KiB\", is the integer -5 (or write \"auto\")",
        ),
        (
            "memory = 1.5",
            "1: memory: must be a size such as \"64KiB\", or an integer of bytes, is a float (or \
             write \"auto\")",
        ),
        (
            "drain = 30",
            "1: drain: must be a duration with its unit, as a string such as \"30s\", is the \
             integer 30",
        ),
        ("drain = \"30\"", &drain),
        ("drain = \"0s\"", "1: drain: must be between 1s and 24h, is 0s"),
        ("drain = 2020-01-01", "1: drain: must be a duration such as \"30s\", is a date"),
        ("drain_rate = 0", "1: drain_rate: must be between 1 and 1000000, is 0"),
        (
            "drain_code = 1010",
            "1: drain_code: must be a close code that a server may send (RFC 6455 section 7.4): \
             1000 to 1003, 1007 to 1009, 1011 to 1014, 3000 to 4999, is 1010",
        ),
        ("drain_rate = \"9\"", "1: drain_rate: must be an integer, is the string \"9\""),
        ("\"a b\" = 1", &unknown),
        ("pim = true", &hinted),
    ]);
}

#[test]
fn mistakes_in_the_limits() {
    assert_each(&[
        ("limits = 3", "1: limits: must be a table, is the integer 3"),
        (
            "[limits]\nconnections = 3",
            "2: limits.connections: must be between 16 and 4194304, is 3",
        ),
        (
            "limits.connections = 99999999999999999999",
            "1: limits.connections: must be between 16 and 4194304, is 99999999999999999999",
        ),
        (
            "[limits]\nconections = 30",
            "2: limits.conections: is not a key: did you mean `connections`? The keys are \
             `connections`, `receive_buffers`, `receive_buffer`, `staging`, `blocks`, \
             `request_head`, `heavy_input`, `handshakes`, `expanded_keys`, `tokens`, \
             `passwords`, `permissions`, `memory_high`, `memory_critical`",
        ),
        (
            "[limits]\nreceive_buffers = 500",
            "2: limits.receive_buffers: must be a power of two, because the kernel's ring of \
             provided buffers must, is 500: write 256 or 512",
        ),
        (
            "[limits]\nreceive_buffers = 65536",
            "2: limits.receive_buffers: must be between 8 and 32768, is 65536",
        ),
        (
            "[limits]\nreceive_buffer = \"2MiB\"",
            "2: limits.receive_buffer: must be between 1KiB and 1MiB, is 2MiB",
        ),
        (
            "[limits]\nstaging = \"1KiB\"",
            "2: limits.staging: must be between 16KiB and 64MiB, is 1KiB",
        ),
        (
            "[limits]\nblocks = \"4GiB\"",
            "2: limits.blocks: must be between 1MiB and 4095MiB, is 4GiB",
        ),
        (
            "[limits]\nblocks = \"5500KiB\"",
            "2: limits.blocks: must be a multiple of 1MiB, is 5500KiB: write 5MiB or 6MiB",
        ),
    ]);
}

#[test]
fn limits_that_contradict_each_other() {
    assert_each(&[
        (
            "[limits]\nreceive_buffer = \"4KiB\"",
            "2: limits.request_head: must be at most `limits.receive_buffer`, which is 4KiB on \
             line 2, but is 8KiB by default: lower the one or raise the other",
        ),
        (
            "[limits]\nreceive_buffer = \"9KiB\"\nrequest_head = \"10KiB\"",
            "3: limits.request_head: must be at most `limits.receive_buffer`, which is 9KiB on \
             line 2, but is 10KiB on line 3: lower the one or raise the other",
        ),
        (
            "[limits]\nreceive_buffer = \"1MiB\"\nreceive_buffers = 4096",
            "3: limits.receive_buffers: must be at most 2048 while `limits.receive_buffer` is 1MiB \
             on line 2, but is 4096 on line 3: all receive buffers together must take less than \
             4GiB: lower one of the two",
        ),
        // With its headroom and in whole cache lines, one byte less would be below 128 KiB.
        (
            "[limits]\nreceive_buffers = 32768\nreceive_buffer = 130993",
            "2: limits.receive_buffers: must be at most 16384 while `limits.receive_buffer` is \
             130993 on line 3, but is 32768 on line 2: all receive buffers together must take less \
             than 4GiB: lower one of the two",
        ),
    ]);
}

#[test]
fn limits_that_contradict_what_routes_and_listeners_want() {
    assert_each(&[
        (
            "[limits]\nblocks = \"2MiB\"\n[[route]]\npath = \"/\"\nhandler = \"echo\"\n\
             max_buffered_message = \"512KiB\"",
            "2: route[0].backlog: must be at most `limits.blocks`, which is 2MiB on line 2, but is \
             4MiB by default: lower the one or raise the other",
        ),
        (
            "[limits]\nblocks = \"6MiB\"\n[[route]]\npath = \"/\"\nhandler = \"echo\"\n\
             max_buffered_message = \"5MiB\"\nbacklog = \"6MiB\"",
            "6: route[0].max_buffered_message: must be at most 1048576 while `limits.blocks` is \
             6MiB on line 2, but is 5MiB on line 6: it must fit one block, a power of two, in that \
             quarter of the pool that is for messages",
        ),
        (
            "[hub]\nmax_message = \"9MiB\"",
            "2: hub.max_message: must be at most 8388608 while `limits.blocks` is 64MiB by \
             default, but is 9MiB on line 2: it is an eighth of the blocks at most",
        ),
        (
            "[[route]]\npath = \"/\"\nhandler = \"echo\"\nbacklog = \"65MiB\"",
            "4: route[0].backlog: must be at most `limits.blocks`, which is 64MiB by default, but \
             is 65MiB on line 4: lower the one or raise the other",
        ),
        (
            "[[route]]\npath = \"/\"\nhandler = \"echo\"\nmax_buffered_message = \"4MiB\"",
            "4: route[0].backlog: must be at least `route[0].max_buffered_message`, which is 4MiB \
             on line 4, and `limits.receive_buffer`, which is 16448 by default, together 4210752, \
             but is 4MiB by default: a message that is held whole and the input behind it must fit",
        ),
        (
            "[[route]]\npath = \"/\"\nhandler = \"echo\"\nbacklog = \"2KiB\"\nmax_message = 1",
            "4: route[0].backlog: must be at least `route[0].max_message`, which is 1 on line 5, \
             and `limits.receive_buffer`, which is 16448 by default, together 16449, but is 2KiB \
             on line 4: a message that is held whole and the input behind it must fit",
        ),
        (
            "[[listener]]\naddress = \"[::]:1\"\nstack = \"ws!proxy?from=::1&max=32KiB!tcp\"",
            "3: listener[0].stack: `proxy?max` must be at most `limits.receive_buffer`, which is \
             16448 by default, but is 32KiB: lower the one or raise the other",
        ),
        (
            "[limits]\nreceive_buffer = 1024\nrequest_head = 512\n[[listener]]\n\
             address = \"[::]:1\"\nstack = \"ws!proxy?from=::1&max=1025!tcp\"",
            "6: listener[0].stack: `proxy?max` must be at most `limits.receive_buffer`, which is \
             1KiB on line 2, but is 1025: lower the one or raise the other",
        ),
    ]);
}

#[test]
fn the_largest_receive_areas_are_taken() {
    for (buffers, size) in [(2048, 1_048_576), (32_768, 130_944)] {
        let text = format!("[limits]\nreceive_buffers = {buffers}\nreceive_buffer = {size}");
        check_any(&text);
        assert_eq!(errors(&text), [""; 0], "{text}");
    }
}

#[test]
fn a_refused_value_is_not_compared() {
    let text = "[limits]\nrequest_head = \"32KiB\"\nreceive_buffer = \"99\"\n\
                [[route]]\npath = \"/\"\nhandler = \"echo\"\nmax_message = \"x\"\nbacklog = 99";
    let refused =
        format!("7: route[0].max_message: \"x\" does not begin with a number: {SIZE_EXPECTED}");
    assert_eq!(
        errors(text),
        ["3: limits.receive_buffer: must be between 1KiB and 1MiB, is 99", &refused]
    );
}

#[test]
fn mistakes_in_a_listener() {
    let address = "must be an IP address and a port, such as \"127.0.0.1:8080\" or \"[::1]:8080\", \
                   or a Unix socket, such as \"unix:/run/tidegate.sock\"";
    let name = format!("2: listener[0].address: {address}, is \"localhost:80\"");
    let no_port = format!("2: listener[0].address: {address}, is \"::1\"");
    assert_each(&[
        ("listener = 3", "1: listener: must be tables, is the integer 3"),
        ("listener = [3]", "1: listener[0]: must be a table, is the integer 3"),
        (
            "[listener]\naddress = \"127.0.0.1:1\"",
            "1: listener: may be repeated: write `[[listener]]` in place of `[listener]`",
        ),
        (
            "\n[[listener]]",
            "2: listener[0].address: is missing: add `address = \"127.0.0.1:8080\"`",
        ),
        ("[[listener]]\naddress = \"localhost:80\"", &name),
        ("[[listener]]\naddress = \"::1\"", &no_port),
        (
            "[[listener]]\naddress = 80",
            "2: listener[0].address: must be a string, is the integer 80",
        ),
        (
            "[[listener]]\naddress = \"[::]:80\"\n[[listener]]\naddress = \"[0::0]:80\"",
            "4: listener[1].address: is the address of an earlier listener too: remove one",
        ),
        (
            "[[listener]]\naddress = \"[::]:80\"\naddres = 3",
            "3: listener[0].addres: is not a key: did you mean `address`? The keys are `address`, \
             `stack`, `connections`, `accept_rate`, `accept_burst`, `allow`, `deny`",
        ),
        (
            "[[listener]]\naddress = \"[::]:80\"\nstack = 3",
            "3: listener[0].stack: must be a string such as \"ws!tcp\", is the integer 3",
        ),
    ]);
    let misplaced = "[[listener]]\naddress = \"[::]:0\"\nstack = \"ws!tls!tcp\"\ncert = \"x\"";
    let unknown = "4: listener[0].cert: is not a key: the keys are `address`, `stack`, \
                   `connections`, `accept_rate`, `accept_burst`, `allow`, `deny`";
    assert!(errors(misplaced).iter().any(|error| error == unknown), "{:?}", errors(misplaced));
    let free = "[[listener]]\naddress = \"[::]:0\"\n[[listener]]\naddress = \"[::]:0\"";
    assert_eq!(errors(free), [""; 0]);
    let unix = "[[listener]]\naddress = \"unix:/run/x\"\n";
    let config = Config::parse(unix, "t.toml").unwrap();
    assert_eq!(config.listeners[0].stack.to_string(), "ws!unix");
    let twice = format!("{unix}{unix}");
    let again = "4: listener[1].address: is the address of an earlier listener too: remove one";
    assert_eq!(errors(&twice), [again]);
    let over = format!("{unix}stack = \"ws!tcp\"");
    let wrong = "`tcp` is for an IP address, and not for unix:/run/x: write `unix`";
    assert_eq!(errors(&over), [format!("3: listener[0].stack: {wrong}")]);
    let beside = format!("admin.address = \"unix:/run/x\"\n{unix}");
    let taken = "unix:/run/x cannot be listened on beside `admin.address`, which is unix:/run/x on \
                 line 1: take another name for one of them";
    assert_eq!(errors(&beside), [format!("3: listener[0].address: {taken}")]);
    let many = "[[listener]]\naddress = \"[::]:0\"\n".repeat(65);
    assert_eq!(errors(&many), ["1: listener: must be at most 64 tables, are 65"]);
}

#[test]
fn mistakes_in_a_certificate() {
    let table = |more: &str| {
        let listener = "[[listener]]\naddress = \"[::]:80\"\nstack = \"ws!tls!tcp\"";
        format!("[[certificate]]\ncert = \"c\"\nkey = \"k\"\n{more}\n{listener}")
    };
    assert_eq!(errors(&table("")), [""; 0]);
    let domain = "must be a domain's name, such as \"example.org\" or \"*.example.org\", of \
                  letters, digits and `-`, is";
    for (names, wrong) in [
        ("[]", "is empty: leave the key out for the names that the certificate has".to_owned()),
        ("3", "must be an array of strings, such as [\"example.org\"], is the integer 3".into()),
        ("[3]", "[0] must be a string, is the integer 3".into()),
        ("[\"a.org\", \"A.org.\"]", "[1] a.org is there twice: keep one".into()),
        ("[\"a.org\", \"a.*.org\"]", format!("[1] {domain} \"a.*.org\"")),
    ] {
        let text = table(&format!("names = {names}"));
        assert_eq!(errors(&text), [format!("4: certificate[0].names: {wrong}")], "{text}");
    }
    let again = "names = [\"a.org\"]\n[[certificate]]\nkey = \"k\"\nnames = [\"a.org\"]";
    assert_eq!(
        errors(&table(again)),
        [
            "5: certificate[1].cert: is missing: add `cert = \"/etc/tidegate/cert.pem\"`",
            "7: certificate[1].names: a.org is a name of certificate[0] too: keep one",
        ]
    );
    let bare = "[[listener]]\naddress = \"[::]:80\"\nstack = \"ws!tls!tcp\"";
    assert_eq!(
        errors(bare),
        ["3: listener[0].stack: `tls` has no certificate: write `tls?cert=FILE&key=FILE`, or a \
          [[certificate]] with the keys `cert` and `key`"]
    );
    let own = "[[listener]]\naddress = \"[::]:80\"\nstack = \"ws!tls?cert=c&key=k!tcp\"";
    assert_eq!(errors(own), [""; 0]);
}

/// Columns count characters, in any kind of string; where escapes make them a guess, there is none.
#[test]
fn an_error_in_a_stack_has_a_column() {
    let unbuilt = "listener[0].stack: layer `mqtt` is not built yet in this version";
    for (written, place) in [
        ("\"ws!mqtt!tcp\"", "3:13: "),
        ("'ws!mqtt!tcp'", "3:13: "),
        ("\"\"\"\nws!mqtt!tcp\"\"\"", "4:4: "),
        ("\"w\\u0073!mqtt!tcp\"", "3: "),
    ] {
        let text = format!("[[listener]]\naddress = \"[::]:80\"\nstack = {written}");
        assert_eq!(errors(&text), [format!("{place}{unbuilt}")], "{text}");
    }
    let text = "[[listener]]\naddress = \"[::]:80\"\nstack = \"ws?ping=é!mqtt!tcp\"";
    assert_eq!(errors(text)[1], format!("3:20: {unbuilt}"));
}

#[test]
fn mistakes_in_a_route() {
    let route = |more: &str| format!("[[route]]\npath = \"/\"\nhandler = \"echo\"\n{more}");
    for (more, expected) in [
        (
            "subprotocol = \"\"",
            "subprotocol: is empty: leave the key out to take requests of any subprotocol",
        ),
        (
            "subprotocol = \"a,b\"",
            "subprotocol: must be one token of letters, digits and !#$%&'*+-.^_`|~, but \"a,b\" \
             has ','",
        ),
        ("subprotocol = 1", "subprotocol: must be a string, is the integer 1"),
        ("max_message = 0", "max_message: must be between 1 and 4294967295, is 0"),
        ("max_message = \"4GiB\"", "max_message: must be between 1 and 4294967295, is 4GiB"),
        (
            "slow_peer = \"drop\"",
            "slow_peer: must be \"pause\" or \"close\" or \"drop_newest\" or \"drop_oldest\" or \
             \"conflate\", is the string \"drop\"",
        ),
    ] {
        assert_eq!(errors(&route(more)), [format!("4: route[0].{expected}")], "{more}");
    }
    let long = route(&format!("subprotocol = \"{}\"", "x".repeat(129)));
    assert_eq!(errors(&long), ["4: route[0].subprotocol: must be at most 128 letters, is 129"]);
    assert_each(&[
        ("[[route]]\nhandler = \"echo\"", "1: route[0].path: is missing: add `path = \"/\"`"),
        ("[[route]]\npath = \"/\"", "1: route[0].handler: is missing: add `handler = \"echo\"`"),
        (
            "[[route]]\npath = \"/\"\nhandler = \"ecko\"",
            "3: route[0].handler: must be \"echo\", \"embedded\", \"health\", \"hub\" or \
             \"static\", is the string \"ecko\"",
        ),
    ]);
}

#[test]
fn a_route_may_be_for_an_embedding_program_to_answer() {
    let route = |handler| format!("[[route]]\npath = \"/a\"\nhandler = \"{handler}\"");
    let config = Config::parse(&route("embedded"), "embedded.toml").unwrap();
    assert_eq!(config.routes, [Route::new("/a", RouteHandler::Embedded)]);
    assert!(config.understood().contains(&"route /a: embedded".to_owned()));
    assert_eq!(
        errors(&route("embedded?a=b")),
        ["3: route[0].handler: handler `embedded` has no options: remove what follows the `?`"]
    );
}

#[test]
fn handlers_that_are_not_built_are_named() {
    for name in ["mqtt", "link", "http", "proxy"] {
        let text = format!("[[route]]\npath = \"/\"\nhandler = \"{name}\"");
        let expected =
            format!("3: route[0].handler: handler `{name}` is not built yet in this version");
        assert_eq!(errors(&text), [expected]);
    }
}

#[test]
fn routes_that_cannot_be_told_apart() {
    let two = |one: &str, other: &str| {
        errors(&format!(
            "[[route]]\nhandler = \"echo\"\npath = {one}\n\
             [[route]]\nhandler = \"echo\"\npath = {other}"
        ))
    };
    let same =
        "6: route[1].path: is the path of route[0] too, with the same subprotocol: remove one";
    assert_eq!(two("\"/a\"", "\"/a\""), [same]);
    let chat = "\"/a\"\nsubprotocol = \"chat\"";
    assert_eq!(two(chat, chat), [same.replace('6', "7")]);
    assert_eq!(two(chat, "\"/a\"\nsubprotocol = \"chat.v2\""), [""; 0]);
    assert_eq!(two(chat, "\"/a\""), [""; 0]);
    assert_eq!(two("\"/{a}\"", "\"/a\""), [""; 0]);
    assert_eq!(
        two("\"/{a}\"", "\"/{*b}\""),
        ["6: route[1].path: takes the same requests as \"/{a}\" of route[0]: write one \
          pattern in both"]
    );
}

#[test]
fn broken_syntax_is_told_with_the_rest() {
    let text =
        "pin = tru\nshards = 0\n[limits]\nblocks =\n[[route]]\nbacklog = \"65MiB\"\npath = 3";
    assert_eq!(
        errors(text),
        [
            "1:7: not TOML: invalid boolean, expected `true`",
            "2: shards: must be between 1 and 1024, is 0",
            "4:9: not TOML: string values must be quoted, expected literal string",
            "7: route[0].path: must be a string, is the integer 3",
        ]
    );
    assert_eq!(errors("pin = true\npin = false"), ["2:1: not TOML: duplicate key"]);
}

#[test]
fn below_a_broken_header_nothing_is_guessed() {
    let text = "shards = 0\n[limits\nconnections = 3";
    assert_eq!(
        errors(text),
        [
            "1: shards: must be between 1 and 1024, is 0",
            "2:8: not TOML: unclosed table, expected `]`"
        ]
    );
}

#[test]
fn many_mistakes_are_told_in_the_order_of_their_lines() {
    let text = "\
shards = 0
sharks = 1
[[route]]
handler = \"mqtt\"
path = \"room\"
[[listener]]
stack = \"ws?ping=1ms!mqtt!tcp\"
[limits]
blocks = \"1KiB\"
connections = 1
";
    let errors = Config::parse(text, "etc/tidegate.toml").unwrap_err();
    let expected = "\
etc/tidegate.toml:1: shards: must be between 1 and 1024, is 0
etc/tidegate.toml:2: sharks: is not a key: did you mean `shards`? The keys are `shards`, `pin`, \
`driver`, `log`, `log_format`, `memory`, `drain`, `drain_delay`, `drain_rate`, `verifiers`, \
`verifications`, `revocations`, `drain_code`, `hashing`, `access_log`, `limits`, `clients`, `hub`, \
`topic`, `listener`, `certificate`, `jwt`, `token`, `passwords`, `route`, `admin`
etc/tidegate.toml:4: route[0].handler: handler `mqtt` is not built yet in this version
etc/tidegate.toml:5: route[0].path: must begin with `/`, is \"room\"
etc/tidegate.toml:6: listener[0].address: is missing: add `address = \"127.0.0.1:8080\"`
etc/tidegate.toml:7:18: listener[0].stack: `ws?ping`: must be between 1s and 4h, is 1ms \
(or write `off`)
etc/tidegate.toml:7:22: listener[0].stack: layer `mqtt` is not built yet in this version
etc/tidegate.toml:9: limits.blocks: must be between 1MiB and 4095MiB, is 1KiB
etc/tidegate.toml:10: limits.connections: must be between 16 and 4194304, is 1";
    assert_eq!(errors.to_string(), expected);
}

#[test]
fn listen_addresses_take_the_place_of_the_listeners() {
    let text = "[[listener]]\naddress = \"[::1]:1\"\nstack = \"log!ws!tcp\"\n\
                [[listener]]\naddress = \"[::1]:2\"";
    let config = Config::parse(text, "t.toml").unwrap();
    assert_eq!(config.clone().with_listen(&[]), config);
    let addresses: Vec<ListenAddress> =
        ["[::1]:3", "[::1]:0", "[::1]:3", "[::1]:0"].map(|text| text.parse().unwrap()).into();
    let listeners = config.clone().with_listen(&addresses).listeners;
    let stack = config.listeners[0].stack.clone();
    let expected = [0, 1, 1].map(|at| addresses[at].clone());
    assert_eq!(
        listeners,
        expected.map(|address| Listener { stack: stack.clone(), ..Listener::new(address) })
    );
}

#[test]
fn shards_are_resolved() {
    let five = Shards::Count(NonZeroU16::new(5).unwrap());
    assert_eq!([0, 1, 64, 5000].map(|cores| Shards::Auto.resolve(cores)), [1, 1, 64, 1024]);
    assert_eq!([0, 1, 64].map(|cores| five.resolve(cores)), [5, 5, 5]);
}

/// A linear congruential generator: enough to vary texts, and the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as usize % sides
    }

    /// `text` with a few bytes replaced, removed or doubled, and a few fragments put in.
    fn mutate(&mut self, text: &str) -> String {
        const FRAGMENTS: &str = "[[ ]] [limits] [limits] [[route]] [[listener]] \" \"\"\" ' = , . \
                                 { } -1 0x 99999999999999999999 \"9TiB\" 1e9 inf 1979-05-27 true \
                                 \\u route.a limits.b=1 ! ? & log! ws?ping= tcp \u{1F30A} \u{0} \
                                 \u{FEFF}";
        let fragments: Vec<&str> = FRAGMENTS.split(' ').collect();
        let mut bytes = text.as_bytes().to_vec();
        for _ in 0..=self.roll(6) {
            let at = self.roll(bytes.len());
            let end = (at + self.roll(12)).min(bytes.len());
            match self.roll(4) {
                0 => bytes[at] = self.roll(256) as u8,
                1 => drop(bytes.drain(at..end)),
                2 => bytes.extend_from_within(at..),
                _ => drop(bytes.splice(at..end, fragments[self.roll(fragments.len())].bytes())),
            }
            bytes.resize(bytes.len().clamp(1, 4096), b'\n');
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Any text is either a configuration that keeps its bounds, or has errors that can be shown.
#[track_caller]
fn check_any(text: &str) {
    match Config::parse(text, "t.toml") {
        Ok(config) => {
            assert!(!config.listeners.is_empty() && !config.routes.is_empty());
            assert!(config.limits.request_head <= config.limits.receive_buffer);
            let Limits { receive_buffers, receive_buffer, .. } = config.limits;
            let stride = crate::kernel::buffer_stride(receive_buffer as usize) as u64;
            assert!(u64::from(receive_buffers) * stride < 1 << 32);
            for route in &config.routes {
                assert!(route.max_buffered_message <= route.max_message);
                assert!(route.backlog - config.limits.receive_buffer >= route.max_buffered_message);
                assert!(route.backlog <= config.limits.blocks);
            }
        }
        Err(errors) => {
            let places: Vec<_> = errors.iter().map(|error| (error.line, error.column)).collect();
            assert!(!places.is_empty() && places.is_sorted());
            assert!(places[0].0 >= 1 && places[places.len() - 1].0 <= text.split('\n').count());
            assert!(errors.iter().all(|error| !error.to_string().contains(char::is_control)));
        }
    }
}

#[test]
fn no_text_panics() {
    let dense: Vec<&str> =
        SAMPLE.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let dense = dense.join("\n");
    let mut dice = Dice(42);
    for _ in 0..6_000 {
        let mutated = dice.mutate(&dense);
        check_any(&mutated);
    }
    for _ in 0..2_000 {
        let bytes: Vec<u8> = (0..dice.roll(200)).map(|_| dice.roll(256) as u8).collect();
        check_any(&String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn mistakes_in_the_admin_table() {
    let open = "2: admin.address: is not loopback, so whoever reaches it could steer the gateway: \
                add `tokens = [\"…\"]`, or use 127.0.0.1 or [::1]";
    let address = "2: admin.address: must be an IP address and a port, such as \
                   \"127.0.0.1:8081\", a Unix socket, such as \
                   \"unix:/run/tidegate-admin.sock\", or \"off\", is \"localhost\"";
    assert_each(&[
        ("[admin]\naddress = \"0.0.0.0:8081\"", open),
        ("[admin]\naddress = \"0.0.0.0:8081\"\ntokens = []", open),
        ("[admin]\naddress = \"localhost\"", address),
        ("[admin]\nconnections = 0", "2: admin.connections: must be between 1 and 1024, is 0"),
        (
            "[admin]\ntokens = \"0123456789abcdef\"",
            "2: admin.tokens: must be an array of strings, such as [\"0123456789abcdef\"]",
        ),
        (
            "[admin]\ntokens = [\"short\"]\naddress = \"0.0.0.0:1\"",
            "2: admin.tokens: [0] must have 16 to 256 characters, has 5",
        ),
        (
            "[admin]\ntokens = [\"0123456789abcdef\", \"0123456789 abcdef\"]",
            "2: admin.tokens: [1] must have visible ASCII characters only, without spaces",
        ),
    ]);
    let keepalive = |text| errors(&format!("[admin]\nkeepalive = {text}"));
    for wrong in ["\"0s\"", "\"2h\"", "\"1500ms\"", "75", "\"on\""] {
        let [error] = &keepalive(wrong)[..] else { panic!("{wrong}") };
        assert!(error.starts_with("2: admin.keepalive: ") && error.contains("off"), "{error}");
    }
    assert_eq!((keepalive("\"off\""), keepalive("\"1h\"")), (vec![], vec![]));
    assert_eq!(errors("[admin]\naddress = \"off\""), [""; 0]);
    assert_eq!(errors("[admin]\naddress = \"[::1]:0\""), [""; 0]);
}

#[test]
fn a_token_is_not_shown() {
    let config = Config {
        admin: Admin {
            tokens: vec![BearerToken::new("0123456789abcdef").unwrap()],
            ..Admin::default()
        },
        ..Config::default()
    };
    assert!(!format!("{config:?}").contains("0123456789"));
}

#[test]
fn the_control_thread_cannot_share_its_port() {
    let port = "take another port for one of them";
    let behind = "cannot be listened on beside `admin.address`, which is";
    let listener = |address: &str| format!("[[listener]]\naddress = \"{address}\"\n");
    let default = listener("127.0.0.1:8081");
    let written = listener("[::1]:9") + "[admin]\naddress = \"[::1]:9\"";
    let all = listener("0.0.0.0:9") + "[admin]\naddress = \"127.0.0.1:9\"";
    assert_each(&[
        (
            &default,
            &format!(
                "2: listener[0].address: 127.0.0.1:8081 {behind} 127.0.0.1:8081 by default: {port}"
            ),
        ),
        (&written, &format!("2: listener[0].address: [::1]:9 {behind} [::1]:9 on line 4: {port}")),
        (
            &all,
            &format!("2: listener[0].address: 0.0.0.0:9 {behind} 127.0.0.1:9 on line 4: {port}"),
        ),
        (
            "[admin]\naddress = \"127.0.0.1:8080\"",
            &format!(
                "2: admin.address: 127.0.0.1:8080 cannot be listened on beside \
                 `listener[0].address`, which is 127.0.0.1:8080 by default: {port}"
            ),
        ),
    ]);
    let beside = listener("127.0.0.1:0") + &listener("[::]:8081") + &listener("127.0.0.2:8081");
    let off = default + "[admin]\naddress = \"off\"";
    for text in [&beside, &off, "[admin]\naddress = \"127.0.0.1:0\""] {
        assert_eq!(errors(text), [""; 0], "{text}");
    }
}

#[test]
fn keys_of_a_topic_that_keeps_nothing_of_the_kind() {
    let history =
        "means nothing while `history` is 0: remove it, or write how many messages are kept";
    let presence = "means nothing while `presence` is false: remove it, or write `presence = true`";
    let text = "[[topic]]\nname = \"a\"\nhistory_bytes = 9\nhistory_age = \"1s\"\nlinger = \"1s\"\n\
                presence_events = 1\npresence = false\n[[topic]]\nname = \"b\"\nhistory = -1\n\
                history_age = \"1s\"";
    let told = [
        format!("3: topic[0].history_bytes: {history}"),
        format!("4: topic[0].history_age: {history}"),
        format!("5: topic[0].linger: {presence}"),
        format!("6: topic[0].presence_events: {presence}"),
        "10: topic[1].history: must be between 0 and 1000000, is -1".into(),
    ];
    assert_eq!(errors(text), told);
}

#[test]
fn a_route_that_only_users_publish_on_must_know_them() {
    let route = |options: &str| format!("[[route]]\npath = \"/\"\nhandler = \"hub?{options}\"");
    let user = "no connection has a user: add `user=query.NAME` or `user=header.NAME`, or have \
                `admission` ask for a token";
    let topic = "cannot publish without a topic: add `topic=NAME`";
    assert_each(&[
        (
            &route("topic=a&publish=users"),
            &format!("3:32: route[0].handler: `hub?publish`: {user}"),
        ),
        (
            &route("publish=users&user=query.a"),
            &format!("3:24: route[0].handler: `hub?publish`: `users` {topic}"),
        ),
    ]);
    assert_eq!(errors(&route("topic=a&publish=users&user=header.a")), [""; 0]);
    // What is refused is told once.
    assert_eq!(errors(&route("topic=a&publish=users&user=a")).len(), 1);
}

#[test]
fn what_clients_may_do_by_commands_is_checked() {
    let hub = "[[route]]\npath = \"/\"\nhandler = \"hub\"\n";
    let with = |line: &str| format!("{hub}{line}");
    assert_each(&[
        (
            &with("subscribe = [\"a/{b}\"]"),
            "4: route[0].subscribe: has a brace that is not of `{user}`, in \"{b}\": write `*` \
             for any part of a name",
        ),
        (
            &with("publish = [\"a/{user}\"]"),
            "4: route[0].publish: \"a/{user}\" matches nothing, because no connection has a \
             user: add `user=query.NAME` or `user=header.NAME` to the handler, or have `admission` \
             ask for a token",
        ),
        (
            &with("subscribe = \"a\""),
            "4: route[0].subscribe: must be an array of patterns such as [\"rooms/*\"], is the \
             string \"a\"",
        ),
        (&with("commands = 0"), "4: route[0].commands: must be between 1 and 1024, is 0"),
        (
            "[[route]]\npath = \"/\"\nhandler = \"echo\"\ncommands = 7",
            "4: route[0].commands: means nothing while `handler` is not \"hub\": remove it",
        ),
    ]);
}

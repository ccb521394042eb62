use std::path::Path;
use std::time::Duration;

use tidegate_proto::http::ForwardingHeader;

use super::*;
use crate::units::TIME_EXPECTED;

/// What every error about the order ends with.
const ORDER: &str = "layers are written from the inside out, such as `log!ws!log!tcp`";
/// What every error about an unknown layer ends with.
const LAYERS: &str = "he layers are `log`, `ws`, `tls`, `proxy`, `tcp`, `unix`";

/// The errors of `text`, each behind its offset.
fn errors(text: &str) -> Vec<(usize, String)> {
    let errors = Stack::parse(text).unwrap_err();
    errors.into_iter().map(|error| (error.offset, error.message)).collect()
}

#[track_caller]
fn assert_errors(text: &str, expected: &[(usize, String)]) {
    assert_eq!(errors(text), expected, "{text}");
}

#[test]
fn the_plain_stack_is_the_default() {
    assert_eq!(Stack::parse("ws!tcp"), Ok(Stack::default()));
    assert_eq!(Stack::default().to_string(), "ws!tcp");
}

#[test]
fn every_option_is_read() {
    let text = "log!ws?ping=1m&pong=2s&close=3s&head=4s&decision=8s&stall=5s\
                &message=6s\
                &deflate=on&deflate_level=6&deflate_min=7\
                &forwarded=forwarded&from=10.0.0.0/8!log!tcp?backlog=8&nodelay=off\
                &rcvbuf=16KiB&sndbuf=1MB&user_timeout=9s";
    let seconds = Duration::from_secs;
    let expected = Stack {
        log_websocket: true,
        log_transport: true,
        websocket: WebSocketLayer {
            keepalive: Some(Keepalive { ping: seconds(60), pong: seconds(2) }),
            close: seconds(3),
            head: seconds(4),
            decision: seconds(8),
            stall: seconds(5),
            message: seconds(6),
            deflate: Some(Deflate { level: 6, min: 7 }),
            forwarding: Some(Forwarding {
                header: ForwardingHeader::Forwarded,
                from: vec!["10.0.0.0/8".parse().unwrap()],
            }),
        },
        tls: None,
        proxy: None,
        socket: SocketLayer::Tcp(TcpLayer {
            backlog: 8,
            nodelay: false,
            rcvbuf: 16 << 10,
            sndbuf: 1_000_000,
            user_timeout: Some(seconds(9)),
        }),
    };
    assert_eq!(Stack::parse(text), Ok(expected));
}

#[test]
fn the_shortest_stack_is_displayed() {
    for (text, shown) in [
        ("log!ws!tcp", "log!ws!tcp"),
        ("ws!log!tcp", "ws!log!tcp"),
        ("ws?ping=30s&pong=10s!tcp?nodelay=on", "ws!tcp"),
        ("ws?deflate=off&ping=off!tcp", "ws?ping=off&deflate=off!tcp"),
        (
            "ws?from=::1,10.0.0.0/8&forwarded=X-Forwarded-For!tcp",
            "ws?forwarded=x-forwarded-for&from=::1,10.0.0.0/8!tcp",
        ),
        ("ws?forwarded=forwarded!unix", "ws?forwarded=forwarded!unix"),
        ("ws?forwarded=off!tcp", "ws!tcp"),
        ("ws?head=1500ms!tcp?sndbuf=262144", "ws?head=1500ms!tcp"),
        ("log!ws?deflate_min=1024&close=60s!tcp", "log!ws?close=1m&deflate_min=1KiB!tcp"),
        ("ws!tcp?user_timeout=60m&backlog=1", "ws!tcp?backlog=1&user_timeout=1h"),
    ] {
        let stack = Stack::parse(text).unwrap();
        assert_eq!(stack.to_string(), shown, "{text}");
    }
}

#[test]
fn what_is_displayed_parses_to_the_same() {
    let mut state = 7_u64;
    let mut pick = |bound: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    for _ in 0..2_000 {
        let mut seconds = || Duration::from_millis(1_000 + pick(4 * 3_600_000 - 1_000));
        let (ping, pong, user_timeout) = (seconds(), seconds(), seconds());
        let (close, head, stall, message) = (seconds(), seconds(), seconds(), seconds());
        let decision = seconds();
        let deflate = Deflate { level: 1 + pick(9) as u8, min: pick(1 << 24) as u32 };
        let mut buffer = || (4096 + pick(1 << 25)) as u32;
        let (rcvbuf, sndbuf) = (buffer(), buffer());
        let stack = Stack {
            log_websocket: pick(2) == 0,
            log_transport: pick(2) == 0,
            websocket: WebSocketLayer {
                keepalive: (pick(2) == 0).then_some(Keepalive { ping, pong }),
                close,
                head,
                decision,
                stall,
                message,
                deflate: (pick(2) == 0).then_some(deflate),
                forwarding: (pick(2) == 0).then(|| Forwarding {
                    header: ForwardingHeader::ALL[pick(2) as usize],
                    from: vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
                }),
            },
            tls: (pick(2) == 0).then(|| tls_layer(&mut pick)),
            proxy: None,
            socket: match pick(2) {
                0 => SocketLayer::Unix(unix_layer(&mut pick)),
                _ => SocketLayer::Tcp(TcpLayer {
                    backlog: 1 + pick(65_535) as u32,
                    nodelay: pick(2) == 0,
                    rcvbuf,
                    sndbuf,
                    user_timeout: (pick(2) == 0).then_some(user_timeout),
                }),
            },
        };
        let stack = Stack { proxy: proxy_layer(&stack.socket, &mut pick), ..stack };
        assert_eq!(stack.check("stack"), Ok(()), "{stack}");
        assert_eq!(Stack::parse(&stack.to_string()), Ok(stack.clone()), "{stack}");
    }
}

/// Some layer `tls`.
fn tls_layer(pick: &mut impl FnMut(u64) -> u64) -> TlsLayer {
    let mut name = |least: u64| {
        let letters = ["a", "%", "&", "!", "?", "=", ",", "/", "\u{e9}", " ", "\n"];
        let letters = (0..least + pick(6)).map(|_| letters[pick(11) as usize]);
        std::path::PathBuf::from(letters.collect::<String>())
    };
    let certificate = CertificateFiles { cert: name(1), key: name(1) };
    let (ca, keys) = (name(1), name(1));
    let least = [TlsVersion::Tls12, TlsVersion::Tls13][pick(2) as usize];
    let mut suites = CipherSuite::defaults(least);
    suites.rotate_left(pick(3) as usize);
    TlsLayer {
        certificate: (pick(2) == 0).then_some(certificate),
        client: (pick(2) == 0).then(|| ClientCertificates { ca, is_required: pick(2) == 0 }),
        least,
        suites,
        handshake: Duration::from_millis(1_000 + pick(100_000)),
        tickets: (pick(3) > 0).then(|| Tickets { keys: (pick(2) == 0).then_some(keys) }),
    }
}

/// Some layer `unix`.
fn unix_layer(pick: &mut impl FnMut(u64) -> u64) -> UnixLayer {
    let mut name = |word: &str| match pick(3) {
        0 => None,
        1 => Some(OwnerName::Number(pick(70_000) as u32)),
        _ => Some(OwnerName::Name(word.into())),
    };
    let (user, group) = (name("www-data"), name("adm"));
    let is_owned = user.is_some() || group.is_some();
    UnixLayer {
        mode: 1 + pick(0o777) as u32,
        owner: is_owned.then_some(SocketOwner { user, group }),
        backlog: 1 + pick(65_535) as u32,
    }
}

/// No layer `proxy`, or one that may stand above this one.
fn proxy_layer(socket: &SocketLayer, pick: &mut impl FnMut(u64) -> u64) -> Option<ProxyLayer> {
    let networks = ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32", "::1/128", "0.0.0.0/0"];
    let networks = match socket {
        SocketLayer::Tcp(_) => &networks[pick(5) as usize..],
        SocketLayer::Unix(_) => &[],
    };
    let header = Duration::from_millis(1_000 + pick(9_000));
    let from = networks.iter().map(|text| text.parse().unwrap()).collect();
    let (max, keep) = (232 + pick(65_305) as u32, pick(65_537) as u32);
    (pick(2) == 0).then_some(ProxyLayer { from, header, max, keep })
}

#[test]
fn the_layers_below_are_read() {
    let seconds = Duration::from_secs;
    let text = "ws!tls?cert=a%26b%21%25.pem&key=/k=?.pem&client_ca=ca.pem&client_cert=optional\
                &min=1.2&ciphers=TLS_AES_256_GCM_SHA384,ECDHE-RSA-AES128-GCM-SHA256&handshake=5s\
                &ticket_keys=t!proxy?from=10.0.0.0/8,::1&header=2s&max=1KiB&keep=0!tcp";
    let stack = Stack::parse(text).unwrap();
    let expected = TlsLayer {
        certificate: Some(CertificateFiles { cert: "a&b!%.pem".into(), key: "/k=?.pem".into() }),
        client: Some(ClientCertificates { ca: "ca.pem".into(), is_required: false }),
        least: TlsVersion::Tls12,
        suites: vec![CipherSuite::Tls13Aes256Gcm, CipherSuite::RsaAes128Gcm],
        handshake: seconds(5),
        tickets: Some(Tickets { keys: Some("t".into()) }),
    };
    assert_eq!(stack.tls, Some(expected));
    let from = vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
    let proxy = ProxyLayer { from, header: seconds(2), max: 1024, keep: 0 };
    assert_eq!(stack.proxy, Some(proxy));
    let stack = Stack::parse("ws!proxy!unix?mode=0600&owner=www-data:33&backlog=9").unwrap();
    assert_eq!(stack.proxy, Some(ProxyLayer::default()));
    let owner = SocketOwner {
        user: Some(OwnerName::Name("www-data".into())),
        group: Some(OwnerName::Number(33)),
    };
    let unix = UnixLayer { mode: 0o600, owner: Some(owner), backlog: 9 };
    assert_eq!(stack.socket, SocketLayer::Unix(unix));
    assert_eq!(stack.to_string(), "ws!proxy!unix?mode=600&owner=www-data:33&backlog=9");
    let plain = Stack::parse("ws!tls?client_ca=c!unix?owner=:5").unwrap();
    assert_eq!(plain.to_string(), "ws!tls?client_ca=c!unix?owner=:5");
    let bytes = Stack::parse("ws!tls?cert=%ff&key=%41!tcp").unwrap();
    assert_eq!(bytes.to_string(), "ws!tls?cert=%FF&key=A!tcp");
    assert_eq!(bytes.tls.unwrap().certificate.unwrap().key, Path::new("A"));
}

#[test]
fn suites_have_the_names_that_are_in_use() {
    let of = |least| CipherSuite::defaults(least).len();
    assert_eq!([TlsVersion::Tls12, TlsVersion::Tls13].map(of), [9, 3]);
    for suite in CipherSuite::ALL {
        let text = match suite.version() {
            TlsVersion::Tls13 => suite.name().to_owned(),
            TlsVersion::Tls12 => format!("TLS_AES_128_GCM_SHA256,{}", suite.name()),
        };
        let stack = Stack::parse(&format!("ws!tls?min=1.2&ciphers={text}!tcp")).unwrap();
        assert_eq!(stack.tls.unwrap().suites.last(), Some(&suite));
    }
}

/// Each stack is refused for one reason, at this place.
#[track_caller]
fn assert_each_refused(cases: &[(&str, usize, &str)]) {
    for (text, offset, wrong) in cases {
        assert_errors(text, &[(*offset, (*wrong).into())]);
    }
}

#[test]
fn values_of_tls_that_are_refused() {
    assert_each_refused(&[
        ("ws!tls?cert=a!tcp", 12, "`tls?cert`: needs `key` beside it, the file of its private key"),
        ("ws!tls?key=a!tcp", 11, "`tls?key`: needs `cert` beside it, the file of its certificate"),
        (
            "ws!tls?cert=a%2&key=b!tcp",
            12,
            "`tls?cert`: has a `%` without two hexadecimal digits, is \"a%2\": `%` itself is `%25`",
        ),
        ("ws!tls?cert=&key=b!tcp", 12, "`tls?cert`: must be the name of a file, is empty"),
        (
            "ws!tls?cert=%00&key=b!tcp",
            12,
            "`tls?cert`: must be the name of a file: it has a zero byte",
        ),
        (
            "ws!tls?client_cert=optional!tcp",
            19,
            "`tls?client_cert`: needs `client_ca` beside it, the file of those who sign such \
             certificates",
        ),
        (
            "ws!tls?client_ca=c&client_cert=no!tcp",
            31,
            "`tls?client_cert`: must be `required` or `optional`, is \"no\"",
        ),
        ("ws!tls?min=1.1!tcp", 11, "`tls?min`: must be `1.3` or `1.2`, is \"1.1\""),
        (
            "ws!tls?ciphers=ECDHE-RSA-AES128-GCM-SHA256!tcp",
            15,
            "`tls?ciphers`: has TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, which is of TLS 1.2, and \
             that is not spoken: remove it, or write `min=1.2`",
        ),
        (
            "ws!tls?min=1.2&ciphers=ECDHE-RSA-AES128-GCM-SHA256!tcp",
            23,
            "`tls?ciphers`: has no suite of TLS 1.3, which is always spoken: add one, such as \
             TLS13_AES_128_GCM_SHA256",
        ),
        (
            "ws!tls?ciphers=TLS_AES_128_GCM_SHA256,TLS13_AES_128_GCM_SHA256!tcp",
            15,
            "`tls?ciphers`: has TLS13_AES_128_GCM_SHA256 twice: keep one",
        ),
        ("ws!tls?handshake=0s!tcp", 17, "`tls?handshake`: must be between 1s and 4h, is 0s"),
        (
            "ws!tls?tickets=off&ticket_keys=a!tcp",
            31,
            "`tls?ticket_keys`: means nothing with `tls?tickets=off`: remove one of them",
        ),
    ]);
}

#[test]
fn values_of_proxy_that_are_refused() {
    assert_each_refused(&[
        (
            "ws!proxy?from=10.0.0.1/8!tcp",
            14,
            "`proxy?from`: has 10.0.0.1/8, an address within 10.0.0.0/8: write 10.0.0.0/8, or \
             10.0.0.1 for it alone",
        ),
        (
            "ws!proxy?from=::1,lb!tcp",
            14,
            "`proxy?from`: must be networks such as `10.0.0.0/8` or addresses, joined by commas, \
             has \"lb\"",
        ),
        (
            "ws!proxy?from=::ffff:1.2.3.4!tcp",
            14,
            "`proxy?from`: has ::ffff:1.2.3.4/128: write it as an address of IPv4",
        ),
        ("ws!proxy?from=::1&max=200!tcp", 22, "`proxy?max`: must be between 232 and 64KiB, is 200"),
        (
            "ws!proxy?from=::1&keep=65KiB!tcp",
            23,
            "`proxy?keep`: must be between 0 and 64KiB, is 65KiB",
        ),
        (
            "ws!proxy!tcp",
            3,
            "`proxy?from`: is missing: whoever connects could say to be anyone. Write the networks \
             of your proxies, such as `proxy?from=10.0.0.0/8,192.0.2.7`",
        ),
        (
            "ws!proxy?from=::1!unix",
            3,
            "`proxy?from`: means nothing over `unix`, whose peers have no address: its `mode` says \
             who may connect. Remove it",
        ),
    ]);
}

#[test]
fn values_of_unix_that_are_refused() {
    assert_each_refused(&[
        (
            "ws!unix?mode=8",
            13,
            "`unix?mode`: must be permissions in octal, 1 to 777, such as `660`, is \"8\"",
        ),
        (
            "ws!unix?owner=:",
            14,
            "`unix?owner`: must be `USER`, `USER:GROUP` or `:GROUP`, names or numbers, is \":\"",
        ),
        (
            "ws!unix?owner=4294967295",
            14,
            "`unix?owner`: must be `USER`, `USER:GROUP` or `:GROUP`, names or numbers, is \
             \"4294967295\"",
        ),
    ]);
    for owner in ["0", "root", "www-data:", ":x", "1:2"] {
        let is_taken = Stack::parse(&format!("ws!unix?owner={owner}")).is_ok();
        assert_eq!(is_taken, owner != "www-data:", "{owner}");
    }
}

#[test]
fn layers_that_are_missing_or_misplaced() {
    for (text, offset, wrong) in [
        ("", 0, "a layer has no name"),
        ("!ws!tcp", 0, "a layer has no name"),
        ("ws!!tcp", 3, "a layer has no name"),
        ("ws!tcp!", 7, "a layer has no name"),
        ("tcp", 3, "layer `ws` is missing"),
        ("ws", 2, "layer `tcp` or `unix` is missing"),
        ("ws!proxy?from=::1!tls!tcp", 18, "`tls` stands after `proxy`"),
        ("tls!ws!tcp", 4, "`ws` stands after `tls`"),
        ("ws!unix!tls", 8, "`tls` stands after `unix`"),
        ("tcp!ws", 4, "`ws` stands after `tcp`"),
        ("ws!tcp!log", 7, "`log` stands after `tcp`"),
    ] {
        assert_errors(text, &[(offset, format!("{wrong}: {ORDER}"))]);
    }
    for (text, offset, wrong) in [
        ("log!log!ws!tcp", 4, "`log` stands twice above `ws`: keep one"),
        ("log!ws!log!log!tcp", 11, "`log` stands twice below `ws`: keep one"),
        ("ws!ws!tcp", 3, "`ws` stands twice: keep one"),
        ("ws!tcp!tcp", 7, "`tcp` stands twice: keep one"),
        ("ws!tls!tls!tcp", 7, "`tls` stands twice: keep one"),
        ("ws!tcp!unix", 7, "`unix` stands beside `tcp`: keep one of them"),
        ("ws!unix!tcp", 8, "`tcp` stands beside `unix`: keep one of them"),
    ] {
        assert_errors(text, &[(offset, wrong.into())]);
    }
}

#[test]
fn layers_that_are_not_known_or_not_built() {
    for name in ["mqtt", "http", "h2"] {
        let message = format!("layer `{name}` is not built yet in this version");
        assert_errors(&format!("ws!{name}?a=b!tcp"), &[(3, message)]);
    }
    let hinted = format!("\"tpc\" is not a layer: did you mean `tcp`? T{LAYERS}");
    assert_errors("ws!tpc", &[(3, hinted)]);
    assert_errors("ws!quic", &[(3, format!("\"quic\" is not a layer: t{LAYERS}"))]);
    let padded = format!("\"ws \" is not a layer: did you mean `ws`? T{LAYERS}");
    assert_errors("ws !tcp", &[(0, padded)]);
}

#[test]
fn options_that_are_not_known() {
    let keys = "`ping`, `pong`, `close`, `head`, `decision`, `stall`, `message`, \
                `deflate`, `deflate_level`, `deflate_min`, `forwarded`, \
                `from`";
    for (text, offset, wrong) in [
        ("log?x=1!ws!tcp", 4, "\"x\" is not an option of `log`: there are none".to_owned()),
        (
            "ws?pign=3s!tcp",
            3,
            format!(
                "\"pign\" is not an option of `ws`: did you mean `ping`? The options are {keys}"
            ),
        ),
        ("ws?mtu=3!tcp", 3, format!("\"mtu\" is not an option of `ws`: the options are {keys}")),
        ("ws?!tcp", 3, "\"\" is not an option of `ws`: write `key=value`, joined by `&`".into()),
        (
            "ws!tcp?nodelay",
            7,
            "\"nodelay\" is not an option of `tcp`: write `key=value`, joined by `&`".into(),
        ),
        ("ws?ping=1s&ping=2s!tcp", 11, "\"ping\" is written twice: keep one".into()),
    ] {
        assert_errors(text, &[(offset, wrong)]);
    }
}

#[test]
fn values_that_are_refused() {
    for (text, offset, wrong) in [
        (
            "ws?ping=500ms!tcp",
            8,
            "`ws?ping`: must be between 1s and 4h, is 500ms (or write `off`)".to_owned(),
        ),
        (
            "ws?ping=30!tcp",
            8,
            format!("`ws?ping`: \"30\" has no unit: {TIME_EXPECTED} (or write `off`)"),
        ),
        ("ws?pong=5h!tcp", 8, "`ws?pong`: must be between 1s and 4h, is 5h".into()),
        (
            "ws?close=off!tcp",
            9,
            format!("`ws?close`: \"off\" does not begin with a number: {TIME_EXPECTED}"),
        ),
        ("ws?deflate=no!tcp", 11, "`ws?deflate`: must be `on` or `off`, is \"no\"".into()),
        (
            "ws?deflate_level=10!tcp",
            17,
            "`ws?deflate_level`: must be a whole number between 1 and 9, is \"10\"".into(),
        ),
        (
            "ws?deflate_min=17MiB!tcp",
            15,
            "`ws?deflate_min`: must be between 0 and 16MiB, is 17MiB".into(),
        ),
        (
            "ws?pong=3s&ping=off!tcp",
            8,
            "`ws?pong`: means nothing with `ws?ping=off`: remove one of them".into(),
        ),
        (
            "ws?deflate=off&deflate_level=3!tcp",
            29,
            "`ws?deflate_level`: means nothing with `ws?deflate=off`: remove one of them".into(),
        ),
        (
            "ws!tcp?backlog=-1",
            15,
            "`tcp?backlog`: must be a whole number between 1 and 65535, is \"-1\"".into(),
        ),
        (
            "ws?forwarded=via!tcp",
            13,
            "`ws?forwarded`: must be `x-forwarded-for`, `forwarded` or `off`, is \"via\"".into(),
        ),
        (
            "ws?from=::1!tcp",
            8,
            "`ws?from`: means nothing with `ws?forwarded=off`: remove one of them".into(),
        ),
        (
            "ws?forwarded=forwarded&from=10.0.0.1/8!tcp",
            28,
            "`ws?from`: has 10.0.0.1/8, an address within 10.0.0.0/8: write 10.0.0.0/8, or \
             10.0.0.1 for it alone"
                .into(),
        ),
        ("ws!tcp?nodelay=true", 15, "`tcp?nodelay`: must be `on` or `off`, is \"true\"".into()),
        ("ws!tcp?sndbuf=1KiB", 14, "`tcp?sndbuf`: must be between 4KiB and 64MiB, is 1KiB".into()),
    ] {
        assert_errors(text, &[(offset, wrong)]);
    }
}

#[test]
fn all_errors_of_a_stack_are_told_in_its_order() {
    let offsets: Vec<usize> =
        errors("log!log?a=1!h2!ws?b=2&ping=x!tcp?rcvbuf=0&=!ws").iter().map(|e| e.0).collect();
    assert_eq!(offsets, [4, 8, 12, 18, 27, 40, 42, 44]);
}

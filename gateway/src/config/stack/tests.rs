use super::*;
use crate::units::TIME_EXPECTED;

/// What every error about the order ends with.
const ORDER: &str = "layers are written from the inside out, such as `log!ws!log!tcp`";
/// What every error about an unknown layer ends with.
const LAYERS: &str = "he layers are `log`, `ws`, `tcp`";

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
                &deflate=on&deflate_level=6&deflate_min=7!log!tcp?backlog=8&nodelay=off\
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
        },
        tcp: TcpLayer {
            backlog: 8,
            nodelay: false,
            rcvbuf: 16 << 10,
            sndbuf: 1_000_000,
            user_timeout: Some(seconds(9)),
        },
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
            },
            tcp: TcpLayer {
                backlog: 1 + pick(65_535) as u32,
                nodelay: pick(2) == 0,
                rcvbuf,
                sndbuf,
                user_timeout: (pick(2) == 0).then_some(user_timeout),
            },
        };
        assert_eq!(Stack::parse(&stack.to_string()), Ok(stack), "{stack}");
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
        ("ws", 2, "layer `tcp` is missing"),
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
    ] {
        assert_errors(text, &[(offset, wrong.into())]);
    }
}

#[test]
fn layers_that_are_not_known_or_not_built() {
    for name in ["tls", "proxy", "mqtt", "http", "h2"] {
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
                `deflate`, `deflate_level`, `deflate_min`";
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
        ("ws!tcp?nodelay=true", 15, "`tcp?nodelay`: must be `on` or `off`, is \"true\"".into()),
        ("ws!tcp?sndbuf=1KiB", 14, "`tcp?sndbuf`: must be between 4KiB and 64MiB, is 1KiB".into()),
    ] {
        assert_errors(text, &[(offset, wrong)]);
    }
}

#[test]
fn all_errors_of_a_stack_are_told_in_its_order() {
    let offsets: Vec<usize> =
        errors("log!log?a=1!tls!ws?b=2&ping=x!tcp?rcvbuf=0&=!ws").iter().map(|e| e.0).collect();
    assert_eq!(offsets, [4, 8, 12, 19, 28, 41, 43, 45]);
}

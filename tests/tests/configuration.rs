//! The command line and the configuration file: what is refused, and what is said about it.

use std::net::TcpListener;

use tidegate_tests::{Exited, Frame, Gateway, Launch, Peer, Request, Witness, case};

/// A file with ten mistakes, each with what is said about it behind its line.
const MISTAKES: [(&str, &str); 12] = [
    ("shards = 0", "shards: must be between 1 and 1024, is 0"),
    ("pim = true", "pim: is not a key: did you mean `pin`?"),
    ("drain = \"30\"", "drain: \"30\" has no unit"),
    ("[limits]", ""),
    ("connections = 3", "limits.connections: must be between 16 and 4194304, is 3"),
    ("receive_buffers = 500", "limits.receive_buffers: must be a power of two"),
    ("blocks = \"5500KiB\"", "limits.blocks: must be a multiple of 1MiB"),
    ("[[listener]]", ""),
    ("address = \"localhost:80\"", "listener[0].address: must be an IP address and a port"),
    ("stack = \"ws?pign=3s!tcp\"", "listener[0].stack: \"pign\" is not an option of `ws`"),
    ("[[route]]", "route[0].path: is missing"),
    ("handler = \"ehco\"", "route[0].handler: "),
];

/// Runs a gateway that does not come up, to its end.
#[track_caller]
fn refused(launch: Launch, code: i32, words: &[&str]) -> Exited {
    let exited = launch.run();
    assert_eq!(exited.code, Some(code), "{exited:?}");
    assert_eq!(exited.stdout, "", "nothing for scripts");
    for word in words {
        assert!(exited.stderr.contains(word), "{word} is missing:\n{}", exited.stderr);
    }
    exited
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once_with_line_and_key() {
    let text: Vec<&str> = MISTAKES.iter().map(|(line, _)| *line).collect();
    let exited = refused(Launch::new().config(&text.join("\n")), 2, &[]);
    let mut told = exited.stderr.lines();
    for (index, (line, message)) in MISTAKES.iter().enumerate() {
        if message.is_empty() {
            continue;
        }
        case(line, || {
            let said = told.next().expect("an error");
            let place = format!("tidegate.toml:{}:", index + 1);
            assert!(said.contains(&place) && said.contains(message), "{said}");
        });
    }
    assert_eq!(told.next(), None);
}

#[test]
fn broken_syntax_is_told_with_its_line() {
    refused(Launch::new().config("shards = 1\npin = \n"), 2, &["tidegate.toml:2:"]);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let launch = |path| Launch::new().argument("--config").argument(path);
    refused(launch("/nowhere/tidegate.toml"), 2, &["/nowhere/tidegate.toml", "No such file"]);
    refused(launch("/"), 2, &["/: ", "directory"]);
}

#[test]
fn routes_that_wait_for_an_embedding_program_are_named() {
    let route = |path: &str| format!("[[route]]\npath = \"{path}\"\nhandler = \"embedded\"\n");
    let config = route("/a") + "[[route]]\npath = \"/\"\nhandler = \"echo\"\n" + &route("/b/{c}");
    for arguments in [&[][..], &["--check"], &["--check=machine"]] {
        case(arguments.join(" "), || {
            let launch = Launch::new().config(&config);
            let launch = arguments.iter().fold(launch, |launch, next| launch.argument(*next));
            let exited = refused(launch, 2, &["route /a: ", "route /b/{c}: ", "embeds Tidegate"]);
            assert_eq!(exited.stderr.lines().count(), 2, "{}", exited.stderr);
        });
    }
}

#[test]
fn a_wrong_command_line_is_told_like_a_wrong_configuration() {
    for (arguments, word) in [
        (&["--listen", "localhost:80"][..], "localhost:80"),
        (&["--listen"], "--listen"),
        (&["--shards", "0"], "0"),
        (&["--shards", "some"], "some"),
        (&["--unknown"], "--unknown"),
        (&["file.toml"], "file.toml"),
    ] {
        case(arguments.join(" "), || {
            let launch =
                arguments.iter().fold(Launch::new(), |launch, next| launch.argument(*next));
            refused(launch, 2, &[word]);
        });
    }
}

#[test]
fn version_and_help_are_told_on_stdout() {
    for (argument, words) in [
        ("--version", &["tidegate ", env!("CARGO_PKG_VERSION")][..]),
        ("--help", &["--config", "--listen", "--shards", "--check"]),
    ] {
        let exited = Launch::new().argument(argument).run();
        assert_eq!((exited.code, &exited.stderr[..]), (Some(0), ""), "{argument}");
        for word in words {
            assert!(exited.stdout.contains(word), "{argument}: {word}\n{}", exited.stdout);
        }
    }
}

#[test]
fn a_check_shows_the_bill_and_listens_nowhere() {
    let config = "shards = 3\n[limits]\nblocks = \"8MiB\"\n";
    let exited = Launch::new().choosing().config(config).argument("--check").run();
    assert_eq!((exited.code, &exited.stderr[..]), (Some(0), ""), "{exited:?}");
    let understood =
        ["listener 127.0.0.1:8080: ws", "route /echo: echo", "admin: off", "shards: 3"];
    let bill = ["blocks", "8,388,608", "3 shards", "limits.connections", "total"];
    for word in understood.into_iter().chain(bill) {
        assert!(exited.stdout.contains(word), "{word} is missing:\n{}", exited.stdout);
    }
    assert!(!exited.stdout.contains("listening"), "{}", exited.stdout);
}

/// A program that starts another whose stdout nobody reads any more.
const UNREAD: [&str; 3] = ["bash", "-c", "exec 3> >(:); wait $!; exec \"$0\" \"$@\" >&3"];

#[test]
fn who_reads_only_the_beginning_changes_no_verdict() {
    for (config, code) in [("shards = 3", 0), ("memory = \"16MiB\"", 1)] {
        let launch = Launch::new().choosing().config(config).under(&UNREAD);
        let exited = launch.argument("--check").run();
        assert_eq!(exited.code, Some(code), "{config}: {exited:?}");
        assert!(!exited.stderr.contains("Broken pipe"), "{exited:?}");
    }
    let exited = Launch::new().under(&UNREAD).argument("--print=man").run();
    assert_eq!((exited.code, &exited.stderr[..]), (Some(0), ""), "{exited:?}");
}

/// A program that starts another with 64 open files at most.
const FEW_FILES: [&str; 3] = ["sh", "-c", "ulimit -n 64 && exec \"$0\" \"$@\""];

#[test]
fn a_check_of_the_machine_ends_as_a_start_does() {
    let config = "shards = 1\n[limits]\nconnections = 100\n";
    let launch = || Launch::new().choosing().config(config).listen("127.0.0.1:0");
    let check = |launch: Launch| launch.argument("--check=machine");
    let start = refused(launch().under(&FEW_FILES), 1, &["ulimit -n"]);
    let checked = refused(check(launch().under(&FEW_FILES)), 1, &["ulimit -n"]);
    let said = start.stderr.lines().last().unwrap_or_default();
    assert_eq!(checked.stderr.lines().last(), Some(said), "the same words");
    let plain = launch().under(&FEW_FILES).argument("--check").run();
    assert_eq!(plain.code, Some(1), "as by epoll: {plain:?}");
    assert_eq!(plain.stderr.lines().last(), Some(said), "the same words");
    let gateway = Gateway::start("");
    let address = gateway.address().to_string();
    let taken = Launch::new().config("shards = 1\n").listen(&address);
    refused(check(taken), 1, &[&address, "in use"]);
    let passed = check(launch()).run();
    assert_eq!((passed.code, &passed.stderr[..]), (Some(0), ""), "{passed:?}");
    let words = ["route /echo: echo", "driver: ", "limits.connections", "would start: 1 shard may"];
    for word in words {
        assert!(passed.stdout.contains(word), "{word} is missing: {passed:?}");
    }
    assert!(!passed.stdout.contains("listening"), "{passed:?}");
    refused(launch().argument("--check=all"), 2, &["machine"]);
}

#[test]
fn shards_that_are_fewer_than_the_cores_are_not_pinned() {
    let allowed = |pin: &str| {
        let config = format!("shards = 1\npin = {pin}\n");
        let gateway = Launch::new().config(&config).listen("127.0.0.1:0").start();
        gateway.process().allowed_cores("shard-0")
    };
    let all = allowed("false");
    assert_eq!(allowed("true"), 1);
    // Where there is one core, one shard is all of them.
    assert_eq!(allowed("\"auto\""), all);
}

#[test]
fn a_check_tells_mistakes_as_a_start_does() {
    refused(Launch::new().config("pim = true").argument("--check"), 2, &["pim: is not a key"]);
}

#[test]
fn a_topic_that_no_route_has_is_warned_of() {
    let config = "[[topic]]\nname = \"romos/{room}\"\nhistory = 1\n";
    let said = "topic[0].name: \"romos/{room}\" matches the topic of no route";
    let exited = Launch::new().config(config).argument("--check").run();
    assert_eq!(exited.code, Some(0), "{exited:?}");
    assert!(exited.stderr.starts_with(&format!("warning: {said}")), "{}", exited.stderr);
    Gateway::start(config).expect_log(&["WARN", said]);
}

#[test]
fn a_start_over_budget_is_refused_with_the_keys_to_lower() {
    let config = "memory = \"16MiB\"\nshards = 2\n[limits]\nblocks = \"512MiB\"\n";
    let words = ["2 shards", "16MiB", "limits.blocks", "1,073,741,824", "memory = \""];
    refused(Launch::new().config(config).listen("127.0.0.1:0"), 1, &words);
    let exited = Launch::new().config(config).argument("--check").run();
    assert_eq!(exited.code, Some(1), "{exited:?}");
}

#[test]
fn a_refusal_names_what_the_process_has_once() {
    let launch = Launch::new().config("memory = \"128MiB\"\nshards = 1\n").admin();
    let words = ["messages on their way", "hub.messages", "log lines", "admin.connections"];
    let exited = refused(launch, 1, &words);
    let at = |owner| exited.stderr.find(owner).expect("it is listed");
    assert!(at("admin: answers") < at("staging"), "not the largest first:\n{}", exited.stderr);
}

#[test]
fn the_small_limits_of_the_readme_carry_connections_in_64_mib() {
    let readme = include_str!("../../README.md");
    let (_, small) = readme.split_once("# small.toml\n").expect("the example");
    let (small, _) = small.split_once("```").expect("its end");
    let gateway = Launch::new().config(small).listen("127.0.0.1:0").admin().start();
    let mut peers: Vec<Peer> = (0..100).map(|_| Peer::open(&gateway, "/rooms/1")).collect();
    peers[0].text(&"x".repeat(10_000));
    for peer in &mut peers {
        peer.expect_text(&"x".repeat(10_000));
    }
    Peer::open(&gateway, "/echo").echo("and an echo");
    let bytes = gateway.process().most_resident_bytes();
    assert!(bytes < 64 << 20, "{bytes} bytes were resident");
}

#[test]
fn an_address_in_use_is_named() {
    let gateway = Gateway::start("");
    let address = gateway.address().to_string();
    refused(Launch::new().config("shards = 1").listen(&address), 1, &[&address, "in use"]);
    Peer::open(&gateway, "/echo").echo("the one that was first goes on");
}

#[test]
fn an_address_of_another_machine_is_named() {
    let address = "192.0.2.1:8080";
    refused(Launch::new().config("shards = 1").listen(address), 1, &[address]);
}

#[test]
fn it_listens_on_each_address_that_is_given() {
    let config = "shards = 2\npin = false\n[limits]\nblocks = \"8MiB\"\n";
    let mut launch = Launch::new().config(config).listen("127.0.0.1:0").listen("127.0.0.2:0");
    // Not every machine has IPv6.
    if TcpListener::bind("[::1]:0").is_ok() {
        launch = launch.listen("[::1]:0");
    }
    let gateway = launch.start();
    assert!(gateway.addresses().len() >= 2);
    assert_eq!(gateway.addresses()[1].ip().to_string(), "127.0.0.2");
    for address in gateway.addresses() {
        case(address, || {
            // Several, so that both shards get some.
            for _ in 0..8 {
                let mut peer = Peer::try_connect(*address).expect("it listens");
                peer.request(&Request::open("/echo"));
                peer.expect_open();
                peer.echo("hello");
            }
        });
    }
}

#[test]
fn configured_listeners_have_their_own_stacks() {
    let (logged, plain) =
        (Gateway::listener("log!ws!tcp"), Gateway::listener("ws?deflate=off!tcp"));
    let config = format!("shards = 1\npin = false\n{logged}{plain}");
    let gateway = Launch::new().config(&config).start_with_addresses(2);
    let offer = Request::open("/echo").with("Sec-WebSocket-Extensions", "permessage-deflate");
    let agrees = |address| {
        let mut peer = Peer::try_connect(address).expect("it listens");
        peer.request(&offer);
        peer.expect_open().header("Sec-WebSocket-Extensions").is_some()
    };
    assert!(agrees(gateway.addresses()[0]));
    assert!(!agrees(gateway.addresses()[1]));
    gateway.expect_log(&["websocket", "opened"]);
    assert_eq!(gateway.log().matches("opened").count(), 1);
}

#[test]
fn without_a_file_it_serves_the_page_and_echo() {
    let gateway = Launch::new().argument("--shards").argument("1").listen("127.0.0.1:0").start();
    let mut peer = Peer::connect(&gateway);
    peer.request(&Request::plain("GET", "/"));
    assert_eq!(peer.response().status, 200);
    Peer::open(&gateway, "/echo").echo("hello");
}

#[test]
fn what_is_not_built_is_refused_by_its_name() {
    for layer in ["mqtt", "http", "h2"] {
        let config = Gateway::listener(&format!("ws!{layer}!tcp"));
        let words = [format!("layer `{layer}` is not built yet"), "tidegate.toml:3:".into()];
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        case(layer, || refused(Launch::new().config(&config), 2, &words));
    }
    for handler in ["mqtt", "link", "http", "proxy"] {
        let config = format!("[[route]]\npath = \"/\"\nhandler = \"{handler}\"\n");
        let word = format!("handler `{handler}` is not built yet");
        case(handler, || refused(Launch::new().config(&config), 2, &[&word]));
    }
}

#[test]
fn routes_that_cannot_be_told_apart_are_refused() {
    let route = |path: &str| format!("[[route]]\npath = \"{path}\"\nhandler = \"echo\"\n");
    for (one, other) in [("/a", "/a"), ("/{a}", "/{b}"), ("/x/{*rest}", "/x/{*all}")] {
        let config = [route(one), route(other)].concat();
        case(other, || {
            refused(Launch::new().config(&config), 2, &["tidegate.toml:5: route[1].path"])
        });
    }
}

#[test]
fn the_layer_log_writes_who_came_and_how_it_ended() {
    let gateway = Gateway::with_stack("log!ws!log!tcp");
    let _witness = Witness::new(&gateway);
    let mut peer = Peer::open(&gateway, "/echo");
    let who = peer.address().to_string();
    peer.frame(&Frame::close(4001, "bye"));
    peer.expect_close(4001);
    peer.expect_eof();
    for words in [
        &["transport", "accepted"][..],
        &["websocket", "opened", "/echo"],
        &["websocket", "closed", "4001"],
        &["transport", "closed"],
    ] {
        gateway.expect_log(&[&[&who[..]], words].concat());
    }
    let peer = Peer::open(&gateway, "/echo");
    let who = peer.address().to_string();
    peer.reset();
    gateway.expect_log(&[&who, "websocket", "closed", "1006"]);
    let refused = Peer::connect(&gateway);
    let who = refused.address().to_string();
    drop(refused);
    gateway.expect_log(&[&who, "transport", "closed"]);
    let about_refused = gateway.log().lines().filter(|line| line.contains(&who)).count();
    assert_eq!(about_refused, 2, "a socket, and no WebSocket connection");
}

#[test]
fn a_filter_by_the_name_of_the_program_covers_all_that_it_says() {
    let config = format!("log = \"warn,tidegate=debug\"\n{}", Gateway::listener("log!ws!log!tcp"));
    let gateway = Gateway::start(&config);
    Peer::open(&gateway, "/echo").echo("hello");
    gateway.expect_log(&["tidegate::transport", "accepted"]);
    gateway.expect_log(&["tidegate::websocket", "opened"]);
    assert!(gateway.counters().get("loops") > 0);
    gateway.expect_log(&["tidegate::counters: tidegate_loops_total"]);
}

#[test]
fn a_log_of_json_has_an_object_in_each_line() {
    let config = format!("log_format = \"json\"\n{}", Gateway::listener("log!ws!log!tcp"));
    let gateway = Gateway::start(&config);
    let mut peer = Peer::open(&gateway, "/echo");
    peer.echo("hello");
    let who = peer.address().to_string();
    gateway.expect_log(&["opened", &who]);
    drop(peer);
    let log = gateway.terminate();
    let lines = log.lines().map(serde_json::from_str::<serde_json::Value>);
    let lines: Vec<_> = lines.collect::<Result<_, _>>().expect("JSON in each line");
    let opened = lines.iter().find(|line| line["message"] == "opened").expect("it was logged");
    assert_eq!((&opened["peer"], &opened["level"]), (&who.into(), &"INFO".into()), "{opened}");
    assert_eq!(opened["target"], "tidegate::websocket");
    assert!(lines.iter().any(|line| line["target"] == "tidegate::transport"), "{log}");
}

#[test]
fn without_the_layer_log_nobody_is_named() {
    let gateway = Gateway::start("");
    let mut peer = Peer::open(&gateway, "/echo");
    peer.echo("hello");
    assert!(!gateway.log().contains(&peer.address().to_string()));
}

#[test]
fn the_log_is_as_quiet_as_the_filter_says() {
    let gateway = Gateway::start("log = \"error\"");
    Peer::open(&gateway, "/echo").echo("hello");
    assert_eq!(gateway.terminate(), "");
}

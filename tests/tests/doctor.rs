//! `tidegate doctor`: what of this machine is in the way, and that a start agrees.

use tidegate_tests::{Exited, Launch, case};

/// Where io_uring is refused.
const REFUSED: [&str; 2] = [env!("CARGO_BIN_EXE_under-seccomp"), "--refuse-io-uring"];

/// What the doctor says of a gateway that is launched so.
#[track_caller]
fn examined(launch: Launch, words: &[&str]) -> Exited {
    let launch = words.iter().fold(launch.argument("doctor"), |it, word| it.argument(*word));
    let exited = launch.run();
    let short = exited.stdout.lines().filter(|line| line.starts_with("SHORT")).count();
    let (code, said) = match short {
        0 => (0, &exited.stdout),
        _ => (1, &exited.stderr),
    };
    assert_eq!(exited.code, Some(code), "{exited:?}");
    assert!(said.contains("in the way of "), "{exited:?}");
    exited
}

/// How something stands in a table, and what is wanted of it.
#[track_caller]
fn row(exited: &Exited, what: &str) -> (String, String) {
    let line = exited.stdout.lines().find(|line| line.contains(what));
    let line = line.unwrap_or_else(|| panic!("{what} is missing:\n{}", exited.stdout));
    let (verdict, rest) = line.split_once(' ').expect("a verdict");
    let (_, wanted) = rest.rsplit_once(' ').expect("what is wanted");
    (verdict.into(), wanted.into())
}

/// With so many open files at most.
fn with_open_files(config: &str, count: u32) -> Launch {
    let script = format!("ulimit -n {count}; exec \"$@\"");
    Launch::new().config(config).listen("127.0.0.1:0").under(&["sh", "-c", &script, "sh"])
}

#[test]
fn as_many_open_files_as_it_wants_are_what_a_start_needs() {
    for driver in ["io_uring", "epoll"] {
        let config = format!("shards = 2\ndriver = \"{driver}\"\n[limits]\nconnections = 200\n");
        let at = |count| examined(with_open_files(&config, count), &[]);
        let (_, wanted) = row(&at(200), "open files, hard limit");
        let wanted: u32 = wanted.parse().expect("a number below a thousand");
        for (count, verdict, code) in [(wanted - 1, "SHORT", 1), (wanted, "ok", 0)] {
            case(format!("{driver}, {count} open files"), || {
                let exited = at(count);
                assert_eq!(row(&exited, "open files, hard limit").0, verdict, "{exited:?}");
                let change = format!("LimitNOFILE={wanted}\n");
                assert_eq!(exited.stdout.contains(&change), code == 1, "{exited:?}");
                let start = with_open_files(&config, count).argument("--check=machine").run();
                assert_eq!(start.code, Some(code), "{start:?}");
                if code == 1 {
                    assert!(start.stderr.contains(&format!("ulimit -n {wanted}")), "{start:?}");
                }
            });
        }
    }
}

#[test]
fn a_bill_that_it_lets_pass_is_one_that_a_start_does() {
    let of = |memory: u64| {
        let config = format!("memory = \"{memory}\"\nshards = 1\n");
        Launch::new().config(&config).listen("127.0.0.1:0")
    };
    let (_, wanted) = row(&examined(of(1 << 40), &[]), "bill of user space");
    let wanted: u64 = wanted.replace(',', "").parse().expect("a number");
    for (memory, verdict, code) in [(wanted - 1, "SHORT", 1), (wanted, "ok", 0)] {
        let exited = examined(of(memory), &[]);
        assert_eq!(row(&exited, "bill of user space").0, verdict, "{exited:?}");
        let start = of(memory).argument("--check").run();
        assert_eq!(start.code, Some(code), "{start:?}");
    }
}

#[test]
fn a_refusal_of_io_uring_is_told_with_who_refuses_it() {
    let launch = || Launch::new().under(&REFUSED).listen("127.0.0.1:0");
    let exited = examined(launch(), &["--shards", "1", "--connections", "100"]);
    assert_eq!(row(&exited, "driver"), ("note".into(), "io_uring".into()));
    for words in ["EPERM", "--security-opt seccomp=", "100 connections by epoll, in 1 shard"] {
        assert!(exited.stdout.contains(words), "{words} is missing:\n{}", exited.stdout);
    }
    let exited = examined(launch(), &["--driver", "io_uring"]);
    assert_eq!(row(&exited, "driver").0, "SHORT");
    assert_eq!(row(&examined(launch(), &["--driver", "epoll"]), "driver").0, "ok");
}

#[test]
fn more_connections_than_are_configured_are_told_with_the_line_to_write() {
    let launch = || Launch::new().config("shards = 2\n[limits]\nconnections = 100\n");
    let exited = examined(launch(), &["--connections", "201"]);
    assert_eq!(row(&exited, "limits.connections").0, "SHORT");
    assert!(exited.stdout.contains("connections = 101\n"), "{exited:?}");
    assert_eq!(row(&examined(launch(), &["--connections", "200"]), "limits.connections").0, "ok");
}

#[test]
fn what_cannot_be_asked_is_told_as_a_wrong_command_line() {
    for (words, said) in [
        (&["doctor", "--connections", "0"][..], "--connections"),
        (&["doctor", "--connections", "many"], "--connections"),
        (&["--shards", "2", "doctor", "--connections", "8388609"], "8388608 at most"),
        (&["--check", "doctor"], "--check"),
        (&["doctor", "--config", "/nowhere/tidegate.toml"], "/nowhere/tidegate.toml"),
    ] {
        case(words.join(" "), || {
            let exited = words.iter().fold(Launch::new(), |it, word| it.argument(*word)).run();
            assert_eq!((exited.code, &exited.stdout[..]), (Some(2), ""), "{exited:?}");
            assert!(exited.stderr.contains(said), "{exited:?}");
        });
    }
}

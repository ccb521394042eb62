//! `million` in a small size, with a gateway that it starts itself.

use std::process::Command;

use tidegate_bench::million::{self, Arguments};

fn arguments() -> Arguments {
    Arguments {
        gateway: None,
        connections: 400,
        shards: 2,
        window: 64,
        ping: "1m".into(),
        hold: 0.1,
        samples: 20,
        settle: 0.0,
    }
}

#[test]
fn a_small_million_does_every_stage() {
    let report = million::run(&arguments()).unwrap();
    assert_eq!((report.connections, report.shards, report.shards_needed), (400, 2, 1));
    assert!(report.holding.seconds >= 0.1);
    assert!(report.holding.server_cores < 2.0, "{:?}", report.holding);
    for stage in [report.opening, report.sweep, report.closing] {
        assert!(stage.seconds > 0.0 && stage.server_us_per_connection > 0.0, "{stage:?}");
    }
    assert!(report.latency.p50_us > 0.0 && report.latency.p50_us <= report.latency.max_us);
    // Not that it grows: what the programs of two gateways share is private to neither, and other
    // tests start and end gateways.
    assert!(report.empty_bytes > 0 && report.full_bytes > 0, "{report:?}");
    assert_eq!(report.returned_bytes, report.used_bytes.saturating_sub(report.closed_bytes));
    let said = report.to_string();
    for words in [
        "million: 400 connections to one process of 2 shards (1 would do), ping=1m\n",
        "B per connection",
        "memory returned",
        "opened",
        "held",
        "pinged",
        "closed",
        "an echo",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn connections_that_do_not_fit_are_refused_before_a_gateway_starts() {
    let gateway = Some("/nowhere/tidegate".into());
    let many = Arguments { gateway, connections: 1_000_000, ..arguments() };
    let error = million::run(&many).unwrap_err().to_string();
    assert!(error.starts_with("1000000 connections do not fit --shards 2: "), "{error}");
}

#[test]
fn a_log_gets_no_escape_codes() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate-bench"));
    command.args(["--json", "million", "-c", "400", "--shards", "2", "--window", "64"]);
    command.args(["--hold", "0.1", "--samples", "20", "--settle", "0"]);
    let output = command.env("NO_COLOR", "1").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(!said.contains('\u{1b}'), "{said}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["connections"], &report["ping"]), (&400.into(), &"5m".into()));
}

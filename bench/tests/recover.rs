//! Those who come back in a small size, so that it does not rot. The figures mean nothing here.

use std::process::Command;

use tidegate_bench::recover::{self, Arguments};

fn arguments() -> Arguments {
    Arguments {
        clients: 200,
        topics: 2,
        history: 50,
        size: 1024,
        shards: 1,
        rounds: 1,
        window: 100,
        others: 10,
        rate: 200.0,
        quiet: 0.5,
        gateway: None,
    }
}

#[test]
fn all_who_come_back_are_told_all_that_they_missed() {
    for shards in [1, 2] {
        let report = recover::run(&Arguments { shards, ..arguments() }).unwrap();
        let round = &report.rounds[0];
        assert_eq!((round.whole, round.gaps, &round.lost), (200, 0, &[].into()), "{report:?}");
        assert_eq!((round.recovered, round.left_out), (200 * 50, 0), "{report:?}");
        assert!(round.bytes > 200 * 50 * 1024, "{report:?}");
        assert!(round.turns > 0 && round.longest_turn_ms > 0.0, "{report:?}");
        assert!(round.quiet.echoes > 50 && round.busy.echoes > 0, "{report:?}");
        assert!(round.quiet.echo.p50_us > 0.0 && round.busy.echo.p50_us > 0.0, "{report:?}");
        assert!(report.to_string().contains("got all of it"), "{report}");
        assert!(report.to_string().contains("wanted 0 clients lost: 0, reached"), "{report}");
        let missing = round.bounds.iter().filter(|bound| !bound.is_reached()).count();
        assert_eq!((round.bounds.len(), report.not_reached().len()), (3, missing), "{report}");
    }
}

/// Nothing is known of the others before, who have had no time for an echo.
#[test]
fn a_bound_that_is_not_reached_is_in_the_exit_code() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate-bench"));
    command.args(["recover", "--clients", "10", "--topics", "1", "--history", "5"]);
    let output = command.args(["--quiet", "0.001", "--rate", "1"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("wanted 0 clients lost: 0, reached"), "{output:?}");
    assert!(said.contains("times that before: 0 echoes before and "), "{output:?}");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("not known"), "{output:?}");
}

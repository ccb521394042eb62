//! Those who come back in a small size, so that it does not rot. The figures mean nothing here.

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
    }
}

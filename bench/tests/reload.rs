//! A configuration is taken over, and what that costs is told.

use tidegate_bench::reload::{self, Arguments};

#[test]
fn changes_are_taken_over_beside_connections() {
    let arguments = Arguments {
        gateway: None,
        connections: 200,
        routes: 50,
        shards: 2,
        reloads: 2,
        window: 50,
    };
    let report = reload::run(&arguments).expect("it is measured");
    assert_eq!(
        (report.seconds.len(), report.cpu_seconds.len(), report.lost),
        (2, 2, 0),
        "{report}"
    );
    assert!(report.seconds.iter().all(|seconds| (0.0..10.0).contains(seconds)), "{report}");
    assert!(report.longest_turn_seconds > 0.0, "{report}");
    assert_eq!(report.bounds.len(), 3, "{report}");
}

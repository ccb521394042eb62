//! Clients are let in by tokens, and what that costs is told.

use tidegate_bench::tokens::{self, Arguments};

#[test]
fn each_kind_of_token_is_measured() {
    let arguments = Arguments { gateway: None, openings: 300, rounds: 2 };
    let report = tokens::run(&arguments).expect("it is measured");
    assert!(report.opening_us > 0.0, "{report}");
    let algorithms: Vec<_> = report.kinds.iter().map(|kind| kind.algorithm).collect();
    assert_eq!(algorithms, ["ES256", "HS256"]);
    // A signature on P-256 takes far more than a hash.
    let [es, hs] = [&report.kinds[0], &report.kinds[1]].map(|kind| kind.crypto_us);
    assert!(es > 2.0 * hs && hs > 0.0, "{report}");
}

//! The hub's measurement in a small size, so that it does not rot. The figures mean nothing here.

use tidegate_bench::hub::{self, Arguments};

#[test]
fn pushes_arrive_and_topics_take_memory() {
    let report = hub::run(&Arguments { pushes: 50, topics: 5000 }).unwrap();
    assert!(report.push.p50_us > 0.0 && report.push.p50_us <= report.push.max_us, "{report:?}");
    assert!(report.bytes_per_topic > 50.0 && report.bytes_per_topic < 2000.0, "{report:?}");
    assert!(report.to_string().contains("50 pushes"));
}

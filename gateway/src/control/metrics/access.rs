//! What has become of the lines of the access log.

use super::{Family, MetricKind, family};
use crate::access_log::AccessCounts;

/// The families of an access log, where there is one.
pub(super) fn families(counts: Option<AccessCounts>) -> Vec<Family> {
    let Some(counts) = counts else { return Vec::new() };
    let AccessCounts { lines, dropped, unwritten, left_out } = counts;
    let all = [
        ("lines", lines, "Lines of the access log that were written."),
        (
            "dropped",
            dropped,
            "Lines of the access log that found its queue full: what they go to takes them too \
             slowly.",
        ),
        ("unwritten", unwritten, "Lines of the access log that could not be written."),
        (
            "left_out",
            left_out,
            "Refusals without a line in the access log, because there were more than \
             `refusals_per_second`.",
        ),
    ];
    let of = |(name, count, help): (&str, u64, &str)| {
        family(&format!("access_log_{name}"), MetricKind::Counter, help).one(count)
    };
    all.map(of).into()
}

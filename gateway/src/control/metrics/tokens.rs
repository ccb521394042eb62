//! What is measured of issuers of tokens: keys, and asking for them.

use super::{Family, Label, MetricKind, Sample, Value, family};
use crate::checks::IssuerFacts;

/// What a scrape sees of each issuer.
pub(super) fn families(issuers: &[IssuerFacts]) -> Vec<Family> {
    if issuers.is_empty() {
        return Vec::new();
    }
    let each = |mut family: Family, value: fn(&IssuerFacts) -> u64| {
        family.samples.extend(issuers.iter().map(|issuer| Sample {
            labels: vec![Label { name: "issuer", value: issuer.name.clone() }],
            value: Value::Number(value(issuer)),
        }));
        family
    };
    let help = "Keys that tokens of an issuer are verified with, by its name in the configuration.";
    let keys = family("jwt_keys", MetricKind::Gauge, help);
    let help = "Times that an issuer's endpoint (`jwks`) has told its keys.";
    let answers = family("jwks_answers", MetricKind::Counter, help);
    let help = "Times that it could not be asked, or has told none: the keys that were known hold.";
    let failures = family("jwks_failures", MetricKind::Counter, help);
    vec![
        each(keys, |issuer| issuer.keys),
        each(answers, |issuer| issuer.answers),
        each(failures, |issuer| issuer.failures),
    ]
}

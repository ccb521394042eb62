//! What is measured of issuers of tokens, keys and asking for them, of tokens taken back, and of
//! hashing passwords.

use super::{Family, Label, MetricKind, Sample, Value, family};
use crate::checks::{HashCounts, IssuerFacts, RevocationCounts};

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

/// What a scrape sees of passwords that are hashed.
pub(super) fn passwords(counts: Option<HashCounts>) -> Vec<Family> {
    let Some(HashCounts { waiting, given_up }) = counts else { return Vec::new() };
    let help = "Passwords that wait to be hashed now, or are.";
    let waits = family("passwords_waiting", MetricKind::Gauge, help).one(waiting);
    let help = "Passwords that were not hashed, because their clients had left by then.";
    vec![waits, family("passwords_given_up", MetricKind::Counter, help).one(given_up)]
}

/// What a scrape sees of revocations.
pub(super) fn of_revocations(counts: RevocationCounts) -> Vec<Family> {
    let RevocationCounts { in_force, made, refused } = counts;
    let of = |name, kind, count, help: &str| family(name, kind, help).one(count);
    vec![
        of("revocations", MetricKind::Gauge, in_force, "Revocations of tokens that are in force."),
        of("revocations_made", MetricKind::Counter, made, "Revocations of tokens that were made."),
        of(
            "revocations_refused",
            MetricKind::Counter,
            refused,
            "Revocations of tokens that were not made, because as many were in force as may be \
             (`revocations`).",
        ),
    ]
}

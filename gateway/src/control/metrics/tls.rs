//! What is measured of TLS: handshakes, records that cannot be opened, certificates.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Family, Label, MetricKind, NANOSECOND, Sample, Value, family, of_shard};
use crate::control::ControlRoom;
use crate::shard::{Counters, Vitals};
use crate::steering::{CertificateFacts, Reloads};
use crate::transport::tls::{HandshakeFailure, RECORD_ERRORS, SUITES, TlsCounts};

/// What a scrape sees of TLS, where a listener speaks it.
pub(in super::super) struct SeenTls {
    /// Handshakes of a shard that may be in progress at once.
    pub(super) handshakes: u32,
    pub(super) certificates: Arc<Vec<CertificateFacts>>,
    pub(super) reloads: Reloads,
}

impl SeenTls {
    pub(super) fn of(control: &ControlRoom) -> Option<Self> {
        let certificates = &control.certificates;
        certificates.are_shown().then(|| Self {
            handshakes: control.config().limits.handshakes,
            certificates: certificates.facts(),
            reloads: certificates.reloads(),
        })
    }

    /// With one certificate.
    pub(super) fn example() -> Self {
        let one = CertificateFacts {
            file: PathBuf::new(),
            names: Vec::new(),
            not_after: 0,
            fingerprint: String::new(),
            doubts: Vec::new(),
        };
        Self { handshakes: 0, certificates: Arc::new(vec![one]), reloads: Reloads::default() }
    }
}

/// All of it.
pub(super) fn families(seen: &SeenTls, by_shard: &[(Counters, Vitals)]) -> Vec<Family> {
    let mut families = counters(by_shard);
    families.extend(in_progress(seen, by_shard));
    families.extend([expiries(&seen.certificates), reloads(seen.reloads)]);
    families
}

/// What only goes up.
pub(super) fn counters(by_shard: &[(Counters, Vitals)]) -> Vec<Family> {
    let mut families = Vec::from(handshakes(by_shard));
    families.extend(records(by_shard));
    families
}

/// What has become of handshakes, and of records behind them.
fn handshakes(by_shard: &[(Counters, Vitals)]) -> [Family; 5] {
    let suites = SUITES.iter().map(|(_, version, cipher)| {
        vec![Label::new("version", version), Label::new("cipher", cipher)]
    });
    let help = "Handshakes that were done, by version and cipher suite.";
    let done = family("tls_handshakes", MetricKind::Counter, help);
    let done = done.each(by_shard, suites, |counts| counts.done);
    let help = "Handshakes that were done and that a ticket has made short.";
    let resumed = family("tls_resumptions", MetricKind::Counter, help)
        .by_shard(by_shard, |vitals| Value::Number(vitals.tls.resumed));
    let help = "Handshakes that have failed, by reason. Those that were not done in time are \
                tidegate_handshakes_timed_out_total.";
    let failed = family("tls_handshake_failures", MetricKind::Counter, help);
    let reasons = HandshakeFailure::ALL.iter().map(|one| vec![Label::new("reason", one.name())]);
    let failed = failed.each(by_shard, reasons, |counts| counts.failed);
    let help = "Connections that have ended behind their handshakes because a record could not be \
                opened, or was an alert, by reason; `tls12` is what rustls refuses of TLS 1.2.";
    let broken = family("tls_record_failures", MetricKind::Counter, help);
    let reasons = RECORD_ERRORS.iter().map(|one| vec![Label::new("reason", one)]);
    let broken = broken.each(by_shard, reasons, |counts| counts.broken);
    let help = "How long handshakes took that were done, from their first bytes on: the client's \
                time and the way to it are most of that.";
    let took = |vitals: &Vitals| Box::new(vitals.tls.nanoseconds);
    let seconds = family("tls_handshake_seconds", MetricKind::Histogram, help)
        .by_shard(by_shard, |vitals| Value::Histogram(took(vitals), NANOSECOND));
    [done, resumed, failed, broken, seconds]
}

/// What was done with records.
fn records(by_shard: &[(Counters, Vitals)]) -> [Family; 3] {
    let directions = ["in", "out"].map(|one| vec![Label::new("direction", one)]);
    let help = "Records of TLS 1.3 behind handshakes that were opened (in) and sealed (out).";
    let records = family("tls_records", MetricKind::Counter, help);
    let of = |counts: &TlsCounts| [counts.records.opened, counts.records.sealed];
    let records = records.each(by_shard, directions.clone().into_iter(), of);
    let help = "KeyUpdates of TLS 1.3 that clients have sent (in) and we have (out).";
    let updates = family("tls_key_updates", MetricKind::Counter, help);
    let of = |counts: &TlsCounts| [counts.records.updates_received, counts.records.updates_sent];
    let updates = updates.each(by_shard, directions.into_iter(), of);
    let help = "Keys of TLS 1.3 that were expanded for a burst of records, because none of the \
                connection's had stayed: `limits.expanded_keys`.";
    let expanded = family("tls_keys_expanded", MetricKind::Counter, help)
        .by_shard(by_shard, |vitals| Value::Number(vitals.tls.records.expanded));
    [records, updates, expanded]
}

/// How many are under way, and how many may be.
fn in_progress(seen: &SeenTls, by_shard: &[(Counters, Vitals)]) -> [Family; 2] {
    let help = "Handshakes that are in progress now.";
    let now = family("tls_handshakes_in_progress", MetricKind::Gauge, help)
        .by_shard(by_shard, |vitals| Value::Number(vitals.handshakes));
    let help = "Handshakes of a shard that may be in progress at once: `limits.handshakes`.";
    let most = family("tls_handshakes_allowed", MetricKind::Gauge, help);
    [now, most.one(seen.handshakes.into())]
}

/// When each certificate expires. One that is configured for several names in turn is there by the
/// first of each.
fn expiries(certificates: &[CertificateFacts]) -> Family {
    let help = "When a certificate that is in use expires, in seconds since 1970, by its file and \
                the first of its names.";
    let mut all = family("certificate_not_after_timestamp_seconds", MetricKind::Gauge, help);
    for one in certificates {
        let name = one.names.first().map_or("", String::as_str);
        let file = one.file.display().to_string();
        let labels = vec![Label { name: "file", value: file }, Label::new("name", name)];
        // Twice the same labels would be no exposition.
        if all.samples.iter().all(|other| other.labels != labels) {
            all.samples.push(Sample { labels, value: Value::Number(one.not_after) });
        }
    }
    all
}

/// What has come of reading files anew.
fn reloads(Reloads { done, refused }: Reloads) -> Family {
    let help = "How often the files of TLS were read anew, and whether what was read is used: if \
                any is wrong, all stay as they were.";
    let mut all = family("certificate_reloads", MetricKind::Counter, help);
    all.samples.extend([("done", done), ("refused", refused)].map(|(result, count)| Sample {
        labels: vec![Label::new("result", result)],
        value: Value::Number(count),
    }));
    all
}

impl Family {
    /// With each count of a list for each shard, which has these labels.
    fn each<const N: usize>(
        mut self,
        by_shard: &[(Counters, Vitals)],
        labels: impl Iterator<Item = Vec<Label>>,
        counts: impl Fn(&TlsCounts) -> [u64; N],
    ) -> Self {
        for (at, labels) in labels.take(N).enumerate() {
            self.samples.extend(by_shard.iter().enumerate().map(|(shard, (_, vitals))| Sample {
                labels: labels.iter().cloned().chain([of_shard(shard)]).collect(),
                value: Value::Number(counts(&vitals.tls)[at]),
            }));
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_certificate_is_there_once_by_file_and_first_name() {
        let of = |file: &str, names: &[&str], not_after| CertificateFacts {
            file: file.into(),
            names: names.iter().map(ToString::to_string).collect(),
            not_after,
            fingerprint: String::new(),
            doubts: Vec::new(),
        };
        let all = [
            of("a.pem", &["a.org", "b.org"], 7),
            of("a.pem", &["a.org"], 7),
            of("a.pem", &["c.org"], 7),
            of("n.pem", &[], 9),
        ];
        let family = expiries(&all);
        let told: Vec<_> = family.samples.iter().map(|one| one.labels[1].value.as_str()).collect();
        assert_eq!(told, ["a.org", "c.org", ""]);
        assert_eq!(family.samples[2].value, Value::Number(9));
    }

    #[test]
    fn counts_have_the_labels_of_their_places() {
        let mut vitals = Vitals::default();
        vitals.tls.failed[HandshakeFailure::PlainHttp as usize] = 3;
        vitals.tls.done[1] = 4;
        let [done, _, failed, ..] =
            handshakes(&[Default::default(), (Counters::default(), vitals)]);
        let counted = |family: &Family| {
            let mut found = family.samples.iter().filter(|one| one.value != Value::Number(0));
            let one = found.next().expect("it was counted").clone();
            assert!(found.next().is_none());
            one.labels.into_iter().map(|label| label.value).collect::<Vec<_>>()
        };
        assert_eq!(counted(&done), ["1.3", "TLS_AES_256_GCM_SHA384", "1"]);
        assert_eq!(counted(&failed), ["plain_http", "1"]);
    }
}

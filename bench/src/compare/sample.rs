//! The figures of one round of one server.

use std::collections::BTreeMap;
use std::io;

use super::metric::Metric;
use crate::latency::Latency;
use crate::load::Run;
use crate::process::CpuTime;
use crate::rush::Rush;
use crate::{fanout, handshakes, idle, storm};

/// The figures of one round of one server.
pub type Sample = BTreeMap<Metric, f64>;

pub(super) fn of_echo(run: &Run) -> io::Result<Sample> {
    if run.tally.messages == 0 {
        return Err(io::Error::other("not one message came back in a round"));
    }
    let (seconds, messages) = (run.time.as_secs_f64(), run.tally.messages as f64);
    let cores = |cpu: CpuTime| cpu.total().as_secs_f64() / seconds;
    let mut sample = Sample::from([
        (Metric::P99, Latency::new(&run.tally.latency_ns).p99_us),
        (Metric::MessagesPerSecond, messages / seconds),
        (Metric::GeneratorCores, cores(run.generator)),
    ]);
    if let Some(cpu) = run.server {
        sample.insert(Metric::CpuPerMessage, cpu.total().as_secs_f64() * 1e6 / messages);
        sample.insert(Metric::ServerCores, cores(cpu));
    }
    if !run.tally.lateness_ns.is_empty() {
        sample.insert(Metric::Lateness, Latency::new(&run.tally.lateness_ns).p99_us);
        sample.insert(Metric::Unsent, run.tally.unsent as f64);
    }
    Ok(sample)
}

pub(super) fn of_idle(report: &idle::Report) -> Sample {
    let mut sample = Sample::from([
        (Metric::UserBytes, report.silent.bytes_per_connection),
        (Metric::UserBytesEchoed, report.echoed.bytes_per_connection),
    ]);
    if let Ok(kernel) = &report.kernel {
        sample.insert(Metric::KernelBytes, kernel.beyond_bytes);
        sample.insert(Metric::Whole, kernel.ratio);
    }
    sample
}

pub(super) fn of_storm(report: &storm::Report) -> Sample {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let storm::Report { bursts, reconnect, rush, .. } = report;
    let mut sample = Sample::from([
        (Metric::BurstHandshakes, bursts.handshakes_per_cpu_second),
        (Metric::Handshakes, reconnect.handshakes_per_cpu_second),
        (Metric::Waited, reconnect.waited_seconds * 1e3),
        (Metric::Stall, reconnect.longest_stall_us / 1e3),
        (Metric::GeneratorStall, reconnect.storm.lateness.max_us / 1e3),
        (Metric::Peak, mib(reconnect.peak_bytes)),
        (Metric::Rest, mib(reconnect.rest_bytes)),
    ]);
    if let Some(rush) = rush {
        sample.extend(of_rush(rush));
    }
    sample
}

fn of_rush(rush: &Rush) -> Sample {
    let others = rush.others.iter().filter_map(|others| {
        let metric = if others.tls { Metric::OthersOverTls } else { Metric::OthersPlain };
        Some((metric, others.rush.p99_to(&others.quiet)?))
    });
    others.chain([(Metric::RushWaited, rush.waited_seconds * 1e3)]).collect()
}

pub(super) fn of_handshakes(report: &handshakes::Report) -> Sample {
    let handshakes::Report { full, resumed, .. } = report;
    Sample::from([
        (Metric::FullHandshakes, full.per_cpu_second),
        (Metric::FullToRustls, 1.0 / full.to_alone),
        (Metric::ResumedHandshakes, resumed.per_cpu_second),
        (Metric::ResumedToRustls, 1.0 / resumed.to_alone),
    ])
}

pub(super) fn of_push(latency: Latency) -> Sample {
    Sample::from([(Metric::PushP99, latency.p99_us), (Metric::PushP50, latency.p50_us)])
}

pub(super) fn of_fanout(report: &fanout::Report) -> Sample {
    let mut sample = Sample::from([
        (Metric::LastSubscriber, report.to_the_last.p99_us),
        (Metric::DeliveriesPerSecond, report.deliveries_per_second),
        (Metric::GeneratorCores, report.generator_cores),
    ]);
    if let Some(used) = &report.used {
        sample.insert(Metric::CpuPerDelivery, used.us_per_delivery);
        sample.insert(Metric::ServerCores, used.cores);
    }
    sample
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::histogram;
    use crate::others::Seen;
    use crate::rush::Beside;

    fn seen(echoes: u64, p99_us: f64) -> Seen {
        let none = Latency::new(&histogram());
        Seen { echoes, echo: Latency { p99_us, ..none }, lateness: none }
    }

    #[test]
    fn those_beside_a_rush_wait_so_many_times_as_long_as_in_the_quiet() {
        let beside = |tls, rush| Beside { tls, connections: 250, quiet: seen(9, 100.0), rush };
        let others = vec![beside(false, seen(0, 0.0)), beside(true, seen(9, 250.0))];
        let rush = Rush {
            handshakes: 5000,
            seconds: 1.0,
            handshakes_per_cpu_second: 5000.0,
            waited_seconds: 0.01,
            others,
        };
        // Who sent nothing says nothing.
        let expected = Sample::from([(Metric::OthersOverTls, 2.5), (Metric::RushWaited, 10.0)]);
        assert_eq!(of_rush(&rush), expected);
    }
}

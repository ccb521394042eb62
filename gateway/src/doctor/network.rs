//! What the kernel does for connections before they are ours, and beside them.

use std::net::SocketAddr;

use super::machine_files::MachineFiles;
use super::needs::Needs;
use super::symptom::Symptom;
use crate::bill::grouped;

/// The capability to bind ports that not anybody may (capabilities(7), `CAP_NET_BIND_SERVICE`).
const BIND_SERVICE: u32 = 10;

/// What the network's settings are.
#[derive(Debug, Default)]
pub(super) struct NetworkReadings {
    pub(super) backlog: Option<u64>,
    pub(super) cookies: Option<u64>,
    pub(super) half_open: Option<u64>,
    /// The first port and the last that outgoing connections are given.
    pub(super) outgoing: Option<[u64; 2]>,
    /// The lowest port that anybody may bind, and whether this process may bind any.
    pub(super) unprivileged: Option<u64>,
    pub(super) may_bind_all: bool,
    pub(super) rmem: Option<u64>,
    pub(super) wmem: Option<u64>,
    /// How many connections are tracked, and how many may be.
    pub(super) tracked: Option<[u64; 2]>,
}

impl NetworkReadings {
    /// As it is in these files (the kernel's Documentation/networking/ip-sysctl.rst).
    pub(super) fn read(files: &MachineFiles<'_>) -> Self {
        let of_ip = |name| files.number(&format!("/proc/sys/net/ipv4/{name}"));
        let of_core = |name| files.number(&format!("/proc/sys/net/core/{name}"));
        let tracking = |name| files.number(&format!("/proc/sys/net/netfilter/nf_conntrack_{name}"));
        Self {
            backlog: of_core("somaxconn"),
            cookies: of_ip("tcp_syncookies"),
            half_open: of_ip("tcp_max_syn_backlog"),
            outgoing: files.numbers("/proc/sys/net/ipv4/ip_local_port_range"),
            unprivileged: of_ip("ip_unprivileged_port_start"),
            may_bind_all: files.has_capability(BIND_SERVICE),
            rmem: of_core("rmem_max"),
            wmem: of_core("wmem_max"),
            tracked: tracking("count").zip(tracking("max")).map(|(count, most)| [count, most]),
        }
    }

    pub(super) fn examine(&self, needs: &Needs) -> Vec<Symptom> {
        let mut symptoms = vec![self.backlog(needs), self.half_open(needs)];
        symptoms.extend(self.ports(&needs.addresses));
        symptoms.extend([
            capped("net.core.rmem_max", self.rmem, "rcvbuf", needs.tcp.rcvbuf),
            capped("net.core.wmem_max", self.wmem, "sndbuf", needs.tcp.sndbuf),
        ]);
        symptoms.extend(self.outgoing(needs.connections));
        symptoms.extend(self.tracked(needs.connections));
        symptoms
    }

    fn backlog(&self, needs: &Needs) -> Symptom {
        let wanted = u64::from(needs.tcp.backlog);
        let changes = [
            format!("sysctl -w net.core.somaxconn={wanted}"),
            format!("docker, podman: --sysctl net.core.somaxconn={wanted}"),
            format!(
                "Kubernetes, in the pod's securityContext, if the kubelet allows it: sysctls: \
                 [{{name: net.core.somaxconn, value: \"{wanted}\"}}]"
            ),
        ];
        Symptom::counted("net.core.somaxconn", self.backlog, wanted).remedy(
            &changes,
            "so many may wait to be accepted at each shard (`backlog` of `tcp`), and the kernel \
             caps that at this; who comes in a burst beyond it tries again a second later",
        )
    }

    /// Connections whose handshake is under way. With cookies the queue is bounded by the backlog.
    fn half_open(&self, needs: &Needs) -> Symptom {
        let wanted = u64::from(needs.tcp.backlog);
        let is = self.half_open.map_or("unknown".into(), grouped);
        match self.cookies {
            Some(0) => Symptom::counted("tcp_max_syn_backlog", self.half_open, wanted).remedy(
                &[
                    "sysctl -w net.ipv4.tcp_syncookies=1".into(),
                    format!("or: sysctl -w net.ipv4.tcp_max_syn_backlog={wanted}"),
                ],
                "without cookies the kernel drops handshakes of a burst, or of a flood, from three \
                 quarters of this on",
            ),
            Some(_) => Symptom::new("tcp_max_syn_backlog", is, "any, with cookies"),
            None => Symptom::new("tcp_max_syn_backlog", is, grouped(wanted)).noted(
                "net.ipv4.tcp_syncookies cannot be read here; where it is 1, this is unused",
            ),
        }
    }

    fn ports(&self, addresses: &[SocketAddr]) -> Option<Symptom> {
        // Port 0 is any that is free.
        let ports = addresses.iter().map(SocketAddr::port).filter(|port| *port != 0);
        let lowest = ports.min()?;
        let is = self.unprivileged?;
        let it = Symptom::new("lowest port for everybody", is.to_string(), lowest.to_string());
        if u64::from(lowest) >= is {
            return Some(it);
        }
        if self.may_bind_all {
            return Some(it.noted("this process may bind lower ones (CAP_NET_BIND_SERVICE)"));
        }
        let changes = [
            "setcap cap_net_bind_service=+ep on the program".into(),
            "systemd, in [Service]: AmbientCapabilities=CAP_NET_BIND_SERVICE".into(),
            format!("or: sysctl -w net.ipv4.ip_unprivileged_port_start={lowest}"),
            format!("docker, podman: --sysctl net.ipv4.ip_unprivileged_port_start={lowest}"),
            format!(
                "Kubernetes, in the pod's securityContext: sysctls: [{{name: \
                 net.ipv4.ip_unprivileged_port_start, value: \"{lowest}\"}}]"
            ),
        ];
        let why = "net.ipv4.ip_unprivileged_port_start: lower ones need CAP_NET_BIND_SERVICE";
        Some(it.short().remedy(&changes, why))
    }

    /// Only others of this machine have these ports, so nothing is short of them.
    fn outgoing(&self, connections: u64) -> Option<Symptom> {
        let [first, last] = self.outgoing?;
        let ports = (last + 1).saturating_sub(first);
        let it = Symptom::new("ip_local_port_range", format!("{first} to {last}"), "any");
        if ports >= connections {
            return Some(it);
        }
        Some(it.noted(format!(
            "a gateway accepts, and takes none of these {} ports. A proxy or a load generator on \
             this machine has one for each connection to one address and port: for {} it needs \
             more addresses to connect to",
            grouped(ports),
            grouped(connections)
        )))
    }

    /// Without the module there is nothing to be short of.
    fn tracked(&self, connections: u64) -> Option<Symptom> {
        let [count, most] = self.tracked?;
        let it = Symptom::counted("nf_conntrack_max", Some(most), connections);
        let why = format!(
            "where rules track connections, who finds the table full is dropped; {} are tracked \
             now, and each stays for two minutes after its end",
            grouped(count)
        );
        // The module tracks nothing before a rule asks it to.
        if it.is_short() && count == 0 {
            return Some(it.noted(why));
        }
        let wanted = connections.saturating_mul(2);
        Some(it.remedy(&[format!("sysctl -w net.netfilter.nf_conntrack_max={wanted}")], why))
    }
}

/// A setting that caps a socket buffer. A smaller one is no less right.
fn capped(what: &'static str, is: Option<u64>, option: &str, wanted: u32) -> Symptom {
    let it = Symptom::counted(what, is, wanted.into());
    match is {
        Some(is) if is < u64::from(wanted) => it
            .noted(format!(
                "listeners ask for `{option}` of {}; the kernel gives less and does not say so. \
                 tcp_rmem and tcp_wmem do not count, because it is asked for",
                grouped(wanted.into())
            ))
            .advice(&[format!("sysctl -w {what}={wanted}")]),
        _ => it,
    }
}

#[cfg(test)]
mod tests {
    use super::super::symptom::Verdict;
    use super::super::tests::needs;
    use super::*;
    use crate::kernel::Driver;

    fn verdict(readings: &NetworkReadings, what: &str) -> Option<Verdict> {
        let symptoms = readings.examine(&needs(Driver::IoUring, 1, 30_000));
        let mut found = symptoms.iter().filter(|it| it.to_string().contains(what));
        found.next().map(Symptom::verdict)
    }

    #[test]
    fn a_backlog_that_is_cut_short_is_in_the_way() {
        let of = |backlog| {
            let backlog = Some(backlog);
            let readings = NetworkReadings { backlog, ..NetworkReadings::default() };
            verdict(&readings, "somaxconn")
        };
        assert_eq!(of(4095), Some(Verdict::Short));
        assert_eq!(of(4096), Some(Verdict::Fits));
    }

    #[test]
    fn the_queue_of_handshakes_counts_without_cookies_only() {
        let of = |cookies, half_open| {
            let half_open = Some(half_open);
            let readings = NetworkReadings { cookies, half_open, ..NetworkReadings::default() };
            verdict(&readings, "tcp_max_syn_backlog")
        };
        assert_eq!(of(Some(1), 1), Some(Verdict::Fits));
        assert_eq!(of(Some(0), 4095), Some(Verdict::Short));
        assert_eq!(of(Some(0), 4096), Some(Verdict::Fits));
        assert_eq!(of(None, 4096), Some(Verdict::Noted));
    }

    #[test]
    fn a_low_port_wants_the_capability_or_the_setting() {
        let of = |port: u16, may_bind_all| {
            let unprivileged = Some(1024);
            let readings =
                NetworkReadings { unprivileged, may_bind_all, ..NetworkReadings::default() };
            let addresses = [([127, 0, 0, 1], 8080).into(), ([0, 0, 0, 0], port).into()];
            readings.ports(&addresses).map(|it| it.verdict())
        };
        assert_eq!(of(443, false), Some(Verdict::Short));
        assert_eq!(of(443, true), Some(Verdict::Noted));
        assert_eq!(of(1024, false), Some(Verdict::Fits));
        assert_eq!(of(0, false), Some(Verdict::Fits));
    }

    #[test]
    fn outgoing_ports_are_never_in_the_way() {
        let of = |outgoing| {
            let outgoing = Some(outgoing);
            let readings = NetworkReadings { outgoing, ..NetworkReadings::default() };
            verdict(&readings, "ip_local_port_range")
        };
        assert_eq!(of([1024, 65_535]), Some(Verdict::Fits));
        assert_eq!(of([32_768, 60_999]), Some(Verdict::Noted));
    }

    #[test]
    fn smaller_buffers_are_told_of() {
        let readings = NetworkReadings {
            rmem: Some(212_992),
            wmem: Some(212_992),
            ..NetworkReadings::default()
        };
        assert_eq!(verdict(&readings, "rmem_max"), Some(Verdict::Fits));
        assert_eq!(verdict(&readings, "wmem_max"), Some(Verdict::Noted));
    }

    #[test]
    fn a_table_of_tracked_connections_counts_where_it_is_used() {
        let of = |tracked| {
            verdict(&NetworkReadings { tracked, ..NetworkReadings::default() }, "nf_conntrack")
        };
        assert_eq!(of(None), None);
        assert_eq!(of(Some([0, 10_000])), Some(Verdict::Noted));
        assert_eq!(of(Some([1, 29_999])), Some(Verdict::Short));
        assert_eq!(of(Some([1, 30_000])), Some(Verdict::Fits));
    }

    #[test]
    fn capabilities_are_read_as_the_kernel_writes_them() {
        for (set, may) in [("0000000000000400", true), ("000001fffffffbff", false), ("x", false)] {
            let read = |path: &std::path::Path| {
                path.ends_with("status").then(|| format!("Name:\ta\nCapEff:\t{set}\n"))
            };
            let readings = NetworkReadings::read(&MachineFiles::made_up(&read));
            assert_eq!(readings.may_bind_all, may, "{set}");
        }
    }
}

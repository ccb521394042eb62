//! Memory: what the bill comes to, and what the kernel holds beside it.

use super::machine_files::MachineFiles;
use super::needs::Needs;
use super::symptom::Symptom;
use crate::bill::{LimitOrigin, MemoryBound, MemorySource, grouped};
use crate::units::Size;

const MIB: u64 = 1 << 20;

/// How much memory there is.
#[derive(Debug, Default)]
pub(super) struct MemoryReadings {
    /// What the process may have, and what bounds it.
    pub(super) bound: Option<MemoryBound>,
    /// What could be had of the machine now.
    pub(super) left: Option<u64>,
    /// What all socket buffers of the machine may hold, in bytes.
    pub(super) buffers: Option<u64>,
}

impl MemoryReadings {
    /// As it is in these files.
    pub(super) fn read(files: &MachineFiles<'_>) -> Self {
        let pages = files.numbers("/proc/sys/net/ipv4/tcp_mem").map(|[_, _, most]| most);
        let page = rustix::param::page_size() as u64;
        Self {
            bound: files.memory(),
            left: files.memory_left(),
            buffers: pages.map(|pages| pages.saturating_mul(page)),
        }
    }

    pub(super) fn examine(&self, needs: &Needs) -> Vec<Symptom> {
        let mut symptoms = vec![self.bill(needs), self.all(needs)];
        symptoms.extend(self.left(needs));
        symptoms.push(self.buffers(needs));
        symptoms
    }

    /// What a start checks: the bill against `memory`.
    fn bill(&self, needs: &Needs) -> Symptom {
        let total = needs.bill.total();
        let it = Symptom::counted("bill of user space, `memory`", Some(needs.limit.bytes), total);
        let Err(over) = needs.bill.check(needs.limit) else {
            return it;
        };
        let lines = over.lines.iter();
        let key = lines.flat_map(|line| line.keys).next().copied().unwrap_or("limits.blocks");
        let raised = match needs.limit.origin {
            LimitOrigin::Configured => "in the configuration",
            LimitOrigin::ShareOf(_) | LimitOrigin::Guessed => {
                "in the configuration, if nothing else needs the last quarter"
            }
        };
        let changes = [
            format!("{raised}: memory = \"{}\"", Size(total.next_multiple_of(MIB))),
            format!("or lower {key}, which decides most of it (`--check` lists all lines)"),
        ];
        let because = needs.limit.to_string();
        it.remedy(&changes, format!("a start is refused: {because}"))
    }

    /// The bill and the kernel's share, of what there is.
    fn all(&self, needs: &Needs) -> Symptom {
        let wanted = needs.bill.total() + needs.idle_sockets();
        let what = match self.bound.map(|bound| bound.source) {
            Some(MemorySource::ControlGroup) => "memory of the control group",
            Some(MemorySource::Machine) | None => "memory of the machine",
        };
        let mib = wanted.div_ceil(MIB);
        let changes = match self.bound.map(|bound| bound.source) {
            Some(MemorySource::ControlGroup) => vec![
                format!("docker, podman: --memory {mib}m"),
                format!("Kubernetes, in the container's resources: limits: {{memory: {mib}Mi}}"),
                format!("systemd, in [Service]: MemoryMax={mib}M"),
            ],
            Some(MemorySource::Machine) | None => {
                vec![format!("a machine of {mib} MiB, or fewer connections")]
            }
        };
        let why = format!(
            "the bill, and {} bytes of the kernel for each connection that is idle; what their \
             buffers hold comes on top",
            grouped(needs.bill.sockets().idle)
        );
        let is = self.bound.map(|bound| bound.bytes);
        Symptom::counted(what, is, wanted).remedy(&changes, why)
    }

    /// What others have of the machine may be given back, so it is not in the way.
    fn left(&self, needs: &Needs) -> Option<Symptom> {
        let wanted = needs.bill.total() + needs.idle_sockets();
        let left = self.left?;
        let it = Symptom::new("memory that is left now", grouped(left), grouped(wanted));
        if left >= wanted {
            return Some(it);
        }
        Some(it.noted(
            "MemAvailable in /proc/meminfo: the rest is in use, by a gateway that runs already, or \
             by others",
        ))
    }

    /// Never all of them are full, so that is not in the way either.
    fn buffers(&self, needs: &Needs) -> Symptom {
        let sockets = needs.bill.sockets();
        let wanted = sockets.connections.saturating_mul(sockets.buffers);
        let what = "socket buffers, all full";
        let Some(is) = self.buffers else {
            return Symptom::counted(what, None, wanted);
        };
        let it = Symptom::new(what, grouped(is), grouped(wanted));
        if is >= wanted {
            return it;
        }
        it.noted(format!(
            "net.ipv4.tcp_mem: the buffers of {} connections can be full at once, at {} bytes \
             each; who does not read fills them. With lower `sndbuf` and `rcvbuf` of `tcp` \
             it is more connections",
            grouped(is / sockets.buffers.max(1)),
            grouped(sockets.buffers)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::symptom::Verdict;
    use super::super::tests::needs;
    use super::*;
    use crate::bill::Limit;
    use crate::kernel::Driver;

    #[test]
    fn a_bill_over_the_limit_is_short_as_a_start_says() {
        let mut needs = needs(Driver::Epoll, 2, 10_000);
        let total = needs.bill.total();
        let mut at = |limit| {
            needs.limit = limit;
            MemoryReadings::default().bill(&needs)
        };
        assert_eq!(at(Limit::configured(total)).verdict(), Verdict::Fits);
        let short = at(Limit::configured(total - 1));
        assert!(short.is_short(), "{short}");
        let text = short.to_string();
        let written = Size(total.next_multiple_of(MIB));
        assert!(text.contains(&format!("memory = \"{written}\"\n")), "{text}");
        assert!(text.contains("or lower limits."), "{text}");
    }

    #[test]
    fn the_kernel_has_its_share_beside_the_bill() {
        let needs = needs(Driver::IoUring, 2, 10_000);
        let wanted = needs.bill.total() + 10_000 * 3936;
        for (source, word) in
            [(MemorySource::Machine, "a machine of"), (MemorySource::ControlGroup, "MemoryMax=")]
        {
            let at = |bytes| {
                let bound = Some(MemoryBound { bytes, source });
                MemoryReadings { bound, ..MemoryReadings::default() }.all(&needs)
            };
            assert_eq!(at(wanted).verdict(), Verdict::Fits, "{}", at(wanted));
            let text = at(wanted - 1).to_string();
            assert!(at(wanted - 1).is_short() && text.contains(word), "{text}");
        }
    }

    #[test]
    fn what_is_full_or_in_use_is_told_of_and_not_in_the_way() {
        let needs = needs(Driver::IoUring, 2, 10_000);
        let all = 10_000 * needs.bill.sockets().buffers;
        let of = |left, buffers| {
            let (left, buffers) = (Some(left), Some(buffers));
            let readings = MemoryReadings { left, buffers, ..MemoryReadings::default() };
            let verdict = |it: Option<Symptom>| it.map(|it| it.verdict());
            (verdict(readings.left(&needs)), readings.buffers(&needs).verdict())
        };
        assert_eq!(of(1 << 20, all - 1), (Some(Verdict::Noted), Verdict::Noted));
        assert_eq!(of(1 << 40, all), (Some(Verdict::Fits), Verdict::Fits));
    }
}

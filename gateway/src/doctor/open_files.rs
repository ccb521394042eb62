//! Open files: of the process, of the machine, and of what epoll watches.

use rustix::process::{Resource, getrlimit};

use super::machine_files::MachineFiles;
use super::needs::Needs;
use super::symptom::Symptom;
use crate::bill::grouped;
use crate::kernel::Driver;

/// The most places that a ring has for descriptors of its own (`IORING_MAX_FIXED_FILES`).
const RING_PLACES: u64 = 1 << 20;

/// What bounds the files that are open.
#[derive(Debug, Default)]
pub(super) struct FileReadings {
    /// The limits of the process (getrlimit(2), `RLIMIT_NOFILE`).
    pub(super) soft: u64,
    pub(super) hard: u64,
    /// As high as a hard limit can be raised.
    pub(super) hard_most: Option<u64>,
    /// How many are open on the machine, and how many may be.
    pub(super) machine: Option<[u64; 2]>,
    /// What a user may have watched by epoll.
    pub(super) watches: Option<u64>,
}

impl FileReadings {
    /// As it is here, and in these files (proc_sys_fs(5)).
    pub(super) fn read(files: &MachineFiles<'_>) -> Self {
        let limit = getrlimit(Resource::Nofile);
        let in_all = files.numbers("/proc/sys/fs/file-nr");
        Self {
            // Without a number there is none.
            soft: limit.current.unwrap_or(u64::MAX),
            hard: limit.maximum.unwrap_or(u64::MAX),
            hard_most: files.number("/proc/sys/fs/nr_open"),
            machine: in_all.map(|[open, _, most]| [open, most]),
            watches: files.number("/proc/sys/fs/epoll/max_user_watches"),
        }
    }

    pub(super) fn examine(&self, needs: &Needs) -> Vec<Symptom> {
        let mut symptoms = vec![self.process(needs), self.machine(needs)];
        match needs.way.driver {
            Driver::IoUring => symptoms.extend(ring_places(needs)),
            Driver::Epoll => symptoms.push(self.watches(needs)),
        }
        symptoms
    }

    fn process(&self, needs: &Needs) -> Symptom {
        let wanted = needs.files.limit;
        let it = Symptom::counted("open files, hard limit", Some(self.hard), wanted);
        let mut changes = Vec::new();
        if self.hard_most.is_some_and(|most| most < wanted) {
            changes.push(format!("first of all: sysctl -w fs.nr_open={wanted}"));
        }
        changes.extend([
            format!("as root, in the shell that starts it: ulimit -n {wanted}"),
            format!("systemd, in [Service]: LimitNOFILE={wanted}"),
            format!("docker, podman: --ulimit nofile={wanted}"),
            format!(
                "Kubernetes: LimitNOFILE={wanted} in the unit of the node's containerd or CRI-O; a \
                 pod cannot say it"
            ),
        ]);
        let why = match needs.way.driver {
            Driver::IoUring => format!(
                "the limit bounds the table of connections of each shard, which has {} places, and \
                 what a process opens beside them",
                grouped(needs.slots.into())
            ),
            Driver::Epoll => "by epoll each connection takes an open file of the process".into(),
        };
        let soft = self.soft;
        let raised = "the gateway raises the soft limit to the hard one itself";
        let why = format!("{why}; {raised}, from {}", grouped(soft));
        match needs.lowered(self.hard) {
            Some(connections) if it.is_short() => {
                let (fewer, wanted) =
                    (grouped(connections.into()), grouped(needs.per_shard.into()));
                let lowers = format!(
                    "a start has {fewer} connections in each shard in place of {wanted}, which is \
                     the default, and warns of that: {why}"
                );
                it.noted(lowers).advice(&changes)
            }
            _ => it.remedy(&changes, why),
        }
    }

    fn machine(&self, needs: &Needs) -> Symptom {
        let wanted = needs.files.machine;
        let it = Symptom::counted("fs.file-max", self.machine.map(|[_, most]| most), wanted);
        if let Some([open, most]) = self.machine
            && most >= wanted
            && most - wanted < open
        {
            let open = grouped(open);
            return it
                .noted(format!("{open} are open now; with those of others it would not suffice"));
        }
        let change = format!("sysctl -w fs.file-max={}", wanted.saturating_mul(2));
        it.remedy(
            &[change],
            "each connection is an open file of the machine, by io_uring too; root alone may go \
             beyond",
        )
    }

    fn watches(&self, needs: &Needs) -> Symptom {
        let wanted = needs.files.machine;
        let it = Symptom::counted("fs.epoll.max_user_watches", self.watches, wanted);
        let change = format!("sysctl -w fs.epoll.max_user_watches={}", wanted.saturating_mul(2));
        it.remedy(&[change], "epoll watches each connection, and a user may have so many watched")
    }
}

/// Whether a ring has a place for each connection of a shard; said only if it has not.
fn ring_places(needs: &Needs) -> Option<Symptom> {
    let slots = u64::from(needs.slots);
    if slots <= RING_PLACES {
        return None;
    }
    let shards = (slots * needs.shards as u64).div_ceil(RING_PLACES - 64);
    let it = Symptom::counted("places of a shard's ring", Some(RING_PLACES), slots);
    let changes = [format!("more shards: shards = {shards}, and fewer connections in each")];
    Some(it.remedy(&changes, "no ring has more, whatever the limits are (IORING_MAX_FIXED_FILES)"))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::super::symptom::Verdict;
    use super::super::tests::needs;
    use super::*;
    use crate::config::{Config, DriverChoice, Shards};

    #[test]
    fn by_a_ring_each_shard_has_the_whole_limit_and_by_epoll_all_share_it() {
        for (driver, wanted) in [(Driver::IoUring, 1062), (Driver::Epoll, 2 * (1062 + 8 + 66) + 32)]
        {
            let needs = needs(driver, 2, 2000);
            let of = |hard| FileReadings { soft: 1024, hard, ..FileReadings::default() };
            let at = |hard| of(hard).process(&needs);
            assert_eq!(at(wanted).verdict(), Verdict::Fits, "{driver}: {}", at(wanted));
            let short = at(wanted - 1);
            assert!(short.is_short(), "{short}");
            let text = short.to_string();
            assert!(text.contains(&format!("LimitNOFILE={wanted}\n")), "{text}");
            assert!(!text.contains("nr_open"), "{text}");
        }
    }

    #[test]
    fn where_a_start_makes_do_with_fewer_that_is_told_and_nothing_is_short() {
        let shards = Shards::Count(NonZeroU16::MIN);
        let with = |driver, connections| {
            let driver = DriverChoice::Only(driver);
            let config = Config { shards, driver, ..Config::default() }.with_admin(None);
            Needs::of(&config, connections, 1).expect("so many may be")
        };
        let readings = FileReadings { soft: 1024, hard: 4096, ..FileReadings::default() };
        for (driver, fewer) in [(Driver::IoUring, "4,032"), (Driver::Epoll, "3,926")] {
            let it = readings.process(&with(driver, None));
            assert_eq!(it.verdict(), Verdict::Noted, "{it}");
            let said = format!("a start has {fewer} connections in each shard in place of 16,384");
            assert!(it.to_string().replace("\n         ", " ").contains(&said), "{it}");
            assert!(it.to_string().contains("LimitNOFILE="), "{it}");
            // Whoever asks for so many wants them.
            assert!(readings.process(&with(driver, Some(16_384))).is_short());
            let few = FileReadings { soft: 16, hard: 16, ..FileReadings::default() };
            assert!(few.process(&with(driver, None)).is_short(), "not a start's least");
        }
    }

    #[test]
    fn a_hard_limit_that_cannot_be_raised_so_far_is_raised_in_two_steps() {
        let readings = FileReadings { hard_most: Some(1000), ..FileReadings::default() };
        let text = readings.process(&needs(Driver::IoUring, 2, 2000)).to_string();
        assert!(text.contains("sysctl -w fs.nr_open=1062\n"), "{text}");
    }

    #[test]
    fn what_the_machine_has_open_already_is_told_of() {
        let needs = needs(Driver::IoUring, 2, 2000);
        let wanted = needs.files.machine;
        let at = |open, most| {
            let machine = Some([open, most]);
            FileReadings { machine, ..FileReadings::default() }.machine(&needs).verdict()
        };
        assert_eq!(at(0, wanted - 1), Verdict::Short);
        assert_eq!(at(1, wanted), Verdict::Noted);
        assert_eq!(at(1, wanted + 1), Verdict::Fits);
        assert_eq!(FileReadings::default().machine(&needs).verdict(), Verdict::Noted);
    }

    #[test]
    fn epoll_alone_has_watches_and_rings_alone_have_places() {
        let of = |driver, connections| {
            let symptoms = FileReadings::default().examine(&needs(driver, 1, connections));
            symptoms.iter().map(ToString::to_string).collect::<String>()
        };
        assert!(of(Driver::Epoll, 2_000_000).contains("max_user_watches"));
        assert!(!of(Driver::Epoll, 2_000_000).contains("places of"));
        let most = RING_PLACES - 64;
        assert!(!of(Driver::IoUring, most).contains("places of"));
        assert!(of(Driver::IoUring, most + 1).contains("shards = 2,"));
    }
}

//! The bill of a configuration, added up.

use super::hub_settings;
use super::thread::THREAD_STACK;
use crate::bill::{Bill, Line, Owner, SocketMemory};
use crate::config::Config;
use crate::config::stack::TcpLayer;
use crate::kernel::{Driver, RingSizes, idle_bytes};
use crate::protocol::program::Program;
use crate::transport::tls;
use crate::{access_log, census, checks, control, hub, kernel, logging, memory, shard};

/// What `shards` shards of this configuration may ever hold, if they ask the kernel by `driver`.
#[must_use]
pub fn bill(config: &Config, shards: usize, driver: Driver) -> Bill {
    bill_with(config, &Program::default(), shards, driver)
}

/// The same with what the embedding program brings along. What that holds itself is not on it.
#[must_use]
pub fn bill_with(config: &Config, program: &Program, shards: usize, driver: Driver) -> Bill {
    let limits = &config.limits;
    let ring = RingSizes {
        driver,
        slots: limits.slots(),
        submissions: shard::SUBMISSIONS,
        completions: shard::completions(limits),
        buffers: limits.receive_buffers,
    };
    let mut lines = kernel::lines(shard::area_sizes(limits), ring);
    lines.extend(memory::lines(limits.blocks, levels(config)));
    lines.extend(shard::lines(config, program.layers.is_some()));
    lines.push(Line::new(Owner::ThreadStack, THREAD_STACK as u64, &[]));
    lines.extend(hub::lines(&hub_settings(config), shards));
    lines.extend(tls::lines(config));
    lines.extend(checks::lines(config));
    lines.extend(census::lines(config));
    lines.extend(control::lines(config));
    lines.push(logging::line());
    lines.extend(access_log::lines(config));
    let sockets = SocketMemory {
        connections: u64::from(limits.connections) * shards as u64,
        idle: idle_bytes(driver),
        buffers: socket_buffers(config),
    };
    Bill::new(lines, shards, sockets)
}

/// How many levels of compression listeners ask for.
fn levels(config: &Config) -> usize {
    let deflates = config.listeners.iter().filter_map(|listener| listener.stack.websocket.deflate);
    let mut levels: Vec<u8> = deflates.map(|deflate| deflate.level).collect();
    levels.sort_unstable();
    levels.dedup();
    levels.len()
}

/// Bytes of the socket buffers of one connection, at most: the kernel doubles what it is asked
/// for.
fn socket_buffers(config: &Config) -> u64 {
    let of = |tcp: &TcpLayer| 2 * (u64::from(tcp.rcvbuf) + u64::from(tcp.sndbuf));
    let layers = config.listeners.iter().filter_map(|listener| listener.stack.socket.tcp());
    layers.map(of).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bill::{Limit, LimitOrigin};
    use crate::config::{HubLimits, Limits, Listener, MemoryLimit, Route, RouteHandler, Stack};
    use crate::hub::Recoveries;
    use crate::machine::{MemoryBound, MemorySource};
    use crate::memory::Compressor;
    use crate::transport::KeptInput;
    use crate::units::Size;

    /// The largest values that the configuration takes.
    fn largest() -> Config {
        let stack = "ws!tcp?rcvbuf=64MiB&sndbuf=64MiB";
        let listeners = (1..=64).map(|index| {
            let stack = stack.replace("ws", &format!("ws?deflate_level={}", index % 9 + 1));
            Listener { stack: Stack::parse(&stack).unwrap(), ..Listener::default() }
        });
        let limits = Limits {
            connections: 4_194_304,
            receive_buffers: 2048,
            receive_buffer: 1 << 20,
            staging: 64 << 20,
            blocks: 4095 << 20,
            request_head: 64 << 10,
            heavy_input: 64 << 20,
            handshakes: 65_536,
            expanded_keys: 65_536,
            tokens: 1 << 30,
            passwords: 1 << 30,
            permissions: u32::MAX,
            ..Limits::default()
        };
        Config { limits, listeners: listeners.collect(), ..Config::default() }
    }

    #[test]
    fn the_total_is_the_sum_of_the_lines() {
        let bill = bill(&Config::default(), 3, Driver::IoUring);
        let sum: u64 = bill.lines().iter().map(|line| line.bytes).sum();
        assert_eq!(bill.per_shard(), sum);
        let common: u64 = bill.common().iter().map(|line| line.bytes).sum();
        assert_eq!(bill.total(), 3 * sum + common);
        assert!(common > Config::default().hub.messages);
    }

    #[test]
    fn the_largest_configuration_can_be_added_up() {
        let bill = bill(&largest(), 1024, Driver::IoUring);
        assert!(bill.total() > 1 << 42);
        assert!(!bill.to_string().is_empty());
    }

    #[test]
    fn the_smallest_memory_carries_the_smallest_limits() {
        let text = "memory = \"16MiB\"\nshards = 1\n[limits]\nconnections = 16\n\
                    receive_buffers = 8\nreceive_buffer = 1024\nrequest_head = 512\n\
                    staging = \"16KiB\"\nblocks = \"2MiB\"\n\
                    [admin]\naddress = \"off\"\n[hub]\nmessages = \"1MiB\"\n\
                    topics = 16\nsubscriptions = 16\nqueued = 16\n\
                    present = 16\nmailbox = 16\n\
                    [[route]]\npath = \"/\"\nhandler = \"echo\"\nbacklog = \"2MiB\"\n\
                    max_buffered_message = \"512KiB\"\n";
        let config = Config::parse(text, "small.toml").unwrap();
        assert_eq!(bill(&config, 1, Driver::IoUring).check(config.memory.limit()), Ok(()));
    }

    #[test]
    fn every_limit_of_memory_changes_the_bill() {
        let total =
            |limits| bill(&Config { limits, ..Config::default() }, 1, Driver::IoUring).total();
        let before = Limits::default();
        // Each key is named, so that a new one is not forgotten.
        let Limits {
            connections,
            receive_buffers,
            receive_buffer,
            staging,
            blocks,
            request_head,
            // That is work.
            heavy_input: _,
            // No listener here has the layer `tls`.
            handshakes: _,
            expanded_keys: _,
            // No route here asks for tokens or passwords.
            tokens: _,
            passwords: _,
            permissions: _,
            // Hundredths of what is there.
            memory_high: _,
            memory_critical: _,
        } = before;
        let cases = [
            ("connections", Limits { connections: connections * 2, ..before }),
            ("receive_buffers", Limits { receive_buffers: receive_buffers * 2, ..before }),
            ("receive_buffer", Limits { receive_buffer: receive_buffer * 2, ..before }),
            ("staging", Limits { staging: staging * 2, ..before }),
            ("blocks", Limits { blocks: blocks * 2, ..before }),
            ("request_head", Limits { request_head: request_head * 2, ..before }),
        ];
        for (key, after) in cases {
            assert!(total(after) > total(before), "{key}");
        }
    }

    #[test]
    fn each_subscription_that_there_may_be_may_recover() {
        let limits = Limits { connections: 1000, ..Limits::default() };
        let paid = |subscriptions, subscriptions_per_connection| {
            let hub =
                HubLimits { subscriptions, subscriptions_per_connection, ..HubLimits::default() };
            let config = Config { limits, hub, ..Config::default() };
            let bill = bill(&config, 1, Driver::IoUring);
            let line = bill.lines().iter().find(|line| line.owner == Owner::Recoveries);
            line.expect("a line").bytes
        };
        let slots = u64::from(limits.slots());
        let of = |count: u64| count * Recoveries::CURSOR_BYTES as u64 + slots.div_ceil(64) * 8;
        assert_eq!(paid(1_000_000, 1), of(slots));
        assert_eq!(paid(1_000_000, 128), of(slots * 128));
        assert_eq!(paid(500, 128), of(500));
    }

    #[test]
    fn a_listener_that_logs_pays_for_the_addresses() {
        let with = |stack| {
            let listener = Listener { stack: Stack::parse(stack).unwrap(), ..Listener::default() };
            let routes = vec![Route::new("/", RouteHandler::Echo)];
            let listeners = vec![listener];
            let config = Config { listeners, ..Config::default() }.with_routes(routes);
            let bill = bill(&config, 1, Driver::IoUring);
            bill.lines().iter().any(|line| line.owner == Owner::PeerAddresses)
        };
        assert!(with("log!ws!tcp") && with("ws!log!tcp") && !with("ws!tcp"));
    }

    #[test]
    fn what_transports_keep_is_paid_for_by_who_has_one() {
        let of = |stack, program: &Program| {
            let listener = Listener { stack: Stack::parse(stack).unwrap(), ..Listener::default() };
            let config = Config { listeners: vec![listener], ..Config::default() };
            let bill = bill_with(&config, program, 1, Driver::IoUring);
            let mut lines = bill.lines().iter();
            lines.find(|line| line.owner == Owner::Kept).map(|line| line.bytes)
        };
        let nothing = Program::default();
        assert_eq!(of("ws!tcp", &nothing), None);
        let kept = Some(KeptInput::bytes(Limits::default().slots()));
        assert_eq!(of("ws!tls!tcp", &nothing), kept);
        assert_eq!(of("ws!proxy?from=::1!tcp", &nothing), kept);
        // Which listeners it makes one for shows only when it is asked.
        assert_eq!(of("ws!tcp", &Program::default().layers(|_| None)), kept);
    }

    /// The bytes of an owner's line where listeners have these stacks.
    fn line_of(stacks: &[&str], owner: Owner) -> Option<u64> {
        let listeners = stacks
            .iter()
            .map(|text| Listener { stack: Stack::parse(text).unwrap(), ..Listener::default() });
        let config = Config { listeners: listeners.collect(), ..Config::default() };
        let bill = bill(&config, 1, Driver::IoUring);
        bill.lines().iter().find(|line| line.owner == owner).map(|line| line.bytes)
    }

    #[test]
    fn what_proxies_say_is_paid_for_as_far_as_it_is_kept() {
        let of = |stacks: &[&str]| line_of(stacks, Owner::ProxyFacts);
        assert_eq!(of(&["ws!tcp", "ws!proxy?from=::1&keep=0!tcp"]), None);
        let slots = u64::from(Limits::default().slots());
        let least = of(&["ws!proxy?from=::1&keep=1!tcp"]).expect("a line");
        let most = ["ws!proxy?from=::1&keep=100!tcp", "ws!proxy?from=::1&keep=200!tcp", "ws!tcp"];
        assert_eq!(of(&most), Some(least + 199 * slots));
        // There is no more in a header.
        let bounded = of(&["ws!proxy?from=::1&max=300&keep=64KiB!tcp"]);
        assert_eq!(bounded, Some(least + 299 * slots));
    }

    #[test]
    fn compressors_are_counted_by_level() {
        let of = |stacks: &[&str]| line_of(stacks, Owner::Compressors).expect("a line");
        let none = of(&["ws?deflate=off!tcp"]);
        let one = of(&["ws!tcp", "ws?deflate=off!tcp", "ws!tcp"]);
        let two = of(&["ws!tcp", "ws?deflate_level=9!tcp"]);
        assert_eq!(one, Compressor::BYTES_MAX as u64);
        assert_eq!(two - one, one - none);
    }

    #[test]
    fn a_bill_over_the_limit_is_refused_with_the_keys_to_lower() {
        let bill = bill(&Config::default(), 100, Driver::IoUring);
        assert_eq!(bill.check(Limit::configured(bill.total())), Ok(()));
        let error = bill.check(Limit::configured(bill.total() - 1)).unwrap_err();
        assert_eq!(error.lines[0].owner, Owner::WaitingMail);
        assert_eq!(error.lines.len(), bill.lines().len() + bill.common().len());
        assert_eq!(error.lines.iter().map(|line| line.bytes).sum::<u64>(), bill.total());
        assert!(error.lines.is_sorted_by_key(|line| std::cmp::Reverse(line.bytes)));
        let message = error.to_string();
        for part in ["100 shards", "6,710,886,400", "limits.blocks", "hub.topics", "log lines"] {
            assert!(message.contains(part), "{part} is missing:\n{message}");
        }
        let raised = message.rsplit_once("memory = \"").unwrap().1.split_once('"').unwrap().0;
        let raised: Size = raised.parse().unwrap();
        assert_eq!(bill.check(Limit::configured(raised.0)), Ok(()));
    }

    #[test]
    fn auto_allows_three_quarters_of_what_there_is() {
        let bound = MemoryBound { bytes: 64 << 30, source: MemorySource::Machine };
        let limit = Limit::within(Some(bound));
        assert_eq!(limit, Limit { bytes: 48 << 30, origin: LimitOrigin::ShareOf(bound) });
        assert_eq!(bill(&Config::default(), 128, Driver::IoUring).check(limit), Ok(()));
        assert_eq!(Limit::within(None).bytes, 4 << 30);
    }

    #[test]
    fn a_refusal_says_where_the_limit_comes_from() {
        let machine = MemoryBound { bytes: 4 << 20, source: MemorySource::Machine };
        let group = MemoryBound { source: MemorySource::ControlGroup, ..machine };
        for (limit, said) in [
            (MemoryLimit::Bytes(16 << 20).limit(), "memory = \"16MiB\" allows 16,777,216."),
            (
                Limit::within(Some(machine)),
                "memory = \"auto\" allows 3,145,728, three quarters of the 4,194,304 that the \
                 machine has (MemTotal in /proc/meminfo).",
            ),
            (
                Limit::within(Some(group)),
                "memory = \"auto\" allows 3,145,728, three quarters of the 4,194,304 that the \
                 control group may have (memory.max).",
            ),
            (
                Limit::within(None),
                "memory = \"auto\" allows 4,294,967,296, because neither /proc/meminfo nor the \
                 control group's memory.max could be read.",
            ),
        ] {
            let error = bill(&Config::default(), 100, Driver::IoUring).check(limit).unwrap_err();
            let message = error.to_string();
            assert!(message.contains(said), "{message}");
        }
    }
}

//! Every measurement in a small size, against a gateway in this process, so that none of them rots.
//! The figures mean nothing here: the process that is measured is the one that measures.

mod common;

use common::start;
use tidegate_bench::fleet::{Ending, Errand, Fleet, Kind, MESSAGE_MAX};
use tidegate_bench::peer::message;
use tidegate_bench::server::Choice;
use tidegate_bench::target::Target;
use tidegate_bench::{echo, idle};

fn echo_arguments(server: Choice, size: usize) -> echo::Arguments {
    echo::Arguments {
        server,
        connections: 20,
        size,
        rate: None,
        seconds: 0.3,
        warm_up: 0.1,
        threads: 2,
    }
}

#[test]
fn echo_counts_what_the_gateway_counts() {
    for size in [0, 64, 20_000, 100_000] {
        let (gateway, server) = start();
        let report = echo::run(&echo_arguments(server, size)).unwrap();
        let handle = gateway.handle();
        // A drained shard has shown its last counts.
        gateway.drain();
        gateway.join().unwrap();
        let counters = handle.counters();
        assert_eq!(counters.opened, 20);
        assert!(report.messages > 0 && report.messages <= counters.messages_in, "{report:?}");
        assert_eq!(counters.messages_in, counters.messages_out);
        assert!(report.latency.p50_us > 0.0 && report.latency.p50_us <= report.latency.max_us);
        assert!(report.to_string().contains("messages per second"));
    }
}

#[test]
fn an_open_loop_sends_what_is_due() {
    let (gateway, server) = start();
    let arguments = echo::Arguments { rate: Some(2000.0), ..echo_arguments(server, 64) };
    let report = echo::run(&arguments).unwrap();
    let handle = gateway.handle();
    gateway.drain();
    gateway.join().unwrap();
    let open_loop = report.open_loop.unwrap();
    // 0.3 seconds at 2,000 per second; on each thread the message that is due at the end as well.
    assert!(report.messages + open_loop.unsent >= 600, "{report:?}");
    assert!(report.messages <= 602, "{report:?}");
    assert!(handle.counters().messages_in >= report.messages);
    assert!(open_loop.lateness.p50_us <= report.latency.p50_us, "{report:?}");
    assert!(report.to_string().contains("generator, late"));
}

#[test]
fn idle_opens_twice_as_many_for_each_kind() {
    let (gateway, server) = start();
    let arguments = idle::Arguments { server, connections: 100, rounds: 2, settle: 0.0 };
    let report = idle::run(&arguments).unwrap();
    let handle = gateway.handle();
    gateway.drain();
    gateway.join().unwrap();
    // The first hundred echo twice when they are alone, and twice with the others.
    assert_eq!((handle.counters().opened, handle.counters().messages_in), (400, 600));
    assert!(report.silent.twice_bytes > 0);
    assert!(report.to_string().contains("B per connection"));
}

#[test]
fn a_fleet_does_every_errand() {
    let (gateway, server) = start();
    let target: Target = server.url.unwrap().parse().unwrap();
    let mut fleet = Fleet::new(&target, Kind::WebSocket, Ending::Fin).unwrap();
    let mut done = 0;
    fleet.open(300, 64, &mut |count| done += count).unwrap();
    assert_eq!((fleet.len(), done), (300, 300));
    let echo = Errand::Echo { message: message(10_000).unwrap() };
    fleet.each(&echo, 300, &mut |_| ()).unwrap();
    fleet.each(&Errand::Ping, 10, &mut |_| ()).unwrap();
    fleet.one(299, &echo).unwrap();
    assert!(fleet.one(300, &echo).is_err(), "there is no such connection");
    let too_long = Errand::Echo { message: message(MESSAGE_MAX + 1).unwrap() };
    assert!(fleet.each(&too_long, 1, &mut |_| ()).is_err());
    fleet.close_all(100, &mut |_| ()).unwrap();
    assert!(fleet.is_empty());
    // The slots are used again.
    fleet.open(200, 300, &mut |_| ()).unwrap();
    fleet.drop_all(&mut |_| ()).unwrap();
    let handle = gateway.handle();
    gateway.drain();
    gateway.join().unwrap();
    assert_eq!((handle.counters().opened, handle.counters().messages_in), (500, 301));
}

#[test]
fn a_server_that_is_not_there_is_an_error() {
    let (gateway, server) = start();
    gateway.stop();
    gateway.join().unwrap();
    assert!(echo::run(&echo_arguments(server, 1)).is_err());
}

#[test]
fn another_path_is_refused() {
    let (_gateway, server) = start();
    let url = server.url.map(|url| url.replace("/echo", "/elsewhere"));
    let error = echo::run(&echo_arguments(Choice { url, ..server }, 1)).unwrap_err();
    assert!(error.to_string().contains("404"), "{error}");
}

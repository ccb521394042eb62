//! Fan-out in a small size, on the peer that a C compiler is enough for, so that it does not rot.
//! The figures mean nothing here.

mod common;

use std::rc::Rc;
use std::time::{Duration, Instant};

use tidegate_bench::fanout::{self, Arguments};
use tidegate_bench::fleet::{Ending, Fleet, Kind};
use tidegate_bench::peer::message;
use tidegate_bench::peers::Peer;
use tidegate_bench::server::{Choice, Server};
use tidegate_bench::target::Target;

fn peer(peer: Peer) -> Choice {
    Choice { peer: Some(peer), ..Choice::default() }
}

fn arguments(server: Choice) -> Arguments {
    Arguments {
        server,
        subscribers: 50,
        slow: 0,
        size: 64,
        seconds: 60.0,
        messages: 20,
        warm_up: 0.0,
    }
}

#[test]
fn every_message_comes_to_every_subscriber() {
    for (size, slow) in [(0, 0), (64, 3), (10_000, 3)] {
        let arguments = Arguments { size, slow, ..arguments(peer(Peer::Epoll)) };
        let report = fanout::run(&arguments).unwrap();
        assert_eq!((report.messages, report.deliveries), (20, 20 * 50), "{report:?}");
        assert_eq!((report.missing, report.published_bytes), (0, 20 * size as u64));
        assert!(report.to_the_last.p50_us > 0.0, "{report:?}");
        assert!(report.to_the_last.p50_us <= report.to_the_last.max_us);
        let used = report.used.unwrap();
        assert!(used.us_per_delivery > 0.0 && used.resident_bytes > 0, "{report:?}");
        assert!(report.to_string().contains("50 subscribers and"));
    }
}

#[test]
fn the_gateway_hands_on_with_one_shard_and_with_two() {
    for shards in [1, 2] {
        let gateway = Choice { shards: Some(shards), ..Choice::default() };
        let report = fanout::run(&Arguments { slow: 2, ..arguments(gateway) }).unwrap();
        assert_eq!((report.deliveries, report.missing), (20 * 50, 0), "{report:?}");
    }
}

/// Sixteen megabytes are for each of those that do not read, which is more than their sockets
/// take; the peer does not keep what they have no room for.
#[test]
fn subscribers_that_do_not_read_harm_nobody() {
    let big = Arguments { size: 16 << 10, messages: 1000, ..arguments(peer(Peer::Epoll)) };
    let report = fanout::run(&Arguments { slow: 5, subscribers: 20, ..big }).unwrap();
    assert_eq!((report.deliveries, report.missing), (1000 * 20, 0), "{report:?}");
    assert!(report.used.unwrap().resident_bytes < 16 << 20, "{report:?}");
}

#[test]
fn what_another_publishes_is_noticed() {
    let server = Server::start_peer(Peer::Epoll).unwrap();
    let target = Target::new(server.target.address, "/rooms/bench");
    let open = || {
        let mut fleet = Fleet::new(&target, Kind::WebSocket, Ending::Reset).unwrap();
        fleet.open(3, 3, &mut |_| ()).unwrap();
        fleet
    };
    let (mut ours, mut theirs) = (open(), open());
    let (our, their): (Rc<[u8]>, Rc<[u8]>) = (message(64).unwrap(), message(64).unwrap());
    assert_eq!(theirs.publish(&their).unwrap().missing, 0);
    // It has come to all six, and three of them did not wait for it.
    let error = ours.publish(&our).unwrap_err().to_string();
    assert!(error.contains("message"), "{error}");
}

/// One that is not a room is noticed with the first message, and not waited for at length.
#[test]
fn a_gateway_that_runs_already_is_measured_by_its_url() {
    let (gateway, echoing) = common::start();
    let started = Instant::now();
    let warmed = Arguments { warm_up: 1.0, ..arguments(echoing.clone()) };
    let error = fanout::run(&warmed).unwrap_err().to_string();
    assert!(error.contains("49 of 50 subscribers") && error.contains("/rooms/"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    let room = Some(format!("ws://{}/rooms/mine", gateway.addresses()[0]));
    let report = fanout::run(&arguments(Choice { url: room, ..echoing })).unwrap();
    assert_eq!((report.deliveries, report.missing), (20 * 50, 0), "{report:?}");
}

#[test]
fn a_server_without_rooms_is_refused() {
    for without in [Peer::Hold, Peer::LwsLean, Peer::Monoio, Peer::Tungstenite] {
        let error = fanout::run(&arguments(peer(without))).unwrap_err().to_string();
        assert!(error.contains(&format!("{} has no rooms", without.name())), "{error}");
        for name in ["epoll", "ws", "uwebsockets-python"] {
            assert!(error.contains(name), "{error}");
        }
    }
    let nobody = Arguments { subscribers: 0, ..arguments(peer(Peer::Epoll)) };
    assert!(fanout::run(&nobody).is_err(), "nobody can publish");
}

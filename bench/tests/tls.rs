//! Every measurement over TLS in a small size, against the bare loop in this process, so that none
//! of them rots. The figures mean nothing here: what is measured is the process that measures.
#![expect(clippy::unwrap_used, reason = "a test: what fails here fails the test")]

use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use tidegate_bench::baseline::{self, Runtime};
use tidegate_bench::fleet::{Ending, Errand, Fleet, Kind};
use tidegate_bench::peer::message;
use tidegate_bench::peers::Peer;
use tidegate_bench::server::{Choice, Server, free_address};
use tidegate_bench::target::Target;
use tidegate_bench::tls::{Certificate, Exchange};
use tidegate_bench::{echo, fanout, handshakes, idle, storm};

/// How long the server may take to listen.
const START_MAX: Duration = Duration::from_secs(10);

/// Starts the bare loop in a thread that ends with the process, and says how to measure it.
fn start(path: &str) -> Choice {
    let address = free_address().unwrap();
    thread::spawn(move || {
        // It is there for as long as the server is.
        let certificate = Certificate::new().unwrap();
        let (cert, key) = (Some(certificate.cert()), Some(certificate.key()));
        let (runtime, port) = (Runtime::Epoll, address.port());
        baseline::run(&baseline::Arguments { runtime, port, cert, key }).unwrap();
    });
    let begun = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(begun.elapsed() < START_MAX, "it does not listen");
        thread::sleep(Duration::from_millis(10));
    }
    let url = Some(format!("wss://{address}{path}"));
    Choice { url, pid: Some(std::process::id()), ..Choice::default() }
}

#[test]
fn echoes_of_all_sizes_come_back() {
    for size in [0, 64, 1024, 16 << 10, 100_000] {
        let (server, rate) = (start("/echo"), None);
        let (connections, seconds, warm_up, threads) = (20, 0.2, 0.05, 2);
        let arguments =
            echo::Arguments { server, connections, size, rate, seconds, warm_up, threads };
        let report = echo::run(&arguments).unwrap();
        assert!(report.messages > 0 && report.description.starts_with("wss://"), "{report:?}");
    }
}

#[test]
fn a_fleet_does_every_errand() {
    let target: Target = start("/echo").url.unwrap().parse().unwrap();
    let mut fleet = Fleet::new(&target, Kind::WebSocket, Ending::Fin).unwrap();
    fleet.open(300, 64, &mut |_| ()).unwrap();
    // In one record, in two of them, and in as much as a fleet sends.
    for size in [10_000, 16_380, 16 << 10] {
        let echo = Errand::Echo { message: message(size).unwrap() };
        fleet.each(&echo, 100, &mut |_| ()).unwrap();
    }
    fleet.each(&Errand::Ping, 10, &mut |_| ()).unwrap();
    fleet.close_all(100, &mut |_| ()).unwrap();
    // The slots are used again.
    fleet.open(200, 300, &mut |_| ()).unwrap();
    fleet.drop_all(&mut |_| ()).unwrap();
    assert_eq!(target.tls.unwrap().counts(), (500, 0));
}

#[test]
fn idle_connections_have_their_keys() {
    let (server, connections) = (start("/echo"), 100);
    let report =
        idle::run(&idle::Arguments { server, connections, rounds: 2, settle: 0.0 }).unwrap();
    assert!(report.silent.twice_bytes > 0 && report.server.starts_with("wss://"), "{report}");
}

#[test]
fn what_one_says_in_a_room_comes_to_all() {
    let report = fanout::run(&fanout::Arguments {
        server: start("/rooms/bench"),
        subscribers: 50,
        slow: 0,
        size: 100,
        seconds: 10.0,
        messages: 20,
        warm_up: 0.05,
    });
    let report = report.unwrap();
    assert_eq!((report.messages, report.deliveries, report.missing), (20, 1000, 0), "{report}");
}

#[test]
fn handshakes_are_counted_in_full_and_resumed() {
    for exchange in [Exchange::X25519, Exchange::X25519Mlkem768] {
        let server = start("/echo");
        let arguments = handshakes::Arguments { server, burst: 30, bursts: 3, exchange };
        let report = handshakes::run(&arguments).unwrap();
        // None that should have resumed was full, or the other way round: that is an error.
        assert_eq!((report.full.count, report.resumed.count), (90, 90));
        assert!(report.resumed.per_cpu_second > 0.0 && report.resumed.to_alone > 0.0, "{report}");
    }
}

#[test]
fn those_beside_a_rush_are_heard() {
    let report = storm::run(&storm::Arguments {
        server: start("/echo"),
        burst: 20,
        bursts: 6,
        connections: 100,
        window: 50,
        ending: Ending::Fin,
        settle: 0.1,
        rush: 200,
        others: 20,
    });
    let report = report.unwrap();
    assert_eq!((report.bursts.handshakes, report.reconnect.connections), (120, 100));
    let rush = report.rush.as_ref().unwrap();
    let [others] = &rush.others[..] else { panic!("{report}") };
    assert!(others.tls && others.connections == 20 && rush.handshakes == 200);
    // A thousand per second, for two seconds.
    assert!(others.quiet.echoes > 500, "{report}");
    assert!(report.to_string().contains("a rush of 200 handshakes"));
}

#[test]
fn who_has_no_tls_is_refused() {
    let choice = Choice { peer: Some(Peer::Hold), tls: true, ..Choice::default() };
    let error = Server::find(&choice).unwrap_err().to_string();
    assert!(error.contains("not measured over TLS"), "{error}");
    let choice = Choice { peer: Some(Peer::Nginx), ..Choice::default() };
    let error = Server::find(&choice).unwrap_err().to_string();
    assert!(error.contains("--tls"), "{error}");
}

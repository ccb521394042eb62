//! The storm in a small size, against a gateway in this process, so that it does not rot. The
//! figures mean nothing here: the process that is measured is the one that measures.

mod common;

use common::start;
use tidegate_bench::fleet::Ending;
use tidegate_bench::server::Choice;
use tidegate_bench::storm::{self, Arguments};

fn arguments(server: Choice, ending: Ending) -> Arguments {
    Arguments {
        server,
        burst: 50,
        bursts: 7,
        connections: 300,
        window: 100,
        ending,
        settle: 0.3,
        rush: 0,
        others: 1,
    }
}

#[test]
fn every_connection_is_the_gateways_and_no_echo_is_lost() {
    for ending in [Ending::Fin, Ending::Reset] {
        let (gateway, server) = start();
        let report = storm::run(&arguments(server, ending)).unwrap();
        let handle = gateway.handle();
        // A drained shard has shown its last counts.
        gateway.drain();
        gateway.join().unwrap();
        assert!(report.rush.is_none(), "it is not over TLS");
        let (bursts, reconnect, counters) = (&report.bursts, &report.reconnect, handle.counters());
        // The storm opens all of its connections twice; the probe is one more.
        assert_eq!((bursts.handshakes, reconnect.connections), (350, 300));
        assert_eq!(counters.opened, 350 + 2 * 300 + 1, "{report:?}");
        assert_eq!((bursts.seconds.len(), bursts.rest_bytes.len()), (7, 7));
        assert!(bursts.growth_bytes.is_some());
        assert!(bursts.median_seconds > 0.0 && bursts.median_seconds <= bursts.max_seconds);
        assert!(bursts.handshakes_per_cpu_second > 0.0, "{report:?}");
        assert!(reconnect.handshakes_per_cpu_second > 0.0, "{report:?}");
        let probed = reconnect.calm.echoes + reconnect.storm.echoes;
        assert!(reconnect.calm.echoes > 0 && reconnect.storm.echoes > 0, "{report:?}");
        // It echoes before the calm as well, and everything it sends comes back.
        assert!(probed <= counters.messages_in, "{report:?}");
        assert_eq!(counters.messages_in, counters.messages_out);
        assert!(reconnect.longest_stall_us >= reconnect.storm.echo.p99_us);
        assert!(reconnect.drop_seconds <= reconnect.seconds, "{report:?}");
        // It may have been on its way when the first connection was dropped, or the last was open.
        assert!(reconnect.longest_stall_at_seconds <= reconnect.seconds + 1.0, "{report:?}");
        assert!(reconnect.peak_bytes > 0 && reconnect.rest_bytes > 0);
        assert!(report.to_string().contains("longest stall"));
    }
}

#[test]
fn a_server_that_takes_no_more_is_an_error() {
    let (gateway, server) = start();
    gateway.stop();
    gateway.join().unwrap();
    assert!(storm::run(&arguments(server, Ending::Fin)).is_err());
}

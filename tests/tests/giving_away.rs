//! What comes to a full shard beside one with room.

use std::time::{Duration, Instant};

use tidegate_tests::hub::HubGateway;
use tidegate_tests::{Peer, Request};

/// Places of each shard.
const PLACES: usize = 400;

/// How many come at once: less than there are places.
const BURST: usize = 300;

/// A shard that is full and quiet gives away all that waits, and does not sleep between portions:
/// at 32 for each tick of a quarter of a second these would take three seconds.
#[test]
fn a_quiet_full_shard_gives_all_that_wait_away_at_once() {
    let more = format!(
        "[[route]]\npath = '/one'\nhandler = 'hub?topic=one'\n\
         [[route]]\npath = '/echo'\nhandler = 'echo'\n[limits]\nconnections = {PLACES}\n"
    );
    let gateway = HubGateway::start(2, &more);
    let request = Request::open("/one");
    let _full: Vec<_> = (0..PLACES).map(|_| gateway.open_on(0, &request)).collect();
    for round in 0..5 {
        let begun = Instant::now();
        let peers = (0..BURST).map(|_| Peer::try_connect(gateway.address()).expect("it listens"));
        let mut peers: Vec<Peer> = peers.collect();
        // Of these the full shard hears nothing more.
        for peer in &mut peers {
            peer.request(&Request::open("/echo"));
        }
        peers.iter_mut().for_each(|peer| drop(peer.expect_open()));
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(1), "round {round} took {took:?}");
        drop(peers);
        let only = PLACES as u64;
        gateway.expect_counters("only those before are left", |now| now.connections == only);
    }
}

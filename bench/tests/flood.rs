//! Floods come, what others see of them is told, and nobody of these is closed.

use tidegate_bench::flood::{self, Arguments, Flood};
use tidegate_bench::peers::Peer;

fn round(flood: Flood) -> flood::Round {
    round_of(flood, None)
}

fn round_of(flood: Flood, peer: Option<Peer>) -> flood::Round {
    let arguments = Arguments {
        floods: vec![flood],
        shards: 1,
        others: 10,
        rate: 200.0,
        seconds: 1.0,
        gateway: None,
        peer,
    };
    let mut report = flood::run(&arguments).expect("floods");
    assert_eq!(report.floods.len(), 1, "{report}");
    report.floods.remove(0)
}

#[test]
fn a_flood_comes_and_others_are_watched_before_and_meanwhile() {
    for flood in [Flood::Topic, Flood::Bombs, Flood::Fragments, Flood::Frames, Flood::Pings] {
        let round = round(flood);
        let clients = if flood == Flood::Topic { 2000 } else { 50 };
        assert_eq!((round.done.clients, round.done.ended), (clients, 0), "{round}");
        // Who publishes to the topic is there as well.
        let publishers = u64::from(flood == Flood::Topic);
        assert_eq!(round.open, Some(clients as u64 + publishers + 10), "{round}");
        assert!(round.done.sent > 0 && round.done.read > 0, "{round}");
        assert!(round.quiet.echoes > 0 && round.busy.echoes > 0, "{round}");
    }
}

#[test]
fn those_who_send_no_request_are_answered_and_come_again() {
    let round = round(Flood::Heads);
    assert!(round.done.clients > 100 && round.done.ended > 50, "{round}");
    assert!(round.done.read > 0 && round.busy.echoes > 0, "{round}");
    assert_eq!(round.open, Some(10), "{round}");
}

#[test]
fn those_who_open_shake_hands_or_show_tokens_come_again() {
    for flood in [Flood::Openings, Flood::Handshakes, Flood::Tokens] {
        let round = round(flood);
        assert!(round.done.clients > 100 && round.done.ended > 50, "{round}");
        assert!(round.done.read > 0 && round.busy.echoes > 0, "{round}");
    }
}

#[test]
fn those_whose_requests_come_slowly_are_there_and_hear_nothing() {
    let round = round(Flood::Slow);
    assert_eq!((round.done.clients, round.done.read, round.done.ended), (5000, 0, 0), "{round}");
    // Who has yet to ask is not counted as open.
    assert_eq!(round.open, Some(10), "{round}");
    // A byte of each comes in a second, once they are there.
    assert!((1000..=10_000).contains(&round.done.sent), "{round}");
}

#[test]
fn those_who_never_read_send_until_they_are_not_read_from() {
    let round = round(Flood::Squeeze);
    assert_eq!((round.done.clients, round.done.read), (2000, 0), "{round}");
    assert!(round.done.sent > 2000 * (16 << 10) && round.busy.echoes > 0, "{round}");
}

#[test]
fn haproxy_is_flooded_as_the_gateway_is() {
    for flood in [Flood::Heads, Flood::Handshakes] {
        let round = round_of(flood, Some(Peer::Haproxy));
        assert!(round.done.ended > 50 && round.busy.echoes > 0, "{round}");
        assert_eq!(round.open, None, "{round}");
    }
}

#[test]
fn those_who_join_are_let_in_and_do_not_read() {
    let round = round(Flood::Joins);
    assert_eq!((round.done.clients, round.done.read), (9500, 0), "{round}");
    assert!(round.open > Some(10), "nobody was let in: {round}");
}

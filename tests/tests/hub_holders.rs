//! Where memory or places run short, those who hold them give way, and whoever reads gets
//! everything.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tidegate::hub;
use tidegate_proto::message::Kind;
use tidegate_tests::hub::{HubGateway, Member, name, topic, user};
use tidegate_tests::{CLOSE, Frame, Peer, Request};

/// So many members of a room that read.
fn readers(gateway: &HubGateway, path: &str, count: usize) -> Vec<Member> {
    let readers: Vec<_> = (0..count).map(|_| gateway.open(path)).collect();
    gateway.expect_subscribers("room", count as u64);
    readers
}

/// Half heads of 6.5 kB each, of strangers: half as many again as find a block.
fn half_heads(gateway: &HubGateway, pool: usize) -> Vec<Peer> {
    let head = Request::open("/room").with("X-Long", &"x".repeat(6500)).bytes();
    let count = pool / 8192 * 9 / 16;
    let mut peers: Vec<_> =
        (0..count).map(|_| Peer::try_connect(gateway.address()).expect("a connection")).collect();
    for peer in &mut peers {
        // Those that find no block are refused while they say it.
        let _ = peer.try_send(&head[..head.len() - 2]);
    }
    gateway.expect_counters("half heads", |now| {
        now.blocks_heads >= (pool / 8 * 3) as u64 && now.refused_no_memory > 0
    });
    peers
}

const POOL: usize = 2 << 20;

const SMALL_POOL: &str = r#"
    [limits]
    blocks = "2MiB"
    receive_buffers = 16
    [[listener]]
    address = "127.0.0.1:0"
    stack = "ws!tcp?sndbuf=16KiB"
    [[route]]
    path = "/room"
    handler = "hub?topic=room"
    backlog = "2MiB"
    max_buffered_message = "256KiB"
"#;

#[test]
fn half_heads_of_strangers_cost_no_subscriber_anything() {
    let gateway = HubGateway::start(1, SMALL_POOL);
    let mut readers = readers(&gateway, "/room", 100);
    let strangers = half_heads(&gateway, POOL);
    for number in 0..10 {
        let text = format!("message {number}");
        assert_eq!(gateway.publish(topic("room"), &text), 100);
        for reader in &mut readers {
            reader.peer.expect_text(&text);
        }
    }
    assert_eq!(gateway.counters().slow_peers_closed, 0);
    drop(strangers);
}

/// The messages that are published while some do not read.
fn text(number: usize) -> String {
    format!("{number:8000}")
}

#[test]
fn peers_that_do_not_read_give_way_and_those_who_do_get_everything() {
    let gateway = HubGateway::start(1, SMALL_POOL);
    // Each of them may hold more than there is.
    let deaf: Vec<_> = (0..8).map(|_| gateway.open("/room")).collect();
    for member in &deaf {
        member.peer.socket().set_recv_buffer_size(4096).expect("an option of every socket");
    }
    let mut readers = [gateway.open("/room"), gateway.open("/room")];
    gateway.expect_subscribers("room", 10);
    const COUNT: usize = 1000;
    thread::scope(|scope| {
        for reader in &mut readers {
            scope.spawn(move || {
                for number in 0..COUNT {
                    reader.peer.expect_text(&text(number));
                }
            });
        }
        for number in 0..COUNT {
            let published =
                || gateway.try_publish(topic("room"), Kind::Text, text(number).as_bytes());
            while published().is_err() {
                thread::sleep(Duration::from_millis(1));
            }
        }
    });
    gateway.expect_counters("those who hold gave way", |now| now.holders_evicted > 0);
    drop(deaf);
}

#[test]
fn members_who_all_read_are_not_closed_for_want_of_places() {
    let gateway = HubGateway::start(
        1,
        r#"
        [hub]
        queued = 256
        [[listener]]
        address = "127.0.0.1:0"
        stack = "ws!tcp?sndbuf=16KiB"
        [[route]]
        path = "/room"
        handler = "hub?topic=room"
    "#,
    );
    const PUBLISHERS: usize = 4;
    const EACH: usize = 250;
    let mut members = readers(&gateway, "/room", 100);
    let frame = Frame::text("x".repeat(1000)).masked();
    thread::scope(|scope| {
        let sending = members[..PUBLISHERS]
            .iter_mut()
            .map(|member| member.peer.send_meanwhile(frame.repeat(EACH)))
            .collect::<Vec<_>>();
        gateway.expect_counters("places run short", |now| now.deliveries_without_place > 0);
        for member in &mut members {
            scope.spawn(move || {
                for _ in 0..PUBLISHERS * EACH {
                    assert_ne!(member.peer.read_frame().opcode, CLOSE);
                }
            });
        }
        for sending in sending {
            scope.spawn(move || sending.join());
        }
    });
    assert_eq!(gateway.counters().slow_peers_closed, 0);
}

#[test]
fn all_who_come_back_at_once_get_what_they_missed() {
    let gateway = HubGateway::start(
        2,
        r#"
        [limits]
        blocks = "8MiB"
        [hub]
        mailbox = 64
        [[topic]]
        name = "room"
        history = 500
        history_bytes = "2MiB"
        [[route]]
        path = "/room"
        handler = "hub?topic=room&events=on"
    "#,
    );
    const COUNT: u64 = 500;
    let mut first = gateway.open("/room");
    let epoch = event(&mut first.peer)["epoch"].as_str().expect("an epoch").to_owned();
    for number in 0..COUNT {
        let bytes = format!("{number:1000}").into_bytes();
        gateway.publish_in_time(&topic("room"), Kind::Text, &bytes);
    }
    let request = Request::open(&format!("/room?since={epoch}:0"));
    // 75 MB for a pool of 8 MiB.
    let mut back: Vec<Peer> = (0..150)
        .map(|_| {
            let mut peer = Peer::try_connect(gateway.address()).expect("a connection");
            peer.request(&request);
            peer
        })
        .collect();
    let began = Instant::now();
    thread::scope(|scope| {
        for peers in back.chunks_mut(25) {
            scope.spawn(move || {
                for peer in peers {
                    peer.expect_open();
                    let standing = event(peer);
                    assert_eq!(standing["type"], "subscribed", "{standing}");
                    assert!(standing["gap"].is_null(), "{standing}");
                    for offset in 1..=COUNT {
                        assert_eq!(event(peer)["offset"], offset);
                    }
                    let told = event(peer);
                    assert_eq!(
                        (&told["type"], &told["offset"]),
                        (&"replayed".into(), &COUNT.into())
                    );
                }
            });
        }
    });
    println!("{:?}", began.elapsed());
    gateway.publish(topic("room"), "live");
    for peer in &mut back {
        assert_eq!(event(peer)["text"], "live");
    }
    let counters = gateway.counters();
    assert_eq!((counters.slow_peers_closed, counters.recovery_left_out), (0, 0));
}

#[test]
fn who_is_unsubscribed_while_it_recovers_keeps_nobody_from_recovering() {
    let gateway = HubGateway::start(
        1,
        r#"
        [limits]
        blocks = "8MiB"
        [[topic]]
        name = "rooms/{room}"
        history = 1000
        history_bytes = "2MiB"
        [[route]]
        path = "/rooms/{room}"
        handler = "hub?topic=rooms/{room}&events=on&user=query.user"
    "#,
    );
    const COUNT: u64 = 1000;
    for (room, number) in
        ["rooms/a", "rooms/b"].iter().flat_map(|one| (0..COUNT).map(move |n| (one, n)))
    {
        let bytes = format!("{number:1000}").into_bytes();
        gateway.try_publish(topic(room), Kind::Text, &bytes).expect("room for it");
    }
    let back = |room: &str, user: &str| {
        let at = gateway.topic(room).and_then(|info| info.position).expect("a position");
        let request = Request::open(&format!("/{room}?since={}:0&user={user}", at.epoch_text()));
        let mut peer = Peer::try_connect(gateway.address()).expect("a connection");
        peer.request(&request);
        peer
    };
    let mut all = Vec::new();
    for _ in 0..2 {
        all.extend((0..100).map(|_| back("rooms/a", "many")));
        thread::sleep(Duration::from_millis(50));
        let unsubscribe = hub::Errand::Unsubscribe(user("many"), name("rooms/a"));
        gateway.done(unsubscribe).expect("they are unsubscribed");
    }
    let mut newcomer = back("rooms/b", "one");
    newcomer.expect_open();
    assert_eq!(event(&mut newcomer)["type"], "subscribed");
    for offset in 1..=COUNT {
        assert_eq!(event(&mut newcomer)["offset"], offset);
    }
}

/// Reads an event.
#[track_caller]
fn event(peer: &mut Peer) -> Value {
    serde_json::from_slice(&peer.message().1).expect("an event is JSON")
}

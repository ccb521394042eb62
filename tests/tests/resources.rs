//! Bounds that are met: who waits, who is refused, and that nothing is lost.

use std::time::Duration;

use tidegate_tests::{
    BINARY, CLOSE, CONTINUATION, Codec, Frame, Gateway, Launch, Peer, RSV1, Request, Witness,
    are_by_epoll, case, inflate, noise, wait_until,
};

/// A gateway with one MiB of blocks, and a route whose bounds fit in there.
const SMALL_POOL: &str = r#"
    [limits]
    blocks = "1MiB"
    connections = 512
    [[route]]
    path = "/echo"
    handler = "echo"
    backlog = "1MiB"
    max_buffered_message = "256KiB"
    [[route]]
    path = "/room"
    handler = "hub?topic=room"
    backlog = "1MiB"
    max_buffered_message = "256KiB"
"#;

/// The bytes of [`SMALL_POOL`]'s blocks.
const POOL: usize = 1 << 20;

/// As many heads of 8 KiB as find a block: in the eighth that is theirs, and in the quarter for
/// all.
const HEADS: usize = POOL / 8 * 3 / 8192;

/// The first bytes of a head that is so long that it takes a block of 8 KiB.
fn long_head() -> Vec<u8> {
    Request::open("/echo").with("X-Long", &"x".repeat(5000)).bytes()
}

/// Has so many peers keep half a head of 8 KiB in the gateway.
fn half_heads(gateway: &Gateway, witness: &mut Witness, count: usize) -> Vec<Peer> {
    let head = long_head();
    let mut peers: Vec<Peer> = (0..count).map(|_| Peer::connect(gateway)).collect();
    for peer in &mut peers {
        witness.send_apart(peer, [&head[..head.len() - 2]]);
    }
    peers
}

/// Waits until only the witness is left and holds nothing.
#[track_caller]
fn expect_nothing_left(gateway: &Gateway) {
    gateway.expect_counter("connections", 1);
    gateway.expect_counter("blocks_used", 0);
}

/// Opens so many connections, one by one.
fn open_each(gateway: &Gateway, count: usize) -> Vec<Peer> {
    (0..count).map(|_| Peer::open(gateway, "/echo")).collect()
}

#[test]
fn who_finds_no_place_is_told_so_and_served_once_others_have_left() {
    let gateway = Gateway::with_admin("[limits]\nconnections = 16\n");
    let mut peers = open_each(&gateway, 16);
    for _ in 0..40 {
        let mut late = Peer::connect(&gateway);
        late.request(&Request::open("/echo"));
        let response = late.expect_refusal(503);
        assert!(response.header("Retry-After").is_some(), "{response:?}");
        // What needs no place is served.
        let mut other = Peer::connect(&gateway);
        other.request(&Request::plain("GET", "/"));
        assert_eq!(other.response().status, 200);
    }
    gateway.expect_log(&["all places are taken", "limits.connections"]);
    wait_until("not ready", || readiness(&gateway).contains("full").then_some(()));
    assert!(asked(&gateway, "/metrics").contains("\ntidegate_ready 0\n"), "as /readyz");
    for peer in &mut peers {
        peer.echo("not disturbed");
    }
    let mut leaving = peers.remove(3);
    leaving.frame(&Frame::close(1000, ""));
    leaving.expect_close(1000);
    wait_until("a place", || {
        let mut late = Peer::connect(&gateway);
        late.request(&Request::open("/echo"));
        (late.response_head().status == 101).then(|| late.echo("served"))
    });
    wait_until("ready", || readiness(&gateway).starts_with("200").then_some(()));
    assert!(asked(&gateway, "/metrics").contains("\ntidegate_ready 1\n"), "as /readyz");
}

/// What `/readyz` answers.
fn readiness(gateway: &Gateway) -> String {
    asked(gateway, "/readyz")
}

/// What the admin address answers to a path.
fn asked(gateway: &Gateway, path: &str) -> String {
    let mut peer = Peer::try_connect(gateway.admin_address()).expect("the admin address");
    peer.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
    let response = peer.response();
    format!("{} {}", response.status, String::from_utf8_lossy(&response.body))
}

/// So many sockets that say nothing.
fn idle_sockets(gateway: &Gateway, count: usize) -> Vec<Peer> {
    (0..count).map(|_| Peer::connect(gateway)).collect()
}

/// What a client that comes is answered, within a time in which no deadline of others passes.
#[track_caller]
fn expect_soon(gateway: &Gateway, status: u16) -> Peer {
    let mut late = Peer::connect(gateway);
    late.set_patience(Duration::from_secs(5));
    late.request(&Request::open("/echo"));
    let response = late.response_head();
    assert_eq!(response.status, status, "{response:?}");
    late
}

#[test]
fn sockets_that_say_nothing_keep_nobody_out() {
    let gateway = Gateway::with_admin("[limits]\nconnections = 16\n");
    let mut opened = open_each(&gateway, 4);
    // All places, all slots of the reserve, and more.
    let mut idle = idle_sockets(&gateway, 60);
    gateway.expect_log(&["all places are taken", "limits.connections"]);
    wait_until("not ready", || readiness(&gateway).contains("full").then_some(()));
    for round in 0..12 {
        case(round, || opened.push(expect_soon(&gateway, 101)));
    }
    // Now that all have opened who may, who comes is told so.
    for round in 0..8 {
        case(round, || drop(expect_soon(&gateway, 503)));
    }
    for peer in &mut opened {
        peer.echo("not disturbed");
    }
    // Those who gave way were answered.
    let response = idle[0].expect_refusal(503);
    assert!(response.header("Retry-After").is_some(), "{response:?}");
    gateway.expect_counter_from("strangers_refused", 40);
    gateway.expect_counter_from("strangers_dropped", 40);
    assert_eq!(gateway.counters().get("refused_head_timeout"), 0);
}

#[test]
fn who_was_refused_and_does_not_close_keeps_nobody_out() {
    let gateway = Gateway::start("[limits]\nconnections = 16\n");
    let mut opened = open_each(&gateway, 16);
    // Each stays connected, and the reserve is four.
    let mut refused = Vec::new();
    for round in 0..20 {
        case(round, || refused.push(expect_soon(&gateway, 503)));
    }
    for peer in &mut opened {
        peer.echo("not disturbed");
    }
    gateway.expect_counter_from("strangers_dropped", 10);
    assert_eq!(gateway.counters().get("strangers_refused"), 0);
    assert_eq!(gateway.counters().get("close_timeouts"), 0);
}

#[test]
fn who_does_not_take_its_answer_keeps_nobody_out() {
    let stack = "ws!tcp?sndbuf=4KiB";
    let config = format!("[limits]\nconnections = 16\n{}", Gateway::listener(stack));
    let gateway = Gateway::start(&config);
    let mut opened = open_each(&gateway, 12);
    let mut deaf = idle_sockets(&gateway, 8);
    for peer in &mut deaf {
        peer.socket().set_recv_buffer_size(2048).unwrap();
        peer.request(&Request::plain("GET", "/"));
    }
    gateway.expect_counter("pages", 8);
    opened.extend((0..4).map(|_| expect_soon(&gateway, 101)));
    for peer in &mut opened {
        peer.echo("not disturbed");
    }
    gateway.expect_counter_from("strangers_dropped", 4);
    drop(deaf);
}

#[test]
fn a_full_shard_gives_what_comes_to_one_that_has_room() {
    let gateway = Launch::new()
        .config("shards = 2\npin = false\n[limits]\nconnections = 16\n")
        .listen("127.0.0.1:0")
        .start();
    let mut peers = open_each(&gateway, 32);
    for (index, peer) in peers.iter_mut().enumerate() {
        case(index, || peer.echo("served"));
    }
    let mut late = Peer::connect(&gateway);
    late.request(&Request::open("/echo"));
    late.expect_refusal(503);
    // Of 32 the kernel deals each shard just 16 once in seven times, and not each time.
    for _ in 0..8 {
        if gateway.fresh_counters().get("handed_over") > 0 {
            return;
        }
        peers.clear();
        gateway.expect_counter("connections", 0);
        peers = open_each(&gateway, 32);
        peers.iter_mut().for_each(|peer| peer.echo("again"));
    }
    panic!("nothing was handed over");
}

/// One place is left in all, and who has it goes as the next comes: the close of a slot's last
/// connection must not be that of its next.
#[test]
fn a_connection_that_is_handed_over_does_not_end_with_the_one_before_it() {
    let gateway = Launch::new()
        .config("shards = 2\npin = false\n[limits]\nconnections = 16\n")
        .listen("127.0.0.1:0")
        .start();
    let _held = open_each(&gateway, 31);
    let mut served = 0;
    for round in 0..2000 {
        case(round, || {
            let mut peer = Peer::connect(&gateway);
            peer.request(&Request::open("/echo"));
            match peer.response_head().status {
                101 => served += 1,
                status => assert_eq!(status, 503),
            }
        });
    }
    assert!(served > 0, "nobody was served");
    gateway.expect_counter_from("handed_over", 100);
}

/// A shard that has shown room may have promised all its slots to those it accepts itself when one
/// comes that another shard has accepted.
#[test]
fn who_is_handed_over_in_a_burst_is_served_or_told_so() {
    let gateway = Launch::new()
        .config("shards = 2\npin = false\n[limits]\nconnections = 16\n")
        .listen("127.0.0.1:0")
        .start();
    let mut served = 0;
    for round in 0..200 {
        let mut peers: Vec<Peer> = (0..48).map(|_| Peer::connect(&gateway)).collect();
        for peer in &mut peers {
            peer.request(&Request::open("/echo"));
        }
        for (index, peer) in peers.iter_mut().enumerate() {
            case(format!("{round}: {index}"), || match peer.response_head().status {
                101 => served += 1,
                status => assert_eq!(status, 503),
            });
        }
    }
    assert!(served > 200 * 16, "{served} were served");
    let counters = gateway.fresh_counters();
    assert!(counters.get("handed_over") > 100, "{}", counters.get("handed_over"));
    assert_eq!(counters.get("accept_errors"), 0);
}

#[test]
fn two_listeners_share_the_connections_of_a_shard() {
    let gateway = Launch::new()
        .config("shards = 1\npin = false\n[limits]\nconnections = 16\n")
        .listen("127.0.0.1:0")
        .listen("127.0.0.2:0")
        .start();
    let open = |index: usize| {
        let address = gateway.addresses()[index % 2];
        let mut peer = Peer::try_connect(address).unwrap();
        peer.request(&Request::open("/echo"));
        peer
    };
    let mut peers: Vec<Peer> = (0..16).map(open).collect();
    peers.iter_mut().for_each(|peer| drop(peer.expect_open()));
    for index in 0..2 {
        open(index).expect_refusal(503);
    }
}

#[test]
fn a_head_that_finds_no_block_is_refused_and_others_go_on() {
    let gateway = Gateway::start(SMALL_POOL);
    let mut witness = Witness::new(&gateway);
    let mut keepers = half_heads(&gateway, &mut witness, HEADS);
    gateway.expect_counter("blocks_used", POOL as u64 / 8 * 3);
    for _ in 0..20 {
        let mut late = Peer::connect(&gateway);
        late.send(&long_head()[..100]);
        let response = late.expect_refusal(503);
        assert!(response.header("Retry-After").is_some(), "{response:?}");
        witness.check();
        // A head that comes at once needs no block.
        Peer::open(&gateway, "/echo").echo("no block needed");
    }
    assert_eq!(gateway.expect_counter_from("refused_no_memory", 20), 20);
    // Nobody else is concerned: not who sends a message in pieces, nor who is told something.
    let mut members = [Peer::open(&gateway, "/room"), Peer::open(&gateway, "/room")];
    let text = "a".repeat(100_000);
    for part in [Frame::text(&text).unfinished(), Frame::continuation("the end")] {
        members[0].frame(&part);
    }
    for member in &mut members {
        member.expect_text(&format!("{text}the end"));
    }
    for peer in &mut keepers {
        peer.send(b"\r\n");
        peer.expect_open();
        peer.echo("kept");
    }
    drop((keepers, members));
    expect_nothing_left(&gateway);
}

#[test]
fn half_a_control_frame_finds_a_block_though_heads_take_all_that_they_can() {
    let gateway = Gateway::start(SMALL_POOL);
    let mut witness = Witness::new(&gateway);
    let keepers = half_heads(&gateway, &mut witness, HEADS);
    let mut peer = Peer::open(&gateway, "/echo");
    let ping = Frame::ping("split").masked();
    peer.send(&ping[..8]);
    gateway.expect_counter("blocks_gathered", 512);
    peer.send(&ping[8..]);
    peer.expect(&Frame::pong("split"));
    drop((keepers, peer));
    expect_nothing_left(&gateway);
}

#[test]
fn of_half_messages_the_largest_gives_way_when_blocks_run_short() {
    let gateway = Gateway::start(SMALL_POOL);
    let mut witness = Witness::new(&gateway);
    let deflate = Request::open("/echo").with("Sec-WebSocket-Extensions", "permessage-deflate");
    // What has come takes blocks, not what the header announces.
    let start = Frame::binary("x").with_rsv(RSV1).masked_with_length(127, POOL as u64 / 4);
    let mut held = 0;
    let mut keepers: Vec<Peer> = Vec::new();
    for (length, block) in [(200_000, 256), (100_000, 128), (60_000, 64)] {
        let mut peer = Peer::open_with(&gateway, &deflate).0;
        peer.send(&start);
        peer.send(vec![0; length]);
        held += block * 1024;
        gateway.expect_counter("blocks_gathered", held);
        keepers.push(peer);
    }
    // A sixteenth of the pool is left, a quarter of what is theirs. One that takes of that has the
    // largest give way, not itself.
    let mut late = Peer::open_with(&gateway, &deflate).0;
    late.send(&start);
    keepers[0].expect_failed(1013);
    gateway.expect_counter("blocks_gathered", (128 + 64) * 1024 + 512);
    let counters = gateway.counters();
    assert_eq!((counters.get("holders_evicted"), counters.get("out_of_blocks")), (1, 1));
    witness.check();
    drop((keepers, late));
    expect_nothing_left(&gateway);
}

#[test]
fn half_control_frames_give_way_when_blocks_run_short() {
    let config = SMALL_POOL.replace("connections = 512", "connections = 1200");
    let gateway = Gateway::start(&config);
    let mut witness = Witness::new(&gateway);
    let half = &Frame::ping("split").masked()[..8];
    // A block of 512 bytes each, in the quarter that is theirs and in that for all: less than a
    // sixteenth of the pool is left.
    let count = (POOL / 2 - POOL / 16) / 512 + 8;
    let keepers: Vec<Peer> = (0..count)
        .map(|_| {
            let mut peer = Peer::open(&gateway, "/echo");
            peer.send(half);
            peer
        })
        .collect();
    gateway.expect_counter_from("holders_evicted", 1);
    assert_eq!(gateway.counters().get("protocol_errors"), 0);
    witness.check();
    drop(keepers);
    expect_nothing_left(&gateway);
}

#[test]
fn a_slow_peer_keeps_what_waits_for_it_though_heads_take_all_that_they_can() {
    let gateway = Gateway::start(SMALL_POOL);
    let mut witness = Witness::new(&gateway);
    let keepers = half_heads(&gateway, &mut witness, HEADS);
    let mut slow = Peer::open(&gateway, "/echo");
    slow.socket().set_recv_buffer_size(4096).unwrap();
    // It sends and does not read, until the gateway can neither send nor read any more.
    slow.socket().set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let frame = Frame::binary(noise(16_000, 1)).masked();
    while slow.try_send(&frame).is_ok() {}
    witness.check();
    gateway.expect_counter("connections", 2 + keepers.len() as u64);
    assert!(gateway.counters().get("sends_short") > 0, "something waited for it");
    drop((slow, keepers));
    expect_nothing_left(&gateway);
}

#[test]
fn everyone_is_answered_with_few_receive_buffers() {
    let gateway = Gateway::start("[limits]\nreceive_buffers = 8\n");
    let mut peers: Vec<Peer> = (0..200).map(|_| Peer::open(&gateway, "/echo")).collect();
    let text = |index: usize, round: usize| format!("{round} of {index} ").repeat(100);
    for round in 0..5 {
        for (index, peer) in peers.iter_mut().enumerate() {
            peer.text(&text(index, round));
        }
    }
    for (index, peer) in peers.iter_mut().enumerate() {
        for round in 0..5 {
            case(format!("{index}, round {round}"), || peer.expect_text(&text(index, round)));
        }
    }
    let counters = gateway.fresh_counters();
    assert_eq!(counters.get("messages_out"), 1000);
    assert_eq!(counters.get("receives_without_buffer"), 0, "none is asked for in vain");
}

#[test]
fn small_receive_buffers_take_large_messages_of_many() {
    let gateway = Gateway::start(
        "[limits]\nreceive_buffers = 8\nreceive_buffer = \"1KiB\"\nrequest_head = \"1KiB\"\n",
    );
    let mut peers: Vec<Peer> = (0..20).map(|_| Peer::open(&gateway, "/echo")).collect();
    let payload = |index: usize| noise(100_000, index as u64);
    let sending: Vec<_> = peers
        .iter()
        .enumerate()
        .map(|(index, peer)| peer.send_meanwhile(Frame::binary(payload(index)).masked()))
        .collect();
    for (index, peer) in peers.iter_mut().enumerate() {
        case(index, || peer.expect_binary(&payload(index)));
    }
    for sending in sending {
        sending.join().unwrap();
    }
}

#[test]
fn little_staging_memory_is_enough_for_many_answers() {
    let gateway = Gateway::start("[limits]\nstaging = \"16KiB\"\n");
    let deflate = Request::open("/echo").with("Sec-WebSocket-Extensions", "permessage-deflate");
    let mut peers: Vec<Peer> = (0..50).map(|_| Peer::open_with(&gateway, &deflate).0).collect();
    // Compressed answers do not fit the receive buffer that they answer.
    let payload = noise(10_000, 1);
    for peer in &mut peers {
        peer.frame(&Frame::binary(&payload));
    }
    for (index, peer) in peers.iter_mut().enumerate() {
        case(index, || {
            let (mut fin, mut travelled) = (false, 0);
            while !fin {
                let frame = peer.read_frame();
                assert!(matches!(frame.opcode, BINARY | CONTINUATION), "{frame:?}");
                travelled += frame.payload.len();
                fin = frame.fin;
            }
            assert!(travelled >= payload.len());
        });
    }
    gateway.expect_counter("blocks_used", 0);
}

#[test]
fn the_page_is_served_with_little_staging_memory() {
    let gateway = Gateway::start("[limits]\nstaging = \"16KiB\"\n");
    let mut peers: Vec<Peer> = (0..20).map(|_| Peer::connect(&gateway)).collect();
    for peer in &mut peers {
        peer.request(&Request::plain("GET", "/"));
    }
    for peer in &mut peers {
        let page = peer.response();
        assert_eq!(page.status, 200);
        assert!(page.body.ends_with(b"</html>\n"));
        peer.expect_eof();
    }
}

/// A configuration that starts can keep what it promises: blocks are powers of two, and five MiB
/// need one of eight.
#[test]
fn the_largest_buffered_message_fits_the_blocks() {
    let message = noise((5 << 20) - 4000, 1);
    let payload = Codec::new(0).deflate(&message);
    let (start, end) = payload.split_at(payload.len() / 2);
    let whole = Frame::binary(&payload).with_rsv(RSV1).masked();
    let halves = [
        Frame::binary(start).with_rsv(RSV1).unfinished().masked(),
        Frame::continuation(end).masked(),
    ]
    .concat();
    for blocks in ["6MiB", "16MiB"] {
        let config = format!(
            "shards = 1\npin = false\n[limits]\nblocks = \"{blocks}\"\n[[route]]\n\
             path = \"/echo\"\nhandler = \"echo\"\nmax_buffered_message = \"5MiB\"\n\
             backlog = \"6MiB\"\n"
        );
        case(blocks, || match Launch::new().config(&config).listen("127.0.0.1:0").try_start() {
            Err(exited) => assert_eq!(exited.code, Some(2), "{exited:?}"),
            Ok(gateway) => {
                case("in one frame", || expect_inflated(&gateway, &whole, &message));
                case("in two frames", || expect_inflated(&gateway, &halves, &message));
            }
        });
    }
}

/// Sends `bytes` on a compressed connection, and expects `message` back.
#[track_caller]
fn expect_inflated(gateway: &Gateway, bytes: &[u8], message: &[u8]) {
    let deflate = Request::open("/echo").with("Sec-WebSocket-Extensions", "permessage-deflate");
    let mut peer = Peer::open_with(gateway, &deflate).0;
    let sending = peer.send_meanwhile(bytes.to_vec());
    let mut payload = Vec::new();
    loop {
        let frame = peer.read_frame();
        assert!(matches!(frame.opcode, BINARY | CONTINUATION), "{frame:?}");
        payload.extend(frame.payload);
        if frame.fin {
            break;
        }
    }
    assert!(inflate(&payload) == message);
    sending.join().expect("the gateway takes all of it");
}

#[test]
fn a_gateway_that_has_nothing_to_do_sleeps() {
    let gateway = Gateway::with_stack("ws?close=1h&head=1h&stall=1h!tcp");
    let mut witness = Witness::new(&gateway);
    let mut idle: Vec<Peer> = (0..10).map(|_| Peer::open(&gateway, "/echo")).collect();
    let mut silent = Peer::connect(&gateway);
    let mut half = Peer::connect(&gateway);
    witness.send_apart(&mut half, [b"GET /echo"]);
    let mut inside = Peer::open(&gateway, "/echo");
    witness.send_apart(&mut inside, [&Frame::binary([0; 100]).masked()[..50]]);
    let mut failed = Peer::open(&gateway, "/echo");
    failed.send(b"\x83");
    failed.expect_failed(1002);
    // It does not read, and has more to say than the gateway wants to hear.
    let mut slow = Peer::open(&gateway, "/echo");
    // The same, and it has finished.
    let mut finished = Peer::open(&gateway, "/echo");
    let frame = Frame::binary(vec![0; 50_000]).masked();
    for peer in [&mut slow, &mut finished] {
        peer.socket().set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        while peer.try_send(&frame).is_ok() {}
    }
    finished.finish();
    // Five ticks a second at most, and a few turns for the signals.
    let before = gateway.fresh_counters().get("loops");
    std::thread::sleep(Duration::from_secs(1));
    let turns = gateway.fresh_counters().get("loops") - before;
    assert!(turns < 30, "{turns} turns in about a second");
    idle[0].echo("awake");
    drop((silent.try_send(b""), inside, slow, finished));
}

#[test]
fn connections_take_no_descriptors_of_the_process_but_by_epoll_one_each() {
    let gateway = Gateway::start("");
    let witness = Witness::new(&gateway);
    let before = gateway.process().descriptors();
    let mut peers: Vec<Peer> = (0..200).map(|_| Peer::open(&gateway, "/echo")).collect();
    let before = if are_by_epoll() { before + 200 } else { before };
    assert_eq!(gateway.process().descriptors(), before);
    for peer in &mut peers {
        peer.echo("hello");
    }
    assert_eq!(gateway.process().descriptors(), before);
    drop((peers, witness));
}

#[test]
fn after_all_have_left_nothing_is_held() {
    let gateway = Gateway::start("");
    let before = gateway.process().descriptors();
    for round in 0..3 {
        let mut peers: Vec<Peer> = (0..100).map(|_| Peer::open(&gateway, "/echo")).collect();
        for (index, mut peer) in peers.drain(..).enumerate() {
            peer.echo("hello");
            match index % 5 {
                0 => peer.frame(&Frame::close(1000, "")),
                1 => peer.send(b"\x83"),
                2 => peer.finish(),
                3 => {
                    peer.send(&Frame::ping("half").masked()[..8]);
                    peer.reset();
                    continue;
                }
                _ => continue,
            }
            if index % 10 < 5 && peer.read_frame_or_end().is_some_and(|frame| frame.opcode == CLOSE)
            {
                peer.expect_eof();
            }
        }
        case(format!("round {round}"), || {
            let witness = Witness::new(&gateway);
            expect_nothing_left(&gateway);
            drop(witness);
        });
    }
    // Without the witness too; nobody is left to make the shard hurry.
    gateway.expect_counter("connections", 0);
    let counters = gateway.counters();
    assert_eq!(counters.get("connections_open"), 0);
    assert_eq!(counters.get("blocks_used"), 0);
    assert_eq!(counters.get("accepted"), 303);
    assert_eq!(gateway.process().descriptors(), before);
}

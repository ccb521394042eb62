//! A protocol that the embedding program brings along, the line echo, on a listener of its own
//! beside WebSocket.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tidegate::config::{Config, Listener};
use tidegate::gateway::{Gateway, Program};
use tidegate::protocol::{Allowance, Protocol};
use tidegate::steering::Counters;
use tidegate_tests::line_echo::{Ends, LINE_MAX, LineEcho, NO_MEMORY, NUDGE, TOO_LATE};
use tidegate_tests::{Frame, Peer, Request, case, noise, wait_until};

struct Stage {
    gateway: Gateway,
    ends: Ends,
}

impl Stage {
    /// WebSocket on the first listener, lines on the second, whose stack is `ws{options}!tcp`.
    fn start(options: &str) -> Self {
        Self::with(options, None)
    }

    /// The same, where each line's connection may have so much.
    fn with(options: &str, allowance: Option<Allowance>) -> Self {
        let text = format!(
            "shards = 2\npin = false\n[limits]\nconnections = 256\n\
             [[listener]]\naddress = \"127.0.0.1:0\"\nstack = \"ws!tcp\"\n\
             [[listener]]\naddress = \"127.0.0.2:0\"\nstack = \"ws{options}!tcp?sndbuf=16KiB\"\n\
             [[route]]\npath = \"/echo\"\nhandler = \"echo\"\n\
             [[route]]\npath = \"/rooms/{{room}}\"\nhandler = \"hub?topic={{room}}\"\n"
        );
        let config = Config::parse(&text, "lines").expect("a right configuration");
        let ends = Ends::default();
        let told = Arc::clone(&ends);
        let protocols = move |listener: &Listener| {
            let address = listener.address.ip().expect("it is over TCP");
            let speaks_lines = address.ip().to_string() == "127.0.0.2";
            let lines = LineEcho { ends: Arc::clone(&told), allowance };
            speaks_lines.then(|| Box::new(lines) as Box<dyn Protocol>)
        };
        let program = Program::default().protocols(protocols);
        let config = config.with_admin(None);
        let gateway = Gateway::start_with(config, program).expect("the gateway starts");
        Self { gateway, ends }
    }

    fn address(&self, index: usize) -> SocketAddr {
        self.gateway.addresses()[index].ip().expect("it is over TCP")
    }

    fn line(&self) -> Peer {
        let mut peer = Peer::try_connect(self.address(1)).expect("a connection");
        expect(&mut peer, b"hello\n");
        peer
    }

    fn websocket(&self, path: &str) -> Peer {
        Peer::open_at(self.address(0), &Request::open(path)).0
    }

    /// Waits until the counters, which are shown now and then, say so.
    #[track_caller]
    fn expect_counters(&self, what: &str, is_right: impl Fn(&Counters) -> bool) {
        wait_until(what, || is_right(&self.gateway.counters()).then_some(()));
    }

    /// Waits until so many connections of lines have ended.
    #[track_caller]
    fn expect_ends(&self, count: usize) -> Vec<(u32, bool)> {
        let ends = || self.ends.lock().unwrap_or_else(PoisonError::into_inner).clone();
        wait_until(&format!("{count} ends"), || (ends().len() >= count).then_some(()));
        assert_eq!(ends().len(), count, "each ends once");
        ends()
    }
}

#[track_caller]
fn expect(peer: &mut Peer, bytes: &[u8]) {
    let came = peer.bytes(bytes.len());
    assert_eq!(String::from_utf8_lossy(&came), String::from_utf8_lossy(bytes));
}

/// So many lines of different lengths.
fn lines(count: usize) -> Vec<u8> {
    let line = |at: usize| {
        let noise = noise(at * 7 % LINE_MAX, at as u64);
        [noise.iter().map(|byte| b'a' + byte % 26).collect(), vec![b'\n']].concat()
    };
    (0..count).flat_map(line).collect()
}

#[test]
fn lines_are_echoed_beside_websocket() {
    let stage = Stage::start("");
    let mut others: Vec<Peer> = (0..5).map(|_| stage.websocket("/echo")).collect();
    let mut peers: Vec<Peer> = (0..20).map(|_| stage.line()).collect();
    for round in 0..10 {
        for (at, peer) in peers.iter_mut().enumerate() {
            peer.send(format!("round {round} of {at}\n"));
        }
        for other in &mut others {
            other.echo("a message");
        }
        for (at, peer) in peers.iter_mut().enumerate() {
            expect(peer, format!("round {round} of {at}\n").as_bytes());
        }
    }
    for peer in &mut peers {
        peer.send("?\n");
        expect(peer, b"11\n");
    }
    stage.expect_counters("25 are open", |counters| counters.connections_open == 25);
}

#[test]
fn lines_are_echoed_however_they_are_cut() {
    let stage = Stage::start("");
    let whole = lines(40);
    for part in [1, 7, 999, 1000, 1001, 4096, 16_448, whole.len()] {
        case(format!("segments of {part}"), || {
            let mut peer = stage.line();
            // Byte by byte takes long for all of it.
            let sent = &whole[..whole.len().min(part * 1000)];
            let ends = sent.iter().rposition(|byte| *byte == b'\n').expect("a whole line") + 1;
            peer.send_segments(sent[..ends].chunks(part));
            expect(&mut peer, &sent[..ends]);
        });
    }
}

#[test]
fn a_line_that_is_too_long_ends_the_connection() {
    let stage = Stage::start("");
    let longest = [vec![b'x'; LINE_MAX], vec![b'\n']].concat();
    let over = [vec![b'x'; LINE_MAX + 1], vec![b'\n']].concat();
    for (at, part) in [1, 500, 1000, 1001, 1002].into_iter().enumerate() {
        case(format!("segments of {part}"), || {
            let mut peer = stage.line();
            peer.send_segments(longest.chunks(part));
            expect(&mut peer, &longest);
            peer.send_segments(over.chunks(part));
            expect(&mut peer, b"the line is too long\n");
            peer.expect_eof();
            assert_eq!(stage.expect_ends(at + 1)[at], (1, false));
        });
    }
    stage.expect_counters("5 errors", |counters| counters.protocol_errors == 5);
}

#[test]
fn what_is_said_before_an_end_arrives() {
    let stage = Stage::start("");
    let mut peer = stage.line();
    peer.send("one\ntwo\n.\nbehind\n");
    expect(&mut peer, b"one\ntwo\nbye\n");
    peer.expect_eof();
    assert_eq!(stage.expect_ends(1), [(3, false)]);
    let mut peer = stage.line();
    peer.send_then_finish(b"one\ntwo\nhalf".to_vec());
    expect(&mut peer, b"one\ntwo\n");
    peer.expect_eof();
    assert_eq!(stage.expect_ends(2)[1], (2, true));
    stage.expect_counters("nobody is left", |counters| counters.connections == 0);
    assert_eq!(stage.gateway.counters().ended_abruptly, 0, "lines have no word for it");
}

#[test]
fn a_slow_reader_is_not_read_from_and_loses_nothing() {
    let stage = Stage::start("");
    let whole = lines(40_000);
    assert!(whole.len() > 16 << 20, "more than may wait for one, and than sockets hold");
    let mut peer = stage.line();
    let sending = peer.send_meanwhile(whole.clone());
    stage.expect_counters("it is not read from", |counters| counters.slow_peers_paused > 0);
    stage.line().send("others are\n");
    for part in whole.chunks(100_000) {
        assert!(peer.bytes(part.len()) == part, "something else came");
    }
    sending.join().expect("all of it was sent");
}

#[test]
fn those_who_ask_for_very_much_in_few_bytes_wait_for_each_other() {
    const LINES: usize = 100_000;
    let stage = Stage::start("");
    let mut beside = stage.websocket("/echo");
    let mut peers: Vec<_> = (0..16).map(|_| stage.line()).collect();
    let all = "\n".repeat(LINES).into_bytes();
    let sending: Vec<_> = peers.iter().map(|peer| peer.send_meanwhile(all.clone())).collect();
    beside.echo("beside");
    for peer in &mut peers {
        assert!(peer.bytes(LINES) == all, "something else came");
        peer.send("?\n");
        expect(peer, format!("{}\n", LINES + 1).as_bytes());
    }
    beside.echo("beside still");
    sending.into_iter().for_each(|one| one.join().expect("all of it was sent"));
    stage.expect_counters("some waited", |counters| counters.inputs_put_off > 0);
}

#[test]
fn what_is_published_is_told_whatever_is_spoken() {
    let stage = Stage::start("");
    let mut room = stage.websocket("/rooms/tide");
    let mut readers: Vec<Peer> = (0..4).map(|_| stage.line()).collect();
    for reader in &mut readers {
        reader.send("+tide\necho\n");
        expect(reader, b"echo\n");
    }
    stage.expect_counters("all have subscribed", |counters| counters.subscriptions == 5);
    room.text("high");
    for reader in &mut readers {
        expect(reader, b"tide: high\n");
    }
    let mut writer = stage.line();
    writer.send("!tide low\n");
    for reader in &mut readers {
        expect(reader, b"tide: low\n");
    }
    room.expect(&Frame::text("high"));
    room.expect(&Frame::text("low"));
    drop(readers);
    stage.expect_counters("theirs have ended", |counters| counters.subscriptions == 1);
}

#[test]
fn who_says_nothing_is_asked_and_then_dropped() {
    let stage = Stage::start("?ping=1s&pong=1s");
    let mut peer = stage.line();
    let mut silent = stage.line();
    for _ in 0..3 {
        expect(&mut peer, NUDGE);
        peer.send("yes\n");
        expect(&mut peer, b"yes\n");
    }
    expect(&mut silent, NUDGE);
    silent.expect_end();
    assert_eq!(stage.expect_ends(1), [(0, false)]);
}

#[test]
fn a_line_that_is_half_there_has_a_deadline() {
    let stage = Stage::start("?message=1s");
    let mut peer = stage.line();
    for _ in 0..5 {
        // Each line is in time, however long all of them take.
        peer.send("a li");
        std::thread::sleep(Duration::from_millis(400));
        peer.send("ne\n");
        expect(&mut peer, b"a line\n");
    }
    peer.send("half");
    expect(&mut peer, TOO_LATE);
    peer.expect_eof();
    stage.expect_counters("it was too slow", |counters| counters.messages_too_slow == 1);
}

#[test]
fn what_each_connection_may_have_is_the_programs_to_say() {
    let allowance = Allowance { kept: 100, backlog: 64 << 10 };
    let stage = Stage::with("", Some(allowance));
    let mut peer = stage.line();
    // With its end a line that came in two parts is as much as may be kept.
    peer.send(vec![b'x'; 99]);
    peer.send("\n");
    expect(&mut peer, &[vec![b'x'; 99], vec![b'\n']].concat());
    // Whole lines are not kept.
    peer.send([vec![b'y'; LINE_MAX], vec![b'\n']].concat());
    expect(&mut peer, &[vec![b'y'; LINE_MAX], vec![b'\n']].concat());
    peer.send(vec![b'x'; 101]);
    expect(&mut peer, NO_MEMORY);
    peer.expect_eof();
    stage.expect_counters("it kept too much", |counters| counters.protocol_errors == 1);
    let mut deaf = stage.line();
    deaf.send("+tide\necho\n");
    expect(&mut deaf, b"echo\n");
    // More than sockets hold, in messages that fit.
    let message = [b"!tide ".to_vec(), vec![b'z'; 80], vec![b'\n']].concat();
    stage.line().send(message.repeat(20_000));
    stage.expect_counters("too much waits for it", |counters| counters.slow_peers_closed > 0);
    deaf.expect_end();
    stage.expect_ends(3);
}

#[test]
fn who_reads_is_not_dropped_though_nothing_may_wait() {
    let stage = Stage::with("", Some(Allowance { kept: 100, backlog: 0 }));
    let mut peer = stage.line();
    // Each line is an answer of its own, and all come in one turn.
    let lines = b"?\necho\n".repeat(40);
    let answers: String = (1..=80).step_by(2).map(|count| format!("{count}\necho\n")).collect();
    peer.send(&lines);
    expect(&mut peer, answers.as_bytes());
    drop(peer);
    stage.expect_ends(1);
    stage.expect_counters("nobody is slow", |counters| counters.slow_peers_closed == 0);
}

#[test]
fn a_drain_has_last_words() {
    let stage = Stage::start("");
    let mut peers: Vec<Peer> = (0..5).map(|_| stage.line()).collect();
    stage.gateway.drain();
    for peer in &mut peers {
        expect(peer, b"the house closes\n");
        peer.expect_eof();
    }
    stage.expect_ends(5);
    drop(peers);
    stage.gateway.join().expect("a drain is no failure");
}

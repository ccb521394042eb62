//! The examples of embedding: each is built, run as the program that it is, and talked to.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use tidegate_tests::{CLOSE, Frame, Peer, Process, Request, Signal, build_example, wait_until};

/// An example that runs.
struct Example {
    program: Child,
    address: SocketAddr,
    /// Where it says that one should connect to.
    path: String,
}

impl Example {
    /// Builds and starts it, and hears where it serves.
    fn start(name: &str) -> Self {
        let mut command = Command::new(build_example(name));
        let mut program = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        let stdout = program.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("it says where it serves");
        let url = line.trim_end().strip_prefix("ws://").expect("an address of WebSocket");
        let (address, path) = url.split_once('/').expect("a path");
        let address = address.parse().expect("an address");
        Self { program, address, path: format!("/{path}") }
    }

    fn open(&self, path: &str) -> Peer {
        Peer::open_at(self.address, &Request::open(path)).0
    }

    /// It is told to end as by Ctrl-C, lets its clients go, and ends well.
    fn expect_drain(mut self, clients: &mut [Peer]) {
        Process::new(self.program.id()).signal(Signal::INT);
        for client in clients {
            // Something may have been on its way to it.
            let frames = || Some(client.read_frame());
            let close = std::iter::from_fn(frames).find(|frame| frame.opcode == CLOSE);
            assert_eq!(close.and_then(|frame| frame.close_reason().0), Some(1012));
            client.frame(&Frame::close(1012, ""));
            client.expect_eof();
        }
        let status = wait_until("it ends", || self.program.try_wait().expect("it is ours"));
        assert!(status.success(), "{status}");
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // Of one that has ended nothing is left to end.
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

#[test]
fn greet() {
    let example = Example::start("greet");
    let mut ada = example.open(&example.path);
    ada.expect_text("hello, ada");
    ada.echo("and back");
    let mut other = example.open("/greet/a%20%C3%A4");
    other.expect_text("hello, a \u{e4}");
    example.expect_drain(&mut [ada, other]);
}

#[test]
fn ask_first() {
    let example = Example::start("ask_first");
    let mut ada = example.open(&example.path);
    ada.expect_text("hello, ada");
    ada.echo("and back");
    for path in ["/guarded", "/guarded?token=wrong", "/guarded?token=secret-of-"] {
        let mut peer = Peer::try_connect(example.address).expect("it listens");
        peer.request(&Request::open(path));
        let response = peer.expect_refusal(401);
        assert_eq!(response.header("WWW-Authenticate"), Some("Bearer"), "{path}");
        assert!(response.body.starts_with(b"bring a token"), "{path}");
    }
    let mut peer = Peer::try_connect(example.address).expect("it listens");
    peer.request(&Request::open("/guarded?token=%ff"));
    peer.expect_refusal(400);
    example.expect_drain(&mut [ada]);
}

#[test]
fn rooms_and_push() {
    let example = Example::start("rooms_and_push");
    let mut lobby = [example.open(&example.path), example.open(&example.path)];
    let mut elsewhere = example.open("/rooms/elsewhere");
    // Who hears itself is subscribed.
    for (number, peer) in lobby.iter_mut().enumerate() {
        let text = format!("here is {number}");
        peer.text(&text);
        expect_said(peer, &text);
    }
    lobby[0].text("hello");
    lobby.iter_mut().for_each(|peer| expect_said(peer, "hello"));
    let before = news(&mut elsewhere);
    assert_eq!(news(&mut elsewhere), before + 1, "and nothing of the other room");
    let mut peer = Peer::try_connect(example.address).expect("it listens");
    peer.request(&Request::open("/rooms/%00"));
    peer.expect_refusal(400);
    let [one, two] = lobby;
    example.expect_drain(&mut [one, two, elsewhere]);
}

/// The number of the news that come next.
fn news(peer: &mut Peer) -> u32 {
    let text = String::from_utf8(peer.message().1).expect("text");
    text.strip_prefix("news ").expect("news").parse().expect("a number")
}

/// Reads until this was said, in its room or to all.
fn expect_said(peer: &mut Peer, text: &str) {
    while peer.message().1 != text.as_bytes() {}
}

//! What has to be so whatever layer is below a connection: each of these is a test, and takes where
//! clients connect that know nothing of the layer.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use crate::hub::{HubGateway, topic};
use crate::{Frame, Peer, Request, TEXT, inflate, noise};

/// The routes that they are about.
pub const ROUTES: &str = r#"
    [[route]]
    path = "/echo"
    handler = "echo"
    max_message = "16MiB"
    [[route]]
    path = "/hasty"
    handler = "echo"
    slow_peer = "close"
    backlog = "4MiB"
    [[route]]
    path = "/rooms/{room}"
    handler = "hub?topic=rooms/{room}"
    backlog = "4MiB"
"#;

/// Opens a connection that knows nothing of the layer.
#[must_use]
#[track_caller]
pub fn open(address: SocketAddr, path: &str) -> Peer {
    Peer::open_at(address, &Request::open(path)).0
}

/// Messages of all sizes come back, those around the size of a record of TLS among them.
///
/// # Panics
/// They do not.
pub fn messages_of_all_sizes_come_back(address: SocketAddr) {
    let mut peer = open(address, "/echo");
    let small = [0, 1, 125, 126, 4096, 16_383, 16_384, 16_385];
    for size in small.into_iter().chain([65_535, 65_536, 300_000, 5_000_000]) {
        let bytes = noise(size, size as u64);
        let sending = peer.send_meanwhile(Frame::binary(&bytes).masked());
        assert_eq!(peer.message().1, bytes, "{size} bytes");
        sending.join().expect("it was sent");
    }
    peer.frame(&Frame::ping("still there?"));
    peer.expect(&Frame::pong("still there?"));
    peer.frame(&Frame::close(1000, "done"));
    peer.expect_close(1000);
    peer.expect_eof();
}

/// Pages and refusals are sealed too.
///
/// # Panics
/// They are not.
pub fn pages_and_refusals_are_sealed_too(address: SocketAddr) {
    let mut peer = Peer::try_connect(address).expect("it listens");
    peer.request(&Request::open("/nowhere"));
    peer.expect_refusal(404);
}

/// A room across shards hears everything in order.
///
/// # Panics
/// It does not.
pub fn a_room_hears_everything_in_order(gateway: &HubGateway, address: SocketAddr) {
    let mut members: Vec<Peer> = (0..9).map(|_| open(address, "/rooms/a")).collect();
    gateway.expect_subscribers("rooms/a", 9);
    let message = |number: usize| format!("{number} {}", "x".repeat(number * 10));
    for number in 0..200 {
        gateway.publish(topic("rooms/a"), &message(number));
    }
    for member in &mut members {
        for number in 0..200 {
            member.expect_text(&message(number));
        }
    }
    members[0].text("from one of them");
    for member in &mut members {
        member.expect_text("from one of them");
    }
}

/// Compressed messages are sealed behind compression.
///
/// # Panics
/// They are not.
pub fn compressed_messages_are_sealed_behind_compression(address: SocketAddr) {
    let request = Request::open("/echo").with("Sec-WebSocket-Extensions", "permessage-deflate");
    let (mut peer, _) = Peer::open_at(address, &request);
    let text = "so it goes, ".repeat(500);
    peer.text(&text);
    let (mut whole, mut is_last) = (Vec::new(), false);
    while !is_last {
        let frame = peer.read_frame();
        whole.extend(frame.payload);
        is_last = frame.fin;
    }
    assert_eq!(inflate(&whole), text.as_bytes());
}

/// Who reads late gets every byte in order, and the answer to a Ping between them.
///
/// # Panics
/// It does not.
pub fn who_reads_late_gets_every_byte_in_order(gateway: &HubGateway, address: SocketAddr) {
    let mut slow = open(address, "/rooms/a");
    let mut prompt = open(address, "/rooms/a");
    gateway.expect_subscribers("rooms/a", 2);
    let message = |number: usize| format!("{number} {}", "y".repeat(20_000));
    // More than sockets and the relay hold, and less than the route's backlog.
    for number in 0..150 {
        gateway.publish(topic("rooms/a"), &message(number));
        prompt.expect_text(&message(number));
    }
    slow.frame(&Frame::ping("before all that?"));
    thread::sleep(Duration::from_millis(100));
    let (mut next, mut has_answer) = (0, false);
    while next < 150 || !has_answer {
        let frame = slow.read_frame();
        if frame.opcode == TEXT {
            assert_eq!(frame.payload, message(next).as_bytes(), "message {next}");
            next += 1;
        } else {
            assert_eq!(frame, Frame::pong("before all that?"));
            has_answer = true;
        }
    }
}

//! What becomes of those who hold blocks while these are few, and of who is answered meanwhile,
//! played by hand.

use std::sync::Arc;

use tidegate::config::Route;
use tidegate::gateway::Program;
use tidegate::handler::{
    Body, Context, Decision, Desk, End, Handler, Piece, Publishing, Request, Response,
};
use tidegate::hub::{
    Cause, ConnectionFilter, Errand, NotDone, Outcome, Publication, Subscribing, Target,
};
use tidegate::kernel::{Completion, Errno, Operation, Slot};
use tidegate::names::{ConnectionId, Name};
use tidegate::protocol::{Exchange, Protocol, Stretch};
use tidegate_tests::Frame;
use tidegate_tests::line_echo::{HELLO, LineEcho};

use crate::play::{Play, Shaking, TICK, Unread, readable_in};
use crate::random::Random;
use crate::script;

/// A pool of 1 MiB: 384 KiB are for sending, of which half is kept for answers, and 256 KiB for
/// all.
const SMALL_POOL: &str = "blocks = '1MiB'\n[[route]]\npath = '/room'\nhandler = 'hub?topic=room'\n\
     backlog = '1MiB'\nmax_buffered_message = '128KiB'\n\
     [[topic]]\nname = 'room'\npresence = true\n";

/// A client in slot 0 is in a room.
fn with_a_small_pool() -> (Play, ConnectionId) {
    let mut play = Play::with(SMALL_POOL);
    play.first_says(&script::opening(&mut Random::new(0), "/room", false));
    let id = play.told().0.id;
    (play, id)
}

/// So many messages are pushed to the client, each of which takes a block of 64 KiB.
fn push(play: &mut Play, id: ConnectionId, count: usize) {
    for _ in 0..count {
        let message = play.door.message(vec![b'x'; 60_000]).expect("room");
        let publication = Publication::new(message);
        play.door.ask(Errand::Publish(Target::Connection(id), publication), |_| {});
        let pushed = play.turn([]);
        fall_short(play, &pushed);
    }
}

/// The kernel takes nothing of what is sent to the client.
fn fall_short(play: &mut Play, pushed: &[Operation]) {
    for operation in pushed {
        if let Operation::Send { slot, batch_index, .. } = *operation {
            let result = Err(Errno::AGAIN);
            play.turn([Completion::SendFellShort { slot, batch_index, result }]);
        }
    }
}

/// The client takes at most so many bytes of what it is being sent.
fn take(play: &mut Play, most: u32) {
    let seen = play.hand.borrow();
    let armed = seen.seen.iter().rev().find_map(|(operation, _)| match operation {
        Operation::SendArmed { span, .. } => Some(span.length),
        _ => None,
    });
    drop(seen);
    let count = armed.expect("a send is armed").min(most);
    let pushed = play.turn([Completion::Sent { slot: 0, generation: 0, result: Ok(count) }]);
    fall_short(play, &pushed);
}

/// How many had to give way.
fn evicted(play: &mut Play) -> u64 {
    play.counters().holders_evicted
}

#[test]
fn who_does_not_read_gives_way_before_answers_have_only_what_is_for_all() {
    let (mut play, id) = with_a_small_pool();
    push(&mut play, id, 3);
    for _ in 0..3 {
        play.tick();
    }
    assert_eq!(evicted(&mut play), 0, "a second has not passed");
    for _ in 0..3 {
        play.tick();
    }
    assert_eq!(evicted(&mut play), 1);
}

#[test]
fn who_takes_nothing_of_a_handshakes_words_gives_way() {
    let program = Program::default().layers(|_| Some(Box::new(Shaking { words: 60_000 })));
    let mut play = Play::of(SMALL_POOL, program);
    for slot in play.come(0, 3) {
        let pushed = play.hears(slot, b"hello");
        fall_short(&mut play, &pushed);
    }
    for _ in 0..3 {
        play.tick();
    }
    assert_eq!(evicted(&mut play), 0, "a second has not passed");
    for _ in 0..3 {
        play.tick();
    }
    assert!(evicted(&mut play) > 0);
}

#[test]
fn who_reads_slowly_gives_way_when_publishers_have_paused_for_long() {
    let (mut play, id) = with_a_small_pool();
    // Each finds a block: nothing waits for one.
    push(&mut play, id, 5);
    for _ in 0..6 {
        play.tick();
        take(&mut play, 100);
    }
    assert_eq!(evicted(&mut play), 0, "it takes some");
    for _ in 0..4 {
        play.tick();
        take(&mut play, 100);
    }
    assert_eq!(evicted(&mut play), 1);
    assert_eq!(play.counters().deliveries_without_block, 0);
}

#[test]
fn a_block_that_comes_free_now_and_then_is_no_end_of_the_shortage() {
    let (mut play, id) = with_a_small_pool();
    push(&mut play, id, 5);
    for _ in 0..7 {
        play.tick();
        // All of a block, which the next message takes.
        take(&mut play, u32::MAX);
        push(&mut play, id, 1);
    }
    for _ in 0..3 {
        play.tick();
    }
    assert_eq!(evicted(&mut play), 1);
}

/// So many messages of 64 KiB are pushed to the client, none of which the kernel takes at
/// once; returns the send that waits for the peer.
fn push_in_vain(play: &mut Play, id: ConnectionId, count: usize) -> Operation {
    let slot = id.slot;
    let mut armed = None;
    for _ in 0..count {
        for operation in publish(play, Target::Connection(id), &[b'x'; 60_000]) {
            if let Operation::Send { batch_index, .. } = operation {
                let result = Err(Errno::AGAIN);
                let pushed = play.turn([Completion::SendFellShort { slot, batch_index, result }]);
                armed = pushed.into_iter().find(|more| matches!(more, Operation::SendArmed { .. }));
            }
        }
    }
    armed.expect("a send")
}

#[test]
fn those_who_take_all_again_and_again_do_not_give_way_though_memory_stays_short() {
    let mut play = Play::with(SMALL_POOL);
    play.each_asks_for(&["/room"; 2]);
    let ids = [0, 1].map(|slot| id_in(&mut play, slot));
    let mut waits = push_in_vain(&mut play, ids[0], 5);
    for round in 0..40 {
        let next = push_in_vain(&mut play, ids[(round + 1) % 2], 3);
        let Operation::SendArmed { slot, generation, span } = waits else { panic!("{waits:?}") };
        let result = Ok(span.length);
        // The others of its messages leave at once.
        play.turn([Completion::Sent { slot, generation, result }]);
        (0..5).for_each(|_| _ = play.turn([]));
        waits = next;
        play.hand.borrow_mut().now += TICK / 2;
        play.turn([]);
    }
    assert_eq!(evicted(&mut play), 0);
}

/// Clients that publish nothing: the one in slot 0 takes nothing, the others read.
const CLIENTS: Slot = 12;

/// The largest blocks of a pool of 1 MiB that published messages may take, if 24.5 KiB are kept for
/// what one turn's sends may leave behind: all of them, but for 44 KiB.
const LARGE: [usize; 9] = [65536; 9];
/// And those of the 44 KiB, but for so many of 512 bytes.
const SMALLER: [usize; 2] = [32768, 4096];
const FEW: usize = 7;

/// Routes of a pool of 1 MiB, and of so little staging memory that 24.5 KiB are kept.
fn small_routes() -> String {
    let route = |path, topic| {
        format!(
            "[[route]]\npath = '{path}'\nhandler = 'hub{topic}'\nbacklog = '1MiB'\n\
             max_buffered_message = '128KiB'\n"
        )
    };
    let routes = [
        route("/none", ""),
        route("/room", "?topic=room"),
        route("/told", "?topic=room&events=on"),
    ];
    format!("blocks = '1MiB'\nstaging = '16KiB'\n{}", routes.concat())
}

/// Clients that ask for these paths, of which the first holds blocks of these sizes.
fn with_blocks_held(paths: &[&str], sizes: &[usize]) -> Play {
    let mut play = Play::with(&small_routes());
    play.each_asks_for(paths);
    hold(&mut play, sizes);
    play
}

/// The first client takes nothing of what it is sent, for which blocks of these sizes are held.
fn hold(play: &mut Play, sizes: &[usize]) {
    let first = id_in(play, 0);
    for size in sizes {
        let pushed = publish(play, Target::Connection(first), &vec![b'x'; size - 16]);
        fall_short(play, &pushed);
    }
    play.hand.borrow_mut().seen.clear();
}

/// The name of the client in `slot`.
fn id_in(play: &mut Play, slot: Slot) -> ConnectionId {
    let filter = ConnectionFilter::default();
    let request = Errand::Connections { from: 0, filter, limit: 99 };
    let Outcome::Connections(infos, None) = play.asks(request) else { panic!("no list") };
    infos.iter().map(|info| info.id).find(|id| id.slot == slot).expect("it is there")
}

/// All blocks that published messages may take are held, but so many of 512 bytes.
fn with_few_blocks(few: usize) -> Play {
    let sizes = [&LARGE[..], &SMALLER, &vec![512; FEW - few]].concat();
    with_blocks_held(&["/none"; CLIENTS as usize], &sizes)
}

/// All of them are held but 12 KiB, beside clients of the line echo that are subscribed to a topic;
/// returns their slots.
fn with_few_blocks_and_lines() -> (Play, Vec<Slot>) {
    let listener = |port| format!("[[listener]]\naddress = '127.0.0.1:{port}'\n");
    let program = Program::default().protocols(|listener| {
        (listener.address.port() == Some(2)).then(|| Box::new(LineEcho::default()) as _)
    });
    let more = small_routes() + &listener(1) + &listener(2);
    let mut play = Play::of(&more, program);
    play.each_asks_for(&["/none"; 2]);
    let lines = play.come(1, 10);
    for slot in &lines {
        play.hears(*slot, b"+room\n");
        assert_eq!(play.heard(*slot), HELLO);
    }
    hold(&mut play, &[&LARGE[..], &[16_384, 8192, 2048, 1024, 512]].concat());
    (play, lines)
}

/// So many bytes are published; returns what is pushed then.
fn publish(play: &mut Play, target: Target, bytes: &[u8]) -> Vec<Operation> {
    let message = play.door.message(bytes.to_vec()).expect("room");
    let publication = Publication::new(message);
    play.door.ask(Errand::Publish(target, publication), |_| {});
    play.turn([])
}

/// Pings, as many and as large as a receive buffer takes, and what answers them.
fn pings() -> (Vec<u8>, Vec<u8>) {
    let ping = |head: &[u8]| [head, &[b'x'; 125]].concat().repeat(7);
    (ping(&[0x89, 0x80 | 125, 0, 0, 0, 0]), ping(&[0x8A, 125]))
}

/// All but the client in slot 0 take what they are sent, and what is unread is received.
fn take_all(play: &mut Play, mut pushed: Vec<Operation>, unread: &mut Unread) {
    for _ in 0..10 {
        let mut next = play.receives(&pushed, unread);
        for operation in pushed {
            if let Operation::SendArmed { slot: slot @ 1.., generation, span } = operation {
                let result = Ok(span.length);
                next.extend(play.turn([Completion::Sent { slot, generation, result }]));
            }
        }
        next.extend(play.turn([]));
        pushed = next;
    }
}

#[test]
fn input_waits_while_a_batch_is_settled_rather_than_that_its_answers_find_no_block() {
    let mut play = with_few_blocks(1);
    play.hand.borrow_mut().unsettled = true;
    publish(&mut play, Target::All, b"to all");
    let (pings, pongs) = pings();
    let mut unread: Unread = (1..=7).map(|slot| (slot, pings.clone())).collect();
    // Nobody knows yet that all have taken it, and all answers together have no room.
    for slot in 1..=7 {
        let pushed = play.turn([readable_in(slot)]);
        play.receives(&pushed, &mut unread);
    }
    play.hand.borrow_mut().unsettled = false;
    let pushed = play.turn([]);
    take_all(&mut play, pushed, &mut unread);
    for slot in 1..=7 {
        let expected = [b"\x82\x06to all", &pongs[..]].concat();
        assert!(play.heard(slot) == expected, "what the client in slot {slot} heard");
    }
    let counters = play.counters();
    assert_eq!((counters.slow_peers_closed, counters.inputs_put_off), (0, 4));
}

#[test]
fn what_waits_for_several_is_not_copied_for_each_while_blocks_are_few() {
    let mut play = with_few_blocks(6);
    play.hand.borrow_mut().unsettled = true;
    b"abc".iter().for_each(|letter| _ = publish(&mut play, Target::All, &[*letter; 1000]));
    // An answer takes of what is kept.
    play.hears(1, &pings().0);
    play.hand.borrow_mut().unsettled = false;
    let pushed = play.turn([]);
    // Nobody takes any of it at first: were it a copy for each, some would find no block.
    let failed = |operation: &Operation| match *operation {
        Operation::Send { slot, batch_index, .. } => {
            Some(Completion::SendFellShort { slot, batch_index, result: Err(Errno::AGAIN) })
        }
        _ => None,
    };
    let failed: Vec<_> = pushed.iter().filter_map(failed).collect();
    assert_eq!(failed.len(), CLIENTS as usize - 2, "{pushed:?}");
    let armed = [&pushed[..], &play.turn(failed)].concat();
    play.hand.borrow_mut().seen.retain(|(operation, _)| !pushed.contains(operation));
    take_all(&mut play, armed, &mut Unread::new());
    let frame = |letter: u8| [&[0x82, 126, 3, 232][..], &[letter; 1000]].concat();
    for slot in 2..CLIENTS {
        let expected = [frame(b'a'), frame(b'b'), frame(b'c')].concat();
        assert!(play.heard(slot) == expected, "what the client in slot {slot} heard");
    }
    assert_eq!(play.counters().out_of_blocks, 0);
}

#[test]
fn those_who_are_told_alone_leave_blocks_for_who_is_answered() {
    let (mut play, lines) = with_few_blocks_and_lines();
    play.hand.borrow_mut().unsettled = true;
    let (pings, pongs) = pings();
    play.hears(1, &pings);
    publish(&mut play, Target::Topic(Name::new("room").expect("a name")), b"news");
    (0..3).for_each(|_| _ = play.turn([]));
    // Nobody takes any of it at first, and who is answered is the last of whom that is known.
    let failed = |(operation, _): &(Operation, Vec<u8>)| match *operation {
        Operation::Send { slot, batch_index, .. } => {
            Some(Completion::SendFellShort { slot, batch_index, result: Err(Errno::AGAIN) })
        }
        _ => None,
    };
    let seen = std::mem::take(&mut play.hand.borrow_mut().seen);
    let failed: Vec<_> = seen.iter().rev().filter_map(failed).collect();
    assert!(failed.len() > 1, "some are told in the batch that who is answered is in");
    play.hand.borrow_mut().unsettled = false;
    let armed = play.turn(failed);
    take_all(&mut play, armed, &mut Unread::new());
    assert!(play.heard(1) == pongs, "what who is answered heard");
    for slot in lines {
        assert_eq!(play.heard(slot), b"room: news\n", "what the client in slot {slot} heard");
    }
    let counters = play.counters();
    assert_eq!((counters.out_of_blocks, counters.slow_peers_closed), (0, 0));
    assert!(counters.deliveries_without_block > 0, "some wait");
}

#[test]
fn what_waits_for_a_block_has_none_that_is_in_its_way() {
    // One is left, and what is published is wanted in two forms, of which each takes that.
    let mut play = with_blocks_held(&["/none", "/room", "/told"], &LARGE[1..]);
    let topic = Name::new("room").expect("a name");
    publish(&mut play, Target::Topic(topic), &[b'x'; 40_000]);
    (0..9).for_each(|_| _ = play.turn([]));
    let lengths = [1, 2].map(|slot| play.heard(slot).len());
    // Bytes in JSON are in base64.
    assert!(lengths[0] == 40_004 && lengths[1] > 53_000, "{lengths:?} bytes were sent");
    let counters = play.counters();
    assert!(counters.deliveries_without_block > 0, "it waits");
    assert_eq!(counters.holders_evicted, 0);
}

/// A protocol whose connections are told of a topic, and publish on it more than any block holds.
struct Bulky;

impl Protocol for Bulky {
    fn begin(&mut self, exchange: &mut Exchange<'_, '_>) {
        exchange.subscribe(&room()).expect("room");
    }

    fn input(&mut self, exchange: &mut Exchange<'_, '_>, _: Stretch<'_>) {
        let (room, much) = (Target::Topic(room()), vec![b'x'; 300 << 10]);
        exchange.publish(&room, much, Publishing::default()).expect("room");
    }

    fn told(&mut self, exchange: &mut Exchange<'_, '_>, _: Option<&Name>, message: &[u8]) {
        exchange.send(message).expect("room");
    }
}

fn room() -> Name {
    Name::new("room").expect("a name")
}

#[test]
fn what_no_block_holds_is_left_out_where_a_protocol_is_told_each_message_by_itself() {
    let program = Program::default().protocols(|_| Some(Box::new(Bulky)));
    let bounds = "backlog = '1MiB'\nmax_buffered_message = '128KiB'\n";
    let route = format!("[[route]]\npath = '/'\nhandler = 'echo'\n{bounds}");
    let mut play = Play::of(&format!("blocks = '1MiB'\n{route}"), program);
    play.first_says(b"any");
    (0..9).for_each(|_| _ = play.turn([]));
    let counters = play.counters();
    assert_eq!((counters.deliveries_too_large, counters.deliveries_without_block), (1, 0));
    // What comes behind it does not wait for it.
    publish(&mut play, Target::Topic(room()), b"news");
    play.turn([]);
    assert_eq!(play.heard(0), b"news");
}

/// Answers each message with much.
struct Talkative;

impl Handler for Talkative {
    fn message(&mut self, context: &mut Context<'_, '_>, _: Piece<'_>) {
        context.send_bytes(&[b'x'; 250_000]).expect("room");
    }
}

#[test]
fn who_finds_no_block_for_the_rest_of_a_send_keeps_no_batch_from_being_settled() {
    let program = Program::default().handlers(|_| Some(Box::new(Talkative)));
    let bounds = "backlog = '1MiB'\nmax_buffered_message = '128KiB'\n";
    let route = format!("[[route]]\npath = '/'\nhandler = 'echo'\n{bounds}");
    let mut play = Play::of(&format!("blocks = '1MiB'\nstaging = '1MiB'\n{route}"), program);
    play.each_asks_for(&["/"; 3]);
    play.turn([]);
    play.hand.borrow_mut().unsettled = true;
    let message = Frame::text("a").masked();
    for slot in 0..3 {
        let pushed = play.hears(slot, &message);
        let is_sent = |one: &Operation| matches!(one, Operation::Send { .. });
        assert!(pushed.iter().any(is_sent), "{pushed:?}");
    }
    // Nobody takes any of it, and there are blocks for two.
    play.hand.borrow_mut().unsettled = false;
    let result = Err(Errno::AGAIN);
    let short = (0..3).map(|slot| Completion::SendFellShort { slot, batch_index: slot, result });
    let pushed = play.turn(short);
    let unpoll = Operation::Unpoll { slot: 2, generation: 0 };
    assert!(pushed.contains(&unpoll), "{pushed:?}");
    assert!(pushed.contains(&Operation::Close { slot: 2 }), "the batch waits: {pushed:?}");
    let is_armed = |one: &&Operation| matches!(one, Operation::SendArmed { .. });
    assert_eq!(pushed.iter().filter(is_armed).count(), 2, "{pushed:?}");
    assert_eq!(play.counters().out_of_blocks, 1);
}

/// Subscribes each connection to a topic with each message that it sends, and ends that.
struct Flapping;

impl Handler for Flapping {
    fn message(&mut self, context: &mut Context<'_, '_>, _: Piece<'_>) {
        context.subscribe(&room(), Subscribing::default()).expect("it is not read from before");
        assert!(context.unsubscribe(&room()));
    }
}

/// A client that is told what waits for blocks, one that flaps and one that publishes.
fn with_one_that_flaps() -> (Play, ConnectionId) {
    let handlers =
        |route: &Route| (route.path == "/flaps").then(|| Box::new(Flapping) as Box<dyn Handler>);
    let route = |path, handler| {
        format!(
            "[[route]]\npath = '{path}'\nhandler = '{handler}'\nbacklog = '1MiB'\n\
             max_buffered_message = '128KiB'\n"
        )
    };
    let others = [route("/flaps", "echo"), route("/publishes", "hub?topic=any")].concat();
    let routes = route("/room", "hub?topic=told") + &others;
    let more = format!("blocks = '1MiB'\n{routes}[hub]\nmailbox = 16\n");
    let mut play = Play::of(&more, Program::default().handlers(handlers));
    play.each_asks_for(&["/room", "/flaps", "/publishes"]);
    let id = id_in(&mut play, 0);
    (play, id)
}

/// The client in slot 1 flaps until it is not read from; how often it has.
fn flap(play: &mut Play) -> usize {
    let message = Frame::text("a").masked();
    let mut taken = 0;
    while taken < 100 {
        let pushed = play.turn([readable_in(1)]);
        if !pushed.iter().any(|one| matches!(one, Operation::Receive { .. })) {
            break;
        }
        play.receives(&pushed, &mut Unread::from([(1, message.clone())]));
        taken += 1;
    }
    taken
}

#[test]
fn who_comes_and_goes_by_a_handler_of_the_programs_is_not_read_from_while_very_much_mail_waits() {
    let (mut play, id) = with_one_that_flaps();
    // So many wait for a block that no mail is taken in.
    push(&mut play, id, 40);
    // Each is mail twice, and two mailboxes may wait.
    assert_eq!((flap(&mut play), play.shard.is_held(1)), (16, true));
    assert_eq!(play.counters().mail_waiting, 32);
}

#[test]
fn who_is_held_for_the_mail_that_waits_goes_on_though_publishers_have_to_wait_on() {
    let (mut play, id) = with_one_that_flaps();
    push(&mut play, id, 40);
    play.turn([readable_in(2)]);
    flap(&mut play);
    assert!(play.shard.is_held(1) && play.shard.is_held(2));
    let paused = play.counters().publishers_paused;
    // The client takes what waits for it until mail is taken in again: what that has brought it
    // waits for blocks yet.
    for _ in 0..40 {
        take(&mut play, u32::MAX);
        if play.counters().mail_waiting == 0 {
            break;
        }
    }
    let counters = play.counters();
    assert_eq!((counters.mail_waiting, counters.publishers_paused), (0, paused));
    assert_eq!((play.shard.is_held(1), play.shard.is_held(2)), (false, true));
    // Who publishes goes on once that is little.
    for _ in 0..40 {
        if !play.shard.is_held(2) {
            return;
        }
        take(&mut play, u32::MAX);
    }
    panic!("who publishes is held though little waits");
}

/// Makes very much mail wait with each message, and closes a topic as a connection ends.
struct Owner;

impl Handler for Owner {
    fn message(&mut self, context: &mut Context<'_, '_>, _: Piece<'_>) {
        while context.subscribe(&room(), Subscribing::default()).is_ok() {
            assert!(context.unsubscribe(&room()));
        }
    }

    fn ended(&mut self, desk: &mut Desk<'_>, _: ConnectionId, _: u32, _: End) {
        let topic = Target::Topic(Name::new("told").expect("a name"));
        assert_eq!(desk.disconnect(&Target::All, Cause::Done), Err(NotDone::Busy));
        assert_eq!(desk.disconnect(&topic, Cause::Wish(4008)), Ok(()));
        assert_eq!(desk.disconnect(&topic, Cause::Wish(4009)), Err(NotDone::Busy), "one is");
    }
}

#[test]
fn who_is_told_of_an_end_can_close_others_though_very_much_mail_waits() {
    let handlers =
        |route: &Route| (route.path == "/owner").then(|| Box::new(Owner) as Box<dyn Handler>);
    let more = "[[route]]\npath = '/room'\nhandler = 'hub?topic=told'\n\
                [[route]]\npath = '/owner'\nhandler = 'echo'\n[hub]\nmailbox = 16\n";
    let mut play = Play::of(more, Program::default().handlers(handlers));
    play.each_asks_for(&["/room", "/owner"]);
    let message_and_end = [Frame::text("a").masked(), Frame::close(1000, "").masked()].concat();
    play.hears(1, &message_and_end);
    (0..9).for_each(|_| _ = play.turn([]));
    assert!(play.heard(0).ends_with(&Frame::close(4008, "").unmasked()), "{:?}", play.heard(0));
}

/// Answers each request with the same body.
struct Page(Arc<[u8]>);

impl Handler for Page {
    fn request(&mut self, _: &Request<'_>, _: &mut Desk<'_>) -> Decision {
        let body = Body::Shared(Arc::clone(&self.0));
        Decision::Respond(Response::new(200, body).expect("what can be sent"))
    }

    fn message(&mut self, _: &mut Context<'_, '_>, _: Piece<'_>) {
        panic!("nothing is opened here");
    }
}

#[test]
fn bodies_come_whole_to_all_who_read_though_there_are_not_blocks_for_all_at_once() {
    let body: Arc<[u8]> = (0..300_000_u32).map(|at| (at ^ at >> 8) as u8).collect();
    let page = Arc::clone(&body);
    let program = Program::default()
        .handlers(move |_: &Route| Some(Box::new(Page(Arc::clone(&page))) as Box<dyn Handler>));
    let mut play = Play::of(SMALL_POOL, program);
    play.each_asks_for(&["/room"; CLIENTS as usize]);
    let is_whole = |play: &Play| (0..CLIENTS).all(|slot| play.heard(slot).ends_with(&body));
    // Each takes all that it is being sent, in turn.
    let mut done = 0;
    for _ in 0..200 {
        let seen: Vec<_> = play.hand.borrow().seen[done..].iter().map(|(one, _)| *one).collect();
        done += seen.len();
        for operation in seen {
            if let Operation::SendArmed { slot, generation, span } = operation {
                let result = Ok(span.length);
                play.turn([Completion::Sent { slot, generation, result }]);
            }
        }
        play.turn([]);
    }
    assert!(is_whole(&play), "{:?}", (0..CLIENTS).map(|slot| play.heard(slot).len()));
    let counters = play.counters();
    assert!(counters.deliveries_without_block > 0, "some had to wait");
    let dropped = counters.out_of_blocks + counters.bodies_broken_off + counters.holders_evicted;
    assert_eq!((dropped, counters.messages_too_slow), (0, 0));
}

//! The request head, and what it is answered: HTTP, until it is known what else is spoken.

use tidegate_proto::http::{RequestHead, Response, Status, parse_request, write_response};
use tidegate_proto::keepalive::Wait;
use tidegate_proto::websocket::deflate::{self, Policy};
use tidegate_proto::websocket::handshake::server::{Acceptance, Rejection, Upgrade};

use super::admission::Admission;
use super::refusal::Refusal;
use super::serve::{Content, Decision};
use super::turn::{Opened, Turn};
use super::websocket;
use crate::connection::{AfterFlush, Output, Stage};
use crate::kernel::Span;
use crate::memory::{Share, gathered};

/// The longest answer that is put together on the stack, in bytes.
const RESPONSE_MAX: usize = 1024;

const _: () = assert!(RESPONSE_MAX >= Refusal::RESPONSE_LEN_MAX);

/// When to come back, for those who are refused because the shard is full or drains, in seconds.
const RETRY_AFTER_SECONDS: u32 = 5;

/// The response that agrees to an upgrade, put together.
struct Agreed {
    bytes: [u8; RESPONSE_MAX],
    length: usize,
    /// The window of what is compressed for the peer, in bits; 0 without compression.
    window: u8,
}

/// Takes bytes of a request head.
pub(super) fn input(turn: &mut Turn<'_>, received: Span) {
    // Lent to the head; nothing else of the turn asks for it.
    let scratch = std::mem::take(&mut turn.head);
    let (earlier, filled) = join_head(turn, received, scratch);
    match parse_request(&scratch[..filled], turn.head_max) {
        Ok(Status::Complete(head)) => {
            let behind = received.skip((head.head_len() - earlier) as u32);
            answer(turn, &head, behind);
        }
        Ok(Status::Partial) => keep_head(turn, received),
        Err(error) => refuse(turn, error.into()),
    }
}

/// The head was not complete in time.
pub(super) fn too_late(turn: &mut Turn<'_>) {
    turn.counters.refused_head_timeout += 1;
    refuse(turn, Refusal::Timeout);
}

/// The answer to a request that comes while the shard drains, or has no room.
pub(super) fn refuse_busy(turn: &mut Turn<'_>) {
    refuse(turn, Refusal::Full { retry_after_seconds: RETRY_AFTER_SECONDS });
}

/// Puts what was kept of the head and what has arrived together; returns the length of the former
/// and of both.
fn join_head(turn: &Turn<'_>, received: Span, scratch: &mut [u8]) -> (usize, usize) {
    let Output { connection, pool, .. } = &turn.work.output;
    let kept = match connection.gathered {
        Some(block) => pool.memory.bytes(pool.blocks.content(block)),
        None => &[],
    };
    let fresh = pool.memory.bytes(received);
    let filled = kept.len() + fresh.len();
    scratch[..kept.len()].copy_from_slice(kept);
    scratch[kept.len()..filled].copy_from_slice(fresh);
    (kept.len(), filled)
}

fn keep_head(turn: &mut Turn<'_>, received: Span) {
    let Output { connection, pool, .. } = &mut turn.work.output;
    if gathered::append(&mut connection.gathered, Share::Heads, pool, received).is_err() {
        turn.counters.refused_no_memory += 1;
        refuse_busy(turn);
    }
}

/// Gives up what was kept of the head.
fn forget_head(turn: &mut Turn<'_>) {
    let Output { connection, pool, .. } = &mut turn.work.output;
    gathered::release(&mut connection.gathered, pool.blocks);
}

/// Answers a request, behind which some input may have come.
fn answer(turn: &mut Turn<'_>, head: &RequestHead<'_>, behind: Span) {
    forget_head(turn);
    let decision = turn.services.find(head).map(|service| {
        turn.change_service(service);
        turn.services.get_mut(service).handler.request(head, &mut turn.work.desk())
    });
    match decision {
        Ok(Decision::Admit(admission)) => admit(turn, head, admission, behind),
        Ok(Decision::Serve(content)) => serve(turn, content, head.method() == "HEAD"),
        Ok(Decision::Refuse(refusal)) | Err(refusal) => refuse(turn, refusal),
    }
}

/// Opens the connection, if there is a place for it and the request asks for it rightly.
fn admit(turn: &mut Turn<'_>, head: &RequestHead<'_>, admission: Admission, behind: Span) {
    if turn.is_full {
        turn.left.found_full = true;
        return refuse_busy(turn);
    }
    let response = match upgrade(turn, head) {
        Ok(response) => response,
        Err(rejection) => return refuse(turn, rejection.into()),
    };
    if turn.work.output.raw(&response.bytes[..response.length]).is_err() {
        turn.counters.refused_no_memory += 1;
        turn.left.drop = true;
        return;
    }
    turn.left.wait = Some(Wait::Activity);
    let path = turn.profile().logs_websocket.then(|| head.path().into());
    turn.left.opened = Some(Opened { path });
    websocket::open(turn, admission, response.window);
    // Frames may have come in behind the request head.
    websocket::input(turn, behind);
}

/// Agrees to the upgrade, if the request asks for one rightly.
fn upgrade(turn: &mut Turn<'_>, head: &RequestHead<'_>) -> Result<Agreed, Rejection> {
    let upgrade = Upgrade::check(head)?;
    let deflate = match turn.profile().deflate {
        None => None,
        Some(_) => deflate::negotiate(upgrade.extension_values(), &Policy::default())
            .map_err(|_| Rejection::InvalidExtensions)?,
    };
    let window = deflate.map_or(0, |params| params.server_max_window_bits);
    let service = turn.connection().service;
    let subprotocol = turn.services[service].subprotocol.as_deref();
    let acceptance = Acceptance { key: upgrade.key(), subprotocol, deflate };
    let mut bytes = [0; RESPONSE_MAX];
    let length = acceptance.write(&mut bytes).expect("names of subprotocols are short");
    Ok(Agreed { bytes, length, window })
}

/// Refuses the request and closes, once the peer has read why.
fn refuse(turn: &mut Turn<'_>, refusal: Refusal) {
    turn.counters.refused += 1;
    turn.left.refused = Some(refusal);
    let mut response = [0; RESPONSE_MAX];
    let length = refusal.write(&mut response).expect("a refusal fits");
    respond(turn, &response[..length], &[]);
}

fn serve(turn: &mut Turn<'_>, content: &'static Content, head_only: bool) {
    turn.counters.pages += 1;
    let response = Response {
        status: 200,
        headers: &[("Cache-Control", "no-cache"), ("X-Content-Type-Options", "nosniff")],
        content_type: content.content_type,
        body: content.body,
        head_only: true,
    };
    let mut head = [0; RESPONSE_MAX];
    let length = write_response(&mut head, &response).expect("the head of a page fits");
    let body = if head_only { &[] } else { content.body };
    respond(turn, &head[..length], body);
}

/// Sends an HTTP response, finishes writing and lingers until the peer has closed.
fn respond(turn: &mut Turn<'_>, head: &[u8], body: &[u8]) {
    forget_head(turn);
    let connection = turn.connection();
    connection.stage = Stage::Lingering;
    connection.states.do_after_flush(AfterFlush::Finish);
    turn.left.wait = Some(Wait::Close);
    // The bound of a route is for messages. A response is bounded by itself.
    let output = &mut turn.work.output;
    output.backlog_limit = u32::MAX;
    turn.left.drop = output.raw(head).and_then(|()| output.raw(body)).is_err();
}

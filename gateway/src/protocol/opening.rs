//! The request head, and what it is answered: HTTP, until it is known what else is spoken.

use std::borrow::Cow;
use std::sync::Arc;

use tidegate_proto::http::{RequestHead, Status, parse_request};
use tidegate_proto::keepalive::Wait;
use tidegate_proto::proxy;
use tidegate_proto::websocket::deflate::{self, Policy};
use tidegate_proto::websocket::handshake::server::{Acceptance, Rejection, Upgrade};

use super::admission::Admission;
use super::asked::AskedFor;
use super::refusal::{BODY_AT_ONCE_MAX, Refusal, Refused};
use super::response::{Body, Response, SharedBytes, Source};
use super::serve::Decision;
use super::turn::{Answered, Opened, Turn};
use super::{cors, entry, forwarded, logged, router, streaming, undecided, websocket};
use crate::census::TurnedAway;
use crate::connection::{AfterFlush, Output, Stage};
use crate::kernel::Span;
use crate::memory::{Share, gathered};

/// The longest answer that is put together on the stack, in bytes.
const RESPONSE_MAX: usize = 1024;

const _: () = assert!(RESPONSE_MAX >= Refusal::RESPONSE_LEN_MAX);

/// What those are told who are refused because the shard is full or drains: to come back in so many
/// seconds.
pub(super) const BUSY: Refusal = Refusal::Full { retry_after_seconds: 5 };

/// The status of a response that agrees to an upgrade.
const SWITCHING_PROTOCOLS: u16 = 101;

/// The response that agrees to an upgrade, put together.
struct Agreed {
    bytes: [u8; RESPONSE_MAX],
    length: usize,
    /// The window of what is compressed for the peer, in bits; 0 without compression.
    window: u8,
    /// What is said of the request, if something is.
    asked: Option<Arc<AskedFor>>,
}

/// The head of a response, and that of the request which it answers.
struct BothHeads<'r> {
    request: &'r RequestHead<'r>,
    response: &'r [u8],
    status: u16,
}

/// What there is of a request head in the scratch memory, in bytes.
struct HeadSoFar {
    /// What was kept of it before.
    kept: usize,
    /// That, and what has come in behind it.
    filled: usize,
}

/// Takes bytes of a request head.
pub(super) fn input(turn: &mut Turn<'_>, received: Span) {
    // Lent to the head; nothing else of the turn asks for it.
    let scratch = std::mem::take(&mut turn.head);
    let HeadSoFar { kept, filled } = join_head(turn, received, scratch);
    match parse_request(&scratch[..filled], turn.head_max) {
        Ok(Status::Complete(head)) => {
            let behind = received.skip((head.head_len() - kept) as u32);
            answer(turn, &head, received, behind);
        }
        Ok(Status::Partial) => _ = keep_head(turn, received),
        Err(_) if is_tls(&scratch[..filled]) && !turn.work.output.seals => {
            refuse(turn, Refusal::TlsToPlain);
        }
        Err(_) if proxy::looks_like_header(&scratch[..filled]) => {
            refuse(turn, Refusal::ProxyToPlain);
        }
        Err(error) => {
            let around = Around { has_content: !is_of_head(&scratch[..filled]), lines: "" };
            refuse_as(turn, error.into(), around);
        }
    }
}

/// Whether this is how a handshake of TLS begins: RFC 8446 section 5.1 has the type `handshake(22)`
/// first in a record, and then a version of which the first byte is 3.
fn is_tls(bytes: &[u8]) -> bool {
    bytes.starts_with(&[22, 3])
}

/// Whether what begins so, and is no request as a whole, is one of the method HEAD.
fn is_of_head(bytes: &[u8]) -> bool {
    // RFC 9112 section 2.2: empty lines in front of a request are passed over.
    let start = bytes.iter().position(|byte| !b"\r\n".contains(byte)).unwrap_or(0);
    bytes[start..].starts_with(b"HEAD ")
}

/// The head was not complete in time.
pub(super) fn too_late(turn: &mut Turn<'_>) {
    turn.counters.refused_head_timeout += 1;
    refuse(turn, Refusal::Timeout);
}

/// The answer to a request that comes while the shard drains, or has no room.
pub(super) fn refuse_busy(turn: &mut Turn<'_>) {
    refuse(turn, BUSY);
}

/// There are too many like a connection that has come: it is told so where HTTP is spoken.
pub(super) fn turn_away(turn: &mut Turn<'_>, turned_away: TurnedAway) {
    if turn.profile().protocol.is_none() {
        return refuse(turn, turned_away.into());
    }
    count_refusal(turn, Refusal::from(turned_away).told());
    turn.left.drop = true;
}

/// What was kept of the head, and of what came behind it.
pub(super) fn kept<'t>(turn: &'t Turn<'_>) -> &'t [u8] {
    let Output { connection, pool, .. } = &turn.work.output;
    match connection.gathered {
        Some(block) => pool.memory.bytes(pool.blocks.content(block)),
        None => &[],
    }
}

/// Puts what was kept of the head and what has arrived together.
fn join_head(turn: &Turn<'_>, received: Span, scratch: &mut [u8]) -> HeadSoFar {
    let kept = kept(turn);
    let fresh = turn.work.output.pool.memory.bytes(received);
    let filled = kept.len() + fresh.len();
    scratch[..kept.len()].copy_from_slice(kept);
    scratch[kept.len()..filled].copy_from_slice(fresh);
    HeadSoFar { kept: kept.len(), filled }
}

/// Keeps what was received of the head, or behind it, or refuses the request if there is no block
/// for that; whether it is kept.
pub(super) fn keep_head(turn: &mut Turn<'_>, received: Span) -> bool {
    let Output { connection, pool, .. } = &mut turn.work.output;
    let is_kept = gathered::append(&mut connection.gathered, Share::Heads, pool, received).is_ok();
    if !is_kept {
        turn.counters.refused_no_memory += 1;
        refuse_busy(turn);
    }
    is_kept
}

/// Gives up what was kept of the head: the request is decided.
fn forget_head(turn: &mut Turn<'_>) {
    let Turn { work, services, counters, .. } = turn;
    let Output { connection, pool, .. } = &mut work.output;
    gathered::release(&mut connection.gathered, pool.blocks);
    work.gatekeeper.gives_up(work.id.slot);
    undecided::end(services, connection, counters);
}

/// Answers a request whose head ended in what was received, and behind which some input may have
/// come.
fn answer(turn: &mut Turn<'_>, head: &RequestHead<'_>, received: Span, behind: Span) {
    tracing::debug!(
        target: "tidegate::handshake",
        id = %turn.work.id,
        method = head.method(),
        path = head.path(),
        query = head.query().map(logged::query),
        host = field(head, "host").as_deref(),
        origin = field(head, "origin").as_deref(),
        subprotocols = logged::subprotocols(head).as_deref(),
        extensions = field(head, "sec-websocket-extensions").as_deref(),
        agent = field(head, "user-agent").as_deref(),
        "asked"
    );
    let service = forwarded::learn(turn, head).and_then(|()| turn.services.find(head));
    let decision = service.and_then(|service| {
        turn.change_service(service);
        match cors::preflight(turn, head)? {
            Some(permission) => Ok(Decision::Respond(permission)),
            None => entry::decide(turn, head),
        }
    });
    match decision.unwrap_or_else(Decision::Refuse) {
        Decision::Later(question) => {
            let length = head.head_len() as u32;
            let begun = undecided::begin(turn, question, received, length, behind.length);
            if let Err(refusal) = begun {
                refuse_request(turn, head, refusal);
            }
        }
        decision => carry_out(turn, head, decision, behind),
    }
}

/// Does what was decided about a request, behind which some input may have come.
pub(super) fn carry_out(
    turn: &mut Turn<'_>,
    head: &RequestHead<'_>,
    decision: Decision,
    behind: Span,
) {
    forget_head(turn);
    if let Err(denied) = entry::still_holds(turn, &decision) {
        return refuse_request(turn, head, denied.into());
    }
    match decision {
        Decision::Admit(admission) => admit(turn, head, admission, behind),
        Decision::Respond(response) => respond(turn, head, response, None),
        Decision::Refuse(refusal) => refuse_request(turn, head, refusal),
        // Who has decided nothing yet does not come here.
        Decision::Later(_) => refuse_request(turn, head, Refusal::DecisionTimeout),
    }
}

/// Opens the connection, if there is a place for it and the request asks for it rightly.
fn admit(turn: &mut Turn<'_>, head: &RequestHead<'_>, mut admission: Admission, behind: Span) {
    if turn.is_full {
        turn.left.found_full = true;
        return refuse_request(turn, head, BUSY);
    }
    if turn.work.gatekeeper.check_room(turn.work.id.slot).is_err() {
        turn.counters.permissions_refused += 1;
        return refuse_request(turn, head, BUSY);
    }
    let response = match upgrade(turn, head, &admission) {
        Ok(response) => response,
        Err(rejection) => return refuse_request(turn, head, rejection.into()),
    };
    let slot = turn.work.id.slot;
    if let Some(user) = turn.work.gatekeeper.grant(slot).and_then(|grant| grant.user.clone()) {
        admission.user.get_or_insert(user);
    }
    let service = turn.connection().service;
    let seats = turn.services[service].offer.seats.as_ref();
    if let Err(turned_away) = turn.turnstile.opens(slot, seats, admission.user.as_ref()) {
        return refuse_request(turn, head, turned_away.into());
    }
    if turn.work.output.raw(&response.bytes[..response.length]).is_err() {
        turn.counters.refused_no_memory += 1;
        turn.left.drop = true;
        return;
    }
    turn.left.wait = Some(Wait::Activity);
    turn.left.opened = Some(Opened { status: Some(SWITCHING_PROTOCOLS) });
    turn.left.asked = response.asked;
    websocket::open(turn, admission, response.window);
    // Frames may have come in behind the request head.
    websocket::input(turn, behind);
}

/// Agrees to the upgrade, if the request asks for one rightly.
fn upgrade(
    turn: &mut Turn<'_>,
    head: &RequestHead<'_>,
    admission: &Admission,
) -> Result<Agreed, Rejection> {
    let upgrade = Upgrade::check(head)?;
    let deflate = match turn.profile().deflate {
        None => None,
        Some(_) => deflate::negotiate(upgrade.extension_values(), &Policy::default())
            .map_err(|_| Rejection::InvalidExtensions)?,
    };
    let window = deflate.map_or(0, |params| params.server_max_window_bits);
    let service = turn.connection().service;
    let offered = |name: &&str| router::offers(head, name);
    let admitted = || admission.subprotocol.filter(offered);
    let subprotocol = turn.services[service].offer.subprotocol.as_deref().or_else(admitted);
    let subprotocol = subprotocol.or_else(|| entry::token_protocol(turn).filter(offered));
    let acceptance = Acceptance { key: upgrade.key(), subprotocol, deflate };
    let mut bytes = [0; RESPONSE_MAX];
    let length = acceptance.write(&mut bytes).expect("names of subprotocols are short");
    let asked = said_of(turn, head, subprotocol);
    Ok(Agreed { bytes, length, window, asked })
}

/// Refuses a request that is known, as [`refuse`] does, or as its handler does.
fn refuse_request(turn: &mut Turn<'_>, head: &RequestHead<'_>, refusal: Refusal) {
    if turn.tells_refusals {
        turn.left.asked = Some(Arc::new(AskedFor::by(head, None)));
    }
    let told = refusal.told();
    match refusal {
        Refusal::Own(own) => respond(turn, head, own.into_response(), Some(told)),
        refusal => {
            let lines = cors::lines(turn, head);
            let around = Around { has_content: head.method() != "HEAD", lines: &lines };
            refuse_as(turn, refusal, around);
        }
    }
}

/// A request is refused.
fn count_refusal(turn: &mut Turn<'_>, refused: Refused) {
    turn.counters.refused += 1;
    turn.left.refused = Some(refused);
}

/// What belongs to the answer to a request that is refused beside the reason.
struct Around<'l> {
    /// Whether it has content. RFC 9110 section 9.3.2: "the server MUST NOT send content in the
    /// response" to HEAD, whatever it is.
    has_content: bool,
    /// More lines of its head, each with its line break.
    lines: &'l str,
}

/// Refuses the request and closes, once the peer has read why.
pub(super) fn refuse(turn: &mut Turn<'_>, refusal: Refusal) {
    let has_content = !is_of_head(kept(turn));
    refuse_as(turn, refusal, Around { has_content, lines: "" });
}

/// Likewise, with what else belongs to its answer.
fn refuse_as(turn: &mut Turn<'_>, refusal: Refusal, around: Around<'_>) {
    let Around { has_content, lines } = around;
    count_refusal(turn, refusal.told());
    let mut response = [0; RESPONSE_MAX];
    let length = refusal.write(&mut response).expect("a refusal fits");
    let head = length.saturating_sub(refusal.body_length());
    let end = if has_content { length } else { head };
    let bytes = (end - head) as u64;
    turn.left.answered = Some(Answered { status: refusal.status(), bytes });
    if lines.is_empty() {
        return say_last(turn, &response[..end], &[]);
    }
    // In front of the empty line that ends the head.
    let last = head.saturating_sub(2);
    let whole = [&response[..last], lines.as_bytes(), &response[last..end]].concat();
    say_last(turn, &whole, &[]);
}

/// Answers with a handler's own response, by which the request may be refused.
fn respond(
    turn: &mut Turn<'_>,
    request: &RequestHead<'_>,
    response: Response,
    refused: Option<Refused>,
) {
    let status = response.status();
    let (mut head, body) = response.take_apart();
    let lines = cors::lines(turn, request);
    if !lines.is_empty() {
        // In front of the empty line that ends the head.
        head.truncate(head.len().saturating_sub(2));
        head.extend_from_slice(lines.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    // RFC 9110 section 9.3.2: "The HEAD method is identical to GET except that the server MUST NOT
    // send content in the response."
    let body = if request.method() == "HEAD" { Body::Empty } else { body };
    if let Body::Shared(bytes) = &body
        && bytes.len() <= BODY_AT_ONCE_MAX
        && !turn.work.output.has_room_at_once(head.len() + bytes.len())
    {
        turn.counters.refused_no_memory += 1;
        return refuse_request(turn, request, BUSY);
    }
    match refused {
        Some(refused) => count_refusal(turn, refused),
        None => {
            turn.counters.pages += 1;
            turn.left.asked = said_of(turn, request, None);
        }
    }
    let heads = BothHeads { request, response: &head, status };
    match body {
        Body::Empty => say_at_once(turn, &heads, &[]),
        Body::Shared(bytes) if bytes.len() <= BODY_AT_ONCE_MAX => say_at_once(turn, &heads, &bytes),
        Body::Shared(bytes) => {
            let length = Some(bytes.len() as u64);
            stream(turn, heads, Box::new(SharedBytes { bytes, at: 0 }), length);
        }
        Body::Stream { length, source } => stream(turn, heads, source, length),
    }
}

/// Sends a whole response.
fn say_at_once(turn: &mut Turn<'_>, heads: &BothHeads<'_>, body: &[u8]) {
    turn.left.answered = Some(Answered { status: heads.status, bytes: body.len() as u64 });
    say_last(turn, heads.response, body);
}

/// Sends the head of a response, and then what its source says.
fn stream(turn: &mut Turn<'_>, heads: BothHeads<'_>, source: Box<dyn Source>, length: Option<u64>) {
    if turn.is_full {
        turn.left.found_full = true;
        return refuse_request(turn, heads.request, BUSY);
    }
    let slot = turn.work.id.slot;
    let user = turn.work.gatekeeper.grant(slot).and_then(|grant| grant.user.clone());
    let service = turn.connection().service;
    let seats = turn.services[service].offer.seats.as_ref();
    if let Err(turned_away) = turn.turnstile.opens(slot, seats, user.as_ref()) {
        return refuse_request(turn, heads.request, turned_away.into());
    }
    if turn.work.gatekeeper.open(slot).is_err() {
        turn.counters.permissions_refused += 1;
        return refuse_request(turn, heads.request, BUSY);
    }
    if turn.work.output.raw(heads.response).is_err() {
        turn.counters.refused_no_memory += 1;
        turn.left.drop = true;
        return;
    }
    turn.left.opened = Some(Opened { status: Some(heads.status) });
    streaming::begin(turn, source, length);
}

/// What is said of a request that is not refused, if something is.
fn said_of(
    turn: &Turn<'_>,
    head: &RequestHead<'_>,
    subprotocol: Option<&str>,
) -> Option<Arc<AskedFor>> {
    let is_said = turn.tells_answers || turn.profile().logs_spoken;
    is_said.then(|| Arc::new(AskedFor::by(head, subprotocol)))
}

/// The first value of a header field, for the log.
fn field<'h>(head: &RequestHead<'h>, name: &str) -> Option<Cow<'h, str>> {
    head.header_values(name).next().map(String::from_utf8_lossy)
}

/// Sends a whole response, finishes writing and lingers until the peer has closed.
fn say_last(turn: &mut Turn<'_>, head: &[u8], body: &[u8]) {
    forget_head(turn);
    let connection = turn.connection();
    connection.stage = Stage::Lingering;
    connection.states.do_after_flush(AfterFlush::Finish);
    turn.left.wait = Some(Wait::Close);
    // The bound of a route is for messages. A response is bounded by itself.
    let output = &mut turn.work.output;
    output.backlog_limit = u32::MAX;
    if output.raw(head).and_then(|()| output.raw(body)).is_err() {
        turn.counters.out_of_blocks += 1;
        turn.left.drop = true;
    }
}

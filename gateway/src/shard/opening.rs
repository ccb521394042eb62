//! The request head, and what it is answered.

use tidegate_proto::http::{RequestHead, Response, Status, parse_request, write_response};
use tidegate_proto::keepalive::Wait;
use tidegate_proto::websocket::deflate::{self, Policy};
use tidegate_proto::websocket::handshake::server::{Acceptance, Rejection, Upgrade};

use super::connections::Connections;
use super::sockets::receiving::Arrival;
use crate::connection::{AfterFlush, Stage};
use crate::handler::{Answer, Content, Refusal};
use crate::kernel::{Peer, Ring, Slot, Span};
use crate::memory::{Pool, Share, gathered};

/// The longest answer that is put together on the stack, in bytes.
const RESPONSE_MAX: usize = 1024;

const _: () = assert!(RESPONSE_MAX >= Refusal::RESPONSE_LEN_MAX);

/// When to come back, for those who are refused because the shard is full or drains, in seconds.
const RETRY_AFTER_SECONDS: u32 = 5;

/// A response that was put together.
struct Written {
    bytes: [u8; RESPONSE_MAX],
    length: usize,
}

impl<R: Ring> Connections<R> {
    /// Takes bytes of a request head.
    pub(super) fn take_head(&mut self, slot: Slot, arrival: Arrival) {
        let mut scratch = std::mem::take(&mut self.head);
        let (earlier, filled) = self.join_head(slot, arrival, &mut scratch);
        let limit = self.sockets.limits.request_head as usize;
        match parse_request(&scratch[..filled], limit) {
            Ok(Status::Complete(head)) => {
                let span = arrival.span.skip((head.head_len() - earlier) as u32);
                self.answer(slot, &head, Arrival { span, ..arrival });
            }
            Ok(Status::Partial) => self.keep_head(slot, arrival.span),
            Err(error) => self.refuse(slot, error.into()),
        }
        self.head = scratch;
    }

    /// Puts what was kept of the head and what has arrived together; returns the length of the
    /// former and of both.
    fn join_head(&self, slot: Slot, arrival: Arrival, scratch: &mut [u8]) -> (usize, usize) {
        let kept = match self.sockets.table[slot].gathered {
            Some(block) => self.sockets.memory.bytes(self.sockets.blocks.content(block)),
            None => &[],
        };
        let fresh = self.sockets.memory.bytes(arrival.span);
        let filled = kept.len() + fresh.len();
        scratch[..kept.len()].copy_from_slice(kept);
        scratch[kept.len()..filled].copy_from_slice(fresh);
        (kept.len(), filled)
    }

    fn keep_head(&mut self, slot: Slot, received: Span) {
        let gathered = &mut self.sockets.table[slot].gathered;
        let mut pool = Pool { blocks: &mut self.sockets.blocks, memory: &mut self.sockets.memory };
        if gathered::append(gathered, Share::Heads, &mut pool, received).is_err() {
            self.sockets.counters.refused_no_memory += 1;
            self.refuse(slot, Refusal::Full { retry_after_seconds: RETRY_AFTER_SECONDS });
        }
    }

    /// Answers a request, behind which `arrival` has come.
    fn answer(&mut self, slot: Slot, head: &RequestHead<'_>, arrival: Arrival) {
        gathered::release(&mut self.sockets.table[slot].gathered, &mut self.sockets.blocks);
        let answer = self.services.find(head).map(|service| {
            self.services.change(self.sockets.table[slot].service, service);
            self.sockets.table[slot].service = service;
            self.services.get_mut(service).handler.request(head)
        });
        let refused = match answer {
            Ok(Answer::Upgrade) if self.has_no_place() => {
                self.tell_full();
                Refusal::Full { retry_after_seconds: RETRY_AFTER_SECONDS }
            }
            Ok(Answer::Upgrade) => match self.upgrade(slot, head) {
                Ok(response) => return self.open(slot, head, &response, arrival),
                Err(rejection) => rejection.into(),
            },
            Ok(Answer::Serve(content)) => {
                return self.serve(slot, content, head.method() == "HEAD");
            }
            Ok(Answer::Refuse(refusal)) | Err(refusal) => refusal,
        };
        self.refuse(slot, refused);
    }

    /// Whether as many connections are open as are served, or the shard drains.
    fn has_no_place(&self) -> bool {
        self.sockets.counters.connections_open >= u64::from(self.sockets.limits.connections)
            || self.is_draining()
    }

    /// Agrees to the upgrade, if the request asks for one rightly.
    fn upgrade(&mut self, slot: Slot, head: &RequestHead<'_>) -> Result<Written, Rejection> {
        let upgrade = Upgrade::check(head)?;
        let connection = &mut self.sockets.table[slot];
        let deflate = match self.sockets.profiles[connection.profile].deflate {
            None => None,
            Some(_) => deflate::negotiate(upgrade.extension_values(), &Policy::default())
                .map_err(|_| Rejection::InvalidExtensions)?,
        };
        connection.websocket.deflate_bits =
            deflate.map_or(0, |params| params.server_max_window_bits);
        let subprotocol = self.services[connection.service].subprotocol.as_deref();
        let acceptance = Acceptance { key: upgrade.key(), subprotocol, deflate };
        let mut bytes = [0; RESPONSE_MAX];
        let length = acceptance.write(&mut bytes).expect("names of subprotocols are short");
        Ok(Written { bytes, length })
    }

    /// Opens the connection, and works on the frames that came in behind the request head.
    fn open(&mut self, slot: Slot, head: &RequestHead<'_>, response: &Written, arrival: Arrival) {
        self.sockets.wait_for(slot, Wait::Activity);
        self.keep_details(slot);
        let mut turn = self.turn(slot, Some(arrival.buffer));
        if turn.output.raw(&response.bytes[..response.length]).is_err() {
            self.sockets.counters.refused_no_memory += 1;
            return self.drop_connection(slot);
        }
        turn.open(head);
        turn.frames(arrival.span);
        let finished = turn.finish();
        self.log_open(slot, head.path());
        self.complete(slot, Some(arrival.buffer), finished);
    }

    /// Keeps what is told of connections on routes of the hub; forgets the peer's address on
    /// others, unless it is logged.
    fn keep_details(&mut self, slot: Slot) {
        let peer = match self.sockets.profile(slot).logs() {
            true => self.peers.get(&slot).copied(),
            false => self.peers.remove(&slot),
        };
        if self.service(slot).hub_events.is_some() {
            self.details.keep(slot, peer.unwrap_or(Peer::Unknown), self.sockets.ring.now());
        }
    }

    /// Refuses the request and closes, once the peer has read why.
    pub(super) fn refuse(&mut self, slot: Slot, refusal: Refusal) {
        self.sockets.counters.refused += 1;
        self.vitals.refused(refusal);
        let mut response = [0; RESPONSE_MAX];
        let length = refusal.write(&mut response).expect("a refusal fits");
        self.respond(slot, &response[..length], &[]);
    }

    fn serve(&mut self, slot: Slot, content: &'static Content, head_only: bool) {
        self.sockets.counters.pages += 1;
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
        self.respond(slot, &head[..length], body);
    }

    /// Sends an HTTP response, finishes writing and lingers until the peer has closed.
    fn respond(&mut self, slot: Slot, head: &[u8], body: &[u8]) {
        let connection = &mut self.sockets.table[slot];
        gathered::release(&mut connection.gathered, &mut self.sockets.blocks);
        connection.stage = Stage::Lingering;
        connection.states.do_after_flush(AfterFlush::Finish);
        self.sockets.wait_for(slot, Wait::Close);
        let mut turn = self.turn(slot, None);
        // The bound of a route is for messages. A response is bounded by itself.
        turn.output.backlog_limit = u32::MAX;
        let said = turn.output.raw(head).and_then(|()| turn.output.raw(body));
        let mut finished = turn.finish();
        finished.drop = said.is_err();
        self.complete(slot, None, finished);
    }

    /// The answer to a request that comes while the shard drains, or has no room.
    pub(super) fn refuse_busy(&mut self, slot: Slot) {
        self.refuse(slot, Refusal::Full { retry_after_seconds: RETRY_AFTER_SECONDS });
    }
}

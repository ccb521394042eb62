//! The request head, and what it is answered.

use tidegate_proto::deflate::{self, Policy};
use tidegate_proto::handshake::server::{Acceptance, Rejection, Upgrade};
use tidegate_proto::http::{RequestHead, Response, Status, parse_request, write_response};
use tidegate_proto::keepalive::Wait;

use super::Shard;
use super::receiving::Arrival;
use crate::config::Handler;
use crate::connection::{self, Flags, Share, Stage};
use crate::handler::{Answer, Content};
use crate::uring::{HEADROOM, Ring, Slot};

/// The longest answer that is put together on the stack, in bytes.
const RESPONSE_MAX: usize = 1024;

const _: () = assert!(RESPONSE_MAX >= Rejection::RESPONSE_LEN_MAX);

/// When to come back, for those who are refused because the shard is full or drains, in seconds.
const RETRY_AFTER_SECONDS: u32 = 5;

/// A response that was put together.
struct Written {
    bytes: [u8; RESPONSE_MAX],
    length: usize,
}

impl<R: Ring> Shard<R> {
    /// Takes bytes of a request head; returns whether the buffer is held.
    pub(super) fn take_head(&mut self, slot: Slot, arrival: Arrival) -> bool {
        let mut scratch = std::mem::take(&mut self.head);
        let (earlier, filled) = self.join_head(slot, arrival, &mut scratch);
        let limit = self.config.limits.request_head as usize;
        let held = match parse_request(&scratch[..filled], limit) {
            Ok(Status::Complete(head)) => {
                let behind = HEADROOM + head.head_len() - earlier;
                self.answer(slot, &head, arrival, behind)
            }
            Ok(Status::Partial) => {
                self.keep_head(slot, &scratch[earlier..filled]);
                false
            }
            Err(error) => {
                self.refuse(slot, Rejection::Head(error));
                false
            }
        };
        self.head = scratch;
        held
    }

    /// Puts what was kept of the head and what has arrived together; returns the length of the
    /// former and of both.
    fn join_head(&self, slot: Slot, arrival: Arrival, scratch: &mut [u8]) -> (usize, usize) {
        let kept = match self.table[slot].gathered {
            Some(block) => self.memory.bytes(self.blocks.content(block)),
            None => &[],
        };
        let buffer = self.memory.bytes(self.buffers.span(arrival.buffer));
        let fresh = &buffer[HEADROOM..arrival.end];
        let filled = kept.len() + fresh.len();
        scratch[..kept.len()].copy_from_slice(kept);
        scratch[kept.len()..filled].copy_from_slice(fresh);
        (kept.len(), filled)
    }

    fn keep_head(&mut self, slot: Slot, bytes: &[u8]) {
        let gathered = &mut self.table[slot].gathered;
        let area = self.memory.blocks.bytes_mut();
        let pool = (&mut self.blocks, area);
        if connection::append(gathered, Share::Heads, pool, bytes).is_err() {
            self.counters.refused_no_memory += 1;
            self.refuse(slot, Rejection::Full { retry_after_seconds: RETRY_AFTER_SECONDS });
        }
    }

    fn answer(
        &mut self,
        slot: Slot,
        head: &RequestHead<'_>,
        arrival: Arrival,
        behind: usize,
    ) -> bool {
        connection::release(&mut self.table[slot].gathered, &mut self.blocks);
        let answer = self.routes.find(head).map(|route| {
            self.table[slot].route = route;
            self.routes.handler(route).request(head)
        });
        let refused = match answer {
            Ok(Answer::Upgrade) if self.has_no_place() => {
                self.tell_full();
                Rejection::Full { retry_after_seconds: RETRY_AFTER_SECONDS }
            }
            Ok(Answer::Upgrade) => match self.upgrade(slot, head) {
                Ok(response) => return self.open(slot, head, &response, (arrival, behind)),
                Err(rejection) => rejection,
            },
            Ok(Answer::Serve(content)) => {
                self.serve(slot, content, head.method() == "HEAD");
                return false;
            }
            Ok(Answer::Refuse(rejection)) | Err(rejection) => rejection,
        };
        self.refuse(slot, refused);
        false
    }

    /// Whether as many connections are open as are served, or the shard drains.
    fn has_no_place(&self) -> bool {
        self.counters.connections_open >= u64::from(self.config.limits.connections)
            || self.is_draining()
    }

    /// Agrees to the upgrade, if the request asks for one rightly.
    fn upgrade(&mut self, slot: Slot, head: &RequestHead<'_>) -> Result<Written, Rejection> {
        let upgrade = Upgrade::check(head)?;
        let connection = &mut self.table[slot];
        let route = &self.config.routes[usize::from(connection.route)];
        let stack = &self.config.listeners[usize::from(connection.listener)].stack;
        let deflate = match stack.websocket.deflate {
            None => None,
            Some(_) => deflate::negotiate(upgrade.extension_values(), &Policy::default())
                .map_err(|_| Rejection::InvalidExtensions)?,
        };
        connection.deflate_bits = deflate.map_or(0, |params| params.server_max_window_bits);
        let subprotocol = route.subprotocol.as_deref();
        let acceptance = Acceptance { key: upgrade.key(), subprotocol, deflate };
        let mut bytes = [0; RESPONSE_MAX];
        let length = acceptance.write(&mut bytes).expect("names of subprotocols are short");
        Ok(Written { bytes, length })
    }

    /// Opens the connection, and works on the frames that came in behind the request head: `behind`
    /// says where in the receive buffer they begin.
    fn open(
        &mut self,
        slot: Slot,
        head: &RequestHead<'_>,
        response: &Written,
        (arrival, behind): (Arrival, usize),
    ) -> bool {
        self.wait_for(slot, Wait::Activity);
        self.keep_details(slot);
        let mut turn = self.turn(slot, Some(arrival.buffer));
        if turn.output.raw(&response.bytes[..response.length]).is_err() {
            self.counters.refused_no_memory += 1;
            self.drop_connection(slot);
            return false;
        }
        turn.open(head);
        turn.frames(behind..arrival.end);
        let finished = turn.finish();
        self.log_open(slot, head.path());
        self.complete(slot, Some(arrival.buffer), finished)
    }

    /// Keeps what is told of connections on routes of the hub; forgets the peer's address on others,
    /// unless it is logged.
    fn keep_details(&mut self, slot: Slot) {
        let connection = &self.table[slot];
        let route = &self.config.routes[usize::from(connection.route)];
        let stack = &self.config.listeners[usize::from(connection.listener)].stack;
        let is_logged = stack.log_transport || stack.log_websocket;
        let peer = match is_logged {
            true => self.peers.get(&slot).copied(),
            false => self.peers.remove(&slot),
        };
        if matches!(route.handler, Handler::Hub(_)) {
            self.details.keep(slot, peer, self.ring.now());
        }
    }

    /// Refuses the request and closes, once the peer has read why.
    pub(super) fn refuse(&mut self, slot: Slot, rejection: Rejection) {
        self.counters.refused += 1;
        self.vitals.refused(rejection);
        let mut response = [0; RESPONSE_MAX];
        let length = rejection.write(&mut response).expect("a rejection fits");
        self.respond(slot, &response[..length], &[]);
    }

    fn serve(&mut self, slot: Slot, content: &'static Content, head_only: bool) {
        self.counters.pages += 1;
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
        let connection = &mut self.table[slot];
        connection::release(&mut connection.gathered, &mut self.blocks);
        connection.stage = Stage::Lingering;
        connection.flags.set(Flags::FINISH_AFTER_FLUSH);
        self.wait_for(slot, Wait::Close);
        let mut turn = self.turn(slot, None);
        // There is no route yet, or its bound is for messages. A response is bounded by itself.
        turn.output.backlog_limit = u32::MAX;
        let said = turn.output.raw(head).and_then(|()| turn.output.raw(body));
        let mut finished = turn.finish();
        finished.drop = said.is_err();
        self.complete(slot, None, finished);
    }

    /// The answer to a request that comes while the shard drains, or has no room.
    pub(super) fn refuse_busy(&mut self, slot: Slot) {
        self.refuse(slot, Rejection::Full { retry_after_seconds: RETRY_AFTER_SECONDS });
    }
}

//! What a shard counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// Declares the counters once: their fields, their names and their sum.
macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// Counts since the start of a shard, or their sum over shards.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[doc = $doc])* pub $name: u64,)*
        }

        impl Counters {
            /// How many counters there are.
            pub const COUNT: usize = [$(stringify!($name)),*].len();

            /// Every counter with its name, in a fixed order.
            #[must_use]
            pub fn named(&self) -> [(&'static str, u64); Self::COUNT] {
                [$((stringify!($name), self.$name)),*]
            }

            /// What each counts, in the same order.
            pub const DOCS: [&'static str; Self::COUNT] = [$(concat!($($doc),*)),*];

            fn from_values(values: [u64; Self::COUNT]) -> Self {
                let [$($name),*] = values;
                Self { $($name),* }
            }
        }
    };
}

counters! {
    /// Connections that are there now.
    connections,
    /// Connections that are open now: of WebSocket those whose opening handshake is done, all of a
    /// program's own protocol, and those that are sent the body of a response as they take it.
    connections_open,
    /// Sockets accepted.
    accepted,
    /// Accepts that failed.
    accept_errors,
    /// Times that accepting was paused because the table was full.
    accept_pauses,
    /// Connections from which no request had come, and which were answered with 503, or dropped
    /// amid a handshake, because no slot was left for others that came.
    strangers_refused,
    /// Connections that were dropped because no slot was left for others that came: they had been
    /// answered and did not close, or did not take their answer. Those that were refused with 503
    /// and stay are among them.
    strangers_dropped,
    /// Connections that were accepted and given to a shard that had room.
    handed_over,
    /// Connections that have opened: opening handshakes done, connections of a program's own
    /// protocol begun, and responses begun whose bodies are sent as their peers take them.
    opened,
    /// Requests refused, with whatever status.
    refused,
    /// Requests refused because the head was not complete in time.
    refused_head_timeout,
    /// Requests refused because the pool had no block for the head, or for what answers it.
    refused_no_memory,
    /// Requests that are undecided now: their handlers wait for what they have asked.
    undecided,
    /// Requests whose handlers had to ask somebody before they decided.
    decided_later,
    /// Requests refused because as many of their route were undecided as may be.
    refused_undecided,
    /// Requests refused because they were not decided in time.
    refused_decision_timeout,
    /// Findings about requests that were decided before, or had ended.
    found_in_vain,
    /// Tokens of requests, and fresh ones of connections, that were verified, be they good or not.
    tokens_verified,
    /// Requests, and connections with a fresh token, whose token had been verified before.
    tokens_remembered,
    /// Requests refused, and fresh tokens not taken, because as many tokens waited to be verified
    /// as may.
    tokens_unverified,
    /// Passwords of requests that were hashed, be they right or not.
    passwords_hashed,
    /// Requests whose password had been hashed before, and was right.
    passwords_remembered,
    /// Requests refused because as many passwords waited to be hashed as may, altogether or of
    /// their address.
    passwords_unhashed,
    /// Connections closed because their token had expired.
    tokens_expired,
    /// Connections closed because their token was taken back.
    tokens_revoked,
    /// Times that a token was shown which was taken back: in a request, or as a fresh one.
    tokens_revoked_shown,
    /// Connections that were given a fresh token in place of theirs.
    tokens_renewed,
    /// Fresh tokens that were not taken: not good, of another user, or not verified in time.
    tokens_not_renewed,
    /// Routes that a change of the configuration has taken away, and some connection is on now.
    routes_gone,
    /// Connections closed because a change of the configuration had taken their route away.
    route_gone_closed,
    /// Requests refused, and connections closed, because there was no room for what their tokens
    /// say of topics.
    permissions_refused,
    /// Responses of handlers, of any status: pages, and whatever else they answer.
    pages,
    /// Bytes received.
    bytes_in,
    /// Payload bytes sent: of data frames, of what is said in a program's own protocol, and of
    /// bodies that are sent as their peers take them.
    bytes_out,
    /// Messages received.
    messages_in,
    /// Messages sent.
    messages_out,
    /// Pings sent.
    pings,
    /// Connections dropped because a ping was not answered.
    peers_gone,
    /// Connections dropped because the peer took nothing of its backlog for too long.
    peers_stalled,
    /// Connections ended because a backlog's bound was met, by a route's policy for slow peers, or
    /// to give way to a shortage: closed with 1013 over WebSocket, and otherwise dropped.
    slow_peers_closed,
    /// Times that reading from a slow peer was paused.
    slow_peers_paused,
    /// Times that a client was not read from for a while, because it had sent more than it may.
    clients_slowed,
    /// How much of blocks, messages or what the control group may have is in use now: 0 for no
    /// more than `memory_high`, 1 for more, 2 for more than `memory_critical`.
    memory_level,
    /// Times that more of blocks, messages or what the control group may have came to be in use
    /// than `memory_high` or `memory_critical` allows.
    memory_shortages,
    /// Connections that were not counted by address or by user, because there was no place for one
    /// more of these: no such limit acts on them.
    clients_uncounted,
    /// Connections dropped because the closing handshake took too long, or their peers did not end
    /// once they were told all.
    close_timeouts,
    /// WebSocket connections that ended without a closing handshake: an end or an error from the
    /// peer.
    ended_abruptly,
    /// Headers of proxies that were read, each of a connection.
    proxy_headers,
    /// Requests of which a proxy has told the client in a header that is believed.
    forwarded_requests,
    /// Requests from such a proxy that tells nobody's address: they are taken for its own.
    forwarded_untold,
    /// Headers of proxies that have said more of their clients than is kept.
    proxy_facts_cut,
    /// Connections that were dropped because the handshake of their transport was not done in time.
    handshakes_timed_out,
    /// Connections that were dropped because others waited with their handshakes, and theirs did
    /// not go on for a second.
    handshakes_evicted,
    /// Times that a connection had to wait with its handshake because as many were in progress as
    /// may be.
    handshakes_parked,
    /// Connections ended because what came in could not be opened by their transport.
    transports_broken,
    /// Open connections whose peer has ended without the last words of their transport: they may
    /// have been cut off by somebody between.
    cut_off,
    /// Connections failed because the peer broke the protocol, or sent a message over a limit.
    protocol_errors,
    /// Connections ended because a message that must be whole took too long to arrive (with 1008
    /// over WebSocket), or dropped because the source of a response said nothing for too long.
    messages_too_slow,
    /// Connections ended because the pool had no block: for what the peer sent (with 1013 over
    /// WebSocket), or for what was left of what it was being sent, and then dropped.
    out_of_blocks,
    /// Responses that were dropped within their bodies, because the source ended before the length
    /// that it had announced.
    bodies_broken_off,
    /// Times that input waited because enough had been inflated or read in very many frames, or
    /// because there was hardly room for what answers it.
    inputs_put_off,
    /// Sends that did not go through at once.
    sends_short,
    /// Times that a connection had to wait for a receive buffer.
    buffer_waits,
    /// Receives that found no buffer though one was lent.
    receives_without_buffer,
    /// Bytes in pooled blocks now.
    blocks_used,
    /// The most bytes that were in pooled blocks at once.
    blocks_used_max,
    /// Bytes in blocks of request heads that are half there, or undecided, now.
    blocks_heads,
    /// Bytes in blocks of what must be whole now.
    blocks_gathered,
    /// Bytes in blocks of what is to be sent now.
    blocks_sending,
    /// Messages that connections published.
    published,
    /// Messages that were delivered to connections, or are queued for them.
    deliveries,
    /// Messages left out because a slow peer's backlog was full, the newest one.
    slow_dropped_newest,
    /// Messages left out because a slow peer's backlog was full, the oldest one.
    slow_dropped_oldest,
    /// Messages left out because a slow peer's backlog has a newer one with the same key.
    slow_conflated,
    /// Messages that those who came back were told.
    recovered,
    /// Messages that those who came back were not told, because they were no longer kept when it
    /// was their turn.
    recovery_left_out,
    /// Messages left out because the connection was closing.
    dropped_closing,
    /// Times that a delivery, or a body of a response, waited because no block was free.
    deliveries_without_block,
    /// Times that a delivery waited because no place was free in the queues.
    deliveries_without_place,
    /// Messages left out for a connection because no block is large enough for what it wants.
    deliveries_too_large,
    /// Connections that had to give way, because they held most while blocks or places ran short.
    holders_evicted,
    /// Pushes to connections that were gone.
    pushes_gone,
    /// Connections that were subscribed to a topic for which its home had no room: they were closed
    /// with 1013.
    topics_denied,
    /// Connections that a drain has closed, or told to close.
    drained,
    /// Connections that were cut off because a drain took too long.
    drain_cut_off,
    /// Connections that a drain is about and that are still there, now.
    drain_left,
    /// Times that a publishing connection was not read from for a while, because messages held too
    /// much memory, blocks or places in queues were few, or another shard did not keep up.
    publishers_paused,
    /// Times that a request was not read in a turn of the loop, because another shard did not keep
    /// up with what opening connections tell it.
    openings_held,
    /// Bytes that wait for slow peers now: of answers and of published messages.
    backlog_bytes,
    /// Messages that wait for slow peers now, each counted for each of them.
    queued,
    /// Subscriptions now.
    subscriptions,
    /// Topics with a subscriber on the shard now.
    topics,
    /// Topics whose home is the shard, now.
    topics_home,
    /// Bytes that messages in histories take of the memory for messages now.
    history_bytes,
    /// Members of topics whose presence is kept, now.
    present,
    /// Members that were not listed because of the bound.
    presence_full,
    /// Joins and leaves that were told as counts, because many are present on their topic.
    presence_counted,
    /// Messages that were published before with the same idempotency key, and not once more.
    repeats,
    /// Idempotency keys that went before their time because of the bound.
    repeats_forgotten,
    /// Topics that could not come to be because of the bound.
    topics_full,
    /// Topics that nobody was on, and whose history went before its time for another topic.
    topics_forgotten,
    /// Mail taken in, from other shards, other threads and itself.
    mail_received,
    /// Mail that found its mailbox full and waited at its sender.
    mail_waited,
    /// Mail that waits at its sender now.
    mail_waiting,
    /// Times that another shard was woken.
    mail_wakes,
    /// Times that the shard did nothing for a tick or more though it had connections: the machine,
    /// the process or its group was paused, or had no time.
    pauses,
    /// Turns of the loop.
    loops,
}

/// Counters that other threads can read.
#[derive(Debug)]
pub struct PublishedCounters([AtomicU64; Counters::COUNT]);

impl PublishedCounters {
    /// All zero.
    #[must_use]
    pub fn new() -> Self {
        Self([const { AtomicU64::new(0) }; Counters::COUNT])
    }

    /// Shows other threads the current counts.
    pub fn store(&self, counters: &Counters) {
        for (cell, (_, value)) in self.0.iter().zip(counters.named()) {
            cell.store(value, Ordering::Relaxed);
        }
    }

    /// The counts as they were last shown.
    #[must_use]
    pub fn load(&self) -> Counters {
        Counters::from_values(std::array::from_fn(|at| self.0[at].load(Ordering::Relaxed)))
    }
}

impl Default for PublishedCounters {
    fn default() -> Self {
        Self::new()
    }
}

impl std::iter::Sum for Counters {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| {
            let (sum, one) = (sum.named(), one.named());
            Self::from_values(std::array::from_fn(|at| sum[at].1 + one[at].1))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_is_read_and_summed() {
        let counters = Counters { accepted: 3, loops: 9, ..Counters::default() };
        let published = PublishedCounters::new();
        published.store(&counters);
        assert_eq!(published.load(), counters);
        let sum: Counters = [counters, counters].into_iter().sum();
        assert_eq!((sum.accepted, sum.loops, sum.pings), (6, 18, 0));
    }
}

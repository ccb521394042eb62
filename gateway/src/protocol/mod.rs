//! What is spoken on a connection.
//!
//! On a listener of the configuration that is HTTP, and what it leads to: WebSocket, or a response.
//! A program that brings a [`Protocol`] of its own along names it for a listener
//! ([`Program::protocols`](crate::gateway::Program::protocols)); it sees each connection through an
//! [`Exchange`]:
//!
//! ```
//! use tidegate::gateway::Program;
//! use tidegate::protocol::{Exchange, Protocol, Stretch};
//!
//! struct Echo;
//!
//! impl Protocol for Echo {
//!     fn input(&mut self, exchange: &mut Exchange<'_, '_>, input: Stretch<'_>) {
//!         // Who takes nothing is ended: nothing is left to do here.
//!         let _ = exchange.echo(input);
//!     }
//! }
//!
//! let program = Program::default().protocols(|listener| {
//!     (listener.address.port() == Some(7)).then(|| Box::new(Echo) as Box<dyn Protocol>)
//! });
//! ```
//!
//! # Within the gateway
//!
//! A shard receives, sends, waits and closes, in the words of no protocol. What has come in, what
//! has been sent, what is over and what is to end goes to the functions here, each over the
//! [`Turn`] of one connection: one `match` over what is spoken on it. What a turn leaves to do for
//! the shard it says when it is over ([`turn::Finished`]). What is published is put into bytes by
//! `forms`.

#[doc(hidden)]
pub mod admission;
pub(crate) mod asked;
#[doc(hidden)]
pub mod context;
mod cors;
mod counted;
#[doc(hidden)]
pub mod desk;
#[doc(hidden)]
pub mod end_reason;
mod entry;
mod events;
mod foreign;
pub(crate) mod forms;
mod forwarded;
#[doc(hidden)]
pub mod ground;
mod listener_table;
mod logged;
mod next_profiles;
mod next_services;
mod offer;
mod opening;
#[doc(hidden)]
mod profiles;
pub mod program;
#[doc(hidden)]
pub mod refusal;
#[doc(hidden)]
pub mod request;
#[doc(hidden)]
pub mod response;
mod route_table;
pub(crate) mod router;
#[doc(hidden)]
pub mod serve;
mod service;
#[doc(hidden)]
pub mod services;
#[doc(hidden)]
pub mod streaming;
#[doc(hidden)]
pub mod turn;
mod undecided;
mod websocket;

#[doc(inline)]
pub use crate::connection::FOREIGN_OWN;
use crate::connection::{Connection, Spoken};
use crate::counters::Counters;
use crate::hub::{Cause, Finding};
use crate::kernel::{Peer, Span};
use crate::memory::BlockId;
use crate::names::{ConnectionId, Name};
use std::time::Duration;

use desk::Desk;
use end_reason::EndReason;
pub use foreign::{Allowance, Exchange, Protocol, ProtocolFactory, Stretch};
use logged::{LoggedFacts, LoggedNames};
use request::{PeerCertificate, ProxyFacts};
pub use serve::End;
use serve::Event;
use services::{Profile, Profiles, Services};
pub use turn::{Failing, Fault};
use turn::{Said, Traffic, Turn};
pub(crate) use websocket::Inflating;

/// Which connection has ended, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    /// Which one.
    pub(crate) id: ConnectionId,
    /// How.
    pub(crate) end: End,
}

/// Who is named in the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Logged<'l> {
    /// Which connection.
    pub(crate) id: ConnectionId,
    /// Its peer.
    pub(crate) peer: Peer,
    /// Its route's path pattern; `None` if it has no route.
    pub(crate) route: Option<&'l str>,
    /// Whose connection it is, where that is known.
    pub(crate) user: Option<&'l str>,
    /// What its request calls the peer's program.
    pub(crate) agent: Option<&'l str>,
}

/// What is said in the log of a connection that has opened, beside who it is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HowOpened<'l> {
    /// Its request's path.
    pub(crate) path: Option<&'l str>,
    /// The version of TLS, if it is over that.
    pub(crate) tls: Option<&'static str>,
    /// The certificate that the client has shown, if it has.
    pub(crate) certificate: Option<&'l PeerCertificate>,
    /// What a proxy has said of the client, if it has.
    pub(crate) proxied: Option<&'l ProxyFacts>,
}

/// What is said in the log of a connection that has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Closed {
    /// How.
    pub(crate) end: End,
    /// Why.
    pub(crate) reason: EndReason,
    /// How long it was open.
    pub(crate) open_for: Duration,
    /// What was heard and said on it.
    pub(crate) traffic: Traffic,
    /// Bytes that were received.
    pub(crate) bytes_in: u64,
}

/// What has not come in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// Anything at all, or the end of the request.
    Word,
    /// The rest of what is half received.
    Rest,
}

/// A connection has come, and is turned away, or not. What a listener's own protocol is spoken on
/// begins with it; of the others a request is awaited.
pub(crate) fn begin(turn: &mut Turn<'_>) {
    if let Some(turned_away) = turn.turnstile.turned_away(turn.work.id.slot) {
        opening::turn_away(turn, turned_away);
    } else if turn.profile().protocol.is_some() {
        foreign::begin(turn);
    } else if turn.drains {
        opening::refuse_busy(turn);
    }
}

/// What was published for the connection, where its protocol has no form that is made for many at
/// once; `topic` is where, if it was a topic.
pub(crate) fn told(turn: &mut Turn<'_>, topic: Option<&Name>, message: &[u8]) {
    match turn.connection().spoken {
        // They are told nothing, or in a form that many have.
        Spoken::Opening | Spoken::Undecided(_) | Spoken::WebSocket(_) | Spoken::Response(_) => {}
        Spoken::Foreign(_) => foreign::told(turn, topic, message),
    }
}

/// Something has happened that the handler of the connection wants to know; `false` if it has none.
pub(crate) fn event(turn: &mut Turn<'_>, event: Event<'_>) -> bool {
    let is_handled = matches!(turn.connection().spoken, Spoken::WebSocket(_));
    if is_handled {
        websocket::event(turn, event);
    }
    is_handled
}

/// It was found out what the handler of a request has asked before it decides; `behind` is what
/// came behind the head, in the turn's receive buffer.
pub(crate) fn found(turn: &mut Turn<'_>, finding: Finding, behind: Span) {
    undecided::found(turn, finding, behind);
}

/// Nobody waits for a decision about the connection any more, if somebody did.
pub(crate) fn give_up(
    services: &mut Services,
    connection: &mut Connection,
    counters: &mut Counters,
) {
    undecided::end(services, connection, counters);
}

/// Works on what was received.
pub(crate) fn input(turn: &mut Turn<'_>, received: Span) {
    match turn.connection().spoken {
        Spoken::Opening => opening::input(turn, received),
        Spoken::Undecided(_) => undecided::input(turn, received),
        Spoken::WebSocket(_) => websocket::input(turn, received),
        Spoken::Foreign(_) => foreign::input(turn, received),
        // The connection is closed behind the response, so nothing is asked any more.
        Spoken::Response(_) => {}
    }
}

/// Works on `count` bytes that were received straight into the gathered block.
pub(crate) fn gathered(turn: &mut Turn<'_>, block: BlockId, count: u32) {
    match turn.connection().spoken {
        // What they keep is never received in place: how much is to come of it is not known.
        Spoken::Opening | Spoken::Undecided(_) | Spoken::Foreign(_) | Spoken::Response(_) => {}
        Spoken::WebSocket(_) => websocket::gathered(turn, block, count),
    }
}

/// Everything queued was sent.
pub(crate) fn writable(turn: &mut Turn<'_>) {
    match turn.connection().spoken {
        Spoken::Opening | Spoken::Undecided(_) => {}
        Spoken::WebSocket(_) => websocket::writable(turn),
        Spoken::Foreign(_) => foreign::writable(turn),
        Spoken::Response(_) => streaming::pull(turn),
    }
}

/// Something has not come in time.
pub(crate) fn expired(turn: &mut Turn<'_>, what: Overdue) {
    match (turn.connection().spoken, what) {
        (Spoken::Opening, _) => opening::too_late(turn),
        (Spoken::Undecided(_), _) => undecided::too_late(turn),
        (Spoken::WebSocket(_), Overdue::Word) => websocket::ping(turn),
        (Spoken::WebSocket(_), Overdue::Rest) => websocket::close(turn, Failing::TooLate),
        (Spoken::Foreign(_), Overdue::Word) => foreign::silent(turn),
        (Spoken::Foreign(_), Overdue::Rest) => foreign::close(turn, Failing::TooLate),
        (Spoken::Response(_), _) => streaming::silent(turn),
    }
}

/// Ends the connection, if it is not ending already.
pub(crate) fn close(turn: &mut Turn<'_>, why: Failing) {
    match turn.connection().spoken {
        Spoken::Opening | Spoken::Undecided(_) => opening::refuse_busy(turn),
        Spoken::WebSocket(_) => websocket::close(turn, why),
        Spoken::Foreign(_) => foreign::close(turn, why),
        Spoken::Response(_) => streaming::close(turn, why),
    }
}

/// Whether the body of a response is sent.
pub(crate) fn is_response(spoken: &Spoken) -> bool {
    matches!(spoken, Spoken::Response(_))
}

/// What is spoken on a connection of this profile, in a word.
pub(crate) fn name(spoken: &Spoken, profile: &Profile) -> &'static str {
    match spoken {
        Spoken::WebSocket(_) => "websocket",
        Spoken::Foreign(_) => "program",
        Spoken::Opening | Spoken::Undecided(_) if profile.protocol.is_some() => "program",
        Spoken::Opening | Spoken::Undecided(_) | Spoken::Response(_) => "http",
    }
}

/// The close code that an end has there, if it has one.
pub(crate) fn close_code(spoken: &Spoken, end: End) -> Option<u16> {
    matches!(spoken, Spoken::WebSocket(_)).then(|| end.close_code())
}

/// Says in the log that a connection has opened, in the words of what is spoken on it.
pub(crate) fn log_opened(spoken: &Spoken, who: Logged<'_>, how: HowOpened<'_>) {
    let Logged { id, peer, route, user, agent } = who;
    let HowOpened { path, tls, certificate, proxied } = how;
    let names = certificate.map(LoggedNames::of).unwrap_or_default();
    let LoggedNames { said: names, left_out: names_left_out } = names;
    let certificate = certificate.map(|certificate| certificate.subject.as_str());
    let LoggedFacts {
        peer: proxied_peer,
        authority: proxied_authority,
        alpn: proxied_alpn,
        unique_id: proxied_id,
        tls: proxied_tls,
        cipher: proxied_cipher,
        common_name: proxied_cn,
        is_verified: proxied_verified,
        is_cut: proxied_cut,
    } = proxied.map(LoggedFacts::of).unwrap_or_default();
    match spoken {
        Spoken::Opening | Spoken::Undecided(_) => {}
        Spoken::WebSocket(_) => tracing::info!(
            target: "tidegate::websocket",
            %id, %peer, tls, certificate, names, names_left_out, proxied_peer, proxied_authority,
            proxied_alpn, proxied_id, proxied_tls, proxied_cipher, proxied_cn, proxied_verified,
            proxied_cut, route, path, user, agent,
            "opened"
        ),
        Spoken::Foreign(_) => tracing::info!(
            target: "tidegate::program",
            %id, %peer, tls, certificate, names, names_left_out, proxied_peer, proxied_authority,
            proxied_alpn, proxied_id, proxied_tls, proxied_cipher, proxied_cn, proxied_verified,
            proxied_cut,
            "opened"
        ),
        Spoken::Response(_) => tracing::info!(
            target: "tidegate::http",
            %id, %peer, tls, certificate, names, names_left_out, proxied_peer, proxied_authority,
            proxied_alpn, proxied_id, proxied_tls, proxied_cipher, proxied_cn, proxied_verified,
            proxied_cut, route, path, agent,
            "a body is sent"
        ),
    }
}

/// Says in the log that a connection's messages have ended, likewise.
pub(crate) fn log_end(spoken: &Spoken, who: Logged<'_>, closed: &Closed) {
    let Logged { id, peer, route, user, agent } = who;
    let Closed { end: End { by_peer, cause }, open_for, traffic, bytes_in, .. } = *closed;
    let reason = closed.reason.name();
    let seconds = open_for.as_millis() as f64 / 1000.0;
    let Traffic { messages_in, said: Said { messages: messages_out, bytes: bytes_out } } = traffic;
    match spoken {
        Spoken::Opening | Spoken::Undecided(_) => {}
        Spoken::WebSocket(_) => tracing::info!(
            target: "tidegate::websocket",
            %id, %peer, route, user, agent, seconds, messages_in, bytes_in, messages_out, bytes_out,
            code = closed.end.close_code(), by_peer, reason,
            "closed"
        ),
        Spoken::Foreign(_) => {
            let cause = cause.map(tracing::field::debug);
            tracing::info!(
                target: "tidegate::program",
                %id, %peer, seconds, bytes_in, bytes_out, cause, by_peer, reason,
                "closed"
            );
        }
        Spoken::Response(_) => {
            let is_whole = cause == Some(Cause::Done);
            tracing::info!(
                target: "tidegate::http",
                %id, %peer, route, agent, seconds, bytes_out, is_whole, by_peer, reason,
                "closed"
            );
        }
    }
}

/// The connection's messages have ended: whoever was told of their beginning is told, once.
pub(crate) fn tell_end(
    services: &mut Services,
    profiles: &mut Profiles,
    connection: &mut Connection,
    desk: &mut Desk<'_>,
    ended: Ended,
) {
    match connection.spoken {
        Spoken::Opening | Spoken::Undecided(_) => {}
        Spoken::WebSocket(_) => websocket::tell_end(services, connection, desk, ended),
        Spoken::Foreign(_) => foreign::tell_end(profiles, connection, ended),
        Spoken::Response(_) => {
            streaming::tell_end(&mut services.sources, connection, ended.id.slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::connection::{Foreign, Streaming, WebSocket};
    use crate::names::Node;

    /// What was logged.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("nobody panicked").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines that `what` logs, each from its level on.
    fn logged(what: impl FnOnce()) -> Vec<String> {
        let log = Log::default();
        let out = log.clone();
        let lines = tracing_subscriber::fmt().without_time().with_ansi(false);
        let subscriber = lines.with_writer(move || out.clone()).finish();
        tracing::subscriber::with_default(subscriber, what);
        let bytes = log.0.lock().expect("nobody panicked").clone();
        String::from_utf8(bytes).expect("text").lines().map(|line| line.trim().to_owned()).collect()
    }

    #[test]
    fn the_log_says_what_is_spoken_and_a_close_code_of_websocket_alone() {
        let node = Node { number: 0, start: 0 };
        let id = ConnectionId { node, shard: 0, slot: 7, generation: 0 };
        let (route, user, agent) = (Some("/{*rest}"), Some("ada"), Some("curl/8"));
        let who = Logged { id, peer: Peer::Unknown, route, user, agent };
        let certificate = PeerCertificate {
            subject: "CN=device".into(),
            names: vec!["a.test".into()],
            names_left_out: 1,
            serial: String::new(),
            fingerprint_sha256: String::new(),
        };
        let certificate = Some(&certificate);
        let authority = Some("gateway.test".into());
        let facts = ProxyFacts { authority, is_cut: true, ..ProxyFacts::default() };
        let how =
            HowOpened { path: Some("/a"), tls: Some("1.3"), certificate, proxied: Some(&facts) };
        let closed = Closed {
            end: End::of_ours(Cause::Done),
            reason: EndReason::Done,
            open_for: Duration::from_millis(1500),
            traffic: Traffic { messages_in: 1, said: Said { messages: 2, bytes: 3 } },
            bytes_in: 4,
        };
        let foreign = Foreign { own: [0; FOREIGN_OWN], is_open: true, is_ending: false };
        let all = [
            Spoken::WebSocket(WebSocket::default()),
            Spoken::Foreign(foreign),
            Spoken::Response(Streaming { left: None, is_open: true }),
            Spoken::Opening,
        ];
        let lines = logged(|| {
            for spoken in &all {
                log_opened(spoken, who, how);
                log_end(spoken, who, &closed);
            }
        });
        let whose = format!("id={id} peer={}", Peer::Unknown);
        let (route, agent) = ("route=\"/{*rest}\"", "agent=\"curl/8\"");
        let done = "by_peer=false reason=\"done\"";
        let tls = "tls=\"1.3\" certificate=\"CN=device\" names=\"a.test\" names_left_out=1 \
                   proxied_authority=\"gateway.test\" proxied_cut=true";
        let expected = [
            format!(
                "INFO tidegate::websocket: opened {whose} {tls} {route} path=\"/a\" user=\"ada\" \
                 {agent}"
            ),
            format!(
                "INFO tidegate::websocket: closed {whose} {route} user=\"ada\" {agent} \
                 seconds=1.5 messages_in=1 bytes_in=4 messages_out=2 bytes_out=3 code=1000 {done}"
            ),
            format!("INFO tidegate::program: opened {whose} {tls}"),
            format!(
                "INFO tidegate::program: closed {whose} seconds=1.5 bytes_in=4 bytes_out=3 \
                 cause=Done {done}"
            ),
            format!(
                "INFO tidegate::http: a body is sent {whose} {tls} {route} path=\"/a\" {agent}"
            ),
            format!(
                "INFO tidegate::http: closed {whose} {route} {agent} seconds=1.5 bytes_out=3 \
                 is_whole=true {done}"
            ),
        ];
        assert_eq!(lines, expected);
    }
}

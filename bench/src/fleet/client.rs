//! One connection of a fleet, from its own side.

use std::io;

use tidegate_proto::http::{Status, parse_response};
use tidegate_proto::websocket::frame::{OpCode, Reserved, Role};
use tidegate_proto::websocket::handshake::client::{Accepted, UpgradeRequest};
use tidegate_proto::websocket::receiver::{Decoded, Receiver, Rules};

use super::Errand;
use crate::tls::{Dialing, Progress, Session};

const RULES: Rules = Rules { role: Role::Client, reserved: Reserved::Clear, max_message: u32::MAX };

/// The longest response to an opening handshake, in bytes.
const RESPONSE_MAX: usize = 4096;

/// What a connection waits for.
#[derive(Clone, Debug, Default)]
pub(super) enum Waiting {
    /// There is no connection.
    #[default]
    Gone,
    /// The response to its opening handshake, over TLS that one's as well; what has come of it, if
    /// that was not all.
    Response(Vec<u8>),
    /// Nothing, or whatever the server may ask.
    Nothing,
    /// The message of its errand, so many bytes of which have come.
    Message(u32),
    /// A Pong.
    Pong,
    /// A Close frame, and then the server's FIN.
    Close,
    /// The server's FIN.
    End,
}

/// What input means for whoever has sent the connection on an errand.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// What it waited for is there.
    pub(super) done: bool,
    /// What it is to send.
    pub(super) owed: Option<Owed>,
}

/// What a connection is to send because of what has come.
#[derive(Debug)]
pub(super) enum Owed {
    /// A Pong with this payload.
    Pong(Vec<u8>),
    /// These bytes as they are: what its handshake of TLS goes on with.
    Wire(Vec<u8>),
}

/// How TLS stands with a connection.
pub(super) enum Tls {
    /// Its handshake goes on.
    Dialing(Dialing),
    /// It seals and opens.
    Open(Box<Session>),
}

/// A connection. What it was sent for and by whom is its flock's business.
#[derive(Default)]
pub(super) struct Client {
    pub(super) generation: u32,
    pub(super) waiting: Waiting,
    receiver: Receiver,
    /// If it is over TLS.
    tls: Option<Box<Tls>>,
    /// The payload of a control frame that has not ended.
    control: Vec<u8>,
    /// Where its flock has its request, while that is being sent.
    pub(super) request: u16,
    /// Where its flock receives for it, while it does.
    pub(super) place: u16,
}

// What a million of them cost this process.
const _: () = assert!(size_of::<Client>() <= 100);

impl Client {
    /// A new connection takes this place.
    pub(super) fn begin(&mut self, waiting: Waiting) {
        self.generation += 1;
        self.waiting = waiting;
        self.receiver = Receiver::default();
        self.control = Vec::new();
        self.tls = None;
    }

    /// It has begun a handshake of TLS.
    pub(super) fn dial(&mut self, dialing: Dialing) {
        self.tls = Some(Box::new(Tls::Dialing(dialing)));
    }

    /// What seals, if the connection is over TLS and its handshake is over.
    pub(super) fn session(&mut self) -> Option<&mut Session> {
        match self.tls.as_deref_mut() {
            Some(Tls::Open(session)) => Some(session),
            _ => None,
        }
    }

    /// The connection is gone, and what it held as well.
    pub(super) fn end(&mut self) {
        self.waiting = Waiting::Gone;
        self.tls = None;
    }

    /// Whether there is a connection.
    pub(super) fn is_there(&self) -> bool {
        !matches!(self.waiting, Waiting::Gone)
    }

    /// Takes `input`, which has come on `errand`; `nonce` makes that of its request once more, if
    /// the response is waited for.
    pub(super) fn handle_input(
        &mut self,
        mut input: &mut [u8],
        errand: &Errand,
        nonce: impl FnOnce() -> [u8; 16],
    ) -> io::Result<Outcome> {
        let Some(mut tls) = self.tls.take() else { return self.handle_plain(input, errand, nonce) };
        let mut owed = None;
        if let Tls::Dialing(dialing) = *tls {
            let mut wire = Vec::new();
            *tls = match dialing.advance(input, &mut wire)? {
                Progress::Dialing(dialing) => Tls::Dialing(dialing),
                Progress::Open(session) => Tls::Open(session),
            };
            owed = (!wire.is_empty()).then_some(Owed::Wire(wire));
            input = &mut [];
        }
        let mut outcome = match &mut *tls {
            Tls::Dialing(_) => Outcome::default(),
            Tls::Open(session) => {
                session.take_in(input, |plain| self.handle_plain(plain, errand, nonce))?
            }
        };
        self.tls = Some(tls);
        outcome.owed = owed.or(outcome.owed);
        Ok(outcome)
    }

    fn handle_plain(
        &mut self,
        input: &mut [u8],
        errand: &Errand,
        nonce: impl FnOnce() -> [u8; 16],
    ) -> io::Result<Outcome> {
        let Waiting::Response(so_far) = &mut self.waiting else {
            return self.handle_frames(input, errand.message());
        };
        so_far.extend_from_slice(input);
        let status = parse_response(so_far, RESPONSE_MAX).map_err(io::Error::other)?;
        let Status::Complete(head) = status else { return Ok(Outcome::default()) };
        let Errand::Open { target } = errand else {
            unreachable!("responses are waited for on this errand only")
        };
        let request = UpgradeRequest::new(&target.host, &target.path, nonce());
        Accepted::check(&head, &request).map_err(io::Error::other)?;
        self.waiting = Waiting::Nothing;
        Ok(Outcome { done: true, owed: None })
    }

    /// The server has ended the stream; says whether that was waited for.
    pub(super) fn handle_end(&self) -> io::Result<()> {
        match self.waiting {
            Waiting::Close | Waiting::End => Ok(()),
            _ => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server hung up")),
        }
    }

    fn handle_frames(&mut self, input: &mut [u8], message: &[u8]) -> io::Result<Outcome> {
        let (mut at, mut outcome) = (0, Outcome::default());
        while !matches!(self.waiting, Waiting::End) {
            let event = self.receiver.handle_input(input, &mut at, &RULES);
            match event.map_err(|error| io::Error::other(error.to_string()))? {
                Decoded::NeedInput => break,
                Decoded::Piece(piece) => {
                    let bytes = &input[piece.start..piece.end];
                    outcome.done |= self.handle_piece(bytes, piece.part.is_last(), message)?;
                }
                Decoded::Control(control) => {
                    self.control.extend_from_slice(&input[control.start..control.end]);
                    if control.part.is_last() {
                        let payload = std::mem::take(&mut self.control);
                        self.handle_control(control.opcode, payload, &mut outcome)?;
                    }
                }
            }
        }
        Ok(outcome)
    }

    /// Takes a part of a message, and compares it; says whether it ends the one that is waited for.
    fn handle_piece(&mut self, bytes: &[u8], last: bool, message: &[u8]) -> io::Result<bool> {
        let so_far = match &mut self.waiting {
            Waiting::Message(so_far) => so_far,
            Waiting::Nothing => {
                return Err(io::Error::other("a message has come that nothing waits for"));
            }
            _ => return Ok(false),
        };
        let rest = message.get(*so_far as usize..);
        if !rest.is_some_and(|rest| rest.starts_with(bytes)) {
            return Err(io::Error::other("what has come is not the message that was sent"));
        }
        *so_far += bytes.len() as u32;
        if !last {
            return Ok(false);
        }
        if (*so_far as usize) < message.len() {
            return Err(io::Error::other("what has come is shorter than the message"));
        }
        self.waiting = Waiting::Nothing;
        Ok(true)
    }

    fn handle_control(
        &mut self,
        opcode: OpCode,
        payload: Vec<u8>,
        outcome: &mut Outcome,
    ) -> io::Result<()> {
        match (opcode, &self.waiting) {
            (OpCode::Pong, Waiting::Pong) => {
                self.waiting = Waiting::Nothing;
                outcome.done = true;
            }
            (OpCode::Ping, _) => outcome.owed = Some(Owed::Pong(payload)),
            (OpCode::Close, Waiting::Close) => self.waiting = Waiting::End,
            (OpCode::Close, _) => {
                return Err(io::Error::other("the server closed the connection"));
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errand(message: &[u8]) -> Errand {
        Errand::Echo { message: message.into() }
    }

    /// A client that waits for `sent` and has `frames` come.
    fn answer(sent: &[u8], frames: &[&[u8]]) -> io::Result<Outcome> {
        let mut client = Client::default();
        client.begin(Waiting::Message(0));
        let mut outcome = Outcome::default();
        for frame in frames {
            outcome = client.handle_input(&mut frame.to_vec(), &errand(sent), || [0; 16])?;
        }
        Ok(outcome)
    }

    #[test]
    fn a_message_is_compared_byte_by_byte() {
        assert!(answer(b"tide", &[b"\x82\x04tide"]).unwrap().done);
        let wrong = answer(b"tide", &[b"\x82\x04tidy"]).unwrap_err();
        assert!(wrong.to_string().contains("not the message"), "{wrong}");
        assert!(answer(b"tide", &[b"\x82\x05tides"]).is_err(), "longer");
        let shorter = answer(b"tide", &[b"\x82\x03tid"]).unwrap_err();
        assert!(shorter.to_string().contains("shorter"), "{shorter}");
        assert!(answer(b"", &[b"\x82\x00"]).unwrap().done);
    }

    #[test]
    fn fragments_and_parts_of_frames_are_one_message() {
        let parts: &[&[u8]] = &[b"\x02\x03ti", b"d", b"\x80\x01e"];
        assert!(answer(b"tide", parts).unwrap().done);
        assert!(!answer(b"tide", &parts[..2]).unwrap().done);
        assert!(answer(b"tide", &[b"\x02\x02ti", b"\x80\x02ed"]).is_err());
    }

    #[test]
    fn a_message_too_many_is_an_error() {
        let twice = answer(b"tide", &[b"\x82\x04tide\x82\x04tide"]).unwrap_err();
        assert!(twice.to_string().contains("nothing waits for"), "{twice}");
    }
}

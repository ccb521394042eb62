//! One connection of a fleet, from its own side.

use std::io;

use tidegate_proto::frame::{OpCode, Role};
use tidegate_proto::handshake::client::{Accepted, Request};
use tidegate_proto::http::{Status, parse_response};
use tidegate_proto::receiver::{Event, Receiver, Rules};

const RULES: Rules = Rules { role: Role::Client, compression: false, max_message: u32::MAX };

/// The longest response to an opening handshake, in bytes.
const RESPONSE_MAX: usize = 4096;

/// What a connection waits for.
#[derive(Clone, Debug, Default)]
pub(super) enum Waiting {
    /// There is no connection.
    #[default]
    Gone,
    /// The response to its opening handshake; what has come of it, if that was not all.
    Response(Vec<u8>),
    /// Nothing, or whatever the server may ask.
    Nothing,
    /// So many more bytes of its message.
    Echo(u32),
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
    /// It is to send a Pong with this payload.
    pub(super) pong: Option<Vec<u8>>,
}

/// A connection. What it was sent for and by whom is its flock's business.
#[derive(Clone, Debug, Default)]
pub(super) struct Client {
    pub(super) generation: u32,
    pub(super) waiting: Waiting,
    receiver: Receiver,
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
    }

    /// Whether there is a connection.
    pub(super) fn is_there(&self) -> bool {
        !matches!(self.waiting, Waiting::Gone)
    }

    /// Takes `input`; `request` makes the one that was sent, if its response is waited for.
    pub(super) fn handle_input<'a>(
        &mut self,
        input: &mut [u8],
        request: impl FnOnce() -> Request<'a>,
    ) -> io::Result<Outcome> {
        let Waiting::Response(so_far) = &mut self.waiting else {
            return self.handle_frames(input);
        };
        so_far.extend_from_slice(input);
        let status = parse_response(so_far, RESPONSE_MAX).map_err(io::Error::other)?;
        let Status::Complete(head) = status else { return Ok(Outcome::default()) };
        Accepted::check(&head, &request()).map_err(io::Error::other)?;
        self.waiting = Waiting::Nothing;
        Ok(Outcome { done: true, pong: None })
    }

    /// The server has ended the stream; says whether that was waited for.
    pub(super) fn handle_end(&self) -> io::Result<()> {
        match self.waiting {
            Waiting::Close | Waiting::End => Ok(()),
            _ => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server hung up")),
        }
    }

    fn handle_frames(&mut self, input: &mut [u8]) -> io::Result<Outcome> {
        let (mut at, mut outcome) = (0, Outcome::default());
        while !matches!(self.waiting, Waiting::End) {
            let event = self.receiver.handle_input(input, &mut at, &RULES);
            match event.map_err(|error| io::Error::other(error.to_string()))? {
                Event::NeedInput => break,
                Event::Piece(piece) => {
                    let Waiting::Echo(rest) = &mut self.waiting else { continue };
                    *rest = rest.saturating_sub((piece.end - piece.start) as u32);
                    if piece.last {
                        self.echoed()?;
                        outcome.done = true;
                    }
                }
                Event::Control(control) => {
                    self.control.extend_from_slice(&input[control.start..control.end]);
                    if control.last {
                        let payload = std::mem::take(&mut self.control);
                        self.handle_control(control.opcode, payload, &mut outcome)?;
                    }
                }
            }
        }
        Ok(outcome)
    }

    fn echoed(&mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.waiting, Waiting::Nothing) {
            Waiting::Echo(0) => Ok(()),
            _ => Err(io::Error::other("the echo is shorter than the message")),
        }
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
            (OpCode::Ping, _) => outcome.pong = Some(payload),
            (OpCode::Close, Waiting::Close) => self.waiting = Waiting::End,
            (OpCode::Close, _) => {
                return Err(io::Error::other("the server closed the connection"));
            }
            _ => {}
        }
        Ok(())
    }
}

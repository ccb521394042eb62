//! What a world asks of a client, whatever it is there for.

use std::time::Duration;

use crate::bearing::Bearing;
use crate::member::Identity;
use crate::random::Random;

/// What a world knows of a connection, for clients that go by the clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts {
    pub now: Duration,
    /// What the calendar shows, since 1970; it is set now and then. And the latest that it may have
    /// shown.
    pub calendar: Duration,
    pub latest: Duration,
    /// How much of that the shard was at work, or could have been.
    pub at_work: Duration,
    /// How often it was paused, or its clock jumped.
    pub pauses: u32,
    /// Ticks in which it was seen not to be read from because too much was published.
    pub held: u32,
    pub is_accepted: bool,
    /// The server has given it up.
    pub is_given_up: bool,
    /// Bytes that the server has yet to receive.
    pub unread: usize,
    /// Bytes that the server has sent.
    pub sent: u64,
    /// The server was told to drain.
    pub drains: bool,
}

/// What a client does next.
pub enum Action {
    Nothing,
    Say(Vec<u8>),
    End,
    Reset,
}

/// The other end of a connection.
pub trait Client {
    /// A moment passes.
    fn sees(&mut self, _facts: &Facts) {}

    /// It is about to hear something.
    fn reads(&mut self, _facts: &Facts) {}

    /// What it asks for, if that makes a difference to others.
    fn path(&self) -> Option<&'static str> {
        None
    }

    /// The token that it has, if it was to show one.
    fn bearing(&self) -> Option<Bearing> {
        None
    }

    /// It loses its connection, and may come back as another one.
    fn drops_out(&mut self) -> Option<Identity> {
        None
    }

    /// What it does next, with room for `room` bytes on the way.
    fn act(&mut self, random: &mut Random, room: usize) -> Action;

    /// Whether it reads now.
    fn wants_to_read(&self, random: &mut Random) -> bool;

    /// Takes what the server said, and checks that it may say so; `drains`: the server was told to.
    ///
    /// # Panics
    /// It may not.
    fn hear(&mut self, bytes: &[u8], drains: bool);

    /// The server has ended its side; returns whether the client was promised everything, and so
    /// everything was checked.
    ///
    /// # Panics
    /// It ended too early, though the client did everything right and heard it out.
    fn ended(&mut self, was_disturbed: bool) -> bool;

    /// Something happened to its connection that may cost it its answers.
    fn harm(&mut self);

    /// Its proxy says a second header, of which a part may be taken for its request.
    fn is_misread(&mut self) {}

    /// It has reset the connection.
    fn sees_nothing_more(&mut self);

    /// It has seen the end of the connection.
    fn saw_end(&self) -> bool;

    /// It has nothing to say at the moment.
    fn is_waiting(&self) -> bool {
        false
    }

    /// It reads so little that nobody waits for it.
    fn is_slow(&self) -> bool {
        false
    }

    /// It reads all that there is, whenever it can.
    fn reads_at_once(&self) -> bool {
        false
    }

    /// It is being sent a body: a drain may last as long as it may at all.
    fn is_sent_a_body(&self) -> bool {
        false
    }

    /// Everything that was published has been delivered: checks that all of it was heard.
    fn check_complete(&mut self) {}
}

//! What a connection has from its beginning.

use std::any::Any;
use std::fmt;

use crate::hub::Subscribing;
use crate::names::Name;

/// What a handler that admits a connection gives it. All of it is done as the connection opens,
/// before [`Handler::opened`](super::serve::Handler::opened) is called: first the user, then the
/// topics in their order, as far as the bounds of the hub allow. Where one of them is met the
/// connection is closed for [`Cause::NoRoom`](crate::hub::Cause::NoRoom).
///
/// ```
/// use tidegate::handler::Admission;
/// use tidegate::hub::Subscribing;
/// use tidegate::names::Name;
///
/// # fn main() -> Result<(), tidegate::names::NameError> {
/// let admission = Admission::default()
///     .of_user(Name::new("ada")?)
///     .joining(Name::new("news")?, Subscribing::default());
/// assert_eq!(admission.topics.len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct Admission {
    /// The user that the connection belongs to.
    pub user: Option<Name>,
    /// What is published for the user is told as events.
    pub events: bool,
    /// What it is subscribed to.
    pub topics: Vec<Joining>,
    /// The subprotocol that is selected if the request offers it, and its route selects none
    /// itself. What is spoken by it are taken for commands: who speaks it hears events, and is not
    /// read from while publishers pause.
    pub subprotocol: Option<&'static str>,
    /// The handler's own word for the connection:
    /// [`Context::state`](super::context::Context::state).
    pub state: u32,
    /// What [`Handler::opened`](super::serve::Handler::opened) is to know of the request: see
    /// [`Admission::note`].
    pub note: Option<Box<dyn Any + Send>>,
}

/// One topic of an admission.
#[derive(Clone, Debug)]
pub struct Joining {
    /// The topic.
    pub topic: Name,
    /// How the connection subscribes.
    pub how: Subscribing,
}

impl Joining {
    /// A connection is subscribed to a topic like this.
    #[must_use]
    pub fn new(topic: Name, how: Subscribing) -> Self {
        Self { topic, how }
    }
}

impl Admission {
    /// The connection belongs to this user.
    #[must_use]
    pub fn of_user(self, user: Name) -> Self {
        Self { user: Some(user), ..self }
    }

    /// The connection is subscribed to one more topic.
    #[must_use]
    pub fn joining(mut self, topic: Name, how: Subscribing) -> Self {
        self.topics.push(Joining::new(topic, how));
        self
    }

    /// What is published for its user is told to it as events.
    #[must_use]
    pub fn with_events(self) -> Self {
        Self { events: true, ..self }
    }

    /// This subprotocol is selected if the request offers it, and its route selects none itself:
    /// see [`Admission::subprotocol`].
    #[must_use]
    pub fn with_subprotocol(self, name: &'static str) -> Self {
        Self { subprotocol: Some(name), ..self }
    }

    /// The handler keeps this number for the connection.
    #[must_use]
    pub fn with_state(self, state: u32) -> Self {
        Self { state, ..self }
    }

    /// Hands something that was found out about the request to
    /// [`Handler::opened`](super::serve::Handler::opened).
    #[must_use]
    pub fn with_note(self, note: impl Any + Send) -> Self {
        Self { note: Some(Box::new(note)), ..self }
    }

    /// The note, if there is one of this type.
    #[must_use]
    pub fn note<T: Any>(&self) -> Option<&T> {
        self.note.as_deref()?.downcast_ref()
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user, events, topics, subprotocol, state, note } = self;
        out.debug_struct("Admission")
            .field("user", user)
            .field("events", events)
            .field("topics", topics)
            .field("subprotocol", subprotocol)
            .field("state", state)
            .field("note", &note.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_of_its_own_type_only() {
        let admission = Admission::default().with_note(7_u16);
        assert_eq!(admission.note(), Some(&7_u16));
        assert_eq!(admission.note::<u32>(), None);
        assert_eq!(Admission::default().note::<u16>(), None);
    }
}

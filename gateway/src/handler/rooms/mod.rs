//! The handler `hub`: what a connection sends is published on its topic, what is published there is
//! delivered to it. One that offers `tidegate.v1` speaks commands instead, and may be on several
//! topics: `proto/CLIENT.md`.

mod answers;
#[doc(hidden)]
pub mod commands;
mod mistake_code;
mod query;
mod rights;
mod speaking;
mod value;

use std::borrow::Cow;

use super::{
    Admission, Context, Decision, Desk, Event, Handler, ImportError, Joining, NotAdmitted, Piece,
    Publishing, Refusal, Request, Wants,
};
use crate::config::{HubRoute, Route, TemplatePart, UserSource};
use crate::hub::{Cause, Subscribing, Target};
use crate::names::{Name, NameError};
use crate::protocol::router;

use mistake_code::MistakeCode;
use query::only;
use rights::Rights;

/// The subprotocol by which commands are spoken.
const PROTOCOL: &str = "tidegate.v1";

/// Rooms, by the path: the embedded publish and subscribe.
pub struct Rooms {
    route: HubRoute,
    /// What the route selects itself.
    subprotocol: Option<String>,
    /// The most bytes of a command.
    max_message: u32,
    /// The most bytes that may wait for a connection.
    backlog: u32,
    /// The name of the path's last part, if that stands for all that is left: `{*rest}`.
    rest: Option<String>,
}

impl Rooms {
    /// For a route that uses the hub like this.
    #[must_use]
    pub fn new(route: &Route, hub: HubRoute) -> Self {
        let last = route.path.rsplit('/').next().unwrap_or_default();
        let rest = last.strip_prefix("{*").and_then(|name| name.strip_suffix('}'));
        Self {
            route: hub,
            subprotocol: route.subprotocol.clone(),
            max_message: route.max_buffered_message.min(route.max_message),
            backlog: route.backlog,
            rest: rest.map(str::to_owned),
        }
    }

    /// What a request asks for.
    fn asked(&self, request: &Request<'_>) -> Result<Admission, Refusal> {
        let has_commands = self.has_commands(request);
        let events = self.route.events || has_commands;
        let (topic, user) = (self.topic(request)?, self.user(request)?);
        let rights = Rights::new(&self.route, request.permissions(), user.as_ref());
        if topic.as_ref().is_some_and(|topic| !rights.may_subscribe(topic, true)) {
            return Err(NotAdmitted::Topic.into());
        }
        let past = if events { query::past(request)? } else { None };
        let how = Subscribing { events, past, publishes: true, ..Subscribing::default() };
        let topics = topic.into_iter().map(|topic| Joining { topic, how: how.clone() }).collect();
        let subprotocol = has_commands.then_some(PROTOCOL);
        let state = if has_commands { speaking::HAS_COMMANDS } else { 0 };
        Ok(Admission { user, events, topics, subprotocol, state, ..Admission::default() })
    }

    /// Whether who asks is to speak commands: it offers that, and its route selects nothing else.
    fn has_commands(&self, request: &Request<'_>) -> bool {
        match &self.subprotocol {
            None => router::offers(request, PROTOCOL),
            Some(selected) => selected == PROTOCOL,
        }
    }

    /// The topic that a request's path stands for; `None` if the route has none.
    fn topic(&self, request: &Request<'_>) -> Result<Option<Name>, Refusal> {
        let Some(template) = &self.route.topic else { return Ok(None) };
        let mut name = String::new();
        for part in HubRoute::parts(template).map_err(|_| Refusal::InvalidTopic)? {
            match part {
                TemplatePart::Literal(text) => name.push_str(text),
                TemplatePart::Name(part) => {
                    let value = request.parameter(part).unwrap_or_default();
                    // An escaped slash would lead to a topic that another path stands for, which
                    // may not be open to this peer.
                    if value.contains('/') && self.rest.as_deref() != Some(part) {
                        return Err(Refusal::InvalidTopic);
                    }
                    name.push_str(&value);
                }
            }
        }
        Name::new(&name).map(Some).map_err(|_| Refusal::InvalidTopic)
    }

    /// The user that a request names; `None` if it names none.
    fn user(&self, request: &Request<'_>) -> Result<Option<Name>, Refusal> {
        let named = match &self.route.user {
            None => return Ok(request.user().cloned()),
            Some(UserSource::Query(key)) => {
                only(request.query_values(key), Refusal::DuplicateUser)?
                    .map(|value| value.map(Cow::into_owned).map_err(|_| NameError::NotUtf8))
            }
            // A proxy that adds its line behind the peer's own would be told the peer's.
            Some(UserSource::Header(name)) => {
                only(request.header_values(name), Refusal::DuplicateUser)?.map(|value| {
                    let text = std::str::from_utf8(value).map_err(|_| NameError::NotUtf8)?;
                    Ok(text.trim().to_owned())
                })
            }
        };
        let named = named.map(|text| text.and_then(|text| Name::new(&text)));
        named.transpose().map_err(|_| Refusal::InvalidUser)
    }
}

impl Handler for Rooms {
    fn wants(&self) -> Wants {
        Wants::Whole
    }

    fn request(&mut self, request: &Request<'_>, _desk: &mut Desk<'_>) -> Decision {
        self.asked(request).map_or_else(Decision::Refuse, Decision::Admit)
    }

    fn opened(&mut self, context: &mut Context<'_, '_>, _admission: Admission) {
        if speaking::has_commands(context) {
            self.say_hello(context);
        }
    }

    fn message(&mut self, context: &mut Context<'_, '_>, piece: Piece<'_>) {
        if speaking::has_commands(context) {
            return self.command(context, &piece);
        }
        let topic = context.publishing_topic();
        let topic = topic.filter(|topic| rights::may_publish(context, &self.route, topic));
        let Some(topic) = topic else {
            return context.close(Cause::Forbidden);
        };
        let how = Publishing { key: None, not_to_self: !self.route.own };
        if context.publish_piece(&Target::Topic(topic), &piece, how).is_err() {
            context.close(Cause::NoRoom);
        }
    }

    fn event(&mut self, context: &mut Context<'_, '_>, event: Event<'_>) {
        if !speaking::has_commands(context) {
            return;
        }
        match event {
            Event::Answered { tag, topic, outcome } => self.answered(context, tag, topic, outcome),
            Event::Renewed { tag, renewed } => self.renewed(context, tag, renewed),
            Event::Told(_) => {}
        }
    }

    /// It keeps nothing: the user and the topics of a connection are the hub's.
    fn export(&self, _state: u32, _out: &mut Vec<u8>) {}

    fn import(&mut self, bytes: &[u8]) -> Result<u32, ImportError> {
        ImportError::unless_empty(bytes).map(|()| 0)
    }
}

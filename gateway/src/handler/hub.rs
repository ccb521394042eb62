//! The handler `hub`: what a connection sends is published on its topic, what is published there is
//! delivered to it.

use percent_encoding::percent_decode_str;
use tidegate_proto::http::RequestHead;

use super::{
    Admission, Context, Decision, Desk, Handler, ImportError, Joining, Piece, Publishing, Refusal,
    Wants,
};
use crate::config::{HubRoute, Publishers, TemplatePart, UserSource, normal_path};
use crate::hub::{Cause, Past, Subscribing, Target};
use crate::names::{Name, NameError, Position};

/// Rooms, by the path: the embedded publish and subscribe.
pub struct Rooms {
    route: HubRoute,
    path: matchit::Router<()>,
    /// The name of the path's last part, if that stands for all that is left: `{*rest}`.
    rest: Option<String>,
}

impl Rooms {
    /// For a route of this path pattern.
    ///
    /// # Panics
    /// The path is no pattern.
    #[must_use]
    pub fn new(path: &str, route: HubRoute) -> Self {
        let mut router = matchit::Router::new();
        router.insert(path, ()).expect("the configuration's patterns were checked");
        let last = path.rsplit('/').next().unwrap_or_default();
        let rest = last.strip_prefix("{*").and_then(|name| name.strip_suffix('}'));
        Self { route, path: router, rest: rest.map(str::to_owned) }
    }

    /// What a request asks for.
    fn asked(&self, head: &RequestHead<'_>) -> Result<Admission, Refusal> {
        let events = self.route.events;
        let (topic, user) = (self.topic(head.path())?, self.user(head)?);
        let how = Subscribing {
            events,
            past: self.since(head)?.map(Past::Since),
            publishes: true,
            ..Subscribing::default()
        };
        let topics = topic.into_iter().map(|topic| Joining { topic, how: how.clone() }).collect();
        Ok(Admission { user, events, topics, ..Admission::default() })
    }

    /// The position that a request wants to go on from; `None` if it names none, or hears of none.
    fn since(&self, head: &RequestHead<'_>) -> Result<Option<Position>, Refusal> {
        if !self.route.events {
            return Ok(None);
        }
        let named = only(query_values(head, "since"), Refusal::DuplicatePosition)?;
        Ok(named.map(position))
    }

    /// The topic that a path stands for; `None` if the route has none.
    fn topic(&self, path: &str) -> Result<Option<Name>, Refusal> {
        let Some(template) = &self.route.topic else { return Ok(None) };
        let path = normal_path(path);
        let found = self.path.at(&path).map_err(|_| Refusal::InvalidTopic)?;
        let mut name = String::new();
        for part in HubRoute::parts(template).map_err(|_| Refusal::InvalidTopic)? {
            match part {
                TemplatePart::Literal(text) => name.push_str(text),
                TemplatePart::Name(part) => {
                    let value = decoded(found.params.get(part).unwrap_or(""))
                        .map_err(|_| Refusal::InvalidTopic)?;
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
    fn user(&self, head: &RequestHead<'_>) -> Result<Option<Name>, Refusal> {
        let named = match &self.route.user {
            None => return Ok(None),
            // RFC 1866 section 8.2.1, and every browser: a `+` in a query is a space.
            Some(UserSource::Query(key)) => only(query_values(head, key), Refusal::DuplicateUser)?
                .map(|value| decoded(&value.replace('+', " "))),
            // A proxy that adds its line behind the peer's own would be told the peer's.
            Some(UserSource::Header(name)) => {
                only(head.header_values(name), Refusal::DuplicateUser)?.map(|value| {
                    let text = std::str::from_utf8(value).map_err(|_| NameError::NotUtf8)?;
                    Ok(text.trim().to_owned())
                })
            }
        };
        let named = named.map(|text| text.and_then(|text| Name::new(&text)));
        named.transpose().map_err(|_| Refusal::InvalidUser)
    }

    fn may_publish(&self, context: &Context<'_, '_>) -> bool {
        match self.route.publish {
            Publishers::Anyone => true,
            Publishers::Users => context.user().is_some(),
            Publishers::Nobody => false,
        }
    }
}

impl Handler for Rooms {
    fn wants(&self) -> Wants {
        Wants::Whole
    }

    fn request(&mut self, head: &RequestHead<'_>, _desk: &mut Desk<'_>) -> Decision {
        self.asked(head).map_or_else(Decision::Refuse, Decision::Admit)
    }

    fn message(&mut self, context: &mut Context<'_, '_>, piece: Piece<'_>) {
        let topic = context.publishing_topic().filter(|_| self.may_publish(context));
        let Some(topic) = topic else {
            return context.close(Cause::Forbidden);
        };
        let how = Publishing { key: None, not_to_self: !self.route.own };
        if context.publish_piece(&Target::Topic(topic), &piece, how).is_err() {
            context.close(Cause::NoRoom);
        }
    }

    /// It keeps nothing: the user and the topics of a connection are the hub's.
    fn export(&self, _state: u32, _out: &mut Vec<u8>) {}

    fn import(&mut self, bytes: &[u8]) -> Result<u32, ImportError> {
        ImportError::unless_empty(bytes).map(|()| 0)
    }
}

/// The values of `key`, which needs no escapes, in the query, as they were sent; empty where it
/// stands without a `=`. Its name may be sent with needless escapes, as a path may.
fn query_values<'h>(head: &RequestHead<'h>, key: &str) -> impl Iterator<Item = &'h str> {
    let pairs = head.query().unwrap_or_default().split('&');
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.filter(move |(name, _)| normal_path(name) == key).map(|(_, value)| value)
}

/// The only one of what may be there once, or what is said if there are more.
fn only<T>(mut values: impl Iterator<Item = T>, more: Refusal) -> Result<Option<T>, Refusal> {
    match (values.next(), values.next()) {
        (first, None) => Ok(first),
        (_, Some(_)) => Err(more),
    }
}

/// Reads `EPOCH:OFFSET`. What is something else was never told to a client, which has to hear of
/// it: it is taken for the start of another epoch, so that the answer is a gap and all that is
/// kept.
fn position(text: &str) -> Position {
    let read = || {
        let text = decoded(text).ok()?;
        let (epoch, offset) = text.split_once(':')?;
        Some(Position { epoch: Position::parse_epoch(epoch)?, offset: offset.parse().ok()? })
    };
    // Should a topic have drawn this epoch, then behind its start is all that was published.
    read().unwrap_or(Position { epoch: 0, offset: 0 })
}

fn decoded(text: &str) -> Result<String, NameError> {
    let text = percent_decode_str(text).decode_utf8().map_err(|_| NameError::NotUtf8)?;
    Ok(text.into_owned())
}

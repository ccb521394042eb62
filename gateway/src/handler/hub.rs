//! The handler `hub`: what a connection sends is published on its topic, what is published there is
//! delivered to it.

use percent_encoding::percent_decode_str;
use tidegate_proto::close::CloseCode;
use tidegate_proto::handshake::server::Rejection;
use tidegate_proto::http::RequestHead;

use super::{Answer, Context, Delivery, Handler, Piece, Publishing};
use crate::config::{HubRoute, Part, Publishers, UserSource};
use crate::hub::{Name, NameError, Position, Subscribing, Target};

/// Rooms, by the path: the embedded publish and subscribe.
pub struct Rooms {
    route: HubRoute,
    path: matchit::Router<()>,
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
        Self { route, path: router }
    }

    /// The topic that a path stands for; `None` if the route has none.
    fn topic(&self, path: &str) -> Result<Option<Name>, NameError> {
        let Some(template) = &self.route.topic else { return Ok(None) };
        let found = self.path.at(path).map_err(|_| NameError::Empty)?;
        let mut name = String::new();
        for part in HubRoute::parts(template).map_err(|_| NameError::Empty)? {
            match part {
                Part::Literal(text) => name.push_str(text),
                Part::Name(part) => name.push_str(&decoded(found.params.get(part).unwrap_or(""))?),
            }
        }
        Name::new(&name).map(Some)
    }

    /// The user that a request names; `None` if it names none.
    fn user(&self, head: &RequestHead<'_>) -> Result<Option<Name>, NameError> {
        let named = match &self.route.user {
            None => return Ok(None),
            Some(UserSource::Query(key)) => {
                let Some(value) = query(head, key) else { return Ok(None) };
                // RFC 1866 section 8.2.1, and every browser: a `+` in a query is a space.
                decoded(&value.replace('+', " "))?
            }
            Some(UserSource::Header(name)) => match head.header_values(name).next() {
                None => return Ok(None),
                Some(value) => {
                    let text = std::str::from_utf8(value).map_err(|_| NameError::NotUtf8)?;
                    text.trim().to_owned()
                }
            },
        };
        Name::new(&named).map(Some)
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
    fn delivery(&self) -> Delivery {
        Delivery::Whole
    }

    fn request(&mut self, head: &RequestHead<'_>) -> Answer {
        match self.topic(head.path()).and(self.user(head)) {
            Ok(_) => Answer::Upgrade,
            Err(_) => Answer::Refuse(Rejection::NotFound),
        }
    }

    fn open(&mut self, context: &mut Context<'_, '_>, head: &RequestHead<'_>) {
        // `request` has let only such through whose names are right.
        let (Ok(topic), Ok(user)) = (self.topic(head.path()), self.user(head)) else {
            return context.close(CloseCode::POLICY_VIOLATION);
        };
        let events = self.route.events;
        let since = query(head, "since").and_then(position).filter(|_| events);
        let how = Subscribing { events, since, publishes: true, ..Subscribing::default() };
        let user = user.map_or(Ok(()), |user| context.set_user(&user, events));
        let subscribed =
            user.and_then(|()| topic.map_or(Ok(()), |topic| context.subscribe(&topic, how)));
        if subscribed.is_err() {
            context.close(CloseCode::TRY_AGAIN_LATER);
        }
    }

    fn message(&mut self, context: &mut Context<'_, '_>, piece: Piece) {
        let topic = context.publishing_topic().filter(|_| self.may_publish(context));
        let Some(topic) = topic else {
            return context.close(CloseCode::POLICY_VIOLATION);
        };
        let how = Publishing { key: None, not_to_self: !self.route.own };
        if context.publish_piece(&Target::Topic(topic), &piece, how).is_err() {
            context.close(CloseCode::TRY_AGAIN_LATER);
        }
    }
}

/// The value of `key` in the query, as it was sent.
fn query<'h>(head: &RequestHead<'h>, key: &str) -> Option<&'h str> {
    let pairs = head.query()?.split('&');
    pairs.filter_map(|pair| pair.split_once('=')).find(|(name, _)| *name == key).map(|(_, v)| v)
}

/// Reads `EPOCH:OFFSET`.
fn position(text: &str) -> Option<Position> {
    let (epoch, offset) = text.split_once(':').or_else(|| text.split_once("%3A"))?;
    Some(Position { epoch: Position::parse_epoch(epoch)?, offset: offset.parse().ok()? })
}

fn decoded(text: &str) -> Result<String, NameError> {
    let text = percent_decode_str(text).decode_utf8().map_err(|_| NameError::NotUtf8)?;
    Ok(text.into_owned())
}

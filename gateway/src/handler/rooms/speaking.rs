//! Commands are carried out, and answered.

use super::answers::{self, ClientEvent, Lengths, written};
use super::commands::{self, ClientCommand, Mistake, Wish, Wrong};
use super::{MistakeCode, PROTOCOL, Rooms, rights};
use crate::checks::Renewed;
use crate::handler::{Context, Kind, Piece, Publishing};
use crate::hub::{CalendarTime, Content, Errand, NotDone, Outcome, Past, Subscribing, Target};
use crate::names::Name;

/// In a connection's 32 bits: it speaks commands. The low bits count those that are unanswered.
pub(super) const HAS_COMMANDS: u32 = 1 << 31;
const UNANSWERED: u32 = 0xffff;

/// Bytes of an answer with several things in its list, at most: who asks goes on from its end, and
/// each is put together, and perhaps compressed, at a cost that its asker has not paid.
const LIST_BYTES: usize = 64 << 10;

/// What is published.
struct Publishable {
    topic: Option<Name>,
    content: Content,
    key: Option<Name>,
    once: Option<Box<str>>,
}

/// What is subscribed to.
struct WantedTopic {
    topic: Name,
    past: Option<Past>,
    resume: Option<Box<str>>,
}

/// What of a topic's past, or of who is there, is asked for.
struct TopicErrand {
    topic: Name,
    errand: Errand,
}

pub(super) fn has_commands(context: &Context<'_, '_>) -> bool {
    context.state() & HAS_COMMANDS != 0
}

/// Whether a command came whose answer takes more than this call.
fn counted(context: &mut Context<'_, '_>, id: Option<u32>) {
    if id.is_some() {
        context.set_state(context.state() + 1);
    }
}

/// A command is answered that was counted.
fn answered(context: &mut Context<'_, '_>, id: Option<u32>) {
    let state = context.state();
    if id.is_some() && state & UNANSWERED > 0 {
        context.set_state(state - 1);
    }
}

/// For how many seconds the token holds, if it ends.
fn token_left(context: &Context<'_, '_>) -> Option<u64> {
    context.token_left().map(|left| left.as_secs())
}

/// Says what has come of a fresh token.
fn say_renewed(context: &mut Context<'_, '_>, id: Option<u32>, renewed: Renewed) {
    let event = match (renewed, id) {
        (Ok(_), Some(id)) => ClientEvent::Refreshed { id, token_left: token_left(context) },
        // Nobody wants to know.
        (Ok(_), None) => return,
        (Err(why), id) => {
            let (code, message) = (MistakeCode::of_renewal(why), why.reason().into());
            ClientEvent::Error { id, code, message }
        }
    };
    say(context, &written(&event));
}

fn say(context: &mut Context<'_, '_>, text: &str) {
    // What cannot be said ends the connection, and the shard knows why.
    let _ = context.send_text(text);
}

impl Rooms {
    /// What a connection that speaks commands is told first.
    pub(super) fn say_hello(&self, context: &mut Context<'_, '_>) {
        let user = context.user();
        let hello = written(&ClientEvent::Hello {
            protocol: PROTOCOL,
            connection: context.id().to_string(),
            user: user.as_ref().map(Name::as_str),
            time: CalendarTime(context.calendar()),
            own: self.route.own,
            max_message: self.max_message,
            commands: self.route.commands,
            resume_age: context.resume_age().as_secs(),
            idempotency_age: context.idempotency_age().as_secs(),
            token_left: token_left(context),
        });
        say(context, &hello);
    }

    /// A message came on a connection that speaks commands.
    pub(super) fn command(&self, context: &mut Context<'_, '_>, piece: &Piece<'_>) {
        let done = match std::str::from_utf8(context.bytes(piece)) {
            Ok(text) if piece.kind == Kind::Text => match commands::parse(text) {
                Ok(ClientCommand { id, what }) => self
                    .carry_out(context, id, what)
                    .map_err(|(code, message)| Mistake { id, code, message }),
                Err(mistake) => Err(mistake),
            },
            _ => Err(Mistake {
                id: None,
                code: MistakeCode::BadCommand,
                message: "a command is a text message".into(),
            }),
        };
        if let Err(Mistake { id, code, message }) = done {
            say(context, &written(&ClientEvent::Error { id, code, message }));
        }
    }

    /// What was asked of the hub for a command has come to this.
    pub(super) fn answered(
        &self,
        context: &mut Context<'_, '_>,
        tag: Option<u32>,
        topic: &Name,
        outcome: &Outcome,
    ) {
        answered(context, tag);
        let topic = topic.as_str();
        let usual = LIST_BYTES.min(self.max_message as usize);
        let lengths = Lengths { usual, most: self.backlog as usize };
        let answer = match (outcome, tag) {
            (Outcome::NotDone(not_done), id) => {
                let (code, message) = MistakeCode::of(*not_done);
                written(&ClientEvent::Error { id, code, message: message.into() })
            }
            (Outcome::Published(published), Some(id)) => answers::published(id, topic, *published),
            (Outcome::Presence(presence), Some(id)) => {
                answers::members(id, topic, presence, lengths)
            }
            (Outcome::History(excerpt), Some(id)) => answers::history(id, topic, excerpt, lengths),
            // What has come of a subscription was told among what is published.
            _ => return,
        };
        say(context, &answer);
    }

    /// What has come of a fresh token that had to be verified first.
    pub(super) fn renewed(&self, context: &mut Context<'_, '_>, tag: Option<u32>, done: Renewed) {
        answered(context, tag);
        say_renewed(context, tag, done);
    }

    fn carry_out(
        &self,
        context: &mut Context<'_, '_>,
        id: Option<u32>,
        what: Wish,
    ) -> Result<(), Wrong> {
        if what == Wish::Ping {
            let time = CalendarTime(context.calendar());
            say(context, &written(&ClientEvent::Pong { id, time }));
            return Ok(());
        }
        if id.is_some() && context.state() & UNANSWERED >= u32::from(self.route.commands) {
            let most = self.route.commands;
            let message = format!("{most} commands are unanswered, as many as may be");
            return Err((MistakeCode::TooManyCommands, message.into()));
        }
        match what {
            Wish::Ping => Ok(()),
            Wish::Refresh { token } => {
                match context.renew_token(&token, id) {
                    Some(renewed) => say_renewed(context, id, renewed),
                    None => counted(context, id),
                }
                Ok(())
            }
            Wish::Subscribe { topic, past, resume } => {
                self.subscribe(context, id, WantedTopic { topic, past, resume })
            }
            Wish::Unsubscribe { topic } => self.unsubscribe(context, id, &topic),
            Wish::Publish { topic, content, key, once } => {
                self.publish(context, id, Publishable { topic, content, key, once })
            }
            Wish::Presence { topic, limit } => {
                let errand = Errand::Presence { topic: topic.clone(), limit: limit.into() };
                self.ask(context, id, TopicErrand { topic, errand })
            }
            Wish::History { topic, past, limit } => {
                let limit = match past {
                    Some(Past::Last(last)) => last,
                    _ => limit,
                };
                let errand = Errand::History { topic: topic.clone(), past, limit: limit.into() };
                self.ask(context, id, TopicErrand { topic, errand })
            }
        }
    }

    fn subscribe(
        &self,
        context: &mut Context<'_, '_>,
        id: Option<u32>,
        wanted: WantedTopic,
    ) -> Result<(), Wrong> {
        let WantedTopic { topic, past, resume } = wanted;
        let how = Subscribing { tag: id, ..Subscribing::default().with_events(past) };
        let resumed = match resume {
            Some(token) => context.resume(&topic, &token, how.clone()),
            None => Err(NotDone::Unknown),
        };
        match resumed {
            Err(NotDone::Unknown)
                if !rights::may_subscribe(context, &self.route, &topic)
                    && !context.is_subscribed(&topic) =>
            {
                return Err(not_allowed("this route does not let you subscribe to", &topic));
            }
            Err(NotDone::Unknown) => context.subscribe(&topic, how).map_err(said)?,
            resumed => resumed.map_err(said)?,
        }
        counted(context, id);
        Ok(())
    }

    fn unsubscribe(
        &self,
        context: &mut Context<'_, '_>,
        id: Option<u32>,
        topic: &Name,
    ) -> Result<(), Wrong> {
        let none = || (MistakeCode::NotSubscribed, "there is no such subscription".into());
        match id {
            None => context.unsubscribe(topic).then_some(()).ok_or_else(none),
            Some(tag) => match context.unsubscribe_with(topic, tag) {
                Ok(()) => {
                    counted(context, id);
                    Ok(())
                }
                Err(NotDone::Unknown) => Err(none()),
                Err(not_done) => Err(said(not_done)),
            },
        }
    }

    fn publish(
        &self,
        context: &mut Context<'_, '_>,
        id: Option<u32>,
        what: Publishable,
    ) -> Result<(), Wrong> {
        let Publishable { topic, content, key, once } = what;
        let Some(topic) = topic.or_else(|| context.publishing_topic()) else {
            let message = "the connection is not on a topic of its route: say which `topic`";
            return Err((MistakeCode::NotSubscribed, message.into()));
        };
        if !rights::may_publish(context, &self.route, &topic) {
            return Err(not_allowed("this route does not let you publish on", &topic));
        }
        let how = Publishing { key, not_to_self: !self.route.own };
        let publication = context.publication(content, how).map_err(said)?;
        let errand = match once {
            Some(key) => Errand::PublishOnce(topic, publication, key),
            None => Errand::Publish(Target::Topic(topic), publication),
        };
        context.ask(errand, id).map_err(said)?;
        counted(context, id);
        Ok(())
    }

    fn ask(
        &self,
        context: &mut Context<'_, '_>,
        id: Option<u32>,
        asked: TopicErrand,
    ) -> Result<(), Wrong> {
        let TopicErrand { topic, errand } = asked;
        if !context.is_subscribed(&topic) && !rights::may_subscribe(context, &self.route, &topic) {
            return Err(not_allowed("this route does not let you ask about", &topic));
        }
        if id.is_none() {
            // Nobody wants to know.
            return Ok(());
        }
        context.ask(errand, id).map_err(said)?;
        counted(context, id);
        Ok(())
    }
}

fn not_allowed(what: &str, topic: &Name) -> Wrong {
    (MistakeCode::NotAllowed, format!("{what} {:?}", topic.as_str()).into())
}

fn said(not_done: NotDone) -> Wrong {
    let (code, message) = MistakeCode::of(not_done);
    (code, message.into())
}

//! Any bytes as what a client says by `tidegate.v1`, and as a pattern of topics.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tidegate::config::TopicPattern;
use tidegate::handler::commands::{ClientCommand, Mistake, Wish, parse};
use tidegate::hub::{Content, Past};
use tidegate::names::{Name, Position};

use super::Parameters;

/// What is said of a mistake at most, in bytes.
const SAID_MAX: usize = 256;

/// The first byte says what the rest is: a command if it is even, else a pattern, a topic and a
/// user, with a line feed between them.
///
/// # Panics
/// A command is read otherwise once it is written anew, or a pattern matches what it should not.
pub fn commands(data: &[u8]) {
    let mut parameters = Parameters(data);
    let is_command = parameters.byte().is_multiple_of(2);
    let Ok(text) = std::str::from_utf8(parameters.rest()) else { return };
    if is_command { command(text) } else { pattern(text) }
}

fn command(text: &str) {
    match parse(text) {
        Ok(read) => {
            if let Wish::Publish { content: Content::Json(json), .. } = &read.what {
                let all = serde_json::from_str::<serde_json::Value>(&json.to_str());
                assert!(all.is_ok(), "not every reader reads {json:?}: {all:?}");
            }
            let again = written(&read);
            assert_eq!(parse(&again).as_ref(), Ok(&read), "written as {again}");
        }
        Err(Mistake { message, .. }) => {
            assert!(!message.is_empty() && message.len() <= SAID_MAX, "{message:?}");
        }
    }
}

/// A command as JSON, with all that was left out.
fn written(command: &ClientCommand) -> String {
    let ClientCommand { id, what } = command;
    let mut members = Vec::new();
    let mut add = |name: &str, value: serde_json::Value| members.push(format!("{name:?}:{value}"));
    if let Some(id) = id {
        add("id", json!(id));
    }
    let past_of = |past: &Option<Past>| match past {
        None => None,
        Some(Past::Last(count)) => Some(("last", json!(count))),
        Some(Past::Since(position)) => Some(("since", json!(position_text(*position)))),
    };
    let mut raw = None;
    match what {
        Wish::Ping => add("type", json!("ping")),
        Wish::Refresh { token } => {
            add("type", json!("refresh"));
            add("token", json!(token));
        }
        Wish::Subscribe { topic, past, resume } => {
            add("type", json!("subscribe"));
            add("topic", json!(topic.as_str()));
            past_of(past).into_iter().for_each(|(name, value)| add(name, value));
            resume.iter().for_each(|resume| add("resume", json!(resume)));
        }
        Wish::Unsubscribe { topic } => {
            add("type", json!("unsubscribe"));
            add("topic", json!(topic.as_str()));
        }
        Wish::Publish { topic, content, key, once } => {
            add("type", json!("publish"));
            topic.iter().for_each(|topic| add("topic", json!(topic.as_str())));
            key.iter().for_each(|key| add("key", json!(key.as_str())));
            once.iter().for_each(|once| add("idempotency_key", json!(once)));
            match content {
                Content::Text(text) => add("text", json!(text.to_str())),
                Content::Bytes(bytes) => add("binary", json!(STANDARD.encode(bytes))),
                // It stays as it stands.
                Content::Json(json) => raw = Some(format!("\"json\":{}", json.to_str())),
            }
        }
        Wish::Presence { topic, limit } => {
            add("type", json!("presence"));
            add("topic", json!(topic.as_str()));
            add("limit", json!(limit));
        }
        Wish::History { topic, past, limit } => {
            add("type", json!("history"));
            add("topic", json!(topic.as_str()));
            past_of(past).into_iter().for_each(|(name, value)| add(name, value));
            add("limit", json!(limit));
        }
    }
    members.extend(raw);
    format!("{{{}}}", members.join(","))
}

fn position_text(position: Position) -> String {
    format!("{}:{}", position.epoch_text(), position.offset)
}

/// What a pattern consists of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Letter(char),
    /// One character or more, but no slash.
    Star,
    /// The user's name.
    User,
    /// All that is left.
    Rest,
}

fn pattern(text: &str) {
    let mut lines = text.splitn(3, '\n');
    let wanted = lines.next().unwrap_or_default();
    let topic = lines.next().unwrap_or_default();
    let user = lines.next().filter(|user| Name::new(user).is_ok());
    let tokens = Name::new(wanted).ok().and_then(|_| tokens(wanted));
    match (TopicPattern::new(wanted), tokens) {
        (Ok(pattern), Some(tokens)) => {
            assert_eq!(pattern.needs_user(), tokens.contains(&Token::User), "{wanted:?}");
            let expected = naive(&tokens, topic, user);
            let matches = pattern.matches(topic, user);
            assert_eq!(matches, expected, "{wanted:?} of {topic:?} for {user:?}");
        }
        (Err(why), None) => assert!(!why.is_empty()),
        (read, tokens) => panic!("{wanted:?} is {read:?}, and a pattern: {}", tokens.is_some()),
    }
}

/// The tokens of a pattern; `None` if it is none.
fn tokens(mut text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    while let Some(letter) = text.chars().next() {
        let mut length = letter.len_utf8();
        tokens.push(match letter {
            '*' if text == "**" => {
                let is_alone = matches!(tokens.last(), None | Some(Token::Letter('/')));
                length = 2;
                Some(Token::Rest).filter(|_| is_alone)?
            }
            '*' if text.starts_with("**") => return None,
            '*' => Token::Star,
            '{' if text.starts_with("{user}") => {
                length = "{user}".len();
                Token::User
            }
            '{' | '}' => return None,
            letter => Token::Letter(letter),
        });
        text = &text[length..];
    }
    Some(tokens)
}

/// Whether a topic is one of a pattern's, letter by letter.
fn naive(tokens: &[Token], topic: &str, user: Option<&str>) -> bool {
    let user = user.filter(|user| !user.contains('/'));
    let mut all = Vec::new();
    for token in tokens {
        match (token, user) {
            (Token::User, None) => return false,
            (Token::User, Some(user)) => all.extend(user.chars().map(Token::Letter)),
            (token, _) => all.push(*token),
        }
    }
    // Which beginnings of the topic are matched by the tokens so far.
    let letters: Vec<char> = topic.chars().collect();
    let mut reached = vec![false; letters.len() + 1];
    reached[0] = true;
    for token in all {
        let mut next = vec![false; letters.len() + 1];
        for (at, letter) in letters.iter().enumerate() {
            let goes_on = reached[at] || next[at];
            next[at + 1] = match token {
                Token::Letter(wanted) => reached[at] && wanted == *letter,
                Token::Star => goes_on && *letter != '/',
                Token::Rest => goes_on,
                Token::User => false,
            };
        }
        reached = next;
    }
    reached[letters.len()]
}

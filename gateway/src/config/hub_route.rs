//! The handler `hub` of a route, with its options: `hub?topic=rooms/{room}&publish=users`.

use toml::Spanned;
use toml::de::DeValue;

use super::TopicPattern;
use super::built::{self, BuiltWrong};
use super::reader::expected;
use super::route::{COMMANDS, TWO_USERS};
use super::stack::StackError;
use super::stack::options::{Options, on_or_off};
use super::value;
use crate::names::Name;
use crate::units::quote;

/// The most patterns of a list.
pub(super) const PATTERNS_MAX: usize = 64;

/// How a route uses the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubRoute {
    /// The topic that a connection is subscribed to and publishes on: text, in which `{name}`
    /// stands for that part of the route's path. `None`: its connections only get what others
    /// subscribe them to, or push to them.
    pub topic: Option<String>,
    /// Who may publish by sending. Default [`Publishers::Anyone`].
    pub publish: Publishers,
    /// Whether connections get events: JSON text with topic, position, joins and leaves. Default
    /// off: messages as they were published.
    pub events: bool,
    /// Whether what a connection publishes comes back to itself. Default on.
    pub own: bool,
    /// Where a connection's user is named in its request. It is taken at its word. Default: none.
    pub user: Option<UserSource>,
    /// What a connection that speaks `tidegate.v1` may subscribe to, beside the route's own topic.
    /// Default: nothing.
    pub may_subscribe: Vec<TopicPattern>,
    /// What it may publish on, beside the route's own topic, of which `publish` says who may.
    /// Default: nothing.
    pub may_publish: Vec<TopicPattern>,
    /// How many of its commands may be unanswered at once, 1 to 1024. Default 32.
    pub commands: u16,
}

/// Who may publish on a route's topic by sending. Whoever may not is closed with 1008.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Publishers {
    /// `anyone`: all connections.
    #[default]
    Anyone,
    /// `users`: connections that have a user.
    Users,
    /// `nobody`: only those who publish by other ways.
    Nobody,
}

impl Publishers {
    /// Checks that some connection of a route may publish that asks for this: one with a topic or
    /// without, that knows its users or does not.
    ///
    /// # Errors
    /// None could.
    fn check(self, has_topic: bool, has_user: bool) -> Result<(), String> {
        let name = match self {
            Self::Nobody => return Ok(()),
            Self::Anyone => "anyone",
            Self::Users => "users",
        };
        if !has_topic {
            return Err(format!("`{name}` cannot publish without a topic: add `topic=NAME`"));
        }
        if self == Self::Users && !has_user {
            return Err(
                "no connection has a user: add `user=query.NAME` or `user=header.NAME`, or have \
                 `admission` ask for a token"
                    .into(),
            );
        }
        Ok(())
    }
}

/// Where a user is named in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserSource {
    /// `query.NAME`: in that parameter of the query.
    Query(String),
    /// `header.NAME`: in that header field.
    Header(String),
}

/// Part of a topic's template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TemplatePart<'t> {
    /// As it stands.
    Literal(&'t str),
    /// What the path has for this name.
    Name(&'t str),
}

impl Default for HubRoute {
    fn default() -> Self {
        Self {
            topic: None,
            publish: Publishers::default(),
            events: false,
            own: false,
            user: None,
            may_subscribe: Vec::new(),
            may_publish: Vec::new(),
            commands: 32,
        }
    }
}

impl HubRoute {
    /// A route whose connections are subscribed to `topic`.
    #[must_use]
    pub fn on(topic: impl Into<String>) -> Self {
        Self { topic: Some(topic.into()), own: true, ..Self::default() }
    }

    /// The parts of a template of topics.
    ///
    /// # Errors
    /// A brace stands alone.
    pub fn parts(template: &str) -> Result<Vec<TemplatePart<'_>>, String> {
        let mut parts = Vec::new();
        let mut rest = template;
        while let Some(open) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(open);
            let close = from.find('}').filter(|close| *close > 1);
            let Some(close) = close.filter(|_| from.starts_with('{')) else {
                return Err(format!("has a brace that stands alone, in {}", quote(template)));
            };
            if !before.is_empty() {
                parts.push(TemplatePart::Literal(before));
            }
            parts.push(TemplatePart::Name(&from[1..close]));
            rest = &from[close + 1..];
        }
        if !rest.is_empty() {
            parts.push(TemplatePart::Literal(rest));
        }
        Ok(parts)
    }

    /// Checks that `path`, the route's pattern, has every name of the template.
    ///
    /// # Errors
    /// One is missing.
    pub(super) fn check_names(&self, path: &str) -> Result<(), String> {
        for part in self.topic.as_deref().map(Self::parts).transpose()?.unwrap_or_default() {
            let TemplatePart::Name(name) = part else { continue };
            let (one, rest) = (format!("{{{name}}}"), format!("{{*{name}}}"));
            if !path.split('/').any(|segment| segment == one || segment == rest) {
                return Err(format!(
                    "`hub?topic`: {} is no part of the path {}: write it there, or take it out",
                    quote(&one),
                    quote(path)
                ));
            }
        }
        Ok(())
    }
}

/// Checks that some connection of a route may match a pattern: one that knows its users, or not.
///
/// # Errors
/// None could.
pub(super) fn check_pattern_user(pattern: &TopicPattern, has_user: bool) -> Result<(), String> {
    if pattern.needs_user() && !has_user {
        return Err(format!(
            "{} matches nothing, because no connection has a user: add `user=query.NAME` or \
             `user=header.NAME` to the handler, or have `admission` ask for a token",
            quote(pattern.as_str())
        ));
    }
    Ok(())
}

/// Reads a list of patterns of topics, on a route whose connections may have a user or not.
pub(super) fn patterns(value: &DeValue<'_>, has_user: bool) -> Result<Vec<TopicPattern>, String> {
    let DeValue::Array(written) = value else {
        return Err(expected("an array of patterns such as [\"rooms/*\"]", value));
    };
    if written.len() > PATTERNS_MAX {
        return Err(format!("has {} patterns, and may have {PATTERNS_MAX}", written.len()));
    }
    let pattern = |one: &Spanned<DeValue<'_>>| {
        let pattern = TopicPattern::new(value::text(one.get_ref())?)?;
        check_pattern_user(&pattern, has_user).map(|()| pattern)
    };
    written.iter().map(pattern).collect()
}

/// Reads `hub` or `hub?OPTIONS`. What is refused reads as its default; the `errors` say where in
/// the whole it is.
///
/// `has_users`: what is checked of requests says who their users are.
pub(super) fn parse(
    options: Option<&str>,
    has_users: bool,
    errors: &mut Vec<StackError>,
) -> HubRoute {
    let mut options = Options::new("hub", options, "hub?".len(), errors);
    let (has_topic, has_user) = (options.has("topic"), has_users || options.has("user"));
    let route = HubRoute {
        topic: options.read("topic", None, |text| topic(text).map(Some)),
        publish: options.read("publish", Publishers::Anyone, |text| {
            publishers(text)
                .and_then(|publish| publish.check(has_topic, has_user).map(|()| publish))
        }),
        events: options.read("events", false, on_or_off),
        own: options.read("own", true, on_or_off),
        user: options.read("user", None, |text| match has_users {
            true => Err(TWO_USERS.into()),
            false => user(text).map(Some),
        }),
        ..HubRoute::default()
    };
    options.finish();
    route
}

fn topic(text: &str) -> Result<String, String> {
    HubRoute::parts(text)?;
    Name::new(text).map(|_| text.into()).map_err(|wrong| wrong.to_string())
}

fn publishers(text: &str) -> Result<Publishers, String> {
    match text {
        "anyone" => Ok(Publishers::Anyone),
        "users" => Ok(Publishers::Users),
        "nobody" => Ok(Publishers::Nobody),
        _ => Err(format!("must be `anyone`, `users` or `nobody`, is {}", quote(text))),
    }
}

fn user(text: &str) -> Result<UserSource, String> {
    let is_word = |name: &str| {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
        (1..=64).contains(&name.len()) && name.chars().all(plain)
    };
    match text.split_once('.') {
        Some(("query", name)) if is_word(name) => Ok(UserSource::Query(name.into())),
        Some(("header", name)) if is_word(name) => Ok(UserSource::Header(name.into())),
        _ => Err(format!("must be `query.NAME` or `header.NAME`, is {}", quote(text))),
    }
}

/// Checks what a program lets those do who speak `tidegate.v1`.
pub(super) fn check_commanded(
    field: &str,
    hub: &HubRoute,
    has_users: bool,
) -> Result<(), BuiltWrong> {
    if hub.user.is_some() && has_users {
        return Err(BuiltWrong(format!("{field}.handler: `hub?user`: {TWO_USERS}")));
    }
    built::number(format!("{field}.handler.commands"), hub.commands, &COMMANDS)?;
    for (key, patterns) in
        [("may_subscribe", &hub.may_subscribe), ("may_publish", &hub.may_publish)]
    {
        let field = format!("{field}.handler.{key}");
        if patterns.len() > PATTERNS_MAX {
            return Err(BuiltWrong(format!("{field}: at most {PATTERNS_MAX} patterns")));
        }
        for pattern in patterns {
            check_pattern_user(pattern, has_users || hub.user.is_some())
                .map_err(|wrong| BuiltWrong(format!("{field}: {wrong}")))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The route, or what is wrong with it: each message behind the byte that it points to.
    fn read(options: Option<&str>) -> Result<HubRoute, Vec<(usize, String)>> {
        let mut errors = Vec::new();
        let route = parse(options, false, &mut errors);
        let told = errors.into_iter().map(|error| (error.offset, error.message));
        let told: Vec<(usize, String)> = told.collect();
        if told.is_empty() { Ok(route) } else { Err(told) }
    }

    #[test]
    fn with_all_options_and_with_none() {
        assert_eq!(read(None), Ok(HubRoute { own: true, ..HubRoute::default() }));
        let all = "topic=rooms/{room}&publish=users&events=on&own=off&user=query.name";
        let route = HubRoute {
            topic: Some("rooms/{room}".into()),
            publish: Publishers::Users,
            events: true,
            own: false,
            user: Some(UserSource::Query("name".into())),
            ..HubRoute::default()
        };
        assert_eq!(read(Some(all)), Ok(route));
    }

    #[test]
    fn parts_of_a_template() {
        let parts = HubRoute::parts("a/{b}/c{d}").expect("a template");
        let expected = [
            TemplatePart::Literal("a/"),
            TemplatePart::Name("b"),
            TemplatePart::Literal("/c"),
            TemplatePart::Name("d"),
        ];
        assert_eq!(parts, expected);
        for wrong in ["{", "}", "a{}", "{a", "a}", "}{"] {
            assert!(HubRoute::parts(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (options, said) in [
            ("topic=", "`hub?topic`: the name is empty"),
            ("publish=me", "`hub?publish`: must be `anyone`, `users` or `nobody`, is \"me\""),
            ("own=1", "`hub?own`: must be `on` or `off`"),
            ("user=cookie.x", "`hub?user`: must be `query.NAME` or `header.NAME`"),
            ("publish=users&topic=a", "`hub?publish`: no connection has a user: add `user="),
            ("user=query.a&publish=users", "`hub?publish`: `users` cannot publish without a topic"),
            ("publish=anyone", "`hub?publish`: `anyone` cannot publish without a topic"),
            ("topics=a", "\"topics\" is not an option of `hub`"),
        ] {
            let errors = read(Some(options)).expect_err(options);
            assert_eq!(errors.len(), 1, "{errors:?}");
            assert!(errors[0].1.starts_with(said), "{options}: {errors:?}");
        }
        let route = HubRoute::on("rooms/{room}");
        assert_eq!(route.check_names("/rooms/{room}"), Ok(()));
        assert_eq!(route.check_names("/{*room}"), Ok(()));
        assert!(route.check_names("/rooms/{name}").is_err());
    }

    #[test]
    fn all_that_is_wrong_is_said_with_its_place() {
        assert_eq!(read(Some("publish=nobody")).map(|route| route.publish), Ok(Publishers::Nobody));
        let errors = read(Some("topic=a&own=1&evnets=on&user=me")).expect_err("three mistakes");
        let places: Vec<usize> = errors.iter().map(|(place, _)| *place).collect();
        assert_eq!(places, [16, 33, 18], "{errors:?}");
        assert!(errors[2].1.contains("`events`"), "{errors:?}");
    }
}

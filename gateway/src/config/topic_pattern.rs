//! Patterns of topics: what a route lets its connections subscribe to, and publish on.

use std::borrow::Cow;

use crate::names::Name;
use crate::units::quote;

/// A pattern of names of topics, such as `rooms/*`, `users/{user}/*` or `news/**`.
///
/// Between two slashes `*` stands for one character or more, and `{user}` for the connection's
/// user: it matches nothing if there is none, or if the user's name has a slash. `**` alone behind
/// the last slash stands for all that is left, slashes and all, and for one character at least.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TopicPattern {
    text: String,
    segments: Vec<PatternSegment>,
    /// It ends in `**`.
    takes_rest: bool,
}

/// What stands between two slashes: texts, with a `*` between each two of them.
type PatternSegment = Vec<Vec<PatternPiece>>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum PatternPiece {
    Literal(String),
    User,
}

impl TopicPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// It is none, or matches no topic.
    pub fn new(text: &str) -> Result<Self, String> {
        Name::new(text).map_err(|wrong| format!("{} matches no topic: {wrong}", quote(text)))?;
        let (front, takes_rest) = match text.strip_suffix("**") {
            Some("") => (None, true),
            Some(front) if front.ends_with('/') => (front.strip_suffix('/'), true),
            _ => (Some(text), false),
        };
        if front.is_some_and(|front| front.contains("**")) {
            return Err(format!(
                "{} has a `**` that is not all that stands behind the last slash: write `*` for \
                 what is between two slashes",
                quote(text)
            ));
        }
        let segments = front.map(|front| front.split('/').map(segment).collect());
        let segments = segments.transpose()?.unwrap_or_default();
        Ok(Self { text: text.to_owned(), segments, takes_rest })
    }

    /// Whether a topic's name is one of those that a connection of this user is let to.
    #[must_use]
    pub fn matches(&self, topic: &str, user: Option<&str>) -> bool {
        let mut rest = Some(topic);
        for segment in &self.segments {
            let Some(left) = rest else { return false };
            let (one, behind) = match left.split_once('/') {
                Some((one, behind)) => (one, Some(behind)),
                None => (left, None),
            };
            if !matches(segment, one, user) {
                return false;
            }
            rest = behind;
        }
        if self.takes_rest { rest.is_some_and(|rest| !rest.is_empty()) } else { rest.is_none() }
    }

    /// Whether only connections of a user can be let to anything by it.
    #[must_use]
    pub fn needs_user(&self) -> bool {
        self.segments.iter().flatten().flatten().any(|piece| *piece == PatternPiece::User)
    }

    /// The bytes that it holds, counted high.
    pub(crate) fn bytes(&self) -> usize {
        // Lists grow to four places at once.
        let list = |length: usize, each: usize| length.max(4).next_power_of_two() * each;
        let texts = self.segments.iter().flatten();
        let pieces: usize = texts.map(|pieces| list(pieces.len(), size_of::<PatternPiece>())).sum();
        let texts = self.segments.iter().map(|texts| list(texts.len(), size_of::<Vec<()>>()));
        let segments = list(self.segments.len(), size_of::<PatternSegment>());
        // The text is there twice: as it was written, and in its pieces.
        size_of::<Self>() + 2 * self.text.len() + segments + texts.sum::<usize>() + pieces
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

fn segment(text: &str) -> Result<PatternSegment, String> {
    text.split('*').map(pieces).collect()
}

fn pieces(mut text: &str) -> Result<Vec<PatternPiece>, String> {
    let mut pieces = Vec::new();
    while let Some(at) = text.find(['{', '}']) {
        let Some(behind) = text[at..].strip_prefix("{user}") else {
            return Err(format!(
                "has a brace that is not of `{{user}}`, in {}: write `*` for any part of a name",
                quote(text)
            ));
        };
        if at > 0 {
            pieces.push(PatternPiece::Literal(text[..at].to_owned()));
        }
        pieces.push(PatternPiece::User);
        text = behind;
    }
    if !text.is_empty() {
        pieces.push(PatternPiece::Literal(text.to_owned()));
    }
    Ok(pieces)
}

/// Whether what stands between two slashes of a name is what a pattern has there.
fn matches(segment: &PatternSegment, mut text: &str, user: Option<&str>) -> bool {
    let last = segment.len() - 1;
    for (at, pieces) in segment.iter().enumerate() {
        let Some(wanted) = wanted(pieces, user) else { return false };
        let wanted = wanted.as_ref();
        if at == 0 {
            let Some(behind) = text.strip_prefix(wanted) else { return false };
            text = behind;
            continue;
        }
        // A `*` is in front, and takes a character at least.
        let Some(first) = text.chars().next() else { return false };
        let behind = &text[first.len_utf8()..];
        if at == last {
            return behind.ends_with(wanted);
        }
        // What comes first leaves most for what follows.
        let Some(found) = behind.find(wanted) else { return false };
        text = &behind[found + wanted.len()..];
    }
    text.is_empty()
}

/// The text that a pattern wants; `None` if there is none that would do.
fn wanted<'p>(pieces: &'p [PatternPiece], user: Option<&'p str>) -> Option<Cow<'p, str>> {
    let of = |piece: &'p PatternPiece| match piece {
        PatternPiece::Literal(text) => Some(text.as_str()),
        // A slash would lead to what is another user's, or nobody's.
        PatternPiece::User => user.filter(|user| !user.contains('/')),
    };
    match pieces {
        [] => Some(Cow::Borrowed("")),
        [one] => of(one).map(Cow::Borrowed),
        several => several.iter().map(of).collect::<Option<String>>().map(Cow::Owned),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> TopicPattern {
        TopicPattern::new(text).expect("a pattern")
    }

    #[test]
    fn what_is_let_in() {
        let ann = Some("ann");
        for (text, topic, user, is_let) in [
            ("rooms/lobby", "rooms/lobby", None, true),
            ("rooms/lobby", "rooms/lobby/x", None, false),
            ("rooms/*", "rooms/lobby", None, true),
            ("rooms/*", "rooms/", None, false),
            ("rooms/*", "rooms/a/b", None, false),
            ("rooms/*", "room/a", None, false),
            ("*", "a", None, true),
            ("*", "a/b", None, false),
            ("**", "a/b/c", None, true),
            ("rooms/**", "rooms/a/b", None, true),
            ("rooms/**", "rooms", None, false),
            ("rooms/**", "rooms/", None, false),
            ("*/x", "a/x", None, true),
            ("a*c", "abc", None, true),
            ("a*c", "ac", None, false),
            ("a*b*c", "aäbbäc", None, true),
            ("a*b*c", "abc", None, false),
            ("*a*", "xax", None, true),
            ("*a*", "ax", None, false),
            ("users/{user}/*", "users/ann/inbox", ann, true),
            ("users/{user}/*", "users/bob/inbox", ann, false),
            ("users/{user}/*", "users/ann/inbox", None, false),
            ("users/{user}/*", "users/a/b/inbox", Some("a/b"), false),
            ("users/{user}", "users/a/b", Some("a/b"), false),
            ("users/{user}", "users/a", Some("a/b"), false),
            ("users/{user}", "users/*", Some("*"), true),
            ("users/{user}", "users/ann", Some("*"), false),
            ("*-{user}", "x-ann", ann, true),
            ("x{user}{user}*", "xannann1", ann, true),
            ("*a{user}*", "xabaanny", ann, true),
        ] {
            assert_eq!(pattern(text).matches(topic, user), is_let, "{text} {topic} {user:?}");
        }
    }

    #[test]
    fn what_is_no_pattern_says_why() {
        for (text, said) in [
            ("", "matches no topic: the name is empty"),
            ("a\nb", "matches no topic: the name has a control character"),
            ("a**", "has a `**` that is not all"),
            ("**/a", "has a `**` that is not all"),
            ("a/***", "has a `**` that is not all"),
            ("rooms/{room}", "has a brace that is not of `{user}`"),
            ("rooms/}", "has a brace that is not of `{user}`"),
            ("{user", "has a brace that is not of `{user}`"),
        ] {
            let wrong = TopicPattern::new(text).expect_err(text);
            assert!(wrong.contains(said), "{text}: {wrong}");
        }
        assert!(pattern("a/{user}").needs_user() && !pattern("a/*").needs_user());
    }

    /// What a segment of a pattern matches, looked for in every way.
    fn naive(pattern: &[char], text: &[char]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            (['*', rest @ ..], [_, behind @ ..]) => naive(rest, behind) || naive(pattern, behind),
            ([one, rest @ ..], [letter, behind @ ..]) if one == letter => naive(rest, behind),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn as_if_looked_for_in_every_way(wanted in "[ab*]{1,8}", topic in "[ab]{1,10}") {
            prop_assume!(!wanted.contains("**"));
            let letters = |text: &str| text.chars().collect::<Vec<_>>();
            let expected = naive(&letters(&wanted), &letters(&topic));
            prop_assert_eq!(pattern(&wanted).matches(&topic, None), expected);
        }

        #[test]
        fn who_a_topic_is_for_is_only_them(user in "\\PC{1,8}", topic in "\\PC{1,8}") {
            let is_let = pattern("u/{user}").matches(&format!("u/{topic}"), Some(&user));
            prop_assert_eq!(is_let, topic == user && !user.contains('/'));
        }
    }
}

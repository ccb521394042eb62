//! The path pattern of a route: `/rooms/{room}`, `/files/{*rest}`.

use std::borrow::Cow;

use crate::escapes::{escaped, has_right_escapes};
use crate::units::quote;

/// The path in which escapes that mean nothing are resolved, so that two ways to write one path are
/// one: RFC 3986 section 6.2.2.2: "URIs should be normalized by decoding any percent-encoded octet
/// that corresponds to an unreserved character", and 6.2.2.1: "should be normalized to use
/// uppercase letters for the digits A-F".
///
/// A `%` that begins no escape stands for itself, which is `%25`: what is resolved here must not
/// become an escape with what is behind it.
#[must_use]
pub(crate) fn normal(path: &str) -> Cow<'_, str> {
    let Some(first) = path.find('%') else { return Cow::Borrowed(path) };
    let (mut normal, mut rest) = (path[..first].to_owned(), &path[first..]);
    while let Some(digits) = rest.strip_prefix('%') {
        let byte = digits.get(..2).and_then(|digits| escaped(digits.as_bytes()));
        let taken = match byte {
            Some(byte) if is_unreserved(byte) => {
                normal.push(char::from(byte));
                3
            }
            Some(_) => {
                normal.push('%');
                normal.push_str(&digits[..2].to_ascii_uppercase());
                3
            }
            None => {
                normal.push_str("%25");
                1
            }
        };
        rest = &rest[taken..];
        let plain = rest.find('%').unwrap_or(rest.len());
        normal.push_str(&rest[..plain]);
        rest = &rest[plain..];
    }
    Cow::Owned(normal)
}

/// What a path, as it was sent, has for the names of a pattern that it fits: each name with its
/// part, in their order. Escapes that mean nothing, and are resolved to find the pattern, bring no
/// slash and take none away.
pub(crate) fn parts<'p>(
    pattern: &'p str,
    path: &'p str,
) -> impl Iterator<Item = (&'p str, &'p str)> {
    let mut rest = Some(path);
    let parts = pattern.split('/').map(move |segment| {
        let left = rest?;
        let (part, behind) = match left.split_once('/') {
            Some((part, behind)) => (part, Some(behind)),
            None => (left, None),
        };
        rest = behind;
        match Segment::of(segment) {
            Segment::Literal(_) => None,
            Segment::Name(name) => Some((name, part)),
            Segment::Rest(name) => Some((name, left)),
        }
    });
    parts.flatten()
}

/// RFC 3986 section 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// Checks that `path` is a pattern: it begins with `/`, and each segment is literal, `{name}` or,
/// as the last, `{*name}`. Only the last may be empty.
///
/// # Errors
///
/// What is wrong with it, without naming the key.
pub(super) fn check(path: &str) -> Result<(), String> {
    let Some(rest) = path.strip_prefix('/') else {
        return Err(format!("must begin with `/`, is {}", quote(path)));
    };
    let segments: Vec<&str> = rest.split('/').collect();
    let mut names: Vec<&str> = Vec::new();
    for (index, segment) in segments.iter().enumerate() {
        let is_last = index + 1 == segments.len();
        let Some(name) = check_segment(segment, is_last)? else { continue };
        if names.contains(&name) {
            return Err(format!("has the name `{name}` twice: names in a path must differ"));
        }
        names.push(name);
    }
    Ok(())
}

/// Checks one segment. Its name, if it has one.
fn check_segment(segment: &str, is_last: bool) -> Result<Option<&str>, String> {
    match Segment::of(segment) {
        Segment::Literal("") if !is_last => {
            Err("has an empty segment: two `/` stand side by side".into())
        }
        Segment::Literal(text) => check_literal(text).map(|()| None),
        Segment::Name(name) => check_name(segment, name).map(Some),
        Segment::Rest(name) if is_last => check_name(segment, name).map(Some),
        Segment::Rest(_) => {
            Err(format!("has {} before its end: it takes all that is left", quote(segment)))
        }
    }
}

fn check_literal(text: &str) -> Result<(), String> {
    if text.contains(['{', '}']) {
        return Err(format!(
            "has the segment {}: braces hold a whole segment, such as `{{name}}`",
            quote(text)
        ));
    }
    if !has_right_escapes(text) {
        return Err(format!(
            "has a `%` without two hexadecimal digits in the segment {}: `%` itself is `%25`",
            quote(text)
        ));
    }
    match text.chars().find(|letter| !may_stand(*letter)) {
        None => Ok(()),
        Some(letter) => {
            Err(format!("has {letter:?} in the segment {}: write it percent-encoded", quote(text)))
        }
    }
}

/// What RFC 3986 section 3.3 allows in a segment, and `%`, which begins an encoded byte.
fn may_stand(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@%".contains(letter)
}

fn check_name<'p>(segment: &str, name: &'p str) -> Result<&'p str, String> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    if name.is_empty() {
        return Err(format!("has {} without a name", quote(segment)));
    }
    if name.starts_with(|first: char| first.is_ascii_digit()) || !name.chars().all(plain) {
        return Err(format!(
            "has the name {}: a name is letters, digits and `_`, and no digit first",
            quote(name)
        ));
    }
    Ok(name)
}

/// Whether some request could be meant by both patterns with neither the more literal: they must
/// not stand in one router. The same pattern conflicts with itself.
pub(super) fn conflict(one: &str, other: &str) -> bool {
    let (mut ones, mut others) =
        (one.split('/').map(Segment::of), other.split('/').map(Segment::of));
    loop {
        match (ones.next(), others.next()) {
            (None, None) => return true,
            (Some(Segment::Literal(a)), Some(Segment::Literal(b))) if a == b => {}
            (Some(Segment::Name(_)), Some(Segment::Name(_))) => {}
            (Some(Segment::Rest(_)), Some(Segment::Name(_) | Segment::Rest(_)))
            | (Some(Segment::Name(_)), Some(Segment::Rest(_))) => return true,
            _ => return false,
        }
    }
}

/// One segment of a pattern, its name not yet checked.
pub(super) enum Segment<'p> {
    Literal(&'p str),
    Name(&'p str),
    Rest(&'p str),
}

impl<'p> Segment<'p> {
    pub(super) fn of(segment: &'p str) -> Self {
        let inside = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        match inside {
            None => Self::Literal(segment),
            Some(inside) => match inside.strip_prefix('*') {
                Some(name) => Self::Rest(name),
                None => Self::Name(inside),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_that_mean_nothing_are_resolved() {
        for (path, is) in [
            ("/echo", "/echo"),
            ("/%65cho", "/echo"),
            ("/%7E%2d%2E%5f", "/~-._"),
            ("/a%2fb", "/a%2Fb"),
            ("/%c3%A9%41", "/%C3%A9A"),
            ("/%2525", "/%2525"),
            ("/100%", "/100%25"),
            ("/%4", "/%254"),
            ("/%%41%zz", "/%25A%25zz"),
            ("/%%341", "/%2541"),
            ("/%+1", "/%25+1"),
            ("/%\u{e9}", "/%25\u{e9}"),
        ] {
            assert_eq!(normal(path), is, "{path}");
            assert_eq!(normal(is), is, "again: {path}");
        }
    }

    #[test]
    fn patterns_are_taken() {
        for path in [
            "/",
            "/echo",
            "/echo/",
            "/rooms/{room}",
            "/{a}/{b}/",
            "/{*rest}",
            "/a/{b}/{*c}",
            "/a%20b/~c;d=1,2:@!$&'()*+",
        ] {
            assert_eq!(check(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn a_path_that_is_no_pattern_says_why() {
        let name = "a name is letters, digits and `_`, and no digit first";
        let braces = "braces hold a whole segment, such as `{name}`";
        for (path, wrong) in [
            ("", "must begin with `/`, is \"\"".to_owned()),
            ("echo", "must begin with `/`, is \"echo\"".into()),
            ("//", "has an empty segment: two `/` stand side by side".into()),
            ("/{}", "has \"{}\" without a name".into()),
            ("/{*}", "has \"{*}\" without a name".into()),
            ("/{1}", format!("has the name \"1\": {name}")),
            ("/{a b}", format!("has the name \"a b\": {name}")),
            ("/{*a}/b", "has \"{*a}\" before its end: it takes all that is left".into()),
            ("/{a}/{*a}", "has the name `a` twice: names in a path must differ".into()),
            ("/a{b}", format!("has the segment \"a{b}\": {braces}", b = "{b}")),
            ("/{a", format!("has the segment \"{{a\": {braces}")),
            ("/a?b", "has '?' in the segment \"a?b\": write it percent-encoded".into()),
            (
                "/50%",
                "has a `%` without two hexadecimal digits in the segment \"50%\": `%` itself is \
                 `%25`"
                    .into(),
            ),
            ("/\u{e9}", "has '\u{e9}' in the segment \"\u{e9}\": write it percent-encoded".into()),
        ] {
            assert_eq!(check(path), Err(wrong), "{path}");
        }
    }

    proptest! {
        #[test]
        fn what_is_normal_stays_so_and_means_the_same(path in "/[%0-9a-f/\u{e9}]{0,12}") {
            let once = normal(&path);
            prop_assert_eq!(normal(&once), once.as_ref());
            let meant =
                |path: &str| percent_encoding::percent_decode_str(path).collect::<Vec<u8>>();
            prop_assert_eq!(meant(&once), meant(&path));
        }
    }

    /// The router that the routes are put in takes what is taken here, and refuses what conflicts.
    #[test]
    fn the_router_agrees_on_patterns_and_conflicts() {
        let segments = ["", "a", "b", "{x}", "{y}", "{*r}"];
        let mut paths = vec!["/".to_string()];
        for first in segments {
            for second in segments {
                paths.push(format!("/{first}"));
                paths.push(format!("/{first}/{second}"));
                for third in segments {
                    paths.push(format!("/{first}/{second}/{third}"));
                }
            }
        }
        paths.retain(|path| check(path).is_ok());
        paths.dedup();
        for one in &paths {
            for other in &paths {
                let mut router = matchit::Router::new();
                router.insert(one, ()).unwrap();
                let agrees = router.insert(other, ()).is_ok();
                assert_eq!(agrees, !conflict(one, other), "{one} {other}");
            }
        }
    }
}

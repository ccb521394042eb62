//! A `[[token]]`: one that is known by itself, whose it is, and what it lets its bearer do.

use std::fmt;
use std::path::PathBuf;

use toml::de::DeValue;

use super::built::{self, BuiltWrong};
use super::jwt::{SOURCES_MAX, TokenSource, check_name, file};
use super::reader::{Origin, TableReader};
use super::stack::values::built_file_name;
use super::{TopicPattern, hub_route, value};
use crate::names::Name;
use crate::units::quote;

/// A token that is known by itself, such as that of another service. Routes ask for one by `token`
/// in their `admission`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticToken {
    /// What routes call it: 1 to 64 letters, digits, `-` and `_`. No two have the same.
    pub name: String,
    /// Which token it is.
    pub secret: TokenSecret,
    /// The user that its bearer is; `None` for none.
    pub user: Option<Name>,
    /// What its bearer may subscribe to, at most 64 patterns; `None` leaves it to the route.
    pub subscribe: Option<Vec<TopicPattern>>,
    /// What it may publish on, likewise.
    pub publish: Option<Vec<TopicPattern>>,
}

/// Where a token is said that has 16 to 256 visible ASCII characters. What is kept is its SHA-256.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenSecret {
    /// In this file, which has nothing else but a line break at its end.
    File(PathBuf),
    /// In this variable of the environment.
    Env(String),
    /// Nowhere: this is its SHA-256.
    Sha256([u8; 32]),
}

/// `token` in the `admission` of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenCheck {
    /// The names of those that are taken; empty for all.
    pub by: Vec<String>,
    /// Where a request has its token, at most 8; the first place that has one counts. Default
    /// `bearer` and `subprotocol`.
    pub from: Vec<TokenSource>,
}

/// The most tokens: each is compared with what a request brings.
pub(super) const TOKENS_MAX: usize = 256;
/// The most characters of a variable's name.
const VARIABLE_MAX: usize = 256;

impl StaticToken {
    /// Of this name and secret, of nobody, which leaves to the route what may be done.
    #[must_use]
    pub fn new(name: impl Into<String>, secret: TokenSecret) -> Self {
        Self { name: name.into(), secret, user: None, subscribe: None, publish: None }
    }

    /// Checks what a program has put together, which is `field` of the configuration.
    pub(super) fn check(&self, field: &str, earlier: &[Self]) -> Result<(), BuiltWrong> {
        let says = |key: &str, checked: Result<(), String>| {
            checked.map_err(|wrong| BuiltWrong(format!("{field}.{key}: {wrong}")))
        };
        says("name", check_name(&self.name))?;
        says("name", check_earlier(&self.name, earlier))?;
        match &self.secret {
            TokenSecret::File(file) => built_file_name(format!("{field}.secret"), file)?,
            TokenSecret::Env(name) => says("secret", check_variable(name))?,
            TokenSecret::Sha256(_) => {}
        }
        for (key, list) in [("subscribe", &self.subscribe), ("publish", &self.publish)] {
            let Some(list) = list else { continue };
            built::number(format!("{field}.{key}"), list.len(), &(0..=hub_route::PATTERNS_MAX))?;
            says(key, check_users(list, self.user.is_some()))?;
        }
        Ok(())
    }
}

impl Default for TokenCheck {
    fn default() -> Self {
        Self { by: Vec::new(), from: vec![TokenSource::Bearer, TokenSource::Subprotocol] }
    }
}

impl TokenCheck {
    /// Whether it takes the token of this name.
    #[must_use]
    pub fn takes(&self, name: &str) -> bool {
        self.by.is_empty() || self.by.iter().any(|other| other == name)
    }
}

impl fmt::Display for TokenCheck {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = '?';
        if !self.by.is_empty() {
            write!(out, "?by={}", self.by.join(","))?;
            separator = '&';
        }
        if self.from != Self::default().from {
            let from: Vec<_> = self.from.iter().map(ToString::to_string).collect();
            write!(out, "{separator}from={}", from.join(","))?;
        }
        Ok(())
    }
}

/// Reads one `[[token]]`, `earlier` being the ones before it.
pub(super) fn read(mut table: TableReader<'_, '_>, earlier: &[StaticToken]) -> Option<StaticToken> {
    let name = table.require("name", "name = \"backend\"", |value| {
        let name = value::text(value)?;
        check_name(name).and_then(|()| check_earlier(name, earlier)).map(|()| name.to_owned())
    });
    let secret = secret(&mut table);
    let user = table.read("user", None, |value| {
        let text = value::text(value)?;
        let wrong = |_| format!("must be a user's name, 1 to 200 bytes, is {}", quote(text));
        Name::new(text).map(Some).map_err(wrong)
    });
    let has_user = user.value.is_some() || user.origin == Origin::Refused;
    let read = |value: &DeValue<'_>| {
        let list = hub_route::patterns(value, true)?;
        check_users(&list, has_user).map(|()| Some(list))
    };
    let subscribe = table.read("subscribe", None, read).value;
    let publish = table.read("publish", None, read).value;
    table.finish();
    Some(StaticToken { name: name.value?, secret: secret?, user: user.value, subscribe, publish })
}

/// Reads where the token is: one of three keys. What stands in their place may be a token, so it is
/// not shown.
fn secret(table: &mut TableReader<'_, '_>) -> Option<TokenSecret> {
    let file = table.read("file", None, |value| file(value).map(TokenSecret::File).map(Some));
    let env = table.read("env", None, |value| {
        let name = value::text(value)?;
        check_variable(name).map(|()| Some(TokenSecret::Env(name.to_owned())))
    });
    let sha256 = table.read("sha256", None, |value| {
        let digest = value.as_str().and_then(digest);
        digest.map(TokenSecret::Sha256).map(Some).ok_or_else(|| {
            "must be the 64 hexadecimal digits of a SHA-256, as `printf %s \"$TOKEN\" | \
             sha256sum` tells them"
                .to_owned()
        })
    });
    let all = [file, env, sha256];
    if all.iter().any(|one| one.origin == Origin::Refused) {
        return None;
    }
    let mut said = all.into_iter().filter_map(|one| one.value);
    match (said.next(), said.next()) {
        (Some(secret), None) => Some(secret),
        (None, _) => {
            let wrong = "is missing: say where the token is, by `file`, `env` or `sha256`";
            table.wrong("file", wrong.into());
            None
        }
        (Some(_), Some(_)) => {
            let wrong = "stands beside another of `file`, `env` and `sha256`: keep one";
            table.wrong("file", wrong.into());
            None
        }
    }
}

/// Checks that patterns with a user in them mean some.
fn check_users(list: &[TopicPattern], has_user: bool) -> Result<(), String> {
    match list.iter().find(|one| one.needs_user() && !has_user) {
        Some(one) => {
            let one = quote(one.as_str());
            Err(format!("{one} matches nothing, because the token has no user: add `user`"))
        }
        None => Ok(()),
    }
}

fn digest(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    let is_hexadecimal = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hexadecimal {
        return None;
    }
    for (at, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(digest)
}

/// Checks the name of a variable. It is not shown: a token may be written in its place.
fn check_variable(name: &str) -> Result<(), String> {
    let may_stand = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let is_right = (1..=VARIABLE_MAX).contains(&name.len())
        && name.bytes().all(may_stand)
        && !name.starts_with(|first: char| first.is_ascii_digit());
    match is_right {
        true => Ok(()),
        false => Err("must be the name of a variable, of letters, digits and `_`".into()),
    }
}

fn check_earlier(name: &str, earlier: &[StaticToken]) -> Result<(), String> {
    match earlier.iter().position(|other| other.name == name) {
        None => Ok(()),
        Some(index) => {
            Err(format!("{} is the name of token[{index}] too: give each its own", quote(name)))
        }
    }
}

/// Reads the options of the check.
pub(super) fn by(text: &str) -> Result<Vec<String>, String> {
    let names: Vec<String> = text.split(',').map(str::to_owned).collect();
    names.iter().try_for_each(|name| check_name(name)).map(|()| names)
}

/// Reads where a request has its token, joined by commas.
pub(super) fn from(text: &str) -> Result<Vec<TokenSource>, String> {
    let count = text.split(',').count();
    if count > SOURCES_MAX {
        return Err(format!("must be at most {SOURCES_MAX} places, are {count}"));
    }
    let place =
        |(index, text)| TokenSource::parse(text).map_err(|wrong| format!("[{index}] {wrong}"));
    text.split(',').enumerate().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{AdmissionCheck, Config};
    use super::*;

    fn parse(tokens: &str, list: &str) -> Result<Config, String> {
        let text =
            format!("{tokens}\n[[route]]\npath = \"/\"\nhandler = \"echo\"\nadmission = [{list}]");
        Config::parse(&text, "t.toml").map_err(|errors| errors.to_string())
    }

    const ONE: &str = "[[token]]\nname = \"a\"\nfile = \"a.token\"";

    #[test]
    fn a_token_is_in_a_file_or_a_variable_or_told_by_its_digest() {
        let digest = "0f".repeat(32);
        let text = format!(
            "{ONE}\n[[token]]\nname = \"b\"\nenv = \"B_TOKEN\"\nuser = \"bob\"\n\
             subscribe = [\"{{user}}/*\"]\npublish = []\n\
             [[token]]\nname = \"c\"\nsha256 = \"{digest}\""
        );
        let config = parse(&text, "\"token?by=a,c&from=cookie.t\"").expect("right");
        let [a, b, c] = &config.tokens[..] else { panic!("three") };
        assert_eq!(*a, StaticToken::new("a", TokenSecret::File("a.token".into())));
        assert_eq!(b.secret, TokenSecret::Env("B_TOKEN".into()));
        assert_eq!(b.publish.as_deref(), Some(&[][..]));
        assert_eq!(c.secret, TokenSecret::Sha256([15; 32]));
        let check = &config.routes[0].admission[1];
        assert_eq!(check.to_string(), "token?by=a,c&from=cookie.t");
        assert_eq!(config.check(), Ok(()));
        let AdmissionCheck::Token(check) = check else { panic!("{check}") };
        assert!(check.takes("a") && !check.takes("b"));
        let all = parse(ONE, "\"token\"").expect("right").routes[0].admission[1].to_string();
        assert_eq!(all, "token");
    }

    #[test]
    fn mistakes_say_what_to_do_and_show_no_token() {
        const SECRET: &str = "s3cret-s3cret-s3cret";
        let name = "[[token]]\nname = \"a\"\n";
        for (tokens, list, wrong) in [
            ("", "\"token\"", "[0] no token is there: add a [[token]]"),
            (ONE, "\"token?by=b\"", "[0] `token?by`: no [[token]] has the name \"b\""),
            (ONE, "\"token?from=header\"", "`token?from`: [0] must be \"bearer\""),
            (ONE, "\"token\", \"token\"", "[1] `token` is there twice: keep one"),
            (&format!("{ONE}\n{ONE}"), "", "\"a\" is the name of token[0] too"),
            (name, "", "token[0].file: is missing: say where the token is"),
            (&format!("{name}token = \"{SECRET}\""), "", "token[0].token: is not a key"),
            (&format!("{name}sha256 = \"{SECRET}\""), "", "must be the 64 hexadecimal digits"),
            (&format!("{name}env = \"{SECRET}\""), "", "must be the name of a variable"),
            (&format!("{ONE}\nenv = \"A\""), "", "stands beside another of `file`, `env`"),
            (&format!("{ONE}\nuser = \"\""), "", "token[0].user: must be a user's name"),
            (&format!("{ONE}\nsubscribe = [\"{{user}}/*\"]"), "", "token[0].subscribe: "),
        ] {
            let error = parse(tokens, list).expect_err(tokens);
            assert!(error.contains(wrong) && error.contains("t.toml:"), "{tokens} {list}: {error}");
            assert!(!error.contains(SECRET), "{error}");
        }
        let jwt = format!("{ONE}\n[[jwt]]\nkeys = [\"a.pem\"]");
        let error = parse(&jwt, "\"jwt\", \"token\"").expect_err("both");
        assert!(error.contains("[1] `token` stands beside `jwt`"), "{error}");
    }
}

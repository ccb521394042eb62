//! The key `admission` of a route: what is checked before its handler is asked.

use std::fmt;

use toml::Spanned;
use toml::de::DeValue;

use super::built::BuiltWrong;
use super::jwt::SOURCES_MAX;
use super::reader::{TableReader, expected};
use super::stack::StackError;
use super::stack::options::Options;
use super::static_token;
use super::value;
use super::{Config, Jwt, Networks, Passwords, StaticToken, TokenCheck};
use crate::units::quote;

/// Who says of clients who they are, as checks name it.
#[derive(Clone, Copy)]
pub(super) struct Vouchers<'v> {
    /// The issuers of tokens.
    jwts: &'v [Jwt],
    /// The tokens that are known by themselves.
    tokens: &'v [StaticToken],
    /// The files of passwords.
    passwords: &'v [Passwords],
}

impl<'v> Vouchers<'v> {
    /// Those of a configuration.
    pub(super) fn of(config: &'v Config) -> Self {
        Self { jwts: &config.jwts, tokens: &config.tokens, passwords: &config.passwords }
    }
}

/// One thing that is checked of a request before its route's handler is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AdmissionCheck {
    /// `network`: the client comes from a network that [`Route::networks`](super::Route) lets in.
    Network,
    /// `origin`: a page that asks for a WebSocket is one of [`Route::origins`](super::Route).
    Origin,
    /// `certificate`: the client has shown a certificate by TLS which an authority of the listener
    /// has signed.
    Certificate,
    /// `jwt`, or `jwt?by=NAME`: the request has a token of the issuer of that name, which is good.
    Jwt(String),
    /// `token`, or `token?by=NAME,NAME&from=PLACE`: the request has one of the tokens that are
    /// known by themselves, or of those of these names.
    Token(TokenCheck),
    /// `basic`, or `basic?by=NAME`: the request names a user of the file of that name, and has its
    /// password (RFC 7617).
    Basic(String),
}

impl AdmissionCheck {
    /// What it is called.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Origin => "origin",
            Self::Certificate => "certificate",
            Self::Jwt(_) => "jwt",
            Self::Token(_) => "token",
            Self::Basic(_) => "basic",
        }
    }

    /// The checks that are there.
    const NAMES: &'static str =
        "\"network\", \"origin\", \"certificate\", \"jwt\", \"token\" or \"basic\"";

    /// What a route has by default: pages are checked, and nothing else.
    pub(super) fn default_list() -> Vec<Self> {
        vec![Self::Origin]
    }

    /// A list with networks, if some are named, and pages checked first, unless it says when.
    pub(crate) fn completed(mut checks: Vec<Self>, networks: &Networks) -> Vec<Self> {
        if !checks.contains(&Self::Origin) {
            checks.insert(0, Self::Origin);
        }
        if networks.say_something() && !checks.contains(&Self::Network) {
            checks.insert(0, Self::Network);
        }
        checks
    }

    /// Whether it is what says who a client is, and what it may do.
    const fn says_who(&self) -> bool {
        matches!(self, Self::Jwt(_) | Self::Token(_) | Self::Basic(_))
    }

    /// Whether it may say of which user a client is.
    fn may_name_user(&self, Vouchers { jwts, tokens, .. }: Vouchers<'_>) -> bool {
        match self {
            Self::Network | Self::Origin | Self::Certificate => false,
            Self::Jwt(name) => jwts.iter().any(|jwt| jwt.name == *name && !jwt.user.is_empty()),
            Self::Token(check) => {
                tokens.iter().any(|token| check.takes(&token.name) && token.user.is_some())
            }
            Self::Basic(_) => true,
        }
    }
}

impl fmt::Display for AdmissionCheck {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Jwt(name) => write!(out, "jwt?by={name}"),
            Self::Token(check) => write!(out, "token{check}"),
            Self::Basic(name) => write!(out, "basic?by={name}"),
            other => out.write_str(other.name()),
        }
    }
}

/// Whether some check of a list may say of which user a client is.
pub(super) fn name_users(checks: &[AdmissionCheck], vouchers: Vouchers<'_>) -> bool {
    checks.iter().any(|check| check.may_name_user(vouchers))
}

/// Checks the list of a route that a program has put together.
pub(super) fn check_list(
    field: &str,
    checks: &[AdmissionCheck],
    networks: &Networks,
    vouchers: Vouchers<'_>,
) -> Result<(), BuiltWrong> {
    let wrong = |wrong: String| BuiltWrong(format!("{field}.admission: {wrong}"));
    for (index, check) in checks.iter().enumerate() {
        check_one(check, &checks[..index]).map_err(wrong)?;
        match check {
            AdmissionCheck::Jwt(name) => find(Some(name), vouchers.jwts).map(|_| ()),
            AdmissionCheck::Token(check) => find_tokens(check, vouchers.tokens),
            AdmissionCheck::Basic(name) => {
                find_passwords(Some(name), vouchers.passwords).map(|_| ())
            }
            _ => Ok(()),
        }
        .map_err(wrong)?;
    }
    check_networks(checks, networks).map_err(wrong)
}

/// Reads `admission` of a route with these networks, if they are known. What the list does not say
/// is completed.
pub(super) fn read(
    table: &mut TableReader<'_, '_>,
    networks: Option<&Networks>,
    vouchers: Vouchers<'_>,
) -> Vec<AdmissionCheck> {
    let read = |value: &DeValue<'_>| {
        let checks = list(value, vouchers)?;
        let checked = networks.map_or(Ok(()), |networks| check_networks(&checks, networks));
        checked.map(|()| checks)
    };
    let checks = table.read("admission", Vec::new(), read).value;
    AdmissionCheck::completed(checks, networks.unwrap_or(&Networks::default()))
}

fn list(value: &DeValue<'_>, vouchers: Vouchers<'_>) -> Result<Vec<AdmissionCheck>, String> {
    let DeValue::Array(written) = value else {
        return Err(expected("an array of checks such as [\"origin\", \"jwt\"]", value));
    };
    let mut checks = Vec::new();
    for (index, value) in written.iter().enumerate() {
        let check = one(value, vouchers).and_then(|check| {
            check_one(&check, &checks)?;
            Ok(check)
        });
        checks.push(check.map_err(|wrong| format!("[{index}] {wrong}"))?);
    }
    Ok(checks)
}

fn one(value: &Spanned<DeValue<'_>>, vouchers: Vouchers<'_>) -> Result<AdmissionCheck, String> {
    let text = value::text(value.get_ref())?;
    let (name, options) = match text.split_once('?') {
        Some((name, options)) => (name, Some(options)),
        None => (text, None),
    };
    match name {
        "network" | "origin" | "certificate" if options.is_some() => {
            Err(format!("check `{name}` has no options: remove what follows the `?`"))
        }
        "network" => Ok(AdmissionCheck::Network),
        "origin" => Ok(AdmissionCheck::Origin),
        "certificate" => Ok(AdmissionCheck::Certificate),
        "jwt" => jwt(options, vouchers.jwts),
        "token" => token(options, vouchers.tokens),
        "basic" => basic(options, vouchers.passwords),
        _ => Err(expected(AdmissionCheck::NAMES, value.get_ref())),
    }
}

fn jwt(options: Option<&str>, jwts: &[Jwt]) -> Result<AdmissionCheck, String> {
    let by = by_one("jwt", options)?;
    find(by.as_deref(), jwts).map(|jwt| AdmissionCheck::Jwt(jwt.name.clone()))
}

fn basic(options: Option<&str>, passwords: &[Passwords]) -> Result<AdmissionCheck, String> {
    let by = by_one("basic", options)?;
    let named = find_passwords(by.as_deref(), passwords)?;
    Ok(AdmissionCheck::Basic(named.name.clone()))
}

/// The option `by` of a check that has no other.
fn by_one(check: &'static str, options: Option<&str>) -> Result<Option<String>, String> {
    let mut errors: Vec<StackError> = Vec::new();
    let mut options = Options::new(check, options, check.len() + 1, &mut errors);
    let by = options.read("by", None, |text| Ok(Some(text.to_owned())));
    options.finish();
    match errors.into_iter().next() {
        Some(StackError { message, .. }) => Err(message),
        None => Ok(by),
    }
}

fn token(options: Option<&str>, tokens: &[StaticToken]) -> Result<AdmissionCheck, String> {
    let default = TokenCheck::default();
    let mut errors: Vec<StackError> = Vec::new();
    let mut options = Options::new("token", options, "token?".len(), &mut errors);
    let by = options.read("by", default.by, static_token::by);
    let from = options.read("from", default.from, static_token::from);
    options.finish();
    if let Some(StackError { message, .. }) = errors.into_iter().next() {
        return Err(message);
    }
    let check = TokenCheck { by, from };
    find_tokens(&check, tokens).map(|()| AdmissionCheck::Token(check))
}

/// Checks that the tokens are there that are meant, and places to look for them.
fn find_tokens(check: &TokenCheck, tokens: &[StaticToken]) -> Result<(), String> {
    if tokens.is_empty() {
        return Err("no token is there: add a [[token]] with a `name`, and `file`, `env` or \
                    `sha256`"
            .into());
    }
    if !(1..=SOURCES_MAX).contains(&check.from.len()) {
        return Err(format!("`token?from`: must be 1 to {SOURCES_MAX} places"));
    }
    match check.by.iter().find(|name| tokens.iter().all(|token| token.name != **name)) {
        Some(name) => Err(format!("`token?by`: no [[token]] has the name {}", quote(name))),
        None => Ok(()),
    }
}

/// The issuer that is meant.
fn find<'j>(name: Option<&str>, jwts: &'j [Jwt]) -> Result<&'j Jwt, String> {
    match (name, jwts) {
        (_, []) => Err("no issuer of tokens is there: add a [[jwt]] with `keys`, `secrets` or \
                        both"
            .into()),
        (None, [only]) => Ok(only),
        (None, several) => Err(format!(
            "there are {} of [[jwt]]: say which one, as \"jwt?by=NAME\"",
            several.len()
        )),
        (Some(name), all) => all
            .iter()
            .find(|jwt| jwt.name == name)
            .ok_or_else(|| format!("`jwt?by`: no [[jwt]] has the name {}", quote(name))),
    }
}

/// The file of passwords that is meant.
fn find_passwords<'p>(
    name: Option<&str>,
    passwords: &'p [Passwords],
) -> Result<&'p Passwords, String> {
    match (name, passwords) {
        (_, []) => Err("no passwords are there: add a [[passwords]] with a `file`".into()),
        (None, [only]) => Ok(only),
        (None, several) => Err(format!(
            "there are {} of [[passwords]]: say which one, as \"basic?by=NAME\"",
            several.len()
        )),
        (Some(name), all) => all
            .iter()
            .find(|one| one.name == name)
            .ok_or_else(|| format!("`basic?by`: no [[passwords]] has the name {}", quote(name))),
    }
}

/// Checks that networks are named if they are to be checked.
fn check_networks(checks: &[AdmissionCheck], networks: &Networks) -> Result<(), String> {
    match checks.contains(&AdmissionCheck::Network) && !networks.say_something() {
        true => Err("`network` means nothing without `allow` or `deny`: add one of them, or \
                     remove it"
            .into()),
        false => Ok(()),
    }
}

/// Checks that a check adds to those before it.
fn check_one(check: &AdmissionCheck, earlier: &[AdmissionCheck]) -> Result<(), String> {
    let name = check.name();
    if earlier.iter().any(|other| other.name() == name) {
        return Err(format!("`{name}` is there twice: keep one"));
    }
    match earlier.iter().find(|other| check.says_who() && other.says_who()) {
        Some(other) => Err(format!(
            "`{name}` stands beside `{}`, and a client is let in by one of them: keep one",
            other.name()
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Route, RouteHandler};
    use super::*;

    fn parse(jwts: &str, route: &str) -> Result<Config, String> {
        let text = format!("{jwts}\n[[route]]\npath = \"/\"\n{route}");
        Config::parse(&text, "t.toml").map_err(|errors| errors.to_string())
    }

    const ONE: &str = "[[jwt]]\nkeys = [\"a.pem\"]";
    const TWO: &str = "[[jwt]]\nname = \"a\"\nkeys = [\"a.pem\"]\n\
                       [[jwt]]\nname = \"b\"\nkeys = [\"b.pem\"]";

    #[test]
    fn pages_are_checked_whatever_the_list_says() {
        let admission = |jwts: &str, list: &str| {
            let route = format!("handler = \"echo\"\n{list}");
            parse(jwts, &route).expect("right").routes[0].admission.clone()
        };
        let jwt = |name: &str| AdmissionCheck::Jwt(name.into());
        assert_eq!(admission("", ""), [AdmissionCheck::Origin]);
        assert_eq!(admission("", "admission = []"), [AdmissionCheck::Origin]);
        assert_eq!(admission(ONE, "admission = [\"jwt\"]"), [AdmissionCheck::Origin, jwt("jwt")]);
        let last = "admission = [\"certificate\", \"jwt?by=b\", \"origin\"]";
        assert_eq!(
            admission(TWO, last),
            [AdmissionCheck::Certificate, jwt("b"), AdmissionCheck::Origin]
        );
    }

    #[test]
    fn mistakes_say_what_to_do() {
        for (jwts, list, wrong) in [
            ("", "\"jwt\"", "must be an array of checks such as"),
            ("", "[\"jwt\"]", "[0] no issuer of tokens is there: add a [[jwt]]"),
            (TWO, "[\"jwt\"]", "[0] there are 2 of [[jwt]]: say which one"),
            (TWO, "[\"jwt?by=c\"]", "[0] `jwt?by`: no [[jwt]] has the name \"c\""),
            (ONE, "[\"jwt?of=jwt\"]", "[0] \"of\" is not an option of `jwt`"),
            (ONE, "[\"origin?a=b\"]", "[0] check `origin` has no options"),
            (ONE, "[\"password\"]", "[0] must be \"network\", \"origin\", "),
            (TWO, "[\"jwt?by=a\", \"jwt?by=b\"]", "[1] `jwt` is there twice: keep one"),
        ] {
            let route = format!("handler = \"echo\"\nadmission = {list}");
            let error = parse(jwts, &route).expect_err(list);
            assert!(error.contains(wrong), "{list}: {error}");
        }
    }

    #[test]
    fn tokens_say_who_the_users_are() {
        let users = "handler = \"hub?topic=a&publish=users\"";
        assert!(parse("", users).is_err());
        let with = format!("{users}\nsubscribe = [\"{{user}}/*\"]\nadmission = [\"jwt\"]");
        assert!(parse(ONE, &with).is_ok());
        assert!(parse(&format!("{ONE}\nuser = \"\""), &with).is_err());
        let both = "handler = \"hub?user=query.name\"\nadmission = [\"jwt\"]";
        let error = parse(ONE, both).expect_err("two users");
        assert!(error.contains("`hub?user`: tokens say who the user is"), "{error}");
    }

    #[test]
    fn what_a_program_has_put_together_is_checked() {
        let jwts = vec![Jwt { keys: vec!["a".into()], ..Jwt::new("a") }];
        let checked = |admission: Vec<AdmissionCheck>| {
            let route = Route { admission, ..Route::new("/", RouteHandler::Echo) };
            let config = Config { jwts: jwts.clone(), ..Config::default() };
            config.with_routes(vec![route]).check()
        };
        assert_eq!(checked(vec![AdmissionCheck::Jwt("a".into())]), Ok(()));
        assert_eq!(checked(Vec::new()), Ok(()), "pages are checked all the same");
        for list in [
            vec![AdmissionCheck::Jwt("b".into())],
            vec![AdmissionCheck::Origin, AdmissionCheck::Origin],
        ] {
            let error = checked(list).expect_err("wrong");
            assert!(error.to_string().starts_with("routes[0].admission: "), "{error}");
        }
    }
}

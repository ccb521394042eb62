//! The key `cors` of a route: which pages of other origins may read what it answers over plain HTTP
//! (the Fetch standard, section 3.3, "CORS protocol").

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use tidegate_proto::token::is_token;
use toml::Spanned;
use toml::de::DeValue;

use super::built::{self, BuiltWrong};
use super::client_limits::or_off;
use super::reader::{Setting, TableReader, expected};
use super::route::RouteHandler;
use super::{Origins, value};
use crate::units::{Time, quote};

/// Which pages of other origins may read what a route answers over plain HTTP, and ask in ways that
/// browsers ask for first (a preflight).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// The pages, as [`Route::origins`](super::Route::origins) has those that may open WebSockets.
    pub origins: Origins,
    /// The methods that they may use beside `GET`, `HEAD` and `POST`, which browsers let every page
    /// use: at most 16. Default none.
    pub methods: Vec<String>,
    /// The headers that they may send beside those that every page may, at most 32, in lower case.
    /// Default none.
    pub headers: Vec<String>,
    /// For how long a browser may remember that, 1 s to 24 h; `None` leaves it to the browser.
    /// Default 10 min.
    pub max_age: Option<Duration>,
    /// Whether cookies, certificates and passwords that a browser has may go along. It cannot be
    /// for `any` page, nor for `null`. Default no.
    pub credentials: bool,
}

const METHODS_MAX: usize = 16;
const HEADERS_MAX: usize = 32;
/// The most characters of a method or of a header's name.
const NAME_MAX: usize = 64;
const MAX_AGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
/// The keys of the table.
const KEYS: &str = "`origins`, `methods`, `headers`, `max_age` and `credentials`";

impl Cors {
    /// For these pages, and else as by default.
    #[must_use]
    pub fn new(origins: Origins) -> Self {
        Self {
            origins,
            methods: Vec::new(),
            headers: Vec::new(),
            max_age: Some(Duration::from_secs(600)),
            credentials: false,
        }
    }

    /// Checks what a program has put together, which is `field` of the configuration.
    pub(super) fn check(&self, field: &str, handler: &RouteHandler) -> Result<(), BuiltWrong> {
        let wrong = |wrong: String| BuiltWrong(format!("{field}: {wrong}"));
        if let Some(why) = idle(handler) {
            return Err(wrong(format!("means nothing {why}")));
        }
        for (key, list, most) in
            [("methods", &self.methods, METHODS_MAX), ("headers", &self.headers, HEADERS_MAX)]
        {
            built::number(format!("{field}.{key}"), list.len(), &(0..=most))?;
            for name in list {
                check_name(name).map_err(|wrong| BuiltWrong(format!("{field}.{key}: {wrong}")))?;
            }
        }
        if let Some(age) = self.max_age {
            built::time(format!("{field}.max_age"), age, &MAX_AGE)?;
        }
        self.check_credentials().map_err(wrong)
    }

    /// Fetch standard, section 3.3.5: for a request with credentials `*` stands for nothing. To say
    /// the name of whatever page asks instead would let every page read what only the one who looks
    /// at it may.
    fn check_credentials(&self) -> Result<(), String> {
        let is_open = self.origins.iter().any(|one| matches!(one, "any" | "null"));
        match self.credentials && is_open {
            true => {
                Err("`credentials` would let every page read what is for the one who looks at \
                         it alone: name the `origins` instead of \"any\" and \"null\""
                    .into())
            }
            false => Ok(()),
        }
    }
}

impl fmt::Display for Cors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origins, methods, headers, max_age, credentials } = self;
        let age = max_age.map_or("off".into(), |age| Time(age).to_string());
        let (methods, headers) = (methods.join(" "), headers.join(" "));
        write!(
            out,
            "origins = {origins}, methods = {methods}, headers = {headers}, max_age = {age}, \
             credentials = {credentials}"
        )
    }
}

/// Reads `cors` of a route.
pub(super) fn read(
    table: &mut TableReader<'_, '_>,
    handler: &Setting<Option<RouteHandler>>,
) -> Option<Cors> {
    let idle = handler.value.as_ref().and_then(idle);
    table.read_unless("cors", idle, None, |value| cors(value).map(Some)).value
}

/// Why it means nothing for a handler.
const fn idle(handler: &RouteHandler) -> Option<&'static str> {
    match handler {
        RouteHandler::Health | RouteHandler::Static | RouteHandler::Embedded => None,
        RouteHandler::Echo | RouteHandler::Hub(_) => Some(
            "while `handler` answers nothing over plain HTTP: pages may open WebSockets as \
             `origins` says",
        ),
    }
}

fn cors(value: &DeValue<'_>) -> Result<Cors, String> {
    let DeValue::Table(table) = value else {
        return Err(expected("a table such as { origins = [\"https://app.example.com\"] }", value));
    };
    let mut cors = Cors::new(Origins::new([])?);
    let mut has_origins = false;
    for (key, value) in table {
        let (key, value): (&str, _) = (key.get_ref(), value.get_ref());
        let wrong = |wrong: String| format!("`{key}`: {wrong}");
        match key {
            "origins" => {
                has_origins = true;
                let texts = list(value, usize::MAX).map_err(wrong)?;
                cors.origins = Origins::new(texts.iter().map(|text| &**text)).map_err(wrong)?;
            }
            "methods" => cors.methods = names(value, METHODS_MAX).map_err(wrong)?,
            "headers" => {
                let names = names(value, HEADERS_MAX).map_err(wrong)?;
                cors.headers = names.iter().map(|name| name.to_ascii_lowercase()).collect();
            }
            "max_age" => {
                let age = or_off(value, |value| value::time(value, &MAX_AGE));
                cors.max_age = age.map_err(wrong)?;
            }
            "credentials" => cors.credentials = value::boolean(value).map_err(wrong)?,
            _ => return Err(format!("{} is not a key: the keys are {KEYS}", quote(key))),
        }
    }
    if !has_origins {
        return Err("`origins` is missing: add `origins = [\"https://app.example.com\"]`".into());
    }
    cors.check_credentials().map(|()| cors)
}

fn list(value: &DeValue<'_>, most: usize) -> Result<Vec<String>, String> {
    let DeValue::Array(written) = value else {
        return Err(expected("an array of strings", value));
    };
    if written.len() > most {
        return Err(format!("has {} elements, and may have {most}", written.len()));
    }
    let text = |one: &Spanned<DeValue<'_>>| value::text(one.get_ref()).map(str::to_owned);
    written.iter().map(text).collect()
}

fn names(value: &DeValue<'_>, most: usize) -> Result<Vec<String>, String> {
    let names = list(value, most)?;
    names.iter().try_for_each(|name| check_name(name)).map(|()| names)
}

/// RFC 9110 section 9.1 and 5.1: methods and names of headers are tokens. Of these `*` is one,
/// which stands for all of them where no credentials are sent.
fn check_name(name: &str) -> Result<(), String> {
    match is_token(name.as_bytes()) && name.len() <= NAME_MAX && name != "*" {
        true => Ok(()),
        false => Err(format!("must be names of at most {NAME_MAX} letters, has {}", quote(name))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn parse(handler: &str, cors: &str) -> Result<Config, String> {
        let text = format!("[[route]]\npath = '/'\nhandler = '{handler}'\ncors = {cors}");
        Config::parse(&text, "t.toml").map_err(|errors| errors.to_string())
    }

    #[test]
    fn a_route_says_which_pages_may_read_it() {
        let all = "{ origins = ['https://*.example.com'], methods = ['PUT'], headers = ['X-A'], \
                   max_age = '1h', credentials = true }";
        let config = parse("health", all).expect("right");
        let cors = config.routes[0].cors.as_ref().expect("there");
        assert_eq!(
            cors.to_string(),
            "origins = https://*.example.com, methods = PUT, headers = x-a, max_age = 1h, \
             credentials = true"
        );
        assert_eq!(config.check(), Ok(()));
        let few = parse("static", "{ origins = ['any'], max_age = 'off' }").expect("right");
        let expected = Cors { max_age: None, ..Cors::new(Origins::any()) };
        assert_eq!(few.routes[0].cors, Some(expected));
    }

    #[test]
    fn mistakes_say_what_to_do() {
        for (handler, cors, wrong) in [
            ("health", "'any'", "cors: must be a table such as { origins = "),
            ("health", "{}", "cors: `origins` is missing: add"),
            ("health", "{ origins = 'any' }", "cors: `origins`: must be an array"),
            ("health", "{ origins = ['https://a/'] }", "cors: `origins`: \"https://a/\" is no"),
            ("health", "{ origins = [], age = 1 }", "cors: \"age\" is not a key: the keys are"),
            ("health", "{ origins = [], max_age = '0s' }", "cors: `max_age`: must be between"),
            ("health", "{ origins = [], methods = ['*'] }", "cors: `methods`: must be names"),
            ("health", "{ origins = [], headers = ['a b'] }", "cors: `headers`: must be names"),
            ("health", "{ origins = ['any'], credentials = true }", "would let every page read"),
            ("static", "{ origins = ['null'], credentials = true }", "would let every page read"),
            ("echo", "{ origins = ['any'] }", "cors: means nothing while `handler` answers"),
        ] {
            let error = parse(handler, cors).expect_err(cors);
            assert!(error.contains(wrong), "{cors}: {error}");
        }
    }
}

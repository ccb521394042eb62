//! What a person at a terminal has a gateway do, by its admin address.

mod connections;
mod drain;
mod http;
mod publish;
mod reload;
mod revoke;
mod screen;
mod table;
mod top;

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;
use tidegate::config::{BearerToken, Config, ListenAddress};

pub use connections::{ConnectionsArguments, DisconnectArguments};
pub use drain::DrainArguments;
pub use publish::PublishArguments;
pub use top::TopArguments;

use http::{AdminAnswer, AdminCaller, AdminRequest, Unanswered};

/// The variable that a token may be in.
const TOKEN_VARIABLE: &str = "TIDEGATE_TOKEN";

/// The exit code if the gateway, or what it was asked for, has failed.
const NOT_DONE: u8 = 1;
/// If the command line or a file is wrong.
const WRONG: u8 = 2;
/// If a drain has cut connections off.
const CUT_OFF: u8 = 3;
/// If no gateway answers.
const NO_GATEWAY: u8 = 4;
/// If the token is missing, or a wrong one.
const NOT_ALLOWED: u8 = 5;

/// How a gateway is asked.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct Asking {
    /// Read the token of the admin address from this file. Without, it is in the variable
    /// TIDEGATE_TOKEN, or the first of `admin.tokens` of the file that --config names
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Print the gateway's answer as it is, in JSON
    #[arg(long)]
    pub json: bool,
}

/// Why something was not done: the exit code, and what is said on stderr.
#[derive(Debug, PartialEq, Eq)]
pub struct CommandFailure(pub u8, pub String);

impl CommandFailure {
    fn wrong(message: impl Into<String>) -> Self {
        Self(WRONG, message.into())
    }
}

/// A gateway's admin address, and how its answers are shown.
pub struct Client {
    caller: AdminCaller,
    json: bool,
}

impl Client {
    /// Of the gateway that has this configuration.
    ///
    /// # Errors
    /// It has no admin address, or the token cannot be read.
    pub fn new(asking: &Asking, config: &Config) -> Result<Self, CommandFailure> {
        let Some(address) = config.admin.address.clone() else {
            return Err(CommandFailure::wrong(
                "the admin address is off: name the gateway's by --admin, or its file by --config",
            ));
        };
        let variable = std::env::var_os(TOKEN_VARIABLE);
        let token = token(asking.token_file.as_deref(), variable, config)?;
        if let Some(doubt) = doubt(&address, token.as_ref()) {
            // Without a stderr there is still what is asked for.
            let _ = writeln!(io::stderr(), "warning: {doubt}");
        }
        Ok(Self { caller: AdminCaller::new(address, token), json: asking.json })
    }

    /// Asks, and reads the answer as JSON.
    fn ask(&self, request: &AdminRequest<'_>) -> Result<Value, CommandFailure> {
        self.read(self.caller.ask(request)?)
    }

    /// Reads an answer as JSON.
    fn read(&self, answer: AdminAnswer) -> Result<Value, CommandFailure> {
        let AdminAnswer { status, body } = answer;
        let value: Option<Value> = serde_json::from_slice(&body).ok();
        match (status, value) {
            (200..=299, Some(value)) => Ok(value),
            (200..=299, None) => Err(CommandFailure(
                NOT_DONE,
                format!("{} has not answered in JSON: is it a Tidegate?", self.caller),
            )),
            (status, value) => Err(self.refused(status, value.as_ref())),
        }
    }

    fn get(&self, path: &str) -> Result<Value, CommandFailure> {
        self.ask(&AdminRequest { method: "GET", path, body: None })
    }

    /// The same of a gateway that ends; `None` once it has.
    fn get_to_its_end(&self, path: &str) -> Result<Option<Value>, CommandFailure> {
        match self.caller.ask(&AdminRequest { method: "GET", path, body: None }) {
            Ok(answer) => self.read(answer).map(Some),
            Err(Unanswered { nobody_listens: true, .. }) => Ok(None),
            Err(unanswered) => Err(unanswered.into()),
        }
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value, CommandFailure> {
        self.ask(&AdminRequest { method: "POST", path, body: Some(&body.to_string()) })
    }

    fn delete(&self, path: &str) -> Result<Value, CommandFailure> {
        self.ask(&AdminRequest { method: "DELETE", path, body: None })
    }

    /// What an answer says that is none of success.
    fn refused(&self, status: u16, body: Option<&Value>) -> CommandFailure {
        let text = |key: &str| body.and_then(|body| body["error"][key].as_str()).map(shown);
        let message = text("message").unwrap_or_else(|| "no reason is told".into());
        let hint = text("hint").map(|hint| format!("; {hint}")).unwrap_or_default();
        match status {
            401 | 403 => {
                let what = match (self.caller.has_token(), status) {
                    (false, 401) => "wants a token, and none was given",
                    (true, 401) => "does not know this token",
                    _ => "does not let this in",
                };
                CommandFailure(
                    NOT_ALLOWED,
                    format!(
                        "{} {what} ({message}): one of its `admin.tokens` is needed, in a file \
                         that --token-file names, or in {TOKEN_VARIABLE}",
                        self.caller
                    ),
                )
            }
            _ => CommandFailure(NOT_DONE, format!("{message} ({status}){hint}")),
        }
    }

    /// Says what came of it: as it was told, or in words.
    fn tell(&self, told: &Value, words: impl fmt::Display) -> Result<(), CommandFailure> {
        if self.json { say(format_args!("{told}\n")) } else { say(format_args!("{words}")) }
    }
}

/// Says it on stdout. Who has closed its other end has heard enough.
fn say(what: fmt::Arguments<'_>) -> Result<(), CommandFailure> {
    let mut out = io::stdout().lock();
    match out.write_fmt(what).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CommandFailure(NOT_DONE, error.to_string()))
        }
        _ => Ok(()),
    }
}

/// The token that goes with a request: of the file, of the variable if there is something in it, or
/// of the configuration.
fn token(
    file: Option<&Path>,
    variable: Option<OsString>,
    config: &Config,
) -> Result<Option<BearerToken>, CommandFailure> {
    let (text, whence) = match (file, variable.filter(|text| !text.is_empty())) {
        (Some(file), _) => {
            let whence = file.display().to_string();
            let text = fs::read_to_string(file)
                .map_err(|error| CommandFailure::wrong(format!("{whence}: {error}")))?;
            (text, whence)
        }
        // What is not UTF-8 is not visible ASCII either, and is refused as that.
        (None, Some(text)) => (text.to_string_lossy().into_owned(), TOKEN_VARIABLE.to_owned()),
        (None, None) => return Ok(config.admin.tokens.first().cloned()),
    };
    BearerToken::new(text.trim())
        .map(Some)
        .map_err(|wrong| CommandFailure::wrong(format!("{whence}: the token {wrong}")))
}

/// What is to be said of a token that goes to this address.
fn doubt(address: &ListenAddress, token: Option<&BearerToken>) -> Option<String> {
    let ip = address.ip()?;
    (token.is_some() && !ip.ip().to_canonical().is_loopback()).then(|| {
        format!(
            "{ip} is not loopback, and the token goes there unencrypted: whoever is on the way can \
             read it, and steer the gateway; ask on its own machine, or by a tunnel"
        )
    })
}

/// A path of the API with what is asked behind it.
fn with_query(path: &str, pairs: &[(&str, Option<&str>)]) -> String {
    let pairs = pairs.iter().filter_map(|(key, value)| Some((key, (*value)?)));
    let pairs: Vec<String> =
        pairs.map(|(key, value)| format!("{key}={}", escaped(value))).collect();
    if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
}

/// A text as a part of a path or a query has it.
fn escaped(text: &str) -> impl fmt::Display {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
}

/// A text of another as it may stand in a line of a terminal: what steers it is left out.
fn shown(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{FFFD}' } else { letter }).collect()
}

/// The same of a value of an answer; `-` where there is none.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => shown(text),
        other => shown(&other.to_string()),
    }
}

pub use reload::ReloadArguments;
pub use revoke::RevokeArguments;

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn a_query_has_what_is_asked_and_escapes_it() {
        assert_eq!(with_query("/v1/a", &[("b", None)]), "/v1/a");
        let asked = [("b", Some("/rooms/{room}")), ("c", None), ("d", Some("ä&"))];
        assert_eq!(with_query("/v1/a", &asked), "/v1/a?b=%2Frooms%2F%7Broom%7D&d=%C3%A4%26");
    }

    #[test]
    fn nothing_that_is_told_steers_the_terminal() {
        assert_eq!(cell(&Value::from("a\x1b[2Jb\n")), "a\u{FFFD}[2Jb\u{FFFD}");
        assert_eq!((cell(&Value::Null), cell(&Value::from(3))), ("-".into(), "3".into()));
    }

    #[test]
    fn a_variable_has_a_token_nothing_or_what_is_refused() {
        let of = |bytes: &[u8]| {
            let variable = OsString::from_vec(bytes.to_vec());
            token(None, Some(variable), &Config::default())
        };
        let text = "0123456789abcdef";
        let secret = |token: BearerToken| token.secret().to_owned();
        assert_eq!(of(text.as_bytes()).unwrap().map(secret), Some(text.into()));
        assert!(of(b"").unwrap().is_none());
        let CommandFailure(code, said) = of(b"0123456789abcde\xff").unwrap_err();
        assert!(code == 2 && said.contains("TIDEGATE_TOKEN: the token must have"), "{said}");
    }

    #[test]
    fn a_token_that_leaves_the_machine_is_warned_of() {
        let token = BearerToken::new("0123456789abcdef").unwrap();
        let said = |ip: &str, token| {
            let address: std::net::SocketAddr = ip.parse().unwrap();
            doubt(&address.into(), token)
        };
        for own in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(said(own, Some(&token)), None, "{own}");
        }
        assert_eq!(said("10.0.0.1:1", None), None);
        for other in ["10.0.0.1:1", "[2001:db8::1]:1"] {
            let said = said(other, Some(&token)).expect(other);
            assert!(said.starts_with(other) && said.contains("not loopback"), "{said}");
        }
    }

    #[test]
    fn a_refusal_says_what_to_do_and_has_its_exit_code() {
        let asking = Asking::default();
        let client = Client::new(&asking, &Config::default()).unwrap();
        let body = serde_json::json!({"error": {"message": "no", "hint": "ask"}});
        assert_eq!(client.refused(409, Some(&body)), CommandFailure(1, "no (409); ask".into()));
        let steering = serde_json::json!({"error": {"message": "a\x1b[2J", "hint": "b\u{9b}2J"}});
        let said = "a\u{FFFD}[2J (409); b\u{FFFD}2J".into();
        assert_eq!(client.refused(409, Some(&steering)), CommandFailure(1, said));
        let CommandFailure(_, said) = client.refused(401, Some(&steering));
        assert!(!said.contains('\x1b'), "{said:?}");
        let CommandFailure(code, said) = client.refused(401, Some(&body));
        assert!(code == 5 && said.contains("--token-file"), "{said}");
        let off = Config::default().with_admin(None);
        assert!(Client::new(&asking, &off).is_err_and(|error| error.0 == 2));
    }
}

//! A `[[passwords]]`: a file of users and of what their passwords hash to; and `[hashing]`, what
//! hashing passwords may take.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::built::{self, BuiltWrong};
use super::client_limits::or_off;
use super::jwt::{check_name, file};
use super::reader::{Origin, TableReader};
use super::stack::values::built_file_name;
use super::value;
use crate::units::{Size, Time, quote};

/// A file of users and of what their passwords hash to. Routes ask for one by `basic` in their
/// `admission`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passwords {
    /// What routes call it: 1 to 64 letters, digits, `-` and `_`. No two have the same.
    pub name: String,
    /// The file: a line `USER:HASH` for each user. One that is relative is relative to the working
    /// directory.
    pub file: PathBuf,
    /// What those are asked a password for who come without one, 1 to 64 printable ASCII
    /// characters without `"` and `\` (RFC 9110 section 11.5). Default `Tidegate`.
    pub realm: String,
    /// For how long a password that was hashed need not be hashed anew, 1 s to 24 h; `None` for
    /// not at all. Default 10 min.
    pub remember: Option<Duration>,
}

/// What hashing passwords may take, of the whole gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashing {
    /// Threads that hash passwords, 1 to 64. Default 1. They are there where some route asks for
    /// passwords.
    pub threads: u16,
    /// Passwords that may wait for them at once, 1 to 65536. Default 64. Who comes with one more is
    /// answered with 503.
    pub waiting: u32,
    /// Those among them of one address, 1 to 65536. Default 4. Who comes with one more is answered
    /// with 429.
    pub per_address: u32,
    /// The most bytes that hashing one password takes, 1 MiB to 1 GiB. Default 64 MiB. A file with
    /// a hash that takes more is refused.
    pub memory: u32,
}

/// The most files of passwords of a configuration.
pub(super) const PASSWORDS_MAX: usize = 16;
const REALM: RangeInclusive<usize> = 1..=64;
const REMEMBER: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
const THREADS: RangeInclusive<u16> = 1..=64;
const WAITING: RangeInclusive<u32> = 1..=65_536;
const MEMORY: RangeInclusive<u32> = 1 << 20..=1 << 30;

impl Passwords {
    /// Of this name, in this file, and else as by default.
    #[must_use]
    pub fn new(name: impl Into<String>, file: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            file: file.into(),
            realm: "Tidegate".into(),
            remember: Some(Duration::from_secs(600)),
        }
    }

    /// Checks what a program has put together, which is `field` of the configuration.
    pub(super) fn check(&self, field: &str, earlier: &[Self]) -> Result<(), BuiltWrong> {
        let says = |key: &str, checked: Result<(), String>| {
            checked.map_err(|wrong| BuiltWrong(format!("{field}.{key}: {wrong}")))
        };
        says("name", check_name(&self.name))?;
        says("name", check_earlier(&self.name, earlier))?;
        built_file_name(format!("{field}.file"), &self.file)?;
        says("realm", check_realm(&self.realm))?;
        match self.remember {
            Some(time) => built::time(format!("{field}.remember"), time, &REMEMBER),
            None => Ok(()),
        }
    }

    /// `remember` as the file has it.
    pub(crate) fn remembered(&self) -> String {
        self.remember.map_or("off".into(), |time| Time(time).to_string())
    }
}

impl Default for Hashing {
    fn default() -> Self {
        Self { threads: 1, waiting: 64, per_address: 4, memory: 64 << 20 }
    }
}

impl Hashing {
    /// Checks what a program has put together.
    pub(super) fn check(&self) -> Result<(), BuiltWrong> {
        built::number("hashing.threads", self.threads, &THREADS)?;
        built::number("hashing.waiting", self.waiting, &WAITING)?;
        built::number("hashing.per_address", self.per_address, &WAITING)?;
        built::size("hashing.memory", self.memory, &MEMORY)
    }

    /// Each key as the file has it, with its value.
    pub(super) fn written(&self) -> [(&'static str, String); 4] {
        [
            ("hashing.threads", self.threads.to_string()),
            ("hashing.waiting", self.waiting.to_string()),
            ("hashing.waiting_per_address", self.per_address.to_string()),
            ("hashing.memory", Size(self.memory.into()).to_string()),
        ]
    }
}

/// Reads one `[[passwords]]`, `earlier` being the ones before it.
pub(super) fn read(mut table: TableReader<'_, '_>, earlier: &[Passwords]) -> Option<Passwords> {
    let default = Passwords::new("passwords", "");
    let name = table.read("name", default.name, |value| {
        let name = value::text(value)?;
        check_name(name).map(|()| name.to_owned())
    });
    if let (true, Err(wrong)) =
        (name.origin != Origin::Refused, check_earlier(&name.value, earlier))
    {
        table.wrong("name", wrong);
    }
    let path = table.require("file", "file = \"users\"", file);
    let realm = table.read("realm", default.realm, |value| {
        let realm = value::text(value)?;
        check_realm(realm).map(|()| realm.to_owned())
    });
    let remember = table.read("remember", default.remember, |value| {
        or_off(value, |value| value::time(value, &REMEMBER))
    });
    table.finish();
    let (name, realm, remember) = (name.value, realm.value, remember.value);
    path.value.map(|file| Passwords { name, file, realm, remember })
}

/// Reads `[hashing]`.
pub(super) fn read_hashing(mut table: TableReader<'_, '_>) -> Hashing {
    let default = Hashing::default();
    let hashing = Hashing {
        threads: table
            .read("threads", default.threads, |value| value::integer(value, &THREADS))
            .value,
        waiting: table
            .read("waiting", default.waiting, |value| value::integer(value, &WAITING))
            .value,
        per_address: table
            .read("waiting_per_address", default.per_address, |value| {
                value::integer(value, &WAITING)
            })
            .value,
        memory: table.read("memory", default.memory, |value| value::size(value, &MEMORY)).value,
    };
    table.finish();
    hashing
}

/// RFC 9110 section 5.6.4: in a quoted string `"` and `\` would have to be escaped, which not every
/// client undoes.
fn check_realm(realm: &str) -> Result<(), String> {
    let may_stand = |byte: u8| (b' '..=b'~').contains(&byte) && !b"\"\\".contains(&byte);
    match REALM.contains(&realm.len()) && realm.bytes().all(may_stand) {
        true => Ok(()),
        false => Err(format!(
            "must have 1 to {} printable ASCII characters without `\"` and `\\`, is {}",
            REALM.end(),
            quote(realm)
        )),
    }
}

fn check_earlier(name: &str, earlier: &[Passwords]) -> Result<(), String> {
    match earlier.iter().position(|other| other.name == name) {
        None => Ok(()),
        Some(index) => {
            Err(format!("{} is the name of passwords[{index}] too: give each its own", quote(name)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AdmissionCheck, Config};
    use super::*;

    fn parse(tables: &str, list: &str) -> Result<Config, String> {
        let text =
            format!("{tables}\n[[route]]\npath = \"/\"\nhandler = \"echo\"\nadmission = [{list}]");
        Config::parse(&text, "t.toml").map_err(|errors| errors.to_string())
    }

    const ONE: &str = "[[passwords]]\nfile = \"users\"";
    const TWO: &str = "[[passwords]]\nname = \"a\"\nfile = \"users\"\nrealm = \"Staff only\"\n\
                       remember = \"off\"\n[[passwords]]\nname = \"b\"\nfile = \"others\"";

    #[test]
    fn a_route_says_which_file_is_meant() {
        let config = parse(ONE, "\"basic\"").expect("right");
        assert_eq!(config.passwords, [Passwords::new("passwords", "users")]);
        assert_eq!(config.routes[0].admission[1], AdmissionCheck::Basic("passwords".into()));
        let config = parse(TWO, "\"basic?by=b\"").expect("right");
        assert_eq!(config.routes[0].admission[1].to_string(), "basic?by=b");
        assert_eq!(
            (&*config.passwords[0].realm, config.passwords[0].remember),
            ("Staff only", None)
        );
        assert_eq!(config.check(), Ok(()));
    }

    #[test]
    fn mistakes_say_what_to_do() {
        for (tables, list, wrong) in [
            ("", "\"basic\"", "[0] no passwords are there: add a [[passwords]] with a `file`"),
            (TWO, "\"basic\"", "[0] there are 2 of [[passwords]]: say which one"),
            (TWO, "\"basic?by=c\"", "[0] `basic?by`: no [[passwords]] has the name \"c\""),
            (ONE, "\"basic?realm=x\"", "[0] \"realm\" is not an option of `basic`"),
            (ONE, "\"basic\", \"basic\"", "[1] `basic` is there twice"),
            ("[[passwords]]", "", "passwords[0].file: is missing: add `file = \"users\"`"),
            (&format!("{ONE}\n{ONE}"), "", "\"passwords\" is the name of passwords[0] too"),
            (&format!("{ONE}\nrealm = 'a\"b'"), "", "passwords[0].realm: must have 1 to 64"),
            (&format!("{ONE}\nremember = \"0s\""), "", "passwords[0].remember: must be between"),
            ("[hashing]\nthreads = 0", "", "hashing.threads: must be between 1 and 64"),
            ("[hashing]\nmemory = \"2GiB\"", "", "hashing.memory: "),
        ] {
            let error = parse(tables, list).expect_err(tables);
            assert!(error.contains(wrong), "{tables} {list}: {error}");
        }
        let token = format!("{ONE}\n[[token]]\nname = \"a\"\nfile = \"a\"");
        let error = parse(&token, "\"basic\", \"token\"").expect_err("both");
        assert!(error.contains("[1] `token` stands beside `basic`"), "{error}");
    }
}

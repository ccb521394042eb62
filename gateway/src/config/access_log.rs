//! The table `[access_log]`: a line for each connection, response and refusal, on a stream of its
//! own.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use toml::de::DeValue;

use super::built::{self, BuiltWrong};
use super::reader::{Setting, TableReader, expected};
use super::{hint, value};
use crate::units::{Size, quote};

/// Where lines about connections, responses and refusals go, and what they say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// Where they go.
    pub to: AccessTarget,
    /// How they are written. Default [`AccessFormat::Json`].
    pub format: AccessFormat,
    /// What lines of JSON say, in this order; at least one, and each once. The default is all but
    /// [`AccessField::Query`].
    pub fields: Vec<AccessField>,
    /// Which lines there are of a connection. Default [`ToldConnections::End`].
    pub connections: ToldConnections,
    /// Lines about refusals that each shard writes in a second, and at once, 1 to 1000000. Default
    /// 100. How many were left out is in the next line.
    pub refusals_per_second: u32,
    /// Lines that may wait to be written, 16 to 1048576. Default 4096. What finds no place is
    /// dropped.
    pub queue: u32,
    /// The bytes at which a file is put aside, 64 KiB to 1 TiB; `None`, the default, for never.
    pub max_size: Option<u64>,
    /// How many files that were put aside are kept, 1 to 1000. Default 5.
    pub keep: u32,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessTarget {
    /// `file:PATH`: to the end of this file.
    File(PathBuf),
    /// `stdout`.
    Stdout,
    /// `syslog`, or `syslog:PATH` for another socket than `/dev/log`.
    Syslog(PathBuf),
}

/// How lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessFormat {
    /// `json`: an object in each line.
    #[default]
    Json,
    /// `combined`: as web servers do.
    Combined,
}

/// Which lines there are of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ToldConnections {
    /// `end`: one when it has ended.
    #[default]
    End,
    /// `both`: one more when it has opened.
    Both,
}

named! {
    /// What a line may say. What is not known of a connection is left out of its line.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum AccessField {
        /// When, in UTC, by RFC 3339 with milliseconds.
        Time = "time",
        /// `opened`, `closed`, `answered` or `refused`.
        Event = "event",
        /// The connection's id.
        Id = "id",
        /// The address that it comes from, as a proxy has told it if one has.
        Peer = "peer",
        /// The address of that proxy.
        ProxiedBy = "proxied_by",
        /// The address of the listener, as configured.
        Listener = "listener",
        /// `websocket`, `http`, or `program` for a protocol that a program brings along.
        Protocol = "protocol",
        /// The method of the request.
        Method = "method",
        /// The host that was asked for.
        Host = "host",
        /// The path, as it was sent.
        Path = "path",
        /// The names in the query; values may be secrets.
        Query = "query",
        /// The path pattern of the route.
        Route = "route",
        /// Whose connection it is.
        User = "user",
        /// The subprotocol that was selected.
        Subprotocol = "subprotocol",
        /// The version of TLS, if it is over that.
        Tls = "tls",
        /// The status of HTTP.
        Status = "status",
        /// Why it was refused, or has ended, in one word.
        Reason = "reason",
        /// The close code of a WebSocket connection.
        Code = "code",
        /// Whether the peer has ended it.
        ByPeer = "by_peer",
        /// How long it was open, in seconds.
        Duration = "duration",
        /// Messages that came.
        MessagesIn = "messages_in",
        /// Bytes that were received once it was open.
        BytesIn = "bytes_in",
        /// Messages that were said.
        MessagesOut = "messages_out",
        /// Bytes of their payloads, or of the body of a response.
        BytesOut = "bytes_out",
        /// The origin of the page that has asked.
        Origin = "origin",
        /// The page that has asked, without what its query has.
        Referer = "referer",
        /// What the request calls the peer's program.
        UserAgent = "user_agent",
        /// How many refusals have no line since the last one of the shard.
        LeftOut = "left_out",
    }
}

const REFUSALS: RangeInclusive<u32> = 1..=1_000_000;
const QUEUE: RangeInclusive<u32> = 16..=1 << 20;
const MAX_SIZE: RangeInclusive<u64> = 64 << 10..=1 << 40;
const KEEP: RangeInclusive<u32> = 1..=1000;

/// The socket of the local syslog (syslog(3)).
const SYSLOG: &str = "/dev/log";

/// What `to` may be.
const TARGETS: &str = "\"file:/var/log/tidegate/access.log\", \"stdout\", \"syslog\" or \
                       \"syslog:/run/log.sock\"";

/// Why the openings of connections have no lines of this format.
const ALIKE: &str = "means nothing with format = \"combined\", whose lines do not say which is \
                     which: write format = \"json\"";

impl AccessLog {
    /// All as by default, to this.
    #[must_use]
    pub fn new(to: AccessTarget) -> Self {
        let is_told = |field: &AccessField| *field != AccessField::Query;
        Self {
            to,
            format: AccessFormat::default(),
            fields: AccessField::ALL.into_iter().filter(is_told).collect(),
            connections: ToldConnections::default(),
            refusals_per_second: 100,
            queue: 4096,
            max_size: None,
            keep: 5,
        }
    }

    /// Checks what a program has put together.
    pub(super) fn check(&self) -> Result<(), BuiltWrong> {
        let wrong = |key: &str, what: &str| BuiltWrong(format!("access_log.{key}: {what}"));
        if let AccessTarget::File(path) | AccessTarget::Syslog(path) = &self.to
            && path.as_os_str().is_empty()
        {
            return Err(wrong("to", "the path is empty"));
        }
        check_fields(&self.fields).map_err(|what| wrong("fields", &what))?;
        built::number("access_log.refusals_per_second", self.refusals_per_second, &REFUSALS)?;
        built::number("access_log.queue", self.queue, &QUEUE)?;
        if let Some(size) = self.max_size {
            built::size("access_log.max_size", size, &MAX_SIZE)?;
        }
        built::number("access_log.keep", self.keep, &KEEP)?;
        let is_alike = self.format == AccessFormat::Combined;
        if is_alike && self.connections == ToldConnections::Both {
            return Err(wrong("connections", ALIKE));
        }
        match (&self.to, self.max_size) {
            (AccessTarget::File(_), _) | (_, None) => Ok(()),
            (to, Some(_)) => Err(wrong("max_size", &no_file(to))),
        }
    }

    /// Each key as the file has it, with its value, of a text without its quotes.
    #[must_use]
    pub fn written(&self) -> [(&'static str, String); 8] {
        let fields: Vec<_> = self.fields.iter().map(|field| field.name()).collect();
        [
            ("access_log.to", self.to.to_string()),
            ("access_log.format", self.format.name().into()),
            ("access_log.fields", format!("{fields:?}")),
            ("access_log.connections", self.connections.name().into()),
            ("access_log.refusals_per_second", self.refusals_per_second.to_string()),
            ("access_log.queue", self.queue.to_string()),
            (
                "access_log.max_size",
                self.max_size.map_or("off".into(), |size| Size(size).to_string()),
            ),
            ("access_log.keep", self.keep.to_string()),
        ]
    }
}

impl AccessFormat {
    const ALL: [Self; 2] = [Self::Json, Self::Combined];

    /// As the file has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Combined => "combined",
        }
    }
}

impl ToldConnections {
    const ALL: [Self; 2] = [Self::End, Self::Both];

    /// As the file has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::End => "end",
            Self::Both => "both",
        }
    }
}

impl fmt::Display for AccessTarget {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(out, "file:{}", path.display()),
            Self::Stdout => out.write_str("stdout"),
            Self::Syslog(path) if path.as_os_str() == SYSLOG => out.write_str("syslog"),
            Self::Syslog(path) => write!(out, "syslog:{}", path.display()),
        }
    }
}

/// Reads the table; `None` if it does not say where lines go.
pub(super) fn read(mut table: TableReader<'_, '_>) -> Option<AccessLog> {
    let example = "to = \"file:/var/log/tidegate/access.log\"";
    let to = table.require("to", example, target);
    let default = AccessLog::new(AccessTarget::Stdout);
    let formats = AccessFormat::ALL.map(|format| (format.name(), format));
    let format = table.read("format", default.format, |value| value::one_of(value, &formats)).value;
    let is_combined = format == AccessFormat::Combined;
    let fixed = is_combined.then_some("with format = \"combined\", which has its own");
    let told = ToldConnections::ALL.map(|told| (told.name(), told));
    let connections =
        table.read("connections", default.connections, |value| {
            match value::one_of(value, &told)? {
                ToldConnections::Both if is_combined => Err(ALIKE.into()),
                told => Ok(told),
            }
        });
    let log = AccessLog {
        format,
        fields: table.read_unless("fields", fixed, default.fields, fields).value,
        connections: connections.value,
        refusals_per_second: table
            .read("refusals_per_second", default.refusals_per_second, |value| {
                value::integer(value, &REFUSALS)
            })
            .value,
        queue: table.read("queue", default.queue, |value| value::integer(value, &QUEUE)).value,
        max_size: table.read("max_size", None, |value| max_size(value, &to)).value,
        keep: table.read("keep", default.keep, |value| value::integer(value, &KEEP)).value,
        to: to.value.clone().unwrap_or(default.to),
    };
    table.finish();
    to.value.map(|to| AccessLog { to, ..log })
}

fn target(value: &DeValue<'_>) -> Result<AccessTarget, String> {
    let text = value::text(value)?;
    let path = |path: &str| (!path.is_empty()).then(|| PathBuf::from(path));
    let target = match text.split_once(':') {
        None if text == "stdout" => Some(AccessTarget::Stdout),
        None if text == "syslog" => Some(AccessTarget::Syslog(SYSLOG.into())),
        Some(("file", rest)) => path(rest).map(AccessTarget::File),
        Some(("syslog", rest)) => path(rest).map(AccessTarget::Syslog),
        _ => None,
    };
    target.ok_or_else(|| format!("must be {TARGETS}, is {}", quote(text)))
}

fn fields(value: &DeValue<'_>) -> Result<Vec<AccessField>, String> {
    let DeValue::Array(list) = value else {
        return Err(expected("an array of names such as [\"time\", \"peer\", \"path\"]", value));
    };
    let field = |one: &toml::Spanned<DeValue<'_>>| {
        let name = value::text(one.get_ref())?;
        let found = AccessField::ALL.into_iter().find(|field| field.name() == name);
        found.ok_or_else(|| {
            let known = AccessField::ALL.map(AccessField::name);
            format!("{} is none{}", quote(name), hint::names("fields", name, &known))
        })
    };
    let fields: Vec<_> = list.iter().map(field).collect::<Result<_, _>>()?;
    check_fields(&fields)?;
    Ok(fields)
}

fn check_fields(fields: &[AccessField]) -> Result<(), String> {
    if fields.is_empty() {
        return Err("must have at least one field".into());
    }
    let twice = fields.iter().enumerate().find(|(at, field)| fields[..*at].contains(field));
    twice.map_or(Ok(()), |(_, field)| Err(format!("has `{}` twice", field.name())))
}

fn max_size(
    value: &DeValue<'_>,
    to: &Setting<Option<AccessTarget>>,
) -> Result<Option<u64>, String> {
    if value.as_str() == Some("off") {
        return Ok(None);
    }
    let size = value::size(value, &MAX_SIZE).map_err(|what| format!("{what} (or write \"off\")"));
    match &to.value {
        None | Some(AccessTarget::File(_)) => size.map(Some),
        Some(to) => Err(no_file(to)),
    }
}

fn no_file(to: &AccessTarget) -> String {
    format!("means nothing with to = \"{to}\", which is no file")
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn of(lines: &str) -> Result<Option<AccessLog>, String> {
        let text = format!("[access_log]\n{lines}");
        let config = Config::parse(&text, "t.toml").map_err(|errors| errors.to_string())?;
        config.check().expect("what was parsed is right");
        Ok(config.access_log)
    }

    #[test]
    fn without_the_table_there_is_none() {
        assert_eq!(Config::parse("", "t.toml").map(|config| config.access_log), Ok(None));
    }

    #[test]
    fn what_is_written_is_read_and_told_as_it_is_written() {
        let default = AccessLog::new(AccessTarget::File("a/b.log".into()));
        assert_eq!(of("to = \"file:a/b.log\""), Ok(Some(default)));
        for to in ["stdout", "syslog", "syslog:/run/x.sock", "file:/a:b"] {
            let read = of(&format!("to = \"{to}\"")).expect("right").expect("there");
            assert_eq!(read.to.to_string(), to);
        }
        let lines = "to = \"file:x\"\nformat = \"json\"\nfields = [\"path\", \"query\"]\n\
                     connections = \"both\"\nrefusals_per_second = 7\nqueue = 16\n\
                     max_size = \"1MiB\"\nkeep = 2";
        let read = of(lines).expect("right").expect("there");
        let told = read.written().map(|(name, value)| {
            let key = name.trim_start_matches("access_log.");
            match key {
                "fields" | "refusals_per_second" | "queue" | "keep" => format!("{key} = {value}"),
                _ => format!("{key} = \"{value}\""),
            }
        });
        assert_eq!(told.join("\n"), lines);
    }

    #[test]
    fn mistakes_are_named() {
        for (lines, said) in [
            ("", "access_log.to: is missing: add `to = \"file:"),
            ("to = \"file:\"", "access_log.to: must be \"file:"),
            ("to = \"stderr\"", "access_log.to: must be \"file:"),
            ("to = \"stdout\"\nmax_size = \"1MiB\"", "means nothing with to = \"stdout\""),
            ("to = \"stdout\"\nfields = []", "access_log.fields: must have at least one field"),
            ("to = \"stdout\"\nfields = [\"path\", \"path\"]", "has `path` twice"),
            ("to = \"stdout\"\nfields = [\"pat\"]", "\"pat\" is none: did you mean `path`?"),
            ("to = \"stdout\"\nformat = \"combined\"\nfields = [\"path\"]", "which has its own"),
            ("to = \"stdout\"\nformat = \"combined\"\nconnections = \"both\"", ALIKE),
            ("to = \"stdout\"\nqueue = 1", "access_log.queue: must be between 16 and 1048576"),
            ("to = \"stdout\"\nsize = 1", "access_log.size: is not a key"),
        ] {
            let told = of(lines).expect_err(lines);
            assert!(told.contains(said), "{told}");
        }
    }

    #[test]
    fn what_a_program_puts_together_is_checked() {
        let right = AccessLog::new(AccessTarget::Stdout);
        assert_eq!(right.check(), Ok(()));
        let combined = AccessFormat::Combined;
        for (key, wrong) in [
            ("to", AccessLog { to: AccessTarget::File(PathBuf::new()), ..right.clone() }),
            ("fields", AccessLog { fields: Vec::new(), ..right.clone() }),
            ("queue", AccessLog { queue: 1, ..right.clone() }),
            ("keep", AccessLog { keep: 0, ..right.clone() }),
            ("max_size", AccessLog { max_size: Some(1 << 20), ..right.clone() }),
            (
                "connections",
                AccessLog { connections: ToldConnections::Both, format: combined, ..right.clone() },
            ),
        ] {
            let BuiltWrong(told) = wrong.check().expect_err(key);
            assert!(told.starts_with(&format!("access_log.{key}: ")), "{told}");
        }
    }
}

//! `tidegate drain`.

use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Map, Value};

use super::{CUT_OFF, Client, CommandFailure, NO_GATEWAY, NOT_DONE, say, shown};

/// How often it is looked how far a drain is.
const LOOK: Duration = Duration::from_secs(1);

/// What is drained, and how.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct DrainArguments {
    /// Only connections of the route with this path, as it is configured
    #[arg(long, value_name = "PATH")]
    pub route: Option<String>,
    /// Which of the routes with that path
    #[arg(long, value_name = "NAME", requires = "route")]
    pub subprotocol: Option<String>,
    /// Only those of the listener at this address
    #[arg(long, value_name = "ADDR")]
    pub listener: Option<String>,
    /// Only those from this IP address or network, such as 10.0.0.0/8
    #[arg(long, value_name = "NET")]
    pub address: Option<String>,
    /// Connections that are closed in a second, of all shards together
    #[arg(long, value_name = "N")]
    pub rate: Option<u32>,
    /// How long all goes on before the first is closed, such as 10s
    #[arg(long, value_name = "TIME")]
    pub delay: Option<String>,
    /// How long it may take behind that, such as 5m; who is left then is cut off
    #[arg(long, value_name = "TIME")]
    pub deadline: Option<String>,
    /// The close code that they are told
    #[arg(long, value_name = "CODE")]
    pub code: Option<u16>,
    /// What they are told in words, up to 116 bytes
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// End the gateway when it is done; without, it stays, and refuses who comes until the drain is
    /// taken back
    #[arg(long)]
    pub exit: bool,
    /// Wait until it is done, and say each second how far it is; exit code 3 if connections were
    /// cut off
    #[arg(short, long)]
    pub watch: bool,
    /// Begin none, and say how the last one is
    #[arg(long, conflicts_with_all = Self::BEGINNING)]
    pub status: bool,
    /// Take the drain back that is under way
    #[arg(long, conflicts_with_all = Self::BEGINNING, conflicts_with_all = ["status", "watch"])]
    pub cancel: bool,
}

impl DrainArguments {
    /// What only a drain that is begun may have.
    const BEGINNING: [&'static str; 10] = [
        "route",
        "subprotocol",
        "listener",
        "address",
        "rate",
        "delay",
        "deadline",
        "code",
        "reason",
        "exit",
    ];

    /// Begins it, tells of it, or takes it back.
    ///
    /// # Errors
    /// It was not done, or connections were cut off by one that was watched.
    pub fn run(&self, client: &Client) -> Result<(), CommandFailure> {
        let told = match (self.cancel, self.status) {
            (true, _) => client.delete("/v1/drain")?,
            (false, true) => client.get("/v1/drain")?,
            (false, false) => client.post("/v1/drain", &self.request())?,
        };
        client.tell(&told, described(&told["drain"]))?;
        if self.watch { watch(client, told) } else { Ok(()) }
    }

    fn request(&self) -> Value {
        let texts = [
            ("route", &self.route),
            ("subprotocol", &self.subprotocol),
            ("listener", &self.listener),
            ("address", &self.address),
            ("delay", &self.delay),
            ("deadline", &self.deadline),
            ("reason", &self.reason),
        ];
        let mut request: Map<String, Value> = texts
            .into_iter()
            .filter_map(|(key, text)| Some((key.to_owned(), text.as_deref()?.into())))
            .collect();
        request.extend(self.rate.map(|rate| ("rate".into(), rate.into())));
        request.extend(self.code.map(|code| ("code".into(), code.into())));
        request.extend(self.exit.then(|| ("then".into(), "exit".into())));
        request.into()
    }
}

/// A drain as it was told at a moment.
struct Look {
    drain: Value,
    at: Instant,
}

/// Says how far it is until it is over.
fn watch(client: &Client, mut told: Value) -> Result<(), CommandFailure> {
    let mut at = Instant::now();
    loop {
        let drain = &told["drain"];
        match drain["state"].as_str() {
            Some("announced" | "closing") => {}
            Some("taken_back") => {
                return Err(CommandFailure(NOT_DONE, "the drain was taken back".into()));
            }
            _ => return outcome(drain),
        }
        thread::sleep(LOOK);
        let look = Look { drain: drain.clone(), at };
        let found = client.get_to_its_end("/v1/drain").or_else(|failure| {
            if failure.0 != NO_GATEWAY || !look.is_to_end() {
                return Err(failure);
            }
            // It may have ended amid its answer.
            thread::sleep(LOOK);
            client.get_to_its_end("/v1/drain").map_err(|_| failure)
        })?;
        at = Instant::now();
        told = match found {
            // Another gateway, or none, has taken its place.
            Some(told) if told["drain"].is_null() && look.is_to_end() => return look.ended(at),
            Some(told) => told,
            None if look.is_to_end() => return look.ended(at),
            None => {
                let message = "the gateway has ended, which the drain did not ask it to";
                return Err(CommandFailure(NO_GATEWAY, message.into()));
            }
        };
        client.tell(&told, described(&told["drain"]))?;
    }
}

impl Look {
    /// Whether the gateway ends for this drain.
    fn is_to_end(&self) -> bool {
        self.drain["then"] == "exit"
    }

    /// What it has come to, if the gateway was found to have ended `now`. It does not outlive the
    /// deadline of its drain, so what is told after that is told by nobody.
    fn ended(&self, now: Instant) -> Result<(), CommandFailure> {
        let number = |key: &str| self.drain[key].as_u64().unwrap_or_default();
        // Seconds are told as whole ones.
        let passed = now.saturating_duration_since(self.at) + Duration::from_millis(500);
        let (left, cut_off) = (number("left"), number("cut_off"));
        let is_late = passed.as_secs() >= number("deadline_left_seconds");
        if cut_off > 0 || (left > 0 && is_late && self.drain["state"] == "closing") {
            return Err(cut(cut_off + left));
        }
        say(format_args!("the gateway has ended\n"))
    }
}

/// What a drain has come to that is done.
fn outcome(drain: &Value) -> Result<(), CommandFailure> {
    match drain["cut_off"].as_u64() {
        None | Some(0) => Ok(()),
        Some(count) => Err(cut(count)),
    }
}

fn cut(count: u64) -> CommandFailure {
    let message =
        format!("{count} connections were cut off at the deadline: give it longer, by --deadline");
    CommandFailure(CUT_OFF, message)
}

/// A drain in one line.
fn described(drain: &Value) -> String {
    let Some(state) = drain["state"].as_str() else {
        return "there was no drain since the start\n".into();
    };
    let part = |key: &str| Some(format!("{key} {}", shown(drain[key].as_str()?)));
    let parts: Vec<String> =
        ["route", "listener", "address"].into_iter().filter_map(part).collect();
    let whom = if parts.is_empty() { "the whole gateway".into() } else { parts.join(", ") };
    let number = |key: &str| drain[key].as_u64().unwrap_or_default();
    if state == "announced" {
        return format!("drain of {whom}: begins in {} s\n", number("delay_left_seconds"));
    }
    let (state, all, closed) = (state.replace('_', " "), number("connections"), number("closed"));
    let mut line = format!("drain of {whom}: {state}, {closed} of {all} closed");
    line += &format!(", {} left, {} per second", number("left"), number("rate"));
    if state == "closing" {
        line += &format!(", {} s to its deadline", number("deadline_left_seconds"));
    }
    for (key, words) in [("cut_off", "cut off"), ("unknown_address", "from nobody knows where")] {
        if number(key) > 0 {
            line += &format!(", {} {words}", number(key));
        }
    }
    line + "\n"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_said_is_not_asked_for() {
        assert_eq!(DrainArguments::default().request(), json!({}));
        let some = DrainArguments {
            route: Some("/a".into()),
            rate: Some(5),
            exit: true,
            ..DrainArguments::default()
        };
        assert_eq!(some.request(), json!({"route": "/a", "rate": 5, "then": "exit"}));
    }

    #[test]
    fn a_drain_is_described_in_a_line() {
        assert_eq!(described(&Value::Null), "there was no drain since the start\n");
        let drain = json!({"state": "closing", "route": "/a", "connections": 9, "closed": 4,
            "left": 5, "rate": 2, "deadline_left_seconds": 7, "cut_off": 0});
        let line = "drain of route /a: closing, 4 of 9 closed, 5 left, 2 per second, 7 s to its \
                    deadline\n";
        assert_eq!(described(&drain), line);
        let announced = json!({"state": "announced", "delay_left_seconds": 3});
        assert_eq!(described(&announced), "drain of the whole gateway: begins in 3 s\n");
        assert!(outcome(&json!({"cut_off": 2})).is_err_and(|failure| failure.0 == 3));
    }

    #[test]
    fn a_gateway_that_ends_at_the_deadline_with_some_left_has_cut_them_off() {
        let at = Instant::now();
        let ended = |left: u64, seconds: u64, state: &str| {
            let drain = json!({"state": state, "left": left, "cut_off": 0,
                "deadline_left_seconds": seconds, "then": "exit"});
            let look = Look { drain, at };
            assert!(look.is_to_end());
            look.ended(at + Duration::from_millis(1010)).map_err(|failure| failure.0)
        };
        assert_eq!(ended(3, 1, "closing"), Err(3));
        assert_eq!(ended(3, 0, "closing"), Err(3));
        assert_eq!(ended(3, 9, "closing"), Ok(()), "before it they may have gone");
        assert_eq!(ended(0, 1, "closing"), Ok(()));
    }
}

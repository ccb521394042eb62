//! `tidegate publish`.

use std::io::{self, Read};

use clap::Args;
use serde_json::{Value, json};

use super::{Client, CommandFailure, cell};

/// The most that is read from stdin, in bytes: a gateway takes no more at once by default.
const TEXT_MAX: u64 = 16 << 20;

/// What is published, and where.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct PublishArguments {
    /// The topic
    pub topic: String,
    /// The text; without, or with `-`, what stdin has to its end
    pub text: Option<String>,
    /// The key of which a slow peer keeps the newest message only, where its route conflates
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Publish a message with the same idempotency key once, however often it is tried
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
}

impl PublishArguments {
    /// Publishes it.
    ///
    /// # Errors
    /// It was not done, or stdin has no text.
    pub fn run(&self, client: &Client) -> Result<(), CommandFailure> {
        let text = match self.text.as_deref() {
            None | Some("-") => read()?,
            Some(text) => text.to_owned(),
        };
        let told = client.post("/v1/publish", &self.request(&text))?;
        let offset = &told["offset"];
        let where_ =
            if offset.is_null() { String::new() } else { format!(" at offset {}", cell(offset)) };
        client.tell(&told, format!("published on {}{where_}\n", super::shown(&self.topic)))
    }

    fn request(&self, text: &str) -> Value {
        let mut request = json!({"target": {"topic": self.topic}, "text": text});
        for (name, value) in [("key", &self.key), ("idempotency_key", &self.idempotency_key)] {
            if let Some(value) = value {
                request[name] = value.as_str().into();
            }
        }
        request
    }
}

/// What stdin has.
fn read() -> Result<String, CommandFailure> {
    let mut text = String::new();
    let read = io::stdin().lock().take(TEXT_MAX + 1).read_to_string(&mut text);
    read.map_err(|error| CommandFailure::wrong(format!("stdin: {error}")))?;
    match text.len() as u64 <= TEXT_MAX {
        true => Ok(text),
        false => Err(CommandFailure::wrong(format!("stdin: more than {TEXT_MAX} bytes"))),
    }
}

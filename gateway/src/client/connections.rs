//! `tidegate connections` and `tidegate disconnect`.

use clap::Args;
use serde_json::{Value, json};

use super::table::TextTable;
use super::{Client, CommandFailure, cell, escaped, with_query};

/// The most that the API tells at once.
const PAGE_MAX: u64 = 1000;

/// Which connections are told.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct ConnectionsArguments {
    /// Only this user's
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Only subscribers of this topic
    #[arg(long, value_name = "NAME")]
    pub topic: Option<String>,
    /// Only those of the route with this path, as it is configured
    #[arg(long, value_name = "PATH")]
    pub route: Option<String>,
    /// Which of the routes with that path
    #[arg(long, value_name = "NAME", requires = "route")]
    pub subprotocol: Option<String>,
    /// Only those from this IP address or network, or `unix`
    #[arg(long, value_name = "IP")]
    pub address: Option<String>,
    /// So many at most
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100,
        value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub limit: u64,
}

/// Which connection is closed, and how.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct DisconnectArguments {
    /// Its id, as `tidegate connections` tells it
    pub id: String,
    /// The close code (RFC 6455 section 7.4); 1000 without
    #[arg(long, value_name = "CODE")]
    pub code: Option<u16>,
    /// The reason, up to 123 bytes
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

impl ConnectionsArguments {
    /// Tells them.
    ///
    /// # Errors
    /// The gateway does not.
    pub fn run(&self, client: &Client) -> Result<(), CommandFailure> {
        let (mut found, mut cursor) = (Vec::new(), None);
        loop {
            let left = self.limit - found.len() as u64;
            let told = client.get(&self.path(left.min(PAGE_MAX), cursor.as_deref()))?;
            found.extend(told["connections"].as_array().into_iter().flatten().cloned());
            cursor = told["cursor"].as_str().map(str::to_owned);
            if cursor.is_none() || found.len() as u64 >= self.limit {
                break;
            }
        }
        let table = table(&found);
        let more = if cursor.is_some() { "there may be more: --limit tells more\n" } else { "" };
        client.tell(&json!({"connections": found, "cursor": cursor}), format!("{table}{more}"))
    }

    fn path(&self, limit: u64, cursor: Option<&str>) -> String {
        let limit = limit.to_string();
        let pairs = [
            ("limit", Some(limit.as_str())),
            ("cursor", cursor),
            ("user", self.user.as_deref()),
            ("topic", self.topic.as_deref()),
            ("route", self.route.as_deref()),
            ("subprotocol", self.subprotocol.as_deref()),
            ("address", self.address.as_deref()),
        ];
        with_query("/v1/connections", &pairs)
    }
}

fn table(found: &[Value]) -> TextTable {
    let headings = ["ID", "ROUTE", "ADDRESS", "USER", "TOPICS", "SINCE", "BACKLOG"];
    let mut table = TextTable::new(&headings);
    for one in found {
        let keys = ["id", "route", "address", "user", "topics_total", "connected_at", "backlog"];
        table.row(keys.iter().map(|key| cell(&one[*key])).collect());
    }
    table
}

impl DisconnectArguments {
    /// Closes it.
    ///
    /// # Errors
    /// It is gone, say.
    pub fn run(&self, client: &Client) -> Result<(), CommandFailure> {
        let code = self.code.map(|code| code.to_string());
        let pairs = [("code", code.as_deref()), ("reason", self.reason.as_deref())];
        let path = format!("/v1/connections/{}", escaped(&self.id));
        let told = client.delete(&with_query(&path, &pairs))?;
        client.tell(&told, "it is closing\n")
    }
}

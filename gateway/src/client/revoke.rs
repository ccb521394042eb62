//! `tidegate revoke`.

use clap::{ArgGroup, Args};
use serde_json::{Value, json};

use super::table::TextTable;
use super::{Client, CommandFailure, cell, with_query};

/// Which tokens are taken back, or what is told or ended of what was.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[command(group = ArgGroup::new("what").required(true).multiple(true)
    .args(["user", "jti", "issued_before", "list", "end"]))]
pub struct RevokeArguments {
    /// Those of this user; without --issued-before also those that are issued from now on
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// The one with this id, of an issuer
    #[arg(long, value_name = "ID", requires = "issuer",
        conflicts_with_all = ["user", "issued_before"])]
    pub jti: Option<String>,
    /// Only those of this issuer, by the name of its `[[jwt]]`
    #[arg(long, value_name = "NAME")]
    pub issuer: Option<String>,
    /// Only those that were issued before this moment: RFC 3339, or `now`
    #[arg(long, value_name = "MOMENT")]
    pub issued_before: Option<String>,
    /// For how long, such as `8h`: as long as tokens live; 24h without
    #[arg(long = "for", value_name = "TIME")]
    pub lasting: Option<String>,
    /// List what is in force
    #[arg(long, conflicts_with_all = ["user", "jti", "issuer", "issued_before", "lasting", "end"])]
    pub list: bool,
    /// End the one with this number: its tokens are good again
    #[arg(long, value_name = "N",
        conflicts_with_all = ["user", "jti", "issuer", "issued_before", "lasting"])]
    pub end: Option<u64>,
}

impl RevokeArguments {
    /// Does it.
    ///
    /// # Errors
    /// It was not done.
    pub fn run(&self, client: &Client) -> Result<(), CommandFailure> {
        if self.list {
            return list(client);
        }
        if let Some(number) = self.end {
            let told = client.delete(&format!("/v1/revocations/{number}"))?;
            return client.tell(&told, format!("revocation {number} has ended\n"));
        }
        let told = client.post("/v1/revocations", &self.request())?;
        let (id, until) = (cell(&told["id"]), cell(&told["until"]));
        client.tell(&told, format!("revocation {id} is in force until {until}\n"))
    }

    fn request(&self) -> Value {
        let mut request = json!({});
        for (name, value) in [
            ("user", &self.user),
            ("jti", &self.jti),
            ("issuer", &self.issuer),
            ("issued_before", &self.issued_before),
            ("for", &self.lasting),
        ] {
            if let Some(value) = value {
                request[name] = value.as_str().into();
            }
        }
        request
    }
}

fn list(client: &Client) -> Result<(), CommandFailure> {
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let pairs = [("limit", Some("1000")), ("cursor", cursor.as_deref())];
        let told = client.get(&with_query("/v1/revocations", &pairs))?;
        found.extend(told["revocations"].as_array().into_iter().flatten().cloned());
        cursor = told["cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    let mut table = TextTable::new(&["ID", "USER", "JTI", "ISSUER", "ISSUED BEFORE", "UNTIL"]);
    for one in &found {
        let keys = ["id", "user", "jti", "issuer", "issued_before", "until"];
        table.row(keys.iter().map(|key| cell(&one[*key])).collect());
    }
    let words = if table.is_empty() { "none is in force\n".into() } else { table.to_string() };
    client.tell(&json!({"revocations": found}), words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_asked_for() {
        let arguments = RevokeArguments {
            user: Some("ada".into()),
            issued_before: Some("now".into()),
            lasting: Some("8h".into()),
            ..RevokeArguments::default()
        };
        let wanted = json!({"user": "ada", "issued_before": "now", "for": "8h"});
        assert_eq!(arguments.request(), wanted);
    }
}

//! `tidegate reload`.

use clap::Args;
use serde_json::{Value, json};

use super::table::TextTable;
use super::{Client, CommandFailure, cell};

/// How the configuration is taken over.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct ReloadArguments {
    /// Change nothing, and say what would change
    #[arg(long)]
    pub dry_run: bool,
    /// Close connections whose route is there no longer, with 1012 over WebSocket, as many in a
    /// second as a drain does; without, they stay until they end
    #[arg(long)]
    pub close_gone: bool,
}

impl ReloadArguments {
    /// Has the gateway take over its configuration, or look what would change.
    ///
    /// # Errors
    /// It was not done.
    pub fn run(&self, client: &Client) -> Result<(), CommandFailure> {
        let gone = if self.close_gone { "close" } else { "stay" };
        let told = client.post("/v1/reload", &json!({"dry_run": self.dry_run, "gone": gone}))?;
        let mut table = TextTable::new(&["WHAT", "CHANGE", "IN FORCE"]);
        let when = if self.dry_run { "with a reload" } else { "now" };
        for (list, when) in [("changed", when), ("needs_restart", "with a restart")] {
            for one in told[list].as_array().into_iter().flatten() {
                table.row(vec![cell(&one["what"]), change(one), when.into()]);
            }
        }
        let mut text = match (table.is_empty(), self.dry_run) {
            (true, true) => "nothing would be otherwise\n".to_owned(),
            (true, false) => "nothing is otherwise; certificates and keys were read anew\n".into(),
            (false, _) => table.to_string(),
        };
        if let Some(more) = told["left_out"].as_u64().filter(|more| *more > 0) {
            text.push_str(&format!("and {more} more\n"));
        }
        for warning in told["warnings"].as_array().into_iter().flatten() {
            text.push_str(&format!("warning: {}\n", cell(warning)));
        }
        client.tell(&told, text)
    }
}

/// What has become of it, in words.
fn change(one: &Value) -> String {
    match (one["before"].as_str(), one["now"].as_str()) {
        (Some(_), Some(_)) => format!("{} becomes {}", cell(&one["before"]), cell(&one["now"])),
        _ => cell(&one["how"]),
    }
}

//! Having a gateway take its configuration over anew, from outside.

use serde_json::{Value, json};

use crate::admin::{ask, json_of};
use crate::{Gateway, Launch, Peer, Request};

/// What comes in front of each configuration here.
pub const ALL: &str = "shards = 2\npin = false\n";

/// A gateway with an admin address and this configuration.
#[must_use]
#[track_caller]
pub fn start(text: &str) -> Gateway {
    Launch::new().config(&format!("{ALL}{text}")).listen("127.0.0.1:0").admin().start()
}

/// Has the gateway take this over; returns what has changed, and what needs a restart.
///
/// # Panics
/// It does not.
#[track_caller]
pub fn reload_with(gateway: &Gateway, text: &str, how: &Value) -> [Vec<String>; 2] {
    gateway.rewrite(&format!("{ALL}{text}"));
    let response = ask(gateway, "POST", "/v1/reload", how);
    let told = json_of(&response);
    assert_eq!(response.status, 200, "{told}");
    ["changed", "needs_restart"].map(|list| {
        let all = told[list].as_array().expect("a list").iter();
        all.map(|one| one["what"].as_str().expect("a text").to_owned()).collect()
    })
}

/// Has it take this over, of which nothing needs a restart.
///
/// # Panics
/// It does not.
#[track_caller]
pub fn reload(gateway: &Gateway, text: &str) {
    let [_, left] = reload_with(gateway, text, &json!({}));
    assert_eq!(left, [""; 0], "nothing needs a restart");
}

/// Has it try to; returns what is said against it.
///
/// # Panics
/// It takes it over.
#[track_caller]
pub fn refused(gateway: &Gateway, text: &str) -> String {
    gateway.rewrite(&format!("{ALL}{text}"));
    let response = ask(gateway, "POST", "/v1/reload", &json!({}));
    let told = json_of(&response);
    let code = told["error"]["code"].as_str();
    assert_eq!((response.status, code), (422, Some("wrong_configuration")), "{told}");
    told["error"]["message"].as_str().expect("a message").to_owned()
}

/// What a handshake at a path is answered with.
#[track_caller]
pub fn status(gateway: &Gateway, path: &str) -> u16 {
    status_of(gateway, &Request::open(path))
}

/// What a request is answered with.
#[track_caller]
pub fn status_of(gateway: &Gateway, request: &Request) -> u16 {
    let mut peer = Peer::connect(gateway);
    peer.request(request);
    peer.response_head().status
}

/// A route that echoes, with more of its keys.
#[must_use]
pub fn echo(path: &str, more: &str) -> String {
    format!("[[route]]\npath = '{path}'\nhandler = 'echo'\n{more}")
}

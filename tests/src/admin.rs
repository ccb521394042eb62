//! Asking a gateway at its admin address.

use serde_json::Value;

use crate::{Gateway, Peer, Response};

/// Sends a request with `body` as JSON, or without any, and reads the answer.
///
/// # Panics
/// The gateway has no admin address, or does not answer.
#[track_caller]
pub fn ask(gateway: &Gateway, method: &str, path: &str, body: &Value) -> Response {
    let mut peer = Peer::try_connect(gateway.admin_address()).expect("the admin address");
    let body = if body.is_null() { String::new() } else { body.to_string() };
    peer.send(format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    peer.response()
}

/// The body of an answer.
///
/// # Panics
/// It is not JSON.
#[must_use]
#[track_caller]
pub fn json_of(response: &Response) -> Value {
    serde_json::from_slice(&response.body).expect("JSON")
}

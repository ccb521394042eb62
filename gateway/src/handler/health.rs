//! The handler `health`: tells load balancers whether they should send clients here.

use super::{
    Body, Context, Decision, Desk, Handler, ImportError, Piece, Refusal, Request, Response,
    ResponseError,
};

/// Answers 200 while clients are wanted, and 503 from when the gateway was told to end, also in
/// the time that `drain_delay` leaves before connections are closed. A shard whose places are all
/// taken still answers 200: its listener's other shards take who comes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Health;

fn response(is_leaving: bool) -> Result<Response, ResponseError> {
    let (status, body): (u16, &[u8]) = match is_leaving {
        false => (200, b"{\"status\":\"ok\"}\n"),
        true => (503, b"{\"status\":\"draining\"}\n"),
    };
    Response::new(status, Body::Shared(body.into()))?
        .with("Content-Type", "application/json")?
        .with("Cache-Control", "no-store")
}

impl Handler for Health {
    fn request(&mut self, request: &Request<'_>, desk: &mut Desk<'_>) -> Decision {
        match request.method() {
            "GET" | "HEAD" => {
                Decision::Respond(response(desk.is_leaving()).expect("its headers are right"))
            }
            _ => Refusal::method_not_allowed("GET, HEAD").into(),
        }
    }

    /// Never called: no connection is opened here.
    fn message(&mut self, _context: &mut Context<'_, '_>, _piece: Piece<'_>) {}

    /// It keeps nothing.
    fn export(&self, _state: u32, _out: &mut Vec<u8>) {}

    fn import(&mut self, bytes: &[u8]) -> Result<u32, ImportError> {
        ImportError::unless_empty(bytes).map(|()| 0)
    }
}

//! The handler `static`: a page that is part of the program.

use std::sync::Arc;

use tidegate_proto::http::RequestHead;
use tidegate_proto::websocket::handshake::server::Rejection;

use super::{Body, Context, Decision, Desk, Handler, ImportError, Piece, Response, ResponseError};

/// Serves the WebSocket console.
#[derive(Clone, Debug)]
pub struct Page {
    console: Arc<[u8]>,
}

impl Page {
    fn response(&self) -> Result<Response, ResponseError> {
        Response::new(200, Body::Shared(Arc::clone(&self.console)))?
            .with("Content-Type", "text/html; charset=utf-8")?
            .with("Cache-Control", "no-cache")?
            .with("X-Content-Type-Options", "nosniff")
    }
}

impl Default for Page {
    fn default() -> Self {
        Self { console: Arc::from(&include_bytes!("page/console.html")[..]) }
    }
}

impl Handler for Page {
    fn request(&mut self, head: &RequestHead<'_>, _desk: &mut Desk<'_>) -> Decision {
        match head.method() {
            "GET" | "HEAD" => Decision::Respond(self.response().expect("its headers are right")),
            _ => Decision::Refuse(Rejection::MethodNotAllowed { allow: "GET, HEAD" }.into()),
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

//! The handler `static`: a page that is part of the program, and the client library beside it.

use std::sync::Arc;

use super::{
    Body, Context, Decision, Desk, Handler, ImportError, Piece, Refusal, Request, Response,
    ResponseError,
};
use crate::config;

/// Serves the WebSocket console, and, where the last segment of a path says so, the client library
/// that its rooms are built on.
#[derive(Clone, Debug)]
pub struct Page {
    console: Arc<[u8]>,
    client: Arc<[u8]>,
    types: Arc<[u8]>,
}

impl Page {
    fn response(&self, path: &str) -> Result<Response, ResponseError> {
        let (content, kind) = match path.rsplit('/').next() {
            Some(config::CLIENT_SCRIPT) => (&self.client, "text/javascript; charset=utf-8"),
            Some(config::CLIENT_TYPES) => (&self.types, "text/plain; charset=utf-8"),
            _ => (&self.console, "text/html; charset=utf-8"),
        };
        Response::new(200, Body::Shared(Arc::clone(content)))?
            .with("Content-Type", kind)?
            .with("Cache-Control", "no-cache")?
            .with("X-Content-Type-Options", "nosniff")
    }
}

impl Default for Page {
    fn default() -> Self {
        Self {
            console: Arc::from(&include_bytes!("page/console.html")[..]),
            client: Arc::from(&include_bytes!("page/client.js")[..]),
            types: Arc::from(&include_bytes!("page/client.d.ts")[..]),
        }
    }
}

impl Handler for Page {
    fn request(&mut self, request: &Request<'_>, _desk: &mut Desk<'_>) -> Decision {
        match request.method() {
            "GET" | "HEAD" => {
                let path = config::normal_path(request.path());
                Decision::Respond(self.response(&path).expect("its headers are right"))
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
